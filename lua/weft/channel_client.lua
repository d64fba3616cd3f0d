-- channel_client: weft.channel_client, a client of weft.1 (doc/protocol.md) that comes back:
-- one task connects again and again and reads, a second one sends what waits in the outbox.
-- Rooms are resumed by epoch and offset, so that each message comes once and in order.

local channel = require "weft.channel"
local core = require "weft.core"
local json = require "weft.json"
local limits = require "weft.limits"
local list = require "weft.list"
local options = require "weft.options"
local reconnect = require "weft.reconnect"
local room = require "weft.room"
local weft1 = require "weft.weft1"

local client = {}
client.__index = client
client.__name = "weft.channel_client"

local module = { methods = client }

-- -- requests ----------------------------------------------------------------------------

-- { id=, text=, box= the channel for its answer, or done= a function(answer | nil, message, code),
--   sent=, bound= to this connection }; of no use any more once it is over. What is to be sent
-- stands in the outbox, or in `joins`, which goes before it.

local function take_out(self, request)
   if request.queued then self.queued = self.queued - 1 end
   request.queued = false
   list.remove(request)
end

local function settle(self, request, answer, message, code)
   take_out(self, request)
   if request.id then self.pending[request.id] = nil end
   if request.over then return end
   request.over = true
   if request.done then
      request.done(answer, message, code)
   elseif request.box then
      request.box:send { answer = answer, message = message, code = code }
   end
end

local function text_of(object, where, level)
   local ok, text = pcall(weft1.encode, object)
   if not ok then error(("%s: %s"):format(where, text), level + 1) end
   return text
end

local function put_out(self, request)
   if request.id then self.pending[request.id] = request end
   self.queued, request.queued = self.queued + 1, true
   list.push(self.outbox, request)
   if self.sender then core.unpark(self.sender) end
end

-- Puts it into the outbox: true | nil, message, code
local function line_up(self, request)
   if self.failure then return nil, self.failure.message, self.failure.code end
   if self.queued >= self.opts.max_queue then
      return nil, "too many requests wait to be sent (max_queue)", "too_big"
   end
   put_out(self, request)
   return true
end

-- Leaves a topic where it was entered: the next connection knows nothing of it, or is asked
-- for it anew. It has no limit, for who is not told sends on.
local function say_goodbye(self, topic)
   if not self.ws then return end
   put_out(self, { text = weft1.encode { type = "unsubscribe", topic = topic }, bound = true })
end

local function new_id(self)
   self.ids = self.ids + 1
   return self.ids
end

-- A task that gives up waiting takes its request along.
local waiting = {}
function waiting:__close()
   settle(self.client, self.request)
end

-- What rooms do with their client.
local link = {}

--- A request and its answer { data= } | nil, message, code. While there is no connection it waits
-- in the outbox.
function link.ask(self, object, timeout)
   object.id = new_id(self)
   local request = { id = object.id, text = text_of(object, "room", 3), box = channel.new(1) }
   local ok, message, code = line_up(self, request)
   if not ok then return nil, message, code end
   local _ <close> = setmetatable({ client = self, request = request }, waiting)
   local outcome
   outcome, message, code = request.box:receive(timeout or self.opts.request_timeout)
   if not outcome then
      return nil, code == "timeout" and "there was no answer in time" or message, code
   end
   return outcome.answer, outcome.message, outcome.code
end

--- A request that nobody waits for.
function link.tell(self, object)
   return line_up(self, { text = text_of(object, "room", 3) })
end

-- -- sending -------------------------------------------------------------------------------

-- The task that sends; a request stays where it is until it is sent. It ends with its
-- connection.
local function send_all(self, ws)
   self.sender = core.waiting()
   while true do
      local request = list.first(self.joins) or list.first(self.outbox)
      if not request then
         core.park()
      elseif ws:send(request.text) then
         take_out(self, request)
         request.sent = true
      else
         return -- the reader notices, too
      end
   end
end

-- -- rooms -----------------------------------------------------------------------------------

local ask_to_join

-- Asking again is of use after these (doc/protocol.md).
local transient = { rate_limited = true, timeout = true, internal = true }

local function end_room(self, one, event)
   if self.rooms[one.topic] == one then self.rooms[one.topic] = nil end
   room.leave(one, event)
end

local function join_later(self, one, ws)
   core.spawn(function()
      core.sleep(self.opts.min_delay + self.opts.max_delay * reconnect.seam.random() / 8)
      if self.ws ~= ws or self.rooms[one.topic] ~= one then return end
      list.push(self.joins, ask_to_join(self, one))
      if self.sender then core.unpark(self.sender) end
   end)
end

-- What subscribing came to. A connection that broke meanwhile says nothing; unless what would
-- be replayed was too big (1009), which it would be again.
local function joined(self, one, ws, answer, message, code)
   local mine = room.inner(one)
   if answer then
      room.enter(one, type(answer.data) == "table" and answer.data or {}, mine.entered)
      if not mine.entered then mine.joined:send { ok = true } end
      mine.entered = true
   elseif self.ws ~= ws or self.failure then
      if ws:closed() == 1009 then one.epoch, one.offset = nil, nil end
   elseif mine.entered and transient[code] then
      join_later(self, one, ws)
   else
      if not mine.entered then mine.joined:send { message = message, code = code } end
      end_room(self, one, mine.entered and { type = "unsubscribed", topic = one.topic,
         code = code, message = message } or nil)
   end
end

function ask_to_join(self, one)
   local ws, mine = self.ws, room.inner(one)
   local object = { type = "subscribe", id = new_id(self), topic = one.topic,
      params = mine.params, epoch = one.epoch, offset = one.epoch and one.offset }
   local request = { id = object.id, text = weft1.encode(object), joins = true }
   request.done = function(...) joined(self, one, ws, ...) end
   self.pending[request.id] = request
   return request
end

local function ask_now(self, one)
   local request = ask_to_join(self, one)
   local ok, message, code = line_up(self, request)
   if not ok then settle(self, request, nil, message, code) end
end

-- In front of all that waited for the connection, in the order of their subscribing.
local function join_all(self)
   local rooms = {}
   for _, one in pairs(self.rooms) do rooms[#rooms + 1] = one end
   table.sort(rooms, function(a, b) return room.inner(a).number < room.inner(b).number end)
   for _, one in ipairs(rooms) do list.push(self.joins, ask_to_join(self, one)) end
end

local function new_room(self, topic, params)
   local one = room.new(self, link, topic, params, self.opts.max_buffer)
   self.serial = self.serial + 1
   room.inner(one).number = self.serial
   self.rooms[topic] = one
   return one
end

local function give_up(self, one, message, code)
   end_room(self, one)
   say_goodbye(self, one.topic)
   return nil, message, code
end

-- A task that is cancelled while it waits leaves nothing that nobody has.
local joining = {}
function joining:__close()
   if not self.over then give_up(self.client, self.room) end
end

--- client:subscribe(topic [, params [, timeout]]) -> room | nil, message, code
function client:subscribe(topic, params, timeout)
   options.argument(topic, "string", "the topic", "client:subscribe", 2)
   options.timeout(timeout, "client:subscribe", 2)
   text_of(topic, "client:subscribe", 2)
   text_of(params, "client:subscribe", 2)
   if self.failure then return nil, self.failure.message, self.failure.code end
   if self.rooms[topic] then
      return nil, "this client is subscribed to the topic", "already_subscribed"
   end
   local one = new_room(self, topic, params)
   if self.ws then ask_now(self, one) end
   local guard <close> = setmetatable({ client = self, room = one }, joining)
   local outcome, message, code = room.inner(one).joined:receive(timeout
      or self.opts.request_timeout)
   guard.over = true
   if not outcome and code == "timeout" then
      return give_up(self, one, "there was no answer in time", code)
   elseif not outcome then
      local why = self.failure or { message = message, code = code }
      return nil, why.message, why.code
   end
   if not outcome.ok then return nil, outcome.message, outcome.code end
   return one
end

--- Leaves a topic.
function link.forget(self, one)
   local mine = self.rooms[one.topic] == one
   end_room(self, one)
   if mine then say_goodbye(self, one.topic) end
end

-- -- reading -----------------------------------------------------------------------------------

local function answered(self, object)
   local request = self.pending[object.id]
   if not request then return end
   if object.type == "reply" then
      settle(self, request, object)
   else
      settle(self, request, nil, object.message or object.code, object.code)
   end
end

local function for_room(put)
   return function(self, object)
      local one = self.rooms[object.topic]
      if one and room.inner(one).entered then put(one, object, self) end
   end
end

local kinds = {
   reply = answered, error = answered,
   message = for_room(room.message),
   presence = for_room(room.notice), missed = for_room(room.notice),
   unsubscribed = for_room(function(one, object, self) end_room(self, one, object) end),
}

local function is_object(value)
   return type(value) == "table" and type(value.type) == "string"
      and (type(value.topic) == "string" or value.topic == nil)
end

-- Until the connection ends. A server that speaks something else is left.
local function read(self, ws)
   for text in ws:messages() do
      local object = json.decode(text)
      if not is_object(object) then
         ws:close(1008, "this is not weft.1")
         return
      end
      local take = kinds[object.type]
      if take then take(self, object) end
   end
end

local function begin(self, ws)
   self.ws, self.connected = ws, true
   join_all(self)
   self.sending = core.spawn(send_all, self, ws)
end

local function drop_bound(self)
   local request = self.outbox.next
   while request ~= self.outbox do
      local following = request.next
      if request.bound then take_out(self, request) end
      request = following
   end
end

-- The connection is gone: what was sent and not answered may have been done, or not. What was
-- not sent waits for the next one; but for subscribing, which begins anew.
local function cut(self)
   drop_bound(self)
   self.ws, self.connected, self.sender = nil, false, nil
   if self.sending then self.sending:cancel() end
   for _, request in pairs(self.pending) do
      if request.sent or request.joins then
         settle(self, request, nil, "the connection was lost; it may have been done", "closed")
      end
   end
end

-- Nothing will come any more.
local function fail(self, message, code)
   if self.failure then return end
   self.failure = { message = message, code = code }
   for _, request in pairs(self.pending) do settle(self, request, nil, message, code) end
   for _, one in pairs(self.rooms) do end_room(self, one) end
   self.outbox, self.queued = list.new(), 0
end

-- However the client ends: closed, given up, cancelled.
local running = {}
function running:__close()
   cut(self.client)
   local why = self.client.why or { message = "the client is closed", code = "closed" }
   fail(self.client, why.message, why.code)
end

local function run(self, next_connection, state, _, closing)
   local _ <close> = setmetatable({ client = self }, running)
   for ws in next_connection, state, nil, closing do
      if ws.protocol ~= weft1.PROTOCOL then
         self.why = { message = "the server does not speak weft.1", code = "handshake" }
         return
      end
      begin(self, ws)
      read(self, ws)
      cut(self)
   end
end

-- Notes why the loop has ended, and still tells the script.
local function noting(self, theirs)
   return function(why)
      self.why = { message = why.message, code = why.code }
      if theirs then theirs(why) end
   end
end

--- weft.channel_client(url [, opts]) -> client. Does not wait.
function module.new(text, opts)
   local where = "weft.channel_client"
   options.argument(text, "string", "the URL", where, 2)
   json.need(where, 2)
   local self = setmetatable({ rooms = {}, pending = {}, outbox = list.new(),
      joins = list.new(), queued = 0, ids = 0, serial = 0, connected = false }, client)
   local next_connection, state, _, closing = reconnect.start(text, opts, limits.channel_client,
      where, 2)
   self.opts, self.url = state.opts, state.shown
   self.opts.offered = weft1.PROTOCOL
   self.opts.on_stop = noting(self, self.opts.on_stop)
   self.task = core.spawn(run, self, next_connection, state, nil, closing)
   return self
end

--- client:close(): leaves all rooms and says goodbye, without waiting. Idempotent.
function client:close()
   fail(self, "the client is closed", "closed")
   self.task:cancel()
   return true
end

client.__close = client.close

function client:__tostring()
   return ("weft.channel_client (%s%s)"):format(self.url,
      self.failure and ", closed" or self.connected and "" or ", not connected")
end

return module
