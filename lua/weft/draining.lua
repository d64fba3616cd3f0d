-- draining: how an app goes while its clients stay served: app:drain.

local core = require "weft.core"
local events = require "weft.events"
local limits = require "weft.limits"
local options = require "weft.options"
local server = require "weft.server"
local topics = require "weft.topics"

local draining = {}

local LOOK = 0.02 -- seconds between two looks at what is left

-- Nobody is connected who would come back: no WebSocket, no stream of events.
local function is_empty(app)
   return app.hub:connections() == 0 and app.hub:closing() == 0 and app.streaming == 0
end

local function is_over(app)
   return app.open == 0 and is_empty(app)
end

-- True when it is so; false at that time; nil at an enclosing deadline.
local function wait(app, till, done)
   while not done(app) do
      local rest = till - core.now()
      if rest <= 0 then return false end
      if not core.sleep(math.min(rest, LOOK)) then return nil end
   end
   return true
end

-- So many at a time that all have been asked by half of the time.
local function batch_of(app, opts)
   local times = math.max(opts.timeout / 2 // opts.interval, 1)
   return math.max(opts.batch, math.ceil((app.hub:connections() + app.streaming) / times))
end

local function ask(app, opts, most)
   local asked = app.hub:close(opts.code, opts.reason, most)
   events.stop(app, most - asked)
end

-- True when all are gone before that time.
local function dismiss(app, opts, till)
   local most = batch_of(app, opts)
   local gone
   repeat
      ask(app, opts, most)
      gone = wait(app, math.min(core.now() + opts.interval, till), is_empty)
   until gone ~= false or core.now() >= till
   return gone
end

local function cut(app, opts)
   app.hub:close(opts.code, opts.reason)
   local n = app.hub:cut() + server.cut(app)
   return nil, ("app:drain: %d connection%s had to be cut off"):format(n, n == 1 and "" or "s"),
      "timeout"
end

--- app:drain([opts]) -> true | nil, message, "timeout"
function draining.method(app, opts)
   opts = options.check(opts, limits.drain, "app:drain", 2)
   local till = core.now() + opts.timeout
   server.retire(app)
   local gone = dismiss(app, opts, till)
   topics.stop(app)
   if gone and wait(app, till, is_over) then return true end
   return cut(app, opts)
end

return draining
