-- Sockets step by step, in LuaSocket's shapes. What weft.dial and weft.listen do with names and
-- addresses is in net_spec.

local weft = require "weft"
local server = require "spec.helper_server"
local pair = require "spec.scripts.pair"

local run, keep = server.run, server.keep
local expect_error = pair.expect_error

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

   it("is what getoption reads", function()
      run(function()
         local near = streams()
         local listener, fresh = keep(pair.listener()), keep(weft.tcp())
         for _, handle in ipairs { near, listener, fresh } do
            assert.is_true(handle:setoption("keepalive", true))
            assert.is_true(handle:getoption "keepalive")
            assert.is_true(handle:setoption("tcp-keepidle", 77))
            assert.equal(77, handle:getoption "tcp-keepidle")
            assert.is_true(handle:getoption "send-buffer-size" > 0)
            expect_error("unknown option 'x'", handle.getoption, handle, "x")
            handle:close()
            is_failure("closed", "closed", handle:getoption "keepalive")
         end
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
