/*
 * transport: how a stream's bytes get to the kernel and back: as they are, for sockets
 * and for files that are only read. TLS is in tls.c. See wf_transport in stream.h.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/stream.h"

static long socket_read(wf_stream *s, void *p, size_t n)
{
    ssize_t k;
    do
        k = recv(s->fd, p, n, 0);
    while (k < 0 && errno == EINTR);
    return k < 0 ? -errno : k;
}

static long socket_write(wf_stream *s, const struct iovec *iov, int n)
{
    struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)iov,
                        .msg_iovlen = (size_t)n };
    int flags = MSG_NOSIGNAL | (wf_stream_is_last(s) ? MSG_MORE : 0);
    ssize_t k;
    do
        k = n == 1 ? send(s->fd, iov->iov_base, iov->iov_len, flags)
                   : sendmsg(s->fd, &m, flags);
    while (k < 0 && errno == EINTR);
    if (k >= 0)
        return k;
    return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
}

static bool socket_end(wf_stream *s, bool last)
{
    if (!last) /* else close() says it */
        shutdown(s->fd, SHUT_WR);
    return true;
}

static void socket_close(wf_stream *s)
{
    close(s->fd);
}

const wf_transport wf_socket_transport = { socket_read, socket_write, socket_end,
                                           socket_close };

static long file_read(wf_stream *s, void *p, size_t n)
{
    ssize_t k;
    do
        k = read(s->fd, p, n);
    while (k < 0 && errno == EINTR);
    return k < 0 ? -errno : k;
}

static long file_write(wf_stream *s, const struct iovec *iov, int n)
{
    (void)s, (void)iov, (void)n;
    return -EBADF;
}

static void file_close(wf_stream *s)
{
    (void)s; /* somebody else's */
}

const wf_transport wf_file_transport = { file_read, file_write, socket_end, file_close };
