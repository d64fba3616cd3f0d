-- session: what a server remembers of a browser, in a signed cookie: the browser keeps it, can
-- read it, and cannot change it. base64url(JSON) "." base64url(HMAC-SHA256 of "name=" and that).

local core = require "weft.core"
local cookies = require "weft.cookies"
local json = require "weft.json"
local limits = require "weft.limits"
local options = require "weft.options"

local session = {}
session.__index = session
session.__name = "weft.session"

-- RFC 6265 6.1: 4096 bytes with name and attributes; this leaves room for the latter.
local MAX_BYTES = 3800

-- RFC 4648 5, without padding
local to_url = { ["+"] = "-", ["/"] = "_", ["="] = "" }
local from_url = { ["-"] = "+", ["_"] = "/" }

local function encode(bytes)
   return (core.base64(bytes):gsub("[+/=]", to_url))
end

local function decode(text)
   if text:find "[^%w_-]" then return nil end
   return core.base64_decode(text:gsub("[-_]", from_url) .. ("="):rep(-#text % 4))
end

--- weft.session { keys = { newest, ... }, ... }
local function new(opts)
   opts = options.check(opts, limits.session, "weft.session", 2)
   if not opts.keys then error("weft.session: the option keys is needed", 2) end
   json.need("weft.session", 2)
   local attributes = { path = opts.path, domain = opts.domain, secure = opts.secure,
      http_only = opts.http_only, same_site = opts.same_site }
   cookies.format(opts.name, "", attributes, 3, "weft.session") -- raises where it cannot be
   local keys = table.move(opts.keys, 1, #opts.keys, 1, {})
   return setmetatable({ keys = keys, name = opts.name, max_age = opts.max_age,
      attributes = attributes }, session)
end

-- The name is signed, too: what was made for one cookie is nothing in another.
local function sign(self, key, payload)
   return core.hmac(key, self.name .. "=" .. payload)
end

-- Every key is tried, so the time tells nothing of which one it was.
local function is_signed(self, payload, mac)
   local good = false
   for _, key in ipairs(self.keys) do
      good = core.compare(sign(self, key, payload), mac) or good
   end
   return good
end

-- The record { e = when it expires, d = data } of a cookie, or nil.
local function open(self, value)
   local payload, mac = value:match "^([^.]*)%.([^.]*)$"
   payload, mac = payload, mac and decode(mac)
   if not payload or not mac or not is_signed(self, payload, mac) then return nil end
   local text = decode(payload)
   local record = text and json.decode(text)
   if type(record) ~= "table" or type(record.d) ~= "table" then return nil end
   if type(record.e) ~= "number" or record.e <= core.gettime() then return nil end
   return record
end

-- A test's stand-in will do, if it has that method.
local function check_request(req, method, where, level)
   local kind = type(req)
   if (kind == "userdata" or kind == "table") and req[method] then return end
   error(("%s: the request must be a weft.request, got a %s"):format(where, kind), level + 1)
end

--- session:read(req) -> a table that is the caller's own: what was saved, or an empty one when
-- there is no cookie, or one that is expired or not ours; and whether there was one.
function session:read(req)
   check_request(req, "cookie", "session:read", 2)
   local value = req:cookie(self.name)
   local record = value and open(self, value)
   if record then return record.d, true end
   return {}, false
end

--- session:cookie(data) -> the value of a Set-Cookie field | nil, message, "too_big"
local function cookie_of(self, data, level)
   options.argument(data, "table", "the data", "session:save", level + 1)
   local text, why = json.encode { e = core.gettime() // 1 + self.max_age, d = data }
   if not text then error("session:save: " .. why, level + 1) end
   local payload = encode(text)
   local value = payload .. "." .. encode(sign(self, self.keys[1], payload))
   if #self.name + #value > MAX_BYTES then
      return nil, ("a session of %d bytes, more than browsers take (%d)"):format(
         #self.name + #value, MAX_BYTES), "too_big"
   end
   self.attributes.max_age = self.max_age
   return cookies.format(self.name, value, self.attributes, level + 2)
end

--- session:save(req, data): sets the cookie in the answer to the request. true | nil, message,
-- "too_big"
function session:save(req, data)
   check_request(req, "set_header", "session:save", 2)
   local cookie, message, code = cookie_of(self, data, 2)
   if not cookie then return nil, message, code end
   req:set_header("set-cookie", cookie)
   return true
end

--- session:clear(req): has the browser forget it.
function session:clear(req)
   check_request(req, "set_header", "session:clear", 2)
   self.attributes.max_age = 0
   req:set_header("set-cookie", cookies.format(self.name, "", self.attributes, 3))
   return true
end

-- Never the keys.
function session:__tostring()
   return ("weft.session (%s)"):format(self.name)
end

return { new = new, methods = session }
