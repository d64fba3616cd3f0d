-- cookies: Cookie and Set-Cookie (RFC 6265, and its successor's prefixes and SameSite). Pure Lua.

local checks = require "weft.checks"
local date = require "weft.date"
local limits = require "weft.limits"
local options = require "weft.options"
local trim = require "weft.trim"

local cookies = {}

-- RFC 6265 6.1: what every browser takes: name, value and attributes together.
local MAX_BYTES = 4096
local MAX_COOKIES = 100

--- name -> value of a Cookie field (RFC 6265 5.4, read as liberally as servers have to): the
-- first of a name, since the more specific path comes first.
function cookies.parse(field)
   local all, n = {}, 0
   for pair in field:gmatch "[^;]+" do
      local name, value = pair:match "^([^=]*)=(.*)$"
      if name then name, value = trim(name), trim(value) end
      if name and checks.is_token(name) and all[name] == nil then
         all[name] = value:match '^"(.*)"$' or value
         n = n + 1
         if n == MAX_COOKIES then break end
      end
   end
   return all
end

local function misuse(where, level, message, ...)
   error((where .. ": " .. message):format(...), level + 1)
end

-- RFC 6265 4.1.1: cookie-octet
local function check_value(name, value, where, level)
   if type(value) ~= "string" then
      misuse(where, level + 1, "the value of %q must be a string, got a %s", name, type(value))
   elseif value:find '[%c%s",;\\\127-\255]' then
      misuse(where, level + 1, "the value of %q must not hold control characters, spaces, quotes, "
         .. "commas, semicolons, backslashes or bytes above 126: encode it first", name)
   end
end

-- Browsers drop a cookie whose prefix its attributes belie.
local function check_prefix(name, attributes, where, level)
   local lower = name:lower()
   local host, secure = lower:find "^__host%-", lower:find "^__secure%-"
   if (host or secure) and not attributes.secure then
      misuse(where, level + 1, "%q needs secure = true for its prefix", name)
   elseif host and (attributes.domain or attributes.path ~= "/") then
      misuse(where, level + 1, '%q needs path = "/" and no domain for its prefix', name)
   end
end

local SAME_SITE = { strict = "Strict", lax = "Lax", none = "None" }

local function check_same_site(attributes, where, level)
   if attributes.same_site == "none" and not attributes.secure then
      misuse(where, level + 1, 'same_site = "none" needs secure = true')
   end
end

local function add(parts, condition, text)
   if condition then parts[#parts + 1] = text end
end

--- weft.cookie(name, value [, attributes]) -> the value of a Set-Cookie field. Raises on misuse,
-- at the level as of error(), in the name of `where`.
function cookies.format(name, value, attributes, level, where)
   level, where = level or 2, where or "weft.cookie"
   local a = options.check(attributes, limits.cookie, where, level)
   if type(name) ~= "string" or not checks.is_token(name) then
      misuse(where, level, "the name must be a token, got %q", tostring(name))
   end
   check_value(name, value, where, level)
   check_prefix(name, a, where, level)
   check_same_site(a, where, level)
   local parts = { name .. "=" .. value }
   add(parts, a.path, "Path=" .. tostring(a.path))
   add(parts, a.domain, "Domain=" .. tostring(a.domain))
   add(parts, a.max_age, ("Max-Age=%d"):format((a.max_age or 0) // 1))
   add(parts, a.max_age == 0, "Expires=" .. date.format(0)) -- for clients without Max-Age
   add(parts, a.secure, "Secure")
   add(parts, a.http_only, "HttpOnly")
   add(parts, a.same_site, "SameSite=" .. tostring(SAME_SITE[a.same_site]))
   local text = table.concat(parts, "; ")
   if #text > MAX_BYTES then
      misuse(where, level, "%q is larger than browsers take (%d bytes)", name, MAX_BYTES)
   end
   return text
end

return cookies
