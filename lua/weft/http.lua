-- http: a server's connections. A task for each reads heads, routes, answers and
-- keeps the connection alive. Where a request becomes a WebSocket, the user's
-- handler runs as a fresh task and this one ends: its coroutine has grown during
-- the handshake, and would not shrink while the WebSocket idles.

local core = require "weft.core"
local framing = require "weft.request"
local response = require "weft.response"
local router = require "weft.router"
local static = require "weft.static"
local upgrade = require "weft.upgrade"

local http = {}

local WEBSOCKET = router.WEBSOCKET

-- How many refused connections are told why at the same time; the others are
-- just closed, so that a flood of them costs nothing.
local MAX_TURNED_AWAY = 64

-- The traceback is made where the error happened. A cancelled task's error is
-- left alone: it has to end the task.
local function on_raise(err)
   if core.is_cancel(err) then return { cancel = err } end
   return { text = debug.traceback(tostring(err), 2) }
end

-- Calls the user's code: true and two results, or false and a traceback.
local function guarded(f, ...)
   local ok, first, second = xpcall(f, on_raise, ...)
   if ok then return true, first, second end
   if first.cancel ~= nil then error(first.cancel, 0) end
   return false, first.text
end

-- An error inside is nobody's business outside.
local function answer_500(stream, request, text)
   core.report(text)
   return response.refuse(stream, request, 500)
end

local function allow_list(methods)
   local list = { "OPTIONS" }
   if methods[WEBSOCKET] or methods.GET then list[2] = "GET" end
   if methods.GET then list[3] = "HEAD" end
   for method in pairs(methods) do
      if method ~= "GET" and method ~= WEBSOCKET then list[#list + 1] = method end
   end
   table.sort(list)
   return table.concat(list, ", ")
end

-- What answers a path that is known to the router, but not with this method.
local function no_such_method(request, methods)
   if request.method == "OPTIONS" then return 204, { allow = allow_list(methods) } end
   local others = next(methods, next(methods))
   if methods[WEBSOCKET] and (request.method == "GET" or not others) then
      return upgrade.required()
   end
   return 405, { allow = allow_list(methods) }, "Method Not Allowed\n"
end

local function mount_for(app, path)
   for _, mount in ipairs(app.mounts) do
      local prefix = mount.prefix
      if path == prefix or path:sub(1, #prefix + 1) == prefix .. "/" then return mount end
   end
end

-- No route: files, or why there is nothing.
local function fall_back(app, request, path, methods)
   local mount = not methods and mount_for(app, path)
   if mount and request.method == "OPTIONS" then
      return 204, { allow = "GET, HEAD, OPTIONS" }
   elseif mount then
      return static.answer(mount, request, path)
   elseif methods then
      return no_such_method(request, methods)
   end
   return 404, nil, "Not Found\n"
end

local function wants_to_stay(request)
   if request:has_token("connection", "close") then return false end
   return request.version ~= "1.0" or request:has_token("connection", "keep-alive")
end

-- Runs the handler and makes its answer ready to be sent; under guarded().
local function produce(app, request, path, route, methods)
   local status, headers, body
   if route then
      status, headers, body = route.handler(request)
   else
      status, headers, body = fall_back(app, request, path, methods)
   end
   local keep = not app.closed and status ~= 426 and wants_to_stay(request)
      and framing.can_drain(request)
   return response.plan(request, keep, status, headers, body)
end

-- A handler that raised because the body was too big, late or malformed is
-- answered with that; anything else it raises is an error of its own.
local function answer_failure(stream, request, text)
   local body = request.framing
   if body and body.failed then
      return response.refuse(stream, request, body.status, nil, body.message)
   end
   return answer_500(stream, request, text)
end

-- One request and its response: true when the connection goes on.
local function exchange(app, stream, request, path)
   local route, params, methods = app.router:match(request.method, path)
   if route == false then
      return response.refuse(stream, request, 400, nil, "a malformed path")
   end
   local limits = route or app.limits
   local fine, status, why = framing.frame(request, stream, app.limits.body_timeout,
      limits.max_body)
   if not fine then return response.refuse(stream, request, status, nil, why) end
   request.params = params or {}
   local ok, plan = guarded(produce, app, request, path, route, methods)
   if not ok then return answer_failure(stream, request, plan) end
   return response.send(stream, plan) and framing.drain(request)
end

-- Under guarded(): the refusal's headers may be the user's.
local function decide(route, request)
   local protocol, status, headers, body = upgrade.decide(route, request)
   if protocol ~= nil then return protocol, status end
   return nil, response.plan(request, false, status, headers, body)
end

-- A seat is a connection's place under the limits while it speaks HTTP; app.open
-- counts them, and the hub counts the WebSockets. All connections of an app share
-- one, or, under max_connections_per_ip, all of one address: it counts them for as
-- long as they live. So holding a seat costs a connection nothing.
local seat, claim = {}, {}

local function release_ip(self)
   self.taken = self.taken - 1
   if self.taken == 0 then self.app.seats[self.ip] = nil end
end

function seat:__close()
   self.app.open = self.app.open - 1
   if self.ip then release_ip(self) end
end

-- What a WebSocket keeps of it.
function claim:__close()
   release_ip(self.seat)
end

function http.new_seat(app, ip)
   local self = setmetatable({ app = app, ip = ip, taken = 0 }, seat)
   self.claim = ip and setmetatable({ seat = self }, claim)
   return self
end

local function seat_of(app, stream)
   if app.limits.max_connections_per_ip == 0 then return app.seat end
   local ip = stream:getpeername() or "unknown"
   app.seats[ip] = app.seats[ip] or http.new_seat(app, ip)
   return app.seats[ip]
end

-- Takes a seat; or nil, status, the option that says no.
local function admit(app, stream)
   local limits = app.limits
   if app.open + app.hub:connections() >= limits.max_connections then
      return nil, 503, "max_connections"
   end
   local place = seat_of(app, stream)
   if place.ip then
      if place.taken >= limits.max_connections_per_ip then
         return nil, 429, "max_connections_per_ip"
      end
      place.taken = place.taken + 1
   end
   app.open = app.open + 1
   return place
end

local function with_claim(place, handler, ws)
   local _ <close> = place.claim
   handler(ws)
end

-- The first steps of a handler's task. A tail call leaves nothing of ours below
-- the handler; with a claim it is one frame.
local function begin(former, handler, ws, place)
   core.own(ws)
   core.unpark(former)
   if place.ip then return with_claim(place, handler, ws) end
   return handler(ws)
end

-- Waits until the handler's task owns the connection, which is ours so far.
local function start_handler(app, handler, ws, place)
   app.upgraded = app.upgraded + 1
   if place.ip then place.taken = place.taken + 1 end
   core.spawn(begin, core.waiting(), handler, ws, place)
   core.park()
end

-- False: the connection is no longer this task's.
local function open_websocket(app, stream, request, route, params, place)
   if params then request.params = params end
   local ok, protocol, data = guarded(decide, route, request)
   if not ok then return answer_500(stream, request, protocol) end
   if protocol == nil then
      app.refused = app.refused + 1
      return response.send(stream, data)
   end
   if app.closed then
      return response.refuse(stream, request, 503, nil, "the server is closing")
   end
   local ws = core.ws_accept(stream, request, route.options, app.hub, protocol or nil)
   if not ws then return false end
   if data ~= nil then ws.data = data end
   start_handler(app, route.handler, ws, place)
   return false
end

-- RFC 9112 3.2: origin-form; absolute-form, as proxies get it; "*" for OPTIONS.
local function path_of(request)
   local path = request.path
   if path:byte() == 47 then return path end
   local authority, rest = path:match("^[hH][tT][tT][pP][sS]?://([^/]+)(.*)$")
   return authority and (rest == "" and "/" or rest)
end

-- RFC 9112 3.2: one Host, and no request of HTTP/1.1 without it.
local function host_is_valid(request)
   local host = request:header("host")
   if not host then return request.version == "1.0" end
   return not host:find("[,%s]")
end

-- Answers one request: true when the connection goes on.
local function answer(app, stream, request, place)
   local path = path_of(request)
   if not path and request.path == "*" and request.method == "OPTIONS" then
      return response.send(stream, response.plan(request, wants_to_stay(request), 204))
   elseif not path then
      return response.refuse(stream, request, 400, nil, "a malformed request target")
   elseif request:has_token("upgrade", "websocket") then
      local route, params = app.router:match(WEBSOCKET, path)
      if route then return open_websocket(app, stream, request, route, params, place) end
   end
   if not host_is_valid(request) then
      return response.refuse(stream, request, 400, nil, "one Host header field is needed")
   end
   return exchange(app, stream, request, path)
end

local option_for = { [414] = "max_line", [431] = "max_head" }

local function refuse_head(app, stream, why, status)
   app.refused = app.refused + 1
   local option = option_for[status]
   if option then why = ("%s (%s, %d bytes)"):format(why, option, app.limits[option]) end
   return response.refuse(stream, nil, status, nil, why)
end

-- The next head of the connection, or nil when that was it.
local function next_request(app, stream, timeout)
   local limits = app.limits
   app.waiting[stream] = true
   local request, why, _, status = core.read_head(stream, "request", limits.max_line,
      limits.max_head, limits.max_fields, timeout)
   app.waiting[stream] = nil
   if request then
      app.requests = app.requests + 1
      return request
   end
   if status then refuse_head(app, stream, why, status) end
end

-- One connection from accept to close, or until it is a WebSocket. Should this
-- raise, the stream ends with the task that owns it.
local function serve(app, stream, place)
   local _ <close> = place
   local limits = app.limits
   core.own(stream)
   stream:settimeout(limits.send_timeout)
   local timeout = limits.handshake_timeout
   repeat
      local request = next_request(app, stream, timeout)
      timeout = limits.keepalive_timeout
   until not request or not answer(app, stream, request, place) or app.closed
   stream:linger()
end

-- Tasks that have served a connection wait here for the next one, so that a
-- thousand handshakes leave no thousand coroutines to collect.
local MAX_RESTING = 32

local function rest(app)
   local resting = app.resting
   if app.closed or #resting >= MAX_RESTING then return nil end
   local place = { token = core.waiting() }
   resting[#resting + 1] = place
   repeat core.park() until place.woken
   return place.stream, place.seat
end

local function worker(app, stream, place)
   while stream do
      serve(app, stream, place)
      stream, place = rest(app)
   end
end

local function give(resting, stream, place)
   local waiting = table.remove(resting)
   waiting.woken, waiting.stream, waiting.seat = true, stream, place
   core.unpark(waiting.token)
end

local function start_serving(app, stream, place)
   if app.resting[1] then give(app.resting, stream, place)
   else core.spawn(worker, app, stream, place) end
end

--- Lets the resting tasks end.
function http.stop(app)
   while app.resting[1] do give(app.resting) end
end

local function turn_away(app, stream, status, option)
   core.own(stream)
   stream:settimeout(app.limits.send_timeout)
   response.refuse(stream, nil, status, { ["retry-after"] = 5 },
      ("too many connections (%s)"):format(option))
   app.turning_away = app.turning_away - 1
end

local function receive_peer(app, stream)
   app.accepted = app.accepted + 1
   local place, status, option = admit(app, stream)
   if place then
      start_serving(app, stream, place)
      return
   end
   app.refused = app.refused + 1
   if app.turning_away >= MAX_TURNED_AWAY then
      stream:close()
      return
   end
   app.turning_away = app.turning_away + 1
   core.spawn(turn_away, app, stream, status, option)
end

--- The task of one listener; ends when it is closed.
function http.accept(app, listener)
   for stream in listener:each() do receive_peer(app, stream) end
end

return http
