-- Tasks that do anything to handles they share, at any time:   lua chaos.lua SEED STEPS
-- Errors of misuse and failures are expected; what must not happen is a crash, a task that
-- nothing can end, or a connection that is still there at the end. Prints "ended".

local weft = require "weft"
local pair = require "spec.scripts.pair"

local seed, steps = tonumber((...)), tonumber((select(2, ...)))
math.randomseed(seed)
local random = math.random
weft.on_error = function() end

local tasks, streams, sockets, channels, listeners = {}, {}, {}, {}, {}
local everyone = {}
local app, port, url
local stepped = 0

local function any(list)
   return list[random(math.max(#list, 1))]
end

-- Pools stay small, and whatever falls out is for the collector.
local function put(list, thing)
   list[#list < 8 and #list + 1 or random(8)] = thing
   return thing
end

local function data()
   return ("x"):rep(random(4) == 1 and random(300000) or random(100))
end

local sizes = { "*l", "*a", 1, 10, 1000, 70000 }

local actions = {
   function() weft.sleep(random() * 0.004) end,
   function() weft.sleep(0) end,
   function() collectgarbage(random(4) == 1 and "collect" or "step") end,
   function() put(streams, assert(weft.dial("127.0.0.1:" .. port))) end,
   function()
      local listener, p = pair.listener()
      put(listeners, listener)
      weft.dial("127.0.0.1:" .. p)
   end,
   function() put(streams, assert(any(listeners):accept())) end,
   function() any(listeners):close() end,
   function() any(streams):send(data()) end,
   function() any(streams):receive(any(sizes)) end,
   function() any(streams):shutdown(any { "send", "receive", "both" }) end,
   function() any(streams):settimeout(any { 0, 0.001, false } or nil) end,
   function() any(streams):close() end,
   function() any(streams):linger() end,
   function()
      local socket = weft.tcp()
      weft.spawn(socket.connect_ip, socket, "127.0.0.1", any { port, 1 })
      if random(2) == 1 then weft.sleep(0) end
      any { socket.close, socket.listen, socket.bind_ip, socket.connect_ip }(socket, "::1", port)
   end,
   function()
      local ws = put(sockets, assert(weft.connect(url)))
      if random(2) == 1 then ws:send "subscribe" end
   end,
   function() any(sockets):send(data(), any { "text", "binary" }) end,
   function() any(sockets):try_send(data()) end,
   function() any(sockets):receive(any { 0, 0.002 }) end,
   function() for _ in any(sockets):messages() do if random(3) == 1 then break end end end,
   function() any(sockets):ping(0.01) end,
   function() any(sockets):close(any { 1000, 4000 }) end,
   function() local _ <close> = any(sockets) end,
   function() any(sockets).data = any(sockets) end,
   function() any(sockets):subscribe "news" end,
   function() any(sockets):unsubscribe "news" end,
   function() any(sockets):publish("news", data()) end,
   function() app:publish("news", data()) end,
   function() put(channels, weft.channel(random(0, 3))) end,
   function() any(channels):send(any(tasks)) end,
   function() any(channels):receive(any { 0, 0.002 }) end,
   function() any(channels):close() end,
   function() any(tasks):cancel() end,
   function() any(tasks):cancel() end,
   function() any(tasks):join(any { 0, 0.002 }) end,
   function() error(any { "an error", {}, false }) end,
   function() coroutine.yield() end,
   function() coroutine.wrap(weft.sleep)(0) end,
   function()
      weft.group(function(g)
         for _ = 1, random(3) do g:spawn(any(tasks) and weft.sleep or error, random() * 0.002) end
         if random(3) == 1 then g:cancel() end
      end)
   end,
   function() tostring(any(streams)); tostring(any(sockets)); tostring(any(tasks)) end,
   function() for _, list in ipairs { streams, sockets, tasks } do list[random(8)] = nil end end,
}

local function act()
   local f = any(actions)
   if random(2) == 1 then
      pcall(weft.deadline, random() * 0.005, f)
   elseif random(20) == 1 then
      f()
   else
      pcall(f)
   end
end

local function behave()
   local _ <close> = pair.at_end(function() if random(10) == 1 then act() end end)
   while stepped < steps do
      stepped = stepped + 1
      act()
      if random(50) == 1 then return random() end
   end
end

local function handler(ws)
   put(sockets, ws)
   if random(3) == 1 then return weft.deadline(0.01, act) end
   for message in ws:messages() do
      if message == "subscribe" then ws:subscribe "news" end
      if random(3) == 1 then ws:send(message, "binary") end
      if random(20) == 1 then error "the handler has had enough" end
      if random(20) == 1 then weft.deadline(0.01, act) end
   end
end

weft.run(function()
   app = weft.app { close_timeout = 0.02, handshake_timeout = 0.05, inbox_messages = 2,
      high_mark = 20000, low_mark = 1000, hard_mark = 200000 }
   app:websocket("/", handler)
   local _
   _, port = assert(app:listen "127.0.0.1:0")
   url = "ws://127.0.0.1:" .. port
   while stepped < steps do
      for i = 1, 8 do
         if not tasks[i] or tasks[i].status ~= "suspended" then
            tasks[i] = weft.spawn(behave)
            everyone[#everyone + 1] = tasks[i]
         end
      end
      weft.sleep(0.001)
   end
   for _ = 1, 20 do -- some catch one, or more
      for _, task in ipairs(everyone) do task:cancel() end
      weft.sleep(0.002)
   end
   app:close()
   for _, list in ipairs { streams, sockets, listeners, channels } do
      for i = 1, 8 do if list[i] then weft.spawn(list[i].close, list[i]) end end
   end
end)
print "ended"
