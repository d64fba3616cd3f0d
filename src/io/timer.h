/*
 * timer: coarse timers for connections, on a wheel: starting and stopping one is
 * a list operation, no heap is touched, and a message touches none at all.
 * Waiting tasks, which want precision, use libev's own (loop.h).
 */
#ifndef WF_IO_TIMER_H
#define WF_IO_TIMER_H

#include <ev.h>

#include "core/base.h"

#define WF_WHEEL_SLOTS 2048
#define WF_WHEEL_TICK 0.01 /* seconds; one round is 20.48 s */

WF_HIDDEN_BEGIN

typedef struct wf_timer {
    struct wf_timer *next, **at; /* at: what points at us; NULL: not running */
    double due;                  /* by wf_time() */
} wf_timer;

typedef struct wf_wheel {
    struct ev_loop *ev;
    ev_timer next; /* rings at the first slot in use */
    void (*ring)(wf_timer *timer);
    uint64_t tick; /* the last one looked at */
    size_t running;
    uint64_t used[WF_WHEEL_SLOTS / 64]; /* slots that may hold something */
    wf_timer *slots[WF_WHEEL_SLOTS];
} wf_wheel;

/* The monotonic clock, in seconds. */
double wf_time(void);

void wf_wheel_init(wf_wheel *wheel, struct ev_loop *ev, void (*ring)(wf_timer *timer));
void wf_wheel_stop(wf_wheel *wheel);
/* Rings once, at most a tick too late; a running one starts anew. */
void wf_timer_start(wf_wheel *wheel, wf_timer *timer, double seconds);
void wf_timer_stop(wf_wheel *wheel, wf_timer *timer);

WF_HIDDEN_END

#endif
