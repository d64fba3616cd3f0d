/* message: see message.h. */
#include "bind/message.h"

#include <string.h>

#include "core/utf8.h"

/*
 * A long text that was just received is known to be UTF-8, and is often what is sent
 * next: keep the last one, so that its pointer proves what it is. A short one is
 * checked again more cheaply.
 */
#define KNOWN_MIN 1024

/* The last long text: at index -1, or false for none. [-1, +0, m] */
static void set_known(lua_State *L, wf_state *st)
{
    st->text = lua_tostring(L, -1);
    lua_rawseti(L, LUA_REGISTRYINDEX, st->text_ref);
}

static bool is_utf8(lua_State *L, const wf_message *m)
{
    if (m->len >= KNOWN_MIN && (const char *)m->data == wf_state_of(L)->text)
        return true;
    return wf_utf8_valid(m->data, m->len);
}

/* The known text goes first: one that a collection sees twice counts as old. */
static void push_long_text(lua_State *L, const wf_message *m)
{
    wf_state *st = wf_state_of(L);
    lua_pushboolean(L, false);
    set_known(L, st);
    lua_pushlstring(L, (const char *)m->data, m->len);
    lua_pushvalue(L, -1);
    set_known(L, st);
}

void wf_message_push(lua_State *L, const wf_message *m)
{
    bool text = m->kind == WF_OP_TEXT;
    if (text && m->len >= KNOWN_MIN)
        push_long_text(L, m);
    else
        lua_pushlstring(L, m->len ? (const char *)m->data : "", m->len);
    lua_pushvalue(L, lua_upvalueindex(text ? WF_MESSAGE_UP_TEXT : WF_MESSAGE_UP_BINARY));
}

unsigned wf_message_kind(lua_State *L, int arg)
{
    size_t n;
    const char *kind = lua_tolstring(L, arg, &n);
    if (!kind ? lua_isnoneornil(L, arg) : n == 4 && memcmp(kind, "text", 4) == 0)
        return WF_OP_TEXT;
    if (!kind || n != 6 || memcmp(kind, "binary", 6) != 0)
        luaL_argerror(L, arg, "the kind is \"text\" or \"binary\"");
    return WF_OP_BINARY;
}

unsigned wf_message_options(lua_State *L, int arg)
{
    static const char unknown[] = "unknown option; it takes compress";
    if (lua_isnoneornil(L, arg))
        return 0;
    luaL_checktype(L, arg, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, arg); lua_pop(L, 1))
        if (lua_type(L, -2) != LUA_TSTRING ||
            strcmp(lua_tostring(L, -2), "compress") != 0)
            luaL_argerror(L, arg, unknown);
    int type = lua_getfield(L, arg, "compress");
    if (type != LUA_TBOOLEAN && type != LUA_TNIL)
        luaL_argerror(L, arg, "compress is true, false or nil");
    unsigned how = lua_toboolean(L, -1) ? WF_SEND_COMPRESSED : WF_SEND_PLAIN;
    lua_pop(L, 1);
    return type == LUA_TNIL ? 0 : how;
}

bool wf_message_arg(lua_State *L, int arg, wf_message *m)
{
    m->data = (const uint8_t *)luaL_checklstring(L, arg, &m->len);
    m->kind = (uint8_t)wf_message_kind(L, arg + 1);
    if (m->kind == WF_OP_TEXT && !is_utf8(L, m)) {
        wf_fail(L, WF_UTF8,
                "a text message must be UTF-8; send other bytes as \"binary\"");
        return false;
    }
    if (WF_UNLIKELY(lua_gettop(L) >= arg + 2))
        m->kind |= (uint8_t)wf_message_options(L, arg + 2);
    return true;
}
