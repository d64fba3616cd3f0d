-- The opening handshake (RFC 6455 4), black-box, in both roles: what a server lets in
-- and how it refuses, and what a client believes. Bytes by hand, cut anywhere.

local weft = require "weft"
local server = require "spec.helper_server"
local raw = require "spec.raw"

local run, eventually = raw.run, raw.eventually
local SOON, rounds = raw.SOON, raw.rounds

local CRLF = "\r\n"
local FIELDS = { "Host: test", "Upgrade: websocket", "Connection: Upgrade",
   "Sec-WebSocket-Key: " .. raw.KEY, "Sec-WebSocket-Version: 13" }

-- A request line and the fields of a lawful request: `without` drops those whose names
-- end in one of its words, the others are added behind.
local function request(line, without, ...)
   local lines = { line or "GET /ws HTTP/1.1" }
   for _, field in ipairs(FIELDS) do
      local name, dropped = field:match("^[^:]+"):lower(), false
      for word in (without or ""):gmatch "%a+" do dropped = dropped or name:find(word .. "$") end
      if not dropped then lines[#lines + 1] = field end
   end
   for _, field in ipairs { ... } do lines[#lines + 1] = field end
   return table.concat(lines, CRLF) .. CRLF .. CRLF
end

-- Speaks these bytes to an echo server and reads one head.
local function ask(bytes, opts)
   local port, app = raw.app(raw.echo, opts)
   local c = raw.dial(port)
   c:send(bytes)
   return c:read_head(), c, app
end

local function check_echo(c)
   c:text "still a WebSocket"
   assert.equal("still a WebSocket", c:take "text")
end

describe("a server", function()
   it("answers as RFC 6455 1.2 has it, and says nothing else", function()
      run(function()
         local head, c = ask(request())
         local fields = {}
         for line in head:gmatch "[^\n]+" do fields[#fields + 1] = line:lower() end
         assert.equal("http/1.1 101 switching protocols", table.remove(fields, 1))
         table.sort(fields)
         assert.same({ "connection: upgrade",
            "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=", "upgrade: websocket" }, fields)
         assert.truthy(head:find("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 1, true))
         check_echo(c)
      end)
   end)

   local accepted = {
      ["tokens in any case"] = request(nil, "upgrade connection", "UPGRADE: WebSocket",
         "connection: uPGRADE"),
      ["tokens in lists"] = request(nil, "upgrade connection", "Upgrade: h2c, websocket",
         "Connection: keep-alive, Upgrade"),
      ["lists over several fields"] = request(nil, "upgrade connection", "Connection: keep-alive",
         "Connection: x,, upgrade", "Upgrade: foo/1", "Upgrade: websocket"),
      ["white space around values"] = request(nil, "host key version", "Host:test",
         "Sec-WebSocket-Key: \t" .. raw.KEY .. " \t", "Sec-WebSocket-Version:13"),
      ["names in any case"] = request():lower():gsub(raw.KEY:lower(), raw.KEY)
         :gsub("^get /ws http", "GET /ws HTTP"),
      ["an absolute target"] = request "GET http://test/ws HTTP/1.1",
      ["a query"] = request "GET /ws?a=b&c HTTP/1.1",
      ["an escaped path"] = request "GET /%77s HTTP/1.1",
      ["extensions, which it does not take"] = request(nil, nil,
         "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-unknown"),
      ["subprotocols, which it has none of"] = request(nil, nil, "Sec-WebSocket-Protocol: a, b"),
      ["fields it does not know"] = request(nil, nil, "X-A: 1", "X-A: 2", "Cookie: a=b"),
      ["an empty body"] = request(nil, nil, "Content-Length: 0"),
      ["an empty line before the request"] = CRLF .. request(),
   }
   for what, bytes in pairs(accepted) do
      it("lets in " .. what, function()
         run(function()
            local head, c = ask(bytes)
            assert.truthy(head:find "^HTTP/1.1 101 ", head)
            assert.is_nil(head:lower():find "\nsec%-websocket%-extensions")
            assert.is_nil(head:lower():find "\nsec%-websocket%-protocol")
            check_echo(c)
         end)
      end)
   end

   it("chooses a subprotocol that was offered", function()
      run(function()
         local head = ask(request(nil, nil, "Sec-WebSocket-Protocol: a",
            "Sec-WebSocket-Protocol: b, c"), { protocols = { "c", "b" } })
         assert.truthy(head:lower():find("\nsec-websocket-protocol: c\n", 1, true), head)
      end)
   end)

   it("tells the handler the subprotocol it chose, among others that look like it", function()
      run(function()
         local told = weft.channel(1)
         local port = raw.app(function(ws)
            told:send(ws.protocol)
            ws:receive()
            told:send(ws.protocol)
         end, { protocols = { "chat" } })
         local c = raw.dial(port)
         c:send(request(nil, nil, "Sec-WebSocket-Protocol: Chat,chat.v2",
            "Sec-WebSocket-Protocol: superchat ,\t,chatty,\tchat"))
         assert.truthy(c:read_head():lower():find("\nsec-websocket-protocol: chat\n", 1, true))
         assert.equal("chat", told:receive(SOON))
         c:close()
         assert.equal("chat", told:receive(SOON))
      end)
   end)

   it("takes it behind other requests on the same connection", function()
      run(function()
         local app = server.app()
         app:websocket("/ws", raw.echo)
         app:get("/", function() return 200, nil, "page" end)
         local _, port = assert(app:listen "127.0.0.1:0")
         local page = "GET / HTTP/1.1\r\nHost: test\r\n\r\n"
         local c = raw.dial(port)
         c:send(page, page, request(), c:pack { payload = "pipelined" })
         for _ = 1, 2 do
            assert.truthy(c:read_head():find "^HTTP/1.1 200 ")
            assert.equal("page", c.stream:receive(4))
         end
         assert.truthy(c:read_head():find "^HTTP/1.1 101 ")
         assert.equal("pipelined", c:take "text")
      end)
   end)

   it("takes a request byte by byte, and frames that come the same way", function()
      run(function()
         local port = raw.app(raw.echo)
         local c = raw.dial(port)
         c:drip(request())
         assert.truthy(c:read_head():find "^HTTP/1.1 101 ")
         c:drip(c:pack { op = "text", payload = "slow" })
         assert.equal("slow", c:take "text")
      end)
   end)

   it("takes a request cut anywhere, frames glued to it", function()
      run(function()
         local port, app = raw.app(raw.echo)
         local bytes = request() .. raw.frame { payload = "glued", mask = true }
            .. raw.frame { op = "ping", payload = "p", mask = true }
         for cut = 1, #bytes - 1, raw.hostile and 23 or 1 do
            local c = raw.dial(port)
            c:send_cut(bytes, cut)
            assert.truthy(c:read_head():find "^HTTP/1.1 101 ")
            -- the echo is the handler's, the pong is not: either may come first
            local one, two = assert(c:read()), assert(c:read())
            if one.op == "pong" then one, two = two, one end
            assert.equal("glued", one.payload)
            assert.equal("pong", two.op)
            c:close()
         end
         eventually(function() return app:stats().websockets == 0 end)
      end, 30)
   end)

   it("loses none of many messages glued to the request", function()
      run(function()
         local port = raw.app(raw.echo)
         local c = raw.dial(port)
         local bytes, n = { request() }, rounds(500, 40)
         for i = 1, n do bytes[i + 1] = c:pack { payload = "message " .. i } end
         c:send(table.concat(bytes))
         c:read_head()
         for i = 1, n do assert.equal("message " .. i, c:take "text") end
      end)
   end)
end)

describe("a server refuses", function()
   local key, version = "Sec-WebSocket-Key: ", "Sec-WebSocket-Version: "
   local rows = {
      -- RFC 6455 4.2.1 1: GET, HTTP/1.1
      { "POST", request "POST /ws HTTP/1.1", 405, { allow = "GET" } },
      { "HEAD", request "HEAD /ws HTTP/1.1", 405, { allow = "GET" } },
      { "get", request "get /ws HTTP/1.1", 405, { allow = "GET" } },
      { "HTTP/1.0", request "GET /ws HTTP/1.0", 505 },
      { "HTTP/2.0", request "GET /ws HTTP/2.0", 505 },
      { "HTTP/9.9", request "GET /ws HTTP/9.9", 505 },
      { "no version", request "GET /ws", 400 },
      { "two spaces", request "GET  /ws HTTP/1.1", 400 },
      { "a target without a slash", request "GET ws HTTP/1.1", 400 },
      { "an unknown path", request "GET /other HTTP/1.1", 404 },
      { "a malformed escape", request "GET /%zz HTTP/1.1", 400 },
      -- 2: Host, once
      { "no Host", request(nil, "host"), 400 },
      { "two Hosts", request(nil, nil, "Host: test"), 400 },
      { "an empty Host", request(nil, "host", "Host:"), 400 },
      { "a Host with a space", request(nil, "host", "Host: a b"), 400 },
      { "a Host that is a path", request(nil, "host", "Host: a/b"), 400 },
      -- 3, 4: Upgrade and Connection
      { "no Upgrade", request(nil, "upgrade"), 426, { upgrade = "websocket" } },
      { "another Upgrade", request(nil, "upgrade", "Upgrade: h2c", "Connection: upgrade"), 426,
         { upgrade = "websocket" } },
      { "an Upgrade that begins alike", request(nil, "upgrade", "Upgrade: websockets",
         "Connection: upgrade"), 426, { upgrade = "websocket" } },
      { "no Connection", request(nil, "connection"), 426, { upgrade = "websocket" } },
      { "another Connection", request(nil, "connection", "Connection: keep-alive, close"), 426,
         { upgrade = "websocket" } },
      -- 5: the key, once, 16 bytes
      { "no key", request(nil, "key"), 400 },
      { "two keys", request(nil, nil, key .. "AAAAAAAAAAAAAAAAAAAAAA=="), 400 },
      { "the same key twice", request(nil, nil, key .. raw.KEY), 400 },
      { "an empty key", request(nil, "key", key), 400 },
      { "a key of 15 bytes", request(nil, "key", key .. "AAAAAAAAAAAAAAAAAAAA"), 400 },
      { "a key of 17 bytes", request(nil, "key", key .. "AAAAAAAAAAAAAAAAAAAAAAA="), 400 },
      { "a key without its padding", request(nil, "key", key .. "AAAAAAAAAAAAAAAAAAAAAA"), 400 },
      { "a key that is not base64", request(nil, "key", key .. "AAAAAAAAAAA_AAAAAAAAAA=="), 400 },
      { "a key with bits beyond 16 bytes", request(nil, "key", key .. "AAAAAAAAAAAAAAAAAAAAAB=="),
         400 },
      -- 6: version 13, else 426 says so (RFC 6455 4.4)
      { "no version field", request(nil, "version"), 426, { ["sec-websocket-version"] = "13" } },
      { "version 8", request(nil, "version", version .. "8"), 426,
         { ["sec-websocket-version"] = "13" } },
      { "version 14", request(nil, "version", version .. "14"), 426,
         { ["sec-websocket-version"] = "13" } },
      { "version 013", request(nil, "version", version .. "013"), 426,
         { ["sec-websocket-version"] = "13" } },
      { "an empty version", request(nil, "version", version), 426,
         { ["sec-websocket-version"] = "13" } },
      { "a list of versions", request(nil, "version", version .. "13, 8"), 426,
         { ["sec-websocket-version"] = "13" } },
      { "two versions", request(nil, nil, version .. "13"), 400 },
      -- bodies, whose bytes would be taken for frames
      { "a body", request(nil, nil, "Content-Length: 5"), 400 },
      { "a chunked body", request(nil, nil, "Transfer-Encoding: chunked"), 400 },
      -- limits (design 4)
      { "a line over max_line", request("GET /ws?" .. ("x"):rep(4096) .. " HTTP/1.1"), 414 },
      { "a head over max_head", request(nil, nil, "X: " .. ("y"):rep(8192)), 431 },
      { "too many fields", request(nil, nil, table.unpack((function()
         local list = {}
         for i = 1, 60 do list[i] = "X-" .. i .. ": 1" end
         return list
      end)())), 400 },
      -- what is no head at all
      { "a space before a colon", request(nil, nil, "X : 1"), 400 },
      { "a field without a colon", request(nil, nil, "nonsense"), 400 },
      { "a field without a name", request(nil, nil, ": 1"), 400 },
      { "a folded field", request(nil, nil, "X: 1", " 2"), 400 },
      { "a NUL", request(nil, nil, "X: a\0b"), 400 },
      { "a bare CR", request(nil, nil, "X: a\rb"), 400 },
      { "TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" .. ("\xaa"):rep(100), 400 },
      { "frames without a handshake", raw.frame { payload = ("x"):rep(50), mask = true }, 400 },
      { "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505 },
      -- design 4: Origin
      { "a page of another host", request(nil, nil, "Origin: http://elsewhere"), 403 },
   }

   -- Whatever stands behind the refused request is neither answered nor acted upon.
   local behind = request() .. raw.frame { payload = "never parsed", mask = true }
      .. "GET / HTTP/1.1\r\nHost: test\r\n\r\n"

   for _, row in ipairs(rows) do
      it(("%s by %d"):format(row[1], row[3]), function()
         run(function()
            local called = false
            local app = server.app()
            app:websocket("/ws", function() called = true end)
            app:get("/", function() called = true return 204 end)
            local _, port = assert(app:listen "127.0.0.1:0")
            local peer = server.dial(port)
            peer:send(row[2], behind)
            local answer = peer:response(row[1])
            assert.equal(row[3], answer.status)
            for name, value in pairs(row[4] or {}) do
               assert.equal(value, answer.headers[name])
            end
            assert.truthy((answer.headers.connection or ""):find "^close", "Connection: close")
            assert.truthy(peer:is_over())
            assert.is_false(called)
            local stats = app:stats()
            assert.equal(0, stats.upgraded)
            assert.equal(1, stats.accepted)
         end)
      end)
   end

   it("the same when it comes byte by byte", function()
      run(function()
         local app = server.app()
         app:websocket("/ws", raw.echo)
         local _, port = assert(app:listen "127.0.0.1:0")
         for _, row in ipairs(rows) do
            if #row[2] < 500 and row[1] ~= "HEAD" then
               local c = raw.dial(port)
               c:drip(row[2])
               local line = c.stream:receive "*l"
               assert.equal(row[3], tonumber(line and line:match "^HTTP/1.1 (%d+) "), row[1])
               c:close()
            end
         end
         assert.equal(0, app:stats().upgraded)
      end, 30)
   end)

   it("without a reset overtaking the answer, however much was sent behind it", function()
      run(function()
         local port = raw.app(raw.echo)
         local c = raw.dial(port)
         c:send(request(nil, "key"), ("x"):rep(100000))
         local head = assert(c:read_head())
         assert.truthy(head:find "^HTTP/1.1 400 ")
         local body, message, partial = c.stream:receive "*a"
         assert.truthy((body or partial):find "Sec%-WebSocket%-Key", message)
      end)
   end)
end)

describe("a server's handshake_timeout", function()
   it("ends a client that says nothing, and one that never ends its request", function()
      run(function()
         local app = server.app { handshake_timeout = 0.1 }
         app:websocket("/ws", raw.echo)
         local _, port = assert(app:listen "127.0.0.1:0")
         local silent, half = raw.dial(port), raw.dial(port)
         half:send(request():sub(1, -3))
         assert.is_true((silent:is_over()))
         half.stream:receive "*a" -- it may be told why, or not
         assert.is_true((half:is_over()))
      end)
   end)

   it("is for all of the request, not for each byte", function()
      run(function()
         local app = server.app { handshake_timeout = 0.2 }
         app:websocket("/ws", raw.echo)
         local _, port = assert(app:listen "127.0.0.1:0")
         local c = raw.dial(port)
         local began = weft.now()
         c.stream:settimeout(0)
         repeat -- a byte every 10 ms would take for ever
            local sent = c.stream:send "x"
            weft.sleep(0.01)
         until not sent or weft.now() - began > raw.time(8)
         assert.is_true(weft.now() - began < raw.time(5), "it went on for 5 s")
         eventually(function() return app:stats().connections == 0 end)
      end)
   end)
end)

-- -- the client ---------------------------------------------------------------------------

describe("a client", function()
   local function connect_to(script, opts)
      local _, url = raw.serve(script)
      return weft.connect(url, opts)
   end

   local good = {
      ["names and tokens in any case"] = function(key)
         return "HTTP/1.1 101 x\r\nUPGRADE: WebSocket\r\ncONNECTION: uPgRaDe\r\n"
            .. "sec-WEBSOCKET-accept: " .. raw.accept(key) .. "\r\n\r\n"
      end,
      ["a list in Connection"] = function(key)
         return raw.answer(key, { connection = "keep-alive, Upgrade" })
      end,
      ["no reason"] = function(key)
         return (raw.answer(key):gsub("^[^\r]*", "HTTP/1.1 101 "))
      end,
      ["fields it does not know"] = function(key)
         return raw.answer(key, nil, "Server: x\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n")
      end,
      ["white space around values"] = function(key)
         return raw.answer(key, { ["sec-websocket-accept"] = "\t " .. raw.accept(key) .. "  " })
      end,
   }
   for what, answer in pairs(good) do
      it("takes an answer with " .. what, function()
         run(function()
            local ws, message = connect_to(function(c, key)
               c:send(answer(key))
               c:text "welcome"
            end)
            assert.truthy(ws, message)
            server.keep(ws)
            assert.equal("welcome", ws:receive(SOON))
            assert.equal(101, ws.request.status)
            assert.is_nil(ws.protocol)
         end)
      end)
   end

   it("tells the subprotocol that the server chose", function()
      run(function()
         local ws = assert(connect_to(function(c, key)
            c:send(raw.answer(key, { ["sec-websocket-protocol"] = "v1" }))
         end, { protocols = { "v2", "v1" } }))
         assert.equal("v1", server.keep(ws).protocol)
      end)
   end)

   local accept = "sec-websocket-accept"
   local rows = {
      -- RFC 6455 4.1: what the client must validate, 1 to 6
      { "another status", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "refused", "200" },
      { "a redirect", "HTTP/1.1 301 x\r\nLocation: ws://x/\r\nContent-Length: 0\r\n\r\n",
         "refused", "301" },
      { "a challenge", "HTTP/1.1 401 x\r\nContent-Length: 0\r\n\r\n", "refused", "401" },
      { "a failure", "HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n", "refused", "500" },
      { "102", "HTTP/1.1 102 x\r\n\r\n", "refused", "102" },
      { "no Upgrade", { upgrade = false }, "handshake", "Upgrade" },
      { "an empty Upgrade", { upgrade = "" }, "handshake", "pgrade" },
      { "another Upgrade", { upgrade = "h2c" }, "handshake", "websocket" },
      { "a list in Upgrade", { upgrade = "websocket, h2c" }, "handshake", "websocket" },
      { "two Upgrades", {}, "handshake", "Upgrade", "Upgrade: websocket\r\n" },
      { "no Connection", { connection = false }, "handshake", "Connection" },
      { "another Connection", { connection = "close" }, "handshake", "Connection" },
      { "no Accept", { [accept] = false }, "handshake", "Sec-WebSocket-Accept" },
      { "an empty Accept", { [accept] = "" }, "handshake", "Sec-WebSocket-Accept" },
      { "the Accept of another key", { [accept] = raw.accept(raw.KEY) }, "handshake",
         "Sec-WebSocket-Accept" },
      { "the key itself", { [accept] = "KEY" }, "handshake", "Sec-WebSocket-Accept" },
      { "the Accept in another case", { [accept] = "LOWER" }, "handshake",
         "Sec-WebSocket-Accept" },
      { "two Accepts", {}, "handshake", "Sec-WebSocket-Accept",
         "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" },
      { "an extension that was not offered", {}, "handshake", "xtension",
         "Sec-WebSocket-Extensions: permessage-deflate\r\n" },
      { "a subprotocol where none was offered", {}, "handshake", "subprotocol",
         "Sec-WebSocket-Protocol: chat\r\n" },
      { "a subprotocol that was not offered", {}, "handshake", "subprotocol",
         "Sec-WebSocket-Protocol: chat\r\n", { protocols = { "a", "chatty" } } },
      { "a subprotocol in another case", {}, "handshake", "subprotocol",
         "Sec-WebSocket-Protocol: Chat\r\n", { protocols = "chat" } },
      { "two subprotocols", {}, "handshake", "subprotocol",
         "Sec-WebSocket-Protocol: a, b\r\n", { protocols = { "a", "b" } } },
      { "two fields of subprotocols", {}, "handshake", "Protocol",
         "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n",
         { protocols = { "a", "b" } } },
      { "HTTP/1.0", "HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
         "handshake", "" },
      { "another protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "handshake", "" },
      { "an echo of the request", "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", "handshake", "" },
      { "a malformed status", "HTTP/1.1 1x1 y\r\n\r\n", "handshake", "" },
      { "a field without a colon", {}, "handshake", "", "nonsense\r\n" },
      { "a NUL in a field", {}, "handshake", "", "X: a\0b\r\n" },
      { "a head that never ends", "HTTP/1.1 101 x\r\n" .. ("X: y\r\n"):rep(5000), "handshake", "" },
      { "a line that never ends", "HTTP/1.1 101 " .. ("x"):rep(20000), "handshake", "" },
      { "frames without an answer", raw.frame { payload = ("x"):rep(100) }, "handshake", "" },
   }
   for _, row in ipairs(rows) do
      it("takes no " .. row[1], function()
         run(function()
            local rest = weft.channel(1)
            local ws, message, code, answer = connect_to(function(c, key)
               local bytes = row[2]
               if type(bytes) == "table" then
                  local changes = {}
                  for name, value in pairs(bytes) do
                     changes[name] = value == "KEY" and key
                        or value == "LOWER" and raw.accept(key):lower() or value
                  end
                  bytes = raw.answer(key, changes, row[5])
               end
               c:send(bytes)
               local all, _, partial = c.stream:receive "*a"
               rest:send(all or partial)
            end, row[6])
            assert.is_nil(ws)
            assert.equal(row[3], code, message)
            assert.truthy(message:find(row[4], 1, true), message)
            assert.truthy(message:find("ws://127.0.0.1:", 1, true), message)
            if row[3] == "refused" then assert.equal(tonumber(row[4]), answer.status) end
            -- RFC 6455 4.1: the client fails the connection, and says nothing more on it
            assert.equal("", rest:receive(SOON))
         end)
      end)
   end

   it("loses no frame that is glued to the answer, wherever they are cut", function()
      run(function()
         local cut, size, done = 1, 2, weft.channel()
         local _, url = raw.serve(function(c, key)
            local bytes = raw.answer(key) .. raw.frame { payload = "glued" }
               .. raw.frame { op = "binary", payload = "\0", fin = false }
               .. raw.frame { op = "ping", payload = "?" }
               .. raw.frame { op = "more", payload = "\1" }
            size = #bytes
            c:send_cut(bytes, cut)
            local pong = c:take "pong"
            c:bye(4000, "cut")
            local code = c:take_close()
            c:close()
            done:send { pong, code }
         end)
         while cut < size do
            local ws = assert(weft.connect(url))
            assert.equal("glued", ws:receive(SOON))
            assert.same({ "\0\1", "binary" }, { ws:receive(SOON) })
            assert.is_nil((ws:receive(SOON)))
            assert.same({ 4000, "cut", true }, { ws:closed() })
            assert.same({ "?", 4000 }, done:receive(SOON))
            cut = cut + (raw.hostile and 13 or 1)
         end
      end, 30)
   end)

   it("gets what a server says that hangs up at once", function()
      run(function()
         local close = raw.frame { op = "close", payload = raw.close_body(4001) }
         for _, goodbye in ipairs { close, "" } do
            local ws = assert(connect_to(function(c, key)
               c:send(raw.answer(key), raw.frame { payload = "hello" },
                  raw.frame { payload = ("x"):rep(300000) }, goodbye)
               c:close()
            end))
            assert.equal("hello", ws:receive(SOON))
            assert.equal(300000, #ws:receive(SOON))
            assert.is_nil((ws:receive(SOON)))
            assert.equal(goodbye == "" and 1006 or 4001, (ws:closed()))
         end
      end)
   end)

   it("takes an answer byte by byte", function()
      run(function()
         local ws = assert(connect_to(function(c, key)
            c:drip(raw.answer(key) .. raw.frame { payload = "drop by drop" })
         end))
         assert.equal("drop by drop", server.keep(ws):receive(SOON))
      end)
   end)

   it("says so when the server hangs up, however far it got", function()
      run(function()
         local cut
         local _, url = raw.serve(function(c, key)
            c:send(raw.answer(key):sub(1, cut))
            c:close()
         end)
         for at = 0, 120, 7 do
            cut = at
            local ws, message, code = weft.connect(url)
            assert.is_nil(ws)
            assert.truthy(code == "closed" or code == "handshake", message)
         end
      end)
   end)

   it("gives up in time on a server that is silent, or that only drips", function()
      run(function()
         local stop = false
         for _, script in ipairs {
            function(c) c.stream:receive "*a" end,
            function(c, key)
               c:send(raw.answer(key):sub(1, 40))
               c.stream:receive "*a"
            end,
            function(c)
               c:send "HTTP/1.1 101 "
               while not stop and c.stream:send "x" do weft.sleep(0.01) end
            end,
         } do
            local began = weft.now()
            local ws, message, code = connect_to(script, { timeout = 0.2 })
            assert.is_nil(ws)
            assert.equal("timeout", code, message)
            assert.is_true(weft.now() - began < raw.time(5))
         end
         stop = true
      end)
   end)

   it("is refused by nobody listening, with a code that says so", function()
      run(function()
         local listener = assert(weft.listen "127.0.0.1:0")
         local _, port = listener:getsockname()
         listener:close()
         local ws, message, code = weft.connect(raw.url(math.tointeger(port)))
         assert.is_nil(ws)
         assert.equal("refused", code, message)
      end)
   end)

   it("makes a fresh key each time", function()
      run(function()
         local seen, n = {}, 0
         local _, url = raw.serve(function(c, key)
            assert(#key == 24 and key:find "^[%w+/]+==$", key)
            n = n + (seen[key] and 0 or 1)
            seen[key] = true
            c:send "HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n"
         end)
         for _ = 1, rounds(50, 10) do weft.connect(url) end
         assert.equal(rounds(50, 10), n)
      end)
   end)
end)
