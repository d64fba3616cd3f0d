/* address: see address.h. */
#include "io/address.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

void wf_peer_set(wf_peer *peer, const wf_sockaddr *address)
{
    static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
    *peer = (wf_peer){ 0 };
    if (address->storage.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&address->storage;
        peer->family = 4;
        peer->port = ntohs(in->sin_port);
        memcpy(peer->ip, &in->sin_addr, 4);
    } else if (address->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->storage;
        const uint8_t *ip = in6->sin6_addr.s6_addr;
        /* IPv4 on a dual-stack socket */
        bool v4 = memcmp(ip, mapped, sizeof mapped) == 0;
        peer->family = v4 ? 4 : 6;
        peer->port = ntohs(in6->sin6_port);
        memcpy(peer->ip, v4 ? ip + 12 : ip, v4 ? 4 : 16);
    }
}

void wf_peer_text(const wf_peer *peer, char ip[WF_IP_MAX])
{
    ip[0] = '\0';
    if (peer->family)
        inet_ntop(peer->family == 4 ? AF_INET : AF_INET6, peer->ip, ip, WF_IP_MAX);
}

bool wf_sockaddr_parse(wf_sockaddr *address, const char *ip, uint16_t port)
{
    struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                              .ai_socktype = SOCK_STREAM };
    struct addrinfo *found;
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    if (getaddrinfo(ip, service, &hints, &found) != 0)
        return false;
    memset(address, 0, sizeof *address);
    memcpy(&address->storage, found->ai_addr, found->ai_addrlen);
    address->len = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

int wf_sockaddr_text(const wf_sockaddr *address, char ip[WF_IP_MAX])
{
    const struct sockaddr *sa = (const struct sockaddr *)&address->storage;
    ip[0] = '\0';
    if (sa->sa_family == AF_INET) {
        getnameinfo(sa, address->len, ip, WF_IP_MAX, NULL, 0, NI_NUMERICHOST);
        return ntohs(((const struct sockaddr_in *)&address->storage)->sin_port);
    }
    if (sa->sa_family != AF_INET6)
        return 0;
    getnameinfo(sa, address->len, ip, WF_IP_MAX, NULL, 0, NI_NUMERICHOST);
    bool mapped = strncmp(ip, "::ffff:", 7) == 0 && strchr(ip, '.');
    if (mapped) /* IPv4 on a dual-stack socket */
        memmove(ip, ip + 7, strlen(ip + 7) + 1);
    return ntohs(((const struct sockaddr_in6 *)&address->storage)->sin6_port);
}

const char *wf_sockaddr_family(const wf_sockaddr *address)
{
    switch (address->storage.ss_family) {
    case AF_INET:
        return "inet";
    case AF_INET6:
        return "inet6";
    case AF_UNIX:
        return "unix";
    default:
        return "unknown";
    }
}

int wf_socket(int family)
{
    int fd = socket(family, SOCK_STREAM, 0);
    if (fd < 0)
        return -1;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
#ifdef SO_NOSIGPIPE
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &one, sizeof one);
#endif
    return fd;
}
