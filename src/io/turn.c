/*
 * turn: what the streams of a turn do together: receive ahead, and send at its end,
 * in batches where there are any.
 */
#include <stdlib.h>

#include "io/stream.h"

/* A batch of fewer sends, or of bigger ones, saves nothing. */
#define BATCH_MIN 4
#define BATCH_BYTES (16u << 10)

static void run_batch(wf_loop *loop, wf_batch_op *ops, unsigned n)
{
    if (wf_batch_run(loop->batch, ops, n))
        return;
    wf_batch_free(loop->batch);
    loop->batch = NULL;
}

static bool wants_ahead(const wf_object *object)
{
    const wf_stream *s = (const wf_stream *)object;
    if (object->class != &wf_stream_class || object->dead)
        return false;
    return s->chatty && s->plain && (s->events & EV_READ) && s->finish == WF_FINISH_NOT;
}

void wf_stream_read_ahead(wf_loop *loop)
{
    wf_ahead *ahead = &loop->ahead;
    unsigned n = 0;
    if (!loop->batch || !ahead->bytes)
        return;
    for (wf_object *o = loop->ready.first; o && n < WF_AHEAD; o = o->next_ready)
        if (wants_ahead(o)) {
            wf_stream *s = (wf_stream *)o;
            ahead->ops[n] = (wf_batch_op){ .fd = s->fd,
                                           .p = ahead->bytes + n * WF_AHEAD_BYTES,
                                           .n = WF_AHEAD_BYTES };
            s->ahead = (uint8_t)++n;
        }
    if (n >= BATCH_MIN) {
        run_batch(loop, ahead->ops, n);
        return;
    }
    for (wf_object *o = loop->ready.first; o && n > 0; o = o->next_ready)
        if (o->class == &wf_stream_class && ((wf_stream *)o)->ahead) {
            ((wf_stream *)o)->ahead = 0;
            n--;
        }
}

/* One send that a batch can do: a single segment, not so big that a system call
 * would not be noticed. */
static bool batchable(const wf_stream *s)
{
    const wf_seg *seg = s->out.head;
    return s->plain && !s->blocked && seg && !seg->next && seg->n <= BATCH_BYTES;
}

static void flush_batch(wf_loop *loop, wf_stream **streams, wf_batch_op *sends,
                        unsigned n)
{
    if (n < BATCH_MIN || !loop->batch) {
        for (unsigned i = 0; i < n; i++)
            wf_stream_flush(streams[i]);
        return;
    }
    run_batch(loop, sends, n);
    for (unsigned i = 0; i < n; i++)
        wf_stream_sent(streams[i], sends[i].result, sends[i].n);
}

void wf_stream_flush_dirty(wf_loop *loop)
{
    wf_stream *streams[WF_BATCH_MAX];
    wf_batch_op sends[WF_BATCH_MAX];
    while (loop->dirty) {
        unsigned n = 0;
        while (loop->dirty && n < WF_BATCH_MAX) {
            wf_stream *s = loop->dirty;
            loop->dirty = s->next_dirty;
            s->dirty = false;
            if (!loop->batch || !batchable(s)) {
                wf_stream_flush(s);
                continue;
            }
            streams[n] = s;
            const wf_seg *seg = s->out.head;
            void *bytes = (void *)(uintptr_t)seg->p;
            sends[n++] =
                (wf_batch_op){ s->fd, true, wf_stream_is_last(s), bytes, seg->n, 0 };
        }
        flush_batch(loop, streams, sends, n);
    }
}
