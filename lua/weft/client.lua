-- client: weft.connect, a client's side of the opening handshake (RFC 6455
-- 4.1). core.ws_check judges the server's answer.

local core = require "weft.core"
local dialer = require "weft.dialer"
local limits = require "weft.limits"
local options = require "weft.options"
local proxy = require "weft.proxy"
local response = require "weft.response"
local tls = require "weft.tls"
local upgrade = require "weft.upgrade"
local url = require "weft.url"

local client = {}

-- Fields that make the handshake; setting them is misuse.
local forbidden = {}
for name in ([[host upgrade connection sec-websocket-key sec-websocket-version
   sec-websocket-protocol sec-websocket-extensions sec-websocket-accept
   content-length transfer-encoding]]):gmatch("%S+") do forbidden[name] = true end

local function request_head(parts, key, fields, opts)
   local basic = not fields.authorized and url.basic(parts)
   local extension = core.ws_offer(opts.compiled)
   return table.concat {
      "GET ", url.target(parts), " HTTP/1.1\r\nhost: ", url.host_field(parts),
      "\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-key: ", key,
      "\r\nsec-websocket-version: 13\r\n",
      opts.offered and "sec-websocket-protocol: " .. opts.offered .. "\r\n" or "",
      extension and "sec-websocket-extensions: " .. extension .. "\r\n" or "",
      basic and "authorization: " .. basic .. "\r\n" or "", fields.lines, "\r\n",
   }
end

-- Sends the request and reads the answer's head.
local function ask(stream, head, opts)
   local ok, message, _, code = stream:send(head)
   if not ok then return nil, message, code or message end
   local answer
   answer, message, code = core.read_head(stream, "response", opts.max_line, opts.max_head,
      opts.max_fields)
   if answer then return answer end
   if code == "protocol" or code == "too_big" then code = "handshake" end
   return nil, message, code
end

local function refusal(answer)
   local reason = answer.reason ~= "" and answer.reason or response.reasons[answer.status]
   return nil, ("the server answered %d %s"):format(answer.status, reason or ""), "refused",
      answer
end

-- The handshake on a connected stream: a ws, or nil, message, code, answer.
local function shake_hands(stream, parts, fields, opts)
   local key, message, code = core.ws_key()
   if not key then return nil, message, code end
   local answer
   answer, message, code = ask(stream, request_head(parts, key, fields, opts), opts)
   if not answer then return nil, message, code end
   if answer.status ~= 101 then return refusal(answer) end
   local protocol, why = core.ws_check(answer, key, opts.offered, opts.compiled)
   if protocol == nil then return nil, why, "handshake", answer end
   return core.ws_client(stream, answer, opts.compiled, protocol or nil)
end

-- The one place that opens what the bytes go over: a connected stream.
local function open_transport(parts, secure, opts)
   local via, why = proxy.pick(opts.proxy, parts)
   if why then return nil, why, "resolve" end
   return dialer.connect(url.endpoint(parts, via), parts.secure and secure, opts)
end

-- A stream that has become a ws is kept; else it ends, also where the task is cancelled.
local function open(parts, fields, opts)
   local stream, message, code = open_transport(parts, fields.secure, opts)
   if not stream then return nil, message, code end
   local guard <close> = dialer.guard(stream)
   local ws, why, kind, answer = shake_hands(stream, parts, fields, opts)
   if ws then guard.stream = nil end
   return ws, why, kind, answer
end

-- Where the answer leads, and how that looks; or nil and why nobody goes there.
local function next_hop(parts, answer, left, opts)
   if answer:count("location") ~= 1 then return nil, "without one Location" end
   local target, shown = url.follow(parts, answer:header("location"))
   if target and left == 0 then
      return nil, ("to %s, over max_redirects (%d)"):format(shown, opts.max_redirects)
   end
   return target, shown
end

-- Opens, and follows as many redirects as the option allows.
local function open_and_follow(parts, opts)
   local fields, left, trail = opts.fields, opts.max_redirects, ""
   while true do
      local ws, message, code, answer = open(parts, fields, opts)
      if ws then return ws end
      if not answer or not url.redirecting[answer.status] then
         return nil, trail .. message, code, answer
      end
      local target, shown = next_hop(parts, answer, left, opts)
      if not target then
         return nil, ("%s%s: a redirect %s"):format(trail, message, shown), "refused", answer
      end
      if not url.same_origin(parts, target) then fields = opts.public_fields end
      parts, left, trail = target, left - 1, ("redirected to %s: "):format(shown)
   end
end

local function offered_list(protocols)
   if protocols == nil then return nil end
   if type(protocols) == "string" then return protocols end
   return protocols[1] and table.concat(protocols, ", ")
end

-- The user's header fields and recipe of TLS, and what of them another origin may see.
local function compile_fields(opts, where, level)
   local public, authorized = {}, false
   opts.fields = { lines = response.lines(opts.headers or {}, forbidden, where, level + 1) }
   for name, value in pairs(opts.headers or {}) do
      if not url.secret[name:lower()] then public[name] = value end
      authorized = authorized or name:lower() == "authorization"
   end
   opts.fields.authorized = authorized
   opts.public_fields = { lines = response.lines(public, forbidden, where, level + 1) }
end

--- Checks options of a client (with `rules` that include limits.connect) and makes what
-- every attempt needs of them. Raises at the user's line.
function client.prepare(opts, rules, where, level)
   opts = options.check(opts, rules, where, level + 1)
   opts.compiled = upgrade.compile(opts, where, level + 1, true)
   opts.offered = offered_list(opts.protocols)
   compile_fields(opts, where, level + 1)
   opts.fields.secure = tls.recipe(opts.tls, false, { "http/1.1" }, where, level + 1)
   opts.public_fields.secure = tls.without_certificate(opts.fields.secure)
   opts.proxy_secure = tls.recipe(opts.proxy_tls, false, { "http/1.1" }, where, level + 1)
   return opts
end

--- One attempt with prepared options, within their timeout.
function client.open(parts, opts)
   local guard <close> = core.deadline(opts.timeout)
   return open_and_follow(parts, opts)
end

--- weft.connect(url [, opts]) -> ws | nil, message, code [, the server's answer]
function client.connect(text, opts)
   options.argument(text, "string", "the URL", "weft.connect", 2)
   opts = client.prepare(opts, limits.connect, "weft.connect", 2)
   local parts, message = url.parse(text)
   local ws, code, answer = nil, "resolve", nil
   if parts then ws, message, code, answer = client.open(parts, opts) end
   if ws then return ws end
   return nil, ("weft.connect: %s: %s"):format(url.show(text), message), code, answer
end

return client
