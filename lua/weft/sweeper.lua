-- sweeper: one task of an app that forgets what is too old in its histories and lets go whose
-- grace is over in its presences. It runs only while something is due, and only while the app
-- listens, so that it keeps no program running.

local core = require "weft.core"

local sweeper = {}
sweeper.__index = sweeper

-- What is due at almost the same time goes together.
local LEAST = 0.05

local function sweep(self)
   local now, soonest = core.now(), nil
   for _, store in ipairs(self.stores) do
      local due = store:sweep(now)
      if due and (not soonest or due < soonest) then soonest = due end
   end
   return soonest
end

local function run(self)
   self.token = core.waiting()
   while not self.app.closed do
      self.woken = false
      local due = sweep(self)
      if not due then break end
      if not self.woken then core.park(math.max(due - core.now(), LEAST)) end
   end
   self.token = nil
end

--- Something is due that may be sooner than all before; or the app listens, or is closed.
function sweeper:wake()
   self.woken = true
   if self.token then
      core.unpark(self.token)
   elseif not self.app.closed and next(self.app.listeners) and not self.starting then
      self.starting = true
      core.spawn(function()
         self.starting = false
         run(self)
      end)
   end
end

--- sweeper.new(app, store, ...): each store has sweep(now) -> when it is due again, or nil,
-- and calls its field `wake` when that changes.
function sweeper.new(app, ...)
   local self = setmetatable({ app = app, stores = { ... } }, sweeper)
   for _, store in ipairs(self.stores) do
      store.wake = function() self:wake() end
   end
   return self
end

return sweeper
