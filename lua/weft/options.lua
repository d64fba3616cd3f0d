-- options: checks the tables of options that users hand to weft, and fills in
-- the defaults. Pure Lua, needs nothing. Misuse raises at the user's own line,
-- naming the option, what it must be, and what was given.

local options = {}

local concat, sort = table.concat, table.sort

local article = {
   number = "a number", integer = "an integer", string = "a string",
   boolean = "true or false", ["function"] = "a function", table = "a table",
   list = "a list of strings",
}

local function is_list(v)
   if type(v) ~= "table" then return false end
   local n = 0
   for _ in pairs(v) do n = n + 1 end
   for i = 1, n do
      if type(v[i]) ~= "string" then return false end
   end
   return true
end

-- "string|list" names alternatives; the first that fits wins.
local function fits(v, kind)
   if kind == "integer" then return math.type(v) ~= nil and math.tointeger(v) ~= nil end
   if kind == "number" then return type(v) == "number" and v == v end
   if kind == "list" then return is_list(v) end
   return type(v) == kind
end

local function kind_of(v, kinds)
   for kind in kinds:gmatch("[^|]+") do
      if fits(v, kind) then return kind end
   end
end

local function in_range(v, rule)
   return (not rule.min or v >= rule.min) and (not rule.max or v <= rule.max)
end

local function show_range(rule)
   if rule.min and rule.max then return (" from %s to %s"):format(rule.min, rule.max) end
   if rule.min then return (" of at least %s"):format(rule.min) end
   return rule.max and (" of at most %s"):format(rule.max) or ""
end

-- "a number of seconds from 0 to 86400"
local function wanted(rule)
   local parts = {}
   for kind in rule.type:gmatch("[^|]+") do parts[#parts + 1] = article[kind] or kind end
   local unit = rule.unit and " of " .. rule.unit or ""
   return concat(parts, " or ") .. unit .. show_range(rule)
end

local function given(v)
   if type(v) == "string" then
      local short = #v > 40 and v:sub(1, 37) .. "..." or v
      return ("the string %q"):format(short)
   end
   if type(v) == "table" or type(v) == "function" or type(v) == "userdata" then
      return "a " .. type(v)
   end
   return tostring(v)
end

local function known(rules)
   local names = {}
   for name in pairs(rules) do names[#names + 1] = name end
   sort(names)
   return concat(names, ", ")
end

local function check_value(value, rule)
   local kind = kind_of(value, rule.type)
   local numeric = kind == "number" or kind == "integer"
   if not kind or (numeric and not in_range(value, rule)) then
      return nil, ("must be %s, got %s"):format(wanted(rule),
         rule.secret and "a " .. type(value) or given(value))
   end
   if kind == "integer" then value = math.tointeger(value) end
   local why = rule.check and rule.check(value)
   if why then return nil, why end
   return value
end

--- Checks `opts` against `rules` and returns a new table with defaults filled in.
-- rules: name -> { type=, default=, min=, max=, unit=, text=, check=, secret= }
-- where: the function's name in messages; level: as for error(), seen from the
-- caller of check (default 2: whoever called that function); base: a table
-- whose values are the defaults instead (an app's, for its routes).
function options.check(opts, rules, where, level, base)
   level = (level or 2) + 1
   if opts ~= nil and type(opts) ~= "table" then
      error(("%s: the options must be a table, got %s"):format(where, given(opts)), level)
   end
   local result = {}
   for name, rule in pairs(rules) do
      if base and base[name] ~= nil then result[name] = base[name]
      else result[name] = rule.default end
   end
   for name, value in pairs(opts or {}) do
      local rule = rules[name]
      if not rule then
         local message = "%s: unknown option %s; it takes %s"
         error(message:format(where, given(name):gsub("^the string ", ""), known(rules)), level)
      end
      local checked, why = check_value(value, rule)
      if why then error(("%s: option %q %s"):format(where, name, why), level) end
      result[name] = checked
   end
   return result
end

--- Checks one positional argument; raises as check() does.
function options.argument(value, kinds, name, where, level)
   if kind_of(value, kinds) then return value end
   local message = "%s: %s must be %s, got %s"
   error(message:format(where, name, wanted { type = kinds }, given(value)), (level or 2) + 1)
end

--- Is v an object of that class ("weft.websocket")?
function options.is(v, class)
   local meta = getmetatable(v)
   return type(meta) == "table" and meta.__name == class
end

--- Checks a timeout of a method, which may be nil, and returns it; raises as check() does.
function options.timeout(value, where, level)
   if value == nil or type(value) == "number" and value >= 0 then return value end
   error(("%s: the timeout must be a number of seconds, 0 or more, got %s"):format(where,
      given(value)), (level or 2) + 1)
end

--- Checks a limit of a method in bytes, which may be nil; the same.
function options.bytes(value, where, level)
   if value == nil then return nil end
   local bytes = math.type(value) and math.tointeger(value)
   if bytes and bytes >= 0 then return bytes end
   error(("%s: the limit must be a number of bytes, 0 or more, got %s"):format(where,
      given(value)), (level or 2) + 1)
end

--- One table of rules made of several.
function options.merge(...)
   local all = {}
   for _, rules in ipairs { ... } do
      for name, rule in pairs(rules) do all[name] = rule end
   end
   return all
end

return options
