-- What a history of 1,000 messages adds to a publish: CPU time of app:publish with 64 bytes to
-- a topic with and without one, in turns, to as many connections as are asked for.
--   lua5.4 bench/history.lua [subscribers [publishes]]
-- The subscribers are in a child process, which only reads.

local weft = require "weft"

local subscribers = tonumber(arg[1]) or 0
local publishes = tonumber(arg[2]) or math.min(50000, 500000 // math.max(subscribers, 1))
local ROUNDS, TURN = 9, 16 -- publishes in a turn of the loop
local MESSAGE = ("x"):rep(64)

local READER = [[
local weft = require "weft"
weft.run(function()
   for _ = 1, %d do
      for _, topic in ipairs { "plain", "kept" } do
         local ws = assert(weft.connect("ws://127.0.0.1:%d/" .. topic))
         weft.spawn(function() for _ in ws:messages() do end end)
      end
   end
end)
]]

local function start_readers(port)
   if subscribers == 0 then return end
   local path = os.tmpname()
   local file <close> = assert(io.open(path, "w"))
   file:write(READER:format(subscribers, port))
   file:close()
   os.execute(("%s %s >/dev/null 2>&1 </dev/null &"):format(os.getenv "LUA" or "lua5.4", path))
   return path
end

local function measure(app, topic)
   local started = os.clock()
   for i = 1, publishes do
      app:publish(topic, MESSAGE)
      if i % TURN == 0 then weft.sleep(0) end
   end
   return (os.clock() - started) / publishes * 1e6
end

local function median(list)
   table.sort(list)
   return list[#list // 2 + 1]
end

weft.run(function()
   local app = weft.app { hard_mark = 1 << 30 }
   app:topic("kept", { history = { size = 1000 } })
   for _, topic in ipairs { "plain", "kept" } do
      app:websocket("/" .. topic, function(ws)
         ws:subscribe(topic)
         ws:receive()
      end)
   end
   local _, port = assert(app:listen "127.0.0.1:0")
   local path = start_readers(port)
   while app:subscribers "plain" + app:subscribers "kept" < 2 * subscribers do weft.sleep(0.01) end
   local plain, kept, ratios = {}, {}, {}
   for round = 0, ROUNDS do
      local a, b
      if round % 2 == 0 then a, b = measure(app, "plain"), measure(app, "kept")
      else b = measure(app, "kept") a = measure(app, "plain") end
      if round > 0 then -- the first is for warming up
         plain[round], kept[round], ratios[round] = a, b, b / a
      end
   end
   print(("%d subscribers: %.3f us without, %.3f us with history, ratio %.2f (%.2f to %.2f)")
      :format(subscribers, median(plain), median(kept), median(ratios), ratios[1], ratios[ROUNDS]))
   app:close()
   if path then os.remove(path) end
end)
