-- Closing (RFC 6455 5.5.1 and 7), black-box: from either side, in good order and not,
-- and what closed() tells afterwards.

local weft = require "weft"
local server = require "spec.helper_server"
local raw = require "spec.raw"

local run, eventually = raw.run, raw.eventually
local SOON, rounds = raw.SOON, raw.rounds

local function both(...) raw.both(it, ...) end

local REASON = "κόσμε, 123 bytes: " .. ("x"):rep(100)
assert(#REASON == 123)

-- The end, as every method tells it.
local function check_closed(ws, code, reason, clean)
   assert.same({ code, reason, clean }, { ws:closed() })
   for _, call in ipairs { ws.receive, ws.send, ws.try_send, ws.ping } do
      local result, message, kind = call(ws, call ~= ws.receive and call ~= ws.ping and "x" or 5)
      assert.is_nil(result)
      assert.equal("closed", kind, message)
      assert.truthy(message:find(tostring(code), 1, true), message)
   end
   for _ in ws:messages() do error "a message after the end" end
   assert.is_true(ws:close()) -- harmless
   assert.same({ code, reason, clean }, { ws:closed() })
   assert.truthy(tostring(ws):find("closed", 1, true))
end

-- -- the peer begins ------------------------------------------------------------------------

describe("a close from the peer", function()
   for _, code in ipairs { 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
      3000, 3999, 4000, 4999 } do
      both(("with %d is echoed and told"):format(code), function(ws, c)
         c:bye(code, code % 2 == 0 and "why" or nil)
         -- RFC 6455 5.5.1: typically echoes the status code it received
         assert.same({ code, "" }, { c:take_close() })
         local message, why, kind = ws:receive(SOON)
         assert.is_nil(message)
         assert.equal("closed", kind, why)
         c:close()
         check_closed(ws, code, code % 2 == 0 and "why" or "", true)
      end)
   end

   both("without a code is 1005, and so is the answer", function(ws, c)
      c:bye()
      assert.is_nil((c:take_close()))
      c:close()
      assert.is_nil((ws:receive(SOON)))
      check_closed(ws, 1005, "", true)
   end)

   both("may have a reason of 123 bytes, and come byte by byte", function(ws, c)
      c:drip(c:pack { op = "close", payload = raw.close_body(4001, REASON) })
      assert.equal(4001, (c:take_close()))
      c:close()
      assert.is_nil((ws:receive(SOON)))
      check_closed(ws, 4001, REASON, true)
   end)

   both("comes behind messages, which are still received", function(ws, c)
      for i = 1, 10 do c:text("message " .. i) end
      c:bye(1000, "that was it")
      for i = 1, 10 do assert.equal("message " .. i, ws:receive(SOON)) end
      local _, message = ws:receive(SOON)
      assert.truthy(message:find("1000 that was it", 1, true), message)
      c:close()
      check_closed(ws, 1000, "that was it", true)
   end)

   both("in the middle of a fragmented message drops that message", function(ws, c)
      c:frame { payload = "unfinished", fin = false }
      c:bye(1001)
      assert.equal(1001, (c:take_close()))
      c:close()
      assert.is_nil((ws:receive(SOON)))
      check_closed(ws, 1001, "", true)
   end)

   both("is the last that is looked at", function(ws, c)
      c:send(c:pack { op = "close", payload = raw.close_body(1000) }, c:pack { payload = "late" },
         c:pack { op = "ping" }, c:pack { op = "close", payload = raw.close_body(4000) },
         "\xff\xff\xff")
      assert.equal(1000, (c:take_close()))
      assert.is_nil((ws:receive(SOON)))
      check_closed(ws, 1000, "", true)
      c:close()
   end)

   both("lets out first what was sent before", function(ws, c)
      local big = ("x"):rep(300000)
      ws:send(big)
      ws:send "small"
      c:bye(1000)
      assert.is_true(c:take "text" == big)
      assert.equal("small", c:take "text")
      assert.equal(1000, (c:take_close()))
      c:close()
   end)

   it("ends the connection: the server goes first (RFC 6455 7.1.1)", function()
      run(function()
         local _, c, app = raw.reverse()
         c:bye(1000)
         c:take_close()
         assert.is_true((c:is_over())) -- our end is still open
         eventually(function() return app:stats().websockets == 0 end)
      end)
   end)

   it("is over on a client once the server has ended the connection", function()
      run(function()
         local ws, c = raw.pair()
         c:bye(1000)
         c:take_close()
         -- it waits for the server's end
         local data, message = weft.deadline(0.05, c.stream.receive, c.stream, 1)
         assert.is_nil(data)
         assert.equal("timeout", message)
         c:close()
         check_closed(ws, 1000, "", true)
      end)
   end)
end)

-- -- weft begins -------------------------------------------------------------------------------

describe("ws:close", function()
   both("sends code and reason, and waits for the answer", function(ws, c)
      local task = weft.spawn(ws.close, ws, 4001, REASON)
      assert.same({ 4001, REASON }, { c:take_close() })
      weft.sleep(0.02)
      assert.equal("suspended", task.status)
      assert.is_nil(ws:closed())
      c:bye(4001)
      c:close()
      assert.is_true(task:join(SOON))
      check_closed(ws, 4001, "", true)
   end)

   both("says 1000 by itself", function(ws, c)
      weft.spawn(ws.close, ws)
      assert.same({ 1000, "" }, { c:take_close() })
      c:bye(1000)
      c:close()
      eventually(function() return ws:closed() end)
      check_closed(ws, 1000, "", true)
   end)

   both("tells what the peer answered", function(ws, c)
      local task = weft.spawn(ws.close, ws, 1001, "leaving")
      c:take_close()
      c:bye(4444, "so am I")
      c:close()
      task:join(SOON)
      check_closed(ws, 4444, "so am I", true)
   end)

   both("may be said at the same time", function(ws, c)
      local task = weft.spawn(ws.close, ws, 4001)
      c:bye(4002)
      assert.equal(4001, (c:take_close())) -- and no second one
      c.stream:shutdown "send"
      assert.is_true((c:is_over()))
      task:join(SOON)
      check_closed(ws, 4002, "", true)
   end)

   both("is bounded where the peer does not answer", function(ws, c)
      local began = weft.now()
      assert.is_true(ws:close(1000, "hello?"))
      assert.is_true(weft.now() - began < SOON)
      check_closed(ws, 1006, "close timeout", false)
      assert.same({ 1000, "hello?" }, { c:take_close() })
      assert.is_true((c:is_over()))
   end, { close_timeout = 0.05 })

   both("is bounded where the peer goes on talking", function(ws, c)
      local talking = weft.spawn(function()
         while c.stream:send(c:pack { payload = "and another thing" }) do weft.sleep(0.005) end
      end)
      assert.is_true(ws:close())
      check_closed(ws, 1006, "close timeout", false)
      talking:join(SOON)
   end, { close_timeout = 0.1 })

   both("lets in what was on its way, for a task that reads", function(ws, c)
      local seen = {}
      local reader = weft.spawn(function()
         for message in ws:messages() do seen[#seen + 1] = message end
      end)
      weft.sleep(0)
      local closer = weft.spawn(ws.close, ws, 1000)
      c:take_close()
      for i = 1, 50 do c:text("late " .. i) end
      c:ping "not answered any more"
      c:bye(1000)
      c:close()
      closer:join(SOON)
      reader:join(SOON)
      assert.equal(50, #seen)
      assert.equal("late 50", seen[50])
   end)

   both("is not held up by messages that nobody reads", function(ws, c)
      for i = 1, rounds(200, 30) do c:text("unread " .. i) end
      weft.sleep(0.02)
      local closer = weft.spawn(ws.close, ws, 1000)
      c:take_close()
      for i = 1, rounds(200, 30) do c:text("unread, too " .. i) end
      c:bye(1000)
      c:close()
      closer:join(SOON)
      assert.same({ 1000, "", true }, { ws:closed() })
   end, { inbox_messages = 2 })

   -- Here and below what nobody reads may come too late to be dropped; it is never skipped.
   both("drops what nobody reads, and then all that follows", function(ws, c)
      local closer = weft.spawn(ws.close, ws, 1000)
      c:take_close()
      c:text "a"
      weft.sleep(0.02)
      local got = {}
      local reader = weft.spawn(function()
         for message in ws:messages() do got[#got + 1] = message end
      end)
      weft.sleep(0)
      c:text "b"
      c:bye(1000)
      c:close()
      reader:join(SOON)
      closer:join(SOON)
      assert.not_equal("b", got[1])
   end)

   both("drops the rest of what a loop over chunks() had begun to read", function(ws, c)
      local text, go, begun = {}, weft.channel(1), weft.channel(1)
      local reader = weft.spawn(pcall, function()
         for chunk in ws:chunks() do
            text[#text + 1] = chunk
            begun:send(true)
            go:receive()
         end
      end)
      c:frame { payload = "one ", fin = false }
      begun:receive()
      local closer = weft.spawn(ws.close, ws, 1000)
      c:take_close()
      c:send(c:pack { op = "more", payload = "rest" }, c:pack { payload = "two" })
      weft.sleep(0.02)
      go:close()
      weft.sleep(0)
      c:text "three"
      c:bye(1000)
      c:close()
      local ok, message = reader:join(SOON)
      closer:join(SOON)
      assert.equal(ok and "one rest" or "one ", table.concat(text))
      assert.truthy(ok or message:find("broke off", 1, true), message)
   end)

   both("refuses whatever is sent afterwards, before the answer has come", function(ws, c)
      local closer = weft.spawn(ws.close, ws, 1000)
      c:take_close()
      for _, call in ipairs { ws.send, ws.try_send } do
         local ok, _, code = call(ws, "too late")
         assert.is_nil(ok)
         assert.equal("closed", code)
      end
      local rtt, _, code = ws:ping(5)
      assert.is_nil(rtt)
      assert.equal("closed", code)
      c:bye(1000)
      c.stream:shutdown "send"
      assert.is_true((c:is_over())) -- nothing of it was sent
      closer:join(SOON)
   end)

   both("wakes the tasks that wait in it", function(ws, c)
      local results = {}
      local function wait_in(name, ...)
         results[name] = table.pack(ws[name](ws, ...))
      end
      local tasks = { weft.spawn(wait_in, "receive"), weft.spawn(wait_in, "ping"),
         weft.spawn(function()
            repeat until not ws:send(("x"):rep(100000))
            wait_in("send", "x")
         end) }
      weft.sleep(0.02)
      local closer = weft.spawn(ws.close, ws, 4000)
      weft.sleep(0)
      repeat local f = c:read() until f.op == "close"
      c:bye(4000)
      c:close()
      for _, task in ipairs(tasks) do task:join(SOON) end
      closer:join(SOON)
      for _, name in ipairs { "receive", "ping", "send" } do
         assert.is_nil(results[name][1])
         assert.equal("closed", results[name][3], name)
      end
   end)

   both("lets nobody wait for a peer that takes nothing", function(ws, c)
      local sender = weft.spawn(function()
         local result
         repeat result = { ws:send(("x"):rep(100000)) } until not result[1]
         return result
      end)
      eventually(function() return ws:try_send "x" == false end)
      local closer = weft.spawn(ws.close, ws, 4000)
      assert.equal("closed", sender:join(SOON)[3])
      assert.is_nil(ws:closed()) -- the peer's answer is still waited for
      for _, call in ipairs { ws.send, ws.try_send, ws.drain } do
         local ok, _, code = call(ws, call ~= ws.drain and "x" or 5)
         assert.is_nil(ok)
         assert.equal("closed", code)
      end
      c:reset()
      closer:join(SOON)
   end)

   both("may be called by many tasks, at any time", function(ws, c)
      local tasks = {}
      for i = 1, 10 do tasks[i] = weft.spawn(ws.close, ws, 4000 + i) end
      assert.equal(4001, (c:take_close()))
      c:bye(4001)
      c.stream:shutdown "send"
      assert.is_true((c:is_over()))
      for _, task in ipairs(tasks) do assert.is_true(task:join(SOON)) end
      check_closed(ws, 4001, "", true)
   end)

   both("from inside its own loop ends the loop", function(ws, c)
      local task = weft.spawn(function()
         local n = 0
         for _ in ws:messages() do
            n = n + 1
            ws:close(4000)
         end
         return n
      end)
      c:send(c:pack { payload = "first" })
      assert.equal(4000, (c:take_close()))
      c:bye(4000)
      c:close()
      assert.equal(1, task:join(SOON))
   end)

   both("by a <close> variable: 1000, or 1011 where an error leaves", function(ws, c)
      local task = weft.spawn(pcall, function()
         local _ <close> = ws
         if #ws:receive(SOON) > 0 then error "on purpose" end
      end)
      c:text "x"
      assert.equal(1011, (c:take_close()))
      c:bye(1011)
      c:close()
      assert.is_false(task:join(SOON))
   end)
end)

-- -- without a goodbye -------------------------------------------------------------------------

describe("a connection that ends without a close", function()
   both("is 1006, and not clean", function(ws, c)
      c:text "last words"
      c:close()
      assert.equal("last words", ws:receive(SOON))
      local message, why, code = ws:receive(SOON)
      assert.is_nil(message)
      assert.equal("closed", code, why)
      check_closed(ws, 1006, "", false)
   end)

   both("is 1006 in the middle of a frame, a message, and a header", function(_, c)
      c:close()
      for _, bytes in ipairs { raw.frame { payload = "x", length = 100, mask = true },
         raw.frame { payload = "x", fin = false, mask = true }, "\x81", "\x82\xfe\1" } do
         local ws, peer = raw.reverse()
         peer:send(bytes)
         peer:close()
         assert.is_nil((ws:receive(SOON)))
         assert.same({ 1006, "", false }, { ws:closed() })
      end
   end)

   both("may be half-closed: what was sent before still arrives", function(ws, c)
      for i = 1, 30 do c:text("message " .. i) end
      c.stream:shutdown "send"
      for i = 1, 30 do assert.equal("message " .. i, ws:receive(SOON)) end
      assert.is_nil((ws:receive(SOON)))
      assert.is_true((c:is_over()))
      check_closed(ws, 1006, "", false)
   end)

   both("may be half-closed behind a close frame, which is echoed", function(ws, c)
      c:bye(1000, "and no more from me")
      c.stream:shutdown "send"
      assert.equal(1000, (c:take_close()))
      assert.is_true((c:is_over()))
      assert.is_nil((ws:receive(SOON)))
      check_closed(ws, 1000, "and no more from me", true)
   end)

   both("is 1006 after a reset", function(ws, c)
      ws:send "unread"
      weft.sleep(0.02)
      c:reset()
      assert.is_nil((ws:receive(SOON)))
      check_closed(ws, 1006, "", false)
   end)

   -- More came than an inbox holds; then sending is the first to see that the peer is gone.
   local function until_unsendable(ws, c)
      ws:send "unread"
      weft.sleep(0.02)
      c:reset()
      local ok, _, code
      eventually(function()
         ok, _, code = ws:send "x"
         return not ok
      end)
      assert.equal("closed", code)
   end

   for _, close in ipairs { { 4001, "enough", true }, { 1006, "", false } } do
      both(("gives what came before a reset that sending noticed, and %d"):format(close[1]),
         function(ws, c)
            for i = 1, 60 do c:text("message " .. i) end
            if close[3] then c:bye(close[1], close[2]) end
            until_unsendable(ws, c)
            for i = 1, 60 do assert.equal("message " .. i, ws:receive(SOON)) end
            assert.is_nil((ws:receive(SOON)))
            check_closed(ws, table.unpack(close))
         end)
   end

   both("does not keep a peer that is gone for what nobody takes", function(ws, c)
      for i = 1, 60 do c:text("message " .. i) end
      until_unsendable(ws, c)
      eventually(function() return ws:closed() end)
      assert.equal(1006, (ws:closed()))
      assert.equal("message 1", ws:receive(SOON))
   end, { ping_interval = 0.1, ping_timeout = 0.1, idle_timeout = 3600 })

   both("wakes a sender that waits for a peer that is gone", function(ws, c)
      local sender = weft.spawn(function()
         local result
         repeat result = { ws:send(("x"):rep(100000)) } until not result[1]
         return result[2], result[3]
      end)
      weft.sleep(0.05)
      assert.equal("suspended", sender.status)
      c:reset()
      local _, code = sender:join(SOON)
      assert.equal("closed", code)
      eventually(function() return ws:closed() end)
   end)
end)

-- -- a server's handlers -----------------------------------------------------------------------

describe("a handler", function()
   local function serve(handler, opts)
      local port, app = raw.app(handler, opts)
      return raw.connect(port), app, port
   end

   it("that returns closes with 1000", function()
      run(function()
         local c, app = serve(function(ws) ws:send "bye" end)
         assert.equal("bye", c:take "text")
         assert.same({ 1000, "" }, { c:take_close() })
         c:bye(1000)
         assert.is_true((c:is_over()))
         eventually(function() return app:stats().websockets == 0 end)
      end)
   end)

   it("that raises closes with 1011, tells nobody why, and hurts nobody else", function()
      local reported = server.errors(function()
         server.run(function()
            local c, app, port = serve(function(ws)
               for message in ws:messages() do
                  if message == "raise" then error "a secret" end
                  ws:send(message)
               end
            end)
            local other = raw.connect(port)
            c:text "raise"
            assert.same({ 1011, "" }, { c:take_close() })
            c:bye(1011)
            assert.is_true((c:is_over()))
            other:text "still here"
            assert.equal("still here", other:take "text")
            eventually(function() return app:stats().websockets == 1 end)
         end)
      end)
      assert.equal(1, #reported)
      assert.truthy(reported[1]:find("a secret", 1, true))
   end)

   it("that closes itself may choose the code, and go on afterwards", function()
      run(function()
         local done = weft.channel(1)
         local c = serve(function(ws)
            ws:close(4321, "own choice")
            done:send { ws:closed() }
         end)
         assert.same({ 4321, "own choice" }, { c:take_close() })
         c:bye(4321, "understood")
         assert.is_true((c:is_over()))
         assert.same({ 4321, "understood", true }, done:receive(SOON))
      end)
   end)

   it("that has closed and then raises has closed", function()
      local reported = server.errors(function()
         server.run(function()
            local c = serve(function(ws)
               ws:close(4000)
               error "afterwards"
            end)
            assert.equal(4000, (c:take_close()))
            c:bye(4000)
            assert.is_true((c:is_over()))
         end)
      end)
      assert.equal(1, #reported)
   end)

   it("is ended by app:close with 1001", function()
      run(function()
         local ended = weft.channel(1)
         local c, app, port = serve(function(ws)
            for _ in ws:messages() do error "no message was sent" end
            ended:send { ws:closed() }
         end)
         app:close()
         assert.same({ 1001, "going away" }, { c:take_close() })
         c:bye(1001)
         assert.is_true((c:is_over()))
         assert.same({ 1001, "", true }, ended:receive(SOON))
         assert.is_nil((weft.dial("127.0.0.1:" .. port)))
      end)
   end)
end)

describe("two wefts", function()
   it("close from either side, with every code and reason", function()
      run(function()
         local seen = weft.channel(1)
         local port = raw.app(function(ws)
            local message = ws:receive(SOON)
            if message then ws:close(tonumber(message), "server's") end
            seen:send { ws:closed() }
         end)
         for _, code in ipairs { 1000, 1001, 1008, 3000, 4999 } do
            local ws = assert(weft.connect(raw.url(port)))
            ws:close(code, "client's")
            assert.same({ code, "client's", true }, seen:receive(SOON))
            assert.same({ code, "", true }, { ws:closed() })
            ws = assert(weft.connect(raw.url(port)))
            ws:send(tostring(code))
            assert.is_nil((ws:receive(SOON)))
            assert.same({ code, "server's", true }, { ws:closed() })
            assert.same({ code, "", true }, seen:receive(SOON))
         end
      end)
   end)
end)
