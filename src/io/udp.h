/*
 * udp: a datagram socket. Receiving and sending are pulled: they do it, or say that it
 * has to wait.
 */
#ifndef WF_IO_UDP_H
#define WF_IO_UDP_H

#include "io/address.h"
#include "io/loop.h"

WF_HIDDEN_BEGIN

typedef struct wf_udp {
    wf_object object;
    ev_io io;
    int fd; /* -1: nothing needed one yet */
    int family;
    unsigned budget; /* datagrams that it may still give in this turn */
    bool connected;
    bool lost; /* the system had no memory to watch it with */
    wf_waiter *reader, *writer;
    double timeout;
} wf_udp;

extern const wf_class wf_udp_class;

/* Without a descriptor. NULL: no memory. */
wf_udp *wf_udp_new(wf_loop *loop);
/* It has a descriptor of its family from here on; false: errno. */
bool wf_udp_open(wf_udp *u, int family);
/* The address as a socket of u's family takes it (IPv4 mapped into IPv6); false: it
 * cannot. */
bool wf_udp_fit(const wf_udp *u, wf_sockaddr *address);

/* The datagram's real length, which may be more than n: then it was cut. Minus an errno:
 * -EAGAIN: wait in u->reader after wf_udp_watch. */
long wf_udp_receive(wf_udp *u, void *p, size_t n, wf_sockaddr *from);
/* 0, or minus an errno: -EAGAIN: wait in u->writer after wf_udp_watch. to may be NULL. */
int wf_udp_send(wf_udp *u, const void *p, size_t n, const wf_sockaddr *to);
/* Somebody is about to wait for these. */
void wf_udp_watch(wf_udp *u, int events);

WF_HIDDEN_END

#endif
