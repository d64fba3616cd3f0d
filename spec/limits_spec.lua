-- What a server is left with after many that came and went, and where it has no descriptors.

local lfs = require "lfs"
local weft = require "weft"
local process = require "spec.process"

local LUA = os.getenv "LUA" or "lua5.4"

-- Under a sanitizer or the hostile collector, numbers cost more and memory means nothing.
local STRAINED = (os.getenv "WEFT_CLEAN_ENV" or os.getenv "WEFT_HOSTILE_GC") ~= nil
local CONNECTS = STRAINED and 1000 or 20000
local WARM_UP = CONNECTS // 5
local SLACK = 2048 -- KiB

-- A server in a process of its own, which may have so many descriptors.
local function start(descriptors)
   local argv = { LUA, "spec/scripts/limits_server.lua" }
   if descriptors then
      argv = { "sh", "-c", ('ulimit -n %d; exec "$0" "$@"'):format(descriptors),
         table.unpack(argv) }
   end
   local child = process.start(argv, { limit = 300 })
   child.port = assert(tonumber(child:line()))
   return child
end

local function connect(child, timeout)
   return weft.connect(("ws://127.0.0.1:%d/"):format(child.port),
      { timeout = timeout or 10, ping_interval = 0 })
end

local function ask(child, path)
   local stream <close> = assert(weft.dial("127.0.0.1:" .. child.port))
   assert(stream:send("GET " .. path .. " HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
   local answer = assert(stream:receive "*a")
   return assert(tonumber(answer:match "\r\n\r\n(%d+)$"), answer)
end

-- In KiB, once those who left are gone.
local function memory(child)
   weft.sleep(0.1)
   return (ask(child, "/memory"))
end

-- Of those below a limit: what started us may have left others open above it.
local function descriptors_of(child, below)
   local n = 0
   for name in lfs.dir(("/proc/%d/fd"):format(child.pid)) do
      if tonumber(name) and tonumber(name) < (below or math.huge) then n = n + 1 end
   end
   return n
end

local function echoes(ws)
   assert(ws:send "well?")
   assert.equal("well?", (ws:receive(10)))
end

-- Hundredths of a second of processor time.
local function time_of(child)
   local file <close> = assert(io.open(("/proc/%d/stat"):format(child.pid)))
   local fields = {}
   for field in file:read "a":match "%) (.*)$":gmatch "%S+" do fields[#fields + 1] = field end
   return tonumber(fields[12]) + tonumber(fields[13])
end

-- Lets a flood pass, while `ws` is served as before.
local function pass(child, n, ws)
   local until_accepted = ask(child, "/accepted") + n
   local peers = process.start({ "/usr/bin/python3", "spec/scripts/flood.py",
      tostring(child.port), tostring(n) }, { foreign = true, limit = 120 })
   local answered = 0
   repeat
      echoes(ws)
      answered = answered + 1
   until answered % 10 == 0 and ask(child, "/accepted") >= until_accepted
   assert.equal("done", peers:line())
   peers:finish()
   return answered
end

describe("a server", function()
   it(("serves others while %d connect and reset, and gets its memory back"):format(CONNECTS),
   function()
      weft.deadline(240, function()
         local child = start()
         local ws = assert(connect(child))
         local idle = descriptors_of(child)
         pass(child, WARM_UP, ws) -- heap, stacks and tables as big as it takes
         local seen = { memory(child) }
         repeat -- how many there are at once is chance; what leaks, leaks each time
            assert.is_true(pass(child, CONNECTS, ws) > CONNECTS // 1000)
            seen[#seen + 1] = memory(child)
            local grown = seen[#seen] - seen[#seen - 1]
         until STRAINED or grown < SLACK or #seen > 3
         assert.is_true(STRAINED or seen[#seen] - seen[#seen - 1] < SLACK,
            "KiB: " .. table.concat(seen, ", "))
         for _ = 1, 100 do
            if descriptors_of(child) <= idle then break end
            weft.sleep(0.02)
         end
         assert.equal(idle, descriptors_of(child))
         echoes(ws)
         assert(ws:close())
         local output, status = child:stop "TERM"
         assert.equal("", output)
         assert.equal(128 + 15, status)
      end)
   end)

   it("without descriptors serves those it has, rests, and takes new ones when some close",
   function()
      weft.deadline(60, function()
         local child = start(64)
         local first = assert(connect(child))
         echoes(first)
         local crowd = {}
         for i = 1, 100 do -- more than it can have; the kernel takes them for it
            crowd[i] = assert(weft.dial("127.0.0.1:" .. child.port))
         end
         for _ = 1, 500 do
            if descriptors_of(child, 64) == 64 then break end
            weft.sleep(0.01)
         end
         assert.equal(64, descriptors_of(child, 64))
         for _ = 1, 20 do echoes(first) end
         local late, _, code = connect(child, 0.3)
         assert.is_nil(late)
         assert.equal("timeout", code)
         local spent = time_of(child)
         weft.sleep(0.5)
         assert.is_true(STRAINED or time_of(child) - spent < 15, "it spins")
         echoes(first)
         for i = 1, 80 do crowd[i]:close() end
         local new = assert(connect(child))
         echoes(new)
         echoes(first)
         new:close()
         first:close()
         for i = 81, 100 do crowd[i]:close() end
         assert.equal("", (child:stop "TERM"))
      end)
   end)

   it("tells a script that it has none left", function()
      local output, status = process.start({ "sh", "-c", 'ulimit -n 20; exec "$0" "$@"', LUA,
         "-e", [[
            local weft = require "weft"
            local listener = assert(weft.listen "127.0.0.1:0")
            local _, port = listener:getsockname()
            local all, message, code = {}, nil, nil
            repeat
               all[#all + 1], message, code = weft.dial("127.0.0.1:" .. math.tointeger(port))
            until message
            print(code, message:find "Too many open files" ~= nil)
            print(select(3, weft.listen "127.0.0.1:0"))
            print(select(3, weft.tcp():bind("127.0.0.1", 0)))
            print(select(3, weft.dial "name.invalid:1") ~= nil) -- no descriptor for the look-up
            listener:settimeout(0.25)
            print(select(3, listener:accept())) -- the pause, until its timeout
            all[1]:close()
            listener:settimeout(5)
            print((assert(listener:accept()):getpeername()))
         ]] }, { limit = 20 }):finish()
      assert.equal("system\ttrue\nsystem\nsystem\ntrue\ntimeout\n127.0.0.1\n", output)
      assert.equal(0, status)
   end)
end)
