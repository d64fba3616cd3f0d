/*
 * udp: the class udp, datagrams in LuaSocket's shapes. Names are looked up in Lua
 * (lua/weft/udp.lua); here addresses are numeric.
 */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "bind/socket.h"
#include "bind/task.h"
#include "io/udp.h"

#define DATAGRAM_MAX 65535

/* Argument 1: "inet", "inet6", or nil: as the first address has it. */
static int l_udp(lua_State *L)
{
    static const char *const names[] = { "inet", "inet6", NULL };
    static const int families[] = { AF_INET, AF_INET6 };
    wf_loop *loop = wf_state_loop(L);
    int family = lua_isnoneornil(L, 1) ? -1 : luaL_checkoption(L, 1, NULL, names);
    wf_handle *h = wf_handle_new(L, WF_CLASS_UDP, 0);
    wf_udp *u = wf_udp_new(loop);
    if (!u)
        return wf_fail(L, WF_NOMEM, NULL);
    wf_handle_fill(h, &u->object);
    if (family >= 0 && !wf_udp_open(u, families[family]))
        return wf_fail_errno(L, errno, "socket");
    return 1;
}

/* [-0, +0, raises] */
static wf_udp *udp_of(lua_State *L)
{
    return (wf_udp *)wf_handle_check(L)->object;
}

/* [-0, +3, m] */
static int fail(lua_State *L, int err, const char *what)
{
    if (err == ECONNREFUSED) /* an ICMP message that answered something sent before */
        return wf_fail(L, WF_REFUSED, "connection refused");
    if (err == EMSGSIZE)
        return wf_fail(L, WF_TOO_BIG, "%s: the datagram is too big", what);
    if (err == EADDRINUSE)
        return wf_fail(L, WF_BUSY, "%s: address already in use", what);
    return wf_fail_errno(L, err, what);
}

/* The address at arg and arg + 1, as the socket takes it; false: 3 values tell why.
 * [-0, +0|3, raises] */
static bool check_address(lua_State *L, wf_udp *u, int arg, int least, wf_sockaddr *a)
{
    const char *ip = wf_socket_ip_arg(L, arg);
    lua_Integer port = luaL_checkinteger(L, arg + 1);
    bool fine = port >= least && port <= 65535;
    luaL_argcheck(L, fine, arg + 1, "a port is a number up to 65535");
    if (!u) {
        wf_fail(L, WF_CLOSED, "closed");
    } else if (!wf_sockaddr_parse(a, ip, (uint16_t)port)) {
        wf_fail(L, WF_RESOLVE, "'%s' is not a numeric address", ip);
    } else if (!wf_udp_open(u, a->storage.ss_family)) {
        wf_fail_errno(L, errno, "socket");
    } else if (!wf_udp_fit(u, a)) {
        wf_fail(L, WF_SYSTEM,
                "this socket is of IPv4; weft.udp \"inet6\" makes one of IPv6");
    } else {
        return true;
    }
    return false;
}

/* [-0, +1, -] */
static int succeed(lua_State *L)
{
    lua_pushboolean(L, true);
    return 1;
}

/* Both families in one socket where the system can and nobody asked for one. */
static bool be_dual(wf_udp *u)
{
    int off = 0;
    if (u->fd >= 0)
        return true;
    if (wf_udp_open(u, AF_INET6))
        setsockopt(u->fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    return wf_udp_open(u, AF_INET);
}

/* bind_ip(ip or "*", port) */
static int udp_bind_ip(lua_State *L)
{
    wf_udp *u = udp_of(L);
    wf_sockaddr a;
    if (u && strcmp(luaL_checkstring(L, 2), "*") == 0) {
        if (!be_dual(u))
            return wf_fail_errno(L, errno, "socket");
        lua_pushstring(L, u->family == AF_INET6 ? "::" : "0.0.0.0");
        lua_replace(L, 2);
    }
    if (!check_address(L, u, 2, 0, &a))
        return 3;
    if (bind(u->fd, (const struct sockaddr *)&a.storage, a.len) == 0)
        return succeed(L);
    int err = errno;
    wf_socket_push_address(L, &a);
    lua_pushfstring(L, "cannot bind %s", lua_tostring(L, -1));
    return fail(L, err, lua_tostring(L, -1));
}

/* connect_ip(ip, port), or "*": from and to everybody again */
static int udp_connect_ip(lua_State *L)
{
    wf_udp *u = udp_of(L);
    wf_sockaddr a = { .storage = { .ss_family = AF_UNSPEC }, .len = sizeof a.storage };
    bool nobody = u && strcmp(luaL_checkstring(L, 2), "*") == 0;
    if (nobody && u->fd < 0)
        return succeed(L);
    if (!nobody && !check_address(L, u, 2, 1, &a))
        return 3;
    if (connect(u->fd, (const struct sockaddr *)&a.storage, a.len) < 0)
        return fail(L, errno, "connect");
    u->connected = !nobody;
    return succeed(L);
}

/* -- receiving --------------------------------------------------------------------- */

/* A received datagram: data [, ip, port] and its real size when it was cut.
 * [-0, +1..4, m] */
static int push_datagram(lua_State *L, const uint8_t *p, long k, bool from,
                         const wf_sockaddr *a)
{
    char ip[WF_IP_MAX];
    long max = (long)lua_tointeger(L, 2);
    int top = lua_gettop(L);
    lua_pushlstring(L, (const char *)p, (size_t)WF_MIN(k, max));
    if (from) {
        int port = wf_sockaddr_text(a, ip);
        lua_pushstring(L, ip);
        lua_pushinteger(L, port);
    }
    if (k > max)
        lua_pushinteger(L, k);
    return lua_gettop(L) - top;
}

static int receive_step(lua_State *L, lua_KContext from, bool first);

static int receive_k(lua_State *L, int status, lua_KContext from)
{
    (void)status;
    if (wf_woken(L) == WF_TIMEOUT)
        return wf_fail(L, WF_TIMEOUT, "timeout");
    return receive_step(L, from, false);
}

/* A datagram, or why there is none; 0: it has to be waited for. Not into the loop's
 * buffer: the caller may be at a message out of that. [-0, +0..4, m] */
static int receive_now(lua_State *L, wf_udp *u, bool from)
{
    uint8_t p[DATAGRAM_MAX];
    wf_sockaddr a;
    long k = wf_udp_receive(u, p, (size_t)lua_tointeger(L, 2), &a);
    if (k >= 0)
        return push_datagram(L, p, k, from, &a);
    return k == -EAGAIN ? 0 : fail(L, (int)-k, "receive");
}

/* [-0, +1..4, raises] */
static int receive_step(lua_State *L, lua_KContext from, bool first)
{
    wf_udp *u = udp_of(L);
    if (!u)
        return wf_fail(L, WF_CLOSED, "closed");
    int n = receive_now(L, u, from);
    if (n > 0)
        return n;
    if (first)
        wf_wait_begin(L, u->timeout);
    wf_udp_watch(u, EV_READ);
    return wf_wait(L, &u->reader, receive_k, from);
}

/* [-0, +1..4, raises] */
static int receive(lua_State *L, bool from)
{
    wf_udp *u = udp_of(L);
    lua_Integer n = luaL_optinteger(L, 2, DATAGRAM_MAX);
    luaL_argcheck(L, n >= 1 && n <= DATAGRAM_MAX, 2, "1 to 65535 bytes");
    lua_settop(L, 1);
    lua_pushinteger(L, n);
    if (!u)
        return wf_fail(L, WF_CLOSED, "closed");
    if (u->fd < 0)
        return luaL_error(L, "receive: call bind, connect or sendto first");
    if (u->reader)
        return wf_fail_busy(L, "receive on this socket");
    return receive_step(L, from, true);
}

static int udp_receive(lua_State *L)
{
    return receive(L, false);
}

static int udp_receivefrom(lua_State *L)
{
    return receive(L, true);
}

/* -- sending ----------------------------------------------------------------------- */

/* The stack: socket, data, and for sendto_ip ip and port. */
static int send_step(lua_State *L, lua_KContext to, bool first);

static int send_k(lua_State *L, int status, lua_KContext to)
{
    (void)status;
    if (wf_woken(L) == WF_TIMEOUT)
        return wf_fail(L, WF_TIMEOUT, "timeout");
    return send_step(L, to, false);
}

/* [-0, +1|3, raises] */
static int send_step(lua_State *L, lua_KContext to, bool first)
{
    wf_udp *u = udp_of(L);
    wf_sockaddr a;
    size_t n;
    const char *data = luaL_checklstring(L, 2, &n);
    if (!u)
        return wf_fail(L, WF_CLOSED, "closed");
    if (to && !check_address(L, u, 3, 1, &a))
        return 3;
    int k = wf_udp_send(u, data, n, to ? &a : NULL);
    if (k == 0) {
        lua_pushinteger(L, (lua_Integer)n);
        return 1;
    }
    if (k != -EAGAIN)
        return fail(L, -k, "send");
    if (first)
        wf_wait_begin(L, u->timeout);
    wf_udp_watch(u, EV_WRITE);
    return wf_wait(L, &u->writer, send_k, to);
}

/* [-0, +1|3, raises] */
static int begin_send(lua_State *L, bool to)
{
    wf_udp *u = udp_of(L);
    luaL_checkstring(L, 2);
    lua_settop(L, to ? 4 : 2);
    if (u && !to && !u->connected)
        return luaL_error(L, "send: call connect first, or sendto");
    if (u && u->writer)
        return wf_fail_busy(L, "send on this socket");
    return send_step(L, to, true);
}

static int udp_send(lua_State *L)
{
    return begin_send(L, false);
}

static int udp_sendto_ip(lua_State *L)
{
    return begin_send(L, true);
}

/* -- options ------------------------------------------------------------------------ */

enum kind { FLAG, NUMBER, MEMBER4, MEMBER6, INTERFACE };

static const struct option {
    const char *name;
    int level, option;
    enum kind kind;
} options[] = {
    { "reuseaddr", SOL_SOCKET, SO_REUSEADDR, FLAG },
#ifdef SO_REUSEPORT
    { "reuseport", SOL_SOCKET, SO_REUSEPORT, FLAG },
#endif
    { "broadcast", SOL_SOCKET, SO_BROADCAST, FLAG },
    { "dontroute", SOL_SOCKET, SO_DONTROUTE, FLAG },
    { "send-buffer-size", SOL_SOCKET, SO_SNDBUF, NUMBER },
    { "recv-buffer-size", SOL_SOCKET, SO_RCVBUF, NUMBER },
    { "ip-multicast-loop", IPPROTO_IP, IP_MULTICAST_LOOP, FLAG },
    { "ip-multicast-ttl", IPPROTO_IP, IP_MULTICAST_TTL, NUMBER },
    { "ip-multicast-if", IPPROTO_IP, IP_MULTICAST_IF, INTERFACE },
    { "ip-add-membership", IPPROTO_IP, IP_ADD_MEMBERSHIP, MEMBER4 },
    { "ip-drop-membership", IPPROTO_IP, IP_DROP_MEMBERSHIP, MEMBER4 },
    { "ipv6-v6only", IPPROTO_IPV6, IPV6_V6ONLY, FLAG },
    { "ipv6-unicast-hops", IPPROTO_IPV6, IPV6_UNICAST_HOPS, NUMBER },
    { "ipv6-multicast-hops", IPPROTO_IPV6, IPV6_MULTICAST_HOPS, NUMBER },
    { "ipv6-multicast-loop", IPPROTO_IPV6, IPV6_MULTICAST_LOOP, FLAG },
    { "ipv6-add-membership", IPPROTO_IPV6, IPV6_JOIN_GROUP, MEMBER6 },
    { "ipv6-drop-membership", IPPROTO_IPV6, IPV6_LEAVE_GROUP, MEMBER6 },
};

#define OPTIONS (sizeof options / sizeof *options)

/* [-0, +0, raises] */
static const struct option *find_option(lua_State *L, const char *name)
{
    for (size_t i = 0; i < OPTIONS; i++)
        if (strcmp(name, options[i].name) == 0)
            return &options[i];
    luaL_error(L, "setoption: unknown option '%s'; see weft.udp:setoption", name);
    return NULL;
}

/* An address of that family, from a string. [-0, +0, raises] */
static void check_ip(lua_State *L, int index, size_t n, void *bytes)
{
    uint8_t ip[16] = { 0 };
    const char *text = lua_tostring(L, index);
    if (!text || (size_t)wf_ip_bytes(text, ip) != n)
        luaL_error(L, "setoption: '%s' needs IPv%d addresses, got %s", lua_tostring(L, 2),
                   n == 4 ? 4 : 6, luaL_tolstring(L, index, NULL));
    memcpy(bytes, ip, n);
}

/* LuaSocket's { multiaddr =, interface = }; "*" or nothing is the system's choice.
 * [-0, +0, raises] */
static socklen_t member4(lua_State *L, struct ip_mreq *m)
{
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_getfield(L, 3, "multiaddr");
    check_ip(L, -1, 4, &m->imr_multiaddr);
    m->imr_interface.s_addr = htonl(INADDR_ANY);
    if (lua_getfield(L, 3, "interface") != LUA_TNIL &&
        strcmp(luaL_tolstring(L, -1, NULL), "*") != 0)
        check_ip(L, -1, 4, &m->imr_interface);
    return sizeof *m;
}

/* The interface is a name, a number, or nothing. [-0, +0, raises] */
static socklen_t member6(lua_State *L, struct ipv6_mreq *m)
{
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_getfield(L, 3, "multiaddr");
    check_ip(L, -1, 16, &m->ipv6mr_multiaddr);
    m->ipv6mr_interface = 0;
    int type = lua_getfield(L, 3, "interface");
    if (type == LUA_TNUMBER)
        m->ipv6mr_interface = (unsigned)lua_tointeger(L, -1);
    else if (type == LUA_TSTRING &&
             !(m->ipv6mr_interface = if_nametoindex(lua_tostring(L, -1))))
        luaL_error(L, "setoption: there is no interface '%s'", lua_tostring(L, -1));
    return sizeof *m;
}

typedef union value {
    int number;
    struct in_addr in;
    struct ip_mreq four;
    struct ipv6_mreq six;
} value;

/* Argument 3 as the option's value: its size. [-0, +0, raises] */
static socklen_t option_value(lua_State *L, const struct option *o, value *v)
{
    switch (o->kind) {
    case MEMBER4:
        return member4(L, &v->four);
    case MEMBER6:
        return member6(L, &v->six);
    case INTERFACE:
        check_ip(L, 3, 4, &v->in);
        return sizeof v->in;
    case NUMBER:
        v->number = (int)luaL_checkinteger(L, 3);
        luaL_argcheck(L,
                      luaL_checkinteger(L, 3) >= 0 && luaL_checkinteger(L, 3) <= INT_MAX,
                      3, "0 or more");
        return sizeof v->number;
    default:
        luaL_checktype(L, 3, LUA_TBOOLEAN);
        v->number = lua_toboolean(L, 3);
        return sizeof v->number;
    }
}

static int udp_setoption(lua_State *L)
{
    wf_udp *u = udp_of(L);
    const struct option *o = find_option(L, luaL_checkstring(L, 2));
    value v;
    lua_settop(L, 3);
    socklen_t n = option_value(L, o, &v);
    if (!u)
        return wf_fail(L, WF_CLOSED, "closed");
    if (!wf_udp_open(u, o->level == IPPROTO_IPV6 ? AF_INET6 : AF_INET))
        return wf_fail_errno(L, errno, "socket");
    if (setsockopt(u->fd, o->level, o->option, &v, n) < 0)
        return wf_fail_errno(L, errno, o->name);
    return succeed(L);
}

static int udp_settimeout(lua_State *L)
{
    wf_udp *u = udp_of(L);
    double s = luaL_optnumber(L, 2, -1);
    luaL_argcheck(L, s == s, 2, "a time is a number of seconds");
    if (u)
        u->timeout = s < 0 ? INFINITY : s; /* LuaSocket: negative means none */
    lua_pushinteger(L, 1);
    return 1;
}

static int udp_getsockname(lua_State *L)
{
    return wf_socket_push_name(L, getsockname);
}

static int udp_getpeername(lua_State *L)
{
    wf_udp *u = udp_of(L);
    if (u && !u->connected)
        return wf_fail(L, WF_SYSTEM, "not connected");
    return wf_socket_push_name(L, getpeername);
}

static int udp_tostring(lua_State *L)
{
    wf_udp *u = udp_of(L);
    wf_sockaddr a;
    bool named = u && wf_socket_name(u->fd, u->connected ? getpeername : getsockname, &a);
    if (!named) {
        lua_pushfstring(L, "weft.udp (%s)", u ? "not bound" : "closed");
        return 1;
    }
    wf_socket_push_address(L, &a);
    lua_pushfstring(L, "weft.udp (%s %s)", u->connected ? "to" : "at",
                    lua_tostring(L, -1));
    return 1;
}

static const luaL_Reg meta[] = {
    { "__gc", wf_handle_close },
    { "__close", wf_handle_close },
    { "__tostring", udp_tostring },
    { NULL, NULL },
};

static const luaL_Reg methods[] = {
    { "bind_ip", udp_bind_ip },
    { "connect_ip", udp_connect_ip },
    { "send", udp_send },
    { "sendto_ip", udp_sendto_ip },
    { "receive", udp_receive },
    { "receivefrom", udp_receivefrom },
    { "setoption", udp_setoption },
    { "settimeout", udp_settimeout },
    { "getsockname", udp_getsockname },
    { "getpeername", udp_getpeername },
    { "close", wf_handle_close_method },
    { NULL, NULL },
};

static const luaL_Reg functions[] = { { "udp", l_udp }, { NULL, NULL } };

void wf_open_udp(lua_State *L, int module)
{
    wf_class_new(L, module, WF_CLASS_UDP, meta, methods);
    wf_set_functions(L, module, functions);
}
