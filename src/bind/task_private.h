/*
 * task_private: what the files of the scheduler share (task.c, task_end.c, task_lua.c,
 * run.c, waits.c), and nobody else includes.
 */
#ifndef WF_BIND_TASK_PRIVATE_H
#define WF_BIND_TASK_PRIVATE_H

#include "bind/task.h"

WF_HIDDEN_BEGIN

/* Uservalues of a task's handle. */
enum { WF_TASK_UV_THREAD = 1, WF_TASK_UV_OWNED, WF_TASK_UV_COUNT = WF_TASK_UV_OWNED };

static inline wf_state *wf_task_state(const wf_task *t)
{
    return t->object.loop->upper;
}

static inline bool wf_task_ended(const wf_task *t)
{
    return t->status >= WF_TASK_DONE;
}

/* The handle of a live task, else nil. [-0, +1, -] */
void wf_task_push(lua_State *L, wf_state *st, const wf_task *t);
/* f and its n arguments on the top become a task. [-(n+1), +1 (the handle), raises] */
wf_task *wf_task_spawn(lua_State *L, wf_state *st, int n);
/* Where the task waits it is woken, and raises the state's `cancelled`. */
void wf_task_cancel(wf_task *t);
/* From here on only the script keeps the handle. [-0, +0, -] */
void wf_task_unanchor(lua_State *L, wf_task *t);

/* The loop is there, and this process owns it; or an error. [-0, +0, raises] */
void wf_task_check_loop(lua_State *L, wf_state *st);
/* Who would wait here: a task, or what stands for the main thread; or an error that
 * tells why nobody can. [-0, +0, raises] */
wf_task *wf_task_party(lua_State *L, wf_state *st);

/* The coroutine returned nresults, or failed with an error on its top. [-0, +0, -] */
void wf_task_finish(lua_State *L, wf_task *t, int status, int nresults);
/* As on_end gets it: whether the task failed, and its error or nil. [-0, +2, m] */
void wf_task_push_end(lua_State *L, const wf_task *t);
/* Tells on_error of the text at that index; t may be NULL. [-0, +0, -] */
void wf_task_report(lua_State *L, wf_state *st, wf_task *t, int text);
/* Whether the value at idx is what task:cancel() raises. [-0, +0, -] */
bool wf_task_is_cancel(lua_State *L, const wf_state *st, int idx);

/* One turn of the loop on L; false: nothing is left to wait for. [-0, +0, -] */
bool wf_run_turn(lua_State *L, wf_state *st);
/* A hook (lua.c's Ctrl-C) raised an error, which is on the top. [-0, +0|1, -] */
bool wf_run_interrupted(lua_State *L);

WF_HIDDEN_END

#endif
