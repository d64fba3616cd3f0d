-- server: a server's connections. A task for each reads heads, routes, answers and
-- keeps the connection alive. Where a request becomes a WebSocket, the user's
-- handler runs as a fresh task and this one ends: its coroutine has grown during
-- the handshake, and would not shrink while the WebSocket idles.

local before = require "weft.before"
local behind = require "weft.behind"
local claims = require "weft.claims"
local core = require "weft.core"
require "weft.content" -- the methods of requests
local framing = require "weft.request"
local guarded = require "weft.guarded"
local gzip = require "weft.gzip"
local net = require "weft.net"
local response = require "weft.response"
local router = require "weft.router"
local static = require "weft.static"
local tls = require "weft.tls"
local upgrade = require "weft.upgrade"

local server = {}

local WEBSOCKET = router.WEBSOCKET
local has_token = core.methods.request.has_token -- each request is asked: no search for it

-- How many refused connections are told why at the same time; the others are
-- just closed, so that a flood of them costs nothing.
local MAX_TURNED_AWAY = 64

-- An error inside is nobody's business outside. What is wrong with an answer has no line of the
-- script's, so the request tells whose it was.
local function answer_500(stream, request, text)
   core.report(("%s %s: %s"):format(request.method, request.path, text))
   return response.refuse(stream, request, 500)
end

-- methods: of the path's routes; mount: that may have a file there, or nil.
local function allow_list(methods, mount)
   local list = { "OPTIONS" }
   local answered = methods.GET or mount
   if methods[WEBSOCKET] or answered then list[2] = "GET" end
   if answered then list[3] = "HEAD" end
   for method in pairs(methods) do
      if method ~= "GET" and method ~= WEBSOCKET then list[#list + 1] = method end
   end
   table.sort(list)
   return table.concat(list, ", ")
end

-- What answers a path that is known to the router, but not with this method.
local function no_such_method(request, methods, mount)
   if request.method == "OPTIONS" then return 204, { allow = allow_list(methods, mount) } end
   local others = next(methods, next(methods))
   if methods[WEBSOCKET] and (request.method == "GET" or not others) then
      return upgrade.required()
   end
   return 405, { allow = allow_list(methods, mount) }, "Method Not Allowed\n"
end

local function mount_for(app, path)
   for _, mount in ipairs(app.mounts) do
      local prefix = mount.prefix
      if path == prefix or path:sub(1, #prefix + 1) == prefix .. "/" then return mount end
   end
end

local function asks_for_file(request)
   return (request.method == "GET" or request.method == "HEAD")
      and not has_token(request, "upgrade", "websocket")
end

-- No route: files, or why there is nothing. Routes of other methods may stand beside a file, as
-- where PUT stores it, or a page beside its WebSocket.
local function fall_back(app, request, path, methods)
   local mount = mount_for(app, path)
   if methods and mount and asks_for_file(request) then
      local status, headers, body = static.answer(mount, request, path)
      if status ~= 404 then return status, headers, body end
   end
   if methods then return no_such_method(request, methods, mount) end
   if mount and request.method == "OPTIONS" then return 204, { allow = "GET, HEAD, OPTIONS" } end
   if mount then return static.answer(mount, request, path) end
   return 404, nil, "Not Found\n"
end

-- Behind a request for a WebSocket that it did not get, a client may have sent
-- frames already: they are not to be parsed as requests.
local function wants_to_stay(request)
   if has_token(request, "connection", "close") or has_token(request, "upgrade", "websocket") then
      return false
   end
   return request.version ~= "1.0" or has_token(request, "connection", "keep-alive")
end

-- What a route's authorize says first: nil, or the answer.
local function admission(route, request)
   local ok, data, headers, body = upgrade.authorize(route, request)
   if not ok then return data, headers, body end
   request.user = data
end

-- What the app's hooks say first, the routes' conditions, the handlers.
local function handle(app, request, path, route, methods)
   if app.hooks[1] then
      local status, headers, body = before.run(app, request, path)
      if status ~= nil then return status, headers, body end
   end
   if not route then return fall_back(app, request, path, methods) end
   if route.authorize then
      local status, headers, body = admission(route, request)
      if status ~= nil then return status, headers, body end
   end
   return route.handler(request)
end

-- Runs the handler and makes its answer ready to be sent; under guarded().
local function produce(app, request, path, route, methods)
   local status, headers, body, state, control, closing =
      handle(app, request, path, route, methods)
   local _ <close> = closing and response.guard(closing)
   if route and route.gzip then
      headers, body, state, control =
         gzip.answer(request, status, headers, body, state, control)
   end
   local keep = not app.closed and status ~= 426 and wants_to_stay(request)
      and framing.can_drain(request)
   return response.plan(request, keep, status, headers, body, state, control, closing)
end

-- A handler that raised because the body was too big, late or malformed (or the query) is
-- answered with that; anything else it raises is an error of its own.
local function answer_failure(stream, request, text)
   local failure = request.failure
   if failure then
      return response.refuse(stream, request, failure.status, nil, failure.message)
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
   stream:settimeout(app.limits.send_timeout, "b") -- a long answer has it again and again
   if params then request.params = params end
   local ok, plan = guarded(produce, app, request, path, route, methods)
   if not ok then return answer_failure(stream, request, plan) end
   return response.send(stream, plan) and framing.drain(request)
end

-- Under guarded(): the refusal's headers may be the user's, and so are the hooks.
local function decide(app, route, request, path)
   if app.hooks[1] then
      local status, headers, body = before.run(app, request, path)
      if status ~= nil then
         return nil, response.plan(request, false, status, headers, body)
      end
   end
   local protocol, status, headers, body = upgrade.decide(route, request)
   if protocol ~= nil then return protocol, status end
   return nil, response.plan(request, false, status, headers, body)
end

local function refuse_as_too_many(stream, status, option)
   return response.refuse(stream, nil, status, { ["retry-after"] = 5 },
      ("too many connections (%s)"):format(option))
end

-- Under max_connections_per_ip a WebSocket holds a claim: its address's record.
local function with_claim(record, handler, ws)
   local _ <close> = record
   handler(ws)
end

-- Nothing of ours stays below the handler, or with a claim one frame. The
-- connection ends with the handler's task from here on, no longer with ours.
local function start_handler(worker, handler, ws)
   local app, record = worker.app, worker.record
   app.upgraded = app.upgraded + 1
   if not record then
      core.own(ws, core.spawn(handler, ws))
      return
   end
   record.taken = record.taken + 1
   core.own(ws, core.spawn(with_claim, record, handler, ws))
end

-- A peer that goes is no news; that memory was out is, and it gets no other answer.
local function tell_memory(message, code)
   if code == "nomem" then core.report(message) end
end

-- False: the connection is no longer this task's.
local function open_websocket(worker, request, path, route, params)
   local app, stream = worker.app, worker.stream
   if params then request.params = params end
   local ok, protocol, data, lines
   if route.authorize or route.protocols or app.hooks[1] then
      ok, protocol, data = guarded(decide, app, route, request, path)
      if not ok then return answer_failure(stream, request, protocol) end
      lines = response.more_lines(request)
   else -- there is no code of the user's that could raise
      protocol, data = decide(app, route, request, path)
   end
   if protocol == nil then
      app.refused = app.refused + 1
      return response.send(stream, data)
   elseif app.closed then
      return response.refuse(stream, request, 503, nil, "the server is closing")
   end
   local ws, why, code = core.ws_accept(stream, request, route.options, app.hub,
      protocol or nil, lines)
   if not ws then
      tell_memory(why, code)
      return false
   end
   if data ~= nil then ws.data = data end
   worker.stream = nil
   start_handler(worker, route.handler, ws)
   return false
end

-- OPTIONS * (RFC 9110 9.3.7). It may have a body, which is no next request.
local function answer_for_all(app, stream, request)
   local limits = app.limits
   local fine, status, why = framing.frame(request, stream, limits.body_timeout, limits.max_body)
   if not fine then return response.refuse(stream, request, status, nil, why) end
   stream:settimeout(limits.send_timeout, "b")
   local keep = wants_to_stay(request) and framing.can_drain(request)
   return response.send(stream, response.plan(request, keep, 204)) and framing.drain(request)
end

-- RFC 9112 3.2: origin-form; absolute-form, as proxies get it, of which that is left; "*" for
-- OPTIONS.
local function path_of(request)
   local path = request.path
   if path:byte() == 47 or (path == "*" and request.method == "OPTIONS") then return path end
end

-- RFC 9112 3.2: one Host, and no request of HTTP/1.1 without it: a name or an address (RFC 3986
-- 3.2.2), perhaps a port, and nothing that steers a URL which a script makes of it. Empty where
-- the target has no authority (RFC 9110 7.2).
local function host_is_valid(request)
   local host = request:header("host")
   if not host then return request.version == "1.0" end
   return (host:find "^[%w._~!$&'()*+;=%%-]*:?%d*$" or host:find "^%[[%w:._~%%-]+%]:?%d*$") ~= nil
end

-- The longest that a request waits for its turn.
local MOST_PATIENCE = 10

-- Over request_rate: true when it has waited for its turn, or how long it would have to.
local function wait_for_turn(app, request)
   if request.remote:find "^unix:" then return true end -- all of this machine's have one address
   local patient = app.limits.over_request_rate == "wait"
   local early = app.request_rate:take(request.remote, core.now(), patient and MOST_PATIENCE or 0)
   if early == 0 then return true end
   app.limited = app.limited + 1
   if not patient or early > MOST_PATIENCE then return early end
   core.sleep(early)
   return true
end

local function refuse_request(worker, request, seconds)
   worker.app.refused = worker.app.refused + 1
   return response.refuse(worker.stream, request, 429, { ["retry-after"] = math.ceil(seconds) },
      "too many requests (request_rate)")
end

-- Answers one request: true when the connection goes on.
local function answer(worker, request)
   local app, stream = worker.app, worker.stream
   if app.request_rate then
      local early = wait_for_turn(app, request)
      if early ~= true then return refuse_request(worker, request, early) end
   end
   local path = path_of(request)
   if not path then
      return response.refuse(stream, request, 400, nil, "a malformed request target")
   elseif has_token(request, "upgrade", "websocket") then
      local route, params = app.router:match(WEBSOCKET, path)
      if route then return open_websocket(worker, request, path, route, params) end
   end
   if not host_is_valid(request) then
      return response.refuse(stream, request, 400, nil, "one Host header field is needed")
   end
   if path == "*" then return answer_for_all(app, stream, request) end
   return exchange(app, stream, request, path)
end

local option_for = { [414] = "max_line", [431] = "max_head" }

local function refuse_head(worker, why, status)
   local app = worker.app
   app.refused = app.refused + 1
   local option = option_for[status]
   if option then why = ("%s (%s, %d bytes)"):format(why, option, app.limits[option]) end
   return response.refuse(worker.stream, nil, status, nil, why)
end

-- The next head of the connection, or nil when that was it.
local function next_request(worker, timeout, head_timeout)
   local app = worker.app
   local limits = app.limits
   worker.idle = true
   local request, why, code, status = core.read_head(worker.stream, "request", limits.max_line,
      limits.max_head, limits.max_fields, timeout, head_timeout)
   worker.idle = false
   if request then
      app.requests = app.requests + 1
      if worker.peer then request.peer_certificate = worker.peer end
      if not app.behind or behind.apply(app.behind, request) then return request end
      why, status = "a malformed Forwarded field", 400
   end
   if status then refuse_head(worker, why, status) end
   tell_memory(why, code)
end

-- The user's hook may raise; the failure is nobody else's business.
local function tell_failure(worker, message)
   local hook = worker.tls.on_failure
   if not hook then return end
   local ok, text = guarded(hook, message, (core.peer(worker.stream)))
   if not ok then core.report(text) end
end

-- TLS, within the same time as the first head: what is left of it, or nil.
local function shake_hands(worker, timeout)
   local app = worker.app
   local started = core.now()
   worker.idle = true
   local ok, resumed = tls.accept(worker.stream, worker.tls, timeout)
   worker.idle = false
   if not ok then
      app.tls_failed = app.tls_failed + 1
      tell_failure(worker, resumed)
      return nil
   end
   app.tls_handshakes = app.tls_handshakes + 1
   if worker.tls.asks then worker.peer = worker.stream:tls().peer end
   if resumed then app.tls_resumed = app.tls_resumed + 1 end
   return math.max(timeout - (core.now() - started), 0.001)
end

local function refuse_preface(worker, message, code)
   local app = worker.app
   if code ~= "protocol" and code ~= "refused" then return tell_memory(message, code) end
   app.refused = app.refused + 1
   if worker.tls then tell_failure(worker, message)
   else response.refuse(worker.stream, nil, code == "refused" and 403 or 400, nil, message) end
end

-- The PROXY protocol, within the same time: what is left of it, or nil. Only then is it known
-- whose connection this is.
local function read_preface(worker, timeout)
   local app, stream = worker.app, worker.stream
   local started = core.now()
   worker.idle = true
   local ok, message, code = behind.take(worker.preface, stream, timeout)
   worker.idle = false
   if not ok then return refuse_preface(worker, message, code) end
   local record, status, option = claims.admit_address(app, core.peer(stream))
   if record == false then
      app.refused = app.refused + 1
      if not worker.tls then refuse_as_too_many(stream, status, option) end
      return nil
   end
   worker.record = record
   return math.max(timeout - (core.now() - started), 0.001)
end

-- A connection of a trusted proxy is nobody's, but each of its requests is a client's.
local function answer_for(worker, request)
   local app = worker.app
   if app.limits.max_connections_per_ip == 0 or not request.forwarded then
      return answer(worker, request)
   end
   local record, status, option = claims.claim(app, request.remote)
   if record == false then
      app.refused = app.refused + 1
      return refuse_as_too_many(worker.stream, status, option)
   end
   worker.record = record
   local goes_on = answer(worker, request)
   if record then claims.release(record) end
   worker.record = nil
   return goes_on
end

-- Of requests that a client sends without waiting for the answers, so many are answered before
-- others have their turn.
local IN_A_ROW = 32

local function converse(worker, timeout)
   local app = worker.app
   local limits = app.limits
   local head_timeout, n = nil, 0
   while not app.closed do -- it may be before the first one
      local request = next_request(worker, timeout, head_timeout)
      if not request or not answer_for(worker, request) then return end
      n = n + 1
      if n % IN_A_ROW == 0 and core.pending(worker.stream) > 0 then core.sleep(0) end
      timeout, head_timeout = limits.keepalive_timeout, limits.handshake_timeout
   end
end

-- One connection from accept to close, or until it is a WebSocket. Should this
-- raise, the stream ends with the task that owns it.
local function serve(worker)
   local timeout = worker.app.limits.handshake_timeout
   core.own(worker.stream)
   if worker.preface then timeout = read_preface(worker, timeout) end
   if timeout and worker.tls then timeout = shake_hands(worker, timeout) end
   if timeout then converse(worker, timeout) end
   if worker.stream then worker.stream:linger() end
end

-- A worker is a task that serves one connection after the other, and rests in
-- between: so a thousand handshakes leave no thousand coroutines to collect.
-- { app, token, stream, record = of its address or nil, idle = between requests,
--   tls = the listener's context or nil, peer = a client's certificate or nil,
--   preface = who has to send the PROXY protocol, or nil }
local worker_class = {}
local MAX_RESTING = 128

-- app.open counts what workers serve; the hub counts the WebSockets.
local function leave(worker)
   worker.app.open = worker.app.open - 1
   if worker.record then claims.release(worker.record) end
   worker.stream, worker.record, worker.peer, worker.busy = nil, nil, nil, false
end

-- Runs at its end, also when it raised, perhaps before it owned the stream.
function worker_class:__close()
   if self.stream then self.stream:close() end
   if self.busy then leave(self) end
   local app = self.app
   app.workers[self] = nil
   for i, resting in ipairs(app.resting) do
      if resting == self then return table.remove(app.resting, i) end
   end
end

local function rest(worker)
   local app = worker.app
   local resting = app.resting
   if app.closed or #resting >= MAX_RESTING then return false end
   resting[#resting + 1] = worker
   repeat core.park() until worker.busy or app.closed
   return worker.busy
end

local function work(worker)
   local _ <close> = worker
   worker.app.workers[worker] = true
   worker.token = core.waiting()
   repeat
      serve(worker)
      leave(worker)
   until not rest(worker)
end

-- Counts last: when memory is out on the way, nothing was counted.
local function start_serving(app, stream, record, context, preface)
   local resting = app.resting
   local worker = resting[#resting]
   if worker then
      resting[#resting] = nil
      worker.stream, worker.record, worker.tls, worker.busy = stream, record, context, true
      worker.preface = preface
      core.unpark(worker.token)
   else
      worker = setmetatable({ app = app, stream = stream, record = record, tls = context,
         preface = preface, busy = true }, worker_class)
      core.spawn(work, worker)
   end
   app.open = app.open + 1
end

local function turn_away(app, stream, status, option)
   core.own(stream)
   refuse_as_too_many(stream, status, option)
   app.turning_away = app.turning_away - 1
end

local function refuse_peer(app, stream, status, option, context)
   app.refused = app.refused + 1
   if app.turning_away >= MAX_TURNED_AWAY or context then
      stream:close()
      return
   end
   core.spawn(turn_away, app, stream, status, option)
   app.turning_away = app.turning_away + 1
end

local function receive_peer(app, stream, context, preface)
   local record, status, option = claims.admit(app, stream, preface)
   if record == false then return refuse_peer(app, stream, status, option, context) end
   if not record then return start_serving(app, stream, record, context, preface) end
   local ok, err = pcall(start_serving, app, stream, record, context, preface)
   if ok then return end
   claims.release(record)
   error(err, 0)
end

-- Until accept fails: message, code. A peer for whom memory is out is let go at once.
local function receive_peers(app, listener, context, preface)
   while true do
      local stream, message, code = net.accept(listener)
      if not stream then return message, code end
      app.accepted = app.accepted + 1
      local ok, err = pcall(receive_peer, app, stream, context, preface)
      if not ok then
         stream:close()
         error(err, 0)
      end
   end
end

local PAUSE = 0.1

--- The task of one listener; ends when it is closed, or when the system cannot accept any
-- more. When memory runs out it tells so, and goes on in better times.
function server.accept(app, listener, context, preface)
   repeat
      local ok, message, code = guarded(receive_peers, app, listener, context, preface)
      if ok and (code == "closed" or code == "timeout") then return end
      core.report(ok and ("%s: %s"):format(listener, message) or message)
   until ok and code ~= "nomem" or not core.sleep(PAUSE)
end

--- No more connections come, those that wait for a request end, and so do workers that rest.
function server.retire(app)
   if app.closed then return end
   app.closed = true
   for listener in pairs(app.listeners) do listener:close() end
   app.desk.sweeper:wake()
   for worker in pairs(app.workers) do
      if worker.idle then worker.stream:close() end
   end
   for _, worker in ipairs(app.resting) do core.unpark(worker.token) end
   app.resting = {}
end

--- Ends those whose requests are still answered; how many.
function server.cut(app)
   local n = 0
   for worker in pairs(app.workers) do
      if worker.stream then
         worker.stream:close()
         n = n + 1
      end
   end
   return n
end

return server
