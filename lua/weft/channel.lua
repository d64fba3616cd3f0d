-- channel: values handed from task to task, in order. Built on core's
-- park/unpark. Nothing is lost: a value given to a receiver that is cancelled
-- before it runs again goes back to where it was.

local core = require "weft.core"
local list = require "weft.list"
local methods = require "weft.methods"
local options = require "weft.options"

local channel = {}
channel.__index = channel
channel.__name = "weft.channel"

-- A waiter stands in a list, so that one which times out leaves it in constant time. It is
-- `done` once a value was handed over (or taken).

local function settle(waiter)
   waiter.done = true
   core.unpark(waiter.token)
end

-- Gives v to the receiver that has waited longest; false when none waits. order: the place of
-- a value that comes back.
local function hand_over(self, v, order)
   local waiter = list.pop(self.receivers)
   if not waiter then return false end
   self.handed = self.handed + 1
   waiter.value, waiter.order = v, order or self.handed
   settle(waiter)
   return true
end

local function push_back(self, v)
   self.last = self.last + 1
   self.items[self.last] = v
end

-- To the front, but behind what came back before it and had been handed over earlier.
local function put_back(self, v, order)
   local items, orders, at = self.items, self.orders, self.first
   self.first = at - 1
   while orders[at] and orders[at] < order do
      items[at - 1], orders[at - 1] = items[at], orders[at]
      at = at + 1
   end
   items[at - 1], orders[at - 1] = v, order
end

local function pop_front(self)
   local at = self.first
   if at > self.last then return nil end
   local v = self.items[at]
   self.items[at], self.orders[at] = nil, nil
   self.first = at + 1
   return v
end

-- A waiter's __close: also runs when the task is cancelled, or the run ends.
local receiving = {}
function receiving:__close()
   list.remove(self)
   if self.value == nil or self.taken then return end
   local ch = self.channel
   if not hand_over(ch, self.value, self.order) then put_back(ch, self.value, self.order) end
end

local sending = {}
function sending:__close()
   list.remove(self)
end

-- Parks until the waiter is settled: true, or nil, message, code. A wake-up
-- that was meant for something else just waits again.
local function wait(waiter, timeout)
   local ends = timeout and core.now() + timeout
   while not waiter.done do
      local left = ends and math.max(ends - core.now(), 0)
      local ok, message, code = core.park(left)
      if not ok and not waiter.done then return nil, message, code end
   end
   return true
end

local function closed()
   return nil, "the channel is closed", "closed"
end

--- weft.channel([capacity])
local function new(capacity)
   if capacity == nil then capacity = 0 end
   options.argument(capacity, "integer", "the capacity", "weft.channel", 2)
   if capacity < 0 then error("weft.channel: the capacity must not be negative", 2) end
   return setmetatable({ capacity = capacity, items = {}, first = 1, last = 0,
      orders = {}, -- of items that came back
      handed = 0, receivers = list.new(), senders = list.new(), is_closed = false }, channel)
end

-- Who forgets the colon sends nil, too.
local function refuse_nil(self)
   if getmetatable(self) ~= channel then methods.misuse(self, "channel:send", "weft.channel", 3) end
   error("channel:send: nil cannot be sent", 3)
end

function channel:send(v)
   if v == nil then refuse_nil(self) end
   if self.is_closed then return closed() end
   if hand_over(self, v) then return true end
   if #self < self.capacity then
      push_back(self, v)
      return true
   end
   local waiter <close> = setmetatable({ token = core.waiting(), offer = v }, sending)
   list.push(self.senders, waiter)
   local ok, message, code = wait(waiter)
   if not ok then return nil, message, code end
   if waiter.refused then return closed() end
   return true
end

-- What can be had without waiting, or nil. Room in the buffer is filled with
-- what the longest waiting sender offers, so order is kept.
local function take(self)
   local v = pop_front(self)
   local sender = list.pop(self.senders)
   if not sender then return v end
   if v == nil then
      v = sender.offer
   else
      push_back(self, sender.offer)
   end
   settle(sender)
   return v
end

function channel:receive(timeout)
   if self == nil then methods.misuse(self, "channel:receive", "weft.channel", 2) end
   options.timeout(timeout, "channel:receive", 2)
   local v = take(self)
   if v ~= nil then return v end
   if self.is_closed then return closed() end
   local waiter <close> = setmetatable({ token = core.waiting(), channel = self }, receiving)
   list.push(self.receivers, waiter)
   local ok, message, code = wait(waiter, timeout)
   if not ok then return nil, message, code end
   if waiter.refused then return closed() end
   waiter.taken = true
   return waiter.value
end

-- A for loop hands the last value on, too, which is no time limit.
local function next_value(self)
   local v = self:receive()
   return v
end

--- for v in ch:each(): ends when the channel is closed and empty.
function channel:each()
   return next_value, self
end

local function refuse_all(waiters)
   for waiter in list.pop, waiters do
      waiter.refused = true
      settle(waiter)
   end
end

--- What is buffered can still be received. Idempotent.
function channel:close()
   if self.is_closed then return true end
   self.is_closed = true
   refuse_all(self.receivers)
   refuse_all(self.senders)
   return true
end

channel.__close = channel.close

--- How many values are buffered.
function channel:__len()
   return self.last - self.first + 1
end

function channel:__tostring()
   return ("weft.channel (%d of %d%s)"):format(#self, self.capacity,
      self.is_closed and ", closed" or "")
end

return { new = new, methods = channel }
