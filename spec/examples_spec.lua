-- Every example: short, starts, does its job, ends at Ctrl-C. The pages are browser_spec.lua's.

local weft = require "weft"
local daemon = require "spec.daemon"
local json = require "cjson"
local process = require "spec.process"

local function example(name, arguments, options)
   local argv = process.script("examples/" .. name .. ".lua", table.unpack(arguments or {}))
   return process.start(argv, options)
end

-- Runs f in a task, with everything that waits in it bounded.
local function within(seconds, f)
   weft.run(weft.deadline, seconds, f)
end

local function http_get(port, path)
   local answer
   within(10, function()
      local socket <close> = weft.tcp()
      assert(socket:connect("127.0.0.1", port))
      assert(socket:send("GET " .. path .. " HTTP/1.1\r\nHost: localhost\r\n" ..
         "Connection: close\r\n\r\n"))
      answer = assert(socket:receive "*a")
   end)
   return answer
end

describe("each example", function()
   for _, name in ipairs { "chat", "client", "cursors", "dashboard", "echo", "notify", "push",
      "redis", "tcp_echo", "webhook", "whiteboard" } do
      it(("has fewer than 40 lines: %s.lua"):format(name), function()
         local count = 0
         for _ in io.lines("examples/" .. name .. ".lua") do
            count = count + 1
         end
         assert.is_true(count < 40, count .. " lines")
      end)
   end
end)

describe("servers among the examples:", function()
   local child, port

   local function start(name)
      child = example(name, nil, { env = { PORT = 0 } })
      port = tonumber((child:wait_for "://localhost:(%d+)/"))
   end

   local function next_line(ws)
      return json.decode((assert(ws:receive())))
   end

   -- A connection that speaks weft.1: ask{...} returns the answer, heard(type) the next message
   -- of that type.
   local speaker = {}
   speaker.__index = speaker
   speaker.__close = function(self) self.ws:close() end

   local function connect(path, protocol)
      return assert(weft.connect(("ws://127.0.0.1:%d%s"):format(port, path),
         { protocols = protocol and { protocol } }))
   end

   local function speak(topic)
      return setmetatable({ ws = connect("/weft", "weft.1"), topic = topic, id = 0 }, speaker)
   end

   function speaker:heard(kind, fits)
      while true do
         local it = next_line(self.ws)
         if it.type == kind and (not fits or fits(it)) then return it end
         assert.not_equal("error", it.type)
      end
   end

   -- What comes back, reply or error; what is heard before it is dropped.
   function speaker:ask(it)
      self.id = self.id + 1
      it.topic, it.id = self.topic, self.id
      self.ws:send(json.encode(it))
      while true do
         local answer = next_line(self.ws)
         if answer.id == self.id then return answer end
      end
   end

   function speaker:publish(data, event)
      return self:ask { type = "publish", data = data, event = event }
   end

   local function enter(topic, params)
      local one = speak(topic)
      local answer = one:ask { type = "subscribe", params = params }
      assert.equal("reply", answer.type, answer.message)
      return one, answer.data
   end

   local function enter_chat(name) return enter("room.lobby", { name = name }) end

   after_each(function()
      local rest, status = child:stop "INT"
      assert.equal("", rest)
      assert.equal(0, status)
   end)

   it("echo.lua", function()
      start "echo"
      within(20, function()
         local ws <close> = connect "/"
         for _, message in ipairs { "hello", "", ("x"):rep(1 << 20) } do
            ws:send(message)
            assert.same({ message, "text" }, { ws:receive() })
            ws:send(message, "binary")
            assert.same({ message, "binary" }, { ws:receive() })
         end
      end)
   end)

   it("push.lua", function()
      start "push"
      assert.truthy(http_get(port, "/push.html"):find("push.js", 1, true))
      within(20, function()
         local first <close> = enter "live"
         for _ = 1, 3 do first:heard "message" end
         local second <close>, welcome = enter "live" -- with what was there before
         assert.is_true(#welcome.data.recent >= 3)
         for _, one in ipairs { first, second } do
            local before = 0
            for _ = 1, 5 do
               local point = one:heard("message").data
               assert.is_true(point[1] > before)
               before = point[1]
            end
         end
      end)
   end)

   it("cursors.lua brings each place to the others", function()
      start "cursors"
      assert.truthy(http_get(port, "/cursors.html"):find("cursors.js", 1, true))
      within(20, function()
         local one <close> = enter "cursors"
         local other <close>, welcome = enter "cursors"
         assert.same({ "guest 1", "guest 2" }, { welcome.presence[1].id, welcome.presence[2].id })
         assert.equal("guest 2", welcome.data.you)
         assert.equal("reply", other:publish({ x = 0.25, y = 1 }, "wave").type)
         local wave = one:heard "message"
         assert.same({ "wave", { id = "guest 2", x = 0.25, y = 1 } }, { wave.event, wave.data })
         for _, bad in ipairs { 7, "x", {}, { x = 2, y = 0 }, { x = -0.1, y = 0 },
            { x = "1", y = 0 }, { x = 0 } } do
            assert.equal("bad_place", other:publish(bad).code)
         end
      end)
   end)

   it("whiteboard.lua keeps the picture, and only strokes get on it", function()
      start "whiteboard"
      assert.truthy(http_get(port, "/whiteboard.html"):find("whiteboard.js", 1, true))
      local stroke = { id = "a 1", colour = 1, width = 10, points = { 0, 0, 100, 50.5 } }
      local function changed(name, value)
         local copy = {}
         for key, part in pairs(stroke) do copy[key] = part end
         copy[name] = value
         return copy
      end
      within(20, function()
         local one <close> = enter "board"
         assert.equal(1, one:publish(stroke).data.offset)
         for _, bad in ipairs { 7, {}, "x", changed("points", { 1 }), changed("points", 7),
            changed("points", { 0, 1e9 }), changed("points", { "a", "b" }), changed("width", 1000),
            changed("colour", "red"), changed("id", 7), changed("id", ("x"):rep(41)),
            changed("points", { ["1"] = 2 }) } do
            local answer = one:publish(bad)
            assert.equal("bad_stroke", answer.code, json.encode(bad))
         end
         local other <close>, welcome = enter "board"
         assert.same({ stroke }, { welcome.data.strokes[1].message })
         assert.equal(1, #welcome.data.strokes)
         other:publish(nil, "clear")
         assert.is_true(one:heard("message", function(it) return it.event end).data.clear)
      end)
   end)

   it("chat.lua serves its page", function()
      start "chat"
      local answer = http_get(port, "/")
      assert.truthy(answer:find "^HTTP/1.1 200 ")
      assert.truthy(answer:lower():find("content-type: text/html", 1, true))
      assert.truthy(answer:find("<title>weft chat</title>", 1, true))
      assert.truthy(http_get(port, "/chat.js"):lower():find "content%-type: text/javascript")
      assert.truthy(http_get(port, "/../chat.lua"):find "^HTTP/1.1 4%d%d ")
   end)

   it("chat.lua tells who comes, writes, says and leaves", function()
      start "chat"
      within(30, function()
         local ada <close>, welcome = enter_chat "Ada"
         assert.same({}, welcome.data.lines)
         assert.same({ "Ada" }, { welcome.presence[1].id })
         local grace <close> = enter_chat "  Grace "
         assert.same({ "join", "Grace" }, (function(it) return { it.event, it.user.id } end)(
            ada:heard "presence"))
         grace:publish(json.null, "typing")
         local typing = ada:heard "message"
         assert.same({ "typing", { name = "Grace" } }, { typing.event, typing.data })
         assert.is_nil(typing.offset)
         assert.equal(1, grace:publish({ text = " <b>hi</b> \n" }).data.offset)
         local line = ada:heard("message").data
         assert.is_true(math.abs(line.time - os.time()) < 60)
         assert.same({ "Grace", "<b>hi</b>" }, { line.name, line.text })
         grace.ws:close()
         local leave = ada:heard "presence"
         assert.same({ "leave", "Grace" }, { leave.event, leave.user.id })
      end)
   end)

   it("chat.lua has rooms, and nobody hears the other ones", function()
      start "chat"
      within(20, function()
         local ada <close> = enter_chat "Ada"
         local grace <close> = enter("room.workshop", { name = "Grace" })
         grace:publish { text = "not for Ada" }
         ada:publish { text = "for nobody" }
         local one <close> = enter_chat "Hedy"
         one:publish { text = "for Ada" }
         assert.equal("for Ada", ada:heard("message", function(it)
            return it.data.name ~= "Ada"
         end).data.text)
         local other <close> = speak "elsewhere"
         assert.equal("not_found", other:ask({ type = "subscribe" }).code)
      end)
   end)

   it("chat.lua gives newcomers the last 50 lines, and who returns what was missed", function()
      start "chat"
      within(20, function()
         local ada <close>, welcome = enter_chat "Ada"
         for i = 1, 52 do
            assert.equal(i, ada:publish({ text = "line " .. i }).data.offset)
         end
         local grace <close>, later = enter_chat "Grace"
         local lines = later.data.lines
         assert.equal(50, #lines)
         assert.equal("line 3", lines[1].message.text)
         assert.equal("line 52", lines[50].message.text)
         grace.ws:close()
         local back <close> = speak "room.lobby"
         local answer = back:ask { type = "subscribe", params = { name = "Grace" },
            epoch = welcome.epoch, offset = 50 }
         assert.is_true(answer.data.recovered)
         assert.same({ 51, 52 }, { answer.data.messages[1].offset, answer.data.messages[2].offset })
      end)
   end)

   for what, params in pairs {
      ["no name"] = {},
      ["a number"] = 7,
      ["null"] = { name = json.null },
      ["a name that is a table"] = { name = { match = 1 } },
      ["a number as a name"] = { name = 7 },
      ["a blank name"] = { name = " \n " },
      ["a name of 25 characters"] = { name = ("ü"):rep(25) },
   } do
      it("chat.lua lets nobody in with " .. what, function()
         start "chat"
         within(20, function()
            local one <close> = speak "room.lobby"
            local answer = one:ask { type = "subscribe", params = params }
            assert.same({ "error", "bad_name", "A name has 1 to 24 characters." },
               { answer.type, answer.code, answer.message })
         end)
      end)
   end

   it("chat.lua takes a name of 24 characters", function()
      start "chat"
      within(20, function()
         local name = ("ü"):rep(24)
         local one <close>, welcome = enter_chat(name)
         assert.equal(name, welcome.presence[1].id)
         assert.equal("lobby", one.topic:match "%w+$")
      end)
   end)

   it("chat.lua answers what is no message, and goes on", function()
      start "chat"
      within(20, function()
         local one <close> = enter_chat "Ada"
         for _, bad in ipairs { "hello", {}, { text = 7 }, { text = "  " }, 7, json.null,
            { text = ("ü"):rep(501) } } do
            assert.equal("bad_text", one:publish(bad).code)
         end
         assert.equal("bad_text", one:publish({ text = "a" .. (" "):rep(900000) .. "b" }).code)
         local longest = ("ü"):rep(500)
         assert.equal(1, one:publish({ text = longest }).data.offset)
      end)
   end)

   it("chat.lua says which address is taken", function()
      start "chat"
      local second = example("chat", { port })
      local output, status = second:finish()
      assert.equal(1, status)
      assert.truthy(output:find(tostring(port), 1, true), output)
      assert.truthy(output:lower():find("in use", 1, true), output)
   end)
end)

describe("client.lua", function()
   local server, url, fifo

   before_each(function()
      server = example("chat", nil, { env = { PORT = 0 } })
      url = ("ws://127.0.0.1:%s/weft"):format(server:wait_for "://localhost:(%d+)/")
      fifo = os.tmpname()
      os.remove(fifo)
      assert(os.execute("mkfifo " .. fifo))
   end)

   after_each(function()
      server:stop "KILL"
      os.remove(fifo)
   end)

   -- What is written to this is what the client's user types. Opened both ways, so that it waits
   -- for nobody, and after the client was started, which would else inherit it and see no end.
   local function keyboard()
      local keys = assert(io.open(fifo, "r+"))
      keys:setvbuf "no"
      return keys
   end

   local function start(name)
      local client = example("client", { url, name }, { input = fifo })
      return client, keyboard()
   end

   local function ends_well(client, keys)
      keys:close()
      local rest, status = client:finish()
      assert.equal("* closed\n", rest)
      assert.equal(0, status)
   end

   it("shows what is said, and says what is typed", function()
      local client, keys = start "Ada"
      client:wait_for "^%* you are in room.lobby$"
      keys:write "hello there\n"
      client:wait_for "^Ada: hello there$"
      within(20, function()
         local ws <close> = assert(weft.connect(url, { protocols = { "weft.1" } }))
         ws:send(json.encode { type = "subscribe", id = 1, topic = "room.lobby",
            params = { name = "Grace" } })
         local welcome = json.decode((ws:receive())).data
         assert.equal("hello there", welcome.data.lines[1].message.text)
         ws:send(json.encode { type = "publish", id = 2, topic = "room.lobby",
            data = { text = "clear \27[2J \u{9b}2J\nscreen" } })
         repeat until json.decode((assert(ws:receive()))).type == "reply"
      end)
      client:wait_for "^%* Grace joins$"
      client:wait_for "^Grace: clear  %[2J  2J screen$"
      client:wait_for "^%* Grace leaves$"
      ends_well(client, keys)
   end)

   it("comes back when the server does, and says that lines may be missing", function()
      local client, keys = start "Ada"
      client:wait_for "^%* you are in room.lobby$"
      local port = url:match ":(%d+)/"
      server:stop "KILL"
      server = example("chat", { port })
      server:wait_for "://localhost:%d+/"
      client:wait_for "^%* lines may be missing here$"
      keys:write "back again\n"
      client:wait_for "^Ada: back again$"
      keys:close()
      server:stop "KILL" -- it has inherited the other end of the keyboard
      local _, status = client:finish()
      assert.equal(0, status)
   end)

   it("says what was not sent, and goes on", function()
      local client, keys = start "Ada"
      client:wait_for "^%* you are in room.lobby$"
      keys:write(("x"):rep(501) .. "\nshorter\n")
      client:wait_for "^%* not sent: A message has 1 to 500 characters.$"
      client:wait_for "^Ada: shorter$"
      ends_well(client, keys)
   end)

   it("says why the server lets it not in", function()
      local output, status = example("client", { url, ("x"):rep(25) }):finish()
      assert.equal(1, status)
      assert.truthy(output:find("A name has 1 to 24 characters.", 1, true), output)
   end)

   it("works in a terminal", function()
      local command = process.command(process.script("examples/client.lua", url, "Ada"))
      local client = process.start({ "script", "-qefc", "exec " .. command, "/dev/null" },
         { foreign = true, input = fifo })
      local keys = keyboard()
      client:wait_for "^%* you are in room.lobby\r?$"
      keys:write "hello there\n"
      client:wait_for "^Ada: hello there\r?$"
      keys:write "\4" -- Ctrl-D
      client:wait_for "%* closed\r?$"
      local _, status = client:finish()
      assert.equal(0, status)
      keys:close()
   end)

   it("says where nobody answers", function()
      server:stop "INT"
      local output, status = example("client", { url, "Ada" }):finish()
      assert.equal(1, status)
      assert.truthy(output:find(url:match "127[^/]+", 1, true), output)
   end)

   it("says how it is used", function()
      local output, status = example("client"):finish()
      assert.equal(2, status)
      assert.truthy(output:find "^usage: ")
   end)
end)

describe("tcp_echo.lua", function()
   it("goes through the steps of both flows", function()
      local output, status = example("tcp_echo"):finish()
      assert.equal(0, status, output)
      local said = { server = {}, client = {} }
      for who, what in output:gmatch "(%a+): ([^\n]*)" do
         table.insert(said[who], (what:gsub("%d+$", "N")))
      end
      assert.same({ "connected to port N", "got back warp", "got back weft", "closed" },
         said.client)
      assert.same({ "listening on port N", "accepted a peer", "received warp", "received weft",
         "closed" }, said.server)
   end)
end)

describe("pages by Server-Sent Events:", function()
   local child, port

   local function start(name, env)
      env = env or {}
      env.PORT = 0
      child = example(name, nil, { env = env })
      port = child:wait_for "://localhost:(%d+)/"
   end

   after_each(function()
      local rest, status = child:stop "INT"
      assert.equal(0, status)
      assert.falsy(rest:find "traceback", rest)
   end)

   -- What curl prints of an endless stream, line by line, until `pattern` was there.
   local function curl(path, pattern, ...)
      local reader = process.start({ "curl", "-sN", ("http://127.0.0.1:%s%s"):format(port, path),
         ... }, { foreign = true, limit = 30 })
      local found = reader:wait_for(pattern)
      reader:stop()
      return found
   end

   it("dashboard.lua measures the server, and remembers", function()
      start "dashboard"
      assert.truthy(http_get(port, "/dashboard.html"):find("dashboard.js", 1, true))
      local first = json.decode((curl("/numbers", "^data: (.*)$")))
      local second = json.decode((curl("/numbers", "^data: (.*)$")))
      assert.is_true(second.time > first.time)
      for _, name in ipairs { "connections", "requests", "cpu", "memory", "late" } do
         assert.equal("number", type(second[name]), name)
      end
      assert.is_true(second.connections >= 1 and second.memory > 0)
      local recent = json.decode(http_get(port, "/recent"):match "\r\n\r\n(.*)$")
      assert.is_true(#recent >= 2)
      assert.equal(first.time, recent[1].message.time)
   end)

   it("notify.lua pushes what curl sends, to who has the token", function()
      start("notify", { TOKEN = "0123456789abcdef" })
      assert.truthy(http_get(port, "/notify.html"):find("notify.js", 1, true))
      local function push(token)
         local poster = process.start({ "curl", "-s", "-w", "%{http_code}",
            ("http://127.0.0.1:%s/publish"):format(port), "-H", "authorization: Bearer " .. token,
            "-d", "topic=notices", "-d", 'data={"title":"It works"}' }, { foreign = true })
         return (poster:finish())
      end
      assert.matches("200$", push "0123456789abcdef")
      assert.matches("401$", push "another one, sir")
      push "0123456789abcdef"
      local id = curl("/notices?last_event_id=none:0", "^event: reset$") -- it knows nothing
      assert.truthy(id)
   end)
end)

describe("webhook.lua", function()
   it("asks a service by HTTP, and bears what that says", function()
      local child, port
      local app = weft.app {}
      local answers = { '{"reply":"hello too"}', "no JSON", false, "[1]", '{"reply":"again"}' }
      local asked = {}
      app:post("/bot", function(req)
         asked[#asked + 1] = json.decode((assert(req:body()))).text
         local text = answers[#asked]
         return text and 200 or 500, { ["content-type"] = "application/json" }, text or nil
      end)
      local address = assert(app:listen "127.0.0.1:0")
      child = example("webhook", { "http://" .. address .. "/bot", 0 })
      port = tonumber((child:wait_for "://localhost:(%d+)/"))
      within(20, function()
         local ws <close> = assert(weft.connect(("ws://127.0.0.1:%d/"):format(port)))
         ws:send "hello"
         assert.equal("hello", ws:receive())
         assert.equal("bot: hello too", ws:receive())
         for i = 1, 4 do
            ws:send("more " .. i)
            assert.equal("more " .. i, ws:receive())
         end
         assert.equal("bot: again", ws:receive())
         app:close()
      end)
      local rest, status = child:stop "INT"
      assert.equal(0, status, rest)
      assert.equal(2, select(2, rest:gsub("did not answer in JSON\n", "")))
      assert.truthy(rest:find("the service answered 500\n", 1, true))
      assert.equal("hello", asked[1])
   end)
end)

describe("redis.lua", function()
   it("joins the chats of two processes", function()
      local redis_port = daemon.free_port()
      local redis = process.start({ "redis-server", "--port", redis_port, "--save", "", "--bind",
         "127.0.0.1" }, { foreign = true })
      redis:wait_for "Ready to accept connections"
      local children, sockets = {}, {}
      for i = 1, 2 do
         children[i] = example("redis", { 0, redis_port })
         children[i].port = children[i]:wait_for "://localhost:(%d+)/"
      end
      within(20, function()
         for i, name in ipairs { "Ada", "Grace" } do
            sockets[i] = assert(weft.connect(("ws://127.0.0.1:%d/?name=%s"):format(
               children[i].port, name)))
         end
         -- what is said before the other process has subscribed is lost: say it again
         local said
         repeat
            sockets[1]:send "hello"
            said = sockets[2]:receive(0.2)
         until said
         said = json.decode(said)
         assert.same({ "Ada", "hello" }, { said.name, said.text })
         sockets[2]:send "and back"
         repeat said = json.decode((assert(sockets[1]:receive()))) until said.name == "Grace"
         assert.equal("and back", said.text)
         for _, ws in ipairs(sockets) do ws:close() end
      end)
      for _, child in ipairs(children) do
         local rest, status = child:stop "INT"
         assert.equal("", rest)
         assert.equal(0, status)
      end
      redis:stop()
   end)
end)
