-- A chat client for the terminal, for the server in chat.lua. Ctrl-D ends it.
--    lua5.4 examples/client.lua ws://127.0.0.1:8080/chat NAME
local weft, json = require "weft", require "cjson"
local url, name = arg[1], arg[2]
if not name then
   io.stderr:write "usage: lua5.4 client.lua ws://HOST:PORT/chat NAME\n"
   os.exit(2)
end

local function show(line)
   local text = line.type == "say" and line.name .. ": " .. line.text
      or line.type == "error" and "! " .. line.text
      or "* " .. line.name .. " " .. line.type .. "s" -- joins, leaves
   -- Others wrote this: no control character of theirs may reach the terminal.
   print((text:gsub("%c", " "):gsub("\xC2[\x80-\x9F]", " ")))
end

weft.run(function()
   local ws <close> = assert(weft.connect(url))
   ws:send(json.encode { name = name })
   local keyboard = weft.spawn(function() -- typing and listening, side by side, in a task each
      local stdin = weft.stdin()
      for line in function() return (stdin:receive "*l") end do
         if line:find "%S" then ws:send(json.encode { text = line }) end
      end
      ws:close()
   end)
   for message in ws:messages() do
      local line = json.decode(message)
      for _, each in ipairs(line.lines or { line }) do show(each) end
   end
   keyboard:cancel() -- the server may have gone first
   print("* closed: " .. ws:closed())
end)
