-- For specs of TLS: a directory with a small CA's certificates, made by openssl's command
-- line once per process (spec/scripts/certificates.sh says which), and gone at its end.

local certificates = {}

local CLEAN = os.getenv "WEFT_CLEAN_ENV" or ""
local dir

local function make()
   dir = os.tmpname()
   os.remove(dir)
   assert(os.execute(("mkdir -m 700 %s && %s sh spec/scripts/certificates.sh %s"):format(dir,
      CLEAN, dir)), "openssl made no certificates: see " .. dir .. "/log")
   certificates.guard = setmetatable({}, { __gc = function()
      os.execute("rm -rf " .. dir)
   end })
end

--- The path of a file there: "good.pem".
function certificates.path(name)
   if not dir then make() end
   return dir .. "/" .. name
end

--- Its text.
function certificates.read(name)
   local file <close> = assert(io.open(certificates.path(name)))
   return file:read "a"
end

--- A server's option tls for the certificate of that name; more options in `more`.
function certificates.server(name, more)
   local opts = { cert = certificates.path(name .. ".pem"),
      key = certificates.path(name .. ".key") }
   for key, value in pairs(more or {}) do opts[key] = value end
   return opts
end

--- A client's that trusts our CA.
function certificates.client(more)
   local opts = { ca = certificates.path "ca.pem" }
   for key, value in pairs(more or {}) do opts[key] = value end
   return opts
end

return certificates
