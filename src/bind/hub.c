/*
 * hub: the class hub, and the methods of a websocket that concern topics.
 */
#include "io/hub.h"

#include "bind/message.h"
#include "bind/websocket.h"

/* [-0, +0, raises] */
static const char *check_topic(lua_State *L, int arg, size_t *n)
{
    const char *topic = luaL_checklstring(L, arg, n);
    bool fine = *n > 0 && *n <= WF_TOPIC_MAX;
    luaL_argcheck(L, fine, arg, "a topic's name has 1 to 255 bytes");
    return topic;
}

/* [-0, +3, raises] */
static int fail_topic(lua_State *L, wf_ws *ws)
{
    if (ws && ws->session.client)
        return luaL_error(L, "topics are the server's: a client connection has none");
    return wf_websocket_fail(L, ws);
}

static int ws_subscribe(lua_State *L)
{
    wf_ws *ws = wf_websocket_of(L);
    size_t n;
    const char *topic = check_topic(L, 2, &n);
    if (!ws || !ws->hub)
        return fail_topic(L, ws);
    if (wf_hub_subscribe(ws, topic, n) != WF_OK)
        return wf_fail(L, WF_NOMEM, NULL);
    lua_pushboolean(L, true);
    return 1;
}

static int ws_unsubscribe(lua_State *L)
{
    wf_ws *ws = wf_websocket_of(L);
    size_t n;
    const char *topic = check_topic(L, 2, &n);
    lua_pushboolean(L, ws && wf_hub_unsubscribe(ws, topic, n));
    return 1;
}

/* Arguments 2 to 4: topic, message, kind. [-0, +1|3, raises] */
static int publish(lua_State *L, wf_hub *hub, const wf_ws *except)
{
    size_t n, reached;
    const char *topic = check_topic(L, 2, &n);
    wf_message m;
    if (!wf_message_arg(L, 3, &m))
        return 3;
    enum wf_error e =
        wf_hub_publish(hub, topic, n, m.kind, m.data, m.len, except, &reached);
    if (e != WF_OK)
        return wf_fail(L, e, NULL);
    wf_send_now(hub->object.loop);
    lua_pushinteger(L, (lua_Integer)reached);
    return 1;
}

static int ws_publish(lua_State *L)
{
    wf_ws *ws = wf_websocket_of(L);
    if (!ws || !ws->hub)
        return fail_topic(L, ws);
    return publish(L, ws->hub, ws);
}

/* [-0, +0, raises] */
static wf_hub *hub_of(lua_State *L)
{
    wf_hub *hub = (wf_hub *)wf_handle_check(L)->object;
    if (!hub)
        luaL_error(L, "weft: the hub is closed");
    return hub;
}

static int hub_publish(lua_State *L)
{
    return publish(L, hub_of(L), NULL);
}

static int hub_count(lua_State *L)
{
    size_t n;
    const char *topic = check_topic(L, 2, &n);
    lua_pushinteger(L, (lua_Integer)wf_hub_count(hub_of(L), topic, n));
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
    lua_pushinteger(L, (lua_Integer)wf_hub_close(hub_of(L), code, reason, n));
    wf_send_now(hub_of(L)->object.loop);
    return 1;
}

static int l_hub(lua_State *L)
{
    wf_loop *loop = wf_state_loop(L);
    wf_handle *h = wf_handle_new(L, WF_CLASS_HUB, 0);
    wf_hub *hub = wf_hub_new(loop);
    if (!hub)
        return wf_fail(L, WF_NOMEM, NULL);
    wf_handle_fill(h, &hub->object);
    return 1;
}

static const luaL_Reg meta[] = { { "__gc", wf_handle_close }, { NULL, NULL } };

static const luaL_Reg methods[] = {
    { "publish", hub_publish },
    { "count", hub_count },
    { "connections", hub_connections },
    { "close", hub_close },
    { NULL, NULL },
};

static const luaL_Reg websocket_methods[] = {
    { "subscribe", ws_subscribe },
    { "unsubscribe", ws_unsubscribe },
    { "publish", ws_publish },
    { NULL, NULL },
};

static const luaL_Reg functions[] = { { "hub", l_hub }, { NULL, NULL } };

void wf_open_hub(lua_State *L, int module)
{
    wf_class_new(L, module, WF_CLASS_HUB, meta, methods);
    wf_class_add(L, module, WF_CLASS_WEBSOCKET, websocket_methods, 0);
    wf_set_functions(L, module, functions);
}
