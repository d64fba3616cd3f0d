-- permessage-deflate (RFC 7692) with chromium, driven by spec/browser/deflate.mjs: negotiation,
-- small and large messages both ways, and on the wire whether they were compressed.

local driver = require "spec.browser_driver"
local process = require "spec.process"

local PMD = "permessage-deflate"
local WAYS = { -- what weft accepts of chromium's "permessage-deflate; client_max_window_bits"
   { "dedicated", PMD .. "; client_max_window_bits=12" },
   { "shared", PMD .. "; server_no_context_takeover; client_no_context_takeover" },
   { "narrow", PMD .. "; client_max_window_bits=9" },
   { "wide", PMD },
   { "declined", "" },
}
local CHECKS = {}
for _, way in ipairs(WAYS) do
   for _, what in ipairs { "is offered, accepted, and told to the page",
      "messages of all sizes come back, both ways as agreed", "closes cleanly" } do
      CHECKS[#CHECKS + 1] = way[1] .. ": " .. what
   end
end

describe("compression in a browser:", function()
   local pages = driver.new(it, CHECKS)
   local serving, rest, status

   lazy_setup(function()
      serving = process.start(process.script "spec/scripts/deflate_server.lua", { limit = 200 })
      local args = { (serving:wait_for "^port (%d+)$") }
      for _, way in ipairs(WAYS) do args[#args + 1] = table.concat(way, "=") end
      pages:run("deflate.mjs", args)
      rest, status = serving:stop "INT"
   end)

   lazy_teardown(function()
      if serving then serving:stop "KILL" end
      pages:stop()
   end)

   it("leaves a server that has nothing to say and ends at Ctrl-C", function()
      assert.same({ "", 0 }, { rest, status })
   end)
end)
