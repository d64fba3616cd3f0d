-- Who outlives whom: handles that are collected, closed or raised over, in every order.

local weft = require "weft"
local server = require "spec.helper_server"
local pair = require "spec.scripts.pair"

local run, keep = server.run, server.keep

local function collect()
   collectgarbage()
   collectgarbage()
end

-- Waits for what needs some turns of the loop.
local function eventually(condition)
   for _ = 1, 500 do
      if condition() then return end
      weft.sleep(0.002)
   end
   error("it did not happen", 2)
end

-- An app with handlers of ours, and a function that connects to it.
local function serve(handlers, opts)
   local app = server.app(opts or { close_timeout = 1 })
   for path, handler in pairs(handlers) do app:websocket(path, handler) end
   local _, port = assert(app:listen "127.0.0.1:0")
   return app, function(path)
      return assert(weft.connect(("ws://127.0.0.1:%d%s"):format(port, path or "/"),
         { close_timeout = 0.3 }))
   end
end

local function echo(ws)
   for message, kind in ws:messages() do ws:send(message, kind) end
end

describe("a handle that is collected", function()
   it("of a stream lets what is queued leave, then the peer sees the end", function()
      run(function()
         local near, far = pair.streams()
         keep(far)
         local data = ("collected "):rep(5000)
         near:send(data)
         local weak = setmetatable({ near }, { __mode = "v" })
         near = nil -- luacheck: ignore
         collect()
         assert.is_nil(weak[1])
         assert.is_true(far:receive "*a" == data)
      end)
   end)

   it("of a listener frees its port", function()
      run(function()
         local listener, port = pair.listener()
         local _ = tostring(listener)
         listener = nil -- luacheck: ignore
         collect()
         local again = assert(weft.listen("127.0.0.1:" .. port))
         again:close()
      end)
   end)

   it("of a tcp frees its port, too", function()
      run(function()
         local socket = weft.tcp()
         assert(socket:bind("127.0.0.1", 0))
         local _, port = socket:getsockname()
         socket = nil -- luacheck: ignore
         collect()
         assert(weft.listen("127.0.0.1:" .. math.tointeger(port))):close()
      end)
   end)

   it("of a WebSocket says goodbye to the peer", function()
      run(function()
         local code
         local _, connect = serve { ["/"] = function(ws)
            while ws:receive() do end
            code = ws:closed()
         end }
         local ws = connect()
         ws:send "last words"
         ws = nil -- luacheck: ignore
         collect()
         eventually(function() return code end)
         assert.equal(1001, code)
      end)
   end)

   it("is not collected while a task waits on it", function()
      run(function()
         local near, far = pair.streams()
         keep(far)
         local reader = weft.spawn(function(s) return s:receive "*a" end, near)
         local listener, port = pair.listener()
         local acceptor = weft.spawn(function(l) return l:accept() end, listener)
         near, listener = nil, nil -- luacheck: ignore
         weft.sleep(0)
         collect()
         far:send "it waited"
         far:shutdown "send"
         assert.equal("it waited", reader:join(5))
         keep(assert(weft.dial("127.0.0.1:" .. port)))
         keep(assert(acceptor:join(5)))
      end)
   end)

   it("is not collected while the handler runs that it was given to", function()
      run(function()
         local done = keep(weft.channel())
         local _, connect = serve { ["/"] = function() return done:receive() end }
         local ws = keep(connect())
         weft.sleep(0)
         collect()
         assert.is_number(ws:ping(5))
         assert.is_nil(ws:closed())
         done:close()
         assert.equal("closed", select(3, ws:receive(5)))
         assert.equal(1000, (ws:closed()))
      end)
   end)

   it("of a task leaves the task alone; of an app its listeners", function()
      run(function()
         local ended = false
         weft.spawn(function()
            weft.sleep(0.01)
            ended = true
         end)
         local app = weft.app {}
         app:websocket("/", echo)
         local _, port = app:listen "127.0.0.1:0"
         local weak = setmetatable({ app }, { __mode = "v" })
         app = nil -- luacheck: ignore
         collect()
         local ws = assert(weft.connect("ws://127.0.0.1:" .. port .. "/"))
         ws:send "still there?"
         assert.equal("still there?", (ws:receive(5)))
         ws:close()
         eventually(function() return ended end)
         weak[1]:close()
      end)
   end)

   it("of a channel lets waiting tasks be told apart from living ones", function()
      local output = pair.child [[
         weft.spawn(function() weft.channel():receive() end)
         collectgarbage()
         print(pcall(weft.run))
      ]]
      assert.truthy(output:find "1 task.s. wait and nothing is left", output)
   end)

   it("many times over costs no memory", function()
      run(function()
         local listener, port = pair.listener()
         keep(listener)
         local rounds = os.getenv "WEFT_HOSTILE_GC" and 3 or 300
         local before
         for i = 1, rounds do
            local near, far = weft.dial("127.0.0.1:" .. port), listener:accept()
            near:send "x"
            assert.equal("x", far:receive(1))
            local dropped = weft.spawn(function() far:receive(1) end)
            weft.sleep(0)
            dropped:cancel()
            if i == rounds // 3 then
               collect()
               before = collectgarbage "count"
            end
         end
         weft.sleep(0)
         collect()
         weft.sleep(0)
         assert.is_true(collectgarbage "count" - before < 100)
      end)
   end)
end)

describe("a message that was handled", function()
   it("is not kept by the loop that waits for the next one", function()
      run(function()
         local big, ends = ("m"):rep(512 * 1024), 6
         local _, connect = serve { ["/"] = echo }
         local connected = {}
         for i = 1, ends do connected[i] = connect() end
         local answers = weft.channel(ends)
         collect()
         local before = collectgarbage "count"
         for _, ws in ipairs(connected) do
            weft.spawn(function()
               for message in ws:messages() do answers:send(#message) end
            end)
            ws:send(big, "binary")
         end
         for _ = 1, ends do assert.equal(#big, answers:receive(10)) end
         weft.sleep(0)
         collect()
         -- both ends of each wait in messages(): 12 messages would be 6,144 KiB
         assert.is_true(collectgarbage "count" - before < 1024)
         for _, ws in ipairs(connected) do ws:close() end
      end)
   end)

   it("stays in the variables of a script that calls the iterator itself", function()
      run(function()
         local big = ("m"):rep(4096)
         local _, connect = serve { ["/"] = echo }
         local ws = connect()
         local next_message, state = ws:messages()
         ws:send(big)
         local last = next_message(state)
         weft.spawn(function() ws:send "small" end)
         assert.equal("small", (next_message(state, last)))
         assert.is_true(last == big)
         ws:close()
      end)
   end)

   it("stays what it was in a function of the loop's body", function()
      run(function()
         local big = ("m"):rep(4096)
         local _, connect = serve { ["/"] = echo }
         local ws = connect()
         local seen = {}
         ws:send(big)
         weft.spawn(function() weft.sleep(0) ws:send "small" end)
         for message in ws:messages() do
            seen[#seen + 1] = function() return message end
            if #seen == 2 then break end
         end
         assert.is_true(seen[1]() == big)
         assert.equal("small", seen[2]())
         ws:close()
      end)
   end)
end)

describe("a <close> variable", function()
   it("of every class closes its handle at the end of the block", function()
      run(function()
         local _, connect = serve { ["/"] = echo }
         local kept
         do
            local tcp <close> = weft.tcp()
            local listener <close> = pair.listener()
            local near, far = pair.streams()
            local stream <close> = near
            local ws <close> = connect()
            local app <close> = weft.app {}
            local channel <close> = weft.channel()
            kept = { tcp, listener, stream, ws, app, channel, far = keep(far) }
            for _, handle in ipairs(kept) do
               assert.is_nil(tostring(handle):find "closed")
            end
         end
         eventually(function() return kept[4]:closed() end)
         for _, handle in ipairs { kept[1], kept[2], kept[3], kept[4], kept[6] } do
            assert.truthy(tostring(handle):find "closed", tostring(handle))
         end
         assert.equal("", kept.far:receive "*a")
         assert.equal(1000, (kept[4]:closed()))
         assert.equal("closed", select(3, kept[5]:listen "127.0.0.1:0"))
         assert.equal("closed", select(3, kept[6]:receive()))
      end)
   end)

   it("closes a WebSocket with 1011 when an error passes, without waiting", function()
      run(function()
         local code = weft.channel(1)
         local _, connect = serve { ["/"] = function(ws)
            while ws:receive() do end
            code:send((ws:closed()))
         end }
         local start = weft.now()
         local ok, err = pcall(function()
            local _ <close> = connect()
            error "passes"
         end)
         assert.is_false(ok)
         assert.truthy(err:find "passes")
         assert.equal(1011, code:receive(5))
         assert.is_true(weft.now() - start < 5)
      end)
   end)

   it("that raises lets the others close", function()
      run(function()
         local near, far = pair.streams()
         keep(far)
         local ok, err = pcall(function()
            local _ <close> = near
            local _ <close> = pair.at_end(function() error "in the middle" end)
            local _ <close> = pair.at_end(function() near:send "first" end)
         end)
         assert.is_false(ok)
         assert.truthy(err:find "in the middle")
         assert.equal("first", far:receive "*a")
         local sleeping = weft.channel(1)
         local task = weft.spawn(function()
            local a, b = pair.streams()
            local _ <close> = pair.closer { a, b }
            local _ <close> = pair.at_end(function() error "while it fails" end)
            sleeping:send(true)
            weft.sleep(3600)
         end)
         sleeping:receive()
         task:cancel()
         assert.truthy(select(2, pcall(task.join, task)):find "while it fails")
      end)
   end)
end)

describe("tostring", function()
   it("names the class, the peer, and whether it is closed", function()
      run(function()
         local listener, port = pair.listener()
         keep(listener)
         local near = keep(assert(weft.dial("127.0.0.1:" .. port)))
         local here = ("127.0.0.1:%d"):format(port)
         assert.equal("weft.listener (at " .. here .. ")", tostring(listener))
         assert.equal("weft.stream (to " .. here .. ")", tostring(near))
         assert.equal("weft.tcp (not connected)", tostring(keep(weft.tcp())))
         local inside
         local app, connect = serve { ["/"] = function(ws)
            inside = { tostring(ws), tostring(ws.request) }
            while ws:receive() do end
         end }
         local ws = keep(connect())
         eventually(function() return inside end)
         assert.truthy(tostring(ws):find "^weft.websocket .127.0.0.1:%d+.$")
         assert.truthy(inside[1]:find "^weft.websocket .127.0.0.1:%d+.$")
         assert.equal("weft.request (GET / from 127.0.0.1)", inside[2])
         assert.truthy(tostring(app):find "^weft.app .*127.0.0.1:%d+")
         assert.truthy(tostring(weft.channel(3)):find "^weft.channel .*0 of 3")
         assert.truthy(tostring(weft.spawn(function() end)):find "^weft.task .*suspended")
         for _, handle in ipairs { listener, near, ws, app } do
            handle:close()
            assert.truthy(tostring(handle):find "closed", tostring(handle))
         end
      end)
   end)
end)

describe("closing a WebSocket", function()
   it("from inside its messages() loop ends the loop", function()
      run(function()
         local reached = weft.channel(1)
         local _, connect = serve { ["/"] = function(ws)
            for message in ws:messages() do
               if message == "stop" then ws:close(4001, "asked") end
            end
            reached:send((ws:closed()))
         end }
         local ws = connect()
         for _, message in ipairs { "go on", "stop", "too late" } do ws:send(message) end
         assert.equal(4001, reached:receive(5))
         for _ in ws:messages() do error "nothing was sent" end
         local code, reason, clean = ws:closed()
         assert.same({ 4001, "asked", true }, { code, reason, clean })
      end)
   end)

   it("while other tasks wait in receive, send, ping and close ends them all", function()
      run(function()
         local done = keep(weft.channel())
         local _, connect = serve { ["/"] = function(ws)
            done:receive()
            ws:close()
         end }
         local ws = connect()
         local tasks = {
            weft.spawn(function() return select(3, ws:receive()) end),
            weft.spawn(function()
               local ok, _, code
               repeat ok, _, code = ws:send(("x"):rep(1 << 20)) until not ok
               return code
            end),
            weft.spawn(function() return select(3, ws:ping()) end),
         }
         weft.sleep(0.05)
         local closer = weft.spawn(function() return ws:close() end)
         weft.sleep(0)
         assert.is_true(ws:close())
         assert.is_true(closer:join(5))
         for _, task in ipairs(tasks) do assert.equal("closed", task:join(5)) end
         assert.is_number((ws:closed()))
      end)
   end)

   it("works in every order of the two ends, the app and the listener", function()
      run(function()
         local orders = {
            { "client", "server", "app" }, { "client", "app", "server" },
            { "server", "client", "app" }, { "server", "app", "client" },
            { "app", "client", "server" }, { "app", "server", "client" },
            { "server", "server", "client", "client", "app", "app" }, { "app" }, {},
         }
         for _, order in ipairs(orders) do
            local handed = weft.channel(1)
            local ends = {}
            local ended = weft.channel(1)
            ends.app = weft.app { close_timeout = 0.5 }
            ends.app:websocket("/", function(ws)
               handed:send(ws)
               ended:receive(0.3)
            end)
            local _, port = ends.app:listen "127.0.0.1:0"
            ends.client = assert(weft.connect("ws://127.0.0.1:" .. port))
            ends.server = handed:receive(5)
            for _, who in ipairs(order) do ends[who]:close() end
            ended:close()
            ends.app:close()
            assert.equal("closed", select(3, ends.client:receive(5)))
         end
      end)
   end)

   it("at the same time from both ends is clean", function()
      run(function()
         local both = weft.channel(1)
         local _, connect = serve { ["/"] = function(ws)
            both:receive()
            ws:close(4002)
         end }
         local ws = connect()
         both:send "now"
         weft.spawn(function() ws:close(4003) end)
         eventually(function() return ws:closed() end)
         assert.is_true(select(3, ws:closed()))
      end)
   end)

   it("in a handler that then returns, raises or goes on is the same close", function()
      run(function()
         local seen = server.errors(function()
            local _, connect = serve {
               ["/returns"] = function(ws) ws:close(4000) end,
               ["/raises"] = function(ws)
                  ws:close(4000)
                  error "after the close"
               end,
               ["/goes-on"] = function(ws)
                  ws:close(4000)
                  assert(ws:send "x" == nil and ws:receive() == nil and ws:close(4001))
                  for _ in ws:messages() do error "it is closed" end
               end,
            }
            for _, path in ipairs { "/returns", "/raises", "/goes-on" } do
               local ws = connect(path)
               assert.is_nil((ws:receive(5)))
               assert.equal(4000, (ws:closed()))
            end
            weft.sleep(0.01)
         end)
         assert.equal(1, #seen)
         assert.truthy(seen[1]:find "after the close")
      end)
   end)

   it("of another's from a handler, and of a subscriber while it is published to", function()
      run(function()
         local all, n = {}, 0
         local app, connect = serve { ["/"] = function(ws)
            n = n + 1
            all[n] = ws
            ws:subscribe "all"
            for _ in ws:messages() do
               for i, other in ipairs(all) do
                  if other ~= ws then weft.spawn(other.close, other, 4000 + i) end
                  ws:publish("all", "message " .. i)
               end
            end
         end }
         local clients = {}
         for i = 1, 5 do clients[i] = connect() end
         eventually(function() return n == 5 end)
         clients[3]:send "go"
         for i, ws in ipairs(clients) do
            if i ~= 3 then
               while ws:receive(5) do end
               assert.is_true(ws:closed() > 4000)
            end
         end
         assert.is_nil(clients[3]:closed())
         assert.equal(1, app:publish("all", "x"))
         clients[3]:close()
      end)
   end)
end)

describe("a handler that raises", function()
   it("closes its connection with 1011, is reported, and harms nobody else", function()
      run(function()
         local line
         local seen = server.errors(function()
            local _, connect = serve { ["/"] = function(ws)
               for message in ws:messages() do
                  if message == "fail" then
                     line = debug.getinfo(1, "l").currentline + 1
                     error "handler broken"
                  end
                  ws:send(message)
               end
            end }
            local others, bad = { connect(), connect() }, connect()
            bad:send "fail"
            assert.equal("closed", select(3, bad:receive(5)))
            assert.equal(1011, (bad:closed()))
            for _, ws in ipairs(others) do
               ws:send "well?"
               assert.equal("well?", (ws:receive(5)))
               ws:close()
            end
            weft.sleep(0)
         end)
         assert.equal(1, #seen)
         assert.truthy(seen[1]:find("spec/lifetime_spec.lua:" .. line .. ": handler broken", 1,
            true), seen[1])
         assert.truthy(seen[1]:find "stack traceback:\n.*lifetime_spec.lua:%d+: in ", seen[1])
      end)
   end)

   it("before it received anything, with its client's messages unread, too", function()
      run(function()
         local seen = server.errors(function()
            local go = keep(weft.channel())
            local _, connect = serve { ["/"] = function()
               go:receive()
               error {}
            end }
            local ws = connect()
            for _ = 1, 100 do ws:send(("x"):rep(1000)) end
            weft.sleep(0.01)
            go:close()
            assert.is_nil((ws:receive(5)))
            assert.equal(1011, (ws:closed()))
         end)
         assert.equal(1, #seen)
      end)
   end)
end)

describe("a finalizer that runs", function()
   -- In the n-th allocation of what follows, as near as Lua can be made to say.
   local finalizers = [[
      local core, pair = require "weft.core", require "spec.scripts.pair"
      local function finalize(f, n)
         setmetatable({}, { __gc = function() return n > 1 and finalize(f, n - 1) or f() end })
      end
      local function at(n, f)
         collectgarbage("incremental", 1, 400, 30) collectgarbage() collectgarbage "stop"
         finalize(f, n)
         collectgarbage "restart"
      end
   ]]

   it("within a call may close what that is at", function()
      pair.expect_output("closed in time\n", finalizers .. [[
         for n = 1, 4 do
            local near, far = pair.streams()
            near:send(("x"):rep(20000) .. "\n")
            repeat core.sleep(0.001) core.read_some(far, 1) until core.pending(far) > 19000
            at(n, function() far:close() end)
            far:receive "*l"
            near, far = pair.streams()
            near:send "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
            at(n, function() far:close() end)
            core.read_head(far, "request", 4096, 8192, 64, 1)
            local app = weft.app { close_timeout = 0.1 }
            local ws
            app:websocket("/", function(it)
               for i = 1, 20 do it:subscribe(("a-long-topic."):rep(4) .. i) end
               ws = it
               weft.sleep(5)
            end)
            local _, port = app:listen "127.0.0.1:0"
            local client = weft.connect("ws://127.0.0.1:" .. port)
            repeat weft.sleep(0.001) until ws
            at(n, function() ws:close() end)
            core.topics_of(ws)
            collectgarbage("incremental", 200, 100, 13)
            client:close() app:close()
         end
         print "closed in time"
      ]])
   end)

   it("on the main thread is told that it cannot wait", function()
      pair.expect_output("false\tfalse\n", [[
         local waited, ran
         local function f() waited, ran = pcall(weft.sleep, 0), pcall(weft.run, print) end
         setmetatable({}, { __gc = f })
         collectgarbage()
         print(waited, ran)
      ]])
   end)
end)
