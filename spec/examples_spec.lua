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
   for _, name in ipairs { "chat", "client", "echo", "push", "redis", "tcp_echo",
      "webhook" } do
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

   local function connect(path)
      return assert(weft.connect(("ws://127.0.0.1:%d%s"):format(port, path)))
   end

   local function next_line(ws)
      return json.decode((assert(ws:receive())))
   end

   -- Enters the chat; what comes before the own join is the history.
   local function enter(name)
      local ws = connect "/chat"
      ws:send(json.encode { name = name })
      local history = next_line(ws)
      assert.equal("history", history.type)
      return ws, history.lines
   end

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
         local one <close> = connect "/live"
         local other <close> = connect "/live"
         for _, ws in ipairs { one, other } do
            assert.is_true(#next_line(ws) >= 1) -- what was there before
            local before = 0
            for _ = 1, 5 do
               local points = next_line(ws)
               assert.equal(1, #points)
               assert.is_true(points[1][1] > before)
               before = points[1][1]
            end
         end
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

   it("chat.lua tells who comes, says and leaves", function()
      start "chat"
      within(20, function()
         local ada <close>, history = enter "Ada"
         assert.same({}, history)
         assert.same({ type = "join", name = "Ada", people = { "Ada" } }, next_line(ada))
         local grace = enter "  Grace "
         local join = next_line(ada)
         table.sort(join.people)
         assert.same({ type = "join", name = "Grace", people = { "Ada", "Grace" } }, join)
         grace:send(json.encode { text = " <b>hi</b> \n" })
         local line = next_line(ada)
         assert.is_true(math.abs(line.time - os.time()) < 60)
         assert.same({ "say", "Grace", "<b>hi</b>" }, { line.type, line.name, line.text })
         grace:close()
         assert.same({ type = "leave", name = "Grace", people = { "Ada" } }, next_line(ada))
      end)
   end)

   it("chat.lua gives newcomers the last 50 lines", function()
      start "chat"
      within(20, function()
         local ada <close> = enter "Ada"
         next_line(ada)
         for i = 1, 52 do
            ada:send(json.encode { text = "line " .. i })
            assert.equal("line " .. i, next_line(ada).text)
         end
         local grace, history = enter "Grace"
         assert.equal(50, #history)
         assert.equal("line 3", history[1].text)
         assert.equal("line 52", history[50].text)
         assert.equal("join", next_line(grace).type)
         grace:close()
      end)
   end)

   for what, first in pairs {
      ["no JSON"] = "hello",
      ["no name"] = "{}",
      ["a list"] = "[1,2]",
      ["a number"] = "7",
      ["null"] = '{"name":null}',
      ["a name that is a table"] = '{"name":{"match":1}}',
      ["a number as a name"] = '{"name":7}',
      ["a blank name"] = '{"name":" \\n "}',
      ["half a surrogate pair"] = '{"name":"\\ud800"}',
      ["a name of 25 characters"] = json.encode { name = ("ü"):rep(25) },
      ["a text before a name"] = '{"text":"hello"}',
   } do
      it("chat.lua lets nobody in with " .. what, function()
         start "chat"
         within(20, function()
            local ws <close> = connect "/chat"
            ws:send(first)
            assert.is_nil((ws:receive()))
            assert.same({ 1008, "First a name, of 1 to 24 characters.", true }, { ws:closed() })
         end)
      end)
   end

   it("chat.lua takes a name of 24 characters", function()
      start "chat"
      within(20, function()
         local name = ("ü"):rep(24)
         local ws <close> = enter(name)
         assert.equal(name, next_line(ws).name)
      end)
   end)

   it("chat.lua answers what is no message, and goes on", function()
      start "chat"
      within(20, function()
         local ws <close> = enter "Ada"
         next_line(ws)
         for _, bad in ipairs { "hello", "[]", '{"text":7}', '{"text":"  "}',
            json.encode { text = ("ü"):rep(501) } } do
            ws:send(bad)
            assert.equal("error", next_line(ws).type)
         end
         local longest = ("ü"):rep(500)
         ws:send(json.encode { text = longest })
         assert.equal(longest, next_line(ws).text)
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
      url = ("ws://127.0.0.1:%s/chat"):format(server:wait_for "://localhost:(%d+)/")
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

   it("shows what is said, and says what is typed", function()
      local client, keys = start "Ada"
      client:wait_for "^%* Ada joins$"
      keys:write "hello there\n"
      client:wait_for "^Ada: hello there$"
      within(20, function()
         local ws <close> = assert(weft.connect(url))
         ws:send(json.encode { name = "Grace" })
         assert.equal("hello there", json.decode((ws:receive())).lines[1].text)
         ws:send(json.encode { text = "clear \27[2J \u{9b}2J\nscreen" })
      end)
      client:wait_for "^%* Grace joins$"
      client:wait_for "^Grace: clear  %[2J  2J screen$"
      client:wait_for "^%* Grace leaves$"
      keys:close()
      local rest, status = client:finish()
      assert.equal("* closed: 1000\n", rest)
      assert.equal(0, status)
   end)

   it("ends when the server goes", function()
      local client, keys = start "Ada"
      client:wait_for "^%* Ada joins$"
      server:stop "INT"
      client:wait_for "^%* closed: 1001$"
      local _, status = client:finish()
      assert.equal(0, status)
      keys:close()
   end)

   it("works in a terminal", function()
      local command = process.command(process.script("examples/client.lua", url, "Ada"))
      local client = process.start({ "script", "-qefc", "exec " .. command, "/dev/null" },
         { foreign = true, input = fifo })
      local keys = keyboard()
      client:wait_for "^%* Ada joins\r?$"
      keys:write "hello there\n"
      client:wait_for "^Ada: hello there\r?$"
      keys:write "\4" -- Ctrl-D
      client:wait_for "%* closed: 1000\r?$"
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
