-- The pages of the other examples in chromium, driven by spec/browser/pages.mjs.

local driver = require "spec.browser_driver"
local process = require "spec.process"

local CHECKS = {
   "cursors: each page sees where the others' mouse is",
   "cursors: a click makes a wave everywhere",
   "cursors: a wave ends where nothing moves, too",
   "cursors: who leaves takes the cursor along",
   "whiteboard: what one draws the other sees, in its colour",
   "whiteboard: who comes late sees the same picture",
   "whiteboard: a click makes a dot",
   "whiteboard: clearing clears it for all",
   "whiteboard: a page keeps as many strokes as the server does",
   "dashboard: shows the server's numbers, and that they move",
   "dashboard: a server that is away for a while is asked by one connection, again and again",
   "notify: what is pushed appears in every page, as text",
   "notify: an EventSource that was cut off resumes by its Last-Event-ID",
   "notify: a page that was answered by a proxy's error resumes, too",
   "no page complains",
}

local EXAMPLES = { "cursors", "whiteboard", "dashboard", "notify" }
local TOKEN = "0123456789abcdef"

describe("in a browser", function()
   local pages, faults, children = driver.new(it, CHECKS), {}, {}

   lazy_setup(function()
      local args = { "build/screenshots" }
      for i, name in ipairs(EXAMPLES) do
         children[i] = process.start(process.script("examples/" .. name .. ".lua"),
            { env = { PORT = 0, TOKEN = TOKEN }, limit = 400 })
         args[#args + 1] = children[i]:wait_for "(http://localhost:%d+/%S+)"
      end
      args[#args + 1] = TOKEN
      pages:run("pages.mjs", args)
      for i, name in ipairs(EXAMPLES) do
         local rest, status = children[i]:stop "INT"
         if status ~= 0 or rest:find "traceback" then
            faults[#faults + 1] = ("%s ended with %s and said %q"):format(name, status, rest)
         end
      end
   end)

   lazy_teardown(function()
      for _, child in ipairs(children) do child:stop "KILL" end
      pages:stop()
   end)

   it("leaves servers that have nothing to complain about and end at Ctrl-C", function()
      assert.same({}, faults)
   end)
end)
