-- permessage-deflate (RFC 7692) with real peers, each as a client and as a server: Debian's
-- python3-websockets and npm's ws with every parameter, and weft itself; what is
-- refused, broadcasts, and the choice for each message.

local weft = require "weft"
local json = require "cjson"
local process = require "spec.process"
local raw = require "spec.raw"
local rig = require "spec.pieces_rig"
local server = require "spec.helper_server"

local PMD = "permessage-deflate"
local NO_TAKEOVER = "; server_no_context_takeover; client_no_context_takeover"

local sample = rig.sample -- compresses, but not beyond max_ratio

local function noise(n)
   local x, parts = 88172645463325252, {}
   for i = 1, n // 8 do
      x = x ~ (x << 13); x = x ~ (x >> 7); x = x ~ (x << 17)
      parts[i] = string.pack("<i8", x)
   end
   return table.concat(parts)
end

local MESSAGES = {
   { "hello" }, { "" }, { "", "binary" }, { ("hello "):rep(1000) }, { sample(600) },
   { sample(600) }, { sample(70000) }, { noise(5000), "binary" },
   { sample(raw.hostile and 100000 or 900000) }, { sample(20000), "binary" },
}

local function exchange(ws, opts)
   for _, m in ipairs(MESSAGES) do
      assert(ws:send(m[1], m[2], opts))
      local message, kind = ws:receive(raw.SOON)
      assert(message == m[1], ("%d bytes: %s"):format(#m[1], kind))
      assert.equal(m[2] or "text", kind)
   end
end

local WAYS = {
   { true, PMD .. "; client_max_window_bits=12" },
   { "dedicated", PMD .. "; client_max_window_bits=12" },
   { "shared", PMD .. NO_TAKEOVER },
   { { window = 9, threshold = 0 }, PMD .. "; client_max_window_bits=9" },
   { { window = 15, memlevel = 9, level = 1, threshold = 0 }, PMD },
   { { level = 0, threshold = 0 }, PMD .. "; client_max_window_bits=12" },
   { { server_no_context_takeover = true, window = 15 }, PMD .. "; server_no_context_takeover" },
   { { client_no_context_takeover = true, client_max_window_bits = 15 },
      PMD .. "; client_no_context_takeover" },
   { { server_max_window_bits = 10, client_max_window_bits = 11, threshold = 0 },
      PMD .. "; client_max_window_bits=11" },
}

describe("compression between two wefts:", function()
   for i, way in ipairs(WAYS) do
      it(("option %d of a server"):format(i), function()
         raw.run(function()
            local port = raw.app(raw.echo, { compression = way[1] })
            local ws <close> = assert(weft.connect(raw.url(port), { compression = true }))
            assert.equal(way[2], ws.extensions)
            exchange(ws)
            exchange(ws, { compress = false })
            exchange(ws, { compress = true })
         end)
      end)
   end

   it("what a client asks for it gets", function()
      raw.run(function()
         local port = raw.app(raw.echo, { compression = true })
         for opts, want in pairs {
            shared = NO_TAKEOVER .. "; client_max_window_bits=12",
            [{ window = 9 }] = "; server_max_window_bits=9; client_max_window_bits=9",
            [{ server_max_window_bits = 15 }] =
               "; server_max_window_bits=12; client_max_window_bits=12",
            [{ client_max_window_bits = 10, client_no_context_takeover = true }] =
               "; client_no_context_takeover; client_max_window_bits=10",
         } do
            local ws <close> = assert(weft.connect(raw.url(port), { compression = opts }))
            assert.equal(PMD .. want, ws.extensions)
            exchange(ws)
         end
      end, 60)
   end)

   it("none where one side does not want it", function()
      raw.run(function()
         for asked, given in pairs { [true] = false, [false] = true } do
            local port = raw.app(raw.echo, { compression = given })
            local ws <close> = assert(weft.connect(raw.url(port), { compression = asked }))
            assert.equal("", ws.extensions)
            exchange(ws)
         end
      end)
   end)

   it("a route differs from its app", function()
      raw.run(function()
         local port, app = raw.app(raw.echo, { compression = true })
         app:websocket("/plain", raw.echo, { compression = false })
         local url = raw.url(port):gsub("ws$", "plain")
         local ws <close> = assert(weft.connect(url, { compression = true }))
         assert.equal("", ws.extensions)
      end)
   end)
end)

local function offering(value) return { ["sec-websocket-extensions"] = value } end
local OFFER = offering(PMD .. "; client_max_window_bits")

describe("compression seen from outside:", function()
   -- The first frame that weft sends for a message.
   local function frame_of(opts, message, kind, how)
      local result
      raw.run(function()
         local port = raw.app(function(ws) ws:send(message, kind, how) end, { compression = opts })
         local c = raw.connect(port, "/ws", OFFER)
         result = c:read()
      end)
      return result
   end

   it("the threshold, and the choice for one message", function()
      local text = ("x"):rep(600)
      assert.equal(4, frame_of(true, text).rsv)
      assert.equal(0, frame_of(true, ("x"):rep(511)).rsv)
      assert.equal(4, frame_of(true, ("x"):rep(512)).rsv)
      assert.equal(4, frame_of(true, "x", "text", { compress = true }).rsv)
      assert.equal(0, frame_of(true, text, "text", { compress = false }).rsv)
      assert.equal(4, frame_of({ threshold = 0 }, "x").rsv)
      assert.equal(0, frame_of(false, text, "text", { compress = true }).rsv)
   end)

   it("what does not become shorter stays as it is, where messages stand alone", function()
      local bytes = noise(4096)
      local f = frame_of("shared", bytes, "binary")
      assert.equal(0, f.rsv)
      assert.equal(bytes, f.payload)
      assert.is_true(#frame_of("dedicated", bytes, "binary").payload < 4096 + 32)
   end)

   it("a broadcast is the same frame for everyone who can read it", function()
      raw.run(function()
         local port, app = raw.app(function(ws)
            ws:subscribe "t"
            for _ in ws:messages() do ws:send(("mine "):rep(200)) end
         end, { compression = { threshold = 0, window = 11 } })
         local packed = {}
         for i, parameter in ipairs { "client_max_window_bits", "server_no_context_takeover" } do
            packed[i] = raw.connect(port, "/ws", offering(PMD .. "; " .. parameter))
         end
         local small = raw.connect(port, "/ws", offering(PMD .. "; server_max_window_bits=9"))
         local plain = raw.connect(port)
         local ws <close> = assert(weft.connect(raw.url(port), { compression = true }))
         for i = 1, 5 do
            local message = sample(400 * i)
            raw.eventually(function() return app:publish("t", message, "text") == 5 end)
            -- earlier ones went to fewer
            local function last(c)
               local f
               repeat f = c:read() until f.rsv ~= 0 or f.payload == message
               return f
            end
            local first, second = last(packed[1]), last(packed[2])
            assert.equal(4, first.rsv)
            assert.equal(first.payload, second.payload)
            assert.equal(4, last(small).rsv)
            assert.equal(message, last(plain).payload)
            assert.equal(message, (ws:receive(raw.SOON)))
            assert(ws:send "now you") -- its own compressor has not seen what was published
            assert.equal(("mine "):rep(200), (ws:receive(raw.SOON)))
         end
      end, 60)
   end)

   it("malformed offers are refused, others declined", function()
      raw.run(function()
         local port = raw.app(raw.echo, { compression = true })
         for _, value in ipairs { PMD .. ";", "=", PMD .. '; a="', PMD .. " x" } do
            local c = raw.dial(port)
            c:send(server.upgrade("/ws", offering(value)))
            assert.matches("^HTTP/1.1 400 ", (c:read_head()))
         end
         for _, value in ipairs { "foo", PMD .. "; x", PMD .. "; server_max_window_bits=7",
            PMD .. "; server_max_window_bits=16", PMD .. "; client_max_window_bits=1",
            PMD .. "; server_no_context_takeover; server_no_context_takeover" } do
            local c = raw.dial(port)
            c:send(server.upgrade("/ws", offering(value)))
            local head = c:read_head()
            assert.matches("^HTTP/1.1 101 ", head)
            assert.is_nil(head:lower():find("extensions", 1, true))
            raw.check_echo(c, 2)
         end
      end)
   end)

   it("a client refuses an answer outside of its offer, and says why", function()
      raw.run(function()
         for answer, why in pairs {
            ["foo"] = "not offered", [PMD .. "; x"] = "unknown parameter",
            [PMD .. "; server_max_window_bits=16"] = "not from 8 to 15",
            [PMD .. "; server_max_window_bits=15"] = "window_bits is more than was offered",
            [PMD] = "lacks server_max_window_bits", [PMD .. ", " .. PMD] = "lacks server_max",
            [PMD .. ";"] = "malformed",
         } do
            local _, url = raw.serve(function(c, key)
               c:send(raw.answer(key, { ["sec-websocket-extensions"] = answer }))
            end)
            local ws, message, code = weft.connect(url, { compression = { window = 12 } })
            assert.is_nil(ws)
            assert.equal("handshake", code)
            assert(message:find(why, 1, true), message)
            ws, message, code = weft.connect(url)
            assert.is_nil(ws)
            assert.equal("handshake", code)
            assert(message:find("an extension that was not offered", 1, true), message)
         end
      end)
   end)
end)

describe("compressed input that is refused:", function()
   local function ends_with(want, opts, ...)
      local frames = { ... }
      raw.run(function()
         local port = raw.app(raw.echo, opts)
         local c = raw.connect(port, "/ws", OFFER)
         for _, f in ipairs(frames) do c:frame(f) end
         assert.equal(want, (c:take_close()))
      end)
   end

   local on = { compression = true }

   it("bad data: 1007", function()
      ends_with(1007, on, { op = "binary", rsv = 4, payload = "\xff\xff\xff\xff" })
      ends_with(1007, on, { op = "text", rsv = 4, payload = "\xf2\x48\xcd" })
   end)

   it("compression of control frames and continuations, RSV1 unasked: 1002", function()
      ends_with(1002, on, { op = "ping", rsv = 4 })
      ends_with(1002, on, { op = "text", rsv = 4, fin = false, payload = "\xf2\x48\xcd" },
         { op = "more", rsv = 4, payload = "\xc9\xc9\x07\x00" })
      ends_with(1002, {}, { op = "text", rsv = 4, payload = "\xf2\x48\xcd\xc9\xc9\x07\x00" })
   end)

   it("bombs: 1009, and no memory is spent beyond the limit", function()
      -- 8 MiB of zeros, from python's zlib
      local pipe = assert(io.popen([[/usr/bin/python3 -c '
import sys, zlib
z = zlib.compressobj(9, zlib.DEFLATED, -15)
sys.stdout.buffer.write((z.compress(bytes(8 << 20)) + z.flush(zlib.Z_SYNC_FLUSH))[:-4])']]))
      local bomb = pipe:read "a"
      pipe:close()
      assert.is_true(#bomb > 5000 and #bomb < 20000)
      for _, opts in ipairs { { compression = true }, { compression = { max_ratio = 1032 } },
         { compression = "shared", max_message = 100 } } do
         local before = raw.memory()
         ends_with(1009, opts, { op = "binary", rsv = 4, payload = bomb })
         raw.check_memory(before, 8 << 20)
      end
   end)
end)

-- -- foreign peers ---------------------------------------------------------------------------

-- Runs a foreign client against an echo of weft's: each line that it prints is a result.
local function foreign_client(command, opts, ...)
   local results = {}
   local args = table.pack(...)
   raw.run(function()
      local seen = {}
      local port = raw.app(function(ws)
         seen[#seen + 1] = ws.extensions
         raw.echo(ws)
      end, opts)
      local full = { table.unpack(command) }
      full[#full + 1] = ("ws://127.0.0.1:%d/ws"):format(port)
      for i = 1, args.n do full[#full + 1] = args[i] end
      -- its output goes to a file, so that the loop here goes on meanwhile
      local name = os.tmpname()
      local child = process.start({ "sh", "-c", 'out=$0; exec "$@" > "$out" 2>&1; :', name,
         table.unpack(full) }, { foreign = true, limit = 120 })
      local function text()
         local file <close> = assert(io.open(name))
         return file:read "a"
      end
      local ok, why = pcall(raw.eventually, function()
         return text():find "done\n" or text():find "Error"
      end, "its end")
      results.text, results.seen = text(), seen
      child:stop "KILL"
      os.remove(name)
      if not ok then error(why .. ":\n" .. results.text, 0) end
   end, 120)
   return results
end

local SERVERS = { true, "shared", { threshold = 0 },
   { threshold = 0, mode = "shared", window = 15 }, { threshold = 0, window = 9 } }

describe("python3-websockets as a client of weft", function()
   local settings = json.encode {
      { client_max_window_bits = true },
      { server_max_window_bits = 9, client_max_window_bits = 10 },
      { server_no_context_takeover = true, client_max_window_bits = true },
      { client_no_context_takeover = true, client_max_window_bits = true },
   }
   for i, compression in ipairs(SERVERS) do
      it(("under option %d"):format(i), function()
         local r = foreign_client({ "/usr/bin/python3", "spec/peers/deflate_client.py" },
            { compression = compression, max_message = 4 << 20 }, settings)
         assert(r.text:find "\ndone\n", r.text)
         assert.equal(4, #r.seen)
         for _, agreed in ipairs(r.seen) do assert.matches("^permessage%-deflate", agreed) end
      end)
   end
end)

describe("npm's ws as a client of weft", function()
   local settings = json.encode {
      { clientMaxWindowBits = true }, { serverMaxWindowBits = 9, clientMaxWindowBits = 10 },
      { serverNoContextTakeover = true }, { clientNoContextTakeover = true },
      { serverMaxWindowBits = 8, serverNoContextTakeover = true, clientNoContextTakeover = true },
   }
   for i, compression in ipairs(SERVERS) do
      it(("under option %d"):format(i), function()
         local r = foreign_client({ "node", "spec/peers/deflate_client.mjs" },
            { compression = compression, max_message = 4 << 20 }, settings)
         assert(r.text:find "\ndone\n", r.text)
         assert.equal(5, #r.seen)
         for _, agreed in ipairs(r.seen) do assert.matches("^permessage%-deflate", agreed) end
      end)
   end
end)

for name, command in pairs {
   ["python3-websockets"] = { "/usr/bin/python3", "spec/peers/echo_server.py" },
   ["npm's ws"] = { "node", "spec/peers/echo_server.mjs" },
} do
   describe(name .. " as a server for weft", function()
      local peer, url

      lazy_setup(function()
         peer = process.start(command, { foreign = true, limit = 200 })
         local ports = json.decode((peer:wait_for "^(.*port.*)$"))
         url = ("ws://127.0.0.1:%d/"):format(ports.deflate_port)
      end)

      lazy_teardown(function() peer:stop "KILL" end)

      for i, compression in ipairs { true, "shared", { threshold = 0, window = 9 },
         { threshold = 0, window = 15 },
         { threshold = 0, server_no_context_takeover = true, server_max_window_bits = 10 },
         { threshold = 0, client_no_context_takeover = true, client_max_window_bits = 11 } } do
         it(("option %d"):format(i), function()
            raw.run(function()
               local ws <close> = assert(weft.connect(url, { compression = compression }))
               assert.matches("^permessage%-deflate", ws.extensions)
               exchange(ws)
               exchange(ws, { compress = false })
            end)
         end)
      end
   end)
end
