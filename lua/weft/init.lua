-- weft: WebSockets, servers and sockets as short coroutine scripts. This file
-- gathers the public table; meta.lua describes it.

local core = require "weft.core"
local answers = require "weft.answers"
local app = require "weft.app"
local channel = require "weft.channel"
local channel_client = require "weft.channel_client"
local client = require "weft.client"
local cookies = require "weft.cookies"
local group = require "weft.group"
local http = require "weft.http"
local methods = require "weft.methods"
local net = require "weft.net"
local options = require "weft.options"
local reconnect = require "weft.reconnect"
local session = require "weft.session"
local tls = require "weft.tls"
local udp = require "weft.udp"
require "weft.streaming"

local weft = {
   version = core.version,
   run = core.run, spawn = core.spawn, sleep = core.sleep, now = core.now,
   group = group.run, channel = channel.new,
   tcp = core.tcp, udp = udp, dial = net.dial, listen = net.listen, tls = tls.new,
   connect = client.connect, reconnect = reconnect.each, app = app.new, http = http,
   channel_client = channel_client.new,
   stdin = core.stdin,
   cookie = cookies.format, session = session.new, redirect = answers.redirect,
   json = answers.json, basic = answers.basic, bearer = answers.bearer, compare = core.compare,
}

--- weft.code.timeout == "timeout"; a name that is none raises, so that a typing
-- error in a comparison does not go unnoticed.
local codes = {}
for _, code in ipairs(core.codes) do codes[code.name] = code.name end
weft.code = setmetatable(codes, {
   __index = function(_, name)
      error(("weft.code has no %q"):format(tostring(name)), 2)
   end,
   __newindex = function() error("weft.code cannot be changed", 2) end,
})

--- weft.deadline(s, f, ...): whatever waits inside f ends with "timeout" at s.
function weft.deadline(s, f, ...)
   if options.argument(s, "number", "the time", "weft.deadline", 2) < 0 then
      error(("weft.deadline: the time must be 0 or more, got %s"):format(s), 2)
   end
   options.argument(f, "function", "the function", "weft.deadline", 2)
   local guard <close> = core.deadline(s)
   return f(...)
end

--- weft.signal(name): waits for it.
function weft.signal(name)
   local number = type(name) == "string" and core.signals[name:upper():gsub("^SIG", "")]
   if number then return core.signal(number) end
   local known = {}
   for signal in pairs(core.signals) do known[#known + 1] = signal end
   table.sort(known)
   error(("weft.signal: %s is not one of %s"):format(tostring(name),
      table.concat(known, ", ")), 2)
end

for name, list in pairs(core.methods) do methods.hold(list, "weft." .. name) end
methods.hold(channel.methods, "weft.channel", { send = true, receive = true }) -- of each value
for _, class in ipairs { app.methods, channel_client.methods, group.methods, session.methods,
   tls.methods, require "weft.context".methods, require "weft.events".methods,
   require "weft.http.answer".methods, require "weft.room".methods,
   require "weft.subscription".methods } do
   methods.hold(class, class.__name)
end

-- weft.on_error is assigned to, and kept where the C side finds it.
local on_error
return setmetatable(weft, {
   __index = function(_, key)
      if key == "on_error" then return on_error end
   end,
   __newindex = function(_, key, value)
      if key ~= "on_error" then
         error(("weft.%s cannot be set; weft.on_error can"):format(tostring(key)), 2)
      end
      if value ~= nil then
         options.argument(value, "function", "on_error", "weft", 2)
      end
      core.set_on_error(value)
      on_error = value
   end,
})
