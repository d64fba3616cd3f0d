-- request: what a server does with a request behind its head: its body (body.lua) with
-- the server's limits and statuses, and what is left of it after the response.

local body_reader = require "weft.body"
local core = require "weft.core"
local options = require "weft.options"

local request = {}

-- How much of a body that nobody read is worth reading, to keep the connection.
local DRAIN = 64 << 10

--- Works out how the body is framed (RFC 9112 6.3) and keeps that in the
-- request. True, or nil, status, why.
function request.frame(req, stream, timeout, limit)
   local kind, length, status = body_reader.announced(req)
   if not kind then return nil, status, length end
   if kind == "none" then return true end
   local body = { reader = body_reader.reader(stream, kind, length), stream = stream,
      timeout = timeout, limit = limit }
   body.pending = not body.reader.ended
   local expect = req:header("expect")
   if expect and req.version ~= "1.0" then
      if expect:lower() ~= "100-continue" then return nil, 417, "an unknown expectation" end
      body.expected = body.pending
   end
   req.framing = body
   return true
end

--- A request that is at fault: what to tell the handler, and what to answer should
-- the handler then raise.
function request.fail(req, status, message, code)
   req.failure = { status = status, message = message }
   return nil, message, code
end

local function fail_read(req, message, code)
   local body = req.framing
   local status = 400
   if code == "timeout" then
      status, message = 408, "the request's body did not arrive in time (body_timeout)"
   elseif code == "too_big" then
      status, message = 413, message:gsub("^the", "the request's")
   end
   body.failed, body.message = true, message
   return request.fail(req, status, message, code)
end

-- A body that is known to be too big is not even asked for.
local function ask_for(body, limit)
   if not body.expected or body.reader.left > limit then return end
   body.expected = false
   body.stream:send("HTTP/1.1 100 Continue\r\n\r\n")
end

local function read_all(req, limit)
   local body = req.framing
   local guard <close> = core.deadline(body.timeout)
   ask_for(body, limit)
   local data, message, code = body.reader:read_all(limit)
   if data then return data end
   return fail_read(req, message, code)
end

--- req:body([max]) -> data | nil, message, code. "" when there is none.
local function body_of(req, max)
   max = options.bytes(max, "req:body", 2)
   local body = req.framing
   if not body then return "" end
   if body.data then return body.data end
   if body.begun then error("req:body: it is being read by req:chunks already", 2) end
   if body.failed then return nil, body.message, "closed" end
   local limit = max or body.limit
   local data, message, code = read_all(req, limit)
   if not data then return nil, message, code end
   body.data, body.pending = data, false
   return data
end

local function next_chunk(req)
   local body = req.framing
   if body.failed then error("req:chunks: " .. body.message, 2) end
   local data, message, code = body.reader:read()
   if not data then
      fail_read(req, message, code)
      error("req:chunks: " .. body.message, 2)
   elseif data == "" then
      body.pending = false
      return nil
   end
   return data
end

-- What req:body() has read.
local function whole(data)
   local rest = data ~= "" and data or nil
   return function()
      local piece = rest
      rest = nil
      return piece
   end
end

--- for piece in req:chunks([max]): raises when it breaks off, is too big, or does not go on.
local function chunks_of(req, max)
   max = options.bytes(max, "req:chunks", 2)
   local body = req.framing
   if not body or body.data then return whole(body and body.data or "") end
   body.begun = true
   body.reader.room, body.reader.timeout = max or body.limit, body.timeout
   ask_for(body, body.reader.room)
   return next_chunk, req
end

--- After the handler: can what is left of the body be read and dropped, so that
-- the connection can be kept? Decided before the response says so.
function request.can_drain(req)
   local body = req.framing
   if not body or not body.pending then return true end
   if body.failed or body.expected or body.begun then return false end
   return body.reader.kind == "length" and body.reader.left <= DRAIN
end

--- Reads and drops it; false when that failed.
function request.drain(req)
   local body = req.framing
   if not body or not body.pending then return true end
   return read_all(req, DRAIN) ~= nil
end

core.methods.request.body, core.methods.request.chunks = body_of, chunks_of

return request
