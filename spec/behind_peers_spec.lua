-- weft behind haproxy, which speaks the PROXY protocol, and behind haproxy and nginx that set
-- X-Forwarded-For.

local weft = require "weft"
local certificates = require "spec.certificates"
local daemon = require "spec.daemon"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run, SOON = raw.run, raw.SOON
local CLIENT = "127.0.0.77" -- who connects to the proxies

local HAPROXY = [[
defaults
   mode tcp
   timeout connect 5s
   timeout client 60s
   timeout server 60s
listen version1
   bind 127.0.0.1:PORT
   server weft 127.0.0.1:PLAIN send-proxy
listen version2
   bind 127.0.0.1:SECOND
   server weft 127.0.0.1:PLAIN send-proxy-v2
listen tls
   bind 127.0.0.1:THIRD ssl crt PEM
   server weft 127.0.0.1:SECURE ssl verify none send-proxy-v2-ssl-cn
listen through
   bind 127.0.0.1:FOURTH
   server weft 127.0.0.1:SECURE send-proxy
listen http
   mode http
   bind 127.0.0.1:FIFTH ssl crt PEM
   option forwardfor
   http-request set-header X-Forwarded-Proto https
   http-request set-header X-Forwarded-Host %[req.hdr(Host)]
   server weft 127.0.0.1:FORWARDED
listen checked
   bind 127.0.0.1:SIXTH
   server weft 127.0.0.1:CHECKED check inter 50ms send-proxy-v2 check-send-proxy
]]

local NGINX = [[
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
   upstream weft { server 127.0.0.1:FORWARDED; keepalive 4; }
   map $http_upgrade $hop { default "upgrade"; "" ""; }
   server {
      listen 127.0.0.1:PORT;
      proxy_http_version 1.1;
      proxy_set_header Host weft;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $hop;
      location / { proxy_pass http://weft; }
   }
}
]]

local function fill(text, values) return (text:gsub("%u%u%u+", values)) end

local PLACES = { "PLAIN", "SECURE", "FORWARDED", "CHECKED", "SECOND", "THIRD", "FOURTH", "FIFTH",
   "SIXTH" }

describe("behind", function()
   local dir, haproxy, nginx, nginx_port
   local ports = {}

   lazy_setup(function()
      dir = daemon.directory()
      haproxy = daemon.start(function(port)
         ports = { PORT = port, PEM = certificates.path "both.pem" }
         for _, name in ipairs(PLACES) do ports[name] = daemon.free_port() end
         daemon.write(dir .. "/haproxy.conf", fill(HAPROXY, ports))
         return { daemon.program "haproxy", "-db", "-f", dir .. "/haproxy.conf" }
      end)
      nginx, nginx_port = daemon.start(function(port)
         daemon.write(dir .. "/nginx.conf", fill(NGINX, { PORT = port, DIR = dir,
            FORWARDED = ports.FORWARDED }))
         return { daemon.program "nginx", "-e", "stderr", "-p", dir, "-c", dir .. "/nginx.conf" }
      end)
   end)

   lazy_teardown(function()
      haproxy:stop()
      nginx:stop "QUIT"
      daemon.remove(dir)
   end)

   local function serve(place, listen, opts)
      local app = server.app(opts)
      app:websocket("/ws", function(ws)
         ws:send(("%s %s"):format(ws.remote, ws.request.secure))
         raw.echo(ws)
      end)
      app:get("/", function(req)
         local told = req.forwarded or {}
         return 200, nil, ("%s %s %s %s %s"):format(req.remote, req.remote_port > 0, req.secure,
            told.scheme or "-", told.host or "-")
      end)
      assert(app:listen("127.0.0.1:" .. ports[place], listen))
      return app
   end

   -- A client's stream from an address that is nobody else's; with TLS if asked to.
   local function dial(port, tls)
      local stream = server.keep(weft.tcp())
      assert(stream:bind(CLIENT, 0))
      assert(stream:connect("127.0.0.1", port))
      if tls then assert(stream:starttls(certificates.client { server_name = "localhost" })) end
      return stream
   end

   local function get(port, tls)
      local stream = dial(port, tls)
      stream:send "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
      local text, message = stream:receive "*a"
      assert(text, message)
      stream:close()
      return text:match "\r\n\r\n(.*)$" or text
   end

   local function check_websocket(port, tls, expected)
      local c = raw.adopt(dial(port, tls))
      c:send(server.upgrade("/ws", { host = "localhost", origin = tls and "https://localhost" }))
      local head = c:read_head()
      assert(head:find "^HTTP/1.1 101", head)
      assert.equal(expected, c:take "text")
      for i = 1, raw.rounds(20, 4) do
         c:text(raw.numbered(i))
         assert.is_true(c:take "text" == raw.numbered(i))
      end
      c:bye(1000)
      assert.equal(1000, (c:take_close()))
   end

   it("haproxy, both versions: HTTP and WebSocket", function()
      run(function()
         serve("PLAIN", { proxy_protocol = true })
         for _, port in ipairs { ports.PORT, ports.SECOND } do
            assert.equal(CLIENT .. " true false - -", get(port))
            check_websocket(port, false, CLIENT .. " false")
         end
      end)
   end)

   it("haproxy, both versions, before a listener's streams", function()
      run(function()
         local listener = server.keep(assert(weft.listen("127.0.0.1:" .. ports.PLAIN)))
         for _, port in ipairs { ports.PORT, ports.SECOND } do
            local client = dial(port)
            client:send "through haproxy\n"
            local stream = server.keep(listener:accept())
            local ip, number = stream:receive_proxy(5)
            assert.equal(CLIENT, ip)
            assert.equal(select(2, client:getsockname()), number)
            stream:send(stream:receive "*l" .. ", and back\n")
            assert.equal("through haproxy, and back", client:receive "*l")
         end
      end)
   end)

   it("haproxy, TLS that it ends and begins again, with TLVs that tell of it", function()
      run(function()
         local app = serve("SECURE", { proxy_protocol = { "127.0.0.1" },
            tls = certificates.server "good" })
         assert.equal(CLIENT .. " true true - -", get(ports.THIRD, true))
         check_websocket(ports.THIRD, true, CLIENT .. " true")
         assert.equal(2, app:stats().tls_handshakes)
      end)
   end)

   it("haproxy, TLS that only goes through it", function()
      run(function()
         serve("SECURE", { proxy_protocol = true, tls = certificates.server "good" })
         assert.equal(CLIENT .. " true true - -", get(ports.FOURTH, true))
         check_websocket(ports.FOURTH, true, CLIENT .. " true")
      end)
   end)

   it("haproxy's checks of its health are its own connections, and nobody's failures", function()
      run(function()
         local app = serve("CHECKED", { proxy_protocol = true }, { max_connections_per_ip = 1 })
         raw.eventually(function() return app:stats().accepted >= 3 end, "some checks")
         assert.equal(0, app:stats().refused)
         raw.eventually(function() -- until haproxy believes that it is up
            return get(ports.SIXTH) == CLIENT .. " true false - -"
         end)
      end)
   end)

   it("haproxy, which ends TLS and sets X-Forwarded-For, -Proto and -Host", function()
      run(function()
         serve("FORWARDED", nil, { trusted_proxies = { "127.0.0.1" } })
         assert.equal(CLIENT .. " false true https localhost", get(ports.FIFTH, true))
         check_websocket(ports.FIFTH, true, CLIENT .. " true")
      end)
   end)

   it("nginx, whose kept connections are many clients'", function()
      run(function()
         local app = serve("FORWARDED", nil, { trusted_proxies = { "127.0.0.1" },
            max_connections_per_ip = 1 })
         for _ = 1, 3 do
            assert.equal(CLIENT .. " false false http localhost", get(nginx_port))
         end
         check_websocket(nginx_port, false, CLIENT .. " false")
         local ws = server.keep(assert(weft.connect(("ws://127.0.0.1:%d/ws"):format(nginx_port),
            { headers = { ["X-Forwarded-For"] = "192.0.2.1",
               Origin = "http://127.0.0.1:" .. nginx_port } })))
         -- 127.0.0.1 is a proxy here, so whom it names is believed
         assert.equal("192.0.2.1 false", ws:receive(SOON))
         assert.is_true(app:stats().accepted < 6)
      end)
   end)
end)
