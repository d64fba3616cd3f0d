-- weft.http over TLS: what is verified, when a connection is kept, how a body may end.

local weft = require "weft"
local certificates = require "spec.certificates"
local origin = require "spec.helper_origin"
local process = require "spec.process"
local server = require "spec.helper_server"

local http = weft.http
local SOON = os.getenv "WEFT_HOSTILE_GC" and 200 or 20
local trusting, showing = certificates.client, certificates.server

local function run(f)
   server.run(function()
      f()
      http.close_idle()
   end, SOON)
end

local function serve(tls, opts)
   local app = server.app(opts)
   app:get("/", function(req)
      return 200, nil, ("secure %s %s"):format(req.secure, (req.peer_certificate or {}).subject)
   end)
   app:post("/", function(req) return 200, nil, req:body() end)
   local _, port = assert(app:listen("127.0.0.1:0", { tls = tls }))
   return ("https://localhost:%d/"):format(port), app, port
end

-- A server in Python that does what these lines say, with `server` and TLS's `context`; its port.
local function foreign_server(lines)
   local child = process.start({ "python3", "-c", [[
import os, socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server = socket.create_server(("127.0.0.1", 0))
print("port", server.getsockname()[1], flush=True)
]] .. lines, certificates.path "good.pem", certificates.path "good.key" }, { foreign = true })
   return child, child:wait_for "^port (%d+)"
end

describe("https", function()
   it("is verified, and its connections are kept", function()
      run(function()
         local base, app = serve(showing "good")
         for _ = 1, 3 do
            local answer = assert(http.get(base, { tls = trusting() }))
            assert.equal("secure true nil", answer.body)
            assert.equal(base, answer.url)
         end
         local data = ("0123456789"):rep(100000)
         assert.is_true(assert(http.post(base, data, { tls = trusting() })).body == data)
         assert.equal(1, app:stats().accepted)
      end)
   end)

   it("of an unknown CA, another host, or after its time is refused", function()
      run(function()
         local base = serve(showing "good")
         local cases = {
            { base, {}, "localhost" },
            { (serve(showing "wrong")), { tls = trusting() }, "localhost" },
            { (serve(showing "expired")), { tls = trusting() }, "expired" },
         }
         for _, case in ipairs(cases) do
            local answer, message, code = http.get(case[1], case[2])
            assert.is_nil(answer)
            assert.equal("tls", code, message)
            assert.truthy(message:find(case[3], 1, true), message)
         end
         -- what was let in unverified serves nobody who verifies
         assert(http.get(base, { tls = { verify = false } }))
         local answer, _, code = http.get(base)
         assert.is_nil(answer)
         assert.equal("tls", code)
      end)
   end)

   it("on a plain port, and http on a TLS port, fail and say so", function()
      run(function()
         local address = assert(server.app({}):listen "127.0.0.1:0")
         local answer, message, code = http.get("https://" .. address)
         assert.is_nil(answer)
         assert.equal("tls", code, message)
         local base = serve(showing "good")
         answer, message, code = http.get((base:gsub("https:", "http:")))
         assert.is_nil(answer)
         assert.truthy(code == "closed" or code == "protocol", message)
      end)
   end)

   it("follows from http to https, and not back", function()
      run(function()
         local base = serve(showing "good")
         local plain = origin.answers(
            ("HTTP/1.1 302 Up\r\nlocation: %s\r\ncontent-length: 0\r\n\r\n"):format(base))
         assert.equal("secure true nil", assert(http.get(plain, { tls = trusting() })).body)
         local app = server.app {}
         app:get("/", function() return 302, { location = plain } end)
         local _, port = assert(app:listen("127.0.0.1:0", { tls = showing "good" }))
         local answer, message, code = http.get(("https://localhost:%d/"):format(port),
            { tls = trusting() })
         assert.is_nil(answer)
         assert.equal("refused", code)
         assert.truthy(message:find("which would give up TLS", 1, true), message)
      end)
   end)

   it("shows a client's certificate to the origin it is for, not where a redirect leads", function()
      run(function()
         local function asking() return showing("good", { client_cert = "request",
            ca = certificates.path "ca.pem" }) end
         local base, app, port = serve(asking())
         local with_alice = { tls = trusting { cert = certificates.path "alice.pem",
            key = certificates.path "alice.key" } }
         local elsewhere, _, other = serve(asking())
         assert.equal("secure true CN=alice", assert(http.get(base, with_alice)).body)
         app:get("/same", function() return 302, { location = "/" } end)
         app:get("/other", function() return 302, { location = elsewhere } end)
         assert.equal("secure true CN=alice", assert(http.get(base .. "same", with_alice)).body)
         assert.equal("secure true nil", assert(http.get(base .. "other", with_alice)).body)
         -- and a WebSocket the same, also with a context of the script's
         local context = assert(weft.tls(with_alice.tls))
         for _, tls in ipairs { with_alice.tls, context } do
            for where, subject in pairs { ["/same"] = "CN=alice", ["/other"] = "nil" } do
               local handler = function(ws)
                  ws:send(tostring((ws.request.peer_certificate or {}).subject))
               end
               local first, second = server.app {}, server.app {}
               first:websocket("/ws", handler)
               second:websocket("/ws", handler)
               local _, near = first:listen("127.0.0.1:0", { tls = asking() })
               local _, far = second:listen("127.0.0.1:0", { tls = asking() })
               first:get("/same", function() return 302, { location = "/ws" } end)
               first:get("/other", function()
                  return 302, { location = ("wss://localhost:%d/ws"):format(far) }
               end)
               local ws = server.keep(assert(weft.connect(("wss://localhost:%d%s"):format(near,
                  where), { tls = tls, max_redirects = 1 })))
               assert.equal(subject, ws:receive(SOON))
            end
         end
         assert.is_true(port ~= other)
      end)
   end)

   it("asks again on a fresh connection where a kept one was cut", function()
      -- a server that cuts each connection at its second request, without a close_notify
      local child, port = foreign_server [[
for n in (b"1", b"2"):
    peer = context.wrap_socket(server.accept()[0], server_side=True)
    while b"\r\n\r\n" not in peer.recv(65536): pass
    peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n" + n)
    while b"\r\n\r\n" not in peer.recv(65536): pass
    os.close(peer.detach())
]]
      run(function()
         local url = ("https://localhost:%d/"):format(port)
         local opts = { tls = trusting() }
         assert.equal("1", assert(http.get(url, opts)).body)
         assert.equal("2", assert(http.get(url, opts)).body)
         local answer, message = http.post(url, "x", opts) -- not harmless: asked once
         assert.is_nil(answer, message)
      end)
      child:finish()
   end)

   it("takes the end of the connection for the body's only when that is a goodbye", function()
      -- a server that ends with a close_notify, and then one that just closes
      local child, port = foreign_server [[
for clean in (True, False):
    peer = context.wrap_socket(server.accept()[0], server_side=True)
    while b"\r\n\r\n" not in peer.recv(65536): pass
    peer.sendall(b"HTTP/1.1 200 OK\r\n\r\nall of it")
    if clean: peer = peer.unwrap()
    os.close(peer.detach())
]]
      run(function()
         local url = ("https://localhost:%d/"):format(port)
         assert.equal("all of it", assert(http.get(url, { tls = trusting() })).body)
         local answer, message = http.get(url, { tls = trusting() })
         assert.is_nil(answer, message)
      end)
      child:finish()
   end)
end)
