-- Who may open a WebSocket (RFC 6455 4.2.2, 10.2): origins, subprotocols, and authorize,
-- which may wait for whatever it has to ask.

local weft = require "weft"
local process = require "spec.process"
local server = require "spec.helper_server"
local raw = require "spec.raw"

local run, eventually, SOON = raw.run, raw.eventually, raw.SOON

-- A route with these options whose handler tells its data and echoes.
local function serve(opts)
   local app = server.app()
   app:websocket("/ws", function(ws)
      ws:send(tostring(ws.data))
      raw.echo(ws)
   end, opts)
   local _, port = assert(app:listen "127.0.0.1:0")
   return port, app
end

local function shake(port, changes)
   local peer = server.dial(port)
   peer:send(server.upgrade("/ws", changes))
   return peer:response(), peer
end

describe("origins", function()
   local SITE = { "https://site.example" }
   local rows = {
      -- none, and the same host whatever the scheme: TLS may end in front of us
      { nil, nil, true }, { "http://test", nil, true }, { "https://test", nil, true },
      { "http://TEST", nil, true }, { "HTTPS://test", nil, true },
      { "http://test:80", nil, true }, { "https://test:443", nil, true },
      { "http://test", SITE, true },
      { "http://test:8080", nil, false }, { "http://test:443", nil, false },
      { "http://test.evil", nil, false }, { "http://nottest", nil, false },
      { "ftp://test", nil, false }, { "chrome-extension://test", nil, false },
      -- malformed ones, also where a part of them would match
      { "test", nil, false }, { "", nil, false }, { "http:", nil, false },
      { "http://", nil, false }, { "://test", nil, false }, { "//test", nil, false },
      { "http://test/", nil, false }, { "http://evil/test", nil, false },
      { "http://evil@test", nil, false }, { "http://test@evil", nil, false },
      { "http://test:", nil, false }, { "http://test:x", nil, false },
      { "http://test:99999", nil, false }, { "http://test:080000", nil, false },
      { "http://test http://evil", nil, false }, { "http://test, http://evil", nil, false },
      { "http://test#", nil, false }, { "http://test?", nil, false },
      { "http://t%65st", nil, false }, { "http://[test]", nil, false },
      { "http://test\\@evil", nil, false }, { "null://test", nil, false },
      -- exact
      { "https://site.example", SITE, true }, { "https://SITE.example", SITE, true },
      { "https://site.example:443", SITE, true },
      { "https://site.example", { "HTTPS://Site.Example:443" }, true },
      { "http://site.example", SITE, false }, { "https://site.example:444", SITE, false },
      { "http://site.example:443", SITE, false }, { "https://site.example.evil", SITE, false },
      { "https://notsite.example", SITE, false }, { "https://a.site.example", SITE, false },
      { "https://a.example:8443", { "https://a.example:8443" }, true },
      { "https://a.example", { "https://a.example:8443" }, false },
      { "http://b.example", { "http://a.example", "http://b.example" }, true },
      { "http://[::1]:3000", { "http://[::1]:3000" }, true },
      { "chrome-extension://abcdef", { "chrome-extension://abcdef" }, true },
      { "chrome-extension://abcdeg", { "chrome-extension://abcdef" }, false },
      -- a host alone: both schemes, each with its own port
      { "http://site.example", { "site.example" }, true },
      { "https://site.example", { "site.example" }, true },
      { "https://site.example:444", { "site.example" }, false },
      { "http://site.example:8080", { "site.example:8080" }, true },
      { "ftp://site.example", { "site.example" }, false },
      -- below a name, anchored at a label
      { "https://x.a.example", { "https://*.a.example" }, true },
      { "https://x.y.a.example", { "https://*.a.example" }, true },
      { "https://x.a.example", { "*.a.example" }, true },
      { "http://x.a.example", { "*.a.example" }, true },
      { "http://x.a.example:8080", { "*.a.example:8080" }, true },
      { "http://x.a.example:8080", { "*.a.example" }, false },
      { "http://x.a.example", { "https://*.a.example" }, false },
      { "https://a.example", { "https://*.a.example" }, false },
      { "https://.a.example", { "https://*.a.example" }, false },
      { "https://xa.example", { "https://*.a.example" }, false },
      { "https://x.a.example.evil", { "https://*.a.example" }, false },
      { "https://evil/.a.example", { "https://*.a.example" }, false },
      { "https://evil@x.a.example", { "https://*.a.example" }, false },
      { "https://evil:80.a.example", { "https://*.a.example" }, false },
      -- null and all
      { "null", nil, false }, { "null", SITE, false }, { "null", { "null" }, true },
      { "NULL", { "null" }, false }, { "null", { "*" }, true }, { "http://any", { "*" }, true },
      { "http://any", { "null" }, false },
   }
   for i, row in ipairs(rows) do
      it(("are let in or not, row %d: %s for %s"):format(i, row[1],
         table.concat(row[2] or {}, " ")), function()
         run(function()
            local port, app = serve { origins = row[2] }
            local answer = shake(port, { origin = row[1] })
            assert.equal(row[3] and 101 or 403, answer.status)
            assert.equal(row[3] and 0 or 1, app:stats().refused)
         end)
      end)
   end

   it("compare with the port of the request's host", function()
      run(function()
         local port = serve()
         for _, row in ipairs { { "test:8080", "http://test:8080", 101 },
            { "test:443", "https://test", 101 }, { "test:80", "https://test", 403 },
            { "test:8080", "http://test", 403 }, { "[::1]:8080", "http://[::1]:8080", 101 },
            { "[::1]", "http://[::1]", 101 }, { "[::1]:81", "http://[::1]:82", 403 } } do
            assert.equal(row[3], (shake(port, { host = row[1], origin = row[2] })).status)
         end
      end)
   end)

   it("come once", function()
      run(function()
         local port = serve()
         local peer = server.dial(port)
         peer:send((server.upgrade("/ws", { origin = "http://test" }):gsub("\r\n\r\n$",
            "\r\nOrigin: http://evil\r\n\r\n")))
         assert.equal(403, peer:response().status)
      end)
   end)

   it("are judged before anybody is asked", function()
      run(function()
         local asked = false
         local port = serve { authorize = function() asked = true return true end }
         assert.equal(403, (shake(port, { origin = "http://evil" })).status)
         assert.is_false(asked)
      end)
   end)

   for _, bad in ipairs { "", "https://", "https://a/", "https://a b", "https://a:x", "a,b", "*.",
      "https://*", "a.*", "**.a", "https://u@a", "*:80", "https://*.*.a", "ws://a", "wss://a:1" } do
      it(("list no %q"):format(bad), function()
         local message = server.blame(function() weft.app { origins = { "https://a", bad } } end)
         assert.truthy(message:find('option "origins" must hold', 1, true), message)
      end)
   end
end)

-- A page that tries each of these addresses, and so does a frame of its without an origin.
local PAGE = [[<!doctype html><title>origins</title><script>
const tries = { own: "127.0.0.1:PORT/own", other: "localhost:PORT/own",
   listed: "localhost:PORT/listed", null: "127.0.0.1:PORT/null" };
const attempt = (address) => new Promise((done) => {
   const ws = new WebSocket("ws://" + address);
   ws.onmessage = (event) => { done("open " + event.data); ws.close(); };
   ws.onerror = () => done("refused");
});
async function run() {
   const results = [];
   for (const name in tries) results.push(name + ": " + await attempt(tries[name]));
   return results.join("\n");
}
onmessage = async (event) => {
   const all = await run() + "\nin the frame\n" + event.data;
   await fetch("/report", { method: "POST", body: all });
   document.title = "done";
};
const shared = "const tries = " + JSON.stringify(tries) + "; const attempt = " + attempt
   + "; " + run + "; run().then((r) => parent.postMessage(r, '*'));";
onload = () => {
   const frame = document.createElement("iframe");
   frame.sandbox = "allow-scripts";
   frame.srcdoc = "<script>" + shared + "</" + "script>";
   document.body.append(frame);
};
</script><body>]]

describe("origins of a real browser", function()
   it("are what the option means", function()
      run(function()
         local app, report, port = server.app(), weft.channel(1), nil
         local function origin_back(ws) ws:send(ws.request:header "origin") ws:receive() end
         app:get("/", function()
            return 200, { ["content-type"] = "text/html" }, (PAGE:gsub("PORT", port))
         end)
         app:post("/report", function(req)
            report:send((assert(req:body())))
            return 204
         end)
         port = select(2, assert(app:listen "127.0.0.1:0"))
         local page = "http://127.0.0.1:" .. port
         app:websocket("/own", origin_back)
         app:websocket("/listed", origin_back, { origins = { page } })
         app:websocket("/null", origin_back, { origins = { "null" } })
         local browser = process.start({ "node", "spec/browser/origin.mjs", page .. "/" },
            { foreign = true, limit = 120 })
         local text, message = report:receive(100)
         weft.sleep(0) -- the turn after the report: its answer has left
         local said = browser:finish()
         assert.equal("", said)
         assert.equal(table.concat({ "own: open " .. page, "other: refused",
            "listed: open " .. page, "null: open " .. page, "in the frame", "own: refused",
            "other: refused", "listed: refused", "null: open null" }, "\n"), text, message)
      end, 120)
   end)
end)

describe("protocols", function()
   local rows = {
      { { "a", "b" }, "b, a", "a" }, { { "a", "b" }, "c, b", "b" }, { { "a" }, "c", nil },
      { { "a" }, nil, nil }, { nil, "a", nil }, { { "a" }, "A", nil }, { {}, "a", nil },
      { function(offered) return offered[#offered] end, "a,b", "b" },
      { function() end, "a", nil },
   }
   for i, row in ipairs(rows) do
      it("are chosen, row " .. i, function()
         run(function()
            local port = serve { protocols = row[1] }
            local answer = shake(port, { ["sec-websocket-protocol"] = row[2] })
            assert.equal(101, answer.status)
            assert.equal(row[3], answer.headers["sec-websocket-protocol"])
         end)
      end)
   end

   it("cannot be made up by a function", function()
      local reported = server.errors(function()
         server.run(function()
            local port = serve { protocols = function() return "mine" end }
            assert.equal(500, (shake(port, { ["sec-websocket-protocol"] = "a" })).status)
         end)
      end)
      assert.truthy(reported[1]:find "did not offer")
   end)

   it("may be chosen by a function that knows the request, and waits", function()
      run(function()
         local port = serve { protocols = function(offered, req)
            weft.sleep(0.001)
            table.sort(offered)
            return req.query == "last" and offered[#offered] or offered[1]
         end }
         local list = { ["sec-websocket-protocol"] = "b, c", ["sec-websocket-version"] = "13" }
         assert.equal("b", (shake(port, list)).headers["sec-websocket-protocol"])
         local ws = server.keep(assert(weft.connect(raw.url(port) .. "?last",
            { protocols = { "a", "b", "c" } })))
         assert.equal("c", ws.protocol)
      end)
   end)

   for name, bad in pairs { ["a number"] = 1, ["a table"] = {}, ["true"] = true,
      ["another case"] = "A", ["a line"] = "a\r\nx: y" } do
      it("are no " .. name, function()
         local reported = server.errors(function()
            server.run(function()
               local port = serve { protocols = function() return bad end }
               local answer = shake(port, { ["sec-websocket-protocol"] = "a" })
               assert.equal(500, answer.status)
               assert.is_nil(answer.headers["sec-websocket-protocol"])
            end)
         end)
         assert.equal(1, #reported)
      end)
   end

   for _, field in ipairs { "a b", "a, a", "a, (b)", "a; b=c", "\"a\"", "a, b\0" } do
      it(("are refused where they are malformed: %q"):format(field), function()
         run(function()
            local port = serve { protocols = { "a" } }
            assert.equal(400, (shake(port, { ["sec-websocket-protocol"] = field })).status)
         end)
      end)
   end
end)

describe("authorize", function()
   local rows = {
      { function() return true end, 101 },
      { function() return "ann" end, 101 },
      { function() return nil end, 403 },
      { function() return false end, 403 },
      { function() return nil, 401, { ["www-authenticate"] = "Basic" }, "who?" end, 401, "who?" },
      { function() return nil, 302, { location = "/login" } end, 302 },
      { function() error "broken" end, 500 },
      { function() return nil, 200 end, 500 },
      { function() return nil, 401, { ["x-a"] = "\n" } end, 500 },
      { function() weft.sleep(0.001) return true end, 101 },
   }
   for i, row in ipairs(rows) do
      it(("decides, row %d: %d"):format(i, row[2]), function()
         local reported = server.errors(function()
            server.run(function()
               local port = serve { authorize = row[1] }
               local answer = shake(port)
               assert.equal(row[2], answer.status)
               assert.truthy(answer.body:find(row[3] or "", 1, true))
            end)
         end)
         assert.equal(row[2] == 500 and 1 or 0, #reported)
      end)
   end

   it("refuses with a status, headers and a body, and nothing behind is looked at", function()
      run(function()
         local port, app = serve { authorize = function()
            return nil, 429, { ["Retry-After"] = 7, ["Set-Cookie"] = { "a=1", "b=2" },
               ["Content-Type"] = "application/json" }, '{"why":"slow down"}'
         end }
         local peer = server.dial(port)
         peer:send(server.upgrade "/ws", "\x81\x82\0\0\0\0hi", server.upgrade "/ws")
         local answer = peer:response()
         assert.same({ 429, "7", "a=1, b=2", "application/json", '{"why":"slow down"}' },
            { answer.status, answer.headers["retry-after"], answer.headers["set-cookie"],
               answer.headers["content-type"], answer.body })
         assert.truthy(answer.headers.connection:find "close")
         assert.is_true((peer:is_over()))
         assert.same({ 1, 0 }, { app:stats().refused, app:stats().upgraded })
      end)
   end)

   it("may ask a database, and gives what it said to the handler", function()
      run(function()
         -- a line protocol: "token NAME" is answered by the user's name or "none"
         local database = server.keep(assert(weft.listen "127.0.0.1:0"))
         local _, db_port = database:getsockname()
         weft.spawn(function()
            for stream in database:each() do
               weft.spawn(function()
                  local token = stream:receive "*l"
                  weft.sleep(0.005)
                  stream:send((token == "token 42" and "ann" or "none") .. "\n")
                  stream:close()
               end)
            end
         end)
         local port = serve { authorize = function(req)
            local db <close> = assert(weft.dial("127.0.0.1:" .. math.tointeger(db_port)))
            db:send("token " .. (req:header "x-token" or "") .. "\n")
            local user = assert(db:receive "*l")
            if user == "none" then return nil, 401 end
            return { user = user }
         end }
         local app2 = server.app()
         app2:websocket("/ws", function(ws) ws:send(ws.data.user) end, {
            authorize = function() return { user = "bob" } end })
         local results = weft.channel(20)
         for i = 1, 10 do
            weft.spawn(function()
               local answer = shake(port, { ["x-token"] = i % 2 == 0 and "42" or "41" })
               results:send { i % 2 == 0 and 101 or 401, answer.status }
            end)
         end
         for _ = 1, 10 do
            local row = results:receive(SOON)
            assert.equal(row[1], row[2])
         end
         local _, port2 = assert(app2:listen "127.0.0.1:0")
         local ws = server.keep(assert(weft.connect(raw.url(port2))))
         assert.equal("bob", ws:receive(SOON))
      end)
   end)

   it("holds up nobody else while it waits", function()
      run(function()
         local gate = weft.channel()
         local port = serve { authorize = function(req)
            return req:header "x-wait" and gate:receive() or "at once"
         end }
         local waiting = weft.spawn(shake, port, { ["x-wait"] = "1" })
         local c = raw.connect(port)
         assert.equal("at once", c:take "text")
         raw.check_echo(c, 5)
         assert.equal("suspended", waiting.status)
         gate:send "late"
         assert.equal(101, waiting:join(SOON).status)
      end)
   end)

   it("keeps what a client sends while it waits", function()
      run(function()
         local gate = weft.channel()
         local port = serve { authorize = function() return gate:receive() end }
         local c = raw.dial(port)
         c:send(server.upgrade "/ws", c:pack { payload = "early" })
         c:text "too"
         gate:send "let in"
         assert.truthy(c:read_head():find "^HTTP/1.1 101 ")
         for _, text in ipairs { "let in", "early", "too" } do
            assert.equal(text, c:take "text")
         end
      end)
   end)

   it("is nothing to a server whose client hangs up meanwhile", function()
      run(function()
         local entered, gate = weft.channel(), weft.channel()
         local ended = weft.channel(4)
         local app = server.app()
         app:websocket("/ws", function(ws)
            ws:send "into the void"
            while ws:receive(SOON) do end
            ended:send((ws:closed()))
         end, { authorize = function()
            entered:send(true)
            return gate:receive()
         end })
         local _, port = assert(app:listen "127.0.0.1:0")
         for _, verdict in ipairs { true, false } do
            local c = raw.dial(port)
            c:send(server.upgrade "/ws")
            entered:receive(SOON)
            c:close()
            gate:send(verdict)
            if verdict then assert.equal(1006, ended:receive(SOON)) end
            eventually(function() return app:stats().connections == 0 end)
         end
      end)
   end)

   it("ends with 503 where the app was closed meanwhile", function()
      run(function()
         local entered, gate = weft.channel(), weft.channel()
         local port, app = serve { authorize = function()
            entered:send(true)
            return gate:receive()
         end }
         local waiting = weft.spawn(shake, port)
         entered:receive(SOON)
         app:close()
         gate:send(true)
         assert.equal(503, waiting:join(SOON).status)
      end)
   end)
end)
