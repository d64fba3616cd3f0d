-- Rates: of messages and bytes on a connection, of connections and requests of an address.

local weft = require "weft"
local helper = require "spec.helper_weft1"
local rate = require "weft.rate"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run, eventually, SOON = raw.run, raw.eventually, raw.SOON

-- An app whose handler hands on what it receives.
local function serve(opts)
   local app = server.app()
   local got = weft.channel(1000)
   app:websocket("/ws", function(ws)
      for message in ws:messages() do got:send(message) end
      got:send { ws:closed() }
   end, opts)
   local _, port = assert(app:listen "127.0.0.1:0")
   return app, port, got
end

local function numbers(got, from, to)
   for i = from, to do assert.equal(tostring(i), got:receive(SOON)) end
end

describe("over message_rate", function()
   it("reading stops until it is time, and everything comes in order", function()
      run(function()
         local app, port, got = serve { message_rate = 50, message_burst = 10 }
         local c = raw.connect(port)
         local started = weft.now()
         for i = 1, 40 do c:text(tostring(i)) end
         numbers(got, 1, 40)
         -- 10 at once, then 30 at 50 a second; they cannot have come sooner
         assert.is_true(weft.now() - started > 0.5)
         assert.is_true(app:stats().rate_waited >= 1)
         c:close()
         assert.equal(1006, got:receive(SOON)[1])
      end)
   end)

   it("its peer's sends stall, and memory does not grow", function()
      run(function()
         local app, port = serve { message_rate = 1, message_burst = 1 }
         local ws = server.keep(assert(weft.connect(raw.url(port),
            { send_timeout = raw.time(0.3) })))
         local big, n, code = ("x"):rep(1 << 20), 0
         repeat
            n = n + 1
            code = select(3, ws:send(big))
         until code or n == 100
         assert.equal("timeout", code)
         assert.is_true(app:stats().rate_waited >= 1)
      end, 60)
   end)

   it("a connection that waits still answers, sends, and closes at once", function()
      run(function()
         local app = server.app()
         app:websocket("/ws", function(ws)
            ws:receive()
            for i = 1, 5 do ws:send(tostring(i)) end
            ws:close(4000, "enough")
         end, { message_rate = 0.001, message_burst = 1 })
         local _, port = assert(app:listen "127.0.0.1:0")
         local ws = server.keep(assert(weft.connect(raw.url(port))))
         ws:send "a"
         ws:send "b" -- from here on it waits for a quarter of an hour
         for i = 1, 5 do assert.equal(tostring(i), (ws:receive(SOON))) end
         assert.is_nil((ws:receive(SOON)))
         assert.same({ 4000, "enough", true }, { ws:closed() })
      end)
   end)

   it("it is dropped", function()
      run(function()
         local app, port, got = serve { message_rate = 0.001, message_burst = 5,
            over_rate = "drop" }
         local c = raw.connect(port)
         for i = 1, 3000 do c:text(tostring(i)) end -- more than one turn takes
         c:bye(4000)
         numbers(got, 1, 5)
         assert.equal(4000, got:receive(SOON)[1])
         assert.equal(2995, app:stats().rate_dropped)
         c:close()
      end)
   end)

   it("the connection is closed with 1008", function()
      run(function()
         local app, port, got = serve { message_rate = 0.001, message_burst = 3,
            over_rate = "close" }
         local c = raw.connect(port)
         for i = 1, 10 do c:text(tostring(i)) end
         numbers(got, 1, 3)
         local closed = got:receive(SOON)
         assert.same({ 1008, "over message_rate or byte_rate" }, { closed[1], closed[2] })
         assert.equal(1008, (c:take_close()))
         assert.equal(1, app:stats().rate_closed)
         c:close()
      end)
   end)

   it("pings count, too", function()
      run(function()
         local _, port, got = serve { message_rate = 0.001, message_burst = 3,
            over_rate = "close" }
         local c = raw.connect(port)
         for _ = 1, 4 do c:ping "x" end
         assert.equal(1008, got:receive(SOON)[1])
         c:close()
      end)
   end)

   it("any burst that is within the limit passes, and the bucket fills again", function()
      run(function()
         local app, port, got = serve { message_rate = 1000, message_burst = 5,
            over_rate = "close" }
         local c = raw.connect(port)
         for _ = 1, 10 do
            for i = 1, 5 do c:text(tostring(i)) end
            numbers(got, 1, 5)
            weft.sleep(0.02)
         end
         assert.equal(0, app:stats().rate_closed)
         c:close()
         got:receive(SOON)
      end)
   end)
end)

describe("over byte_rate", function()
   it("reading stops", function()
      run(function()
         local app, port, got = serve { byte_rate = 100000, byte_burst = 1000 }
         local c = raw.connect(port)
         local started = weft.now()
         for _ = 1, 5 do c:binary(("x"):rep(10000)) end
         c:text "end"
         for _ = 1, 5 do assert.equal(10000, #got:receive(SOON)) end
         assert.equal("end", got:receive(SOON))
         assert.is_true(weft.now() - started > 0.4)
         assert.is_true(app:stats().rate_waited >= 4)
         c:close()
         got:receive(SOON)
      end)
   end)

   it("a message is dropped, one that fits is not", function()
      run(function()
         local app, port, got = serve { byte_rate = 1, byte_burst = 100, over_rate = "drop" }
         local c = raw.connect(port)
         c:binary(("x"):rep(101))
         c:text "fits"
         assert.equal("fits", got:receive(SOON))
         assert.equal(1, app:stats().rate_dropped)
         c:close()
         got:receive(SOON)
      end)
   end)
end)

describe("a message in pieces", function()
   it("counts by its bytes as they come, and is never dropped", function()
      run(function()
         for _, over in ipairs { "wait", "drop" } do
            local app = server.app()
            local got = weft.channel(1)
            app:websocket("/ws", function(ws)
               local n = 0
               for piece in ws:chunks() do n = n + #piece end
               got:send(n)
            end, { byte_rate = 500000, byte_burst = 1000, over_rate = over })
            local _, port = assert(app:listen "127.0.0.1:0")
            local ws = server.keep(assert(weft.connect(raw.url(port))))
            local started = weft.now()
            ws:send(("x"):rep(200000), "binary")
            assert.equal(200000, got:receive(SOON))
            assert.is_true(weft.now() - started > 0.2)
            assert.is_true(app:stats().rate_waited >= 1)
            assert.equal(0, app:stats().rate_dropped)
         end
      end)
   end)
end)

describe("a client's connection", function()
   it("has rates as well", function()
      run(function()
         local app = server.app()
         app:websocket("/ws", function(ws)
            for i = 1, 10 do ws:send(tostring(i)) end
            ws:receive()
         end)
         local _, port = assert(app:listen "127.0.0.1:0")
         local ws = server.keep(assert(weft.connect(raw.url(port),
            { message_rate = 0.001, message_burst = 2, over_rate = "close" })))
         assert.equal("1", (ws:receive(SOON)))
         assert.equal("2", (ws:receive(SOON)))
         assert.is_nil((ws:receive(SOON)))
         assert.equal(1008, (ws:closed()))
      end)
   end)
end)

describe("buckets of addresses", function()
   it("are filled again with time, and hold no more than the burst", function()
      local limit = rate.new(2, 3, 100)
      for _ = 1, 3 do assert.equal(0, limit:take("a", 0)) end
      assert.equal(0.5, limit:take("a", 0))
      assert.equal(0.25, limit:take("a", 0.25))
      assert.equal(0, limit:take("a", 0.5))
      assert.equal(0.5, limit:take("a", 0.5))
      for _ = 1, 3 do assert.equal(0, limit:take("a", 1000)) end
      assert.is_true(limit:take("a", 1000) > 0)
      assert.equal(0, limit:take("b", 1000))
   end)

   it("are overdrawn by who waits, within bounds", function()
      local limit = rate.new(1, 1, 100)
      assert.equal(0, limit:take("a", 0, 2))
      assert.equal(1, limit:take("a", 0, 2))
      assert.equal(2, limit:take("a", 0, 2))
      assert.equal(3, limit:take("a", 0, 2)) -- refused, so it does not count
      assert.equal(3, limit:take("a", 0, 2))
      assert.equal(0, limit:take("a", 3, 2))
   end)

   it("are bounded in number, and forget who was not seen for longest", function()
      local limit = rate.new(0.001, 1, 100)
      limit:take("busy", 0)
      for i = 1, raw.rounds(10000, 1000) do
         limit:take("address " .. i, 0)
         if i % 10 == 0 then assert.is_true(limit:take("busy", 0) > 0) end
         local n = 0
         if i % 1000 == 0 then
            for _ in pairs(limit.young) do n = n + 1 end
            for _ in pairs(limit.old) do n = n + 1 end
            assert.is_true(n <= 100)
         end
      end
   end)

   it("are one for 64 bits of IPv6", function()
      for ip, key in pairs { ["192.0.2.1"] = "192.0.2.1", ["2001:db8:1:2:3:4:5:6"] = "2001:db8:1:2",
         ["2001:db8::1"] = "2001:db8:0:0", ["::1"] = "0:0:0:0", ["fe80::1:2"] = "fe80:0:0:0",
         ["2001:db8:1:2::"] = "2001:db8:1:2", ["::ffff:192.0.2.1"] = "::ffff:192.0.2.1",
         ["::"] = "0:0:0:0", ["unknown"] = "unknown" } do
         assert.equal(key, rate.key(ip))
      end
   end)
end)

describe("an address", function()
   it("is refused above connection_rate, with 429", function()
      run(function()
         local app = server.app { connection_rate = 0.001, connection_burst = 3 }
         app:get("/", function() return 200, nil, "x" end)
         local _, port = assert(app:listen "127.0.0.1:0")
         for _ = 1, 3 do assert.equal(200, server.ask(port, "GET", "/").status) end
         local peer = server.dial(port)
         local answer = peer:response()
         assert.same({ 429, "too many connections (connection_rate)\n" },
            { answer.status, answer.body })
         assert.equal(1, app:stats().limited)
         assert.equal(1, app:stats().refused)
      end)
   end)

   it("is refused above request_rate, also for WebSockets", function()
      run(function()
         local app = server.app { request_rate = 0.01, request_burst = 2 }
         app:get("/", function() return 200, nil, "x" end)
         app:websocket("/ws", raw.echo)
         local _, port = assert(app:listen "127.0.0.1:0")
         local peer = server.dial(port)
         for _ = 1, 2 do assert.equal(200, peer:ask("GET", "/").status) end
         local answer = peer:ask("GET", "/")
         assert.same({ 429, "too many requests (request_rate)\n" }, { answer.status, answer.body })
         local retry = tonumber(answer.headers["retry-after"])
         assert.is_true(retry > 50 and retry <= 100)
         local _, _, code, head = weft.connect(raw.url(port))
         assert.same({ "refused", 429 }, { code, head.status })
         assert.equal(2, app:stats().limited)
      end)
   end)

   it("waits for its turn where it is told to", function()
      run(function()
         local app = server.app { request_rate = 20, request_burst = 1,
            over_request_rate = "wait" }
         app:get("/", function() return 200, nil, "x" end)
         local _, port = assert(app:listen "127.0.0.1:0")
         local peer = server.dial(port)
         local started = weft.now()
         for _ = 1, 5 do assert.equal(200, peer:ask("GET", "/").status) end
         assert.is_true(weft.now() - started > 0.15)
         assert.equal(4, app:stats().limited)
      end)
   end)

   it("is no address on a unix socket", function()
      run(function()
         local app = server.app { connection_rate = 0.001, request_rate = 0.001 }
         app:websocket("/ws", raw.echo)
         local path = os.tmpname()
         os.remove(path)
         assert(app:listen("unix:" .. path))
         for _ = 1, 3 do
            assert(weft.connect(("ws+unix:%s:/ws"):format(path))):close()
         end
         eventually(function() return app:stats().connections == 0 end)
      end)
   end)

   it("has limits that make sense, or an error", function()
      for _, row in ipairs { { { message_rate = -1 }, "message_rate" },
         { { over_rate = "ignore" }, "over_rate" }, { { over_request_rate = "drop" },
         "over_request_rate" }, { { max_addresses = 1 }, "max_addresses" } } do
         local why = server.blame(function() weft.app(row[1]) end)
         assert.truthy(why:find(('weft.app: option "%s" must be'):format(row[2]), 1, true), why)
      end
   end)
end)

-- -- channels --------------------------------------------------------------------------------

-- One topic with a method that counts its calls.
local function channels(opts)
   local app, port = helper.app()
   local calls = { n = 0 }
   app:channels("/weft", opts)
   app:channel("room", { receive = true, call = { count = function()
      calls.n = calls.n + 1
      return calls.n
   end } })
   return app, port, calls
end

local function count(id) return { type = "call", id = id, topic = "room", method = "count" } end

describe("a client of channels over message_rate", function()
   for kind, connect in pairs { WebSocket = helper.websocket, session = helper.session } do
      it("is told what was dropped, by its id: over a " .. kind, function()
         run(function()
            local app, port, calls = channels { message_rate = 0.001, message_burst = 3,
               over_rate = "drop" }
            local c = connect(port)
            c:subscribe "room"
            for i = 1, 2 do assert.equal(i, c:ask(count()).data) end
            local error = c:ask(count())
            assert.same({ "error", "rate_limited", "over message_rate or byte_rate" },
               { error.type, error.code, error.message })
            c:say '{"type":"call","id":"a word","topic":"room","method":"count"}'
            assert.equal("a word", c:next().id)
            c:say '{"type":"publish","topic":"room","data":1}'
            error = c:next()
            assert.same({ "rate_limited" }, { error.code, error.id })
            assert.same({ 2, 3 }, { calls.n, app:stats().rate_dropped })
            app:publish("room", "it still listens")
            assert.equal("it still listens", c:next().data)
         end)
      end)
   end

   it("is not read for an id when it says much, and counts whatever it says", function()
      run(function()
         local app, port = channels { byte_rate = 1, byte_burst = 200, message_rate = 1000,
            over_rate = "drop" }
         local c = helper.websocket(port)
         c:say('{"type":"ping","id":1,"x":"' .. ("x"):rep(1000) .. '"}')
         assert.same({ "rate_limited", 1 }, { c:next().code, 1 })
         c:say('{"type":"ping","id":1,"x":"' .. ("x"):rep(100000) .. '"}')
         local error = c:next()
         assert.same({ "rate_limited" }, { error.code, error.id })
         c.ws:send(("x"):rep(300), "binary")
         assert.equal("rate_limited", c:next().code)
         c:say '{"type":"ping","id":2}' -- which there is room for
         assert.equal("reply", c:next().type)
         assert.equal(3, app:stats().rate_dropped)
      end)
   end)

   it("can ask again later, as weft.channel_client reports", function()
      run(function()
         local app, port = channels { message_rate = 20, message_burst = 3, over_rate = "drop" }
         local client = server.keep(weft.channel_client(("ws://127.0.0.1:%d/weft"):format(port)))
         local room = assert(client:subscribe "room")
         local refused, message, code
         repeat
            refused, message, code = room:call "count"
         until not refused
         assert.same({ "rate_limited", "over message_rate or byte_rate" }, { code, message })
         eventually(function() return (room:publish "again") end)
         local other, _
         repeat
            other, _, code = client:subscribe "room2" -- there is none
         until code == "rate_limited" or code ~= "not_found"
         assert.same({ "rate_limited" }, { code, other })
         assert.is_true(app:stats().rate_dropped >= 2)
      end)
   end)

   it("has to wait, over a session by Retry-After", function()
      run(function()
         local app, port, calls = channels { message_rate = 10, message_burst = 2 }
         local c = helper.session(port)
         c:subscribe "room"
         c:say(helper.json.encode { count(1), count(2), count(3) }) -- overdrawn by two
         for i = 1, 3 do assert.equal(i, c:next().data) end
         local answer = c.post(helper.json.encode(count(4)))
         assert.same({ 429, "1" }, { answer.status, answer.headers["retry-after"] })
         assert.equal(1, app:stats().rate_waited)
         eventually(function() return c.post(helper.json.encode(count(4))).status == 204 end)
         assert.equal(4, c:next().data)
         assert.equal(4, calls.n)
      end)
   end)

   it("is ended, over a session, too", function()
      run(function()
         local app, port = channels { message_rate = 0.001, message_burst = 2,
            over_rate = "close" }
         local c = helper.session(port)
         c:subscribe "room"
         c:ask(count())
         local answer = c.post(helper.json.encode(count(9)))
         assert.same({ 403, "over message_rate or byte_rate\n" }, { answer.status, answer.body })
         assert.has_error(function() c:next() end)
         eventually(function() return app:stats().streams == 0 end)
         assert.equal(404, c.post "[]".status)
         assert.equal(1, app:stats().rate_closed)
      end)
   end)
end)

describe("what one client may say", function()
   it("comes back with time, up to a burst", function()
      local function budget(opts)
         for _, name in ipairs { "message_rate", "message_burst", "byte_rate", "byte_burst" } do
            opts[name] = opts[name] or 0
         end
         return rate.budget(opts, 100)
      end
      assert.is_nil(budget {})
      local b = budget { message_rate = 2, byte_rate = 10, byte_burst = 50 }
      assert.is_true(b:take(2, 10, 100))
      assert.is_false(b:take(1, 0, 100)) -- messages are used up
      assert.is_true(b:take(1, 40, 100.5))
      assert.is_false(b:take(1, 11, 101)) -- and here bytes
      assert.is_true(b:take(1, 5, 101))
      assert.equal(0, b:delay(101))
      assert.is_false(b:take(4, 1, 101, true))
      assert.equal(2, b:delay(101))
      assert.equal(0, b:delay(1000))
      assert.is_false(b:take(3, 0, 1000)) -- a burst is that of a second
      b = budget { message_rate = 0.1 }
      assert.is_true(b:take(1, 1e9, 100)) -- one message is always a burst
      assert.equal(0, b:delay(50)) -- a clock that goes back
   end)
end)
