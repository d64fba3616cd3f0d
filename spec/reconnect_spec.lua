-- weft.reconnect: a fresh connection per turn, the pauses between them, and what ends it.
-- Chance, time and sleep are the tests' own, through the module's seam; the connections are
-- real ones.

local weft = require "weft"
local date = require "weft.date"
local reconnect = require "weft.reconnect"
local server = require "spec.helper_server"
local raw = require "spec.raw"

local run, eventually, SOON = raw.run, raw.eventually, raw.SOON
local seam = reconnect.seam

-- Within f: random() is `chance`, now() is clock.now, and sleeping moves that clock on.
local function with_clock(chance, f)
   local before, clock = {}, { now = 1000, slept = {} }
   for name, value in pairs(seam) do before[name] = value end
   seam.random = function() return chance end
   seam.now = function() return clock.now end
   seam.sleep = function(s)
      clock.slept[#clock.slept + 1] = s
      clock.now = clock.now + s
      return weft.sleep(0)
   end
   local ok, err = pcall(f, clock)
   for name, value in pairs(before) do seam[name] = value end
   if not ok then error(err, 0) end
end

-- A server that answers the i-th request by script[i](c, key), the last for all that follow;
-- its URL, and a table whose n counts the requests.
local function serve(...)
   local script, seen = { ... }, { n = 0 }
   local _, url = raw.serve(function(c, key)
      seen.n = seen.n + 1
      script[math.min(seen.n, #script)](c, key)
   end)
   return url, seen
end

local function status(code, more)
   return function(c)
      c.stream:send(("HTTP/1.1 %d x\r\n%sContent-Length: 0\r\n\r\n"):format(code, more or ""))
      c:close()
   end
end

local function closing(code, reason)
   return function(c, key)
      c.stream:send(raw.answer(key) .. raw.frame { op = "close",
         payload = raw.close_body(code, reason) })
      c.stream:receive "*a"
      c:close()
   end
end

local function dropping(c, key)
   c.stream:send(raw.answer(key))
   c:close()
end

local function greeting(c, key)
   c.stream:send(raw.answer(key) .. raw.frame { payload = "hello" })
   c.stream:receive "*a"
   c:close()
end

-- Runs the loop to its end; what the hooks were told.
local function drive(url, opts, body)
   local told = { retries = {} }
   opts = opts or {}
   opts.on_retry = function(why) table.insert(told.retries, why) end
   opts.on_stop = function(why)
      assert(not told.stop, "told twice")
      told.stop = why
   end
   told.turns = 0
   for ws in weft.reconnect(url, opts) do
      told.turns = told.turns + 1
      if body then body(ws, told.turns) else while ws:receive(SOON) do end end
   end
   return told
end

describe("weft.reconnect", function()
   it("gives a fresh connection for each turn", function()
      run(function()
         with_clock(0, function(clock)
            local url, seen = serve(greeting, greeting, greeting, closing(1000))
            local known = {}
            local told = drive(url, nil, function(ws)
               if ws:receive(SOON) then assert.equal(nil, known[ws]) end
               known[ws] = true
            end)
            assert.equal(4, told.turns)
            assert.equal(4, seen.n)
            assert.equal(3, #clock.slept)
            assert.equal(1000, told.stop.close_code)
         end)
      end)
   end)

   it("waits a random time between the floor and a ceiling that doubles, up to the cap", function()
      run(function()
         for chance, expected in pairs {
            [0] = { 1, 1, 1, 1, 1, 1 }, [0.5] = { 1.5, 2.5, 4.5, 5.5, 5.5, 5.5 },
            [1] = { 2, 4, 8, 10, 10, 10 } } do
            with_clock(chance, function(clock)
               local url = serve(status(503))
               local told = drive(url, { min_delay = 1, max_delay = 10, max_attempts = 7 })
               assert.same(expected, clock.slept)
               assert.equal(0, told.turns)
               assert.equal(7, told.stop.attempt)
               assert.is_nil(told.stop.delay)
               for i, why in ipairs(told.retries) do
                  assert.same({ i, expected[i], 503, "refused" },
                     { why.attempt, why.delay, why.status, why.code })
                  assert.truthy(why.message:find("503", 1, true))
               end
            end)
         end
      end)
   end)

   it("never overflows its ceiling", function()
      run(function()
         with_clock(1, function(clock)
            local n, many = 0, raw.rounds(3000, 200)
            seam.open = function()
               n = n + 1
               return nil, "no", "refused"
            end
            drive("ws://x/", { max_attempts = many, min_delay = 0.001, max_delay = 7 })
            assert.equal(many, n)
            assert.equal(7, clock.slept[many - 1])
         end)
      end)
   end)

   it("takes chance and time from the real sources by default", function()
      assert.equal(math.random, seam.random)
      assert.equal(weft.now, seam.now)
      assert.equal(weft.sleep, seam.sleep)
   end)

   it("forgets failures once a connection was stable, and not before", function()
      run(function()
         with_clock(1, function(clock)
            local url = serve(status(500), dropping, dropping, status(502), dropping, closing(1000))
            local told = drive(url, { min_delay = 1, max_delay = 100, stable_after = 5 },
               function(ws, turn)
                  ws:receive(SOON)
                  clock.now = clock.now + (turn == 2 and 5 or 4.9)
               end)
            assert.same({ 2, 4, 2, 4, 8 }, clock.slept)
            assert.equal(4, told.turns)
         end)
      end)
   end)

   it("gives up after max_attempts in a row, whatever they were", function()
      run(function()
         with_clock(0, function()
            local url, seen = serve(dropping, status(503), dropping)
            local told = drive(url, { max_attempts = 3 })
            assert.equal(3, seen.n)
            assert.equal(2, told.turns)
            assert.equal(1006, told.stop.close_code)
            assert.equal(3, told.stop.attempt)
         end)
      end)
   end)

   it("asks for the delay that Retry-After asks for, within the cap", function()
      run(function()
         for field, delay in pairs { ["7"] = 7, ["600"] = 20, ["0"] = 1, ["-5"] = 1, ["x"] = 1,
            ["Wed, 21 Oct 2015 07:28:00 GMT"] = 1, ["99999999999999999999"] = 1, [""] = 1 } do
            with_clock(0, function(clock)
               local url = serve(status(503, "Retry-After: " .. field .. "\r\n"), closing(1000))
               drive(url, { min_delay = 1, max_delay = 20 })
               assert.same({ delay }, clock.slept)
            end)
         end
      end)
   end)

   it("takes a date in Retry-After, too", function()
      run(function()
         for ahead, bounds in pairs { [50] = { 30, 50 }, [5000] = { 100, 100 } } do
            with_clock(0, function(clock)
               local url = serve(function(c)
                  status(503, "Retry-After: " .. date.format(os.time() + ahead) .. "\r\n")(c)
               end, closing(1000))
               drive(url, { min_delay = 1, max_delay = 100 })
               assert.is_true(clock.slept[1] >= bounds[1] and clock.slept[1] <= bounds[2])
            end)
         end
      end)
   end)

   local stops = { status = { 200, 301, 400, 401, 403, 404, 405, 410, 426, 451, 501, 505 },
      close = { 1000, 1003, 1008, 1010 } }
   local goes_on = { status = { 408, 425, 429, 500, 502, 503, 504 },
      close = { 1001, 1002, 1005, 1006, 1007, 1009, 1011, 1012, 1013, 1014, 3000, 4000, 4999 } }

   local function scene(kind, number)
      if kind == "status" then return status(number) end
      return number == 1006 and dropping or closing(number ~= 1005 and number or nil)
   end

   for kind, numbers in pairs(stops) do
      it("stops at " .. kind .. " " .. table.concat(numbers, ", "), function()
         run(function()
            for _, number in ipairs(numbers) do
               with_clock(0, function(clock)
                  local told = drive((serve(scene(kind, number))))
                  assert.same({}, clock.slept)
                  assert.equal(number, told.stop.status or told.stop.close_code)
                  assert.equal(0, #told.retries)
               end)
            end
         end)
      end)
   end

   for kind, numbers in pairs(goes_on) do
      it("goes on after " .. kind .. " " .. table.concat(numbers, ", "), function()
         run(function()
            for _, number in ipairs(numbers) do
               with_clock(0, function(clock)
                  local told = drive((serve(scene(kind, number), closing(1000))))
                  assert.equal(1, #clock.slept)
                  assert.equal(number, told.retries[1].status or told.retries[1].close_code)
               end)
            end
         end)
      end)
   end

   it("stops at an answer that is not valid, and goes on when there was none", function()
      run(function()
         with_clock(0, function()
            local told = drive((serve(function(c) c:close() end, function(c)
               c.stream:send "SSH-2.0-OpenSSH\r\n\r\n"
               c:close()
            end)))
            assert.equal("closed", told.retries[1].code)
            assert.equal("handshake", told.stop.code)
            assert.equal(2, told.stop.attempt)
         end)
      end)
   end)

   it("goes on while nobody listens", function()
      run(function()
         local port
         do
            local listener <close> = assert(weft.listen "127.0.0.1:0")
            port = select(2, listener:getsockname())
         end
         with_clock(0, function()
            local told = drive(raw.url(math.tointeger(port)), { max_attempts = 2 })
            assert.equal("refused", told.retries[1].code)
            assert.is_nil(told.retries[1].status)
            assert.equal(2, told.stop.attempt)
         end)
      end)
   end)

   it("stops on what the script lists, and on nothing else", function()
      run(function()
         with_clock(0, function()
            local list = { 4001, 418, "utf8" }
            local told = drive((serve(closing(1000), status(404), closing(1008), closing(4001))),
               { stop_on = list })
            assert.equal(3, #told.retries)
            assert.equal(4001, told.stop.close_code)
            told = drive((serve(status(404), status(418))), { stop_on = list })
            assert.equal(418, told.stop.status)
            told = drive((serve(status(404))), { stop_on = {}, max_attempts = 2 })
            assert.equal(1, #told.retries)
            told = drive((serve(function(c) c:close() end)), { stop_on = { "closed" } })
            assert.equal("closed", told.stop.code)
         end)
      end)
   end)

   it("stops when a function says so, which knows why", function()
      run(function()
         with_clock(0, function()
            local seen = {}
            local told = drive((serve(closing(4000, "busy"), status(403), dropping)), {
               stop_on = function(why)
                  seen[#seen + 1] = why
                  return #seen == 3
               end })
            assert.same({ 4000, "busy", true, "closed: 4000 busy" }, { seen[1].close_code,
               seen[1].reason, seen[1].clean, seen[1].message })
            assert.equal(403, seen[2].answer.status)
            assert.truthy(seen[2].message:find("weft.reconnect: ws://127.0.0.1:", 1, true))
            assert.same({ 1006, false }, { seen[3].close_code, seen[3].clean })
            assert.equal(told.stop, seen[3])
         end)
      end)
   end)

   it("closes the turn's connection when the body is left, and goes on", function()
      run(function()
         with_clock(0, function(clock)
            local codes = weft.channel(5)
            local url = serve(function(c, key)
               c.stream:send(raw.answer(key))
               codes:send((c:take_close()))
               c:close()
            end)
            local first
            for ws in weft.reconnect(url) do
               if first then
                  assert.equal(1000, codes:receive(SOON))
                  eventually(function() return first:closed() end)
                  assert.equal(1, #clock.slept)
                  break
               end
               first = ws
            end
            assert.equal(1000, codes:receive(SOON)) -- break closes, too
         end)
      end)
   end)

   it("leaves nothing behind when an error leaves it: 1011", function()
      run(function()
         local codes = weft.channel(1)
         local url = serve(function(c, key)
            c.stream:send(raw.answer(key))
            codes:send((c:take_close()))
            c:close()
         end)
         local ok, err = pcall(function()
            for _ in weft.reconnect(url) do error("on purpose", 0) end
         end)
         assert.same({ false, "on purpose" }, { ok, err })
         assert.equal(1011, codes:receive(SOON))
      end)
   end)

   it("ends with its task, wherever it is cancelled", function()
      run(function()
         local gone, reached = weft.channel(5), weft.channel(5)
         local function waits(c, key)
            reached:send(key)
            gone:send { c.stream:receive "*a" }
         end
         local function opens(c, key)
            c.stream:send(raw.answer(key))
            reached:send(key)
            local code = c:take_close()
            c:close()
            gone:send { code }
         end
         for _, row in ipairs { { waits, "" }, { opens, 1011 } } do
            local url, seen = serve(row[1])
            local task = weft.spawn(drive, url, {}, function(ws) ws:receive() end)
            assert.truthy(reached:receive(SOON))
            if row[1] == opens then weft.sleep(0.02) end
            task:cancel()
            assert.equal("cancelled", select(3, task:join(SOON)))
            assert.equal(row[2], gone:receive(SOON)[1])
            assert.equal(1, seen.n)
         end
         -- in the pause
         local url, seen = serve(status(503))
         local task = weft.spawn(drive, url, { min_delay = 1000, max_delay = 1000 })
         eventually(function() return seen.n == 1 end)
         weft.sleep(0.02)
         task:cancel()
         assert.equal("cancelled", select(3, task:join(SOON)))
      end)
   end)

   it("ends with an enclosing deadline, and says so", function()
      run(function()
         local url = serve(status(503))
         local told = weft.deadline(raw.time(1), drive, url, { min_delay = 1000, max_delay = 1000 })
         assert.equal("timeout", told.stop.code)
         assert.equal(503, told.retries[1].status)
      end)
   end)

   it("may be given the hooks' errors, and lets go of all", function()
      run(function()
         for _, hook in ipairs { "on_retry", "on_stop", "stop_on" } do
            local url = serve(hook == "on_stop" and status(404) or status(503))
            local ok, err = pcall(function()
               for _ in weft.reconnect(url, { [hook] = function() error("hook", 0) end }) do
                  error "a turn"
               end
            end)
            assert.same({ false, "hook" }, { ok, err })
         end
      end)
   end)

   it("comes back to a server of weft's that was restarted", function()
      run(function()
         local function start(port)
            local app = weft.app()
            app:websocket("/ws", function(ws)
               ws:send "welcome"
               ws:receive()
            end)
            local _, bound = assert(app:listen("127.0.0.1:" .. (port or 0), { reuseport = true }))
            return app, bound
         end
         local app, port = start()
         local welcomed, closes = 0, {}
         for ws in weft.reconnect(raw.url(port), { min_delay = 0.01, max_delay = 0.05,
            on_retry = function(why) closes[#closes + 1] = why.close_code or why.code end }) do
            assert.equal("welcome", ws:receive(SOON))
            welcomed = welcomed + 1
            if welcomed == 2 then break end
            app:close()
            while ws:receive(SOON) do end
            app = server.keep((start(port)))
         end
         assert.equal(2, welcomed)
         assert.equal(1001, closes[1])
      end)
   end)

   local misuse = {
      { { 5 }, "the URL must be a string" },
      { { "http://x" }, "the scheme must be ws or wss" },
      { { "ws://zoe:hunter2@" }, "the URL has no host" },
      { { "ws://x/", { min_delay = 0 } }, 'option "min_delay"' },
      { { "ws://x/", { min_delay = 5, max_delay = 4 } }, "min_delay (5) must not be over" },
      { { "ws://x/", { max_attempts = -1 } }, 'option "max_attempts"' },
      { { "ws://x/", { stop_on = { 99 } } }, "must hold close codes" },
      { { "ws://x/", { stop_on = { "closd" } } }, "must hold close codes" },
      { { "ws://x/", { stop_on = { 1000.5 } } }, "must hold close codes" },
      { { "ws://x/", { on_retry = "x" } }, 'option "on_retry" must be a function' },
      { { "ws://x/", { headers = { ["x-a"] = "\n" } } }, "must not hold CR, LF or NUL" },
      { { "ws://x/", { low_mark = 5, high_mark = 4 } }, "must be in that order" },
   }
   for i, row in ipairs(misuse) do
      it("blames the caller for misuse, row " .. i, function()
         local message = server.blame(function() weft.reconnect(table.unpack(row[1])) end)
         assert.truthy(message:find "^weft.reconnect: ", message)
         assert.truthy(message:find(row[2], 1, true), message)
         assert.is_nil(message:find("hunter2", 1, true))
      end)
   end
end)
