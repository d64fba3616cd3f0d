/*
 * fuzz_deflate: permessage-deflate's coders. What is compressed for a peer, by
 * connections that share what a loop has to lend, zlib inflates with exactly the window
 * and the takeover that were agreed on. What a peer sends inflates the same however it
 * is cut and whatever the room, and to what was compressed, when it was.
 */
#include <zlib.h>

#include "fuzz.h"

#include "core/deflate.h"

#define MOST ((size_t)128 << 10)

typedef struct text {
    uint8_t *p;
    size_t n;
} text;

/* One connection as its peer sees it. */
typedef struct line {
    wf_deflate_options options;
    wf_extension agreed;
    bool client; /* weft's role */
    wf_deflate *d;
    z_stream inflate; /* the peer's, of what we send */
} line;

static bool no_takeover_out(const line *l)
{
    return l->client ? l->agreed.client_no_takeover : l->agreed.server_no_takeover;
}

static bool no_takeover_in(const line *l)
{
    return l->client ? l->agreed.server_no_takeover : l->agreed.client_no_takeover;
}

static int window_out(const line *l)
{
    uint8_t bits = l->client ? l->agreed.client_window : l->agreed.server_window;
    return bits ? bits : 15;
}

static int window_in(const line *l)
{
    uint8_t bits = l->client ? l->agreed.server_window : l->agreed.client_window;
    return bits ? bits : 15;
}

/* -- out ------------------------------------------------------------------------- */

/* RFC 7692 7.2.2, by zlib and nothing else */
static void check_packed(line *l, wf_packed packed, const uint8_t *p, size_t n)
{
    static uint8_t out[MOST + 1];
    MUST(packed.data && packed.len > 0, "no memory");
    uint8_t *in = malloc(packed.len + 4);
    MUST(in, "no memory");
    memcpy(in, packed.data, packed.len);
    memcpy(in + packed.len, "\0\0\xff\xff", 4);
    z_stream *z = &l->inflate;
    z->next_in = in;
    z->avail_in = (uInt)packed.len + 4;
    z->next_out = out;
    z->avail_out = sizeof out;
    int r = inflate(z, Z_SYNC_FLUSH);
    MUST(r == Z_OK || (r == Z_BUF_ERROR && n == 0), "zlib says %d, %s", r,
         z->msg ? z->msg : "");
    MUST(z->avail_in == 0 && sizeof out - z->avail_out == n && memcmp(out, p, n) == 0,
         "another message");
    free(in);
    if (no_takeover_out(l))
        MUST(inflateReset(z) == Z_OK, "reset");
}

static void send_message(line *l, wf_deflate_env *env, const text *t)
{
    check_packed(l, wf_deflate_message(l->d, env, t->p, t->n), t->p, t->n);
}

/* A broadcast, which the connection's own compressor has not seen. */
static void send_alone(line *l, wf_deflate_env *env, const text *t)
{
    unsigned window = (unsigned)WF_MAX(window_out(l), 9);
    if (window_out(l) < 9)
        return;
    check_packed(l, wf_deflate_alone(&l->options, window, env, t->p, t->n), t->p, t->n);
    wf_deflate_forget(l->d);
}

/* -- in --------------------------------------------------------------------------------
 */

typedef struct inflated {
    uint8_t *p;
    size_t n;
    long error;
    bool whole;
} inflated;

/* Reads what there is into room[0..size); false at an error or when it is too much. */
static bool read_all(wf_inflater *f, inflated *to, uint8_t *room, size_t size)
{
    long k;
    do {
        size_t most = WF_MIN(size, MOST - to->n);
        if (most == 0)
            return false;
        k = wf_inflate_read(f, room, most);
        MUST(k <= (long)most, "%ld bytes in a room of %zu", k, most);
        if (k > 0)
            memcpy(to->p + to->n, room, (size_t)k);
        to->n += k > 0 ? (size_t)k : 0;
    } while (k > 0);
    to->error = k;
    MUST(k != -2, "no memory");
    MUST(k < 0 || wf_inflate_take_back(f) == 0, "input is left");
    return k == 0;
}

static inflated receive(line *l, wf_deflate_env *env, const text *packed, cuts c,
                        size_t room)
{
    inflated to = { malloc(MOST), 0, 0, false };
    wf_inflater *f = wf_inflate_begin(l->d, env);
    uint8_t *out = malloc(room);
    MUST(to.p && f && out, "no memory");
    bool ok = true;
    for (size_t at = 0, k; ok && at < packed->n; at += k) {
        k = cuts_next(&c, packed->n - at);
        uint8_t *piece = fuzz_copy(packed->p + at, k);
        wf_inflate_feed(f, piece, k);
        ok = read_all(f, &to, out, room);
        fuzz_drop(piece, k);
    }
    if (ok) {
        wf_inflate_last(f);
        ok = read_all(f, &to, out, room);
    }
    to.whole = ok && wf_inflate_whole(f);
    MUST(!ok || wf_inflate_count(f)->out == to.n, "miscounted");
    wf_inflate_end(l->d, env);
    free(out);
    return to;
}

/* -- connections ----------------------------------------------------------------------
 */

static uint8_t take_window(unsigned n)
{
    return n % 9 == 0 ? 0 : (uint8_t)(7 + n % 9);
}

static void open_line(line *l, fuzz *f)
{
    unsigned flags = fuzz_byte(f), windows = fuzz_byte(f), levels = fuzz_byte(f);
    memset(l, 0, sizeof *l);
    l->client = flags & 1;
    l->agreed = (wf_extension){ true, flags & 2, flags & 4, take_window(windows & 15),
                                take_window(windows >> 4) };
    l->options.wish =
        (wf_extension){ true, flags & 8, flags & 16, 9 + levels % 7, 9 + levels / 7 % 7 };
    l->options.window = (uint8_t)(9 + flags % 7);
    l->options.memlevel = (uint8_t)(1 + levels % 9);
    l->options.level = (uint8_t)(flags >> 5);
    l->options.max_ratio = 25;
    l->d = wf_deflate_new(&l->options, &l->agreed, l->client);
    MUST(l->d && inflateInit2(&l->inflate, -window_out(l)) == Z_OK, "no memory");
}

static void close_line(line *l, wf_deflate_env *env)
{
    wf_deflate_free(l->d, env);
    inflateEnd(&l->inflate);
}

static text take_text(fuzz *f, bool longer)
{
    const uint8_t *p;
    size_t n = longer ? fuzz_word(f) : fuzz_byte(f);
    size_t given = fuzz_bytes(f, longer ? n % 61 : n, &p);
    text t = { malloc(n + 1), longer ? n : given };
    MUST(t.p, "no memory");
    for (size_t i = 0; i < t.n; i++)
        t.p[i] = given ? p[i % given] ^ (uint8_t)(longer ? i / 977 : 0) : 0;
    return t;
}

/* What a peer with its own compressor, which begins anew, sends; NULL p: it cannot. */
static text pack_by_zlib(const line *l, const text *t)
{
    z_stream z = { 0 };
    if (window_in(l) < 9)
        return (text){ NULL, 0 };
    MUST(deflateInit2(&z, 6, Z_DEFLATED, -window_in(l), 8, 0) == Z_OK, "no memory");
    size_t room = deflateBound(&z, t->n) + 16;
    text packed = { malloc(room), 0 };
    z.next_in = t->p;
    z.avail_in = (uInt)t->n;
    z.next_out = packed.p;
    z.avail_out = (uInt)room;
    deflate(&z, Z_SYNC_FLUSH);
    packed.n = room - z.avail_out - 4;
    deflateEnd(&z);
    return packed;
}

/* zlib looks for a distance beyond the window only where it reaches behind the output of
 * the call, so whether it refuses one, which no lawful peer sends, depends on the room.
 */
static bool beyond_window(const line *l, const inflated *a, const inflated *b)
{
    return window_in(l) < 15 && (a->error == -1) != (b->error == -1);
}

/* Into two connections that have the same behind them: whole, and in pieces. */
static void exchange(line lines[2], wf_deflate_env *env, const text *packed,
                     const text *plain, fuzz *f)
{
    size_t room = 1 + fuzz_word(f);
    cuts c = cuts_take(f);
    inflated a = receive(&lines[0], env, packed, (cuts){ { 255 }, 1, 0 }, 16384);
    inflated b = receive(&lines[1], env, packed, c, room);
    bool full = a.n == MOST || b.n == MOST;
    bool bad = a.error < 0 && a.error == b.error; /* how far zlib got is its own affair */
    MUST(memcmp(a.p, b.p, WF_MIN(a.n, b.n)) == 0, "other bytes");
    MUST(full || bad || beyond_window(&lines[0], &a, &b) ||
             (a.n == b.n && a.error == b.error && a.whole == b.whole),
         "%zu and %zu bytes, %ld and %ld", a.n, b.n, a.error, b.error);
    if (plain)
        MUST(a.whole && a.n == plain->n && memcmp(a.p, plain->p, a.n) == 0, "not it");
    free(a.p);
    free(b.p);
}

/* False: the connections are of no more use. */
static bool step(line lines[2], wf_deflate_env *env, fuzz *f)
{
    unsigned what = fuzz_byte(f);
    line *l = &lines[what >> 7];
    text t = take_text(f, what & 64), packed;
    bool usable = true;
    switch (what & 7) {
    case 0:
    case 1:
        send_message(l, env, &t);
        break;
    case 2:
        send_alone(l, env, &t);
        break;
    case 3:
        wf_deflate_age(env);
        break;
    case 4:
        exchange(lines, env, &t, NULL, f); /* whatever it is */
        usable = no_takeover_in(&lines[0]) && no_takeover_in(&lines[1]);
        break;
    default:
        packed = pack_by_zlib(&lines[0], &t);
        if (packed.p)
            exchange(lines, env, &packed, &t, f);
        free(packed.p);
    }
    free(t.p);
    return usable;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    fuzz f = { p, n };
    wf_deflate_env env = { 0 };
    line lines[2];
    fuzz same = f; /* both agree on the same */
    open_line(&lines[0], &f);
    open_line(&lines[1], &same);
    for (int i = 0; i < 12 && f.n > 0 && step(lines, &env, &f); i++)
        ;
    close_line(&lines[0], &env);
    close_line(&lines[1], &env);
    wf_deflate_env_free(&env);
    return 0;
}
