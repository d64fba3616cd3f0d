/*
 * hub: topics in one process. A message is framed once; every subscriber's
 * output queue points to it. The publisher never waits.
 *
 * A subscription is to a name or to a pattern (core/trie.h), in one of some forms: a
 * publication reaches those of its form, each connection once.
 */
#ifndef WF_IO_HUB_H
#define WF_IO_HUB_H

#include "core/trie.h"
#include "io/ws.h"

/* Raw messages; and the envelopes of a protocol on top. */
#define WF_FORMS 2

WF_HIDDEN_BEGIN

typedef struct wf_topic wf_topic;
struct wf_pending;

/* One connection on one topic; on the connection's list. */
typedef struct wf_subscription {
    struct wf_subscription *next, *prev;
    wf_topic *topic;
    wf_ws *ws;
    struct wf_pending *pending; /* what waits for it, or NULL: pending.h */
    uint32_t dropped;
    uint32_t index : 31; /* in topic->members[form] */
    uint32_t form : 1;
} wf_subscription;

typedef struct wf_member {
    wf_ws *ws;
    wf_subscription *subscription;
} wf_member;

typedef struct wf_members {
    wf_member *list;
    uint32_t count, cap;
} wf_members;

/* A name or a pattern that somebody has subscribed to. */
struct wf_topic {
    wf_topic *next;    /* in its bucket */
    wf_topic *matched; /* the next one that the publication under way reaches */
    wf_topic *empty;   /* the next one to be dropped after it */
    wf_members members[WF_FORMS];
    uint64_t hash;
    uint64_t dropped;
    uint8_t len;
    bool pattern;
    char name[];
};

typedef struct wf_hub {
    wf_object object;
    wf_topic **buckets;
    size_t nbuckets, ntopics;
    wf_trie patterns;  /* of wf_topic */
    wf_topic *empties; /* while publishing */
    bool publishing;
    uint64_t serial;    /* of the last publication that several topics match */
    size_t connections; /* open ones */
    size_t subscriptions;
    size_t max_topics; /* of one connection */
    uint64_t delivered, dropped;
    size_t pending, pending_bytes; /* messages that wait for somebody */
    uint64_t order;                /* of the last one */
    struct wf_waiting **newest;    /* those of policy "latest", by subscription and key */
    size_t newest_buckets, newest_count;
} wf_hub;

wf_hub *wf_hub_new(wf_loop *loop);
void wf_hub_join(wf_hub *hub, wf_ws *ws);
/* Out of all topics, and out of the hub; wakes who waits for that in ws->closer. (Who
 * waits there for the end of closing begins later, for closing leaves the hub first.) */
void wf_hub_leave(wf_ws *ws);

/* WF_OK also when it was subscribed already; WF_TOO_BIG: it has as many as it may, or
 * the topic has max_members; WF_NOMEM. The name or pattern is valid. */
enum wf_error wf_hub_subscribe(wf_ws *ws, const char *topic, size_t n, unsigned form,
                               size_t max_members);
bool wf_hub_unsubscribe(wf_ws *ws, const char *topic, size_t n);
/* Of that very name or pattern, in all forms. */
size_t wf_hub_count(const wf_hub *hub, const char *topic, size_t n);
static inline size_t wf_topic_count(const wf_topic *t)
{
    return (size_t)t->members[0].count + t->members[1].count;
}
/* Whether a publication would find any connection in that form. */
bool wf_hub_reaches(wf_hub *hub, const char *name, size_t n, unsigned form);

/* What happens to a subscriber that is too slow. */
typedef enum wf_policy_kind {
    WF_DISCONNECT,
    WF_DROP_OLDEST,
    WF_DROP_NEWEST,
    WF_LATEST, /* what waits is replaced by what has the same key */
} wf_policy_kind;

/* With these marks messages wait outside of the connection's output (pending.h). */
typedef struct wf_policy {
    wf_policy_kind kind;
    bool notice;         /* the subscriber is told what it missed */
    size_t max_bytes;    /* that wait for one subscriber */
    size_t max_messages; /* the same */
} wf_policy;

typedef struct wf_publication {
    const char *topic; /* a valid name */
    size_t n;
    const void *data;
    size_t len;
    unsigned op; /* as of wf_ws_send; a text must be UTF-8 */
    unsigned form;
    const wf_ws *except;     /* gets nothing, or NULL */
    const wf_policy *policy; /* NULL: the connection's hard mark ends it */
    const char *key;         /* for WF_LATEST */
    size_t key_len;
} wf_publication;

/* To all subscribers of the form; *reached: how many have it, or will. WF_NOMEM. */
enum wf_error wf_hub_publish(wf_hub *hub, const wf_publication *p, size_t *reached);
/* Starts closing connections, at most so many; how many it were. */
size_t wf_hub_close(wf_hub *hub, unsigned code, const char *reason, size_t n,
                    size_t most);
/* How many of those that a hub of this loop has closed so are not at their end. */
size_t wf_hub_closing(const wf_hub *hub);
/* Ends them now; how many. */
size_t wf_hub_cut(wf_hub *hub);

/* A whole frame without mask. NULL: no memory. */
wf_blob *wf_hub_frame(unsigned b0, const void *data, size_t len);
/* For publish.c: after it, topics that nobody is on any more go. */
void wf_hub_drop_empties(wf_hub *hub);
/* The topics that a name reaches, by ->matched, the most specific first; NULL: none. */
wf_topic *wf_hub_match(wf_hub *hub, const char *name, size_t n);

WF_HIDDEN_END

#endif
