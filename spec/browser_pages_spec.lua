-- The pages of the other examples in chromium, driven by spec/browser/pages.mjs.

local process = require "spec.process"

local CHECKS = {
   "cursors: each page sees where the others' mouse is",
   "cursors: a click makes a wave everywhere",
   "cursors: who leaves takes the cursor along",
   "whiteboard: what one draws the other sees, in its colour",
   "whiteboard: who comes late sees the same picture",
   "whiteboard: clearing clears it for all",
   "dashboard: shows the server's numbers, and that they move",
   "notify: what is pushed appears in every page, as text",
   "notify: an EventSource that was cut off resumes by its Last-Event-ID",
   "no page complains",
}

local EXAMPLES = { "cursors", "whiteboard", "dashboard", "notify" }
local TOKEN = "0123456789abcdef"

describe("in a browser", function()
   local output, reported, ok, faults = {}, {}, 0, {}
   local children, browser = {}, nil

   lazy_setup(function()
      local argv = { "node", "spec/browser/pages.mjs", "build/screenshots" }
      for i, name in ipairs(EXAMPLES) do
         children[i] = process.start(process.script("examples/" .. name .. ".lua"),
            { env = { PORT = 0, TOKEN = TOKEN }, limit = 400 })
         argv[#argv + 1] = children[i]:wait_for "(http://localhost:%d+/%S+)"
      end
      argv[#argv + 1] = TOKEN
      browser = process.start(argv, { foreign = true, limit = 300 })
      for line in browser.line, browser do
         output[#output + 1], reported[line] = line, true
         ok = ok + (line:find "^ok " and 1 or 0)
      end
      browser:finish()
      for i, name in ipairs(EXAMPLES) do
         local rest, status = children[i]:stop "INT"
         if status ~= 0 or rest:find "traceback" then
            faults[#faults + 1] = ("%s ended with %s and said %q"):format(name, status, rest)
         end
      end
   end)

   lazy_teardown(function()
      for _, child in ipairs(children) do child:stop "KILL" end
      browser:stop "KILL"
   end)

   for _, name in ipairs(CHECKS) do
      it(name, function()
         assert.is_true(reported["ok " .. name], table.concat(output, "\n"))
      end)
   end

   it("runs every check that is listed here, and no other", function()
      assert.equal(#CHECKS, ok)
      assert.equal("done", output[#output])
   end)

   it("leaves servers that have nothing to complain about and end at Ctrl-C", function()
      assert.same({}, faults)
   end)
end)
