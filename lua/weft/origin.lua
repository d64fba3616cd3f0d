-- origin: which pages may open a WebSocket here (RFC 6454, RFC 6455 10.2). Pure Lua. A
-- browser says where the page came from; others send no Origin.

local origin = {}

local default_port = { http = 80, https = 443 }

-- host [ ":" port ] -> { host=, port= | nil }; nil when it is malformed
local function read_host(text)
   local host, port = text:match("^(%[[%x:.]+%])(.*)$")
   if not host then host, port = text:match("^([%w._~-]+)(.*)$") end
   if not host then return nil end
   if port == "" then return { host = host } end
   port = tonumber(port:match("^:(%d%d?%d?%d?%d?)$"))
   return port and port < 65536 and { host = host, port = port } or nil
end

-- RFC 6454 6.2: scheme "://" host [ ":" port ], and nothing behind.
local function read(text)
   local scheme, rest = text:lower():match("^(%a[%w+.-]*)://(.*)$")
   local parts = scheme and read_host(rest)
   if not parts then return nil end
   parts.scheme, parts.port = scheme, parts.port or default_port[scheme]
   return parts
end

-- What an application lists: an origin; or without a scheme a host, for http and https;
-- "*." before the host for every name below it. A page's scheme is never that of its WebSocket.
local function read_pattern(text)
   local scheme, rest = text:lower():match("^(%a[%w+.-]*)://(.*)$")
   if scheme == "ws" or scheme == "wss" then return nil end
   rest = rest or text:lower()
   local below = rest:match("^%*%.(.*)$")
   local parts = read_host(below or rest)
   if not parts then return nil end
   parts.scheme = scheme
   if below then parts.suffix = "." .. parts.host end
   return parts
end

--- What is wrong with a list of patterns, or nil.
function origin.check(list)
   for _, text in ipairs(type(list) == "table" and list or {}) do
      if text ~= "*" and text ~= "null" and not read_pattern(text) then
         return ('must hold "https://host", "https://*.host", "host", "null" or "*", got %q')
            :format(text)
      end
   end
end

-- The scheme may differ from ours, for TLS may end in front of us, unless it is known.
local function same_host(page, host, scheme)
   if scheme and page.scheme ~= scheme then return false end
   local ours = default_port[page.scheme] and host and read_host(host:lower())
   return ours and ours.host == page.host
      and (ours.port or default_port[page.scheme]) == page.port
end

local function matches(page, pattern)
   local scheme = pattern.scheme
   if scheme and scheme ~= page.scheme then return false end
   if not scheme and not default_port[page.scheme] then return false end
   if (pattern.port or default_port[page.scheme]) ~= page.port then return false end
   local suffix = pattern.suffix
   if not suffix then return page.host == pattern.host end
   -- anchored at a label: ".example.org", with a name before it
   return #page.host > #suffix and page.host:sub(-#suffix) == suffix
      and page.host:sub(1, 1) ~= "."
end

--- A list of patterns as origin.allowed takes it.
function origin.compile(list)
   local compiled = {}
   for _, text in ipairs(list or {}) do
      if text == "*" or text == "null" then compiled[text] = true
      else compiled[#compiled + 1] = read_pattern(text) end
   end
   return compiled
end

--- May a page of that Origin talk to the host that it asked for? scheme: what it asked by, as
-- far as that is known.
function origin.allowed(text, host, compiled, scheme)
   if compiled["*"] then return true end
   if text == "null" then return compiled["null"] or false end
   local page = read(text)
   if not page then return false end
   if same_host(page, host, scheme) then return true end
   for _, pattern in ipairs(compiled) do
      if matches(page, pattern) then return true end
   end
   return false
end

return origin
