-- ws:subscribe with since: what was missed comes first, and what cannot be had is told.

local weft = require "weft"
local server = require "spec.helper_server"
local raw = require "spec.raw"
local rig = require "spec.topic_rig"

local run, blame = raw.run, server.blame
local SOON, rounds = raw.SOON, raw.rounds
local serve, take, taken = rig.serve, rig.take, rig.taken

describe("subscribing with since", function()
   local function publish(app, topic, from, to)
      local epoch, offset
      for i = from, to do
         local _
         _, epoch, offset = app:publish(topic, tostring(i))
         assert.equal(i, offset)
      end
      return epoch
   end

   it("brings what was missed, then what comes", function()
      run(function()
         local app, join = serve()
         app:topic("t.*", { history = { size = 10 } })
         local ws, client = join()
         local at = ws:subscribe "t.1"
         assert.same({ 0, nil }, { at.offset, at.recovered })
         local epoch = publish(app, "t.1", 1, 5)
         assert.equal(epoch, at.epoch)
         assert.same({ "1", "2", "3", "4", "5" }, taken(ws, client))
         assert.is_true(ws:subscribe("t.1", { since = { epoch = epoch, offset = 0 } })) -- it is
         assert.same({}, taken(ws, client))
         for offset = 0, 5 do
            local other, its = join()
            assert.same({ epoch = epoch, offset = 5, recovered = true, missed = 5 - offset },
               other:subscribe("t.1", { since = { epoch = epoch, offset = offset } }))
            app:publish("t.1", "live", { history = false })
            local wanted = { "live" }
            for i = 5, offset + 1, -1 do table.insert(wanted, 1, tostring(i)) end
            assert.same(wanted, taken(other, its))
         end
         local other, its = join "t.2" -- an offset is the topic's own
         assert.same({}, taken(other, its))
      end)
   end)

   it("says so when not all of it is there, and then brings nothing of it", function()
      run(function()
         local app, join = serve()
         app:topic("t.1", { history = { size = 3 } })
         local epoch = publish(app, "t.1", 1, 5)
         for _, since in ipairs {
            { epoch = epoch, offset = 1 }, { epoch = epoch, offset = 6 },
            { epoch = epoch, offset = -1 }, { epoch = epoch, offset = 2.5 },
            { epoch = epoch, offset = "2" }, { epoch = epoch }, { epoch = "never", offset = 3 },
            { offset = 3 }, { epoch = 5, offset = {} }, {},
         } do
            local ws, client = join()
            local at = assert(ws:subscribe("t.1", { since = since }))
            assert.same({ epoch = epoch, offset = 5, recovered = false, missed = 0 }, at)
            app:publish("t.1", "live", { history = false })
            assert.same({ "live" }, taken(ws, client))
         end
         local ws = join()
         local message = blame(function() ws:subscribe("t.*", { since = {} }) end)
         assert.truthy(message:find("not a pattern", 1, true))
         assert.truthy(blame(function() app:subscribe(">", { since = {} }) end)
            :find("not a pattern", 1, true))
         assert.is_true(ws:subscribe("other", { since = { epoch = epoch, offset = 1 } }))
      end)
   end)

   it("recovers nothing that does not fit below hard_mark", function()
      run(function()
         local app, join = serve { hard_mark = 70000 }
         app:topic("t", { history = { size = 10 } })
         local big = ("x"):rep(20000)
         local epoch
         for _ = 1, 5 do epoch = select(2, app:publish("t", big)) end
         for offset = 0, 5 do
            local ws, client = join()
            local at = ws:subscribe("t", { since = { epoch = epoch, offset = offset } })
            assert.equal(offset >= 2, at.recovered)
            assert.equal(at.recovered and 5 - offset or 0, #taken(ws, client))
         end
         app:topic("many.>", { history = true })
         assert.is_true((join()):subscribe "many.>")
      end)
   end)

   it("works for tasks", function()
      run(function()
         local app = server.app()
         app:topic("t", { history = true })
         local epoch = publish(app, "t", 1, 4)
         local sub = server.keep(app:subscribe("t", { since = { epoch = epoch, offset = 2 },
            max_pending_messages = 1 }))
         assert.same({ epoch, 4, true }, { sub.epoch, sub.offset, sub.recovered })
         for i = 3, 4 do
            local message, info = sub:receive(0)
            assert.same({ tostring(i), i, epoch }, { message, info.offset, info.epoch })
         end
         publish(app, "t", 5, 5)
         assert.same({ "5", 5 }, { (sub:receive(0)), 5 })
         sub = server.keep(app:subscribe("t", { since = { epoch = epoch, offset = 9 } }))
         assert.is_false(sub.recovered)
         assert.equal("timeout", select(3, sub:receive(0)))
         app:topic("many.>", { history = true }) -- a pattern has no place: each topic has its own
         sub = server.keep(app:subscribe "many.>")
         assert.same({}, { sub.epoch, sub.offset })
      end)
   end)

   it("neither loses nor doubles anything while others publish", function()
      run(function()
         local app, join = serve()
         app:topic("t", { history = { size = 1000 } })
         local last, going = 0, true
         local publisher = weft.spawn(function()
            while going do
               for _ = 1, 3 do
                  last = last + 1
                  app:publish("t", tostring(last))
               end
               weft.sleep(0)
            end
         end)
         local seen, epoch = 0, nil
         for _ = 1, rounds(30, 5) do -- it comes back, again and again
            local ws, client = join()
            local at = assert(ws:subscribe("t", { since = { epoch = epoch, offset = seen } }))
            assert.equal(epoch ~= nil, at.recovered)
            if not epoch then epoch, seen = at.epoch, at.offset end
            for _ = 1, 20 do
               seen = seen + 1
               assert.equal(tostring(seen), take(client))
            end
            client:close()
         end
         going = false
         publisher:join(SOON)
      end)
   end)
end)
