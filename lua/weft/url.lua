-- url: what a client does with URLs (RFC 3986, RFC 6455 3): reading them, showing them
-- without their secrets, following a Location, and the header fields that come of them.

local core = require "weft.core"

local url = {}

local MOST_SHOWN = 200

--- The statuses that say where else to ask (RFC 9110 15.4).
url.redirecting = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

--- The fields of a request that another origin must not get (RFC 9110 15.4), in lower case.
url.secret = { authorization = true, cookie = true, ["proxy-authorization"] = true,
   host = true }

-- What a client speaks: its schemes, and which of them those of a Location stand for. A
-- WebSocket is opened by an HTTP request, so there a Location may name either.
url.websocket = { own = { ws = true, wss = true }, names = "ws or wss",
   stands_for = { ws = "ws", wss = "wss", http = "ws", https = "wss" } }
url.http = { own = { http = true, https = true }, names = "http or https", fragments = true,
   lenient = true,
   stands_for = { http = "http", https = "https" } }

--- The URL for a message: without user and password, and not endlessly long. It may be
-- malformed: then all before its last "@" may be a secret.
function url.show(text)
   local before, rest = text:match("^(%a[%w+.-]*://)(.*)$")
   if not before then before, rest = "", text end
   local is_path = rest:find "^%a+%+unix:" -- without user and password
   local authority = (is_path or core.parse_url(text)) and rest:match("^[^/?#]*") or rest
   local secret = authority:match("^.*@")
   if secret then rest = "***@" .. rest:sub(#secret + 1) end
   local shown = before .. rest
   return #shown > MOST_SHOWN and shown:sub(1, MOST_SHOWN - 3) .. "..." or shown
end

-- "ws+unix:/path:/resource?query": the socket's path, then the URL's; nil: it is no such URL.
local function split_unix(text)
   local scheme, rest = text:match "^(%a+)%+unix:(.*)$"
   if not scheme then return nil end
   local path, resource = rest:gsub("^//([/@])", "%1"):match "^([/@][^:]+):?(.*)$"
   if not path or path:find "%c" or not resource:find "^[/?]?" then return false end
   return path, scheme .. "://localhost" .. resource
end

local function parse_any(text)
   local path, inner = split_unix(text)
   if path == false then
      return nil, "a URL of a unix socket is scheme+unix:/path:/resource"
   end
   local parts, why = core.parse_url(inner or text)
   if not parts then return nil, why end
   parts.scheme, parts.unix = parts.scheme:lower(), path
   return parts
end

local function unescape(s)
   return (s:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

--- Adds the credentials that the URL names to its parts; or nil and what is wrong with them.
-- RFC 7617 2: the user has no colon, and neither of the two a control character.
function url.read_userinfo(parts)
   if not parts.userinfo then return parts end
   local user, password = parts.userinfo:match("^([^:]*):?(.*)$")
   user, password = unescape(user), unescape(password)
   if user:find(":", 1, true) then return nil, "the user's name has a colon in it" end
   if (user .. password):find("%c") then
      return nil, "the user's name or password has a control character in it"
   end
   parts.credentials = user .. ":" .. password
   return parts
end

--- A client's URL, taken apart: { scheme=, secure=, host=, port=, ipv6=, path=, query=,
-- credentials=, family= }, or nil and what is wrong. family: url.websocket unless given.
function url.parse(text, family)
   local parts, why = parse_any(text)
   if not parts then return nil, why end
   parts.family = family or url.websocket
   if not parts.family.own[parts.scheme] then
      return nil, ("the scheme must be %s, not %s"):format(parts.family.names, parts.scheme)
   end
   -- RFC 6455 3: fragments are meaningless here
   if parts.has_fragment and not parts.family.fragments then
      return nil, "a WebSocket URL has no fragment"
   end
   return url.read_userinfo(parts)
end

--- Host and port.
local function authority(parts)
   return (parts.ipv6 and "[%s]:%d" or "%s:%d"):format(parts.host, parts.port)
end
url.authority = authority

-- What stands before the path.
local function before_path(parts, host)
   if parts.unix then return ("%s+unix:%s:"):format(parts.scheme, parts.unix) end
   return parts.scheme .. "://" .. host
end

--- Scheme, host and port as one text: what has them the same may share a connection.
function url.origin(parts)
   return before_path(parts, authority(parts):lower())
end

--- Where to connect: the zone of an IPv6 literal is written "%25" in a URL (RFC 6874 2).
function url.host(parts)
   return parts.ipv6 and parts.host:gsub("%%25", "%%", 1) or parts.host
end

--- Where to connect, as dialer takes it, through that proxy or none.
function url.endpoint(parts, via)
   return { host = url.host(parts), port = parts.port, unix = parts.unix, via = via }
end

--- The Host field. RFC 6455 4.1: the port is named where it is not the scheme's own.
-- RFC 6874 1: the zone means nothing outside of this machine.
function url.host_field(parts)
   local host = parts.ipv6 and "[" .. parts.host:gsub("%%.*$", "") .. "]" or parts.host
   local default = parts.secure and 443 or 80
   return parts.port == default and host or ("%s:%d"):format(host, parts.port)
end

--- The request target. RFC 6455 3: an empty path is "/".
function url.target(parts)
   return (parts.path or "/") .. (parts.query and "?" .. parts.query or "")
end

--- The whole URL again, without user and password.
function url.text(parts)
   return before_path(parts, url.host_field(parts)) .. url.target(parts)
end

--- Scheme, host and port are the same (RFC 6454 5).
function url.same_origin(a, b)
   return a.secure == b.secure and a.host:lower() == b.host:lower() and a.port == b.port
      and a.unix == b.unix
end

-- RFC 3986 5.2.4
local function remove_dots(path)
   local out = {}
   for segment in path:gmatch("/([^/]*)") do
      if segment == ".." then table.remove(out)
      elseif segment ~= "." then out[#out + 1] = segment end
   end
   if path:find("/%.%.?$") then out[#out + 1] = "" end
   return "/" .. table.concat(out, "/")
end

-- RFC 3986 5.2.2, of a reference without a scheme and a fragment.
local function relative(base, reference)
   local origin = before_path(base, authority(base))
   if reference:sub(1, 2) == "//" then return base.scheme .. ":" .. reference end
   local path, query = reference:match("^([^?]*)(.*)$")
   if path == "" then
      if query == "" and base.query then query = "?" .. base.query end
      return origin .. (base.path or "/") .. query
   end
   if path:sub(1, 1) ~= "/" then path = (base.path or "/"):match("^.*/") .. path end
   return origin .. remove_dots(path) .. query
end

-- Web servers send what RFC 3986 2 would have escaped, and browsers do that for them.
local function escape(c) return ("%%%02X"):format(c:byte()) end

--- Where a Location (RFC 9110 10.2.2) leads from there, or nil and what is wrong with it.
-- Credentials stay within their origin.
function url.follow(base, location)
   local reference = location:gsub("#.*$", "")
   if base.family.lenient then reference = reference:gsub("[^\x21-\x7e]", escape) end
   local scheme, rest = reference:match("^(%a[%w+.-]*):(.*)$")
   local known = scheme and base.family.stands_for[scheme:lower()]
   if scheme and not known then return nil, ("to the scheme %q"):format(scheme:sub(1, 20)) end
   local text = known and known .. ":" .. rest or relative(base, reference)
   local parts, why = url.parse(text, base.family)
   if not parts then return nil, ("to a malformed URL: %s"):format(why) end
   if base.secure and not parts.secure then
      return nil, ("from %s:// to %s://, which would give up TLS"):format(base.scheme,
         parts.scheme)
   end
   if not parts.credentials and url.same_origin(base, parts) then
      parts.credentials = base.credentials
   end
   return parts, url.show(text)
end

--- The Authorization field's value that the URL's user and password make (RFC 7617), or nil.
function url.basic(parts)
   return parts.credentials and "Basic " .. core.base64(parts.credentials)
end

return url
