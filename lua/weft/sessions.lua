-- sessions: weft.1 where WebSockets are blocked: what the server says goes as Server-Sent Events,
-- what the client says comes by POST. A session is a transport for peer.lua, and lives as long
-- as its stream of events.

local core = require "weft.core"
local events = require "weft.events"
local json = require "weft.json"
local outbox = require "weft.outbox"
local peer = require "weft.peer"
local rate = require "weft.rate"
local topics = require "weft.topics"
local upgrade = require "weft.upgrade"
local wire = require "weft.wire"

local sessions = {}

-- { id=, desk=, peer=, request=, data=, who=, outbox=, heard=, over=, muted=, places=, writer= the
-- task that sends, draining= one that waits until much is sent }
local session = {}
session.__index = session

local function wake(self)
   if self.writer then core.unpark(self.writer) end
end

--- Ends it, without waiting, also where it waits for a client that takes nothing. Whoever comes
-- back opens another one.
function session:close()
   if self.over then return end
   self.over = true
   self.task:cancel()
end

function session:push(text)
   if self.muted then return true end
   if self.over then return nil, "closed", "closed" end
   if not self.outbox:add(text) then
      self:close()
      return nil, "the client is too slow (hard_mark)", "too_big"
   end
   wake(self)
   return true
end

function session:room()
   return self.outbox:room()
end

function session:is_full()
   return not self.over and self.outbox.bytes > self.desk.limits.high_mark
end

function session:drain()
   self.draining = core.waiting()
   while self:is_full() do core.park() end
   self.draining = nil
end

-- What is sent makes room.
local function tell_room(self)
   if self.draining then core.unpark(self.draining) end
end

-- What a listener is called with: false when the client does not get it.
local function offer(self, place, text, info, rules)
   local bounds = info and rules and rules.queue
   if not bounds then return self:push(text) == true end
   if self.over then return false end
   local taken = place:add(text, info.key, bounds)
   if taken == nil then self:close() end
   wake(self)
   return taken == true
end

-- The limits that core holds connections to.
local function limit_reached(self, topic)
   local app = self.desk.app
   if self.peer.count >= app.limits.max_topics_per_connection then
      return "too many topics (max_topics_per_connection)"
   end
   local rules = topics.options_of(app, topic)
   local most = rules and rules.max_subscribers
   if most and app:subscribers(topic) >= most then
      return "the topic is full (max_subscribers)"
   end
end

function session:attach(topic)
   local why = limit_reached(self, topic)
   if why then return nil, why, "too_big" end
   local app = self.desk.app
   local place = self.outbox:place(topic, app.board)
   place.listener = topics.listen(app, topic, function(text, info, rules)
      return offer(self, place, text, info, rules)
   end, topics.ENVELOPE)
   place.listener.backlog = place.backlog
   self.places[topic] = place
   return true
end

function session:detach(topic)
   local place = self.places[topic]
   if not place then return end
   self.places[topic] = nil
   place.listener:close()
   place:close()
end

-- However the stream ends; the hooks of its subscriptions may wait, which its task cannot any
-- more.
function session:__close()
   self.over = true
   tell_room(self)
   self.desk.sessions[self.id] = nil
   self.desk.session_count = self.desk.session_count - 1
   core.spawn(self.peer.close, self.peer)
end

-- What is there, one event after the other: false when the client has gone.
local function write_all(self, stream)
   for text in self.outbox.next, self.outbox do
      if not stream:send(text) then return false end
      tell_room(self)
   end
   return true
end

-- What core does to a WebSocket over its rates, unless that is to drop; nil, or the answer to a
-- POST of so many requests and bytes.
local function hold_to_rate(self, n, bytes)
   local budget, rates, now = self.budget, self.desk.rates, core.now()
   if not budget then return nil end
   local wait = self.desk.limits.over_rate == "wait"
   local early = wait and budget:delay(now) or 0
   if early > 0 then
      rates.waited = rates.waited + 1
      return 429, math.ceil(early), "too many requests (message_rate, byte_rate)\n"
   elseif not budget:take(n, bytes, now, wait) and not wait then
      rates.closed = rates.closed + 1
      self:close()
      return 403, nil, "over message_rate or byte_rate\n"
   end
end

-- The task of a stream of events.
local function run(self, stream)
   local timeout = self.desk.limits.session_timeout
   stream:send(json.encode { session = self.id, timeout = timeout }, { event = "session" })
   self.writer = core.waiting()
   while write_all(self, stream) do
      local left = self.heard + timeout - core.now()
      if left <= 0 then break end
      core.park(left)
   end
end

local function open(desk, stream, request)
   local self = setmetatable({ id = sessions.new_id(), desk = desk, request = request,
      who = request, data = stream.data, outbox = outbox.new(desk.limits.hard_mark),
      heard = core.now(), over = false, task = core.current(), places = {} }, session)
   self.peer = peer.new(desk, self, desk.limits)
   if not self.peer.budget then self.budget = rate.budget(desk.limits, core.now()) end
   desk.sessions[self.id], desk.session_count = self, desk.session_count + 1
   local _ <close> = self
   run(self, stream)
end

local to_url = { ["+"] = "-", ["/"] = "_", ["="] = "" } -- RFC 4648 5

--- 128 bits that nobody can guess.
function sessions.new_id()
   return (core.base64(core.random(16)):gsub("[+/=]", to_url))
end

-- The origin of a page that is let in by name may read the answer (Fetch 3.2.5).
local function shared_with(request)
   local from = request:header "origin"
   return from and { ["access-control-allow-origin"] = from, vary = "Origin",
      ["access-control-expose-headers"] = "Retry-After" } or {}
end

local function wants_events(request)
   local accept = request:header "accept" or ""
   return accept:lower():find("text/event-stream", 1, true) ~= nil
end

-- The answer where there are as many as may be.
local function too_many(desk)
   if desk.session_count < desk.limits.max_sessions then return nil end
   return 503, { ["retry-after"] = 5 }, "too many sessions (max_sessions)\n"
end

local function answer_events(desk, route, request)
   local opts = desk.limits
   if not opts.fallback or not wants_events(request) then return upgrade.required() end
   if not upgrade.origin_allowed(route, request) then
      return 403, nil, "this origin is not in the option origins\n"
   end
   local status, headers, source = too_many(desk)
   if status then return status, headers, source end
   local ok, data, fields, body = upgrade.authorize(opts, request, opts.hook_timeout)
   if not ok then return data, fields, body end
   status, headers, source = too_many(desk) -- others may have come meanwhile
   if status then return status, headers, source end
   status, headers, source = events.answer(desk.app, request,
      function(stream) open(desk, stream, request) end,
      { heartbeat = opts.heartbeat, data = data })
   for name, value in pairs(shared_with(request)) do headers[name] = value end
   return status, headers, source
end

-- A body as requests, its size | nil, status, why
local function read_body(desk, request)
   local opts = desk.limits
   local body, message, code = request:body(opts.max_message)
   if code == "too_big" then
      return nil, 413, ("over max_message (%d bytes)\n"):format(opts.max_message)
   end
   assert(body, message) -- other failures have their own answers
   if not utf8.len(body) then return nil, 400, "the body is not UTF-8\n" end
   local list, why = wire.read(body, opts.max_depth)
   if not list then return nil, 400, why .. "\n" end
   if #list > opts.max_in_flight then return nil, 413, "too many requests (max_in_flight)\n" end
   return list, #body
end

local function answer_post(desk, route, request)
   if not upgrade.origin_allowed(route, request) then
      return 403, nil, "this origin is not in the option origins\n"
   end
   local headers = shared_with(request)
   local self = desk.sessions[request:arg "session" or ""]
   if not self or self.over then return 404, headers, "no such session\n" end
   local list, size, why = read_body(desk, request)
   if not list then return size, headers, why end
   self.heard = core.now()
   if self.peer:is_busy() or self.outbox.bytes > desk.limits.high_mark then
      headers["retry-after"] = 1
      return 429, headers, "too much is under way (max_in_flight)\n"
   end
   local status, later, text = hold_to_rate(self, #list, size)
   if status then
      headers["retry-after"] = later
      return status, headers, text
   end
   self.peer:take_all(list, size)
   return 204, headers
end

--- The routes beside the WebSocket's.
function sessions.add_routes(desk, path, route, level)
   desk.sessions, desk.session_count = {}, 0
   local app = desk.app
   app.router:add("GET", path, { max_body = 0,
      handler = function(request) return answer_events(desk, route, request) end }, level + 1)
   if not desk.limits.fallback then return end
   app.router:add("POST", path, { max_body = desk.limits.max_message,
      handler = function(request) return answer_post(desk, route, request) end }, level + 1)
end

return sessions
