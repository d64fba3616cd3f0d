-- content: what a request says in its query, its body and its cookies, as values: the methods
-- args, arg, form, json, cookies, cookie, basic and bearer of requests.

local core = require "weft.core"
local cookies = require "weft.cookies"
local form = require "weft.form"
local json = require "weft.json"
local multipart = require "weft.multipart"
local options = require "weft.options"
local request = require "weft.request"

local methods = core.methods.request

-- The media type, in lower case, without parameters (RFC 9110 8.3.1).
local function media_type(req)
   local field = req:header "content-type"
   return field and field:match("^[^;%s]*"):lower(), field
end

--- req:args() -> the query's fields (name -> its first value), list | nil, message, code
function methods.args(req)
   local fields, list = form.decode(req.query or "")
   if fields then return fields, list end
   return request.fail(req, 400, list .. " in the query", "protocol")
end

--- req:arg(name) -> that field's first value, or nil
function methods.arg(req, name)
   options.argument(name, "string", "the name", "req:arg", 2)
   local fields = req.parsed_query or form.decode(req.query or "") or {}
   req.parsed_query = fields
   return fields[name]
end

local function malformed(req, why)
   return request.fail(req, 400, why, "protocol")
end

local function wrong_type(req, wanted)
   return request.fail(req, 415, "the body must be " .. wanted, "protocol")
end

local function decode_form(body, kind, field)
   if kind == "application/x-www-form-urlencoded" then return form.decode(body) end
   local boundary = multipart.boundary(field)
   if not boundary then return nil, "the form names no boundary" end
   return multipart.decode(body, boundary)
end

--- req:form([max]) -> fields (name -> first value), list | nil, message, code
function methods.form(req, max)
   options.bytes(max, "req:form", 2)
   local kind, field = media_type(req)
   if kind ~= "application/x-www-form-urlencoded" and kind ~= "multipart/form-data" then
      return wrong_type(req, "a form")
   end
   local body, message, code = req:body(max)
   if not body then return nil, message, code end
   local fields, list = decode_form(body, kind, field)
   if fields then return fields, list end
   return malformed(req, list)
end

--- req:json([max]) -> value | nil, message, code
function methods.json(req, max)
   options.bytes(max, "req:json", 2)
   local kind = media_type(req)
   -- A form of another site can send no such type without being asked for leave first (CORS).
   if kind ~= "application/json" and not (kind and kind:find "^application/.+%+json$") then
      return wrong_type(req, "application/json")
   end
   local body, message, code = req:body(max)
   if not body then return nil, message, code end
   local value, why = json.decode(body)
   if value == nil then return malformed(req, why) end
   return value
end

--- req:cookies() -> name -> value
function methods.cookies(req)
   local all = req.parsed_cookies
   if not all then
      -- RFC 6265 5.4 asks for one field; HTTP/2 in front of a proxy may make it several
      all = cookies.parse(table.concat(req:values "cookie", "; "))
      req.parsed_cookies = all
   end
   return all
end

function methods.cookie(req, name)
   options.argument(name, "string", "the name", "req:cookie", 2)
   return req:cookies()[name]
end

local function credentials(req, scheme)
   local field = req:header "authorization"
   local name, rest = (field or ""):match "^([%w-]+) +(%S+)%s*$"
   if name and name:lower() == scheme and req:count "authorization" == 1 then return rest end
end

--- req:basic() -> user, password (RFC 7617), or nil
function methods.basic(req)
   local text = credentials(req, "basic")
   text = text and core.base64_decode(text)
   if not text or text:find "%c" then return nil end
   return text:match "^([^:]*):(.*)$"
end

--- req:bearer() -> token (RFC 6750 2.1), or nil
function methods.bearer(req)
   local token = credentials(req, "bearer")
   return token and token:find "^[%w._~+/-]+=*$" and token or nil
end
