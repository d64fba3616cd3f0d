-- proxy: which proxy a client goes through: a proxy's URL taken apart, and what the
-- environment says, as curl reads it. tunnel.lua speaks with it.

local core = require "weft.core"
local networks = require "weft.networks"
local url = require "weft.url"

local proxy = {}

-- RFC 1928 3: 1080. "socks5h" has the proxy look the names up.
local kinds = {
   http = { kind = "http", port = 80 },
   https = { kind = "http", port = 443, secure = true },
   socks5 = { kind = "socks", port = 1080 },
   socks5h = { kind = "socks", port = 1080, remote = true },
}

-- RFC 1929 2: each has a length of one byte. Nobody is asked with an empty name.
local function check_credentials(via, parts)
   local user, password = (parts.credentials or ":"):match "^([^:]*):(.*)$"
   if via.kind == "socks" and (#user > 255 or #password > 255) then
      return nil, "SOCKS takes a user and a password of at most 255 bytes each"
   end
   via.user, via.password = user, password
   via.authorization = url.basic(parts)
   return via
end

--- A proxy's URL, or "host:port" for an HTTP proxy: { kind=, secure=, remote=, host=, port=,
-- user=, password=, authorization=, shown=, key= }, or nil and what is wrong with it.
function proxy.parse(text)
   local scheme, rest = text:match "^(%a[%w+.-]*)://(.*)$"
   scheme = (scheme or "http"):lower()
   local known = kinds[scheme]
   if not known then return nil, "the scheme must be http, https, socks5 or socks5h" end
   local parts, why = core.parse_url("http://" .. (rest or text))
   if parts then parts, why = url.read_userinfo(parts) end
   if not parts then return nil, why end
   if parts.path and parts.path ~= "/" or parts.query or parts.has_fragment then
      return nil, "nothing may follow its host and port"
   end
   local named = (rest or text):match "^[^/]*":find "[^:]:%d+$"
   if not named then parts.port = known.port end
   local via = { kind = known.kind, secure = known.secure, remote = known.remote,
      host = url.host(parts), port = parts.port, shown = url.authority(parts) }
   via.key = ("%s://%s@%s"):format(scheme, parts.credentials or "", via.shown)
   return check_credentials(via, parts)
end

--- What is wrong with a value of the option proxy, or nil.
function proxy.check(value)
   if type(value) ~= "string" then return nil end
   local _, why = proxy.parse(value)
   return why and ("must be the URL of a proxy: " .. why)
end

-- -- the environment ------------------------------------------------------------------

-- An empty variable is as good as none. CGI puts a request's field Proxy into HTTP_PROXY, so
-- that one is never looked at.
local function variable(name)
   local value = os.getenv(name)
   if (value or "") == "" and name ~= "http_proxy" then
      name = name:upper()
      value = os.getenv(name)
   end
   if (value or "") == "" then return nil end
   return value, name
end

-- What an entry of no_proxy says: a host, and a port or nil.
local function split_port(entry)
   local host, port = entry:match "^%[([%x:.]+)%]:(%d+)$"
   if not host then host, port = entry:match "^([^:]*):(%d+)$" end
   if host then return host, tonumber(port) end
   return entry:match "^%[([%x:.]+)%]$" or entry
end

-- ".example.org", "example.org" and "*.example.org" are all the same: the name, and all below.
local function is_within(host, domain)
   domain = domain:gsub("^%*?%.", ""):gsub("%.$", "")
   return domain ~= "" and (host == domain or host:sub(-#domain - 1) == "." .. domain)
end

local function matches(entry, host, port, bytes)
   local domain, only = split_port(entry)
   if only and only ~= port then return false end
   if domain == "*" then return true end
   if not bytes then return is_within(host, domain) end
   local network = networks.parse(domain)
   return network ~= nil and networks.contains(network, bytes)
end

--- Does that value of no_proxy say that nobody is to be asked on the way there?
function proxy.exempts(list, host, port)
   host = host:lower():gsub("%.$", "")
   local bytes = core.ip_bytes((host:gsub("%%.*$", "")))
   for entry in list:lower():gmatch "[^%s,]+" do
      if matches(entry, host, port, bytes) then return true end
   end
   return false
end

local function from_environment(parts, names)
   local except = variable "no_proxy"
   if except and proxy.exempts(except, parts.host, parts.port) then return nil end
   for _, name in ipairs(names) do
      local value, found = variable(name)
      if value then
         local via, why = proxy.parse(value)
         return via, why and ("bad proxy in %s: %s"):format(found, why)
      end
   end
end

local insecure, secure, any = { "http_proxy", "all_proxy" }, { "https_proxy", "all_proxy" },
   { "all_proxy" }

--- The proxy on the way to a URL's parts, or to an address ({ kind=, host=, port= }): nil:
-- none; nil and a message: it cannot be told. choice: the option's value.
function proxy.pick(choice, parts)
   if not choice then return nil end
   if type(choice) == "string" and (parts.unix or parts.kind == "unix") then
      return nil, "no proxy leads to a unix socket"
   elseif type(choice) == "string" then
      return proxy.parse(choice)
   elseif parts.unix or parts.kind == "unix" then
      return nil
   end
   return from_environment(parts, parts.kind and any or parts.secure and secure or insecure)
end

return proxy
