/*
 * http: heads read from a stream, and the class request. What to do with them is
 * decided in Lua (lua/weft/server.lua).
 */
#include "bind/http.h"

#include <string.h>
#include <strings.h>

#include "io/tls.h"

wf_request *wf_request_arg(lua_State *L, int arg)
{
    return wf_class_check(L, arg, WF_CLASS_REQUEST);
}

wf_request *wf_request_head(lua_State *L, int arg, wf_head *head)
{
    wf_request *r = wf_request_arg(L, arg);
    head->method = r->method;
    head->target = r->target;
    head->reason = r->reason;
    head->status = r->status;
    head->minor = r->minor;
    head->nfields = r->nfields;
    head->length = r->length;
    memcpy(head->fields, r->fields, r->nfields * sizeof *r->fields);
    return r;
}

/* False: a finalizer has closed the stream meanwhile. [-0, +1, m] */
static bool push_request(lua_State *L, const wf_head *head, const wf_stream *s)
{
    size_t fields = head->nfields * sizeof *head->fields;
    size_t size = sizeof(wf_request) + fields + head->length;
    wf_request *r = wf_class_push(L, WF_CLASS_REQUEST, size, 1);
    if (s->in.len < head->length)
        return false;
    r->peer = s->peer;
    r->method = head->method;
    r->target = head->target;
    r->reason = head->reason;
    r->status = head->status;
    r->length = head->length;
    r->protocol = 0;
    r->minor = head->minor & 0xf;
    r->secure = wf_tls_ssl(s) != NULL;
    r->nfields = head->nfields;
    memcpy(r->fields, head->fields, fields);
    memcpy(r->fields + r->nfields, s->in.data, head->length);
    return true;
}

/* -- fields of a request --------------------------------------------------------- */

void wf_request_push_span(lua_State *L, const wf_request *r, wf_span span)
{
    lua_pushlstring(L, wf_request_bytes(r) + span.at, span.len);
}

static bool same_name(const char *p, wf_span span, const char *name, size_t n)
{
    return span.len == n && strncasecmp(p + span.at, name, n) == 0;
}

/* A name in a list ends where the next element, or the line, begins. */
static size_t name_length(const char *p)
{
    return strcspn(p, ", \t\r\n");
}

void wf_request_push_protocol(lua_State *L, const wf_request *r)
{
    const char *p = wf_request_bytes(r) + r->protocol;
    if (r->protocol)
        lua_pushlstring(L, p, name_length(p));
    else
        lua_pushnil(L);
}

void wf_request_agree(wf_request *r, const char *protocol, size_t n)
{
    static const char field[] = "sec-websocket-protocol";
    const char *p = wf_request_bytes(r);
    for (int i = 0; i < r->nfields; i++) {
        wf_span v = r->fields[i].value;
        if (!same_name(p, r->fields[i].name, field, sizeof field - 1))
            continue;
        for (size_t at = v.at; at + n <= v.at + v.len; at += 1 + name_length(p + at))
            if (name_length(p + at) == n && memcmp(p + at, protocol, n) == 0)
                r->protocol = (uint16_t)at;
    }
}

/* The target is split at its '?'; absolute form (RFC 9112 3.2.2) loses its scheme, which
 * may have capitals (RFC 3986 3.1), and its authority. */
static void split_target(const wf_request *r, wf_span *path, wf_span *query)
{
    const char *p = wf_request_bytes(r);
    wf_span t = r->target;
    size_t scheme = t.len > 7 && strncasecmp(p + t.at, "http://", 7) == 0    ? 7
                    : t.len > 8 && strncasecmp(p + t.at, "https://", 8) == 0 ? 8
                                                                             : 0;
    if (scheme > 0) {
        size_t skip = scheme;
        while (skip < t.len && p[t.at + skip] != '/' && p[t.at + skip] != '?')
            skip++;
        t.at = (uint16_t)(t.at + skip);
        t.len = (uint16_t)(t.len - skip);
    }
    const char *mark = t.len ? memchr(p + t.at, '?', t.len) : NULL;
    *path = t;
    *query = (wf_span){ 0, 0 };
    if (mark) {
        path->len = (uint16_t)(mark - (p + t.at));
        *query = (wf_span){ (uint16_t)(mark + 1 - p), (uint16_t)(t.len - path->len - 1) };
    }
}

/* [-0, +1, m] */
static int push_path(lua_State *L, const wf_request *r)
{
    wf_span path, query;
    split_target(r, &path, &query);
    if (path.len == 0)
        lua_pushliteral(L, "/");
    else
        wf_request_push_span(L, r, path);
    return 1;
}

/* [-0, +1, m] */
static int push_query(lua_State *L, const wf_request *r)
{
    wf_span path, query;
    split_target(r, &path, &query);
    if (query.at == 0)
        lua_pushnil(L);
    else
        wf_request_push_span(L, r, query);
    return 1;
}

static void lower(luaL_Buffer *b, const char *p, size_t n)
{
    char *to = luaL_prepbuffsize(b, n);
    for (size_t i = 0; i < n; i++)
        to[i] = (char)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] + 32 : p[i]);
    luaL_addsize(b, n);
}

/* RFC 9110 5.3: fields of one name are one list. [-1 (the name), +1, m] adds to
 * the table below it */
static void add_field(lua_State *L, int table, const char *value, size_t n)
{
    lua_pushvalue(L, -1);
    if (lua_rawget(L, table) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_pushlstring(L, value, n);
    } else {
        lua_pushliteral(L, ", ");
        lua_pushlstring(L, value, n);
        lua_concat(L, 3);
    }
    lua_rawset(L, table);
}

/* [-0, +1, m] */
static int push_headers(lua_State *L, const wf_request *r)
{
    const char *p = wf_request_bytes(r);
    lua_createtable(L, 0, r->nfields);
    int table = lua_gettop(L);
    for (int i = 0; i < r->nfields; i++) {
        luaL_Buffer b;
        luaL_buffinit(L, &b);
        lower(&b, p + r->fields[i].name.at, r->fields[i].name.len);
        luaL_pushresult(&b);
        add_field(L, table, p + r->fields[i].value.at, r->fields[i].value.len);
    }
    return 1;
}

static int request_header(lua_State *L)
{
    wf_request *r = wf_request_arg(L, 1);
    size_t n;
    const char *name = luaL_checklstring(L, 2, &n), *p = wf_request_bytes(r);
    int found = 0;
    for (int i = 0; i < r->nfields; i++) {
        if (!same_name(p, r->fields[i].name, name, n))
            continue;
        if (found++)
            lua_pushliteral(L, ", ");
        wf_request_push_span(L, r, r->fields[i].value);
        if (found > 1)
            lua_concat(L, 3);
    }
    if (!found)
        lua_pushnil(L);
    return 1;
}

/* values(name) -> the value of each field of that name, for those that are no lists */
static int request_values(lua_State *L)
{
    wf_request *r = wf_request_arg(L, 1);
    size_t n;
    const char *name = luaL_checklstring(L, 2, &n), *p = wf_request_bytes(r);
    lua_Integer found = 0;
    lua_newtable(L);
    for (int i = 0; i < r->nfields; i++) {
        if (!same_name(p, r->fields[i].name, name, n))
            continue;
        wf_request_push_span(L, r, r->fields[i].value);
        lua_rawseti(L, -2, ++found);
    }
    return 1;
}

static int request_has_token(lua_State *L)
{
    wf_head head;
    const char *p = wf_request_bytes(wf_request_head(L, 1, &head));
    const char *name = luaL_checkstring(L, 2), *token = luaL_checkstring(L, 3);
    lua_pushboolean(L, wf_head_has_token(&head, p, name, token));
    return 1;
}

static int request_count(lua_State *L)
{
    wf_head head;
    const char *p = wf_request_bytes(wf_request_head(L, 1, &head));
    lua_pushinteger(L, wf_head_count(&head, p, luaL_checkstring(L, 2)));
    return 1;
}

/* [-0, +0|1, m] */
static int push_own(lua_State *L, const wf_request *r, const char *key)
{
    char ip[WF_IP_MAX];
    switch (key[0]) {
    case 'm':
        if (strcmp(key, "method") == 0)
            return wf_request_push_span(L, r, r->method), 1;
        break;
    case 'p':
        if (strcmp(key, "path") == 0)
            return push_path(L, r);
        break;
    case 'q':
        if (strcmp(key, "query") == 0)
            return push_query(L, r);
        break;
    case 't':
        if (strcmp(key, "target") == 0)
            return wf_request_push_span(L, r, r->target), 1;
        break;
    case 'v':
        if (strcmp(key, "version") == 0)
            return lua_pushstring(L, r->minor ? "1.1" : "1.0"), 1;
        break;
    case 's':
        if (strcmp(key, "status") == 0 && r->status)
            return lua_pushinteger(L, r->status), 1;
        if (strcmp(key, "secure") == 0)
            return lua_pushboolean(L, r->secure), 1;
        break;
    case 'r':
        if (strcmp(key, "remote") == 0) {
            wf_peer_text(&r->peer, ip);
            return lua_pushstring(L, ip), 1;
        }
        if (strcmp(key, "remote_port") == 0)
            return lua_pushinteger(L, r->peer.port), 1;
        if (strcmp(key, "reason") == 0 && r->status)
            return wf_request_push_span(L, r, r->reason), 1;
        break;
    }
    return 0;
}

/* The script's own table, made when first needed. [-0, +1, m] */
static void push_extra(lua_State *L)
{
    if (lua_getiuservalue(L, 1, 1) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, 1);
}

/* Tables that are made when they are first asked for: the headers; and the params of a
 * route that has none. [-0, +0|1, m] */
static bool push_table(lua_State *L, const wf_request *r, const char *key)
{
    bool headers = strcmp(key, "headers") == 0;
    if (!headers && (r->status || strcmp(key, "params") != 0))
        return false;
    push_extra(L);
    if (lua_getfield(L, -1, key) != LUA_TNIL)
        return true;
    if (headers)
        push_headers(L, r);
    else
        lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -4, key);
    return true;
}

static int request_index(lua_State *L)
{
    wf_request *r = wf_request_arg(L, 1);
    if (lua_type(L, 2) == LUA_TSTRING) {
        const char *key = lua_tostring(L, 2);
        if (push_own(L, r, key) || wf_class_method(L) || push_table(L, r, key))
            return 1;
    }
    if (lua_getiuservalue(L, 1, 1) != LUA_TTABLE)
        return lua_pushnil(L), 1;
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    return 1;
}

/* What the peer has sent, and the methods, would hide what is set. [-0, +0|1, m] */
static bool is_taken(lua_State *L, const wf_request *r)
{
    if (lua_type(L, 2) != LUA_TSTRING)
        return false;
    const char *key = lua_tostring(L, 2);
    return strcmp(key, "headers") == 0 || push_own(L, r, key) || wf_class_method(L);
}

static int request_newindex(lua_State *L)
{
    wf_request *r = wf_request_arg(L, 1);
    if (is_taken(L, r))
        return luaL_error(
            L, "a request's '%s' cannot be set; give your own thing another name",
            lua_tostring(L, 2));
    lua_settop(L, 3);
    push_extra(L);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_settable(L, -3);
    return 0;
}

static int request_tostring(lua_State *L)
{
    wf_request *r = wf_request_arg(L, 1);
    char ip[WF_IP_MAX];
    wf_peer_text(&r->peer, ip);
    if (r->status) {
        lua_pushfstring(L, "weft.request (response %d from %s)", (int)r->status, ip);
    } else {
        wf_request_push_span(L, r, r->method);
        wf_request_push_span(L, r, r->target);
        lua_pushfstring(L, "weft.request (%s %s from %s)", lua_tostring(L, -2),
                        lua_tostring(L, -1), ip);
    }
    return 1;
}

/* -- reading a head ---------------------------------------------------------------- */

/* [-0, +0, raises] */
static uint16_t check_limit(lua_State *L, int arg, uint16_t usual, int most,
                            const char *range)
{
    lua_Integer n = luaL_optinteger(L, arg, usual);
    luaL_argcheck(L, n > 0 && n <= most, arg, range);
    return (uint16_t)n;
}

/* [-0, +0, raises] */
static wf_head_limits check_limits(lua_State *L)
{
    const wf_head_limits *usual = &wf_head_default_limits;
    const int bytes = WF_HEAD_MAX_BYTES, fields = WF_HEAD_MAX_FIELDS;
    return (wf_head_limits){
        check_limit(L, 3, usual->max_line, bytes, "max_line: 1 to 65535 bytes"),
        check_limit(L, 4, usual->max_head, bytes, "max_head: 1 to 65535 bytes"),
        check_limit(L, 5, usual->max_fields, fields, "max_fields: 1 to 64"),
    };
}

/* Results pushed, or 0: more bytes are needed. [-0, +0|1|3|4, raises] */
static int parse_head(lua_State *L, wf_stream *s)
{
    wf_head_limits limits = check_limits(L);
    wf_head head;
    const char *why = "malformed", *p = (const char *)s->in.data;
    size_t len = s->in.len;
    bool response = lua_toboolean(L, 2);
    int n = response ? wf_head_parse_response(&head, p, len, &limits, &why)
                     : wf_head_parse_request(&head, p, len, &limits, &why);
    if (n > 0) {
        if (!push_request(L, &head, s))
            return wf_fail(L, WF_CLOSED, "closed");
        wf_stream_consume(s, (size_t)n);
        return 1;
    }
    if (n == 0)
        return 0;
    wf_fail(L, n == -414 || n == -431 ? WF_TOO_BIG : WF_PROTOCOL, "%s", why);
    lua_pushinteger(L, -n);
    return 4;
}

/* What a wait for a head waits for. */
enum { HEAD_AWAITED = 1, HEAD_BEGUN };

static int read_head_k(lua_State *L, int status, lua_KContext woken)
{
    (void)status;
    wf_stream *s = (wf_stream *)wf_object_arg(L, 1, WF_CLASS_STREAM);
    bool within = s && s->in.len > 0;
    if (woken && wf_woken(L) == WF_TIMEOUT)
        return wf_fail(L, WF_TIMEOUT, within ? "timeout within a head" : "timeout");
    int n = within ? parse_head(L, s) : 0;
    if (n > 0)
        return n;
    if (wf_stream_at_end(s) && within)
        return wf_fail(L, WF_PROTOCOL, "closed within a head");
    if (wf_stream_at_end(s))
        return wf_fail_stream(L, s, "receive");
    if (within && woken < HEAD_BEGUN && !lua_isnil(L, 7))
        wf_wait_begin(L, wf_opt_timeout(L, 7));
    else if (!woken)
        wf_wait_begin(L, wf_opt_timeout(L, 6));
    return wf_stream_wait_read(L, s, read_head_k, within ? HEAD_BEGUN : HEAD_AWAITED);
}

/*
 * read_head(stream, "request"|"response", max_line, max_head, max_fields, timeout,
 * head_timeout): timeout is for all of it, or until its first byte when there is a
 * head_timeout, which counts from there.
 */
static int l_read_head(lua_State *L)
{
    static const char *const kinds[] = { "request", "response", NULL };
    wf_stream *s = wf_stream_arg(L, 1);
    if (!s)
        return 3;
    bool response = luaL_checkoption(L, 2, "request", kinds);
    wf_opt_timeout(L, 6);
    wf_opt_timeout(L, 7);
    if (s->reader)
        return wf_fail_busy(L, "receive on this stream");
    lua_settop(L, 7);
    lua_pushboolean(L, response);
    lua_replace(L, 2);
    return read_head_k(L, LUA_OK, 0);
}

/* -- the class ---------------------------------------------------------------- */

static const luaL_Reg meta[] = {
    { "__index", request_index },
    { "__newindex", request_newindex },
    { "__tostring", request_tostring },
    { NULL, NULL },
};

static const luaL_Reg methods[] = {
    { "header", request_header },
    { "values", request_values },
    { "has_token", request_has_token },
    { "count", request_count },
    { NULL, NULL },
};

static const luaL_Reg functions[] = {
    { "read_head", l_read_head },
    { NULL, NULL },
};

void wf_open_http(lua_State *L, int module)
{
    wf_class_new(L, module, WF_CLASS_REQUEST, meta, methods);
    wf_set_functions(L, module, functions);
}
