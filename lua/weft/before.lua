-- before: what runs before routes: app:before, and app:cors which is one of these.

local core = require "weft.core"
local options = require "weft.options"
local router = require "weft.router"

local before = {}

-- A path as segments, decoded as the router does it, so that no escape gets past a hook.
local function segments_of(path)
   local segments = router.split(path)
   for i, segment in ipairs(segments) do
      segments[i] = router.decode(segment)
      if not segments[i] then return nil end
   end
   return segments
end

--- Adds a hook for a path and all below it; path nil: for all.
function before.add(app, f, path, where, level)
   options.argument(f, "function", "the hook", where, level + 1)
   local prefix
   if path ~= nil then
      options.argument(path, "string", "the path", where, level + 1)
      if path:sub(1, 1) ~= "/" then
         error(('%s: the path must begin with "/", got %q'):format(where, path), level + 1)
      end
      prefix = segments_of((path:gsub("/+$", "")))
      if not prefix then error(("%s: a malformed path %q"):format(where, path), level + 1) end
      if not prefix[1] then prefix = nil end
   end
   app.hooks[#app.hooks + 1] = { f = f, prefix = prefix }
end

local function is_below(segments, prefix)
   for i, segment in ipairs(prefix) do
      if segments[i] ~= segment then return false end
   end
   return true
end

--- Runs the hooks in their order; the first that returns a status answers: status, headers,
-- body. Malformed paths are refused elsewhere; no hook is asked for them.
function before.run(app, request, path)
   local segments
   for _, hook in ipairs(app.hooks) do
      local prefix = hook.prefix
      if prefix then segments = segments or segments_of(path) or {} end
      if not prefix or is_below(segments, prefix) then
         local status, headers, body = hook.f(request)
         if status ~= nil then return status, headers, body end
      end
   end
end

--- app:before(f [, path])
function before.method(app, f, path)
   before.add(app, f, path, "app:before", 2)
   return app
end

core.methods.request.set_header = require "weft.response".set_header

return before
