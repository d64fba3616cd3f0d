/* stream_connect: a stream that connects; see stream.h. */
#include "io/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

void wf_stream_connected(wf_stream *s, int err)
{
    s->connecting = false;
    s->plain = true;
    wf_stream_watch_write(s, false);
    if (err) {
        s->err = err;
        wf_stream_abort(s, err == ECONNREFUSED ? WF_REFUSED
                           : err == ETIMEDOUT  ? WF_TIMEOUT
                                               : WF_SYSTEM);
    }
    wf_wake(&s->writer, WF_OK);
}

enum wf_error wf_stream_connect(wf_stream *s, const struct sockaddr *address,
                                unsigned len)
{
    int one = 1;
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    s->connecting = true;
    s->plain = false;
    int k = connect(s->fd, address, len);
    if (k == 0 || errno != EINPROGRESS)
        wf_stream_connected(s, k == 0 ? 0 : errno);
    else
        wf_stream_watch_write(s, true);
    return WF_OK;
}

void wf_stream_check_connected(wf_stream *s)
{
    int err = 0;
    socklen_t len = sizeof err;
    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
        err = errno;
    wf_stream_connected(s, err);
}
