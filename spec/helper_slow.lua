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
      if is_notice then notices[#list + 1] = text else list[#list + 1] = slow.number(text) end
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

return slow
