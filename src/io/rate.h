/*
 * rate: how many messages and bytes a second a connection may send us: token buckets,
 * looked at when a message comes. A timer runs only while reading is stopped.
 */
#ifndef WF_IO_RATE_H
#define WF_IO_RATE_H

#include "core/base.h"

WF_HIDDEN_BEGIN

typedef enum wf_rate_over { WF_RATE_WAIT, WF_RATE_DROP, WF_RATE_CLOSE } wf_rate_over;

/* Of a route or a call, with what became of its connections' messages. */
typedef struct wf_rate_options {
    double messages, bytes;           /* a second; 0: no limit */
    double message_burst, byte_burst; /* what a bucket holds */
    uint64_t waited, dropped, closed; /* counts */
    wf_rate_over over;
} wf_rate_options;

/* A connection's buckets. They may be overdrawn, and then have to be filled again. */
typedef struct wf_rate {
    double messages, bytes; /* left */
    double at;              /* when that was true */
    bool held;              /* reading stopped */
} wf_rate;

static inline bool wf_rate_limits(const wf_rate_options *o)
{
    return o->messages > 0 || o->bytes > 0;
}

/* Full buckets; NULL: no memory. */
wf_rate *wf_rate_new(const wf_rate_options *o, double now);
/* Takes so many messages and bytes; false: it is over the limit, and only taken with
 * overdraw. */
bool wf_rate_take(wf_rate *r, const wf_rate_options *o, double now, unsigned messages,
                  size_t n, bool overdraw);
/* How long until a message may come again; 0: now. */
double wf_rate_delay(wf_rate *r, const wf_rate_options *o, double now);

/* -- of a connection that has buckets ------------------------------------------------ */

struct wf_ws;

/* Does the message (or ping) that has just come go on to the script? Over the rate it is
 * dropped, or ends the connection, or is the last one for a while. One that is handed out
 * in pieces counts with its last, and is waited for instead of being dropped. */
bool wf_rate_admits(struct wf_ws *ws, size_t n, bool last);
/* Reading is stopped; what ends the connection is still read. */
bool wf_rate_holds(const struct wf_ws *ws);
/* Lets reading go on when it is time. Returns when to look again, or INFINITY. */
double wf_rate_patience(struct wf_ws *ws, double now);

WF_HIDDEN_END

#endif
