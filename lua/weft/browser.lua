-- browser: what app:client serves: weft.js and its types, which lie in the directory browser
-- beside this file, wherever it is installed.

local core = require "weft.core"
local static = require "weft.static"

local browser = {}

local _, here = ... -- where require found this file
local DIR = (here or ""):gsub("%.lua$", "")

-- No type is registered for TypeScript, and ".ts" is a video's.
local TYPES = "text/plain; charset=utf-8"

local function answer_with(mount, name, content_type)
   return function(request)
      local status, headers, body = static.answer(mount, request, "/" .. name)
      if content_type and headers and headers["content-type"] then
         headers["content-type"] = content_type
      end
      return status, headers, body
   end
end

--- The handlers for the module and for its types. opts were checked; raises for the user when
-- the files are not there.
function browser.handlers(opts, where, level)
   if not core.stat(DIR .. "/weft.js") then
      error(("%s: weft.js is not installed: there is no %q"):format(where, DIR .. "/weft.js"),
         level + 1)
   end
   local mount = static.mount("", DIR, { max_age = opts.max_age }, level + 1)
   return answer_with(mount, "weft.js"), answer_with(mount, "weft.d.ts", TYPES)
end

return browser
