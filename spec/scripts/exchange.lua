-- Connections both of whose ends send and receive in every way, give up, are cancelled and
-- close at any time:   lua exchange.lua SEED CONNECTIONS
-- What comes must be the beginning of what was sent, in its order, and all of it to who did not
-- close. Prints "the same".

local weft = require "weft"

local seed, connections = tonumber((...)), tonumber((select(2, ...)))
math.randomseed(seed)
local random = math.random

local TEXT = ("zażółć gęślą jaźń € "):rep(3000)

local function any(list) return list[random(#list)] end

local function message(n)
   local size = random(6) == 1 and random(#TEXT) or random(0, 200)
   return "№" .. n .. ":" .. TEXT:sub(1, (utf8.offset(TEXT, 0, size + 1) or 1) - 1)
end

-- -- an end: { ws=, other=, sent = texts, got = how many, dropped=, closes = a code } -------------

local function note(one, text, ok)
   if ok then one.sent[#one.sent + 1] = text end
end

-- The first piece is less than a character.
local function send_in_pieces(one, text)
   local w = one.ws:writer()
   local ok, at = w and w:write(text:sub(1, 1)), 2
   while ok and at <= #text do
      weft.sleep(random(2) == 1 and 0 or random() * 0.002)
      ok = w:write(text:sub(at, at + 7000))
      at = at + 7001
   end
   note(one, text, ok and w:close())
end

local function send_cancelled(one, text)
   local task = weft.spawn(function() note(one, text, one.ws:send(text)) end)
   weft.sleep(random(2) == 1 and 0 or random() * 0.003)
   task:cancel()
   task:join()
end

local ways_to_send = {
   function(one, text) note(one, text, one.ws:send(text)) end,
   function(one, text) note(one, text, one.ws:try_send(text)) end,
   function(one, text)
      note(one, text, weft.deadline(random() * 0.003, one.ws.send, one.ws, text))
   end,
   send_cancelled,
   send_in_pieces,
}

local function send(one)
   for n = 1, random(15) do
      any(ways_to_send)(one, message(n))
      if random(3) == 1 then weft.sleep(random() * 0.003) end
   end
end

local function take(one, text)
   if not text then return end
   one.got = one.got + 1
   if text ~= one.other.sent[one.got] then
      error(("message %d of %d is %q"):format(one.got, #one.other.sent, text:sub(1, 30)))
   end
end

local function take_cancelled(one)
   local task = weft.spawn(function()
      for text in one.ws:messages() do take(one, text) end
   end)
   weft.sleep(random() * 0.004)
   task:cancel()
   task:join()
end

-- The rest of one that takes too long is dropped; its sender may not even have had the time.
local function take_in_pieces(one)
   local parts, whole = {}, false
   local fine, why = pcall(function()
      for chunk, last in one.ws:chunks { timeout = random() * 0.01 } do
         parts[#parts + 1], whole = chunk, last
         if random(4) == 1 then weft.sleep(random(2) == 1 and 0 or 0.001) end
      end
   end)
   if whole then return take(one, table.concat(parts)) end
   assert(fine or why:find "broke off" or why:find "timeout in the middle", why)
   if #parts > 0 then one.got, one.dropped = one.got + 1, true end
end

local ways_to_take = {
   function(one) take(one, (one.ws:receive(random() * 0.004))) end,
   function(one) take(one, (weft.deadline(random() * 0.004, one.ws.receive, one.ws))) end,
   function() weft.sleep(random() * 0.004) end,
   take_cancelled,
   take_in_pieces,
}

local function receive(one)
   for _ = 1, random(20) do any(ways_to_take)(one) end
   for text in one.ws:messages() do take(one, text) end
end

local function live(one)
   weft.group(function(g)
      for _ = 1, random(0, 2) do g:spawn(send, one) end
      g:spawn(receive, one)
      if one.closes then
         weft.sleep(random() * 0.03)
         one.ws:close(one.closes)
      end
   end)
end

-- Behind what broke off nothing comes.
local function check(one)
   local code, reason, clean = one.ws:closed()
   if not clean then error(("%s %s"):format(code, reason)) end
   if one.closes then return end
   assert(code == one.other.closes, code)
   local lost = #one.other.sent - one.got
   if lost ~= 0 and not (lost == -1 and one.dropped) then error(lost .. " messages are lost") end
end

-- -- the connections -----------------------------------------------------------------------------

local function options()
   local high = any { 1, 1000, 65536 }
   return { close_timeout = 60, high_mark = high, low_mark = random(0, high),
      inbox_messages = any { 1, 2, 16 }, inbox_bytes = any { 1, 262144 },
      compression = any { false, { max_ratio = 1032 }, { mode = "shared", max_ratio = 1032 } } }
end

weft.run(function()
   local ends, ended = {}, weft.channel(connections)
   local app <close> = weft.app(options())
   app:websocket("/:id", function(ws)
      local one = ends[ws.request.params.id]
      one.ws = ws
      live(one)
      ended:send(true)
   end)
   local _, port = assert(app:listen "127.0.0.1:0")
   weft.group(function(g)
      for i = 1, connections do
         local near, far = { sent = {}, got = 0 }, { sent = {}, got = 0 }
         near.other, far.other, ends[tostring(i)] = far, near, far
         any { near, far }.closes = random(3000, 4999)
         if random(4) == 1 then near.closes = 4000 end
         g:spawn(function()
            near.ws = assert(weft.connect(("ws://127.0.0.1:%d/%d"):format(port, i), options()))
            live(near)
            ended:receive()
         end)
         if i % 8 == 0 then weft.sleep(0.02) end
      end
   end)
   for _, far in pairs(ends) do
      check(far.other)
      check(far)
   end
end)
print "the same"
