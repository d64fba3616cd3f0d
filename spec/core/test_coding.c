/*
 * test_coding: gzip and deflate are undone the same however the bytes are cut and
 * however little room there is; what is malformed or out of proportion is noticed.
 */
#include "core/coding.h"

#include "test.h"

enum { TEXT = 5000, MOST = 8192 };

static uint8_t text[TEXT];

static void build_text(void)
{
    for (size_t i = 0; i < TEXT; i++)
        text[i] = (uint8_t)("weft "[i % 5] + (i / 700) % 3);
}

/* The text from a to b, compressed in that way, behind out[0..at); the new length. */
static size_t pack(uint8_t *out, size_t at, int bits, size_t a, size_t b)
{
    z_stream z = { 0 };
    CHECK(deflateInit2(&z, 9, Z_DEFLATED, bits, 9, Z_DEFAULT_STRATEGY) == Z_OK);
    z.next_in = text + a;
    z.avail_in = (uInt)(b - a);
    z.next_out = out + at;
    z.avail_out = (uInt)(MOST - at);
    CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
    at = MOST - z.avail_out;
    deflateEnd(&z);
    return at;
}

typedef struct result {
    long error;
    size_t n;
    bool complete;
    uint8_t out[TEXT + 1];
} result;

/* Decodes p[0..n), which comes in pieces, into pieces of at most `room`. */
static void decode(result *r, wf_coding_kind kind, const uint8_t *p, size_t n,
                   size_t piece, size_t room)
{
    wf_coding c;
    wf_coding_init(&c, kind, 1000);
    r->n = 0;
    r->error = 0;
    for (size_t at = 0; at < n && r->error == 0 && r->n < sizeof r->out;) {
        size_t left = WF_MIN(piece, n - at);
        const uint8_t *from = p + at;
        at += left;
        long k;
        do {
            k = wf_coding_decode(&c, &from, &left, r->out + r->n,
                                 WF_MIN(room, sizeof r->out - r->n));
            r->n += k > 0 ? (size_t)k : 0;
        } while (k > 0 && r->n < sizeof r->out);
        CHECK(k != 0 || left == 0);
        r->error = WF_MIN(k, 0);
    }
    r->complete = wf_coding_complete(&c);
    wf_coding_free(&c);
}

static void check_all_cuts(wf_coding_kind kind, const uint8_t *p, size_t n)
{
    static result r;
    static const size_t rooms[] = { 1, 7, TEXT + 1 };
    for (size_t piece = 1; piece <= n; piece += piece < 20 ? 1 : 37)
        for (size_t i = 0; i < 3; i++) {
            decode(&r, kind, p, n, piece, rooms[i]);
            CHECK_INT(r.error, 0);
            CHECK_INT(r.n, TEXT);
            CHECK(r.complete && memcmp(r.out, text, TEXT) == 0);
        }
}

static void forms(void)
{
    uint8_t p[MOST];
    check_all_cuts(WF_CODING_GZIP, p, pack(p, 0, 31, 0, TEXT));
    check_all_cuts(WF_CODING_DEFLATE, p, pack(p, 0, 15, 0, TEXT));
    check_all_cuts(WF_CODING_DEFLATE, p, pack(p, 0, -15, 0, TEXT));
}

static void members(void)
{
    uint8_t p[MOST];
    size_t n = pack(p, pack(p, 0, 31, 0, 1), 31, 1, 3000);
    check_all_cuts(WF_CODING_GZIP, p, pack(p, n, 31, 3000, TEXT));
}

static void cut_short(void)
{
    static result r;
    uint8_t p[MOST];
    size_t n = pack(p, 0, 31, 0, TEXT);
    for (size_t i = 1; i < n; i++) {
        decode(&r, WF_CODING_GZIP, p, i, i, TEXT + 1);
        CHECK(r.error == 0 && !r.complete);
    }
    n = pack(p, 0, 15, 0, TEXT);
    for (size_t i = 1; i < n; i++) {
        decode(&r, WF_CODING_DEFLATE, p, i, 1, TEXT + 1);
        CHECK(r.error == 0 && !r.complete);
    }
    decode(&r, WF_CODING_GZIP, p, 0, 1, 1);
    CHECK(r.complete && r.n == 0);
}

/* Every byte changed in turn: an error, or the text all the same; never a crash. */
static void damaged(void)
{
    static result r;
    uint8_t p[MOST];
    size_t n = pack(p, 0, 31, 0, TEXT);
    for (size_t i = 0; i < n; i++) {
        p[i] ^= 0x55;
        decode(&r, WF_CODING_GZIP, p, n, 16, TEXT + 1);
        CHECK(r.error == WF_CODING_MALFORMED || !r.complete ||
              (r.n == TEXT && memcmp(r.out, text, TEXT) == 0));
        p[i] ^= 0x55;
    }
    p[n++] = 'x'; /* behind its end */
    decode(&r, WF_CODING_GZIP, p, n, n, TEXT + 1);
    CHECK(r.error == WF_CODING_MALFORMED || !r.complete);
}

/* 1 MiB of zeros is more than 64 KiB and far more than ten times its size. */
static void out_of_proportion(void)
{
    static uint8_t zeros[1 << 20], p[MOST], out[WF_CODING_FREE];
    uLongf n = sizeof p;
    CHECK(compress(p, &n, zeros, sizeof zeros) == Z_OK);
    for (unsigned ratio = 10; ratio <= 2000; ratio += 1990) {
        wf_coding c;
        wf_coding_init(&c, WF_CODING_DEFLATE, ratio);
        const uint8_t *from = p;
        size_t left = n, total = 0;
        long k;
        while ((k = wf_coding_decode(&c, &from, &left, out, sizeof out)) > 0)
            total += (size_t)k;
        CHECK_INT(k, ratio == 10 ? WF_CODING_RATIO : 0);
        CHECK_INT(total, ratio == 10 ? WF_CODING_FREE : sizeof zeros);
        wf_coding_free(&c);
    }
}

/* All that one call of the maker gives, into p[at..); the new length. */
static size_t take_all(wf_gzip *g, wf_gzip_end end, uint8_t *p, size_t at, size_t room)
{
    size_t made;
    do {
        made = wf_gzip_take(g, end, p + at, room);
        at += made;
    } while (made == room);
    return at;
}

/* Whatever the input's pieces and the output's room are. */
static void gzip_made(void)
{
    static result r;
    static uint8_t p[MOST * 2];
    for (size_t cut = 1; cut <= TEXT; cut = cut * 3 + 1) {
        for (size_t room = 7; room <= 4096; room *= 8) {
            wf_gzip g;
            size_t at = 0;
            CHECK(wf_gzip_init(&g, 5));
            for (size_t i = 0; i < TEXT; i += cut) {
                wf_gzip_give(&g, text + i, i + cut < TEXT ? cut : TEXT - i);
                at = take_all(&g, WF_GZIP_MORE, p, at, room);
            }
            wf_gzip_give(&g, p, 0);
            at = take_all(&g, WF_GZIP_FINISH, p, at, room);
            CHECK_INT(take_all(&g, WF_GZIP_FINISH, p, at, room), at);
            wf_gzip_free(&g);
            decode(&r, WF_CODING_GZIP, p, at, at, TEXT + 1);
            CHECK(r.error == 0 && r.complete);
            CHECK(r.n == TEXT && memcmp(r.out, text, TEXT) == 0);
        }
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "gzip, zlib and bare deflate, cut anywhere", forms },
        { "members of gzip that follow one another", members },
        { "what is cut short is not complete", cut_short },
        { "what is damaged is malformed", damaged },
        { "what inflates out of proportion", out_of_proportion },
        { "gzip that is made here, cut anywhere", gzip_made },
    };
    build_text();
    return RUN(cases);
}
