/*
 * system: the small functions of the module: clock, URLs, files, comparison, HMAC.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bind/state.h"
#include "core/url.h"
#include "io/address.h"
#include "io/crypto.h"

static int l_now(lua_State *L)
{
    lua_pushnumber(L, wf_time());
    return 1;
}

/* The time of day, with its fractions. */
static int l_gettime(lua_State *L)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    lua_pushnumber(L, (lua_Number)t.tv_sec + (lua_Number)t.tv_nsec / 1e9);
    return 1;
}

static int l_hostname(lua_State *L)
{
    char name[256];
    if (gethostname(name, sizeof name) < 0)
        return wf_fail_errno(L, errno, "gethostname");
    name[sizeof name - 1] = '\0';
    lua_pushstring(L, name);
    return 1;
}

/* These set a field of the table on the top. [-0, +0, m] */

static void set_span(lua_State *L, const char *key, const char *p, wf_span span)
{
    lua_pushlstring(L, p + span.at, span.len);
    lua_setfield(L, -2, key);
}

static void set_integer(lua_State *L, const char *key, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, key);
}

static void set_boolean(lua_State *L, const char *key, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, key);
}

/* A part of a URL, when it has one. */
static void set_part(lua_State *L, const char *key, const char *p, wf_span span)
{
    if (span.len > 0)
        set_span(L, key, p, span);
}

/* [-0, +2, m] */
static int fail_why(lua_State *L, const char *why)
{
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

static int l_parse_url(lua_State *L)
{
    size_t n;
    const char *p = luaL_checklstring(L, 1, &n);
    wf_url url;
    const char *why = wf_url_parse(&url, p, n);
    if (why)
        return fail_why(L, why);
    lua_createtable(L, 0, 9);
    set_part(L, "scheme", p, url.scheme);
    set_part(L, "userinfo", p, url.userinfo);
    set_part(L, "host", p, url.host);
    set_part(L, "path", p, url.path);
    if (url.has_query)
        set_span(L, "query", p, url.query);
    set_integer(L, "port", url.port);
    set_boolean(L, "secure", url.secure);
    set_boolean(L, "ipv6", url.ipv6);
    set_boolean(L, "has_fragment", url.has_fragment);
    return 1;
}

static int l_parse_address(lua_State *L)
{
    static const char *const kinds[] = { "tcp", "tls", "unix" };
    size_t n;
    const char *p = luaL_checklstring(L, 1, &n);
    wf_address address;
    const char *why = wf_address_parse(&address, p, n);
    if (why)
        return fail_why(L, why);
    lua_createtable(L, 0, 4);
    lua_pushstring(L, kinds[address.kind]);
    lua_setfield(L, -2, "kind");
    set_span(L, "host", p, address.host);
    set_integer(L, "port", address.port);
    set_boolean(L, "ipv6", address.ipv6);
    return 1;
}

/* ip_bytes(text) -> the 4 or 16 bytes of a numeric address | nil */
static int l_ip_bytes(lua_State *L)
{
    uint8_t bytes[16];
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    int n = strlen(text) == len ? wf_ip_bytes(text, bytes) : 0;
    if (n > 0)
        lua_pushlstring(L, (const char *)bytes, (size_t)n);
    else
        lua_pushnil(L);
    return 1;
}

static int l_compare(lua_State *L)
{
    size_t na, nb;
    const char *a = luaL_checklstring(L, 1, &na), *b = luaL_checklstring(L, 2, &nb);
    lua_pushboolean(L, na == nb && wf_equal(a, b, na));
    return 1;
}

/* random(n) -> n bytes that nobody can guess */
static int l_random(lua_State *L)
{
    char bytes[64];
    lua_Integer n = luaL_checkinteger(L, 1);
    luaL_argcheck(L, n >= 1 && n <= (lua_Integer)sizeof bytes, 1, "1 to 64 bytes");
    if (!wf_random(bytes, (size_t)n))
        return luaL_error(L, "weft: OpenSSL has no random bytes");
    lua_pushlstring(L, bytes, (size_t)n);
    return 1;
}

/* hmac(key, data) -> HMAC-SHA256, 32 bytes */
static int l_hmac(lua_State *L)
{
    size_t nkey, n;
    const char *key = luaL_checklstring(L, 1, &nkey), *data = luaL_checklstring(L, 2, &n);
    uint8_t mac[32];
    luaL_argcheck(L, nkey <= INT_MAX, 1, "too long");
    if (!wf_hmac_sha256(key, nkey, data, n, mac))
        return luaL_error(L, "weft: OpenSSL refuses HMAC with SHA-256");
    lua_pushlstring(L, (char *)mac, sizeof mac);
    return 1;
}

/* What one call of base64 takes; heads and cookies are far shorter. */
enum { BASE64_MOST = 1 << 24 };

static int l_base64(lua_State *L)
{
    size_t n;
    const char *bytes = luaL_checklstring(L, 1, &n);
    luaL_argcheck(L, n <= BASE64_MOST, 1, "too long");
    luaL_Buffer b;
    size_t made = (n + 2) / 3 * 4;
    wf_base64(bytes, n, luaL_buffinitsize(L, &b, made + 1));
    luaL_pushresultsize(&b, made);
    return 1;
}

/* base64_decode(text) -> bytes, or nil when it is not canonical base64 with its padding
 */
static int l_base64_decode(lua_State *L)
{
    size_t n;
    const char *text = luaL_checklstring(L, 1, &n);
    luaL_argcheck(L, n <= BASE64_MOST, 1, "too long");
    luaL_Buffer b;
    long made = wf_unbase64(text, n, (uint8_t *)luaL_buffinitsize(L, &b, n + 4));
    if (made < 0)
        return lua_pushnil(L), 1;
    luaL_pushresultsize(&b, (size_t)made);
    return 1;
}

static int l_stat(lua_State *L)
{
    struct stat st;
    const char *path = luaL_checkstring(L, 1);
    if (stat(path, &st) < 0)
        return wf_fail_errno(L, errno, path);
    lua_createtable(L, 0, 3);
    set_integer(L, "size", (lua_Integer)st.st_size);
    set_integer(L, "mtime", (lua_Integer)st.st_mtime);
    lua_pushstring(L, S_ISREG(st.st_mode)   ? "file"
                      : S_ISDIR(st.st_mode) ? "directory"
                                            : "other");
    lua_setfield(L, -2, "type");
    return 1;
}

static int l_realpath(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    char *real = realpath(path, NULL);
    if (!real)
        return wf_fail_errno(L, errno, path);
    lua_pushstring(L, real);
    free(real);
    return 1;
}

static const struct {
    const char *name;
    int number;
} signals[] = {
    { "HUP", SIGHUP },     { "INT", SIGINT },   { "QUIT", SIGQUIT }, { "TERM", SIGTERM },
    { "USR1", SIGUSR1 },   { "USR2", SIGUSR2 }, { "ALRM", SIGALRM }, { "PIPE", SIGPIPE },
    { "WINCH", SIGWINCH }, { "CONT", SIGCONT }, { "TSTP", SIGTSTP },
};

static const luaL_Reg functions[] = {
    { "now", l_now },
    { "gettime", l_gettime },
    { "hostname", l_hostname },
    { "parse_url", l_parse_url },
    { "parse_address", l_parse_address },
    { "ip_bytes", l_ip_bytes },
    { "compare", l_compare },
    { "random", l_random },
    { "hmac", l_hmac },
    { "base64", l_base64 },
    { "base64_decode", l_base64_decode },
    { "stat", l_stat },
    { "realpath", l_realpath },
    { NULL, NULL },
};

void wf_open_system(lua_State *L, int module)
{
    wf_set_functions(L, module, functions);
    lua_newtable(L);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        set_integer(L, signals[i].name, signals[i].number);
    lua_setfield(L, module, "signals");
}
