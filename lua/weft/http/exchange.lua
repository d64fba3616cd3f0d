-- exchange: one request and its answer (RFC 9112), on a connection from the pool or a
-- fresh one.

local answer = require "weft.http.answer"
local core = require "weft.core"
local dialer = require "weft.dialer"
local pool = require "weft.http.pool"
local sender = require "weft.http.sender"
local tls = require "weft.tls"

local exchange = {}

local MAX_INTERIM = 16 -- answers of 1xx before the real one
-- RFC 9110 10.1.1: a client does not wait for ever for 100 (Continue).
local CONTINUE_WAIT = 1

-- RFC 9110 9.2.2
local idempotent = { GET = true, HEAD = true, PUT = true, DELETE = true, OPTIONS = true,
   TRACE = true }

-- The one place that opens what the bytes go over.
local function open(hop, opts)
   local guard <close> = core.deadline(opts.connect_timeout)
   return dialer.connect(hop.target, hop.tls, opts)
end

-- What this task still has to let go of when it fails, or is cancelled.
local wire_class = {}
function wire_class:__close()
   if self.kept then return end
   if self.sender then self.sender:stop() end
   self.stream:close()
end

local function read_head(stream, opts, timeout)
   return core.read_head(stream, "response", opts.max_line, opts.max_head, opts.max_fields,
      timeout)
end

-- The next head. While the body goes out silence is no failure: what counts is when
-- something last left. A wait that ended early was ended by a deadline.
local function await_head(wire, opts)
   local left = opts.idle_timeout
   while true do
      local began = core.now()
      local head, message, code = read_head(wire.stream, opts, left)
      local sending = wire.sender
      if head or code ~= "timeout" or not sending then return head, message, code end
      if core.now() - began < left - 0.01 then return nil, message, code end
      left = sending:patience()
      if left <= 0 then return nil, message, code end
   end
end

-- RFC 9110 15.2: a client reads any number of 1xx; here it is some. Nobody asked for
-- another protocol.
local function final_head(wire, opts, head)
   for _ = 1, MAX_INTERIM do
      local message, code
      if not head then
         head, message, code = await_head(wire, opts)
         if not head then return nil, message, code end
      end
      if head.status >= 200 then return head end
      if head.status < 100 then return nil, "a status below 100", "protocol" end
      if head.status == 101 then return nil, "101 without an upgrade", "protocol" end
      wire.begun, head = true, nil
   end
   return nil, "too many interim (1xx) answers", "protocol"
end

local function send_head(wire, hop)
   local body = hop.body
   if type(body) == "string" and not hop.expects and #hop.head + #body <= 64 << 10 then
      return wire.stream:send(hop.head .. body), true
   end
   return wire.stream:send(hop.head), body == nil
end

-- RFC 9110 10.1.1: true when the body is to go out; the answer's head when the server has
-- decided without it; or nil, message, code.
local function await_continue(wire, opts)
   local head, message, code = read_head(wire.stream, opts, CONTINUE_WAIT)
   if not head and code ~= "timeout" then return nil, message, code end
   if not head then return true end
   wire.begun = true
   return head.status < 200 or head
end

-- Sends the request: true, and the answer's head if that came already. Where sending
-- broke, reading tells why.
local function send(wire, hop, opts)
   wire.stream:settimeout(opts.idle_timeout, "b")
   local ok, all = send_head(wire, hop)
   if not ok or all then return true end
   if hop.expects then
      local wanted, message, code = await_continue(wire, opts)
      if not wanted then return nil, message, code end
      if wanted ~= true then
         wire.unsent = true
         return true, wanted
      end
   end
   wire.sender = sender.start(wire.stream, hop, opts.idle_timeout)
   return true
end

-- The request is out, or on its way: the answer with its head.
local function receive(wire, hop, opts, early)
   local head, message, code = final_head(wire, opts, early)
   local sending = wire.sender
   if sending and sending.raised ~= nil then error(sending.raised, 0) end
   if not head then return nil, message, code end
   wire.begun = true
   -- RFC 9112 9.3: what of the body the server does not want, it need not get
   if sending and head.status >= 300 and not sending.done then
      sending:stop()
   end
   local result
   result, message, code = answer.new(head, hop, wire, opts)
   if not result then return nil, message, code end
   if wire.unsent then result.reusable = false end
   wire.kept = true
   return result
end

-- answer | nil, message, code, and whether any byte of an answer had come.
local function on_stream(stream, hop, opts)
   local wire <close> = setmetatable({ stream = stream }, wire_class)
   local ok, early, code = send(wire, hop, opts)
   if not ok then return nil, early, code, wire.begun end
   local result, message
   result, message, code = receive(wire, hop, opts, early)
   if result then return result end
   if code == "timeout" then message = "timeout while waiting for the answer" end
   if code == "closed" then message = "the connection was closed before an answer came" end
   return nil, message, code, wire.begun
end

-- A kept connection may have died meanwhile, by TLS without a goodbye: what can be asked twice
-- is (RFC 9110 9.2.2).
local function may_repeat(hop, code, begun)
   return (code == "closed" or code == "tls") and not begun and idempotent[hop.method]
      and type(hop.body) ~= "function"
end

-- On a kept connection: whether that was final, then as on_stream.
local function on_kept(hop, opts)
   local stream = pool.take(hop)
   if not stream then return false end
   local result, message, code, begun = on_stream(stream, hop, opts)
   return result or not may_repeat(hop, code, begun), result, message, code
end

-- What is verified is part of what a connection is kept for.
local function set_contexts(hop, opts)
   local via, message, code = hop.target.via
   if hop.parts.secure then
      hop.tls, message, code = tls.context(hop.secure)
      if not hop.tls then return nil, message, code end
   end
   if via and via.secure then
      hop.proxy_tls, message, code = tls.context(opts.proxy_secure)
      if not hop.proxy_tls then return nil, message, code end
   end
   return true
end

--- answer | nil, message, code
function exchange.run(hop, opts)
   local ok, why, what = set_contexts(hop, opts)
   if not ok then return nil, why, what end
   local final, result, message, code = on_kept(hop, opts)
   if final then return result, message, code end
   local stream
   stream, message, code = open(hop, opts)
   if not stream then return nil, message, code end
   return on_stream(stream, hop, opts)
end

return exchange
