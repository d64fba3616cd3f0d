-- Topics: names and patterns, who gets what, limits, hooks, options by pattern, and what
-- goes wrong in the middle of it. Slow subscribers are slow_consumers_spec's.

local weft = require "weft"
local process = require "spec.process"
local server = require "spec.helper_server"
local raw = require "spec.raw"
local rig = require "spec.topic_rig"

local run, eventually, blame = raw.run, raw.eventually, server.blame
local SOON, rounds = raw.SOON, raw.rounds
local serve, take, taken = rig.serve, rig.take, rig.taken

-- -- names -----------------------------------------------------------------------------------

describe("a topic's name", function()
   local bad = {
      { "", "1 to 255 bytes" }, { ("x"):rep(256), "1 to 255 bytes" }, { "a..b", "empty word" },
      { ".a", "empty word" }, { "a.", "empty word" }, { "a b", "space" }, { "a\nb", "control" },
      { "a\0b", "control" }, { "\xff", "UTF-8" }, { "a*", "whole words" }, { ">.a", "last word" },
      { 5, "must be a string" }, { false, "must be a string" },
   }

   it("is words: others raise where they are used, and say what would be right", function()
      run(function()
         local app, join = serve()
         local ws = join()
         local uses = {
            function(topic) app:publish(topic, "x") end, function(topic) app:topic(topic, {}) end,
            function(topic) app:subscribe(topic) end, function(topic) app:subscribers(topic) end,
            function(topic) ws:subscribe(topic) end, function(topic) ws:unsubscribe(topic) end,
            function(topic) ws:publish(topic, "x") end,
         }
         for _, row in ipairs(bad) do
            for i, use in ipairs(uses) do
               local message = blame(function() use(row[1]) end)
               assert.truthy(message:find(row[2], 1, true), ("%d: %s"):format(i, message))
            end
         end
         assert.is_nil(ws:closed())
      end)
   end)

   it("has no wildcard where something is published", function()
      run(function()
         local app, join = serve()
         local ws = join()
         for _, pattern in ipairs { "*", ">", "a.*", "a.*.b", "a.>" } do
            local why = "is a pattern"
            assert.truthy(blame(function() app:publish(pattern, "x") end):find(why, 1, true))
            assert.truthy(blame(function() ws:publish(pattern, "x") end):find(why, 1, true))
         end
      end)
   end)

   it("is no longer than max_topic_name", function()
      run(function()
         local app, join = serve { max_topic_name = 5 }
         local ws = join "12345"
         assert.truthy(blame(function() ws:subscribe "123456" end):find("max_topic_name", 1, true))
         assert.equal(1, app:publish("12345", "x"))
      end)
   end)

   it("may have 255 bytes, and 128 words", function()
      run(function()
         local app, join = serve()
         local long, words = ("é"):rep(127) .. "x", ("x."):rep(127) .. "x"
         local _, client = join(long, words, ("*."):rep(127) .. "*")
         assert.equal(1, app:publish(long, "long"))
         assert.equal(1, app:publish(words, "words"))
         assert.equal("long", take(client))
         assert.equal("words", take(client))
      end)
   end)
end)

-- -- who gets it -----------------------------------------------------------------------------

local function obviously(pattern, name)
   if pattern == ">" then return name ~= "" end
   local p, rest = pattern:match "^([^.]*)%.?(.*)$"
   local n, more = name:match "^([^.]*)%.?(.*)$"
   if p == "" or n == "" then return p == n end
   return (p == "*" or p == n) and obviously(rest, more)
end

describe("patterns", function()
   local patterns = { "a", "*", ">", "a.b", "a.*", "*.b", "*.*", "a.>", "*.>", "a.b.c", "a.*.c",
      "a.b.>", "*.*.*", "b.>" }
   local names = { "a", "b", "a.b", "a.c", "b.b", "a.b.c", "a.x.c", "a.b.c.d", "q" }

   it("match one word by *, and one or more by >", function()
      run(function()
         local app, join = serve()
         local ends = {}
         for _, pattern in ipairs(patterns) do
            local ws, client = join(pattern)
            ends[pattern] = { ws = ws, client = client, sub = server.keep(app:subscribe(pattern)) }
         end
         for _, name in ipairs(names) do
            local expected = 0
            for _, pattern in ipairs(patterns) do
               if obviously(pattern, name) then expected = expected + 1 end
            end
            assert.equal(2 * expected, app:publish(name, name), name)
         end
         for pattern, e in pairs(ends) do
            local wanted = {}
            for _, name in ipairs(names) do
               if obviously(pattern, name) then wanted[#wanted + 1] = name end
            end
            assert.same(wanted, taken(e.ws, e.client), pattern)
            for _, name in ipairs(wanted) do
               local message, info = assert(e.sub:receive(0))
               assert.same({ name, name }, { message, info.topic })
            end
            assert.is_nil(e.sub:receive(0))
         end
      end)
   end)

   it("that match together bring a message once", function()
      run(function()
         local app, join = serve()
         local ws, client = join("a.b", "a.*", ">", "*.b")
         local other, its = join("a.>", "a.b")
         assert.equal(2, app:publish("a.b", "one"))
         assert.equal(1, ws:publish("a.b", "two")) -- not to itself, by none of them
         assert.same({ "one" }, taken(ws, client))
         assert.same({ "one", "two" }, taken(other, its))
      end)
   end)
end)

describe("a subscription", function()
   it("twice is one", function()
      run(function()
         local app, join = serve()
         local ws, client = join("t", "t")
         assert.is_true(ws:subscribe "t")
         assert.equal(1, app:subscribers "t")
         assert.equal(1, app:publish("t", "x"))
         assert.same({ "x" }, taken(ws, client))
         assert.is_true(ws:unsubscribe "t")
         assert.is_false(ws:unsubscribe "t")
         assert.equal(0, app:publish("t", "x"))
      end)
   end)

   it("ends with the connection, and its topics with it", function()
      run(function()
         local app, join = serve()
         local ws, client = join("a", "b.*", ">")
         local gone = join "a"
         assert.equal(2, app:subscribers "a")
         assert.same({ 3, 4 }, { app:stats().topics, app:stats().subscriptions })
         client:close()
         eventually(function() return ws:closed() end)
         assert.equal(1, app:subscribers "a")
         gone:close(1000) -- at once, whatever its peer says
         assert.same({ 0, 0 }, { app:stats().topics, app:stats().subscriptions })
         assert.is_nil(app:topics()())
         assert.equal(0, app:publish("a", "x"))
         local ok, message, code = ws:subscribe "a"
         assert.same({ nil, "closed: 1000", "closed" }, { ok, message, code })
         assert.is_nil(ws:publish("a", "x"))
         assert.is_false(ws:unsubscribe "a")
         assert.is_nil(ws:subscriptions()())
      end)
   end)

   it("can end while somebody iterates, and others begin", function()
      run(function()
         local app, join = serve()
         local ws = join()
         for i = 1, 50 do assert(ws:subscribe("t." .. i)) end
         local seen = 0
         for name in ws:subscriptions() do
            seen = seen + 1
            assert.is_true(ws:unsubscribe(name))
            assert(ws:subscribe("u." .. seen))
         end
         assert.equal(50, seen)
         seen = 0
         for name, n in app:topics() do
            seen = seen + 1
            assert.equal(1, n)
            ws:unsubscribe(name)
         end
         assert.same({ 50, 0 }, { seen, app:stats().topics })
      end)
   end)

   it("of one more than max_topics_per_connection is refused; room is made again", function()
      run(function()
         local app, join = serve { max_topics_per_connection = 3 }
         local ws = join("a", "b", "c.*")
         local ok, message, code = ws:subscribe "d"
         assert.same({ nil, "too_big" }, { ok, code })
         assert.truthy(message:find("max_topics_per_connection", 1, true))
         assert.is_true(ws:subscribe "a") -- it is, already
         ws:unsubscribe "b"
         assert.is_true(ws:subscribe "d")
         assert.equal(1, app:publish("d", "x"))
         join("x", "y", "z") -- it is each connection's own
      end)
   end)

   it("may be to thousands of topics: each is found, and gone when it is over", function()
      run(function()
         local n = rounds(3000, 300)
         local app, join = serve { max_topics_per_connection = n }
         local ws, client = join()
         for i = 1, n do assert(ws:subscribe("room." .. i)) end
         assert.equal(n, app:stats().topics)
         for i = 1, n, n // 100 do
            assert.equal(1, app:publish("room." .. i, tostring(i)))
            assert.equal(tostring(i), take(client))
         end
         for i = 1, n, 2 do assert.is_true(ws:unsubscribe("room." .. i)) end
         for i = 1, n do assert.equal((i + 1) % 2, app:subscribers("room." .. i)) end
         assert.equal(n // 2, app:stats().topics)
      end)
   end)

   it("of one more than max_subscribers is refused", function()
      run(function()
         local app, join = serve()
         app:topic("room.*", { max_subscribers = 2 })
         local ws = join("room.1", "room.2", ">")
         local listener = server.keep(app:subscribe "room.1")
         local other = join "room.2"
         local ok, message, code = other:subscribe "room.1"
         assert.same({ nil, "too_big" }, { ok, code })
         assert.truthy(message:find("max_subscribers", 1, true))
         assert.is_nil((join():subscribe "room.2"))
         listener:close()
         assert.is_true(other:subscribe "room.1")
         assert.equal(2, app:publish("room.1", "x"))
         ws:unsubscribe "room.2"
         assert.is_true(join():subscribe "room.2")
      end)
   end)
end)

describe("publishing", function()
   it("reaches the subscribers; ws:publish all but itself", function()
      run(function()
         local port, app = raw.app(function(ws)
            ws:subscribe "room"
            ws:send "ready"
            for message in ws:messages() do
               if message == "leave" then
                  ws:unsubscribe "room"
                  ws:send "left"
               else
                  ws:publish("room", message)
               end
            end
         end)
         local all = {}
         for i = 1, 3 do all[i] = server.keep(assert(weft.connect(raw.url(port)))) end
         local a, b, c = table.unpack(all)
         for _, ws in ipairs(all) do assert.equal("ready", ws:receive(SOON)) end
         assert.equal(3, app:publish("room", "all"))
         for _, ws in ipairs(all) do assert.equal("all", ws:receive(SOON)) end
         a:send "from a"
         assert.equal("from a", b:receive(SOON))
         assert.equal("from a", c:receive(SOON))
         b:send "leave"
         assert.equal("left", b:receive(SOON))
         assert.equal(2, app:publish("room", "\xff", "binary"))
         local message, kind = a:receive(SOON)
         assert.same({ "\xff", "binary" }, { message, kind })
         assert.equal(0, app:publish("nobody", "x"))
      end)
   end)

   it("leaves out except, and whoever published", function()
      run(function()
         local app, join = serve()
         local one, first = join "t"
         local two, second = join "t"
         assert.equal(1, app:publish("t", "not one", { except = one }))
         assert.equal(1, one:publish("t", "not one either"))
         assert.equal(1, one:publish("t", "\xff", { kind = "binary", except = two }))
         assert.same({ "\xff" }, taken(one, first)) -- except instead of itself
         assert.same({ "not one", "not one either" }, taken(two, second))
         two:close()
         assert.equal(1, app:publish("t", "x", { except = two })) -- closed: nobody
      end)
   end)

   it("says how it was misused, and what is no UTF-8", function()
      run(function()
         local app, join = serve()
         local ws = join "t"
         local rows = {
            { print, nil, "the message must be a string" }, { nil, nil, "the message must be" },
            { { print }, nil, "cannot be JSON" }, { 0 / 0, nil, "not finite" },
            { 1 / 0, nil, "not finite" }, { { "\xff" }, nil, "not UTF-8" },
            { "x", { except = io.stdout }, "must be a websocket" },
            { "x", { except = ws.request }, "must be a websocket" },
            { "x", { event = "" }, "1 to 64 bytes" }, { "x", { event = "a\nb" }, "control" },
            { "x", { event = ("e"):rep(65) }, "1 to 64 bytes" },
            { "x", { event = "\xff" }, "UTF-8" },
            { "x", "y", 'the kind is "text" or "binary"' }, { "x", 5, "the kind is" },
            { "x", { exept = ws }, "unknown option" }, { "x", { kind = "y" }, '"binary"' },
            { "x", { key = 1 }, "must be a string" },
         }
         for _, row in ipairs(rows) do
            for _, who in ipairs { app, ws } do
               local message = blame(function() who:publish("t", row[1], row[2]) end)
               assert.truthy(message:find(row[3], 1, true), message)
               assert.truthy(message:find "^%a+:publish: ", message)
            end
         end
         for _, who in ipairs { app, ws } do
            local n, message, code = who:publish("t", "\xff")
            assert.same({ nil, "utf8" }, { n, code })
            assert.truthy(message:find("UTF-8", 1, true))
         end
         assert.equal(0, app:stats().published)
      end)
   end)

   it("goes on when a subscriber dies of it, or others just died", function()
      run(function()
         local app, _, port = serve()
         local done = weft.channel()
         server.keep { close = function() done:close() end }
         app:websocket("/ws2", function(ws)
            for _, topic in ipairs { "t", "t.*", ">" } do ws:subscribe(topic) end
            ws:send "ready"
            done:receive()
         end)
         local n, clients = rounds(40, 12), {}
         for i = 1, n do
            clients[i] = raw.connect(port, "/ws2")
            assert.equal("ready", clients[i]:take "text")
         end
         assert.equal(n, app:publish("t.1", "unread"))
         for i = 1, n, 2 do clients[i]:reset() end -- with unread bytes: RST
         local most = ("x"):rep(100000)
         for i = 1, 30 do app:publish(i % 2 == 0 and "t" or "t.1", i .. most, "binary") end
         for i = 2, n, 2 do
            assert.equal("unread", clients[i]:take "text")
            for k = 1, 30 do
               assert.equal(tostring(k), clients[i]:take "binary":match "^(%d+)x")
            end
         end
         eventually(function() return app:subscribers ">" == n // 2 end)
         assert.equal(n // 2, app:publish("t.1", "x"))
      end, 40)
   end)

   it("is no business of a handler that raises", function()
      run(function()
         local app = server.app()
         app:websocket("/ws", function(ws)
            ws:subscribe "t"
            for message in ws:messages() do
               if message == "raise" then error "as asked" end
               app:publish("t", message)
            end
         end)
         local _, port = assert(app:listen "127.0.0.1:0")
         local url = raw.url(port)
         local a, b = assert(weft.connect(url)), assert(weft.connect(url))
         eventually(function() return app:subscribers "t" == 2 end)
         local errors = server.errors(function()
            a:send "raise"
            assert.is_nil((a:receive(SOON)))
         end)
         assert.equal(1011, a:closed())
         assert.truthy(errors[1]:find("as asked", 1, true))
         assert.equal(1, app:subscribers "t")
         b:send "hello"
         assert.equal("hello", take(b))
         b:close()
      end)
   end)

   it("several times in a turn leaves each subscriber in one write", function()
      local trace = os.tmpname()
      local argv = { "strace", "-f", "-e", "trace=sendto,sendmsg,writev,write,mkdir", "-o", trace }
      table.move(process.script "spec/scripts/one_write.lua", 1, 10, #argv + 1, argv)
      local env = { WEFT_NO_IO_URING = "1", ASAN_OPTIONS = os.getenv "ASAN_OPTIONS"
         and os.getenv "ASAN_OPTIONS" .. ":detect_leaks=0" or nil } -- it cannot under ptrace
      local output = process.start(argv, { env = env, limit = raw.hostile and 300 or 60 }):finish()
      local file <close> = assert(io.open(trace))
      local calls = file:read "a":match "mkdir%([^\n]*begin[^\n]*\n(.-)%d+ +mkdir%([^\n]*end"
      os.remove(trace)
      assert(calls, output)
      local writes, messages = 0, 0
      for call in calls:gmatch "[^\n]+" do
         writes = writes + 1
         for _ in call:gmatch "news" do messages = messages + 1 end
      end
      assert.same({ 10, 50 }, { writes, messages }, calls)
   end)
end)

-- -- options -----------------------------------------------------------------------------------

describe("options of topics", function()
   it("come from the most specific pattern that has them; a later call replaces", function()
      run(function()
         local app, join = serve()
         app:topic("room.*", { max_subscribers = 1 })
         app:topic("room.>", { max_subscribers = 3 })
         app:topic(">", { max_subscribers = 0,
            authorize_publish = function(_, _, message) return message ~= "bad" end })
         app:topic("room.big", { max_subscribers = 2 })
         local most = { ["room.1"] = 1, ["room.big"] = 2, ["room.1.2"] = 3, elsewhere = 0 }
         for name, n in pairs(most) do
            for _ = 1, n do join(name) end
            assert.is_nil((join():subscribe(name)), name)
            local ok, message, code = join():publish(name, "bad") -- all have that of >
            assert.same({ nil, "not allowed", "refused" }, { ok, message, code })
         end
         app:topic("room.*", {})
         assert.is_true(join():subscribe "room.1") -- room.>, now
         app:topic("room.>", { max_subscribers = 2 })
         assert.is_nil((join():subscribe "room.1"))
      end)
   end)

   it("are checked", function()
      run(function()
         local app = server.app()
         for _, row in ipairs {
            { { policy = "later" }, '"disconnect" or "drop_newest" or "drop_oldest" or "latest"' },
            { { max_pending = 0 }, "max_pending" }, { { max_pending_messages = 0.5 }, "integer" },
            { { notice = 1 }, "true or false" }, { { authorise = print }, "unknown option" },
            { { history = { sise = 1 } }, "unknown option" }, { { history = 5 }, "a table" },
            { { presence = { max = 0 } }, "max" }, { { authorize_subscribe = true }, "a function" },
         } do
            local message = blame(function() app:topic("t", row[1]) end)
            assert.truthy(message:find(row[2], 1, true), message)
         end
      end)
   end)
end)

describe("hooks", function()
   it("say who may subscribe and publish, may wait, and give their reason", function()
      run(function()
         local app, join = serve()
         local asked = {}
         app:topic("room.>", {
            authorize_subscribe = function(ws, topic, params)
               weft.sleep(0.01)
               asked[#asked + 1] = { ws, topic, params and params.token }
               if topic == "room.secret" then return nil, "members only" end
               return topic ~= "room.closed"
            end,
            authorize_publish = function(ws, topic, message)
               weft.sleep(0.01)
               asked[#asked + 1] = { ws, topic, message }
               if message == "no" then return nil, "mind your words" end
               return true
            end,
         })
         local ws, client = join()
         local listener, its = join "room.1"
         assert.same({ listener, "room.1" }, asked[1])
         assert.same({ nil, "members only", "refused" }, { ws:subscribe "room.secret" })
         assert.same({ nil, "not allowed", "refused" }, { ws:subscribe "room.closed" })
         assert.is_true(ws:subscribe("room.1", { params = { token = "t" } }))
         assert.same({ ws, "room.1", "t" }, asked[4])
         assert.same({ nil, "mind your words", "refused" }, { ws:publish("room.1", "no") })
         assert.equal(1, ws:publish("room.1", "yes"))
         assert.same({ ws, "room.1", "yes" }, asked[6])
         assert.equal(2, app:publish("room.1", "no")) -- the app is not asked
         assert(app:subscribe "room.secret"):close()
         assert.equal(6, #asked)
         assert.same({ "yes", "no" }, taken(listener, its))
         assert.same({ "no" }, taken(ws, client))
      end)
   end)

   it("cannot be gone around by a pattern", function()
      run(function()
         local app, join = serve()
         app:topic("room.secret", { authorize_subscribe = function() return false end })
         app:topic("open.>", { authorize_subscribe = function() return true end })
         local ws = join()
         for _, pattern in ipairs { ">", "*.*", "room.*", "*.secret", "room.>", "*.>" } do
            assert.same({ nil, "not allowed", "refused" }, { ws:subscribe(pattern) }, pattern)
         end
         for _, pattern in ipairs { "*", "room.*.x", "open.*", "other.>", "room.secret.>" } do
            assert.is_true(ws:subscribe(pattern), pattern)
         end
      end)
   end)

   it("that raise end their own connection", function()
      run(function()
         local app = server.app()
         app:topic("t", { authorize_subscribe = function() error "broken hook" end })
         app:websocket("/ws", function(ws)
            ws:subscribe "t"
            ws:receive()
         end)
         local _, port = assert(app:listen "127.0.0.1:0")
         local errors = server.errors(function()
            local client = assert(weft.connect(raw.url(port)))
            assert.is_nil((client:receive(SOON)))
            assert.equal(1011, client:closed())
         end)
         assert.truthy(errors[1]:find("broken hook", 1, true))
         assert.equal(0, app:stats().subscriptions)
      end)
   end)

   it("may outlive the connection they decide about", function()
      run(function()
         local app, join = serve()
         local gate = weft.channel()
         app:topic("t", { authorize_subscribe = function() return gate:receive() end,
            authorize_publish = function() return gate:receive() end })
         for _, method in ipairs { "subscribe", "publish" } do
            local ws, client = join()
            local message = method == "publish" and "x" or nil
            local task = weft.spawn(ws[method], ws, "t", message)
            weft.sleep(0)
            client:close()
            eventually(function() return ws:closed() end)
            gate:send(true)
            local n, _, code = task:join(SOON)
            assert.same(message and { 0 } or { nil, "closed" }, { n, code })
            assert.equal(0, app:subscribers "t")
         end
      end)
   end)
end)
