/*
 * signal: waiting for a signal. A signal belongs to the process: libev allows it
 * to one loop at a time, which is noted here so that a second loop gets an error
 * and not libev's assertion.
 */
#ifndef WF_IO_SIGNAL_H
#define WF_IO_SIGNAL_H

#include "io/loop.h"

WF_HIDDEN_BEGIN

typedef struct wf_signal {
    wf_object object;
    ev_signal watcher;
    wf_waiter *waiter;
    bool arrived; /* while nobody waited */
} wf_signal;

/* A wait begins, or ends: only then the watcher keeps the loop alive. */
void wf_signal_hold(wf_signal *s, bool hold);

/* This loop's watcher of that signal, made when first asked for and kept, so that
 * none is missed between two waits. NULL: *error is WF_BUSY (another loop has it)
 * or WF_NOMEM. */
wf_signal *wf_signal_get(wf_loop *loop, int number, enum wf_error *error);

WF_HIDDEN_END

#endif
