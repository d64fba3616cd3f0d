-- dialer: connected streams for every client: to a host by Happy Eyeballs (RFC 8305), to a
-- path of this machine, through a proxy, and with TLS on top.

local core = require "weft.core"
local tls = require "weft.tls"
local tunnel = require "weft.tunnel"

local dialer = {}

dialer.show = tunnel.show
local show = dialer.show

-- Closes a stream that did not become anything, also when its task is cancelled.
local unfinished = { __close = function(self) if self.stream then self.stream:close() end end }

--- A guard for `<close>` of a stream under way: set its stream to nil to keep it.
function dialer.guard(stream)
   return setmetatable({ stream = stream }, unfinished)
end

local function open_ip(ip, port)
   local guard <close> = dialer.guard(core.tcp())
   local socket = guard.stream
   local ok, message, code = socket:connect_ip(ip, port)
   if not ok then return nil, message, code end
   guard.stream = nil
   return socket
end

-- RFC 8305 4: the families take turns; the system's order (RFC 6724) says who begins.
local function interleave(addresses)
   local first, second, list = {}, {}, {}
   local is_v6 = addresses[1]:find(":", 1, true)
   for _, ip in ipairs(addresses) do
      local same = not ip:find(":", 1, true) == not is_v6
      table.insert(same and first or second, ip)
   end
   for i = 1, math.max(#first, #second) do
      list[#list + 1] = first[i]
      list[#list + 1] = second[i]
   end
   return list
end

-- What became of each address, and the code that says most.
local function report(tried, late)
   local parts, code = {}, tried.code
   for i, ip in ipairs(tried.addresses) do
      local what = tried.failures[i] or (i <= tried.begun and "no answer" or "not tried")
      parts[i] = ("%s (%s)"):format(show(ip, tried.port), what)
   end
   return nil, table.concat(parts, ", "), late and "timeout" or code
end

-- Attempts that run against each other: { addresses=, port=, begun=, pending=, failures=,
-- code=, winner=, tasks=, token= of who waits }.
local race = {}

-- The losers go, and a winner that nobody takes any more.
function race:__close()
   self.over = true
   for _, task in ipairs(self.tasks) do task:cancel() end
   if self.winner then self.winner:close() end
end

local function note_failure(self, i, message, code)
   self.failures[i], self.hurry = message, true
   if self.code ~= "refused" then self.code = code end
end

local function attempt(self, i)
   local stream, message, code = open_ip(self.addresses[i], self.port)
   self.pending = self.pending - 1
   if not stream then
      note_failure(self, i, message, code)
   elseif self.over or self.winner then
      stream:close()
   else
      self.winner = stream
   end
   core.unpark(self.token)
end

-- RFC 8305 5: the next attempt begins when its time has come, or the one before has failed.
local function start_next(self, delay)
   self.begun, self.pending, self.hurry = self.begun + 1, self.pending + 1, false
   self.tasks[self.begun] = core.spawn(attempt, self, self.begun)
   self.next_at = core.now() + delay
end

local function is_due(self)
   return self.begun < #self.addresses and (self.hurry or core.now() >= self.next_at)
end

local SLACK = 0.002 -- timers may ring a little early

-- False: the time of the caller is over.
local function await_news(self)
   local more = self.begun < #self.addresses
   local news = core.park(more and math.max(self.next_at - core.now(), 0) or nil)
   if news or self.winner or self.hurry then return true end
   if not more or core.now() < self.next_at - SLACK then return false end
   self.hurry = true
   return true
end

--- A stream to one of the addresses | nil, what was tried, code.
function dialer.race(addresses, port, delay)
   local self <close> = setmetatable({ addresses = interleave(addresses), port = port, begun = 0,
      pending = 0, failures = {}, tasks = {}, token = core.waiting(), hurry = true }, race)
   while not self.winner do
      if is_due(self) then
         start_next(self, delay)
      elseif self.pending == 0 then
         return report(self)
      end
      if not await_news(self) then return report(self, true) end
   end
   local winner = self.winner
   self.winner = nil
   return winner
end

local function connect_first(addresses, port, delay)
   if addresses[2] then return dialer.race(addresses, port, delay) end
   local stream, message, code = open_ip(addresses[1], port)
   if stream then return stream end
   return nil, ("%s (%s)"):format(show(addresses[1], port), message), code
end

local function connect_host(host, port, delay)
   local addresses, message, code = core.resolve(host)
   if not addresses then return nil, message, code end
   local stream, tried
   stream, tried, code = connect_first(addresses, port, delay)
   if stream then return stream end
   return nil, ("cannot connect to %s: %s"):format(show(host, port), tried), code
end

local BACKLOG_WAIT = 0.01

-- connect(2): a unix listener whose backlog is full refuses to say when there is room.
local function connect_path(path)
   local guard <close> = dialer.guard(core.tcp())
   local ok, message, code
   repeat
      ok, message, code = guard.stream:connect_unix(path)
   until ok or code ~= "busy" or not core.sleep(BACKLOG_WAIT)
   if not ok then return nil, message, code == "busy" and "timeout" or code end
   local stream = guard.stream
   guard.stream = nil
   return stream
end

-- A stream to { host=, port= } or { unix= a path }, plain.
local function plain(target, opts)
   if target.unix then return connect_path(target.unix) end
   return connect_host(target.host, target.port, opts.attempt_delay)
end

-- Makes a client's TLS handshake, or closes the stream. proxy: with one.
local function secure(stream, made, host, proxy)
   local guard <close> = dialer.guard(stream)
   local ok, message, code = tls.connect(stream, made, host, proxy)
   if not ok then return nil, message, code end
   guard.stream = nil
   return stream
end

-- -- proxies ------------------------------------------------------------------------

-- A stream that ends at the proxy.
local function reach_proxy(via, opts)
   local made, stream, message, code
   if via.secure then
      made, message, code = tls.context(opts.proxy_secure)
      if not made then return nil, message, code end
   end
   stream, message, code = plain(via, opts)
   if made and stream then stream, message, code = secure(stream, made, via.host, true) end
   if stream then return stream end
   return nil, ("proxy %s: %s"):format(via.shown, message), code
end

local function tunnel_to(host, target, opts)
   local stream, message, code = reach_proxy(target.via, opts)
   if not stream then return nil, message, code end
   local guard <close> = dialer.guard(stream)
   local ok
   ok, message, code = tunnel.open(stream, target.via, host, target.port, opts)
   if not ok then return nil, message, code end
   guard.stream = nil
   return stream
end

-- SOCKS with names that are looked up here: one address after the other is asked for.
local function tunnel_to_any(target, opts)
   local addresses, message, code = core.resolve(target.host)
   if not addresses then return nil, message, code end
   local tried = {}
   for i, ip in ipairs(addresses) do
      local stream
      stream, message, code = tunnel_to(ip, target, opts)
      if stream then return stream end
      tried[i] = message
      if code ~= "refused" then break end
   end
   return nil, table.concat(tried, ", "), code
end

-- The way to the target, without the TLS that it speaks itself.
local function reach(target, opts)
   local via = target.via
   if not via then return plain(target, opts) end
   if target.asks_proxy then return reach_proxy(via, opts) end
   if via.kind == "http" or via.remote then return tunnel_to(target.host, target, opts) end
   return tunnel_to_any(target, opts)
end

--- A connected stream; no time limit of its own. target: { host=, port= } or { unix= }, and
-- via = a proxy of proxy.pick; asks_proxy: the stream ends there, and requests name their
-- targets themselves. recipe: of tls.recipe, for TLS with that host; or nil or false.
-- opts: attempt_delay, and with a proxy proxy_secure = its recipe and limits of heads.
function dialer.connect(target, recipe, opts)
   local made, stream, message, code
   if recipe then
      made, message, code = tls.context(recipe)
      if not made then return nil, message, code end
   end
   stream, message, code = reach(target, opts)
   if not made or not stream then return stream, message, code end
   return secure(stream, made, target.host)
end

return dialer
