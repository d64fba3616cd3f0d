-- channels: app:channel and app:channels, who is present, and the endpoint that speaks weft.1
-- over WebSocket; over Server-Sent Events and POST it does by sessions.lua. An app's desk is
-- where all of that meets.

local core = require "weft.core"
local guarded = require "weft.guarded"
local history = require "weft.history"
local json = require "weft.json"
local limits = require "weft.limits"
local options = require "weft.options"
local peer = require "weft.peer"
local presence = require "weft.presence"
local router = require "weft.router"
local sessions = require "weft.sessions"
local sweeper = require "weft.sweeper"
local topics = require "weft.topics"
local upgrade = require "weft.upgrade"
local weft1 = require "weft.weft1"

local channels = {}

-- -- the desk --------------------------------------------------------------------------

local desk = {}
desk.__index = desk

-- Not in this task: what waits there raises, and so nothing comes between a subscribing's parts.
local function call_hook(hook, topic, event, user)
   local call = coroutine.wrap(guarded)
   local ok, text = call(hook, topic, event, user)
   if not ok then core.report(text) end
end

-- What happens to a presence goes to whoever speaks weft.1 on the topic, but not to the one by
-- whose subscribing it happens: its reply tells it. And to the script's hook; which may publish,
-- or end that subscription, and so runs behind the reply.
local function teller(self)
   return function(topic, event, user)
      local joining = self.joining
      self.joining = nil
      if joining then joining.muted = true end
      topics.announce(self.app, topic, function() return weft1.presence(topic, event, user) end,
         joining and joining.ws)
      if joining then joining.muted = false end
      local rules = self:rules_of(topic)
      local hook = rules and rules.on_change
      if not hook then return end
      local copy = { id = user.id, data = presence.copy(user.data) }
      if not joining then return call_hook(hook, topic, event, copy) end
      self.later = function() call_hook(hook, topic, event, copy) end
   end
end

--- What an app has of histories, presences and channels.
function channels.desk(app)
   local self = setmetatable({ app = app, patterns = core.trie(),
      rates = { waited = 0, dropped = 0, closed = 0 } }, desk)
   self.presence = presence.store(teller(self))
   -- RFC 4648 5: it stands in queries, too
   local epoch = core.base64(core.random(12)):gsub("[+/]", { ["+"] = "-", ["/"] = "_" })
   app.histories = history.store { epoch = epoch,
      max_topics = app.limits.max_history_topics, max_bytes = app.limits.max_history_bytes }
   self.sweeper = sweeper.new(app, app.histories, self.presence)
   return self
end

--- The channel of a topic, or nil.
function desk:channel_of(topic)
   return self.patterns:match(topic)[1]
end

--- The rules of presence on a topic, or nil.
function desk:rules_of(topic)
   local rules = topics.options_of(self.app, topic)
   return rules and rules.presence or nil
end

function desk:has_room(topic, id)
   return self.presence:has_room(topic, self:rules_of(topic), id)
end

--- A user comes; with a transport, if that has an answer of its own: what this returns, unless
-- it is nil, is to be called at once behind that answer.
function desk:present(topic, id, data, transport)
   self.joining, self.later = transport, nil
   self.presence:join(topic, self:rules_of(topic), id, data)
   self.joining = nil -- perhaps nothing was told
   local later = self.later
   self.later = nil
   return later
end

local NO_GRACE = { grace = 0 }

function desk:absent(topic, id)
   local rules = not self.app.closed and self:rules_of(topic) or NO_GRACE
   self.presence:leave(topic, rules, id, core.now())
end

function desk:update(topic, id, data)
   if data ~= nil then weft1.encode(data) end
   return self.presence:set(topic, id, data)
end

-- -- the transport over WebSocket --------------------------------------------------------

local socket = {}
socket.__index = socket

-- While the client takes what it gets a text may be of any size; behind what it has not taken
-- yet only as much as the hard mark allows.
function socket:push(text)
   local ok, message, code = self.ws:try_send(text)
   if ok ~= false then return ok, message, code end
   if #text <= core.room(self.ws) then return core.queue(self.ws, text) end
   self:close(1013, "too slow: output over hard_mark")
   return nil, "the client is too slow (hard_mark)", "too_big"
end

function socket:room()
   return core.room(self.ws)
end

function socket:is_full()
   return self.ws:buffered() > self.high
end

function socket:drain()
   self.ws:drain()
end

function socket:attach(topic)
   return topics.attach(self.ws, topic, topics.ENVELOPE)
end

function socket:detach(topic)
   topics.detach(self.ws, topic)
end

function socket:close(code, reason)
   core.spawn(self.ws.close, self.ws, code, reason)
end

local function read(one, ws)
   for message, kind in ws:messages() do
      one:drain() -- what is answered at once waits, too
      if kind == "binary" then
         one:refuse("a binary message", #message)
      else
         one:receive(message)
      end
      one:wait()
   end
end

-- The task of a connection.
local function serve(self, ws)
   local transport = setmetatable({ ws = ws, who = ws, request = ws.request, data = ws.data,
      high = self.limits.high_mark }, socket)
   local one <close> = peer.new(self, transport, self.limits)
   local ok, text = guarded(read, one, ws)
   one:close() -- here, where its hooks can wait
   if not ok then error(text, 0) end
end

-- -- the endpoint ------------------------------------------------------------------------

-- Lets in only who speaks the protocol, and then whom the script lets in.
local function authorize(opts)
   local theirs = opts.authorize
   return function(request)
      local offered = upgrade.offered(request.headers["sec-websocket-protocol"] or "")
      if not offered or not offered[weft1.PROTOCOL] then
         return nil, 400, nil, "the subprotocol weft.1 is needed"
      end
      if not theirs then return true end
      return theirs(request)
   end
end

-- All or none of its routes are there in the end, and a script that handles the error goes on.
local function check_routes(app, path, level)
   for _, method in ipairs { router.WEBSOCKET, "GET", "POST" } do
      app.router:check(method, path, level + 1)
   end
end

local function add_routes(self, path, opts, level)
   local app = self.app
   check_routes(app, path, level + 1)
   local ws_opts = setmetatable({ authorize = authorize(opts), protocols = { weft1.PROTOCOL },
      authorize_timeout = opts.hook_timeout }, { __index = opts })
   -- what is dropped is answered, by peer.lua
   if opts.over_rate == "drop" then ws_opts.message_rate, ws_opts.byte_rate = 0, 0 end
   local route = upgrade.route(function(ws) serve(self, ws) end, ws_opts, "app:channels",
      level + 1)
   self.limits, self.path = opts, path
   app.router:add(router.WEBSOCKET, path, route, level + 1)
   upgrade.count(app, route)
   sessions.add_routes(self, path, route, level + 1)
end

--- app:channels(path [, opts])
local function set_endpoint(app, path, opts)
   options.argument(path, "string", "the path", "app:channels", 2)
   if app.desk.path then
      error(("app:channels: the channels are at %q already"):format(app.desk.path), 2)
   end
   opts = options.check(opts, limits.channels, "app:channels", 2, app.limits)
   add_routes(app.desk, path, opts, 2)
   return app
end

local USUAL = "/weft"

--- Raises where begin() could not make the endpoint.
function channels.check(app, level)
   if not app.desk.path and #app.desk.patterns > 0 then check_routes(app, USUAL, level + 1) end
end

--- The endpoint that nobody has asked for otherwise: when the app begins to listen, or later with
-- the first channel.
function channels.begin(app)
   app.desk.sweeper:wake()
   if app.desk.path or #app.desk.patterns == 0 or not next(app.listeners) then return end
   add_routes(app.desk, USUAL,
      options.check(nil, limits.channels, "app:channel", 2, app.limits), 3)
end

local passed_on = { "history", "presence", "policy", "max_pending", "max_pending_messages",
   "notice", "max_subscribers" }

local function check_channel(channel, level)
   channel = options.check(channel, limits.channel, "app:channel", level + 1)
   for name, method in pairs(type(channel.call) == "table" and channel.call or limits.none) do
      if type(name) ~= "string" or type(method) ~= "function" then
         error("app:channel: call must be a function, or a table of functions by name", level + 1)
      end
   end
   return channel
end

-- What app:topic has said of the same pattern stays where the channel says nothing.
local function rules_for(app, pattern, channel)
   local rules = {}
   for name, value in pairs(topics.set_for(app, pattern) or limits.none) do
      rules[name] = value
   end
   for _, name in ipairs(passed_on) do
      if channel[name] ~= nil then rules[name] = channel[name] end
   end
   return rules
end

--- app:channel(pattern, { join=, leave=, receive=, call=, user=, ... })
local function add_channel(app, pattern, channel)
   topics.check_script(app, pattern, "app:channel", 2, true)
   json.need("app:channel", 2)
   channel = check_channel(channel, 2)
   if next(app.listeners) and not app.desk.path then check_routes(app, USUAL, 2) end
   topics.set(app, pattern, rules_for(app, pattern, channel), "app:channel", 2)
   assert(app.desk.patterns:put(pattern, channel))
   channels.begin(app)
   return app
end

-- -- what a script asks --------------------------------------------------------------------

--- app:presence(topic) -> { { id=, data= }, ... }
local function who(app, topic)
   topics.check_script(app, topic, "app:presence", 2)
   return app.desk.presence:list(topic)
end

-- What was published and is no string; lua-cjson is needed for tables alone.
local function value_of(text)
   if text == "true" or text == "false" then return text == "true" end
   return tonumber(text) or json.decode(text)
end

local function shown(entry)
   local message, kind = entry.text, entry.kind
   if kind == "json" then message = value_of(message) end
   return { offset = entry.offset, message = message, kind = kind, event = entry.event,
      age = core.now() - entry.time }
end

--- app:history(topic [, { limit=, since= }]) -> list, epoch, offset | nil, message, code
local function read_history(app, topic, opts)
   topics.check_script(app, topic, "app:history", 2)
   opts = options.check(opts, limits.read_history, "app:history", 2)
   local since, now = opts.since, core.now()
   local list = since and app.histories:since(topic, since.epoch, since.offset, now)
   if since and not list then
      return nil, "what came after that is not known any more", "closed"
   end
   list = list or app.histories:last(topic, opts.limit, now)
   for i, entry in ipairs(list) do list[i] = shown(entry) end
   return list, app.histories:position(topic)
end

channels.methods = { channel = add_channel, channels = set_endpoint, presence = who,
   history = read_history }

return channels
