-- Bodies of requests: how they are framed, bounded, and left unread.

local weft = require "weft"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run, serve = server.run, server.serve

local function echo_body(app)
   app:post("/", function(req)
      local data, message, code = req:body()
      return data and 200 or 418, nil, data or code .. ": " .. message
   end)
end

describe("a request's body", function()
   local good = {
      { "content-length: 5\r\n\r\nhello", "hello" },
      { "content-length: 0\r\n\r\n", "" },
      { "content-length: 5\r\ncontent-length: 5\r\n\r\nhello", "hello" },
      { "\r\n", "" },
      { "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n\r\n",
         "hello world" },
      { "transfer-encoding: Chunked\r\n\r\n00A\r\n0123456789\r\n0\r\nx-trailer: 1\r\n\r\n",
         "0123456789" },
      { "transfer-encoding: chunked\r\n\r\n0\r\n\r\n", "" },
   }
   for i, row in ipairs(good) do
      it("is read as it is framed, and what follows too, row " .. i, function()
         run(function()
            local peer = serve(echo_body)
            for _ = 1, 2 do
               peer:send("POST / HTTP/1.1\r\nhost: x\r\n", row[1])
               local answer = peer:response()
               assert.equal(200, answer.status)
               assert.equal(row[2], answer.body)
            end
         end)
      end)
   end

   local bad = {
      { "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\nhello", 400 },
      { "content-length: 5\r\ncontent-length: 6\r\n\r\nhello", 400 },
      { "content-length: 5, 6\r\n\r\nhello", 400 },
      { "content-length: -5\r\n\r\nhello", 400 },
      { "content-length: +5\r\n\r\nhello", 400 },
      { "content-length: 0x5\r\n\r\nhello", 400 },
      { "content-length: 5 5\r\n\r\nhello", 400 },
      { "content-length:\r\n\r\n", 400 },
      { "content-length: 99999999999999999999\r\n\r\n", 400 },
      { "transfer-encoding: gzip\r\n\r\n", 501 },
      { "transfer-encoding: gzip, chunked\r\n\r\n", 501 },
      { "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 501 },
      { "expect: a miracle\r\ncontent-length: 5\r\n\r\nhello", 417 },
   }
   for i, row in ipairs(bad) do
      it(("framed badly gets %d and the end, row %d"):format(row[2], i), function()
         run(function()
            local called = false
            local peer = serve(function(app)
               app:post("/", function() called = true return 200 end)
            end)
            peer:send("POST / HTTP/1.1\r\nhost: x\r\n", row[1],
               "POST / HTTP/1.1\r\nhost: x\r\n\r\n")
            local answer = peer:response()
            assert.equal(row[2], answer.status)
            assert.equal("close", answer.headers.connection)
            assert.is_true(peer:is_over())
            assert.is_false(called)
         end)
      end)
   end

   local broken = {
      { "zz\r\n", "protocol" }, { "5\r\nhelloworld\r\n0\r\n\r\n", "protocol" },
      { "5\nhello\r\n0\r\n\r\n", "protocol" }, { "5\r\nhello\n0\r\n\r\n", "protocol" },
      { "5;x\ry\r\nhello\r\n0\r\n\r\n", "protocol" }, { "5\r\nhello\r\n0\n\n", "protocol" },
      { "-1\r\n", "protocol" }, { "\r\n", "protocol" }, { ("0"):rep(300), "protocol" },
      { "fffffffffffffffff\r\n", "protocol" },
      { "0\r\n" .. ("x: y\r\n"):rep(100) .. "\r\n", "protocol" },
      { "100001\r\n", "too_big" }, { "5\r\nhello\r\nfffff\r\n", "too_big" },
   }
   for i, row in ipairs(broken) do
      it("in broken chunks is told to the handler, row " .. i, function()
         run(function()
            local peer = serve(echo_body)
            peer:send("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", row[1])
            local answer = peer:response()
            assert.equal(418, answer.status)
            assert.equal(row[2], answer.body:match "^[%w_]+")
            assert.equal("close", answer.headers.connection)
         end)
      end)
   end

   it("over max_body is refused unread; the limit itself is taken", function()
      run(function()
         local function routes(app)
            echo_body(app)
            app:post("/small", function(req) return 200, nil, (assert(req:body())) end,
               { max_body = 3 })
         end
         local peer, port = serve(routes, { max_body = 5 })
         assert.equal("hello", peer:ask("POST", "/", { ["content-length"] = 5 }, "hello").body)
         local answer = peer:ask("POST", "/", { ["content-length"] = 6 }, "")
         assert.equal("too_big: the request's body is larger than max_body (5 bytes)",
            answer.body)
         assert.equal("close", answer.headers.connection)
         assert.equal(413, server.ask(port, "POST", "/small", { ["content-length"] = 4 }).status)
         assert.equal("abc",
            server.ask(port, "POST", "/small", { ["content-length"] = 3 }, "abc").body)
      end)
   end)

   it("that is asserted answers for itself, and is no error of the server", function()
      local reported = server.errors(function()
         run(function()
            local function routes(app)
               app:post("/", function(req) return 200, nil, (assert(req:body())) end)
            end
            local _, port = serve(routes, { max_body = 5, body_timeout = 0.05 })
            local chunked = { ["transfer-encoding"] = "chunked" }
            assert.equal(400, server.ask(port, "POST", "/", chunked, "x\r\n").status)
            assert.equal(413, server.ask(port, "POST", "/", chunked, "9\r\n").status)
            assert.equal(408, server.ask(port, "POST", "/", chunked, "3\r\nab").status)
            assert.equal(408,
               server.ask(port, "POST", "/", { ["content-length"] = 3 }, "ab").status)
         end)
      end)
      assert.same({}, reported)
   end)

   it("is asked for when the client waits for that", function()
      run(function()
         local peer, port = serve(echo_body)
         peer:send("POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n",
            "content-length: 5\r\n\r\n")
         assert.equal(100, peer:response().status)
         peer:send "hello"
         assert.equal("hello", peer:response().body)
         -- a handler that does not want it: no 100, and the connection ends
         local other = server.dial(port)
         other:send("POST /none HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n",
            "content-length: 5\r\n\r\n")
         local answer = other:response()
         assert.equal(404, answer.status)
         assert.equal("close", answer.headers.connection)
      end)
   end)

   it("that nobody read is dropped when it is small, else the connection ends", function()
      run(function()
         local function routes(app)
            app:post("/", function() return 200, nil, "unread" end)
         end
         local peer = serve(routes)
         for _ = 1, 3 do
            local answer = peer:ask("POST", "/", { ["content-length"] = 5 }, "GET /")
            assert.equal("unread", answer.body)
            assert.is_nil(answer.headers.connection)
         end
         local answer = peer:ask("POST", "/", { ["content-length"] = 100000 },
            ("x"):rep(100000))
         assert.equal("unread", answer.body)
         assert.equal("close", answer.headers.connection)
      end)
   end)

   local function sizes(req, max)
      local list = {}
      for piece in req:chunks(max) do list[#list + 1] = #piece end
      return list
   end

   it("is read piece by piece by req:chunks, as it comes, whatever time all of it takes", function()
      run(function()
         local came = weft.channel(9)
         local peer = serve(function(app)
            app:put("/", function(req)
               for piece in req:chunks() do came:send(piece) end
               return 200, nil, "all"
            end)
         end, { body_timeout = raw.time(0.5) })
         for _ = 1, 2 do
            peer:send "PUT / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
            for i = 1, 5 do
               peer:send("1\r\n", i, "\r\n")
               assert.equal(tostring(i), came:receive(raw.SOON))
               weft.sleep(raw.time(0.15))
            end
            peer:send "0\r\n\r\n"
            assert.equal("all", peer:response().body)
         end
         peer:send("PUT / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n",
            "content-length: 2\r\n\r\n")
         assert.equal(100, peer:response().status)
         peer:send "ab"
         assert.equal("all", peer:response().body)
         assert.equal("all", peer:ask("PUT", "/").body) -- which has none
      end)
   end)

   it("by req:chunks takes no memory of its size, and waits with who reads it", function()
      run(function()
         local size, seen = (raw.hostile and 4 or 64) << 20, nil
         local peer = serve(function(app)
            app:put("/", function(req)
               local before, most, total = collectgarbage "count", 0, 0
               for piece in req:chunks(size) do
                  total, most = total + #piece, math.max(most, #piece)
                  if total % (1 << 20) < #piece then collectgarbage "step" end
               end
               seen = collectgarbage "count" - before
               return 200, nil, ("%d %s"):format(total, most <= 65536)
            end)
         end)
         peer:send(("PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"):format(size))
         local mib = ("x"):rep(1 << 20)
         for _ = 1, size >> 20 do peer:send(mib) end
         assert.equal(size .. " true", peer:response().body)
         assert.is_true(seen < 16 << 10, seen .. " KiB")
      end, 60)
   end)

   it("that req:chunks cannot read to its end raises, and answers for itself", function()
      local reported = server.errors(function()
         run(function()
            local _, port = serve(function(app)
               app:put("/", function(req) return 200, nil, #sizes(req) .. "" end)
               app:put("/three", function(req) return 200, nil, #sizes(req, 3) .. "" end)
            end, { max_body = 5, body_timeout = 0.05 })
            local chunked = { ["transfer-encoding"] = "chunked" }
            for status, row in pairs { [400] = { chunked, "x\r\n" }, [413] = { chunked, "9\r\n" },
               [408] = { chunked, "3\r\nab" } } do
               local answer = server.ask(port, "PUT", "/", table.unpack(row))
               assert.same({ status, "close" }, { answer.status, answer.headers.connection })
            end
            local length = { ["content-length"] = 4 }
            assert.equal(413, server.ask(port, "PUT", "/three", length).status)
            assert.equal(200, server.ask(port, "PUT", "/", length, "abcd").status)
         end)
      end)
      assert.same({}, reported)
   end)

   it("left by req:chunks ends the connection; read before by req:body it is there", function()
      run(function()
         local peer = serve(function(app)
            app:put("/both", function(req)
               local body, first = req:body(), table.concat(sizes(req), " ")
               return 200, nil, body .. first .. table.concat(sizes(req), " ")
            end)
            app:put("/left", function(req)
               local next_piece, state = req:chunks()
               local first = next_piece(state)
               local ok, why = pcall(req.body, req)
               return 200, nil, ("%d %s %s"):format(#first, ok, why)
            end)
         end)
         assert.equal("ab22", peer:ask("PUT", "/both", { ["content-length"] = 2 }, "ab").body)
         local answer = peer:ask("PUT", "/left", { ["transfer-encoding"] = "chunked" },
            "2\r\nab\r\n")
         assert.equal("2 false req:body: it is being read by req:chunks already", answer.body)
         assert.equal("close", answer.headers.connection)
         assert.is_true(peer:is_over())
         for _, wrong in ipairs { -1, 1.5, "x", {} } do
            local other = serve(function(app)
               app:put("/", function(req)
                  return 200, nil, select(2, pcall(req.chunks, req, wrong))
               end)
            end)
            local text = other:ask("PUT", "/").body
            assert.truthy(text:find("the limit must be a number of bytes", 1, true), text)
         end
      end)
   end)

   it("can be read twice", function()
      run(function()
         local peer = serve(function(app)
            app:post("/", function(req) return 200, nil, req:body() .. req:body() end)
         end)
         assert.equal("abab", peer:ask("POST", "/", { ["content-length"] = 2 }, "ab").body)
      end)
   end)
end)
