-- guarded: calls the user's code, so that an error there is nobody else's business.

local core = require "weft.core"

-- The traceback is made where the error happened. A cancelled task's error is
-- left alone: it has to end the task.
local function on_raise(err)
   if core.is_cancel(err) then return { cancel = err } end
   local ok, text = pcall(tostring, err) -- its __tostring may raise
   return { text = debug.traceback(ok and text or "(an error object without text)", 2) }
end

local function outcome(ok, first, ...)
   if ok then return true, first, ... end
   if type(first) ~= "table" then return false, tostring(first) end -- not even on_raise ran
   if first.cancel ~= nil then error(first.cancel, 0) end
   return false, first.text
end

--- guarded(f, ...) -> true and what f returned | false and a traceback.
return function(f, ...)
   return outcome(xpcall(f, on_raise, ...))
end
