local process = require "spec.process"
local server = require "spec.helper_server"
local weft = require "weft"

local run, keep = server.run, server.keep

local function bound(host, family)
   local socket = keep(weft.udp(family))
   assert(socket:bind(host or "127.0.0.1", 0))
   local _, port = socket:getsockname()
   return socket, port
end

local function has_ipv6()
   local socket <close> = weft.udp()
   return socket:bind("::1", 0) ~= nil
end

local function expect_failure(code, pattern, result, message, got)
   assert.is_nil(result)
   assert.equal(code, got, message)
   assert.truthy(message:find(pattern, 1, true), message)
end

describe("weft.udp", function()
   it("sends and receives, bound and connected", function()
      run(function()
         local a, port = bound "localhost"
         local home, _, kind = a:getsockname()
         local b = keep(weft.udp())
         assert.is_true(b:connect("localhost", port))
         assert.equal(5, b:send "hello")
         local data, ip, from = a:receivefrom()
         local own, own_port, family = b:getsockname()
         assert.same({ "hello", own, own_port, kind }, { data, ip, from, family })
         assert.equal(2, a:sendto("hi", ip, from))
         assert.equal("hi", b:receive())
         assert.same({ home, port, kind }, { b:getpeername() })
         local shown = kind == "inet6" and "[" .. home .. "]" or home
         assert.equal(("weft.udp (to %s:%d)"):format(shown, port), tostring(b))
         assert.equal(0, b:send "") -- an empty datagram is one
         assert.equal("", a:receive())
         assert.is_true(b:connect "*")
         expect_failure("system", "not connected", b:getpeername())
      end)
   end)

   it("speaks IPv6, and both families at once", function()
      if not has_ipv6() then return end
      run(function()
         local six, port6 = bound "::1"
         local both, port = bound "*"
         assert.equal(1, six:sendto("6", "::1", port))
         local data, ip, from, cut = both:receivefrom()
         assert.same({ "6", "::1", port6 }, { data, ip, from, cut })
         local four = keep(weft.udp "inet")
         assert.equal(1, four:sendto("4", "127.0.0.1", port))
         data, ip, from = both:receivefrom()
         assert.same({ "4", "127.0.0.1" }, { data, ip })
         assert.equal(4, both:sendto("back", ip, from))
         assert.equal("back", four:receive())
         expect_failure("system", 'weft.udp "inet6"', four:sendto("x", "::1", port6))
      end)
   end)

   it("keeps the boundaries of datagrams, and tells of those that were cut", function()
      run(function()
         local a, port = bound()
         local b = keep(weft.udp())
         for _, n in ipairs { 1, 9000, 65507 } do
            assert.equal(n, b:sendto(("x"):rep(n), "127.0.0.1", port))
            assert.equal(n, #assert(a:receive()))
         end
         b:sendto("0123456789", "127.0.0.1", port)
         assert.same({ "0123", 10 }, { a:receive(4) })
         b:sendto("0123456789", "127.0.0.1", port)
         local data, ip, from, real = a:receivefrom(9)
         assert.same({ "012345678", "127.0.0.1", "integer", 10 },
            { data, ip, math.type(from), real })
         b:sendto("0123", "127.0.0.1", port)
         assert.equal(1, select("#", a:receive(4)))
      end)
   end)

   it("leaves others their turn in a flood, also of who polls", function()
      run(function()
         local a, port = bound()
         local b = keep(weft.udp())
         a:settimeout(0)
         for i = 1, 150 do b:sendto(tostring(i), "127.0.0.1", port) end
         local n, seen = 0, nil
         weft.spawn(function() seen = n end)
         while a:receive() do n = n + 1 end
         assert.equal(150, n)
         assert.is_true(seen > 0 and seen < 150)
      end)
   end)

   it("says that a datagram is too big", function()
      run(function()
         local _, port = bound()
         local b = keep(weft.udp())
         expect_failure("too_big", "too big", b:sendto(("x"):rep(65508), "127.0.0.1", port))
         assert.equal(1, b:sendto("x", "127.0.0.1", port))
      end)
   end)

   it("says that nobody is there", function()
      run(function()
         local gone, port = bound()
         gone:close()
         local b = keep(weft.udp())
         assert(b:connect("127.0.0.1", port))
         assert.equal(1, b:send "x")
         expect_failure("refused", "refused", b:receive())
      end)
   end)

   it("waits only in its own task, and ends in time or when closed", function()
      run(function()
         local a, port = bound()
         assert.equal(1, a:settimeout(0.01))
         expect_failure("timeout", "timeout", a:receive())
         a:settimeout(nil)
         local task = weft.spawn(function() return a:receive() end)
         weft.sleep(0)
         expect_failure("busy", "another task", a:receive())
         keep(weft.udp()):sendto("late", "127.0.0.1", port)
         assert.equal("late", task:join(10))
         task = weft.spawn(function() return a:receive() end)
         weft.sleep(0)
         a:close()
         expect_failure("closed", "closed", task:join(10))
         expect_failure("closed", "closed", a:receive())
         expect_failure("closed", "closed", a:sendto("x", "127.0.0.1", port))
         assert.equal("weft.udp (closed)", tostring(a))
      end)
   end)

   it("may be cancelled while it waits, and collected while it is open", function()
      run(function()
         local a = bound()
         local task = weft.spawn(function() a:receive() end)
         weft.sleep(0)
         task:cancel()
         expect_failure("cancelled", "cancelled", task:join(10))
         for _ = 1, 20 do weft.udp():bind("127.0.0.1", 0) end
         collectgarbage()
      end)
   end)

   it("joins groups", function()
      run(function()
         local a = keep(weft.udp "inet")
         assert(a:setoption("reuseaddr", true))
         assert(a:bind("*", 0))
         local _, port = a:getsockname()
         local group = { multiaddr = "239.255.1.2", interface = "127.0.0.1" }
         assert(a:setoption("ip-add-membership", group))
         local b = keep(weft.udp "inet")
         assert(b:setoption("ip-multicast-if", "127.0.0.1"))
         assert(b:setoption("ip-multicast-loop", true))
         assert(b:setoption("ip-multicast-ttl", 1))
         assert.equal(5, b:sendto("group", "239.255.1.2", port))
         assert.equal("group", a:receive())
         assert(a:setoption("ip-drop-membership", group))
         expect_failure("system", "ip-drop-membership", a:setoption("ip-drop-membership", group))
      end)
   end)

   it("needs permission to broadcast", function()
      run(function()
         local a = keep(weft.udp())
         expect_failure("system", "send", a:sendto("x", "255.255.255.255", 9))
         assert(a:setoption("broadcast", true))
      end)
   end)

   it("says what it cannot do", function()
      run(function()
         local a, port = bound()
         local b = keep(weft.udp())
         expect_failure("busy", "in use", b:bind("127.0.0.1", port))
         expect_failure("resolve", "no-such-name.invalid", b:sendto("x", "no-such-name.invalid", 9))
         expect_failure("resolve", "not a numeric address", b:bind_ip("localhost", 0))
         expect_failure("system", "bind", a:bind("192.0.2.1", 0))
      end)
   end)

   local misuse = {
      { function() weft.udp "unix" end, "invalid option 'unix'" },
      { function() weft.udp():receive() end, "receive: call bind, connect or sendto first" },
      { function() weft.udp():send "x" end, "send: call connect first, or sendto" },
      { function() weft.udp():sendto(5, "x", 1) end, "udp:sendto: the data must be a string" },
      { function() weft.udp():sendto("", "x", 70000) end, "udp:sendto: the port must be" },
      { function() weft.udp():bind("x", "http") end, "udp:bind: the port must be" },
      { function() weft.udp():setoption("nagle", true) end, "unknown option 'nagle'" },
      { function() weft.udp():setoption("broadcast", 1) end, "boolean expected" },
      { function() weft.udp():setoption("ip-add-membership", { multiaddr = "::1" }) end,
         "needs IPv4 addresses" },
      { function() weft.udp():setoption("ipv6-add-membership", { multiaddr = "ff02::1",
         interface = "none0" }) end, "there is no interface 'none0'" },
      { function() bound():receive(0) end, "1 to 65535 bytes" },
   }
   for i, row in ipairs(misuse) do
      it("raises for misuse, row " .. i, function()
         run(function()
            local ok, message = pcall(row[1])
            assert.is_false(ok)
            assert.truthy(message:find(row[2], 1, true), message)
         end)
      end)
   end

   it("talks with socat", function()
      local port
      run(function() local a a, port = bound() a:close() end)
      local address = ("UDP-LISTEN:%d,bind=127.0.0.1"):format(port)
      local child = process.start({ "socat", address, "EXEC:cat" }, { foreign = true })
      run(function()
         local a = keep(weft.udp())
         assert(a:connect("127.0.0.1", port))
         a:settimeout(0.05)
         local data
         for _ = 1, 200 do -- datagrams to nobody are lost: until it listens
            a:send "through socat"
            data = a:receive()
            if data then break end
            weft.sleep(0.05)
         end
         assert.equal("through socat", data)
      end, 20)
      child:stop()
   end)
end)
