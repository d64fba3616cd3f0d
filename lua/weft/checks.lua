-- checks: what options must be beside their type and range. A check returns nil for a value that
-- is fine, or what it must be instead; options.lua calls them by `check` of a rule in limits.lua.

local core = require "weft.core"
local options = require "weft.options"

local checks = {}

--- Is it a token (RFC 9110 5.6.2)?
function checks.is_token(s)
   return s:find("^[%w!#$%%&'*+.^_`|~-]+$") ~= nil
end

-- RFC 6455 4.1 10: tokens, and each but once.
function checks.subprotocols(list)
   local seen = {}
   for _, name in ipairs(type(list) == "table" and list or {}) do
      if not checks.is_token(name) then
         return ("must hold subprotocol names (RFC 9110 tokens), got %q"):format(name)
      elseif seen[name] then
         return ("must hold each subprotocol once, got %q twice"):format(name)
      end
      seen[name] = true
   end
end

--- A check for one of these: { value = true, ... }.
function checks.one_of(values)
   return function(v)
      if values[v] then return end
      local names = {}
      for name in pairs(values) do names[#names + 1] = ("%q"):format(name) end
      table.sort(names)
      return ("must be %s, got %q"):format(table.concat(names, " or "), v)
   end
end

function checks.keys(list)
   if not list[1] then return "must hold a key" end
   for _, key in ipairs(list) do
      if #key < 32 then return "must hold keys of at least 32 bytes, from a random source" end
   end
end

function checks.cookie_path(path)
   if path:sub(1, 1) ~= "/" or path:find "[^\x20-\x7e]" or path:find ";" then
      return 'must begin with "/", and be ASCII without a semicolon'
   end
end

function checks.cookie_domain(domain)
   if not domain:find "^%.?%w[%w.-]*$" then return "must be a host name" end
end

-- RFC 6750 2.1
function checks.tokens(value)
   local tokens = type(value) == "string" and { value } or value
   if not tokens[1] then return "must hold a token" end
   for _, token in ipairs(tokens) do
      if #token < 16 or not token:find "^[%w._~+/-]+=*$" then
         return "must have 16 or more letters, digits or any of -._~+/"
      end
   end
end

function checks.headers(list)
   for _, name in ipairs(list) do
      if not checks.is_token(name) then return ("must hold header names, got %q"):format(name) end
   end
end

-- RFC 9110 9.1: case matters, so "get" would be another method than GET.
function checks.method(s)
   if checks.is_token(s) and not s:find "%l" then return nil end
   return ("must be a method (an RFC 9110 token) in capitals, got %q"):format(s)
end

function checks.methods(list)
   for _, name in ipairs(list) do
      if checks.method(name) then return ("must hold methods in capitals, got %q"):format(name) end
   end
end

-- doc/protocol.md; and a line end would begin another field of Server-Sent Events (WHATWG HTML
-- 9.2.5).
function checks.event_name(s)
   if #s > 0 and #s <= 64 and not s:find "%c" and utf8.len(s) then return nil end
   return "must be 1 to 64 bytes of UTF-8 without control characters"
end

function checks.websocket(v)
   return not options.is(v, "weft.websocket") and "must be a websocket" or nil
end

-- RFC 7301 3.1
function checks.alpn(list)
   for _, name in ipairs(list) do
      if #name == 0 or #name > 255 then return "must hold names of 1 to 255 bytes" end
   end
end

-- RFC 1035 3.1
function checks.host(name)
   if #name > 0 and #name <= 255 and not name:find("[%c%s]") then return end
   return "must be a host name or an address"
end

function checks.certificates(list)
   local n = 0
   for _ in pairs(list) do n = n + 1 end
   for i = 1, math.max(n, 1) do
      if type(list[i]) ~= "table" then return "must be a list of tables { cert =, key = }" end
   end
end

function checks.permissions(text)
   if not text:find "^0?[0-7][0-7][0-7]$" then
      return ('must be three octal digits, like "660", got %q'):format(text)
   end
end

local codes = {}
for _, code in ipairs(core.codes) do codes[code.name] = true end

-- Close codes and statuses are numbers that do not meet; codes are words.
function checks.reasons_to_stop(list)
   for i, one in pairs(type(list) == "table" and list or {}) do
      if math.type(i) ~= "integer" or i > #list then return "must be a list, or a function" end
      local number = math.type(one) == "integer" and one >= 100 and one <= 4999
      if not number and not codes[one] then
         return ("must hold close codes, HTTP statuses and names of weft.code, got %s")
            :format(tostring(one))
      end
   end
end

-- RFC 6455 7.4: those that an endpoint may send.
function checks.close_code(v)
   if core.is_close_code(v) then return nil end
   return ("must be 1000 to 1003, 1007 to 1014, or 3000 to 4999, got %d"):format(v)
end

-- RFC 6455 5.5.1: with its code it is the body of a control frame.
function checks.close_reason(s)
   if #s <= 123 and utf8.len(s) then return nil end
   return "must be at most 123 bytes of UTF-8"
end

return checks
