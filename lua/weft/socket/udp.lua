-- udp: LuaSocket's UDP objects over weft's: its names, its classes (unconnected, connected)
-- and just what it returns, while only the task waits.

local core = require "weft.core"
local errors = require "weft.socket.errors"
local nested = require "weft.socket.nested"
local object = require "weft.socket.object"

local udp = {}

local class = object.metatable()
local methods = class.__index

local demand, total_guard = object.demand, object.total_guard
local UNCONNECTED, CONNECTED = "udp{unconnected}", "udp{connected}"

--- udp.new(family) -> an unconnected object, or nil and a message
function udp.new(family)
   local native, message, code = core.udp(family)
   if not native then return nil, errors.text(code, message) end
   return setmetatable({ native = native, class = UNCONNECTED, family = family }, class)
end

local function failure(code, message)
   if code == "too_big" then return "Message too long" end
   return errors.text(code, message)
end

-- Tries each of the host's addresses until one is fine: 1, or nil and a message.
local function by_addresses(list, message, try)
   if not list then return nil, message end
   for _, ip in ipairs(list) do
      local ok, why, code = try(ip)
      if ok then return 1 end
      message = failure(code, why)
   end
   return nil, message
end

--- setsockname(host, port) -> 1 | nil, message
function methods:setsockname(host, port)
   port = object.port(port)
   if not port then return nil, errors.no_service end
   local list, message = object.bind_addresses(self, host)
   return by_addresses(list, message, function(ip) return self.native:bind_ip(ip, port) end)
end

--- setpeername(host, port) -> 1 | nil, message. "*": to nobody any more.
function methods:setpeername(host, port)
   if host == "*" then
      self.native:connect_ip "*"
      self.class = UNCONNECTED
      return 1
   end
   port = object.port(port)
   if not port then return nil, errors.no_service end
   local list, message = object.addresses_of(self, host)
   local ok
   ok, message = by_addresses(list, message, function(ip)
      return self.native:connect_ip(ip, port)
   end)
   if not ok then return nil, message end
   self.class = CONNECTED
   return 1
end

local function sent(count, message, code)
   if count then return count end
   return nil, failure(code, message)
end

--- send(datagram) -> bytes | nil, message
function methods:send(datagram)
   demand(self, CONNECTED)
   if self.closed then return nil, "closed" end
   local guard <close> = total_guard(self)
   return sent(self.native:send(tostring(datagram)))
end

--- sendto(datagram, ip, port) -> bytes | nil, message
function methods:sendto(datagram, ip, port)
   demand(self, UNCONNECTED)
   if self.closed then return nil, "closed" end
   port = object.port(port)
   if not port then return nil, errors.no_service end
   local guard <close> = total_guard(self)
   local count, message, code = self.native:sendto_ip(tostring(datagram), ip, port)
   if code == "resolve" then return nil, "Name or service not known" end
   return sent(count, message, code)
end

-- One that never got an address has nothing to receive at.
local function receive(self, method, size)
   if self.closed then return nil, "closed" end
   if not self.native:getsockname() then self.native:bind_ip("0.0.0.0", 0) end
   local guard <close> = total_guard(self)
   return method(self.native, size)
end

--- receive([size]) -> datagram | nil, message. What is longer is cut.
function methods:receive(size)
   local data, message, code = receive(self, self.native.receive, size)
   if data then return data end
   return nil, failure(code or message, message)
end

--- receivefrom([size]) -> datagram, ip, port | nil, message
function methods:receivefrom(size)
   demand(self, UNCONNECTED)
   local data, ip, port = receive(self, self.native.receivefrom, size)
   if data then return data, ip, port end
   return nil, failure(port or ip, ip)
end

--- getpeername() -> ip, port, family | nil, message
function methods:getpeername()
   demand(self, CONNECTED)
   local ip, port, family
   if not self.closed then ip, port, family = self.native:getpeername() end
   if ip then return ip, port, family end
   return nil, object.bad_descriptor
end

local known_options = {}
for name in ([[reuseaddr reuseport broadcast dontroute send-buffer-size recv-buffer-size
   ip-multicast-loop ip-multicast-ttl ip-multicast-if ip-add-membership ip-drop-membership
   ipv6-v6only ipv6-unicast-hops ipv6-multicast-hops ipv6-multicast-loop ipv6-add-membership
   ipv6-drop-membership]]):gmatch("%S+") do known_options[name] = true end

--- setoption(name, value) -> 1 | nil, message
function methods:setoption(name, value)
   if not known_options[name] then
      error(("bad argument #2 to 'setoption' (unsupported option `%s')"):format(tostring(name)), 2)
   end
   if self.closed or not self.native:setoption(name, value) then
      return nil, "setsockopt failed"
   end
   return 1
end

--- dirty() -> false: datagrams are not read ahead
function methods.dirty() return false end

for _, name in ipairs { "setsockname", "setpeername", "send", "sendto", "receive",
   "receivefrom" } do
   methods[name] = nested.method(methods[name])
end

return udp
