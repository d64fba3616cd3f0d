/*
 * socket: the classes tcp (fresh), listener and stream. As in LuaSocket one
 * userdata changes its class: tcp becomes a listener by listen() and a stream by
 * connect(). Streams answer in LuaSocket's shape (data | nil, err, partial), with
 * the code as a fourth value.
 */
#include "bind/socket.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "io/listener.h"
#include "io/resolve.h"

/* -- all three classes --------------------------------------------------------- */

static int fd_of(const wf_object *object)
{
    if (!object)
        return -1;
    return object->class == &wf_listener_class ? ((const wf_listener *)object)->fd
                                               : ((const wf_stream *)object)->fd;
}

/* "1.2.3.4:80" or "[::1]:80". [-0, +1, m] */
static void push_address(lua_State *L, const wf_sockaddr *a)
{
    char ip[WF_IP_MAX];
    int port = wf_sockaddr_text(a, ip);
    lua_pushfstring(L, strchr(ip, ':') ? "[%s]:%d" : "%s:%d", ip, port);
}

typedef int (*name_fn)(int, struct sockaddr *, socklen_t *);

static bool get_name(int fd, name_fn name, wf_sockaddr *a)
{
    a->len = sizeof a->storage;
    return fd >= 0 && name(fd, (struct sockaddr *)&a->storage, &a->len) == 0;
}

static int push_name(lua_State *L, name_fn name)
{
    wf_sockaddr a;
    char ip[WF_IP_MAX];
    if (!get_name(fd_of(wf_handle_check(L)->object), name, &a))
        return wf_fail(L, WF_CLOSED, "closed");
    int port = wf_sockaddr_text(&a, ip);
    lua_pushstring(L, ip);
    lua_pushinteger(L, port);
    lua_pushstring(L, wf_sockaddr_family(&a));
    return 3;
}

static int socket_getsockname(lua_State *L)
{
    return push_name(L, getsockname);
}

static int socket_getpeername(lua_State *L)
{
    return push_name(L, getpeername);
}

static int to_string(lua_State *L)
{
    wf_handle *h = wf_handle_check(L);
    wf_sockaddr a;
    lua_getfield(L, lua_upvalueindex(2), "__name");
    const char *name = lua_tostring(L, -1);
    bool peer = h->object && h->object->class == &wf_stream_class;
    if (!get_name(fd_of(h->object), peer ? getpeername : getsockname, &a)) {
        bool gone = !h->object || (fd_of(h->object) < 0 && strcmp(name, "weft.tcp") != 0);
        lua_pushfstring(L, "%s (%s)", name, gone ? "closed" : "not connected");
        return 1;
    }
    push_address(L, &a);
    lua_pushfstring(L, "%s (%s %s)", name, peer ? "to" : "at", lua_tostring(L, -1));
    return 1;
}

static const struct {
    const char *name;
    int level, option;
    bool number;
} options[] = {
    { "reuseaddr", SOL_SOCKET, SO_REUSEADDR, false },
#ifdef SO_REUSEPORT
    { "reuseport", SOL_SOCKET, SO_REUSEPORT, false },
#endif
    { "keepalive", SOL_SOCKET, SO_KEEPALIVE, false },
    { "tcp-nodelay", IPPROTO_TCP, TCP_NODELAY, false },
    { "ipv6-v6only", IPPROTO_IPV6, IPV6_V6ONLY, false },
    { "send-buffer-size", SOL_SOCKET, SO_SNDBUF, true },
    { "recv-buffer-size", SOL_SOCKET, SO_RCVBUF, true },
};

static int option_value(lua_State *L, size_t i)
{
    if (options[i].number) {
        lua_Integer n = lua_tointeger(L, 3);
        if (!lua_isinteger(L, 3) || n < 1 || n > INT_MAX)
            luaL_error(L, "setoption: '%s' must be a number of bytes, 1 or more, got %s",
                       options[i].name, luaL_tolstring(L, 3, NULL));
        return (int)n;
    }
    if (!lua_isboolean(L, 3))
        luaL_error(L, "setoption: '%s' must be true or false, got %s", options[i].name,
                   luaL_tolstring(L, 3, NULL));
    return lua_toboolean(L, 3);
}

static int set_system_option(lua_State *L, int fd, size_t i)
{
    int value = option_value(L, i);
    if (setsockopt(fd, options[i].level, options[i].option, &value, sizeof value) < 0)
        return wf_fail_errno(L, errno, options[i].name);
    lua_pushboolean(L, true);
    return 1;
}

/* A fresh tcp gets its descriptor when something needs it. */
static bool need_fd(wf_object *object, int family)
{
    wf_stream *s = (wf_stream *)object;
    if (s->fd >= 0)
        return true;
    int fd = wf_socket(family);
    if (fd < 0)
        return false;
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    wf_stream_adopt(s, fd);
    return true;
}

static int socket_setoption(lua_State *L)
{
    wf_object *object = wf_handle_check(L)->object;
    const char *name = luaL_checkstring(L, 2);
    if (!object)
        return wf_fail(L, WF_CLOSED, "closed");
    if (strcmp(name, "max_receive") == 0 && object->class == &wf_stream_class) {
        lua_Integer n = luaL_checkinteger(L, 3);
        luaL_argcheck(L, n > 0 && n <= 1 << 30, 3, "max_receive is a number of bytes, 1 to 2^30");
        ((wf_stream *)object)->max_receive = (uint32_t)n;
        lua_pushboolean(L, true);
        return 1;
    }
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (strcmp(name, options[i].name) == 0) {
            option_value(L, i);
            if (fd_of(object) < 0 && !need_fd(object, AF_INET6) && !need_fd(object, AF_INET))
                return wf_fail_errno(L, errno, "socket");
            return set_system_option(L, fd_of(object), i);
        }
    return luaL_error(L, "setoption: unknown option '%s' (reuseaddr, reuseport, keepalive, "
                         "tcp-nodelay, ipv6-v6only, send-buffer-size, recv-buffer-size, "
                         "max_receive)", name);
}

static int socket_settimeout(lua_State *L)
{
    wf_object *object = wf_handle_check(L)->object;
    double s = INFINITY;
    if (!lua_isnoneornil(L, 2)) {
        s = luaL_checknumber(L, 2);
        if (s < 0) /* LuaSocket: negative means none */
            s = INFINITY;
    }
    if (object && object->class == &wf_listener_class)
        ((wf_listener *)object)->timeout = s;
    else if (object)
        ((wf_stream *)object)->timeout = s;
    lua_pushinteger(L, 1);
    return 1;
}

/* -- tcp: fresh ---------------------------------------------------------------- */

static int l_tcp(lua_State *L)
{
    wf_loop *loop = wf_state_loop(L);
    wf_handle *h = wf_handle_new(L, WF_CLASS_TCP, 0);
    wf_stream *s = wf_stream_new(loop, -1);
    if (!s)
        return wf_fail(L, WF_NOMEM, NULL);
    wf_handle_fill(h, &s->object);
    return 1;
}

/* NULL: nil, message, code are pushed. [-0, +0|3, raises] */
static wf_stream *check_tcp(lua_State *L)
{
    wf_stream *s = (wf_stream *)wf_handle_check(L)->object;
    if (s && !s->connecting)
        return s;
    if (s)
        wf_fail_busy(L, "connect on this socket");
    else
        wf_fail(L, WF_CLOSED, "closed");
    return NULL;
}

static uint16_t check_port(lua_State *L, int arg, int least)
{
    lua_Integer port = luaL_checkinteger(L, arg);
    luaL_argcheck(L, port >= least && port <= 65535, arg, "a port is a number up to 65535");
    return (uint16_t)port;
}

/* What the script set before the family was known goes to the new socket too. */
static void copy_options(int from, int to)
{
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        int value;
        socklen_t len = sizeof value;
        if (options[i].number || options[i].level == IPPROTO_IPV6)
            continue;
        if (getsockopt(from, options[i].level, options[i].option, &value, &len) == 0 && value)
            setsockopt(to, options[i].level, options[i].option, &value, sizeof value);
    }
}

/* The socket must have the address's family: one made earlier may have another. */
static bool right_family(wf_stream *s, int family)
{
    wf_sockaddr a;
    int old = s->fd;
    if (old < 0 || !get_name(old, getsockname, &a) || a.storage.ss_family == family)
        return need_fd(&s->object, family);
    s->fd = -1;
    if (!need_fd(&s->object, family)) {
        s->fd = old;
        return false;
    }
    copy_options(old, s->fd);
    close(old);
    return true;
}

static int bind_to(lua_State *L, wf_stream *s, const wf_sockaddr *a)
{
    if (!right_family(s, a->storage.ss_family))
        return wf_fail_errno(L, errno, "socket");
    if (bind(s->fd, (const struct sockaddr *)&a->storage, a->len) == 0) {
        lua_pushboolean(L, true);
        return 1;
    }
    int err = errno;
    push_address(L, a);
    if (err == EADDRINUSE)
        return wf_fail(L, WF_BUSY, "cannot bind %s: address already in use", lua_tostring(L, -1));
    lua_pushfstring(L, "cannot bind %s", lua_tostring(L, -1));
    return wf_fail_errno(L, err, lua_tostring(L, -1));
}

/* "*": every interface, IPv6 and IPv4 in one socket where the system can. */
static int tcp_bind_ip(lua_State *L)
{
    wf_stream *s = check_tcp(L);
    if (!s)
        return 3;
    const char *ip = luaL_checkstring(L, 2);
    uint16_t port = check_port(L, 3, 0);
    wf_sockaddr a;
    if (strcmp(ip, "*") != 0) {
        if (!wf_sockaddr_parse(&a, ip, port))
            return wf_fail(L, WF_RESOLVE, "'%s' is not a numeric address", ip);
        return bind_to(L, s, &a);
    }
    int off = 0;
    if (wf_sockaddr_parse(&a, "::", port) && right_family(s, AF_INET6) &&
        setsockopt(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0) {
        int n = bind_to(L, s, &a);
        if (n == 1 || strcmp(lua_tostring(L, -1), "busy") == 0)
            return n;
    }
    wf_sockaddr_parse(&a, "0.0.0.0", port);
    return bind_to(L, s, &a);
}

static int tcp_listen(lua_State *L)
{
    wf_handle *h = wf_handle_check(L);
    wf_stream *s = check_tcp(L);
    if (!s)
        return 3;
    int backlog = (int)luaL_optinteger(L, 2, SOMAXCONN);
    wf_sockaddr a;
    if (s->fd < 0)
        return luaL_error(L, "listen: call bind first");
    if (listen(s->fd, backlog) < 0) {
        int err = errno;
        get_name(s->fd, getsockname, &a);
        push_address(L, &a);
        if (err == EADDRINUSE)
            return wf_fail(L, WF_BUSY, "cannot listen at %s: address already in use",
                           lua_tostring(L, -1));
        return wf_fail_errno(L, err, "listen");
    }
    wf_listener *l = wf_listener_new(wf_state_loop(L), s->fd);
    if (!l)
        return wf_fail(L, WF_NOMEM, NULL);
    l->timeout = s->timeout;
    s->fd = -1; /* the listener's now */
    s->object.class->destroy(&s->object);
    wf_handle_become(L, WF_CLASS_LISTENER);
    wf_handle_fill(h, &l->object);
    lua_pushboolean(L, true);
    return 1;
}

/* Why a connect failed; the tcp is fresh again. */
static int fail_connect(lua_State *L, wf_stream *s)
{
    const char *ip = lua_tostring(L, 2);
    int port = (int)lua_tointeger(L, 3);
    const char *format = strchr(ip, ':') ? "[%s]:%d" : "%s:%d";
    enum wf_error error = s->error;
    lua_pushfstring(L, format, ip, port);
    if (error == WF_REFUSED)
        return wf_fail(L, error, "connection to %s refused", lua_tostring(L, -1));
    lua_pushfstring(L, "cannot connect to %s", lua_tostring(L, -1));
    wf_fail_errno(L, s->err, lua_tostring(L, -1));
    lua_pushstring(L, wf_error_name(error));
    lua_replace(L, -2);
    return 3;
}

/* The attempt is given up: the descriptor goes, the tcp is fresh again. */
static void give_up(wf_stream *s)
{
    wf_stream_abort(s, WF_CLOSED);
    s->eof = false;
}

static int connect_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    wf_stream *s = (wf_stream *)wf_handle_check(L)->object;
    if (wf_woken_task(L)->cancelling && s)
        give_up(s);
    enum wf_error e = wf_woken(L);
    if (!s)
        return wf_fail(L, WF_CLOSED, "closed");
    if (e == WF_TIMEOUT) {
        give_up(s);
        return wf_fail(L, WF_TIMEOUT, "timeout while connecting to %s port %d", lua_tostring(L, 2),
                       (int)lua_tointeger(L, 3));
    }
    s->eof = false;
    if (s->fd < 0)
        return fail_connect(L, s);
    wf_handle_become(L, WF_CLASS_STREAM);
    lua_pushboolean(L, true);
    return 1;
}

static int tcp_connect_ip(lua_State *L)
{
    wf_stream *s = check_tcp(L);
    if (!s)
        return 3;
    const char *ip = luaL_checkstring(L, 2);
    uint16_t port = check_port(L, 3, 1);
    double timeout = lua_isnoneornil(L, 4) ? s->timeout : wf_opt_timeout(L, 4);
    wf_sockaddr a;
    if (!wf_sockaddr_parse(&a, ip, port))
        return wf_fail(L, WF_RESOLVE, "'%s' is not a numeric address", ip);
    wf_task *t = wf_wait_begin(L, timeout);
    if (!right_family(s, a.storage.ss_family))
        return wf_fail_errno(L, errno, "socket");
    wf_peer_set(&s->peer, &a);
    wf_stream_connect(s, (const struct sockaddr *)&a.storage, a.len);
    if (!s->connecting) {
        t->waiter.reason = WF_OK;
        return connect_k(L, LUA_OK, 0);
    }
    return wf_wait(L, &s->writer, connect_k, 0);
}

/* -- listener ------------------------------------------------------------------ */

static int push_stream(lua_State *L, int fd, const wf_peer *peer)
{
    wf_handle *h = wf_handle_new(L, WF_CLASS_STREAM, 0);
    wf_stream *s = wf_stream_new(wf_state_loop(L), fd);
    if (!s) {
        close(fd);
        return wf_fail(L, WF_NOMEM, NULL);
    }
    s->peer = *peer;
    wf_handle_fill(h, &s->object);
    return 1;
}

static int accept_k(lua_State *L, int status, lua_KContext woken)
{
    (void)status;
    wf_listener *l = (wf_listener *)wf_handle_check(L)->object;
    if (woken && wf_woken(L) == WF_TIMEOUT)
        return wf_fail_timeout(L, "accept");
    if (!l)
        return wf_fail(L, WF_CLOSED, "the listener is closed");
    wf_peer peer;
    int fd = wf_listener_accept(l, &peer);
    if (fd >= 0)
        return push_stream(L, fd, &peer);
    if (fd == -2)
        return wf_fail_errno(L, l->err, "accept");
    if (!woken)
        wf_wait_begin(L, l->timeout);
    wf_listener_watch(l);
    return wf_wait(L, &l->acceptor, accept_k, 1);
}

static int listener_accept(lua_State *L)
{
    wf_listener *l = (wf_listener *)wf_handle_check(L)->object;
    if (!l)
        return wf_fail(L, WF_CLOSED, "the listener is closed");
    if (l->acceptor)
        return wf_fail_busy(L, "accept");
    return accept_k(L, LUA_OK, 0);
}

/* -- stream: receive ------------------------------------------------------------ */

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
    return wf_fail(L, s->error, NULL);
}

enum { RECEIVE_LINE = -1, RECEIVE_ALL = -2 }; /* or a number of bytes */

/* Received bytes out of the buffer, behind the prefix (argument 3). [-0, +1, m] */
static void push_input(lua_State *L, wf_stream *s, size_t n, bool line)
{
    const char *p = (const char *)s->in.data;
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    if (lua_type(L, 3) == LUA_TSTRING) {
        lua_pushvalue(L, 3);
        luaL_addvalue(&b);
    }
    size_t end = n;
    if (line)
        while (end > 0 && (p[end - 1] == '\n' || p[end - 1] == '\r'))
            end--;
    if (end > 0)
        luaL_addlstring(&b, p, end);
    luaL_pushresult(&b);
    wf_buffer_consume(&s->in, n);
    if (s->in.len == 0)
        wf_buffer_free(&s->in);
}

/* How many buffered bytes satisfy the pattern; 0: more are needed. */
static size_t satisfied(const wf_stream *s, lua_KContext want)
{
    if (want == RECEIVE_ALL || s->in.len == 0)
        return 0;
    if (want != RECEIVE_LINE)
        return s->in.len >= (size_t)want ? (size_t)want : 0;
    const uint8_t *nl = memchr(s->in.data, '\n', s->in.len);
    return nl ? (size_t)(nl - s->in.data) + 1 : 0;
}

/* nil, err, partial, code. [-0, +4, m] */
static int fail_receive(lua_State *L, wf_stream *s, const char *err, const char *code)
{
    lua_pushnil(L);
    lua_pushstring(L, err);
    if (s)
        push_input(L, s, s->in.len, false);
    else
        lua_pushstring(L, luaL_optstring(L, 3, ""));
    lua_pushstring(L, code);
    return 4;
}

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
        return fail_receive(L, (wf_stream *)wf_handle_check(L)->object, "timeout", "timeout");
    return receive_step(L, want, false);
}

static int receive_step(lua_State *L, lua_KContext want, bool first)
{
    wf_stream *s = (wf_stream *)wf_handle_check(L)->object;
    size_t n = s ? satisfied(s, want) : 0;
    if (n > 0) {
        push_input(L, s, n, want == RECEIVE_LINE);
        return 1;
    }
    if (!s || s->eof || s->fd < 0)
        return receive_end(L, s, want);
    if (want < 0 && s->in.len >= s->max_receive)
        return fail_receive(L, s, "more than max_receive bytes", "too_big");
    if (first)
        wf_wait_begin(L, s->timeout);
    wf_stream_watch_read(s, true);
    return wf_wait(L, &s->reader, receive_k, want);
}

static lua_KContext check_pattern(lua_State *L)
{
    if (lua_type(L, 2) == LUA_TNUMBER) {
        lua_Integer n = luaL_checkinteger(L, 2);
        luaL_argcheck(L, n >= 0, 2, "a number of bytes is 0 or more");
        return (lua_KContext)n;
    }
    const char *p = luaL_optstring(L, 2, "*l");
    p += *p == '*';
    luaL_argcheck(L, *p == 'l' || *p == 'a', 2, "the pattern is \"*l\", \"*a\" or a number of bytes");
    return *p == 'l' ? RECEIVE_LINE : RECEIVE_ALL;
}

static int stream_receive(lua_State *L)
{
    wf_stream *s = (wf_stream *)wf_handle_check(L)->object;
    lua_settop(L, 3);
    lua_KContext want = check_pattern(L);
    if (!lua_isnil(L, 3))
        luaL_checkstring(L, 3); /* a number becomes a string */
    if (!s)
        return fail_receive(L, NULL, "closed", "closed");
    if (want >= 0) {
        want -= (lua_KContext)WF_MIN((size_t)want, lua_rawlen(L, 3)); /* the prefix counts */
        if (want == 0) {
            lua_pushstring(L, "");
            lua_pushvalue(L, lua_isnil(L, 3) ? -1 : 3);
            return 1;
        }
    }
    if (s->reader)
        return fail_receive(L, NULL, "another task already waits in receive on this stream", "busy");
    return receive_step(L, want, true);
}

/* read_line(stream, max, timeout): without CRLF, bounded */
static int read_line_step(lua_State *L, wf_stream *s)
{
    size_t max = (size_t)lua_tointeger(L, 2), n = satisfied(s, RECEIVE_LINE);
    if (n > max + 2 || (n == 0 && s->in.len > max + 1))
        return wf_fail(L, WF_TOO_BIG, "line longer than %d bytes", (int)max);
    if (n == 0)
        return 0;
    push_input(L, s, n, true);
    return 1;
}

static int read_line_k(lua_State *L, int status, lua_KContext woken)
{
    (void)status;
    wf_stream *s = (wf_stream *)wf_object_arg(L, 1, WF_CLASS_STREAM);
    if (woken && wf_woken(L) == WF_TIMEOUT)
        return wf_fail(L, WF_TIMEOUT, "timeout");
    int n = s ? read_line_step(L, s) : 0;
    if (n > 0)
        return n;
    if (!s || s->eof || s->fd < 0)
        return wf_fail_stream(L, s, "receive");
    if (!woken)
        wf_wait_begin(L, wf_opt_timeout(L, 4));
    wf_stream_watch_read(s, true);
    return wf_wait(L, &s->reader, read_line_k, 1);
}

static int l_read_line(lua_State *L)
{
    wf_stream *s = wf_stream_arg(L, 1);
    if (!s)
        return 3;
    luaL_checkinteger(L, 2);
    wf_opt_timeout(L, 3);
    lua_settop(L, 3);
    lua_pushnil(L);
    lua_insert(L, 3); /* no prefix; the timeout is argument 4 now */
    if (s->reader)
        return wf_fail_busy(L, "receive on this stream");
    return read_line_k(L, LUA_OK, 0);
}

/* -- stream: send ---------------------------------------------------------------- */

/* nil, err, index of the last byte taken, code. [-0, +4, m] */
static int fail_send(lua_State *L, wf_stream *s, enum wf_error e, lua_Integer taken)
{
    lua_pushnil(L);
    if (e == WF_TIMEOUT)
        lua_pushliteral(L, "timeout");
    else if (e == WF_CLOSED && s && s->error == WF_SYSTEM)
        wf_fail_errno(L, s->err, "send"), lua_pop(L, 1), lua_remove(L, -2);
    else
        lua_pushstring(L, e == WF_CLOSED ? "closed" : wf_error_name(e));
    lua_pushinteger(L, taken);
    lua_pushstring(L, wf_error_name(e));
    return 4;
}

static int send_k(lua_State *L, int status, lua_KContext taken);

/* Hands over from byte `taken` on, a mark's worth at a time. */
static int send_step(lua_State *L, lua_KContext taken, bool first)
{
    wf_stream *s = (wf_stream *)wf_handle_check(L)->object;
    size_t len;
    const char *data = lua_tolstring(L, 2, &len);
    lua_Integer last = lua_tointeger(L, 4);
    while (taken < last) {
        if (!s || s->fd < 0)
            return fail_send(L, s, WF_CLOSED, taken);
        if (s->out.bytes > WF_STREAM_HIGH && first)
            wf_wait_begin(L, s->timeout);
        if (s->out.bytes > WF_STREAM_HIGH)
            return wf_wait(L, &s->writer, send_k, taken);
        size_t n = WF_MIN((size_t)(last - taken), WF_STREAM_HIGH);
        enum wf_error e = wf_stream_write(s, data + taken, n);
        if (e != WF_OK)
            return fail_send(L, s, e, taken);
        taken += (lua_KContext)n;
        wf_send_now(s->object.loop);
    }
    lua_pushinteger(L, last);
    return 1;
}

static int send_k(lua_State *L, int status, lua_KContext taken)
{
    (void)status;
    if (wf_woken(L) == WF_TIMEOUT)
        return fail_send(L, (wf_stream *)wf_handle_check(L)->object, WF_TIMEOUT, taken);
    return send_step(L, taken, false);
}

static lua_Integer position(lua_Integer i, size_t len)
{
    return i < 0 ? (lua_Integer)len + i + 1 : i;
}

static int stream_send(lua_State *L)
{
    wf_stream *s = (wf_stream *)wf_handle_check(L)->object;
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
    if (s->writer) {
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
    wf_stream *s = (wf_stream *)wf_handle_check(L)->object;
    int which = luaL_checkoption(L, 2, "both", how);
    if (!s || wf_stream_shutdown(s, which != 1, which != 2) != WF_OK)
        return wf_fail(L, WF_CLOSED, "closed");
    wf_send_now(s->object.loop);
    lua_pushboolean(L, true);
    return 1;
}

static int stream_buffered(lua_State *L)
{
    wf_stream *s = (wf_stream *)wf_handle_check(L)->object;
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
    wf_send_now(s->object.loop);
    return 1;
}

/* The terminal or pipe on descriptor 0, which stays open and blocking: it is read
 * once per readiness. */
static int l_stdin(lua_State *L)
{
    if (push_stream(L, STDIN_FILENO, &(wf_peer){ 0 }) == 1)
        ((wf_stream *)((wf_handle *)lua_touserdata(L, -1))->object)->file = true;
    return 1;
}

/* -- names ------------------------------------------------------------------------ */

static void push_addresses(lua_State *L, const struct addrinfo *ai)
{
    lua_newtable(L);
    for (lua_Integer n = 1; ai; ai = ai->ai_next) {
        char ip[WF_IP_MAX];
        if (getnameinfo(ai->ai_addr, ai->ai_addrlen, ip, sizeof ip, NULL, 0, NI_NUMERICHOST) == 0) {
            lua_pushstring(L, ip);
            lua_rawseti(L, -2, n++);
        }
    }
}

static int resolve_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    wf_lookup *lookup = (wf_lookup *)ctx; /* ours alone: nobody else can free it */
    wf_task *t = wf_woken_task(L);
    const char *host = lua_tostring(L, 1);
    if (t->cancelling || t->waiter.reason != WF_OK) {
        lookup->object.class->destroy(&lookup->object);
        wf_woken(L);
        return wf_fail(L, WF_TIMEOUT, "timeout while looking up '%s'", host);
    }
    int n = 1;
    if (lookup->status == 0)
        push_addresses(L, lookup->result);
    else
        n = wf_fail(L, WF_RESOLVE, "cannot resolve '%s': %s", host,
                    lookup->status == EAI_SYSTEM ? strerror(lookup->err)
                                                 : gai_strerror(lookup->status));
    lookup->object.class->destroy(&lookup->object);
    return n;
}

static int l_resolve(lua_State *L)
{
    wf_loop *loop = wf_state_loop(L);
    size_t len;
    const char *host = luaL_checklstring(L, 1, &len);
    double timeout = wf_opt_timeout(L, 2);
    wf_sockaddr a;
    if (memchr(host, '\0', len) || len > 1024)
        return wf_fail(L, WF_RESOLVE, "malformed host name");
    if (wf_sockaddr_parse(&a, host, 0)) {
        lua_createtable(L, 1, 0);
        lua_pushvalue(L, 1);
        lua_rawseti(L, -2, 1);
        return 1;
    }
    wf_wait_begin(L, timeout);
    wf_lookup *lookup = wf_lookup_new(loop, host);
    if (!lookup)
        return wf_fail(L, WF_NOMEM, NULL);
    return wf_wait(L, &lookup->waiter, resolve_k, (lua_KContext)lookup);
}

/* -- the classes ------------------------------------------------------------------ */

static const luaL_Reg meta[] = {
    { "__gc", wf_handle_close },
    { "__close", wf_handle_close },
    { "__tostring", to_string },
    { NULL, NULL },
};

static const luaL_Reg tcp_methods[] = {
    { "bind_ip", tcp_bind_ip },       { "connect_ip", tcp_connect_ip },
    { "listen", tcp_listen },         { "close", wf_handle_close_method },
    { "setoption", socket_setoption }, { "settimeout", socket_settimeout },
    { "getsockname", socket_getsockname },
    { NULL, NULL },
};

static const luaL_Reg listener_methods[] = {
    { "accept", listener_accept },     { "close", wf_handle_close_method },
    { "setoption", socket_setoption }, { "settimeout", socket_settimeout },
    { "getsockname", socket_getsockname },
    { NULL, NULL },
};

static const luaL_Reg stream_methods[] = {
    { "send", stream_send },
    { "receive", stream_receive },
    { "shutdown", stream_shutdown },
    { "buffered", stream_buffered },
    { "linger", stream_linger },
    { "close", wf_handle_close_method },
    { "setoption", socket_setoption },
    { "settimeout", socket_settimeout },
    { "getsockname", socket_getsockname },
    { "getpeername", socket_getpeername },
    { NULL, NULL },
};

static const luaL_Reg functions[] = {
    { "tcp", l_tcp },
    { "stdin", l_stdin },
    { "resolve", l_resolve },
    { "read_line", l_read_line },
    { NULL, NULL },
};

void wf_open_sockets(lua_State *L, int module)
{
    wf_class_new(L, module, WF_CLASS_TCP, meta, tcp_methods);
    wf_class_new(L, module, WF_CLASS_LISTENER, meta, listener_methods);
    wf_class_new(L, module, WF_CLASS_STREAM, meta, stream_methods);
    wf_set_functions(L, module, functions);
}
