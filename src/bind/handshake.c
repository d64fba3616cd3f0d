/*
 * handshake: requests and responses judged by the core, and streams that become
 * websockets. What is sent in between is decided in Lua (lua/weft/upgrade.lua,
 * client.lua).
 */
#include "core/handshake.h"

#include <string.h>

#include "bind/websocket.h"
#include "io/crypto.h"
#include "io/hub.h"

/* -- judging --------------------------------------------------------------------- */

/* judge(request) -> 101 | status, why, bad_version */
static int l_judge(lua_State *L)
{
    wf_head head;
    wf_request *r = wf_request_head(L, 1, &head);
    bool bad_version = false;
    const char *why = NULL;
    int status = wf_handshake_judge(&head, wf_request_bytes(r), &bad_version, &why);
    lua_pushinteger(L, status);
    if (status == 101)
        return 1;
    lua_pushstring(L, why);
    lua_pushboolean(L, bad_version);
    return 3;
}

static int l_ws_key(lua_State *L)
{
    uint8_t random[16];
    char key[25];
    if (!wf_random(random, sizeof random))
        return wf_fail(L, WF_SYSTEM, "the system gave no random bytes");
    wf_handshake_key(random, key);
    lua_pushstring(L, key);
    return 1;
}

/* What the server chose without an offer, cut to a bearable length. [-0, +2, m] */
static int fail_check(lua_State *L, const wf_request *r, const char *why, wf_span named)
{
    lua_pushnil(L);
    if (named.len == 0) {
        lua_pushstring(L, why);
        return 2;
    }
    lua_pushlstring(L, wf_request_bytes(r) + named.at, WF_MIN(named.len, 60));
    lua_pushfstring(L, "%s: \"%s\"", why, lua_tostring(L, -1));
    lua_remove(L, -2);
    return 2;
}

/* ws_offer(options) -> the value of a client's Sec-WebSocket-Extensions, or nil */
static int l_ws_offer(lua_State *L)
{
    char text[WF_EXTENSION_TEXT];
    size_t n = wf_extension_offer(&wf_ws_options_arg(L, 1)->deflate.wish, text);
    if (n > 0)
        lua_pushlstring(L, text, n);
    else
        lua_pushnil(L);
    return 1;
}

/* Every such field of the head, one after the other. */
static const char *check_extensions(const wf_head *head, const char *p,
                                    const wf_extension *wish, wf_extension *agreed)
{
    static const char name[] = "sec-websocket-extensions";
    const char *why = NULL;
    *agreed = (wf_extension){ .deflate = false };
    for (int i = 0; !why && (i = wf_head_find(head, p, name, i)) >= 0; i++) {
        wf_span v = head->fields[i].value;
        why = wf_extension_check(p + v.at, v.len, wish, agreed);
    }
    return why;
}

static wf_extension accept_extensions(const wf_head *head, const char *p,
                                      const wf_extension *wish)
{
    static const char name[] = "sec-websocket-extensions";
    wf_extension agreed = { .deflate = false };
    for (int i = 0; wish->deflate && (i = wf_head_find(head, p, name, i)) >= 0; i++) {
        wf_span v = head->fields[i].value;
        wf_extension_accept(p + v.at, v.len, wish, &agreed);
    }
    return agreed;
}

/* ws_check(response, key, offered, options) -> protocol or false | nil, why */
static int l_ws_check(lua_State *L)
{
    wf_head head;
    wf_request *r = wf_request_head(L, 1, &head);
    const char *key = luaL_checkstring(L, 2), *offered = luaL_optstring(L, 3, NULL);
    const wf_extension *wish = &wf_ws_options_arg(L, 4)->deflate.wish;
    wf_extension agreed;
    wf_span protocol = { 0, 0 };
    const char *why = wf_handshake_check(&head, wf_request_bytes(r), key, wf_sha1,
                                         offered, wish->deflate, &protocol);
    if (!why)
        why = check_extensions(&head, wf_request_bytes(r), wish, &agreed);
    if (why)
        return fail_check(L, r, why, protocol);
    if (protocol.len > 0)
        wf_request_push_span(L, r, protocol);
    else
        lua_pushboolean(L, false);
    return 1;
}

/* -- becoming a websocket -------------------------------------------------------- */

/* The stream, argument 1, becomes a websocket, and its handle that one's: the request is
 * argument 2, the protocol that one. [-0, +1|3, m] */
static int push_websocket(lua_State *L, wf_stream *s, wf_hub *hub, int protocol,
                          const wf_extension *agreed, bool client)
{
    wf_handle *h = lua_touserdata(L, 1);
    wf_ws *ws = wf_ws_new(s, client, wf_ws_options_arg(L, 3), hub);
    if (!ws)
        return wf_fail(L, WF_NOMEM, NULL);
    if (agreed->deflate && !wf_ws_compress(ws, agreed)) {
        wf_ws_close(ws, WF_CLOSE_INTERNAL, NULL, 0);
        return wf_fail(L, WF_NOMEM, NULL);
    }
    wf_handle_become(L, WF_CLASS_WEBSOCKET);
    wf_handle_fill(h, &ws->object);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, 1, WF_WEBSOCKET_UV_REQUEST);
    size_t n;
    const char *name = lua_tolstring(L, protocol, &n);
    if (name)
        wf_request_agree(wf_request_arg(L, 2), name, n);
    wf_ws_begin(ws);
    lua_pushvalue(L, 1);
    return 1;
}

static bool queue_status(wf_stream *s, wf_span key, const char *p)
{
    static const char lines[] =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Accept: ";
    enum { BEFORE = sizeof lines - 1 };
    char answer[BEFORE + WF_ACCEPT_LEN + 2];
    memcpy(answer, lines, BEFORE);
    wf_handshake_accept(p + key.at, key.len, wf_sha1, answer + BEFORE);
    memcpy(answer + BEFORE + WF_ACCEPT_LEN, "\r\n", 2);
    return wf_stream_write(s, answer, sizeof answer) == WF_OK;
}

/* The answer to the request, argument 2. [-0, +0, raises] */
static bool queue_101(lua_State *L, wf_stream *s, wf_extension *agreed)
{
    const char *protocol = luaL_optstring(L, 5, NULL);
    const char *extra = luaL_optstring(L, 6, NULL);
    wf_head head;
    const char *p = wf_request_bytes(wf_request_head(L, 2, &head));
    int field = wf_head_find(&head, p, "sec-websocket-key", 0);
    if (field < 0)
        luaL_error(L, "ws_accept: judge the request first");
    bool ok = queue_status(s, head.fields[field].value, p);
    if (protocol) {
        lua_pushfstring(L, "Sec-WebSocket-Protocol: %s\r\n", protocol);
        ok = ok && wf_stream_write(s, lua_tostring(L, -1), lua_rawlen(L, -1)) == WF_OK;
        lua_pop(L, 1);
    }
    *agreed = accept_extensions(&head, p, &wf_ws_options_arg(L, 3)->deflate.wish);
    if (agreed->deflate) {
        char line[WF_EXTENSION_TEXT + 32] = "Sec-WebSocket-Extensions: ";
        size_t at = strlen(line), len = at + wf_extension_answer(agreed, line + at);
        memcpy(line + len, "\r\n", 2);
        ok = ok && wf_stream_write(s, line, len + 2) == WF_OK;
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
    wf_request_arg(L, 2);
    wf_ws_options_arg(L, 3);
    bool alone = lua_isnoneornil(L, 4);
    wf_hub *hub = alone ? NULL : (wf_hub *)wf_object_arg(L, 4, WF_CLASS_HUB);
    lua_settop(L, 6);
    wf_extension agreed;
    if (s->fd < 0 || !queue_101(L, s, &agreed))
        return wf_fail_stream(L, s, "handshake");
    s->peer = wf_request_arg(L, 2)->peer; /* a trusted proxy may have said who it is */
    return push_websocket(L, s, hub, 5, &agreed, false);
}

/* ws_client(stream, response, options, protocol) */
static int l_ws_client(lua_State *L)
{
    wf_stream *s = wf_stream_arg(L, 1);
    if (!s)
        return 3;
    wf_request_arg(L, 2);
    wf_ws_options_arg(L, 3);
    lua_settop(L, 4);
    if (s->fd < 0)
        return wf_fail_stream(L, s, "handshake");
    wf_head head;
    wf_extension agreed;
    const char *p = wf_request_bytes(wf_request_head(L, 2, &head));
    const char *why =
        check_extensions(&head, p, &wf_ws_options_arg(L, 3)->deflate.wish, &agreed);
    if (why)
        return luaL_error(L, "ws_client: %s", why); /* ws_check comes first */
    return push_websocket(L, s, NULL, 4, &agreed, true);
}

static const luaL_Reg functions[] = {
    { "judge", l_judge },
    { "ws_key", l_ws_key },
    { "ws_check", l_ws_check },
    { "ws_offer", l_ws_offer },
    { "ws_accept", l_ws_accept },
    { "ws_client", l_ws_client },
    { NULL, NULL },
};

void wf_open_handshake(lua_State *L, int module)
{
    wf_set_functions(L, module, functions);
}
