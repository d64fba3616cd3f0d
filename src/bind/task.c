/* task: see task.h. */
#include "bind/task.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/signal.h"
#include "io/stream.h"
#include "io/ws.h"

/* Uservalues of a task's handle. */
enum { UV_THREAD = 1, UV_OWNED, UV_COUNT = UV_OWNED };

/* -- ending ------------------------------------------------------------------ */

/* The handle on the top stays for as long as the task lives. [-0, +0, m] */
static void anchor(lua_State *L, wf_task *t)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->state->anchors);
    lua_pushvalue(L, -2);
    t->anchor = luaL_ref(L, -2);
    lua_pop(L, 1);
}

static void drop_anchor(lua_State *L, wf_task *t)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->state->anchors);
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

static bool ended(const wf_task *t)
{
    return t->status >= WF_TASK_DONE;
}

/* The handle is gone: a task that runs goes on without it. */
static void release(wf_object *object)
{
    if (ended((wf_task *)object))
        destroy(object);
}

static void run(wf_object *object);

const wf_class wf_task_class = { "task", destroy, release, run };

/* [-0, +1, -] the handle of a live task, else nil */
static void push_handle(lua_State *L, wf_state *st, const wf_task *t)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->anchors);
    lua_rawgeti(L, -1, t ? t->anchor : LUA_NOREF);
    lua_remove(L, -2);
}

/* In protected mode: on_error(task or nil, text). */
static int call_handler(lua_State *L)
{
    wf_state *st = lua_touserdata(L, 1);
    if (st->on_error == LUA_NOREF) {
        lua_writestringerror("weft: %s\n", lua_tostring(L, 3));
        return 0;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->on_error);
    push_handle(L, st, lua_touserdata(L, 2));
    lua_pushvalue(L, 3);
    lua_call(L, 2, 0);
    return 0;
}

static void report(lua_State *L, wf_state *st, wf_task *t, int text)
{
    text = lua_absindex(L, text);
    lua_pushcfunction(L, call_handler);
    lua_pushlightuserdata(L, st);
    lua_pushlightuserdata(L, t);
    lua_pushvalue(L, text);
    if (lua_pcall(L, 3, 0, 0) != LUA_OK) {
        lua_writestringerror("weft: on_error failed: %s\n",
                             lua_isstring(L, -1) ? lua_tostring(L, -1) : "?");
        lua_pop(L, 1);
    }
}

/* In protected mode: an error value as text. */
static int error_text(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    return 1;
}

/* In protected mode: (thread, error value) -> its traceback. */
static int make_traceback(lua_State *L)
{
    lua_State *co = lua_touserdata(L, 1);
    lua_pushcfunction(L, error_text);
    lua_pushvalue(L, 2);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK)
        lua_pushfstring(L, "(the error is a %s that cannot be told)", luaL_typename(L, 2));
    luaL_traceback(L, co, lua_tostring(L, -1), 0);
    return 1;
}

/* The error value on the top becomes its traceback. [-1, +1, -] */
static void to_traceback(lua_State *L, lua_State *co)
{
    lua_pushcfunction(L, make_traceback);
    lua_insert(L, -2);
    lua_pushlightuserdata(L, co);
    lua_insert(L, -2);
    if (lua_pcall(L, 2, 1, 0) == LUA_OK)
        return;
    if (!lua_isstring(L, -1)) { /* no memory */
        lua_pop(L, 1);
        lua_pushliteral(L, "a task failed");
    }
}

static int call_on_end(lua_State *L)
{
    wf_task *t = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->on_end);
    push_handle(L, t->state, t);
    lua_pushboolean(L, t->status != WF_TASK_DONE);
    if (t->status == WF_TASK_DONE) {
        lua_pushnil(L);
    } else {
        lua_pushvalue(t->co, -1);
        lua_xmove(t->co, L, 1);
    }
    lua_call(L, 3, 0);
    return 0;
}

static void tell_end(lua_State *L, wf_task *t)
{
    lua_pushcfunction(L, call_on_end);
    lua_pushlightuserdata(L, t);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        report(L, t->state, t, -1);
        lua_pop(L, 1);
    }
}

/* The connection that the task owned ends with it: 1011 when it failed. */
static void end_owned(wf_task *t)
{
    wf_object *o = t->owned;
    if (!o)
        return;
    o->owner = NULL;
    t->owned = NULL;
    if (o->class == &wf_ws_class)
        wf_ws_close((wf_ws *)o, t->status == WF_TASK_FAILED ? WF_CLOSE_INTERNAL : WF_CLOSE_NORMAL,
                    "", 0);
    else
        wf_stream_finish((wf_stream *)o, WF_FINISH_LINGER);
}

static bool is_cancel(lua_State *L, const wf_state *st, int idx)
{
    idx = lua_absindex(L, idx);
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->cancelled);
    bool same = lua_rawequal(L, -1, idx);
    lua_pop(L, 1);
    return same;
}

/* The error on co's top closes its variables, which may raise another one; leaves
 * the one that counts on co's top. [-0, +0, -] */
static void unwind(lua_State *L, wf_task *t)
{
    lua_State *co = t->co;
    lua_pushvalue(co, -1);
    lua_xmove(co, L, 1);
    lua_pushvalue(L, -1);
    to_traceback(L, co); /* while the frames are still there */
    if (wf_close_thread(co, L) == LUA_OK) {
        lua_pushvalue(L, -2); /* a thread that had not failed itself forgets it */
        lua_xmove(L, co, 1);
    }
    lua_pushvalue(co, -1);
    lua_xmove(co, L, 1); /* error, traceback, what counts */
    t->status = is_cancel(L, t->state, -1) ? WF_TASK_CANCELLED : WF_TASK_FAILED;
    t->results = 1;
    if (t->status == WF_TASK_FAILED && !t->joiner && !t->watched) {
        bool same = lua_rawequal(L, -1, -3);
        if (!same)
            to_traceback(L, co);
        report(L, t->state, t, same ? -2 : -1);
    }
    lua_pop(L, 3);
}

/* Nothing to be told any more: one collection frees the coroutine, and not only
 * the one after its handle's. */
static void forget_thread(lua_State *L, wf_task *t)
{
    push_handle(L, t->state, t);
    lua_pushnil(L);
    lua_setiuservalue(L, -2, UV_THREAD);
    lua_pop(L, 1);
    t->co = NULL;
}

static void finish(lua_State *L, wf_task *t, int status, int nresults)
{
    t->results = nresults;
    t->status = WF_TASK_DONE;
    if (status != LUA_OK)
        unwind(L, t);
    t->state->tasks--;
    end_owned(t);
    wf_wake(&t->joiner, WF_OK);
    if (t->on_end != LUA_NOREF)
        tell_end(L, t);
    if (t->results == 0)
        forget_thread(L, t);
    drop_anchor(L, t); /* from here on only the script keeps the handle */
}

/* -- resuming ---------------------------------------------------------------- */

static void foreign_yield(lua_State *co, int nresults)
{
    lua_pop(co, nresults);
    lua_pushliteral(co, "weft: a task called coroutine.yield; wait with weft.sleep, "
                        "a channel or a socket instead");
}

static void resume(wf_task *t)
{
    wf_state *st = t->state;
    lua_State *co = t->co, *L = st->driver;
    int nargs = t->started ? 0 : lua_gettop(co) - 1, nresults = 0, status;
    wf_task *outer = st->current;
    st->current = t;
    t->waiting = false;
    t->status = WF_TASK_RUNNING;
    if (!t->started && t->cancelling) { /* cancelled before its first step */
        lua_rawgeti(co, LUA_REGISTRYINDEX, st->cancelled);
        status = LUA_ERRRUN;
    } else {
        t->started = true;
        status = lua_resume(co, L, nargs, &nresults);
    }
    if (status == LUA_YIELD && !t->waiting) {
        foreign_yield(co, nresults);
        status = LUA_ERRRUN;
    }
    if (status == LUA_YIELD)
        t->status = WF_TASK_SUSPENDED;
    else
        finish(L, t, status, nresults);
    st->current = outer;
}

/* -- waiting ----------------------------------------------------------------- */

/* The job. The main thread looks by itself whether it was woken. */
static void run(wf_object *object)
{
    wf_task *t = (wf_task *)object;
    if (wf_waiter_woken(&t->waiter) && t != t->state->main && !ended(t) && !t->state->closing)
        resume(t);
}

static wf_task *task_new(wf_state *st)
{
    wf_task *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    wf_object_init(&t->object, &wf_task_class, st->loop);
    t->state = st;
    t->deadline = t->until = INFINITY;
    t->on_end = t->anchor = LUA_NOREF;
    wf_waiter_init(&t->waiter, &t->object);
    return t;
}

/* A task with its handle, which stays anchored as long as the task lives.
 * [-0, +1 (the handle), m] */
static wf_task *push_new(lua_State *L, wf_state *st)
{
    wf_handle *h = wf_handle_new(L, WF_CLASS_TASK, UV_COUNT);
    wf_task *t = task_new(st);
    if (!t)
        luaL_error(L, "weft: not enough memory for a task");
    wf_handle_fill(h, &t->object);
    anchor(L, t);
    return t;
}

static wf_task *new_main(lua_State *L, wf_state *st)
{
    wf_task *t = push_new(L, st);
    lua_pop(L, 1);
    return t;
}

static void check_fork(lua_State *L, wf_state *st)
{
    if (!st->loop)
        luaL_error(L, "weft: the Lua state is closing");
    if (wf_loop_forked(st->loop))
        luaL_error(L, "weft: this process was forked from the one that owns the loop; start "
                      "workers with a fresh Lua state instead");
}

static bool is_main(lua_State *L)
{
    bool main = lua_pushthread(L);
    lua_pop(L, 1);
    return main;
}

static wf_task *waiting_party(lua_State *L, wf_state *st)
{
    wf_task *t = st->current;
    check_fork(L, st);
    if (t && t->co == L) {
        if (!lua_isyieldable(L))
            luaL_error(L, "weft: cannot wait here, below a C function or a finalizer that cannot "
                          "yield; do it in a task of its own with weft.spawn");
        return t;
    }
    if (st->loop->turning && L == st->driver)
        luaL_error(L, "weft: cannot wait in on_error or a finalizer; use weft.spawn there");
    if (t || !is_main(L))
        luaL_error(L, "weft: cannot wait in a coroutine that is not a task; start it with "
                      "weft.spawn");
    if (!st->main)
        st->main = new_main(L, st);
    st->main->co = L;
    return st->main;
}

/* Cancelled: raises, once. */
static void check_cancelled(lua_State *L, wf_task *t)
{
    if (!t->cancelling)
        return;
    t->cancelling = false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->state->cancelled);
    lua_error(L);
}

wf_task *wf_wait_begin(lua_State *L, double timeout)
{
    wf_state *st = wf_state_of(L);
    wf_task *t = waiting_party(L, st);
    check_cancelled(L, t);
    t->until = timeout == INFINITY ? INFINITY : wf_time() + timeout;
    t->until = WF_MIN(t->until, t->deadline);
    return t;
}

/* -- the collector's pace ------------------------------------------------------ */

/*
 * Lua collects when its heap has grown by a share of itself: a small server's heap
 * does so with every few messages, and is traversed each time. So after each
 * collection a small heap is granted as much garbage more as the messages made
 * since the last one, up to a bound.
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

/* set_garbage(bytes) -> what it was; 0: leave the collector alone */
static int l_set_garbage(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    lua_Integer bytes = luaL_checkinteger(L, 1);
    luaL_argcheck(L, bytes >= 0 && bytes <= 1 << 30, 1, "0 to 1 GiB of garbage, in bytes");
    lua_pushinteger(L, (lua_Integer)st->garbage * 1024);
    st->garbage = (int)(bytes / 1024);
    return 1;
}

static bool turn(lua_State *L, wf_state *st)
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

/* lua.c's Ctrl-C sets a hook, which needs some Lua call to run in. [-0, +0|1, -] */
static bool interrupted(lua_State *L)
{
    if (!lua_gethook(L))
        return false;
    lua_pushcfunction(L, no_op);
    return lua_pcall(L, 0, 0, 0) != LUA_OK;
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
    lua_checkstack(L, LUA_MINSTACK);
    while (t->waiter.slot) {
        bool more = turn(L, st);
        if (interrupted(L)) {
            wf_waiter_leave(&t->waiter);
            return lua_error(L);
        }
        if (!more && t->waiter.slot) {
            wf_waiter_leave(&t->waiter);
            return luaL_error(L, "weft: this would wait for ever: nothing is left that could "
                                 "end it");
        }
    }
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

/* -- the Lua functions ------------------------------------------------------- */

/* [-(n+1), +1 (the handle), m] f and n arguments on the top become a task */
static wf_task *spawn(lua_State *L, wf_state *st, int n)
{
    luaL_checktype(L, -(n + 1), LUA_TFUNCTION);
    wf_task *t = push_new(L, st);
    t->co = lua_newthread(L);
    lua_setiuservalue(L, -2, UV_THREAD);
    lua_State *co = t->co;
    lua_insert(L, -(n + 2));
    luaL_checkstack(co, n + 1, "too many arguments");
    lua_xmove(L, co, n + 1);
    st->tasks++;
    wf_loop_ready(&t->object);
    return t;
}

static int l_spawn(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    check_fork(L, st);
    luaL_checktype(L, 1, LUA_TFUNCTION);
    spawn(L, st, lua_gettop(L) - 1);
    return 1;
}

static void cancel(wf_task *t)
{
    if (ended(t) || t == t->state->main)
        return;
    t->cancelling = true;
    if (t->waiter.slot) {
        wf_waiter_leave(&t->waiter);
        t->waiter.reason = WF_CANCELLED;
        wf_loop_ready(&t->object);
    }
}

static void cancel_all(wf_loop *loop)
{
    for (wf_object *o = loop->objects; o; o = o->next)
        if (o->class == &wf_task_class)
            cancel((wf_task *)o);
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

#define UNWIND_TURNS 1000

/* The others' <close> variables run, as far as they do not wait for long. */
static void unwind_all(lua_State *L, wf_state *st)
{
    cancel_all(st->loop);
    for (int i = 0; i < UNWIND_TURNS && st->tasks > 0 && turn(L, st); i++)
        continue;
}

/* Runs the loop until all is done, or main has failed. [-0, +0, raises] */
static void run_loop(lua_State *L, wf_state *st, const wf_task *main)
{
    while (st->tasks > 0 || st->loop->lingering > 0) {
        bool more = turn(L, st);
        if (interrupted(L)) {
            unwind_all(L, st);
            lua_error(L);
        }
        if (main && (main->status == WF_TASK_FAILED || main->status == WF_TASK_CANCELLED)) {
            unwind_all(L, st);
            return;
        }
        if (!more && st->tasks > 0) {
            int stuck = (int)st->tasks;
            unwind_all(L, st);
            luaL_error(L, "weft.run: %d task(s) wait and nothing is left that could wake them",
                       stuck);
        }
    }
}

static int l_run(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    check_fork(L, st);
    if (st->loop->turning)
        return luaL_error(L, "weft.run is running already; use weft.spawn for another task");
    luaL_checkstack(L, LUA_MINSTACK, "weft.run");
    if (lua_isnoneornil(L, 1)) {
        run_loop(L, st, NULL);
        return 0;
    }
    luaL_checktype(L, 1, LUA_TFUNCTION);
    wf_task *main = spawn(L, st, lua_gettop(L) - 1);
    main->watched = true;
    run_loop(L, st, main);
    return leave_run(L, main);
}

static int sleep_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    wf_woken(L);
    if (!ctx)
        return wf_fail_timeout(L, "weft.sleep: the deadline came first");
    lua_pushboolean(L, true);
    return 1;
}

static int l_sleep(lua_State *L)
{
    double s = luaL_checknumber(L, 1);
    luaL_argcheck(L, s >= 0, 1, "seconds, 0 or more");
    wf_task *t = wf_wait_begin(L, s);
    return wf_wait(L, &t->parked, sleep_k, t->until < t->deadline || t->deadline == INFINITY);
}

static int park_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    if (wf_woken(L) == WF_TIMEOUT)
        return wf_fail(L, WF_TIMEOUT, "timeout");
    lua_pushboolean(L, true);
    return 1;
}

static int l_park(lua_State *L)
{
    wf_task *t = wf_wait_begin(L, wf_opt_timeout(L, 1));
    return wf_wait(L, &t->parked, park_k, 0);
}

static int l_unpark(lua_State *L)
{
    wf_task *t = (wf_task *)wf_object_arg(L, 1, WF_CLASS_TASK);
    bool parked = t && t->parked;
    if (parked)
        wf_wake(&t->parked, WF_OK);
    lua_pushboolean(L, parked);
    return 1;
}

static int l_waiting(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    push_handle(L, st, waiting_party(L, st));
    return 1;
}

static int l_current(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    if (st->current)
        push_handle(L, st, st->current);
    else
        lua_pushnil(L);
    return 1;
}

static int l_set_on_error(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    luaL_argexpected(L, lua_isnoneornil(L, 1) || lua_isfunction(L, 1), 1, "function or nil");
    luaL_unref(L, LUA_REGISTRYINDEX, st->on_error);
    st->on_error = LUA_NOREF;
    if (lua_isfunction(L, 1)) {
        lua_settop(L, 1);
        st->on_error = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    return 0;
}

static int l_report(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    luaL_checkstring(L, 1);
    report(L, st, st->current, 1);
    return 0;
}

static int l_is_cancel(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, is_cancel(L, wf_state_of(L), 1));
    return 1;
}

/* on_end(task, f): f(task, failed, error) when it has ended */
static int l_on_end(lua_State *L)
{
    wf_task *t = (wf_task *)wf_object_arg(L, 1, WF_CLASS_TASK);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    luaL_argcheck(L, t->on_end == LUA_NOREF, 1, "the task has an on_end already");
    if (ended(t)) {
        lua_pushvalue(L, 2);
        lua_pushvalue(L, 1);
        lua_pushboolean(L, t->status != WF_TASK_DONE);
        lua_pushnil(L);
        if (t->status != WF_TASK_DONE) {
            lua_pop(L, 1);
            lua_pushvalue(t->co, -1);
            lua_xmove(t->co, L, 1);
        }
        lua_call(L, 3, 0);
        return 0;
    }
    t->watched = true;
    lua_settop(L, 2);
    t->on_end = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* own(handle [, task]): the connection ends with that task, or the current one, and
 * not before: the task keeps the handle. */
static int l_own(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    wf_handle *h = wf_class_test(L, 1, WF_CLASS_WEBSOCKET);
    if (!h)
        h = wf_class_check(L, 1, WF_CLASS_STREAM);
    wf_task *t = st->current;
    if (!lua_isnoneornil(L, 2))
        t = (wf_task *)wf_object_arg(L, 2, WF_CLASS_TASK);
    if (!t || ended(t) || !h->object)
        return 0;
    if (t->owned)
        t->owned->owner = NULL;
    if (h->object->owner)
        *h->object->owner = NULL;
    t->owned = h->object;
    h->object->owner = &t->owned;
    push_handle(L, st, t);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, UV_OWNED);
    return 0;
}

/* -- deadlines --------------------------------------------------------------- */

typedef struct wf_guard {
    const void *class;
    wf_task *task;
    double old;
} wf_guard;

static int guard_close(lua_State *L)
{
    wf_guard *g = wf_class_check(L, 1, WF_CLASS_DEADLINE);
    if (g->task && wf_state_of(L)->loop)
        g->task->deadline = g->old;
    g->task = NULL;
    return 0;
}

static int l_deadline(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    wf_task *t = st->current && st->current->co == L ? st->current : waiting_party(L, st);
    double s = wf_opt_timeout(L, 1);
    wf_guard *g = wf_class_push(L, WF_CLASS_DEADLINE, sizeof *g, 0);
    g->task = t;
    g->old = t->deadline;
    t->deadline = s == INFINITY ? INFINITY : WF_MIN(t->deadline, wf_time() + s);
    return 1;
}

/* -- signals ----------------------------------------------------------------- */

static int signal_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    wf_signal *s = (wf_signal *)ctx; /* lives as long as the loop */
    wf_woken_task(L);
    wf_signal_hold(s, false);
    enum wf_error e = wf_woken(L);
    if (e == WF_TIMEOUT)
        return wf_fail_timeout(L, "weft.signal");
    s->arrived = false;
    lua_pushboolean(L, true);
    return 1;
}

static int l_signal(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    int number = (int)luaL_checkinteger(L, 1);
    wf_wait_begin(L, INFINITY);
    enum wf_error error;
    wf_signal *s = wf_signal_get(st->loop, number, &error);
    if (!s)
        return wf_fail(L, error, error == WF_BUSY ? "another Lua state waits for this signal" : NULL);
    if (s->waiter)
        return wf_fail_busy(L, "weft.signal for it");
    if (s->arrived) {
        s->arrived = false;
        lua_pushboolean(L, true);
        return 1;
    }
    wf_signal_hold(s, true);
    return wf_wait(L, &s->waiter, signal_k, (lua_KContext)s);
}

/* -- the task class ------------------------------------------------------------ */

static int push_outcome(lua_State *L, wf_task *t)
{
    if (t->status == WF_TASK_CANCELLED)
        return wf_fail(L, WF_CANCELLED, "cancelled");
    int n = t->results;
    if (n == 0)
        return 0;
    int base = lua_gettop(t->co) - n;
    luaL_checkstack(L, n + 1, "too many results");
    lua_checkstack(t->co, 1);
    for (int i = 1; i <= n; i++) {
        lua_pushvalue(t->co, base + i);
        lua_xmove(t->co, L, 1);
    }
    return t->status == WF_TASK_FAILED ? lua_error(L) : n;
}

static int join_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    wf_task *t = (wf_task *)wf_handle_check(L)->object;
    if (wf_woken(L) == WF_TIMEOUT)
        return wf_fail_timeout(L, "task:join");
    return push_outcome(L, t);
}

static int task_join(lua_State *L)
{
    wf_task *t = (wf_task *)wf_handle_check(L)->object;
    if (!t)
        return luaL_error(L, "weft: the loop of this task is gone");
    double timeout = wf_opt_timeout(L, 2);
    if (ended(t))
        return push_outcome(L, t);
    if (wf_wait_begin(L, timeout) == t)
        return luaL_error(L, "task:join: a task cannot wait for itself");
    if (t->joiner)
        return wf_fail_busy(L, "task:join");
    return wf_wait(L, &t->joiner, join_k, 0);
}

static int task_cancel(lua_State *L)
{
    wf_task *t = (wf_task *)wf_handle_check(L)->object;
    bool alive = t && !ended(t);
    if (alive)
        cancel(t);
    lua_pushboolean(L, alive);
    return 1;
}

static const char *status_name(const wf_task *t)
{
    static const char *const names[] = { "suspended", "running", "done", "failed", "cancelled" };
    return t ? names[t->status] : "done";
}

static int task_index(lua_State *L)
{
    wf_task *t = (wf_task *)wf_handle_check(L)->object;
    const char *key = lua_tostring(L, 2);
    if (key && strcmp(key, "status") == 0) {
        lua_pushstring(L, status_name(t));
        return 1;
    }
    lua_getfield(L, lua_upvalueindex(2), "__methods");
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    return 1;
}

static int task_tostring(lua_State *L)
{
    wf_handle *h = wf_handle_check(L);
    lua_pushfstring(L, "weft.task %p (%s)", (void *)h, status_name((wf_task *)h->object));
    return 1;
}

static const luaL_Reg task_meta[] = {
    { "__index", task_index }, { "__gc", wf_handle_close }, { "__tostring", task_tostring },
    { NULL, NULL },
};

static const luaL_Reg task_methods[] = {
    { "join", task_join },
    { "cancel", task_cancel },
    { NULL, NULL },
};

static const luaL_Reg guard_meta[] = { { "__close", guard_close }, { NULL, NULL } };
static const luaL_Reg no_methods[] = { { NULL, NULL } };

static const luaL_Reg functions[] = {
    { "run", l_run },
    { "spawn", l_spawn },
    { "current", l_current },
    { "sleep", l_sleep },
    { "park", l_park },
    { "unpark", l_unpark },
    { "waiting", l_waiting },
    { "deadline", l_deadline },
    { "signal", l_signal },
    { "set_garbage", l_set_garbage },
    { "set_on_error", l_set_on_error },
    { "on_end", l_on_end },
    { "own", l_own },
    { "report", l_report },
    { "is_cancel", l_is_cancel },
    { NULL, NULL },
};

static int cancelled_tostring(lua_State *L)
{
    lua_pushliteral(L, "cancelled");
    return 1;
}

/* The one value that task:cancel() raises. [-0, +0, m] */
static void make_cancelled(lua_State *L, wf_state *st)
{
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, cancelled_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, "weft.cancelled");
    lua_setfield(L, -2, "__name");
    lua_setmetatable(L, -2);
    st->cancelled = luaL_ref(L, LUA_REGISTRYINDEX);
}

void wf_open_tasks(lua_State *L, int module)
{
    lua_getfield(L, module, "state");
    make_cancelled(L, lua_touserdata(L, -1));
    lua_pop(L, 1);
    wf_class_new(L, module, WF_CLASS_TASK, task_meta, task_methods);
    wf_class_new(L, module, WF_CLASS_DEADLINE, guard_meta, no_methods);
    wf_set_functions(L, module, functions);
}
