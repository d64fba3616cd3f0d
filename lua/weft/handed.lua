-- handed: listening sockets that come from outside: "fd:3", and socket activation as
-- systemd does it (sd_listen_fds(3)): "systemd:" is the next one, "systemd:name" the next
-- of that name.

local core = require "weft.core"

local handed = {}

local FIRST = 3 -- SD_LISTEN_FDS_START

--- { kind = "handed", fd= or name= } of such an address, or nil.
function handed.parse(address)
   local fd = address:match "^fd:(%d+)$"
   if fd then return { kind = "handed", fd = math.tointeger(tonumber(fd)) or -1 } end
   local name = address:match "^systemd:(.*)$"
   return name and { kind = "handed", name = name }
end

local offered -- those of the service manager that nobody has taken: { fd=, name= }
local taken = setmetatable({}, { __mode = "v" }) -- the listener over a descriptor

local function read_offer()
   local n, names = core.inherited()
   offered = {}
   names = (names .. ":"):gmatch "([^:]*):"
   for i = 1, n do offered[i] = { fd = FIRST + i - 1, name = names() or "" } end
end

local function next_of(name)
   if not offered then read_offer() end
   for i, one in ipairs(offered) do
      if name == "" or one.name == name then return table.remove(offered, i).fd end
   end
end

--- The listener, or nil, message, code.
function handed.take(parts)
   local fd = parts.fd or next_of(parts.name)
   if not fd then
      return nil, parts.name == "" and "no socket was handed over (LISTEN_FDS, LISTEN_PID)"
         or ("no socket of that name was handed over (LISTEN_FDNAMES)"), "resolve"
   end
   local before = taken[fd]
   if before and before:getsockname() then
      return nil, "a listener of this script has it already", "busy"
   end
   local listener, message, code = core.listen_fd(fd)
   if listener then taken[fd] = listener end
   return listener, message, code
end

return handed
