/*
 * micro: parts of the core beside the least that does the same, in one process:
 *
 *   the echo of a compressed 1 KiB JSON text by a session, beside a bare zlib loop that
 *   inflates and deflates the same texts in the same way;
 *   UTF-8 validation and unmasking, beside memcpy and beside a loop over bytes.
 *
 * The two of a pair run in turn, in short slices; the times are those of the best slices.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>

#include "core/mask.h"
#include "core/session.h"

#define SLICES 30

static volatile unsigned sink;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Seconds of one round, in the fastest slice so far. */
static void measure(void (*f)(void), int n, double *best)
{
    double began = now();
    for (int i = 0; i < n; i++)
        f();
    double took = (now() - began) / n;
    if (*best == 0 || took < *best)
        *best = took;
}

static void compare(const char *what, void (*ours)(void), void (*theirs)(void), int n)
{
    double a = 0, b = 0;
    for (int i = 0; i < SLICES; i++) {
        measure(ours, n, &a);
        measure(theirs, n, &b);
    }
    printf("%-44s %10.1f ns | %10.1f ns   speed %.2f\n", what, a * 1e9, b * 1e9, b / a);
}

/* -- compressed echo ------------------------------------------------------------- */

#define TEXTS 16 /* one after the other: more than a window of 12 bits remembers */
#define TEXT_LEN 1024

typedef struct sample {
    uint8_t text[TEXT_LEN], packed[2 * TEXT_LEN], frame[2 * TEXT_LEN];
    size_t packed_len, frame_len;
} sample;

static sample samples[TEXTS];
static unsigned turn;
static z_stream in, out;
static wf_session_env env;
static wf_outq queue;
static wf_session session;
static wf_deflate_options options = { .wish = { true, true, true, 12, 15 },
                                      .window = 12,
                                      .memlevel = 5,
                                      .level = 6,
                                      .threshold = 512,
                                      .max_ratio = 25 };
static bool keeps; /* context takeover */

static bool no_random(void *p, size_t n)
{
    memset(p, 1, n);
    return true;
}

static void make_text(uint8_t *text, unsigned id)
{
    size_t n = 0;
    for (unsigned i = id * 100; n < TEXT_LEN; i++) {
        char item[96];
        int k =
            snprintf(item, sizeof item,
                     "{\"id\":%u,\"user\":\"user%u\",\"text\":\"message %x\",\"at\":%u},",
                     i, i * 7919 % 997, i * 2654435761u, 1700000000 + i * 61);
        size_t m = WF_MIN((size_t)k, TEXT_LEN - n);
        memcpy(text + n, item, m);
        n += m;
    }
}

/* The peer's compressor: RFC 7692 7.2.1, each message for itself. */
static void pack(sample *one)
{
    deflateReset(&out);
    out.next_in = one->text;
    out.avail_in = TEXT_LEN;
    out.next_out = one->packed;
    out.avail_out = sizeof one->packed;
    deflate(&out, Z_SYNC_FLUSH);
    one->packed_len = sizeof one->packed - out.avail_out - 4;
}

static void make_frame(sample *one)
{
    static const uint8_t key[4] = { 1, 2, 3, 4 };
    unsigned b0 = WF_FRAME_FIN | WF_FRAME_RSV1 | WF_OP_TEXT;
    size_t h = wf_frame_write(one->frame, b0, one->packed_len, true);
    memcpy(one->frame + h, key, sizeof key);
    h += sizeof key;
    wf_mask_copy(one->frame + h, one->packed, one->packed_len, key, 0);
    one->frame_len = h + one->packed_len;
}

static void make_session(void)
{
    wf_extension agreed = { true, !keeps, !keeps, 0, 0 };
    static const wf_session_limits limits = { 1u << 20, 1000, 1000 };
    options.wish = (wf_extension){ true, !keeps, !keeps, 12, 15 };
    env.random = no_random;
    wf_session_init(&session, &env, &queue, false, &limits);
    wf_session_compress(&session, wf_deflate_new(&options, &agreed, false));
}

static void session_echo(void)
{
    const sample *one = &samples[turn++ % TEXTS];
    uint8_t copy[2 * TEXT_LEN], *p = copy;
    size_t n = one->frame_len;
    wf_message m;
    memcpy(copy, one->frame, n);
    if (wf_session_next(&session, &p, &n, &m) != WF_EVENT_MESSAGE || m.len != TEXT_LEN)
        abort();
    if (wf_session_send(&session, m.kind, m.data, m.len) != WF_OK)
        abort();
    wf_outq_clear(&queue, &env.pool);
    wf_outpool_end_turn(&env.pool);
}

static void zlib_echo(void)
{
    static const uint8_t tail[4] = { 0, 0, 0xff, 0xff };
    sample *one = &samples[turn++ % TEXTS];
    uint8_t plain[2 * TEXT_LEN], again[2 * TEXT_LEN];
    if (!keeps) {
        inflateReset(&in);
        deflateReset(&out);
    }
    in.next_in = one->packed;
    in.avail_in = (uInt)one->packed_len;
    in.next_out = plain;
    in.avail_out = sizeof plain;
    inflate(&in, Z_SYNC_FLUSH);
    in.next_in = (Bytef *)(uintptr_t)tail;
    in.avail_in = sizeof tail;
    inflate(&in, Z_SYNC_FLUSH);
    out.next_in = plain;
    out.avail_in = (uInt)(sizeof plain - in.avail_out);
    out.next_out = again;
    out.avail_out = sizeof again;
    deflate(&out, Z_SYNC_FLUSH);
    sink += again[0];
}

static void compressed_echo(void)
{
    deflateInit2(&out, 6, Z_DEFLATED, -12, 5, Z_DEFAULT_STRATEGY);
    inflateInit2(&in, -15);
    for (unsigned i = 0; i < TEXTS; i++) {
        make_text(samples[i].text, i);
        pack(&samples[i]);
        make_frame(&samples[i]);
    }
    for (int takeover = 0; takeover < 2; takeover++) {
        keeps = takeover;
        deflateReset(&out);
        make_session();
        compare(takeover ? "compressed echo of 1 KiB, dedicated | zlib"
                         : "compressed echo of 1 KiB, shared | zlib",
                session_echo, zlib_echo, 500);
        wf_session_free(&session);
    }
    wf_deflate_env_free(&env.deflate);
    wf_outpool_free(&env.pool);
    inflateEnd(&in);
    deflateEnd(&out);
}

/* -- bytes ----------------------------------------------------------------------- */

static uint8_t *source, *target;
static size_t size;

static void do_copy(void)
{
    memcpy(target, source, size);
    __asm__ volatile("" : : "r"(target) : "memory");
}

static void do_mask(void)
{
    static const uint8_t key[4] = { 1, 2, 3, 4 };
    wf_mask(target, size, key, 1);
    __asm__ volatile("" : : "r"(target) : "memory");
}

static void do_utf8(void)
{
    sink += wf_utf8_valid(source, size);
}

static __attribute__((optimize("no-tree-vectorize"))) void mask_loop(void)
{
    static const uint8_t key[4] = { 1, 2, 3, 4 };
    for (size_t i = 0; i < size; i++)
        target[i] ^= key[(i + 1) & 3];
    __asm__ volatile("" : : "r"(target) : "memory");
}

/* The least that looks at every byte of ASCII. */
static __attribute__((optimize("no-tree-vectorize"))) void utf8_loop(void)
{
    size_t i = 0;
    while (i < size && source[i] < 128)
        i++;
    sink += i == size;
}

static void do_bytes(size_t n)
{
    char what[64];
    int rounds = n < 4096 ? 100000 : (int)((16u << 20) / n);
    size = n;
    if (n == 16) {
        compare("unmasking 16 bytes | a loop over bytes", do_mask, mask_loop, rounds);
        compare("UTF-8 of 16 bytes | a loop over bytes", do_utf8, utf8_loop, rounds);
    }
    snprintf(what, sizeof what, "unmasking %zu bytes | memcpy", n);
    compare(what, do_mask, do_copy, rounds);
    snprintf(what, sizeof what, "UTF-8 of %zu bytes of ASCII | memcpy", n);
    compare(what, do_utf8, do_copy, rounds);
}

static void bytes(void)
{
    source = malloc(1u << 20);
    target = malloc(1u << 20);
    if (!source || !target)
        abort();
    memset(source, 'x', 1u << 20);
    memset(target, 'x', 1u << 20);
    do_bytes(16);
    do_bytes(1u << 10);
    do_bytes(64u << 10);
    do_bytes(1u << 20);
    free(source);
    free(target);
}

int main(void)
{
    compressed_echo();
    bytes();
    return 0;
}
