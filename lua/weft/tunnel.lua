-- tunnel: what is said to a proxy on a stream that leads to it, until the stream leads to the
-- target: HTTP's CONNECT (RFC 9110 9.3.6) and SOCKS 5 (RFC 1928, RFC 1929). What the target
-- has sent meanwhile stays in the stream. true, or nil, message, code.

local core = require "weft.core"

local tunnel = {}

local MAX_INTERIM = 16
local MOST_SHOWN = 100

--- "127.0.0.1:80", "[::1]:80"
function tunnel.show(host, port)
   return (host:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(host, port)
end

-- A failure while it was asked for `what`.
local function broken(via, what, message, code)
   if code == "timeout" then message = "timeout while waiting for its answer" end
   if code == "closed" then message = "it closed the connection before it answered" end
   return nil, ("proxy %s: %s to %s"):format(via.shown, message, what), code
end

-- -- HTTP -----------------------------------------------------------------------------

local function request(via, authority)
   return table.concat { "CONNECT ", authority, " HTTP/1.1\r\nhost: ", authority,
      "\r\nuser-agent: weft/", core.version, "\r\n",
      via.authorization and "proxy-authorization: " .. via.authorization .. "\r\n" or "", "\r\n" }
end

local function await_answer(stream, opts)
   local head, message, code
   for _ = 0, MAX_INTERIM do
      head, message, code = core.read_head(stream, "response", opts.max_line, opts.max_head,
         opts.max_fields)
      if not head or head.status >= 200 then return head, message, code end
   end
   return nil, "too many interim (1xx) answers", "protocol"
end

-- Its own words, as far as they are fit to be shown.
local function reason_of(head)
   return (head.reason:sub(1, MOST_SHOWN):gsub("[^\x20-\x7e]", "?"))
end

local function by_http(stream, via, host, port, opts)
   local authority = tunnel.show(host, port)
   local what = "CONNECT " .. authority
   stream:send(request(via, authority)) -- where that fails, reading tells why
   local head, message, code = await_answer(stream, opts)
   if not head then return broken(via, what, message, code) end
   -- RFC 9110 9.3.6: any 2xx opens the tunnel, and has no content whatever it says
   if head.status < 300 then return true end
   return nil, ("proxy %s refused %s: %d %s"):format(via.shown, what, head.status,
      reason_of(head)), "refused"
end

-- -- SOCKS ----------------------------------------------------------------------------

local NO_AUTHENTICATION, BY_PASSWORD, NONE_ACCEPTABLE = 0, 2, 0xff

-- RFC 1928 6
local replies = { "general failure", "not allowed by its rules", "network unreachable",
   "host unreachable", "connection refused", "TTL expired", "command not supported",
   "address type not supported" }

-- Sends, and reads so many bytes.
local function ask(stream, bytes, n)
   if bytes then stream:send(bytes) end
   local data, message, _, code = stream:receive(n)
   return data, message, code
end

local function refused(via, what, why)
   return nil, ("proxy %s refused %s: %s"):format(via.shown, what, why), "refused"
end

-- RFC 1929 2
local function give_password(stream, via, what)
   local data, message, code = ask(stream, ("\1%s%s"):format(("s1"):pack(via.user),
      ("s1"):pack(via.password)), 2)
   if not data then return broken(via, what, message, code) end
   if data == "\1\0" then return true end
   return refused(via, what, "the user or the password is wrong")
end

-- RFC 1928 3
local function greet(stream, via, what)
   local data, message, code = ask(stream, via.user ~= "" and "\5\2\0\2" or "\5\1\0", 2)
   if not data then return broken(via, what, message, code) end
   local version, method = data:byte(1, 2)
   if version ~= 5 then
      return broken(via, what, "it does not answer as SOCKS 5 does", "protocol")
   elseif method == BY_PASSWORD and via.user ~= "" then
      return give_password(stream, via, what)
   elseif method == NONE_ACCEPTABLE then
      return refused(via, what, via.user == "" and "it wants a user and a password"
         or "it takes neither no authentication nor a password")
   elseif method ~= NO_AUTHENTICATION then
      return broken(via, what, "it chose a method that was not offered", "protocol")
   end
   return true
end

-- RFC 1928 5
local function socks_address(host)
   local bytes = core.ip_bytes(host)
   if bytes then return (#bytes == 4 and "\1" or "\4") .. bytes end
   return #host <= 255 and not host:find(":", 1, true) and "\3" .. ("s1"):pack(host) or nil
end

-- RFC 1928 6: the address it is bound to is of no use, but has to be read.
local function read_reply(stream, via, what, message_of)
   local data, message, code = ask(stream, message_of, 4)
   if not data then return broken(via, what, message, code) end
   local version, reply, _, kind = data:byte(1, 4)
   if version ~= 5 then
      return broken(via, what, "it does not answer as SOCKS 5 does", "protocol")
   elseif reply ~= 0 then
      return refused(via, what, replies[reply] or ("failure %d"):format(reply))
   end
   local length = kind == 1 and 4 or kind == 4 and 16
   if kind == 3 then
      data, message, code = ask(stream, nil, 1)
      if not data then return broken(via, what, message, code) end
      length = data:byte()
   elseif not length then
      return broken(via, what, "it answers with an unknown kind of address", "protocol")
   end
   data, message, code = ask(stream, nil, length + 2)
   if not data then return broken(via, what, message, code) end
   return true
end

local function by_socks(stream, via, host, port)
   local what = tunnel.show(host, port)
   local address = socks_address(host)
   if not address then
      return nil, ("proxy %s: SOCKS cannot be asked for %s"):format(via.shown, what), "resolve"
   end
   local ok, message, code = greet(stream, via, what)
   if not ok then return nil, message, code end
   ok, message, code = read_reply(stream, via, what,
      "\5\1\0" .. address .. (">I2"):pack(port))
   return ok, message, code
end

local ways = { http = by_http, socks = by_socks }

--- Asks the proxy at the other end of the stream for a way to host and port.
-- opts: max_line, max_head, max_fields of its answer.
function tunnel.open(stream, via, host, port, opts)
   return ways[via.kind](stream, via, host, port, opts)
end

return tunnel
