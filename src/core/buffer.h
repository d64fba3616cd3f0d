/*
 * buffer: a growing byte buffer, and the few spare ones that a loop keeps so
 * that a stream of big messages does not pay for growing again each time.
 */
#ifndef WF_CORE_BUFFER_H
#define WF_CORE_BUFFER_H

#include "base.h"

WF_HIDDEN_BEGIN

typedef struct wf_buffer {
    uint8_t *data;
    uint32_t len, cap; /* from data on */
    uint32_t consumed; /* bytes before data, which are room again when that is needed */
} wf_buffer;

/* Makes room for `more` bytes, growing to at most `limit` in all (which the
 * caller knows to be enough). False: no memory, and nothing has changed. */
bool wf_buffer_reserve(wf_buffer *b, size_t more, size_t limit);
/* Appends; false: no memory, or 4 GiB, and nothing has changed. */
bool wf_buffer_append(wf_buffer *b, const void *p, size_t n);
/* Drops the first n bytes. */
void wf_buffer_consume(wf_buffer *b, size_t n);
void wf_buffer_free(wf_buffer *b);

#define WF_SPARES 4
#define WF_SPARE_MIN (32u << 10)
#define WF_SPARE_MAX (2u << 20)

typedef struct wf_spares {
    wf_buffer slot[WF_SPARES];
    bool used; /* since the last wf_spares_age */
} wf_spares;

/* Moves an empty spare into *b (which must own nothing) if there is one. */
void wf_spares_take(wf_spares *spares, wf_buffer *b);
/* Keeps b's memory if it is worth it and there is room, else frees it. */
void wf_spares_give(wf_spares *spares, wf_buffer *b);
/* Called now and then: frees what was not needed since the last call; true when
 * that was something. */
bool wf_spares_age(wf_spares *spares);
void wf_spares_free(wf_spares *spares);

WF_HIDDEN_END

#endif
