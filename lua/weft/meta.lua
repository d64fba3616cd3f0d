---@meta weft

--- Times are seconds, sizes are bytes. What goes wrong outside of the script comes back as
--- `nil, message, code`, with a code of `weft.code`; a call that cannot be right raises an error
--- at the line that made it. Every handle has `close()`, can be a `<close>` variable, and
--- `tostring` names its peer. A call that waits suspends its own task and nobody else.
---
--- Called on the main Lua thread outside `weft.run`, a waiting call runs the loop until it is
--- done. Inside a coroutine that is not a task it raises an error that names `weft.spawn`.

--- What went wrong, for programs.
---@alias weft.Code
---| "closed" # the connection, channel or listener is closed
---| "timeout" # the time given for the operation ran out
---| "cancelled" # the task was cancelled
---| "busy" # another task already waits there, or the address is in use
---| "refused" # the peer refused the connection or the upgrade
---| "resolve" # the name has no address, or the address is malformed
---| "tls" # TLS failed, or is not available
---| "handshake" # the peer's HTTP or WebSocket handshake was not valid
---| "protocol" # the peer broke the WebSocket or HTTP protocol
---| "utf8" # a text message or close reason is not UTF-8
---| "too_big" # a message, head or body is over its limit
---| "system" # the operating system reported an error
---| "nomem" # memory could not be allocated

--- The type of a WebSocket message (RFC 6455 5.6).
---@alias weft.Kind
---| "text" # UTF-8, checked both ways
---| "binary" # any bytes

---@class weft
---@field version string the version of weft
---@field http weft.http the HTTP client
---@field code table<string, weft.Code> `weft.code.timeout == "timeout"`; an unknown name raises
---@field on_error? fun(task: weft.task, message: string) called with a failed task and its message with traceback; nil, the default, writes them to stderr. A task that somebody joins at that moment fails there instead.
local weft = {}

--- Runs `main` as a task, and the loop until no task and no server is left. Without `main` it
--- runs what was spawned before. Raises main's error again.
---@param main? fun(...): ... the first task's function
---@param ... any its arguments
---@return any ... what main returned
function weft.run(main, ...) end

--- Starts a task: a coroutine that may wait. It begins to run when the present one waits
--- or ends, behind those that are ready already.
---@param f fun(...): ... its function
---@param ... any its arguments
---@return weft.task
function weft.spawn(f, ...) end

--- Structured concurrency: calls `f(g)` and leaves when it and every task started by
--- `g:spawn` have ended. The first that fails cancels the others, and its error is raised here
--- once they are gone. When the calling task is cancelled or its deadline passes, all of them are
--- cancelled and waited for.
---@param f fun(g: weft.group): ... the body; a task of its own
---@return any ... what f returned; nil, "cancelled", "cancelled" where `g:cancel()` ended it before; nil, message, "timeout" after a deadline
function weft.group(f) end

--- Waits.
---@param s number seconds, 0 or more
---@return true? ok
---@return string? message
---@return weft.Code? code "timeout" when an enclosing deadline ended it first
function weft.sleep(s) end

--- The time of a clock that never jumps, in seconds; cached for one turn of the loop.
---@return number seconds
function weft.now() end

--- Calls `f(...)`; everything that waits inside, in this task, ends with "timeout" `s` seconds
--- from now. An earlier enclosing deadline stays.
---@param s number seconds
---@param f fun(...): ...
---@param ... any arguments of f
---@return any ... what f returned
function weft.deadline(s, f, ...) end

--- A channel between tasks.
---@param capacity? integer values it keeps, default 0, 0 or more: with 0 a sender waits for a receiver
---@return weft.channel
function weft.channel(capacity) end

--- Waits for a signal. From the first wait on it stays caught, so that none is lost between two waits.
---@param name string "TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH", ...; an unknown one raises
---@return true? ok
---@return string? message
---@return weft.Code? code
function weft.signal(name) end

--- A fresh TCP socket, neither connected nor bound.
---@return weft.tcp
function weft.tcp() end

--- A fresh UDP socket.
---@param family? "inet"|"inet6" by default that of the first address it is used with; bound to "*" it is both
---@return weft.udp
function weft.udp(family) end

--- Standard input as a stream that can only be received from.
---@return weft.stream? stream
---@return string? message
---@return weft.Code? code "closed" where there is none
function weft.stdin() end

--- Compiles options of TLS once, for use as the option `tls` as often as one likes.
---@param opts weft.TlsOptions
---@param role? "client"|"server" default "client"
---@return weft.tls? context
---@return string? message says which file or name is at fault
---@return weft.Code? code "tls"
function weft.tls(opts, role) end

--- Looks a name up and connects to the first of its addresses that answers: both families take
--- turns, and an address that is silent gets company after `attempt_delay` (RFC 8305).
---@param address string "host:port", "[::1]:port", "tls://host:port", "unix:/path", or "unix:@name" in Linux's abstract namespace
---@param opts? weft.DialOptions
---@return weft.stream? stream
---@return string? message names the address and what was tried
---@return weft.Code? code "resolve", "refused", "timeout", "tls", "system"; of a proxy's answer also "closed", "protocol", "too_big"
function weft.dial(address, opts) end

--- A socket that listens.
---@param address string ":port" is every address of the machine, IPv6 and IPv4; "host:port"; "[::1]:port"; "tls://" before it. Port 0 takes a free one. "unix:/path" or "unix:@name": a socket file where nobody listens any more is replaced, any other file is not, and closing removes the one that was made. "fd:3" is a descriptor that listens already, "systemd:" the next socket that a service manager handed over (sd_listen_fds), "systemd:name" the next of that name
---@param opts? weft.ListenOptions
---@return weft.listener? listener
---@return string? message names the address
---@return weft.Code? code "busy" when the address is in use, "resolve", "tls", "system"
function weft.listen(address, opts) end

--- A WebSocket client (RFC 6455 4.1): looks up, connects, and makes the opening handshake.
---@param url string "ws://host[:port]/path?query", or "wss://" for TLS; "ws+unix:/path:/resource?query" over a unix socket; "user:password@" before the host, percent-encoded, becomes basic authentication and is in no message
---@param opts? weft.ConnectOptions
---@return weft.websocket? ws
---@return string? message names the URL
---@return weft.Code? code "refused" when the server answered with another status than 101 or nobody listens; "handshake" when its answer was not valid; "resolve", "timeout", "tls", "system"
---@return weft.request? answer the head of the server's answer, if there was one: `status`, `reason`, `headers`
function weft.connect(url, opts) end

--- `for ws in weft.reconnect(url, opts) do ... end`: a fresh connection for each turn of the
--- loop. When the body is left its connection is closed; after a pause the next turn begins.
--- The pause is a random time between `min_delay` and a ceiling that doubles with each failure up
--- to `max_delay` (full jitter), or what the server's Retry-After (seconds or a date) asks for, up to `max_delay`.
---
--- The loop ends by `break`, `return`, an error, `task:cancel` or an enclosing `weft.deadline`;
--- after `max_attempts`; and by what `stop_on` lists: unless it is given, the close codes 1000,
--- 1003, 1008 and 1010 from either side, an answer that is not valid, and every HTTP status
--- but 408, 425, 429 and 5xx without 501 and 505. It does not raise then: `on_stop` tells why.
--- A malformed URL raises.
---@param url string as for `weft.connect`
---@param opts? weft.ReconnectOptions
---@return fun(state: table): weft.websocket? next
---@return table state its `<close>` ends the loop
---@return nil
---@return table closing
function weft.reconnect(url, opts) end

--- A client of channels: it speaks `weft.1` (`doc/protocol.md`), connects again when the connection
--- is lost, as `weft.reconnect` does, and then resumes all its rooms. Does not wait: what is asked
--- before there is a connection waits for it, within its own time. It runs, and keeps the program
--- running, until it is closed or `weft.reconnect` would end.
---@param url string as for `weft.connect`
---@param opts? weft.ChannelClientOptions
---@return weft.channel_client
function weft.channel_client(url, opts) end

--- A server. Routes are added to it, then it listens.
---@param opts? weft.AppOptions
---@return weft.app
function weft.app(opts) end

--- For the option `authorize` of routes: asks for user and password (RFC 7617); who has none that
--- are good gets 401.
---@param check fun(user: string, password: string, req: weft.request): any what it returns, unless `nil` or `false`, lets the client in. `weft.compare` compares passwords in constant time
---@param realm? string shown by browsers, default "weft"
---@return fun(req: weft.request): any
function weft.basic(check, realm) end

--- The same for bearer tokens (RFC 6750), from `Authorization: Bearer`.
---@param check fun(token: string, req: weft.request): any
---@param realm? string default "weft"
---@return fun(req: weft.request): any
function weft.bearer(check, realm) end

--- Are both strings the same? The time it takes tells nothing but their lengths.
---@param a string
---@param b string
---@return boolean
function weft.compare(a, b) end

--- The value of a Set-Cookie field (RFC 6265): `return 200, { ["set-cookie"] = weft.cookie("a", "1") }`,
--- or `req:set_header("set-cookie", weft.cookie("a", "1"))`. Raises for names, values and attributes that
--- browsers would misread or drop: characters, more than 4096 bytes, the prefixes `__Host-` and
--- `__Secure-` without what they need, `same_site = "none"` without `secure`.
---@param name string
---@param value string what is no cookie value (spaces, quotes, commas, semicolons, backslashes, bytes above 126) has to be encoded first
---@param attributes? weft.CookieOptions
---@return string
function weft.cookie(name, value, attributes) end

--- Sessions in signed cookies (HMAC-SHA256). The browser keeps the data: it can read them, and
--- cannot change them; a session cannot be taken back before it expires.
---@param opts weft.SessionOptions
---@return weft.session
function weft.session(opts) end

--- What a handler returns to send a browser elsewhere.
---@param location string a URL or a path, percent-encoded; anything but ASCII without spaces raises
---@param status? integer default 302; 301, 303, 307, 308
---@return integer status, table headers
function weft.redirect(location, status) end

--- What a handler returns to answer with JSON, by lua-cjson.
---@param value any raises for what JSON cannot say
---@param status? integer default 200
---@param headers? table more fields
---@return integer status, table headers, string body
function weft.json(value, status, headers) end

--- Limits of one WebSocket connection, on either end.
---@class weft.ConnectionOptions
---@field max_message? integer bytes, default 1048576, 1 to 1073741824: the biggest message taken, checked before memory is taken for it; 1009 above
---@field max_fragments? integer default 131072, 1 to 16777216: frames of one message; 1009 above
---@field max_empty_fragments? integer default 1024, 0 to 16777216: of these, empty ones before the last; 1009 above
---@field ping_interval? number seconds, default 20, 0 to 86400: silence of the peer after which it is sent a ping; 0: none is sent
---@field ping_timeout? number seconds, default 20, 0 to 86400: the time it has to answer, else the connection ends; 0: for ever
---@field close_timeout? number seconds, default 5, 0.01 to 86400: bounds the close handshake; after it the connection ends with 1006 "close timeout". What was sent before goes first: the time begins anew while the peer takes some of that
---@field idle_timeout? number seconds, default 0, 0 to 86400: the time without a message either way after which it is closed with 1001 "idle timeout"; pings do not count; 0: it may last
---@field send_timeout? number seconds, default 30, 0.01 to 86400: the time that `send` waits for a peer that takes nothing of what is queued; then it ends with "timeout", nothing of the message was queued, and the connection goes on. While the peer takes some of it, however slowly, the time begins anew. The same bounds an HTTP answer, whose connection ends then
---@field high_mark? integer bytes, default 65536, 1 to 1073741824: queued output above which `send` waits
---@field low_mark? integer bytes, default 16384, 0 to 1073741824: queued output below which `send` goes on
---@field hard_mark? integer bytes, default 1048576, 1 to 1073741824: queued output above which a published message ends this connection with 1013; where nothing is queued a message of any size may be, so it should be above the biggest that others follow
---@field compression? boolean|"dedicated"|"shared"|weft.CompressionOptions default false: permessage-deflate (RFC 7692), where the peer wants it, too; `true` is "dedicated" with its defaults
---@field inbox_messages? integer default 16, 1 to 1048576: messages kept while no task receives; then reading stops
---@field inbox_bytes? integer bytes, default 262144, 1 to 1073741824: the same for their size
---@field message_rate? number default 0, 0 to 1000000: messages (and pings) of the peer that are taken a second; 0: no limit
---@field message_burst? number default 0, 0 to 1000000: how many may come at once; 0: those of a second
---@field byte_rate? number default 0, 0 to 1099511627776: bytes of its messages that are taken a second, counted when a message is whole, or as its chunks come; 0: no limit
---@field byte_burst? number default 0, 0 to 1099511627776: how many may come at once; 0: those of a second
---@field over_rate? "wait"|"drop"|"close" default wait: what happens above these: reading stops until it is time, so that the peer's sends stall; the message is dropped (what `ws:chunks` reads is waited for; a request to channels is answered by the error `rate_limited`); or the connection is closed with 1008. `app:stats()` counts all three

--- How messages are compressed (permessage-deflate, RFC 7692). With mode "dedicated" each
--- connection has a compressor and a decompressor of its own, which remember the messages
--- before (context takeover): some 50 KiB at the default sizes, of which the compressor's part is
--- given back after seconds without use. With "shared" all connections use the loop's, each message
--- stands alone, and an idle connection costs nothing more than a plain one. A published message is
--- compressed once for each window in use, for both modes; after it a dedicated compressor
--- begins anew. A server declines offers that are not in order; a client that gets an answer
--- outside of its offer fails with "handshake", which names what is wrong. Data that does not
--- inflate ends the connection with 1007.
---@class weft.CompressionOptions
---@field mode? "dedicated"|"shared" default dedicated: with or without context takeover
---@field window? integer 9 to 15: bits of the window, both ways; by default 12 for what weft compresses and, in mode "dedicated", what clients of a server do. A client asks its server for a limit only when it is given
---@field server_max_window_bits? integer 9 to 15: the same for what the server compresses, instead of `window`
---@field client_max_window_bits? integer 9 to 15: the same for what the client compresses. A client that cannot be limited is told to do without context takeover
---@field server_no_context_takeover? boolean default false: the server's messages refer to none before them
---@field client_no_context_takeover? boolean default false: the client's messages refer to none before them
---@field memlevel? integer default 5, 1 to 9: zlib's memLevel, for memory of the compressor
---@field level? integer default 6, 0 to 9: zlib's level, for its effort
---@field threshold? integer bytes, default 512, 0 to 1073741824: messages from this size on are compressed
---@field max_ratio? integer default 25, 1 to 1032: what a message above 64 KiB may inflate to, in bytes for each byte received; 1009 above. `max_message` bounds what inflates, too. 1032 is the most that deflate can do

--- Options of one message.
---@class weft.SendOptions
---@field compress? boolean false: it is not compressed; true: it is, also below `threshold`. Without permessage-deflate neither does anything

--- Options of `ws:chunks`.
---@class weft.ChunksOptions
---@field max_message? integer bytes, at least 1: the biggest message; a bigger one closes the connection with 1009. By default there is no limit
---@field timeout? number seconds, 0 to 86400: the longest wait for a chunk; by default as long as it takes

--- Who may open a WebSocket, and with which subprotocol.
---@class weft.HandshakeOptions
---@field origins? string[] origins let in beside the server's own host: "https://example.org", "https://*.example.org" for every name below it, "example.org" and "*.example.org" for http and https alike, with a port where it is not the scheme's own; "null" for pages without an origin (files, sandboxes), "*" for all. Others, malformed ones and repeated fields get 403. A request without Origin is no browser's and is let in (RFC 6455 10.2)
---@field protocols? string[]|fun(offered: string[], req: weft.request): string? subprotocols, the preferred first; or a function that picks from what the client offers. Without a match the connection has none (RFC 6455 4.2.2)
---@field authorize? fun(req: weft.request): any called last: what it returns, unless `nil` or `false`, lets the client in and is `ws.data` (except `true`); `nil, status, headers, body` refuses it, with 403 when there is no status. It may wait, in the task of its own connection
---@field authorize_timeout? number seconds, default 10, 0.01 to 86400: all that waits in `authorize` ends with "timeout" then; where that makes it return `nil` without a status, 503 is answered

--- Limits of a head. What is over them gets the status, and the connection ends.
---@class weft.HeadOptions
---@field max_line? integer bytes, default 4096, 64 to 65535: the request line; 414
---@field max_head? integer bytes, default 8192, 64 to 65535: the whole head; 431
---@field max_fields? integer default 64, 1 to 64: header fields; 400

--- Limits of HTTP.
---@class weft.HttpOptions
---@field handshake_timeout? number seconds, default 10, 0.01 to 86400: from accept to the end of the first head, in all; for later heads from their first byte
---@field keepalive_timeout? number seconds, default 75, 0.01 to 86400: from a response to the first byte of the next head
---@field body_timeout? number seconds, default 30, 0.01 to 86400: reading the body of a request, in all, by `req:chunks` each wait for more; 408
---@field max_body? integer bytes, default 1048576, 0 to 1073741824: the body of a request; 413. Where it is much more, `body_timeout` should be, too, or the handler takes it by `req:chunks`

--- Options of `weft.app`; those of connections and handshakes are the defaults of its WebSocket routes and of
--- channels. Its `authorize` is not asked for other routes, which have their own; a hook of `app:before` is
--- asked for all.
---@class weft.AppOptions: weft.ConnectionOptions, weft.HandshakeOptions, weft.HeadOptions, weft.HttpOptions
---@field max_topics_per_connection? integer default 100, 0 to 1073741824: names and patterns that one connection is subscribed to
---@field max_topic_name? integer bytes, default 255, 1 to 255: a topic's name
---@field max_history_topics? integer default 10000, 1 to 1073741824: topics whose history is kept; the least recently used goes, and a client that comes back to it is told
---@field max_history_bytes? integer bytes, default 67108864, 1 to 1099511627776: what all histories may hold
---@field trusted_proxies? string[] addresses and networks ("127.0.0.1", "10.0.0.0/8", "::1", "unix:") of proxies that are believed who their clients are; by default none. The fields are read from the nearest proxy outwards as long as the address before is trusted, so what a client has made up itself counts for nothing. The result is `request.remote` (also for `max_connections_per_ip`, which does not count the proxies themselves), `request.secure`, and scheme and host for the check of origins; `request.forwarded` tells of it
---@field forwarded? "x-forwarded"|"forwarded" default x-forwarded: what these proxies set: X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host, or Forwarded (RFC 7239), which is answered by 400 where it is malformed. The other is not looked at, for a proxy may pass on what a client sent
---@field gzip? boolean default false: text that handlers return, 1 KiB and more or by an iterator, is compressed for clients that take it; not where `cache-control` has no-transform. Off, because a secret beside what an attacker can add shows in the length (BREACH)
---@field max_connections? integer default 100000, 1 to 1073741824: open connections of all kinds; 503 above
---@field max_connections_per_ip? integer default 0, 0 to 1073741824: open connections from one address; 429 above; 0: no limit, since behind a proxy that is not in `trusted_proxies` all come from one. Of IPv6 the first 64 bits are the address, here and below
---@field connection_rate? number default 0, 0 to 1000000: connections of one address a second; 429 above; 0: no limit
---@field connection_burst? number default 0, 0 to 1000000: how many may come at once; 0: those of a second
---@field request_rate? number default 0, 0 to 1000000: requests of one address (`req.remote`) a second, upgrades included; 0: no limit
---@field request_burst? number default 0, 0 to 1000000: how many may come at once; 0: those of a second
---@field over_request_rate? "refuse"|"wait" default refuse: what happens above: 429 with Retry-After, or the request waits for its turn, when that is within 10 seconds
---@field max_addresses? integer default 10000, 2 to 16777216: addresses whose rates are remembered; the ones that were not seen for longest are forgotten first

--- Options of `app:websocket`; each may differ from the app's.
---@class weft.WebsocketOptions: weft.ConnectionOptions, weft.HandshakeOptions

--- Options of `weft.cookie`.
---@class weft.CookieOptions
---@field path? string the paths that get it back: this one and all below it; by default those beside the request's
---@field domain? string this host and all below it get it back; by default only the one that set it
---@field max_age? number seconds, 0 to 34560000: how long it is kept, whole seconds; 0 has it forgotten; by default until the browser ends
---@field secure? boolean it is sent over TLS only
---@field http_only? boolean the page's scripts do not see it
---@field same_site? "strict"|"lax"|"none" whether requests that other sites cause have it

--- Options of `weft.session`.
---@class weft.SessionOptions
---@field keys? string[] needed; secrets of 32 random bytes or more. The first signs, all are good: to change it, put a new one in front and drop the old one after `max_age`
---@field name? string default session: the cookie's name, which is signed, too; "__Host-session" binds it to this host
---@field path? string default /: the paths that get it back
---@field domain? string this host and all below it get it back; by default only the one that set it
---@field max_age? number seconds, default 1209600, 1 to 34560000: until it expires, counted from `save`; it is part of what is signed
---@field secure? boolean default true: it is sent over TLS only (and to localhost)
---@field http_only? boolean default true: the page's scripts do not see it
---@field same_site? "strict"|"lax"|"none" default lax: whether requests that other sites cause have it

--- Options of `app:cors`.
---@class weft.CorsOptions
---@field origins? string[] as of `app:websocket`; by default all ("*")
---@field methods? string[] by default GET, HEAD, POST, PUT, PATCH, DELETE
---@field headers? string[] which request fields pages may set; by default those that are asked for
---@field expose? string[] which fields of answers scripts may read beside the harmless ones
---@field credentials? boolean default false: requests may come with cookies and passwords; not for the origin "*"
---@field max_age? number seconds, default 600, 0 to 86400: how long a browser need not ask again

--- Options of `app:get` and its like.
---@class weft.RouteOptions
---@field gzip? boolean default false: as of `weft.app`
---@field authorize? fun(req: weft.request): any as of `app:websocket`: what it returns, unless `nil` or `false`, lets the request in and is `req.user`; `nil, status, headers, body` refuses it, with 403 when there is no status
---@field authorize_timeout? number seconds, default 10, 0.01 to 86400: as of `app:websocket`; by default the app's
---@field max_body? integer bytes, default 1048576, 0 to 1073741824: the body of a request; 413

--- Options of `app:events`.
---@class weft.EventsOptions
---@field heartbeat? number seconds, default 15, 0 to 86400: quiet after which a comment is sent, so that proxies keep the connection; 0: none
---@field retry? number seconds, 0 to 86400: told at the start: the time until a client that lost its connection comes back; by default the browser's own
---@field authorize? fun(req: weft.request): any as of `app:websocket`: what it returns, unless `nil` or `false`, lets the client in and is `stream.data` (except `true`)
---@field authorize_timeout? number seconds, default 10, 0.01 to 86400: as of `app:websocket`; by default the app's

--- Options of `app:topic`.
---@class weft.TopicOptions
---@field policy? "disconnect"|"drop_oldest"|"drop_newest"|"latest" default disconnect: what happens when a subscriber takes messages more slowly than they come. It is closed with 1013; or what has waited longest is dropped; or what comes; or only the newest message of each `key` waits
---@field max_pending? integer bytes, default 65536, 1 to 1073741824: what may wait for one subscriber, once its output is over `high_mark`. With policy "disconnect": by default what fits below `hard_mark`
---@field max_pending_messages? integer default 1024, 1 to 1048576: the same as a number of messages
---@field notice? boolean default false: a subscriber that missed messages is told of each gap in its place, before the next message: `{"type":"missed","topic":"...","count":n}`
---@field history? boolean|weft.HistoryOptions default false: keep messages for who comes back
---@field presence? boolean|weft.PresenceOptions default false: keep who is there
---@field max_subscribers? integer 0 to 1073741824: of each topic that matches; no limit by default
---@field authorize_subscribe? fun(who: weft.websocket|weft.request, topic: string, params: any): boolean?, string? asked with the connection, or the request of who has none (Server-Sent Events, polls); may wait; `nil` or `false` and perhaps a message: it may not. A pattern has to please the hooks of all topics that it can match, and is what they get
---@field authorize_publish? fun(who: weft.websocket|weft.request, topic: string, message: any): boolean?, string? the same for `ws:publish`, clients of channels (their data, as of JSON), and `app:publisher` (its text)

--- What is kept of a topic; the first limit that is reached counts.
---@class weft.HistoryOptions
---@field size? integer default 100, 1 to 1048576: messages
---@field ttl? number seconds, default 300, 0.001 to 86400: how long
---@field bytes? integer bytes, default 1048576, 1 to 1073741824: of all of them

--- How presence on a topic is kept.
---@class weft.PresenceOptions
---@field grace? number seconds, default 10, 0 to 86400: who comes back within that time was never gone
---@field max? integer default 1000, 1 to 1048576: who may be there
---@field on_change? fun(topic: string, event: "join"|"leave"|"update", user: { id: string, data: any }) told of everybody who comes (that connection is subscribed already), is gone after `grace`, or has other data. It must not wait: what waits in it raises, and may stand in a `weft.spawn`

--- Options of `app:publish` and `ws:publish`.
---@class weft.PublishOptions
---@field kind? weft.Kind default "text"
---@field except? weft.websocket gets nothing
---@field key? string for policy "latest": what this is the newest value of
---@field event? string 1 to 64 bytes of UTF-8 without control characters; others raise: a name for what happened, for channels and Server-Sent Events
---@field history? boolean default true: false: it is not kept
---@field compress? boolean as of `weft.SendOptions`

--- Options of `ws:subscribe`.
---@class weft.SubscribeOptions
---@field since? table `{ epoch =, offset = }`, as a client had it last: it is sent what it missed, if all of it is there, before what is sent behind this call. Raw messages bear no offset: each that is kept is one further
---@field params? table handed to `authorize_subscribe`
---@field presence? weft.Member who it is, on a topic with presence: seen by `app:presence`, the topic's `on_change`, and clients of channels. Subscribing again changes it

--- Who a connection is on a topic. Several of the same id are one; it has left when the last of them
--- has unsubscribed or ended, and the topic's `grace` is over.
---@class weft.Member
---@field id string|number 1 to 255 bytes of UTF-8; others raise
---@field data? table|string|number|boolean what others see of it, as JSON: what cannot be raises. Tables need lua-cjson

--- Options of `app:subscribe`.
---@class weft.ListeningOptions
---@field since? table `{ epoch =, offset = }`: begin with what was published after it, if all of it is there
---@field policy? "disconnect"|"drop_oldest"|"drop_newest"|"latest" by default the topic's
---@field max_pending? integer bytes, 1 to 1073741824: by default the topic's
---@field max_pending_messages? integer 1 to 1048576: by default the topic's

--- Where a subscriber is in a topic's history.
---@class weft.Resumed
---@field epoch string
---@field offset integer of the last message so far; 0 before the first
---@field recovered? boolean with `since`: whether it gets all that it missed; else it gets nothing of it
---@field missed? integer with `since`: how many messages these were

--- A channel: what clients of `weft.1` may do on the topics of a pattern. Its functions may wait,
--- for `hook_timeout` in all. They refuse by `nil, code, message`: the code is a word of letters,
--- digits and `_`, of `doc/protocol.md` or of your own; `nil, message` has the code "forbidden".
--- One that raises is answered by "internal" and reported to `weft.on_error`, and the connection
--- goes on. Requests for one topic are done in their order, others do not wait for them. JSON's
--- null is nil, and within tables cjson.null. The further options are passed on to `app:topic`;
--- what was said there of the same pattern stays where they are left out.
---@class weft.ChannelOptions
---@field join? fun(ctx: weft.context, topic: string, params: any): any, string?, string? asked before each subscription: `true`, or data for the client, lets it in; `nil` and `false` do not. Without it everybody is let in
---@field leave? fun(ctx: weft.context, topic: string) called after each subscription that join let in
---@field receive? true|fun(ctx: weft.context, topic: string, data: any, event: string?): any, table|string|nil, string? what a client's publish does: `true` publishes it as it came, other data is published instead, perhaps with `weft.PublishOptions` behind it. `true` instead of a function passes everything on. Without it clients cannot publish
---@field call? (fun(ctx: weft.context, topic: string, method: string, data: any): any, string?, string?)|table<string, fun(ctx: weft.context, topic: string, data: any): any, string?, string?> answers calls, each in a task of its own; or a function for each method
---@field user? fun(ctx: weft.context, topic: string, params: any): string|number|nil, any who it is for presence: an id and data; nil: it is not seen. By default `ctx.user`, else each connection is somebody
---@field history? boolean|weft.HistoryOptions as of `app:topic`
---@field presence? boolean|weft.PresenceOptions as of `app:topic`
---@field policy? "disconnect"|"drop_oldest"|"drop_newest"|"latest" as of `app:topic`, also for who is served by Server-Sent Events
---@field max_pending? integer bytes, 1 to 1073741824: as of `app:topic`
---@field max_pending_messages? integer 1 to 1048576: as of `app:topic`
---@field notice? boolean as of `app:topic`
---@field max_subscribers? integer 0 to 1073741824: as of `app:topic`

--- Options of `app:channels`; those of a connection are by default the app's.
---@class weft.ChannelsOptions: weft.ConnectionOptions
---@field origins? string[] as of `app:websocket`
---@field authorize? fun(req: weft.request): any, integer?, table?, string? as of `app:websocket`: what it returns is `ctx.data`, and its field `user`, or itself if it is a string, `ctx.user`
---@field max_depth? integer default 32, 2 to 100: arrays and objects in each other
---@field max_in_flight? integer default 32, 1 to 65536: requests of one client under way; then no more are read
---@field hook_timeout? number seconds, default 10, 0.01 to 86400: what a function of a channel may wait in all; then what it waits for ends with "timeout"
---@field fallback? boolean default true: whether clients may use Server-Sent Events and POST where WebSockets are blocked
---@field max_sessions? integer default 1000, 1 to 1073741824: clients by Server-Sent Events; 503 above
---@field session_timeout? number seconds, default 150, 0.1 to 86400: the time in which such a client has to say something
---@field heartbeat? number seconds, default 15, 0 to 86400: as of `app:events`

--- Options of `ctx:push`.
---@class weft.PushOptions
---@field event? string 1 to 64 bytes, as of `app:publish`: a name for what happened

--- Options of `app:history`.
---@class weft.ReadHistoryOptions
---@field since? table `{ epoch =, offset = }`: all after it, or nothing
---@field limit? integer default 100, 1 to 1048576: without `since`, how many of the newest

--- A message of a topic's history.
---@class weft.HistoryEntry
---@field offset integer
---@field message any what was published; tables come as new ones
---@field kind "text"|"binary"|"json"
---@field event? string
---@field age number seconds since it was published

--- Options of `app:client`.
---@class weft.ClientFilesOptions
---@field max_age? number seconds, default 0, 0 to 31622400: how long a browser need not ask again; 0: it asks each time (`Cache-Control: no-cache`)

--- Options of `app:publisher`.
---@class weft.PublisherOptions
---@field token? string|string[] needed: what has to come as `Authorization: Bearer`; 16 characters or more, compared in constant time. Several while one is being changed
---@field max_body? integer bytes, default 1048576, 0 to 1073741824: the body of a request; 413

--- Options of `app:static`.
---@class weft.StaticOptions
---@field index? string default index.html: the file that a directory answers with
---@field max_age? number seconds, default 0, 0 to 31622400: how long a browser need not ask again; 0: it asks each time (`Cache-Control: no-cache`)
---@field hidden? boolean default false: whether names that begin with a dot are served (".well-known" always is)
---@field gzip? boolean default true: text of 1 KiB and more is compressed for clients that take it: from a file "name.gz" beside it, where there is one that is not older, else as it is sent

--- Options of `weft.listen`.
---@class weft.ListenOptions
---@field mode? string the permissions of a unix socket, three octal digits like "660"; by default as the umask has them
---@field tls? weft.TlsOptions|weft.tls speak TLS there, with these; "tls://" in the address needs them too. An app closes a connection over its limits without a word then
---@field backlog? integer default 511, 1 to 65535: connections that the kernel keeps until they are accepted
---@field reuseport? boolean default false: several processes may listen there (SO_REUSEPORT)

--- Options of `app:listen`.
---@class weft.AppListenOptions: weft.ListenOptions
---@field proxy_protocol? boolean|string[] default false: each connection begins with a header of the PROXY protocol, version 1 (at most 107 bytes) or 2 (at most 4096), before TLS and within `handshake_timeout`; whom it names is the peer from then on. Without it, or malformed, the connection is refused (400; over TLS it is closed). A list, as of `trusted_proxies`: and connections come from there alone (403)

--- A certificate and its key.
---@class weft.CertificateOptions
---@field cert? string the certificate and the chain behind it: a PEM file, or PEM text itself; a server needs one
---@field key? string its private key, likewise; by default it is in the file of cert

--- Options of TLS (OpenSSL 3), of servers and clients. Files are read when a server begins to listen and
--- at a client's first connection with these options; `reload` reads them again.
---@class weft.TlsOptions: weft.CertificateOptions
---@field certificates? weft.CertificateOptions[] a server's further ones; the one whose name fits what the client asks for (SNI) is shown, an exact name before a wildcard; where none fits the first
---@field key_password? string opens encrypted keys; nobody is ever asked at the terminal
---@field ca? string whom to trust: a PEM file, a directory (as `openssl rehash` makes it) or PEM text; by default the system's store
---@field verify? boolean default true: a client checks the server's chain and that it is for the host, a name or an address (RFC 9525)
---@field client_cert? string default none: "request" or "require": a server asks for a client's certificate, which must be signed by ca; it is `req.peer_certificate` and `tls().peer` then
---@field server_name? string a client asks for this host (SNI) and verifies it, instead of the one it connects to
---@field alpn? string[] protocols, the preferred first (RFC 7301); the server's order decides, and nothing in common fails
---@field min_version? string default 1.2: "1.2" or "1.3", the oldest version of TLS
---@field max_version? string "1.2" or "1.3", the newest; by default the newest there is
---@field ciphers? string of TLS 1.2, in OpenSSL's words; by default OpenSSL's choice
---@field ciphersuites? string of TLS 1.3, in OpenSSL's words; by default OpenSSL's choice
---@field resumption? boolean default true: sessions are resumed: a server gives tickets, a client keeps them for each host
---@field ktls? boolean default false: let the kernel do the records where OpenSSL and the system can; `tls().ktls_send` tells. The process ignores SIGPIPE from then on
---@field handshake_timeout? number seconds, default 10, 0.01 to 86400: bounds the handshake of `weft.listen`'s streams and of `stream:starttls`; elsewhere the app's and the call's own timeouts do
---@field on_failure? fun(message: string, ip: string) an app calls it for each handshake that failed; without it they are only counted, in `app:stats()`

--- Options of `weft.dial`.
---@class weft.DialOptions
---@field attempt_delay? number seconds, default 0.25, 0.01 to 2: the time that one address has before the next is tried beside it (RFC 8305)
---@field proxy? string|boolean default false: none. A proxy as of `weft.connect`; true: `all_proxy` of the environment, unless `no_proxy` names the target
---@field proxy_tls? weft.TlsOptions|weft.tls of the connection to an https proxy, which is verified like any server; `tls` is for the target, inside of it
---@field timeout? number seconds, default 10, 0.01 to 86400: looking up, connecting and TLS, in all
---@field tls? weft.TlsOptions|weft.tls for "tls://" addresses; given, it also means TLS

--- How a client opens its connection.
---@class weft.OpeningOptions: weft.ConnectionOptions, weft.HeadOptions
---@field attempt_delay? number seconds, default 0.25, 0.01 to 2: as of `weft.dial`
---@field proxy? string|boolean default true: from the environment, as curl does: `http_proxy` for ws:// and http://, `https_proxy` (`HTTPS_PROXY`) for wss:// and https://, else `all_proxy` (`ALL_PROXY`), unless `no_proxy` (`NO_PROXY`) names the target: "*", names and all below them, addresses, networks like "10.0.0.0/8", each also with ":port". A URL of a proxy: "http://user:password@host:port", "https://..." with TLS to the proxy, "socks5://..." with names looked up here, "socks5h://..." with names looked up there (RFC 1928, RFC 1929); without a scheme it is http. false: none
---@field proxy_tls? weft.TlsOptions|weft.tls of the connection to an https proxy, which is verified like any server; `tls` is for the target, inside of it
---@field headers? table<string, string|number|string[]> more fields of the request. Those of the handshake itself, and values with CR, LF or NUL, raise
---@field timeout? number seconds, default 10, 0.01 to 86400: looking up, connecting and the handshake, redirects included, in all
---@field max_redirects? integer default 0, 0 to 20: redirects (301, 302, 303, 307, 308) that are followed. To another scheme, host or port go neither the URL's user and password nor the fields Authorization, Cookie and Proxy-Authorization, nor a certificate of `tls`; from wss:// to ws:// goes nothing
---@field tls? weft.TlsOptions|weft.tls for wss URLs; by default the system's CAs are trusted, and "http/1.1" is offered by ALPN

--- Options of `weft.connect`.
---@class weft.ConnectOptions: weft.OpeningOptions
---@field protocols? string|string[] subprotocols to offer, the preferred first

--- How a client comes back.
---@class weft.RetryOptions
---@field min_delay? number seconds, default 0.5, 0.001 to 86400: the least time between two attempts
---@field max_delay? number seconds, default 30, 0.001 to 86400: the longest
---@field stable_after? number seconds, default 5, 0 to 86400: a connection that lasted so long forgets the failures before it
---@field max_attempts? integer default 0, 0 to 1073741824: failures in a row after which it gives up, connections that were not stable included; 0: never
---@field stop_on? (integer|weft.Code)[]|fun(why: weft.ReconnectReason): boolean close codes, HTTP statuses and codes that end the loop, instead of the default ones; or a function that decides
---@field on_retry? fun(why: weft.ReconnectReason) called before each wait
---@field on_stop? fun(why: weft.ReconnectReason) called when the loop ends by itself

--- Options of `weft.reconnect`.
---@class weft.ReconnectOptions: weft.ConnectOptions, weft.RetryOptions

--- Options of `weft.channel_client`: those of `weft.reconnect` without `protocols`, and more.
---@class weft.ChannelClientOptions: weft.OpeningOptions, weft.RetryOptions
---@field request_timeout? number seconds, default 10, 0.001 to 86400: until a request is answered, the time without a connection included
---@field max_queue? integer default 1000, 1 to 16777216: requests that wait to be sent; "too_big" above
---@field max_buffer? integer default 10000, 1 to 16777216: what a room keeps until a task takes it; above it the oldest goes, and the room says so

--- Options of `room:publish`.
---@class weft.RoomPublishOptions
---@field event? string 1 to 64 bytes, as of `app:publish`: a name for what happened
---@field timeout? number seconds, 0 to 86400: until it is answered; by default `request_timeout`
---@field wait? boolean default true: false: no answer is asked for, and nothing is known of it

--- What happens in a room, in its order.
---@class weft.RoomEvent
---@field type "message"|"presence"|"recovered"|"missed"|"unsubscribed"
---@field data any of a message
---@field kind? "binary" of a message that was published as bytes
---@field event? string the name of a message; of a presence "join", "leave" or "update"
---@field offset? integer of a message, where the topic has history
---@field epoch? string likewise
---@field gap? boolean of a message that `receive` or `messages` gave: some before it were missed
---@field user? { id: string, data: any } of a presence
---@field recovered? boolean after a new connection: whether nothing was missed meanwhile. If not, what the program knows of the topic may be old; live messages follow
---@field count? integer how many were missed, because the server's policy or `max_buffer` dropped them
---@field code? string why the server ended it
---@field message? string the same for people

--- Why a turn of `weft.reconnect` is over.
---@class weft.ReconnectReason
---@field message string in words
---@field code weft.Code "closed" after a connection; else as of `weft.connect`
---@field attempt integer failures in a row, this one included
---@field delay number? seconds until the next attempt; nil when there is none
---@field close_code integer? how the connection ended, as of `ws:closed`; nil when the body was left before
---@field reason string? its reason
---@field clean boolean? whether both sides said goodbye
---@field status integer? the HTTP status of a server that refused
---@field answer weft.request? the head of its answer

--- Options of `weft.http`.
---@class weft.RequestOptions
---@field method? string default GET: any but CONNECT, in capitals
---@field headers? table<string, string|number|string[]> more fields of the request. `host`, `user-agent`, `accept`, `accept-encoding` and `authorization` replace weft's own; those that frame the message, and values with CR, LF or NUL, raise. With `content-length` an iterator's body is not sent in chunks. With `expect = "100-continue"` the body waits for the server's word, at most 1 s
---@field body? string|fun(): string?, table? the content, or an iterator: it is called for piece after piece until it returns nil, behind which may stand a table of trailer fields. It runs in a task of its own, and may wait
---@field stream? boolean default false: come back as soon as the head is there; the body is read with `answer:read` or `answer:chunks`
---@field timeout? number seconds, default 30, 0.01 to 86400: all of it, redirects included; with `stream` until the head is there
---@field connect_timeout? number seconds, default 10, 0.01 to 86400: looking up and connecting
---@field attempt_delay? number seconds, default 0.25, 0.01 to 2: as of `weft.dial`
---@field proxy? string|boolean default true: as of `weft.connect`. An HTTP proxy is asked for http:// URLs with the whole URL, and its 407 is an answer like any other; for https:// with CONNECT
---@field proxy_tls? weft.TlsOptions|weft.tls of the connection to an https proxy, which is verified like any server; `tls` is for the target, inside of it
---@field idle_timeout? number seconds, default 30, 0.01 to 86400: the longest that nothing moves in either direction
---@field max_line? integer bytes, default 4096, 64 to 65535: the status line
---@field max_head? integer bytes, default 32768, 64 to 65535: the whole head of the answer
---@field max_fields? integer default 64, 1 to 64: its header fields
---@field max_body? integer bytes, default 16777216, 0 to 1073741824: the body, decoded; a streamed one has no limit
---@field max_ratio? integer default 100, 1 to 1048576: how many times its own size a body may inflate to, once that is more than 64 KiB
---@field max_redirects? integer default 10, 0 to 20: redirects (301, 302, 303, 307, 308) that are followed; 0: they are answers like any other. A POST becomes a GET by 301, 302 and 303 (RFC 9110 15.4). To another scheme, host or port go neither user and password of the URL nor the fields Authorization, Cookie, Proxy-Authorization and Host, nor a certificate of `tls`; from https:// to http:// goes nothing. A body that is an iterator cannot be sent again: then the redirect is the answer
---@field compression? boolean default true: whether gzip and deflate are offered, and undone in the body that comes
---@field keepalive? number seconds, default 30, 0 to 86400: how long the connection is kept for another request; 0: it is closed after this one
---@field max_idle? integer default 64, 0 to 65536: connections that are kept in all
---@field tls? weft.TlsOptions|weft.tls for https URLs; by default the chain and the host name are verified, and the system's CAs are trusted
---@field max_idle_per_origin? integer default 8, 0 to 65536: connections that are kept for the same scheme, host and port

--- A running or ended task.
---@class weft.task
---@field status "running"|"suspended"|"done"|"failed"|"cancelled"
local task = {}

--- Waits until the task has ended. Raises its error again; then it is not reported to
--- `weft.on_error`.
---@param timeout? number seconds
---@return any ... what its function returned; nil, "cancelled", "cancelled" if it was cancelled; nil, message, "timeout"
function task:join(timeout) end

--- Raises an error at the place where the task waits, once, so that its `<close>` variables
--- run. A task that has not begun never does; one that has ended stays as it is.
---@return boolean cancelled false when it had ended already
function task:cancel() end

--- The tasks of one `weft.group`.
---@class weft.group
local group = {}

--- Starts a task that the group waits for.
---@param f fun(...): ...
---@param ... any its arguments
---@return weft.task
function group:spawn(f, ...) end

--- Cancels all of them, the body too.
---@return true
function group:cancel() end

--- Hands values from task to task, first in, first out; senders and receivers that wait are
--- served in their order. A value is never lost: a receiver that is cancelled after it was given
--- one leaves it to the next. `#ch` is the number of values kept.
---@class weft.channel
local channel = {}

--- Sends a value; waits while the channel is full.
---@param v any but nil
---@return true? ok
---@return string? message
---@return weft.Code? code "closed" (the value was not sent), "timeout" of a deadline
function channel:send(v) end

--- Receives a value; waits while there is none.
---@param timeout? number seconds
---@return any value
---@return string? message
---@return weft.Code? code "closed" once it is closed and empty, "timeout"
function channel:receive(timeout) end

--- `for v in ch:each() do`: until the channel is closed and empty.
---@return fun(self: weft.channel): any
---@return weft.channel
function channel:each() end

--- Closes it: what it keeps can still be received; senders that wait get "closed". Idempotent.
---@return true
function channel:close() end

--- A TCP socket that is not connected yet. `listen` makes it a `weft.listener`, `connect` a
--- `weft.stream`; it stays the same object.
---@class weft.tcp
local tcp = {}

--- Binds to a local address. A name is looked up.
---@param host string "*" is every address, IPv6 and IPv4
---@param port integer 0 to 65535; 0 takes a free one
---@return true? ok
---@return string? message
---@return weft.Code? code "busy", "resolve", "system"
function tcp:bind(host, port) end

--- The same for an IP address, without a lookup.
---@param ip string "127.0.0.1", "::1" or "*"
---@param port integer
---@return true? ok
---@return string? message
---@return weft.Code? code
function tcp:bind_ip(ip, port) end

--- Connects to a listener of this machine.
---@param path string "/path", or "@name" in Linux's abstract namespace
---@return true? ok
---@return string? message
---@return weft.Code? code "refused", "busy" (its backlog is full), "resolve" (the path cannot be one), "timeout", "system"
function tcp:connect_unix(path) end

--- Makes it a listener.
---@param backlog? integer connections that the kernel keeps until they are accepted; default as many as it likes
---@return true? ok
---@return string? message
---@return weft.Code? code "busy" when the address is in use, "system"
function tcp:listen(backlog) end

--- Connects to the first address of the host that answers, as `weft.dial` does, and makes it a
--- stream. A socket that is bound tries one address after the other.
---@param host string
---@param port integer
---@return true? ok
---@return string? message names each address that was tried
---@return weft.Code? code "refused", "resolve", "timeout", "system"
function tcp:connect(host, port) end

--- The same for an IP address, without a lookup.
---@param ip string
---@param port integer
---@param timeout? number seconds
---@return true? ok
---@return string? message
---@return weft.Code? code
function tcp:connect_ip(ip, port, timeout) end

--- Sets an option of the socket.
---@param name string "reuseaddr" (set already), "reuseport", "tcp-nodelay", "keepalive", "tcp-keepidle", "tcp-keepintvl", "tcp-keepcnt", "ipv6-v6only", "send-buffer-size", "recv-buffer-size", "max_receive" (bytes that "*l" and "*a" may gather, default 16777216); an unknown one raises
---@param value boolean|integer
---@return true? ok
---@return string? message
---@return weft.Code? code
function tcp:setoption(name, value) end

--- Reads an option of the socket.
---@param name string as for `setoption`, except "max_receive"
---@return boolean|integer|nil value
---@return string? message
---@return weft.Code? code
function tcp:getoption(name) end

--- The time that each waiting call on it may take.
---@param s? number seconds; nil, or a negative number: no limit
---@param mode? "t"|"b" default "t": of the call in all; "b", which is LuaSocket's own default: of each wait within it
---@return integer one 1, as LuaSocket has it
function tcp:settimeout(s, mode) end

--- Its own address.
---@return string? ip
---@return integer|string port
---@return string family "inet" or "inet6"
function tcp:getsockname() end

--- Closes it. Idempotent.
---@return true
function tcp:close() end

--- A socket that listens. Closing it leaves the streams that it accepted alone.
---@class weft.listener
local listener = {}

--- Waits for a peer. Where the process has no descriptor left it waits until there is one.
---@return weft.stream? stream
---@return string? message
---@return weft.Code? code "closed", "timeout", "system"
function listener:accept() end

--- `for stream in listener:each() do`: until the listener is closed or a deadline passes. Raises
--- when the system cannot accept any more.
---@return fun(self: weft.listener): weft.stream?
---@return weft.listener
function listener:each() end

--- The time that each `accept` may take.
---@param s? number seconds; nil, or a negative number: no limit
---@return integer one 1, as LuaSocket has it
function listener:settimeout(s) end

--- Sets an option of the socket; see `weft.tcp:setoption`.
---@param name string
---@param value boolean|integer
---@return true? ok
---@return string? message
---@return weft.Code? code
function listener:setoption(name, value) end

--- Reads an option of the socket.
---@param name string as for `setoption`, except "max_receive"
---@return boolean|integer|nil value
---@return string? message
---@return weft.Code? code
function listener:getoption(name) end

--- Its own address; after port 0 the port it was given.
---@return string? ip
---@return integer|string port
---@return string family "inet" or "inet6"
function listener:getsockname() end

--- Stops listening; whoever waits in `accept` gets "closed". Idempotent.
---@return true
function listener:close() end

--- A connected socket, both directions. One task may receive while another sends.
---@class weft.stream
local stream = {}

--- Sends bytes: `data:sub(i, j)`. Waits while more than 64 KiB are queued for a slow peer;
--- what is queued leaves at the end of the loop's turn. Where several tasks have something to send, let them
--- hand it to one that sends, by a `weft.channel`: while a send waits, another one is "busy".
---@param data string
---@param i? integer default 1
---@param j? integer default -1
---@return integer? last index of the last byte taken
---@return string? message
---@return integer? last the index of the last byte taken before it failed
---@return weft.Code? code
function stream:send(data, i, j) end

--- Receives, as LuaSocket does.
---@param pattern? "*l"|"*L"|"*a"|integer a line without its end (the default) or with it, everything until the peer ends, or so many bytes
---@param prefix? string put before the result; it counts
---@return string? data
---@return string? message "closed", "timeout" or a sentence
---@return string? partial what had come before it failed
---@return weft.Code? code
function stream:receive(pattern, prefix) end

--- Ends one direction, after what is queued has left.
---@param how? "send"|"receive"|"both" default "both"
---@return true? ok
---@return string? message
---@return weft.Code? code
function stream:shutdown(how) end

--- Bytes queued that the kernel has not taken.
---@return integer
function stream:buffered() end

--- The time that each waiting call on it may take.
---@param s? number seconds; nil, or a negative number: no limit
---@param mode? "t"|"b" default "t": of the call in all; "b", which is LuaSocket's own default: of each wait within it
---@return integer one 1, as LuaSocket has it
function stream:settimeout(s, mode) end

--- Sets an option of the socket; see `weft.tcp:setoption`.
---@param name string
---@param value boolean|integer
---@return true? ok
---@return string? message
---@return weft.Code? code
function stream:setoption(name, value) end

--- Reads an option of the socket.
---@param name string as for `setoption`, except "max_receive"
---@return boolean|integer|nil value
---@return string? message
---@return weft.Code? code
function stream:getoption(name) end

--- Its own address.
---@return string? ip
---@return integer|string port
---@return string family "inet" or "inet6"
function stream:getsockname() end

--- The peer's address.
---@return string? ip
---@return integer|string port
---@return string family "inet" or "inet6"
function stream:getpeername() end

--- Who is at the other end of a unix socket.
---@return { pid: integer?, uid: integer, gid: integer }? who
---@return string? message
---@return weft.Code? code "closed", "system"
function stream:peercred() end

--- Closes it once what is queued has left, within bounds. Idempotent.
---@return true
function stream:close() end

--- Closes it like `close`, but first discards for up to 2 s what the peer still sends, so that no
--- reset overtakes the last bytes sent. Does not wait.
function stream:linger() end

--- Starts TLS on the connection, as server or client, and waits for the handshake. What was sent
--- before leaves first, in the clear, and what another task sends meanwhile waits for TLS; what was
--- received and not yet asked for is taken as TLS. After a failure the stream is fit only to be closed:
--- it sends and receives nothing more.
---@param opts weft.TlsOptions|weft.tls a client that verifies needs `server_name`
---@param role? "client"|"server" by default a server where there is a certificate and no `server_name`
---@return true? ok
---@return string? message
---@return weft.Code? code "tls", "timeout", "closed"; "busy" when another task receives
function stream:starttls(opts, role) end

--- Behind a proxy or balancer that speaks the PROXY protocol: waits for its header, version 1 (at
--- most 107 bytes) or 2 (at most 4096), and takes it off the stream, of which it is the first thing,
--- before TLS. (`app:listen` does this by its option `proxy_protocol`.) Believe it only of streams that
--- nobody else can open. After a failure the stream is fit only to be closed.
---@param timeout? number seconds, default the stream's own
---@return string? ip whom it names; the proxy itself where it connects on its own account
---@return integer|string port or the message
---@return weft.Code? code "protocol" where it is missing or malformed; "timeout", "closed"; "busy" when another task receives
function stream:receive_proxy(timeout) end

--- What TLS has agreed on.
---@return weft.TlsInfo? info nil without TLS, or before its handshake is done
function stream:tls() end

--- A datagram socket, with LuaSocket's names and shapes. One task may receive while another sends.
---@class weft.udp
local udp = {}

--- Binds to a local address. A name is looked up.
---@param host string "*" is every address, IPv6 and IPv4
---@param port integer 0 to 65535; 0 takes a free one
---@return true? ok
---@return string? message
---@return weft.Code? code "busy" when the address is in use, "resolve", "system"
function udp:bind(host, port) end

--- The same for an IP address, without a lookup.
---@param ip string "127.0.0.1", "::1" or "*"
---@param port integer
---@return true? ok
---@return string? message
---@return weft.Code? code
function udp:bind_ip(ip, port) end

--- From here on it sends to that peer and receives from it alone; "*" undoes that.
---@param host string
---@param port? integer 1 to 65535
---@return true? ok
---@return string? message
---@return weft.Code? code "resolve", "system"
function udp:connect(host, port) end

--- The same for an IP address, without a lookup.
---@param ip string
---@param port? integer
---@return true? ok
---@return string? message
---@return weft.Code? code
function udp:connect_ip(ip, port) end

--- Sends a datagram to the peer of `connect`.
---@param data string
---@return integer? bytes
---@return string? message
---@return weft.Code? code "too_big" (EMSGSIZE), "refused" (an earlier one reached nobody), "timeout", "closed", "system"
function udp:send(data) end

--- Sends a datagram there. A name is looked up.
---@param data string
---@param host string
---@param port integer 1 to 65535
---@return integer? bytes
---@return string? message
---@return weft.Code? code "too_big", "resolve", "timeout", "closed", "system"
function udp:sendto(data, host, port) end

--- The same for an IP address, without a lookup.
---@param data string
---@param ip string
---@param port integer
---@return integer? bytes
---@return string? message
---@return weft.Code? code
function udp:sendto_ip(data, ip, port) end

--- Waits for a datagram.
---@param size? integer bytes, default 65535, 1 to 65535: what is longer is cut
---@return string? data
---@return string|integer|nil message or, of one that was cut, its real size
---@return weft.Code? code "timeout", "closed", "refused" (what was sent reached nobody), "busy" when another task receives, "system"
function udp:receive(size) end

--- The same, and where it came from.
---@param size? integer
---@return string? data
---@return string? ip or the message
---@return integer|weft.Code|nil port or the code
---@return integer? real its real size, when it was cut
function udp:receivefrom(size) end

--- Sets an option of the socket.
---@param name string "broadcast", "reuseaddr", "reuseport", "dontroute", "ip-multicast-loop", "ipv6-multicast-loop", "ipv6-v6only" (true or false); "send-buffer-size", "recv-buffer-size", "ip-multicast-ttl", "ipv6-unicast-hops", "ipv6-multicast-hops" (numbers); "ip-multicast-if" (an address); "ip-add-membership", "ip-drop-membership", "ipv6-add-membership", "ipv6-drop-membership" (`{ multiaddr = , interface = }`: the interface's address, of IPv6 its name or number, or nothing); an unknown one raises
---@param value boolean|integer|string|table
---@return true? ok
---@return string? message
---@return weft.Code? code
function udp:setoption(name, value) end

--- The time that each waiting call on it may take.
---@param s? number seconds; nil, or a negative number: no limit
---@return integer one 1, as LuaSocket has it
function udp:settimeout(s) end

--- Its own address.
---@return string? ip
---@return integer|string port
---@return string family "inet" or "inet6"
function udp:getsockname() end

--- The address of `connect`.
---@return string? ip
---@return integer|string port
---@return string family "inet" or "inet6"
function udp:getpeername() end

--- Closes it; whoever waits in it gets "closed". Idempotent.
---@return true
function udp:close() end

--- Compiled options of TLS.
---@class weft.tls
local tls = {}

--- Reads its files again. Connections that are open keep what they have, later ones get the new.
---@return true? ok
---@return string? message the old ones stay in use then
---@return weft.Code? code "tls"
function tls:reload() end

--- What TLS has agreed on for a connection.
---@class weft.TlsInfo
---@field version string "TLSv1.3"
---@field cipher string "TLS_AES_256_GCM_SHA384"
---@field alpn string? the protocol that was agreed on
---@field server_name string? the name that the client asked for
---@field resumed boolean the handshake was short, since client and server knew each other
---@field verified boolean the peer's certificate was checked
---@field ktls_send boolean the kernel makes the records
---@field ktls_receive boolean the kernel opens the records
---@field peer weft.Certificate? the peer's certificate

--- A peer's certificate.
---@class weft.Certificate
---@field subject string "CN=alice,O=Example" (RFC 2253)
---@field issuer string the same of who signed it
---@field names string "DNS:example.org, IP Address:127.0.0.1"
---@field serial string hexadecimal
---@field not_after string "Jan  1 00:00:00 2030 GMT"
---@field fingerprint string SHA-256, hexadecimal
---@field pem string the certificate itself

--- `require "weft.socket"`: LuaSocket's module "socket" on weft, for drivers that were written
--- for that. It has `tcp`, `tcp4`, `tcp6`, `udp`, `udp4`, `udp6`, `connect`, `connect4`,
--- `connect6`, `bind`, `select`, `sleep`, `gettime`, `dns.toip`, `dns.tohostname`,
--- `dns.getaddrinfo`, `dns.getnameinfo`, `dns.gethostname`, `newtry`, `try`, `protect`, `skip`,
--- `choose`, `source`, `sink` and their tables; they return just what LuaSocket's manual says ("timeout" and "closed" are messages
--- there), but a call that waits suspends its own task. It has not the option "linger", and a
--- connect that times out is given up: it does not go on behind the scenes.
---@class weft.socket
local socket = {}

--- Makes it what `require "socket"` and `require "socket.core"` give, and lets drivers wait in
--- coroutines that they make for themselves (it replaces `create`, `resume` and `wrap` of the
--- library coroutine for that). To be called before anything requires LuaSocket: else it raises.
---@return weft.socket socket
function socket.install() end

--- A WebSocket connection; the same object on both ends. Text is UTF-8 both ways.
---@class weft.websocket
---@field protocol string? the subprotocol that was agreed on
---@field extensions string the extension that was agreed on with its parameters, as in "permessage-deflate; server_no_context_takeover"; "" without
---@field request weft.request the opening request; on a client the head of the server's answer
---@field data any yours; at first what `authorize` returned
---@field remote string the peer's IP address
local ws = {}

--- Receives the next message.
---@param timeout? number seconds
---@return string? message
---@return weft.Kind|string kind or what went wrong
---@return weft.Code? code "closed"; "timeout" of the call, or of the connection (`ping_timeout`, `idle_timeout`); "protocol", "utf8" or "too_big" when the peer broke the rules and the connection ended; "busy" when another task receives, or is in a loop over `chunks`
function ws:receive(timeout) end

--- `for message, kind in ws:messages() do`: until the connection ends, however it does.
---@return fun(self: weft.websocket): string?, weft.Kind?
---@return weft.websocket
function ws:messages() end

--- Sends a message. Waits before it is queued while the peer is slow (`high_mark`). Several tasks may
--- wait so; each has its turn. A loop that does nothing else has to end by it, or it outlives its
--- connection: `while ws:send(os.date()) do weft.sleep(1) end`.
---@param data string
---@param kind? weft.Kind default "text"
---@param opts? weft.SendOptions
---@return true? ok
---@return string? message
---@return weft.Code? code "closed"; "utf8" when a text is not UTF-8; "busy" when a writer is open; "timeout" of `send_timeout` or a deadline: nothing of it was queued, and the connection can be used on
function ws:send(data, kind, opts) end

--- Sends a message unless it would have to wait.
---@param data string
---@param kind? weft.Kind default "text"
---@param opts? weft.SendOptions
---@return boolean? ok false: the peer is slow; nothing was queued
---@return string? message
---@return weft.Code? code
function ws:try_send(data, kind, opts) end

--- `for chunk, last, kind in ws:chunks() do`: one message piece by piece, as it comes (RFC 6455 5.4),
--- in constant memory: at most 128 KiB at a time, or what had come before the loop asked. A chunk of
--- a text is whole characters; `last` is true with the last one, which alone may be empty. The loop
--- is over after the message; another one takes the next. It runs not even once when the connection
--- ends, or the time is over, before a message begins. In the middle of one it then raises, and so
--- it does for two readers at a time. A loop that is left drops the rest of its message as it
--- comes. `max_message` and `max_fragments` of the connection do not apply, `max_ratio` does.
---@param opts? weft.ChunksOptions
---@return fun(state: userdata): string?, boolean?, weft.Kind? next
---@return userdata state its `<close>` leaves the loop
---@return nil
---@return userdata closing
function ws:chunks(opts) end

--- Opens a message that is sent piece by piece. Until it is closed no other message can be sent
--- ("busy"); what is published to the connection waits, up to `hard_mark`, and pings and closes go
--- in between. Where permessage-deflate was agreed on it is compressed, whatever its size.
---@param kind? weft.Kind default "text"
---@param opts? weft.SendOptions
---@return weft.writer? writer
---@return string? message
---@return weft.Code? code "closed"; "busy" when another one is open, or a send waits
function ws:writer(kind, opts) end

--- A message that is being sent in pieces. Its `<close>` ends the message; after an error it closes
--- the connection with 1011, if any of it was sent, since the peer would take the beginning for all
--- of it. One that is collected unclosed does the same.
---@class weft.writer
local writer = {}

--- Sends the next bytes, as a frame of their own, or several of 64 KiB (RFC 6455 5.4). Waits while
--- the peer is slow (`high_mark`). Raises once the writer is closed.
---@param data string of a text any bytes that make UTF-8 together
---@return true? ok
---@return string? message
---@return weft.Code? code "closed"; "utf8"; "timeout" of `send_timeout`, for each wait, or of a deadline; "busy" when another task writes
---@return integer? sent how many of the bytes were sent all the same; the message can go on behind them
function writer:write(data) end

--- Ends the message. Does not wait. A text that ends inside of a character closes the connection
--- with 1011.
---@return true? ok
---@return string? message
---@return weft.Code? code "closed", "utf8", "busy"
function writer:close() end

--- Sends a ping and waits for its pong (RFC 6455 5.5.2).
---@param timeout? number seconds, default the option `ping_timeout`; the connection can be used on after it
---@return number? rtt seconds; only one task may wait for one at a time ("busy")
---@return string? message
---@return weft.Code? code
function ws:ping(timeout) end

--- The round trip of the last ping that was answered; nil before the first.
---@return number? seconds
function ws:latency() end

--- Bytes queued that the kernel has not taken.
---@return integer
function ws:buffered() end

--- Waits until `send` would not wait, so that `try_send` takes the next message.
---@param timeout? number seconds, by default `send_timeout`
---@return true? ok
---@return string? message
---@return weft.Code? code "timeout", "closed"
function ws:drain(timeout) end

--- What TLS has agreed on.
---@return weft.TlsInfo? info nil without TLS, or once the connection is closed
function ws:tls() end

--- The close handshake (RFC 6455 7), bounded by `close_timeout`: returns when it is over.
--- Idempotent. As a `<close>` variable it does not wait, and closes with 1011 after an error.
---@param code? integer default 1000; 1000 to 1003, 1007 to 1014 or 3000 to 4999; others raise
---@param reason? string UTF-8, at most 123 bytes
---@return true
function ws:close(code, reason) end

--- How it ended; nil while it is open.
---@return integer? code 1005: the peer gave none; 1006: there was no close handshake
---@return string? reason
---@return boolean? clean whether both sides said goodbye
function ws:closed() end

--- Gets what is published on a topic from now on; for a pattern, on all that match. A
--- connection that several of its subscriptions match gets each message once. Topics are the
--- server's: on a client this raises. Asks the topic's `authorize_subscribe`, and may wait in it.
---@param topic string a name or a pattern; see `weft.app:topic`. What is neither raises; where a peer said it, that ends its connection by 1011, unless you look before
---@param opts? weft.SubscribeOptions
---@return true|weft.Resumed? ok `true`, also when it was subscribed already; on a topic with history where it is
---@return string? message
---@return weft.Code? code "refused" by the hook; "too_big" beyond `max_topics_per_connection`, `max_subscribers` or the presence's `max`; "closed"
function ws:subscribe(topic, opts) end

--- Gets it no longer. Closing does this by itself.
---@param topic string the same name or pattern
---@return boolean subscribed whether it was
function ws:unsubscribe(topic) end

--- The names and patterns it is subscribed to, and how many messages were dropped of each, as
--- they are now: changes meanwhile do no harm.
---@return fun(): string?, integer?
function ws:subscriptions() end

--- Sends a message to everyone on a topic but itself. See `weft.app:publish`. Asks the topic's
--- `authorize_publish`, and may wait in it.
---@param topic string
---@param message string|table|number|boolean what is no string goes as JSON, and to raw connections as its text; what JSON cannot say raises. Tables need lua-cjson
---@param kind? weft.Kind|weft.PublishOptions default "text"
---@param opts? weft.PublishOptions
---@return integer? reached how many it went to
---@return string|integer? message in a topic with history: the epoch, and the offset as a third result
---@return weft.Code|integer? code "refused" by the hook; "utf8"; "closed"
function ws:publish(topic, message, kind, opts) end

--- The head of a request, as handlers get it; of the server's answer for a client. Fields of
--- your own can be set; to set what came with it, or a method, raises.
---@class weft.request
---@field method string "GET"
---@field target string as it was sent
---@field path string without the query, and what may stand before it (`http://host`), percent-encoded as it was sent
---@field query string? what follows "?", percent-encoded
---@field version "1.1"|"1.0"
---@field headers table<string, string> lower-case names; the values of repeated ones are joined by ", "
---@field user any what the route's `authorize` returned
---@field params table<string, string> what ":name" and "*rest" of the route stand for, decoded
---@field remote string the peer's IP address, or whom a trusted proxy named; "unix:" over a unix socket
---@field remote_port integer the peer's port; 0: a proxy did not say
---@field secure boolean it came over TLS, or a trusted proxy says so
---@field forwarded { proxy: string, scheme: "http"|"https"|nil, host: string? }? what a proxy of `trusted_proxies` told: its own address, what the client asked by, and the host it asked for; nil: none did
---@field peer_certificate weft.Certificate? the client's, where `client_cert` asked for one
---@field status integer? of an answer: 101
---@field reason string? of an answer: "Switching Protocols"
local request = {}

--- How often a header field is there.
---@param name string in any case
---@return integer
function request:count(name) end

--- One header field, without making the table of all.
---@param name string in any case
---@return string? value
function request:header(name) end

--- Each value of a field that may be repeated and is no list.
---@param name string in any case
---@return string[] values
function request:values(name) end

--- Is the token among the comma-separated ones of that field? In any case of letters.
---@param name string "connection"
---@param token string "upgrade"
---@return boolean
function request:has_token(name, token) end

--- The first value of a field of the query, decoded (WHATWG URL 5).
---@param name string
---@return string? value nil also when the query is malformed; `req:args` tells
function request:arg(name) end

--- The query, decoded. A handler that raises after this failed, as `assert(req:args())` does, is
--- answered by 400.
---@return table<string, string>? fields name -> its first value
---@return { name: string, value: string }[]|string list all of them in order, 1000 at most; or the message
---@return weft.Code? code "protocol"
function request:args() end

--- The body, whole (RFC 9112 6); "" when there is none. A handler that raises after this
--- failed, as `assert(req:body())` does, is answered by 413, 408 or 400.
---@param max? integer bytes, 0 or more, instead of the option `max_body`
---@return string? data
---@return string? message
---@return weft.Code? code "too_big", "timeout", "protocol", "closed"
function request:body(max) end

--- `for piece in req:chunks() do`: the body piece by piece, as it comes, in constant memory: 64 KiB at
--- most each. `body_timeout` is of each wait then. Raises when the body breaks off, is too big, or does not
--- go on; a handler that lets that through is answered by 400, 413 or 408. What is read here is kept
--- nowhere: `req:body` raises then. A loop that is left before the end ends the connection behind the answer.
---@param max? integer bytes, 0 or more, instead of the option `max_body`
---@return fun(req: weft.request): string?
---@return weft.request
function request:chunks(max) end

--- A form's fields, decoded: `application/x-www-form-urlencoded`, or `multipart/form-data` (RFC
--- 7578), of which the list says more. All of it is in memory, within `max_body`. A handler that
--- raises after this failed, as `assert(req:form())` does, is answered by 415, 413, 408 or 400.
---@param max? integer bytes, 0 or more, instead of the option `max_body`
---@return table<string, string>? fields name -> its first value, or a file's content
---@return { name: string, value: string, filename: string?, type: string? }[]|string list all of them in order, 1000 at most; a file's name is without directories, and is what the client says; or the message
---@return weft.Code? code as of `body`
function request:form(max) end

--- A body of `application/json` (or `application/*+json`), decoded by lua-cjson; `null` is `cjson.null`.
--- It must be UTF-8 and no deeper than 100. A handler that raises after this failed, as
--- `assert(req:json())` does, is answered by 415, 413, 408 or 400.
---@param max? integer bytes, 0 or more, instead of the option `max_body`
---@return any value
---@return string? message
---@return weft.Code? code as of `body`
function request:json(max) end

--- The cookies that came, 100 at most; the first of a name.
---@return table<string, string>
function request:cookies() end

--- One of them.
---@param name string
---@return string? value
function request:cookie(name) end

--- User and password of basic authentication (RFC 7617), unchecked.
---@return string? user nil when there are none, or they are malformed
---@return string? password
function request:basic() end

--- The token of `Authorization: Bearer` (RFC 6750), unchecked.
---@return string? token
function request:bearer() end

--- A field of the answer, from wherever the request is at hand (hooks of `app:before`, `authorize`). The
--- handler's own field of that name goes before it; Set-Cookie, Vary and Link add up.
---@param name string
---@param value string|number CR, LF and NUL raise
function request:set_header(name, value) end

--- A session: data of one browser, kept in its cookie.
---@class weft.session
local session = {}

--- The data that came with the request. In handlers of HTTP, and in `authorize` of WebSockets.
---@param req weft.request
---@return table data your own copy; empty when there is no cookie, or one that is expired, tampered with or not ours
---@return boolean known whether there was a good one
function session:read(req) end

--- Sets the cookie in the answer to that request; the time until it expires begins anew.
---@param req weft.request
---@param data table what JSON can say; raises otherwise
---@return true? ok
---@return string? message
---@return weft.Code? code "too_big" when it is more than 3800 bytes as a cookie
function session:save(req, data) end

--- Has the browser forget it.
---@param req weft.request
---@return true
function session:clear(req) end

--- The HTTP client (RFC 9110, RFC 9112). Connections are kept and used again, as long as they
--- are clean; a request that can be asked twice is asked again when a kept one turns out dead.
---@class weft.http
local http = {}

--- One request and its answer. Any status is an answer, no failure.
---@param url string "http://host[:port]/path?query" or "https://"; "http+unix:/path:/resource?query" over a unix socket; "user:password@" before the host, percent-encoded, becomes basic authentication and is in no message
---@param opts? weft.RequestOptions
---@return weft.answer? answer
---@return string? message names the URL
---@return weft.Code? code "resolve", "refused" (nobody listens, or a redirect that is not followed), "timeout", "closed" (no answer came), "protocol" (the answer is malformed or broke off), "too_big", "tls", "system"
function http.request(url, opts) end

--- `http.request` with the method GET.
---@param url string
---@param opts? weft.RequestOptions
---@return weft.answer? answer
---@return string? message
---@return weft.Code? code
function http.get(url, opts) end

--- `http.request` with the method POST and a body.
---@param url string
---@param body string|fun(): string?, table?
---@param opts? weft.RequestOptions
---@return weft.answer? answer
---@return string? message
---@return weft.Code? code
function http.post(url, body, opts) end

--- Closes the connections that are kept for another request.
---@return integer closed how many
function http.close_idle() end

--- What a request brought.
---@class weft.answer
---@field status integer 200
---@field reason string "OK"; may be empty
---@field version "1.1"|"1.0"
---@field headers table<string, string> lower-case names; the values of repeated ones are joined by ", "
---@field url string the one that answered, after redirects, without user and password
---@field body string? the whole body, decoded; nil when it is streamed
---@field trailers table<string, string>? fields that came behind a chunked body, lower-case names
local answer = {}

--- One header field.
---@param name string in any case
---@return string? value
function answer:header(name) end

--- Each value of a field that may be repeated: Set-Cookie.
---@param name string in any case
---@return string[] values
function answer:values(name) end

--- The next piece of a streamed body, decoded.
---@return string? data nil at the end
---@return string? message
---@return weft.Code? code "protocol" when it broke off, "timeout", "too_big" when it inflates beyond `max_ratio`, "closed" after `close`
function answer:read() end

--- `for piece in answer:chunks() do`: raises when the body breaks off. A loop that is left closes the
--- answer; so does a client that goes away where a handler passes it on: `return 200, nil, answer:chunks()`.
---@return fun(self: weft.answer): string?
---@return weft.answer
---@return nil
---@return weft.answer closing
function answer:chunks() end

--- Closes its connection, unless the body has been read to its end: then that is kept for
--- another request. Idempotent.
---@return true
function answer:close() end

--- A client of `app:events`, to whom events are sent.
---@class weft.events
---@field request weft.request
---@field data any what `authorize` returned
---@field last_event_id string? the id of the last event it saw: its `Last-Event-ID`, or `?last_event_id=` in the query
local events = {}

--- Sends one event. Waits while the client is slow, `send_timeout` at most if it takes nothing. One
--- task at a time.
---@param data string? lines end with LF, CR or CRLF, and the client gets LF; nil for fields alone
---@param fields? { event?: string, id?: string, retry?: number } the event's name ("message" by default), its id, and `retry` in seconds. CR and LF in them raise, in an id NUL, too
---@return true? ok
---@return string? message
---@return weft.Code? code "utf8" when it is not UTF-8, "timeout", "closed", "busy"
function events:send(data, fields) end

--- Sends a comment, which no client shows.
---@param text? string
---@return true? ok
---@return string? message
---@return weft.Code? code as of `send`
function events:comment(text) end

--- Sends all that is published on a topic until the client is gone, as `app:events` with a topic does.
---@param topic string also a pattern; what is neither raises
---@return nil
---@return string message
---@return weft.Code code "closed", "timeout"; "refused" by the topic's `authorize_subscribe`
function events:relay(topic) end

--- How many bytes wait to be taken by the system.
---@return integer bytes
function events:buffered() end

--- Ends the stream. Idempotent.
---@return true
function events:close() end

--- A client of channels, of `weft.channel_client`. Can be a `<close>` variable. Where a request
--- fails, `code` is a word of the protocol ("forbidden", "not_found", ...; `doc/protocol.md`) or one
--- of the server's script if the server refused it, and one of `weft.code` if it got no answer.
---@class weft.channel_client
---@field connected boolean whether there is a connection
---@field url string
local channel_client = {}

--- Subscribes to a topic, and waits until the server has answered.
---@param topic string
---@param params? any for the channel's `join`
---@param timeout? number seconds, by default `request_timeout`
---@return weft.room? room
---@return string? message
---@return string? code "already_subscribed" if this client has it; "timeout", "closed"
function channel_client:subscribe(topic, params, timeout) end

--- Leaves all rooms and says goodbye, without waiting. What waits ends with "closed". Idempotent.
---@return true
function channel_client:close() end

--- A topic that a client of channels is subscribed to. With history on the topic each message
--- comes exactly once and in order, over all connections; where that is impossible an event says
--- so. Can be a `<close>` variable.
---@class weft.room
---@field topic string
---@field data any what the channel's `join` said
---@field epoch? string of the topic's history
---@field offset? integer of the newest message that has come
---@field recovered? boolean whether the last resuming missed nothing
---@field closed boolean whether it was left, or the server ended it
local room = {}

--- `for message, event in room:messages() do`: until the room is left. Other events are passed over,
--- but the message behind a gap has `event.gap`. JSON's null is cjson.null.
---@return fun(self: weft.room): any, weft.RoomEvent?
---@return weft.room
function room:messages() end

--- The next message.
---@param timeout? number seconds
---@return any message
---@return weft.RoomEvent|string event or the message of the failure
---@return weft.Code? code "closed", "timeout"
function room:receive(timeout) end

--- `for event in room:events() do`: all that happens, until the room is left.
---@return fun(self: weft.room): weft.RoomEvent?
---@return weft.room
function room:events() end

--- The next event of any type.
---@param timeout? number seconds
---@return weft.RoomEvent? event
---@return string? message
---@return weft.Code? code "closed", "timeout"
function room:event(timeout) end

--- Publishes, and waits until the server has taken it. A connection that breaks before the answer
--- is "closed": it may have been published or not, and is not sent again.
---@param data any a value for JSON
---@param opts? weft.RoomPublishOptions
---@return true? ok
---@return integer|string|nil offset in the topic's history; or the message
---@return string? code
function room:publish(data, opts) end

--- Calls a method of the channel.
---@param method string
---@param data? any
---@param timeout? number seconds, by default `request_timeout`
---@return any result nil without a message where it returned nothing
---@return string? message
---@return string? code
function room:call(method, data, timeout) end

--- Who is present.
---@param timeout? number seconds, by default `request_timeout`
---@return { id: string, data: any }[]? users
---@return string? message
---@return string? code
function room:presence(timeout) end

--- Leaves the topic, without waiting; what has come can still be received. Idempotent.
---@return true
function room:close() end

--- A client of channels, as their functions see it. Fields of your own may be added.
---@class weft.context
---@field ws? weft.websocket its connection; nil for one that uses Server-Sent Events
---@field request weft.request with which it came
---@field data any what `authorize` of `app:channels` returned, and then yours
---@field user any who it is: of `authorize`, until you set it
local context = {}

--- Publishes to everybody on a topic, this client included if it is: as `app:publish`.
---@param topic string
---@param data any a string, or a value for JSON
---@param opts? weft.PublishOptions
---@return integer? reached
---@return string? message
---@return weft.Code? code
function context:publish(topic, data, opts) end

--- Sends a message of a topic to this client alone; it has no offset. Never waits.
---@param topic string
---@param data any
---@param opts? weft.PushOptions
---@return true? ok
---@return string? message
---@return weft.Code? code "closed"; "too_big": the client is too slow, and its connection ends
function context:push(topic, data, opts) end

--- Ends this client's subscription to a topic, or without one its connection (1008).
---@param topic? string
---@param code? string a word for programs, default "kicked"
---@param message? string for people; of a connection at most 123 bytes of UTF-8, others raise
---@return boolean kicked whether there was one
function context:kick(topic, code, message) end

--- Changes this client's data in the presence of a topic; the others are told.
---@param topic string
---@param data any
---@return boolean updated false: it is not present there
function context:update(topic, data) end

--- A task's place on a topic, of `app:subscribe`. Can be a `<close>` variable.
---@class weft.subscription
---@field topic string
---@field epoch? string of the topic's history, at the time of subscribing; a pattern has none
---@field offset? integer the last message's then
---@field recovered? boolean with `since`: whether all that was missed is there
---@field dropped integer how many messages it did not get
local sub = {}

--- The next message; waits for one. After closing what waits can still be had.
---@param timeout? number seconds
---@return string? message
---@return table|string info `topic`, `kind`, `epoch`, `offset`, `key`, `event`, and `missed`: how many were dropped before it; or the message
---@return weft.Code? code "closed", "timeout", "busy"
function sub:receive(timeout) end

--- Iterates over what `receive` returns, until it is closed.
---@return fun(self: weft.subscription): string?, table?
---@return weft.subscription
function sub:each() end

--- Idempotent.
---@return true
function sub:close() end

--- A server: routes, addresses it listens at, and topics.
---
--- A pattern is a path of fixed segments, `:name` for any one segment, and `*rest` at the end
--- for all that follows. A fixed segment wins over `:name`, and that over `*rest`.
---
--- A handler of a method returns `status, headers, body`: a status from 200 to 599; a table of
--- header fields or nil (a value may be a list, for a field that is repeated; CR, LF and NUL are
--- refused); a string, nil, or a function that is called for piece after piece until it returns
--- nil: behind it may stand what belongs to it in a generic `for`: state, control, and a closing value,
--- which is closed however it ends (`return 200, nil, io.lines(path, "L")`). When the client goes away the iterator
--- is ended where it waits; a handler is not, so what waits long for a client belongs into the iterator.
--- The handler raises: 500 is answered, without saying why, and the request with the traceback goes to
--- `weft.on_error`. HEAD is answered by the handler of GET, which may tell `content-length` without a body
--- then; OPTIONS by weft; a path that has other methods, and no file, gets 405.
---@class weft.app
local app = {}

--- Adds a WebSocket route. The handler's return closes the connection with 1000, its error
--- with 1011. A plain request there gets 426, unless there is a handler of its method.
---@param pattern string
---@param handler fun(ws: weft.websocket) runs in a task of the connection's own
---@param opts? weft.WebsocketOptions
---@return weft.app self
function app:websocket(pattern, handler, opts) end

--- Answers GET, and HEAD.
---@param pattern string
---@param handler fun(req: weft.request): integer, table?, string|function|nil
---@param opts? weft.RouteOptions
---@return weft.app self
function app:get(pattern, handler, opts) end

--- Answers POST.
---@param pattern string
---@param handler fun(req: weft.request): integer, table?, string|function|nil
---@param opts? weft.RouteOptions
---@return weft.app self
function app:post(pattern, handler, opts) end

--- Answers PUT.
---@param pattern string
---@param handler fun(req: weft.request): integer, table?, string|function|nil
---@param opts? weft.RouteOptions
---@return weft.app self
function app:put(pattern, handler, opts) end

--- Answers PATCH.
---@param pattern string
---@param handler fun(req: weft.request): integer, table?, string|function|nil
---@param opts? weft.RouteOptions
---@return weft.app self
function app:patch(pattern, handler, opts) end

--- Answers DELETE.
---@param pattern string
---@param handler fun(req: weft.request): integer, table?, string|function|nil
---@param opts? weft.RouteOptions
---@return weft.app self
function app:delete(pattern, handler, opts) end

--- Has a function called before the route of every request, also of those for a WebSocket, a file
--- or nothing at all; in the order they were added. What it returns is the answer, and nothing is
--- asked behind it; without a status the request goes on.
---@param f fun(req: weft.request): integer?, table?, string|function|nil may wait, and use `req:set_header`
---@param path? string for this path and all below it only
---@return weft.app self
function app:before(f, path) end

--- Lets pages of other sites use this server (CORS): answers preflights, and marks answers. WebSockets
--- have their own option `origins`. May be called several times for different paths.
---@param opts? weft.CorsOptions
---@param path? string for this path and all below it only
---@return weft.app self
function app:cors(opts, path) end

--- Answers GET with Server-Sent Events (WHATWG HTML 9.2), as a browser's `EventSource` reads them.
--- The handler's return ends the stream, and the client comes back after a while; so does its error.
--- When the client goes away the handler is ended where it waits, so its `<close>` variables run.
--- The answer is not compressed, and tells proxies not to hold it back. `app:close()` ends all streams.
---
--- With a topic instead of a handler, all that is published there is sent; a word ":name" in it is the
--- route's parameter of that name, as one word. Its `authorize_subscribe` is asked, with the request. When
--- the topic has a history, ids are "epoch:offset", and a client that comes back with one gets exactly what it
--- missed; where that is not there any more the first event is `reset`, with the data
--- `{"recovered":false}`. Binary messages come in base64, as the event `binary`. For a client that is slow
--- the topic's `policy` holds, as for WebSockets; "disconnect" ends the stream. With `notice` the next
--- message after drops has an event `missed` before it, `{"type":"missed","topic":…,"count":n}`. Over a
--- pattern an event does not say which topic it is of. A handler can: for `source.addEventListener("room.1", …)`
--- it has `app:subscribe "room.*"`, and for each message of that `stream:send(message, { event = info.topic })`.
---
--- The same path answers long polls: GET with `Accept: application/json`, or with `?poll`. It waits
--- until there is a message, for `timeout=` seconds (25, 60 at most), then answers
--- `{"topic":…,"epoch":…,"offset":n,"messages":[{"offset":n,"event":…,"data":…},…]}`; without a message the
--- list is empty. Over a pattern each message has its `topic`. `since=epoch:offset` of one answer in the next poll goes on from there, and
--- `"recovered":false` says that it could not, at once. Epoch and offset are there with a history only;
--- without one, what is published between two polls is lost to them. Where a burst was more than the
--- topic's `policy` lets wait, `"missed":n` says so with `notice`. A binary message has
--- `"encoding":"base64"`.
---@param pattern string
---@param handler string|fun(stream: weft.events, req: weft.request) a topic ("news", "room.:id", "room.*"), or what runs in the connection's task
---@param opts? weft.EventsOptions
---@return weft.app self
function app:events(pattern, handler, opts) end

--- Lets other programs publish, by POST: with `?topic=` the body is the message (binary when it is not
--- UTF-8, or of type application/octet-stream); a form has the fields `topic` and `data`; JSON has `topic` and
--- either `data`, any JSON, or `message`, a string. `event` and `key` may be there, too. The answer is
--- `{"reached":n}`, with `epoch` and `offset` where the topic has a history; 401 without a good token, 403
--- when `authorize_publish` of the topic says no (it gets the request), 400 for what is malformed, 413.
---
--- `curl -H "Authorization: Bearer $TOKEN" --data-binary "hello" "https://example.org/publish?topic=news"`
---@param path string
---@param opts weft.PublisherOptions
---@return weft.app self
function app:publisher(path, opts) end

--- Serves the files below a directory where no route answers GET: GET and HEAD, one range (RFC
--- 9110 14), ETag and Last-Modified. Nothing outside of the directory, also not through a
--- symbolic link.
---@param prefix string "/" or "/assets"
---@param dir string raises when it is none
---@param opts? weft.StaticOptions
---@return weft.app self
function app:static(prefix, dir, opts) end

--- Serves weft.js, the module with which a page speaks `weft.1` (`import { Weft } from
--- "/weft.js"`), and its types for TypeScript beside it (`/weft.d.ts`): GET and HEAD, with ETag.
---@param path? string the module's; ends in ".js". Default: "/weft.js"
---@param opts? weft.ClientFilesOptions
---@return weft.app self
function app:client(path, opts) end

--- Listens; may be called for several addresses.
---@param address string as for `weft.listen`
---@param opts? weft.AppListenOptions
---@return string? address the one it has: "127.0.0.1:8080", "[::]:8080"
---@return integer|string port or the message
---@return weft.Code? code as of `weft.listen`
function app:listen(address, opts) end

--- Sets options for all topics that match a pattern. Each option is that of the most specific
--- pattern which gives it: compared word by word from the left, a word goes before `*`, and that
--- before `>`. A later call for the same pattern replaces all of its options.
---
--- A topic's name is words with dots between: 1 to 255 bytes of UTF-8 without an empty word,
--- spaces, control characters, `*` and `>`. In a pattern `*` stands for any one word, and `>` as
--- the last one for one word or more. Other names raise.
---@param pattern string a name or a pattern
---@param opts weft.TopicOptions
---@return weft.app self
function app:topic(pattern, opts) end

--- Sends a message to everyone on a topic, framed once for all. It never waits; what happens to
--- a subscriber that is slow is the topic's `policy`. No hook is asked.
---@param topic string
---@param message string|table|number|boolean what is no string goes as JSON, and to raw connections as its text; what JSON cannot say raises. Tables need lua-cjson
---@param kind? weft.Kind|weft.PublishOptions default "text"
---@param opts? weft.PublishOptions
---@return integer? reached how many it went to
---@return string|integer? message in a topic with history: the epoch, and the offset as a third result
---@return weft.Code|integer? code "utf8" when a text is not UTF-8
function app:publish(topic, message, kind, opts) end

--- Adds a channel: clients of the protocol `weft.1` (`weft.js`, `weft.channel_client`; it is
--- `doc/protocol.md`) may subscribe to the topics that match, under its rules. The most specific
--- pattern's channel is asked. Needs lua-cjson.
---@param pattern string a name or a pattern, as of `app:topic`
---@param opts weft.ChannelOptions
---@return weft.app self
function app:channel(pattern, opts) end

--- Sets where channels are found, and for whom. Without it they are at "/weft" from the first
--- `app:channel` on, or `app:listen` if that comes later.
---@param path string "/weft"
---@param opts? weft.ChannelsOptions
---@return weft.app self
function app:channels(path, opts) end

--- Who is present on a topic, in the order they came.
---@param topic string
---@return { id: string, data: any }[]
function app:presence(topic) end

--- Reads the history of a topic, oldest first.
---@param topic string
---@param opts? weft.ReadHistoryOptions
---@return weft.HistoryEntry[]? list
---@return string epoch, or the message
---@return integer|weft.Code offset of the newest; or "closed": with `since`, some of what came after it is not known any more
function app:history(topic, opts) end

--- A subscription of this process, for a task: no hook is asked. What is published waits in a
--- queue with the policy and the marks of the topic it was published on; "disconnect" closes it, without
--- marks when more than `hard_mark` waits, or more messages than that has 64 bytes. Where nothing waits a
--- message of any size may.
---@param topic string a name or a pattern
---@param opts? weft.ListeningOptions
---@return weft.subscription
function app:subscribe(topic, opts) end

--- How many have subscribed to exactly that name or pattern.
---@param topic string
---@return integer
function app:subscribers(topic) end

--- The names and patterns that somebody has subscribed to, how many have, and how many messages
--- were dropped for them, as they are now: changes meanwhile do no harm.
---@return fun(): string?, integer?, integer?
function app:topics() end

--- Counts: `connections`, `websockets` and `streams` (of events) are open now; `accepted`, `requests`, `upgraded`,
--- `refused` are since the start, and so are `tls_handshakes`, of these `tls_resumed`, and
--- `tls_failed`. `topics` and `subscriptions` are there now; `published` messages, `delivered`
--- ones (one for each subscriber) and `dropped` ones are since the start; `pending` ones, with
--- `pending_bytes`, wait for subscribers who are slow. Over their rates were, since the start, `limited`
--- connections and requests, messages that made reading wait (`rate_waited`) or were dropped
--- (`rate_dropped`), and WebSockets that were closed for it (`rate_closed`).
---@return table<string, integer>
function app:stats() end

--- Reads the certificates, keys and CAs of all its listeners again, for connections to come; those
--- that are open go on, and sessions are still resumed.
---@return true? ok
---@return string? message names the file; then everything stays as it was
---@return weft.Code? code "tls"
function app:reload_tls() end

--- Options of `app:drain`.
---@class weft.DrainOptions
---@field timeout? number seconds, default 30, 0 to 86400: what has not ended by itself then is cut off
---@field code? integer default 1012, 1000 to 4999: what WebSockets are closed with (RFC 6455 7.4): service restart, unless told otherwise
---@field reason? string default service restart: beside it, for people; at most 123 bytes of UTF-8
---@field batch? integer default 1000, 1 to 1073741824: WebSockets and streams of events that are asked to go at a time; more where half of `timeout` would not do for all
---@field interval? number seconds, default 1, 0.01 to 86400: between two batches

--- Lets everybody go in good order, before the process ends: stops listening, ends connections that wait for a
--- request, closes WebSockets and streams of events batch by batch, so that those who come back to
--- another process do not come all at once, then what `app:subscribe` returned; requests that are being answered
--- are answered to their end. Waits until nobody is left, or for `timeout`; what is left then is
--- cut off. A request for a new WebSocket on a connection that is still there gets 503. `app:close()`
--- meanwhile asks the rest at once. Raises for wrong options.
---@async
---@param opts? weft.DrainOptions
---@return true? ok
---@return string? message how many connections had to be cut off
---@return weft.Code? code "timeout", also that of an enclosing `weft.deadline`
function app:drain(opts) end

--- Stops listening, ends connections that wait for a request, asks every WebSocket to close with
--- 1001, and closes what `app:subscribe` returned, also later; long polls are answered at once. Does
--- not wait for them. Idempotent.
---@return true
function app:close() end

return weft
