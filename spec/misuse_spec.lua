-- What cannot be right is told at the line of the script that did it, in the name of what it
-- called, and leaves everything as it was. Options' own rows are in the specs of their modules.

local weft = require "weft"
local pair = require "spec.scripts.pair"
local server = require "spec.helper_server"
local raw = require "spec.raw"

local run, blame, SOON = raw.run, server.blame, raw.SOON
local NAN = 0 / 0

-- rows: { what is called, its message begins with this, and holds this }
local function all_told(rows)
   for i, row in ipairs(rows) do
      local message = blame(row[1])
      local begins = message:sub(1, #row[2]) == row[2]
      assert.truthy(begins and message:find(row[3], 1, true), i .. ": " .. message)
   end
end

-- Methods that are called with a dot: on nothing, and on their first argument.
local function dotted(handle, name, methods)
   for method in methods:gmatch "%S+" do
      all_told {
         { function() handle[method]() end, name .. ":" .. method, "with a colon" },
         { function() handle[method]("x") end, name .. ":" .. method, "got string" },
      }
   end
end

-- What a route's handler finds wrong is told here.
local function in_handler(app, path, f)
   local result = weft.channel(1)
   app:post(path, function(req)
      result:send { pcall(f, req) }
      return 200
   end)
   return function(port)
      assert(weft.http.post(("http://127.0.0.1:%d%s?a=1"):format(port, path), "abc"))
      local outcome = result:receive(SOON)
      if not outcome[1] then error(outcome[2], 0) end
   end
end

describe("a forgotten colon", function()
   it("is told for what has its methods in Lua", function()
      run(function()
         local app = server.app()
         local channel = weft.channel(1)
         dotted(app, "app", "get websocket listen publish topic subscribe stats close channel")
         local mine = setmetatable({}, { __index = app }) -- a script's own class, built on it
         assert.equal(0, (mine:publish("t", "x")))
         dotted(app:subscribe "t", "subscription", "receive each close")
         dotted(weft.session { keys = { ("k"):rep(32) } }, "session", "read save clear")
         dotted(channel, "channel", "each close")
         weft.group(function(g) dotted(g, "group", "spawn cancel") end)
         all_told {
            { function() channel.send(1) end, "channel:send", "with a colon" },
            { function() channel.send() end, "channel:send", "with a colon" },
            { function() channel:send(nil) end, "channel:send", "nil cannot be sent" },
            { function() channel.receive() end, "channel:receive", "with a colon" },
         }
      end)
   end)

   it("is told for sockets, requests, answers and websockets", function()
      run(function()
         local app = server.app()
         app:websocket("/ws", function(ws)
            dotted(ws, "websocket", "subscribe publish unsubscribe subscriptions chunks")
            ws:send "fine"
         end)
         local ask = in_handler(app, "/req", function(req)
            dotted(req, "request", "body form json args arg cookies cookie basic set_header")
         end)
         local _, port = assert(app:listen "127.0.0.1:0")
         ask(port)
         local ws = server.keep(assert(weft.connect(raw.url(port))))
         assert.equal("fine", ws:receive(SOON))
         dotted(server.keep(assert(weft.listen "127.0.0.1:0")), "listener", "accept each")
         dotted(server.keep(weft.tcp()), "tcp", "bind connect")
         dotted(server.keep(weft.udp()), "udp", "bind connect sendto")
         local answer = server.keep(assert(weft.http.get(("http://127.0.0.1:%d/"):format(port))))
         dotted(answer, "answer", "read chunks header values close")
      end)
   end)
end)

describe("misuse", function()
   it("of times: negative, NaN, and what is no number, also where nothing would wait", function()
      run(function()
         local port, app = raw.app(function(ws)
            ws:send "1"
            ws:receive()
         end)
         local channel, ws = weft.channel(2), server.keep(assert(weft.connect(raw.url(port))))
         local sub, task = app:subscribe "t", weft.spawn(function() end)
         app:publish("t", "x")
         channel:send "x"
         weft.sleep(0)
         for _, bad in ipairs { -1, NAN, "soon", {} } do
            all_told {
               { function() channel:receive(bad) end, "channel:receive: ", "0 or more" },
               { function() sub:receive(bad) end, "subscription:receive: ", "0 or more" },
               { function() ws:receive(bad) end, "bad argument #1 to 'receive'", "number" },
               { function() task:join(bad) end, "bad argument #1 to 'join'", "number" },
               { function() weft.deadline(bad, print) end, "weft.deadline: the time must be", "" },
               { function() weft.sleep(bad) end, "bad argument #1 to 'sleep'", "" },
            }
         end
         for _, socket in ipairs { weft.tcp(), weft.udp() } do
            server.keep(socket)
            all_told { { function() socket:settimeout(NAN) end, "bad argument", "seconds" } }
         end
         assert.equal("1", ws:receive(SOON))
         assert.equal("x", channel:receive())
         assert.equal("x", (sub:receive()))
      end)
   end)

   it("of sockets' ports and options", function()
      run(function()
         local udp, tcp = server.keep(weft.udp()), server.keep(weft.tcp())
         all_told {
            { function() udp:sendto("x", "127.0.0.1", 0) end, "udp:sendto: ", "from 1 to 65535" },
            { function() udp:connect("127.0.0.1", 0) end, "udp:connect: ", "from 1 to 65535" },
            { function() udp:connect("127.0.0.1", 65536) end, "udp:connect: ", "got 65536" },
            { function() udp:bind("127.0.0.1", -1) end, "udp:bind: ", "from 0 to 65535" },
            { function() tcp:connect_ip("127.0.0.1\0.example", 9) end, "bad argument #1", "NUL" },
            { function() tcp:bind_ip("127.0.0.1\0", 0) end, "bad argument #1", "NUL" },
            { function() udp:sendto_ip("x", "127.0.0.1\0", 9) end, "bad argument #2", "NUL" },
            { function() tcp:getoption "what" end, "getoption: ", "unknown option 'what'" },
            { function() tcp:setoption("what", 1) end, "setoption: ", "unknown option 'what'" },
         }
      end)
   end)

   it("of topics on a client's connection", function()
      run(function()
         local port = raw.app(function(ws) ws:receive() end)
         local ws = server.keep(assert(weft.connect(raw.url(port))))
         all_told {
            { function() ws:subscribe "t" end, "ws:subscribe: ", "a client connection has none" },
            { function() ws:publish("t", "x") end, "ws:publish: ", "a client connection has none" },
            { function() ws:unsubscribe "t" end, "ws:unsubscribe: ", "a client connection" },
         }
      end)
   end)

   it("of requests and sessions", function()
      run(function()
         local app = server.app()
         local session = weft.session { keys = { ("k"):rep(32) } }
         local ask = in_handler(app, "/req", function(req)
            for _, bad in ipairs { -1, 1.5, NAN, "1", {} } do
               all_told {
                  { function() req:body(bad) end, "req:body: ", "bytes, 0 or more" },
                  { function() req:form(bad) end, "req:form: ", "bytes, 0 or more" },
                  { function() req:json(bad) end, "req:json: ", "bytes, 0 or more" },
               }
            end
            all_told {
               { function() req:arg() end, "req:arg: ", "a string" },
               { function() req:cookie(5) end, "req:cookie: ", "a string" },
               { function() session:read() end, "session:read: ", "a weft.request, got a nil" },
               { function() session:save({}, {}) end, "session:save: ", "a weft.request" },
               { function() session:clear "x" end, "session:clear: ", "a weft.request" },
            }
            for name in ("method path target query headers remote secure body json header")
               :gmatch "%S+" do
               all_told { { function() req[name] = "mine" end, "a request's '" .. name .. "'",
                  "cannot be set" } }
            end
            req.mine, req.user, req[1] = 1, 2, 3
            assert(req.mine == 1 and req.user == 2 and req[1] == 3 and req.method == "POST")
            assert(req:body() == "abc" and req:arg "a" == "1")
         end)
         local _, port = assert(app:listen "127.0.0.1:0")
         ask(port)
         local keys = { ("k"):rep(32) }
         all_told {
            { function() weft.session { keys = keys, name = "a b" } end, "weft.session: ", "name" },
            { function() weft.session { keys = keys, name = "__Host-a", path = "/x" } end,
               "weft.session: ", 'path = "/"' },
            { function() weft.json({}, 200, 1) end, "weft.json: the headers", "a table" },
         }
      end)
   end)

   it("of HTTP's methods, which have capitals, and of an answer's fields", function()
      run(function()
         local app = server.app()
         app:get("/", function() return weft.json({}, 200, { ["Content-Type"] = "text/x" }) end)
         local _, port = assert(app:listen "127.0.0.1:0")
         local url = ("http://127.0.0.1:%d/"):format(port)
         local answer = assert(weft.http.get(url))
         assert.same({ "text/x" }, answer:values "content-type")
         all_told {
            { function() answer:header() end, "answer:header: ", "a string" },
            { function() answer:values() end, "answer:values: ", "a string" },
            { function() weft.http.request(url, { method = "get" }) end,
               'weft.http.request: option "method"', "in capitals" },
         }
      end)
   end)

   it("of a body's iterator", function()
      run(function()
         local app = server.app()
         app:post("/", function(req) return 200, nil, req:body() end)
         local _, port = assert(app:listen "127.0.0.1:0")
         for text, f in pairs { ["must return strings, got a number"] = function() return 5 end,
            ["a table of trailer fields, got a number"] = function() return nil, 5 end } do
            local ok, message = pcall(weft.http.post, "http://127.0.0.1:" .. port, f)
            assert.is_false(ok)
            assert.truthy(message:find(text, 1, true), message)
         end
      end)
   end)

   it("of stop_on, where a set of codes would stop nothing", function()
      for _, bad in ipairs { { closed = true }, { [1008] = true }, { [3] = 1008 } } do
         all_told { { function() weft.reconnect("ws://x/", { stop_on = bad }) end,
            'weft.reconnect: option "stop_on" must', "" } }
      end
   end)
end)

describe("without lua-cjson", function()
   it("what needs it says so when it is made, and all else works", function()
      local output, status = pair.child [[
         package.preload.cjson = function() error "there is none" end
         local weft = require "weft"
         local app = weft.app {}
         for _, make in ipairs {
            function() app:channel("c", {}) end, function() weft.channel_client "ws://x/" end,
            function() weft.session { keys = { ("k"):rep(32) } } end,
            function() app:publish("t", {}) end } do print(select(2, pcall(make))) end
         app:topic("t", { history = true })
         app:events("/t", "t")
         app:publisher("/publish", { token = ("t"):rep(16) })
         for _, message in ipairs { "text", 5, true } do app:publish("t", message) end
         weft.run(function()
            local _, port = assert(app:listen "127.0.0.1:0")
            local url = "http://127.0.0.1:" .. port
            print(weft.http.post(url .. "/publish?topic=t&event=e", "more",
               { headers = { authorization = "Bearer " .. ("t"):rep(16) } }).status)
            local epoch = select(2, app:history "t")
            print((weft.http.get(url .. "/t?poll&since=" .. epoch .. ":0").body
               :gsub('"epoch":"[^"]*",', "")))
            for _, entry in ipairs((app:history "t")) do io.write(tostring(entry.message), " ") end
            app:close()
         end)
      ]]
      local missing = ": weft: JSON needs lua%-cjson %(Debian's lua%-cjson, "
         .. "LuaRocks' lua%-cjson%)\n"
      local wanted = "^[^\n]*:5: app:channel" .. missing
         .. "[^\n]*:5: weft.channel_client" .. missing
         .. "[^\n]*:6: weft.session" .. missing .. "[^\n]*:7: app:publish" .. missing
         .. '200\n{"topic":"t","offset":4,"recovered":true,"messages":%['
         .. '{"offset":1,"data":"text"},{"offset":2,"data":5},{"offset":3,"data":true},'
         .. '{"offset":4,"event":"e","data":"more"}%]}\ntext 5 true more $'
      assert.truthy(output:find(wanted), output)
      assert.equal(0, status)
   end)
end)

describe("channels", function()
   it("can be put elsewhere after a mistake", function()
      run(function()
         local app = server.app()
         app:channel("c", {})
         app:get("/taken", function() return 200 end)
         all_told {
            { function() app:channels "x" end, 'route "x"', "begins with" },
            { function() app:channels("/x", { low_mark = 9, high_mark = 8 }) end, "app:channels: ",
               "in that order" },
            { function() app:channels "/taken" end, 'route "/taken"', "GET has a handler" },
         }
         app:channels "/good"
         local _, port = assert(app:listen "127.0.0.1:0")
         local client <close> = weft.channel_client(("ws://127.0.0.1:%d/good"):format(port))
         assert(client:subscribe "c")
         assert.equal(404, assert(weft.http.get(("http://127.0.0.1:%d/x"):format(port))).status)
      end)
   end)

   it("whose usual place is taken keep the app from listening, and nothing else", function()
      run(function()
         local app = server.app()
         app:get("/weft", function() return 200 end)
         app:channel("c", {})
         all_told { { function() app:listen "127.0.0.1:0" end, 'route "/weft"', "GET has a" } }
         assert.equal("weft.app ()", tostring(app))
         app:channels "/elsewhere"
         local _, port = assert(app:listen "127.0.0.1:0")
         local url = "ws://127.0.0.1:" .. port
         local good <close> = weft.channel_client(url .. "/elsewhere")
         assert(good:subscribe "c")
         local other <close> = weft.channel_client(url .. "/nowhere")
         local _, message, code = other:subscribe "c"
         assert.equal("refused", code)
         assert.truthy(message:find "^weft%.channel_client: ws://", message)
      end)
   end)

   it("have rooms whose times are checked", function()
      run(function()
         local app = server.app()
         app:channel("c", {})
         local _, port = assert(app:listen "127.0.0.1:0")
         local client <close> = weft.channel_client(("ws://127.0.0.1:%d/weft"):format(port))
         local room = assert(client:subscribe "c")
         dotted(room, "room", "receive event publish call presence close")
         dotted(client, "channel_client", "subscribe close")
         for _, bad in ipairs { -1, NAN, "soon", {} } do
            all_told {
               { function() room:receive(bad) end, "room:receive: ", "0 or more" },
               { function() room:event(bad) end, "room:event: ", "0 or more" },
               { function() room:call("x", 1, bad) end, "room:call: ", "0 or more" },
               { function() room:presence(bad) end, "room:presence: ", "0 or more" },
               { function() client:subscribe("d", nil, bad) end, "client:subscribe: ", "0 or" },
            }
         end
      end)
   end)
end)

describe("the name of an event", function()
   it("that a peer has made up ends no stream of others, and none is kept that cannot be sent",
      function()
         run(function()
            local app = server.app()
            app:channel("c.*", { history = true, receive = true })
            app:events("/c", "c.1")
            local _, port = assert(app:listen "127.0.0.1:0")
            local stream = server.keep(assert(weft.http.get(("http://127.0.0.1:%d/c"):format(port),
               { stream = true })))
            assert.truthy(stream:read():find "^id: ")
            local ws = server.keep(assert(weft.connect(("ws://127.0.0.1:%d/weft"):format(port),
               { protocols = "weft.1" })))
            ws:send '{"type":"subscribe","topic":"c.1","id":1}'
            ws:send '{"type":"publish","topic":"c.1","id":2,"data":1,"event":"a\\nb"}'
            assert.truthy(ws:receive(SOON):find('"type":"reply"', 1, true))
            assert.truthy(ws:receive(SOON):find('"code":"bad_request"', 1, true))
            blame(function() app:publish("c.1", "x", { event = "\xff" }) end)
            assert.equal(1, select(3, app:publish("c.1", "fine", { event = "good" })))
            assert.truthy(stream:read():find("event: good", 1, true))
         end)
      end)
end)
