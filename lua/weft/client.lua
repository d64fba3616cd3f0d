-- client: weft.connect, a client's side of the opening handshake (RFC 6455
-- 4.1). core.ws_check judges the server's answer.

local core = require "weft.core"
local limits = require "weft.limits"
local net = require "weft.net"
local options = require "weft.options"
local response = require "weft.response"
local upgrade = require "weft.upgrade"

local client = {}

-- Fields that make the handshake; setting them is misuse.
local forbidden = {}
for name in ([[host upgrade connection sec-websocket-key sec-websocket-version
   sec-websocket-protocol sec-websocket-extensions sec-websocket-accept
   content-length transfer-encoding]]):gmatch("%S+") do forbidden[name] = true end

local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

-- RFC 4648 4
local function base64(s)
   local out = {}
   for i = 1, #s, 3 do
      local a, b, c = s:byte(i, i + 2)
      local bits = a << 16 | (b or 0) << 8 | (c or 0)
      for k = 0, 3 do
         local index = (bits >> (18 - 6 * k) & 63) + 1
         out[#out + 1] = alphabet:sub(index, index)
      end
   end
   local padding = -#s % 3
   for k = 1, padding do out[#out + 1 - k] = "=" end
   return table.concat(out)
end

local function unescape(s)
   return (s:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

local function authorization(url, lines)
   if not url.userinfo or lines:lower():find("^authorization:") then return "" end
   if lines:lower():find("\nauthorization:", 1, true) then return "" end
   return "authorization: Basic " .. base64(unescape(url.userinfo)) .. "\r\n"
end

-- RFC 6455 4.1: the port is named where it is not the scheme's own.
local function host_field(url)
   local host = url.ipv6 and "[" .. url.host .. "]" or url.host
   local default = url.secure and 443 or 80
   return url.port == default and host or ("%s:%d"):format(host, url.port)
end

local function request_head(url, key, lines, offered)
   -- RFC 6455 3: an empty path is "/"
   local target = (url.path or "/") .. (url.query and "?" .. url.query or "")
   return table.concat {
      "GET ", target, " HTTP/1.1\r\nhost: ", host_field(url),
      "\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-key: ", key,
      "\r\nsec-websocket-version: 13\r\n",
      offered and "sec-websocket-protocol: " .. offered .. "\r\n" or "",
      authorization(url, lines), lines, "\r\n",
   }
end

local function parse(url)
   local parts, why = core.parse_url(url)
   if not parts then return nil, why, "resolve" end
   if parts.scheme ~= "ws" and parts.scheme ~= "wss" then
      return nil, ("the scheme must be ws, not %s"):format(parts.scheme), "resolve"
   end
   if parts.fragment then -- RFC 6455 3: fragments are meaningless here
      return nil, "a WebSocket URL has no fragment", "resolve"
   end
   if parts.secure then
      return nil, "wss:// is not available in this version of weft", "tls"
   end
   return parts
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
local function shake_hands(stream, url, opts)
   local key = core.ws_key()
   local head = request_head(url, key, opts.lines, opts.offered)
   local answer, message, code = ask(stream, head, opts)
   if not answer then return nil, message, code end
   if answer.status ~= 101 then return refusal(answer) end
   local protocol, why = core.ws_check(answer, key, opts.offered)
   if protocol == nil then return nil, why, "handshake", answer end
   return core.ws_client(stream, answer, opts.compiled, protocol or nil)
end

local function open(url, opts)
   local stream, message, code = net.connect(url.host, url.port)
   if not stream then return nil, message, code end
   local ws, answer
   ws, message, code, answer = shake_hands(stream, url, opts)
   if ws then return ws end
   stream:close()
   return nil, message, code, answer
end

local function offered_list(protocols)
   if protocols == nil then return nil end
   if type(protocols) == "string" then return protocols end
   return protocols[1] and table.concat(protocols, ", ")
end

local function check_options(opts)
   opts = options.check(opts, limits.connect, "weft.connect", 3)
   opts.compiled = upgrade.compile(opts, "weft.connect", 3)
   opts.offered = offered_list(opts.protocols)
   opts.lines = response.lines(opts.headers or {}, forbidden, "weft.connect", 3)
   return opts
end

--- weft.connect(url [, opts]) -> ws | nil, message, code [, the server's answer]
function client.connect(url, opts)
   options.argument(url, "string", "the URL", "weft.connect", 2)
   opts = check_options(opts)
   local parts, message, code = parse(url)
   local ws, answer
   if parts then
      local guard <close> = core.deadline(opts.timeout)
      ws, message, code, answer = open(parts, opts)
   end
   if ws then return ws end
   return nil, ("weft.connect: %s: %s"):format(url, message), code, answer
end

return client
