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

/* An empty bucket would let nothing through, ever. [-0, +0, raises] */
static double burst_field(lua_State *L, const char *name, double rate)
{
    double burst = number_field(L, name);
    return WF_MAX(burst > 0 ? burst : rate, 1.0);
}

/* [-0, +0, raises] */
static wf_rate_options rate_fields(lua_State *L)
{
    static const char *const ways[] = { "wait", "drop", "close", NULL };
    wf_rate_options o = { .messages = number_field(L, "message_rate"),
                          .bytes = number_field(L, "byte_rate") };
    o.message_burst = burst_field(L, "message_burst", o.messages);
    o.byte_burst = burst_field(L, "byte_burst", o.bytes);
    lua_getfield(L, 1, "over_rate");
    o.over = (wf_rate_over)luaL_checkoption(L, -1, "wait", ways);
    lua_pop(L, 1);
    return o;
}

/* rates() -> how many messages had to be waited for, were dropped, ended a connection */
static int options_rates(lua_State *L)
{
    const wf_options_handle *h = wf_class_check(L, 1, WF_CLASS_WS_OPTIONS);
    const wf_rate_options *o = &h->options->rate;
    lua_pushinteger(L, (lua_Integer)o->waited);
    lua_pushinteger(L, (lua_Integer)o->dropped);
    lua_pushinteger(L, (lua_Integer)o->closed);
    return 3;
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
        .rate = rate_fields(L),
    };
    if (!(h->options = malloc(sizeof v)))
        return wf_raise_nomem(L);
    *h->options = v;
    return 1;
}

wf_ws_options *wf_ws_options_arg(lua_State *L, int arg)
{
    return ((wf_options_handle *)wf_class_check(L, arg, WF_CLASS_WS_OPTIONS))->options;
}

static const luaL_Reg meta[] = { { "__gc", options_gc }, { NULL, NULL } };
static const luaL_Reg methods[] = { { "rates", options_rates }, { NULL, NULL } };
static const luaL_Reg functions[] = { { "ws_options", l_ws_options }, { NULL, NULL } };

void wf_open_ws_options(lua_State *L, int module)
{
    wf_class_new(L, module, WF_CLASS_WS_OPTIONS, meta, methods);
    wf_set_functions(L, module, functions);
}
