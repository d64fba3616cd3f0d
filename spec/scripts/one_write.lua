-- For topics_spec, under strace: five messages published in one turn to ten subscribers,
-- between two system calls that mark the place.

local weft = require "weft"
local lfs = require "lfs"

weft.run(function()
   local app <close> = weft.app()
   app:websocket("/", function(ws)
      ws:subscribe "t"
      for _ in ws:messages() do end
   end)
   local _, port = assert(app:listen "127.0.0.1:0")
   local clients = {}
   for i = 1, 10 do clients[i] = assert(weft.connect("ws://127.0.0.1:" .. port .. "/")) end
   while app:subscribers "t" < 10 do weft.sleep(0.01) end
   lfs.mkdir "/nonexistent/begin"
   for i = 1, 5 do app:publish("t", "news " .. i) end
   for _, client in ipairs(clients) do
      for i = 1, 5 do assert(client:receive(20) == "news " .. i) end
   end
   lfs.mkdir "/nonexistent/end"
   for _, client in ipairs(clients) do client:close() end
end)
