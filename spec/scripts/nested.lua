-- Waiting in coroutines that are no tasks, as drivers make them, on the main thread and in
-- tasks: results, errors, yields of the script's own, and coroutines within coroutines.

local weft = require "weft"
local socket = require "weft.socket".install()
assert(require "socket" == socket and require "socket.core" == socket)

local function serve(server)
   for _ = 1, 2 do
      local peer = assert(server:accept())
      weft.spawn(function()
         for line in function() return (peer:receive()) end do peer:send(line .. "!\n") end
         peer:close()
      end)
   end
end

local function lines(client)
   return coroutine.wrap(function(first)
      local got = coroutine.wrap(function() -- one within the other
         for i = first, first + 2 do
            client:send(("%d\n"):format(i))
            coroutine.yield(client:receive())
         end
      end)
      for line in got do coroutine.yield(line, "more") end
      return nil
   end)
end

local function check(client)
   local next_line = lines(client)
   local a, more = next_line(7)
   assert(a == "7!" and more == "more" and next_line() == "8!" and next_line() == "9!")
   assert(select("#", next_line()) == 1)

   local co = coroutine.create(function(...)
      local n = select("#", ...)
      local x = coroutine.yield(n, client:receive(client:settimeout(0.01)))
      local ok, err = pcall(client.receive, client, "*x")
      assert(not ok and err:find "invalid receive pattern")
      error(x)
   end)
   local all = table.pack(coroutine.resume(co, nil, nil))
   assert(all.n == 5 and all[1] and all[2] == 2 and all[4] == "timeout" and all[5] == "")
   local mark = {}
   local ok, err = coroutine.resume(co, mark)
   assert(not ok and err == mark and coroutine.status(co) == "dead")
   assert(select(2, coroutine.resume(co)) == "cannot resume dead coroutine")

   ok, err = pcall(coroutine.wrap(function() error "here" end))
   assert(not ok and err:find "here$")
   local closed = false
   ok = pcall(coroutine.wrap(function()
      local _ <close> = setmetatable({}, { __close = function() closed = true end })
      error(mark)
   end))
   assert(not ok and closed)
   local none = table.pack(coroutine.wrap(function() end)())
   assert(none.n == 0)
end

weft.run(function()
   local server = assert(socket.bind("127.0.0.1", 0))
   local _, port = server:getsockname()
   weft.spawn(serve, server)
   local client = assert(socket.connect("127.0.0.1", port))
   check(client)
   client:close()
   client = assert(socket.connect("127.0.0.1", port))
   check(client)
   client:close()
   server:close()
end)

-- the main thread, outside of weft.run
local server = assert(socket.bind("127.0.0.1", 0))
weft.spawn(function() serve(server) end)
local _, port = server:getsockname()
for _ = 1, 2 do
   local client = assert(socket.connect("127.0.0.1", port))
   check(client)
   client:close()
end
server:close()

-- a cancelled task, within a driver's coroutine
local ended
weft.run(function()
   local quiet = assert(socket.bind("127.0.0.1", 0))
   local task = weft.spawn(function()
      local _ <close> = setmetatable({}, { __close = function() ended = true end })
      coroutine.wrap(function() quiet:accept() end)()
   end)
   weft.sleep(0.01)
   task:cancel()
   assert(select(2, task:join()) == "cancelled")
   quiet:close()
end)
assert(ended)
print "all is fine"
