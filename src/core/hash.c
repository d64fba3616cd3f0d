/* hash: see hash.h. After Aumasson and Bernstein, SipHash: a fast short-input PRF. */
#include "core/hash.h"

#include <string.h>

typedef struct state {
    uint64_t v0, v1, v2, v3;
} state;

static inline uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static inline void sip_round(state *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 = rotate(s->v2, 32);
}

static inline void absorb(state *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    s->v0 ^= word;
}

/* In the order of the machine, since the same bytes need only give the same hash here;
 * but the highest byte is that of the eighth, or free for the length. */
static inline uint64_t load(const uint8_t *p, size_t n)
{
    uint64_t word = 0;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    memcpy((uint8_t *)&word + (sizeof word - n), p, n);
#else
    memcpy(&word, p, n);
#endif
    return word;
}

uint64_t wf_hash(const wf_hash_key *key, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    state s = { key->k0 ^ 0x736f6d6570736575u, key->k1 ^ 0x646f72616e646f6du,
                key->k0 ^ 0x6c7967656e657261u, key->k1 ^ 0x7465646279746573u };
    size_t left = n;
    for (; left >= 8; left -= 8, p += 8)
        absorb(&s, load(p, 8));
    absorb(&s, (uint64_t)n << 56 | load(p, left));
    s.v2 ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
