-- System calls that fail, as strace has them do: what is told, and that the rest goes on.

local process = require "spec.process"
local raw = require "spec.raw"

-- The scene's output, and how often the call was made, while it fails as `how` says.
local function inject(call, how, scene)
   local trace = os.tmpname()
   local argv = { "strace", "-f", "-e", "trace=" .. call, "-e", ("inject=%s:%s"):format(call, how),
      "-o", trace }
   table.move(process.script("spec/scripts/failing_calls.lua", scene), 1, 10, #argv + 1, argv)
   local asan = os.getenv "ASAN_OPTIONS"
   local env = { ASAN_OPTIONS = asan and asan .. ":detect_leaks=0" } -- it cannot under ptrace
   local output = process.start(argv, { env = env, limit = raw.hostile and 300 or 60 }):finish()
   local file <close> = assert(io.open(trace))
   local _, times = file:read "a":gsub(call, "")
   os.remove(trace)
   return output, times
end

describe("what the system cannot watch", function()
   it("is told, and not waited for; a listener tries again later", function()
      local output, times = inject("epoll_ctl", "error=ENOSPC:when=2+", "watch")
      assert.equal("dial\tsystem\nudp\tsystem\ndial\tsystem\naccept\tgoes on\n", output)
      assert.is_true(times < 50, times)
   end)
end)

describe("a server", function()
   -- accept(2): the network's errors of the new connection, and what rules forbid
   for _, name in ipairs { "ECONNABORTED", "EPROTO", "ENETDOWN", "EHOSTDOWN", "ENOPROTOOPT",
      "ETIMEDOUT", "EPERM", "EMFILE", "ENOMEM" } do
      it("goes on after accept fails with " .. name, function()
         assert.equal("hello\n", (inject("accept4", ("error=%s:when=1"):format(name), "accept")))
      end)
   end
end)
