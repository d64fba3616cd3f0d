/*
 * hub: the class hub, and what of a websocket concerns topics. What is policy (options,
 * hooks, history) stands in lua/weft/topics.lua, which calls this.
 */
#include "io/hub.h"

#include <math.h>
#include <string.h>

#include "bind/message.h"
#include "bind/websocket.h"

static const char registry_key[] = "weft.hubs"; /* hub's address -> its app, weak */

/* A name or pattern that topics.lua has checked. [-0, +0, raises] */
static const char *check_topic(lua_State *L, int arg, size_t *n)
{
    const char *topic = luaL_checklstring(L, arg, n);
    bool fine = *n > 0 && *n <= WF_TOPIC_MAX;
    luaL_argcheck(L, fine, arg, "a topic's name has 1 to 255 bytes");
    return topic;
}

/* [-0, +0, raises] */
static unsigned check_form(lua_State *L, int arg)
{
    lua_Integer form = luaL_optinteger(L, arg, 0);
    luaL_argcheck(L, form >= 0 && form < WF_FORMS, arg, "a form is 0 or 1");
    return (unsigned)form;
}

/* [-0, +0, raises] */
static wf_hub *hub_of(lua_State *L)
{
    wf_hub *hub = (wf_hub *)wf_handle_check(L)->object;
    if (!hub)
        luaL_error(L, "weft: the hub is closed");
    return hub;
}

/* Argument arg; NULL: closed, or it left the hub. [-0, +0, raises] */
static wf_ws *member_arg(lua_State *L, int arg)
{
    wf_ws *ws = (wf_ws *)wf_object_arg(L, arg, WF_CLASS_WEBSOCKET);
    return ws && ws->hub ? ws : NULL;
}

/* -- websockets ------------------------------------------------------------------ */

/* At the line of whoever called the Lua method that called this. [-0, +0, raises] */
static int misuse(lua_State *L, const char *what)
{
    luaL_where(L, 2);
    lua_pushfstring(L, "%s: %s", luaL_checkstring(L, 2), what);
    lua_concat(L, 2);
    return lua_error(L);
}

/* app_of(ws, where) -> the app that its hub was made for | nil, message, code */
static int l_app_of(lua_State *L)
{
    wf_ws *ws = (wf_ws *)wf_object_arg(L, 1, WF_CLASS_WEBSOCKET);
    if (ws && ws->session.client)
        return misuse(L, "topics are the server's: a client connection has none");
    if (!ws || !ws->hub)
        return wf_websocket_fail(L, ws);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, registry_key);
    lua_rawgetp(L, -1, ws->hub);
    return 1;
}

/* topic_subscribe(ws, topic, form, max_members) -> true, fresh | nil, message, code */
static int l_subscribe(lua_State *L)
{
    wf_ws *ws = member_arg(L, 1);
    size_t n;
    const char *topic = check_topic(L, 2, &n);
    unsigned form = check_form(L, 3);
    lua_Integer most = luaL_optinteger(L, 4, INT64_MAX);
    luaL_argcheck(L, most >= 0, 4, "a number of subscribers");
    if (!ws)
        return wf_websocket_fail(L, (wf_ws *)wf_object_arg(L, 1, WF_CLASS_WEBSOCKET));
    uint32_t before = ws->topics;
    enum wf_error e = wf_hub_subscribe(ws, topic, n, form, (size_t)most);
    if (e == WF_TOO_BIG && ws->topics >= ws->hub->max_topics)
        return wf_fail(L, e, "too many topics (max_topics_per_connection)");
    if (e != WF_OK)
        return wf_fail(L, e,
                       e == WF_TOO_BIG ? "the topic is full (max_subscribers)" : NULL);
    lua_pushboolean(L, true);
    lua_pushboolean(L, ws->topics > before);
    return 2;
}

static int departure_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    wf_ws *ws = member_arg(L, 1);
    if (ws)
        return wf_wait(L, &ws->closer, departure_k, 0);
    lua_pushboolean(L, true);
    return 1;
}

/* departure(ws) -> true, once it ends, and so has left all topics; for one task */
static int l_departure(lua_State *L)
{
    wf_ws *ws = member_arg(L, 1);
    if (ws && ws->closer)
        return wf_fail_busy(L, "departure of this connection");
    if (ws)
        wf_wait_begin(L, INFINITY);
    return departure_k(L, LUA_OK, 0);
}

/* topic_unsubscribe(ws, topic) -> whether it was */
static int l_unsubscribe(lua_State *L)
{
    wf_ws *ws = member_arg(L, 1);
    size_t n;
    const char *topic = check_topic(L, 2, &n);
    lua_pushboolean(L, ws && wf_hub_unsubscribe(ws, topic, n));
    return 1;
}

/* What a list tells of a topic. It is noted before strings are made of it, for that may
 * run a finalizer, which may end connections, and topics with them. */
typedef struct note {
    uint64_t count, dropped;
    size_t len;
    char name[];
} note;

static size_t note_size(size_t len)
{
    size_t n = offsetof(note, name) + len, unit = sizeof(uint64_t);
    return (n + unit - 1) / unit * unit;
}

/* Adds one to the notes at `to`, of which there are *size bytes; with NULL it only
 * counts. */
static void add_note(char *to, size_t *size, const wf_topic *t, uint64_t dropped)
{
    note *n = to ? (note *)(void *)(to + *size) : NULL;
    *size += note_size(t->len);
    if (!n)
        return;
    n->count = wf_topic_count(t);
    n->dropped = dropped;
    n->len = t->len;
    memcpy(n->name, t->name, t->len);
}

/* The notes of something, in a userdata: bytes of them. [-0, +1, m] */
typedef size_t (*note_fn)(const void *of, char *to);
static size_t take_notes(lua_State *L, note_fn take, const void *of, const char **notes)
{
    for (;;) {
        size_t room = take(of, NULL);
        char *to = lua_newuserdatauv(L, room, 0);
        *notes = to;
        if (take(of, NULL) <= room)
            return take(of, to);
        lua_pop(L, 1);
    }
}

/* Pushes the name of the note at *at, which is moved on. [-0, +1, m] */
static const note *push_note(lua_State *L, const char **at)
{
    const note *n = (const note *)(const void *)*at;
    *at += note_size(n->len);
    lua_pushlstring(L, n->name, n->len);
    return n;
}

/* NULL: none. */
static size_t note_subscriptions(const void *ws, char *to)
{
    size_t size = 0;
    const wf_subscription *s = ws ? ((const wf_ws *)ws)->subscriptions : NULL;
    for (; s; s = s->next)
        add_note(to, &size, s->topic, s->dropped);
    return size;
}

/* topics_of(ws) -> list of names and patterns, each with how many were dropped */
static int l_topics_of(lua_State *L)
{
    const char *at;
    size_t size = take_notes(L, note_subscriptions, member_arg(L, 1), &at);
    lua_Integer i = 0;
    lua_newtable(L);
    for (const char *end = at + size; at < end;) {
        const note *n = push_note(L, &at);
        lua_rawseti(L, -2, ++i);
        lua_pushinteger(L, (lua_Integer)n->dropped);
        lua_rawseti(L, -2, ++i);
    }
    return 1;
}

/* room(ws) -> bytes that fit into its output below the hard mark */
static int l_room(lua_State *L)
{
    const wf_ws *ws = (wf_ws *)wf_object_arg(L, 1, WF_CLASS_WEBSOCKET);
    bool open = ws && ws->stream && !ws->ended;
    size_t hard = open ? ws->options->hard : 0, used = open ? ws->stream->out.bytes : 0;
    lua_pushinteger(L, used < hard ? (lua_Integer)(hard - used) : 0);
    return 1;
}

/* queue(ws, message, kind): sends without waiting, whatever is queued already */
static int l_queue(lua_State *L)
{
    wf_ws *ws = (wf_ws *)wf_object_arg(L, 1, WF_CLASS_WEBSOCKET);
    wf_message m;
    if (!wf_message_arg(L, 2, &m))
        return 3;
    enum wf_error e = ws ? wf_ws_queue(ws, m.kind, m.data, m.len) : WF_CLOSED;
    if (e != WF_OK)
        return e == WF_CLOSED ? wf_websocket_fail(L, ws) : wf_fail(L, e, NULL);
    wf_send_now(L, ws->object.loop);
    lua_pushboolean(L, true);
    return 1;
}

/* -- the hub --------------------------------------------------------------------- */

/* A number from 1 on. [-0, +0, raises] */
static size_t check_mark(lua_State *L, int arg)
{
    lua_Integer n = luaL_checkinteger(L, arg);
    luaL_argcheck(L, n >= 1, arg, "at least 1");
    return (size_t)n;
}

/* Arguments 8 to 12, as topics.lua has compiled them. [-0, +0, raises] */
static void check_policy(lua_State *L, wf_publication *p, wf_policy *policy)
{
    lua_Integer kind = luaL_checkinteger(L, 8);
    luaL_argcheck(L, kind >= WF_DISCONNECT && kind <= WF_LATEST, 8, "a policy");
    policy->kind = (wf_policy_kind)kind;
    policy->max_bytes = check_mark(L, 9);
    policy->max_messages = check_mark(L, 10);
    policy->notice = lua_toboolean(L, 11);
    p->key = luaL_optlstring(L, 12, "", &p->key_len);
    p->policy = policy;
}

/* publish(topic, message, kind, options, form, except [, policy, max_pending,
 * max_pending_messages, notice, key]) -> n | nil, message, code */
static int hub_publish(lua_State *L)
{
    wf_hub *hub = hub_of(L);
    wf_policy policy;
    lua_settop(L, 12);
    wf_publication p = { .form = check_form(L, 6) };
    p.topic = check_topic(L, 2, &p.n);
    if (!lua_isnil(L, 7))
        p.except = (wf_ws *)wf_object_arg(L, 7, WF_CLASS_WEBSOCKET);
    if (!lua_isnil(L, 8))
        check_policy(L, &p, &policy);
    wf_message m;
    if (!wf_message_arg(L, 3, &m))
        return 3;
    p.op = m.kind;
    p.data = m.data;
    p.len = m.len;
    size_t reached;
    enum wf_error e = wf_hub_publish(hub, &p, &reached);
    if (e != WF_OK)
        return wf_fail(L, e, NULL);
    wf_send_now(L, hub->object.loop);
    lua_pushinteger(L, (lua_Integer)reached);
    return 1;
}

static int hub_count(lua_State *L)
{
    size_t n;
    const char *topic = check_topic(L, 2, &n);
    lua_pushinteger(L, (lua_Integer)wf_hub_count(hub_of(L), topic, n));
    return 1;
}

/* reaches(name, form) -> whether anybody would get it */
static int hub_reaches(lua_State *L)
{
    size_t n;
    const char *topic = check_topic(L, 2, &n);
    lua_pushboolean(L, wf_hub_reaches(hub_of(L), topic, n, check_form(L, 3)));
    return 1;
}

static size_t note_topics(const void *of, char *to)
{
    const wf_hub *hub = of;
    size_t size = 0;
    for (size_t i = 0; i < hub->nbuckets; i++)
        for (const wf_topic *t = hub->buckets[i]; t; t = t->next)
            add_note(to, &size, t, t->dropped);
    return size;
}

/* topics() -> name or pattern -> how many, and -> how many messages were dropped */
static int hub_topics(lua_State *L)
{
    const char *at;
    size_t size = take_notes(L, note_topics, hub_of(L), &at);
    lua_newtable(L);
    lua_newtable(L);
    for (const char *end = at + size; at < end;) {
        const note *n = push_note(L, &at);
        lua_pushvalue(L, -1);
        lua_pushinteger(L, (lua_Integer)n->count);
        lua_rawset(L, -5);
        lua_pushinteger(L, (lua_Integer)n->dropped);
        lua_rawset(L, -3);
    }
    return 2;
}

/* [-0, +0, m] */
static void set_count(lua_State *L, const char *name, uint64_t n)
{
    lua_pushinteger(L, (lua_Integer)n);
    lua_setfield(L, -2, name);
}

static int hub_stats(lua_State *L)
{
    const wf_hub *hub = hub_of(L);
    lua_newtable(L);
    set_count(L, "topics", hub->ntopics);
    set_count(L, "subscriptions", hub->subscriptions);
    set_count(L, "delivered", hub->delivered);
    set_count(L, "dropped", hub->dropped);
    set_count(L, "pending", hub->pending);
    set_count(L, "pending_bytes", hub->pending_bytes);
    return 1;
}

static int hub_connections(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)hub_of(L)->connections);
    return 1;
}

static int hub_close(lua_State *L)
{
    size_t n;
    unsigned code = (unsigned)luaL_optinteger(L, 2, WF_CLOSE_GOING_AWAY);
    const char *reason = luaL_optlstring(L, 3, "", &n);
    size_t most = (size_t)luaL_optinteger(L, 4, PTRDIFF_MAX);
    lua_pushinteger(L, (lua_Integer)wf_hub_close(hub_of(L), code, reason, n, most));
    wf_send_last(hub_of(L)->object.loop);
    return 1;
}

static int hub_closing(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)wf_hub_closing(hub_of(L)));
    return 1;
}

static int hub_cut(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)wf_hub_cut(hub_of(L)));
    return 1;
}

/* The app is found again by its hub, and not kept by it. [-0, +0, m] */
static void note_app(lua_State *L, int app, const wf_hub *hub)
{
    if (!luaL_getsubtable(L, LUA_REGISTRYINDEX, registry_key)) {
        lua_createtable(L, 0, 1);
        lua_pushliteral(L, "v");
        lua_setfield(L, -2, "__mode");
        lua_setmetatable(L, -2);
    }
    lua_pushvalue(L, app);
    lua_rawsetp(L, -2, hub);
    lua_pop(L, 1);
}

/* hub(app, max_topics_per_connection) */
static int l_hub(lua_State *L)
{
    wf_loop *loop = wf_state_loop(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer most = luaL_checkinteger(L, 2);
    luaL_argcheck(L, most >= 0, 2, "a number of topics");
    wf_handle *h = wf_handle_new(L, WF_CLASS_HUB, 0);
    wf_hub *hub = wf_hub_new(loop);
    if (!hub)
        return wf_raise_nomem(L);
    wf_handle_fill(h, &hub->object);
    hub->max_topics = (size_t)most;
    note_app(L, 1, hub);
    return 1;
}

static const luaL_Reg meta[] = { { "__gc", wf_handle_close }, { NULL, NULL } };

static const luaL_Reg methods[] = {
    { "publish", hub_publish }, { "count", hub_count },
    { "reaches", hub_reaches }, { "topics", hub_topics },
    { "stats", hub_stats },     { "connections", hub_connections },
    { "close", hub_close },     { "closing", hub_closing },
    { "cut", hub_cut },         { NULL, NULL },
};

static const luaL_Reg functions[] = {
    { "hub", l_hub },
    { "app_of", l_app_of },
    { "topic_subscribe", l_subscribe },
    { "topic_unsubscribe", l_unsubscribe },
    { "topics_of", l_topics_of },
    { "departure", l_departure },
    { "room", l_room },
    { "queue", l_queue },
    { NULL, NULL },
};

void wf_open_hub(lua_State *L, int module)
{
    wf_class_new(L, module, WF_CLASS_HUB, meta, methods);
    wf_set_functions(L, module, functions);
}
