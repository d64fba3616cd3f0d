-- net: sockets by name. weft.dial and weft.listen, and the methods that turn
-- core's sockets into the ones of LuaSocket's shape: bind and connect by host
-- name, each().

local core = require "weft.core"
local dialer = require "weft.dialer"
local handed = require "weft.handed"
local limits = require "weft.limits"
local options = require "weft.options"
local proxy = require "weft.proxy"
local tls = require "weft.tls"

local net = {}

-- Reads an address for a public function. One that this version has no use for is
-- misuse; one that cannot be read comes from outside, as often as not.
function net.parse(address, where)
   options.argument(address, "string", "the address", where, 3)
   local parts = handed.parse(address)
   if parts then return parts end
   local why
   parts, why = core.parse_address(address)
   if parts then return parts end
   return nil, ("%s: bad address %q: %s"):format(where, address, why), "resolve"
end

--- The address that a listener has, and its port.
function net.name(listener)
   local ip, port, family = listener:getsockname()
   if family == "unix" then return "unix:" .. ip, 0 end
   return dialer.show(ip, port), port
end

-- nil, message, code of a function, with its name before the message.
local function named(where, result, message, code)
   if result then return result end
   return nil, ("%s: %s"):format(where, message), code
end

-- The recipe for an address's TLS, or nil: "tls://" and the option go together.
function net.check_tls(parts, opts, server, where, alpn)
   if parts.kind ~= "tls" and not opts.tls then return nil end
   if server and not opts.tls then
      error(("%s: tls:// needs the option tls, with cert and key"):format(where), 3)
   end
   local recipe = tls.recipe(opts.tls, server, alpn, where, 3)
   return recipe
end
local check_tls = net.check_tls

-- Where weft.dial goes to.
local function dial_target(parts, recipe, address, opts)
   local via, why = proxy.pick(opts.proxy, parts)
   if why then return nil, "weft.dial: " .. why, "resolve" end
   parts.via = via
   if parts.kind == "handed" then
      error(("weft.dial: %s is for weft.listen"):format(address), 3)
   elseif parts.kind == "unix" then
      if recipe and recipe.compiled.verify and not recipe.server_name then
         error("weft.dial: over a unix socket tls needs server_name, the host to verify", 3)
      end
      return { unix = parts.host }
   elseif parts.host == "" or parts.port == 0 then
      return nil, ("weft.dial: bad address %q: it needs a host and a port"):format(address),
         "resolve"
   end
   return parts
end

--- weft.dial(address [, opts]) -> stream | nil, message, code
function net.dial(address, opts)
   local parts, message, code = net.parse(address, "weft.dial")
   opts = options.check(opts, limits.dial, "weft.dial", 2)
   local recipe = parts and check_tls(parts, opts, false, "weft.dial")
   opts.proxy_secure = tls.recipe(opts.proxy_tls, false, { "http/1.1" }, "weft.dial", 2)
   if not parts then return nil, message, code end
   local target
   target, message, code = dial_target(parts, recipe, address, opts)
   if not target then return nil, message, code end
   local guard <close> = core.deadline(opts.timeout)
   return named("weft.dial", dialer.connect(target, recipe, opts))
end

local function listen_on(ip, port, opts)
   local socket = core.tcp()
   local ok, message, code = true, nil, nil
   if opts.reuseport then ok, message, code = socket:setoption("reuseport", true) end
   if ok then ok, message, code = socket:bind_ip(ip, port) end
   if ok then ok, message, code = socket:listen(opts.backlog) end
   if ok then return socket end
   socket:close()
   return nil, message, code
end

-- What only some kinds of addresses have.
local function check_kind(parts, opts, where)
   if opts.mode and parts.kind ~= "unix" then
      error(("%s: the option mode is for unix: addresses"):format(where), 4)
   elseif opts.reuseport and parts.kind ~= "tcp" and parts.kind ~= "tls" then
      error(("%s: the option reuseport is for ports"):format(where), 4)
   end
end

local function listen_local(parts, opts)
   if parts.kind == "handed" then return handed.take(parts) end
   return core.listen_unix(parts.host, opts.backlog, tonumber(opts.mode or "", 8))
end

--- Listens at an address that net.parse has read, with options that were checked.
function net.listen_at(parts, address, opts, where)
   check_kind(parts, opts, where)
   if parts.kind == "unix" or parts.kind == "handed" then
      local listener, message, code = listen_local(parts, opts)
      if listener then return listener end
      return nil, ("%s: cannot listen on %s: %s"):format(where, address, message), code
   end
   local ip = "*"
   if parts.host ~= "" then
      local addresses, message, code = named(where, core.resolve(parts.host))
      if not addresses then return nil, message, code end
      ip = addresses[1]
   end
   local listener, message, code = listen_on(ip, parts.port, opts)
   if listener then return listener end
   return nil, ("%s: cannot listen on %s: %s"):format(where, address, message), code
end

-- Listeners whose streams have TLS: their contexts.
local secured = setmetatable({}, { __mode = "k" })

--- weft.listen(address [, opts]) -> listener | nil, message, code
function net.listen(address, opts)
   local parts, message, code = net.parse(address, "weft.listen")
   opts = options.check(opts, limits.listen, "weft.listen", 2)
   local recipe = parts and check_tls(parts, opts, true, "weft.listen")
   if not parts then return nil, message, code end
   local made, socket
   if recipe then
      made, message, code = named("weft.listen", tls.context(recipe))
      if not made then return nil, message, code end
   end
   socket, message, code = net.listen_at(parts, address, opts, "weft.listen")
   if socket then secured[socket] = made end
   return socket, message, code
end

local tcp, listener = core.methods.tcp, core.methods.listener

local function check_port(port, least, where)
   local number = math.tointeger(port)
   if not number or number < least or number > 65535 then
      error(("%s: the port must be an integer from %d to 65535, got %s")
         :format(where, least, tostring(port)), 3)
   end
   return number
end

--- tcp:bind(host, port) -> true | nil, message, code. "*" is every address.
function tcp:bind(host, port)
   options.argument(host, "string", "the host", "tcp:bind", 2)
   port = check_port(port, 0, "tcp:bind")
   if host == "*" then return self:bind_ip("*", port) end
   local addresses, message, code = named("tcp:bind", core.resolve(host))
   if not addresses then return nil, message, code end
   return self:bind_ip(addresses[1], port)
end

-- A socket that is bound has to try one address after the other itself.
local function connect_in_turn(self, addresses, port)
   local tried, last = {}, "resolve"
   for _, ip in ipairs(addresses) do
      local ok, message, code = self:connect_ip(ip, port)
      if ok then return true end
      tried[#tried + 1], last = ("%s (%s)"):format(dialer.show(ip, port), message), code
      if code == "timeout" or code == "closed" then break end
   end
   return nil, table.concat(tried, ", "), last
end

local function connect_any(self, addresses, port)
   local _, bound = self:getsockname()
   if not addresses[2] or (bound or 0) ~= 0 then
      return connect_in_turn(self, addresses, port)
   end
   local stream, message, code = dialer.race(addresses, port, limits.dial.attempt_delay.default)
   if not stream then return nil, message, code end
   local ok
   ok, message, code = core.become(self, stream)
   if not ok then stream:close() end
   return ok, message, code
end

--- tcp:connect(host, port) -> true | nil, message, code
function tcp:connect(host, port)
   options.argument(host, "string", "the host", "tcp:connect", 2)
   port = check_port(port, 1, "tcp:connect")
   local limit = core.timeout_of(self)
   local guard <close> = limit and core.deadline(limit)
   local addresses, message, code = core.resolve(host)
   if not addresses then return named("tcp:connect", nil, message, code) end
   local ok, tried
   ok, tried, code = connect_any(self, addresses, port)
   if ok then return true end
   return nil, ("tcp:connect: cannot connect to %s: %s"):format(dialer.show(host, port), tried),
      code
end

--- listener:accept for an app, which sees to TLS itself.
net.accept = listener.accept

-- The handshake is the accepted stream's own affair: nobody else waits for it.
function listener:accept()
   local stream, message, code = net.accept(self)
   local made = stream and secured[self]
   if not made then return stream, message, code end
   local begun
   begun, message, code = tls.begin(stream, made)
   if begun then return stream end
   stream:close() -- else it would be one without TLS
   return nil, message, code
end

local function next_stream(self)
   local stream, message, code = self:accept()
   if stream then return stream end
   if code == "closed" or code == "timeout" then return nil end
   error(("%s: %s"):format(self, message), 2)
end

--- for stream in listener:each(): ends when the listener is closed, or a
-- deadline passes; raises when the system cannot accept any more.
function listener:each()
   return next_stream, self
end

return net
