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

#endif
