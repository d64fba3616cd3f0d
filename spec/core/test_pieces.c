/*
 * test_pieces: messages that are taken and sent in pieces, plain and compressed, however
 * the input is cut; what waits for how it is asked for; what is dropped; and the frames
 * of a message that is written.
 */
#include "rig.h"

#include <zlib.h>

enum { RSV1 = 0x40 };

/* "text 'whole message'": pieces put together; '...' behind those that were not ended. */
typedef struct taker {
    rig r;
    wf_take first, then; /* what is asked for; and after HELD */
    unsigned drop_after; /* pieces of a message, then the rest is dropped; 0: never */
    unsigned pieces;
    bytes message;
    size_t longest;
} taker;

static wf_deflate_options options = { .wish = { true, false, false, 15, 15 },
                                      .window = 15,
                                      .memlevel = 8,
                                      .level = 6,
                                      .threshold = 0,
                                      .max_ratio = 1032 };

static void note_piece(taker *t, const wf_message *m)
{
    CHECK(m->len > 0 || !m->more);
    if (m->kind == WF_OP_TEXT)
        CHECK(wf_utf8_valid(m->data, m->len));
    bytes_add(&t->message, m->data, m->len);
    t->longest = WF_MAX(t->longest, m->len);
    t->pieces++;
    if (m->more && t->pieces == t->drop_after) {
        wf_session_drop_rest(&t->r.s);
        bytes_print(&t->r.events, "%sdropped", t->r.events.n ? " " : "");
        t->pieces = 0;
        t->message.n = 0;
    }
    if (m->more)
        return;
    wf_message all = { t->message.p, t->message.n, m->kind, false };
    rig_note(&t->r, WF_EVENT_MESSAGE, &all);
    t->pieces = 0;
    t->message.n = 0;
}

static void take(taker *t, uint8_t *p, size_t n)
{
    wf_message m;
    rig *r = &t->r;
    r->s.take = (uint8_t)t->first;
    while (!r->over) {
        wf_event event = wf_session_next(&r->s, &p, &n, &m);
        if (event == WF_EVENT_NONE)
            break;
        if (event == WF_EVENT_HELD) {
            CHECK(r->s.take == WF_TAKE_WAIT);
            uint8_t *again = p;
            CHECK(wf_session_next(&r->s, &p, &n, &m) == WF_EVENT_HELD && p == again);
            r->s.take = (uint8_t)t->then;
        } else if (event == WF_EVENT_PIECE) {
            CHECK(r->s.take == WF_TAKE_PIECES);
            note_piece(t, &m);
            r->s.take = (uint8_t)t->first;
        } else {
            r->over = event == WF_EVENT_CLOSE;
            rig_note(r, event, &m);
            r->s.take = (uint8_t)t->first;
        }
    }
    CHECK_THAT(r->over || n == 0, "%zu bytes were left over", n);
}

typedef struct setting {
    const bytes *wire;
    bool client;
    const wf_extension *agreed; /* NULL: plain */
    const wf_session_limits *limits;
    uint64_t max;
    wf_take first, then;
    unsigned drop_after;
    const char *want;
} setting;

static void taker_init(taker *t, const setting *c)
{
    *t = (taker){ .first = c->first, .then = c->then, .drop_after = c->drop_after };
    rig_init(&t->r, c->client, c->limits);
    if (c->agreed)
        wf_session_compress(&t->r.s, wf_deflate_new(&options, c->agreed, c->client));
    CHECK(wf_session_want_pieces(&t->r.s, c->max));
}

static void taker_free(taker *t)
{
    bytes_free(&t->message);
    wf_session_free(&t->r.s);
    wf_deflate_env_free(&t->r.env.deflate);
    rig_free(&t->r);
}

static void run_setting(const setting *c, size_t cut, size_t most)
{
    taker t;
    taker_init(&t, c);
    for (size_t at = 0, k; at < c->wire->n; at += k) {
        k = most ? 1 + test_random_below((uint32_t)most) : at ? SIZE_MAX : cut;
        k = WF_MIN(k, c->wire->n - at);
        uint8_t *piece = malloc(k + 1);
        memcpy(piece, c->wire->p + at, k);
        take(&t, piece, k);
        free(piece);
        if (k == 0)
            break;
    }
    CHECK_THAT(!c->agreed || c->limits || t.longest <= WF_SCRATCH, "%zu bytes at once",
               t.longest);
    bytes_add(&t.r.events, "", 0);
    CHECK_THAT(strcmp((char *)t.r.events.p, c->want) == 0, "cut %zu/%zu: %s, not %s", cut,
               most, (char *)t.r.events.p, c->want);
    taker_free(&t);
}

static void run_all(setting c)
{
    size_t step = c.wire->n < 3000 ? 1 : c.wire->n / 17;
    for (size_t cut = 1; cut <= c.wire->n; cut += step)
        run_setting(&c, cut, 0);
    for (size_t most = 1; most <= c.wire->n; most = most * 4 + 1)
        if (c.wire->n / most < 100000)
            run_setting(&c, 0, most);
}

/* In every way that makes no difference. */
static void run_ways(bytes *wire, bool client, const wf_extension *agreed,
                     const char *want)
{
    setting c = { .wire = wire, .client = client, .agreed = agreed, .max = UINT64_MAX };
    static const wf_take ways[][2] = { { WF_TAKE_PIECES, WF_TAKE_PIECES },
                                       { WF_TAKE_WAIT, WF_TAKE_PIECES },
                                       { WF_TAKE_WHOLE, WF_TAKE_WHOLE } };
    c.want = want;
    for (size_t i = 0; i < 3; i++) {
        c.first = ways[i][0];
        c.then = ways[i][1];
        run_all(c);
    }
    bytes_free(wire);
}

static const char word[] = "h\xC3\xA9 \xE2\x82\xAC \xF0\x9D\x84\x9E.";

static void test_plain(void)
{
    for (int masked = 0; masked < 2; masked++) {
        bytes w = { 0 };
        wire_frame(&w, FIN | TEXT, word, sizeof word - 1, masked);
        wire_frame(&w, TEXT, word, 2, masked); /* inside of a character */
        wire_frame(&w, FIN | PING, "p", 1, masked);
        wire_frame(&w, 0, word + 2, 3, masked);
        wire_frame(&w, 0, "", 0, masked);
        wire_frame(&w, 0, word + 5, 5, masked);
        wire_frame(&w, FIN, word + 10, sizeof word - 11, masked);
        wire_frame(&w, FIN | BINARY, "", 0, masked);
        wire_frame(&w, BINARY, "ab", 2, masked);
        wire_frame(&w, FIN, "", 0, masked);
        wire_frame(&w, FIN | CLOSE, "\x03\xE8", 2, masked);
        run_ways(
            &w, !masked, NULL,
            "text 'h\xC3\xA9 \xE2\x82\xAC \xF0\x9D\x84\x9E.' ping 'p' text 'h\xC3\xA9 "
            "\xE2\x82\xAC \xF0\x9D\x84\x9E.' binary '' binary 'ab' close 1000 ''");
    }
}

static bytes sample(size_t n)
{
    bytes b = { 0 };
    for (int i = 0; b.n < n; i++)
        bytes_print(&b, "{\"id\":%d,\"v\":%u,\"n\":\"%s\"},", i, i * 2654435761u % 99991,
                    word);
    return b;
}

static bytes quoted(const char *before, const bytes *b)
{
    bytes text = { 0 };
    bytes_print(&text, "%s", before);
    rig_quote(&text, b->p, b->n);
    return text;
}

static void test_big(void)
{
    bytes b = sample(300000), want = quoted("text ", &b), w = { 0 };
    wire_head(&w, TEXT, 200001, true);
    wire_body(&w, b.p, 200001, true);
    wire_frame(&w, FIN, b.p + 200001, b.n - 200001, true);
    run_ways(&w, false, NULL, (char *)want.p);
    bytes_free(&b);
    bytes_free(&want);
}

/* Over the limit of whole messages, in pieces; refused when asked for whole. */
static void test_limits(void)
{
    static const wf_session_limits limits = { 20, 3, 1 };
    bytes w = { 0 };
    for (int i = 0; i < 30; i++)
        wire_frame(&w, i ? 0 : TEXT, word, sizeof word - 1, true);
    wire_frame(&w, FIN, "!", 1, true);
    bytes all = { 0 };
    for (int i = 0; i < 30; i++)
        bytes_add(&all, word, sizeof word - 1);
    bytes_add(&all, "!", 1);
    bytes want = quoted("text ", &all);
    setting c = { .wire = &w, .limits = &limits, .max = all.n };
    c.first = c.then = WF_TAKE_PIECES;
    c.want = (char *)want.p;
    run_all(c);
    c.first = WF_TAKE_WAIT;
    run_all(c);
    c.max--;
    c.want = "fail 1009 'message over max_message'";
    run_all(c);
    c.then = WF_TAKE_WHOLE;
    run_all(c);
    c.then = WF_TAKE_NOTHING;
    c.want = "";
    run_all(c);
    bytes_free(&all);
    bytes_free(&want);
    bytes_free(&w);
}

/* Asked for in pieces until its header has come, and then in another way. */
static void changes_its_mind(wf_take then, const char *want, bool more)
{
    static const wf_session_limits limits = { 5, 1, 1 };
    wf_message m;
    for (size_t cut = 6; cut <= 7; cut++) {
        rig r;
        bytes w = { 0 };
        if (more)
            wire_frame(&w, BINARY, "", 0, true);
        size_t before = w.n;
        wire_frame(&w, (more ? 0u : BINARY) | FIN, "123456", 6, true);
        rig_init(&r, false, &limits);
        CHECK(wf_session_want_pieces(&r.s, 100));
        r.s.take = (uint8_t)(cut == 6 ? WF_TAKE_PIECES : WF_TAKE_NOTHING);
        uint8_t *p = w.p;
        size_t n = before + 6;
        CHECK(wf_session_next(&r.s, &p, &n, &m) == WF_EVENT_NONE);
        r.s.take = (uint8_t)then;
        rig_feed(&r, w.p + before + 6, 6);
        CHECK_EVENTS(&r, want);
        bytes_free(&w);
        rig_free(&r);
    }
}

static void test_change(void)
{
    changes_its_mind(WF_TAKE_WHOLE, "fail 1009 'message over max_message'", false);
    changes_its_mind(WF_TAKE_NOTHING, "", false);
}

/* Held, then asked for in pieces that it exceeds as well: no byte of its payload is
 * waited for, nor the rest of its header. */
static void test_judged_at_once(void)
{
    static const wf_session_limits limits = { 5, 1, 1 };
    for (size_t cut = 4; cut <= 8; cut += 4) {
        uint8_t header[] = {
            BINARY | FIN, 0x80 | 126, 1000 >> 8, 1000 & 255, 1, 2, 3, 4
        };
        rig r;
        rig_init(&r, false, &limits);
        CHECK(wf_session_want_pieces(&r.s, 100));
        wf_message m;
        uint8_t *p = header;
        size_t n = cut;
        r.s.take = WF_TAKE_WAIT;
        CHECK(wf_session_next(&r.s, &p, &n, &m) == WF_EVENT_HELD);
        r.s.take = WF_TAKE_PIECES;
        CHECK(wf_session_next(&r.s, &p, &n, &m) == WF_EVENT_CLOSE);
        CHECK(r.s.code == WF_CLOSE_TOO_BIG);
        rig_free(&r);
    }
}

static void test_drop(void)
{
    bytes w = { 0 };
    wire_frame(&w, TEXT, "one ", 4, true);
    wire_frame(&w, 0, "two ", 4, true);
    wire_frame(&w, FIN | PING, "", 0, true);
    wire_frame(&w, FIN, "three", 5, true);
    wire_frame(&w, FIN | BINARY, "x", 1, true);
    setting c = { .wire = &w, .max = UINT64_MAX, .drop_after = 1 };
    c.first = c.then = WF_TAKE_PIECES;
    c.want = "dropped ping '' binary 'x'";
    run_all(c);
    c.first = WF_TAKE_WAIT;
    c.drop_after = 0;
    c.then = WF_TAKE_NOTHING; /* nothing was held: that is only for what is too big */
    c.want = "ping '' text 'one two three' binary 'x'";
    run_all(c);
    c.first = WF_TAKE_NOTHING;
    c.want = "ping ''";
    run_all(c);
    bytes_free(&w);
    w = (bytes){ 0 };
    wire_frame(&w, TEXT, "one", 3, true);
    wire_frame(&w, FIN, "\xFF", 1, true);
    c.first = c.then = WF_TAKE_PIECES;
    c.drop_after = 1;
    c.want = "dropped fail 1007 'text is not UTF-8'";
    run_all(c);
    bytes_free(&w);
}

/* One that was begun in pieces and put back, of more fragments than a whole one may have:
 * what comes between its frames is not touched by that, however it is cut. */
static void test_between(void)
{
    static const wf_session_limits limits = { 100, 2, 10 };
    static const uint8_t takes[] = { WF_TAKE_WHOLE, WF_TAKE_WAIT };
    for (size_t i = 0; i < sizeof takes; i++)
        for (size_t cut = 1; cut < 10; cut++) {
            bytes w = { 0 };
            rig r;
            rig_init(&r, false, &limits);
            CHECK(wf_session_want_pieces(&r.s, 100));
            r.s.take = WF_TAKE_PIECES;
            for (int k = 0; k < 3; k++)
                wire_frame(&w, k ? 0 : TEXT, "", 0, true);
            rig_feed(&r, w.p, w.n);
            w.n = 0;
            wf_session_drop_rest(&r.s);
            r.s.take = takes[i];
            wire_frame(&w, FIN | PING, "ping", 4, true);
            rig_feed(&r, w.p, cut);
            rig_feed(&r, w.p + cut, w.n - cut);
            CHECK_STR((char *)r.events.p, "ping 'ping'");
            bytes_free(&w);
            rig_free(&r);
        }
}

/* -- what is written ------------------------------------------------------------- */

#define WRITE(r, text, last)                                                             \
    CHECK_INT(wf_session_write(&(r)->s, text, sizeof text - 1, last), WF_OK)

static void test_write(void)
{
    for (int client = 0; client < 2; client++) {
        rig r;
        rig_init(&r, client, NULL);
        CHECK_INT(wf_session_open(&r.s, WF_OP_TEXT), WF_OK);
        CHECK_INT(wf_session_open(&r.s, WF_OP_TEXT), WF_BUSY);
        CHECK_INT(wf_session_send(&r.s, WF_OP_TEXT, "no", 2), WF_BUSY);
        WRITE(&r, "a\xC3", false);
        WRITE(&r, "", false);
        CHECK_INT(wf_session_write(&r.s, "x", 1, false), WF_UTF8);
        CHECK_INT(wf_session_write(&r.s, "", 0, true), WF_UTF8);
        CHECK_INT(wf_session_send(&r.s, WF_OP_PING, "!", 1), WF_OK);
        WRITE(&r, "\xA9", false);
        WRITE(&r, "", true);
        CHECK_INT(wf_session_open(&r.s, WF_OP_BINARY), WF_OK);
        WRITE(&r, "", true);
        CHECK_INT(wf_session_open(&r.s, WF_OP_BINARY), WF_OK);
        WRITE(&r, "\xFF", true);
        CHECK_INT(wf_session_open(&r.s, WF_OP_BINARY), WF_OK);
        wf_session_unopen(&r.s);
        CHECK_INT(wf_session_open(&r.s, WF_OP_TEXT), WF_OK);
        WRITE(&r, "end", false);
        CHECK_INT(wf_session_close(&r.s, 1011, "", 0), WF_OK);
        CHECK_INT(wf_session_write(&r.s, "x", 1, true), WF_CLOSED);
        CHECK_INT(wf_session_open(&r.s, WF_OP_TEXT), WF_CLOSED);
        CHECK_SAID(&r, "text... 'a\xC3' ping '!' more... '\xA9' more '' binary '' binary "
                       "'\xFF' text... 'end' close 1011 ''");
        rig_free(&r);
    }
}

/* Written, and inflated by a peer, with and without takeover; other messages between. */
static void write_packed(bool takeover, unsigned op)
{
    wf_extension agreed = { true, !takeover, !takeover, 10, 0 };
    taker server, client;
    setting c = { .agreed = &agreed, .max = UINT64_MAX, .first = WF_TAKE_PIECES };
    taker_init(&server, &c);
    c.client = true;
    taker_init(&client, &c);
    bytes b = sample(50000), want = { 0 };
    wf_session *s = &server.r.s;
    CHECK_INT(wf_session_send(s, WF_OP_TEXT, b.p, 999), WF_OK);
    CHECK_INT(wf_session_open(s, WF_OP_TEXT | op), WF_OK);
    for (size_t at = 0, k; at < b.n; at += k) {
        k = 1 + test_random_below(5000);
        k = WF_MIN(k, b.n - at);
        CHECK_INT(wf_session_write(s, b.p + at, k, false), WF_OK);
        if (at > 20000) /* a compressor may go at any time */
            wf_deflate_age(&server.r.env.deflate);
    }
    CHECK_INT(wf_session_write(s, "", 0, true), WF_OK);
    CHECK(s->deflate->deflater_stays || !s->deflate->deflater);
    CHECK_INT(wf_session_send(s, WF_OP_TEXT, b.p, 999), WF_OK);
    bytes wire = rig_output(&server.r), head = { b.p, 999, 0 };
    CHECK((op & WF_SEND_PLAIN) || wire.n < b.n / 2);
    take(&client, wire.p, wire.n);
    bytes ends = quoted("text ", &head), middle = quoted("text ", &b);
    bytes_print(&want, "%s %s %s", ends.p, middle.p, ends.p);
    CHECK_EVENTS(&client.r, (char *)want.p);
    bytes_free(&ends);
    bytes_free(&middle);
    bytes_free(&want);
    bytes_free(&wire);
    bytes_free(&b);
    taker_free(&server);
    taker_free(&client);
}

static void test_write_packed(void)
{
    for (int takeover = 0; takeover < 2; takeover++) {
        write_packed(takeover, 0);
        write_packed(takeover, WF_SEND_PLAIN);
    }
}

/* -- compressed input --------------------------------------------------------------- */

static void add_packed(bytes *w, z_stream *z, const bytes *b, size_t frames)
{
    bytes out = { .cap = b->n + 1000 };
    out.p = malloc(out.cap);
    z->next_in = b->p;
    z->avail_in = (uInt)b->n;
    z->next_out = out.p;
    z->avail_out = (uInt)out.cap;
    deflate(z, Z_SYNC_FLUSH);
    out.n = out.cap - z->avail_out - 4;
    for (size_t i = 0, at = 0; i < frames; i++) {
        size_t k = i + 1 == frames ? out.n - at : out.n / frames;
        wire_frame(w, (i ? 0 : TEXT | RSV1) | (i + 1 == frames ? FIN : 0u), out.p + at, k,
                   true);
        at += k;
    }
    bytes_free(&out);
}

static void test_packed(void)
{
    static const wf_extension agreed = { .deflate = true };
    bytes b = sample(90000), w = { 0 }, want = { 0 }, zeros = { 0 };
    z_stream z = { 0 };
    deflateInit2(&z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
    for (int i = 0; i < 5000; i++)
        bytes_add(&zeros, "0000000000000000", 16);
    bytes one = quoted("text ", &b), other = quoted("text ", &zeros);
    add_packed(&w, &z, &b, 3);
    add_packed(&w, &z, &zeros, 1); /* a few bytes, many pieces */
    add_packed(&w, &z, &b, 1);
    deflateEnd(&z);
    bytes_print(&want, "%s %s %s", one.p, other.p, one.p);
    run_ways(&w, false, &agreed, (char *)want.p);
    bytes_free(&want);
    bytes_free(&one);
    bytes_free(&other);
    bytes_free(&zeros);
    bytes_free(&b);
}

static void test_packed_limits(void)
{
    static const wf_extension agreed = { .deflate = true };
    static const wf_session_limits limits = { 30000, 100, 100 };
    bytes b = sample(90000), w = { 0 };
    z_stream z = { 0 };
    deflateInit2(&z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
    add_packed(&w, &z, &b, 2);
    wire_frame(&w, FIN | TEXT, "x", 1, true);
    deflateEnd(&z);
    bytes want = quoted("text ", &b);
    bytes_print(&want, " text 'x'");
    setting c = { .wire = &w, .agreed = &agreed, .limits = &limits, .max = b.n };
    c.first = WF_TAKE_WAIT;
    c.then = WF_TAKE_PIECES;
    c.want = (char *)want.p;
    run_all(c);
    c.max--;
    c.want = "fail 1009 'message over max_message'";
    run_all(c);
    c.then = WF_TAKE_WHOLE;
    run_all(c);
    c.first = c.then = WF_TAKE_PIECES;
    c.max = b.n;
    c.drop_after = 1;
    c.want = "dropped text 'x'";
    run_all(c);
    bytes_free(&want);
    bytes_free(&b);
    bytes_free(&w);
}

/* A ping between the frames does not make it one of which nothing was seen. */
static void test_packed_drop(void)
{
    static const wf_extension agreed = { .deflate = true };
    static const uint8_t ping[] = { FIN | PING, 0x80, 1, 2, 3, 4 };
    bytes b = sample(90000), w = { 0 };
    z_stream z = { 0 };
    deflateInit2(&z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
    add_packed(&w, &z, &b, 2);
    wire_frame(&w, FIN | TEXT, "next", 4, true);
    deflateEnd(&z);
    frame first = frame_at(w.p, w.n);
    size_t cut = first.head + (size_t)first.length;
    rig r;
    rig_init(&r, false, NULL);
    wf_session_compress(&r.s, wf_deflate_new(&options, &agreed, false));
    CHECK(wf_session_want_pieces(&r.s, UINT64_MAX));
    r.s.take = WF_TAKE_PIECES;
    rig_feed(&r, w.p, cut);
    CHECK(strncmp((char *)r.events.p, "piece ", 6) == 0);
    r.events.n = 0;
    rig_feed(&r, ping, sizeof ping);
    wf_session_drop_rest(&r.s);
    r.s.take = WF_TAKE_WHOLE;
    rig_feed(&r, w.p + cut, w.n - cut);
    CHECK_STR((char *)r.events.p, "ping '' text 'next'");
    bytes_free(&b);
    bytes_free(&w);
    rig_free(&r);
    wf_deflate_env_free(&r.env.deflate);
}

int main(void)
{
    static const test_case cases[] = {
        { "plain messages", test_plain },
        { "big messages", test_big },
        { "limits", test_limits },
        { "who changes its mind", test_change },
        { "what is held is judged at once", test_judged_at_once },
        { "what is dropped", test_drop },
        { "what comes between frames", test_between },
        { "what is written", test_write },
        { "compressed messages", test_packed },
        { "limits of compressed messages", test_packed_limits },
        { "compressed messages that are dropped", test_packed_drop },
        { "what is written compressed", test_write_packed },
    };
    return RUN(cases);
}
