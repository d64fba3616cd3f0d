-- Signed cookies: what is forged, expired, too big or signed by another key is no session.

local weft = require "weft"
local core = require "weft.core"
local raw = require "spec.raw"
local server = require "spec.helper_server"

local run = raw.run
local KEY, OTHER = ("k"):rep(32), ("o"):rep(40)

-- A request and its answer's fields, as session sees them.
local function request(value, name)
   local set = {}
   return { cookie = function(_, wanted) return wanted == (name or "session") and value or nil end,
      set_header = function(_, field, text)
         assert(field == "set-cookie")
         set[#set + 1] = text
      end }, set
end

local function saved(session, data)
   local req, set = request()
   assert(session:save(req, data))
   return set[1]:match "^[^=]+=([^;]*)", set[1]
end

describe("a session", function()
   it("comes back as it was saved", function()
      local session = weft.session { keys = { KEY } }
      local data = { user = "ann", n = 5, list = { 1, 2 }, text = "grüße; \"\0" }
      local value, cookie = saved(session, data)
      assert.matches("^session=[%w_-]+%.[%w_-]+; Path=/; Max%-Age=1209600; Secure; HttpOnly; "
         .. "SameSite=Lax$", cookie)
      local back, known = session:read(request(value))
      assert.is_true(known)
      assert.same(data, back)
      back.user = "eve" -- the caller's own
      assert.same(data, (session:read(request(value))))
   end)

   it("is HMAC-SHA256 of the name and the payload", function()
      assert.equal("f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8",
         (core.hmac("key", "The quick brown fox jumps over the lazy dog"):gsub(".", function(c)
            return ("%02x"):format(c:byte())
         end)))
      local payload, mac = saved(weft.session { keys = { KEY } }, {}):match "^(.*)%.(.*)$"
      local wanted = core.base64(core.hmac(KEY, "session=" .. payload))
      assert.equal(wanted, mac:gsub("-", "+"):gsub("_", "/") .. "=")
   end)

   it("is empty when any byte of the cookie is another", function()
      local session = weft.session { keys = { KEY } }
      local value = saved(session, { user = "ann" })
      for i = 1, #value, raw.hostile and 13 or 1 do
         for _, byte in ipairs { "A", "B", ".", "=", "_" } do
            local forged = value:sub(1, i - 1) .. byte .. value:sub(i + 1)
            if forged ~= value then
               local data, known = session:read(request(forged))
               assert.is_false(known)
               assert.same({}, data)
            end
         end
         assert.is_false(select(2, session:read(request(value:sub(1, i - 1)))))
      end
      for _, junk in ipairs { "", ".", "..", "a.b", value .. "x", value .. "." .. value, "a." } do
         assert.is_false(select(2, session:read(request(junk))))
      end
      assert.is_false(select(2, session:read(request())))
   end)

   it("is empty when it has expired, though it is signed", function()
      local session = weft.session { keys = { KEY } }
      local function sign(text)
         local payload = core.base64(text):gsub("[+/=]", { ["+"] = "-", ["/"] = "_", ["="] = "" })
         local mac = core.base64(core.hmac(KEY, "session=" .. payload))
         return payload .. "." .. mac:gsub("[+/=]", { ["+"] = "-", ["/"] = "_", ["="] = "" })
      end
      local now = os.time()
      assert.same({ { a = 1 }, true },
         { session:read(request(sign(('{"e":%d,"d":{"a":1}}'):format(now + 60)))) })
      for _, text in ipairs { ('{"e":%d,"d":{"a":1}}'):format(now - 1), '{"d":{}}', "5", "", "{",
         ('{"e":"%d","d":{}}'):format(now + 60), ('{"e":%d,"d":5}'):format(now + 60) } do
         assert.same({ {}, false }, { session:read(request(sign(text))) })
      end
   end)

   it("is taken from every key, and signed by the first", function()
      local old = weft.session { keys = { OTHER } }
      local both = weft.session { keys = { KEY, OTHER } }
      local new = weft.session { keys = { KEY } }
      local value = saved(old, { a = 1 })
      assert.is_true(select(2, both:read(request(value))))
      assert.is_false(select(2, new:read(request(value))))
      assert.is_true(select(2, new:read(request((saved(both, { a = 1 }))))))
   end)

   it("is none under another name", function()
      local value = saved(weft.session { keys = { KEY } }, { admin = true })
      local other = weft.session { keys = { KEY }, name = "other" }
      assert.is_false(select(2, other:read(request(value, "other"))))
   end)

   it("is too big for a cookie", function()
      local session = weft.session { keys = { KEY } }
      local ok, message, code = session:save(request(), { text = ("x"):rep(3000) })
      assert.same({ nil, "too_big" }, { ok, code })
      assert.matches("^a session of %d+ bytes, more than browsers take %(3800%)$", message)
   end)

   it("is forgotten", function()
      local session = weft.session { keys = { KEY } }
      local req, set = request()
      session:clear(req)
      assert.matches("^session=; Path=/; Max%-Age=0; Expires=Thu, 01 Jan 1970", set[1])
      assert.matches("Max%-Age=1209600", select(2, saved(session, {})))
   end)

   it("has the attributes it was told", function()
      local session = weft.session { keys = { KEY }, name = "__Host-s", max_age = 60,
         same_site = "strict" }
      assert.matches("^__Host%-s=.*; Path=/; Max%-Age=60; Secure; HttpOnly; SameSite=Strict$",
         select(2, saved(session, {})))
      assert.equal("weft.session (__Host-s)", tostring(session))
   end)

   local misused = {
      { nil, "the option keys is needed" }, { { keys = {} }, 'option "keys" must hold a key' },
      { { keys = { "short" } }, "keys of at least 32 bytes" },
      { { keys = KEY }, 'option "keys" must be a list of strings' },
      { { keys = { KEY }, name = "a b" }, "the name must be a token" },
      { { keys = { KEY }, name = "__Host-s", secure = false }, "needs secure = true" },
      { { keys = { KEY }, name = "__Host-s", path = "/x" }, 'needs path = "/"' },
      { { keys = { KEY }, same_site = "none", secure = false }, "needs secure = true" },
   }
   for _, row in ipairs(misused) do
      it("refuses options: " .. row[2], function()
         local why = server.blame(function() weft.session(row[1]) end)
         assert.truthy(why:find(row[2], 1, true), why)
         assert.is_nil(why:find(KEY, 1, true))
      end)
   end

   it("blames who saves what JSON cannot say", function()
      local session = weft.session { keys = { KEY } }
      assert.matches("^session:save: ", server.blame(function()
         session:save(request(), { f = print })
      end))
      assert.matches("^session:save: the data must be a table", server.blame(function()
         session:save(request(), "x")
      end))
   end)

   it("goes through HTTP, and is there when a WebSocket is authorized", function()
      run(function()
         local session = weft.session { keys = { KEY } }
         local app = server.app()
         app:post("/login", function(req)
            assert(session:save(req, { user = assert(req:form()).user }))
            return 204
         end)
         app:websocket("/ws", function(ws) ws:send(ws.data.user) end, {
            authorize = function(req)
               local data, known = session:read(req)
               return known and data
            end })
         local _, port = assert(app:listen "127.0.0.1:0")
         local answer = server.ask(port, "POST", "/login", { ["content-length"] = 8,
            ["content-type"] = "application/x-www-form-urlencoded" }, "user=ann")
         local cookie = answer.headers["set-cookie"]:match "^[^;]*"
         local url = ("ws://127.0.0.1:%d/ws"):format(port)
         local ws = server.keep(assert(weft.connect(url, { headers = { cookie = cookie } })))
         assert.equal("ann", (ws:receive(raw.SOON)))
         for _, bad in ipairs { "session=x", cookie .. "x", "" } do
            local refused, _, code, head = weft.connect(url, { headers = { cookie = bad } })
            assert.same({ nil, "refused", 403 }, { refused, code, head.status })
         end
      end)
   end)
end)
