-- JSON of peers: what is taken, that it is passed on as it came, and what is refused.

local json = require "weft.json"
local wire = require "weft.wire"

local hostile = os.getenv "WEFT_HOSTILE_GC" ~= nil

local function read(text) return wire.read(text, 4) end

local function one(text)
   local list = assert(read(text))
   assert.equal(1, #list)
   return list[1].value, list[1].raw
end

describe("wire", function()
   it("gives each member of an object as it came", function()
      local value, raw = one
         ' {"a" : 1.50 ,"b":"x\\"}{[",\n"c":{"d":[1, {"e":"]"}]} ,"f":[],"g":null}\n'
      assert.same({ a = "1.50", b = '"x\\"}{["', c = '{"d":[1, {"e":"]"}]}', f = "[]",
         g = "null" }, raw)
      assert.equal('x"}{[', value.b)
      assert.equal(json.null(), value.g)
      assert.same({ {}, {} }, { one "{}" })
      assert.equal("3", select(2, one '{"a":1,"\\u0061":2,"a":3}').a)
      assert.equal("12345678901234567890.000000001",
         select(2, one '{"n":12345678901234567890.000000001}').n)
   end)

   it("takes arrays of objects", function()
      local list = assert(read ' [ {"a":1} , {"b":[2]},{}] ')
      assert.equal(3, #list)
      assert.same({ "1", "[2]" }, { list[1].raw.a, list[2].raw.b })
      assert.same({}, read "[]")
   end)

   it("refuses what is no JSON, also where cjson is lax", function()
      for _, text in ipairs { "", " ", "{", "}", "{]", '{"a"}', '{"a":}', '{"a":1,}', "{,}",
         '{"a":01}', '{"a":1.}', '{"a":.5}', '{"a":-.5}', '{"a":[1.,2]}', '{"a":[-.5]}',
         '{"a":[1,2.]}', '{"a":1.e5}', '{"a":+1}', '{"a":-}', '{"a":0x10}', '{"a":NaN}',
         '{"a":Infinity}', '{"a":-inf}', '{"a":nan}', '{"a":tru}', '{"a":"\\x"}',
         '{"a":"\\ud800"}', '{"a":"x', '{"a":"x\ny"}', '{"a":["\t"]}', '{"a\n":1}', "{'a':1}",
         '{"a":1}{', '{"a":1} x', '{"a":1}\0', "{a:1}", "\239\187\191{}", '{"a":1 2}' } do
         local list, why = read(text)
         assert.is_nil(list, text)
         assert.equal("malformed JSON", why, text)
      end
      for _, text in ipairs {
         "1", '"x"', "null", "true", "[1]", '[{},"x"]', "[[]]", "[{},null]" } do
         local list, why = read(text)
         assert.is_nil(list, text)
         assert.equal("not a JSON object", why, text)
      end
   end)

   it("takes all numbers that JSON has", function()
      for _, number in ipairs { "0", "-0", "1.5", "-1.5e10", "1E+5", "1e-5", "0.0", "10.25E2" } do
         assert.equal(number, select(2, one('{"n":' .. number .. "}")).n)
         assert.equal("[" .. number .. "]", select(2, one('{"n":[' .. number .. "]}")).n)
      end
   end)

   it("bounds the depth", function()
      local function nested(n) return '{"a":' .. ("["):rep(n) .. ("]"):rep(n) .. "}" end
      assert.truthy(read(nested(3)))
      assert.truthy(read("[" .. nested(3) .. "]"))
      for _, n in ipairs { 4, 5, 99, 1000, 100000 } do
         local list, why = read(nested(n))
         assert.is_nil(list)
         assert.equal("nested too deeply (max_depth)", why)
      end
   end)

   it("reads what it is given cut anywhere without an error", function()
      local text = '{"a":"x\\"y","b":[1.5,{"c":null}],"d":true}'
      for n = 0, #text - 1 do assert.is_nil(read(text:sub(1, n))) end
      for n = 1, #text do -- and with each byte changed to any other
         for c = 0, 255, hostile and 51 or 5 do
            read(text:sub(1, n - 1) .. string.char(c) .. text:sub(n + 1))
         end
      end
   end)

   it("quotes", function()
      for _, s in ipairs { "", "plain", 'a"b\\c', "\1\31\127\n\r\t", "über €" } do
         assert.same({ s }, json.decode("[" .. wire.quote(s) .. "]"))
      end
      assert.equal('"\\u0000"', wire.quote "\0")
   end)
end)
