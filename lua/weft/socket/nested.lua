-- nested: waiting inside a coroutine that a driver has made for itself (an iterator over
-- messages, say). Such a coroutine is no task, and its yields belong to the driver. So the
-- call that would wait is yielded to whoever resumes the coroutine, done there, where a task
-- or the main thread runs, and its results are handed back in.

local nested = {}

local library = require "coroutine"
local create, resume, close = coroutine.create, coroutine.resume, coroutine.close
local running, status, yield = coroutine.running, coroutine.status, coroutine.yield

local CALL = {} -- what is yielded is a call: CALL, function, its arguments
local ours = setmetatable({}, { __mode = "k" }) -- coroutines whose resumers know of it

-- What came back: results, or an error that belongs in here.
local function inside(ok, ...)
   if ok then return ... end
   error((...), 0)
end

--- f, made to work in a driver's coroutine too.
function nested.method(f)
   local function call(...) -- where it is done may be a driver's coroutine again
      if ours[running()] then return inside(yield(CALL, call, table.pack(...))) end
      return f(...)
   end
   return call
end

-- Does the calls that come out, until something else does: as resume returns it.
local function pump(co, ...)
   local ok, first, f, args = ...
   if not ok or first ~= CALL then return ... end
   return pump(co, resume(co, pcall(f, table.unpack(args, 1, args.n))))
end

--- Puts functions into the library coroutine that know of this.
function nested.install()
   library.create = function(f)
      local co = create(f)
      ours[co] = true
      return co
   end

   library.resume = function(co, ...)
      return pump(co, resume(co, ...))
   end

   library.wrap = function(f)
      local co = library.create(f)
      return function(...)
         local results = table.pack(pump(co, resume(co, ...)))
         if results[1] then return table.unpack(results, 2, results.n) end
         local err = results[2]
         if status(co) ~= "dead" then error(err, 2) end -- it is running, or was resumed within
         local closed, why = close(co)
         if not closed then err = why end
         error(err, type(err) == "string" and 2 or 0)
      end
   end
   nested.install = function() end
end

return nested
