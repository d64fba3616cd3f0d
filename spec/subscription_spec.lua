-- app:subscribe: what is published, to a task of this process.

local weft = require "weft"
local server = require "spec.helper_server"
local raw = require "spec.raw"

local run, eventually, blame = raw.run, raw.eventually, server.blame
local SOON = raw.SOON
describe("app:subscribe", function()
   it("brings a task what is published, in order, until it is closed", function()
      run(function()
         local app = server.app()
         local sub = app:subscribe "t.*"
         local got = weft.spawn(function()
            local list = {}
            for message, info in sub:each() do
               list[#list + 1] = ("%s %s %s"):format(info.topic, message, info.kind)
            end
            return list
         end)
         assert.equal(1, app:publish("t.1", "a"))
         weft.sleep(0)
         assert.equal(1, app:publish("t.2", "\xff", "binary"))
         assert.equal(0, app:publish("u", "c"))
         assert.equal(1, app:subscribers "t.*")
         assert.same({ "t.*", 1, 0 }, { app:topics()() })
         assert.truthy(tostring(sub):find("t.*", 1, true))
         weft.sleep(0)
         sub:close()
         sub:close()
         assert.same({ "t.1 a text", "t.2 \xff binary" }, got:join(SOON))
         assert.equal(0, app:publish("t.1", "x"))
         assert.same({ 0, 2, 2 }, { app:stats().subscriptions, app:stats().delivered,
            app:stats().published - 2 })
         assert.same({ nil, "the subscription is closed", "closed" }, { sub:receive() })
      end)
   end)

   it("hands out what waits after closing; times out; has one reader; may be cancelled", function()
      run(function()
         local app = server.app()
         local sub <close> = app:subscribe "t"
         assert.same({ nil, "timeout" }, { sub:receive(0), select(3, sub:receive(0.01)) })
         local reader = weft.spawn(sub.receive, sub)
         weft.sleep(0)
         assert.equal("busy", select(3, sub:receive(1)))
         reader:cancel()
         reader:join(SOON)
         app:publish("t", "kept")
         local again = weft.spawn(sub.receive, sub)
         assert.equal("kept", (again:join(SOON)))
         app:publish("t", "last")
         sub:close()
         assert.equal("last", (sub:receive(0)))
         assert.equal("closed", select(3, sub:receive(0)))
         assert.truthy(blame(function() sub:receive "soon" end):find("the timeout", 1, true))
         assert.truthy(blame(function() app:subscribe("t", { size = 1 }) end)
            :find("unknown option", 1, true))
      end)
   end)

   it("ends with the app, which so keeps no task waiting", function()
      run(function()
         local app = weft.app {}
         local ends = weft.channel(1)
         weft.spawn(function()
            local sub <close> = app:subscribe "x.*"
            for message in sub:each() do ends:send(message) end
            ends:send "over"
         end)
         eventually(function() return app:subscribers "x.*" == 1 end)
         app:publish("x.1", "one")
         app:close()
         assert.equal("one", ends:receive(SOON))
         assert.equal("over", ends:receive(SOON))
         assert.equal(0, app:stats().subscriptions)
         local why, code = select(2, app:subscribe "x.1":receive())
         assert.same({ "the app is closed", "closed" }, { why, code })
      end)
   end)

   it("brings a task that has taken all a message of any size, by every policy", function()
      run(function()
         local app = server.app()
         local big = ("x"):rep(1 << 20)
         for _, policy in ipairs { "disconnect", "drop_oldest", "drop_newest", "latest" } do
            local sub = server.keep(app:subscribe("t", { policy = policy, max_pending = 1000 }))
            local waiting = weft.spawn(sub.receive, sub, SOON)
            weft.sleep(0)
            assert.equal(1, (app:publish("t", big)))
            assert.equal(big, (waiting:join()))
            app:publish("t", big .. "1")
            assert.equal(0, sub.dropped)
            app:publish("t", big .. "2") -- it takes nothing: one of them is dropped
            assert.equal(1, sub.dropped)
            local newest = policy == "drop_oldest" or policy == "latest"
            assert.equal(big .. (newest and "2" or "1"), (sub:receive(SOON)))
            sub:close()
         end
      end)
   end)

   it("keeps a burst for a task as for a connection: as much as hard_mark", function()
      run(function()
         local app = server.app { hard_mark = 1 << 17 }
         local row = ("r"):rep(1000)
         for size, most in pairs { [1] = 2048, [1000] = 131 } do
            local sub = server.keep(app:subscribe "t")
            for _ = 1, most do assert.equal(1, (app:publish("t", row:sub(1, size)))) end
            assert.equal(0, (app:publish("t", row:sub(1, size))))
            for _ = 1, most do assert.equal(size, #sub:receive(0)) end
            assert.same({ "too slow: more than hard_mark waits", "closed" },
               { select(2, sub:receive(0)) })
         end
      end)
   end)

   it("has the policies of topics for a task that is slow", function()
      run(function()
         local app = server.app()
         local function fill(policy, opts)
            opts = opts or {}
            opts.policy, opts.max_pending_messages = policy, opts.max_pending_messages or 3
            local sub <close> = app:subscribe("t", opts)
            for i = 1, 6 do
               app:publish("t", tostring(i), { key = i % 2 == 0 and "even" or "odd" })
            end
            local list = {}
            local function take_all()
               local message, info, code = sub:receive(0)
               if not message then return code end
               -- how many were dropped between it and the one before
               list[#list + 1] = (info.missed and "+" .. info.missed .. " " or "") .. message
               return take_all()
            end
            local code = take_all()
            app:publish("t", "7")
            take_all()
            return table.concat(list, " "), sub.dropped, code
         end
         assert.same({ "+3 4 5 6 7", 3, "timeout" }, { fill "drop_oldest" })
         assert.same({ "1 2 3 +3 7", 3, "timeout" }, { fill "drop_newest" })
         assert.same({ "+4 5 6 7", 4, "timeout" }, { fill "latest" })
         assert.same({ "1 2 3", 1, "closed" }, { fill "disconnect" })
         assert.same({ "+4 5 6 7", 4, "timeout" },
            { fill("drop_oldest", { max_pending = 2, max_pending_messages = 100 }) })
         assert.equal(15, app:stats().dropped)
      end)
   end)

   it("can be closed and begun by listeners while something is published", function()
      run(function()
         local app = server.app()
         local topics = require "weft.topics"
         local calls, handles = 0, {}
         for i = 1, 20 do
            handles[i] = topics.listen(app, i % 2 == 0 and "t" or ">", function()
               calls = calls + 1
               handles[i]:close()
               if handles[21 - i] then handles[21 - i]:close() end
               if i ~= 3 then return end
               handles[21] = topics.listen(app, "t", function() calls = calls + 100 end)
            end)
         end
         local n = app:publish("t", "x")
         assert.equal(calls, n)
         assert.is_true(calls >= 10 and calls <= 20)
         for _, handle in ipairs(handles) do handle:close() end
         assert.same({ 0, 0 }, { app:stats().subscriptions, app:publish("t", "x") })
      end)
   end)

   it("is told of a listener that raises, and the others get it", function()
      run(function()
         local app = server.app()
         local topics = require "weft.topics"
         local sub = server.keep(app:subscribe "t")
         local bad = topics.listen(app, "t", function() error "broken listener" end)
         local errors = server.errors(function() assert.equal(1, app:publish("t", "x")) end)
         assert.truthy(errors[1]:find("broken listener", 1, true))
         assert.equal("x", (sub:receive(0)))
         bad:close()
      end)
   end)
end)
