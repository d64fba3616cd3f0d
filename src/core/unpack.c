/*
 * unpack: the payload of compressed messages (RFC 7692 7.2.2), inflated in steps into
 * the loop's scratch room. A message that comes in one piece and fits is handed out from
 * there, and so are pieces of messages; others gather in the session's buffer. Part of
 * session.
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
static uint64_t most_packed(uint64_t most)
{
    return most + (most >> 7) + 1024;
}

bool wf_session_judge_packed(wf_session *s, const wf_frame *f)
{
    const wf_inflater *in = s->deflate->inflater;
    bool first = (f->b0 & 15) != 0;
    uint64_t had = first || !in ? 0 : wf_inflate_count(in)->in;
    uint64_t most = most_packed(wf_session_most(s));
    if (f->length > most || had > most - f->length)
        return wf_session_exceeds(s, WF_HELD_SIZE);
    if (had + f->length > most_packed(s->limits->max_message))
        wf_session_note_excess(s, WF_HELD_SIZE);
    return true;
}

/* Has the inflater begun with the message under way? */
static bool has_begun(const wf_session *s)
{
    bool later = (s->b0 & 8) || !(s->b0 & 15); /* control frames come between, too */
    return s->deflate->inflater && (later || s->phase > 0 || s->more);
}

uint64_t wf_session_inflated(const wf_session *s)
{
    return has_begun(s) ? wf_inflate_count(s->deflate->inflater)->out : 0;
}

bool wf_session_packed_fits(const wf_session *s, uint64_t most)
{
    wf_inflated had = { 0, 0 };
    if (has_begun(s))
        had = *wf_inflate_count(s->deflate->inflater);
    return had.out <= most && had.in + s->left <= most_packed(most);
}

/* Design: a bomb is noticed before what it inflates to is kept. */
static bool judge_inflated(wf_session *s)
{
    const wf_inflated *count = wf_inflate_count(s->deflate->inflater);
    if (count->out > wf_session_most(s))
        return wf_session_exceeds(s, WF_HELD_SIZE);
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
    if (!wf_buffer_reserve(&s->msg, n, s->limits->max_message))
        return fail(s, WF_CLOSE_INTERNAL, "out of memory");
    memcpy(s->msg.data + s->msg.len, p, n);
    s->msg.len += n;
    return true;
}

/* Up to the byte that is too many: so it is known which fault was first, however the
 * input is cut. */
static uint64_t room_left(const wf_session *s)
{
    return wf_session_most(s) + 1 - wf_inflate_count(s->deflate->inflater)->out;
}

/* The scratch room is full. True: it is a piece. */
static bool empty_scratch(wf_session *s, const uint8_t *scratch, size_t *have)
{
    if (s->piecewise && !s->dropping)
        return true;
    if (!s->dropping)
        keep(s, scratch, *have);
    *have = 0;
    return false;
}

/* Inflates what was fed behind the *have bytes in scratch. False: not all of it, for it
 * failed, exceeds a limit and waits, or is a piece (s->more). */
static bool inflate_fed(wf_session *s, uint8_t *scratch, size_t *have)
{
    for (;;) {
        s->more = *have == WF_SCRATCH && empty_scratch(s, scratch, have);
        if (s->more || s->state == WF_SESSION_DONE)
            return false;
        uint8_t *to = scratch + *have;
        size_t room = (size_t)WF_MIN(WF_SCRATCH - *have, room_left(s));
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
        if (s->held) {
            s->more = true;
            return false;
        }
    }
}

/* The next payload bytes, unmasked, a cache's worth of them. False: there are none. */
static bool feed(wf_session *s, uint8_t **p, size_t *n)
{
    size_t k = (size_t)WF_MIN(WF_MIN(s->left, *n), CACHED);
    if (k == 0)
        return false;
    if (s->bare > 0) {
        k = WF_MIN(k, s->bare);
        s->bare = (uint16_t)(s->bare - k);
    } else if (!s->client) {
        wf_mask(*p, k, s->key, (size_t)s->phase);
    }
    wf_inflate_feed(s->deflate->inflater, *p, k);
    s->phase += k;
    s->left -= k;
    *p += k;
    *n -= k;
    return true;
}

/* What the inflater has not used yet goes back to the input. */
static void take_back(wf_session *s, uint8_t **p, size_t *n)
{
    size_t k = wf_inflate_take_back(s->deflate->inflater);
    s->bare = (uint16_t)(s->bare + k);
    s->phase -= k;
    s->left += k;
    *p -= k;
    *n += k;
}

/* All that the frame, or the input, has; behind the last one the tail. The same. */
static bool inflate_payload(wf_session *s, uint8_t **p, size_t *n, uint8_t *scratch,
                            size_t *have)
{
    wf_inflater *f = s->deflate->inflater;
    if (s->more && !inflate_fed(s, scratch, have))
        return false;
    while (feed(s, p, n))
        if (!inflate_fed(s, scratch, have))
            return false;
    if (s->left > 0 || !(s->b0 & WF_FRAME_FIN))
        return true;
    if (!wf_inflate_tailed(f)) {
        wf_inflate_last(f);
        if (!inflate_fed(s, scratch, have))
            return false;
    }
    if (!wf_inflate_whole(f))
        return fail(s, WF_CLOSE_INVALID_DATA, "compressed data ends too early");
    wf_inflate_end(s->deflate, &s->env->deflate);
    return true;
}

/* The inflater and the scratch room, or NULL: it failed. */
static uint8_t *prepare(wf_session *s)
{
    uint8_t *scratch = wf_deflate_scratch(&s->env->deflate);
    bool first = (s->b0 & 15) && s->phase == 0 && !s->more;
    if (scratch && (!first || wf_inflate_begin(s->deflate, &s->env->deflate)))
        return scratch;
    fail(s, WF_CLOSE_INTERNAL, "out of memory");
    return NULL;
}

/* The frame, or its input, is at an end with these bytes in scratch. */
static wf_event take_inflated(wf_session *s, const uint8_t *scratch, size_t have,
                              wf_message *m)
{
    bool last = s->left == 0 && (s->b0 & WF_FRAME_FIN);
    bool piece = s->piecewise && !s->dropping, dropped = s->dropping;
    bool whole = last && s->msg.len == 0;
    if (!whole && !s->piecewise && !keep(s, scratch, have))
        return WF_EVENT_CLOSE;
    wf_event event = s->left == 0 ? wf_session_end_data(s, m) : WF_EVENT_NONE;
    if (piece && event != WF_EVENT_CLOSE)
        return wf_session_piece(s, m, scratch, have, last) ? WF_EVENT_PIECE
                                                           : WF_EVENT_NONE;
    if (event != WF_EVENT_MESSAGE)
        return event;
    m->data = whole ? scratch : s->msg.data;
    m->len = whole ? have : s->msg.len;
    s->delivered = !whole;
    return dropped ? WF_EVENT_NONE : WF_EVENT_MESSAGE;
}

wf_event wf_session_take_packed(wf_session *s, uint8_t **p, size_t *n, wf_message *m)
{
    uint8_t *scratch = prepare(s);
    if (!scratch)
        return WF_EVENT_CLOSE;
    size_t have = wf_session_carried(s, scratch);
    if (inflate_payload(s, p, n, scratch, &have))
        return take_inflated(s, scratch, have, m);
    if (s->state == WF_SESSION_DONE)
        return WF_EVENT_CLOSE;
    take_back(s, p, n);
    if (!s->held) {
        wf_session_piece(s, m, scratch, have, false);
        return WF_EVENT_PIECE;
    }
    return keep(s, scratch, have) ? WF_EVENT_HELD : WF_EVENT_CLOSE;
}
