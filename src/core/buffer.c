/* buffer: see buffer.h. */
#include "core/buffer.h"

#include <stdlib.h>
#include <string.h>

bool wf_buffer_reserve(wf_buffer *b, size_t more, size_t limit)
{
    if (b->cap - b->len >= more)
        return true;
    if (more > SIZE_MAX / 2 - b->len)
        return false;
    size_t cap = WF_MAX(b->cap * 2, b->len + more);
    cap = WF_MAX(WF_MIN(cap, limit), b->len + more);
    uint8_t *data = realloc(b->data, cap);
    if (!data)
        return false;
    b->data = data;
    b->cap = cap;
    return true;
}

bool wf_buffer_append(wf_buffer *b, const void *p, size_t n)
{
    if (n == 0)
        return true;
    if (!wf_buffer_reserve(b, n, SIZE_MAX / 2))
        return false;
    memcpy(b->data + b->len, p, n);
    b->len += n;
    return true;
}

void wf_buffer_consume(wf_buffer *b, size_t n)
{
    b->len -= n;
    if (b->len > 0)
        memmove(b->data, b->data + n, b->len);
}

void wf_buffer_free(wf_buffer *b)
{
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
    if (b->cap >= WF_SPARE_MIN && b->cap <= WF_SPARE_MAX)
        for (int i = 0; i < WF_SPARES; i++)
            if (!spares->slot[i].data) {
                spares->slot[i] = (wf_buffer){ b->data, 0, b->cap };
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
