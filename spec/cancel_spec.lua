-- task:cancel, in every state that a task can be in.

local weft = require "weft"
local server = require "spec.helper_server"
local pair = require "spec.scripts.pair"

local run, yield = server.run, pair.yield
local reports = pair.reports

-- With a full collection every thousand instructions numbers cost their square.
local MANY = os.getenv "WEFT_HOSTILE_GC" and 20 or 1000

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

-- Everything that waits: name -> a function that prepares it and returns the waiting call;
-- another call that must work afterwards (a slot left occupied would be "busy"); and what lasts
-- until it waits for good, by default a few turns of the loop.
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
         for i = 1, MANY do
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
