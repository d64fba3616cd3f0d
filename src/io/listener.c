/* listener: see listener.h. */
#include "io/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/unix.h"

/* Connections per turn, so that a flood of them leaves time for the others. */
#define ACCEPT_BATCH 64
#define PAUSE 0.1

static void destroy(wf_object *object)
{
    wf_listener *l = (wf_listener *)object;
    ev_io_stop(object->loop->ev, &l->io);
    ev_timer_stop(object->loop->ev, &l->pause);
    wf_unix_remove(l->file);
    l->file = NULL;
    close(l->fd);
    l->fd = -1;
    wf_wake(&l->acceptor, WF_CLOSED);
    wf_object_bury(object);
}

static void run(wf_object *object);

const wf_class wf_listener_class = { "listener", destroy, destroy, run, false };

static void rest(wf_listener *l)
{
    struct ev_loop *ev = l->object.loop->ev;
    ev_io_stop(ev, &l->io);
    ev_timer_set(&l->pause, PAUSE, 0.);
    ev_timer_start(ev, &l->pause);
}

/* EV_ERROR: the system has no memory to watch it with. */
static void on_io(struct ev_loop *ev, ev_io *io, int revents)
{
    (void)ev;
    wf_listener *l = WF_CONTAINER(io, wf_listener, io);
    if (revents & EV_ERROR)
        rest(l);
    else
        wf_loop_ready(&l->object);
}

static void on_pause(struct ev_loop *ev, ev_timer *timer, int revents)
{
    (void)ev, (void)revents;
    wf_loop_ready(&WF_CONTAINER(timer, wf_listener, pause)->object);
}

static void run(wf_object *object)
{
    wf_listener *l = (wf_listener *)object;
    l->budget = ACCEPT_BATCH;
    if (!wf_wake_now(&l->acceptor, WF_OK))
        ev_io_stop(object->loop->ev, &l->io); /* nobody accepts: the backlog fills */
}

wf_listener *wf_listener_new(wf_loop *loop, int fd)
{
    wf_listener *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    wf_object_init(&l->object, &wf_listener_class, loop);
    l->fd = fd;
    l->budget = ACCEPT_BATCH;
    l->timeout = INFINITY;
    /* what it accepts inherits this: a system call less for each connection */
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    ev_io_init(&l->io, on_io, fd, EV_READ);
    ev_timer_init(&l->pause, on_pause, PAUSE, 0.);
    return l;
}

static int accept_one(int fd, wf_sockaddr *from)
{
    struct sockaddr *sa = (struct sockaddr *)&from->storage;
    from->len = sizeof from->storage;
#ifdef __linux__
    return accept4(fd, sa, &from->len, SOCK_NONBLOCK | SOCK_CLOEXEC);
#else
    int peer = accept(fd, sa, &from->len);
    if (peer >= 0) {
        fcntl(peer, F_SETFL, fcntl(peer, F_GETFL) | O_NONBLOCK);
        fcntl(peer, F_SETFD, FD_CLOEXEC);
    }
    return peer;
#endif
}

/* Out of descriptors or memory, here or in the system, or forbidden by its rules
 * (accept(2)): wait for better times. */
static bool exhausted(int err)
{
    return err == EMFILE || err == ENFILE || err == ENOBUFS || err == ENOMEM ||
           err == EPERM;
}

/* The peer, or its network, gave up between its handshake and our accept (accept(2)). */
static bool peer_gone(int err)
{
    return err == EINTR || err == ECONNABORTED || err == EPROTO || err == ENETDOWN ||
           err == ENETUNREACH || err == EHOSTUNREACH || err == EHOSTDOWN ||
           err == ENOPROTOOPT || err == ETIMEDOUT;
}

int wf_listener_accept(wf_listener *l, wf_peer *peer)
{
    wf_sockaddr from;
    while (l->budget > 0) {
        int fd = accept_one(l->fd, &from);
        if (fd >= 0) {
            l->budget--;
            wf_peer_set(peer, &from);
            return fd;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return -1;
        if (exhausted(errno)) {
            rest(l);
            return -1;
        }
        if (!peer_gone(errno)) {
            l->err = errno;
            return -2;
        }
        l->budget--;
    }
    wf_loop_ready(&l->object); /* more next turn */
    return -1;
}

void wf_listener_watch(wf_listener *l)
{
    if (!ev_is_active(&l->pause))
        ev_io_start(l->object.loop->ev, &l->io);
}
