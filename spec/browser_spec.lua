-- The chat and the push example in a real browser: chromium, driven by spec/browser/chat.mjs.
-- The servers are children, and this spec kills and restarts the chat server when asked to.

local driver = require "spec.browser_driver"
local process = require "spec.process"

local CHECKS = {
   "bears an address that is no room's",
   "asks for a name, once",
   "shows in both tabs who is here",
   "brings the messages of each tab to the other, with the name",
   "shows markup as text",
   "shows who leaves",
   "takes two tabs of one person for one, who leaves with the second",
   "sends nothing for a blank line, and keeps to the limits",
   "keeps lines of several rows",
   "gives a newcomer the last 50 messages",
   "does not pull down who reads further up",
   "asks again when the server refuses a name",
   "shows who is writing",
   "has rooms, and counts what came in the others",
   "shows what was missed while the page was offline",
   "shows hundreds of missed lines at once, with few layouts",
   "says so in both tabs when the server is gone",
   "keeps what is said while the server is gone",
   "comes back in both tabs by itself",
   "says that the new server knows nothing of before",
   "sends what waited, once and in order",
   "goes on chatting after the return",
   "fits a phone",
   "push: values arrive several times a second",
   "push: the plot moves",
   "push: as many pixels as the screen has",
   "push: takes screenshots of a full plot",
   "leaves nothing on the console",
}

local SCREENSHOTS = "build/screenshots"

describe("in a browser", function()
   local pages, faults = driver.new(it, CHECKS), {}
   local chat, push

   local function start(example, port)
      local child = process.start(process.script("examples/" .. example .. ".lua"),
         { env = { PORT = port }, limit = 400 })
      return child, child:wait_for "http://localhost:(%d+)/"
   end

   -- A server that ends at Ctrl-C with status 0, and has said nothing all the while, is well.
   local function end_well(child, name)
      local rest, status = child:stop "INT"
      if rest ~= "" or status ~= 0 then
         faults[#faults + 1] = ("%s ended with %s and said %q"):format(name, status, rest)
      end
   end

   lazy_setup(function()
      local chat_port, push_port
      chat, chat_port = start("chat", 0)
      push, push_port = start("push", 0)
      pages:run("chat.mjs", { ("http://localhost:%s/"):format(chat_port),
         ("http://localhost:%s/push.html"):format(push_port), SCREENSHOTS }, function(line)
         if line == "please stop" then
            local rest = chat:stop "KILL"
            faults[#faults + 1] = rest ~= "" and "chat said " .. rest or nil
         elseif line == "please start" then
            chat = start("chat", chat_port)
         end
      end)
      end_well(chat, "chat.lua")
      end_well(push, "push.lua")
   end)

   lazy_teardown(function()
      for _, child in pairs { chat, push } do child:stop "KILL" end
      pages:stop()
   end)

   it("leaves servers that have nothing to complain about and end at Ctrl-C", function()
      assert.same({}, faults)
   end)
end)
