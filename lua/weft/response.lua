-- response: writes one HTTP response (RFC 9112 4 to 7) to a stream. What a
-- handler returned is checked here; misuse raises, so that it is answered by
-- 500 and reported like any other error of the handler.

local checks = require "weft.checks"
local date = require "weft.date"
local watch = require "weft.watch"

local response = {}

local concat = table.concat

local reasons = {
   [200] = "OK", [201] = "Created", [202] = "Accepted", [203] = "Non-Authoritative Information",
   [204] = "No Content", [205] = "Reset Content", [206] = "Partial Content",
   [300] = "Multiple Choices", [301] = "Moved Permanently", [302] = "Found",
   [303] = "See Other", [304] = "Not Modified", [307] = "Temporary Redirect",
   [308] = "Permanent Redirect", [400] = "Bad Request", [401] = "Unauthorized",
   [402] = "Payment Required", [403] = "Forbidden", [404] = "Not Found",
   [405] = "Method Not Allowed", [406] = "Not Acceptable", [408] = "Request Timeout",
   [409] = "Conflict", [410] = "Gone", [411] = "Length Required",
   [412] = "Precondition Failed", [413] = "Content Too Large", [414] = "URI Too Long",
   [415] = "Unsupported Media Type", [416] = "Range Not Satisfiable",
   [417] = "Expectation Failed", [418] = "I'm a teapot", [421] = "Misdirected Request",
   [422] = "Unprocessable Content", [426] = "Upgrade Required", [428] = "Precondition Required",
   [429] = "Too Many Requests", [431] = "Request Header Fields Too Large",
   [451] = "Unavailable For Legal Reasons", [500] = "Internal Server Error",
   [501] = "Not Implemented", [502] = "Bad Gateway", [503] = "Service Unavailable",
   [504] = "Gateway Timeout", [505] = "HTTP Version Not Supported",
}
response.reasons = reasons

-- Framing is weft's own; a handler that sets these would contradict it.
local reserved = { ["transfer-encoding"] = true, connection = true,
   ["keep-alive"] = true, trailer = true, te = true }

local function misuse(message, ...)
   error(message:format(...), 0)
end

local function check_value(name, value)
   if type(value) ~= "string" and math.type(value) == nil then
      misuse("header %q: the value must be a string or a number, got %s", name,
         type(value))
   end
   value = tostring(value)
   -- RFC 9110 5.5: CR, LF and NUL would let a value write the rest of the head
   if value:find("[\0\r\n]") then
      misuse("header %q: the value must not hold CR, LF or NUL", name)
   end
   return value
end

local function add_field(lines, name, value)
   if type(value) ~= "table" then
      lines[#lines + 1] = name .. ": " .. check_value(name, value)
      return
   end
   for _, one in ipairs(value) do
      lines[#lines + 1] = name .. ": " .. check_value(name, one)
   end
end

-- Adds the handler's fields; returns the set of lower-case names.
local function add_fields(lines, headers)
   local seen = {}
   for name, value in pairs(headers) do
      if type(name) ~= "string" or not checks.is_token(name) then
         misuse("response header %q: not a header name", tostring(name))
      end
      local lower = name:lower()
      if reserved[lower] then misuse("response header %q: weft sets it itself", name) end
      seen[lower] = value
      if lower ~= "content-length" then add_field(lines, name, value) end
   end
   return seen
end

--- Checks header fields that go out in a 101 or in a request of a client, and
-- returns them as lines. forbidden: a set of lower-case names.
function response.lines(headers, forbidden, where, level)
   local lines = {}
   for name, value in pairs(headers) do
      local ok, why = pcall(function()
         if type(name) ~= "string" or not checks.is_token(name) then
            misuse("header %q: not a header name", tostring(name))
         end
         if forbidden[name:lower()] then misuse("header %q: weft sets it itself", name) end
         add_field(lines, name, value)
      end)
      if not ok then error(("%s: %s"):format(where, why), level + 1) end
   end
   lines[#lines + 1] = ""
   return concat(lines, "\r\n")
end

-- A body of weft's own (static.lua, events.lua): { length=, send=function(stream, plan) -> ok,
-- final=true where the connection ends with it }.
local source = {}
source.__index = source
response.source = source

local function is_source(body)
   return getmetatable(body) == source
end

--- req:set_header(name, value): a field of the answer, whoever makes it: the handler's own
-- of that name goes before it, except those that are lists. Raises on misuse.
function response.set_header(request, name, value)
   local ok, why = pcall(function()
      if type(name) ~= "string" or not checks.is_token(name) then
         misuse("header %q: not a header name", tostring(name))
      end
      if reserved[name:lower()] or name:lower() == "content-length" then
         misuse("header %q: weft sets it itself", name)
      end
      value = check_value(name, value)
   end)
   if not ok then error("req:set_header: " .. why, 2) end
   local list = request.answer_fields or {}
   request.answer_fields = list
   list[#list + 1] = { name:lower(), value }
end

local LISTS = { ["set-cookie"] = true, vary = true, link = true }

-- What set_header left, by name: the last value, or all of a list.
local function gather(more)
   local fields = {}
   for _, field in ipairs(more) do
      local name, value = field[1], field[2]
      if LISTS[name] then
         fields[name] = fields[name] or {}
         table.insert(fields[name], value)
      else
         fields[name] = value
      end
   end
   return fields
end

local function append(list, own)
   for _, value in ipairs(type(own) == "table" and own or { own }) do list[#list + 1] = value end
   return list
end

--- What set_header left for the answer 101, as lines; nil when there is nothing.
function response.more_lines(request)
   local more = request.answer_fields
   if not more then return nil end
   local lines = {}
   for name, value in pairs(gather(more)) do add_field(lines, name, value) end
   lines[#lines + 1] = ""
   return concat(lines, "\r\n")
end

-- The handler's fields and those of set_header.
local function merge(headers, more)
   local all = gather(more)
   for name, value in pairs(headers) do
      local lower = type(name) == "string" and name:lower() or name
      if LISTS[lower] then value = append(all[lower] or {}, value) end
      if lower ~= name then all[lower] = nil end
      all[name] = value
   end
   return all
end

local function check_answer(status, headers, body)
   if math.type(status) ~= "integer" or status < 200 or status > 599 then
      misuse("a handler must return a status from 200 to 599 first "
         .. "(return 200, headers, body), got %s", tostring(status))
   end
   if headers ~= nil and type(headers) ~= "table" then
      misuse("a handler must return a table of headers or nil second "
         .. "(return 200, headers, body), got a %s", type(headers))
   end
   local kind = type(body)
   if body ~= nil and kind ~= "string" and kind ~= "function" and not is_source(body) then
      misuse("a handler must return a string, a function or nil third "
         .. "(return 200, headers, body), got a %s", kind)
   end
end

-- The length that the handler announced for a body that is not a string yet.
local function announced(seen, actual)
   local length = seen["content-length"]
   if length == nil then return actual end
   local number = math.tointeger(tonumber(length))
   if not number or number < 0 or (actual and number ~= actual) then
      misuse("response header \"content-length\": %s does not fit the body", tostring(length))
   end
   return number
end

-- bare: a content is only told of (RFC 9110 8.6), by HEAD and 304.
local function length_of(body, seen, bare)
   if body == nil and bare then return announced(seen, nil) or 0 end
   if body == nil then return announced(seen, 0) end
   if type(body) == "string" then return announced(seen, #body) end
   if type(body) == "table" then return body.length end
   return announced(seen, nil)
end

local function add_framing(lines, plan, seen)
   local status, length = plan.status, plan.length
   if status == 204 or status == 304 then
      plan.body = nil -- RFC 9110 15.3.5, 15.4.5: no content
   elseif length then
      lines[#lines + 1] = "content-length: " .. length
   elseif plan.version == "1.0" then
      plan.keep = false -- its end is the end of the connection
   else
      plan.chunked = true
      lines[#lines + 1] = "transfer-encoding: chunked"
   end
   if plan.body and not seen["content-type"] then
      lines[#lines + 1] = "content-type: text/plain; charset=utf-8"
   end
   if not plan.keep then
      -- RFC 9110 7.8: whoever sends Upgrade names it here
      lines[#lines + 1] = "connection: close" .. (seen.upgrade and ", upgrade" or "")
   elseif plan.version == "1.0" then
      lines[#lines + 1] = "connection: keep-alive"
   end
end

local function head_of(plan, headers)
   local status = plan.status
   local lines = { ("HTTP/1.1 %d %s"):format(status, reasons[status] or "") }
   local seen = add_fields(lines, headers)
   plan.length = length_of(plan.body, seen, plan.bare)
   if not seen.date then lines[#lines + 1] = "date: " .. date.now() end
   add_framing(lines, plan, seen)
   lines[#lines + 1] = "\r\n"
   return concat(lines, "\r\n")
end

-- As in a generic for: what belongs to an iterator, and is closed however it ends.
local function check_closing(closing)
   if closing == nil or closing == false then return end
   local meta = getmetatable(closing)
   if type(meta) ~= "table" or not meta.__close then
      misuse("the closing value of a body's iterator (return 200, headers, f, state, control, "
         .. "closing) must have __close, got a %s", type(closing))
   end
end

-- What belongs to an iterator is closed, too, where its answer cannot be sent.
local unsent = {}
function unsent:__close(err)
   local meta = err ~= nil and getmetatable(self.closing)
   if type(meta) == "table" and meta.__close then meta.__close(self.closing, err) end
end

--- response.guard(closing): a `<close>` variable around all that makes the plan.
function response.guard(closing)
   return setmetatable({ closing = closing }, unsent)
end

--- Checks an answer and makes its head: a plan { head=, body=, keep=, ... } for
-- response.send. Raises on misuse, before anything is sent.
function response.plan(request, keep, status, headers, body, state, control, closing)
   check_answer(status, headers, body)
   if type(body) == "function" then check_closing(closing) else closing = nil end
   if is_source(body) and body.final then keep = false end
   local plan = { status = status, body = body, keep = keep, state = state,
      control = control, closing = closing,
      version = request and request.version or "1.1",
      bare = status == 304 or request ~= nil and request.method == "HEAD" }
   headers = headers or {}
   local more = request and request.answer_fields
   plan.head = head_of(plan, more and merge(headers, more) or headers)
   if plan.bare then plan.body = nil end
   return plan
end

-- One piece of an iterator's body; false when the peer is gone.
local function send_piece(stream, piece, chunked)
   if type(piece) ~= "string" then
      misuse("a body's iterator must return strings, got a %s", type(piece))
   end
   if piece == "" then return true end -- a chunk of size 0 would end the body
   if chunked then piece = ("%x\r\n%s\r\n"):format(#piece, piece) end
   return stream:send(piece) ~= nil
end

local function send_pieces(stream, plan)
   local total = 0
   local _ <close> = watch(stream)
   for piece in plan.body, plan.state, plan.control do
      if not send_piece(stream, piece, plan.chunked) then return false end
      total = total + #piece
      if plan.length and total > plan.length then
         misuse("a body is longer than its content-length (%d)", plan.length)
      end
   end
   if plan.chunked then return stream:send("0\r\n\r\n") ~= nil end
   if plan.length and total < plan.length then
      misuse("a body is shorter than its content-length (%d)", plan.length)
   end
   return true
end

--- Sends a plan: true when all of it is on its way and the connection can be
-- kept. An error of a body's iterator goes through.
function response.send(stream, plan)
   local body = plan.body
   local _ <close> = plan.closing
   if type(body) == "string" then
      return stream:send(plan.head .. body) ~= nil and plan.keep
   end
   if not stream:send(plan.head) then return false end
   if body == nil then return plan.keep end
   local send_body = is_source(body) and body.send or send_pieces
   return send_body(stream, plan) and plan.keep
end

--- Refuses: status, and text that says why. request may be nil. False: nothing
-- that the peer sends behind the request is to be parsed, and the connection ends
-- with its task (in good order: what still comes is discarded for a while, since
-- closing with unread input would reset the connection and take the answer along).
function response.refuse(stream, request, status, headers, text)
   local body = (text or reasons[status]) .. "\n"
   return response.send(stream, response.plan(request, false, status, headers, body))
end

return response
