-- pool: connections of the HTTP client that wait for their next request. The loop watches
-- them (core.keep): one that its server closes, or writes to unasked, is never used again.

local core = require "weft.core"

local pool = {}

-- { stream=, key=, tls=, proxy_tls= }, the one that waits longest first
local idle = {}

-- Where it leads to, and by which contexts it was verified.
local function matches(one, hop)
   return one.key == hop.key and one.tls == hop.tls and one.proxy_tls == hop.proxy_tls
end

--- A connection for that request that is still good, or nil.
function pool.take(hop)
   for i = #idle, 1, -1 do
      local one = idle[i]
      if matches(one, hop) then
         table.remove(idle, i)
         if core.take(one.stream) then return one.stream end
         one.stream:close()
      end
   end
end

local function drop(i)
   table.remove(idle, i).stream:close()
end

-- Makes room for one more of the same: those that wait longest go.
local function make_room(hop, limits)
   local same = 0
   for i = #idle, 1, -1 do
      if matches(idle[i], hop) then
         same = same + 1
         if same >= limits.max_idle_per_origin then drop(i) end
      end
   end
   while #idle > 0 and #idle >= limits.max_idle do drop(1) end
end

--- Takes the connection over, of that request: it waits for the next one, or is closed.
function pool.put(stream, hop, limits)
   local wanted = limits.keepalive > 0 and limits.max_idle > 0 and limits.max_idle_per_origin > 0
   if not wanted or not core.keep(stream, limits.keepalive) then
      stream:close()
      return
   end
   make_room(hop, limits)
   idle[#idle + 1] = { stream = stream, key = hop.key, tls = hop.tls,
      proxy_tls = hop.proxy_tls }
end

--- Closes all that wait; how many that were.
function pool.close()
   local n = #idle
   for i = n, 1, -1 do drop(i) end
   return n
end

return pool
