-- weft.http against servers of others: nginx (files, gzip, a proxy to weft, redirects, TLS),
-- python3's http.server, node's http; and curl for what they say to somebody else.

local lfs = require "lfs"
local weft = require "weft"
local daemon = require "spec.daemon"
local certificates = require "spec.certificates"
local process = require "spec.process"
local server = require "spec.helper_server"

local http = weft.http
local SOON = os.getenv "WEFT_HOSTILE_GC" and 200 or 30
local BIG = os.getenv "WEFT_HOSTILE_GC" and 300000 or 3000000

local function run(f)
   server.run(function()
      f()
      http.close_idle()
   end, SOON)
end

local function await(port)
   run(function()
      while true do
         local stream = weft.dial("127.0.0.1:" .. port)
         if stream then return stream:close() end
         weft.sleep(0.02)
      end
   end)
end

local dir, data
setup(function()
   dir = os.tmpname()
   os.remove(dir)
   assert(lfs.mkdir(dir))
   local lines = {}
   for i = 1, BIG // 20 do lines[i] = ("line %6d of a file\n"):format(i) end
   data = table.concat(lines)
   for name, text in pairs { ["file.txt"] = data, ["small.txt"] = "small", ["empty.txt"] = "" } do
      local file <close> = assert(io.open(dir .. "/" .. name, "wb"))
      file:write(text)
   end
   assert(lfs.mkdir(dir .. "/folder"))
   os.execute("chmod -R a+rX " .. dir)
end)

teardown(function() os.execute("rm -rf " .. dir) end)

-- The body that curl gets.
local function curl(url, ...)
   local child = process.start({ "curl", "-sS", "-o", dir .. "/curl.out", url, ... },
      { foreign = true })
   local output, status = child:finish()
   assert.equal(0, status, output)
   local file <close> = assert(io.open(dir .. "/curl.out", "rb"))
   return file:read "a"
end

describe("nginx", function()
   local nginx, ports, backend, app_port

   local config = [[
daemon off;
worker_processes 1;
error_log stderr;
pid DIR/nginx.pid;
events { worker_connections 64; }
http {
   access_log off;
   client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/fastcgi;
   uwsgi_temp_path DIR/uwsgi; scgi_temp_path DIR/scgi;
   client_max_body_size 1m;
   gzip_types text/plain; gzip_min_length 1; types { text/plain txt; }
   server {
      listen 127.0.0.1:PLAIN;
      listen 127.0.0.1:SECURE ssl;
      ssl_certificate CERT; ssl_certificate_key KEY;
      keepalive_timeout 60; keepalive_requests 5;
      root DIR;
      location /zip/ { alias DIR/; gzip on; }
      location /moved { return 301 /small.txt; }
      location /see { return 303 /small.txt; }
      location /kept { return 308 /weft/echo; }
      location /secure { return 302 https://localhost:SECURE/small.txt; }
      location /none { return 204; }
      location /short { keepalive_timeout 1ms; try_files /small.txt =404; }
      location /weft/ { proxy_pass http://127.0.0.1:WEFT/; proxy_http_version 1.1;
         proxy_request_buffering off; proxy_buffering off; }
   }
}
]]

   setup(function()
      ports = { PLAIN = daemon.free_port(), SECURE = daemon.free_port() }
      backend = process.start(process.script("spec/scripts/http_backend.lua"), { limit = 400 })
      app_port = backend:wait_for "^port (%d+)"
      local words = { DIR = dir, WEFT = app_port, CERT = certificates.path "good.pem",
         KEY = certificates.path "good.key", PLAIN = ports.PLAIN, SECURE = ports.SECURE }
      local file <close> = assert(io.open(dir .. "/nginx.conf", "w"))
      file:write((config:gsub("%u%u%u+", words)))
      file:close()
      nginx = process.start({ "/usr/sbin/nginx", "-e", "stderr", "-c", dir .. "/nginx.conf" },
         { foreign = true, limit = 400 })
      await(ports.PLAIN)
   end)

   teardown(function()
      if nginx then nginx:stop "TERM" end
      if backend then backend:stop() end
   end)

   local function base(path) return ("http://127.0.0.1:%d%s"):format(ports.PLAIN, path) end

   it("serves files, as curl gets them, and ends a connection after five requests", function()
      assert.is_true(curl(base "/file.txt") == data)
      run(function()
         for i = 1, 12 do
            local answer = assert(http.get(base "/file.txt"))
            assert.is_true(answer.body == data)
            assert.equal(i % 5 == 0 and "close" or "keep-alive", answer.headers.connection)
            assert.equal(tostring(#data), answer.headers["content-length"])
         end
         assert.equal("", assert(http.get(base "/empty.txt")).body)
         local head = assert(http.request(base "/file.txt", { method = "HEAD" }))
         assert.equal("", head.body)
         assert.equal(tostring(#data), head.headers["content-length"])
         assert.equal(204, assert(http.get(base "/none")).status)
         assert.equal(404, assert(http.get(base "/nothing")).status)
         local etag = head.headers.etag
         local unchanged = assert(http.get(base "/file.txt",
            { headers = { ["if-none-match"] = etag } }))
         assert.equal(304, unchanged.status)
         local part = assert(http.get(base "/file.txt", { headers = { range = "bytes=5-14" } }))
         assert.equal(206, part.status)
         assert.equal(data:sub(6, 15), part.body)
      end)
   end)

   it("compresses, in chunks", function()
      run(function()
         local answer = assert(http.get(base "/zip/file.txt"))
         assert.equal("gzip", answer.headers["content-encoding"])
         assert.equal("chunked", answer.headers["transfer-encoding"])
         assert.is_true(answer.body == data)
         answer = assert(http.get(base "/zip/file.txt", { compression = false }))
         assert.is_nil(answer.headers["content-encoding"])
         assert.is_true(answer.body == data)
         local total = 0
         for piece in assert(http.get(base "/zip/file.txt", { stream = true })):chunks() do
            total = total + #piece
         end
         assert.equal(#data, total)
      end)
   end)

   it("redirects, also to TLS", function()
      run(function()
         local moves = { ["/moved"] = base "/small.txt", ["/folder"] = base "/folder/" }
         for path, target in pairs(moves) do
            local answer = assert(http.get(base(path)))
            assert.equal(target, answer.url)
         end
         local seen = assert(http.post(base "/see", "form"))
         assert.equal("small", seen.body)
         local echoed = assert(http.post(base "/kept", "kept"))
         assert.equal("kept", echoed.body)
         local answer = assert(http.get(base "/secure", { tls = certificates.client() }))
         assert.equal("small", answer.body)
         assert.equal(("https://localhost:%d/small.txt"):format(ports.SECURE), answer.url)
         local url = ("https://localhost:%d/file.txt"):format(ports.SECURE)
         for _ = 1, 6 do
            assert.is_true(assert(http.get(url, { tls = certificates.client() })).body == data)
         end
         local refused, _, code = http.get(url)
         assert.is_nil(refused)
         assert.equal("tls", code)
      end)
   end)

   it("hands weft's own answers on, and bodies of both kinds to weft", function()
      run(function()
         assert.equal("a string", assert(http.post(base "/weft/echo", "a string")).body)
         local n = 0
         local answer = assert(http.post(base "/weft/echo", function()
            n = n + 1
            weft.sleep(0.001)
            return n <= 20 and ("piece %d;"):format(n) or nil
         end))
         assert.truthy(answer.body:find "^piece 1;.*piece 20;$")
         assert.equal("chunked", answer.headers["transfer-encoding"])
         local refused, message = http.post(base "/weft/echo", ("x"):rep(2 << 20))
         assert.equal(413, refused and refused.status, message)
         answer = assert(http.post(base "/weft/echo", "expected",
            { headers = { expect = "100-continue" } }))
         assert.equal("expected", answer.body)
      end)
   end)

   it("may end a kept connection at any time", function()
      run(function()
         for _ = 1, 10 do
            assert.equal("small", assert(http.get(base "/short")).body)
            weft.sleep(0.002)
         end
      end)
   end)

   it("may go away: then weft's error says so", function()
      run(function()
         assert.equal("small", assert(http.get(base "/small.txt")).body)
         nginx:stop "TERM"
         nginx = nil
         local answer, message, code = http.get(base "/small.txt")
         assert.is_nil(answer)
         assert.equal("refused", code, message)
      end)
   end)
end)

describe("python3's http.server", function()
   it("serves files and folders by HTTP/1.0", function()
      local port = daemon.free_port()
      local python = process.start({ "python3", "-m", "http.server", "--bind", "127.0.0.1",
         "-d", dir, port }, { foreign = true })
      await(port)
      run(function()
         local base = "http://127.0.0.1:" .. port
         for _ = 1, 3 do
            local answer = assert(http.get(base .. "/file.txt"))
            assert.equal("1.0", answer.version)
            assert.is_true(answer.body == data)
         end
         local listing = assert(http.get(base .. "/folder"))
         assert.equal(base .. "/folder/", listing.url)
         assert.truthy(listing.body:find("Directory listing", 1, true))
         assert.equal(501, assert(http.post(base .. "/x", "y")).status)
         assert.equal(0, http.close_idle())
      end)
      python:stop()
   end)
end)

describe("node's http", function()
   it("streams both ways, with trailers, interim answers and kept connections", function()
      local node = process.start({ "node", "-e", [[
const http = require("http");
let connections = 0;
const server = http.createServer((request, response) => {
   if (request.url === "/hints") {
      response.writeEarlyHints({ link: "</style.css>; rel=preload" });
      return response.end("hinted");
   }
   response.writeHead(200, { trailer: "x-count", "x-connections": connections });
   response.flushHeaders();
   let count = 0;
   request.on("data", piece => { count += piece.length; response.write(piece); });
   request.on("end", () => {
      response.addTrailers({ "x-count": String(count), "x-got": request.trailers["x-sum"] || "" });
      response.end();
   });
});
server.on("connection", () => connections++);
server.on("checkContinue", (request, response) => {
   response.writeContinue();
   server.emit("request", request, response);
});
server.listen(0, "127.0.0.1", () => console.log("port", server.address().port));
]] }, { foreign = true })
      local port = node:wait_for "^port (%d+)"
      run(function()
         local base = "http://127.0.0.1:" .. port
         assert.equal("hinted", assert(http.get(base .. "/hints")).body)
         local answer = assert(http.post(base, data, { max_body = #data }))
         assert.is_true(answer.body == data)
         assert.equal(tostring(#data), answer.trailers["x-count"])
         local n = 0
         answer = assert(http.post(base, function()
            n = n + 1
            if n <= 10 then return ("%d;"):format(n) end
            return nil, { ["x-sum"] = "ten" }
         end, { headers = { trailer = "x-sum" } }))
         assert.equal("1;2;3;4;5;6;7;8;9;10;", answer.body)
         assert.equal("ten", answer.trailers["x-got"])
         answer = assert(http.post(base, "waited", { headers = { expect = "100-continue" } }))
         assert.equal("waited", answer.body)
         assert.equal("1", answer.headers["x-connections"])
         -- a piece goes there and comes back before the next one is made
         local go = weft.channel()
         answer = assert(http.post(base, function() return (go:receive()) end, { stream = true }))
         for i = 1, 5 do
            go:send("turn " .. i)
            assert.equal("turn " .. i, answer:read())
         end
         go:close()
         assert.is_nil(answer:read())
         assert.equal("30", answer.trailers["x-count"])
      end)
      node:stop()
   end)
end)

describe("curl", function()
   it("and weft.http get the same from weft", function()
      local backend = process.start(process.script("spec/scripts/http_backend.lua"))
      local port = backend:wait_for "^port (%d+)"
      local url = ("http://127.0.0.1:%d/echo"):format(port)
      assert.equal("by curl", curl(url, "-d", "by curl"))
      assert.equal("in chunks", curl(url, "-H", "transfer-encoding: chunked", "-d", "in chunks"))
      run(function() assert.equal("by curl", assert(http.post(url, "by curl")).body) end)
      backend:stop()
   end)
end)
