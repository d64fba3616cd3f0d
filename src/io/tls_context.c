/*
 * tls_context: see tls.h. Certificates, names, ALPN, sessions. OpenSSL's own defaults
 * stand where an option is not given.
 */
#include "io/tls_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_SESSIONS 256 /* that a client keeps per context */
#define MAX_IDLE 32      /* messages of TLS's own in a row, behind the handshake */
#define TICKET_KEYS 80   /* bytes; OpenSSL has them as one block */

static const unsigned char session_context[] = "weft";

/* -- PEM -------------------------------------------------------------------- */

static bool is_pem(const char *text)
{
    return strstr(text, "-----BEGIN ") != NULL;
}

/* How a source is called in messages. */
static const char *called(const char *source)
{
    return is_pem(source) ? "(PEM text)" : source;
}

static BIO *open_pem(const char *source, const char *what, char *why)
{
    errno = 0;
    BIO *bio = is_pem(source) ? BIO_new_mem_buf(source, -1) : BIO_new_file(source, "r");
    if (!bio)
        snprintf(why, WF_TLS_WHY, "cannot read the %s '%s': %s", what, called(source),
                 errno ? strerror(errno) : "no memory");
    return bio;
}

static const char *openssl_says(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    return text ? text : "no reason given";
}

/* The certificate and the chain behind it, of one source. */
static bool use_chain(SSL_CTX *ctx, const char *source, char *why)
{
    BIO *bio = open_pem(source, "certificate", why);
    if (!bio)
        return false;
    X509 *cert = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);
    bool ok = cert && SSL_CTX_use_certificate(ctx, cert) == 1;
    if (!ok)
        snprintf(why, WF_TLS_WHY, "no usable certificate in '%s': %s", called(source),
                 openssl_says());
    X509_free(cert);
    while (ok && (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)))
        if (SSL_CTX_add0_chain_cert(ctx, cert) != 1)
            X509_free(cert);
    BIO_free(bio);
    ERR_clear_error();
    return ok;
}

/* Never OpenSSL's own, which would ask at the terminal. */
static int give_password(char *buffer, int size, int writing, void *password)
{
    (void)writing;
    size_t n = password ? strlen(password) : 0;
    if (n == 0 || n > (size_t)size)
        return 0;
    memcpy(buffer, password, n);
    return (int)n;
}

static bool use_key(SSL_CTX *ctx, const wf_tls_pair *pair, const char *password,
                    char *why)
{
    const char *source = pair->key;
    BIO *bio = open_pem(source, "key", why);
    if (!bio)
        return false;
    void *word = (void *)(uintptr_t)password;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, give_password, word);
    BIO_free(bio);
    if (!key)
        snprintf(why, WF_TLS_WHY, "no usable key in '%s'%s: %s", called(source),
                 password ? " with this key_password" : " (key_password is not set)",
                 openssl_says());
    bool fits = key && SSL_CTX_use_PrivateKey(ctx, key) == 1 &&
                SSL_CTX_check_private_key(ctx) == 1;
    if (key && !fits)
        snprintf(why, WF_TLS_WHY, "the key '%s' does not fit the certificate '%s'",
                 called(source), called(pair->cert));
    EVP_PKEY_free(key);
    ERR_clear_error();
    return fits;
}

/* -- whom to trust ------------------------------------------------------------ */

static bool trust_pem(SSL_CTX *ctx, const char *source, char *why)
{
    BIO *bio = open_pem(source, "CA", why);
    if (!bio)
        return false;
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    size_t n = 0;
    for (X509 *cert; (cert = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL)); n++) {
        X509_STORE_add_cert(store, cert);
        if (SSL_CTX_add_client_CA(ctx, cert) != 1)
            n = 0;
        X509_free(cert);
    }
    BIO_free(bio);
    if (n == 0)
        snprintf(why, WF_TLS_WHY, "no CA certificate in '%s'", called(source));
    ERR_clear_error();
    return n > 0;
}

static bool trust_directory(SSL_CTX *ctx, const char *path, char *why)
{
    if (SSL_CTX_load_verify_dir(ctx, path) == 1)
        return true;
    snprintf(why, WF_TLS_WHY, "cannot use the CA directory '%s': %s", path,
             openssl_says());
    return false;
}

static bool trust(SSL_CTX *ctx, const char *ca, char *why)
{
    struct stat st;
    if (!ca && SSL_CTX_set_default_verify_paths(ctx) == 1)
        return true;
    if (!ca) {
        snprintf(why, WF_TLS_WHY, "no system store of CAs: %s", openssl_says());
        return false;
    }
    bool directory = !is_pem(ca) && stat(ca, &st) == 0 && S_ISDIR(st.st_mode);
    return directory ? trust_directory(ctx, ca, why) : trust_pem(ctx, ca, why);
}

static bool set_verification(SSL_CTX *ctx, const wf_tls_config *c, char *why)
{
    int mode = SSL_VERIFY_NONE;
    if (c->server ? c->client_cert != WF_CLIENT_CERT_NONE : c->verify)
        mode = SSL_VERIFY_PEER;
    if (c->server && c->client_cert == WF_CLIENT_CERT_REQUIRE)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ctx, mode, wf_tls_verified);
    return mode == SSL_VERIFY_NONE || trust(ctx, c->ca, why);
}

/* -- a server's choices --------------------------------------------------------- */

/* RFC 7301 3.2: ours is the order of preference; nothing in common is fatal. */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen,
                       const unsigned char *in, unsigned inlen, void *arg)
{
    const wf_tls_context *context = arg;
    unsigned char *chosen;
    (void)ssl;
    int k = SSL_select_next_proto(&chosen, outlen, context->alpn,
                                  (unsigned)context->alpn_len, in, inlen);
    *out = chosen;
    return k == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static SSL_CTX *find_certificate(const wf_tls_context *context, const char *name,
                                 unsigned flags)
{
    for (size_t i = 0; i < context->n; i++) {
        X509 *cert = SSL_CTX_get0_certificate(context->ctx[i]);
        if (X509_check_host(cert, name, 0, flags, NULL) == 1)
            return context->ctx[i];
    }
    return NULL;
}

/* RFC 6066 3: the certificate for the name; an exact one before a wildcard's, and the
 * first where none fits. */
static int choose_certificate(SSL *ssl, int *alert, void *arg)
{
    const wf_tls_context *context = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    (void)alert;
    if (!name)
        return SSL_TLSEXT_ERR_NOACK;
    SSL_CTX *ctx = find_certificate(context, name, X509_CHECK_FLAG_NO_WILDCARDS);
    if (!ctx)
        ctx = find_certificate(context, name, 0);
    if (ctx && ctx != SSL_get_SSL_CTX(ssl))
        SSL_set_SSL_CTX(ssl, ctx);
    return ctx ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

/* -- a client's sessions --------------------------------------------------------- */

static void free_session(wf_tls_session *session)
{
    SSL_SESSION_free(session->session);
    free(session);
}

/* Takes out what is kept for the key, or NULL. */
static wf_tls_session *take_session(wf_tls_context *context, const char *key)
{
    for (wf_tls_session **at = &context->sessions; *at; at = &(*at)->next) {
        wf_tls_session *found = *at;
        if (strcmp(found->key, key) == 0) {
            *at = found->next;
            context->nsessions--;
            return found;
        }
    }
    return NULL;
}

static void put_session(wf_tls_context *context, wf_tls_session *session)
{
    session->next = context->sessions;
    context->sessions = session;
    if (++context->nsessions <= MAX_SESSIONS)
        return;
    wf_tls_session **at = &context->sessions;
    while ((*at)->next)
        at = &(*at)->next;
    free_session(*at);
    *at = NULL;
    context->nsessions--;
}

static void session_key(const wf_tls *tls, char *key, size_t size)
{
    snprintf(key, size, "%s:%d", tls->name, (int)tls->stream->peer.port);
}

/* The newest ticket of a server is the one to come back with. 1: it is ours now. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    const wf_tls *tls = SSL_get_app_data(ssl);
    char key[300];
    if (!tls || !tls->name || !SSL_SESSION_is_resumable(session))
        return 0;
    session_key(tls, key, sizeof key);
    wf_tls_session *old = take_session(tls->context, key);
    if (old)
        free_session(old);
    wf_tls_session *kept = malloc(sizeof *kept + strlen(key) + 1);
    if (!kept)
        return 0;
    kept->session = session;
    strcpy(kept->key, key);
    put_session(tls->context, kept);
    return 1;
}

static void resume(wf_tls *tls)
{
    char key[300];
    session_key(tls, key, sizeof key);
    wf_tls_session *kept = take_session(tls->context, key);
    if (!kept)
        return;
    if (SSL_SESSION_is_resumable(kept->session)) {
        SSL_set_session(tls->ssl, kept->session);
        put_session(tls->context, kept);
    } else {
        free_session(kept);
    }
}

/* -- contexts ------------------------------------------------------------------- */

static int version_number(int version)
{
    return version == 0 ? 0 : version >= 13 ? TLS1_3_VERSION : TLS1_2_VERSION;
}

static void set_sessions(SSL_CTX *ctx, const wf_tls_config *c)
{
    if (!c->resumption) {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(ctx, 0);
    } else if (c->server) {
        SSL_CTX_set_session_id_context(ctx, session_context, sizeof session_context);
    } else {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT |
                                                SSL_SESS_CACHE_NO_INTERNAL_STORE);
        SSL_CTX_sess_set_new_cb(ctx, keep_session);
    }
}

static void set_options(SSL_CTX *ctx, const wf_tls_config *c)
{
    /* RFC 9325 3.5: no renegotiation. 3.3: no compression. */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_PRIORITIZE_CHACHA);
    /* idle connections have no buffers; a record's bytes are gathered anew to try
     * again, and one record at a time leaves */
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 1); /* one recv for a record, not two */
#ifdef SSL_OP_ENABLE_KTLS
    if (c->ktls)
        SSL_CTX_set_options(ctx, SSL_OP_ENABLE_KTLS);
#endif
    set_sessions(ctx, c);
}

static bool set_ciphers(SSL_CTX *ctx, const wf_tls_config *c, char *why)
{
    bool old = !c->ciphers || SSL_CTX_set_cipher_list(ctx, c->ciphers) == 1;
    bool new = !c->ciphersuites || SSL_CTX_set_ciphersuites(ctx, c->ciphersuites) == 1;
    if (!old)
        snprintf(why, WF_TLS_WHY, "no cipher of '%s' is known", c->ciphers);
    else if (!new)
        snprintf(why, WF_TLS_WHY, "no cipher suite of '%s' is known", c->ciphersuites);
    return old && new;
}

static bool set_up(SSL_CTX *ctx, const wf_tls_config *c, const wf_tls_pair *pair,
                   char *why)
{
    set_options(ctx, c);
    SSL_CTX_set_min_proto_version(ctx, version_number(c->min_version));
    SSL_CTX_set_max_proto_version(ctx, version_number(c->max_version));
    if (pair &&
        !(use_chain(ctx, pair->cert, why) && use_key(ctx, pair, c->password, why)))
        return false;
    return set_ciphers(ctx, c, why) && set_verification(ctx, c, why);
}

static bool add_ctx(wf_tls_context *context, const wf_tls_config *c,
                    const wf_tls_pair *pair, char *why)
{
    SSL_CTX *ctx = SSL_CTX_new(c->server ? TLS_server_method() : TLS_client_method());
    if (!ctx)
        return false;
    context->ctx[context->n++] = ctx;
    if (c->server && c->alpn_len > 0)
        SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, context);
    if (c->server && c->npairs > 1) {
        SSL_CTX_set_tlsext_servername_callback(ctx, choose_certificate);
        SSL_CTX_set_tlsext_servername_arg(ctx, context);
    }
    return set_up(ctx, c, pair, why);
}

static bool fill(wf_tls_context *context, const wf_tls_config *c, char *why)
{
    size_t n = WF_MAX(c->npairs, (size_t)1);
    context->ctx = calloc(n, sizeof(SSL_CTX *));
    context->alpn = c->alpn_len > 0 ? malloc(c->alpn_len) : NULL;
    if (!context->ctx || (c->alpn_len > 0 && !context->alpn))
        return false;
    if (c->alpn_len > 0)
        memcpy(context->alpn, c->alpn, c->alpn_len);
    context->alpn_len = c->alpn_len;
    for (size_t i = 0; i < n; i++)
        if (!add_ctx(context, c, c->npairs > 0 ? &c->pairs[i] : NULL, why))
            return false;
    return true;
}

/* OpenSSL's own socket BIO, which the kernel's TLS needs, writes without MSG_NOSIGNAL. */
static void ignore_sigpipe(void)
{
    struct sigaction action;
    if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
}

wf_tls_context *wf_tls_context_new(const wf_tls_config *c, char why[WF_TLS_WHY])
{
    wf_tls_context *context = calloc(1, sizeof *context);
    strcpy(why, "no memory");
    if (!context)
        return NULL;
    context->refs = 1;
    context->server = c->server;
    context->verify = c->verify;
    context->resumption = c->resumption;
    context->ktls = c->ktls;
    ERR_clear_error();
    if (!fill(context, c, why)) {
        wf_tls_context_unref(context);
        return NULL;
    }
    if (c->ktls)
        ignore_sigpipe();
    return context;
}

wf_tls_context *wf_tls_context_ref(wf_tls_context *context)
{
    context->refs++;
    return context;
}

void wf_tls_context_unref(wf_tls_context *context)
{
    if (!context || --context->refs > 0)
        return;
    while (context->sessions) {
        wf_tls_session *first = context->sessions;
        context->sessions = first->next;
        free_session(first);
    }
    for (size_t i = 0; i < context->n; i++)
        SSL_CTX_free(context->ctx[i]);
    free(context->ctx);
    free(context->alpn);
    free(context);
}

bool wf_tls_context_is_server(const wf_tls_context *context)
{
    return context->server;
}

void wf_tls_context_inherit(wf_tls_context *to, const wf_tls_context *from)
{
    unsigned char keys[TICKET_KEYS];
    if (SSL_CTX_get_tlsext_ticket_keys(from->ctx[0], keys, sizeof keys) == 1)
        SSL_CTX_set_tlsext_ticket_keys(to->ctx[0], keys, sizeof keys);
    OPENSSL_cleanse(keys, sizeof keys);
}

/* -- an SSL ------------------------------------------------------------------------ */

static bool is_address(const char *name)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

/* SSL_set_tlsext_host_name, whose cast drops the const. */
static long set_server_name(SSL *ssl, const char *name)
{
    return SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                    (void *)(uintptr_t)name);
}

/* RFC 6066 3: a name is asked for, an address is not. RFC 9525 6.3: a wildcard stands
 * for one whole label. */
static bool expect_name(SSL *ssl, const wf_tls *tls)
{
    const char *name = tls->name;
    bool address = is_address(name);
    if (!address && set_server_name(ssl, name) != 1)
        return false;
    if (!tls->context->verify)
        return true;
    if (address)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, name) == 1;
}

static bool prepare_client(wf_tls *tls)
{
    const wf_tls_context *context = tls->context;
    SSL_set_connect_state(tls->ssl);
    if (context->alpn_len > 0 &&
        SSL_set_alpn_protos(tls->ssl, context->alpn, (unsigned)context->alpn_len) != 0)
        return false;
    if (tls->name && !expect_name(tls->ssl, tls))
        return false;
    if (tls->name && context->resumption)
        resume(tls);
    return true;
}

/* RFC 8446 4.6: what may come behind the handshake, new keys above all, is dear. Nobody
 * needs many of them without data in between, but for keeping others waiting. */
static void count_message(int sent, int version, int type, const void *p, size_t n,
                          SSL *ssl, void *arg)
{
    wf_tls *tls = SSL_get_app_data(ssl);
    (void)version, (void)p, (void)n, (void)arg;
    if (sent || type != SSL3_RT_HANDSHAKE || !tls->open || ++tls->idle <= MAX_IDLE)
        return;
    ERR_raise(ERR_LIB_SSL, SSL_R_TOO_MANY_KEY_UPDATES);
    SSL_set_shutdown(ssl, SSL_get_shutdown(ssl) | SSL_RECEIVED_SHUTDOWN);
}

SSL *wf_tls_ssl_new(wf_tls *tls)
{
    tls->ssl = SSL_new(tls->context->ctx[0]);
    if (!tls->ssl)
        return NULL;
    SSL_set_app_data(tls->ssl, tls);
    SSL_set_msg_callback(tls->ssl, count_message);
    if (tls->context->server)
        SSL_set_accept_state(tls->ssl);
    else if (!prepare_client(tls))
        return NULL;
    return tls->ssl;
}
