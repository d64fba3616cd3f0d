-- networks: sets of addresses and of networks in CIDR notation (RFC 4632 3.1, RFC 4291 2.3),
-- and "unix:", which stands for all peers of this machine.

local core = require "weft.core"

local networks = {}

--- "10.0.0.0/8" or one address: { bytes=, bits= }, or nil.
function networks.parse(text)
   local ip, bits = text:match "^([%x:.]+)/(%d+)$"
   local bytes = core.ip_bytes(ip or text)
   if not bytes then return nil end
   bits = bits and tonumber(bits) or 8 * #bytes
   return bits <= 8 * #bytes and { bytes = bytes, bits = bits } or nil
end

--- Is the address of these bytes in that network?
function networks.contains(network, bytes)
   local whole, rest = network.bits // 8, network.bits % 8
   if #bytes ~= #network.bytes or bytes:sub(1, whole) ~= network.bytes:sub(1, whole) then
      return false
   end
   if rest == 0 then return true end
   local shift = 8 - rest
   return bytes:byte(whole + 1) >> shift == network.bytes:byte(whole + 1) >> shift
end

--- What is wrong with a list of them, or nil.
function networks.check(list)
   for _, text in ipairs(type(list) == "table" and list or {}) do
      if text ~= "unix:" and not networks.parse(text) then
         return ('must hold addresses, networks like "10.0.0.0/8", or "unix:", got %q')
            :format(text)
      end
   end
end

--- A list as networks.has takes it.
function networks.compile(list)
   local set = {}
   for _, text in ipairs(list) do
      if text == "unix:" then set.unix = true
      else set[#set + 1] = networks.parse(text) end
   end
   return set
end

--- Is a peer ("127.0.0.1", "::1", "unix:") in the set?
function networks.has(set, peer)
   if peer == "unix:" then return set.unix or false end
   local bytes = core.ip_bytes(peer)
   for _, network in ipairs(bytes and set or {}) do
      if networks.contains(network, bytes) then return true end
   end
   return false
end

return networks
