/*
 * tls: see tls.h. The transport of a stream with TLS: plain bytes above, records below.
 *
 * What is to be sent stays in the stream's queue until the kernel has taken its record
 * whole, so a record that is refused in part is offered again from the same bytes
 * (OpenSSL keeps the rest of it), and nothing is lost or sent twice.
 */
#include <errno.h>
#include <openssl/err.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "io/tls_private.h"

#define RECORD 16384 /* bytes of the biggest (RFC 8446 5.1) */

static void tls_close(wf_stream *s);

static wf_tls *tls_of(const wf_stream *s)
{
    bool ours = s && s->transport->close == tls_close;
    return ours ? (wf_tls *)(uintptr_t)s->transport : NULL;
}

/* -- OpenSSL's way to the socket ------------------------------------------------ */

static int take_early(wf_tls *t, char *p, size_t n)
{
    n = WF_MIN(n, t->early.len);
    memcpy(p, t->early.data, n);
    wf_buffer_consume(&t->early, n);
    if (t->early.len == 0)
        wf_buffer_free(&t->early);
    return (int)n;
}

/* TLS below that did not read or write, as an errno. Its failure, or its end without a
 * word, is a connection that broke to what lies above, which tells a cut from an end
 * itself. */
static long refused_below(wf_tls *below, int result)
{
    int want = SSL_get_error(below->ssl, result);
    if (want == SSL_ERROR_WANT_READ || want == SSL_ERROR_WANT_WRITE)
        return -EAGAIN;
    ERR_clear_error();
    if (want == SSL_ERROR_ZERO_RETURN)
        return 0;
    return below->err ? -below->err : -ECONNRESET;
}

static long read_below(wf_tls *below, void *p, size_t n)
{
    size_t k;
    int result = SSL_read_ex(below->ssl, p, n, &k);
    return result == 1 ? (long)k : refused_below(below, result);
}

/* A socket that gave less than asked has no more now: that saves the call that would
 * say EAGAIN. One that never ends is left for others in between: records need not bring
 * anything, and OpenSSL would go on to the first that does. */
static long read_socket(wf_tls *t, void *p, size_t n)
{
    long k = t->dry ? -EAGAIN : wf_socket_transport.read(t->stream, p, n);
    t->read += k > 0 ? (size_t)k : 0;
    t->dry = k < (long)n || t->read >= WF_READ_BYTES;
    return k;
}

static int bio_read(BIO *bio, char *p, int n)
{
    wf_tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (t->early.len > 0)
        return take_early(t, p, (size_t)n);
    long k = t->below ? read_below(t->below, p, (size_t)n) : read_socket(t, p, (size_t)n);
    t->eof = k == 0;
    if (k >= 0)
        return (int)k;
    if (k == -EAGAIN || k == -EWOULDBLOCK)
        BIO_set_retry_read(bio);
    else
        t->err = (int)-k;
    return -1;
}

/* Bytes that the kernel took, or minus an errno. */
static long send_record(wf_tls *t, const char *p, size_t n)
{
    ssize_t k;
    if (t->full)
        return -EAGAIN;
    do
        k = send(t->stream->fd, p, n, MSG_NOSIGNAL | (t->follows ? MSG_MORE : 0));
    while (k < 0 && errno == EINTR);
    t->full = k < (ssize_t)n;
    return k < 0 ? -errno : k;
}

static long write_below(wf_tls *below, bool follows, const char *p, size_t n)
{
    size_t k;
    below->follows = follows;
    int result = SSL_write_ex(below->ssl, p, n, &k);
    long why = result == 1 ? (long)k : refused_below(below, result);
    return why == 0 ? -EPIPE : why;
}

/* Records that come one behind the other leave together. */
static int bio_write(BIO *bio, const char *p, int n)
{
    wf_tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    long k = t->below ? write_below(t->below, t->follows, p, (size_t)n)
                      : send_record(t, p, (size_t)n);
    if (k > 0)
        return (int)k;
    if (k == 0 || k == -EAGAIN || k == -EWOULDBLOCK)
        BIO_set_retry_write(bio);
    else
        t->err = (int)-k;
    return -1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *p)
{
    const wf_tls *t = BIO_get_data(bio);
    (void)number, (void)p;
    if (command == BIO_CTRL_EOF)
        return t->eof;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weft");
    if (!method)
        return;
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
}

static bool set_bio(wf_tls *t)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    /* records by the kernel need OpenSSL's own BIO, which knows the socket alone */
    t->own_bio = t->context->ktls && !t->below && t->early.len == 0;
    if (t->own_bio)
        return SSL_set_fd(t->ssl, t->stream->fd) == 1;
    pthread_once(&once, make_method);
    BIO *bio = method ? BIO_new(method) : NULL;
    if (!bio)
        return false;
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    return true;
}

/* -- the transport ---------------------------------------------------------------- */

static void prepare(wf_tls *t)
{
    for (; t; t = t->below) {
        t->dry = t->full = t->follows = false;
        t->read = 0;
        t->err = 0;
    }
    errno = 0;
    ERR_clear_error(); /* what others have left there */
}

/* Input that the kernel will not tell of. */
static bool has_more(const wf_tls *t)
{
    for (; t; t = t->below)
        if (SSL_has_pending(t->ssl) || t->early.len > 0)
            return true;
    return false;
}

/* What a call of OpenSSL that did not succeed means: -EAGAIN and *want, 0: the peer's
 * end, or the failure. */
static long judge(wf_tls *t, int result, int *want)
{
    int err = errno;
    *want = SSL_get_error(t->ssl, result);
    if (!t->own_bio)
        err = t->err;
    else if (*want != SSL_ERROR_SYSCALL)
        err = 0; /* an older call's */
    switch (*want) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        t->failure = ERR_peek_error();
        ERR_clear_error();
        if (err)
            return -err;
        if (!t->failure)
            t->failure = ERR_PACK(ERR_LIB_SSL, 0, SSL_R_UNEXPECTED_EOF_WHILE_READING);
        t->stream->err = (int)t->failure;
        return -WF_ETLS;
    }
}

/* Output waited for input (RFC 8446 4.6: messages behind the handshake). */
static void unstall(wf_stream *s)
{
    s->stalled = false;
    s->blocked = false;
    wf_stream_touch(s);
}

/* Nothing was read, and why. */
static long read_nothing(wf_stream *s, wf_tls *t, int result)
{
    int want;
    long k = judge(t, result, &want);
    if (want ==
        SSL_ERROR_WANT_WRITE) { /* an answer of OpenSSL's own has to leave first */
        s->more = true;
        wf_stream_await_write(s);
    }
    return k;
}

static long tls_read(wf_stream *s, void *p, size_t n)
{
    wf_tls *t = tls_of(s);
    size_t got = 0, k;
    if (!t->open) /* closing before it was decided: what comes is thrown away */
        return wf_socket_transport.read(s, p, n);
    if (t->failure) {
        s->err = (int)t->failure;
        return -WF_ETLS;
    }
    s->more = false;
    prepare(t);
    if (s->stalled)
        unstall(s);
    while (got < n) {
        int result = SSL_read_ex(t->ssl, (char *)p + got, n - got, &k);
        if (result == 1) {
            got += k;
            t->idle = 0;
            continue;
        }
        long why = read_nothing(s, t, result);
        if (got == 0)
            return why;
        if (why != -EAGAIN) /* told when it is read again */
            wf_stream_come_again(s);
        return (long)got;
    }
    if (has_more(t))
        wf_stream_come_again(s);
    return (long)got;
}

/* The next record's bytes, from `at` on: where they lie when they lie together, else
 * gathered. */
static const void *record_at(const struct iovec *iov, int n, size_t at,
                             uint8_t gathered[RECORD], size_t *len)
{
    int i = 0;
    while (i < n && at >= iov[i].iov_len)
        at -= iov[i++].iov_len;
    *len = 0;
    if (i == n)
        return NULL;
    size_t left = iov[i].iov_len - at;
    if (left >= RECORD || i == n - 1) {
        *len = WF_MIN(left, (size_t)RECORD);
        return (const char *)iov[i].iov_base + at;
    }
    for (; i < n && *len < RECORD; i++, at = 0) {
        size_t part = WF_MIN(iov[i].iov_len - at, RECORD - *len);
        memcpy(gathered + *len, (const char *)iov[i].iov_base + at, part);
        *len += part;
    }
    return gathered;
}

static long write_one_clear(wf_stream *s, wf_tls *t, const struct iovec *iov)
{
    if (!t->below)
        return wf_socket_transport.write(s, iov, 1);
    s->transport = &t->below->transport;
    long k = s->transport->write(s, iov, 1);
    s->transport = &t->transport;
    return k;
}

/* What was queued before this TLS leaves without it; what comes behind waits until it is
 * open. */
static long write_clear(wf_stream *s, wf_tls *t, const struct iovec *iov, int n)
{
    long taken = 0;
    for (int i = 0; i < n && t->clear > 0; i++) {
        struct iovec part = { iov[i].iov_base, WF_MIN(iov[i].iov_len, t->clear) };
        long k = write_one_clear(s, t, &part);
        if (k < 0)
            return k;
        t->clear -= (size_t)k;
        taken += k;
        if ((size_t)k < part.iov_len)
            return taken;
    }
    s->stalled = t->clear == 0;
    return taken;
}

static long tls_write(wf_stream *s, const struct iovec *iov, int n)
{
    wf_tls *t = tls_of(s);
    uint8_t gathered[RECORD];
    size_t taken = 0, total = 0, len, k;
    if (!t->open)
        return write_clear(s, t, iov, n);
    prepare(t);
    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    for (;;) {
        const void *p = record_at(iov, n, taken, gathered, &len);
        if (len == 0)
            return (long)taken;
        t->follows = taken + len < total;
        int result = SSL_write_ex(t->ssl, p, len, &k), want;
        if (result == 1) {
            taken += k;
            continue;
        }
        long why = judge(t, result, &want);
        s->stalled = want == SSL_ERROR_WANT_READ;
        return why == -EAGAIN ? (long)taken : why == 0 ? -EPIPE : why;
    }
}

/* RFC 8446 6.1: close_notify, so that the peer knows that this was all. False: it has to
 * wait. */
static bool say_goodbye(wf_tls *t)
{
    int want;
    if (!t->open || t->failure || t->ended)
        return true;
    prepare(t);
    int result = SSL_shutdown(t->ssl);
    if (result < 0 && judge(t, result, &want) == -EAGAIN && want == SSL_ERROR_WANT_WRITE)
        return false;
    t->ended = true;
    return true;
}

static bool tls_end(wf_stream *s, bool last)
{
    for (wf_tls *t = tls_of(s); t; t = t->below)
        if (!say_goodbye(t))
            return false;
    return wf_socket_transport.end(s, last);
}

static void free_tls(wf_tls *t)
{
    if (!t)
        return;
    free_tls(t->below);
    if (t->ssl && !t->failure) /* RFC 8446 4.6.1: its tickets stay good */
        SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(t->ssl);
    wf_buffer_free(&t->early);
    wf_tls_context_unref(t->context);
    free(t->name);
    free(t->shown);
    free(t->why);
    free(t);
}

static void tls_close(wf_stream *s)
{
    wf_socket_transport.close(s);
    free_tls(tls_of(s));
}

static const wf_transport encrypted = { tls_read, tls_write, tls_end, tls_close };

/* -- the handshake ------------------------------------------------------------------ */

static void decided(wf_stream *s)
{
    s->driver = &wf_raw_driver;
    wf_wake_now(&s->reader, WF_OK);
}

static void succeed(wf_stream *s, wf_tls *t)
{
    t->open = true;
    s->more = has_more(t);
    if (t->alone)
        wf_stream_set_timer(s, 0);
    unstall(s);
    decided(s);
}

static void fail(wf_stream *s, wf_tls *t, unsigned long failure)
{
    t->failed = true;
    if (t->alone || s->finish != WF_FINISH_NOT) {
        wf_stream_abort(s, t->ssl ? WF_TLS : WF_NOMEM);
        return;
    }
    t->why = t->ssl ? wf_tls_describe(t, failure) : NULL;
    wf_stream_watch_read(s, false);
    decided(s);
}

/* What was received ahead is TLS. */
static bool begin(wf_stream *s, wf_tls *t)
{
    if (t->clear > 0)
        wf_stream_flush(s);
    if (s->fd < 0 || t->clear > 0)
        return false;
    t->early = s->in;
    s->in = (wf_buffer){ 0 };
    s->searched = 0;
    if (wf_tls_ssl_new(t) && set_bio(t))
        return true;
    SSL_free(t->ssl);
    t->ssl = NULL;
    fail(s, t, 0);
    return false;
}

static void step(wf_stream *s, bool ready)
{
    wf_tls *t = tls_of(s);
    wf_loop *loop = s->object.loop;
    int want;
    (void)ready;
    if (loop->handshakes == 0) { /* others have their turn first */
        wf_loop_ready(&s->object);
        return;
    }
    if (!t->ssl && !begin(s, t))
        return;
    loop->handshakes--;
    prepare(t);
    int result = SSL_do_handshake(t->ssl);
    if (result == 1) {
        succeed(s, t);
        return;
    }
    long why = judge(t, result, &want);
    if (why != -EAGAIN) {
        if (!t->failure) /* RFC 8446 6.1: it went without a word, or said goodbye */
            s->err = (int)ERR_PACK(ERR_LIB_SSL, 0, SSL_R_UNEXPECTED_EOF_WHILE_READING);
        fail(s, t, t->failure);
    } else if (want == SSL_ERROR_WANT_WRITE)
        wf_stream_await_write(s);
    else
        wf_stream_watch_read(s, true);
}

/* Set where nobody waits: who does has a limit. */
static void handshake_timer(wf_stream *s)
{
    wf_stream_abort(s, WF_TIMEOUT);
}

static void handshake_gone(wf_stream *s)
{
    wf_wake(&s->reader, WF_OK);
    wf_wake(&s->writer, WF_OK);
}

static const wf_driver handshake_driver = { step,           handshake_timer,
                                            handshake_gone, NULL,
                                            NULL,           true };

/* A copy without the root's dot, which no certificate has. */
static char *copy_name(const char *name)
{
    size_t n = strlen(name);
    return strndup(name, n > 1 && name[n - 1] == '.' ? n - 1 : n);
}

enum wf_error wf_tls_start(wf_stream *s, wf_tls_context *context, const char *name)
{
    if (!wf_stream_can_send(s))
        return WF_CLOSED;
    wf_tls *below = tls_of(s);
    wf_tls *t = calloc(1, sizeof *t);
    if (t && name && !(t->name = copy_name(name))) {
        free(t);
        t = NULL;
    }
    if (!t)
        return WF_NOMEM;
    t->transport = encrypted;
    t->below = below;
    t->clear = s->out.bytes;
    t->stream = s;
    t->context = wf_tls_context_ref(context);
    s->transport = &t->transport;
    s->plain = false;
    s->driver = &handshake_driver;
    wf_stream_watch_read(s, false);
    wf_loop_ready(&s->object);
    return WF_OK;
}

enum wf_error wf_tls_begin(wf_stream *s, wf_tls_context *context, double timeout)
{
    enum wf_error e = wf_tls_start(s, context, NULL);
    if (e != WF_OK)
        return e;
    tls_of(s)->alone = true;
    wf_stream_set_timer(s, timeout);
    return WF_OK;
}

enum wf_error wf_tls_state(const wf_stream *s, const char **why)
{
    const wf_tls *t = tls_of(s);
    *why = t && t->why ? t->why : "TLS: no memory";
    if (!t)
        return WF_CLOSED;
    return t->failed ? WF_TLS : t->open ? WF_OK : WF_BUSY;
}

void wf_tls_drop(wf_stream *s)
{
    wf_tls *t = tls_of(s);
    if (!t)
        return;
    s->transport = &wf_socket_transport;
    s->driver = &wf_raw_driver;
    s->more = s->blocked = s->stalled = false;
    /* what was to leave was meant to be secret, and what came may have been smuggled in
     * before it; nor does anything else leave or come, though the script did not look */
    wf_outq_clear(&s->out, &s->object.loop->env.pool);
    wf_buffer_free(&s->in);
    s->error = WF_TLS;
    s->err = (int)t->failure;
    wf_wake(&s->writer, WF_OK);
    free_tls(t);
}

SSL *wf_tls_ssl(const wf_stream *s)
{
    const wf_tls *t = tls_of(s);
    return t && t->open && !t->proxy ? t->ssl : NULL;
}

bool wf_tls_fits(const wf_stream *s)
{
    const wf_tls *t = tls_of(s);
    return !t || (t->open && t->proxy);
}

void wf_tls_is_proxy(wf_stream *s)
{
    tls_of(s)->proxy = true;
}

bool wf_tls_resumed(const wf_stream *s)
{
    SSL *ssl = wf_tls_ssl(s);
    return ssl && SSL_session_reused(ssl);
}

bool wf_tls_in_kernel(const wf_stream *s, bool send)
{
    SSL *ssl = wf_tls_ssl(s);
    return ssl && (send ? BIO_get_ktls_send(SSL_get_wbio(ssl))
                        : BIO_get_ktls_recv(SSL_get_rbio(ssl)));
}
