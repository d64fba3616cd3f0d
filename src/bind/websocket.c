/*
 * websocket: the class websocket, the same on both ends of a connection. It is made in
 * handshake.c; its methods that concern topics stand in hub.c.
 */
#include "bind/websocket.h"

#include <math.h>
#include <string.h>

#include "bind/message.h"

#define WORTH_FORGETTING 1024 /* bytes: a message that must not stay while one waits */

enum { UP_NEXT = WF_MESSAGE_UP_BINARY + 1 }; /* of messages(): its iterator */

/* -- receiving ------------------------------------------------------------------- */

static enum wf_error end_error(const wf_ws *ws)
{
    if (ws->late)
        return WF_TIMEOUT;
    switch (ws->clean ? 0 : ws->code) {
    case WF_CLOSE_PROTOCOL:
        return WF_PROTOCOL;
    case WF_CLOSE_INVALID_DATA:
        return WF_UTF8;
    case WF_CLOSE_TOO_BIG:
        return WF_TOO_BIG;
    default:
        return WF_CLOSED;
    }
}

int wf_websocket_fail(lua_State *L, const wf_ws *ws)
{
    if (!ws)
        return wf_fail(L, WF_CLOSED, "closed");
    if (!ws->ended)
        return wf_fail(L, WF_CLOSED, wf_ws_is_mute(ws) ? "the peer is gone" : "closing");
    size_t n;
    const char *reason = wf_ws_reason(ws, &n);
    lua_pushlstring(L, reason, n);
    return wf_fail(L, end_error(ws), n ? "closed: %d %s" : "closed: %d", (int)ws->code,
                   lua_tostring(L, -1));
}

/* [-0, +3, raises] */
static int fail_second_reader(lua_State *L, lua_KContext iterator)
{
    if (iterator)
        return luaL_error(L, "another task already waits in receive on this connection, "
                             "or a loop over chunks() is not over");
    return wf_fail(L, WF_BUSY,
                   "another task already waits in receive on this connection, or a loop "
                   "over chunks() is not over");
}

static int next_message(lua_State *L);

/* Whether the caller's variables from n on are those of a loop over messages() of the
 * connection at index 1. [-0, +0, -] */
static bool is_loop(lua_State *L, const lua_Debug *caller, int n, const char *name)
{
    bool ours = lua_tocfunction(L, -1) == next_message &&
                strcmp(name, "(for state)") == 0 && lua_getlocal(L, caller, n + 1);
    if (!ours)
        return false;
    ours = lua_rawequal(L, -1, 1);
    lua_pop(L, 1);
    return ours;
}

/*
 * A generic for keeps the last message as its control variable. A connection would so
 * hold it for as long as its peer is silent, and the collector would find it old: those
 * only a collection of everything frees. Nothing reads it, so take it away.
 * [-0, +0, -]
 */
static void forget_last(lua_State *L)
{
    lua_Debug caller;
    const char *name;
    bool found = !lua_getstack(L, 1, &caller);
    lua_settop(L, 1);
    for (int n = 1; !found && (name = lua_getlocal(L, &caller, n)); n++) {
        found = is_loop(L, &caller, n, name);
        lua_pop(L, 1);
        if (!found)
            continue;
        lua_pushnil(L);
        if (!lua_setlocal(L, &caller, n + WF_FOR_CONTROL))
            lua_pop(L, 1);
    }
}

static int receive_k(lua_State *L, int status, lua_KContext iterator);

/* iterator: 1 in messages(), which ends where receive tells why. [-0, +1|2|3, raises] */
static int receive_step(lua_State *L, lua_KContext iterator, bool first)
{
    wf_ws *ws = wf_websocket_of(L);
    wf_message m;
    if (ws && first && wf_ws_claimed(ws))
        return fail_second_reader(L, iterator);
    enum wf_error e = ws ? wf_ws_take(ws, &m, WF_TAKE_WHOLE) : WF_CLOSED;
    if (e == WF_OK) {
        wf_message_push(L, &m);
        wf_ws_received(ws, &m);
        return 2;
    }
    if (e == WF_BUSY) {
        if (first && ws->reader)
            return fail_second_reader(L, iterator);
        if (iterator && lua_rawlen(L, 2) >= WORTH_FORGETTING)
            forget_last(L);
        if (first)
            wf_wait_begin(L, iterator ? INFINITY : wf_opt_timeout(L, 2));
        return wf_wait(L, &ws->reader, receive_k, iterator);
    }
    if (!iterator)
        return wf_websocket_fail(L, ws);
    lua_pushnil(L);
    return 1;
}

static int receive_k(lua_State *L, int status, lua_KContext iterator)
{
    (void)status;
    if (wf_woken(L) != WF_TIMEOUT)
        return receive_step(L, iterator, false);
    if (!iterator)
        return wf_fail_timeout(L, "receive");
    lua_pushnil(L);
    return 1;
}

static int ws_receive(lua_State *L)
{
    wf_opt_timeout(L, 2); /* also where a message is there */
    return receive_step(L, 0, true);
}

static int next_message(lua_State *L)
{
    return receive_step(L, 1, true);
}

static int ws_messages(lua_State *L)
{
    wf_handle_check(L);
    lua_pushvalue(L, lua_upvalueindex(UP_NEXT));
    lua_pushvalue(L, 1);
    return 2;
}

/* -- sending --------------------------------------------------------------------- */

int wf_websocket_fail_send(lua_State *L, const wf_ws *ws, enum wf_error e)
{
    if (e == WF_BUSY)
        return wf_fail(L, e, "a writer is open on this connection");
    return e == WF_CLOSED ? wf_websocket_fail(L, ws) : wf_fail(L, e, NULL);
}

/* Arguments 2 and 3, without waiting. [-0, +1|3, raises] */
static int hand_over(lua_State *L, wf_ws *ws)
{
    wf_message m;
    if (!wf_message_arg(L, 2, &m))
        return 3;
    enum wf_error e = ws ? wf_ws_send(ws, m.kind, m.data, m.len) : WF_CLOSED;
    if (WF_LIKELY(e == WF_OK)) {
        wf_send_now(L, ws->object.loop);
        lua_pushboolean(L, true);
        return 1;
    }
    return wf_websocket_fail_send(L, ws, e);
}

/* See wf_stream_is_moving. The connection may end here. [-0, +0, raises] */
static bool still_moves(lua_State *L, lua_KContext before)
{
    const wf_ws *ws = wf_websocket_of(L);
    return wf_stream_is_moving(L, ws ? ws->stream : NULL, (size_t)before);
}

static int send_step(lua_State *L, wf_ws *ws);

/* Of several that wait each looks again in its turn. before: the bytes that were queued
 * when it began to wait. */
static int send_k(lua_State *L, int status, lua_KContext before)
{
    (void)status;
    enum wf_error e = wf_woken(L);
    if (e == WF_TIMEOUT && !still_moves(L, before))
        return wf_fail_timeout(L, "send: the peer is slow");
    return send_step(L, wf_websocket_of(L));
}

/* [-0, +1|3, raises] */
static int send_step(lua_State *L, wf_ws *ws)
{
    if (!ws || !wf_ws_choked(ws))
        return hand_over(L, ws);
    wf_wait_begin(L, ws->options->send_timeout);
    return wf_wait(L, &ws->stream->writer, send_k, (lua_KContext)ws->stream->out.bytes);
}

static int ws_send(lua_State *L)
{
    wf_ws *ws = wf_websocket_of(L);
    if (WF_LIKELY(!ws || !wf_ws_choked(ws)) || wf_session_is_open(&ws->session))
        return hand_over(L, ws);
    luaL_checkstring(L, 2);
    wf_message_kind(L, 3);
    wf_message_options(L, 4);
    return send_step(L, ws);
}

static int ws_try_send(lua_State *L)
{
    wf_ws *ws = wf_websocket_of(L);
    if (ws && wf_ws_choked(ws) && !wf_session_is_open(&ws->session)) {
        lua_pushboolean(L, false);
        return 1;
    }
    return hand_over(L, ws);
}

static int drain_k(lua_State *L, int status, lua_KContext before);

/* before: of send_timeout; 0: the time is the caller's own. [-0, +1|3, raises] */
static int drain_step(lua_State *L, wf_ws *ws, lua_KContext before)
{
    if (ws && wf_ws_choked(ws))
        return wf_wait(L, &ws->stream->writer, drain_k, before);
    if (!ws || wf_ws_is_mute(ws) || ws->session.state != WF_SESSION_OPEN)
        return wf_websocket_fail(L, ws);
    lua_pushboolean(L, true);
    return 1;
}

/* [-0, +1|3, raises] */
static int drain_patiently(lua_State *L, wf_ws *ws)
{
    if (!ws || !wf_ws_choked(ws))
        return drain_step(L, ws, 0);
    wf_wait_begin(L, ws->options->send_timeout);
    return drain_step(L, ws, (lua_KContext)ws->stream->out.bytes);
}

static int drain_k(lua_State *L, int status, lua_KContext before)
{
    (void)status;
    enum wf_error e = wf_woken(L);
    if (e == WF_TIMEOUT && !still_moves(L, before))
        return wf_fail_timeout(L, "drain: the peer is slow");
    wf_ws *ws = wf_websocket_of(L);
    return before > 0 ? drain_patiently(L, ws) : drain_step(L, ws, 0);
}

static int ws_drain(lua_State *L)
{
    wf_ws *ws = wf_websocket_of(L);
    double timeout = wf_opt_timeout(L, 2);
    if (lua_isnoneornil(L, 2) || !ws || !wf_ws_choked(ws))
        return drain_patiently(L, ws);
    wf_wait_begin(L, timeout);
    return drain_step(L, ws, 0);
}

static int ws_buffered(lua_State *L)
{
    wf_ws *ws = wf_websocket_of(L);
    lua_pushinteger(L, ws && ws->stream ? (lua_Integer)ws->stream->out.bytes : 0);
    return 1;
}

/* -- ping ------------------------------------------------------------------------- */

static int ping_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    enum wf_error e = wf_woken(L);
    wf_ws *ws = wf_websocket_of(L);
    if (e == WF_TIMEOUT)
        return wf_fail_timeout(L, "ping");
    if (!ws || wf_ws_is_mute(ws))
        return wf_websocket_fail(L, ws);
    lua_pushnumber(L, ws->latency);
    return 1;
}

static int ws_ping(lua_State *L)
{
    wf_ws *ws = wf_websocket_of(L);
    double timeout = wf_opt_timeout(L, 2);
    if (!ws || ws->ended)
        return wf_websocket_fail(L, ws);
    if (lua_isnoneornil(L, 2) && ws->options->ping_timeout > 0)
        timeout = ws->options->ping_timeout;
    if (ws->pinger)
        return wf_fail_busy(L, "ping on this connection");
    wf_wait_begin(L, timeout);
    enum wf_error e = wf_ws_ping(ws);
    if (e != WF_OK)
        return e == WF_CLOSED ? wf_websocket_fail(L, ws) : wf_fail(L, e, NULL);
    return wf_wait(L, &ws->pinger, ping_k, 0);
}

static int ws_latency(lua_State *L)
{
    wf_ws *ws = wf_websocket_of(L);
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
    wf_ws *ws = wf_websocket_of(L);
    if (e == WF_TIMEOUT)
        return wf_fail_timeout(L, "close");
    if (ws && !ws->ended)
        return wf_wait(L, &ws->closer, close_k, 0);
    lua_pushboolean(L, true);
    return 1;
}

static bool is_close_code(lua_Integer code)
{
    return code > 0 && code < 65536 && wf_close_code_valid((unsigned)code);
}

/* is_close_code(code) -> may a close frame have it? (RFC 6455 7.4) */
static int l_is_close_code(lua_State *L)
{
    lua_pushboolean(L, is_close_code(luaL_checkinteger(L, 1)));
    return 1;
}

/* [-0, +0, raises] */
static unsigned check_close_code(lua_State *L, int arg)
{
    lua_Integer code = luaL_optinteger(L, arg, WF_CLOSE_NORMAL);
    luaL_argcheck(L, is_close_code(code), arg,
                  "a close code is 1000 to 1003, 1007 to 1014, or 3000 to 4999");
    return (unsigned)code;
}

/* [-0, +0, raises] */
static const char *check_close_reason(lua_State *L, int arg, size_t *n)
{
    const char *reason = luaL_optlstring(L, arg, "", n);
    bool text = wf_utf8_valid((const uint8_t *)reason, *n);
    luaL_argcheck(L, *n <= WF_REASON_MAX, arg, "a close reason has at most 123 bytes");
    luaL_argcheck(L, text, arg, "a close reason is UTF-8");
    return reason;
}

static int ws_close(lua_State *L)
{
    wf_ws *ws = wf_websocket_of(L);
    unsigned code = check_close_code(L, 2);
    size_t n;
    const char *reason = check_close_reason(L, 3, &n);
    if (ws) {
        wf_ws_close(ws, code, reason, n);
        wf_send_last(ws->object.loop);
    }
    if (!ws || ws->ended || ws->closer || !wf_can_wait(L)) {
        lua_pushboolean(L, true);
        return 1;
    }
    wf_wait_begin(L, INFINITY);
    return wf_wait(L, &ws->closer, close_k, 0);
}

/* __close never waits: the loop finishes the handshake. */
static int ws_leave(lua_State *L)
{
    wf_ws *ws = wf_websocket_of(L);
    bool failed = !lua_isnoneornil(L, 2);
    if (ws) {
        wf_ws_close(ws, failed ? WF_CLOSE_INTERNAL : WF_CLOSE_NORMAL, "", 0);
        wf_send_last(ws->object.loop);
    }
    return 0;
}

static int ws_closed(lua_State *L)
{
    wf_ws *ws = wf_websocket_of(L);
    if (ws && !ws->ended)
        return lua_pushnil(L), 1;
    lua_pushinteger(L, ws ? ws->code : WF_CLOSE_ABNORMAL);
    size_t n = 0;
    const char *reason = ws ? wf_ws_reason(ws, &n) : "";
    lua_pushlstring(L, reason, n);
    lua_pushboolean(L, ws && ws->clean);
    return 3;
}

/* -- the class --------------------------------------------------------------------- */

/* As browsers have it: what was agreed on, or "". [-0, +1, m] */
static void push_extensions(lua_State *L, const wf_ws *ws)
{
    char text[WF_EXTENSION_TEXT];
    const wf_deflate *d = ws ? ws->session.deflate : NULL;
    lua_pushlstring(L, text, d ? wf_extension_answer(&d->agreed, text) : 0);
}

/* What the key names besides methods. [-0, +1, m] */
static void push_own(lua_State *L, const char *key)
{
    if (strcmp(key, "data") == 0) {
        lua_getiuservalue(L, 1, WF_WEBSOCKET_UV_DATA);
    } else if (strcmp(key, "request") == 0) {
        lua_getiuservalue(L, 1, WF_WEBSOCKET_UV_REQUEST);
    } else if (strcmp(key, "protocol") == 0) {
        lua_getiuservalue(L, 1, WF_WEBSOCKET_UV_REQUEST);
        wf_request_push_protocol(L, wf_request_arg(L, -1));
    } else if (strcmp(key, "extensions") == 0) {
        push_extensions(L, wf_websocket_of(L));
    } else if (strcmp(key, "remote") == 0) {
        lua_getiuservalue(L, 1, WF_WEBSOCKET_UV_REQUEST);
        lua_getfield(L, -1, "remote");
    } else {
        lua_pushnil(L);
    }
}

static int ws_index(lua_State *L)
{
    if (WF_LIKELY(wf_class_method(L)))
        return 1;
    wf_handle_check(L);
    push_own(L, lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "");
    return 1;
}

static int ws_newindex(lua_State *L)
{
    static const char no_field[] =
        "a websocket has no field '%s' to set; keep your own things in ws.data";
    wf_handle_check(L);
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
    if (strcmp(key, "data") != 0)
        return luaL_error(L, no_field, key);
    lua_settop(L, 3);
    lua_setiuservalue(L, 1, WF_WEBSOCKET_UV_DATA);
    return 0;
}

static int ws_tostring(lua_State *L)
{
    wf_ws *ws = wf_websocket_of(L);
    lua_getiuservalue(L, 1, WF_WEBSOCKET_UV_REQUEST);
    wf_request *r = wf_request_arg(L, -1);
    char ip[WF_IP_MAX];
    wf_peer_text(&r->peer, ip);
    wf_socket_push_endpoint(L, ip, r->peer.port);
    lua_pushfstring(L, "weft.websocket (%s%s)", lua_tostring(L, -1),
                    !ws || ws->ended ? ", closed" : "");
    return 1;
}

static const luaL_Reg meta[] = {
    { "__index", ws_index }, { "__newindex", ws_newindex }, { "__gc", wf_handle_close },
    { "__close", ws_leave }, { "__tostring", ws_tostring }, { NULL, NULL },
};

static const luaL_Reg methods[] = {
    { "send", ws_send },         { "try_send", ws_try_send }, { "drain", ws_drain },
    { "buffered", ws_buffered }, { "ping", ws_ping },         { "latency", ws_latency },
    { "close", ws_close },       { "closed", ws_closed },     { NULL, NULL },
};

static const luaL_Reg receiving_methods[] = {
    { "receive", ws_receive },
    { "messages", ws_messages },
    { NULL, NULL },
};

/* Those with the kinds, and the iterator, among their upvalues. [-0, +0, m] */
static void add_receiving(lua_State *L, int module)
{
    lua_pushliteral(L, "text");
    lua_pushliteral(L, "binary");
    lua_getfield(L, module, "state");
    wf_class_push_tag(L, WF_CLASS_WEBSOCKET);
    lua_pushvalue(L, -4);
    lua_pushvalue(L, -4);
    lua_pushcclosure(L, next_message, WF_MESSAGE_UP_BINARY);
    wf_class_add(L, module, WF_CLASS_WEBSOCKET, receiving_methods, 3);
}

static const luaL_Reg functions[] = {
    { "is_close_code", l_is_close_code },
    { NULL, NULL },
};

void wf_open_websocket(lua_State *L, int module)
{
    wf_set_functions(L, module, functions);
    wf_class_new(L, module, WF_CLASS_WEBSOCKET, meta, methods);
    add_receiving(L, module);
}
