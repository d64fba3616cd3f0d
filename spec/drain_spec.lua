-- app:drain: everybody goes in good order, batch by batch, and nobody stays.

local weft = require "weft"
local server = require "spec.helper_server"
local raw = require "spec.raw"

local run, eventually, SOON = raw.run, raw.eventually, raw.SOON

-- An app that echoes on /ws, and its port.
local function serve(opts)
   local app = server.app(opts)
   app:websocket("/ws", raw.echo)
   local _, port = assert(app:listen "127.0.0.1:0")
   return app, port
end

local function connect(port, n)
   local all = {}
   for i = 1, n do all[i] = server.keep(assert(weft.connect(raw.url(port)))) end
   return all
end

local function request(port, path)
   local c = raw.dial(port)
   c:send("GET ", path, " HTTP/1.1\r\nHost: test\r\n\r\n")
   return c
end

-- A request that is being answered; the channel lets its handler end.
local function slow_request(app, port)
   local begun, go_on = weft.channel(1), weft.channel(1)
   app:get("/slow", function()
      begun:send(true)
      go_on:receive()
      return 200, nil, "done"
   end)
   local c = request(port, "/slow")
   assert(begun:receive(SOON))
   return c, go_on
end

local UPGRADE = "GET /ws HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
   .. "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

describe("app:drain", function()
   it("closes every WebSocket with 1012, takes nobody new, and waits until all are gone", function()
      run(function()
         local app, port = serve()
         local all = connect(port, 3)
         local idle = raw.dial(port)
         local draining = weft.spawn(app.drain, app)
         for _, ws in ipairs(all) do
            assert.is_nil((ws:receive(SOON)))
            assert.same({ 1012, "service restart", true }, { ws:closed() })
         end
         assert.is_true((draining:join(SOON)))
         assert.is_true((idle:is_over()))
         assert.equal("refused", select(3, weft.dial("127.0.0.1:" .. port)))
         assert.equal("closed", select(3, app:listen "127.0.0.1:0"))
         assert.equal(0, app:stats().connections)
         assert.is_true(app:drain()) -- nobody is left
         assert.is_true(app:close())
      end)
   end)

   it("tells another code and reason, when it is given some", function()
      run(function()
         local app, port = serve()
         local ws = connect(port, 1)[1]
         assert.is_true(app:drain { code = 4000, reason = "good night" })
         assert.is_nil((ws:receive(SOON)))
         assert.same({ 4000, "good night", true }, { ws:closed() })
      end)
   end)

   it("asks one batch at a time", function()
      run(function()
         local app, port = serve()
         local all = connect(port, 5)
         local opts = { batch = 2, interval = 3600, timeout = 86400 }
         local draining = weft.spawn(app.drain, app, opts)
         eventually(function() return app:stats().websockets == 3 end)
         local open = 0
         for _, ws in ipairs(all) do
            if ws:send "still here?" and ws:receive(SOON) then open = open + 1 end
         end
         assert.equal(3, open)
         assert.equal("suspended", draining.status)
         app:close() -- asks the rest at once
         assert.is_true((draining:join(SOON)))
         local codes = {}
         for _, ws in ipairs(all) do
            ws:receive(SOON)
            codes[#codes + 1] = ws:closed()
         end
         table.sort(codes)
         assert.same({ 1001, 1001, 1001, 1012, 1012 }, codes)
      end)
   end)

   it("goes on with the next batch, and with bigger ones where time would not do", function()
      run(function()
         local app, port = serve()
         local all = connect(port, 6)
         assert.is_true(app:drain { batch = 1, interval = 0.02 })
         for _, ws in ipairs(all) do
            assert.is_nil((ws:receive(SOON)))
            assert.equal(1012, (ws:closed()))
         end
         app, port = serve()
         connect(port, 6)
         local draining = weft.spawn(app.drain, app, { batch = 1, interval = 5, timeout = 10 })
         eventually(function() return app:stats().websockets == 0 end) -- in one
         assert.is_true((draining:join(SOON)))
      end, 30)
   end)

   it("lets requests be answered to their end, and the connections go then", function()
      run(function()
         local app, port = serve()
         local c, go_on = slow_request(app, port)
         local draining = weft.spawn(app.drain, app)
         eventually(function() return weft.dial("127.0.0.1:" .. port) == nil end)
         assert.equal("suspended", draining.status)
         go_on:send(true)
         local head = c:read_head():lower()
         assert.truthy(head:find "^http/1.1 200 ")
         assert.truthy(head:find("\nconnection: close\n", 1, true), head)
         assert.equal("done", c.stream:receive(4))
         assert.is_true((c:is_over()))
         assert.is_true((draining:join(SOON)))
      end)
   end)

   it("refuses a WebSocket on a connection that is still there", function()
      run(function()
         local app, port = serve()
         local begun, go_on = weft.channel(1), weft.channel(1)
         app:before(function()
            begun:send(true)
            go_on:receive()
         end)
         local c = raw.dial(port)
         c:send(UPGRADE)
         assert(begun:receive(SOON))
         local draining = weft.spawn(app.drain, app)
         eventually(function() return weft.dial("127.0.0.1:" .. port) == nil end)
         go_on:send(true)
         assert.truthy(c:read_head():find "^HTTP/1.1 503 ")
         assert.is_true((draining:join(SOON)))
      end)
   end)

   it("ends streams of events, long polls, and what app:subscribe returned", function()
      run(function()
         local app, port = serve()
         app:topic("news", { history = { size = 10 } })
         app:events("/feed", "news")
         local sub = app:subscribe "news"
         local c = request(port, "/feed")
         assert.truthy(c:read_head():find "^HTTP/1.1 200 ")
         eventually(function() return app:stats().streams == 1 end)
         assert.is_true(app:drain())
         assert.is_string((c.stream:receive "*a"))
         assert.equal(0, app:stats().streams)
         assert.equal("closed", select(3, sub:receive(SOON)))
      end)
   end)

   it("cuts off who has not answered in time", function()
      run(function()
         local app, port = serve { close_timeout = 3600 }
         local mute, good = raw.connect(port), connect(port, 1)[1]
         local ok, message, code = app:drain { timeout = 0.2 }
         assert.same({ nil, "timeout" }, { ok, code })
         assert.equal("app:drain: 1 connection had to be cut off", message)
         assert.same({ 1012, "service restart" }, { mute:take_close() })
         assert.is_true((mute:is_over()))
         assert.is_nil((good:receive(SOON)))
         assert.is_true(select(3, good:closed()))
         eventually(function() return app:stats().connections == 0 end)
      end)
   end)

   it("cuts off at once without time, but not without a word", function()
      run(function()
         local app, port = serve { close_timeout = 3600 }
         local a, b = raw.connect(port), raw.connect(port)
         local _, message = app:drain { timeout = 0 }
         assert.equal("app:drain: 2 connections had to be cut off", message)
         for _, c in ipairs { a, b } do
            assert.equal(1012, (c:take_close()))
            assert.is_true((c:is_over()))
         end
      end)
   end)

   it("cuts off a request that takes longer", function()
      run(function()
         local app, port = serve()
         local c, go_on = slow_request(app, port)
         assert.equal("timeout", select(3, app:drain { timeout = 0.1 }))
         assert.is_true((c:is_over()))
         go_on:close()
         eventually(function() return app:stats().connections == 0 end)
      end)
   end)

   it("ends at an enclosing deadline", function()
      run(function()
         local app, port = serve { close_timeout = 3600 }
         local mute = raw.connect(port)
         weft.deadline(0.1, function()
            assert.equal("timeout", select(3, app:drain()))
         end)
         assert.equal(1012, (mute:take_close()))
         assert.is_true((mute:is_over()))
      end)
   end)

   it("may be called from a handler, by two, and after close", function()
      run(function()
         local app, port = serve()
         local result = weft.channel(2)
         app:websocket("/admin", function(ws)
            ws:receive()
            result:send(app:drain())
         end)
         local ws = server.keep(assert(weft.connect(("ws://127.0.0.1:%d/admin"):format(port))))
         connect(port, 2)
         ws:send "go"
         result:send(app:drain())
         assert.is_true(result:receive(SOON))
         assert.is_true(result:receive(SOON))
         app, port = serve()
         connect(port, 2)
         app:close()
         assert.is_true(app:drain())
         assert.equal(0, app:stats().connections)
      end)
   end)

   it("waits on the main thread, too", function()
      local app = weft.app {}
      app:websocket("/ws", raw.echo)
      local _, port = assert(app:listen "127.0.0.1:0")
      local ws = assert(weft.connect(raw.url(port)))
      assert.is_true(app:drain())
      assert.is_nil((ws:receive(SOON)))
      assert.equal(1012, (ws:closed()))
      ws:close()
   end)

   it("raises for what is no such option, and then nothing has happened", function()
      run(function()
         local app, port = serve()
         for _, row in ipairs {
            { { timeout = -1 }, '"timeout"' }, { { interval = 0 }, '"interval"' },
            { { batch = 0 }, '"batch"' }, { { code = 999 }, '"code"' },
            { { code = 1005 }, '1000 to 1003, 1007 to 1014, or 3000 to 4999, got 1005' },
            { { code = 2000 }, "got 2000" }, { { code = 5000 }, '"code"' },
            { { reason = ("x"):rep(124) }, "123 bytes" }, { { reason = "\xff" }, "UTF-8" },
            { { seconds = 3 }, 'unknown option "seconds"' }, { 30, "table" },
         } do
            local message = server.blame(function() app:drain(row[1]) end)
            assert.truthy(message:find("app:drain", 1, true), message)
            assert.truthy(message:find(row[2], 1, true), message)
         end
         local ws = connect(port, 1)[1]
         ws:send "still open"
         assert.equal("still open", ws:receive(SOON))
      end)
   end)
end)
