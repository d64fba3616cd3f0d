-- For client_spec: prints the masking keys of a client's first frames.

math.randomseed(1, 1)
package.path = "./?.lua;" .. package.path
local raw = require "spec.raw"

raw.run(function()
   local ws, c = raw.pair()
   local keys = {}
   for i = 1, 8 do
      ws:send "x"
      local _, f = c:take "text"
      keys[i] = f.key
   end
   print("keys " .. table.concat(keys):gsub(".", function(b) return ("%02x"):format(b:byte()) end))
end)
