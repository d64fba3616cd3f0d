-- trim: a text without the spaces and tabs around it, in a time that grows with its length
-- alone. A pattern like "(.-)[ \t]*$" tries each run of spaces anew from each of its bytes: with
-- what a peer sends, that is a way to keep a server busy. Needs nothing.

--- trim(text) -> text
return function(text)
   local from = text:find "[^ \t]"
   return from and text:match("^.*[^ \t]", from) or ""
end
