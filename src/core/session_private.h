/*
 * session_private: what session.c, unpack.c and pieces.c share.
 */
#ifndef WF_CORE_SESSION_PRIVATE_H
#define WF_CORE_SESSION_PRIVATE_H

#include "session.h"

/* Of a payload, what is unmasked, checked and stored or inflated at a time. */
#define CACHED ((size_t)8 << 10)

WF_HIDDEN_BEGIN

/* The limits that a message can exceed. */
enum { WF_HELD_NOT, WF_HELD_SIZE, WF_HELD_FRAGMENTS, WF_HELD_EMPTY };

static inline bool wf_session_piecemeal(const wf_session *s)
{
    return WF_UNLIKELY(s->take >= WF_TAKE_PIECES || s->piecewise);
}
/* The bytes that the message under way, or the one that begins, may have. */
uint64_t wf_session_most(const wf_session *s);
/* It exceeds a limit: fails, or waits. False: fails. */
bool wf_session_exceeds(wf_session *s, unsigned limit);
/* What is asked for in pieces exceeds what a whole message may have. Until the first of
 * these is taken it may still be asked for in another way. */
static inline void wf_session_note_excess(wf_session *s, unsigned limit)
{
    if (!s->piecewise)
        s->held = (uint8_t)limit;
}
/* Unmasks and checks the next k payload bytes where they lie. */
bool wf_session_take_payload(wf_session *s, uint8_t *p, size_t k);

/* Data is next, and it is not just whole messages that are taken. NONE: go on. */
wf_event wf_session_steer(wf_session *s, wf_message *m);
/* Asked for in pieces, and over what those may be; without input. */
bool wf_session_outgrows(const wf_session *s);
/* Payload of a message that is handed out in pieces, or dropped. */
wf_event wf_session_take_piece(wf_session *s, uint8_t **p, size_t *n, wf_message *m);
/* What was carried, to the beginning of a piece that is put together; its length. */
size_t wf_session_carried(wf_session *s, uint8_t *to);
/* Makes the n bytes a piece; false: there is nothing to hand out. */
bool wf_session_piece(wf_session *s, wf_message *m, const uint8_t *p, size_t n,
                      bool last);

/* Queues a frame. False: no memory, nothing is queued. */
bool wf_session_queue(wf_session *s, unsigned b0, const void *data, size_t n);

/* May a compressed message have a frame of that length, too? Else it fails. */
bool wf_session_judge_packed(wf_session *s, const wf_frame *f);
/* Bytes that the one under way has inflated to. */
uint64_t wf_session_inflated(const wf_session *s);
/* Has one so far, and will with the frame under way, no more than that? */
bool wf_session_packed_fits(const wf_session *s, uint64_t most);
/* Takes payload of a compressed message. */
wf_event wf_session_take_packed(wf_session *s, uint8_t **p, size_t *n, wf_message *m);
/* The frame's payload is complete: the message, if that was the last one. */
wf_event wf_session_end_data(wf_session *s, wf_message *m);

WF_HIDDEN_END

#endif
