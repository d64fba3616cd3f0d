-- behind: who a client of a server is when proxies stand in front of it: the PROXY protocol
-- where a listener has it, and the fields Forwarded (RFC 7239) or X-Forwarded-For, -Proto and
-- -Host of proxies that are trusted. Whoever is not trusted is not believed.

local core = require "weft.core"
local networks = require "weft.networks"
local trim = require "weft.trim"

local behind = {}

--- The rule that an app's options make, or nil.
function behind.rule(opts)
   if not opts.trusted_proxies or not opts.trusted_proxies[1] then return nil end
   return { trusted = networks.compile(opts.trusted_proxies), read = behind[opts.forwarded] }
end

--- The rule of a listener's option proxy_protocol: who has to send its header; or nil.
function behind.listener(value)
   if value == true then return true end
   return value and networks.compile(value) or nil
end

--- Takes the header off a stream's front, within that time: true | nil, message, code.
function behind.take(rule, stream, timeout)
   local peer = core.peer(stream)
   if rule ~= true and not networks.has(rule, peer) then
      return nil, ("%s may not connect here (proxy_protocol)"):format(peer), "refused"
   end
   return stream:receive_proxy(timeout)
end

-- -- X-Forwarded-For and its like -------------------------------------------------------

-- The elements of a list field, nil when it is not there. Quotes mean nothing in these.
local function split(field)
   if not field then return nil end
   local list = {}
   for element in (field .. ","):gmatch "([^,]*)," do list[#list + 1] = trim(element) end
   return list
end

-- RFC 7239 6, and what proxies write: an address, in brackets or not, with a port or not.
-- Address and port; nil: "unknown", "_hidden", or malformed.
local function read_node(text)
   local ip, port = text:match "^%[([%x:.]+)%]:?(%d*)$"
   if not ip then ip, port = text:match "^([%d.]+):(%d+)$" end
   ip = ip or text
   if not core.ip_bytes(ip) then return nil end
   port = tonumber(port or "")
   return ip, port and port <= 65535 and port or nil
end

-- The element of a list that belongs to element i of n: every proxy has added one to each
-- list, or the nearest one has set it.
local function beside(list, i, n)
   if not list then return nil end
   return list[#list == n and i or #list]
end

local function read_x(request)
   local headers = request.headers
   local list = {}
   local fors, protos, hosts = split(headers["x-forwarded-for"]),
      split(headers["x-forwarded-proto"]), split(headers["x-forwarded-host"])
   for i, node in ipairs(fors or { "unknown" }) do
      list[i] = { node = node, proto = beside(protos, i, fors and #fors),
         host = beside(hosts, i, fors and #fors) }
   end
   return list
end
behind["x-forwarded"] = read_x

-- -- Forwarded -----------------------------------------------------------------------

-- RFC 7239 4: name "=" ( token | quoted-string ), from `at` on: name, value, where it ends.
local function read_pair(field, at)
   local name, from = field:match("^[ \t]*([%w!#$%%&'*+.^_`|~-]+)=()", at)
   if not name then return nil end
   local value, till = field:match("^([%w!#$%%&'*+.^_`|~-]+)()", from)
   if not value then
      value, till = field:match('^"([^"\\]*)"()', from)
   end
   if not value then return nil end
   return name:lower(), value, field:match("^[ \t]*()", till)
end

-- The whole field, or nil: malformed. Where a client's open quote may have swallowed what the
-- proxy has added, nothing can be told.
local function parse(field)
   local list, element, at = {}, {}, 1
   while true do
      -- RFC 9110 5.6.1.2: empty elements of a list are ignored
      if not next(element) then at = field:match("^[ \t,]*()", at) end
      if at > #field and not next(element) then return list end
      local name, value, till = read_pair(field, at)
      if not name or element[name] then return nil end
      element[name] = value
      local mark = field:sub(till, till)
      if mark ~= ";" then
         list[#list + 1], element = element, {}
         if mark == "" then return list end
         if mark ~= "," then return nil end
      end
      at = till + 1
   end
end

local function read_forwarded(request)
   local field = request.headers.forwarded
   local list = field and parse(field) or nil
   if field and not list then return nil end
   for _, element in ipairs(list or {}) do element.node = element["for"] or "unknown" end
   return list or {}
end
behind.forwarded = read_forwarded

-- -- the walk ----------------------------------------------------------------------------

-- From the nearest proxy outwards, as far as they are trusted: the element that the last of
-- them has added, the address in it, and its port.
local function walk(rule, list)
   local found, ip, port
   for i = #list, 1, -1 do
      local node, node_port = read_node(list[i].node)
      found = list[i]
      if not node then break end
      ip, port = node, node_port
      if not networks.has(rule.trusted, ip) then break end
   end
   return found, ip, port
end

local schemes = { http = "http", https = "https", ws = "http", wss = "https" }

-- A Host field's value, or nil: then nothing was told.
local function host_of(text)
   return text and #text <= 255 and text:find "^[%w.:%[%]_~-]+$" and text or nil
end

--- Reads what was said of a request by proxies that are trusted, and makes it the request's:
-- remote, remote_port, secure, and forwarded = { proxy =, scheme =, host = }. False: it is
-- malformed.
function behind.apply(rule, request)
   local proxy = request.remote
   if not networks.has(rule.trusted, proxy) then return true end
   local list = rule.read(request)
   if not list then return false end
   local element, ip, port = walk(rule, list)
   local scheme = element and schemes[(element.proto or ""):lower()]
   local secure
   if scheme then secure = scheme == "https" end
   core.set_remote(request, ip, port, secure)
   request.forwarded = { proxy = proxy, scheme = scheme,
      host = host_of(element and element.host) }
   return true
end

--- Is that address one of its proxies?
function behind.is_proxy(rule, ip)
   return rule ~= nil and networks.has(rule.trusted, ip)
end

return behind
