-- What the specs of pages share: a script of spec/browser/*.mjs is run by node, and each of its
-- checks ("ok NAME" in its output, or "not ok NAME: why") is a test.

local process = require "spec.process"

local driver = {}
driver.__index = driver

--- A test by busted's `it` for each of the names, and that there is no other.
function driver.new(it, checks)
   local self = setmetatable({ output = {}, reported = {}, ok = 0 }, driver)
   for _, name in ipairs(checks) do
      it(name, function() assert(self.reported["ok " .. name], self:text()) end)
   end
   it("runs every check that is listed here, and no other", function()
      assert(self.ok == #checks and self.output[#self.output] == "done", self:text())
   end)
   return self
end

function driver:text() return table.concat(self.output, "\n") end

--- Runs the script to its end. obey(line), if given, does what a line asks for.
function driver:run(script, args, obey)
   self.child = process.start({ "node", "spec/browser/" .. script, table.unpack(args) },
      { foreign = true, limit = 300 })
   for line in self.child.line, self.child do
      if obey then obey(line) end
      self.output[#self.output + 1], self.reported[line] = line, true
      self.ok = self.ok + (line:find "^ok " and 1 or 0)
   end
   self.child:finish()
end

function driver:stop()
   if self.child then self.child:stop "KILL" end
end

return driver
