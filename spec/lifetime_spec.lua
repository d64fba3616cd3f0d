-- Who outlives whom: handles that are collected, closed or raised over in every order, Lua
-- states that close with everything open, several states, forks.

local weft = require "weft"
local process = require "spec.process"
local server = require "spec.helper_server"
local pair = require "spec.scripts.pair"

local run, keep = server.run, server.keep
local LUA = os.getenv "LUA" or "lua5.4"
local BUILD = os.getenv "WEFT_BUILD" or "build"
local CLEAN = os.getenv "WEFT_CLEAN_ENV" or "" -- not empty under a sanitizer

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
         local task = weft.spawn(function()
            local a, b = pair.streams()
            local _ <close> = pair.closer { a, b }
            local _ <close> = pair.at_end(function() error "while it fails" end)
            weft.sleep(3600)
         end)
         weft.sleep(0.01)
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

local function busy_state(how, prefix)
   local argv = prefix or {}
   for _, word in ipairs { LUA, "spec/scripts/busy_state.lua", how } do argv[#argv + 1] = word end
   return process.start(argv, { limit = 60 }):finish()
end

describe("a Lua state", function()
   for how, status in pairs { ["return"] = 0, exit = 0, task = 0, error = 1, collect = 0,
      stuck = 0 } do
      it("ends well with everything open: " .. how, function()
         local output, got = busy_state(how)
         assert.equal(status, got, output)
         if how ~= "error" then assert.equal("", output) end
      end)
   end

   it("ends without an invalid access or a leak, says valgrind", function()
      if CLEAN ~= "" or not os.execute "command -v valgrind >/dev/null" then
         return pending "valgrind is not there, or a sanitizer is"
      end
      for _, how in ipairs { "exit", "task" } do
         local output, status = busy_state(how, { "valgrind", "-q", "--error-exitcode=9",
            "--leak-check=full", "--show-leak-kinds=definite",
            "--errors-for-leak-kinds=definite", "--suppressions=spec/scripts/valgrind.supp" })
         assert.equal(0, status, output)
      end
   end)

   it("that is half made, or made again, ends well", function()
      for _, code in ipairs { "", "package.loaded['weft.core'] = nil require 'weft.core'",
         "weft.run(function() end)",
         "kept = setmetatable({}, { __gc = function() weft.spawn(print) end })",
         "debug.getregistry()['weft.stream'] = nil" } do
         local output, status = pair.child(code)
         assert.equal("0", tostring(status), output)
      end
   end)

   it("closed under a finalizer older than weft tells it so", function()
      -- finalizers run from the youngest to the oldest: this one after weft's own
      local output, status = process.start({ LUA, "-e", [[
         local weft, stream, ws, task, channel
         oldest = setmetatable({}, { __gc = function()
            for _, f in ipairs {
               function() return stream:receive(1) end, function() return stream:send "x" end,
               function() stream:close() end, function() return tostring(stream) end,
               function() return task:join() end, function() return task:cancel() end,
               function() return tostring(task), task.status end,
               function() return weft.spawn(print) end, function() return weft.run(print) end,
               function() return weft.tcp() end, function() return weft.dial "127.0.0.1:1" end,
               function() return weft.dial "localhost:1" end, function() return weft.app {} end,
               function() return weft.sleep(1) end, function() return channel:receive() end,
               function() return weft.deadline(1, print) end, function() weft.on_error = print end,
               function() return weft.signal "USR1" end, function() return weft.stdin() end,
               function() return weft.group(print) end, function() return weft.now() end,
            } do pcall(f) end
            print(select(2, pcall(weft.sleep, 0)))
         end })
         weft = require "weft"
         local listener <close> = weft.listen "127.0.0.1:0"
         local _, port = listener:getsockname()
         stream = weft.dial("127.0.0.1:" .. math.tointeger(port))
         task, channel = weft.spawn(stream.receive, stream, 1), weft.channel()
         weft.sleep(0)
      ]] }, { limit = 10, env = { LUA_INIT = "" } }):finish() -- nothing may load weft before
      assert.equal(0, status, output)
      assert.truthy(output:find "the Lua state is closing\n$", output)
   end)
end)

-- What needs C: compiled here, beside the build. Nil when there is no compiler.
local function states_module()
   local dir = BUILD .. "/spec"
   local compile = ("%s mkdir -p %s && %s %s -shared -fPIC $(pkg-config --cflags %s) -o "
      .. "%s/states.so spec/scripts/states.c -lpthread"):format(CLEAN, dir, CLEAN,
      os.getenv "CC" or "cc", os.getenv "LUA_PKG" or "lua5.4", dir)
   return os.execute(compile) and dir
end

local function with_states(code)
   local dir = assert(states_module())
   return process.start({ LUA, "-e", ([[
      package.cpath = %q .. "/?.so;" .. package.cpath
      states = require "states" weft = require "weft" pair = require "spec.scripts.pair"
      %s]]):format(dir, code) }, { limit = 30 }):finish()
end

describe("two Lua states in one process", function()
   it("do not meet", function()
      local output, status = with_states [[
         local a, b = states.new(), states.new()
         local port = a:run [=[
            weft = require "weft"
            listener = assert(weft.listen "127.0.0.1:0")
            weft.spawn(function() for s in listener:each() do s:send "a's\n" s:close() end end)
            weft.sleep(0)
            return math.tointeger((select(2, listener:getsockname())))
         ]=]
         b:run [=[
            weft = require "weft"
            task = weft.spawn(weft.signal, "USR1")
            stuck = weft.spawn(weft.sleep, 3600)
            return weft.sleep(0)
         ]=]
         -- b's connection waits in the kernel until a's loop runs
         assert(b:run(("s = weft.dial '127.0.0.1:%d' return s:send 'x'"):format(port)) == "1")
         assert(a:run "return weft.sleep(0.01)" == "true")
         assert(b:run "return s:receive()" == "a's")
         assert(a:run "return select(3, weft.signal 'USR1')" == "busy")
         b:close()
         assert(a:run "return weft.deadline(0.001, weft.signal, 'USR1')" == "timeout")
         assert(weft.sleep(0))
         a:close()
         print "fine"
      ]]
      assert.equal("fine\n", output)
      assert.equal(0, status)
   end)

   it("may run in threads, all at once", function()
      local output = with_states [[
         print(states.threads(8, [=[
            local weft = require "weft"
            weft.run(function()
               local app <close> = weft.app { close_timeout = 1 }
               app:websocket("/", function(ws) for m in ws:messages() do ws:send(m) end end)
               local _, port = assert(app:listen "127.0.0.1:0")
               for i = 1, 10 do
                  local ws <close> = assert(weft.connect("ws://localhost:" .. port .. "/"))
                  for n = 1, 20 do
                     ws:send(("x"):rep(n * 100))
                     assert(#ws:receive() == n * 100)
                  end
               end
            end)
            return "ok"
         ]=]))
      ]]
      assert.equal("8\n", output)
   end)
end)

describe("a process that forks", function()
   it("tells its child that the loop is not its own", function()
      local output, status = with_states [[
         local listener = pair.listener()
         weft.sleep(0)
         local id = states.fork()
         if id == 0 then
            local bad = 0
            for _, f in ipairs { weft.sleep, weft.run, weft.spawn, weft.dial, weft.connect } do
               local ok, err = pcall(f, f == weft.sleep and 0 or f == weft.dial and "127.0.0.1:1"
                  or f == weft.connect and "ws://127.0.0.1:1" or print)
               if ok or not err:find "this process was forked" then bad = bad + 1 end
            end
            os.exit(bad, true)
         end
         print(states.wait(id))
         print(weft.sleep(0.001))
      ]]
      assert.equal("0\ntrue\n", output)
      assert.equal(0, status)
   end)

   it("may use weft in a fresh state of the child", function()
      local output = with_states [[
         weft.sleep(0)
         local id = states.fork()
         if id == 0 then
            local state = states.new()
            local said = state:run [=[
               local weft = require "weft"
               return weft.run(function() weft.sleep(0.001) return "fresh" end)
            ]=]
            state:close()
            states.quit(said == "fresh" and 0 or 1)
         end
         print(states.wait(id))
      ]]
      assert.equal("0\n", output)
   end)

   it("keeps its connections, whatever a child does with its copy", function()
      local output = with_states [[
         local app = weft.app { close_timeout = 1 }
         app:websocket("/", function(ws) for m in ws:messages() do ws:send(m) end end)
         local _, port = app:listen "127.0.0.1:0"
         local ws = assert(weft.connect("ws://127.0.0.1:" .. port))
         local function check(child)
            local near, far = pair.streams()
            near:send "queued" -- and not sent yet when it forks
            local id = states.fork()
            if id == 0 then child(near) end
            assert(states.wait(id) == 0)
            near:send " once"
            near:close()
            assert(far:receive "*a" == "queued once")
            assert(ws:send "hello" and ws:receive(5) == "hello")
         end
         weft.run(function()
            check(function() os.exit(0, true) end)
            check(function(near)
               ws, app, near = nil, nil, nil
               collectgarbage()
               os.exit(0, true)
            end)
            check(function()
               pcall(weft.sleep, 1)
               states.quit(0)
            end)
            ws:close()
            app:close()
         end)
         print(ws:closed())
      ]]
      assert.equal("1000\t\ttrue\n", output)
   end)
end)

describe("memory that runs out", function()
   it("in one allocation, any, leaves a state that goes on and closes", function()
      local dir = assert(states_module())
      local step = os.getenv "WEFT_HOSTILE_GC" and 101 or 17
      local first = os.time() % step + 1 -- in time, all of them are tried
      local child = process.start({ LUA, "-e", ("package.cpath = %q .. '/?.so;' .. package.cpath")
         :format(dir), "spec/scripts/starved.lua", first, step, 600 // step }, { limit = 50 })
      local output, status = child:finish()
      assert.equal(0, status, ("first %d: %s"):format(first, output))
      assert.is_true(tonumber(output) > 300 // step)
   end)
end)

describe("chaos", function()
   it("of tasks that do anything to shared handles ends in order", function()
      local steps = (CLEAN ~= "" or os.getenv "WEFT_HOSTILE_GC") and 300 or 1500
      local children = {}
      for i, seed in ipairs { 1, 2, 3, os.time() } do
         children[i] = process.start({ LUA, "spec/scripts/chaos.lua", seed, steps },
            { limit = 50 })
      end
      for _, child in ipairs(children) do
         local output, status = child:finish()
         assert.equal("ended\n", output, child.name)
         assert.equal(0, status, child.name)
      end
   end)
end)
