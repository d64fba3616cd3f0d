-- backlog: what was published on a topic and waits for one subscriber of this process. It is
-- bounded; what goes beyond that, the topic's policy decides. Data only.

local list = require "weft.list"

-- The marks of one subscriber on one topic, unless its options have others.
local backlog = { BYTES = 64 << 10, MESSAGES = 1024 }
backlog.__index = backlog

--- counts: fields dropped, delivered, pending and pending_bytes, which it keeps up: a message is
-- delivered when it is put in, unless it is dropped later. on_drop(item), when set, is called
-- for what is dropped after it was put in. An item's field missed, when set, is how many were
-- dropped between it and the one before; missed of the backlog itself are behind all.
function backlog.new(counts, on_drop)
   return setmetatable({ items = list.new(), newest = {}, count = 0, bytes = 0, dropped = 0,
      missed = 0, counts = counts, on_drop = on_drop }, backlog)
end

local function tally(self, messages, bytes)
   local counts = self.counts
   self.count, self.bytes = self.count + messages, self.bytes + bytes
   counts.pending, counts.pending_bytes = counts.pending + messages, counts.pending_bytes + bytes
end

--- Takes an item out, wherever it waits.
function backlog:remove(item)
   list.remove(item)
   if item.key and self.newest[item.key] == item then self.newest[item.key] = nil end
   tally(self, -1, -#item.message)
end

--- The longest waiting item, taken out; or nil.
function backlog:shift()
   local item = list.first(self.items)
   if item then self:remove(item) end
   return item
end

-- One that it does not get, and what was missed before that; `behind` comes after it.
local function lose(self, behind, before)
   self.dropped, behind.missed = self.dropped + 1, (behind.missed or 0) + (before or 0) + 1
   self.counts.dropped = self.counts.dropped + 1
end

local function drop(self, item)
   lose(self, item.next ~= self.items and item.next or self, item.missed)
   self:remove(item)
   self.counts.delivered = self.counts.delivered - 1
   if self.on_drop then self.on_drop(item) end
end

--- At the end, whatever there is. item = { message =, key = }
function backlog:append(item)
   if self.missed > 0 then item.missed, self.missed = self.missed, 0 end
   list.push(self.items, item)
   if item.key then self.newest[item.key] = item end
   tally(self, 1, #item.message)
end

local function is_over(self, more, bounds)
   if bounds.alone and self.count == 0 then return false end
   return self.count + 1 > bounds.messages or self.bytes + more > bounds.bytes
end

-- Drops until there is room; false: there will be none.
local function make_room(self, more, bounds)
   if bounds.policy == "drop_newest" then return not is_over(self, more, bounds) end
   while is_over(self, more, bounds) do
      local oldest = list.first(self.items)
      if not oldest then return false end
      drop(self, oldest)
   end
   return true
end

--- An item that is new, with bounds = { policy =, bytes =, messages = }: whether it waits now,
-- or nil where it may not and the subscriber is to be ended for it. bounds.alone: where nothing
-- waits an item of any size may, for who has taken all is not slow.
function backlog:put(item, bounds)
   local more, older = #item.message, item.key and self.newest[item.key]
   if older then drop(self, older) end
   if bounds.policy == "disconnect" and is_over(self, more, bounds) then
      lose(self, self)
      return nil
   elseif bounds.policy == "disconnect" or make_room(self, more, bounds) then
      self:append(item)
      return true
   end
   lose(self, self)
   return false
end

--- How many were dropped behind all that waits, or was taken.
function backlog:take_missed()
   local n = self.missed
   self.missed = 0
   return n
end

--- From now on it counts for nobody; what waits can still be taken.
function backlog:detach()
   local n, bytes = self.count, self.bytes
   tally(self, -n, -bytes)
   self.counts = { dropped = 0, delivered = 0, pending = n, pending_bytes = bytes }
   self.count, self.bytes = n, bytes
end

return backlog
