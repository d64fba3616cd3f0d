-- sse: the format of Server-Sent Events (WHATWG HTML 9.2.5 and 9.2.6): one event as text.
-- Pure Lua.

local sse = {}

local concat = table.concat

local function misuse(level, message, ...)
   error(message:format(...), level + 1)
end

-- 9.2.5: a field's value ends at CR, LF or CRLF, so one within would begin another field.
local function check_line(value, name, where, level)
   if type(value) ~= "string" then
      misuse(level + 1, "%s: %s must be a string, got a %s", where, name, type(value))
   elseif value:find "[\r\n]" then
      misuse(level + 1, "%s: %s must not hold CR or LF", where, name)
   end
   return value
end

-- 9.2.6: an id with a NUL is ignored by whoever reads it.
local function check_id(id, where, level)
   check_line(id, "the id", where, level + 1)
   if id:find("\0", 1, true) then misuse(level + 1, "%s: the id must not hold NUL", where) end
   return id
end

-- Milliseconds on the wire, digits only; seconds here.
local function retry_line(retry, where, level)
   if type(retry) ~= "number" or not (retry >= 0 and retry <= 86400) then
      misuse(level + 1, "%s: retry must be a number of seconds from 0 to 86400, got %s", where,
         tostring(retry))
   end
   return ("retry: %d\n"):format(retry * 1000 // 1 | 0)
end

-- Each line of the data is a field of its own; whoever reads joins them with LF.
local function add_lines(parts, prefix, text)
   if text:find "[\r\n]" then -- by gsub, for a peer may send a million of them
      text = text:gsub("\r\n?", "\n"):gsub("\n", "\n" .. prefix)
   end
   parts[#parts + 1] = prefix .. text .. "\n"
end

local known = { event = true, id = true, retry = true }

local function add_fields(parts, fields, where, level)
   for name in pairs(fields) do
      if not known[name] then
         misuse(level + 1, "%s: unknown field %s; it takes event, id, retry", where,
            tostring(name))
      end
   end
   if fields.event then
      parts[#parts + 1] = "event: " .. check_line(fields.event, "the event", where, level + 1)
         .. "\n"
   end
   if fields.id then
      parts[#parts + 1] = "id: " .. check_id(fields.id, where, level + 1) .. "\n"
   end
   if fields.retry then parts[#parts + 1] = retry_line(fields.retry, where, level + 1) end
end

local function check_data(data, fields, where, level)
   if data == nil and fields and next(fields) ~= nil then return end
   if type(data) ~= "string" then
      misuse(level + 1, "%s: the data must be a string, got a %s", where, type(data))
   end
end

--- One event as text: data (a string, or nil when there are only fields) and { event=, id=,
-- retry= }. nil, message, "utf8" when it is not UTF-8, for nothing else can be sent. Raises on
-- misuse, at `level` as of error().
function sse.event(data, fields, where, level)
   level = (level or 2) + 1
   if fields ~= nil and type(fields) ~= "table" then
      misuse(level, "%s: the fields must be a table { event=, id=, retry= }, got a %s", where,
         type(fields))
   end
   check_data(data, fields, where, level)
   local parts = {}
   if fields then add_fields(parts, fields, where, level) end
   if data then add_lines(parts, "data: ", data) end
   parts[#parts + 1] = "\n"
   local text = concat(parts)
   if not utf8.len(text) then return nil, "the event is not UTF-8", "utf8" end
   return text
end

--- A comment, which nobody is shown: it keeps a connection in use.
function sse.comment(text, where, level)
   level = (level or 2) + 1
   if type(text) ~= "string" then
      misuse(level, "%s: the comment must be a string, got a %s", where, type(text))
   end
   local parts = {}
   add_lines(parts, ": ", text)
   parts[#parts + 1] = "\n"
   local comment = concat(parts)
   if not utf8.len(comment) then return nil, "the comment is not UTF-8", "utf8" end
   return comment
end

return sse
