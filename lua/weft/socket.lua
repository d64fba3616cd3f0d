-- socket: LuaSocket's module "socket" on weft, for its drivers: the same names, and just
-- what they return, but a call that waits suspends its own task.
--
--    require "weft.socket".install()      -- before what requires "socket"

local core = require "weft.core"
local dns = require "weft.socket.dns"
local flow = require "weft.socket.flow"
local nested = require "weft.socket.nested"
local select_sockets = require "weft.socket.select"
local tcp = require "weft.socket.tcp"
local udp = require "weft.socket.udp"

-- Protocol modules put themselves into this table, as they do into LuaSocket's.
local socket = {
   _VERSION = "LuaSocket 3.0.0 (weft " .. core.version .. ")",
   _SETSIZE = 1024, _DATAGRAMSIZE = 8192, _SOCKETINVALID = -1,
   dns = dns, select = nested.method(select_sockets), gettime = core.gettime,
}
flow.install(socket)

--- tcp() -> master: of the family that its first address has
function socket.tcp() return tcp.new() end
function socket.tcp4() return tcp.new("inet") end
function socket.tcp6() return tcp.new("inet6") end

--- udp() -> unconnected: of the family that its first address has
function socket.udp() return udp.new() end
function socket.udp4() return udp.new("inet") end
function socket.udp6() return udp.new("inet6") end

--- sleep(seconds)
socket.sleep = nested.method(function(seconds)
   core.sleep(math.max(0, seconds))
end)

-- Closes what did not become what it should have.
local function made(object, ok, message)
   if ok then return object end
   object:close()
   return nil, message
end

--- connect(host, port [, local host, local port [, family]]) -> client | nil, message
function socket.connect(host, port, local_host, local_port, family)
   local object = tcp.new(family)
   if local_host then
      local ok, message = object:bind(local_host, local_port or 0)
      if not ok then return made(object, ok, message) end
   end
   return made(object, object:connect(host, port))
end

function socket.connect4(host, port, local_host, local_port)
   return socket.connect(host, port, local_host, local_port, "inet")
end

function socket.connect6(host, port, local_host, local_port)
   return socket.connect(host, port, local_host, local_port, "inet6")
end

local function listening(object, backlog, ok, message)
   if ok then ok, message = object:listen(backlog) end
   return made(object, ok, message)
end

--- bind(host, port [, backlog]) -> server | nil, message
function socket.bind(host, port, backlog)
   local object = tcp.new()
   return listening(object, backlog, object:bind(host, port))
end

--- What LuaSocket has for those who unload libraries.
function socket.__unload() end

--- install() -> this module, which is what require "socket" gives from now on; what waits
-- may then do so in coroutines of a driver's own, too. Raises when LuaSocket itself is there
-- already, as a driver may hold it.
function socket.install()
   for _, name in ipairs { "socket", "socket.core" } do
      local loaded = package.loaded[name]
      if loaded ~= nil and loaded ~= socket then
         error("weft.socket.install: LuaSocket is loaded already; call this before what requires "
            .. name, 2)
      end
   end
   nested.install()
   package.loaded.socket, package.loaded["socket.core"] = socket, socket
   return socket
end

return socket
