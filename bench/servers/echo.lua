-- The echo server of the benchmarks: every check of the protocol is on, the
-- handler is one Lua coroutine per connection.
local weft = require "weft"

-- COMPRESSION in the environment: "shared" or "dedicated"
local compression = os.getenv "COMPRESSION"
if compression == "" then compression = nil end

local app = weft.app { max_message = 64 << 20, ping_interval = 20, compression = compression }
app:websocket("/", function(ws)
   for message, kind in ws:messages() do ws:send(message, kind) end
end)
-- with a certificate and its key: wss
local tls = arg[2] and { cert = arg[2], key = arg[3] } or nil
assert(app:listen("127.0.0.1:" .. (arg[1] or 9001), { backlog = 4096, tls = tls }))
weft.run()
