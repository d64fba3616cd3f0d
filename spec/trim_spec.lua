-- What is cut off around texts of peers, and that no text takes long: a head of 8 KiB must not
-- keep a server busy for half a second.

local behind = require "weft.behind"
local body = require "weft.body"
local cookies = require "weft.cookies"
local gzip = require "weft.gzip"
local multipart = require "weft.multipart"
local raw = require "spec.raw"
local server = require "spec.helper_server"
local trim = require "weft.trim"
local upgrade = require "weft.upgrade"

describe("trim", function()
   it("cuts spaces and tabs off both ends, and nothing else", function()
      for text, expected in pairs { [""] = "", [" "] = "", ["\t \t"] = "", a = "a",
         [" a"] = "a", ["a\t "] = "a", [" \ta b\tc  "] = "a b\tc", ["\na\r"] = "\na\r",
         [" \0 "] = "\0", [" \xa0 "] = "\xa0" } do
         assert.equal(expected, trim(text))
      end
   end)
end)

describe("a text full of spaces", function()
   local wide = (" "):rep(8000)
   local part = "--x\r\ncontent-disposition: form-data; name=a\r\nx: a" .. (" "):rep(3900)
      .. "b\r\n\r\n\r\n"

   local function head(fields)
      return { version = "1.1", headers = fields,
         header = function(_, name) return fields[name] end }
   end

   -- What it takes, and how often: each took at least 10 s with patterns that look back.
   local rows = {
      cookies = { 40, function()
         assert.same({}, cookies.parse("a" .. wide .. "b"))
         assert.same({ a = "b" .. wide .. "c" }, cookies.parse("a=b" .. wide .. "c" .. wide))
         assert.same({}, cookies.parse("a" .. wide .. "b=1"))
      end },
      ["a length"] = { 40, function()
         local function announced(length)
            return select(2, body.announced(head { ["content-length"] = length }))
         end
         assert.equal("a malformed Content-Length", announced("5" .. wide .. "5"))
         assert.equal(5, announced("5," .. wide .. "5"))
      end },
      protocols = { 40, function() assert.is_nil(upgrade.offered("a" .. wide .. "b")) end },
      ["what a proxy says"] = { 40, function()
         local list = behind["x-forwarded"](head { ["x-forwarded-for"] = "a" .. wide .. "b, c " })
         assert.same({ "a" .. wide .. "b", "c" }, { list[1].node, list[2].node })
      end },
      codings = { 3000, function()
         assert.is_false(gzip.accepted("gzip; " .. (" "):rep(1000) .. "b"))
      end },
      ["a form"] = { 1, function()
         local fields, list = multipart.decode(part:rep(250) .. "--x--", "x")
         assert.same({ { a = "" }, 250 }, { fields, #list })
      end },
   }
   for name, row in pairs(rows) do
      it("is no work: " .. name, function()
         local began = os.clock()
         for _ = 1, raw.rounds(row[1]) do row[2]() end
         assert.is_true(os.clock() - began < 5)
      end)
   end

   it("is no work either where it is sent in trailers", function()
      server.run(function()
         local app = server.app()
         app:post("/", function(req) return 200, nil, assert(req:body()) end)
         local _, port = assert(app:listen "127.0.0.1:0")
         local line = "x: a" .. (" "):rep(4000) .. "b\r\n"
         local began = os.clock()
         for _ = 1, raw.rounds(40) do
            local peer = server.dial(port)
            peer:send("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
               "1\r\na\r\n0\r\n", line, line, "\r\n")
            assert.equal("a", peer:response().body)
         end
         assert.is_true(os.clock() - began < 5)
      end, 60)
   end)
end)
