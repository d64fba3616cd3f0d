-- limits: every option that weft takes, with its type, unit, default and range.
-- Data only; options.lua checks against it, and a test holds meta.lua to it.

local checks = require "weft.checks"
local networks = require "weft.networks"
local options = require "weft.options"
local origin = require "weft.origin"
local proxy = require "weft.proxy"

local limits = {}

local DAY = 86400
local GIGABYTE = 1 << 30

local function bytes(default, min, max, text)
   return { type = "integer", unit = "bytes", default = default, min = min, max = max,
      text = text }
end

local function seconds(default, min, text)
   return { type = "number", unit = "seconds", default = default, min = min, max = DAY,
      text = text }
end

local function count(default, min, max, text)
   return { type = "integer", default = default, min = min, max = max, text = text }
end

local MODES = { dedicated = true, shared = true }

local WAYS = { wait = true, drop = true, close = true }

local function rate(max, text)
   return { type = "number", default = 0, min = 0, max = max, text = text }
end

local function compression_mode(v)
   return type(v) == "string" and checks.one_of(MODES)(v) or nil
end

local function window(text)
   return count(nil, 9, 15, text)
end

-- permessage-deflate (RFC 7692).
limits.compression = {
   mode = { type = "string", default = "dedicated", check = checks.one_of(MODES),
      text = "a compressor for each connection, or one for all that remembers no message" },
   window = window("bits of the window, both ways"),
   server_max_window_bits = window("the same of the server's messages"),
   client_max_window_bits = window("the same of the client's messages"),
   server_no_context_takeover = { type = "boolean", default = false,
      text = "the server's messages refer to none before them" },
   client_no_context_takeover = { type = "boolean", default = false,
      text = "the client's messages refer to none before them" },
   memlevel = count(5, 1, 9, "zlib's memLevel"),
   level = count(6, 0, 9, "zlib's level"),
   threshold = bytes(512, 0, GIGABYTE, "messages from this size on are compressed"),
   max_ratio = count(25, 1, 1032,
      "inflated to received bytes of a message above 64 KiB; 1009 beyond; deflate reaches 1032"),
}

-- What a WebSocket connection is held to, on either side.
limits.connection = {
   max_message = bytes(1 << 20, 1, GIGABYTE,
      "the biggest message taken; a bigger one closes the connection with 1009"),
   max_fragments = count(131072, 1, 1 << 24, "frames of one message"),
   max_empty_fragments = count(1024, 0, 1 << 24, "empty ones of these"),
   ping_interval = seconds(20, 0, "silence after which a ping is sent; 0: none"),
   ping_timeout = seconds(20, 0, "the time a peer has to answer a ping; 0: for ever"),
   close_timeout = seconds(5, 0.01, "the bound of the close handshake"),
   idle_timeout = seconds(0, 0, "the time without a message either way after which the "
      .. "connection is closed with 1001; 0: it may last"),
   send_timeout = seconds(30, 0.01, "the time that a send waits for a peer that takes nothing"),
   compression = { type = "boolean|string|table", default = false, check = compression_mode,
      text = "permessage-deflate (RFC 7692): true, \"dedicated\", \"shared\", or a table" },
   high_mark = bytes(64 << 10, 1, GIGABYTE, "queued output above which send waits"),
   low_mark = bytes(16 << 10, 0, GIGABYTE, "queued output below which send goes on"),
   hard_mark = bytes(1 << 20, 1, GIGABYTE,
      "queued output at which a subscriber is disconnected with 1013"),
   inbox_messages = count(16, 1, 1 << 20, "messages kept for a task that is busy"),
   inbox_bytes = bytes(256 << 10, 1, GIGABYTE, "bytes kept for a task that is busy"),
   message_rate = rate(1000000, "messages and pings taken a second; 0: no limit"),
   message_burst = rate(1000000, "how many at once; 0: those of a second"),
   byte_rate = rate(1 << 40, "bytes of messages taken a second; 0: no limit"),
   byte_burst = rate(1 << 40, "how many at once; 0: those of a second"),
   over_rate = { type = "string", default = "wait", check = checks.one_of(WAYS),
      text = 'what happens above: "wait" (reading stops), "drop", or "close" (1008)' },
}

-- A message that is taken in pieces is not kept, so what bounds the memory of others does
-- not bound it.
limits.chunks = {
   max_message = { type = "integer", unit = "bytes", min = 1,
      text = "the biggest message; 1009 beyond; by default there is no limit" },
   timeout = { type = "number", unit = "seconds", min = 0, max = DAY,
      text = "the longest wait for a piece; by default as long as it takes" },
}

-- What a request's head is held to.
limits.head = {
   max_line = bytes(4096, 64, 65535, "the request line; 414"),
   max_head = bytes(8192, 64, 65535, "the whole head; 431"),
   max_fields = count(64, 1, 64, "header fields; 400"),
}

limits.http = {
   handshake_timeout = seconds(10, 0.01, "from accept to the end of the first head, in all"),
   keepalive_timeout = seconds(75, 0.01, "waiting for the next request of a connection"),
   body_timeout = seconds(30, 0.01, "reading the whole body of a request; 408"),
   max_body = bytes(1 << 20, 0, GIGABYTE, "the body of a request; 413"),
}

limits.answers = {
   gzip = { type = "boolean", default = false,
      text = "compress the text that handlers return, for clients that take it" },
}

limits.server = {
   max_connections = count(100000, 1, 1 << 30, "open connections; 503 above"),
   max_connections_per_ip = count(0, 0, 1 << 30,
      "open connections of one address; 429 above; 0: no limit"),
   connection_rate = rate(1000000, "connections of one address a second; 429 above; 0: no limit"),
   connection_burst = rate(1000000, "how many at once; 0: those of a second"),
   request_rate = rate(1000000, "requests of one address a second; 0: no limit"),
   request_burst = rate(1000000, "how many at once; 0: those of a second"),
   over_request_rate = { type = "string", default = "refuse",
      check = checks.one_of { refuse = true, wait = true },
      text = 'what happens above: "refuse" (429), or "wait" (10 seconds at most)' },
   max_addresses = count(10000, 2, 1 << 24, "addresses whose rates are kept"),
}

limits.behind = {
   trusted_proxies = { type = "list", check = networks.check,
      text = 'proxies that are believed who their clients are: addresses, networks like '
      .. '"10.0.0.0/8", "unix:"; by default none' },
   forwarded = { type = "string", default = "x-forwarded",
      check = checks.one_of { ["x-forwarded"] = true, forwarded = true },
      text = "what these proxies set: X-Forwarded-For, -Proto and -Host, or Forwarded (RFC 7239)" },
}

local authorize_timeout = seconds(10, 0.01, "what authorize may wait; 503")

limits.handshake = {
   authorize_timeout = authorize_timeout,
   origins = { type = "list", check = origin.check,
      text = "origins let in beside the server's own host; "
      .. '"*" for all, "https://*.example.org" for subdomains' },
   protocols = { type = "list|function", check = checks.subprotocols,
      text = "subprotocols in order of preference, or function(offered, req) -> name" },
   authorize = { type = "function",
      text = "function(req) -> data | nil, status, headers, body" },
}

limits.route = {
   authorize_timeout = authorize_timeout,
   max_body = limits.http.max_body,
   gzip = limits.answers.gzip,
   authorize = { type = "function",
      text = "function(req) -> data, which is req.user | nil, status, headers, body" },
}

limits.publisher = {
   token = { type = "string|list", check = checks.tokens, secret = true,
      text = "what has to come as bearer token; several while one is being changed" },
   max_body = limits.http.max_body,
}

local SAME_SITE = { strict = true, lax = true, none = true }

limits.cookie = {
   path = { type = "string", check = checks.cookie_path, text = "the paths that get it back" },
   domain = { type = "string", check = checks.cookie_domain,
      text = "sent to this host and all below it; by default to this one only" },
   max_age = { type = "number", unit = "seconds", min = 0, max = 400 * DAY,
      text = "how long it is kept; 0: no longer; by default until the browser ends" },
   secure = { type = "boolean", text = "over TLS only" },
   http_only = { type = "boolean", text = "not for scripts of the page" },
   same_site = { type = "string", check = checks.one_of(SAME_SITE),
      text = "requests of other sites: \"strict\", \"lax\" or \"none\"" },
}

limits.session = options.merge(limits.cookie, {
   keys = { type = "list", check = checks.keys, secret = true,
      text = "the first signs, all are good: older ones behind it" },
   name = { type = "string", default = "session", text = "the cookie's" },
   path = { type = "string", default = "/", check = checks.cookie_path,
      text = "the paths that get it back" },
   max_age = { type = "number", unit = "seconds", default = 14 * DAY, min = 1, max = 400 * DAY,
      text = "until it expires; saving it again begins anew" },
   secure = { type = "boolean", default = true, text = "over TLS only" },
   http_only = { type = "boolean", default = true, text = "not for scripts of the page" },
   same_site = { type = "string", default = "lax", check = checks.one_of(SAME_SITE),
      text = "requests of other sites: \"strict\", \"lax\" or \"none\"" },
})

limits.cors = {
   origins = { type = "list", check = origin.check, text = 'whose pages may; by default all' },
   methods = { type = "list", check = checks.methods, text = "which methods" },
   headers = { type = "list", check = checks.headers,
      text = "which request fields; by default those that are asked for" },
   expose = { type = "list", check = checks.headers,
      text = "which fields of answers scripts may read" },
   credentials = { type = "boolean", default = false, text = "with cookies and passwords" },
   max_age = { type = "number", unit = "seconds", default = 600, min = 0, max = DAY,
      text = "how long a browser need not ask again" },
}

limits.events = {
   heartbeat = seconds(15, 0, "quiet after which a comment is sent; 0: none"),
   retry = seconds(nil, 0, "told at the start: the time until a client comes back"),
   authorize = limits.handshake.authorize,
   authorize_timeout = authorize_timeout,
}

limits.none = {}

-- Of an app's topics as a whole.
limits.board = {
   max_topics_per_connection = count(100, 0, 1 << 30,
      "names and patterns that one connection is subscribed to"),
   max_topic_name = bytes(255, 1, 255, "a topic's name"),
   max_history_topics = count(10000, 1, 1 << 30,
      "topics whose history is kept; the least recently used goes"),
   max_history_bytes = bytes(64 << 20, 1, 1 << 40, "what all histories may hold"),
}

local POLICIES = { disconnect = true, drop_oldest = true, drop_newest = true, latest = true }

limits.history = {
   size = count(100, 1, 1 << 20, "messages kept of a topic"),
   ttl = seconds(300, 0.001, "how long each is kept"),
   bytes = bytes(1 << 20, 1, GIGABYTE, "what they may hold in all"),
}

limits.presence = {
   grace = seconds(10, 0, "how long who has gone may take to come back unnoticed"),
   max = count(1000, 1, 1 << 20, "how many may be present on a topic"),
   on_change = { type = "function",
      text = 'function(topic, "join" or "leave" or "update", user), which must not wait' },
}

-- Options of topics have no defaults here: what one pattern leaves out another may give.
limits.topic = {
   policy = { type = "string", check = checks.one_of(POLICIES),
      text = "what happens to a subscriber that is too slow" },
   max_pending = bytes(nil, 1, GIGABYTE, "what may wait for one subscriber"),
   max_pending_messages = count(nil, 1, 1 << 20, "how many of them"),
   notice = { type = "boolean", text = "tell a subscriber that it missed something" },
   history = { type = "boolean|table", text = "keep messages: true, or { size=, ttl=, bytes= }" },
   presence = { type = "boolean|table", text = "who is there: true, or { grace=, max= }" },
   max_subscribers = count(nil, 0, 1 << 30, "of each topic that matches"),
   authorize_subscribe = { type = "function",
      text = "function(ws, topic, params) -> true | nil, message" },
   authorize_publish = { type = "function",
      text = "function(ws, topic, message) -> true | nil, message" },
}

limits.listening = {
   since = { type = "table", text = "{ epoch=, offset= }: begin with what was missed after it" },
   policy = limits.topic.policy,
   max_pending = limits.topic.max_pending,
   max_pending_messages = limits.topic.max_pending_messages,
}

limits.publish = {
   kind = { type = "string", check = checks.one_of { text = true, binary = true },
      text = "of the message" },
   except = { type = "userdata", check = checks.websocket,
      text = "a websocket that does not get it" },
   key = { type = "string", text = "what the message is the newest value of" },
   event = { type = "string", check = checks.event_name, text = "a name for what happened" },
   history = { type = "boolean", text = "false: not kept" },
   compress = { type = "boolean", text = "instead of what its size says" },
}

limits.subscribe = {
   since = { type = "table", text = "{ epoch=, offset= }: send what was missed after it" },
   params = { type = "table", text = "for authorize_subscribe" },
   presence = { type = "table", text = "{ id=, data= }: who it is on the topic" },
}

limits.member = {
   id = { type = "string|number", text = "the user's: of 1 to 255 bytes of UTF-8" },
   data = { type = "table|string|number|boolean", text = "what others see of the user" },
}

-- Of one channel; what is not about clients is passed on to the topics.
limits.channel = {
   join = { type = "function",
      text = "function(ctx, topic, params) -> true or data | nil, code, message" },
   leave = { type = "function", text = "function(ctx, topic)" },
   receive = { type = "function|boolean",
      text = "function(ctx, topic, data, event) -> true or data [, opts] | nil, code, message" },
   call = { type = "function|table",
      text = "function(ctx, topic, method, data) -> result | nil, code, message; "
      .. "or functions(ctx, topic, data) by method" },
   user = { type = "function", text = "function(ctx, topic, params) -> id, data" },
   history = limits.topic.history, presence = limits.topic.presence,
   policy = limits.topic.policy, max_pending = limits.topic.max_pending,
   max_pending_messages = limits.topic.max_pending_messages, notice = limits.topic.notice,
   max_subscribers = limits.topic.max_subscribers,
}

-- Of the endpoint of channels.
limits.channels = options.merge(limits.connection, {
   origins = limits.handshake.origins, authorize = limits.handshake.authorize,
   max_depth = count(32, 2, 100, "arrays and objects in each other"),
   max_in_flight = count(32, 1, 1 << 16, "requests of one client under way"),
   hook_timeout = seconds(10, 0.01, "what one hook may wait"),
   fallback = { type = "boolean", default = true, text = "Server-Sent Events and POST, too" },
   max_sessions = count(1000, 1, 1 << 30, "clients by these; 503 above"),
   session_timeout = seconds(150, 0.1, "the time in which such a client has to say something"),
   heartbeat = limits.events.heartbeat,
})

limits.push = { event = limits.publish.event }

limits.read_history = {
   since = limits.subscribe.since,
   limit = count(100, 1, 1 << 20, "how many of the newest, without since"),
}

limits.websocket_route = options.merge(limits.connection, limits.handshake)
limits.app = options.merge(limits.connection, limits.handshake, limits.head, limits.http,
   limits.answers, limits.server, limits.board, limits.behind)

local VERSIONS = { ["1.2"] = true, ["1.3"] = true }

limits.certificate = {
   cert = { type = "string", text = "certificate and chain: a file, or PEM text itself" },
   key = { type = "string", text = "its key, likewise; by default in the file of cert" },
}

limits.tls = options.merge(limits.certificate, {
   certificates = { type = "table", check = checks.certificates,
      text = "a server's, chosen by name: { { cert=, key= }, ... }" },
   key_password = { type = "string", text = "of encrypted keys" },
   ca = { type = "string",
      text = "whom to trust: a file, a directory or PEM text; by default the system's store" },
   verify = { type = "boolean", default = true,
      text = "a client: check the server's chain and host name" },
   client_cert = { type = "string", default = "none",
      check = checks.one_of { none = true, request = true, require = true },
      text = "a server: ask clients for a certificate of ca" },
   server_name = { type = "string", check = checks.host,
      text = "a client: the host to ask for and to verify instead of the URL's" },
   alpn = { type = "list", check = checks.alpn, text = "protocols, the preferred first" },
   min_version = { type = "string", default = "1.2", check = checks.one_of(VERSIONS),
      text = "the oldest version of TLS" },
   max_version = { type = "string", check = checks.one_of(VERSIONS), text = "the newest" },
   ciphers = { type = "string", text = "of TLS 1.2, as OpenSSL names them" },
   ciphersuites = { type = "string", text = "of TLS 1.3" },
   resumption = { type = "boolean", default = true, text = "resume sessions" },
   ktls = { type = "boolean", default = false, text = "records by the kernel where it can" },
   handshake_timeout = seconds(10, 0.01, "for weft.listen and stream:starttls"),
   on_failure = { type = "function",
      text = "function(message, ip): an app's, told of handshakes that failed" },
})

local tls_option = { type = "table", text = "options of TLS, or a context of weft.tls" }

-- RFC 8305 5: never less than 10 ms; 250 ms are recommended, and 2 s the most.
local attempt_delay = { type = "number", unit = "seconds", default = 0.25, min = 0.01, max = 2,
   text = "the time an address has before the next one is tried beside it (RFC 8305)" }

local function proxies(default, text)
   return {
      proxy = { type = "string|boolean", default = default, check = proxy.check, text = text
         .. '"http://user:password@host:port", https, socks5 or socks5h (names looked up '
         .. "there); false: none" },
      proxy_tls = { type = "table", text = "of the connection to an https proxy: options of "
         .. "TLS, or a context of weft.tls" },
   }
end

local from_environment = proxies(true, "true: as http_proxy, https_proxy, all_proxy and "
   .. "no_proxy of the environment say; else ")

limits.listen = {
   mode = { type = "string", check = checks.permissions,
      text = "the permissions of a unix socket, in octal; by default as the umask has them" },
   tls = tls_option,
   backlog = count(511, 1, 65535, "connections the kernel keeps until they are accepted"),
   reuseport = { type = "boolean", default = false,
      text = "let several processes listen there (SO_REUSEPORT)" },
}

limits.app_listen = options.merge(limits.listen, {
   proxy_protocol = { type = "boolean|list", default = false, check = networks.check,
      text = "connections begin with the PROXY protocol, version 1 or 2; a list: and come from "
      .. "these addresses and networks" },
})

limits.dial = options.merge(proxies(false, "true: as all_proxy and no_proxy of the environment "
   .. "say; else "), {
   attempt_delay = attempt_delay,
   timeout = seconds(10, 0.01, "looking up, connecting and TLS, in all"),
   tls = tls_option,
})

limits.connect = options.merge(limits.connection, limits.head, from_environment, {
   protocols = { type = "string|list", check = function(v)
      return checks.subprotocols(type(v) == "string" and { v } or v)
   end, text = "subprotocols to offer, the preferred first" },
   headers = { type = "table", text = "more header fields of the request" },
   timeout = seconds(10, 0.01, "looking up, connecting and the handshake, in all"),
   max_redirects = count(0, 0, 20, "redirects followed; 0: none"),
   attempt_delay = attempt_delay,
   tls = tls_option,
})

limits.reconnect = options.merge(limits.connect, {
   min_delay = seconds(0.5, 0.001, "the least time between two attempts"),
   max_delay = seconds(30, 0.001, "the longest"),
   stable_after = seconds(5, 0, "a connection that lasted so long forgets the failures before it"),
   max_attempts = count(0, 0, 1 << 30, "failures in a row until it gives up; 0: never"),
   stop_on = { type = "table|function", check = checks.reasons_to_stop,
      text = "close codes, statuses and codes that end the loop, or function(why) -> boolean" },
   on_retry = { type = "function", text = "function(why), before each wait" },
   on_stop = { type = "function", text = "function(why), when the loop ends by itself" },
})

-- Of a client of channels: it has one subprotocol.
limits.channel_client = options.merge(limits.reconnect, {
   request_timeout = seconds(10, 0.001, "until a request is answered, the time offline included"),
   max_queue = count(1000, 1, 1 << 24, "requests that wait to be sent"),
   max_buffer = count(10000, 1, 1 << 24, "what a room keeps until a task takes it"),
})
limits.channel_client.protocols = nil

limits.drain = {
   timeout = seconds(30, 0, "what has not ended by itself then is cut off"),
   code = { type = "integer", default = 1012, min = 1000, max = 4999, check = checks.close_code,
      text = "what WebSockets are closed with: service restart, unless told otherwise" },
   reason = { type = "string", default = "service restart", check = checks.close_reason,
      text = "the reason beside it, for people" },
   batch = count(1000, 1, GIGABYTE, "WebSockets and streams of events that are asked to go "
      .. "at a time; more where half of timeout would not do for all"),
   interval = seconds(1, 0.01, "between two batches"),
}

limits.room_publish = {
   event = limits.publish.event,
   timeout = { type = "number", unit = "seconds", min = 0, max = DAY,
      text = "until it is answered; by default request_timeout" },
   wait = { type = "boolean", default = true, text = "false: no answer is asked for" },
}

-- What a client holds an answer of HTTP to. Servers may send longer heads than browsers do.
limits.request = options.merge(limits.head, from_environment, {
   max_head = bytes(32 << 10, 64, 65535, "the head of the answer"),
   method = { type = "string", default = "GET", check = checks.method, text = "in capitals" },
   headers = { type = "table", text = "more header fields of the request" },
   body = { type = "string|function",
      text = "the content, or an iterator of its pieces (then nil, trailers)" },
   stream = { type = "boolean", default = false,
      text = "come back with the head; the body is read piece by piece" },
   timeout = seconds(30, 0.01, "all of it; with stream, until the head is there"),
   connect_timeout = seconds(10, 0.01, "looking up and connecting"),
   attempt_delay = attempt_delay,
   idle_timeout = seconds(30, 0.01, "the longest that nothing moves in either direction"),
   max_body = bytes(16 << 20, 0, GIGABYTE, "the body, decoded, unless it is streamed"),
   max_ratio = count(100, 1, 1 << 20, "how many times its size a body may inflate to"),
   max_redirects = count(10, 0, 20, "redirects followed; 0: none"),
   compression = { type = "boolean", default = true,
      text = "offer gzip and deflate, but not with a Range, and undo them" },
   keepalive = seconds(30, 0, "how long the connection is kept for another request; 0: not"),
   max_idle = count(64, 0, 65536, "connections kept in all"),
   tls = tls_option,
   max_idle_per_origin = count(8, 0, 65536, "connections kept for the same origin"),
})

limits.client_files = {
   max_age = { type = "number", unit = "seconds", default = 0, min = 0, max = 366 * DAY,
      text = "Cache-Control; 0: ask again each time (no-cache)" },
}

limits.static = {
   index = { type = "string", default = "index.html", text = "what a directory answers with" },
   max_age = { type = "number", unit = "seconds", default = 0, min = 0, max = 366 * DAY,
      text = "Cache-Control; 0: ask again each time (no-cache)" },
   hidden = { type = "boolean", default = false,
      text = "serve names that begin with a dot too" },
   gzip = { type = "boolean", default = true, text = "compress text for clients that take it" },
}

return limits
