-- weft.http against weft's own server and servers of a script.

local weft = require "weft"
local server = require "spec.helper_server"
local origin = require "spec.helper_origin"

local http = weft.http
local SOON = os.getenv "WEFT_HOSTILE_GC" and 200 or 20
local ok = origin.ok

local function run(f)
   server.run(function()
      f()
      http.close_idle()
   end, SOON)
end

-- An app that tells what it was asked, and its address.
local function echo_app()
   local app = server.app {}
   local function echo(req)
      return 200, { ["x-method"] = req.method, ["x-path"] = req.path, ["x-query"] = req.query or "",
         ["x-type"] = req:header "content-type" or "" }, req:body()
   end
   app:get("/*rest", echo):post("/*rest", echo):put("/*rest", echo):delete("/*rest", echo)
   local address = assert(app:listen "127.0.0.1:0")
   return "http://" .. address, app
end

describe("weft.http", function()
   it("asks by every method, with fields and a body", function()
      run(function()
         local base = echo_app()
         for _, method in ipairs { "GET", "POST", "PUT", "DELETE" } do
            local answer = assert(http.request(base .. "/a?b=c", { method = method,
               body = method ~= "GET" and "some text" or nil,
               headers = { ["Content-Type"] = "text/x" } }))
            assert.equal(200, answer.status)
            assert.equal("OK", answer.reason)
            assert.equal("1.1", answer.version)
            assert.equal(method, answer.headers["x-method"])
            assert.equal("/a", answer:header "X-Path")
            assert.equal("b=c", answer.headers["x-query"])
            assert.equal("text/x", answer.headers["x-type"])
            assert.equal(method ~= "GET" and "some text" or "", answer.body)
            assert.equal(base .. "/a?b=c", answer.url)
         end
         assert.equal("", assert(http.post(base .. "/x", "")).body)
         assert.equal("x", assert(http.post(base .. "/x", "x")).body)
         assert.equal(405, assert(http.request(base .. "/x", { method = "PATCH" })).status)
      end)
   end)

   it("writes the head that it should", function()
      run(function()
         local base, seen, port = origin.answers(ok "")
         assert(http.get(base))
         assert.equal(("GET / HTTP/1.1\nhost: 127.0.0.1:%d\nuser-agent: weft/%s\naccept: */*\n"
            .. "accept-encoding: gzip, deflate\n"):format(port, weft.version),
            seen.requests[1].head)
         assert(http.get(("http://ann:p%%40ss@127.0.0.1:%d?q#frag"):format(port),
            { compression = false, headers = { accept = "text/html" } }))
         assert.equal(("GET /?q HTTP/1.1\nhost: 127.0.0.1:%d\nuser-agent: weft/%s\n"
            .. "authorization: Basic YW5uOnBAc3M=\naccept: text/html\n"):format(port, weft.version),
            seen.requests[2].head)
         assert(http.request(base, { method = "POST", keepalive = 0,
            headers = { host = "other", ["X-Two"] = { "1", "2" }, authorization = "Mine" } }))
         local head = seen.requests[3].head
         assert.equal("0", seen.requests[3].fields["content-length"])
         assert.equal("close", seen.requests[3].fields.connection)
         assert.equal("other", seen.requests[3].fields.host)
         assert.truthy(head:find("\nX-Two: 1\nX-Two: 2\n", 1, true)
            or head:find("\nx-two: 1\nx-two: 2\n", 1, true))
         assert.equal("Mine", seen.requests[3].fields.authorization)
      end)
   end)

   it("speaks to an IPv6 literal, and names it in Host", function()
      run(function()
         local listener = server.keep(assert(weft.listen "[::1]:0"))
         local _, port = listener:getsockname()
         local host
         weft.spawn(function()
            local stream = server.keep(assert(listener:accept()))
            host = origin.read_request(stream).fields.host
            stream:send(ok "six")
         end)
         assert.equal("six", assert(http.get(("http://[::1]:%d/"):format(port))).body)
         assert.equal(("[::1]:%d"):format(port), host)
      end)
   end)

   it("works on the main thread, outside of weft.run", function()
      local listener = assert(weft.listen "127.0.0.1:0")
      local _, port = listener:getsockname()
      local serving = weft.spawn(function()
         local stream <close> = listener:accept()
         local request = origin.read_request(stream)
         stream:send(ok(request.body))
      end)
      assert.equal("plain", assert(http.post(("http://127.0.0.1:%d/"):format(port), "plain")).body)
      serving:join()
      listener:close()
      http.close_idle()
   end)

   it("gives each value of a field that is repeated", function()
      run(function()
         local base = origin.answers(ok("", "set-cookie: a=1, b\r\nSet-Cookie: c=2\r\n"))
         local answer = assert(http.get(base))
         assert.same({ "a=1, b", "c=2" }, answer:values "SET-cookie")
         assert.same({}, answer:values "none")
         assert.equal("a=1, b, c=2", answer.headers["set-cookie"])
      end)
   end)

   it("takes what has no body for that, whatever the fields say", function()
      run(function()
         local base, seen = origin.answers(
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
            ok "end")
         assert.equal("", assert(http.request(base, { method = "HEAD" })).body)
         assert.equal("", assert(http.get(base)).body)
         assert.equal("", assert(http.get(base)).body)
         assert.equal("end", assert(http.get(base)).body)
         assert.equal(1, seen.accepted)
      end)
   end)

   it("passes over answers of 1xx", function()
      run(function()
         local base, seen = origin.answers({ "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" .. ok "real" }, ok "next")
         assert.equal("real", assert(http.get(base)).body)
         assert.equal("next", assert(http.get(base)).body)
         assert.equal(1, seen.accepted)
      end)
   end)

   it("reads a body up to the end of its connection", function()
      run(function()
         local base, seen = origin.answers(
            { "HTTP/1.0 200 OK\r\n\r\nold ", "style", hang_up = true },
            { "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nto the end", hang_up = true })
         assert.equal("old style", assert(http.get(base)).body)
         assert.equal("to the end", assert(http.get(base)).body)
         assert.equal(2, seen.accepted)
      end)
   end)

   it("reads chunks with extensions and trailers", function()
      run(function()
         local base, seen = origin.answers("HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n"
            .. "4;name=value\r\nWiki\r\n00A ; q=\"x;y\"\r\npedia in 3\r\n0;last\r\n"
            .. "X-Sum: 1\r\nx-sum:2\r\n\r\n", ok "next")
         local answer = assert(http.get(base))
         assert.equal("Wikipedia in 3", answer.body)
         assert.same({ ["x-sum"] = "1, 2" }, answer.trailers)
         assert.equal("next", assert(http.get(base)).body)
         assert.equal(1, seen.accepted)
      end)
   end)
end)

describe("a body that goes out", function()
   -- A server that undoes the chunks by hand.
   local function read_chunked(stream)
      local sizes, parts = {}, {}
      while true do
         local size = tonumber(stream:receive "*l", 16)
         sizes[#sizes + 1] = size
         if size == 0 then break end
         parts[#parts + 1] = stream:receive(size)
         assert(stream:receive "*l" == "")
      end
      local trailers = {}
      for line in function() return (stream:receive "*l") end do
         if line == "" then break end
         trailers[#trailers + 1] = line
      end
      return table.concat(parts), sizes, trailers
   end

   local function pieces(list, ...)
      local i, more = 0, table.pack(...)
      return function()
         i = i + 1
         weft.sleep(0)
         if list[i] then return list[i] end
         return nil, table.unpack(more)
      end
   end

   it("by an iterator, in chunks and with trailers", function()
      run(function()
         local got, sizes, trailers
         local base, seen = origin.answers(function(stream)
            got, sizes, trailers = read_chunked(stream)
            stream:send(ok "thanks")
         end)
         local answer = assert(http.post(base, pieces({ "one", "", ("2"):rep(20) },
            { ["x-sum"] = 7 }), { headers = { trailer = "x-sum" } }))
         assert.equal("thanks", answer.body)
         assert.equal("one" .. ("2"):rep(20), got)
         assert.same({ 3, 20, 0 }, sizes)
         assert.same({ "x-sum: 7" }, trailers)
         assert.equal("chunked", seen.requests[1].fields["transfer-encoding"])
         assert.equal("x-sum", seen.requests[1].fields.trailer)
         assert.equal("thanks", assert(http.post(base, pieces { "again" })).body)
         assert.equal(1, seen.accepted)
      end)
   end)

   it("by an iterator of a known length, as it is", function()
      run(function()
         local base, seen = origin.answers(ok "thanks")
         local known = { headers = { ["content-length"] = 6 } }
         assert.equal("thanks", assert(http.post(base, pieces { "abc", "def" }, known)).body)
         assert.equal("abcdef", seen.requests[1].body)
         for _, wrong in ipairs { { "abc" }, { "abcdefg" } } do
            local fine, message = pcall(http.post, base, pieces(wrong), known)
            assert.is_false(fine)
            assert.truthy(message:find("er than its content-length (6)", 1, true), message)
         end
      end)
   end)

   it("and is big, while the answer streams back", function()
      run(function()
         local base = origin.serve(function(stream)
            local length
            for line in function() return (stream:receive "*l") end do
               length = length or tonumber(line:match "^content%-length: (%d+)")
               if line == "" then break end
            end
            stream:send(("HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"):format(length))
            local left = length
            while left > 0 do
               local data = assert(stream:receive(math.min(left, 50000)))
               left = left - #data
               assert(stream:send(data))
            end
         end)
         local size = os.getenv "WEFT_HOSTILE_GC" and 1 << 20 or 24 << 20
         local data = ("0123456789abcdef"):rep(size // 16)
         local answer = assert(http.post(base, data, { max_body = size }))
         assert.is_true(answer.body == data)
      end)
   end)

   it("is stopped when the answer refuses it", function()
      run(function()
         local asked = 0
         local base = origin.serve(function(stream)
            while stream:receive "*l" ~= "" do end
            stream:send "HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\n\r\nno!"
            stream:receive "*a"
         end)
         local answer = assert(http.post(base, function()
            asked = asked + 1
            weft.sleep(0.001)
            return ("x"):rep(1000)
         end))
         assert.equal(413, answer.status)
         assert.equal("no!", answer.body)
         local before = asked
         weft.sleep(0.05)
         assert.is_true(asked <= before + 1)
         assert.equal(0, http.close_idle())
      end)
   end)

   it("waits for 100, or for a while, when it is to", function()
      run(function()
         local expect = { headers = { expect = "100-continue" } }
         local order = {}
         local base, seen = origin.serve(function(stream, n)
            while stream:receive "*l" ~= "" do end
            if n == 1 then
               order[#order + 1] = "100"
               stream:send "HTTP/1.1 100 Continue\r\n\r\n"
            elseif n == 2 then
               stream:send "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n"
               assert.is_nil((stream:receive(1)))
               return
            end
            order[#order + 1] = stream:receive(4)
            stream:send "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
         end)
         assert.equal("ok", assert(http.post(base, "body", expect)).body)
         assert.equal(417, assert(http.post(base, "body", expect)).status)
         local began = weft.now()
         assert.equal("ok", assert(http.post(base, "body", expect)).body)
         assert.is_true(weft.now() - began >= 0.99)
         assert.same({ "100", "body", "body" }, order)
         assert.equal(3, seen.accepted)
      end)
   end)

   it("whose iterator raises or is misused raises that, and ends the connection", function()
      run(function()
         local base = origin.serve(function(stream) stream:receive "*a" end)
         local rows = {
            { function() error("mine", 0) end, "mine" },
            { function() return 5 end, "the body's iterator must return strings, got a number" },
            { function() return nil, { ["bad name"] = 1 } end, "not a header field" },
            { function() return nil, { x = "1\r\n2" } end, "not a header field" },
         }
         for _, row in ipairs(rows) do
            local fine, message = pcall(http.post, base, row[1])
            assert.is_false(fine)
            assert.truthy(message:find(row[2], 1, true), message)
         end
         local mark = {}
         local _, err = pcall(http.post, base, function() error(mark) end)
         assert.equal(mark, err)
      end)
   end)
end)

describe("a streamed answer", function()
   it("comes piece by piece, while it is still written", function()
      run(function()
         local go = weft.channel()
         local base, seen = origin.answers(function(stream)
            stream:send "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
            for i = 1, 3 do
               go:receive()
               stream:send(("6\r\npiece%d\r\n"):format(i))
            end
            stream:send "0\r\nx-last: 1\r\n\r\n"
         end)
         local answer = assert(http.get(base, { stream = true }))
         assert.is_nil(answer.body)
         local seen_pieces = {}
         go:send(true)
         for piece in answer:chunks() do
            seen_pieces[#seen_pieces + 1] = piece
            if #seen_pieces < 3 then go:send(true) end
         end
         assert.same({ "piece1", "piece2", "piece3" }, seen_pieces)
         assert.same({ ["x-last"] = "1" }, answer.trailers)
         assert.is_nil(answer:read())
         assert.equal(1, seen.accepted)
         assert.equal(1, http.close_idle())
      end)
   end)

   it("has no bound, in bounded memory", function()
      run(function()
         local endless = ("x"):rep(60000)
         local base = origin.answers(function(stream)
            stream:send "HTTP/1.1 200 OK\r\n\r\n"
            while stream:send(endless) do weft.sleep(0) end
         end)
         local answer <close> = assert(http.get(base, { stream = true }))
         local total, wanted = 0, os.getenv "WEFT_HOSTILE_GC" and 1 << 20 or 40 << 20
         collectgarbage()
         local before = collectgarbage "count"
         for piece in answer:chunks() do
            total = total + #piece
            if total > wanted then break end
         end
         collectgarbage()
         assert.is_true(collectgarbage "count" - before < 4000)
      end)
   end)

   it("is closed by a loop that is left, and passed on, when its reader goes", function()
      run(function()
         local ended = weft.channel(2)
         local base = origin.answers(function(stream)
            stream:send "HTTP/1.1 200 OK\r\n\r\n"
            repeat until not stream:send(("x"):rep(60000))
            ended:send(true)
         end)
         local answer = assert(http.get(base, { stream = true }))
         for piece in answer:chunks() do if piece then break end end
         assert.is_true(ended:receive(SOON))
         assert.equal("closed", (select(3, answer:read())))
         local app = server.app()
         app:get("/", function() -- as a reverse proxy does
            return 200, nil, assert(http.get(base, { stream = true })):chunks()
         end)
         local _, port = assert(app:listen "127.0.0.1:0")
         local reader = server.dial(port)
         reader:send "GET / HTTP/1.1\r\nhost: x\r\n\r\n"
         assert(reader.stream:receive(100000))
         reader:close()
         assert.is_true(ended:receive(SOON))
      end)
   end)

   it("that is closed early, or broke off, says so and leaves no connection", function()
      run(function()
         local base = origin.answers(
            { "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello" },
            { "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello", hang_up = true })
         local answer = assert(http.get(base, { stream = true }))
         assert.equal("hello", answer:read())
         assert.is_true(answer:close())
         assert.is_true(answer:close())
         assert.equal("closed", (select(3, answer:read())))
         answer = assert(http.get(base, { stream = true }))
         assert.equal("hello", answer:read())
         local data, message, code = answer:read()
         assert.is_nil(data)
         assert.equal("the body broke off after 5 of 10 bytes", message)
         assert.equal("protocol", code)
         assert.equal(code, (select(3, answer:read())))
         local text = server.blame(function() for _ in answer:chunks() do end end)
         assert.equal(base .. "/: the body broke off after 5 of 10 bytes", text)
         assert.equal(0, http.close_idle())
      end)
   end)
end)

describe("the options of weft.http", function()
   it("idle_timeout is not spent by a long body that is taken bit by bit", function()
      run(function()
         local body = ("x"):rep(24 << 20) -- much more than the system keeps
         local limit, took = os.getenv "WEFT_HOSTILE_GC" and 3 or 1.5, nil
         local base = origin.serve(function(stream)
            local start = weft.now()
            repeat until stream:receive "*l" == ""
            for _ = 1, #body, 65536 do
               assert(stream:receive(65536))
               weft.sleep(limit / 150)
            end
            took = weft.now() - start
            stream:send "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
         end)
         assert.equal("ok", assert(http.post(base, body, { idle_timeout = limit })).body)
         assert(took > limit, "it was taken at once")
      end)
   end)

   local rows = {
      { { method = "GE T" }, "must be a method" },
      { { method = "CONNECT" }, "CONNECT is not for scripts" },
      { { headers = { ["x y"] = "1" } }, "not a header name" },
      { { headers = { x = "1\r\nEvil: 1" } }, "must not hold CR, LF or NUL" },
      { { headers = { x = "1\0" } }, "must not hold CR, LF or NUL" },
      { { headers = { x = "1\n" } }, "must not hold CR, LF or NUL" },
      { { headers = { ["Transfer-Encoding"] = "chunked" } }, "weft sets it itself" },
      { { headers = { connection = "x" } }, "weft sets it itself" },
      { { headers = { ["content-length"] = 3 }, body = "four" }, "does not fit the body" },
      { { headers = { ["content-length"] = "x" }, body = print }, "does not fit the body" },
      { { headers = { host = { "a", "b" } } }, "one host is needed" },
      { { headers = { ["x-a"] = 1, ["X-A"] = 2 } }, 'header "x-a" is there twice' },
      { { body = 5 }, "must be a string or a function" },
      { { bdoy = "x" }, "unknown option" }, { { tls = { bogus = 1 } }, "unknown option" },
      { { tls = { key = "x.key" } }, "a key without a cert" },
      { { timeout = 0 }, "from 0.01 to 86400" },
   }
   for i, row in ipairs(rows) do
      it("are judged at the script's own line, row " .. i, function()
         local message = server.blame(function() http.request("http://127.0.0.1:1/", row[1]) end)
         assert.truthy(message:find("^weft%.http%.request: "), message)
         assert.truthy(message:find(row[2], 1, true), message)
      end)
   end

   it("stand where they belong", function()
      assert.truthy(server.blame(function() http.get(5) end):find("the URL must be a string"))
      assert.truthy(server.blame(function() http.get("http://x", { method = "PUT" }) end)
         :find("it has the method already"))
      assert.truthy(server.blame(function() http.post("http://x", "b", { body = "c" }) end)
         :find("it has the body already"))
      assert.truthy(server.blame(function() http.get("http://x", 5) end):find("must be a table"))
   end)

   it("name what is wrong with a URL", function()
      local urls = { ["nonsense"] = "", ["ftp://x/"] = "http or https", ["http://a b/"] = "",
         ["ws://x/"] = "http or https", ["http://x/\r\n"] = "", ["http://:x:y@h/"] = "" }
      for url, why in pairs(urls) do
         local answer, message, code = http.get(url)
         assert.is_nil(answer)
         assert.equal(url:find "y@" and "refused" or "resolve", url:find "y@" and "refused" or code)
         assert.truthy(message:find(why, 1, true), message)
      end
   end)

   it("bound the times", function()
      run(function()
         local hold = server.keep(weft.channel())
         local base = origin.serve(function() hold:receive() end)
         local function fails(opts)
            local answer, message, code = http.request(base, opts)
            assert.is_nil(answer)
            assert.equal("timeout", code)
            return message
         end
         local waiting = "GET " .. base .. ": timeout while waiting for the answer"
         assert.truthy(fails { timeout = 0.05 }:find(waiting, 1, true))
         assert.truthy(fails { idle_timeout = 0.05 }:find(waiting, 1, true))
         weft.deadline(0.05, fails, {})
         -- nothing moves while a body goes out, either
         fails { method = "POST", idle_timeout = 0.1, body = ("x"):rep(32 << 20) }
         weft.deadline(0.1, fails, { method = "POST", body = function() weft.sleep(9) end })
         local slow = origin.answers(function(stream)
            stream:send "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello"
         end)
         local answer, message, code = http.get(slow, { idle_timeout = 0.05 })
         assert.is_nil(answer)
         assert.equal("timeout", code)
         assert.truthy(message:find("timeout while the body came", 1, true), message)
         assert.equal(0, http.close_idle())
      end)
   end)

   it("let a cancelled task go, and its connection, also within the body", function()
      run(function()
         local over, sent = 0, 0
         local base = origin.serve(function(stream, n)
            origin.read_request(stream)
            if n == 1 then stream:send "HTTP/1.1 200 OK\r\n\r\nbegun"
            elseif n == 2 then stream:send "HTTP/1.1 302 Up\r\nlocation: /x\r\n\r\nbegun" end
            sent = n
            stream:receive "*a"
            over = over + 1
         end)
         for i = 1, 2 do
            local task = weft.spawn(http.get, base)
            while sent < i do weft.sleep(0.001) end
            weft.sleep(0.02) -- wherever it is by then, its connection goes
            task:cancel()
            while over < i do weft.sleep(0.001) end
         end
      end)
   end)

   it("let a cancelled task go, and its connection", function()
      run(function()
         local over, begun
         local base = origin.serve(function(stream)
            origin.read_request(stream)
            begun = true
            stream:receive "*a"
            over = true
         end)
         local task = weft.spawn(http.post, base, function() weft.sleep(60) end)
         while not begun do weft.sleep(0.001) end
         task:cancel()
         task:join()
         while not over do weft.sleep(0.001) end
      end)
   end)
end)
