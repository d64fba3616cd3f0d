-- net: sockets by name. weft.dial and weft.listen, and the methods that turn
-- core's sockets into the ones of LuaSocket's shape: bind and connect by host
-- name, each().

local core = require "weft.core"
local limits = require "weft.limits"
local options = require "weft.options"
local tls = require "weft.tls"

local net = {}

local function show(host, port)
   return (host:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(host, port)
end
net.show = show

-- Reads an address for a public function. One that this version has no use for is
-- misuse; one that cannot be read comes from outside, as often as not.
function net.parse(address, where)
   options.argument(address, "string", "the address", where, 3)
   local parts, why = core.parse_address(address)
   if not parts then
      return nil, ("%s: bad address %q: %s"):format(where, address, why), "resolve"
   end
   if parts.kind == "unix" then
      error(("%s: %s addresses are not available in this version of weft (%s)")
         :format(where, parts.kind, address), 3)
   end
   return parts
end

-- nil, message, code of a function, with its name before the message.
local function named(where, result, message, code)
   if result then return result end
   return nil, ("%s: %s"):format(where, message), code
end

-- Tries each address in order: a stream, or nil, what was tried, the last code.
local function connect_any(addresses, port, open)
   local tried, last = {}, "resolve"
   for _, ip in ipairs(addresses) do
      local stream, message, code = open(ip, port)
      if stream then return stream end
      tried[#tried + 1], last = ("%s (%s)"):format(show(ip, port), message), code
      if code == "timeout" or code == "cancelled" then break end
   end
   return nil, table.concat(tried, ", "), last
end

local function open_stream(ip, port)
   local socket = core.tcp()
   local ok, message, code = socket:connect_ip(ip, port)
   if ok then return socket end
   socket:close()
   return nil, message, code
end

-- Looks the host up and connects to one of its addresses by `open`.
local function connect_by_name(host, port, open)
   local addresses, message, code = core.resolve(host)
   if not addresses then return nil, message, code end
   local result, tried
   result, tried, code = connect_any(addresses, port, open)
   if result then return result end
   return nil, ("cannot connect to %s: %s"):format(show(host, port), tried), code
end

-- Closes a stream that did not become anything, also when its task is cancelled.
local unfinished = { __close = function(self) if self.stream then self.stream:close() end end }

local function shake_hands(stream, made, host)
   local guard <close> = setmetatable({ stream = stream }, unfinished)
   local ok, message, code = tls.connect(stream, made, host)
   if not ok then return nil, message, code end
   guard.stream = nil
   return stream
end

--- A connected stream to host and port; no time limit of its own. recipe: of tls.recipe,
-- for TLS with that host; or nil or false.
function net.connect(host, port, recipe)
   local made, message, code
   if recipe then
      made, message, code = tls.context(recipe)
      if not made then return nil, message, code end
   end
   local stream
   stream, message, code = connect_by_name(host, port, open_stream)
   if not made or not stream then return stream, message, code end
   return shake_hands(stream, made, host)
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

--- weft.dial(address [, opts]) -> stream | nil, message, code
function net.dial(address, opts)
   local parts, message, code = net.parse(address, "weft.dial")
   opts = options.check(opts, limits.dial, "weft.dial", 2)
   local recipe = parts and check_tls(parts, opts, false, "weft.dial")
   if not parts then return nil, message, code end
   if parts.host == "" or parts.port == 0 then
      return nil, ("weft.dial: bad address %q: it needs a host and a port"):format(address),
         "resolve"
   end
   local guard <close> = core.deadline(opts.timeout)
   return named("weft.dial", net.connect(parts.host, parts.port, recipe))
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

--- Listens at an address that net.parse has read, with options that were checked.
function net.listen_at(parts, address, opts, where)
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

local function check_port(port, where)
   local number = math.tointeger(port)
   if not number or number < 0 or number > 65535 then
      error(("%s: the port must be an integer from 0 to 65535, got %s")
         :format(where, tostring(port)), 3)
   end
   return number
end

--- tcp:bind(host, port) -> true | nil, message, code. "*" is every address.
function tcp:bind(host, port)
   options.argument(host, "string", "the host", "tcp:bind", 2)
   port = check_port(port, "tcp:bind")
   if host == "*" then return self:bind_ip("*", port) end
   local addresses, message, code = named("tcp:bind", core.resolve(host))
   if not addresses then return nil, message, code end
   return self:bind_ip(addresses[1], port)
end

--- tcp:connect(host, port) -> true | nil, message, code
function tcp:connect(host, port)
   options.argument(host, "string", "the host", "tcp:connect", 2)
   port = check_port(port, "tcp:connect")
   return named("tcp:connect", connect_by_name(host, port, function(ip)
      return self:connect_ip(ip, port)
   end))
end

-- The handshake is the accepted stream's own affair: nobody else waits for it.
local accept = listener.accept
function listener:accept()
   local stream, message, code = accept(self)
   local made = stream and secured[self]
   if not made then return stream, message, code end
   tls.begin(stream, made)
   return stream
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
