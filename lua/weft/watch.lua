-- watch: a task that produces an answer while its client may go away: it is cancelled then,
-- where it waits, so that its `<close>` variables run. What the client sends meanwhile (a next
-- request) is left alone; behind that its end is only seen by sending.

local core = require "weft.core"

local guard = {}

function guard:__close()
   if self.watcher then self.watcher:cancel() end
end

-- RFC 9112 9.6: a client that ends its side first would get its answer; but browsers and
-- proxies that do so have gone, and who has gone would be waited on for ever.
local function look(self, connection, task)
   if not core.ready(connection, false) then return end
   self.watcher = nil
   if core.pending(connection) == 0 then task:cancel() end
end

--- Watches a connection for the current task until what it returns is closed.
return function(connection)
   local self = setmetatable({}, guard)
   self.watcher = core.spawn(look, self, connection, core.current())
   return self
end
