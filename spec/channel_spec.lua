local weft = require "weft"
local server = require "spec.helper_server"

local run = server.run

-- Lets every other task that is ready go on until it waits.
local function yield()
   for _ = 1, 3 do weft.sleep(0) end
end

describe("channel", function()
   it("keeps the order of what it buffers", function()
      run(function()
         local ch = weft.channel(3)
         for i = 1, 3 do assert.is_true(ch:send(i)) end
         assert.equal(3, #ch)
         for i = 1, 3 do assert.equal(i, ch:receive()) end
         assert.equal(0, #ch)
      end)
   end)

   it("hands false over, and any other value but nil", function()
      run(function()
         local ch = weft.channel(2)
         local t = {}
         ch:send(false)
         ch:send(t)
         assert.is_false((ch:receive()))
         assert.equal(t, (ch:receive()))
         assert.equal("channel:send: nil cannot be sent",
            server.blame(function() ch:send(nil) end))
      end)
   end)

   it("without capacity lets a sender wait until its value was taken", function()
      run(function()
         local ch, sent = weft.channel(), false
         local task = weft.spawn(function()
            assert(ch:send "a")
            sent = true
         end)
         yield()
         assert.is_false(sent)
         assert.equal("a", ch:receive())
         task:join()
         assert.is_true(sent)
      end)
   end)

   it("lets a sender wait while it is full, and serves senders in order", function()
      run(function()
         local ch, order = weft.channel(1), {}
         local tasks = {}
         for i = 1, 4 do
            tasks[i] = weft.spawn(function()
               assert(ch:send(i))
               order[#order + 1] = i
            end)
         end
         yield()
         assert.same({ 1 }, order)
         for i = 1, 4 do assert.equal(i, ch:receive(1)) end
         for i = 1, 4 do tasks[i]:join() end
         assert.same({ 1, 2, 3, 4 }, order)
      end)
   end)

   it("serves several receivers in the order they came", function()
      run(function()
         local ch, got = weft.channel(), {}
         local tasks = {}
         for i = 1, 3 do
            tasks[i] = weft.spawn(function() got[i] = ch:receive() end)
         end
         yield()
         for i = 1, 3 do ch:send(i * 10) end
         for i = 1, 3 do tasks[i]:join() end
         assert.same({ 10, 20, 30 }, got)
      end)
   end)

   it("times out, and then loses nothing", function()
      run(function()
         local ch = weft.channel()
         local v, message, code = ch:receive(0.01)
         assert.is_nil(v)
         assert.is_string(message)
         assert.equal("timeout", code)
         weft.spawn(function() ch:send "late" end)
         assert.equal("late", ch:receive(1))
         assert.is_nil((ch:receive(0)))
      end)
   end)

   it("obeys a deadline while sending; the value was not sent", function()
      run(function()
         local ch = weft.channel(1)
         ch:send "kept"
         weft.deadline(0.01, function()
            local ok, _, code = ch:send "dropped"
            assert.is_nil(ok)
            assert.equal("timeout", code)
         end)
         assert.equal("kept", ch:receive())
         assert.is_nil((ch:receive(0)))
      end)
   end)

   it("takes a value back from a receiver that is cancelled when it was handed it", function()
      run(function()
         local ch = weft.channel()
         local got
         local victim = weft.spawn(function() got = ch:receive() end)
         yield()
         assert(ch:send "precious") -- the victim is woken now, but has not run
         victim:cancel()
         assert.equal("precious", ch:receive(1))
         assert.is_nil(got)
         assert.equal("cancelled", victim.status)
      end)
   end)

   it("gives such a value to the next receiver that waits, before later ones", function()
      run(function()
         local ch, got = weft.channel(4), {}
         local victim = weft.spawn(function() ch:receive() end)
         local next_one = weft.spawn(function()
            got[1] = ch:receive()
            got[2] = ch:receive()
         end)
         yield()
         ch:send "first"
         victim:cancel()
         next_one:join(0)
         ch:send "second"
         next_one:join(1)
         assert.same({ "first", "second" }, got)
      end)
   end)

   it("takes what several such receivers had back in its order", function()
      run(function()
         local ch, victims = weft.channel(4), {}
         for i = 1, 4 do victims[i] = weft.spawn(function() ch:receive() end) end
         yield()
         for i = 1, 3 do ch:send(i) end
         for i = 1, 4 do victims[i]:cancel() end -- the fourth waits, and is to get the first's
         yield()
         ch:send(4)
         for i = 1, 4 do assert.equal(i, ch:receive(1)) end
         assert.is_nil((ch:receive(0)))
      end)
   end)

   it("forgets a waiting sender that is cancelled", function()
      run(function()
         local ch = weft.channel()
         local victim = weft.spawn(function() ch:send "never" end)
         yield()
         victim:cancel()
         yield()
         assert.is_nil((ch:receive(0)))
      end)
   end)

   it("closes: what is kept is received, then closed", function()
      run(function()
         local ch = weft.channel(2)
         ch:send(1)
         ch:send(2)
         assert.is_true(ch:close())
         assert.is_true(ch:close())
         local ok, _, code = ch:send(3)
         assert.is_nil(ok)
         assert.equal("closed", code)
         assert.equal(1, ch:receive())
         assert.equal(2, ch:receive())
         for _ = 1, 2 do
            local v, message, why = ch:receive()
            assert.is_nil(v)
            assert.equal("the channel is closed", message)
            assert.equal("closed", why)
         end
      end)
   end)

   it("closes on whoever waits", function()
      run(function()
         local full, empty = weft.channel(), weft.channel()
         local codes = {}
         local tasks = {
            weft.spawn(function() codes[1] = select(3, full:send "x") end),
            weft.spawn(function() codes[2] = select(3, empty:receive()) end),
            weft.spawn(function() codes[3] = select(3, empty:receive()) end),
         }
         yield()
         full:close()
         empty:close()
         for _, task in ipairs(tasks) do task:join() end
         assert.same({ "closed", "closed", "closed" }, codes)
         assert.is_nil((full:receive()))
      end)
   end)

   it("is a loop's iterator, and a <close> variable", function()
      run(function()
         local got = {}
         local task
         do
            local ch <close> = weft.channel()
            task = weft.spawn(function()
               for v in ch:each() do got[#got + 1] = v end
            end)
            for i = 1, 3 do ch:send(i) end
         end
         task:join(1)
         assert.same({ 1, 2, 3 }, got)
      end)
   end)

   it("works between the main thread and a task, outside weft.run", function()
      local ch = weft.channel()
      weft.spawn(function() ch:send(ch:receive() + 1) end)
      assert.is_true(ch:send(41))
      assert.equal(42, ch:receive(5))
   end)

   it("takes no value for a time limit in each()", function()
      weft.run(function()
         local ch = weft.channel()
         local values = { {}, -1, 0, "text", 0.01 }
         local sender = weft.spawn(function()
            for _, v in ipairs(values) do
               ch:send(v)
               weft.sleep(0.02) -- the receiver waits before each of them
            end
            ch:close()
         end)
         local got = {}
         for v in ch:each() do got[#got + 1] = v end
         assert.same(values, got)
         sender:join()
      end)
   end)

   it("moves many values between many tasks, each once", function()
      run(function()
         local ch, seen, sum = weft.channel(7), {}, 0
         weft.group(function(g)
            for i = 0, 9 do
               g:spawn(function()
                  for k = 1, 200 do
                     assert(ch:send(i * 200 + k))
                     if k % 50 == 0 then weft.sleep(0) end
                  end
               end)
            end
            local left = 2000
            for _ = 1, 5 do
               g:spawn(function()
                  for v in ch:each() do
                     assert(not seen[v])
                     seen[v], sum, left = true, sum + v, left - 1
                     if left == 0 then ch:close() end
                  end
               end)
            end
         end)
         assert.equal(2000 * 2001 // 2, sum)
      end)
   end)

   -- Two tasks that hand a value to and fro until `over` says so; how often.
   local function to_and_fro(over)
      local there, back, n = weft.channel(), weft.channel(), 0
      weft.spawn(function() for v in there:each() do back:send(v) end end)
      repeat
         there:send(n)
         n = back:receive() + 1
      until over(n)
      there:close()
      return n
   end

   it("passes values on within a turn of the loop, without asking the system for events", function()
      run(function()
         local slept
         weft.spawn(function()
            weft.sleep(0) -- ends when the loop has asked
            slept = true
         end)
         assert.equal(3, to_and_fro(function(n) return n == 3 end))
         assert.is_nil(slept)
      end)
   end)

   it("keeps nobody waiting, though two tasks wake each other without end", function()
      run(function()
         local slept = 0
         weft.spawn(function()
            for _ = 1, 5 do weft.sleep(0) slept = slept + 1 end
         end)
         assert.is_true(to_and_fro(function(n) return slept == 5 or n == 10000 end) < 10000)
      end)
   end)

   local bad = {
      { function() weft.channel(-1) end, "must not be negative" },
      { function() weft.channel "5" end, 'must be an integer, got the string "5"' },
      { function() weft.channel(1.5) end, "must be an integer, got 1.5" },
      { function() weft.channel():receive "x" end, "the timeout must be a number" },
   }
   for i, row in ipairs(bad) do
      it("refuses wrong arguments, row " .. i, function()
         local message = server.blame(row[1])
         assert.truthy(message:find(row[2], 1, true), message)
      end)
   end

   it("names itself", function()
      local ch = weft.channel(2)
      ch:send(1)
      assert.equal("weft.channel (1 of 2)", tostring(ch))
      ch:close()
      assert.equal("weft.channel (1 of 2, closed)", tostring(ch))
   end)
end)
