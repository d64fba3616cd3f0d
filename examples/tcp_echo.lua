-- The two flows that everything else is made of, step by step: a client socket and a server
-- socket in one process, each with a task of its own.    lua5.4 examples/tcp_echo.lua
local weft = require "weft"

local function client(port)
   local socket = weft.tcp()                            -- 1. create
   assert(socket:connect("127.0.0.1", port))            -- 2. connect, to an address and a port
   print("client: connected to port " .. port)
   for _, word in ipairs { "warp", "weft" } do
      assert(socket:send(word .. "\n"))                 -- 3. send, when we choose
      print("client: got back " .. assert(socket:receive "*l")) -- 4. receive
   end
   socket:close()                                       -- 5. close
   print "client: closed"
end

local function server()
   local socket = weft.tcp()                            -- 1. create
   assert(socket:bind("127.0.0.1", 0))                  -- 2. bind to a port (0: any free one)
   assert(socket:listen())                              -- 3. listen: now it is a server socket
   local _, port = socket:getsockname()
   print("server: listening on port " .. port)
   local caller = weft.spawn(client, port)

   local peer = assert(socket:accept())                 -- 4. accept: a new socket for this peer
   print "server: accepted a peer"
   for line in function() return (peer:receive "*l") end do -- 5. receive, when the peer chooses
      print("server: received " .. line)
      assert(peer:send(line .. "\n"))                   -- 6. send, on the accepted socket
   end
   peer:close()                                         -- 7. close what was accepted, and then
   socket:close()                                       --    the server socket itself
   caller:join()
   print "server: closed"
end

weft.run(server)
