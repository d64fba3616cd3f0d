-- listeners: who of this process is told what is published on a topic: functions, called one
-- after the other within the publication.

local core = require "weft.core"

local listeners = {}
listeners.__index = listeners

local handle = {}
handle.__index = handle

--- Those of an app: by name, and by pattern. count: how many; by_form: of each form, or nil.
function listeners.new()
   return setmetatable({ exact = {}, patterns = core.trie(), all = {}, count = 0, by_form = {},
      serial = 0 }, listeners)
end

local function tally(self, form, n)
   local of_form = (self.by_form[form] or 0) + n
   self.by_form[form] = of_form > 0 and of_form or nil
   self.count = self.count + n
end

local function list_of(self, topic, kind)
   if kind == "name" then return self.exact[topic] end
   return self.patterns:get(topic)
end

--- How many are on exactly that name or pattern; kind: "name" or "pattern".
function listeners:on(topic, kind)
   local list = list_of(self, topic, kind)
   return list and #list or 0
end

local function new_list(self, topic, kind)
   local list = {}
   if kind == "name" then self.exact[topic] = list else assert(self.patterns:put(topic, list)) end
   return list
end

--- Adds f(message, info, rules), which must not wait; false: it has not taken the message. A
-- listener that is there in `form`; its handle has close(), and fields `backlog` and `subscription`
-- for who sets them.
function listeners:add(topic, kind, f, form)
   local list = list_of(self, topic, kind) or new_list(self, topic, kind)
   local one = setmetatable({ owner = self, topic = topic, kind = kind, f = f, form = form,
      serial = self.serial, list = list, index = #list + 1 }, handle)
   list[one.index] = one
   self.all[one] = true
   tally(self, form, 1)
   return one
end

-- The last one takes the place, as tell() walks backwards.
function handle:close()
   local list, owner = self.list, self.owner
   if not list then return end
   local last = list[#list]
   list[self.index], last.index = last, self.index
   list[#list] = nil
   self.list = nil
   owner.all[self] = nil
   tally(owner, self.form, -1)
   if #list > 0 then return end
   if self.kind == "name" then owner.exact[self.topic] = nil
   else owner.patterns:remove(self.topic) end
end
handle.__close = handle.close

-- To the listeners of a list: they may come and go meanwhile.
local function tell(self, list, messages, info, rules)
   local n, serial = 0, self.serial
   for i = #list, 1, -1 do
      local one = list[i]
      if one and one.serial ~= serial then
         one.serial = serial
         local ok, taken = pcall(one.f, messages[one.form], info, rules)
         if not ok then core.report(tostring(taken)) end
         if ok and taken ~= false then n = n + 1 end
      end
   end
   return n
end

--- Tells each that matches the name info.topic, once; messages by form: how many have it.
function listeners:tell(messages, info, rules)
   self.serial = self.serial + 1
   local list = self.exact[info.topic]
   local n = list and tell(self, list, messages, info, rules) or 0
   if #self.patterns > 0 then
      for _, others in ipairs(self.patterns:match(info.topic)) do
         n = n + tell(self, others, messages, info, rules)
      end
   end
   return n
end

--- All of them, as a list.
function listeners:every()
   local found = {}
   for one in pairs(self.all) do found[#found + 1] = one end
   return found
end

--- Those of one form that are on just this name: a copy of the list.
function listeners:of(topic, form)
   local found = {}
   for _, one in ipairs(self.exact[topic] or found) do
      if one.form == form then found[#found + 1] = one end
   end
   return found
end

return listeners
