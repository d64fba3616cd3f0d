-- What topics cost, through app and ws alone:   hub.lua [match|memory|history]...
-- "hub.lua hold PATH N" is what "memory" starts: N connections.
-- Times are CPU time of this process; each figure is the best of several slices, in turn.

local weft = require "weft"

local MOST = 1 << 22

local function cpu(f, n)
   local began = os.clock()
   for i = 1, n do f(i) end
   return (os.clock() - began) / n
end

-- The best of `rounds` slices of each, one after the other.
local function compare(list, n, rounds)
   local best = {}
   for _ = 1, rounds do
      for i, f in ipairs(list) do best[i] = math.min(best[i] or math.huge, cpu(f, n)) end
   end
   return best
end

-- An app with one connection per list of topics; f(app) then.
local function with_app(lists, f)
   local app = weft.app { max_topics_per_connection = MOST, ping_interval = 0 }
   local waiting, done = {}, weft.channel()
   app:websocket("/", function(ws)
      local list = table.remove(waiting)
      for _, topic in ipairs(list) do assert(ws:subscribe(topic)) end
      ws:send "ready"
      done:receive()
   end)
   local _, port = assert(app:listen "127.0.0.1:0")
   local clients = {}
   for i, list in ipairs(lists) do
      waiting[1] = list
      clients[i] = assert(weft.connect(("ws://127.0.0.1:%d/"):format(port), { ping_interval = 0 }))
      assert(clients[i]:receive())
   end
   f(app, clients)
   done:close()
   app:close()
   for _, client in ipairs(clients) do client:close() end
end

-- -- matching: nobody is reached, so that it is only that -------------------------------------

local function match_at(topics, patterns)
   local names, wild = {}, {}
   for i = 1, topics do names[i] = ("room.%d.chat"):format(i) end
   for i = 1, patterns do wild[i] = (i % 2 == 0 and "user.%d.*" or "user.*.%d.>"):format(i) end
   with_app({ names, wild }, function(app)
      local best = compare({
         function(i) app:publish(("nobody.%d.chat"):format(i % 1000), "x") end,
         function(i) app:publish(("user.%d.x"):format(i % 1000 + MOST), "x") end,
      }, 20000, 5)
      print(("%7d topics %5d patterns   publish %.2f us; a name that begins as patterns do %.2f us")
         :format(topics, patterns, best[1] * 1e6, best[2] * 1e6))
   end)
end

local function match()
   for _, topics in ipairs { 1000, 10000, 100000 } do match_at(topics, 0) end
   for _, patterns in ipairs { 10, 100, 1000 } do match_at(100000, patterns) end
end

-- -- memory -----------------------------------------------------------------------------------

local function resident()
   collectgarbage()
   collectgarbage()
   local file <close> = assert(io.open "/proc/self/statm")
   return tonumber(file:read "a":match "^%d+ (%d+)") * 4096
end

-- Connections are made by processes of their own, so that each needs but one descriptor here.
local PROCESSES = 4

local function hold(path, n)
   local held = {}
   for i = 1, n do
      held[i] = assert(weft.connect("ws+unix:" .. path .. ":/", { ping_interval = 0 }))
   end
   io.stdin:read "a" -- until the one who measures has done
   return held
end

-- The end of a pipe for each of them, which end when it is closed.
local function connect_from_outside(path, n)
   local pipes = {}
   for i = 1, PROCESSES do
      local count = n * i // PROCESSES - n * (i - 1) // PROCESSES
      pipes[i] = assert(io.popen(("%s %s hold %s %d"):format(arg[-1], arg[0], path, count), "w"))
   end
   return pipes
end

-- Seconds of CPU for each subscription.
local function subscribe(ends, from, to)
   local began = os.clock()
   for _, ws in ipairs(ends) do
      for i = from, to do assert(ws:subscribe("topic." .. i)) end
   end
   return (os.clock() - began) / #ends / (to - from + 1)
end

local function memory()
   local connections, topics, more = tonumber(os.getenv "CONNECTIONS") or 10000, 10, 50
   local warm = connections // 5
   local app = weft.app { ping_interval = 0 }
   local ends = {}
   app:websocket("/", function(ws)
      ends[#ends + 1] = ws
      ws:receive()
   end)
   local path = os.tmpname()
   os.remove(path)
   assert(app:listen("unix:" .. path))
   local function grow(n)
      local before = resident()
      local pipes = connect_from_outside(path, n - #ends)
      while #ends < n do weft.sleep(0.01) end
      weft.sleep(0.1)
      return resident() - before, pipes
   end
   local _, some = grow(warm)
   local bytes, rest = grow(connections)
   local before = resident()
   local took = subscribe(ends, 1, topics)
   local first = resident() - before -- some of it was there already: freed by handshakes
   before = resident()
   subscribe(ends, topics + 1, topics + more)
   local shared, began = resident() - before, os.clock()
   local n = app:publish("topic.1", ("x"):rep(64))
   local fan_out = (os.clock() - began) / n
   print(("%d connections, %.0f bytes each; x %d topics: %.1f bytes and %.2f us for each "
      .. "subscription; x %d more: %.1f bytes; publish %.2f us for each of %d"):format(#ends,
      bytes / (connections - warm), topics, first / connections / topics, took * 1e6, more,
      shared / connections / more, fan_out * 1e6, n))
   app:close()
   for _, pipes in ipairs { some, rest } do
      for _, pipe in ipairs(pipes) do pipe:close() end
   end
end

-- -- history ----------------------------------------------------------------------------------

-- The call alone; what it is beside a fan-out is bench-hub's to measure.
local function history()
   with_app({}, function(app)
      app:topic("kept.>", { history = { size = 1000 } })
      local message = ("x"):rep(64)
      local best = compare({ function() app:publish("plain.nobody", message) end,
         function() app:publish("kept.nobody", message) end }, 50000, 7)
      print(("publish to nobody: %.2f us, with a history of 1,000 messages %.2f us")
         :format(best[1] * 1e6, best[2] * 1e6))
   end)
end

local all = { match = match, memory = memory, history = history }
if arg[1] == "hold" then return hold(arg[2], tonumber(arg[3])) end
for _, name in ipairs(arg[1] and arg or { "memory", "match", "history" }) do
   weft.run(all[name])
end
