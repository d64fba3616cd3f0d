-- topics: what of topics is policy: options by pattern, hooks, the way of a publication
-- to raw connections, to the envelopes of weft.1 and to tasks of this process. Who is
-- connected to what, and the fan-out, is core's hub.
--
-- A publication never yields between its parts, so what is in the history is what has
-- been delivered, in the same order.

local backlog = require "weft.backlog"
local core = require "weft.core"
local options = require "weft.options"
local limits = require "weft.limits"
local listeners = require "weft.listeners"
local subscription = require "weft.subscription"

local topics = {
   RAW = 0, ENVELOPE = 1, -- forms
   encode = nil, -- function(table) -> text: weft1.lua's
   envelope = nil, -- function(topic, entry, epoch, offset) -> text: weft1.lua's
}

-- Options of topics are looked up once for so many names.
local CACHED = 4096

--- What app:topic and its like keep for an app.
function topics.board(app)
   return { hub = core.hub(app, app.limits.max_topics_per_connection),
      rules = core.trie(), cache = {}, cached = 0, -- options by pattern; merged by name
      subscribe_hooks = {}, -- by pattern
      listeners = listeners.new(), -- those of this process, and what waits for them
      published = 0, delivered = 0, dropped = 0, pending = 0, pending_bytes = 0 }
end

-- -- names ---------------------------------------------------------------------------

-- nil, why when it is none; patterns: it may also be one.
local function judge(app, topic, patterns)
   local max = app.limits.max_topic_name
   if type(topic) ~= "string" then
      return nil, ("a topic must be a string, got a %s"):format(type(topic))
   elseif #topic == 0 or #topic > max then
      return nil, ("a topic has 1 to %d bytes (max_topic_name), got %d"):format(max, #topic)
   end
   local kind, why = core.topic_kind(topic, max)
   if not kind then return nil, ("a topic %s, got %q"):format(why, topic) end
   if kind == "pattern" and not patterns then
      return nil, ("%q is a pattern, which only subscribing takes"):format(topic)
   end
   return kind
end

--- For names that come from a peer: true | nil, message.
function topics.check_name(app, topic, patterns)
   local kind, why = judge(app, topic, patterns)
   if not kind then return nil, why end
   return true
end

local function check(app, topic, patterns, where, level)
   local kind, why = judge(app, topic, patterns)
   if not kind then error(("%s: %s"):format(where, why), level + 1) end
   return kind
end

--- For names that come from a script, and with `patterns` those, too: "name" or "pattern"; raises.
-- level as for error().
function topics.check_script(app, topic, where, level, patterns)
   local kind = check(app, topic, patterns, where, level + 1) -- no tail call: the level counts
   return kind
end

-- -- options -------------------------------------------------------------------------

-- history and presence: true, false or their own options.
local function check_part(opts, name, where, level)
   if opts[name] == true then opts[name] = {} end
   if not opts[name] then return end
   opts[name] = options.check(opts[name], limits[name], where .. ", " .. name, level + 1)
end

--- What app:topic does, for a function called `where`.
function topics.set(app, pattern, opts, where, level)
   check(app, pattern, true, where, level + 1)
   opts = options.check(opts, limits.topic, where, level + 1)
   check_part(opts, "history", where, level + 1)
   check_part(opts, "presence", where, level + 1)
   local board = app.board
   assert(board.rules:put(pattern, opts))
   board.subscribe_hooks[pattern] = opts.authorize_subscribe
   board.cache, board.cached = {}, 0
end

--- app:topic(pattern, opts)
local function set_options(app, pattern, opts)
   topics.set(app, pattern, opts, "app:topic", 2)
   return app
end

local POLICY = { disconnect = 0, drop_oldest = 1, drop_newest = 2, latest = 3 }

-- How messages wait for who is slow; number: as the hub takes the policy. nil: in the connection's
-- output, up to its hard_mark.
local function queue_of(rules)
   local policy = rules.policy or "disconnect"
   local bytes, messages = rules.max_pending, rules.max_pending_messages
   if policy == "disconnect" then
      if not bytes and not messages then return nil end
      bytes, messages = bytes or math.maxinteger, messages or math.maxinteger
   end
   return { policy = policy, number = POLICY[policy], notice = rules.notice or false,
      bytes = bytes or backlog.BYTES, messages = messages or backlog.MESSAGES }
end

--- The options that were set for a pattern, or nil.
function topics.set_for(app, pattern)
   return app.board.rules:get(pattern)
end

-- Each option is that of the most specific pattern which gives it.
local function merge(list)
   local merged = {}
   for i = #list, 1, -1 do
      for name, value in pairs(list[i]) do merged[name] = value end
   end
   merged.queue = queue_of(merged)
   return merged
end

--- The options of all patterns that match a name; nil: none does. The table is shared.
function topics.options_of(app, topic)
   local board = app.board
   local known = board.cache[topic]
   if known ~= nil then return known or nil end
   if #board.rules == 0 then return nil end
   local list = board.rules:match(topic)
   known = #list > 0 and merge(list)
   if board.cached >= CACHED then board.cache, board.cached = {}, 0 end
   board.cache[topic], board.cached = known, board.cached + 1
   return known or nil
end

local function ask(hook, who, topic, about)
   local yes, why = hook(who, topic, about)
   if yes then return true end
   return nil, why or "not allowed", "refused"
end

-- Is there a name that both match? Lists of words, from the i-th on.
local function meet(a, b, i)
   local x, y = a[i], b[i]
   if x == nil or y == nil then return x == y end
   if x == ">" or y == ">" then return true end
   return (x == y or x == "*" or y == "*") and meet(a, b, i + 1)
end

local function words_of(topic)
   local list = {}
   for word in topic:gmatch "[^.]+" do list[#list + 1] = word end
   return list
end

-- The subscribing hooks that a pattern has to pass: of all topics it may come to match,
-- or it would be a way around them.
local function hooks_for_pattern(app, pattern)
   local list, words = {}, words_of(pattern)
   for other, hook in pairs(app.board.subscribe_hooks) do
      if meet(words, words_of(other), 1) then list[#list + 1] = hook end
   end
   return list
end

--- Whether who may subscribe, by the topic's hook: true | nil, message, "refused".
-- May wait. A pattern has to please the hooks of all that it meets.
function topics.authorize_subscribe(app, who, topic, params)
   if next(app.board.subscribe_hooks) == nil then return true end
   if core.topic_kind(topic) == "pattern" then
      for _, hook in ipairs(hooks_for_pattern(app, topic)) do
         local ok, why, code = ask(hook, who, topic, params)
         if not ok then return nil, why, code end
      end
      return true
   end
   local rules = topics.options_of(app, topic)
   local hook = rules and rules.authorize_subscribe
   if not hook then return true end
   return ask(hook, who, topic, params)
end

function topics.authorize_publish(app, who, topic, message)
   local rules = topics.options_of(app, topic)
   local hook = rules and rules.authorize_publish
   if not hook then return true end
   return ask(hook, who, topic, message)
end

-- -- publishing ----------------------------------------------------------------------

local PLAIN = { text = {}, binary = { kind = "binary" } } -- shared: not to be changed

-- What a message may be besides a string: what goes out as JSON.
local VALUES = { table = true, number = true, boolean = true }

-- A message as text, and whether it is JSON.
local function text_of(message, where, level)
   if type(message) == "string" then return message, false end
   if not VALUES[type(message)] then
      error(("%s: the message must be a string or a value for JSON, got a %s"):format(where,
         type(message)), level + 1)
   end
   local ok, text = pcall(topics.encode, message)
   if not ok then error(("%s: %s"):format(where, text), level + 1) end
   return text, true
end

-- The kind as of ws:send, or a table of options.
local function check_options(kind, opts, where, level)
   if type(kind) == "table" then kind, opts = nil, kind end
   if kind ~= nil and kind ~= "text" and kind ~= "binary" then
      error(('%s: the kind is "text" or "binary", got %s'):format(where, tostring(kind)), level + 1)
   end
   if opts == nil then return PLAIN[kind or "text"] end
   opts = options.check(opts, limits.publish, where, level + 1)
   opts.kind = kind or opts.kind
   return opts
end

-- To the hub's subscribers of one form: n | nil, message, code.
local function fan_out(hub, rules, topic, message, kind, opts, form)
   local queue = rules and rules.queue
   local compress = opts.compress ~= nil and { compress = opts.compress } or nil
   if not queue then return hub:publish(topic, message, kind, compress, form, opts.except) end
   return hub:publish(topic, message, kind, compress, form, opts.except, queue.number,
      queue.bytes, queue.messages, queue.notice, opts.key)
end

--- A text of weft.1 that is no publication, to those who speak it and are subscribed to just this
-- name: made() returns it, if there is anybody. except: a ws that does not get it.
function topics.announce(app, topic, made, except)
   local board = app.board
   local list, reaches = board.listeners:of(topic, topics.ENVELOPE),
      board.hub:reaches(topic, topics.ENVELOPE)
   if not reaches and not list[1] then return end
   local text = made()
   if reaches then board.hub:publish(topic, text, "text", nil, topics.ENVELOPE, except) end
   for _, listener in ipairs(list) do listener.f(text) end
end

-- To this process' listeners; messages by form.
local function tell_listeners(board, rules, opts, messages, info)
   if board.listeners.count == 0 then return 0 end
   info.key, info.event = opts.key, opts.event
   local n = board.listeners:tell(messages, info, rules)
   board.delivered = board.delivered + n
   return n
end

-- What goes beyond raw connections: how many it reaches. Those who speak weft.1 share one text.
local function send_on(board, rules, topic, opts, entry, epoch, offset)
   local n, text = 0, nil
   local reaches = board.hub:reaches(topic, topics.ENVELOPE)
   if reaches or board.listeners.by_form[topics.ENVELOPE] then
      text = topics.envelope(topic, entry, epoch, offset)
   end
   if reaches then
      n = fan_out(board.hub, rules, topic, text, "text", opts, topics.ENVELOPE) or 0
   end
   return n + tell_listeners(board, rules, opts,
      { [topics.RAW] = entry.text, [topics.ENVELOPE] = text },
      { topic = topic, kind = entry.kind, epoch = epoch, offset = offset })
end

--- Publishes a text on a valid name; opts as checked, but their kind may be "json", which `json`
-- says, too: n, epoch, offset | nil, message, code.
function topics.send(app, topic, message, opts, json)
   local board = app.board
   local hub = board.hub
   local rules = topics.options_of(app, topic)
   local kind = json and "json" or opts.kind or "text"
   local n, why, code = fan_out(hub, rules, topic, message, kind == "json" and "text" or kind,
      opts, topics.RAW)
   if not n then return nil, why, code end
   board.published = board.published + 1
   local kept, epoch, offset = rules and opts.history ~= false and rules.history, nil, nil
   if kept then
      epoch, offset = app.histories:append(topic, kept, core.now(), message, kind, opts.event)
   end
   if board.listeners.count == 0 and not hub:reaches(topic, topics.ENVELOPE) then
      return n, epoch, offset
   end
   local entry = { text = message, kind = kind, event = opts.event }
   return n + send_on(board, rules, topic, opts, entry, epoch, offset), epoch, offset
end

--- What app:publish does, for a method called `where` that ends with this call.
function topics.publish(app, topic, message, kind, opts, where)
   check(app, topic, false, where, 2)
   local text, json = text_of(message, where, 2)
   return topics.send(app, topic, text, check_options(kind, opts, where, 2), json)
end

--- app:publish(topic, message [, kind [, opts]])
local function app_publish(app, topic, message, kind, opts)
   return topics.publish(app, topic, message, kind, opts, "app:publish")
end

--- ws:publish(topic, message [, kind [, opts]])
local function ws_publish(ws, topic, message, kind, opts)
   local app, why, code = core.app_of(ws, "ws:publish")
   if not app then return nil, why, code end
   check(app, topic, false, "ws:publish", 2)
   local text, json = text_of(message, "ws:publish", 2)
   opts = check_options(kind, opts, "ws:publish", 2)
   if opts == PLAIN[opts.kind or "text"] then opts = { kind = opts.kind } end
   opts.except = opts.except or ws
   local ok
   ok, why, code = topics.authorize_publish(app, ws, topic, message)
   if not ok then return nil, why, code end
   return topics.send(app, topic, text, opts, json)
end

core.methods.websocket.publish = ws_publish

-- -- subscribing ---------------------------------------------------------------------

--- Puts a connection on a topic without asking the hooks: true, whether it is new | nil,
-- message, code. "too_big": a limit.
function topics.attach(ws, topic, form)
   local app, why, code = core.app_of(ws, "topics.attach")
   if not app then return nil, why, code end
   local kind = check(app, topic, true, "topics.attach", 2)
   local rules = topics.options_of(app, topic)
   local most = rules and rules.max_subscribers
   if most then most = math.max(most - app.board.listeners:on(topic, kind), 0) end
   return core.topic_subscribe(ws, topic, form or topics.RAW, most)
end

function topics.detach(ws, topic)
   return core.topic_unsubscribe(ws, topic)
end

--- How far a topic's history is: epoch, offset, or nil without one, as of a pattern: each of its
-- topics has its own.
function topics.position(app, topic)
   local rules = topics.options_of(app, topic)
   if not rules or not rules.history or core.topic_kind(topic) == "pattern" then return nil end
   return app.histories:position(topic)
end

--- The entries after since, when they are all there.
function topics.missed(app, topic, since)
   if not since then return nil end
   return app.histories:since(topic, since.epoch, since.offset, core.now())
end

--- since, of a script's options, is for one name.
function topics.check_since(opts, kind, where, level)
   if opts.since and kind == "pattern" then
      error(where .. ": since needs the name of one topic, not a pattern", level + 1)
   end
end

-- -- listening in this process ---------------------------------------------------------

--- Calls f(message, info, rules) within each publication on a topic, as listeners:add does: rules
-- are the options of its name, or nil. form: topics.ENVELOPE: the message is weft.1's text. For
-- what topics.announce sends there is no info.
function topics.listen(app, topic, f, form)
   local kind = check(app, topic, true, "topics.listen", 2)
   return app.board.listeners:add(topic, kind, f, form or topics.RAW)
end

-- What was missed goes in before anything live: nothing yields in between.
local function recall(app, sub, topic, since)
   sub.epoch, sub.offset = topics.position(app, topic)
   if not sub.epoch or not since then return end
   local list = topics.missed(app, topic, since)
   sub.recovered = list ~= nil
   for _, entry in ipairs(list or {}) do
      local info = { topic = topic, kind = entry.kind, epoch = sub.epoch, offset = entry.offset,
         event = entry.event }
      subscription.recall(sub, entry.text, info)
   end
end

local function end_subscription(sub)
   sub.why = sub.why or "the app is closed"
   sub:close()
end

--- A subscription of this process; opts as subscription.new has them, and since.
function topics.subscribe(app, topic, opts)
   local sub = subscription.new(topic, opts, app.board, app.limits.hard_mark)
   recall(app, sub, topic, opts.since)
   sub.source = topics.listen(app, topic, function(message, info, rules)
      return subscription.take(sub, message, info, rules)
   end)
   sub.source.backlog, sub.source.subscription = sub.backlog, sub
   if app.closed then end_subscription(sub) end
   return sub
end

--- The app closes: whoever waits for what is published is told, for nobody else would.
function topics.stop(app)
   for _, one in ipairs(app.board.listeners:every()) do
      if one.subscription then end_subscription(one.subscription) end
   end
end

--- app:subscribe(topic [, opts]) -> subscription
local function app_subscribe(app, topic, opts)
   local kind = check(app, topic, true, "app:subscribe", 2)
   opts = options.check(opts, limits.listening, "app:subscribe", 2)
   topics.check_since(opts, kind, "app:subscribe", 2)
   return topics.subscribe(app, topic, opts)
end

--- app:subscribers(topic)
local function subscribers(app, topic)
   local kind = check(app, topic, true, "app:subscribers", 2)
   return app.board.hub:count(topic) + app.board.listeners:on(topic, kind)
end

-- Of the hub's, and of those that only this process listens to.
local function all_topics(app)
   local board = app.board
   local counts, dropped = board.hub:topics()
   for one in pairs(board.listeners.all) do
      counts[one.topic] = (counts[one.topic] or 0) + 1
      if one.backlog then
         dropped[one.topic] = (dropped[one.topic] or 0) + one.backlog.dropped
      end
   end
   return counts, dropped
end

--- app:topics() -> iterator of (name or pattern, subscribers, dropped)
local function each_topic(app)
   local counts, dropped = all_topics(app)
   local topic, n
   return function()
      topic, n = next(counts, topic)
      return topic, n, topic and (dropped[topic] or 0)
   end
end

--- Fields of app:stats().
function topics.stats(app, stats)
   local board = app.board
   local hub = board.hub:stats()
   stats.topics, stats.published = hub.topics, board.published
   stats.pending = hub.pending + board.pending
   stats.pending_bytes = hub.pending_bytes + board.pending_bytes
   stats.subscriptions = hub.subscriptions + board.listeners.count
   stats.delivered = hub.delivered + board.delivered
   stats.dropped = hub.dropped + board.dropped
   return stats
end

topics.methods = { topic = set_options, publish = app_publish, subscribe = app_subscribe,
   subscribers = subscribers, topics = each_topic }

return topics
