-- Waiting for time and signals, within deadlines; and where one cannot wait.

local weft = require "weft"
local server = require "spec.helper_server"
local pair = require "spec.scripts.pair"

local run, yield = server.run, pair.yield
local expect_error, reports = pair.expect_error, pair.reports

describe("weft.sleep", function()
   it("returns true, never early, in order of time", function()
      run(function()
         local order = {}
         for _, s in ipairs { 0.03, 0.01, 0.02, 0 } do
            weft.spawn(function()
               local start = weft.now()
               assert.is_true(weft.sleep(s))
               assert.is_true(weft.now() - start >= s - 0.0005)
               order[#order + 1] = s
            end)
         end
         weft.sleep(0.05)
         assert.same({ 0, 0.01, 0.02, 0.03 }, order)
      end)
   end)

   it("wants seconds", function()
      expect_error("number expected", weft.sleep)
      expect_error("seconds, 0 or more", weft.sleep, -1)
      expect_error("seconds, 0 or more", weft.sleep, 0 / 0)
   end)
end)

local function times_out(...)
   local result, _, code = ...
   assert.is_nil(result)
   assert.equal("timeout", code)
end

describe("weft.deadline", function()
   it("ends whatever waits inside with \"timeout\"", function()
      run(function()
         local near, far = pair.streams()
         local listener = server.keep(pair.listener())
         local start = weft.now()
         assert.same({ n = 3, "a", nil, "c" }, table.pack(weft.deadline(0.01, function(...)
            times_out(weft.sleep(3600))
            times_out(weft.channel():receive())
            times_out(weft.channel():send(1))
            times_out(weft.spawn(weft.sleep, 0.02):join())
            times_out(listener:accept())
            assert.same({ n = 4, nil, "timeout", "", "timeout" },
               table.pack(near:receive(1)))
            return ...
         end, "a", nil, "c")))
         assert.is_true(weft.now() - start < 1)
         near:close()
         far:close()
      end)
   end)

   it("nests: the sooner one wins, and the outer one comes back", function()
      run(function()
         local start = weft.now()
         local function passed(s) return weft.now() - start >= s - 0.0005 end
         weft.deadline(0.2, function()
            weft.deadline(0.01, function() times_out(weft.sleep(3600)) end)
            assert.is_true(passed(0.01) and not passed(0.2))
            assert.is_true(weft.sleep(0))
            weft.deadline(3600, function() times_out(weft.sleep(3600)) end)
            assert.is_true(passed(0.2))
            times_out(weft.sleep(3600))
         end)
         assert.is_true(weft.sleep(0.001))
      end)
   end)

   it("is gone after an error, too", function()
      run(function()
         expect_error("inside", weft.deadline, 0.001, function() error "inside" end)
         assert.is_true(weft.sleep(0.005))
      end)
   end)

   it("goes with a shorter timeout of the call", function()
      run(function()
         local near, far = pair.streams()
         near:settimeout(0.005)
         local ch = weft.channel()
         local start = weft.now()
         weft.deadline(3600, function()
            times_out(ch:receive(0.005))
            assert.equal("timeout", select(2, near:receive(1)))
         end)
         near:settimeout(3600)
         weft.deadline(0.005, function()
            times_out(ch:receive(3600))
            assert.equal("timeout", select(2, near:receive(1)))
         end)
         assert.is_true(weft.now() - start < 5)
         near:close()
         far:close()
      end)
   end)

   it("belongs to the task that set it", function()
      run(function()
         local ok
         weft.deadline(0.005, function()
            weft.spawn(function() ok = weft.sleep(0.02) end)
            times_out(weft.sleep(3600))
         end)
         weft.sleep(0.03)
         assert.is_true(ok)
      end)
   end)

   it("of 0 seconds lets nothing wait, and lets run what need not", function()
      run(function()
         weft.deadline(0, function()
            times_out(weft.sleep(0.001))
            local ch = weft.channel(1)
            assert.is_true(ch:send "x")
            assert.equal("x", ch:receive())
         end)
      end)
   end)

   it("wants a number and a function", function()
      run(function()
         expect_error("waiting_spec.lua:%d+: weft.deadline: the time must be a number",
            function() weft.deadline("1", print) end)
         expect_error("the function must be a function", function() weft.deadline(1) end)
      end)
   end)
end)

describe("waiting where one cannot", function()
   local function refused(f, ...)
      return expect_error("weft: cannot wait .*weft.spawn", f, ...)
   end

   it("is an error in a coroutine that is not a task", function()
      refused(coroutine.wrap(function() weft.sleep(0) end))
      run(function()
         local err = refused(coroutine.wrap(function() weft.sleep(0) end))
         assert.truthy(err:find "waiting_spec.lua:%d+:")
         refused(coroutine.wrap(function() weft.channel():receive() end))
         refused(coroutine.wrap(function() weft.deadline(1, function() end) end))
         refused(coroutine.wrap(function() weft.group(function() end) end))
      end)
   end)

   it("is an error below a C function that cannot yield", function()
      run(function()
         local function wait() weft.sleep(0) return "" end
         refused(table.sort, { 3, 2, 1 }, wait)
         refused(string.gsub, "abc", ".", wait)
         local shown = setmetatable({}, { __tostring = wait })
         refused(tostring, shown)
         refused(function() for _ in ("abc"):gmatch "." do ("x"):gsub("x", wait) end end)
         assert.is_true(weft.sleep(0)) -- no harm was done
      end)
   end)

   it("is fine in pcall, metamethods and iterators of Lua", function()
      run(function()
         local lazy = setmetatable({}, { __index = function(_, k) weft.sleep(0) return k end,
            __add = function() weft.sleep(0) return 5 end,
            __call = function() weft.sleep(0) return 6 end,
            __pairs = function(t) weft.sleep(0) return next, t, nil end,
            __eq = function() weft.sleep(0) return true end })
         assert.equal("k", lazy.k)
         assert.equal(5, lazy + 1)
         assert.equal(6, lazy())
         for _ in pairs(lazy) do error "it is empty" end
         assert.is_true(lazy == setmetatable({}, getmetatable(lazy)))
         assert.is_true(select(2, xpcall(weft.sleep, debug.traceback, 0)))
         for i in function(_, i) weft.sleep(0) return (i or 0) < 2 and (i or 0) + 1 or nil end do
            assert.is_true(i <= 2)
         end
      end)
   end)

   it("is an error in a finalizer", function()
      run(function()
         local err
         setmetatable({}, { __gc = function() err = select(2, pcall(weft.sleep, 0)) end })
         collectgarbage()
         collectgarbage()
         assert.truthy(err:find "weft: cannot wait .*weft.spawn", err)
      end)
   end)

   it("is an error in on_error", function()
      local err
      reports(function()
         weft.on_error = function() err = select(2, pcall(weft.sleep, 0)) end
         run(function()
            weft.spawn(error, "x")
            yield()
         end)
      end)
      assert.truthy(err:find "weft: cannot wait .*weft.spawn", err)
   end)

   it("is an error in a <close> variable of a task that fails", function()
      run(function()
         local err
         local task = weft.spawn(function()
            local _ <close> = pair.at_end(function() err = select(2, pcall(weft.sleep, 0)) end)
            error "x"
         end)
         pcall(task.join, task)
         assert.truthy(err:find "weft: cannot wait .*weft.spawn", err)
      end)
   end)
end)

describe("coroutines beside tasks", function()
   it("work inside of a task as ever", function()
      run(function()
         local sum = 0
         for i in coroutine.wrap(function() for i = 1, 5 do coroutine.yield(i) end end) do
            weft.sleep(0)
            sum = sum + i
         end
         assert.equal(15, sum)
      end)
   end)

   it("end a task that yields by itself with an error that says what to use", function()
      run(function()
         local task = weft.spawn(function()
            weft.sleep(0)
            coroutine.yield(1, 2, 3)
         end)
         expect_error("coroutine.yield; wait with weft.sleep", task.join, task)
         assert.equal("failed", task.status)
      end)
      expect_error("coroutine.yield; wait with", weft.run, coroutine.yield, 1)
      local seen = reports(function()
         run(function()
            weft.spawn(function() coroutine.yield() end)
            yield()
         end)
      end)
      assert.truthy(seen[1][2]:find "coroutine.yield; wait with.*waiting_spec.lua:%d+:", seen[1][2])
   end)

   it("may not resume a task", function()
      run(function()
         local thread
         local task = weft.spawn(function()
            thread = coroutine.running()
            weft.sleep(0.005)
            return "slept"
         end)
         yield()
         local start = weft.now()
         local resumed = pcall(function() assert(coroutine.resume(thread)) end)
         pcall(task.join, task)
         -- either nothing happened, or the task failed; it did not go on as if woken
         assert.is_true(not resumed or task.status == "failed" or weft.now() - start >= 0.004)
      end)
      local _, status = pair.child [[
         local thread
         pcall(weft.run, function()
            weft.spawn(function()
               thread = coroutine.running()
               weft.channel():receive()
            end)
         end)
         coroutine.resume(thread)
         pcall(coroutine.close, thread)
         weft.run(function() weft.sleep(0) end)
      ]]
      assert.equal(0, status)
   end)

   it("may close a task's thread; the task has failed then", function()
      reports(function()
         run(function()
            local thread
            local task = weft.spawn(function()
               thread = coroutine.running()
               weft.sleep(0.002)
            end)
            yield()
            coroutine.close(thread)
            assert.is_false((pcall(task.join, task)))
         end)
      end)
   end)
end)

-- Sends this process a signal; `kill` is not to be preloaded with a sanitizer.
local function kill(name)
   local stat <close> = assert(io.open "/proc/self/stat")
   os.execute(("exec %s kill -%s %d"):format(os.getenv "WEFT_CLEAN_ENV" or "", name,
      stat:read "n"))
end

describe("weft.signal", function()
   it("waits for a signal, again and again", function()
      run(function()
         for _ = 1, 2 do
            local task = weft.spawn(function() return weft.signal "USR1" end)
            yield()
            kill "USR1"
            assert.is_true(task:join(5))
         end
      end)
   end)

   it("waits for several at a time, each in its task", function()
      run(function()
         local order = {}
         for _, name in ipairs { "USR1", "sigusr2", "WINCH" } do
            weft.spawn(function()
               assert(weft.signal(name))
               order[#order + 1] = name
            end)
         end
         yield()
         for _, name in ipairs { "WINCH", "USR2", "USR1" } do
            kill(name)
            local n = #order
            while #order == n do weft.sleep(0.001) end
         end
         assert.same({ "WINCH", "sigusr2", "USR1" }, order)
      end)
   end)

   it("lets one task wait for one signal", function()
      run(function()
         local task = weft.spawn(weft.signal, "USR1")
         yield()
         assert.equal("busy", select(3, weft.signal "USR1"))
         task:cancel()
      end)
   end)

   it("says which it knows", function()
      local message = server.blame(function() weft.signal "KILL" end)
      assert.truthy(message:find "weft.signal: KILL is not one of .*TERM", message)
   end)

   it("keeps no loop alive once nobody waits", function()
      local output = pair.child [[
         weft.run(function() weft.deadline(0.001, function() weft.signal "USR1" end) end)
         print(pcall(weft.run, function() weft.channel():receive() end))
      ]]
      assert.truthy(output:find "^false.*nothing is left", output)
   end)

   it("stays caught between two waits, so that none is lost", function()
      local output, status = pair.child [[
         weft.run(function() weft.deadline(0.001, function() weft.signal "TERM" end) end)
         local stat <close> = io.open "/proc/self/stat"
         os.execute("kill -TERM " .. stat:read "n")
         weft.run(function() print(weft.signal "TERM") end)
      ]]
      assert.equal("true", output:match "%S+")
      assert.equal(0, status)
   end)
end)
