-- What runs before routes: app:before, app:cors, authorize; and the short answers.

local weft = require "weft"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run = raw.run

local function listen(app)
   local _, port = assert(app:listen "127.0.0.1:0")
   return function(method, path, headers) return server.ask(port, method, path, headers) end, port
end

describe("app:before", function()
   it("runs in order, before routes, files, nothing and WebSockets, and may answer", function()
      run(function()
         local app = server.app()
         local seen = {}
         app:before(function(req)
            seen[#seen + 1] = "1" .. req.path
            if req:arg "stop" then return 403, { ["x-why"] = "so" }, "stop\n" end
         end)
         app:before(function() seen[#seen + 1] = "2" end)
         app:get("/x", function() return 200, nil, "x" end)
         app:websocket("/ws", raw.echo)
         local ask, port = listen(app)
         assert.equal("x", ask("GET", "/x").body)
         assert.equal(404, ask("GET", "/y").status)
         assert.equal(405, ask("POST", "/x").status)
         assert.same({ "1/x", "2", "1/y", "2", "1/x", "2" }, seen)
         local answer = ask("GET", "/x?stop")
         assert.same({ 403, "so", "stop\n" },
            { answer.status, answer.headers["x-why"], answer.body })
         assert.equal("1/x", seen[#seen])
         local url = ("ws://127.0.0.1:%d/ws"):format(port)
         server.keep(assert(weft.connect(url)))
         local ws, _, code, head = weft.connect(url .. "?stop")
         assert.same({ nil, "refused", 403 }, { ws, code, head.status })
      end)
   end)

   it("is asked for a path and below, however it is written", function()
      run(function()
         local app = server.app()
         app:before(function() return 401 end, "/admin")
         app:get("/*rest", function() return 200 end)
         local ask = listen(app)
         for path, status in pairs { ["/admin"] = 401, ["/admin/"] = 401, ["/admin/x"] = 401,
            ["/%61dmin/x"] = 401, ["/ad%6Din"] = 401, ["/admin?x"] = 401, ["/administrator"] = 200,
            ["/x/admin"] = 200, ["/"] = 200, ["/Admin"] = 200 } do
            assert.equal(status, ask("GET", path).status, path)
         end
      end)
   end)

   it("answers 500 without inner details when a hook raises, also for WebSockets", function()
      run(function()
         local app = server.app()
         app:before(function() error "inner details" end)
         app:websocket("/ws", raw.echo)
         local ask, port = listen(app)
         local reported = server.errors(function()
            local answer = ask("GET", "/")
            assert.same({ 500, "Internal Server Error\n" }, { answer.status, answer.body })
            local _, _, _, head = weft.connect(("ws://127.0.0.1:%d/ws"):format(port))
            assert.equal(500, head.status)
         end)
         assert.equal(2, #reported)
         assert.matches("inner details", reported[1])
      end)
   end)

   it("adds fields to whatever the answer is", function()
      run(function()
         local app = server.app()
         app:before(function(req)
            req:set_header("X-One", "1")
            req:set_header("x-two", 2)
            req:set_header("x-two", 3)
            req:set_header("vary", "A")
            req:set_header("set-cookie", "a=1")
         end)
         app:get("/", function()
            return 200, { ["x-one"] = "own", Vary = { "B", "C" }, ["set-cookie"] = "b=2" }
         end)
         app:websocket("/ws", raw.echo)
         local ask, port = listen(app)
         local headers = ask("GET", "/").headers
         assert.same({ "own", "3", "A, B, C", "a=1, b=2" },
            { headers["x-one"], headers["x-two"], headers.vary, headers["set-cookie"] })
         headers = ask("GET", "/none").headers
         assert.same({ "1", "A", "a=1" }, { headers["x-one"], headers.vary, headers["set-cookie"] })
         local c = raw.dial(port)
         c:send(server.upgrade "/ws")
         local head = c:read_head()
         assert.matches("\nset%-cookie: a=1\n", head)
         assert.matches("^HTTP/1.1 101", head)
      end)
   end)

   it("blames the line that misuses it", function()
      local app = weft.app()
      assert.matches("^app:before: the hook must be a function",
         server.blame(function() app:before(5) end))
      assert.matches('^app:before: the path must begin with "/", got "x"',
         server.blame(function() app:before(print, "x") end))
      assert.matches("^app:before: a malformed path",
         server.blame(function() app:before(print, "/%zz") end))
      run(function()
         local seen = {}
         app = server.app()
         app:get("/", function(req)
            for _, row in ipairs { { "a b", "x" }, { "x", "a\r\nb" }, { "x", {} },
               { "Content-Length", "5" }, { "connection", "close" }, { 5, "x" } } do
               seen[#seen + 1] = server.blame(function() req:set_header(row[1], row[2]) end)
            end
            return 204
         end)
         listen(app)("GET", "/")
         assert.same({ 'req:set_header: header "a b": not a header name',
            'req:set_header: header "x": the value must not hold CR, LF or NUL',
            'req:set_header: header "x": the value must be a string or a number, got table',
            'req:set_header: header "Content-Length": weft sets it itself',
            'req:set_header: header "connection": weft sets it itself',
            'req:set_header: header "5": not a header name' }, seen)
      end)
   end)
end)

describe("authorize of a route", function()
   it("lets in, hands on, or refuses", function()
      run(function()
         local app = server.app()
         app:get("/b", function(req) return 200, nil, req.user.name end, {
            authorize = weft.basic(function(user, password)
               return weft.compare(password, "s3cret") and { name = user }
            end, "the loom") })
         app:get("/t", function(req) return 200, nil, req.user end, {
            authorize = weft.bearer(function(token) return token == "abc" and token end) })
         app:get("/f", function() return 200 end, { authorize = function() return false end })
         app:get("/y", function(req) return 200, nil, tostring(req.user) end,
            { authorize = function() return true end })
         local ask = listen(app)
         for _, field in ipairs { "none", "Basic YW5uOng=", "Bearer abc" } do
            local answer = ask("GET", "/b", { authorization = field })
            assert.same({ 401, 'Basic realm="the loom"' },
               { answer.status, answer.headers["www-authenticate"] })
         end
         assert.equal("ann", ask("GET", "/b", { authorization = "Basic YW5uOnMzY3JldA==" }).body)
         local answer = ask("GET", "/t", { authorization = "Bearer abd" })
         assert.same({ 401, 'Bearer realm="weft"' },
            { answer.status, answer.headers["www-authenticate"] })
         assert.equal("abc", ask("GET", "/t", { authorization = "Bearer abc" }).body)
         assert.equal(403, ask("GET", "/f").status)
         assert.equal("nil", ask("GET", "/y").body)
      end)
      assert.matches("^weft.basic: the realm must not hold", server.blame(function()
         local f = weft.basic(print, 'a"b')
         return f
      end))
      assert.matches("^weft.bearer: the check must be a function", server.blame(function()
         local f = weft.bearer(5)
         return f
      end))
   end)
end)

describe("app:cors", function()
   local function preflight(ask, origin, method, headers)
      return ask("OPTIONS", "/api/x", { origin = origin, ["access-control-request-method"] = method,
         ["access-control-request-headers"] = headers })
   end

   it("lets listed origins in, with credentials, and answers their preflights", function()
      run(function()
         local app = server.app()
         app:cors({ origins = { "https://*.example.org" }, credentials = true, methods = { "PUT" },
            expose = { "x-total" }, max_age = 60 }, "/api")
         app:put("/api/x", function() return 200, nil, "x" end)
         local ask = listen(app)
         local from = "https://a.example.org"
         local headers = ask("PUT", "/api/x", { origin = from }).headers
         assert.same({ from, "true", "x-total", "Origin" },
            { headers["access-control-allow-origin"], headers["access-control-allow-credentials"],
               headers["access-control-expose-headers"], headers.vary })
         local answer = preflight(ask, from, "PUT", "x-a, content-type")
         headers = answer.headers
         assert.same({ 204, from, "true", "PUT", "x-a, content-type", "60" },
            { answer.status, headers["access-control-allow-origin"],
               headers["access-control-allow-credentials"],
               headers["access-control-allow-methods"],
               headers["access-control-allow-headers"], headers["access-control-max-age"] })
         assert.matches("^Origin, Access%-Control%-Request%-Method", headers.vary)
         assert.equal(403, preflight(ask, from, "DELETE").status)
         for _, other in ipairs { "https://example.com", "https://example.org.evil", "null",
            "https://a.example.org, https://a.example.org" } do
            answer = ask("PUT", "/api/x", { origin = other })
            assert.equal(200, answer.status)
            assert.is_nil(answer.headers["access-control-allow-origin"])
            assert.equal("Origin", answer.headers.vary)
            assert.equal(403, preflight(ask, other, "PUT").status)
         end
         assert.equal("Origin", ask("PUT", "/api/x").headers.vary)
         assert.is_nil(ask("GET", "/other", { origin = from }).headers.vary)
         assert.is_nil(preflight(ask, from, "PUT", "x\1y").headers["access-control-allow-headers"])
      end)
   end)

   it("lets all in, without credentials, and needs no Vary for that", function()
      run(function()
         local app = server.app()
         app:cors()
         app:get("/api/x", function() return 200 end)
         local ask = listen(app)
         local headers = ask("GET", "/api/x", { origin = "https://a.example" }).headers
         assert.equal("*", headers["access-control-allow-origin"])
         assert.is_nil(headers["access-control-allow-credentials"])
         assert.is_nil(headers.vary)
         assert.equal(204, preflight(ask, "https://a.example", "DELETE").status)
         -- an OPTIONS that is no preflight is answered as ever
         local answer = ask("OPTIONS", "/api/x", { origin = "https://a.example" })
         assert.equal("GET, HEAD, OPTIONS", answer.headers.allow)
         answer = ask("GET", "/none", { origin = "x" })
         assert.equal("*", answer.headers["access-control-allow-origin"])
      end)
   end)

   it("refuses what cannot be safe", function()
      local app = weft.app()
      assert.matches("^app:cors: credentials cannot be allowed for the origin",
         server.blame(function() app:cors { credentials = true } end))
      assert.matches('^app:cors: option "origins" must hold', server.blame(function()
         app:cors { origins = { "example.org/x" } }
      end))
      assert.matches('^app:cors: option "methods" must hold', server.blame(function()
         app:cors { methods = { "a b" } }
      end))
      assert.matches('^app:cors: option "methods" must hold methods in capitals, got "put"',
         server.blame(function()
         app:cors { methods = { "PUT", "put" } }
      end))
   end)
end)

describe("short answers", function()
   it("redirect", function()
      assert.same({ 302, { location = "/x?a=%20" } }, { weft.redirect "/x?a=%20" })
      assert.same({ 307, { location = "https://x.org/" } },
         { weft.redirect("https://x.org/", 307) })
      for _, row in ipairs { { "/ü", nil, "percent%-encoded" }, { "/a b", nil, "percent%-encoded" },
         { "/a\r\nb", nil, "percent%-encoded" }, { "", nil, "percent%-encoded" },
         { "/", 200, "the status must be" }, { 5, nil, "the location must be a string" } } do
         assert.matches("^weft.redirect: .*" .. row[3], server.blame(function()
            local status = weft.redirect(row[1], row[2])
            return status
         end))
      end
   end)

   it("JSON", function()
      assert.same({ 200, { ["content-type"] = "application/json" }, "[1,2]" },
         { weft.json { 1, 2 } })
      assert.same({ 201, { ["content-type"] = "application/json", a = "b" }, '"x"' },
         { weft.json("x", 201, { a = "b" }) })
      assert.matches("^weft.json: ", server.blame(function()
         local status = weft.json(print)
         return status
      end))
   end)

   it("PATCH has its routes, too", function()
      run(function()
         local app = server.app()
         app:patch("/x", function() return 200, nil, "patched" end)
         local ask = listen(app)
         assert.equal("patched", ask("PATCH", "/x").body)
         assert.equal("OPTIONS, PATCH", ask("GET", "/x").headers.allow)
      end)
   end)
end)
