-- select: LuaSocket's select over weft's sockets; a task of its own watches each of them
-- when there are several.

local channel = require "weft.channel"
local core = require "weft.core"
local sockets = require "weft.socket.object"

-- The socket behind an object: itself, or by its descriptor one that it stands for, as
-- protocol modules' own objects do.
local function socket_of(object)
   if sockets.is(object) then return object end
   local getfd = (type(object) == "table" or type(object) == "userdata") and object.getfd
   local socket = getfd and sockets.by_fd(getfd(object))
   if socket then return socket end
   error(("weft.socket.select: no socket of weft.socket: %s"):format(tostring(object)), 4)
end

-- { object=, socket=, write= } of both lists.
local function watched(receivers, senders)
   local list = {}
   local function add(objects, write)
      for _, object in ipairs(objects or {}) do
         list[#list + 1] = { object = object, socket = socket_of(object), write = write }
      end
   end
   add(receivers, false)
   add(senders, true)
   return list
end

-- True when it is ready within that time. What is closed is: whoever tries learns it.
local function await(one, timeout)
   local socket = one.socket
   if socket.closed then return true end
   if socket.class == "tcp{master}" or socket.class == "tcp{client}" and not socket.connected then
      return true -- there it fails at once
   end
   return core.ready(socket.native, one.write, timeout) == true
end

-- All that are ready, once the first is.
local function await_any(list, timeout)
   local ready = channel.new(#list)
   local tasks = {}
   for i, one in ipairs(list) do
      tasks[i] = core.spawn(function()
         if await(one, timeout) then ready:send(one) end
      end)
   end
   local found = {}
   local one = ready:receive(timeout)
   while one do
      found[#found + 1] = one
      one = ready:receive(0)
   end
   for _, task in ipairs(tasks) do task:cancel() end
   return found
end

local function await_list(list, timeout)
   if #list > 1 then return await_any(list, timeout) end
   if list[1] then return await(list[1], timeout) and list or {} end
   core.sleep(timeout or 0)
   return {}
end

-- In the order of the arguments, and by object.
local function collect(list, found)
   local sets = { [false] = {}, [true] = {} }
   local is_ready = {}
   for _, one in ipairs(found) do is_ready[one] = true end
   for _, one in ipairs(list) do
      local set = sets[one.write]
      if is_ready[one] then
         set[#set + 1] = one.object
         set[one.object] = #set
      end
   end
   return sets[false], sets[true], not found[1] and "timeout" or nil
end

--- select(receivers, senders [, timeout]) -> ready receivers, ready senders, nil | "timeout"
return function(receivers, senders, timeout)
   if timeout and timeout < 0 then timeout = nil end
   local list = watched(receivers, senders)
   return collect(list, await_list(list, timeout))
end
