/*
 * test_breach: every breach of RFC 6455 by a peer is noticed at the first byte that
 * shows it, in both roles, and called the same however the bytes are cut; the limits
 * hold exactly.
 */
#include "rig.h"

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
    wire_frame(&w, FIN | TEXT, "a", 1, true);
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

int main(void)
{
    static const test_case cases[] = {
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
    };
    return RUN(cases);
}
