/*
 * address: numeric socket addresses to text and back, and sockets for them.
 */
#ifndef WF_IO_ADDRESS_H
#define WF_IO_ADDRESS_H

#include <sys/socket.h>

#include "core/base.h"

WF_HIDDEN_BEGIN

#define WF_IP_MAX 64 /* text of an address, its zone included */

typedef struct wf_sockaddr {
    struct sockaddr_storage storage;
    socklen_t len;
} wf_sockaddr;

/* Who is at the other end, in few bytes: kept by every connection. */
typedef struct wf_peer {
    uint8_t family; /* 4, 6, or 0: none, or not of the internet */
    uint8_t ip[16];
    uint16_t port;
} wf_peer;

void wf_peer_set(wf_peer *peer, const wf_sockaddr *address);
/* "" when there is none */
void wf_peer_text(const wf_peer *peer, char ip[WF_IP_MAX]);

/* A numeric address ("127.0.0.1", "::1", "fe80::1%eth0"); false: it is none. */
bool wf_sockaddr_parse(wf_sockaddr *address, const char *ip, uint16_t port);
/* ip gets "" for what has no address; returns the port. */
int wf_sockaddr_text(const wf_sockaddr *address, char ip[WF_IP_MAX]);
/* "inet", "inet6", "unix" or "unknown" */
const char *wf_sockaddr_family(const wf_sockaddr *address);

/* A non-blocking stream socket that no child inherits; -1: errno. */
int wf_socket(int family);

WF_HIDDEN_END

#endif
