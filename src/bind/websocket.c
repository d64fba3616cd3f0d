/*
 * websocket: the class websocket, on both ends of a connection, and hubs.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>

#include "bind/http.h"
#include "core/handshake.h"
#include "io/crypto.h"
#include "io/hub.h"

/* Uservalues of a websocket. */
enum { UV_DATA = 1, UV_REQUEST, UV_PROTOCOL, UV_COUNT = UV_PROTOCOL };

/* Upvalues of its methods, behind the two that all have: the kinds as strings, so
 * that a message costs no look-up of them. */
enum { UP_TEXT = 3, UP_BINARY };

/* -- options, compiled once per route ------------------------------------------- */

typedef struct wf_options_handle {
    const void *class;
    wf_ws_options *options;
} wf_options_handle;

static double number_field(lua_State *L, const char *name)
{
    if (lua_getfield(L, 1, name) != LUA_TNUMBER || !(lua_tonumber(L, -1) >= 0))
        luaL_error(L, "ws_options: '%s' must be a number, 0 or more", name);
    double v = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return WF_MIN(v, 9e15);
}

static uint32_t count_field(lua_State *L, const char *name)
{
    return (uint32_t)WF_MIN(number_field(L, name), 4294967295.0);
}

static int options_gc(lua_State *L)
{
    wf_options_handle *h = wf_class_check(L, 1, WF_CLASS_WS_OPTIONS);
    wf_ws_options_unref(h->options);
    h->options = NULL;
    return 0;
}

static int l_ws_options(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    wf_options_handle *h = wf_class_push(L, WF_CLASS_WS_OPTIONS, sizeof *h, 0);
    wf_ws_options v = {
        .refs = 1,
        .limits = { (size_t)number_field(L, "max_message"), count_field(L, "max_fragments"),
                    count_field(L, "max_empty") },
        .ping_interval = number_field(L, "ping_interval"),
        .ping_timeout = number_field(L, "ping_timeout"),
        .close_timeout = number_field(L, "close_timeout"),
        .high = (size_t)number_field(L, "high"),
        .low = (size_t)number_field(L, "low"),
        .hard = (size_t)number_field(L, "hard"),
        .inbox_bytes = (size_t)number_field(L, "inbox_bytes"),
        .inbox_messages = count_field(L, "inbox_messages"),
    };
    if (!(h->options = malloc(sizeof v)))
        return wf_fail(L, WF_NOMEM, NULL);
    *h->options = v;
    return 1;
}

/* -- making one ------------------------------------------------------------------ */

/* The stream becomes a websocket. [-0, +1|3, m] */
static int push_websocket(lua_State *L, wf_stream *s, bool client, wf_hub *hub, int request,
                          int protocol)
{
    wf_options_handle *o = wf_class_check(L, 3, WF_CLASS_WS_OPTIONS);
    /* without a protocol its uservalue is not there, and reads as nil */
    int uservalues = lua_toboolean(L, protocol) ? UV_COUNT : UV_PROTOCOL - 1;
    wf_handle *h = wf_handle_new(L, WF_CLASS_WEBSOCKET, uservalues);
    lua_pushvalue(L, request);
    lua_setiuservalue(L, -2, UV_REQUEST);
    lua_pushvalue(L, protocol);
    lua_setiuservalue(L, -2, UV_PROTOCOL);
    wf_ws *ws = wf_ws_new(s, client, o->options, hub);
    if (!ws)
        return wf_fail(L, WF_NOMEM, NULL);
    wf_handle_fill(h, &ws->object);
    wf_ws_begin(ws);
    return 1;
}

static bool queue_101(lua_State *L, wf_stream *s, const wf_request *r)
{
    const char *p = wf_request_bytes(r);
    const char *protocol = luaL_optstring(L, 5, NULL), *extra = luaL_optstring(L, 6, NULL);
    wf_head head;
    wf_request_head(r, &head);
    int key = wf_head_find(&head, p, "sec-websocket-key", 0);
    if (key < 0)
        luaL_error(L, "ws_accept: judge the request first");
    char accept[29], answer[160];
    wf_handshake_accept(p + head.fields[key].value.at, head.fields[key].value.len, wf_sha1, accept);
    int n = snprintf(answer, sizeof answer,
                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n", accept);
    bool ok = wf_stream_write(s, answer, (size_t)n) == WF_OK;
    if (protocol) {
        lua_pushfstring(L, "Sec-WebSocket-Protocol: %s\r\n", protocol);
        ok = ok && wf_stream_write(s, lua_tostring(L, -1), lua_rawlen(L, -1)) == WF_OK;
        lua_pop(L, 1);
    }
    if (extra)
        ok = ok && wf_stream_write(s, extra, strlen(extra)) == WF_OK;
    return ok && wf_stream_write(s, "\r\n", 2) == WF_OK;
}

/* ws_accept(stream, request, options, hub, protocol, extra header lines) */
static int l_ws_accept(lua_State *L)
{
    wf_stream *s = wf_stream_arg(L, 1);
    if (!s)
        return 3;
    wf_request *r = wf_request_arg(L, 2);
    wf_class_check(L, 3, WF_CLASS_WS_OPTIONS);
    wf_hub *hub = lua_isnoneornil(L, 4) ? NULL : (wf_hub *)wf_object_arg(L, 4, WF_CLASS_HUB);
    lua_settop(L, 6);
    if (s->fd < 0 || !queue_101(L, s, r))
        return wf_fail_stream(L, s, "handshake");
    return push_websocket(L, s, false, hub, 2, 5);
}

/* ws_client(stream, response, options, protocol) */
static int l_ws_client(lua_State *L)
{
    wf_stream *s = wf_stream_arg(L, 1);
    if (!s)
        return 3;
    wf_request_arg(L, 2);
    wf_class_check(L, 3, WF_CLASS_WS_OPTIONS);
    lua_settop(L, 4);
    if (s->fd < 0)
        return wf_fail_stream(L, s, "handshake");
    return push_websocket(L, s, true, NULL, 2, 4);
}

/* -- receiving ------------------------------------------------------------------- */

static wf_ws *ws_of(lua_State *L)
{
    return (wf_ws *)wf_handle_check(L)->object;
}

static enum wf_error end_error(const wf_ws *ws)
{
    switch (ws->clean ? 0 : ws->code) {
    case WF_CLOSE_PROTOCOL:
        return WF_PROTOCOL;
    case WF_CLOSE_INVALID_DATA:
        return WF_UTF8;
    case WF_CLOSE_TOO_BIG:
        return WF_TOO_BIG;
    default:
        return ws->why && strcmp(ws->why, "ping timeout") == 0 ? WF_TIMEOUT : WF_CLOSED;
    }
}

/* nil, message, code of a connection that has ended. [-0, +3, m] */
static int fail_ended(lua_State *L, const wf_ws *ws)
{
    if (!ws)
        return wf_fail(L, WF_CLOSED, "closed");
    if (!ws->ended)
        return wf_fail(L, WF_CLOSED, "closing");
    size_t n;
    const char *reason = wf_ws_reason(ws, &n);
    lua_pushlstring(L, reason, n);
    return wf_fail(L, end_error(ws), n ? "closed: %d %s" : "closed: %d", (int)ws->code,
                   lua_tostring(L, -1));
}

/*
 * A long text that was just received is known to be UTF-8, and is often what is sent
 * next: keep the last one, so that its pointer proves what it is. A short one is
 * checked again more cheaply.
 */
#define KNOWN_MIN 1024

static void remember_text(lua_State *L, wf_state *st)
{
    st->text = lua_tostring(L, -1);
    lua_pushvalue(L, -1);
    lua_rawseti(L, LUA_REGISTRYINDEX, st->text_ref);
}

static bool is_utf8(lua_State *L, const char *p, size_t n)
{
    if (n >= KNOWN_MIN && p == wf_state_of(L)->text)
        return true;
    return wf_utf8_valid((const uint8_t *)p, n);
}

static int push_message(lua_State *L, wf_ws *ws, const wf_message *m)
{
    lua_pushlstring(L, m->len ? (const char *)m->data : "", m->len);
    ws->object.loop->received += m->len;
    if (m->len >= KNOWN_MIN && m->kind == WF_OP_TEXT)
        remember_text(L, wf_state_of(L));
    lua_pushvalue(L, lua_upvalueindex(m->kind == WF_OP_TEXT ? UP_TEXT : UP_BINARY));
    wf_ws_received(ws, m);
    return 2;
}

static int receive_k(lua_State *L, int status, lua_KContext iterator);

/* ctx: 1 in an iterator, which ends where receive tells why. */
static int receive_step(lua_State *L, lua_KContext iterator)
{
    wf_ws *ws = ws_of(L);
    wf_message m;
    enum wf_error e = ws ? wf_ws_receive(ws, &m) : WF_CLOSED;
    if (e == WF_OK)
        return push_message(L, ws, &m);
    if (e == WF_BUSY) {
        if (ws->reader && iterator)
            return luaL_error(L, "another task already waits in receive on this connection");
        if (ws->reader)
            return wf_fail_busy(L, "receive on this connection");
        wf_wait_begin(L, iterator ? INFINITY : wf_opt_timeout(L, 2));
        return wf_wait(L, &ws->reader, receive_k, iterator);
    }
    if (!iterator)
        return fail_ended(L, ws);
    lua_pushnil(L);
    return 1;
}

static int receive_k(lua_State *L, int status, lua_KContext iterator)
{
    (void)status;
    enum wf_error e = wf_woken(L);
    wf_ws *ws = ws_of(L);
    wf_message m;
    if (e == WF_TIMEOUT) {
        if (!iterator)
            return wf_fail_timeout(L, "receive");
        lua_pushnil(L);
        return 1;
    }
    e = ws ? wf_ws_receive(ws, &m) : WF_CLOSED;
    if (e == WF_OK)
        return push_message(L, ws, &m);
    if (e == WF_BUSY)
        return wf_wait(L, &ws->reader, receive_k, iterator);
    return receive_step(L, iterator);
}

static int ws_receive(lua_State *L)
{
    return receive_step(L, 0);
}

static int next_message(lua_State *L)
{
    return receive_step(L, 1);
}

static int ws_messages(lua_State *L)
{
    wf_handle_check(L);
    lua_getfield(L, lua_upvalueindex(2), "__next");
    lua_pushvalue(L, 1);
    return 2;
}

/* -- sending --------------------------------------------------------------------- */

static unsigned check_kind(lua_State *L, int arg)
{
    const char *kind = lua_tostring(L, arg);
    if (!kind ? lua_isnoneornil(L, arg) : strcmp(kind, "text") == 0)
        return WF_OP_TEXT;
    if (!kind || strcmp(kind, "binary") != 0)
        luaL_argerror(L, arg, "the kind is \"text\" or \"binary\"");
    return WF_OP_BINARY;
}

static int fail_utf8(lua_State *L)
{
    return wf_fail(L, WF_UTF8, "a text message must be UTF-8; send other bytes as \"binary\"");
}

static int send_now(lua_State *L, wf_ws *ws)
{
    size_t n;
    const char *data = luaL_checklstring(L, 2, &n);
    unsigned kind = check_kind(L, 3);
    if (kind == WF_OP_TEXT && !is_utf8(L, data, n))
        return fail_utf8(L);
    enum wf_error e = ws ? wf_ws_send(ws, kind, data, n) : WF_CLOSED;
    if (WF_LIKELY(e == WF_OK)) {
        wf_send_now(ws->object.loop);
        lua_pushboolean(L, true);
        return 1;
    }
    return e == WF_CLOSED ? fail_ended(L, ws) : wf_fail(L, e, NULL);
}

static int send_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    enum wf_error e = wf_woken(L);
    wf_ws *ws = ws_of(L);
    if (e == WF_TIMEOUT)
        return wf_fail_timeout(L, "send: the peer is slow");
    if (ws && !ws->ended && wf_ws_choked(ws))
        return wf_wait(L, &ws->stream->writer, send_k, 0);
    return send_now(L, ws);
}

static int ws_send(lua_State *L)
{
    wf_ws *ws = ws_of(L);
    if (WF_LIKELY(!ws || !wf_ws_choked(ws) || ws->session.state != WF_SESSION_OPEN))
        return send_now(L, ws);
    luaL_checkstring(L, 2);
    check_kind(L, 3);
    if (ws->stream->writer)
        return wf_fail_busy(L, "send on this connection");
    wf_wait_begin(L, INFINITY);
    return wf_wait(L, &ws->stream->writer, send_k, 0);
}

static int ws_try_send(lua_State *L)
{
    wf_ws *ws = ws_of(L);
    if (ws && wf_ws_choked(ws)) {
        lua_pushboolean(L, false);
        return 1;
    }
    return send_now(L, ws);
}

static int ws_buffered(lua_State *L)
{
    wf_ws *ws = ws_of(L);
    lua_pushinteger(L, ws && ws->stream ? (lua_Integer)ws->stream->out.bytes : 0);
    return 1;
}

/* -- ping ------------------------------------------------------------------------- */

static int ping_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    enum wf_error e = wf_woken(L);
    wf_ws *ws = ws_of(L);
    if (e == WF_TIMEOUT)
        return wf_fail_timeout(L, "ping");
    if (!ws || ws->ended)
        return fail_ended(L, ws);
    lua_pushnumber(L, ws->latency);
    return 1;
}

static int ws_ping(lua_State *L)
{
    wf_ws *ws = ws_of(L);
    double timeout = wf_opt_timeout(L, 2);
    if (!ws || ws->ended)
        return fail_ended(L, ws);
    if (ws->pinger)
        return wf_fail_busy(L, "ping on this connection");
    wf_wait_begin(L, timeout);
    enum wf_error e = wf_ws_ping(ws);
    if (e != WF_OK)
        return e == WF_CLOSED ? fail_ended(L, ws) : wf_fail(L, e, NULL);
    return wf_wait(L, &ws->pinger, ping_k, 0);
}

static int ws_latency(lua_State *L)
{
    wf_ws *ws = ws_of(L);
    if (ws && ws->latency >= 0)
        lua_pushnumber(L, ws->latency);
    else
        lua_pushnil(L);
    return 1;
}

/* -- closing ---------------------------------------------------------------------- */

static int close_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    enum wf_error e = wf_woken(L);
    wf_ws *ws = ws_of(L);
    if (e == WF_TIMEOUT)
        return wf_fail_timeout(L, "close");
    if (ws && !ws->ended)
        return wf_wait(L, &ws->closer, close_k, 0);
    lua_pushboolean(L, true);
    return 1;
}

/* Where the caller can wait: it may be a finalizer, or on_error. */
static bool can_wait(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    return st->current ? st->current->co == L && lua_isyieldable(L) : !st->loop->turning;
}

static int ws_close(lua_State *L)
{
    wf_ws *ws = ws_of(L);
    lua_Integer code = luaL_optinteger(L, 2, WF_CLOSE_NORMAL);
    size_t n;
    const char *reason = luaL_optlstring(L, 3, "", &n);
    luaL_argcheck(L, code > 0 && code < 65536 && wf_close_code_valid((unsigned)code), 2,
                  "a close code is 1000 to 1003, 1007 to 1014, or 3000 to 4999");
    luaL_argcheck(L, n <= WF_REASON_MAX, 3, "a close reason has at most 123 bytes");
    luaL_argcheck(L, wf_utf8_valid((const uint8_t *)reason, n), 3, "a close reason is UTF-8");
    if (ws)
        wf_ws_close(ws, (unsigned)code, reason, n);
    if (ws)
        wf_send_now(ws->object.loop);
    if (!ws || ws->ended || ws->closer || !can_wait(L)) {
        lua_pushboolean(L, true);
        return 1;
    }
    wf_wait_begin(L, INFINITY);
    return wf_wait(L, &ws->closer, close_k, 0);
}

/* __close never waits: the loop finishes the handshake. */
static int ws_leave(lua_State *L)
{
    wf_ws *ws = ws_of(L);
    if (ws)
        wf_ws_close(ws, lua_isnoneornil(L, 2) ? WF_CLOSE_NORMAL : WF_CLOSE_INTERNAL, "", 0);
    if (ws)
        wf_send_now(ws->object.loop);
    return 0;
}

static int ws_closed(lua_State *L)
{
    wf_ws *ws = ws_of(L);
    if (ws && !ws->ended)
        return lua_pushnil(L), 1;
    lua_pushinteger(L, ws ? ws->code : WF_CLOSE_ABNORMAL);
    size_t n = 0;
    const char *reason = ws ? wf_ws_reason(ws, &n) : "";
    lua_pushlstring(L, reason, n);
    lua_pushboolean(L, ws && ws->clean);
    return 3;
}

/* -- topics ------------------------------------------------------------------------- */

static const char *check_topic(lua_State *L, int arg, size_t *n)
{
    const char *topic = luaL_checklstring(L, arg, n);
    luaL_argcheck(L, *n > 0 && *n <= WF_TOPIC_MAX, arg, "a topic's name has 1 to 255 bytes");
    return topic;
}

static int fail_topic(lua_State *L, wf_ws *ws)
{
    if (ws && ws->session.client)
        return luaL_error(L, "topics are the server's: a client connection has none");
    return fail_ended(L, ws);
}

static int ws_subscribe(lua_State *L)
{
    wf_ws *ws = ws_of(L);
    size_t n;
    const char *topic = check_topic(L, 2, &n);
    if (!ws || !ws->hub)
        return fail_topic(L, ws);
    if (wf_hub_subscribe(ws, topic, n) != WF_OK)
        return wf_fail(L, WF_NOMEM, NULL);
    lua_pushboolean(L, true);
    return 1;
}

static int ws_unsubscribe(lua_State *L)
{
    wf_ws *ws = ws_of(L);
    size_t n;
    const char *topic = check_topic(L, 2, &n);
    lua_pushboolean(L, ws && wf_hub_unsubscribe(ws, topic, n));
    return 1;
}

/* Arguments 2 to 4: topic, message, kind. [-0, +1|3, raises] */
static int publish(lua_State *L, wf_hub *hub, const wf_ws *except)
{
    size_t n, len, reached;
    const char *topic = check_topic(L, 2, &n);
    const char *data = luaL_checklstring(L, 3, &len);
    unsigned kind = check_kind(L, 4);
    if (kind == WF_OP_TEXT && !is_utf8(L, data, len))
        return fail_utf8(L);
    enum wf_error e = wf_hub_publish(hub, topic, n, kind, data, len, except, &reached);
    if (e != WF_OK)
        return wf_fail(L, e, NULL);
    wf_send_now(hub->object.loop);
    lua_pushinteger(L, (lua_Integer)reached);
    return 1;
}

static int ws_publish(lua_State *L)
{
    wf_ws *ws = ws_of(L);
    if (!ws || !ws->hub)
        return fail_topic(L, ws);
    return publish(L, ws->hub, ws);
}

static wf_hub *hub_of(lua_State *L)
{
    wf_hub *hub = (wf_hub *)wf_handle_check(L)->object;
    if (!hub)
        luaL_error(L, "weft: the hub is closed");
    return hub;
}

static int hub_publish(lua_State *L)
{
    return publish(L, hub_of(L), NULL);
}

static int hub_count(lua_State *L)
{
    size_t n;
    const char *topic = check_topic(L, 2, &n);
    lua_pushinteger(L, (lua_Integer)wf_hub_count(hub_of(L), topic, n));
    return 1;
}

static int hub_connections(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)hub_of(L)->connections);
    return 1;
}

static int hub_close(lua_State *L)
{
    size_t n;
    unsigned code = (unsigned)luaL_optinteger(L, 2, WF_CLOSE_GOING_AWAY);
    const char *reason = luaL_optlstring(L, 3, "", &n);
    lua_pushinteger(L, (lua_Integer)wf_hub_close(hub_of(L), code, reason, n));
    wf_send_now(hub_of(L)->object.loop);
    return 1;
}

static int l_hub(lua_State *L)
{
    wf_loop *loop = wf_state_loop(L);
    wf_handle *h = wf_handle_new(L, WF_CLASS_HUB, 0);
    wf_hub *hub = wf_hub_new(loop);
    if (!hub)
        return wf_fail(L, WF_NOMEM, NULL);
    wf_handle_fill(h, &hub->object);
    return 1;
}

/* -- the classes ------------------------------------------------------------------- */

static int ws_index(lua_State *L)
{
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(3)) != LUA_TNIL) /* the methods */
        return 1;
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    wf_handle *h = wf_handle_check(L);
    if (strcmp(key, "data") == 0)
        return lua_getiuservalue(L, 1, UV_DATA), 1;
    if (strcmp(key, "request") == 0)
        return lua_getiuservalue(L, 1, UV_REQUEST), 1;
    if (strcmp(key, "protocol") == 0)
        return lua_getiuservalue(L, 1, UV_PROTOCOL), 1;
    if (strcmp(key, "remote") == 0) {
        lua_getiuservalue(L, 1, UV_REQUEST);
        return lua_getfield(L, -1, "remote"), 1;
    }
    (void)h;
    return lua_pushnil(L), 1;
}

static int ws_newindex(lua_State *L)
{
    wf_handle_check(L);
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
    if (strcmp(key, "data") != 0)
        return luaL_error(L, "a websocket has no field '%s' to set; keep your own things in ws.data",
                          key);
    lua_settop(L, 3);
    lua_setiuservalue(L, 1, UV_DATA);
    return 0;
}

static int ws_tostring(lua_State *L)
{
    wf_ws *ws = ws_of(L);
    lua_getiuservalue(L, 1, UV_REQUEST);
    wf_request *r = wf_request_arg(L, -1);
    char ip[WF_IP_MAX];
    wf_peer_text(&r->peer, ip);
    lua_pushfstring(L, strchr(ip, ':') ? "weft.websocket ([%s]:%d%s)" : "weft.websocket (%s:%d%s)",
                    ip, (int)r->peer.port, !ws || ws->ended ? ", closed" : "");
    return 1;
}

static const luaL_Reg meta[] = {
    { "__newindex", ws_newindex }, { "__gc", wf_handle_close },  { "__close", ws_leave },
    { "__tostring", ws_tostring }, { NULL, NULL },
};

static const luaL_Reg methods[] = {
    { "receive", ws_receive },
    { "messages", ws_messages },
    { "__next", next_message },
    { "send", ws_send },
    { "try_send", ws_try_send },
    { "buffered", ws_buffered },
    { "ping", ws_ping },
    { "latency", ws_latency },
    { "close", ws_close },
    { "closed", ws_closed },
    { "subscribe", ws_subscribe },
    { "unsubscribe", ws_unsubscribe },
    { "publish", ws_publish },
    { NULL, NULL },
};

static const luaL_Reg hub_meta[] = { { "__gc", wf_handle_close }, { NULL, NULL } };

static const luaL_Reg hub_methods[] = {
    { "publish", hub_publish },
    { "count", hub_count },
    { "connections", hub_connections },
    { "close", hub_close },
    { NULL, NULL },
};

static const luaL_Reg options_meta[] = { { "__gc", options_gc }, { NULL, NULL } };
static const luaL_Reg no_functions[] = { { NULL, NULL } };

static const luaL_Reg functions[] = {
    { "ws_options", l_ws_options },
    { "ws_accept", l_ws_accept },
    { "ws_client", l_ws_client },
    { "hub", l_hub },
    { NULL, NULL },
};

/* Methods with the kinds among their upvalues. */
static void set_methods(lua_State *L, int module, const char *class, const luaL_Reg *list)
{
    luaL_getmetatable(L, class);
    lua_getfield(L, -1, "__methods");
    lua_getfield(L, module, "state");
    lua_pushvalue(L, -3);
    lua_pushliteral(L, "text");
    lua_pushliteral(L, "binary");
    luaL_setfuncs(L, list, UP_BINARY);
    lua_getfield(L, -1, "__next"); /* the iterator is no method to call */
    lua_setfield(L, -3, "__next");
    lua_pushnil(L);
    lua_setfield(L, -2, "__next");
    lua_pop(L, 2);
}

/* __index with the methods as a third upvalue: one look-up per call. */
static void set_index(lua_State *L, int module)
{
    luaL_getmetatable(L, "weft.websocket");
    lua_getfield(L, module, "state");
    lua_pushvalue(L, -2);
    lua_getfield(L, -3, "__methods");
    lua_pushcclosure(L, ws_index, 3);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void wf_open_websocket(lua_State *L, int module)
{
    wf_class_new(L, module, WF_CLASS_WS_OPTIONS, options_meta, no_functions);
    wf_class_new(L, module, WF_CLASS_HUB, hub_meta, no_functions);
    wf_class_new(L, module, WF_CLASS_WEBSOCKET, meta, no_functions);
    set_methods(L, module, "weft.hub", hub_methods);
    set_methods(L, module, "weft.websocket", methods);
    set_index(L, module);
    wf_set_functions(L, module, functions);
}
