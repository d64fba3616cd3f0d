/*
 * utf8: streaming validation (RFC 3629), failing at the first byte that no
 * valid text could have there. Pure; includes base.h only.
 */
#ifndef WF_CORE_UTF8_H
#define WF_CORE_UTF8_H

#include "base.h"

WF_HIDDEN_BEGIN

/* Between pieces of one text; WF_UTF8_START when no character is under way. */
typedef uint8_t wf_utf8_state;
#define WF_UTF8_START 0

/* Checks the next n bytes. False at the first bad one; the state is then of
 * no more use. A text is complete when the state is WF_UTF8_START again. */
bool wf_utf8_feed(wf_utf8_state *state, const uint8_t *p, size_t n);

/* One whole text. */
bool wf_utf8_valid(const uint8_t *p, size_t n);

WF_HIDDEN_END

#endif
