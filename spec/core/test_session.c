/*
 * test_session: what a session makes of its input (RFC 6455 5 to 8), in both
 * roles: every scenario is the same however its bytes are cut, and every breach
 * is noticed at the first byte that shows it. Closing and output: test_closing.
 */
#include "rig.h"

/* -- whole conversations ------------------------------------------------------- */

static void add_text(bytes *w, const char *text, bool masked)
{
    wire_frame(w, FIN | TEXT, text, strlen(text), masked);
}

static void small_messages(void)
{
    for (int client = 0; client < 2; client++) {
        bytes w = { 0 };
        add_text(&w, "Hello", !client);
        wire_frame(&w, FIN | BINARY, "\0\1\2", 3, !client);
        wire_frame(&w, FIN | TEXT, "", 0, !client);
        wire_frame(&w, FIN | BINARY, "", 0, !client);
        add_text(&w, "κόσμε", !client);
        scenario_run(&w, client, NULL,
                     "text 'Hello' binary '\\0\\1\\2' text '' binary '' "
                     "text 'κόσμε'",
                     "");
    }
}

/* RFC 6455 5.7: the examples, byte by byte as printed there. */
static void examples_of_the_rfc(void)
{
    bytes w = { 0 };
    bytes_add(&w, "\x81\x05Hello\x01\x03Hel\x80\x02lo\x89\x05Hello", 7 + 5 + 4 + 7);
    scenario_run(&w, true, NULL, "text 'Hello' text 'Hello' ping 'Hello'",
                 "pong 'Hello'");
    w = (bytes){ 0 };
    bytes_add(&w, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11);
    bytes_add(&w, "\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11);
    scenario_run(&w, false, NULL, "text 'Hello' pong 'Hello'", "");
}

/* RFC 6455 5.4, 5.5: control frames may come between fragments, and are handled at once.
 */
static void fragments_with_control_between(void)
{
    for (int client = 0; client < 2; client++) {
        bool m = !client;
        bytes w = { 0 };
        wire_frame(&w, TEXT, "one ", 4, m);
        wire_frame(&w, FIN | PING, "a", 1, m);
        wire_frame(&w, 0, "two ", 4, m);
        wire_frame(&w, FIN | PONG, "unasked", 7, m);
        wire_frame(&w, 0, "", 0, m);
        wire_frame(&w, FIN | PING, "", 0, m);
        wire_frame(&w, FIN | 0, "three", 5, m);
        wire_frame(&w, BINARY, "", 0, m);
        wire_frame(&w, FIN | 0, "", 0, m);
        wire_frame(&w, BINARY, "", 0, m);
        wire_frame(&w, FIN | 0, "late", 4, m);
        wire_frame(&w, BINARY, "early", 5, m);
        wire_frame(&w, FIN | 0, "", 0, m);
        scenario_run(&w, client, NULL,
                     "ping 'a' pong 'unasked' ping '' text 'one two three' "
                     "binary '' binary 'late' binary 'early'",
                     "pong 'a' pong ''");
    }
}

/* RFC 6455 5.6, 8.1: characters may be cut by fragments, and by what lies between. */
static void text_cut_inside_characters(void)
{
    const char *text = "aκ\xE2\x82\xAC\xF0\x9F\x98\x80z";
    size_t n = strlen(text);
    char want[64];
    snprintf(want, sizeof want, "ping '!' text '%s'", text);
    for (size_t i = 0; i <= n; i++)
        for (int client = 0; client < 2; client++) {
            bytes w = { 0 };
            wire_frame(&w, TEXT, text, i, !client);
            wire_frame(&w, FIN | PING, "!", 1, !client);
            wire_frame(&w, FIN | 0, text + i, n - i, !client);
            scenario_run(&w, client, NULL, want, "pong '!'");
        }
}

static void one_fragment_per_byte(void)
{
    const char *text = "Ä, Ö, Ü \xE2\x82\xAC \xF0\x9F\x98\x80.";
    size_t n = strlen(text);
    char want[64];
    bytes w = { 0 };
    for (size_t i = 0; i < n; i++) {
        wire_frame(&w, (i == 0 ? TEXT : 0) | (i == n - 1 ? FIN : 0), text + i, 1, true);
        wire_frame(&w, PING | FIN, "", 0, true);
    }
    bytes events = { 0 }, said = { 0 };
    snprintf(want, sizeof want, " text '%s' ping ''", text);
    for (size_t i = 0; i < n; i++) {
        if (i == n - 1)
            bytes_print(&events, "%s", want);
        else
            bytes_print(&events, i ? " ping ''" : "ping ''");
        bytes_print(&said, i ? " pong ''" : "pong ''");
    }
    scenario_run(&w, false, NULL, (char *)events.p, (char *)said.p);
    bytes_free(&events);
    bytes_free(&said);
}

/* Payloads of all sizes where something changes: the length's form, the window, the
 * spare buffers; in one frame and in three. */
static void every_size(void)
{
    static const size_t sizes[] = { 0,     1,     124,   125,    126,    127,    128,
                                    255,   256,   4095,  16383,  16384,  16385,  32768,
                                    65535, 65536, 65537, 131072, 200001, 1048576 };
    uint8_t *p = malloc(1048576);
    for (size_t i = 0; i < 1048576; i++)
        p[i] = (uint8_t)test_random();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int way = 0; way < 4; way++) {
            size_t n = sizes[i], third = n / 3;
            bool client = way & 1;
            bytes w = { 0 }, want = { 0 };
            if (way & 2) {
                wire_frame(&w, BINARY, p, third, !client);
                wire_frame(&w, FIN | PING, p, 125, !client);
                wire_frame(&w, 0, p + third, third, !client);
                wire_frame(&w, FIN | 0, p + 2 * third, n - 2 * third, !client);
            } else {
                wire_frame(&w, FIN | BINARY, p, n, !client);
            }
            wire_frame(&w, FIN | TEXT, "next", 4, !client);
            if (way & 2) {
                bytes_print(&want, "ping ");
                rig_quote(&want, p, 125);
                bytes_print(&want, " ");
            }
            bytes said = { 0 };
            bytes_add(&said, "", 0);
            if (way & 2) {
                bytes_print(&said, "pong ");
                rig_quote(&said, p, 125);
            }
            bytes_print(&want, "binary ");
            rig_quote(&want, p, n);
            bytes_print(&want, " text 'next'");
            scenario_run(&w, client, NULL, (char *)want.p, (char *)said.p);
            bytes_free(&want);
            bytes_free(&said);
        }
    free(p);
}

/* The sessions of one loop hand on the buffers of their big messages. */
static void sessions_share_spare_buffers(void)
{
    enum { SESSIONS = 3, SMALL = 40000, BIG = 150000 };
    static uint8_t p[BIG];
    rig r[SESSIONS];
    for (size_t i = 0; i < sizeof p; i++)
        p[i] = (uint8_t)test_random();
    for (int i = 0; i < SESSIONS; i++) {
        rig_init(&r[i], false, NULL);
        r[i].s.env = &r[0].env;
    }
    for (int round = 0; round < 4; round++) {
        bytes w[SESSIONS] = { { 0 } };
        for (int i = 0; i < SESSIONS; i++) { /* all of them under way at the same time */
            size_t n = (round + i) % 2 ? BIG : SMALL;
            wire_frame(&w[i], FIN | BINARY, p + i, n - (size_t)i, true);
            rig_feed(&r[i], w[i].p, 100);
            rig_feed(&r[i], w[i].p + 100, 35000);
        }
        for (int i = 0; i < SESSIONS; i++) {
            bytes want = { 0 };
            size_t n = (round + i) % 2 ? BIG : SMALL;
            r[i].events.n = 0;
            rig_feed(&r[i], w[i].p + 35100, w[i].n - 35100);
            bytes_print(&want, "binary ");
            rig_quote(&want, p + i, n - (size_t)i);
            CHECK_EVENTS(&r[i], (char *)want.p);
            bytes_free(&want);
            bytes_free(&w[i]);
        }
    }
    for (int i = SESSIONS - 1; i >= 0; i--)
        rig_free(&r[i]);
}

/* -- breaches, at the earliest byte -------------------------------------------------- */

typedef struct breach {
    const char *before; /* frames: T/B first fragments, t/b whole ones, p a ping */
    bool client;
    const char *bytes;
    size_t n; /* the failure comes with the last of them, and not before */
    unsigned code;
    const char *why;
} breach;

#define WIRE(s) (s), sizeof(s) - 1

/* server: what a client may not send; client: what a server may not. */
static const breach breaches[] = {
    /* RFC 6455 5.2: reserved bits and opcodes show in the first byte */
    { "", false, WIRE("\xC1"), 1002, "a reserved bit is set" },
    { "", false, WIRE("\xA1"), 1002, "a reserved bit is set" },
    { "", false, WIRE("\x91"), 1002, "a reserved bit is set" },
    { "", true, WIRE("\xC1"), 1002, "a reserved bit is set" },
    { "", false, WIRE("\xC9"), 1002, "a reserved bit is set" },
    { "B", false, WIRE("\x40"), 1002, "a reserved bit is set" },
    { "T", false, WIRE("\xC0"), 1002, "a reserved bit is set" },
    { "", false, WIRE("\x83"), 1002, "reserved opcode" },
    { "", false, WIRE("\x84"), 1002, "reserved opcode" },
    { "", false, WIRE("\x85"), 1002, "reserved opcode" },
    { "", false, WIRE("\x86"), 1002, "reserved opcode" },
    { "", true, WIRE("\x87"), 1002, "reserved opcode" },
    { "", false, WIRE("\x03"), 1002, "reserved opcode" },
    { "", false, WIRE("\x8B"), 1002, "reserved opcode" },
    { "", false, WIRE("\x8C"), 1002, "reserved opcode" },
    { "", false, WIRE("\x8D"), 1002, "reserved opcode" },
    { "", false, WIRE("\x8E"), 1002, "reserved opcode" },
    { "", true, WIRE("\x8F"), 1002, "reserved opcode" },
    { "b", false, WIRE("\x8F"), 1002, "reserved opcode" },
    /* RFC 6455 5.5 */
    { "", false, WIRE("\x08"), 1002, "a control frame is fragmented" },
    { "", false, WIRE("\x09"), 1002, "a control frame is fragmented" },
    { "", true, WIRE("\x0A"), 1002, "a control frame is fragmented" },
    { "", false, WIRE("\x89\xFE"), 1002, "a control frame is longer than 125 bytes" },
    { "", false, WIRE("\x8A\xFF"), 1002, "a control frame is longer than 125 bytes" },
    { "", false, WIRE("\x88\xFE"), 1002, "a control frame is longer than 125 bytes" },
    { "", true, WIRE("\x89\x7E"), 1002, "a control frame is longer than 125 bytes" },
    { "", true, WIRE("\x88\x7F"), 1002, "a control frame is longer than 125 bytes" },
    /* RFC 6455 5.1 */
    { "", false, WIRE("\x81\x05"), 1002, "a client's frame is not masked" },
    { "", false, WIRE("\x88\x00"), 1002, "a client's frame is not masked" },
    { "T", false, WIRE("\x80\x00"), 1002, "a client's frame is not masked" },
    { "", true, WIRE("\x81\x85"), 1002, "a server's frame is masked" },
    { "", true, WIRE("\x88\x80"), 1002, "a server's frame is masked" },
    { "", true, WIRE("\x82\xFF"), 1002, "a server's frame is masked" },
    /* RFC 6455 5.4: the first byte shows these, too */
    { "", false, WIRE("\x80"), 1002, "a continuation frame with nothing to continue" },
    { "", false, WIRE("\x00"), 1002, "a continuation frame with nothing to continue" },
    { "t", true, WIRE("\x80"), 1002, "a continuation frame with nothing to continue" },
    { "p", false, WIRE("\x80"), 1002, "a continuation frame with nothing to continue" },
    { "Tc", false, WIRE("\x80"), 1002, "a continuation frame with nothing to continue" },
    { "T", false, WIRE("\x81"), 1002, "a new message inside a fragmented one" },
    { "T", true, WIRE("\x01"), 1002, "a new message inside a fragmented one" },
    { "B", false, WIRE("\x82"), 1002, "a new message inside a fragmented one" },
    { "Bp", false, WIRE("\x81"), 1002, "a new message inside a fragmented one" },
    /* RFC 6455 5.2: lengths */
    { "", false, WIRE("\x81\xFE\x00\x7D"), 1002, "a length is not in its shortest form" },
    { "", false, WIRE("\x82\xFE\x00\x00"), 1002, "a length is not in its shortest form" },
    { "", true, WIRE("\x81\x7E\x00\x05"), 1002, "a length is not in its shortest form" },
    { "", false, WIRE("\x81\xFF\0\0\0\0\0\0"), 1002,
      "a length is not in its shortest form" },
    { "", false, WIRE("\x81\xFF\x80"), 1002, "the top bit of a length is set" },
    { "", true, WIRE("\x82\x7F\xFF"), 1002, "the top bit of a length is set" },
    /* 1 MiB and one byte, before any key or payload has come */
    { "", false, WIRE("\x82\xFF\0\0\0\0\0\x10\0\1"), 1009, "message over max_message" },
    { "", true, WIRE("\x82\x7F\0\0\0\0\0\x10\0\1"), 1009, "message over max_message" },
    { "", false, WIRE("\x02\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), 1009,
      "message over max_message" },
    { "T", false, WIRE("\x80\xFF\0\0\0\0\0\x10\0\0"), 1009, "message over max_message" },
};

/* Each is four bytes, and ASCII. */
static void add_before(bytes *w, const char *frames, bool masked)
{
    for (; *frames; frames++) {
        static const struct {
            char name;
            unsigned b0;
        } rows[] = { { 'T', TEXT },         { 'B', BINARY },  { 't', FIN | TEXT },
                     { 'b', FIN | BINARY }, { 'c', FIN | 0 }, { 'p', FIN | PING } };
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
            if (rows[i].name == *frames)
                wire_frame(w, rows[i].b0, "four", 4, masked);
    }
}

static void check_failed(rig *r, unsigned code, const char *why)
{
    CHECK_INT(r->s.state, WF_SESSION_DONE);
    CHECK_INT(r->s.code, code);
    CHECK_INT(r->s.sent, code);
    CHECK_STR(r->s.fail, why);
    /* RFC 6455 7.1.7: a close frame that says why is the last that was queued */
    bytes said = rig_said(r);
    char last[200];
    snprintf(last, sizeof last, "close %u '%s'", code, why);
    CHECK_THAT(said.n >= strlen(last) &&
                   strcmp((char *)said.p + said.n - strlen(last), last) == 0,
               "said %s, not %s", (char *)said.p, last);
    bytes_free(&said);
}

static void check_breach(const breach *b, size_t row)
{
    rig r;
    rig_init(&r, b->client, NULL);
    bytes w = { 0 };
    add_before(&w, b->before, !b->client);
    if (w.n > 0)
        rig_feed(&r, w.p, w.n);
    for (size_t i = 0; i < b->n; i++) {
        CHECK_THAT(r.s.state == WF_SESSION_OPEN, "row %zu: failed before byte %zu", row,
                   i);
        rig_feed(&r, (const uint8_t *)b->bytes + i, 1);
    }
    CHECK_THAT(r.over, "row %zu: not noticed", row);
    check_failed(&r, b->code, b->why);
    bytes_free(&w);
    rig_free(&r);
}

/* The same cut anywhere, with more behind it that must not matter. */
static void check_breach_cut(const breach *b)
{
    char events[200];
    bytes w = { 0 }, want = { 0 }, said = { 0 };
    add_before(&w, b->before, !b->client);
    for (const char *f = b->before; *f; f++)
        if (*f == 'p' || *f == 't' || *f == 'b')
            bytes_print(&want, "%s 'four' ",
                        *f == 'p'   ? "ping"
                        : *f == 't' ? "text"
                                    : "binary");
        else if (*f == 'c')
            bytes_print(&want, "text 'fourfour' ");
    if (strchr(b->before, 'p'))
        bytes_print(&said, "pong 'four' ");
    snprintf(events, sizeof events, "fail %u '%s'", b->code, b->why);
    bytes_print(&want, "%s", events);
    bytes_print(&said, "close %u '%s'", b->code, b->why);
    bytes_add(&w, b->bytes, b->n);
    for (int i = 0; i < 40; i++)
        wire_frame(&w, FIN | PING, "never looked at", 15, i & 1);
    scenario_run(&w, b->client, NULL, (char *)want.p, (char *)said.p);
    bytes_free(&want);
    bytes_free(&said);
}

static void breaches_at_the_earliest_byte(void)
{
    for (size_t i = 0; i < sizeof breaches / sizeof breaches[0]; i++)
        check_breach(&breaches[i], i);
}

static void breaches_however_cut(void)
{
    for (size_t i = 0; i < sizeof breaches / sizeof breaches[0]; i++)
        check_breach_cut(&breaches[i]);
}

/* A frame that is wrong twice is called the same however it comes. */
static void two_breaches_are_always_the_first(void)
{
    static const breach rows[] = {
        { "", false, WIRE("\x80\x05"), 1002,
          "a continuation frame with nothing to continue" },
        { "T", false, WIRE("\x81\x05"), 1002, "a new message inside a fragmented one" },
        { "", true, WIRE("\x80\x85"), 1002,
          "a continuation frame with nothing to continue" },
        { "", false, WIRE("\x00\xFE\x00\x01"), 1002,
          "a continuation frame with nothing to continue" },
        { "", false, WIRE("\x81\x7F\xFF"), 1002, "a client's frame is not masked" },
        { "", false, WIRE("\xF3\x7F\xFF"), 1002, "a reserved bit is set" },
        { "", false, WIRE("\x0F\x7F\xFF"), 1002, "reserved opcode" },
        { "", false, WIRE("\x08\x7F\xFF"), 1002, "a control frame is fragmented" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_breach_cut(&rows[i]);
}

/* -- UTF-8 ----------------------------------------------------------------------------
 */

/* RFC 6455 8.1, and design 5.4: at the first bad byte, with the rest still to come. */
static void utf8_fails_at_the_first_bad_byte(void)
{
    static const struct {
        const char *text;
        size_t bad; /* the index of the byte that cannot be */
    } rows[] = {
        { "\xFF", 0 },
        { "abc\x80", 3 },
        { "\xC0\xAF", 0 },
        { "\xC1\xBF", 0 },
        { "\xE0\x80\xAF", 1 },
        { "\xED\xA0\x80", 1 },
        { "\xF4\x90\x80\x80", 1 },
        { "\xF5\x80", 0 },
        { "\xF0\x80\x80\x80", 1 },
        { "κόσμ\xCE\xCE", 9 },
        { "a\xE2\x82z", 3 },
        { "a\xF0\x9F\x98z", 4 },
        { "0123456789abcdef0123456789abcdef0123456789\xE2\x28", 43 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t first = 0; first <= rows[i].bad; first++)
            for (int client = 0; client < 2; client++) {
                rig r;
                bytes w = { 0 };
                rig_init(&r, client, NULL);
                wire_frame(&w, TEXT, rows[i].text, first, !client);
                wire_head(&w, FIN | 0, 1000000, !client);
                wire_body(&w, rows[i].text + first, rows[i].bad + 1 - first, !client);
                for (size_t k = 0; k < w.n; k++) {
                    CHECK_THAT(r.s.state == WF_SESSION_OPEN, "row %zu: too early", i);
                    rig_feed(&r, w.p + k, 1);
                }
                check_failed(&r, 1007, "text is not UTF-8");
                rig_free(&r);
                bytes_free(&w);
            }
}

static void utf8_must_end_with_the_message(void)
{
    static const char *const cut[] = { "a\xCE", "\xE2", "\xE2\x82", "\xF0\x9F\x98" };
    for (size_t i = 0; i < 4; i++)
        for (int way = 0; way < 3; way++) {
            size_t n = strlen(cut[i]);
            bytes w = { 0 };
            if (way == 0) {
                wire_frame(&w, FIN | TEXT, cut[i], n, true);
            } else {
                wire_frame(&w, TEXT, cut[i], way == 1 ? n - 1 : n, true);
                wire_frame(&w, FIN | 0, cut[i] + n - 1, way == 1 ? 1 : 0, true);
            }
            wire_frame(&w, FIN | TEXT, "x", 1, true);
            scenario_run(&w, false, NULL, "fail 1007 'text ends inside a character'",
                         "close 1007 'text ends inside a character'");
        }
    /* not a text's business */
    bytes w = { 0 };
    wire_frame(&w, BINARY, "\xE2\x82", 2, true);
    wire_frame(&w, FIN | 0, "\xFF", 1, true);
    add_text(&w, "a", true);
    scenario_run(&w, false, NULL, "binary '\xE2\x82\xFF' text 'a'", "");
}

/* Received straight into the message's buffer, it is judged as well. */
static void utf8_by_window(void)
{
    rig r;
    bytes w = { 0 };
    uint8_t *to;
    rig_init(&r, false, NULL);
    wire_head(&w, FIN | TEXT, 100000, true);
    rig_feed(&r, w.p, w.n);
    CHECK(wf_session_window(&r.s, &to) > 3);
    for (int i = 0; i < 3; i++)
        to[i] = "a\xE2z"[i] ^ wire_key[i];
    wf_session_filled(&r.s, 3);
    rig_next(&r, NULL, 0);
    CHECK(r.over);
    check_failed(&r, 1007, "text is not UTF-8");
    CHECK_INT(wf_session_window(&r.s, &to), 0);
    rig_free(&r);
    bytes_free(&w);
}

/* -- limits -----------------------------------------------------------------------------
 */

/* Exactly on max_message and one over, in one frame or several; judged by the header. */
static void max_message(void)
{
    for (size_t max = 1; max < 70000; max = max * 7 + 3)
        for (int over = 0; over < 2; over++)
            for (size_t split = 0; split < 3; split++) {
                wf_session_limits limits = { max, 100, 100 };
                uint8_t *p = calloc(1, max + 1);
                size_t n = max + (size_t)over, first = split * n / 2;
                rig r;
                bytes w = { 0 }, want = { 0 };
                rig_init(&r, false, &limits);
                if (split)
                    wire_frame(&w, BINARY, p, first == n ? n - 1 : first, true);
                size_t rest = split ? n - (first == n ? n - 1 : first) : n;
                wire_head(&w, FIN | (split ? 0 : BINARY), rest, true);
                /* without its key it has no payload yet */
                rig_feed(&r, w.p, w.n - 4);
                if (over) {
                    CHECK_THAT(r.over, "max %zu, split %zu", max, split);
                    check_failed(&r, 1009, "message over max_message");
                } else {
                    CHECK(!r.over);
                    rig_feed(&r, w.p + w.n - 4, 4);
                    w.n = 0;
                    bytes_add(&w, p, rest);
                    wire_body(&want, p, rest, true);
                    rig_feed(&r, want.p, want.n);
                    want.n = 0;
                    bytes_print(&want, "binary ");
                    rig_quote(&want, p, n);
                    CHECK_EVENTS(&r, (char *)want.p);
                }
                rig_free(&r);
                bytes_free(&w);
                bytes_free(&want);
                free(p);
            }
}

/* RFC 6455 says nothing on it: max_message is of messages, control frames have their own.
 */
static void control_frames_do_not_count(void)
{
    wf_session_limits limits = { 3, 2, 0 };
    bytes w = { 0 };
    wire_frame(&w, TEXT, "ab", 2, true);
    for (int i = 0; i < 5; i++)
        wire_frame(&w, FIN | PING, "12345", 5, true);
    wire_frame(&w, FIN | 0, "c", 1, true);
    scenario_run(
        &w, false, &limits,
        "ping '12345' ping '12345' ping '12345' ping '12345' ping '12345' text 'abc'",
        "pong '12345' pong '12345' pong '12345' pong '12345' pong '12345'");
}

static void add_fragments(bytes *w, const char *each, size_t n, size_t count, bool end)
{
    for (size_t i = 0; i < count; i++)
        wire_frame(w, (i ? 0 : TEXT) | (end && i == count - 1 ? FIN : 0), each, n, true);
}

static void max_fragments(void)
{
    wf_session_limits limits = { 1000, 4, 2 };
    bytes w = { 0 };
    add_fragments(&w, "x", 1, 4, true); /* exactly so many, twice: counted per message */
    add_fragments(&w, "y", 1, 4, true);
    scenario_run(&w, false, &limits, "text 'xxxx' text 'yyyy'", "");
    w = (bytes){ 0 };
    add_fragments(&w, "x", 1, 5, true);
    scenario_run(&w, false, &limits, "fail 1009 'fragments over max_fragments'",
                 "close 1009 'fragments over max_fragments'");
    /* the header is enough */
    rig r;
    rig_init(&r, false, &limits);
    w = (bytes){ 0 };
    add_fragments(&w, "x", 1, 4, false);
    wire_head(&w, FIN | 0, 500, true);
    rig_feed(&r, w.p, w.n);
    CHECK(r.over);
    check_failed(&r, 1009, "fragments over max_fragments");
    rig_free(&r);
    bytes_free(&w);
}

static void max_empty_fragments(void)
{
    wf_session_limits limits = { 1000, 100, 3 };
    bytes w = { 0 };
    for (int i = 0; i < 2; i++) {
        add_fragments(&w, "", 0, 3, false);
        wire_frame(&w, FIN | 0, "", 0, true); /* the last one may be empty, too */
    }
    scenario_run(&w, false, &limits, "text '' text ''", "");
    w = (bytes){ 0 };
    add_fragments(&w, "", 0, 4, false);
    scenario_run(&w, false, &limits,
                 "fail 1009 'empty fragments over max_empty_fragments'",
                 "close 1009 'empty fragments over max_empty_fragments'");
    limits.max_empty = 0;
    w = (bytes){ 0 };
    wire_frame(&w, TEXT, "", 0, true);
    scenario_run(&w, false, &limits,
                 "fail 1009 'empty fragments over max_empty_fragments'",
                 "close 1009 'empty fragments over max_empty_fragments'");
    w = (bytes){ 0 };
    wire_frame(&w, FIN | TEXT, "", 0, true); /* no fragment */
    scenario_run(&w, false, &limits, "text ''", "");
}

/* -- memory
 * ------------------------------------------------------------------------------ */

/* Design 4: the buffer grows with what arrived, not with what was announced. */
static void memory_follows_what_arrived(void)
{
    wf_session_limits limits = { 1u << 30, 100, 100 };
    for (int way = 0; way < 4; way++) {
        bool window = way & 1;
        rig r;
        bytes w = { 0 };
        static uint8_t payload[5000];
        rig_init(&r, false, &limits);
        wire_head(&w, (way & 2 ? FIN : 0) | BINARY, 1u << 30, true);
        rig_feed(&r, w.p, w.n);
        for (size_t got = 0; got < (3u << 20); got += sizeof payload) {
            if (window)
                rig_feed_window(&r, payload, sizeof payload, sizeof payload);
            else
                rig_feed(&r, payload, sizeof payload);
            size_t bound = 2 * (got + sizeof payload) + (window ? 128u << 10 : 0);
            CHECK_THAT(r.s.msg.cap <= bound, "%zu bytes kept for %zu", r.s.msg.cap, got);
        }
        rig_free(&r);
        bytes_free(&w);
    }
}

/* A message that came in one piece is handed out where it lies; others from the
 * buffer, which is given back before the next one. */
static void nothing_is_kept_between_messages(void)
{
    rig r;
    bytes w = { 0 };
    static uint8_t payload[60000];
    rig_init(&r, false, NULL);
    wire_frame(&w, FIN | BINARY, payload, sizeof payload, true);
    rig_feed(&r, w.p, w.n);
    CHECK(r.s.msg.data == NULL);
    rig_feed(&r, w.p, 100);
    rig_feed(&r, w.p + 100, w.n - 100);
    CHECK(r.s.msg.data == NULL);
    rig_feed_window(&r, w.p, w.n, 7000);
    rig_next(&r, NULL, 0);
    CHECK(r.s.msg.data == NULL);
    rig_free(&r);
    bytes_free(&w);
}

/* -- random conversations
 * ------------------------------------------------------------------ */

/* Frames of a random lawful peer, and what they amount to. */
static void add_random_frame(bytes *w, bytes *events, bytes *said, bytes *message,
                             bool masked)
{
    static uint8_t p[70000];
    bool more = message->cap > 0;
    size_t n = test_random_below(6) ? test_random_below(40) : test_random_below(sizeof p);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)test_random();
    if (test_random_below(4) == 0) {
        n = WF_MIN(n, 125);
        bool ping = test_random_below(2);
        wire_frame(w, FIN | (ping ? PING : PONG), p, n, masked);
        bytes_print(events, ping ? " ping " : " pong ");
        rig_quote(events, p, n);
        if (ping) {
            bytes_print(said, said->n ? " pong " : "pong ");
            rig_quote(said, p, n);
        }
        return;
    }
    bool fin = test_random_below(2);
    wire_frame(w, (fin ? FIN : 0) | (more ? 0 : BINARY), p, n, masked);
    bytes_add(message, p, n);
    if (!fin)
        return;
    bytes_print(events, " binary ");
    rig_quote(events, message->p, message->n);
    bytes_free(message);
}

static void random_conversations(void)
{
    for (int round = 0; round < 60; round++) {
        bool client = round & 1;
        bytes w = { 0 }, events = { 0 }, said = { 0 }, message = { 0 };
        bytes_add(&said, "", 0);
        bytes_add(&events, "", 0);
        add_text(&w, "go", !client);
        bytes_print(&events, "text 'go'");
        for (uint32_t i = 0, frames = 1 + test_random_below(20); i < frames; i++)
            add_random_frame(&w, &events, &said, &message, !client);
        scenario_run(&w, client, NULL, (char *)events.p, (char *)said.p);
        bytes_free(&events);
        bytes_free(&said);
        bytes_free(&message);
    }
}

/* Bytes changed at random: whatever is made of them, it is the same however they are
 * cut. What comes out whole is the measure. */
static void damaged_conversations(void)
{
    for (int round = 0; round < 600; round++) {
        bool client = round & 1;
        bytes w = { 0 }, events = { 0 };
        wf_session_limits limits = { 3000, 6, 2 };
        rig r;
        for (uint32_t i = 0, frames = 1 + test_random_below(6); i < frames; i++) {
            char text[40];
            size_t n = test_random_below(sizeof text);
            memset(text, 'a', sizeof text);
            memcpy(text + n / 2, "\xE2\x82\xAC", 3);
            if (test_random_below(3))
                wire_frame(&w, FIN | TEXT, text, WF_MAX(n, 30), !client);
            else
                wire_frame(&w, (uint8_t)test_random(), text, n, !client);
        }
        for (uint32_t i = 0, n = test_random_below(4); i < n; i++)
            w.p[test_random_below((uint32_t)w.n)] = (uint8_t)test_random();
        rig_init(&r, client, &limits);
        rig_feed(&r, w.p, w.n);
        bytes_add(&events, "", 0);
        bytes_add(&r.events, "", 0);
        bytes_add(&events, r.events.p, r.events.n);
        bytes said = rig_said(&r);
        rig_free(&r);
        scenario_run(&w, client, &limits, (char *)events.p, (char *)said.p);
        bytes_free(&events);
        bytes_free(&said);
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "small messages", small_messages },
        { "the examples of RFC 6455 5.7", examples_of_the_rfc },
        { "control frames between fragments", fragments_with_control_between },
        { "text cut inside characters", text_cut_inside_characters },
        { "one fragment per byte", one_fragment_per_byte },
        { "every size", every_size },
        { "sessions share spare buffers", sessions_share_spare_buffers },
        { "breaches at the earliest byte", breaches_at_the_earliest_byte },
        { "breaches however cut", breaches_however_cut },
        { "two breaches are always the first", two_breaches_are_always_the_first },
        { "UTF-8 fails at the first bad byte", utf8_fails_at_the_first_bad_byte },
        { "UTF-8 must end with the message", utf8_must_end_with_the_message },
        { "UTF-8 by window", utf8_by_window },
        { "max_message", max_message },
        { "control frames do not count", control_frames_do_not_count },
        { "max_fragments", max_fragments },
        { "max_empty_fragments", max_empty_fragments },
        { "memory follows what arrived", memory_follows_what_arrived },
        { "nothing is kept between messages", nothing_is_kept_between_messages },
        { "random conversations", random_conversations },
        { "damaged conversations", damaged_conversations },
    };
    return RUN(cases);
}
