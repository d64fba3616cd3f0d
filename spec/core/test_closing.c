/*
 * test_closing: the other half of a session: what it queues. Messages in both
 * roles, masking keys, pongs and their bound, and the close handshake from both
 * sides (RFC 6455 5.3, 5.5, 7).
 */
#include "rig.h"

static void feed_frame(rig *r, unsigned b0, const char *p, size_t n)
{
    bytes w = { 0 };
    wire_frame(&w, b0, p, n, !r->s.client);
    rig_feed(r, w.p, w.n);
    bytes_free(&w);
}

/* -- sending --------------------------------------------------------------------- */

static void messages_of_every_size(void)
{
    static const size_t sizes[] = { 0,     1,     125,   126,    127,    128,
                                    65535, 65536, 65537, 131072, 262144, 1000003 };
    uint8_t *p = malloc(1000003);
    for (size_t i = 0; i < 1000003; i++)
        p[i] = (uint8_t)test_random();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int client = 0; client < 2; client++) {
            rig r;
            bytes want = { 0 };
            size_t n = sizes[i];
            rig_init(&r, client, NULL);
            CHECK_INT(wf_session_send(&r.s, WF_OP_BINARY, p, n), WF_OK);
            CHECK_INT(wf_session_send(&r.s, WF_OP_TEXT, "end", 3), WF_OK);
            size_t header = n < 126 ? 2 : n < 65536 ? 4 : 10;
            CHECK_INT(r.out.bytes, header + n + 5 + (client ? 8 : 0)); /* shortest form */
            bytes_print(&want, "binary ");
            rig_quote(&want, p, n);
            bytes_print(&want, " text 'end'");
            CHECK_SAID(&r, (char *)want.p);
            bytes_free(&want);
            rig_free(&r);
        }
    free(p);
}

/* What one side sends the other understands, with all bytes cut at random. */
static void two_sessions_understand_each_other(void)
{
    static char text[70000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = "abcdefgh"[i % 8];
    for (int client = 0; client < 2; client++) {
        rig from, to;
        bytes want = { 0 };
        rig_init(&to, !client, NULL);
        rig_init(&from, client, NULL);
        for (size_t n = 0; n < sizeof text; n = n * 2 + 1) {
            CHECK_INT(
                wf_session_send(&from.s, n & 2 ? WF_OP_TEXT : WF_OP_BINARY, text, n),
                WF_OK);
            CHECK_INT(wf_session_send(&from.s, WF_OP_PING, text, n % 126), WF_OK);
            bytes_print(&want, n & 2 ? "text " : "binary ");
            rig_quote(&want, (uint8_t *)text, n);
            bytes_print(&want, " ping ");
            rig_quote(&want, (uint8_t *)text, n % 126);
            bytes_print(&want, " ");
        }
        CHECK_INT(wf_session_close(&from.s, 4000, "done", 4), WF_OK);
        bytes_print(&want, "close 4000 'done'");
        bytes wire = rig_output(&from);
        for (size_t at = 0, k; at < wire.n; at += k) {
            k = 1 + test_random_below(3000);
            k = WF_MIN(k, wire.n - at);
            rig_feed(&to, wire.p + at, k);
        }
        CHECK_EVENTS(&to, (char *)want.p);
        bytes_free(&want);
        bytes_free(&wire);
        rig_free(&from);
        rig_free(&to);
    }
}

/* The header alone, for a message that goes to the kernel from where it lies. */
static void the_header_of_a_big_message(void)
{
    rig r;
    uint8_t head[WF_FRAME_HEAD_MAX];
    rig_init(&r, false, NULL);
    CHECK_INT(wf_session_head(WF_OP_TEXT, 100000, head), 10);
    frame f = frame_at(head, 10);
    CHECK(f.b0 == (FIN | TEXT) && f.length == 100000 && !f.masked && f.head == 10);
    CHECK_INT(r.out.bytes, 0);
    rig_free(&r);
}

/* -- masks ------------------------------------------------------------------------ */

/* RFC 6455 5.3: a fresh key for every frame, from the source that was given. */
static void keys_come_from_the_source(void)
{
    rig r;
    rig_init(&r, true, NULL);
    for (unsigned i = 0; i < 1000; i++)
        CHECK_INT(wf_session_send(&r.s, i & 1 ? WF_OP_TEXT : WF_OP_PING, "x", 1), WF_OK);
    CHECK_INT(rig_random_calls, 4); /* 4,000 bytes, 1,024 at a time */
    bytes all = rig_output(&r);
    CHECK_INT(all.n, 7000);
    for (unsigned i = 0; i < 1000; i++) {
        const uint8_t *p = all.p + 7 * i;
        CHECK_THAT((p[1] & 0x80) && p[2] == (uint8_t)(4 * i) &&
                       p[5] == (uint8_t)(4 * i + 3),
                   "frame %u: key %02x..%02x", i, p[2], p[5]);
        CHECK_INT(p[6], 'x' ^ p[2]);
    }
    /* a key that was used is nowhere to be found again */
    size_t used = sizeof r.env.random_bytes - r.env.random_left;
    for (size_t i = 0; i < used; i++)
        CHECK_INT(r.env.random_bytes[i], 0);
    bytes_free(&all);
    rig_free(&r);
}

static void control_frames_are_masked_too(void)
{
    rig r;
    rig_init(&r, true, NULL);
    feed_frame(&r, FIN | PING, "ping", 4);
    feed_frame(&r, FIN | CLOSE,
               "\x03\xE8"
               "bye",
               5);
    CHECK_SAID(&r, "pong 'ping' close 1000 ''"); /* and masked: CHECK_SAID looks */
    bytes all = rig_output(&r);
    CHECK(memcmp(all.p + 2, "\0\1\2\3", 4) == 0);
    CHECK(memcmp(all.p + 12, "\4\5\6\7", 4) == 0);
    bytes_free(&all);
    rig_free(&r);
}

/* Two connections of one loop share the stock, never a key. */
static void no_two_sessions_share_a_key(void)
{
    rig a, b;
    rig_init(&a, true, NULL);
    rig_init(&b, true, NULL);
    b.s.env = &a.env;
    for (int i = 0; i < 2; i++) {
        CHECK_INT(wf_session_send(&a.s, WF_OP_TEXT, "", 0), WF_OK);
        CHECK_INT(wf_session_send(&b.s, WF_OP_TEXT, "", 0), WF_OK);
    }
    bytes x = rig_output(&a), y = rig_output(&b);
    CHECK(memcmp(x.p + 2, "\0\1\2\3", 4) == 0 && memcmp(y.p + 2, "\4\5\6\7", 4) == 0);
    CHECK(memcmp(x.p + 8, "\x08\x09\x0A\x0B", 4) == 0);
    bytes_free(&x);
    bytes_free(&y);
    wf_outq_clear(&b.out, &a.env.pool);
    rig_free(&b);
    rig_free(&a);
}

/* No random bytes, no frame: never a key that can be guessed. */
static void without_random_bytes_nothing_is_sent(void)
{
    rig r;
    rig_init(&r, true, NULL);
    rig_random_fails = true;
    CHECK(wf_session_send(&r.s, WF_OP_TEXT, "secret", 6) != WF_OK);
    feed_frame(&r, FIN | PING, "ping", 4);
    CHECK_INT(r.out.bytes, 0);
    rig_random_fails = false;
    CHECK_INT(wf_session_send(&r.s, WF_OP_TEXT, "now", 3), WF_OK);
    CHECK_SAID(&r, "text 'now'");
    wf_outq_clear(&r.out, &r.env.pool);
    r.env.random_left = 0;
    rig_random_fails = true;
    CHECK(wf_session_close(&r.s, 1000, "", 0) != WF_OK);
    CHECK_INT(r.out.bytes, 0);
    rig_free(&r);
}

static void a_server_needs_no_random_bytes(void)
{
    rig r;
    rig_init(&r, false, NULL);
    rig_random_fails = true;
    CHECK_INT(wf_session_send(&r.s, WF_OP_TEXT, "x", 1), WF_OK);
    CHECK_SAID(&r, "text 'x'");
    CHECK_INT(rig_random_calls, 0);
    rig_free(&r);
}

/* -- pongs -------------------------------------------------------------------------- */

static void pings_of_every_length_are_answered(void)
{
    char payload[125];
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (char)i;
    for (size_t n = 0; n <= sizeof payload; n++)
        for (int client = 0; client < 2; client++) {
            rig r;
            bytes want = { 0 };
            rig_init(&r, client, NULL);
            feed_frame(&r, FIN | PING, payload, n);
            bytes_print(&want, "pong ");
            rig_quote(&want, (uint8_t *)payload, n);
            CHECK_SAID(&r, (char *)want.p);
            bytes_free(&want);
            rig_free(&r);
        }
}

/* A peer that pings and never reads costs no memory without end; once it reads, its
 * pings are answered again. */
static void pongs_are_bounded(void)
{
    static const char payload[125];
    for (int client = 0; client < 2; client++)
        for (size_t n = 0; n < 126; n += 125) {
            rig r;
            rig_init(&r, client, NULL);
            for (int i = 0; i < 50000; i++)
                feed_frame(&r, FIN | PING, payload, n);
            CHECK_THAT(r.out.bytes >= 60 << 10 && r.out.bytes <= 160 << 10,
                       "%zu bytes of pongs wait", r.out.bytes);
            wf_outq_consume(&r.out, &r.env.pool, r.out.bytes);
            feed_frame(&r, FIN | PING, "again", 5);
            CHECK_SAID(&r, "pong 'again'");
            rig_free(&r);
        }
}

/* A big message on its way must not cost the peer its pong: it would take us for dead. */
static void pongs_join_a_long_queue(void)
{
    static uint8_t payload[1 << 20];
    rig r;
    rig_init(&r, false, NULL);
    CHECK_INT(wf_session_send(&r.s, WF_OP_BINARY, payload, sizeof payload), WF_OK);
    for (int i = 0; i < 100; i++)
        feed_frame(&r, FIN | PING, "alive?", 6);
    size_t others = 10 + sizeof payload + 99 * 8;
    CHECK_INT(r.out.bytes, others + 8);
    wf_outq_consume(&r.out, &r.env.pool, WF_MIN(others, r.out.bytes));
    CHECK_SAID(&r, "pong 'alive?'");
    rig_free(&r);
}

/* -- closing: the peer begins ---------------------------------------------------------
 */

static bool code_is_valid(unsigned code)
{
    return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 &&
            code != 1006) ||
           (code >= 3000 && code < 5000);
}

static void every_close_code(void)
{
    for (unsigned code = 0; code < 65536; code++) {
        rig r;
        char body[] = { (char)(code >> 8), (char)code, 'w', 'h', 'y' }, want[100];
        rig_init(&r, code & 1, NULL);
        feed_frame(&r, FIN | CLOSE, body, code & 2 ? 5 : 2);
        if (code_is_valid(code)) {
            snprintf(want, sizeof want, "close %u '%s'", code, code & 2 ? "why" : "");
            CHECK_EVENTS(&r, want);
            CHECK_INT(r.s.sent, code);
            snprintf(want, sizeof want, "close %u ''", code);
            CHECK_SAID(&r, want); /* RFC 6455 5.5.1: typically echoes the code */
        } else {
            CHECK_EVENTS(&r, "fail 1002 'invalid close code'");
            CHECK_SAID(&r, "close 1002 'invalid close code'");
        }
        rig_free(&r);
    }
}

typedef struct goodbye {
    const char *body;
    size_t n;
    const char *events, *said;
} goodbye;

#define BODY(s) (s), sizeof(s) - 1

static const goodbye goodbyes[] = {
    { BODY(""), "close 1005 ''", "close ''" },
    { BODY("\x03\xE8"), "close 1000 ''", "close 1000 ''" },
    { BODY("\x03\xE8 bye"), "close 1000 ' bye'", "close 1000 ''" },
    { BODY("\x0F\xA0κόσμε"), "close 4000 'κόσμε'", "close 4000 ''" },
    { BODY("\x03"), "fail 1002 'a close body of one byte'",
      "close 1002 'a close body of one byte'" },
    { BODY("\x03\xE8\xFF"), "fail 1007 'a close reason is not UTF-8'",
      "close 1007 'a close reason is not UTF-8'" },
    { BODY("\x03\xE8"
           "ab\xCE"),
      "fail 1007 'a close reason is not UTF-8'",
      "close 1007 'a close reason is not UTF-8'" },
    { BODY("\x03\xED\xFF"), "fail 1002 'invalid close code'",
      "close 1002 'invalid close code'" },
    { BODY("\x03\xE8"
           "0123456789012345678901234567890123456789012345678901234567890"
           "12345678901234567890123456789012345678901234567890123456789012"),
      "close 1000 '0123456789012345678901234567890123456789012345678901234567890"
      "12345678901234567890123456789012345678901234567890123456789012'",
      "close 1000 ''" },
};

static void goodbyes_however_cut(void)
{
    for (size_t i = 0; i < sizeof goodbyes / sizeof goodbyes[0]; i++)
        for (int way = 0; way < 4; way++) {
            const goodbye *g = &goodbyes[i];
            bool client = way & 1;
            bytes w = { 0 };
            if (way & 2) /* in the middle of a message */
                wire_frame(&w, TEXT, "unfinished", 10, !client);
            wire_frame(&w, FIN | CLOSE, g->body, g->n, !client);
            /* RFC 6455 5.5.1: the last frame; whatever follows is ignored */
            wire_frame(&w, FIN | TEXT, "late", 4, !client);
            wire_frame(&w, FIN | PING, "late", 4, client);
            bytes_add(&w, "\xFF\xFF\xFF", 3);
            scenario_run(&w, client, NULL, g->events, g->said);
        }
}

/* Nothing may be sent, and nothing is looked at. */
static void check_over(rig *r)
{
    uint8_t late[] = { 0x89, 0x80, 1, 2, 3, 4, 0x81, 0x80, 1, 2, 3, 4 }, *p = late;
    size_t n = sizeof late, before = r->out.bytes;
    wf_message m;
    uint8_t *window;
    wf_event event = wf_session_next(&r->s, &p, &n, &m);
    CHECK(event == (r->s.fail ? WF_EVENT_CLOSE : WF_EVENT_NONE));
    CHECK(p == late && n == sizeof late);
    CHECK_INT(wf_session_window(&r->s, &window), 0);
    CHECK_INT(wf_session_send(&r->s, WF_OP_TEXT, "x", 1), WF_CLOSED);
    CHECK_INT(wf_session_send(&r->s, WF_OP_PING, "x", 1), WF_CLOSED);
    CHECK_INT(wf_session_close(&r->s, 1001, "again", 5), WF_OK);
    wf_session_fail(&r->s, 1002, "too late");
    CHECK_INT(r->out.bytes, before);
}

static void over_is_over(void)
{
    rig r;
    rig_init(&r, false, NULL);
    feed_frame(&r, FIN | CLOSE, "\x03\xE9", 2);
    check_over(&r);
    CHECK_EVENTS(&r, "close 1001 ''");
    CHECK(r.s.fail == NULL && r.s.code == 1001);
    rig_free(&r);
    rig_init(&r, false, NULL);
    feed_frame(&r, FIN | CLOSE, "x", 1);
    check_over(&r);
    CHECK(r.s.code == 1002 && strcmp(r.s.fail, "a close body of one byte") == 0);
    rig_free(&r);
    rig_init(&r, true, NULL);
    wf_session_fail(&r.s, 1011, "a reason of ours");
    check_over(&r);
    CHECK_SAID(&r, "close 1011 'a reason of ours'");
    CHECK(r.s.code == 1011);
    rig_free(&r);
}

/* -- closing: we begin ------------------------------------------------------------------
 */

static void after_our_close(void)
{
    rig r;
    rig_init(&r, false, NULL);
    CHECK_INT(wf_session_close(&r.s, 1000, "bye", 3), WF_OK);
    CHECK_INT(r.s.state, WF_SESSION_CLOSE_SENT);
    CHECK_INT(r.s.sent, 1000);
    CHECK_INT(wf_session_send(&r.s, WF_OP_TEXT, "x", 1), WF_CLOSED); /* RFC 6455 5.5.1 */
    CHECK_INT(wf_session_send(&r.s, WF_OP_PING, "x", 1), WF_CLOSED);
    CHECK_INT(wf_session_close(&r.s, 1001, "again", 5), WF_OK); /* harmless */
    /* what was on its way still arrives; pings are not answered any more */
    feed_frame(&r, TEXT, "on its ", 7);
    feed_frame(&r, FIN | PING, "?", 1);
    feed_frame(&r, FIN, "way", 3);
    feed_frame(&r, FIN | CLOSE,
               "\x0F\xA1"
               "me too",
               8);
    CHECK_EVENTS(&r, "ping '?' text 'on its way' close 4001 'me too'");
    CHECK_SAID(&r, "close 1000 'bye'"); /* once */
    CHECK_INT(r.s.state, WF_SESSION_DONE);
    CHECK_INT(r.s.sent, 1000);
    rig_free(&r);
}

/* A breach after our close: no second close frame (RFC 6455 7.1.7). */
static void a_breach_after_our_close(void)
{
    static const char *const bad[] = { "\x83\x80", "\x81\x01", "\x88\x81\0\0\0\0x" };
    static const size_t n[] = { 2, 2, 7 };
    for (size_t i = 0; i < 3; i++) {
        rig r;
        rig_init(&r, false, NULL);
        CHECK_INT(wf_session_close(&r.s, 1001, "", 0), WF_OK);
        rig_feed(&r, (const uint8_t *)bad[i], n[i]);
        CHECK(r.over && r.s.fail && r.s.code == 1002);
        CHECK_SAID(&r, "close 1001 ''");
        rig_free(&r);
    }
}

static void without_a_code(void)
{
    rig r;
    rig_init(&r, false, NULL);
    CHECK_INT(wf_session_close(&r.s, 0, "ignored", 7), WF_OK);
    CHECK_INT(r.s.sent, WF_CLOSE_NO_STATUS);
    CHECK_SAID(&r, "close ''");
    feed_frame(&r, FIN | CLOSE, "", 0);
    CHECK_EVENTS(&r, "close 1005 ''");
    rig_free(&r);
}

/* A reason that is too long is cut between characters (RFC 6455 5.5.1: UTF-8). */
static void long_reasons_are_cut(void)
{
    static const char *const chars[] = { "x", "κ", "\xE2\x82\xAC", "\xF0\x9F\x98\x80" };
    for (size_t c = 0; c < 4; c++)
        for (size_t shift = 0; shift < 4; shift++)
            for (size_t total = 118; total < 140; total++) {
                char reason[200] = "abc";
                size_t n = shift, len = strlen(chars[c]);
                while (n + len <= total) {
                    memcpy(reason + n, chars[c], len);
                    n += len;
                }
                rig r;
                rig_init(&r, false, NULL);
                CHECK_INT(wf_session_close(&r.s, 4000, reason, n), WF_OK);
                bytes all = rig_output(&r);
                frame f = frame_at(all.p, all.n);
                size_t kept = (size_t)f.length - 2;
                CHECK_THAT(f.length <= 125 && kept <= n &&
                               memcmp(all.p + 4, reason, kept) == 0,
                           "%zu bytes of %zu", kept, n);
                CHECK(n <= 123 ? kept == n
                               : kept > 123 - len && (kept - shift) % len == 0);
                bytes_free(&all);
                rig_free(&r);
            }
}

/* The first failure is the one that is told. */
static void only_the_first_failure_counts(void)
{
    rig r;
    rig_init(&r, false, NULL);
    wf_session_fail(&r.s, 1009, "first");
    wf_session_fail(&r.s, 1002, "second");
    CHECK(r.s.code == 1009 && strcmp(r.s.fail, "first") == 0);
    CHECK_SAID(&r, "close 1009 'first'");
    rig_free(&r);
}

/* In the middle of anything. */
static void freed_at_any_time(void)
{
    bytes w = { 0 };
    static uint8_t payload[100000];
    wire_frame(&w, TEXT, "begin", 5, true);
    wire_frame(&w, FIN | PING, "ping", 4, true);
    wire_frame(&w, FIN | 0, payload, sizeof payload, true);
    wire_frame(&w, FIN | CLOSE, "\x03\xE8 why", 6, true);
    for (size_t n = 0; n <= w.n; n += n < 60 || n + 30 > w.n ? 1 : 997) {
        rig r;
        rig_init(&r, false, NULL);
        for (size_t at = 0; at < n; at += 50)
            rig_feed(&r, w.p + at, WF_MIN(50, n - at));
        rig_free(&r);
    }
    bytes_free(&w);
}

int main(void)
{
    static const test_case cases[] = {
        { "messages of every size", messages_of_every_size },
        { "two sessions understand each other", two_sessions_understand_each_other },
        { "the header of a big message", the_header_of_a_big_message },
        { "keys come from the source", keys_come_from_the_source },
        { "control frames are masked too", control_frames_are_masked_too },
        { "no two sessions share a key", no_two_sessions_share_a_key },
        { "without random bytes nothing is sent", without_random_bytes_nothing_is_sent },
        { "a server needs no random bytes", a_server_needs_no_random_bytes },
        { "pings of every length are answered", pings_of_every_length_are_answered },
        { "pongs are bounded", pongs_are_bounded },
        { "pongs join a long queue", pongs_join_a_long_queue },
        { "every close code", every_close_code },
        { "goodbyes however cut", goodbyes_however_cut },
        { "over is over", over_is_over },
        { "after our close", after_our_close },
        { "a breach after our close", a_breach_after_our_close },
        { "without a code", without_a_code },
        { "long reasons are cut", long_reasons_are_cut },
        { "only the first failure counts", only_the_first_failure_counts },
        { "freed at any time", freed_at_any_time },
    };
    return RUN(cases);
}
