/*
 * waits: the waits that need no handle: sleep, park and unpark (on which lua/weft builds
 * channels), deadline, signal.
 */
#include "bind/task_private.h"

#include <math.h>

#include "io/signal.h"

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
    return wf_wait(L, &t->parked, sleep_k,
                   t->until < t->deadline || t->deadline == INFINITY);
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
    wf_task_push(L, st, wf_task_party(L, st));
    return 1;
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
    wf_task *t = st->current && st->current->co == L ? st->current : wf_task_party(L, st);
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
    static const char elsewhere[] = "another Lua state waits for this signal";
    wf_state *st = wf_state_of(L);
    int number = (int)luaL_checkinteger(L, 1);
    wf_wait_begin(L, INFINITY);
    enum wf_error error;
    wf_signal *s = wf_signal_get(st->loop, number, &error);
    if (!s)
        return wf_fail(L, error, error == WF_BUSY ? elsewhere : NULL);
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

static const luaL_Reg guard_meta[] = { { "__close", guard_close }, { NULL, NULL } };
static const luaL_Reg no_methods[] = { { NULL, NULL } };

static const luaL_Reg functions[] = {
    { "sleep", l_sleep },     { "park", l_park },         { "unpark", l_unpark },
    { "waiting", l_waiting }, { "deadline", l_deadline }, { "signal", l_signal },
    { NULL, NULL },
};

void wf_open_waits(lua_State *L, int module)
{
    wf_class_new(L, module, WF_CLASS_DEADLINE, guard_meta, no_methods);
    wf_set_functions(L, module, functions);
}
