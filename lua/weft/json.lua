-- json: lua-cjson, loaded by the first who needs it, with settings of weft's own: what a peer
-- sends is UTF-8, nested to a bounded depth, and has no numbers that JSON does not know.

local json = {}

local MAX_DEPTH = 100

local library

local function load_library()
   local found, cjson = pcall(require, "cjson")
   if not found then
      error("weft: JSON needs lua-cjson (Debian's lua-cjson, LuaRocks' lua-cjson)", 0)
   end
   library = cjson.new() -- the settings of the script's own stay as they are
   library.decode_max_depth(MAX_DEPTH)
   library.decode_invalid_numbers(false)
   library.encode_max_depth(MAX_DEPTH)
   library.encode_invalid_numbers(false)
   library.encode_keep_buffer(false)
   return library
end

--- Raises for a function called `where` that will need it, at `level` as of error(): when a server
-- is made, not when its first client comes.
function json.need(where, level)
   local ok, why = pcall(load_library)
   if not ok then error(("%s: %s"):format(where, why), level + 1) end
end

--- What stands for null.
function json.null()
   return (library or load_library()).null
end

--- value | nil, why. null is json.null().
function json.decode(text)
   local cjson = library or load_library()
   if not utf8.len(text) then return nil, "the JSON is not UTF-8" end
   local ok, value = pcall(cjson.decode, text)
   if ok then return value end
   return nil, "malformed JSON: " .. tostring(value)
end

--- text | nil, why
function json.encode(value)
   local cjson = library or load_library()
   local ok, text = pcall(cjson.encode, value)
   if ok then return text end
   return nil, tostring(text)
end

return json
