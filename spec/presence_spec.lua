-- Presence: users, their connections, their grace, and what is told of them.

local presence = require "weft.presence"

local RULES = { grace = 10, max = 3 }

-- A store, and a function that returns what was told since it was called last.
local function fresh()
   local told = {}
   local s = presence.store(function(topic, event, user)
      told[#told + 1] = ("%s %s %s"):format(topic, event, user.id)
   end)
   return s, function()
      local all = table.concat(told, ", ")
      told = {}
      return all
   end
end

local function ids(s, topic)
   local names = {}
   for i, user in ipairs(s:list(topic)) do names[i] = user.id end
   return table.concat(names, " ")
end

describe("presence", function()
   it("tells who joins and leaves, and lists them in order", function()
      local s, told = fresh()
      local rules = { grace = 0, max = 9 }
      for _, id in ipairs { "zoe", "ann", "bob" } do assert.is_true(s:join("t", rules, id)) end
      assert.equal("t join zoe, t join ann, t join bob", told())
      assert.equal("zoe ann bob", ids(s, "t"))
      assert.equal("", ids(s, "other"))
      s:leave("t", rules, "zoe", 0)
      assert.equal("t leave zoe", told())
      s:join("t", rules, "zoe")
      assert.equal("ann bob zoe", ids(s, "t"))
      for _, id in ipairs { "zoe", "ann", "bob" } do s:leave("t", rules, id, 0) end
      assert.is_nil(next(s.places))
   end)

   it("takes several connections of a user for one", function()
      local s, told = fresh()
      for _ = 1, 3 do s:join("t", RULES, "ann", { age = 5 }) end
      assert.equal("t join ann", told())
      for _ = 1, 2 do s:leave("t", RULES, "ann", 0) end
      assert.is_nil(s:sweep(100))
      s:leave("t", RULES, "ann", 100)
      assert.equal(110, s:sweep(100))
      assert.equal("", told())
      assert.is_nil(s:sweep(110))
      assert.equal("t leave ann", told())
      s:leave("t", RULES, "ann", 111) -- one too many
      s:leave("never", RULES, "ann", 111)
      assert.equal("", told())
   end)

   it("keeps who comes back within the grace", function()
      local s, told = fresh()
      s:join("t", RULES, "ann")
      for now = 0, 1000, 5 do
         s:leave("t", RULES, "ann", now)
         s:leave("t", RULES, "ann", now) -- no second place in the queue
         assert.equal("ann", ids(s, "t"))
         s:sweep(now + 5)
         s:join("t", RULES, "ann")
      end
      assert.is_nil(s:sweep(1e6))
      assert.equal("t join ann", told())
   end)

   it("lets them go in the order of their ends, whatever their grace", function()
      local s, told = fresh()
      local short = { grace = 1, max = 9 }
      for _, id in ipairs { "a", "b", "c" } do s:join("t", { grace = 0, max = 9 }, id) end
      told()
      s:leave("t", RULES, "a", 0)
      s:leave("t", short, "b", 2)
      s:leave("t", RULES, "c", 3)
      assert.equal(3, s:sweep(2))
      assert.equal(10, s:sweep(3))
      assert.equal("t leave b", told())
      assert.equal(13, s:sweep(10))
      assert.is_nil(s:sweep(13))
      assert.equal("t leave a, t leave c", told())
   end)

   it("tells of data that changed, and only then", function()
      local s, told = fresh()
      s:join("t", RULES, "ann", { name = "Ann", at = { 1, 2 } })
      s:join("t", RULES, "ann", { name = "Ann", at = { 1, 2 } })
      assert.equal("t join ann", told())
      s:join("t", RULES, "ann", { name = "Ann", at = { 1, 2, 3 } })
      assert.equal("t update ann", told())
      assert.is_true(s:set("t", "ann", { name = "Anna" }))
      assert.is_true(s:set("t", "ann", { name = "Anna" }))
      assert.equal("t update ann", told())
      assert.is_true(s:set("t", "ann", nil))
      assert.equal("t update ann", told())
      assert.is_false(s:set("t", "bob", 1))
      assert.is_false(s:set("never", "ann", 1))
      assert.same({ { id = "ann" } }, s:list "t")
   end)

   it("sees what was changed within a table that it has been given", function()
      local s, told = fresh()
      local data = { at = { 1 } }
      s:join("t", RULES, "ann", data)
      data.at[2] = 2
      assert.same({ at = { 1 } }, s:list "t"[1].data)
      s:set("t", "ann", data)
      assert.equal("t join ann, t update ann", told())
      local shown = s:list "t"[1].data
      shown.at[3] = 3
      s:join("t", RULES, "ann", shown)
      assert.equal("t update ann", told())
      assert.same({ at = { 1, 2, 3 } }, s:list "t"[1].data)
   end)

   it("lets go of who leaves while it is told of him", function()
      local s
      s = presence.store(function(topic, event, user)
         if event ~= "leave" then s:leave(topic, { grace = 0, max = 3 }, user.id, 0) end
      end)
      s:join("t", RULES, "ann", 1)
      assert.equal("", ids(s, "t"))
      s:join("t", RULES, "ann", 2)
      assert.equal("", ids(s, "t"))
      assert.is_nil(next(s.places))
   end)

   it("has a limit of users, not of their connections", function()
      local s = fresh()
      for _, id in ipairs { "a", "b", "c" } do s:join("t", RULES, id) end
      assert.is_false(s:has_room("t", RULES, "d"))
      assert.is_false(s:join("t", RULES, "d"))
      assert.is_true(s:join("t", RULES, "c"))
      assert.is_true(s:join("other", RULES, "d"))
      s:leave("t", RULES, "a", 0)
      assert.is_false(s:join("t", RULES, "d")) -- a may still come back
      s:sweep(10)
      assert.is_true(s:join("t", RULES, "d"))
   end)
end)
