-- RFC 6455 and RFC 7692 clause by clause (spec/conformance): each case in each role is a
-- test here, whole and with its input cut at each byte. `make conformance` shows them as a
-- table, with the clauses that have no case and why.

local conformance = require "spec.conformance.weft"

describe("conformance", function()
   local verdicts, rest = {}, {}

   lazy_setup(function()
      local status, ended = conformance.run(function(line)
         local verdict, role, clause, why = line:match "^(%a+)\t(%a+)\t(%S+)\t(.*)$"
         if verdict then
            verdicts[role .. clause] = { ok = verdict == "ok", why = why }
         else
            rest[#rest + 1] = line
         end
      end)
      verdicts.status, verdicts.ended = status, ended
   end)

   for _, case in ipairs(conformance.list()) do
      it(("%s, weft's %s: %s"):format(case.clause, case.role, case.text), function()
         local verdict = verdicts[case.role .. case.clause]
         assert(verdict, "the suite ended before it: " .. table.concat(rest, "\n"))
         assert(verdict.ok, verdict.why)
      end)
   end

   it("ends well on both sides", function()
      assert.equal(0, verdicts.status)
      assert.equal(0, verdicts.ended)
   end)
end)
