-- answer: what a request brought: status and fields, and the body, whole or piece by piece.
-- It owns its connection until the body has ended; then the pool has it, or it is closed.

local body = require "weft.body"
local core = require "weft.core"
local options = require "weft.options"
local pool = require "weft.http.pool"

local answer = {}

local decoders = { gzip = "gzip", ["x-gzip"] = "gzip", deflate = "deflate" }

-- weft.answer. Beside the public fields: head, reader, decoder, stream, hop = the
-- request, sender = who still sends the request's body, reusable, opts.
local class = {}
class.__index = class
class.__name = "weft.answer"

function class:__tostring()
   return ("weft.answer (%d from %s)"):format(self.status, self.url)
end

--- RFC 9112 6.3: how the content of this answer is framed, or nil and what is wrong.
local function framing(head, method)
   local status = head.status
   if method == "HEAD" or status == 204 or status == 304 then return "length", 0 end
   local kind, length = body.announced(head)
   if kind == "none" then return "close" end
   return kind, length
end

-- RFC 9112 9.3: may the connection be used again after this?
local function persists(head, kind)
   if kind == "close" or head:has_token("connection", "close") then return false end
   return head.version ~= "1.0" or head:has_token("connection", "keep-alive")
end

-- A coding that was not offered, or several of them, are the script's to undo.
local function decoder_for(head, offered, opts)
   local coding = offered and head:header("content-encoding")
   local kind = coding and decoders[coding:lower()]
   return kind and core.decoder(kind, opts.max_ratio)
end

--- An answer of that head, or nil, message, code. hop: the request; wire: { stream=,
-- sender= }.
function answer.new(head, hop, wire, opts)
   local kind, length = framing(head, hop.method)
   if not kind then return nil, length, "protocol" end
   return setmetatable({
      status = head.status, reason = head.reason, version = head.version,
      headers = head.headers, url = hop.url,
      head = head, stream = wire.stream, sender = wire.sender, hop = hop, opts = opts,
      reader = body.reader(wire.stream, kind, length, opts.idle_timeout),
      decoder = decoder_for(head, hop.offered, opts),
      reusable = persists(head, kind) and not hop.closes,
   }, class)
end

--- answer:header(name) -> value | nil
function class:header(name)
   options.argument(name, "string", "the name", "answer:header", 2)
   return self.head:header(name)
end

--- answer:values(name) -> the value of each field of that name
function class:values(name)
   options.argument(name, "string", "the name", "answer:values", 2)
   return self.head:values(name)
end

-- Lets go of the connection: to the pool when the whole exchange went well.
local function finish(self, well)
   local stream, sender, hop = self.stream, self.sender, self.hop
   if not stream then return end
   self.stream, self.sender, self.hop = nil, nil, nil
   if sender and not sender.done then
      sender:stop()
      well = false
   end
   if well and self.reusable then pool.put(stream, hop, self.opts)
   else stream:close() end
end

-- What the sender's iterator raised is the cause, and is raised here.
local function fail(self, message, code)
   local raised = self.sender and self.sender.raised
   finish(self, false)
   if raised ~= nil then error(raised, 0) end
   if code == "timeout" then message = "timeout while the body came" end
   self.failure = { message, code }
   return nil, message, code
end

-- The next piece as it is meant, "" at the end.
local function decoded(self)
   if not self.decoder then return self.reader:read() end
   while true do
      local data, message, code = self.decoder:pull()
      if data ~= "" then return data, message, code end
      data, message, code = self.reader:read()
      if not data then return nil, message, code end
      if data == "" then
         if self.decoder:complete() then return "" end
         return nil, "the content ends before its coding does", "protocol"
      end
      self.decoder:push(data)
   end
end

--- answer:read() -> a piece of the body | nil at its end | nil, message, code
function class:read()
   if self.failure then return nil, self.failure[1], self.failure[2] end
   if not self.stream then return nil end
   local data, message, code = decoded(self)
   if not data then return fail(self, message, code) end
   if data ~= "" then return data end
   self.trailers = self.reader.trailers
   finish(self, true)
   return nil
end

local function next_chunk(self)
   local data, message = self:read()
   if data or not message then return data end
   error(("%s: %s"):format(self.url, message), 2)
end

--- for piece in answer:chunks(): raises when the body breaks off, for else that would
-- look like its end. A loop that is left closes the answer.
function class:chunks()
   return next_chunk, self, nil, self
end

--- Closes the connection, unless the body was read to its end. Idempotent.
function class:close()
   if self.stream then self.failure = { "closed", "closed" } end
   finish(self, false)
   return true
end

class.__close = class.close
class.__gc = class.close

-- Reads the whole body into self.body, at most max_body bytes.
function answer.read_all(self)
   local _ <close> = self -- a task that is cancelled here leaves no connection behind
   local parts, total, most = {}, 0, self.opts.max_body
   if not self.decoder then self.reader.room = most end
   while true do
      local data, message, code = self:read()
      if not data and message then return nil, message, code end
      if not data then break end
      total = total + #data
      if total > most then
         return nil, ("the body is larger than max_body (%d bytes)"):format(most), "too_big"
      end
      parts[#parts + 1] = data
   end
   self.body = table.concat(parts)
   return self
end

--- Drops what is left of a small body, so that the connection can be used again: of an
-- answer that leads elsewhere.
function answer.drop(self, most)
   local _ <close> = self
   local total = 0
   for _ = 1, 64 do
      local data = self:read()
      if not data then return end
      total = total + #data
      if total > most then return end
   end
end

answer.methods = class

return answer
