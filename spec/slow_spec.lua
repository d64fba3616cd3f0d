-- Slow, silent, flooding and vanishing peers (design 5.7 and 5.8): nobody else waits for
-- them, memory stays within its marks, and nothing is lost or reordered on the way.

local lfs = require "lfs"
local weft = require "weft"
local process = require "spec.process"
local server = require "spec.helper_server"
local raw = require "spec.raw"

local run, eventually = raw.run, raw.eventually
local SOON, rounds = raw.SOON, raw.rounds

local MIB = 1 << 20
raw.mask_most = 5000 -- masks are frames_spec's business
local sanitized = os.getenv "ASAN_OPTIONS" ~= nil -- freed memory is kept back then

-- A weft connection of either role, and the raw peer at its other end.
local roles = { server = raw.reverse, client = raw.pair }

local function both(what, f, opts, seconds)
   for role, pair in pairs(roles) do
      it(("%s (a %s)"):format(what, role), function()
         run(function()
            local ws, c = pair(opts)
            f(ws, c)
         end, seconds or 30)
      end)
   end
end

-- Message i, of a size that changes, with every byte telling where it belongs.
local sizes = { 0, 1, 60, 5000, 125, 126, 70000, 3, 65535, 65536, 1000, 200, 9 }
local function numbered(i)
   local unit = ("%d,"):format(i)
   local n = sizes[i % #sizes + 1]
   return unit .. unit:rep(n // #unit + 1):sub(1, n)
end

-- The same, bigger where there are fewer of them: the kernel's buffers have to overflow.
local function pressing(i)
   return numbered(i):rep(raw.hostile and 8 or 1)
end

-- The memory of this process, in bytes.
local function resident()
   collectgarbage()
   collectgarbage()
   local file <close> = assert(io.open "/proc/self/statm")
   return tonumber(file:read "a":match "^%d+ (%d+)") * 4096
end

local function check_memory(before, bound)
   if sanitized then return end
   local more = resident() - before
   assert.is_true(more < bound, ("%.1f MiB more"):format(more / MIB))
end

local function descriptors()
   local n = 0
   for _ in lfs.dir "/proc/self/fd" do n = n + 1 end
   return n
end

-- n times there and back on a connection to an echo, within a bound that only somebody
-- who waits for another would miss.
local function check_echo(c, n)
   local began = weft.now()
   for i = 1, n do
      c:text("echo " .. i)
      assert.equal("echo " .. i, c:take "text")
   end
   assert.is_true(weft.now() - began < SOON, "it took too long")
end

-- A raw client whose kernel keeps little for it.
local function narrow(port)
   local socket = weft.tcp()
   assert(socket:setoption("recv-buffer-size", 4096))
   assert(socket:connect_ip("127.0.0.1", port))
   local c = raw.adopt(socket)
   c:send(server.upgrade "/ws")
   assert(c:read_head():find "^HTTP/1.1 101 ")
   return c
end

-- -- input that is slow to come -----------------------------------------------------------

describe("clients that say nothing", function()
   it("hold up nobody, and are sent away in time", function()
      run(function()
         local app = server.app { handshake_timeout = raw.time(0.3) }
         app:websocket("/ws", raw.echo)
         local _, port = assert(app:listen "127.0.0.1:0")
         local silent = {}
         for i = 1, rounds(100, 20) do
            silent[i] = raw.dial(port)
            if i % 2 == 0 then silent[i]:send "GET /ws HT" end
         end
         local c = raw.connect(port)
         check_echo(c, rounds(100, 20))
         for i = 1, #silent do
            silent[i].stream:receive "*a"
            assert.is_true((silent[i]:is_over()))
         end
         check_echo(c, 1) -- its handshake was in time; there is no time limit to talking
         assert.equal(1, app:stats().connections)
      end, 30)
   end)
end)

describe("a peer that sends byte by byte", function()
   it("holds up nobody", function()
      run(function()
         local port = raw.app(raw.echo)
         local fast, slow = raw.connect(port), raw.connect(port)
         local text = ("drop by drop "):rep(rounds(100, 4))
         local dripping = weft.spawn(function()
            slow:drip(slow:pack { payload = text })
            assert.equal(text, slow:take "text")
         end)
         check_echo(fast, rounds(200, 20))
         assert.is_true(dripping:join(SOON) == nil)
      end, 30)
   end)

   both("is understood", function(ws, c)
      local message = numbered(3) .. ("x"):rep(rounds(1000, 30))
      weft.spawn(c.drip, c, c:pack { payload = message })
      assert.equal(message, ws:receive(SOON))
   end)
end)

-- -- output that nobody takes -----------------------------------------------------------------

-- Sends until it would wait; how many messages that were. What the kernel still takes,
-- it takes at the end of a turn.
local function fill(ws, message)
   local n, refused = 0, 0
   while refused < 30 do
      local ok, why = ws:try_send(message, "binary")
      if ok then
         n, refused = n + 1, 0
      else
         assert(ok == false, why)
         refused = refused + 1
         weft.sleep(refused > 10 and 0.002 or 0)
      end
   end
   return n
end

describe("a peer that never reads", function()
   local opts = { high_mark = 50000, low_mark = 10000, ping_interval = 0, close_timeout = SOON }

   both("makes send wait at the high mark, and go on at the low one", function(ws, c)
      local sent, message = 0, ("m"):rep(raw.hostile and 49000 or 20000)
      local sender = weft.spawn(function()
         for _ = 1, rounds(1000, 250) do
            assert(ws:send(message, "binary"))
            sent = sent + 1
         end
      end)
      local last
      repeat -- until it stands still
         last = sent
         weft.sleep(0.05)
      until sent == last and ws:buffered() > 0
      assert.equal("suspended", sender.status)
      assert.is_true(sent < rounds(1000, 250))
      assert.is_true(ws:buffered() > 10000 and ws:buffered() < 50000 + #message + 20)
      for _ = 1, rounds(1000, 250) do assert.is_true(c:take "binary" == message) end
      sender:join(SOON)
      eventually(function() return ws:buffered() == 0 end)
   end, opts)

   both("makes try_send say no, until it reads", function(ws, c)
      local message = ("m"):rep(rounds(1000, 49000))
      local n = fill(ws, message)
      assert.is_true(ws:buffered() > 50000 and ws:buffered() < 52000 + #message)
      assert.is_false(ws:try_send "one more")
      for _ = 1, n do assert.is_true(c:take "binary" == message) end
      eventually(function() return ws:try_send "again" end)
      assert.equal("again", c:take "text")
   end, opts)

   both("does not keep a deadline from ending send", function(ws, c)
      fill(ws, ("m"):rep(rounds(1000, 49000)))
      local ok, message, code = weft.deadline(0.05, ws.send, ws, "too late")
      assert.is_nil(ok)
      assert.equal("timeout", code, message)
      assert.is_nil(ws:closed())
      c:close()
   end, opts)

   both("may have one task wait; another one is told so", function(ws, c)
      fill(ws, ("m"):rep(rounds(1000, 49000)))
      local first = weft.spawn(ws.send, ws, "first")
      weft.sleep(0)
      local ok, message, code = ws:send "second"
      assert.is_nil(ok)
      assert.equal("busy", code, message)
      repeat local f = c:read() until f.op == "text" and f.payload == "first"
      assert.is_true(first:join(SOON))
   end, opts)

   both("but then does, gets everything that was sent before a close", function(ws, c)
      local message = ("m"):rep(rounds(1000, 49000))
      local n = fill(ws, message)
      local closer = weft.spawn(ws.close, ws, 4000, "enough")
      weft.sleep(0)
      for _ = 1, n do assert.is_true(c:take "binary" == message) end
      assert.same({ 4000, "enough" }, { c:take_close() })
      c:bye(4000)
      c:close()
      closer:join(SOON)
      assert.same({ 4000, "", true }, { ws:closed() })
   end, opts)

   it("but sends all the time, is echoed in the end, whole and in order", function()
      run(function()
         local before = resident()
         local c = raw.connect((raw.app(raw.echo, { ping_interval = 0 })))
         local sent, n = 0, rounds(3000, 400)
         local sender = weft.spawn(function()
            for i = 1, n do
               c:text(pressing(i))
               sent = i
            end
         end)
         local last
         repeat -- both directions are full
            last = sent
            weft.sleep(0.05)
         until sent == last
         assert.is_true(sent < n)
         check_memory(before, 32 * MIB)
         for i = 1, n do assert.is_true(c:take "text" == pressing(i), i) end
         sender:join(SOON)
      end, 60)
   end)

   it("costs its own connection, not the others', nor memory without end", function()
      run(function()
         local port = raw.app(function(ws)
            repeat until not ws:send(("x"):rep(100000))
         end)
         local echo_port = raw.app(raw.echo)
         local before = resident()
         for _ = 1, 10 do raw.connect(port) end
         local c = raw.connect(echo_port)
         check_echo(c, rounds(500, 20))
         check_memory(before, 40 * MIB)
      end, 30)
   end)

   it("and pings without end is answered within bounds", function()
      run(function()
         local ws, c = raw.reverse()
         local pings = c:pack { op = "ping", payload = ("p"):rep(125) }
         pings = pings:rep(500)
         local most = 0
         for _ = 1, rounds(300, 6) do -- 20 MiB of them: more than what the kernel keeps
            c:send(pings)
            most = math.max(most, ws:buffered())
         end
         assert.is_true(most < 200000 and (most > 0 or raw.hostile), most)
         assert.is_nil(ws:closed())
         -- it reads at last, and is answered again
         local asked = weft.spawn(function()
            eventually(function() return ws:buffered() == 0 end)
            c:ping "the last"
         end)
         repeat local f = assert(c:read()) until f.payload == "the last"
         asked:join(SOON)
      end, 60)
   end)

   it("still gets the pong behind a big message", function()
      run(function()
         local ws, c = raw.reverse()
         repeat until ws:try_send(("b"):rep(MIB), "binary") == false
         c:ping "alive?"
         weft.sleep(0.02)
         local f
         repeat f = assert(c:read()) until f.op ~= "binary"
         assert.same({ "pong", "alive?" }, { f.op, f.payload })
      end, 30)
   end)
end)

describe("a subscriber that never reads", function()
   it("is ended with 1013 at hard_mark; the others get everything", function()
      run(function()
         local gone = weft.channel(1)
         local port, app = raw.app(function(ws)
            ws:subscribe "news"
            ws:send "ready"
            for _ in ws:messages() do error "nobody sends" end
            if ws:closed() == 1013 then gone:send { ws:closed() } end
         end, { hard_mark = 300000 })
         local good, bad = raw.connect(port), narrow(port)
         for _, c in ipairs { good, bad } do assert.equal("ready", c:take "text") end
         local n, before = 0, resident()
         while app:stats().websockets == 2 do
            n = n + 1
            local reached = app:publish("news", numbered(n))
            assert.is_true(reached == 2 or app:stats().websockets == 1)
            assert.equal(numbered(n), good:take "text")
            assert(n < 5000, "nothing was ended")
         end
         local code, reason, clean = table.unpack(gone:receive(SOON))
         assert.equal(1013, code)
         assert.truthy(reason:find("hard_mark", 1, true)) -- names the option
         assert.is_false(clean)
         check_memory(before, 32 * MIB)
         -- what it had been sent is still whole and in order, and says why it ends
         local i, f = 1, assert(bad:read())
         while f.op ~= "close" and f.payload == numbered(i) do
            i, f = i + 1, assert(bad:read())
         end
         assert.same({ "close", 1013 }, { f.op, f.code })
         assert.equal(n, i)
         assert.is_true((bad:is_over()))
         assert.equal(1, app:publish("news", "on and on"))
         assert.equal("on and on", good:take "text")
      end, 30)
   end)

   it("keeps publish from nothing: it never waits", function()
      run(function()
         local port, app = raw.app(function(ws)
            ws:subscribe "news"
            ws:send "ready"
            ws:receive()
         end, { hard_mark = 100 * MIB })
         for _ = 1, 5 do assert.equal("ready", narrow(port):take "text") end
         local turn = 0
         local task = weft.spawn(function()
            while turn >= 0 do
               turn = turn + 1
               weft.sleep(0)
            end
         end)
         for i = 1, 100 do assert.equal(5, app:publish("news", numbered(i):rep(3))) end
         assert.equal(0, turn) -- no other task came to run
         turn = -2
         task:join(SOON)
      end, 30)
   end)
end)

-- -- a handler that is slower than its peer -----------------------------------------------------

describe("a full inbox", function()
   both("stops reading; nothing is lost, and nothing overtakes", function(ws, c)
      local n, sent, before = rounds(4000, 150), 0, resident()
      local sender = weft.spawn(function()
         for i = 1, n do
            c:text(pressing(i))
            sent = i
         end
      end)
      local last
      repeat
         last = sent
         weft.sleep(0.05)
      until sent == last
      assert.is_true(sent < n, "the peer was never made to wait")
      check_memory(before, 32 * MIB)
      for i = 1, n do
         assert.is_true(ws:receive(SOON) == pressing(i), i)
         if i % 7 == 0 then weft.sleep(0) end
      end
      sender:join(SOON)
   end, { ping_interval = 0 }, 60)

   both("holds inbox_messages; what does not fit waits outside", function(ws, c)
      for i = 1, rounds(1000, 100) do c:text("message " .. i) end
      for i = 1, rounds(1000, 100) do
         assert.equal("message " .. i, ws:receive(SOON))
         if i % 100 == 0 then weft.sleep(0.001) end
      end
   end, { inbox_messages = 1 })

   both("holds inbox_bytes, and always one message", function(ws, c)
      local sender = weft.spawn(function()
         for i = 1, 50 do c:binary(numbered(i * 13 + 6)) end -- 70,000 bytes each
      end)
      for i = 1, 50 do
         weft.sleep(0)
         assert.is_true(ws:receive(SOON) == numbered(i * 13 + 6), i)
      end
      sender:join(SOON)
   end, { inbox_bytes = 1 })

   it("of one connection is nobody else's", function()
      run(function()
         local release = weft.channel()
         local port = raw.app(function(ws)
            if ws:receive() == "stop" then release:receive() end
            raw.echo(ws)
         end)
         local stuck, c = raw.connect(port), raw.connect(port)
         stuck:text "stop"
         local sender = weft.spawn(function()
            for i = 1, rounds(1000, 100) do stuck:text(numbered(i)) end
         end)
         c:text "go"
         check_echo(c, rounds(200, 20))
         release:close()
         for i = 1, rounds(1000, 100) do assert.is_true(stuck:take "text" == numbered(i), i) end
         sender:join(SOON)
      end, 60)
   end)

   both("still answers pings that come before it is full", function(ws, c)
      c:ping "one"
      assert.equal("one", c:take "pong")
      c:text "kept"
      c:ping "two"
      assert.equal("two", c:take "pong")
      assert.equal("kept", ws:receive(SOON))
   end, { inbox_messages = 2 })

   both("and a close behind it: every message, then the close", function(ws, c)
      local sender = weft.spawn(function()
         for i = 1, rounds(300, 60) do c:text(numbered(i)) end
         c:bye(4000, "the end")
      end)
      for i = 1, rounds(300, 60) do assert.is_true(ws:receive(SOON) == numbered(i), i) end
      assert.is_nil((ws:receive(SOON)))
      assert.same({ 4000, "the end", true }, { ws:closed() })
      sender:join(SOON)
      c:close()
   end, { inbox_messages = 2 })

   both("and an end without a close: every message, then the end", function(ws, c)
      for i = 1, 40 do c:text("message " .. i) end
      c.stream:shutdown "send"
      for i = 1, 40 do assert.equal("message " .. i, ws:receive(SOON)) end
      assert.is_nil((ws:receive(SOON)))
      assert.equal(1006, (ws:closed()))
   end, { inbox_messages = 2 })
end)

describe("a flood of messages", function()
   it("of one connection leaves time for the others", function()
      run(function()
         local port = raw.app(raw.echo)
         local count_port = raw.app(function(ws)
            local n = 0
            for _ in ws:messages() do n = n + 1 end
            assert(n >= rounds(100000, 4000), n)
         end)
         local flood, c = raw.connect(count_port), raw.connect(port)
         local batch = flood:pack { payload = "x" }
         batch = batch:rep(2000)
         local flooding = weft.spawn(function()
            for _ = 1, rounds(50, 2) do flood:send(batch) end
         end)
         check_echo(c, rounds(100, 20))
         flooding:join(SOON)
         flood:bye(1000)
         assert.equal(1000, (flood:take_close()))
      end, 30)
   end)
end)

-- -- a crowd ----------------------------------------------------------------------------------

describe("a crowd of connections", function()
   -- Each client counts its own messages; what is published comes in between.
   local function take_own(c, news)
      while true do
         local f = assert(c:read())
         if f.op == "binary" then news[#news + 1] = f.payload
         elseif f.op == "text" then return f.payload
         else error("instead of a message: " .. f.op .. " " .. (f.reason or f.payload)) end
      end
   end

   local function in_order(news)
      for i = 2, #news do
         if tonumber(news[i]) ~= tonumber(news[i - 1]) + 1 then return false end
      end
      return true
   end

   -- Many messages in one packet, few, or one cut in two; then all of the echoes.
   local function talk(c, name, round, news)
      local n, parts = 1 + (name * round) % 30, {}
      for i = 1, n do
         parts[i] = c:pack { payload = ("%d %d %d"):format(name, round, i):rep(1 + i % 3 * 40) }
      end
      local bytes = table.concat(parts)
      if round % 3 == 0 then c:send_cut(bytes, #bytes // 2) else c:send(bytes) end
      for i = 1, n do
         local want = ("%d %d %d"):format(name, round, i):rep(1 + i % 3 * 40)
         if take_own(c, news) ~= want then error(("%d lost %s"):format(name, want)) end
      end
   end

   it("keeps every one's messages whole and in order, whatever the others do", function()
      run(function()
         local size, turns, published, left = rounds(48, 12), rounds(30, 6), 0, 0
         local port, app
         port, app = raw.app(function(ws)
            ws:subscribe "all"
            local n, slow = 0, tonumber(ws.request.query) % 4 == 0
            for message in ws:messages() do
               n = n + 1
               if slow and n % 7 == 0 then weft.sleep(0.001) end
               ws:send(message)
               if n % 50 == 0 then
                  published = published + 1
                  app:publish("all", tostring(published), "binary")
               end
            end
         end, { inbox_messages = 4, ping_interval = 0 })
         local function client(name)
            local news = {}
            local c = raw.connect(port, "/ws?" .. name)
            for round = 1, turns do
               talk(c, name, round, news)
               if (name + round) % 11 == 0 then -- gone in the middle of a message, and back
                  c:send(c:pack({ payload = "never whole" }):sub(1, 9))
                  c:close()
                  assert(in_order(news), "published messages were lost")
                  c, news = raw.connect(port, "/ws?" .. name), {}
               elseif (name + round) % 13 == 0 then
                  c:bye(4000)
                  repeat local f = assert(c:read()) until f.op == "close"
                  c:close()
                  c, news = raw.connect(port, "/ws?" .. name), {}
               end
            end
            assert(in_order(news), "published messages were lost")
            left = left + 1
            c:close()
         end
         local tasks = {}
         for name = 1, size do tasks[name] = weft.spawn(client, name) end
         for _, task in ipairs(tasks) do task:join() end
         assert.equal(size, left)
         eventually(function() return app:stats().connections == 0 end)
      end, 60)
   end)
end)

-- -- big messages over a slow reader ------------------------------------------------------------

describe("big messages over a slow reader", function()
   -- Reads everything, in small pieces, then the frames out of it.
   local function read_slowly(c, total)
      local parts, n = {}, 0
      while n < total do
         local piece = assert(c.stream:receive(math.min(1 + n % 40000, total - n)))
         parts[#parts + 1] = piece
         n = n + #piece
         weft.sleep(0)
      end
      return table.concat(parts)
   end

   local function frame_bytes(message)
      local n = #message
      return raw.frame { op = "binary", payload = message, form = n < 126 and 7 or nil }
   end

   it("arrive whole, whoever sends them and how", function()
      run(function()
         local messages, wanted = {}, {}
         for i = 1, 12 do
            messages[i] = i % 3 == 0 and numbered(i) or numbered(i * 13 + 6):rep(i * 2)
            wanted[i] = frame_bytes(messages[i])
         end
         local port, app = raw.app(function(ws)
            ws:subscribe "all"
            for i, message in ipairs(messages) do
               if i % 4 == 3 then ws:receive(0.001) end
               assert(ws:send(message, "binary"))
            end
            ws:receive()
         end)
         local c = narrow(port)
         wanted = table.concat(wanted)
         assert.is_true(read_slowly(c, #wanted) == wanted)
         -- shared by several queues, of different speed
         local others = {}
         for i = 1, 4 do others[i] = raw.connect(port) end
         for i = 1, 4 do assert.is_true(read_slowly(others[i], #wanted) == wanted) end
         local big = numbered(6):rep(5)
         for _ = 1, 3 do assert.equal(5, app:publish("all", big, "binary")) end
         table.insert(others, c)
         local shared = frame_bytes(big):rep(3)
         local readers = {}
         for i, other in ipairs(others) do
            readers[i] = weft.spawn(function()
               assert.is_true(read_slowly(other, #shared) == shared)
            end)
         end
         for _, reader in ipairs(readers) do reader:join(SOON) end
      end, 60)
   end)

   both("arrive whole at weft, in pieces of any size", function(ws, c)
      local message = numbered(6):rep(14) -- just below a MiB
      local bytes = c:pack { op = "binary", payload = message } .. c:pack { payload = "end" }
      local sender = weft.spawn(function()
         local at = 1
         while at <= #bytes do
            local n = 1 + at * 7919 % 50000
            c:send(bytes:sub(at, at + n - 1))
            at = at + n
            weft.sleep(0)
         end
      end)
      assert.is_true(ws:receive(SOON) == message)
      assert.equal("end", ws:receive(SOON))
      sender:join(SOON)
   end)

   it("arrive whole between two wefts, in both directions at once", function()
      run(function()
         local port = raw.app(raw.echo)
         local ws = assert(weft.connect(raw.url(port)))
         local n = rounds(200, 40)
         local sender = weft.spawn(function()
            for i = 1, n do assert(ws:send(numbered(i):rep(i % 9 + 1))) end
         end)
         for i = 1, n do
            assert.is_true(ws:receive(SOON) == numbered(i):rep(i % 9 + 1), i)
            if i % 5 == 0 then weft.sleep(0.001) end
         end
         sender:join(SOON)
         ws:close()
      end, 60)
   end)
end)

-- -- the heartbeat --------------------------------------------------------------------------------

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
      local till, n = weft.now() + raw.time(1), 0
      while weft.now() < till do -- longer than interval and timeout, without a pong
         c:text "busy"
         n = n + 1
         weft.sleep(raw.time(0.01))
      end
      assert.is_nil(ws:closed())
      c:bye(1000)
      assert.equal(n, reader:join(SOON))
   end, { ping_interval = 0.05, ping_timeout = raw.time(0.4) })

   both("does not blame the peer while we do not read", function(ws, c)
      for i = 1, 40 do c:text("message " .. i) end
      weft.sleep(raw.time(0.5)) -- longer than both; its pongs are behind what nobody took
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
   end, { ping_interval = 0.05, ping_timeout = raw.time(0.15), inbox_messages = 2 })

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

-- -- a peer that is refused while it talks --------------------------------------------------------

describe("a message that is refused while it comes", function()
   for _, size in ipairs { 2, 8 } do
      both(("is answered by 1009, with %d MiB of it on the way"):format(size), function(ws, c)
         local message = c:pack { op = "binary", payload = ("x"):rep(size * MIB) }
         local sender = weft.spawn(function() c.stream:send(message) end)
         assert.is_nil((ws:receive(SOON)))
         assert.equal(1009, (ws:closed()))
         sender:join(SOON)
         local ok, code = pcall(c.take_close, c) -- or a reset has overtaken it
         assert.is_true(ok, code)
         assert.equal(1009, code)
      end)
   end
end)

-- -- peers that vanish --------------------------------------------------------------------------

describe("2,000 connects and resets in a row", function()
   it("leave no connection, no descriptor, and the server as it was", function()
      run(function()
         local port, app = raw.app(function(ws)
            ws:subscribe "all"
            raw.echo(ws)
         end, { ping_interval = 0 })
         local c = raw.connect(port)
         check_echo(c, 1)
         local n, files, before = rounds(2000, 300), descriptors(), nil
         local request = server.upgrade "/ws"
         for i = 1, n do
            local stream = assert(weft.dial("127.0.0.1:" .. port))
            local how = i % 5
            if how == 1 then stream:send(request:sub(1, 50))
            elseif how >= 2 then stream:send(request) end
            if how == 3 then stream:receive(SOON) end -- the rest is unread: a reset
            if how == 4 then
               stream:send(raw.frame { payload = "hello", mask = true })
               weft.sleep(0)
            end
            stream:close()
            if i == n // 4 then before = resident() end
            if i % (n // 20) == 0 then app:publish("all", "to whoever is left") end
         end
         eventually(function() return app:stats().connections == 1 end)
         assert.equal(1, app:stats().websockets)
         eventually(function() return descriptors() <= files end)
         assert.equal(n + 1, app:stats().accepted)
         check_memory(before, 8 * MIB)
         for _ = 1, 20 do assert.equal("to whoever is left", c:take "text") end
         check_echo(c, 10)
      end, 60)
   end)
end)

describe("a server without descriptors left", function()
   -- A process of its own: it may have 40.
   local script = [[
      local weft = require "weft"
      local app = weft.app { ping_interval = 0 }
      app:websocket("/ws", function(ws)
         for message in ws:messages() do ws:send(message) end
      end)
      local _, port = assert(app:listen "127.0.0.1:0")
      print(port)
      io.stdout:flush()
      weft.run()
   ]]

   local function cpu_ticks(pid)
      local file <close> = assert(io.open("/proc/" .. pid .. "/stat"))
      local user, system = file:read "a":match("%)" .. (" %S+"):rep(11) .. " (%d+) (%d+)")
      return tonumber(user) + tonumber(system)
   end

   it("pauses, serves whom it has, and resumes", function()
      local child = process.start { "sh", "-c", 'ulimit -n 40; exec "$0" -e "$1"',
         os.getenv "LUA" or "lua5.4", script }
      local port = tonumber(child:wait_for "^(%d+)$")
      local ok, err = pcall(run, function()
         local all, served = {}, {}
         for i = 1, 70 do
            all[i] = raw.dial(port) -- in the kernel's backlog, at least
            all[i]:send(server.upgrade "/ws")
         end
         for _, c in ipairs(all) do
            local head = weft.deadline(#served < 20 and 10 or 0.3, c.read_head, c)
            if not head then break end
            served[#served + 1] = c
         end
         assert.is_true(#served >= 20 and #served < 40, #served)
         for _, c in ipairs(served) do check_echo(c, 1) end
         -- it waits for better times without burning the processor meanwhile
         local before = cpu_ticks(child.pid)
         weft.sleep(0.5)
         assert.is_true(cpu_ticks(child.pid) - before < 20)
         for _, c in ipairs(served) do c:close() end
         for i = #served + 1, 60 do
            local c = all[i]
            assert.truthy(assert(weft.deadline(10, c.read_head, c)):find "^HTTP/1.1 101 ")
            check_echo(c, 1)
            c:close()
         end
      end, 50)
      local rest = child:stop "KILL"
      assert.is_true(ok, tostring(err) .. "\n" .. rest)
      assert.equal("", rest) -- it complained of nothing
   end)
end)
