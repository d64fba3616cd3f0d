-- app: weft.app, the server a user sees: routes, listeners, one hub of topics.

local before = require "weft.before"
local browser = require "weft.browser"
local channels = require "weft.channels"
local behind = require "weft.behind"
local core = require "weft.core"
local cors = require "weft.cors"
local draining = require "weft.draining"
local events = require "weft.events"
local server = require "weft.server"
local limits = require "weft.limits"
local net = require "weft.net"
local options = require "weft.options"
local publisher = require "weft.publisher"
local rate = require "weft.rate"
local router = require "weft.router"
local static = require "weft.static"
local tls = require "weft.tls"
local topics = require "weft.topics"
require "weft.membership"
local upgrade = require "weft.upgrade"

local app = {}
for name, method in pairs(topics.methods) do app[name] = method end
for name, method in pairs(channels.methods) do app[name] = method end
app.__index = app
app.__name = "weft.app"

-- A limit for each address, or nil.
local function limiter(opts, name)
   local per_second, burst = opts[name .. "_rate"], opts[name .. "_burst"]
   if per_second == 0 then return nil end
   return rate.new(per_second, burst > 0 and burst or per_second, opts.max_addresses)
end

--- weft.app { ... }
local function new(opts)
   opts = options.check(opts, limits.app, "weft.app", 2)
   upgrade.compile(opts, "weft.app", 2) -- raises here, not at the first route
   local self = setmetatable({ limits = opts, router = router.new(), mounts = {},
      listeners = {}, workers = {}, resting = {}, addresses = {}, closed = false,
      streams = {}, streaming = 0, -- of events
      hooks = {}, websocket_routes = {}, limited = 0,
      behind = behind.rule(opts),
      connection_rate = limiter(opts, "connection"), request_rate = limiter(opts, "request"),
      contexts = {}, tls_handshakes = 0, tls_resumed = 0, tls_failed = 0,
      open = 0, accepted = 0, requests = 0, upgraded = 0, refused = 0, turning_away = 0,
   }, app)
   self.board = topics.board(self)
   self.hub = self.board.hub
   self.desk = channels.desk(self)
   self.members = {} -- membership.lua's: who raw connections are, by topic
   return self
end

--- app:websocket(pattern, handler [, opts])
function app:websocket(pattern, handler, opts)
   options.argument(handler, "function", "the handler", "app:websocket", 2)
   opts = options.check(opts, limits.websocket_route, "app:websocket", 2, self.limits)
   local route = upgrade.route(handler, opts, "app:websocket", 2)
   upgrade.count(self, route)
   self.router:add(router.WEBSOCKET, pattern, route, 2)
   return self
end

--- app:get(pattern, handler [, opts]), and post, put, patch, delete alike.
for _, method in ipairs { "get", "post", "put", "patch", "delete" } do
   app[method] = function(self, pattern, handler, opts)
      local where = "app:" .. method
      options.argument(handler, "function", "the handler", where, 2)
      local own = self.limits
      opts = options.check(opts, limits.route, where, 2, { max_body = own.max_body,
         authorize_timeout = own.authorize_timeout, gzip = own.gzip })
      local route = { handler = handler, max_body = opts.max_body, authorize = opts.authorize,
         authorize_timeout = opts.authorize_timeout, gzip = opts.gzip }
      self.router:add(method:upper(), pattern, route, 2)
      return self
   end
end

app.publisher, app.drain = publisher.method, draining.method
app.events, app.before, app.cors = events.route, before.method, cors.method

local function longest_first(a, b)
   return #a.prefix > #b.prefix
end

--- app:static(prefix, dir [, opts])
function app:static(prefix, dir, opts)
   options.argument(prefix, "string", "the prefix", "app:static", 2)
   options.argument(dir, "string", "the directory", "app:static", 2)
   if prefix:sub(1, 1) ~= "/" then
      error(('app:static: the prefix must begin with "/", got %q'):format(prefix), 2)
   end
   opts = options.check(opts, limits.static, "app:static", 2)
   local mount = static.mount(prefix, dir, opts, 2)
   for _, other in ipairs(self.mounts) do
      if other.prefix == mount.prefix then
         error(("app:static: %q is taken already"):format(prefix), 2)
      end
   end
   table.insert(self.mounts, mount)
   table.sort(self.mounts, longest_first)
   return self
end

--- app:client([path [, opts]]): weft.js, and its types beside it
function app:client(path, opts)
   path = path or "/weft.js"
   options.argument(path, "string", "the path", "app:client", 2)
   local types, n = path:gsub("%.js$", ".d.ts")
   if n == 0 then error(('app:client: the path must end in ".js", got %q'):format(path), 2) end
   opts = options.check(opts, limits.client_files, "app:client", 2)
   local module, declarations = browser.handlers(opts, "app:client", 2)
   self.router:add("GET", path, { handler = module, max_body = 0 }, 2)
   self.router:add("GET", types, { handler = declarations, max_body = 0 }, 2)
   return self
end

--- app:listen(address [, opts]) -> the address it has, its port
function app:listen(address, opts)
   local parts, message, code = net.parse(address, "app:listen")
   opts = options.check(opts, limits.app_listen, "app:listen", 2)
   -- without ALPN a client may guess HTTP/2, which is not spoken here
   local recipe = parts and net.check_tls(parts, opts, true, "app:listen", { "http/1.1" })
   if not parts then return nil, message, code end
   if self.closed then return nil, "app:listen: the app is closed", "closed" end
   channels.check(self, 2)
   local made, listener
   if recipe then
      made, message, code = tls.context(recipe)
      if not made then return nil, "app:listen: " .. message, code end
   end
   listener, message, code = net.listen_at(parts, address, opts, "app:listen")
   if not listener then return nil, message, code end
   self.contexts[listener] = made
   self.listeners[listener] = core.spawn(server.accept, self, listener, made,
      behind.listener(opts.proxy_protocol))
   channels.begin(self)
   return net.name(listener)
end

--- app:stats() -> a table of counts
function app:stats()
   local websockets = self.hub:connections()
   local stats = { streams = self.streaming, limited = self.limited,
      connections = self.open + websockets, websockets = websockets,
      accepted = self.accepted, requests = self.requests, upgraded = self.upgraded,
      refused = self.refused, tls_handshakes = self.tls_handshakes,
      tls_resumed = self.tls_resumed, tls_failed = self.tls_failed }
   return topics.stats(self, upgrade.stats(self, stats))
end

--- app:reload_tls() -> true | nil, message, "tls": reads certificates and keys of every
-- listener again. Open connections stay as they are; when one fails all stay.
function app:reload_tls()
   local list = {}
   for _, made in pairs(self.contexts) do list[#list + 1] = made end
   return tls.reload(list, "app:reload_tls")
end

--- app:close(): stops listening, ends idle connections, asks every WebSocket to
-- close with 1001 (RFC 6455 7.4.1: going away), and ends subscriptions. Does not wait.
function app:close()
   server.retire(self)
   self.hub:close(1001, "going away")
   events.stop(self)
   topics.stop(self)
   return true
end

app.__close = app.close

function app:__tostring()
   local addresses = {}
   for listener in pairs(self.listeners) do
      addresses[#addresses + 1] = self.closed and "closed" or tostring(listener)
   end
   return ("weft.app (%s)"):format(table.concat(addresses, ", "))
end

return { new = new, methods = app }
