-- subscription: a task's own place on a topic (app:subscribe): what was published waits in
-- a bounded queue until the task asks for it. The publisher never waits for it.

local core = require "weft.core"
local options = require "weft.options"

local subscription = {}
subscription.__index = subscription
subscription.__name = "weft.subscription"

--- A queue without a source; opts: policy, max_pending, max_pending_messages.
local function new(topic, opts)
   return setmetatable({ topic = topic, opts = opts, items = {}, first = 1, last = 0,
      waiting = 0, bytes = 0, newest = {}, dropped = 0, missed = 0 }, subscription)
end

local function wake(self)
   local token = self.token
   if not token then return end
   self.token = nil
   core.unpark(token)
end

-- Items are taken out of the middle only by leaving a hole.
local function forget(self, item)
   self.items[item.index] = false
   self.waiting = self.waiting - 1
   self.bytes = self.bytes - #item.message
   if item.key and self.newest[item.key] == item then self.newest[item.key] = nil end
end

-- The longest waiting item, or nil.
local function shift(self)
   while self.first <= self.last do
      local item = self.items[self.first]
      if item then forget(self, item) end
      self.items[self.first] = nil
      self.first = self.first + 1
      if item then return item end
   end
end

local function drop(self, n)
   self.dropped = self.dropped + n
   self.missed = self.missed + n
   if self.on_drop then self.on_drop(n) end
end

local function append(self, item)
   self.last = self.last + 1
   item.index = self.last
   self.items[self.last] = item
   self.waiting = self.waiting + 1
   self.bytes = self.bytes + #item.message
   if item.key then self.newest[item.key] = item end
   wake(self)
end

local function is_over(self, more)
   return self.waiting + 1 > self.opts.max_pending_messages
      or self.bytes + more > self.opts.max_pending
end

local function too_slow(self)
   self.why = "too slow: max_pending or max_pending_messages"
   drop(self, 1)
   self:close()
end

-- Drops until there is room; false: there will be none.
local function make_room(self, more)
   if self.opts.policy == "drop_newest" then return not is_over(self, more) end
   while is_over(self, more) do
      if not shift(self) then return false end
      drop(self, 1)
   end
   return true
end

--- What topics.listen calls.
local function take(self, message, info)
   local item = { message = message, info = info }
   if self.opts.policy == "latest" then
      item.key = info.topic .. "\0" .. (info.key or "")
      local older = self.newest[item.key]
      if older then
         forget(self, older)
         drop(self, 1)
      end
   end
   if self.opts.policy == "disconnect" and is_over(self, #message) then
      too_slow(self)
   elseif self.opts.policy == "disconnect" or make_room(self, #message) then
      append(self, item)
   else
      drop(self, 1)
   end
end

--- What was missed before: it goes in whatever its size is.
local function recall(self, message, info)
   append(self, { message = message, info = info })
end

local function closed(self)
   return nil, self.why or "the subscription is closed", "closed"
end

-- A waiting task's mark, taken back when it is cancelled.
local mark = {}
function mark:__close()
   if self.subscription.token == self.token then self.subscription.token = nil end
end

-- Parks until something is there, or it is closed.
local function wait(self, timeout)
   local ends = timeout and core.now() + timeout
   local waiter <close> = setmetatable({ subscription = self, token = core.waiting() }, mark)
   while self.waiting == 0 and not self.is_closed do
      self.token = waiter.token
      local left = ends and math.max(ends - core.now(), 0)
      local ok, why, code = core.park(left)
      if not ok and self.waiting == 0 and not self.is_closed then return nil, why, code end
   end
   return true
end

--- The next message and what is known of it | nil, message, code. What waits when it is
-- closed can still be had.
function subscription:receive(timeout)
   if timeout ~= nil then
      options.argument(timeout, "number", "the timeout", "subscription:receive", 2)
   end
   if self.token then
      return nil, "another task already waits in receive on this subscription", "busy"
   end
   if self.waiting == 0 and not self.is_closed then
      local ok, why, code = wait(self, timeout)
      if not ok then return nil, why, code end
   end
   local item = shift(self)
   if not item then return closed(self) end
   if self.missed > 0 then item.info.missed, self.missed = self.missed, 0 end
   return item.message, item.info
end

local function next_message(self)
   local message, info = self:receive()
   if message ~= nil then return message, info end
end

--- for message, info in sub:each(): ends when it is closed.
function subscription:each()
   return next_message, self
end

--- Idempotent.
function subscription:close()
   if self.is_closed then return true end
   self.is_closed = true
   if self.source then self.source:close() end
   wake(self)
   return true
end
subscription.__close = subscription.close

function subscription:__tostring()
   return ("weft.subscription (%s%s)"):format(self.topic, self.is_closed and ", closed" or "")
end

return { new = new, take = take, recall = recall, methods = subscription }
