-- Slow and silent peers (design 5.7 and 5.8): nobody else waits for them, memory stays
-- within its marks, and nothing is lost or reordered on the way.

local weft = require "weft"
local pair = require "spec.scripts.pair"
local server = require "spec.helper_server"
local raw = require "spec.raw"

local run, eventually = raw.run, raw.eventually
local SOON, rounds = raw.SOON, raw.rounds
local numbered, check_echo, check_memory = raw.numbered, raw.check_echo, raw.check_memory

local MIB = 1 << 20
raw.mask_most = 5000 -- masks are frames_spec's business

local function both(...) raw.both(it, ...) end

-- The same, bigger where there are fewer of them: the kernel's buffers have to overflow.
local function pressing(i)
   return numbered(i):rep(raw.hostile and 8 or 1)
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

   both("lets several tasks wait; each has its turn, a cancelled one none", function(ws, c)
      fill(ws, ("m"):rep(rounds(1000, 49000)))
      local tasks, got, wanted = {}, {}, {}
      for i = 1, 12 do
         tasks[i] = weft.spawn(ws.send, ws, i .. (" "):rep(20000)) -- more than high_mark in all
         if i ~= 5 then wanted[#wanted + 1] = i end
      end
      local waiting = weft.spawn(ws.drain, ws)
      weft.sleep(0)
      tasks[5]:cancel()
      repeat
         local f = c:read()
         if f.op == "text" then got[#got + 1] = tonumber(f.payload:match "^%d+") end
      until #got == 11
      assert.same(wanted, got)
      for i, task in ipairs(tasks) do assert.equal(i ~= 5 or nil, (task:join(SOON))) end
      assert.is_true(waiting:join(SOON))
   end, opts)

   both("forgets none of those that wait because another one came first", function(ws, c)
      local message, each = ("m"):rep(49000), rounds(300, 40)
      local sent, over = 0, false
      local function send_all()
         local n = 0
         while n < each do
            local ok, why, code = ws:send(message, "binary")
            if ok then n, sent = n + 1, sent + 1
            elseif code ~= "busy" then error(why)
            else weft.sleep(0) end
         end
      end
      -- one that goes on as soon as a byte comes, before those that were woken for there is room
      local bell, rope = pair.streams()
      local _ <close> = pair.closer { bell, rope }
      local early = weft.spawn(function()
         local n = 0
         while n < each do
            bell:receive(1)
            while n < each and ws:send(message, "binary") do n, sent = n + 1, sent + 1 end
         end
      end)
      local late = weft.spawn(send_all)
      local ringing = weft.spawn(function()
         while not over do
            rope:send "."
            weft.sleep(0)
         end
      end)
      for _ = 1, 2 * each do assert.is_true(c:take "binary" == message) end
      early:join(SOON)
      late:join(SOON)
      over = true
      ringing:join(SOON)
      assert.equal(2 * each, sent)
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
         local before = raw.memory()
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
         local before = raw.memory()
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
         local n, before = 0, raw.memory()
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

describe("a handler that computes", function()
   it("gives way to the others after some milliseconds, however much has come", function()
      run(function()
         local turns, over, at = 0, false, nil
         local app = server.app()
         app:websocket("/ws", function(ws)
            for message in ws:messages() do
               local busy = os.clock() + 0.0005
               repeat until os.clock() > busy
               if message == "first" then at = turns end
               if message == "last" then ws:send "done" end
            end
         end)
         local _, port = assert(app:listen "127.0.0.1:0")
         local ws = assert(weft.connect(("ws://127.0.0.1:%d/ws"):format(port)))
         weft.spawn(function()
            repeat
               turns = turns + 1
               weft.sleep(0)
            until over
         end)
         ws:send "first"
         for i = 1, 398 do ws:send(tostring(i)) end
         ws:send "last"
         assert.equal("done", ws:receive(60))
         over = true
         -- 0.2 s of work, of which 10 ms and 16 messages may be done at once
         assert.is_true(turns - at >= 8)
         ws:close()
      end)
   end)
end)

describe("a full inbox", function()
   both("stops reading; nothing is lost, and nothing overtakes", function(ws, c)
      local n, sent, before = rounds(4000, 150), 0, raw.memory()
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
