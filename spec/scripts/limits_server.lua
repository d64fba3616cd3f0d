-- The server of limits_spec: an echo, and what this process takes.

local weft = require "weft"

local app = weft.app { ping_interval = 0, handshake_timeout = 60 }
app:websocket("/", function(ws)
   for message in ws:messages() do ws:send(message) end
end)
app:get("/accepted", function()
   return 200, nil, tostring(app:stats().accepted)
end)

-- Resident KiB after a full collection.
app:get("/memory", function()
   collectgarbage()
   collectgarbage()
   local file <close> = assert(io.open "/proc/self/status")
   return 200, nil, file:read "a":match "VmRSS:%s*(%d+)"
end)

local _, port = assert(app:listen "127.0.0.1:0")
print(port)
io.stdout:flush()
weft.run()
