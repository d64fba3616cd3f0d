-- Tells a service of each message, and the room what the service answers: a chat bot.
--    lua5.4 examples/webhook.lua URL [PORT]    POST { text = } -> { reply = }, both JSON
local weft, json = require "weft", require "cjson"
local url = arg[1] or error "usage: lua5.4 webhook.lua URL [PORT]"
local app = weft.app {}

-- What the service says, or why it says nothing. Others go on talking meanwhile.
local function ask(text)
   local answer, err = weft.http.post(url, json.encode { text = text }, {
      headers = { ["content-type"] = "application/json" },
      timeout = 5, max_body = 10000,
   })
   if not answer then return nil, err end
   if answer.status ~= 200 then return nil, "the service answered " .. answer.status end
   local ok, value = pcall(json.decode, answer.body)
   if ok and type(value) == "table" and type(value.reply) == "string" then return value.reply end
   return nil, "the service did not answer in JSON"
end

app:websocket("/", function(ws)
   ws:subscribe "room"
   for text in ws:messages() do
      app:publish("room", text)
      local reply, err = ask(text)
      if reply then app:publish("room", "bot: " .. reply)
      else io.stderr:write("webhook: ", err, "\n") end
   end
end)

local _, port = assert(app:listen(":" .. (arg[2] or os.getenv "PORT" or 8080)))
io.stdout:write("webhook: ws://localhost:", port, "/\n"):flush()
weft.run(function()
   weft.signal "INT"
   app:close()
end)
