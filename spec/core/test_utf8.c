/*
 * test_utf8: the validator against a slow reference that decodes code points
 * and asks of each whether RFC 3629 has it, whole and however it is split.
 */
#include "core/utf8.h"

#include "test.h"

/*
 * The reference. How many leading bytes of p[0..n) are beyond doubt: n when
 * all of it could begin a valid text, else the index of the first bad byte.
 * *complete: does it also end where a character ends? It simply tries, for
 * each prefix, whether some code point's encoding begins so.
 */
static size_t encode(uint32_t c, uint8_t out[4])
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xC0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xE0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 63));
        out[2] = (uint8_t)(0x80 | (c & 63));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 63));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 63));
    out[3] = (uint8_t)(0x80 | (c & 63));
    return 4;
}

/* What each sequence of up to four bytes is: filled in from the code points
 * themselves. Four bytes are looked up by their first three plus a tail test,
 * as every three-byte beginning of a character takes any tail byte. */
enum { NOT = 0, PART = 1, WHOLE = 2 };
static uint8_t one[0x100], two[0x10000], three[0x1000000];

static void build_reference(void)
{
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        if (c >= 0xD800 && c <= 0xDFFF)
            continue;
        uint8_t b[4];
        size_t n = encode(c, b);
        one[b[0]] = n == 1 ? WHOLE : PART;
        if (n >= 2)
            two[b[0] << 8 | b[1]] = n == 2 ? WHOLE : PART;
        if (n >= 3)
            three[b[0] << 16 | b[1] << 8 | b[2]] = n == 3 ? WHOLE : PART;
    }
}

static uint8_t what_is(const uint8_t *p, size_t n)
{
    if (n == 1)
        return one[p[0]];
    if (n == 2)
        return two[p[0] << 8 | p[1]];
    uint8_t w = three[p[0] << 16 | p[1] << 8 | p[2]];
    if (n == 3)
        return w;
    return w == PART && (p[3] & 0xC0) == 0x80 ? WHOLE : NOT;
}

static size_t reference(const uint8_t *p, size_t n, bool *complete)
{
    size_t from = 0; /* where the character under way began */
    for (size_t i = 0; i < n; i++) {
        uint8_t w = what_is(p + from, i + 1 - from);
        if (w == NOT) {
            *complete = false;
            return i;
        }
        if (w == WHOLE)
            from = i + 1;
    }
    *complete = from == n;
    return n;
}

/* Feeding byte by byte must fail exactly at the first bad one. */
static void check_bytewise(const uint8_t *p, size_t n, size_t good, bool complete)
{
    wf_utf8_state s = WF_UTF8_START;
    size_t i = 0;
    while (i < n && wf_utf8_feed(&s, p + i, 1))
        i++;
    CHECK_THAT(i == good, "%02X %02X %02X..: bad byte at %zu, not %zu", p[0],
               n > 1 ? p[1] : 0, n > 2 ? p[2] : 0, i, good);
    if (good == n)
        CHECK_THAT((s == WF_UTF8_START) == complete, "%02X..: wrongly complete or not",
                   p[0]);
}

static void check_whole(const uint8_t *p, size_t n, size_t good, bool complete)
{
    wf_utf8_state s = WF_UTF8_START;
    CHECK_INT(wf_utf8_feed(&s, p, n), good == n);
    CHECK_INT(wf_utf8_valid(p, n), complete);
}

static void check_against_reference(const uint8_t *p, size_t n)
{
    bool complete;
    size_t good = reference(p, n, &complete);
    check_bytewise(p, n, good, complete);
    check_whole(p, n, good, complete);
}

/* Two pieces, cut at every offset; the bad byte shows in the piece that has it. */
static void check_splits(const uint8_t *p, size_t n)
{
    bool complete;
    size_t good = reference(p, n, &complete);
    for (size_t cut = 0; cut <= n; cut++) {
        wf_utf8_state s = WF_UTF8_START;
        bool first = wf_utf8_feed(&s, p, cut);
        CHECK_THAT(first == (good >= cut), "cut at %zu of %zu: first piece", cut, n);
        if (!first)
            continue;
        CHECK_THAT(wf_utf8_feed(&s, p + cut, n - cut) == (good == n), "cut at %zu of %zu",
                   cut, n);
        if (good == n)
            CHECK((s == WF_UTF8_START) == complete);
    }
}

static void empty(void)
{
    wf_utf8_state s = WF_UTF8_START;
    CHECK(wf_utf8_valid((const uint8_t *)"", 0));
    CHECK(wf_utf8_feed(&s, NULL, 0) && s == WF_UTF8_START);
}

static void exhaustive_to_three_bytes(void)
{
    uint8_t b[3];
    for (uint32_t i = 0; i < 0x1000000; i++) {
        b[0] = (uint8_t)(i >> 16), b[1] = (uint8_t)(i >> 8), b[2] = (uint8_t)i;
        if ((i & 0xFFFF) == 0)
            check_against_reference(b, 1);
        if ((i & 0xFF) == 0)
            check_against_reference(b, 2);
        check_against_reference(b, 3);
    }
}

/* All leads of four, every second byte, and the edges of the last two. */
static void four_bytes(void)
{
    static const uint8_t edges[] = { 0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F,
                                     0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xF4, 0xFF };
    for (uint32_t i = 0xC000; i <= 0xFFFF; i++)
        for (size_t j = 0; j < sizeof edges; j++)
            for (size_t k = 0; k < sizeof edges; k++) {
                uint8_t b[4] = { (uint8_t)(i >> 8), (uint8_t)i, edges[j], edges[k] };
                check_against_reference(b, 4);
            }
    for (uint32_t i = 0; i < 2000000; i++) {
        uint32_t r = test_random();
        uint8_t b[4] = { (uint8_t)(0xE0 | r >> 24), (uint8_t)(r >> 16), (uint8_t)(r >> 8),
                         (uint8_t)r };
        check_against_reference(b, 4);
    }
}

static void every_code_point(void)
{
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        uint8_t b[4];
        size_t n = encode(c, b);
        bool surrogate = c >= 0xD800 && c <= 0xDFFF;
        CHECK_THAT(wf_utf8_valid(b, n) == !surrogate, "U+%04X", c);
    }
}

static void first_bad_byte(void)
{
    static const struct {
        const char *bytes;
        size_t n, bad;
    } rows[] = {
        { "\xE0\x80\x80", 3, 1 },
        { "\xE0\x9F\x80", 3, 1 },
        { "\xF4\x90\x80\x80", 4, 1 },
        { "\xC0\x80", 2, 0 },
        { "\xC1\xBF", 2, 0 },
        { "\xED\xA0\x80", 3, 1 },
        { "\xED\xBF\xBF", 3, 1 },
        { "\xF0\x80\x80\x80", 4, 1 },
        { "\xF0\x8F\xBF\xBF", 4, 1 },
        { "\xF5\x80\x80\x80", 4, 0 },
        { "\xFE", 1, 0 },
        { "\xFF", 1, 0 },
        { "a\x80", 2, 1 },
        { "\xC3(", 2, 1 },
        { "\xE2\x82(", 3, 2 },
        { "\xF0\x9F\x98(", 4, 3 },
        { "\xE2\x28\xA1", 3, 1 },
        { "\xF8\x88\x80\x80\x80", 5, 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const uint8_t *p = (const uint8_t *)rows[i].bytes;
        check_bytewise(p, rows[i].n, rows[i].bad, false);
        wf_utf8_state s = WF_UTF8_START;
        CHECK(wf_utf8_feed(&s, p, rows[i].bad));
        CHECK(!wf_utf8_feed(&s, p + rows[i].bad, 1));
    }
}

static void incomplete_at_the_end(void)
{
    CHECK(!wf_utf8_valid((const uint8_t *)"\xE2\x82", 2));
    CHECK(!wf_utf8_valid((const uint8_t *)"ab\xC3", 3));
    CHECK(!wf_utf8_valid((const uint8_t *)"\xF0\x9F\x98", 3));
}

/* A bad byte at every place of texts of every short length: no block, word or
 * tail loop may overlook it, and none may read over the end. */
static void everywhere_before_the_fence(void)
{
    test_fence f = test_fence_new(256);
    for (size_t n = 0; n <= 140; n++) {
        uint8_t *p = test_fence_end(&f, n);
        memset(p, 'x', n);
        CHECK(wf_utf8_valid(p, n));
        for (size_t i = 0; i < n; i++) {
            p[i] = 0xFF;
            CHECK_THAT(!wf_utf8_valid(p, n), "bad byte %zu of %zu overlooked", i, n);
            p[i] = 0xC3;
            CHECK(!wf_utf8_valid(p, n));
            if (i + 1 < n) {
                p[i + 1] = 0xA4;
                CHECK_THAT(wf_utf8_valid(p, n), "character at %zu of %zu refused", i, n);
                p[i + 1] = 'x';
            }
            p[i] = 'x';
        }
    }
    test_fence_free(&f);
}

/* A piece that ends within a character: the block of ASCII after it is wrong
 * at its first byte, and the fast path must not swallow that. */
static void ascii_within_a_character(void)
{
    static const char *const begun[] = { "\xC3", "\xE2\x82", "\xE0",     "\xED",
                                         "\xF0", "\xF4",     "\xF1\x80", "\xF0\x9F\x98" };
    uint8_t ascii[96];
    memset(ascii, 'x', sizeof ascii);
    for (size_t i = 0; i < sizeof begun / sizeof begun[0]; i++)
        for (size_t n = 1; n <= sizeof ascii; n++) {
            wf_utf8_state s = WF_UTF8_START;
            CHECK(wf_utf8_feed(&s, (const uint8_t *)begun[i], strlen(begun[i])));
            CHECK_THAT(!wf_utf8_feed(&s, ascii, n), "row %zu before %zu bytes", i, n);
        }
}

/* Random text of ASCII and characters of all lengths, sometimes damaged. */
static size_t random_text(uint8_t *p, size_t room)
{
    size_t n = 0, want = test_random_below((uint32_t)room - 4);
    uint32_t ascii_share = test_random_below(101);
    while (n < want) {
        uint32_t c = test_random_below(100) < ascii_share ? test_random_below(0x80)
                                                          : test_random_below(0x110000);
        if (test_random_below(4) == 0)
            c &= 0x7FF;
        if (c >= 0xD800 && c <= 0xDFFF)
            c = 0x20AC;
        n += encode(c, p + n);
    }
    if (n > 0 && test_random_below(2) == 0)
        p[test_random_below((uint32_t)n)] = (uint8_t)test_random();
    return n;
}

static void random_texts_and_splits(void)
{
    static uint8_t p[300];
    for (int round = 0; round < 4000; round++) {
        size_t n = random_text(p, sizeof p);
        if (n == 0)
            continue;
        check_against_reference(p, n);
        check_splits(p, n);
    }
}

static void random_pieces(void)
{
    static uint8_t p[4096];
    for (int round = 0; round < 4000; round++) {
        size_t n = random_text(p, sizeof p), at = 0;
        bool complete;
        size_t good = reference(p, n, &complete);
        wf_utf8_state s = WF_UTF8_START;
        bool fine = true;
        while (fine && at < n) {
            size_t piece = 1 + test_random_below(100);
            piece = WF_MIN(piece, n - at);
            fine = wf_utf8_feed(&s, p + at, piece);
            CHECK(fine == (good >= at + piece));
            at += piece;
        }
        CHECK(fine == (good == n));
        CHECK((fine && s == WF_UTF8_START) == complete);
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "an empty text is valid", empty },
        { "every sequence of one to three bytes", exhaustive_to_three_bytes },
        { "sequences of four bytes", four_bytes },
        { "every code point", every_code_point },
        { "fails at the first byte that cannot be", first_bad_byte },
        { "a text that ends within a character", incomplete_at_the_end },
        { "a bad byte at every place, before a fence", everywhere_before_the_fence },
        { "ASCII within a character", ascii_within_a_character },
        { "random texts, cut at every offset", random_texts_and_splits },
        { "random texts in random pieces", random_pieces },
    };
    build_reference();
    return RUN(cases);
}
