-- Writes the seeds of the fuzz targets, real messages and their like, into
-- spec/fuzz/corpus/TARGET:   lua5.4 spec/fuzz/seeds.lua [TARGET...]
-- Each is what the target's take_... functions read: choices first, then the input.

local ROOT = "spec/fuzz/corpus/"
local wanted = {}
for _, target in ipairs(arg) do
   wanted[target] = true
end

local counts = {}
local function seed(target, ...)
   if next(wanted) and not wanted[target] then
      return
   end
   counts[target] = (counts[target] or 0) + 1
   if counts[target] == 1 then
      os.execute("mkdir -p " .. ROOT .. target)
   end
   local file = assert(io.open(("%s%s/seed-%02d"):format(ROOT, target, counts[target]), "wb"))
   file:write(...)
   file:close()
end

local char = string.char
local BYTEWISE, THREES, WHOLE = char(0, 1), char(0, 3), char(0, 255)
local MIXED = char(3, 5, 1, 40, 2)

-- -- utf8: cuts, text

local TEXTS = {
   "", "plain ASCII, long enough for the way by words and by thirty-two bytes at a time",
   "Grüße, κόσμε, 你好, 🙂, e\u{301}",
   "\u{7f}\u{80}\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}",
   "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe0\x80\x80", "\xf0\x8f\xbf\xbf",
   "cut \xf0\x9f\x99",
   ("x"):rep(70) .. "\xff", ("€"):rep(40), "\x80", "ok\xfe",
}
for _, text in ipairs(TEXTS) do
   seed("utf8", MIXED, text)
   seed("utf8", BYTEWISE, text)
end

-- -- frame: flags (1: masked, 2: RSV1 allowed, the rest: phase), header

for _, h in ipairs {
   "\x81\x05Hello", "\x01\x03Hel", "\x80\x02lo", "\x89\x05Hello", "\x8a\x00", "\x88\x02\x03\xe8",
   "\x82\x7e\x01\x00",
   "\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", "\x81\xfe\x00\x7e\x01\x02\x03\x04",
   "\xc1\x80abcd", "\x09\x00",
   "\x8a\x7e\x00\x7e", "\x83\x00", "\x81\x7e\x00\x7d", "\x81\x7f\x80\0\0\0\0\0\0\0",
   "\x81\xffabcdefghijkl",
} do
   for flags = 0, 3 do
      seed("frame", char(flags + 4 * flags), h)
   end
end

-- -- url

for _, url in ipairs {
   "ws://localhost/", "wss://example.com:8443/chat?room=1#top", "http://user:pass@host/x",
   "HTTPS://[::1]:9/%20",
   "ws://[fe80::1%25eth0]:80/", "ws://[fe80::1%eth0]/", "ws://host:", "ws://host:0/",
   "ws://host:65536", "ws:/x",
   "ws://a@b@c/", "ws://?q", "ftp://x/", "ws://h/\u{e9}", "ws://host#", ":8080", "[::1]:8080",
   "localhost:0",
   "tls://:8443", "tls://[::]:1", "unix:/run/weft.sock", "unix:@name", "unix:", "host", "::1:80",
   "[fe80::1%2]:5",
   "wss://192.0.2.1:443/path;v=1/?a=b&c=d", "ws://%2e/", "ws://h:000080/", "ws://@h:1?#/",
} do
   seed("url", url)
end

-- -- trie: lines

for _, lines in ipairs {
   "+a.b\n+a.*\n+a.>\n+*.b\n+*.*\n+>\n?a.b\n?a.c\n?a.b.c\n-a.*\n?a.b",
   "+room.1\n+room.2\n-room.1\n+room.1\n?room.1\n?room.3", "+>\n?x\n->\n?x",
   "+*.*.*.*\n+x.*.y.>\n?x.1.y.2\n?x.1.y.2.3\n?x.1.y",
   "+\u{e9}.\u{20ac}\n?\u{e9}.\u{20ac}\n+a..b\n+a*\n+>.a\n? ",
   "+" .. ("x."):rep(127) .. "x\n?" .. ("x."):rep(127) .. "x\n+" .. ("*."):rep(127) .. "*",
} do
   seed("trie", lines)
end

-- -- head: request?, limits, cuts, bytes

local function lines(list)
   return table.concat(list, "\r\n") .. "\r\n\r\n"
end

local CHROME = lines {
   "GET /chat?room=1 HTTP/1.1", "Host: localhost:8080", "Connection: keep-alive, Upgrade",
   "Pragma: no-cache",
   "Cache-Control: no-cache", "User-Agent: Mozilla/5.0 (X11; Linux x86_64)", "Upgrade: websocket",
   "Origin: http://localhost:8080", "Sec-WebSocket-Version: 13",
   "Accept-Encoding: gzip, deflate, br",
   "Accept-Language: en-US,en;q=0.9", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
   "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
   "Sec-WebSocket-Protocol: chat.v2, json",
}
local ANSWER = lines {
   "HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
   "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
}
local REQUESTS = {
   CHROME, "GET / HTTP/1.0\r\n\r\n",
   "\r\nPOST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na=1",
   "OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n", "GET http://h/ HTTP/1.1\r\nHost: h\r\nX: \t y \t\r\n\r\n",
   "GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n", "GET / HTTP/1.1\nHost: h\n\n",
   "GET / HTTP/2.0\r\n\r\n",
   "GET / HTTP/1.1\r\nHost : h\r\n\r\n", "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n",
   "GET /\x80 HTTP/1.1\r\n\r\n",
   "GET / HTTP/1.1\r\n" .. ("a:b\r\n"):rep(65) .. "\r\n",
   "GET /" .. ("x"):rep(300) .. " HTTP/1.1\r\n\r\n",
   "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\rX",
}
local RESPONSES = {
   ANSWER, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP/1.0 404\r\n\r\n",
   "HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n",
   "HTTP/1.1 20 OK\r\n\r\n",
   "HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\n\r\n",
   "HTTP/1.1 200 \x7f\r\n\r\n",
   "ICY 200 OK\r\n\r\n", "HTTP/1.1 1234 X\r\n\r\n",
}
for _, bytes in ipairs(REQUESTS) do
   seed("head", char(1, 0), MIXED, bytes)
   seed("head", char(1, 1, 40, 1, 44, 5), THREES, bytes)
end
for _, bytes in ipairs(RESPONSES) do
   seed("head", char(0, 0), MIXED, bytes)
end

-- -- extension: the client's and the server's wish, two bytes each; the field's value

for i, value in ipairs {
   "permessage-deflate", "permessage-deflate; client_max_window_bits",
   "x, permessage-deflate;server_max_window_bits=10",
   "permessage-deflate; server_max_window_bits=\"12\"; client_max_window_bits=\"1\\0\"",
   "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
   "permessage-deflate; server_max_window_bits=8, permessage-deflate",
   "permessage-deflate; server_max_window_bits=7",
   "permessage-deflate; server_max_window_bits=09",
   "permessage-deflate; foo, , permessage-deflate; client_max_window_bits=15",
   "permessage-deflate; server_no_context_takeover=1",
   "permessage-deflate; client_max_window_bits; client_max_window_bits",
   "permessage-deflate; server_max_window_bits", "permessage-deflate;", ";a", "a b", ", ,",
   "a=1", "x;y=\"\"", "x;y=\"z",
   "Permessage-Deflate", "permessage-deflate ; server_max_window_bits = 15",
   "x-webkit-deflate-frame", "foo;bar=\"b\\az\";q",
} do
   seed("extension", char(i & 15, i * 7 & 63, i >> 1 & 3, i * 5 & 63), value)
   seed("extension", char(12, 0, 0, 54), value)
end

-- -- deflate: roles and parameters, windows, levels; then steps

local function text(what, bytes)
   return char(what, #bytes) .. bytes
end

local function long_text(what, n, bytes)
   return char(what | 64) .. string.pack(">I2", n) .. bytes:rep(61):sub(1, n % 61)
end

local IN = "\1\0" .. MIXED -- room 257
local BACK = ""
for at, message in ipairs {
   text(0, "Hello") .. text(0, "Hello") .. text(128, ""),
   text(5, "Hello") .. IN .. text(5, "Hello") .. IN,
   long_text(0, 40000, "broad") .. long_text(0, 39999, "cast") .. text(2, "alone")
      .. text(0, "alone, not"),
   text(4, "\xf2\x48\xcd\xc9\xc9\x07\0") .. IN, text(4, "\xf3\x48\xcd\xc9\xc9\x07\0\0") .. IN,
   -- RFC 7692 7.2.3
   text(4, "\0\5\0\xfa\xff\x48\x65\x6c\x6c\x6f\0") .. IN, text(4, "\xf2\0\x11\0\0") .. IN,
   text(4, "\7") .. IN,
   long_text(6, 65535, "\0") .. IN .. long_text(7, 5000, "ab") .. IN,
   text(3, "") .. text(0, "a") .. text(3, "") .. text(3, ""),
} do
   BACK = BACK .. message
   for i, parameters in ipairs {
      "\0\0\0", "\1\0\5", "\6\0\11", "\7\x23\30", "\xc0\x99\7", "\x21\x12\2", "\x4e\x88\6",
   } do
      if (at + i) % 2 == 0 then
         seed("deflate", parameters, message)
      end
   end
end
seed("deflate", "\xa0\0\7", BACK)

-- -- coding: kind, room, cuts, content

local CONTENT_GZIP = {
   "\x1f\x8b\x08\0\0\0\0\0\2\xff\xcb\x48\xcd\xc9\xc9\x07\0\x86\xa6\x10\x36\x05\0\0\0", -- hello
   "\x1f\x8b\x08\x1e\0\0\0\0\2\3\1\0xname\0comment\0\0\0\3\0\0\0\0\0\0\0\0\0", "\x1f\x8b",
   "\x1f\x8c\8",
}
CONTENT_GZIP[5] = CONTENT_GZIP[1] .. CONTENT_GZIP[1]
local CONTENT_DEFLATE = {
   "\x78\x9c\xcb\x48\xcd\xc9\xc9\x07\0\x06\x2c\x02\x15", "\xcb\x48\xcd\xc9\xc9\x07\0", "\3\0",
   "\x78", "\x78\x9c\x07",
   "\xec\xc1\1\1\0\0\0\x80\x90\xfe\xaf\xee\x08\x0a" .. ("\0"):rep(1000) .. "\x18",
   "\0\5\0\xfa\xffhello\3\0",
   "\xb5\xc5\x01\x0d\0\0\x08\x03 \x13\xed\1\xdd\1\3\0",
}
for _, content in ipairs(CONTENT_GZIP) do
   seed("coding", char(0, 0, 2), MIXED, content)
   seed("coding", char(0, 64, 0), THREES, content)
end
for _, content in ipairs(CONTENT_DEFLATE) do
   seed("coding", char(1, 0, 2), BYTEWISE, content)
   seed("coding", char(1, 255, 255), WHOLE, content)
end

-- -- handshake: flags (1: client, 2: it offers subprotocols), head

for _, bytes in ipairs(REQUESTS) do
   seed("handshake", char(0), bytes)
end
for _, change in ipairs {
   { "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZR==" }, { "Version: 13", "Version: 8" },
   { "HTTP/1.1", "HTTP/1.0" },
   { "GET", "POST" }, { "Pragma: no%-cache", "Content-Length: 00" },
   { "Pragma: no%-cache", "Transfer-Encoding: chunked" },
   { "Pragma: no%-cache", "Host: two" }, { "Pragma: no%-cache", "sec-websocket-version: 13" },
   { "localhost", "a/b" },
   { "keep%-alive, Upgrade", ",, \tupGRADE ,x" },
   { "Upgrade: websocket", "Upgrade: h2c, WebSocket" }, { "/chat", "http:/" },
   { "Pragma: no%-cache", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" },
} do
   seed("handshake", char(0), (CHROME:gsub(change[1], (change[2]:gsub("%%", "%%%%")), 1)))
end
for _, bytes in ipairs(RESPONSES) do
   seed("handshake", char(1), bytes)
end
for _, change in ipairs {
   { "\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat.v1\r\n\r\n" },
   { "\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n\r\n" },
   { "\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n" }, { "s3p", "S3p" },
   { "101", "200" },
   { "Connection: Upgrade", "Connection: close" }, { "Upgrade: websocket", "upgrade:websocket" },
   { "HTTP/1.1", "HTTP/1.0" },
   { "\r\n\r\n", "\r\nUpgrade: websocket\r\n\r\n" },
   { "\r\n\r\n", "\r\nSec-WebSocket-Accept: x\r\n\r\n" },
} do
   seed("handshake", char(3), (ANSWER:gsub(change[1], change[2], 1)))
end

-- -- conversations: programs of peer.h

local FIN, TEXT, BINARY, CLOSE, PING, PONG = 0x80, 1, 2, 8, 9, 10

-- One frame; keyed: masked by a key that is not zeros.
local function frame(b0, payload, keyed)
   return char(b0, #payload + (keyed and 128 or 0)) .. payload
end

local function long(b0, n, scale, pattern, keyed)
   return char(b0, 120 + (keyed and 128 or 0), n >> 8, n & 255, scale) .. pattern
end

local function flood(b0, count, size)
   return char(b0, 123, count - 1, size)
end

local function raw(bytes)
   return char(#bytes, 121) .. bytes
end

local function close(code, reason)
   return frame(FIN | CLOSE, string.pack(">I2", code) .. (reason or ""))
end

local PROGRAMS = {
   frame(FIN | TEXT, "Hello") .. close(1000, "bye"),
   frame(FIN | TEXT, "Grüße, 你好", true) .. frame(FIN | BINARY, "\0\1\2\255")
      .. frame(FIN | CLOSE, ""),
   frame(TEXT, "one \xf0\x9f") .. frame(FIN | PING, "mid") .. frame(0, "\x99")
      .. frame(FIN, "\x82 two") .. close(4999, "🙂"),
   frame(FIN | PING, "p") .. frame(FIN | PONG, "q") .. frame(FIN | TEXT, ""),
   long(FIN | BINARY, 20000, 0, "abcd") .. frame(FIN | TEXT, "after") .. close(1001),
   long(BINARY, 5000, 2, "\1\2\3\4", true) .. long(0, 5000, 2, "wxyz")
      .. long(FIN, 300, 0, "....") .. close(1000),
   long(FIN | TEXT, 16001, 2, "€a", true), long(FIN | TEXT, 40000, 0, "\xc3\xa9\xc3\x28"),
   long(FIN | BINARY, 65535, 1, "big!") .. long(FIN | BINARY, 30000, 1, "big?") .. close(1000),
   flood(FIN | PING, 200, 15) .. flood(FIN | PING, 250, 15) .. close(1000),
   frame(BINARY, "") .. flood(0, 20, 0) .. frame(FIN, ""),
   frame(TEXT, "") .. flood(0, 256, 1) .. frame(FIN, ""),
   frame(FIN | TEXT, "bad \xff"), frame(FIN | TEXT, "cut \xe2\x82"), frame(FIN, "x"),
   frame(TEXT, "a") .. frame(TEXT, "b"),
   frame(PING, "x"), frame(FIN | 3, ""), frame(FIN | 0x40 | TEXT, "rsv"), close(1005),
   close(999), frame(FIN | CLOSE, "\3"),
   close(1000, "\xff"), frame(FIN | CLOSE, "") .. frame(FIN | TEXT, "late"),
   char(FIN | BINARY, 122, 0, 1, 20), char(TEXT, 122, 255, 255, 47),
   char(FIN | BINARY, 122, 0, 1, 14) .. raw(("r"):rep(200)), raw "\x81\x85\0\0\0",
   raw "\x81\xfe\x00\x10", raw "\x88\xfe",
}
for i, program in ipairs(PROGRAMS) do
   local cuts = i % 3 == 0 and BYTEWISE or i % 3 == 1 and MIXED or char(2, 250, 7)
   seed("session", char(i % 4 == 0 and 4 or 0), cuts, program) -- a server
   seed("session", char(1 + (i % 5 == 0 and 4 or 0) + 8 * (i % 4)), cuts, program) -- a client
   if i % 3 == 0 then -- acts, and output that leaves slowly
      seed("session", char(0x64, 20, 0, 0, 20, 1, i % 4, 90, 2, 3, 31 + i), cuts, program)
   end
end
seed("session", char(2), MIXED, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58") -- RFC 6455 5.7
seed("session", char(3), THREES,
   "\x01\x03Hel\x80\x02lo\x89\x05Hello\x8a\x05Hello\x82\x7e\x01\x00" .. ("\7"):rep(256))
seed("session", char(2), WHOLE,
   "\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x88\x82\0\0\0\0\x03\xe8")

-- -- compressed: as session, and two bytes of parameters behind the acts; 119: what the peer's
-- own compressor makes of a message

local RSV1 = 0x40

local function packed(b0, payload)
   return char(b0 | RSV1, 119, #payload) .. payload
end

local PACKED = {
   packed(FIN | TEXT, "Hello") .. packed(FIN | TEXT, "Hello") .. close(1000),
   packed(TEXT, ("Grüße, 你好 "):rep(8)) .. frame(FIN | TEXT, "plain") .. packed(FIN | BINARY, ""),
   long(FIN | RSV1 | BINARY, 20000, 2, "abcd") .. packed(FIN | TEXT, "after") .. close(1001),
   long(RSV1 | TEXT, 30000, 0, "€a") .. frame(FIN | PING, "p"),
   frame(RSV1 | TEXT, "\xf2\x48\xcd") .. frame(FIN | PING, "") .. frame(FIN, "\xc9\xc9\x07\0"),
   frame(FIN | RSV1 | TEXT, "\xf3\x48\xcd\xc9\xc9\x07\0\0"),
   frame(FIN | RSV1 | TEXT, "\0\5\0\xfa\xffhello\0"),
   frame(FIN | RSV1 | TEXT, "\7"), frame(FIN | RSV1 | BINARY, "\xf2\x48"),
   frame(FIN | RSV1 | PING, ""), frame(FIN | RSV1, "x"),
   packed(FIN | TEXT, "bad \xff") .. close(1000), packed(FIN | TEXT, "cut \xe2"),
   frame(RSV1 | TEXT, "") .. frame(FIN, "\0"),
}
for i, program in ipairs(PACKED) do
   for at, parameters in ipairs { "\0\xff", "\1\x85", "\3\x0a", "\x3c\x8b", "\xd5\5" } do
      if (i + at) % 2 == 0 then
         seed("compressed", char(at % 2 + 4 * (i % 2) + 8 * (at % 4)), parameters, MIXED, program)
      end
   end
   local acts = char(0x64, 20, 0, 0, 20, 1, i % 4, 90, 2, 3, 31 + i)
   seed("compressed", acts, "\2\x90", BYTEWISE, program)
end
-- two faults in what one piece inflates to: the first one counts, however it is cut
local FAULTS = packed(FIN | TEXT, ("x"):rep(50) .. "\xff" .. ("y"):rep(150))
seed("compressed", char(8), "\0\x85", MIXED, FAULTS)
for i, program in ipairs(PROGRAMS) do
   seed("compressed", char(i % 4 == 0 and 4 or 0), "\0\x80", MIXED, program)
end

-- -- connection: flags (1: batches, 2: heartbeat, 4: drained, 8: small window, then how many
-- more connections, 128: raw), programs, for each its habits and program; the script

local function connection(flags, more, programs, script, deflate)
   local parts = { char(flags + 16 * more, #programs - 1 + (deflate or 0)) }
   for _, p in ipairs(programs) do
      parts[#parts + 1] = char(p[1]) .. string.pack(">s2", p[2]:sub(1, 1023))
   end
   seed("connection", table.concat(parts), script)
end

local RAW, CLIENT, TOPIC, NAPS, PINGS, QUITS, FORGETS, IMPATIENT = 1, 2, 4, 8, 16, 32, 64, 128
local CALM, SHORT = "", ("\0\20\5\60\1\9\200"):rep(20)
local ROUGH = ("\30\3\110\0\1\7\15\99\165\4"):rep(12)
local SCRIPTS = {
   CALM, SHORT, ROUGH, ROUGH .. "\2\0" .. SHORT, SHORT .. "\254" .. ROUGH, "\255\6" .. SHORT,
}
for i, program in ipairs(PROGRAMS) do
   connection(i % 16, 0, { { 0, program } }, SCRIPTS[i % #SCRIPTS + 1])
   connection(i % 16, 5 + i % 3, { { i * 4 % 256, program } }, SCRIPTS[i % 5 + 1])
end
local TALK = frame(FIN | TEXT, "a") .. frame(FIN | BINARY, "bcd", true) .. frame(FIN | PING, "e")
TALK = TALK:rep(4)
for i, habits in ipairs {
   0, TOPIC, NAPS, PINGS, QUITS, FORGETS, IMPATIENT, TOPIC | NAPS, TOPIC | QUITS,
   NAPS | IMPATIENT, PINGS | IMPATIENT, TOPIC | FORGETS,
} do
   connection(1, 7, { { habits, TALK }, { habits | CLIENT, TALK } }, SCRIPTS[i % #SCRIPTS + 1])
   connection(i % 16, 3, {
      { habits | RAW, TALK }, { habits | RAW | CLIENT, long(1, 3000, 1, "raw.") },
      { TOPIC, long(FIN | BINARY, 9000, 0, "news") .. TALK },
   }, SCRIPTS[i % 4 + 1])
end
for i, program in ipairs(PACKED) do -- with deflate: 16, and 32 or 64 without takeover
   connection(i % 4, i % 8, { { TOPIC, program }, { i * 4 % 256, program } }, SCRIPTS[i % 5 + 1],
      16 + 32 * (i % 4))
end
connection(128, 0, { { 0, "GET / HTTP/1.1\r\n\r\n\x82\x80\0\0\0\0" } }, ROUGH)
connection(128, 0, { { 0, "GET / HTTP/1.1\r\nbad\r\n\r\n" } }, SHORT)
connection(128, 0, { { CLIENT, "HTTP/1.1 404 No\r\n\r\n" } }, SHORT)

-- -- preface: the PROXY protocol, and a little of what follows

local V2 = "\r\n\r\n\0\r\nQUIT\n"
for _, line in ipairs {
   "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\nGET /", "PROXY TCP6 2001:db8::1 ::1 1 2\r\n",
   "PROXY UNKNOWN\r\n", "PROXY UNKNOWN a b c\r\n", "PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n",
   "PROXY UNKNOWN " .. ("x"):rep(100) .. "\r\n", "PROXY TCP4 1.1.1.1", "GET / HTTP/1.1\r\n",
   V2 .. "\x21\x11\0\x0c\xc0\0\2\1\x0a\0\0\1\x12\x34\1\xbb\x16\3\1",
   V2 .. "\x21\x21\0\x27" .. ("a"):rep(36) .. "\4\0\0", V2 .. "\x21\x31\0\xd8" .. ("/"):rep(216),
   V2 .. "\x20\0\0\0", V2 .. "\x21\0\0\3abc", V2 .. "\x21\x12\0\x0c" .. ("b"):rep(12),
   V2 .. "\x22\x11\0\0", V2 .. "\x21\x11\0\2ab", V2 .. "\x21\x11\x20\0", V2:sub(1, 9),
} do
   seed("preface", line)
end

for target, count in pairs(counts) do
   print(("%s: %d seeds"):format(target, count))
end
