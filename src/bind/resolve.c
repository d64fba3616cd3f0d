/*
 * resolve: names looked up on io's threads; the task waits.
 */
#include <netdb.h>
#include <string.h>

#include "bind/task.h"
#include "io/address.h"
#include "io/resolve.h"

/* [-0, +1, m] */
static void push_addresses(lua_State *L, const struct addrinfo *ai)
{
    lua_newtable(L);
    for (lua_Integer n = 1; ai; ai = ai->ai_next) {
        char ip[WF_IP_MAX];
        if (getnameinfo(ai->ai_addr, ai->ai_addrlen, ip, sizeof ip, NULL, 0,
                        NI_NUMERICHOST) == 0) {
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
    if (lookup->status == 0 && lookup->name[0])
        lua_pushstring(L, lookup->name);
    else if (lookup->status == 0)
        push_addresses(L, lookup->result);
    else
        n = wf_fail(L, WF_RESOLVE, "cannot resolve '%s': %s", host,
                    lookup->status == EAI_SYSTEM ? strerror(lookup->err)
                                                 : gai_strerror(lookup->status));
    lookup->object.class->destroy(&lookup->object);
    return n;
}

/* [-0, +n, raises] wf_wait_begin came before */
static int start(lua_State *L, wf_loop *loop, const char *host, bool reverse)
{
    wf_lookup *lookup = wf_lookup_new(loop, host, reverse);
    if (!lookup)
        return wf_fail(L, WF_NOMEM, NULL);
    return wf_wait(L, &lookup->waiter, resolve_k, (lua_KContext)lookup);
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
    return start(L, loop, host, false);
}

/* name_of(ip [, timeout]) -> name | nil, message, code */
static int l_name_of(lua_State *L)
{
    wf_loop *loop = wf_state_loop(L);
    const char *ip = luaL_checkstring(L, 1);
    wf_sockaddr a;
    if (!wf_sockaddr_parse(&a, ip, 0))
        return wf_fail(L, WF_RESOLVE, "'%s' is not a numeric address", ip);
    wf_wait_begin(L, wf_opt_timeout(L, 2));
    return start(L, loop, ip, true);
}

static const luaL_Reg functions[] = {
    { "resolve", l_resolve },
    { "name_of", l_name_of },
    { NULL, NULL },
};

void wf_open_resolve(lua_State *L, int module)
{
    wf_set_functions(L, module, functions);
}
