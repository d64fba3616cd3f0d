-- claims: who may connect. An app has so many connections in all, one address has so many of them,
-- and those of one address may not come too soon after each other. All of this machine's (unix:),
-- and all of a proxy's, have one address, which is not counted.

local behind = require "weft.behind"
local core = require "weft.core"
local rate = require "weft.rate"

local claims = {}

-- An address that has connections: { app, ip, taken = how many }.
local record_class = {}
record_class.__index = record_class

--- Gives back one of that address, whose record it is.
function claims.release(record)
   record.taken = record.taken - 1
   if record.taken == 0 then record.app.addresses[record.ip] = nil end
end
record_class.__close = claims.release

local function record_of(app, ip)
   local record = app.addresses[ip]
   if not record then
      record = setmetatable({ app = app, ip = ip, taken = 0 }, record_class)
      app.addresses[ip] = record
   end
   return record
end

local function is_shared(app, ip)
   return ip == "unix:" or behind.is_proxy(app.behind, ip)
end

--- One more of that address: its record, or nil where it is not counted; or false, status, the
-- option that says no.
function claims.claim(app, ip)
   local most = app.limits.max_connections_per_ip
   if most == 0 or is_shared(app, ip) then return nil end
   local record = record_of(app, rate.key(ip))
   if record.taken >= most then return false, 429, "max_connections_per_ip" end
   record.taken = record.taken + 1
   return record
end

--- The same for a connection, which may also come too soon after others of its address.
function claims.admit_address(app, ip)
   local rates = not is_shared(app, ip) and app.connection_rate
   if rates and rates:take(ip, core.now()) > 0 then
      app.limited = app.limited + 1
      return false, 429, "connection_rate"
   end
   return claims.claim(app, ip)
end

-- Only then is it worth to make a string of each peer's.
local function counts_addresses(app)
   return app.connection_rate or app.limits.max_connections_per_ip > 0
end

--- The same for a stream that was accepted. Behind the PROXY protocol its address is not known yet.
function claims.admit(app, stream, preface)
   if app.open + app.hub:connections() >= app.limits.max_connections then
      return false, 503, "max_connections"
   end
   if preface or not counts_addresses(app) then return nil end
   return claims.admit_address(app, core.peer(stream))
end

return claims
