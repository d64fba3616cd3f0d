/* address: see address.h. */
#include "io/address.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

/* IPv4 on a dual-stack socket (RFC 4291 2.5.5.2) */
static const uint8_t v4_mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

void wf_peer_set(wf_peer *peer, const wf_sockaddr *address)
{
    *peer = (wf_peer){ 0 };
    if (address->storage.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)&address->storage;
        peer->family = 4;
        peer->port = ntohs(in->sin_port);
        memcpy(peer->ip, &in->sin_addr, 4);
    } else if (address->storage.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address->storage;
        const uint8_t *ip = in6->sin6_addr.s6_addr;
        bool v4 = memcmp(ip, v4_mapped, sizeof v4_mapped) == 0;
        peer->family = v4 ? 4 : 6;
        peer->port = ntohs(in6->sin6_port);
        memcpy(peer->ip, v4 ? ip + 12 : ip, v4 ? 4 : 16);
    } else if (address->storage.ss_family == AF_UNIX) {
        peer->family = 1;
    }
}

void wf_peer_text(const wf_peer *peer, char ip[WF_IP_MAX])
{
    snprintf(ip, WF_IP_MAX, "%s", peer->family == 1 ? "unix:" : "");
    if (peer->family > 1)
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

const char *wf_sockaddr_unix(wf_sockaddr *address, const char *path, size_t n)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&address->storage;
    bool abstract = n > 0 && path[0] == '@';
    memset(address, 0, sizeof *address);
#ifndef __linux__
    if (abstract)
        return "only Linux has abstract names";
#endif
    if (n == 0 || memchr(path, '\0', n))
        return "the path is empty or has a NUL";
    if (n >= sizeof un->sun_path)
        return "the path is longer than the system allows (107 bytes on Linux)";
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, n);
    if (abstract)
        un->sun_path[0] = '\0';
    /* a name ends where the length says, a path at its NUL */
    address->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + !abstract);
    return NULL;
}

/* unix(7): no name at all, an abstract one, or a path that may lack its NUL. */
static void unix_text(const wf_sockaddr *address, char text[WF_IP_MAX])
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&address->storage;
    size_t head = offsetof(struct sockaddr_un, sun_path);
    size_t n = address->len > head ? address->len - head : 0;
    n = WF_MIN(n, sizeof un->sun_path);
    bool abstract = n > 0 && un->sun_path[0] == '\0';
    if (!abstract)
        n = strnlen(un->sun_path, n);
    memcpy(text, un->sun_path, n);
    text[n] = '\0';
    for (size_t i = 0; abstract && i < n; i++)
        if (text[i] == '\0')
            text[i] = '@';
}

int wf_sockaddr_text(const wf_sockaddr *address, char ip[WF_IP_MAX])
{
    const struct sockaddr *sa = (const struct sockaddr *)&address->storage;
    ip[0] = '\0';
    if (sa->sa_family == AF_INET) {
        getnameinfo(sa, address->len, ip, WF_IP_MAX, NULL, 0, NI_NUMERICHOST);
        return ntohs(((const struct sockaddr_in *)&address->storage)->sin_port);
    }
    if (sa->sa_family == AF_UNIX)
        unix_text(address, ip);
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

int wf_ip_bytes(const char *ip, uint8_t bytes[16])
{
    memset(bytes, 0, 16);
    if (inet_pton(AF_INET, ip, bytes) == 1)
        return 4;
    return inet_pton(AF_INET6, ip, bytes) == 1 ? wf_ip_unmap(bytes) : 0;
}

int wf_ip_unmap(uint8_t bytes[16])
{
    if (memcmp(bytes, v4_mapped, sizeof v4_mapped) != 0)
        return 16;
    memmove(bytes, bytes + 12, 4);
    memset(bytes + 4, 0, 12);
    return 4;
}

int wf_socket(int family, int type)
{
    int fd = socket(family, type, 0);
    if (fd >= 0)
        wf_socket_prepare(fd);
    return fd;
}

void wf_socket_prepare(int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
#ifdef SO_NOSIGPIPE
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &one, sizeof one);
#endif
}
