-- For specs with somebody else's servers (nginx, tinyproxy, haproxy ...): a directory for their
-- files, a free port for each, and the wait until they listen.

local lfs = require "lfs"
local weft = require "weft"
local process = require "spec.process"

local daemon = {}

--- A port of this machine that nobody listens at. It is none of those that the system gives
-- to whoever asks for any (32768 and up), so no test beside this one gets it by chance.
-- The choice is the system's: busted seeds math.random with the second.
function daemon.free_port()
   local random <close> = assert(io.open("/dev/urandom", "rb"))
   while true do
      local socket <close> = weft.tcp()
      local port = 10000 + string.unpack("I4", random:read(4)) % 22000
      if socket:bind("127.0.0.1", port) and socket:listen() then return port end
   end
end

function daemon.write(path, text)
   local file <close> = assert(io.open(path, "w"))
   assert(file:write(text))
end

--- A fresh directory.
function daemon.directory()
   local dir = os.tmpname()
   os.remove(dir)
   assert(lfs.mkdir(dir))
   return dir
end

--- It and the files in it go.
function daemon.remove(dir)
   for name in lfs.dir(dir) do
      if name ~= "." and name ~= ".." then os.remove(dir .. "/" .. name) end
   end
   os.remove(dir)
end

local function is_alive(child)
   local file = io.open(("/proc/%d/stat"):format(child.pid))
   if not file then return false end
   local state = file:read "a":match "%) (%a)"
   file:close()
   return state ~= "Z"
end

local function listens(child, port)
   for _ = 1, 500 do
      if not is_alive(child) then return end
      local stream = weft.dial("127.0.0.1:" .. port)
      if stream then return stream:close() end
      weft.sleep(0.02)
   end
end

--- Starts the words that argv(port) returns, and waits until they listen at that port. Another
-- process may have taken it meanwhile: then the program ends, and another port is tried.
function daemon.start(argv)
   for _ = 1, 5 do
      local port = daemon.free_port()
      local words = argv(port)
      local child = process.start(words, { foreign = true, limit = 300 })
      if listens(child, port) then return child, port end
      local said = child:stop "KILL"
      io.stderr:write(words[1], " does not listen: ", said, "\n")
   end
   error "a server does not listen"
end

--- The program of that name, where Debian has it.
function daemon.program(name)
   for dir in ("/usr/sbin:/usr/bin:/sbin:/bin"):gmatch "[^:]+" do
      local path = dir .. "/" .. name
      if lfs.attributes(path, "mode") == "file" then return path end
   end
   error(name .. " is not installed: see tools/packages")
end

return daemon
