-- weft.http and redirects (RFC 9110 15.4): who is asked what, and what stays behind.

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

local function to(status, location, body)
   return ("HTTP/1.1 %d There\r\nlocation: %s\r\ncontent-length: %d\r\n\r\n%s"):format(status,
      location, #(body or ""), body or "")
end

describe("weft.http, redirected,", function()
   local methods = { -- status, method, what is asked next
      { 301, "GET", "GET" }, { 302, "GET", "GET" }, { 303, "GET", "GET" }, { 307, "GET", "GET" },
      { 308, "GET", "GET" }, { 301, "POST", "GET" }, { 302, "POST", "GET" },
      { 303, "POST", "GET" }, { 307, "POST", "POST" }, { 308, "POST", "POST" },
      { 301, "PUT", "PUT" }, { 302, "DELETE", "DELETE" }, { 303, "PUT", "GET" },
      { 303, "HEAD", "HEAD" }, { 307, "PUT", "PUT" }, { 302, "HEAD", "HEAD" },
   }
   for _, row in ipairs(methods) do
      it(("turns %d of %s into %s"):format(row[1], row[2], row[3]), function()
         run(function()
            local base, seen = origin.answers(to(row[1], "/next"), function(stream, request)
               stream:send(request.line:find "^HEAD" and ok "" or ok "there")
            end)
            local sends = row[2] ~= "GET" and row[2] ~= "HEAD"
            local answer = assert(http.request(base .. "/first?q", { method = row[2],
               body = sends and "content" or nil, headers = { ["content-type"] = "text/x" } }))
            assert.equal(base .. "/next", answer.url)
            assert.equal(200, answer.status)
            local request = seen.requests[2]
            assert.equal(row[3] .. " /next HTTP/1.1", request.line)
            local keeps = sends and row[3] == row[2]
            assert.equal(keeps and "content" or nil, request.body)
            assert.equal((keeps or not sends and row[2] == row[3]) and "text/x" or nil,
               request.fields["content-type"])
            assert.equal(1, seen.accepted)
         end)
      end)
   end

   it("resolves a Location against the URL that it came from", function()
      local rows = {
         { "/a/b?c", "d", "/a/d" }, { "/a/b?c", "?d", "/a/b?d" }, { "/a/b", "../../x/./y", "/x/y" },
         { "/a/b", "/c#frag", "/c" }, { "/a/b", "//HOST/c", "/c" },
         { "/a/b", "/ä b", "/%C3%A4%20b" },
      }
      run(function()
         for _, row in ipairs(rows) do
            local location, host = row[2], nil
            local base, seen, port = origin.answers(function(stream)
               stream:send(to(302, (location:gsub("HOST", host))))
            end, ok "")
            host = "127.0.0.1:" .. port
            assert.equal(base .. row[3], assert(http.get(base .. row[1])).url)
            assert.equal("GET " .. row[3] .. " HTTP/1.1", seen.requests[2].line)
         end
      end)
   end)

   it("takes no secret to another origin", function()
      run(function()
         local other, seen_other, other_port = origin.answers(ok "other")
         local _, seen, port = origin.answers(to(307, "/same"), to(307, other), ok "")
         local url = ("http://ann:secret@127.0.0.1:%d/"):format(port)
         local answer = assert(http.post(url, "x", { headers = { Cookie = "c=1", host = "named",
            ["Proxy-Authorization"] = "p", ["X-Mine"] = "kept" } }))
         assert.equal("other", answer.body)
         assert.equal("Basic YW5uOnNlY3JldA==", seen.requests[2].fields.authorization)
         assert.equal("c=1", seen.requests[2].fields.cookie)
         local fields = seen_other.requests[1].fields
         for _, name in ipairs { "authorization", "cookie", "proxy-authorization" } do
            assert.is_nil(fields[name])
         end
         assert.equal("127.0.0.1:" .. other_port, fields.host)
         assert.equal("kept", fields["x-mine"])
         assert.equal("x", seen_other.requests[1].body)
         -- nor back to the first one
         local base, back
         other, seen_other = origin.answers(function(stream) stream:send(to(302, back)) end)
         base, seen = origin.answers(to(302, other), ok "")
         back = base .. "/home"
         assert(http.get(base, { headers = { authorization = "mine" } }))
         assert.equal("mine", seen.requests[1].fields.authorization)
         assert.is_nil(seen_other.requests[1].fields.authorization)
         assert.is_nil(seen.requests[2].fields.authorization)
      end)
   end)

   it("goes so far and no further", function()
      run(function()
         local base, seen = origin.answers(to(302, "/again"))
         local answer, message, code = http.get(base, { max_redirects = 3 })
         assert.is_nil(answer)
         assert.equal("refused", code)
         assert.truthy(message:find("over max_redirects (3)", 1, true), message)
         assert.equal(4, #seen.requests)
         assert.equal(1, seen.accepted)
         answer = assert(http.get(base, { max_redirects = 0 }))
         assert.equal(302, answer.status)
         assert.equal("/again", answer.headers.location)
      end)
   end)

   it("refuses where it should not go", function()
      run(function()
         for location, why in pairs { ["ftp://x/"] = 'to the scheme "ftp"',
            ["javascript:x"] = 'to the scheme "javascript"', ["http://"] = "malformed URL",
            ["http://x:99999/"] = "malformed URL" } do
            local answer, message, code = http.get((origin.answers(to(302, location))))
            assert.is_nil(answer)
            assert.equal("refused", code)
            assert.truthy(message:find(why, 1, true), message)
         end
         local url = require "weft.url"
         local secure = assert(url.parse("https://a/x", url.http))
         local _, why = url.follow(secure, "http://a/x")
         assert.equal("from https:// to http://, which would give up TLS", why)
         assert.is_true(url.follow(secure, "//b/x").secure)
      end)
   end)

   it("leaves to the script what it cannot follow", function()
      run(function()
         local base = origin.answers("HTTP/1.1 302 No\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 302 Two\r\nlocation: /a\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n",
            to(300, "/x"), to(304, "/x"))
         for _, status in ipairs { 302, 302, 300, 304 } do
            assert.equal(status, assert(http.get(base)).status)
         end
         -- a body that cannot be sent twice
         local n = 0
         base = origin.answers(function(stream)
            repeat local line = stream:receive "*l" until line == "0" or not line
            stream:receive "*l"
            stream:send(to(307, "/x"))
         end)
         local answer = assert(http.post(base, function()
            n = n + 1
            return n < 3 and "x" or nil
         end))
         assert.equal(307, answer.status)
         assert.equal(3, n)
      end)
   end)

   it("does not read on in a redirect's big body", function()
      run(function()
         local base, seen = origin.serve(function(stream, n)
            origin.read_request(stream)
            if n > 1 then return stream:send(ok "there") end
            stream:send "HTTP/1.1 302 Far\r\nlocation: /x\r\n\r\n"
            local junk = ("x"):rep(10000)
            while stream:send(junk) do weft.sleep(0) end
         end)
         assert.equal("there", assert(http.get(base)).body)
         assert.equal(2, seen.accepted)
      end)
   end)
end)
