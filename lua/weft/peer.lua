-- peer: one client of channels (doc/protocol.md), over a transport that it does not know
-- closer: { ws=, request=, data=, who=, push(text), room(), is_full(), drain(), attach(topic),
-- detach(topic), close(code, reason) }, of which drain() alone waits, until the client has taken
-- what it was sent. Requests for a topic are done one after the other, in its lane; a call leaves
-- the lane once it has begun.

local context = require "weft.context"
local core = require "weft.core"
local event_name = require "weft.checks".event_name
local guarded = require "weft.guarded"
local json = require "weft.json"
local list = require "weft.list"
local rate = require "weft.rate"
local topics = require "weft.topics"
local weft1 = require "weft.weft1"
local wire = require "weft.wire"

local peer = {}
peer.__index = peer

local MAX_ID, MAX_NAME = 64, 64
-- A request over the rate that is longer than this is not even read for its id.
local MAX_GLANCE = 64 << 10

--- desk: the app's channels (channels.lua); limits: options of app:channels
function peer.new(desk, transport, limits)
   local self = setmetatable({ desk = desk, app = desk.app, transport = transport,
      limits = limits, lanes = {}, subscriptions = {}, count = 0, in_flight = 0,
      line = list.new(), closed = false }, peer)
   if limits.over_rate == "drop" then self.budget = rate.budget(limits, core.now()) end
   self.ctx = context.new(self)
   return self
end

local function no_null(value)
   if value == json.null() then return nil end
   return value
end

-- -- hooks ----------------------------------------------------------------------------

-- Calls a hook, whose waiting is bounded: what it returned. One that has nothing to say after
-- its time was up has failed by that.
local function ask(self, hook, ...)
   local timeout = self.limits.hook_timeout
   local ends = core.now() + timeout
   local guard <close> = core.deadline(timeout)
   local first, second, third = hook(...)
   if not first and core.now() >= ends then return nil, "timeout", "the server took too long" end
   return first, second, third
end

local function is_word(code)
   return type(code) == "string" and #code <= MAX_NAME and code:find "^[%a_][%w_]*$" ~= nil
end

-- What a hook returned, as JSON; there is no line of the script's to blame, so the hook is named.
local function text_of(value, what)
   local ok, text = pcall(weft1.encode, value)
   if not ok then error(("%s: %s"):format(what, text), 0) end
   return text
end

-- nil, code, message of a hook that said no: with a code, or just with a message.
local function refusal(code, message)
   if is_word(code) then return nil, code, message or "refused" end
   return nil, "forbidden", code or "refused"
end

-- The hook that a subscription ends with. Its failure is the server's affair alone.
local function farewell(self, sub)
   local hook = sub.channel.leave
   if not hook then return end
   local ok, text = guarded(ask, self, hook, self.ctx, sub.topic)
   if not ok then core.report(text) end
end

-- -- subscriptions ---------------------------------------------------------------------

-- Ends one, but for its hook. sub.user: the presence that goes with it.
local function drop(self, sub)
   self.subscriptions[sub.topic] = nil
   self.count = self.count - 1
   self.transport:detach(sub.topic)
   if sub.user then self.desk:absent(sub.topic, sub.user) end
end

--- The server's script ends one: whether there was one.
function peer:kick(topic, code, message)
   local sub = self.subscriptions[topic]
   if not sub then return false end
   drop(self, sub)
   self:push(weft1.unsubscribed(topic, code, message))
   core.spawn(farewell, self, sub)
   return true
end

local function position_is_valid(value)
   if value.epoch == nil and value.offset == nil then return true end
   return type(value.epoch) == "string" and math.type(value.offset) ~= nil
end

-- id of the user and its data; nil: it is not seen.
local function identify(self, channel, topic, params)
   if not channel.user then return context.name_of(self.ctx), nil end
   local id, data = ask(self, channel.user, self.ctx, topic, params)
   if not id then return nil end
   text_of(data, "the channel's user") -- raises here, where it harms nobody
   return context.check_id(id, "the channel's user"), data
end

-- What `join` says: true, or its data | nil, code, message
local function join(self, channel, topic, params)
   local ok, why = ask(self, topics.authorize_subscribe, self.app, self.transport.who, topic,
      params)
   if not ok then return refusal(why == "timeout" and why or "forbidden", why) end
   if not channel.join then return true end
   local data, code, message = ask(self, channel.join, self.ctx, topic, params)
   if not data then return refusal(code, message) end
   return data
end

-- Members of the reply that tell of the history; "" without one. What is missed has to fit into
-- the output, or it is not recovered.
local function history_members(self, topic, value)
   local epoch, offset = topics.position(self.app, topic)
   if not epoch then return "" end
   local at = (',"epoch":%s,"offset":%d'):format(wire.quote(epoch), offset)
   if value.epoch == nil then return at end
   local entries = self.app.histories:since(topic, value.epoch, value.offset, core.now())
   local missed = entries and weft1.missed(entries)
   if missed and #missed <= self.transport:room() then
      return at .. ',"recovered":true,"messages":' .. missed
   end
   return at .. ',"recovered":false'
end

-- From here to the reply nothing waits, so that no message is lost or comes twice between
-- what is replayed and what is live.
local function enter(self, sub, request, data)
   local topic, desk = sub.topic, self.desk
   local seen = sub.user and desk:rules_of(topic)
   if seen and not desk:has_room(topic, sub.user) then
      return nil, "too_many", "too many users are present on this topic"
   end
   local history = history_members(self, topic, request.value)
   local ok, why = self.transport:attach(topic)
   if not ok then return nil, "too_many", why end
   self.subscriptions[topic], self.count = sub, self.count + 1
   if seen then request.later = desk:present(topic, sub.user, sub.data, self.transport)
   else sub.user = nil end
   local users = desk:rules_of(topic) and ',"presence":' .. weft1.users(desk.presence:users(topic))
   return '{"topic":' .. wire.quote(topic) .. history .. (users or "")
      .. (data and ',"data":' .. data or "") .. "}"
end

-- Behind `join`, which said yes: what stands in the reply, or nil, code, message.
local function take_place(self, request, sub, params, data)
   if self.desk:rules_of(sub.topic) then
      sub.user, sub.data = identify(self, sub.channel, sub.topic, params)
   end
   local text = data ~= true and text_of(data, "the channel's join") or nil
   self:drain()
   if self.closed then return nil, "internal" end
   return enter(self, sub, request, text)
end

local function failed(text)
   core.report(text)
   return nil, "internal", "internal error"
end

local function subscribe(self, request)
   local topic, value = request.topic, request.value
   local channel = self.desk:channel_of(topic)
   if self.subscriptions[topic] then
      return nil, "already_subscribed", "this connection is subscribed to the topic"
   elseif not position_is_valid(value) then
      return nil, "bad_request", "epoch must be a string and offset a number, both or neither"
   elseif not channel then
      return nil, "not_found", "there is no channel for this topic"
   end
   local params = no_null(value.params)
   local data, refused, message = join(self, channel, topic, params)
   if not data then return nil, refused, message end
   local sub = { topic = topic, channel = channel }
   local fine, text, code, why = guarded(take_place, self, request, sub, params, data)
   if not fine then text, code, why = failed(text) end
   -- who joined leaves, whatever came in between
   if not text and self.subscriptions[topic] ~= sub then farewell(self, sub) end
   return text, code, why
end

local function unsubscribe(self, request)
   drop(self, request.sub)
   farewell(self, request.sub)
   return true
end

-- -- publish, call, presence -------------------------------------------------------------

-- What `receive` makes of it: message, kind, options | nil, code, message
local function receive(self, request)
   local hook, data = request.sub.channel.receive, request.value.data
   local plain = type(data) == "string"
   local message, kind = data, "text"
   if not plain then message, kind = request.raw.data or "null", "json" end
   if hook == true then return message, kind end
   if not hook then return nil, "forbidden", "this channel takes no messages from clients" end
   local made, code, why = ask(self, hook, self.ctx, request.topic, no_null(data),
      request.value.event)
   if made == true then return message, kind end
   if not made then return refusal(code, why) end
   if type(made) == "string" then return made, "text", code end
   return text_of(made, "the channel's receive"), "json", code
end

local function publish(self, request)
   local topic, event = request.topic, request.value.event
   if event ~= nil and (type(event) ~= "string" or event_name(event)) then
      return nil, "bad_request", "event must be 1 to 64 bytes without control characters"
   end
   local ok, why = ask(self, topics.authorize_publish, self.app, self.transport.who, topic,
      no_null(request.value.data))
   if not ok then return refusal(why == "timeout" and why or "forbidden", why) end
   local message, kind, opts = receive(self, request)
   if message == nil then return nil, kind, opts end
   opts = context.publish_options(opts, "the channel's receive")
   opts.kind, opts.event = kind == "text" and opts.kind or kind, opts.event or event
   local n, epoch, offset = topics.send(self.app, topic, message, opts)
   if not n then return nil, offset == "too_big" and "too_big" or "internal", epoch end
   if not epoch then return true end
   return ('{"epoch":%s,"offset":%d}'):format(wire.quote(epoch), offset)
end

local function method_of(sub, name)
   local call = sub.channel.call
   if type(call) ~= "table" then return call, true end
   return rawget(call, name)
end

local function call(self, request)
   local name = request.value.method
   local method, by_name = method_of(request.sub, name)
   if not method then return nil, "not_found", "there is no such method" end
   local data = no_null(request.value.data)
   local result, code, message
   if by_name then
      result, code, message = ask(self, method, self.ctx, request.topic, name, data)
   else
      result, code, message = ask(self, method, self.ctx, request.topic, data)
   end
   if result == nil and code ~= nil then return refusal(code, message) end
   return result == nil or text_of(result, ("the channel's call of %q"):format(name))
end

local function presence(self, request)
   return weft1.users(self.desk.presence:users(request.topic))
end

-- subscribed: it needs to be. apart: in a task of its own. at_once: the answer waits for nothing.
local kinds = {
   subscribe = { run = subscribe, at_once = true },
   unsubscribe = { run = unsubscribe, subscribed = true },
   publish = { run = publish, subscribed = true },
   call = { run = call, subscribed = true, apart = true },
   presence = { run = presence, subscribed = true },
}

-- -- requests --------------------------------------------------------------------------

--- Sends a text without waiting: true | nil, message, code. A client that is too slow for it
-- is let go.
function peer:push(text)
   return self.transport:push(text)
end

-- Who leaves the line, however that is, lets the next one go on.
local place = {}
function place:__close()
   list.remove(self)
   local first = list.first(self.line)
   if first then core.unpark(first.token) end
end

--- Waits until the client has taken what it was sent, for what it asks for at once may come to
-- more than hard_mark. The tasks stand in line: what one of them then sends, the next waits for.
function peer:drain()
   if not self.transport:is_full() then return end
   local mine <close> = setmetatable({ line = self.line, token = core.waiting() }, place)
   list.push(self.line, mine)
   while list.first(self.line) ~= mine do core.park() end
   self.transport:drain()
end

-- A request without an id is answered only where it failed.
local function answer(self, request, text, code, message)
   if self.closed then return end
   if not text then
      self:push(weft1.error(request.id, code, message))
   elseif request.id then
      self:push(weft1.reply(request.id, text ~= true and text or nil))
   end
end

-- However it ends: the reader may have waited for it.
local flight = {}
function flight:__close()
   local one = self.peer
   one.in_flight = one.in_flight - 1
   if one.reader then core.unpark(one.reader) end
end

local function run(self, request)
   local sub = self.subscriptions[request.topic]
   if request.kind.subscribed and sub ~= request.sub then
      return nil, "not_subscribed", "this connection is not subscribed to the topic"
   end
   return request.kind.run(self, request)
end

local function perform(self, request)
   local _ <close> = request.flight
   if self.closed then return end
   local ok, text, code, message = guarded(run, self, request)
   if not ok then text, code, message = failed(text) end
   if not request.kind.at_once then self:drain() end
   answer(self, request, text, code, message)
   if request.later then request.later() end
end

-- A call begins in its turn, and the lane goes on.
local function begin(self, request)
   request.sub = self.subscriptions[request.topic]
   if request.kind.subscribed and not request.sub then
      local _ <close> = request.flight
      answer(self, request, nil, "not_subscribed",
         "this connection is not subscribed to the topic")
   elseif request.kind.apart then
      core.spawn(perform, self, request)
   else
      perform(self, request)
   end
end

-- The task of a lane: { first =, last =, [n] = request }
local function run_lane(self, lane, topic)
   while lane.first <= lane.last do
      local request = lane[lane.first]
      lane[lane.first] = nil
      lane.first = lane.first + 1
      begin(self, request)
   end
   self.lanes[topic] = nil
end

local function line_up(self, request)
   self.in_flight = self.in_flight + 1
   request.flight = setmetatable({ peer = self }, flight)
   local lane = self.lanes[request.topic]
   if not lane then
      lane = { first = 1, last = 1, request }
      self.lanes[request.topic] = lane
      core.spawn(run_lane, self, lane, request.topic)
      return
   end
   lane.last = lane.last + 1
   lane[lane.last] = request
end

-- The text of an id that can come back, nil when there is none, or false.
local function id_of(one)
   local id = one.value.id
   if id == nil then return nil end
   if type(id) == "number" or (type(id) == "string" and #id <= MAX_ID) then return one.raw.id end
   return false
end

-- nil, or code and message: what can be told at once of a request with a topic.
local function fault(self, request)
   local value = request.value
   if type(value.topic) ~= "string" then return "bad_request", "topic must be a string" end
   local ok, why = topics.check_name(self.app, value.topic)
   if not ok then return "bad_topic", why end
   if value.type == "call" and (type(value.method) ~= "string" or #value.method > 255) then
      return "bad_request", "method must be a string of at most 255 bytes"
   end
end

-- Whether a request is over the rate, and so is not done; core would drop it without a word.
local function is_over_rate(self, bytes)
   if not self.budget or self.budget:take(1, bytes, core.now()) then return false end
   self.desk.rates.dropped = self.desk.rates.dropped + 1
   return true
end

local function refuse_for_rate(self, one)
   answer(self, { id = one and id_of(one) or nil }, nil, "rate_limited",
      "over message_rate or byte_rate")
end

local function take(self, one)
   local id = id_of(one)
   local request = { id = id or nil, value = one.value, raw = one.raw, topic = one.value.topic }
   local kind = one.value.type
   if id == false then
      return answer(self, request, nil, "bad_request", "id must be a number or a short string")
   elseif kind == "ping" then
      return self:push(id and weft1.reply(id) or weft1.PONG)
   end
   request.kind = type(kind) == "string" and kinds[kind]
   if type(kind) ~= "string" then
      return answer(self, request, nil, "bad_request", "type must be a string")
   elseif not request.kind then
      return answer(self, request, nil, "unknown_type", "there is no such type")
   end
   local code, message = fault(self, request)
   if code then return answer(self, request, nil, code, message) end
   line_up(self, request)
end

--- A message of the client's.
function peer:receive(text)
   local over = is_over_rate(self, #text)
   if over and #text > MAX_GLANCE then return refuse_for_rate(self) end
   local read, array = wire.read(text, self.limits.max_depth)
   if not read or array then
      self:refuse(read and "not a JSON object" or array)
   elseif over then
      refuse_for_rate(self, read[1])
   else
      take(self, read[1])
   end
end

--- What cannot be read, and so has no id. bytes: of a message that is not counted yet.
function peer:refuse(why, bytes)
   if bytes and is_over_rate(self, bytes) then return refuse_for_rate(self) end
   answer(self, {}, nil, "bad_request", why)
end

--- A list as wire.read makes it, of so many bytes.
function peer:take_all(requests, bytes)
   for i, one in ipairs(requests) do
      if is_over_rate(self, i == 1 and bytes or 0) then refuse_for_rate(self, one)
      else take(self, one) end
   end
end

--- Is as much under way as may be?
function peer:is_busy()
   return self.in_flight >= self.limits.max_in_flight
end

--- Waits until it is not.
function peer:wait()
   self.reader = core.waiting()
   while self:is_busy() and not self.closed do core.park() end
   self.reader = nil
end

--- The client has gone. May wait for hooks.
function peer:close()
   if self.closed then return end
   self.closed = true
   local ended = {}
   local _, sub = next(self.subscriptions)
   while sub do -- whoever is told of its leaving may end others
      drop(self, sub)
      ended[#ended + 1] = sub
      _, sub = next(self.subscriptions)
   end
   for _, one in ipairs(ended) do farewell(self, one) end
end

peer.__close = peer.close

return peer
