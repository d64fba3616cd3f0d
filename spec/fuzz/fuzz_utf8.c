/* fuzz_utf8: the validator against the slow reference, cut as the fuzzer says. */
#include "fuzz.h"

#include "core/utf8.h"

static void check_pieces(const uint8_t *p, size_t n, size_t good, cuts c)
{
    wf_utf8_state state = WF_UTF8_START;
    for (size_t at = 0, k; at < n; at += k) {
        k = cuts_next(&c, n - at);
        uint8_t *piece = fuzz_copy(p + at, k);
        bool ok = wf_utf8_feed(&state, piece, k);
        fuzz_drop(piece, k);
        MUST(ok == (at + k <= good), "piece %zu..%zu, good to %zu", at, at + k, good);
        if (!ok)
            return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    fuzz f = { p, n };
    cuts c = cuts_take(&f);
    bool whole;
    size_t good = slow_utf8(f.p, f.n, &whole);
    uint8_t *text = fuzz_copy(f.p, f.n);
    MUST(wf_utf8_valid(text, f.n) == whole, "%zu bytes, good to %zu", f.n, good);
    fuzz_drop(text, f.n);
    check_pieces(f.p, f.n, good, c);
    check_pieces(f.p, f.n, good, (cuts){ { 1 }, 1, 0 });
    return 0;
}
