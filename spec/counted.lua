-- Counts which lines of lua/weft run, for `make cov`: LUA_INIT loads it into every Lua process of
-- the tests. What a process ran it writes into WEFT_COV at its end; tools/coverage adds up.

-- luacheck: ignore 122

local dir = os.getenv "WEFT_COV"
local ran, names = {}, {}
local getinfo, sethook = debug.getinfo, debug.sethook

-- The file's name below lua/, or false.
local function name_of(source)
   local name = source:match "^@.*lua/(weft/.*%.lua)$" or source:match "^@.*lua/(weft%.lua)$"
   names[source] = name or false
   return names[source]
end

local function count(_, line)
   local source = getinfo(2, "S").source
   local name = names[source]
   if name == nil then name = name_of(source) end
   if name then
      local lines = ran[name]
      if not lines then
         lines = {}
         ran[name] = lines
      end
      lines[line] = true
   end
end

local function write()
   local random <close> = assert(io.open("/dev/urandom", "rb"))
   local name = ("%s/%016x"):format(dir, (string.unpack("I8", random:read(8))))
   local file <close> = io.open(name, "w")
   for path, lines in pairs(file and ran or {}) do
      for line in pairs(lines) do file:write(path, " ", line, "\n") end
   end
   ran = {}
end

-- A hook belongs to one coroutine.
local function hook()
   sethook(count, "l")
end
package.loaded["spec.task_hook"] = hook -- for tasks that weft.run makes

local function counted(f)
   return function(...)
      hook()
      return f(...)
   end
end

local create, wrap = coroutine.create, coroutine.wrap
function coroutine.create(f) return create(type(f) == "function" and counted(f) or f) end
function coroutine.wrap(f) return wrap(type(f) == "function" and counted(f) or f) end

local core = require "weft.core"
local spawn = core.spawn
function core.spawn(f, ...)
   return spawn(type(f) == "function" and counted(f) or f, ...)
end

local exit = os.exit
function os.exit(...)
   write()
   exit(...)
end

-- The last object of the state to be collected.
local last = setmetatable({}, { __gc = write })
debug.getregistry()[last] = last
hook()
