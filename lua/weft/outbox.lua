-- outbox: what a client of a session (sessions.lua) is to be sent, in its order, until it takes
-- it: answers and the like, which are never dropped, and messages of topics whose policy may
-- drop them while the client is slow. Data only.

local backlog = require "weft.backlog"
local list = require "weft.list"
local weft1 = require "weft.weft1"

local outbox = {}
outbox.__index = outbox

-- The messages of one topic that wait.
local place = {}
place.__index = place

--- most: the bytes that may wait of what is never dropped. An entry is { text= } or { item=,
-- place= }. under_way: while a text is being sent, what it counts in bytes.
function outbox.new(most)
   return setmetatable({ entries = list.new(), bytes = 0, most = most, under_way = false }, outbox)
end

-- Where nothing is under way the client has taken all that came before this turn, and what is
-- behind that, small answers say, keeps no text back for its size.
local function has_room(self, text)
   if self.bytes == 0 or not self.under_way and self.bytes <= self.most then return true end
   return self.bytes + #text <= self.most
end

local function append(self, text)
   list.push(self.entries, { text = text })
   self.bytes = self.bytes + #text
end

--- A text that is never dropped: false where it does not fit.
function outbox:add(text)
   if not has_room(self, text) then return false end
   append(self, text)
   return true
end

--- How many bytes fit yet.
function outbox:room()
   return math.max(self.most - self.bytes, 0)
end

--- The next text to be sent, or nil. It is under way then, until the next call.
function outbox:next()
   self.bytes, self.under_way = self.bytes - (self.under_way or 0), false
   local entry = list.first(self.entries)
   if not entry then return nil end
   local text = entry.text
   self.under_way = text and #text or 0
   if not text then
      local missed = entry.item.missed
      entry.item.missed = nil
      local notice = missed and entry.place:notice(missed)
      if notice then return notice end
      text = entry.item.message
      entry.place.backlog:remove(entry.item)
   end
   list.remove(entry)
   return text
end

--- A place for the messages of a topic; counts as of backlog.new.
function outbox:place(topic, counts)
   local waiting = backlog.new(counts, function(item) list.remove(item.entry) end)
   return setmetatable({ outbox = self, topic = topic, backlog = waiting }, place)
end

--- What has to be told before the next message where some were missed, or nil.
function place:notice(missed)
   return missed > 0 and self.tells and weft1.missed_notice(self.topic, missed) or nil
end

-- As long as the client takes what comes it is not slow, whatever one turn brings.
local function add_in_time(self, text)
   local notice = self:notice(self.backlog:take_missed())
   if notice then append(self.outbox, notice) end
   append(self.outbox, text)
   return true
end

--- A message; bounds as of backlog:put, with notice=: what that returns.
function place:add(text, key, bounds)
   local box, waiting = self.outbox, self.backlog
   self.tells = bounds.notice
   if waiting.count == 0 and not box.under_way and has_room(box, text) then
      return add_in_time(self, text)
   end
   local item = { message = text, key = bounds.policy == "latest" and (key or "") or nil }
   local taken = waiting:put(item, bounds)
   if taken then
      item.entry = { item = item, place = self }
      list.push(box.entries, item.entry)
   end
   return taken
end

--- What waits is not sent any more.
function place:close()
   local waiting = self.backlog
   local item = waiting:shift()
   while item do
      list.remove(item.entry)
      waiting.counts.delivered = waiting.counts.delivered - 1
      item = waiting:shift()
   end
end

return outbox
