-- Client proxies: how a proxy is chosen, and proxies made of a script, which answer what they
-- are told to, lawful or not. Real ones are in proxy_peers_spec.lua.

local weft = require "weft"
local proxy = require "weft.proxy"
local origin = require "spec.helper_origin"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run = raw.run
local OPEN = "HTTP/1.1 200 Connection established\r\n\r\n"

--- With these variables in the environment, and no other of a proxy's.
local function with_environment(variables, f)
   local real = os.getenv
   os.getenv = function(name) -- luacheck: ignore 122
      if name:lower():find "_proxy$" then return variables[name] end
      return real(name)
   end
   local ok, err = pcall(f)
   os.getenv = real -- luacheck: ignore 122
   if not ok then error(err, 0) end
end

describe("a proxy's URL", function()
   it("is taken apart", function()
      local cases = {
         { "http://h:3128", "http", "h", 3128 },
         { "h:3128", "http", "h", 3128 },
         { "h", "http", "h", 80 },
         { "HTTP://h/", "http", "h", 80 },
         { "https://[::1]", "http", "::1", 443, true },
         { "socks5://h", "socks", "h", 1080 },
         { "socks5h://u%40:p:q@h:1", "socks", "h", 1, nil, true, "u@", "p:q" },
         { "u:p@h:81", "http", "h", 81, nil, nil, "u", "p" },
      }
      for _, case in ipairs(cases) do
         local via = assert(proxy.parse(case[1]))
         assert.same({ case[2], case[3], case[4], case[5], case[6], case[7] or "", case[8] or "" },
            { via.kind, via.host, via.port, via.secure, via.remote, via.user, via.password },
            case[1])
      end
   end)

   it("that is malformed is misuse as an option, and shows nothing secret", function()
      local bad = { "socks4://h", "ftp://h", "http://h/path", "http://h?q", "http://", "h:99999",
         "http://u:sesame@h h", "socks5://u:sesame@h/x", "http://u%0a:sesame@h",
         "socks5://" .. ("u"):rep(256) .. ":sesame@h" }
      for _, text in ipairs(bad) do
         for where, f in pairs {
            ["weft.connect"] = function() weft.connect("ws://h/", { proxy = text }) end,
            ["weft.dial"] = function() weft.dial("h:1", { proxy = text }) end,
            ["weft.http.get"] = function() weft.http.get("http://h/", { proxy = text }) end,
            ["weft.reconnect"] = function() weft.reconnect("ws://h/", { proxy = text }) end,
         } do
            local message = server.blame(f)
            assert.truthy(message:find(where .. ': option "proxy" must be the URL of a proxy', 1,
               true), message)
            assert.is_nil(message:find("sesame", 1, true))
         end
      end
      assert.truthy(server.blame(function() weft.connect("ws://h/", { proxy = 1 }) end)
         :find "must be a string or true or false")
      assert.truthy(server.blame(function()
         weft.dial("h:1", { proxy = "https://h", proxy_tls = { wrong = 1 } })
      end):find 'unknown option "wrong"')
   end)
end)

describe("the environment", function()
   local function chosen(variables, parts)
      local via, why
      with_environment(variables, function() via, why = proxy.pick(true, parts) end)
      return via and via.shown, why
   end
   local plain = { host = "h", port = 80 }
   local secure = { host = "h", port = 443, secure = true }
   local address = { kind = "tcp", host = "h", port = 1 }

   it("names proxies in curl's order", function()
      local cases = {
         { {}, plain, nil },
         { { http_proxy = "p:1" }, plain, "p:1" },
         { { http_proxy = "p:1" }, secure, nil },
         { { HTTP_PROXY = "p:1" }, plain, nil }, -- CGI: a request's field
         { { https_proxy = "p:1", HTTPS_PROXY = "p:2" }, secure, "p:1" },
         { { HTTPS_PROXY = "p:2" }, secure, "p:2" },
         { { http_proxy = "", all_proxy = "socks5://p" }, plain, "p:1080" },
         { { ALL_PROXY = "p:3" }, secure, "p:3" },
         { { http_proxy = "p:1", https_proxy = "p:1" }, address, nil },
         { { all_proxy = "p:1" }, address, "p:1" },
         { { http_proxy = "p:1", no_proxy = "h" }, plain, nil },
         { { http_proxy = "p:1", NO_PROXY = "h" }, plain, nil },
         { { http_proxy = "p:1", no_proxy = "g", NO_PROXY = "h" }, plain, "p:1" },
         { { http_proxy = "p:1" }, { host = "h", port = 80, unix = "/x" }, nil },
      }
      for i, case in ipairs(cases) do
         assert.equal(case[3], (chosen(case[1], case[2])), "case " .. i)
      end
   end)

   it("that names none that can be used is no secret, but its password is", function()
      local via, why = chosen({ http_proxy = "socks4://u:sesame@p" }, plain)
      assert.is_nil(via)
      assert.equal("bad proxy in http_proxy: the scheme must be http, https, socks5 or socks5h",
         why)
      with_environment({ all_proxy = "http://u:sesame@ /" }, function()
         run(function()
            for _, f in ipairs { weft.connect, weft.http.get } do
               local url = f == weft.connect and "ws://h/" or "http://h/"
               local result, message, code = f(url)
               assert.is_nil(result)
               assert.equal("resolve", code)
               assert.truthy(message:find("bad proxy in all_proxy: ", 1, true), message)
               assert.is_nil(message:find("sesame", 1, true))
            end
         end)
      end)
   end)

   it("excepts names at a label, addresses, networks and ports", function()
      local cases = {
         { "*", "anything", 1, true },
         { "example.org", "example.org", 80, true },
         { "example.org", "a.example.org", 80, true },
         { "example.org", "badexample.org", 80, false },
         { ".example.org", "example.org", 80, true },
         { "*.example.org", "a.example.org", 80, true },
         { "EXAMPLE.org.", "Example.ORG.", 80, true },
         { "org", "example.org", 80, true },
         { "a, example.org b", "b", 80, true },
         { "example.org:8080", "example.org", 80, false },
         { "example.org:8080", "a.example.org", 8080, true },
         { "*:8080", "h", 8080, true },
         { "10.0.0.0/8", "10.1.2.3", 80, true },
         { "10.0.0.0/8", "11.1.2.3", 80, false },
         { "10.1.2.3", "10.1.2.3", 80, true },
         { "10.1.2.3:81", "10.1.2.3", 80, false },
         { "2.3", "10.1.2.3", 80, false }, -- not a suffix of an address
         { "192.168.0.0/33", "192.168.0.1", 80, false },
         { "::1", "::1", 80, true },
         { "[::1]:80", "::1", 80, true },
         { "[::1]:80", "::1", 81, false },
         { "fd00::/9", "fd7f::1", 80, true },
         { "fd00::/9", "fd80::1", 80, false },
         { "::ffff:10.1.2.3", "10.1.2.3", 80, true },
         { ",, ,", "h", 80, false },
         { ".", "h", 80, false },
      }
      for _, case in ipairs(cases) do
         assert.equal(case[4], proxy.exempts(case[1], case[2], case[3]),
            case[1] .. " | " .. case[2])
      end
   end)
end)

-- -- proxies made of a script -----------------------------------------------------------

-- Listens; script(stream, what it was asked first: a head, or SOCKS' greeting).
local function listen(read, script)
   local listener = server.keep(assert(weft.listen "127.0.0.1:0"))
   local seen = { ended = 0 }
   weft.spawn(function()
      for stream in listener:each() do
         weft.spawn(function()
            server.keep(stream)
            local asked = read(stream)
            seen[#seen + 1] = asked
            if asked then script(stream, asked, seen) end
            if stream:receive(1) == nil then seen.ended = seen.ended + 1 end
            stream:close()
         end)
      end
   end)
   return math.tointeger((select(2, listener:getsockname()))), seen
end

local function read_head(stream)
   local request = origin.read_request(stream)
   return request and request.head
end

local function http_proxy(script) return listen(read_head, script) end

local function send_bytes(stream, bytes)
   for i = 1, #bytes do
      if not stream:send(bytes:sub(i, i)) then return end
      weft.sleep(0)
   end
end

local function read_greeting(stream)
   local head = stream:receive(2)
   return head and head .. (stream:receive(head:byte(2)) or "")
end

-- Does what SOCKS asks first; then script gets the request.
local function socks_proxy(script, method)
   return listen(read_greeting, function(stream, greeting, seen)
      stream:send(method or "\5\0")
      local head = stream:receive(4)
      if not head then return end
      local kind = head:byte(4)
      local length = kind == 1 and 4 or kind == 4 and 16 or stream:receive(1):byte()
      script(stream, { head = head, address = stream:receive(length),
         port = (">I2"):unpack((stream:receive(2))), greeting = greeting }, seen)
   end)
end

local BOUND = "\5\0\0\1\0\0\0\0\0\0"

local function dial(address, scheme, port, opts)
   local options = { proxy = scheme .. "127.0.0.1:" .. port }
   for name, value in pairs(opts or {}) do options[name] = value end
   return weft.dial(address, options)
end

local function fails(pattern, code, stream, message, got)
   assert.is_nil(stream)
   assert.truthy(message:find(pattern, 1, true), message)
   assert.equal(code, got, message)
end

describe("an HTTP proxy", function()
   it("is asked with CONNECT, for host and port, with what its URL says", function()
      run(function()
         local port, seen = http_proxy(function(stream) stream:send(OPEN .. "hello\n") end)
         for _, case in ipairs {
            { "example:443", "http://", "example:443" },
            { "example:25", "http://Aladdin:open%20sesame@", "example:25",
               "\nproxy-authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\n" },
            { "[2001:db8::1]:80", "", "[2001:db8::1]:80" },
         } do
            local stream = server.keep(assert(dial(case[1], case[2], port)))
            assert.equal("hello", stream:receive "*l") -- glued to the answer
            local head = table.remove(seen)
            assert.equal(("CONNECT %s HTTP/1.1"):format(case[3]), head:match "^[^\n]*")
            assert.truthy(head:find("\nhost: " .. case[3] .. "\n", 1, true))
            assert.equal(case[4], head:match "\nproxy%-authorization: [^\n]*\n")
         end
      end)
   end)

   it("may answer byte by byte, cut anywhere, with fields and interim answers", function()
      run(function()
         local answer = "HTTP/1.1 103 Hints\r\n\r\nHTTP/1.0 204 OK\r\nContent-Length: 7\r\n"
            .. "Transfer-Encoding: chunked\r\n\r\nhello\n"
         local cut
         local port = http_proxy(function(stream)
            if not cut then return send_bytes(stream, answer) end
            stream:send(answer:sub(1, cut))
            weft.sleep(0)
            stream:send(answer:sub(cut + 1))
         end)
         for at = 0, #answer, raw.hostile and 60 or 1 do
            cut = at > 0 and at or nil
            local stream <close> = assert(dial("h:1", "http://", port))
            assert.equal("hello", stream:receive "*l")
         end
      end)
   end)

   it("that refuses, lies, or goes is an error that says so", function()
      run(function()
         local text, after
         local port, seen = http_proxy(function(stream)
            stream:send(text)
            if after then stream:close() end
         end)
         local who = "proxy 127.0.0.1:" .. port
         local cases = {
            { "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
               who .. " refused CONNECT example:443: 407 Proxy Authentication Required",
               "refused" },
            { "HTTP/1.1 502 \r\n\r\n", who .. " refused CONNECT example:443: 502 ", "refused" },
            { "HTTP/1.1 302 Found\r\nLocation: http://h/\r\n\r\n", ": 302 Found", "refused" },
            { "HTTP/1.1 500 " .. ("x"):rep(1000) .. "\r\n\r\n", ("x"):rep(80), "refused" },
            { "SSH-2.0-x\r\n\r\n", " to CONNECT example:443", "protocol" },
            { "HTTP/1.1 200 OK\r\nbroken\r\n\r\n", who, "protocol" },
            { "HTTP/1.1 200 OK\r\nx: " .. ("y"):rep(10000), who, "too_big" },
            { ("HTTP/1.1 100 \r\n\r\n"):rep(40), "too many interim", "protocol" },
            { "", who .. ": it closed the connection before it answered to CONNECT example:443",
               "closed", true },
            { "HTTP/1.1 20", "closed within a head to CONNECT", "protocol", true },
         }
         for _, case in ipairs(cases) do
            text, after = case[1], case[4]
            fails(case[2], case[3], dial("example:443", "http://u:sesame@", port))
         end
         local _, message = dial("example:443", "http://u:sesame@", port)
         assert.is_nil(message:find("sesame", 1, true))
         raw.eventually(function() return seen.ended == #cases + 1 end, "the end of each stream")
      end)
   end)

   it("that is silent, or not there, is bounded, and can be cancelled", function()
      run(function()
         local port, seen = http_proxy(function() end)
         fails("timeout while waiting for its answer to CONNECT h:1", "timeout",
            dial("h:1", "http://", port, { timeout = 0.1 }))
         local task = weft.spawn(dial, "h:1", "http://", port)
         raw.eventually(function() return #seen == 2 end)
         task:cancel()
         raw.eventually(function() return seen.ended == 2 end, "the end of each stream")
         local free = weft.tcp()
         free:bind("127.0.0.1", 0)
         local unused = math.tointeger((select(2, free:getsockname())))
         fails(("proxy 127.0.0.1:%d: cannot connect to"):format(unused), "refused",
            dial("h:1", "", unused))
         free:close()
         local _, message, code = weft.connect("ws://h/", { proxy = "no-such-host.invalid:1" })
         assert.equal("resolve", code)
         assert.truthy(message:find("proxy no-such-host.invalid:1: cannot resolve", 1, true),
            message)
      end)
   end)

   it("is not asked twice the same by weft.reconnect, nor taken for the server", function()
      run(function()
         local port = http_proxy(function(stream)
            stream:send "HTTP/1.1 403 Forbidden\r\n\r\n"
         end)
         local whys = {}
         for _ in weft.reconnect("ws://h/", { proxy = "127.0.0.1:" .. port, max_attempts = 2,
            min_delay = 0.001, max_delay = 0.002,
            on_stop = function(why) whys[#whys + 1] = why end,
            on_retry = function(why) whys[#whys + 1] = why end }) do error "connected" end
         assert.equal(2, #whys)
         assert.is_nil(whys[1].status)
         assert.equal("refused", whys[1].code)
      end)
   end)

   it("is asked with whole URLs for http://, on one connection for all origins", function()
      run(function()
         local url, seen = origin.answers(origin.ok "fine")
         local opts = { proxy = url:gsub("//", "//u:p@") }
         assert.equal("fine", assert(weft.http.get("http://a.example/x?y", opts)).body)
         assert.equal("fine", assert(weft.http.get("http://me:pw@b.example:81", opts)).body)
         assert.equal(1, seen.accepted)
         assert.equal("GET http://a.example/x?y HTTP/1.1", seen.requests[1].line)
         assert.equal("GET http://b.example:81/ HTTP/1.1", seen.requests[2].line)
         assert.equal("b.example:81", seen.requests[2].fields.host)
         assert.equal("Basic dTpw", seen.requests[2].fields["proxy-authorization"])
         assert.equal("Basic bWU6cHc=", seen.requests[2].fields.authorization)
         -- another user, and no proxy, are other connections
         assert(weft.http.get("http://a.example/", { proxy = url }))
         assert.equal(2, seen.accepted)
         assert(weft.http.get(url, { proxy = false }))
         assert.equal(3, seen.accepted)
         assert.equal("GET / HTTP/1.1", seen.requests[4].line)
         assert.is_nil(seen.requests[4].fields["proxy-authorization"])
         weft.http.close_idle()
      end)
   end)

   it("is chosen anew for where a redirect leads", function()
      run(function()
         local url, seen = origin.answers(origin.ok "direct")
         local through, asked = origin.answers(
            ("HTTP/1.1 302 Found\r\nlocation: %s\r\ncontent-length: 0\r\n\r\n"):format(url))
         with_environment({ http_proxy = through, no_proxy = "127.0.0.1" }, function()
            assert.equal("direct", assert(weft.http.get "http://example/").body)
         end)
         assert.equal(1, #seen.requests)
         assert.equal("GET http://example/ HTTP/1.1", asked.requests[1].line)
         weft.http.close_idle()
      end)
   end)

   it("leads to no unix socket", function()
      run(function()
         local none, message, code = weft.connect("ws+unix:/tmp/none:/", { proxy = "h" })
         fails("no proxy leads to a unix socket", "resolve", none, message, code)
         none, message, code = weft.dial("unix:/tmp/none", { proxy = "h" })
         fails("no proxy leads to a unix socket", "resolve", none, message, code)
      end)
   end)
end)

describe("a SOCKS 5 proxy", function()
   it("is asked for names, and for addresses of both families", function()
      run(function()
         local asked
         local port = socks_proxy(function(stream, request)
            asked = request
            stream:send(BOUND .. "hello\n")
         end)
         for _, case in ipairs {
            { "example.org:443", "socks5h://", "\5\1\0\3", "example.org", 443 },
            { "127.0.0.9:1", "socks5h://", "\5\1\0\1", "\127\0\0\9", 1 },
            { "[::1]:65535", "socks5h://", "\5\1\0\4", ("\0"):rep(15) .. "\1", 65535 },
            { "127.0.0.9:1", "socks5://", "\5\1\0\1", "\127\0\0\9", 1 },
            { "localhost:7", "socks5://", "\5\1\0", nil, 7 },
         } do
            local stream = server.keep(assert(dial(case[1], case[2], port)))
            assert.equal("hello", stream:receive "*l") -- glued to the reply
            assert.equal(case[3], asked.head:sub(1, #case[3]))
            assert.equal(case[5], asked.port)
            assert.equal(case[4] or asked.address, asked.address)
            assert.equal("\5\1\0", asked.greeting)
            if not case[4] then assert.truthy(asked.head:byte(4) ~= 3) end
         end
      end)
   end)

   it("may reply byte by byte, cut anywhere, with any kind of address", function()
      run(function()
         local reply, cut
         local port = socks_proxy(function(stream)
            if not cut then return send_bytes(stream, reply .. "hello\n") end
            stream:send(reply:sub(1, cut))
            weft.sleep(0)
            stream:send(reply:sub(cut + 1) .. "hello\n")
         end)
         for _, one in ipairs { BOUND, "\5\0\0\3\4name\0\1", "\5\0\0\3\0\0\1",
            "\5\0\0\4" .. ("x"):rep(18) } do
            reply = one
            for at = 0, #reply, raw.hostile and 10 or 1 do
               cut = at > 0 and at or nil
               local stream <close> = assert(dial("h:1", "socks5h://", port))
               assert.equal("hello", stream:receive "*l")
            end
         end
      end)
   end)

   it("gets user and password when it wants them", function()
      run(function()
         local answer = "\1\0"
         local given
         local port = listen(read_greeting, function(stream, greeting)
            assert(greeting == "\5\2\0\2")
            stream:send "\5\2"
            local user = stream:receive(stream:receive(2):byte(2))
            given = { user, stream:receive(stream:receive(1):byte()) }
            stream:send(answer)
            if stream:receive(4) then stream:send(BOUND .. "hello\n") end
         end)
         local stream = server.keep(assert(dial("h:1", "socks5h://me:open%20sesame@", port)))
         stream:receive "*l"
         assert.same({ "me", "open sesame" }, given)
         for _, case in ipairs { { "\1\1", "refused" }, { "\5\0", "refused" } } do
            answer = case[1]
            local none, message, code = dial("h:1", "socks5h://me:sesame@", port)
            fails("refused h:1: the user or the password is wrong", case[2], none, message, code)
            assert.is_nil(message:find("sesame", 1, true))
         end
      end)
   end)

   it("that refuses, lies, or goes is an error that says so", function()
      run(function()
         local method, reply, after
         local port, seen = listen(read_greeting, function(stream)
            stream:send(method)
            if method == "\5\0" and stream:receive(8) then stream:send(reply) end
            if after then stream:close() end
         end)
         local who = ("proxy 127.0.0.1:%d"):format(port)
         local cases = {
            { "\5\0", "\5\5\0\1", who .. " refused h:1: connection refused", "refused" },
            { "\5\0", "\5\2\0\1", "not allowed by its rules", "refused" },
            { "\5\0", "\5\99\0\1", "failure 99", "refused" },
            { "\5\0", "\4\0\0\1", "does not answer as SOCKS 5 does", "protocol" },
            { "\5\0", "\5\0\0\9", "unknown kind of address", "protocol" },
            { "\5\0", "\5\0\0\1\0", "it closed the connection before it answered to h:1", "closed",
               true },
            { "\5\0", "\5\0\0\3", "it closed", "closed", true },
            { "\5\255", "", "refused h:1: it wants a user and a password", "refused" },
            { "\5\2", "", "a method that was not offered", "protocol" },
            { "\4\0", "", "does not answer as SOCKS 5 does", "protocol" },
            { "HTTP/1.1 400 Bad Request\r\n\r\n", "", "SOCKS 5", "protocol" },
            { "\5", "", "it closed", "closed", true },
         }
         for _, case in ipairs(cases) do
            method, reply, after = case[1], case[2], case[5]
            fails(case[3], case[4], dial("h:1", "socks5h://", port))
         end
         raw.eventually(function() return seen.ended == #cases end, "the end of each stream")
      end)
   end)

   it("is not asked for what it cannot be asked for", function()
      run(function()
         local port = socks_proxy(function() end)
         fails("SOCKS cannot be asked for", "resolve",
            dial(("x"):rep(256) .. ":1", "socks5h://", port))
         fails("SOCKS cannot be asked for", "resolve", dial("[fe80::1%lo]:1", "socks5://", port))
      end)
   end)

   it("that is silent is bounded at each step", function()
      run(function()
         local port = listen(read_greeting, function() end)
         fails("timeout while waiting for its answer to h:1", "timeout",
            dial("h:1", "socks5h://", port, { timeout = 0.1 }))
         port = socks_proxy(function() end)
         fails("timeout while waiting for its answer to h:1", "timeout",
            dial("h:1", "socks5h://", port, { timeout = 0.1 }))
      end)
   end)
end)
