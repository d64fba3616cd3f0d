-- weft.channel_client against weft's own channels, through a relay that can be cut.

local core = require "weft.core"
local weft = require "weft"
local helper = require "spec.helper_weft1"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run, eventually, SOON = raw.run, raw.eventually, raw.SOON

local FAST = { min_delay = 0.01, max_delay = 0.05, request_timeout = SOON }

local function options(more)
   local opts = {}
   for name, value in pairs(FAST) do opts[name] = value end
   for name, value in pairs(more or {}) do opts[name] = value end
   return opts
end

local function connect(port, more)
   return server.keep(weft.channel_client(("ws://127.0.0.1:%d/weft"):format(port), options(more)))
end

local function pump(from, to)
   repeat
      local data = core.read_some(from, 65536)
   until not data or data == "" or not to:send(data)
   from:close()
   to:close()
end

-- A relay to a port, which may change: { port=, target=, cut=, up= }. While it is not up it
-- closes whoever comes.
local relay = {}
relay.__index = relay

local function new_relay(target)
   local self = setmetatable({ target = target, up = true, streams = {}, accepted = 0 }, relay)
   self.listener = server.keep(assert(weft.listen "127.0.0.1:0"))
   self.port = select(2, self.listener:getsockname())
   weft.spawn(function()
      for stream in self.listener:each() do
         self.accepted = self.accepted + 1
         local far = self.up and weft.dial("127.0.0.1:" .. self.target)
         if far then
            self.streams[stream], self.streams[far] = true, true
            weft.spawn(pump, stream, far)
            weft.spawn(pump, far, stream)
         else
            stream:close()
         end
      end
   end)
   return self
end

-- Resets are as good as ends.
function relay:cut()
   for stream in pairs(self.streams) do stream:close() end
   self.streams = {}
end

-- The next n messages of a room.
local function take(room, n)
   local list = {}
   for i = 1, n do list[i] = assert(room:receive(SOON)) end
   return list
end

describe("weft.channel_client", function()
   it("subscribes, publishes, calls, and sees who is present", function()
      run(function()
         local app, port = helper.app()
         app:channel("room.*", { receive = true, presence = { grace = 0 }, history = true,
            join = function(ctx, _, params)
               ctx.user = params.name
               return { hello = params.name }
            end,
            call = { double = function(_, _, n) return n * 2 end, nothing = function() end,
               no = function() return nil, "sold_out", "there is none" end } })
         local ann, bob = connect(port), connect(port)
         local room = assert(ann:subscribe("room.1", { name = "ann" }))
         assert.same({ "ann", 0 }, { room.data.hello, room.offset })
         local other = assert(bob:subscribe("room.1", { name = "bob" }))
         assert.same({ { id = "ann" }, { id = "bob" } }, room:presence())
         local event = room:event(SOON)
         assert.same({ "presence", "join", "bob" }, { event.type, event.event, event.user.id })
         assert.same({ true, 1 }, { room:publish { text = "hi" } })
         local data, info = other:receive(SOON)
         assert.same({ text = "hi" }, data)
         assert.same({ 1, room.epoch, false }, { info.offset, info.epoch, info.gap })
         assert.is_true(room:publish("typing", { event = "note", wait = false }))
         assert.equal("note", select(2, other:receive(SOON)).event)
         assert.equal(42, room:call("double", 21))
         assert.is_nil((room:call "nothing"))
         assert.same({ "there is none", "sold_out" }, { select(2, room:call "no") })
         assert.equal("not_found", (select(3, room:call "what")))
         assert.same({ "this client is subscribed to the topic", "already_subscribed" },
            { select(2, ann:subscribe "room.1") })
         app:publish("room.1", "\0\1", "binary")
         local bytes, how = other:receive(SOON)
         assert.same({ "\0\1", "binary" }, { bytes, how.kind })
         room:close()
         room:close()
         repeat event = other:event(SOON) until event.type == "presence"
         assert.same({ "leave", "ann" }, { event.event, event.user.id })
         local left = 0
         for _ in room:messages() do left = left + 1 end
         assert.equal(3, left)
         assert.truthy(ann:subscribe("room.1", { name = "ann" }))
         assert.truthy(tostring(other):find "room.1")
         assert.truthy(tostring(ann):find("ws://127.0.0.1", 1, true))
      end)
   end)

   it("gets every message exactly once and in order, wherever the network is cut", function()
      run(function()
         local app, port = helper.app()
         app:channel("news", { history = { size = 100000 } })
         local between = new_relay(port)
         local client = connect(between.port)
         local room = assert(client:subscribe "news")
         local n, cuts = raw.rounds(3000, 80), raw.rounds(12, 4)
         weft.spawn(function()
            for i = 1, n do
               app:publish("news", tostring(i))
               if i % (n // cuts) == 0 then between:cut() end
               if i % 7 == 0 then weft.sleep(0) end
            end
         end)
         for i = 1, n do
            local data, event = room:receive(SOON)
            assert.equal(tostring(i), data)
            assert.equal(i, event.offset)
            assert.is_false(event.gap)
         end
         assert.truthy(between.accepted > 1)
         assert.is_true(room.recovered)
         assert.is_nil((room:receive(0)))
      end, 100)
   end)

   it("says that it could not recover when the server was restarted", function()
      run(function()
         local first, port = helper.app()
         first:channel("news", { history = true })
         local between = new_relay(port)
         local room = assert(connect(between.port):subscribe "news")
         first:publish("news", "1")
         assert.same({ "1" }, take(room, 1))
         local second, other_port = helper.app()
         second:channel("news", { history = true })
         second:publish("news", "of another epoch")
         between.target = other_port
         local epoch = room.epoch
         between:cut()
         local event = room:event(SOON)
         assert.same({ type = "recovered", recovered = false }, event)
         assert.is_false(room.recovered)
         assert.not_equal(epoch, room.epoch)
         assert.equal(1, room.offset)
         second:publish("news", "2")
         assert.equal("2", room:receive(SOON))
         between:cut() -- the same server: nothing is lost
         second:publish("news", "3")
         assert.same({ type = "recovered", recovered = true }, room:event(SOON))
         local data, info = room:receive(SOON)
         assert.same({ "3", false, 3 }, { data, info.gap, info.offset })
      end)
   end)

   it("marks the message behind a gap", function()
      run(function()
         local app, port = helper.app()
         app:channel("news", { history = { size = 2 } })
         app:channel("plain", {})
         local between = new_relay(port)
         local client = connect(between.port)
         local room, plain = assert(client:subscribe "news"), assert(client:subscribe "plain")
         between.up = false
         between:cut()
         eventually(function() return not client.connected end)
         for i = 1, 5 do app:publish("news", tostring(i)) end
         between.up = true
         eventually(function() return room.offset == 5 end)
         app:publish("news", "6")
         local data, info = room:receive(SOON)
         assert.same({ "6", true }, { data, info.gap })
         assert.same({ type = "recovered", recovered = false }, plain:event(SOON))
      end)
   end)

   it("keeps what is asked offline, up to a limit, and sends it in order", function()
      run(function()
         local app, port = helper.app()
         local got = {}
         app:channel("room", { call = function(_, _, method) return method end,
            receive = function(_, _, data)
               got[#got + 1] = data
               return true
            end })
         local between = new_relay(port)
         local client = connect(between.port, { max_queue = 5 })
         local room = assert(client:subscribe "room")
         between.up = false
         between:cut()
         eventually(function() return not client.connected end)
         for i = 1, 4 do assert.is_true(room:publish(i, { wait = false })) end
         local _, message, code = room:call("late", nil, 0.01)
         assert.same({ "there was no answer in time", "timeout" }, { message, code })
         local caller = weft.spawn(function() return room:call "kept" end)
         eventually(function() return client.queued == 5 end)
         _, message, code = room:publish(6)
         assert.equal("too_big", code)
         assert.truthy(message:find("max_queue", 1, true))
         between.up = true
         assert.equal("kept", caller:join(SOON))
         eventually(function() return #got == 4 end)
         assert.same({ 1, 2, 3, 4 }, got)
      end)
   end)

   it("fails what was under way when the connection broke", function()
      run(function()
         local app, port = helper.app()
         local gate = weft.channel()
         app:channel("room", { call = function()
            gate:send "here"
            return gate:receive()
         end })
         local between = new_relay(port)
         local client = connect(between.port)
         local room = assert(client:subscribe "room")
         local caller = weft.spawn(function() return room:call "wait" end)
         gate:receive()
         between:cut()
         local _, message, code = caller:join(SOON)
         assert.equal("closed", code)
         assert.truthy(message:find("may have been done", 1, true))
         gate:send "nobody cares"
         local again = weft.spawn(function() return room:call "wait" end)
         gate:receive()
         gate:send "back"
         assert.equal("back", again:join(SOON))
      end)
   end)

   it("tells what the server refuses, also on coming back", function()
      run(function()
         local app, port = helper.app()
         local contexts, open, tries = {}, true, 0
         app:channel("room.*", { join = function(ctx, topic)
            contexts[topic] = ctx
            tries = tries + 1
            if topic == "room.busy" and tries == 2 then return nil, "internal", "later" end
            return (open or topic == "room.busy") and topic ~= "room.0", "closed_down", "no more"
         end })
         local between = new_relay(port)
         local client = connect(between.port)
         assert.same({ "no more", "closed_down" }, { select(2, client:subscribe "room.0") })
         local _, _, code = client:subscribe "elsewhere"
         assert.equal("not_found", code)
         _, _, code = client:subscribe "not a topic"
         assert.equal("bad_topic", code)
         tries = 0
         local busy = assert(client:subscribe "room.busy")
         between:cut()
         eventually(function() return tries == 3 end)
         assert.is_false(busy.closed)
         local room, other = assert(client:subscribe "room.1"), assert(client:subscribe "room.2")
         contexts["room.2"]:kick("room.2", "rude")
         assert.equal("rude", other:event(SOON).code)
         assert.is_true(other.closed)
         open = false
         between:cut()
         local event = room:event(SOON)
         assert.same({ "unsubscribed", "closed_down", "no more" },
            { event.type, event.code, event.message })
         assert.is_nil((room:event(SOON)))
         assert.is_nil((room:call "x"))
      end)
   end)

   it("leaves a topic that a cancelled task was subscribing to", function()
      run(function()
         local app, port = helper.app()
         local asked, gate = weft.channel(), weft.channel()
         app:channel("room.*", { join = function(_, _, params)
            if params == "wait" then
               asked:send(true)
               gate:receive()
            end
            return true
         end })
         local c = connect(port)
         local task = weft.spawn(c.subscribe, c, "room.1", "wait")
         asked:receive(SOON)
         task:cancel()
         assert.same({ nil, "cancelled", "cancelled" }, { task:join(SOON) })
         gate:send(true)
         local room = assert(c:subscribe "room.1")
         app:publish("room.1", "hello")
         assert.equal("hello", room:receive(SOON))
         assert.equal(1, app:subscribers "room.1")
      end)
   end)

   it("drops the oldest where nobody takes anything, and says so", function()
      run(function()
         local app, port = helper.app()
         app:channel("room", { call = function() return true end })
         local client = connect(port, { max_buffer = 10 })
         local room = assert(client:subscribe "room")
         for i = 1, 25 do app:publish("room", tostring(i)) end
         room:call "all are there then"
         assert.same({ type = "missed", topic = "room", count = 15 }, room:event(SOON))
         local data, event = room:receive(SOON)
         assert.same({ "16", false }, { data, event.gap })
         assert.same({ "17", "18" }, take(room, 2))
      end)
   end)

   it("ends for good, and with it all that waits", function()
      run(function()
         local app, port = helper.app()
         app:channel("room", { call = function() weft.channel():receive() end })
         app:get("/plain", function() return 200 end)
         app:websocket("/other", function(ws) ws:receive() end)
         local client = connect(port)
         local room = assert(client:subscribe "room")
         local caller = weft.spawn(function() return room:call "wait" end)
         local reader = weft.spawn(function() return room:receive() end)
         weft.sleep(0)
         client:close()
         client:close()
         local _, message, code = caller:join(SOON)
         assert.same({ "the client is closed", "closed" }, { message, code })
         _, _, code = reader:join(SOON)
         assert.equal("closed", code)
         _, _, code = client:subscribe "room"
         assert.equal("closed", code)
         _, _, code = room:publish(1)
         assert.equal("closed", code)
         assert.truthy(tostring(client):find "closed")
         for path, expected in pairs { ["/plain"] = "refused", ["/other"] = "handshake" } do
            local told
            local lost = server.keep(weft.channel_client(
               ("ws://127.0.0.1:%d%s"):format(port, path),
               options { on_stop = function(why) told = why.code end }))
            _, _, code = lost:subscribe("room")
            assert.equal(expected, code)
            _, _, code = lost:subscribe("room")
            assert.equal(expected, code)
            assert.equal(path == "/plain" and expected or nil, told)
         end
      end)
   end)

   it("leaves a server that speaks something else", function()
      run(function()
         local app, port = helper.app()
         for i, text in ipairs { "nonsense", "[]", "5", '{"type":5}',
            '{"type":"message","topic":5}' } do
            app:websocket("/" .. i, function(ws)
               ws:send(text)
               ws:receive()
            end, { protocols = { "weft.1" } })
            local lost = server.keep(weft.channel_client(
               ("ws://127.0.0.1:%d/%d"):format(port, i), options()))
            local _, _, code = lost:subscribe "room"
            assert.equal("closed", code)
         end
         app:websocket("/harmless", function(ws)
            for _, text in ipairs { '{"type":"reply"}', '{"type":"reply","id":[]}',
               '{"type":"message","topic":"never"}', '{"type":"new"}', '{"type":"error"}' } do
               ws:send(text)
            end
            ws:receive()
            ws:send '{"type":"reply","id":1}'
            ws:receive()
         end, { protocols = { "weft.1" } })
         local client = server.keep(weft.channel_client(
            ("ws://127.0.0.1:%d/harmless"):format(port), options()))
         assert.truthy(client:subscribe "room")
      end)
   end)

   it("takes the server's own word \"closed\" for a refusal like others", function()
      run(function()
         local app, port = helper.app()
         local open, contexts = true, 0
         app:channel("room.*", { join = function(_, topic)
            contexts = contexts + 1
            return open and topic ~= "room.0", "closed", "come tomorrow"
         end })
         local between = new_relay(port)
         local client = connect(between.port)
         assert.same({ "come tomorrow", "closed" }, { select(2, client:subscribe "room.0") })
         local room = assert(client:subscribe "room.1")
         open = false
         between:cut()
         local event = room:event(SOON)
         assert.same({ "unsubscribed", "closed", "come tomorrow" },
            { event.type, event.code, event.message })
         assert.is_true(room.closed)
      end)
   end)

   it("leaves a topic on the connection it was entered on, and on no later one", function()
      run(function()
         local app, port = helper.app()
         app:channel("room.*", { receive = true })
         local between = new_relay(port)
         local client = connect(between.port)
         local room = assert(client:subscribe "room.1")
         local other = assert(client:subscribe "room.2")
         assert(other:publish("first", { wait = false }))
         room:close() -- neither has been sent
         between.up = false
         between:cut()
         client.ws:close()
         eventually(function() return not client.connected end)
         local task = weft.spawn(client.subscribe, client, "room.1")
         between.up = true
         room = assert(task:join(SOON))
         assert(other:publish "second")
         app:publish("room.1", "hello")
         assert.equal("hello", room:receive(SOON))
         assert.equal(1, app:subscribers "room.1")
      end)
   end)

   it("says so when a subscribe finds the queue full", function()
      run(function()
         local app, port = helper.app()
         app:channel("room.*", { receive = true })
         local client = connect(port, { max_queue = 2 })
         local room = assert(client:subscribe "room.1")
         for i = 1, 2 do assert(room:publish(i, { wait = false })) end
         local _, message, code = client:subscribe "room.2"
         assert.equal("too_big", code)
         assert.truthy(message:find("max_queue", 1, true))
         eventually(function() return client.queued == 0 end)
         assert.truthy(client:subscribe "room.2")
      end)
   end)

   it("goes on without what it missed when that is over max_message", function()
      run(function()
         local app, port = helper.app()
         app:channel("news", { history = true })
         local between = new_relay(port)
         local client = connect(between.port, { max_message = 4096 })
         local room = assert(client:subscribe "news")
         between.up = false
         between:cut()
         eventually(function() return not client.connected end)
         for _ = 1, 10 do app:publish("news", ("x"):rep(1000)) end
         between.up = true
         assert.same({ type = "recovered", recovered = false }, room:event(SOON))
         app:publish("news", "live")
         local data, event = room:receive(SOON)
         assert.same({ "live", 11 }, { data, event.offset })
      end)
   end)

   it("bears replies that lack what they should have", function()
      run(function()
         local app, port = helper.app()
         app:websocket("/odd", function(ws)
            local function answer(data)
               local text = ws:receive()
               ws:send(('{"type":"reply","id":%s,"data":%s}'):format(text:match '"id":(%d+)', data))
            end
            answer '{"epoch":"e","recovered":null,"messages":null}'
            for _, more in ipairs { '"epoch":"e","offset":1', '"epoch":null,"offset":null',
               '"epoch":7,"offset":"x"', '"epoch":"e","offset":1.5' } do
               ws:send(('{"type":"message","topic":"room","data":1,%s}'):format(more))
            end
            ws:close(1012)
         end, { protocols = { "weft.1" } })
         local client = server.keep(weft.channel_client(
            ("ws://127.0.0.1:%d/odd"):format(port), options()))
         local room = assert(client:subscribe "room")
         for _ = 1, 8 do repeat until assert(room:event(SOON)).type == "message" end
         client:close()
      end)
   end)

   it("blames the script for what cannot be right", function()
      run(function()
         local app, port = helper.app()
         app:channel("room", {})
         local client = connect(port)
         local room = assert(client:subscribe "room")
         local function blames(pattern, f)
            local text = server.blame(f)
            assert(text:find(pattern, 1, true), text)
         end
         blames("the URL", function() weft.channel_client(5) end)
         blames("weft.channel_client", function() weft.channel_client("http://x") end)
         blames("protocols", function() weft.channel_client("ws://x", { protocols = "y" }) end)
         blames("max_queue", function() weft.channel_client("ws://x", { max_queue = 0 }) end)
         blames("the topic", function() client:subscribe(5) end)
         blames("JSON", function() client:subscribe("t", { print }) end)
         blames("UTF-8", function() client:subscribe "\xFF" end)
         blames("JSON", function() room:publish(print) end)
         blames("what", function() room:publish(1, { what = 1 }) end)
         blames("the method", function() room:call(5) end)
         blames("JSON", function() room:call("x", { 0 / 0 }) end)
         blames("the timeout", function() room:presence "x" end)
      end)
   end)
end)
