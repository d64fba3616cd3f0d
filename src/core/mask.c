/*
 * mask: XOR with the four key octets (RFC 6455 5.3), 32 bytes at a time in
 * vectors that the compiler maps to what the machine has, then words, then
 * bytes. Unaligned access is left to the vector unit. Pure; base.h only.
 */
#include "mask.h"

#include <string.h>

#define WIDE_MIN 256 /* bytes: below, asking costs what it saves */

/* May stand at any address and over any type. */
typedef uint64_t vec32 __attribute__((vector_size(32), aligned(1), may_alias));

/* Octet i of a word in memory, and the word whose octets are moved i places to
 * the front: written for both byte orders, without a detour through memory. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define FRONT(w, i) ((w) >> (8 * (i)))
#define BACK(w, i) ((w) << (8 * (i)))
#define OCTET0(w) ((uint8_t)(w))
#else
#define FRONT(w, i) ((w) << (8 * (i)))
#define BACK(w, i) ((w) >> (8 * (i)))
#define OCTET0(w) ((uint8_t)((w) >> 56))
#endif

/* The key repeated over a word, begun at the octet that `phase` calls for:
 * transformed-octet-i uses key octet i MOD 4 (RFC 6455 5.3). */
static inline uint64_t key_word(const uint8_t key[4], size_t phase)
{
    uint32_t k;
    memcpy(&k, key, sizeof k);
    uint64_t w = (uint64_t)k << 32 | k;
    phase &= 3;
    return phase == 0 ? w : FRONT(w, phase) | BACK(w, 8 - phase);
}

/* dst is src, or does not overlap it. True when all of dst is ASCII. */
WF_INLINE bool mask_through(uint8_t *dst, const uint8_t *src, size_t n, uint64_t k)
{
    const vec32 kv = { k, k, k, k };
    vec32 any = { 0 };
    size_t i = 0;
    for (; n - i >= sizeof kv; i += sizeof kv)
        any |= *(vec32 *)(dst + i) = *(const vec32 *)(src + i) ^ kv;
    uint64_t bits = any[0] | any[1] | any[2] | any[3];
    for (; n - i >= sizeof k; i += sizeof k) {
        uint64_t w;
        memcpy(&w, src + i, sizeof w);
        w ^= k;
        bits |= w;
        memcpy(dst + i, &w, sizeof w);
    }
    for (; i < n; i++, k = FRONT(k, 1)) /* fewer than 8 are left: k lasts */
        bits |= dst[i] = src[i] ^ OCTET0(k);
    return (bits & WF_HIGH_BITS) == 0;
}

/* Apart, so that short payloads do not pay for its registers. */
static WF_WIDE bool mask_wide(uint8_t *dst, const uint8_t *src, size_t n,
                              const uint8_t key[4], size_t phase)
{
    return mask_through(dst, src, n, key_word(key, phase));
}

static __attribute__((noinline)) bool
mask_long(uint8_t *dst, const uint8_t *src, size_t n, const uint8_t key[4], size_t phase)
{
    if (WF_HAS_WIDE)
        return mask_wide(dst, src, n, key, phase);
    return mask_through(dst, src, n, key_word(key, phase));
}

bool wf_mask(uint8_t *p, size_t n, const uint8_t key[4], size_t phase)
{
    if (n >= WIDE_MIN)
        return mask_long(p, p, n, key, phase);
    return mask_through(p, p, n, key_word(key, phase));
}

void wf_mask_copy(uint8_t *restrict dst, const uint8_t *restrict src, size_t n,
                  const uint8_t key[4], size_t phase)
{
    if (n >= WIDE_MIN)
        mask_long(dst, src, n, key, phase);
    else
        mask_through(dst, src, n, key_word(key, phase));
}
