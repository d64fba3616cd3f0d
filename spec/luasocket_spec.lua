-- weft.socket: what it returns beside what LuaSocket itself returns; and LuaSocket's
-- drivers, as Debian packages them, on it against real servers.

local lfs = require "lfs"
local process = require "spec.process"
local weft = require "weft"
local daemon = require "spec.daemon"
local socket = require "weft.socket"

local hostile = os.getenv "WEFT_HOSTILE_GC" ~= nil
local SOON = hostile and 200 or 20

local function run(f)
   weft.run(function() weft.deadline(SOON, f) end)
end

describe("weft.socket", function()
   for script, least in pairs { luasocket_shapes = 160, luasocket_udp = 50 } do
      it("returns just what LuaSocket does: " .. script, function()
         local path = ("spec/scripts/%s.lua"):format(script)
         local real = process.start({ os.getenv "LUA" or "lua5.4", path, "socket" },
            { foreign = true })
         local ours = process.start(process.script(path, "weft.socket"), { limit = 300 })
         local wanted, status = real:finish()
         assert.equal(0, status, wanted)
         local given = ours:finish()
         local n = 0
         local next_given = given:gmatch "[^\n]*"
         for line in wanted:gmatch "[^\n]*" do
            n = n + 1
            assert.equal(line, next_given())
         end
         assert.is_nil(next_given())
         assert.is_true(n > least)
      end)
   end

   it("lets the other tasks run while one waits", function()
      run(function()
         local server = assert(socket.bind("127.0.0.1", 0))
         local _, port = server:getsockname()
         local seen = {}
         local serving = weft.spawn(function()
            for i = 1, 3 do
               local peer <close> = assert(server:accept())
               weft.spawn(function() seen[i] = peer:receive() peer:send "bye\n" end):join()
            end
         end)
         weft.group(function(group)
            for i = 1, 3 do
               group:spawn(function()
                  local client <close> = assert(socket.connect("localhost", port))
                  socket.sleep(0.01)
                  client:send(i .. "\n")
                  assert.equal("bye", client:receive())
               end)
            end
         end)
         serving:join()
         table.sort(seen)
         assert.same({ "1", "2", "3" }, seen)
         server:close()
      end)
   end)

   it("limits each wait by the time \"b\", and the operation by the time \"t\"", function()
      run(function()
         local server <close> = assert(socket.bind("127.0.0.1", 0))
         local _, port = server:getsockname()
         local client <close> = assert(socket.connect("127.0.0.1", port))
         local peer <close> = assert(server:accept())
         local drips = weft.spawn(function()
            for _ = 1, 8 do
               peer:send "x"
               weft.sleep(hostile and 1 or 0.1)
            end
         end)
         client:settimeout(hostile and 40 or 4)
         assert.equal("xxxxxxxx", client:receive(8)) -- no wait was that long
         drips:join()
         drips = weft.spawn(function()
            while peer:send "y" do weft.sleep(0.01) end
         end)
         client:settimeout(hostile and 40 or 4)
         client:settimeout(0.3, "t")
         local data, err, partial = client:receive(1000000)
         assert.is_nil(data)
         assert.equal("timeout", err)
         assert.truthy(partial:find "^y")
         drips:cancel()
         local _, message = server:accept(server:settimeout(0.01))
         assert.equal("timeout", message)
      end)
   end)

   it("gives up a connect that takes too long, and can then try again", function()
      run(function()
         -- a listener whose backlog is full answers nobody
         local server <close> = assert(socket.bind("127.0.0.1", 0, 0))
         local _, port = server:getsockname()
         local waiting, message = {}, nil
         for i = 1, 10 do
            local client = socket.tcp()
            client:settimeout(0.2)
            local ok
            ok, message = client:connect("127.0.0.1", port)
            waiting[i] = client
            if not ok then break end
         end
         assert.equal("timeout", message)
         local last = waiting[#waiting]
         for i = 1, #waiting - 1 do
            assert(server:accept()):close()
            waiting[i]:close()
         end
         last:settimeout(SOON)
         assert.equal(1, last:connect("127.0.0.1", port))
         last:close()
      end)
   end)

   it("takes both families, and one alone where that is asked for", function()
      run(function()
         local six <close> = socket.tcp6()
         assert.equal(1, six:bind("::1", 0))
         assert.equal(1, six:listen())
         local ip, port, family = six:getsockname()
         assert.same({ "::1", "inet6" }, { ip, family })
         local client <close> = assert(socket.connect6("::1", port))
         assert.equal("inet6", (select(3, client:getpeername())))
         local other, message = socket.connect4("::1", port)
         assert.is_nil(other)
         assert.equal("host or service not provided, or not known", message)
         local bound <close> = assert(socket.connect("::1", port, "::1", 0))
         assert.equal("::1", (bound:getsockname()))
      end)
   end)

   it("works in a coroutine of the script's own once it is installed", function()
      local child = process.start(process.script("spec/scripts/nested.lua"), { limit = 300 })
      local rest, status = child:finish()
      assert.equal("all is fine\n", rest)
      assert.equal(0, status)
   end)

   it("selects a UDP socket that is not bound yet, and hears of it when it is", function()
      run(function()
         local late, sender = socket.udp(), socket.udp()
         local ready, _, why = socket.select({ late }, nil, 0.01)
         assert.same({ 0, "timeout" }, { #ready, why })
         local waiting = weft.spawn(function() return socket.select({ late }, nil, SOON) end)
         weft.sleep(0)
         assert(late:setsockname("127.0.0.1", 0))
         local _, port = late:getsockname()
         assert(sender:sendto("now", "127.0.0.1", port))
         assert.equal(late, waiting:join()[1])
         assert.equal("now", late:receive())
         late:close()
         sender:close()
      end)
   end)

   it("selects a client that could not connect, as what fails at once", function()
      run(function()
         local client = socket.tcp()
         assert.same({ nil, "connection refused" }, { client:connect("127.0.0.1", 1) })
         local readers, writers, why = socket.select({ client }, { client }, SOON)
         assert.is_nil(why)
         assert.equal(client, readers[1])
         assert.equal(client, writers[1])
         client:close()
      end)
   end)

   it("ends a task that is cancelled within the finalizer of a try", function()
      run(function()
         local task = weft.spawn(socket.protect(function()
            socket.newtry(function() weft.sleep(SOON) end)(nil, "failed")
         end))
         weft.sleep(0)
         task:cancel()
         assert.same({ nil, "cancelled", "cancelled" }, { task:join() })
      end)
   end)

   it("is no one's by accident", function()
      local before = package.loaded.socket
      package.loaded.socket = {}
      local ok, message = pcall(socket.install)
      package.loaded.socket = before
      assert.is_false(ok)
      assert.truthy(message:find("LuaSocket is loaded already", 1, true))
      ok, message = pcall(socket.select, { {} })
      assert.is_false(ok)
      assert.truthy(message:find("no socket of weft.socket", 1, true))
   end)
end)

describe("LuaSocket's drivers on weft", function()
   local dir, services, ports = nil, {}, {}

   -- Waits until it takes connections; its own words may be hidden by buffers.
   local function start(name, argv)
      services[name] = process.start(argv, { foreign = true, limit = 400 })
      run(function()
         while true do
            local stream = weft.dial("127.0.0.1:" .. ports[name])
            if stream then return stream:close() end
            weft.sleep(0.02)
         end
      end)
   end

   setup(function()
      dir = os.tmpname()
      os.remove(dir)
      assert(lfs.mkdir(dir))
      local page <close> = assert(io.open(dir .. "/page.txt", "w"))
      page:write "a page"
      for _, name in ipairs { "redis", "http", "smtp", "ftp" } do
         ports[name] = daemon.free_port()
      end
      local python = "/usr/bin/python3"
      start("redis", { "redis-server", "--port", ports.redis, "--save", "", "--bind", "127.0.0.1",
         "--dir", dir })
      start("http", { python, "-m", "http.server", "--bind", "127.0.0.1", "-d", dir, ports.http })
      start("smtp", { python, "-u", "-W", "ignore", "-m", "smtpd", "-n", "-c",
         "DebuggingServer", "127.0.0.1:" .. ports.smtp })
      start("ftp", { python, "-m", "pyftpdlib", "-i", "127.0.0.1", "-p", ports.ftp, "-w", "-u",
         "user", "-P", "word", "-d", dir })
   end)

   teardown(function()
      for _, service in pairs(services) do service:stop() end
      os.execute("rm -rf " .. dir)
   end)

   it("run side by side in one script, unchanged", function()
      local words = process.script("spec/scripts/drivers.lua", ports.redis, ports.http, ports.smtp,
         ports.ftp)
      -- Debian has redis-lua, which is plain Lua, beside the modules of Lua 5.3
      local child = process.start(words, { limit = 300,
         env = { LUA_PATH = package.path .. ";/usr/share/lua/5.3/?.lua" } })
      local output, status = child:finish()
      assert.equal(0, status, output)
      local lines = {}
      for line in output:gmatch "[^\n]+" do lines[#lines + 1] = line:gsub("\t", " ") end
      table.sort(lines)
      assert.same({
         "error false WRONGTYPE", "ftp get true", "ftp none nil", "ftp put 200000",
         "hash 1 100000 true", "http 200 6 a page", "http none 404",
         "http refused nil connection refused", "http sink 1 a page", "job done",
         "list 100 item2", "missing nil 5 6", "ping true true value", "pubsub n1 n2 n3",
         "smtp 1", "turns true",
      }, lines)
      local said = services.smtp:stop()
      assert.truthy(said:find("b'line one'\nb'.dot'", 1, true), said)
   end)
end)
