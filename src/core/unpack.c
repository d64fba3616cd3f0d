/*
 * unpack: the payload of compressed messages (RFC 7692 7.2.2), inflated in steps into
 * the loop's scratch room. A message that comes in one piece and fits is handed out from
 * there; others gather in the session's buffer. Part of session.
 */
#include <string.h>

#include "core/mask.h"
#include "core/session_private.h"

static bool fail(wf_session *s, unsigned code, const char *why)
{
    wf_session_fail(s, code, why);
    return false;
}

/* What deflate makes of bytes that it cannot compress: a little more. */
static uint64_t most_packed(const wf_session *s)
{
    return (uint64_t)s->limits.max_message + (s->limits.max_message >> 7) + 1024;
}

bool wf_session_judge_packed(wf_session *s, const wf_frame *f)
{
    const wf_inflater *in = s->deflate->inflater;
    bool first = (f->b0 & 15) != 0;
    uint64_t had = first || !in ? 0 : wf_inflate_count(in)->in, most = most_packed(s);
    if (f->length > most || had > most - f->length)
        return fail(s, WF_CLOSE_TOO_BIG, "message over max_message");
    return true;
}

/* Design: a bomb is noticed before what it inflates to is kept. */
static bool judge_inflated(wf_session *s)
{
    const wf_inflated *count = wf_inflate_count(s->deflate->inflater);
    if (count->out > s->limits.max_message)
        return fail(s, WF_CLOSE_TOO_BIG, "message over max_message");
    if (count->out > WF_RATIO_FREE &&
        count->out / s->deflate->options->max_ratio >= count->in)
        return fail(s, WF_CLOSE_TOO_BIG, "message inflates over max_ratio");
    return true;
}

static bool keep(wf_session *s, const uint8_t *p, size_t n)
{
    if (n == 0)
        return true;
    if (!s->msg.data && n >= WF_SCRATCH)
        wf_spares_take(&s->env->spares, &s->msg);
    if (!wf_buffer_reserve(&s->msg, n, s->limits.max_message))
        return fail(s, WF_CLOSE_INTERNAL, "out of memory");
    memcpy(s->msg.data + s->msg.len, p, n);
    s->msg.len += n;
    return true;
}

/* Up to the byte that is too many: so it is known which fault was first, however the
 * input is cut. */
static size_t room_left(const wf_session *s)
{
    const wf_inflated *count = wf_inflate_count(s->deflate->inflater);
    return s->limits.max_message + 1 - (size_t)count->out;
}

/* Inflates what was fed behind the *have bytes in scratch; when that is full, they move
 * to the buffer. False: it failed. */
static bool inflate_fed(wf_session *s, uint8_t *scratch, size_t *have)
{
    for (;;) {
        if (*have == WF_SCRATCH) {
            if (!keep(s, scratch, *have))
                return false;
            *have = 0;
        }
        uint8_t *to = scratch + *have;
        size_t room = WF_MIN(WF_SCRATCH - *have, room_left(s));
        long k = wf_inflate_read(s->deflate->inflater, to, room);
        if (k == 0)
            return true;
        if (k < 0)
            return k == -2 ? fail(s, WF_CLOSE_INTERNAL, "out of memory")
                           : fail(s, WF_CLOSE_INVALID_DATA, "bad compressed data");
        if (s->kind == WF_OP_TEXT && !wf_utf8_feed(&s->utf8, to, (size_t)k))
            return fail(s, WF_CLOSE_INVALID_DATA, "text is not UTF-8");
        if (!judge_inflated(s))
            return false;
        *have += (size_t)k;
    }
}

/* The next k payload bytes, unmasked a cache's worth at a time. */
static bool inflate_payload(wf_session *s, uint8_t *p, size_t k, uint8_t *scratch,
                            size_t *have)
{
    s->left -= k;
    while (k > 0) {
        size_t n = WF_MIN(k, CACHED);
        if (!s->client)
            wf_mask(p, n, s->key, (size_t)s->phase);
        wf_inflate_feed(s->deflate->inflater, p, n);
        if (!inflate_fed(s, scratch, have))
            return false;
        s->phase += n;
        p += n;
        k -= n;
    }
    return true;
}

static bool inflate_tail(wf_session *s, uint8_t *scratch, size_t *have)
{
    wf_inflate_last(s->deflate->inflater);
    if (!inflate_fed(s, scratch, have))
        return false;
    if (!wf_inflate_whole(s->deflate->inflater))
        return fail(s, WF_CLOSE_INVALID_DATA, "compressed data ends too early");
    wf_inflate_end(s->deflate, &s->env->deflate);
    return true;
}

/* The inflater and the scratch room, or NULL: it failed. */
static uint8_t *prepare(wf_session *s)
{
    uint8_t *scratch = wf_deflate_scratch(&s->env->deflate);
    bool first = (s->b0 & 15) && s->phase == 0;
    if (scratch && (!first || wf_inflate_begin(s->deflate, &s->env->deflate)))
        return scratch;
    fail(s, WF_CLOSE_INTERNAL, "out of memory");
    return NULL;
}

wf_event wf_session_take_packed(wf_session *s, uint8_t **p, size_t *n, wf_message *m)
{
    uint8_t *at = *p, *scratch = prepare(s);
    size_t k = (size_t)WF_MIN(s->left, *n), have = 0;
    if (!scratch)
        return WF_EVENT_CLOSE;
    *p += k;
    *n -= k;
    if (!inflate_payload(s, at, k, scratch, &have))
        return WF_EVENT_CLOSE;
    bool last = s->left == 0 && (s->b0 & WF_FRAME_FIN);
    if (last && !inflate_tail(s, scratch, &have))
        return WF_EVENT_CLOSE;
    bool whole = last && s->msg.len == 0;
    if (!whole && !keep(s, scratch, have))
        return WF_EVENT_CLOSE;
    if (s->left > 0)
        return WF_EVENT_NONE;
    wf_event event = wf_session_end_data(s, m);
    if (event == WF_EVENT_MESSAGE) {
        m->data = whole ? scratch : s->msg.data;
        m->len = whole ? have : s->msg.len;
        s->delivered = !whole;
    }
    return event;
}
