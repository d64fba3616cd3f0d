/* state: see state.h. Also the module's entry, luaopen_weft_core. */
#include "bind/state.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "bind/task.h"
#include "io/stream.h"

#define VERSION "0.1.0"

__attribute__((visibility("default"))) int luaopen_weft_core(lua_State *L);

/* -- errors ---------------------------------------------------------------- */

static const struct {
    const char *name, *text;
} errors[] = { { "ok", "" },
#define X(id, name, text) { name, text },
               WF_ERRORS(X)
#undef X
};

const char *wf_error_name(enum wf_error error)
{
    return errors[error].name;
}

int wf_fail(lua_State *L, enum wf_error error, const char *format, ...)
{
    lua_pushnil(L);
    if (format) {
        va_list args;
        va_start(args, format);
        lua_pushvfstring(L, format, args);
        va_end(args);
    } else {
        lua_pushstring(L, errors[error].text);
    }
    lua_pushstring(L, errors[error].name);
    return 3;
}

int wf_raise_nomem(lua_State *L)
{
    return luaL_error(L, "not enough memory");
}

/* strerror(errno) has no room for two threads; strerror_r has two shapes. */
static const char *describe(int err, char *buffer, size_t n)
{
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
    return strerror_r(err, buffer, n);
#else
    return strerror_r(err, buffer, n) == 0 ? buffer : "unknown error";
#endif
}

int wf_fail_errno(lua_State *L, int err, const char *what)
{
    char buffer[128];
    return wf_fail(L, WF_SYSTEM, "%s: %s", what, describe(err, buffer, sizeof buffer));
}

double wf_opt_timeout(lua_State *L, int arg)
{
    if (lua_isnoneornil(L, arg))
        return INFINITY;
    double s = luaL_checknumber(L, arg);
    luaL_argcheck(L, s >= 0, arg, "a timeout is a number of seconds, 0 or more");
    return s;
}

wf_loop *wf_state_loop(lua_State *L)
{
    wf_state *st = wf_state_of(L);
    if (!st->loop)
        luaL_error(L, "weft: the Lua state is closing");
    return st->loop;
}

void wf_state_check_fork(lua_State *L, const wf_loop *loop)
{
    if (wf_loop_forked(loop))
        luaL_error(L, "weft: this process was forked from the one that owns the loop; "
                      "start workers with a fresh Lua state instead");
}

/* -- classes and handles ----------------------------------------------------- */

void wf_set_functions(lua_State *L, int module, const luaL_Reg *functions)
{
    lua_pushvalue(L, module);
    lua_getfield(L, module, "state");
    luaL_setfuncs(L, functions, 1);
    lua_pop(L, 1);
}

const char wf_class_tags[WF_CLASS_COUNT];

void wf_class_push_tag(lua_State *L, wf_class_id id)
{
    lua_pushlightuserdata(L, (void *)(uintptr_t)&wf_class_tags[id]);
}

static const char *const class_names[WF_CLASS_COUNT] = {
    [WF_CLASS_TCP] = "tcp",
    [WF_CLASS_LISTENER] = "listener",
    [WF_CLASS_STREAM] = "stream",
    [WF_CLASS_TASK] = "task",
    [WF_CLASS_DEADLINE] = "deadline",
    [WF_CLASS_REQUEST] = "request",
    [WF_CLASS_WS_OPTIONS] = "ws_options",
    [WF_CLASS_HUB] = "hub",
    [WF_CLASS_WEBSOCKET] = "websocket",
    [WF_CLASS_TLS] = "tls_context",
    [WF_CLASS_DECODER] = "decoder",
    [WF_CLASS_ENCODER] = "encoder",
    [WF_CLASS_UDP] = "udp",
    [WF_CLASS_TRIE] = "trie",
    [WF_CLASS_CHUNKS] = "chunks",
    [WF_CLASS_WRITER] = "writer",
};

/* [-0, +1, m] the new metatable, known to the state */
static void push_metatable(lua_State *L, int module, wf_class_id id)
{
    lua_getfield(L, module, "state");
    wf_state *st = lua_touserdata(L, -1);
    lua_pushfstring(L, "weft.%s", class_names[id]);
    luaL_newmetatable(L, lua_tostring(L, -1));
    lua_replace(L, -3);
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    st->metatables[id] = luaL_ref(L, LUA_REGISTRYINDEX);
}

void wf_class_new(lua_State *L, int module, wf_class_id id, const luaL_Reg *meta,
                  const luaL_Reg *methods)
{
    push_metatable(L, module, id);
    int metatable = lua_gettop(L);
    lua_newtable(L);
    lua_getfield(L, module, "methods");
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, class_names[id]);
    lua_pop(L, 1);
    wf_class_add(L, module, id, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, metatable, "__index");
    lua_getfield(L, module, "state");
    lua_insert(L, -2);
    wf_class_push_tag(L, id);
    lua_insert(L, -2);
    luaL_setfuncs(L, meta, WF_UP_METHODS); /* may replace __index */
    lua_pop(L, 1);
}

void wf_class_add(lua_State *L, int module, wf_class_id id, const luaL_Reg *methods,
                  int n)
{
    int first = lua_gettop(L) - n + 1;
    lua_getfield(L, module, "methods");
    lua_getfield(L, -1, class_names[id]);
    lua_replace(L, -2);
    lua_insert(L, first);
    lua_getfield(L, module, "state");
    lua_insert(L, first + 1);
    wf_class_push_tag(L, id);
    lua_insert(L, first + 2);
    luaL_setfuncs(L, methods, 2 + n);
    lua_pop(L, 1);
}

void *wf_class_push(lua_State *L, wf_class_id id, size_t size, int uservalues)
{
    const wf_state *st = wf_state_of(L);
    const void **p = lua_newuserdatauv(L, size, uservalues);
    memset(p, 0, size);
    *p = &wf_class_tags[id];
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->metatables[id]);
    lua_setmetatable(L, -2);
    return p;
}

void *wf_class_test(lua_State *L, int arg, wf_class_id id)
{
    const void **p = lua_touserdata(L, arg);
    bool ours = p && lua_rawlen(L, arg) >= sizeof(wf_handle) && *p == &wf_class_tags[id];
    return ours ? p : NULL;
}

/* Argument arg is not of the class with that tag. [raises] */
static void raise_type(lua_State *L, int arg, const char *tag)
{
    char name[32] = "weft.";
    strcat(name, class_names[tag - wf_class_tags]);
    luaL_typeerror(L, arg, name);
}

void *wf_class_check(lua_State *L, int arg, wf_class_id id)
{
    void *p = wf_class_test(L, arg, id);
    if (WF_UNLIKELY(!p))
        raise_type(L, arg, &wf_class_tags[id]);
    return p;
}

wf_handle *wf_handle_new(lua_State *L, wf_class_id id, int uservalues)
{
    return wf_class_push(L, id, sizeof(wf_handle), uservalues);
}

void wf_handle_become(lua_State *L, wf_class_id id)
{
    const wf_state *st = wf_state_of(L);
    wf_handle *h = lua_touserdata(L, 1);
    h->class = &wf_class_tags[id];
    lua_rawgeti(L, LUA_REGISTRYINDEX, st->metatables[id]);
    lua_setmetatable(L, 1);
}

void wf_handle_fill(wf_handle *handle, wf_object *object)
{
    handle->object = object;
    object->handle = &handle->object;
}

wf_handle *wf_handle_check(lua_State *L)
{
    wf_handle *h = wf_handle_tagged(L, lua_touserdata(L, lua_upvalueindex(2)));
    if (WF_LIKELY(h))
        return h;
    raise_type(L, 1, (const char *)lua_touserdata(L, lua_upvalueindex(2)));
    return NULL;
}

int wf_handle_close(lua_State *L)
{
    wf_handle *h = wf_handle_check(L);
    wf_object *object = h->object;
    h->object = NULL;
    if (object) {
        object->handle = NULL;
        object->class->release(object);
        wf_send_last(object->loop);
    }
    return 0;
}

int wf_handle_close_method(lua_State *L)
{
    wf_handle_close(L);
    lua_pushboolean(L, true);
    return 1;
}

/* -- the module -------------------------------------------------------------- */

static int close_state(lua_State *L)
{
    wf_state *st = lua_touserdata(L, 1);
    st->closing = true;
    if (st->loop && !wf_loop_forked(st->loop))
        wf_loop_drain(st->loop);
    if (st->loop)
        wf_loop_free(st->loop);
    st->loop = NULL;
    st->current = st->main = NULL;
    return 0;
}

/* [-0, +1, m] */
static void push_codes(lua_State *L)
{
    lua_newtable(L);
    for (size_t i = 1; i < sizeof errors / sizeof *errors; i++) {
        lua_createtable(L, 0, 2);
        lua_pushstring(L, errors[i].name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, errors[i].text);
        lua_setfield(L, -2, "text");
        lua_rawseti(L, -2, (lua_Integer)i);
    }
}

/* [-0, +1, raises] */
static void push_state(lua_State *L)
{
    wf_state *st = lua_newuserdatauv(L, sizeof *st, 0);
    *st = (wf_state){ .on_error = LUA_NOREF,
                      .cancelled = LUA_NOREF,
                      .foreign = LUA_NOREF,
                      .generational = true,
                      .pause = WF_GC_PAUSE };
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, close_state);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    st->loop = wf_loop_new();
    if (!st->loop)
        luaL_error(L, "weft: no memory or no descriptors left for an event loop");
    st->loop->upper = st;
    lua_newtable(L);
    st->anchors = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushliteral(L, "");
    st->text_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

int luaopen_weft_core(lua_State *L)
{
    lua_newtable(L);
    int module = lua_gettop(L);
    push_state(L);
    lua_setfield(L, module, "state");
    lua_newtable(L);
    lua_setfield(L, module, "methods");
    wf_open_tasks(L, module);
    wf_open_waits(L, module);
    wf_open_run(L, module);
    wf_open_tcp(L, module);
    wf_open_stream(L, module);
    wf_open_unix(L, module);
    wf_open_udp(L, module);
    wf_open_resolve(L, module);
    wf_open_reads(L, module);
    wf_open_coding(L, module);
    wf_open_http(L, module);
    wf_open_preface(L, module);
    wf_open_handshake(L, module);
    wf_open_ws_options(L, module);
    wf_open_websocket(L, module);
    wf_open_pieces(L, module);
    wf_open_hub(L, module);
    wf_open_trie(L, module);
    wf_open_tls(L, module);
    wf_open_system(L, module);
    push_codes(L);
    lua_setfield(L, module, "codes");
    lua_pushliteral(L, VERSION);
    lua_setfield(L, module, "version");
    lua_pushnil(L);
    lua_setfield(L, module, "state"); /* kept alive by every closure */
    return 1;
}
