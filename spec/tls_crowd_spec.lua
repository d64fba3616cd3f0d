-- A TLS port under a crowd that means no good: silent, gone in the middle, a byte at a
-- time. Others connect in their usual time, and the deadline ends the crowd.

local weft = require "weft"
local certificates = require "spec.certificates"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run, keep = server.run, server.keep
local CROWD = raw.hostile and 60 or 1000
local trusting = certificates.client { resumption = false }

-- The first thing that a client of TLS says.
local function client_hello()
   local listener = keep(assert(weft.listen "127.0.0.1:0"))
   local _, port = listener:getsockname()
   local taking = weft.spawn(function()
      local stream <close> = assert(listener:accept())
      local head = assert(stream:receive(5))
      return head .. assert(stream:receive((string.unpack(">I2", head, 4))))
   end)
   weft.connect(("wss://localhost:%d/"):format(port), { tls = trusting })
   return (taking:join())
end

local behaviour = {
   function() end, -- says nothing
   function(stream, hello) -- hangs up in the middle
      stream:send(hello, 1, #hello // 2)
      weft.sleep(0.05)
      stream:close()
   end,
   function(stream, hello, give_up) -- says a byte, and another
      for i = 1, #hello do
         if not stream:send(hello, i, i) or weft.now() > give_up then break end
         weft.sleep(0.5)
      end
   end,
}

-- So many of each kind, each in a task; what they hold open is in `streams`.
local function gather(port, hello, streams, give_up)
   for i = 1, CROWD do
      local stream = keep(assert(weft.dial("127.0.0.1:" .. port)))
      streams[i] = stream
      weft.spawn(behaviour[i % 3 + 1], stream, hello, give_up)
   end
end

local function connect(port)
   local before = weft.now()
   local ws = assert(weft.connect(("wss://localhost:%d/"):format(port), { tls = trusting }))
   assert(ws:send "x")
   assert.equal("x", ws:receive(raw.SOON))
   ws:close()
   return weft.now() - before
end

-- The median of some.
local function time(port)
   local times = {}
   for i = 1, raw.rounds(15, 3) do times[i] = connect(port) end
   table.sort(times)
   return times[#times // 2 + 1]
end

local DEADLINE = raw.time(4)

describe("a TLS port", function()
   it(("serves others while %d hold on to it, and gets rid of these"):format(CROWD), function()
      run(function()
         local app = server.app { handshake_timeout = DEADLINE }
         app:websocket("/", function(ws) for m in ws:messages() do ws:send(m) end end)
         local _, port = app:listen("127.0.0.1:0", { tls = certificates.server "good" })
         local hello = client_hello()
         local usual, streams = time(port), {}
         gather(port, hello, streams, weft.now() + 3 * DEADLINE)
         raw.eventually(function() return app:stats().accepted >= CROWD end)
         local crowded = time(port)
         -- generous: two cores that others use too
         assert.is_true(crowded < usual * 10 + 0.1,
            ("%.1f ms, usually %.1f ms"):format(crowded * 1000, usual * 1000))
         raw.eventually(function() return app:stats().tls_failed == CROWD end)
         assert.equal(0, app:stats().connections)
         for _, stream in ipairs(streams) do stream:close() end
         connect(port)
      end, raw.time(60))
   end)

   it("lets those that are connected go on while many shake hands", function()
      run(function()
         local app = server.app()
         app:websocket("/", function(ws) for m in ws:messages() do ws:send(m) end end)
         local _, port = app:listen("127.0.0.1:0", { tls = certificates.server "good" })
         local ws = keep(assert(weft.connect(("wss://localhost:%d/"):format(port),
            { tls = trusting })))
         local left = raw.rounds(300, 10)
         for _ = 1, left do
            weft.spawn(function()
               connect(port)
               left = left - 1
            end)
         end
         local echoes = 0
         while left > 0 do
            assert(ws:send "still there?")
            assert.equal("still there?", ws:receive(raw.SOON))
            echoes = echoes + 1
         end
         assert.is_true(echoes > 3, echoes)
      end, raw.time(60))
   end)
end)
