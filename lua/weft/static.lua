-- static: answers with files below one directory. What is below it is decided
-- on the real path, so neither ".." nor a symbolic link leaves it.

local core = require "weft.core"
local date = require "weft.date"
local gzip = require "weft.gzip"
local mime = require "weft.mime"
local response = require "weft.response"
local router = require "weft.router"

local static = {}

local CHUNK = 64 << 10

-- Is this decoded segment one that may name a file?
local function allowed(segment, hidden)
   if segment == "" or segment == "." or segment == ".." then return false end
   if segment:find("[/\\\0]") then return false end
   return hidden or segment:sub(1, 1) ~= "." or segment == ".well-known"
end

-- The part of the path behind the mount's prefix: a relative file name and
-- whether it ended in "/". nil, status when it names nothing we serve.
local function locate(rest, hidden)
   local segments = router.split(rest)
   local slash = segments[#segments] == ""
   if slash then segments[#segments] = nil end
   for i, segment in ipairs(segments) do
      local name = router.decode(segment)
      if not name then return nil, 400 end
      if not allowed(name, hidden) then return nil, 404 end
      segments[i] = name
   end
   return table.concat(segments, "/"), slash
end

-- The real path and its stat, or nil when there is none or it is outside.
local function inspect(root, name)
   local real = core.realpath(root .. "/" .. name)
   if not real then return nil end
   local inside = root == "/" and "/" or root .. "/"
   if real ~= root and real:sub(1, #inside) ~= inside then return nil end
   local info = core.stat(real)
   return info and real, info
end

-- A directory stands for its index, once its path ends in "/".
local function find_file(mount, rest)
   local name, slash = locate(rest, mount.hidden)
   if not name then return nil, slash end
   local real, info = inspect(mount.root, name)
   if not real then return nil, 404 end
   if info.type == "directory" then
      if not slash then return nil, 301 end
      real, info = inspect(mount.root, name == "" and mount.index or name .. "/" .. mount.index)
   elseif slash then
      return nil, 404
   end
   if not real or info.type ~= "file" then return nil, 404 end
   return real, info
end

-- RFC 9110 13.1.1 and 13.1.2: If-None-Match compares weakly, If-Match does not.
local function matches(field, etag, strongly)
   if field:match("^%s*%*%s*$") then return true end
   for weak, tag in field:gmatch('(W?/?)("[^"]*")') do
      if tag == etag and not (strongly and weak == "W/") then return true end
   end
   return false
end

-- RFC 9110 13.2.2: what comes before all else: is it still the version that the client means?
local function is_meant(req, etag, mtime)
   local field = req:header("if-match")
   if field then return matches(field, etag, true) end
   field = req:header("if-unmodified-since")
   local since = field and date.parse(field)
   return not since or mtime <= since
end

local function not_modified(req, etag, mtime)
   local field = req:header("if-none-match")
   if field then return matches(field, etag) end -- RFC 9110 13.2.2: it wins
   field = req:header("if-modified-since")
   local since = field and date.parse(field)
   return since ~= nil and mtime <= since
end

-- RFC 9110 14.1.2: one range of bytes, as from and to; false when it cannot be
-- satisfied; nil when the field is to be ignored.
local function parse_range(field, size)
   local from, to = field:match("^bytes=(%d*)%-(%d*)$")
   if not from or (from == "" and to == "") or #from > 15 or #to > 15 then return nil end
   from, to = tonumber(from), tonumber(to)
   if not from then
      if to == 0 or size == 0 then return false end
      return math.max(size - to, 0), size - 1
   end
   if to and to < from then return nil end
   if from >= size then return false end
   return from, math.min(to or size - 1, size - 1)
end

-- RFC 9110 13.1.5: the range holds only for the version the client knows.
local function wanted_range(req, size, etag, modified)
   local field = req.method == "GET" and req:header("range")
   if not field then return nil end
   local condition = req:header("if-range")
   if condition and condition ~= etag and condition ~= modified then return nil end
   return parse_range(field, size)
end

-- Sends length bytes of the file: 64 KiB at a time, each waiting until the
-- socket's queue has room. False when the peer left, or the file shrank.
local function send_file(stream, plan)
   local source = plan.body
   local file <close> = source.file
   local left = source.length
   while left > 0 do
      local piece = file:read(math.min(CHUNK, left))
      if not piece or not stream:send(piece) then return false end
      left = left - #piece
   end
   return true
end

local function open_source(req, path, from, length)
   if req.method == "HEAD" then return setmetatable({ length = length }, response.source) end
   local file = io.open(path, "rb")
   if not file then return nil end
   file:setvbuf("no") -- whole chunks are read; a second buffer would only copy
   if from > 0 then file:seek("set", from) end
   return setmetatable({ file = file, length = length, send = send_file }, response.source)
end

local function headers_for(mount, path, info, etag, modified)
   return {
      ["content-type"] = mime(path), ["last-modified"] = modified, etag = etag,
      ["accept-ranges"] = "bytes", ["x-content-type-options"] = "nosniff",
      ["cache-control"] = mount.max_age > 0 and ("max-age=%d"):format(mount.max_age // 1)
         or "no-cache",
      ["content-length"] = info.size,
   }
end

-- A file beside it that somebody has compressed already, and not before it was changed.
local function compressed_file(mount, path, info)
   local real, other = inspect(mount.root, path:sub(#mount.root + 2) .. ".gz")
   if real and other.type == "file" and other.mtime >= info.mtime then return real, other end
end

-- The body in gzip, and its length where it is known.
local function open_gzip(mount, req, path, info)
   local ready, other = compressed_file(mount, path, info)
   if ready then return open_source(req, ready, 0, other.size), other.size end
   local source = open_source(req, path, 0, nil)
   if source then source.send = gzip.send_file end
   return source
end

-- One who asks for a part wants it of the file as it is.
local function wants_gzip(mount, req, headers)
   if not mount.gzip or headers["content-length"] < gzip.MIN_BYTES
      or not gzip.fits(headers["content-type"]) then
      return false
   end
   headers.vary = "Accept-Encoding"
   return not req:header "range" and gzip.accepted(req:header "accept-encoding")
end

local function answer_gzip(mount, req, path, info, headers)
   local source
   source, headers["content-length"] = open_gzip(mount, req, path, info)
   if not source then return 403, nil, "Forbidden\n" end
   headers["content-encoding"], headers["accept-ranges"] = "gzip", nil
   return 200, headers, source
end

local function answer_file(mount, req, path, info)
   local mtime = info.mtime // 1 | 0
   local etag = ('"%x-%x"'):format(info.size, mtime)
   local modified = date.format(mtime)
   local headers = headers_for(mount, path, info, etag, modified)
   if not is_meant(req, etag, mtime) then return 412, nil, "Precondition Failed\n" end
   local packed = wants_gzip(mount, req, headers)
   if packed then headers.etag = gzip.weak(etag) end
   if not_modified(req, etag, mtime) then
      headers["content-length"] = nil
      return 304, headers
   end
   if packed then return answer_gzip(mount, req, path, info, headers) end
   local from, to = wanted_range(req, info.size, etag, modified)
   local status = 200
   if from == false then
      return 416, { ["content-range"] = ("bytes */%d"):format(info.size) }, "no such range\n"
   elseif from then
      status = 206
      headers["content-range"] = ("bytes %d-%d/%d"):format(from, to, info.size)
      headers["content-length"] = to - from + 1
   end
   local source = open_source(req, path, from or 0, headers["content-length"])
   if not source then return 403, nil, "Forbidden\n" end
   return status, headers, source
end

local function redirect(req, path)
   local query = req.query and "?" .. req.query or ""
   return 301, { location = path .. "/" .. query }, "Moved Permanently\n"
end

--- Answers a request whose path has the mount's prefix: status, headers, body.
function static.answer(mount, req, path)
   if req.method ~= "GET" and req.method ~= "HEAD" then
      return 405, { allow = "GET, HEAD, OPTIONS" }, "Method Not Allowed\n"
   end
   local file, info = find_file(mount, path:sub(#mount.prefix + 1))
   if file then return answer_file(mount, req, file, info) end
   if info == 301 then return redirect(req, path) end
   return info, nil, response.reasons[info] .. "\n"
end

--- A mount of options that were checked; raises for the user when dir is none.
function static.mount(prefix, dir, opts, level)
   local root, why = core.realpath(dir)
   if not root or core.stat(root).type ~= "directory" then
      error(("app:static: %s: %s"):format(dir, why or "not a directory"), level + 1)
   end
   return { prefix = prefix:gsub("/+$", ""), root = root, index = opts.index,
      max_age = opts.max_age, hidden = opts.hidden, gzip = opts.gzip }
end

return static
