/*
 * hub: topics in one process. A message is framed once; every subscriber's
 * output queue points to it. The publisher never waits.
 */
#ifndef WF_IO_HUB_H
#define WF_IO_HUB_H

#include "io/ws.h"

#define WF_TOPIC_MAX 255 /* bytes of a name */

WF_HIDDEN_BEGIN

typedef struct wf_topic wf_topic;

/* One connection on one topic; on the connection's list. */
typedef struct wf_subscription {
    struct wf_subscription *next;
    wf_topic *topic;
    size_t index; /* in topic->members */
} wf_subscription;

typedef struct wf_hub {
    wf_object object;
    wf_topic **buckets;
    size_t nbuckets, ntopics;
    size_t connections; /* open ones */
} wf_hub;

wf_hub *wf_hub_new(wf_loop *loop);
void wf_hub_join(wf_hub *hub, wf_ws *ws);
/* Out of all topics, and out of the hub. */
void wf_hub_leave(wf_ws *ws);

/* WF_OK also when it was subscribed already; WF_NOMEM. */
enum wf_error wf_hub_subscribe(wf_ws *ws, const char *topic, size_t n);
bool wf_hub_unsubscribe(wf_ws *ws, const char *topic, size_t n);
size_t wf_hub_count(const wf_hub *hub, const char *topic, size_t n);

/* To all subscribers but `except`; *reached: how many. A text must be UTF-8.
 * WF_NOMEM. */
enum wf_error wf_hub_publish(wf_hub *hub, const char *topic, size_t n, unsigned op,
                             const void *data, size_t len, const wf_ws *except,
                             size_t *reached);
/* Starts closing every connection; how many. */
size_t wf_hub_close(wf_hub *hub, unsigned code, const char *reason, size_t n);

WF_HIDDEN_END

#endif
