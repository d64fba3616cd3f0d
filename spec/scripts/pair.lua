-- For specs: children, connected streams, a peer that never answers, values that note their end.

local process = require "spec.process"
local weft = require "weft"

local pair = {}

--- Lua code in a process of its own, where it may crash: its output, stderr included, and its
-- exit status, 128 and more for a signal.
function pair.child(code)
   return process.start({ os.getenv "LUA" or "lua5.4", "-e",
      'local weft = require "weft" ' .. code }, { limit = 10 }):finish()
end

--- A listener on a free port of 127.0.0.1, and the port.
function pair.listener()
   local listener = assert(weft.listen "127.0.0.1:0")
   local _, port = listener:getsockname()
   return listener, math.tointeger(port)
end

--- Both ends of one connection.
function pair.streams()
   local listener, port = pair.listener()
   local _ <close> = listener
   local near = assert(weft.dial("127.0.0.1:" .. port))
   return near, assert(listener:accept())
end

--- A listener whose queue is full, so that whoever connects there waits: Linux drops what it
-- cannot queue. Returns its port and what has to be closed; nil where queues differ.
function pair.black_hole()
   local things = { weft.tcp() }
   assert(things[1]:bind("127.0.0.1", 0))
   assert(things[1]:listen(1))
   local _, port = things[1]:getsockname()
   for i = 2, 8 do
      things[i] = weft.tcp()
      local _, _, code = things[i]:connect_ip("127.0.0.1", math.tointeger(port), 0.1)
      if code == "timeout" then return math.tointeger(port), pair.closer(things) end
   end
   pair.closer(things):close()
end

--- Closes a list of things, as a method and as a `<close>` variable.
function pair.closer(things)
   local function close()
      for _, thing in ipairs(things) do thing:close() end
   end
   return setmetatable({ close = close }, { __close = close })
end

--- A `<close>` variable that calls f.
function pair.at_end(f)
   return setmetatable({}, { __close = f })
end

return pair
