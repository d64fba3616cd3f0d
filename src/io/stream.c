/* stream: see stream.h. */
#include "io/stream.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IOV_BATCH 64
#define LINGER_BYTES ((size_t)64 << 20)
#define LAST_WORDS ((size_t)16 << 10)
#define TIMER_BIT 0x40 /* beside EV_READ and EV_WRITE in wf_stream.events */
#define LOST_BIT 0x20

static void pump(wf_object *object);
static void destroy(wf_object *object);
static void release(wf_object *object);

const wf_class wf_stream_class = { "stream", destroy, release, pump, false };

/* -- watchers: they only note what happened --------------------------------- */

static void on_io(struct ev_loop *ev, ev_io *io, int revents)
{
    (void)ev;
    wf_stream *s = WF_CONTAINER(io, wf_stream, io);
    s->events |= revents & EV_ERROR ? LOST_BIT : (uint8_t)revents;
    wf_loop_ready(&s->object);
}

void wf_stream_ring(wf_timer *timer)
{
    wf_stream *s = WF_CONTAINER(timer, wf_stream, timer);
    s->events |= TIMER_BIT;
    wf_loop_ready(&s->object);
}

static void watch(wf_stream *s, int events)
{
    struct ev_loop *ev = s->object.loop->ev;
    if ((s->io.events & (EV_READ | EV_WRITE)) == events && ev_is_active(&s->io))
        return;
    ev_io_stop(ev, &s->io);
    ev_io_set(&s->io, s->fd, events);
    if (events)
        ev_io_start(ev, &s->io);
}

static int watched(wf_stream *s)
{
    return ev_is_active(&s->io) ? s->io.events & (EV_READ | EV_WRITE) : 0;
}

void wf_stream_watch_read(wf_stream *s, bool on)
{
    if (s->fd < 0)
        return;
    watch(s, on ? watched(s) | EV_READ : watched(s) & ~EV_READ);
    if (on && s->more)
        wf_stream_come_again(s);
}

void wf_stream_watch_write(wf_stream *s, bool on)
{
    watch(s, on ? watched(s) | EV_WRITE : watched(s) & ~EV_WRITE);
}

void wf_stream_come_again(wf_stream *s)
{
    s->more = true;
    s->events |= EV_READ;
    wf_loop_ready(&s->object);
}

void wf_stream_await_write(wf_stream *s)
{
    s->blocked = true;
    s->stalled = false;
    wf_stream_watch_write(s, true);
}

void wf_stream_set_timer(wf_stream *s, double seconds)
{
    wf_wheel *wheel = &s->object.loop->wheel;
    if (seconds > 0)
        wf_timer_start(wheel, &s->timer, seconds);
    else
        wf_timer_stop(wheel, &s->timer);
}

/* -- life ------------------------------------------------------------------ */

wf_stream *wf_stream_new(wf_loop *loop, int fd)
{
    wf_stream *s = malloc(sizeof *s);
    if (!s)
        return NULL;
    *s = (wf_stream){ .driver = &wf_raw_driver,
                      .transport = &wf_socket_transport,
                      .fd = -1,
                      .timeout = INFINITY,
                      .low = WF_STREAM_LOW,
                      .max_receive = WF_MAX_RECEIVE };
    wf_object_init(&s->object, &wf_stream_class, loop);
    ev_init(&s->io, on_io);
    if (fd >= 0)
        wf_stream_adopt(s, fd);
    return s;
}

void wf_stream_adopt(wf_stream *s, int fd)
{
    s->fd = fd;
    s->plain = true;
    s->error = WF_OK;
    ev_io_set(&s->io, fd, 0);
}

void wf_stream_be_file(wf_stream *s)
{
    s->transport = &wf_file_transport;
    s->plain = false;
    s->half_closed = true;
}

static void undirty(wf_stream *s)
{
    wf_stream **at = &s->object.loop->dirty;
    while (*at && *at != s)
        at = &(*at)->next_dirty;
    if (*at)
        *at = s->next_dirty;
    s->dirty = false;
}

static void close_fd(wf_stream *s)
{
    wf_loop *loop = s->object.loop;
    ev_io_stop(loop->ev, &s->io);
    wf_timer_stop(&loop->wheel, &s->timer);
    if (s->fd >= 0)
        s->transport->close(s);
    s->transport = &wf_socket_transport;
    s->fd = -1;
    s->plain = s->more = s->stalled = s->blocked = s->connecting = false;
    wf_outq_clear(&s->out, &loop->env.pool);
    if (s->finish != WF_FINISH_NOT)
        loop->lingering--;
    s->finish = WF_FINISH_NOT;
}

static void bury(wf_stream *s)
{
    if (s->dirty)
        undirty(s);
    wf_buffer_free(&s->in);
    wf_object_bury(&s->object);
}

void wf_stream_abort(wf_stream *s, enum wf_error error)
{
    if (s->fd < 0)
        return;
    s->error = error;
    s->eof = true;
    close_fd(s);
    s->driver->gone(s);
    if (!s->object.handle && !s->upper)
        bury(s);
}

static void fail_errno(wf_stream *s, int err)
{
    if (err == WF_ETLS) {
        wf_stream_abort(s, WF_TLS);
        return;
    }
    s->err = err;
    /* the peer is gone, or something is wrong with our side */
    bool peer = err == ECONNRESET || err == EPIPE || err == ETIMEDOUT || err == ENOTCONN;
    wf_stream_abort(s, peer ? WF_CLOSED : WF_SYSTEM);
}

static void destroy(wf_object *object)
{
    wf_stream *s = (wf_stream *)object;
    wf_wake(&s->reader, WF_CLOSED);
    wf_wake(&s->writer, WF_CLOSED);
    close_fd(s);
    if (s->upper) {
        s->error = WF_CLOSED;
        s->driver->gone(s);
        s->upper = NULL;
    }
    bury(s);
}

static void release(wf_object *object)
{
    wf_stream *s = (wf_stream *)object;
    wf_wake(&s->reader, WF_CLOSED);
    wf_wake(&s->writer, WF_CLOSED);
    if (s->fd < 0 || s->connecting)
        destroy(object);
    else
        wf_stream_finish(s, WF_FINISH_CLOSE);
}

/* -- input ----------------------------------------------------------------- */

/* k: as of recv(2), but minus the errno for a failure. */
static long judge_read(wf_stream *s, long k)
{
    if (k > 0)
        return k;
    if (k == 0) {
        s->eof = true;
        wf_stream_watch_read(s, false);
        return 0;
    }
    if (k == -EAGAIN || k == -EWOULDBLOCK)
        return -1;
    fail_errno(s, (int)-k);
    return -2;
}

long wf_stream_read(wf_stream *s, void *p, size_t n)
{
    return judge_read(s, s->transport->read(s, p, n));
}

long wf_stream_take_ahead(wf_stream *s, uint8_t **p)
{
    if (!s->ahead)
        return -3;
    const wf_batch_op *op = &s->object.loop->ahead.ops[s->ahead - 1];
    s->ahead = 0;
    *p = op->p;
    return judge_read(s, op->result == -EINTR ? -EAGAIN : op->result);
}

/* What comes after our last words is thrown away, within bounds. */
static void discard(wf_stream *s)
{
    long k = wf_stream_read(s, s->object.loop->input, WF_READ_BYTES);
    if (k > 0)
        s->in.cap += (size_t)k; /* nothing is stored any more: cap counts */
    if (k == 0)
        s->transport->end(s, true);
    if (k == 0 || (k > 0 && s->in.cap > LINGER_BYTES))
        wf_stream_abort(s, WF_CLOSED);
}

void wf_stream_rest(wf_stream *s)
{
    s->resting = true;
    wf_loop_ready(&s->object);
}

static void raw_readable(wf_stream *s, bool ready)
{
    if (s->resting) {
        s->resting = false;
        wf_wake_now(&s->reader, WF_OK);
        return;
    }
    if (!ready)
        return;
    if (!s->reader) { /* nobody asks: TCP pushes back */
        wf_stream_watch_read(s, false);
        return;
    }
    uint8_t *p = s->object.loop->input;
    long k = wf_stream_read(s, p, WF_READ_BYTES);
    if (k == -1 || k == -2)
        return;
    if (k > 0 && !wf_buffer_append(&s->in, p, (size_t)k)) {
        wf_stream_abort(s, WF_NOMEM);
        return;
    }
    wf_wake_now(&s->reader, WF_OK);
}

static void raw_gone(wf_stream *s)
{
    wf_wake(&s->reader, WF_OK);
    wf_wake(&s->writer, WF_OK);
}

static void raw_timer(wf_stream *s)
{
    (void)s;
}

const wf_driver wf_raw_driver = { raw_readable, raw_timer, raw_gone, NULL, NULL, false };

/* -- output ---------------------------------------------------------------- */

void wf_stream_touch(wf_stream *s)
{
    if (s->dirty || s->fd < 0)
        return;
    s->dirty = true;
    s->next_dirty = s->object.loop->dirty;
    s->object.loop->dirty = s;
}

enum wf_error wf_stream_write(wf_stream *s, const void *p, size_t n)
{
    if (!wf_stream_can_send(s))
        return WF_CLOSED;
    if (!wf_outq_put(&s->out, &s->object.loop->env.pool, p, n))
        return WF_NOMEM;
    wf_stream_touch(s);
    return WF_OK;
}

/* What the peer said before it went, why it did perhaps, is read before the descriptor
 * goes: not into the loop's buffer, whose bytes somebody may be at. */
static void keep_last_words(wf_stream *s)
{
    while (s->in.len < s->max_receive &&
           wf_buffer_reserve(&s->in, LAST_WORDS, UINT32_MAX)) {
        long k = s->transport->read(s, s->in.data + s->in.len, LAST_WORDS);
        if (k <= 0)
            break;
        s->in.len += (size_t)k;
    }
    if (s->in.len == 0)
        wf_buffer_free(&s->in);
}

/* Reading goes on, as fast as it did: it will find the end. */
static void fall_silent(wf_stream *s)
{
    s->mute = true;
    s->plain = s->blocked = false;
    wf_outq_clear(&s->out, &s->object.loop->env.pool);
    wf_stream_watch_write(s, false);
    s->driver->muted(s);
}

static void fail_write(wf_stream *s, int err)
{
    bool heard = s->finish == WF_FINISH_NOT && (err == EPIPE || err == ECONNRESET);
    if (heard && s->driver->muted) {
        fall_silent(s);
        return;
    }
    if (heard && s->driver == &wf_raw_driver)
        keep_last_words(s);
    fail_errno(s, err);
}

/* Bytes that the kernel took; -1 on failure (the stream is gone, or mute). */
static long transmit(wf_stream *s, const struct iovec *iov, int n)
{
    long k = s->transport->write(s, iov, n);
    if (k >= 0)
        return k;
    fail_write(s, (int)-k);
    return -1;
}

enum wf_error wf_stream_write_big(wf_stream *s, const void *head, size_t h, const void *p,
                                  size_t n)
{
    struct iovec iov[2] = { { (void *)(uintptr_t)head, h }, { (void *)(uintptr_t)p, n } };
    long k = transmit(s, iov, 2);
    if (k < 0)
        return WF_CLOSED;
    size_t sent = (size_t)k;
    if (sent == h + n)
        return WF_OK;
    s->blocked = true;
    wf_stream_touch(s);
    wf_outpool *pool = &s->object.loop->env.pool;
    bool ok =
        sent >= h || wf_outq_put(&s->out, pool, (const char *)head + sent, h - sent);
    if (!ok && sent == 0 && s->plain) /* TLS may have half a record of it under way */
        return WF_NOMEM;
    size_t from = sent > h ? sent - h : 0;
    if (!ok || !wf_outq_put(&s->out, pool, (const char *)p + from, n - from)) {
        wf_stream_abort(s, WF_NOMEM); /* half a frame has left: nothing else may follow */
        return WF_NOMEM;
    }
    return WF_OK;
}

/* The kernel took k of the n bytes that it was offered. */
static void took(wf_stream *s, size_t k, size_t n)
{
    if (k > 0 && s->finish != WF_FINISH_NOT)
        s->progress = s->object.loop->now;
    wf_outq_consume(&s->out, &s->object.loop->env.pool, k);
    s->blocked = k < n; /* it would only say EAGAIN next */
}

static void drain(wf_stream *s)
{
    if (s->mute)
        wf_outq_clear(&s->out, &s->object.loop->env.pool);
    while (s->out.bytes > 0 && !s->blocked) {
        struct iovec iov[IOV_BATCH];
        int n = wf_outq_iov(&s->out, iov, IOV_BATCH);
        size_t want = 0;
        for (int i = 0; i < n; i++)
            want += iov[i].iov_len;
        long k = transmit(s, iov, n);
        if (k < 0)
            return;
        took(s, (size_t)k, want);
    }
}

static bool half_close(wf_stream *s)
{
    if (!s->half_closed && !s->transport->end(s, false)) {
        wf_stream_await_write(s);
        return false;
    }
    s->half_closing = false;
    s->half_closed = true;
    return true;
}

/* The last byte has left a stream that finishes. */
static void finished(wf_stream *s)
{
    if (s->finish == WF_FINISH_CLOSE || s->eof) {
        if (s->transport->end(s, true))
            wf_stream_abort(s, WF_CLOSED);
        else
            wf_stream_await_write(s);
        return;
    }
    if (s->finish == WF_FINISH_LINGER && !half_close(s))
        return;
    wf_stream_watch_read(s, true);
    bool linger = s->finish == WF_FINISH_LINGER;
    wf_stream_set_timer(s, linger ? WF_LINGER_TIMEOUT : WF_FINISH_TIMEOUT);
}

/* What follows when the kernel has taken what it would. */
static void flushed(wf_stream *s)
{
    if (s->fd < 0)
        return;
    bool empty = s->out.bytes == 0 && !s->blocked;
    if (s->blocked) {
        if (!wf_outq_settle(&s->out, &s->object.loop->env.pool)) {
            wf_stream_abort(s, WF_NOMEM);
            return;
        }
        wf_stream_watch_write(s, !s->stalled);
    } else if (watched(s) & EV_WRITE) {
        wf_stream_watch_write(s, false);
    }
    if (s->writer && s->out.bytes <= s->low) {
        s->resuming = !s->upper; /* messages are whole in any case */
        wf_wake(&s->writer, WF_OK);
    }
    if (s->hungry && s->out.bytes <= s->low)
        s->driver->drained(s);
    if (empty && s->half_closing && !s->driver->opens) /* a handshake has to send, too */
        empty = half_close(s);
    if (empty && s->finish != WF_FINISH_NOT)
        finished(s);
}

void wf_stream_flush(wf_stream *s)
{
    if (s->fd < 0 || s->connecting || wf_loop_forked(s->object.loop))
        return;
    drain(s);
    flushed(s);
}

void wf_stream_sent(wf_stream *s, long result, size_t n)
{
    if (result < 0 && result != -EAGAIN && result != -EINTR) {
        fail_write(s, (int)-result);
        return;
    }
    took(s, result > 0 ? (size_t)result : 0, n);
    if (result == -EINTR)
        drain(s);
    flushed(s);
}

enum wf_error wf_stream_shutdown(wf_stream *s, bool receive, bool send)
{
    if (s->fd < 0)
        return WF_CLOSED;
    if (receive) {
        shutdown(s->fd, SHUT_RD);
        s->eof = true;
        wf_wake(&s->reader, WF_OK);
    }
    if (send && !s->half_closed) {
        s->half_closing = true;
        wf_stream_touch(s);
    }
    return WF_OK;
}

void wf_stream_finish(wf_stream *s, wf_finish how)
{
    if (s->fd < 0 || s->finish != WF_FINISH_NOT)
        return;
    wf_loop *loop = s->object.loop;
    loop->lingering++;
    s->finish = (uint8_t)how;
    s->progress = loop->now;
    if (!s->driver->opens) { /* else a handshake goes on, to send the rest */
        wf_buffer_free(&s->in);
        if (how == WF_FINISH_CLOSE)
            wf_stream_watch_read(s, false);
    }
    wf_stream_set_timer(s, WF_FINISH_TIMEOUT);
    wf_stream_touch(s);
}

/* A finishing stream gets its time again as long as its output moves. What the kernel
 * takes now goes before what is late: it may be this process that slept. */
static void finish_timer(wf_stream *s)
{
    bool sending = s->out.bytes > 0;
    if (sending)
        wf_stream_flush(s);
    if (s->fd < 0 || (sending && s->out.bytes == 0))
        return;
    double left = s->progress + WF_FINISH_TIMEOUT - s->object.loop->now;
    if (s->out.bytes > 0 && left > 0)
        wf_stream_set_timer(s, left);
    else
        wf_stream_abort(s, WF_TIMEOUT);
}

/* -- the pump -------------------------------------------------------------- */

/* The system has no memory to watch it with, or this user watches too much already
 * (epoll_ctl(2)): nothing would ever be heard of it again. */
static void lost(wf_stream *s)
{
    if (s->connecting)
        wf_stream_connected(s, ENOMEM);
    else
        fail_errno(s, ENOMEM);
}

static void pump(wf_object *object)
{
    wf_stream *s = (wf_stream *)object;
    int events = s->events;
    s->events = 0;
    if (s->fd >= 0 && (events & LOST_BIT))
        lost(s);
    if (s->fd < 0)
        return;
    if (events & EV_WRITE) {
        s->blocked = false;
        if (s->connecting)
            wf_stream_check_connected(s);
        if (s->more)
            events |= EV_READ;
        wf_stream_touch(s);
    }
    if (s->fd < 0 || s->connecting)
        return;
    uint8_t finish = s->finish;
    /* what has come goes before what is late: look, also where nobody said so */
    bool ready = events & (EV_READ | TIMER_BIT);
    if (finish == WF_FINISH_NOT || s->driver->opens)
        s->driver->readable(s, ready);
    else if (ready && !s->eof)
        discard(s);
    s->ahead = 0; /* bytes that nobody took are nobody's */
    if (s->fd < 0 || !(events & TIMER_BIT) || s->finish != finish)
        return;
    if (finish == WF_FINISH_NOT)
        s->driver->timer(s);
    else
        finish_timer(s);
}
