/*
 * address: numeric socket addresses to text and back, and sockets for them.
 */
#ifndef WF_IO_ADDRESS_H
#define WF_IO_ADDRESS_H

#include <sys/socket.h>

#include "core/base.h"

WF_HIDDEN_BEGIN

#define WF_IP_MAX                                                                        \
    128 /* text of an address, its zone included; or the path of a socket                \
         */

typedef struct wf_sockaddr {
    struct sockaddr_storage storage;
    socklen_t len;
} wf_sockaddr;

/* Who is at the other end, in few bytes: kept by every connection. */
typedef struct wf_peer {
    uint8_t family; /* 4, 6, 1: of this machine (unix), or 0: none */
    uint8_t ip[16];
    uint16_t port;
} wf_peer;

void wf_peer_set(wf_peer *peer, const wf_sockaddr *address);
/* "unix:" for a peer of this machine, "" when there is none */
void wf_peer_text(const wf_peer *peer, char ip[WF_IP_MAX]);

/* A numeric address ("127.0.0.1", "::1", "fe80::1%eth0"); false: it is none. */
bool wf_sockaddr_parse(wf_sockaddr *address, const char *ip, uint16_t port);
/* "/path", or "@name" in Linux's abstract namespace. NULL, or a constant sentence that
 * says what is wrong with it. */
const char *wf_sockaddr_unix(wf_sockaddr *address, const char *path, size_t n);
/* ip gets the path of a unix socket, "" for what has no address; returns the port. */
int wf_sockaddr_text(const wf_sockaddr *address, char ip[WF_IP_MAX]);
/* "inet", "inet6", "unix" or "unknown" */
const char *wf_sockaddr_family(const wf_sockaddr *address);

/* 4 or 16 bytes of a numeric address in its usual form, with no zone; IPv4 also when it
 * is mapped into IPv6. 0: it is none. */
int wf_ip_bytes(const char *ip, uint8_t bytes[16]);
/* Of IPv6: 4 when it was IPv4 mapped, and is so no more, else 16. */
int wf_ip_unmap(uint8_t bytes[16]);

/* A non-blocking socket that no child inherits; -1: errno. type: SOCK_STREAM, ... */
int wf_socket(int family, int type);
/* The same of one that is there already. */
void wf_socket_prepare(int fd);

WF_HIDDEN_END

#endif
