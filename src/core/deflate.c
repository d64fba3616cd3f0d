/* deflate: see deflate.h. */
#include "core/deflate.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* RFC 7692 7.2.1: cut off every message, and put back before it is inflated. */
static const uint8_t tail[4] = { 0x00, 0x00, 0xff, 0xff };

struct wf_deflater {
    z_stream z;
    wf_deflater *next, **link; /* in env->owned */
    wf_deflate *owner;         /* NULL: lent */
    uint8_t window, memlevel, level;
    bool used;  /* since the last age */
    bool fresh; /* refers to nothing */
};

struct wf_inflater {
    z_stream z;
    wf_inflater *next; /* among the spares */
    wf_inflated count;
    uint8_t window;
    bool tailed; /* the tail was fed */
    bool ended;  /* at the end of a final block, with nothing behind it so far */
};

wf_deflate *wf_deflate_new(const wf_deflate_options *options, const wf_extension *agreed,
                           bool client)
{
    wf_deflate *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->options = options;
    d->agreed = *agreed;
    d->client = client;
    unsigned most = client ? agreed->client_window : agreed->server_window;
    d->window = client ? options->window : options->wish.server_window;
    if (most && most < d->window)
        d->window = (uint8_t)most;
    /* zlib does no raw window of 8. With one of 9 it looks back 512 - 262 bytes at most,
     * which is inside of the 256 that the peer has. */
    d->window = WF_MAX(d->window, 9);
    bool ours = client ? agreed->client_no_takeover || options->wish.client_no_takeover
                       : agreed->server_no_takeover;
    d->deflater_stays = !ours;
    d->inflater_stays =
        client ? !agreed->server_no_takeover : !agreed->client_no_takeover;
    return d;
}

/* -- compressors ------------------------------------------------------------------ */

static wf_deflater *new_deflater(const wf_deflate_options *o, unsigned window)
{
    wf_deflater *f = calloc(1, sizeof *f);
    if (f && deflateInit2(&f->z, o->level, Z_DEFLATED, -(int)window, o->memlevel,
                          Z_DEFAULT_STRATEGY) != Z_OK) {
        free(f);
        return NULL;
    }
    if (f) {
        f->window = (uint8_t)window;
        f->memlevel = o->memlevel;
        f->level = o->level;
        f->fresh = true;
    }
    return f;
}

static void free_deflater(wf_deflater *f)
{
    if (!f)
        return;
    if (f->owner) {
        f->owner->deflater = NULL;
        *f->link = f->next;
        if (f->next)
            f->next->link = f->link;
    }
    deflateEnd(&f->z);
    free(f);
}

static wf_deflater *own_deflater(wf_deflate *d, wf_deflate_env *env)
{
    wf_deflater *f = d->deflater ? d->deflater : new_deflater(d->options, d->window);
    if (!f || d->deflater)
        return f;
    f->owner = d;
    f->next = env->owned;
    f->link = &env->owned;
    if (f->next)
        f->next->link = &f->next;
    env->owned = f;
    return d->deflater = f;
}

static bool fits(const wf_deflater *f, const wf_deflate_options *o, unsigned window)
{
    return f->window == window && f->memlevel == o->memlevel && f->level == o->level;
}

/* One of the loop's, the last used first. */
static wf_deflater *lend_deflater(const wf_deflate_options *o, unsigned window,
                                  wf_deflate_env *env)
{
    int i = 0;
    while (i < WF_SPARE_CODERS - 1 && env->lent[i] && !fits(env->lent[i], o, window))
        i++;
    wf_deflater *f = env->lent[i];
    if (!f || !fits(f, o, window)) {
        wf_deflater *other = new_deflater(o, window);
        if (!other)
            return NULL;
        free_deflater(f);
        f = other;
    }
    memmove(env->lent + 1, env->lent, (size_t)i * sizeof f);
    return env->lent[0] = f;
}

void wf_deflate_forget(wf_deflate *d)
{
    wf_deflater *f = d->deflater;
    if (f && !f->fresh) {
        deflateReset(&f->z);
        f->fresh = true;
    }
}

/* Appends what comes of the input, flushed to a whole number of bytes. */
static bool run(wf_deflater *f, wf_buffer *to, const void *p, size_t n)
{
    f->used = true;
    f->fresh = false;
    f->z.next_in = (Bytef *)(uintptr_t)p;
    f->z.avail_in = (uInt)n;
    do {
        if (!wf_buffer_reserve(to, to->len ? 4096 : deflateBound(&f->z, (uLong)n) + 16,
                               UINT32_MAX))
            return false;
        size_t room = to->cap - to->len;
        f->z.next_out = to->data + to->len;
        f->z.avail_out = (uInt)WF_MIN(room, UINT32_MAX);
        size_t had = f->z.avail_out;
        deflate(&f->z, Z_SYNC_FLUSH);
        to->len += had - f->z.avail_out;
    } while (f->z.avail_out == 0);
    return true;
}

/* RFC 7692 7.2.1; whole: the tail is cut off. An empty message is one byte (7.2.3.6), and
 * so is what a message ends with whose tail was sent. */
static wf_packed pack(wf_deflater *f, wf_deflate_env *env, const void *p, size_t n,
                      bool whole)
{
    static const uint8_t empty[1] = { 0 };
    wf_buffer *to = &env->packed;
    if (n == 0)
        return (wf_packed){ empty, 1 };
    to->len = 0;
    if (!f || !run(f, to, p, n)) {
        if (f) {
            deflateReset(&f->z);
            f->fresh = true;
        }
        return (wf_packed){ NULL, 0 };
    }
    return (wf_packed){ to->data, to->len - (whole ? sizeof tail : 0) };
}

wf_packed wf_deflate_alone(const wf_deflate_options *options, unsigned window,
                           wf_deflate_env *env, const void *p, size_t n)
{
    env->used = true;
    wf_deflater *f = lend_deflater(options, window, env);
    if (f && !f->fresh)
        deflateReset(&f->z);
    return pack(f, env, p, n, true);
}

wf_packed wf_deflate_message(wf_deflate *d, wf_deflate_env *env, const void *p, size_t n)
{
    if (!d->deflater_stays)
        return wf_deflate_alone(d->options, d->window, env, p, n);
    return pack(own_deflater(d, env), env, p, n, true);
}

wf_packed wf_deflate_part(wf_deflate *d, wf_deflate_env *env, const void *p, size_t n,
                          bool last)
{
    wf_deflater *f = n > 0 ? own_deflater(d, env) : NULL;
    return pack(f, env, p, n, last);
}

void wf_deflate_part_end(wf_deflate *d)
{
    if (!d->deflater_stays)
        free_deflater(d->deflater);
}

/* -- decompressors ---------------------------------------------------------------- */

static wf_inflater *new_inflater(unsigned window)
{
    wf_inflater *f = calloc(1, sizeof *f);
    if (f && inflateInit2(&f->z, -(int)window) != Z_OK) {
        free(f);
        return NULL;
    }
    if (f)
        f->window = (uint8_t)window;
    return f;
}

static void free_inflater(wf_inflater *f)
{
    if (f)
        inflateEnd(&f->z);
    free(f);
}

/* A lent one is of the biggest window, which is right for every peer. */
static wf_inflater *lend_inflater(wf_deflate_env *env)
{
    wf_inflater *f = env->spare;
    env->used = true;
    if (!f)
        return new_inflater(WF_WINDOW_MAX);
    env->spare = f->next;
    env->spares--;
    return f;
}

/* The peer's window in bits; zlib does 8 as little as when it compresses, and a bigger
 * one inflates the same. */
static unsigned peer_window(const wf_deflate *d)
{
    unsigned bits = d->client ? d->agreed.server_window : d->agreed.client_window;
    return bits ? WF_MAX(bits, 9u) : WF_WINDOW_MAX;
}

wf_inflater *wf_inflate_begin(wf_deflate *d, wf_deflate_env *env)
{
    if (!d->inflater)
        d->inflater =
            d->inflater_stays ? new_inflater(peer_window(d)) : lend_inflater(env);
    wf_inflater *f = d->inflater;
    if (f) {
        f->count = (wf_inflated){ 0, 0 };
        f->tailed = f->ended = false;
        f->z.avail_in = 0;
    }
    return f;
}

void wf_inflate_feed(wf_inflater *f, const uint8_t *p, size_t n)
{
    f->z.next_in = (Bytef *)(uintptr_t)p;
    f->z.avail_in = (uInt)n;
    f->count.in += n;
}

size_t wf_inflate_take_back(wf_inflater *f)
{
    size_t left = f->tailed ? 0 : f->z.avail_in; /* the tail is no input */
    f->z.avail_in -= (uInt)left;
    f->count.in -= left;
    return left;
}

void wf_inflate_last(wf_inflater *f)
{
    f->tailed = true;
    if (f->ended) /* RFC 7692 7.2.3.4, and no byte for the tail to complete */
        return;
    f->z.next_in = (Bytef *)(uintptr_t)tail;
    f->z.avail_in = sizeof tail;
}

bool wf_inflate_tailed(const wf_inflater *f)
{
    return f->tailed;
}

/* RFC 7692 7.2.3.4: a final block is not the last one of the connection. What follows it
 * may still refer to what came before: the window stays where it is, for there may be one
 * such block in every two bytes, and a copy of it for each would be a peer's to ask for.
 */
static bool go_on(wf_inflater *f)
{
    return inflateResetKeep(&f->z) == Z_OK;
}

long wf_inflate_read(wf_inflater *f, uint8_t *to, size_t room)
{
    f->z.next_out = to;
    f->z.avail_out = (uInt)room;
    for (;;) {
        if (f->z.avail_in > 0)
            f->ended = false;
        int e = inflate(&f->z, Z_SYNC_FLUSH);
        if (e == Z_STREAM_END) {
            f->ended = f->z.avail_in == 0;
            if (!go_on(f))
                return -2;
        }
        size_t n = room - f->z.avail_out;
        /* what came before bad data goes first: the same however the input is cut */
        if (n == 0 && e != Z_OK && e != Z_STREAM_END && e != Z_BUF_ERROR)
            return e == Z_MEM_ERROR ? -2 : -1;
        if (n > 0 || f->z.avail_in == 0 || f->z.avail_out == 0) {
            f->count.out += n;
            return (long)n;
        }
        if (e == Z_BUF_ERROR)
            return -1; /* cannot be: neither input nor room was used up */
    }
}

bool wf_inflate_whole(const wf_inflater *f)
{
    /* zlib: 128 between blocks, and below 64 the bits of the last byte that are unused */
    return f->ended || ((f->z.data_type & 128) && (f->z.data_type & 63) == 0);
}

const wf_inflated *wf_inflate_count(const wf_inflater *f)
{
    return &f->count;
}

void wf_inflate_end(wf_deflate *d, wf_deflate_env *env)
{
    wf_inflater *f = d->inflater;
    if (!f || d->inflater_stays)
        return;
    d->inflater = NULL;
    if (env->spares == WF_SPARE_CODERS || inflateReset(&f->z) != Z_OK) {
        free_inflater(f);
        return;
    }
    f->next = env->spare;
    env->spare = f;
    env->spares++;
}

/* -- life ------------------------------------------------------------------------- */

void wf_deflate_free(wf_deflate *d, wf_deflate_env *env)
{
    if (!d)
        return;
    free_deflater(d->deflater);
    wf_inflate_end(d, env);
    free_inflater(d->inflater);
    free(d);
}

uint8_t *wf_deflate_scratch(wf_deflate_env *env)
{
    if (!env->scratch)
        env->scratch = malloc(WF_SCRATCH);
    env->used = true;
    return env->scratch;
}

static void free_spares(wf_deflate_env *env)
{
    for (int i = 0; i < WF_SPARE_CODERS; i++) {
        free_deflater(env->lent[i]);
        env->lent[i] = NULL;
    }
    for (wf_inflater *f = env->spare, *next; f; f = next) {
        next = f->next;
        free_inflater(f);
    }
    env->spare = NULL;
    env->spares = 0;
    wf_buffer_free(&env->packed);
}

bool wf_deflate_age(wf_deflate_env *env)
{
    bool freed = false;
    for (wf_deflater *f = env->owned, *next; f; f = next) {
        next = f->next;
        if (!f->used) {
            free_deflater(f);
            freed = true;
        } else {
            f->used = false;
        }
    }
    if (!env->used && (env->spare || env->lent[0])) {
        free_spares(env);
        freed = true;
    }
    env->used = false;
    return freed;
}

void wf_deflate_env_free(wf_deflate_env *env)
{
    free_spares(env);
    free(env->scratch);
    env->scratch = NULL;
}
