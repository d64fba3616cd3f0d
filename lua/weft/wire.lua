-- wire: the JSON (RFC 8259) of weft.1's peers, held to the grammar where cjson is lax and
-- bounded in depth, since parts of it are passed on to others as they came.

local json = require "weft.json"

local wire = {}

local find, sub, byte, gsub = string.find, string.sub, string.byte, string.gsub

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function escape(c)
   return escapes[c] or ("\\u%04x"):format(byte(c))
end

--- A string's text. It should be UTF-8; nothing here needs cjson.
function wire.quote(s)
   return '"' .. gsub(s, '[%c"\\]', escape) .. '"'
end

-- -- the grammar, where cjson has taken the text already ------------------------------

-- RFC 8259 7: control characters must be escaped. The closing quote's index, or nil.
local function string_end(text, at)
   repeat
      at = find(text, '["\\\0-\31]', at + 1)
      local c = byte(text, at)
      if c == 34 then return at end
      if c == 92 then at = at + 1 end -- whatever is escaped
   until c ~= 92
end

-- RFC 8259 6: digits on both sides of the point.
local function numbers_are_fine(text, from, to)
   local part = sub(text, from, to)
   if not find(part, ".", 1, true) then return true end
   return not find(gsub(part, "%d%.%d", ""), ".", 1, true)
end

-- From the first bracket to the last; nil: malformed, or false: deeper than `most`.
local function brackets_end(text, at, most)
   local depth, from = 1, at + 1
   repeat
      local stop = find(text, '["{}%[%]]', from)
      if not numbers_are_fine(text, from, stop - 1) then return nil end
      local c = byte(text, stop)
      if c == 34 then stop = string_end(text, stop)
      elseif c == 123 or c == 91 then depth = depth + 1
      else depth = depth - 1 end
      if not stop then return nil end
      if depth > most then return false end
      from = stop + 1
   until depth == 0
   return from - 1
end

-- The index of a value's last byte; nil when only cjson would take it, or false.
local function value_end(text, at, most)
   local c = byte(text, at)
   if c == 34 then return string_end(text, at) end
   if c == 123 or c == 91 then return brackets_end(text, at, most) end
   local stop = find(text, "[%s,}]", at) - 1
   return numbers_are_fine(text, at, stop) and stop or nil
end

-- The text of each member of the object that starts at `at`, the last of those with the same
-- name, and the index behind the object; or nil or false, as above.
local function members(text, at, most)
   local raw = {}
   at = find(text, "%S", at + 1)
   while byte(text, at) ~= 125 do
      local stop = string_end(text, at)
      if not stop then return nil end
      local name = sub(text, at + 1, stop - 1)
      if find(name, "\\", 1, true) then name = json.decode('["' .. name .. '"]')[1] end
      at = find(text, "%S", find(text, ":", stop + 1, true) + 1)
      stop = value_end(text, at, most - 1)
      if not stop then return stop end
      raw[name] = sub(text, at, stop)
      at = find(text, "[^%s,]", stop + 1)
   end
   return raw, at + 1
end

-- -- reading ---------------------------------------------------------------------------

local MALFORMED, DEEP = "malformed JSON", "nested too deeply (max_depth)"

-- { value=, raw= } and the index behind it | nil, why
local function read_one(text, at, value, most)
   if type(value) ~= "table" or byte(text, at) ~= 123 then return nil, "not a JSON object" end
   local raw, after = members(text, at, most)
   if not raw then return nil, raw == false and DEEP or MALFORMED end
   return { value = value, raw = raw }, after
end

local function read_list(text, at, values, most)
   local list = {}
   for i, value in ipairs(values) do
      at = find(text, "[^%s,]", at)
      local one, after = read_one(text, at, value, most)
      if not one then return nil, after end
      list[i], at = one, after
   end
   return list, true
end

--- What a peer says: an object, or an array of objects. A list of { value=, raw= }, whether it
-- was an array | nil, why. value: a table, with json.null() for null; raw: the text of each of
-- its members, as it came.
function wire.read(text, max_depth)
   if find(text, "\0", 1, true) then return nil, MALFORMED end -- cjson ends there
   local value, why = json.decode(text)
   if value == nil then
      return nil, find(why, "nested", 1, true) and DEEP or MALFORMED
   end
   local at = find(text, "%S")
   if type(value) == "table" and byte(text, at) == 91 then
      return read_list(text, at + 1, value, max_depth)
   end
   local one, after = read_one(text, at, value, max_depth)
   if not one then return nil, after end
   return { one }, false
end

return wire
