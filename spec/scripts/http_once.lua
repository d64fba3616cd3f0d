-- Asks once, leaves the connection in the pool, and ends: at once, not after `keepalive`.
local weft = require "weft"

weft.run(function()
   local listener = assert(weft.listen "127.0.0.1:0")
   local _, port = listener:getsockname()
   weft.spawn(function()
      local stream = listener:accept()
      stream:receive "*l"
      stream:send "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
      listener:close()
   end)
   local opts = { keepalive = 86400 }
   print(assert(weft.http.get(("http://127.0.0.1:%d/"):format(port), opts)).body)
end)
