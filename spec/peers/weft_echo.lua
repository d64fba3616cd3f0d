-- The weft server that the foreign clients of peers_spec.lua talk to. It echoes; a text that
-- begins with "!" is an order. It prints its port, and a JSON line for every connection that ends.
local weft, json = require "weft", require "cjson"

local orders = {}

function orders.close(ws, rest)
   local code, reason = rest:match "^(%d+) ?(.*)$"
   ws:close(tonumber(code), reason)
end

function orders.header(ws, name)
   ws:send(ws.request.headers[name] or "(none)")
end

function orders.path(ws)
   ws:send(ws.request.path .. "?" .. ws.request.query)
end

function orders.ping(ws)
   weft.spawn(function() -- this task reads, so that the pong can come in
      local rtt = ws:ping(5)
      ws:send(rtt and rtt >= 0 and rtt < 5 and "pong" or "no pong")
   end)
end

local app = weft.app {}
app:websocket("/echo", function(ws)
   for message, kind in ws:messages() do
      local order, rest = message:match "^!(%a+) ?(.*)$"
      if order and kind == "text" then
         orders[order](ws, rest)
      else
         ws:send(message, kind)
      end
   end
   local code, reason, clean = ws:closed()
   local line = { case = ws.request.query, code = code, reason = reason, clean = clean }
   io.stdout:write(json.encode(line), "\n"):flush()
end, { protocols = { "weft.v2", "weft.v1" } })

-- TLS when the environment has a certificate
local cert = os.getenv "TLS_CERT"
local tls = cert and { cert = cert, key = os.getenv "TLS_KEY" } or nil
local _, port = assert(app:listen("127.0.0.1:0", { tls = tls }))
io.stdout:write("port ", port, "\n"):flush()
weft.run(function()
   weft.signal "INT"
   app:close()
end)
