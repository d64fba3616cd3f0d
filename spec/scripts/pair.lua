-- For the specs of tasks and sockets: children, errors, connected streams, a peer that never
-- answers, values that note their end.

local process = require "spec.process"
local weft = require "weft"

local pair = {}

--- Lua code in a process of its own, where it may crash: its output, stderr included, and its
-- exit status, 128 and more for a signal.
function pair.child(code)
   return process.start({ os.getenv "LUA" or "lua5.4", "-e",
      'local weft = require "weft" ' .. code }, { limit = 10 }):finish()
end

--- Runs code that may leave tasks behind, or worse, where it harms no other test.
function pair.expect_output(expected, code)
   local output, status = pair.child(code)
   assert(output == expected, output)
   assert(status == 0, status)
end

--- f must raise an error that matches; returns it.
function pair.expect_error(pattern, f, ...)
   local ok, err = pcall(f, ...)
   assert(not ok, "it did not raise")
   assert(tostring(err):find(pattern), tostring(err))
   return err
end

--- Runs f while the reports of failed tasks are collected, each as { task, text }.
function pair.reports(f)
   local seen, before = {}, weft.on_error
   weft.on_error = function(task, text) seen[#seen + 1] = { task, text } end
   local ok, err = pcall(f, seen)
   weft.on_error = before
   if not ok then error(err, 0) end
   return seen
end

--- Lets every other task that is ready go on until it waits.
function pair.yield()
   for _ = 1, 3 do weft.sleep(0) end
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

-- Kilobytes that name their place, so that nothing can be lost, doubled or moved unseen.
local FILLING = ("0123456789abcdef"):rep(63) .. "\n"
function pair.numbered(size)
   local parts = {}
   for i = 1, size // 1024 do parts[i] = ("%015d"):format(i) .. FILLING end
   return table.concat(parts)
end

return pair
