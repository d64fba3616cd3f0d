/* pending: see pending.h. */
#include "io/pending.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BUCKETS 64

/* -- the newest of each key ----------------------------------------------------- */

static wf_waiting **bucket(const wf_hub *hub, const wf_pending *pending, uint64_t key)
{
    uint64_t h = (key ^ (uint64_t)(uintptr_t)pending) * 0x9e3779b97f4a7c15u;
    return &hub->newest[(h >> 20) & (hub->newest_buckets - 1)];
}

static wf_waiting *find_newest(const wf_hub *hub, const wf_pending *pending, uint64_t key)
{
    wf_waiting *w = hub->newest ? *bucket(hub, pending, key) : NULL;
    while (w && !(w->key == key && w->pending == pending))
        w = w->chain;
    return w;
}

/* False: no memory for the first buckets; with some it is only slower. */
static bool reserve_newest(wf_hub *hub)
{
    if (hub->newest && hub->newest_count < hub->newest_buckets)
        return true;
    wf_hub bigger = { .newest_buckets =
                          hub->newest ? hub->newest_buckets * 2 : FIRST_BUCKETS };
    bigger.newest = calloc(bigger.newest_buckets, sizeof *bigger.newest);
    if (!bigger.newest)
        return hub->newest != NULL;
    for (size_t i = 0; hub->newest && i < hub->newest_buckets; i++)
        for (wf_waiting *w = hub->newest[i], *next; w; w = next) {
            next = w->chain;
            wf_waiting **to = bucket(&bigger, w->pending, w->key);
            w->chain = *to;
            *to = w;
        }
    free(hub->newest);
    hub->newest = bigger.newest;
    hub->newest_buckets = bigger.newest_buckets;
    return true;
}

static void note_newest(wf_hub *hub, wf_waiting *w)
{
    wf_waiting **at = bucket(hub, w->pending, w->key);
    w->chain = *at;
    *at = w;
    hub->newest_count++;
}

static void forget_newest(wf_hub *hub, const wf_waiting *w)
{
    wf_waiting **at = bucket(hub, w->pending, w->key);
    while (*at != w)
        at = &(*at)->chain;
    *at = w->chain;
    if (--hub->newest_count > 0)
        return;
    free(hub->newest); /* the slow have caught up */
    hub->newest = NULL;
    hub->newest_buckets = 0;
}

/* -- queues ------------------------------------------------------------------------ */

/* What was missed so far behind one that waits, or before the first: NULL. */
static uint32_t *missed_behind(wf_pending *p, wf_waiting *w)
{
    wf_waiting *next = w ? w->next : p->first;
    return next ? &next->missed : &p->missed;
}

/* Out of its queue; the frame's reference is the caller's then. What was missed before it
 * and not told is missed before the next. */
static wf_blob *take_out(wf_hub *hub, wf_waiting *w)
{
    wf_pending *p = w->pending;
    wf_blob *frame = w->frame;
    *missed_behind(p, w) += w->missed;
    *(w->prev ? &w->prev->next : &p->first) = w->next;
    *(w->next ? &w->next->prev : &p->last) = w->prev;
    p->messages--;
    p->bytes -= frame->used;
    hub->pending--;
    hub->pending_bytes -= frame->used;
    if (w->key)
        forget_newest(hub, w);
    free(w);
    return frame;
}

static bool put_in(wf_hub *hub, wf_pending *p, wf_blob *frame, bool compressed,
                   uint64_t key)
{
    bool indexed = key == 0 || reserve_newest(hub);
    wf_waiting *w = indexed ? malloc(sizeof *w) : NULL;
    if (!w)
        return false;
    *w = (wf_waiting){ .prev = p->last,
                       .pending = p,
                       .frame = frame,
                       .key = key,
                       .order = ++hub->order,
                       .missed = p->missed,
                       .compressed = compressed };
    p->missed = 0;
    *(p->last ? &p->last->next : &p->first) = w;
    p->last = w;
    frame->refs++;
    p->messages++;
    p->bytes += frame->used;
    hub->pending++;
    hub->pending_bytes += frame->used;
    if (key)
        note_newest(hub, w);
    return true;
}

static wf_pending *pending_of(wf_subscription *sub)
{
    wf_ws *ws = sub->ws;
    if (sub->pending)
        return sub->pending;
    wf_pending *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->subscription = sub;
    p->next = ws->pending;
    ws->pending = p;
    ws->stream->hungry = true;
    return sub->pending = p;
}

static void drop_pending(wf_pending *p)
{
    wf_ws *ws = p->subscription->ws;
    wf_pending **at = &ws->pending;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    p->subscription->pending = NULL;
    free(p);
}

void wf_pending_free(wf_subscription *sub)
{
    wf_pending *p = sub->pending;
    if (!p)
        return;
    while (p->first)
        wf_blob_unref(take_out(sub->ws->hub, p->first));
    drop_pending(p);
}

/* -- what is dropped --------------------------------------------------------------- */

static void count_drop(wf_subscription *sub)
{
    sub->dropped++;
    sub->topic->dropped++;
    sub->ws->hub->dropped++;
}

static void drop(wf_subscription *sub, wf_waiting *w)
{
    ++*missed_behind(sub->pending, w);
    wf_blob_unref(take_out(sub->ws->hub, w));
    count_drop(sub);
}

static bool is_over(const wf_pending *p, const wf_policy *policy, size_t more)
{
    return p->messages + 1 > policy->max_messages || p->bytes + more > policy->max_bytes;
}

/* False: there is none, and nothing more to drop for it. */
static bool make_room(wf_subscription *sub, const wf_policy *policy, size_t more)
{
    wf_pending *p = sub->pending;
    while (is_over(p, policy, more)) {
        if (policy->kind == WF_DROP_NEWEST || !p->first)
            return false;
        drop(sub, p->first);
    }
    return true;
}

/* -- in and out -------------------------------------------------------------------- */

/* Behind a message that is open (wf_ws_open) nothing can go out, however long that is. */
static bool is_stopped(const wf_ws *ws)
{
    return wf_ws_choked(ws) || wf_session_is_open(&ws->session);
}

/* The output may only be full of what this turn wrote: let the kernel have it first.
 * True when there is room. */
static bool has_room(wf_ws *ws)
{
    if (wf_ws_choked(ws) && !ws->stream->blocked)
        wf_stream_flush(ws->stream);
    return !is_stopped(ws);
}

static bool keep(wf_subscription *sub, const wf_policy *policy, wf_blob *frame,
                 bool compressed, uint64_t key)
{
    wf_pending *p = pending_of(sub);
    wf_hub *hub = sub->ws->hub;
    if (!p) {
        count_drop(sub);
        return false;
    }
    p->notice = policy->notice;
    wf_waiting *older = key ? find_newest(hub, p, key) : NULL;
    if (older)
        drop(sub, older);
    if (policy->kind == WF_DISCONNECT && is_over(p, policy, frame->used)) {
        wf_ws_fail(sub->ws, WF_CLOSE_TRY_LATER,
                   "too slow: over max_pending or max_pending_messages");
        return false;
    }
    if (make_room(sub, policy, frame->used) && put_in(hub, p, frame, compressed, key))
        return true;
    p->missed++;
    count_drop(sub);
    return false;
}

bool wf_pending_offer(wf_subscription *sub, const wf_policy *policy, wf_blob *frame,
                      bool compressed, uint64_t key)
{
    wf_ws *ws = sub->ws;
    wf_hub *hub = ws->hub;
    if (!sub->pending && has_room(ws)) {
        bool sent = wf_ws_share(ws, frame, compressed);
        hub->delivered += sent;
        return sent;
    }
    return ws->hub && keep(sub, policy, frame, compressed, key); /* it may have ended */
}

/* {"type":"missed","topic":"...","count":n}: of a name only " and \ need escaping. */
static wf_blob *notice_frame(const wf_topic *t, uint32_t missed)
{
    char text[2 * WF_TOPIC_MAX + 64] = "{\"type\":\"missed\",\"topic\":\"";
    size_t n = strlen(text);
    for (size_t i = 0; i < t->len; i++) {
        if (t->name[i] == '"' || t->name[i] == '\\')
            text[n++] = '\\';
        text[n++] = t->name[i];
    }
    int tail = snprintf(text + n, sizeof text - n, "\",\"count\":%u}", (unsigned)missed);
    return wf_hub_frame(WF_OP_TEXT, text, n + (size_t)tail);
}

/* Of what was missed before the first one that waits, or behind all. Without memory for
 * it the notice is left out, and comes with the next one. */
static void give_notice(wf_pending *p, uint32_t *missed)
{
    const wf_subscription *sub = p->subscription;
    wf_blob *frame = p->notice ? notice_frame(sub->topic, *missed) : NULL;
    if (!p->notice || frame)
        *missed = 0;
    if (frame)
        wf_ws_share(sub->ws, frame, false);
    wf_blob_unref(frame);
}

static wf_pending *longest_waiting(const wf_ws *ws)
{
    wf_pending *best = ws->pending;
    for (wf_pending *p = best ? best->next : NULL; p; p = p->next)
        if (!p->first || (best->first && p->first->order < best->first->order))
            best = p;
    return best;
}

/* One message, or the end. The connection may fail, and all of this go. */
static void feed_one(wf_ws *ws, wf_pending *p)
{
    wf_hub *hub = ws->hub;
    uint32_t *missed = missed_behind(p, NULL);
    if (*missed > 0)
        give_notice(p, missed);
    if (!ws->hub)
        return;
    if (!p->first) {
        drop_pending(p);
        return;
    }
    bool compressed = p->first->compressed;
    wf_blob *frame = take_out(hub, p->first);
    if (wf_ws_share(ws, frame, compressed))
        hub->delivered++;
    wf_blob_unref(frame);
    if (ws->hub && !p->first && p->missed == 0)
        drop_pending(p);
}

void wf_pending_feed(wf_stream *s)
{
    wf_ws *ws = s->upper; /* NULL: it let go */
    while (ws && ws->pending && ws->hub && !is_stopped(ws))
        feed_one(ws, longest_waiting(ws));
    s->hungry = ws && ws->pending;
}
