/*
 * preface: who a client is when something in front of weft says so: the PROXY protocol at
 * the beginning of a stream, and addresses that trusted header fields named. Which of
 * them are to be believed is decided in Lua (lua/weft/behind.lua).
 */
#include "core/preface.h"

#include <string.h>

#include "bind/http.h"

/* The address of a version 1 line, of just that family. */
static bool read_text(const wf_preface *preface, const char *p, wf_peer *peer)
{
    char text[WF_PREFACE_MAX_V1];
    memcpy(text, p + preface->text.at, preface->text.len);
    text[preface->text.len] = '\0';
    int n = wf_ip_bytes(text, peer->ip);
    peer->family = n == 4 ? 4 : 6;
    return n > 0 && (preface->family == 6) == (strchr(text, ':') != NULL);
}

/* What it says becomes the stream's peer. False: malformed after all. */
static bool apply(wf_stream *s, const wf_preface *preface, const char *p)
{
    wf_peer peer = { .family = preface->family, .port = preface->port };
    if (preface->family == 0)
        return true;
    memcpy(peer.ip, preface->ip, sizeof peer.ip);
    if (preface->text.len > 0 && !read_text(preface, p, &peer))
        return false;
    if (peer.family == 6 && wf_ip_unmap(peer.ip) == 4)
        peer.family = 4;
    s->peer = peer;
    return true;
}

/* Its address ("unix:" for those of this machine, "" for one that is not known), and its
 * port. [-0, +2, m] */
static int push_peer(lua_State *L, const wf_peer *peer)
{
    char ip[WF_IP_MAX];
    wf_peer_text(peer, ip);
    lua_pushstring(L, ip);
    lua_pushinteger(L, peer->port);
    return 2;
}

/* Results pushed, or 0: more bytes are needed. [-0, +0|2|3, m] */
static int parse(lua_State *L, wf_stream *s)
{
    wf_preface preface;
    const char *why, *p = (const char *)s->in.data;
    long n = wf_preface_parse(&preface, p, s->in.len, &why);
    if (n < 0)
        return wf_fail(L, WF_PROTOCOL, "%s", why);
    if (n == 0)
        return 0;
    if (!apply(s, &preface, p))
        return wf_fail(L, WF_PROTOCOL, "a malformed address in the PROXY protocol");
    wf_stream_consume(s, (size_t)n);
    return push_peer(L, &s->peer);
}

static int read_k(lua_State *L, int status, lua_KContext woken)
{
    (void)status;
    wf_stream *s = (wf_stream *)wf_object_arg(L, 1, WF_CLASS_STREAM);
    if (woken && wf_woken(L) == WF_TIMEOUT)
        return wf_fail(L, WF_TIMEOUT, "timeout while waiting for the PROXY protocol");
    int n = s && s->in.len > 0 ? parse(L, s) : 0;
    if (n > 0)
        return n;
    if (wf_stream_at_end(s))
        return wf_fail_stream(L, s, "receive");
    if (!woken)
        wf_wait_begin(L, lua_isnoneornil(L, 2) ? s->timeout : wf_opt_timeout(L, 2));
    return wf_stream_wait_read(L, s, read_k, 1);
}

/* stream:receive_proxy([timeout]) -> ip, port | nil, message, code: takes the PROXY
 * protocol's header off the front; the peer is then whom it names. */
static int stream_receive_proxy(lua_State *L)
{
    wf_stream *s = wf_stream_arg(L, 1);
    if (!s)
        return 3;
    wf_opt_timeout(L, 2);
    if (s->reader)
        return wf_fail_busy(L, "receive on this stream");
    lua_settop(L, 2);
    return read_k(L, LUA_OK, 0);
}

/* peer(stream) -> its address and port */
static int l_peer(lua_State *L)
{
    const wf_stream *s = (wf_stream *)wf_object_arg(L, 1, WF_CLASS_STREAM);
    return push_peer(L, s ? &s->peer : &(wf_peer){ 0 });
}

/* set_remote(request, ip or nil, port, secure or nil): what a trusted proxy told of it */
static int l_set_remote(lua_State *L)
{
    wf_request *r = wf_request_arg(L, 1);
    const char *ip = luaL_optstring(L, 2, NULL);
    if (ip) {
        wf_peer peer = { .port = (uint16_t)luaL_optinteger(L, 3, 0) };
        peer.family = wf_ip_bytes(ip, peer.ip) == 4 ? 4 : 6;
        r->peer = peer;
    }
    if (!lua_isnoneornil(L, 4))
        r->secure = lua_toboolean(L, 4);
    return 0;
}

static const luaL_Reg functions[] = {
    { "peer", l_peer },
    { "set_remote", l_set_remote },
    { NULL, NULL },
};

static const luaL_Reg stream_methods[] = {
    { "receive_proxy", stream_receive_proxy },
    { NULL, NULL },
};

void wf_open_preface(lua_State *L, int module)
{
    wf_class_add(L, module, WF_CLASS_STREAM, stream_methods, 0);
    wf_set_functions(L, module, functions);
}
