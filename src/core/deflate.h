/*
 * deflate: permessage-deflate's compressors and decompressors (RFC 7692 7.2), by zlib.
 *
 * A connection has a wf_deflate. With context takeover it owns a compressor and a
 * decompressor; a compressor that was not used for a while is freed, as a fresh one may
 * take its place at any time. Without takeover both are the loop's (wf_deflate_env) and
 * are only lent: the compressor for one message, the decompressor while one comes in.
 */
#ifndef WF_CORE_DEFLATE_H
#define WF_CORE_DEFLATE_H

#include "buffer.h"
#include "extension.h"

WF_HIDDEN_BEGIN

/* A route's or a call's. */
typedef struct wf_deflate_options {
    wf_extension wish;  /* .deflate false: no compression */
    uint8_t window;     /* of a client's own compressor, 9 to 15 */
    uint8_t memlevel;   /* 1 to 9 */
    uint8_t level;      /* 0 to 9 */
    uint32_t threshold; /* bytes from which on a message is compressed */
    uint32_t max_ratio; /* inflated to compressed bytes, above WF_RATIO_FREE */
} wf_deflate_options;

#define WF_RATIO_FREE (64u << 10)
/* What inflates at a time, into the loop's scratch room. */
#define WF_SCRATCH (16u << 10)

typedef struct wf_deflater wf_deflater;
typedef struct wf_inflater wf_inflater;

#define WF_SPARE_CODERS 4

/* What the connections of one loop share. Zeros to begin with. */
typedef struct wf_deflate_env {
    wf_deflater *lent[WF_SPARE_CODERS]; /* of several windows and levels */
    wf_deflater *owned;                 /* a list of all that connections own */
    wf_inflater *spare;
    unsigned spares;
    bool used;        /* any of the spares, since the last age */
    uint8_t *scratch; /* WF_SCRATCH bytes, or NULL */
    wf_buffer packed; /* the message that was compressed last */
} wf_deflate_env;

typedef struct wf_deflate {
    const wf_deflate_options *options;
    wf_deflater *deflater; /* NULL: not needed so far, or lent */
    wf_inflater *inflater; /* the same */
    wf_extension agreed;
    uint8_t window; /* of our compressor, 9 to 15 */
    bool client;
    bool deflater_stays, inflater_stays; /* context takeover */
} wf_deflate;

/* The options must outlive it. NULL: no memory. */
wf_deflate *wf_deflate_new(const wf_deflate_options *options, const wf_extension *agreed,
                           bool client);
void wf_deflate_free(wf_deflate *d, wf_deflate_env *env);

/* -- out ----------------------------------------------------------------------- */

typedef struct wf_packed {
    const uint8_t *data; /* the env's, until the next call */
    size_t len;
} wf_packed;

/* A whole message, compressed. .data NULL: no memory, and nothing has changed that the
 * peer would need to know. */
wf_packed wf_deflate_message(wf_deflate *d, wf_deflate_env *env, const void *p, size_t n);
/* The same without a connection, for who can inflate such a window: refers to nothing
 * that came before. */
wf_packed wf_deflate_alone(const wf_deflate_options *options, unsigned window,
                           wf_deflate_env *env, const void *p, size_t n);
/* The next part of a message that is sent in parts; the last may be empty. Until
 * wf_deflate_part_end the compressor is the connection's own, also without takeover. */
wf_packed wf_deflate_part(wf_deflate *d, wf_deflate_env *env, const void *p, size_t n,
                          bool last);
void wf_deflate_part_end(wf_deflate *d);
/* The peer was sent a message that our compressor has not seen: it must not refer to
 * what was before it. */
void wf_deflate_forget(wf_deflate *d);

/* -- in ------------------------------------------------------------------------ */

/* The message's bytes so far, of both kinds. */
typedef struct wf_inflated {
    uint64_t in, out;
} wf_inflated;

/* A message begins. NULL: no memory. */
wf_inflater *wf_inflate_begin(wf_deflate *d, wf_deflate_env *env);
/* The next compressed bytes; they must stay until they are used. */
void wf_inflate_feed(wf_inflater *f, const uint8_t *p, size_t n);
/* Takes back what of these is not used yet; how many bytes. */
size_t wf_inflate_take_back(wf_inflater *f);
/* All have been fed: so is now the tail of RFC 7692 7.2.2. */
void wf_inflate_last(wf_inflater *f);
bool wf_inflate_tailed(const wf_inflater *f);
/* Inflates; > 0: that many bytes; 0: wants more; -1: no valid data; -2: no memory. */
long wf_inflate_read(wf_inflater *f, uint8_t *to, size_t room);
/* After the tail: was that a whole number of blocks? */
bool wf_inflate_whole(const wf_inflater *f);
const wf_inflated *wf_inflate_count(const wf_inflater *f);
/* The message is over. */
void wf_inflate_end(wf_deflate *d, wf_deflate_env *env);

/* Called now and then: frees what was not used since; true when that was something. */
bool wf_deflate_age(wf_deflate_env *env);
/* WF_SCRATCH bytes; NULL: no memory. */
uint8_t *wf_deflate_scratch(wf_deflate_env *env);
void wf_deflate_env_free(wf_deflate_env *env);

WF_HIDDEN_END

#endif
