/*
 * pending: messages of a hub that wait for subscribers whose output is over its high
 * mark. Each subscription has its own queue, and only here messages are dropped: what is
 * in a connection's output stays whole and in order. A connection is fed, the longest
 * waiting message first, whenever its output has drained to the low mark.
 */
#ifndef WF_IO_PENDING_H
#define WF_IO_PENDING_H

#include "io/hub.h"

WF_HIDDEN_BEGIN

/* One message for one subscriber. */
typedef struct wf_waiting {
    struct wf_waiting *next, *prev;
    struct wf_waiting *chain; /* in its bucket of hub->newest */
    struct wf_pending *pending;
    wf_blob *frame;
    uint64_t key; /* of a message of WF_LATEST, with its topic; 0: none */
    uint64_t order;
    uint32_t missed; /* between it and the one before */
    bool compressed;
} wf_waiting;

/* Exists only while something waits, or was missed and not told. */
typedef struct wf_pending {
    struct wf_pending *next; /* of the same connection */
    wf_subscription *subscription;
    wf_waiting *first, *last;
    size_t bytes, messages;
    uint32_t missed; /* behind the last one */
    bool notice;
} wf_pending;

/* A frame for a subscription: sent if there is room, else kept or dropped as the policy
 * says. key: its hash, 0 for none. True when the subscriber has it, or will. The
 * connection may have ended, and the subscription with it. */
bool wf_pending_offer(wf_subscription *sub, const wf_policy *policy, wf_blob *frame,
                      bool compressed, uint64_t key);
/* A connection's output has drained: its driver's call. */
void wf_pending_feed(wf_stream *s);
/* The subscription goes. */
void wf_pending_free(wf_subscription *sub);

WF_HIDDEN_END

#endif
