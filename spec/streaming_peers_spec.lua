-- Messages in pieces, compressed, with foreign peers, and bigger than memory would have it.

local weft = require "weft"
local process = require "spec.process"
local raw = require "spec.raw"
local rig = require "spec.pieces_rig"

local gather, sample, WORD = rig.gather, rig.sample, rig.WORD

-- An echo by pieces.
local function stream_echo(ws)
   repeat
      local w
      for chunk, last, kind in ws:chunks() do
         w = w or assert(ws:writer(kind))
         assert(w:write(chunk))
         if last then assert(w:close()) end
      end
   until not w
end

local BIG = sample(raw.hostile and 100000 or 1500000) -- over max_message

describe("compressed in pieces:", function()
   local ways = { true, "shared", { window = 9, threshold = 0 } }
   for i, compression in ipairs(ways) do
      it(("there and back, option %d"):format(i), function()
         raw.run(function()
            local port = raw.app(stream_echo, { compression = compression })
            local ws <close> = assert(weft.connect(raw.url(port),
               { compression = true, max_message = 1 << 30 }))
            assert.matches("^permessage%-deflate", ws.extensions)
            for _, text in ipairs { "", "x", WORD, sample(5000), BIG } do
               for _, how in ipairs { {}, { compress = false } } do
                  local task = weft.spawn(function()
                     local w <close> = assert(ws:writer("text", how))
                     for at = 1, #text, 9001 do assert(w:write(text:sub(at, at + 9000))) end
                  end)
                  local message = ws:receive(raw.SOON)
                  assert(message == text, ("%d bytes"):format(#text))
                  task:join()
                  task = weft.spawn(function() assert(ws:send(text)) end)
                  message = gather(ws)
                  assert(message == text, ("%d bytes"):format(#text))
                  task:join()
               end
            end
         end, 120)
      end)
   end

   it("the bits, and the choice of a message", function()
      raw.run(function()
         local port = raw.app(function(ws)
            for _, how in ipairs { {}, { compress = false } } do
               local w <close> = assert(ws:writer("text", how))
               w:write(("x"):rep(100))
               w:write(("x"):rep(100))
            end
         end, { compression = true })
         local c = raw.connect(port, "/ws", { ["sec-websocket-extensions"] =
            "permessage-deflate; client_max_window_bits" })
         local seen = {}
         for i = 1, 6 do
            local f = c:read()
            seen[i] = { f.op, f.rsv, f.fin, #f.payload < 50 }
         end
         assert.same({ { "text", 4, false, true }, { "more", 0, false, true },
            { "more", 0, true, true }, { "text", 0, false, false }, { "more", 0, false, false },
            { "more", 0, true, true } }, seen)
      end)
   end)

   it("the ratio is bounded, and a loop that is left still reads rightly", function()
      raw.run(function()
         local results = weft.channel(9)
         local port = raw.app(function(ws)
            for chunk in ws:chunks() do if chunk then break end end
            results:send((gather(ws)))
            results:send((select(2, pcall(gather, ws))))
         end, { compression = true })
         local ws <close> = assert(weft.connect(raw.url(port), { compression = true }))
         assert(ws:send(BIG))
         assert(ws:send(WORD:rep(100)))
         assert(ws:send(("x"):rep(1 << 20)))
         assert.equal(WORD:rep(100), results:receive(raw.SOON))
         assert.matches("1009 message inflates over max_ratio", results:receive(raw.SOON))
      end)
   end)
end)

describe("foreign peers in pieces:", function()
   for name, command in pairs {
      ["python3-websockets"] = { "/usr/bin/python3", "spec/peers/stream_client.py" },
      ["npm's ws"] = { "node", "spec/peers/stream_client.mjs" },
   } do
      it(name, function()
         local seen, text = {}, ""
         raw.run(function()
            local port = raw.app(function(ws)
               seen[#seen + 1] = ws.extensions
               stream_echo(ws)
            end, { compression = { max_ratio = 1032 } })
            local out = os.tmpname()
            local child = process.start({ "sh", "-c", 'out=$0; exec "$@" > "$out" 2>&1', out,
               command[1], command[2], raw.url(port) }, { foreign = true, limit = 300 })
            local till = weft.now() + 200
            repeat
               weft.sleep(0.05)
               local file <close> = assert(io.open(out))
               text = file:read "a"
            until text:find "done\n" or text:find "Error" or weft.now() > till
            child:stop "KILL"
            os.remove(out)
         end, 250)
         assert(text:find "done\n", text)
         assert.equal("", seen[1])
         assert.matches("^permessage%-deflate", seen[2])
      end)
   end
end)

describe("64 MiB in pieces", function()
   for _, compression in ipairs { "plain", "deflate" } do
      it(compression .. ", through both ends, in less than 4 MiB each", function()
         if raw.hostile or os.getenv "ASAN_OPTIONS" then return end -- memory means nothing there
         local script = "spec/scripts/stream_memory.lua"
         local there = process.start(process.script(script, 64, compression), { limit = 400 })
         local url = there:wait_for "^(ws://.*)$"
         local here = process.start(process.script(script, 64, compression, url), { limit = 400 })
         local client = tonumber(here:wait_for "^client grew (%d+)$")
         local serving = tonumber(there:wait_for "^server grew (%d+)$")
         assert.equal(0, select(2, here:finish()))
         assert.equal(0, select(2, there:finish()))
         assert(client < 4096 and serving < 4096, ("%d and %d KiB"):format(client, serving))
      end)
   end
end)
