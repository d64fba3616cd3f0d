local weft = require "weft"
local server = require "spec.helper_server"
local pair = require "spec.scripts.pair"

local run = server.run

-- With a full collection every few hundred instructions numbers cost their square.
local HOSTILE = os.getenv "WEFT_HOSTILE_GC" ~= nil
local MANY = HOSTILE and 200 or 10000

-- Lets every other task that is ready go on until it waits.
local function yield()
   for _ = 1, 3 do weft.sleep(0) end
end

-- Runs code that may leave tasks behind, or worse, where it harms no other test.
local function expect_output(expected, code)
   local output, status = pair.child(code)
   assert.equal(expected, output)
   assert.equal(0, status)
end

local function expect_error(pattern, f, ...)
   local ok, err = pcall(f, ...)
   assert.is_false(ok)
   assert.truthy(tostring(err):find(pattern), tostring(err))
   return err
end

-- Runs f while the reports of failed tasks are collected, each as { task, text }.
local function reports(f)
   local seen, before = {}, weft.on_error
   weft.on_error = function(task, text) seen[#seen + 1] = { task, text } end
   local ok, err = pcall(f, seen)
   weft.on_error = before
   if not ok then error(err, 0) end
   return seen
end

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
      assert.truthy(seen[1][2]:find "task_spec.lua:%d+: stack overflow")
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
      assert.truthy(output:find "still here\n", output)
   end)
end)

-- Everything that waits: name -> a function that prepares it and returns the waiting call;
-- another call that must work afterwards (a slot left occupied would be "busy"); and what lasts
-- until it waits for good, by default a few turns of the loop.
local function streams_of(keep)
   local near, far = pair.streams()
   keep(near)
   keep(far)
   return near, far
end

local function websocket(keep)
   local app, ended = server.app { close_timeout = 0.5 }, keep(weft.channel())
   app:websocket("/", function(ws)
      ended:receive()
      ws:close()
   end)
   local _, port = assert(app:listen "127.0.0.1:0")
   return keep(assert(weft.connect("ws://127.0.0.1:" .. port .. "/")))
end

local waits = {
   ["weft.sleep"] = function()
      return function() weft.sleep(3600) end
   end,
   ["task:join"] = function()
      local task = weft.spawn(function() weft.sleep(0.05) return "joined" end)
      return function() task:join() end, function() assert.equal("joined", task:join()) end
   end,
   ["channel:receive"] = function()
      local ch = weft.channel()
      return function() ch:receive() end, function()
         weft.spawn(function() ch:send "x" end)
         assert.equal("x", ch:receive(1))
      end
   end,
   ["channel:send"] = function()
      local ch = weft.channel()
      return function() ch:send "lost" end, function()
         weft.spawn(function() ch:send "x" end)
         assert.equal("x", ch:receive(1))
      end
   end,
   ["weft.group"] = function()
      return function()
         weft.group(function(g) g:spawn(weft.sleep, 3600) end)
      end
   end,
   ["weft.signal"] = function()
      return function() weft.signal "USR2" end, function()
         weft.deadline(0.001, function()
            assert.equal("timeout", select(3, weft.signal "USR2"))
         end)
      end
   end,
   ["listener:accept"] = function(keep)
      local listener, port = pair.listener()
      keep(listener)
      return function() listener:accept() end, function()
         keep(assert(weft.dial("127.0.0.1:" .. port)))
         keep(assert(listener:accept()))
      end
   end,
   ["stream:receive"] = function(keep)
      local near, far = streams_of(keep)
      return function() near:receive(5) end, function()
         far:send "hello"
         assert.equal("hello", near:receive(5))
      end
   end,
   ["stream:send"] = function(keep)
      local near, far = streams_of(keep)
      local big = ("x"):rep(20 << 20)
      return function() near:send(big) end, function()
         weft.spawn(function() while far:receive(1 << 16) do end end)
         assert.equal(1, near:send "y")
      end
   end,
   ["tcp:connect"] = function(keep)
      local port, hole = pair.black_hole()
      if not port then return nil end
      keep(hole)
      local socket = keep(weft.tcp())
      local listener, open = pair.listener()
      keep(listener)
      return function() socket:connect("127.0.0.1", port) end, function()
         assert(socket:connect("127.0.0.1", open))
         keep(assert(listener:accept()))
      end
   end,
   ["ws:receive"] = function(keep)
      local ws = websocket(keep)
      return function() ws:receive() end, function()
         assert.equal("timeout", select(3, ws:receive(0.001)))
      end
   end,
   ["ws:messages"] = function(keep)
      local ws = websocket(keep)
      return function() for _ in ws:messages() do end end, function()
         assert.equal("timeout", select(3, ws:receive(0.001)))
      end
   end,
   ["ws:send"] = function(keep)
      local ws = websocket(keep)
      return function()
         while true do ws:send(("x"):rep(1 << 20)) end
      end, function() assert.is_boolean((ws:try_send "x")) end, function()
         local n
         repeat
            n = ws:buffered()
            weft.sleep(0.01)
         until n > 0 and n == ws:buffered()
      end
   end,
   ["ws:ping"] = function(keep)
      local ws = websocket(keep)
      return function() ws:ping() end, function() assert.is_number(ws:ping(5)) end, weft.now
   end,
   ["ws:close"] = function(keep)
      local ws = websocket(keep)
      return function() ws:close() end, function() ws:close() end, weft.now
   end,
}

describe("task:cancel", function()
   for name, prepare in pairs(waits) do
      it("ends " .. name .. " once, running <close> variables; then it works as before", function()
         run(function()
            local wait, again, ready = prepare(server.keep)
            if not wait then return end
            local closed, reached = false, false
            local victim = weft.spawn(function()
               local _ <close> = pair.at_end(function() closed = true end)
               wait()
               reached = true
            end)
            weft.spawn(function()
               (ready or yield)()
               assert.is_true(victim:cancel())
            end)
            assert.same({ n = 3, nil, "cancelled", "cancelled" }, table.pack(victim:join(5)))
            assert.equal("cancelled", victim.status)
            assert.is_true(closed)
            assert.is_false(reached)
            if again then again() end
         end)
      end)
   end

   it("ends a look-up of a name", function()
      run(function()
         local victim = weft.spawn(function()
            weft.dial "name.invalid:80"
            error "it was not cancelled"
         end)
         -- in the turn in which it begins, for the look-up may be over in the next
         weft.spawn(function() victim:cancel() end)
         assert.equal("cancelled", select(3, victim:join(5)))
      end)
   end)

   it("of a task that has not begun keeps it from beginning", function()
      run(function()
         local begun = false
         local task = weft.spawn(function() begun = true end)
         assert.is_true(task:cancel())
         assert.same({ n = 3, nil, "cancelled", "cancelled" }, table.pack(task:join()))
         assert.is_false(begun)
         assert.equal("cancelled", task.status)
      end)
   end)

   it("of a child that has not begun is no failure of its group", function()
      run(function()
         assert.equal("fine", weft.group(function(g)
            g:spawn(function() end):cancel()
            return "fine"
         end))
      end)
   end)

   it("of a task that has ended changes nothing", function()
      run(function()
         local task = weft.spawn(function() return "x" end)
         task:join()
         assert.is_false(task:cancel())
         assert.equal("done", task.status)
         assert.equal("x", task:join())
      end)
   end)

   it("of a task that is woken already still cancels it", function()
      run(function()
         local ch, got = weft.channel(), nil
         local task = weft.spawn(function() got = ch:receive() end)
         yield()
         ch:send "x"
         task:cancel()
         assert.equal("cancelled", select(3, task:join()))
         assert.is_nil(got)
      end)
   end)

   it("of oneself takes effect where one waits next", function()
      run(function()
         local task, reached
         task = weft.spawn(function()
            task:cancel()
            reached = true
            weft.sleep(0)
            reached = "too far"
         end)
         assert.equal("cancelled", select(3, task:join()))
         assert.is_true(reached)
         local other
         other = weft.spawn(function()
            other:cancel()
            return "never waited"
         end)
         assert.equal("never waited", other:join())
      end)
   end)

   it("can be caught, is raised once, and can be done again", function()
      run(function()
         local first, slept, second
         local task = weft.spawn(function()
            local _
            _, first = pcall(weft.sleep, 3600)
            slept = weft.sleep(0.001)
            _, second = pcall(weft.sleep, 3600)
            return "recovered"
         end)
         yield()
         task:cancel()
         task:cancel() -- it has not noticed the first yet: one and the same
         weft.sleep(0.01)
         assert.is_true(slept)
         assert.equal("cancelled", tostring(first))
         assert.is_nil(second)
         task:cancel()
         assert.equal("recovered", task:join())
         assert.equal(first, second)
         assert.equal("done", task.status)
      end)
   end)

   it("is not reported, and does not reach who joins as an error", function()
      assert.same({}, reports(function()
         run(function()
            local task = weft.spawn(weft.sleep, 3600)
            local joiner = weft.spawn(function() return select(3, task:join()) end)
            yield()
            task:cancel()
            assert.equal("cancelled", joiner:join())
         end)
      end))
   end)

   it("runs <close> variables from the inside out, and they may work", function()
      run(function()
         local order, near, far = {}, pair.streams()
         local task = weft.spawn(function()
            local _ <close> = pair.at_end(function() order[#order + 1] = "outer" end)
            local stream <close> = near
            local _ <close> = pair.at_end(function()
               order[#order + 1] = "inner"
               weft.spawn(function() order[#order + 1] = "spawned" end)
               assert(stream:send "bye")
            end)
            stream:receive(1)
         end)
         yield()
         task:cancel()
         assert.equal("bye", far:receive "*a")
         far:close()
         assert.same({ "inner", "outer", "spawned" }, order)
      end)
   end)

   it("of many at once leaves nothing", function()
      run(function()
         local tasks, closed = {}, 0
         for i = 1, MANY // 10 do
            tasks[i] = weft.spawn(function()
               local _ <close> = pair.at_end(function() closed = closed + 1 end)
               weft.sleep(3600)
            end)
         end
         yield()
         for _, task in ipairs(tasks) do task:cancel() end
         for _, task in ipairs(tasks) do task:join() end
         assert.equal(#tasks, closed)
      end)
   end)
end)

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
         expect_error("task_spec.lua:%d+: weft.deadline: the time must be a number",
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
         assert.truthy(err:find "task_spec.lua:%d+:")
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
      assert.truthy(seen[1][2]:find "coroutine.yield; wait with.*task_spec.lua:%d+:", seen[1][2])
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
