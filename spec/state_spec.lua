-- Lua states: one that closes with everything open, two in one process, a copy after fork, one
-- whose memory runs out; and tasks that do anything to what they share.

local process = require "spec.process"
local pair = require "spec.scripts.pair"

local LUA = os.getenv "LUA" or "lua5.4"
local BUILD = os.getenv "WEFT_BUILD" or "build"
local CLEAN = os.getenv "WEFT_CLEAN_ENV" or "" -- not empty under a sanitizer

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

   -- valgrind and a sanitizer do not go together, and under `make gc` it takes minutes
   if CLEAN == "" and not os.getenv "WEFT_HOSTILE_GC" then
      it("ends without an invalid access or a leak, says valgrind", function()
         for _, how in ipairs { "exit", "task" } do
            local output, status = busy_state(how, { "valgrind", "-q", "--error-exitcode=9",
               "--leak-check=full", "--show-leak-kinds=definite",
               "--errors-for-leak-kinds=definite", "--suppressions=spec/scripts/valgrind.supp" })
            assert.equal(0, status, output)
         end
      end)
   end

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

describe("a process that forks, too,", function()
   it("keeps its connections on the main thread, whatever a child does", function()
      local output = with_states [[
         local server = states.new()
         local port = server:run [=[
            weft = require "weft"
            app = weft.app { close_timeout = 1 }
            app:websocket("/", function(ws) for m in ws:messages() do ws:send(m) end end)
            return tostring(math.tointeger(select(2, app:listen "127.0.0.1:0")))
         ]=]
         local function serve() server:run "weft.sleep(0.05)" end
         local ws
         weft.spawn(function() ws = weft.connect("ws://127.0.0.1:" .. port) end)
         repeat weft.sleep(0.01) serve() until ws
         for _, child in ipairs {
            function() ws = nil collectgarbage() end,
            function() assert(not pcall(ws.close, ws)) end,
            function() assert(not pcall(ws.send, ws, "child's")) end,
            function() pcall(ws.send, ws, ("child's"):rep(10000)) end,
            function() assert(not pcall(ws.try_send, ws, "child's")) end,
         } do
            local id = states.fork()
            if id == 0 then
               local ok = pcall(child)
               collectgarbage()
               states.quit(ok and 0 or 1)
            end
            assert(states.wait(id) == 0)
            ws:send "parent's"
            serve()
            print(ws:receive(5))
         end
      ]]
      assert.equal(("parent's\ttext\n"):rep(5), output)
   end)

   it("ends a child's copy of a group, which cannot wait any more", function()
      local output = with_states [[
         local id
         local function body(g)
            g:spawn(weft.sleep, 0.05)
            id = states.fork()
         end
         local function in_task() return weft.run(function() weft.group(body) end) end
         for _, run in ipairs { function() return weft.group(body) end, in_task } do
            local ok, err = pcall(run)
            if id == 0 then states.quit(not ok and err:find "forked" and 7 or 1) end
            print(ok, states.wait(id))
         end
      ]]
      assert.equal("true\t7\ntrue\t7\n", output)
   end)

   it("ends the loop of a task's child that goes on as if it were the parent", function()
      local output = with_states [[
         local app = weft.app { close_timeout = 1 }
         app:websocket("/", function(ws) for m in ws:messages() do ws:send(m) end end)
         local _, port = app:listen "127.0.0.1:0"
         local id
         local ok, err = pcall(weft.run, function()
            local ws = assert(weft.connect("ws://127.0.0.1:" .. port))
            id = states.fork()
            if id == 0 then return end
            for i = 1, 300 do
               ws:send(tostring(i))
               assert(ws:receive(5) == tostring(i))
            end
            ws:close()
            app:close()
         end)
         if id == 0 then states.quit(not ok and err:find "forked" and 7 or 1) end
         print(ok, err, states.wait(id))
      ]]
      assert.equal("true\tnil\t7\n", output)
   end)
end)

describe("memory that runs out", function()
   it("in one allocation, any, leaves a state that goes on and closes", function()
      local dir = assert(states_module())
      local step = os.getenv "WEFT_HOSTILE_GC" and 101 or 17
      local first = os.time() % step + 1 -- in time, all of them are tried
      local child = process.start({ LUA, "-e", ("package.cpath = %q .. '/?.so;' .. package.cpath")
         :format(dir), "spec/scripts/starved.lua", first, step, 600 // step }, { limit = 200 })
      local output, status = child:finish()
      assert.equal(0, status, ("first %d: %s"):format(first, output))
      assert.is_true(tonumber(output) > 300 // step)
   end)
end)

describe("chaos", function()
   local slow = CLEAN ~= "" or os.getenv "WEFT_HOSTILE_GC"

   -- The script with some seeds, each in a process of its own.
   local function run(script, n, expected)
      local children = {}
      for i, seed in ipairs { 1, 2, 3, os.time() } do
         children[i] = process.start({ LUA, script, seed, n }, { limit = 200 })
      end
      for _, child in ipairs(children) do
         local output, status = child:finish()
         assert.equal(expected, output, child.name)
         assert.equal(0, status, child.name)
      end
   end

   it("of tasks that do anything to shared handles ends in order", function()
      run("spec/scripts/chaos.lua", slow and 200 or 1500, "ended\n")
   end)

   it("on connections loses nothing, and changes nothing's order", function()
      run("spec/scripts/exchange.lua", slow and 20 or 100, "the same\n")
   end)
end)
