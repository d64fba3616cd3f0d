/*
 * tls: TLS on a stream, by OpenSSL: the contexts that are compiled from options once
 * (tls_context.c), the transport and the handshake (tls.c), and what is told of a
 * failure (tls_text.c). A handshake is driven by the stream's own job, never by who
 * accepts.
 */
#ifndef WF_IO_TLS_H
#define WF_IO_TLS_H

#include "io/stream.h"

WF_HIDDEN_BEGIN

typedef enum wf_client_cert {
    WF_CLIENT_CERT_NONE,
    WF_CLIENT_CERT_REQUEST,
    WF_CLIENT_CERT_REQUIRE,
} wf_client_cert;

/* A file's name, or PEM text itself. */
typedef struct wf_tls_pair {
    const char *cert, *key;
} wf_tls_pair;

/* What a context is made from; nothing of it is kept. */
typedef struct wf_tls_config {
    bool server;
    bool verify; /* a client: the server's chain and name */
    bool resumption, ktls;
    wf_client_cert client_cert;
    const wf_tls_pair *pairs; /* a server's first one is for names that fit none */
    size_t npairs;
    const char *password;               /* of the keys, or NULL */
    const char *ca;                     /* file, directory or PEM; NULL: the system's */
    const char *ciphers, *ciphersuites; /* of TLS 1.2 and of 1.3; NULL: OpenSSL's */
    const uint8_t *alpn;                /* as on the wire (RFC 7301 3.1) */
    size_t alpn_len;
    int min_version, max_version; /* 12, 13; 0: no maximum */
} wf_tls_config;

typedef struct wf_tls_context wf_tls_context;

#define WF_TLS_WHY 512 /* room for a sentence */

/* One reference; NULL: why says so. */
wf_tls_context *wf_tls_context_new(const wf_tls_config *config, char why[WF_TLS_WHY]);
wf_tls_context *wf_tls_context_ref(wf_tls_context *context);
void wf_tls_context_unref(wf_tls_context *context);
bool wf_tls_context_is_server(const wf_tls_context *context);
/* The tickets that `from` has given out stay good with `to`. */
void wf_tls_context_inherit(wf_tls_context *to, const wf_tls_context *from);

/*
 * Starts TLS on a connected stream: what is queued leaves first, what was received and
 * not asked for is TLS already. name: the server's, a client's to check and to ask for
 * (a host name or an address; NULL: neither). The waiter in s->reader is woken when it
 * is decided. A stream with TLS gets one more, inside of it. WF_NOMEM, WF_CLOSED.
 */
enum wf_error wf_tls_start(wf_stream *s, wf_tls_context *context, const char *name);
/* The same for a stream that is used at once: what is sent waits, and a handshake that
 * fails or takes longer than that ends it. */
enum wf_error wf_tls_begin(wf_stream *s, wf_tls_context *context, double timeout);
/* The TLS that was just started is a proxy's: nobody is told of it, and the target's goes
 * inside. */
void wf_tls_is_proxy(wf_stream *s);
/* It has none yet but a proxy's. */
bool wf_tls_fits(const wf_stream *s);
/* WF_CLOSED: there is none. WF_BUSY: not decided yet. WF_OK: done. WF_TLS: *why is good
 * until the stream goes. */
enum wf_error wf_tls_state(const wf_stream *s, const char **why);
/* The handshake failed or is given up: the stream has failed with WF_TLS, fit to be
 * closed. */
void wf_tls_drop(wf_stream *s);
/* NULL: not a stream with TLS, or not yet. */
struct ssl_st *wf_tls_ssl(const wf_stream *s);
bool wf_tls_resumed(const wf_stream *s);
/* The kernel does the records, in that direction. */
bool wf_tls_in_kernel(const wf_stream *s, bool send);

/* A sentence for s->err of a stream that failed with WF_TLS. */
const char *wf_tls_error_text(int err);

WF_HIDDEN_END

#endif
