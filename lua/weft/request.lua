-- request: what a server does with a request behind its head: where the body
-- ends (RFC 9112 6), req:body(), and what is left of it after the response.

local core = require "weft.core"
local options = require "weft.options"

local request = {}

-- How much of a body that nobody read is worth reading, to keep the connection.
local DRAIN = 64 << 10
local CHUNK_LINE = 256 -- a chunk's size and its extensions
local MAX_TRAILERS = 64

local function content_length(field)
   local first
   for value in (field .. ","):gmatch("%s*([^,]*),") do
      value = value:match("^(.-)%s*$")
      if not value:find("^%d+$") or #value > 15 then return nil end
      first = first or value
      if value ~= first then return nil end
   end
   return math.tointeger(tonumber(first))
end

--- Works out how the body is framed (RFC 9112 6.3) and keeps that in the
-- request. True, or nil, status, why.
function request.frame(req, stream, timeout, limit)
   local coding = req:header("transfer-encoding")
   local length = req:header("content-length")
   if not coding and not length then return true end
   if coding and length then
      -- RFC 9112 6.3: a message with both is an attempt at smuggling
      return nil, 400, "both Content-Length and Transfer-Encoding"
   end
   local body = { stream = stream, timeout = timeout, limit = limit,
      left = 0, pending = false }
   if coding then
      if req.version == "1.0" then return nil, 400, "Transfer-Encoding in HTTP/1.0" end
      if req.headers["transfer-encoding"]:lower() ~= "chunked" then
         return nil, 501, "only the chunked transfer coding is understood"
      end
      body.chunked, body.pending = true, true
   else
      body.left = content_length(req.headers["content-length"])
      if not body.left then return nil, 400, "a malformed Content-Length" end
      body.pending = body.left > 0
   end
   local expect = req:header("expect")
   if expect and req.version ~= "1.0" then
      if expect:lower() ~= "100-continue" then return nil, 417, "an unknown expectation" end
      body.expected = body.pending
   end
   req.framing = body
   return true
end

-- The failure of a body: what to tell the handler, and what to answer should
-- the handler then raise.
local function fail(body, status, message, code)
   body.failed, body.status, body.message = true, status, message
   return nil, message, code
end

local function fail_read(body, message, code)
   if code == "timeout" then
      return fail(body, 408, "the request's body did not arrive in time (body_timeout)", code)
   end
   return fail(body, 400, message, code)
end

local function too_big(body, limit)
   local message = ("the request's body is larger than max_body (%d bytes)"):format(limit)
   return fail(body, 413, message, "too_big")
end

local function receive(body, n)
   local data, message, _, code = body.stream:receive(n)
   if data then return data end
   return fail_read(body, message, code or message)
end

local function read_line(body)
   local line, message, code = core.read_line(body.stream, CHUNK_LINE, body.timeout)
   if line then return line end
   return fail_read(body, message, code == "too_big" and "protocol" or code)
end

-- The size of the next chunk (RFC 9112 7.1); extensions are ignored.
local function chunk_size(body)
   local line, message, code = read_line(body)
   if not line then return nil, message, code end
   local digits = line:match("^(%x+)%s*$") or line:match("^(%x+)%s*;")
   if not digits or #digits > 12 then
      return fail(body, 400, "a malformed chunk size", "protocol")
   end
   return tonumber(digits, 16)
end

-- Trailer fields are read and dropped (RFC 9112 7.1.2).
local function skip_trailers(body)
   for _ = 1, MAX_TRAILERS do
      local line, message, code = read_line(body)
      if not line then return nil, message, code end
      if line == "" then return true end
   end
   return fail(body, 400, "too many trailer fields", "protocol")
end

local function chunk_end(body)
   local line, message, code = read_line(body)
   if not line then return nil, message, code end
   if line == "" then return true end
   return fail(body, 400, "a chunk is longer than its size", "protocol")
end

-- The next chunk's data, "" for the last one.
local function read_chunk(body, room)
   local size, message, code = chunk_size(body)
   if not size then return nil, message, code end
   if size > room then return too_big(body, body.allowed) end
   if size == 0 then return "" end
   local data
   data, message, code = receive(body, size)
   if not data then return nil, message, code end
   local ok
   ok, message, code = chunk_end(body)
   if not ok then return nil, message, code end
   return data
end

local function read_chunked(body, limit)
   local parts, total = {}, 0
   body.allowed = limit
   repeat
      local data, message, code = read_chunk(body, limit - total)
      if not data then return nil, message, code end
      parts[#parts + 1] = data
      total = total + #data
   until data == ""
   local ok, message, code = skip_trailers(body)
   if not ok then return nil, message, code end
   return table.concat(parts)
end

local function read_all(body, limit)
   local guard <close> = core.deadline(body.timeout)
   if body.expected then
      body.expected = false
      body.stream:send("HTTP/1.1 100 Continue\r\n\r\n")
   end
   if body.chunked then return read_chunked(body, limit) end
   return receive(body, body.left)
end

--- req:body([max]) -> data | nil, message, code. "" when there is none.
local function body_of(req, max)
   if max ~= nil then options.argument(max, "number", "the limit", "req:body", 2) end
   local body = req.framing
   if not body then return "" end
   if body.data then return body.data end
   if body.failed then return nil, body.message, "closed" end
   local limit = max or body.limit
   if body.left > limit then return too_big(body, limit) end
   local data, message, code = read_all(body, limit)
   if not data then return nil, message, code end
   body.data, body.pending = data, false
   return data
end

--- After the handler: can what is left of the body be read and dropped, so that
-- the connection can be kept? Decided before the response says so.
function request.can_drain(req)
   local body = req.framing
   if not body or not body.pending then return true end
   if body.failed or body.expected then return false end
   return not body.chunked and body.left <= DRAIN
end

--- Reads and drops it; false when that failed.
function request.drain(req)
   local body = req.framing
   if not body or not body.pending then return true end
   return read_all(body, DRAIN) ~= nil
end

core.methods.request.body = body_of

return request
