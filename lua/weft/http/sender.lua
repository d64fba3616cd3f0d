-- sender: sends the body of a request, in a task of its own when that may wait: a server
-- may answer before it has read everything, and one that streams back what it gets would
-- else wait for us while we wait for it.

local checks = require "weft.checks"
local core = require "weft.core"

local sender = {}

-- What the stream takes without waiting.
local AT_ONCE = 64 << 10

-- { stream=, hop=, timeout=, task=, done=, raised=, progress= when something last left,
-- putting= whether something is to leave now }
local class = {}
class.__index = class

local function misuse(message, ...)
   error(("weft.http.request: " .. message):format(...), 0)
end

-- Between two pieces nothing is half sent, so a failure leaves no bytes to regret.
local function put(self, data)
   self.putting = true
   local sent = self.stream:send(data)
   self.putting = false
   if not sent then return false end
   self.progress = core.now()
   return true
end

local function trailer_lines(trailers)
   if type(trailers) ~= "table" then
      misuse("behind its nil the body's iterator may return a table of trailer fields, got a %s",
         type(trailers))
   end
   local lines = {}
   for name, value in pairs(trailers) do
      value = tostring(value)
      if type(name) ~= "string" or not checks.is_token(name) or value:find("[\0\r\n]") then
         misuse("trailer %q: not a header field", tostring(name))
      end
      lines[#lines + 1] = ("%s: %s\r\n"):format(name, value)
   end
   return table.concat(lines)
end

local function check_piece(self, piece, total)
   if type(piece) ~= "string" then
      misuse("the body's iterator must return strings, got a %s", type(piece))
   end
   local length = self.hop.length
   if length and total > length then
      misuse("the body is longer than its content-length (%d)", length)
   end
end

-- RFC 9112 7.1: chunks, the last one, and the trailer section.
local function send_end(self, total, trailers)
   local length = self.hop.length
   if length and total < length then
      misuse("the body is shorter than its content-length (%d)", length)
   end
   if length then return true end
   return put(self, ("0\r\n%s\r\n"):format(trailers and trailer_lines(trailers) or ""))
end

local function send_pieces(self, iterator)
   local total = 0
   while true do
      local piece, trailers = iterator()
      if piece == nil then return send_end(self, total, trailers) end
      total = total + (type(piece) == "string" and #piece or 0)
      check_piece(self, piece, total)
      if not self.hop.length and piece ~= "" then -- a chunk of size 0 would be the last
         piece = ("%x\r\n%s\r\n"):format(#piece, piece)
      end
      if piece ~= "" and not put(self, piece) then return false end
   end
end

local function send_body(self)
   local content = self.hop.body
   if type(content) == "string" then return put(self, content) end
   return send_pieces(self, content)
end

-- An error of the iterator's ends the connection: that wakes whoever reads the answer.
local function work(self)
   local ok, result = pcall(send_body, self)
   if ok then
      self.done = result
      return
   end
   if core.is_cancel(result) then error(result, 0) end
   self.raised = result
   self.stream:close()
end

--- Sends what the hop has as a body: a sender, which is done when that did not wait.
function sender.start(stream, hop, timeout)
   local self = setmetatable({ stream = stream, hop = hop, timeout = timeout, done = false,
      progress = core.now() }, class)
   stream:settimeout(timeout, "b")
   if type(hop.body) == "string" and #hop.body <= AT_ONCE then
      self.done = put(self, hop.body)
   else
      self.task = core.spawn(work, self)
   end
   return self
end

--- How long silence may last from now on. What is to leave has that time itself, and anew while any
-- of it does; that it gave up is seen soon.
function class:patience()
   if self.putting then return self.timeout / 4 end
   return self.progress + self.timeout - core.now()
end

--- Sends no more. The connection is of no use then.
function class:stop()
   if self.task and not self.done then self.task:cancel() end
end

return sender
