/*
 * listener: a listening socket. Accepting is pulled: wf_listener_accept takes
 * the next connection or says that there is none yet.
 */
#ifndef WF_IO_LISTENER_H
#define WF_IO_LISTENER_H

#include "io/address.h"
#include "io/loop.h"

WF_HIDDEN_BEGIN

typedef struct wf_listener {
    wf_object object;
    ev_io io;
    ev_timer pause; /* out of descriptors: try again when it rings */
    int fd;
    int err; /* errno of the last failure */
    unsigned budget;
    wf_waiter *acceptor;
    double timeout;
    struct wf_unix_file *file; /* its socket file, gone when it closes; or NULL */
} wf_listener;

extern const wf_class wf_listener_class;

/* Over a socket that listens already; the caller still owns fd when it fails. */
wf_listener *wf_listener_new(wf_loop *loop, int fd);

/*
 * A descriptor (and *peer), or -1: none now (then wait in l->acceptor after
 * wf_listener_watch), or -2: the listener failed (l->err).
 */
int wf_listener_accept(wf_listener *l, wf_peer *peer);
/* The acceptor is about to wait. */
void wf_listener_watch(wf_listener *l);

WF_HIDDEN_END

#endif
