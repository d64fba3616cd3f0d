-- membership: ws:subscribe and its like: raw connections on topics, what they missed there, and
-- who they are. A connection that is somebody is watched by a task until it ends, so that it
-- leaves its presences then.

local context = require "weft.context"
local core = require "weft.core"
local limits = require "weft.limits"
local options = require "weft.options"
local topics = require "weft.topics"
local weft1 = require "weft.weft1"

-- -- what was missed -------------------------------------------------------------------

-- RFC 6455's frame heads are at most 10 bytes here.
local function fits(ws, list)
   local bytes = 0
   for _, entry in ipairs(list) do bytes = bytes + #entry.text + 10 end
   return bytes <= core.room(ws)
end

local function replay(ws, list)
   for _, entry in ipairs(list) do
      local kind = entry.kind == "binary" and "binary" or "text"
      local ok, why, code = core.queue(ws, entry.text, kind)
      if not ok then return nil, why, code end
   end
   return true
end

-- A connection that is new on a topic with history gets what it missed.
local function resume(app, ws, topic, since)
   local epoch, offset = topics.position(app, topic)
   if not epoch then return true end
   local info = { epoch = epoch, offset = offset }
   if not since then return info end
   local list = topics.missed(app, topic, since)
   info.recovered = list ~= nil and fits(ws, list)
   info.missed = info.recovered and #list or 0
   if info.recovered then
      local ok, why, code = replay(ws, list)
      if not ok then return nil, why, code end
   end
   return info
end

-- -- who it is --------------------------------------------------------------------------

-- { id=, data= } of the option presence, or nil; raises, also for data that no client of
-- channels could be told.
local function check_member(app, topic, kind, opts, level)
   if not opts.presence then return nil end
   local where = "ws:subscribe, presence"
   local who = options.check(opts.presence, limits.member, where, level + 1)
   if kind == "pattern" then
      error(where .. ": it needs the name of one topic, not a pattern", level + 1)
   elseif not app.desk:rules_of(topic) then
      error(("%s: the topic %q keeps none; see the option presence of app:topic"):format(where,
         topic), level + 1)
   end
   local ok, id = pcall(context.check_id, who.id, where)
   if not ok then error(id, level + 1) end
   local fine, why = true, nil
   if who.data ~= nil then fine, why = pcall(weft1.encode, who.data) end
   if not fine then error(("%s: the data: %s"):format(where, why), level + 1) end
   return { id = id, data = who.data }
end

local function leave(app, ws, topic)
   local ids = app.members[ws]
   local id = ids and ids[topic]
   if not id then return end
   ids[topic] = nil
   app.desk:absent(topic, id)
end

-- The task that watches a connection.
local function watch(app, ws, ids)
   core.departure(ws)
   app.members[ws] = nil
   for topic, id in pairs(ids) do app.desk:absent(topic, id) end
end

-- Who comes under another name than before is another one.
local function join(app, ws, topic, who)
   local ids = app.members[ws]
   if not ids then
      ids = {}
      app.members[ws] = ids
      core.spawn(watch, app, ws, ids)
   end
   local before = ids[topic]
   if before == who.id then return app.desk:update(topic, who.id, who.data) end
   ids[topic] = who.id
   app.desk:present(topic, who.id, who.data)
   if before then app.desk:absent(topic, before) end
end

-- -- the methods ------------------------------------------------------------------------

-- From here on nothing waits, so that no message is lost or comes twice. That it came is told
-- last: who is told may publish, and that is none of what it missed.
local function enter(app, ws, topic, who, since)
   if who and not app.desk:rules_of(topic) then who = nil end -- given up while a hook waited
   if who and not app.desk:has_room(topic, who.id) then
      return nil, "too many users are present on the topic (presence, max)", "too_big"
   end
   local ok, fresh, code = topics.attach(ws, topic, topics.RAW)
   if not ok then return nil, fresh, code end
   local info, why = true, nil
   if fresh then info, why, code = resume(app, ws, topic, since) end
   if not info then return nil, why, code end
   if who then join(app, ws, topic, who) end
   return info
end

--- ws:subscribe(topic [, opts])
local function subscribe(ws, topic, opts)
   local app, why, code = core.app_of(ws, "ws:subscribe")
   if not app then return nil, why, code end
   local kind = topics.check_script(app, topic, "ws:subscribe", 2, true)
   opts = opts and options.check(opts, limits.subscribe, "ws:subscribe", 2) or limits.none
   topics.check_since(opts, kind, "ws:subscribe", 2)
   local who = check_member(app, topic, kind, opts, 2)
   local ok
   ok, why, code = topics.authorize_subscribe(app, ws, topic, opts.params)
   if not ok then return nil, why, code end
   return enter(app, ws, topic, who, opts.since)
end

--- ws:unsubscribe(topic)
local function unsubscribe(ws, topic)
   local app = core.app_of(ws, "ws:unsubscribe")
   if not app then return false end
   topics.check_script(app, topic, "ws:unsubscribe", 2, true)
   local was = core.topic_unsubscribe(ws, topic)
   leave(app, ws, topic)
   return was
end

--- ws:subscriptions() -> iterator of (name, dropped); what changes meanwhile does not disturb it
local function subscriptions(ws)
   local list, i = core.topics_of(ws), 0
   return function()
      i = i + 2
      return list[i - 1], list[i]
   end
end

local websocket = core.methods.websocket
websocket.subscribe, websocket.unsubscribe = subscribe, unsubscribe
websocket.subscriptions = subscriptions
