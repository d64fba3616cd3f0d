-- The client's details: which URL asks whom for what, what goes to whom over redirects, and
-- what no message tells. A raw server shows what was really sent.

local weft = require "weft"
local certificates = require "spec.certificates"
local server = require "spec.helper_server"
local raw = require "spec.raw"
local url = require "weft.url"

local run, SOON = raw.run, raw.SOON

-- Listens at that address; answers every request by answer(c, key, head, port), and hands
-- the heads to a channel.
local function serve(answer, address)
   local listener = assert(weft.listen(address or "127.0.0.1:0"))
   server.keep(listener)
   local _, port = listener:getsockname()
   local heads = weft.channel(20)
   weft.spawn(function()
      for stream in listener:each() do
         weft.spawn(function()
            local c = raw.adopt(stream)
            c.client = false
            local head = c:read_head()
            if not head then return end
            heads:send(head)
            answer(c, head:match "\nsec%-websocket%-key: ([^\n]*)", head, math.tointeger(port))
            c.stream:receive "*a"
         end)
      end
   end)
   return math.tointeger(port), heads
end

local function say(text) return function(c) c.stream:send(text) end end
local function accept(c, key) c:send(raw.answer(key)) end

local function redirect(location, status)
   return say(("HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"):format(
      status or 302, location))
end

-- The values of a field, in any case of its name, joined.
local function field(head, name)
   local values = {}
   for line in head:gmatch "[^\n]+" do
      local this, value = line:match "^([^:]+): (.*)$"
      if this and this:lower() == name then values[#values + 1] = value end
   end
   return table.concat(values, "|")
end

local function target(head) return head:match "^GET (%S+) HTTP/1.1\n" end


local no = say "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"

-- What a server was asked for a URL with its port in place of PORT.
local function asked(text, opts, address)
   local port, heads = serve(no, address)
   local _, message, code = weft.connect((text:gsub("PORT", port)), opts)
   assert.equal("refused", code, message)
   return heads:receive(SOON), port, message
end

describe("a client's URL", function()
   it("names the host as it is written, and its port", function()
      run(function()
         for text, host in pairs { ["ws://localhost:PORT/"] = "localhost:",
            ["WS://LocalHost:PORT/"] = "LocalHost:", ["ws://127.0.0.1:PORT"] = "127.0.0.1:" } do
            local head, port = asked(text)
            assert.equal(host .. port, field(head, "host"))
            assert.equal("/", target(head))
         end
      end)
   end)

   it("may have an IPv6 literal, in brackets also in Host, its zone in neither", function()
      run(function()
         for _, text in ipairs { "ws://[::1]:PORT/x", "ws://[::1%251]:PORT/x" } do
            local head, port = asked(text, nil, "[::1]:0")
            assert.equal("[::1]:" .. port, field(head, "host"))
            assert.equal("/x", target(head))
         end
      end)
   end)

   it("leaves the scheme's own port out of Host (RFC 6455 4.1)", function()
      for text, host in pairs { ["ws://h"] = "h", ["ws://h:80/"] = "h", ["ws://h:/"] = "h",
         ["wss://h:443"] = "h", ["wss://h"] = "h", ["ws://h:443"] = "h:443",
         ["wss://h:80"] = "h:80", ["ws://[::1]:80"] = "[::1]", ["ws://[::1]:81"] = "[::1]:81",
         ["ws://[fe80::1%25eth0]"] = "[fe80::1]" } do
         assert.equal(host, url.host_field(assert(url.parse(text))))
      end
      assert.equal("fe80::1%eth0", url.host(url.parse "ws://[fe80::1%25eth0]"))
   end)

   it("has no fragment, no other scheme, and no malformed user", function()
      run(function()
         for text, why in pairs { ["ws://127.0.0.1/#"] = "fragment", ["ws://x/y#z"] = "fragment",
            ["http://x"] = "ws or wss, not http", ["ws://a%3Ab:c@x/"] = "colon",
            ["ws://a%0D%0Ab:c@x/"] = "control character", ["ws://a:%00@x/"] = "control character",
            ["ws://[::1/"] = "bracket", ["ws://[::g]/"] = "IPv6", ["ws://::1/"] = "host",
            ["ws://x:0/"] = "port", ["ws://x:y/"] = "port" } do
            local ws, message, code = weft.connect(text)
            assert.is_nil(ws)
            assert.equal("resolve", code)
            assert.truthy(message:find(why, 1, true), message)
         end
      end)
   end)

   it("makes basic authentication of its user, decoded (RFC 7617)", function()
      run(function()
         for user, encoded in pairs { ["ann:p%40ss"] = "YW5uOnBAc3M=", ["ann"] = "YW5uOg==",
            ["ann:"] = "YW5uOg==", [":x"] = "Ong=", ["a:b:c"] = "YTpiOmM=",
            ["%C3%A9:%25"] = "w6k6JQ==", ["a@b:c"] = "YUBiOmM=" } do
            local head = asked("ws://" .. user .. "@127.0.0.1:PORT/")
            assert.equal("Basic " .. encoded, field(head, "authorization"))
         end
         assert.equal("", field(asked "ws://@127.0.0.1:PORT/", "authorization"))
         assert.equal("Bearer 1", field(asked("ws://ann:x@127.0.0.1:PORT/",
            { headers = { Authorization = "Bearer 1" } }), "authorization"))
      end)
   end)

   it("keeps its user and password out of every message", function()
      run(function()
         local _, _, message = asked "ws://zoe:hunter2@127.0.0.1:PORT/p@th"
         local messages = { message }
         for _, text in ipairs { "ws://zoe:hunter2@127.0.0.1:1/", "ws://zoe:hunter2@no.invalid/",
            "ws://zoe:hunter2@/", "ws://zoe:hunter2 @x/", "zoe:hunter2@x", "ws://zoe:hunter2@x:y/",
            "ws://zoe:hunter2/@x/", "ws://zoe:hunter2%00@x/", "ws://zoe:hunter2?@x/" } do
            messages[#messages + 1] = select(2, weft.connect(text))
         end
         for _, text in ipairs(messages) do
            assert.is_nil(text:find "hunter", text)
            assert.is_nil(text:find "zoe", text)
         end
         assert.truthy(message:find("ws://***@127.0.0.1:", 1, true), message)
         assert.truthy(message:find("/p@th", 1, true), message)
         assert.equal(10, #messages)
      end)
   end)
end)

describe("a client's header fields", function()
   it("are refused before anything is sent when they could forge the head", function()
      run(function()
         local port, heads = serve(no)
         for _, headers in ipairs { { ["x-a"] = "1\r\nx-b: 2" }, { ["x-a"] = "1\n" },
            { ["x-a"] = "\r" }, { ["x-a"] = "a\0b" }, { ["x-a"] = { "fine", "b\r" } },
            { ["x\r\na"] = "1" }, { ["x a"] = "1" }, { ["x:"] = "1" }, { [""] = "1" }, { "1" },
            { ["x-a"] = true }, { Host = "x" }, { UPGRADE = "x" }, { connection = "x" },
            { ["Sec-WebSocket-Key"] = "x" }, { ["sec-websocket-version"] = "8" },
            { ["sec-websocket-extensions"] = "x" }, { ["sec-websocket-protocol"] = "x" },
            { ["Content-Length"] = 5 }, { ["transfer-encoding"] = "chunked" } } do
            local message = server.blame(function()
               weft.connect(raw.url(port), { headers = headers })
            end)
            assert.truthy(message:find "^weft.connect: header ", message)
         end
         assert.is_nil((heads:receive(0)))
      end)
   end)
end)

describe("a client that is redirected", function()
   local away = "HTTP/1.1 302 Moved\r\nLocation: ws://127.0.0.1:1/\r\n\r\n"

   it("goes nowhere by itself, and says where it would have gone", function()
      run(function()
         local port = serve(say(away))
         local ws, message, code, answer = weft.connect(raw.url(port))
         assert.is_nil(ws)
         assert.equal("refused", code)
         assert.equal(302, answer.status)
         assert.truthy(message:find("302 Moved: a redirect to ws://127.0.0.1:1/, over "
            .. "max_redirects (0)", 1, true), message)
      end)
   end)

   for _, status in ipairs { 301, 302, 303, 307, 308 } do
      it("follows " .. status, function()
         run(function()
            local last, heads = serve(accept)
            local first = serve(redirect(("ws://127.0.0.1:%d/new?a=b"):format(last), status))
            local ws = server.keep(assert(weft.connect(raw.url(first), { max_redirects = 1 })))
            local head = heads:receive(SOON)
            assert.equal("/new?a=b", target(head))
            assert.equal("127.0.0.1:" .. last, field(head, "host"))
            assert.equal(101, ws.request.status)
         end)
      end)
   end

   it("follows a Location that is relative, and one of http://", function()
      run(function()
         local locations = { "/b", "c?d", "../e", "?f", "//127.0.0.1:PORT/g",
            "http://127.0.0.1:PORT/h#i" }
         local seen, port = {}, nil
         port = serve(function(c, key, head)
            seen[#seen + 1] = target(head)
            local location = locations[#seen]
            if not location then return accept(c, key) end
            redirect((location:gsub("PORT", port)))(c)
            c:close()
         end)
         server.keep(assert(weft.connect(("ws://127.0.0.1:%d/x/y"):format(port),
            { max_redirects = 6 })))
         assert.same({ "/x/y", "/b", "/c?d", "/e", "/e?f", "/g", "/h" }, seen)
      end)
   end)

   it("goes round no circle", function()
      run(function()
         local port, heads = serve(function(c)
            redirect "/again" (c)
            c:close()
         end)
         local ws, message, code, answer = weft.connect(raw.url(port), { max_redirects = 3 })
         assert.is_nil(ws)
         assert.equal("refused", code)
         assert.truthy(message:find("over max_redirects (3)", 1, true), message)
         assert.equal(302, answer.status)
         for _ = 1, 4 do assert.truthy(heads:receive(SOON)) end
         assert.is_nil((heads:receive(0)))
      end)
   end)

   local SECRETS = { Authorization = "Bearer 1", Cookie = "a=b", ["Proxy-Authorization"] = "x",
      ["X-Plain"] = "plain" }

   it("keeps its secrets from another origin, also on the way back", function()
      run(function()
         local ports, heads, second = {}, {}, false
         ports[1], heads[1] = serve(function(c, key)
            if second then return accept(c, key) end
            redirect(("ws://127.0.0.1:%d/"):format(ports[2]))(c)
         end)
         ports[2], heads[2] = serve(function(c)
            second = true
            redirect(("ws://127.0.0.1:%d/"):format(ports[1]))(c)
         end)
         server.keep(assert(weft.connect(raw.url(ports[1]), { max_redirects = 2,
            headers = SECRETS })))
         local first = heads[1]:receive(SOON)
         assert.equal("Bearer 1", field(first, "authorization"))
         assert.equal("a=b", field(first, "cookie"))
         for _, from in ipairs { heads[2], heads[1] } do
            local head = from:receive(SOON)
            assert.equal("plain", field(head, "x-plain"))
            assert.is_nil(head:lower():find "authorization")
            assert.is_nil(head:lower():find "cookie")
         end
      end)
   end)

   it("keeps its secrets within their origin", function()
      run(function()
         local port, heads
         port, heads = serve(function(c, key, head)
            if target(head) == "/ws" then return redirect "/other" (c) end
            accept(c, key)
         end)
         local text = ("ws://ann:x@127.0.0.1:%d/ws"):format(port)
         server.keep(assert(weft.connect(text, { max_redirects = 1,
            headers = { Cookie = "a=b" } })))
         for _ = 1, 2 do
            local head = heads:receive(SOON)
            assert.equal("Basic YW5uOng=", field(head, "authorization"))
            assert.equal("a=b", field(head, "cookie"))
         end
      end)
   end)

   it("keeps the URL's user from another origin, unless the Location has one", function()
      run(function()
         for user, sent in pairs { [""] = "", ["bob:y@"] = "Basic Ym9iOnk=" } do
            local last, heads = serve(accept)
            local first = serve(redirect(("ws://%s127.0.0.1:%d/"):format(user, last)))
            server.keep(assert(weft.connect(("ws://ann:x@127.0.0.1:%d/"):format(first),
               { max_redirects = 1 })))
            assert.equal(sent, field(heads:receive(SOON), "authorization"))
         end
      end)
   end)

   it("shows nobody's password on its way", function()
      run(function()
         local last = serve(no)
         local first = serve(redirect(("ws://bob:hunter2@127.0.0.1:%d/"):format(last)))
         local text = ("ws://zoe:hunter2@127.0.0.1:%d/"):format(first)
         for _, most in ipairs { 0, 1 } do
            local _, message = weft.connect(text, { max_redirects = most })
            assert.is_nil(message:find "hunter2", message)
            assert.truthy(message:find(("***@127.0.0.1:%d/"):format(last), 1, true), message)
         end
      end)
   end)

   local bad = {
      { "HTTP/1.1 302 x\r\n\r\n", "without one Location" },
      { "HTTP/1.1 302 x\r\nLocation: /a\r\nLocation: /b\r\n\r\n", "without one Location" },
      { "HTTP/1.1 302 x\r\nLocation: ftp://x/\r\n\r\n", 'to the scheme "ftp"' },
      { "HTTP/1.1 302 x\r\nLocation: javascript:alert(1)\r\n\r\n", 'to the scheme "javascript"' },
      { "HTTP/1.1 302 x\r\nLocation: ws://\r\n\r\n", "to a malformed URL" },
      { "HTTP/1.1 302 x\r\nLocation: ws://x:99999/\r\n\r\n", "to a malformed URL" },
      { "HTTP/1.1 302 x\r\nLocation: /a b\r\n\r\n", "to a malformed URL" },
      { "HTTP/1.1 302 x\r\nLocation: ws://a%3Ab:hunter2@x/\r\n\r\n", "to a malformed URL" },
      { "HTTP/1.1 304 x\r\nLocation: /a\r\n\r\n", "the server answered 304" },
      { "HTTP/1.1 300 x\r\nLocation: /a\r\n\r\n", "the server answered 300" },
   }
   for _, row in ipairs(bad) do
      it("follows no " .. row[1]:gsub("%c+", " "), function()
         run(function()
            local port, heads = serve(say(row[1]))
            local ws, message, code, answer = weft.connect(raw.url(port), { max_redirects = 5 })
            assert.is_nil(ws)
            assert.equal("refused", code, message)
            assert.truthy(message:find(row[2], 1, true), message)
            assert.is_nil(message:find("hunter2", 1, true), message)
            assert.truthy(answer.status >= 300)
            assert.truthy(heads:receive(SOON))
            assert.is_nil((heads:receive(0)))
         end)
      end)
   end

   it("does not leave TLS for plain text", function()
      local from = assert(url.parse "wss://a/x")
      local to, why = url.follow(from, "ws://a/x")
      assert.is_nil(to)
      assert.truthy(why:find("give up TLS", 1, true))
      assert.is_nil((url.follow(from, "http://a/x")))
      assert.is_true(url.follow(from, "https://b/x").secure)
      assert.is_true(url.follow(from, "//b/x").secure)
      -- another scheme is another origin, and so is another port
      local plain = url.parse "ws://ann:x@a/x"
      assert.is_nil(url.follow(plain, "wss://a/x").credentials)
      assert.is_nil(url.follow(plain, "ws://a:81/x").credentials)
      assert.equal("ann:x", url.follow(plain, "ws://A:80/y").credentials)
   end)

   it("is led from plain text to TLS without its secrets, and never back", function()
      run(function()
         local seen = weft.channel(2)
         local app = server.app()
         app:websocket("/ws", function(ws) seen:send(ws.request) end)
         local plain = serve(accept)
         app:websocket("/down", raw.echo, { authorize = function()
            return nil, 302, { location = raw.url(plain) }
         end })
         local _, secure = assert(app:listen("127.0.0.1:0",
            { tls = certificates.server "good" }))
         local up = serve(redirect(("wss://localhost:%d/ws"):format(secure)))
         local opts = { max_redirects = 1, tls = certificates.client(),
            headers = { Cookie = "a=b", ["X-Plain"] = "plain" } }
         server.keep(assert(weft.connect(("ws://ann:x@127.0.0.1:%d/"):format(up), opts)))
         local request = seen:receive(SOON)
         assert.equal("plain", request.headers["x-plain"])
         assert.is_nil(request.headers.cookie)
         assert.is_nil(request.headers.authorization)
         assert.equal("localhost:" .. secure, request.headers.host)
         local ws, message, code = weft.connect(("wss://localhost:%d/down"):format(secure), opts)
         assert.is_nil(ws)
         assert.equal("refused", code)
         assert.truthy(message:find("give up TLS", 1, true), message)
      end)
   end)

   it("has its timeout for the whole way", function()
      run(function()
         local port = serve(function(c)
            weft.sleep(0.02)
            redirect "/again" (c)
            c:close()
         end)
         local ws, message, code = weft.connect(raw.url(port), { max_redirects = 20,
            timeout = 0.1 })
         assert.is_nil(ws)
         assert.equal("timeout", code, message)
      end)
   end)
end)

describe("any text", function()
   -- Pieces that mean something, and bytes that do not; the seed makes it the same each time.
   local PIECES = { "ws", "wss", "http", "ftp", "://", ":", "/", "//", "..", ".", "@", "zoe", "[",
      "]", "::1", "%25", "%", "%0d", "%zz", "?", "#", "127.0.0.1", "localhost", "80", "99999", "\0",
      "\r\n", " ", "\xff", ("x"):rep(300) }

   local function text()
      local parts = {}
      for i = 1, math.random(0, 9) do parts[i] = PIECES[math.random(#PIECES)] end
      return table.concat(parts)
   end

   it("is a URL and a Location or is not, and raises nothing", function()
      math.randomseed(7)
      local bases = { url.parse "ws://zoe:x@h:8080/a/b?q", url.parse "wss://[::1]" }
      local good = 0
      for _ = 1, raw.rounds(20000, 300) do
         local t = text()
         local parts, why = url.parse(t)
         assert(parts or type(why) == "string", t)
         assert(#url.show(t) <= 203 + #"***@")
         for _, base in ipairs(bases) do
            local to, shown = url.follow(base, t)
            assert(type(shown) == "string")
            if to then
               good = good + 1
               local head = url.target(to) .. url.host_field(to)
               assert(not head:find "[%c ]", t)
               assert(to.secure or not base.secure)
               assert(not to.credentials or url.same_origin(base, to)
                  or t:find("@", 1, true), t)
            end
         end
      end
      assert(good > raw.rounds(1000, 20), good)
      math.randomseed()
   end)
end)

describe("a client", function()
   it("names what the server took that it had not offered", function()
      run(function()
         for text, named in pairs {
            ["Sec-WebSocket-Protocol: evil.v9\r\n"] = 'subprotocol that was not offered: "evil.v9"',
            ["Sec-WebSocket-Extensions: x-evil; a=1\r\n"] = "x-evil; a=1" } do
            local port = serve(function(c, key) c:send(raw.answer(key, nil, text)) end)
            local ws, message, code = weft.connect(raw.url(port), { protocols = { "a", "b" } })
            assert.is_nil(ws)
            assert.equal("handshake", code)
            assert.truthy(message:find(named, 1, true), message)
         end
      end)
   end)

   it("masks each frame by another key", function()
      raw.run(function()
         local ws, c = raw.pair()
         local n = raw.rounds(600, 40) -- more than one fill of the stock of random bytes
         local seen, different, high = {}, 0, 0
         for i = 1, n do
            ws:send "the same"
            local _, f = c:take "text"
            different = different + (seen[f.key] and 0 or 1)
            seen[f.key] = i
            high = high + (f.key:byte() >> 7)
         end
         assert.is_true(different >= n - 1, different)
         assert.is_true(high > n / 10 and high < n * 9 / 10, high)
      end)
   end)

   it("takes its keys from the system, not from a seed", function()
      local process = require "spec.process"
      -- two processes that do all the same, down to the generator's seed
      local keys = {}
      for i = 1, 2 do
         local child = process.start(process.script("spec/scripts/mask_keys.lua"))
         keys[i] = child:wait_for "^keys (%x+)$"
         assert.equal(0, (select(2, child:finish())))
      end
      assert.equal(2 * 4 * 8, #keys[1])
      assert.are_not.equal(keys[1], keys[2])
   end)

   it("leaves nothing open when it is cancelled in a handshake", function()
      run(function()
         local ended, reached = weft.channel(1), weft.channel(1)
         local port = serve(function(c)
            reached:send(true)
            ended:send { c.stream:receive "*a" }
         end)
         local task = weft.spawn(weft.connect, raw.url(port))
         reached:receive(SOON)
         task:cancel()
         assert.same({ "" }, ended:receive(SOON)) -- at once, without a collection
      end)
   end)
end)
