/* coding: see coding.h. */
#include "coding.h"

#include <string.h>

enum { GZIP_BITS = 16 + MAX_WBITS, ZLIB_BITS = MAX_WBITS, RAW_BITS = -MAX_WBITS };

void wf_coding_init(wf_coding *c, wf_coding_kind kind, unsigned ratio)
{
    memset(c, 0, sizeof *c);
    c->kind = kind;
    c->ratio = ratio;
}

void wf_coding_free(wf_coding *c)
{
    if (c->begun)
        inflateEnd(&c->z);
    c->begun = false;
}

bool wf_coding_complete(const wf_coding *c)
{
    return c->ended || (c->in == 0 && c->nhead == 0);
}

/* RFC 1950 2.2: 8 is the method, and the two bytes are a multiple of 31. */
static bool is_zlib(const uint8_t head[2])
{
    return (head[0] & 0x0f) == 8 && (head[0] << 8 | head[1]) % 31 == 0;
}

static bool begin(wf_coding *c, int bits)
{
    c->begun = inflateInit2(&c->z, bits) == Z_OK;
    return c->begun;
}

/* RFC 9110 8.4.1.2: "deflate" is the zlib format, but some send the bare one. The
 * first two bytes tell; they are kept and fed first. */
static bool begin_deflate(wf_coding *c, const uint8_t **p, size_t *n)
{
    while (c->nhead < 2 && *n > 0) {
        c->head[c->nhead++] = *(*p)++;
        (*n)--;
    }
    if (c->nhead < 2)
        return true;
    if (!begin(c, is_zlib(c->head) ? ZLIB_BITS : RAW_BITS))
        return false;
    c->z.next_in = c->head;
    c->z.avail_in = 2;
    return true;
}

/* RFC 1952 2.2: members may follow one another. */
static int next_member(wf_coding *c)
{
    c->ended = false;
    return inflateReset(&c->z) == Z_OK ? Z_OK : Z_DATA_ERROR;
}

/* One call of zlib over the given input: what it took is counted. */
static int step(wf_coding *c, const uint8_t **p, size_t *n)
{
    bool kept = c->z.avail_in > 0; /* the head's bytes go first */
    if (!kept) {
        c->z.next_in = (Bytef *)(uintptr_t)*p;
        c->z.avail_in = (uInt)WF_MIN(*n, 1u << 30);
    }
    uInt offered = c->z.avail_in;
    int r = inflate(&c->z, Z_NO_FLUSH);
    uInt taken = offered - c->z.avail_in;
    c->in += taken;
    if (!kept) {
        *p += taken;
        *n -= taken;
        c->z.avail_in = 0;
    }
    return r;
}

static bool out_of_proportion(const wf_coding *c)
{
    return c->out > WF_CODING_FREE && c->out / c->ratio > c->in;
}

/* What follows behind the end: a member more, or what should not be there. */
static int resume(wf_coding *c)
{
    return c->kind == WF_CODING_GZIP ? next_member(c) : Z_DATA_ERROR;
}

/* Fills the output as far as the input goes. */
static int run(wf_coding *c, const uint8_t **p, size_t *n)
{
    int r = Z_OK;
    while (r == Z_OK && c->z.avail_out > 0 && (*n > 0 || c->z.avail_in > 0)) {
        if (c->ended)
            r = resume(c);
        if (r == Z_OK)
            r = step(c, p, n);
        if (r == Z_STREAM_END) {
            c->ended = true;
            r = Z_OK;
        }
    }
    return r;
}

/* Nothing to read, but output that did not fit last time. */
static int run_dry(wf_coding *c)
{
    const uint8_t *none = c->head;
    size_t n = 0;
    int r = step(c, &none, &n);
    if (r == Z_STREAM_END)
        c->ended = true;
    return r == Z_STREAM_END ? Z_OK : r;
}

long wf_coding_decode(wf_coding *c, const uint8_t **p, size_t *n, uint8_t *out,
                      size_t room)
{
    if (!c->begun && c->kind == WF_CODING_GZIP && *n > 0 && !begin(c, GZIP_BITS))
        return WF_CODING_NOMEM;
    if (!c->begun && c->kind == WF_CODING_DEFLATE && !begin_deflate(c, p, n))
        return WF_CODING_NOMEM;
    if (!c->begun)
        return 0;
    c->z.next_out = out;
    c->z.avail_out = (uInt)WF_MIN(room, 1u << 30);
    uInt offered = c->z.avail_out;
    int r = run(c, p, n);
    if (r == Z_OK && c->z.avail_out == offered && !c->ended)
        r = run_dry(c);
    long made = (long)(offered - c->z.avail_out);
    c->out += (uint64_t)made;
    if (r == Z_MEM_ERROR)
        return WF_CODING_NOMEM;
    if (r != Z_OK && r != Z_BUF_ERROR) /* Z_NEED_DICT too: no such dictionary exists */
        return WF_CODING_MALFORMED;
    return out_of_proportion(c) ? WF_CODING_RATIO : made;
}

/* -- gzip -------------------------------------------------------------------------------
 */

bool wf_gzip_init(wf_gzip *g, int level)
{
    memset(g, 0, sizeof *g);
    g->begun =
        deflateInit2(&g->z, level, Z_DEFLATED, GZIP_BITS, 8, Z_DEFAULT_STRATEGY) == Z_OK;
    return g->begun;
}

void wf_gzip_give(wf_gzip *g, const uint8_t *p, size_t n)
{
    g->z.next_in = (Bytef *)(uintptr_t)p; /* zlib does not write there */
    g->z.avail_in = (uInt)n;
}

size_t wf_gzip_take(wf_gzip *g, wf_gzip_end end, uint8_t *out, size_t room)
{
    static const int how[] = { Z_NO_FLUSH, Z_SYNC_FLUSH, Z_FINISH };
    if (g->ended)
        return 0;
    g->z.next_out = out;
    g->z.avail_out = (uInt)room;
    g->ended = deflate(&g->z, how[end]) == Z_STREAM_END;
    return room - g->z.avail_out;
}

void wf_gzip_free(wf_gzip *g)
{
    if (g->begun)
        deflateEnd(&g->z);
    g->begun = false;
}
