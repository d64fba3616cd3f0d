/*
 * test_frame: frame headers against the text of RFC 6455 5.2 and 5.5, for every
 * first and second byte, every length around its borders, and every prefix: a
 * verdict comes with the first byte that allows it, and never changes.
 */
#include "core/frame.h"

#include "test.h"

/* What a header is worth, and how many of its bytes it takes to know. */
typedef struct verdict {
    const char *fail; /* part of the sentence, or NULL */
    size_t at;        /* bytes: of the whole header, or until it must have failed */
    uint64_t length;
} verdict;

static verdict bad(size_t at, const char *why)
{
    return (verdict){ why, at, 0 };
}

/* Rows of rules in the order of the bytes; slow and obvious. */
static verdict reference(const uint8_t h[14], bool must_mask, unsigned rsv)
{
    unsigned op = h[0] & 15, len7 = h[1] & 127;
    bool control = op >= 8;
    if ((h[0] & 0x70 & ~rsv) != 0)
        return bad(1, "reserved bit");
    if (op == 3 || op == 4 || op == 5 || op == 6 || op == 7 || op >= 11)
        return bad(1, "reserved opcode");
    if (control && h[0] < 128)
        return bad(1, "fragmented");
    if (control && (h[0] & 0x70))
        return bad(1, "compressed");
    if (must_mask && h[1] < 128)
        return bad(2, "not masked");
    if (!must_mask && h[1] >= 128)
        return bad(2, "is masked");
    if (control && len7 > 125)
        return bad(2, "longer than 125");
    size_t key = must_mask ? 4 : 0;
    if (len7 < 126)
        return (verdict){ NULL, 2 + key, len7 };
    if (len7 == 126) {
        unsigned v = h[2] * 256u + h[3];
        return v < 126 ? bad(4, "shortest") : (verdict){ NULL, 4 + key, v };
    }
    uint64_t v = 0;
    for (int i = 2; i < 10; i++)
        v = v * 256 + h[i];
    if (h[2] >= 128)
        return bad(3, "top bit");
    if ((v >> 16) == 0)
        return bad(8, "shortest"); /* six zeros leave 65535 at most */
    return (verdict){ NULL, 10 + key, v };
}

static const test_fence *fence(void)
{
    static test_fence f;
    if (!f.pages)
        f = test_fence_new(64);
    return &f;
}

/* Every prefix of h: undecided, then the verdict, and that for good. */
static void check_header(const uint8_t h[14], bool must_mask, unsigned rsv)
{
    verdict want = reference(h, must_mask, rsv);
    size_t length_at = 2 + ((h[1] & 127) < 126 ? 0 : (h[1] & 127) == 126 ? 2 : 8);
    for (size_t n = 1; n <= 14; n++) {
        wf_frame f;
        const uint8_t *p = (const uint8_t *)test_fence_put(fence(), h, n);
        size_t got = wf_frame_read(&f, p, n, must_mask, rsv);
        bool due = n >= want.at;
        CHECK_THAT(got == (due && !want.fail ? want.at : 0),
                   "%02x %02x, %zu bytes: returned %zu", h[0], h[1], n, got);
        CHECK_THAT(!(due && want.fail) == !f.fail, "%02x %02x %02x, %zu bytes: %s", h[0],
                   h[1], h[2], n, f.fail ? f.fail : "no failure");
        if (f.fail && want.fail)
            CHECK_THAT(strstr(f.fail, want.fail), "%s, not %s", f.fail, want.fail);
        if (!want.fail) {
            CHECK_INT(f.has_length, n >= length_at);
            CHECK_THAT(!f.has_length || f.length == want.length, "length of %02x %02x",
                       h[0], h[1]);
        }
        CHECK_INT(f.b0, h[0]);
    }
}

static void every_first_two_bytes(void)
{
    static const unsigned rsv[] = { 0, 0x40, 0x70 };
    uint8_t h[14];
    for (unsigned b = 0; b < 65536; b++)
        for (int mask = 0; mask < 2; mask++)
            for (size_t i = 0; i < 3; i++) {
                for (size_t k = 2; k < 14; k++)
                    h[k] = (uint8_t)test_random();
                h[0] = (uint8_t)(b >> 8);
                h[1] = (uint8_t)b;
                check_header(h, mask, rsv[i]);
            }
}

/* The two long forms with each length around a border, shortest form or not. */
static void every_border(void)
{
    for (int bit = 0; bit < 64; bit++)
        for (int d = -2; d <= 2; d++)
            for (int mask = 0; mask < 2; mask++) {
                uint64_t v = ((uint64_t)1 << bit) + (uint64_t)(int64_t)d;
                uint8_t h[14] = { 0x82, (uint8_t)(mask << 7 | 127) };
                for (int i = 0; i < 8; i++)
                    h[2 + i] = (uint8_t)(v >> (56 - 8 * i));
                check_header(h, mask, 0);
                if (v > 65535)
                    continue;
                h[1] = (uint8_t)(mask << 7 | 126);
                h[2] = (uint8_t)(v >> 8);
                h[3] = (uint8_t)v;
                check_header(h, mask, 0);
            }
    for (unsigned v = 0; v < 65536; v++) {
        uint8_t h[14] = { 0x81, 126, (uint8_t)(v >> 8), (uint8_t)v };
        check_header(h, false, 0);
    }
}

static void written_headers_can_be_read(void)
{
    static const uint64_t lengths[] = {
        0,     1,     125,   126,      127,      128,        255,        256,      65534,
        65535, 65536, 65537, 16777216, 1u << 31, 4294967295, 4294967296, INT64_MAX
    };
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        for (int mask = 0; mask < 2; mask++) {
            uint8_t *h = test_fence_end(fence(), 10);
            size_t n = wf_frame_write(h, 0x82, lengths[i], mask);
            CHECK_INT(n, lengths[i] < 126 ? 2 : lengths[i] < 65536 ? 4 : 10);
            CHECK_INT(h[0], 0x82);
            CHECK_INT(h[1] >> 7, mask);
            uint8_t whole[14] = { 0 };
            memcpy(whole, h, n);
            wf_frame f;
            CHECK_INT(wf_frame_read(&f, whole, 14, mask, 0), n + (mask ? 4 : 0));
            CHECK_THAT(f.length == lengths[i] && !f.fail, "length %llu",
                       (unsigned long long)lengths[i]);
        }
}

static void known_headers(void)
{
    /* RFC 6455 5.7 */
    static const struct {
        unsigned b0;
        uint64_t n;
        bool masked;
        const char *bytes;
        size_t len;
    } rows[] = {
        { 0x81, 5, false, "\x81\x05", 2 },
        { 0x81, 5, true, "\x81\x85", 2 },
        { 0x01, 3, false, "\x01\x03", 2 },
        { 0x80, 2, false, "\x80\x02", 2 },
        { 0x89, 5, false, "\x89\x05", 2 },
        { 0x8a, 5, true, "\x8a\x85", 2 },
        { 0x82, 256, false, "\x82\x7E\x01\x00", 4 },
        { 0x82, 65536, false, "\x82\x7F\0\0\0\0\0\x01\0\0", 10 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t h[WF_FRAME_HEAD_MAX];
        size_t n = wf_frame_write(h, rows[i].b0, rows[i].n, rows[i].masked);
        CHECK_THAT(n == rows[i].len && memcmp(h, rows[i].bytes, n) == 0, "row %zu", i);
    }
}

/* RFC 6455 7.4.1, 7.4.2, and the IANA registry of close codes. */
static void close_codes(void)
{
    static const unsigned registered[] = { 1000, 1001, 1002, 1003, 1007, 1008,
                                           1009, 1010, 1011, 1012, 1013, 1014 };
    bool valid[70000] = { false };
    for (size_t i = 0; i < sizeof registered / sizeof registered[0]; i++)
        valid[registered[i]] = true;
    for (unsigned code = 3000; code < 5000; code++)
        valid[code] = true;
    for (unsigned code = 0; code < 70000; code++)
        CHECK_THAT(wf_close_code_valid(code) == valid[code], "code %u", code);
}

int main(void)
{
    static const test_case cases[] = {
        { "every first and second byte, every prefix", every_first_two_bytes },
        { "every border of the long lengths, every prefix", every_border },
        { "written headers can be read", written_headers_can_be_read },
        { "the headers of RFC 6455 5.7", known_headers },
        { "close codes", close_codes },
    };
    return RUN(cases);
}
