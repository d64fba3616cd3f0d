-- The broadcast server of the benchmarks: what one connection sends, app:publish
-- delivers to all the others.   fanout.lua PORT [OTHER TOPICS [PATTERNS]]
-- HISTORY in the environment: so many messages of it are kept.
local weft = require "weft"

local app = weft.app { hard_mark = 16 << 20, max_topics_per_connection = 1 << 20 }
local history = tonumber(os.getenv "HISTORY")
if history then app:topic("all", { history = { size = history } }) end
app:websocket("/", function(ws)
   ws:subscribe("all")
   for message, kind in ws:messages() do
      ws:unsubscribe("all") -- who publishes does not listen
      app:publish("all", message, kind)
   end
end)

-- Topics that have nothing to do with it, and patterns that do not match.
app:websocket("/others", function(ws)
   for i = 1, tonumber(arg[2]) or 0 do ws:subscribe("other." .. i) end
   for i = 1, tonumber(arg[3]) or 0 do ws:subscribe("other." .. i .. ".*") end
   ws:receive()
end)

local port = arg[1] or 9001
assert(app:listen("127.0.0.1:" .. port, { backlog = 4096 }))
weft.run(function()
   if arg[2] then
      local other = assert(weft.connect(("ws://127.0.0.1:%s/others"):format(port)))
      other:receive()
   end
end)
