-- Pushes a live value to every page that is open, twenty times a second.
--    lua5.4 examples/push.lua [PORT]        then open the address it prints, in several windows
local weft = require "weft"
local app = weft.app {}

-- There is one publisher, however many pages: each value is written and framed once.
local function publish()
   local value, speed = 50, 0
   while true do
      speed = 0.9 * speed + 0.01 * (50 - value) + math.random() - 0.5 -- a calm random walk
      value = value + speed
      app:publish("live", { weft.now(), value })
      weft.sleep(0.05)
   end
end

app:static("/", (arg[0]:match "^(.*)/" or ".") .. "/public")
app:client "/weft.js"
app:channel("live", {
   history = { size = 600, ttl = 30 }, -- 30 seconds, so that a new page starts with a full plot
   join = function(_, topic) return { recent = app:history(topic, { limit = 600 }) } end,
})

local _, port = assert(app:listen(":" .. (arg[1] or os.getenv "PORT" or 8080)))
io.stdout:write("push: http://localhost:", port, "/push.html\n"):flush()
weft.run(function()
   local publisher = weft.spawn(publish)
   weft.signal "INT" -- Ctrl-C
   publisher:cancel()
   app:close()
end)
