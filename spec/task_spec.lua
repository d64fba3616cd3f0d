-- What tasks do and how they end: weft.run, weft.spawn, task:join, weft.on_error.

local weft = require "weft"
local server = require "spec.helper_server"
local pair = require "spec.scripts.pair"

local run, yield = server.run, pair.yield
local expect_error, expect_output, reports = pair.expect_error, pair.expect_output, pair.reports

-- With a full collection every thousand instructions numbers cost their square.
local HOSTILE = os.getenv "WEFT_HOSTILE_GC" ~= nil
local MANY = HOSTILE and 200 or 10000

describe("weft.run", function()
   it("returns what main returns, nils included", function()
      assert.same({ n = 4, nil, 1, nil }, table.pack(weft.run(function(...)
         assert.same({ n = 3, nil, "b" }, table.pack(...))
         return nil, 1, nil, nil
      end, nil, "b", nil)))
      assert.equal(0, select("#", weft.run(function() end)))
   end)

   it("raises main's error again, whatever value it is", function()
      local value = {}
      for _, err in ipairs { value, 42, true } do
         local ok, got = pcall(weft.run, function() error(err) end)
         assert.is_false(ok)
         assert.equal(err, got)
      end
      local ok, got = pcall(weft.run, function() weft.sleep(0) error() end)
      assert.is_false(ok)
      assert.is_nil(got)
   end)

   it("does not report main's error as well: its caller has it", function()
      assert.same({}, reports(function()
         expect_error("task_spec.lua:%d+: oh", weft.run, function() error "oh" end)
      end))
   end)

   it("without main runs what was spawned, and returns when no task is left", function()
      local order = {}
      weft.spawn(function()
         weft.sleep(0.02)
         order[#order + 1] = "slow"
      end)
      weft.spawn(function() order[#order + 1] = "quick" end)
      assert.same({}, order)
      assert.equal(0, select("#", weft.run()))
      assert.same({ "quick", "slow" }, order)
      weft.run() -- with nothing to do
   end)

   it("goes on after main until the last task has ended, with main's results", function()
      local ended = 0
      local result = weft.run(function()
         for _ = 1, 3 do
            weft.spawn(function()
               weft.sleep(0.01)
               weft.spawn(function()
                  weft.sleep(0.01)
                  ended = ended + 1
               end)
            end)
         end
         return "main's"
      end)
      assert.equal("main's", result)
      assert.equal(3, ended)
   end)

   it("cancels the others when main fails, and their <close> variables run", function()
      local closed, reached = 0, false
      expect_error("main failed", weft.run, function()
         for _ = 1, 3 do
            weft.spawn(function()
               local _ <close> = pair.at_end(function() closed = closed + 1 end)
               weft.sleep(3600)
               reached = true
            end)
         end
         weft.sleep(0)
         error "main failed"
      end)
      assert.equal(3, closed)
      assert.is_false(reached)
   end)

   it("cannot run inside itself", function()
      run(function()
         expect_error("weft.run is running already; use weft.spawn", weft.run, function() end)
         expect_error("running already", weft.run)
      end)
   end)

   it("may be called from a coroutine", function()
      assert.equal("done", coroutine.wrap(function()
         return weft.run(function()
            weft.sleep(0)
            return "done"
         end)
      end)())
   end)

   it("wants a function", function()
      expect_error("bad argument #1", weft.run, 42)
   end)

   it("says so when its tasks would wait for ever", function()
      expect_output("false\tweft.run: 1 task(s) wait and nothing is left that could wake them\n", [[
         print(pcall(weft.run, function() weft.channel():receive() end))
      ]])
      expect_output("false\tweft.run: 2 task(s) wait and nothing is left that could wake them\n", [[
         print(pcall(weft.run, function()
            local first, second
            first = weft.spawn(function() second:join() end)
            second = weft.spawn(function() first:join() end)
         end))
      ]])
   end)

   it("can be called again after that, and the tasks that waited were unwound", function()
      expect_output("closed\nfine\n", [[
         pcall(weft.run, function()
            weft.spawn(function()
               local _ <close> = setmetatable({}, { __close = function() print "closed" end })
               weft.channel():receive()
            end)
         end)
         print(weft.run(function()
            weft.sleep(0.001)
            return "fine"
         end))
      ]])
   end)
end)

describe("weft.spawn", function()
   it("hands its arguments over, nils included", function()
      run(function()
         local task = weft.spawn(function(...) return select("#", ...), ... end, nil, 2, nil)
         assert.same({ n = 4, 3, nil, 2 }, table.pack(task:join()))
      end)
   end)

   it("lets the task begin in the next turn, in order", function()
      run(function()
         local order = {}
         for i = 1, 3 do weft.spawn(function() order[i] = #order + 1 end) end
         assert.same({}, order)
         weft.sleep(0)
         assert.same({ 1, 2, 3 }, order)
      end)
   end)

   it("wants a function", function()
      expect_error("bad argument #1", weft.spawn)
      expect_error("function expected, got table", weft.spawn, {})
   end)

   it("tells the task's status", function()
      run(function()
         local task
         local inside
         task = weft.spawn(function()
            inside = task.status
            weft.sleep(0.001)
         end)
         assert.equal("suspended", task.status)
         weft.sleep(0)
         assert.equal("running", inside)
         assert.equal("suspended", task.status)
         task:join()
         assert.equal("done", task.status)
         assert.is_true(tostring(task):find "^weft.task .*done" ~= nil)
         local failing = weft.spawn(error, "x")
         pcall(failing.join, failing)
         assert.equal("failed", failing.status)
      end)
   end)

   it("carries " .. MANY .. " sleeping tasks", function()
      run(function()
         local woken = 0
         for _ = 1, MANY do
            weft.spawn(function()
               weft.sleep(0.05)
               woken = woken + 1
            end)
         end
         while woken < MANY do weft.sleep(0.01) end
      end)
   end)

   it("survives tasks that are forgotten", function()
      run(function()
         local ended = 0
         for _ = 1, 20 do
            weft.spawn(function()
               weft.sleep(0.001)
               collectgarbage()
               ended = ended + 1
            end)
         end
         collectgarbage()
         while ended < 20 do weft.sleep(0.001) end
      end)
   end)
end)

describe("task:join", function()
   it("returns the results, again and again", function()
      run(function()
         local task = weft.spawn(function()
            weft.sleep(0)
            return 1, nil, 3, nil
         end)
         for _ = 1, 3 do assert.same({ n = 4, 1, nil, 3 }, table.pack(task:join())) end
      end)
   end)

   it("raises the task's error again: the same value, every time", function()
      run(function()
         local value = {}
         local task = weft.spawn(function()
            weft.sleep(0)
            error(value)
         end)
         for _ = 1, 2 do
            local ok, err = pcall(task.join, task)
            assert.is_false(ok)
            assert.equal(value, err)
         end
      end)
   end)

   it("gives up after its timeout, and the task goes on", function()
      run(function()
         local task = weft.spawn(function()
            weft.sleep(0.05)
            return "late"
         end)
         local result, message, code = task:join(0.005)
         assert.is_nil(result)
         assert.is_string(message)
         assert.equal("timeout", code)
         assert.equal("late", task:join(5))
         assert.equal("late", task:join(0))
      end)
   end)

   it("lets one task wait at a time", function()
      run(function()
         local task = weft.spawn(function()
            weft.sleep(0.01)
            return "x"
         end)
         local joiner = weft.spawn(function() return task:join() end)
         weft.sleep(0)
         local result, message, code = task:join()
         assert.is_nil(result)
         assert.truthy(message:find "another task")
         assert.equal("busy", code)
         assert.equal("x", joiner:join())
         assert.equal("x", task:join())
      end)
   end)

   it("of oneself is an error", function()
      run(function()
         local task
         task = weft.spawn(function() task:join() end)
         expect_error("task_spec.lua:%d+: task:join: a task cannot wait for itself",
            task.join, task)
      end)
   end)

   it("is of tasks alone, with a timeout that is a number", function()
      run(function()
         local task = weft.spawn(function() end)
         expect_error("weft.task expected, got table", task.join, {})
         expect_error("number expected, got string", task.join, task, "soon")
         expect_error("0 or more", task.join, task, -1)
         expect_error("0 or more", task.join, task, 0 / 0)
      end)
   end)
end)

describe("weft.on_error", function()
   it("gets the failing line and the way there", function()
      local line
      local seen = reports(function()
         run(function()
            local function deep()
               line = debug.getinfo(1, "l").currentline + 1
               error "broken"
            end
            weft.spawn(function()
               weft.sleep(0)
               deep()
            end)
            yield()
         end)
      end)
      assert.equal(1, #seen)
      local task, text = seen[1][1], seen[1][2]
      assert.equal("failed", task.status)
      assert.truthy(text:find("spec/task_spec.lua:" .. line .. ": broken", 1, true), text)
      assert.truthy(text:find "stack traceback:.*in upvalue 'deep'", text)
   end)

   it("is not called when somebody joins, and is when nobody does yet", function()
      local seen = reports(function()
         run(function()
            local joined = weft.spawn(function()
               weft.sleep(0)
               error "joined"
            end)
            expect_error("joined", joined.join, joined)
            local late = weft.spawn(error, "late")
            yield()
            expect_error("late", late.join, late)
            local left = weft.spawn(function()
               weft.sleep(0.01)
               error "left"
            end)
            left:join(0.001)
            weft.sleep(0.02)
         end)
      end)
      assert.equal(2, #seen)
      assert.truthy(seen[1][2]:find "late")
      assert.truthy(seen[2][2]:find "left")
   end)

   it("is called once for each failure, whatever the error is", function()
      local texts = {}
      local odd = setmetatable({}, { __tostring = function() return "an odd one" end })
      for i, report in ipairs(reports(function()
         run(function()
            for _, value in ipairs { "s", 7, odd, {} } do
               weft.spawn(function() error(value, 0) end)
            end
            weft.spawn(function() error() end)
            yield()
         end)
      end)) do
         texts[i] = report[2]:match "^(.-)\n"
      end
      assert.equal(5, #texts)
      assert.equal("s", texts[1])
      assert.equal("7", texts[2])
      assert.equal("an odd one", texts[3])
      assert.truthy(texts[4]:find "table")
      assert.truthy(texts[5]:find "nil")
   end)

   it("is called for an error object that cannot be shown", function()
      for _, show in ipairs { 'error "x"', "return {}", "weft.sleep(0)" } do
         -- a thread other than the main one drives the loop, to see whose handler gets it
         expect_output("true\ttrue\nran\n", ([[
            local hidden = setmetatable({}, { __tostring = function() %s end })
            weft.on_error = function(_, text)
               print(type(text) == "string", text:find "stack traceback:.*command line" ~= nil)
            end
            coroutine.wrap(weft.run)(function()
               weft.spawn(function() error(hidden) end)
               weft.sleep(0.001)
            end)
            weft.run(function() print "ran" end)
         ]]):format(show))
      end
   end)

   it("is called after a stack overflow", function()
      if HOSTILE then return end -- a collection every few calls of 200,000
      local seen = reports(function()
         run(function()
            local function lua() return 1 + lua() end
            local function c() return (("x"):gsub(".", c)) end
            weft.spawn(lua)
            weft.spawn(c)
            yield()
         end)
      end)
      local at = os.getenv "WEFT_COV" and "" or "task_spec.lua:%d+: " -- or in the hook that counts
      assert.truthy(seen[1][2]:find(at .. "stack overflow"))
      assert.truthy(seen[2][2]:find "stack overflow")
   end)

   it("hears of an error in a <close> variable of a cancelled task", function()
      local seen = reports(function()
         run(function()
            local task = weft.spawn(function()
               local _ <close> = pair.at_end(function() error "while closing" end)
               weft.sleep(3600)
            end)
            yield()
            task:cancel()
            yield()
            expect_error("while closing", task.join, task)
            assert.equal("failed", task.status)
         end)
      end)
      assert.equal(1, #seen)
      assert.truthy(seen[1][2]:find "task_spec.lua:%d+: while closing")
   end)

   it("hears of the last error when a <close> variable fails too", function()
      local seen = reports(function()
         run(function()
            local task = weft.spawn(function()
               local _ <close> = pair.at_end(function() error "second" end)
               error "first"
            end)
            yield()
            expect_error("second", task.join, task)
         end)
      end)
      assert.equal(1, #seen)
      assert.truthy(seen[1][2]:find "second")
   end)

   it("may spawn", function()
      local said
      reports(function()
         weft.on_error = function(_, text)
            weft.spawn(function()
               weft.sleep(0)
               said = text
            end)
         end
         run(function()
            weft.spawn(error, "x")
            yield()
         end)
      end)
      assert.truthy(said:find "x")
   end)

   it("is a function or nil", function()
      expect_error("on_error must be a function", function() weft.on_error = 42 end)
      expect_error("cannot be set", function() weft.sleeping = 42 end)
      local f = function() end
      local before = weft.on_error
      weft.on_error = f
      assert.equal(f, weft.on_error)
      weft.on_error = before
      assert.equal(before, weft.on_error)
   end)

   it("by default writes to standard error", function()
      -- stdout is a pipe and thus buffered: what stands before "out" went to stderr
      local output, status = pair.child [[
         io.write "out\n"
         weft.spawn(function() error "unheard" end)
         weft.run()
      ]]
      assert.equal(0, status)
      assert.truthy(output:find "^weft: .*:2: unheard\nstack traceback:\n.*out\n$", output)
   end)

   it("that fails itself does no harm", function()
      local output, status = pair.child [[
         weft.on_error = function() error "handler broken" end
         weft.spawn(error, "first")
         weft.run(function()
            weft.sleep(0.01)
            weft.on_error = function() error(setmetatable({}, { __tostring = error })) end
            weft.spawn(error, "second")
            weft.sleep(0.01)
            print "still here"
         end)
      ]]
      assert.equal(0, status)
      assert.truthy(output:find "weft: on_error failed: .*handler broken", output)
      assert.truthy(output:find "weft: [^\n]*first\nstack traceback:", output) -- nobody has seen it
      assert.truthy(output:find "still here\n", output)
   end)
end)
