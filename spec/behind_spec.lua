-- Servers behind proxies: the PROXY protocol, X-Forwarded-For and Forwarded, by hand. With
-- haproxy and nginx in front: behind_peers_spec.lua.

local weft = require "weft"
local networks = require "weft.networks"
local certificates = require "spec.certificates"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run, eventually = raw.run, raw.eventually
local V2 = "\r\n\r\n\0\r\nQUIT\n"
local V1 = "PROXY TCP4 192.0.2.7 10.0.0.1 5555 80\r\n"

local function v2(command, kind, payload)
   return V2 .. (">I1I1s2"):pack(command, kind, payload)
end

local TCP4 = v2(0x21, 0x11, "\192\0\2\7\10\0\0\1" .. (">I2I2"):pack(5555, 80))
local TCP6 = v2(0x21, 0x21, "\x20\1\x0d\xb8" .. ("\0"):rep(11) .. "\1" .. ("\0"):rep(16)
   .. (">I2I2"):pack(5555, 80) .. "\3\0\4abcd")

local function who(req)
   local told = req.forwarded or {}
   return 200, nil, table.concat({ req.remote, req.remote_port, tostring(req.secure),
      told.proxy or "-", told.scheme or "-", told.host or "-" }, " ")
end

local function app_with(opts, listen)
   local app = server.app(opts)
   app:get("/", who)
   app:websocket("/ws", function(ws) ws:send(ws.remote) raw.echo(ws) end)
   local _, port = assert(app:listen("127.0.0.1:0", listen))
   return math.tointeger(port), app
end

-- The body of the answer to a request behind these bytes.
local function ask(port, before, fields)
   local one <close> = raw.dial(port)
   one:send(before, "GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n", fields or "", "\r\n")
   local text = one.stream:receive "*a" or ""
   return text:match "\r\n\r\n(.*)$", text:match "^HTTP/1.1 (%d+)"
end

describe("networks", function()
   it("are addresses, prefixes and unix:, and nothing else", function()
      local set = networks.compile { "10.0.0.0/8", "192.0.2.1", "2001:db8::/33", "::1", "unix:" }
      for peer, inside in pairs { ["10.255.0.1"] = true, ["11.0.0.1"] = false,
         ["192.0.2.1"] = true, ["192.0.2.2"] = false, ["2001:db8:7fff::"] = true,
         ["2001:db8:8000::"] = false, ["::1"] = true, ["::ffff:10.1.1.1"] = true,
         ["unix:"] = true, [""] = false, ["010.0.0.1"] = false, ["10.0.0"] = false } do
         assert.equal(inside, networks.has(set, peer), peer)
      end
      assert.is_true(networks.has(networks.compile { "0.0.0.0/0" }, "255.1.2.3"))
      for _, bad in ipairs { "10.0.0.0/33", "10.0.0/8", "host", "", "/8", "10.0.0.0/", "::/129",
         "10.0.0.1:80", "fe80::1%lo" } do
         assert.truthy(networks.check { bad }, bad)
         local message = server.blame(function() weft.app { trusted_proxies = { bad } } end)
         assert.truthy(message:find('option "trusted_proxies" must hold addresses', 1, true),
            message)
      end
      local message = server.blame(function() weft.app { forwarded = "all" } end)
      assert.truthy(message:find('"forwarded" or "x-forwarded", got "all"', 1, true), message)
   end)
end)

describe("the PROXY protocol", function()
   it("names the peer, by both versions, cut anywhere", function()
      run(function()
         local port = app_with({}, { proxy_protocol = true })
         local cases = {
            [V1] = "192.0.2.7 5555 false - - -",
            ["PROXY TCP6 2001:db8::1 ::1 5555 80\r\n"] = "2001:db8::1 5555 false - - -",
            ["PROXY TCP6 ::ffff:192.0.2.7 ::1 5555 80\r\n"] = "192.0.2.7 5555 false - - -",
            [TCP4] = "192.0.2.7 5555 false - - -",
            [TCP6] = "2001:db8::1 5555 false - - -",
            [v2(0x21, 0x31, ("/"):rep(216))] = "unix: 0 false - - -",
         }
         for bytes, expected in pairs(cases) do
            assert.equal(expected, (ask(port, bytes)))
            for at = 1, #bytes - 1, raw.hostile and 90 or #bytes > 100 and 10 or 1 do
               local one <close> = raw.dial(port)
               one:send_cut(bytes .. "GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n", at)
               assert.equal(expected, one.stream:receive "*a":match "\r\n\r\n(.*)$")
            end
         end
         -- the proxy's own connections, and clients that it does not know, are nobody's else
         for _, bytes in ipairs { "PROXY UNKNOWN\r\n", v2(0x20, 0, ""), v2(0x21, 0, "tlvs"),
            v2(0x20, 0x11, "\192\0\2\7\10\0\0\1" .. (">I2I2"):pack(5555, 80)) } do
            assert.truthy(ask(port, bytes):find "^127%.0%.0%.1 %d+ false")
         end
      end, 60)
   end)

   it("is a WebSocket's, too, and goes before TLS", function()
      run(function()
         local port = app_with({}, { proxy_protocol = true })
         local c = raw.dial(port)
         c:send(TCP4, server.upgrade "/ws")
         assert(c:read_head():find "^HTTP/1.1 101")
         assert.equal("192.0.2.7", c:take "text")
         local failed
         port = app_with({}, { proxy_protocol = true, tls = certificates.server("good", {
            on_failure = function(message, ip) failed = { message, ip } end }) })
         for _, bytes in ipairs { V1, TCP4 } do
            local stream = server.keep(assert(weft.dial("127.0.0.1:" .. port)))
            stream:send(bytes)
            assert(stream:starttls(certificates.client { server_name = "localhost" }))
            stream:send "GET / HTTP/1.0\r\nhost: h\r\n\r\n"
            assert.truthy(stream:receive "*a":find("192.0.2.7 5555 true - - -", 1, true))
         end
         local stream, message, code = weft.dial("tls://localhost:" .. port,
            { tls = certificates.client() })
         assert.is_nil(stream)
         assert.equal("tls", code, message)
         eventually(function() return failed end)
         assert.same({ "a PROXY protocol header is missing", "127.0.0.1" }, failed)
         -- what the preface named is who failed after it
         failed = nil
         local c2 = raw.dial(port)
         c2:send(V1, "no TLS at all\r\n\r\n")
         eventually(function() return failed end)
         assert.equal("192.0.2.7", failed[2])
      end)
   end)

   it("that is missing or malformed is refused", function()
      run(function()
         local port, app = app_with({}, { proxy_protocol = true })
         for i, bytes in ipairs { "", "PROXY TCP4 1.1.1.1\r\n", "PROXY TCP4 1.1.1 1.1.1.1 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n", "PROXY TCP6 1.1.1.1 1.1.1.1 1 2\r\n",
            "PROXY TCP4 01.1.1.1 1.1.1.1 1 2\r\n", "PROXY UNKNOWN" .. ("x"):rep(200),
            V2 .. "\x31", v2(0x21, 0x11, "short"), V2 .. "\x21\x11\xff\xff" } do
            local text, status = ask(port, bytes)
            assert.equal("400", status)
            assert.truthy(text:find "PROXY protocol", text)
            assert.equal(i, app:stats().refused)
         end
         assert.equal(0, app:stats().requests)
      end)
   end)

   it("is waited for within handshake_timeout, and holds nobody up", function()
      run(function()
         local port, app = app_with({ handshake_timeout = raw.time(0.2) },
            { proxy_protocol = true })
         local slow = raw.dial(port)
         slow:send "PROXY"
         local silent = raw.dial(port)
         assert.equal("192.0.2.7 5555 false - - -", (ask(port, V1)))
         assert.is_true(slow:is_over())
         assert.is_true(silent:is_over())
         eventually(function() return app:stats().connections == 0 end)
         local gone = raw.dial(port)
         gone:send(TCP4:sub(1, 20))
         gone:close()
         eventually(function() return app:stats().connections == 0 end)
      end)
   end)

   it("is taken from listed networks alone", function()
      run(function()
         local port = app_with({}, { proxy_protocol = { "127.0.0.0/8" } })
         assert.equal("192.0.2.7 5555 false - - -", (ask(port, V1)))
         port = app_with({}, { proxy_protocol = { "10.0.0.0/8" } })
         local text, status = ask(port, V1)
         assert.equal("403", status)
         assert.truthy(text:find("127.0.0.1 may not connect here (proxy_protocol)", 1, true))
         local message = server.blame(function()
            server.app():listen("127.0.0.1:0", { proxy_protocol = { "x" } })
         end)
         assert.truthy(message:find 'option "proxy_protocol" must hold addresses')
         message = server.blame(function()
            weft.listen("127.0.0.1:0", { proxy_protocol = true })
         end)
         assert.truthy(message:find 'unknown option "proxy_protocol"')
      end)
   end)

   it("of a listener's stream is taken by receive_proxy, cut anywhere", function()
      run(function()
         local listener = server.keep(assert(weft.listen "127.0.0.1:0"))
         local _, port = listener:getsockname()
         -- What receive_proxy and then receive return when that was sent, in two pieces.
         local function take(bytes, at)
            local near = server.keep(assert(weft.dial("127.0.0.1:" .. port)))
            local far <close> = listener:accept()
            local task = weft.spawn(function()
               local ip, number, code = far:receive_proxy(raw.time(5))
               return ip, number, code, ip and far:receive "*l"
            end)
            near:send(bytes:sub(1, at))
            weft.sleep(0)
            near:send(bytes:sub(at + 1))
            near:shutdown "send"
            return task:join()
         end
         for bytes, expected in pairs { [V1] = "192.0.2.7", [TCP4] = "192.0.2.7",
            [TCP6] = "2001:db8::1" } do
            for at = 1, #bytes + 5, raw.hostile and 40 or 1 do
               local ip, number, _, line = take(bytes .. "hello\n", at)
               assert.equal(expected, ip)
               assert.equal(5555, number)
               assert.equal("hello", line)
            end
         end
         assert.equal("127.0.0.1", (take("PROXY UNKNOWN\r\nhello\n", 3)))
         for bytes, why in pairs { ["GET / HTTP/1.1\r\n\r\n"] = "protocol", PROXY = "closed" } do
            local ip, message, code = take(bytes, 1)
            assert.is_nil(ip)
            assert.equal(why, code, message)
         end
      end, 60)
   end)

   it("of a listener's stream is waited for within its time, and goes before TLS", function()
      run(function()
         local listener = server.keep(assert(weft.listen "127.0.0.1:0"))
         local _, port = listener:getsockname()
         local near = server.keep(assert(weft.dial("127.0.0.1:" .. port)))
         local far = server.keep(listener:accept())
         local ip, message, code = far:receive_proxy(0.01)
         assert.is_nil(ip)
         assert.equal("timeout", code, message)
         far:settimeout(0.01)
         assert.equal("timeout", (select(3, far:receive_proxy())))
         near:send(TCP4)
         assert.same({ "192.0.2.7", 5555 }, { far:receive_proxy(raw.time(5)) })
         local client = weft.spawn(function()
            return near:starttls(certificates.client { server_name = "localhost" })
         end)
         far:settimeout(nil)
         assert(far:starttls(certificates.server "good"))
         assert(client:join())
         assert(server.blame(function() far:receive_proxy(-1) end):find "0 or more")
         assert(server.blame(function() far.receive_proxy(listener) end):find "weft.stream")
      end)
   end)

   it("is what max_connections_per_ip counts by", function()
      run(function()
         local port, app = app_with({ max_connections_per_ip = 2 }, { proxy_protocol = true })
         local open = {}
         for i = 1, 2 do
            open[i] = raw.dial(port)
            open[i]:send(V1, server.upgrade "/ws")
            assert(open[i]:read_head():find "^HTTP/1.1 101")
         end
         local text, status = ask(port, TCP4)
         assert.equal("429", status)
         assert.truthy(text:find "max_connections_per_ip")
         assert.equal("2001:db8::1 5555 false - - -", (ask(port, TCP6)))
         for i = 3, 4 do -- of IPv6 the first 64 bits
            open[i] = raw.dial(port)
            open[i]:send(("PROXY TCP6 2001:db8::%d 2001:db8::ff 5555 80\r\n"):format(i),
               server.upgrade "/ws")
            assert(open[i]:read_head():find "^HTTP/1.1 101")
         end
         assert.equal("429", (select(2, ask(port, TCP6))))
         open[1]:bye(1000)
         eventually(function() return app:stats().websockets == 3 end)
         eventually(function() return select(2, ask(port, TCP4)) == "200" end)
      end)
   end)
end)

describe("X-Forwarded-For", function()
   local function x(list, more) return ("X-Forwarded-For: %s\r\n%s"):format(list, more or "") end

   it("of nobody who is trusted counts for nothing", function()
      run(function()
         for _, opts in ipairs { {}, { trusted_proxies = {} }, { trusted_proxies = { "10.1.1.1" } },
            { trusted_proxies = { "unix:" }, forwarded = "forwarded" } } do
            local port = app_with(opts)
            local text = ask(port, "", x("192.0.2.7", "X-Forwarded-Proto: https\r\n"
               .. "X-Forwarded-Host: evil\r\nForwarded: for=192.0.2.7;proto=https\r\n"))
            assert.truthy(text:find "^127%.0%.0%.1 %d+ false %- %- %-$", text)
         end
      end)
   end)

   it("is read from the right, past all that are trusted", function()
      run(function()
         local port = app_with { trusted_proxies = { "127.0.0.1", "10.0.0.0/8", "::1" } }
         local cases = {
            { "192.0.2.7", "192.0.2.7 0" },
            { "192.0.2.7:99", "192.0.2.7 99" },
            { "2001:db8::1", "2001:db8::1 0" },
            { "[2001:db8::1]:99", "2001:db8::1 99" },
            { "[2001:db8::1]", "2001:db8::1 0" },
            { "::ffff:192.0.2.7", "192.0.2.7 0" },
            { "10.9.9.9, 192.0.2.7", "192.0.2.7 0" }, -- a client that made the first one up
            { "192.0.2.7, 10.0.0.1", "192.0.2.7 0" },
            { "1.1.1.1,192.0.2.7 ,\t10.0.0.1, ::1", "192.0.2.7 0" },
            { "10.0.0.3, 10.0.0.2", "10.0.0.3 0" }, -- all of them
            { "192.0.2.7, unknown", "127.0.0.1 %d+" }, -- nobody behind that is known
            { "192.0.2.7, unknown, 10.0.0.1", "10.0.0.1 0" },
            { "192.0.2.7, 10.0.0.1:x", "127.0.0.1 %d+" },
            { "192.0.2.7,", "127.0.0.1 %d+" },
            { "010.0.0.1", "127.0.0.1 %d+" },
            { "192.0.2.7.", "127.0.0.1 %d+" },
            { "", "127.0.0.1 %d+" },
            { "192.0.2.7\r\nx-forwarded-for: 192.0.2.8", "192.0.2.8 0" }, -- two fields
         }
         for _, case in ipairs(cases) do
            local text = ask(port, "", x(case[1]))
            assert.truthy(text:find("^" .. case[2] .. " false 127.0.0.1 %- %-$"),
               case[1] .. ": " .. text)
         end
         assert.truthy(ask(port, ""):find "^127.0.0.1 %d+ false 127.0.0.1 %- %-$")
      end)
   end)

   it("comes with the scheme and the host of the same proxy", function()
      run(function()
         local port = app_with { trusted_proxies = { "127.0.0.1", "10.0.0.0/8" } }
         local cases = {
            { "192.0.2.7", "https", "example.org:8443", "true", "https", "example.org:8443" },
            { "192.0.2.7", "HTTP", "[::1]:80", "false", "http", "[::1]:80" },
            { "192.0.2.7, 10.0.0.1", "https, http", "a.example, b.example", "true", "https",
               "a.example" },
            { "1.1.1.1, 192.0.2.7, 10.0.0.1", "http, https, http", "x, a, b", "true", "https",
               "a" },
            { "192.0.2.7, 10.0.0.1", "https", "a", "true", "https", "a" },
            { "192.0.2.7", "evil, https", "evil, a", "true", "https", "a" },
            { "192.0.2.7", "wss", "a/b", "true", "https", "-" },
            { "192.0.2.7", "gopher", "a b", "false", "-", "-" },
         }
         for _, case in ipairs(cases) do
            local text = ask(port, "", x(case[1], ("X-Forwarded-Proto: %s\r\n"
               .. "X-Forwarded-Host: %s\r\n"):format(case[2], case[3])))
            assert.equal(("192.0.2.7 0 %s 127.0.0.1 %s %s"):format(case[4], case[5], case[6]), text)
         end
         local text = ask(port, "", "X-Forwarded-Proto: https\r\nForwarded: for=1.1.1.1\r\n")
         assert.truthy(text:find "^127.0.0.1 %d+ true 127.0.0.1 https %-$", text)
      end)
   end)

   it("is what origins are compared with", function()
      run(function()
         local port = app_with { trusted_proxies = { "127.0.0.1" } }
         local function status(origin, proto, host)
            local c <close> = raw.dial(port)
            c:send(server.upgrade("/ws", { origin = origin, ["x-forwarded-proto"] = proto,
               ["x-forwarded-host"] = host, host = "inner:9000" }))
            return tonumber(c:read_head():match "^HTTP/1.1 (%d+)")
         end
         assert.equal(101, status("https://example.org", "https", "example.org"))
         assert.equal(403, status("http://example.org", "https", "example.org"))
         assert.equal(101, status("http://example.org", "http", "example.org"))
         assert.equal(101, status("http://example.org", false, "example.org"))
         assert.equal(403, status("https://inner:9000", "https", "example.org"))
         assert.equal(101, status("https://inner:9000", "https", false))
      end)
   end)

   it("is what max_connections_per_ip counts by, for each request", function()
      run(function()
         local port, app = app_with { trusted_proxies = { "127.0.0.1" },
            max_connections_per_ip = 1 }
         local c = raw.dial(port)
         c:send(server.upgrade("/ws", { ["x-forwarded-for"] = "192.0.2.7" }))
         assert(c:read_head():find "^HTTP/1.1 101")
         assert.equal("192.0.2.7", c:take "text")
         assert.equal("429", select(2, ask(port, "", x "192.0.2.7")))
         assert.equal("200", select(2, ask(port, "", x "192.0.2.8")))
         -- one connection of the proxy's, many clients; and its own requests are not counted
         local kept = server.dial(port)
         for i = 1, 5 do
            assert.equal(200, kept:ask("GET", "/", { ["x-forwarded-for"] = "192.0.2." .. 10 + i })
               .status)
            assert.equal(200, kept:ask("GET", "/").status)
         end
         assert.equal(429, kept:ask("GET", "/", { ["x-forwarded-for"] = "192.0.2.7" }).status)
         c:bye(1000)
         eventually(function() return app:stats().websockets == 0 end)
         eventually(function() return select(2, ask(port, "", x "192.0.2.7")) == "200" end)
         assert.same({}, app.addresses)
      end)
   end)

   it("follows the PROXY protocol, whose peer has to be trusted then", function()
      run(function()
         local port = app_with({ trusted_proxies = { "192.0.2.7" } }, { proxy_protocol = true })
         assert.equal("198.51.100.1 0 false 192.0.2.7 - -", (ask(port, V1, x "198.51.100.1")))
         assert.equal("2001:db8::1 5555 false - - -", (ask(port, TCP6, x "198.51.100.1")))
      end)
   end)
end)

describe("Forwarded", function()
   it("is read by its grammar, from the right, or refused", function()
      run(function()
         local port = app_with { trusted_proxies = { "127.0.0.1", "10.0.0.0/8" },
            forwarded = "forwarded" }
         local cases = {
            { "for=192.0.2.7", "192.0.2.7 0 false 127.0.0.1 - -" },
            { 'For="192.0.2.7:99";Proto=HTTPS;Host="example.org:8443"',
               "192.0.2.7 99 true 127.0.0.1 https example.org:8443" },
            { 'for="[2001:db8::1]:99"', "2001:db8::1 99 false 127.0.0.1 - -" },
            { 'for=1.1.1.1;host=evil, for=192.0.2.7;proto=https;by=_x, for="10.0.0.1";proto=http',
               "192.0.2.7 0 true 127.0.0.1 https -" },
            { "for=1.1.1.1\r\nforwarded: for=192.0.2.7", "192.0.2.7 0 false 127.0.0.1 - -" },
            { "proto=https;host=a", "127.0.0.1 %d+ true 127.0.0.1 https a" },
            { "for=unknown;proto=https", "127.0.0.1 %d+ true 127.0.0.1 https -" },
            { 'for="_hidden", for=10.0.0.1', "10.0.0.1 0 false 127.0.0.1 - -" },
            { ", for=192.0.2.7 ,, for=10.0.0.1,", "192.0.2.7 0 false 127.0.0.1 - -" },
            { "", "127.0.0.1 %d+ false 127.0.0.1 - -" },
            { 'for=1.1.1.1;ext="a, b; c"', "1.1.1.1 0 false 127.0.0.1 - -" },
         }
         for _, case in ipairs(cases) do
            local text = ask(port, "", ("Forwarded: %s\r\nX-Forwarded-For: 9.9.9.9\r\n")
               :format(case[1]))
            assert.truthy(text:find("^" .. case[2]:gsub("%-", "%%-") .. "$"),
               case[1] .. ": " .. text)
         end
         for _, bad in ipairs { 'for="1.1.1.1', 'for="1.1.1.1, for=192.0.2.7', "for", "for=",
            "for=1.1.1.1;for=2.2.2.2", "for=[::1]", "for=1.1.1.1;", "for=1.1.1.1;,for=1.1.1.1",
            'for=1.1.1.1 proto=http', "for =1.1.1.1", 'for="a\\"b"' } do
            local text, status = ask(port, "", ("Forwarded: %s\r\n"):format(bad))
            assert.equal("400", status, bad)
            assert.truthy(text:find "a malformed Forwarded field")
         end
         assert.truthy(ask(port, "", "X-Forwarded-For: 9.9.9.9\r\n"):find "^127.0.0.1 ")
      end)
   end)
end)
