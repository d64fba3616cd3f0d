-- answers: what handlers return, made shorter: weft.redirect, weft.json; and whom to let in:
-- weft.basic, weft.bearer.

local json = require "weft.json"
local options = require "weft.options"

local answers = {}

local REDIRECTS = { [301] = true, [302] = true, [303] = true, [307] = true, [308] = true }

--- weft.redirect(location [, status]) -> status, headers
function answers.redirect(location, status)
   options.argument(location, "string", "the location", "weft.redirect", 2)
   -- RFC 9110 10.2.2: a URI reference, so ASCII without spaces
   if location == "" or location:find "[^\x21-\x7e]" then
      error("weft.redirect: the location must be percent-encoded ASCII without spaces", 2)
   end
   status = status or 302
   if not REDIRECTS[status] then
      error("weft.redirect: the status must be 301, 302, 303, 307 or 308, got "
         .. tostring(status), 2)
   end
   return status, { location = location }
end

--- weft.json(value [, status [, headers]]) -> status, headers, body
function answers.json(value, status, headers)
   if headers ~= nil then options.argument(headers, "table", "the headers", "weft.json", 2) end
   local body, why = json.encode(value)
   if not body then error("weft.json: " .. why, 2) end
   local fields = { ["content-type"] = "application/json" }
   for name, field in pairs(headers or {}) do
      -- in any case (RFC 9110 5.1): a second one would contradict it
      if tostring(name):lower() == "content-type" then fields["content-type"] = nil end
      fields[name] = field
   end
   return status or 200, fields, body
end

local function challenge(scheme, realm)
   return nil, 401, { ["www-authenticate"] = ('%s realm="%s"'):format(scheme, realm) },
      "Unauthorized\n"
end

local function check_realm(realm, where)
   realm = realm or "weft"
   options.argument(realm, "string", "the realm", where, 3)
   if realm:find '[%c"\\]' then
      error(where .. ": the realm must not hold control characters, quotes or backslashes", 3)
   end
   return realm
end

--- weft.basic(check [, realm]) -> for the option authorize: function(req) -> what
-- check(user, password, req) returns, or 401 (RFC 7617)
function answers.basic(check, realm)
   options.argument(check, "function", "the check", "weft.basic", 2)
   realm = check_realm(realm, "weft.basic")
   return function(req)
      local user, password = req:basic()
      local data = user and check(user, password, req)
      if data then return data end
      return challenge("Basic", realm)
   end
end

--- weft.bearer(check [, realm]) -> the same with check(token, req) (RFC 6750)
function answers.bearer(check, realm)
   options.argument(check, "function", "the check", "weft.bearer", 2)
   realm = check_realm(realm, "weft.bearer")
   return function(req)
      local token = req:bearer()
      local data = token and check(token, req)
      if data then return data end
      return challenge("Bearer", realm)
   end
end

return answers
