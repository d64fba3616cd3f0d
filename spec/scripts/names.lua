-- In the namespace of namespace.sh: a name server made of a script, and clients that look
-- names up with it and connect. Prints a line for each case: its name and what came of it.

local weft = require "weft"

local LIVE = { A = "192.0.2.2", AAAA = "2001:db8:1::2" }

local function holes(n)
   local list = { A = {}, AAAA = {} }
   for i = 1, n do
      list.A[i], list.AAAA[i] = "192.0.2." .. 65 + i, "2001:db8:1::" .. 65 + i
   end
   return list
end

-- name -> { A = list, AAAA = list, late = seconds or nil, silent = true or nil }
local zone = {
   live = { A = { LIVE.A }, AAAA = { LIVE.AAAA } },
   sixdead = { A = { LIVE.A }, AAAA = holes(1).AAAA },
   fourdead = { A = holes(1).A, AAAA = { LIVE.AAAA } },
   dead = holes(2),
   -- RFC 6724 5, rule 9: the system puts the far one last
   half = { A = { "192.0.2.66", "192.0.2.130", "192.0.2.67" } },
   late = { A = { LIVE.A }, AAAA = { LIVE.AAAA }, late = 0.6 },
   silent = { silent = true },
}

-- RFC 1035 4: the one question of a message: its bytes, the name's first label, the type.
local function read_question(message)
   local first = (">s1"):unpack(message, 13)
   local _, till = message:find("\0", 13, true)
   return message:sub(13, till + 4), first:lower(), (">I2"):unpack(message, till + 1)
end

local function octets(ip)
   if ip:find ":" then
      local last = tonumber(ip:match "^2001:db8:1::(%x+)$", 16)
      return "\x20\1\x0d\xb8\0\1" .. ("\0"):rep(8) .. (">I2"):pack(last)
   end
   return (ip:gsub("(%d+)%.?", function(n) return string.char(tonumber(n)) end))
end

local function answer(message, question, entry, kind)
   local list = entry and (kind == 1 and entry.A or kind == 28 and entry.AAAA) or {}
   local out = { message:sub(1, 2), (">I2I2I2I2I2"):pack(entry and 0x8180 or 0x8183, 1, #list,
      0, 0), question }
   for _, ip in ipairs(list) do
      out[#out + 1] = (">I2I2I2I4s2"):pack(0xc00c, kind, 1, 0, octets(ip))
   end
   return table.concat(out)
end

local asked = {}

local function serve_names(socket)
   while true do
      local message, ip, port = socket:receivefrom()
      if not message then return end
      local question, name, kind = read_question(message)
      asked[name] = (asked[name] or 0) + 1
      local entry = zone[name]
      if not (entry and entry.silent) then
         weft.spawn(function()
            if entry and entry.late then weft.sleep(entry.late) end
            socket:sendto(answer(message, question, entry, kind), ip, port)
         end)
      end
   end
end

-- -- cases -----------------------------------------------------------------------------

local function show(name, ...)
   print(name, ...)
   io.stdout:flush()
end

-- Connects; tells which family won, or why none did, and how long that took.
local function try(case, name, opts, port)
   local began = weft.now()
   local stream, message, code = weft.dial(("%s:%d"):format(name, port or 7000), opts)
   local took = weft.now() - began
   if not stream then
      show(case, "failed", code, ("%.3f"):format(took), message)
      return
   end
   local ip = stream:getpeername()
   local said = stream:receive "*l"
   stream:close()
   show(case, said, ip:find ":" and "inet6" or "inet", ("%.3f"):format(took))
end

-- How often a task got its turn while f ran.
local function beside(f)
   local turns = 0
   local ticker = weft.spawn(function()
      while true do
         weft.sleep(0.01)
         turns = turns + 1
      end
   end)
   f()
   ticker:cancel()
   return turns
end

local function cancelled()
   local task = weft.spawn(weft.dial, "silent:7000", { timeout = 60 })
   local before = asked.silent or 0
   while (asked.silent or 0) == before do weft.sleep(0.01) end
   local began = weft.now()
   task:cancel()
   local _, _, code = task:join(5)
   show("cancelled", code, ("%.3f"):format(weft.now() - began))
end

local function websocket()
   local ws, message, code = weft.connect("ws://dead:7000/", { timeout = 0.8 })
   show("websocket", tostring(ws), code, message)
   local answered
   answered, message, code = weft.http.get("http://dead:7000/", { connect_timeout = 0.8 })
   show("http", tostring(answered), code, message)
end

-- More lookups at once than there are threads, and nobody answers them.
local function crowded()
   local tasks, began = {}, weft.now()
   for i = 1, 12 do tasks[i] = weft.spawn(weft.dial, "silent:7000", { timeout = 0.5 }) end
   local codes = {}
   local turns = beside(function()
      for i, task in ipairs(tasks) do codes[i] = select(3, task:join(10)) end
   end)
   show("crowded", table.concat(codes, " "), turns >= 10 and "others ran" or turns,
      ("%.3f"):format(weft.now() - began))
end

-- A SOCKS 5 proxy that has no IPv6: it refuses those addresses, and answers for the others.
local function half_a_proxy(listener)
   for stream in listener:each() do
      stream:receive(3)
      stream:send "\5\0"
      local kind = stream:receive(4):byte(4)
      stream:receive((kind == 4 and 16 or 4) + 2)
      stream:send(kind == 4 and "\5\8\0\1" or "\5\0\0\1\0\0\0\0\0\0there\n")
      stream:close()
   end
end

-- socks5:// looks the name up here, and asks for one address after the other.
local function proxied()
   local listener <close> = assert(weft.listen "127.0.0.1:1080")
   weft.spawn(half_a_proxy, listener)
   local opts = { proxy = "socks5://127.0.0.1", timeout = 5 }
   local stream = assert(weft.dial("live:7000", opts))
   show("proxied", (stream:receive "*l"))
   stream:close()
   local _, message, code = weft.dial("[2001:db8:1::2]:7000", opts)
   show("unproxied", code, message)
   _, message, code = weft.dial("nobody:7000", opts)
   show("unresolved", code, message)
end

local function main()
   local socket <close> = weft.udp()
   assert(socket:bind("127.0.0.1", 53))
   weft.spawn(serve_names, socket)
   try("live", "live")
   try("sixdead", "sixdead")
   try("fourdead", "fourdead")
   try("half", "half")
   try("dead", "dead", { timeout = 1.2 })
   try("patient", "dead", { timeout = 1.2, attempt_delay = 2 })
   try("refused", "live", nil, 7001)
   try("unknown", "nobody")
   local turns = beside(function() try("late", "late") end)
   show("beside", turns >= 10 and "others ran" or turns)
   try("silent", "silent", { timeout = 0.5 })
   try("numeric", "192.0.2.2")
   websocket()
   proxied()
   cancelled()
   crowded()
   show "end"
   os.exit(true, true)
end

weft.run(main)
