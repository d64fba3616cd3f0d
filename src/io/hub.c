/* hub: see hub.h. */
#include "io/hub.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_BUCKETS 64

typedef struct wf_member {
    wf_ws *ws;
    wf_subscription *subscription;
} wf_member;

struct wf_topic {
    wf_topic *next; /* in its bucket */
    wf_hub *hub;
    wf_member *members;
    size_t count, cap;
    uint32_t hash;
    uint32_t len;
    char name[];
};

/* -- names ------------------------------------------------------------------ */

/* FNV-1a. Names come from the script, not from the net; a script that passes
 * peers' names on bounds their number itself. */
static uint32_t hash_name(const char *name, size_t n)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)name[i]) * 16777619u;
    return h;
}

static wf_topic **find(const wf_hub *hub, uint32_t hash, const char *name, size_t n)
{
    wf_topic **at = &hub->buckets[hash & (hub->nbuckets - 1)];
    for (; *at; at = &(*at)->next)
        if ((*at)->hash == hash && (*at)->len == n && memcmp((*at)->name, name, n) == 0)
            break;
    return at;
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

static wf_topic *find_or_make(wf_hub *hub, const char *name, size_t n)
{
    uint32_t hash = hash_name(name, n);
    wf_topic **at = find(hub, hash, name, n);
    if (*at)
        return *at;
    wf_topic *t = calloc(1, sizeof *t + n);
    if (!t)
        return NULL;
    t->hub = hub;
    t->hash = hash;
    t->len = (uint32_t)n;
    memcpy(t->name, name, n);
    *at = t;
    if (++hub->ntopics > hub->nbuckets)
        grow_buckets(hub);
    return t;
}

static void drop_topic(wf_topic *t)
{
    wf_hub *hub = t->hub;
    *find(hub, t->hash, t->name, t->len) = t->next;
    hub->ntopics--;
    free(t->members);
    free(t);
}

/* -- membership -------------------------------------------------------------- */

static bool add_member(wf_topic *t, wf_ws *ws, wf_subscription *sub)
{
    if (t->count == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 4;
        wf_member *members = realloc(t->members, cap * sizeof *members);
        if (!members)
            return false;
        t->members = members;
        t->cap = cap;
    }
    sub->topic = t;
    sub->index = t->count;
    t->members[t->count++] = (wf_member){ ws, sub };
    return true;
}

/* The last member takes the place: a fan-out that walks backwards misses none. */
static void remove_member(wf_subscription *sub)
{
    wf_topic *t = sub->topic;
    wf_member last = t->members[--t->count];
    t->members[sub->index] = last;
    last.subscription->index = sub->index;
    if (t->count == 0)
        drop_topic(t);
    free(sub);
}

static wf_subscription **find_subscription(wf_ws *ws, const char *name, size_t n)
{
    wf_subscription **at = &ws->subscriptions;
    while (*at && !((*at)->topic->len == n && memcmp((*at)->topic->name, name, n) == 0))
        at = &(*at)->next;
    return at;
}

enum wf_error wf_hub_subscribe(wf_ws *ws, const char *name, size_t n)
{
    if (!ws->hub)
        return WF_CLOSED;
    if (*find_subscription(ws, name, n))
        return WF_OK;
    wf_topic *t = find_or_make(ws->hub, name, n);
    wf_subscription *sub = t ? malloc(sizeof *sub) : NULL;
    if (!sub || !add_member(t, ws, sub)) {
        free(sub);
        if (t && t->count == 0)
            drop_topic(t);
        return WF_NOMEM;
    }
    sub->next = ws->subscriptions;
    ws->subscriptions = sub;
    return WF_OK;
}

bool wf_hub_unsubscribe(wf_ws *ws, const char *name, size_t n)
{
    wf_subscription **at = find_subscription(ws, name, n), *sub = *at;
    if (!sub)
        return false;
    *at = sub->next;
    remove_member(sub);
    return true;
}

size_t wf_hub_count(const wf_hub *hub, const char *name, size_t n)
{
    wf_topic *t = *find(hub, hash_name(name, n), name, n);
    return t ? t->count : 0;
}

void wf_hub_join(wf_hub *hub, wf_ws *ws)
{
    ws->hub = hub;
    hub->connections++;
}

void wf_hub_leave(wf_ws *ws)
{
    wf_hub *hub = ws->hub;
    while (ws->subscriptions) {
        wf_subscription *sub = ws->subscriptions;
        ws->subscriptions = sub->next;
        remove_member(sub);
    }
    hub->connections--;
    ws->hub = NULL;
}

/* -- publishing -------------------------------------------------------------- */

/* A message in its forms, each made when the first subscriber needs it: plain, and
 * compressed for each window. */
typedef struct wf_forms {
    unsigned op;
    const void *data;
    size_t len;
    bool failed; /* one could not be made */
    wf_blob *plain, *packed[WF_WINDOW_MAX + 1];
} wf_forms;

static wf_blob *frame(unsigned b0, const void *data, size_t len)
{
    wf_blob *blob = wf_blob_new(WF_FRAME_HEAD_MAX + len);
    if (!blob)
        return NULL;
    blob->used = wf_frame_write(blob->data, WF_FRAME_FIN | b0, len, false);
    if (len > 0)
        memcpy(blob->data + blob->used, data, len);
    blob->used += len;
    return blob;
}

static wf_blob *frame_plain(wf_forms *f)
{
    if (!f->plain)
        f->plain = frame(f->op & 15, f->data, f->len);
    return f->plain;
}

/* Whatever the peer has seen before, it can inflate a message that refers to nothing but
 * itself. What does not become shorter stays as it is. */
static wf_blob *frame_packed(wf_forms *f, const wf_ws *ws)
{
    const wf_deflate *d = ws->session.deflate;
    wf_blob **form = &f->packed[d->window];
    if (*form)
        return *form;
    wf_packed packed = wf_deflate_alone(d->options, d->window,
                                        &ws->object.loop->env.deflate, f->data, f->len);
    if (packed.data && packed.len < f->len)
        *form = frame(WF_FRAME_RSV1 | (f->op & 15), packed.data, packed.len);
    else if ((*form = frame_plain(f)))
        (*form)->refs++;
    return *form;
}

/* True when it went out to the subscriber. */
static bool share(wf_forms *f, wf_ws *ws)
{
    bool compressed = wf_session_compresses(&ws->session, f->op, f->len);
    wf_blob *form = compressed ? frame_packed(f, ws) : frame_plain(f);
    f->failed = f->failed || !form;
    return form && wf_ws_share(ws, form, compressed && form != f->plain);
}

static void forget_forms(wf_forms *f)
{
    wf_blob_unref(f->plain);
    for (int i = 0; i <= WF_WINDOW_MAX; i++)
        wf_blob_unref(f->packed[i]);
}

enum wf_error wf_hub_publish(wf_hub *hub, const char *name, size_t n, unsigned op,
                             const void *data, size_t len, const wf_ws *except,
                             size_t *reached)
{
    *reached = 0;
    wf_topic *t = *find(hub, hash_name(name, n), name, n);
    if (!t)
        return WF_OK;
    wf_forms forms = { .op = op, .data = data, .len = len };
    size_t left = t->count;
    while (left-- > 0) {
        wf_ws *ws = t->members[left].ws;
        bool last = t->count == 1; /* if it fails, the topic may go with it */
        if (ws != except)
            *reached += share(&forms, ws);
        if (last)
            break;
    }
    forget_forms(&forms);
    return forms.failed ? WF_NOMEM : WF_OK;
}

size_t wf_hub_close(wf_hub *hub, unsigned code, const char *reason, size_t n)
{
    size_t closed = hub->connections;
    for (wf_object *o = hub->object.loop->objects, *next; o; o = next) {
        next = o->next; /* closing buries streams at most, and those later */
        wf_ws *ws = (wf_ws *)o;
        if (o->class != &wf_ws_class || ws->hub != hub)
            continue;
        wf_hub_leave(ws);
        wf_ws_close(ws, code, reason, n);
    }
    return closed;
}

/* -- life -------------------------------------------------------------------- */

static void destroy(wf_object *object)
{
    wf_hub *hub = (wf_hub *)object;
    for (wf_object *o = object->loop->objects; o && hub->connections > 0; o = o->next)
        if (o->class == &wf_ws_class && ((wf_ws *)o)->hub == hub)
            wf_hub_leave((wf_ws *)o);
    free(hub->buckets);
    hub->buckets = NULL;
    wf_object_bury(object);
}

static void nothing(wf_object *object)
{
    (void)object;
}

static const wf_class class = { "hub", destroy, destroy, nothing };

wf_hub *wf_hub_new(wf_loop *loop)
{
    wf_hub *hub = calloc(1, sizeof *hub);
    wf_topic **buckets = hub ? calloc(FIRST_BUCKETS, sizeof *buckets) : NULL;
    if (!buckets) {
        free(hub);
        return NULL;
    }
    wf_object_init(&hub->object, &class, loop);
    hub->buckets = buckets;
    hub->nbuckets = FIRST_BUCKETS;
    return hub;
}
