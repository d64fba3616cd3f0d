/*
 * tls_load: what wsload does, as far as it is needed, over TLS (or with --plain without):
 * one thread, epoll, and the CPU time that the server took, from /proc.
 *
 *   tls_load [--plain] echo CONNS BYTES SECONDS PORT PID
 *      each connection with one message in flight:
 *      "messages per second, server's nanoseconds per message"
 *   tls_load full|resumed|full12|resumed12 CONNS 0 SECONDS PORT PID
 *      handshakes, each on a fresh connection, the same for handshakes; 12: of TLS 1.2
 *   tls_load [--plain] idle CONNS FIRST 0 PORT PID
 *      "bytes of the server's memory per connection", by its growth behind FIRST
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ROOM (256u << 10)
#define WARM 0.1 /* of the time */

enum { CONNECTING, SHAKING, UPGRADING, OPEN };

struct conn {
    SSL *ssl; /* NULL: plain */
    int fd, state;
    size_t left;   /* bytes of the reply still to come */
    size_t unsent; /* bytes of the message still to go */
};

static bool plain, echoing, resuming, handshakes, old;
static int epoll_fd, pid, nopen;
static struct sockaddr_in server;
static SSL_CTX *ctx;
static SSL_SESSION *session;
static uint8_t *message, input[ROOM];
static size_t message_len, reply_len;
static uint64_t done;

static const char request[] =
    "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

static void die(const char *what)
{
    fprintf(stderr, "tls_load: %s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Nanoseconds on a CPU. */
static double server_time(void)
{
    char path[64];
    double t = 0;
    snprintf(path, sizeof path, "/proc/%d/schedstat", pid);
    FILE *f = fopen(path, "r");
    if (!f || fscanf(f, "%lf", &t) != 1)
        die(path);
    fclose(f);
    return t;
}

static double server_memory(void)
{
    char path[64];
    double size, pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    FILE *f = fopen(path, "r");
    if (!f || fscanf(f, "%lf %lf", &size, &pages) != 2)
        die(path);
    fclose(f);
    return pages * (double)sysconf(_SC_PAGESIZE);
}

static void watch(struct conn *c, uint32_t events, int how)
{
    struct epoll_event event = { .events = events, .data.ptr = c };
    epoll_ctl(epoll_fd, how, c->fd, &event);
}

/* -1: would block, -2: the end */
static long get(struct conn *c, void *p, size_t n)
{
    if (!c->ssl) {
        ssize_t k = recv(c->fd, p, n, 0);
        return k > 0 ? k : k < 0 && errno == EAGAIN ? -1 : -2;
    }
    int k = SSL_read(c->ssl, p, (int)n);
    return k > 0 ? k : SSL_get_error(c->ssl, k) == SSL_ERROR_WANT_READ ? -1 : -2;
}

/* How much left; messages are sent again from where they were. */
static size_t put(struct conn *c, const void *p, size_t n)
{
    if (!c->ssl) {
        ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL);
        if (k < 0 && errno != EAGAIN)
            die("send");
        return k > 0 ? (size_t)k : 0;
    }
    int k = SSL_write(c->ssl, p, (int)n);
    if (k <= 0 && SSL_get_error(c->ssl, k) != SSL_ERROR_WANT_WRITE)
        die("SSL_write");
    return k > 0 ? (size_t)k : 0;
}

static void push(struct conn *c)
{
    size_t k = 1;
    while (c->unsent > 0 && k > 0) {
        k = put(c, message + message_len - c->unsent, c->unsent);
        c->unsent -= k;
    }
    watch(c, c->unsent > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
}

static void send_message(struct conn *c)
{
    size_t k = put(c, message, message_len);
    c->left = reply_len;
    c->unsent = message_len - k;
    if (c->unsent > 0)
        push(c);
}

static void open_one(struct conn *c)
{
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) < 0 &&
        errno != EINPROGRESS)
        die("connect");
    c->state = CONNECTING;
    watch(c, EPOLLOUT, EPOLL_CTL_ADD);
}

static void close_one(struct conn *c)
{
    if (c->ssl) {
        SSL_set_quiet_shutdown(c->ssl, 0);
        SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
    }
    c->ssl = NULL;
    close(c->fd);
}

static void connected(struct conn *c)
{
    int err = 0;
    socklen_t len = sizeof err;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
    if ((errno = err))
        die("connect");
    watch(c, EPOLLIN, EPOLL_CTL_MOD);
    c->state = plain ? UPGRADING : SHAKING;
    if (plain) {
        put(c, request, sizeof request - 1);
        return;
    }
    c->ssl = SSL_new(ctx);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_connect_state(c->ssl);
    if (resuming && session)
        SSL_set_session(c->ssl, session);
}

static void shake(struct conn *c)
{
    int k = SSL_connect(c->ssl);
    if (k <= 0) {
        if (SSL_get_error(c->ssl, k) != SSL_ERROR_WANT_READ)
            die("SSL_connect");
        return;
    }
    c->state = UPGRADING;
    if (!handshakes || (resuming && !session)) {
        put(c, request, sizeof request - 1);
        return;
    }
    if (resuming && !SSL_session_reused(c->ssl))
        die("the session was not resumed");
    done++;
    close_one(c);
    open_one(c);
}

static void upgraded(struct conn *c)
{
    if (get(c, input, ROOM) <= 0)
        return;
    if (resuming && !session) {
        session = SSL_get1_session(c->ssl);
        close_one(c);
        open_one(c);
        return;
    }
    c->state = OPEN;
    nopen++;
    if (echoing)
        send_message(c);
}

/* An idle connection answers pings, with a mask of zeros. */
static void pong(struct conn *c, size_t n)
{
    uint8_t frame[131] = { 0x8a, (uint8_t)(0x80 | (n - 2)) };
    memcpy(frame + 6, input + 2, n - 2);
    put(c, frame, n + 4);
}

static void receive(struct conn *c)
{
    long k;
    if (!echoing) {
        k = get(c, input, 127);
        if (k >= 2 && input[0] == 0x89)
            pong(c, (size_t)k);
        if (k == -2)
            die("the server hung up");
        return;
    }
    while ((k = get(c, input, ROOM)) > 0) {
        c->left -= (size_t)k;
        if (c->left > 0)
            continue;
        done++;
        send_message(c);
        return;
    }
    if (k == -2)
        die("the server hung up");
}

static void turn(int timeout)
{
    struct epoll_event events[256];
    int n = epoll_wait(epoll_fd, events, 256, timeout);
    for (int i = 0; i < n; i++) {
        struct conn *c = events[i].data.ptr;
        if (c->state == CONNECTING)
            connected(c);
        if (c->state == SHAKING)
            shake(c);
        else if (c->state == UPGRADING)
            upgraded(c);
        else if (c->state == OPEN && c->unsent > 0 && (events[i].events & EPOLLOUT))
            push(c);
        else if (c->state == OPEN)
            receive(c);
    }
}

static void make_message(size_t n)
{
    message = malloc(n + 14);
    size_t h = n < 126 ? 2 : n < 65536 ? 4 : 10;
    message[0] = 0x81;
    message[1] = (uint8_t)(0x80 | (n < 126 ? n : n < 65536 ? 126 : 127));
    for (size_t i = 2; i < h; i++)
        message[i] = (uint8_t)((uint64_t)n >> 8 * (h - 1 - i));
    memcpy(message + h, "\x12\x34\x56\x78", 4);
    for (size_t i = 0; i < n; i++)
        message[h + 4 + i] = (uint8_t)('x' ^ message[h + (i & 3)]);
    message_len = h + 4 + n;
    reply_len = h + n;
}

static void measure(double seconds)
{
    double begin = now() + WARM * seconds;
    while (now() < begin)
        turn(10);
    uint64_t before = done;
    double cpu = server_time(), t = now();
    while (now() < t + seconds)
        turn(10);
    double n = (double)(done - before);
    printf("%.0f %.0f\n", n / (now() - t), (server_time() - cpu) / n);
}

static void open_until(struct conn *conns, int from, int to)
{
    for (int i = from; i < to; i++) {
        open_one(&conns[i]);
        while (i - nopen >= 100)
            turn(100);
    }
    while (nopen < to)
        turn(100);
    for (int i = 0; i < 20; i++)
        turn(10);
}

int main(int argc, char **argv)
{
    plain = argc > 1 && strcmp(argv[1], "--plain") == 0;
    argv += plain;
    if (argc - plain != 7)
        return fprintf(stderr, "tls_load [--plain] echo|full|resumed|idle CONNS BYTES "
                               "SECONDS PORT PID\n"), 2;
    const char *mode = argv[1];
    int conns = atoi(argv[2]), size = atoi(argv[3]);
    double seconds = atof(argv[4]);
    server = (struct sockaddr_in){ .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)atoi(argv[5])) };
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    pid = atoi(argv[6]);
    echoing = strcmp(mode, "echo") == 0;
    resuming = strncmp(mode, "resumed", 7) == 0;
    handshakes = resuming || strncmp(mode, "full", 4) == 0;
    old = strstr(mode, "12") != NULL;
    signal(SIGPIPE, SIG_IGN);
    epoll_fd = epoll_create1(0);
    ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 1);
    if (old)
        SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    make_message((size_t)size);
    struct conn *all = calloc((size_t)conns, sizeof *all);
    if (strcmp(mode, "idle") == 0) {
        open_until(all, 0, size);
        double before = server_memory();
        open_until(all, size, conns);
        printf("%.0f\n", (server_memory() - before) / (conns - size));
        return 0;
    }
    if (resuming) {
        open_one(&all[0]);
        while (!session)
            turn(100);
    }
    for (int i = resuming; i < conns; i++)
        open_one(&all[i]);
    while (echoing && nopen < conns)
        turn(100);
    measure(seconds);
    return 0;
}
