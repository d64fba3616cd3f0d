-- What of channels depends on the transport: sessions over Server-Sent Events and POST, the
-- handshake, clients that are slow or have too much under way, and what ends a connection.

local weft = require "weft"
local helper = require "spec.helper_weft1"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run, eventually, SOON = raw.run, raw.eventually, raw.SOON
local EVENTS = { accept = "text/event-stream" }

local function channels(opts, channel)
   local app, port = helper.app()
   app:channels("/weft", opts)
   app:channel("room.*", channel or { receive = true })
   return app, port
end

local function post(port, id, text, headers)
   local fields = { ["content-length"] = #text }
   for name, value in pairs(headers or {}) do fields[name] = value end
   return server.ask(port, "POST", "/weft?session=" .. id, fields, text)
end

describe("a session over Server-Sent Events and POST", function()
   it("has an id that cannot be guessed, and ends with its stream", function()
      run(function()
         local left
         local app, port = channels(nil, { presence = { grace = 0 }, leave = function(ctx)
            assert(ctx.ws == nil)
            weft.sleep(0) -- may wait, although the stream's task is over
            left = true
         end })
         local one, two = helper.session(port), helper.session(port)
         local id = one.session.session
         assert.truthy(id:find "^[%w_-]+$" and #id == 22)
         assert.not_equal(id, two.session.session)
         assert.equal(150, one.session.timeout)
         one:subscribe "room.1"
         assert.equal(1, app:subscribers "room.1")
         assert.equal(1, #app:presence "room.1")
         one:close()
         eventually(function() return left end)
         assert.same({ 0, 0 }, { app:subscribers "room.1", #app:presence "room.1" })
         assert.equal(404, post(port, id, "{}").status)
         assert.truthy(two:is_quiet())
      end)
   end)

   it("by default outlasts the pauses of a page in the background", function()
      run(function()
         local _, port = channels()
         local c = helper.session(port)
         -- chromium's timers ring once a minute there, and weft.js may need two of them to ask
         assert.truthy(c.session.timeout > 2 * 60 + 10)
         c:close()
      end)
   end)

   it("is one of no more than max_sessions, also where many wait for authorize at once", function()
      run(function()
         local all = weft.channel()
         local app, port = channels { max_sessions = 2, authorize = function()
            all:receive()
            return true
         end }
         local list = {}
         for i = 1, 5 do
            list[i] = server.dial(port)
            list[i]:send "GET /weft HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n"
         end
         eventually(function() return app:stats().requests == 5 end)
         weft.sleep(0)
         all:close()
         local counts = {}
         for _, one in ipairs(list) do
            local status = one.stream:receive("*l"):match " (%d+) "
            counts[status] = (counts[status] or 0) + 1
         end
         assert.same({ ["200"] = 2, ["503"] = 3 }, counts)
         for _, one in ipairs(list) do one:close() end
      end)
   end)

   it("ends when its client says nothing for too long", function()
      run(function()
         local _, port = channels { session_timeout = 0.2 }
         local c = helper.session(port)
         assert.equal(0.2, c.session.timeout)
         assert.has_error(function() c:next() end, "the stream has ended")
         assert.equal(404, post(port, c.session.session, '{"type":"ping"}').status)
      end)
   end)

   it("answers requests that cannot be right by their status", function()
      run(function()
         local _, port = channels { max_message = 1000, max_in_flight = 3, max_sessions = 1,
            origins = { "https://fine.example" } }
         assert.equal(426, server.ask(port, "GET", "/weft").status)
         assert.equal(426, server.ask(port, "GET", "/weft", { accept = "text/html" }).status)
         local evil, fine = { origin = "https://evil.example" }, { origin = "https://fine.example" }
         assert.equal(403, server.ask(port, "GET", "/weft",
            { accept = EVENTS.accept, origin = evil.origin }).status)
         local c = helper.session(port)
         local id = c.session.session
         local full = server.ask(port, "GET", "/weft", EVENTS)
         assert.same({ 503, "5" }, { full.status, full.headers["retry-after"] })
         assert.equal(404, post(port, "never", "{}").status)
         assert.equal(404, post(port, "", "{}").status)
         local bare = server.ask(port, "POST", "/weft", { ["content-length"] = 2 }, "{}")
         assert.equal(404, bare.status)
         for _, text in ipairs { "", "x", "5", "[1]", '[{"type":"ping"},5]', '[{"type":"ping"}',
            '{"type":"ping","x":"\255"}', '{"a":"\1"}' } do
            assert.equal(400, post(port, id, text).status, text)
         end
         local big = post(port, id, '{"a":"' .. ("x"):rep(1000) .. '"}', fine)
         assert.same({ 413, "over max_message (1000 bytes)\n", fine.origin, "Retry-After" },
            { big.status, big.body, big.headers["access-control-allow-origin"],
               big.headers["access-control-expose-headers"] })
         assert.equal(413, post(port, id, "[{},{},{},{}]").status)
         assert.equal(403, post(port, id, "{}", evil).status)
         assert.truthy(c:is_quiet()) -- nothing of these was done
         local answer = post(port, id, '{"type":"ping","id":1}', fine)
         assert.same({ 204, fine.origin },
            { answer.status, answer.headers["access-control-allow-origin"] })
         assert.equal(1, c:next().id)
         assert.equal(405, server.ask(port, "PUT", "/weft", { ["content-length"] = 0 }).status)
      end)
   end)

   it("does the requests of one POST in their order", function()
      run(function()
         local _, port = channels()
         local c = helper.session(port)
         c:say('[{"type":"subscribe","id":1,"topic":"room.1"}, {"type":"publish","id":2,'
            .. '"topic":"room.1","data":"first"},\n{"type":"publish","topic":"room.1","data":2}]')
         assert.equal(1, c:next().id)
         assert.equal("first", c:next().data)
         assert.equal(2, c:next().id)
         assert.equal(2, c:next().data)
         assert.equal(204, c.post("[]").status)
      end)
   end)

   it("takes no more while too much is under way", function()
      run(function()
         local gate = weft.channel()
         local _, port = channels({ max_in_flight = 2 },
            { join = function() return gate:receive() end })
         local c = helper.session(port)
         c:say '[{"type":"subscribe","topic":"room.1"},{"type":"subscribe","topic":"room.2"}]'
         local answer = c.post '{"type":"ping"}'
         assert.same({ 429, "1" }, { answer.status, answer.headers["retry-after"] })
         gate:send(true)
         gate:send(true)
         eventually(function() return c.post('{"type":"ping","id":"x"}').status == 204 end)
         assert.equal("x", c:next().id)
      end)
   end)

   it("can be switched off, and asks authorize like a WebSocket", function()
      run(function()
         local _, port = channels { fallback = false }
         assert.equal(426, server.ask(port, "GET", "/weft", EVENTS).status)
         assert.equal(405, post(port, "x", "{}").status)
         local _, guarded = channels({ authorize = function(req)
            if req:arg "key" ~= "open" and req:header "x-key" ~= "open" then
               return nil, 401, nil, "no key"
            end
            return { user = "ann" }
         end }, { presence = true })
         assert.equal(401, server.ask(guarded, "GET", "/weft", EVENTS).status)
         local c = helper.session(guarded, { ["x-key"] = "open" })
         assert.same({ { id = "ann" } }, c:subscribe("room.1").presence)
         local _, _, code = weft.connect(("ws://127.0.0.1:%d/weft"):format(guarded),
            { protocols = "weft.1" })
         assert.equal("refused", code)
         local ws = helper.websocket(guarded, { headers = { ["x-key"] = "open" } })
         assert.same({ { id = "ann" } }, ws:subscribe("room.1").presence)
      end)
   end)

   it("ends a client that does not read, within its cap", function()
      run(function()
         local app, port = channels { hard_mark = 100000, high_mark = 1000, low_mark = 100 }
         local fast, slow = helper.websocket(port), helper.session(port)
         fast:subscribe "room.1"
         slow:subscribe "room.1"
         local text = ("x"):rep(95000)
         local n = 0
         repeat
            app:publish("room.1", text)
            fast:next()
            n = n + 1
         until app:subscribers "room.1" == 1 or n > 1000
         assert.equal(1, app:subscribers "room.1")
         slow:close()
      end)
   end)
end)

describe("a client of channels", function()
   it("has to speak the protocol", function()
      run(function()
         local _, port = channels()
         local url = ("ws://127.0.0.1:%d/weft"):format(port)
         for _, protocols in ipairs { {}, { "weft.2" }, { "chat" } } do
            local _, _, code, answer = weft.connect(url, { protocols = protocols })
            assert.same({ "refused", 400 }, { code, answer.status })
         end
         local ws = assert(weft.connect(url, { protocols = { "chat", "weft.1" } }))
         assert.equal("weft.1", ws.protocol)
         local _, _, _, answer = weft.connect(url, { protocols = "weft.1",
            headers = { origin = "https://evil.example" } })
         assert.equal(403, answer.status)
      end)
   end)

   it("is told of bad messages, and ended only by those that are too big", function()
      run(function()
         local _, port = channels { max_message = 1000 }
         local c = helper.websocket(port)
         c.ws:send("\1\2", "binary")
         assert.equal("bad_request", c:next().code)
         c:say "[]"
         assert.equal("bad_request", c:next().code)
         c:say('{"type":"ping","id":1,"x":"' .. ("x"):rep(900) .. '"}')
         assert.equal(1, c:next().id)
         c:say('{"x":"' .. ("x"):rep(1000) .. '"}')
         assert.is_nil((c.ws:receive(SOON)))
         assert.equal(1009, (c.ws:closed()))
      end)
   end)

   it("is read no further while too much is under way", function()
      run(function()
         local gate, calls = weft.channel(), 0
         local _, port = channels({ max_in_flight = 3 }, { call = function()
            calls = calls + 1
            return gate:receive()
         end })
         local c = helper.websocket(port)
         c:subscribe "room.1"
         for i = 1, 10 do
            c:say { type = "call", id = i, topic = "room.1", method = "x" }
         end
         eventually(function() return calls == 3 end)
         c.ws:ping(SOON) -- which is still answered
         assert.equal(3, calls)
         for _ = 1, 10 do gate:send(true) end
         for _ = 1, 10 do assert.equal("reply", c:next().type) end
      end)
   end)

   it("that reads nothing of what it asks for is not served without end", function()
      run(function()
         local answered = 0
         local _, port = channels({ hard_mark = 200000, send_timeout = 0.2 },
            { call = function()
               answered = answered + 1
               return ("x"):rep(20000)
            end })
         local c = helper.websocket(port, { inbox_messages = 1, inbox_bytes = 1 })
         c:subscribe "room.1"
         local most = raw.rounds(5000, 600)
         for i = 1, most do
            local call = '{"type":"call","id":1,"topic":"room.1","method":"x"}'
            if not c.ws:try_send(call) then break end
            if i % 50 == 0 then weft.sleep(0) end
         end
         weft.sleep(0.05)
         assert.truthy(answered < most)
         c.ws:close()
      end)
   end)

   it("leaves its topics after their grace, and not if it comes back", function()
      run(function()
         local app, port = channels(nil, { presence = { grace = raw.time(0.3) },
            user = function(_, _, params) return params end })
         local watcher, c = helper.websocket(port), helper.websocket(port)
         watcher:subscribe("room.1", { params = "watcher" })
         c:subscribe("room.1", { params = "ann" })
         assert.equal("join", watcher:next().event)
         c:close()
         local again = helper.websocket(port)
         again:subscribe("room.1", { params = "ann" })
         again:close()
         local started = weft.now()
         local event = watcher:next()
         assert.same({ "leave", "ann" }, { event.event, event.user.id })
         assert.truthy(weft.now() - started > raw.time(0.1))
         assert.equal(1, #app:presence "room.1")
      end)
   end)

   it("is told when the app closes, and no task stays", function()
      run(function()
         local left = 0
         local app, port = channels(nil, { presence = { grace = 1000 }, history = { ttl = 1000 },
            leave = function() left = left + 1 end })
         local c, s = helper.websocket(port), helper.session(port)
         c:subscribe "room.1"
         s:subscribe "room.1"
         c:next()
         app:publish("room.1", "kept")
         app:close()
         assert.equal("kept", c:next().data)
         assert.is_nil((c.ws:receive(SOON)))
         assert.equal(1001, (c.ws:closed()))
         eventually(function() return left == 2 end)
         s:close()
      end) -- weft.run ends: nothing that is due in 1000 s keeps it
   end)

   it("asks for nothing but what was set", function()
      run(function()
         local app = helper.app()
         app:channel("a.*", {})
         local function blames(pattern, f)
            local text = server.blame(f)
            assert(text:find(pattern, 1, true), text)
         end
         blames("/weft", function() app:channels "/other" end)
         local other = helper.app()
         other:channels("/other", { hook_timeout = 1 })
         blames("at \"/other\" already", function() other:channels "/again" end)
         blames("hook_timeout", function() weft.app():channels("/", { hook_timeout = 0 }) end)
         blames("the path", function() weft.app():channels(5) end)
         blames("no empty word", function() other:channel("a..b", {}) end)
         blames("receive", function() other:channel("a", { receive = 5 }) end)
         blames("unknown option", function() other:channel("a", { recieve = true }) end)
         blames("call", function() other:channel("a", { call = { 5 } }) end)
         blames("history", function() other:channel("a", { history = { size = 0 } }) end)
         blames("pattern", function() other:presence "a.*" end)
         blames("limit", function() other:history("a", { limit = 0 }) end)
         blames("since", function() other:history("a", { since = 5 }) end)
         assert.same({}, other:presence "a")
         assert.same({}, (other:history "a"))
         assert.same({ "closed" }, { select(3, other:history("a",
            { since = { epoch = "never", offset = 1 } })) })
      end)
   end)
end)

describe("ws:drain", function()
   it("waits until try_send would take the next message", function()
      run(function()
         local app, port = helper.app()
         local said, server_ws = weft.channel(1), nil
         app:websocket("/", function(ws)
            server_ws = ws
            assert.is_true(ws:drain())
            local ok, message, code
            repeat -- until the kernel takes no more either
               repeat until not ws:try_send(("x"):rep(100000))
               ok, message, code = ws:drain(0.01)
            until not ok
            said:send { ok, message, code }
            assert.is_true(ws:drain())
            assert.is_true(ws:try_send "the last")
            ws:receive()
            said:send { ws:drain() }
         end)
         local ws = assert(weft.connect(("ws://127.0.0.1:%d/"):format(port)))
         local first = said:receive(SOON)
         assert.same({ nil, "timeout" }, { first[1], first[3] })
         assert.truthy(first[2]:find("drain", 1, true))
         local message
         repeat message = assert(ws:receive(SOON)) until message == "the last"
         ws:close()
         assert.equal("closed", said:receive(SOON)[3])
         assert.truthy(server_ws)
      end)
   end)
end)

describe("a raw connection on a topic with history", function()
   it("gets exactly what it missed, then what is live, or is told that it cannot", function()
      run(function()
         local app, port = helper.app()
         app:topic("news", { history = { size = 3 } })
         app:websocket("/", function(ws)
            local epoch, offset = ws:receive(), tonumber((ws:receive()))
            local info = ws:subscribe("news", { since = { epoch = epoch, offset = offset } })
            ws:send(("%s %s"):format(info.recovered, info.missed))
            ws:receive()
         end)
         local _, epoch = app:publish("news", "1")
         for i = 2, 4 do app:publish("news", tostring(i)) end
         for offset, expected in pairs { [0] = {}, [1] = { "2", "3", "4" }, [3] = { "4" }, [4] = {},
            [5] = {} } do
            local ws = assert(weft.connect(("ws://127.0.0.1:%d/"):format(port)))
            ws:send(epoch)
            ws:send(tostring(offset))
            for _, text in ipairs(expected) do assert.equal(text, ws:receive(SOON)) end
            local recovered = offset >= 1 and offset <= 4
            assert.equal(("%s %d"):format(recovered, #expected), ws:receive(SOON))
            app:publish("news", "live", { history = false })
            assert.equal("live", ws:receive(SOON))
            ws:close()
         end
      end)
   end)
end)
