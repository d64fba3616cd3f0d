-- Clients of Server-Sent Events that take messages more slowly than they come: a plain
-- EventSource on a topic, and one that speaks weft.1 by events and POST. The topic's policy
-- holds for both as it does for WebSockets (slow_consumers_spec.lua).

local weft = require "weft"
local helper = require "spec.helper_weft1"
local raw = require "spec.raw"
local server = require "spec.helper_server"
local slow = require "spec.helper_slow"

local run, eventually, rounds = raw.run, raw.eventually, raw.rounds

local MIB = 1 << 20
local message, number, gap_of = slow.message, slow.number, slow.gap_of
local fill = slow.fill

local function drain(c, last) return slow.drain(c.next, last) end

-- Events come over a unix socket, whose buffers the kernel does not let grow to megabytes.
local function serve(rules, opts)
   local app, path = server.app(opts), os.tmpname()
   app:topic("t.*", rules or {})
   app:events("/feed", "t.*")
   app:channel("t.*", {})
   os.remove(path)
   assert(app:listen("unix:" .. path))
   local _, port = assert(app:listen "127.0.0.1:0")
   return app, path, port
end

local open = {}

-- next() -> a message, or a notice's text and "missed"
function open.EventSource(app, path)
   local before = app:subscribers "t.*"
   local stream = server.keep(assert(weft.dial("unix:" .. path)))
   stream:send "GET /feed HTTP/1.1\r\nhost: x\r\n\r\n"
   assert(stream:receive "*l" == "HTTP/1.1 200 OK")
   repeat until assert(stream:receive "*l") == ""
   eventually(function() return app:subscribers "t.*" == before + 1 end)
   local events = helper.events(stream)
   return { name = "t.*", stream = stream, next = function()
      local name, data = events()
      return data, name == "missed" and name or nil
   end }
end

function open.session(_, path, port)
   local c = helper.session(port, nil, "unix:" .. path)
   c:subscribe "t.1"
   return { name = "t.1", client = c, stream = { close = c.close }, next = function()
      local object, text = c:next()
      if object.type == "message" then return object.data end
      return text, object.type
   end }
end

for kind, connect in pairs(open) do
   describe("a slow " .. kind, function()
      it("under drop_oldest gets what was first, and the newest; others get everything", function()
         run(function()
            local app, path, port = serve { policy = "drop_oldest", max_pending_messages = 5,
               max_pending = MIB }
            local c, fast = connect(app, path, port), helper.websocket(port)
            fast:subscribe "t.1"
            local seen = weft.spawn(function()
               local n = 0
               repeat
                  n = n + 1
                  assert(number(fast:next().data) == n)
               until n == 5000 or app.done and n == app.done
               return n
            end)
            local last = fill(app, 0)
            app.done = last + 1
            app:publish("t.1", message(last + 1))
            last = last + 1
            assert.equal(last, (seen:join(raw.SOON)))
            local stats = app:stats()
            assert.equal(5, stats.pending)
            assert.is_true(stats.pending_bytes >= 5 * 20000 and stats.pending_bytes < 5 * 20200)
            for name, _, dropped in app:topics() do
               if name == c.name then assert.equal(stats.dropped, dropped) end
            end
            local list, notices = drain(c, last)
            assert.equal(last - stats.dropped, #list)
            assert.equal(last - 4, gap_of(list, 1))
            assert.same({}, notices) -- nobody asked for them
            stats = app:stats()
            assert.same({ 0, 0, last + #list },
               { stats.pending, stats.pending_bytes, stats.delivered })
            app:publish("t.1", message(last + 1))
            assert.same({ last + 1 }, (drain(c, last + 1)))
         end, 60)
      end)

      it("under drop_newest gets what was first, and what comes when it has caught up", function()
         run(function()
            local app, path, port = serve { policy = "drop_newest", max_pending = 100000 }
            local c = connect(app, path, port)
            local last = fill(app, 0)
            assert.is_true(app:stats().pending_bytes <= 100000)
            assert.equal(0, app:publish("t.1", message(last))) -- nobody gets that
            local kept = last + 1 - app:stats().dropped
            assert.equal(kept, #drain(c, kept))
            app:publish("t.1", message(last + 1))
            assert.same({ last + 1 }, (drain(c, last + 1)))
         end, 60)
      end)

      it("under latest gets the newest of each key, in the order that they came", function()
         run(function()
            local app, path, port = serve { policy = "latest", max_pending = MIB }
            local c = connect(app, path, port)
            local last = fill(app, 0, "t.1", function(i) return { key = "k" .. i % 3 } end)
            app:publish("t.1", message(last + 1)) -- no key is one, too
            assert.equal(4, app:stats().pending)
            local list = drain(c, last + 1)
            assert.same({ last - 2, last - 1, last, last + 1 },
               table.move(list, #list - 3, #list, 1, {}))
            assert.equal(last + 1 - app:stats().dropped, #list)
         end, 60)
      end)

      it("under disconnect is ended at the marks of the topic", function()
         run(function()
            local app, path, port = serve { max_pending_messages = 3 }
            local c = connect(app, path, port)
            local i = 0
            repeat
               i = i + 1
               app:publish("t.1", message(i))
               weft.sleep(0)
            until app:subscribers(c.name) == 0 or i == 5000
            assert.equal(0, app:subscribers(c.name))
            assert.equal(0, app:stats().pending)
            local n, ok = 0, true
            while ok do
               local text
               ok, text = pcall(c.next)
               if ok then
                  n = n + 1
                  assert.equal(n, number(text))
               end
            end
            assert.is_true(n > 0 and n < i)
            eventually(function() return app:stats().streams == 0 end)
         end, 60)
      end)

      it("is told what it missed, before the next message, when the topic says so", function()
         run(function()
            local app, path, port = serve { policy = "drop_oldest", max_pending_messages = 4,
               max_pending = MIB, notice = true }
            local c = connect(app, path, port)
            local last, seen = 0, 0
            for _ = 1, 2 do
               local first = last + 1
               last = fill(app, last)
               local missed = app:stats().dropped - seen
               seen = app:stats().dropped
               local list, notices = drain(c, last)
               assert.equal(last - 3, gap_of(list, first))
               local at, text = next(notices)
               assert.is_nil(next(notices, at))
               assert.equal(last - 3, list[at])
               assert.same({ type = "missed", topic = c.name, count = missed },
                  helper.json.decode(text))
            end
         end, 60)
      end)

      for _, policy in ipairs { "drop_oldest", "drop_newest", "latest" } do
         it("under " .. policy .. " is told of each gap in its place", function()
            run(function()
               local app, path, port = serve { policy = policy, max_pending_messages = 4,
                  max_pending = MIB, notice = true }
               local c = connect(app, path, port)
               slow.check_gaps(app, policy, c.next)
            end, 60)
         end)
      end

      it("that goes leaves nothing that waits for it", function()
         run(function()
            local app, path, port = serve { policy = "latest", max_pending = MIB }
            local c = connect(app, path, port)
            local i = 0
            repeat
               i = i + 1
               app:publish("t.1", message(i), { key = "k" .. i % 10 })
               weft.sleep(0)
            until app:stats().pending == 10
            c.stream:close()
            eventually(function() return app:stats().pending == 0 end)
            assert.same({ 0, 0 }, { app:stats().pending_bytes, app:subscribers(c.name) })
         end, 60)
      end)
   end)

   describe("an " .. kind .. " that takes what comes", function()
      it("gets a burst that one turn brings, whatever the marks are", function()
         run(function()
            local app, path, port = serve { policy = "drop_oldest", max_pending_messages = 2,
               max_pending = 1000 }
            local c = connect(app, path, port)
            for i = 1, 40 do assert.equal(1, app:publish("t.1", message(i))) end
            assert.equal(40, #drain(c, 40))
            assert.equal(0, app:stats().dropped)
         end, 60)
      end)

      it("gets one message of any size, and without marks a burst up to hard_mark", function()
         run(function()
            local app, path, port = serve()
            local c = connect(app, path, port)
            local big = ("7 "):rep(MIB)
            for _, before in ipairs { {}, { message(1), message(2) } } do
               for _, one in ipairs(before) do app:publish("t.1", one) end
               assert.equal(1, app:publish("t.1", big))
               for _, one in ipairs(before) do assert.equal(one, (c.next())) end
               assert.equal(big, (c.next()))
            end
            for i = 1, 40 do assert.equal(1, app:publish("t.1", message(i))) end
            assert.equal(40, #drain(c, 40))
         end, 60)
      end)
   end)
end

describe("a slow client of a session", function()
   it("gets its answers, in order and between the topics' messages", function()
      run(function()
         local app, path, port = serve { policy = "drop_oldest", max_pending_messages = 3,
            max_pending = MIB }
         local c = open.session(app, path, port)
         local client = c.client
         client:subscribe "t.2"
         local last = fill(app, 0)
         client:say { type = "ping", id = 77 }
         app:publish("t.2", "after")
         app:publish("t.1", message(last + 1))
         local seen = {}
         repeat
            local object = client:next()
            local what = object.type == "reply" and object.id or object.data
            if type(what) == "string" then what = number(what) or what end
            seen[#seen + 1] = what
         until what == last + 1
         assert.same({ last - 1, last, 77, "after", last + 1 },
            table.move(seen, #seen - 4, #seen, 1, {}))
      end, 60)
   end)

   it("gets nothing of a topic once it has left it", function()
      run(function()
         local app, path, port = serve { policy = "drop_oldest", max_pending_messages = 3,
            max_pending = MIB }
         local c = open.session(app, path, port)
         local last = fill(app, 0)
         c.client:say { type = "unsubscribe", id = 5, topic = "t.1" }
         assert.equal(0, app:stats().pending)
         app:publish("t.1", message(last + 1))
         local n, object = 0, c.client:next()
         while object.type == "message" do
            n = n + 1
            assert.equal(n, number(object.data))
            object = c.client:next()
         end
         assert.same({ 5, true }, { object.id, n < last - 3 })
         assert.equal(app:stats().delivered, n)
      end, 60)
   end)
end)

describe("an EventSource on a pattern", function()
   it("is treated on each topic as that topic says", function()
      run(function()
         local app, path, port = serve()
         app:topic("t.keep", { policy = "drop_oldest", max_pending_messages = 1000,
            max_pending = 100 * MIB })
         app:topic("t.1", { policy = "drop_newest", max_pending_messages = 1,
            max_pending = 100 * MIB })
         local c = open.EventSource(app, path, port)
         local last = fill(app, 0)
         for i = 1, 5 do app:publish("t.keep", "keep " .. i) end
         app:publish("t.1", message(last + 1))
         local list = {}
         repeat
            list[#list + 1] = c.next()
         until list[#list] == "keep 5"
         for i = 1, 5 do assert.equal("keep " .. i, list[#list - 5 + i]) end
         assert.equal(last + 1 - app:stats().dropped, #list - 5)
      end, 60)
   end)
end)

describe("what waits for one subscriber", function()
   it("takes no more memory than its marks, however often a key changes", function()
      run(function()
         local app = server.app()
         app:topic("t", { policy = "latest" })
         local sub = server.keep(app:subscribe "t")
         app:publish("t", "first", { key = "a" })
         local n = rounds(100000, 2000)
         collectgarbage()
         local before = collectgarbage "count"
         for i = 1, n do app:publish("t", tostring(i), { key = "b" }) end
         collectgarbage()
         assert.is_true(collectgarbage "count" - before < n * 8 / 1024)
         assert.equal(2, app:stats().pending)
         local text, info = sub:receive(0)
         assert.same({ "first" }, { text, info.missed })
         text, info = sub:receive(0)
         assert.same({ tostring(n), n - 1 }, { text, info.missed })
         assert.equal(0, app:stats().pending)
      end, 60)
   end)

   it("is told apart: what one missed is nobody else's", function()
      run(function()
         local app = server.app()
         local one = server.keep(app:subscribe("t", { policy = "drop_oldest",
            max_pending_messages = 1 }))
         local other = server.keep(app:subscribe "t")
         app:publish("t", "a")
         app:publish("t", "b")
         local text, info = one:receive(0)
         assert.same({ "b", 1 }, { text, info.missed })
         assert.equal("a", (other:receive(0)))
         text, info = other:receive(0)
         assert.same({ "b" }, { text, info.missed })
         assert.same({ 3, 1 }, { app:stats().delivered, app:stats().dropped })
      end)
   end)
end)
