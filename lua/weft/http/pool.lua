-- pool: connections of the HTTP client that wait for their next request. The loop watches
-- them (core.keep): one that its server closes, or writes to unasked, is never used again.

local core = require "weft.core"

local pool = {}

local idle = {} -- { stream=, key=, tls= }, the one that waits longest first

local function matches(one, key, tls)
   return one.key == key and one.tls == tls
end

--- A connection that is still good, or nil. tls: the context that it has to be of.
function pool.take(key, tls)
   for i = #idle, 1, -1 do
      local one = idle[i]
      if matches(one, key, tls) then
         table.remove(idle, i)
         if core.take(one.stream) then return one.stream end
         one.stream:close()
      end
   end
end

local function drop(i)
   table.remove(idle, i).stream:close()
end

-- Makes room for one more of that key: those that wait longest go.
local function make_room(key, tls, limits)
   local same = 0
   for i = #idle, 1, -1 do
      if matches(idle[i], key, tls) then
         same = same + 1
         if same >= limits.max_idle_per_origin then drop(i) end
      end
   end
   while #idle > 0 and #idle >= limits.max_idle do drop(1) end
end

--- Takes the connection over: it waits for the next request, or is closed.
function pool.put(stream, key, tls, limits)
   local wanted = limits.keepalive > 0 and limits.max_idle > 0 and limits.max_idle_per_origin > 0
   if not wanted or not core.keep(stream, limits.keepalive) then
      stream:close()
      return
   end
   make_room(key, tls, limits)
   idle[#idle + 1] = { stream = stream, key = key, tls = tls }
end

--- Closes all that wait; how many that were.
function pool.close()
   local n = #idle
   for i = n, 1, -1 do drop(i) end
   return n
end

return pool
