-- A chat room: each open page is a WebSocket, each WebSocket a task.  lua5.4 chat.lua [PORT]
local weft, json = require "weft", require "cjson"
local app, people, log = weft.app { max_message = 4096 }, {}, {} -- ws -> name; the last 50 lines

local function field(message, key, limit) -- trimmed, or nil unless it is 1 to `limit` characters
   local ok, text = pcall(function() return json.decode(message)[key]:match "^%s*(%S.-)%s*$" end)
   return ok and text and (utf8.len(text) or limit + 1) <= limit and text or nil
end

local function announce(ws, change, name) -- who came or went, and who is here now
   people[ws] = change == "join" and name or nil
   local here = {}
   for _, person in pairs(people) do here[#here + 1] = person end
   app:publish("room", json.encode { type = change, name = name, people = here })
end

app:static("/", (arg[0]:match "^(.*)/" or ".") .. "/public")
app:websocket("/chat", function(ws)
   local name = field(ws:receive(30), "name", 24)
   if not name then return ws:close(1008, "First a name, of 1 to 24 characters.") end
   ws:send('{"type":"history","lines":[' .. table.concat(log, ",") .. "]}")
   ws:subscribe "room" -- after the history, so that nobody gets a line twice
   announce(ws, "join", name)
   for message in ws:messages() do
      local text = field(message, "text", 500)
      if text then
         log[#log + 1] = json.encode { type = "say", name = name, text = text, time = os.time() }
         app:publish("room", log[#log])
         if #log > 50 then table.remove(log, 1) end
      else
         ws:send '{"type":"error","text":"A message has 1 to 500 characters."}'
      end
   end
   announce(ws, "leave", name)
end)

local _, port = assert(app:listen(":" .. (arg[1] or os.getenv "PORT" or 8080)))
io.stdout:write("chat: http://localhost:", port, "/\n"):flush()
weft.run(function() weft.signal "INT" app:close() end) -- until Ctrl-C
