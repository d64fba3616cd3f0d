/* udp: see udp.h. */
#include "io/udp.h"

#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Datagrams that one socket gives in a turn, so that a flood of them leaves time for the
 * others. */
#define TURN_DATAGRAMS 64

static void destroy(wf_object *object)
{
    wf_udp *u = (wf_udp *)object;
    if (u->fd >= 0) {
        ev_io_stop(object->loop->ev, &u->io);
        close(u->fd);
    }
    u->fd = -1;
    wf_wake(&u->reader, WF_CLOSED);
    wf_wake(&u->writer, WF_CLOSED);
    wf_object_bury(object);
}

/* Whoever waited looks again, and says what it still waits for. */
static void run(wf_object *object)
{
    wf_udp *u = (wf_udp *)object;
    u->budget = TURN_DATAGRAMS;
    wf_wake(&u->reader, WF_OK);
    wf_wake(&u->writer, WF_OK);
}

const wf_class wf_udp_class = { "udp", destroy, destroy, run, false };

static void on_io(struct ev_loop *ev, ev_io *io, int revents)
{
    wf_udp *u = WF_CONTAINER(io, wf_udp, io);
    ev_io_stop(ev, io);
    u->lost = revents & EV_ERROR;
    wf_loop_ready(&u->object);
}

wf_udp *wf_udp_new(wf_loop *loop)
{
    wf_udp *u = calloc(1, sizeof *u);
    if (!u)
        return NULL;
    wf_object_init(&u->object, &wf_udp_class, loop);
    u->fd = -1;
    u->timeout = INFINITY;
    u->budget = TURN_DATAGRAMS;
    ev_init(&u->io, on_io);
    return u;
}

bool wf_udp_open(wf_udp *u, int family)
{
    if (u->fd >= 0)
        return true;
    int fd = wf_socket(family, SOCK_DGRAM);
    if (fd < 0)
        return false;
    u->fd = fd;
    u->family = family;
    ev_io_set(&u->io, fd, 0);
    if (u->reader) /* since before there was anything to be watched */
        wf_udp_watch(u, EV_READ);
    return true;
}

bool wf_udp_fit(const wf_udp *u, wf_sockaddr *address)
{
    if (u->fd < 0 || u->family == address->storage.ss_family)
        return true;
    if (u->family != AF_INET6)
        return false;
    struct sockaddr_in in;
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
    memcpy(&in, &address->storage, sizeof in);
    in6.sin6_port = in.sin_port;
    in6.sin6_addr.s6_addr[10] = in6.sin6_addr.s6_addr[11] = 0xff;
    memcpy(in6.sin6_addr.s6_addr + 12, &in.sin_addr, 4);
    memset(address, 0, sizeof *address);
    memcpy(&address->storage, &in6, sizeof in6);
    address->len = sizeof in6;
    return true;
}

/* Minus an errno; where it could not be watched it must not be waited for again. */
static int failure(wf_udp *u)
{
    int err = errno == EWOULDBLOCK ? EAGAIN : errno;
    bool lost = u->lost && err == EAGAIN;
    u->lost = false;
    return lost ? -ENOMEM : -err;
}

long wf_udp_receive(wf_udp *u, void *p, size_t n, wf_sockaddr *from)
{
    ssize_t k;
    if (u->budget == 0) { /* its job has it looked at again in the next turn */
        wf_loop_ready(&u->object);
        return -EAGAIN;
    }
#ifdef __linux__
    const int flags = MSG_TRUNC; /* recv(2): the result is the real length */
#else
    const int flags = 0;
#endif
    struct iovec iov = { p, n };
    struct msghdr m = { .msg_name = &from->storage,
                        .msg_namelen = sizeof from->storage,
                        .msg_iov = &iov,
                        .msg_iovlen = 1 };
    do
        k = recvmsg(u->fd, &m, flags);
    while (k < 0 && errno == EINTR);
    from->len = m.msg_namelen;
    if (k < 0)
        return failure(u);
    u->budget--;
    if ((m.msg_flags & MSG_TRUNC) && (size_t)k <= n)
        return (long)n + 1; /* longer, who knows by how much */
    return k;
}

int wf_udp_send(wf_udp *u, const void *p, size_t n, const wf_sockaddr *to)
{
    ssize_t k;
    const struct sockaddr *sa = to ? (const struct sockaddr *)&to->storage : NULL;
    do
        k = sendto(u->fd, p, n, 0, sa, to ? to->len : 0);
    while (k < 0 && errno == EINTR);
    return k >= 0 ? 0 : failure(u);
}

void wf_udp_watch(wf_udp *u, int events)
{
    if (u->fd < 0)
        return;
    struct ev_loop *ev = u->object.loop->ev;
    int now = ev_is_active(&u->io) ? u->io.events & (EV_READ | EV_WRITE) : 0;
    ev_io_stop(ev, &u->io);
    ev_io_set(&u->io, u->fd, now | events);
    ev_io_start(ev, &u->io);
}
