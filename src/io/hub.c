/* hub: topics and who is on them. Publishing is in publish.c. See hub.h. */
#include "io/pending.h"

#include <stdlib.h>
#include <string.h>

#include "io/crypto.h"

#define FIRST_BUCKETS 64
#define FIRST_MEMBERS 4
#define MEMBERS_MAX 0x7fffffffu /* of one form: as wf_subscription.index has it */

/* -- names ------------------------------------------------------------------ */

static wf_topic **find_hashed(const wf_hub *hub, uint64_t hash, const char *name,
                              size_t n)
{
    wf_topic **at = &hub->buckets[hash & (hub->nbuckets - 1)];
    for (; *at; at = &(*at)->next)
        if ((*at)->hash == hash && (*at)->len == n && memcmp((*at)->name, name, n) == 0)
            break;
    return at;
}

static wf_topic *find(const wf_hub *hub, const char *name, size_t n)
{
    return *find_hashed(hub, wf_hash(&hub->patterns.key, name, n), name, n);
}

/* Without memory the buckets stay: only slower. */
static void grow_buckets(wf_hub *hub)
{
    size_t n = hub->nbuckets * 2;
    wf_topic **buckets = calloc(n, sizeof *buckets);
    if (!buckets)
        return;
    for (size_t i = 0; i < hub->nbuckets; i++)
        for (wf_topic *t = hub->buckets[i], *next; t; t = next) {
            next = t->next;
            t->next = buckets[t->hash & (n - 1)];
            buckets[t->hash & (n - 1)] = t;
        }
    free(hub->buckets);
    hub->buckets = buckets;
    hub->nbuckets = n;
}

/* Patterns are the topics that a wildcard is a whole word of. */
static bool is_pattern(const char *name, size_t n)
{
    return memchr(name, '*', n) || memchr(name, '>', n);
}

static wf_topic *new_topic(wf_hub *hub, uint64_t hash, const char *name, size_t n)
{
    wf_topic *t = calloc(1, sizeof *t + n);
    if (!t)
        return NULL;
    t->hash = hash;
    t->len = (uint8_t)n;
    memcpy(t->name, name, n);
    t->pattern = is_pattern(name, n);
    if (t->pattern && !wf_trie_put(&hub->patterns, name, n, t)) {
        free(t);
        return NULL;
    }
    return t;
}

static wf_topic *find_or_make(wf_hub *hub, const char *name, size_t n)
{
    uint64_t hash = wf_hash(&hub->patterns.key, name, n);
    wf_topic **at = find_hashed(hub, hash, name, n);
    if (*at)
        return *at;
    wf_topic *t = new_topic(hub, hash, name, n);
    if (!t)
        return NULL;
    *at = t;
    if (++hub->ntopics > hub->nbuckets)
        grow_buckets(hub);
    return t;
}

static void drop_topic(wf_hub *hub, wf_topic *t)
{
    *find_hashed(hub, t->hash, t->name, t->len) = t->next;
    hub->ntopics--;
    if (t->pattern)
        wf_trie_remove(&hub->patterns, t->name, t->len);
    for (int i = 0; i < WF_FORMS; i++)
        free(t->members[i].list);
    free(t);
}

void wf_hub_drop_empties(wf_hub *hub)
{
    while (hub->empties) {
        wf_topic *t = hub->empties;
        hub->empties = t->empty;
        drop_topic(hub, t);
    }
}

/* Nobody is left. A publication under way may still have to look at it. */
static void leave_empty(wf_hub *hub, wf_topic *t)
{
    if (!hub->publishing) {
        drop_topic(hub, t);
        return;
    }
    t->empty = hub->empties;
    hub->empties = t;
}

/* -- membership -------------------------------------------------------------- */

static bool reserve_member(wf_members *m)
{
    if (m->count < m->cap)
        return true;
    uint32_t cap = m->cap ? m->cap * 2 : FIRST_MEMBERS;
    wf_member *list = cap <= MEMBERS_MAX ? realloc(m->list, cap * sizeof *list) : NULL;
    if (!list)
        return false;
    m->list = list;
    m->cap = cap;
    return true;
}

/* The last member takes the place: a fan-out that walks backwards misses none. */
static void remove_member(wf_hub *hub, wf_subscription *sub)
{
    wf_topic *t = sub->topic;
    wf_members *m = &t->members[sub->form];
    wf_member last = m->list[--m->count];
    m->list[sub->index] = last;
    last.subscription->index = sub->index;
    hub->subscriptions--;
    if (wf_topic_count(t) == 0)
        leave_empty(hub, t);
}

static void link_subscription(wf_ws *ws, wf_subscription *sub)
{
    sub->next = ws->subscriptions;
    if (sub->next)
        sub->next->prev = sub;
    ws->subscriptions = sub;
    ws->topics++;
}

static void unlink_subscription(wf_ws *ws, wf_subscription *sub)
{
    if (sub->prev)
        sub->prev->next = sub->next;
    else
        ws->subscriptions = sub->next;
    if (sub->next)
        sub->next->prev = sub->prev;
    ws->topics--;
}

/* Whichever list is shorter is looked through. */
static wf_subscription *find_subscription(const wf_ws *ws, const wf_topic *t)
{
    if (wf_topic_count(t) >= ws->topics) {
        wf_subscription *sub = ws->subscriptions;
        while (sub && sub->topic != t)
            sub = sub->next;
        return sub;
    }
    for (int form = 0; form < WF_FORMS; form++)
        for (uint32_t i = 0; i < t->members[form].count; i++)
            if (t->members[form].list[i].ws == ws)
                return t->members[form].list[i].subscription;
    return NULL;
}

/* False: no memory. */
static bool add_member(wf_ws *ws, wf_topic *t, unsigned form)
{
    wf_members *m = &t->members[form];
    wf_subscription *sub = reserve_member(m) ? calloc(1, sizeof *sub) : NULL;
    if (!sub)
        return false;
    sub->topic = t;
    sub->ws = ws;
    sub->form = form & 1;
    sub->index = m->count & MEMBERS_MAX;
    m->list[m->count++] = (wf_member){ ws, sub };
    link_subscription(ws, sub);
    ws->hub->subscriptions++;
    return true;
}

enum wf_error wf_hub_subscribe(wf_ws *ws, const char *name, size_t n, unsigned form,
                               size_t max_members)
{
    wf_hub *hub = ws->hub;
    if (!hub)
        return WF_CLOSED;
    wf_topic *t = find(hub, name, n);
    if (t && find_subscription(ws, t))
        return WF_OK;
    if (ws->topics >= hub->max_topics || (t ? wf_topic_count(t) : 0) >= max_members)
        return WF_TOO_BIG;
    if (!t && !(t = find_or_make(hub, name, n)))
        return WF_NOMEM;
    if (add_member(ws, t, form))
        return WF_OK;
    if (wf_topic_count(t) == 0)
        leave_empty(hub, t);
    return WF_NOMEM;
}

static void remove_subscription(wf_ws *ws, wf_subscription *sub)
{
    wf_pending_free(sub);
    unlink_subscription(ws, sub);
    remove_member(ws->hub, sub);
    free(sub);
}

bool wf_hub_unsubscribe(wf_ws *ws, const char *name, size_t n)
{
    wf_topic *t = ws->hub ? find(ws->hub, name, n) : NULL;
    wf_subscription *sub = t ? find_subscription(ws, t) : NULL;
    if (sub)
        remove_subscription(ws, sub);
    return sub != NULL;
}

size_t wf_hub_count(const wf_hub *hub, const char *name, size_t n)
{
    wf_topic *t = find(hub, name, n);
    return t ? wf_topic_count(t) : 0;
}

void wf_hub_join(wf_hub *hub, wf_ws *ws)
{
    ws->hub = hub;
    hub->connections++;
}

void wf_hub_leave(wf_ws *ws)
{
    while (ws->subscriptions)
        remove_subscription(ws, ws->subscriptions);
    ws->hub->connections--;
    ws->hub = NULL;
    wf_wake(&ws->closer, WF_OK);
}

/* -- matching ---------------------------------------------------------------- */

typedef struct matches {
    wf_topic *first, **end;
} matches;

static bool add_match(void *value, void *arg)
{
    wf_topic *t = value;
    matches *m = arg;
    t->matched = NULL;
    *m->end = t;
    m->end = &t->matched;
    return false;
}

wf_topic *wf_hub_match(wf_hub *hub, const char *name, size_t n)
{
    matches m = { NULL, &m.first };
    wf_topic *exact = find(hub, name, n);
    if (exact)
        add_match(exact, &m);
    wf_trie_match(&hub->patterns, name, n, add_match, &m);
    return m.first;
}

bool wf_hub_reaches(wf_hub *hub, const char *name, size_t n, unsigned form)
{
    wf_topic *t = wf_hub_match(hub, name, n);
    while (t && t->members[form].count == 0)
        t = t->matched;
    return t != NULL;
}

/* -- life -------------------------------------------------------------------- */

/* The next websocket of the loop from o on, or NULL. One that ended without memory may
 * have taken its stream, which o was, along: those before are looked at again. */
static wf_ws *find_ws(const wf_hub *hub, wf_object *o)
{
    if (o && o->dead)
        o = hub->object.loop->objects;
    while (o && o->class != &wf_ws_class)
        o = o->next;
    return (wf_ws *)o;
}

size_t wf_hub_close(wf_hub *hub, unsigned code, const char *reason, size_t n, size_t most)
{
    size_t closed = 0;
    wf_object *next;
    wf_ws *ws = find_ws(hub, hub->object.loop->objects);
    for (; ws && closed < most; ws = find_ws(hub, next)) {
        next = ws->object.next;
        if (ws->hub != hub)
            continue;
        ws->dismissed = true;
        wf_hub_leave(ws);
        wf_ws_close(ws, code, reason, n);
        closed++;
    }
    return closed;
}

static bool is_closing(const wf_ws *ws)
{
    return ws->dismissed && !ws->ended;
}

size_t wf_hub_closing(const wf_hub *hub)
{
    size_t closing = 0;
    wf_ws *ws = find_ws(hub, hub->object.loop->objects);
    for (; ws; ws = find_ws(hub, ws->object.next))
        closing += is_closing(ws);
    return closing;
}

size_t wf_hub_cut(wf_hub *hub)
{
    size_t cut = 0;
    wf_object *next;
    for (wf_ws *ws = find_ws(hub, hub->object.loop->objects); ws;
         ws = find_ws(hub, next)) {
        next = ws->object.next;
        if (!is_closing(ws))
            continue;
        wf_stream_flush(ws->stream); /* what it was told last */
        if (ws->stream)
            wf_stream_abort(ws->stream, WF_TIMEOUT);
        cut++;
    }
    return cut;
}

static void destroy(wf_object *object)
{
    wf_hub *hub = (wf_hub *)object;
    for (wf_object *o = object->loop->objects; o && hub->connections > 0; o = o->next)
        if (o->class == &wf_ws_class && ((wf_ws *)o)->hub == hub)
            wf_hub_leave((wf_ws *)o);
    wf_trie_free(&hub->patterns);
    free(hub->buckets);
    hub->buckets = NULL;
    wf_object_bury(object);
}

static void nothing(wf_object *object)
{
    (void)object;
}

static const wf_class class = { "hub", destroy, destroy, nothing, false };

wf_hub *wf_hub_new(wf_loop *loop)
{
    wf_hash_key key;
    wf_hub *hub = calloc(1, sizeof *hub);
    wf_topic **buckets = hub ? calloc(FIRST_BUCKETS, sizeof *buckets) : NULL;
    if (!buckets || !wf_random(&key, sizeof key)) {
        free(buckets);
        free(hub);
        return NULL;
    }
    wf_object_init(&hub->object, &class, loop);
    wf_trie_init(&hub->patterns, &key);
    hub->buckets = buckets;
    hub->nbuckets = FIRST_BUCKETS;
    hub->max_topics = SIZE_MAX;
    return hub;
}
