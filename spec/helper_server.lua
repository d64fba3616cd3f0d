-- For specs of servers: runs a test inside weft.run within a bound, closes what
-- it opened, and speaks raw HTTP to it over loopback.

local weft = require "weft"

local server = {}

-- What LUA_INIT has loaded may want a hook in every coroutine: hostile.lua, counted.lua.
local hook_task = package.loaded["spec.task_hook"] or function() end
local opened

--- Runs f as a task, at most `seconds` long; apps and listeners that it made
-- through `app` and `keep` are closed, whatever happened.
function server.run(f, seconds)
   opened = {}
   local ok, err
   weft.run(function()
      hook_task()
      ok, err = pcall(weft.deadline, seconds or 10, f)
      for _, thing in ipairs(opened) do thing:close() end
   end)
   opened = nil
   if not ok then error(err, 0) end
end

--- Has it closed at the end of the test.
function server.keep(thing)
   table.insert(opened, thing)
   return thing
end

function server.app(opts)
   return server.keep(weft.app(opts or {}))
end

--- The message of the error that f raises, which must blame the calling spec.
function server.blame(f)
   local spec = debug.getinfo(2, "S").short_src:match "[^/]*$"
   local ok, message = pcall(f)
   assert(not ok, "it did not raise")
   local text = message:match("^[%w_/.]*" .. spec:gsub("%p", "%%%0") .. ":%d+: (.*)$")
   return assert(text, "it blames another: " .. message)
end

--- Collects what weft.on_error gets while f runs.
function server.errors(f)
   local seen = {}
   local before = weft.on_error
   weft.on_error = function(_, text) seen[#seen + 1] = text end
   local ok, err = pcall(f, seen)
   weft.on_error = before
   if not ok then error(err, 0) end
   return seen
end

local connection = {}
connection.__index = connection

--- A raw connection to a port of this machine.
function server.dial(port)
   local stream = assert(weft.dial("127.0.0.1:" .. port))
   return server.keep(setmetatable({ stream = stream }, connection))
end

function connection:close() self.stream:close() end

function connection:send(...)
   return assert(self.stream:send(table.concat { ... }))
end

local function read_fields(stream)
   local fields = {}
   while true do
      local line = assert(stream:receive "*l")
      if line == "" then return fields end
      local name, value = line:match "^([^:]+):%s*(.-)%s*$"
      name = name:lower()
      fields[name] = fields[name] and fields[name] .. ", " .. value or value
   end
end

local function read_chunks(stream)
   local parts = {}
   while true do
      local size = tonumber(assert(stream:receive "*l"), 16)
      if size > 0 then parts[#parts + 1] = assert(stream:receive(size)) end
      assert(stream:receive "*l" == "")
      if size == 0 then return table.concat(parts), #parts end
   end
end

--- One response: { status=, reason=, headers=, body= }. method "HEAD" has none.
function connection:response(method)
   local line = assert(self.stream:receive "*l")
   local status, reason = line:match "^HTTP/1%.1 (%d%d%d) (.*)$"
   assert(status, line)
   local answer = { status = tonumber(status), reason = reason,
      headers = read_fields(self.stream), body = "" }
   local length = tonumber(answer.headers["content-length"])
   if method == "HEAD" then return answer end
   if answer.headers["transfer-encoding"] == "chunked" then
      answer.body, answer.chunks = read_chunks(self.stream)
   elseif length then
      answer.body = length > 0 and assert(self.stream:receive(length)) or ""
   elseif answer.headers.connection == "close" and answer.status ~= 204 then
      answer.body = assert(self.stream:receive "*a")
   end
   return answer
end

--- Has the server closed this connection, with nothing more said?
function connection:is_over()
   local data, message, partial = self.stream:receive(1)
   assert(data == nil and partial == "", "more data came")
   return message == "closed", message
end

local function head_of(method, path, headers)
   local lines = { ("%s %s HTTP/1.1"):format(method, path), "host: test" }
   for name, value in pairs(headers or {}) do lines[#lines + 1] = name .. ": " .. value end
   return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

function connection:ask(method, path, headers, body)
   self:send(head_of(method, path, headers), body or "")
   return self:response(method)
end

--- One request on a connection of its own.
function server.ask(port, method, path, headers, body)
   local one <close> = setmetatable({ stream = assert(weft.dial("127.0.0.1:" .. port)) },
      { __index = connection, __close = connection.close })
   return one:ask(method, path, headers, body)
end

server.KEY = "dGhlIHNhbXBsZSBub25jZQ=="

--- The head of a valid opening handshake; `changes` replaces fields (false drops).
function server.upgrade(path, changes)
   local fields = { host = "test", upgrade = "websocket", connection = "Upgrade",
      ["sec-websocket-key"] = server.KEY, ["sec-websocket-version"] = "13" }
   for name, value in pairs(changes or {}) do fields[name] = value end
   local lines = { ("GET %s HTTP/1.1"):format(path) }
   for name, value in pairs(fields) do
      if value then lines[#lines + 1] = name .. ": " .. value end
   end
   return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

--- An app that listens, and a connection to it: that, the port, the app.
function server.serve(routes, opts)
   local app = server.app(opts)
   routes(app)
   local _, port = assert(app:listen "127.0.0.1:0")
   return server.dial(port), port, app
end

return server
