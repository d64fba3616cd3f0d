-- Notices, pushed to every open page by whoever has the token: a shell, a cron job, a PHP page.
--    TOKEN=of-16-letters-or-more lua5.4 examples/notify.lua [PORT]
local weft = require "weft"
local app = weft.app {}
local token = os.getenv "TOKEN" or ("%016x"):format(math.random(0))

app:topic("notices", { history = { size = 50, ttl = 86400 } })
app:static("/", (arg[0]:match "^(.*)/" or ".") .. "/public")
app:events("/notices", "notices") -- a page that was away gets what it missed
app:publisher("/publish", { token = token })

local _, port = assert(app:listen(":" .. (arg[1] or os.getenv "PORT" or 8080)))
io.stdout:write("notify: http://localhost:", port, "/notify.html\n\n",
   "curl http://localhost:", port, "/publish -H 'authorization: Bearer ", token, "' \\\n",
   [[     -d topic=notices -d 'data={"title":"It works","text":"from a shell","level":"good"}']],
   "\n"):flush()
weft.run(function() weft.signal "INT" app:close() end) -- until Ctrl-C
