-- A server and clients that reach it by the environment's proxies. What it prints tells how
-- they came: through http_proxy with HTTP's words, through all_proxy without.

local weft = require "weft"

weft.run(function()
   local app <close> = weft.app {}
   app:websocket("/ws", function(ws) ws:send "hello" end)
   app:get("/", function(req)
      return 200, nil, req.headers.via and "tinyproxy" or "nobody"
   end)
   local address, port = assert(app:listen "127.0.0.1:0")
   local ws <close> = assert(weft.connect(("ws://%s/ws"):format(address)))
   assert(ws:receive(10) == "hello")
   assert(select(2, weft.connect("ws://127.0.0.1:1/")):find "proxy .* refused CONNECT 127.0.0.1:1")
   print "ws tinyproxy"

   local answer = assert(weft.http.get(("http://%s/"):format(address)))
   assert(answer.status == 200)
   assert(weft.http.close_idle() <= 1)
   print "http tinyproxy"

   local stream <close> = assert(weft.dial("localhost:" .. port, { proxy = true }))
   stream:send "GET / HTTP/1.0\r\n\r\n"
   assert(stream:receive "*a":find "nobody$")
   local _, message = weft.dial("localhost:1", { proxy = true })
   assert(message:find "proxy .* refused localhost:1: ", message)
   print "dial microsocks"

   local _, why, code = weft.connect "ws://host.invalid/"
   assert(not why:find "proxy", why)
   print("excepted " .. code)
end)
