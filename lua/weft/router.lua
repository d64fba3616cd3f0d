-- router: from a method and a percent-encoded path to a route. Pure Lua. Paths
-- are a tree of segments: at each one a fixed segment wins over ":name", which
-- wins over "*rest".

local router = {}
router.__index = router

-- Where a WebSocket route stands among the methods of a path: no method that a
-- request can have, since it is not a token.
router.WEBSOCKET = "(websocket)"

local function new_node()
   return { fixed = {} }
end

--- router.new() -> an empty router
local function new()
   return setmetatable({ root = new_node(), exact = {} }, router)
end

local function unhex(digits)
   return string.char(tonumber(digits, 16))
end

--- Percent-decodes; nil when an escape is malformed or hides a NUL.
local function decode(s)
   if not s:find("%", 1, true) then return s end
   if s:gsub("%%%x%x", ""):find("%", 1, true) or s:find("%00", 1, true) then return nil end
   return (s:gsub("%%(%x%x)", unhex))
end

local function split(path)
   local segments = {}
   for segment in path:gmatch("/([^/]*)") do segments[#segments + 1] = segment end
   return segments
end

local function bad_pattern(pattern, why, level)
   error(("route %q: %s"):format(pattern, why), level + 1)
end

-- "/rooms/:id" -> segments, names; raises for the user of add().
local function parse_pattern(pattern, level)
   if type(pattern) ~= "string" or pattern:sub(1, 1) ~= "/" then
      bad_pattern(tostring(pattern), 'must be a string that begins with "/"', level + 1)
   end
   local segments, names, seen = split(pattern), {}, {}
   for i, segment in ipairs(segments) do
      local mark, name = segment:match("^([:*])(.*)$")
      if mark then
         if not name:find("^[%a_][%w_]*$") then
            bad_pattern(pattern, ("%q needs a name"):format(segment), level + 1)
         elseif seen[name] then
            bad_pattern(pattern, ("the name %q is used twice"):format(name), level + 1)
         elseif mark == "*" and i < #segments then
            bad_pattern(pattern, ("%q must come last"):format(segment), level + 1)
         end
         seen[name] = true
         names[#names + 1] = name
      end
   end
   return segments, names
end

local function descend(node, segment)
   local mark = segment:sub(1, 1)
   if mark == ":" then
      node.param = node.param or new_node()
      return node.param
   elseif mark == "*" then
      node.rest = node.rest or new_node()
      return node.rest
   end
   local fixed = decode(segment) or segment
   node.fixed[fixed] = node.fixed[fixed] or new_node()
   return node.fixed[fixed]
end

-- The place of a pattern that has no route for that method yet, and the names in it.
local function place_for(self, method, pattern, level)
   local segments, names = parse_pattern(pattern, level + 1)
   local node = self.root
   for _, segment in ipairs(segments) do node = descend(node, segment) end
   if node.entries and node.entries[method] then
      bad_pattern(pattern, method .. " has a handler there already", level + 1)
   end
   return node, names
end

--- Raises where add() would.
function router:check(method, pattern, level)
   place_for(self, method, pattern, level + 1)
end

--- Adds a route (any value but nil) for a method. level as for error(): whom
-- to blame for a bad pattern, 2 being the caller.
function router:add(method, pattern, route, level)
   local node, names = place_for(self, method, pattern, (level or 2) + 1)
   node.entries = node.entries or {}
   node.entries[method] = { route = route, names = #names > 0 and names or nil }
   if not names[1] and not pattern:find("%", 1, true) then self.exact[pattern] = node end
end

local function entry_for(node, method, search)
   local entries = node.entries
   if not entries then return nil end
   local entry = entries[method] or (method == "HEAD" and entries.GET)
   if not entry then search.others[#search.others + 1] = entries end
   return entry
end

-- Depth first; every node is visited at most once per search, because each
-- segment leads to its own children.
local function find(node, segments, i, search)
   if i > #segments then return entry_for(node, search.method, search) end
   local segment = segments[i]
   local child = node.fixed[segment]
   local entry = child and find(child, segments, i + 1, search)
   if entry then return entry end
   if node.param and segment ~= "" then
      local depth = #search.values + 1
      search.values[depth] = segment
      entry = find(node.param, segments, i + 1, search)
      if entry then return entry end
      search.values[depth] = nil
   end
   if node.rest then
      entry = entry_for(node.rest, search.method, search)
      if entry then search.values[#search.values + 1] = table.concat(segments, "/", i) end
   end
   return entry
end

local function params_of(entry, values)
   if not entry.names then return nil end
   local params = {}
   for i, name in ipairs(entry.names) do params[name] = values[i] end
   return params
end

-- Which methods the path knows, as a set.
local function methods_of(others)
   if not others[1] then return nil end
   local methods = {}
   for _, entries in ipairs(others) do
      for method in pairs(entries) do methods[method] = true end
   end
   return methods
end

local function decode_all(segments)
   for i, segment in ipairs(segments) do
      segments[i] = decode(segment)
      if not segments[i] then return false end
   end
   return true
end

--- Finds the route for a method and a path as it was sent:
--   route, params | nil         found
--   nil, nil, methods           the path is known, the method is not: a set
--   nil                         no such path
--   false                       the path is malformed (400)
function router:match(method, path)
   local node = self.exact[path]
   local entry = node and (node.entries[method] or (method == "HEAD" and node.entries.GET))
   if entry then return entry.route end
   local segments = split(path)
   if not decode_all(segments) then return false end
   local search = { method = method, values = {}, others = {} }
   entry = find(self.root, segments, 1, search)
   if entry then return entry.route, params_of(entry, search.values) end
   return nil, nil, methods_of(search.others)
end

return { new = new, decode = decode, split = split, WEBSOCKET = router.WEBSOCKET }
