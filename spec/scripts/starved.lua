-- The first, the first + step ... allocation of a state fails:   lua starved.lua FIRST STEP COUNT
-- Whatever was under way then, the state goes on, and closes. Prints how often it failed.

local lfs = require "lfs"
local states = require "states"

local first, step, count = table.unpack(arg, 1, 3)

local SCENE = [[
   local function scene()
      local app <close> = weft.app { close_timeout = 0.05 }
      app:websocket("/", function(ws)
         ws:subscribe "news"
         for message, kind in ws:messages() do
            if message == "fail" then error { "an error object" } end
            ws:send(message, kind)
            ws:publish("news", message)
         end
      end)
      app:get("/rooms/:id", function(req) return 200, nil, req.params.id end)
      local _, port = assert(app:listen "127.0.0.1:0")
      local url = "ws://127.0.0.1:" .. port .. "/"
      local one <close> = assert(weft.connect(url))
      local two <close> = assert(weft.connect(url))
      one:send "hello"
      one:receive(0.05)
      two:send(("x"):rep(70000), "binary")
      two:receive(0.05)
      two:ping(0.05)
      local listener <close> = assert(weft.listen "localhost:0")
      local accepted = weft.spawn(function() return listener:accept() end)
      local near <close> = assert(weft.dial("127.0.0.1:" .. port))
      near:send "GET /rooms/5?x=1 HTTP/1.1\r\nhost: x\r\n\r\n"
      near:settimeout(0.05)
      near:receive "*l"
      near:receive(70000)
      local ch = weft.channel(1)
      weft.spawn(function() for i = 1, 3 do ch:send(i) end end)
      weft.group(function(g)
         for _ = 1, 3 do g:spawn(function() ch:receive(0.01) end) end
      end)
      weft.spawn(error, "unheard")
      pcall(weft.spawn, select, "#", table.unpack({}, 1, 200))
      weft.spawn(coroutine.yield)
      two:send "fail"
      accepted:cancel()
      pcall(weft.spawn(function() weft.sleep(0) error {} end).join)
      one:close()
   end
   -- it always fails, so that nothing stays behind
   pcall(weft.run, function()
      weft.deadline(0.5, scene)
      error "enough"
   end)
   pcall(weft.run, function() error "some were stuck in what failed" end)
]]

local function open_files()
   local n = 0
   for _ in lfs.dir "/proc/self/fd" do n = n + 1 end
   return n
end

local failed, files = 0
for i = 0, count - 1 do
   local n = math.tointeger(first + i * step)
   local state = states.new()
   assert(state:run [[
      weft = require "weft"
      weft.on_error = function() end
      weft.run(function() end)
   ]])
   state:starve(n)
   local ok, err = state:run(SCENE)
   if not ok and not err:find "not enough memory" then error(n .. ": " .. err) end
   if state:starve(0) then failed = failed + 1 end
   local well, why = state:run [[
      local near, far
      return weft.run(function()
         local listener <close> = assert(weft.listen "127.0.0.1:0")
         local _, port = listener:getsockname()
         local near <close> = assert(weft.dial("127.0.0.1:" .. math.tointeger(port)))
         local far <close> = assert(listener:accept())
         near:send "well"
         return far:receive(4)
      end)
   ]]
   if well ~= "well" then error(("%d: %s"):format(n, why or well)) end
   state:close()
   files = files or open_files()
   if open_files() > files then error(n .. ": a descriptor is left open") end
end
print(failed)
