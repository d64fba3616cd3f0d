-- Sockets step by step, in LuaSocket's shapes. What weft.dial and weft.listen do with names and
-- addresses is in net_spec.

local weft = require "weft"
local server = require "spec.helper_server"
local pair = require "spec.scripts.pair"

local run, keep = server.run, server.keep

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

local function expect_error(pattern, f, ...)
   local ok, err = pcall(f, ...)
   assert.is_false(ok)
   assert.truthy(tostring(err):find(pattern), tostring(err))
end

-- Kilobytes that name their place, so that nothing can be lost, doubled or moved unseen.
local FILLING = ("0123456789abcdef"):rep(63) .. "\n"
local function numbered(size)
   local parts = {}
   for i = 1, size // 1024 do parts[i] = ("%015d"):format(i) .. FILLING end
   return table.concat(parts)
end

describe("the server's flow", function()
   it("is create, bind, listen, accept, send, receive, close", function()
      run(function()
         local listener = weft.tcp()
         assert.truthy(tostring(listener):find "^weft.tcp")
         assert.is_true(listener:bind("127.0.0.1", 0))
         assert.is_true(listener:listen(16))
         assert.truthy(tostring(listener):find "^weft.listener .*127.0.0.1:%d+")
         local ip, port, family = listener:getsockname()
         assert.same({ "127.0.0.1", "inet" }, { ip, family })
         local client = keep(weft.tcp())
         assert.is_true(client:connect("127.0.0.1", port))
         local peer = keep(assert(listener:accept()))
         assert.equal(6, client:send "hello\n")
         assert.equal("hello", peer:receive "*l")
         assert.equal(6, peer:send "there\n")
         assert.equal("there", client:receive())
         listener:close()
         listener:close()
      end)
   end)

   it("serves several sockets on one port, and goes on accepting while they talk", function()
      run(function()
         local listener, port = pair.listener()
         keep(listener)
         local clients, peers = {}, {}
         for i = 1, 8 do
            clients[i] = keep(assert(weft.dial("127.0.0.1:" .. port)))
            peers[i] = keep(assert(listener:accept()))
            for j = 1, i do -- everybody so far talks before the next one comes
               clients[j]:send(("%d.%d\n"):format(i, j))
               assert.equal(("%d.%d"):format(i, j), peers[j]:receive())
               peers[j]:send "ok\n"
               assert.equal("ok", clients[j]:receive())
            end
         end
         for i = 1, 8 do
            assert.equal(port, math.tointeger(select(2, peers[i]:getsockname())))
            assert.equal(select(2, clients[i]:getsockname()), select(2, peers[i]:getpeername()))
         end
      end)
   end)

   it("leaves accepted sockets alone when the listener is closed", function()
      run(function()
         local listener, port = pair.listener()
         local client = keep(assert(weft.dial("127.0.0.1:" .. port)))
         local peer = keep(assert(listener:accept()))
         local waiting = weft.spawn(function() return listener:accept() end)
         weft.sleep(0)
         listener:close()
         is_failure("closed", "closed", waiting:join(5))
         is_failure("closed", "closed", listener:accept())
         client:send "still"
         assert.equal("still", peer:receive(5))
         is_failure("refused", "refused", weft.dial("127.0.0.1:" .. port))
      end)
   end)

   it("lets one task accept at a time", function()
      run(function()
         local listener = keep(pair.listener())
         local task = weft.spawn(function() return listener:accept() end)
         weft.sleep(0)
         is_failure("busy", "another task", listener:accept())
         task:cancel()
      end)
   end)

   it("gives up accepting at a timeout; 0 polls", function()
      run(function()
         local listener, port = pair.listener()
         keep(listener)
         listener:settimeout(0.005)
         is_failure("timeout", "timeout", listener:accept())
         listener:settimeout(0)
         is_failure("timeout", "timeout", listener:accept())
         local client = keep(assert(weft.dial("127.0.0.1:" .. port)))
         local peer = keep(assert(listener:accept()))
         assert.equal(select(2, client:getsockname()), select(2, peer:getpeername()))
      end)
   end)

   it("accepts a crowd that came at once", function()
      run(function()
         local listener, port = pair.listener()
         keep(listener)
         local n = 200
         for _ = 1, n do keep(assert(weft.dial("127.0.0.1:" .. port))) end
         for _ = 1, n do keep(assert(listener:accept())) end
         listener:settimeout(0)
         is_failure("timeout", "timeout", listener:accept())
      end)
   end)

   it("does not bind a port that is taken", function()
      run(function()
         local listener, port = pair.listener()
         keep(listener)
         local second = keep(weft.tcp())
         local ok, message, code = second:bind("127.0.0.1", port)
         if ok then ok, message, code = second:listen() end
         is_failure("busy", "127.0.0.1:" .. port .. ": address already in use", ok, message, code)
      end)
   end)

   it("does not bind what is no address of this machine", function()
      run(function()
         local socket = keep(weft.tcp())
         is_failure("system", "192.0.2.1", socket:bind("192.0.2.1", 0))
         is_failure("resolve", "no.such.host.invalid", socket:bind("no.such.host.invalid", 0))
         is_failure("resolve", "not a numeric address", socket:bind_ip("localhost", 0))
         assert.is_true(socket:bind("localhost", 0)) -- and it is as good as before
         is_failure("system", "cannot bind", socket:bind("localhost", 0))
      end)
   end)

   it("wants bind before listen", function()
      run(function()
         local socket = keep(weft.tcp())
         expect_error("socket_spec.lua:%d+: .*bind first", function() socket:listen() end)
      end)
   end)
end)

describe("the client's flow", function()
   it("tells each side the other's address", function()
      run(function()
         local near, far = streams()
         local function address(f, s)
            local ip, port, family = f(s)
            return ("%s %d %s"):format(ip, port, family)
         end
         assert.equal(address(near.getsockname, near), address(far.getpeername, far))
         assert.equal(address(far.getsockname, far), address(near.getpeername, near))
         assert.equal("inet", (select(3, near:getpeername())))
         assert.truthy(tostring(near):find("127.0.0.1:" .. select(2, near:getpeername()), 1, true))
      end)
   end)

   it("works over IPv6, and on both families at \"*\"", function()
      run(function()
         local listener = keep(weft.tcp())
         assert(listener:bind("*", 0))
         assert(listener:listen())
         local _, port, family = listener:getsockname()
         local hosts = family == "inet6" and { "127.0.0.1", "::1" } or { "127.0.0.1" }
         for _, host in ipairs(hosts) do
            local client = keep(weft.tcp())
            assert(client:connect(host, port))
            local peer = keep(assert(listener:accept()))
            assert.equal(host, (peer:getpeername()))
            assert.equal(host:find ":" and "inet6" or "inet", select(3, client:getpeername()))
            client:send "x"
            assert.equal("x", peer:receive(1))
         end
      end)
   end)

   it("may bind before it connects", function()
      run(function()
         local listener, port = pair.listener()
         keep(listener)
         local client = keep(weft.tcp())
         assert(client:bind("127.0.0.2", 0))
         assert(client:connect("127.0.0.1", port))
         assert.equal("127.0.0.2", (assert(keep(listener:accept())):getpeername()))
      end)
   end)

   it("says who refused, and can try again", function()
      run(function()
         local listener, port = pair.listener()
         listener:close()
         local socket = keep(weft.tcp())
         is_failure("refused", "127.0.0.1:" .. port, socket:connect_ip("127.0.0.1", port))
         is_failure("refused", "127.0.0.1:" .. port, socket:connect("127.0.0.1", port))
         assert.truthy(tostring(socket):find "^weft.tcp .not connected")
         local open, other = pair.listener()
         keep(open)
         assert.is_true(socket:connect("127.0.0.1", other))
         keep(assert(open:accept()))
      end)
   end)

   it("gives up where nobody answers", function()
      run(function()
         local port, hole = pair.black_hole()
         if not port then return end
         keep(hole)
         local start = weft.now()
         local socket = keep(weft.tcp())
         is_failure("timeout", "127.0.0.1", socket:connect_ip("127.0.0.1", port, 0.02))
         socket:settimeout(0.02)
         is_failure("timeout", "127.0.0.1", socket:connect("127.0.0.1", port))
         is_failure("timeout", "127.0.0.1:" .. port,
            weft.dial("127.0.0.1:" .. port, { timeout = 0.02 }))
         weft.deadline(0.02, function()
            socket:settimeout(nil)
            is_failure("timeout", "127.0.0.1", socket:connect("127.0.0.1", port))
         end)
         assert.is_true(weft.now() - start < 5)
      end)
   end)

   it("can be closed while it connects", function()
      run(function()
         local port, hole = pair.black_hole()
         if not port then return end
         keep(hole)
         local socket = weft.tcp()
         local task = weft.spawn(function() return socket:connect_ip("127.0.0.1", port) end)
         weft.sleep(0.001)
         is_failure("busy", "another task", socket:connect_ip("127.0.0.1", port))
         socket:close()
         is_failure("closed", "closed", task:join(5))
      end)
   end)

   it("is not disturbed by other calls while it connects", function()
      run(function()
         local port, hole = pair.black_hole()
         if not port then return end
         keep(hole)
         local socket = keep(weft.tcp())
         local task = weft.spawn(function()
            return socket:connect_ip("127.0.0.1", port, 0.05)
         end)
         weft.sleep(0.001)
         -- none of them may pull the descriptor away below it
         pcall(socket.bind_ip, socket, "::1", 0)
         pcall(socket.bind_ip, socket, "127.0.0.1", 0)
         pcall(socket.listen, socket)
         socket:setoption("keepalive", true)
         is_failure("timeout", "timeout", task:join(5))
      end)
   end)
end)

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

   it("refuses other patterns", function()
      run(function()
         local near = streams()
         expect_error('the pattern is "%*l", "%*a" or a number', near.receive, near, "*n")
         expect_error('the pattern is "%*l", "%*a" or a number', near.receive, near, "")
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

describe("a closed handle", function()
   it("answers every method with \"closed\", or does nothing", function()
      run(function()
         local near = streams()
         local listener = pair.listener()
         local fresh = weft.tcp()
         for _, handle in ipairs { near, listener, fresh } do
            handle:close()
            handle:close()
            is_failure("closed", "closed", handle:getsockname())
            is_failure("closed", "closed", handle:setoption("keepalive", true))
            assert.equal(1, handle:settimeout(1))
            assert.truthy(tostring(handle):find "closed")
         end
         is_failure("closed", "closed", near:getpeername())
         assert.same({ nil, "closed", "", "closed" }, { near:receive(1) })
         assert.same({ nil, "closed", 0, "closed" }, { near:send "x" })
         assert.same({ nil, "closed", 2, "closed" }, { near:send("xyz", 3) })
         assert.equal(0, near:buffered())
         is_failure("closed", "closed", near:shutdown())
         is_failure("closed", "closed", listener:accept())
         for _ in listener:each() do error "a closed listener accepts nobody" end
         is_failure("closed", "closed", fresh:bind("127.0.0.1", 0))
         is_failure("closed", "closed", fresh:connect("127.0.0.1", 1))
         is_failure("closed", "closed", fresh:listen())
      end)
   end)
end)

describe("setoption", function()
   it("takes the options of its list, before and after a socket has its family", function()
      run(function()
         local listener, port = pair.listener()
         keep(listener)
         local fresh = keep(weft.tcp())
         local values = { reuseaddr = true, keepalive = true, ["tcp-nodelay"] = false,
            ["send-buffer-size"] = 8192, ["recv-buffer-size"] = 8192 }
         for name, value in pairs(values) do
            assert.is_true(fresh:setoption(name, value))
            assert.is_true(listener:setoption(name, value))
         end
         assert(fresh:connect("127.0.0.1", port))
         for name, value in pairs(values) do assert.is_true(fresh:setoption(name, value)) end
         keep(assert(listener:accept()))
      end)
   end)

   it("before the family is known still counts", function()
      run(function()
         local ports = {}
         for i = 1, 2 do
            local socket = keep(weft.tcp())
            assert(socket:setoption("reuseport", true))
            assert(socket:bind("127.0.0.1", ports[1] or 0))
            assert(socket:listen())
            ports[i] = select(2, socket:getsockname())
         end
         assert.equal(ports[1], ports[2])
      end)
   end)

   it("raises for unknown names and wrong values, saying what it takes", function()
      run(function()
         local near = streams()
         local listener = keep(pair.listener())
         for _, handle in ipairs { near, listener, keep(weft.tcp()) } do
            expect_error("unknown option 'nodelay'.*tcp%-nodelay", handle.setoption, handle,
               "nodelay", true)
            expect_error("keepalive.* true or false", handle.setoption, handle, "keepalive", "no")
            expect_error("keepalive.* true or false", handle.setoption, handle, "keepalive")
            expect_error("keepalive.* true or false", handle.setoption, handle, "keepalive", 1)
            expect_error("send%-buffer%-size.* number", handle.setoption, handle,
               "send-buffer-size", "big")
            expect_error("string expected", handle.setoption, handle)
         end
      end)
   end)

   it("says what the system says", function()
      run(function()
         local near = streams()
         is_failure("system", "ipv6%-v6only", near:setoption("ipv6-v6only", true))
      end)
   end)
end)

describe("settimeout", function()
   it("takes seconds, nil and LuaSocket's negative for none", function()
      run(function()
         local near, far = streams()
         for _, none in ipairs { -1, false } do
            assert.equal(1, near:settimeout(0.001))
            assert.equal("timeout", select(2, near:receive(1)))
            assert.equal(1, near:settimeout(none or nil))
            local task = weft.spawn(function() return near:receive(1) end)
            weft.sleep(0.01)
            far:send "x"
            assert.equal("x", task:join())
         end
         expect_error("number expected", near.settimeout, near, "soon")
      end)
   end)
end)

describe("methods", function()
   it("are for handles of their class", function()
      run(function()
         local near = streams()
         local listener = keep(pair.listener())
         local fresh = keep(weft.tcp())
         expect_error("weft.stream expected, got weft.listener", near.send, listener, "x")
         expect_error("weft.listener expected, got weft.stream", listener.accept, near)
         expect_error("weft.tcp expected, got weft.stream", fresh.connect_ip, near, "127.0.0.1", 1)
         expect_error("weft.stream expected, got table", near.receive, {})
         expect_error("weft.stream expected, got no value", near.receive)
         expect_error("weft.stream expected, got FILE", near.receive, io.stdout)
         expect_error("weft.stream expected, got nil", near.close, nil)
         assert.is_nil(fresh.send)
         assert.is_nil(near.accept)
         assert.is_nil(near.listen)
      end)
   end)

   it("of weft.tcp name the argument that is wrong", function()
      local fresh = weft.tcp()
      for _, port in ipairs { -1, 65536, 1.5, "http", false } do
         expect_error("tcp:bind: the port must be an integer", fresh.bind, fresh, "*", port)
         expect_error("tcp:connect: the port must be", fresh.connect, fresh, "localhost", port)
      end
      expect_error("port", fresh.connect_ip, fresh, "127.0.0.1", 0)
      expect_error("port", fresh.bind_ip, fresh, "127.0.0.1", 65536)
      expect_error("host must be a string", fresh.bind, fresh, {}, 80)
      fresh:close()
   end)
end)
