-- TLS with others: openssl's s_client and s_server, nginx in front of weft and between
-- weft's client and a server, and chromium. python3-websockets and npm's ws are in
-- peers_spec.lua.

local weft = require "weft"
local daemon = require "spec.daemon"
local certificates = require "spec.certificates"
local process = require "spec.process"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run, keep = server.run, server.keep
local P = certificates.path
local PATIENCE = 60

-- A child weft that greets at a TLS port and echoes lines, and says what TLS agreed on.
local GREETER = [[
local weft = require "weft"
local tls = { cert = arg[1], key = arg[2], ca = arg[3], client_cert = arg[4],
   max_version = arg[5] }
local listener = assert(weft.listen("tls://127.0.0.1:0", { tls = tls }))
print("port " .. select(2, listener:getsockname()))
io.stdout:setvbuf "line"
weft.run(function()
   for stream in listener:each() do
      weft.spawn(function()
         stream:send "hello from weft\n"
         while true do
            local line, why, partial, code = stream:receive "*l"
            local t = stream:tls() or {}
            if not line then
               print(("end %s %s %s"):format(why, code, t.resumed))
               break
            end
            print(("line %s %s %s %s %s %s"):format(line, t.version, t.alpn, t.server_name,
               t.resumed, t.peer and t.peer.subject))
            stream:send("echo " .. line .. "\n")
         end
         stream:close()
      end)
   end
end)
]]

local function greeter(how, version)
   local path = P "greeter.lua"
   local file <close> = assert(io.open(path, "w"))
   file:write(GREETER)
   file:close()
   local child = process.start(process.script(path, P "good.pem", P "good.key", P "ca.pem",
      how or "none", version), { limit = PATIENCE })
   return child, child:wait_for "^port (%d+)"
end

-- Runs openssl s_client with these words, and with this input once weft's greeting is there
-- (or nothing will be): all it says.
local function s_client(port, words, input)
   local command = process.command({ "openssl", "s_client", "-connect", "127.0.0.1:" .. port,
      "-CAfile", P "ca.pem", "-verify_return_error", table.unpack(words) }, { foreign = true })
   return (process.start({ "sh", "-c", [[
      said=$1
      { until grep -q "hello from weft\|error\|errno" "$said"; do sleep 0.05; done
        printf "$2"; sleep 1; } | eval "$3" 2>&1 | tee "$said"
      rm "$said"]], "s_client", os.tmpname(), input, command },
      { foreign = true, limit = PATIENCE }):finish())
end

describe("openssl s_client", function()
   for _, version in ipairs { "1.2", "1.3" } do
      it("talks to weft in TLS " .. version, function()
         local child, port = greeter(nil, version)
         local said = s_client(port, { "-servername", "localhost" }, "one\\n")
         assert.truthy(said:find("hello from weft", 1, true), said)
         assert.truthy(said:find("echo one", 1, true), said)
         assert.equal("line one TLSv" .. version .. " nil localhost false nil",
            (child:wait_for "^(line .*)"))
         -- s_client ends by close_notify, and is told nothing of truncation
         assert.equal("closed closed false", (child:wait_for "^end (.*)"))
         child:stop "KILL"
      end)

      it("resumes a session of TLS " .. version, function()
         local child, port = greeter(nil, version)
         s_client(port, { "-sess_out", P "session" }, "one\\n")
         child:wait_for "^line one"
         local said = s_client(port, { "-sess_in", P "session" }, "two\\n")
         assert.truthy(said:find("Reused, TLSv" .. version, 1, true), said)
         assert.truthy((child:wait_for "^line two (.*)"):find(" true ", 1, true))
         child:stop "KILL"
      end)
   end

   it("may take new keys (RFC 8446 4.6.3), but not again and again with nothing to say", function()
      run(function()
         local listener = keep(assert(weft.listen("tls://127.0.0.1:0", {
            tls = { cert = P "good.pem", key = P "good.key" } })))
         local _, port = listener:getsockname()
         -- what comes of 20 times "k", each read by itself, and a line; and of 40 times
         local command = process.command({ "openssl", "s_client", "-connect",
            "127.0.0.1:" .. port }, { foreign = true })
         local child = process.start({ "sh", "-c", [[
            keys() { n=$1; while [ $n -gt 0 ]; do echo k; sleep 0.02; n=$((n - 1)); done; }
            { sleep 0.5; keys 20; echo line; sleep 0.1; keys 40; sleep 5; } | eval "$1"]],
            "s_client", command }, { foreign = true, limit = PATIENCE })
         local stream = keep(assert(listener:accept()))
         assert.equal("line", stream:receive "*l")
         local data, message, _, code = stream:receive "*l"
         assert.is_nil(data)
         assert.equal("too many key updates", message)
         assert.equal("tls", code)
         child:stop()
      end, PATIENCE)
   end)

   it("shows its certificate", function()
      local child, port = greeter "require"
      s_client(port, { "-cert", P "alice.pem", "-key", P "alice.key" }, "one\\n")
      assert.truthy((child:wait_for "^line one (.*)"):find "CN=alice$")
      child:stop "KILL"
   end)

   it("may not renegotiate", function()
      local child, port = greeter(nil, "1.2")
      local said = s_client(port, { "-tls1_2" }, "R\\n")
      assert.truthy(said:find "[Nn]o renegotiation", said)
      child:stop "KILL"
   end)

   it("is refused with a version that is too old, and others are served", function()
      local child, port = greeter()
      local said = s_client(port, { "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0" }, "x\\n")
      assert.truthy(said:find "alert protocol version", said)
      assert.truthy((child:wait_for "^end (.*)"):find " tls ")
      assert.truthy(s_client(port, {}, "one\\n"):find("echo one", 1, true))
      child:stop "KILL"
   end)
end)

describe("openssl s_server", function()
   -- Starts one with these words; its port.
   local function s_server(words)
      local child = process.start({ "openssl", "s_server", "-accept", "127.0.0.1:0",
         "-cert", P "good.pem", "-key", P "good.key", table.unpack(words) },
         { foreign = true, limit = PATIENCE })
      return child, child:wait_for "^ACCEPT .*:(%d+)$"
   end

   local function dial(port, tls)
      tls.ca = tls.ca or P "ca.pem"
      return weft.dial("tls://localhost:" .. port, { tls = tls })
   end

   for _, version in ipairs { "1.2", "1.3" } do
      it("is talked to in TLS " .. version, function()
         local child, port = s_server { "-rev", "-tls" .. version:gsub("%.", "_") }
         run(function()
            local tls = assert(weft.tls { ca = P "ca.pem" })
            for i = 1, 2 do
               local stream = keep(assert(weft.dial("tls://localhost:" .. port, { tls = tls })))
               assert(stream:send "abc\n")
               assert.equal("cba", stream:receive "*l")
               assert.equal("TLSv" .. version, stream:tls().version)
               assert.equal(i == 2, stream:tls().resumed)
               stream:close()
            end
         end)
         child:stop "KILL"
      end)
   end

   it("asks weft for its certificate", function()
      local child, port = s_server { "-rev", "-Verify", "1", "-verify_return_error",
         "-CAfile", P "ca.pem" }
      run(function()
         local stream = keep(assert(dial(port, { cert = P "alice.pem", key = P "alice.key" })))
         assert(stream:send "abc\n")
         assert.equal("cba", stream:receive "*l")
         stream:close() -- it serves one after the other
         local refused, message, code = dial(port, { max_version = "1.2" })
         assert.is_nil(refused)
         assert.equal("tls", code, message)
         -- in TLS 1.3 the client is done before the server has judged
         stream = keep(assert(dial(port, {})))
         local data, _
         data, message, _, code = stream:receive "*l"
         assert.is_nil(data)
         assert.equal("tls", code, message)
         assert.truthy(message:find "certificate required", message)
      end)
      child:stop "KILL"
   end)

   -- Passes on whole records. Of what the server says once the client has had its last word in
   -- the handshake, only the first record: the rest of that message waits for `go`.
   local function hold_back(port, go)
      local listener = keep(assert(weft.listen "127.0.0.1:0"))
      local _, own = listener:getsockname()
      local words = 0
      local function records(from)
         return function()
            local head = from:receive(5)
            if head then return head .. from:receive((string.unpack(">I2", head, 4))) end
         end
      end
      weft.spawn(function()
         local near = keep(assert(listener:accept()))
         local far = keep(assert(weft.dial("127.0.0.1:" .. port)))
         weft.spawn(function()
            for record in records(near) do
               if record:byte() == 23 then words = words + 1 end -- application_data
               far:send(record)
            end
         end)
         local late = 0
         for record in records(far) do
            if words > 1 then late = late + 1 end
            if late == 2 then go:receive() end
            near:send(record)
         end
      end)
      return own
   end

   it("may break off within a message of its own: what weft sends waits, and is whole", function()
      local child, port = s_server { "-rev", "-max_send_frag", "512", "-Verify", "1",
         "-CAfile", P "ca.pem" }
      run(function()
         keep(assert(dial(port, { cert = P "alice.pem", key = P "alice.key",
            resumption = false }))):close()
         local go = weft.channel()
         local stream = keep(assert(dial(hold_back(port, go),
            { cert = P "alice.pem", key = P "alice.key" })))
         local reading = weft.spawn(function() return stream:receive "*l" end)
         weft.sleep(0.1) -- the first half of the ticket comes
         local line = ("0123456789"):rep(1000)
         assert(stream:send(line .. "\n"))
         weft.sleep(0.05)
         local before = os.clock()
         weft.sleep(0.5)
         assert.is_true(stream:buffered() > 0, "nothing was held back")
         assert.is_true(os.clock() - before < 0.25, "it turns round and round")
         go:send(true)
         assert.equal(line:reverse(), (reading:join()))
      end, 30)
      child:stop "KILL"
   end)

   it("that is too old is told as such", function()
      local child, port = s_server { "-rev", "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0" }
      run(function()
         local stream, message, code = dial(port, {})
         assert.is_nil(stream)
         assert.equal("tls", code)
         assert.truthy(message:find("too old", 1, true), message)
      end)
      child:stop "KILL"
   end)
end)

describe("nginx", function()
   local child, weft_child, ports

   local CONF = [[
daemon off;
pid %DIR%/nginx.pid;
error_log stderr;
worker_processes 1;
events { worker_connections 64; }
http {
   access_log off;
   client_body_temp_path %DIR%/n1; proxy_temp_path %DIR%/n2; fastcgi_temp_path %DIR%/n3;
   uwsgi_temp_path %DIR%/n4; scgi_temp_path %DIR%/n5;
   map $http_upgrade $connection_upgrade { default upgrade; '' close; }
   proxy_http_version 1.1;
   proxy_set_header Upgrade $http_upgrade;
   proxy_set_header Connection $connection_upgrade;
   proxy_set_header Host $host;
   server {  # TLS ends here
      listen 127.0.0.1:%IN% ssl;
      ssl_certificate %DIR%/good.pem;
      ssl_certificate_key %DIR%/good.key;
      location / { proxy_pass http://127.0.0.1:%PLAIN%; }
      location /tls/ { # and goes on as TLS of weft's
         proxy_pass https://127.0.0.1:%SECURE%/;
         proxy_ssl_verify on;
         proxy_ssl_name localhost;
         proxy_ssl_server_name on;
         proxy_ssl_trusted_certificate %DIR%/ca.pem;
      }
   }
}
]]

   local ECHO = [[
local weft = require "weft"
local app = weft.app()
app:websocket("/", function(ws) for m, k in ws:messages() do ws:send(m, k) end end)
app:get("/hello", function() return 200, nil, "hello" end)
local _, plain = assert(app:listen "127.0.0.1:0")
local _, secure = assert(app:listen("127.0.0.1:0", { tls = { cert = arg[1], key = arg[2] } }))
print(("ports %d %d"):format(plain, secure))
io.stdout:flush()
weft.run()
]]

   local function write(name, text)
      local file <close> = assert(io.open(P(name), "w"))
      file:write(text)
      return P(name)
   end

   lazy_setup(function()
      weft_child = process.start(process.script(write("echo.lua", ECHO), P "good.pem",
         P "good.key"), { limit = PATIENCE })
      local plain, secure = weft_child:wait_for "^ports (%d+) (%d+)"
      ports = { PLAIN = plain, SECURE = secure, IN = daemon.free_port() }
      local conf = CONF:gsub("%%(%u+)%%", function(name)
         return name == "DIR" and P "" or ports[name]
      end)
      child = process.start({ "/usr/sbin/nginx", "-e", "stderr", "-c",
         write("nginx.conf", conf) }, { foreign = true, limit = PATIENCE })
   end)

   lazy_teardown(function()
      if child then child:stop "TERM" end
      if weft_child then weft_child:stop "KILL" end
   end)

   local function connect(path)
      local ws
      raw.eventually(function()
         ws = weft.connect(("wss://localhost:%d%s"):format(ports.IN, path),
            { tls = certificates.client() })
         return ws
      end, "a connection")
      return ws
   end

   for _, path in ipairs { "/", "/tls/" } do
      it("with TLS in front of weft at " .. path, function()
         run(function()
            local ws = keep(connect(path))
            for _, n in ipairs { 0, 5, 126, 70000, 1000000 } do
               assert(ws:send(("x"):rep(n)))
               assert.equal(n, #assert(ws:receive(raw.SOON)))
            end
            ws:close()
            assert.same({ 1000, "", true }, { ws:closed() })
            local stream <close> = assert(weft.dial("tls://localhost:" .. ports.IN,
               { tls = certificates.client() }))
            stream:send(("GET %shello HTTP/1.0\r\nhost: localhost\r\n\r\n"):format(path))
            assert.truthy(stream:receive("*a"):find "hello$")
         end, 30)
      end)
   end
end)

describe("chromium", function()
   it("opens a page and a websocket at weft's TLS port", function()
      local page = [[<script>
let got = 0;
const ws = new WebSocket("wss://" + location.host + "/");
const report = (text) => fetch("/report", { method: "POST", body: text });
ws.onopen = () => ws.send("x".repeat(100000));
ws.onmessage = (m) => { got = m.data.length; ws.close(1000, "done"); };
ws.onclose = (e) => report(`got ${got}, ${e.code} ${e.wasClean}`);
</script>]]
      run(function()
         local reported
         local app = server.app()
         app:websocket("/", function(ws) for m in ws:messages() do ws:send(m) end end)
         app:get("/", function() return 200, { ["content-type"] = "text/html" }, page end)
         app:post("/report", function(req)
            reported = req:body()
            return 204
         end)
         local _, port = app:listen("127.0.0.1:0", { tls = certificates.server "good" })
         local browser = process.start({ "chromium", "--headless", "--no-sandbox", "--disable-gpu",
            "--user-data-dir=" .. P "chromium", "--ignore-certificate-errors",
            ("https://localhost:%d/"):format(port) }, { foreign = true, limit = PATIENCE })
         local ok, why = pcall(raw.eventually, function() return reported end, "a report")
         browser:stop "KILL"
         assert(ok, why)
         assert.equal("got 100000, 1000 true", reported)
      end, PATIENCE)
   end)
end)
