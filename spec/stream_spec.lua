-- What streams do: receive, send, shutdown and close, in LuaSocket's shapes.

local weft = require "weft"
local process = require "spec.process"
local server = require "spec.helper_server"
local pair = require "spec.scripts.pair"

local run, keep = server.run, server.keep
local expect_error, numbered = pair.expect_error, pair.numbered

local function streams()
   local near, far = pair.streams()
   return keep(near), keep(far)
end

local function is_failure(code, pattern, ...)
   local result, message, got = ...
   assert.is_nil(result)
   assert.truthy(message:find(pattern), message)
   assert.equal(code, got)
end

describe("stream:receive", function()
   local function sent(data, settle)
      local near, far = streams()
      near:send(data)
      if settle then near:shutdown "send" end
      return far, near
   end

   it("by default and with \"*l\" reads a line without its end", function()
      run(function()
         local far = sent("one\ntwo\r\n\n\r\nlast", true)
         assert.equal("one", far:receive())
         assert.equal("two", far:receive "*l")
         assert.equal("", far:receive "l")
         assert.equal("", far:receive "*l")
         assert.same({ nil, "closed", "last", "closed" }, { far:receive "*l" })
         assert.same({ nil, "closed", "", "closed" }, { far:receive "*l" })
      end)
   end)

   it("finds a line's end wherever it was split", function()
      run(function()
         local near, far = streams()
         local task = weft.spawn(function()
            local lines = {}
            for i = 1, 3 do lines[i] = far:receive() end
            return lines
         end)
         for c in ("ab\r\ncd\nef\r\n"):gmatch "." do
            near:send(c)
            weft.sleep(0.001)
         end
         assert.same({ "ab", "cd", "ef" }, task:join())
      end)
   end)

   it("keeps bytes that are no text", function()
      run(function()
         local all = {}
         for i = 0, 255 do all[#all + 1] = string.char(i) end
         local data = table.concat(all)
         assert.equal(data, sent(data):receive(256))
         assert.equal("a\0b", sent("a\0b\n"):receive())
      end)
   end)

   it("with a number reads so many bytes", function()
      run(function()
         local far = sent("abcdef", true)
         assert.equal("", far:receive(0))
         assert.equal("a", far:receive(1))
         assert.equal("bcd", far:receive(3))
         assert.same({ nil, "closed", "ef", "closed" }, { far:receive(3) })
         assert.equal("", far:receive(0))
      end)
   end)

   it("with \"*a\" reads to the end", function()
      run(function()
         assert.equal("all of it\n", sent("all of it\n", true):receive "*a")
         local far, near = sent "first "
         local task = weft.spawn(function() return far:receive "a" end)
         weft.sleep(0)
         near:send "second"
         near:close()
         assert.equal("first second", task:join())
      end)
   end)

   it("puts a prefix before it, which counts", function()
      run(function()
         local far = sent("defgh\nrest", true)
         assert.equal("abcde", far:receive(5, "abc"))
         assert.equal(">fgh", far:receive("*l", ">"))
         assert.equal("xyz", far:receive(2, "xyz"))
         assert.equal("<rest", far:receive("*a", "<"))
         assert.same({ nil, "closed", "p", "closed" }, { far:receive(3, "p") })
      end)
   end)

   it("at a timeout gives what came, and goes on from there", function()
      run(function()
         local far, near = sent "abc"
         far:settimeout(0.01)
         local _, err, partial, code = far:receive(6)
         assert.same({ "timeout", "abc", "timeout" }, { err, partial, code })
         near:send "def"
         assert.equal("abcdef", far:receive(6, partial))
         near:send "half a li"
         _, err, partial = far:receive()
         assert.same({ "timeout", "half a li" }, { err, partial })
         near:send "ne\n"
         assert.equal("half a line", far:receive("*l", partial))
         near:send "some"
         assert.same({ nil, "timeout", "some", "timeout" }, { far:receive "*a" })
         far:settimeout(nil)
      end)
   end)

   it("with a timeout of 0 takes what is there", function()
      run(function()
         local far = sent "hello"
         weft.sleep(0.01)
         far:settimeout(0)
         assert.equal("hello", far:receive(5))
         assert.same({ nil, "timeout", "", "timeout" }, { far:receive(1) })
      end)
   end)

   it("leaves others their turn where one buffer holds thousands of lines", function()
      run(function()
         local far = sent(("\n"):rep(5000), true)
         assert.equal("", far:receive())
         local n, seen = 1, nil
         weft.spawn(function() seen = n end)
         while far:receive() do n = n + 1 end
         assert.equal(5000, n)
         assert.is_true(seen > 1 and seen < 5000)
      end)
   end)

   it("goes on at once below what cannot yield", function()
      run(function()
         local far = sent(("\n"):rep(5000))
         assert.equal("", far:receive())
         local n = select(2, ("x"):rep(4000):gsub("x", function() assert(far:receive()) end))
         assert.equal(4000, n)
         assert.equal("", far:receive())
      end)
   end)

   it("gives what had come before the peer's end, and after it nothing", function()
      run(function()
         local far = sent("ab\ncd", true)
         weft.sleep(0.01)
         assert.equal("ab", far:receive())
         assert.equal("cd", far:receive(2))
         for _ = 1, 2 do assert.same({ nil, "closed", "", "closed" }, { far:receive(1) }) end
      end)
   end)

   it("of a line or everything gathers at most max_receive bytes", function()
      run(function()
         for _, pattern in ipairs { "*l", "*a" } do
            local near, far = streams()
            assert.is_true(far:setoption("max_receive", 1000))
            weft.spawn(function() near:send(("x"):rep(300000)) near:close() end)
            local data, _, partial, code = far:receive(pattern)
            assert.is_nil(data)
            assert.equal("too_big", code)
            assert.is_true(#partial >= 1000 and #partial < 300000)
            far:close()
         end
         local near, far = streams()
         far:setoption("max_receive", 1000)
         weft.spawn(function() near:send(("x"):rep(300000)) end)
         assert.equal(300000, #far:receive(300000)) -- a number asks for just that
         expect_error("max_receive", far.setoption, far, "max_receive", 0)
      end)
   end)

   it("lets one task wait at a time, in its shape of results", function()
      run(function()
         local near, far = streams()
         local task = weft.spawn(function() return far:receive(1) end)
         weft.sleep(0)
         local data, message, partial, code = far:receive(10, "so far")
         assert.is_nil(data)
         assert.truthy(message:find "another task")
         assert.equal("so far", partial)
         assert.equal("busy", code)
         near:send "x"
         assert.equal("x", task:join())
      end)
   end)

   it("while another task sends is the two directions' own business", function()
      run(function()
         local near, far = streams()
         local data = numbered(1 << 20)
         weft.spawn(function() assert(near:send(data)) end)
         weft.spawn(function() assert(far:send(data)) end)
         local task = weft.spawn(function() return near:receive(#data) end)
         assert.is_true(far:receive(#data) == data)
         assert.is_true(task:join() == data)
      end)
   end)

   it("of a stream that is closed meanwhile gives \"closed\" and the prefix", function()
      run(function()
         local _, far = streams()
         local task = weft.spawn(function() return far:receive(10, "kept") end)
         weft.sleep(0.001)
         far:close()
         assert.same({ nil, "closed", "kept", "closed" }, { task:join() })
         assert.same({ nil, "closed", "p", "closed" }, { far:receive(10, "p") })
      end)
   end)

   it("says when the peer reset the connection", function()
      run(function()
         local near, far = streams()
         far:send "never read"
         weft.sleep(0.005)
         near:close() -- with unread bytes: Linux answers by a reset
         local data, message, partial, code = far:receive(1)
         assert.is_nil(data)
         assert.is_string(message)
         assert.equal("", partial)
         assert.equal("closed", code)
         local last = 0
         for _ = 1, 3 do
            local sent_to, _, _, why = far:send "more"
            last = sent_to or why
            weft.sleep(0.002)
         end
         assert.equal("closed", last)
      end)
   end)

   it("still gives what the peer said before it went, once sending has failed", function()
      run(function()
         for _, unread in ipairs { "", "and something that it does not read" } do
            local near, far = streams()
            near:send("HELO" .. unread)
            assert.equal("HELO", far:receive(4))
            far:send "421 too busy\r\nplease come again"
            far:close() -- with something unread that is a reset
            repeat weft.sleep(0.01) until not near:send "MAIL" -- run() has a limit
            assert.equal("421 too busy", near:receive "*l")
            assert.same({ nil, "closed", "please come again", "closed" }, { near:receive "*a" })
            assert.same({ nil, "closed", "", "closed" }, { near:receive "*a" })
         end
      end)
   end)

   it("gives its last words, whatever the peer said that nobody reads", function()
      run(function()
         for _, way in ipairs { "close", "linger" } do
            local near, far = streams()
            near:send "unread"
            for _ = 1, 3 do weft.sleep(0) end -- it lies in the kernel
            far:shutdown "receive"
            far:send "last words"
            far[way](far)
            assert.same({ nil, "closed", "last words", "closed" }, { near:receive "*a" }, way)
         end
      end)
   end)

   it("keeps a line's end for \"*L\"", function()
      run(function()
         local near, far = streams()
         far:send "one\r\ntwo\n\nrest"
         far:close()
         assert.equal("one\r\n", near:receive "*L")
         assert.equal(">two\n", near:receive("*L", ">"))
         assert.equal("\n", near:receive "L")
         local data, message, partial = near:receive "*L"
         assert.same({ nil, "closed", "rest" }, { data, message, partial })
      end)
   end)

   it("takes its time anew for each wait in the mode \"b\"", function()
      run(function()
         local near, far = streams()
         local drips = weft.spawn(function()
            for _ = 1, 4 do weft.sleep(0.3) far:send "x" end
         end)
         near:settimeout(1, "t")
         local data, message, partial = near:receive(4)
         assert.same({ nil, "timeout" }, { data, message })
         near:settimeout(os.getenv "WEFT_HOSTILE_GC" and 50 or 10, "b")
         assert.equal(("x"):rep(4 - #partial), near:receive(4 - #partial))
         drips:join()
         expect_error("invalid option", near.settimeout, near, 1, "x")
         near:settimeout(0.01, "b")
         assert.equal("timeout", (select(2, near:receive(1))))
      end)
   end)

   it("refuses other patterns", function()
      run(function()
         local near = streams()
         expect_error('the pattern is "%*l", "%*L", "%*a" or a number', near.receive, near, "*n")
         expect_error('the pattern is "%*l", "%*L", "%*a" or a number', near.receive, near, "")
         expect_error("0 or more", near.receive, near, -1)
         expect_error("no integer representation", near.receive, near, 1.5)
         expect_error("string expected, got table", near.receive, near, {})
         expect_error("string expected, got table", near.receive, near, 1, {})
      end)
   end)
end)

describe("stream:send", function()
   it("returns the index of the last byte, of a part too", function()
      run(function()
         local near, far = streams()
         assert.equal(6, near:send "abcdef")
         assert.equal(6, near:send("abcdef", 3))
         assert.equal(4, near:send("abcdef", 3, 4))
         assert.equal(5, near:send("abcdef", -3, -2))
         assert.equal(6, near:send("abcdef", 0, 100))
         assert.equal(0, near:send "")
         near:close()
         assert.equal("abcdef" .. "cdef" .. "cd" .. "de" .. "abcdef", far:receive "*a")
      end)
   end)

   it("sends numbers as text", function()
      run(function()
         local near, far = streams()
         assert.equal(2, near:send(42))
         assert.equal("42", far:receive(2))
      end)
   end)

   it("delivers many megabytes to a slow reader, whole and in order", function()
      run(function()
         local near, far = streams()
         local chunk = numbered(1 << 20)
         local rounds = os.getenv "WEFT_HOSTILE_GC" and 8 or 50
         local task = weft.spawn(function()
            for _ = 1, rounds do assert.equal(#chunk, (assert(near:send(chunk)))) end
            near:close()
         end)
         local good = 0
         for i = 1, rounds do
            if i % 10 == 0 then weft.sleep(0.01) end -- now the sender's buffers fill
            if assert(far:receive(#chunk)) == chunk then good = good + 1 end
         end
         assert.equal(rounds, good)
         assert.same({ nil, "closed", "", "closed" }, { far:receive(1) })
         task:join()
      end, 30)
   end)

   it("delivers one string of many megabytes", function()
      run(function()
         local near, far = streams()
         local data = (numbered(1 << 20) .. "."):rep(50)
         local task = weft.spawn(function() return near:send(data) end)
         local at = 1
         while at <= #data do
            local piece = assert(far:receive(math.min(700001, #data - at + 1)))
            assert.is_true(piece == data:sub(at, at + #piece - 1))
            at = at + #piece
            if at % 7 == 0 then weft.sleep(0) end
         end
         assert.equal(#data, task:join())
      end, 30)
   end)

   it("waits for a slow peer with bounded buffers, and tells how far it came", function()
      run(function()
         local near, far = streams()
         local data = ("x"):rep(40 << 20)
         near:settimeout(0.05)
         local sent_to, err, last, code = near:send(data)
         assert.is_nil(sent_to)
         assert.same({ "timeout", "timeout" }, { err, code })
         assert.is_true(last > 0 and last < #data)
         assert.is_true(near:buffered() < 1 << 20)
         near:settimeout(nil)
         local rest = weft.spawn(function() return near:send(data, last + 1) end)
         local n = 0
         while n < #data do n = n + #assert(far:receive(math.min(1 << 20, #data - n))) end
         assert.equal(#data, rest:join())
         far:settimeout(0.01)
         assert.equal("timeout", select(2, far:receive(1))) -- not a byte too many
      end, 30)
   end)

   it("lets one task wait at a time, in its shape of results", function()
      run(function()
         local near = streams()
         local task = weft.spawn(function() near:send(("x"):rep(40 << 20)) end)
         weft.sleep(0.02)
         local result, message, last, code = near:send("abc", 2)
         assert.is_nil(result)
         assert.truthy(message:find "another task")
         assert.equal(1, last)
         assert.equal("busy", code)
         task:cancel()
      end)
   end)

   it("lets nobody between the pieces of what another task sends", function()
      run(function()
         local near, far = streams()
         local data, others = ("x"):rep(8 << 20), 0
         local sending = weft.spawn(function() return near:send(data) end)
         -- a task that goes on as soon as its bytes come, so also between the moment when there
         -- is room again and the one when who waits for that goes on
         local bell, rope = streams()
         local nosy = weft.spawn(function()
            while bell:receive(1) do
               if near:send "y" then others = others + 1 end
            end
         end)
         local got = {}
         for i = 1, #data >> 16 do
            rope:send "."
            got[i] = assert(far:receive(1 << 16))
         end
         assert.is_true(table.concat(got) == data)
         assert.equal(#data, sending:join())
         rope:close()
         nosy:join()
         assert.equal(("y"):rep(others), others > 0 and far:receive(others) or "")
      end, 30)
   end)

   it("ends with \"closed\" when the stream is closed meanwhile, or the peer goes", function()
      run(function()
         for _, who in ipairs { "near", "far" } do
            local near, far = streams()
            local task = weft.spawn(function() return near:send(("x"):rep(40 << 20)) end)
            weft.sleep(0.02);
            ({ near = near, far = far })[who]:close()
            local result, message, last, code = task:join(5)
            assert.is_nil(result)
            assert.is_string(message)
            assert.is_true(math.type(last) == "integer")
            assert.equal("closed", code)
            near:close()
            far:close()
         end
      end)
   end)

   it("wants a string", function()
      run(function()
         local near = streams()
         expect_error("string expected, got no value", near.send, near)
         expect_error("string expected, got nil", near.send, near, nil)
         expect_error("string expected, got table", near.send, near, {})
         expect_error("number expected", near.send, near, "x", {})
      end)
   end)
end)

describe("stream:shutdown", function()
   it("of \"send\" lets what is queued leave, and the other direction go on", function()
      run(function()
         local near, far = streams()
         local data = numbered(4 << 20)
         local task = weft.spawn(function()
            assert(near:send(data))
            assert(near:shutdown "send")
            assert.equal("closed", select(4, near:send "x"))
            return near:receive "*a"
         end)
         assert.is_true(far:receive "*a" == data)
         far:send "thanks"
         far:close()
         assert.equal("thanks", task:join())
      end)
   end)

   it("of \"receive\" ends waiting, and sending goes on", function()
      run(function()
         local near, far = streams()
         local task = weft.spawn(function() return near:receive(1) end)
         weft.sleep(0)
         assert(near:shutdown "receive")
         assert.equal("closed", select(4, task:join(5)))
         near:send "x"
         assert.equal("x", far:receive(1))
      end)
   end)

   it("of \"both\", the default, ends both; close may follow", function()
      run(function()
         local near, far = streams()
         near:send "last words"
         assert(near:shutdown())
         assert.equal("closed", select(4, near:receive(1)))
         assert.equal("closed", select(4, near:send "x"))
         assert.equal("last words", far:receive "*a")
         near:close()
         is_failure("closed", "closed", near:shutdown "send")
      end)
   end)

   it("refuses other words", function()
      run(function()
         local near = streams()
         expect_error("invalid option 'sending'", near.shutdown, near, "sending")
      end)
   end)
end)

describe("stream:close", function()
   it("lets what is queued leave first", function()
      run(function()
         local near, far = streams()
         local data = numbered(60 << 10)
         near:send(data)
         near:close()
         assert.is_true(far:receive "*a" == data)
      end)
   end)

   it("lets it leave to a slow reader, too", function()
      run(function()
         local near, far = streams()
         local data = numbered(8 << 20)
         weft.spawn(function()
            assert(near:send(data))
            near:close()
         end)
         weft.sleep(0.05)
         local at = 1
         while at <= #data do
            local piece = assert(far:receive(math.min(1 << 17, #data - at + 1)))
            assert.is_true(piece == data:sub(at, at + #piece - 1))
            at = at + #piece
            weft.sleep(0)
         end
         assert.equal("closed", select(2, far:receive(1)))
      end)
   end)
end)

describe("standard input", function()
   -- What a script prints whose input is as the shell's words say.
   local function output_of(input, code)
      local child = process.start({ "sh", "-c", input, os.getenv "LUA" or "lua5.4", "-e",
         'local weft = require "weft" local stdin, why, code = weft.stdin() ' .. code },
         { limit = 20 })
      local output, status = child:finish()
      assert.equal(0, status, output)
      return output
   end

   it("is read to its end, and takes nothing", function()
      local output = output_of([[printf 'one\nlast' | "$0" "$@"]], [[
         print(stdin:send "x")
         print(stdin:receive())
         print(stdin:receive())
         print(stdin:receive(1))
         print(stdin:close())]])
      assert.equal("nil\tclosed\t0\tclosed\none\nnil\tclosed\tlast\tclosed\n"
         .. "nil\tclosed\t\tclosed\ntrue\n", output)
   end)

   it("may be closed, or a file", function()
      assert.equal("nil\tthere is no standard input\tclosed\n",
         output_of([[exec "$0" "$@" <&-]], "print(stdin, why, code)"))
      local first = output_of([[exec "$0" "$@" <spec/stream_spec.lua]], "print((stdin:receive()))")
      assert.truthy(first:find "^%-%- What streams do: [^\n]*\n$", first)
   end)
end)
