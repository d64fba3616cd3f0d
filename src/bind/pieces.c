/*
 * pieces: ws:chunks() and ws:writer(): messages that are never whole in memory. Two
 * classes, each with the websocket as its user value: chunks is the state of one loop
 * over one message, writer one message that is sent. chunks() itself stands in
 * streaming.lua, which checks its options.
 */
#include "bind/message.h"
#include "bind/task.h"
#include "bind/websocket.h"

#include <math.h>

typedef struct wf_chunks {
    const void *class;
    uint64_t max;   /* bytes of the message */
    double timeout; /* of each wait */
    uint32_t id;
    bool begun, ended;
} wf_chunks;

typedef struct wf_writer {
    const void *class;
    uint32_t id;
    bool busy; /* a task waits in write */
    bool ended;
} wf_writer;

/* The websocket of argument 1; NULL: closed. [-0, +0, -] */
static wf_ws *websocket_of(lua_State *L)
{
    lua_getiuservalue(L, 1, 1);
    const wf_handle *h = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return h ? (wf_ws *)h->object : NULL;
}

static uint32_t new_id(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    return st->numbers = st->numbers == UINT32_MAX ? 1 : st->numbers + 1;
}

/* -- chunks ---------------------------------------------------------------------- */

static void leave(wf_chunks *c, wf_ws *ws)
{
    if (ws && !c->ended)
        wf_ws_leave(ws, c->id, c->begun);
    c->ended = true;
}

/* A loop that just ended would pass for a whole message. [-0, +1, raises] */
static int end_chunks(lua_State *L, wf_chunks *c, wf_ws *ws, bool late)
{
    leave(c, ws);
    if (!c->begun)
        return lua_pushnil(L), 1;
    if (late)
        return luaL_error(L, "ws:chunks: timeout in the middle of a message");
    wf_websocket_fail(L, ws);
    return luaL_error(L, "ws:chunks: the message broke off: %s", lua_tostring(L, -2));
}

/* [-0, +0, raises] */
static void claim(lua_State *L, const wf_chunks *c, wf_ws *ws)
{
    switch (wf_ws_claim(ws, c->id, c->max)) {
    case WF_OK:
        return;
    case WF_BUSY:
        luaL_error(L, "another task already waits in receive on this connection, or "
                      "another loop over chunks() is not over");
        return;
    default:
        luaL_error(L, "weft: not enough memory for chunks()");
    }
}

static int next_chunk_k(lua_State *L, int status, lua_KContext ctx);

/* [-0, +1|3, raises] */
static int chunk_step(lua_State *L, wf_chunks *c, wf_ws *ws, bool first)
{
    wf_message m;
    enum wf_error e = ws ? wf_ws_take_piece(ws, &m) : WF_CLOSED;
    if (e == WF_BUSY) {
        if (first)
            wf_wait_begin(L, c->timeout);
        return wf_wait(L, &ws->reader, next_chunk_k, 0);
    }
    if (e != WF_OK)
        return end_chunks(L, c, ws, false);
    c->begun = true;
    c->ended = !m.more;
    wf_message_push(L, &m);
    lua_pushboolean(L, c->ended);
    lua_insert(L, -2);
    wf_ws_received(ws, &m);
    return 3;
}

static int next_chunk_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    enum wf_error e = wf_woken(L);
    wf_chunks *c = wf_class_check(L, 1, WF_CLASS_CHUNKS);
    wf_ws *ws = websocket_of(L);
    if (e == WF_TIMEOUT)
        return end_chunks(L, c, ws, true);
    return chunk_step(L, c, ws, false);
}

static int next_chunk(lua_State *L)
{
    wf_chunks *c = wf_class_check(L, 1, WF_CLASS_CHUNKS);
    wf_ws *ws = websocket_of(L);
    if (c->ended)
        return lua_pushnil(L), 1;
    if (ws)
        claim(L, c, ws);
    return chunk_step(L, c, ws, true);
}

static int chunks_close(lua_State *L)
{
    leave(wf_class_check(L, 1, WF_CLASS_CHUNKS), websocket_of(L));
    return 0;
}

/* chunks(ws, max_message, timeout) -> next, state, nil, state: nil for none of both */
static int l_chunks(lua_State *L)
{
    wf_class_check(L, 1, WF_CLASS_WEBSOCKET);
    lua_Integer max = luaL_optinteger(L, 2, 0);
    double timeout = wf_opt_timeout(L, 3);
    lua_pushvalue(L, lua_upvalueindex(2));
    wf_chunks *c = wf_class_push(L, WF_CLASS_CHUNKS, sizeof *c, 1);
    c->id = new_id(L);
    c->max = max > 0 ? (uint64_t)max : UINT64_MAX;
    c->timeout = timeout;
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    lua_pushnil(L);
    lua_pushvalue(L, -2);
    return 4;
}

/* -- writers --------------------------------------------------------------------- */

static int ws_writer(lua_State *L)
{
    wf_ws *ws = wf_websocket_of(L);
    unsigned op = wf_message_kind(L, 2) | wf_message_options(L, 3);
    wf_writer *w = wf_class_push(L, WF_CLASS_WRITER, sizeof *w, 1);
    w->ended = true;
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    w->id = new_id(L);
    enum wf_error e = ws ? wf_ws_open(ws, w->id, op) : WF_CLOSED;
    if (e != WF_OK)
        return wf_websocket_fail_send(L, ws, e);
    w->ended = false;
    return 1;
}

/* Behind nil, message, code stands what of the data was sent. [-0, +1, -] */
static int fail_write(lua_State *L, size_t at)
{
    lua_pushinteger(L, (lua_Integer)at);
    return 4;
}

/* [-0, +3, m] */
static int fail_part(lua_State *L, const wf_ws *ws, enum wf_error e)
{
    if (e == WF_UTF8)
        return wf_fail(L, e,
                       "a text message must be UTF-8; write other bytes to a "
                       "writer of kind \"binary\"");
    return wf_websocket_fail_send(L, ws, e);
}

/* What goes in several frames is judged as a whole: nothing of it is sent then. */
static bool is_text(const wf_ws *ws, const char *data, size_t n)
{
    wf_utf8_state utf8 = ws->session.pieces->utf8;
    return n <= WF_WRITE_BYTES || ws->session.pieces->op != WF_OP_TEXT ||
           wf_utf8_feed(&utf8, (const uint8_t *)data, n);
}

static int write_k(lua_State *L, int status, lua_KContext at);

/* Goes on with argument 2 from `at`. [-0, +1|4, raises] */
static int write_step(lua_State *L, wf_writer *w, wf_ws *ws, size_t at)
{
    size_t n;
    const char *data = luaL_checklstring(L, 2, &n);
    enum wf_error e = WF_OK;
    while (at < n && e == WF_OK) {
        if (!ws || !wf_ws_is_open(ws, w->id)) {
            e = WF_CLOSED;
        } else if (wf_ws_choked(ws)) {
            wf_wait_begin(L, ws->options->send_timeout);
            w->busy = true;
            lua_settop(L, 2);
            lua_pushinteger(L, (lua_Integer)ws->stream->out.bytes);
            return wf_wait(L, &ws->stream->writer, write_k, (lua_KContext)at);
        } else {
            size_t k = WF_MIN(n - at, (size_t)WF_WRITE_BYTES);
            e = at == 0 && !is_text(ws, data, n) ? WF_UTF8
                                                 : wf_ws_write(ws, data + at, k, false);
            at += e == WF_OK ? k : 0;
        }
    }
    if (e != WF_OK)
        return fail_part(L, ws, e), fail_write(L, at);
    if (ws)
        wf_send_now(L, ws->object.loop);
    lua_pushboolean(L, true);
    return 1;
}

static int write_k(lua_State *L, int status, lua_KContext at)
{
    (void)status;
    wf_writer *w = wf_class_check(L, 1, WF_CLASS_WRITER);
    wf_woken_task(L);
    w->busy = false;
    const wf_ws *ws = websocket_of(L);
    bool late = wf_woken(L) == WF_TIMEOUT;
    size_t before = (size_t)lua_tointeger(L, 3);
    if (late && !wf_stream_is_moving(L, ws ? ws->stream : NULL, before)) {
        wf_fail_timeout(L, "write: the peer is slow");
        return fail_write(L, (size_t)at);
    }
    return write_step(L, w, websocket_of(L), (size_t)at);
}

static int writer_write(lua_State *L)
{
    wf_writer *w = wf_class_check(L, 1, WF_CLASS_WRITER);
    luaL_checkstring(L, 2);
    lua_settop(L, 2);
    if (w->ended)
        return luaL_error(L, "this writer is closed: its message was ended");
    if (w->busy)
        return wf_fail_busy(L, "write on this writer"), fail_write(L, 0);
    wf_ws *ws = websocket_of(L);
    if (!ws || !wf_ws_is_open(ws, w->id))
        return wf_websocket_fail(L, ws), fail_write(L, 0);
    return write_step(L, w, ws, 0);
}

static void give_up(wf_writer *w, wf_ws *ws)
{
    w->ended = true;
    if (!ws || !wf_ws_is_open(ws, w->id))
        return;
    wf_ws_give_up(ws);
    wf_send_last(ws->object.loop);
}

/* Ends the message; never waits. */
static enum wf_error finish(wf_writer *w, wf_ws *ws)
{
    bool open = ws && wf_ws_is_open(ws, w->id);
    enum wf_error e = open ? wf_ws_write(ws, NULL, 0, true) : WF_CLOSED;
    w->ended = true;
    if (e == WF_OK)
        wf_send_last(ws->object.loop);
    else
        give_up(w, ws);
    return e;
}

static int writer_close(lua_State *L)
{
    wf_writer *w = wf_class_check(L, 1, WF_CLASS_WRITER);
    wf_ws *ws = websocket_of(L);
    if (w->busy)
        return wf_fail_busy(L, "write on this writer");
    enum wf_error e = w->ended ? WF_OK : finish(w, ws);
    if (e == WF_UTF8)
        return wf_fail(L, e, "the text ended inside of a character");
    if (e != WF_OK)
        return wf_websocket_fail_send(L, ws, e);
    lua_pushboolean(L, true);
    return 1;
}

/* After an error the message must not look as if that had been all of it. */
static int writer_leave(lua_State *L)
{
    wf_writer *w = wf_class_check(L, 1, WF_CLASS_WRITER);
    wf_ws *ws = websocket_of(L);
    if (w->ended)
        return 0;
    if (w->busy || !lua_isnoneornil(L, 2))
        give_up(w, ws);
    else
        finish(w, ws);
    return 0;
}

static int writer_gc(lua_State *L)
{
    wf_writer *w = wf_class_check(L, 1, WF_CLASS_WRITER);
    if (!w->ended)
        give_up(w, websocket_of(L));
    return 0;
}

static int writer_tostring(lua_State *L)
{
    const wf_writer *w = wf_class_check(L, 1, WF_CLASS_WRITER);
    lua_getiuservalue(L, 1, 1);
    const char *on = luaL_tolstring(L, -1, NULL);
    lua_pushfstring(L, "weft.writer%s on %s", w->ended ? " (closed)" : "", on);
    return 1;
}

/* -- the classes ------------------------------------------------------------------- */

static const luaL_Reg chunks_meta[] = {
    { "__gc", chunks_close },
    { "__close", chunks_close },
    { NULL, NULL },
};

static const luaL_Reg no_methods[] = { { NULL, NULL } };

static const luaL_Reg writer_meta[] = {
    { "__gc", writer_gc },
    { "__close", writer_leave },
    { "__tostring", writer_tostring },
    { NULL, NULL },
};

static const luaL_Reg writer_methods[] = {
    { "write", writer_write },
    { "close", writer_close },
    { NULL, NULL },
};

static const luaL_Reg websocket_methods[] = {
    { "writer", ws_writer },
    { NULL, NULL },
};

/* The function chunks, with the iterator as its upvalue. [-0, +0, m] */
static void set_chunks(lua_State *L, int module)
{
    lua_getfield(L, module, "state");
    lua_getfield(L, module, "state");
    wf_class_push_tag(L, WF_CLASS_CHUNKS);
    lua_pushliteral(L, "text");
    lua_pushliteral(L, "binary");
    lua_pushcclosure(L, next_chunk, WF_MESSAGE_UP_BINARY);
    lua_pushcclosure(L, l_chunks, 2);
    lua_setfield(L, module, "chunks");
}

void wf_open_pieces(lua_State *L, int module)
{
    wf_class_new(L, module, WF_CLASS_CHUNKS, chunks_meta, no_methods);
    wf_class_new(L, module, WF_CLASS_WRITER, writer_meta, writer_methods);
    wf_class_add(L, module, WF_CLASS_WEBSOCKET, websocket_methods, 0);
    set_chunks(L, module);
}
