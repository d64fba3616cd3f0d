-- http: weft.http, the HTTP client a user sees: its options, redirects, and what becomes a
-- request's head. One exchange is in http/exchange.lua.

local answer = require "weft.http.answer"
local core = require "weft.core"
local exchange = require "weft.http.exchange"
local limits = require "weft.limits"
local options = require "weft.options"
local pool = require "weft.http.pool"
local proxy = require "weft.proxy"
local response = require "weft.response"
local tls = require "weft.tls"
local url = require "weft.url"

local http = {}

local ALPN = { "http/1.1" }
local usual_tls = tls.recipe(nil, false, ALPN, "weft.http", 1)

-- Fields that frame the request or its connection; setting them is misuse.
local forbidden = {}
for name in ([[transfer-encoding connection keep-alive te upgrade http2-settings
   proxy-connection]]):gmatch("%S+") do forbidden[name] = true end

-- Fields that speak of a body, and go with it.
local of_body = { ["content-type"] = true, ["content-length"] = true, ["content-encoding"] = true,
   ["content-language"] = true, ["content-location"] = true, trailer = true, expect = true,
   digest = true, ["content-digest"] = true, ["last-modified"] = true }

local DROP = 64 << 10 -- of a redirect's body, so that its connection can be kept

-- The user's fields by lower-case name; response.lines has judged them.
local function fold(headers, where, level)
   local fields = {}
   for name, value in pairs(headers or {}) do
      local lower = name:lower()
      if fields[lower] ~= nil then
         error(("%s: header %q is there twice; a list makes several fields"):format(where, lower),
            level + 1)
      end
      fields[lower] = value
   end
   return fields
end

local function check_length(fields, body, where, level)
   local length = fields["content-length"]
   if length == nil then return type(body) == "string" and #body or nil end
   local number = math.tointeger(tonumber(length))
   if not number or number < 0 or body == nil or type(body) == "string" and #body ~= number then
      error(("%s: header \"content-length\": %s does not fit the body"):format(where,
         tostring(length)), level + 1)
   end
   return number
end

-- A request as it is asked for: { method=, fields=, body=, length= }.
local function new_request(opts, where, level)
   if opts.method == "CONNECT" then
      error(where .. ": CONNECT is not for scripts: it makes a tunnel", level + 1)
   end
   response.lines(opts.headers or {}, forbidden, where, level + 1)
   local fields = fold(opts.headers, where, level + 1)
   local host = fields.host
   if host ~= nil and (type(host) ~= "string" or host:find("[,%s]")) then
      error(where .. ": header \"host\": one host is needed", level + 1)
   end
   return { method = opts.method, fields = fields, body = opts.body,
      length = check_length(fields, opts.body, where, level + 1) }
end

local function add(lines, fields, name, value)
   if fields[name] == nil and value then lines[#lines + 1] = name .. ": " .. value end
end

local function add_framing(lines, hop)
   if hop.length then
      lines[#lines + 1] = "content-length: " .. hop.length
   elseif hop.body then
      lines[#lines + 1] = "transfer-encoding: chunked"
   elseif hop.method == "POST" or hop.method == "PUT" or hop.method == "PATCH" then
      lines[#lines + 1] = "content-length: 0" -- RFC 9110 8.6
   end
   if hop.closes then lines[#lines + 1] = "connection: close" end
end

local function user_lines(fields)
   local copy = {}
   for name, value in pairs(fields) do
      if name ~= "content-length" then copy[name] = value end
   end
   return response.lines(copy, forbidden, "weft.http.request", 2)
end

-- RFC 9112 3.2.2: a proxy is asked for the whole URL.
local function head_of(hop)
   local fields, parts, via = hop.fields, hop.parts, hop.target.asks_proxy and hop.target.via
   local target = via and url.text(parts) or url.target(parts)
   local lines = { ("%s %s HTTP/1.1"):format(hop.method, target) }
   add(lines, fields, "host", url.host_field(parts)) -- RFC 9110 7.2: first, or nearly
   add(lines, fields, "user-agent", "weft/" .. core.version)
   add(lines, fields, "accept", "*/*")
   add(lines, fields, "accept-encoding", hop.offered and "gzip, deflate")
   add(lines, fields, "authorization", url.basic(parts))
   add(lines, fields, "proxy-authorization", via and via.authorization)
   add_framing(lines, hop)
   return table.concat(lines, "\r\n") .. "\r\n" .. user_lines(fields) .. "\r\n"
end

-- Where its connection leads, and what others have to share to use it, too: http:// through an
-- HTTP proxy is asked of that proxy, all else goes through a tunnel.
local function set_target(hop, via)
   local target = url.endpoint(hop.parts, via)
   target.asks_proxy = via and via.kind == "http" and not hop.parts.secure
   hop.target, hop.key = target, url.origin(hop.parts)
   if target.asks_proxy then hop.key = via.key
   elseif via then hop.key = hop.key .. " via " .. via.key end
end

-- nil, message, code when the proxy cannot be told.
local function new_hop(request, parts, opts)
   local via, why = proxy.pick(opts.proxy, parts)
   if why then return nil, why, "resolve" end
   local fields = request.fields
   local hop = { method = request.method, fields = fields, body = request.body,
      length = request.length, parts = parts, url = url.text(parts), secure = request.secure,
      -- of what is compressed, a part (RFC 9110 14.2) could not be undone
      offered = opts.compression and fields["accept-encoding"] == nil and fields.range == nil,
      closes = opts.keepalive == 0,
      expects = request.body and tostring(fields.expect):lower() == "100-continue" }
   set_target(hop, via)
   hop.head = head_of(hop)
   return hop
end

-- -- redirects (RFC 9110 15.4) ------------------------------------------------------

local function without(fields, set)
   local rest = {}
   for name, value in pairs(fields) do
      if not set[name] then rest[name] = value end
   end
   return rest
end

-- RFC 9110 15.4.2 to 15.4.4: 303 asks for a GET; so do, by custom, 301 and 302 of a POST.
local function becomes_get(status, method)
   if status == 303 then return method ~= "HEAD" and method ~= "GET" end
   return (status == 301 or status == 302) and method == "POST"
end

-- The request for where the answer leads, or nil: the script has to see to it.
local function redirect(request, result)
   if becomes_get(result.status, request.method) then
      return { method = "GET", fields = without(request.fields, of_body) }
   end
   if type(request.body) == "function" then return nil end -- it cannot be sent twice
   return { method = request.method, fields = request.fields, body = request.body,
      length = request.length }
end

local function leads_elsewhere(result)
   return url.redirecting[result.status] and result.head:count("location") == 1
end

-- The next request and its URL; false: the answer is to be taken as it is; nil and why.
local function follow(request, hop, result, left, opts)
   if not leads_elsewhere(result) or opts.max_redirects == 0 then return false end
   local next_request = redirect(request, result)
   if not next_request then return false end
   local parts, why = url.follow(hop.parts, result:header("location"))
   if not parts then return nil, why end
   if left == 0 then
      return nil, ("to %s, over max_redirects (%d)"):format(why, opts.max_redirects)
   end
   next_request.secure = request.secure
   if not url.same_origin(hop.parts, parts) then
      next_request.fields = without(next_request.fields, url.secret)
      next_request.secure = tls.without_certificate(request.secure)
   end
   return next_request, parts
end

-- All hops: the last one's answer with its head, or nil, message, code.
local function travel(request, parts, opts)
   local trail, left = "", opts.max_redirects
   while true do
      local hop, message, code = new_hop(request, parts, opts)
      local result
      if hop then result, message, code = exchange.run(hop, opts) end
      if not result then return nil, trail .. message, code end
      local next_request, target = follow(request, hop, result, left, opts)
      if next_request == false then return result end
      answer.drop(result, DROP)
      if next_request == nil then
         return nil, ("%sa redirect (%d) %s"):format(trail, result.status, target), "refused"
      end
      request, parts, left = next_request, target, left - 1
      trail = ("redirected to %s: "):format(url.text(parts))
   end
end

local function run(request, parts, opts)
   local guard <close> = core.deadline(opts.timeout)
   local result, message, code = travel(request, parts, opts)
   if not result or opts.stream then return result, message, code end
   return answer.read_all(result)
end

local function perform(text, opts, where, level)
   options.argument(text, "string", "the URL", where, level + 1)
   opts = options.check(opts, limits.request, where, level + 1)
   local secure = opts.tls and tls.recipe(opts.tls, false, ALPN, where, level + 1) or usual_tls
   opts.proxy_secure = opts.proxy_tls
      and tls.recipe(opts.proxy_tls, false, ALPN, where, level + 1) or usual_tls
   local request = new_request(opts, where, level + 1)
   request.secure = secure
   local parts, message = url.parse(text, url.http)
   local result, code = nil, "resolve"
   if parts then result, message, code = run(request, parts, opts) end
   if result then return result end
   return nil, ("%s: %s %s: %s"):format(where, opts.method, url.show(text), message), code
end

-- None of these ends with a call: errors of misuse count the levels up to the script.

--- weft.http.request(url [, opts]) -> answer | nil, message, code
function http.request(text, opts)
   local result, message, code = perform(text, opts, "weft.http.request", 2)
   return result, message, code
end

-- The options with these in them, which are none of the script's to give.
local function with(opts, where, more)
   options.argument(opts, "table", "the options", where, 3)
   for name, value in pairs(opts) do
      if more[name] ~= nil then error(("%s: it has the %s already"):format(where, name), 3) end
      more[name] = value
   end
   return more
end

--- weft.http.get(url [, opts])
function http.get(text, opts)
   local where = "weft.http.get"
   opts = with(opts or {}, where, { method = "GET" })
   local result, message, code = perform(text, opts, where, 2)
   return result, message, code
end

--- weft.http.post(url, body [, opts])
function http.post(text, body, opts)
   local where = "weft.http.post"
   opts = with(opts or {}, where, { method = "POST", body = body })
   local result, message, code = perform(text, opts, where, 2)
   return result, message, code
end

--- Closes the connections that wait for another request; how many that were.
function http.close_idle() return pool.close() end

return http
