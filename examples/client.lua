-- Chat in a terminal, until Ctrl-D:  client.lua ws://127.0.0.1:8080/weft NAME [ROOM]
local weft, json = require "weft", require "cjson"
local url, name, topic = arg[1], arg[2], "room." .. (arg[3] or "lobby")
if not name then
   io.stderr:write "usage: lua5.4 client.lua ws://HOST:PORT/weft NAME [ROOM]\n" os.exit(2)
end
local function show(text) -- others wrote it: no control character of theirs may reach the terminal
   print((text:gsub("%c", " "):gsub("\xC2[\x80-\x9F]", " ")))
end

local function show_line(line) show(line.name .. ": " .. line.text) end
local heard = { -- what the server says (doc/protocol.md), by its type
   reply = function(it)
      for _, one in ipairs(it.data.data.lines) do show_line(one.message) end
      show("* you are in " .. topic)
   end,
   message = function(it) if not it.event then show_line(it.data) end end,
   presence = function(it) show("* " .. it.user.id .. " " .. it.event .. "s") end, -- joins, leaves
   error = function(it) show("! " .. it.message) end,
}

weft.run(function()
   local ws <close> = assert(weft.connect(url, { protocols = { "weft.1" } }))
   local function say(it) it.topic = topic return ws:send(json.encode(it)) end
   say { type = "subscribe", id = 1, params = { name = name } }
   local keyboard = weft.spawn(function() -- typing and listening, side by side, in a task each
      local stdin = weft.stdin()
      for line in function() return (stdin:receive "*l") end do
         if line:find "%S" then say { type = "publish", data = { text = line } } end
      end
      ws:close()
   end)
   for message in ws:messages() do
      local it = json.decode(message)
      if heard[it.type] then heard[it.type](it) end
   end
   keyboard:cancel() -- the server may have gone first
   print("* closed: " .. ws:closed())
end)
