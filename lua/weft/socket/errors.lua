-- errors: weft's codes in the words that LuaSocket's users compare with.

local errors = { no_service = "service not supported for socket type" }

local words = {
   closed = "closed", timeout = "timeout", refused = "connection refused",
   resolve = "host or service not provided, or not known", nomem = "Cannot allocate memory",
}

--- The message for a code, and weft's own message where LuaSocket has the system's.
function errors.text(code, message)
   if words[code] then return words[code] end
   if message:find("address already in use", 1, true) then return "address already in use" end
   local system = message:match(": ([^:]+)$") or message
   return system == "Permission denied" and "permission denied" or system
end

return errors
