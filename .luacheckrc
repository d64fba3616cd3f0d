std = "lua54"
max_line_length = 100
ignore = { "211/guard", "211/lifted" } -- <close> variables, which luacheck takes for unused
exclude_files = { "spec/node_modules", "**/node_modules", "build" }

-- Types only: declares functions without bodies.
files["lua/weft/meta.lua"] = { ignore = { "111", "112", "113", "122", "142", "143", "212", "241", "631" } }
files["spec"] = { std = "+busted", ignore = { "212/_.*" } }
files["rockspec"] = { std = "+rockspec" }
files["**/*.rockspec"] = { std = "+rockspec" }
