-- WebSockets by hand: a client and a server that send any bytes, lawful or not, cut
-- anywhere, over weft's plain sockets. Frames are built and read here by RFC 6455
-- alone, with no code of weft's, and so is the accept value.

local weft = require "weft"
local server = require "spec.helper_server"

local raw = {}

raw.KEY = server.KEY
raw.MASK = "\x37\xfa\x21\x3d"

-- Under `make gc` every thousand instructions cost a full collection, and valgrind is as
-- slow: rounds are few, and times are long.
local hostile = (os.getenv "WEFT_HOSTILE_GC" or os.getenv "WEFT_SLOW") ~= nil
raw.hostile = hostile
raw.SOON = hostile and 120 or 10 -- the bound of what happens at once

-- Longer payloads are masked by zeros, which is as lawful and no work.
raw.mask_most = hostile and 5000 or math.huge

--- So many rounds, or fewer.
function raw.rounds(n, fewer)
   return hostile and (fewer or math.max(1, n // 100)) or n
end

--- A time of the test's own choice, in proportion.
function raw.time(s)
   return hostile and s * 5 or s
end

local codes = { more = 0, text = 1, binary = 2, close = 8, ping = 9, pong = 10 }
local names = {}
for name, code in pairs(codes) do names[code] = name end

-- -- frames -----------------------------------------------------------------------

local function mask(payload, key)
   local wide = key:rep(1024)
   local parts = {}
   for at = 1, #payload, #wide do
      local piece = payload:sub(at, at + #wide - 1)
      local n = #piece
      piece = piece .. ("\0"):rep(-n % 8)
      local out = {}
      local k = string.unpack("<I8", wide)
      for i = 1, #piece, 8 do
         out[#out + 1] = string.pack("<I8", string.unpack("<I8", piece, i) ~ k)
      end
      parts[#parts + 1] = table.concat(out):sub(1, n)
   end
   return table.concat(parts)
end

--- Under `make gc` without its collections: they are for weft, and there are a thousand in a mask.
function raw.mask(payload, key)
   if key == "\0\0\0\0" then return payload end
   local hook, events, count = debug.gethook()
   debug.sethook()
   local masked = mask(payload, key)
   debug.sethook(hook, events, count)
   return masked
end

local function pack_length(n, form)
   form = form or (n < 126 and 7 or n < 65536 and 16 or 64)
   if form == 7 then return n, "" end
   if form == 16 then return 126, (">I2"):pack(n) end
   return 127, (">i8"):pack(n)
end

--- The bytes of one frame: { op = "text" or a number, payload, fin = true, rsv = 0,
-- mask = false or a key or true, length = what is announced, form = 7, 16 or 64 }.
function raw.frame(f)
   local payload = f.payload or ""
   local op = codes[f.op] or f.op or 1
   local key = f.mask == true and raw.MASK or f.mask
   local len, more = pack_length(f.length or #payload, f.form)
   local b0 = (f.fin == false and 0 or 0x80) | (f.rsv or 0) << 4 | op
   local head = string.char(b0, (key and 0x80 or 0) | len) .. more
   if not key then return head .. payload end
   return head .. key .. raw.mask(payload, key)
end

--- The payload of a close frame.
function raw.close_body(code, reason)
   return code and (">I2"):pack(code) .. (reason or "") or ""
end

-- -- SHA-1 (RFC 3174) and base64, for the accept value ------------------------------

local function rotate(x, n)
   return (x << n | x >> (32 - n)) & 0xffffffff
end

local function round(t, b, c, d)
   if t < 20 then return b & c | ~b & d, 0x5a827999 end
   if t < 40 then return b ~ c ~ d, 0x6ed9eba1 end
   if t < 60 then return b & c | b & d | c & d, 0x8f1bbcdc end
   return b ~ c ~ d, 0xca62c1d6
end

local function sha1(s)
   local h = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 }
   s = s .. "\x80" .. ("\0"):rep((55 - #s) % 64) .. (">I8"):pack(#s * 8)
   for at = 1, #s, 64 do
      local w = { (">" .. ("I4"):rep(16)):unpack(s, at) }
      for t = 17, 80 do w[t] = rotate(w[t - 3] ~ w[t - 8] ~ w[t - 14] ~ w[t - 16], 1) end
      local a, b, c, d, e = table.unpack(h)
      for t = 0, 79 do
         local f, k = round(t, b, c, d)
         a, b, c, d, e = (rotate(a, 5) + (f & 0xffffffff) + e + k + w[t + 1]) & 0xffffffff, a,
            rotate(b, 30), c, d
      end
      for i, v in ipairs { a, b, c, d, e } do h[i] = (h[i] + v) & 0xffffffff end
   end
   return (">I4I4I4I4I4"):pack(table.unpack(h))
end

local digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function base64(s)
   local bits = s:gsub(".", function(c)
      local out = ""
      for i = 7, 0, -1 do out = out .. (c:byte() >> i & 1) end
      return out
   end)
   local text = (bits .. ("0"):rep(-#bits % 6)):gsub("%d%d%d%d%d%d", function(six)
      local i = tonumber(six, 2) + 1
      return digits:sub(i, i)
   end)
   return text .. ("="):rep(-#s % 3)
end

--- The Sec-WebSocket-Accept of a key (RFC 6455 4.2.2).
function raw.accept(key)
   return base64(sha1(key .. "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
end

-- -- connections ---------------------------------------------------------------------

local conn = {}
conn.__index = conn

local function new(stream, client)
   return server.keep(setmetatable({ stream = stream, client = client }, conn))
end

function conn:close() self.stream:close() end
conn.__close = conn.close

function conn:send(...) return assert(self.stream:send(table.concat { ... })) end

--- Byte by byte: each leaves in a turn of its own.
function conn:drip(bytes)
   for i = 1, #bytes do
      if not self.stream:send(bytes:sub(i, i)) then return nil end
      weft.sleep(0)
   end
   return true
end

--- In two pieces.
function conn:send_cut(bytes, at)
   self:send(bytes:sub(1, at))
   weft.sleep(0)
   self:send(bytes:sub(at + 1))
end

--- The bytes of a frame as this side has to send it.
function conn:pack(f)
   if f.mask == nil then
      local copy = { mask = self.client }
      if self.client and #(f.payload or "") > raw.mask_most then copy.mask = "\0\0\0\0" end
      for k, v in pairs(f) do copy[k] = v end
      f = copy
   end
   return raw.frame(f)
end

function conn:frame(f) return self:send(self:pack(f)) end
function conn:text(s) return self:frame { op = "text", payload = s } end
function conn:binary(s) return self:frame { op = "binary", payload = s } end
function conn:ping(s) return self:frame { op = "ping", payload = s } end

--- A close frame.
function conn:bye(code, reason)
   return self:frame { op = "close", payload = raw.close_body(code, reason) }
end

--- Ends it with a reset: bytes that were sent to us are unread when it is closed.
-- The caller made sure that there are some.
function conn:reset() self.stream:close() end

--- The next frame: { op, fin, rsv, payload, key }, for close frames also code and
-- reason; or nil and why, once the peer has ended the connection.
function conn:read()
   local head, message, partial = self.stream:receive(2)
   if not head then
      assert(partial == "", "the connection ended inside a frame")
      return nil, message
   end
   local b0, b1 = head:byte(1, 2)
   local length = b1 & 0x7f
   if length == 126 then length = (">I2"):unpack((assert(self.stream:receive(2))))
   elseif length == 127 then length = (">I8"):unpack((assert(self.stream:receive(8)))) end
   local f = { op = names[b0 & 15] or b0 & 15, fin = b0 >= 0x80, rsv = b0 >> 4 & 7,
      form = b1 & 0x7f == 126 and 16 or b1 & 0x7f == 127 and 64 or 7 }
   if b1 >= 0x80 then f.key = assert(self.stream:receive(4)) end
   f.payload = length > 0 and assert(self.stream:receive(length)) or ""
   if f.key then f.payload = raw.mask(f.payload, f.key) end
   if f.op == "close" and #f.payload >= 2 then
      f.code, f.reason = (">I2"):unpack(f.payload), f.payload:sub(3)
   end
   return f
end

--- The payload of the next frame, which must be whole and of that kind.
function conn:take(op)
   local f, message = self:read()
   if not f then error(("instead of %s: %s"):format(op, message), 2) end
   if f.op ~= op or not f.fin or f.rsv ~= 0 then
      error(("instead of %s: %s %s %q"):format(op, f.op, f.code or "", f.reason or f.payload), 2)
   end
   return f.payload, f
end

--- The next frame must close: code (nil: none) and reason.
function conn:take_close()
   local _, f = self:take "close"
   return f.code, f.reason
end

--- Nothing more comes but the end.
function conn:is_over()
   local data, message, partial = self.stream:receive(1)
   if data or partial ~= "" then return false, "more data came" end
   return message == "closed", message
end

--- One line of a head at a time, up to the empty one, as text.
function conn:read_head()
   local lines = {}
   repeat
      local line, message = self.stream:receive "*l"
      if not line then return nil, message end
      lines[#lines + 1] = line
   until line == ""
   return table.concat(lines, "\n")
end

-- -- the client ------------------------------------------------------------------------

--- A connection to a port of this machine, before any handshake.
function raw.dial(port)
   return new(assert(weft.dial("127.0.0.1:" .. port)), true)
end

--- For a stream that was made in another way.
function raw.adopt(stream) return new(stream, true) end

--- After the handshake. changes: as for server.upgrade.
function raw.connect(port, path, changes)
   local c = raw.dial(port)
   c:send(server.upgrade(path or "/ws", changes))
   local head = assert(c:read_head())
   assert(head:find "^HTTP/1.1 101 ", head)
   return c
end

-- -- the server ------------------------------------------------------------------------

--- The head of a lawful 101; changes replaces fields (false drops), `more` is added.
function raw.answer(key, changes, more)
   local fields = { upgrade = "websocket", connection = "Upgrade",
      ["sec-websocket-accept"] = raw.accept(key) }
   for name, value in pairs(changes or {}) do fields[name] = value end
   local lines = { "HTTP/1.1 101 Switching Protocols" }
   for name, value in pairs(fields) do
      if value then lines[#lines + 1] = name .. ": " .. value end
   end
   return table.concat(lines, "\r\n") .. "\r\n" .. (more or "") .. "\r\n"
end

--- Listens, and runs script(connection, key, head) for everyone who connects and has
-- sent a request. Returns the port and the URL.
function raw.serve(script)
   local listener = server.keep(assert(weft.listen "127.0.0.1:0"))
   weft.spawn(function()
      for stream in listener:each() do
         weft.spawn(function()
            local c = new(stream, false)
            local head = c:read_head()
            if head then script(c, head:match "\nsec%-websocket%-key: ([^\n]*)", head) end
         end)
      end
   end)
   local _, port = listener:getsockname()
   return port, ("ws://127.0.0.1:%d/ws"):format(port)
end

--- The same with the handshake made, and what the client said in it.
function raw.accepting(script)
   return raw.serve(function(c, key, head)
      c:send(raw.answer(key))
      script(c, head)
   end)
end

-- -- running -----------------------------------------------------------------------------

--- server.run, and no task may fail, also not one that nobody joins.
function raw.run(f, seconds)
   seconds = (seconds or 20) * (hostile and 10 or 1)
   local reported = server.errors(function() server.run(f, seconds) end)
   if reported[1] then error(reported[1], 0) end
end

--- Waits for something that happens in other tasks, within a bound.
function raw.eventually(condition, what)
   local till = weft.now() + raw.SOON
   repeat
      if condition() then return true end
      weft.sleep(0.002)
   until weft.now() > till
   error((what or "it") .. " did not happen", 2)
end

--- The memory of this process, in bytes; nil where it means nothing, since a sanitizer
-- keeps back what was freed.
function raw.memory()
   if os.getenv "ASAN_OPTIONS" then return nil end
   collectgarbage()
   collectgarbage()
   local file <close> = assert(io.open "/proc/self/statm")
   return tonumber(file:read "a":match "^%d+ (%d+)") * 4096
end

--- It has not grown by more than that since `before`.
function raw.check_memory(before, bound)
   local more = before and raw.memory() - before or 0
   assert(more < bound, ("%.1f MiB more"):format(more / (1 << 20)))
end

--- Message i, of a size that changes, with every byte telling where it belongs.
local sizes = { 0, 1, 60, 5000, 125, 126, 70000, 3, 65535, 65536, 1000, 200, 9 }
function raw.numbered(i)
   local unit = ("%d,"):format(i)
   local n = sizes[i % #sizes + 1]
   return unit .. unit:rep(n // #unit + 1):sub(1, n)
end

--- n times there and back on a connection to an echo, within a bound that only somebody
-- who waits for another would miss.
function raw.check_echo(c, n)
   local began = weft.now()
   for i = 1, n do
      c:text("echo " .. i)
      assert(c:take "text" == "echo " .. i)
   end
   assert(weft.now() - began < raw.SOON, "it took too long")
end

--- An app with a route at /ws; its port and the app.
function raw.app(handler, opts)
   local app = server.app(opts)
   app:websocket("/ws", handler)
   local _, port = assert(app:listen "127.0.0.1:0")
   return port, app
end

function raw.echo(ws)
   for message, kind in ws:messages() do ws:send(message, kind) end
end

function raw.url(port) return ("ws://127.0.0.1:%d/ws"):format(port) end

--- A weft client connected to a raw server whose connection is returned, too.
function raw.pair(opts)
   local ready = weft.channel(1)
   local _, url = raw.accepting(function(c) ready:send(c) end)
   local ws = server.keep(assert(weft.connect(url, opts)))
   return ws, ready:receive(raw.SOON)
end

--- The other way round: a raw client and the server's weft connection, whose handler
-- does nothing until the test ends.
function raw.reverse(opts)
   local ready, done = weft.channel(1), weft.channel(1)
   local port, app = raw.app(function(ws)
      ready:send(ws)
      done:receive()
   end, opts)
   server.keep { close = function() done:close() end }
   local c = raw.connect(port)
   return ready:receive(raw.SOON), c, app
end

--- A test in both roles, by the spec's own `it`: f(ws, c, app) gets a weft connection and
-- the raw peer at its other end.
function raw.both(it, what, f, opts, seconds)
   for role, pair in pairs { server = raw.reverse, client = raw.pair } do
      it(("%s (a %s)"):format(what, role), function()
         raw.run(function() f(pair(opts)) end, seconds)
      end)
   end
end

return raw
