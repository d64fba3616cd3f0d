-- gzip: answers in the content coding gzip (RFC 9110 8.4.1.3), for clients that take it.

local core = require "weft.core"
local trim = require "weft.trim"

local gzip = {}

local LEVEL = 5
-- Below this the head outweighs what is saved (one packet is one packet).
gzip.MIN_BYTES = 1024
-- What is compressed at once, and between two turns of the loop.
local PIECE = 64 << 10

local types = { ["application/json"] = true, ["application/javascript"] = true,
   ["application/xml"] = true, ["application/wasm"] = true, ["application/manifest+json"] = true,
   ["image/x-icon"] = true, ["font/ttf"] = true, ["font/otf"] = true, ["application/rtf"] = true }

--- Is it of a type that shrinks?
function gzip.fits(content_type)
   local name = content_type:match "^[^;%s]*":lower()
   if name == "text/event-stream" then return false end -- it would be held back
   return types[name] or name:find "^text/" ~= nil or name:find "%+json$" ~= nil
      or name:find "%+xml$" ~= nil
end

-- RFC 9110 12.4.2; nil when it is none.
local function quality(text)
   if text == "" then return 1 end
   local q = text:match "^;%s*[qQ]=([01]%.?%d*)$"
   q = q and #q <= 5 and tonumber(q)
   return q and q <= 1 and q or nil
end

--- Does an Accept-Encoding prefer gzip to what is not compressed (RFC 9110 12.5.3)?
function gzip.accepted(field)
   if not field or #field > 1024 then return false end
   local weights = {}
   for element in field:gmatch "[^,]+" do
      local name, rest = element:match "^%s*([%w*.-]+)(.*)$"
      local q = name and quality(trim(rest))
      if not q then return false end
      weights[name:lower()] = q
   end
   local ours = weights.gzip or weights["x-gzip"] or weights["*"] or 0
   return ours > 0 and ours >= (weights.identity or 0)
end

-- A string's pieces, compressed, with a turn of the loop between two of them.
local function pieces_of(text)
   local encoder, at = core.encoder(LEVEL), 1
   return function()
      local made = ""
      while made == "" and at <= #text do
         if at > 1 then core.sleep(0) end
         local piece = text:sub(at, at + PIECE - 1)
         at = at + PIECE
         made = encoder:push(piece, at > #text and "finish" or "more")
      end
      return made ~= "" and made or nil
   end
end

-- An iterator's, each of which goes out when it comes.
local function pieces_by(f, state, control)
   local encoder, ended = core.encoder(LEVEL), false
   return function()
      local made
      repeat
         if ended then return nil end
         local piece = f(state, control)
         control, ended = piece, piece == nil
         if piece ~= nil and type(piece) ~= "string" then return piece end -- misuse: told there
         made = piece == "" and "" or encoder:push(piece or "", ended and "finish" or "flush")
      until made ~= ""
      return made
   end
end

local function lower_names(headers)
   local names = {}
   for name, value in pairs(headers) do
      if type(name) == "string" then names[name:lower()] = value end
   end
   return names
end

local function is_open(status, named)
   if status < 200 or status == 204 or status == 206 or status == 304 then return false end
   if named["content-encoding"] or named["content-range"] then return false end
   local control = named["cache-control"]
   if type(control) == "string" and control:lower():find("no-transform", 1, true) then
      return false
   end
   local kind = named["content-type"] or "text/plain"
   return type(kind) == "string" and gzip.fits(kind)
end

--- A weak entity tag: what is compressed is the same for the reader, not byte by byte.
function gzip.weak(etag)
   return etag:find "^W/" and etag or "W/" .. etag
end

local DROPPED = { ["content-length"] = true, ["accept-ranges"] = true }

local function changed(headers)
   local all = { ["content-encoding"] = "gzip" }
   for name, value in pairs(headers) do
      local lower = type(name) == "string" and name:lower() or name
      if lower == "etag" and type(value) == "string" then value = gzip.weak(value) end
      if not DROPPED[lower] then all[name] = value end
   end
   return all
end

--- An answer as it is to be sent: headers, body, state, control.
function gzip.answer(request, status, headers, body, state, control)
   local kind = type(body)
   local big = kind == "function" or kind == "string" and #body >= gzip.MIN_BYTES
   headers = headers == nil and {} or headers
   if not big or type(headers) ~= "table" or math.type(status) ~= "integer"
      or not is_open(status, lower_names(headers)) then
      return headers, body, state, control
   end
   request:set_header("vary", "Accept-Encoding")
   if not gzip.accepted(request:header "accept-encoding") then
      return headers, body, state, control
   end
   headers = changed(headers)
   if kind == "function" then return headers, pieces_by(body, state, control) end
   if #body > PIECE then return headers, pieces_of(body) end
   return headers, core.encoder(LEVEL):push(body, "finish")
end

--- Sends an open file compressed, as static.lua's sources are sent.
function gzip.send_file(stream, plan)
   local file <close> = plan.body.file
   local encoder, ended = core.encoder(LEVEL), false
   while not ended do
      local piece = file:read(PIECE)
      ended = piece == nil
      local made = encoder:push(piece or "", ended and "finish" or "more")
      if plan.chunked and made ~= "" then made = ("%x\r\n%s\r\n"):format(#made, made) end
      if made ~= "" and not stream:send(made) then return false end
      if not ended then core.sleep(0) end -- others have their turn
   end
   return not plan.chunked or stream:send "0\r\n\r\n" ~= nil
end

return gzip
