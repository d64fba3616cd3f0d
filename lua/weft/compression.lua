-- compression: the option of that name (permessage-deflate, RFC 7692) made into the numbers
-- that core.ws_options takes.

local limits = require "weft.limits"
local options = require "weft.options"

local compression = {}

local function expand(value, where, level)
   if value == nil or value == true then value = {}
   elseif type(value) == "string" then value = { mode = value } end
   -- no tail call: levels are counted
   value = options.check(value, limits.compression, where .. ": compression", level + 1)
   return value
end

--- Flat numbers, or nil when there is to be no compression. Raises at the user's line.
-- Without context takeover the windows of others cost nothing, so they are not limited;
-- nor does a client limit the server's unless it is told to.
function compression.compile(value, client, where, level)
   if not value then return nil end
   local opts = expand(value, where, level + 1)
   local shared = opts.mode == "shared"
   local window = opts.window or 12
   local theirs = opts.window or (client or shared) and 15 or 12
   local server = opts.server_max_window_bits or (client and theirs or window)
   local own = opts.client_max_window_bits or (client and window or theirs)
   local asked = opts.window or opts.server_max_window_bits
   local hinted = opts.window or opts.client_max_window_bits
   return {
      server_no_takeover = (shared or opts.server_no_context_takeover) and 1 or 0,
      client_no_takeover = (shared or opts.client_no_context_takeover) and 1 or 0,
      server_window = client and not asked and 0 or server,
      client_window = client and not hinted and 0 or own,
      window = client and own or server,
      memlevel = opts.memlevel, level = opts.level, threshold = opts.threshold,
      max_ratio = opts.max_ratio,
   }
end

return compression
