local weft = require "weft"
local server = require "spec.helper_server"

local run = server.run

-- Waits for ever, unless it is cancelled; says so in `log`.
local function wait_in(log, name)
   local _ <close> = setmetatable({}, { __close = function() log[#log + 1] = name end })
   weft.channel():receive()
end

describe("group", function()
   it("leaves when all tasks have ended, with the body's results", function()
      run(function()
         local done = 0
         local a, b, c = weft.group(function(g)
            for _ = 1, 5 do
               g:spawn(function(n)
                  weft.sleep(0.001)
                  done = done + n
               end, 2)
            end
            return 1, nil, 3
         end)
         assert.equal(10, done)
         assert.same({ 1, 3 }, { a, c })
         assert.is_nil(b)
      end)
   end)

   it("gives the tasks it starts, which can be joined", function()
      run(function()
         local sum = weft.group(function(g)
            local one = g:spawn(function() return 1 end)
            local two = g:spawn(function() return 2 end)
            return one:join() + two:join()
         end)
         assert.equal(3, sum)
      end)
   end)

   it("cancels the others when one fails, and raises that error once", function()
      local reported = server.errors(function()
         run(function()
            local log = {}
            local err = { "an error that is a table" }
            local ok, caught = pcall(weft.group, function(g)
               g:spawn(wait_in, log, "a")
               g:spawn(wait_in, log, "b")
               g:spawn(function()
                  weft.sleep(0)
                  error(err)
               end)
               wait_in(log, "body")
            end)
            assert.is_false(ok)
            assert.equal(err, caught)
            table.sort(log)
            assert.same({ "a", "b", "body" }, log)
         end)
      end)
      assert.same({}, reported)
   end)

   it("cancels the children when the body fails", function()
      run(function()
         local log = {}
         local ok, caught = pcall(weft.group, function(g)
            g:spawn(wait_in, log, "child")
            weft.sleep(0)
            error("the body failed", 0)
         end)
         assert.is_false(ok)
         assert.equal("the body failed", caught)
         assert.same({ "child" }, log)
      end)
   end)

   it("cancels its children when its own task is cancelled, and waits for them", function()
      run(function()
         local log = {}
         local task = weft.spawn(function()
            weft.group(function(g)
               g:spawn(wait_in, log, "child")
               wait_in(log, "body")
            end)
            log[#log + 1] = "not reached"
         end)
         for _ = 1, 5 do weft.sleep(0) end
         task:cancel()
         local ok, _, code = task:join(1)
         assert.is_nil(ok)
         assert.equal("cancelled", code)
         table.sort(log)
         assert.same({ "body", "child" }, log)
      end)
   end)

   it("ends at a deadline, when its children have ended", function()
      run(function()
         local log = {}
         weft.deadline(0.02, function()
            local ok, message, code = weft.group(function(g)
               g:spawn(wait_in, log, "child")
            end)
            assert.is_nil(ok)
            assert.is_string(message)
            assert.equal("timeout", code)
         end)
         assert.same({ "child" }, log)
      end)
   end)

   it("can be cancelled as a whole", function()
      run(function()
         local log = {}
         local ok, _, code = weft.group(function(g)
            g:spawn(wait_in, log, "a")
            weft.sleep(0)
            g:cancel()
            wait_in(log, "body")
         end)
         assert.is_nil(ok)
         assert.equal("cancelled", code)
         table.sort(log)
         assert.same({ "a", "body" }, log)
      end)
   end)

   it("goes on when one child alone is cancelled", function()
      run(function()
         local result = weft.group(function(g)
            local child = g:spawn(wait_in, {}, "child")
            weft.sleep(0)
            child:cancel()
            return "fine"
         end)
         assert.equal("fine", result)
      end)
   end)

   it("nests", function()
      run(function()
         local log = {}
         local ok, err = pcall(weft.group, function(outer)
            outer:spawn(function()
               weft.group(function(inner)
                  inner:spawn(wait_in, log, "inner")
                  wait_in(log, "inner body")
               end)
            end)
            for _ = 1, 5 do weft.sleep(0) end
            error("outer", 0)
         end)
         assert.is_false(ok)
         assert.equal("outer", err)
         table.sort(log)
         assert.same({ "inner", "inner body" }, log)
      end)
   end)

   it("cannot be used when it has ended", function()
      run(function()
         local kept
         weft.group(function(g) kept = g end)
         assert.equal("group:spawn: the group has already ended",
            server.blame(function() kept:spawn(print) end))
      end)
   end)

   it("works on the main thread, outside weft.run", function()
      local n = weft.group(function(g)
         return g:spawn(function() return 7 end):join()
      end)
      assert.equal(7, n)
   end)

   it("refuses wrong arguments", function()
      assert.equal("weft.group: the body must be a function, got 5",
         server.blame(function() weft.group(5) end))
      run(function()
         weft.group(function(g)
            assert.equal('group:spawn: the function must be a function, got the string "x"',
               server.blame(function() g:spawn "x" end))
         end)
      end)
   end)
end)
