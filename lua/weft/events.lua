-- events: Server-Sent Events (WHATWG HTML 9.2) from a server: app:events, and the stream that
-- its handlers send on. A handler runs in the task of its connection. A second task reads what
-- a client of events has no reason to send: so it notices that the client went away, ends the
-- handler then, and keeps quiet connections in use.

local core = require "weft.core"
local feed = require "weft.feed"
local limits = require "weft.limits"
local options = require "weft.options"
local response = require "weft.response"
local sse = require "weft.sse"
local topics = require "weft.topics"
local upgrade = require "weft.upgrade"

local events = {}

-- What a client may send meanwhile, before it is taken for something else.
local MAX_STRAY = 64 << 10
local PIECE = 16 << 10

-- { app=, request=, data=, last_event_id=, connection=, chunked=, over=, sent_at=, guard= }
local stream = {}
stream.__index = stream
stream.__name = "weft.events"
events.methods = stream

-- A send that its task's cancellation broke off may have sent a part: no event can follow.
local guard_class = {}
function guard_class:__close()
   if self.under_way then
      self.stream:close() -- which sees it, and so sends nothing
      self.under_way = false
   end
end

-- true | nil, message, code. Where nothing of the text was sent, the stream goes on.
local function write(self, text)
   if self.over then return nil, "closed", "closed" end
   if self.guard.under_way then
      return nil, "another task is sending on this stream of events", "busy"
   end
   local guard <close> = self.guard
   guard.under_way = true
   if self.chunked then text = ("%x\r\n%s\r\n"):format(#text, text) end
   local sent, message, taken, code = self.connection:send(text)
   guard.under_way = false
   if sent then
      self.sent_at = core.now()
      return true
   end
   if taken > 0 or code ~= "timeout" then self:close() end
   return nil, message, code
end

--- stream:send(data [, { event=, id=, retry= }]) -> true | nil, message, code
function stream:send(data, fields)
   local text, message, code = sse.event(data, fields, "stream:send", 2)
   if not text then return nil, message, code end
   return write(self, text)
end

--- stream:comment([text]) -> true | nil, message, code
function stream:comment(text)
   local line, message, code = sse.comment(text or "", "stream:comment", 2)
   if not line then return nil, message, code end
   return write(self, line)
end

--- stream:relay(topic) -> nil, message, code: sends all that is published there, until the client
-- is gone; a client that comes back goes on where it was, when the topic has a history.
function stream:relay(topic)
   local ok, why = topics.check_name(self.app, topic, true)
   if not ok then error("stream:relay: " .. why, 2) end
   local code
   ok, why, code = topics.authorize_subscribe(self.app, self.request, topic)
   if not ok then return nil, why, code end
   return feed.relay(self.app, self, topic, feed.since(self.last_event_id))
end

--- stream:buffered() -> bytes that the system has not taken yet
function stream:buffered()
   return self.over and 0 or self.connection:buffered()
end

--- stream:close(): the end, as the client sees it; it will come back. Idempotent.
function stream:close()
   if self.over then return true end
   self.over = true
   if self.watcher then self.watcher:cancel() end
   if not self.guard.under_way and self.chunked then self.connection:send "0\r\n\r\n" end
   self.connection:linger()
   return true
end

stream.__close = stream.close

function stream:__tostring()
   return ("weft.events (%s %s%s)"):format(self.request.remote, self.request.path,
      self.over and ", closed" or "")
end

-- Whatever is under way is not interrupted; and if anything waits to be taken, the connection
-- is not quiet.
local function beat(self, interval)
   local quiet = core.now() - self.sent_at >= interval
   if quiet and not self.guard.under_way and self:buffered() == 0 then write(self, ":\n\n") end
end

-- The watcher's task: ends the handler's when the client is gone.
local function watch(self, task, interval)
   local stray, wait = 0, interval > 0 and interval or nil
   while stray <= MAX_STRAY do
      local data, _, code = core.read_some(self.connection, PIECE, wait)
      if data == nil and code == "timeout" then
         beat(self, interval)
      elseif not data or data == "" then
         break
      else
         stray = stray + #data
      end
   end
   self.watcher = nil
   self.over = true
   task:cancel()
end

-- What ends with the handler, however that ends.
local running = {}
function running:__close()
   local app, ended = self.app, self.stream
   app.streams[ended], app.streaming = nil, app.streaming - 1
   if ended.watcher then ended.watcher:cancel() end
end

-- Sends the body: runs the handler. False: the connection is not kept.
local function run(connection, plan)
   local source = plan.body
   local self = source.stream
   self.connection, self.chunked, self.sent_at = connection, plan.chunked, core.now()
   local task = core.current()
   self.task = task
   local app = source.app
   app.streams[self], app.streaming = true, app.streaming + 1
   local _ <close> = setmetatable({ stream = self, app = app }, running)
   self.watcher = core.spawn(watch, self, task, source.heartbeat)
   if source.retry then self:send(nil, { retry = source.retry }) end
   source.handler(self, self.request)
   self:close()
   return false
end

local function headers()
   return { ["content-type"] = "text/event-stream",
      -- no-transform: nothing in between is to compress it, and so to hold it back
      ["cache-control"] = "no-cache, no-transform",
      ["x-accel-buffering"] = "no" } -- nginx and those that learnt from it
end

-- Header fields are bytes, and a browser sends the id as UTF-8; a page's own client may only be
-- able to write it into the query.
local function last_event_id(request)
   local id = request:header "last-event-id" or request:arg "last_event_id"
   if id and id ~= "" and not id:find "[%z\r\n]" and utf8.len(id) then return id end
end

--- The answer to a request for events, as handlers return answers: handler(stream, request)
-- runs once the head is sent. opts: { heartbeat=, retry=, data= }
function events.answer(app, request, handler, opts)
   local self = setmetatable({ app = app, request = request, last_event_id = last_event_id(request),
      data = opts.data }, stream)
   self.guard = setmetatable({ stream = self }, guard_class)
   local source = setmetatable({ app = app, stream = self, handler = handler,
      heartbeat = opts.heartbeat, retry = opts.retry, send = run, final = true },
      response.source)
   return 200, headers(), source
end

-- A topic instead of a handler: asks the topic's hook, then relays it or answers a poll.
local function answer_topic(app, request, topic, opts)
   if not topic then return 404, nil, "no such topic\n" end
   local ok, why = topics.authorize_subscribe(app, request, topic)
   if not ok then return 403, nil, why .. "\n" end
   if feed.is_poll(request) then return feed.poll(app, request, topic) end
   return events.answer(app, request, function(self)
      return feed.relay(app, self, topic, feed.since(self.last_event_id))
   end, opts)
end

local function check_template(pattern, text, level)
   for _, name in ipairs(feed.parameters(text)) do
      if not (pattern .. "/"):find("/:" .. name .. "/", 1, true) then
         error(('app:events: the topic\'s word ":%s" is no parameter of the route %q'):format(name,
            pattern), level + 1)
      end
   end
   local ok, why = topics.check_name({ limits = { max_topic_name = 255 } }, text, true)
   if not ok then error("app:events: " .. why, level + 1) end
end

--- app:events(pattern, handler or topic [, opts])
function events.route(app, pattern, handler, opts)
   options.argument(handler, "function|string", "the handler", "app:events", 2)
   opts = options.check(opts, limits.events, "app:events", 2,
      { authorize_timeout = app.limits.authorize_timeout })
   local fill
   if type(handler) == "string" then
      options.argument(pattern, "string", "the pattern", "app:events", 2)
      check_template(pattern, handler, 2)
      fill = feed.template(handler)
   end
   local function answer(request)
      local ok, data, fields, body = upgrade.authorize(opts, request)
      if not ok then return data, fields, body end
      request.user = data
      local how = { heartbeat = opts.heartbeat, retry = opts.retry, data = data }
      if fill then return answer_topic(app, request, fill(app, request), how) end
      return events.answer(app, request, handler, how)
   end
   app.router:add("GET", pattern, { handler = answer, max_body = 0 }, 2)
   return app
end

--- Ends streams of an app that closes, at most so many, or all.
function events.stop(app, most)
   local n = 0
   for self in pairs(app.streams) do
      if n == most then return end
      self.task:cancel()
      n = n + 1
   end
end

return events
