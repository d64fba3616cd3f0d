local options = require "weft.options"
local limits = require "weft.limits"

local rules = {
   timeout = { type = "number", unit = "seconds", default = 10, min = 0, max = 60 },
   size = { type = "integer", unit = "bytes", default = 16, min = 1 },
   name = { type = "string" },
   protocols = { type = "string|list" },
   authorize = { type = "function" },
   hidden = { type = "boolean", default = false },
   even = { type = "integer", check = function(v) return v % 2 == 1 and "must be even" or nil end },
}

-- Stands for a public function: errors must point at its caller.
local function public(opts)
   local result = options.check(opts, rules, "weft.thing", 2)
   return result
end

local function failure(opts)
   local ok, message = pcall(function() public(opts) end)
   assert.is_false(ok)
   return message
end

describe("options", function()
   it("fills in the defaults, and leaves the user's table alone", function()
      local given = { timeout = 3 }
      local result = public(given)
      assert.same({ timeout = 3, size = 16, hidden = false }, result)
      assert.same({ timeout = 3 }, given)
      assert.same({ timeout = 10, size = 16, hidden = false }, public(nil))
   end)

   it("takes every alternative of a type", function()
      assert.equal("chat", public({ protocols = "chat" }).protocols)
      assert.same({ "a", "b" }, public({ protocols = { "a", "b" } }).protocols)
      assert.same({}, public({ protocols = {} }).protocols)
   end)

   it("makes integers of floats that are whole", function()
      assert.equal("integer", math.type(public({ size = 4.0 }).size))
   end)

   it("prefers a base's values to the defaults", function()
      local base = public { size = 99, hidden = true }
      local result = options.check({ timeout = 1 }, rules, "x", 2, base)
      assert.same({ timeout = 1, size = 99, hidden = true }, result)
   end)

   local bad = {
      { { size = 0 }, '"size" must be an integer of bytes of at least 1, got 0' },
      { { size = 1.5 }, '"size" must be an integer of bytes of at least 1, got 1.5' },
      { { timeout = -1 }, '"timeout" must be a number of seconds from 0 to 60, got -1' },
      { { timeout = 61 }, "from 0 to 60, got 61" },
      { { timeout = 0 / 0 }, "from 0 to 60, got" },
      { { timeout = "5" }, 'from 0 to 60, got the string "5"' },
      { { name = 5 }, '"name" must be a string, got 5' },
      { { protocols = { "a", 5 } },
         '"protocols" must be a string or a list of strings, got a table' },
      { { protocols = { a = "b" } }, "got a table" },
      { { authorize = "x" }, '"authorize" must be a function, got the string "x"' },
      { { hidden = 1 }, '"hidden" must be true or false, got 1' },
      { { even = 3 }, '"even" must be even' },
      { { colour = "red" }, 'unknown option "colour"; it takes authorize, even, hidden, name,' },
      { { [1] = "red" }, "unknown option 1; it takes authorize" },
      { "fast", 'the options must be a table, got the string "fast"' },
      { 5, "the options must be a table, got 5" },
   }
   for i, row in ipairs(bad) do
      it("refuses bad options, row " .. i, function()
         local message = failure(row[1])
         assert.truthy(message:find(row[2], 1, true), message)
         assert.truthy(message:find("weft.thing: ", 1, true), message)
      end)
   end

   it("blames the user's own line", function()
      assert.truthy(failure({ size = 0 }):find("^spec/options_spec.lua:%d+: "))
   end)

   it("checks arguments alike", function()
      local function f(v) return (options.argument(v, "string", "the host", "weft.f", 2)) end
      assert.equal("x", f "x")
      local ok, message = pcall(function() f(5) end)
      assert.is_false(ok)
      assert.truthy(message:find("options_spec.lua:%d+: weft.f: the host must be a string, got 5"))
   end)
end)

local function annotated()
   local file = assert(io.open "lua/weft/meta.lua")
   local text = file:read "a"
   file:close()
   return text
end

describe("the limits", function()
   local classes = { app = "weft.AppOptions", websocket_route = "weft.WebsocketOptions",
      listen = "weft.ListenOptions", app_listen = "weft.AppListenOptions",
      dial = "weft.DialOptions", request = "weft.RequestOptions",
      connect = "weft.ConnectOptions", reconnect = "weft.ReconnectOptions",
      static = "weft.StaticOptions", events = "weft.EventsOptions",
      publisher = "weft.PublisherOptions", cors = "weft.CorsOptions",
      cookie = "weft.CookieOptions", session = "weft.SessionOptions",
      route = "weft.RouteOptions", channel = "weft.ChannelOptions",
      channels = "weft.ChannelsOptions", push = "weft.PushOptions",
      read_history = "weft.ReadHistoryOptions", channel_client = "weft.ChannelClientOptions",
      room_publish = "weft.RoomPublishOptions", drain = "weft.DrainOptions" }

   local function fields_of(text, class)
      local fields = {}
      local head, block = text:match("%-%-%-@class " .. class:gsub("%.", "%%.")
         .. "[ \t]*:?[ \t]*([^\n]*)(.-)\n\n")
      assert(block, "meta.lua lacks the class " .. class)
      for parent in head:gmatch "[%w_.]+" do
         for name, line in pairs(fields_of(text, parent)) do fields[name] = line end
      end
      for name, line in block:gmatch "@field ([%w_]+)%??%s+([^\n]*)" do fields[name] = line end
      return fields
   end

   for set, class in pairs(classes) do
      it("of " .. set .. " are in meta.lua with default, range and unit", function()
         local fields = fields_of(annotated(), class)
         for name, rule in pairs(limits[set]) do
            local line = fields[name]
            assert(line, class .. " lacks " .. name)
            if rule.unit then assert.truthy(line:find(rule.unit, 1, true), name .. ": " .. line) end
            if rule.default ~= nil then
               assert.truthy(line:find("default " .. tostring(rule.default), 1, true),
                  name .. ": " .. line)
            end
            if rule.min then
               local range = ("%s to %s"):format(rule.min, rule.max)
               assert.truthy(line:find(range, 1, true), name .. ": " .. line .. " vs " .. range)
            end
         end
         for name in pairs(fields) do
            assert(limits[set][name], class .. " has " .. name .. ", which is no option")
         end
      end)
   end

   it("have defaults within their ranges", function()
      for set in pairs(classes) do
         for name, rule in pairs(limits[set]) do
            local opts = { [name] = rule.default }
            assert.same(opts[name], options.check(opts, limits[set], set)[name])
         end
      end
   end)
end)
