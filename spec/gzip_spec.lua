-- Answers in gzip: who takes them, what is compressed, and that what comes out is what went in.

local core = require "weft.core"
local gzip = require "weft.gzip"
local weft = require "weft"
local process = require "spec.process"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run = raw.run

-- Undone by gzip's own program.
local function gunzip(bytes)
   local path = os.tmpname()
   local file = assert(io.open(path, "wb"))
   file:write(bytes)
   file:close()
   local child = process.start({ "gzip", "-dc" }, { foreign = true, input = path })
   local text, status = child:finish()
   os.remove(path)
   assert.equal(0, status, text)
   return text
end

describe("Accept-Encoding", function()
   local rows = {
      { "gzip", true }, { "GZIP", true }, { "x-gzip", true },
      { "deflate, gzip;q=1.0, *;q=0.5", true },
      { "gzip, deflate, br, zstd", true }, { "*", true }, { "gzip;q=0.001", true },
      { "gzip ; q=0.5", true }, { "identity;q=0.5, gzip;q=0.5", true }, { "identity;q=0, *", true },
      { nil, false }, { "", false }, { "identity", false }, { "br", false }, { "gzip;q=0", false },
      { "gzip;q=0.000", false }, { "gzip;q=0, *;q=1", false }, { "*;q=0", false },
      { "identity;q=1, gzip;q=0.5", false }, { "gzip;q=2", false }, { "gzip;q=1.5", false },
      { "gzip;q=x", false }, { "gzip;level=9", false }, { "g zip", false }, { "deflate", false },
      { "gzip;q=0.12345", false }, { ("a,"):rep(600) .. "gzip", false },
   }
   for _, row in ipairs(rows) do
      it(("%s: %s"):format(row[1] and row[1]:sub(1, 40), row[2]), function()
         assert.equal(row[2], gzip.accepted(row[1]))
      end)
   end

   it("is for what is text", function()
      for _, kind in ipairs { "text/html; charset=utf-8", "application/json", "image/svg+xml",
         "application/problem+json", "TEXT/CSS", "text/javascript" } do
         assert.is_true(gzip.fits(kind), kind)
      end
      for _, kind in ipairs { "image/png", "application/gzip", "text/event-stream", "video/mp4",
         "application/octet-stream", "font/woff2" } do
         assert.is_false(gzip.fits(kind), kind)
      end
   end)
end)

describe("core.encoder", function()
   it("makes what gzip undoes, however it is cut", function()
      local parts = {}
      for i = 1, raw.rounds(20000, 500) do
         parts[i] = ("line %d of some text\n"):format(i * 7919 % 4001)
      end
      local text = table.concat(parts)
      for _, size in ipairs { 1000, 4096, #text } do
         local encoder, out = core.encoder(5), {}
         for at = 1, #text, size do
            out[#out + 1] = encoder:push(text:sub(at, at + size - 1),
               at % 3 == 0 and "flush" or "more")
         end
         out[#out + 1] = encoder:push("", "finish")
         assert.equal("", encoder:push("late", "finish"))
         assert.is_true(gunzip(table.concat(out)) == text)
      end
      assert.equal("", gunzip(core.encoder(1):push("", "finish")))
   end)

   it("lets all out that was put in at a flush", function()
      local encoder, decoder = core.encoder(5), core.decoder("gzip", 100)
      for i = 1, raw.rounds(50, 5) do
         decoder:push(encoder:push("piece " .. i, "flush"))
         assert.equal("piece " .. i, decoder:pull())
         assert.equal("", decoder:pull())
      end
   end)
end)

local TEXT = ("some text that is long enough to be worth it, "):rep(50)

describe("a handler's answer", function()
   local function serve(handler, opts)
      local app = server.app { gzip = true }
      app:get("/", handler, opts)
      local _, port = assert(app:listen "127.0.0.1:0")
      return function(accept, method)
         return server.ask(port, method or "GET", "/", { ["accept-encoding"] = accept })
      end, port
   end

   it("is compressed when it is long, for who takes it", function()
      run(function()
         local ask = serve(function()
            return 200, { ETag = '"a"', ["Content-Length"] = #TEXT, vary = "Cookie" }, TEXT
         end)
         local answer = ask "gzip"
         assert.same({ 200, "gzip", 'W/"a"', "Accept-Encoding, Cookie", tostring(#answer.body) },
            { answer.status, answer.headers["content-encoding"], answer.headers.etag,
               answer.headers.vary, answer.headers["content-length"] })
         assert.equal(TEXT, gunzip(answer.body))
         assert.is_true(#answer.body < 300)
         answer = ask "gzip;q=0"
         assert.same({ TEXT, '"a"', "Accept-Encoding, Cookie" },
            { answer.body, answer.headers.etag, answer.headers.vary })
         assert.is_nil(answer.headers["content-encoding"])
         answer = ask("gzip", "HEAD")
         assert.same({ "gzip", "" }, { answer.headers["content-encoding"], answer.body })
      end)
   end)

   it("is left alone where it would not help, or must not be", function()
      run(function()
         for _, row in ipairs {
            { {}, ("x"):rep(1023) }, { { ["content-type"] = "image/png" }, TEXT },
            { { ["content-encoding"] = "br" }, TEXT },
            { { ["Cache-Control"] = "no-transform" }, TEXT },
            { { ["content-range"] = "bytes 0-1/5" }, TEXT, 206 },
         } do
            local ask = serve(function() return row[3] or 200, row[1], row[2] end)
            assert.equal(row[2], ask("gzip").body)
         end
         local ask = serve(function() return 200, nil, TEXT end, { gzip = false })
         local answer = ask "gzip"
         assert.equal(TEXT, answer.body)
         assert.is_nil(answer.headers.vary)
      end)
   end)

   it("is compressed piece by piece when it is very long, and others have their turn", function()
      run(function()
         local long = TEXT:rep(raw.hostile and 40 or 2000)
         local ask, port = serve(function() return 200, nil, long end)
         local other = weft.spawn(server.ask, port, "GET", "/")
         local answer = ask "gzip"
         assert.equal("chunked", answer.headers["transfer-encoding"])
         assert.is_true(gunzip(answer.body) == long)
         assert.is_true(other:join().body == long)
         local mine = assert(weft.http.get(("http://127.0.0.1:%d/"):format(port),
            { max_ratio = 10000 }))
         assert.is_true(mine.body == long)
      end)
   end)

   it("by an iterator goes out as it comes", function()
      run(function()
         local go = weft.channel()
         local closed = false
         local ask, port = serve(function()
            return 200, nil, function(last, i)
               i = (i or 0) + 1
               if i > 1 then go:receive() end
               return i <= last and ("x"):rep(i) .. (i == 2 and "" or "\n") or nil
            end, 0, nil, setmetatable({}, { __close = function() closed = true end })
         end)
         assert.equal("", gunzip(ask("gzip").body))
         assert.is_true(closed)
         local app = server.app { gzip = true }
         app:get("/", function()
            local i = 0
            return 200, nil, function()
               i = i + 1
               if i == 2 then return "" end
               if i > 2 then go:receive() end
               return i <= 4 and "piece " .. i or nil
            end
         end)
         local _, second = assert(app:listen "127.0.0.1:0")
         assert(port ~= second)
         local answer = assert(weft.http.get(("http://127.0.0.1:%d/"):format(second),
            { stream = true }))
         assert.equal("gzip", answer:header "content-encoding")
         assert.equal("piece 1", answer:read())
         go:send(true)
         assert.equal("piece 3", answer:read())
         go:send(true)
         assert.equal("piece 4", answer:read())
         go:send(true)
         assert.is_nil((answer:read()))
      end)
   end)
end)

describe("a static file", function()
   local root

   local function write(name, text)
      local file <close> = assert(io.open(root .. "/" .. name, "wb"))
      file:write(text)
   end

   setup(function()
      root = os.tmpname()
      os.remove(root)
      assert(os.execute("mkdir -p " .. root))
      write("page.html", TEXT)
      write("small.txt", "small")
      write("image.png", TEXT)
      write("big.txt", TEXT:rep(200))
      write("ready.js", TEXT)
      write("ready.js.gz", core.encoder(9):push("// ready\n" .. TEXT, "finish"))
      write("old.js", TEXT)
      write("old.js.gz", "stale")
      assert(os.execute(("cd %s && touch -d '2001-01-01' old.js.gz"):format(root)))
   end)

   teardown(function() os.execute("rm -rf '" .. root .. "'") end)

   local function serve(opts)
      local app = server.app()
      app:static("/", root, opts)
      local _, port = assert(app:listen "127.0.0.1:0")
      return function(path, headers, method)
         headers = headers or {}
         headers["accept-encoding"] = headers["accept-encoding"] or "gzip, br"
         return server.ask(port, method or "GET", path, headers)
      end
   end

   it("is compressed when it is text, with a weak tag, and not asked for twice", function()
      run(function()
         local ask = serve()
         for _, path in ipairs { "/page.html", "/big.txt" } do
            local answer = ask(path)
            assert.same({ 200, "gzip", "Accept-Encoding", "chunked" },
               { answer.status, answer.headers["content-encoding"], answer.headers.vary,
                  answer.headers["transfer-encoding"] })
            assert.is_true(gunzip(answer.body) == (path == "/page.html" and TEXT or TEXT:rep(200)))
            assert.is_nil(answer.headers["accept-ranges"])
            local tag = answer.headers.etag
            assert.matches('^W/"', tag)
            local again = ask(path, { ["if-none-match"] = tag })
            assert.same({ 304, tag, "Accept-Encoding" },
               { again.status, again.headers.etag, again.headers.vary })
            assert.equal(304, ask(path, { ["if-none-match"] = tag:sub(3) }).status)
            local head = ask(path, nil, "HEAD")
            assert.same({ 200, "gzip", "" },
               { head.status, head.headers["content-encoding"], head.body })
         end
      end)
   end)

   it("is sent as it is to others, and where it would not help", function()
      run(function()
         local ask = serve()
         local answer = ask("/page.html", { ["accept-encoding"] = "identity" })
         assert.same({ TEXT, "Accept-Encoding", "bytes" },
            { answer.body, answer.headers.vary, answer.headers["accept-ranges"] })
         assert.matches('^"', answer.headers.etag)
         for path, text in pairs { ["/small.txt"] = "small", ["/image.png"] = TEXT } do
            answer = ask(path)
            assert.equal(text, answer.body)
            assert.is_nil(answer.headers.vary)
         end
         assert.equal(TEXT, serve { gzip = false }("/page.html").body)
      end)
   end)

   it("answers a range with a part of the file as it is", function()
      run(function()
         local ask = serve()
         local answer = ask("/page.html", { range = "bytes=5-8" })
         assert.same({ 206, "text" , "Accept-Encoding" },
            { answer.status, answer.body, answer.headers.vary })
         answer = ask("/page.html", { range = "bytes=0-1,3-4" }) -- several: all of it
         assert.same({ 200, TEXT }, { answer.status, answer.body })
         assert.equal(416, ask("/page.html", { range = "bytes=99999-" }).status)
         -- a weak tag is no condition for a range (RFC 9110 13.1.5)
         local tag = ask("/page.html").headers.etag
         assert.equal(200, ask("/page.html", { range = "bytes=5-8", ["if-range"] = tag }).status)
         assert.equal(206,
            ask("/page.html", { range = "bytes=5-8", ["if-range"] = tag:sub(3) }).status)
      end)
   end)

   it("comes from a file that somebody has compressed, unless that is older", function()
      run(function()
         local ask = serve()
         local answer = ask "/ready.js"
         assert.same({ "gzip", "text/javascript; charset=utf-8", tostring(#answer.body) },
            { answer.headers["content-encoding"], answer.headers["content-type"],
               answer.headers["content-length"] })
         assert.equal("// ready\n" .. TEXT, gunzip(answer.body))
         assert.equal(TEXT, gunzip(ask("/old.js").body))
         assert.equal("application/gzip", ask("/ready.js.gz").headers["content-type"])
      end)
   end)
end)
