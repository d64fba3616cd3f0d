/*
 * task_lua: what a script sees of tasks: spawn, current, on_error, on_end, own, and the
 * class task.
 */
#include "bind/task_private.h"

#include <string.h>

static int l_spawn(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    wf_task_check_loop(L, st);
    luaL_checktype(L, 1, LUA_TFUNCTION);
    wf_task_spawn(L, st, lua_gettop(L) - 1);
    return 1;
}

static int l_current(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    wf_task_push(L, st, st->current);
    return 1;
}

static int l_set_on_error(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    luaL_argexpected(L, lua_isnoneornil(L, 1) || lua_isfunction(L, 1), 1,
                     "function or nil");
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
    wf_task_report(L, st, st->current, 1);
    return 0;
}

static int l_is_cancel(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, wf_task_is_cancel(L, wf_state_of(L), 1));
    return 1;
}

/* on_end(task, f): f(task, failed, error) when it has ended */
static int l_on_end(lua_State *L)
{
    wf_task *t = (wf_task *)wf_object_arg(L, 1, WF_CLASS_TASK);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    luaL_argcheck(L, t && t->on_end == LUA_NOREF, 1, "the task has an on_end already");
    if (wf_task_ended(t)) {
        lua_pushvalue(L, 2);
        lua_pushvalue(L, 1);
        wf_task_push_end(L, t);
        lua_call(L, 3, 0);
        return 0;
    }
    t->watched = true;
    lua_settop(L, 2);
    t->on_end = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* What either had before is let go. */
static void set_owned(wf_task *t, wf_object *object)
{
    if (t->owned)
        t->owned->owner = NULL;
    if (object->owner)
        *object->owner = NULL;
    t->owned = object;
    object->owner = &t->owned;
}

/* The task that has owned it so far, if any, keeps its handle no longer: one that rests
 * would keep a connection that has ended meanwhile. [-0, +0, -] */
static void disown(lua_State *L, wf_state *st, const wf_object *object)
{
    if (!object->owner)
        return;
    wf_task_push(L, st, WF_CONTAINER(object->owner, wf_task, owned));
    lua_pushnil(L);
    lua_setiuservalue(L, -2, WF_TASK_UV_OWNED);
    lua_pop(L, 1);
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
    if (!t || wf_task_ended(t) || !h->object)
        return 0;
    disown(L, st, h->object);
    set_owned(t, h->object);
    wf_task_push(L, st, t);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, WF_TASK_UV_OWNED);
    return 0;
}

/* -- the task class ------------------------------------------------------------ */

/* The results of an ended task; its error is raised. [-0, +results, raises] */
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
    if (wf_task_ended(t))
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
    bool alive = t && !wf_task_ended(t);
    if (alive)
        wf_task_cancel(t);
    lua_pushboolean(L, alive);
    return 1;
}

static const char *status_name(const wf_task *t)
{
    static const char *const names[] = { "suspended", "running", "done", "failed",
                                         "cancelled" };
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
    wf_class_method(L);
    return 1;
}

static int task_tostring(lua_State *L)
{
    wf_handle *h = wf_handle_check(L);
    lua_pushfstring(L, "weft.task %p (%s)", (void *)h, status_name((wf_task *)h->object));
    return 1;
}

static const luaL_Reg task_meta[] = {
    { "__index", task_index },
    { "__gc", wf_handle_close },
    { "__tostring", task_tostring },
    { NULL, NULL },
};

static const luaL_Reg task_methods[] = {
    { "join", task_join },
    { "cancel", task_cancel },
    { NULL, NULL },
};

static const luaL_Reg functions[] = {
    { "spawn", l_spawn },
    { "current", l_current },
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

/* Made beforehand: where it is needed nothing may raise. [-0, +0, m] */
static void make_foreign(lua_State *L, wf_state *st)
{
    lua_pushliteral(L, "weft: a task called coroutine.yield; wait with weft.sleep, "
                       "a channel or a socket instead");
    st->foreign = luaL_ref(L, LUA_REGISTRYINDEX);
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
    make_foreign(L, lua_touserdata(L, -1));
    lua_pop(L, 1);
    wf_class_new(L, module, WF_CLASS_TASK, task_meta, task_methods);
    wf_set_functions(L, module, functions);
}
