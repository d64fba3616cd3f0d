-- One end of a big message, in a process of its own: stream_memory.lua MIB COMPRESSION
-- [URL]. Without a URL it serves and prints its own; with one it connects and sends first. Both
-- print by how many KiB the peak of their memory has grown (VmHWM) since they were connected.

local weft = require "weft"

local mib, compression, url = tonumber(arg[1]), arg[2] == "deflate", arg[3]

local function peak()
   local file <close> = assert(io.open "/proc/self/status")
   return tonumber(file:read "a":match "VmHWM:%s*(%d+)")
end

-- 64 KiB that compress, but not beyond max_ratio; another piece for every i.
local base = {}
for i = 1, 8192 do base[i] = ("%07d "):format(i * 7919 % 9999991) end
base = table.concat(base)
local function piece(i)
   local head = ("piece %d,"):format(i)
   return head .. base:sub(#head + 1)
end

local function receive(ws)
   local n, ended = 0, false
   for chunk, last in ws:chunks() do
      n, ended = n + #chunk, last
   end
   return n, ended
end

local function send(ws)
   local w <close> = assert(ws:writer "binary")
   for i = 1, mib * 16 do assert(w:write(piece(i))) end
   assert(w:close())
end

local function both(ws, first)
   local before = peak()
   if first then send(ws) end
   local n, whole = receive(ws)
   assert(n == mib << 20 and whole)
   if not first then send(ws) end
   return peak() - before
end

weft.run(function()
   local opts = { compression = compression }
   if url then
      local ws <close> = assert(weft.connect(url, opts))
      assert((ws.extensions ~= "") == compression)
      print("client grew " .. both(ws, true))
      return
   end
   local app
   app = weft.app(opts)
   app:websocket("/ws", function(ws)
      print("server grew " .. both(ws, false))
      io.stdout:flush()
      ws:receive()
      app:close()
   end)
   print("ws://" .. assert(app:listen "127.0.0.1:0") .. "/ws")
   io.stdout:flush()
end)
