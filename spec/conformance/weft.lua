-- Starts the conformance suite: subject.lua, the weft to look at, and run.py, which is given
-- its ports. Gives run.py's child; `done` ends the other. Clauses by name, or all.

local process = require "spec.process"

local LIMIT = os.getenv "WEFT_HOSTILE_GC" and 540 or 400
local PYTHON = { "/usr/bin/python3", "spec/conformance/run.py" }

local conformance = {}

--- The suite's cases: a list of { role, clause, text }.
function conformance.list()
   local cases = {}
   local child = process.start({ PYTHON[1], PYTHON[2], "--list" }, { foreign = true })
   for line in child.line, child do
      local role, clause, text = line:match "^(%a+)\t(%S+)\t(.*)$"
      assert(role, line)
      cases[#cases + 1] = { role = role, clause = clause, text = text }
   end
   assert(select(2, child:finish()) == 0, "run.py --list failed")
   return cases
end

--- Runs it; each(line) gets the output. Returns how run.py ended, and how subject.lua did.
function conformance.run(each, ...)
   local subject = process.start(process.script "spec/conformance/subject.lua", { limit = LIMIT })
   local control, port = subject:wait_for "^ports (%d+) (%d+)$"
   local driver = process.start({ PYTHON[1], PYTHON[2], control, port, subject.pid, ... },
      { foreign = true, limit = LIMIT, env = { WEFT_HOSTILE_GC = os.getenv "WEFT_HOSTILE_GC" } })
   for line in driver.line, driver do each(line) end
   local _, status = driver:finish()
   local said, ended = subject:finish() -- the end of the control connection ends it
   if said ~= "" then each("subject.lua said:\n" .. said) end
   return status, ended
end

if arg and arg[0] and arg[0]:find "conformance/weft%.lua$" then
   local status, ended = conformance.run(print, ...)
   os.exit(status == 0 and ended == 0, true)
end

return conformance
