-- streaming: ws:chunks(), a message piece by piece. What it is made of stands in
-- src/bind/pieces.c; ws:writer() is all there.

local core = require "weft.core"
local limits = require "weft.limits"
local options = require "weft.options"

local websocket = core.methods.websocket

function websocket.chunks(ws, opts)
   if opts == nil then return core.chunks(ws) end
   local checked = options.check(opts, limits.chunks, "ws:chunks", 2)
   return core.chunks(ws, checked.max_message, checked.timeout)
end
