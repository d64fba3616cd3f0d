-- dns: LuaSocket's name functions; looking up suspends the task alone.

local core = require "weft.core"
local errors = require "weft.socket.errors"
local nested = require "weft.socket.nested"

local dns = {}

-- gethostbyname, which LuaSocket has here, knows IPv4 alone.
local function resolved(name, list)
   return { name = name, alias = {}, ip = list }
end

--- toip(host) -> ip, { name=, alias=, ip= } | nil, message
function dns.toip(host)
   local list = {}
   for _, ip in ipairs(core.resolve(host) or {}) do
      if not ip:find(":", 1, true) then list[#list + 1] = ip end
   end
   if not list[1] then return nil, "host not found" end
   return list[1], resolved(host, list)
end

--- tohostname(ip or host) -> name, { name=, alias=, ip= } | nil, message
function dns.tohostname(address)
   local ip, found = dns.toip(address)
   if not ip then return nil, found end
   local name = core.name_of(ip)
   if not name then return nil, "host not found" end
   return name, resolved(name, found.ip)
end

--- getnameinfo(ip or host) -> names | nil, message
function dns.getnameinfo(address)
   local all, message, code = core.resolve(address)
   if not all then return nil, errors.text(code, message) end
   local names = {}
   for i, ip in ipairs(all) do names[i] = core.name_of(ip) or ip end
   return names
end

--- getaddrinfo(host) -> { { family=, addr= }... } | nil, message
function dns.getaddrinfo(host)
   local all, message, code = core.resolve(host)
   if not all then return nil, errors.text(code, message) end
   local list = {}
   for i, ip in ipairs(all) do
      list[i] = { family = ip:find(":", 1, true) and "inet6" or "inet", addr = ip }
   end
   return list
end

--- gethostname() -> name
function dns.gethostname() return core.hostname() end

for _, name in ipairs { "toip", "tohostname", "getaddrinfo", "getnameinfo" } do
   dns[name] = nested.method(dns[name])
end

return dns
