/*
 * idle: connected streams that nobody uses for the moment. The loop watches them
 * alone: one that gets bytes, its end or no use in time is closed.
 */
#ifndef WF_IO_IDLE_H
#define WF_IO_IDLE_H

#include "io/stream.h"

WF_HIDDEN_BEGIN

/* Lays the stream aside for so long; false: it cannot be used again, as something is
 * queued, received or gone. */
bool wf_idle_keep(wf_stream *s, double seconds);
/* Takes it up again; false: it is gone, or has just been closed. */
bool wf_idle_take(wf_stream *s);

WF_HIDDEN_END

#endif
