/*
 * socket: what the classes tcp, listener and stream have in common: names, options, time
 * limits. As in LuaSocket one userdata changes its class: a tcp becomes a listener by
 * listen() and a stream by connect().
 */
#include "bind/socket.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "io/listener.h"
#include "io/stream.h"
#include "io/udp.h"

/* -- names ------------------------------------------------------------------- */

const char *wf_socket_ip_arg(lua_State *L, int arg)
{
    size_t n;
    const char *ip = luaL_checklstring(L, arg, &n);
    luaL_argcheck(L, strlen(ip) == n, arg, "an address has no NUL");
    return ip;
}

int wf_socket_fd(const wf_object *object)
{
    if (!object)
        return -1;
    if (object->class == &wf_listener_class)
        return ((const wf_listener *)object)->fd;
    if (object->class == &wf_udp_class)
        return ((const wf_udp *)object)->fd;
    return ((const wf_stream *)object)->fd;
}

void wf_socket_push_endpoint(lua_State *L, const char *ip, int port)
{
    if (strcmp(ip, "unix:") == 0)
        lua_pushstring(L, ip);
    else
        lua_pushfstring(L, strchr(ip, ':') ? "[%s]:%d" : "%s:%d", ip, port);
}

void wf_socket_push_address(lua_State *L, const wf_sockaddr *a)
{
    char ip[WF_IP_MAX];
    int port = wf_sockaddr_text(a, ip);
    if (a->storage.ss_family == AF_UNIX)
        lua_pushfstring(L, "unix:%s", ip);
    else
        wf_socket_push_endpoint(L, ip, port);
}

bool wf_socket_name(int fd, wf_name_fn name, wf_sockaddr *a)
{
    a->len = sizeof a->storage;
    return fd >= 0 && name(fd, (struct sockaddr *)&a->storage, &a->len) == 0;
}

int wf_socket_push_name(lua_State *L, wf_name_fn name)
{
    wf_sockaddr a;
    char ip[WF_IP_MAX];
    if (!wf_socket_name(wf_socket_fd(wf_handle_check(L)->object), name, &a))
        return wf_fail(L, WF_CLOSED, "closed");
    int port = wf_sockaddr_text(&a, ip);
    lua_pushstring(L, ip);
    lua_pushinteger(L, port);
    lua_pushstring(L, wf_sockaddr_family(&a));
    return 3;
}

static int socket_getsockname(lua_State *L)
{
    return wf_socket_push_name(L, getsockname);
}

static int to_string(lua_State *L)
{
    wf_handle *h = wf_handle_check(L);
    wf_sockaddr a;
    luaL_getmetafield(L, 1, "__name");
    const char *name = lua_tostring(L, -1);
    bool peer = h->object && h->object->class == &wf_stream_class;
    if (!wf_socket_name(wf_socket_fd(h->object), peer ? getpeername : getsockname, &a)) {
        bool gone =
            !h->object || (wf_socket_fd(h->object) < 0 && strcmp(name, "weft.tcp") != 0);
        lua_pushfstring(L, "%s (%s)", name, gone ? "closed" : "not connected");
        return 1;
    }
    wf_socket_push_address(L, &a);
    lua_pushfstring(L, "%s (%s %s)", name, peer ? "to" : "at", lua_tostring(L, -1));
    return 1;
}

/* -- options ------------------------------------------------------------------ */

#define OPTION_NAMES                                                                     \
    "reuseaddr, reuseport, keepalive, tcp-nodelay, tcp-keepidle, tcp-keepintvl, "        \
    "tcp-keepcnt, ipv6-v6only, send-buffer-size, recv-buffer-size, max_receive"

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
#ifdef TCP_KEEPIDLE
    { "tcp-keepidle", IPPROTO_TCP, TCP_KEEPIDLE, true },
#endif
#ifdef TCP_KEEPINTVL
    { "tcp-keepintvl", IPPROTO_TCP, TCP_KEEPINTVL, true },
#endif
#ifdef TCP_KEEPCNT
    { "tcp-keepcnt", IPPROTO_TCP, TCP_KEEPCNT, true },
#endif
    { "ipv6-v6only", IPPROTO_IPV6, IPV6_V6ONLY, false },
    { "send-buffer-size", SOL_SOCKET, SO_SNDBUF, true },
    { "recv-buffer-size", SOL_SOCKET, SO_RCVBUF, true },
};

/* [-0, +0, raises] */
static size_t find_option(lua_State *L, const char *name, const char *method)
{
    size_t i = 0;
    while (i < sizeof options / sizeof *options && strcmp(name, options[i].name) != 0)
        i++;
    if (i == sizeof options / sizeof *options)
        luaL_error(L, "%s: unknown option '%s' (" OPTION_NAMES ")", method, name);
    return i;
}

/* Argument 3 as the option's value. [-0, +0, raises] */
static int option_value(lua_State *L, size_t i)
{
    if (options[i].number) {
        lua_Integer n = lua_tointeger(L, 3);
        if (!lua_isinteger(L, 3) || n < 1 || n > INT_MAX)
            luaL_error(L, "setoption: '%s' must be a number, 1 or more, got %s",
                       options[i].name, luaL_tolstring(L, 3, NULL));
        return (int)n;
    }
    if (!lua_isboolean(L, 3))
        luaL_error(L, "setoption: '%s' must be true or false, got %s", options[i].name,
                   luaL_tolstring(L, 3, NULL));
    return lua_toboolean(L, 3);
}

/* A fresh tcp gets its descriptor when something needs it. */
static bool need_fd(wf_stream *s, int family)
{
    if (s->fd >= 0)
        return true;
    int fd = wf_socket(family, SOCK_STREAM);
    if (fd < 0)
        return false;
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    wf_stream_adopt(s, fd);
    return true;
}

/* [-0, +1|3, raises] */
static int set_system_option(lua_State *L, wf_object *object, size_t i)
{
    int value = option_value(L, i);
    int fd = wf_socket_fd(object);
    if (fd < 0) { /* a fresh tcp, whose family is not known yet */
        wf_stream *s = (wf_stream *)object;
        if (!need_fd(s, AF_INET6) && !need_fd(s, AF_INET))
            return wf_fail_errno(L, errno, "socket");
        fd = s->fd;
    }
    if (setsockopt(fd, options[i].level, options[i].option, &value, sizeof value) < 0)
        return wf_fail_errno(L, errno, options[i].name);
    lua_pushboolean(L, true);
    return 1;
}

void wf_socket_copy_options(int from, int to)
{
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        int value = 0;
        socklen_t len = sizeof value;
        if (options[i].number || options[i].level == IPPROTO_IPV6)
            continue;
        getsockopt(from, options[i].level, options[i].option, &value, &len);
        if (value)
            setsockopt(to, options[i].level, options[i].option, &value, sizeof value);
    }
}

bool wf_socket_ensure(wf_stream *s, int family)
{
    wf_sockaddr a;
    int old = s->fd;
    if (old < 0 || !wf_socket_name(old, getsockname, &a) || a.storage.ss_family == family)
        return need_fd(s, family);
    s->fd = -1;
    if (!need_fd(s, family)) {
        s->fd = old;
        return false;
    }
    wf_socket_copy_options(old, s->fd);
    close(old);
    return true;
}

/* [-0, +1, raises] */
static int set_max_receive(lua_State *L, wf_stream *s)
{
    lua_Integer n = luaL_checkinteger(L, 3);
    luaL_argcheck(L, n > 0 && n <= 1 << 30, 3, "max_receive is 1 to 2^30 bytes");
    s->max_receive = (uint32_t)n;
    lua_pushboolean(L, true);
    return 1;
}

static int socket_setoption(lua_State *L)
{
    wf_object *object = wf_handle_check(L)->object;
    const char *name = luaL_checkstring(L, 2);
    bool fresh = object && wf_class_test(L, 1, WF_CLASS_TCP);
    if (!fresh && wf_socket_fd(object) < 0)
        return wf_fail(L, WF_CLOSED, "closed");
    if (strcmp(name, "max_receive") == 0 && object->class == &wf_stream_class)
        return set_max_receive(L, (wf_stream *)object);
    return set_system_option(L, object, find_option(L, name, "setoption"));
}

/* getoption(name) -> value | nil, message, code */
static int socket_getoption(lua_State *L)
{
    wf_object *object = wf_handle_check(L)->object;
    size_t i = find_option(L, luaL_checkstring(L, 2), "getoption");
    int value = 0, fd = wf_socket_fd(object);
    socklen_t len = sizeof value;
    if (!object || (fd < 0 && !wf_class_test(L, 1, WF_CLASS_TCP)))
        return wf_fail(L, WF_CLOSED, "closed");
    if (fd < 0 && !need_fd((wf_stream *)object, AF_INET6) &&
        !need_fd((wf_stream *)object, AF_INET))
        return wf_fail_errno(L, errno, "socket");
    if (getsockopt(wf_socket_fd(object), options[i].level, options[i].option, &value,
                   &len) < 0)
        return wf_fail_errno(L, errno, options[i].name);
    if (options[i].number)
        lua_pushinteger(L, value);
    else
        lua_pushboolean(L, value != 0);
    return 1;
}

/* settimeout(s, "t"): of each operation; "b": of each wait within one, as LuaSocket's */
static int socket_settimeout(lua_State *L)
{
    static const char *const modes[] = { "t", "b", NULL };
    wf_object *object = wf_handle_check(L)->object;
    bool stepwise = luaL_checkoption(L, 3, "t", modes);
    double s = INFINITY;
    if (!lua_isnoneornil(L, 2)) {
        s = luaL_checknumber(L, 2);
        luaL_argcheck(L, s == s, 2, "a time is a number of seconds");
        if (s < 0) /* LuaSocket: negative means none */
            s = INFINITY;
    }
    if (object && object->class == &wf_listener_class) {
        ((wf_listener *)object)->timeout = s;
    } else if (object) {
        ((wf_stream *)object)->timeout = s;
        ((wf_stream *)object)->stepwise = stepwise;
    }
    lua_pushinteger(L, 1);
    return 1;
}

/* -- the classes --------------------------------------------------------------- */

static const luaL_Reg meta[] = {
    { "__gc", wf_handle_close },
    { "__close", wf_handle_close },
    { "__tostring", to_string },
    { NULL, NULL },
};

static const luaL_Reg common_methods[] = {
    { "close", wf_handle_close_method },   { "setoption", socket_setoption },
    { "getoption", socket_getoption },     { "settimeout", socket_settimeout },
    { "getsockname", socket_getsockname }, { NULL, NULL },
};

void wf_socket_class(lua_State *L, int module, wf_class_id id, const luaL_Reg *methods)
{
    wf_class_new(L, module, id, meta, common_methods);
    wf_class_add(L, module, id, methods, 0);
}
