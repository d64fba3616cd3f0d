/*
 * test_session: what a session makes of lawful input (RFC 6455 5 to 8), in both roles,
 * and that it is the same however the bytes are cut; what memory it takes. Unlawful
 * input: test_breach. Closing and output: test_closing.
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

/* Received into its own buffer, a message is there with its last byte. */
static void the_window_needs_no_more_than_the_message(void)
{
    static uint8_t p[200000];
    memset(p, 'x', sizeof p);
    for (size_t n = 20000; n < sizeof p; n += 20000)
        for (int text = 0; text < 2; text++) {
            rig r;
            bytes w = { 0 }, want = { 0 };
            uint8_t *to;
            size_t k;
            rig_init(&r, true, NULL);
            wire_head(&w, FIN | (text ? TEXT : BINARY), n, false);
            rig_feed(&r, w.p, w.n);
            while ((k = wf_session_window(&r.s, &to)) > 0) {
                CHECK_EVENTS(&r, "");
                memcpy(to, p, k);
                wf_session_filled(&r.s, k);
                rig_next(&r, NULL, 0);
            }
            if (r.s.left > 0) /* too little to be worth it */
                rig_feed(&r, p, (size_t)r.s.left);
            bytes_print(&want, text ? "text " : "binary ");
            rig_quote(&want, p, n);
            CHECK_EVENTS(&r, (char *)want.p);
            rig_free(&r);
            bytes_free(&w);
            bytes_free(&want);
        }
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
            CHECK_THAT(r.s.msg.cap <= bound, "%u bytes kept for %zu", r.s.msg.cap, got);
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
        { "the window needs no more than the message",
          the_window_needs_no_more_than_the_message },
        { "memory follows what arrived", memory_follows_what_arrived },
        { "nothing is kept between messages", nothing_is_kept_between_messages },
        { "random conversations", random_conversations },
        { "damaged conversations", damaged_conversations },
    };
    return RUN(cases);
}
