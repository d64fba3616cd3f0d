-- Given to busted as --helper: paths, the hostile collector of `make gc`, and the check that
-- a spec leaves no socket open. A spec needs nothing from here; it loads by itself.

local busted = require "busted"
local lfs = require "lfs"

package.path = "lua/?.lua;lua/?/init.lua;" .. package.path
package.cpath = (os.getenv "WEFT_BUILD" or "build") .. "/lib/?.so;" .. package.cpath

-- A full collection every few hundred instructions, in every task, on top of the least
-- pause there is: a value that only C still holds does not survive that.
local function be_hostile()
   collectgarbage "incremental"
   collectgarbage("setpause", 0)
   collectgarbage("setstepmul", 1000)
   local function collect()
      collectgarbage()
   end
   local function hook()
      debug.sethook(collect, "", tonumber(os.getenv "WEFT_HOSTILE_GC") * 500)
   end
   -- A hook belongs to one coroutine, so each task sets its own.
   local core = require "weft.core"
   local spawn = core.spawn
   local function hooked(f, ...)
      hook()
      return f(...)
   end
   function core.spawn(f, ...)
      if type(f) ~= "function" then
         return spawn(f, ...)
      end
      return spawn(hooked, f, ...)
   end
   busted.subscribe({ "test", "start" }, function() hook() return nil, true end)
   busted.subscribe({ "test", "end" }, function() debug.sethook() return nil, true end)
end

local function open_sockets()
   local n, names = 0, {}
   for fd in lfs.dir "/proc/self/fd" do
      local target = lfs.symlinkattributes("/proc/self/fd/" .. fd, "target")
      if target and target:find("^socket:") then
         n = n + 1
         names[n] = fd .. " (" .. target .. ")"
      end
   end
   return n, table.concat(names, ", ")
end

-- What is closing may need some turns of the loop to be gone.
local function settle(at_most)
   local core = package.loaded["weft.core"]
   local tries = 0
   collectgarbage()
   while core and open_sockets() > at_most and tries < 200 do
      core.sleep(0.01)
      collectgarbage()
      tries = tries + 1
   end
end

if lfs.attributes("/proc/self/fd", "mode") == "directory" then
   local before = 0
   busted.subscribe({ "file", "start" }, function()
      before = open_sockets()
      return nil, true
   end)
   busted.subscribe({ "file", "end" }, function(file)
      settle(before)
      local n, names = open_sockets()
      if n > before then
         error(("%s left %d sockets open: %s"):format(file.name, n - before, names), 0)
      end
      return nil, true
   end)
end

if os.getenv "WEFT_HOSTILE_GC" then
   be_hostile()
end
