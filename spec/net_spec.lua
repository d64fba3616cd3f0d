local weft = require "weft"
local daemon = require "spec.daemon"
local server = require "spec.helper_server"

local run, keep = server.run, server.keep

-- The system may have no IPv6 at all.
local function has_ipv6()
   local listener = weft.listen "[::1]:0"
   if listener then listener:close() end
   return listener ~= nil
end

local function port_of(listener)
   local _, port = listener:getsockname()
   return math.tointeger(port)
end

local function echo_once(listener)
   return weft.spawn(function()
      local peer <close> = assert(listener:accept())
      peer:send(assert(peer:receive "*l") .. "\n")
   end)
end

-- A port of this machine where nobody listens.
local function expect_failure(code, pattern, ...)
   local result, message, got = ...
   assert.is_nil(result)
   assert.equal(code, got, message)
   assert.truthy(message:find(pattern), message)
end

describe("weft.listen and weft.dial", function()
   it("meet at an address of IPv4", function()
      run(function()
         local listener = keep(assert(weft.listen "127.0.0.1:0"))
         local task = echo_once(listener)
         local stream <close> = assert(weft.dial("127.0.0.1:" .. port_of(listener)))
         stream:send "hello\n"
         assert.equal("hello", stream:receive "*l")
         local ip, port, family = stream:getpeername()
         assert.same({ "127.0.0.1", port_of(listener), "inet" }, { ip, port, family })
         task:join()
      end)
   end)

   it("meet at an address of IPv6", function()
      if not has_ipv6() then return end
      run(function()
         local listener = keep(assert(weft.listen "[::1]:0"))
         local task = echo_once(listener)
         local stream <close> = assert(weft.dial("[::1]:" .. port_of(listener)))
         stream:send "hello\n"
         assert.equal("hello", stream:receive "*l")
         local ip, _, family = stream:getpeername()
         assert.same({ "::1", "inet6" }, { ip, family })
         task:join()
      end)
   end)

   it("meet on both families at \":port\"", function()
      run(function()
         local listener = keep(assert(weft.listen ":0"))
         for _, host in ipairs { "127.0.0.1", has_ipv6() and "[::1]" or "127.0.0.1" } do
            local task = echo_once(listener)
            local stream <close> = assert(weft.dial(host .. ":" .. port_of(listener)))
            stream:send "hello\n"
            assert.equal("hello", stream:receive "*l")
            task:join()
         end
      end)
   end)

   it("meet by name", function()
      run(function()
         local listener = keep(assert(weft.listen "localhost:0"))
         local task = echo_once(listener)
         local stream <close> = assert(weft.dial("localhost:" .. port_of(listener),
            { timeout = 5 }))
         stream:send "hello\n"
         assert.equal("hello", stream:receive "*l")
         task:join()
      end)
   end)

   it("say when an address is in use", function()
      run(function()
         local listener = keep(assert(weft.listen "127.0.0.1:0"))
         local address = "127.0.0.1:" .. port_of(listener)
         expect_failure("busy", "weft.listen: cannot listen on " .. address .. ": ",
            weft.listen(address))
      end)
   end)

   it("share a port when they are told to", function()
      run(function()
         local one = keep(assert(weft.listen("127.0.0.1:0", { reuseport = true })))
         keep(assert(weft.listen("127.0.0.1:" .. port_of(one), { reuseport = true })))
      end)
   end)

   it("say when nobody listens, and where", function()
      run(function()
         local port = daemon.free_port()
         expect_failure("refused", "weft.dial: cannot connect to 127.0.0.1:" .. port
            .. ": 127.0.0.1:" .. port .. " %(", weft.dial("127.0.0.1:" .. port))
      end)
   end)

   it("say that a name is unknown", function()
      run(function()
         expect_failure("resolve", "no%-such%-name%.invalid",
            weft.dial("no-such-name.invalid:80"))
      end)
   end)

   for _, address in ipairs { "127.0.0.1", "", "x:", "x:99999", "[::1]", "[::1:80", "::1:80",
      "a b:80", "host:http", "x:-1" } do
      it(("call %q a bad address"):format(address), function()
         run(function()
            expect_failure("resolve", "weft.dial: bad address", weft.dial(address))
            expect_failure("resolve", "weft.listen: bad address", weft.listen(address))
         end)
      end)
   end

   it("need a host and a port to connect to", function()
      run(function()
         expect_failure("resolve", "needs a host and a port", weft.dial ":80")
         expect_failure("resolve", "needs a host and a port", weft.dial "127.0.0.1:0")
      end)
   end)

   local misuse = {
      { function() weft.dial(80) end, "weft.dial: the address must be a string, got 80" },
      { function() weft.listen {} end, "weft.listen: the address must be a string" },
      { function() weft.dial("x:1", { timeout = "1" }) end, 'weft.dial: option "timeout"' },
      { function() weft.dial("x:1", { tls = { crt = "" } }) end,
         'weft.dial: unknown option "crt"' },
      { function() weft.listen(":0", { backlog = 0 }) end, 'weft.listen: option "backlog"' },
      { function() weft.listen "tls://:0" end, "weft.listen: tls:// needs the option tls" },
      { function() weft.listen(":0", { mode = "660" }) end, "mode is for unix: addresses" },
      { function() weft.listen("unix:/tmp/x", { mode = "rw" }) end, "three octal digits" },
      { function() weft.listen("unix:/tmp/x", { reuseport = true }) end, "reuseport is for ports" },
      { function() weft.dial "systemd:" end, "systemd: is for weft.listen" },
      { function() weft.dial("unix:/tmp/x", { tls = {} }) end, "tls needs server_name" },
      { function() weft.tcp():bind(5, 5) end, "tcp:bind: the host must be a string" },
      { function() weft.tcp():bind("*", 65536) end, "tcp:bind: the port must be an integer from" },
      { function() weft.tcp():connect("x", "http") end, "tcp:connect: the port must be" },
      { function() weft.tcp():connect("x", 0) end, "tcp:connect: the port must be" },
   }
   for i, row in ipairs(misuse) do
      it("blame the caller for misuse, row " .. i, function()
         local message = server.blame(row[1])
         assert.truthy(message:find(row[2], 1, true), message)
      end)
   end
end)

describe("a socket of weft.tcp", function()
   it("goes through both flows step by step", function()
      run(function()
         local listening = keep(weft.tcp())
         assert(listening:bind("127.0.0.1", 0))
         assert(listening:listen(8))
         local ip, port = listening:getsockname()
         assert.equal("127.0.0.1", ip)
         local task = weft.spawn(function()
            local peer <close> = assert(listening:accept())
            assert.equal("ping", peer:receive(4))
            assert(peer:send "pong")
            assert(peer:shutdown "send")
            assert.equal("", (peer:receive "*a"))
         end)
         local socket <close> = weft.tcp()
         assert(socket:connect("localhost", port))
         assert(socket:send "ping")
         assert.equal("pong", socket:receive "*a")
         socket:close()
         task:join()
      end)
   end)

   it("binds to every address with \"*\"", function()
      run(function()
         local listening = keep(weft.tcp())
         assert(listening:bind("*", 0))
         assert(listening:listen())
         local task = echo_once(listening)
         local stream <close> = assert(weft.dial("127.0.0.1:" .. port_of(listening)))
         stream:send "x\n"
         assert.equal("x", stream:receive "*l")
         task:join()
      end)
   end)

   it("says what it tried when it cannot connect", function()
      run(function()
         local port = daemon.free_port()
         local socket <close> = weft.tcp()
         expect_failure("refused", "tcp:connect: cannot connect to 127.0.0.1:" .. port,
            socket:connect("127.0.0.1", port))
      end)
   end)

   it("says that it cannot bind", function()
      run(function()
         local listener = keep(assert(weft.listen "127.0.0.1:0"))
         local socket <close> = weft.tcp()
         local ok, message, code = socket:bind("127.0.0.1", port_of(listener))
         if ok then ok, message, code = socket:listen() end
         expect_failure("busy", "in use", ok, message, code)
      end)
   end)
end)

describe("listener:each", function()
   it("accepts one after the other, while accepted sockets talk, until it is closed", function()
      run(function()
         local listener = keep(assert(weft.listen "127.0.0.1:0"))
         local port, served = port_of(listener), 0
         local task = weft.spawn(function()
            for stream in listener:each() do
               served = served + 1
               weft.spawn(function()
                  for line in function() return (stream:receive "*l") end do
                     stream:send(line:upper() .. "\n")
                  end
                  stream:close()
               end)
            end
            return "ended"
         end)
         local streams = {}
         for i = 1, 5 do streams[i] = assert(weft.dial("127.0.0.1:" .. port)) end
         for round = 1, 3 do
            for i, stream in ipairs(streams) do stream:send(("a%d-%d\n"):format(i, round)) end
            for i, stream in ipairs(streams) do
               assert.equal(("A%d-%d"):format(i, round), stream:receive "*l")
            end
         end
         listener:close()
         assert.equal("ended", task:join(1))
         assert.equal(5, served)
         streams[1]:send "still\n" -- closing a listener leaves its sockets alone
         assert.equal("STILL", streams[1]:receive "*l")
         for _, stream in ipairs(streams) do stream:close() end
      end)
   end)

   it("ends at a deadline", function()
      run(function()
         local listener = keep(assert(weft.listen "127.0.0.1:0"))
         local ended = false
         weft.deadline(0.01, function()
            for _ in listener:each() do error "nobody came" end
            ended = true
         end)
         assert.is_true(ended)
      end)
   end)
end)
