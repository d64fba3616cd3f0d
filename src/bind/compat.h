/*
 * compat: what differs between Lua 5.4's releases and 5.5.
 */
#ifndef WF_BIND_COMPAT_H
#define WF_BIND_COMPAT_H

#include <lauxlib.h>
#include <lua.h>

#if LUA_VERSION_NUM < 504
#error "weft needs Lua 5.4 or later"
#endif

/* Closes the pending variables of a dead or suspended thread; its status. */
static inline int wf_close_thread(lua_State *co, lua_State *from)
{
#if LUA_VERSION_RELEASE_NUM >= 50406
    return lua_closethread(co, from);
#else
    (void)from;
    return lua_resetthread(co);
#endif
}

/* Lets kib more be allocated before the collector's next step: a step backwards. */
static inline void wf_gc_grant(lua_State *L, int kib)
{
#if LUA_VERSION_NUM == 504
    lua_gc(L, LUA_GCSTEP, -kib);
#else
    (void)L, (void)kib; /* a step of 5.5 goes forward only */
#endif
}

#endif
