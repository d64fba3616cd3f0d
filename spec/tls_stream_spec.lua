-- TLS on plain streams: tls:// listeners and dials, starttls in both roles, the goodbye,
-- what is cut off, and what a slow or malicious peer gets.

local weft = require "weft"
local certificates = require "spec.certificates"
local core = require "weft.core"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run, keep, eventually = server.run, server.keep, raw.eventually
local trusting, showing = certificates.client, certificates.server

local HOSTILE = os.getenv "WEFT_HOSTILE_GC"
local SOON = HOSTILE and 120 or 20

-- Two connected streams without TLS: who dialled, who accepted.
local function pair()
   local listener = keep(assert(weft.listen "127.0.0.1:0"))
   local _, port = listener:getsockname()
   local accepting = weft.spawn(function() return assert(listener:accept()) end)
   local client = keep(assert(weft.dial("127.0.0.1:" .. port)))
   return client, keep(accepting:join()), port
end

local CLIENT = { server_name = "localhost" }

-- The same with TLS on both.
local function secure_pair(more)
   local client, accepted, port = pair()
   local shaking = weft.spawn(function() return accepted:starttls(showing("good", more)) end)
   assert(client:starttls(trusting(CLIENT)))
   assert(shaking:join())
   return client, accepted, port
end

-- A tls:// listener that hands each stream to f in a task of its own; its port.
local function listening(f, tls)
   local listener = keep(assert(weft.listen("tls://127.0.0.1:0", { tls = tls or showing "good" })))
   local _, port = listener:getsockname()
   weft.spawn(function()
      for stream in listener:each() do
         weft.spawn(function()
            f(stream)
            stream:close()
         end)
      end
   end)
   return port
end

local function dial(port, more)
   return weft.dial("tls://localhost:" .. port, { tls = trusting(more) })
end

-- No record is as long as the block, nor a multiple of it.
local BLOCK
do
   local parts = {}
   for i = 1, 999 do parts[i] = ("%d,"):format(i * 7919) end
   BLOCK = table.concat(parts)
end

local function bytes(n)
   return BLOCK:rep(n // #BLOCK + 1):sub(1, n)
end

-- Passes on what `from` says as `change` would have each record, byte by byte: each in a
-- turn of the loop of its own.
local PIECE = HOSTILE and 100 or 1
local function pass(from, to, change)
   local n = 0
   for head in function() return from:receive(5) end do
      n = n + 1
      local record = head .. (from:receive((string.unpack(">I2", head, 4))) or "")
      if change then record = change(record, n) end
      for at = 1, #record, PIECE do
         if not to:send(record, at, math.min(at + PIECE - 1, #record)) then return end
         weft.sleep(0)
      end
   end
   to:shutdown "send"
end

-- A way to the port that knows nothing of TLS: its port, and what cuts it.
local function proxy(port, change)
   local listener = keep(assert(weft.listen "127.0.0.1:0"))
   local _, own = listener:getsockname()
   local near, far
   weft.spawn(function()
      near = keep(assert(listener:accept()))
      far = keep(assert(weft.dial("127.0.0.1:" .. port)))
      weft.spawn(pass, far, near)
      pass(near, far, change)
   end)
   return own, function()
      far:close()
      near:close()
   end
end

describe("a tls:// stream", function()
   it("is used as any other", function()
      run(function()
         local port = listening(function(stream)
            local line = stream:receive "*l"
            stream:send(line:upper() .. "\n" .. tostring(stream:tls().version))
         end)
         local stream = keep(assert(dial(port)))
         assert(stream:send "hello\n")
         assert.equal("HELLO\nTLSv1.3", stream:receive "*a")
      end)
   end)

   it("carries megabytes both ways at once, through full buffers", function()
      run(function()
         local size = HOSTILE and 300000 or 8 << 20
         local port = listening(function(stream)
            local whole = stream:receive(size)
            stream:send(whole)
         end)
         local stream = keep(assert(dial(port)))
         local data = bytes(size)
         assert.equal(size, (stream:send(data)))
         assert.is_true(data == stream:receive "*a")
      end, 60)
   end)

   it("that nobody reads holds its sender up, and loses nothing", function()
      run(function()
         local size = HOSTILE and 300000 or 8 << 20
         local data, sent = bytes(size), 0
         local go = weft.channel()
         local port = listening(function(stream)
            go:receive()
            assert(stream:receive(size) == data)
            stream:send "whole"
         end)
         local stream = keep(assert(dial(port)))
         stream:setoption("send-buffer-size", 16384)
         local sending = weft.spawn(function()
            for at = 1, size, 5000 do
               assert(stream:send(data, at, math.min(at + 4999, size)))
               sent = at
            end
         end)
         for _ = 1, 20 do weft.sleep(0.005) end
         if not HOSTILE then assert.is_true(sent < size - 5000, "it was not held up") end
         go:send(true)
         sending:join()
         assert.equal("whole", stream:receive "*a")
      end, 60)
   end)

   it("knows the peer's certificate on both sides", function()
      run(function()
         local client, accepted = secure_pair()
         assert.equal("CN=good", client:tls().peer.subject)
         assert.is_nil(accepted:tls().peer)
         assert.is_nil((pair()):tls())
      end)
   end)
end)

describe("the end of a TLS stream", function()
   it("is said in both directions apart", function()
      run(function()
         local client, accepted = secure_pair()
         assert(client:send "question")
         assert(client:shutdown "send")
         assert.equal("question", accepted:receive "*a")
         assert(accepted:send "answer")
         accepted:close()
         assert.equal("answer", client:receive "*a")
      end)
   end)

   it("that was not said is told as such, with what had come", function()
      run(function()
         local begun, got, message, partial, code
         local port = listening(function(stream)
            begun = stream:receive(4)
            got, message, partial, code = stream:receive "*a"
         end)
         local through, cut = proxy(port)
         local stream = keep(assert(dial(through)))
         assert(stream:send "half a sen")
         eventually(function() return begun end) -- so the record is there
         cut() -- FIN without close_notify, as an attacker would
         eventually(function() return code end)
         assert.is_nil(got)
         assert.truthy(message:find("without close_notify", 1, true), message)
         assert.same({ "half", " a sen" }, { begun, partial })
         assert.equal("tls", code)
      end)
   end)

   it("is known to the other when a websocket ends, either way", function()
      run(function()
         local app = server.app()
         app:websocket("/", function(ws) ws:receive() end)
         local _, port = app:listen("127.0.0.1:0", { tls = showing "good" })
         for i = 1, 2 do
            local ws = assert(weft.connect(("wss://localhost:%d/"):format(port),
               { tls = trusting() }))
            if i == 1 then ws:send "x" ws:receive(10) end
            ws:close()
            assert.same({ 1000, "", true }, { ws:closed() })
         end
         eventually(function() return app:stats().connections == 0 end)
      end)
   end)
end)

describe("a peer with TLS that went", function()
   it("is still heard with what it said before, once sending to it has failed", function()
      run(function()
         local client, accepted = secure_pair()
         accepted:send "421 too busy\r\nplease come again"
         accepted:close()
         eventually(function() return not client:send "MAIL" end)
         assert.equal("421 too busy", client:receive "*l")
         assert.same({ nil, "closed", "please come again", "closed" }, { client:receive "*a" })
      end, SOON)
   end)
end)

describe("records", function()
   it("may come byte by byte, as may the handshake", function()
      run(function()
         local port = listening(function(stream)
            stream:send(stream:receive(600))
         end)
         local stream = keep(assert(dial((proxy(port)))))
         local data = bytes(600)
         assert(stream:send(data))
         assert.is_true(data == stream:receive "*a")
      end, 30)
   end)

   it("that were tampered with end the connection, with what came before", function()
      run(function()
         local data, message, partial, code
         local port = listening(function(stream)
            data, message, partial, code = stream:receive "*a"
         end)
         local through = proxy(port, function(record, n)
            if n < 7 then return record end
            return record:sub(1, -2) .. string.char(record:byte(-1) ~ 1)
         end)
         local stream = keep(assert(dial(through)))
         for _ = 1, 100 do
            if code or not stream:send(bytes(100)) then break end
            weft.sleep(0.001)
         end
         eventually(function() return code end)
         assert.is_nil(data)
         assert.equal("tls", code, message)
         assert.equal(bytes(100), partial:sub(1, 100))
      end, 30)
   end)

   it("are one at a time, so a reader that has enough leaves the rest", function()
      run(function()
         local client, accepted = secure_pair()
         assert(client:send(bytes(100000)))
         local parts = {}
         for i = 1, 100 do parts[i] = accepted:receive(1000) end
         assert.is_true(table.concat(parts) == bytes(100000))
      end)
   end)
end)

describe("starttls", function()
   it("lets what was sent before leave in the clear", function()
      run(function()
         local client, accepted = pair()
         local rear = weft.spawn(function()
            assert.equal("STARTTLS", accepted:receive "*l")
            assert(accepted:send "220 go on\r\n")
            assert(accepted:starttls(showing "good"))
            return accepted:receive "*l"
         end)
         assert(client:send "STARTTLS\r\n")
         assert.equal("220 go on", client:receive "*l")
         assert(client:starttls(trusting(CLIENT)))
         assert(client:send "secret\n")
         assert.equal("secret", (rear:join()))
      end)
   end)

   it("keeps what another task sends meanwhile for TLS, behind what was sent before", function()
      run(function()
         local client, accepted = pair()
         local clear = bytes(8 * 1024 * 1024 + 17)
         local rear = weft.spawn(function()
            assert(accepted:send(clear))
            weft.spawn(function() assert(accepted:send "secret\n") end)
            return accepted:starttls(showing "good")
         end)
         assert.is_true(client:receive(#clear) == clear)
         assert(client:starttls(trusting(CLIENT)))
         assert.equal("secret", client:receive "*l")
         assert(rear:join())
      end)
   end)

   it("takes no command that was smuggled in before it", function()
      run(function()
         local client, accepted = pair()
         local rear = weft.spawn(function()
            assert(accepted:receive "*l")
            return accepted:starttls(showing "good")
         end)
         assert(client:send "STARTTLS\r\nRCPT TO: <x>\r\n")
         local ok, message, code = rear:join()
         assert.is_nil(ok)
         assert.equal("tls", code, message)
      end)
   end)

   it("takes a handshake that had come already", function()
      run(function()
         local client, accepted = pair()
         local rear = weft.spawn(function()
            assert.equal("PROXY x", accepted:receive "*l")
            for _ = 1, 3 do weft.sleep(0.01) end
            return accepted:starttls(showing "good")
         end)
         assert(client:send "PROXY x\r\n")
         assert(client:starttls(trusting(CLIENT)))
         assert.is_true(rear:join())
      end)
   end)

   it("that failed leaves nothing to be sent or received in the clear", function()
      run(function()
         local client, accepted = pair()
         assert(accepted:send "220 no TLS here\r\n")
         local ok, message, code = client:starttls(trusting(CLIENT))
         assert.is_nil(ok)
         assert.equal("tls", code, message)
         assert.same({ nil, "wrong version number", 0, "tls" }, { client:send "secret" })
         assert.equal("tls", (select(4, client:receive "*l")))
         assert.equal("tls", (select(3, client:starttls(trusting(CLIENT)))))
         client:close()
         local heard = assert(accepted:receive "*a")
         assert.is_nil(heard:find("secret", 1, true))
      end)
   end)

   it("that ended too early leaves no command that was smuggled in before it", function()
      run(function()
         local client, accepted = pair()
         assert(client:send "STARTTLS\r\nRCPT TO: <x>\r\n")
         assert.equal("STARTTLS", accepted:receive "*l")
         -- what the peer does not take keeps the handshake from its beginning
         accepted:settimeout(0)
         while accepted:send(bytes(1 << 20)) do end
         local ok, message, code =
            accepted:starttls(showing("good", { handshake_timeout = 0.1 }))
         assert.is_nil(ok)
         assert.equal("timeout", code, message)
         local line, _, partial, why = accepted:receive "*l"
         assert.same({ nil, "", "tls" }, { line, partial, why })
         client:send "RCPT TO: <y>\r\n"
         assert.is_true(core.ready(accepted, false, SOON))
         line, _, partial, why = accepted:receive "*l"
         assert.same({ nil, "", "tls" }, { line, partial, why })
      end, SOON)
   end)

   it("takes a handshake that had come already also where the kernel is to do the records",
      function()
         run(function()
            local client, accepted = pair()
            local rear = weft.spawn(function()
               assert.equal("PROXY x", accepted:receive "*l")
               eventually(function()
                  core.ready(accepted, false, 0)
                  return core.pending(accepted) > 0
               end)
               return accepted:starttls(showing("good", { ktls = true }))
            end)
            assert(client:send "PROXY x\r\n")
            assert(client:starttls(trusting(CLIENT)))
            assert.is_true(rear:join())
         end, SOON)
      end)

   it("ends in its time, and leaves a stream to be closed", function()
      run(function()
         local client, accepted = pair()
         local ok, message, code = accepted:starttls(showing("good", { handshake_timeout = 0.1 }))
         assert.is_nil(ok)
         assert.equal("timeout", code, message)
         accepted:close()
         assert.is_nil((client:receive "*l"))
      end)
   end)

   it("can be cancelled", function()
      run(function()
         local _, accepted = pair()
         local task = weft.spawn(function() accepted:starttls(showing "good") end)
         weft.sleep(0.01)
         task:cancel()
         local _, _, code = task:join()
         assert.equal("cancelled", code)
         accepted:close()
      end)
   end)

   it("survives the stream being closed meanwhile, and the peer's going", function()
      run(function()
         local client, accepted = pair()
         local task = weft.spawn(function() return accepted:starttls(showing "good") end)
         weft.sleep(0.01)
         accepted:close()
         local ok, _, code = task:join()
         assert.is_nil(ok)
         assert.equal("closed", code)
         local other, gone = pair()
         task = weft.spawn(function() return gone:starttls(showing "good") end)
         other:close()
         ok, _, code = task:join()
         assert.is_nil(ok)
         assert.equal("tls", code)
         client:close()
      end)
   end)

   it("says who it verifies, and what went wrong", function()
      run(function()
         local client, accepted = pair()
         weft.spawn(function() accepted:starttls(showing "wrong") end)
         local ok, message, code = client:starttls(trusting(CLIENT))
         assert.is_nil(ok)
         assert.equal("tls", code)
         assert.truthy(message:find(
            "stream:starttls: TLS with localhost: its certificate is for another",
            1, true), message)
      end)
   end)

   it("has a role, guessed or given", function()
      run(function()
         local client, accepted = pair()
         local rear = weft.spawn(function()
            return accepted:starttls(assert(weft.tls(showing "good", "server")))
         end)
         local tls = { verify = false, cert = certificates.path "alice.pem",
            key = certificates.path "alice.key" }
         assert(client:starttls(tls, "client"))
         assert(rear:join())
      end)
   end)

   local misuse = {
      { function() (pair()):starttls "x" end, "the options must be a table" },
      { function() (pair()):starttls({}, "x") end, "the role must be" },
      { function() (pair()):starttls {} end, "needs server_name, the host to verify" },
      { function() (pair()):starttls({}, "server") end, "needs a certificate (cert)" },
      { function() secure_pair():starttls(CLIENT) end, "this stream has TLS already" },
   }
   for i, row in ipairs(misuse) do
      it("blames the caller for misuse, row " .. i, function()
         run(function()
            local message = server.blame(row[1])
            assert.truthy(message:find(row[2], 1, true), message)
         end)
      end)
   end
end)

describe("a tls:// listener", function()
   it("ends handshakes that do not come to an end", function()
      run(function()
         local message, code
         local port = listening(function(stream)
            local _
            _, message, _, code = stream:receive(1)
         end, showing("good", { handshake_timeout = 0.1 }))
         local silent = server.dial(port)
         eventually(function() return code end)
         assert.equal("timeout", code, message)
         assert.is_true(silent:is_over())
         keep(assert(dial(port)))
      end)
   end)

   it("tells its stream's user that the peer speaks no TLS", function()
      run(function()
         local message, code
         local port = listening(function(stream)
            local _
            _, message, _, code = stream:receive "*l"
         end)
         server.dial(port):send "GET / HTTP/1.1\r\n\r\n"
         eventually(function() return code end)
         assert.equal("tls", code, message)
      end)
   end)

   it("sends what was sent before the handshake was done, when it is", function()
      run(function()
         local port = listening(function(stream)
            assert(stream:send "welcome")
            stream:receive "*a"
         end)
         local stream = keep(assert(dial(port)))
         assert.equal("welcome", stream:receive(7))
         stream:shutdown "send"
      end)
   end)

   it("makes its handshake first where the stream is to send nothing", function()
      run(function()
         local got
         local port = listening(function(stream)
            assert(stream:shutdown "send")
            got = stream:receive "*a"
         end)
         local stream = keep(assert(dial(port)))
         assert(stream:send "all of it")
         assert.equal("", stream:receive "*a")
         assert(stream:shutdown "send")
         eventually(function() return got end)
         assert.equal("all of it", got)
      end)
   end)

   it("hands out no stream whose TLS could not begin", function()
      run(function()
         local listener = keep(assert(weft.listen("tls://127.0.0.1:0", { tls = showing "good" })))
         local _, port = listener:getsockname()
         local begin = core.tls_begin
         core.tls_begin = function() return nil, "not enough memory", "nomem" end
         local client = server.dial(port)
         local stream, message, code = listener:accept()
         core.tls_begin = begin
         assert.is_nil(stream)
         assert.equal("nomem", code, message)
         assert.is_true(client:is_over())
      end)
   end)

   -- Clients that all connect before they begin with TLS; f is called for each stream, in the
   -- task that accepts. What each client received to its end.
   local function greet(clients, f)
      local listener = keep(assert(weft.listen("tls://127.0.0.1:0", { tls = showing "good" })))
      local _, port = listener:getsockname()
      weft.spawn(function()
         for stream in listener:each() do f(stream) end
      end)
      local streams, heard = {}, {}
      for i = 1, clients do streams[i] = keep(assert(weft.dial("127.0.0.1:" .. port))) end
      for i, stream in ipairs(streams) do
         assert(stream:starttls(trusting(CLIENT)))
         heard[i] = { stream:receive "*a" }
      end
      return heard
   end

   it("sends nothing in the clear, however early it was sent, and to however many", function()
      run(function()
         local kept = {}
         for _, heard in ipairs(greet(12, function(stream)
            assert(stream:send "welcome")
            kept[#kept + 1] = weft.spawn(function()
               assert(stream:send ", and goodbye")
               stream:shutdown "send"
               stream:receive "*a"
            end)
         end)) do
            assert.same({ "welcome, and goodbye" }, heard)
         end
      end)
   end)

   it("sends what was sent before its stream was closed, before the handshake", function()
      run(function()
         for _, heard in ipairs(greet(6, function(stream)
            assert(stream:send "welcome and goodbye")
            stream:close()
         end)) do
            assert.same({ "welcome and goodbye" }, heard)
         end
      end)
   end)

   it("shows a reloaded certificate", function()
      run(function()
         local tls = assert(weft.tls(showing "good", "server"))
         local port = listening(function(stream) stream:receive "*a" end, tls)
         keep(assert(dial(port)))
         assert.is_true(tls:reload())
         keep(assert(dial(port)))
      end)
   end)
end)
