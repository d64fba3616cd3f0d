-- feed: a topic's messages over plain HTTP: as Server-Sent Events that resume by their ids, and
-- as answers to a long poll. An id, and what a poll goes on from, is "epoch:offset".

local core = require "weft.core"
local response = require "weft.response"
local topics = require "weft.topics"
local weft1 = require "weft.weft1"
local watch = require "weft.watch"
local wire = require "weft.wire"

local feed = {}

-- What one answer to a poll holds at most, beyond its first message.
local MAX_MESSAGES, MAX_BYTES = 1000, 1 << 20
local POLL_TIMEOUT, POLL_MOST = 25, 60

-- -- positions -----------------------------------------------------------------------

local function position(epoch, offset)
   return epoch and ("%s:%d"):format(epoch, offset)
end

--- { epoch=, offset= } of "epoch:offset", or nil.
function feed.since(text)
   local epoch, offset = (text or ""):match "^([^:]+):(%d+)$"
   if not epoch or #offset > 15 then return nil end
   return { epoch = epoch, offset = math.tointeger(tonumber(offset)) }
end

-- -- names ---------------------------------------------------------------------------

--- A topic whose words ":name" stand for the route's parameters: function(app, req) -> topic,
-- or nil when what came is not one word of a name.
function feed.template(text)
   local words = {}
   for word in text:gmatch "[^.]+" do words[#words + 1] = word end
   local function fill(app, request)
      local all = {}
      for i, word in ipairs(words) do
         local name = word:match "^:([%a_][%w_]*)$"
         local value = name and request.params[name] or word
         -- one word: with a dot, or a wildcard, a peer could name other topics
         if name and (value:find(".", 1, true) or not topics.check_name(app, value)) then
            return nil
         end
         all[i] = value
      end
      local topic = table.concat(all, ".")
      return topics.check_name(app, topic, true) and topic or nil
   end
   return fill
end

--- The names of the parameters in it.
function feed.parameters(text)
   local names = {}
   for word in text:gmatch "[^.]+" do
      names[#names + 1] = word:match "^:([%a_][%w_]*)$"
   end
   return names
end

local function is_pattern(topic)
   return core.topic_kind(topic) == "pattern"
end

-- Who is not slow may be sent as much in one turn as a WebSocket.
local function subscribe(app, topic, since)
   return topics.subscribe(app, topic, { since = not is_pattern(topic) and since or nil,
      patient = true })
end

-- While it waits for a message the client has taken all before it.
local function receive(sub, timeout)
   sub.reading = true
   local message, info = sub:receive(timeout)
   sub.reading = false
   return message, info
end

-- -- events --------------------------------------------------------------------------

-- Events are text, so what is not goes in base64, under a name that tells.
local function send_message(stream, message, info)
   local fields = { event = info.event, id = position(info.epoch, info.offset) }
   if info.kind == "binary" then
      fields.event, message = fields.event or "binary", core.base64(message)
   end
   return stream:send(message, fields)
end

-- Is the client to be told what it missed there?
local function tells(app, topic)
   local rules = topics.options_of(app, topic)
   return rules ~= nil and rules.notice
end

local function send_missed(app, stream, topic, info)
   if not info.missed or not tells(app, info.topic) then return true end
   return stream:send(weft1.missed_notice(topic, info.missed), { event = "missed" })
end

-- The id tells a client that has seen no message yet where to go on from.
local function send_start(stream, sub, since)
   local id = position(sub.epoch, sub.offset)
   if since and not sub.recovered then
      return stream:send('{"recovered":false}', { event = "reset", id = id })
   elseif id and not since then
      return stream:send(nil, { id = id })
   end
   return true
end

--- Sends a topic's messages until the client is gone: nil, message, code.
function feed.relay(app, stream, topic, since)
   local sub <close> = subscribe(app, topic, since)
   local ok, why, code = send_start(stream, sub, since)
   while ok do
      local message, info = receive(sub)
      if message == nil then return nil, info, "closed" end
      ok, why, code = send_missed(app, stream, topic, info)
      if ok then ok, why, code = send_message(stream, message, info) end
   end
   return nil, why, code
end

-- -- long poll -----------------------------------------------------------------------

--- Does the request ask for a poll?
function feed.is_poll(request)
   if request:arg "poll" then return true end
   local accept = request:header "accept"
   return accept ~= nil and accept:lower():find("application/json", 1, true) ~= nil
end

-- A message as a member of the list; its topic is in there where the subscription is a pattern's.
local function entry_of(message, info, topic)
   local parts = {}
   if info.topic ~= topic then parts[1] = '"topic":' .. wire.quote(info.topic) end
   if info.offset then parts[#parts + 1] = ('"offset":%d'):format(info.offset) end
   if info.event then parts[#parts + 1] = '"event":' .. wire.quote(info.event) end
   if info.kind == "json" then
      parts[#parts + 1] = '"data":' .. message
   elseif info.kind == "binary" then
      parts[#parts + 1] = '"encoding":"base64","data":"' .. core.base64(message) .. '"'
   else
      parts[#parts + 1] = '"data":' .. wire.quote(message)
   end
   return "{" .. table.concat(parts, ",") .. "}"
end

-- What there is, or comes within the time: a list, the offset of its last, and how many were
-- dropped that the client is to be told of. With a history it can still have those behind the last.
local function gather(app, sub, timeout)
   local list, bytes, offset, missed, topic = {}, 0, sub.offset, 0, nil
   local message, info = receive(sub, timeout)
   while message ~= nil do
      list[#list + 1], topic = entry_of(message, info, sub.topic), info.topic
      bytes, offset = bytes + #message, info.offset or offset
      missed = missed + (tells(app, topic) and info.missed or 0)
      if #list >= MAX_MESSAGES or bytes >= MAX_BYTES then break end
      message, info = receive(sub, 0)
   end
   if topic and not sub.epoch and tells(app, topic) then
      missed = missed + sub.backlog:take_missed()
   end
   return list, offset, missed
end

local function poll_text(topic, sub, since, list, offset, missed)
   local parts = { '"topic":' .. wire.quote(topic) }
   if sub.epoch then
      parts[#parts + 1] = ('"epoch":%s,"offset":%d'):format(wire.quote(sub.epoch), offset)
   end
   if since then parts[#parts + 1] = '"recovered":' .. tostring(sub.recovered == true) end
   if missed > 0 then parts[#parts + 1] = ('"missed":%d'):format(missed) end
   parts[#parts + 1] = '"messages":[' .. table.concat(list, ",") .. "]"
   return "{" .. table.concat(parts, ",") .. "}"
end

-- Where the history could not go on, that is told at once.
local function wait_time(sub, since, timeout)
   return (since and not sub.recovered) and 0 or timeout
end

-- Sends the body, once it is known: the client may go away meanwhile.
local function send_poll(connection, plan)
   local source = plan.body
   local _ <close> = watch(connection)
   local sub <close> = subscribe(source.app, source.topic, source.since)
   local list, offset, missed = gather(source.app, sub,
      wait_time(sub, source.since, source.timeout))
   local text = poll_text(source.topic, sub, source.since, list, offset, missed)
   if plan.chunked then text = ("%x\r\n%s\r\n0\r\n\r\n"):format(#text, text) end
   return connection:send(text) ~= nil
end

-- The time a client asks for, or nil when that is none.
local function timeout_of(request)
   local text = request:arg "timeout"
   if not text then return POLL_TIMEOUT end
   local seconds = text:find "^%d+%.?%d*$" and #text <= 10 and tonumber(text)
   return seconds and math.min(seconds, POLL_MOST) or nil
end

--- The answer to a poll: status, headers, body.
function feed.poll(app, request, topic)
   local text = request:arg "since"
   local since, timeout = feed.since(text), timeout_of(request)
   if text and not since then return 400, nil, 'since must be "epoch:offset"\n' end
   if not timeout then return 400, nil, "timeout must be a number of seconds\n" end
   return 200, { ["content-type"] = "application/json", ["cache-control"] = "no-store" },
      setmetatable({ app = app, topic = topic, since = since, timeout = timeout,
         send = send_poll }, response.source)
end

return feed
