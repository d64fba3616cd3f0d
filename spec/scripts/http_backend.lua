-- A server of weft that streams back what it is posted, for proxies to stand in front of.
local weft = require "weft"
local app = weft.app {}

app:post("/echo", function(req)
   local body = assert(req:body())
   local at = 0
   return 200, nil, function()
      if at >= #body then return nil end
      at = at + 5
      return body:sub(at - 4, at)
   end
end)

local _, port = assert(app:listen "127.0.0.1:0")
print("port " .. port)
io.stdout:flush()
weft.run()
