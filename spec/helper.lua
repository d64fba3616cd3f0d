-- Given to busted as --helper: paths, the hostile collector of `make gc`, and the check that
-- a spec leaves no socket open. A spec needs nothing from here; it loads by itself.

local busted = require "busted"
local lfs = require "lfs"

package.path = "lua/?.lua;lua/?/init.lua;" .. package.path
package.cpath = (os.getenv "WEFT_BUILD" or "build") .. "/lib/?.so;" .. package.cpath

-- The collector's hooks are for the tests, not for busted's own work between them.
local function be_hostile()
   local hook = package.loaded["spec.task_hook"]
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
