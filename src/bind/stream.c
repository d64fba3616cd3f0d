/*
 * stream: the class stream. Its methods answer in LuaSocket's shape (data | nil, err,
 * partial), with the code as a fourth value.
 */
#include "bind/stream.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/tls.h"

/* -- for other files ------------------------------------------------------------- */

wf_handle *wf_stream_push_empty(lua_State *L)
{
    return wf_handle_new(L, WF_CLASS_STREAM, WF_SOCKET_UVS);
}

int wf_stream_fill(lua_State *L, wf_handle *h, int fd, const wf_peer *peer)
{
    wf_stream *s = wf_stream_new(wf_state_of(L)->loop, fd);
    if (!s) {
        close(fd);
        return wf_fail(L, WF_NOMEM, NULL);
    }
    s->peer = *peer;
    wf_handle_fill(h, &s->object);
    return 1;
}

wf_stream *wf_stream_arg(lua_State *L, int arg)
{
    wf_stream *s = (wf_stream *)wf_object_arg(L, arg, WF_CLASS_STREAM);
    if (!s || (s->fd < 0 && s->in.len == 0)) {
        wf_fail(L, WF_CLOSED, "closed");
        return NULL;
    }
    return s;
}

int wf_fail_stream(lua_State *L, const wf_stream *s, const char *what)
{
    if (!s || s->error == WF_OK || s->error == WF_CLOSED)
        return wf_fail(L, WF_CLOSED, "closed");
    if (s->error == WF_SYSTEM)
        return wf_fail_errno(L, s->err, what);
    if (s->error == WF_TLS)
        return wf_fail(L, WF_TLS, "%s", wf_tls_error_text(s->err));
    return wf_fail(L, s->error, NULL);
}

void wf_stream_consume(wf_stream *s, size_t n)
{
    wf_buffer_consume(&s->in, WF_MIN(n, s->in.len));
    s->searched = 0;
    if (s->in.len == 0)
        wf_buffer_free(&s->in);
}

int wf_stream_wait_read(lua_State *L, wf_stream *s, lua_KFunction k, lua_KContext ctx)
{
    wf_stream_watch_read(s, true);
    return wf_wait(L, &s->reader, k, ctx);
}

/* -- receiving ----------------------------------------------------------------- */

/* [-0, +0, raises] */
static wf_stream *stream_of(lua_State *L)
{
    return (wf_stream *)wf_handle_check(L)->object;
}

#define RECEIVES_IN_A_ROW 250 /* at most 255 */

/* Or a number of bytes. */
enum { RECEIVE_LINE = -1, RECEIVE_ALL = -2, RECEIVE_WHOLE_LINE = -3 };

/* Received bytes out of the buffer, behind the prefix (argument 3). They are in a string
 * before anything else is made: a finalizer may close the stream then. [-0, +1, m] */
static void push_input(lua_State *L, wf_stream *s, size_t n, bool line)
{
    const char *p = (const char *)s->in.data;
    bool behind = lua_type(L, 3) == LUA_TSTRING;
    size_t end = n;
    if (line)
        while (end > 0 && (p[end - 1] == '\n' || p[end - 1] == '\r'))
            end--;
    if (behind)
        lua_pushvalue(L, 3);
    lua_pushlstring(L, end > 0 ? p : "", end);
    wf_stream_consume(s, n);
    if (behind)
        lua_concat(L, 2);
}

/* How many buffered bytes satisfy the pattern; 0: more are needed. */
static size_t satisfied(wf_stream *s, lua_KContext want)
{
    if (want == RECEIVE_ALL || s->in.len == 0)
        return 0;
    if (want >= 0)
        return s->in.len >= (size_t)want ? (size_t)want : 0;
    /* a long line that comes bit by bit is not searched again from its beginning */
    size_t from = s->searched;
    const uint8_t *nl = memchr(s->in.data + from, '\n', s->in.len - from);
    if (!nl)
        s->searched = (uint32_t)s->in.len;
    return nl ? (size_t)(nl - s->in.data) + 1 : 0;
}

/* [-0, +1, m] */
static void push_prefix(lua_State *L)
{
    if (lua_isnil(L, 3))
        lua_pushliteral(L, "");
    else
        lua_pushvalue(L, 3);
}

/* nil, err, partial, code; s is NULL when there is nothing buffered. [-0, +4, m] */
static int fail_receive(lua_State *L, wf_stream *s, const char *err, const char *code)
{
    lua_pushnil(L);
    lua_pushstring(L, err);
    if (s)
        push_input(L, s, s->in.len, false);
    else
        push_prefix(L);
    lua_pushstring(L, code);
    return 4;
}

/* [-0, +1|4, m] */
static int receive_end(lua_State *L, wf_stream *s, lua_KContext want)
{
    if (s && want == RECEIVE_ALL && s->error == WF_OK) {
        push_input(L, s, s->in.len, false);
        return 1;
    }
    wf_fail_stream(L, s, "receive");
    return fail_receive(L, s, lua_tostring(L, -2), lua_tostring(L, -1));
}

static int receive_step(lua_State *L, lua_KContext want, bool first);

static int receive_k(lua_State *L, int status, lua_KContext want)
{
    (void)status;
    if (wf_woken(L) == WF_TIMEOUT)
        return fail_receive(L, stream_of(L), "timeout", "timeout");
    return receive_step(L, want, false);
}

/* There is what it wants, but a buffer full of empty lines is a hundred thousand: others
 * go first. [-0, +1, raises] */
static int give_way(lua_State *L, wf_stream *s, lua_KContext want)
{
    s->in_a_row = 0;
    wf_wait_begin(L, INFINITY);
    wf_stream_rest(s);
    return wf_wait(L, &s->reader, receive_k, want);
}

/* [-0, +1|4, raises] */
static int receive_step(lua_State *L, lua_KContext want, bool first)
{
    wf_stream *s = stream_of(L);
    size_t n = s ? satisfied(s, want) : 0;
    if (n > 0 && s->in_a_row >= RECEIVES_IN_A_ROW && wf_can_wait(L))
        return give_way(L, s, want);
    if (n > 0) {
        s->in_a_row += s->in_a_row < RECEIVES_IN_A_ROW;
        push_input(L, s, n, want == RECEIVE_LINE);
        return 1;
    }
    if (wf_stream_at_end(s))
        return receive_end(L, s, want);
    if (want < 0 && s->in.len >= s->max_receive)
        return fail_receive(L, s, "more than max_receive bytes", "too_big");
    if (first || s->stepwise)
        wf_wait_begin(L, s->timeout);
    s->in_a_row = 0;
    return wf_stream_wait_read(L, s, receive_k, want);
}

/* [-0, +0, raises] */
static lua_KContext check_pattern(lua_State *L)
{
    if (lua_type(L, 2) == LUA_TNUMBER) {
        lua_Integer n = luaL_checkinteger(L, 2);
        luaL_argcheck(L, n >= 0, 2, "a number of bytes is 0 or more");
        return (lua_KContext)n;
    }
    const char *p = luaL_optstring(L, 2, "*l");
    p += *p == '*';
    luaL_argcheck(L, *p == 'l' || *p == 'L' || *p == 'a', 2,
                  "the pattern is \"*l\", \"*L\", \"*a\" or a number of bytes");
    return *p == 'l' ? RECEIVE_LINE : *p == 'L' ? RECEIVE_WHOLE_LINE : RECEIVE_ALL;
}

/* receive(pattern, prefix): of a number of bytes the prefix has some already. */
static int stream_receive(lua_State *L)
{
    wf_stream *s = stream_of(L);
    lua_settop(L, 3);
    lua_KContext want = check_pattern(L);
    if (!lua_isnil(L, 3))
        luaL_checkstring(L, 3); /* a number becomes a string */
    if (!s)
        return fail_receive(L, NULL, "closed", "closed");
    if (want >= 0)
        want -= (lua_KContext)WF_MIN((size_t)want, lua_rawlen(L, 3));
    if (want == 0) {
        push_prefix(L);
        return 1;
    }
    if (s->reader) {
        wf_fail_busy(L, "receive on this stream");
        return fail_receive(L, NULL, lua_tostring(L, -2), "busy");
    }
    return receive_step(L, want, true);
}

/* -- sending -------------------------------------------------------------------- */

/* nil, err, index of the last byte taken, code. [-0, +4, m] */
static int fail_send(lua_State *L, wf_stream *s, enum wf_error e, lua_Integer taken)
{
    if (e == WF_CLOSED && s && s->error == WF_SYSTEM)
        wf_fail_errno(L, s->err, "send");
    else if (e == WF_CLOSED && s && s->error == WF_TLS)
        wf_fail(L, e = WF_TLS, "%s", wf_tls_error_text(s->err));
    else
        wf_fail(L, e, "%s", wf_error_name(e));
    lua_pop(L, 1);
    lua_pushinteger(L, taken);
    lua_pushstring(L, wf_error_name(e));
    return 4;
}

bool wf_stream_is_moving(lua_State *L, wf_stream *s, size_t before)
{
    if (!s || wf_time() >= wf_woken_task(L)->deadline)
        return false;
    wf_stream_flush(s);
    return s->out.bytes < before;
}

static int send_k(lua_State *L, int status, lua_KContext taken);

/* What is queued now stays behind the arguments. [-0, +n, raises] */
static int send_wait(lua_State *L, wf_stream *s, lua_KContext taken, bool anew)
{
    if (anew) {
        wf_wait_begin(L, s->timeout);
        lua_settop(L, 4);
        lua_pushinteger(L, (lua_Integer)s->out.bytes);
    }
    return wf_wait(L, &s->writer, send_k, taken);
}

/* Hands over from byte `taken` on, a mark's worth at a time. [-0, +1|4, raises] */
static int send_step(lua_State *L, lua_KContext taken, bool first)
{
    wf_stream *s = stream_of(L);
    size_t len;
    const char *data = lua_tolstring(L, 2, &len);
    lua_Integer last = lua_tointeger(L, 4);
    while (taken < last) {
        if (!s || s->fd < 0)
            return fail_send(L, s, WF_CLOSED, taken);
        if (s->out.bytes > WF_STREAM_HIGH)
            return send_wait(L, s, taken, first || s->stepwise);
        size_t n = WF_MIN((size_t)(last - taken), WF_STREAM_HIGH);
        enum wf_error e = wf_stream_write(s, data + taken, n);
        if (e != WF_OK)
            return fail_send(L, s, e, taken);
        taken += (lua_KContext)n;
        wf_send_now(L, s->object.loop);
    }
    lua_pushinteger(L, last);
    return 1;
}

static int send_k(lua_State *L, int status, lua_KContext taken)
{
    (void)status;
    wf_stream *s = stream_of(L);
    wf_woken_task(L);
    if (s)
        s->resuming = false;
    bool late = wf_woken(L) == WF_TIMEOUT;
    size_t before = (size_t)lua_tointeger(L, 5);
    if (late && !(s && s->stepwise && wf_stream_is_moving(L, s, before)))
        return fail_send(L, s, WF_TIMEOUT, taken);
    return send_step(L, taken, false);
}

static lua_Integer position(lua_Integer i, size_t len)
{
    return i < 0 ? (lua_Integer)len + i + 1 : i;
}

static int stream_send(lua_State *L)
{
    wf_stream *s = stream_of(L);
    size_t len;
    luaL_checklstring(L, 2, &len);
    lua_Integer first = position(luaL_optinteger(L, 3, 1), len);
    lua_Integer last = position(luaL_optinteger(L, 4, -1), len);
    first = WF_MAX(first, 1);
    last = WF_MIN(last, (lua_Integer)len);
    lua_settop(L, 2);
    lua_pushinteger(L, first);
    lua_pushinteger(L, last);
    if (!s || s->fd < 0)
        return fail_send(L, s, WF_CLOSED, first - 1);
    if (s->writer || s->resuming) {
        wf_fail_busy(L, "send on this stream");
        lua_pushinteger(L, first - 1);
        lua_insert(L, -2);
        return 4;
    }
    return send_step(L, first - 1, true);
}

static int stream_shutdown(lua_State *L)
{
    static const char *const how[] = { "both", "send", "receive", NULL };
    wf_stream *s = stream_of(L);
    int which = luaL_checkoption(L, 2, "both", how);
    if (!s || wf_stream_shutdown(s, which != 1, which != 2) != WF_OK)
        return wf_fail(L, WF_CLOSED, "closed");
    wf_send_now(L, s->object.loop);
    lua_pushboolean(L, true);
    return 1;
}

static int stream_buffered(lua_State *L)
{
    wf_stream *s = stream_of(L);
    lua_pushinteger(L, s ? (lua_Integer)s->out.bytes : 0);
    return 1;
}

/* close, after telling the peer and discarding what it still sends for a while */
static int stream_linger(lua_State *L)
{
    wf_handle *h = wf_handle_check(L);
    wf_stream *s = (wf_stream *)h->object;
    lua_pushboolean(L, true);
    if (!s)
        return 1;
    h->object = NULL;
    s->object.handle = NULL;
    if (s->fd < 0)
        wf_stream_class.destroy(&s->object);
    else
        wf_stream_finish(s, WF_FINISH_LINGER);
    wf_send_last(s->object.loop);
    return 1;
}

/* Where descriptor 0 was closed when the loop was made, it is the loop's own by now: a
 * file of no type. */
static bool has_stdin(void)
{
    struct stat info;
    return fstat(STDIN_FILENO, &info) == 0 && (info.st_mode & S_IFMT) != 0;
}

/* The terminal or pipe on descriptor 0, which stays open and blocking: it is read
 * once per readiness. */
static int l_stdin(lua_State *L)
{
    if (!has_stdin())
        return wf_fail(L, WF_CLOSED, "there is no standard input");
    wf_state_loop(L);
    wf_handle *h = wf_stream_push_empty(L);
    int n = wf_stream_fill(L, h, STDIN_FILENO, &(wf_peer){ 0 });
    if (n == 1)
        wf_stream_be_file((wf_stream *)h->object);
    return n;
}

/* -- the class ------------------------------------------------------------------- */

static int stream_getpeername(lua_State *L)
{
    return wf_socket_push_name(L, getpeername);
}

static const luaL_Reg methods[] = {
    { "send", stream_send },
    { "receive", stream_receive },
    { "shutdown", stream_shutdown },
    { "buffered", stream_buffered },
    { "linger", stream_linger },
    { "getpeername", stream_getpeername },
    { NULL, NULL },
};

static const luaL_Reg functions[] = {
    { "stdin", l_stdin },
    { NULL, NULL },
};

void wf_open_stream(lua_State *L, int module)
{
    wf_socket_class(L, module, WF_CLASS_STREAM, methods);
    wf_set_functions(L, module, functions);
}
