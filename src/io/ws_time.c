/*
 * ws_time: what a WebSocket connection does by the clock: it pings, and ends where the
 * peer is silent, idle, gone, or does not close in time. See ws.h.
 */
#include "io/ws.h"

#include <math.h>
#include <string.h>

#include "io/pending.h"

enum wf_error wf_ws_ping(wf_ws *ws)
{
    uint32_t id = ws->ping_id + 1;
    enum wf_error e = wf_ws_send(ws, WF_OP_PING, &id, sizeof id);
    if (e != WF_OK)
        return e;
    ws->ping_id = id;
    ws->ping_sent = wf_time();
    return WF_OK;
}

/* Any bytes prove the peer alive; our own sending proves nothing. While we do not
 * read, silence is not the peer's fault. Returns when to look again. */
static double heartbeat(wf_ws *ws, double now)
{
    const wf_ws_options *o = ws->options;
    double next = ws->beat + o->ping_interval;
    bool unheard = ws->silent > ws->received && !ws->paused;
    if (o->ping_interval <= 0)
        return INFINITY;
    if (unheard && o->ping_timeout > 0 && now >= ws->silent + o->ping_timeout) {
        ws->late = true;
        wf_ws_fail(ws, WF_CLOSE_INTERNAL, "ping timeout");
        ws->code = WF_CLOSE_ABNORMAL; /* no close was received */
        return INFINITY;
    }
    if (now >= next) {
        if (wf_ws_ping(ws) == WF_OK && !unheard)
            ws->silent = now;
        ws->beat = now;
        next = now + o->ping_interval;
    }
    if (o->ping_timeout > 0 && ws->silent > ws->received)
        next = WF_MIN(next, ws->silent + o->ping_timeout);
    return next;
}

const char wf_ws_too_idle[] = "idle timeout";

/* Messages count, pings do not. One that is under way counts by its bytes, and those
 * that nobody takes are no silence. Returns when to look again. */
static double idleness(wf_ws *ws, double now)
{
    double most = ws->options->idle_timeout;
    if (most <= 0 || ws->ended)
        return INFINITY;
    if (ws->paused && !ws->stream->mute)
        ws->moved = now;
    else if (ws->session.kind && ws->received > ws->moved)
        ws->moved = ws->received;
    if (now < ws->moved + most)
        return ws->moved + most;
    ws->late = true;
    wf_ws_close(ws, WF_CLOSE_GOING_AWAY, wf_ws_too_idle, strlen(wf_ws_too_idle));
    return INFINITY;
}

/* The peer has gone, and nobody takes what it said before. */
static bool is_forsaken(const wf_ws *ws, double now)
{
    const wf_ws_options *o = ws->options;
    return ws->stream->mute && now >= ws->moved + o->ping_interval + o->ping_timeout;
}

/* Our close is behind what was sent before: as long as the peer takes of that, be it only
 * now that we look, its answer has not been waited for yet. */
static bool is_leaving(wf_ws *ws)
{
    wf_stream *s = ws->stream;
    size_t before = ws->unsent;
    if (before == 0)
        return false;
    wf_stream_flush(s);
    if (!ws->stream) /* it failed, and has ended */
        return true;
    ws->unsent = s->out.bytes;
    if (ws->unsent >= before)
        return false;
    wf_stream_set_timer(s, WF_MAX(ws->options->close_timeout, 0.001));
    return true;
}

/* From here on its answer is waited for. */
void wf_ws_drained(wf_stream *s)
{
    wf_ws *ws = s->upper;
    if (!ws || ws->ended || ws->session.state == WF_SESSION_OPEN) {
        wf_pending_feed(s);
        return;
    }
    ws->unsent = s->out.bytes;
    s->hungry = ws->unsent > 0;
    wf_stream_set_timer(s, WF_MAX(ws->options->close_timeout, 0.001));
}

void wf_ws_timer(wf_stream *s)
{
    wf_ws *ws = s->upper;
    double now = s->object.loop->now;
    if (is_forsaken(ws, now)) {
        wf_stream_abort(s, WF_CLOSED);
        return;
    }
    if (ws->session.state != WF_SESSION_OPEN) {
        if (!is_leaving(ws))
            wf_stream_abort(s, WF_TIMEOUT); /* the peer's close did not come in time */
        return;
    }
    double beat = heartbeat(ws, now), next = WF_MIN(beat, idleness(ws, now));
    next = WF_MIN(next, wf_rate_patience(ws, now));
    if (ws->session.state == WF_SESSION_OPEN && next < INFINITY)
        wf_stream_set_timer(s, WF_MAX(next - now, 0.001));
}
