-- multipart: multipart/form-data (RFC 7578), as forms with files come. Pure Lua; the body is
-- in memory already, within max_body.

local form = require "weft.form"
local trim = require "weft.trim"

local multipart = {}

local MAX_HEAD = 4096 -- the fields of one part
local MAX_NAME = 1024

--- The boundary that a Content-Type names (RFC 2046 5.1.1), or nil.
function multipart.boundary(content_type)
   local value = content_type:match ';%s*[bB][oO][uU][nN][dD][aA][rR][yY]="([^"]*)"'
      or content_type:match ";%s*[bB][oO][uU][nN][dD][aA][rR][yY]=([^%s;\"]+)"
   if value and #value >= 1 and #value <= 70 and value:find "^[%w'()+_,./:=? -]+$" then
      return value
   end
   return nil
end

-- WHATWG HTML 4.10.21.8: in names these three are escaped, and nothing else.
local unescaped = { ["%22"] = '"', ["%0D"] = "\r", ["%0A"] = "\n", ["%0d"] = "\r",
   ["%0a"] = "\n" }

local function parameter(disposition, name)
   local value = disposition:match(";%s*" .. name .. '="([^"]*)"')
      or disposition:match(";%s*" .. name .. "=([^%s;\"]+)")
   return value and value:gsub("%%%x%x", unescaped)
end

local function parse_head(text)
   local fields = {}
   for line in (text .. "\r\n"):gmatch "(.-)\r\n" do
      local name, value = line:match "^([%w%-]+):(.*)$"
      if not name then return nil, "a malformed field of a part" end
      fields[name:lower()] = trim(value)
   end
   local disposition = fields["content-disposition"]
   if not disposition or not disposition:lower():find "^form%-data%s*;" then
      return nil, "a part without Content-Disposition: form-data"
   end
   local name = parameter(disposition, "name")
   if not name or #name > MAX_NAME then return nil, "a part without a name" end
   return { name = name, filename = parameter(disposition, "filename"),
      type = fields["content-type"] }
end

-- RFC 7578 4.2: a receiver does not use the directories that a file's name may hold.
local function clean(part)
   part.filename = part.filename and part.filename:match "[^/\\]*$"
   return part
end

-- One part, whose head begins at `at`: it, and where what follows its delimiter begins.
local function read_part(body, at, delimiter)
   local head_end, value_at = body:find("\r\n\r\n", at, true)
   if not head_end or head_end - at > MAX_HEAD then return nil, "a part without its head" end
   local part, why = parse_head(body:sub(at, head_end - 1))
   if not part then return nil, why end
   local value_end, after = body:find(delimiter, value_at - 1, true)
   if not value_end then return nil, "the form breaks off within a part" end
   part.value = body:sub(value_at + 1, value_end - 1)
   return clean(part), after + 1
end

-- Behind a delimiter: "--" ends the form, a line's end begins a part; RFC 2046 5.1.1 lets
-- spaces stand before that.
local function next_part(body, at)
   if body:sub(at, at + 1) == "--" then return "end" end
   local _, stop = body:find("^[ \t]*\r\n", at)
   return stop and stop + 1
end

--- fields (name -> its first value), list ({ name=, value=, filename=, type= } in order); or
-- nil, why.
function multipart.decode(body, boundary)
   local fields, list = {}, {}
   local delimiter = "\r\n--" .. boundary
   body = "\r\n" .. body -- so that the first delimiter is like the others
   local _, at = body:find(delimiter, 1, true)
   if not at then return nil, "the form does not have its boundary" end
   at = next_part(body, at + 1)
   while at ~= "end" do
      if not at then return nil, "a malformed boundary" end
      if #list == form.MAX_FIELDS then
         return nil, ("more than %d fields"):format(form.MAX_FIELDS)
      end
      local part, after = read_part(body, at, delimiter)
      if not part then return nil, after end
      list[#list + 1] = part
      if fields[part.name] == nil then fields[part.name] = part.value end
      at = next_part(body, after)
   end
   return fields, list
end

return multipart
