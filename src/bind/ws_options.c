/*
 * ws_options: the class ws_options: a route's or a call's options, read from a table
 * once.
 */
#include "bind/websocket.h"

#include <stdlib.h>

typedef struct wf_options_handle {
    const void *class;
    wf_ws_options *options;
} wf_options_handle;

/* [-0, +0, raises] */
static double number_field(lua_State *L, const char *name)
{
    if (lua_getfield(L, 1, name) != LUA_TNUMBER || !(lua_tonumber(L, -1) >= 0))
        luaL_error(L, "ws_options: '%s' must be a number, 0 or more", name);
    double v = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return WF_MIN(v, 9e15);
}

/* [-0, +0, raises] */
static uint32_t count_field(lua_State *L, const char *name)
{
    return (uint32_t)WF_MIN(number_field(L, name), 4294967295.0);
}

static int options_gc(lua_State *L)
{
    wf_options_handle *h = wf_class_check(L, 1, WF_CLASS_WS_OPTIONS);
    wf_ws_options_unref(h->options);
    h->options = NULL;
    return 0;
}

static int l_ws_options(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    wf_state_loop(L); /* what is made while the Lua state closes is never collected */
    wf_options_handle *h = wf_class_push(L, WF_CLASS_WS_OPTIONS, sizeof *h, 0);
    wf_ws_options v = {
        .refs = 1,
        .limits = { (size_t)number_field(L, "max_message"),
                    count_field(L, "max_fragments"), count_field(L, "max_empty") },
        .ping_interval = number_field(L, "ping_interval"),
        .ping_timeout = number_field(L, "ping_timeout"),
        .close_timeout = number_field(L, "close_timeout"),
        .idle_timeout = number_field(L, "idle_timeout"),
        .send_timeout = number_field(L, "send_timeout"),
        .high = (size_t)number_field(L, "high"),
        .low = (size_t)number_field(L, "low"),
        .hard = (size_t)number_field(L, "hard"),
        .inbox_bytes = (size_t)number_field(L, "inbox_bytes"),
        .inbox_messages = count_field(L, "inbox_messages"),
    };
    if (!(h->options = malloc(sizeof v)))
        return wf_fail(L, WF_NOMEM, NULL);
    *h->options = v;
    return 1;
}

wf_ws_options *wf_ws_options_arg(lua_State *L, int arg)
{
    return ((wf_options_handle *)wf_class_check(L, arg, WF_CLASS_WS_OPTIONS))->options;
}

static const luaL_Reg meta[] = { { "__gc", options_gc }, { NULL, NULL } };
static const luaL_Reg no_methods[] = { { NULL, NULL } };
static const luaL_Reg functions[] = { { "ws_options", l_ws_options }, { NULL, NULL } };

void wf_open_ws_options(lua_State *L, int module)
{
    wf_class_new(L, module, WF_CLASS_WS_OPTIONS, meta, no_methods);
    wf_set_functions(L, module, functions);
}
