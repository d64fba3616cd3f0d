-- Child programs for the specs: start one, read its lines, stop it by its id.
--
-- Reads block, and always end: every child runs under `timeout`, which kills it when its time is
-- over. So a child may not depend on a loop that runs in the spec's own process; both sides of
-- such a test are children. Standard error comes with standard output: unexpected lines show.

local process = {}

-- What a sanitizer preloads must not get into foreign programs (nor into sh and timeout), but
-- has to be there again for the children that load weft.
local CLEAN = os.getenv "WEFT_CLEAN_ENV" or ""
local PRELOADED = { "LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS" }

-- The words that run a Lua script, for start.
function process.script(path, ...)
   return { os.getenv "LUA" or "lua5.4", path, ... }
end

local Child = {}
Child.__index = Child

local function quote(word)
   return "'" .. tostring(word):gsub("'", [['\'']]) .. "'"
end

-- A child that is not foreign loads the weft that this process has loaded.
local function environment(options)
   local words = { "env" }
   local function set(name, value)
      words[#words + 1] = value and name .. "=" .. quote(value)
   end
   if not options.foreign then
      set("LUA_PATH", package.path)
      set("LUA_CPATH", package.cpath)
      for _, name in ipairs(CLEAN ~= "" and PRELOADED or {}) do
         set(name, os.getenv(name))
      end
   end
   for name, value in pairs(options.env or {}) do
      set(name, value)
   end
   return table.concat(words, " ")
end

-- argv, a list of words, as a command of the shell. Options as for start.
function process.command(argv, options)
   local words = { environment(options or {}) }
   for _, word in ipairs(argv) do
      words[#words + 1] = quote(word)
   end
   return table.concat(words, " ")
end

-- Starts argv. Options: env (a table), foreign (it does not load weft), limit (seconds until it
-- is killed, 60), input (a file to read from; nothing by default).
function process.start(argv, options)
   options = options or {}
   -- exec keeps the id, so what $$ says is the id of the program itself.
   local inner = ("echo $$; exec %s <%s 2>&1"):format(process.command(argv, options),
      quote(options.input or "/dev/null"))
   local pipe = assert(io.popen(("exec %s timeout --signal=KILL %d sh -c %s"):format(
      CLEAN, options.limit or 60, quote(inner))))
   local pid = tonumber(pipe:read "l")
   assert(pid, "could not start " .. argv[1])
   return setmetatable({ pid = pid, pipe = pipe, name = table.concat(argv, " "), seen = {} }, Child)
end

-- The next line, or nil at the end of the output.
function Child:line()
   local line = self.pipe and self.pipe:read "l"
   self.seen[#self.seen + 1] = line
   return line
end

-- Reads on to a line that matches, and returns its captures; raises when there is none.
function Child:wait_for(pattern)
   for line in self.line, self do
      if line:find(pattern) then
         return line:match(pattern)
      end
   end
   error(("%s ended without a line like %q; it said:\n%s"):format(
      self.name, pattern, table.concat(self.seen, "\n")), 2)
end

-- Waits for its end. Returns the output not read so far, and how it ended: 0, an exit status, or
-- 128 plus a signal. Harmless when it was called before.
function Child:finish()
   if not self.pipe then
      return "", self.status
   end
   local rest = self.pipe:read "a"
   local _, how, code = self.pipe:close()
   self.pipe, self.status = nil, how == "signal" and 128 + code or code
   return rest, self.status
end

-- Sends a signal ("INT", "KILL" ...) and waits for the end.
function Child:stop(signal)
   if self.pipe then
      os.execute(("exec %s kill -%s %d 2>/dev/null"):format(CLEAN, signal or "TERM", self.pid))
   end
   return self:finish()
end

-- A test that failed has left its children: closing the pipe would wait for them.
function Child:__gc()
   self:stop "KILL"
end

return process
