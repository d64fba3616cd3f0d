/*
 * compat: what differs between Lua 5.4's releases and 5.5.
 */
#ifndef WF_BIND_COMPAT_H
#define WF_BIND_COMPAT_H

#include <stdbool.h>

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

/* Where a generic for keeps its control variable: so far behind its iterator. */
#if LUA_VERSION_NUM == 504
#define WF_FOR_CONTROL 2
#else
#define WF_FOR_CONTROL 3
#endif

#define WF_GC_SHARE_MAX 900 /* percent: what 5.4 has room for, less than a thousand */

/* Collects by generations: the nursery and the growth until all is collected, both in
 * percent of the heap. False: the mode was the other one, and is so again. Lua 5.5 has
 * paces of its own and is left alone. [-0, +0, m] */
static inline bool wf_gc_generations(lua_State *L, int minor, int major)
{
#if LUA_VERSION_NUM == 504
    if (lua_gc(L, LUA_GCGEN, minor, major) == LUA_GCGEN)
        return true;
    lua_gc(L, LUA_GCINC, 0, 0, 0);
#else
    (void)L, (void)minor, (void)major;
#endif
    return false;
}

#define WF_GC_PAUSE 200 /* percent: Lua's own */

/* Collects in increments, and waits until the heap is `pause` percent of what it was,
 * unless the script has set a pause of its own: one that is not *ours, Lua's or what was
 * set here last. False: as above. [-0, +0, m] */
static inline bool wf_gc_increments(lua_State *L, int pause, int *ours)
{
#if LUA_VERSION_NUM == 504
    if (lua_gc(L, LUA_GCINC, 0, 0, 0) == LUA_GCINC) {
        int was = lua_gc(L, LUA_GCSETPAUSE, pause);
        if (was == *ours)
            *ours = pause / 4 * 4; /* as Lua keeps it */
        else
            lua_gc(L, LUA_GCSETPAUSE, was);
        return true;
    }
    lua_gc(L, LUA_GCGEN, 0, 0);
#else
    (void)L, (void)pause, (void)ours;
#endif
    return false;
}

#endif
