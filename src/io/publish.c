/*
 * publish: how a message of a hub reaches its subscribers: framed once, and compressed
 * once for each window. Nothing here runs Lua; but a connection may end on the way, and
 * leaves all its topics then. See hub.h.
 */
#include <stdlib.h>
#include <string.h>

#include "io/hub.h"

/* A message in its forms, each made when the first subscriber needs it: plain, and
 * compressed for each window. */
typedef struct wf_frames {
    const wf_publication *message;
    bool failed; /* one could not be made */
    wf_blob *plain, *packed[WF_WINDOW_MAX + 1];
} wf_frames;

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

static wf_blob *frame_plain(wf_frames *f)
{
    const wf_publication *m = f->message;
    if (!f->plain)
        f->plain = frame(m->op & 15, m->data, m->len);
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
        *form = frame(WF_FRAME_RSV1 | (m->op & 15), packed.data, packed.len);
    else if ((*form = frame_plain(f)))
        (*form)->refs++;
    return *form;
}

/* True when it went out to the subscriber. */
static bool share(wf_frames *f, wf_ws *ws)
{
    const wf_publication *m = f->message;
    bool compressed = wf_session_compresses(&ws->session, m->op, m->len);
    wf_blob *form = compressed ? frame_packed(f, ws) : frame_plain(f);
    f->failed = f->failed || !form;
    return form && wf_ws_share(ws, form, compressed && form != f->plain);
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
        reached += share(f, ws);
    }
    return reached;
}

enum wf_error wf_hub_publish(wf_hub *hub, const wf_publication *p, size_t *reached)
{
    *reached = 0;
    wf_frames frames = { .message = p };
    wf_topic *t = wf_hub_match(hub, p->topic, p->n);
    uint64_t serial = t && t->matched ? ++hub->serial : 0;
    hub->publishing = true;
    for (; t; t = t->matched)
        *reached += fan_out(&frames, &t->members[p->form], serial);
    hub->publishing = false;
    wf_hub_drop_empties(hub);
    hub->delivered += *reached;
    forget_frames(&frames);
    return frames.failed ? WF_NOMEM : WF_OK;
}
