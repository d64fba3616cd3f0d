-- weft.http and content codings; the compressing is done by python3's zlib.

local lfs = require "lfs"
local weft = require "weft"
local server = require "spec.helper_server"
local origin = require "spec.helper_origin"
local process = require "spec.process"

local http = weft.http
local SOON = os.getenv "WEFT_HOSTILE_GC" and 200 or 20

local function run(f)
   server.run(function()
      f()
      http.close_idle()
   end, SOON)
end

local names = { "text", "gzip", "zlib", "raw", "members", "bomb", "twice", "empty" }
local made = {} -- name -> bytes, of one run of python3

setup(function()
   local dir = os.tmpname()
   os.remove(dir)
   assert(lfs.mkdir(dir))
   local child = process.start({ "python3", "-c", [[
import gzip, zlib, sys
text = b"".join(b"line %d of the text\n" % i for i in range(3000))
raw = zlib.compressobj(9, zlib.DEFLATED, -15)
made = {
   "text": text, "gzip": gzip.compress(text), "zlib": zlib.compress(text),
   "raw": raw.compress(text) + raw.flush(),
   "members": gzip.compress(text[:1000]) + gzip.compress(text[1000:]),
   "bomb": gzip.compress(bytes(4 << 20)), "twice": gzip.compress(gzip.compress(text)),
   "empty": gzip.compress(b""),
}
for name, data in made.items():
   open(sys.argv[1] + "/" + name, "wb").write(data)
]], dir }, { foreign = true })
   local output, status = child:finish()
   assert(status == 0, output)
   for _, name in ipairs(names) do
      local file <close> = assert(io.open(dir .. "/" .. name, "rb"))
      made[name] = file:read "a"
      os.remove(dir .. "/" .. name)
   end
   lfs.rmdir(dir)
end)

local function coded(coding, data)
   return ("HTTP/1.1 200 OK\r\ncontent-encoding: %s\r\ncontent-length: %d\r\n\r\n%s"):format(
      coding, #data, data)
end

describe("weft.http and content codings", function()
   it("undoes gzip and deflate, in all the forms they come in", function()
      run(function()
         for _, row in ipairs { { "gzip", "gzip" }, { "X-GZIP", "gzip" }, { "gzip", "members" },
            { "deflate", "zlib" }, { "deflate", "raw" } } do
            local base, seen = origin.answers(coded(row[1], made[row[2]]))
            local answer = assert(http.get(base))
            assert.is_true(answer.body == made.text, row[2])
            assert.equal(row[1], answer.headers["content-encoding"])
            assert(http.get(base))
            assert.equal(1, seen.accepted)
         end
         for _, row in ipairs { { "gzip", made.empty }, { "gzip", "" }, { "deflate", "" } } do
            assert.equal("", assert(http.get((origin.answers(coded(row[1], row[2]))))).body)
         end
      end)
   end)

   it("does so however the bytes are cut", function()
      run(function()
         local data, at = made.members, 0
         local base = origin.answers(function(stream)
            at = at + 1
            stream:send(coded("gzip", data):sub(1, -#data - 1))
            for i = 1, #data, at do
               stream:send(data:sub(i, i + at - 1))
               weft.sleep(0)
            end
         end)
         for _ = 1, 3 do
            assert.is_true(assert(http.get(base)).body == made.text)
            at = at * 7
         end
      end)
   end)

   it("leaves alone what was not offered", function()
      run(function()
         local rows = {
            { "br", "as it is" }, { "gzip, gzip", made.twice }, { "identity", "as it is" },
            { "gzip", made.gzip, { compression = false } },
            { "gzip", made.gzip, { headers = { ["accept-encoding"] = "gzip" } } },
         }
         for _, row in ipairs(rows) do
            local base = origin.answers(coded(row[1], row[2]))
            assert.equal(row[2], assert(http.get(base, row[3])).body)
         end
      end)
   end)

   it("is not offered where a part of the content is asked for", function()
      run(function()
         -- a part of what is compressed could not be undone (RFC 9110 14.2)
         local base, seen = origin.answers(coded("identity", "as it is"))
         assert(http.get(base, { headers = { Range = "bytes=5-9" } }))
         assert.is_nil(seen.requests[1].fields["accept-encoding"])
      end)
   end)

   it("stops at what is malformed, cut off or out of all proportion", function()
      run(function()
         local gz = made.gzip
         local rows = {
            { "gzip", "not gzip at all", "protocol", "not what its coding says" },
            { "gzip", gz:sub(1, -6), "protocol", "ends before its coding does" },
            { "gzip", gz:sub(1, 5), "protocol", "ends before its coding does" },
            { "gzip", gz:sub(1, 100) .. "garbage" .. gz:sub(108), "protocol", "its coding" },
            { "gzip", gz:sub(1, -9) .. ("\1"):rep(8), "protocol", "its coding" }, -- the checksum
            { "gzip", gz .. "behind it", "protocol", "its coding" },
            { "deflate", made.zlib .. "x", "protocol", "its coding" },
            { "deflate", "\x78", "protocol", "ends before its coding does" },
            { "gzip", made.bomb, "too_big", "more than 100 times its size (max_ratio)" },
            { "gzip", made.bomb, "too_big", "max_body", { max_ratio = 10000, max_body = 100000 } },
            { "gzip", made.gzip, "too_big", "max_body (50000 bytes)", { max_body = 50000 } },
         }
         for i, row in ipairs(rows) do
            local base = origin.answers(coded(row[1], row[2]))
            local answer, message, code = http.get(base, row[5])
            assert.is_nil(answer, "row " .. i)
            assert.equal(row[3], code, message)
            assert.truthy(message:find(row[4], 1, true), message)
            assert.equal(0, http.close_idle())
         end
         local base = origin.answers(coded("gzip", made.bomb))
         assert.equal(4 << 20, #assert(http.get(base, { max_ratio = 2000 })).body)
      end)
   end)

   it("undoes them piece by piece, in bounded memory", function()
      run(function()
         local base = origin.answers(coded("gzip", made.bomb))
         local answer = assert(http.get(base, { stream = true, max_ratio = 2000 }))
         local total = 0
         for piece in answer:chunks() do
            assert.is_true(#piece <= 65536)
            total = total + #piece
         end
         assert.equal(4 << 20, total)
         assert.equal(1, http.close_idle())
      end)
   end)
end)
