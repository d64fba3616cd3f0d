/*
 * state: what one Lua state has of weft: its loop, its classes, its running task.
 * Everything in src/bind includes this; only src/bind includes lua.h.
 *
 * Every function of the module is a closure: upvalue 1 is the wf_state, upvalue 2
 * (of methods and metamethods) the tag of the class that argument 1 must have, upvalue 3
 * (of metamethods) the table of the class's methods.
 */
#ifndef WF_BIND_STATE_H
#define WF_BIND_STATE_H

#include "bind/compat.h"
#include "io/loop.h"

WF_HIDDEN_BEGIN

struct wf_task;

enum { WF_UP_METHODS = 3 };

typedef enum wf_class_id {
    WF_CLASS_TCP,
    WF_CLASS_LISTENER,
    WF_CLASS_STREAM,
    WF_CLASS_TASK,
    WF_CLASS_DEADLINE,
    WF_CLASS_REQUEST,
    WF_CLASS_WS_OPTIONS,
    WF_CLASS_HUB,
    WF_CLASS_WEBSOCKET,
    WF_CLASS_TLS,
    WF_CLASS_DECODER,
    WF_CLASS_ENCODER,
    WF_CLASS_UDP,
    WF_CLASS_TRIE,
    WF_CLASS_CHUNKS,
    WF_CLASS_WRITER,
    WF_CLASS_COUNT,
} wf_class_id;

/* A class's tag is the address of its place here: every userdata of the class begins
 * with it, so that a look tells what it is. */
extern const char wf_class_tags[WF_CLASS_COUNT];

typedef struct wf_state {
    wf_loop *loop;           /* NULL: the Lua state is closing */
    lua_State *driver;       /* the thread that runs the loop, while it runs */
    struct wf_task *current; /* the running task, or NULL */
    struct wf_task *main;    /* stands for the main thread when it waits */
    size_t tasks;            /* alive */
    uint32_t numbers;        /* the last one given to a reader or writer of pieces */
    bool closing;            /* the Lua state closes: no task runs any more */
    int anchors;             /* registry: the threads and task functions in use */
    int on_error;            /* registry: the script's handler, or LUA_NOREF */
    int cancelled;           /* registry: what task:cancel() raises, */
    int foreign;             /* and a task that called coroutine.yield fails with */
    bool generational;       /* the collector's mode, */
    int pause;               /* of one that works in increments: what was set here, and */
    int heap, paced;         /* KiB: the heap, and what its pace was set for: run.c */
    const char *text;        /* the last long text received, kept in */
    int text_ref;            /* the registry */
    int metatables[WF_CLASS_COUNT]; /* registry */
} wf_state;

/* The Lua side of an object: a userdata that either side may empty. */
typedef struct wf_handle {
    const void *class; /* its tag: see wf_class_push */
    wf_object *object; /* NULL: closed */
} wf_handle;

static inline wf_state *wf_state_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

/* The live loop. [-0, +0, raises] */
wf_loop *wf_state_loop(lua_State *L);

/* Raises what Lua does when memory is out; where nothing outside can fail. [raises] */
int wf_raise_nomem(lua_State *L);
/* nil, message, code; returns 3. [-0, +3, m] */
int wf_fail(lua_State *L, enum wf_error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for an errno: "what: strerror". [-0, +3, m] */
int wf_fail_errno(lua_State *L, int err, const char *what);
const char *wf_error_name(enum wf_error error);

/* Creates a class: its metatable with methods (a table: __index), closures with
 * both upvalues; leaves nothing. The metatable is registry["weft." .. name], the
 * methods go to the module table's `methods`. [-0, +0, m] */
void wf_class_new(lua_State *L, int module, wf_class_id id, const luaL_Reg *meta,
                  const luaL_Reg *methods);
/* Adds methods, which get the n values on the top as upvalues 3 and up. [-n, +0, m] */
void wf_class_add(lua_State *L, int module, wf_class_id id, const luaL_Reg *methods,
                  int n);
/* Sets functions with upvalue 1 into the module. [-0, +0, m] */
void wf_set_functions(lua_State *L, int module, const luaL_Reg *functions);

/* A userdata of the class, zeroed but for its first member, the tag. [-0, +1, m] */
void *wf_class_push(lua_State *L, wf_class_id id, size_t size, int uservalues);
/* The tag, for upvalue 2 of closures that are made by hand. [-0, +1, -] */
void wf_class_push_tag(lua_State *L, wf_class_id id);
/* In __index: the method that argument 2 names, or nil and false. [-0, +1, -] */
static inline bool wf_class_method(lua_State *L)
{
    lua_pushvalue(L, 2);
    return lua_rawget(L, lua_upvalueindex(WF_UP_METHODS)) != LUA_TNIL;
}
/* Argument arg as a userdata of the class. [-0, +0, raises] */
void *wf_class_check(lua_State *L, int arg, wf_class_id id);
/* The same, or NULL. [-0, +0, -] */
void *wf_class_test(lua_State *L, int arg, wf_class_id id);

/* An empty handle of that class; then wf_handle_fill. [-0, +1, m] */
wf_handle *wf_handle_new(lua_State *L, wf_class_id id, int uservalues);
void wf_handle_fill(wf_handle *handle, wf_object *object);
/* The handle at index 1 changes its class, as LuaSocket's do. [-0, +0, -] */
void wf_handle_become(lua_State *L, wf_class_id id);
/* Whether argument 1 is a handle with that tag; the handle or NULL. [-0, +0, -] */
static inline wf_handle *wf_handle_tagged(lua_State *L, const void *tag)
{
    wf_handle *h = lua_touserdata(L, 1);
    return WF_LIKELY(h && lua_rawlen(L, 1) == sizeof *h && h->class == tag) ? h : NULL;
}
/* Argument 1 as a handle of the method's class (upvalue 2). [-0, +0, raises] */
wf_handle *wf_handle_check(lua_State *L);
/* The object of argument arg, a handle of that class; NULL: closed. [-0, +0, raises] */
static inline wf_object *wf_object_arg(lua_State *L, int arg, wf_class_id id)
{
    return ((wf_handle *)wf_class_check(L, arg, id))->object;
}
/* __close and __gc of every class. [-0, +0, -] */
int wf_handle_close(lua_State *L);
/* The method close(): the same, and true. [-0, +1, -] */
int wf_handle_close_method(lua_State *L);
/* The process has forked since the loop was made: an error. [-0, +0, raises] */
void wf_state_check_fork(lua_State *L, const wf_loop *loop);
/* Outside of a turn nobody else sends what was just queued. */
static inline void wf_send_last(wf_loop *loop)
{
    if (WF_UNLIKELY(!loop->turning))
        wf_loop_flush(loop);
}
/* The same, but not in closing: a forked child is told that nothing of it leaves.
 * [-0, +0, raises] */
static inline void wf_send_now(lua_State *L, wf_loop *loop)
{
    if (WF_UNLIKELY(!loop->turning))
        wf_state_check_fork(L, loop);
    wf_send_last(loop);
}

/* Seconds from an optional argument: none or nil is INFINITY. [-0, +0, raises] */
double wf_opt_timeout(lua_State *L, int arg);

void wf_open_tasks(lua_State *L, int module);
void wf_open_waits(lua_State *L, int module);
void wf_open_run(lua_State *L, int module);
void wf_open_tcp(lua_State *L, int module);
void wf_open_unix(lua_State *L, int module);
void wf_open_udp(lua_State *L, int module);
void wf_open_stream(lua_State *L, int module);
void wf_open_resolve(lua_State *L, int module);
void wf_open_reads(lua_State *L, int module);
void wf_open_coding(lua_State *L, int module);
void wf_open_http(lua_State *L, int module);
void wf_open_preface(lua_State *L, int module); /* after stream */
void wf_open_handshake(lua_State *L, int module);
void wf_open_ws_options(lua_State *L, int module);
void wf_open_websocket(lua_State *L, int module);
void wf_open_pieces(lua_State *L, int module); /* after websocket */
void wf_open_hub(lua_State *L, int module);    /* after websocket */
void wf_open_trie(lua_State *L, int module);
void wf_open_tls(lua_State *L, int module);
void wf_open_system(lua_State *L, int module);

WF_HIDDEN_END

#endif
