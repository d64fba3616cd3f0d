/* idle: see idle.h. */
#include "io/idle.h"

/* Whatever comes was not asked for: the end, or bytes that answer nothing. Not into the
 * loop's buffer: a task that takes it may be at a message out of that. */
static void look(wf_stream *s, bool ready)
{
    uint8_t some[64];
    if (!ready || s->fd < 0)
        return;
    long k = wf_stream_read(s, some, sizeof some);
    if (k >= 0)
        wf_stream_abort(s, k == 0 ? WF_CLOSED : WF_PROTOCOL);
}

static void out_of_time(wf_stream *s)
{
    wf_stream_abort(s, WF_TIMEOUT);
}

static void gone(wf_stream *s)
{
    (void)s; /* its handle finds out */
}

static const wf_driver idle_driver = { look, out_of_time, gone, NULL, NULL, false };

bool wf_idle_keep(wf_stream *s, double seconds)
{
    if (!wf_stream_can_send(s) || s->eof || s->in.len > 0 || s->out.bytes > 0 ||
        s->reader || s->writer)
        return false;
    s->driver = &idle_driver;
    wf_stream_watch_read(s, true);
    wf_stream_set_timer(s, seconds);
    return true;
}

bool wf_idle_take(wf_stream *s)
{
    look(s, true);
    if (s->fd < 0)
        return false;
    wf_stream_set_timer(s, 0);
    wf_stream_watch_read(s, false);
    s->driver = &wf_raw_driver;
    return true;
}
