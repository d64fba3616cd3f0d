-- presence: who is on a topic: users by id, each with data. Several connections of one user
-- are one; a user whose last connection ends leaves after a grace, so that a reload is no
-- leave. Data only: the time is the caller's, and what happens goes to `tell`.

local list = require "weft.list"

local presence = {}

local store = {}
store.__index = store

--- presence.store(tell): tell(topic, "join" | "leave" | "update", user) with
-- user = { id=, data= } is called within the calls below. Its field `wake`, when set, is called
-- where sweep() may be due earlier than it said.
function presence.store(tell)
   return setmetatable({ tell = tell, places = {}, queues = {} }, store)
end

-- A place is a topic with users; a user counts its connections. While it is leaving it stands
-- in the queue of its grace, by the time it ends.
local function place_of(self, topic)
   local place = self.places[topic]
   if not place then
      place = { topic = topic, users = {}, count = 0, serial = 0 }
      self.places[topic] = place
   end
   return place
end

local function same(a, b)
   if type(a) ~= "table" or type(b) ~= "table" then return a == b end
   for key, value in pairs(a) do
      if not same(value, b[key]) then return false end
   end
   for key in pairs(b) do
      if a[key] == nil then return false end
   end
   return true
end

--- A copy of some data. The store keeps one of its own, so that a table which a script goes on
-- changing is seen to have changed when it comes again. What is JSON has no cycles.
local function copy(data)
   if type(data) ~= "table" then return data end
   local own = setmetatable({}, getmetatable(data))
   for key, value in next, data do rawset(own, key, copy(value)) end
   return own
end
presence.copy = copy

local function update(self, place, user, data)
   if same(user.data, data) then return end
   user.data, user.json = copy(data), nil
   self.tell(place.topic, "update", user)
end

local function new_user(self, place, id, data)
   place.serial, place.count = place.serial + 1, place.count + 1
   local user = { id = id, data = copy(data), connections = 1, place = place,
      serial = place.serial }
   place.users[id] = user
   self.tell(place.topic, "join", user)
end

--- Could it join? rules: { grace=, max= }.
function store:has_room(topic, rules, id)
   local place = self.places[topic]
   return not place or place.users[id] ~= nil or place.count < rules.max
end

--- One more connection of a user: true, or false when `max` others are there. It counts before
-- it is told of, for who is told may end it.
function store:join(topic, rules, id, data)
   if not self:has_room(topic, rules, id) then return false end
   local place = place_of(self, topic)
   local user = place.users[id]
   if user then
      list.remove(user)
      user.connections = user.connections + 1
      update(self, place, user, data)
   else
      new_user(self, place, id, data)
   end
   return true
end

--- Sets a user's data: whether it is there.
function store:set(topic, id, data)
   local place = self.places[topic]
   local user = place and place.users[id]
   if user then update(self, place, user, data) end
   return user ~= nil
end

local function gone(self, user)
   local place = user.place
   place.users[user.id] = nil
   place.count = place.count - 1
   if place.count == 0 then self.places[place.topic] = nil end
   self.tell(place.topic, "leave", user)
end

local function enqueue(self, user, grace, now)
   local queue = self.queues[grace]
   if not queue then
      queue = list.new()
      self.queues[grace] = queue
   end
   user.at = now + grace
   list.push(queue, user)
   if self.wake and queue.next == user then self.wake() end -- the first of its queue
end

--- One connection of a user less.
function store:leave(topic, rules, id, now)
   local place = self.places[topic]
   local user = place and place.users[id]
   if not user or user.connections == 0 then return end
   user.connections = user.connections - 1
   if user.connections > 0 then return end
   if rules.grace > 0 then enqueue(self, user, rules.grace, now) else gone(self, user) end
end

--- Lets those go whose grace is over. Returns when to come back, or nil.
function store:sweep(now)
   local soonest
   for grace, queue in pairs(self.queues) do
      local user = list.first(queue)
      while user and user.at <= now do
         list.remove(user)
         gone(self, user)
         user = list.first(queue)
      end
      if not user then self.queues[grace] = nil end
      if user and (not soonest or user.at < soonest) then soonest = user.at end
   end
   return soonest
end

local function by_serial(a, b)
   return a.serial < b.serial
end

--- Who is there, in the order they came: the store's own records. Those who are leaving still are.
function store:users(topic)
   local place, users = self.places[topic], {}
   for _, user in pairs(place and place.users or {}) do users[#users + 1] = user end
   table.sort(users, by_serial)
   return users
end

--- The same as a new list { { id=, data= }, ... }.
function store:list(topic)
   local users = self:users(topic)
   for i, user in ipairs(users) do users[i] = { id = user.id, data = copy(user.data) } end
   return users
end

return presence
