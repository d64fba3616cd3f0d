local weft = require "weft"
local server = require "spec.helper_server"
local raw = require "spec.raw"

local run, eventually = server.run, raw.eventually

local function serve(routes, opts)
   local app = server.app(opts)
   routes(app)
   local address, port = assert(app:listen "127.0.0.1:0")
   return app, port, address
end

local function echo(app, opts)
   app:websocket("/ws", function(ws)
      for message, kind in ws:messages() do ws:send(message, kind) end
   end, opts)
end

local function url(port, path)
   return ("ws://127.0.0.1:%d%s"):format(port, path or "/ws")
end

local function connect(port, opts, path)
   return server.keep(assert(weft.connect(url(port, path), opts)))
end

local function shake(port, changes, path)
   local peer = server.dial(port)
   peer:send(server.upgrade(path or "/ws", changes))
   return peer:response(), peer
end

describe("a WebSocket route", function()
   it("echoes text and binary", function()
      run(function()
         local _, port = serve(echo)
         local ws = connect(port)
         for _, row in ipairs { { "hello" }, { "" }, { "grüß" }, { "\0\xff", "binary" },
            { ("x"):rep(100000), "binary" } } do
            assert.is_true(ws:send(row[1], row[2]))
            local message, kind = ws:receive(5)
            assert.is_true(message == row[1])
            assert.equal(row[2] or "text", kind)
         end
         ws:close()
         local code, _, clean = ws:closed()
         assert.equal(1000, code)
         assert.is_true(clean)
      end)
   end)

   it("gives the handler request, params, protocol and data", function()
      run(function()
         local seen = weft.channel(1)
         local _, port = serve(function(app)
            app:websocket("/rooms/:id", function(ws)
               local req = ws.request
               seen:send { req.method, req.path, req.query, req.params.id, req.headers["x-a"],
                  req.remote, ws.remote, ws.protocol, ws.data.user }
            end, { protocols = { "v2", "v1" },
               authorize = function(req) return { user = req.headers["x-user"] } end })
         end)
         connect(port, { protocols = { "v1", "v2" },
            headers = { ["X-A"] = 1, ["x-user"] = "ann" } }, "/rooms/a%20b?q=1")
         assert.same({ "GET", "/rooms/a%20b", "q=1", "a b", "1", "127.0.0.1", "127.0.0.1", "v2",
            "ann" }, seen:receive(5))
      end)
   end)

   it("has params where its route has none, too: a table, which is kept", function()
      run(function()
         local seen = weft.channel(1)
         local _, port = serve(function(app)
            app:websocket("/plain", function(ws)
               seen:send { ws.request.params.room or "none", ws.request.params.found }
            end, { authorize = function(req)
               req.params.found = not req.params.room
               return true
            end })
         end)
         local ws = connect(port, nil, "/plain")
         assert.same({ "none", true }, seen:receive(5))
         assert.is_nil(ws.request.params)
      end)
   end)

   it("closes with 1000 when the handler returns", function()
      run(function()
         local _, port = serve(function(app) app:websocket("/ws", function() end) end)
         local ws = connect(port)
         assert.is_nil((ws:receive(5)))
         assert.equal(1000, (ws:closed()))
      end)
   end)

   it("closes with 1011 when the handler raises; nobody else notices", function()
      local reported = server.errors(function()
         run(function()
            local _, port = serve(function(app)
               app:websocket("/ws", function(ws)
                  for message in ws:messages() do
                     if message == "boom" then error "the handler's fault" end
                     ws:send(message)
                  end
               end)
            end)
            local good, bad = connect(port), connect(port)
            bad:send "boom"
            assert.is_nil((bad:receive(5)))
            assert.equal(1011, (bad:closed()))
            good:send "still here"
            assert.equal("still here", good:receive(5))
         end)
      end)
      assert.equal(1, #reported)
      assert.truthy(reported[1]:find "app_spec.lua:%d+: the handler's fault")
      assert.truthy(reported[1]:find "stack traceback")
   end)

   it("shares its path with a handler of GET", function()
      run(function()
         local _, port = serve(function(app)
            echo(app)
            app:get("/ws", function() return 200, nil, "a page" end)
         end)
         assert.equal("a page", server.ask(port, "GET", "/ws").body)
         connect(port)
      end)
   end)

   it("can follow other requests on a connection, and a frame its request", function()
      run(function()
         local app, port = serve(function(app)
            echo(app)
            app:get("/", function() return 200, nil, "a page" end)
         end, { send_timeout = 0.05 })
         local peer = server.dial(port)
         assert.equal("a page", peer:ask("GET", "/").body)
         -- RFC 6455 5.7: a masked text frame, here with the mask 0
         peer:send(server.upgrade "/ws", "\x81\x82\0\0\0\0hi")
         assert.equal(101, peer:response().status)
         assert.equal("\x81\2hi", peer.stream:receive(4))
         weft.sleep(0.1) -- HTTP's time limits end where the WebSocket begins
         peer:send "\x81\x82\0\0\0\0ho"
         assert.equal("\x81\2ho", peer.stream:receive(4))
         assert.equal(1, app:stats().accepted)
      end)
   end)

   it("is kept by nobody once it has ended, also not by the task that shook hands", function()
      run(function()
         local kept = setmetatable({}, { __mode = "k" })
         local _, port = serve(function(app)
            app:websocket("/ws", function(ws)
               ws.data = {}
               kept[ws], kept[ws.data] = true, true
               ws:receive()
            end)
         end)
         assert(weft.connect(url(port))):close()
         assert.is_truthy(next(kept))
         eventually(function()
            collectgarbage()
            return not next(kept)
         end)
      end)
   end)

   it("leaves nothing behind, however its handler ends", function()
      local reported = server.errors(function()
         run(function()
            local app, port = serve(function(app)
               app:websocket("/ws", function(ws)
                  local message = ws:receive()
                  if message == "raise" then error "on purpose" end
               end)
            end, { max_connections_per_ip = 2 })
            for _ = 1, 5 do
               for _, message in ipairs { "raise", "return" } do
                  local ws = connect(port)
                  ws:send(message)
                  ws:receive(5)
                  ws:close()
               end
            end
            local gone = connect(port)
            gone:close()
            eventually(function() return app:stats().connections == 0 end)
            connect(port)
            connect(port)
            assert.equal(429, (shake(port)).status)
         end)
      end)
      assert.equal(5, #reported)
   end)

   local refusals = {
      { { upgrade = false }, 426, "upgrade", "websocket" },
      { { upgrade = "h2c" }, 426, "upgrade", "websocket" },
      { { connection = "keep-alive" }, 426, "upgrade", "websocket" },
      { { ["sec-websocket-version"] = "8" }, 426, "sec-websocket-version", "13" },
      { { ["sec-websocket-version"] = false }, 426, "sec-websocket-version", "13" },
      { { ["sec-websocket-key"] = "short" }, 400 },
      { { ["sec-websocket-key"] = false }, 400 },
      { { host = false }, 400 },
      { { origin = "http://elsewhere" }, 403 },
      { { origin = "null" }, 403 },
      { { ["sec-websocket-protocol"] = "a b" }, 400 },
      { { ["sec-websocket-protocol"] = "a, a" }, 400 },
   }
   for i, row in ipairs(refusals) do
      it(("refuses with %d, row %d"):format(row[2], i), function()
         run(function()
            local app, port = serve(function(app) echo(app, { protocols = { "a" } }) end)
            local peer = server.dial(port)
            peer:send(server.upgrade("/ws", row[1]), server.upgrade("/ws"))
            local answer = peer:response()
            assert.equal(row[2], answer.status)
            assert.truthy(answer.headers.connection:find "^close")
            if row[3] then assert.equal(row[4], answer.headers[row[3]]) end
            assert.equal(0, app:stats().websockets)
            peer.stream:receive "*a"
            assert.equal(0, app:stats().upgraded)
         end)
      end)
   end

   it("refuses a POST and another path", function()
      run(function()
         local _, port = serve(echo)
         local answer, upgrading = shake(port, nil, "/other")
         assert.equal(404, answer.status)
         assert.equal("close", answer.headers.connection)
         assert.is_true(upgrading:is_over())
         assert.equal(426, server.ask(port, "POST", "/ws").status)
         assert.equal(426, server.ask(port, "GET", "/ws").status)
         local peer = server.dial(port)
         peer:send((server.upgrade("/ws"):gsub("^GET", "POST")))
         assert.equal(405, peer:response().status)
      end)
   end)
end)

describe("weft.connect", function()
   it("says why it was refused, and shows the answer", function()
      run(function()
         local _, port = serve(function(app)
            echo(app, { authorize = function() return nil, 401, { ["x-why"] = "no" } end })
         end)
         local ws, message, code, answer = weft.connect(url(port))
         assert.is_nil(ws)
         assert.equal("refused", code)
         assert.truthy(message:find("weft.connect: " .. url(port)
            .. ": the server answered 401 Unauthorized", 1, true), message)
         assert.equal(401, answer.status)
         assert.equal("no", answer.headers["x-why"])
      end)
   end)

   -- A server that says `answer`, whatever it is asked; gives what it was asked.
   local function speak(answer)
      local listener = server.keep(assert(weft.listen "127.0.0.1:0"))
      local asked = weft.channel(1)
      weft.spawn(function()
         local stream <close> = assert(listener:accept())
         local lines = {}
         for line in function() return (stream:receive "*l") end do
            lines[#lines + 1] = line
            if line == "" then break end
         end
         local key = table.concat(lines, "\n"):match "[Ss]ec%-[Ww]eb[Ss]ocket%-[Kk]ey: (%S+)"
         asked:send(table.concat(lines, "\n"))
         if answer then
            stream:send((answer:gsub("KEY", key)))
            stream:receive "*a"
         end
      end)
      local _, port = listener:getsockname()
      return port, asked
   end

   it("sends a request as RFC 6455 4.1 has it", function()
      run(function()
         local port, asked = speak "HTTP/1.1 400 No\r\n\r\n"
         weft.connect(("ws://ann:p%%40ss@localhost:%d/a/b?c=d"):format(port),
            { protocols = { "x", "y" }, headers = { ["X-List"] = { "1", "2" } } })
         local text = asked:receive(5)
         local lower = text:lower()
         assert.truthy(text:find("GET /a/b?c=d HTTP/1.1\n", 1, true))
         for _, line in ipairs { "host: localhost:" .. port, "upgrade: websocket",
            "connection: upgrade", "sec-websocket-version: 13", "sec-websocket-protocol: x, y",
            "x-list: 1", "x-list: 2" } do
            assert.truthy(lower:find("\n" .. line .. "\n", 1, true), line .. " in " .. text)
         end
         assert.truthy(text:find("uthorization: Basic YW5uOnBAc3M=\n", 1, true))
         assert.truthy(lower:find "\nsec%-websocket%-key: [%w+/]+==\n")
      end)
   end)

   local bad_answers = {
      { "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         .. "Sec-WebSocket-Accept: KEY\r\n\r\n", "handshake" },
      { "HTTP/1.1 101 Switching\r\n\r\n", "handshake" },
      { "SSH-2.0-OpenSSH\r\n\r\n", "handshake" },
      { "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "refused" },
      { "HTTP/1.1 101 X\r\nx: " .. ("y"):rep(9000) .. "\r\n\r\n", "handshake" },
   }
   for i, row in ipairs(bad_answers) do
      it("takes no wrong answer, row " .. i, function()
         run(function()
            local ws, message, code = weft.connect(url((speak(row[1]))))
            assert.is_nil(ws)
            assert.equal(row[2], code, message)
         end)
      end)
   end

   it("gives up in time, on a server that says nothing", function()
      run(function()
         local listener = server.keep(assert(weft.listen "127.0.0.1:0"))
         local _, port = listener:getsockname()
         local ws, _, code = weft.connect(url(math.tointeger(port)), { timeout = 0.05 })
         assert.is_nil(ws)
         assert.equal("timeout", code)
      end)
   end)

   it("says that the server hung up", function()
      run(function()
         local ws, _, code = weft.connect(url((speak(nil))))
         assert.is_nil(ws)
         assert.equal("closed", code)
      end)
   end)

   local bad_urls = {
      { "http://x/", "resolve" }, { "ws://", "resolve" }, { "x", "resolve" },
      { "ws://x/#f", "resolve" }, { "ws://x:99999/", "resolve" }, { "wss://x.invalid/", "resolve" },
      { "ws://no-such-name.invalid/", "resolve" }, { "ws://x/a b", "resolve" },
      { "ws://x/\r\nevil: 1", "resolve" },
   }
   for _, row in ipairs(bad_urls) do
      it(("fails for %q"):format(row[1]), function()
         run(function()
            local ws, message, code = weft.connect(row[1])
            assert.is_nil(ws)
            assert.equal(row[2], code, message)
            assert.truthy(message:find("weft.connect: " .. row[1], 1, true), message)
         end)
      end)
   end

   local misuse = {
      { { 5 }, "the URL must be a string" },
      { { "ws://x/", { timeout = -1 } }, 'option "timeout"' },
      { { "ws://x/", { protocols = { "a b" } } }, 'option "protocols"' },
      { { "ws://x/", { protocols = "" } }, 'option "protocols"' },
      { { "ws://x/", { headers = { host = "y" } } }, 'header "host": weft sets it itself' },
      { { "ws://x/", { headers = { ["Sec-WebSocket-Key"] = "y" } } }, "weft sets it itself" },
      { { "ws://x/", { headers = { ["x-a"] = "1\r\nx-b: 2" } } }, "must not hold CR, LF or NUL" },
      { { "ws://x/", { headers = { ["x\na"] = "1" } } }, "not a header name" },
      { { "ws://x/", { low_mark = 5, high_mark = 4 } }, "must be in that order" },
      { { "ws://x/", { compression = "x" } }, 'must be "dedicated" or "shared", got "x"' },
      { { "ws://x/", { compression = { window = 8 } } }, 'compression: option "window" must be' },
      { { "ws://x/", { compresion = true } }, 'unknown option "compresion"' },
   }
   for i, row in ipairs(misuse) do
      it("blames the caller for misuse, row " .. i, function()
         local message = server.blame(function() weft.connect(table.unpack(row[1])) end)
         assert.truthy(message:find "^weft.connect: ", message)
         assert.truthy(message:find(row[2], 1, true), message)
      end)
   end

   it("asks for \"/\" when the URL has no path (RFC 6455 3)", function()
      run(function()
         for query, target in pairs { [""] = "/", ["?a=b"] = "/?a=b" } do
            local port, asked = speak "HTTP/1.1 404 No\r\n\r\n"
            weft.connect(("ws://127.0.0.1:%d%s"):format(port, query))
            assert.equal("GET " .. target .. " HTTP/1.1", asked:receive(5):match "^[^\n]*")
         end
      end)
   end)

   it("takes the frame that is glued to the 101", function()
      run(function()
         local _, port = serve(function(app)
            app:websocket("/ws", function(ws) ws:send "at once" ws:receive() end)
         end)
         for _ = 1, 10 do assert.equal("at once", connect(port):receive(5)) end
      end)
   end)
end)

describe("an app", function()
   it("tells the addresses it listens at, several of them", function()
      run(function()
         local app, port, address = serve(echo)
         assert.equal("127.0.0.1:" .. port, address)
         assert.equal("integer", math.type(port))
         local other, other_port = assert(app:listen ":0")
         assert.truthy(other == "[::]:" .. other_port or other == "0.0.0.0:" .. other_port)
         connect(port)
         connect(other_port)
         local busy, message, code = app:listen(address)
         assert.is_nil(busy)
         assert.equal("busy", code)
         assert.truthy(message:find("app:listen: cannot listen on " .. address, 1, true))
      end)
   end)

   it("counts", function()
      run(function()
         local app, port = serve(function(app)
            echo(app)
            app:get("/", function() return 204 end)
         end)
         local ws = connect(port)
         server.ask(port, "GET", "/")
         eventually(function() return app:stats().connections == 1 end)
         assert.same({ connections = 1, websockets = 1, accepted = 2, requests = 2, upgraded = 1,
            refused = 0, streams = 0, topics = 0, subscriptions = 0, published = 0,
            delivered = 0, dropped = 0, pending = 0, pending_bytes = 0,
            limited = 0, rate_waited = 0, rate_dropped = 0, rate_closed = 0,
            tls_handshakes = 0, tls_resumed = 0, tls_failed = 0 },
            app:stats())
         ws:close()
         eventually(function() return app:stats().connections == 0 end)
         assert.equal(0, app:stats().websockets)
      end)
   end)

   it("closes: 1001 for every WebSocket, no new peers, and weft.run returns", function()
      local codes = {}
      weft.run(function()
         local app = weft.app()
         echo(app)
         local _, port = assert(app:listen "127.0.0.1:0")
         local idle = assert(weft.dial("127.0.0.1:" .. port))
         local all = {}
         for i = 1, 3 do all[i] = assert(weft.connect(url(port))) end
         assert.is_true(app:close())
         assert.is_true(app:close())
         for i, ws in ipairs(all) do
            assert.is_nil((ws:receive(5)))
            codes[i] = ws:closed()
         end
         idle:settimeout(5)
         local data, why = idle:receive "*a"
         assert(data == "" or why == "closed", why)
         idle:close()
         local _, _, code = weft.dial("127.0.0.1:" .. port)
         assert.equal("refused", code)
         assert.equal("closed", select(3, app:listen "127.0.0.1:0"))
      end)
      assert.same({ 1001, 1001, 1001 }, codes)
   end)

   it("can listen again after a run that an error has ended", function()
      local app = weft.app {}
      app:get("/", function() return 200 end)
      local function ask()
         local _, port = assert(app:listen "127.0.0.1:0")
         local stream <close> = assert(weft.dial("127.0.0.1:" .. port))
         stream:send "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
         stream:settimeout(10)
         assert.equal("HTTP/1.1 200 OK", (stream:receive "*l"))
         stream:receive "*a"
      end
      local ok, message = pcall(weft.run, function()
         ask()
         error "the end"
      end)
      assert.is_false(ok)
      assert.truthy(message:find "the end$")
      weft.run(function()
         ask()
         app:close()
      end)
   end)

   it("holds to max_connections, naming it", function()
      run(function()
         local app, port = serve(echo, { max_connections = 2 })
         local a = connect(port)
         connect(port)
         for _ = 1, 3 do
            local answer, peer = shake(port)
            assert.equal(503, answer.status)
            assert.truthy(answer.body:find("max_connections", 1, true))
            assert.equal("close", answer.headers.connection)
            peer:close()
         end
         a:close()
         eventually(function() return app:stats().connections < 2 end)
         connect(port)
         assert.equal(3, app:stats().refused)
      end)
   end)

   it("holds to max_connections_per_ip, naming it", function()
      run(function()
         local app, port = serve(echo, { max_connections_per_ip = 1 })
         local a = connect(port)
         local answer = shake(port)
         assert.equal(429, answer.status)
         assert.truthy(answer.body:find("max_connections_per_ip", 1, true))
         a:close()
         eventually(function() return app:stats().connections == 0 end)
         connect(port)
      end)
   end)

   it("hands its limits to its routes, which may differ", function()
      run(function()
         local _, port = serve(function(app)
            echo(app)
            app:websocket("/big", function(ws) ws:send((ws:receive())) ws:receive() end,
               { max_message = 20 })
         end, { max_message = 10 })
         local small, big = connect(port), connect(port, nil, "/big")
         small:send(("x"):rep(15))
         assert.is_nil((small:receive(5)))
         assert.equal(1009, (small:closed()))
         big:send(("x"):rep(15))
         assert.equal(15, #big:receive(5))
      end)
   end)

   local misuse = {
      { function() weft.app { max_mesage = 1 } end, 'weft.app: unknown option "max_mesage"' },
      { function() weft.app { max_message = 0 } end, 'weft.app: option "max_message" must be' },
      { function() weft.app { low_mark = 1 << 20 } end, "must be in that order" },
      { function() weft.app { origins = "x" } end, '"origins" must be a list of strings' },
      { function() weft.app { protocols = { "a,b" } } end, '"protocols" must hold subprotocol' },
      { function() weft.app "x" end, "the options must be a table" },
      { function() weft.app():websocket("/", 5) end, "the handler must be a function, got 5" },
      { function() weft.app():websocket("/", print, { tls = 1 }) end, 'unknown option "tls"' },
      { function() weft.app():websocket("x", print) end, 'route "x": must be a string that' },
      { function() weft.app():get("/:", print) end, 'route "/:": ":" needs a name' },
      { function() weft.app():get("/", print):get("/", print) end, "GET has a handler there" },
      { function() weft.app():post("/", "x") end, "app:post: the handler must be a function" },
      { function() weft.app():put("/", print, { max_body = -1 }) end, "app:put: option" },
      { function() weft.app():listen(8080) end, "app:listen: the address must be a string" },
      { function() weft.app():listen(":0", { tls = {} }) end, "needs a certificate (cert)" },
      { function() weft.app():listen "tls://:0" end, "app:listen: tls:// needs the option tls" },
   }
   for i, row in ipairs(misuse) do
      it("blames the caller for misuse, row " .. i, function()
         local message = server.blame(row[1])
         assert.truthy(message:find(row[2], 1, true), message)
      end)
   end
end)

describe("the module", function()
   it("knows its codes, and no others", function()
      assert.equal("timeout", weft.code.timeout)
      assert.equal('weft.code has no "timout"',
         server.blame(function() return weft.code.timout end))
      assert.error_matches(function() weft.code.x = 1 end, "cannot be changed")
   end)

   it("lets on_error be set, and nothing else", function()
      assert.is_nil(weft.on_error)
      local function f() end
      weft.on_error = f
      assert.equal(f, weft.on_error)
      weft.on_error = nil
      assert.is_nil(weft.on_error)
      assert.error_matches(function() weft.on_error = 5 end, "on_error must be a function, got 5")
      assert.equal("weft.onerror cannot be set; weft.on_error can",
         server.blame(function() weft.onerror = f end))
   end)

   it("refuses unknown signals, and names those it knows", function()
      assert.truthy(server.blame(function() weft.signal "KILLL" end)
         :find "^weft.signal: KILLL is not one of .*TERM")
   end)

   it("ends waiting with a deadline, and gives back what f returns", function()
      run(function()
         local start = weft.now()
         local a, b = weft.deadline(0.02, function(x)
            local ok, _, code = weft.sleep(60)
            assert.is_nil(ok)
            assert.equal("timeout", code)
            return x, "b"
         end, "a")
         assert.same({ "a", "b" }, { a, b })
         assert.is_true(weft.now() - start < 5)
         assert.is_true(weft.sleep(0.001)) -- the deadline is gone
      end)
      assert.equal('weft.deadline: the time must be a number, got the string "x"',
         server.blame(function() weft.deadline("x", print) end))
   end)
end)
