-- Every time limit of a WebSocket, in both roles: what it bounds, with which code or close
-- code it ends, and that it composes with deadlines and cancellation. The heartbeat's own
-- spec is heartbeat_spec.lua; a server's handshake_timeout is in handshake_spec.lua.

local weft = require "weft"
local server = require "spec.helper_server"
local raw = require "spec.raw"

local run, eventually, SOON = raw.run, raw.eventually, raw.SOON
local function both(...) raw.both(it, ...) end

-- Sends until the peer, which does not read, makes it wait and the kernel's buffers have
-- stopped growing: how many were queued, and what the last three in a row got.
local function fill(ws, send)
   local n, refused = 0, 0
   while true do
      local ok, message, code = send(ws, ("x"):rep(100000), "binary")
      n, refused = n + (ok and 1 or 0), ok and 0 or refused + 1
      if refused == 3 then return n, message, code end
      assert(n < 10000, "it never waits")
   end
end

-- Reads n of these messages, and then the text that follows them.
local function check_drained(c, n, text)
   for _ = 1, n do assert(#c:take "binary" == 100000) end
   assert.equal(text, c:take "text")
end

describe("timeout", function()
   it("of connect is cut short by a deadline, and by cancelling its task", function()
      run(function()
         local reached, gone = weft.channel(2), weft.channel(2)
         local _, url = raw.serve(function(c)
            reached:send(true)
            gone:send { c.stream:receive "*a" }
         end)
         local ws, message, code = weft.deadline(0.1, weft.connect, url)
         assert.is_nil(ws)
         assert.equal("timeout", code, message)
         reached:receive(SOON)
         assert.same({ "" }, gone:receive(SOON))
         local task = weft.spawn(weft.connect, url)
         reached:receive(SOON)
         task:cancel()
         assert.equal("cancelled", select(3, task:join(SOON)))
         assert.same({ "" }, gone:receive(SOON))
      end)
   end)

   it("of connect names the URL", function()
      run(function()
         local _, url = raw.serve(function(c) c.stream:receive "*a" end)
         local _, message, code = weft.connect(url, { timeout = 0.05 })
         assert.equal("timeout", code)
         assert.truthy(message:find("weft.connect: " .. url, 1, true), message)
      end)
   end)

   both("of receive leaves the connection as it was", function(ws, c)
      for _ = 1, 3 do
         local message, why, code = ws:receive(0.01)
         assert.is_nil(message)
         assert.equal("timeout", code, why)
         message, why, code = weft.deadline(0.01, ws.receive, ws)
         assert.is_nil(message)
         assert.equal("timeout", code, why)
      end
      c:frame { payload = "be", fin = false }
      assert.equal("timeout", select(3, ws:receive(0.02))) -- in the middle of a message
      c:frame { op = "more", payload = "gin" }
      assert.equal("begin", ws:receive(SOON))
      assert.is_true(ws:send "and on")
      assert.equal("and on", c:take "text")
      assert.is_nil(ws:closed())
   end)

   both("of receive loses to a message that is there", function(ws, c)
      c:text "there"
      eventually(function()
         local message = ws:receive(0)
         return message == "there"
      end)
   end)

   both("of receive, cancelled: the next task receives", function(ws, c)
      local task = weft.spawn(ws.receive, ws)
      weft.sleep(0)
      task:cancel()
      assert.equal("cancelled", select(3, task:join(SOON)))
      c:text "for the next"
      assert.equal("for the next", ws:receive(SOON))
   end)

   both("of ping ends that ping alone; its pong may still come", function(ws, c)
      for _, call in ipairs { function() return ws:ping(0.02) end, function() return ws:ping() end,
         function() return weft.deadline(0.02, ws.ping, ws) end } do
         local rtt, why, code = call()
         assert.is_nil(rtt)
         assert.equal("timeout", code, why)
      end
      assert.is_nil(ws:latency())
      local payload
      for _ = 1, 3 do payload = c:take "ping" end
      c:frame { op = "pong", payload = payload }
      eventually(function() return ws:latency() end)
      assert.is_true(ws:latency() >= 0 and ws:latency() < SOON)
      assert.is_nil(ws:closed())
   end, { ping_interval = 0, ping_timeout = 0.02 })

   both("of ping is no limit where ping_timeout is 0", function(ws, c)
      local task = weft.spawn(ws.ping, ws)
      local payload = c:take "ping"
      weft.sleep(0.05)
      assert.equal("suspended", task.status)
      c:frame { op = "pong", payload = payload }
      local rtt = task:join(SOON)
      assert.is_true(rtt > 0.03)
      assert.equal(rtt, ws:latency())
   end, { ping_interval = 0, ping_timeout = 0 })
end)

-- Takes the head and the payload of a message in small pieces, for longer than LIMIT.
local LIMIT = raw.hostile and 3 or 1.5
local BIG = ("x"):rep(12 << 20) -- more than the system keeps
local function sip(c)
   local start, bytes = weft.now(), #BIG + (c.client and 10 or 14)
   for _ = 1, bytes, 65536 do
      assert(c.stream:receive(math.min(bytes, 65536)))
      bytes = bytes - 65536
      weft.sleep(LIMIT / 100)
   end
   assert(weft.now() - start > LIMIT, "it was taken at once")
end

describe("send_timeout", function()
   both("ends a send that a slow peer holds up; nothing of it was queued", function(ws, c)
      local n, message, code = fill(ws, ws.send)
      assert.equal("timeout", code)
      assert.truthy(message:find("the peer is slow", 1, true), message)
      assert.is_nil(ws:closed())
      local reader = weft.spawn(check_drained, c, n, "as before")
      eventually(function() return ws:try_send "as before" end)
      reader:join(SOON)
   end, { send_timeout = 0.05, ping_interval = 0 }, 40)

   both("is not spent by a peer that reads in time", function(ws, c)
      local sender = weft.spawn(function()
         for _ = 1, 30 do assert(ws:send(("x"):rep(100000), "binary")) end
         return ws:send "done"
      end)
      check_drained(c, 30, "done")
      assert.is_true(sender:join(SOON))
   end, { send_timeout = raw.SOON, ping_interval = 0 })

   both("is not spent by a peer that takes a long message bit by bit", function(ws, c)
      assert(ws:send(BIG, "binary"))
      local behind = c.client and weft.spawn(ws.send, ws, "behind") or weft.spawn(ws.drain, ws)
      sip(c)
      assert.is_true(behind:join(SOON))
      if c.client then assert.equal("behind", c:take "text") end
   end, { send_timeout = LIMIT, ping_interval = 0 }, 60)

   both("gives way to an earlier deadline, and to cancelling", function(ws, c)
      local n, _, code = fill(ws, function(...) return weft.deadline(0.1, ws.send, ...) end)
      assert.equal("timeout", code)
      local task = weft.spawn(ws.send, ws, "never queued")
      weft.sleep(0.02)
      assert.equal("suspended", task.status)
      task:cancel()
      assert.equal("cancelled", select(3, task:join(SOON)))
      local reader = weft.spawn(check_drained, c, n, "queued")
      assert.is_true(ws:send "queued")
      reader:join(SOON)
   end, { send_timeout = 1000, ping_interval = 0 }, 40)

   it("has the same name for HTTP and for WebSockets of an app", function()
      run(function()
         local app = server.app { send_timeout = 0.05, ping_interval = 0 }
         local told = weft.channel(2)
         local function handler(ws) told:send(select(3, fill(ws, ws.send))) end
         app:websocket("/ws", handler)
         app:websocket("/slow", handler, { send_timeout = 0.1 })
         local _, port = assert(app:listen "127.0.0.1:0")
         for _, path in ipairs { "/ws", "/slow" } do
            raw.connect(port, path)
            assert.equal("timeout", told:receive(SOON))
         end
      end)
   end)
end)

describe("idle_timeout", function()
   -- Six of these are longer than the limit of four, which a busy machine does not lose.
   local STEP = raw.time(0.3)

   both("closes a connection without messages by 1001", function(ws, c)
      local reader = weft.spawn(ws.receive, ws)
      assert.same({ 1001, "idle timeout" }, { c:take_close() })
      c:bye(1001)
      c:close()
      local message, why, code = reader:join(SOON)
      assert.is_nil(message)
      assert.equal("timeout", code)
      assert.truthy(why:find("1001 idle timeout", 1, true), why)
      assert.same({ 1001, "idle timeout", true }, { ws:closed() })
   end, { idle_timeout = 0.1, ping_interval = 0 })

   both("ends it where the peer does not answer the close", function(ws, c)
      assert.equal("timeout", select(3, ws:receive(SOON)))
      assert.same({ 1006, "idle timeout", false }, { ws:closed() })
      assert.same({ 1001, "idle timeout" }, { c:take_close() })
      assert.is_true((c:is_over()))
   end, { idle_timeout = 0.05, close_timeout = 0.05, ping_interval = 0 })

   both("counts messages, not pings", function(ws, c)
      local reader = weft.spawn(ws.receive, ws)
      local pings, f = 0
      repeat
         f = assert(c:read())
         if f.op == "ping" then
            pings = pings + 1
            c:frame { op = "pong", payload = f.payload }
            c:ping "too"
         end
      until f.op == "close"
      assert.equal(1001, f.code)
      assert.is_true(pings > 0)
      c:bye(1001)
      c:close()
      reader:join(SOON)
   end, { idle_timeout = 0.2, ping_interval = 0.03 })

   both("is put off by messages of either side", function(ws, c)
      local reader = weft.spawn(function()
         for message in ws:messages() do if message == "last" then return true end end
      end)
      for i = 1, 6 do
         if i % 2 == 0 then c:text "from there" else assert(ws:send "from here") end
         if i % 2 == 1 then c:take "text" end
         weft.sleep(STEP)
      end
      assert.is_nil(ws:closed())
      c:text "last"
      assert.is_true(reader:join(SOON))
   end, { idle_timeout = 4 * STEP, ping_interval = 0 })

   it("is put off by what is published", function()
      run(function()
         local app = server.app { idle_timeout = 4 * STEP, ping_interval = 0 }
         app:websocket("/ws", function(ws)
            ws:subscribe "t"
            ws:send "ready"
            ws:receive()
         end)
         local _, port = assert(app:listen "127.0.0.1:0")
         local c = raw.connect(port)
         c:take "text"
         for _ = 1, 6 do
            weft.sleep(STEP)
            assert.equal(1, app:publish("t", "news"))
            assert.equal("news", c:take "text")
         end
         assert.equal(1001, (c:take_close()))
      end)
   end)

   both("is put off by a message that comes piece by piece", function(ws, c)
      local reader = weft.spawn(ws.receive, ws)
      c:frame { payload = "0", fin = false }
      for i = 1, 6 do
         weft.sleep(STEP)
         c:frame { op = "more", payload = tostring(i), fin = i == 6 }
      end
      assert.equal("0123456", reader:join(SOON))
   end, { idle_timeout = 4 * STEP, ping_interval = 0 })

   both("does not run while nobody takes the messages", function(ws, c)
      for i = 1, 20 do c:text("message " .. i) end
      weft.sleep(6 * STEP)
      for i = 1, 20 do assert.equal("message " .. i, ws:receive(SOON)) end
      weft.spawn(function() ws:close() end)
      assert.equal(1000, (c:take_close()))
      c:bye(1000)
      c:close()
   end, { idle_timeout = 4 * STEP, ping_interval = 0, inbox_messages = 2 })

   both("is off by default", function(ws, c)
      local data, message = weft.deadline(0.2, c.stream.receive, c.stream, 1)
      assert.is_nil(data)
      assert.equal("timeout", message)
      assert.is_nil(ws:closed())
   end, { ping_interval = 0 })
end)

describe("close_timeout", function()
   local once = raw.hostile and 4 or 2

   both("is not spent by a message that goes before, bit by bit", function(ws, c)
      assert(ws:send(BIG, "binary"))
      local closing = weft.spawn(ws.close, ws, 1000, "all sent")
      sip(c)
      assert.same({ 1000, "all sent" }, { c:take_close() })
      c:bye(1000)
      assert.is_true(closing:join(SOON))
      assert.same({ 1000, "", true }, { ws:closed() })
   end, { close_timeout = LIMIT, ping_interval = 0 }, 60)

   both("bounds the close handshake, and is told", function(ws, c)
      local reader = weft.spawn(ws.receive, ws)
      assert.is_true(ws:close(4000))
      assert.same({ 1006, "close timeout", false }, { ws:closed() })
      local _, why, code = reader:join(SOON)
      assert.equal("closed", code)
      assert.truthy(why:find("1006 close timeout", 1, true), why)
      assert.equal(4000, (c:take_close()))
      assert.is_true((c:is_over()))
   end, { close_timeout = 0.05 })

   both("is waited for once", function(ws)
      local began = weft.now()
      assert.is_true(ws:close())
      assert.same({ 1006, "close timeout", false }, { ws:closed() })
      local took = weft.now() - began
      assert.is_true(took > 0.99 * once and took < 1.8 * once, took)
   end, { close_timeout = once })

   both("goes on where the task that closes is cut short", function(ws, c)
      local ok, _, code = weft.deadline(0.02, ws.close, ws, 4000)
      assert.is_nil(ok)
      assert.equal("timeout", code)
      local task = weft.spawn(ws.close, ws)
      weft.sleep(0.02)
      task:cancel()
      assert.equal("cancelled", select(3, task:join(SOON)))
      assert.is_nil(ws:closed())
      assert.equal(4000, (c:take_close()))
      c:bye(4000)
      c:close()
      eventually(function() return ws:closed() end)
      assert.same({ 4000, "", true }, { ws:closed() })
   end, { close_timeout = 1000 })
end)

describe("authorize_timeout", function()
   local never = { authorize = function()
      local _, _, code = weft.sleep(3600)
      return code ~= "timeout" -- so false, without a status
   end }

   local function with(more)
      for name, value in pairs(never) do more[name] = value end
      return more
   end

   it("ends what authorize waits for, with 503", function()
      run(function()
         local app = server.app { authorize_timeout = raw.time(0.1) }
         app:websocket("/ws", raw.echo, never)
         app:get("/page", function() return 200 end, never)
         app:get("/own", function() return 200 end, with { authorize_timeout = raw.time(0.05) })
         app:events("/feed", function() end, never)
         local _, port = assert(app:listen "127.0.0.1:0")
         local ws, message, code, answer = weft.connect(raw.url(port))
         assert.is_nil(ws)
         assert.same({ "refused", 503, "5" }, { code, answer.status, answer:header "retry-after" },
            message)
         for _, path in ipairs { "/page", "/own", "/feed" } do
            local page = server.ask(port, "GET", path)
            assert.equal(503, page.status)
            assert.truthy(page.body:find("authorize_timeout", 1, true))
         end
      end)
   end)

   it("leaves those alone who answer, or refuse, and does not bound the handler", function()
      run(function()
         local app = server.app { authorize_timeout = raw.time(0.1) }
         local yes
         local opts = { authorize = function() return yes or nil end }
         app:get("/page", function()
            assert(weft.sleep(raw.time(0.2)))
            return 200
         end, opts)
         local _, port = assert(app:listen "127.0.0.1:0")
         assert.equal(403, server.ask(port, "GET", "/page").status)
         yes = true
         assert.equal(200, server.ask(port, "GET", "/page").status)
      end)
   end)
end)

describe("the options of time", function()
   for _, row in ipairs { { "idle_timeout", -1 }, { "idle_timeout", 86401 },
      { "idle_timeout", "1" }, { "send_timeout", 0 }, { "send_timeout", 0 / 0 },
      { "close_timeout", 0 }, { "ping_interval", -0.1 }, { "ping_timeout", 1 / 0 },
      { "timeout", 0 } } do
      it(("refuse %s = %s"):format(row[1], row[2]), function()
         local message = server.blame(function()
            weft.connect("ws://x/", { [row[1]] = row[2] })
         end)
         assert.truthy(message:find(('option "%s" must be a number of seconds'):format(row[1]),
            1, true), message)
      end)
   end
end)
