/*
 * task: a task's life but for its end: made, resumed, cancelled; and how it waits. See
 * task.h for who may call what. The task's handle is anchored while the task lives.
 */
#include "bind/task_private.h"

#include <math.h>
#include <stdlib.h>

/* -- the object -------------------------------------------------------------- */

/* The handle on the top stays for as long as the task lives. [-0, +0, m] */
static void anchor(lua_State *L, wf_task *t)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, wf_task_state(t)->anchors);
    lua_pushvalue(L, -2);
    t->anchor = luaL_ref(L, -2);
    lua_pop(L, 1);
}

void wf_task_unanchor(lua_State *L, wf_task *t)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, wf_task_state(t)->anchors);
    luaL_unref(L, -1, t->anchor); /* an existing key: allocates nothing */
    t->anchor = LUA_NOREF;
    lua_pop(L, 1);
    luaL_unref(L, LUA_REGISTRYINDEX, t->on_end);
    t->on_end = LUA_NOREF;
}

static void destroy(wf_object *object)
{
    wf_task *t = (wf_task *)object;
    wf_waiter_leave(&t->waiter);
    wf_wake(&t->joiner, WF_CLOSED);
    if (t->owned)
        t->owned->owner = NULL;
    wf_object_bury(object);
}

/* The handle is gone: a task that runs goes on without it. One that was not even anchored
 * never will. */
static void release(wf_object *object)
{
    wf_task *t = (wf_task *)object;
    if (wf_task_ended(t) || t->anchor == LUA_NOREF)
        destroy(object);
}

static void run(wf_object *object);

const wf_class wf_task_class = { "task", destroy, release, run, true };

void wf_task_push(lua_State *L, wf_state *st, const wf_task *t)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->anchors);
    lua_rawgeti(L, -1, t ? t->anchor : LUA_NOREF);
    lua_remove(L, -2);
}

static wf_task *task_new(wf_state *st)
{
    wf_task *t = malloc(sizeof *t);
    if (!t)
        return NULL;
    *t = (wf_task){
        .deadline = INFINITY, .until = INFINITY, .on_end = LUA_NOREF, .anchor = LUA_NOREF
    };
    wf_object_init(&t->object, &wf_task_class, st->loop);
    wf_waiter_init(&t->waiter, &t->object);
    return t;
}

/* A task with its handle, which has to be anchored as long as the task lives.
 * [-0, +1 (the handle), m] */
static wf_task *push_new(lua_State *L, wf_state *st)
{
    wf_handle *h = wf_handle_new(L, WF_CLASS_TASK, WF_TASK_UV_COUNT);
    wf_task *t = task_new(st);
    if (!t)
        luaL_error(L, "weft: not enough memory for a task");
    wf_handle_fill(h, &t->object);
    return t;
}

/* [-0, +0, m] */
static wf_task *new_main(lua_State *L, wf_state *st)
{
    wf_task *t = push_new(L, st);
    anchor(L, t);
    lua_pop(L, 1);
    return t;
}

wf_task *wf_task_spawn(lua_State *L, wf_state *st, int n)
{
    luaL_checktype(L, -(n + 1), LUA_TFUNCTION);
    wf_task *t = push_new(L, st);
    t->co = lua_newthread(L);
    lua_setiuservalue(L, -2, WF_TASK_UV_THREAD);
    lua_State *co = t->co;
    lua_insert(L, -(n + 2));
    if (!lua_checkstack(co, n + 1)) /* an error of co's would go past the loop */
        luaL_error(L, "weft: not enough memory for a task, or too many arguments");
    lua_xmove(L, co, n + 1);
    anchor(L, t); /* the last that may raise: no task stays that never runs */
    st->tasks++;
    wf_loop_ready(&t->object);
    return t;
}

void wf_task_cancel(wf_task *t)
{
    if (wf_task_ended(t) || t == wf_task_state(t)->main)
        return;
    t->cancelling = true;
    if (t->waiter.slot) {
        wf_waiter_leave(&t->waiter);
        t->waiter.reason = WF_CANCELLED;
        wf_loop_ready(&t->object);
    }
}

/* -- resuming ---------------------------------------------------------------- */

/* Runs the coroutine up to its next wait: its status, as lua_resume tells. */
static int step(wf_task *t, lua_State *L, int *nresults)
{
    lua_State *co = t->co;
    int nargs = t->started ? 0 : lua_gettop(co) - 1;
    if (!t->started && t->cancelling) { /* cancelled before its first step */
        lua_rawgeti(co, LUA_REGISTRYINDEX, wf_task_state(t)->cancelled);
        return LUA_ERRRUN;
    }
    t->started = true;
    int status = lua_resume(co, L, nargs, nresults);
    if (status == LUA_YIELD && !t->waiting) {
        lua_pop(co, *nresults);
        lua_rawgeti(co, LUA_REGISTRYINDEX, wf_task_state(t)->foreign);
        return LUA_ERRRUN;
    }
    return status;
}

static void resume(wf_task *t)
{
    wf_state *st = wf_task_state(t);
    lua_State *L = st->driver;
    wf_task *outer = st->current;
    int nresults = 0;
    st->current = t;
    t->waiting = false;
    t->status = WF_TASK_RUNNING;
    int status = step(t, L, &nresults);
    if (status == LUA_YIELD)
        t->status = WF_TASK_SUSPENDED;
    else
        wf_task_finish(L, t, status, nresults);
    st->current = outer;
}

/* The job. The main thread looks by itself whether it was woken. */
static void run(wf_object *object)
{
    wf_task *t = (wf_task *)object;
    const wf_state *st = wf_task_state(t);
    if (wf_waiter_woken(&t->waiter) && t != st->main && !wf_task_ended(t) && !st->closing)
        resume(t);
}

/* -- waiting ----------------------------------------------------------------- */

void wf_task_check_loop(lua_State *L, wf_state *st)
{
    if (!st->loop)
        luaL_error(L, "weft: the Lua state is closing");
    wf_state_check_fork(L, st->loop);
}

static bool is_main(lua_State *L)
{
    bool main = lua_pushthread(L);
    lua_pop(L, 1);
    return main;
}

/* What forbids to wait here, or NULL. [-0, +0, -] */
static const char *obstacle(lua_State *L, const wf_state *st)
{
    const wf_task *t = st->current;
    if (t && t->co == L)
        return lua_isyieldable(L) ? NULL
                                  : "here, below a C function or a finalizer that cannot "
                                    "yield; do it in a task of its own with weft.spawn";
    if (wf_task_in_finalizer(L) || (st->loop->turning && L == st->driver))
        return "in on_error or a finalizer; use weft.spawn there";
    if (t || !is_main(L))
        return "in a coroutine that is not a task; start it with weft.spawn";
    if (wf_task_main_waits(st))
        return "in a hook, where its thread waits already; use weft.spawn there";
    return NULL;
}

bool wf_can_wait(lua_State *L)
{
    return !obstacle(L, wf_state_of(L));
}

wf_task *wf_task_party(lua_State *L, wf_state *st)
{
    wf_task_check_loop(L, st);
    const char *where = obstacle(L, st);
    if (where)
        luaL_error(L, "weft: cannot wait %s", where);
    if (st->current)
        return st->current;
    if (!st->main)
        st->main = new_main(L, st);
    luaL_checkstack(L, LUA_MINSTACK, "weft"); /* for the turns */
    st->main->co = L;
    return st->main;
}

/* The main thread's wait ends by the error on the top: its continuation raises that, as
 * it would were it a cancelled task's, and lets go of what it holds before. Until then
 * the error is kept in its handle, which has no thread. [-1, +0, -] */
static void interrupt(lua_State *L, wf_state *st)
{
    wf_task *t = st->main;
    wf_waiter_leave(&t->waiter);
    t->waiter.reason = WF_CANCELLED;
    t->cancelling = true;
    wf_task_push(L, st, t);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, WF_TASK_UV_THREAD);
    lua_pop(L, 1);
}

/* [-0, +1, -] */
static void take_interruption(lua_State *L, const wf_task *t)
{
    wf_task_push(L, wf_task_state(t), t);
    lua_getiuservalue(L, -1, WF_TASK_UV_THREAD);
    lua_pushnil(L);
    lua_setiuservalue(L, -3, WF_TASK_UV_THREAD);
    lua_remove(L, -2);
}

/* Cancelled: raises, once. [-0, +0, raises] */
static void check_cancelled(lua_State *L, wf_task *t)
{
    const wf_state *st = wf_task_state(t);
    if (!t->cancelling)
        return;
    t->cancelling = false;
    if (t == st->main)
        take_interruption(L, t);
    else
        lua_rawgeti(L, LUA_REGISTRYINDEX, st->cancelled);
    lua_error(L);
}

wf_task *wf_wait_begin(lua_State *L, double timeout)
{
    wf_state *st = wf_state_of(L);
    wf_task *t = wf_task_party(L, st);
    check_cancelled(L, t);
    t->until = timeout == INFINITY ? INFINITY : wf_time() + timeout;
    t->until = WF_MIN(t->until, t->deadline);
    return t;
}

/* The main thread runs the loop where a task would yield. [-0, +0, raises] */
static void turn_until_woken(lua_State *L, wf_state *st)
{
    const wf_waiter *waiter = &st->main->waiter;
    while (waiter->slot) {
        bool more = wf_run_turn(L, st);
        wf_state_check_fork(L, st->loop);
        if (wf_run_interrupted(L)) {
            interrupt(L, st);
        } else if (!more && waiter->slot) {
            lua_pushliteral(L,
                            "weft: this would wait for ever: nothing is left to end it");
            interrupt(L, st);
        }
    }
}

int wf_wait(lua_State *L, wf_waiter **slot, lua_KFunction k, lua_KContext ctx)
{
    wf_state *st = wf_state_of(L);
    wf_task *t = st->current ? st->current : st->main;
    if (!wf_waiter_wait(&t->waiter, slot, t->until))
        return luaL_error(L, "weft: not enough memory to wait");
    if (t != st->main) {
        t->waiting = true;
        return lua_yieldk(L, 0, ctx, k);
    }
    turn_until_woken(L, st);
    return k(L, LUA_YIELD, ctx);
}

wf_task *wf_woken_task(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    wf_task *t = st->current ? st->current : st->main;
    if (!t || t->co != L || t->waiter.slot)
        luaL_error(L, "weft: a task's coroutine was resumed by something else than weft");
    return t;
}

enum wf_error wf_woken(lua_State *L)
{
    wf_task *t = wf_woken_task(L);
    check_cancelled(L, t);
    return t->waiter.reason;
}

int wf_fail_busy(lua_State *L, const char *what)
{
    return wf_fail(L, WF_BUSY, "another task already waits in %s", what);
}

int wf_fail_timeout(lua_State *L, const char *what)
{
    return wf_fail(L, WF_TIMEOUT, "timeout in %s", what);
}
