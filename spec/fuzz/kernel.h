/*
 * kernel: the system below src/io, as the fuzzer says. The system calls that streams and
 * listeners make (the linker's --wrap leads them here) take less than they were given,
 * say EAGAIN, EINTR or fail; libev is a small one of our own, whose time jumps. What
 * weft may not do (use a closed descriptor, close one that is watched, write after its
 * own end) stops the run. Once the script is used up, peers and kernel do their best.
 */
#ifndef WF_SPEC_KERNEL_H
#define WF_SPEC_KERNEL_H

#include <errno.h>
#include <ev.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "io/batch.h"
#include "peer.h"

#define FIRST_FD 1000
#define MOST_FDS 64
#define MOST_TURNS 200000 /* once the script is over: more is a loop that never rests */

/* The other end of a connection. It outlives the descriptor. */
typedef struct remote {
    const bytes *wire;  /* all that it will send */
    size_t come, taken; /* of it: in the kernel, and received */
    bool eof, reset;    /* after that */
    bytes got;          /* what it was sent */
    size_t unread;      /* of that: still in the kernel */
    size_t window;      /* what the kernel keeps of it */
    bool denied;        /* the kernel has just taken nothing */
    bool hurt;          /* something failed, or it was slow, or it left early */
    bool fin;           /* weft sends no more */
    bool closed;
    int connecting; /* 1: undecided; otherwise minus an errno, or 0 */
} remote;

typedef enum fd_kind { FD_FREE, FD_SOCKET, FD_LISTENER } fd_kind;

typedef struct kernel {
    fuzz script;
    struct {
        fd_kind kind;
        remote *remote;
    } fds[MOST_FDS];
    remote **backlog; /* to be accepted */
    size_t waiting;
    double now;
    unsigned calls, turns;
    bool batches;
} kernel;

static kernel k;

/* -1: the script is used up */
static int choice(void)
{
    return k.script.n > 0 ? fuzz_byte(&k.script) : -1;
}

/* -- descriptors --------------------------------------------------------------------- */

static int fd_new(fd_kind kind, remote *r)
{
    for (int i = 0; i < MOST_FDS; i++)
        if (k.fds[i].kind == FD_FREE) {
            k.fds[i].kind = kind;
            k.fds[i].remote = r;
            return FIRST_FD + i;
        }
    MUST(false, "out of descriptors");
    return -1;
}

static fd_kind kind_of(int fd)
{
    MUST(fd >= FIRST_FD && fd < FIRST_FD + MOST_FDS, "descriptor %d", fd);
    return k.fds[fd - FIRST_FD].kind;
}

static remote *socket_of(int fd)
{
    k.calls++;
    MUST(kind_of(fd) == FD_SOCKET, "%d is no open socket", fd);
    return k.fds[fd - FIRST_FD].remote;
}

static int readiness(int fd)
{
    const remote *r = k.fds[fd - FIRST_FD].remote;
    if (kind_of(fd) == FD_LISTENER)
        return k.waiting > 0 ? EV_READ : 0;
    if (r->connecting == 1)
        return 0;
    bool broken = r->reset || r->connecting < 0;
    return (r->taken < r->come || r->eof || broken ? EV_READ : 0) |
           (r->unread < r->window || broken ? EV_WRITE : 0);
}

/* -- libev ----------------------------------------------------------------------------
 */

struct ev_loop {
    int active;
    ev_io *ios[MOST_FDS];
    ev_timer *timers[MOST_FDS];
    size_t nios, ntimers;
};

static struct ev_loop the_loop;

struct ev_loop *ev_loop_new(unsigned flags)
{
    (void)flags;
    the_loop = (struct ev_loop){ 0 };
    return &the_loop;
}

void ev_loop_destroy(struct ev_loop *loop)
{
    MUST(loop->nios == 0 && loop->ntimers == 0, "watchers are left");
}

void ev_ref(struct ev_loop *loop)
{
    loop->active++;
}

void ev_unref(struct ev_loop *loop)
{
    loop->active--;
}

void ev_io_start(struct ev_loop *loop, ev_io *w)
{
    if (ev_is_active(w))
        return;
    MUST(kind_of(w->fd) == FD_SOCKET || kind_of(w->fd) == FD_LISTENER, "%d", w->fd);
    MUST((w->events & (EV_READ | EV_WRITE)) != 0, "nothing to watch");
    MUST(loop->nios < MOST_FDS, "watchers");
    w->active = 1;
    loop->ios[loop->nios++] = w;
    loop->active++;
}

void ev_io_stop(struct ev_loop *loop, ev_io *w)
{
    w->pending = 0;
    if (!ev_is_active(w))
        return;
    for (size_t i = 0; i < loop->nios; i++)
        if (loop->ios[i] == w)
            loop->ios[i] = loop->ios[--loop->nios];
    w->active = 0;
    loop->active--;
}

void ev_timer_start(struct ev_loop *loop, ev_timer *w)
{
    if (ev_is_active(w))
        return;
    MUST(loop->ntimers < MOST_FDS && w->at >= 0 && w->repeat >= 0, "timer");
    w->at += k.now;
    w->active = 1;
    loop->timers[loop->ntimers++] = w;
    loop->active++;
}

void ev_timer_stop(struct ev_loop *loop, ev_timer *w)
{
    w->pending = 0;
    if (!ev_is_active(w))
        return;
    for (size_t i = 0; i < loop->ntimers; i++)
        if (loop->timers[i] == w)
            loop->timers[i] = loop->timers[--loop->ntimers];
    w->at -= k.now;
    w->active = 0;
    loop->active--;
}

ev_tstamp ev_timer_remaining(struct ev_loop *loop, ev_timer *w)
{
    (void)loop;
    return w->at - (ev_is_active(w) ? k.now : 0);
}

void ev_now_update(struct ev_loop *loop)
{
    (void)loop;
}

void ev_async_start(struct ev_loop *loop, ev_async *w)
{
    (void)loop;
    w->active = 1;
}

void ev_async_stop(struct ev_loop *loop, ev_async *w)
{
    (void)loop;
    w->active = 0;
}

void ev_async_send(struct ev_loop *loop, ev_async *w)
{
    (void)loop, (void)w;
    abort();
}

void ev_signal_start(struct ev_loop *loop, ev_signal *w)
{
    (void)loop, (void)w;
    abort();
}

void ev_signal_stop(struct ev_loop *loop, ev_signal *w)
{
    (void)loop, (void)w;
    abort();
}

/* Reports what is ready; unless sure, sometimes later, sometimes what is not. */
static bool report(struct ev_loop *loop, bool sure)
{
    bool any = false;
    for (size_t i = 0; i < loop->nios; i++) {
        ev_io *w = loop->ios[i];
        int events = readiness(w->fd), how = sure ? 0 : choice() & 15;
        if (how == 1)
            continue;
        if (how == 2)
            events = EV_READ | EV_WRITE;
        if (events &= w->events & (EV_READ | EV_WRITE)) {
            any = true;
            w->cb(loop, w, events);
        }
    }
    return any;
}

static ev_timer *next_timer(const struct ev_loop *loop)
{
    ev_timer *next = NULL;
    for (size_t i = 0; i < loop->ntimers; i++)
        if (!next || loop->timers[i]->at < next->at)
            next = loop->timers[i];
    return next;
}

/* Each that is due now, once. */
static void ring(struct ev_loop *loop)
{
    ev_timer *w, *due[MOST_FDS];
    size_t n = 0;
    for (size_t i = 0; i < loop->ntimers; i++)
        if (loop->timers[i]->at <= k.now)
            due[n++] = loop->timers[i];
    while (n > 0) {
        w = due[--n];
        if (w->repeat > 0)
            w->at += w->repeat;
        else
            ev_timer_stop(loop, w);
        w->cb(loop, w, EV_TIMER);
    }
}

static void remotes_act(void);

/* Time passes: who takes nothing meanwhile is slow, and may be given up. */
static void sleep_until(double time)
{
    for (int i = 0; i < MOST_FDS; i++) {
        remote *r = k.fds[i].kind == FD_SOCKET ? k.fds[i].remote : NULL;
        if (r && (r->denied || r->unread >= r->window))
            r->hurt = true;
    }
    k.now = time;
}

int ev_run(struct ev_loop *loop, int flags)
{
    remotes_act();
    if (k.script.n == 0)
        MUST(++k.turns < MOST_TURNS, "the loop does not come to rest");
    bool any = report(loop, false);
    ev_timer *next = next_timer(loop);
    /* nothing to do: sleep, sometimes also longer than asked for */
    if (!any && !(flags & EVRUN_NOWAIT) && next && next->at > k.now) {
        sleep_until(next->at + (choice() == 7 ? 30. : 0.));
        report(loop, true);
    }
    k.now += 1e-6;
    ring(loop);
    return loop->active > 0;
}

/* -- the remote ends -------------------------------------------------------------------
 */

static void remote_do_best(remote *r)
{
    r->come = r->wire->n;
    r->unread = 0;
    if (r->connecting == 1)
        r->connecting = 0;
}

static void remote_act(remote *r)
{
    int c = choice();
    if (c < 0) {
        remote_do_best(r);
    } else if (c < 96) {
        r->come = WF_MIN(r->come + (size_t)c * c / 4 + 1, r->wire->n);
    } else if (c < 160) {
        r->unread -= WF_MIN(r->unread, (size_t)(c - 95) * 64);
    } else if (c < 170) {
        r->come = r->wire->n;
        r->unread = 0;
    } else if (c >= 254) {
        r->hurt = true;
        r->eof = true;
        r->reset = c == 255;
    } else if (r->connecting == 1) {
        r->connecting = c < 240 ? 0 : c < 250 ? -ECONNREFUSED : -ETIMEDOUT;
    }
}

static void remotes_act(void)
{
    for (int i = 0; i < MOST_FDS; i++)
        if (k.fds[i].kind == FD_SOCKET)
            remote_act(k.fds[i].remote);
}

/* -- system calls
 * -------------------------------------------------------------------------- */

static int failure(remote *r)
{
    static const int errors[] = { ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENOBUFS,
                                  EIO,        ENOMEM,    EPIPE };
    r->hurt = true;
    return errors[(choice() & 0xFF) % (int)(sizeof errors / sizeof errors[0])];
}

/* Of n bytes that could go; 0: none, *error tells. */
static size_t some(remote *r, size_t n, int *error)
{
    int c = choice();
    *error = c == 0 ? EINTR : c == 1 ? EAGAIN : c == 2 ? failure(r) : 0;
    if (*error)
        return 0;
    return c >= 3 && c < 100 ? WF_MIN(n, (size_t)(c - 2)) : n;
}

static long receive(remote *r, void *p, size_t n)
{
    int error;
    size_t there = WF_MIN(n, r->come - r->taken);
    if (r->connecting != 0)
        return r->connecting < 0 ? r->connecting : -EAGAIN;
    if (r->reset)
        return -ECONNRESET;
    if (there == 0)
        return r->eof ? 0 : -EAGAIN;
    if ((there = some(r, there, &error)) == 0)
        return -error;
    memcpy(p, r->wire->p + r->taken, there);
    r->taken += there;
    return (long)there;
}

static long transfer(remote *r, const struct iovec *iov, size_t count)
{
    int error;
    size_t n = 0, room = r->window - WF_MIN(r->unread, r->window);
    MUST(!r->fin, "writing after the end");
    for (size_t i = 0; i < count; i++)
        n += iov[i].iov_len;
    MUST(n > 0, "writing nothing");
    if (r->connecting != 0)
        return r->connecting < 0 ? r->connecting : -EAGAIN;
    if (r->reset)
        return -EPIPE;
    if (room == 0)
        return -EAGAIN;
    n = some(r, WF_MIN(n, room), &error);
    r->denied = n == 0;
    if (n == 0)
        return -error;
    r->unread += n;
    for (size_t i = 0, left = n, part; left > 0; i++, left -= part) {
        part = WF_MIN(left, iov[i].iov_len);
        bytes_add(&r->got, iov[i].iov_base, part);
    }
    return (long)n;
}

static long or_errno(long result)
{
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

ssize_t __wrap_recv(int fd, void *p, size_t n, int flags);
ssize_t __wrap_send(int fd, const void *p, size_t n, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags);
int __wrap_shutdown(int fd, int how);
int __wrap_close(int fd);
int __real_close(int fd);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_RAND_bytes(unsigned char *p, int n);
wf_batch *__wrap_wf_batch_new(void);
void __wrap_wf_batch_free(wf_batch *batch);
bool __wrap_wf_batch_run(wf_batch *batch, wf_batch_op *ops, unsigned n);

ssize_t __wrap_recv(int fd, void *p, size_t n, int flags)
{
    MUST(flags == 0 && n > 0, "recv");
    return or_errno(receive(socket_of(fd), p, n));
}

ssize_t __wrap_send(int fd, const void *p, size_t n, int flags)
{
    struct iovec iov = { (void *)(uintptr_t)p, n };
    MUST(flags & MSG_NOSIGNAL, "a signal would kill the process");
    return or_errno(transfer(socket_of(fd), &iov, 1));
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags)
{
    MUST(flags & MSG_NOSIGNAL, "a signal would kill the process");
    return or_errno(transfer(socket_of(fd), m->msg_iov, m->msg_iovlen));
}

int __wrap_shutdown(int fd, int how)
{
    remote *r = socket_of(fd);
    if (how == SHUT_WR)
        r->fin = true;
    else
        r->eof = r->hurt = true;
    return 0;
}

int __wrap_close(int fd)
{
    if (fd < FIRST_FD)
        return __real_close(fd);
    MUST(kind_of(fd) != FD_FREE, "%d is closed twice", fd);
    for (size_t i = 0; i < the_loop.nios; i++)
        MUST(the_loop.ios[i]->fd != fd, "%d is closed while it is watched", fd);
    remote *r = k.fds[fd - FIRST_FD].remote;
    if (r) {
        r->fin = r->closed = true;
        r->hurt |= r->denied; /* it was not let say all */
    }
    k.fds[fd - FIRST_FD].kind = FD_FREE;
    return 0;
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len)
{
    remote *r = socket_of(fd);
    int c = choice();
    (void)address, (void)len;
    r->connecting = c == 0 ? 0 : c == 1 ? -ECONNREFUSED : c == 2 ? -ENETUNREACH : 1;
    return (int)or_errno(r->connecting == 1 ? -EINPROGRESS : r->connecting);
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    const remote *r = socket_of(fd);
    int error = r->connecting == 1 ? 0 : -r->connecting;
    MUST(level == SOL_SOCKET && name == SO_ERROR && *len == sizeof error, "getsockopt");
    memcpy(value, &error, sizeof error);
    return 0;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    (void)level, (void)name, (void)value, (void)len;
    MUST(kind_of(fd) != FD_FREE, "%d is closed", fd);
    return 0;
}

int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    static const int errors[] = { EINTR, ECONNABORTED, EMFILE, ENOMEM, EAGAIN };
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = 9 };
    int c = choice();
    k.calls++;
    MUST(kind_of(fd) == FD_LISTENER && (flags & SOCK_NONBLOCK), "accept4");
    if (k.waiting == 0)
        return (int)or_errno(-EAGAIN);
    if (c >= 0 && c < 5)
        return (int)or_errno(-errors[c]);
    memcpy(address, &in, sizeof in);
    *len = sizeof in;
    k.waiting--;
    return fd_new(FD_SOCKET, *k.backlog++);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
    if (clock != CLOCK_MONOTONIC)
        return __real_clock_gettime(clock, t);
    t->tv_sec = (time_t)k.now;
    t->tv_nsec = (long)((k.now - (double)t->tv_sec) * 1e9);
    return 0;
}

/* Foreseeable, so that an input means the same each time. */
int __wrap_RAND_bytes(unsigned char *p, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 37 + 11);
    return 1;
}

/* -- batches
 * ------------------------------------------------------------------------------ */

wf_batch *__wrap_wf_batch_new(void)
{
    static char batch;
    return k.batches ? (wf_batch *)(void *)&batch : NULL;
}

void __wrap_wf_batch_free(wf_batch *batch)
{
    MUST(!batch || k.batches, "no batch");
    if (batch)
        k.batches = false; /* it must not be used again */
}

bool __wrap_wf_batch_run(wf_batch *batch, wf_batch_op *ops, unsigned n)
{
    MUST(batch && k.batches && n > 0 && n <= WF_BATCH_MAX, "%u operations", n);
    int c = choice();
    unsigned done = c >= 0 && c < 4 ? n * (unsigned)c / 4 : n;
    for (unsigned i = 0; i < n; i++) {
        remote *r = socket_of(ops[i].fd);
        struct iovec iov = { ops[i].p, ops[i].n };
        ops[i].result = i >= done     ? -EAGAIN
                        : ops[i].send ? transfer(r, &iov, 1)
                                      : receive(r, ops[i].p, ops[i].n);
    }
    return done == n;
}

#endif
