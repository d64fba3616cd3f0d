-- Clients through real proxies: tinyproxy (HTTP CONNECT), the same behind haproxy's TLS (an
-- https proxy, with the target's TLS inside of the proxy's), and microsocks (SOCKS 5).

local weft = require "weft"
local certificates = require "spec.certificates"
local daemon = require "spec.daemon"
local process = require "spec.process"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run, SOON = raw.run, raw.SOON
local http = weft.http

local SIZES = { 0, 1, 126, 16384, 65536, raw.hostile and 100000 or 1 << 20 }

local TINYPROXY = [[
Port PORT
Listen 127.0.0.1
Timeout 60
MaxClients 50
BasicAuth me open_sesame
LogFile "DIR/tinyproxy.log"
LogLevel Warning
DisableViaHeader Yes
]]

local HAPROXY = [[
defaults
   mode tcp
   timeout connect 5s
   timeout client 60s
   timeout server 60s
listen tls
   bind 127.0.0.1:PORT ssl crt PEM
   server proxy 127.0.0.1:UPSTREAM
]]

local function start_tinyproxy(dir)
   return daemon.start(function(port)
      daemon.write(dir .. "/tiny.conf", (TINYPROXY:gsub("%u%u%u+", { PORT = port, DIR = dir })))
      return { daemon.program "tinyproxy", "-d", "-c", dir .. "/tiny.conf" }
   end)
end

local function start_haproxy(dir, upstream)
   return daemon.start(function(port)
      daemon.write(dir .. "/haproxy.conf", (HAPROXY:gsub("%u%u%u+", { PORT = port,
         UPSTREAM = upstream, PEM = certificates.path "both.pem" })))
      return { daemon.program "haproxy", "-db", "-f", dir .. "/haproxy.conf" }
   end)
end

local function start_microsocks(...)
   local more = { ... }
   return daemon.start(function(port)
      return { daemon.program "microsocks", "-i", "127.0.0.1", "-p", port, table.unpack(more) }
   end)
end

describe("through", function()
   local dir, children, ways, ports = nil, {}, {}, {}

   local function started(child, port)
      children[#children + 1] = child
      return port
   end

   lazy_setup(function()
      dir = daemon.directory()
      ports.tiny = started(start_tinyproxy(dir))
      ports.tls = started(start_haproxy(dir, ports.tiny))
      ports.socks = started(start_microsocks())
      ports.guarded = started(start_microsocks("-u", "me", "-P", "open_sesame"))
      ways.tinyproxy = "http://me:open_sesame@127.0.0.1:" .. ports.tiny
      ways["tinyproxy behind TLS"] = "https://me:open_sesame@localhost:" .. ports.tls
      ways.microsocks = "socks5://127.0.0.1:" .. ports.socks
      ways["microsocks with names and a password"] = "socks5h://me:open_sesame@127.0.0.1:"
         .. ports.guarded
   end)

   lazy_teardown(function()
      for _, child in ipairs(children) do child:stop() end
      daemon.remove(dir)
   end)

   local function serve(tls, handler)
      local app = server.app {}
      app:websocket("/ws", handler or raw.echo)
      app:get("/", function(req) return 200, nil, "it is " .. req.headers.host end)
      app:post("/", function(req) return 200, nil, req:body() end)
      local _, port = assert(app:listen("127.0.0.1:0",
         { tls = tls and certificates.server(tls) or nil }))
      return port, app
   end

   local function options(way, more)
      local opts = { proxy = ways[way], tls = certificates.client(),
         proxy_tls = certificates.client() }
      for name, value in pairs(more or {}) do opts[name] = value end
      return opts
   end

   for _, way in ipairs { "tinyproxy", "tinyproxy behind TLS", "microsocks",
      "microsocks with names and a password" } do
      describe(way, function()
         for _, scheme in ipairs { "ws", "wss" } do
            it(scheme .. ": messages of every size go both ways, and closes", function()
               run(function()
                  local port = serve(scheme == "wss" and "good")
                  local ws = server.keep(assert(weft.connect(("%s://localhost:%d/ws")
                     :format(scheme, port), options(way))))
                  for _, size in ipairs(SIZES) do
                     local text = ("x"):rep(size)
                     local sender = weft.spawn(ws.send, ws, text)
                     assert.is_true(ws:receive(SOON) == text)
                     assert.is_true(sender:join(SOON))
                  end
                  for i = 1, raw.rounds(20, 5) do
                     ws:send(raw.numbered(i))
                     assert.is_true(ws:receive(SOON) == raw.numbered(i))
                  end
                  assert.truthy(ws:ping(SOON))
                  assert.equal(scheme == "wss" and true or nil, (ws:tls() or {}).verified)
                  ws:close(4001, "enough")
                  assert.same({ 4001, "", true }, { ws:closed() })
               end, 60)
            end)
         end

         it("weft.http: http and https, kept, and verified for the target", function()
            run(function()
               for _, tls in ipairs { false, "good" } do
                  local port, app = serve(tls)
                  local url = ("%s://localhost:%d/"):format(tls and "https" or "http", port)
                  for _ = 1, 3 do
                     local answer = assert(http.get(url, options(way)))
                     assert.equal("it is localhost:" .. port, answer.body)
                  end
                  -- tinyproxy closes what it kept without a word, and a POST is not sent twice
                  if not tls then http.close_idle() end
                  local data = ("0123456789"):rep(50000)
                  assert.is_true(assert(http.post(url, data, options(way))).body == data)
                  if tls then assert.equal(1, app:stats().accepted) end
               end
               local port = serve "wrong"
               local answer, message, code = http.get(("https://localhost:%d/"):format(port),
                  options(way))
               assert.is_nil(answer)
               assert.equal("tls", code, message)
               assert.truthy(message:find("localhost", 1, true), message)
               http.close_idle()
            end, 60)
         end)

         it("weft.dial: a peer that speaks first, TLS, starttls, and what is refused", function()
            run(function()
               local listener = server.keep(assert(weft.listen("127.0.0.1:0")))
               local _, port = listener:getsockname()
               weft.spawn(function()
                  for stream in listener:each() do
                     stream:send("banner\n")
                     local data = stream:receive(300000)
                     if data then stream:send(data:upper()) end
                     stream:close()
                  end
               end)
               local stream = server.keep(assert(weft.dial("localhost:" .. port,
                  { proxy = ways[way], proxy_tls = certificates.client() })))
               assert.equal("banner", stream:receive "*l")
               local text = ("abc"):rep(100000)
               local sender = weft.spawn(stream.send, stream, text)
               assert.is_true(stream:receive(#text) == text:upper())
               sender:join(SOON)
               assert.is_nil((stream:receive(1)))
               local secured = serve "good"
               stream = server.keep(assert(weft.dial("tls://localhost:" .. secured, options(way))))
               stream:send "GET / HTTP/1.0\r\nhost: h\r\nconnection: close\r\n\r\n"
               assert.truthy(stream:receive("*a"):find("it is h", 1, true))
               stream = server.keep(assert(weft.dial("localhost:" .. secured,
                  { proxy = ways[way], proxy_tls = certificates.client() })))
               assert.is_nil(stream:tls()) -- the proxy's is nobody's business
               assert(stream:starttls(certificates.client { server_name = "localhost" }))
               assert.is_true(stream:tls().verified)
               assert.equal("stream:starttls: this stream has TLS already", server.blame(function()
                  stream:starttls(certificates.client { server_name = "localhost" })
               end))
               stream:send "GET / HTTP/1.0\r\nhost: g\r\n\r\n"
               assert.truthy(stream:receive("*a"):find("it is g", 1, true))
               local free = daemon.free_port()
               local none, message, code = weft.dial("localhost:" .. free,
                  { proxy = ways[way], proxy_tls = certificates.client() })
               assert.is_nil(none)
               assert.equal("refused", code, message)
               assert.truthy(message:find("proxy [%w.]+:%d+ refused"), message)
               assert.is_nil(message:find("sesame", 1, true))
            end, 60)
         end)
      end)
   end

   it("a proxy that wants a password that it does not get", function()
      run(function()
         for _, case in ipairs {
            { "http://127.0.0.1:" .. ports.tiny, "407 " },
            { "http://me:wrong_sesame@127.0.0.1:" .. ports.tiny, "40%d " },
            { "socks5://127.0.0.1:" .. ports.guarded, "it wants a user and a password" },
            { "socks5://me:wrong_sesame@127.0.0.1:" .. ports.guarded, "is wrong" },
         } do
            local ws, message, code = weft.connect("ws://localhost:1/", { proxy = case[1] })
            assert.is_nil(ws)
            assert.equal("refused", code, message)
            assert.truthy(message:find(case[2]), message)
            assert.is_nil(message:find("sesame", 1, true))
         end
      end)
   end)

   it("an https proxy is verified itself, by its own options", function()
      run(function()
         local port = serve "good"
         local ws, message, code = weft.connect(("wss://localhost:%d/ws"):format(port),
            { proxy = ways["tinyproxy behind TLS"], tls = certificates.client() })
         assert.is_nil(ws)
         assert.equal("tls", code, message)
         assert.truthy(message:find("proxy localhost:" .. ports.tls, 1, true), message)
      end)
   end)

   it("weft.reconnect, again and again", function()
      run(function()
         local port = serve("good", function(ws) ws:send "welcome" end)
         local turns = 0
         for ws in weft.reconnect(("wss://localhost:%d/ws"):format(port),
            options("tinyproxy behind TLS", { min_delay = 0.01, stop_on = {} })) do
            assert.equal("welcome", ws:receive(SOON))
            turns = turns + 1
            if turns == 3 then break end
         end
         assert.equal(3, turns)
      end)
   end)

   it("a slow reader at the far end stops the sender, and all arrives", function()
      run(function()
         local go, total = weft.channel(1), 0
         local size, count = 65536, raw.rounds(64, 8)
         local port = serve("good", function(ws)
            go:receive()
            for message in ws:messages() do total = total + #message end
         end)
         local ws = server.keep(assert(weft.connect(("wss://localhost:%d/ws"):format(port),
            options "tinyproxy behind TLS")))
         local sender = weft.spawn(function()
            for _ = 1, count do assert(ws:send(("y"):rep(size))) end
            return true
         end)
         weft.sleep(0.1)
         go:send(true)
         assert(sender:join(SOON * 3))
         ws:close()
         raw.eventually(function() return total == size * count end, "the last of it")
      end, 60)
   end)

   it("the environment's proxies, in a process of its own", function()
      local child = process.start(process.script "spec/scripts/proxied.lua", { env = {
         http_proxy = ways.tinyproxy, all_proxy = "socks5h://127.0.0.1:" .. ports.socks,
         HTTPS_PROXY = "", no_proxy = ".invalid" } })
      local said, status = child:finish()
      assert.equal(0, status, said)
      assert.equal("ws tinyproxy\nhttp tinyproxy\ndial microsocks\nexcepted resolve\n", said)
   end)
end)
