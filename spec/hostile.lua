-- The hostile collector of `make gc`: a full collection every thousand instructions, in
-- every task, on top of the least pause there is. A value that only C still holds does not
-- survive that. LUA_INIT loads it into every Lua process of the tests; in busted's own, the
-- helper turns it on for the tests alone.

local core = require "weft.core"
local EVERY = 1000 -- instructions

collectgarbage "incremental"
collectgarbage("setpause", 0)

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

package.loaded["spec.task_hook"] = hook -- for tasks that weft.run makes
if not (arg and arg[0] or ""):find "busted$" then hook() end
