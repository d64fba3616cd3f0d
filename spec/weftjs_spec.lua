-- weft.js without a browser: its logic in node against a scripted server, its types, its size,
-- and app:client, which serves it. browser_rooms_spec.lua has it in pages, with weft as the server.

local server = require "spec.helper_server"
local process = require "spec.process"
local weft = require "weft"

local run = server.run

local DIR = "lua/weft/browser/"
local BIN = "spec/node_modules/.bin/"

local CHECKS = {
   "subscribes with params and hands out messages",
   "takes what comes in one piece with the reply to subscribe",
   "drops what it has already",
   "a publication resolves with its place, and a refused one rejects",
   "calls get their own answers, whatever their order",
   "a call ends after its time",
   "comes back, resumes, and shows what it missed before what is live",
   "says reset when nothing can be recovered",
   "resumes from where an earlier page was",
   "what is said offline waits, in order, and no longer than it may",
   "the queue has a cap",
   "what was sent when the connection went is not sent again, and fails",
   "what is volatile never waits",
   "keeps who is here",
   "tells what the server left out",
   "binary data comes as bytes",
   "a refusal that may pass is asked again, another one ends the room",
   "the server may end a room",
   "leaves a room, and can enter it anew",
   "notices a network that is dead",
   "waits a random time below a bound that grows, and tells how long",
   "comes back at once when the page is online again",
   "does not come back to a server that wants no return, unless told to",
   "close says goodbye and stays closed",
   "a listener that throws disturbs nobody",
   "bears what is no weft.1",
   "may be closed by every listener",
   "a listener of what is lost may use the other rooms",
   "times may be endless",
   "a refusal that the server calls closed is one like others",
   "is alive where clocks are coarse",
   "is more patient with each connection that falls silent, until one answers",
   "bears what is only nearly weft.1",
   "params that fail for a connection that is lost meanwhile delay no other",
   "a topic that is subscribed to when the connection opens is asked for once",
   "WebSocket is left alone once it failed twice where Server-Sent Events work",
   "waits as long as a busy server says, in whatever form",
   "misuse raises",
}

-- What a foreign program prints, line by line.
local function lines_of(argv)
   local child = process.start(argv, { foreign = true, limit = 200 })
   local output, status = child:finish()
   local lines = {}
   for line in output:gmatch "[^\n]+" do lines[#lines + 1] = line end
   return lines, status
end

local function read(path)
   local file <close> = assert(io.open(path, "rb"))
   return file:read "a"
end

describe("weft.js", function()
   local output, reported = {}, {}

   lazy_setup(function()
      output = lines_of { "node", "spec/browser/logic.mjs" }
      for _, line in ipairs(output) do reported[line] = true end
   end)

   for _, name in ipairs(CHECKS) do
      it(name, function()
         assert.is_true(reported["ok " .. name], table.concat(output, "\n"))
      end)
   end

   it("runs every check that is listed here, and no other", function()
      assert.equal(#CHECKS + 1, #output)
      assert.equal("done", output[#output])
   end)

   it("has types that say what it has", function()
      assert.same({ "done" }, (lines_of { "node", "spec/browser/members.mjs" }))
   end)

   it("has types that take what is right and refuse what is not", function()
      local lines, status = lines_of { BIN .. "tsc", "--noEmit", "--strict", "--target", "es2022",
         "--lib", "es2022,dom", "--module", "esnext", "--moduleResolution", "bundler",
         "spec/browser/types.ts" }
      assert.equal(0, status, table.concat(lines, "\n"))
   end)

   it("is some 4 KB minified and gzipped", function()
      local lines, status = lines_of { "sh", "-c",
         BIN .. "esbuild --minify --format=esm " .. DIR .. "weft.js | gzip -9 | wc -c" }
      local size = tonumber(lines[1])
      assert.equal(0, status)
      assert.is_true(size > 3500 and size < 4500, "it has " .. lines[1])
   end)

   it("needs nothing", function()
      assert.is_nil(read(DIR .. "weft.js"):find "%f[%w]import%f[^%w]")
   end)
end)

describe("app:client", function()
   local function serve(...)
      local app = server.app()
      app:client(...)
      local _, port = assert(app:listen "127.0.0.1:0")
      return server.dial(port)
   end

   it("serves the module, and its types beside it", function()
      run(function()
         local one = serve()
         local answer = one:ask("GET", "/weft.js")
         assert.equal(200, answer.status)
         assert.equal("text/javascript; charset=utf-8", answer.headers["content-type"])
         assert.equal("no-cache", answer.headers["cache-control"])
         assert.equal(read(DIR .. "weft.js"), answer.body)
         local types = one:ask("GET", "/weft.d.ts")
         assert.equal("text/plain; charset=utf-8", types.headers["content-type"])
         assert.equal(read(DIR .. "weft.d.ts"), types.body)
         local head = one:ask("HEAD", "/weft.js")
         assert.equal(tostring(#answer.body), head.headers["content-length"])
      end)
   end)

   it("answers a browser that has it already", function()
      run(function()
         local one = serve("/js/weft.js", { max_age = 60 })
         local etag = one:ask("GET", "/js/weft.js").headers.etag
         local answer = one:ask("GET", "/js/weft.js", { ["if-none-match"] = etag })
         assert.equal(304, answer.status)
         assert.equal("max-age=60", answer.headers["cache-control"])
         assert.equal(200, one:ask("GET", "/js/weft.d.ts").status)
      end)
   end)

   it("has nothing else there, and no other method", function()
      run(function()
         local one = serve()
         assert.equal(404, one:ask("GET", "/browser.lua").status)
         assert.equal(405, one:ask("POST", "/weft.js", { ["content-length"] = "0" }).status)
      end)
   end)

   it("raises for what cannot be", function()
      local app <close> = weft.app {}
      assert.equal('app:client: the path must end in ".js", got "/weft"',
         server.blame(function() app:client "/weft" end))
      assert.matches("the path", server.blame(function() app:client(7) end))
      assert.matches('begins with "/"', server.blame(function() app:client "weft.js" end))
      assert.matches("max_age", server.blame(function() app:client(nil, { max_age = -1 }) end))
      app:client()
      assert.matches("already", server.blame(function() app:client() end))
   end)
end)
