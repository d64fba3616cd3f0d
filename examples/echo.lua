-- Sends every message back as it came, text as text and binary as binary.
--    lua5.4 examples/echo.lua [PORT]
local weft = require "weft"
local app = weft.app {}

app:websocket("/", function(ws)
   for message, kind in ws:messages() do
      ws:send(message, kind) -- waits while this peer is slow to read; nobody else is kept waiting
   end
end)

local _, port = assert(app:listen(":" .. (arg[1] or os.getenv "PORT" or 8080)))
io.stdout:write("echo: ws://localhost:", port, "/\n"):flush()
weft.run(function() weft.signal "INT" app:close() end) -- until Ctrl-C
