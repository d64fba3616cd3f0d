-- LuaSocket's drivers as Debian packages them, unchanged, side by side in one script on weft.
--    lua5.4 drivers.lua REDIS_PORT HTTP_PORT SMTP_PORT FTP_PORT

local weft = require "weft"
require "weft.socket".install()
local redis = require "redis"
local http = require "socket.http"
local smtp = require "socket.smtp"
local ftp = require "socket.ftp"
local ltn12 = require "ltn12"

local ports = { redis = arg[1], http = arg[2], smtp = arg[3], ftp = arg[4] }

local function connect()
   return redis.connect("127.0.0.1", tonumber(ports.redis))
end

-- Waits inside the driver until the other one has pushed.
local function wait_for_job()
   local client = connect()
   print("job", client:blpop("jobs", 30)[2])
   client:quit()
end

local function use_redis()
   local client = connect()
   print("ping", client:ping(), client:set("key", "value"), client:get "key")
   print("missing", client:get "nothing", client:incrby("n", 5), client:incr "n")
   client:hmset("hash", { a = "1", b = ("x"):rep(100000) })
   print("hash", client:hget("hash", "a"), #client:hgetall("hash").b, client:exists "hash")
   for i = 1, 100 do client:rpush("list", "item" .. i) end
   print("list", client:llen "list", client:lrange("list", 0, 1)[2])
   local ok, err = pcall(client.lpush, client, "key", "x")
   print("error", ok, err:match "WRONGTYPE")
   client:lpush("jobs", "done") -- the other task goes on
   client:quit()
end

local function use_pubsub()
   local listener, speaker = connect(), connect()
   local heard = {}
   local hears = weft.spawn(function()
      for message, abort in listener:pubsub { subscribe = "news" } do
         if message.kind == "subscribe" then
            weft.spawn(function() for i = 1, 3 do speaker:publish("news", "n" .. i) end end)
         else
            heard[#heard + 1] = message.payload
            if #heard == 3 then abort() end
         end
      end
   end)
   hears:join()
   print("pubsub", table.concat(heard, " "))
end

local function use_http()
   local base = "http://127.0.0.1:" .. ports.http
   local body, status, headers = http.request(base .. "/page.txt")
   print("http", status, headers["content-length"], body)
   print("http none", (select(2, http.request(base .. "/none"))))
   local parts = {}
   print("http sink", http.request { url = base .. "/page.txt", sink = ltn12.sink.table(parts) },
      table.concat(parts))
   print("http refused", http.request "http://127.0.0.1:1/")
end

local function use_smtp()
   local text = { headers = { to = "b@example.org", subject = "hello" }, body = "line one\r\n.dot" }
   print("smtp", smtp.send { from = "<a@example.org>", rcpt = "<b@example.org>",
      server = "127.0.0.1", port = tonumber(ports.smtp), source = smtp.message(text) })
end

local function use_ftp()
   local url = ("ftp://user:word@127.0.0.1:%s/up.bin;type=i"):format(ports.ftp)
   local data = ("0123456789"):rep(20000)
   print("ftp put", ftp.put(url, data))
   print("ftp get", ftp.get(url) == data)
   print("ftp none", (ftp.get(url:gsub("up", "none"))))
end

weft.run(function()
   local turns = 0
   local ticker = weft.spawn(function() while true do turns = turns + 1 weft.sleep(0.001) end end)
   weft.group(function(group)
      group:spawn(wait_for_job)
      for _, f in ipairs { use_redis, use_pubsub, use_http, use_smtp, use_ftp } do
         group:spawn(f)
      end
   end)
   ticker:cancel()
   print("turns", turns > 10)
end)
