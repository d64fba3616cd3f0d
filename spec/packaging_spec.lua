-- weft as it is installed: by LuaRocks into an empty tree, by make install, and then used
-- by a script that lies outside of the checkout. Works on a copy, since builds leave files.

local LUA = os.getenv "LUA" or "lua5.4"
-- Neither the settings of the make that runs the tests nor a sanitizer go along.
local CLEAN = (os.getenv "WEFT_CLEAN_ENV" or "env") ..
   " -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u LUA_PATH -u LUA_CPATH -u LUA_PATH_5_4 -u LUA_CPATH_5_4 "

local SCRIPT = [[
local weft = require "weft"
local app = weft.app {}
app:client() -- raises when weft.js is not beside weft
app:websocket("/", function(ws)
   for message, kind in ws:messages() do ws:send(message, kind) end
end)
local _, port = assert(app:listen "127.0.0.1:0")
print(weft.run(function()
   local ws <close> = assert(weft.connect("ws://127.0.0.1:" .. port .. "/"))
   assert(ws:send "installed")
   local message = ws:receive(10)
   ws:close()
   app:close()
   return message
end))
]]

local function sh(command, ...)
   command = command:format(...)
   local pipe = assert(io.popen("{ " .. command .. "\n} 2>&1 </dev/null"))
   local output = pipe:read "a"
   local ok = pipe:close()
   assert(ok, command .. "\n" .. output)
   return (output:gsub("%s+$", ""))
end

local function write(path, text)
   local file <close> = assert(io.open(path, "w"))
   file:write(text)
end

local function exports(module)
   return sh("nm -D --defined-only %s | awk '{ print $3 }'", module)
end

describe("an installed weft", function()
   local dir

   setup(function()
      dir = sh "mktemp -d"
      sh("mkdir %s/src %s/away && cp -r Makefile src lua rockspec tools %s/src", dir, dir, dir)
      sh("test ! -d bin || cp -r bin %s/src", dir)
      sh("find %s/src/src -name '*.o' -delete", dir)
      write(dir .. "/away/script.lua", SCRIPT)
   end)

   teardown(function()
      sh("rm -rf %s", dir)
   end)

   local function use(tree)
      local paths = ('LUA_PATH="%s/share/lua/5.4/?.lua;%s/share/lua/5.4/?/init.lua" ' ..
         'LUA_CPATH="%s/lib/lua/5.4/?.so"'):format(tree, tree, tree)
      return sh("cd %s/away && %s %s timeout 30 %s script.lua", dir, CLEAN, paths, LUA)
   end

   local function files(tree)
      return sh("cd %s && find lib/lua share/lua -type f | sort", tree)
   end

   it("comes from luarocks make, and works elsewhere", function()
      sh("cd %s/src && %s timeout 300 luarocks --lua-version 5.4 make " ..
         "--tree %s/rock rockspec/weft-scm-1.rockspec CFLAGS='-O0 -fPIC'", dir, CLEAN, dir)
      assert.are.equal("installed", use(dir .. "/rock"))
   end)

   it("comes from make install, the same tree, and works elsewhere", function()
      sh("cd %s/src && %s timeout 300 make -j2 install PREFIX=%s/prefix CFLAGS=-O0", dir, CLEAN,
         dir)
      assert.are.equal("installed", use(dir .. "/prefix"))
      assert.are.equal(files(dir .. "/rock"), files(dir .. "/prefix"))
      sh("test -d %s/prefix/bin", dir)
   end)

   it("can be staged below DESTDIR", function()
      sh("cd %s/src && %s make install DESTDIR=%s/stage PREFIX=/usr CFLAGS=-O0", dir, CLEAN, dir)
      assert.are.equal(files(dir .. "/prefix"), files(dir .. "/stage/usr"))
   end)

   it("exports luaopen_weft_core and nothing else, however it was built", function()
      assert.are.equal("luaopen_weft_core", exports(dir .. "/rock/lib/lua/5.4/weft/core.so"))
      assert.are.equal("luaopen_weft_core", exports(dir .. "/prefix/lib/lua/5.4/weft/core.so"))
   end)

   it("has a rockspec that lint accepts", function()
      sh("%s luarocks --lua-version 5.4 lint rockspec/weft-scm-1.rockspec", CLEAN)
   end)
end)
