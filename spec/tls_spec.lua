-- TLS as apps and clients of weft see it: what is verified, what is agreed on, what a
-- failure says, resumption and reloading. Streams are in tls_stream_spec.lua.

local weft = require "weft"
local certificates = require "spec.certificates"
local server = require "spec.helper_server"

local run, keep = server.run, server.keep
local trusting, showing = certificates.client, certificates.server

local function echo(ws)
   for message, kind in ws:messages() do ws:send(message, kind) end
end

-- An echo on a TLS port: the app, its port.
local function serve(tls, opts)
   local app = server.app(opts)
   app:websocket("/", echo)
   app:get("/who", function(req)
      local peer = req.peer_certificate
      return 200, nil, ("%s %s"):format(req.secure, peer and peer.subject)
   end)
   local address, port = app:listen("127.0.0.1:0", { tls = tls })
   assert(address, port)
   return app, port
end

local function url(port, host)
   return ("wss://%s:%d/"):format(host or "localhost", port)
end

local function connect(port, tls, host)
   return weft.connect(url(port, host), { tls = tls })
end

local function refused(pattern, ws, message, code)
   assert.is_nil(ws)
   assert.truthy(message:find(pattern, 1, true), message)
   assert.equal("tls", code, message)
end

local function eventually(what)
   for _ = 1, 1000 do
      if what() then return end
      weft.sleep(0.01)
   end
   error("it did not happen", 2)
end

describe("wss", function()
   it("carries messages of every size, both ways", function()
      run(function()
         local _, port = serve(showing "good")
         local ws = keep(assert(connect(port, trusting())))
         for _, n in ipairs { 0, 1, 125, 126, 16383, 16384, 16385, 65536, 300000, 1 << 20 } do
            local sent = ("%d."):format(n):rep(n // 2 + 1):sub(1, n)
            assert(ws:send(sent))
            assert.is_true(sent == ws:receive(10), "a message of " .. n .. " bytes")
         end
         ws:close()
         assert.same({ 1000, "", true }, { ws:closed() })
      end)
   end)

   it("keeps order and content when many are under way", function()
      run(function()
         local _, port = serve(showing "good")
         local ws = keep(assert(connect(port, trusting())))
         local sender = weft.spawn(function()
            for i = 1, 500 do assert(ws:send(("%d:"):format(i) .. ("x"):rep(i * 7 % 3000))) end
         end)
         for i = 1, 500 do
            assert.equal(("%d:"):format(i) .. ("x"):rep(i * 7 % 3000), ws:receive(10))
         end
         sender:join()
      end)
   end)

   it("tells what was agreed on", function()
      run(function()
         local _, port = serve(showing "good")
         local ws = keep(assert(connect(port, trusting())))
         local info = ws:tls()
         assert.equal("TLSv1.3", info.version)
         assert.equal("http/1.1", info.alpn)
         assert.equal("localhost", info.server_name)
         assert.is_true(info.verified)
         assert.equal("CN=good", info.peer.subject)
         assert.equal("CN=weft ca", info.peer.issuer)
         assert.truthy(info.peer.names:find("DNS:localhost", 1, true))
         assert.equal(64, #info.peer.fingerprint)
         assert.truthy(info.peer.pem:find "^%-%-%-%-%-BEGIN CERTIFICATE")
         ws:close()
         assert.is_nil(ws:tls())
      end)
   end)

   it("is spoken at tls:// addresses, on several at once, and https too", function()
      run(function()
         local app, port = serve(showing "good")
         local _, other = app:listen("tls://127.0.0.1:0", { tls = showing "wild" })
         local _, plain = app:listen "127.0.0.1:0"
         keep(assert(connect(port, trusting()))):close()
         keep(assert(connect(other, trusting { server_name = "x.wild.example" }))):close()
         assert.equal(200, server.ask(plain, "GET", "/who").status)
         local stream = assert(weft.dial("tls://localhost:" .. port, { tls = trusting() }))
         assert(stream:send "GET /who HTTP/1.0\r\n\r\n")
         assert.truthy(stream:receive("*a"):find "true nil$")
         stream:close()
      end)
   end)

   it("goes on without the kernel's help where that is not to be had", function()
      run(function()
         local _, port = serve(showing("good", { ktls = true }))
         local ws = keep(assert(connect(port, trusting { ktls = true })))
         assert(ws:send(("x"):rep(1 << 20)))
         assert.equal(1 << 20, #assert(ws:receive(10)))
         assert.is_boolean(ws:tls().ktls_send)
         assert.is_boolean(ws:tls().ktls_receive)
         ws:close()
         assert.same({ 1000, "", true }, { ws:closed() })
         local refusing = keep(assert(weft.listen "127.0.0.1:0"))
         weft.spawn(function() assert(refusing:accept()):close() end)
         local _, other = refusing:getsockname()
         refused("hung up during the handshake", connect(other, trusting { ktls = true }))
      end)
   end)

   it("is not offered by a weft that was not told a certificate", function()
      assert.truthy(server.blame(function()
         weft.app():listen("tls://:0")
      end):find "needs the option tls")
   end)
end)

describe("a client verifies", function()
   local cases = {
      { "expired", "localhost", "its certificate has expired" },
      { "wrong", "localhost", "its certificate is for another host (other.example, more.example)" },
      { "good", "127.0.0.2", "its certificate is for another host" },
      { "self", "localhost", "its certificate is self-signed" },
      { "mallory", "localhost", "its certificate is signed by an unknown CA" },
   }
   for _, case in ipairs(cases) do
      it(("and refuses %s for %s, which the server survives"):format(case[1], case[2]), function()
         run(function()
            local app = server.app()
            app:websocket("/", echo)
            local _, port = app:listen("0.0.0.0:0", { tls = showing(case[1]) })
            local ws, message, code = connect(port, trusting(), case[2])
            refused(case[3], ws, message, code)
            assert.truthy(message:find("TLS with " .. case[2], 1, true), message)
            eventually(function() return app:stats().tls_failed == 1 end)
            keep(assert(connect(port, { verify = false }, case[2]))):close()
         end)
      end)
   end

   it("with the system's store when no CA is given", function()
      run(function()
         local _, port = serve(showing "good")
         refused("signed by an unknown CA", connect(port))
      end)
   end)

   it("by a CA file, a directory, or PEM text", function()
      run(function()
         local _, port = serve(showing "good")
         for _, ca in ipairs { certificates.path "ca.pem", certificates.path "trusted",
            certificates.read "ca.pem" } do
            keep(assert(connect(port, { ca = ca }))):close()
         end
      end)
   end)

   it("names and addresses, wildcards for one label", function()
      run(function()
         local _, good = serve(showing "good")
         local _, wild = serve(showing "wild")
         keep(assert(connect(good, trusting(), "127.0.0.1"))):close()
         keep(assert(connect(wild, trusting { server_name = "any.wild.example" }))):close()
         keep(assert(connect(wild, trusting { server_name = "ANY.wild.example." }))):close()
         for _, name in ipairs { "wild.example", "a.b.wild.example", "any.wild.example.org" } do
            refused("for another host (*.wild.example)",
               connect(wild, trusting { server_name = name }))
         end
      end)
   end)

   it("a chain with a CA in between", function()
      run(function()
         local _, port = serve(showing "chained")
         keep(assert(connect(port, trusting()))):close()
      end)
   end)
end)

describe("a server with several certificates", function()
   it("shows the one that fits the name, an exact one first", function()
      run(function()
         local _, port = serve(showing("good",
            { certificates = { showing "wild", showing "exact" } }))
         local shown = { ["a.wild.example"] = "CN=exact", ["b.wild.example"] = "CN=wild",
            ["localhost"] = "CN=good" }
         for name, subject in pairs(shown) do
            local ws = keep(assert(connect(port, trusting { server_name = name })))
            assert.equal(subject, ws:tls().peer.subject)
            ws:close()
         end
         local ws = keep(assert(connect(port, { verify = false, server_name = "unknown.example" })))
         assert.equal("CN=good", ws:tls().peer.subject)
      end)
   end)
end)

describe("ALPN", function()
   it("follows the server's preference", function()
      run(function()
         local _, port = serve(showing("good", { alpn = { "b", "a" } }))
         local ws = keep(assert(connect(port, trusting { alpn = { "a", "b" } })))
         assert.equal("b", ws:tls().alpn)
      end)
   end)

   it("fails with nothing in common", function()
      run(function()
         local _, port = serve(showing "good")
         refused("the peer refused: no application protocol",
            connect(port, trusting { alpn = { "h2" } }))
      end)
   end)
end)

describe("mutual TLS", function()
   local function with(name)
      return trusting { cert = certificates.path(name .. ".pem"),
         key = certificates.path(name .. ".key") }
   end
   local function who(port, tls)
      local stream <close> = assert(weft.dial("tls://localhost:" .. port, { tls = tls }))
      assert(stream:send "GET /who HTTP/1.0\r\n\r\n")
      return stream:receive "*a"
   end
   local function asking(how)
      return showing("good", { client_cert = how, ca = certificates.path "ca.pem" })
   end

   it("knows who calls", function()
      run(function()
         local _, port = serve(asking "require")
         assert.truthy(who(port, with "alice"):find "true CN=alice$")
      end)
   end)

   it("asks without insisting", function()
      run(function()
         local _, port = serve(asking "request")
         assert.truthy(who(port, with "alice"):find "CN=alice$")
         assert.truthy(who(port, trusting()):find "true nil$")
      end)
   end)

   it("lets nobody in who has none, or a stranger's", function()
      run(function()
         local failures = {}
         local tls = asking "require"
         tls.on_failure = function(message, ip) table.insert(failures, ip .. " " .. message) end
         local app, port = serve(tls)
         for _, shown in ipairs { trusting(), with "mallory" } do
            local answer, message = who(port, shown)
            assert.is_nil(answer)
            assert.is_string(message)
         end
         eventually(function() return app:stats().tls_failed == 2 end)
         assert.truthy(failures[1]:find "^127.0.0.1 .*showed no certificate", failures[1])
         assert.truthy(failures[2]:find "signed by an unknown CA", failures[2])
         keep(assert(connect(port, with "alice"))):close()
      end)
   end)
end)

describe("versions and ciphers", function()
   it("are kept to, and what is too old is told", function()
      run(function()
         local _, new = serve(showing("good", { min_version = "1.3" }))
         refused("too old", connect(new, trusting { max_version = "1.2" }))
         local _, old = serve(showing("good", { max_version = "1.2" }))
         refused("too old", connect(old, trusting { min_version = "1.3" }))
         local ws = keep(assert(connect(old, trusting())))
         assert.equal("TLSv1.2", ws:tls().version)
      end)
   end)

   it("can be chosen", function()
      run(function()
         local _, port = serve(showing("good", { ciphersuites = "TLS_CHACHA20_POLY1305_SHA256",
            ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256" }))
         local ws = keep(assert(connect(port, trusting())))
         assert.equal("TLS_CHACHA20_POLY1305_SHA256", ws:tls().cipher)
         ws = keep(assert(connect(port, trusting { max_version = "1.2" })))
         assert.equal("ECDHE-ECDSA-AES128-GCM-SHA256", ws:tls().cipher)
         refused("the peer refused", connect(port,
            trusting { ciphersuites = "TLS_AES_128_GCM_SHA256", min_version = "1.3" }))
      end)
   end)
end)

describe("resumption", function()
   -- Connects twice, and says whether the second was resumed.
   local function twice(port, tls)
      for _ = 1, 2 do
         local ws = keep(assert(connect(port, tls)))
         assert(ws:send "x")
         assert.equal("x", ws:receive(10)) -- the tickets come before it
         local resumed = ws:tls().resumed
         ws:close()
         if _ == 2 then return resumed end
      end
   end

   for _, version in ipairs { "1.2", "1.3" } do
      it("shortens the second handshake of TLS " .. version, function()
         run(function()
            local app, port = serve(showing "good")
            local tls = trusting { max_version = version, alpn = { "http/1.1" } }
            assert.is_true(twice(port, assert(weft.tls(tls))))
            assert.equal(1, app:stats().tls_resumed)
         end)
      end)

      it("can be switched off on either side, TLS " .. version, function()
         run(function()
            local _, port = serve(showing "good")
            local _, without = serve(showing("good", { resumption = false }))
            assert.is_false(twice(port, trusting { max_version = version, resumption = false }))
            assert.is_false(twice(without, assert(weft.tls(trusting { max_version = version }))))
         end)
      end)
   end

   it("works for option tables too, and never carries over to another host", function()
      run(function()
         local _, port = serve(showing "good")
         assert.is_true(twice(port, trusting { ciphers = "HIGH" }))
         local ws = keep(assert(connect(port, trusting { ciphers = "HIGH" }, "127.0.0.1")))
         assert.is_false(ws:tls().resumed)
      end)
   end)
end)

describe("reloading", function()
   local function copy(from, to)
      local file <close> = assert(io.open(to, "w"))
      assert(file:write(certificates.read(from)))
   end
   local function install(name)
      local cert, key = certificates.path "live.pem", certificates.path "live.key"
      copy(name .. ".pem", cert)
      copy(name .. ".key", key)
      return { cert = cert, key = key }
   end
   local function shown(port)
      local ws = keep(assert(connect(port, { verify = false, resumption = false })))
      local subject = ws:tls().peer.subject
      ws:close()
      return subject
   end

   it("shows the new certificate to new connections and leaves the others", function()
      run(function()
         local app, port = serve(install "good")
         local before = keep(assert(connect(port, trusting())))
         assert.equal("CN=good", shown(port))
         install "wild"
         assert.equal("CN=good", shown(port))
         assert.is_true(app:reload_tls())
         assert.equal("CN=wild", shown(port))
         assert(before:send "still here")
         assert.equal("still here", before:receive(10))
      end)
   end)

   it("keeps sessions", function()
      run(function()
         local app, port = serve(install "good")
         local tls = assert(weft.tls(trusting()))
         local ws = keep(assert(connect(port, tls)))
         ws:send "x"
         ws:receive(10)
         ws:close()
         assert.is_true(app:reload_tls())
         ws = keep(assert(connect(port, tls)))
         assert.is_true(ws:tls().resumed)
      end)
   end)

   it("that fails says why, and the old ones stay", function()
      run(function()
         local app, port = serve(install "good")
         copy("wild.key", certificates.path "live.key")
         local ok, message, code = app:reload_tls()
         assert.is_nil(ok)
         assert.truthy(message:find("^app:reload_tls: the key '.*live.key' does not fit"), message)
         assert.equal("tls", code)
         assert.equal("CN=good", shown(port))
         os.remove(certificates.path "live.pem")
         ok, message = app:reload_tls()
         assert.is_nil(ok)
         assert.truthy(message:find "cannot read the certificate '.*No such file", message)
         assert.equal("CN=good", shown(port))
      end)
   end)
end)

describe("options of TLS", function()
   local P = certificates.path
   local faults = {
      { { cert = "/no/such.pem" }, "cannot read the certificate '/no/such.pem': No such file" },
      { { cert = P "good.pem", key = "/no/such.key" }, "cannot read the key '/no/such.key'" },
      { { cert = P "good.pem" }, "no usable key in" },
      { { cert = P "good.key", key = P "good.key" }, "no usable certificate in" },
      { { cert = P "good.pem", key = P "wild.key" }, "does not fit the certificate" },
      { { cert = P "good.pem", key = P "encrypted.key" }, "(key_password is not set)" },
      { { cert = P "good.pem", key = P "encrypted.key", key_password = "x" },
         "with this key_password" },
      { showing("good", { ciphers = "NONSENSE" }), "no cipher of 'NONSENSE' is known" },
      { showing("good", { ciphersuites = "NONSENSE" }), "no cipher suite of 'NONSENSE'" },
      { showing("good", { client_cert = "require", ca = "/no/ca.pem" }), "cannot read the CA" },
      { showing("good", { client_cert = "require", ca = P "good.key" }), "no CA certificate in" },
   }
   for i, row in ipairs(faults) do
      it("that do not fit the world are told, row " .. i, function()
         run(function()
            local app = server.app()
            local address, message, code = app:listen("127.0.0.1:0", { tls = row[1] })
            assert.is_nil(address)
            assert.truthy(message:find("^app:listen: "), message)
            assert.truthy(message:find(row[2], 1, true), message)
            assert.equal("tls", code)
            refused(row[2], weft.tls(row[1], "server"))
         end)
      end)
   end

   it("may be PEM text, one file for both, an encrypted key", function()
      run(function()
         for _, tls in ipairs {
            { cert = certificates.read "good.pem", key = certificates.read "good.key" },
            { cert = P "both.pem" },
            { cert = P "good.pem", key = P "encrypted.key", key_password = "sesame" },
         } do
            local _, port = serve(tls)
            keep(assert(connect(port, trusting()))):close()
         end
      end)
   end)

   local misuse = {
      { function() weft.tls {}:reload(5) weft.tls "x" end,
         "weft.tls: the options must be a table" },
      { function() weft.tls({}, "sever") end, 'the role must be "client" or "server"' },
      { function() weft.tls({}, "server") end, "needs a certificate (cert)" },
      { function() weft.tls { key = "k" } end, "a key without a cert" },
      { function() weft.tls { min_version = "1.1" } end, '"1.2" or "1.3", got "1.1"' },
      { function() weft.tls { min_version = "1.3", max_version = "1.2" } end, "below min_version" },
      { function() weft.tls { client_cert = "require" } end, "are for servers" },
      { function() weft.tls({ cert = "c", client_cert = "require" }, "server") end,
         "needs the option ca" },
      { function() weft.tls({ cert = "c", server_name = "x" }, "server") end, "is for clients" },
      { function() weft.tls { alpn = { "" } } end, "names of 1 to 255 bytes" },
      { function() weft.tls { server_name = "a b" } end, "must be a host name" },
      { function() weft.tls { sni = "x" } end, 'unknown option "sni"' },
      { function() weft.connect("wss://x/", { tls = { sni = "x" } }) end,
         'weft.connect: unknown option "sni"' },
      { function() weft.dial("tls://x:1", { tls = { sni = "x" } }) end,
         'weft.dial: unknown option "sni"' },
      { function() weft.listen("tls://:0", { tls = { certificates = {} } }) end,
         'option "certificates" must be a list of tables' },
      { function() weft.listen("tls://:0", { tls = { certificates = showing "good" } }) end,
         'option "certificates" must be a list of tables' },
      { function() weft.listen("tls://:0", { tls = { certificates = { "good.pem" } } }) end,
         'option "certificates" must be a list of tables' },
      { function() weft.listen("tls://:0", { tls = weft.tls {} }) end,
         "this weft.tls context is for a client" },
      { function() weft.app():listen(":0", { tls = weft.tls {} }) end,
         "this weft.tls context is for a client" },
   }
   for i, row in ipairs(misuse) do
      it("blame the caller for misuse, row " .. i, function()
         local message = server.blame(row[1])
         assert.truthy(message:find(row[2], 1, true), message)
      end)
   end
end)

describe("what is not TLS", function()
   it("on a TLS port is told to the client, and counted", function()
      run(function()
         local app, port = serve(showing "good")
         local raw = server.dial(port)
         raw:send "GET / HTTP/1.1\r\nhost: x\r\n\r\n"
         local answer = raw.stream:receive "*a" -- an alert, or nothing
         assert.is_true(answer == nil or not answer:find "HTTP")
         local ws, message = weft.connect(("ws://localhost:%d/"):format(port))
         assert.is_nil(ws)
         assert.is_string(message)
         eventually(function() return app:stats().tls_failed == 2 end)
         keep(assert(connect(port, trusting()))):close()
      end)
   end)

   it("on the other side of a client is told for which host", function()
      run(function()
         local app = server.app()
         app:websocket("/", echo)
         local _, port = app:listen "127.0.0.1:0"
         local ws, message, code = connect(port, trusting())
         refused("TLS with localhost: the peer sent plain text, not TLS", ws, message, code)
      end)
   end)

   it("may be nothing at all", function()
      run(function()
         local listener = keep(assert(weft.listen "127.0.0.1:0"))
         local _, port = listener:getsockname()
         weft.spawn(function() assert(listener:accept()):close() end)
         refused("hung up during the handshake", connect(port, trusting()))
      end)
   end)

   it("ends a client that waits for it, in its time", function()
      run(function()
         local listener = keep(assert(weft.listen "127.0.0.1:0"))
         local _, port = listener:getsockname()
         local silent = weft.spawn(function() return listener:accept() end)
         local ws, _, code = weft.connect(url(port), { tls = trusting(), timeout = 0.2 })
         assert.is_nil(ws)
         assert.equal("timeout", code)
         keep(silent:join())
      end)
   end)
end)
