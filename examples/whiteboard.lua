-- A board that everybody draws on. Its strokes are the topic's history, so a page that comes
-- late, or comes back, sees the same picture.   lua5.4 examples/whiteboard.lua [PORT]
local weft = require "weft"
local app = weft.app {}

local function number_in(value, low, high)
   return type(value) == "number" and value >= low and value <= high
end

local function is_stroke(it) -- { id, colour, width, points = { x, y, x, y, ... } } on 1600 x 1000
   if type(it) ~= "table" or type(it.points) ~= "table" or #it.points % 2 ~= 0
      or not (number_in(#it.points, 4, 400) and type(it.id) == "string" and #it.id < 40
      and number_in(it.colour, 0, 9) and number_in(it.width, 1, 60)) then return false end
   for _, at in ipairs(it.points) do
      if not number_in(at, -200, 1800) then return false end
   end
   return true
end

app:static("/", (arg[0]:match "^(.*)/" or ".") .. "/public")
app:client "/weft.js"
app:channel("board", {
   history = { size = 5000, ttl = 86400, bytes = 8 << 20 },
   presence = true,
   join = function(_, topic) return { strokes = app:history(topic, { limit = 5000 }) } end,
   receive = function(_, _, it, event)
      if event == "clear" then return { clear = true } end
      return is_stroke(it) or nil, "bad_stroke", "That is no stroke."
   end,
})

local _, port = assert(app:listen(":" .. (arg[1] or os.getenv "PORT" or 8080)))
io.stdout:write("whiteboard: http://localhost:", port, "/whiteboard.html\n"):flush()
weft.run(function() weft.signal "INT" app:close() end) -- until Ctrl-C
