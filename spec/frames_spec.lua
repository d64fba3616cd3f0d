-- Frames (RFC 6455 5 to 8), black-box: whatever a peer sends, in both roles, against
-- a server's connection and a client's; and every method of a connection.

local weft = require "weft"
local server = require "spec.helper_server"
local raw = require "spec.raw"

local run, eventually = raw.run, raw.eventually
local SOON, rounds = raw.SOON, raw.rounds

local function both(...) raw.both(it, ...) end

-- A message of that length in which a byte out of place shows.
local noise = {}
for i = 1, 1023 do noise[i] = ("<I8"):pack(i * 0x9e3779b97f4a7c15) end
noise = table.concat(noise)
local function payload(n)
   return noise:rep(n // #noise + 1):sub(1, n)
end

-- -- lawful frames ----------------------------------------------------------------------

describe("a connection", function()
   local sizes = { 0, 1, 124, 125, 126, 127, 128, 255, 256, 65535, 65536 }
   if not raw.hostile then
      table.move({ 65534, 65537, 131072, 1048576 }, 1, 4, #sizes + 1, sizes)
   end

   both("receives messages of every size", function(ws, c)
      for _, n in ipairs(sizes) do
         c:binary(payload(n))
         local message, kind = ws:receive(SOON)
         assert.is_true(message == payload(n), n)
         assert.equal("binary", kind)
         c:text(("x"):rep(n))
         message, kind = ws:receive(SOON)
         assert.is_true(message == ("x"):rep(n), n)
         assert.equal("text", kind)
      end
   end)

   both("sends messages of every size, in the shortest form, whole", function(ws, c)
      for _, n in ipairs(sizes) do
         weft.spawn(function()
            assert(ws:send(payload(n), "binary"))
            assert(ws:send(("x"):rep(n)))
         end)
         local data, f = c:take "binary"
         assert.is_true(data == payload(n), n)
         assert.equal(n < 126 and 7 or n < 65536 and 16 or 64, f.form)
         data = c:take "text"
         assert.is_true(data == ("x"):rep(n), n)
      end
   end)

   it("masks as a client, each frame with a key of its own, and not as a server", function()
      run(function()
         local ws, c = raw.pair()
         local seen = {}
         for i = 1, rounds(600, 60) do
            assert(ws:send "same")
            if i % 100 == 0 then weft.sleep(0) end
         end
         for _ = 1, rounds(600, 60) do
            local _, f = c:take "text"
            assert.is_nil(seen[f.key], "a key came twice")
            seen[f.key] = true
         end
         c:ping "p"
         local _, pong = c:take "pong"
         assert.truthy(pong.key)
         ws, c = raw.reverse()
         ws:send "plain"
         local _, f = c:take "text"
         assert.is_nil(f.key)
      end)
   end)

   both("puts fragments together, control frames between them", function(ws, c)
      c:frame { op = "text", payload = "one ", fin = false }
      c:ping "a"
      assert.equal("a", c:take "pong") -- before the message is complete
      c:frame { op = "more", payload = "", fin = false }
      c:frame { op = "pong", payload = "unasked" }
      c:frame { op = "more", payload = "two ", fin = false }
      c:ping(("p"):rep(125))
      assert.equal(("p"):rep(125), c:take "pong")
      c:frame { op = "more", payload = "three" }
      assert.same({ "one two three", "text" }, { ws:receive(SOON) })
      c:frame { op = "binary", payload = payload(70000), fin = false }
      c:frame { op = "more", payload = payload(70000), fin = false }
      c:frame { op = "more" }
      local message, kind = ws:receive(SOON)
      assert.is_true(message == payload(70000) .. payload(70000))
      assert.equal("binary", kind)
   end)

   both("takes a character that fragments cut", function(ws, c)
      local text = "aκ\u{20ac}\u{1f600}z"
      for i = 1, #text do
         c:frame { op = i == 1 and "text" or "more", payload = text:sub(i, i), fin = i == #text }
         c:ping ""
      end
      assert.equal(text, ws:receive(SOON))
   end)

   both("takes everything byte by byte, and cut anywhere", function(ws, c)
      local bytes = c:pack { payload = "first" } .. c:pack { op = "ping", payload = "!" }
         .. c:pack { op = "binary", payload = payload(130), fin = false }
         .. c:pack { op = "more", payload = "end" }
      local function check()
         assert.equal("first", ws:receive(SOON))
         assert.equal("!", c:take "pong")
         assert.same({ payload(130) .. "end", "binary" }, { ws:receive(SOON) })
      end
      c:drip(bytes)
      check()
      for cut = 1, #bytes - 1, raw.hostile and 17 or 1 do
         c:send_cut(bytes, cut)
         check()
      end
   end)

   both("has no trouble with many frames at once", function(ws, c)
      local all = {}
      for i = 1, rounds(3000, 100) do all[i] = c:pack { payload = tostring(i) } end
      weft.spawn(function() c:send(table.concat(all)) end)
      for i = 1, rounds(3000, 100) do assert.equal(tostring(i), ws:receive(SOON)) end
   end)

   both("ignores pongs that it did not ask for", function(ws, c)
      c:frame { op = "pong" }
      c:frame { op = "pong", payload = ("x"):rep(125) }
      c:text "on"
      assert.equal("on", ws:receive(SOON))
   end)

   both("knows its own ping by the pong, and tells the time it took", function(ws, c)
      assert.is_nil(ws:latency())
      local asked = weft.spawn(ws.ping, ws, SOON)
      local what = c:take "ping"
      c:frame { op = "pong", payload = "another" }
      c:frame { op = "pong", payload = what }
      local rtt = asked:join(SOON)
      assert.is_true(rtt >= 0 and rtt < 5)
      assert.equal(rtt, ws:latency())
      local _, message, code = ws:ping(0.01) -- no answer to this one
      assert.equal("timeout", code, message)
      c:text "unharmed"
      assert.equal("unharmed", ws:receive(SOON))
   end)
end)

-- -- breaches ------------------------------------------------------------------------------

local P, U, T = "protocol", "utf8", "too_big"

-- { what, close code, weft's code, frames }. A frame that is a string is sent as it is.
local breaches = {
   -- RFC 6455 5.2
   { "RSV1", 1002, P, { { payload = "x", rsv = 4 } } },
   { "RSV2", 1002, P, { { payload = "x", rsv = 2 } } },
   { "RSV3", 1002, P, { { payload = "x", rsv = 1 } } },
   { "RSV1 on a ping", 1002, P, { { op = "ping", rsv = 4 } } },
   { "RSV1 on a continuation", 1002, P, { { fin = false }, { op = "more", rsv = 4 } } },
   { "opcode 3", 1002, P, { { op = 3 } } },
   { "opcode 7", 1002, P, { { op = 7 } } },
   { "opcode 11", 1002, P, { { op = 11 } } },
   { "opcode 15", 1002, P, { { op = 15 } } },
   { "16 bits for a length of 125", 1002, P, { { payload = ("x"):rep(125), form = 16 } } },
   { "16 bits for a length of 0", 1002, P, { { form = 16 } } },
   { "64 bits for a length of 65535", 1002, P, { { payload = ("x"):rep(65535), form = 64 } } },
   { "64 bits for a length of 1", 1002, P, { { payload = "x", form = 64 } } },
   { "the top bit of a length", 1002, P, { { length = math.mininteger + 5, form = 64 } } },
   -- 5.4
   { "a continuation of nothing", 1002, P, { { op = "more", payload = "x" } } },
   { "a continuation after the end", 1002, P, { { payload = "whole" }, { op = "more" } }, 1 },
   { "text inside a fragmented text", 1002, P, { { fin = false }, { payload = "x" } } },
   { "binary inside a fragmented text", 1002, P,
      { { fin = false }, { op = "binary", fin = false } } },
   -- 5.5
   { "a ping in fragments", 1002, P, { { op = "ping", fin = false } } },
   { "a close in fragments", 1002, P, { { op = "close", fin = false } } },
   { "a ping of 126 bytes", 1002, P, { { op = "ping", payload = ("x"):rep(126) } } },
   { "a pong of 126 bytes", 1002, P, { { op = "pong", payload = ("x"):rep(126) } } },
   { "a close of 126 bytes", 1002, P,
      { { op = "close", payload = raw.close_body(1000, ("x"):rep(124)) } } },
   -- 5.5.1, 7.4
   { "a close of one byte", 1002, P, { { op = "close", payload = "\3" } } },
   { "close code 999", 1002, P, { { op = "close", payload = raw.close_body(999) } } },
   { "close code 1005", 1002, P, { { op = "close", payload = raw.close_body(1005) } } },
   { "close code 2999", 1002, P, { { op = "close", payload = raw.close_body(2999, "x") } } },
   { "a reason that is not UTF-8", 1007, U,
      { { op = "close", payload = raw.close_body(1000, "a\xff") } } },
   -- 8.1
   { "text that is not UTF-8", 1007, U, { { payload = "a\xffb" } } },
   { "an overlong form", 1007, U, { { payload = "\xc0\xaf" } } },
   { "a surrogate", 1007, U, { { payload = "\xed\xa0\x80" } } },
   { "a character beyond Unicode", 1007, U, { { payload = "\xf4\x90\x80\x80" } } },
   { "text that ends inside a character", 1007, U, { { payload = "a\xe2\x82" } } },
   { "fragments that end inside a character", 1007, U,
      { { payload = "a\xe2", fin = false }, { op = "more", payload = "\x82" } } },
   { "a bad byte in a fragment", 1007, U,
      { { payload = "fine", fin = false }, { op = "more", payload = "\x80", fin = false } } },
   { "a bad byte with the rest of a frame still to come", 1007, U,
      { { payload = "abc\xff", length = 1000 } } },
   { "a bad byte in a big frame", 1007, U,
      { { payload = ("x"):rep(100000) .. "\xff", length = 500000 } } },
   -- limits: judged by the header, with no payload of it
   { "a frame over max_message", 1009, T, { { op = "binary", length = 1048577 } } },
   { "a frame of 2^63 - 1 bytes", 1009, T, { { op = "binary", length = math.maxinteger } } },
   { "fragments over max_message", 1009, T,
      { { payload = ("x"):rep(1048576), fin = false }, { op = "more", length = 1, fin = false } } },
}

-- RFC 6455 5.1: for each role, what only it may not be sent.
breaches.server = {
   { "a frame without a mask", 1002, P, { { payload = "x", mask = false } } },
   { "a ping without a mask", 1002, P, { { op = "ping", mask = false } } },
   { "a close without a mask", 1002, P,
      { { op = "close", payload = raw.close_body(1000), mask = false } } },
   { "a continuation without a mask", 1002, P, { { fin = false }, { op = "more", mask = false } } },
}
breaches.client = {
   { "a frame with a mask", 1002, P, { { payload = "x", mask = true } } },
   { "a ping with a mask", 1002, P, { { op = "ping", mask = true } } },
   { "a close with a mask", 1002, P,
      { { op = "close", payload = raw.close_body(1000), mask = true } } },
   { "a frame with a mask of zeros", 1002, P, { { payload = "x", mask = "\0\0\0\0" } } },
}

-- The connection has failed with that code, on both sides, for good.
local function check_failed(ws, c, row)
   local message, why, code = ws:receive(SOON)
   assert.is_nil(message)
   assert.equal(row[3], code, why)
   local closed, reason, clean = ws:closed()
   assert.equal(row[2], closed)
   assert.is_true(#reason > 0)
   assert.is_false(clean)
   assert.truthy(why:find(reason, 1, true), why)
   local sent, told = c:take_close()
   assert.equal(row[2], sent)
   assert.equal(reason, told)
   assert.is_true((c:is_over()))
   assert.same({ nil, why, row[3] }, { ws:send "x" })
   assert.same({ nil, why, row[3] }, { ws:receive(SOON) })
end

local function break_it(ws, c, row, drip)
   c:text "before"
   assert.equal("before", ws:receive(SOON))
   local bytes = {}
   for i, f in ipairs(row[4]) do bytes[i] = c:pack(f) end
   bytes = table.concat(bytes)
   if drip then
      c:drip(bytes)
   else -- nothing behind it is looked at
      c:send(bytes, c:pack { op = "ping", payload = "after" }, c:pack { payload = "after" })
   end
   if row[5] then assert.equal("whole", ws:receive(SOON)) end
   check_failed(ws, c, row)
end

local function check_echo(c, text)
   c:text(text)
   assert.equal(text, c:take "text")
end

describe("a server's connection ends at", function()
   local all = table.move(breaches.server, 1, #breaches.server, #breaches + 1,
      table.move(breaches, 1, #breaches, 1, {}))
   for _, row in ipairs(all) do
      it(("%s by %d; another one notices nothing"):format(row[1], row[2]), function()
         run(function()
            local opened, done = weft.channel(1), weft.channel()
            local app = server.app()
            app:websocket("/ws", function(ws)
               opened:send(ws)
               done:receive()
            end)
            app:websocket("/echo", raw.echo)
            local _, port = assert(app:listen "127.0.0.1:0")
            local healthy = raw.connect(port, "/echo")
            check_echo(healthy, "before")
            for _, drip in ipairs { false, true } do
               local size = 0
               for _, f in ipairs(row[4]) do size = size + #(f.payload or "") end
               if not drip or size < 200 then
                  local c = raw.connect(port)
                  break_it(opened:receive(SOON), c, row, drip)
                  check_echo(healthy, "after")
                  eventually(function() return app:stats().websockets == 1 end)
                  c:close()
               end
            end
            done:close()
         end)
      end)
   end
end)

describe("a client's connection ends at", function()
   local all = table.move(breaches.client, 1, #breaches.client, #breaches + 1,
      table.move(breaches, 1, #breaches, 1, {}))
   for _, row in ipairs(all) do
      it(("%s by %d; another one notices nothing"):format(row[1], row[2]), function()
         run(function()
            local healthy, peer = raw.pair()
            local ws, c = raw.pair()
            break_it(ws, c, row, false)
            peer:text "still here"
            assert.equal("still here", healthy:receive(SOON))
         end)
      end)
   end
end)

describe("limits of a connection", function()
   local opts = { max_message = 1000, max_fragments = 5, max_empty_fragments = 2 }

   both("let in what is exactly on them", function(ws, c)
      c:binary(payload(1000))
      assert.equal(payload(1000), ws:receive(SOON))
      for i = 1, 5 do
         c:frame { op = i == 1 and "binary" or "more", payload = payload(200), fin = i == 5 }
      end
      assert.equal(payload(200):rep(5), ws:receive(SOON))
      c:frame { fin = false }
      c:frame { op = "more", fin = false }
      c:frame { op = "more" }
      assert.equal("", ws:receive(SOON))
      c:ping(("p"):rep(125))
      assert.equal(("p"):rep(125), c:take "pong")
   end, opts)

   local over = {
      { "max_message", { { op = "binary", length = 1001 } } },
      { "max_message, in fragments",
         { { payload = ("x"):rep(600), fin = false }, { op = "more", length = 401 } } },
      { "max_fragments", { { payload = "1", fin = false },
         { op = "more", payload = "2", fin = false }, { op = "more", payload = "3", fin = false },
         { op = "more", payload = "4", fin = false }, { op = "more", payload = "5", fin = false },
         { op = "more", payload = "6" } } },
      { "max_empty_fragments", { { fin = false }, { op = "more", fin = false },
         { op = "more", fin = false } } },
   }
   for _, row in ipairs(over) do
      both("end it one over " .. row[1], function(ws, c)
         for _, f in ipairs(row[2]) do c:frame(f) end
         local _, why = ws:receive(SOON)
         assert.truthy(why:find(row[1]:match "^[%w_]+", 1, true), why) -- names the option
         check_failed(ws, c, { nil, 1009, T })
      end, opts)
   end

   it("hold for what comes in, not for what goes out", function()
      run(function()
         local ws, c = raw.reverse { max_message = 10 }
         assert(ws:send(("x"):rep(1000)))
         assert.equal(1000, #c:take "text")
      end)
   end)
end)

-- -- the methods -----------------------------------------------------------------------------

describe("ws:messages", function()
   both("gives what came before the end, then ends", function(ws, c)
      c:text "one"
      c:binary "\2"
      c:text ""
      c:frame { payload = "\xff" }
      local seen = {}
      for message, kind in ws:messages() do seen[#seen + 1] = kind .. message end
      assert.same({ "textone", "binary\2", "text" }, seen)
      assert.equal(1007, (ws:closed()))
      for _ in ws:messages() do error "there is nothing more" end
   end)

   both("goes on where receive stopped", function(ws, c)
      for i = 1, 4 do c:text(tostring(i)) end
      assert.equal("1", ws:receive(SOON))
      local step, state = ws:messages()
      assert.equal("2", step(state))
      assert.equal("3", ws:receive(SOON))
      step, state = ws:messages()
      assert.equal("4", step(state))
   end)
end)

describe("ws:messages, too,", function()
   both("is for one task at a time", function(ws, c)
      local first = weft.spawn(ws.receive, ws, SOON)
      weft.sleep(0)
      local ok, message = pcall(function()
         for _ in ws:messages() do error "not its message" end
      end)
      assert.is_false(ok) -- ending the loop would say that the connection is closed
      assert.truthy(message:find("another task", 1, true), message)
      c:text "for the first"
      assert.equal("for the first", first:join(SOON))
   end)
end)

describe("ws:receive", function()
   both("may time out and go on, also in the middle of a message", function(ws, c)
      local message, why, code = ws:receive(0.01)
      assert.is_nil(message)
      assert.equal("timeout", code)
      assert.is_string(why)
      local bytes = c:pack { payload = "half and half" }
      c:send(bytes:sub(1, 9))
      assert.equal("timeout", (select(3, ws:receive(0.02))))
      c:send(bytes:sub(10))
      assert.equal("half and half", ws:receive(SOON))
      c:text "next"
      assert.equal("next", ws:receive(SOON))
      assert.is_nil(ws:closed())
   end)

   both("is for one task at a time", function(ws, c)
      local first = weft.spawn(ws.receive, ws, SOON)
      weft.sleep(0)
      local message, why, code = ws:receive(SOON)
      assert.is_nil(message)
      assert.equal("busy", code, why)
      c:text "for the first"
      assert.equal("for the first", first:join(SOON))
   end)

   both("ends with a deadline around it", function(ws, c)
      local message, _, code = weft.deadline(0.02, ws.receive, ws)
      assert.is_nil(message)
      assert.equal("timeout", code)
      c:text "later"
      assert.equal("later", ws:receive(SOON))
   end)

   both("leaves the message to others when its task is cancelled", function(ws, c)
      local first = weft.spawn(ws.receive, ws)
      weft.sleep(0)
      first:cancel()
      c:text "kept"
      assert.equal("kept", ws:receive(SOON))
   end)
end)

describe("what came together with a message", function()
   -- A handler takes the first message, does something else, and takes the next.
   local function between(f)
      run(function()
         local seen = weft.channel(2)
         local port = raw.app(function(ws)
            assert(ws:receive(SOON) == "first")
            f()
            seen:send(ws:receive(SOON) or table.concat({ ws:closed() }, " ", 1, 2))
         end)
         local c = raw.connect(port)
         c:send(c:pack { payload = "first" } .. c:pack { payload = "next" })
         assert.equal("next", seen:receive(SOON))
      end)
   end

   it("is whole after a datagram was received", function()
      local socket <close> = assert(weft.udp())
      assert(socket:bind("127.0.0.1", 0))
      local _, port = socket:getsockname()
      socket:sendto(payload(2000), "127.0.0.1", port)
      between(function() assert(socket:receive() == payload(2000)) end)
   end)

   it("is whole after a kept connection was looked at", function()
      local core = require "weft.core"
      local far = require "socket.core".tcp() -- which sends at once
      local listener <close> = assert(weft.listen "127.0.0.1:0")
      local _, port = listener:getsockname()
      assert(far:connect("127.0.0.1", port))
      local near <close> = assert(listener:accept())
      between(function()
         assert(core.keep(near, 10))
         far:send(payload(2000))
         assert(not core.take(near))
      end)
      far:close()
   end)
end)

describe("ws:send", function()
   both("refuses text that is not UTF-8, and goes on", function(ws, c)
      for _, bad in ipairs { "\xff", "a\xce", "\xed\xa0\x80", ("x"):rep(100000) .. "\x80" } do
         for _, send in ipairs { ws.send, ws.try_send } do
            local ok, message, code = send(ws, bad)
            assert.is_nil(ok)
            assert.equal("utf8", code)
            assert.truthy(message:find('"binary"', 1, true), message) -- says what to do
         end
      end
      assert.is_true(ws:send("\xff", "binary"))
      assert.is_true(ws:send("grüß", "text"))
      assert.equal("\xff", c:take "binary")
      assert.equal("grüß", c:take "text")
   end)

   both("judges text by what it is, not by where it came from", function(ws, c)
      for _, good in ipairs { "fine", ("grüß "):rep(1000) } do
         c:text(good)
         local text = ws:receive(SOON)
         assert.is_true(ws:send(text))
         assert.equal(good, c:take "text")
         for _, bad in ipairs { "\xff" .. text, text .. "\xc3", text:sub(1, -3) .. "\xff\xff" } do
            assert.equal("utf8", (select(3, ws:send(bad))))
            c:binary(bad)
            assert.equal("utf8", (select(3, ws:send((ws:receive(SOON))))))
         end
      end
   end)

   both("keeps the order of tasks and kinds", function(ws, c)
      for i = 1, 20 do
         weft.spawn(function() assert(ws:send("message " .. i, i % 2 == 0 and "binary" or nil)) end)
      end
      for i = 1, 20 do
         assert.equal("message " .. i, c:take(i % 2 == 0 and "binary" or "text"))
      end
   end)

   both("takes numbers as Lua does", function(ws, c)
      ws:send(42)
      assert.equal("42", c:take "text")
   end)
end)

describe("a wrong argument is answered by what would be right:", function()
   local rows = {
      { "send without a message", function(ws) ws:send() end, "string expected" },
      { "send of a table", function(ws) ws:send {} end, "string expected" },
      { "send of a kind that is none", function(ws) ws:send("x", "txt") end,
         'the kind is "text" or "binary"' },
      { "send of a kind that is no string", function(ws) ws:send("x", {}) end,
         'the kind is "text" or "binary"' },
      { "try_send without a message", function(ws) ws:try_send() end, "string expected" },
      { "try_send of a kind that is none", function(ws) ws:try_send("x", "TEXT") end,
         'the kind is "text" or "binary"' },
      { "receive until a string", function(ws) ws:receive "soon" end, "number" },
      { "receive for a negative time", function(ws) ws:receive(-1) end, "0 or more" },
      { "receive for no number", function(ws) ws:receive(0 / 0) end, "number" },
      { "ping until a string", function(ws) ws:ping {} end, "number" },
      { "close with a string", function(ws) ws:close "bye" end, "number expected" },
      { "close with 1005", function(ws) ws:close(1005) end, "1000 to 1003, 1007 to 1014" },
      { "close with 1006", function(ws) ws:close(1006) end, "1000 to 1003, 1007 to 1014" },
      { "close with 1015", function(ws) ws:close(1015) end, "1000 to 1003, 1007 to 1014" },
      { "close with 0", function(ws) ws:close(0) end, "1000 to 1003, 1007 to 1014" },
      { "close with 2000", function(ws) ws:close(2000) end, "3000 to 4999" },
      { "close with 5000", function(ws) ws:close(5000) end, "3000 to 4999" },
      { "close with 66536", function(ws) ws:close(66536) end, "3000 to 4999" },
      { "close with -1", function(ws) ws:close(-1) end, "3000 to 4999" },
      { "close with a fraction", function(ws) ws:close(1000.5) end, "integer" },
      { "close with a long reason", function(ws) ws:close(1000, ("x"):rep(124)) end, "123 bytes" },
      { "close with a reason that is not UTF-8", function(ws) ws:close(1000, "\xff") end, "UTF-8" },
      { "close with a reason that is a table", function(ws) ws:close(1000, {}) end,
         "string expected" },
      { "a field that is none", function(ws) ws.user = 1 end, "ws.data" },
      { "subscribe without a topic", function(ws) ws:subscribe() end, "must be a string" },
      { "subscribe to an empty topic", function(ws) ws:subscribe "" end, "1 to 255" },
      { "subscribe to a long topic", function(ws) ws:subscribe(("x"):rep(256)) end, "1 to 255" },
      { "publish without a message", function(ws) ws:publish "topic" end, "must be a string" },
      { "publish of a kind that is none", function(ws) ws:publish("topic", "x", "y") end,
         'the kind is "text" or "binary"' },
      { "a dot for a colon", function(ws) ws.send "x" end, "websocket" },
      { "another object", function(ws) ws.send(io.stdout, "x") end, "websocket" },
   }
   it("all of them, and the connection goes on", function()
      run(function()
         local ws, c = raw.reverse()
         for _, row in ipairs(rows) do
            local ok, message = pcall(row[2], ws)
            assert.is_false(ok, row[1])
            assert.truthy(message:find(row[3], 1, true), row[1] .. ": " .. message)
            assert.truthy(message:find "^spec/frames_spec.lua:%d+: ", row[1] .. ": " .. message)
         end
         assert.is_nil(ws:closed())
         assert(ws:send "still here")
         assert.equal("still here", c:take "text")
      end)
   end)

   it("topics on a client's connection", function()
      run(function()
         local ws = raw.pair()
         for _, name in ipairs { "subscribe", "publish" } do
            local ok, message = pcall(ws[name], ws, "topic", "x")
            assert.is_false(ok)
            assert.truthy(message:find("topics are the server's", 1, true), message)
         end
      end)
   end)
end)
