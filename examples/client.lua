-- Chat in a terminal, until Ctrl-D; it comes back with what it missed when the server was away.
--    lua5.4 examples/client.lua ws://127.0.0.1:8080/weft NAME [ROOM]
local weft = require "weft"
local url, name, topic = arg[1], arg[2], "room." .. (arg[3] or "lobby")
if not name then
   io.stderr:write "usage: lua5.4 client.lua ws://HOST:PORT/weft NAME [ROOM]\n"
   os.exit(2)
end

local function show(text) -- others wrote it: no control character of theirs may reach the terminal
   print((text:gsub("%c", " "):gsub("\xC2[\x80-\x9F]", " ")))
end
local function show_line(line) show(line.name .. ": " .. line.text) end

local heard = { -- what happens in the room, by its type
   message = function(it) if not it.event then show_line(it.data) end end, -- no "typing"
   presence = function(it) show("* " .. it.user.id .. " " .. it.event .. "s") end, -- joins, leaves
   recovered = function(it) if not it.recovered then show "* lines may be missing here" end end,
   unsubscribed = function(it) show("* " .. (it.message or it.code)) end,
}

weft.run(function()
   local client <close> = weft.channel_client(url)
   local room, why = client:subscribe(topic, { name = name })
   if not room then error(url .. ": " .. why, 0) end
   for _, one in ipairs(room.data.lines) do show_line(one.message) end
   show("* you are in " .. topic)
   local keyboard = weft.spawn(function() -- typing and listening, side by side, in a task each
      for line in function(stdin) return (stdin:receive "*l") end, weft.stdin() do
         local ok, why_not = line:find "%S"
         if ok then ok, why_not = room:publish { text = line } end
         if not ok and why_not then show("* not sent: " .. why_not) end
      end
      client:close()
   end)
   for it in room:events() do if heard[it.type] then heard[it.type](it) end end
   keyboard:cancel() -- the server may have ended it
   print "* closed"
end)
