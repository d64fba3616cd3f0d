-- methods: holds methods that are written in Lua to their class, so that a forgotten colon is
-- told where it was forgotten. Those that are written in C look for themselves.

local methods = {}

--- Raises for a method ("channel:send") that was called on something else. level as for error().
function methods.misuse(self, name, class, level)
   local meta = getmetatable(self)
   error(("%s: %s expected, got %s (methods are called with a colon)"):format(name, class,
      type(meta) == "table" and meta.__name or type(self)), level + 1)
end

-- An object of the class, or a table that a script has built on one (`__index`).
local function fits(self, class)
   local meta = getmetatable(self)
   if type(meta) ~= "table" then return false end
   return meta.__name == class
      or meta.__name == nil and meta.__index ~= nil and type(self) == "table"
end

-- The method is called last, so levels of its errors count as if it were called by the script.
local function held(method, class, name)
   return function(self, ...)
      if not fits(self, class) then methods.misuse(self, name, class, 2) end
      return method(self, ...)
   end
end

--- Does that for all methods of a class ("weft.channel"), which is a table of them, but for those
-- that are in the set `but`: they look for themselves.
function methods.hold(list, class, but)
   local short = class:match "[^.]*$"
   for name, method in pairs(list) do
      if type(method) == "function" and name:sub(1, 2) ~= "__" and not (but and but[name])
         and debug.getinfo(method, "S").what ~= "C" then
         list[name] = held(method, class, short .. ":" .. name)
      end
   end
end

return methods
