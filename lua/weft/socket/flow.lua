-- flow: what LuaSocket's protocol modules build on: exceptions that protect() turns back
-- into nil and a message, and the sources and sinks of its ltn12.

local core = require "weft.core"

local flow = {}

-- What try() raises: { message }, known by its metatable.
local exception = { __tostring = function(self) return tostring(self[1]) end }

--- newtry(f) -> try: returns its arguments, unless the first is nil or false: then it calls
-- f and raises the second for protect(). What f raises is nobody's, unless its task is cancelled.
function flow.newtry(finalizer)
   return function(...)
      if (...) then return ... end
      if finalizer then
         local ok, err = pcall(finalizer)
         if not ok and core.is_cancel(err) then error(err, 0) end
      end
      error(setmetatable({ (select(2, ...)) }, exception), 0)
   end
end

local function outcome(ok, ...)
   if ok then return ... end
   local err = ...
   if getmetatable(err) == exception then return nil, err[1] end
   error(err, 0)
end

--- protect(f) -> the same function, for which what try() raises is nil and a message.
function flow.protect(f)
   return function(...) return outcome(pcall(f, ...)) end
end

--- skip(n, ...) -> all but the first n
function flow.skip(n, ...)
   return select(n + 1, ...)
end

--- choose(table) -> function(name, ...): calls the table's function of that name, or
-- "default" when the first argument is no name.
function flow.choose(functions)
   return function(name, ...)
      if type(name) ~= "string" then return flow.choose(functions)("default", name, ...) end
      local f = functions[name]
      if not f then error(("unknown key (%s)"):format(name), 3) end
      return f(...)
   end
end

-- A source or sink also answers for its socket, for select().
local function about(socket, call)
   return setmetatable({
      getfd = function() return socket:getfd() end,
      dirty = function() return socket:dirty() end,
   }, { __call = function(_, ...) return call(...) end })
end

-- A sink that sends, and at the end does that.
local function sender(finish)
   return function(socket)
      return about(socket, function(chunk)
         if chunk then return socket:send(chunk) end
         finish(socket)
         return 1
      end)
   end
end

local sinks = {
   ["close-when-done"] = sender(function(socket) socket:close() end),
   ["keep-open"] = sender(function() end),
}

-- module.BLOCKSIZE is for users to set.
local function by_length(module)
   return function(socket, length)
      return about(socket, function()
         if length <= 0 then return nil end
         local chunk, err = socket:receive(math.min(module.BLOCKSIZE, length))
         if not chunk then return nil, err end
         length = length - #chunk
         return chunk
      end)
   end
end

local function until_closed(module)
   return function(socket)
      local done = false
      return about(socket, function()
         if done then return nil end
         local chunk, err, partial = socket:receive(module.BLOCKSIZE)
         if chunk then return chunk end
         if err ~= "closed" then return nil, err end
         done = true
         socket:close()
         return partial
      end)
   end
end

--- Adds all of this to the module; protocol modules add more sinks and sources.
function flow.install(module)
   local sources = { ["by-length"] = by_length(module), ["until-closed"] = until_closed(module) }
   sinks.default, sources.default = sinks["keep-open"], sources["until-closed"]
   module.BLOCKSIZE = 2048
   module.sinkt, module.sourcet = sinks, sources
   module.sink, module.source = flow.choose(sinks), flow.choose(sources)
   for _, name in ipairs { "newtry", "protect", "skip", "choose" } do
      module[name] = flow[name]
   end
   module.try = flow.newtry()
end

return flow
