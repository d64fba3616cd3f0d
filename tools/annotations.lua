-- Reads a LuaLS `---@meta` file into sections, for make-docs and check-docs.
--
-- annotations.read(path) -> { intro = {line...}, sections = {section...} }
-- section: { kind = "class"|"alias", name, parents = {name...}, text = {line...},
--            fields = {item...}, functions = {item...}, choices = {item...} }
-- A function item has name, title (as one calls it), text, params, returns, overloads;
-- every other item has name, type, optional, text.

local annotations = {}

local CLOSER = { ["("] = ")", ["["] = "]", ["{"] = "}", ["<"] = ">" }

-- Where the balanced bracket, quoted text or word that begins at i ends.
local function skip_term(s, i)
   local c = s:sub(i, i)
   if c == '"' or c == "'" or c == "`" then
      return (s:find(c, i + 1, true) or #s) + 1
   elseif CLOSER[c] then
      local depth, j = 0, i
      repeat
         local d = s:sub(j, j)
         if d == '"' or d == "'" then
            j = s:find(d, j + 1, true) or #s
         elseif CLOSER[d] then
            depth = depth + 1
         elseif d:find "[%)%]}>]" then
            depth = depth - 1
         end
         j = j + 1
      until depth == 0 or j > #s
      return j
   end
   local _, last = s:find("^[%w_.*-]+", i)
   return (last or i) + 1
end

-- A term with what is glued to it: weft.Code?, string[], table<string, any>, fun(x: any)
local function skip_terms(s, i)
   i = skip_term(s, i)
   while s:find("^[%[<({?]", i) do
      i = s:sub(i, i) == "?" and i + 1 or skip_term(s, i)
   end
   return i
end

-- Splits "type rest". A type may be a union, and a function type may list its results.
local function split_type(s)
   local i, is_function, more, _ = 1, false, 0, nil
   while more and i <= #s do
      is_function = is_function or s:find("^fun%f[%W]", i) ~= nil
      i = skip_terms(s, i)
      _, more = s:find(is_function and "^%s*[:|,]%s*" or "^%s*|%s*", i)
      i = more and more + 1 or i
   end
   return s:sub(1, i - 1), (s:sub(i):gsub("^%s+", ""))
end

local function plain(description)
   return (description:gsub("^%s*#%s*", ""):gsub("^%s*%-%-%s*", ""):gsub("%s+$", ""))
end

-- "name? type description"
local function read_named(rest)
   local name, optional, tail = rest:match "^(%S-)(%??)%s+(.*)$"
   if not name then
      return { name = rest, type = "any", text = {} }
   end
   local kind, description = split_type(tail)
   description = plain(description)
   return { name = name, optional = optional == "?", type = kind,
      text = description ~= "" and { description } or {} }
end

-- "type name description", "type # description"
local function read_return(rest)
   local kind, tail = split_type(rest)
   local name
   if not tail:find "^#" then
      name, tail = tail:match "^(%S*)%s*(.*)$"
      name = name ~= "" and name or nil
   end
   local description = plain(tail)
   return { name = name, type = kind, text = description ~= "" and { description } or {} }
end

-- `| "text" # what it means`
local function read_choice(rest)
   local kind, description = split_type((rest:gsub("^[>+]%s*", "")))
   return { name = kind, type = kind, text = { plain(description) } }
end

local READ = {}

function READ.param(block, rest)
   block.params[#block.params + 1] = read_named(rest)
end

READ["return"] = function(block, rest)
   block.returns[#block.returns + 1] = read_return(rest)
end

function READ.field(block, rest)
   rest = rest:gsub("^public%s+", "")
   if rest:find "^private%s" or rest:find "^protected%s" or rest:find "^package%s" then
      return
   end
   local field = read_named(rest)
   table.move(block.loose, 1, #block.loose, #field.text + 1, field.text)
   block.loose = {}
   block.fields[#block.fields + 1] = field
end

function READ.class(block, rest)
   local name, parents = rest:gsub("^%(%w+%)%s*", ""):match "^([%w_.*]+)%s*:?%s*(.*)$"
   block.class = name
   for parent in parents:gmatch "[%w_.]+" do
      block.parents[#block.parents + 1] = parent
   end
end

function READ.alias(block, rest)
   local name, kind = rest:match "^(%S+)%s*(.*)$"
   block.alias = name
   local first, description = split_type(kind)
   block.type = first ~= "" and first or nil
   if plain(description) ~= "" then
      block.text[#block.text + 1] = plain(description)
   end
end

function READ.overload(block, rest)
   block.overloads[#block.overloads + 1] = rest
end

function READ.deprecated(block)
   block.text[#block.text + 1] = "Deprecated."
end

function READ.type(block, rest)
   local kind, description = split_type(rest)
   block.type = kind
   if plain(description) ~= "" then
      block.text[#block.text + 1] = plain(description)
   end
end

function READ.meta(block)
   block.meta = true
end

local function new_block()
   return { text = {}, loose = {}, params = {}, returns = {}, fields = {}, parents = {},
      overloads = {}, choices = {} }
end

local function add_line(block, line)
   local tag, rest = line:match "^%s*@(%w+)%s*(.*)$"
   if tag then
      if READ[tag] then
         READ[tag](block, rest)
      end
   elseif line:find "^%s*|" then
      block.choices[#block.choices + 1] = read_choice(line:match "^%s*|%s*(.*)$")
   else
      -- After @class a text belongs to the @field that follows, before it to the class.
      local into = block.class and block.loose or block.text
      into[#into + 1] = (line:gsub("^%s", ""))
   end
end

-- Several @class or @alias may stand in one comment block; each is a block of its own.
local function starts_section(line)
   return line:find "^%s*@class" or line:find "^%s*@alias"
end

local function blocks_of(path)
   local blocks, block = {}, nil
   local function finish(code)
      if block then
         block.code = code
         table.move(block.loose, 1, #block.loose, #block.text + 1, block.text)
         blocks[#blocks + 1] = block
      elseif code then
         blocks[#blocks + 1] = new_block()
         blocks[#blocks].code = code
      end
      block = nil
   end
   for line in io.lines(path) do
      local comment = line:match "^%s*%-%-%-(.*)$"
      if comment then
         if block and starts_section(comment) and (block.class or block.alias) then
            local carried = block.loose
            block.loose = {}
            finish()
            block = new_block()
            block.text = carried
         end
         block = block or new_block()
         add_line(block, comment)
      elseif line:find "^%s*$" then
         finish()
      elseif not line:find "^%s*%-%-" then
         finish(line)
      end
   end
   finish()
   return blocks
end

local function title_of(owner, separator, name, block, arguments)
   local optional = {}
   for _, param in ipairs(block.params) do
      optional[param.name] = param.optional
   end
   local shown = {}
   for argument in arguments:gmatch "[%w_.]+" do
      shown[#shown + 1] = argument .. (optional[argument] and "?" or "")
   end
   return (owner and owner .. separator or "") .. name .. "(" .. table.concat(shown, ", ") .. ")"
end

-- Sorts a block into its section. `vars` tells which class a variable stands for.
local function place(block, doc, vars, by_name)
   local code = block.code or ""
   if block.meta then
      table.move(block.text, 1, #block.text, #doc.intro + 1, doc.intro)
      block.text = {}
   end
   if block.class or block.alias then
      local section = { kind = block.class and "class" or "alias",
         name = block.class or block.alias, parents = block.parents, text = block.text,
         type = block.type, fields = block.fields, functions = {}, choices = block.choices,
         overloads = block.overloads }
      doc.sections[#doc.sections + 1] = section
      by_name[section.name] = section
      local var = block.class and (code:match "^%s*local%s+([%w_]+)%s*=" or
         code:match "^%s*([%w_.]+)%s*=")
      if var then
         vars[var] = section
      end
      return
   end
   local owner, separator, name, arguments =
      code:match "^%s*function%s+([%w_.]-)([.:])([%w_]+)%s*%(([^)]*)%)"
   if not owner then
      owner, name, arguments = code:match "^%s*([%w_.]+)%.([%w_]+)%s*=%s*function%s*%(([^)]*)%)"
      separator = "."
   end
   local section = owner and (vars[owner] or by_name[owner])
   if section then
      section.functions[#section.functions + 1] = { name = name, text = block.text,
         title = title_of(owner, separator, name, block, arguments), params = block.params,
         returns = block.returns, overloads = block.overloads, choices = block.choices }
      return
   end
   owner, name = code:match "^%s*([%w_.]+)%.([%w_]+)%s*="
   section = owner and (vars[owner] or by_name[owner])
   if section then
      section.fields[#section.fields + 1] = { name = name, type = block.type or "any",
         text = block.text, optional = false }
   elseif code == "" and #block.text > 0 and not block.type then
      local last = doc.sections[#doc.sections]
      local into = last and last.text or doc.intro
      if #into > 0 then
         into[#into + 1] = ""
      end
      table.move(block.text, 1, #block.text, #into + 1, into)
   end
end

function annotations.read(path)
   local doc, vars, by_name = { intro = {}, sections = {} }, {}, {}
   for _, block in ipairs(blocks_of(path)) do
      place(block, doc, vars, by_name)
   end
   return doc
end

return annotations
