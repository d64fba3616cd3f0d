/*
 * test_deflate: compressed messages through sessions (RFC 7692 6 and 7.2), in both roles,
 * however the input is cut; what is refused, and what memory it takes. The peer is zlib.
 */
#include "rig.h"

#include <zlib.h>

enum { RSV1 = 0x40 };

static wf_deflate_options options = { .wish = { true, false, false, 15, 15 },
                                      .window = 15,
                                      .memlevel = 8,
                                      .level = 6,
                                      .threshold = 0,
                                      .max_ratio = 25 };
static wf_extension agreed = { .deflate = true };

/* -- the peer --------------------------------------------------------------------- */

static z_stream peer_z;

static void peer_begin(int window)
{
    deflateEnd(&peer_z);
    peer_z = (z_stream){ 0 };
    deflateInit2(&peer_z, 9, Z_DEFLATED, -window, 8, Z_DEFAULT_STRATEGY);
}

/* One message, the next of that peer; flush: Z_SYNC_FLUSH or Z_FINISH. */
static bytes peer_pack(const void *p, size_t n, int flush)
{
    bytes b = { 0 };
    if (n == 0) { /* 7.2.3.6 */
        bytes_add(&b, "", 1);
        return b;
    }
    b.cap = n + n / 10 + 1000;
    b.p = malloc(b.cap);
    peer_z.next_in = (Bytef *)(uintptr_t)p;
    peer_z.avail_in = (uInt)n;
    peer_z.next_out = b.p;
    peer_z.avail_out = (uInt)b.cap;
    deflate(&peer_z, flush);
    b.n = b.cap - peer_z.avail_out - (flush == Z_FINISH ? 0 : 4);
    if (flush == Z_FINISH) { /* 7.2.3.4: the message goes on with an empty block */
        bytes_add(&b, "", 1);
        deflateReset(&peer_z);
    }
    return b;
}

static void add_packed(bytes *w, unsigned op, const void *p, size_t n, bool masked)
{
    bytes b = peer_pack(p, n, Z_SYNC_FLUSH);
    wire_frame(w, FIN | RSV1 | op, b.p, b.n, masked);
    bytes_free(&b);
}

/* -- scenarios: as rig's, on sessions that compress -------------------------------- */

static void deflate_rig(rig *r, bool client, const wf_session_limits *limits)
{
    rig_init(r, client, limits);
    wf_session_compress(&r->s, wf_deflate_new(&options, &agreed, client));
}

static void deflate_rig_free(rig *r)
{
    wf_session_free(&r->s);
    wf_outq_clear(&r->out, &r->env.pool);
    wf_outpool_free(&r->env.pool);
    wf_spares_free(&r->env.spares);
    wf_deflate_env_free(&r->env.deflate);
    bytes_free(&r->events);
}

static void compare(rig *r, const char *want, const char *said, const char *how,
                    size_t at)
{
    bytes got = rig_said(r);
    bytes_add(&r->events, "", 0);
    CHECK_THAT(strcmp((char *)r->events.p, want) == 0, "%s %zu: events %s, not %s", how,
               at, (char *)r->events.p, want);
    CHECK_THAT(strcmp((char *)got.p, said) == 0, "%s %zu: said %s, not %s", how, at,
               (char *)got.p, said);
    bytes_free(&got);
    deflate_rig_free(r);
}

/* Whole, cut once anywhere, and in random pieces of many sizes. */
static void run_cut(bytes *w, bool client, const wf_session_limits *limits,
                    const char *want, const char *said)
{
    rig r;
    bytes_add(w, "", 0);
    for (size_t cut = 0; cut <= w->n; cut += w->n < 4096 ? 1 : 1 + w->n / 13) {
        deflate_rig(&r, client, limits);
        rig_feed(&r, w->p, cut);
        rig_feed(&r, w->p + cut, w->n - cut);
        compare(&r, want, said, "cut at", cut);
    }
    for (size_t most = 1; most <= w->n; most = most * 4 + 1) {
        deflate_rig(&r, client, limits);
        for (size_t at = 0, k; at < w->n; at += k) {
            k = 1 + test_random_below((uint32_t)most);
            k = WF_MIN(k, w->n - at);
            rig_feed(&r, w->p + at, k);
        }
        compare(&r, want, said, "pieces up to", most);
    }
    bytes_free(w);
}

static bytes sample(size_t n)
{
    bytes b = { 0 };
    for (int i = 0; b.n < n; i++)
        bytes_print(&b, "{\"id\":%d,\"v\":%u,\"name\":\"\xC3\xA9t\xC3\xA9\"},", i,
                    test_random_below(100000));
    b.n = n;
    while (n > 0 && (b.p[n - 1] & 0x80)) /* no character is cut */
        b.p[--n] = ' ';
    b.p[b.n] = '\0';
    return b;
}

/* -- what is lawful ------------------------------------------------------------------ */

/* RFC 7692 7.2.3.1 to 7.2.3.5: the examples, byte by byte as printed there. */
static void examples_of_the_rfc(void)
{
    bytes w = { 0 };
    bytes_add(&w, "\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00", 9);
    run_cut(&w, true, NULL, "text 'Hello'", "");
    bytes_add(&w, "\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00", 11);
    run_cut(&w, true, NULL, "text 'Hello'", "");
    bytes_add(&w, "\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\xc1\x05\xf2\x00\x11\x00\x00", 16);
    run_cut(&w, true, NULL, "text 'Hello' text 'Hello'", "");
    bytes_add(&w, "\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 13);
    run_cut(&w, true, NULL, "text 'Hello'", "");
    bytes_add(&w, "\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 10);
    run_cut(&w, true, NULL, "text 'Hello'", "");
    bytes_add(&w, "\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 15);
    run_cut(&w, true, NULL, "text 'Hello'", "");
    bytes_add(&w, "\xc1\x01\x00\x82\x00\xc2\x01\x00", 8); /* 7.2.3.6 */
    run_cut(&w, true, NULL, "text '' binary '' binary ''", "");
}

/* In one frame and in several, with control frames between, beside plain ones. */
static void conversations(void)
{
    for (int client = 0; client < 2; client++)
        for (int window = 9; window <= 15; window += 3) {
            bytes w = { 0 }, want = { 0 }, text = sample(3000);
            bool m = !client;
            peer_begin(window);
            add_packed(&w, TEXT, text.p, text.n, m);
            wire_frame(&w, FIN | TEXT, "plain", 5, m);
            bytes b = peer_pack(text.p, text.n, Z_SYNC_FLUSH);
            wire_frame(&w, RSV1 | BINARY, b.p, 0, m);
            wire_frame(&w, 0, b.p, 7, m);
            wire_frame(&w, FIN | PING, "!", 1, m);
            wire_frame(&w, 0, b.p + 7, b.n - 7, m);
            wire_frame(&w, FIN, "", 0, m);
            wire_frame(&w, BINARY, "a", 1, m);
            wire_frame(&w, FIN, "b", 1, m);
            add_packed(&w, TEXT, "", 0, m);
            bytes_free(&b);
            b = peer_pack(text.p, text.n, Z_FINISH); /* and the peer begins anew */
            wire_frame(&w, FIN | RSV1 | TEXT, b.p, b.n, m);
            add_packed(&w, BINARY, text.p, 100, m);
            bytes_print(&want, "text ");
            rig_quote(&want, text.p, text.n);
            bytes_print(&want, " text 'plain' ping '!' binary ");
            rig_quote(&want, text.p, text.n);
            bytes_print(&want, " binary 'ab' text '' text ");
            rig_quote(&want, text.p, text.n);
            bytes_print(&want, " binary ");
            rig_quote(&want, text.p, 100);
            run_cut(&w, client, NULL, (char *)want.p, "pong '!'");
            bytes_free(&b);
            bytes_free(&want);
            bytes_free(&text);
        }
}

/* Sizes around those of the scratch room and the limit, of bytes that do not compress. */
static void sizes_of_noise(void)
{
    static const size_t sizes[] = {
        1, 8191, 16383, 16384, 16385, 32768, 100000, 1048576
    };
    uint8_t *p = malloc(1048577);
    for (size_t i = 0; i < 1048577; i++)
        p[i] = (uint8_t)test_random();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        bytes w = { 0 }, want = { 0 };
        peer_begin(15);
        add_packed(&w, BINARY, p, sizes[i], true);
        bytes_print(&want, "binary ");
        rig_quote(&want, p, sizes[i]);
        run_cut(&w, false, NULL, (char *)want.p, "");
        bytes_free(&want);
    }
    free(p);
}

/* -- what is refused --------------------------------------------------------------------
 */

static void refuse(bytes *w, const char *want, const char *said)
{
    run_cut(w, true, NULL, want, said);
}

static void bad_data(void)
{
    static const char why[] = "fail 1007 'bad compressed data'";
    static const char early[] = "fail 1007 'compressed data ends too early'";
    char said[128];
    bytes w = { 0 };
    wire_frame(&w, FIN | RSV1 | BINARY, "\xff\xff\xff\xff", 4, false);
    snprintf(said, sizeof said, "close 1007 'bad compressed data'");
    refuse(&w, why, said);
    w = (bytes){ 0 };
    wire_frame(&w, FIN | RSV1 | BINARY, "\x00\x07\x00\xf8\xff\x48\x65", 7, false);
    refuse(&w, early, "close 1007 'compressed data ends too early'");
    w = (bytes){ 0 }; /* ends inside a block */
    wire_frame(&w, FIN | RSV1 | BINARY, "\xf2\x48\xcd", 3, false);
    rig r;
    deflate_rig(&r, true, NULL);
    rig_feed(&r, w.p, w.n);
    CHECK_INT(r.s.code, 1007);
    deflate_rig_free(&r);
    bytes_free(&w);
    w = (bytes){ 0 }; /* looks back further than there is anything */
    wire_frame(&w, FIN | RSV1 | TEXT, "\xf2\x00\x11\x00\x00", 5, false);
    refuse(&w, why, "close 1007 'bad compressed data'");
}

static void bits_out_of_place(void)
{
    bytes w = { 0 };
    wire_frame(&w, FIN | RSV1 | PING, "", 0, false);
    refuse(&w, "fail 1002 'a control frame is compressed'",
           "close 1002 'a control frame is compressed'");
    w = (bytes){ 0 };
    wire_frame(&w, RSV1 | TEXT, "\xf2\x48\xcd", 3, false);
    wire_frame(&w, FIN | RSV1, "\xc9\xc9\x07\x00", 4, false);
    refuse(&w, "fail 1002 'a continuation frame has the bit of compression'",
           "close 1002 'a continuation frame has the bit of compression'");
    w = (bytes){ 0 };
    wire_frame(&w, FIN | 0x60 | TEXT, "", 0, false);
    refuse(&w, "fail 1002 'a reserved bit is set'", "close 1002 'a reserved bit is set'");
    w = (bytes){ 0 };
    wire_frame(&w, FIN | RSV1 | TEXT, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7, true);
    scenario_run(&w, false, NULL, "fail 1002 'a reserved bit is set'",
                 "close 1002 'a reserved bit is set'");
}

static void text_is_checked_when_inflated(void)
{
    bytes w = { 0 };
    peer_begin(15);
    add_packed(&w, TEXT, "abc\xff", 4, false);
    refuse(&w, "fail 1007 'text is not UTF-8'", "close 1007 'text is not UTF-8'");
    w = (bytes){ 0 };
    peer_begin(15);
    add_packed(&w, TEXT, "abc\xe2\x82", 5, false);
    refuse(&w, "fail 1007 'text ends inside a character'",
           "close 1007 'text ends inside a character'");
}

/* Design 4: max_message and the ratio, each before more memory than that is taken. */
static void bombs(void)
{
    wf_session_limits small = { 1000, 100, 100 };
    static uint8_t zeros[8u << 20];
    bytes w = { 0 }, text = sample(1001);
    peer_begin(15);
    add_packed(&w, BINARY, text.p, text.n, true);
    run_cut(&w, false, &small, "fail 1009 'message over max_message'",
            "close 1009 'message over max_message'");
    rig r;
    w = (bytes){ 0 };
    peer_begin(15);
    add_packed(&w, BINARY, zeros, sizeof zeros, true);
    deflate_rig(&r, false, NULL);
    rig_feed(&r, w.p, w.n);
    CHECK_EVENTS(&r, "fail 1009 'message inflates over max_ratio'");
    CHECK_THAT(r.s.msg.cap <= 256u << 10, "%u bytes kept", r.s.msg.cap);
    deflate_rig_free(&r);
    options.max_ratio = 1032;
    deflate_rig(&r, false, NULL);
    rig_feed(&r, w.p, w.n);
    CHECK_EVENTS(&r, "fail 1009 'message over max_message'");
    CHECK_THAT(r.s.msg.cap <= 1u << 20, "%u bytes kept", r.s.msg.cap);
    deflate_rig_free(&r);
    options.max_ratio = 25;
    bytes_free(&w);
    bytes_free(&text);
}

/* Blocks that inflate to nothing are bounded like others. */
static void endless_nothing(void)
{
    wf_session_limits small = { 1000, 1000, 100 };
    rig r;
    deflate_rig(&r, true, &small);
    for (int i = 0; i < 500 && !r.over; i++) {
        bytes w = { 0 };
        wire_frame(&w, i ? 0 : RSV1 | BINARY, "\0\0\0\xff\xff\0\0\0\xff\xff", 10, false);
        rig_feed(&r, w.p, w.n);
        bytes_free(&w);
    }
    CHECK_EVENTS(&r, "fail 1009 'message over max_message'");
    deflate_rig_free(&r);
}

/* -- what is sent -----------------------------------------------------------------------
 */

/* Everything queued by `from`, received by `to`. */
static void pass(rig *from, rig *to)
{
    bytes out = rig_output(from);
    wf_outq_clear(&from->out, &from->env.pool);
    rig_feed(to, out.p, out.n);
    bytes_free(&out);
}

static void check_pass(rig *from, rig *to, unsigned op, const void *p, size_t n)
{
    bytes want = { 0 };
    to->events.n = 0;
    CHECK_INT(wf_session_send(&from->s, op, p, n), WF_OK);
    pass(from, to);
    bytes_print(&want, (op & 15) == TEXT ? "text " : "binary ");
    rig_quote(&want, p, n);
    CHECK_EVENTS(to, (char *)want.p);
    bytes_free(&want);
}

/* Sessions of both roles understand each other under every agreement. */
static void there_and_back(void)
{
    bytes text = sample(60000);
    uint8_t noise[3000];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)test_random();
    for (unsigned way = 0; way < 4 * 8; way++) {
        uint8_t bits = (uint8_t)(8 + way / 4);
        agreed = (wf_extension){ true, way & 1, way & 2, bits, bits };
        rig client, server;
        deflate_rig(&client, true, NULL);
        deflate_rig(&server, false, NULL);
        for (int i = 0; i < 20; i++) {
            rig *from = i % 2 ? &client : &server, *to = i % 2 ? &server : &client;
            size_t n = (size_t)i * 3001 % text.n;
            while (n > 0 && (text.p[n] & 0xc0) == 0x80)
                n--;
            check_pass(from, to, TEXT, text.p, n);
            check_pass(from, to, BINARY, noise, sizeof noise);
            check_pass(from, to, BINARY | WF_SEND_PLAIN, text.p, 1000);
            check_pass(from, to, BINARY, "", 0);
            if (i % 5 == 4) { /* nobody was active for two periods */
                wf_deflate_age(&from->env.deflate);
                wf_deflate_age(&from->env.deflate);
            }
            wf_packed alone = wf_deflate_alone(&options, from->s.deflate->window,
                                               &from->env.deflate, text.p, 500);
            bytes w = { 0 };
            to->events.n = 0;
            wire_frame(&w, FIN | RSV1 | BINARY, alone.data, alone.len, from == &client);
            rig_feed(to, w.p, w.n);
            CHECK(to->events.n > 0 && !to->over);
            wf_deflate_forget(from->s.deflate);
            bytes_free(&w);
        }
        deflate_rig_free(&client);
        deflate_rig_free(&server);
    }
    agreed = (wf_extension){ .deflate = true };
    bytes_free(&text);
}

/* A window of 8: nothing refers to more than 256 bytes back. */
static void the_smallest_window(void)
{
    bytes text = sample(20000);
    agreed = (wf_extension){ true, false, false, 8, 8 };
    rig r;
    deflate_rig(&r, false, NULL);
    z_stream z = { 0 };
    CHECK_INT(inflateInit2(&z, -8), Z_OK);
    for (int level = 0; level < 3; level++) {
        wf_packed packed =
            wf_deflate_message(r.s.deflate, &r.env.deflate, text.p, text.n);
        bytes all = { 0 }, got = { 0 };
        bytes_add(&all, packed.data, packed.len);
        bytes_add(&all, "\0\0\xff\xff", 4);
        z.next_in = all.p;
        z.avail_in = (uInt)all.n;
        uint8_t small[64]; /* so that zlib has nothing but its window to look back */
        do {
            z.next_out = small;
            z.avail_out = sizeof small;
            int e = inflate(&z, Z_SYNC_FLUSH);
            CHECK(e == Z_OK || e == Z_BUF_ERROR);
            bytes_add(&got, small, sizeof small - z.avail_out);
        } while (z.avail_out == 0);
        CHECK(got.n == text.n && memcmp(got.p, text.p, got.n) == 0);
        bytes_free(&all);
        bytes_free(&got);
    }
    inflateEnd(&z);
    deflate_rig_free(&r);
    agreed = (wf_extension){ .deflate = true };
    bytes_free(&text);
}

static void what_is_compressed(void)
{
    rig r;
    options.threshold = 100;
    agreed.server_no_takeover = true;
    deflate_rig(&r, false, NULL);
    static uint8_t same[100], noise[600];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)test_random();
    static const struct {
        unsigned op;
        size_t n;
        const void *p;
        bool packed;
    } sends[] = {
        { BINARY, 99, same, false },
        { BINARY, 100, same, true },
        { BINARY | WF_SEND_COMPRESSED, 99, same, true },
        { BINARY | WF_SEND_PLAIN, 100, same, false },
        { BINARY, 600, noise, false }, /* would be longer */
        { PING, 100, same, false },
    };
    for (size_t i = 0; i < sizeof sends / sizeof sends[0]; i++) {
        CHECK_INT(wf_session_send(&r.s, sends[i].op, sends[i].p, sends[i].n), WF_OK);
        bytes out = rig_output(&r);
        frame f = frame_at(out.p, out.n);
        CHECK_THAT(((f.b0 & RSV1) != 0) == sends[i].packed, "send %zu", i);
        CHECK_INT(f.b0 & 15, sends[i].op & 15);
        wf_outq_clear(&r.out, &r.env.pool);
        bytes_free(&out);
    }
    deflate_rig_free(&r);
    options.threshold = 0;
    agreed = (wf_extension){ .deflate = true };
}

/* Without takeover nothing but the record itself stays with a connection, and with it
 * the compressor goes after a while. */
static void memory(void)
{
    rig r;
    CHECK_THAT(sizeof(wf_deflate) <= 48, "%zu bytes", sizeof(wf_deflate));
    agreed.server_no_takeover = agreed.client_no_takeover = true;
    deflate_rig(&r, false, NULL);
    bytes w = { 0 };
    peer_begin(15);
    add_packed(&w, TEXT, "hello", 5, true);
    rig_feed(&r, w.p, w.n);
    CHECK_INT(wf_session_send(&r.s, TEXT, "hello", 5), WF_OK);
    CHECK(!r.s.deflate->inflater && !r.s.deflate->deflater);
    CHECK(r.env.deflate.spares == 1 && r.env.deflate.lent[0]);
    CHECK(!wf_deflate_age(&r.env.deflate));
    CHECK(wf_deflate_age(&r.env.deflate));
    CHECK(r.env.deflate.spares == 0 && !r.env.deflate.lent[0]);
    deflate_rig_free(&r);
    agreed = (wf_extension){ .deflate = true };
    deflate_rig(&r, false, NULL);
    CHECK_INT(wf_session_send(&r.s, TEXT, "hello", 5), WF_OK);
    CHECK(r.s.deflate->deflater && r.env.deflate.owned);
    CHECK(!wf_deflate_age(&r.env.deflate));
    CHECK(wf_deflate_age(&r.env.deflate));
    CHECK(!r.s.deflate->deflater && !r.env.deflate.owned);
    deflate_rig_free(&r);
    bytes_free(&w);
}

static const test_case cases[] = {
    { "examples of the RFC", examples_of_the_rfc },
    { "conversations", conversations },
    { "sizes of noise", sizes_of_noise },
    { "bad data", bad_data },
    { "bits out of place", bits_out_of_place },
    { "text is checked when inflated", text_is_checked_when_inflated },
    { "bombs", bombs },
    { "endless nothing", endless_nothing },
    { "there and back", there_and_back },
    { "the smallest window", the_smallest_window },
    { "what is compressed", what_is_compressed },
    { "memory", memory },
};

int main(void)
{
    int result = RUN(cases);
    deflateEnd(&peer_z);
    return result;
}
