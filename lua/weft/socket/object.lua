-- object: what LuaSocket's objects for TCP and UDP have in common: their classes by name,
-- time limits, descriptors and addresses.

local core = require "weft.core"
local errors = require "weft.socket.errors"

local object = {}

object.bad_descriptor = "Bad file descriptor"

local by_fd = setmetatable({}, { __mode = "v" })

--- The object of a descriptor that getfd() has told.
function object.by_fd(fd)
   return by_fd[fd]
end

--- A metatable for objects { native=, class=, closed=, family=, block=, total= }; its
-- __index holds the methods.
function object.metatable()
   local class = { __name = "weft.socket", is_socket = true, __index = {} }
   for name, method in pairs(object.methods) do class.__index[name] = method end
   class.__close = object.methods.close
   class.__tostring = function(self) return ("%s: %p"):format(self.class, self) end
   return class
end

--- Is it one of these objects?
function object.is(value)
   local class = type(value) == "table" and getmetatable(value)
   return class and rawget(class, "is_socket") == true
end

--- Raises at the caller's caller unless the object has that class by now.
function object.demand(self, wanted)
   if self.class == wanted then return end
   error(("bad argument #1 (%s expected)"):format(wanted), 3)
end

-- LuaSocket ends each wait after the time "b", and the operation after the time "t"; a
-- guard for the latter.
local no_guard = setmetatable({}, { __close = function() end })
function object.total_guard(self)
   return self.total and core.deadline(self.total) or no_guard
end

--- A port from a number or its digits, or nil.
function object.port(port)
   local number = math.tointeger(tonumber(port))
   if number and number >= 0 then return number & 0xffff end
end

local function is_family(ip, family)
   return not family or (ip:find(":", 1, true) and "inet6" or "inet") == family
end

--- The host's addresses, of the object's family, or nil and a message.
function object.addresses_of(self, host)
   local all, message, code = core.resolve(host)
   if not all then return nil, errors.text(code, message) end
   local list = {}
   for _, ip in ipairs(all) do
      if is_family(ip, self.family) then list[#list + 1] = ip end
   end
   if list[1] then return list end
   return nil, errors.text("resolve")
end

--- The same for binding: "*" is the IPv4 one unless the object is for IPv6.
function object.bind_addresses(self, host)
   if host == "*" then return { self.family == "inet6" and "::" or "0.0.0.0" } end
   return object.addresses_of(self, host)
end

--- A native handle changes its class with its use, and loses its time then.
function object.apply_timeout(self)
   if not self.closed then self.native:settimeout(self.block, self.steps and "b" or nil) end
end

local methods = {}
object.methods = methods

--- settimeout(seconds [, mode]) -> 1. "b": of each wait; "t": of each operation.
function methods:settimeout(seconds, mode)
   mode = mode or "b"
   if seconds ~= nil and type(seconds) ~= "number" then
      error("bad argument #2 to 'settimeout' (number expected)", 2)
   end
   if seconds and (seconds < 0 or seconds ~= seconds) then seconds = nil end
   if mode:find("^b") then self.block = seconds
   elseif mode:find("^[tr]") then self.total = seconds
   else error("bad argument #3 to 'settimeout' (invalid timeout mode)", 2) end
   object.apply_timeout(self)
   return 1
end

--- gettimeout() -> "b", "t"; -1: none
function methods:gettimeout()
   return self.block or -1, self.total or -1
end

--- getsockname() -> ip, port as text, family | nil, message
function methods:getsockname()
   local ip, port, family
   if not self.closed then ip, port, family = self.native:getsockname() end
   if ip then return ip, tostring(port), family end
   return nil, object.bad_descriptor
end

--- getfd() -> its descriptor, for select(); nobody else may read or write there
function methods:getfd()
   local fd = self.closed and -1 or core.fd(self.native)
   if fd >= 0 then by_fd[fd] = self end
   return fd
end

--- getfamily() -> "inet4" | "inet6"
function methods:getfamily()
   return self.family == "inet6" and "inet6" or "inet4"
end

--- close() -> 1
function methods:close()
   self.closed = true
   self.native:close()
   return 1
end

return object
