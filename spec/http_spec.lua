local weft = require "weft"
local server = require "spec.helper_server"
local raw = require "spec.raw"

local run, serve = server.run, server.serve


local function hello(app)
   app:get("/", function() return 200, nil, "hello\n" end)
end

describe("responses", function()
   it("carry status, length, type and date", function()
      run(function()
         local peer = serve(hello)
         local answer = peer:ask("GET", "/")
         assert.equal(200, answer.status)
         assert.equal("OK", answer.reason)
         assert.equal("hello\n", answer.body)
         assert.equal("6", answer.headers["content-length"])
         assert.equal("text/plain; charset=utf-8", answer.headers["content-type"])
         assert.truthy(answer.headers.date:find "^%a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d GMT$")
         assert.is_nil(answer.headers.server)
         assert.is_nil(answer.headers.connection)
      end)
   end)

   it("carry the handler's headers, repeated ones too", function()
      run(function()
         local peer = serve(function(app)
            app:get("/", function()
               return 201, { ["Set-Cookie"] = { "a=1", "b=2" }, ["X-Number"] = 7,
                  ["content-type"] = "text/html" }, "<p>"
            end)
         end)
         local answer = peer:ask("GET", "/")
         assert.equal(201, answer.status)
         assert.equal("a=1, b=2", answer.headers["set-cookie"])
         assert.equal("7", answer.headers["x-number"])
         assert.equal("text/html", answer.headers["content-type"])
      end)
   end)

   it("come in chunks from an iterator", function()
      run(function()
         local peer = serve(function(app)
            app:get("/", function()
               local n = 0
               return 200, nil, function()
                  n = n + 1
                  if n == 2 then return "" end -- must not end the body
                  return n <= 4 and ("piece %d;"):format(n) or nil
               end
            end)
         end)
         local answer = peer:ask("GET", "/")
         assert.equal("piece 1;piece 3;piece 4;", answer.body)
         assert.equal("chunked", answer.headers["transfer-encoding"])
         assert.is_nil(answer.headers["content-length"])
         assert.equal(200, peer:ask("GET", "/").status)
      end)
   end)

   it("of an iterator end with the connection in HTTP/1.0", function()
      run(function()
         local peer = serve(function(app)
            app:get("/", function() return 200, nil, ("abc"):gmatch "." end)
         end)
         peer:send "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
         local answer = peer:response()
         assert.equal("close", answer.headers.connection)
         assert.is_nil(answer.headers["transfer-encoding"])
         assert.equal("abc", answer.body)
      end)
   end)

   it("may announce the length of an iterator's body", function()
      run(function()
         local peer = serve(function(app)
            app:get("/", function()
               return 200, { ["content-length"] = 3 }, ("abc"):gmatch "."
            end)
         end)
         local answer = peer:ask("GET", "/")
         assert.equal("3", answer.headers["content-length"])
         assert.equal("abc", answer.body)
      end)
   end)

   it("to HEAD have the headers of GET and no body", function()
      run(function()
         local called = 0
         local peer = serve(function(app)
            hello(app)
            app:get("/stream", function()
               return 200, nil, function() called = called + 1 end
            end)
         end)
         peer:send "HEAD / HTTP/1.1\r\nhost: x\r\n\r\n"
         local answer = peer:response "HEAD"
         assert.equal("6", answer.headers["content-length"])
         peer:send "HEAD /stream HTTP/1.1\r\nhost: x\r\n\r\n"
         peer:response "HEAD"
         assert.equal(0, called)
         assert.equal("hello\n", peer:ask("GET", "/").body) -- nothing stands in between
      end)
   end)

   it("to HEAD, and of 304, may tell of a body that the handler does not make", function()
      run(function()
         local peer = serve(function(app)
            app:get("/", function(req)
               return 200, { ["content-length"] = 6 }, req.method ~= "HEAD" and "hello\n" or nil
            end)
            app:get("/304", function() return 304, { ["content-length"] = 6 } end)
         end)
         peer:send "HEAD / HTTP/1.1\r\nhost: x\r\n\r\n"
         local answer = peer:response "HEAD"
         assert.same({ 200, "6" }, { answer.status, answer.headers["content-length"] })
         peer:send "GET /304 HTTP/1.1\r\nhost: x\r\n\r\n"
         assert.equal(304, peer:response "HEAD".status)
         assert.equal("hello\n", peer:ask("GET", "/").body) -- nothing stands in between
      end)
   end)

   it("of 204 and 304 have neither body nor length", function()
      run(function()
         local peer = serve(function(app)
            app:get("/:status", function(req)
               return math.tointeger(tonumber(req.params.status)), nil, "x"
            end)
         end)
         for _, status in ipairs { 204, 304 } do
            local answer = peer:ask("GET", "/" .. status)
            assert.equal(status, answer.status)
            assert.is_nil(answer.headers["content-length"])
            assert.equal("", answer.body)
         end
         assert.equal(200, peer:ask("GET", "/200").status)
      end)
   end)

   it("arrive whole at a slow reader", function()
      run(function()
         local body = ("0123456789abcdef"):rep(1 << 17)
         local peer = serve(function(app)
            app:get("/", function() return 200, nil, body end)
         end)
         peer:send "GET / HTTP/1.1\r\nhost: x\r\n\r\n"
         weft.sleep(0.05)
         assert.is_true(peer:response().body == body)
      end)
   end)
end)

describe("a handler", function()
   it("gets method, path, query, headers, params and remote", function()
      run(function()
         local seen
         local peer = serve(function(app)
            app:get("/rooms/:id/*rest", function(req)
               seen = { req.method, req.path, req.query, req.headers["x-a"], req.params.id,
                  req.params.rest, req.remote, req:header "X-A", req.version }
               return 204
            end)
         end)
         peer:ask("GET", "/rooms/a%20b/x/y?q=1&r=%32", { ["X-A"] = "1" })
         assert.same({ "GET", "/rooms/a%20b/x/y", "q=1&r=%32", "1", "a b", "x/y", "127.0.0.1",
            "1", "1.1" }, seen)
         for _, form in ipairs { "http://x", "HTTP://x:1", "hTTpS://x" } do -- RFC 9112 3.2.2
            peer:ask("GET", form .. "/rooms/1/2?q")
            assert.same({ "/rooms/1/2", "q" }, { seen[2], seen[3] }) -- what a hook looks at
         end
      end)
   end)

   it("that raises is answered by 500, without the reason, and reported", function()
      local reported = server.errors(function()
         run(function()
            local peer = serve(function(app)
               app:get("/", function() error "the secret" end)
               app:get("/table", function() error {} end)
            end)
            local answer = peer:ask("GET", "/")
            assert.equal(500, answer.status)
            assert.is_nil(answer.body:find "secret")
            assert.equal("close", answer.headers.connection)
            assert.is_true(peer:is_over())
         end)
      end)
      assert.equal(1, #reported)
      assert.truthy(reported[1]:find("the secret", 1, true))
      assert.truthy(reported[1]:find("stack traceback", 1, true))
      assert.truthy(reported[1]:find("http_spec.lua", 1, true))
   end)

   it("may raise what cannot be shown", function()
      local reported = server.errors(function()
         run(function()
            local peer = serve(function(app)
               app:get("/", function()
                  error(setmetatable({}, { __tostring = function() error "no" end }))
               end)
            end)
            assert.equal(500, peer:ask("GET", "/").status)
         end)
      end)
      assert.truthy(reported[1]:find("an error object without text", 1, true))
   end)

   local misuse = {
      { {}, "must return a status" },
      { { "hello" }, "must return a status" },
      { { 99 }, "must return a status" },
      { { 101 }, "must return a status" },
      { { 200, "hello" }, "must return a table of headers" },
      { { 200, nil, 5 }, "must return a string, a function or nil third" },
      { { 200, nil, {} }, "must return a string, a function or nil third" },
      { { 200, { ["x-a"] = "1\r\nx-b: 2" } }, "must not hold CR, LF or NUL" },
      { { 200, { ["x-a"] = "1\0" } }, "must not hold CR, LF or NUL" },
      { { 200, { ["x-a"] = { "1", "2\n" } } }, "must not hold CR, LF or NUL" },
      { { 200, { ["x a"] = "1" } }, "not a header name" },
      { { 200, { ["x-a:"] = "1" } }, "not a header name" },
      { { 200, { ["x\r\ny"] = "1" } }, "not a header name" },
      { { 200, { "x-a: 1" } }, "not a header name" },
      { { 200, { ["x-a"] = true } }, "must be a string or a number" },
      { { 200, { ["Transfer-Encoding"] = "chunked" } }, "weft sets it itself" },
      { { 200, { ["Content-Length"] = 7 }, "hello" }, "does not fit the body" },
      { { 200, { ["Content-Length"] = "x" }, "hello" }, "does not fit the body" },
   }
   for i, row in ipairs(misuse) do
      it("that returns what cannot be sent gets 500, row " .. i, function()
         local reported = server.errors(function()
            run(function()
               local peer = serve(function(app)
                  app:get("/", function() return table.unpack(row[1], 1, 3) end)
               end)
               assert.equal(500, peer:ask("GET", "/").status)
            end)
         end)
         assert.equal(1, #reported)
         assert.truthy(reported[1]:find(row[2], 1, true), reported[1])
         assert.truthy(reported[1]:find "^GET /: ", reported[1]) -- there is no line to name
      end)
   end

   it("whose iterator raises ends the connection without a last chunk", function()
      local reported = server.errors(function()
         run(function()
            local peer, port, app = serve(function(app)
               app:get("/", function()
                  local n = 0
                  return 200, nil, function()
                     n = n + 1
                     return n < 3 and "x" or error "broken"
                  end
               end)
            end)
            peer:send "GET / HTTP/1.1\r\nhost: x\r\n\r\n"
            local all, _, partial = peer.stream:receive "*a"
            assert.is_nil((all or partial):find("\r\n0\r\n", 1, true))
            assert.equal(404, server.ask(port, "GET", "/other").status)
            for _ = 1, 100 do
               if app:stats().connections == 0 then return end
               weft.sleep(0.01)
            end
            error "it still counts as a connection"
         end)
      end)
      assert.equal(1, #reported)
      assert.truthy(reported[1]:find("broken", 1, true))
   end)

   it("may wait, while others are served", function()
      run(function()
         local ch = weft.channel()
         local peer, port = serve(function(app)
            hello(app)
            app:get("/wait", function() return 200, nil, ch:receive() end)
         end)
         peer:send "GET /wait HTTP/1.1\r\nhost: x\r\n\r\n"
         assert.equal("hello\n", server.ask(port, "GET", "/").body)
         ch:send "at last"
         assert.equal("at last", peer:response().body)
      end)
   end)
end)

describe("routing", function()
   local function routes(app)
      app:get("/thing", function() return 200, nil, "got" end)
      app:post("/thing", function() return 200, nil, "posted" end)
      app:put("/thing", function() return 200, nil, "put" end)
      app:delete("/thing", function() return 204 end)
      app:post("/inbox", function() return 202 end)
   end

   local rows = {
      { "GET", "/thing", 200, "got" }, { "POST", "/thing", 200, "posted" },
      { "PUT", "/thing", 200, "put" }, { "DELETE", "/thing", 204 },
      { "GET", "/nothing", 404 }, { "GET", "/thing/", 404 }, { "GET", "/%zz", 400 },
      { "PATCH", "/thing", 405, nil, "DELETE, GET, HEAD, OPTIONS, POST, PUT" },
      { "GET", "/inbox", 405, nil, "OPTIONS, POST" },
      { "OPTIONS", "/inbox", 204, nil, "OPTIONS, POST" },
      { "OPTIONS", "/nothing", 404 }, { "OPTIONS", "*", 204 },
      { "GET", "http://test/thing", 200, "got" }, { "GET", "HTTP://test/thing?x", 200, "got" },
      { "GET", "http://test", 404 }, { "GET", "thing", 400 }, { "GET", "*", 400 },
      { "GET", "/thing?a=/b", 200, "got" }, { "GET", "//thing", 404 },
   }
   for _, row in ipairs(rows) do
      it(("answers %s %s by %d"):format(row[1], row[2], row[3]), function()
         run(function()
            local peer = serve(routes)
            local answer = peer:ask(row[1], row[2])
            assert.equal(row[3], answer.status)
            if row[4] then assert.equal(row[4], answer.body) end
            assert.equal(row[5], answer.headers.allow)
         end)
      end)
   end
end)

describe("a connection", function()
   it("serves request after request, pipelined ones in order", function()
      run(function()
         local peer, _, app = serve(function(app)
            app:get("/:n", function(req)
               if req.params.n == "1" then weft.sleep(0.01) end
               return 200, nil, req.params.n
            end)
         end)
         local all = {}
         for i = 1, 20 do all[i] = ("GET /%d HTTP/1.1\r\nhost: x\r\n\r\n"):format(i) end
         peer:send(table.concat(all))
         for i = 1, 20 do assert.equal(tostring(i), peer:response().body) end
         assert.equal(20, app:stats().requests)
         assert.equal(1, app:stats().accepted)
      end)
   end)

   local floods = { ["requests"] = ("GET /a HTTP/1.1\r\nhost: x\r\n\r\n"):rep(2000),
      ["tiny chunks"] = "POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
         .. ("1\r\nx\r\n"):rep(10000) .. "0\r\n\r\n" }
   for name, flood in pairs(floods) do
      it("leaves others their turns, however many " .. name .. " come at once", function()
         run(function()
            local began, n, turns = false, 0, 0
            local peer = serve(function(app)
               app:get("/a", function()
                  began, n = true, n + 1
                  return 204
               end)
               app:post("/a", function(req)
                  began = true
                  assert(req:body())
                  n = 2000
                  return 204
               end)
            end)
            peer:send(flood)
            while n < 2000 do
               weft.sleep(0)
               if began then turns = turns + 1 end
            end
            assert.is_true(turns >= 30, turns)
         end, 60)
      end)
   end

   it("takes no body of OPTIONS * for the next request", function()
      run(function()
         local reached
         local peer, port = serve(function(app)
            app:get("/", function()
               reached = true
               return 200
            end)
         end)
         local inner = "GET / HTTP/1.1\r\nhost: x\r\n\r\n"
         local head = "OPTIONS * HTTP/1.1\r\nhost: x\r\n%s\r\n\r\n%s"
         peer:send(head:format("content-length: " .. #inner, inner))
         assert.equal(204, peer:response().status)
         assert.equal(404, peer:ask("GET", "/nothing").status)
         local chunks = ("%x\r\n%s\r\n0\r\n\r\n"):format(#inner, inner)
         peer:send(head:format("transfer-encoding: chunked", chunks))
         local answer = peer:response()
         assert.same({ 204, "close" }, { answer.status, answer.headers.connection })
         assert.is_true(peer:is_over())
         peer = server.dial(port)
         peer:send(head:format("content-length: 1\r\ntransfer-encoding: chunked", "x"))
         assert.equal(400, peer:response().status)
         peer = server.dial(port)
         peer:send "OPTIONS * HTTP/1.1\r\n\r\n"
         assert.equal(400, peer:response().status)
         assert.is_nil(reached)
      end)
   end)

   local ends = {
      { "GET / HTTP/1.1\r\nhost: x\r\nConnection: close\r\n\r\n", "close" },
      { "GET / HTTP/1.1\r\nhost: x\r\nConnection: foo, Close\r\n\r\n", "close" },
      { "GET / HTTP/1.0\r\n\r\n", "close" },
   }
   for i, row in ipairs(ends) do
      it("ends where the client wants it to, row " .. i, function()
         run(function()
            local peer = serve(hello)
            peer:send(row[1])
            local answer = peer:response()
            assert.equal(row[2], answer.headers.connection)
            assert.equal("hello\n", answer.body)
            assert.is_true(peer:is_over())
         end)
      end)
   end

   it("is kept for HTTP/1.0 that asks for it", function()
      run(function()
         local peer = serve(hello)
         for _ = 1, 2 do
            peer:send "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
            local answer = peer:response()
            assert.equal("keep-alive", answer.headers.connection)
            assert.equal("hello\n", answer.body)
         end
      end)
   end)

   it("ends when its first head is late, however it trickles in", function()
      run(function()
         local peer = serve(hello, { handshake_timeout = 0.1 })
         local trickle = weft.spawn(function()
            for c in ("GET / HTTP/1.1\r\n" .. ("x: y\r\n"):rep(50)):gmatch "." do
               if not peer.stream:send(c) then return end
               weft.sleep(0.01)
            end
         end)
         local start = weft.now()
         peer.stream:receive "*a"
         assert.is_true(weft.now() - start < 2)
         trickle:cancel()
      end)
   end)

   it("ends when it idles", function()
      run(function()
         local peer = serve(hello, { keepalive_timeout = 0.05 })
         assert.equal(200, peer:ask("GET", "/").status)
         assert.is_true(peer:is_over())
      end)
   end)

   it("bounds a later head from its first byte", function()
      run(function()
         local peer = serve(hello, { keepalive_timeout = 60, handshake_timeout = 0.2 })
         assert.equal(200, peer:ask("GET", "/").status)
         peer:send "GET / HT"
         local start = weft.now()
         peer.stream:receive "*a"
         assert.is_true(weft.now() - start < 20)
      end)
   end)

   it("is long where a response, or an event, is taken bit by bit", function()
      run(function()
         local size, limit = 12 << 20, raw.hostile and 3 or 1.5 -- more than the system keeps
         local app = server.app { send_timeout = limit }
         app:get("/string", function() return 200, nil, ("x"):rep(size) end)
         app:events("/event", function(stream) stream:send(("x"):rep(size)) end)
         local _, port = assert(app:listen "127.0.0.1:0")
         for _, path in ipairs { "/string", "/event" } do
            local peer, start = server.dial(port), weft.now()
            peer:send(("GET %s HTTP/1.1\r\nhost: x\r\n\r\n"):format(path))
            for _ = 1, size, 65536 do
               assert(peer.stream:receive(65536))
               weft.sleep(limit / 100)
            end
            assert(weft.now() - start > limit, "it was taken at once")
            peer:close()
         end
      end, 60)
   end)

   it("ends when a response is not taken", function()
      run(function()
         local peer, _, app = serve(function(app)
            app:get("/", function()
               return 200, nil, function() return ("x"):rep(65536) end
            end)
         end, { send_timeout = 0.1 })
         peer:send "GET / HTTP/1.1\r\nhost: x\r\n\r\n"
         for _ = 1, 300 do
            if app:stats().accepted == 1 and app:stats().connections == 0 then return end
            weft.sleep(0.01)
         end
         error "the connection is still there"
      end)
   end)
end)

describe("a bad head", function()
   local rows = {
      { "GET /" .. ("x"):rep(5000) .. " HTTP/1.1\r\n", 414, "max_line, 4096 bytes" },
      { "GET / HTTP/1.1\r\nx: " .. ("y"):rep(9000), 431, "max_head, 8192 bytes" },
      { "GET / HTTP/1.1\r\n" .. ("x: y\r\n"):rep(65) .. "\r\n", 400 },
      { "GET / HTTP/2.0\r\n\r\n", 505 },
      { "GET / HTTP/1.1\r\nbad header: x\r\n\r\n", 400 },
      { "GET / HTTP/1.1\r\nx : y\r\n\r\n", 400 },
      { "GET / HTTP/1.1\r\nx: y\r\n z\r\n\r\n", 400 },
      { "GET / HTTP/1.1\r\nx: a\0b\r\n\r\n", 400 },
      { "\x16\x03\x01\x02\x00\x01\x00", 400 },
      { "GET / HTTP/1.1\r\n\r\n", 400, "Host" },
      { "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400, "Host" },
      { "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", 400, "Host" },
      { 'GET / HTTP/1.1\r\nhost: "><script>\r\n\r\n', 400, "Host" },
      { "GET / HTTP/1.1\r\nhost: user@a\r\n\r\n", 400, "Host" },
      { "GET / HTTP/1.1\r\nhost: a:b\r\n\r\n", 400, "Host" },
   }
   for i, row in ipairs(rows) do
      it(("gets %d and the end, row %d"):format(row[2], i), function()
         run(function()
            local called = false
            local peer, _, app = serve(function(app)
               app:get("/", function() called = true return 200 end)
            end)
            -- what follows must not be parsed
            peer:send(row[1], "\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n")
            local answer = peer:response()
            assert.equal(row[2], answer.status)
            assert.equal("close", answer.headers.connection)
            assert.truthy(answer.body:find(row[3] or "", 1, true), answer.body)
            assert.is_true(peer:is_over())
            assert.is_false(called)
            assert.equal(1, app:stats().accepted)
         end)
      end)
   end
end)
