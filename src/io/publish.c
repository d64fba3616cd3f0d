/*
 * publish: how a message of a hub reaches its subscribers: framed once, and compressed
 * once for each window. Nothing here runs Lua; but a connection may end on the way, and
 * leaves all its topics then. See hub.h.
 */
#include <stdlib.h>
#include <string.h>

#include "io/pending.h"

/* A message in its forms, each made when the first subscriber needs it: plain, and
 * compressed for each window. */
typedef struct wf_frames {
    const wf_publication *message;
    uint64_t key; /* with its topic; 0: none */
    size_t sent;
    bool failed; /* one could not be made */
    wf_blob *plain, *packed[WF_WINDOW_MAX + 1];
} wf_frames;

wf_blob *wf_hub_frame(unsigned b0, const void *data, size_t len)
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

static wf_blob *frame_plain(wf_frames *f)
{
    const wf_publication *m = f->message;
    if (!f->plain)
        f->plain = wf_hub_frame(m->op & 15, m->data, m->len);
    return f->plain;
}

/* Whatever the peer has seen before, it can inflate a message that refers to nothing but
 * itself. What does not become shorter stays as it is. */
static wf_blob *frame_packed(wf_frames *f, const wf_ws *ws)
{
    const wf_publication *m = f->message;
    const wf_deflate *d = ws->session.deflate;
    wf_blob **form = &f->packed[d->window];
    if (*form)
        return *form;
    wf_packed packed = wf_deflate_alone(d->options, d->window,
                                        &ws->object.loop->env.deflate, m->data, m->len);
    if (packed.data && packed.len < m->len)
        *form = wf_hub_frame(WF_FRAME_RSV1 | (m->op & 15), packed.data, packed.len);
    else if ((*form = frame_plain(f)))
        (*form)->refs++;
    return *form;
}

/* With a queue of its own, or behind what waits there already. */
static bool offer(const wf_frames *f, wf_subscription *sub, wf_blob *frame,
                  bool compressed)
{
    wf_policy patient = { WF_DISCONNECT, false, sub->ws->options->hard, SIZE_MAX };
    const wf_policy *policy = f->message->policy ? f->message->policy : &patient;
    return wf_pending_offer(sub, policy, frame, compressed, f->key);
}

/* The subscriber has it, or will: then it waits. */
static bool deliver(wf_frames *f, wf_member to)
{
    const wf_publication *m = f->message;
    bool compressed = wf_session_compresses(&to.ws->session, m->op, m->len);
    wf_blob *frame = compressed ? frame_packed(f, to.ws) : frame_plain(f);
    f->failed = f->failed || !frame;
    if (!frame)
        return false;
    compressed = compressed && frame != f->plain;
    if (WF_UNLIKELY(m->policy || to.ws->pending))
        if (m->policy || to.subscription->pending)
            return offer(f, to.subscription, frame, compressed);
    bool sent = wf_ws_share(to.ws, frame, compressed);
    f->sent += sent;
    return sent;
}

static void forget_frames(wf_frames *f)
{
    wf_blob_unref(f->plain);
    for (int i = 0; i <= WF_WINDOW_MAX; i++)
        wf_blob_unref(f->packed[i]);
}

/* Backwards: who leaves, the last one takes the place of, and that one had its turn. With
 * a serial, those who had it by another topic are passed over. */
static size_t fan_out(wf_frames *f, wf_members *members, uint64_t serial)
{
    const wf_ws *except = f->message->except;
    size_t reached = 0;
    for (size_t i = members->count; i-- > 0;) {
        if (i >= members->count) /* several have left */
            continue;
        wf_ws *ws = members->list[i].ws;
        if (ws == except || (serial && ws->published == serial))
            continue;
        if (serial)
            ws->published = serial;
        reached += deliver(f, members->list[i]);
    }
    return reached;
}

/* What a message is the newest value of. */
static uint64_t hash_key(const wf_hub *hub, const wf_publication *p)
{
    const wf_hash_key *secret = &hub->patterns.key;
    uint64_t key = wf_hash(secret, p->topic, p->n) * 0x9e3779b97f4a7c15u ^
                   wf_hash(secret, p->key, p->key_len);
    return key ? key : 1;
}

enum wf_error wf_hub_publish(wf_hub *hub, const wf_publication *p, size_t *reached)
{
    *reached = 0;
    wf_frames frames = { .message = p };
    if (p->policy && p->policy->kind == WF_LATEST)
        frames.key = hash_key(hub, p);
    wf_topic *t = wf_hub_match(hub, p->topic, p->n);
    uint64_t serial = t && t->matched ? ++hub->serial : 0;
    hub->publishing = true;
    for (; t; t = t->matched)
        *reached += fan_out(&frames, &t->members[p->form], serial);
    hub->publishing = false;
    wf_hub_drop_empties(hub);
    hub->delivered += frames.sent;
    forget_frames(&frames);
    return frames.failed ? WF_NOMEM : WF_OK;
}
