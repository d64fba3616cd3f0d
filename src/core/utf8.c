/*
 * utf8: the streaming validator. Runs of ASCII go by vectors or words; the rest
 * goes through an automaton whose whole transition is one load and one shift,
 * so it has no branch that mixed text could mispredict. Pure; base.h only.
 */
#include "utf8.h"

#include <string.h>

/*
 * The states, each named after what it expects next. Their values are bit
 * positions: a byte's row in the table holds the six-bit successor of state s
 * at bit s. BAD leads to itself, so one look at the end of a block suffices.
 */
enum {
    START = WF_UTF8_START,
    BAD = 6,
    TAIL1 = 12,    /* one more 80..BF */
    TAIL2 = 18,    /* two more */
    TAIL3 = 24,    /* three more */
    AFTER_E0 = 30, /* A0..BF, then one more */
    AFTER_ED = 36, /* 80..9F, then one more */
    AFTER_F0 = 42, /* 90..BF, then two more */
    AFTER_F4 = 48  /* 80..8F, then two more */
};

#define GO(from, to) ((uint64_t)(to) << (from))
#define STAY_BAD GO(BAD, BAD)
#define NONE_BUT_START                                                                   \
    (STAY_BAD | GO(TAIL1, BAD) | GO(TAIL2, BAD) | GO(TAIL3, BAD) | GO(AFTER_E0, BAD) |   \
     GO(AFTER_ED, BAD) | GO(AFTER_F0, BAD) | GO(AFTER_F4, BAD))
#define LEAD(to) (NONE_BUT_START | GO(START, to))
#define TAIL                                                                             \
    (STAY_BAD | GO(START, BAD) | GO(TAIL1, START) | GO(TAIL2, TAIL1) | GO(TAIL3, TAIL2))

/* RFC 3629 4, the grammar of UTF8-octets. */
static const uint64_t rows[256] = {
    [0x00 ... 0x7F] = LEAD(START),
    /* F0 80..8F would be overlong (RFC 3629 3); past F4 8F lie no characters */
    [0x80 ... 0x8F] = TAIL | GO(AFTER_E0, BAD) | GO(AFTER_ED, TAIL1) | GO(AFTER_F0, BAD) |
                      GO(AFTER_F4, TAIL2),
    [0x90 ... 0x9F] = TAIL | GO(AFTER_E0, BAD) | GO(AFTER_ED, TAIL1) |
                      GO(AFTER_F0, TAIL2) | GO(AFTER_F4, BAD),
    /* ED A0..BF would be a surrogate, which UTF-8 prohibits (RFC 3629 3) */
    [0xA0 ... 0xBF] = TAIL | GO(AFTER_E0, TAIL1) | GO(AFTER_ED, BAD) |
                      GO(AFTER_F0, TAIL2) | GO(AFTER_F4, BAD),
    [0xC0 ... 0xC1] = LEAD(BAD), /* only overlong forms begin with them */
    [0xC2 ... 0xDF] = LEAD(TAIL1),
    [0xE0] = LEAD(AFTER_E0),
    [0xE1 ... 0xEC] = LEAD(TAIL2),
    [0xED] = LEAD(AFTER_ED),
    [0xEE ... 0xEF] = LEAD(TAIL2),
    [0xF0] = LEAD(AFTER_F0),
    [0xF1 ... 0xF3] = LEAD(TAIL3),
    [0xF4] = LEAD(AFTER_F4),
    [0xF5 ... 0xFF] = LEAD(BAD),
};

static inline uint64_t word(const uint8_t *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

static inline bool ascii32(const uint8_t *p)
{
    return ((word(p) | word(p + 8) | word(p + 16) | word(p + 24)) & WF_HIGH_BITS) == 0;
}

typedef uint64_t vec32 __attribute__((vector_size(32), aligned(1), may_alias));

#define RUN 128  /* bytes that the vectors take at once */
#define LONG 512 /* bytes from which on looking for runs pays */

/* How many bytes from p are ASCII, counted in whole runs. */
WF_INLINE size_t ascii_through(const uint8_t *p, size_t n)
{
    size_t i = 0;
    for (; n - i >= RUN; i += RUN) {
        const vec32 *v = (const vec32 *)(p + i);
        vec32 any = v[0] | v[1] | v[2] | v[3];
        if ((any[0] | any[1] | any[2] | any[3]) & WF_HIGH_BITS)
            break;
    }
    return i;
}

static WF_WIDE size_t ascii_wide(const uint8_t *p, size_t n)
{
    return ascii_through(p, n);
}

static size_t ascii_runs(const uint8_t *p, size_t n)
{
    return WF_HAS_WIDE ? ascii_wide(p, n) : ascii_through(p, n);
}

/* The upper bits of the returned value are junk from the row: mask when done.
 * `& 63` costs nothing, the processor's own shift counts modulo 64. */
static inline uint64_t step(uint64_t s, uint8_t byte)
{
    return rows[byte] >> (s & 63);
}

static inline uint64_t steps(uint64_t s, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        s = step(s, p[i]);
    return s & 63;
}

static inline uint64_t steps32(uint64_t s, const uint8_t *p)
{
    for (size_t i = 0; i < 32; i += 4) {
        s = step(s, p[i]);
        s = step(s, p[i + 1]);
        s = step(s, p[i + 2]);
        s = step(s, p[i + 3]);
    }
    return s & 63;
}

static inline uint64_t feed(uint64_t s, const uint8_t *p, size_t n)
{
    for (; n >= 32; p += 32, n -= 32) {
        if (s == START && ascii32(p))
            continue;
        s = steps32(s, p);
        if (WF_UNLIKELY(s == BAD))
            return BAD;
    }
    for (; n >= 8 && s == START && (word(p) & WF_HIGH_BITS) == 0; p += 8, n -= 8)
        ;
    return steps(s, p, n);
}

/* Runs of ASCII are skipped; where there is none it goes on by pieces. Apart, so that
 * short texts do not pay for its registers. */
static __attribute__((noinline)) bool feed_long(wf_utf8_state *state, const uint8_t *p,
                                                size_t n)
{
    uint64_t s = *state;
    while (n >= LONG && s != BAD) {
        size_t k = s == START ? ascii_runs(p, n) : 0;
        if (k == 0) {
            k = LONG / 2;
            s = feed(s, p, k);
        }
        p += k;
        n -= k;
    }
    s = feed(s, p, n);
    *state = (wf_utf8_state)s;
    return s != BAD;
}

bool wf_utf8_feed(wf_utf8_state *state, const uint8_t *p, size_t n)
{
    if (n >= LONG)
        return feed_long(state, p, n);
    uint64_t s = feed(*state, p, n);
    *state = (wf_utf8_state)s;
    return s != BAD;
}

bool wf_utf8_valid(const uint8_t *p, size_t n)
{
    wf_utf8_state s = WF_UTF8_START;
    return wf_utf8_feed(&s, p, n) && s == WF_UTF8_START;
}
