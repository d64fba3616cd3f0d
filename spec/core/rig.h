/*
 * rig: a session without I/O for the unit tests: builds what a peer sends, feeds it
 * in pieces that end at a fence, and writes down as text what came of it: the events
 * and the frames that were queued. Its reader of frames shares no code with weft's.
 */
#ifndef WF_SPEC_RIG_H
#define WF_SPEC_RIG_H

#include "core/session.h"

#include "test.h"

/* -- bytes ------------------------------------------------------------------- */

typedef struct bytes {
    uint8_t *p;
    size_t n, cap;
} bytes;

static TEST_UNUSED void bytes_add(bytes *b, const void *p, size_t n)
{
    if (b->n + n + 1 > b->cap) {
        b->cap = (b->n + n + 1) * 2;
        b->p = realloc(b->p, b->cap);
        if (b->p == NULL)
            exit(2);
    }
    if (n > 0)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = '\0'; /* a string, when it holds text */
}

static TEST_UNUSED __attribute__((format(printf, 2, 3))) void
bytes_print(bytes *b, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    bytes_add(b, line, (size_t)n);
}

static TEST_UNUSED void bytes_free(bytes *b)
{
    free(b->p);
    *b = (bytes){ 0 };
}

/* -- what a peer sends --------------------------------------------------------- */

enum { FIN = 0x80, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

static const uint8_t wire_key[4] = { 0x37, 0xFA, 0x21, 0x3D };

/* A header whose announced length need not be true. */
static TEST_UNUSED void wire_head(bytes *w, unsigned b0, uint64_t length, bool masked)
{
    uint8_t h[14] = { (uint8_t)b0 };
    size_t n = 2, more = length < 126 ? 0 : length < 65536 ? 2 : 8;
    h[1] = (uint8_t)((masked ? 128 : 0) | (more == 0 ? length : more == 2 ? 126 : 127));
    while (more-- > 0)
        h[n++] = (uint8_t)(length >> (8 * more));
    if (masked) {
        memcpy(h + n, wire_key, 4);
        n += 4;
    }
    bytes_add(w, h, n);
}

static TEST_UNUSED void wire_body(bytes *w, const void *p, size_t n, bool masked)
{
    size_t at = w->n;
    bytes_add(w, p, n);
    for (size_t i = 0; masked && i < n; i++)
        w->p[at + i] ^= wire_key[i % 4];
}

static TEST_UNUSED void wire_frame(bytes *w, unsigned b0, const void *p, size_t n,
                                   bool masked)
{
    wire_head(w, b0, n, masked);
    wire_body(w, p, n, masked);
}

/* -- the session ----------------------------------------------------------------- */

typedef struct rig {
    wf_session_env env;
    wf_outq out;
    wf_session s;
    bytes events; /* text */
    bool over;    /* an event CLOSE was seen */
} rig;

static const wf_session_limits rig_limits = { 1u << 20, 131072, 1024 };

/* Not random at all: bytes 0, 1, 2, ... so that the tests can foretell the keys. */
static uint8_t rig_random_next;
static bool rig_random_fails;
static unsigned rig_random_calls;

static bool rig_random(void *p, size_t n)
{
    rig_random_calls++;
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)p)[i] = rig_random_next++;
    return !rig_random_fails;
}

static TEST_UNUSED void rig_init(rig *r, bool client, const wf_session_limits *limits)
{
    *r = (rig){ .env = { .random = rig_random } };
    rig_random_next = 0;
    rig_random_fails = false;
    rig_random_calls = 0;
    wf_session_init(&r->s, &r->env, &r->out, client, limits ? limits : &rig_limits);
}

static TEST_UNUSED void rig_free(rig *r)
{
    wf_session_free(&r->s);
    wf_outq_clear(&r->out, &r->env.pool);
    wf_outpool_free(&r->env.pool);
    wf_spares_free(&r->env.spares);
    bytes_free(&r->events);
}

/* A payload as text: itself when short, else its length and a hash. */
static TEST_UNUSED void rig_quote(bytes *to, const uint8_t *p, size_t n)
{
    if (n > 200) {
        uint64_t h = 14695981039346656037u;
        for (size_t i = 0; i < n; i++)
            h = (h ^ p[i]) * 1099511628211u;
        bytes_print(to, "%zu:%016llx", n, (unsigned long long)h);
        return;
    }
    bytes_add(to, "'", 1);
    for (size_t i = 0; i < n; i++)
        if (p[i] < ' ' || p[i] == 127)
            bytes_print(to, "\\%d", p[i]);
        else
            bytes_add(to, p + i, 1);
    bytes_add(to, "'", 1);
}

static TEST_UNUSED void rig_note(rig *r, wf_event event, const wf_message *m)
{
    static const char *const names[] = { "none", "message", "ping",
                                         "pong", "close",   "piece" };
    const wf_session *s = &r->s;
    if (r->events.n > 0)
        bytes_add(&r->events, " ", 1);
    if (event == WF_EVENT_CLOSE) {
        bytes_print(&r->events, "%s %d ", s->fail ? "fail" : "close", s->code);
        rig_quote(&r->events, s->fail ? (const uint8_t *)s->fail : s->control,
                  s->fail ? strlen(s->fail) : s->control_len);
        CHECK(!s->fail || s->control_len == 0); /* no half of the peer's reason */
        return;
    }
    bytes_print(&r->events, "%s ",
                event != WF_EVENT_MESSAGE ? names[event]
                : m->kind == WF_OP_TEXT   ? "text"
                                          : "binary");
    rig_quote(&r->events, m->data, m->len);
}

/* Takes every event that there is with these bytes, which it may change. */
static TEST_UNUSED void rig_next(rig *r, uint8_t *p, size_t n)
{
    wf_message m;
    if (r->over) { /* RFC 6455 7.1.7: what comes afterwards is not looked at */
        size_t left = n;
        wf_event event = wf_session_next(&r->s, &p, &left, &m);
        CHECK(event == (r->s.fail ? WF_EVENT_CLOSE : WF_EVENT_NONE) && left == n);
        return;
    }
    while (!r->over) {
        wf_event event = wf_session_next(&r->s, &p, &n, &m);
        if (event == WF_EVENT_NONE)
            break;
        r->over = event == WF_EVENT_CLOSE;
        rig_note(r, event, &m);
    }
    CHECK_THAT(r->over || n == 0, "%zu bytes were left over", n);
}

/* The same for n bytes, of which no byte behind may be read. */
static TEST_UNUSED void rig_feed(rig *r, const uint8_t *p, size_t n)
{
    static test_fence fence;
    if (fence.room < n) {
        if (fence.pages)
            test_fence_free(&fence);
        fence = test_fence_new(n);
    }
    rig_next(r, (uint8_t *)test_fence_put(&fence, p, n), n);
}

/* The same, the payload of big messages by the window, `piece` bytes at a time. */
static TEST_UNUSED void rig_feed_window(rig *r, const uint8_t *p, size_t n, size_t piece)
{
    uint8_t *to;
    while (n > 0 && !r->over) {
        size_t k = wf_session_window(&r->s, &to);
        if (k == 0) {
            k = WF_MIN(n, piece);
            rig_feed(r, p, k);
        } else {
            k = WF_MIN(WF_MIN(k, n), piece);
            memcpy(to, p, k);
            wf_session_filled(&r->s, k);
            rig_next(r, NULL, 0);
        }
        p += k;
        n -= k;
    }
}

/* What waits in the queue, as one piece. */
static TEST_UNUSED bytes rig_output(const rig *r)
{
    bytes all = { 0 };
    for (const wf_seg *seg = r->out.head; seg; seg = seg->next)
        bytes_add(&all, seg->p, seg->n);
    CHECK_INT(all.n, r->out.bytes);
    return all;
}

/* -- frames as text ---------------------------------------------------------------- */

typedef struct frame {
    unsigned b0;
    bool masked;
    uint64_t length;
    uint8_t key[4];
    size_t head; /* its bytes, the key included; 0: incomplete */
} frame;

static TEST_UNUSED frame frame_at(const uint8_t *p, size_t n)
{
    frame f = { 0 };
    if (n < 2)
        return f;
    f.b0 = p[0];
    f.masked = p[1] >= 128;
    f.length = p[1] % 128u;
    size_t h = 2, more = f.length == 126 ? 2 : f.length == 127 ? 8 : 0;
    if (n < h + more + (f.masked ? 4 : 0))
        return f;
    if (more > 0)
        f.length = 0;
    while (more-- > 0)
        f.length = f.length * 256 + p[h++];
    if (f.masked) {
        memcpy(f.key, p + h, 4);
        h += 4;
    }
    f.head = h;
    return f;
}

static TEST_UNUSED void frame_print(bytes *text, const frame *f, uint8_t *p)
{
    static const char *const names[16] = { "more", "text", "binary", NULL,   NULL,  NULL,
                                           NULL,   NULL,   "close",  "ping", "pong" };
    for (size_t i = 0; f->masked && i < f->length; i++)
        p[i] ^= f->key[i % 4];
    if (text->n > 0)
        bytes_add(text, " ", 1);
    const char *name = names[f->b0 & 15];
    bytes_print(text, "%s%s%s ", name ? name : "?", (f->b0 & 0x80) ? "" : "...",
                (f->b0 & 0x70) ? "(rsv)" : "");
    size_t n = (size_t)f->length;
    if ((f->b0 & 15) == CLOSE && n >= 2) {
        bytes_print(text, "%d ", p[0] * 256 + p[1]);
        p += 2;
        n -= 2;
    }
    rig_quote(text, p, n);
}

/* "text 'hello' close 1000 'bye'": the queued frames, all masked or none. */
static TEST_UNUSED bytes rig_said(const rig *r)
{
    bytes all = rig_output(r), text = { 0 };
    bytes_add(&text, "", 0);
    for (size_t at = 0; at < all.n;) {
        frame f = frame_at(all.p + at, all.n - at);
        if (f.head == 0 || f.length > all.n - at - f.head) {
            CHECK_THAT(false, "an incomplete frame was queued");
            break;
        }
        CHECK_INT(f.masked, r->s.client);
        frame_print(&text, &f, all.p + at + f.head);
        at += f.head + (size_t)f.length;
    }
    bytes_free(&all);
    return text;
}

#define CHECK_SAID(r, want)                                                              \
    do {                                                                                 \
        bytes said_ = rig_said(r);                                                       \
        CHECK_STR((const char *)said_.p, (want));                                        \
        bytes_free(&said_);                                                              \
    } while (0)

#define CHECK_EVENTS(r, want)                                                            \
    do {                                                                                 \
        bytes_add(&(r)->events, "", 0);                                                  \
        CHECK_STR((const char *)(r)->events.p, (want));                                  \
    } while (0)

/* -- scenarios: the same however the input is cut --------------------------------- */

typedef struct scenario {
    const bytes *wire;
    bool client;
    const wf_session_limits *limits;
    const char *events, *said;
} scenario;

static TEST_UNUSED void scenario_check(const scenario *sc, rig *r, const char *how,
                                       size_t at)
{
    bytes said = rig_said(r);
    bytes_add(&r->events, "", 0);
    CHECK_THAT(strcmp((char *)r->events.p, sc->events) == 0, "%s %zu: events %s, not %s",
               how, at, (char *)r->events.p, sc->events);
    CHECK_THAT(strcmp((char *)said.p, sc->said) == 0, "%s %zu: said %s, not %s", how, at,
               (char *)said.p, sc->said);
    bytes_free(&said);
    rig_free(r);
}

static TEST_UNUSED void scenario_cut_at(const scenario *sc, size_t cut)
{
    rig r;
    rig_init(&r, sc->client, sc->limits);
    rig_feed(&r, sc->wire->p, cut);
    rig_feed(&r, sc->wire->p + cut, sc->wire->n - cut);
    scenario_check(sc, &r, "cut at", cut);
}

static TEST_UNUSED void scenario_pieces(const scenario *sc, size_t most, bool window)
{
    rig r;
    rig_init(&r, sc->client, sc->limits);
    for (size_t at = 0, k; at < sc->wire->n; at += k) {
        k = 1 + test_random_below((uint32_t)most);
        k = WF_MIN(k, sc->wire->n - at);
        if (window)
            rig_feed_window(&r, sc->wire->p + at, k, 1 + test_random_below(40000));
        else
            rig_feed(&r, sc->wire->p + at, k);
    }
    scenario_check(sc, &r, window ? "by window, pieces up to" : "pieces up to", most);
}

/* Whole, cut at every offset (or many), byte by byte, in random pieces, by window. */
static TEST_UNUSED void scenario_run(bytes *wire, bool client,
                                     const wf_session_limits *limits, const char *events,
                                     const char *said)
{
    scenario sc = { wire, client, limits, events, said };
    bytes_add(wire, "", 0);
    scenario_cut_at(&sc, wire->n);
    for (size_t cut = 0; cut < wire->n; cut += wire->n < 4096 ? 1 : 1 + wire->n / 13)
        scenario_cut_at(&sc, cut);
    for (size_t cut = 0; cut < 16 && cut < wire->n; cut++) {
        scenario_cut_at(&sc, cut);
        scenario_cut_at(&sc, wire->n - cut);
    }
    if (wire->n < 100000)
        scenario_pieces(&sc, 1, false);
    for (size_t most = 2; most <= wire->n * 2; most = most * 4 + 1) {
        scenario_pieces(&sc, most, false);
        scenario_pieces(&sc, most, true);
    }
    bytes_free(wire);
}

#endif
