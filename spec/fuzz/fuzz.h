/*
 * fuzz: what the fuzz targets share: reading the fuzzer's bytes as choices, cutting
 * input into pieces as they say, checks that end the run, and a slow UTF-8 reference.
 * Header-only; each target is one program: libFuzzer calls LLVMFuzzerTestOneInput.
 */
#ifndef WF_SPEC_FUZZ_H
#define WF_SPEC_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"

#define FUZZ_UNUSED __attribute__((unused))

/* The fuzzer keeps the input that made it fail. */
#define MUST(condition, ...)                                                             \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            fprintf(stderr, "%s:%d: not so: %s: ", __FILE__, __LINE__, #condition);      \
            fprintf(stderr, __VA_ARGS__);                                                \
            fprintf(stderr, "\n");                                                       \
            abort();                                                                     \
        }                                                                                \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* -- choices ------------------------------------------------------------------- */

typedef struct fuzz {
    const uint8_t *p;
    size_t n;
} fuzz;

/* Zero when there are no more. */
static FUZZ_UNUSED uint8_t fuzz_byte(fuzz *f)
{
    if (f->n == 0)
        return 0;
    f->n--;
    return *f->p++;
}

static FUZZ_UNUSED size_t fuzz_word(fuzz *f)
{
    size_t high = fuzz_byte(f);
    return high << 8 | fuzz_byte(f);
}

/* At most n bytes of the input itself: *p. */
static FUZZ_UNUSED size_t fuzz_bytes(fuzz *f, size_t n, const uint8_t **p)
{
    n = WF_MIN(n, f->n);
    *p = f->p;
    f->p += n;
    f->n -= n;
    return n;
}

/* -- pieces -------------------------------------------------------------------- */

/* The lengths of the pieces, used in turn. */
typedef struct cuts {
    uint8_t sizes[8];
    unsigned n, at;
} cuts;

static FUZZ_UNUSED cuts cuts_take(fuzz *f)
{
    cuts c = { { 1 }, fuzz_byte(f) % 8 + 1u, 0 };
    for (unsigned i = 0; i < c.n; i++)
        c.sizes[i] = fuzz_byte(f);
    return c;
}

/* The length of the next piece of what is left, 1 to left. */
static FUZZ_UNUSED size_t cuts_next(cuts *c, size_t left)
{
    size_t size = c->sizes[c->at++ % c->n];
    if (size >= 0xE0)
        size = (size - 0xDF) << 10; /* up to 32 KiB */
    return WF_MIN(WF_MAX(size, 1u), left);
}

/* A copy of its own, so that AddressSanitizer sees who reads past its end. */
static FUZZ_UNUSED uint8_t *fuzz_copy(const void *p, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    MUST(copy != NULL, "no memory");
    if (n > 0)
        memcpy(copy, p, n);
    return n ? copy : copy + 1; /* an empty one may not be read at all */
}

static FUZZ_UNUSED void fuzz_drop(uint8_t *copy, size_t n)
{
    free(n ? copy : copy - 1);
}

/* -- the slow way to UTF-8 (RFC 3629 3) ------------------------------------------ */

/* How many bytes a character that begins so has; 0: none begins so. */
static FUZZ_UNUSED size_t slow_length(uint8_t lead)
{
    return lead < 0x80   ? 1
           : lead < 0xC0 ? 0
           : lead < 0xE0 ? 2
           : lead < 0xF0 ? 3
           : lead < 0xF8 ? 4
                         : 0;
}

/* The character whose first `come` of `len` bytes these are, the rest being `fill`. */
static FUZZ_UNUSED uint32_t slow_character(const uint8_t *p, size_t come, size_t len,
                                           uint8_t fill)
{
    static const uint8_t lead_bits[] = { 0, 0x7F, 0x1F, 0x0F, 0x07 };
    uint32_t c = p[0] & lead_bits[len];
    for (size_t i = 1; i < len; i++)
        c = c << 6 | ((i < come ? p[i] : fill) & 0x3F);
    return c;
}

/* Can these bytes be, or be the beginning of, one character? */
static FUZZ_UNUSED bool slow_possible(const uint8_t *p, size_t come)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t len = slow_length(p[0]);
    if (len == 0)
        return false;
    for (size_t i = 1; i < come; i++)
        if ((p[i] & 0xC0) != 0x80)
            return false;
    uint32_t low = slow_character(p, come, len, 0x80);
    uint32_t high = slow_character(p, come, len, 0xBF);
    low = WF_MAX(low, least[len]);
    high = WF_MIN(high, 0x10FFFFu);
    bool all_surrogates = low >= 0xD800 && high <= 0xDFFF;
    return low <= high && !all_surrogates;
}

/* How many bytes can be the beginning of a text; *whole: they are a text. */
static FUZZ_UNUSED size_t slow_utf8(const uint8_t *p, size_t n, bool *whole)
{
    size_t at = 0;
    *whole = false;
    while (at < n) {
        size_t len = slow_length(p[at]);
        for (size_t come = 1; come <= WF_MAX(len, 1u); come++) {
            if (at + come > n)
                return n;
            if (!slow_possible(p + at, come))
                return at + come - 1;
        }
        at += len;
    }
    *whole = true;
    return n;
}

#endif
