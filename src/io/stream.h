/*
 * stream: a connected socket (or another readable descriptor): watchers, output
 * queue, closing in good order. What the bytes mean is its driver's business:
 * raw (below) for plain streams, ws.c for WebSocket connections.
 */
#ifndef WF_IO_STREAM_H
#define WF_IO_STREAM_H

#include "io/address.h"
#include "io/batch.h"
#include "io/loop.h"

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* BSDs: SO_NOSIGPIPE, set when the socket is made */
#endif
#ifndef MSG_MORE
#define MSG_MORE 0 /* Linux: what is sent leaves with what follows, our end perhaps */
#endif

WF_HIDDEN_BEGIN

typedef struct wf_stream wf_stream;

typedef struct wf_driver {
    /* The socket has bytes, its end, or an error (ready); or the driver queued
     * the stream's job itself, to go on with what it had kept. */
    void (*readable)(wf_stream *s, bool ready);
    /* Its timer ran out. */
    void (*timer)(wf_stream *s);
    /* The descriptor is closed; s->error says why. The stream is about to die
     * unless it has a handle. */
    void (*gone)(wf_stream *s);
    /* Its output has drained to the low mark, and it is hungry. */
    void (*drained)(wf_stream *s);
    /* The peer takes nothing more, but what it said before is still read: the stream
     * goes with its end. NULL: it goes at once. */
    void (*muted)(wf_stream *s);
    /* It opens the transport, and goes on with that also for a stream that finishes. */
    bool opens;
} wf_driver;

/*
 * The way of the bytes between a stream and the kernel: transport.c, tls.c. A failure is
 * minus an errno, or minus WF_ETLS with OpenSSL's code in s->err.
 */
typedef struct wf_transport {
    /* As recv(2): 0 is the peer's end, -EAGAIN nothing now. What it keeps when p is full
     * it tells by wf_stream_come_again, for the kernel will not. */
    long (*read)(wf_stream *s, void *p, size_t n);
    /* How many bytes the kernel took: all, or as many as it would. */
    long (*write)(wf_stream *s, const struct iovec *iov, int n);
    /* We send no more (last: nor receive, the descriptor is about to be closed). False:
     * that has to wait for EV_WRITE, ask again. */
    bool (*end)(wf_stream *s, bool last);
    /* Closes the descriptor, and lets go of what is the transport's own. */
    void (*close)(wf_stream *s);
} wf_transport;

extern const wf_transport wf_socket_transport, wf_file_transport;

#define WF_ETLS 4096 /* beside the errnos, which are below that */

/* How a stream goes once its output has left. */
typedef enum wf_finish {
    WF_FINISH_NOT,
    WF_FINISH_CLOSE,  /* close at once */
    WF_FINISH_LINGER, /* say so first and discard what still comes, so that no
                         reset overtakes our last words */
    WF_FINISH_AWAIT,  /* the peer is to close first (RFC 6455 7.1.1) */
} wf_finish;

struct wf_stream {
    wf_object object;
    const wf_driver *driver;
    const wf_transport *transport;
    void *upper; /* the driver's */
    wf_stream *next_dirty;
    ev_io io;
    wf_timer timer;
    int fd; /* -1: gone */
    wf_peer peer;
    int err;        /* errno of a failure (WF_TLS: OpenSSL's code), 0: none */
    uint8_t events; /* what libev reported, for the pump */
    uint8_t ahead;  /* 1 + the place of what was received ahead; 0: nothing */
    bool chatty;    /* the driver takes bytes received ahead: they are few */
    bool plain;     /* connected, no TLS: bytes may go in batches (turn.c) */
    bool more;      /* the transport keeps input that the kernel does not tell of */
    bool dirty;     /* on the loop's list */
    bool blocked;   /* the kernel took no more: EV_WRITE tells */
    bool connecting;
    bool eof;              /* the peer sends no more */
    bool half_closed : 1;  /* we send no more */
    bool half_closing : 1; /* ... as soon as the output has left */
    bool stepwise : 1;     /* its timeout is of each wait, not of each operation */
    bool hungry : 1;       /* the driver keeps output back until there is room */
    bool resuming : 1;   /* the writer was woken and goes on next: nobody gets between */
    bool stalled : 1;    /* blocked until the transport has received something */
    bool mute : 1;       /* see wf_driver.muted */
    bool resting : 1;    /* its reader gives way: it goes on in the next turn */
    uint8_t finish;      /* wf_finish */
    uint8_t in_a_row;    /* receives that did not wait */
    enum wf_error error; /* why the descriptor is gone */
    uint32_t searched;   /* bytes of `in` that have no line's end */
    wf_outq out;
    wf_buffer in; /* received, not yet asked for */
    wf_waiter *reader, *writer;
    union {
        double timeout;  /* of each operation (settimeout); INFINITY: none */
        double progress; /* while finishing: when output last left */
    };
    uint32_t low;         /* the writer is woken when no more than this is queued */
    uint32_t max_receive; /* bytes that "*l" and "*a" may gather */
};

#define WF_STREAM_HIGH (64u << 10)
#define WF_STREAM_LOW (16u << 10)
#define WF_MAX_RECEIVE (16u << 20)
#define WF_FINISH_TIMEOUT 5.0
#define WF_LINGER_TIMEOUT 2.0

/* A raw stream over fd (non-blocking, or -1 for a socket to come); the caller
 * still owns fd when it fails. NULL: no memory. */
wf_stream *wf_stream_new(wf_loop *loop, int fd);
void wf_stream_adopt(wf_stream *s, int fd);
/* The descriptor is not a socket, is only read, and stays open. */
void wf_stream_be_file(wf_stream *s);

/* For transports: input is kept; the driver is to read again. */
void wf_stream_come_again(wf_stream *s);
/* For transports: the next EV_WRITE is waited for. */
void wf_stream_await_write(wf_stream *s);

/* -2: failed (the stream is gone), -1: nothing there, 0: the peer's end. */
long wf_stream_read(wf_stream *s, void *p, size_t n);
/* The same of bytes that the turn has received ahead for this stream, at most
 * WF_AHEAD_BYTES: *p. -3: none were. */
long wf_stream_take_ahead(wf_stream *s, uint8_t **p);
/* Receives for the ready streams that are chatty (turn.c). */
void wf_stream_read_ahead(wf_loop *loop);
void wf_stream_watch_read(wf_stream *s, bool on);
/* Starts (or with 0 stops) the timer. */
void wf_stream_set_timer(wf_stream *s, double seconds);
/* The loop's wheel rings for one. */
void wf_stream_ring(wf_timer *timer);

/* Bytes were queued: they leave at the end of the turn. */
void wf_stream_touch(wf_stream *s);
static inline bool wf_stream_can_send(const wf_stream *s)
{
    return s->fd >= 0 && s->error == WF_OK && !s->half_closed && !s->half_closing &&
           !s->mute;
}
/* Our end follows what is queued at once, and can leave with it in one segment. Not where
 * the descriptor is closed: should anything be unread by then, the kernel sends a reset,
 * and drops what it has kept back for our end. */
static inline bool wf_stream_is_last(const wf_stream *s)
{
    bool lingers = s->finish == WF_FINISH_LINGER && !s->eof; /* at its end it is closed */
    return s->plain && (s->half_closing || lingers);
}
/* Queues a copy. WF_CLOSED, WF_NOMEM. */
enum wf_error wf_stream_write(wf_stream *s, const void *p, size_t n);
/* Sends head and body now as far as the kernel takes them, and queues a copy of
 * the rest: for big bodies when nothing else is queued. */
enum wf_error wf_stream_write_big(wf_stream *s, const void *head, size_t h, const void *p,
                                  size_t n);
/* True when write_big would go to the kernel at once. */
static inline bool wf_stream_idle(const wf_stream *s)
{
    return s->out.bytes == 0 && !s->blocked && wf_stream_can_send(s);
}
/* Offers the queued output to the kernel. */
void wf_stream_flush(wf_stream *s);
/* Somebody else offered the first n bytes of it: the result as of send(2), or minus an
 * errno. */
void wf_stream_sent(wf_stream *s, long result, size_t n);
/* Flushes every stream that was written to (turn.c). */
void wf_stream_flush_dirty(wf_loop *loop);

/* "send", after what is queued; then the peer sees our end. */
enum wf_error wf_stream_shutdown(wf_stream *s, bool receive, bool send);
/* Lets the output leave (as long as it moves), then goes. The upper has let go. */
void wf_stream_finish(wf_stream *s, wf_finish how);
/* Closes now; queued output is lost. */
void wf_stream_abort(wf_stream *s, enum wf_error error);

/* For raw streams: who waits in `reader` has what it wants, but others go first. */
void wf_stream_rest(wf_stream *s);
extern const wf_driver wf_raw_driver;
extern const wf_class wf_stream_class;

/* Starts connecting to the address; the waiter in s->writer is woken when it is
 * decided (s->connecting is false then, and s->fd or s->err tells). */
struct sockaddr;
enum wf_error wf_stream_connect(wf_stream *s, const struct sockaddr *address,
                                unsigned len);

/* Between stream.c and stream_connect.c: EV_WRITE is waited for, or no more; it is
 * decided, by an errno or 0; look whether it is. */
void wf_stream_watch_write(wf_stream *s, bool on);
void wf_stream_connected(wf_stream *s, int err);
void wf_stream_check_connected(wf_stream *s);

WF_HIDDEN_END

#endif
