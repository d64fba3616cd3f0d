/*
 * tls: the class tls, a context compiled from an option table once; handshakes, which
 * the task that asks for one waits for; and what is told of a connection with TLS.
 * Options are checked in lua/weft/tls.lua.
 */
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "bind/stream.h"
#include "bind/websocket.h"
#include "io/tls.h"

typedef struct wf_tls_handle {
    const void *class;
    wf_tls_context *context;
} wf_tls_handle;

/* -- compiling ------------------------------------------------------------------ */

/* A field of the table, argument 2, that stays on the stack. [-0, +1, raises] */
static const char *text_field(lua_State *L, const char *name)
{
    lua_getfield(L, 2, name);
    return luaL_optstring(L, -1, NULL);
}

/* [-0, +0, raises] */
static bool flag_field(lua_State *L, const char *name)
{
    lua_getfield(L, 2, name);
    bool on = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return on;
}

/* [-0, +0, raises] */
static int number_field(lua_State *L, const char *name)
{
    lua_getfield(L, 2, name);
    int n = (int)luaL_optinteger(L, -1, 0);
    lua_pop(L, 1);
    return n;
}

/* pairs = { cert, key, cert, key ... }: into memory of the stack. [-0, +2, raises] */
static void read_pairs(lua_State *L, wf_tls_config *c)
{
    lua_getfield(L, 2, "pairs");
    int list = lua_gettop(L);
    size_t n = lua_istable(L, list) ? lua_rawlen(L, list) / 2 : 0;
    wf_tls_pair *pairs = lua_newuserdatauv(L, (n + 1) * sizeof *pairs, 0);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, list, (lua_Integer)(2 * i + 1));
        lua_rawgeti(L, list, (lua_Integer)(2 * i + 2));
        pairs[i] = (wf_tls_pair){ luaL_checkstring(L, -2), luaL_checkstring(L, -1) };
        lua_pop(L, 2); /* the list has them */
    }
    c->pairs = pairs;
    c->npairs = n;
}

/* What it points to is on the stack or in the table. [-0, +n, raises] */
static void read_config(lua_State *L, wf_tls_config *c)
{
    *c = (wf_tls_config){
        .server = lua_toboolean(L, 1),
        .verify = flag_field(L, "verify"),
        .resumption = flag_field(L, "resumption"),
        .ktls = flag_field(L, "ktls"),
        .client_cert = (wf_client_cert)number_field(L, "client_cert"),
        .min_version = number_field(L, "min_version"),
        .max_version = number_field(L, "max_version"),
    };
    c->password = text_field(L, "key_password");
    c->ca = text_field(L, "ca");
    c->ciphers = text_field(L, "ciphers");
    c->ciphersuites = text_field(L, "ciphersuites");
    c->alpn = (const uint8_t *)text_field(L, "alpn");
    c->alpn_len = c->alpn ? lua_rawlen(L, -1) : 0;
    read_pairs(L, c);
}

/* tls_context(server, options) -> context | nil, message, "tls" */
static int l_tls_context(lua_State *L)
{
    wf_tls_config config;
    char why[WF_TLS_WHY];
    luaL_checktype(L, 2, LUA_TTABLE);
    wf_state_loop(L);
    lua_settop(L, 2);
    wf_tls_handle *h = wf_class_push(L, WF_CLASS_TLS, sizeof *h, 0);
    read_config(L, &config);
    h->context = wf_tls_context_new(&config, why);
    if (!h->context)
        return wf_fail(L, WF_TLS, "%s", why);
    lua_pushvalue(L, 3);
    return 1;
}

/* tls_replace(context, newer): newer's place is the older one's from now on. */
static int l_tls_replace(lua_State *L)
{
    wf_tls_handle *h = wf_class_check(L, 1, WF_CLASS_TLS);
    const wf_tls_handle *newer = wf_class_check(L, 2, WF_CLASS_TLS);
    wf_tls_context *old = h->context;
    h->context = wf_tls_context_ref(newer->context);
    wf_tls_context_inherit(h->context, old);
    wf_tls_context_unref(old);
    return 0;
}

static int context_gc(lua_State *L)
{
    wf_tls_handle *h = wf_class_check(L, 1, WF_CLASS_TLS);
    wf_tls_context_unref(h->context);
    h->context = NULL;
    return 0;
}

/* -- the handshake ---------------------------------------------------------------- */

static int start_k(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    wf_stream *s = (wf_stream *)wf_object_arg(L, 1, WF_CLASS_STREAM);
    wf_task *t = wf_woken_task(L);
    if (s && (t->cancelling || t->waiter.reason == WF_TIMEOUT))
        wf_tls_drop(s);
    if (wf_woken(L) == WF_TIMEOUT)
        return wf_fail(L, WF_TIMEOUT, "timeout during the TLS handshake");
    const char *why;
    enum wf_error e = s ? wf_tls_state(s, &why) : WF_CLOSED;
    if (e == WF_BUSY)
        return wf_wait(L, &s->reader, start_k, 0);
    if (e == WF_CLOSED)
        return wf_fail_stream(L, s, "TLS");
    if (e == WF_TLS) {
        wf_fail(L, WF_TLS, "%s", why);
        wf_tls_drop(s);
        return 3;
    }
    lua_pushboolean(L, true);
    lua_pushboolean(L, wf_tls_resumed(s));
    return 2;
}

/* tls_start(stream, context, name, timeout, proxy) -> true, resumed | nil, message, code.
 * proxy: it ends there. */
static int l_tls_start(lua_State *L)
{
    wf_stream *s = wf_stream_arg(L, 1);
    if (!s)
        return 3;
    wf_tls_handle *h = wf_class_check(L, 2, WF_CLASS_TLS);
    const char *name = luaL_optstring(L, 3, NULL);
    double timeout = wf_opt_timeout(L, 4);
    luaL_argcheck(L, wf_tls_fits(s), 1, "this stream has TLS already");
    if (s->reader)
        return wf_fail_busy(L, "receive on this stream");
    wf_wait_begin(L, timeout);
    enum wf_error e = wf_tls_start(s, h->context, name);
    if (e != WF_OK)
        return e == WF_CLOSED ? wf_fail_stream(L, s, "TLS") : wf_fail(L, e, NULL);
    if (lua_toboolean(L, 5))
        wf_tls_is_proxy(s);
    return wf_wait(L, &s->reader, start_k, 0);
}

/* tls_fits(stream) -> whether tls_start can be called: it has no TLS of its own yet */
static int l_tls_fits(lua_State *L)
{
    const wf_stream *s = (wf_stream *)wf_object_arg(L, 1, WF_CLASS_STREAM);
    lua_pushboolean(L, !s || wf_tls_fits(s));
    return 1;
}

/* tls_begin(stream, context, timeout): a server's handshake that nobody waits for */
static int l_tls_begin(lua_State *L)
{
    wf_stream *s = wf_stream_arg(L, 1);
    if (!s)
        return 3;
    wf_tls_handle *h = wf_class_check(L, 2, WF_CLASS_TLS);
    enum wf_error e = wf_tls_begin(s, h->context, luaL_checknumber(L, 3));
    if (e != WF_OK)
        return wf_fail(L, e, NULL);
    lua_pushboolean(L, true);
    return 1;
}

/* -- what is told of a connection ------------------------------------------------- */

/* What was written to bio, which goes, as field `name` of the table on the top.
 * [-0, +0, m] */
static void set_bio_field(lua_State *L, BIO *bio, const char *name)
{
    char *p;
    long n = BIO_get_mem_data(bio, &p);
    lua_pushlstring(L, n > 0 ? p : "", n > 0 ? (size_t)n : 0);
    lua_setfield(L, -2, name);
    BIO_reset(bio);
}

/* [-0, +0, m] */
static void set_names(lua_State *L, X509 *cert, BIO *bio)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    int n = names ? sk_GENERAL_NAME_num(names) : 0;
    for (int i = 0; i < n; i++) {
        BIO_puts(bio, i ? ", " : "");
        GENERAL_NAME_print(bio, sk_GENERAL_NAME_value(names, i));
    }
    GENERAL_NAMES_free(names);
    set_bio_field(L, bio, "names");
}

/* [-0, +0, m] */
static void set_fingerprint(lua_State *L, const X509 *cert)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    char hex[2 * EVP_MAX_MD_SIZE + 1];
    unsigned n = 0;
    X509_digest(cert, EVP_sha256(), digest, &n);
    for (unsigned i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    lua_pushlstring(L, hex, 2 * (size_t)n);
    lua_setfield(L, -2, "fingerprint");
}

/* A table of the certificate, argument 1, by the BIO that is argument 2. */
static int push_certificate(lua_State *L)
{
    X509 *cert = lua_touserdata(L, 1);
    BIO *bio = lua_touserdata(L, 2);
    lua_createtable(L, 0, 7);
    X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0, XN_FLAG_RFC2253);
    set_bio_field(L, bio, "subject");
    X509_NAME_print_ex(bio, X509_get_issuer_name(cert), 0, XN_FLAG_RFC2253);
    set_bio_field(L, bio, "issuer");
    i2a_ASN1_INTEGER(bio, X509_get0_serialNumber(cert));
    set_bio_field(L, bio, "serial");
    ASN1_TIME_print(bio, X509_get0_notAfter(cert));
    set_bio_field(L, bio, "not_after");
    set_names(L, cert, bio);
    set_fingerprint(L, cert);
    PEM_write_bio_X509(bio, cert);
    set_bio_field(L, bio, "pem");
    return 1;
}

/* The certificate as the field `peer`; none: nothing. Lua's errors must not keep the
 * BIO. [-0, +0, m] */
static void set_peer(lua_State *L, const SSL *ssl)
{
    X509 *cert = SSL_get0_peer_certificate(ssl);
    BIO *bio = cert ? BIO_new(BIO_s_mem()) : NULL;
    if (!bio)
        return;
    lua_pushcfunction(L, push_certificate);
    lua_pushlightuserdata(L, cert);
    lua_pushlightuserdata(L, bio);
    int status = lua_pcall(L, 2, 1, 0);
    BIO_free(bio);
    if (status != LUA_OK)
        lua_error(L);
    lua_setfield(L, -2, "peer");
}

/* [-0, +0, m] */
static void set_text(lua_State *L, const char *name, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
}

/* [-0, +0, m] */
static void set_flag(lua_State *L, const char *name, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

/* The stream of argument 1, a stream or a websocket; NULL: none. [-0, +0, raises] */
static wf_stream *stream_below(lua_State *L)
{
    if (wf_class_test(L, 1, WF_CLASS_WEBSOCKET)) {
        const wf_ws *ws = (wf_ws *)wf_object_arg(L, 1, WF_CLASS_WEBSOCKET);
        return ws && !ws->ended ? ws->stream : NULL;
    }
    return (wf_stream *)wf_object_arg(L, 1, WF_CLASS_STREAM);
}

/* What tls_info tells of: by its own reference, for a finalizer may close the stream. */
typedef struct wf_tls_facts {
    SSL *ssl;
    bool resumed, sends, receives;
} wf_tls_facts;

/* In protected mode: the table. */
static int push_facts(lua_State *L)
{
    const wf_tls_facts *f = lua_touserdata(L, 1);
    const unsigned char *alpn = NULL;
    unsigned alpn_len = 0;
    lua_createtable(L, 0, 8);
    set_text(L, "version", SSL_get_version(f->ssl));
    set_text(L, "cipher", SSL_get_cipher_name(f->ssl));
    set_text(L, "server_name", SSL_get_servername(f->ssl, TLSEXT_NAMETYPE_host_name));
    SSL_get0_alpn_selected(f->ssl, &alpn, &alpn_len);
    if (alpn_len > 0) {
        lua_pushlstring(L, (const char *)alpn, alpn_len);
        lua_setfield(L, -2, "alpn");
    }
    set_flag(L, "resumed", f->resumed);
    set_flag(L, "verified",
             SSL_get_verify_mode(f->ssl) != SSL_VERIFY_NONE &&
                 SSL_get0_peer_certificate(f->ssl) &&
                 SSL_get_verify_result(f->ssl) == X509_V_OK);
    set_flag(L, "ktls_send", f->sends);
    set_flag(L, "ktls_receive", f->receives);
    set_peer(L, f->ssl);
    return 1;
}

/* tls_info(stream or websocket) -> table | nil */
static int l_tls_info(lua_State *L)
{
    wf_stream *s = stream_below(L);
    wf_tls_facts facts = { wf_tls_ssl(s), wf_tls_resumed(s), wf_tls_in_kernel(s, true),
                           wf_tls_in_kernel(s, false) };
    if (!facts.ssl)
        return lua_pushnil(L), 1;
    SSL_up_ref(facts.ssl);
    lua_pushcfunction(L, push_facts);
    lua_pushlightuserdata(L, &facts);
    int status = lua_pcall(L, 1, 1, 0);
    SSL_free(facts.ssl);
    return status == LUA_OK ? 1 : lua_error(L);
}

/* -- the class --------------------------------------------------------------------- */

static const luaL_Reg meta[] = { { "__gc", context_gc }, { NULL, NULL } };
static const luaL_Reg no_methods[] = { { NULL, NULL } };
static const luaL_Reg functions[] = {
    { "tls_context", l_tls_context },
    { "tls_replace", l_tls_replace },
    { "tls_start", l_tls_start },
    { "tls_begin", l_tls_begin },
    { "tls_fits", l_tls_fits },
    { "tls_info", l_tls_info },
    { NULL, NULL },
};

void wf_open_tls(lua_State *L, int module)
{
    wf_class_new(L, module, WF_CLASS_TLS, meta, no_methods);
    wf_set_functions(L, module, functions);
}
