-- Events and the publisher with real peers: curl, nginx with its default buffering, and an
-- EventSource in chromium that resumes by Last-Event-ID. All are children, the server too.

local daemon = require "spec.daemon"
local process = require "spec.process"

local TOKEN = "authorization: Bearer 0123456789abcdef"

-- nginx as it comes: it buffers answers, and speaks HTTP/1.0 to what is behind it.
local CONF = [[
daemon off;
master_process off;
pid DIR/nginx.pid;
error_log stderr error;
events { worker_connections 64; }
http {
   access_log off;
   client_body_temp_path DIR/body;
   proxy_temp_path DIR/proxy;
   fastcgi_temp_path DIR/fastcgi;
   uwsgi_temp_path DIR/uwsgi;
   scgi_temp_path DIR/scgi;
   server {
      listen 127.0.0.1:PORT;
      location / { proxy_pass http://127.0.0.1:UPSTREAM; }
   }
}
]]

local function start(port)
   local child = process.start(process.script("spec/scripts/events_server.lua", port or 0),
      { limit = 300 })
   return child, child:wait_for "^(%d+)$"
end

local function curl(...)
   return process.start({ "/usr/bin/curl", "-s", "--max-time", "60", ... }, { foreign = true })
end

local function answer(...)
   local child = curl("-i", ...)
   local text = child:finish()
   return tonumber(text:match "^HTTP/1.1 (%d+)"), text
end

describe("events", function()
   local server, port

   lazy_setup(function() server, port = start(daemon.free_port()) end)

   lazy_teardown(function()
      local said, status = server:stop "TERM"
      assert.same({ "", 128 + 15 }, { said, status })
   end)

   -- Each line comes before the next message is sent: nothing holds them back.
   local function follow(base)
      local reader = curl("-N", base .. "/news/b")
      reader:wait_for "^retry: 100$"
      reader:wait_for "^id: " -- it is on the topic
      for i = 1, 5 do
         local status, text = answer("-H", TOKEN, "--data-binary", "message " .. i,
            ("http://127.0.0.1:%s/publish?topic=news.b"):format(port))
         assert.equal(200, status, text)
         assert.equal(tostring(i), reader:wait_for "^data: message (%d)$")
      end
      reader:stop "TERM"
   end

   it("are shown by curl as they come", function()
      follow("http://127.0.0.1:" .. port)
   end)

   it("are published by curl in every form", function()
      local url = ("http://127.0.0.1:%s/publish"):format(port)
      local rows = {
         { 200, "-H", TOKEN, "-d", "plain", url .. "?topic=news.c" },
         { 200, "-H", TOKEN, "-d", "topic=news.c", "--data-urlencode", "data=a form & more", url },
         { 200, "-H", TOKEN, "-F", "topic=news.c", "-F", "data=<LICENSE", url },
         { 200, "-H", TOKEN, "--json", '{"topic":"news.c","data":{"n":1}}', url },
         { 200, "-H", TOKEN, "-H", "transfer-encoding: chunked", "-d", "chunked",
            url .. "?topic=news.c" },
         { 401, "-d", "x", url .. "?topic=news.c" },
         { 401, "-u", "a:0123456789abcdef", "-d", "x", url .. "?topic=news.c" },
         { 400, "-H", TOKEN, "--json", "{", url }, { 400, "-H", TOKEN, "-d", "x", url },
         { 405, "-H", TOKEN, url },
      }
      for i, row in ipairs(rows) do
         local status, text = answer(table.unpack(row, 2))
         assert.equal(row[1], status, ("%d: %s"):format(i, text))
      end
      local _, text = answer("-H", "accept: application/json",
         ("http://127.0.0.1:%s/news/c?since=none:1"):format(port))
      assert.matches('"offset":5,"recovered":false,"messages":%[%]}$', text)
   end)

   it("come through nginx as they are sent", function()
      local dir = daemon.directory()
      local nginx, front = daemon.start(function(chosen)
         local values = { DIR = dir, PORT = chosen, UPSTREAM = port }
         daemon.write(dir .. "/nginx.conf", (CONF:gsub("%u%u%u+", values)))
         return { daemon.program "nginx", "-e", "stderr", "-p", dir, "-c", dir .. "/nginx.conf" }
      end)
      local ok, why = pcall(follow, "http://127.0.0.1:" .. front)
      local said = nginx:stop "QUIT"
      daemon.remove(dir)
      assert(ok, why)
      assert.is_nil(said:find "%[alert%]" or said:find "%[emerg%]")
   end)

   it("are resumed by an EventSource in chromium", function()
      local seen, oks = {}, 0
      local browser = process.start({ "node", "spec/browser/events.mjs",
         ("http://127.0.0.1:%s/"):format(port) }, { foreign = true, limit = 200 })
      for line in browser.line, browser do
         if line == "please restart" then
            server:stop "KILL"
            server = start(port)
         end
         oks = oks + (line:find "^ok " and 1 or 0)
         seen[#seen + 1] = line
      end
      browser:finish()
      local text = table.concat(seen, "\n")
      assert.equal("done", seen[#seen], text)
      assert.equal(4, oks, text)
      assert.is_nil(text:find("not ok", 1, true), text)
   end)
end)
