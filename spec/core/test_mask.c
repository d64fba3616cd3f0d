/*
 * test_mask: masking against the formula of RFC 6455 5.3, byte by byte, at
 * every length, phase and alignment, and never a byte outside the range.
 */
#include "core/mask.h"

#include "test.h"

enum { MAX = 200, SLACK = 40 };

static void reference(uint8_t *dst, const uint8_t *src, size_t n, const uint8_t key[4],
                      size_t phase)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = src[i] ^ key[(i + phase) % 4];
}

static const uint8_t key[4] = { 0x37, 0xFA, 0x21, 0x3D };

static void fill(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)test_random();
}

static void in_place(void)
{
    static uint8_t given[MAX + 2 * SLACK], got[sizeof given], want[sizeof given];
    fill(given, sizeof given);
    for (size_t n = 0; n <= MAX; n++)
        for (size_t phase = 0; phase < 9; phase++)
            for (size_t align = 0; align < 33; align++) {
                memcpy(got, given, sizeof got);
                memcpy(want, given, sizeof want);
                reference(want + align, given + align, n, key, phase);
                wf_mask(got + align, n, key, phase);
                CHECK_THAT(memcmp(got, want, sizeof got) == 0,
                           "length %zu, phase %zu, alignment %zu", n, phase, align);
            }
}

static void copying(void)
{
    static uint8_t given[MAX + 2 * SLACK], got[sizeof given], want[sizeof given];
    fill(given, sizeof given);
    for (size_t n = 0; n <= MAX; n++)
        for (size_t phase = 0; phase < 4; phase++)
            for (size_t align = 0; align < 32; align += 3)
                for (size_t to = 0; to < 32; to += 5) {
                    memset(got, 0xEE, sizeof got);
                    memset(want, 0xEE, sizeof want);
                    reference(want + to, given + align, n, key, phase);
                    wf_mask_copy(got + to, given + align, n, key, phase);
                    CHECK_THAT(memcmp(got, want, sizeof got) == 0,
                               "length %zu, phase %zu, from %zu to %zu", n, phase, align,
                               to);
                }
}

/* It tells whether what comes out is ASCII, wherever the one byte that is not may be, and
 * whatever stands around it. */
static void tells_ascii(void)
{
    static uint8_t text[2 * MAX], masked[sizeof text + 2];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)test_random() & 0x7F;
    static const size_t lengths[] = { 0, 1, 7, 8, 9, 31, 32, 33, 100, 255, 256, 2 * MAX };
    for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++)
        for (size_t bad = 0; bad <= lengths[l]; bad++) { /* the last: none */
            size_t n = lengths[l];
            memset(masked, 0xFF, sizeof masked);
            reference(masked + 1, text, n, key, l);
            if (bad < n)
                masked[1 + bad] ^= 0x80;
            CHECK_THAT(wf_mask(masked + 1, n, key, l) == (bad == n),
                       "length %zu, the byte at %zu", n, bad);
        }
}

/* A payload that arrives in pieces is unmasked piece by piece. */
static void in_pieces(void)
{
    static uint8_t given[MAX], got[MAX], want[MAX];
    fill(given, sizeof given);
    reference(want, given, MAX, key, 0);
    for (size_t cut = 0; cut <= MAX; cut++) {
        memcpy(got, given, MAX);
        wf_mask(got, cut, key, 0);
        wf_mask(got + cut, MAX - cut, key, cut);
        CHECK_THAT(memcmp(got, want, MAX) == 0, "cut at %zu", cut);
    }
}

static void twice_is_nothing(void)
{
    static uint8_t given[MAX], got[MAX];
    fill(given, sizeof given);
    memcpy(got, given, MAX);
    wf_mask(got, MAX, key, 3);
    CHECK(memcmp(got, given, MAX) != 0);
    wf_mask(got, MAX, key, 3);
    CHECK(memcmp(got, given, MAX) == 0);
}

/* RFC 6455 5.7: a single-frame masked text message of "Hello". */
static void the_example_of_the_rfc(void)
{
    uint8_t hello[5] = { 0x7F, 0x9F, 0x4D, 0x51, 0x58 };
    wf_mask(hello, sizeof hello, key, 0);
    CHECK_BYTES(hello, sizeof hello, "Hello");
}

static void before_the_fence(void)
{
    test_fence from = test_fence_new(MAX), to = test_fence_new(MAX);
    for (size_t n = 0; n <= MAX; n++) {
        wf_mask(test_fence_end(&from, n), n, key, n);
        wf_mask_copy(test_fence_end(&to, n), test_fence_end(&from, n), n, key, n);
    }
    /* and none before the beginning: the page below `pages` may well be
     * mapped, so this looks at the byte in front */
    memset(from.pages, 0, from.room);
    wf_mask(from.pages + 1, from.room - 1, key, 0);
    CHECK(from.pages[0] == 0);
    test_fence_free(&from);
    test_fence_free(&to);
}

int main(void)
{
    static const test_case cases[] = {
        { "in place", in_place },
        { "copying", copying },
        { "tells whether it is ASCII", tells_ascii },
        { "in two pieces, cut at every offset", in_pieces },
        { "twice is nothing", twice_is_nothing },
        { "the example of RFC 6455 5.7", the_example_of_the_rfc },
        { "up to a fence", before_the_fence },
    };
    return RUN(cases);
}
