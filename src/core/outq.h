/*
 * outq: the bytes that wait to leave a connection, as a list of segments.
 *
 * Small writes of one turn of the loop, of all connections, are copied one
 * behind the other into the pool's arena, which is empty again at the turn's
 * end: no allocation, and the bytes are still in the cache when the kernel
 * takes them. What the kernel does not take moves into blobs of the connection's
 * own (wf_outq_settle), so that a slow peer pins no arena. A broadcast is one
 * blob that many queues point to.
 */
#ifndef WF_CORE_OUTQ_H
#define WF_CORE_OUTQ_H

#include <sys/uio.h>

#include "base.h"

WF_HIDDEN_BEGIN

/* Reference-counted bytes; never changed once shared. */
typedef struct wf_blob {
    uint32_t refs;
    bool arena;
    size_t cap, used;
    uint8_t data[];
} wf_blob;

typedef struct wf_seg {
    struct wf_seg *next;
    wf_blob *blob;
    const uint8_t *p;
    size_t n;
} wf_seg;

typedef struct wf_outq {
    wf_seg *head, *tail;
    size_t bytes;
} wf_outq;

typedef struct wf_outpool {
    wf_blob *arena; /* this turn's, or NULL */
    wf_seg *free;   /* segments to use again */
    size_t nfree;
} wf_outpool;

/* One reference, nothing used; NULL: no memory. */
wf_blob *wf_blob_new(size_t cap);
void wf_blob_unref(wf_blob *blob);

/* Room for n > 0 bytes at the end, counted as queued already. NULL: no memory. */
uint8_t *wf_outq_reserve(wf_outq *q, wf_outpool *pool, size_t n);
/* The same where what is queued last lies last in the arena, too; else NULL. */
static inline uint8_t *wf_outq_extend(wf_outq *q, wf_outpool *pool, size_t n)
{
    wf_blob *arena = pool->arena;
    wf_seg *tail = q->tail;
    if (!tail || tail->blob != arena || arena->cap - arena->used < n)
        return NULL;
    uint8_t *p = arena->data + arena->used;
    if (tail->p + tail->n != p)
        return NULL;
    tail->n += n;
    q->bytes += n;
    arena->used += n;
    return p;
}
bool wf_outq_put(wf_outq *q, wf_outpool *pool, const void *p, size_t n);
/* Queues the blob's used bytes and takes a reference of its own. */
bool wf_outq_share(wf_outq *q, wf_outpool *pool, wf_blob *blob);

/* All of `from` goes behind what is queued. */
void wf_outq_move(wf_outq *q, wf_outq *from);

/* The first segments, for writev; returns how many. */
int wf_outq_iov(const wf_outq *q, struct iovec *iov, int max);
/* The first n bytes have left. */
void wf_outq_consume(wf_outq *q, wf_outpool *pool, size_t n);
/* Moves what lies in the arena into blobs of the queue's own. False: no memory. */
bool wf_outq_settle(wf_outq *q, wf_outpool *pool);
void wf_outq_clear(wf_outq *q, wf_outpool *pool);

/* The turn is over: every queue is empty or settled. */
void wf_outpool_end_turn(wf_outpool *pool);
void wf_outpool_free(wf_outpool *pool);

WF_HIDDEN_END

#endif
