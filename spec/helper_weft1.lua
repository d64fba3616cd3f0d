-- For specs of channels: a client that speaks weft.1 by hand, over WebSocket or over
-- Server-Sent Events and POST, with no code of weft's client in it.

local weft = require "weft"
local json = require "cjson".new()
local raw = require "spec.raw"
local server = require "spec.helper_server"

local helper = { json = json }

local client = {}
client.__index = client

--- The next object that the server sends.
function client:next()
   local text = assert(self.receive())
   return json.decode(text), text
end

--- Sends an object, or text as it is.
function client:say(object)
   self.send(type(object) == "table" and json.encode(object) or object)
end

--- Sends a request with an id of its own, and returns the answer to it, which must be next.
function client:ask(request)
   self.ids = self.ids + 1
   request.id = self.ids
   self:say(request)
   local answer, text = self:next()
   assert(answer.id == self.ids, text)
   return answer, text
end

--- Nothing more came: a ping's answer is next.
function client:is_quiet()
   self:say '{"type":"ping"}'
   local object, text = self:next()
   return object.type == "pong" or error("there was more: " .. text, 2)
end

function client:subscribe(topic, more)
   local request = { type = "subscribe", topic = topic }
   for name, value in pairs(more or {}) do request[name] = value end
   local answer, text = self:ask(request)
   assert(answer.type == "reply", text)
   return answer.data, text
end

function helper.websocket(port, opts)
   opts = opts or {}
   opts.protocols = "weft.1"
   local ws = assert(weft.connect(("ws://127.0.0.1:%d/weft"):format(port), opts))
   return setmetatable({ ws = ws, ids = 0,
      receive = function() return ws:receive(raw.SOON) end,
      send = function(text) assert(ws:send(text)) end,
      close = function() ws:close() end }, client)
end

-- One event: its name, and its data.
local function read_event(stream)
   local name, data = "message", {}
   while true do
      local line = stream:next_line()
      if line == "" then
         if #data > 0 then return name, table.concat(data, "\n") end
         name = "message"
      else
         local field, value = line:match "^(%a*): ?(.*)$"
         if field == "event" then name = value end
         if field == "data" then data[#data + 1] = value end
      end
   end
end

-- Lines out of chunks (RFC 9112 7.1).
local lines = {}
lines.__index = lines

function lines:next_line()
   while true do
      local line, rest = self.rest:match "^([^\n]*)\n(.*)$"
      if line then
         self.rest = rest
         return line
      end
      local size = tonumber(assert(self.stream:receive "*l"), 16)
      assert(size > 0, "the stream has ended")
      self.rest = self.rest .. assert(self.stream:receive(size))
      assert(self.stream:receive "*l")
   end
end

--- The events of a stream whose head was read: a function that returns name and data.
function helper.events(stream)
   local reader = setmetatable({ stream = stream, rest = "" }, lines)
   return function() return read_event(reader) end
end

--- headers: of both. address: where the events are asked for, if it is not that port.
function helper.session(port, headers, address)
   local fields = { accept = "text/event-stream" }
   for name, value in pairs(headers or {}) do fields[name] = value end
   local connection = address and raw.adopt((assert(weft.dial(address)))) or server.dial(port)
   local head = { "GET /weft HTTP/1.1", "host: test" }
   for name, value in pairs(fields) do head[#head + 1] = name .. ": " .. value end
   connection:send(table.concat(head, "\r\n"), "\r\n\r\n")
   local stream = connection.stream
   assert(stream:receive "*l" == "HTTP/1.1 200 OK")
   repeat until assert(stream:receive "*l") == ""
   local next_event = helper.events(stream)
   local name, data = next_event()
   assert(name == "session", name)
   local self = setmetatable({ ids = 0, session = json.decode(data),
      close = function() stream:close() end,
      receive = function()
         stream:settimeout(raw.SOON)
         return select(2, next_event())
      end }, client)
   self.post = function(text)
      return server.ask(port, "POST", "/weft?session=" .. self.session.session,
         { ["content-length"] = #text }, text)
   end
   self.send = function(text)
      local answer = self.post(text)
      assert(answer.status == 204, answer.status .. " " .. answer.body)
   end
   return self
end

--- An app that listens: itself and its port.
function helper.app(opts)
   local app = server.app(opts)
   local _, port = assert(app:listen "127.0.0.1:0")
   return app, port
end

return helper
