/* outq: see outq.h. */
#include "core/outq.h"

#include <stdlib.h>
#include <string.h>

#define ARENA_BYTES ((256u << 10) - sizeof(wf_blob))
/* So that a slow peer's small messages share a blob. */
#define OWN_MIN (2048 - sizeof(wf_blob))
#define FREE_SEGS_MAX 16384

wf_blob *wf_blob_new(size_t cap)
{
    wf_blob *blob = malloc(sizeof *blob + cap);
    if (blob) {
        blob->refs = 1;
        blob->arena = false;
        blob->cap = cap;
        blob->used = 0;
    }
    return blob;
}

void wf_blob_unref(wf_blob *blob)
{
    if (blob && --blob->refs == 0)
        free(blob);
}

/* Takes over the caller's reference to blob, also when it fails. */
static bool add_seg(wf_outq *q, wf_outpool *pool, wf_blob *blob, const uint8_t *p,
                    size_t n)
{
    wf_seg *seg = pool->free;
    if (seg) {
        pool->free = seg->next;
        pool->nfree--;
    } else if (!(seg = malloc(sizeof *seg))) {
        wf_blob_unref(blob);
        return false;
    }
    *seg = (wf_seg){ NULL, blob, p, n };
    if (q->tail)
        q->tail->next = seg;
    else
        q->head = seg;
    q->tail = seg;
    q->bytes += n;
    return true;
}

static void drop_seg(wf_outpool *pool, wf_seg *seg)
{
    wf_blob_unref(seg->blob);
    if (pool->nfree >= FREE_SEGS_MAX) {
        free(seg);
        return;
    }
    seg->next = pool->free;
    pool->free = seg;
    pool->nfree++;
}

static wf_blob *arena_with(wf_outpool *pool, size_t n)
{
    if (pool->arena && pool->arena->cap - pool->arena->used >= n)
        return pool->arena;
    wf_blob *arena = wf_blob_new(ARENA_BYTES);
    if (!arena)
        return NULL;
    arena->arena = true;
    wf_blob_unref(pool->arena);
    return pool->arena = arena;
}

uint8_t *wf_outq_reserve(wf_outq *q, wf_outpool *pool, size_t n)
{
    bool big = n > ARENA_BYTES / 2;
    wf_blob *blob = big ? wf_blob_new(n) : arena_with(pool, n);
    if (!blob)
        return NULL;
    uint8_t *p = big ? NULL : wf_outq_extend(q, pool, n);
    if (p)
        return p;
    p = blob->data + blob->used;
    blob->refs += !big;
    if (!add_seg(q, pool, blob, p, n))
        return NULL;
    blob->used += n;
    return p;
}

bool wf_outq_put(wf_outq *q, wf_outpool *pool, const void *p, size_t n)
{
    if (n == 0)
        return true;
    uint8_t *to = wf_outq_reserve(q, pool, n);
    if (to)
        memcpy(to, p, n);
    return to != NULL;
}

bool wf_outq_share(wf_outq *q, wf_outpool *pool, wf_blob *blob)
{
    blob->refs++;
    return add_seg(q, pool, blob, blob->data, blob->used);
}

void wf_outq_move(wf_outq *q, wf_outq *from)
{
    if (!from->head)
        return;
    if (q->tail)
        q->tail->next = from->head;
    else
        q->head = from->head;
    q->tail = from->tail;
    q->bytes += from->bytes;
    *from = (wf_outq){ 0 };
}

int wf_outq_iov(const wf_outq *q, struct iovec *iov, int max)
{
    int n = 0;
    for (wf_seg *seg = q->head; seg && n < max; seg = seg->next, n++) {
        iov[n].iov_base = (void *)(uintptr_t)seg->p;
        iov[n].iov_len = seg->n;
    }
    return n;
}

void wf_outq_consume(wf_outq *q, wf_outpool *pool, size_t n)
{
    q->bytes -= n;
    while (n > 0 && n >= q->head->n) {
        wf_seg *seg = q->head;
        n -= seg->n;
        q->head = seg->next;
        drop_seg(pool, seg);
    }
    if (!q->head) {
        q->tail = NULL;
    } else if (n > 0) {
        q->head->p += n;
        q->head->n -= n;
    }
}

/* May seg's bytes be appended to what `to` points at? */
static bool has_room(const wf_seg *to, size_t n)
{
    if (!to)
        return false;
    const wf_blob *blob = to->blob;
    return !blob->arena && blob->refs == 1 && to->p + to->n == blob->data + blob->used &&
           blob->cap - blob->used >= n;
}

bool wf_outq_settle(wf_outq *q, wf_outpool *pool)
{
    wf_seg *last = NULL;
    for (wf_seg *seg = q->head, *next; seg; seg = next) {
        next = seg->next;
        if (!seg->blob->arena) {
            last = seg;
        } else if (has_room(last, seg->n)) {
            memcpy(last->blob->data + last->blob->used, seg->p, seg->n);
            last->blob->used += seg->n;
            last->n += seg->n;
            last->next = next;
            if (q->tail == seg)
                q->tail = last;
            drop_seg(pool, seg);
        } else {
            wf_blob *own = wf_blob_new(WF_MAX(seg->n, OWN_MIN));
            if (!own)
                return false;
            memcpy(own->data, seg->p, seg->n);
            own->used = seg->n;
            wf_blob_unref(seg->blob);
            seg->blob = own;
            seg->p = own->data;
            last = seg;
        }
    }
    return true;
}

void wf_outq_clear(wf_outq *q, wf_outpool *pool)
{
    for (wf_seg *seg = q->head, *next; seg; seg = next) {
        next = seg->next;
        drop_seg(pool, seg);
    }
    *q = (wf_outq){ 0 };
}

void wf_outpool_end_turn(wf_outpool *pool)
{
    if (!pool->arena)
        return;
    if (pool->arena->refs == 1) {
        pool->arena->used = 0;
    } else {
        wf_blob_unref(pool->arena);
        pool->arena = NULL;
    }
}

void wf_outpool_free(wf_outpool *pool)
{
    wf_blob_unref(pool->arena);
    for (wf_seg *seg = pool->free, *next; seg; seg = next) {
        next = seg->next;
        free(seg);
    }
    *pool = (wf_outpool){ 0 };
}
