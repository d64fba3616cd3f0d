/*
 * session_private: what session.c and unpack.c share.
 */
#ifndef WF_CORE_SESSION_PRIVATE_H
#define WF_CORE_SESSION_PRIVATE_H

#include "session.h"

/* Of a payload, what is unmasked, checked and stored or inflated at a time. */
#define CACHED ((size_t)8 << 10)

WF_HIDDEN_BEGIN

/* May a compressed message have a frame of that length, too? Else it fails. */
bool wf_session_judge_packed(wf_session *s, const wf_frame *f);
/* Takes payload of a compressed message. */
wf_event wf_session_take_packed(wf_session *s, uint8_t **p, size_t *n, wf_message *m);
/* The frame's payload is complete: the message, if that was the last one. */
wf_event wf_session_end_data(wf_session *s, wf_message *m);

WF_HIDDEN_END

#endif
