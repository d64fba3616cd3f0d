-- upgrade: a server's side of the opening handshake (RFC 6455 4.2), as far as
-- it is policy: who may come in, with which subprotocol, or which refusal is
-- answered. core.judge decides whether the request is valid at all.

local checks = require "weft.checks"
local core = require "weft.core"
local compression = require "weft.compression"
local origin = require "weft.origin"
local response = require "weft.response"
local trim = require "weft.trim"

local upgrade = {}

local header = core.methods.request.header -- each request is asked: no search for it

--- core's compiled form of the connection's options; raises for the user when
-- the marks contradict each other. client: for that role.
function upgrade.compile(opts, where, level, client)
   if opts.low_mark > opts.high_mark or opts.high_mark > opts.hard_mark then
      local message = "%s: low_mark (%d), high_mark (%d) and hard_mark (%d) must be in that order"
      error(message:format(where, opts.low_mark, opts.high_mark, opts.hard_mark), level + 1)
   end
   return core.ws_options {
      compression = compression.compile(opts.compression, client, where, level + 1),
      max_message = opts.max_message, max_fragments = opts.max_fragments,
      max_empty = opts.max_empty_fragments,
      ping_interval = opts.ping_interval, ping_timeout = opts.ping_timeout,
      close_timeout = opts.close_timeout, idle_timeout = opts.idle_timeout,
      send_timeout = opts.send_timeout, high = opts.high_mark, low = opts.low_mark,
      hard = opts.hard_mark, inbox_messages = opts.inbox_messages,
      inbox_bytes = opts.inbox_bytes,
      message_rate = opts.message_rate, message_burst = opts.message_burst,
      byte_rate = opts.byte_rate, byte_burst = opts.byte_burst, over_rate = opts.over_rate,
   }
end

--- The offered subprotocols in order, or nil when the field is malformed or
-- names one twice (RFC 6455 4.1).
function upgrade.offered(field)
   local list = {}
   for element in (field .. ","):gmatch("([^,]*),") do
      local name = trim(element)
      if name ~= "" then -- RFC 9110 5.6.1: empty list elements are ignored
         if not checks.is_token(name) or list[name] then return nil end
         list[#list + 1], list[name] = name, true
      end
   end
   return list[1] and list
end

-- The server's preference decides. nil: go on without one (RFC 6455 4.2.2).
local function choose(protocols, offered, request)
   if type(protocols) == "function" then
      local plain = table.move(offered, 1, #offered, 1, {})
      local name = protocols(plain, request)
      if name and (type(name) ~= "string" or not offered[name]) then
         error(("protocols returned %q, which the client did not offer"):format(tostring(name)), 0)
      end
      return name or nil
   end
   for _, name in ipairs(protocols) do
      if offered[name] then return name end
   end
end

-- nil, status, headers, text: as an HTTP handler would return them.
local function refuse(status, headers, text)
   return nil, status, headers, text
end

local function judge(request)
   local status, why, bad_version = core.judge(request)
   if status == 101 then return true end
   local headers
   if bad_version then
      headers = { ["sec-websocket-version"] = "13", upgrade = "websocket" }
   elseif status == 426 then
      headers = { upgrade = "websocket" }
   elseif status == 405 then
      headers = { allow = "GET" }
   end
   return refuse(status, headers, why)
end

--- What answers a plain request on a path that only speaks WebSocket.
function upgrade.required()
   return 426, { upgrade = "websocket" }, "this is a WebSocket endpoint"
end

-- RFC 6455 10.2; RFC 6454 7.3: one field at most.
function upgrade.origin_allowed(route, request)
   local from = header(request, "origin")
   if not from then return true end
   local told = request.forwarded
   return request:count("origin") == 1
      and origin.allowed(from, told and told.host or header(request, "host"), route.origins,
         told and told.scheme)
end

local function protocol_for(route, request)
   local field = route.protocols and header(request, "sec-websocket-protocol")
   if not field then return true end
   local offered = upgrade.offered(request.headers["sec-websocket-protocol"])
   if not offered then return refuse(400, nil, "a malformed Sec-WebSocket-Protocol") end
   return true, choose(route.protocols, offered, request)
end

--- A refusal without a status: 403, unless it is one because nobody answered in time.
local function usual_status(began, timeout)
   if core.now() - began < timeout then return 403 end
   return 503, { ["retry-after"] = 5 }, "authorization took too long (authorize_timeout)\n"
end

-- true, data, or the refusal that the user chose. timeout: instead of the route's own.
local function authorize(route, request, timeout)
   if not route.authorize then return true end
   timeout = timeout or route.authorize_timeout
   local began, guard <close> = core.now(), core.deadline(timeout)
   local data, status, headers, body = route.authorize(request)
   if data then return true, data ~= true and data or nil end
   if status == nil then status, headers, body = usual_status(began, timeout) end
   if math.type(status) ~= "integer" or status < 300 or status > 599 then
      error("authorize must return data, or nil and a status from 300 to 599", 0)
   end
   return refuse(status, headers, body or response.reasons[status])
end

upgrade.authorize = authorize

--- Decides about a request on a WebSocket route:
--   protocol | false, data        let it in
--   nil, status, headers, body    refuse it
-- Errors of the user's functions go through.
function upgrade.decide(route, request)
   local ok, status, headers, text = judge(request)
   if not ok then return nil, status, headers, text end
   if not upgrade.origin_allowed(route, request) then
      return refuse(403, nil, "this origin is not in the option origins")
   end
   local protocol
   ok, protocol, headers, text = protocol_for(route, request)
   if not ok then return nil, protocol, headers, text end
   local data
   ok, data, headers, text = authorize(route, request)
   if not ok then return nil, data, headers, text end
   return protocol or false, data
end

--- A route for the router; opts were checked.
function upgrade.route(handler, opts, where, level)
   return { handler = handler, options = upgrade.compile(opts, where, level + 1),
      origins = origin.compile(opts.origins), protocols = opts.protocols,
      authorize = opts.authorize, authorize_timeout = opts.authorize_timeout }
end

--- From now on app:stats() counts what is over the route's rates.
function upgrade.count(app, route)
   table.insert(app.websocket_routes, route)
end

--- Fields of app:stats().
function upgrade.stats(app, stats)
   local others = app.desk.rates -- what channels count themselves
   local waited, dropped, closed = others.waited, others.dropped, others.closed
   for _, route in ipairs(app.websocket_routes) do
      local w, d, c = route.options:rates()
      waited, dropped, closed = waited + w, dropped + d, closed + c
   end
   stats.rate_waited, stats.rate_dropped, stats.rate_closed = waited, dropped, closed
   return stats
end

return upgrade
