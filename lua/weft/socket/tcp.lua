-- tcp: LuaSocket's TCP objects over weft's sockets: its names, its classes (master, client,
-- server) and just what it returns, while only the task waits.

local core = require "weft.core"
local errors = require "weft.socket.errors"
local nested = require "weft.socket.nested"
local object = require "weft.socket.object"

local tcp = {}

-- { native=, class=, connected=, closed= both true or nil, family= "inet" | "inet6" | nil,
--   block=, total= seconds or nil, sent=, received=, born= }
local class = object.metatable()
local methods = class.__index

local failure, demand, total_guard = errors.text, object.demand, object.total_guard
local apply_timeout = object.apply_timeout

local function new(native, kind, family)
   return setmetatable({ native = native, class = kind, family = family, steps = true,
      sent = 0, received = 0, born = core.gettime() }, class)
end

--- tcp.new(family) -> a master object
function tcp.new(family)
   return new(core.tcp(), "tcp{master}", family)
end

--- bind(host, port) -> 1 | nil, message
function methods:bind(host, port)
   demand(self, "tcp{master}")
   port = object.port(port)
   if not port then return nil, errors.no_service end
   local list, message = object.bind_addresses(self, host)
   if not list then return nil, message end
   for _, ip in ipairs(list) do
      local ok, why, code = self.native:bind_ip(ip, port)
      if ok then return 1 end
      message = failure(code, why)
   end
   return nil, message
end

--- listen([backlog]) -> 1 | nil, message
function methods:listen(backlog)
   demand(self, "tcp{master}")
   local ok, message, code = self.native:listen(backlog or 32)
   if not ok then return nil, failure(code, message) end
   self.class = "tcp{server}"
   apply_timeout(self)
   return 1
end

--- accept() -> client | nil, message
function methods:accept()
   demand(self, "tcp{server}")
   local guard <close> = total_guard(self)
   local native, message, code = self.native:accept()
   if not native then return nil, failure(code, message) end
   local client = new(native, "tcp{client}", self.family)
   client.connected = true
   return client
end

local function connect(self, host, port)
   if port == 0 then return nil, "connection refused" end
   local list, message = object.addresses_of(self, host)
   if not list then return nil, message end
   for _, ip in ipairs(list) do
      local ok, why, code = self.native:connect_ip(ip, port, self.block)
      if ok then return 1 end
      message = failure(code, why)
      if code == "timeout" then break end
   end
   return nil, message
end

--- connect(host, port) -> 1 | nil, message. One that times out is given up.
function methods:connect(host, port)
   if self.class == "tcp{server}" then demand(self, "tcp{client}") end
   port = object.port(port)
   if not port then return nil, errors.no_service end
   if self.connected then return nil, "already connected" end
   self.class = "tcp{client}" -- also when it fails
   local guard <close> = total_guard(self)
   local ok, message = connect(self, host, port)
   if not ok then return nil, message end
   self.connected = true
   apply_timeout(self)
   return 1
end

-- What a client sends and receives on, if it is connected.
local function stream_of(self)
   if self.class ~= "tcp{client}" then
      error("bad argument #1 (tcp{client} expected)", 3)
   end
   return self.connected and not self.closed and self.native
end

local patterns = { ["*l"] = "*L", ["*a"] = "*a" } -- as weft's streams name them

local function check_pattern(pattern)
   if type(pattern) == "number" and pattern >= 0 then return pattern // 1 | 0 end
   if patterns[pattern] then return patterns[pattern] end
   error("bad argument #2 to 'receive' (invalid receive pattern)", 3)
end

-- What LuaSocket makes of it: no CR in a line; "*a" of nothing at all is "closed".
local function shape(pattern, prefix, data, err, partial, code)
   if pattern == "*L" then
      data, partial = data and data:gsub("[\r\n]", ""), partial and partial:gsub("\r", "")
   elseif pattern == "*a" and data == "" then
      data, err, partial, code = nil, "closed", "", "closed"
   end
   if data then return prefix .. data, nil, nil end
   return nil, failure(code, err), prefix .. partial
end

--- receive([pattern [, prefix]]) -> data | nil, message, partial
function methods:receive(pattern, prefix)
   local native = stream_of(self)
   pattern = check_pattern(pattern == nil and "*l" or pattern)
   prefix = prefix == nil and "" or tostring(prefix)
   if not native then return nil, "closed", prefix end
   local guard <close> = total_guard(self)
   local want = type(pattern) == "number" and math.max(0, pattern - #prefix) or pattern
   local data, err, partial, code = native:receive(want)
   self.received = self.received + #(data or partial)
   return shape(pattern, prefix, data, err, partial, code)
end

--- send(data [, i [, j]]) -> last | nil, message, last
function methods:send(data, i, j)
   local native = stream_of(self)
   data, i, j = tostring(data), i or 1, j or -1
   if not native then return nil, "closed", math.max(0, i - 1) end
   local guard <close> = total_guard(self)
   local last, err, taken, code = native:send(data, i, j)
   local first = math.max(i < 0 and #data + i + 1 or i, 1)
   self.sent = self.sent + math.max(0, (last or taken) - first + 1)
   if last then return math.max(last, first - 1), nil, nil end
   return nil, failure(code, err), taken
end

--- shutdown([how]) -> 1
function methods:shutdown(how)
   how = how or "both"
   if how ~= "both" and how ~= "send" and how ~= "receive" then
      error(("bad argument #2 to 'shutdown' (invalid option '%s')"):format(tostring(how)), 2)
   end
   if self.connected and not self.closed then self.native:shutdown(how) end
   return 1
end

--- getpeername() -> ip, port, family | nil, message
function methods:getpeername()
   if self.class == "tcp{server}" and not self.closed then
      return nil, "Transport endpoint is not connected"
   end
   local ip, port, family
   if self.connected then ip, port, family = self.native:getpeername() end
   if ip then return ip, port, family end
   return nil, object.bad_descriptor
end

local known_options = { keepalive = true, reuseaddr = true, reuseport = true,
   ["tcp-nodelay"] = true, ["tcp-keepidle"] = true, ["tcp-keepcnt"] = true,
   ["tcp-keepintvl"] = true, ["ipv6-v6only"] = true, ["recv-buffer-size"] = true,
   ["send-buffer-size"] = true, linger = true } -- this fails: weft lingers by itself

local function check_option(name, where)
   if known_options[name] then return end
   error(("bad argument #2 to '%s' (unsupported option `%s')"):format(where, tostring(name)), 3)
end

--- setoption(name, value) -> 1 | nil, message
function methods:setoption(name, value)
   check_option(name, "setoption")
   if self.closed or name == "linger" or not self.native:setoption(name, value) then
      return nil, "setsockopt failed"
   end
   return 1
end

--- getoption(name) -> value | nil, message
function methods:getoption(name)
   check_option(name, "getoption")
   local value
   if not self.closed and name ~= "linger" then value = self.native:getoption(name) end
   if value == nil then return nil, "getsockopt failed" end
   return value
end

--- getstats() -> bytes received, bytes sent, age in seconds
function methods:getstats()
   return self.received, self.sent, core.gettime() - self.born
end

--- setstats(received, sent, age) -> 1
function methods:setstats(received, sent, age)
   self.received, self.sent = received or self.received, sent or self.sent
   if age then self.born = core.gettime() - age end
   return 1
end

--- dirty() -> has it read ahead?
function methods:dirty()
   return self.connected == true and not self.closed and core.pending(self.native) > 0
end

for _, name in ipairs { "accept", "bind", "connect", "receive", "send" } do
   methods[name] = nested.method(methods[name])
end
methods.setpeername, methods.setsockname = methods.connect, methods.bind

return tcp
