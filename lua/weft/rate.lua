-- rate: how often an address may come: a token bucket for each, in bounded memory; and what one
-- client may say, where core does not count it (io/rate.h). Pure Lua.

local rate = {}
rate.__index = rate

-- Half of what may be kept is young; when that is full it grows old, and what was old is
-- forgotten: a bucket that nobody has touched meanwhile, and most likely full again.

--- per_second and burst: numbers; most: addresses kept.
function rate.new(per_second, burst, most)
   return setmetatable({ per_second = per_second, burst = math.max(burst, 1),
      half = math.max(most // 2, 1), young = {}, count = 0, old = {} }, rate)
end

local function count_groups(text)
   local _, n = text:gsub("[^:]+", "")
   return n
end

--- Whom an address stands for: of IPv6 the first 64 bits, since one customer has all the rest.
function rate.key(ip)
   if not ip:find(":", 1, true) or ip:find(".", 1, true) then return ip end
   local left, right = ip:match "^(.-)::(.*)$"
   if left then
      local zeros = ("0:"):rep(8 - count_groups(left) - count_groups(right))
      ip = (left ~= "" and left .. ":" or "") .. zeros .. right
   end
   return ip:match "^([^:]*:[^:]*:[^:]*:[^:]*)" or ip
end

-- The bucket { tokens, when }, which is young from now on.
local function bucket_of(self, key, now)
   local bucket = self.young[key]
   if bucket then return bucket end
   bucket = self.old[key] or { self.burst, now }
   if self.count >= self.half then
      self.old, self.young, self.count = self.young, {}, 0
   end
   self.young[key], self.count = bucket, self.count + 1
   return bucket
end

--- Takes one: how many seconds it comes too early, 0 when it is in time. Who is early by no
-- more than `most` seconds (0) will wait, so that one counts.
function rate:take(ip, now, most)
   local bucket = bucket_of(self, rate.key(ip), now)
   local tokens = math.min(bucket[1] + (now - bucket[2]) * self.per_second, self.burst) - 1
   local early = tokens < 0 and -tokens / self.per_second or 0
   bucket[1], bucket[2] = tokens, now
   if early > (most or 0) then bucket[1] = tokens + 1 end
   return early
end

-- -- of one client -----------------------------------------------------------------------

local budget = {}
budget.__index = budget

--- Buckets for the messages and the bytes of a client, full at first, by message_rate,
-- message_burst, byte_rate and byte_burst of opts; nil where there is no limit.
function rate.budget(opts, now)
   if opts.message_rate == 0 and opts.byte_rate == 0 then return nil end
   local self = setmetatable({ at = now }, budget)
   for _, name in ipairs { "message", "byte" } do
      local per_second, burst = opts[name .. "_rate"], opts[name .. "_burst"]
      burst = math.max(burst > 0 and burst or per_second, 1)
      if per_second > 0 then
         self[#self + 1] = { name = name, per_second = per_second, burst = burst, left = burst }
      end
   end
   return self
end

local function fill(self, now)
   local passed = math.max(now - self.at, 0)
   for _, bucket in ipairs(self) do
      bucket.left = math.min(bucket.left + passed * bucket.per_second, bucket.burst)
   end
   self.at = now
end

--- Takes so many messages of so many bytes in all: true, or false when that is over the rate; then
-- nothing is taken, unless it may overdraw.
function budget:take(messages, bytes, now, overdraw)
   fill(self, now)
   local cost, over = { message = messages, byte = bytes }, false
   for _, bucket in ipairs(self) do over = over or bucket.left < cost[bucket.name] end
   if over and not overdraw then return false end
   for _, bucket in ipairs(self) do bucket.left = bucket.left - cost[bucket.name] end
   return not over
end

--- How long until what was overdrawn is there again; 0: it is.
function budget:delay(now)
   fill(self, now)
   local longest = 0
   for _, bucket in ipairs(self) do
      longest = math.max(longest, -bucket.left / bucket.per_second)
   end
   return longest
end

return rate
