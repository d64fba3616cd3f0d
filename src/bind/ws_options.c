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

/* The field "compression" of the table at 1: one of compression.lua's tables, or nil.
 * [-0, +0, raises] */
static wf_deflate_options deflate_field(lua_State *L)
{
    wf_deflate_options o = { .wish = { .deflate = false } };
    if (lua_getfield(L, 1, "compression") == LUA_TTABLE) {
        lua_insert(L, 1);
        o.wish = (wf_extension){ true, number_field(L, "server_no_takeover") != 0,
                                 number_field(L, "client_no_takeover") != 0,
                                 (uint8_t)number_field(L, "server_window"),
                                 (uint8_t)number_field(L, "client_window") };
        o.window = (uint8_t)number_field(L, "window");
        o.memlevel = (uint8_t)number_field(L, "memlevel");
        o.level = (uint8_t)number_field(L, "level");
        o.threshold = count_field(L, "threshold");
        o.max_ratio = WF_MAX(count_field(L, "max_ratio"), 1u);
        lua_remove(L, 1);
    } else {
        lua_pop(L, 1);
    }
    return o;
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
    lua_settop(L, 1);
    wf_state_loop(L); /* what is made while the Lua state closes is never collected */
    wf_options_handle *h = wf_class_push(L, WF_CLASS_WS_OPTIONS, sizeof *h, 0);
    wf_ws_options v = {
        .refs = 1,
        .limits = { (size_t)number_field(L, "max_message"),
                    count_field(L, "max_fragments"), count_field(L, "max_empty") },
        .deflate = deflate_field(L),
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
