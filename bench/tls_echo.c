/*
 * tls_echo: the floor for wss: about the least that a single-threaded epoll server can do
 * per message with a bare SSL_read and SSL_write. No UTF-8 check, no limits, no
 * fragments, no API. Whole frames are unmasked into one buffer, and all that one
 * readiness brought is answered by one SSL_write. Not a server for anything else.
 *
 *   tls_echo CERT KEY PORT
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM (4u << 20)

struct conn {
    SSL *ssl;
    int fd;
    bool shaken, upgraded;
    uint8_t *kept; /* an incomplete frame, or head */
    size_t nkept;
    uint8_t *unsent;
    size_t nunsent;
};

static int epoll_fd;
static uint8_t input[ROOM], output[ROOM];

static void watch(struct conn *c, uint32_t events, int how)
{
    struct epoll_event event = { .events = events, .data.ptr = c };
    epoll_ctl(epoll_fd, how, c->fd, &event);
}

static void drop(struct conn *c)
{
    SSL_free(c->ssl);
    close(c->fd);
    free(c->kept);
    free(c->unsent);
    free(c);
}

/* False: the connection is over. What does not fit waits for EPOLLOUT. */
static bool put(struct conn *c, const uint8_t *p, size_t n)
{
    int k = n > 0 ? SSL_write(c->ssl, p, (int)n) : 1;
    if (k > 0)
        return true;
    if (SSL_get_error(c->ssl, k) != SSL_ERROR_WANT_WRITE)
        return false;
    c->unsent = malloc(n);
    c->nunsent = n;
    memcpy(c->unsent, p, n);
    watch(c, EPOLLOUT, EPOLL_CTL_MOD);
    return true;
}

static bool put_again(struct conn *c)
{
    int k = SSL_write(c->ssl, c->unsent, (int)c->nunsent);
    if (k <= 0)
        return SSL_get_error(c->ssl, k) == SSL_ERROR_WANT_WRITE;
    free(c->unsent);
    c->unsent = NULL;
    watch(c, EPOLLIN, EPOLL_CTL_MOD);
    return true;
}

static void keep(struct conn *c, const uint8_t *p, size_t n)
{
    uint8_t *kept = n ? malloc(n) : NULL;
    if (kept)
        memcpy(kept, p, n);
    free(c->kept);
    c->kept = kept;
    c->nkept = n;
}

static bool upgrade(struct conn *c, const char *head)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[256], accept[64];
    uint8_t digest[20];
    const char *key = strcasestr(head, "sec-websocket-key:");
    if (!key)
        return false;
    key += strlen("sec-websocket-key:");
    key += strspn(key, " ");
    int n = snprintf(text, sizeof text, "%.24s%s", key, guid);
    SHA1((uint8_t *)text, (size_t)n, digest);
    EVP_EncodeBlock((uint8_t *)accept, digest, sizeof digest);
    n = snprintf(text, sizeof text,
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                 "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                 accept);
    c->upgraded = true;
    return put(c, (uint8_t *)text, (size_t)n);
}

static void unmask(uint8_t *to, const uint8_t *from, size_t n, const uint8_t mask[4])
{
    uint32_t m32;
    memcpy(&m32, mask, 4);
    uint64_t m64 = (uint64_t)m32 << 32 | m32, word;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        memcpy(&word, from + i, 8);
        word ^= m64;
        memcpy(to + i, &word, 8);
    }
    for (; i < n; i++)
        to[i] = from[i] ^ mask[i & 3];
}

/* The frame at p, if it is whole: its bytes, and its reply added at *out. 0: not yet. */
static size_t frame(const uint8_t *p, size_t n, uint8_t **out)
{
    if (n < 6)
        return 0;
    size_t len = p[1] & 127, h = len < 126 ? 2 : len == 126 ? 4 : 10;
    if (n < h + 4)
        return 0;
    if (h > 2)
        len = 0;
    for (size_t i = 2; i < h; i++)
        len = len << 8 | p[i];
    if (n < h + 4 + len)
        return 0;
    memcpy(*out, p, h);
    (*out)[1] &= 127;
    unmask(*out + h, p + h + 4, len, p + h);
    *out += h + len;
    return h + 4 + len;
}

static bool feed(struct conn *c, uint8_t *p, size_t n)
{
    if (!c->upgraded) {
        p[n] = 0;
        const char *end = strstr((char *)p, "\r\n\r\n");
        if (!end)
            return keep(c, p, n), true;
        keep(c, NULL, 0);
        return upgrade(c, (char *)p);
    }
    uint8_t *out = output;
    size_t used = 0, k;
    bool bye = false;
    while ((k = frame(p + used, n - used, &out)) > 0) {
        bye = bye || (p[used] & 15) == 8;
        used += k;
    }
    if (used < n || c->kept)
        keep(c, p + used, n - used);
    return put(c, output, (size_t)(out - output)) && !bye;
}

static bool receive(struct conn *c)
{
    size_t n = c->nkept;
    int k = 0;
    if (n > 0)
        memcpy(input, c->kept, n);
    while (n < ROOM - 1 && (k = SSL_read(c->ssl, input + n, (int)(ROOM - 1 - n))) > 0)
        n += (size_t)k;
    if (k <= 0 && SSL_get_error(c->ssl, k) != SSL_ERROR_WANT_READ)
        return false;
    return n == c->nkept || feed(c, input, n);
}

static bool shake(struct conn *c)
{
    int k = SSL_accept(c->ssl);
    if (k <= 0)
        return SSL_get_error(c->ssl, k) == SSL_ERROR_WANT_READ;
    c->shaken = true;
    return receive(c);
}

static void take(SSL_CTX *ctx, int listener)
{
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct conn *c = calloc(1, sizeof *c);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c->fd = fd;
        c->ssl = SSL_new(ctx);
        SSL_set_fd(c->ssl, fd);
        SSL_set_accept_state(c->ssl);
        watch(c, EPOLLIN, EPOLL_CTL_ADD);
    }
}

static int listen_at(int port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 4096) < 0) {
        perror("tls_echo");
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return fprintf(stderr, "tls_echo CERT KEY PORT\n"), 2;
    signal(SIGPIPE, SIG_IGN);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1);
    if (SSL_CTX_use_certificate_chain_file(ctx, argv[1]) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, argv[2], SSL_FILETYPE_PEM) != 1)
        return ERR_print_errors_fp(stderr), 1;
    int listener = listen_at(atoi(argv[3]));
    struct epoll_event events[256], first = { .events = EPOLLIN };
    epoll_fd = epoll_create1(0);
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &first);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            ERR_clear_error();
            if (!c)
                take(ctx, listener);
            else if (!(c->unsent ? put_again(c) : c->shaken ? receive(c) : shake(c)))
                drop(c);
        }
    }
}
