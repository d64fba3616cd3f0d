-- The server's own numbers, live, as Server-Sent Events: any page, and curl, can read them.
--    lua5.4 examples/dashboard.lua [PORT]        curl -N http://localhost:8080/numbers
local weft = require "weft"
local app = weft.app {}
local EVERY, KEPT = 0.5, 240 -- seconds; two minutes of them

-- One measurement: what happened since the last one, and how late this one is.
local function measure(last)
   local stats, now, used = app:stats(), weft.now(), os.clock()
   local took = now - last.now
   return { now = now, used = used, requests = stats.requests }, {
      time = now, connections = stats.connections,
      requests = (stats.requests - last.requests) / took,
      cpu = 100 * (used - last.used) / took,
      memory = collectgarbage "count" / 1024,
      late = 1000 * math.max(took - EVERY, 0),
   }
end

local function watch()
   local last, numbers = { now = weft.now(), used = os.clock(), requests = 0 }
   while true do
      weft.sleep(EVERY)
      last, numbers = measure(last)
      app:publish("numbers", numbers)
   end
end

app:topic("numbers", { history = { size = KEPT, ttl = KEPT * EVERY } })
app:static("/", (arg[0]:match "^(.*)/" or ".") .. "/public")
app:get("/work", function() return 200, nil, ("x"):rep(10000) end) -- something to do
app:get("/recent", function() return weft.json((app:history("numbers", { limit = KEPT }))) end)
app:events("/numbers", "numbers") -- a browser that was away resumes by its Last-Event-ID

local _, port = assert(app:listen(":" .. (arg[1] or os.getenv "PORT" or 8080)))
io.stdout:write("dashboard: http://localhost:", port, "/dashboard.html\n"):flush()
local watcher = weft.spawn(watch)
weft.run(function() weft.signal "INT" watcher:cancel() app:close() end) -- until Ctrl-C
