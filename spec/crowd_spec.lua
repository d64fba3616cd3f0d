-- Many connections: flooding, crowding, vanishing, and more than there are descriptors.
-- Nobody starves, every one's messages stay whole and in order, nothing is left over.

local lfs = require "lfs"
local weft = require "weft"
local process = require "spec.process"
local server = require "spec.helper_server"
local raw = require "spec.raw"

local run, eventually, rounds = raw.run, raw.eventually, raw.rounds
local SOON, check_echo, check_memory = raw.SOON, raw.check_echo, raw.check_memory

local MIB = 1 << 20

local function descriptors()
   local n = 0
   for _ in lfs.dir "/proc/self/fd" do n = n + 1 end
   return n
end

describe("a flood of messages", function()
   it("of one connection leaves time for the others", function()
      run(function()
         local port = raw.app(raw.echo)
         local count_port = raw.app(function(ws)
            local n = 0
            for _ in ws:messages() do n = n + 1 end
            assert(n >= rounds(100000, 4000), n)
         end)
         local flood, c = raw.connect(count_port), raw.connect(port)
         local batch = flood:pack { payload = "x" }
         batch = batch:rep(2000)
         local flooding = weft.spawn(function()
            for _ = 1, rounds(50, 2) do flood:send(batch) end
         end)
         check_echo(c, rounds(100, 20))
         flooding:join(SOON)
         flood:bye(1000)
         assert.equal(1000, (flood:take_close()))
      end, 30)
   end)
end)

describe("a crowd of connections", function()
   -- Each client counts its own messages; what is published comes in between.
   local function take_own(c, news)
      while true do
         local f = assert(c:read())
         if f.op == "binary" then news[#news + 1] = f.payload
         elseif f.op == "text" then return f.payload
         else error("instead of a message: " .. f.op .. " " .. (f.reason or f.payload)) end
      end
   end

   local function in_order(news)
      for i = 2, #news do
         if tonumber(news[i]) ~= tonumber(news[i - 1]) + 1 then return false end
      end
      return true
   end

   -- Many messages in one packet, few, or one cut in two; then all of the echoes.
   local function talk(c, name, round, news)
      local n, parts = 1 + (name * round) % 30, {}
      for i = 1, n do
         parts[i] = c:pack { payload = ("%d %d %d"):format(name, round, i):rep(1 + i % 3 * 40) }
      end
      local bytes = table.concat(parts)
      if round % 3 == 0 then c:send_cut(bytes, #bytes // 2) else c:send(bytes) end
      for i = 1, n do
         local want = ("%d %d %d"):format(name, round, i):rep(1 + i % 3 * 40)
         if take_own(c, news) ~= want then error(("%d lost %s"):format(name, want)) end
      end
   end

   it("keeps every one's messages whole and in order, whatever the others do", function()
      run(function()
         local size, turns, published, left = rounds(48, 12), rounds(30, 6), 0, 0
         local port, app
         port, app = raw.app(function(ws)
            ws:subscribe "all"
            local n, slow = 0, tonumber(ws.request.query) % 4 == 0
            for message in ws:messages() do
               n = n + 1
               if slow and n % 7 == 0 then weft.sleep(0.001) end
               ws:send(message)
               if n % 50 == 0 then
                  published = published + 1
                  app:publish("all", tostring(published), "binary")
               end
            end
         end, { inbox_messages = 4, ping_interval = 0 })
         local function client(name)
            local news = {}
            local c = raw.connect(port, "/ws?" .. name)
            for round = 1, turns do
               talk(c, name, round, news)
               if (name + round) % 11 == 0 then -- gone in the middle of a message, and back
                  c:send(c:pack({ payload = "never whole" }):sub(1, 9))
                  c:close()
                  assert(in_order(news), "published messages were lost")
                  c, news = raw.connect(port, "/ws?" .. name), {}
               elseif (name + round) % 13 == 0 then
                  c:bye(4000)
                  repeat local f = assert(c:read()) until f.op == "close"
                  c:close()
                  c, news = raw.connect(port, "/ws?" .. name), {}
               end
            end
            assert(in_order(news), "published messages were lost")
            left = left + 1
            c:close()
         end
         local tasks = {}
         for name = 1, size do tasks[name] = weft.spawn(client, name) end
         for _, task in ipairs(tasks) do task:join() end
         assert.equal(size, left)
         eventually(function() return app:stats().connections == 0 end)
      end, 60)
   end)
end)

describe("2,000 connects and resets in a row", function()
   it("leave no connection, no descriptor, and the server as it was", function()
      run(function()
         local port, app = raw.app(function(ws)
            ws:subscribe "all"
            raw.echo(ws)
         end, { ping_interval = 0 })
         local c = raw.connect(port)
         check_echo(c, 1)
         local n, files, before = rounds(2000, 300), descriptors(), nil
         local request = server.upgrade "/ws"
         for i = 1, n do
            local stream = assert(weft.dial("127.0.0.1:" .. port))
            local how = i % 5
            if how == 1 then stream:send(request:sub(1, 50))
            elseif how >= 2 then stream:send(request) end
            if how == 3 then stream:receive(SOON) end -- the rest is unread: a reset
            if how == 4 then
               stream:send(raw.frame { payload = "hello", mask = true })
               weft.sleep(0)
            end
            stream:close()
            if i == n // 4 then before = raw.memory() end
            if i % (n // 20) == 0 then app:publish("all", "to whoever is left") end
         end
         eventually(function() return app:stats().connections == 1 end)
         assert.equal(1, app:stats().websockets)
         eventually(function() return descriptors() <= files end)
         assert.equal(n + 1, app:stats().accepted)
         check_memory(before, 8 * MIB)
         for _ = 1, 20 do assert.equal("to whoever is left", c:take "text") end
         check_echo(c, 10)
      end, 60)
   end)
end)

describe("a server without descriptors left", function()
   -- A process of its own: it may have 40.
   local script = [[
      local weft = require "weft"
      local app = weft.app { ping_interval = 0 }
      app:websocket("/ws", function(ws)
         for message in ws:messages() do ws:send(message) end
      end)
      local _, port = assert(app:listen "127.0.0.1:0")
      print(port)
      io.stdout:flush()
      weft.run()
   ]]

   local function cpu_ticks(pid)
      local file <close> = assert(io.open("/proc/" .. pid .. "/stat"))
      local user, system = file:read "a":match("%)" .. (" %S+"):rep(11) .. " (%d+) (%d+)")
      return tonumber(user) + tonumber(system)
   end

   it("pauses, serves whom it has, and resumes", function()
      local child = process.start { "sh", "-c", 'ulimit -n 40; exec "$0" -e "$1"',
         os.getenv "LUA" or "lua5.4", script }
      local port = tonumber(child:wait_for "^(%d+)$")
      local ok, err = pcall(run, function()
         local all, served = {}, {}
         for i = 1, 70 do
            all[i] = raw.dial(port) -- in the kernel's backlog, at least
            all[i]:send(server.upgrade "/ws")
         end
         for _, c in ipairs(all) do
            local head = weft.deadline(#served < 20 and 10 or 0.3, c.read_head, c)
            if not head then break end
            served[#served + 1] = c
         end
         assert.is_true(#served >= 20 and #served < 40, #served)
         for _, c in ipairs(served) do check_echo(c, 1) end
         -- it waits for better times without burning the processor meanwhile
         local before = cpu_ticks(child.pid)
         weft.sleep(0.5)
         assert.is_true(cpu_ticks(child.pid) - before < 20)
         for _, c in ipairs(served) do c:close() end
         for i = #served + 1, 60 do
            local c = all[i]
            assert.truthy(assert(weft.deadline(10, c.read_head, c)):find "^HTTP/1.1 101 ")
            check_echo(c, 1)
            c:close()
         end
      end, 50)
      local rest = child:stop "KILL"
      assert.is_true(ok, tostring(err) .. "\n" .. rest)
      assert.equal("", rest) -- it complained of nothing
   end)
end)
