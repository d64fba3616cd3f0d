-- The server of events_peers_spec: topics as events, a publisher, and a page that listens.
--    lua5.4 events_server.lua PORT

local weft = require "weft"

local app = weft.app()
app:topic("news.>", { history = { size = 100 } })
app:events("/news/:id", "news.:id", { retry = 0.1 })
app:publisher("/publish", { token = "0123456789abcdef" })

-- Ends all streams, and publishes before anyone can be back.
app:post("/cut", function()
   for stream in pairs(app.streams) do stream:close() end
   for _, text in ipairs { "3", "4" } do app:publish("news.a", text) end
   return 204
end)

app:get("/", function()
   return 200, { ["content-type"] = "text/html; charset=utf-8" }, [[
<!doctype html><link rel="icon" href="data:,"><title>events</title><script>
const seen = [];
const source = new EventSource("/news/a");
source.onopen = () => seen.push("open");
source.onmessage = (event) => seen.push(event.data);
source.addEventListener("tick", (event) => seen.push("tick " + event.data));
source.addEventListener("reset", (event) => seen.push("reset " + event.data));
</script>]]
end)

local _, port = assert(app:listen("127.0.0.1:" .. (arg[1] or 0)))
print(port)
io.stdout:flush()
weft.run()
