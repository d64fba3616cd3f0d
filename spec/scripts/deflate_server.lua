-- Echoes at a path for each way to compress, and prints its port.
local weft = require "weft"

-- No icon: nothing but the page's WebSocket is on the wire once it is there.
local PAGE = '<!doctype html><title>weft</title><link rel="icon" href="data:,">'

local WAYS = {
   dedicated = "dedicated", shared = "shared",
   narrow = { window = 9, threshold = 200 },
   wide = { window = 15, memlevel = 9, client_max_window_bits = 15 },
   declined = false,
}

weft.run(function()
   local app = weft.app {}
   app:get("/", function() return 200, { ["content-type"] = "text/html" }, PAGE end)
   for name, compression in pairs(WAYS) do
      app:websocket("/" .. name, function(ws)
         for message, kind in ws:messages() do assert(ws:send(message, kind)) end
      end, { compression = compression, max_message = 16 << 20 })
   end
   print("port " .. select(2, assert(app:listen "127.0.0.1:0")))
   weft.signal "INT"
   app:close()
end)
