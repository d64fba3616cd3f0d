-- Names and several addresses where the network is bad: in a network namespace of its own, with
-- black holes behind a veth pair and a name server that answers late, or never. As root.

local daemon = require "spec.daemon"
local process = require "spec.process"
local raw = require "spec.raw"

-- What is at most added to a time on a machine that has other things to do; below the 10 s of
-- a connect's own limit.
local SLACK = raw.hostile and 8 or 4

describe("in a network of its own", function()
   local dir, seen = nil, {}

   lazy_setup(function()
      dir = daemon.directory()
      local command = process.command(process.script "spec/scripts/names.lua")
      local child = process.start({ "sh", "spec/scripts/namespace.sh", dir, "sh", "-c", command },
         { foreign = true, limit = 120 })
      repeat
         local line = child:line()
         local fields = {}
         for field in (line or ""):gmatch "[^\t]+" do fields[#fields + 1] = field end
         if fields[1] then seen[fields[1]] = fields end
      until not line
      local _, status = child:finish()
      assert(seen["end"] and status == 0, table.concat(child.seen, "\n"))
   end)

   lazy_teardown(function() daemon.remove(dir) end)

   local function took(case, least, most, at)
      local time = tonumber(seen[case][at or 4])
      assert(time >= least and time < most + SLACK, ("%s took %s"):format(case, time))
   end

   local function connected(case, family, least, most)
      assert.same({ case, "there", family }, { table.unpack(seen[case], 1, 3) })
      took(case, least, most)
   end

   local function failed(case, code, least, most)
      assert.same({ case, "failed", code }, { table.unpack(seen[case], 1, 3) },
         tostring(seen[case][5]))
      took(case, least, most)
      return seen[case][5]
   end

   local function has(text, ...)
      for _, part in ipairs { ... } do
         assert(text:find(part, 1, true), ("no %q in %q"):format(part, text))
      end
   end

   it("the family that the system prefers is taken when both answer", function()
      connected("live", "inet6", 0, 0)
   end)

   it("a black hole of one family costs attempt_delay, not the time of a connect", function()
      connected("sixdead", "inet", 0.24, 0.25)
      connected("fourdead", "inet6", 0, 0)
   end)

   it("of several addresses, half of them dead, one that lives is found", function()
      connected("half", "inet", 0.48, 0.5)
   end)

   it("when all are dead, the message lists each, in the time that was given", function()
      local message = failed("dead", "timeout", 1.1, 1.2)
      has(message, "cannot connect to dead:7000: ", "[2001:db8:1::66]:7000 (no answer)",
         "[2001:db8:1::67]:7000 (no answer)", "192.0.2.66:7000 (no answer)",
         "192.0.2.67:7000 (no answer)")
      -- the families take turns
      local six, four = message:find("::66]", 1, true), message:find("192.0.2.6", 1, true)
      assert.is_true(six < four and four < message:find("::67]", 1, true))
      message = failed("patient", "timeout", 1.1, 1.2)
      has(message, "(no answer)", "(not tried)")
   end)

   it("when all refuse, that is known at once", function()
      local message = failed("refused", "refused", 0, 0)
      has(message, "[2001:db8:1::2]:7001 (connection to", "192.0.2.2:7001 (connection to",
         "refused")
   end)

   it("a name that nobody has is no timeout", function()
      has(failed("unknown", "resolve", 0, 0), "cannot resolve 'nobody'")
   end)

   it("a name server that answers late stops nobody else", function()
      connected("late", "inet6", 0.55, 1.3)
      assert.equal("others ran", seen.beside[2])
   end)

   it("a name server that never answers is bounded, and numbers need none", function()
      has(failed("silent", "timeout", 0.45, 0.5), "timeout while looking up 'silent'")
      connected("numeric", "inet", 0, 0)
   end)

   it("weft.connect and weft.http fail in the same way", function()
      for _, case in ipairs { "websocket", "http" } do
         assert.same({ "nil", "timeout" }, { seen[case][2], seen[case][3] })
         has(seen[case][4], "cannot connect to dead:7000: ", "(no answer)")
      end
   end)

   it("a SOCKS proxy is asked for each of a name's addresses", function()
      assert.same({ "proxied", "there" }, seen.proxied)
      assert.equal("refused", seen.unproxied[2])
      has(seen.unproxied[3], "proxy 127.0.0.1:1080 refused [2001:db8:1::2]:7000: "
         .. "address type not supported")
      assert.equal("resolve", seen.unresolved[2])
      has(seen.unresolved[3], "cannot resolve 'nobody'")
   end)

   it("a lookup can be cancelled", function()
      assert.equal("cancelled", seen.cancelled[2])
      took("cancelled", 0, 0, 3)
   end)

   it("many lookups that nobody answers end in their time, and stop nobody", function()
      assert.equal(("timeout "):rep(12), seen.crowded[2] .. " ")
      assert.equal("others ran", seen.crowded[3])
      took("crowded", 0.45, 0.5)
   end)
end)
