-- What the conformance suite looks at: weft's server and weft's client in one process, each
-- an echo. It does what lines of JSON on a control connection ask for (behind a line come the
-- bytes that its args announce), and tells there what weft's user sees. It prints the port for
-- control and the app's.

local weft, json = require "weft", require "cjson"

-- Options by name, for routes of the server and for connections of the client alike.
local ROUTES = {
   echo = {},
   small = { max_message = 1000, max_fragments = 64, max_empty_fragments = 4 },
   protocols = { protocols = { "b", "a" } },
   origins = { origins = { "https://good.example", "https://*.example.org" } },
   deflate = { compression = { threshold = 0 } },
   window9 = { compression = { threshold = 0, window = 9 } },
   stateless = { compression = { mode = "shared", threshold = 0 } },
   hasty = { close_timeout = 0.5 },
   inflate = { max_message = 100000, compression = { threshold = 0, max_ratio = 25 } },
}
local SERVER_ONLY = { "origins" }
local live = {}
local events = weft.channel(4096)

local function tell(event) events:send(json.encode(event)) end

local function hex(s) return (s:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end

-- Echoes until the end, and tells what the end was like.
local function serve(ws, id)
   live[id] = ws
   tell { event = "opened", id = id, protocol = ws.protocol, extensions = ws.extensions }
   local ok, err = pcall(function()
      for message, kind in ws:messages() do
         if not ws:send(message, kind) then break end
      end
   end)
   local _, why, name = ws:receive()
   local code, reason, clean = ws:closed()
   live[id] = nil
   tell { event = "closed", id = id, code = code, reason = hex(reason or ""), clean = clean,
      why = hex(why or ""), name = name, raised = not ok and tostring(err) or nil }
end

local function options(name, role)
   local opts = { ping_interval = 0 }
   for key, value in pairs(assert(ROUTES[name], name)) do opts[key] = value end
   for _, key in ipairs(role == "client" and SERVER_ONLY or {}) do opts[key] = nil end
   return opts
end

local commands = {}

function commands.connect(order)
   local opts = options(order.route, "client")
   for key, value in pairs(order.opts or {}) do opts[key] = value end
   local ok, ws, message, code, answer = pcall(weft.connect, order.url, opts)
   if ok and ws then return serve(ws, order.id) end
   tell { event = "failed", id = order.id, raised = not ok, name = code,
      message = hex(tostring(ok and message or ws)), status = answer and answer.status }
end

-- Any method of a connection.
function commands.call(order)
   local ws = live[order.id]
   if not ws then return end -- its end was told already
   local args = order.args
   local ok, result, why, code = pcall(ws[order.method], ws, table.unpack(args, 1, #args))
   tell { event = "called", id = order.id, name = code,
      raised = not ok, result = ok and result and true or false,
      message = hex(tostring(ok and why or result)) }
end

local app = weft.app {}
for name in pairs(ROUTES) do
   app:websocket("/" .. name, function(ws)
      serve(ws, tonumber(ws.request.query:match "id=(%d+)"))
   end, options(name, "server"))
end
app:get("/page", function() return 200, nil, "page" end)

local _, port = assert(app:listen "127.0.0.1:0")
local control = assert(weft.listen "127.0.0.1:0")
local _, control_port = control:getsockname()
io.stdout:write(("ports %d %d\n"):format(control_port, port)):flush()

weft.run(function()
   local stream = assert(control:accept())
   control:close()
   weft.spawn(function()
      for line in events:each() do
         if not stream:send(line .. "\n") then break end
      end
   end)
   for line in function() return (stream:receive "*l") end do
      local order = json.decode(line)
      for i, arg in ipairs(order.args or {}) do
         if type(arg) == "table" then order.args[i] = assert(stream:receive(arg.bytes)) end
      end
      weft.spawn(commands[order.op], order)
   end
   stream:close()
   events:close()
   app:close()
end)
