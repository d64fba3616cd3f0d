-- permessage-deflate (RFC 7692) with chromium, driven by spec/browser/deflate.mjs: negotiation,
-- small and large messages both ways, and on the wire whether they were compressed.

local process = require "spec.process"

local PMD = "permessage-deflate"
local WAYS = { -- what weft accepts of chromium's "permessage-deflate; client_max_window_bits"
   { "dedicated", PMD .. "; client_max_window_bits=12" },
   { "shared", PMD .. "; server_no_context_takeover; client_no_context_takeover" },
   { "narrow", PMD .. "; client_max_window_bits=9" },
   { "wide", PMD },
   { "declined", "" },
}
local CHECKS = {
   "is offered, accepted, and told to the page",
   "messages of all sizes come back, compressed both ways",
   "closes cleanly",
}

describe("compression in a browser:", function()
   local output, reported, ok = {}, {}, 0
   local serving, browser, rest, status

   lazy_setup(function()
      serving = process.start(process.script "spec/scripts/deflate_server.lua", { limit = 200 })
      local argv = { "node", "spec/browser/deflate.mjs", (serving:wait_for "^port (%d+)$") }
      for _, way in ipairs(WAYS) do argv[#argv + 1] = table.concat(way, "=") end
      browser = process.start(argv, { foreign = true, limit = 150 })
      for line in browser.line, browser do
         output[#output + 1], reported[line] = line, true
         ok = ok + (line:find "^ok " and 1 or 0)
      end
      browser:finish()
      rest, status = serving:stop "INT"
   end)

   lazy_teardown(function()
      for _, child in pairs { serving, browser } do child:stop "KILL" end
   end)

   for _, way in ipairs(WAYS) do
      for _, name in ipairs(CHECKS) do
         name = way[1] .. ": " .. name
         it(name, function()
            assert.is_true(reported["ok " .. name], table.concat(output, "\n"))
         end)
      end
   end

   it("runs every check that is listed here, and no other", function()
      assert.equal(#WAYS * #CHECKS, ok)
      assert.equal("done", output[#output])
   end)

   it("leaves a server that has nothing to say and ends at Ctrl-C", function()
      assert.same({ "", 0 }, { rest, status })
   end)
end)
