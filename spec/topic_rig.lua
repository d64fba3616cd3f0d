-- For specs of topics: an app whose connections the test holds at both ends.

local weft = require "weft"
local server = require "spec.helper_server"
local raw = require "spec.raw"

local SOON = raw.SOON
local rig = {}

--- An app at /ws whose handlers hand their end out and wait. join(...) connects: the server's
-- end, subscribed to all of these, and the client.
function rig.serve(opts)
   local ready, done = weft.channel(1), weft.channel()
   local port, app = raw.app(function(ws)
      ready:send(ws)
      done:receive()
   end, opts)
   server.keep { close = function() done:close() end }
   return app, function(...)
      local client = server.keep(assert(weft.connect(raw.url(port))))
      local ws = assert(ready:receive(SOON))
      for _, topic in ipairs { ... } do assert(ws:subscribe(topic)) end
      return ws, client
   end, port
end

function rig.take(client)
   local message = assert(client:receive(SOON))
   return message
end

--- What came before a message that goes to this connection alone.
function rig.taken(ws, client)
   assert(ws:send "that is all")
   local list = {}
   while true do
      local message = rig.take(client)
      if message == "that is all" then return list end
      list[#list + 1] = message
   end
end

return rig
