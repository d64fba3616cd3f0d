/*
 * coding: undoes the content codings gzip and deflate (RFC 9110 8.4.1) piece by piece, in
 * bounded memory, and notices what inflates beyond all proportion; and makes gzip. No
 * I/O; zlib only.
 */
#ifndef WF_CORE_CODING_H
#define WF_CORE_CODING_H

#include <zlib.h>

#include "base.h"

WF_HIDDEN_BEGIN

/* Output up to here is never out of proportion. */
#define WF_CODING_FREE (64u << 10)

typedef enum wf_coding_kind { WF_CODING_GZIP, WF_CODING_DEFLATE } wf_coding_kind;

typedef enum wf_coding_error {
    WF_CODING_MALFORMED = -1,
    WF_CODING_RATIO = -2,
    WF_CODING_NOMEM = -3,
} wf_coding_error;

typedef struct wf_coding {
    z_stream z;
    wf_coding_kind kind;
    unsigned ratio; /* bytes of output for each of input, above WF_CODING_FREE */
    uint8_t head[2];
    uint8_t nhead; /* of deflate's first two bytes, by which its wrapping is known */
    bool begun, ended;
    uint64_t in, out;
} wf_coding;

/* Begins; nothing is allocated yet. */
void wf_coding_init(wf_coding *c, wf_coding_kind kind, unsigned ratio);
/*
 * Decodes from *p (*n bytes, both are moved on) into out[0..room). Returns the bytes
 * written, 0 when it needs more input, or a wf_coding_error.
 */
long wf_coding_decode(wf_coding *c, const uint8_t **p, size_t *n, uint8_t *out,
                      size_t room);
/* May the input end here? An empty content is let pass, whatever it says of itself. */
bool wf_coding_complete(const wf_coding *c);
void wf_coding_free(wf_coding *c);

/* -- gzip, made piece by piece --------------------------------------------------------
 */

typedef struct wf_gzip {
    z_stream z;
    bool begun, ended;
} wf_gzip;

/* What is left of the input when it is to come out. */
typedef enum wf_gzip_end { WF_GZIP_MORE, WF_GZIP_FLUSH, WF_GZIP_FINISH } wf_gzip_end;

/* level: zlib's. False: no memory. */
bool wf_gzip_init(wf_gzip *g, int level);
/* Input for the next calls of wf_gzip_take, which lasts until they are through. */
void wf_gzip_give(wf_gzip *g, const uint8_t *p, size_t n);
/* Output into out[0..room): how much. Less than room: all of it is out. */
size_t wf_gzip_take(wf_gzip *g, wf_gzip_end end, uint8_t *out, size_t room);
void wf_gzip_free(wf_gzip *g);

WF_HIDDEN_END

#endif
