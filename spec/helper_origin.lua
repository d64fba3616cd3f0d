-- For specs of the HTTP client: servers made of a script, which say what they are told to,
-- lawful or not, and keep what they were asked.

local weft = require "weft"
local server = require "spec.helper_server"

local origin = {}

-- One request off the stream: { line=, head=, fields=, body= of a content-length }.
local function read_request(stream)
   local line, err = stream:receive "*l"
   if not line then return nil, err end
   local request = { line = line, fields = {}, head = line .. "\n" }
   while true do
      local field = stream:receive "*l"
      if not field then return nil, "closed" end
      if field == "" then break end
      request.head = request.head .. field .. "\n"
      local name, value = field:match "^([^:]+):%s*(.*)$"
      request.fields[name:lower()] = value
   end
   local length = tonumber(request.fields["content-length"])
   if length and length > 0 then request.body = stream:receive(length) end
   return request
end
origin.read_request = read_request

--- A listener; each connection is handled by f(stream, n), n being its number, and then
-- closed. Returns "http://127.0.0.1:port" and the table of numbers: { accepted = n }.
function origin.serve(f)
   local listener = server.keep(assert(weft.listen "127.0.0.1:0"))
   local seen = { accepted = 0, requests = {} }
   weft.spawn(function()
      for stream in listener:each() do
         seen.accepted = seen.accepted + 1
         local n = seen.accepted
         weft.spawn(function()
            server.keep(stream)
            f(stream, n, seen)
            stream:close()
         end)
      end
   end)
   local _, port = listener:getsockname()
   return "http://127.0.0.1:" .. port, seen, port
end

--- A server that gives each request the next of these answers, the last for ever; on
-- connections that stay open unless the answer has hang_up. An answer is text, or
-- { text, text..., hang_up = true }, or a function(stream, request).
function origin.answers(...)
   local list = { ... }
   return origin.serve(function(stream, _, seen)
      while true do
         local request = read_request(stream)
         if not request then return end
         table.insert(seen.requests, request)
         local one = list[math.min(#seen.requests, #list)]
         if type(one) == "function" then
            if one(stream, request) == false then return end
         else
            if type(one) == "string" then one = { one } end
            for _, text in ipairs(one) do stream:send(text) end
            if one.hang_up then return end
         end
      end
   end)
end

function origin.ok(text, fields)
   return ("HTTP/1.1 200 OK\r\n%scontent-length: %d\r\n\r\n%s"):format(fields or "", #text, text)
end

return origin
