-- Topics over plain HTTP: Server-Sent Events that resume, long polls, and app:publisher.

local cjson = require "cjson"
local weft = require "weft"
local feed = require "weft.feed"
local history = require "weft.history"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run, eventually, SOON = raw.run, raw.eventually, raw.SOON
local TOKEN = "0123456789abcdef"

-- An app whose topics below "news" remember.
local function serve(opts, size)
   local app = server.app(opts)
   app.histories = app.histories or history.store { epoch = "E",
      max_topics = 100, max_bytes = 1 << 28 }
   app:topic("news.>", { history = { size = size or 3 } })
   app:events("/news/:id", "news.:id")
   app:events("/plain", "plain.*")
   app:events("/all", "news.>")
   app:publisher("/publish", { token = TOKEN })
   local _, port = assert(app:listen "127.0.0.1:0")
   return app, port
end

local function epoch_of(app, topic) return (app.histories:position(topic)) end

-- A client of events; the head is read.
local function follow(port, path, id)
   local peer = server.dial(port)
   peer:send("GET " .. path .. " HTTP/1.1\r\nhost: x\r\n",
      id and "last-event-id: " .. id .. "\r\n" or "", "\r\n")
   local status = peer.stream:receive "*l"
   while assert(peer.stream:receive "*l") ~= "" do end
   assert.equal("HTTP/1.1 200 OK", status)
   return function()
      local size = tonumber(assert(peer.stream:receive "*l"), 16)
      local data = assert(peer.stream:receive(size + 2))
      return data:sub(1, -3)
   end, peer
end

describe("positions", function()
   it("are an epoch and an offset", function()
      assert.same({ epoch = "aB_-", offset = 12 }, feed.since "aB_-:12")
      for _, bad in ipairs { "", ":1", "a:", "a:-1", "a:1.5", "a:x", "a", "a:1234567890123456",
         "a:1:2" } do
         assert.is_nil(feed.since(bad))
      end
      assert.is_nil(feed.since(nil))
   end)
end)

describe("app:events with a topic", function()
   it("sends what is published, with ids to go on from, and resumes just there", function()
      run(function()
         local app, port = serve()
         app:publish("news.a", "before")
         local epoch = epoch_of(app, "news.a")
         local next_event, peer = follow(port, "/news/a")
         assert.equal(("id: %s:1\n\n"):format(epoch), next_event())
         app:publish("news.a", "two\nlines")
         app:publish("news.b", "other")
         app:publish("news.a", "three", { event = "tick" })
         assert.equal(("id: %s:2\ndata: two\ndata: lines\n\n"):format(epoch), next_event())
         assert.equal(("event: tick\nid: %s:3\ndata: three\n\n"):format(epoch), next_event())
         peer:close()
         eventually(function() return app:stats().streams == 0 end)
         assert.equal(0, app:subscribers "news.a")
         app:publish("news.a", "missed")
         next_event = follow(port, "/news/a", epoch .. ":2")
         app:publish("news.a", "live")
         assert.equal(("event: tick\nid: %s:3\ndata: three\n\n"):format(epoch), next_event())
         assert.equal(("id: %s:4\ndata: missed\n\n"):format(epoch), next_event())
         assert.equal(("id: %s:5\ndata: live\n\n"):format(epoch), next_event())
      end)
   end)

   it("tells a client plainly that it cannot go on, and sends nothing from before", function()
      run(function()
         local app, port = serve()
         for i = 1, 5 do app:publish("news.a", tostring(i)) end
         local epoch = epoch_of(app, "news.a")
         for _, id in ipairs { epoch .. ":1", epoch .. ":6", "other:5", epoch .. ":0" } do
            local next_event, peer = follow(port, "/news/a", id)
            assert.equal(('event: reset\nid: %s:5\ndata: {"recovered":false}\n\n'):format(epoch),
               next_event())
            peer:close()
         end
         local next_event = follow(port, "/news/a", epoch .. ":5")
         app:publish("news.a", "6")
         assert.equal(("id: %s:6\ndata: 6\n\n"):format(epoch), next_event())
         -- an id that is none of ours is no position: as one that comes first
         next_event = follow(port, "/news/a", "7")
         assert.equal(("id: %s:6\n\n"):format(epoch), next_event())
      end)
   end)

   it("has no ids without a history, takes patterns of the script's, and sends bytes", function()
      run(function()
         local app, port = serve()
         local next_event = follow(port, "/plain", "x:1")
         assert.equal('event: reset\ndata: {"recovered":false}\n\n', next_event())
         app:publish("plain.one", "1")
         app:publish("plain.two", "\0\255", "binary")
         assert.equal("data: 1\n\n", next_event())
         assert.equal("event: binary\ndata: AP8=\n\n", next_event())
      end)
   end)

   it("takes one word of a name from the path, and nothing else", function()
      run(function()
         local _, port = serve()
         for _, path in ipairs { "/news/a.b", "/news/*", "/news/%3E", "/news/a%20b", "/news/%ff",
            "/news/%0A", "/news/" .. ("x"):rep(300) } do
            assert.equal(404, server.ask(port, "GET", path).status)
         end
      end)
   end)

   it("asks the topic's hook, with the request", function()
      run(function()
         local app, port = serve()
         app:topic("news.secret", { authorize_subscribe = function(req, topic)
            if req:arg "key" == topic then return true end
            return nil, "not for you"
         end })
         local answer = server.ask(port, "GET", "/news/secret")
         assert.same({ 403, "not for you\n" }, { answer.status, answer.body })
         assert.equal(403, server.ask(port, "GET", "/news/secret?poll").status)
         follow(port, "/news/secret?key=news.secret")
      end)
   end)

   it("can be relayed by a handler", function()
      run(function()
         local app = server.app()
         app:topic("no", { authorize_subscribe = function() return nil, "no" end })
         app:events("/x", function(stream)
            local why = select(3, stream:relay "no")
            stream:send(why)
            stream:relay "yes"
         end)
         local _, port = assert(app:listen "127.0.0.1:0")
         local next_event, peer = follow(port, "/x")
         assert.equal("data: refused\n\n", next_event())
         eventually(function() return app:subscribers "yes" == 1 end)
         app:publish("yes", "1")
         assert.equal("data: 1\n\n", next_event())
         peer:close()
         eventually(function() return app:subscribers "yes" == 0 end)
      end)
   end)

   it("ends for a client that is too slow, which then resumes", function()
      run(function()
         local app, port = serve(nil, 5000)
         app:topic("news.>", { history = { size = 5000, bytes = 100 << 20 },
            max_pending_messages = 10 })
         local next_event, peer = follow(port, "/news/a")
         eventually(function() return app:subscribers "news.a" == 1 end)
         assert(next_event)
         local big, n = ("x"):rep(100000), 0
         repeat
            n = n + 1
            app:publish("news.a", big)
            if n % 8 == 0 then weft.sleep(0.001) end
         until app:subscribers "news.a" == 0 or n == 3000
         assert.is_true(n < 3000)
         peer:close()
         eventually(function() return app:stats().streams == 0 end)
      end)
   end)

   it("blames the line that misuses it", function()
      local app = weft.app()
      for _, row in ipairs { { "/x", "a.:id", 'the topic\'s word ":id" is no parameter' },
         { "/:idx", "a.:id", "is no parameter" }, { "/x", "a..b", "a topic" },
         { "/x", "", "a topic has 1 to 255 bytes" } } do
         local why = server.blame(function() app:events(row[1], row[2]) end)
         assert.truthy(why:find("app:events: ", 1, true) == 1 and why:find(row[3], 1, true), why)
      end
      assert.truthy(app:events("/:id/y", "a.:id"))
   end)
end)

describe("a long poll", function()
   local JSON = { accept = "application/json" }

   local function poll(port, path, headers)
      local answer = server.ask(port, "GET", path, headers or JSON)
      return answer.status == 200 and cjson.decode(answer.body) or answer, answer
   end

   it("answers with what comes, and goes on from there", function()
      run(function()
         local app, port = serve()
         app:publish("news.a", "1")
         local epoch = epoch_of(app, "news.a")
         local first = weft.spawn(poll, port, "/news/a?timeout=60")
         eventually(function() return app:subscribers "news.a" == 1 end)
         app:publish("news.a", '2 "x"', { event = "tick" })
         app:publish("news.a", "\0", "binary")
         local one, answer = first:join(SOON)
         assert.same({ topic = "news.a", epoch = epoch, offset = 3, messages = {
            { offset = 2, event = "tick", data = '2 "x"' },
            { offset = 3, encoding = "base64", data = "AA==" } } }, one)
         assert.same({ "application/json", "no-store" },
            { answer.headers["content-type"], answer.headers["cache-control"] })
         app:publish("news.a", "4")
         local two = poll(port, ("/news/a?poll&since=%s:3"):format(epoch), {})
         assert.same({ topic = "news.a", epoch = epoch, offset = 4, recovered = true,
            messages = { { offset = 4, data = "4" } } }, two)
      end)
   end)

   it("answers with nothing when its time is over, or when it could not go on", function()
      run(function()
         local app, port = serve()
         for _ = 1, 5 do app:publish("news.a", "x") end
         local epoch = epoch_of(app, "news.a")
         assert.same({ topic = "news.a", epoch = epoch, offset = 5, messages = {} },
            (poll(port, "/news/a?timeout=0.01")))
         assert.same({ topic = "news.a", epoch = epoch, offset = 5, recovered = false,
            messages = {} }, (poll(port, "/news/a?since=other:5&timeout=60")))
      end)
   end)

   it("has no place in a pattern's histories, which one poll could name to the next", function()
      run(function()
         local app, port = serve()
         app:publish("news.a", "x")
         assert.same({ topic = "news.>", messages = {} }, (poll(port, "/all?timeout=0")))
         local next_event = follow(port, "/all")
         app:publish("news.b", "y")
         assert.equal(("id: %s:1\ndata: y\n\n"):format(epoch_of(app, "news.b")), next_event())
         next_event = follow(port, "/all", epoch_of(app, "news.b") .. ":1")
         assert.equal('event: reset\ndata: {"recovered":false}\n\n', next_event())
      end)
   end)

   it("of a pattern tells of each message whose it is; so can a handler of events", function()
      run(function()
         local app, port = serve()
         app:events("/named", function(stream)
            local sub <close> = app:subscribe "plain.*"
            for message, info in sub:each() do stream:send(message, { event = info.topic }) end
         end)
         local both = weft.spawn(poll, port, "/plain?poll&timeout=60")
         local next_event = follow(port, "/named")
         eventually(function() return app:subscribers "plain.*" == 2 end)
         app:publish("plain.a", "1")
         app:publish("plain.b", { two = 2 })
         assert.same({ topic = "plain.*", messages = { { topic = "plain.a", data = "1" },
            { topic = "plain.b", data = { two = 2 } } } }, (assert(both:join(SOON))))
         assert.equal("event: plain.a\ndata: 1\n\n", next_event())
         assert.equal('event: plain.b\ndata: {"two":2}\n\n', next_event())
      end)
   end)

   it("tells of what a burst was too big for, on a topic with notice", function()
      run(function()
         local app = server.app { hard_mark = 10000, high_mark = 1000, low_mark = 100 }
         local _, port = assert(app:listen "127.0.0.1:0")
         app:events("/:policy/:kept", ":policy.:kept")
         for _, policy in ipairs { "drop_oldest", "drop_newest" } do
            app:topic(policy .. ".*", { policy = policy, max_pending_messages = 3, notice = true })
         end
         app:topic("*.kept", { history = true })
         for _, topic in ipairs { "drop_oldest.kept", "drop_newest.kept", "drop_oldest.not",
            "drop_newest.not" } do
            local path = "/" .. topic:gsub("%.", "/")
            local one = weft.spawn(poll, port, path .. "?timeout=60")
            eventually(function() return app:subscribers(topic) == 1 end)
            for i = 1, 20 do app:publish(topic, i .. ("."):rep(1000)) end
            local got = assert(one:join(SOON))
            local n, first = #got.messages, tonumber(got.messages[1].data:match "^%d+")
            if topic == "drop_newest.kept" then -- what comes next is not missed
               assert.same({ 1, n }, { first, got.offset })
               local rest = poll(port, ("%s?since=%s:%d"):format(path, got.epoch, n))
               assert.equal(20 - n, #rest.messages)
            else
               assert.equal(20 - n, got.missed)
               assert.equal(topic:find "oldest" and 20 - n + 1 or 1, first)
            end
         end
      end)
   end)

   it("keeps the connection for the next", function()
      run(function()
         local _, port = serve()
         local peer = server.dial(port)
         for _ = 1, 3 do
            assert.equal(200, peer:ask("GET", "/news/a?poll&timeout=0").status)
         end
      end)
   end)

   it("ends with its client", function()
      run(function()
         local app, port = serve()
         local peer = server.dial(port)
         peer:send "GET /news/a?poll&timeout=60 HTTP/1.1\r\nhost: x\r\n\r\n"
         eventually(function() return app:subscribers "news.a" == 1 end)
         peer:close()
         eventually(function() return app:subscribers "news.a" == 0 end)
         eventually(function() return app:stats().connections == 0 end)
      end)
   end)

   it("is answered when the app closes", function()
      run(function()
         local app, port = serve()
         local one = weft.spawn(poll, port, "/news/a?timeout=60")
         eventually(function() return app:subscribers "news.a" == 1 end)
         app:close()
         assert.same({}, assert(one:join(SOON)).messages)
      end)
   end)

   it("refuses what it does not understand", function()
      run(function()
         local _, port = serve()
         for _, query in ipairs { "since=x", "since=a:b", "since=", "timeout=x", "timeout=-1",
            "timeout=1e9", "timeout=" } do
            assert.equal(400, server.ask(port, "GET", "/news/a?poll&" .. query).status, query)
         end
      end)
   end)
end)

describe("app:publisher", function()
   local function post(port, path, headers, body)
      headers["content-length"] = #body
      if headers.authorization == nil then headers.authorization = "Bearer " .. TOKEN end
      return server.ask(port, "POST", path, headers, body)
   end

   local FORM = "application/x-www-form-urlencoded"

   it("publishes what comes in each form", function()
      run(function()
         local app, port = serve()
         local sub = app:subscribe "x"
         local rows = {
            { "?topic=x", FORM, "hello you", "hello you" },
            { "?topic=x&event=tick&key=k", nil, "", "", { event = "tick", key = "k" } },
            { "?topic=x", "application/octet-stream", "ab", "ab", { kind = "binary" } },
            { "?topic=x", nil, "\255", "\255", { kind = "binary" } },
            { "", FORM, "topic=x&data=a+b&event=e", "a b", { event = "e" } },
            { "", FORM, "topic=x&message=m", "m" },
            { "", "application/json", '{"topic":"x","message":"m","key":"k"}', "m", { key = "k" } },
            { "", "application/json", '{"topic":"x","data":"d"}', "d" },
            { "", "application/json", '{"data":{"a":[],"n":12345678901234567},"topic":"x"}',
               '{"a":[],"n":12345678901234567}', { kind = "json" } },
            { "", "Application/JSON; charset=utf-8", '{"topic":"x","data":42}', "42",
               { kind = "json" } },
            { "", "application/json", '{"topic":"x","data":null,"event":null}', "null",
               { kind = "json" } },
         }
         for i, row in ipairs(rows) do
            local answer = post(port, "/publish" .. row[1], { ["content-type"] = row[2] }, row[3])
            assert.same({ 200, '{"reached":1}\n' }, { answer.status, answer.body }, i)
            local message, info = sub:receive(SOON)
            assert.equal(row[4], message)
            local more = row[5] or {}
            assert.same({ more.kind or "text", more.event, more.key },
               { info.kind, info.event, info.key })
         end
         local body = post(port, "/publish?topic=news.a", {}, "x").body
         assert.same({ reached = 0, epoch = epoch_of(app, "news.a"), offset = 1 },
            cjson.decode(body))
      end)
   end)

   it("asks for the token, and tells nothing without", function()
      run(function()
         local _, port = serve()
         for _, field in ipairs { false, "", "Bearer", "Bearer " .. TOKEN .. "x", "Basic " .. TOKEN,
            "Bearer " .. TOKEN:sub(2), TOKEN } do
            local answer = post(port, "/publish", { authorization = field or nil }, "{")
            if not field then
               answer = server.ask(port, "POST", "/publish", { ["content-length"] = 1 }, "{")
            end
            assert.same({ 401, 'Bearer realm="publish"', "Unauthorized\n" },
               { answer.status, answer.headers["www-authenticate"], answer.body })
         end
      end)
   end)

   it("takes each of several tokens", function()
      run(function()
         local app = server.app()
         local other = TOKEN:reverse()
         app:publisher("/p", { token = { TOKEN, other } })
         local _, port = assert(app:listen "127.0.0.1:0")
         for _, token in ipairs { TOKEN, other } do
            assert.equal(200,
               post(port, "/p?topic=x", { authorization = "Bearer " .. token }, "m").status)
         end
      end)
   end)

   it("refuses what is malformed, and what is not allowed", function()
      run(function()
         local app, port = serve { max_body = 1000 }
         app:topic("no", { authorize_publish = function(req, topic, message)
            return nil, ("%s %s %s"):format(req.path, topic, message)
         end })
         local J = "application/json"
         local rows = {
            { "?topic=no", nil, "m", 403, "/publish no m" },
            { "?topic=a..b", nil, "m", 400, "a topic" }, { "?topic=*", nil, "m", 400, "pattern" },
            { "?topic=", nil, "m", 400, "a topic has 1 to 255 bytes" },
            { "?topic=%zz", nil, "m", 400, "a malformed percent-escape" },
            { "?topic=x&event=%0A", nil, "m", 400, "event must be" },
            { "?topic=x&event=" .. ("e"):rep(65), nil, "m", 400, "1 to 64 bytes" },
            { "", nil, "m", 400, "the topic is missing" },
            { "", "text/plain", "m", 400, "the topic is missing" },
            { "", FORM, "topic=x", 400, "data is missing" },
            { "", FORM, "data=x", 400, "a topic must be a string" },
            { "", FORM, "topic=%", 400, "a malformed percent-escape" },
            { "", J, "{", 400, "malformed JSON" }, { "", J, "", 400, "malformed JSON" },
            { "", J, "5", 400, "not a JSON object" }, { "", J, "[]", 400, "not a JSON object" },
            { "", J, '[{"topic":"x","data":1}]', 400, "not a JSON object" },
            { "", J, '{"data":1}', 400, "a topic must be a string" },
            { "", J, '{"topic":5,"data":1}', 400, "a topic must be a string" },
            { "", J, '{"topic":"x"}', 400, "data is missing" },
            { "", J, '{"topic":"x","message":{}}', 400, "message must be a string" },
            { "", J, '{"topic":"x","data":1,"event":5}', 400, "event must be" },
            { "", J, '{"topic":"x","data":1,"key":""}', 400, "key must be" },
            { "", J, '{"topic":"x","data":"\255"}', 400, "malformed JSON" },
            { "", J, ('{"topic":"x","data":%s%s}'):format(("["):rep(100), ("]"):rep(100)), 400,
               "nested too deeply" },
            { "?topic=x", nil, ("m"):rep(1001), 413, "larger than max_body (1000 bytes)" },
         }
         for _, row in ipairs(rows) do
            local answer = post(port, "/publish" .. row[1], { ["content-type"] = row[2] }, row[3])
            assert.equal(row[4], answer.status, row[3])
            assert.truthy(answer.body:find(row[5], 1, true), answer.body)
         end
         local answer = server.ask(port, "GET", "/publish")
         assert.same({ 405, "OPTIONS, POST" }, { answer.status, answer.headers.allow })
         assert.equal(0, app:stats().published)
      end)
   end)

   it("blames the line that misuses it, without showing the token", function()
      local app = weft.app()
      for _, row in ipairs { { nil, "the option token is needed" }, { { token = "short" }, "16" },
         { { token = ("s p"):rep(10) }, "16 or more letters" }, { { token = 5 }, "must be" },
         { { token = {} }, "must hold a token" } } do
         local why = server.blame(function() app:publisher("/p", row[1]) end)
         assert.truthy(why:find(row[2], 1, true), why)
         assert.is_nil(why:find("short", 1, true))
      end
   end)
end)

describe("a body by an iterator", function()
   it("is ended where it waits when the client goes away, and closes what is its own", function()
      run(function()
         local app = server.app()
         local seen = weft.channel(2)
         local function own(name)
            return setmetatable({}, { __close = function() seen:send(name) end })
         end
         app:get("/", function()
            local first = true
            return 200, nil, function()
               if first then first = false return "x" end
               local _ <close> = own "within"
               weft.sleep(1000)
            end, nil, nil, own "closing"
         end)
         local _, port = assert(app:listen "127.0.0.1:0")
         local reported = server.errors(function()
            local peer = server.dial(port)
            peer:send "GET / HTTP/1.1\r\nhost: x\r\n\r\n"
            repeat local line = assert(peer.stream:receive "*l") until line == "x"
            peer:close()
            assert.same({ "within", "closing" }, { seen:receive(SOON), seen:receive(SOON) })
            eventually(function() return app:stats().connections == 0 end)
         end)
         assert.same({}, reported)
      end)
   end)

   it("closes what is its own where it cannot be sent", function()
      run(function()
         local app = server.app()
         local closed = 0
         app:get("/:gzip", function(req)
            local own = setmetatable({}, { __close = function() closed = closed + 1 end })
            return 200, { ["x-name"] = req:arg "name" }, function() end, nil, nil, own
         end, { gzip = true })
         local _, port = assert(app:listen "127.0.0.1:0")
         local reported = server.errors(function()
            assert.equal(500, server.ask(port, "GET", "/a?name=a%0Ab").status)
         end)
         assert.equal(1, #reported)
         assert.equal(1, closed)
         assert.equal(200, server.ask(port, "GET", "/a?name=ab").status)
         eventually(function() return closed == 2 end)
         assert.equal(200, server.ask(port, "HEAD", "/a?name=ab").status)
         eventually(function() return closed == 3 end)
      end)
   end)

   it("is a generic for's, and what a next request sends meanwhile waits", function()
      run(function()
         local app = server.app()
         local closed = 0
         app:get("/", function()
            return 200, nil, function(last, i)
               weft.sleep(0.01)
               if tonumber(i) < last then return tostring(tonumber(i) + 1) end
            end, 3, "0", setmetatable({}, { __close = function() closed = closed + 1 end })
         end)
         app:get("/lines", function() return 200, nil, io.lines("LICENSE", "L") end)
         app:get("/bad", function() return 200, nil, function() end, nil, nil, {} end)
         local _, port = assert(app:listen "127.0.0.1:0")
         local peer = server.dial(port)
         peer:send(("GET / HTTP/1.1\r\nhost: x\r\n\r\n"):rep(2))
         assert.equal("123", peer:response().body)
         assert.equal("123", peer:response().body)
         local file <close> = assert(io.open "LICENSE")
         assert.equal(file:read "a", peer:ask("GET", "/lines").body)
         assert.equal("", peer:ask("HEAD", "/", nil).body)
         local reported = server.errors(function()
            assert.equal(500, server.ask(port, "GET", "/bad").status)
         end)
         assert.matches("must have __close, got a table", reported[1])
         assert.equal(3, closed)
      end)
   end)
end)
