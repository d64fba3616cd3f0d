-- context: ctx, what the hooks of a channel see of a client.

local checks = require "weft.checks"
local limits = require "weft.limits"
local options = require "weft.options"
local topics = require "weft.topics"
local weft1 = require "weft.weft1"

local context = {}
context.__index = context
context.__name = "weft.context"

local module = { methods = context }

-- Whose context it is, which is not the script's business.
local peers = setmetatable({}, { __mode = "k" })

--- { ws=, request=, data=, user= }: data as the option authorize returned it, user its field
-- of that name, or data itself if that is a string.
function module.new(peer)
   local transport = peer.transport
   local data = transport.data
   local self = setmetatable({ ws = transport.ws, request = transport.request, data = data },
      context)
   if type(data) == "string" then self.user = data
   elseif type(data) == "table" then self.user = data.user end
   peers[self] = peer
   return self
end

--- An id of a user, as a string; raises.
function module.check_id(id, where)
   local text = math.type(id) == "float" and ("%.14g"):format(id) or id
   text = type(text) == "number" and tostring(text) or text
   if type(text) == "string" and #text > 0 and #text <= 255 and utf8.len(text) then return text end
   error(("%s: an id is a number or a string of 1 to 255 bytes of UTF-8"):format(where), 0)
end

--- Options of a publication, always a new table; raises.
function module.publish_options(opts, where)
   return options.check(opts, limits.publish, where, 2)
end

local anonymous = 0

--- Who it is in presences without a hook `user`.
function module.name_of(self)
   if self.user ~= nil then return module.check_id(self.user, "ctx.user") end
   local peer = peers[self]
   if not peer.anonymous then
      anonymous = anonymous + 1
      peer.anonymous = ("anonymous-%d"):format(anonymous)
   end
   return peer.anonymous
end

--- ctx:publish(topic, data [, opts]) -> n | nil, message, code: to everybody, as app:publish
function context:publish(topic, data, opts)
   return topics.publish(peers[self].app, topic, data, nil, opts, "ctx:publish")
end

-- A script's value as JSON; raises at its line.
local function text_of(data, where, level)
   local ok, text = pcall(weft1.encode, data)
   if not ok then error(("%s: %s"):format(where, text), level + 1) end
   return text
end

--- ctx:push(topic, data [, opts]) -> true | nil, message, code: to this client alone
function context:push(topic, data, opts)
   local peer = peers[self]
   topics.check_script(peer.app, topic, "ctx:push", 2)
   opts = options.check(opts, limits.push, "ctx:push", 2)
   local text = text_of(data, "ctx:push", 2)
   local entry = { kind = "json", text = text, event = opts.event }
   return peer:push(weft1.envelope(topic, entry))
end

local function check_code(code, level)
   if code:find "^[%a_][%w_]*$" and #code <= 64 then return end
   error(("ctx:kick: the code must be a word of letters, digits and _, got %q"):format(code),
      level + 1)
end

local function check_reason(message, level)
   local why = message and checks.close_reason(message)
   if why then error("ctx:kick: without a topic the message " .. why, level + 1) end
end

--- ctx:kick([topic [, code [, message]]]): ends a subscription, or without topic the connection
function context:kick(topic, code, message)
   local peer = peers[self]
   if topic ~= nil then options.argument(topic, "string", "the topic", "ctx:kick", 2) end
   if code ~= nil then
      options.argument(code, "string", "the code", "ctx:kick", 2)
      check_code(code, 2)
   end
   if message ~= nil then options.argument(message, "string", "the message", "ctx:kick", 2) end
   if topic then return peer:kick(topic, code or "kicked", message) end
   check_reason(message, 2)
   if peer.closed then return false end
   peer.transport:close(1008, message or "kicked")
   return true
end

--- ctx:update(topic, data) -> boolean: its data in the presence of a topic
function context:update(topic, data)
   local peer = peers[self]
   options.argument(topic, "string", "the topic", "ctx:update", 2)
   if data ~= nil then text_of(data, "ctx:update", 2) end
   local sub = peer.subscriptions[topic]
   if not sub or not sub.user then return false end
   sub.data = data
   return peer.desk:update(topic, sub.user, data)
end

function context:__tostring()
   return ("weft.context (%s)"):format(self.request.remote)
end

return module
