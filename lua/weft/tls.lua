-- tls: the option tables of TLS, checked, and compiled into core's contexts; and the
-- methods that have to do with it. What is secure is the default: on a client the chain
-- and the host name are verified.

local core = require "weft.core"
local limits = require "weft.limits"
local options = require "weft.options"

local tls = {}

local CERT_MODES = { none = 0, request = 1, require = 2 }
local VERSIONS = { ["1.2"] = 12, ["1.3"] = 13 }
local MAX_CLIENTS = 32 -- contexts kept for weft.connect and its like

-- The handle that users hold: { context = core's, server =, compiled =, opts = }.
local context = {}
context.__index = context
context.__name = "weft.tls"
tls.methods = context

-- RFC 7301 3.1: each name behind its length.
local function wire(names)
   local out = {}
   for i, name in ipairs(names) do out[i] = string.pack("s1", name) end
   return table.concat(out)
end

local function add_pair(pairs_of, entry, where, level)
   if not entry.cert then
      error(("%s: option \"tls\" needs a certificate (cert) for a server"):format(where),
         level + 1)
   end
   table.insert(pairs_of, entry.cert)
   table.insert(pairs_of, entry.key or entry.cert)
end

-- cert, key and certificates as the flat list that core takes.
local function pairs_in(opts, server, where, level)
   local list = {}
   if opts.cert or (server and not opts.certificates) then
      add_pair(list, opts, where, level + 1)
   elseif opts.key then
      error(("%s: option \"tls\" has a key without a cert"):format(where), level + 1)
   end
   for _, entry in ipairs(opts.certificates or {}) do
      add_pair(list, options.check(entry, limits.certificate, where, level + 1), where,
         level + 1)
   end
   return list
end

local function check_roles(opts, server, where, level)
   if server and opts.client_cert ~= "none" and not opts.ca then
      error(("%s: client_cert needs the option ca: whose certificates to accept")
         :format(where), level + 1)
   elseif server and opts.server_name then
      error(("%s: server_name is for clients"):format(where), level + 1)
   elseif not server and (opts.certificates or opts.client_cert ~= "none") then
      error(("%s: certificates and client_cert are for servers"):format(where), level + 1)
   end
   if VERSIONS[opts.max_version] and VERSIONS[opts.max_version] < VERSIONS[opts.min_version]
   then
      error(("%s: max_version is below min_version"):format(where), level + 1)
   end
end

-- The checked table with what core.tls_context takes.
local function compile(opts, server, alpn, where, level)
   opts = options.check(opts, limits.tls, where, level + 1)
   check_roles(opts, server, where, level + 1)
   alpn = opts.alpn or alpn
   local compiled = {
      pairs = pairs_in(opts, server, where, level + 1), key_password = opts.key_password,
      ca = opts.ca, verify = opts.verify, client_cert = CERT_MODES[opts.client_cert],
      alpn = alpn and wire(alpn), ciphers = opts.ciphers,
      ciphersuites = opts.ciphersuites, resumption = opts.resumption, ktls = opts.ktls,
      min_version = VERSIONS[opts.min_version], max_version = VERSIONS[opts.max_version],
   }
   return { compiled = compiled, server = server, server_name = opts.server_name,
      handshake_timeout = opts.handshake_timeout, on_failure = opts.on_failure }
end

local function new(recipe)
   local made, message, code = core.tls_context(recipe.server, recipe.compiled)
   if not made then return nil, message, code end
   return setmetatable({ context = made, server = recipe.server, compiled = recipe.compiled,
      server_name = recipe.server_name, handshake_timeout = recipe.handshake_timeout,
      on_failure = recipe.on_failure, asks = recipe.compiled.client_cert > 0 }, context)
end

--- Checks an option table, or a weft.tls context, and raises at the user's line. The
-- recipe that it returns is for tls.context. alpn: what is spoken unless the user says.
function tls.recipe(opts, server, alpn, where, level)
   if getmetatable(opts) ~= context then
      local recipe = compile(opts, server, alpn, where, level + 1) -- no tail call: levels
      return recipe
   elseif opts.server == server then
      return opts
   end
   error(("%s: this weft.tls context is for a %s"):format(where,
      opts.server and "server" or "client"), level + 1)
end

-- Clients' contexts by what their options say, so that sessions can be resumed and
-- the system's store is read once.
local clients, count = {}, 0

local function signature(recipe)
   local compiled = recipe.compiled
   local parts = { tostring(recipe.server_name), tostring(recipe.handshake_timeout) }
   for _, key in ipairs { "key_password", "ca", "verify", "alpn", "ciphers", "ciphersuites",
      "resumption", "ktls", "min_version", "max_version" } do
      parts[#parts + 1] = ("%q"):format(tostring(compiled[key]))
   end
   for _, pair in ipairs(compiled.pairs) do parts[#parts + 1] = ("%q"):format(pair) end
   return table.concat(parts, "\n")
end

--- The context that a recipe makes, or nil, message, "tls".
function tls.context(recipe)
   if getmetatable(recipe) == context then return recipe end
   if recipe.server then return new(recipe) end
   local key = signature(recipe)
   if clients[key] then return clients[key] end
   local made, message, code = new(recipe)
   if not made then return nil, message, code end
   if count >= MAX_CLIENTS then clients, count = {}, 0 end
   clients[key], count = made, count + 1
   return made
end

--- The same recipe, or context, without a certificate of the client's own: for origins that
-- it was not given for.
function tls.without_certificate(recipe)
   if not recipe.compiled.pairs[1] then return recipe end
   local compiled = {}
   for name, value in pairs(recipe.compiled) do compiled[name] = value end
   compiled.pairs = {}
   return { compiled = compiled, server = false, server_name = recipe.server_name,
      handshake_timeout = recipe.handshake_timeout }
end

local function check_role(role, where, level)
   if role == nil or role == "server" or role == "client" then return end
   error(('%s: the role must be "client" or "server"'):format(where), level + 1)
end

--- weft.tls(opts [, "server"]) -> context | nil, message, "tls"
function tls.new(opts, role)
   options.argument(opts, "table", "the options", "weft.tls", 2)
   check_role(role, "weft.tls", 2)
   local made, message, code = new(compile(opts, role == "server", nil, "weft.tls", 2))
   if made then return made end
   return nil, "weft.tls: " .. message, code
end

--- Reads the files again, for all of these contexts or, when one fails, for none.
function tls.reload(list, where)
   local fresh = {}
   for i, one in ipairs(list) do
      local made, message, code = core.tls_context(one.server, one.compiled)
      if not made then return nil, ("%s: %s"):format(where, message), code end
      fresh[i] = made
   end
   for i, one in ipairs(list) do core.tls_replace(one.context, fresh[i]) end
   return true
end

--- context:reload() -> true | nil, message, "tls"; then the old files' stay in use.
function context:reload()
   return tls.reload({ self }, "weft.tls")
end

function context:__tostring()
   return ("weft.tls (%s)"):format(self.server and "server" or "client")
end

--- Makes a client's handshake on a connected stream, for the host it was asked for. proxy:
-- that is one, and another handshake may follow, with the target.
function tls.connect(stream, made, host, proxy)
   return core.tls_start(stream, made.context, made.server_name or host, nil, proxy)
end

--- Makes a server's handshake: true, resumed | nil, message, code.
function tls.accept(stream, made, timeout)
   return core.tls_start(stream, made.context, nil, timeout)
end

--- Lets a server's handshake go on by itself, while the stream is used already.
function tls.begin(stream, made)
   return core.tls_begin(stream, made.context, made.handshake_timeout)
end

local stream = core.methods.stream

local function is_server(opts, role)
   if role then return role == "server" end
   if getmetatable(opts) == context then return opts.server end
   return opts.server_name == nil and (opts.cert ~= nil or opts.certificates ~= nil)
end

local function start(self, recipe)
   local made, message, code = tls.context(recipe)
   if not made then return nil, message, code end
   local name = made.server_name
   return core.tls_start(self, made.context, name, made.handshake_timeout)
end

--- stream:starttls(opts [, role]) -> true | nil, message, code
function stream:starttls(opts, role)
   options.argument(opts, "table", "the options", "stream:starttls", 2)
   check_role(role, "stream:starttls", 2)
   local recipe = tls.recipe(opts, is_server(opts, role), nil, "stream:starttls", 2)
   if not recipe.server and recipe.compiled.verify and not recipe.server_name then
      error("stream:starttls: a client needs server_name, the host to verify", 2)
   end
   if not core.tls_fits(self) then error("stream:starttls: this stream has TLS already", 2) end
   local ok, message, code = start(self, recipe)
   if ok then return true end
   return nil, "stream:starttls: " .. message, code
end

--- stream:tls() and ws:tls() -> what was agreed on, or nil without TLS
stream.tls = core.tls_info
core.methods.websocket.tls = core.tls_info

return tls
