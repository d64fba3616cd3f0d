-- Subscribers who are slower than their topic, under each policy: what they get and miss,
-- what they are told, what waits for them, and that nobody else notices.

local weft = require "weft"
local server = require "spec.helper_server"
local slow_ones = require "spec.helper_slow"
local raw = require "spec.raw"

local run, eventually = raw.run, raw.eventually
local SOON, rounds = raw.SOON, raw.rounds

local KIB, MIB = 1 << 10, 1 << 20

-- Over a unix socket, whose buffers the kernel does not let grow to megabytes.
local function narrow(path, changes)
   local c = raw.adopt((assert(weft.dial("unix:" .. path))))
   c:send(server.upgrade("/ws", changes))
   assert(c:read_head():find "^HTTP/1.1 101 ")
   return c
end

local function connect(path, opts)
   local client = server.keep(assert(weft.connect("ws+unix:" .. path .. ":/ws", opts)))
   assert.equal("ready", (client:receive(SOON)))
   return client
end

-- An app whose connections subscribe to t.* and say so; low_mark and high_mark small, so that
-- little has to wait until it is slow.
local function serve(opts, subscribe)
   opts = opts or {}
   opts.ping_interval = 0 -- who does not read does not answer, either
   opts.high_mark, opts.low_mark = opts.high_mark or 8 * KIB, opts.low_mark or 2 * KIB
   local done, ends = weft.channel(), {}
   local app, path = server.app(opts), os.tmpname()
   app:websocket("/ws", function(ws)
      ends[#ends + 1] = ws
      if subscribe then subscribe(ws) else ws:subscribe "t.*" end
      ws:send "ready"
      done:receive()
   end)
   os.remove(path)
   assert(app:listen("unix:" .. path))
   server.keep { close = function() done:close() end }
   return app, path, ends
end

local function slow(path, changes)
   local c = narrow(path, changes)
   assert(c:take "text" == "ready")
   return c
end

local pad, message, number = slow_ones.pad, slow_ones.message, slow_ones.number
local fill, gap_of = slow_ones.fill, slow_ones.gap_of

local function taker(c)
   return function()
      local text = assert(c:read()).payload
      return text, text:find "^{" ~= nil
   end
end

local function drain(c, last) return slow_ones.drain(taker(c), last) end

describe("a slow subscriber", function()
   it("under drop_oldest gets what was first, and the newest", function()
      run(function()
         local app, path, ends = serve()
         app:topic("t.>", { policy = "drop_oldest", max_pending_messages = 5, max_pending = MIB })
         local c = slow(path)
         local last = fill(app, 0)
         local stats = app:stats()
         assert.equal(5, stats.pending)
         assert.is_true(stats.pending_bytes >= 5 * 20000 and stats.pending_bytes < 5 * 20200)
         assert.same({ "t.*", stats.dropped }, { ends[1]:subscriptions()() })
         assert.same({ "t.*", 1, stats.dropped }, { app:topics()() })
         local list, notices = drain(c, last)
         assert.equal(last - stats.dropped, #list)
         assert.equal(last - 4, gap_of(list, 1))
         assert.same({}, notices)
         stats = app:stats()
         assert.same({ 0, 0, #list }, { stats.pending, stats.pending_bytes, stats.delivered })
         app:publish("t.2", message(last + 1)) -- it has caught up
         assert.same({ last + 1 }, (drain(c, last + 1)))
      end, 40)
   end)

   it("under drop_newest gets what was first, and what comes when it has caught up", function()
      run(function()
         local app, path = serve()
         app:topic("t.1", { policy = "drop_newest", max_pending = 100000 })
         local c = slow(path)
         local last = fill(app, 0)
         local stats = app:stats()
         assert.is_true(stats.pending_bytes <= 100000 and stats.pending_bytes > 60000)
         assert.equal(0, app:publish("t.1", message(last))) -- nobody gets that
         local kept = last - stats.dropped
         local list = drain(c, kept)
         assert.equal(kept, #list)
         app:publish("t.1", message(last + 1))
         assert.same({ last + 1 }, (drain(c, last + 1)))
      end, 40)
   end)

   it("under latest gets the newest of each key, in the order that they came", function()
      run(function()
         local app, path = serve()
         app:topic("t.*", { policy = "latest", max_pending = MIB })
         local c = slow(path)
         local function key(i) return { key = "k" .. i % 3 } end
         local last = fill(app, 0, "t.1", key)
         app:publish("t.2", message(last + 1), key(0)) -- another topic's keys are others
         app:publish("t.2", message(last + 2), key(0))
         app:publish("t.2", message(last + 3)) -- and no key is one, too
         assert.equal(5, app:stats().pending)
         local list = drain(c, last + 3)
         local tail = table.move(list, #list - 4, #list, 1, {})
         assert.same({ last - 2, last - 1, last, last + 2, last + 3 }, tail)
         assert.equal(last + 3 - app:stats().dropped, #list)
      end, 40)
   end)

   it("under latest has any number of keys", function()
      run(function()
         local app, path = serve()
         local keys = rounds(1000, 200)
         app:topic("t.*", { policy = "latest", max_pending = MIB })
         local c = slow(path)
         local last = fill(app, 0, "t.1", function() return { key = "first" } end)
         for _ = 1, 2 do -- all of the second time replace those of the first
            for i = 1, keys do app:publish("t.2", tostring(last + i), { key = "k" .. i }) end
            assert.equal(1 + keys, app:stats().pending)
         end
         local list = drain(c, last + keys)
         for i = 1, keys do assert.equal(last + i, list[#list - keys + i]) end
         assert.equal(0, app:stats().pending)
      end, 40)
   end)

   it("under disconnect is closed with 1013 at the marks of the topic", function()
      run(function()
         local app, path, ends = serve()
         app:topic("t.*", { max_pending_messages = 3 })
         local c = slow(path)
         local i = 0
         repeat
            i = i + 1
            app:publish("t.1", message(i))
         until ends[1]:closed() or i == 5000
         local code, reason, clean = ends[1]:closed()
         assert.same({ 1013, false }, { code, clean })
         assert.truthy(reason:find("max_pending_messages", 1, true))
         assert.same({ 0, 0 }, { app:stats().pending, app:stats().subscriptions })
         local n, f = 0, assert(c:read())
         while f.op ~= "close" do
            n = n + 1
            assert.equal(n, number(f.payload))
            f = assert(c:read())
         end
         assert.equal(1013, f.code)
         assert.is_true(n < i)
      end, 40)
   end)

   it("is told what it missed, before the next message, when the topic says so", function()
      run(function()
         local app, path = serve(nil, function(ws) ws:subscribe [[t.quote"d\.*]] end)
         app:topic(">", { policy = "drop_oldest", max_pending_messages = 4, max_pending = MIB,
            notice = true })
         local c = slow(path)
         local last, seen = 0, 0
         for _ = 1, 2 do
            local first = last + 1
            last = fill(app, last, [[t.quote"d\.1]])
            local missed = app:stats().dropped - seen
            seen = app:stats().dropped
            local list, notices = drain(c, last)
            assert.equal(last - 3, gap_of(list, first))
            local at, text = next(notices)
            assert.is_nil(next(notices, at))
            assert.equal(last - 3, list[at])
            local notice = [[{"type":"missed","topic":"t.quote\"d\\.*","count":%d}]]
            assert.equal(notice:format(missed), text)
         end
      end, 60)
   end)

   for _, policy in ipairs { "drop_oldest", "drop_newest", "latest" } do
      it("under " .. policy .. " is told of each gap in its place", function()
         run(function()
            local app, path = serve()
            app:topic("t.*", { policy = policy, max_pending_messages = 4, max_pending = MIB,
               notice = true })
            local c = slow(path)
            slow_ones.check_gaps(app, policy, taker(c))
         end, 60)
      end)
   end

   it("drops a message that is bigger than its mark, and nothing else", function()
      run(function()
         local app, path = serve()
         app:topic("t.1", { policy = "drop_oldest", max_pending = 1000, notice = true })
         local c = slow(path)
         local i = 0
         repeat -- big ones go out as long as it is fast
            i = i + 1
            app:publish("t.1", message(i))
         until app:stats().dropped > 0
         assert.equal(1, app:stats().dropped)
         app:publish("t.1", "small")
         assert.equal(1, app:stats().pending)
         for k = 1, i - 1 do assert.equal(k, number(c:take "text")) end
         assert.equal('{"type":"missed","topic":"t.*","count":1}', c:take "text")
         assert.equal("small", c:take "text")
      end, 40)
   end)

   it("is fed by turns from what it has subscribed to, in the order of publishing", function()
      run(function()
         local app, path = serve(nil, function(ws)
            for i = 1, 5 do ws:subscribe("t." .. i) end
         end)
         app:topic("t.*", { policy = "drop_oldest", max_pending = MIB })
         local c = slow(path)
         local i = 0
         repeat
            i = i + 1
            app:publish("t." .. i % 5 + 1, message(i))
         until app:stats().pending >= 25
         for k = 1, i do assert.equal(k, number(c:take "text")) end
         assert.equal(0, app:stats().dropped)
      end, 40)
   end)

   it("can unsubscribe, or vanish, while messages wait for it", function()
      run(function()
         local app, path, ends = serve()
         app:topic("t.*", { policy = "latest", max_pending = MIB })
         local c, gone = slow(path), slow(path)
         local i = 0
         repeat
            i = i + 1
            app:publish("t.1", message(i), { key = "k" .. i % 10 })
         until app:stats().pending == 20
         assert.is_true(ends[1]:unsubscribe "t.*")
         assert.equal(10, app:stats().pending)
         gone:reset()
         eventually(function() return app:stats().pending == 0 end)
         assert.equal(0, app:stats().pending_bytes)
         assert(ends[1]:subscribe "t.*")
         assert.equal(1, app:publish("t.1", message(i + 1), { key = "k" }))
         drain(c, i + 1)
      end, 40)
   end)

   it("that is in the middle of a message of its own gets what waited behind it", function()
      run(function()
         local app, path, ends = serve { hard_mark = 100 * KIB }
         app:topic("t.*", { policy = "drop_oldest", max_pending_messages = 3, max_pending = MIB })
         local client = connect(path)
         for left = 0, 1 do -- also one of which nothing was sent
            local w = assert(ends[1]:writer())
            if left == 1 then assert(w:write "begun") end
            for i = 1, 10 do assert.equal(1, app:publish("t.1", message(i))) end
            assert.equal(3, app:stats().pending)
            assert.equal(7 * (left + 1), app:stats().dropped)
            if left == 1 then
               assert(w:write " and done")
               w:close()
               assert.equal("begun and done", (client:receive(SOON)))
            else
               getmetatable(w).__close(w, "an error")
            end
            for i = 8, 10 do assert.equal(i, number((client:receive(SOON)))) end
            assert.equal(0, app:stats().pending)
         end
      end, 40)
   end)

   it("gets compressed messages that waited, between those of its own compressor", function()
      run(function()
         local app, path, ends = serve { compression = { mode = "dedicated", threshold = 0 },
            hard_mark = 64 * MIB }
         app:topic("t.*", { policy = "drop_oldest", max_pending_messages = 5, max_pending = MIB })
         local done = weft.channel()
         local client = connect(path, { compression = true, inbox_messages = 1,
            max_message = 4 * MIB })
         assert.truthy(client.extensions:find("permessage-deflate", 1, true))
         local own = weft.spawn(function() -- it waits while the client is slow
            for i = 1, 10 do assert(ends[1]:send("own " .. i .. pad)) end
            done:send(true)
         end)
         local noise = {} -- what deflate cannot shrink by much
         for i = 1, 4000 do noise[i] = ("%08x"):format(math.random(0, 0xffffffff)) end
         noise = table.concat(noise)
         local i = 0
         repeat
            i = i + 1
            app:publish("t.1", i .. " " .. noise)
         until app:stats().dropped > 10 or i > 5000
         local last, owns = 0, 0
         local reading = weft.spawn(function()
            while last < i or owns < 10 do
               local text = assert(client:receive(SOON))
               if text:find "^own" then
                  owns = owns + 1
                  assert(text == "own " .. owns .. pad)
               else
                  assert(text == number(text) .. " " .. noise and number(text) > last)
                  last = number(text)
               end
            end
         end)
         assert(done:receive(SOON))
         reading:join(SOON)
         own:join(SOON)
         assert.same({ i, 10 }, { last, owns })
      end, 60)
   end)
end)

describe("a burst in one turn", function()
   it("is not taken for slowness: what a turn wrote leaves first", function()
      run(function()
         for _, opts in ipairs { {}, { policy = "drop_oldest" }, { max_pending = 1000 } } do
            local app = serve { hard_mark = 128 * KIB }
            app:topic("t.*", opts)
            local _, port = assert(app:listen "127.0.0.1:0") -- where the kernel takes more
            local client = server.keep(assert(weft.connect(raw.url(port))))
            assert.equal("ready", (client:receive(SOON)))
            for i = 1, 20 do assert.equal(1, app:publish("t.1", message(i))) end -- 400 KB
            for i = 1, 20 do assert.equal(i, number((client:receive(SOON)))) end
            assert.equal(0, app:stats().dropped)
         end
      end, 40)
   end)
end)

-- -- a thousand of them ----------------------------------------------------------------------

-- So many pairs of connections as there are descriptors for, at most n.
local function affordable(n)
   local file <close> = assert(io.open "/proc/self/limits")
   local soft = file:read "a":match "Max open files +(%d+)"
   return math.min(n, ((tonumber(soft) or 1 << 20) - 100) // 4)
end

describe("a thousand who never read", function()
   it("stay within their caps, while a thousand others get everything", function()
      run(function()
         local n, cap = affordable(rounds(1000, 15)), 32 * KIB
         local app, path = serve({}, function(ws) ws:subscribe "news" end)
         app:topic("news", { policy = "drop_oldest", max_pending = cap })
         local good = {}
         for i = 1, n do
            slow(path)
            good[i] = connect(path)
         end
         local before = raw.memory()
         local last, most = rounds(60, 400), 0
         for i = 1, last do
            assert.is_true(app:publish("news", message(i)) >= n)
            local stats = app:stats()
            assert.is_true(stats.pending_bytes <= n * cap)
            most = math.max(most, stats.pending_bytes)
            for _, client in ipairs(good) do
               assert(number(assert(client:receive(SOON))) == i)
            end
         end
         assert.is_true(most > n * 20000) -- they were slow indeed
         assert.is_true(app:stats().dropped > n)
         assert.equal(last * n, app:stats().published * n)
         -- all wait for the same few messages: far less than all caps together
         raw.check_memory(before, 64 * MIB)
         assert.equal(2 * n, app:stats().websockets)
      end, 120)
   end)
end)
