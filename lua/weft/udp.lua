-- udp: weft.udp's methods that take names; core's take numeric addresses.

local core = require "weft.core"
local options = require "weft.options"

local udp = core.methods.udp

-- Looks the host up, then goes by its first address that the socket can use.
local function by_name(where, method, self, host, port)
   local addresses, message, code = core.resolve(host)
   if not addresses then return nil, ("%s: %s"):format(where, message), code end
   local result
   for _, ip in ipairs(addresses) do
      result, message, code = method(self, ip, port)
      if result then return result end
   end
   return nil, ("%s: %s"):format(where, message), code
end

local function check(host, port, least, where)
   options.argument(host, "string", "the host", where, 3)
   local number = math.tointeger(port)
   if number and number >= least and number <= 65535 then return number end
   error(("%s: the port must be an integer from %d to 65535, got %s"):format(where, least,
      tostring(port)), 3)
end

--- udp:bind(host, port) -> true | nil, message, code. "*" is every address.
function udp:bind(host, port)
   port = check(host, port, 0, "udp:bind")
   if host == "*" then return self:bind_ip(host, port) end
   return by_name("udp:bind", self.bind_ip, self, host, port)
end

--- udp:connect(host, port) -> true | nil, message, code. "*": to nobody any more.
function udp:connect(host, port)
   if host == "*" then return self:connect_ip(host) end
   port = check(host, port, 1, "udp:connect")
   return by_name("udp:connect", self.connect_ip, self, host, port)
end

--- udp:sendto(data, host, port) -> bytes | nil, message, code
function udp:sendto(data, host, port)
   options.argument(data, "string", "the data", "udp:sendto", 2)
   port = check(host, port, 1, "udp:sendto")
   return by_name("udp:sendto", function(_, ip) return self:sendto_ip(data, ip, port) end, self,
      host, port)
end

return core.udp
