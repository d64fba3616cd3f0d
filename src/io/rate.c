/* rate: see rate.h. */
#include "io/rate.h"

#include <math.h>
#include <stdlib.h>

#include "io/ws.h"

/* The stream's timer is the heartbeat's, too: it rings this soon at the latest, and then
 * everybody says how long they can wait. */
#define TICK 0.1

wf_rate *wf_rate_new(const wf_rate_options *o, double now)
{
    wf_rate *r = malloc(sizeof *r);
    if (r)
        *r = (wf_rate){ o->message_burst, o->byte_burst, now, false };
    return r;
}

static void fill(wf_rate *r, const wf_rate_options *o, double now)
{
    double passed = WF_MAX(now - r->at, 0.0);
    r->messages = WF_MIN(r->messages + passed * o->messages, o->message_burst);
    r->bytes = WF_MIN(r->bytes + passed * o->bytes, o->byte_burst);
    r->at = now;
}

static bool overdrawn(const wf_rate *r, const wf_rate_options *o)
{
    return (o->messages > 0 && r->messages < 0) || (o->bytes > 0 && r->bytes < 0);
}

bool wf_rate_take(wf_rate *r, const wf_rate_options *o, double now, unsigned messages,
                  size_t n, bool overdraw)
{
    fill(r, o, now);
    wf_rate after = *r;
    after.messages -= messages;
    after.bytes -= (double)n;
    bool over = overdrawn(&after, o);
    if (!over || overdraw)
        *r = after;
    return !over;
}

double wf_rate_delay(wf_rate *r, const wf_rate_options *o, double now)
{
    fill(r, o, now);
    double messages = o->messages > 0 && r->messages < 0 ? -r->messages / o->messages : 0;
    double bytes = o->bytes > 0 && r->bytes < 0 ? -r->bytes / o->bytes : 0;
    return WF_MAX(messages, bytes);
}

bool wf_rate_holds(const wf_ws *ws)
{
    return WF_UNLIKELY(ws->rate != NULL) && ws->rate->held &&
           ws->session.state == WF_SESSION_OPEN;
}

bool wf_rate_admits(wf_ws *ws, size_t n, bool last)
{
    wf_rate_options *o = &ws->options->rate;
    wf_loop *loop = ws->object.loop;
    bool drop =
        o->over == WF_RATE_DROP && !ws->in_pieces; /* what is dropped never came */
    if (wf_rate_take(ws->rate, o, loop->now, last, n, !drop) ||
        ws->session.state != WF_SESSION_OPEN)
        return true;
    if (drop) {
        o->dropped++;
        return false;
    }
    loop->pump.budget = 0;
    if (o->over == WF_RATE_CLOSE) {
        o->closed++;
        wf_ws_fail(ws, WF_CLOSE_POLICY, "over message_rate or byte_rate");
        return false;
    }
    o->waited++;
    ws->rate->held = true;
    double delay = wf_rate_delay(ws->rate, o, loop->now);
    wf_stream_set_timer(ws->stream, WF_MAX(WF_MIN(delay, TICK), 0.001));
    return true;
}

double wf_rate_patience(wf_ws *ws, double now)
{
    if (!wf_rate_holds(ws))
        return INFINITY;
    double delay = wf_rate_delay(ws->rate, &ws->options->rate, now);
    if (delay > 0)
        return now + delay;
    ws->rate->held = false;
    wf_loop_ready(&ws->stream->object);
    return INFINITY;
}
