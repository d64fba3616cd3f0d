-- Who raw connections are: ws:subscribe's option presence, and what is told of it.

local weft = require "weft"
local helper = require "spec.helper_weft1"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run, eventually, blame, SOON = raw.run, raw.eventually, server.blame, raw.SOON

-- An app, its port, what was told of presences since it was asked last, and join(topic, who),
-- which connects: the server's end, its client, and what ws:subscribe returned.
local function serve(presence, opts)
   local app, port = helper.app(opts)
   local told, ready, done = {}, weft.channel(1), weft.channel()
   presence = presence or { grace = 0 }
   presence.on_change = presence.on_change or function(topic, event, user)
      assert(topic == "room.1")
      told[#told + 1] = event .. " " .. user.id
   end
   app:topic("room.*", { presence = presence })
   app:websocket("/ws", function(ws)
      ready:send(ws)
      done:receive()
   end)
   server.keep { close = function() done:close() end }
   local function join(topic, who)
      local client = server.keep(assert(weft.connect(raw.url(port))))
      local ws = assert(ready:receive(SOON))
      if topic then assert(ws:subscribe(topic, { presence = who })) end
      return ws, client
   end
   return app, join, function()
      local all = table.concat(told, ", ")
      told = {}
      return all
   end, port
end

local function names(app)
   local list = {}
   for i, user in ipairs(app:presence "room.1") do list[i] = user.id end
   return table.concat(list, " ")
end

describe("a raw connection", function()
   it("says who it is by subscribing, and is gone however it ends", function()
      run(function()
         local app, join, told = serve()
         local ways = {
            function(_, client) client:close() end,
            function(ws) ws:close(4000) end,
            function(ws) assert.is_true(ws:unsubscribe "room.1") end,
         }
         for _, leave in ipairs(ways) do
            local ann, its = join("room.1", { id = "ann", data = { age = 5 } })
            local _, other = join("room.1", { id = 7 })
            assert.same({ { id = "ann", data = { age = 5 } }, { id = "7" } },
               app:presence "room.1")
            assert.equal("join ann, join 7", told())
            leave(ann, its)
            eventually(function() return names(app) == "7" end)
            other:close()
            eventually(function() return names(app) == "" end)
            assert.equal("leave ann, leave 7", told())
         end
      end)
   end)

   it("is gone although its handler does not notice", function()
      run(function()
         local app, join, told = serve()
         local _, client = join("room.1", { id = "ann" })
         client:close()
         eventually(function() return names(app) == "" end)
         assert.equal("join ann, leave ann", told())
         assert.is_nil(next(app.members))
      end)
   end)

   it("is one with the others of the same id, and a reload is no leave", function()
      run(function()
         local app, join, told = serve { grace = raw.time(0.3) }
         local _, one = join("room.1", { id = "ann" })
         local _, two = join("room.1", { id = "ann" })
         join("room.1", { id = "bob" })
         assert.equal("ann bob", names(app))
         one:close()
         eventually(function() return app:subscribers "room.1" == 2 end)
         two:close()
         eventually(function() return app:subscribers "room.1" == 1 end)
         local _, again = join("room.1", { id = "ann" })
         assert.equal("join ann, join bob", told())
         local started = weft.now()
         again:close()
         eventually(function() return names(app) == "bob" end)
         assert.is_true(weft.now() - started > raw.time(0.2))
         assert.equal("leave ann", told())
      end)
   end)

   it("can change its data, or be somebody else, by subscribing again", function()
      run(function()
         local app, join, told = serve()
         local ws = join("room.1", { id = "ann", data = "here" })
         for _ = 1, 2 do
            assert.is_true(ws:subscribe("room.1", { presence = { id = "ann", data = "away" } }))
         end
         assert.same({ { id = "ann", data = "away" } }, app:presence "room.1")
         assert.is_true(ws:subscribe "room.1") -- says nothing of it
         assert.is_true(ws:subscribe("room.1", { presence = { id = "bob" } }))
         assert.same({ { id = "bob" } }, app:presence "room.1")
         assert.equal("join ann, update ann, join bob, leave ann", told())
         local other = join "room.1"
         assert.is_true(other:subscribe("room.1", { presence = { id = "cleo", data = false } }))
         assert.same({ { id = "bob" }, { id = "cleo", data = false } }, app:presence "room.1")
      end)
   end)

   it("is not let in where as many are present as may be", function()
      run(function()
         local app, join = serve { grace = 0, max = 1 }
         join("room.1", { id = "ann" })
         join("room.1", { id = "ann" })
         local ws = join()
         local ok, message, code = ws:subscribe("room.1", { presence = { id = "bob" } })
         assert.same({ nil, "too_big" }, { ok, code })
         assert.truthy(message:find("presence, max", 1, true))
         assert.equal(2, app:subscribers "room.1")
         assert.is_true(ws:subscribe "room.1") -- unseen
         assert.equal("ann", names(app))
      end)
   end)

   it("is not there when a hook or a limit refuses it", function()
      run(function()
         local app, join, told = serve(nil, { max_topics_per_connection = 1 })
         app:topic("room.1", { authorize_subscribe = function(ws, _, params)
            if params and params.leave then ws:close() end
            return params ~= nil, "not you"
         end })
         local ws = join()
         local me = { id = "ann" }
         assert.equal("refused", select(3, ws:subscribe("room.1", { presence = me })))
         assert(ws:subscribe "other")
         assert.equal("too_big", select(3, ws:subscribe("room.1", { presence = me, params = {} })))
         assert.equal("closed", select(3, ws:subscribe("room.1",
            { presence = me, params = { leave = true } })))
         assert.same({ "", "" }, { names(app), told() })
         assert.is_nil(next(app.members))
      end)
   end)

   it("is nobody where presence was given up while a hook waited", function()
      run(function()
         local app, join = serve()
         join("room.1", { id = "ann" })
         app:topic("room.1", { authorize_subscribe = function()
            app:topic("room.*", { presence = false })
            return true
         end })
         local ws = join()
         assert.is_true(ws:subscribe("room.1", { presence = { id = "bob" } }))
         assert.equal("ann", names(app))
         assert.is_nil(app.members[ws])
      end)
   end)

   it("and clients of channels see each other", function()
      run(function()
         local app, join, told, port = serve()
         app:channel("room.*", { user = function(_, _, params) return params end })
         local c = helper.websocket(port)
         c:subscribe("room.1", { params = "chan" })
         local ws, client = join("room.1", { id = "ann", data = { 1 } })
         local event = c:next()
         assert.same({ "presence", "join", { id = "ann", data = { 1 } } },
            { event.type, event.event, event.user })
         ws:subscribe("room.1", { presence = { id = "ann", data = { 2 } } })
         assert.equal("update", c:next().event)
         assert.same({ { id = "chan" }, { id = "ann", data = { 2 } } },
            c:ask({ type = "presence", topic = "room.1" }).data)
         c:close()
         eventually(function() return names(app) == "ann" end)
         assert.equal("join chan, join ann, update ann, leave chan", told())
         assert.equal("timeout", select(3, client:receive(0.01))) -- it has no protocol for that
      end)
   end)

   it("is not told by itself, but the script can, in words of its own", function()
      run(function()
         local app
         local join
         app, join = serve { grace = 0, on_change = function(topic, event, user)
            app:publish(topic, event .. " " .. user.id)
         end }
         local _, ann = join("room.1", { id = "ann" })
         local _, bob = join("room.1", { id = "bob" })
         assert.equal("join ann", (ann:receive(SOON)))
         assert.equal("join bob", (ann:receive(SOON)))
         assert.equal("join bob", (bob:receive(SOON)))
         ann:close()
         assert.equal("leave ann", (bob:receive(SOON)))
      end)
   end)

   it("gets what it missed first, then what is published because it came", function()
      run(function()
         local app, join
         app, join = serve { grace = 0, on_change = function(topic, event, user)
            app:publish(topic, event .. " " .. user.id)
         end }
         app:topic("room.*", { history = { size = 9 }, presence = app.desk:rules_of "room.1" })
         local _, epoch, offset = app:publish("room.1", "old")
         app:publish("room.1", "missed")
         local ws, ann = join()
         local info = ws:subscribe("room.1", { presence = { id = "ann" },
            since = { epoch = epoch, offset = offset } })
         assert.same({ true, 1, 2 }, { info.recovered, info.missed, info.offset })
         assert.equal("missed", (ann:receive(SOON)))
         assert.equal("join ann", (ann:receive(SOON)))
         app:publish("room.1", "last")
         assert.equal("last", (ann:receive(SOON)))
      end)
   end)

   it("can be turned out by on_change", function()
      run(function()
         local join, ws
         local app
         app, join = serve { grace = 0, on_change = function(topic, event)
            if event == "join" then ws:unsubscribe(topic) end
         end }
         ws = join()
         ws:subscribe("room.1", { presence = { id = "eve" } })
         assert.equal(0, app:subscribers "room.1")
         assert.equal("", names(app))
         assert.is_nil(next(app.desk.presence.places))
      end)
   end)

   it("leaves when the app closes, and keeps no program running", function()
      run(function()
         local app, join, told = serve { grace = 1000 }
         local ws, client = join("room.1", { id = "ann" })
         app:close()
         eventually(function() return next(app.members) == nil end)
         assert.equal("join ann, leave ann", told())
         client:receive(SOON)
         assert.truthy(ws)
      end)
   end)
end)

describe("on_change", function()
   it("that raises, or waits, is reported, and harms nobody", function()
      run(function()
         local fails
         local app, join = serve { grace = 0, on_change = function(_, event, user)
            if event == "leave" then return end
            if user.id == "bad" then error "broken hook" end
            if user.id == "slow" then weft.sleep(1) end
            user.id, user.data = nil, nil -- a copy
            fails = false
         end }
         local errors = server.errors(function()
            for _, id in ipairs { "bad", "slow", "fine" } do join("room.1", { id = id }) end
         end)
         assert.equal(2, #errors)
         assert.truthy(errors[1]:find("broken hook", 1, true))
         assert.truthy(errors[2]:find("weft.spawn", 1, true), errors[2])
         assert.is_false(fails)
         assert.equal("bad slow fine", names(app))
      end)
   end)

   it("may publish, and start tasks that wait", function()
      run(function()
         local done = weft.channel(1)
         local _, join = serve { grace = 0, on_change = function()
            weft.spawn(function()
               weft.sleep(0.01)
               done:send "waited"
            end)
         end }
         join("room.1", { id = "ann" })
         assert.equal("waited", (done:receive(SOON)))
      end)
   end)
end)

describe("who a connection is", function()
   it("has to be said as it should be", function()
      run(function()
         local app, join = serve()
         local ws = join()
         local function misused(text, topic, who)
            local why = blame(function() ws:subscribe(topic, { presence = who }) end)
            assert(why:find(text, 1, true), why)
         end
         misused('the topic "other" keeps none; see the option presence of app:topic', "other",
            { id = "ann" })
         misused("not a pattern", "room.*", { id = "ann" })
         misused("an id is a number or a string of 1 to 255 bytes", "room.1", {})
         misused("an id is", "room.1", { id = "" })
         misused("an id is", "room.1", { id = "\xff" })
         misused("an id is", "room.1", { id = ("x"):rep(256) })
         misused('option "id" must be', "room.1", { id = true })
         misused("unknown option", "room.1", { id = "ann", name = "Ann" })
         misused("the data: it cannot be JSON", "room.1", { id = "ann", data = { print } })
         misused('option "data" must be', "room.1", { id = "ann", data = print })
         misused('option "presence" must be a table', "room.1", "ann")
         assert.equal(0, app:subscribers "room.1")
         assert.same({}, app:presence "room.1")
         assert.truthy(blame(function()
            app:topic("x", { presence = { on_change = 5 } })
         end):find('option "on_change" must be a function', 1, true))
      end)
   end)
end)
