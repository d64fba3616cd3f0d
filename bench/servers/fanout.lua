-- The broadcast server of the benchmarks: what one connection sends, app:publish
-- delivers to all the others.
local weft = require "weft"

local app = weft.app { hard_mark = 16 << 20 }
app:websocket("/", function(ws)
   ws:subscribe("all")
   for message, kind in ws:messages() do
      ws:unsubscribe("all") -- who publishes does not listen
      app:publish("all", message, kind)
   end
end)
assert(app:listen("127.0.0.1:" .. (arg[1] or 9001), { backlog = 4096 }))
weft.run()
