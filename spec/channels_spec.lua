-- app:channel, as clients of weft.1 see it. What does not depend on the transport is asked over
-- WebSocket and over Server-Sent Events with POST.

local weft = require "weft"
local helper = require "spec.helper_weft1"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run, eventually = raw.run, raw.eventually

-- Under the hostile collector one of them is enough; sessions_spec has the other.
local transports = { WebSocket = helper.websocket,
   ["SSE and POST"] = not raw.hostile and helper.session or nil }

local function is_error(code, answer)
   assert.equal("error", answer.type)
   assert.equal(code, answer.code)
   assert.equal("string", type(answer.message))
   return answer.message
end

for name, connect in pairs(transports) do
   describe("a channel over " .. name, function()
      it("carries what one client publishes to all that are subscribed", function()
         run(function()
            local app, port = helper.app()
            app:channel("room.*", { receive = true })
            local ann, bob, other = connect(port), connect(port), connect(port)
            assert.same({ topic = "room.1" }, ann:subscribe "room.1")
            bob:subscribe "room.1"
            other:subscribe "room.2"
            local data = '"data":{"big":12345678901234567890,"no":[]}}'
            ann:say('{"type":"publish","id":"p","topic":"room.1",' .. data)
            local expected = '{"type":"message","topic":"room.1",' .. data
            assert.equal(expected, select(2, ann:next()))
            assert.equal('{"type":"reply","id":"p"}', select(2, ann:next()))
            assert.equal(expected, select(2, bob:next()))
            bob:say { type = "publish", topic = "room.1", data = "text", event = "note" }
            assert.same({ type = "message", topic = "room.1", data = "text", event = "note" },
               (ann:next()))
            assert.equal("text", bob:next().data)
            assert.truthy(bob:is_quiet())
            assert.truthy(other:is_quiet())
            assert.equal(2, app:publish("room.1", { n = 1 }))
            assert.same({ n = 1 }, ann:next().data)
            bob:next()
            assert.same("reply", bob:ask { type = "unsubscribe", topic = "room.1" }.type)
            assert.equal(1, app:publish("room.1", "x"))
            assert.truthy(bob:is_quiet())
         end)
      end)

      it("answers all that is asked for at once, if that is more than hard_mark", function()
         run(function()
            local app, port = helper.app()
            app:channels("/weft", { hard_mark = 1000000, high_mark = 10000, low_mark = 1000 })
            local text = ("x"):rep(900000) -- in all more than the system keeps
            app:channel("room.*", { history = true, join = function() return text end,
               call = function() return text end })
            local c, list = connect(port), {}
            for i = 1, 8 do
               list[2 * i - 1] = { type = "subscribe", id = 2 * i - 1, topic = "room." .. i }
               list[2 * i] = { type = "call", id = 2 * i, topic = "room." .. i, method = "x" }
            end
            if c.post then c:say(list) else for _, one in ipairs(list) do c:say(one) end end
            for i = 1, 8 do app:publish("room." .. i, "live") end
            local answered, offsets, n = {}, {}, 0
            while n < 16 do
               local it = c:next()
               if it.type == "message" then -- no other comes before the reply
                  assert.equal(0, offsets[it.topic])
                  offsets[it.topic] = it.offset
               else
                  assert.equal("reply", it.type)
                  local about = type(it.data) == "table" and it.data or { data = it.data }
                  if about.topic then offsets[about.topic] = about.offset end
                  answered[it.id], n = about.data, n + 1
               end
            end
            for i = 1, 16 do assert.equal(text, answered[i]) end
            for i = 1, 8 do assert.equal(1, offsets["room." .. i]) end
            assert.truthy(c:is_quiet())
            c:close()
         end)
      end)

      it("is not ended for a message beyond hard_mark, between answers, if it takes it", function()
         run(function()
            local app, port = helper.app()
            local big = ("x"):rep(12 << 20) -- more than the system keeps
            app:channel("room.*", { call = function()
               weft.spawn(app.publish, app, "room.1", big)
               return "soon"
            end })
            local c = connect(port, name == "WebSocket" and { max_message = 1 << 30 } or nil)
            c:subscribe "room.1"
            c:say { type = "call", id = 1, topic = "room.1", method = "x" }
            if not c.post then -- a POST would be asked to come again
               eventually(function() return app:stats().published == 1 end)
               c:say { type = "ping", id = 2 }
            end
            assert.equal("soon", c:next().data)
            assert.equal(big, c:next().data)
            if not c.post then assert.equal(2, c:next().id) end
            assert.equal("reply", c:ask { type = "ping", id = 3 }.type)
            c:close()
         end)
      end)

      it("gives a returning subscriber exactly what it missed, or says that it cannot", function()
         run(function()
            local app, port = helper.app()
            app:channel("room.*", { receive = true, history = { size = 3 } })
            local ann = connect(port)
            local first = ann:subscribe "room.1"
            assert.equal(0, first.offset)
            assert.is_nil(first.recovered)
            local reply, message
            ann:say { type = "publish", id = 7, topic = "room.1", data = "1" }
            message, reply = ann:next(), ann:next()
            assert.same({ epoch = first.epoch, offset = 1 }, reply.data)
            assert.same({ type = "message", topic = "room.1", epoch = first.epoch, offset = 1,
               data = "1" }, message)
            app:publish("room.1", { two = 2 })
            app:publish("room.1", "\1\2", "binary")
            local function resume(offset, epoch)
               local c = connect(port)
               local data = c:subscribe("room.1", { epoch = epoch or first.epoch, offset = offset })
               c:close()
               return data
            end
            local back = resume(1)
            assert.same({ topic = "room.1", epoch = first.epoch, offset = 3, recovered = true,
               messages = { { offset = 2, data = { two = 2 } },
                  { offset = 3, data = "AQI=", encoding = "base64" } } }, back)
            assert.same({ recovered = true, messages = {}, topic = "room.1", epoch = first.epoch,
               offset = 3 }, resume(3))
            for _, lost in ipairs { resume(4), resume(1e300), resume(0.5), resume(-1),
               resume(1, "never") } do
               assert.same({ topic = "room.1", epoch = first.epoch, offset = 3,
                  recovered = false }, lost)
            end
            app:publish("room.1", "4")
            assert.is_false(resume(0).recovered)
            assert.is_true(resume(1).recovered)
            local list, epoch, offset = app:history "room.1"
            assert.same({ first.epoch, 4, 3 }, { epoch, offset, #list })
            assert.same({ { two = 2 }, "\1\2", "4" },
               { list[1].message, list[2].message, list[3].message })
         end)
      end)

      it("shows who is present", function()
         run(function()
            local app, port = helper.app()
            app:channel("room.*", { presence = { grace = 0, max = 2 },
               user = function(_, _, params) return params.id, params.data end })
            local ann, bob = connect(port), connect(port)
            local data = ann:subscribe("room.1", { params = { id = "ann", data = { age = 7 } } })
            assert.same({ { id = "ann", data = { age = 7 } } }, data.presence)
            data = bob:subscribe("room.1", { params = { id = 5 } })
            assert.same({ { id = "ann", data = { age = 7 } }, { id = "5" } }, data.presence)
            assert.same({ type = "presence", topic = "room.1", event = "join",
               user = { id = "5" } }, (ann:next()))
            assert.same(data.presence, bob:ask { type = "presence", topic = "room.1" }.data)
            assert.same(data.presence, app:presence "room.1")
            assert.truthy(bob:is_quiet())
            local third = connect(port)
            is_error("too_many", third:ask { type = "subscribe", topic = "room.1",
               params = { id = "eve" } })
            third:subscribe("room.1", { params = { id = "ann", data = { age = 8 } } })
            assert.same({ id = "ann", data = { age = 8 } }, bob:next().user)
            assert.equal("update", ann:next().event)
            third:close()
            bob:close()
            local event = ann:next()
            assert.same({ "leave", { id = "5" } }, { event.event, event.user })
            assert.truthy(ann:is_quiet())
         end)
      end)

      it("lets who joined leave where something fails behind that", function()
         run(function()
            local app, port = helper.app()
            local seen = {}
            app:channel("room.*", { presence = { grace = 0, max = 1 },
               join = function(_, _, id)
                  seen[#seen + 1] = "join " .. id
                  return id ~= "odd" or { print } -- which is no JSON
               end,
               user = function(_, _, id)
                  if id == "bad" then error "broken hook" end
                  return id ~= "none" and id or ""
               end,
               leave = function()
                  weft.sleep(0)
                  seen[#seen + 1] = "leave"
               end })
            local c, other = connect(port), connect(port)
            local errors = server.errors(function()
               for _, id in ipairs { "bad", "none", "odd" } do
                  is_error("internal", c:ask { type = "subscribe", topic = "room.1", params = id })
               end
            end)
            assert.equal(3, #errors)
            assert.truthy(errors[1]:find("broken hook", 1, true))
            assert.truthy(errors[3]:find("the channel's join: it cannot be JSON", 1, true))
            c:subscribe("room.1", { params = "ann" })
            is_error("too_many", other:ask { type = "subscribe", topic = "room.1", params = "bob" })
            c:ask { type = "unsubscribe", topic = "room.1" }
            eventually(function() return #seen == 10 end)
            assert.equal("join bad, leave, join none, leave, join odd, leave, join ann, join bob, "
               .. "leave, leave", table.concat(seen, ", "))
         end)
      end)

      it("ends each subscription once, also where on_change ends them all", function()
         run(function()
            local app, port = helper.app()
            local leaves, contexts = 0, {}
            app:channel("room.*", {
               join = function(ctx, _, id)
                  contexts[id] = ctx
                  return true
               end,
               user = function() return "ann" end,
               leave = function() leaves = leaves + 1 end,
               presence = { grace = 0, on_change = function(_, event)
                  if event ~= "leave" then return end
                  for i = 1, 3 do contexts.first:kick("room." .. i) end
               end } })
            local first, second = connect(port), connect(port)
            for i = 1, 3 do
               first:subscribe("room." .. i, { params = "first" })
               second:subscribe("room." .. i, { params = "second" })
            end
            second.close()
            eventually(function() return leaves == 3 end)
            first.close()
            eventually(function() return leaves >= 6 end)
            for i = 1, 3 do assert.same({}, app:presence("room." .. i)) end
            connect(port):subscribe("room.9", { params = "third" }) -- some turns later
            assert.equal(6, leaves)
         end)
      end)

      it("tells a joiner of on_change's words behind the reply, none lost", function()
         run(function()
            local app, port = helper.app()
            local clients = {}
            app:channel("room.*", { history = true,
               join = function(ctx, _, params)
                  clients[params] = ctx
                  return true
               end,
               user = function(_, _, params) return params end,
               presence = { grace = 0, on_change = function(topic, event, user)
                  app:publish(topic, event .. " " .. user.id)
                  if event == "join" and user.id == "eve" then clients.eve:kick(topic) end
               end } })
            local ann, eve = connect(port), connect(port)
            local data = ann:subscribe("room.1", { params = "ann" })
            local message = ann:next()
            assert.same({ "join ann", data.offset + 1 }, { message.data, message.offset })
            eve:subscribe("room.1", { params = "eve" })
            assert.equal("join eve", eve:next().data)
            assert.same({ "unsubscribed", "kicked" }, { (function(one)
               return one.type, one.code
            end)(eve:next()) })
            assert.same({ { id = "ann" } }, app:presence "room.1")
            assert.truthy(eve:is_quiet())
         end)
      end)

      it("calls methods, each in a task of its own", function()
         run(function()
            local app, port = helper.app()
            local gate = weft.channel()
            app:channel("table", { call = {
               add = function(_, _, data) return data[1] + data[2] end,
               wait = function() return gate:receive() end,
               nothing = function() end,
               no = function() return nil, "out_of_stock", "there is none" end,
               fail = function() error "secret" end,
               bad = function() return print end } })
            app:channel("any", { call = function(ctx, topic, method, data)
               return { topic, method, data or "none", ctx.request.path }
            end })
            local c = connect(port)
            c:subscribe "table"
            c:subscribe "any"
            c:say { type = "call", id = "slow", topic = "table", method = "wait" }
            assert.equal(5, c:ask { type = "call", topic = "table", method = "add",
               data = { 2, 3 } }.data)
            gate:send "at last"
            assert.same({ type = "reply", id = "slow", data = "at last" }, (c:next()))
            assert.is_nil(c:ask { type = "call", topic = "table", method = "nothing" }.data)
            assert.equal("there is none",
               is_error("out_of_stock", c:ask { type = "call", topic = "table", method = "no" }))
            is_error("not_found", c:ask { type = "call", topic = "table", method = "what" })
            assert.same({ "any", "x", "none", "/weft" },
               c:ask { type = "call", topic = "any", method = "x" }.data)
            local errors = server.errors(function()
               for _, method in ipairs { "fail", "bad" } do
                  local message = is_error("internal",
                     c:ask { type = "call", topic = "table", method = method })
                  assert.equal("internal error", message)
               end
            end)
            assert.equal(2, #errors)
            assert.truthy(errors[1]:find("secret", 1, true))
            assert.truthy(c:is_quiet())
         end)
      end)

      it("answers what cannot be right, and goes on", function()
         run(function()
            local app, port = helper.app { max_topics_per_connection = 2 }
            app:channel("room.*", { call = function() return 1 end })
            local c = connect(port)
            local function sent(text)
               c:say(text)
               return c:next()
            end
            for _, text in ipairs { "{", "nonsense", '{"type":}', '{"id":1,"type":"ping",}',
               '{"id":1e}', '{"type":"ping","x":' .. ("["):rep(40) .. ("]"):rep(40) .. "}" } do
               if c.post then
                  assert.equal(400, c.post(text).status)
               else
                  is_error("bad_request", sent(text))
               end
            end
            is_error("bad_request", sent '{"id":1}')
            is_error("bad_request", sent '{"id":1,"type":5}')
            assert.equal(1, sent '{"id":1,"type":"what"}'.id)
            is_error("unknown_type", sent '{"id":1,"type":"reply"}')
            is_error("unknown_type", sent '{"type":"error","id":1,"code":"x"}')
            for _, id in ipairs { "true", "{}", "[1]", '"' .. ("x"):rep(65) .. '"' } do
               local answer = sent('{"type":"ping","id":' .. id .. "}")
               is_error("bad_request", answer)
               assert.is_nil(answer.id)
            end
            assert.equal(1.5, sent '{"type":"ping","id":1.5}'.id)
            assert.equal(select(2, sent '{"type":"ping","id":9007199254740993}'),
               select(2, sent '{"type":"ping","id":9007199254740993}'))
            is_error("bad_request", sent '{"type":"subscribe","id":1}')
            is_error("bad_request", sent '{"type":"subscribe","id":1,"topic":["room"]}')
            for _, topic in ipairs { "", "room.", ".a", "a..b", "room.*", ">", "a b", "a\\u0001b",
               ("x"):rep(256) } do
               is_error("bad_topic", sent('{"type":"subscribe","id":1,"topic":"' .. topic .. '"}'))
            end
            is_error("not_found", c:ask { type = "subscribe", topic = "elsewhere" })
            is_error("bad_request", c:ask { type = "subscribe", topic = "room.1", epoch = "x" })
            is_error("bad_request", c:ask { type = "subscribe", topic = "room.1", offset = 1 })
            is_error("bad_request", c:ask { type = "subscribe", topic = "room.1", epoch = 1,
               offset = "x" })
            for _, kind in ipairs { "publish", "call", "presence", "unsubscribe" } do
               is_error("not_subscribed", c:ask { type = kind, topic = "room.1", method = "x" })
            end
            c:subscribe "room.1"
            is_error("already_subscribed", c:ask { type = "subscribe", topic = "room.1" })
            is_error("forbidden", c:ask { type = "publish", topic = "room.1", data = 1 })
            is_error("bad_request", c:ask { type = "call", topic = "room.1" })
            is_error("bad_request", c:ask { type = "call", topic = "room.1", method = 5 })
            for _, event in ipairs { "", ("e"):rep(65), "a\nb", "a\rb", "\0" } do
               is_error("bad_request", c:ask { type = "publish", topic = "room.1", event = event })
            end
            c:subscribe "room.2"
            is_error("too_many", c:ask { type = "subscribe", topic = "room.3" })
            c:ask { type = "unsubscribe", topic = "room.2" }
            c:subscribe "room.3"
            assert.truthy(c:is_quiet())
         end)
      end)

      it("asks its hooks, in the order of the requests for each topic", function()
         run(function()
            local app, port = helper.app()
            local gate, seen = weft.channel(), {}
            app:channel("room.*", {
               join = function(ctx, topic, params)
                  if params == "wait" then gate:receive() end
                  if params == "no" then return nil, "full_up", "try the other" end
                  if params == "shy" then return nil, "sorry, not you" end
                  if params == "silent" then return nil end
                  if params == "raise" then error "oops" end
                  ctx.user = params
                  return { welcome = topic }
               end,
               leave = function(_, topic) seen[#seen + 1] = "left " .. topic end,
               receive = function(ctx, topic, data, event)
                  seen[#seen + 1] = data
                  if data == "wait" then gate:receive() end
                  if data == "no" then return nil, "rude" end
                  if data == "as it is" then return true end
                  local made = { by = ctx.user, at = topic, data = data, event = event }
                  return made, { event = "made" }
               end })
            local c = connect(port)
            local function join(params)
               return c:ask { type = "subscribe", topic = "room.1", params = params }
            end
            assert.equal("try the other", is_error("full_up", join "no"))
            assert.equal("sorry, not you", is_error("forbidden", join "shy"))
            is_error("forbidden", join "silent")
            local errors = server.errors(function() is_error("internal", join "raise") end)
            assert.equal(1, #errors)
            c:say '{"type":"subscribe","id":"a","topic":"room.1","params":"wait"}'
            c:say '{"type":"publish","id":"b","topic":"room.1","data":"first","event":"e"}'
            c:say '{"type":"subscribe","id":"c","topic":"room.2","params":"ann"}'
            assert.equal("c", c:next().id) -- another topic does not wait
            gate:send(true)
            local answer = c:next()
            assert.same({ "a", { topic = "room.1", data = { welcome = "room.1" } } },
               { answer.id, answer.data })
            local message = c:next()
            assert.same({ by = "wait", at = "room.1", data = "first", event = "e" }, message.data)
            assert.equal("made", message.event)
            assert.equal("b", c:next().id)
            c:say '{"type":"publish","topic":"room.1","data":"wait"}'
            c:say '{"type":"publish","topic":"room.1","data":"no"}'
            c:say '{"type":"publish","topic":"room.1","data":"as it is"}'
            assert.truthy(c:is_quiet())
            gate:send(true)
            assert.equal("wait", c:next().data.data)
            assert.equal("refused", is_error("rude", c:next()))
            assert.equal("as it is", c:next().data)
            assert.same({ "first", "wait", "no", "as it is" }, seen)
            c:ask { type = "unsubscribe", topic = "room.1" }
            assert.equal("left room.1", seen[5])
            c:close()
            eventually(function() return seen[6] == "left room.2" end)
         end)
      end)

      it("publishes what receive makes of it, with the options behind that", function()
         run(function()
            local app, port = helper.app()
            app:channel("room.*", { history = true, receive = function(_, _, data)
               return data, { kind = "binary", event = "made", history = data ~= "lost" }
            end })
            local c = connect(port)
            c:subscribe "room.1"
            for data, encoding in pairs { text = "base64", lost = "base64", [5] = false } do
               c:say { type = "publish", topic = "room.1", data = data, event = "said" }
               local message = c:next()
               assert.same({ "made", encoding or nil, data ~= "lost" and "number" or "nil" },
                  { message.event, message.encoding, type(message.offset) })
            end
            local list = app:history "room.1"
            table.sort(list, function(a, b) return a.kind < b.kind end)
            assert.same({ "binary", "text", "json", 5 },
               { list[1].kind, list[1].message, list[2].kind, list[2].message })
         end)
      end)

      it("bounds the waiting of hooks", function()
         run(function()
            local app, port = helper.app()
            app:channels("/weft", { hook_timeout = 0.05 })
            app:channel("t", { join = function() weft.sleep(1000) end })
            app:channel("u", { call = function() return weft.channel():receive() end })
            app:topic("v", { authorize_subscribe = function() return weft.sleep(1000) end })
            app:channel("v", {})
            local c = connect(port)
            is_error("timeout", c:ask { type = "subscribe", topic = "t" })
            is_error("timeout", c:ask { type = "subscribe", topic = "v" })
            c:subscribe "u"
            is_error("timeout", c:ask { type = "call", topic = "u", method = "x" })
         end)
      end)

      it("asks the hooks of its topics, too", function()
         run(function()
            local app, port = helper.app()
            app:topic("room.*", {
               authorize_subscribe = function(who, topic, params)
                  return topic ~= "room.closed" and (params == nil or params.key == 1)
                     and who ~= nil, "no key"
               end,
               authorize_publish = function(_, _, message) return message ~= "bad", "mind it" end })
            app:channel("room.*", { receive = true })
            local c = connect(port)
            is_error("forbidden", c:ask { type = "subscribe", topic = "room.closed" })
            assert.equal("no key", is_error("forbidden", c:ask { type = "subscribe",
               topic = "room.1", params = { key = 2 } }))
            c:subscribe("room.1", { params = { key = 1 } })
            assert.equal("mind it", is_error("forbidden",
               c:ask { type = "publish", topic = "room.1", data = "bad" }))
         end)
      end)

      it("gives hooks a context to publish, push, update and kick with", function()
         run(function()
            local app, port = helper.app()
            local contexts = {}
            app:channel("room.*", { presence = { grace = 0 }, leave = function(_, topic)
               contexts.left = topic
            end, join = function(ctx, _, params)
               ctx.user = params
               contexts[params] = ctx
               return true
            end })
            local ann, bob = connect(port), connect(port)
            ann:subscribe("room.1", { params = "ann" })
            bob:subscribe("room.1", { params = "bob" })
            assert.equal("join", ann:next().event)
            local ctx = contexts.ann
            assert.equal(2, ctx:publish("room.1", { all = true }))
            assert.is_true(ann:next().data.all)
            assert.is_true(bob:next().data.all)
            for _, value in ipairs { 5, 1.5, math.maxinteger, true, false, "five" } do
               ctx:publish("room.1", value)
               local text = type(value) == "string" and '"five"' or tostring(value)
               assert.truthy(select(2, ann:next()):find('"data":' .. text .. "}", 1, true))
               bob:next()
            end
            assert.is_true(ctx:push("room.1", { only = "ann" }, { event = "hint" }))
            assert.same({ type = "message", topic = "room.1", event = "hint",
               data = { only = "ann" } }, (ann:next()))
            assert.is_true(ctx:update("room.1", { mood = "fine" }))
            assert.same({ id = "ann", data = { mood = "fine" } }, bob:next().user)
            ann:next()
            assert.is_false(ctx:update("room.2", 1))
            assert.is_false(ctx:kick "room.2")
            assert.is_true(ctx:kick("room.1", "rude", "mind your words"))
            assert.same({ type = "unsubscribed", topic = "room.1", code = "rude",
               message = "mind your words" }, (ann:next()))
            assert.equal("leave", bob:next().event)
            eventually(function() return contexts.left == "room.1" end)
            is_error("not_subscribed", ann:ask { type = "presence", topic = "room.1" })
            assert.truthy(tostring(ctx):find("127.0.0.1", 1, true))
            for _, misuse in ipairs {
               function() ctx:kick(5) end, function() ctx:kick("t", "two words") end,
               function() ctx:push("room.1", print) end, function() ctx:publish("a b", 1) end,
               function() ctx:push("room.1", 1, { what = 1 }) end,
               function() ctx:kick(nil, nil, ("x"):rep(124)) end,
               function() ctx:kick(nil, nil, "\xff") end,
               function() ctx:push("a b", 1) end, function() ctx:update("room.1", print) end,
               function() ctx:push("room.1", 1, { event = "a\nb" }) end,
               function() ctx:publish("room.1", { print }) end,
               function() ctx:publish("room.1", 1, { event = "\xff" }) end } do
               assert.truthy(server.blame(misuse):find "^ctx:%a+: ")
            end
            assert.is_true(contexts.bob:kick())
            assert.is_nil((pcall(function()
               while true do bob:next() end
            end)) or nil)
         end)
      end)

      it("lets its topics be published to by everything else", function()
         run(function()
            local app, port = helper.app()
            app:channel("room.*", { receive = true })
            app:websocket("/raw", function(ws)
               ws:subscribe "room.>"
               for message in ws:messages() do ws:publish("room.1", message) end
            end)
            local ws = assert(weft.connect(("ws://127.0.0.1:%d/raw"):format(port)))
            local c = connect(port)
            c:subscribe "room.1"
            eventually(function() return app:subscribers "room.>" == 1 end)
            ws:send "from the raw side"
            assert.equal("from the raw side", c:next().data)
            c:say { type = "publish", topic = "room.1", data = "to the raw side" }
            assert.equal("to the raw side", ws:receive(raw.SOON))
            c:next()
            c:say { type = "publish", topic = "room.1", data = { n = 1 } }
            assert.equal('{"n":1}', ws:receive(raw.SOON))
            ws:close()
         end)
      end)
   end)
end
