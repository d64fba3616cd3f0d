-- What the specs of slow subscribers share: numbered messages that are big enough to fill buffers,
-- and what is seen of them by who comes late.

local weft = require "weft"

local slow = {}

slow.pad = ("."):rep(20000)

function slow.message(i) return ("%d %s"):format(i, slow.pad) end

function slow.number(text) return tonumber(text:match "^%d+") end

--- Publishes i + 1, i + 2, ... until a subscriber is over its marks; the last number. opts(i): as
-- of app:publish.
function slow.fill(app, i, topic, opts)
   local dropped = app:stats().dropped
   repeat
      i = i + 1
      app:publish(topic or "t.1", slow.message(i), opts and opts(i))
      weft.sleep(0) -- a turn each, as a feed has
      assert(i < 5000, "nothing is ever dropped")
   until app:stats().dropped > dropped + 20
   return i
end

--- Reads to message `last`: the numbers, and the notices by their place. take() -> a message, or a
-- notice and true.
function slow.drain(take, last)
   local list, notices = {}, {}
   repeat
      local text, is_notice = take()
      if is_notice then
         assert(not notices[#list + 1], "two notices in one place")
         notices[#list + 1] = text
      else
         list[#list + 1] = slow.number(text)
      end
   until list[#list] == last
   return list, notices
end

--- The number that comes after the one gap in those from `first` on.
function slow.gap_of(list, first)
   local gap
   for i = 1, #list do
      local before = i == 1 and first - 1 or list[i - 1]
      if list[i] ~= before + 1 then
         assert(not gap, "there are two gaps")
         gap = list[i]
      end
   end
   return gap
end

-- Some keys come often, one rarely.
local function key_of(i) return { key = "k" .. (i % 7 == 0 and 7 or i % 3) } end

--- Has a subscriber with notice miss some, lets it catch up, and checks that every gap is
-- announced, where it is and with its size. take(): as of drain.
function slow.check_gaps(app, policy, take)
   local last, seen = slow.fill(app, 0, "t.1", key_of), 0
   local ends = { policy == "drop_newest" and last - app:stats().dropped or last, last + 1 }
   for _, stop in ipairs(ends) do
      if stop > last then app:publish("t.1", slow.message(stop)) end
      local list, notices = slow.drain(take, stop)
      for i, n in ipairs(list) do
         local missed = notices[i] and tonumber(notices[i]:match '"count":(%d+)') or 0
         assert(n == seen + missed + 1, ("%d follows %d and %d missed"):format(n, seen, missed))
         seen = n
      end
   end
end

return slow
