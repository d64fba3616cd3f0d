-- publisher: app:publisher, where other programs publish by POST: a cron job or a page's script,
-- with curl.

local core = require "weft.core"
local limits = require "weft.limits"
local options = require "weft.options"
local topics = require "weft.topics"
local wire = require "weft.wire"

local publisher = {}

local MAX_DEPTH = 100
local MAX_EVENT, MAX_KEY = 64, 255

-- Every token is compared, so the time tells nothing of which one it was.
local function is_allowed(tokens, request)
   local given, good = request:bearer() or "", false
   for _, token in ipairs(tokens) do good = core.compare(given, token) or good end
   return good
end

local function unauthorized()
   return 401, { ["www-authenticate"] = 'Bearer realm="publish"' }, "Unauthorized\n"
end

-- { topic=, message=, kind=, event=, key= }, or nil, why: of each form a body may have.

local function raw_publication(request, topic)
   local body = assert(request:body())
   local binary = (request:header "content-type" or ""):lower():find "^application/octet%-stream"
   return { topic = topic, message = body, event = request:arg "event", key = request:arg "key",
      kind = (binary or not utf8.len(body)) and "binary" or "text" }
end

local function form_publication(request)
   local fields = assert(request:form())
   local message = fields.data or fields.message
   if not message then return nil, "data is missing" end
   return { topic = fields.topic, message = message, event = fields.event, key = fields.key }
end

-- data may be any JSON, which goes on as it came; message is text.
local function json_publication(request)
   local list, is_array = wire.read(assert(request:body()), MAX_DEPTH)
   if not list then return nil, is_array end
   if is_array or not list[1] then return nil, "not a JSON object" end
   local value, raw = list[1].value, list[1].raw
   local publication = { topic = value.topic, event = value.event, key = value.key }
   local data = value.data
   if data == nil then data = value.message end
   if type(data) == "string" then
      publication.message = data
   elseif raw.data then
      publication.message, publication.kind = raw.data, "json"
   else
      return nil, value.message == nil and "data is missing" or "message must be a string"
   end
   return publication
end

local function read(request)
   assert(request:args())
   local topic = request:arg "topic"
   if topic then return raw_publication(request, topic) end
   local kind = (request:header "content-type" or ""):match "^[^;%s]*":lower()
   if kind == "application/json" then return json_publication(request) end
   if kind == "application/x-www-form-urlencoded" or kind == "multipart/form-data" then
      return form_publication(request)
   end
   return nil, "the topic is missing: ?topic= with the message as body, JSON, or a form"
end

local function check_text(value, name, most)
   if value == nil or type(value) == "userdata" then return true end -- JSON's null
   if type(value) ~= "string" or value == "" or #value > most or value:find "%c"
      or not utf8.len(value) then
      return nil, ("%s must be a string of 1 to %d bytes without control characters"):format(
         name, most)
   end
   return true
end

local function check(app, publication)
   local ok, why = topics.check_name(app, publication.topic)
   if ok then ok, why = check_text(publication.event, "event", MAX_EVENT) end
   if ok then ok, why = check_text(publication.key, "key", MAX_KEY) end
   return ok, why
end

local function text_or_nil(value)
   return type(value) == "string" and value or nil
end

local function bad(why)
   return 400, nil, why .. "\n"
end

local function publish(app, request)
   local publication, why = read(request)
   if not publication then return bad(why) end
   local ok
   ok, why = check(app, publication)
   if not ok then return bad(why) end
   local topic, message = publication.topic, publication.message
   ok, why = topics.authorize_publish(app, request, topic, message)
   if not ok then return 403, nil, why .. "\n" end
   local n, epoch, offset = topics.send(app, topic, message, { kind = publication.kind,
      event = text_or_nil(publication.event), key = text_or_nil(publication.key) })
   if not n then return bad(epoch) end
   local body = epoch and ('{"reached":%d,"epoch":%s,"offset":%d}\n'):format(n,
      wire.quote(epoch), offset) or ('{"reached":%d}\n'):format(n)
   return 200, { ["content-type"] = "application/json" }, body
end

--- app:publisher(path, { token= })
function publisher.method(app, pattern, opts)
   opts = options.check(opts, limits.publisher, "app:publisher", 2,
      { max_body = app.limits.max_body })
   if not opts.token then
      error("app:publisher: the option token is needed; who knows it may publish", 2)
   end
   local tokens = type(opts.token) == "table" and opts.token or { opts.token }
   app.router:add("POST", pattern, { max_body = opts.max_body, handler = function(request)
      if not is_allowed(tokens, request) then return unauthorized() end
      return publish(app, request)
   end }, 2)
   return app
end

return publisher
