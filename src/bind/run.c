/*
 * run: weft.run, the turns of the loop, and what is done once per turn: the collector's
 * pace, and a look at whether the script was interrupted.
 */
#include "bind/task_private.h"

/*
 * Lua collects when its heap has grown by a share of itself: a small server's heap
 * does so with every few messages, and is traversed each time. So after each
 * collection a small heap is granted as much garbage more as the messages made
 * since the last one, up to a bound. [-0, +0, -]
 */
static void pace_collector(lua_State *L, wf_state *st)
{
    int heap = lua_gc(L, LUA_GCCOUNT); /* KiB */
    if (heap < st->heap && heap / 4 < st->garbage) {
        int made = (int)WF_MIN(2 * st->loop->received / 1024, (size_t)st->garbage);
        if (made > 0)
            wf_gc_grant(L, made);
        st->loop->received = 0;
    }
    st->heap = heap;
}

bool wf_run_turn(lua_State *L, wf_state *st)
{
    lua_State *driver = st->driver;
    st->driver = L;
    wf_loop_flush(st->loop);
    bool more = wf_loop_turn(st->loop);
    pace_collector(L, st);
    st->driver = driver;
    return more;
}

static int no_op(lua_State *L)
{
    (void)L;
    return 0;
}

/* The hook needs some Lua call to run in. */
bool wf_run_interrupted(lua_State *L)
{
    if (!lua_gethook(L))
        return false;
    lua_pushcfunction(L, no_op);
    return lua_pcall(L, 0, 0, 0) != LUA_OK;
}

static void cancel_all(wf_loop *loop)
{
    for (wf_object *o = loop->objects; o; o = o->next)
        if (o->class == &wf_task_class)
            wf_task_cancel((wf_task *)o);
}

#define UNWIND_TURNS 1000

/* The others' <close> variables run, as far as they do not wait for long. [-0, +0, -] */
static void unwind_all(lua_State *L, wf_state *st)
{
    cancel_all(st->loop);
    for (int i = 0; i < UNWIND_TURNS && st->tasks > 0 && wf_run_turn(L, st); i++)
        continue;
}

/* Runs the loop until all is done, or main has failed. [-0, +0, raises] */
static void run_loop(lua_State *L, wf_state *st, const wf_task *main)
{
    while (st->tasks > 0 || st->loop->lingering > 0) {
        bool more = wf_run_turn(L, st);
        if (wf_run_interrupted(L)) {
            unwind_all(L, st);
            lua_error(L);
        }
        if (main &&
            (main->status == WF_TASK_FAILED || main->status == WF_TASK_CANCELLED)) {
            unwind_all(L, st);
            return;
        }
        if (!more && st->tasks > 0) {
            int stuck = (int)st->tasks;
            unwind_all(L, st);
            luaL_error(
                L, "weft.run: %d task(s) wait and nothing is left that could wake them",
                stuck);
        }
    }
}

/* main's results, or its error raised. [-1 (the handle), +results, raises] */
static int leave_run(lua_State *L, wf_task *t)
{
    int n = t->results;
    luaL_checkstack(L, n + 1, "too many results");
    if (n > 0)
        lua_xmove(t->co, L, n);
    t->results = 0;
    if (t->status == WF_TASK_DONE)
        return n;
    return lua_error(L);
}

static int l_run(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    wf_task_check_loop(L, st);
    if (st->loop->turning)
        return luaL_error(L,
                          "weft.run is running already; use weft.spawn for another task");
    luaL_checkstack(L, LUA_MINSTACK, "weft.run");
    if (lua_isnoneornil(L, 1)) {
        run_loop(L, st, NULL);
        return 0;
    }
    luaL_checktype(L, 1, LUA_TFUNCTION);
    wf_task *main = wf_task_spawn(L, st, lua_gettop(L) - 1);
    main->watched = true;
    run_loop(L, st, main);
    return leave_run(L, main);
}

/* set_garbage(bytes) -> what it was; 0: leave the collector alone */
static int l_set_garbage(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    lua_Integer bytes = luaL_checkinteger(L, 1);
    luaL_argcheck(L, bytes >= 0 && bytes <= 1 << 30, 1,
                  "0 to 1 GiB of garbage, in bytes");
    lua_pushinteger(L, (lua_Integer)st->garbage * 1024);
    st->garbage = (int)(bytes / 1024);
    return 1;
}

static const luaL_Reg functions[] = {
    { "run", l_run },
    { "set_garbage", l_set_garbage },
    { NULL, NULL },
};

void wf_open_run(lua_State *L, int module)
{
    wf_set_functions(L, module, functions);
}
