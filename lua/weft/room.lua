-- room: a topic that a client of channels is subscribed to: what came, in its order, until a
-- task takes it. channel_client.lua, which has the connection, makes rooms and feeds them.

local channel = require "weft.channel"
local core = require "weft.core"
local json = require "weft.json"
local limits = require "weft.limits"
local options = require "weft.options"

local room = {}
room.__index = room
room.__name = "weft.room"

local module = { methods = room }

-- Whose room it is, and what it needs besides what scripts see.
local inner = setmetatable({}, { __mode = "k" })

--- A room that has not joined yet. link: { ask=, tell=, forget= }, functions of the client.
function module.new(client, link, topic, params, most)
   local self = setmetatable({ topic = topic, closed = false }, room)
   inner[self] = { client = client, link = link, params = params, inbox = channel.new(most),
      most = most, dropped = 0, joined = channel.new(1) }
   return self
end

--- { client=, params=, inbox=, joined= a channel for the outcome of subscribing }
function module.inner(self)
   return inner[self]
end

-- -- what the connection brings ---------------------------------------------------------

-- The oldest goes where nobody takes anything, and whoever does in the end is told.
local function put(self, event)
   local mine = inner[self]
   if mine.inbox.is_closed then return end
   if #mine.inbox >= mine.most then
      mine.inbox:receive()
      mine.dropped = mine.dropped + 1
   end
   mine.inbox:send(event)
end

local function integer(n)
   return math.type(n) and math.tointeger(n) or nil
end

local function data_of(object)
   local data = object.data
   local bytes = object.encoding == "base64" and type(data) == "string"
      and core.base64_decode(data)
   if bytes then return bytes, "binary" end
   if data == nil then data = json.null() end
   return data
end

--- A message. One that is known already has come twice, and is dropped.
function module.message(self, object)
   local epoch, offset = object.epoch, integer(object.offset)
   if type(epoch) == "string" and offset then
      if epoch == self.epoch and offset <= self.offset then return end
      self.epoch, self.offset = epoch, offset
   end
   local data, kind = data_of(object)
   put(self, { type = "message", data = data, kind = kind, event = object.event, epoch = epoch,
      offset = offset })
end

--- The reply to a subscribe. again: it is not the first.
function module.enter(self, data, again)
   if again then
      self.recovered = data.recovered == true
      put(self, { type = "recovered", recovered = self.recovered })
   end
   local missed = data.recovered == true and type(data.messages) == "table" and data.messages
   for _, object in ipairs(missed or limits.none) do
      if type(object) == "table" then
         object.epoch = data.epoch
         module.message(self, object)
      end
   end
   local offset = integer(data.offset)
   local epoch = offset and type(data.epoch) == "string" and data.epoch or nil
   self.epoch, self.offset, self.data = epoch, epoch and offset, data.data
end

--- Somebody came, went or changed; or messages were dropped at the server.
function module.notice(self, object)
   put(self, object)
end

--- It is over: what has come can still be taken. object: what the server said, or nil.
function module.leave(self, object)
   if self.closed then return end
   self.closed = true
   if object then put(self, object) end
   inner[self].inbox:close()
   inner[self].joined:close()
end

-- -- what scripts ask ---------------------------------------------------------------------

local function take_event(self, timeout)
   local mine = inner[self]
   if mine.dropped > 0 then
      local count = mine.dropped
      mine.dropped = 0
      return { type = "missed", topic = self.topic, count = count }
   end
   return mine.inbox:receive(timeout)
end

--- room:event([timeout]) -> { type=, ... } | nil, message, code
function room:event(timeout)
   options.timeout(timeout, "room:event", 2)
   return take_event(self, timeout)
end

local function next_event(self)
   local event = take_event(self)
   return event
end

--- for event in room:events(): all that happens, until the room is left
function room:events()
   return next_event, self
end

local breaks = { missed = true, recovered = true }

--- room:receive([timeout]) -> data, event | nil, message, code: the next message; event.gap where
-- some before it were missed
function room:receive(timeout)
   options.timeout(timeout, "room:receive", 2)
   local ends = timeout and core.now() + timeout
   while true do
      local event, message, code = take_event(self, ends and math.max(ends - core.now(), 0))
      if not event then return nil, message, code end
      local mine = inner[self]
      if event.type == "message" then
         event.gap, mine.gap = mine.gap or false, false
         return event.data, event
      elseif breaks[event.type] and event.recovered ~= true then
         mine.gap = true
      end
   end
end

local function next_message(self)
   return self:receive()
end

--- for message, event in room:messages()
function room:messages()
   return next_message, self
end

--- room:publish(data [, { event=, timeout=, wait= }]) -> true, offset | nil, message, code
function room:publish(data, opts)
   opts = options.check(opts, limits.room_publish, "room:publish", 2)
   local request = { type = "publish", topic = self.topic, data = data, event = opts.event }
   local mine = inner[self]
   if not opts.wait then
      local ok, message, code = mine.link.tell(mine.client, request)
      return ok, message, code
   end
   local answer, message, code = mine.link.ask(mine.client, request, opts.timeout)
   if not answer then return nil, message, code end
   local at = answer.data
   return true, type(at) == "table" and integer(at.offset) or nil
end

local function result(answer, message, code)
   if not answer then return nil, message, code end
   if answer.data == json.null() then return nil end
   return answer.data
end

--- room:call(method [, data [, timeout]]) -> result | nil, message, code
function room:call(method, data, timeout)
   options.argument(method, "string", "the method", "room:call", 2)
   options.timeout(timeout, "room:call", 2)
   local mine = inner[self]
   return result(mine.link.ask(mine.client, { type = "call", topic = self.topic,
      method = method, data = data }, timeout))
end

--- room:presence([timeout]) -> { { id=, data= }, ... } | nil, message, code
function room:presence(timeout)
   options.timeout(timeout, "room:presence", 2)
   local mine = inner[self]
   return result(mine.link.ask(mine.client, { type = "presence", topic = self.topic }, timeout))
end

--- room:close(): leaves the topic, without waiting. Idempotent.
function room:close()
   local mine = inner[self]
   if not self.closed then mine.link.forget(mine.client, self) end
   return true
end

room.__close = room.close

function room:__tostring()
   return ("weft.room (%s%s)"):format(self.topic, self.closed and ", closed" or "")
end

return module
