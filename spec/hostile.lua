-- The hostile collector of `make gc`: a full collection every few hundred instructions, in
-- every task, on top of the least pause there is. A value that only C still holds does not
-- survive that. LUA_INIT loads it into every Lua process of the tests; in busted's own, the
-- helper turns it on for the tests alone, and the pause is a little longer: the least one is a
-- collection for each allocation, of a heap that is mostly busted's.
-- Gives the function that turns it on for a coroutine.

local core = require "weft.core"
local EVERY = 500 -- instructions

local in_busted = (arg and arg[0] or ""):find "busted$"

collectgarbage "incremental"
collectgarbage("setpause", in_busted and 100 or 0)
collectgarbage("setstepmul", in_busted and 100 or 1000)

local function collect()
   collectgarbage()
end

local function hook()
   debug.sethook(collect, "", EVERY)
end

-- A hook belongs to one coroutine, so each task sets its own.
local spawn = core.spawn
local function hooked(f, ...)
   hook()
   return f(...)
end

function core.spawn(f, ...)
   if type(f) == "function" then
      return spawn(hooked, f, ...)
   end
   return spawn(f, ...)
end

package.loaded["spec.hostile"] = hook
if not in_busted then hook() end
return hook
