/*
 * fuzz_frame: frame headers against a reader written from the picture in RFC 6455 5.2,
 * at every length that has come; written again; and masking against the formula of 5.3.
 */
#include "fuzz.h"

#include "core/frame.h"
#include "core/mask.h"

typedef struct header {
    bool bad;    /* whole, and not allowed */
    size_t size; /* 0: not whole */
    uint64_t length;
} header;

static header slow_header(const uint8_t *p, size_t n, bool masked, unsigned rsv)
{
    header h = { 0 };
    if (n < 2)
        return h;
    unsigned op = p[0] & 15, len7 = p[1] & 127;
    size_t more = len7 == 126 ? 2 : len7 == 127 ? 8 : 0;
    size_t size = 2 + more + (masked ? 4 : 0);
    if (n < size)
        return h;
    h.size = size;
    h.length = more ? 0 : len7;
    for (size_t i = 0; i < more; i++)
        h.length = h.length * 256 + p[2 + i];
    bool control = op >= 8;
    bool known = op <= 2 || (op >= 8 && op <= 10);
    bool shortest = more == 0 || (more == 2 && h.length > 125) ||
                    (more == 8 && h.length > 65535 && h.length >> 63 == 0);
    h.bad = !known || !shortest || (p[1] >= 128) != masked || (p[0] & 0x70 & ~rsv) != 0 ||
            (control && (p[0] < 128 || h.length > 125 || (p[0] & 0x70) != 0));
    return h;
}

/* Can no header that begins so be good? */
static bool slow_hopeless(const uint8_t *p, size_t come, bool masked, unsigned rsv)
{
    static const int fills[] = { 0, 0x7F, 0xFF };
    uint8_t h[WF_FRAME_HEAD_MAX];
    for (unsigned second = 0; second < (come < 2 ? 256u : 1u); second++)
        for (int i = 0; i < 3; i++) {
            memset(h, fills[i], sizeof h);
            h[1] = (uint8_t)second;
            memcpy(h, p, WF_MIN(come, sizeof h));
            if (!slow_header(h, sizeof h, masked, rsv).bad)
                return false;
        }
    return true;
}

/* The header as `n` more bytes come one by one; it is judged once and for all. */
static void check_read(const uint8_t *p, size_t n, bool masked, unsigned rsv)
{
    const char *fail = NULL;
    size_t size = 0;
    for (size_t come = 1; come <= n; come++) {
        wf_frame f;
        uint8_t *h = fuzz_copy(p, come);
        size_t got = wf_frame_read(&f, h, come, masked, rsv);
        fuzz_drop(h, come);
        header slow = slow_header(p, come, masked, rsv);
        MUST(!fail || f.fail == fail, "'%s' became '%s'", fail, f.fail ? f.fail : "none");
        MUST(size == 0 || got == size, "a header of %zu became %zu", size, got);
        MUST(got <= come && (got == 0 || (f.has_length && !f.fail)), "%zu", got);
        fail = f.fail;
        size = got;
        MUST(slow_hopeless(p, come, masked, rsv) == !!fail, "judged too early or late");
        if (slow.size == 0)
            MUST(got == 0, "%zu of %zu bytes", got, come);
        else if (slow.bad)
            MUST(fail != NULL && got == 0, "a bad header passed");
        else
            MUST(got == slow.size && f.length == slow.length && f.b0 == p[0],
                 "%zu, not %zu", got, slow.size);
    }
}

static void check_write(uint64_t length, unsigned b0, bool masked)
{
    uint8_t h[WF_FRAME_HEAD_MAX] = { 0 };
    size_t n = wf_frame_write(h, b0, length, masked) + (masked ? 4 : 0);
    header slow = slow_header(h, n, masked, 0x70);
    MUST(slow.size == n && slow.length == length && h[0] == b0, "%zu bytes", n);
    MUST((b0 & 8) || (b0 & 15) > 2 || !slow.bad, "wrote a bad header");
}

static void check_mask(const uint8_t *p, size_t n, const uint8_t key[4], size_t phase)
{
    uint8_t *in_place = fuzz_copy(p, n), *copied = fuzz_copy(p, n);
    wf_mask(in_place, n, key, phase);
    wf_mask_copy(copied, p, n, key, phase);
    for (size_t i = 0; i < n; i++)
        MUST(in_place[i] == (p[i] ^ key[(phase + i) % 4]) && copied[i] == in_place[i],
             "byte %zu, phase %zu", i, phase);
    fuzz_drop(in_place, n);
    fuzz_drop(copied, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    fuzz f = { p, n };
    unsigned flags = fuzz_byte(&f);
    bool masked = flags & 1;
    check_read(f.p, WF_MIN(f.n, 20u), masked, flags & 2 ? WF_FRAME_RSV1 : 0);
    uint8_t h[16] = { 0 };
    if (f.n > 0)
        memcpy(h, f.p, WF_MIN(f.n, sizeof h));
    uint64_t length;
    memcpy(&length, h, sizeof length);
    check_write(length >> (h[8] % 64) & INT64_MAX, h[9], masked);
    check_mask(f.p, f.n, h, flags >> 2);
    return 0;
}
