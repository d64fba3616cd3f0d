-- mime: the content type that belongs to a file's name. Data.

local text = {
   html = "text/html", htm = "text/html", css = "text/css", js = "text/javascript",
   mjs = "text/javascript", txt = "text/plain", md = "text/markdown", csv = "text/csv",
   xml = "text/xml", vtt = "text/vtt", ics = "text/calendar", lua = "text/plain",
   c = "text/plain", h = "text/plain", log = "text/plain",
}

local types = {
   json = "application/json", map = "application/json", jsonld = "application/ld+json",
   webmanifest = "application/manifest+json", wasm = "application/wasm",
   pdf = "application/pdf", zip = "application/zip", gz = "application/gzip",
   tar = "application/x-tar", rss = "application/rss+xml", atom = "application/atom+xml",
   xhtml = "application/xhtml+xml", rtf = "application/rtf", epub = "application/epub+zip",
   svg = "image/svg+xml", png = "image/png", jpg = "image/jpeg", jpeg = "image/jpeg",
   gif = "image/gif", webp = "image/webp", avif = "image/avif", ico = "image/x-icon",
   bmp = "image/bmp", tiff = "image/tiff", tif = "image/tiff", apng = "image/apng",
   mp3 = "audio/mpeg", ogg = "audio/ogg", oga = "audio/ogg", opus = "audio/ogg",
   wav = "audio/wav", flac = "audio/flac", m4a = "audio/mp4", aac = "audio/aac",
   weba = "audio/webm", mp4 = "video/mp4", m4v = "video/mp4", webm = "video/webm",
   ogv = "video/ogg", mov = "video/quicktime", mkv = "video/x-matroska",
   mpeg = "video/mpeg", ttf = "font/ttf", otf = "font/otf", woff = "font/woff",
   woff2 = "font/woff2",
}

for extension, name in pairs(text) do types[extension] = name .. "; charset=utf-8" end

--- The type for a file's name; bytes when nothing is known about it.
return function(name)
   local extension = name:match("%.(%w+)$")
   return extension and types[extension:lower()] or "application/octet-stream"
end
