/*
 * run: weft.run, the turns of the loop, and what is done once per turn: the collector's
 * pace, and a look at whether the script was interrupted.
 */
#include "bind/task_private.h"

/*
 * Lua paces its collector by shares of the heap, and a small server's heap is the size
 * of a few messages: of 16 KiB, say. `lua` collects by generations, and would then find
 * the heap doubled and collect all of it every time. So the shares are set by what they
 * come to: a nursery that stays in the cache, and some megabytes before all is looked
 * through. A heap that is big needs none of this, and gets Lua's own shares back.
 */
#define NURSERY 96        /* KiB */
#define GARBAGE (4 << 10) /* KiB that may gather beyond the nursery */

static int share_of(int kib, int heap, int least)
{
    return WF_MIN(WF_MAX(least, (int)(100LL * kib / heap)), WF_GC_SHARE_MAX);
}

/* A script that has set the mode or the pause meanwhile has it its way. [-0, +0, m] */
static void set_pace(lua_State *L, wf_state *st, int heap)
{
    st->paced = heap;
    int minor = WF_MIN(share_of(NURSERY, heap, 20), 100); /* Lua's own: 20 and 100 */
    int major = share_of(GARBAGE, heap, 100);
    if (st->generational)
        st->generational = wf_gc_generations(L, minor, major);
    if (!st->generational)
        st->generational = !wf_gc_increments(L, 100 + major, &st->pause);
}

static void pace_collector(lua_State *L, wf_state *st)
{
    int heap = lua_gc(L, LUA_GCCOUNT); /* KiB; -1 while the state is closing */
    if (heap <= 0)
        return;
    bool collected = heap < st->heap;
    st->heap = heap;
    if (st->paced == 0 || (collected && (heap / 2 > st->paced || heap < st->paced / 2)))
        set_pace(L, st, heap);
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
        wf_state_check_fork(L, st->loop); /* a task's child goes on here */
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
    if (wf_task_in_finalizer(L))
        return luaL_error(L, "weft.run: not in a finalizer; use weft.spawn there");
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

static const luaL_Reg functions[] = {
    { "run", l_run },
    { NULL, NULL },
};

void wf_open_run(lua_State *L, int module)
{
    wf_set_functions(L, module, functions);
}
