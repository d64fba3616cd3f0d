-- The histories of topics: offsets, epochs, what is forgotten, and that no gap goes unseen.

local history = require "weft.history"

local hostile = os.getenv "WEFT_HOSTILE_GC" ~= nil
local LIMITS = { epoch = "e", max_topics = 4, max_bytes = 1 << 20 }
local RULES = { size = 3, ttl = 0, bytes = 1 << 20 }

local function store(changes)
   local opts = {}
   for name, value in pairs(LIMITS) do opts[name] = value end
   for name, value in pairs(changes or {}) do opts[name] = value end
   return history.store(opts)
end

-- Appends numbers from..to as texts at time `now`.
local function fill(s, topic, rules, from, to, now)
   for n = from, to do s:append(topic, rules, now or 0, tostring(n), "text") end
end

local function texts(entries)
   if not entries then return nil end
   local list = {}
   for i, entry in ipairs(entries) do list[i] = entry.offset .. "=" .. entry.text end
   return table.concat(list, " ")
end

local function since(s, topic, offset, now)
   return texts(s:since(topic, (s:position(topic)), offset, now or 0))
end

describe("history", function()
   it("counts offsets from 1 within an epoch, each topic its own", function()
      local s = store()
      assert.same({ "e-0", 1 }, { s:append("a", RULES, 0, "x", "text") })
      assert.same({ "e-0", 2 }, { s:append("a", RULES, 0, "y", "text") })
      assert.same({ "e-0", 1 }, { s:append("b", RULES, 0, "z", "text") })
      assert.same({ "e-0", 2 }, { s:position "a" })
      assert.same({ "e-0", 0 }, { s:position "never" })
   end)

   it("gives exactly what came after an offset, at every offset and fill", function()
      for size = 1, hostile and 2 or 5 do
         for n = 0, hostile and 5 or 12 do
            local s, rules = store(), { size = size, ttl = 0, bytes = 1 << 20 }
            fill(s, "t", rules, 1, n)
            for offset = 0, n do
               local expected = {}
               for i = offset + 1, n do expected[#expected + 1] = i .. "=" .. i end
               local whole = offset >= n - size
               assert.equal(whole and table.concat(expected, " ") or nil, since(s, "t", offset))
            end
         end
      end
   end)

   it("refuses what a peer makes up", function()
      local s = store()
      fill(s, "t", RULES, 1, 2)
      for _, offset in ipairs { 3, 1e300, -1, 0.5, 0 / 0, math.huge, "1", {}, true } do
         assert.is_nil(s:since("t", "e-0", offset, 0))
      end
      for _, epoch in ipairs { "E-0", "", 0, {}, false } do
         assert.is_nil(s:since("t", epoch, 1, 0))
      end
      assert.is_nil(s:since("t", nil, nil, 0))
      assert.equal("2=2", texts(s:since("t", "e-0", 1.0, 0))) -- as JSON's numbers come
      assert.is_nil(s:since("never", "e-0", 1, 0))
      assert.same({}, s:since("never", "e-0", 0, 0))
   end)

   it("keeps kinds and events", function()
      local s = store()
      s:append("t", RULES, 5, "{}", "json", "typing")
      s:append("t", RULES, 6, "\255", "binary")
      s:append("t", RULES, 7, "plain", "text")
      s:append("t", RULES, 8, "over the first", "text")
      assert.same({ { offset = 2, text = "\255", kind = "binary", time = 6 },
         { offset = 3, text = "plain", kind = "text", time = 7 },
         { offset = 4, text = "over the first", kind = "text", time = 8 } }, s:last("t", 9, 8))
      assert.equal("4=over the first", texts(s:last("t", 1, 8)))
      assert.same({}, s:last("never", 1, 8))
   end)

   it("forgets what is older than its ttl, and knows the gap", function()
      local s, rules = store(), { size = 10, ttl = 10, bytes = 1 << 20 }
      fill(s, "t", rules, 1, 1, 0)
      fill(s, "t", rules, 2, 2, 5)
      assert.equal("1=1 2=2", since(s, "t", 0, 9.9))
      assert.is_nil(since(s, "t", 0, 10))
      assert.equal("2=2", since(s, "t", 1, 10))
      assert.is_nil(since(s, "t", 1, 15))
      assert.equal("", since(s, "t", 2, 15)) -- whoever has all of it has missed nothing
      fill(s, "t", rules, 3, 3, 20)
      assert.equal("3=3", since(s, "t", 2, 20))
      assert.is_nil(since(s, "t", 1, 20))
   end)

   it("forgets by bytes; a message that is too big by itself is a gap", function()
      local s, rules = store(), { size = 10, ttl = 0, bytes = 3 * (48 + 10) }
      for _ = 1, 4 do s:append("t", rules, 0, ("x"):rep(10), "text") end
      assert.equal(3, #s:last("t", 10, 0))
      assert.is_nil(since(s, "t", 0))
      local big = ("x"):rep(1000)
      assert.same({ "e-0", 5 }, { s:append("t", rules, 0, big, "text") })
      assert.same({}, s:last("t", 10, 0))
      assert.is_nil(since(s, "t", 4))
      assert.equal("", since(s, "t", 5))
      assert.equal(0, s.bytes)
      s:append("t", rules, 0, "y", "text")
      assert.equal("6=y", since(s, "t", 5))
   end)

   it("bounds the topics: the least recently used goes, and comes back in another epoch", function()
      local s = store()
      for _, topic in ipairs { "a", "b", "c", "d" } do fill(s, topic, RULES, 1, 1) end
      fill(s, "e", RULES, 1, 1) -- all were touched once: the oldest goes
      assert.equal(4, s.count)
      assert.same({ "e-1", 0 }, { s:position "a" })
      assert.is_nil(s:since("a", "e-0", 1, 0))
      assert.is_nil(s:since("a", "e-0", 0, 0))
      fill(s, "b", RULES, 2, 2) -- used again
      fill(s, "f", RULES, 1, 1)
      assert.same({ "e-0", 2 }, { s:position "b" })
      assert.same({ "e-2", 0 }, { s:position "c" })
      fill(s, "a", RULES, 1, 1)
      assert.same({ "e-2", 1 }, { s:position "a" })
      assert.is_nil(s:since("a", "e-0", 1, 0))
   end)

   it("bounds the bytes of all topics", function()
      local s = store { max_bytes = 10 * 148, max_topics = 1000 }
      local rules = { size = 1000, ttl = 0, bytes = 1 << 20 }
      for n = 1, hostile and 60 or 500 do
         s:append("t" .. n % 50, rules, 0, ("x"):rep(100), "text")
         assert.truthy(s.bytes <= 10 * 148)
      end
      for _ = 1, hostile and 60 or 500 do s:append("one", rules, 0, ("x"):rep(100), "text") end
      assert.equal(10, #s:last("one", 1000, 0))
      assert.equal(1, s.count)
   end)

   it("adapts to rules that change", function()
      local s = store()
      fill(s, "t", { size = 5, ttl = 0, bytes = 1 << 20 }, 1, 7)
      fill(s, "t", { size = 3, ttl = 0, bytes = 1 << 20 }, 8, 8)
      assert.equal("6=6 7=7 8=8", texts(s:last("t", 10, 0)))
      fill(s, "t", { size = 8, ttl = 4, bytes = 1 << 20 }, 9, 10)
      assert.equal("6=6 7=7 8=8 9=9 10=10", texts(s:last("t", 10, 0)))
      assert.equal("", texts(s:last("t", 10, 4)))
   end)

   it("sweeps what nobody asks for, and says when to come back", function()
      local s, rules = store(), { size = 10, ttl = 10, bytes = 1 << 20 }
      local other = { size = 10, ttl = 3, bytes = 1 << 20 }
      assert.is_nil(s:sweep(0))
      fill(s, "a", rules, 1, 2, 0)
      fill(s, "b", rules, 1, 2, 1)
      fill(s, "a", rules, 3, 3, 8)
      fill(s, "c", other, 1, 1, 2)
      assert.equal(5, s:sweep(4))
      assert.equal(10, s:sweep(5))
      assert.equal(11, s:sweep(10))
      assert.equal("3=3", texts(s:last("a", 10, 10)))
      assert.equal(20, s:sweep(11))
      assert.is_nil(s:sweep(20))
      assert.equal(0, s.bytes)
      assert.equal("", since(s, "a", 3, 20)) -- the positions stay
      fill(s, "a", rules, 4, 4, 21)
      assert.equal("4=4", since(s, "a", 3, 21))
   end)

   it("forgets the queued place of a topic that was given up", function()
      local s, rules = store { max_topics = 1 }, { size = 2, ttl = 5, bytes = 1 << 20 }
      for n = 1, hostile and 20 or 100 do s:append("t" .. n, rules, n, "x", "text") end
      local queued, due = 0, s.queues[5].next
      while due ~= s.queues[5] do queued, due = queued + 1, due.next end
      assert.equal(1, queued)
      assert.equal(49, s.bytes)
   end)
end)
