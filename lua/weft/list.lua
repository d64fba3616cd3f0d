-- list: a doubly linked list of tables, each in one list at most, which it can leave in
-- constant time. The links are the members' own fields `next` and `prev`. Needs nothing.

local list = {}

--- An empty list: a ring with a head that is no member.
function list.new()
   local head = {}
   head.next, head.prev = head, head
   return head
end

--- Adds a member at the end.
function list.push(head, member)
   member.prev, member.next = head.prev, head
   head.prev.next, head.prev = member, member
end

--- Takes a member out of the list it is in, if it is in one.
function list.remove(member)
   if not member.next then return end
   member.prev.next, member.next.prev = member.next, member.prev
   member.next, member.prev = nil, nil
end

--- The first member, or nil.
function list.first(head)
   local member = head.next
   if member ~= head then return member end
end

--- Takes the first member out: it, or nil.
function list.pop(head)
   local member = list.first(head)
   if member then list.remove(member) end
   return member
end

return list
