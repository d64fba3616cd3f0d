-- Everybody's mouse on one canvas: whoever is slow gets only the newest place of each.
--    lua5.4 examples/cursors.lua [PORT]        then open the address it prints, in several windows
local weft = require "weft"
local app = weft.app {}
local guests = 0

local function share(value) -- of the width or the height, as a number from 0 to 1
   return type(value) == "number" and value >= 0 and value <= 1
end

app:static("/", (arg[0]:match "^(.*)/" or ".") .. "/public")
app:client "/weft.js"
app:channel("cursors", {
   policy = "latest", -- by key: a place that nobody has seen yet gives way to the next one
   presence = { grace = 0 },
   join = function(ctx)
      guests = guests + 1
      ctx.id = ("guest %d"):format(guests)
      return { you = ctx.id }
   end,
   user = function(ctx) return ctx.id end,
   receive = function(ctx, _, at, event)
      if type(at) ~= "table" or not (share(at.x) and share(at.y)) then
         return nil, "bad_place", "A place is { x, y }, each from 0 to 1."
      end
      return { id = ctx.id, x = at.x, y = at.y }, { key = ctx.id .. (event or "") }
   end,
})

local _, port = assert(app:listen(":" .. (arg[1] or os.getenv "PORT" or 8080)))
io.stdout:write("cursors: http://localhost:", port, "/cursors.html\n"):flush()
weft.run(function() weft.signal "INT" app:close() end) -- until Ctrl-C
