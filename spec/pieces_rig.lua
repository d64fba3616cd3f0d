-- For specs of messages in pieces.

local rig = {}

--- A text whose pieces must not end inside of a character.
rig.WORD = "hé € 𝄞."

--- One message: all of it, how many pieces, was it whole, its kind.
function rig.gather(ws, opts)
   local parts, whole, its = {}, false, nil
   for chunk, last, kind in ws:chunks(opts) do
      assert(chunk ~= "" or last, "an empty piece")
      assert(kind ~= "text" or utf8.len(chunk), "half a character")
      parts[#parts + 1], whole, its = chunk, last, kind
   end
   return table.concat(parts), #parts, whole, its
end

--- An event of JSON after the other, of n bytes or a few more.
function rig.sample(n)
   local parts, size, i = {}, 0, 0
   while size < n do
      i = i + 1
      parts[i] = ('{"id":%d,"v":%d,"name":"été €"},'):format(i, i * 7919 % 100003)
      size = size + #parts[i]
   end
   return table.concat(parts)
end

return rig
