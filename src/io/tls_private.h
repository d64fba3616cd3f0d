/*
 * tls_private: what tls.c, tls_context.c and tls_text.c share.
 */
#ifndef WF_IO_TLS_PRIVATE_H
#define WF_IO_TLS_PRIVATE_H

#include <openssl/ssl.h>

#include "io/tls.h"

WF_HIDDEN_BEGIN

/* A session that a client may resume; the newest first. */
typedef struct wf_tls_session {
    struct wf_tls_session *next;
    SSL_SESSION *session;
    char key[]; /* "host:port" */
} wf_tls_session;

struct wf_tls_context {
    uint32_t refs;
    bool server, verify, resumption, ktls;
    SSL_CTX **ctx; /* one per certificate; at least one */
    size_t n;
    uint8_t *alpn;
    size_t alpn_len;
    wf_tls_session *sessions;
    size_t nsessions;
};

typedef struct wf_tls {
    wf_transport transport; /* first: the stream points here */
    wf_stream *stream;
    struct wf_tls *below; /* TLS that this one goes through (to a proxy), or NULL */
    wf_tls_context *context;
    SSL *ssl;
    char *name;            /* the server's, as a client was given it, or NULL */
    char *why;             /* the handshake's failure */
    wf_buffer early;       /* received before TLS began */
    size_t clear;          /* bytes of output queued before it: they leave as they are */
    unsigned long failure; /* OpenSSL's code, once it has failed */
    int err;               /* errno of the socket, for OpenSSL to pass through */
    size_t read;           /* bytes, by the call of OpenSSL under way */
    unsigned idle;         /* messages of TLS's own since data came last */
    bool open, failed;     /* the handshake is done */
    bool alone;            /* nobody waits for it: a failure ends the stream */
    char *shown;    /* the names of a certificate that is for another host, or NULL */
    bool follows;   /* another record comes at once */
    bool own_bio;   /* OpenSSL's own, not ours */
    bool dry, full; /* the socket gave all it had, took all it could */
    bool eof;       /* its end has come */
    bool ended;     /* close_notify has left */
    bool proxy;     /* it ends at a proxy: the target's own may go through it */
} wf_tls;

/* An SSL of the context; NULL: no memory. */
SSL *wf_tls_ssl_new(wf_tls *tls);
/* OpenSSL's verify callback: notes what the message will need. */
int wf_tls_verified(int ok, X509_STORE_CTX *store);
/* Why the handshake has just failed: a sentence that names the host. NULL: no memory. */
char *wf_tls_describe(const wf_tls *tls, unsigned long failure);

WF_HIDDEN_END

#endif
