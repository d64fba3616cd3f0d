-- Chat rooms: who is here, who is writing, and what was said. What a page missed while it was
-- away comes when it returns.   lua5.4 examples/chat.lua [PORT]
local weft = require "weft"
local app = weft.app {}

local function text_in(value, limit) -- trimmed; nil unless it is a text of 1 to `limit` characters
   local text = type(value) == "string" and (value:match "%S.*" or ""):match ".*%S"
   return text and (utf8.len(text) or limit + 1) <= limit and text or nil
end

app:static("/", (arg[0]:match "^(.*)/" or ".") .. "/public")
app:client "/weft.js"
app:channel("room.*", {
   history = { size = 500, ttl = 86400 },
   presence = { grace = 5 }, -- a page that reloads was never gone
   join = function(ctx, topic, params)
      ctx.name = text_in(type(params) == "table" and params.name, 24)
      if not ctx.name then return nil, "bad_name", "A name has 1 to 24 characters." end
      return { lines = app:history(topic, { limit = 50 }) }
   end,
   user = function(ctx) return ctx.name end,
   receive = function(ctx, _, data, event)
      if event == "typing" then return { name = ctx.name }, { history = false } end
      local text = text_in(type(data) == "table" and data.text, 500)
      if not text then return nil, "bad_text", "A message has 1 to 500 characters." end
      return { name = ctx.name, text = text, time = os.time() }
   end,
})

local _, port = assert(app:listen(":" .. (arg[1] or os.getenv "PORT" or 8080)))
io.stdout:write("chat: http://localhost:", port, "/\n"):flush()
weft.run(function() weft.signal "INT" app:close() end) -- until Ctrl-C
