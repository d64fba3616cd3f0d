/*
 * fuzz_connection: whole connections, src/io on a mocked system: up to eight peers at a
 * time send what the fuzzer says, the kernel takes and gives as it says. Every peer has
 * got a beginning of what was sent to it, in order; when nothing failed, all of it; and
 * in the end no stream, watcher or descriptor is left.
 */
#include "actor.h"

#define MOST_CONNECTIONS 8

typedef struct connection {
    unsigned habits;
    bytes wire;
    bytes received, sent; /* logs of the actor */
    remote remote;
} connection;

typedef struct world {
    wf_loop *loop;
    wf_hub *hub;
    wf_listener *listener;
    wf_object *listener_handle;
    wf_ws_options *options;
    bool batches, beats, drains;
    wf_extension agreed; /* with every peer; .deflate false: nothing */
    size_t window;
    connection all[MOST_CONNECTIONS];
    remote *servers[MOST_CONNECTIONS]; /* in the backlog */
    size_t n, nservers;
} world;

/* -- what happens -------------------------------------------------------------------- */

static connection *connection_of(world *w, const remote *r)
{
    for (size_t i = 0; i < w->n; i++)
        if (&w->all[i].remote == r)
            return &w->all[i];
    return NULL;
}

static void begin(world *w, int fd, connection *c)
{
    actor *a = actor_new(w->loop, fd, c->habits);
    a->hub = w->hub;
    a->options = w->options;
    a->agreed = &w->agreed;
    a->remote = &c->remote;
    a->received = &c->received;
    a->sent = &c->sent;
    actor_begin(a);
}

static world *accepting; /* the acceptor's */

/* As the task in an accept loop does. */
static void accept_all(actor *a)
{
    world *w = accepting;
    wf_peer peer;
    int fd;
    while (w->listener_handle && (fd = wf_listener_accept(w->listener, &peer)) >= 0)
        begin(w, fd, connection_of(w, k.fds[fd - FIRST_FD].remote));
    if (!w->listener_handle)
        return;
    MUST(fd == -1, "the listener failed: %d", w->listener->err);
    wf_listener_watch(w->listener);
    wait_for(a, &w->listener->acceptor, INFINITY);
}

static void listen_for(world *w)
{
    actor *a = calloc(1, sizeof *a);
    w->listener = wf_listener_new(w->loop, fd_new(FD_LISTENER, NULL));
    MUST(a && w->listener, "no memory");
    wf_object_init(&a->object, &actor_class, w->loop);
    wf_waiter_init(&a->waiter, &a->object);
    w->listener_handle = &w->listener->object;
    w->listener->object.handle = &w->listener_handle;
    a->step = accept_all;
    accepting = w;
    accept_all(a);
}

static void turn(world *w)
{
    wf_loop_turn(w->loop);
    MUST(!w->loop->dirty && (!w->loop->env.pool.arena || !w->loop->env.pool.arena->used),
         "output is left at the end of a turn");
}

static void pass_time(world *w, double seconds)
{
    double until = k.now + seconds;
    while (k.now < until)
        turn(w);
}

/* Until nothing more happens. */
static void settle(world *w)
{
    unsigned calls;
    do {
        calls = k.calls;
        pass_time(w, 1);
    } while (k.script.n > 0 || k.calls != calls);
}

/* -- what must be true
 * -------------------------------------------------------------------- */

/* RFC 7692 7.2.2, as the peer does it */
static void log_packed(bytes *log, unsigned op, const uint8_t *p, size_t n, z_stream *z,
                       bool again)
{
    static uint8_t out[128u << 10];
    uint8_t *in = malloc(n + 4);
    MUST(in, "no memory");
    memcpy(in, p, n);
    memcpy(in + n, "\0\0\xff\xff", 4);
    z->next_in = in;
    z->avail_in = (uInt)n + 4;
    z->next_out = out;
    z->avail_out = sizeof out;
    int r = inflate(z, Z_SYNC_FLUSH);
    MUST((r == Z_OK || r == Z_BUF_ERROR) && z->avail_in == 0, "zlib says %d", r);
    log_add(log, letter(op), out, sizeof out - z->avail_out);
    if (again)
        inflateReset(z);
    free(in);
}

/* Takes out of a log what might have been dropped: notices, and what was published under
 * a policy, whose order must hold. */
static void drop_lossy(bytes *log)
{
    static const char notice[] = "{\"type\":\"missed\",\"topic\":\"";
    uint32_t n, number, last = 0;
    bytes kept = { 0 };
    bytes_add(&kept, "", 0);
    for (size_t at = 0; at < log->n; at += n + 5) {
        memcpy(&n, log->p + at + 1, sizeof n);
        const uint8_t *p = log->p + at + 5;
        if (lossy_number(p, n, &number)) {
            MUST(number > last, "%u after %u", number, last);
            last = number;
        } else if (n < sizeof notice || memcmp(p, notice, sizeof notice - 1) != 0) {
            bytes_add(&kept, log->p + at, n + 5);
        }
    }
    bytes_free(log);
    *log = kept;
}

/* The data messages that it was sent, as a log; *closed: a close was the last. */
static bytes messages_got(const world *w, const connection *c, size_t skip, bool *closed)
{
    bool again =
        c->habits & CLIENT ? w->agreed.client_no_takeover : w->agreed.server_no_takeover;
    z_stream z = { 0 };
    MUST(inflateInit2(&z, -15) == Z_OK, "no memory");
    bytes log = { 0 }, got = { 0 };
    bytes_add(&log, "", 0);
    bytes_add(&got, c->remote.got.p + skip, c->remote.got.n - skip);
    *closed = false;
    for (size_t at = 0; at < got.n;) {
        frame f = frame_at(got.p + at, got.n - at);
        if (f.head == 0 || f.length > got.n - at - f.head)
            break; /* the rest was never sent */
        unsigned op = f.b0 & 15;
        uint8_t *p = got.p + at + f.head;
        bool packed = w->agreed.deflate && (f.b0 & 0x40) && op < 8;
        MUST(!*closed && (f.b0 & (packed ? 0xB0 : 0xF0)) == FIN &&
                 f.masked == !!(c->habits & CLIENT),
             "frame %02x", f.b0);
        for (size_t i = 0; f.masked && i < f.length; i++)
            p[i] ^= f.key[i % 4];
        MUST(op == TEXT || op == BINARY || op == CLOSE || op == PING || op == PONG,
             "frame %02x", f.b0);
        if (packed)
            log_packed(&log, op, p, (size_t)f.length, &z, again);
        else if (op == TEXT || op == BINARY)
            log_add(&log, letter(op), p, (size_t)f.length);
        *closed = op == CLOSE;
        at += f.head + (size_t)f.length;
    }
    bytes_free(&got);
    inflateEnd(&z);
    drop_lossy(&log);
    return log;
}

static bool begins(const bytes *a, const bytes *b)
{
    return a->n <= b->n && (a->n == 0 || memcmp(a->p, b->p, a->n) == 0);
}

/* The messages among the model's events. */
static bytes messages_of(const model *m)
{
    bytes log = { 0 };
    bytes_add(&log, "", 0);
    for (size_t at = 0; at < m->log.n;) {
        uint32_t n;
        memcpy(&n, m->log.p + at + 1, sizeof n);
        if (m->log.p[at] == 'T' || m->log.p[at] == 'B')
            bytes_add(&log, m->log.p + at, n + 5);
        at += n + 5;
    }
    return log;
}

/* Of the peer's bytes: where its frames begin, when its head is one. */
static size_t head_of(const connection *c)
{
    wf_head head;
    const char *p = (const char *)c->wire.p;
    bool client = c->habits & CLIENT;
    int n =
        client
            ? wf_head_parse_response(&head, p, c->wire.n, &wf_head_default_limits, NULL)
            : wf_head_parse_request(&head, p, c->wire.n, &wf_head_default_limits, NULL);
    return n > 0 && !(client && head.status != 101) ? (size_t)n : 0;
}

/* whole: nothing may be missing. */
static void check_websocket(const world *w, const connection *c, bool whole)
{
    size_t head = head_of(c);
    const char *first = c->habits & CLIENT ? request : head ? request_101 : refusal;
    bytes said = { (uint8_t *)(uintptr_t)first, strlen(first), 0 };
    const bytes *got = &c->remote.got;
    if (got->n < said.n || head == 0) {
        MUST(begins(got, &said) || begins(&said, got), "its head");
        MUST((c->received.n == 0 || head > 0) && (!whole || head == 0), "no head");
        return;
    }
    MUST(begins(&said, got), "its head");
    bytes rest = { c->wire.p + head, c->wire.n - head, 0 };
    model m = model_run(&rest, c->habits & CLIENT, &w->options->limits, &w->agreed);
    bool closed;
    bytes came = messages_of(&m), log = messages_got(w, c, said.n, &closed);
    MUST(begins(&c->received, &came), "received something else");
    MUST(begins(&log, &c->sent), "got something else");
    if (whole) {
        MUST(log_same(&c->received, &came), "a message was not received");
        MUST(log_same(&log, &c->sent), "a message is missing");
        MUST(closed || !m.over, "the close is missing");
    }
    bytes_free(&came);
    bytes_free(&log);
    bytes_free(&m.log);
}

static void check_raw(const connection *c, bool whole)
{
    bytes first = { (uint8_t *)(uintptr_t)request, sizeof request - 1, 0 },
          expected = { 0 };
    if (c->habits & CLIENT)
        bytes_add(&expected, first.p, first.n);
    bytes_add(&expected, c->wire.p, c->wire.n);
    MUST(begins(&c->remote.got, &expected), "other bytes");
    MUST(!whole || c->remote.got.n == expected.n, "%zu of %zu bytes", c->remote.got.n,
         expected.n);
    bytes_free(&expected);
}

static void check(const world *w, bool settled)
{
    for (size_t i = 0; i < w->n; i++) {
        const connection *c = &w->all[i];
        bool own_way = (c->habits & (QUITS | FORGETS)) || w->drains || w->beats ||
                       ((c->habits & TOPIC) && !(c->habits & CLIENT));
        bool whole = settled && !c->remote.hurt && !own_way && c->remote.connecting == 0;
        if (c->habits & RAW)
            check_raw(c, whole);
        else
            check_websocket(w, c, whole);
    }
}

/* -- a world and its end
 * ------------------------------------------------------------------- */

static void take_connection(fuzz *f, connection *c, bool raw, const wf_extension *agreed)
{
    peer_packer packer;
    static const char *const heads[] = { request, request_101, "" };
    const uint8_t *p;
    c->habits = fuzz_byte(f);
    fuzz program = { NULL, fuzz_bytes(f, fuzz_word(f) % 1024, &p) };
    program.p = p;
    bytes_add(&c->wire, "", 0);
    if (!(c->habits & RAW)) {
        const char *head = heads[raw ? 2 : !!(c->habits & CLIENT)];
        bytes_add(&c->wire, head, strlen(head));
    }
    peer_pack_init(&packer, agreed, c->habits & CLIENT);
    bytes frames =
        peer_wire(&program, c->habits & CLIENT, raw, agreed->deflate ? &packer : NULL);
    deflateEnd(&packer.z);
    bytes_add(&c->wire, frames.p, frames.n);
    bytes_free(&frames);
}

static void take_world(world *w, fuzz *f)
{
    unsigned flags = fuzz_byte(f), more = fuzz_byte(f), programs = 1 + (more & 3);
    w->agreed = (wf_extension){ more & 16, more & 32, more & 64, 0, 0 };
    w->batches = flags & 1;
    w->beats = flags & 2;
    w->drains = flags & 4;
    w->window = flags & 8 ? 700 : 200000;
    w->n = 1 + (flags >> 4 & 7);
    for (size_t i = 0; i < w->n; i++) {
        connection *c = &w->all[i];
        if (i < programs) {
            take_connection(f, c, flags & 128, &w->agreed);
        } else { /* many that do the same, for batches */
            c->habits = w->all[i % programs].habits;
            bytes_add(&c->wire, w->all[i % programs].wire.p, w->all[i % programs].wire.n);
        }
        c->remote = (remote){ .wire = &c->wire, .window = w->window };
        if (!(c->habits & CLIENT))
            w->servers[w->nservers++] = &c->remote;
    }
    k = (kernel){ .script = *f, .now = 1000., .batches = w->batches };
    k.backlog = w->servers;
    k.waiting = w->nservers;
}

static void open_world(world *w)
{
    w->options = calloc(1, sizeof *w->options);
    MUST(w->options, "no memory");
    *w->options = (wf_ws_options){ .refs = 1,
                                   .limits = { 70000, 64, 16 },
                                   .ping_interval = w->beats ? 1 : 0,
                                   .ping_timeout = w->beats ? 2 : 0,
                                   .close_timeout = 2,
                                   .high = 4096,
                                   .low = 1024,
                                   .hard = 16384,
                                   .inbox_bytes = 4096,
                                   .inbox_messages = 4 };
    wf_deflate_options *d = &w->options->deflate;
    *d = (wf_deflate_options){ w->agreed, 12, 4, 3, 8, UINT32_MAX };
    d->wish.server_window = d->wish.client_window = 12;
    w->loop = wf_loop_new();
    w->hub = w->loop ? wf_hub_new(w->loop) : NULL;
    MUST(w->hub, "no memory");
    listen_for(w);
    for (size_t i = 0; i < w->n; i++)
        if (w->all[i].habits & CLIENT)
            begin(w, fd_new(FD_SOCKET, &w->all[i].remote), &w->all[i]);
}

/* All peers hang up; soon nothing is left of them. */
static void hang_up(world *w)
{
    for (size_t i = 0; i < w->n; i++)
        w->all[i].remote.eof = true;
    settle(w);
    pass_time(w, 20);
    MUST(!actors && w->loop->lingering == 0 && w->hub->connections == 0 &&
             w->hub->pending == 0,
         "somebody is left");
    for (size_t i = 0; i < w->n; i++)
        MUST(w->all[i].remote.closed, "connection %zu is open", i);
}

static void close_world(world *w)
{
    wf_loop_free(w->loop);
    wf_ws_options_unref(w->options);
    for (int i = 0; i < MOST_FDS; i++)
        MUST(k.fds[i].kind == FD_FREE, "%d is open", i);
    for (size_t i = 0; i < w->n; i++) {
        bytes_free(&w->all[i].wire);
        bytes_free(&w->all[i].received);
        bytes_free(&w->all[i].sent);
        bytes_free(&w->all[i].remote.got);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    fuzz f = { p, n };
    world w = { 0 };
    take_world(&w, &f);
    open_world(&w);
    /* some worlds end in the middle of everything */
    unsigned sudden = choice() == 255 ? 1 + (unsigned)(choice() & 15) : 0;
    if (sudden > 0) {
        while (sudden-- > 0)
            turn(&w);
        check(&w, false);
    } else {
        settle(&w);
        if (w.drains)
            wf_hub_close(w.hub, 1001, "", 0, SIZE_MAX);
        settle(&w);
        check(&w, true);
        hang_up(&w);
        check(&w, false);
    }
    close_world(&w);
    return 0;
}
