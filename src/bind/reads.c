/*
 * reads: what weft's own Lua files read a stream with, beside the methods that scripts
 * have: bounded lines, whatever is at hand; and streams that lie idle in between.
 */
#include <string.h>

#include "bind/stream.h"
#include "io/idle.h"
#include "io/listener.h"
#include "io/udp.h"

/* Input as a string, without the last `drop` of its n bytes. [-0, +1, m] */
static void push_input(lua_State *L, wf_stream *s, size_t n, size_t drop)
{
    lua_pushlstring(L, (const char *)s->in.data, n - drop);
    wf_stream_consume(s, n);
}

/* RFC 9112 2.2 lets a lone LF end a line of the head, but nothing lets it, or a lone
 * CR, into the lines between chunks: who reads these differently can be smuggled past. */
static bool ends_well(const wf_stream *s, size_t n)
{
    return n >= 2 && memchr(s->in.data, '\r', n - 1) == s->in.data + n - 2;
}

/* The line, or what is wrong with it; 0: more bytes are needed. [-0, +0|1|3, m] */
static int line_step(lua_State *L, wf_stream *s)
{
    size_t max = (size_t)lua_tointeger(L, 2), len = s->in.len;
    const uint8_t *lf = len > 0 ? memchr(s->in.data, '\n', len) : NULL;
    size_t n = lf ? (size_t)(lf - s->in.data) + 1 : 0;
    if (n > max + 2 || (n == 0 && len > max + 1))
        return wf_fail(L, WF_TOO_BIG, "line longer than %d bytes", (int)max);
    if (n == 0)
        return 0;
    if (!ends_well(s, n))
        return wf_fail(L, WF_PROTOCOL, "a line that does not end with CRLF");
    push_input(L, s, n, 2);
    return 1;
}

/* Whatever is at hand, "" at the peer's end. [-0, +0|1, m] */
static int some_step(lua_State *L, wf_stream *s)
{
    size_t max = (size_t)lua_tointeger(L, 2);
    if (s->in.len > 0)
        return push_input(L, s, WF_MIN(max, s->in.len), 0), 1;
    if (!s->eof || s->error != WF_OK)
        return 0;
    lua_pushliteral(L, "");
    return 1;
}

typedef int (*step_fn)(lua_State *L, wf_stream *s);

static int read_line_k(lua_State *L, int status, lua_KContext woken);
static int read_some_k(lua_State *L, int status, lua_KContext woken);

/* Steps until the result is there. [-0, +1|3, raises] */
static int go_on(lua_State *L, lua_KContext woken, step_fn step, lua_KFunction k)
{
    wf_stream *s = (wf_stream *)wf_object_arg(L, 1, WF_CLASS_STREAM);
    if (woken && wf_woken(L) == WF_TIMEOUT)
        return wf_fail(L, WF_TIMEOUT, "timeout");
    int n = s ? step(L, s) : 0;
    if (n > 0)
        return n;
    if (wf_stream_at_end(s))
        return wf_fail_stream(L, s, "receive");
    if (!woken)
        wf_wait_begin(L, wf_opt_timeout(L, 3));
    return wf_stream_wait_read(L, s, k, 1);
}

static int read_line_k(lua_State *L, int status, lua_KContext woken)
{
    (void)status;
    return go_on(L, woken, line_step, read_line_k);
}

static int read_some_k(lua_State *L, int status, lua_KContext woken)
{
    (void)status;
    return go_on(L, woken, some_step, read_some_k);
}

/* [-0, +1|3, raises] */
static int begin(lua_State *L, lua_KFunction k)
{
    wf_stream *s = wf_stream_arg(L, 1);
    if (!s)
        return 3;
    lua_Integer max = luaL_checkinteger(L, 2);
    luaL_argcheck(L, max >= 1 && max <= 1 << 30, 2, "1 to 2^30 bytes");
    wf_opt_timeout(L, 3);
    lua_settop(L, 3);
    if (s->reader)
        return wf_fail_busy(L, "receive on this stream");
    return k(L, LUA_OK, 0);
}

/* read_line(stream, max [, timeout]) -> line without its CRLF | nil, message, code */
static int l_read_line(lua_State *L)
{
    return begin(L, read_line_k);
}

/* read_some(stream, max [, timeout]) -> data, "" at its end | nil, message, code */
static int l_read_some(lua_State *L)
{
    return begin(L, read_some_k);
}

/* -- readiness ------------------------------------------------------------------- */

static int ready_k(lua_State *L, int status, lua_KContext woken);

/* [-0, +0|1, raises] wait, or true where there is nothing to wait for */
static int ready_stream(lua_State *L, wf_stream *s, bool write, lua_KContext woken)
{
    bool there = write ? s->out.bytes <= WF_STREAM_HIGH : s->in.len > 0 || s->eof;
    if (there || s->fd < 0 || s->error != WF_OK)
        return lua_pushboolean(L, true), 1;
    if (!woken)
        wf_wait_begin(L, wf_opt_timeout(L, 3));
    if (write)
        return wf_wait(L, &s->writer, ready_k, 1);
    return wf_stream_wait_read(L, s, ready_k, 1);
}

/* A listener wakes whoever waits when it has a peer: once woken, it is ready. */
static int ready_listener(lua_State *L, wf_listener *l, lua_KContext woken)
{
    if (woken)
        return lua_pushboolean(L, true), 1;
    wf_wait_begin(L, wf_opt_timeout(L, 3));
    wf_listener_watch(l);
    return wf_wait(L, &l->acceptor, ready_k, 1);
}

/* A datagram socket does so too; it takes what is sent, or drops it. */
static int ready_udp(lua_State *L, wf_udp *u, bool write, lua_KContext woken)
{
    if (woken || write)
        return lua_pushboolean(L, true), 1;
    wf_wait_begin(L, wf_opt_timeout(L, 3));
    wf_udp_watch(u, EV_READ);
    return wf_wait(L, &u->reader, ready_k, 1);
}

static int ready_k(lua_State *L, int status, lua_KContext woken)
{
    (void)status;
    wf_handle *h = wf_class_test(L, 1, WF_CLASS_STREAM);
    if (h && h->object && woken && lua_toboolean(L, 2))
        ((wf_stream *)h->object)->resuming = false;
    if (woken && wf_woken(L) == WF_TIMEOUT)
        return wf_fail(L, WF_TIMEOUT, "timeout");
    h = wf_class_test(L, 1, WF_CLASS_LISTENER);
    if (h && h->object)
        return ready_listener(L, (wf_listener *)h->object, woken);
    h = wf_class_test(L, 1, WF_CLASS_UDP);
    if (h && h->object)
        return ready_udp(L, (wf_udp *)h->object, lua_toboolean(L, 2), woken);
    h = wf_class_test(L, 1, WF_CLASS_STREAM);
    if (h && h->object)
        return ready_stream(L, (wf_stream *)h->object, lua_toboolean(L, 2), woken);
    return lua_pushboolean(L, true), 1; /* closed: whoever tries, learns it at once */
}

/* Whether somebody waits there already. [-0, +0, raises] */
static bool is_busy(lua_State *L, bool write)
{
    wf_handle *h = wf_class_test(L, 1, WF_CLASS_LISTENER);
    if (h)
        return h->object && ((wf_listener *)h->object)->acceptor;
    h = wf_class_test(L, 1, WF_CLASS_UDP);
    if (h)
        return h->object && !write && ((wf_udp *)h->object)->reader;
    const wf_stream *s = (wf_stream *)wf_object_arg(L, 1, WF_CLASS_STREAM);
    return s && (write ? s->writer : s->reader);
}

/* ready(stream, listener or udp, for writing [, timeout]) -> true | nil, message, code */
static int l_ready(lua_State *L)
{
    bool busy = is_busy(L, lua_toboolean(L, 2));
    wf_opt_timeout(L, 3);
    lua_settop(L, 3);
    return busy ? wf_fail_busy(L, "this socket") : ready_k(L, LUA_OK, 0);
}

/* fd(tcp, stream, listener or udp) -> its descriptor, or -1 */
static int l_fd(lua_State *L)
{
    wf_handle *h = wf_class_test(L, 1, WF_CLASS_UDP);
    if (h) {
        lua_pushinteger(L, h->object ? ((wf_udp *)h->object)->fd : -1);
        return 1;
    }
    h = wf_class_test(L, 1, WF_CLASS_LISTENER);
    h = h ? h : wf_class_test(L, 1, WF_CLASS_TCP);
    h = h ? h : wf_class_check(L, 1, WF_CLASS_STREAM);
    lua_pushinteger(L, wf_socket_fd(h->object));
    return 1;
}

/* pending(stream) -> bytes received that nobody has asked for yet */
static int l_pending(lua_State *L)
{
    wf_stream *s = (wf_stream *)wf_object_arg(L, 1, WF_CLASS_STREAM);
    lua_pushinteger(L, s ? (lua_Integer)s->in.len : 0);
    return 1;
}

/* -- idle ------------------------------------------------------------------------ */

/* keep(stream, seconds) -> whether it may be used again */
static int l_keep(lua_State *L)
{
    wf_stream *s = (wf_stream *)wf_object_arg(L, 1, WF_CLASS_STREAM);
    double seconds = luaL_checknumber(L, 2);
    lua_pushboolean(L, s && wf_idle_keep(s, seconds));
    return 1;
}

/* take(stream) -> whether it is still good */
static int l_take(lua_State *L)
{
    wf_stream *s = (wf_stream *)wf_object_arg(L, 1, WF_CLASS_STREAM);
    lua_pushboolean(L, s && wf_idle_take(s));
    return 1;
}

static const luaL_Reg functions[] = {
    { "read_line", l_read_line }, { "read_some", l_read_some },
    { "ready", l_ready },         { "fd", l_fd },
    { "pending", l_pending },     { "keep", l_keep },
    { "take", l_take },           { NULL, NULL },
};

void wf_open_reads(lua_State *L, int module)
{
    wf_set_functions(L, module, functions);
}
