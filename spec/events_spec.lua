-- Server-Sent Events: their format (WHATWG HTML 9.2), and app:events.

local weft = require "weft"
local sse = require "weft.sse"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run, eventually, SOON = raw.run, raw.eventually, raw.SOON

describe("the format of events", function()
   local rows = {
      { "hello", nil, "data: hello\n\n" },
      { "", nil, "data: \n\n" },
      { "a\nb", nil, "data: a\ndata: b\n\n" },
      { "a\r\nb\rc\n", nil, "data: a\ndata: b\ndata: c\ndata: \n\n" },
      { "id: 7", nil, "data: id: 7\n\n" },
      { "x", { event = "tick", id = "1", retry = 2.5 },
         "event: tick\nid: 1\nretry: 2500\ndata: x\n\n" },
      { "x", { id = "" }, "id: \ndata: x\n\n" },
      { nil, { retry = 0 }, "retry: 0\n\n" },
      { nil, { id = "e:5" }, "id: e:5\n\n" },
      { "a\0b", nil, "data: a\0b\n\n" },
      { "grüße", { event = "ö" }, "event: ö\ndata: grüße\n\n" },
   }
   for _, row in ipairs(rows) do
      it(("of %q"):format(tostring(row[1])), function()
         assert.equal(row[3], sse.event(row[1], row[2], "send"))
      end)
   end

   it("of a comment", function()
      assert.equal(": \n\n", sse.comment("", "comment"))
      assert.equal(": a\n: data: b\n\n", sse.comment("a\r\ndata: b", "comment"))
   end)

   it("has no event that is not UTF-8", function()
      for _, bad in ipairs { "\xff", "\xed\xa0\x80", "\xc0\x80" } do
         assert.same({ nil, "the event is not UTF-8", "utf8" }, { sse.event(bad) })
         assert.same({ nil, "the event is not UTF-8", "utf8" }, { sse.event("", { event = bad }) })
         assert.same({ nil, "the comment is not UTF-8", "utf8" }, { sse.comment(bad) })
      end
   end)

   local misused = {
      { nil, nil, "the data must be a string, got a nil" },
      { nil, {}, "the data must be a string, got a nil" },
      { 5, nil, "the data must be a string, got a number" },
      { {}, nil, "the data must be a string, got a table" },
      { "x", "tick", "the fields must be a table { event=, id=, retry= }, got a string" },
      { "x", { name = "tick" }, "unknown field name; it takes event, id, retry" },
      { "x", { event = "a\nb" }, "the event must not hold CR or LF" },
      { "x", { event = "a\rdata: b" }, "the event must not hold CR or LF" },
      { "x", { event = 5 }, "the event must be a string, got a number" },
      { "x", { id = "1\n" }, "the id must not hold CR or LF" },
      { "x", { id = "1\0" }, "the id must not hold NUL" },
      { "x", { retry = -1 }, "retry must be a number of seconds from 0 to 86400, got -1" },
      { "x", { retry = "2" }, "retry must be a number of seconds from 0 to 86400, got 2" },
      { "x", { retry = 0 / 0 }, "retry must be a number of seconds from 0 to 86400, got " ..
         tostring(0 / 0) },
   }
   for _, row in ipairs(misused) do
      it("refuses: " .. row[3], function()
         local why = server.blame(function() sse.event(row[1], row[2], "stream:send", 1) end)
         assert.equal("stream:send: " .. row[3], why)
      end)
   end
end)

-- A raw client of events: its head, then what comes, chunks undone.
local function follow(app, path, headers)
   local _, port = assert(app:listen "127.0.0.1:0")
   local peer = server.dial(port)
   local lines = { "GET " .. path .. " HTTP/1.1", "host: test" }
   for name, value in pairs(headers or {}) do lines[#lines + 1] = name .. ": " .. value end
   peer:send(table.concat(lines, "\r\n"), "\r\n\r\n")
   local head = {}
   for line in function() return peer.stream:receive "*l" end do
      if line == "" then break end
      head[#head + 1] = line
   end
   return peer, table.concat(head, "\n") .. "\n", port
end

local function chunk(peer)
   local size = tonumber(assert(peer.stream:receive "*l"), 16)
   local data = size > 0 and assert(peer.stream:receive(size)) or ""
   assert.equal("", peer.stream:receive "*l")
   return data
end

describe("app:events", function()
   it("sends events with the fields they have, in the order they were sent", function()
      run(function()
         local app = server.app()
         app:events("/feed/:name", function(stream, req)
            assert.equal("ann", req.params.name)
            assert.equal(req, stream.request)
            assert.is_true(stream:send("one\ntwo", { event = "tick", id = "7" }))
            assert.is_true(stream:comment "well")
            assert.is_true(stream:send(nil, { retry = 3 }))
            assert.matches("^weft.events %(127.0.0.1 /feed/ann%)$", tostring(stream))
         end, { retry = 1 })
         local peer, head = follow(app, "/feed/ann")
         assert.matches("^HTTP/1.1 200 OK\n", head)
         assert.matches("\ncontent%-type: text/event%-stream\n", head)
         assert.matches("\ncache%-control: no%-cache, no%-transform\n", head)
         assert.matches("\nx%-accel%-buffering: no\n", head)
         assert.matches("\ntransfer%-encoding: chunked\n", head)
         assert.equal("retry: 1000\n\n", chunk(peer))
         assert.equal("event: tick\nid: 7\ndata: one\ndata: two\n\n", chunk(peer))
         assert.equal(": well\n\n", chunk(peer))
         assert.equal("retry: 3000\n\n", chunk(peer))
         assert.equal("", chunk(peer))
         assert.is_true(peer:is_over())
         eventually(function() return app:stats().streams == 0 end)
      end)
   end)

   it("tells which event the client saw last, from the header or the query", function()
      run(function()
         local app = server.app()
         app:events("/feed", function(stream) stream:send(stream.last_event_id or "none") end)
         for _, row in ipairs {
            { "/feed", nil, "none" }, { "/feed", "e:5", "e:5" },
            { "/feed?last_event_id=e%3A6", nil, "e:6" },
            { "/feed?last_event_id=e%3A6", "e:7", "e:7" },
            { "/feed?last_event_id=%00", nil, "none" }, { "/feed?last_event_id=%0A", nil, "none" },
            { "/feed?last_event_id=%zz", nil, "none" }, { "/feed", "\xff", "none" },
         } do
            local peer = follow(app, row[1], row[2] and { ["last-event-id"] = row[2] })
            assert.equal("data: " .. row[3] .. "\n\n", chunk(peer))
         end
      end)
   end)

   it("needs no chunks for HTTP/1.0", function()
      run(function()
         local app = server.app()
         app:events("/feed", function(stream) stream:send "x" end)
         local _, port = assert(app:listen "127.0.0.1:0")
         local peer = server.dial(port)
         peer:send "GET /feed HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"
         local all = assert(peer.stream:receive "*a")
         assert.matches("\r\nconnection: close\r\n", all)
         assert.matches("\r\n\r\ndata: x\n\n$", all)
      end)
   end)

   it("answers HEAD without running the handler, and other methods with 405", function()
      run(function()
         local app = server.app()
         app:events("/feed", function() error "it ran" end)
         local _, port = assert(app:listen "127.0.0.1:0")
         local answer = server.ask(port, "HEAD", "/feed")
         assert.equal(200, answer.status)
         assert.equal("text/event-stream", answer.headers["content-type"])
         answer = server.ask(port, "POST", "/feed")
         assert.same({ 405, "GET, HEAD, OPTIONS" }, { answer.status, answer.headers.allow })
         assert.equal(204, server.ask(port, "OPTIONS", "/feed").status)
      end)
   end)

   it("ends the handler where it waits when the client goes away", function()
      run(function()
         local app = server.app()
         local over = weft.channel(1)
         app:events("/feed", function(stream)
            local _ <close> = setmetatable({}, { __close = function() over:send "over" end })
            stream:send "x"
            weft.sleep(1000)
         end)
         local seen = server.errors(function()
            local peer = follow(app, "/feed")
            assert.equal("data: x\n\n", chunk(peer))
            assert.equal(1, app:stats().streams)
            peer:close()
            assert.equal("over", over:receive(SOON))
            eventually(function() return app:stats().connections == 0 end)
         end)
         assert.same({}, seen)
         assert.equal(0, app:stats().streams)
      end)
   end)

   it("sends a comment when it is quiet", function()
      run(function()
         local app = server.app()
         app:events("/feed", function() weft.sleep(1000) end, { heartbeat = 0.02 })
         local peer = follow(app, "/feed")
         for _ = 1, 3 do assert.equal(":\n\n", chunk(peer)) end
      end)
   end)

   it("waits for a client that is slow, and everything comes in order", function()
      run(function()
         local app = server.app()
         local n, sent = 200, 0 -- more than the system's buffers hold
         app:events("/feed", function(stream)
            for i = 1, n do
               assert(stream:send(("%d "):format(i) .. ("x"):rep(100000)))
               sent = i
            end
         end, { heartbeat = 0.01 })
         local peer = follow(app, "/feed")
         local before
         repeat -- until nothing moves any more
            before = sent
            weft.sleep(0.1)
         until sent == before
         assert.is_true(sent < n)
         local i = 0
         while i < n do
            local data = chunk(peer)
            if data ~= ":\n\n" then
               i = i + 1
               assert.equal(("data: %d "):format(i), data:sub(1, #("data: %d "):format(i)))
            end
         end
         assert.equal(n, sent)
      end)
   end)

   it("gives up on a client that takes nothing (send_timeout)", function()
      run(function()
         local app = server.app { send_timeout = 0.2 }
         local failed = weft.channel(1)
         app:events("/feed", function(stream)
            local ok, message, code
            repeat ok, message, code = stream:send(("x"):rep(200000)) until not ok
            failed:send { message, code, select(3, stream:send "more") }
         end)
         follow(app, "/feed")
         assert.same({ "timeout", "timeout", "closed" }, failed:receive(SOON))
         eventually(function() return app:stats().connections == 0 end)
      end)
   end)

   it("takes one send at a time, and a cancelled one ends the stream when it had begun", function()
      run(function()
         local app = server.app()
         local result = weft.channel(1)
         app:events("/feed", function(stream)
            local other = weft.spawn(function() stream:send(("x"):rep(20 << 20)) end)
            eventually(function() return stream:buffered() > 65536 end)
            local busy = select(3, stream:send "y")
            other:cancel()
            other:join()
            result:send { busy, select(3, stream:send "y") }
         end)
         follow(app, "/feed")
         assert.same({ "busy", "closed" }, result:receive(SOON))
      end)
   end)

   it("refuses whom authorize does not let in, and hands on what it returns", function()
      run(function()
         local app = server.app()
         app:events("/feed", function(stream) stream:send(stream.data.name) end, {
            authorize = function(req)
               if req:arg "key" == "42" then return { name = "ann" } end
               if req:arg "key" then return nil, 401, { ["www-authenticate"] = "Bearer" } end
            end })
         local _, port = assert(app:listen "127.0.0.1:0")
         assert.equal(403, server.ask(port, "GET", "/feed").status)
         local answer = server.ask(port, "GET", "/feed?key=x")
         assert.same({ 401, "Bearer" }, { answer.status, answer.headers["www-authenticate"] })
         assert.equal("data: ann\n\n", server.ask(port, "GET", "/feed?key=42").body)
      end)
   end)

   it("reports a handler that raises, and ends its stream alone", function()
      run(function()
         local app = server.app()
         app:events("/feed", function(stream, req)
            stream:send "x"
            if req.query then error "oh" end
            weft.sleep(1000)
         end)
         local other = follow(app, "/feed")
         local seen = server.errors(function()
            local peer = follow(app, "/feed?raise")
            assert.equal("data: x\n\n", chunk(peer))
            eventually(function() return app:stats().streams == 1 end)
         end)
         assert.equal(1, #seen)
         assert.matches("oh", seen[1])
         assert.equal("data: x\n\n", chunk(other))
      end)
   end)

   it("ends a stream whose client keeps talking", function()
      run(function()
         local app = server.app()
         app:events("/feed", function() weft.sleep(1000) end)
         local peer = follow(app, "/feed")
         local sender = weft.spawn(function() peer.stream:send(("x"):rep(1 << 20)) end)
         eventually(function() return app:stats().streams == 0 end)
         peer:close()
         sender:join()
      end)
   end)

   it("ends its streams when the app closes, and runs on for nobody", function()
      run(function()
         local app = server.app()
         app:events("/feed", function(stream)
            stream:send "x"
            weft.sleep(1000)
         end)
         local peer = follow(app, "/feed")
         assert.equal("data: x\n\n", chunk(peer))
         app:close()
         assert.is_nil((peer.stream:receive "*l"))
         eventually(function() return app:stats().streams == 0 end)
      end)
   end)

   it("can be closed by its handler, also twice, and by a variable", function()
      run(function()
         local app = server.app()
         app:events("/feed", function(stream)
            local own <close> = stream
            own:send "x"
            assert.is_true(own:close())
            assert.is_true(own:close())
            assert.equal("closed", select(3, own:send "y"))
            assert.equal(0, own:buffered())
            assert.matches(", closed%)$", tostring(own))
         end)
         local peer = follow(app, "/feed")
         assert.equal("data: x\n\n", chunk(peer))
         assert.equal("", chunk(peer))
         assert.is_true(peer:is_over())
      end)
   end)

   it("blames the line that misuses it", function()
      local app = weft.app()
      assert.matches("^app:events: the handler must be a function",
         server.blame(function() app:events("/x", 5) end))
      assert.matches('^app:events: option "heartbeat" must be',
         server.blame(function() app:events("/x", print, { heartbeat = -1 }) end))
      assert.matches('^route "x"', server.blame(function() app:events("x", print) end))
   end)
end)
