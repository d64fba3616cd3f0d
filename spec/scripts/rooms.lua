-- The server of browser_rooms_spec.lua: one page, and rooms that keep what is said. And another
-- one, which lets little in at once.
--    lua5.4 rooms.lua PORT
local weft = require "weft"

local PAGE = [[
<!doctype html><meta charset="utf-8"><title>rooms</title><link rel="icon" href="data:,">
<script type="module">
   import { Weft } from "/weft.js";
   const name = new URLSearchParams(location.search).get("name");
   const delays = { minDelay: 50, maxDelay: 500, pingInterval: 1000, pingTimeout: 4000 };
   const weft = new Weft(undefined, delays);
   const room = weft.subscribe("room.1", { params: { name } });
   const log = { got: [], recovered: 0, resets: 0, missed: 0, why: [] };
   room.on("message", (data) => log.got.push(data));
   room.on("recovered", () => log.recovered++);
   room.on("reset", () => log.resets++);
   room.on("missed", () => log.missed++);
   weft.on("state", (state, { reason }) => { if (state === "waiting") log.why.push(reason); });
   Object.assign(window, { weft, room, log });
</script>
]]

-- README's snippet for a page, in a room of its own.
local function readme()
   local file <close> = assert(io.open "README.md")
   local code = assert(file:read("a"):match "```js\n(.-)```"):gsub("room%.1", "room.readme")
   return '<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">' ..
      '<script type="module">\n' .. code .. "</script>"
end

local app = weft.app {}
app:client()
app:get("/", function() return 200, { ["content-type"] = "text/html" }, PAGE end)
app:get("/readme", function() return 200, { ["content-type"] = "text/html" }, readme() end)
app:channel("room.*", {
   history = { size = 5000, ttl = 600 },
   presence = { grace = 0.5 },
   user = function(_, _, params) return params.name end,
   receive = true,
   call = {
      add = function(_, _, list) return list[1] + list[2] end,
      members = function(_, topic) return #app:presence(topic) end,
   },
})

local narrow = weft.app {}
narrow:client()
narrow:get("/", function()
   return 200, { ["content-type"] = "text/html" }, '<!doctype html><link rel="icon" href="data:,">'
end)
narrow:channels("/weft", { max_sessions = 1, max_in_flight = 8, message_rate = 4,
   message_burst = 10, origins = { "*" } })
narrow:channel("room", { receive = true, history = true })

local _, port = assert(app:listen("127.0.0.1:" .. arg[1]))
local _, other = assert(narrow:listen "127.0.0.1:0")
io.stdout:write("http://127.0.0.1:", port, "/\nnarrow: ", other, "\n"):flush()
weft.run(function()
   weft.signal "INT"
   app:close()
   narrow:close()
end)
