local weft = require "weft"
local server = require "spec.helper_server"

local run = server.run

local root

local function write(path, text)
   local file = assert(io.open(path, "wb"))
   file:write(text)
   file:close()
end

local BIG = ("0123456789abcdef"):rep(20000)

setup(function()
   root = os.tmpname()
   os.remove(root)
   assert(os.execute(("mkdir -p %s/public/sub/deep %s/public/.well-known %s/public/.git")
      :format(root, root, root)))
   write(root .. "/secret.txt", "secret")
   write(root .. "/public/index.html", "<h1>home</h1>")
   write(root .. "/public/a b.txt", "spaced")
   write(root .. "/public/app.js", "run()")
   write(root .. "/public/data.bin", BIG)
   write(root .. "/public/empty", "")
   write(root .. "/public/noext", "bytes")
   write(root .. "/public/sub/index.html", "<h1>sub</h1>")
   write(root .. "/public/sub/deep/x.css", "p{}")
   write(root .. "/public/.hidden", "hidden")
   write(root .. "/public/.git/config", "hidden")
   write(root .. "/public/.well-known/x.txt", "known")
   assert(os.execute(("cd %s/public && ln -s ../secret.txt link && ln -s .. up "
      .. "&& ln -s app.js in.js"):format(root)))
end)

teardown(function()
   os.execute("rm -rf '" .. root .. "'")
end)

local function serve(opts, prefix)
   local app = server.app()
   app:static(prefix or "/", root .. "/public", opts)
   local _, port = assert(app:listen "127.0.0.1:0")
   return server.dial(port), app
end

describe("app:static", function()
   it("serves a file beside routes of other methods, and a page beside its WebSocket", function()
      run(function()
         local app = server.app()
         app:static("/", root .. "/public")
         app:websocket("/", function(ws) ws:send "hello" end)
         app:put("/:name", function() return 201 end)
         app:get("/noext", function() return 200, nil, "a route's" end)
         local _, port = assert(app:listen "127.0.0.1:0")
         local function ask(...) return server.ask(port, ...) end
         assert.equal("<h1>home</h1>", ask("GET", "/").body)
         assert.equal("run()", ask("GET", "/app.js").body)
         assert.equal(200, ask("HEAD", "/app.js").status)
         assert.equal(201, ask("PUT", "/app.js").status)
         assert.equal("a route's", ask("GET", "/noext").body)
         local answer = ask("GET", "/nothing")
         assert.same({ 405, "GET, HEAD, OPTIONS, PUT" }, { answer.status, answer.headers.allow })
         assert.equal("GET, HEAD, OPTIONS, PUT", ask("OPTIONS", "/app.js").headers.allow)
         assert.equal(405, ask("DELETE", "/app.js").status)
         local ws = server.keep(assert(weft.connect(("ws://127.0.0.1:%d/"):format(port))))
         assert.equal("hello", ws:receive(10))
      end)
   end)

   local rows = {
      { "/", 200, "<h1>home</h1>", "text/html; charset=utf-8" },
      { "/index.html", 200, "<h1>home</h1>", "text/html; charset=utf-8" },
      { "/app.js", 200, "run()", "text/javascript; charset=utf-8" },
      { "/app.js?v=2", 200, "run()" },
      { "/a%20b.txt", 200, "spaced", "text/plain; charset=utf-8" },
      { "/data.bin", 200, BIG, "application/octet-stream" },
      { "/noext", 200, "bytes", "application/octet-stream" },
      { "/empty", 200, "" },
      { "/sub/", 200, "<h1>sub</h1>" },
      { "/sub/deep/x.css", 200, "p{}", "text/css; charset=utf-8" },
      { "/in.js", 200, "run()" },
      { "/.well-known/x.txt", 200, "known" },
      { "/nothing", 404 }, { "/app.js/", 404 }, { "/app.js/x", 404 }, { "/sub/deep/", 404 },
      { "/link", 404 }, { "/up/secret.txt", 404 }, { "/up/public/app.js", 200, "run()" },
      { "/.hidden", 404 }, { "/.git/config", 404 }, { "/%2Ehidden", 404 },
      { "/../secret.txt", 404 }, { "/sub/../../secret.txt", 404 }, { "/sub/../app.js", 404 },
      { "/%2e%2e/secret.txt", 404 }, { "/..%2fsecret.txt", 404 }, { "/sub%2findex.html", 404 },
      { "/..%5csecret.txt", 404 }, { "/..\\secret.txt", 404 }, { "//etc/passwd", 404 },
      { "/sub//index.html", 404 }, { "/./app.js", 404 }, { "/app.js%00.txt", 400 },
      { "/%zz", 400 }, { "//sub", 404 },
   }
   for _, row in ipairs(rows) do
      it(("answers %s by %d"):format(row[1], row[2]), function()
         run(function()
            local peer = serve()
            local answer = peer:ask("GET", row[1])
            assert.equal(row[2], answer.status)
            if row[3] then
               assert.is_true(answer.body == row[3])
               assert.equal(tostring(#row[3]), answer.headers["content-length"])
               assert.equal("nosniff", answer.headers["x-content-type-options"])
            else
               assert.is_nil(answer.body:find "secret")
            end
            if row[4] then assert.equal(row[4], answer.headers["content-type"]) end
            if row[2] ~= 400 then -- the connection goes on
               assert.equal(200, peer:ask("GET", "/").status)
            end
         end)
      end)
   end

   it("sends directories to their slash, query included", function()
      run(function()
         local peer = serve()
         local answer = peer:ask("GET", "/sub?x=1")
         assert.equal(301, answer.status)
         assert.equal("/sub/?x=1", answer.headers.location)
      end)
   end)

   it("answers HEAD, OPTIONS, and nothing else", function()
      run(function()
         local peer = serve()
         peer:send "HEAD /data.bin HTTP/1.1\r\nhost: x\r\n\r\n"
         local answer = peer:response "HEAD"
         assert.equal(tostring(#BIG), answer.headers["content-length"])
         assert.equal(204, peer:ask("OPTIONS", "/data.bin").status)
         answer = peer:ask("POST", "/app.js")
         assert.equal(405, answer.status)
         assert.equal("GET, HEAD, OPTIONS", answer.headers.allow)
         assert.equal(200, peer:ask("GET", "/").status)
      end)
   end)

   it("answers 304 for what the browser has", function()
      run(function()
         local peer = serve()
         local first = peer:ask("GET", "/app.js")
         local etag, modified = first.headers.etag, first.headers["last-modified"]
         assert.truthy(etag:find '^"[%x-]+"$')
         local rows304 = {
            { { ["if-none-match"] = etag }, 304 },
            { { ["if-none-match"] = 'W/"x", W/' .. etag }, 304 },
            { { ["if-none-match"] = "*" }, 304 },
            { { ["if-none-match"] = '"other"' }, 200 },
            { { ["if-modified-since"] = modified }, 304 },
            { { ["if-modified-since"] = "Thu, 01 Jan 1970 00:00:00 GMT" }, 200 },
            { { ["if-modified-since"] = "Fri Jan  1 00:00:00 2049" }, 304 },
            { { ["if-modified-since"] = "Thu Jan  1 00:00:00 1970" }, 200 },
            { { ["if-modified-since"] = "Friday, 01-Jan-49 00:00:00 GMT" }, 304 },
            { { ["if-modified-since"] = "Thursday, 01-Jan-99 00:00:00 GMT" }, 200 },
            { { ["if-modified-since"] = "yesterday" }, 200 },
            { { ["if-none-match"] = '"other"', ["if-modified-since"] = modified }, 200 },
         }
         for i, row in ipairs(rows304) do
            local answer = peer:ask("GET", "/app.js", row[1])
            assert.equal(row[2], answer.status, "row " .. i)
            assert.equal(etag, answer.headers.etag)
            assert.equal(row[2] == 200 and "run()" or "", answer.body)
         end
      end)
   end)

   it("answers 412 where the client wants another version than there is", function()
      run(function()
         local peer = serve()
         local first = peer:ask("GET", "/app.js")
         local etag, modified = first.headers.etag, first.headers["last-modified"]
         local early = "Thu, 01 Jan 1970 00:00:00 GMT"
         local conditions = {
            { { ["if-match"] = etag }, 200 },
            { { ["if-match"] = '"other", ' .. etag }, 200 },
            { { ["if-match"] = "*" }, 200 },
            { { ["if-match"] = "W/" .. etag }, 412 },
            { { ["if-match"] = '"other"' }, 412 },
            { { ["if-match"] = '"other"', range = "bytes=0-1" }, 412 },
            { { ["if-match"] = '"other"', ["if-none-match"] = etag }, 412 },
            { { ["if-match"] = etag, ["if-none-match"] = etag }, 304 },
            { { ["if-match"] = etag, range = "bytes=0-1" }, 206 },
            { { ["if-unmodified-since"] = modified }, 200 },
            { { ["if-unmodified-since"] = early }, 412 },
            { { ["if-unmodified-since"] = "yesterday" }, 200 },
            { { ["if-match"] = etag, ["if-unmodified-since"] = early }, 200 },
         }
         for i, row in ipairs(conditions) do
            assert.equal(row[2], peer:ask("GET", "/app.js", row[1]).status, "row " .. i)
         end
         assert.equal(412, peer:ask("HEAD", "/app.js", { ["if-match"] = '"other"' }).status)
      end)
   end)

   it("serves one range", function()
      run(function()
         local peer = serve()
         local size = #BIG
         local first = peer:ask("GET", "/data.bin")
         assert.equal("bytes", first.headers["accept-ranges"])
         local ranges = {
            { "bytes=0-0", 206, 0, 0 }, { "bytes=5-9", 206, 5, 9 },
            { "bytes=100000-", 206, 100000, size - 1 }, { "bytes=-3", 206, size - 3, size - 1 },
            { "bytes=0-99999999", 206, 0, size - 1 }, { "bytes=-99999999", 206, 0, size - 1 },
            { "bytes=" .. size .. "-", 416 }, { "bytes=-0", 416 },
            { "bytes=5-4", 200 }, { "bytes=0-1,3-4", 200 }, { "lines=1-2", 200 },
            { "bytes=-", 200 }, { "bytes=x-1", 200 },
            { "bytes=5-9", 206, 5, 9, first.headers.etag },
            { "bytes=5-9", 206, 5, 9, first.headers["last-modified"] },
            { "bytes=5-9", 200, nil, nil, '"other"' },
         }
         for i, row in ipairs(ranges) do
            local answer = peer:ask("GET", "/data.bin",
               { range = row[1], ["if-range"] = row[5] })
            assert.equal(row[2], answer.status, "row " .. i)
            if row[2] == 206 then
               assert.is_true(answer.body == BIG:sub(row[3] + 1, row[4] + 1))
               assert.equal(("bytes %d-%d/%d"):format(row[3], row[4], size),
                  answer.headers["content-range"])
            elseif row[2] == 416 then
               assert.equal("bytes */" .. size, answer.headers["content-range"])
            end
         end
      end)
   end)

   it("obeys its options", function()
      run(function()
         local peer = serve({ max_age = 3600, hidden = true, index = "app.js" }, "/assets/")
         assert.equal("run()", peer:ask("GET", "/assets/").body)
         assert.equal("max-age=3600", peer:ask("GET", "/assets/app.js").headers["cache-control"])
         assert.equal("hidden", peer:ask("GET", "/assets/.hidden").body)
         assert.equal("/assets/", peer:ask("GET", "/assets").headers.location)
         assert.equal(404, peer:ask("GET", "/assetsapp.js").status)
         assert.equal(404, peer:ask("GET", "/app.js").status)
         assert.equal(404, peer:ask("GET", "/assets/../secret.txt").status)
      end)
   end)

   it("asks for every view by default", function()
      run(function()
         local peer = serve()
         assert.equal("no-cache", peer:ask("GET", "/").headers["cache-control"])
      end)
   end)

   it("lets routes, and longer prefixes, come first", function()
      run(function()
         local peer, app = serve()
         app:static("/sub/deep", root .. "/public")
         app:get("/app.js", function() return 200, nil, "from the route" end)
         assert.equal("from the route", peer:ask("GET", "/app.js").body)
         assert.equal("run()", peer:ask("GET", "/sub/deep/app.js").body)
         assert.equal("<h1>sub</h1>", peer:ask("GET", "/sub/").body)
      end)
   end)

   it("sends a big file to a peer that goes away", function()
      run(function()
         local peer = serve()
         for _ = 1, 20 do peer:send "GET /data.bin HTTP/1.1\r\nhost: x\r\n\r\n" end
         peer:close()
      end)
   end)

   it("refuses what cannot be served", function()
      run(function()
         local app = server.app()
         local function fails(pattern, ...)
            local args = table.pack(...)
            local message = server.blame(function() app:static(table.unpack(args, 1, args.n)) end)
            assert.truthy(message:find("^app:static: .*" .. pattern), message)
         end
         fails("must begin with", "x", root)
         fails("the prefix must be a string", nil, root)
         fails("the directory must be a string", "/")
         fails("nowhere", "/", root .. "/nowhere")
         fails("not a directory", "/", root .. "/secret.txt")
         fails('unknown option "indx"', "/", root, { indx = "x" })
         app:static("/", root)
         fails("taken already", "/", root)
      end)
   end)
end)
