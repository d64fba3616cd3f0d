-- Plain scripts: waiting calls on the main Lua thread, outside of weft.run.

local weft = require "weft"
local process = require "spec.process"
local pair = require "spec.scripts.pair"

local LUA = os.getenv "LUA" or "lua5.4"

-- Each test within a bound, on the main thread.
local function bounded(f)
   return function() weft.deadline(10, f) end
end

local function times_out(...)
   local result, message, code = ...
   assert.is_nil(result)
   assert.is_string(message)
   assert.equal("timeout", code)
end

local function echo_app()
   local app = weft.app { close_timeout = 1 }
   app:websocket("/", function(ws)
      for message, kind in ws:messages() do ws:send(message, kind) end
   end)
   local _, port = assert(app:listen "127.0.0.1:0")
   return app, "ws://127.0.0.1:" .. port .. "/"
end

-- A script in a process of its own, which is told a port of ours as `port`.
local function script(port, code)
   return process.start({ LUA, "-e", ([[weft, port = require "weft", %d
      function dial() return assert(weft.dial("127.0.0.1:" .. port)) end
      %s]]):format(port, code) }, { limit = 10 })
end

describe("the main thread", function()
   it("is a WebSocket client like any task", bounded(function()
      local app, url = echo_app()
      local _ <close> = app
      local ws = assert(weft.connect(url))
      assert.is_true(ws:send "hi")
      assert.same({ "hi", "text" }, { ws:receive() })
      assert.is_number(ws:ping(1))
      for i = 1, 3 do ws:send(("m%d"):format(i), "binary") end
      local got = {}
      for message, kind in ws:messages() do
         got[#got + 1] = message
         assert.equal("binary", kind)
         if #got == 3 then break end
      end
      assert.same({ "m1", "m2", "m3" }, got)
      times_out(ws:receive(0.01))
      assert.is_true(ws:close(1000, "bye"))
      local code, _, clean = ws:closed()
      assert.same({ 1000, true }, { code, clean })
      assert.equal("closed", select(3, ws:receive()))
   end))

   it("dials, sends, receives, closes", bounded(function()
      local listener, port = pair.listener()
      local _ <close> = listener
      local server = weft.spawn(function()
         local peer <close> = assert(listener:accept())
         assert(peer:send(assert(peer:receive "*l"):upper() .. "\n"))
         return peer:receive "*a"
      end)
      local stream <close> = assert(weft.dial("127.0.0.1:" .. port))
      stream:send "hello\n"
      assert.equal("HELLO", stream:receive "*l")
      stream:send "rest"
      stream:close()
      assert.equal("rest", server:join())
   end))

   it("accepts what a spawned client sends", bounded(function()
      local listener, port = pair.listener()
      local _ <close> = listener
      weft.spawn(function()
         for i = 1, 3 do
            local stream <close> = assert(weft.dial("127.0.0.1:" .. port))
            stream:send(i .. "\n")
         end
      end)
      local got = {}
      for stream in listener:each() do
         got[#got + 1] = stream:receive "*l"
         stream:close()
         if #got == 3 then break end
      end
      assert.same({ "1", "2", "3" }, got)
   end))

   it("goes through the steps of weft.tcp", bounded(function()
      local listening <close> = weft.tcp()
      assert(listening:bind("127.0.0.1", 0))
      assert(listening:listen())
      local _, port = listening:getsockname()
      local client <close> = weft.tcp()
      assert(client:connect("localhost", port)) -- the kernel accepts for the listener
      local peer <close> = assert(listening:accept())
      assert.equal(4, client:send "ping")
      assert.equal("ping", peer:receive(4))
      client:close()
      assert.same({ nil, "closed", "", "closed" }, { peer:receive(1) })
   end))

   it("moves more than the buffers hold while a task reads", bounded(function()
      local near, far = pair.streams()
      local _ <close> = pair.closer { near, far }
      local task = weft.spawn(function()
         local n = 0
         while n < 4 << 20 do n = n + #assert(far:receive(1 << 18)) end
         return n
      end)
      assert.equal(4 << 20, near:send(("0123456789abcdef"):rep(1 << 18)))
      assert.equal(4 << 20, task:join())
   end))

   it("times out, everywhere", bounded(function()
      local listener <close> = pair.listener()
      local near, far = pair.streams()
      local _ <close> = pair.closer { near, far }
      listener:settimeout(0.002)
      times_out(listener:accept())
      far:send "par"
      near:settimeout(0.02)
      assert.same({ nil, "timeout", "par", "timeout" }, { near:receive(5) })
      times_out(weft.channel():receive(0.002))
      times_out(weft.spawn(weft.sleep, 0.01):join(0.002))
      weft.deadline(0.002, function() times_out(weft.sleep(3600)) end)
      assert.is_true(weft.sleep(0))
      weft.run() -- the task that was joined
   end))

   it("sleeps, joins, hands over through channels, and waits for groups", bounded(function()
      local start = weft.now()
      assert.is_true(weft.sleep(0.01))
      assert.is_true(weft.now() - start >= 0.0095)
      local task = weft.spawn(function()
         weft.sleep(0)
         error("heard", 0)
      end)
      local ok, err = pcall(task.join, task)
      assert.same({ false, "heard" }, { ok, err })
      local ch = weft.channel()
      weft.spawn(function() for i = 1, 3 do ch:send(i) end ch:close() end)
      local sum = 0
      for i in ch:each() do sum = sum + i end
      assert.equal(6, sum)
      assert.equal("x", weft.group(function(g)
         g:spawn(weft.sleep, 0)
         return "x"
      end))
   end))

   it("keeps tasks going only while it waits", bounded(function()
      local turns = 0
      local task = weft.spawn(function()
         while true do
            turns = turns + 1
            weft.sleep(0)
         end
      end)
      assert.equal(0, turns)
      weft.sleep(0.002)
      local before = turns
      assert.is_true(before > 0)
      collectgarbage()
      assert.equal(before, turns)
      task:cancel()
      assert.equal("cancelled", select(3, task:join()))
   end))

   it("waits in C functions, too: it has no need to yield", bounded(function()
      local t = { 3, 1, 2 }
      table.sort(t, function(a, b)
         weft.sleep(0)
         return a < b
      end)
      assert.same({ 1, 2, 3 }, t)
   end))

   it("is told when it would wait for ever, and goes on", bounded(function()
      local output, status = pair.child [[
         print(pcall(function() weft.channel():receive() end))
         print(weft.sleep(0.001))
      ]]
      assert.equal(0, status)
      assert.truthy(output:find "^false\t.*would wait for ever.*\ntrue\n$", output)
   end))

   -- As Ctrl-C does: the hook raises at the end of the turn in which due() is true first.
   local function interrupted(due, f, ...)
      local main = coroutine.running()
      debug.sethook(main, function()
         if due() then debug.sethook(main) error("interrupted!", 0) end
      end, "c")
      local ok, err = pcall(f, ...)
      debug.sethook(main)
      assert.is_false(ok)
      assert.equal("interrupted!", err)
   end

   it("lets go of what it waited in when it is interrupted: a send", bounded(function()
      local near, far = pair.streams()
      local _ <close> = pair.closer { near, far }
      local read = 0
      weft.spawn(function() while far:receive(65536) do read = read + 1 end end)
      interrupted(function() return read > 0 and near:buffered() <= 16384 end, near.send, near,
         ("x"):rep(20000000))
      assert.equal(1, near:send "y")
   end))

   it("lets go of what it waited in when it is interrupted: a connect", bounded(function()
      local path = os.tmpname()
      os.remove(path)
      local listener = assert(weft.tcp())
      assert(listener:bind("127.0.0.1", 0))
      assert(listener:listen(0))
      local _, port = listener:getsockname()
      local sockets = { listener }
      local _ <close> = pair.closer(sockets)
      repeat -- until the backlog is full
         local s = weft.tcp()
         sockets[#sockets + 1] = s
         s:settimeout(0.2)
      until not s:connect("127.0.0.1", port)
      local tcp = sockets[#sockets]
      local turns = 0
      interrupted(function() turns = turns + 1 return turns > 50 end, function()
         weft.spawn(function() for _ = 1, 200 do weft.sleep(0.001) end end)
         tcp:settimeout(5)
         tcp:connect("127.0.0.1", port)
      end)
      tcp:settimeout(0.01)
      assert.equal("timeout", (select(3, tcp:connect("127.0.0.1", port))))
   end))

   it("cannot wait in a hook of its own wait, and tells it there", bounded(function()
      local near, far = pair.streams()
      local _ <close> = pair.closer { near, far }
      local app, url = echo_app()
      local ws = assert(weft.connect(url))
      local main, fine, err = coroutine.running(), nil, nil
      weft.spawn(function()
         debug.sethook(main, function()
            debug.sethook(main)
            fine, err = pcall(weft.sleep, 0)
            ws:close() -- without waiting, there
         end, "c")
         weft.sleep(0.01)
         far:send "hello"
      end)
      assert.equal("hello", near:receive(5))
      assert.is_false(fine)
      assert.truthy(err:find "in a hook")
      assert.is_nil((ws:receive(5)))
      app:close()
   end))

   it("may use weft.run in between", bounded(function()
      local near, far = pair.streams()
      local _ <close> = pair.closer { near, far }
      near:send "1"
      assert.equal("1", weft.run(function() return far:receive(1) end))
      weft.run(function() far:send "2" end)
      assert.equal("2", near:receive(1))
   end))
end)

describe("what the main thread sends", function()
   it("leaves at once, not when it waits next", bounded(function()
      local listener, port = pair.listener()
      local _ <close> = listener
      local child = script(port, [[
         local stream = dial()
         print(stream:receive "*l")
         print(stream:receive "*a")
      ]])
      local peer <close> = assert(listener:accept())
      peer:send "first\n" -- what follows blocks without the loop
      assert.equal("first", child:line())
      peer:send "second"
      peer:shutdown "send"
      assert.equal("second", child:line())
      child:finish()
   end))

   it("leaves before what close() cuts off", bounded(function()
      local listener, port = pair.listener()
      local _ <close> = listener
      local child = script(port, [[print(dial():receive "*a")]])
      local peer = assert(listener:accept())
      peer:send "all of it"
      peer:close()
      assert.equal("all of it", child:line())
      child:finish()
   end))

   it("leaves at once over a WebSocket", bounded(function()
      local app <close> = weft.app {}
      local got = weft.channel(1)
      app:websocket("/", function(ws) got:send((ws:receive())) end)
      local _, port = assert(app:listen "127.0.0.1:0")
      local child = script(port, [[
         local ws = assert(weft.connect("ws://127.0.0.1:" .. port .. "/"))
         ws:send "not waited for"
         while true do end -- busy, without the loop, until it is killed
      ]])
      assert.equal("not waited for", got:receive(5))
      child:stop "KILL"
   end))

   for how, ending in pairs {
      ["the script's end"] = "",
      ["close and the script's end"] = "s:close()",
      ["os.exit with the state closed"] = "os.exit(true, true)",
      ["os.exit in a task"] = "weft.run(os.exit, true, true)",
      ["an error"] = "io.stderr:close() error 'x'",
   } do
      it("is not lost by " .. how, bounded(function()
         local listener, port = pair.listener()
      local _ <close> = listener
         local child = script(port, [[
            s = dial()
            s:send("hello")
            s:send((" world"):rep(1000))
         ]] .. ending)
         local peer <close> = assert(listener:accept())
         child:finish()
         assert.equal("hello" .. (" world"):rep(1000), peer:receive "*a")
      end))
   end

   it("is not lost by the script's end when the reader is slow", bounded(function()
      local listener, port = pair.listener()
      local _ <close> = listener
      local child = script(port, [[
         local s <close> = dial()
         assert(s:send(("x"):rep(8 << 20)))
      ]])
      local peer <close> = assert(listener:accept())
      local n = 0
      repeat
         local data, err, partial = peer:receive(1 << 18)
         n = n + #(data or partial)
         weft.sleep(0.001)
      until not data and err == "closed"
      assert.equal(8 << 20, n)
      local _, status = child:finish()
      assert.equal(0, status)
   end))

   it("over a WebSocket is not lost by the script's end either", bounded(function()
      local app <close> = weft.app {}
      local got = weft.channel(10)
      app:websocket("/", function(ws)
         for message in ws:messages() do got:send(message) end
         got:send((ws:closed()))
      end)
      local _, port = assert(app:listen "127.0.0.1:0")
      for _, ending in ipairs { "", "ws:close()", "os.exit(true, true)" } do
         local child = script(port, [[
            ws = assert(weft.connect("ws://127.0.0.1:" .. port .. "/"))
            ws:send "hi"
         ]] .. ending)
         assert.equal("hi", got:receive(5))
         assert.is_number(got:receive(5))
         child:finish()
      end
   end))

   it("does not keep a script from ending when nobody reads", bounded(function()
      local listener, port = pair.listener()
      local _ <close> = listener
      local child = script(port, [[
         local s = dial()
         s:settimeout(0.05)
         s:send(("x"):rep(16 << 20))
      ]])
      local peer <close> = assert(listener:accept())
      local _, status = child:finish()
      assert.equal(0, status)
      assert.is_true(#peer:receive(1) == 1)
   end))
end)

-- What `lua -i` prints for lines that come through a pipe.
local function repl(lines)
   local name = os.tmpname()
   local file = assert(io.open(name, "w"))
   file:write(lines)
   file:close()
   local child = process.start({ LUA, "-i" }, { limit = 10, input = name })
   local output, status = child:finish()
   os.remove(name)
   return output, status
end

describe("the interactive interpreter", function()
   it("talks with a server of its own, line by line", function()
      local output, status = repl [[
weft = require "weft"
listener = assert(weft.listen "127.0.0.1:0")
_, port = listener:getsockname()
task = weft.spawn(function()
   for s in listener:each() do s:send(s:receive "*l" .. "!\n") s:close() end
end)
s = assert(weft.dial("127.0.0.1:" .. port))
s:send "hello\n"
"<" .. s:receive "*l" .. ">"
app = weft.app {}
app:websocket("/", function(ws) for m in ws:messages() do ws:send(m:reverse()) end end) and nil
_, port = app:listen "127.0.0.1:0"
ws = assert(weft.connect("ws://127.0.0.1:" .. port))
ws:send "olleh"
ws:receive()
ws:close()
ws:closed()
]]
      assert.equal(0, status)
      assert.truthy(output:find("\n<hello!>\n", 1, true), output)
      assert.truthy(output:find("\nhello\ttext\n", 1, true), output)
      assert.truthy(output:find("\n1000\t[^\n]*\ttrue\n"), output)
   end)

   it("shows errors and goes on", function()
      local output, status = repl [[
weft = require "weft"
weft.channel():receive()
weft.run(function() error "oh dear" end)
weft.run(function() weft.sleep(0.001) return "well" end)
select(3, weft.dial "nonsense")
]]
      assert.equal(0, status)
      assert.truthy(output:find "would wait for ever", output)
      assert.truthy(output:find "oh dear.*\nwell\n.*\nresolve\n", output)
   end)

   for what, code in pairs {
      ["weft.run"] = "weft.run(function() io.write 'waiting\\n' io.flush() weft.sleep(60) end)",
      ["a waiting call"] = "io.write 'waiting\\n' io.flush() weft.sleep(60)",
      ["a server"] = "weft.app{}:listen '127.0.0.1:0' io.write 'waiting\\n' io.flush() weft.run()",
   } do
      it("and the plain one let Ctrl-C interrupt " .. what, function()
         local child = script(0, code)
         assert.equal("waiting", child:line())
         weft.sleep(0.05) -- it goes from its last line into the loop
         local start = weft.now()
         local output, status = child:stop "INT"
         assert.truthy(output:find "interrupted!", output)
         assert.equal(1, status)
         assert.is_true(weft.now() - start < 5)
      end)
   end
end)

describe("the collector's pace", function()
   -- What is left of a pause after some turns that made garbage.
   local function pause_after(set)
      local child = script(0, ([[collectgarbage "incremental" collectgarbage("setpause", %d)
         weft.run(function()
            for _ = 1, 20 do
               local garbage = {}
               for i = 1, 500 do garbage[i] = {} end
               weft.sleep(0)
            end
         end)
         print(collectgarbage("setpause", 200))]]):format(set))
      local said, status = child:finish()
      assert.equal(0, status)
      return tonumber(said)
   end

   it("is the script's where it has set one, and weft's otherwise", function()
      assert.equal(120, pause_after(120))
      assert.equal(0, pause_after(0))
      assert(pause_after(200) > 200)
   end)
end)
