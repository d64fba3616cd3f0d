-- README.md is true: each of its Lua snippets runs, and prints what its --> comments say.
-- The HTML comment before a snippet says how: "server" stays up for what follows, "client"
-- talks to the last server, "script" stands alone. Port 8080 becomes a free one.

local weft = require "weft"
local daemon = require "spec.daemon"

local LUA = os.getenv "LUA" or "lua5.4"

local function snippets()
   local file <close> = assert(io.open "README.md")
   local list, pattern = {}, "<!%-%- runs: (%a+) %-%->\n```lua\n(.-)```"
   local text = file:read "a"
   for how, code in text:gmatch(pattern) do
      list[#list + 1] = { how = how, code = code, number = #list + 1 }
   end
   return list, select(2, text:gsub("```lua\n", ""))
end

local function expected(code)
   local lines = {}
   for line in code:gmatch "%-%->%s([^\n]*)" do
      lines[#lines + 1] = line .. "\n"
   end
   return table.concat(lines)
end

local function write(snippet, port)
   local path = os.tmpname()
   local file <close> = assert(io.open(path, "w"))
   file:write((snippet.code:gsub("8080", tostring(port))))
   return path
end

local function run(path)
   local pipe <close> = assert(io.popen(("timeout 60 %s %s 2>&1"):format(LUA, path)))
   return pipe:read "a"
end

local function start(path)
   local pipe <close> = assert(io.popen(
      ("timeout 120 %s %s >%s.log 2>&1 </dev/null & echo $!"):format(LUA, path, path)))
   return pipe:read "n"
end

-- Until somebody listens there: tries, bounded, rather than a guess at how long it takes.
local function wait_for(port)
   for _ = 1, 500 do
      local stream = weft.dial("127.0.0.1:" .. port)
      if stream then
         return stream:close()
      end
      weft.sleep(0.02)
   end
   error("nobody listens on port " .. port)
end

describe("README.md", function()
   local list, blocks = snippets()
   local port, server

   teardown(function()
      if server then
         os.execute("kill " .. server)
      end
   end)

   it("says of each Lua snippet how it runs", function()
      assert.is_true(blocks > 0)
      assert.are.equal(blocks, #list)
   end)

   for _, snippet in ipairs(list) do
      it(("has a %s that runs, snippet %d"):format(snippet.how, snippet.number), function()
         if snippet.how == "server" then
            port = daemon.free_port()
         end
         local path = write(snippet, port or daemon.free_port())
         if snippet.how == "server" then
            server = start(path)
            wait_for(port)
            os.remove(path .. ".log")
         else
            assert.are.equal(expected(snippet.code), run(path))
         end
         os.remove(path)
      end)
   end
end)
