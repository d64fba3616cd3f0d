-- weft.js in chromium's pages, with weft as their server (spec/scripts/rooms.lua), over networks
-- that are cut, that stall, and that let no WebSocket through (nginx with its default settings).

local daemon = require "spec.daemon"
local driver = require "spec.browser_driver"
local process = require "spec.process"

local CHECKS = {
   "a network that is cut and restored: every message once and in order",
   "a page that is switched offline and online: the same",
   "a network that stalls: the page notices, and gets what it missed",
   "what is said offline arrives once and in order",
   "presence shows who is away, and who is back",
   "a page that waits comes back at once when it is seen or online again",
   "where WebSocket is blocked, Server-Sent Events take over",
   "Server-Sent Events that are cut: every message once and in order",
   "a session stays while nothing is said",
   "a server that takes no more sessions (503) is asked again, until it does",
   "a server with too much under way (429, 413) gets everything, once and in order",
   "a server with too much under way (429, 413) gets everything: a page of another site, too",
   "a server that is killed and comes back: all are told that messages may be missing",
   "README's page does what it says",
   "no page has an error of its own",
}

local CONF = [[
daemon off;
master_process off;
pid DIR/nginx.pid;
error_log stderr alert;
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
      location / {
         proxy_set_header Host $http_host;
         proxy_pass http://127.0.0.1:UPSTREAM;
      }
   }
}
]]

local function start_nginx(dir, upstream)
   return daemon.start(function(port)
      local values = { DIR = dir, PORT = port, UPSTREAM = upstream }
      daemon.write(dir .. "/nginx.conf", (CONF:gsub("%u%u%u+", values)))
      return { daemon.program "nginx", "-e", "stderr", "-p", dir, "-c", dir .. "/nginx.conf" }
   end)
end

describe("pages in rooms", function()
   local pages, faults = driver.new(it, CHECKS), {}
   local rooms, nginx, dir

   local function start_rooms(port)
      local child = process.start(process.script("spec/scripts/rooms.lua", port), { limit = 400 })
      local own = child:wait_for "http://127.0.0.1:(%d+)/"
      return child, own, child:wait_for "narrow: (%d+)"
   end

   local function obey(line, port)
      if line == "please stop" then
         local rest = rooms:stop "KILL"
         faults[#faults + 1] = rest ~= "" and rest or nil
      elseif line == "please start" then
         rooms = start_rooms(port)
      end
   end

   lazy_setup(function()
      local port, narrow, proxy
      rooms, port, narrow = start_rooms(0)
      dir = daemon.directory()
      nginx, proxy = start_nginx(dir, port)
      pages:run("rooms.mjs", { port, proxy, narrow }, function(line) obey(line, port) end)
      local rest, status = rooms:stop "INT"
      if rest ~= "" or status ~= 0 then
         faults[#faults + 1] = ("ended with %s and said %q"):format(status, rest)
      end
   end)

   lazy_teardown(function()
      if rooms then rooms:stop "KILL" end
      pages:stop()
      nginx:stop "QUIT"
      daemon.remove(dir)
   end)

   it("leave a server that has nothing to complain about and ends at Ctrl-C", function()
      assert.same({}, faults)
   end)
end)
