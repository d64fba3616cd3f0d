/*
 * task_end: how a task ends: its variables are closed, its outcome is judged and told
 * (to who joins, to on_end, to on_error), and what it owned ends with it. Nothing in
 * here raises: what may is called in protected mode, on the driver's stack.
 */
#include "bind/task_private.h"

#include "io/stream.h"
#include "io/ws.h"

/* -- on_error ---------------------------------------------------------------- */

/* In protected mode: on_error(task or nil, text). */
static int call_handler(lua_State *L)
{
    wf_state *st = lua_touserdata(L, 1);
    if (st->on_error == LUA_NOREF) {
        lua_writestringerror("weft: %s\n", lua_tostring(L, 3));
        return 0;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->on_error);
    wf_task_push(L, st, lua_touserdata(L, 2));
    lua_pushvalue(L, 3);
    lua_call(L, 2, 0);
    return 0;
}

void wf_task_report(lua_State *L, wf_state *st, wf_task *t, int text)
{
    text = lua_absindex(L, text);
    lua_pushcfunction(L, call_handler);
    lua_pushlightuserdata(L, st);
    lua_pushlightuserdata(L, t);
    lua_pushvalue(L, text);
    if (lua_pcall(L, 3, 0, 0) != LUA_OK) {
        lua_writestringerror("weft: on_error failed: %s\n",
                             lua_isstring(L, -1) ? lua_tostring(L, -1) : "?");
        /* and what it should have told, which nobody has seen */
        lua_writestringerror("weft: %s\n", lua_tostring(L, text));
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
        lua_pushfstring(L, "(the error is a %s that cannot be told)",
                        luaL_typename(L, 2));
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

/* -- the outcome --------------------------------------------------------------- */

/* [-0, +1, -] */
static void copy_top(lua_State *L, lua_State *co)
{
    lua_pushvalue(co, -1);
    lua_xmove(co, L, 1);
}

void wf_task_push_end(lua_State *L, const wf_task *t)
{
    bool failed = t->status != WF_TASK_DONE;
    lua_pushboolean(L, failed);
    if (failed)
        copy_top(L, t->co);
    else
        lua_pushnil(L);
}

/* In protected mode: on_end(task, failed, error). */
static int call_on_end(lua_State *L)
{
    wf_task *t = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->on_end);
    wf_task_push(L, wf_task_state(t), t);
    wf_task_push_end(L, t);
    lua_call(L, 3, 0);
    return 0;
}

/* [-0, +0, -] */
static void tell_end(lua_State *L, wf_task *t)
{
    lua_pushcfunction(L, call_on_end);
    lua_pushlightuserdata(L, t);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        wf_task_report(L, wf_task_state(t), t, -1);
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
    unsigned code = t->status == WF_TASK_FAILED ? WF_CLOSE_INTERNAL : WF_CLOSE_NORMAL;
    if (o->class == &wf_ws_class)
        wf_ws_close((wf_ws *)o, code, "", 0);
    else
        wf_stream_finish((wf_stream *)o, WF_FINISH_LINGER);
}

bool wf_task_is_cancel(lua_State *L, const wf_state *st, int idx)
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
    copy_top(L, co);
    lua_pushvalue(L, -1);
    to_traceback(L, co); /* while the frames are still there */
    if (wf_close_thread(co, L) == LUA_OK) {
        lua_pushvalue(L, -2); /* a thread that had not failed itself forgets it */
        lua_xmove(L, co, 1);
    }
    copy_top(L, co); /* error, traceback, what counts */
    wf_state *st = wf_task_state(t);
    t->status = wf_task_is_cancel(L, st, -1) ? WF_TASK_CANCELLED : WF_TASK_FAILED;
    t->results = 1;
    if (t->status == WF_TASK_FAILED && !t->joiner && !t->watched) {
        bool same = lua_rawequal(L, -1, -3);
        if (!same)
            to_traceback(L, co);
        wf_task_report(L, st, t, same ? -2 : -1);
    }
    lua_pop(L, 3);
}

/* Nothing to be told any more: one collection frees the coroutine, and not only
 * the one after its handle's. [-0, +0, -] */
static void forget_thread(lua_State *L, wf_task *t)
{
    wf_task_push(L, wf_task_state(t), t);
    lua_pushnil(L);
    lua_setiuservalue(L, -2, WF_TASK_UV_THREAD);
    lua_pop(L, 1);
    t->co = NULL;
}

void wf_task_finish(lua_State *L, wf_task *t, int status, int nresults)
{
    t->results = nresults;
    t->status = WF_TASK_DONE;
    if (status != LUA_OK)
        unwind(L, t);
    wf_task_state(t)->tasks--;
    end_owned(t);
    wf_wake(&t->joiner, WF_OK);
    if (t->on_end != LUA_NOREF)
        tell_end(L, t);
    if (t->results == 0)
        forget_thread(L, t);
    wf_task_unanchor(L, t);
}
