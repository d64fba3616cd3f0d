/*
 * pieces: messages that nobody holds as a whole. What comes is handed out as it comes,
 * whole characters of it; what goes is a frame for each piece (RFC 6455 5.4). Part of
 * session.
 */
#include <stdlib.h>
#include <string.h>

#include "core/session_private.h"

/* So that sums of lengths do not overflow. */
#define ANY_SIZE (UINT64_MAX / 4)

static bool fail(wf_session *s, unsigned code, const char *why)
{
    wf_session_fail(s, code, why);
    return false;
}

static wf_pieces *need_pieces(wf_session *s)
{
    if (!s->pieces)
        s->pieces = calloc(1, sizeof *s->pieces);
    return s->pieces;
}

/* -- in ------------------------------------------------------------------------ */

bool wf_session_want_pieces(wf_session *s, uint64_t max)
{
    if (!need_pieces(s))
        return false;
    s->pieces->max = WF_MIN(max, ANY_SIZE);
    return true;
}

static void drop(wf_session *s)
{
    s->piecewise = s->dropping = true;
    s->msg.len = 0;
    wf_spares_give(&s->env->spares, &s->msg);
}

uint64_t wf_session_most(const wf_session *s)
{
    bool left_over = s->piecewise && s->take == WF_TAKE_WHOLE;
    if (s->take == WF_TAKE_NOTHING || s->dropping || left_over)
        return ANY_SIZE;
    return wf_session_piecemeal(s) ? s->pieces->max : s->limits->max_message;
}

static bool fits(const wf_session *s, uint64_t most)
{
    uint64_t had = s->msg.len;
    if (s->piecewise)
        had += s->pieces->taken;
    return s->compressed ? wf_session_packed_fits(s, most) : had + s->left <= most;
}

bool wf_session_outgrows(const wf_session *s)
{
    return s->take == WF_TAKE_PIECES && !s->dropping && !fits(s, s->pieces->max);
}

/* Empty frames, or the first bytes of a character: nobody has seen anything of it. */
static bool is_unseen(const wf_session *s)
{
    uint64_t had = s->compressed ? wf_session_inflated(s) : s->pieces->taken;
    return !s->dropping && had == s->pieces->carried;
}

/* As if it had not been asked for in pieces. Between its frames there is nothing that
 * could be held: the next one's header is judged again. */
static bool put_back(wf_session *s)
{
    bool within = s->in_frame && !(s->b0 & 8);
    if (!wf_buffer_append(&s->msg, s->pieces->carry, s->pieces->carried))
        return false;
    s->pieces->carried = 0;
    s->piecewise = false;
    if (!within)
        s->held = WF_HELD_NOT;
    else if (!fits(s, s->limits->max_message))
        s->held = WF_HELD_SIZE;
    else if (s->fragments > s->limits->max_fragments)
        s->held = WF_HELD_FRAGMENTS;
    return true;
}

void wf_session_drop_rest(wf_session *s)
{
    if (s->kind && s->piecewise && !(is_unseen(s) && put_back(s)))
        drop(s);
}

/* What came before it was known how the message is taken is judged again. */
static bool judge_so_far(wf_session *s)
{
    return fits(s, s->pieces->max) ||
           fail(s, WF_CLOSE_TOO_BIG, "message over max_message");
}

static wf_event begin_pieces(wf_session *s, wf_message *m)
{
    if (!judge_so_far(s))
        return WF_EVENT_CLOSE;
    s->held = WF_HELD_NOT;
    if (s->piecewise)
        return WF_EVENT_NONE;
    s->piecewise = true;
    s->pieces->carried = 0;
    s->pieces->taken = s->msg.len;
    bool some = s->msg.len > 0 && wf_session_piece(s, m, s->msg.data, s->msg.len, false);
    if (some)
        s->delivered = true;
    else
        s->msg.len = 0;
    return some ? WF_EVENT_PIECE : WF_EVENT_NONE;
}

wf_event wf_session_steer(wf_session *s, wf_message *m)
{
    s->deaf |= s->take == WF_TAKE_NOTHING;
    if (s->take == WF_TAKE_NOTHING || (s->take == WF_TAKE_WHOLE && s->piecewise))
        drop(s);
    if (s->dropping) {
        s->held = WF_HELD_NOT;
        return WF_EVENT_NONE;
    }
    if (s->take == WF_TAKE_WAIT)
        return s->held || s->piecewise ? WF_EVENT_HELD : WF_EVENT_NONE;
    if (s->take == WF_TAKE_PIECES)
        return s->held || !s->piecewise ? begin_pieces(s, m) : WF_EVENT_NONE;
    if (!s->held)
        return WF_EVENT_NONE;
    wf_session_exceeds(s, s->held);
    return WF_EVENT_CLOSE;
}

size_t wf_session_carried(wf_session *s, uint8_t *to)
{
    if (!s->piecewise || s->dropping)
        return 0;
    size_t n = s->pieces->carried;
    memcpy(to, s->pieces->carry, n);
    s->pieces->carried = 0;
    return n;
}

/* The bytes of the character that the text, valid so far, ends inside of. */
static size_t cut_character(const uint8_t *p, size_t n)
{
    size_t k = 1;
    while (k < n && (p[n - k] & 0xc0) == 0x80)
        k++;
    return k;
}

bool wf_session_piece(wf_session *s, wf_message *m, const uint8_t *p, size_t n, bool last)
{
    if (!last) {
        m->kind = s->kind;
        if (n > 0 && s->kind == WF_OP_TEXT && s->utf8 != WF_UTF8_START) {
            size_t k = cut_character(p, n);
            n -= k;
            memcpy(s->pieces->carry, p + n, k);
            s->pieces->carried = (uint8_t)k;
        }
    }
    m->data = p;
    m->len = n;
    m->more = !last;
    return n > 0 || last;
}

/* A piece that begins with what was carried has to be put together. NULL: it failed. */
static const uint8_t *put_together(wf_session *s, const uint8_t *p, size_t *n)
{
    uint8_t *scratch = wf_deflate_scratch(&s->env->deflate);
    if (!scratch) {
        fail(s, WF_CLOSE_INTERNAL, "out of memory");
        return NULL;
    }
    size_t had = wf_session_carried(s, scratch);
    memcpy(scratch + had, p, *n);
    *n += had;
    return scratch;
}

wf_event wf_session_take_piece(wf_session *s, uint8_t **p, size_t *n, wf_message *m)
{
    bool keep = !s->dropping, cut = keep && s->pieces->carried > 0;
    const uint8_t *at = *p;
    size_t k = (size_t)WF_MIN(s->left, *n);
    if (cut)
        k = WF_MIN(k, WF_SCRATCH - sizeof s->pieces->carry);
    if (!wf_session_take_payload(s, *p, k))
        return WF_EVENT_CLOSE;
    *p += k;
    *n -= k;
    if (keep)
        s->pieces->taken += k;
    if (cut && k > 0 && !(at = put_together(s, at, &k)))
        return WF_EVENT_CLOSE;
    wf_event event = s->left == 0 ? wf_session_end_data(s, m) : WF_EVENT_NONE;
    if (event == WF_EVENT_CLOSE || !keep)
        return event == WF_EVENT_CLOSE ? event : WF_EVENT_NONE;
    return wf_session_piece(s, m, at, k, event == WF_EVENT_MESSAGE) ? WF_EVENT_PIECE
                                                                    : WF_EVENT_NONE;
}

/* -- out ----------------------------------------------------------------------- */

enum wf_error wf_session_open(wf_session *s, unsigned op)
{
    if (s->state != WF_SESSION_OPEN)
        return WF_CLOSED;
    if (!need_pieces(s))
        return WF_NOMEM;
    wf_pieces *out = s->pieces;
    if (out->op)
        return WF_BUSY;
    out->op = (uint8_t)(op & 15);
    out->packed = s->deflate && !(op & WF_SEND_PLAIN);
    out->begun = false;
    out->utf8 = WF_UTF8_START;
    return WF_OK;
}

enum wf_error wf_session_send_later(wf_session *s, unsigned op, const void *data,
                                    size_t n)
{
    if (s->state != WF_SESSION_OPEN)
        return WF_CLOSED;
    wf_outq *out = s->out;
    s->out = &s->pieces->later;
    bool ok = wf_session_queue(s, WF_FRAME_FIN | (op & 15), data, n) &&
              wf_outq_settle(s->out, &s->env->pool); /* it may stay for many turns */
    s->out = out;
    return ok ? WF_OK : WF_NOMEM;
}

void wf_session_unopen(wf_session *s)
{
    s->pieces->op = 0;
}

static enum wf_error judge_part(const wf_session *s, const void *data, size_t n,
                                bool last, wf_utf8_state *utf8)
{
    *utf8 = s->pieces->utf8;
    if (s->state != WF_SESSION_OPEN)
        return WF_CLOSED;
    if (s->pieces->op != WF_OP_TEXT)
        return WF_OK;
    bool fine = n == 0 || wf_utf8_feed(utf8, data, n);
    return fine && !(last && *utf8 != WF_UTF8_START) ? WF_OK : WF_UTF8;
}

/* RFC 6455 5.4: the kind stands in the first frame, and FIN in the last. RFC 7692 6.1:
 * that it is compressed, too. */
static unsigned part_bits(const wf_pieces *out, bool last)
{
    unsigned b0 = last ? WF_FRAME_FIN : 0;
    if (out->begun)
        return b0 | WF_OP_CONTINUATION;
    return b0 | out->op | (out->packed ? WF_FRAME_RSV1 : 0);
}

static void part_queued(wf_pieces *out, bool last, wf_utf8_state utf8)
{
    out->begun = true;
    out->utf8 = utf8;
    if (last)
        out->op = 0;
}

static bool queue_packed_part(wf_session *s, const void *data, size_t n, bool last)
{
    wf_packed packed = wf_deflate_part(s->deflate, &s->env->deflate, data, n, last);
    if (!packed.data)
        return false;
    bool ok = wf_session_queue(s, part_bits(s->pieces, last), packed.data, packed.len);
    if (!ok)
        wf_deflate_forget(s->deflate);
    else if (last)
        wf_deflate_part_end(s->deflate);
    return ok;
}

enum wf_error wf_session_write(wf_session *s, const void *data, size_t n, bool last)
{
    wf_pieces *out = s->pieces;
    wf_utf8_state utf8;
    enum wf_error e = judge_part(s, data, n, last, &utf8);
    if (e != WF_OK || (n == 0 && !last))
        return e;
    if (n == 0 && !out->begun) /* an empty message is not worth the bit */
        out->packed = false;
    bool ok = out->packed ? queue_packed_part(s, data, n, last)
                          : wf_session_queue(s, part_bits(out, last), data, n);
    if (!ok)
        return WF_NOMEM;
    part_queued(out, last, utf8);
    return WF_OK;
}

enum wf_error wf_session_write_head(wf_session *s, const void *data, size_t n, bool last,
                                    uint8_t head[WF_FRAME_HEAD_MAX], size_t *len)
{
    wf_utf8_state utf8;
    enum wf_error e = judge_part(s, data, n, last, &utf8);
    if (e != WF_OK)
        return e;
    *len = wf_frame_write(head, part_bits(s->pieces, last), n, false);
    part_queued(s->pieces, last, utf8);
    return WF_OK;
}
