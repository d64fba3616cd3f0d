-- history: the last messages of topics, each with an offset within an epoch, so that a
-- subscriber that returns gets exactly what it missed, or learns that it cannot. Data only:
-- the time is the caller's. A store is one app's.
--
-- A topic's ring forgets by number, age and bytes, the store by topics and bytes in all, the
-- least recently used first. An offset is never given twice within an epoch, and a ring that was
-- given up has another epoch when it comes back: a gap can be small or large, but not unseen.

local list = require "weft.list"

local history = {}

local store = {}
store.__index = store

-- What a message costs beside its bytes, so that empty ones are not free.
local COST = 48

--- history.store { epoch = "random", max_topics = n, max_bytes = n }. Its field `wake`, when set,
-- is called where sweep() may be due earlier than it said.
function history.store(opts)
   return setmetatable({ base = opts.epoch, max_topics = opts.max_topics,
      max_bytes = opts.max_bytes, generation = 0, epoch = opts.epoch .. "-0", rings = {},
      count = 0, bytes = 0, used = list.new(), queues = {} }, store)
end

-- A ring keeps the messages from `first` to `offset`; that of offset n is in slot
-- n % rules.size + 1 of its arrays. A tag { kind, event } is there unless it is plain text.
local function new_ring(self, topic, rules)
   local ring = { topic = topic, epoch = self.epoch, rules = rules, offset = 0, first = 1,
      bytes = 0, texts = {}, times = {}, tags = {}, touched = true }
   ring.due = { ring = ring } -- its place in a queue
   self.rings[topic] = ring
   self.count = self.count + 1
   list.push(self.used, ring)
   return ring
end

local function drop_first(self, ring)
   local slot = ring.first % ring.rules.size + 1
   local cost = #ring.texts[slot] + COST
   ring.texts[slot], ring.times[slot], ring.tags[slot] = nil, nil, nil
   ring.first = ring.first + 1
   ring.bytes = ring.bytes - cost
   self.bytes = self.bytes - cost
end

-- The topic is as if it had never been, but its epoch is over. Those that have no ring share
-- the store's epoch, which so has to be another one, too.
local function give_up(self, ring)
   list.remove(ring)
   list.remove(ring.due)
   self.rings[ring.topic] = nil
   self.count = self.count - 1
   self.bytes = self.bytes - ring.bytes
   self.generation = self.generation + 1
   self.epoch = ("%s-%x"):format(self.base, self.generation)
end

-- The least recently used ring but `kept`: one that was touched since it was looked at last
-- gets a second chance, which is cheaper than to move it each time.
local function victim(self, kept)
   while true do
      local ring = list.pop(self.used)
      list.push(self.used, ring)
      if ring ~= kept and not ring.touched then return ring end
      ring.touched = false
   end
end

local function make_room(self, kept)
   while self.count > self.max_topics or (self.bytes > self.max_bytes and self.count > 1) do
      give_up(self, victim(self, kept))
   end
   while self.bytes > self.max_bytes and kept.first <= kept.offset do
      drop_first(self, kept)
   end
end

local function expire(self, ring, now)
   local ttl = ring.rules.ttl
   while ttl > 0 and ring.first <= ring.offset
      and ring.times[ring.first % ring.rules.size + 1] + ttl <= now do
      drop_first(self, ring)
   end
end

-- The topic's rules have changed: its messages move to other slots.
local function adopt(self, ring, rules)
   local old, size = ring.rules, ring.rules.size
   while ring.offset - ring.first + 1 > rules.size do drop_first(self, ring) end
   local texts, times, tags = {}, {}, {}
   for offset = ring.first, ring.offset do
      local from, to = offset % size + 1, offset % rules.size + 1
      texts[to], times[to], tags[to] = ring.texts[from], ring.times[from], ring.tags[from]
   end
   ring.texts, ring.times, ring.tags, ring.rules = texts, times, tags, rules
   if old.ttl ~= rules.ttl then list.remove(ring.due) end
end

-- All rings of one ttl stand in one queue, by the time at which to look at them again.
local function enqueue(self, ring, now)
   local ttl = ring.rules.ttl
   local queue = self.queues[ttl]
   if not queue then
      queue = list.new()
      self.queues[ttl] = queue
   end
   ring.due.at = now + ttl
   list.push(queue, ring.due)
   if self.wake and queue.next == ring.due then self.wake() end -- the first of its queue
end

-- The ring for a message to come, by rules that may be new.
local function prepare(self, topic, rules)
   local ring = self.rings[topic]
   if not ring then return new_ring(self, topic, rules) end
   adopt(self, ring, rules)
   return ring
end

-- More than may be kept of the topic, or in all.
local function shrink(self, ring)
   while ring.bytes > ring.rules.bytes do drop_first(self, ring) end
   if self.bytes > self.max_bytes or self.count > self.max_topics then make_room(self, ring) end
end

--- Adds a message: epoch, offset. kind: "text", "binary" or "json"; event: a name, or nil.
-- rules: { size=, ttl= (0: no limit), bytes= }, the same table as long as they are the same.
-- One that is over rules.bytes by itself has an offset and is gone. Every publication comes by
-- here, so what can be left to others is: what is over its ttl goes when somebody asks.
function store:append(topic, rules, now, text, kind, event)
   local ring = self.rings[topic]
   if not ring or ring.rules ~= rules then ring = prepare(self, topic, rules) end
   local texts, offset = ring.texts, ring.offset + 1
   local slot = offset % rules.size + 1
   local old, more = texts[slot], #text
   if old then -- as old as the ring is long
      ring.first, more = ring.first + 1, more - #old
   else
      more = more + COST
   end
   texts[slot], ring.times[slot], ring.offset, ring.touched = text, now, offset, true
   if event or kind ~= "text" then
      ring.tags[slot], ring.tagged = { kind = kind, event = event }, true
   elseif ring.tagged then
      ring.tags[slot] = nil
   end
   if more ~= 0 then ring.bytes, self.bytes = ring.bytes + more, self.bytes + more end
   if ring.bytes > rules.bytes or self.bytes > self.max_bytes or self.count > self.max_topics then
      shrink(self, ring)
   end
   if not ring.due.next and rules.ttl > 0 then enqueue(self, ring, now) end
   return ring.epoch, offset
end

--- epoch, offset of a topic's newest message; 0 before the first. Costs nothing for topics
-- that have no history yet, so that whoever may ask cannot fill the store.
function store:position(topic)
   local ring = self.rings[topic]
   if not ring then return self.epoch, 0 end
   return ring.epoch, ring.offset
end

local function copy(ring, from)
   local entries, size = {}, ring.rules.size
   for offset = from, ring.offset do
      local slot = offset % size + 1
      local tag = ring.tags[slot]
      entries[#entries + 1] = { offset = offset, text = ring.texts[slot],
         time = ring.times[slot], kind = tag and tag.kind or "text", event = tag and tag.event }
   end
   return entries
end

--- What came after (epoch, offset), oldest first: { offset=, text=, kind=, event=, time= }, ...;
-- nil: not all of it is known. epoch and offset may be anything a peer has sent.
function store:since(topic, epoch, offset, now)
   local at_epoch, newest = self:position(topic)
   offset = math.type(offset) and math.tointeger(offset)
   if epoch ~= at_epoch or not offset or offset < 0 or offset > newest then return nil end
   local ring = self.rings[topic]
   if not ring then return {} end
   expire(self, ring, now)
   ring.touched = true
   if offset + 1 < ring.first then return nil end
   return copy(ring, offset + 1)
end

--- The last messages, oldest first, at most `limit`.
function store:last(topic, limit, now)
   local ring = self.rings[topic]
   if not ring then return {} end
   expire(self, ring, now)
   return copy(ring, math.max(ring.first, ring.offset - limit + 1))
end

local function sweep_ring(self, ring, now)
   expire(self, ring, now)
   if ring.first <= ring.offset then
      enqueue(self, ring, now)
   else -- its place stays, its arrays need not
      ring.texts, ring.times, ring.tags = {}, {}, {}
   end
end

--- Forgets what is over its ttl, also where nobody asks: all is gone after twice its ttl.
-- Returns when to come back, or nil when there is nothing that could get old.
function store:sweep(now)
   local soonest
   for ttl, queue in pairs(self.queues) do
      local due = list.first(queue)
      while due and due.at <= now do
         list.remove(due)
         sweep_ring(self, due.ring, now)
         due = list.first(queue)
      end
      if not due then self.queues[ttl] = nil end
      if due and (not soonest or due.at < soonest) then soonest = due.at end
   end
   return soonest
end

return history
