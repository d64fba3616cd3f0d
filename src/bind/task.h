/*
 * task: coroutines that wait. One function suspends (wf_wait), one resumes (the
 * task's job, in task.c).
 */
#ifndef WF_BIND_TASK_H
#define WF_BIND_TASK_H

#include "bind/state.h"

WF_HIDDEN_BEGIN

typedef enum wf_task_status {
    WF_TASK_SUSPENDED,
    WF_TASK_RUNNING,
    WF_TASK_DONE,
    WF_TASK_FAILED,
    WF_TASK_CANCELLED,
} wf_task_status;

typedef struct wf_task {
    wf_object object;
    lua_State *co;
    wf_waiter waiter;
    wf_waiter *parked; /* its own slot, for park */
    wf_waiter *joiner;
    wf_object *owned; /* the connection that ends with the task */
    double deadline;  /* of everything that waits; INFINITY: none */
    double until;     /* of the operation under way */
    int anchor;       /* in the anchors: its handle, while it lives */
    int on_end;       /* registry: told when it ends, or LUA_NOREF */
    int results;      /* on co's stack once it is done */
    uint8_t status;   /* wf_task_status */
    bool started : 1, waiting : 1, cancelling : 1, watched : 1;
} wf_task;

extern const wf_class wf_task_class;

/*
 * A waiting call begins: who waits (a task or the main thread), or an error that
 * names weft.spawn. Its time ends `timeout` seconds from now, or at the enclosing
 * deadline. [-0, +0, raises]
 */
wf_task *wf_wait_begin(lua_State *L, double timeout);
/* Whether it would not be that error. [-0, +0, -] */
bool wf_can_wait(lua_State *L);
/*
 * Suspends the caller in the slot (which must be empty) until it is woken, then
 * goes on in k. Call as `return wf_wait(...)`; the Lua stack stays as it is.
 */
int wf_wait(lua_State *L, wf_waiter **slot, lua_KFunction k, lua_KContext ctx);
/* Lua runs a finalizer, in the midst of a function that may hold what another turn of the
 * loop would free: only then (and while it closes) lua_gc tells nothing. [-0, +0, -] */
static inline bool wf_task_in_finalizer(lua_State *L)
{
    return lua_gc(L, LUA_GCCOUNT) < 0;
}
/* The main thread waits: what it runs meanwhile is a hook's. */
static inline bool wf_task_main_waits(const wf_state *st)
{
    return st->main && st->main->waiter.slot;
}
/* In k: why it was woken; raises when the task was cancelled. [-0, +0, raises] */
enum wf_error wf_woken(lua_State *L);
/* In k, before wf_woken: who waited, for those with something to let go of; raises
 * when somebody else resumed the coroutine. [-0, +0, raises] */
wf_task *wf_woken_task(lua_State *L);

/* Errors of misuse for an occupied slot: nil, message, "busy". [-0, +3, m] */
int wf_fail_busy(lua_State *L, const char *what);
/* nil, message, "timeout". [-0, +3, m] */
int wf_fail_timeout(lua_State *L, const char *what);

WF_HIDDEN_END

#endif
