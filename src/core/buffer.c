/* buffer: see buffer.h. */
#include "core/buffer.h"

#include <stdlib.h>
#include <string.h>

/* What was consumed is room again. */
static void rewind_data(wf_buffer *b)
{
    if (b->consumed == 0)
        return;
    uint8_t *data = b->data - b->consumed;
    memmove(data, b->data, b->len);
    b->data = data;
    b->cap += b->consumed;
    b->consumed = 0;
}

bool wf_buffer_reserve(wf_buffer *b, size_t more, size_t limit)
{
    if (b->cap - b->len >= more)
        return true;
    if (more > UINT32_MAX - b->len)
        return false;
    rewind_data(b);
    if (b->cap - b->len >= more)
        return true;
    size_t cap = WF_MAX((size_t)b->cap * 2, b->len + more);
    cap = WF_MIN(WF_MAX(WF_MIN(cap, limit), b->len + more), UINT32_MAX);
    uint8_t *data = realloc(b->data, cap);
    if (!data)
        return false;
    b->data = data;
    b->cap = (uint32_t)cap;
    return true;
}

bool wf_buffer_append(wf_buffer *b, const void *p, size_t n)
{
    if (n == 0)
        return true;
    if (!wf_buffer_reserve(b, n, UINT32_MAX))
        return false;
    memcpy(b->data + b->len, p, n);
    b->len += (uint32_t)n;
    return true;
}

void wf_buffer_consume(wf_buffer *b, size_t n)
{
    if (n == 0) /* there may be no memory at all */
        return;
    b->len -= (uint32_t)n;
    b->data += n;
    b->cap -= (uint32_t)n;
    b->consumed += (uint32_t)n;
    if (b->len == 0)
        rewind_data(b);
}

void wf_buffer_free(wf_buffer *b)
{
    b->len = 0;
    rewind_data(b);
    free(b->data);
    *b = (wf_buffer){ 0 };
}

void wf_spares_take(wf_spares *spares, wf_buffer *b)
{
    spares->used = true;
    for (int i = 0; i < WF_SPARES; i++)
        if (spares->slot[i].data) {
            *b = spares->slot[i];
            spares->slot[i] = (wf_buffer){ 0 };
            return;
        }
}

void wf_spares_give(wf_spares *spares, wf_buffer *b)
{
    b->len = 0;
    rewind_data(b);
    if (b->cap >= WF_SPARE_MIN && b->cap <= WF_SPARE_MAX)
        for (int i = 0; i < WF_SPARES; i++)
            if (!spares->slot[i].data) {
                spares->slot[i] = *b;
                *b = (wf_buffer){ 0 };
                return;
            }
    wf_buffer_free(b);
}

bool wf_spares_age(wf_spares *spares)
{
    bool unused = !spares->used && spares->slot[0].data;
    if (unused)
        wf_spares_free(spares);
    spares->used = false;
    return unused;
}

void wf_spares_free(wf_spares *spares)
{
    for (int i = 0; i < WF_SPARES; i++)
        wf_buffer_free(&spares->slot[i]);
}
