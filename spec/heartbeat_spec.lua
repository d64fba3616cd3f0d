-- The heartbeat: pings that a silent peer gets (RFC 6455 5.5.2), and what becomes of one
-- that does not answer.

local weft = require "weft"
local raw = require "spec.raw"

local eventually, SOON = raw.eventually, raw.SOON
local function both(...) raw.both(it, ...) end

describe("the heartbeat", function()
   both("pings a peer that is silent, and takes its pongs", function(ws, c)
      local reader = weft.spawn(ws.receive, ws)
      for _ = 1, 8 do
         local payload = c:take "ping"
         c:frame { op = "pong", payload = payload }
      end
      eventually(function() return ws:latency() end)
      assert.is_nil(ws:closed())
      c:text "done"
      assert.equal("done", reader:join(SOON))
   end, { ping_interval = 0.03, ping_timeout = 10 })

   both("is no faster than ping_interval", function(ws, c)
      local began, n = weft.now(), 0
      for _ = 1, 6 do
         c:take "ping"
         n = n + 1
         if n % 2 == 0 then c:text "alive" end -- heard or not
      end
      assert.is_true(weft.now() - began > 4 * 0.05 - 0.04, weft.now() - began)
      assert.is_nil(ws:closed())
   end, { ping_interval = 0.05, ping_timeout = 10 })

   both("ends a peer that does not answer", function(ws, c)
      local message, why, code = ws:receive(SOON)
      assert.is_nil(message)
      assert.equal("timeout", code, why)
      assert.truthy(why:find("ping timeout", 1, true))
      local closed, reason, clean = ws:closed()
      assert.same({ 1006, "ping timeout", false }, { closed, reason, clean })
      -- RFC 6455 7.1.7: it is told, in case that it hears
      local f
      repeat f = assert(c:read()) until f.op ~= "ping"
      assert.equal("close", f.op)
      assert.is_true((c:is_over()))
   end, { ping_interval = 0.03, ping_timeout = raw.time(0.1) })

   both("is not deceived by our own sending", function(ws, c)
      local ended
      local sender = weft.spawn(function()
         repeat weft.sleep(0.005) until not ws:send "are you there?"
         ended = true
      end)
      repeat local f = c:read() until not f or f.op == "close" -- reads, and says nothing
      sender:join(SOON)
      assert.is_true(ended)
      assert.equal(1006, (ws:closed()))
   end, { ping_interval = 0.03, ping_timeout = raw.time(0.1) })

   both("takes any bytes for a sign of life", function(ws, c)
      local reader = weft.spawn(function()
         local n = 0
         for _ in ws:messages() do n = n + 1 end
         return n
      end)
      local till, n = weft.now() + raw.time(1.3), 0
      while weft.now() < till do -- longer than interval and timeout, without a pong
         c:text "busy"
         n = n + 1
         weft.sleep(raw.time(0.01))
      end
      assert.is_nil(ws:closed())
      c:bye(1000)
      assert.equal(n, reader:join(SOON))
   end, { ping_interval = 0.05, ping_timeout = raw.time(1) })

   both("does not blame the peer while we do not read", function(ws, c)
      for i = 1, 40 do c:text("message " .. i) end
      weft.sleep(raw.time(1.3)) -- longer than both; its pongs are behind what nobody took
      assert.is_nil(ws:closed())
      weft.spawn(function()
         for f in c.read, c do
            if f.op == "ping" then c:frame { op = "pong", payload = f.payload } end
            if f.op == "close" then return c:bye(1000) end
         end
      end)
      for i = 1, 40 do assert.equal("message " .. i, ws:receive(SOON)) end
      weft.sleep(raw.time(0.3))
      assert.is_nil(ws:closed())
      ws:close()
   end, { ping_interval = 0.05, ping_timeout = raw.time(1), inbox_messages = 2 })

   both("does not blame the peer for a process that was busy", function(ws, c)
      local reader = weft.spawn(ws.receive, ws)
      for _ = 1, 3 do
         c:frame { op = "pong", payload = c:take "ping" }
         os.execute("exec sleep " .. raw.time(0.5)) -- and the answer is there when it looks again
      end
      weft.sleep(0)
      assert.is_nil(ws:closed())
      c:text "alive"
      assert.equal("alive", reader:join(SOON))
   end, { ping_interval = 0.05, ping_timeout = raw.time(0.25) })

   both("may be switched off", function(ws, c)
      local data, message = weft.deadline(0.2, c.stream.receive, c.stream, 1)
      assert.is_nil(data)
      assert.equal("timeout", message)
      assert.is_nil(ws:closed())
   end, { ping_interval = 0 })

   both("may ask without demanding an answer", function(ws, c)
      for _ = 1, 6 do c:take "ping" end
      assert.is_nil(ws:closed())
   end, { ping_interval = 0.02, ping_timeout = 0 })
end)
