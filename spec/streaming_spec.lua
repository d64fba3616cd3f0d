-- Messages in pieces, both ways: ws:chunks() and ws:writer(), plain and compressed, in both roles:
-- frames, limits, time, ends in the middle, who is busy, and memory.

local weft = require "weft"
local core = require "weft.core"
local process = require "spec.process"
local raw = require "spec.raw"
local rig = require "spec.pieces_rig"

local gather, sample, WORD = rig.gather, rig.sample, rig.WORD

-- No pings but a test's own: a heartbeat's, after 20 s, would get among the frames it counts.
local function both(what, f, opts, seconds)
   opts = opts or {}
   opts.ping_interval = 0
   raw.both(it, what, f, opts, seconds)
end

describe("chunks():", function()
   both("one message as it comes, with pings answered in between", function(ws, c)
      local got = weft.channel(9)
      weft.spawn(function()
         for chunk, last, kind in ws:chunks() do got:send { chunk, last, kind } end
         got:send { ws:receive(raw.SOON) }
      end)
      c:frame { op = "text", fin = false, payload = "one" }
      assert.same({ "one", false, "text" }, got:receive(raw.SOON))
      c:ping "here"
      assert.equal("here", c:take "pong")
      c:frame { op = "more", fin = false, payload = "two\xe2\x82" }
      assert.same({ "two", false, "text" }, got:receive(raw.SOON))
      c:frame { op = "more", payload = "\xac three" }
      assert.same({ "€ three", true, "text" }, got:receive(raw.SOON))
      c:binary "next"
      assert.same({ "next", "binary" }, got:receive(raw.SOON))
   end)

   both("cut at every byte", function(ws, c)
      local bytes = c:pack { op = "text", fin = false, payload = WORD:sub(1, 2) }
         .. c:pack { op = "ping" }
         .. c:pack { op = "more", payload = WORD:sub(3) } .. c:pack { op = "binary", payload = "x" }
      for at = 1, #bytes - 1, raw.hostile and 9 or 1 do
         weft.spawn(function() c:send_cut(bytes, at) end)
         local text, _, whole, kind = gather(ws)
         assert.same({ WORD, true, "text" }, { text, whole, kind })
         text, _, whole, kind = gather(ws)
         assert.same({ "x", true, "binary" }, { text, whole, kind })
      end
      weft.spawn(function() c:drip(bytes) end)
      assert.equal(WORD, (gather(ws)))
      assert.equal("x", (gather(ws)))
   end)

   both("empty messages, and those that were there before anybody asked", function(ws, c)
      c:text ""
      c:frame { op = "text", fin = false }
      c:frame { op = "more", payload = "" }
      c:text "whole"
      c:ping "p" -- answered: so all of that has come
      assert.equal("p", c:take "pong")
      assert.same({ "", 1, true, "text" }, { gather(ws) })
      assert.same({ "", 1, true, "text" }, { gather(ws) })
      assert.same({ "whole", 1, true, "text" }, { gather(ws) })
   end)

   both("takes what max_message refuses, whenever it is asked", function(ws, c)
      c:ping "before"
      assert.equal("before", c:take "pong")
      local announced = c:pack { op = "binary", length = 300, payload = ("x"):rep(200) }
      c:send(announced)
      weft.sleep(0.05) -- nothing has to happen, and nothing can
      assert.is_nil(ws:closed())
      local text, _, whole
      local key = c.client and raw.MASK or "\0\0\0\0"
      weft.spawn(function() c:send(raw.mask(("x"):rep(100), key)) end)
      text, _, whole = gather(ws)
      assert.same({ ("x"):rep(300), true }, { text, whole })
      c:send(announced) -- to be refused when it is asked for in another way
      local message, why, code = ws:receive(raw.SOON)
      assert.same({ nil, "closed: 1009 message over max_message", "too_big" },
         { message, why, code })
   end, { max_message = 100 })

   both("many fragments, but not many empty ones", function(ws, c)
      weft.spawn(function()
         for i = 1, 50 do
            c:frame { op = i == 1 and "text" or "more", fin = i == 50, payload = "ab" }
            if i < 50 then c:frame { op = "more", fin = false } end
         end
         c:frame { op = "text", fin = false }
         for _ = 1, 9 do c:frame { op = "more", fin = false } end
      end)
      assert.equal(("ab"):rep(50), (gather(ws)))
      assert.same({ "", 0, false }, { gather(ws) }) -- no piece of it had come
      local code, reason = ws:closed()
      assert.same({ 1009, "empty fragments over max_empty_fragments" }, { code, reason })
   end, { max_fragments = 3, max_empty_fragments = 2 })

   both("a limit of its own, as early as the length is known", function(ws, c)
      c:frame { op = "text", fin = false, payload = ("x"):rep(60) }
      c:send(c:pack { op = "more", length = 41 })
      local ok, why = pcall(gather, ws, { max_message = 100 })
      assert.is_false(ok)
      assert.matches("the message broke off: closed: 1009 message over max_message", why, 1, true)
      assert.equal(1009, (c:take_close()))
   end)

   both("bad UTF-8 at the first bad byte: 1007", function(ws, c)
      c:frame { op = "text", fin = false, payload = "good \xe2" }
      c:send(c:pack { op = "more", length = 1000, payload = "\xff" })
      local ok, why = pcall(gather, ws)
      assert.is_false(ok)
      assert.matches("1007 text is not UTF%-8", why)
      assert.equal(1007, (c:take_close()))
   end)

   both("the peer closes, or hangs up, in the middle", function(ws, c)
      c:frame { op = "text", fin = false, payload = "begun" }
      local seen = {}
      local ok, why = pcall(function()
         for chunk, last in ws:chunks() do
            seen[#seen + 1] = { chunk, last }
            c:bye(1000, "no more")
         end
      end)
      assert.is_false(ok)
      assert.matches("the message broke off: closed: 1000 no more", why, 1, true)
      assert.same({ { "begun", false } }, seen)
      for _ in ws:chunks() do error "a piece" end -- as of messages(): just no more
   end)

   both("hangs up", function(ws, c)
      c:frame { op = "text", fin = false, payload = "begun" }
      local ok, why = pcall(function()
         for _ in ws:chunks() do c:close() end
      end)
      assert.is_false(ok)
      assert.matches("the message broke off: closed: 1006", why, 1, true)
   end)

   both("leaving the loop drops the rest, without being asked for more", function(ws, c)
      c:frame { op = "text", fin = false, payload = "one" }
      for chunk in ws:chunks() do
         assert.equal("one", chunk)
         if chunk then break end
      end
      c:frame { op = "more", fin = false, payload = ("two"):rep(100) }
      c:ping "still here"
      assert.equal("still here", c:take "pong")
      c:frame { op = "more", payload = "three" }
      c:text "next"
      assert.same({ "next", "text" }, { ws:receive(raw.SOON) })
      c:frame { op = "text", fin = false, payload = "one" }
      assert.has_error(function()
         for _ in ws:chunks() do error("mine", 0) end
      end, "mine")
      c:frame { op = "more", payload = "\xff" } -- judged all the same
      assert.equal("utf8", select(3, ws:receive(raw.SOON)))
   end, { max_message = 100 })

   both("time: of a wait, of a deadline, and cancelled", function(ws, c)
      for _ in ws:chunks { timeout = 0.02 } do error "a piece" end
      weft.deadline(0.02, function() for _ in ws:chunks() do error "a piece" end end)
      c:frame { op = "text", fin = false, payload = "begun" }
      local ok, why = pcall(gather, ws, { timeout = 0.02 })
      assert.is_false(ok)
      assert.matches("timeout in the middle of a message", why)
      c:frame { op = "more", payload = "the rest" }
      c:text "usable"
      assert.equal("usable", (ws:receive(raw.SOON)))
      c:frame { op = "text", fin = false, payload = "begun" }
      local begun = weft.channel(1)
      local task = weft.spawn(function()
         for _ in ws:chunks() do begun:send(true) end
      end)
      begun:receive(raw.SOON)
      weft.sleep(0)
      task:cancel()
      assert.equal("cancelled", select(3, task:join()))
      c:frame { op = "more", payload = "the rest" }
      c:text "usable"
      assert.equal("usable", (ws:receive(raw.SOON)))
   end)

   both("leave a message of which they have seen nothing to who asks next", function(ws, c)
      for _, row in ipairs { { "", "whole" }, { "\xe2\x82", "\xac and whole" } } do
         local function begin() c:frame { op = "text", fin = false, payload = row[1] } end
         begin()
         for _ in ws:chunks { timeout = 0.02 } do error "a piece" end
         c:frame { op = "more", payload = row[2] }
         assert.equal(row[1] .. row[2], (ws:receive(raw.SOON)))
         begin()
         local task = weft.spawn(function() for _ in ws:chunks() do error "a piece" end end)
         weft.sleep(0.02)
         task:cancel()
         assert.equal("cancelled", select(3, task:join()))
         c:frame { op = "more", payload = row[2] }
         assert.equal(row[1] .. row[2], (gather(ws)))
      end
      c:frame { op = "text", fin = false }
      for _ in ws:chunks { timeout = 0.02 } do error "a piece" end
      c:frame { op = "more", payload = ("x"):rep(101) }
      assert.equal("too_big", select(3, ws:receive(raw.SOON)))
   end, { max_message = 100 })

   it("leave such a message also where it is compressed", function()
      raw.run(function()
         local port = raw.app(function(ws)
            for _ = 1, 5 do
               for _ in ws:chunks { timeout = 0.01 } do error "a piece" end
            end
            ws:send "nothing seen"
            ws:send((ws:receive()))
         end, { compression = { threshold = 0 } })
         local ws <close> = assert(weft.connect(raw.url(port), { compression = { threshold = 0 } }))
         local w = ws:writer()
         w:write "\xe2"
         assert.equal("nothing seen", ws:receive(raw.SOON))
         w:write "\x82\xac and whole"
         w:close()
         assert.equal("€ and whole", ws:receive(raw.SOON))
      end)
   end)

   both("one reader at a time", function(ws, c)
      c:frame { op = "text", fin = false, payload = "one" }
      for chunk, last in ws:chunks() do
         if last then break end
         assert.equal("one", chunk)
         assert.equal("busy", select(3, ws:receive(1)))
         assert.has_error(function() for _ in ws:messages() do error "a message" end end)
         local ok, why = pcall(function() for _ in ws:chunks() do error "a piece" end end)
         assert.is_false(ok)
         assert.matches("another loop over chunks%(%) is not over", why)
         c:frame { op = "more", payload = "two" }
      end
      local waiting = weft.spawn(function() return ws:receive(raw.SOON) end)
      weft.sleep(0)
      assert.has_error(function() for _ in ws:chunks() do error "a piece" end end)
      c:text "for the one who waited"
      assert.equal("for the one who waited", (waiting:join()))
      local next_piece, state = ws:chunks()
      c:text "by hand"
      assert.same({ "by hand", true, "text" }, { next_piece(state) })
      assert.is_nil(next_piece(state))
   end)

   both("a reader that is slow stops the peer", function(ws, c)
      local sent, total = 0, 64 << 20
      local bytes = ("x"):rep(1 << 16)
      c:send(raw.frame { op = "binary", length = total, mask = c.client and "\0\0\0\0" or nil })
      local sender = weft.spawn(function()
         while sent < total and c.stream:send(bytes) do sent = sent + #bytes end
      end)
      local chunks = 0
      for _ in ws:chunks() do
         chunks = chunks + 1
         local before
         repeat -- until nothing moves any more
            before = sent
            weft.sleep(raw.time(0.05))
         until sent == before
         assert(sent < 32 << 20, "it was read without being asked for")
         if chunks == 2 then break end
      end
      ws:close()
      c:close()
      sender:join()
   end, { close_timeout = raw.time(0.2) }, 60)

   it("on the main thread", function()
      local script = [[
         local weft = require "weft"
         local app = weft.app {}
         app:websocket("/ws", function(ws)
            local w = ws:writer()
            w:write "one" weft.sleep(0.01) w:write "two" w:close()
            ws:receive()
         end)
         local ws = assert(weft.connect("ws://" .. assert(app:listen "127.0.0.1:0") .. "/ws"))
         local parts = {}
         for chunk, last in ws:chunks() do parts[#parts + 1] = chunk .. tostring(last) end
         print(table.concat(parts, " "))
         local w = ws:writer "binary"
         print(w:write(("x"):rep(1 << 20)), w:close())
         os.exit(true, true)]]
      local path = os.tmpname()
      local file <close> = assert(io.open(path, "w"))
      file:write(script):close()
      local child = process.start(process.script(path))
      assert.equal("onefalse twofalse true", child:line())
      assert.equal("true\ttrue", child:line())
      assert.equal(0, select(2, child:finish()))
      os.remove(path)
   end)

   it("refuses options that it does not have", function()
      raw.run(function()
         local ws = raw.pair()
         assert.error_matches(function() ws:chunks { max = 1 } end, "unknown option \"max\"")
         assert.error_matches(function() ws:chunks { max_message = 0 } end, "at least 1")
         assert.error_matches(function() ws:chunks(5) end, "must be a table")
      end)
   end)
end)

describe("writer():", function()
   both("each write is a frame", function(ws, c)
      local w = assert(ws:writer())
      assert(w:write "one")
      assert(w:write "")
      assert(w:write "é€")
      assert.matches("^weft.writer on weft.websocket", tostring(w))
      assert(w:close())
      assert(w:close())
      assert.error_matches(function() w:write "more" end, "this writer is closed")
      local frames = {}
      for i = 1, 3 do
         local f = c:read()
         frames[i] = { f.op, f.fin, f.payload }
      end
      assert.same({ { "text", false, "one" }, { "more", false, "é€" }, { "more", true, "" } },
         frames)
      w = assert(ws:writer "binary")
      w:close()
      assert.equal("", c:take "binary")
      assert.matches("^weft.writer %(closed%) on weft.websocket", tostring(w))
   end)

   both("big writes go in frames of 64 KiB, with pings in between, and wait", function(ws, c)
      local data = sample(raw.hostile and 200000 or 3000000)
      local done = weft.spawn(function()
         local w <close> = assert(ws:writer())
         return w:write(data)
      end)
      weft.spawn(function() ws:ping(raw.SOON) end)
      local parts, ping = {}, false
      repeat
         local f = c:read()
         assert(#f.payload <= 65536)
         if f.op == "ping" then ping = true else parts[#parts + 1] = f.payload end
      until f.op ~= "ping" and f.fin
      assert(table.concat(parts) == data)
      assert.is_true(done:join())
      assert(ping or c:read().op == "ping")
   end, nil, 60)

   both("text is UTF-8 across writes", function(ws, c)
      local w = assert(ws:writer())
      assert(w:write "\xe2\x82")
      assert.same({ "utf8", 0 }, { select(3, w:write "x") })
      assert(w:write "\xac")
      local long = ("x"):rep(70000) .. "\xff"
      assert.same({ "utf8", 0 }, { select(3, w:write(long)) })
      assert(w:close())
      local text = ""
      repeat
         local f = c:read()
         text = text .. f.payload
      until f.fin
      assert.equal("€", text)
      w = assert(ws:writer())
      w:write "\xe2\x82"
      assert.equal("utf8", select(3, w:close()))
      assert.equal("\xe2\x82", c:read().payload)
      assert.equal(1011, (c:take_close()))
   end)

   both("one message at a time", function(ws, c)
      local w = assert(ws:writer())
      assert.same({ "a writer is open on this connection", "busy" }, { select(2, ws:send "x") })
      assert.equal("busy", select(3, ws:try_send "x"))
      assert.equal("busy", select(3, ws:writer()))
      assert(w:write "one")
      assert.equal("busy", select(3, ws:send "x"))
      w:close()
      assert(ws:send "x")
      assert.equal("one", c:read().payload)
      assert.equal("", c:read().payload)
      assert.equal("x", c:take "text")
   end)

   both("two tasks: the second write is busy, as is a writer while a send waits", function(ws, c)
      local data = ("x"):rep(8 << 20)
      assert(c.stream:setoption("recv-buffer-size", 65536)) -- or the kernel may take it all
      local w = assert(ws:writer "binary")
      local first = weft.spawn(function() return w:write(data) end)
      raw.eventually(function() return ws:buffered() > 0 end)
      assert.equal("busy", select(3, w:write "second"))
      assert.equal("busy", select(3, w:close()))
      local got = 0
      repeat
         local f = c:read()
         got = got + #f.payload
      until got == #data
      assert.is_true(first:join())
      w:close()
      c:read()
      while ws:buffered() <= 65536 do assert(ws:send(data, "binary")) end
      local waits = weft.spawn(function() return ws:send("y", "binary") end)
      weft.sleep(0)
      assert.equal("busy", select(3, ws:writer()))
      waits:cancel()
   end, { max_message = 1 << 30 }, 60)

   both("<close> ends the message; after an error the connection: 1011", function(ws, c)
      do
         local w <close> = assert(ws:writer())
         w:write "whole"
      end
      assert.equal("whole", c:read().payload)
      assert.is_true(c:read().fin)
      pcall(function()
         local w <close> = assert(ws:writer()) -- luacheck: ignore
         error "before anything was written"
      end)
      assert(ws:send "fine")
      assert.equal("fine", c:take "text")
      pcall(function()
         local w <close> = assert(ws:writer())
         w:write "half"
         error "in the middle"
      end)
      assert.equal("half", c:read().payload)
      assert.equal(1011, (c:take_close()))
      assert.equal("closed", select(3, ws:send "x"))
   end)

   both("cancelled while it waits: 1011", function(ws, c)
      local task = weft.spawn(function()
         local w <close> = assert(ws:writer "binary")
         while true do assert(w:write(("x"):rep(1 << 20))) end
      end)
      raw.eventually(function() return ws:buffered() > 0 end)
      task:cancel()
      assert.equal("cancelled", select(3, task:join()))
      local f
      repeat f = c:read() until f.op == "close"
      assert.equal(1011, f.code)
   end)

   both("one that is forgotten: 1011", function(ws, c)
      assert(ws:writer()):write "half"
      assert.equal("half", c:read().payload)
      collectgarbage()
      collectgarbage()
      assert.equal(1011, (c:take_close()))
   end)

   both("a timeout tells how much was sent, and the message goes on", function(ws, c)
      assert(c.stream:setoption("recv-buffer-size", 65536))
      local w = assert(ws:writer "binary")
      local data = ("0123456789abcdef"):rep(raw.hostile and 1 << 19 or 1 << 20)
      local ok, message, code, sent = w:write(data)
      assert.same({ "timeout", "timeout in write: the peer is slow" }, { code, message })
      assert(not ok and sent > 0 and sent < #data)
      assert(c.stream:setoption("recv-buffer-size", 4 << 20)) -- fast again
      local reader = weft.spawn(function()
         local n = 0
         repeat
            local f = c:read()
            n = n + #f.payload
         until f.fin
         return n
      end)
      while sent < #data do
         local more, _, why, n = w:write(data:sub(sent + 1, sent + (1 << 18)))
         assert(more or why == "timeout")
         sent = sent + (more and math.min(1 << 18, #data - sent) or n)
      end
      assert(w:close())
      assert.equal(#data, (reader:join()))
   end, { send_timeout = 0.1 }, 60)

   both("a drain of another task is not in its way", function(ws, c)
      assert(c.stream:setoption("recv-buffer-size", 65536))
      local w, piece, sent = assert(ws:writer "binary"), ("x"):rep(1 << 16), 0
      repeat
         assert(w:write(piece))
         sent = sent + #piece
         weft.sleep(0)
      until ws:buffered() > 65536 -- high_mark: it would wait now
      local drains = weft.spawn(ws.drain, ws, raw.SOON)
      weft.sleep(0)
      local rest = weft.spawn(w.write, w, piece)
      local got = 0
      repeat got = got + #c:read().payload until got == sent + #piece
      assert.is_true(rest:join())
      assert.is_true(drains:join())
      assert(w:close())
   end)

   both("the peer closes in the middle", function(ws, c)
      local w = assert(ws:writer())
      w:write "half"
      assert.equal("half", c:read().payload)
      c:bye(1001, "going")
      assert.equal("closed", select(3, ws:receive(raw.SOON)))
      assert.same({ nil, "closed: 1001 going", "closed", 0 }, { w:write "more" })
      assert.same({ nil, "closed: 1001 going", "closed" }, { w:close() })
   end)

   both("a close in the middle is lawful, and the writer ends", function(ws, c)
      local w = assert(ws:writer())
      w:write "half"
      local closing = weft.spawn(function() ws:close(4000, "enough") end)
      assert.equal("half", c:read().payload)
      assert.equal(4000, (c:take_close()))
      assert.equal("closed", select(3, w:write "more"))
      c:bye(4000)
      closing:join()
   end)

   it("what is published waits for the end of the message", function()
      raw.run(function()
         for _, opts in ipairs { {}, { compression = { threshold = 0 } } } do
            local writers = weft.channel(1)
            local port, app = raw.app(function(ws)
               ws:subscribe "news"
               writers:send { ws, assert(ws:writer()) }
               ws:receive()
            end, opts)
            local ws <close> = assert(weft.connect(raw.url(port), { compression = true }))
            local w_ws, w = table.unpack((writers:receive(raw.SOON)))
            local text = sample(3000)
            assert(w:write(text:sub(1, 1000)))
            assert.equal(1, app:publish("news", text))
            assert(core.queue(w_ws, "missed")) -- as history and channels send
            assert(w:write(text:sub(1001)))
            assert.equal(1, app:publish("news", "last"))
            w:close()
            assert.equal(text, (ws:receive(raw.SOON)))
            assert.equal(text, (ws:receive(raw.SOON)))
            assert.equal("missed", (ws:receive(raw.SOON)))
            assert.equal("last", (ws:receive(raw.SOON)))
            assert(w_ws:send(text)) -- the compressor has seen neither
            assert.equal(text, (ws:receive(raw.SOON)))
         end
      end)
   end)

   it("misuse raises", function()
      raw.run(function()
         local ws = raw.pair()
         assert.error_matches(function() ws:writer "texts" end, 'the kind is "text" or "binary"')
         assert.error_matches(function() ws:writer("text", { level = 1 }) end, "it takes compress")
         local w = ws:writer()
         assert.has_error(function() w:write(nil) end)
         assert.has_error(function() w.write({}, "x") end)
      end)
   end)
end)
