-- subscription: a task's own place on a topic (app:subscribe): what was published waits in
-- a bounded queue until the task asks for it. The publisher never waits for it.

local backlog = require "weft.backlog"
local core = require "weft.core"
local options = require "weft.options"

local subscription = {}
subscription.__index = subscription
subscription.__name = "weft.subscription"

-- What a message counts at least, where only bytes bound how many a task is kept.
local LEAST = 64

--- opts: policy, max_pending, max_pending_messages, each before that of the topic; patient: of one
-- that is not a task's, and is read as fast as its client is. counts: as of backlog.new. most:
-- the bytes that stand for the marks where the policy is "disconnect" and there are none.
local function new(topic, opts, counts, most)
   return setmetatable({ topic = topic, opts = opts, backlog = backlog.new(counts), dropped = 0,
      bounds = {}, most = most }, subscription)
end

local function wake(self)
   local token = self.token
   if not token then return end
   self.token = nil
   core.unpark(token)
end

local function marks(self, rules)
   local opts = self.opts
   local policy = opts.policy or rules.policy or "disconnect"
   local bytes = opts.max_pending or rules.max_pending
   local messages = opts.max_pending_messages or rules.max_pending_messages
   local none = not bytes and not messages
   if policy == "disconnect" then -- as of connections, see topics.lua
      bytes = bytes or none and self.most or math.maxinteger
      messages = messages or none and not opts.patient and self.most // LEAST or math.maxinteger
   end
   return { policy = policy, bytes = bytes or backlog.BYTES,
      messages = messages or backlog.MESSAGES, alone = not opts.patient,
      why = none and "too slow: more than hard_mark waits"
         or "too slow: max_pending or max_pending_messages" }
end

-- rules: those of the published name, or false; the table is shared by all its publications.
local function bounds_of(self, rules)
   if self.rules ~= rules then self.rules, self.bounds = rules, marks(self, rules or {}) end
   return self.bounds
end

-- Who takes what comes is not slow, whatever one turn brings: as much as hard_mark, and then one
-- message more, of any size.
local function is_in_time(self)
   return self.reading and self.backlog.bytes <= self.most
end

--- What a listener is called with: false when it does not get the message.
local function take(self, message, info, rules)
   local bounds, waiting = bounds_of(self, rules or false), self.backlog
   local item = { message = message, info = info }
   if bounds.policy == "latest" then item.key = info.topic .. "\0" .. (info.key or "") end
   local taken = true
   if is_in_time(self) then waiting:append(item) else taken = waiting:put(item, bounds) end
   self.dropped = waiting.dropped
   if taken == nil then
      self.why = bounds.why
      self:close()
   end
   wake(self)
   return taken == true
end

--- What was missed before: it goes in whatever its size is.
local function recall(self, message, info)
   self.backlog:append { message = message, info = info }
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
   while self.backlog.count == 0 and not self.is_closed do
      self.token = waiter.token
      local left = ends and math.max(ends - core.now(), 0)
      local ok, why, code = core.park(left)
      if not ok and self.backlog.count == 0 and not self.is_closed then return nil, why, code end
   end
   return true
end

-- All who get the message share the info, but for what they missed.
local function told(item)
   if not item.missed then return item.info end
   local own = { missed = item.missed }
   for name, value in pairs(item.info) do own[name] = value end
   return own
end

--- The next message and what is known of it | nil, message, code. What waits when it is
-- closed can still be had.
function subscription:receive(timeout)
   options.timeout(timeout, "subscription:receive", 2)
   if self.token then
      return nil, "another task already waits in receive on this subscription", "busy"
   end
   if self.backlog.count == 0 and not self.is_closed then
      local ok, why, code = wait(self, timeout)
      if not ok then return nil, why, code end
   end
   local item = self.backlog:shift()
   if not item then return closed(self) end
   return item.message, told(item)
end

local receive = subscription.receive

local function next_message(self)
   local message, info = receive(self)
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
   self.backlog:detach()
   wake(self)
   return true
end
subscription.__close = subscription.close

function subscription:__tostring()
   return ("weft.subscription (%s%s)"):format(self.topic, self.is_closed and ", closed" or "")
end

return { new = new, take = take, recall = recall, methods = subscription }
