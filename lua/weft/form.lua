-- form: application/x-www-form-urlencoded (WHATWG URL 5), as forms and queries come. Pure Lua.

local form = {}

-- Names and values of one form or query; a flood of tiny ones would cost more than its bytes.
local MAX_FIELDS = 1000
form.MAX_FIELDS = MAX_FIELDS

local function unhex(digits)
   return string.char(tonumber(digits, 16))
end

-- nil: a malformed escape
local function decode(s)
   if s:find("+", 1, true) then s = s:gsub("+", " ") end
   if not s:find("%", 1, true) then return s end
   if s:gsub("%%%x%x", ""):find("%", 1, true) then return nil end
   return (s:gsub("%%(%x%x)", unhex))
end

--- Adds a field to what decode returns; the first of a name is its value.
function form.add(fields, list, name, value)
   list[#list + 1] = { name = name, value = value }
   if fields[name] == nil then fields[name] = value end
end

--- fields (name -> its first value), list ({ name=, value= } in order); or nil, why.
function form.decode(text)
   local fields, list = {}, {}
   for pair in text:gmatch "[^&]+" do
      local name, value = pair:match "^([^=]*)=?(.*)$"
      name, value = decode(name), decode(value)
      if not name or not value then return nil, "a malformed percent-escape" end
      if #list == MAX_FIELDS then return nil, ("more than %d fields"):format(MAX_FIELDS) end
      form.add(fields, list, name, value)
   end
   return fields, list
end

return form
