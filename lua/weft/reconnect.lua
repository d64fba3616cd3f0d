-- reconnect: `for ws in weft.reconnect(url, opts) do`: a fresh connection for each turn of
-- the loop, with full jitter between the attempts.

local client = require "weft.client"
local core = require "weft.core"
local date = require "weft.date"
local limits = require "weft.limits"
local options = require "weft.options"
local url = require "weft.url"

-- What a test puts other things in place of: chance, time and the connection itself.
local seam = { random = math.random, now = core.now, sleep = core.sleep, open = client.open }

local reconnect = { seam = seam }

local loop = {}

-- RFC 6455 7.4.1 and 11.7: the peer has all it wanted, or will never want us.
local final_close = { [1000] = true, [1003] = true, [1008] = true, [1010] = true }

-- Of the statuses from 200 to 499, and 501 and 505, those that say "later" (RFC 9110 15.5.9,
-- RFC 8470 5.2, RFC 6585 4).
local later = { [408] = true, [425] = true, [429] = true }

local function is_final_status(status)
   if later[status] then return false end
   return status < 500 or status == 501 or status == 505
end

local function stops_by_default(why)
   if why.status then return is_final_status(why.status) end
   if why.close_code then return final_close[why.close_code] or false end
   return why.code == "handshake"
end

local function stops_on(list)
   local set = {}
   for _, one in ipairs(list) do set[one] = true end
   return function(why)
      return set[why.status or why.close_code] or set[why.code] or false
   end
end

-- Why a turn ended that had a connection.
local function why_closed(ws)
   local close_code, reason, clean = ws:closed()
   local message = reason == "" and "closed: %d" or "closed: %d %s"
   return { close_code = close_code, reason = reason, clean = clean, code = "closed",
      message = message:format(close_code, reason) }
end

-- Why there was none.
local function why_failed(message, code, answer)
   local status = code == "refused" and answer and answer.status or nil
   return { message = message, code = code, status = status, answer = answer }
end

-- RFC 9110 10.2.3: seconds, or a date; 0: nothing was said.
local function retry_after(why)
   local field = why.answer and why.answer:header("retry-after") or ""
   if #field < 9 and field:find("^%d+$") then return tonumber(field) end
   local time = date.parse(field)
   return time and time - os.time() or 0
end

-- Full jitter: anywhere between the floor and a ceiling that doubles with each failure, so
-- that the clients of a server that was restarted do not come back together.
local function delay_for(self, why)
   local opts = self.opts
   local ceiling = math.min(opts.max_delay, opts.min_delay * 2.0 ^ math.min(self.failures, 64))
   local delay = opts.min_delay + (ceiling - opts.min_delay) * seam.random()
   return math.min(math.max(delay, retry_after(why)), opts.max_delay)
end

local function stop(self, why)
   self.done = true
   local hook = self.opts.on_stop
   if hook then hook(why) end
end

local function is_last(self, why)
   local most = self.opts.max_attempts
   return self.stops(why) or (most > 0 and self.failures >= most)
end

-- Counts the turn that is over, tells why, and waits. False: that was the last.
local function pause(self, why)
   self.failures = self.failures + 1
   why.attempt = self.failures
   if is_last(self, why) then
      stop(self, why)
      return false
   end
   why.delay = delay_for(self, why)
   if self.opts.on_retry then self.opts.on_retry(why) end
   local ok, message, code = seam.sleep(why.delay)
   if ok then return true end
   stop(self, { message = message, code = code, attempt = self.failures })
   return false
end

-- Lets go of the turn's connection, without waiting: the loop says goodbye to the peer.
-- An error that leaves the body closes with 1011.
local function let_go(self, err)
   local ws = self.ws
   self.ws = nil
   if ws then getmetatable(ws).__close(ws, err) end
end

-- The body is done with its connection: why, for the next turn.
local function end_turn(self)
   local ws = self.ws
   if seam.now() - self.since >= self.opts.stable_after then self.failures = 0 end
   if ws:closed() then
      self.ws = nil
      return why_closed(ws)
   end
   let_go(self)
   return { message = "the loop's body was left", code = "closed" }
end

local function attempt(self)
   local ws, message, code, answer = seam.open(self.parts, self.opts)
   if ws then
      self.ws, self.since = ws, seam.now()
      return ws
   end
   return nil, why_failed(("%s: %s: %s"):format(self.where, self.shown, message), code, answer)
end

-- The iterator.
local function next_connection(self)
   if self.done then return nil end
   local why = self.ws and end_turn(self)
   while not why or pause(self, why) do
      local ws
      ws, why = attempt(self)
      if ws then return ws end
   end
end

-- However the loop is left: break, return, an error, a cancelled task.
function loop:__close(err)
   self.done = true
   let_go(self, err)
end

local function check_marks(opts, where, level)
   if opts.min_delay > opts.max_delay then
      error(("%s: min_delay (%s) must not be over max_delay (%s)"):format(where,
         opts.min_delay, opts.max_delay), level + 1)
   end
end

--- The loop for a function called `where`, whose options have these rules.
function reconnect.start(text, opts, rules, where, level)
   opts = client.prepare(opts, rules, where, level + 1)
   check_marks(opts, where, level + 1)
   local parts, message = url.parse(text)
   if not parts then error(("%s: %s: %s"):format(where, url.show(text), message), level + 1) end
   local stops = opts.stop_on or stops_by_default
   local self = setmetatable({ opts = opts, parts = parts, shown = url.show(text), where = where,
      failures = 0,
      stops = type(stops) == "table" and stops_on(stops) or stops, done = false }, loop)
   return next_connection, self, nil, self
end

--- for ws in weft.reconnect(url [, opts]) do ... end
function reconnect.each(text, opts)
   options.argument(text, "string", "the URL", "weft.reconnect", 2)
   local step, state, first, closing = reconnect.start(text, opts, limits.reconnect,
      "weft.reconnect", 2)
   return step, state, first, closing
end

return reconnect
