/*
 * tcp: the classes tcp (fresh: it has a descriptor only when something needs one) and
 * listener.
 */
#include "bind/stream.h"

#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "io/listener.h"

/* -- fresh --------------------------------------------------------------------- */

static int l_tcp(lua_State *L)
{
    wf_loop *loop = wf_state_loop(L);
    wf_handle *h = wf_handle_new(L, WF_CLASS_TCP, WF_SOCKET_UVS);
    wf_stream *s = wf_stream_new(loop, -1);
    if (!s)
        return wf_raise_nomem(L);
    wf_handle_fill(h, &s->object);
    return 1;
}

/* [-0, +0, raises] */
static wf_stream *tcp_of(lua_State *L)
{
    return (wf_stream *)wf_handle_check(L)->object;
}

/* NULL: nil, message, code are pushed. [-0, +0|3, raises] */
static wf_stream *check_tcp(lua_State *L)
{
    wf_stream *s = tcp_of(L);
    if (s && !s->connecting)
        return s;
    if (s)
        wf_fail_busy(L, "connect on this socket");
    else
        wf_fail(L, WF_CLOSED, "closed");
    return NULL;
}

/* [-0, +0, raises] */
static uint16_t check_port(lua_State *L, int arg, int least)
{
    lua_Integer port = luaL_checkinteger(L, arg);
    bool fine = port >= least && port <= 65535;
    luaL_argcheck(L, fine, arg, "a port is a number up to 65535");
    return (uint16_t)port;
}

/* [-0, +3, m] */
static int fail_at(lua_State *L, int err, const char *what, const wf_sockaddr *a)
{
    wf_socket_push_address(L, a);
    lua_pushfstring(L, "%s %s", what, lua_tostring(L, -1));
    what = lua_tostring(L, -1);
    if (err == EADDRINUSE)
        return wf_fail(L, WF_BUSY, "%s: address already in use", what);
    return wf_fail_errno(L, err, what);
}

/* [-0, +1|3, m] */
static int bind_to(lua_State *L, wf_stream *s, const wf_sockaddr *a)
{
    if (!wf_socket_ensure(s, a->storage.ss_family))
        return wf_fail_errno(L, errno, "socket");
    if (bind(s->fd, (const struct sockaddr *)&a->storage, a->len) == 0) {
        lua_pushboolean(L, true);
        return 1;
    }
    return fail_at(L, errno, "cannot bind", a);
}

/* Every interface, IPv6 and IPv4 in one socket where the system can. [-0, +1|3, m] */
static int bind_everywhere(lua_State *L, wf_stream *s, uint16_t port)
{
    int off = 0;
    wf_sockaddr a;
    if (wf_sockaddr_parse(&a, "::", port) && wf_socket_ensure(s, AF_INET6) &&
        setsockopt(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0) {
        int n = bind_to(L, s, &a);
        if (n == 1 || strcmp(lua_tostring(L, -1), "busy") == 0)
            return n;
    }
    wf_sockaddr_parse(&a, "0.0.0.0", port);
    return bind_to(L, s, &a);
}

static int tcp_bind_ip(lua_State *L)
{
    wf_stream *s = check_tcp(L);
    if (!s)
        return 3;
    const char *ip = wf_socket_ip_arg(L, 2);
    uint16_t port = check_port(L, 3, 0);
    wf_sockaddr a;
    if (strcmp(ip, "*") == 0)
        return bind_everywhere(L, s, port);
    if (!wf_sockaddr_parse(&a, ip, port))
        return wf_fail(L, WF_RESOLVE, "'%s' is not a numeric address", ip);
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
        wf_socket_name(s->fd, getsockname, &a);
        return fail_at(L, err, "cannot listen at", &a);
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

/* Where connect_ip (ip, port) or connect_unix (path) goes. [-0, +1, m] */
static void push_target(lua_State *L, lua_KContext to_path)
{
    if (to_path)
        lua_pushfstring(L, "unix:%s", lua_tostring(L, 2));
    else
        wf_socket_push_endpoint(L, lua_tostring(L, 2), (int)lua_tointeger(L, 3));
}

/* Why a connect failed; the tcp is fresh again. [-0, +3, m] */
static int fail_connect(lua_State *L, wf_stream *s, lua_KContext to_path)
{
    enum wf_error error = s->error;
    push_target(L, to_path);
    if (error == WF_REFUSED)
        return wf_fail(L, error, "connection to %s refused", lua_tostring(L, -1));
    if (to_path && s->err == EAGAIN)
        return wf_fail(L, WF_BUSY, "the backlog of %s is full", lua_tostring(L, -1));
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

static int connect_k(lua_State *L, int status, lua_KContext to_path)
{
    (void)status;
    wf_stream *s = tcp_of(L);
    if (wf_woken_task(L)->cancelling && s)
        give_up(s);
    enum wf_error e = wf_woken(L);
    if (!s)
        return wf_fail(L, WF_CLOSED, "closed");
    if (e == WF_TIMEOUT) {
        give_up(s);
        push_target(L, to_path);
        return wf_fail(L, WF_TIMEOUT, "timeout while connecting to %s",
                       lua_tostring(L, -1));
    }
    s->eof = false;
    if (s->fd < 0)
        return fail_connect(L, s, to_path);
    wf_handle_become(L, WF_CLASS_STREAM);
    lua_pushboolean(L, true);
    return 1;
}

/* [-0, +1|3, raises] */
static int connect_to(lua_State *L, wf_stream *s, const wf_sockaddr *a, double timeout)
{
    int family = a->storage.ss_family;
    lua_KContext to_path = family == AF_UNIX;
    wf_task *t = wf_wait_begin(L, timeout);
    if (!wf_socket_ensure(s, family))
        return wf_fail_errno(L, errno, "socket");
    wf_peer_set(&s->peer, a);
    wf_stream_connect(s, (const struct sockaddr *)&a->storage, a->len);
    if (!s->connecting) {
        t->waiter.reason = WF_OK;
        return connect_k(L, LUA_OK, to_path);
    }
    return wf_wait(L, &s->writer, connect_k, to_path);
}

static int tcp_connect_unix(lua_State *L)
{
    wf_stream *s = check_tcp(L);
    if (!s)
        return 3;
    size_t n;
    const char *path = luaL_checklstring(L, 2, &n);
    wf_sockaddr a;
    const char *why = wf_sockaddr_unix(&a, path, n);
    if (why)
        return wf_fail(L, WF_RESOLVE, "bad path: %s", why);
    return connect_to(L, s, &a, s->timeout);
}

static int tcp_connect_ip(lua_State *L)
{
    wf_stream *s = check_tcp(L);
    if (!s)
        return 3;
    const char *ip = wf_socket_ip_arg(L, 2);
    uint16_t port = check_port(L, 3, 1);
    double timeout = lua_isnoneornil(L, 4) ? s->timeout : wf_opt_timeout(L, 4);
    wf_sockaddr a;
    if (!wf_sockaddr_parse(&a, ip, port))
        return wf_fail(L, WF_RESOLVE, "'%s' is not a numeric address", ip);
    return connect_to(L, s, &a, timeout);
}

/* -- listener ------------------------------------------------------------------ */

/* The stack: the listener, and the handle of what it accepts. */
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
        return wf_stream_fill(L, lua_touserdata(L, 2), fd, &peer);
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
    lua_settop(L, 1);
    wf_stream_push_empty(L);
    return accept_k(L, LUA_OK, 0);
}

/* -- the classes --------------------------------------------------------------- */

static const luaL_Reg tcp_methods[] = {
    { "bind_ip", tcp_bind_ip },
    { "connect_ip", tcp_connect_ip },
    { "connect_unix", tcp_connect_unix },
    { "listen", tcp_listen },
    { NULL, NULL },
};

static const luaL_Reg listener_methods[] = {
    { "accept", listener_accept },
    { NULL, NULL },
};

/* become(tcp, stream) -> true | nil, message, code: a fresh tcp is that connection from
 * here on, with the options and time limit it had. */
static int l_become(lua_State *L)
{
    wf_handle *h = wf_class_test(L, 1, WF_CLASS_TCP);
    wf_handle *from = wf_class_check(L, 2, WF_CLASS_STREAM);
    wf_stream *s = h ? (wf_stream *)h->object : NULL;
    wf_stream *connected = (wf_stream *)from->object;
    if (!s || !connected)
        return wf_fail(L, WF_CLOSED, "closed");
    connected->timeout = s->timeout;
    connected->stepwise = s->stepwise;
    connected->max_receive = s->max_receive;
    if (s->fd >= 0)
        wf_socket_copy_options(s->fd, connected->fd);
    s->object.class->destroy(&s->object);
    from->object = NULL;
    wf_handle_become(L, WF_CLASS_STREAM);
    wf_handle_fill(h, &connected->object);
    lua_pushboolean(L, true);
    return 1;
}

/* timeout_of(tcp) -> seconds | nil: no limit */
static int l_timeout_of(lua_State *L)
{
    wf_stream *s = (wf_stream *)wf_object_arg(L, 1, WF_CLASS_TCP);
    if (s && s->timeout < INFINITY)
        lua_pushnumber(L, s->timeout);
    else
        lua_pushnil(L);
    return 1;
}

static const luaL_Reg functions[] = {
    { "tcp", l_tcp },
    { "become", l_become },
    { "timeout_of", l_timeout_of },
    { NULL, NULL },
};

void wf_open_tcp(lua_State *L, int module)
{
    wf_socket_class(L, module, WF_CLASS_TCP, tcp_methods);
    wf_socket_class(L, module, WF_CLASS_LISTENER, listener_methods);
    wf_set_functions(L, module, functions);
}
