-- What memory runs out in: one scene per word, run by oom.c, which gives arm() and disarm().
-- Returns in a word what became of it; raises when that was not in order.
--
-- In order is: all well, `nil, message, "nomem"`, Lua's "not enough memory", raised or told to
-- weft.on_error, or a close with 1011 or an answer 500 or 503 that says the same to the
-- other end. In every case the connection beside the scene still answers, and a new one is made.

package.path = "lua/?.lua;lua/?/init.lua;" .. package.path

local weft = require "weft"

local SOON = 20
local told = {} -- what weft.on_error got
weft.on_error = function(_, text) told[#told + 1] = text end

local function url(port, path) return ("ws://127.0.0.1:%d%s"):format(port, path) end

local function echo(ws, message, kind)
   local sent, why, code = ws:send(message, kind)
   if not sent then return nil, why, code end
   local back, got
   back, got, code = ws:receive(SOON)
   if not back then return nil, got, code end
   if back ~= message or got ~= (kind or "text") then error("not what was sent: " .. back, 0) end
   return true
end

local scenes = {}

-- A raw client shakes hands with weft's server.
local KEY = "dGhlIHNhbXBsZSBub25jZQ=="
local function shake_hands(port, path)
   local stream, why, code = weft.dial("127.0.0.1:" .. port)
   if not stream then return nil, why, code end
   stream:settimeout(SOON)
   local ok, line, _
   ok, why, _, code = stream:send(("GET %s HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\n" ..
      "connection: upgrade\r\nsec-websocket-key: %s\r\nsec-websocket-version: 13\r\n\r\n"):format(
      path, KEY))
   if not ok then return nil, why, code end
   local status
   repeat
      line, why, _, code = stream:receive "*l"
      if not line then return nil, why, code end
      status = status or tonumber(line:match "^HTTP/1.1 (%d+)")
   until line == ""
   if status ~= 101 then return nil, "answered", status end
   return stream
end

function scenes.handshake(port)
   return function()
      local stream, why, code = shake_hands(port, "/echo")
      if not stream then return nil, why, code end
      stream:close()
      return true
   end
end

function scenes.connect(port)
   return function()
      local ws, why, code, answer = weft.connect(url(port, "/echo"))
      if not ws then return nil, why, answer and answer.status or code end
      ws:close()
      return true
   end
end

function scenes.echo(port)
   local ws = assert(weft.connect(url(port, "/echo")))
   return function()
      for _, message in ipairs { "", "hello", ("0123456789"):rep(2000) } do
         local ok, why, code = echo(ws, message)
         if not ok then return nil, why, code end
      end
      return echo(ws, ("\1\2\3\0"):rep(20000), "binary")
   end, ws
end

-- Frames by hand, masked with zeros.
local function frame(b0, payload)
   local n = #payload
   local length = n < 126 and string.char(128 | n) or string.pack(">BI2", 254, n)
   return string.char(b0) .. length .. "\0\0\0\0" .. payload
end

function scenes.fragmented(port)
   local stream = assert(shake_hands(port, "/echo"))
   return function()
      local part = ("x"):rep(3000)
      for i = 0, 9 do
         local ok, why, _, code = stream:send(frame(i == 0 and 1 or i == 9 and 128 or 0, part) ..
            (i == 5 and frame(0x89, "ping") or ""))
         if not ok then return nil, why, code end
         if i % 3 == 2 then weft.sleep(0) end -- so that it comes in several turns
      end
      local seen = ""
      repeat
         local more, why, _, code = stream:receive(2)
         if not more then return nil, why, code end
         local b0, b1 = more:byte(1, 2)
         local n = b1
         if b1 == 126 then n = string.unpack(">I2", (assert(stream:receive(2)))) end
         local data = n > 0 and assert(stream:receive(n)) or ""
         if b0 == 0x88 then return nil, data:sub(3), string.unpack(">I2", data) end
         if b0 ~= 0x8a then seen = seen .. data end
      until b0 == 0x81
      if seen ~= part:rep(10) then error("not what was sent", 0) end
      return true
   end, stream
end

function scenes.compressed(port)
   return function()
      local ws <close>, why, code, answer = weft.connect(url(port, "/packed"),
         { compression = true })
      if not ws then return nil, why, answer and answer.status or code end
      for i = 1, 2 do
         local ok
         ok, why, code = echo(ws, ("a text %d that repeats, "):format(i):rep(2000))
         if not ok then return nil, why, code end
      end
      return true
   end
end

function scenes.broadcast(port, app)
   local subscribers = {}
   for i = 1, 3 do
      subscribers[i] = assert(weft.connect(url(port, i == 3 and "/packed" or "/echo"),
         { compression = i == 3 }))
   end
   return function()
      for _, ws in ipairs(subscribers) do
         local ok, why, code = ws:send "subscribe"
         if not ok then return nil, why, code end
         ok, why, code = ws:receive(SOON)
         if not ok then return nil, why, code end
      end
      for i = 1, 3 do
         local message = ("news %d "):format(i):rep(i * 500)
         local n = app:publish("news", message)
         if not n then return nil, "publish", "nomem" end
         for _, ws in ipairs(subscribers) do
            local got, why, code = ws:receive(SOON)
            if not got then return nil, why, code end
            if got ~= message then error("not what was published", 0) end
         end
      end
      return true
   end, table.unpack(subscribers)
end

function scenes.close(port)
   local ours = assert(weft.connect(url(port, "/echo")))
   local theirs = assert(weft.connect(url(port, "/echo")))
   assert(echo(theirs, "x"))
   return function()
      ours:close(1000, "enough")
      local code, reason, clean = ours:closed()
      if not clean then return nil, reason, code end
      theirs:send "close"
      local got, why
      got, why, code = theirs:receive(SOON)
      if got then error("it is still open", 0) end
      if code == "nomem" then return nil, why, code end
      code, reason, clean = theirs:closed()
      if not clean then return nil, reason, code end
      return true
   end, ours, theirs
end

local function serve(ws)
   for message, kind in ws:messages() do
      if message == "subscribe" then
         local ok, why = ws:subscribe "news"
         if not ok then error(why, 0) end
      elseif message == "close" then
         return ws:close(4000, "as you wish")
      end
      local _, why, code = ws:send(message, kind)
      if code == "nomem" then error(why, 0) end
   end
   local _, why = ws:closed()
   if why == "out of memory" then error(why, 0) end
end

local function app_with_routes()
   local app = weft.app { close_timeout = 0.2 }
   app:websocket("/echo", serve)
   app:websocket("/packed", serve, { compression = true })
   local _, port = assert(app:listen "127.0.0.1:0")
   return app, port
end

-- How a failure was told to the other end.
local told_by = { nomem = "nomem", [500] = "answers 500", [503] = "answers 503" }

local function of_memory(text)
   return text:find "not enough memory" or text:find "could not be allocated"
      or text:find "out of memory"
end

local function judge(fired, ran, ok, why, code)
   if ran and ok then return fired and "made no difference" or "all well" end
   if not ran and of_memory(tostring(ok)) then return "raised Lua errors" end
   if ran and told_by[code] then return told_by[code] end
   if code == 1011 or tostring(why):find "1011" then return "closes with 1011" end
   for _, text in ipairs(told) do
      if of_memory(text) then return "told to on_error" end
   end
   if not ran then error(("raised %s"):format(ok), 0) end
   error(("ended with %s, %s, and nobody was told of memory: %s"):format(why, code,
      table.concat(told, "; ")), 0)
end

local function close_all(...)
   for _, thing in ipairs { ... } do thing:close() end
end

-- Calls with memory that runs out.
local function starve(f, ...)
   arm() -- luacheck: ignore 113
   local ran, ok, why, code = pcall(f, ...)
   local fired = disarm() -- luacheck: ignore 113
   return judge(fired, ran, ok, why, code)
end

local function play(scene, port, app)
   local f, a, b, c = scene(port, app)
   local _ <close> = setmetatable({}, { __close = function() close_all(a, b, c) end })
   return starve(weft.deadline, SOON, f)
end

local function main(scene)
   local app <close>, port = app_with_routes() -- luacheck: ignore 211/app
   local bystander <close> = assert(weft.connect(url(port, "/echo")))
   assert(echo(bystander, "before"))
   local fine, result = pcall(play, scene, port, app)
   assert(echo(bystander, "after"))
   local fresh <close> = assert(weft.connect(url(port, "/echo")))
   assert(echo(fresh, "new"))
   if not fine then error(result, 0) end
   return result
end

-- The loop and the first server and client of a state, which had none before; others after.
if ... == "start" then
   local result = starve(weft.run, function()
      local app <close>, port = app_with_routes() -- luacheck: ignore 211/app
      local ws <close>, why, code, answer = weft.connect(url(port, "/echo"))
      if not ws then return nil, why, answer and answer.status or code end
      return echo(ws, "first")
   end)
   weft.run(main, scenes.handshake)
   return result
end
return weft.run(main, scenes[...])
