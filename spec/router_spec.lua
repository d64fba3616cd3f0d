local router = require "weft.router"

local function names(set)
   local list = {}
   for name in pairs(set) do list[#list + 1] = name end
   table.sort(list)
   return table.concat(list, " ")
end

describe("router", function()
   local routes
   before_each(function()
      routes = router.new()
      for _, row in ipairs {
         { "GET", "/" }, { "GET", "/rooms/new" }, { "GET", "/rooms/:id" },
         { "PUT", "/rooms/:id" }, { "GET", "/rooms/:id/members/:who" },
         { "GET", "/files/*path" }, { "GET", "/files/index" }, { "POST", "/files/index" },
         { "GET", "/a/:x/c" }, { "GET", "/:y/b/d" }, { "GET", "/dir/" },
         { "GET", "/caf%C3%A9" },
      } do
         routes:add(row[1], row[2], row[1] .. " " .. row[2])
      end
   end)

   local found = {
      { "GET", "/", "GET /" },
      { "HEAD", "/", "GET /" },
      { "GET", "/rooms/new", "GET /rooms/new" },
      { "GET", "/rooms/%6Eew", "GET /rooms/new" },
      { "GET", "/rooms/7", "GET /rooms/:id", { id = "7" } },
      { "PUT", "/rooms/7", "PUT /rooms/:id", { id = "7" } },
      { "PUT", "/rooms/new", "PUT /rooms/:id", { id = "new" } },
      { "GET", "/rooms/a%20b%2Fc", "GET /rooms/:id", { id = "a b/c" } },
      { "GET", "/rooms/caf%c3%A9", "GET /rooms/:id", { id = "café" } },
      { "GET", "/rooms/a+b", "GET /rooms/:id", { id = "a+b" } },
      { "GET", "/rooms/7/members/ann", "GET /rooms/:id/members/:who", { id = "7", who = "ann" } },
      { "GET", "/files/", "GET /files/*path", { path = "" } },
      { "GET", "/files/a/b/c.txt", "GET /files/*path", { path = "a/b/c.txt" } },
      { "GET", "/files/a//c", "GET /files/*path", { path = "a//c" } },
      { "GET", "/files/index", "GET /files/index" },
      { "POST", "/files/index", "POST /files/index" },
      { "HEAD", "/files/index", "GET /files/index" },
      { "GET", "/a/b/c", "GET /a/:x/c", { x = "b" } },
      { "GET", "/a/b/d", "GET /:y/b/d", { y = "a" } },
      { "GET", "/dir/", "GET /dir/" },
      { "GET", "/café", "GET /caf%C3%A9" },
      { "GET", "/caf%c3%a9", "GET /caf%C3%A9" },
   }
   for _, row in ipairs(found) do
      it(("finds %s %s"):format(row[1], row[2]), function()
         local route, params = routes:match(row[1], row[2])
         assert.equal(row[3], route)
         assert.same(row[4], params)
      end)
   end

   for _, path in ipairs { "/nowhere", "/rooms", "/rooms/", "/rooms/7/", "/dir", "/files",
      "//", "", "/rooms//members/x", "/a/b/e", "/rooms/7/members/" } do
      it(("has nothing at %q"):format(path), function()
         local route, params, methods = routes:match("GET", path)
         assert.is_nil(route)
         assert.is_nil(params)
         assert.is_nil(methods)
      end)
   end

   for _, path in ipairs { "/rooms/%", "/rooms/%4", "/rooms/%zz", "/rooms/%00", "/%", "/a%2",
      "/rooms/a%00b", "/files/%%41" } do
      it(("calls %q malformed"):format(path), function()
         assert.is_false((routes:match("GET", path)))
      end)
   end

   local known = {
      { "POST", "/rooms/7", "GET PUT" },
      { "DELETE", "/rooms/new", "GET PUT" },
      { "DELETE", "/files/index", "GET POST" },
      { "DELETE", "/files/x", "GET" },
      { "get", "/", "GET" },
   }
   for _, row in ipairs(known) do
      it(("knows the path of %s %s, not the method"):format(row[1], row[2]), function()
         local route, _, methods = routes:match(row[1], row[2])
         assert.is_nil(route)
         assert.equal(row[3], names(methods))
      end)
   end

   local bad = {
      { "rooms", 'must be a string that begins with "/"' }, { "", "begins with" },
      { 5, "must be a string" }, { "/:", 'needs a name' }, { "/a/:1x", "needs a name" },
      { "/a/*", "needs a name" }, { "/*rest/more", "must come last" },
      { "/:a/:a", 'the name "a" is used twice' }, { "/rooms/:id", "GET has a handler there" },
      { "/rooms/:other", "GET has a handler there" },
   }
   for _, row in ipairs(bad) do
      it(("refuses the pattern %q"):format(tostring(row[1])), function()
         local _, message = pcall(function() routes:add("GET", row[1], true, 2) end)
         assert.truthy(message:find(row[2], 1, true), message)
      end)
   end

   it("blames who added the pattern", function()
      local function public() routes:add("GET", "x", true, 2) end
      local _, message = pcall(function() public() end)
      assert.truthy(message:find "^spec/router_spec.lua:%d+: route")
   end)

   it("stays quick on a path made to be slow", function()
      local deep = router.new()
      for i = 1, 12 do
         local pattern = ""
         for k = 1, i do pattern = pattern .. (k % 2 == 0 and "/x" or "/:p" .. k) end
         deep:add("GET", pattern .. "/*rest" .. i, i)
      end
      assert.is_nil((deep:match("POST", ("/x"):rep(4000))))
      assert.equal(12, (deep:match("GET", ("/x"):rep(4000))))
   end)
end)
