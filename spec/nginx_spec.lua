-- weft behind Debian's nginx as a reverse proxy: the upgrade goes through, so do messages,
-- refusals and closes, and the heartbeat keeps a quiet connection from nginx's idle timeout.

local weft = require "weft"
local daemon = require "spec.daemon"
local server = require "spec.helper_server"
local raw = require "spec.raw"

local run, eventually, SOON = raw.run, raw.eventually, raw.SOON

-- nginx ends a connection on which nothing was read for so long.
local READ_TIMEOUT = raw.hostile and 10 or 2

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
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_read_timeout TIMEOUTs;
      proxy_send_timeout TIMEOUTs;
      location / { proxy_pass http://127.0.0.1:UPSTREAM; }
      location /forgetful {
         proxy_set_header Upgrade "";
         proxy_set_header Connection "";
         proxy_pass http://127.0.0.1:UPSTREAM;
      }
   }
}
]]

local function start_nginx(dir, upstream)
   return daemon.start(function(port)
      local values = { DIR = dir, PORT = port, UPSTREAM = upstream, TIMEOUT = READ_TIMEOUT }
      daemon.write(dir .. "/nginx.conf", (CONF:gsub("%u%u%u+", values)))
      return { daemon.program "nginx", "-e", "stderr", "-p", dir, "-c", dir .. "/nginx.conf" }
   end)
end

describe("behind nginx", function()
   local dir, nginx, port, upstream

   lazy_setup(function()
      dir = daemon.directory()
      upstream = daemon.free_port()
      nginx, port = start_nginx(dir, upstream)
   end)

   lazy_teardown(function()
      local said = nginx:stop "QUIT"
      daemon.remove(dir)
      assert(not said:find "%[alert%]" and not said:find "%[emerg%]", said)
   end)

   local function url(path) return ("ws://127.0.0.1:%d%s"):format(port, path or "/ws") end

   -- An app at the upstream's port, whose handler of /ws is `handler` or an echo.
   local function serve(handler, opts)
      local app = server.app(opts)
      app:websocket("/ws", handler or raw.echo)
      assert(app:listen("127.0.0.1:" .. upstream))
      return app
   end

   local function connect(opts)
      return server.keep(assert(weft.connect(url(), opts)))
   end

   it("messages go both ways, of every size", function()
      run(function()
         local app = serve()
         local ws = connect()
         for _, size in ipairs { 0, 1, 125, 126, 65535, 65536, 1 << 20 } do
            local text = ("x"):rep(size)
            for _, kind in ipairs { "text", "binary" } do
               local sender = weft.spawn(ws.send, ws, text, kind)
               local echo, echo_kind = ws:receive(SOON)
               assert.is_true(echo == text)
               assert.equal(kind, echo_kind)
               assert.is_true(sender:join(SOON))
            end
         end
         assert.truthy(ws:ping(SOON))
         ws:close(4001, "enough")
         assert.same({ 4001, true }, { ws:closed(), select(3, ws:closed()) })
         eventually(function() return app:stats().websockets == 0 end)
      end)
   end)

   it("a server's close comes through, and a client that vanishes", function()
      run(function()
         local ended = weft.channel(1)
         serve(function(ws)
            if ws:receive() then ws:close(4002, "no more") end
            ended:send { ws:closed() }
         end)
         local ws = connect()
         ws:send "go"
         assert.is_nil((ws:receive(SOON)))
         assert.same({ 4002, "no more", true }, { ws:closed() })
         ended:receive(SOON)
         local c = raw.connect(port)
         c:close()
         assert.equal(1006, ended:receive(SOON)[1])
      end)
   end)

   it("the server learns who is in front of the proxy, and what was asked for", function()
      run(function()
         local seen = weft.channel(1)
         serve(function(ws) seen:send(ws.request) end)
         weft.connect(url "/ws?a=%20b", { headers = { ["X-Forwarded-For"] = "192.0.2.7" } }):close()
         local request = seen:receive(SOON)
         assert.equal("192.0.2.7, 127.0.0.1", request.headers["x-forwarded-for"])
         assert.equal("http", request.headers["x-forwarded-proto"])
         assert.equal("127.0.0.1:" .. port, request.headers["x-forwarded-host"])
         assert.equal("127.0.0.1:" .. port, request.headers.host)
         assert.equal("a=%20b", request.query)
         assert.equal("127.0.0.1", request.remote)
      end)
   end)

   it("origins are compared with the host that the browser asked for", function()
      run(function()
         serve()
         local own = ("http://127.0.0.1:%d"):format(port)
         server.keep(assert(weft.connect(url(), { headers = { Origin = own } })))
         for _, origin in ipairs { "http://evil", ("http://127.0.0.1:%d"):format(upstream) } do
            local ws, _, code, answer = weft.connect(url(), { headers = { Origin = origin } })
            assert.is_nil(ws)
            assert.same({ "refused", 403 }, { code, answer.status })
         end
      end)
   end)

   it("refusals come through, with their fields", function()
      run(function()
         serve(nil, { authorize = function()
            return nil, 401, { ["WWW-Authenticate"] = "Bearer" }, "who?"
         end })
         local _, message, code, answer = weft.connect(url())
         assert.equal("refused", code, message)
         assert.same({ 401, "Bearer" }, { answer.status, answer.headers["www-authenticate"] })
      end)
   end)

   it("a proxy that was not told of WebSockets gets 426, not a hang", function()
      run(function()
         local app = serve()
         app:websocket("/forgetful", raw.echo)
         local ws, message, code, answer = weft.connect(url "/forgetful")
         assert.is_nil(ws)
         assert.equal("refused", code, message)
         assert.equal(426, answer.status)
      end)
   end)

   it("the heartbeat of either side outlives proxy_read_timeout, and nothing else does", function()
      run(function()
         local beat, none = { ping_interval = READ_TIMEOUT / 10 }, { ping_interval = 0 }
         local app = serve(nil, beat)
         app:websocket("/quiet", raw.echo, none)
         local began = weft.now()
         local function open(path, opts)
            return server.keep(assert(weft.connect(url(path), opts)))
         end
         local by_server, by_client, lost = open("/ws", none), open("/quiet", beat),
            open("/quiet", none)
         assert.is_nil((lost:receive(SOON * 3)))
         assert.equal(1006, (lost:closed()))
         assert.is_true(weft.now() - began > READ_TIMEOUT * 0.9)
         weft.sleep(math.max(0, began + READ_TIMEOUT * 2.5 - weft.now()))
         for _, ws in ipairs { by_server, by_client } do
            assert.is_nil(ws:closed())
            assert.is_true(ws:send "still here")
            assert.equal("still here", ws:receive(SOON))
         end
         assert.truthy(by_client:latency())
      end, 60)
   end)

   it("weft.reconnect outlives a restart of the server, with 502 in between", function()
      run(function()
         local function welcome(ws)
            ws:send "welcome"
            ws:receive()
         end
         local app = serve(welcome)
         local told, welcomed = {}, 0
         for ws in weft.reconnect(url(), { min_delay = 0.01, max_delay = 0.05,
            on_retry = function(why)
               told[#told + 1] = why.status or why.close_code
               if why.status then serve(welcome) end
            end }) do
            assert.equal("welcome", ws:receive(SOON))
            welcomed = welcomed + 1
            if welcomed == 2 then break end
            app:close()
            assert.is_nil((ws:receive(SOON)))
         end
         assert.same({ 1001, 502 }, told)
      end)
   end)
end)
