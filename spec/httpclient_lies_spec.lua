-- weft.http against servers that lie, and what that does to the pool of connections.

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

local H = "HTTP/1.1 200 OK\r\n"
local CHUNKED = H .. "transfer-encoding: chunked\r\n\r\n"

-- What the server says (it hangs up behind it when it is no table), the code, and a part of
-- the message.
local lies = {
   { H .. "content-length: 10\r\n\r\nhello", "protocol", "broke off after 5 of 10 bytes" },
   { H .. "content-length: 10\r\n\r\n", "protocol", "broke off after 0 of 10 bytes" },
   { H .. "content-length: 5\r\ncontent-length: 6\r\n\r\nhello!", "protocol",
      "malformed Content-Length" },
   { H .. "content-length: 5, 6\r\n\r\nhello!", "protocol", "malformed Content-Length" },
   { H .. "content-length: -1\r\n\r\n", "protocol", "malformed Content-Length" },
   { H .. "content-length: 0x5\r\n\r\nhello", "protocol", "malformed Content-Length" },
   { H .. "content-length: 99999999999999999999\r\n\r\n", "protocol", "malformed" },
   { H .. "content-length: \r\n\r\n", "protocol", "malformed" },
   { H .. "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
      "protocol", "both Content-Length and Transfer-Encoding" },
   { H .. "transfer-encoding: gzip\r\n\r\nx", "protocol", "only the chunked" },
   { H .. "transfer-encoding: chunked, gzip\r\n\r\nx", "protocol", "only the chunked" },
   { "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "protocol", "HTTP/1.0" },
   { CHUNKED .. "x\r\n", "protocol", "malformed chunk size" },
   { CHUNKED .. "-5\r\nhello\r\n", "protocol", "malformed chunk size" },
   { CHUNKED .. "0x5\r\nhello\r\n", "protocol", "malformed chunk size" },
   { CHUNKED .. "\r\n", "protocol", "malformed chunk size" },
   { CHUNKED .. "5 5\r\nhello\r\n", "protocol", "malformed chunk size" },
   { CHUNKED .. "ffffffffffffffff\r\n", "protocol", "malformed chunk size" },
   { CHUNKED .. "5\r\nhello!\r\n0\r\n\r\n", "protocol", "longer than its size" },
   { CHUNKED .. "5\r\nhello\n0\r\n\r\n", "protocol", "longer than its size" },
   { CHUNKED .. "5\nhello\r\n0\r\n\r\n", "protocol", "does not end with CRLF" },
   { CHUNKED .. "5;a\rb\r\nhello\r\n0\r\n\r\n", "protocol", "does not end with CRLF" },
   { CHUNKED .. "5\r\nhel", "protocol", "broke off after 3 bytes" },
   { CHUNKED .. "5\r\nhello", "protocol", "closed in the end of a chunk" },
   { CHUNKED .. "5\r\nhello\r\n", "protocol", "closed in a chunk's size" },
   { CHUNKED .. "0\r\nx: 1\r\n", "protocol", "closed in the trailer section" },
   { CHUNKED .. "0\r\nno colon\r\n\r\n", "protocol", "malformed trailer field" },
   { CHUNKED .. "0\r\nx: \0\r\n\r\n", "protocol", "malformed trailer field" },
   { CHUNKED .. "0\r\n" .. ("x: 1\r\n"):rep(70) .. "\r\n", "protocol", "too many trailer" },
   { CHUNKED .. "0\r\n" .. ("x: " .. ("y"):rep(4000) .. "\r\n"):rep(4) .. "\r\n", "protocol",
      "too many trailer" },
   { CHUNKED .. "0\r\nx: " .. ("y"):rep(9000) .. "\r\n\r\n", "protocol", "trailer section" },
   { CHUNKED .. ("5;" .. ("e"):rep(300)) .. "\r\nhello\r\n0\r\n\r\n", "protocol", "chunk's size" },
   { "", "closed", "closed before an answer came" },
   { "HTTP/1.1 200 OK\r\ncontent", "protocol", "closed within a head" },
   { "220 mail.example ESMTP\r\n", "protocol", "no HTTP version" },
   { "HTTP/2.0 200 OK\r\n\r\n", "protocol", "the HTTP version is not 1.x" },
   { "HTTP/1.1 20 OK\r\n\r\n", "protocol", "not a number of three digits" },
   { "HTTP/1.1 099 Odd\r\n\r\n", "protocol", "a status below 100" },
   { "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", "protocol", "101 without" },
   { ("HTTP/1.1 100 Continue\r\n\r\n"):rep(40), "protocol", "too many interim" },
   { H .. "bad field\r\n\r\n", "protocol", "not a token followed by a colon" },
   { H .. "x: 1\r\n folded\r\n\r\n", "protocol", "white space" },
   { H .. "x: \0\r\n\r\n", "protocol", "control character" },
   { H .. ("x: 1\r\n"):rep(65) .. "\r\n", "protocol", "max_fields" },
   { H .. ("x: " .. ("y"):rep(2000) .. "\r\n"):rep(20) .. "\r\n", "too_big", "max_head" },
   { "HTTP/1.1 200 " .. ("x"):rep(5000), "too_big", "max_line" },
   { ("x"):rep(100000), "protocol", "no HTTP version" },
   { H .. "content-length: 2000\r\n\r\n", "too_big", "larger than max_body (1000 bytes)" },
   { H .. "\r\n" .. ("x"):rep(2000), "too_big", "larger than max_body (1000 bytes)" },
   { CHUNKED .. "7d0\r\n", "too_big", "larger than max_body (1000 bytes)" },
   { CHUNKED .. ("1f4\r\n" .. ("x"):rep(500) .. "\r\n"):rep(3), "too_big", "larger than max_body" },
}

describe("weft.http, lied to,", function()
   for i, row in ipairs(lies) do
      it(("says so, row %d: %s"):format(i, row[3]), function()
         run(function()
            local base, seen = origin.answers { row[1], hang_up = true }
            local answer, message, code = http.request(base, { method = "POST", max_body = 1000 })
            assert.is_nil(answer)
            assert.equal(row[2], code, message)
            assert.truthy(message:find(row[3], 1, true), message)
            assert.equal(1, seen.accepted)
            assert.equal(0, http.close_idle())
         end)
      end)
   end

   it("takes the same length twice, and a body of just the limit", function()
      run(function()
         local base, seen = origin.answers(
            H .. "content-length: 5\r\nContent-Length: 5\r\n\r\nhello",
            H .. "content-length: 5, 5\r\n\r\nhello",
            H .. "content-length: 1000\r\n\r\n" .. ("x"):rep(1000))
         for _ = 1, 2 do
            assert.equal("hello", assert(http.get(base, { max_body = 1000 })).body)
         end
         assert.equal(1000, #assert(http.get(base, { max_body = 1000 })).body)
         assert.equal(1, seen.accepted)
      end)
   end)

   it("judges a head the same however it comes", function()
      run(function()
         local text = CHUNKED .. "3;x\r\nabc\r\n0\r\nt: 1\r\n\r\n"
         local at = 0
         local base = origin.answers(function(stream)
            at = at + 1
            stream:send(text:sub(1, at))
            weft.sleep(0)
            stream:send(text:sub(at + 1))
         end)
         for _ = 1, #text, os.getenv "WEFT_HOSTILE_GC" and 20 or 1 do
            local answer = assert(http.get(base))
            assert.equal("abc", answer.body)
            assert.equal("1", answer.trailers.t)
         end
      end)
   end)

   it("is not filled up by a head, a line or a body without an end", function()
      run(function()
         for _, begin in ipairs { "HTTP/1.1 200 ", H .. "x: ", CHUNKED .. "5;", H .. "\r\n" } do
            local base, seen = origin.serve(function(stream, _, all)
               origin.read_request(stream)
               stream:send(begin)
               local junk = ("x"):rep(10000)
               while stream:send(junk) do weft.sleep(0) end
               all.over = true
            end)
            local answer, _, code = http.get(base, { max_body = 100000 })
            assert.is_nil(answer)
            assert.truthy(code == "too_big" or code == "protocol")
            while not seen.over do weft.sleep(0.001) end
         end
      end)
   end)
end)

describe("the pool of weft.http", function()
   it("uses a connection again, for the same origin only", function()
      run(function()
         local one, seen_one, port = origin.answers(ok "1")
         local two, seen_two = origin.answers(ok "2")
         for _ = 1, 3 do
            assert.equal("1", assert(http.get(one)).body)
            assert.equal("2", assert(http.get(two)).body)
         end
         assert.equal("1", assert(http.get("HTTP://127.0.0.1:" .. port)).body)
         assert.same({ 1, 1 }, { seen_one.accepted, seen_two.accepted })
         assert.equal(2, http.close_idle())
         assert.equal(0, http.close_idle())
         assert.equal("1", assert(http.get(one)).body)
         assert.equal(2, seen_one.accepted)
      end)
   end)

   it("never uses again what is not clean", function()
      run(function()
         local dirty = {
            ok "1" .. "x", -- a body longer than it said
            ok "1" .. ok "smuggled",
            ok("1", "connection: close\r\n"),
            ok("1", "Connection: x, CLOSE\r\n"),
            "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n1",
            "HTTP/1.1 204 No Content\r\n\r\nbody",
         }
         for i, text in ipairs(dirty) do
            local base, seen = origin.answers(text)
            assert(http.get(base))
            assert(http.get(base))
            assert.equal(2, seen.accepted, "row " .. i)
            http.close_idle()
         end
         local base, seen = origin.answers(
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\n1")
         assert(http.get(base))
         assert(http.get(base))
         assert.equal(1, seen.accepted)
      end)
   end)

   it("lets go of a connection that gets bytes, or its end, while it waits", function()
      run(function()
         for _, late in ipairs { "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", "" } do
            local go = weft.channel()
            local over
            local base, seen = origin.serve(function(stream, n)
               while origin.read_request(stream) do
                  stream:send(ok("good" .. n))
                  if n == 1 then
                     go:receive()
                     if late == "" then return end
                     stream:send(late)
                     stream:receive "*a"
                     over = true
                  end
               end
            end)
            assert.equal("good1", assert(http.get(base)).body)
            go:send(true)
            if late ~= "" then while not over do weft.sleep(0.001) end end
            assert.equal("good2", assert(http.get(base)).body)
            assert.equal(2, seen.accepted)
            http.close_idle()
         end
      end)
   end)

   it("closes what waits too long, and keeps no more than it may", function()
      run(function()
         local ended = 0
         local hold = server.keep(weft.channel())
         local base = origin.serve(function(stream)
            while origin.read_request(stream) do
               hold:receive()
               stream:send(ok "x")
            end
            ended = ended + 1
         end)
         local function ask(n, opts)
            weft.group(function(g)
               for _ = 1, n do g:spawn(function() assert(http.get(base, opts)) end) end
               for _ = 1, n do hold:send(true) end
            end)
         end
         local function await(n)
            while ended < n do weft.sleep(0.001) end
         end
         ask(5, { max_idle_per_origin = 3 })
         await(2)
         assert.equal(3, http.close_idle())
         ask(5, { max_idle = 2 })
         await(8)
         assert.equal(2, http.close_idle())
         ask(2, { keepalive = 0.05 })
         await(12)
         ask(1, { keepalive = 0 })
         ask(1, { max_idle = 0 })
         await(14)
         http.close_idle()
      end)
   end)

   it("asks again when a kept connection dies, what may be asked again, once", function()
      run(function()
         -- the first request of a connection is answered, the second never
         local function mean()
            local base, seen = origin.serve(function(stream, _, all)
               local request = origin.read_request(stream)
               table.insert(all.requests, request)
               stream:send(ok("again " .. (request.body or "")))
               if origin.read_request(stream) then all.cut = (all.cut or 0) + 1 end
            end)
            assert(http.get(base))
            return base, seen
         end
         for _, method in ipairs { "GET", "HEAD", "PUT", "DELETE", "OPTIONS" } do
            local base, seen = mean()
            assert(http.request(base, { method = method, body = method == "PUT" and "b" or nil }))
            assert.equal(1, seen.cut)
            assert.equal(2, seen.accepted)
            http.close_idle()
         end
         local base, seen
         base = mean()
         local answer, message, code = http.post(base, "b")
         assert.is_nil(answer)
         assert.equal("closed", code)
         assert.truthy(message:find("closed before an answer came", 1, true))
         base, seen = mean()
         answer, message, code = http.request(base, { method = "PUT", body = function() end })
         assert.is_nil(answer, message)
         assert.equal("closed", code)
         assert.equal(1, seen.accepted)
         -- nothing is repeated once a byte of the answer has come
         base, seen = origin.serve(function(stream, n)
            origin.read_request(stream)
            if n > 1 then stream:send "HTTP/1.1 " return end
            stream:send(ok "1")
            origin.read_request(stream)
            stream:send "HTTP/1.1 2"
         end)
         assert(http.get(base))
         answer, message, code = http.get(base)
         assert.is_nil(answer, message)
         assert.equal("protocol", code)
         assert.equal(1, seen.accepted)
      end)
   end)

   it("does not keep a program running, and goes with its state", function()
      local process = require "spec.process"
      local child = process.start(process.script("spec/scripts/http_once.lua"))
      local rest, status = child:finish()
      assert.equal("ok\n", rest)
      assert.equal(0, status)
   end)
end)
