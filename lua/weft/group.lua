-- group: structured concurrency. weft.group(f) leaves when every task started
-- in it has ended; the first failure cancels the others and is raised again.

local core = require "weft.core"
local options = require "weft.options"

local group = {}
group.__index = group
group.__name = "weft.group"

local function cancel_children(self)
   for task in pairs(self.tasks) do task:cancel() end
end

-- Called when a child has ended. One that was cancelled has not failed.
local function ended(self, task, failed, err)
   self.tasks[task] = nil
   if failed and not self.failed and not core.is_cancel(err) then
      self.failed, self.failure = true, err
      cancel_children(self)
   end
   if not next(self.tasks) then core.unpark(self.waiter) end
end

--- g:spawn(f, ...) -> task
function group:spawn(f, ...)
   options.argument(f, "function", "the function", "group:spawn", 2)
   if self.left then error("group:spawn: the group has already ended", 2) end
   local task = core.spawn(f, ...)
   core.on_end(task, function(_, failed, err) ended(self, task, failed, err) end)
   self.tasks[task] = true -- last: where memory fails, nobody waits for what never ends
   if self.failed or self.cancelled then task:cancel() end
   return task
end

--- Cancels every child; the body too. weft.group then returns
-- nil, "cancelled", "cancelled".
function group:cancel()
   self.cancelled = true
   cancel_children(self)
   return true
end

-- Waits until no child is left. When the waiting task itself is cancelled, or a
-- deadline passes, the children are cancelled and still waited for: only then
-- does the outcome go on, so that no child outlives the group. pcall, because
-- nothing can wait any more while an error unwinds a task.
local function wait_for_children(self)
   local outcome
   while next(self.tasks) do
      local lifted <close> = outcome and core.deadline(nil) or nil
      local fine, ok, message, code = pcall(core.park)
      if not outcome and not (fine and ok) then
         outcome = fine and { message = message, code = code } or { raise = ok }
         cancel_children(self)
      end
   end
   self.left = true
   return outcome
end

function group:__tostring()
   local n = 0
   for _ in pairs(self.tasks) do n = n + 1 end
   return ("weft.group (%d running)"):format(n)
end

--- weft.group(f) -> what f returns. f(g) runs as a child of its own, so that a
-- failing sibling can cancel it.
local function run(f)
   options.argument(f, "function", "the body", "weft.group", 2)
   local self = setmetatable({ tasks = {}, waiter = core.waiting() }, group)
   local results
   self:spawn(function() results = table.pack(f(self)) end)
   local outcome = wait_for_children(self)
   if outcome and outcome.code == nil then error(outcome.raise, 0) end
   if self.failed then error(self.failure, 0) end
   if outcome then return nil, outcome.message, outcome.code end
   if not results then return nil, "cancelled", "cancelled" end
   return table.unpack(results, 1, results.n)
end

return { run = run, methods = group }
