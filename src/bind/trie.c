/*
 * trie: the class trie, for lua/weft/topics: values by patterns of topics. Uservalue 1
 * is the table of the values; what the trie holds are their places in it, as pointers.
 */
#include "core/trie.h"

#include "bind/state.h"
#include "io/crypto.h"

typedef struct wf_trie_box {
    const void *class;
    wf_trie trie;
} wf_trie_box;

/* topic_kind(topic, max) -> "name" | "pattern" | nil, why */
static int l_topic_kind(lua_State *L)
{
    size_t n;
    const char *topic = luaL_checklstring(L, 1, &n), *why;
    lua_Integer max = luaL_optinteger(L, 2, WF_TOPIC_MAX);
    luaL_argcheck(L, max >= 1 && max <= WF_TOPIC_MAX, 2, "1 to 255");
    switch (wf_topic_check(topic, n, (size_t)max, &why)) {
    case WF_TOPIC_NAME:
        lua_pushliteral(L, "name");
        return 1;
    case WF_TOPIC_PATTERN:
        lua_pushliteral(L, "pattern");
        return 1;
    default:
        lua_pushnil(L);
        lua_pushstring(L, why);
        return 2;
    }
}

static int l_trie(lua_State *L)
{
    wf_hash_key key;
    if (!wf_random(&key, sizeof key))
        return wf_fail(L, WF_SYSTEM, "the system gave no random bytes");
    wf_trie_box *box = wf_class_push(L, WF_CLASS_TRIE, sizeof *box, 1);
    wf_trie_init(&box->trie, &key);
    lua_newtable(L);
    lua_setiuservalue(L, -2, 1);
    return 1;
}

/* [-0, +0, raises] */
static wf_trie *trie_of(lua_State *L)
{
    return &((wf_trie_box *)wf_class_check(L, 1, WF_CLASS_TRIE))->trie;
}

/* A pattern, or a name. [-0, +0, raises] */
static const char *check_pattern(lua_State *L, int arg, size_t *n)
{
    const char *pattern = luaL_checklstring(L, arg, n), *why;
    if (wf_topic_check(pattern, *n, WF_TOPIC_MAX, &why) == WF_TOPIC_BAD)
        luaL_argerror(L, arg, lua_pushfstring(L, "a topic %s", why));
    return pattern;
}

/* The place of a value in uservalue 1 and back. */
static void *to_value(int ref)
{
    return (void *)(intptr_t)ref;
}

static int to_ref(const void *value)
{
    return (int)(intptr_t)value;
}

/* put(pattern, value): replaces; true | nil, message, code */
static int trie_put(lua_State *L)
{
    wf_trie *trie = trie_of(L);
    size_t n;
    const char *pattern = check_pattern(L, 2, &n);
    luaL_checkany(L, 3);
    lua_settop(L, 3);
    lua_getiuservalue(L, 1, 1);
    lua_insert(L, 3);
    void **old = wf_trie_find(trie, pattern, n);
    if (old) {
        lua_rawseti(L, 3, to_ref(*old));
    } else {
        int ref = luaL_ref(L, 3);
        if (!wf_trie_put(trie, pattern, n, to_value(ref))) {
            luaL_unref(L, 3, ref);
            return wf_fail(L, WF_NOMEM, NULL);
        }
    }
    lua_pushboolean(L, true);
    return 1;
}

/* get(pattern) -> value or nil */
static int trie_get(lua_State *L)
{
    wf_trie *trie = trie_of(L);
    size_t n;
    const char *pattern = check_pattern(L, 2, &n);
    void **value = wf_trie_find(trie, pattern, n);
    lua_getiuservalue(L, 1, 1);
    if (value)
        lua_rawgeti(L, -1, to_ref(*value));
    else
        lua_pushnil(L);
    return 1;
}

/* remove(pattern) -> whether it was there */
static int trie_remove(lua_State *L)
{
    wf_trie *trie = trie_of(L);
    size_t n;
    const char *pattern = check_pattern(L, 2, &n);
    void *value = wf_trie_remove(trie, pattern, n);
    lua_getiuservalue(L, 1, 1);
    if (value)
        luaL_unref(L, -1, to_ref(value));
    lua_pushboolean(L, value != NULL);
    return 1;
}

typedef struct gathered {
    lua_State *L;
    lua_Integer n;
} gathered;

/* The list is on the top, the values below. [-0, +0, m] */
static bool gather(void *value, void *arg)
{
    gathered *g = arg;
    lua_rawgeti(g->L, -2, to_ref(value));
    lua_rawseti(g->L, -2, ++g->n);
    return false;
}

/* match(name) -> list of values, the most specific first */
static int trie_match(lua_State *L)
{
    wf_trie *trie = trie_of(L);
    size_t n;
    const char *name = check_pattern(L, 2, &n);
    gathered g = { L, 0 };
    luaL_checkstack(L, 3, NULL);
    lua_getiuservalue(L, 1, 1);
    lua_newtable(L);
    wf_trie_match(trie, name, n, gather, &g); /* has no memory of its own to lose */
    return 1;
}

static int trie_len(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)trie_of(L)->patterns);
    return 1;
}

static int trie_gc(lua_State *L)
{
    wf_trie_free(trie_of(L));
    return 0;
}

static const luaL_Reg meta[] = { { "__gc", trie_gc },
                                 { "__len", trie_len },
                                 { NULL, NULL } };

static const luaL_Reg methods[] = {
    { "put", trie_put },     { "get", trie_get }, { "remove", trie_remove },
    { "match", trie_match }, { NULL, NULL },
};

static const luaL_Reg functions[] = {
    { "trie", l_trie },
    { "topic_kind", l_topic_kind },
    { NULL, NULL },
};

void wf_open_trie(lua_State *L, int module)
{
    wf_class_new(L, module, WF_CLASS_TRIE, meta, methods);
    wf_set_functions(L, module, functions);
}
