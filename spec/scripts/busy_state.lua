-- Leaves as much open as there is, and ends:   lua busy_state.lua END
-- END is return, exit, task, error, collect, or stuck: as exit, with output that no peer takes,
-- which may last some seconds. The exit status is 0, or 1 for error.

local weft = require "weft"
local pair = require "spec.scripts.pair"

local how = ...
local keep = {}

local function waits(f, ...)
   keep[#keep + 1] = weft.spawn(f, ...)
end

-- Plain sockets: a listener that waits, streams that wait both ways, one with output that
-- nobody reads, one that lingers without a handle, one that connects.
local listener, port = pair.listener()
keep[1] = listener
waits(function() while listener:accept() do end end)
for i = 1, 3 do
   local near, far = pair.streams()
   keep[#keep + 1] = near
   keep[#keep + 1] = far
   waits(function() near:receive(5) end)
   waits(function() near:send(("x"):rep(i << 20)) end)
end
do
   local near, far = pair.streams()
   near:send "left behind"
   keep[#keep + 1] = far
end
local hole = pair.black_hole()
waits(function() weft.tcp():connect_ip("127.0.0.1", hole or 9) end)

-- WebSockets on both ends, in every kind of wait; published to; closing.
local app = weft.app { close_timeout = 60 }
app:websocket("/", function(ws)
   ws:subscribe "news"
   for _ in ws:messages() do ws:publish("news", ("n"):rep(1000)) end
end)
app:websocket("/deaf", function() weft.sleep(3600) end)
app:websocket("/closes", function(ws)
   ws:send "bye"
   ws:close(4000, "by the server")
end)
app:get("/", function() return 200, nil, function() weft.sleep(3600) end end)
local _, web = assert(app:listen "127.0.0.1:0")
local function client(path)
   return assert(weft.connect(("ws://127.0.0.1:%d%s"):format(web, path)))
end
for _ = 1, 3 do
   local ws = client "/"
   keep[#keep + 1] = ws
   ws:send "hello"
   waits(function() while ws:receive() do end end)
end
local deaf = client "/deaf"
if how == "stuck" then waits(function() while deaf:send(("d"):rep(1 << 20)) do end end) end
waits(function() client("/deaf"):ping() end)
waits(function() client("/deaf"):close() end)
client "/closes"
client "/"
local request = assert(weft.dial("127.0.0.1:" .. web))
request:send "GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HT"
waits(request.receive, request, "*a")

-- Tasks in every other kind of wait.
local channel = weft.channel(2)
waits(weft.sleep, 3600)
waits(channel.receive, channel, 3600)
waits(function() while channel:send "x" do weft.sleep(0) end end)
waits(weft.group, function(g) g:spawn(weft.sleep, 3600) end)
waits(weft.deadline, 3600, function() weft.channel():receive() end)
waits(weft.signal, "USR1")
waits(function() weft.spawn(weft.sleep, 3600):join() end)
waits(weft.sleep, 0) -- ended long before
local ended = weft.spawn(function() return {} end)

-- What is finalized before and after weft's own state.
for _ = 1, 3 do
   setmetatable({}, { __gc = function()
      pcall(request.send, request, "late")
      pcall(request.close, request)
      pcall(deaf.close, deaf)
      pcall(ended.join, ended)
      pcall(ended.cancel, ended)
      pcall(channel.close, channel)
      pcall(app.close, app)
      pcall(weft.spawn, function() end)
      pcall(weft.sleep, 0)
      pcall(weft.tcp)
      local _ = tostring(request) .. tostring(deaf) .. tostring(ended) .. tostring(listener)
   end })
end

weft.sleep(0.02)
waits(weft.dial, "no.such.host.invalid:1")
waits(weft.sleep, 0) -- ready, but not run, when the state closes
local _ = assert(weft.dial("127.0.0.1:" .. port)):send "queued"

if how == "exit" or how == "stuck" then
   os.exit(true, true)
elseif how == "task" then
   for _ = 1, 3 do waits(os.exit, true, true) end
   weft.run()
elseif how == "error" then
   error "the script failed"
elseif how == "collect" then
   keep, listener, app, deaf, request, channel, ended = nil, nil, nil, nil, nil, nil, nil
   collectgarbage()
   collectgarbage()
   weft.sleep(0.02)
end
