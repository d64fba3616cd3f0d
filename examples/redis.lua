-- A chat whose processes meet in Redis, by redis-lua, which was written for LuaSocket. Start it
-- twice on two ports, and people on either hear each other.
--    lua5.4 examples/redis.lua [PORT [REDIS_PORT]]        ws://localhost:PORT/?name=Ada
local weft, json = require "weft", require "cjson"
local socket = require "weft.socket".install() -- before redis-lua asks for LuaSocket
package.path = package.path .. ";/usr/share/lua/5.3/?.lua" -- where Debian has it
local redis = require "redis"

local app = weft.app {}
local said = weft.channel(100) -- what people here have said, for all processes
local function connect() return redis.connect("127.0.0.1", tonumber(arg[2] or 6379)) end

local publishing = weft.spawn(function()
   local client = connect()
   for line in said:each() do client:publish("chat", json.encode(line)) end
end)

local listening = weft.spawn(function() -- waits in the driver, while the others go on
   for message in connect():pubsub { subscribe = "chat" } do
      if message.kind == "message" then app:publish("chat", message.payload) end
   end
end)

app:websocket("/", function(ws)
   local name = (ws.request.query or ""):match "name=(%w+)" or "somebody"
   ws:subscribe "chat"
   for text in ws:messages() do
      said:send { name = name, text = text, time = socket.gettime() }
   end
end)

local _, port = assert(app:listen(":" .. (arg[1] or os.getenv "PORT" or 8080)))
io.stdout:write("redis: ws://localhost:", port, "/\n"):flush()
weft.run(function()
   weft.signal "INT"
   publishing:cancel()
   listening:cancel()
   app:close()
end)
