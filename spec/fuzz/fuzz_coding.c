/*
 * fuzz_coding: the content codings gzip and deflate. In one piece and in pieces, into
 * much room and little, what comes out is the same, and never out of proportion.
 */
#include "fuzz.h"

#include "core/coding.h"

#define MOST ((size_t)256 << 10) /* of output: enough */
#define RATIO 20

typedef struct result {
    uint8_t *out;
    size_t n;
    long error;
    bool complete;
} result;

static void decode_piece(wf_coding *c, result *r, const uint8_t *p, size_t n, size_t room)
{
    uint8_t *in = fuzz_copy(p, n);
    const uint8_t *at = in;
    size_t left = n;
    long got;
    do {
        size_t most = WF_MIN(room, MOST - r->n);
        uint8_t *out = malloc(most);
        MUST(out, "no memory");
        got = wf_coding_decode(c, &at, &left, out, most);
        MUST(got <= (long)most && left <= n && at == in + (n - left), "%ld bytes", got);
        if (got > 0)
            memcpy(r->out + r->n, out, (size_t)got);
        r->n += got > 0 ? (size_t)got : 0;
        free(out);
        MUST(got <= 0 || r->n <= WF_CODING_FREE || r->n / RATIO <= c->in, "a bomb");
    } while (got > 0 && r->n < MOST);
    MUST(got != 0 || left == 0, "%zu bytes of input are left", left);
    r->error = WF_MIN(got, 0);
    fuzz_drop(in, n);
}

static result decode(wf_coding_kind kind, fuzz f, cuts c, size_t room)
{
    wf_coding coding;
    result r = { malloc(MOST), 0, 0, false };
    MUST(r.out, "no memory");
    wf_coding_init(&coding, kind, RATIO);
    for (size_t at = 0, k; at < f.n && r.error == 0 && r.n < MOST; at += k) {
        k = cuts_next(&c, f.n - at);
        decode_piece(&coding, &r, f.p + at, k, room);
    }
    MUST(r.error != WF_CODING_NOMEM, "no memory");
    r.complete = r.error == 0 && wf_coding_complete(&coding);
    wf_coding_free(&coding);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    fuzz f = { p, n };
    wf_coding_kind kind = fuzz_byte(&f) & 1 ? WF_CODING_DEFLATE : WF_CODING_GZIP;
    size_t room = 1 + fuzz_word(&f);
    cuts c = cuts_take(&f);
    result a = decode(kind, f, (cuts){ { 255 }, 1, 0 }, 16384);
    result b = decode(kind, f, c, room);
    /* where it fails, what came with the failure is not handed out; whether the
     * proportion was lost at some moment depends on the moments */
    MUST(memcmp(a.out, b.out, WF_MIN(a.n, b.n)) == 0, "other output");
    if (a.error != WF_CODING_RATIO && b.error != WF_CODING_RATIO && a.n < MOST &&
        b.n < MOST) {
        MUST(a.error == b.error && a.complete == b.complete, "%ld and %ld", a.error,
             b.error);
        MUST(a.error || a.n == b.n, "%zu and %zu bytes", a.n, b.n);
    }
    free(a.out);
    free(b.out);
    return 0;
}
