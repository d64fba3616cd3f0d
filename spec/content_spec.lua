-- What a request says: its query, forms of both kinds, JSON, cookies and credentials; and every
-- kind of it that is malformed.

local weft = require "weft"
local cookies = require "weft.cookies"
local form = require "weft.form"
local multipart = require "weft.multipart"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run = raw.run

describe("form.decode", function()
   local rows = {
      { "", {} }, { "a=1", { { "a", "1" } } }, { "a", { { "a", "" } } }, { "a=", { { "a", "" } } },
      { "a=1&b=2&a=3", { { "a", "1" }, { "b", "2" }, { "a", "3" } } },
      { "&&a=1&", { { "a", "1" } } }, { "a=b=c", { { "a", "b=c" } } }, { "=x", { { "", "x" } } },
      { "a+b=c+d", { { "a b", "c d" } } }, { "%61=%2B%26%3d", { { "a", "+&=" } } },
      { "a=%C3%BC", { { "a", "ü" } } },
   }
   for _, row in ipairs(rows) do
      it(("reads %q"):format(row[1]), function()
         local fields, list = form.decode(row[1])
         local first = {}
         for i, pair in ipairs(row[2]) do
            assert.same({ name = pair[1], value = pair[2] }, list[i])
            first[pair[1]] = first[pair[1]] or pair[2]
         end
         assert.equal(#row[2], #list)
         assert.same(first, fields)
      end)
   end

   it("refuses malformed escapes and floods of fields", function()
      for _, bad in ipairs { "a=%", "a=%4", "a=%zz", "%=1", "a=1&b=%x1" } do
         assert.same({ nil, "a malformed percent-escape" }, { form.decode(bad) })
      end
      assert.equal(1000, #select(2, form.decode(("a=1&"):rep(1000))))
      assert.same({ nil, "more than 1000 fields" }, { form.decode(("a&"):rep(1001)) })
   end)
end)

-- Parts as { head, value }.
local function build(parts, boundary)
   local out = {}
   for _, part in ipairs(parts) do
      out[#out + 1] = ("--%s\r\n%s\r\n\r\n%s\r\n"):format(boundary, part[1], part[2])
   end
   return table.concat(out) .. "--" .. boundary .. "--\r\n"
end

local FIELD = 'Content-Disposition: form-data; name="%s"'

describe("multipart.decode", function()
   it("reads fields and files", function()
      local binary = "\0\r\n--not\r\n\r\n--\255"
      local fields, list = multipart.decode("preamble\r\n" .. build({
         { FIELD:format "a", "1" }, { FIELD:format "a", "" },
         { FIELD:format "f" .. '; filename="../x/C:\\y%22z.bin"\r\nContent-Type: image/png',
            binary },
         { "content-disposition: FORM-DATA; filename=plain.txt; name=g", "g" },
      }, "b1") .. "epilogue", "b1")
      assert.same({ a = "1", f = binary, g = "g" }, fields)
      assert.same({ { name = "a", value = "1" }, { name = "a", value = "" },
         { name = "f", value = binary, filename = 'y"z.bin', type = "image/png" },
         { name = "g", value = "g", filename = "plain.txt" } }, list)
      assert.same({}, multipart.decode("--b1--", "b1"))
   end)

   it("finds boundaries", function()
      local rows = {
         { "multipart/form-data; boundary=abc", "abc" },
         { 'multipart/form-data; charset=x; Boundary="a b"', "a b" },
         { "multipart/form-data" }, { "multipart/form-data; boundary=" },
         { 'multipart/form-data; boundary=""' },
         { "multipart/form-data; boundary=" .. ("a"):rep(71) },
         { "multipart/form-data; boundary=a\tb", "a" }, { 'multipart/form-data; boundary="a\1b"' },
      }
      for _, row in ipairs(rows) do assert.equal(row[2], multipart.boundary(row[1])) end
   end)

   local good = build({ { FIELD:format "a", "12" }, { FIELD:format "b", "3" } }, "b1")
   it("takes no form that breaks off anywhere", function()
      for n = 0, #good - 5, raw.hostile and 11 or 1 do
         local fields, why = multipart.decode(good:sub(1, n), "b1")
         assert.is_nil(fields)
         assert.is_string(why)
      end
      assert.truthy(multipart.decode(good:sub(1, -3), "b1"))
   end)

   local bad = {
      { "x", "the form does not have its boundary" },
      { "--b1x" .. good, "a malformed boundary" },
      { build({ { "x: y", "" } }, "b1"), "a part without Content-Disposition: form-data" },
      { build({ { "Content-Disposition: attachment; name=\"a\"", "" } }, "b1"),
         "a part without Content-Disposition: form-data" },
      { build({ { "Content-Disposition: form-data; filename=\"a\"", "" } }, "b1"),
         "a part without a name" },
      { build({ { FIELD:format(("n"):rep(1025)), "" } }, "b1"), "a part without a name" },
      { build({ { "no colon", "" } }, "b1"), "a malformed field of a part" },
      { build({ { FIELD:format "a" .. "\r\nx: " .. ("y"):rep(4096), "" } }, "b1"),
         "a part without its head" },
   }
   for _, row in ipairs(bad) do
      it("refuses " .. row[2], function()
         assert.same({ nil, row[2] }, { multipart.decode(row[1], "b1") })
      end)
   end

   it("refuses a flood of parts", function()
      local part = { FIELD:format "a", "" }
      local parts = {}
      for i = 1, 1001 do parts[i] = part end
      assert.same({ nil, "more than 1000 fields" }, { multipart.decode(build(parts, "b"), "b") })
   end)
end)

describe("cookies", function()
   it("are parsed as liberally as servers have to", function()
      local rows = {
         { "a=1", { a = "1" } }, { "a=1; b=2", { a = "1", b = "2" } },
         { "a=1;b=2;", { a = "1", b = "2" } },
         { "a=1; a=2", { a = "1" } }, { 'a="x y"', { a = "x y" } }, { "a=", { a = "" } },
         { "a=b=c", { a = "b=c" } }, { "junk; a=1", { a = "1" } }, { "=x; a=1", { a = "1" } },
         { " a = 1 ", { a = "1" } }, { "a b=1; c=2", { c = "2" } }, { "", {} }, { ";;", {} },
      }
      for _, row in ipairs(rows) do assert.same(row[2], cookies.parse(row[1])) end
      local many = {}
      for i = 1, 101 do many[i] = ("c%d=1"):format(i) end
      local n = 0
      for _ in pairs(cookies.parse(table.concat(many, "; "))) do n = n + 1 end
      assert.equal(100, n)
   end)

   it("are written with their attributes", function()
      assert.equal("a=1", weft.cookie("a", "1"))
      assert.equal("a=1; Path=/x; Domain=example.org; Max-Age=60; Secure; HttpOnly; SameSite=Lax",
         weft.cookie("a", "1", { path = "/x", domain = "example.org", max_age = 60.5, secure = true,
            http_only = true, same_site = "lax" }))
      assert.equal("a=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
         weft.cookie("a", "", { max_age = 0 }))
      assert.equal("__Host-a=1; Path=/; Secure", weft.cookie("__Host-a", "1",
         { path = "/", secure = true }))
      assert.equal("__Secure-a=1; Domain=x.org; Secure", weft.cookie("__Secure-a", "1",
         { domain = "x.org", secure = true }))
   end)

   local misused = {
      { "a b", "", nil, 'the name must be a token, got "a b"' }, { "", "", nil, "must be a token" },
      { "a", 5, nil, 'the value of "a" must be a string, got a number' },
      { "a", "x;y", nil, "must not hold" }, { "a", "x y", nil, "must not hold" },
      { "a", "x\r\ny", nil, "must not hold" }, { "a", "ü", nil, "must not hold" },
      { "a", 'x"', nil, "must not hold" }, { "a", "x\\", nil, "must not hold" },
      { "a", "x,", nil, "must not hold" }, { "a", "\0", nil, "must not hold" },
      { "a", "", { path = "x" }, 'option "path" must begin with "/"' },
      { "a", "", { path = "/;x" }, 'option "path" must begin with "/"' },
      { "a", "", { domain = "a;b" }, 'option "domain" must be a host name' },
      { "a", "", { same_site = "Lax" }, 'option "same_site" must be' },
      { "a", "", { same_site = "none" }, 'same_site = "none" needs secure = true' },
      { "a", "", { max_age = -1 }, 'option "max_age" must be' },
      { "__Host-a", "", { path = "/" }, "needs secure = true for its prefix" },
      { "__host-a", "", { path = "/" }, "needs secure = true for its prefix" },
      { "__Host-a", "", { secure = true }, 'needs path = "/" and no domain' },
      { "__Host-a", "", { secure = true, path = "/", domain = "x" }, 'needs path = "/"' },
      { "__Secure-a", "", nil, "needs secure = true" },
      { "a", ("x"):rep(4095), nil, "larger than browsers take" },
   }
   for _, row in ipairs(misused) do
      it(("refuse: %s %s"):format(row[1], row[4]), function()
         local why = server.blame(function() return (weft.cookie(row[1], row[2], row[3])) end)
         assert.equal("weft.cookie: ", why:sub(1, 13))
         assert.truthy(why:find(row[4], 1, true), why)
      end)
   end
end)

-- An app that answers with what `read` makes of the request.
local function serve(read, opts)
   local app = server.app(opts)
   app:post("/x", function(req) return weft.json(read(req)) end)
   app:get("/x", function(req) return weft.json(read(req)) end)
   local _, port = assert(app:listen "127.0.0.1:0")
   return function(headers, body, path)
      headers = headers or {}
      if body then headers["content-length"] = #body end
      return server.ask(port, body and "POST" or "GET", path or "/x", headers, body)
   end
end

describe("a request", function()
   it("has its query's fields", function()
      run(function()
         local ask = serve(function(req)
            return { all = { assert(req:args()) }, a = req:arg "a" }
         end)
         assert.equal('{"all":[{"a":"1 2"},[{"name":"a","value":"1 2"}]],"a":"1 2"}',
            (ask({}, nil, "/x?a=1+2").body:gsub('{"value":"1 2","name":"a"}',
               '{"name":"a","value":"1 2"}'):gsub('{"a":"1 2","all":(.*)}',
               '{"all":%1,"a":"1 2"}')))
         local answer = ask({}, nil, "/x?a=%zz")
         assert.same({ 400, "a malformed percent-escape in the query\n" },
            { answer.status, answer.body })
         assert.equal(200, ask().status)
      end)
   end)

   local FORM = { ["content-type"] = "application/x-www-form-urlencoded; charset=utf-8" }
   local MULTI = { ["content-type"] = "multipart/form-data; boundary=b1" }

   local function copy(headers)
      local all = {}
      for name, value in pairs(headers) do all[name] = value end
      return all
   end

   local function check(read, rows, opts)
      run(function()
         local ask = serve(read, opts)
         for _, row in ipairs(rows) do
            local answer = ask(copy(row[1]), row[2])
            assert.equal(row[3], answer.status)
            assert.equal(row[4], answer.body)
         end
      end)
   end

   it("has a form's fields", function()
      check(function(req) return (assert(req:form())) end, {
         { FORM, "a=%20", 200, '{"a":" "}' }, { FORM, "", 200, "{}" },
         { { ["content-type"] = "APPLICATION/x-www-form-URLENCODED" }, "a=1", 200, '{"a":"1"}' },
         { MULTI, build({ { FIELD:format "a", "1" } }, "b1"), 200, '{"a":"1"}' },
         { FORM, "a=%", 400, "a malformed percent-escape\n" },
         { MULTI, "--b1\r\n", 400, "a part without its head\n" },
         { { ["content-type"] = "multipart/form-data" }, "x", 400, "the form names no boundary\n" },
         { { ["content-type"] = "text/plain" }, "a=1", 415, "the body must be a form\n" },
         { {}, "a=1", 415, "the body must be a form\n" },
         { FORM, ("x"):rep(101), 413,
            "the request's body is larger than max_body (100 bytes)\n" },
      }, { max_body = 100 })
   end)

   it("has JSON", function()
      local JSON = { ["content-type"] = "application/json; charset=utf-8" }
      check(function(req) return { assert(req:json()) } end, {
         { JSON, '{"a":[1,null]}', 200, '[{"a":[1,null]}]' }, { JSON, "5", 200, "[5]" },
         { { ["content-type"] = "application/problem+json" }, '"x"', 200, '["x"]' },
         { JSON, "null", 200, "[null]" },
         { JSON, "", 400, "malformed JSON: Expected value but found T_END at character 1\n" },
         { JSON, "{", 400,
            "malformed JSON: Expected object key string but found T_END at character 2\n" },
         { JSON, '"\xff"', 400, "the JSON is not UTF-8\n" },
         { JSON, "NaN", 400,
            "malformed JSON: Expected value but found invalid token at character 1\n" },
         { { ["content-type"] = "application/x-www-form-urlencoded" }, "{}", 415,
            "the body must be application/json\n" },
         { {}, "{}", 415, "the body must be application/json\n" },
         { JSON, ('"%s"'):format(("x"):rep(300)), 413,
            "the request's body is larger than max_body (300 bytes)\n" },
      }, { max_body = 300 })
      run(function()
         local ask = serve(function(req) return { assert(req:json()) } end)
         local deep = ask(copy(JSON), ("["):rep(101) .. ("]"):rep(101))
         assert.equal(400, deep.status)
         assert.matches("^malformed JSON: Found too many nested", deep.body)
      end)
   end)

   it("lets a handler go on from a form that is none", function()
      run(function()
         local ask = serve(function(req)
            local ok, message, code = req:form()
            return { ok == nil, message, code }
         end)
         assert.equal('[true,"the body must be a form","protocol"]', ask({}, "x").body)
      end)
   end)

   it("has its cookies", function()
      run(function()
         local ask = serve(function(req) return { req:cookie "a", req:cookies().b } end)
         assert.equal('["1","2"]', ask({ cookie = "a=1; b=2; a=3" }).body)
         assert.equal("{}", ask().body)
      end)
   end)

   it("has its credentials, when they are in order", function()
      local rows = {
         { "Basic YW5uOng6eQ==", "ann", "x:y" }, { "basic  YTo=", "a", "" },
         { "Basic Og==", "", "" },
         { "Basic YW5u" }, { "Basic YW5uOng6eR==" }, { "Basic" }, { "Basic !" }, { "Digest a" },
         { "Basic YQo6" }, { "Bearer YW5uOng=" },
      }
      run(function()
         local ask = serve(function(req)
            local user, password = req:basic()
            return { user or "none", password or "none" }
         end)
         for _, row in ipairs(rows) do
            assert.equal(('["%s","%s"]'):format(row[2] or "none", row[3] or "none"),
               ask({ authorization = row[1] }).body)
         end
      end)
      run(function()
         local ask = serve(function(req) return { req:bearer() or "none" } end)
         for field, token in pairs { ["Bearer abc._~+/-=="] = "abc._~+\\/-==", ["bearer x"] = "x",
            ["Bearer a b"] = "none", ["Bearer"] = "none", ["Bearer a,b"] = "none",
            ["Basic abc"] = "none", [""] = "none" } do
            assert.equal(('["%s"]'):format(token), ask({ authorization = field }).body)
         end
      end)
   end)
end)

describe("base64", function()
   local core = require "weft.core"

   it("is that of RFC 4648", function()
      for plain, text in pairs { [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v",
         foob = "Zm9vYg==", fooba = "Zm9vYmE=", foobar = "Zm9vYmFy", ["\0\255\254"] = "AP/+" } do
         assert.equal(text, core.base64(plain))
         assert.equal(plain, core.base64_decode(text))
      end
      local all = {}
      for i = 0, 255 do all[#all + 1] = string.char(i) end
      all = table.concat(all)
      for n = 0, 256, raw.hostile and 51 or 1 do
         assert.is_true(core.base64_decode(core.base64(all:sub(1, n))) == all:sub(1, n))
      end
   end)

   it("takes nothing else", function()
      for _, bad in ipairs { "Zg", "Zg=", "Zh==", "Zm9=", " Zg==", "Zg== ", "Zg==\n", "Z===",
         "====", "=Zg=", "Zg=a", "Zm9v=", "Zm\0v", "Zm9v====", "-_-_", "Zg==Zg==" } do
         assert.is_nil(core.base64_decode(bad))
      end
   end)
end)
