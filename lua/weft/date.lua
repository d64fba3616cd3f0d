-- date: HTTP dates (RFC 9110 5.6.7), in English whatever the locale is.

local date = {}

local days = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" }
local months = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct",
   "Nov", "Dec" }
local month_number = {}
for i, name in ipairs(months) do month_number[name] = i end

--- Seconds since 1970 -> "Sun, 06 Nov 1994 08:49:37 GMT"
function date.format(time)
   local t = os.date("!*t", time // 1)
   return ("%s, %02d %s %04d %02d:%02d:%02d GMT"):format(days[t.wday], t.day,
      months[t.month], t.year, t.hour, t.min, t.sec)
end

-- Days from 1970-01-01 in the Gregorian calendar; a year begins in March here,
-- so that the leap day comes last.
local function days_since_epoch(year, month, day)
   if month <= 2 then year, month = year - 1, month + 12 end
   local leaps = year // 4 - year // 100 + year // 400
   return 365 * year + leaps + (153 * (month - 3) + 2) // 5 + day - 719469
end

-- RFC 9110 5.6.7: a year that seems to be more than 50 years away is the past century's.
local function full_year(digits)
   if #digits == 4 then return digits end
   local now = os.date("!*t").year
   local year = now // 100 * 100 + tonumber(digits)
   return year > now + 50 and year - 100 or year
end

-- Its three forms: the one that is still written, RFC 850's, and asctime's.
local function read(s)
   local day, name, year, hour, min, sec =
      s:match "^%a%a%a, (%d%d) (%a%a%a) (%d%d%d%d) (%d%d):(%d%d):(%d%d) GMT$"
   if not day then
      day, name, year, hour, min, sec =
         s:match "^%a+, (%d%d)-(%a%a%a)-(%d%d) (%d%d):(%d%d):(%d%d) GMT$"
   end
   if not day then
      name, day, hour, min, sec, year =
         s:match "^%a%a%a (%a%a%a) ([ %d]%d) (%d%d):(%d%d):(%d%d) (%d%d%d%d)$"
   end
   if day then return day, name, full_year(year), hour, min, sec end
end

--- A date of HTTP's -> seconds since 1970, or nil.
function date.parse(s)
   local day, name, year, hour, min, sec = read(s)
   local month = month_number[name]
   if not month then return nil end
   local total = days_since_epoch(tonumber(year), month, tonumber(day))
   return total * 86400 + tonumber(hour) * 3600 + tonumber(min) * 60
      + tonumber(sec)
end

local cached_at, cached
--- The Date header's value now, made once a second.
function date.now()
   local time = os.time()
   if time ~= cached_at then cached_at, cached = time, date.format(time) end
   return cached
end

return date
