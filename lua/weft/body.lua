-- body: the content of a message (RFC 9112 6 and 7), of a request on a server and of an
-- answer on a client: where it ends, and reading it piece by piece, within bounds.

local core = require "weft.core"
local trim = require "weft.trim"

local body = {}

local PIECE = 64 << 10
local CHUNK_LINE = 256 -- a chunk's size and its extensions
local IN_A_ROW = 256 -- so many chunks, which may be tiny, before others have their turn
local TRAILER_LINE = 4096
local MAX_TRAILERS = 64
local TRAILER_BYTES = 8192

-- RFC 9110 8.6: several equal values may be taken for one.
local function content_length(field)
   local first
   for element in (field .. ","):gmatch("([^,]*),") do
      local value = trim(element)
      if not value:find("^%d+$") or #value > 15 then return nil end
      first = first or value
      if value ~= first then return nil end
   end
   return math.tointeger(tonumber(first))
end

--- What a head says of the content's end (RFC 9112 6.3): "chunked"; "length" and the number
-- of bytes; "none" when it says nothing; or nil, why, and the status that answers it.
function body.announced(head)
   local coding, length = head:header("transfer-encoding"), head:header("content-length")
   if coding and length then
      -- RFC 9112 6.3: a message with both is an attempt at smuggling
      return nil, "both Content-Length and Transfer-Encoding", 400
   elseif coding then
      if head.version == "1.0" then return nil, "Transfer-Encoding in HTTP/1.0", 400 end
      if coding:lower() ~= "chunked" then
         return nil, "only the chunked transfer coding is understood", 501
      end
      return "chunked"
   elseif not length then
      return "none"
   end
   local bytes = content_length(length)
   if not bytes then return nil, "a malformed Content-Length", 400 end
   return "length", bytes
end

-- { stream=, kind=, left=, room=, timeout=, total=, ended=, trailers= }
local reader = {}
reader.__index = reader

--- Reads the content of that kind: "chunked", "length" with its bytes, "close" (it ends
-- with the connection). timeout: seconds of silence, or nil.
function body.reader(stream, kind, length, timeout)
   return setmetatable({ stream = stream, kind = kind, left = length or 0, room = math.huge,
      timeout = timeout, total = 0, chunks = 0, ended = kind == "length" and length == 0 }, reader)
end

local function line_failed(message, code, where)
   if code == "timeout" then return nil, message, code end
   if code == "closed" then message = "closed" end
   if code == "closed" or code == "too_big" then code = "protocol" end
   return nil, ("%s in %s"):format(message, where), code
end

local function read_line(self, max, where)
   local line, message, code = core.read_line(self.stream, max, self.timeout)
   if line then return line end
   return line_failed(message, code, where)
end

-- Trailer fields (RFC 9112 7.1.2), within bounds.
local function read_trailers(self)
   local trailers, bytes = {}, 0
   for _ = 1, MAX_TRAILERS + 1 do
      local line, message, code = read_line(self, TRAILER_LINE, "the trailer section")
      if not line then return nil, message, code end
      if line == "" then
         self.trailers, self.ended = trailers, true
         return true
      end
      local name, value = line:match("^([%w!#$%%&'*+.^_`|~-]+):(.*)$")
      if not name or value:find("[%z\1-\8\11-\31\127]") then
         return nil, "a malformed trailer field", "protocol"
      end
      name, value, bytes = name:lower(), trim(value), bytes + #line
      if bytes > TRAILER_BYTES then break end
      trailers[name] = trailers[name] and trailers[name] .. ", " .. value or value
   end
   return nil, "too many trailer fields", "protocol"
end

-- Behind a chunk's data only its CRLF may stand.
local function end_chunk(self)
   if not self.within then return true end
   self.within = false
   local line, message, code = core.read_line(self.stream, 1, self.timeout)
   if line == "" then return true end
   if line or code == "too_big" or code == "protocol" then
      return nil, "a chunk is longer than its size", "protocol"
   end
   return line_failed(message, code, "the end of a chunk")
end

-- The size of the next chunk (RFC 9112 7.1); its extensions are ignored.
local function begin_chunk(self)
   local ok, message, code = end_chunk(self)
   if not ok then return nil, message, code end
   local line
   line, message, code = read_line(self, CHUNK_LINE, "a chunk's size")
   if not line then return nil, message, code end
   local digits = line:match("^(%x+)[ \t]*$") or line:match("^(%x+)[ \t]*;")
   if not digits or #digits > 12 then return nil, "a malformed chunk size", "protocol" end
   self.left = tonumber(digits, 16)
   if self.left == 0 then return read_trailers(self) end
   self.within, self.chunks = true, self.chunks + 1
   if self.chunks % IN_A_ROW == 0 then core.sleep(0) end
   return true
end

local function too_big(self)
   return nil, ("the body is larger than max_body (%d bytes)"):format(self.room), "too_big"
end

-- The piece came to its end too early, or the connection did.
local function broken_off(self)
   if self.kind == "close" then
      self.ended = true
      return ""
   end
   local of = self.kind == "length" and (" of %d"):format(self.total + self.left) or ""
   return nil, ("the body broke off after %d%s bytes"):format(self.total, of), "protocol"
end

local function read_piece(self, max)
   if self.kind == "close" then self.left = max end
   local data, message, code = core.read_some(self.stream, math.min(max, self.left, PIECE),
      self.timeout)
   if not data and code == "closed" and self.kind ~= "close" then return broken_off(self) end
   if not data then return nil, message, code end
   if data == "" then return broken_off(self) end
   self.total, self.left = self.total + #data, self.left - #data
   if self.kind == "length" and self.left == 0 then self.ended = true end
   return data
end

--- The next piece, at most `max` bytes of it; "" at the end; nil, message, code.
function reader:read(max)
   if self.ended then return "" end
   if self.kind == "chunked" and self.left == 0 then
      local ok, message, code = begin_chunk(self)
      if not ok then return nil, message, code end
      if self.ended then return "" end
   end
   -- what is announced is judged before it comes
   if self.kind ~= "close" and self.total + self.left > self.room then return too_big(self) end
   local data, message, code = read_piece(self, max or PIECE)
   if data and self.total > self.room then return too_big(self) end
   return data, message, code
end

--- All of it, when that is no more than `limit` bytes.
function reader:read_all(limit)
   local parts = {}
   self.room = limit
   while true do
      local data, message, code = self:read()
      if not data then return nil, message, code end
      if data == "" then return table.concat(parts) end
      parts[#parts + 1] = data
   end
end

return body
