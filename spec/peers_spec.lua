-- weft and foreign peers, each as a client and as a server of the other: Debian's
-- python3-websockets and npm's ws.

local weft = require "weft"
local json = require "cjson"
local certificates = require "spec.certificates"
local process = require "spec.process"

local PEERS = {
   {
      name = "python3-websockets",
      client = { "/usr/bin/python3", "spec/peers/client.py" },
      server = { "/usr/bin/python3", "spec/peers/echo_server.py" },
   },
   {
      name = "npm's ws",
      client = { "node", "spec/peers/client.mjs" },
      server = { "node", "spec/peers/echo_server.mjs" },
   },
}

-- Each once more over TLS. The children find the certificates in their environment, under
-- these names: ours, Python's, and node's.
for i = 1, #PEERS do
   local peer = { tls = certificates.client(), name = PEERS[i].name .. " over TLS",
      client = PEERS[i].client, server = PEERS[i].server }
   peer.env = { TLS_CERT = certificates.path "good.pem", TLS_KEY = certificates.path "good.key",
      SSL_CERT_FILE = peer.tls.ca, NODE_EXTRA_CA_CERTS = peer.tls.ca }
   table.insert(PEERS, peer)
end

-- What client.py and client.mjs run.
local CASES = {
   "text",
   "binary",
   "empty",
   "lengths around each form of the header, to 1 MiB",
   "more than 1 MiB is refused with 1009",
   "fragments, split inside a character",
   "ping between fragments",
   "answers the server's ping",
   "the first subprotocol of the server's that is offered",
   "no subprotocol in common",
   "headers, path and query",
   "many messages in flight, in order",
   "permessage-deflate is declined",
   "closes with codes and reasons",
   "is closed with codes and reasons",
   "vanishes without a close frame",
}

-- The same five in both clients, as closes0 to closes4 and closed0 to closed4.
local CLOSES = {
   { 1000, "" },
   { 1000, "bye" },
   { 1001, "going away" },
   { 3000, ("r"):rep(123) },
   { 4999, "bis später ✓" },
}

local function by(key, lines)
   local found = {}
   for _, line in ipairs(lines) do
      found[line[key] or ""] = line
   end
   return found
end

-- The lines of a child that are JSON, and those that are not (which are faults).
local function decode(text)
   local lines, faults = {}, {}
   for line in text:gmatch "[^\n]+" do
      local ok, value = pcall(json.decode, line)
      table.insert(ok and lines or faults, ok and value or line)
   end
   return lines, table.concat(faults, "\n")
end

for _, peer in ipairs(PEERS) do
   describe(peer.name .. " as a client of weft:", function()
      local results, ended, said, status

      lazy_setup(function()
         local server = process.start(process.script "spec/peers/weft_echo.lua",
            { limit = 200, env = peer.env })
         local port = server:wait_for "^port (%d+)"
         local client = process.start({ peer.client[1], peer.client[2],
            (peer.tls and "wss" or "ws") .. "://127.0.0.1:" .. port .. "/echo" },
            { foreign = true, limit = 180, env = peer.env })
         local lines, faults = decode((client:finish()))
         results = by("name", lines)
         local rest
         rest, status = server:stop "INT"
         lines, said = decode(rest)
         ended, said = by("case", lines), faults .. said
      end)

      for _, name in ipairs(CASES) do
         it(name, function()
            local result = results[name] or { why = "did not run: " .. said }
            assert(result.ok, result.why)
         end)
      end

      it("weft saw the codes and reasons with which it was closed", function()
         for i, close in ipairs(CLOSES) do
            local seen = ended["closes" .. i - 1]
            assert.same({ close[1], close[2], true }, { seen.code, seen.reason, seen.clean })
         end
      end)

      it("weft saw its own closes answered", function()
         for i, close in ipairs(CLOSES) do
            local seen = ended["closed" .. i - 1]
            assert.same({ close[1], true }, { seen.code, seen.clean })
         end
      end)

      it("weft saw who vanished", function()
         assert.same({ 1006, false }, { ended.vanishes.code, ended.vanishes.clean })
      end)

      it("weft's server had nothing to complain about, and ended well", function()
         assert.equal("", said)
         assert.equal(0, status)
      end)
   end)

   describe(peer.name .. " as a server for weft:", function()
      local server, ports

      lazy_setup(function()
         server = process.start(peer.server, { foreign = true, limit = 200, env = peer.env })
         ports = json.decode((server:wait_for "^(.*port.*)$"))
      end)

      lazy_teardown(function()
         server:stop "KILL"
      end)

      local function url(path)
         return ("%s://127.0.0.1:%d%s"):format(peer.tls and "wss" or "ws", ports.port, path or "/")
      end

      -- A client's options, with TLS where that is spoken.
      local function with(options)
         options = options or {}
         options.tls = peer.tls
         return options
      end

      -- Runs f(ws) on a fresh connection, then closes it. What the server saw of the end is
      -- returned; it prints one line for each connection.
      local function connected(f, address, options)
         local opened
         local ok, why = pcall(weft.run, weft.deadline, 20, function()
            local ws <close> = assert(weft.connect(address or url(), with(options)))
            opened = true
            f(ws)
            ws:close()
         end)
         local seen = opened and json.decode(server:line())
         if not ok then
            error(why, 0)
         end
         return seen
      end

      local function echoes(ws, message, kind)
         assert(ws:send(message, kind))
         local answer, answer_kind = assert(ws:receive())
         assert.equal(kind or "text", answer_kind)
         assert.equal(#message, #answer)
         assert.is_true(message == answer)
      end

      it("text", function()
         connected(function(ws)
            echoes(ws, "hello")
            echoes(ws, "Grüße, 世界 🧵 \0 and a NUL")
         end)
      end)

      it("binary", function()
         local bytes = {}
         for i = 0, 255 do
            bytes[i] = string.char(i)
         end
         connected(function(ws) echoes(ws, table.concat(bytes, "", 0), "binary") end)
      end)

      it("empty", function()
         connected(function(ws)
            echoes(ws, "")
            echoes(ws, "", "binary")
         end)
      end)

      it("lengths around each form of the header, to 1 MiB", function()
         connected(function(ws)
            for _, size in ipairs { 124, 125, 126, 127, 65535, 65536, 1 << 20 } do
               echoes(ws, ("x"):rep(size))
               echoes(ws, ("\0\xff7weft"):rep(size // 7 + 1):sub(1, size), "binary")
            end
         end)
      end)

      it("more than max_message is refused with 1009", function()
         local seen = connected(function(ws)
            assert(ws:send(("x"):rep(1001)))
            local message, _, code = ws:receive()
            assert.is_nil(message)
            assert.equal("too_big", code)
         end, nil, { max_message = 1000 })
         assert.equal(1009, seen.code)
      end)

      it("fragments, split inside a character, with pings between them", function()
         connected(function(ws)
            assert(ws:send "!fragment zwölf Fäden 🧵")
            assert.equal("zwölf Fäden 🧵", (ws:receive()))
         end)
      end)

      it("is pinged", function()
         connected(function(ws)
            assert(ws:send "!ping are you there?")
            assert.equal("pong", (ws:receive()))
         end)
      end)

      it("pings", function()
         connected(function(ws)
            local rtt = assert(ws:ping(5))
            assert.is_true(rtt >= 0 and rtt < 5)
            assert.equal(rtt, ws:latency())
            echoes(ws, "hello")
         end)
      end)

      it("subprotocols", function()
         connected(function(ws)
            assert.equal("peer.v1", ws.protocol)
            echoes(ws, "hello")
         end, nil, { protocols = { "other", "peer.v1" } })
      end)

      it("no subprotocol in common", function()
         connected(function(ws)
            assert.is_nil(ws.protocol)
            echoes(ws, "hello")
         end, nil, { protocols = { "other" } })
      end)

      it("headers, path and query", function()
         connected(function(ws)
            assert(ws:send "!header x-thread")
            assert.equal("indigo", (ws:receive()))
            assert(ws:send "!path")
            assert.equal("/some/path?a=%20b", (ws:receive()))
         end, url "/some/path?a=%20b", { headers = { ["X-Thread"] = "indigo" } })
      end)

      it("many messages in flight, in order", function()
         connected(function(ws)
            local sent = {}
            for i = 1, 500 do
               sent[i] = i .. (" "):rep(i * 37 % 2000)
            end
            local sending = weft.spawn(function()
               for _, message in ipairs(sent) do
                  ws:send(message)
               end
            end)
            local received = {}
            for i = 1, 500 do
               received[i] = ws:receive()
            end
            sending:join()
            assert.is_true(table.concat(sent, "|") == table.concat(received, "|"))
         end)
      end)

      it("a burst of messages, taken one by one", function()
         connected(function(ws)
            assert(ws:send "!burst 1000")
            local sent, received = {}, {}
            for i = 1, 1000 do
               sent[i] = ("%d "):format(i - 1) .. ("y"):rep((i - 1) * 37 % 2000)
               received[i] = ws:receive()
            end
            assert.is_true(table.concat(sent, "|") == table.concat(received, "|"))
         end)
      end)

      it("a server that would compress does not, as weft does not offer it", function()
         connected(function(ws)
            echoes(ws, ("hello "):rep(1000))
            assert(ws:send "!header sec-websocket-extensions")
            assert.equal("(none)", (ws:receive()))
         end, (url():gsub(":%d+/", (":%d/"):format(ports.deflate_port))))
      end)

      it("closes with codes and reasons", function()
         for _, close in ipairs(CLOSES) do
            local seen = connected(function(ws)
               echoes(ws, "hello")
               ws:close(close[1], close[2])
               local code, _, clean = ws:closed()
               assert.same({ close[1], true }, { code, clean })
            end)
            assert.same({ close[1], close[2] }, { seen.code, seen.reason })
         end
      end)

      it("is closed with codes and reasons", function()
         for _, close in ipairs(CLOSES) do
            connected(function(ws)
               assert(ws:send(("!close %d %s"):format(close[1], close[2])))
               local message, _, code = ws:receive()
               assert.is_nil(message)
               assert.equal("closed", code)
               assert.same({ close[1], close[2], true }, { ws:closed() })
            end)
         end
      end)

      it("ends the loop over messages when it is closed", function()
         connected(function(ws)
            assert(ws:send "!burst 3")
            assert(ws:send "!close 1001 enough")
            local count = 0
            for _ in ws:messages() do
               count = count + 1
            end
            assert.equal(3, count)
         end)
      end)

      it("sees a server vanish", function()
         connected(function(ws)
            assert(ws:send "!drop")
            assert.is_nil((ws:receive()))
            local code, _, clean = ws:closed()
            assert.same({ 1006, false }, { code, clean })
         end)
      end)
   end)
end
