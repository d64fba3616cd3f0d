-- For system_spec, under strace, which lets system calls fail. Prints what the script is told:
--    lua failing_calls.lua watch | accept

local weft = require "weft"

local function port_of(listener)
   local _, port = listener:getsockname()
   return math.tointeger(port)
end

local scenes = {}

-- epoll_ctl fails from the second call on, the first that is not the loop's own.
function scenes.watch()
   local listener = assert(weft.listen "127.0.0.1:0")
   local address = "127.0.0.1:" .. port_of(listener)
   print("dial", select(3, weft.dial(address)))
   assert(listener:accept()):close() -- of the attempt
   local udp <close> = weft.udp()
   assert(udp:bind("127.0.0.1", 0))
   print("udp", select(3, udp:receive()))
   local accepting = weft.spawn(listener.accept, listener)
   weft.sleep(0) -- it waits
   print("dial", select(3, weft.dial(address)))
   assert(accepting:join(20)):close()
   print("accept", "goes on")
end

-- accept4 fails once.
function scenes.accept()
   local app <close> = weft.app()
   app:websocket("/", function(ws) ws:send "hello" end)
   local _, port = assert(app:listen "127.0.0.1:0")
   local ws, message = weft.connect("ws://127.0.0.1:" .. port, { timeout = 20 })
   print(ws and ws:receive(20) or message)
end

weft.run(scenes[arg[1]])
