-- cors: which other sites' pages may use this server (Fetch 3.2): app:cors.

local before = require "weft.before"
local limits = require "weft.limits"
local options = require "weft.options"
local origin = require "weft.origin"

local cors = {}

local METHODS = { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE" }

-- Only names that could be header fields are sent back.
local function requested_headers(request)
   local field = request:header "access-control-request-headers"
   if not field or #field > 1024 or field:find "[^%w!#$%%&'*+.^_`|~, \t-]" then return nil end
   return field
end

local function preflight(policy, request, method)
   local list = policy.methods
   request:set_header("access-control-allow-methods", table.concat(list, ", "))
   local headers = policy.headers and table.concat(policy.headers, ", ")
      or requested_headers(request)
   if headers and headers ~= "" then
      request:set_header("access-control-allow-headers", headers)
   end
   request:set_header("access-control-max-age", ("%d"):format(policy.max_age // 1))
   request:set_header("vary",
      "Access-Control-Request-Method, Access-Control-Request-Headers")
   for _, one in ipairs(list) do
      if one == method then return 204 end
   end
   return 403, nil, "this method is not allowed for other sites\n"
end

local function judge(policy, request)
   if not policy.any then request:set_header("vary", "Origin") end
   local from = request:header "origin"
   if not from then return end
   local asked = request.method == "OPTIONS"
      and request:header "access-control-request-method"
   local allowed = request:count "origin" == 1
      and origin.allowed(from, request:header "host", policy.origins)
   if not allowed and asked then return 403, nil, "this origin is not allowed\n" end
   if not allowed then return end
   request:set_header("access-control-allow-origin", policy.any and "*" or from)
   if policy.credentials then request:set_header("access-control-allow-credentials", "true") end
   if asked then return preflight(policy, request, asked) end
   if policy.expose[1] then
      request:set_header("access-control-expose-headers", table.concat(policy.expose, ", "))
   end
end

--- app:cors(opts [, path])
function cors.method(app, opts, path)
   opts = options.check(opts, limits.cors, "app:cors", 2)
   local origins, any = opts.origins or { "*" }, false
   for _, one in ipairs(origins) do any = any or one == "*" end
   if any and opts.credentials then
      -- every site could then act for whoever is logged in here
      error('app:cors: credentials cannot be allowed for the origin "*": list the origins', 2)
   end
   local policy = { any = any, origins = origin.compile(origins),
      methods = opts.methods or METHODS, headers = opts.headers, expose = opts.expose or {},
      credentials = opts.credentials,
      max_age = opts.max_age }
   before.add(app, function(request) return judge(policy, request) end, path, "app:cors", 2)
   return app
end

return cors
