-- weft1: the texts of weft.1, the protocol of channels (doc/protocol.md): what a server says.
-- topics.lua has its envelopes from here.

local core = require "weft.core"
local json = require "weft.json"
local topics = require "weft.topics"
local wire = require "weft.wire"

local weft1 = { PROTOCOL = "weft.1" }

local quote = wire.quote

-- 14 digits of a float, and all of an integer.
local function number_text(n)
   if math.type(n) == "integer" then return tostring(n) end
   if n ~= n or n == math.huge or n == -math.huge then
      error("it cannot be JSON: a number that is not finite", 0)
   end
   return ("%.14g"):format(n)
end

--- The text of a script's value; raises where it has none. Needs lua-cjson only for tables.
function weft1.encode(value)
   if type(value) == "string" and utf8.len(value) then return quote(value) end
   if type(value) == "number" then return number_text(value) end
   if type(value) == "boolean" then return tostring(value) end
   local text, why = json.encode(value)
   if not text then error("it cannot be JSON: " .. why, 0) end
   if not utf8.len(text) then error("it cannot be JSON: a string is not UTF-8", 0) end
   return text
end

-- The members that carry what was published.
local function data_members(entry)
   if entry.kind == "json" then return '"data":' .. entry.text end
   if entry.kind == "text" then return '"data":' .. quote(entry.text) end
   return '"encoding":"base64","data":"' .. core.base64(entry.text) .. '"'
end

local function event_member(entry)
   return entry.event and '"event":' .. quote(entry.event) .. "," or ""
end

--- A publication { text=, kind=, event= } for a topic, with its position in the history.
function weft1.envelope(topic, entry, epoch, offset)
   local at = epoch and ('"epoch":%s,"offset":%d,'):format(quote(epoch), offset) or ""
   return '{"type":"message","topic":' .. quote(topic) .. "," .. at .. event_member(entry)
      .. data_members(entry) .. "}"
end

--- The list of what a returning subscriber missed.
function weft1.missed(entries)
   local list = {}
   for i, entry in ipairs(entries) do
      list[i] = ('{"offset":%d,'):format(entry.offset) .. event_member(entry)
         .. data_members(entry) .. "}"
   end
   return "[" .. table.concat(list, ",") .. "]"
end

--- { id=, data= }; the text of its data is kept as its json.
function weft1.user(user)
   if user.data == nil then return '{"id":' .. quote(user.id) .. "}" end
   user.json = user.json or weft1.encode(user.data)
   return '{"id":' .. quote(user.id) .. ',"data":' .. user.json .. "}"
end

function weft1.users(list)
   local texts = {}
   for i, user in ipairs(list) do texts[i] = weft1.user(user) end
   return "[" .. table.concat(texts, ",") .. "]"
end

function weft1.presence(topic, event, user)
   return ('{"type":"presence","topic":%s,"event":"%s","user":%s}'):format(quote(topic), event,
      weft1.user(user))
end

--- id and data are texts as they stand in JSON, or nil.
function weft1.reply(id, data)
   return '{"type":"reply","id":' .. id .. (data and ',"data":' .. data or "") .. "}"
end

local function said(message, code)
   return quote(type(message) == "string" and utf8.len(message) and message or code)
end

function weft1.error(id, code, message)
   return '{"type":"error",' .. (id and '"id":' .. id .. "," or "") .. '"code":"' .. code
      .. '","message":' .. said(message, code) .. "}"
end

function weft1.unsubscribed(topic, code, message)
   return ('{"type":"unsubscribed","topic":%s,"code":"%s","message":%s}'):format(quote(topic),
      code, said(message, code))
end

--- So many messages of a topic were dropped for the client.
function weft1.missed_notice(topic, n)
   return ('{"type":"missed","topic":%s,"count":%d}'):format(quote(topic), n)
end

weft1.PONG = '{"type":"pong"}'

-- What topics.lua asks for.
topics.encode, topics.envelope = weft1.encode, weft1.envelope

return weft1
