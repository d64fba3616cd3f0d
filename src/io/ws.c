/* ws: see ws.h. */
#include "io/ws.h"

#include <stdlib.h>
#include <string.h>

#include "io/pending.h"

/* Messages of one connection per turn, so that no peer starves the others. */
#define TURN_MESSAGES 1024
#define TURN_TIME 0.01 /* for a connection whose messages make work; */
#define LOOK_EVERY 16  /* messages, at the clock */
/* A big message's bytes are read in pieces that stay in the cache until they are
 * unmasked, a few of them per turn. */
#define WINDOW_BYTES (512u << 10)
#define TURN_WINDOWS 4
/* From here on a message goes to the kernel without being copied first; with more
 * input at hand there will be more output, and small ones had better leave together. */
#define DIRECT_MIN (8u << 10)
#define DIRECT_ALWAYS WF_WRITE_BYTES

static const wf_driver driver;

void wf_ws_options_unref(wf_ws_options *options)
{
    if (options && --options->refs == 0)
        free(options);
}

/* -- the inbox: messages that came before anybody asked ---------------------- */

static bool inbox_has_room(const wf_ws *ws)
{
    const wf_inbox *in = ws->inbox;
    return !in ? ws->options->inbox_messages > 0
               : in->messages < ws->options->inbox_messages &&
                     in->bytes < ws->options->inbox_bytes;
}

static bool inbox_put(wf_ws *ws, const wf_message *m)
{
    wf_inbox_message *im = malloc(sizeof *im + m->len);
    if (im && !ws->inbox && (ws->inbox = malloc(sizeof *ws->inbox)))
        *ws->inbox = (wf_inbox){ NULL, &ws->inbox->first, 0, 0 };
    if (!im || !ws->inbox) {
        free(im);
        return false;
    }
    *im = (wf_inbox_message){ NULL, m->len, m->kind, m->more, ws->session.take };
    if (m->len > 0)
        memcpy(im->data, m->data, m->len);
    *ws->inbox->end = im;
    ws->inbox->end = &im->next;
    ws->inbox->messages++;
    ws->inbox->bytes += m->len;
    return true;
}

void wf_ws_inbox_drop(wf_ws *ws)
{
    wf_inbox *in = ws->inbox;
    wf_inbox_message *im = in->first;
    in->messages--;
    in->bytes -= im->len;
    if (!(in->first = im->next)) {
        free(in);
        ws->inbox = NULL;
    }
    free(im);
}

/* -- the end --------------------------------------------------------------- */

/* Nothing more will come and nothing can be sent; whoever waits is told. The
 * stream may still have our last words to send. */
static void end(wf_ws *ws, unsigned code, bool clean, const char *why)
{
    if (ws->ended)
        return;
    ws->ended = true;
    ws->code = (uint16_t)code;
    ws->clean = clean;
    if (!ws->session.fail && !ws->late) /* an idle one has its reason */
        ws->session.fail = why;
    ws->session.state = WF_SESSION_DONE;
    if (ws->hub)
        wf_hub_leave(ws);
    wf_wake(&ws->reader, WF_OK);
    wf_wake(&ws->closer, WF_OK);
    wf_wake(&ws->pinger, WF_OK);
    if (ws->stream)
        wf_wake(&ws->stream->writer, WF_OK);
}

static void bury(wf_ws *ws)
{
    while (ws->inbox)
        wf_ws_inbox_drop(ws);
    wf_session_free(&ws->session); /* needs the options */
    free(ws->rate);
    wf_ws_options_unref(ws->options);
    ws->options = NULL;
    wf_object_bury(&ws->object);
}

static void let_go_of_stream(wf_ws *ws)
{
    wf_stream *s = ws->stream;
    ws->stream = NULL;
    if (s)
        s->upper = NULL;
    if (!ws->object.handle && !ws->object.dead)
        bury(ws);
}

/* The session is DONE: both closes were exchanged, or it failed. */
static void session_done(wf_ws *ws)
{
    const wf_session *se = &ws->session;
    bool clean = !se->fail;
    end(ws, se->code, clean, se->fail);
    if (!ws->stream)
        return;
    /* RFC 6455 7.1.1: the server closes first. After a failure bytes may still
     * be on their way: linger, or a reset would overtake the close frame. */
    wf_stream_touch(ws->stream);
    wf_finish clean_end = se->client ? WF_FINISH_AWAIT : WF_FINISH_CLOSE;
    wf_stream_finish(ws->stream, clean ? clean_end : WF_FINISH_LINGER);
}

void wf_ws_fail(wf_ws *ws, unsigned code, const char *why)
{
    wf_session_fail(&ws->session, code, why);
    session_done(ws);
}

static void stream_gone(wf_stream *s)
{
    wf_ws *ws = s->upper;
    if (!ws)
        return;
    const char *why = s->error == WF_NOMEM     ? "out of memory"
                      : s->error == WF_TIMEOUT ? "close timeout"
                                               : NULL;
    end(ws, WF_CLOSE_ABNORMAL, false, why);
    let_go_of_stream(ws);
}

static void destroy(wf_object *object)
{
    wf_ws *ws = (wf_ws *)object;
    end(ws, WF_CLOSE_ABNORMAL, false, NULL);
    wf_stream *s = ws->stream;
    if (ws->object.handle)
        *ws->object.handle = NULL;
    ws->object.handle = NULL;
    let_go_of_stream(ws);
    if (s)
        wf_stream_class.destroy(&s->object);
}

/* The handle is gone: say goodbye; the loop does the rest. */
static void release(wf_object *object)
{
    wf_ws *ws = (wf_ws *)object;
    ws->object.handle = NULL;
    if (!ws->stream)
        bury(ws);
    else
        wf_ws_close(ws, WF_CLOSE_GOING_AWAY, NULL, 0);
}

static void nothing(wf_object *object)
{
    (void)object;
}

const wf_class wf_ws_class = { "websocket", destroy, release, nothing, false };

/* -- input ----------------------------------------------------------------- */

static void take_pong(wf_ws *ws, const wf_message *m)
{
    if (ws->ping_sent <= 0 || m->len != sizeof ws->ping_id ||
        memcmp(m->data, &ws->ping_id, sizeof ws->ping_id) != 0)
        return; /* unasked (RFC 6455 5.5.3), or an old one */
    ws->latency = (float)(wf_time() - ws->ping_sent);
    ws->ping_sent = 0;
    wf_wake(&ws->pinger, WF_OK);
}

/* One more of this turn's messages. */
static void spend(wf_pump *pump)
{
    if (--pump->budget % LOOK_EVERY != 0)
        return;
    double now = wf_time();
    if (pump->since == 0)
        pump->since = now;
    else if (now - pump->since > TURN_TIME)
        pump->budget = 0;
}

/* Pulls the next message, or piece of one, out of the input under way. */
static bool pull(wf_ws *ws, wf_message *m, wf_take take)
{
    wf_pump *pump = &ws->object.loop->pump;
    ws->session.take = (uint8_t)take;
    ws->held = false;
    for (;;) {
        if (ws->ended)
            return false;
        switch (wf_session_next(&ws->session, &pump->input, &pump->left, m)) {
        case WF_EVENT_MESSAGE:
        case WF_EVENT_PIECE:
            spend(pump);
            ws->moved = ws->object.loop->now;
            if (WF_LIKELY(!ws->rate) || wf_rate_admits(ws, m->len, !ws->session.more))
                return true;
            if (pump->budget == 0)
                return false;
            break;
        case WF_EVENT_PONG:
            take_pong(ws, m);
            break;
        case WF_EVENT_PING:
            if (ws->stream)
                wf_stream_touch(ws->stream);
            if (ws->rate && !wf_rate_admits(ws, m->len, true) && pump->budget == 0)
                return false;
            break;
        case WF_EVENT_CLOSE:
            session_done(ws);
            return false;
        case WF_EVENT_HELD:
            ws->held = true;
            return false;
        case WF_EVENT_NONE:
            return false;
        }
    }
}

/* While our close waits for the peer's, messages that nobody reads are dropped:
 * the peer's close is behind them. From the first of them on all are, so that who reads
 * again does not take what follows for what comes next. */
static bool nobody_listens(const wf_ws *ws)
{
    return ws->session.deaf ||
           (!ws->reader && ws->session.state == WF_SESSION_CLOSE_SENT);
}

/* True when a task took it; the main thread, or a cancelled task, does not. */
static bool hand_over(wf_ws *ws, const wf_message *m)
{
    wf_pump *pump = &ws->object.loop->pump;
    if (!ws->reader)
        return false;
    pump->current = *m;
    pump->has_current = true;
    wf_wake_now(&ws->reader, WF_OK);
    bool taken = !pump->has_current;
    pump->has_current = false;
    return taken;
}

static wf_take taking(const wf_ws *ws)
{
    if (nobody_listens(ws))
        return WF_TAKE_NOTHING;
    if (ws->reader)
        return ws->in_pieces ? WF_TAKE_PIECES : WF_TAKE_WHOLE;
    return WF_TAKE_WAIT;
}

/* The task that takes a message may end, and the connection with it. */
static void deliver(wf_ws *ws)
{
    const wf_pump *pump = &ws->object.loop->pump;
    wf_message m;
    while (pump->budget > 0 && !ws->object.dead) {
        wf_take take = taking(ws);
        if (take == WF_TAKE_WAIT && !inbox_has_room(ws))
            break;
        if (!pull(ws, &m, take))
            break;
        if (nobody_listens(ws) || hand_over(ws, &m) || ws->object.dead)
            continue;
        if (!inbox_put(ws, &m)) {
            wf_ws_fail(ws, WF_CLOSE_INTERNAL, "out of memory");
            break;
        }
    }
}

/* There is something to do without another byte from the peer. */
static bool is_unfinished(const wf_ws *ws)
{
    return ws->stream->in.len > 0 || ws->held || ws->session.more;
}

/* Keeps what could not be delivered, and stops reading until it can. */
static void stash(wf_ws *ws)
{
    const wf_pump *pump = &ws->object.loop->pump;
    wf_stream *s = ws->stream;
    const uint8_t *in = s->in.data;
    bool ours = in && pump->input >= in && pump->input <= in + s->in.len;
    if (ours) {
        wf_buffer_consume(&s->in, s->in.len - pump->left);
    } else if (!wf_buffer_append(&s->in, pump->input, pump->left)) {
        wf_ws_fail(ws, WF_CLOSE_INTERNAL, "out of memory");
        return;
    }
    if (s->in.len == 0)
        wf_buffer_free(&s->in);
    bool held = wf_rate_holds(ws);
    ws->paused = is_unfinished(ws) || held;
    if (ws->paused && pump->budget == 0 && !held)
        wf_loop_ready(&s->object);
    s->chatty = s->chatty && !ws->paused;
    wf_stream_watch_read(s, !ws->paused);
}

static void take_input(wf_ws *ws, uint8_t *p, size_t n)
{
    wf_pump *pump = &ws->object.loop->pump;
    *pump = (wf_pump){ .ws = ws, .input = p, .left = n, .budget = TURN_MESSAGES };
    deliver(ws);
    if (!ws->ended && ws->stream &&
        (pump->left > 0 || ws->paused || is_unfinished(ws) || wf_rate_holds(ws)))
        stash(ws);
    *pump = (wf_pump){ 0 };
}

/* One read. True when it filled its room: there is more. */
static bool read_some(wf_ws *ws)
{
    wf_stream *s = ws->stream;
    uint8_t *p;
    size_t room = WF_AHEAD_BYTES;
    bool direct = false;
    long k = wf_stream_take_ahead(s, &p);
    if (k == -3) {
        room = wf_session_window(&ws->session, &p);
        direct = room > 0;
        if (direct) {
            room = WF_MIN(room, WINDOW_BYTES);
        } else {
            p = s->object.loop->input;
            room = WF_READ_BYTES;
        }
        k = wf_stream_read(s, p, room);
    }
    if (k == 0) { /* RFC 6455 7.1.5: no close was received */
        end(ws, WF_CLOSE_ABNORMAL, false, NULL);
        wf_stream_finish(s, WF_FINISH_CLOSE);
    }
    if (k <= 0)
        return false;
    s->chatty = k < WF_AHEAD_BYTES; /* few bytes: the next may be received ahead */
    ws->received = s->object.loop->now;
    if (direct)
        wf_session_filled(&ws->session, (size_t)k);
    take_input(ws, p, direct ? 0 : (size_t)k);
    return (size_t)k == room;
}

/* A big message goes on at once, while what came of it is in the cache. */
static void read_input(wf_ws *ws)
{
    uint8_t *p;
    bool ahead = ws->stream->ahead; /* more than that may be there */
    for (int i = 0; i < TURN_WINDOWS && read_some(ws); i++, ahead = false)
        if (!ws->stream || ws->ended || ws->paused ||
            (!ahead && wf_session_window(&ws->session, &p) == 0))
            break;
}

static void readable(wf_stream *s, bool ready)
{
    wf_ws *ws = s->upper;
    if (wf_rate_holds(ws))
        return;
    if (ws->paused) {
        if (ws->reader || nobody_listens(ws) || inbox_has_room(ws))
            take_input(ws, s->in.data, s->in.len);
    } else if (ready) {
        read_input(ws);
    }
}

enum wf_error wf_ws_take(wf_ws *ws, wf_message *m, wf_take take)
{
    wf_pump *pump = &ws->object.loop->pump;
    bool pumping = pump->ws == ws;
    if (pumping && pump->has_current) {
        *m = pump->current;
        pump->has_current = false;
        return WF_OK;
    }
    if (ws->inbox) {
        const wf_inbox_message *im = ws->inbox->first;
        *m = (wf_message){ im->data, im->len, im->kind, im->more };
        return WF_OK;
    }
    if (pumping && pump->budget > 0 && !ws->session.deaf && pull(ws, m, take))
        return WF_OK;
    if (ws->paused && !pumping && !ws->ended)
        wf_loop_ready(&ws->stream->object);
    ws->in_pieces = take == WF_TAKE_PIECES;
    return ws->ended ? WF_CLOSED : WF_BUSY;
}

void wf_ws_received(wf_ws *ws, const wf_message *m)
{
    if (!ws->inbox || m->data != ws->inbox->first->data)
        return;
    wf_ws_inbox_drop(ws);
    if (ws->paused && ws->stream && ws->object.loop->pump.ws != ws)
        wf_loop_ready(&ws->stream->object);
}

/* -- output ---------------------------------------------------------------- */

bool wf_ws_writes_directly(const wf_ws *ws, size_t n)
{
    bool last = ws->object.loop->pump.left == 0;
    bool big = n >= DIRECT_ALWAYS || (n >= DIRECT_MIN && last);
    return big && !ws->session.client && wf_stream_idle(ws->stream) &&
           !wf_loop_forked(ws->object.loop);
}

enum wf_error wf_ws_send(wf_ws *ws, unsigned op, const void *data, size_t n)
{
    wf_stream *s = ws->stream;
    if (wf_ws_is_mute(ws))
        return WF_CLOSED;
    if (wf_session_is_open(&ws->session) && !(op & 8))
        return ws->session.state == WF_SESSION_OPEN ? WF_BUSY : WF_CLOSED;
    ws->moved = (op & 15) < WF_OP_CLOSE ? s->object.loop->now : ws->moved;
    if (!wf_ws_writes_directly(ws, n) || wf_session_compresses(&ws->session, op, n)) {
        enum wf_error e = wf_session_send(&ws->session, op, data, n);
        if (e == WF_OK)
            wf_stream_touch(s);
        return e;
    }
    if (ws->session.state != WF_SESSION_OPEN)
        return WF_CLOSED;
    uint8_t head[WF_FRAME_HEAD_MAX];
    size_t h = wf_session_head(op & 15, n, head);
    return wf_stream_write_big(s, head, h, data, n);
}

/* -- closing ------------------------------------------------------------------ */

static void muted(wf_stream *s)
{
    wf_ws *ws = s->upper;
    if (ws->hub)
        wf_hub_leave(ws);
    wf_wake(&ws->pinger, WF_OK);
    wf_wake(&s->writer, WF_OK);
}

static const wf_driver driver = { readable,      wf_ws_timer, stream_gone,
                                  wf_ws_drained, muted,       false };

void wf_ws_close(wf_ws *ws, unsigned code, const char *reason, size_t n)
{
    if (ws->ended || ws->session.state != WF_SESSION_OPEN)
        return;
    if (ws->hub)
        wf_hub_leave(ws);
    wf_wake(&ws->stream->writer, WF_OK);
    if (wf_session_close(&ws->session, code, reason, n) != WF_OK) {
        wf_stream_abort(ws->stream, WF_NOMEM);
        return;
    }
    ws->unsent = ws->stream->out.bytes;
    ws->stream->hungry = true;
    wf_stream_touch(ws->stream);
    wf_stream_set_timer(ws->stream, WF_MAX(ws->options->close_timeout, 0.001));
    if (ws->paused) /* the peer's close is behind what nobody took */
        wf_loop_ready(&ws->stream->object);
}

const char *wf_ws_reason(const wf_ws *ws, size_t *n)
{
    const char *why = ws->session.fail;
    if (!why && ws->late)
        why = wf_ws_too_idle;
    if (why) {
        *n = strlen(why);
        return why;
    }
    bool given = ws->clean && ws->session.control_len > 0;
    *n = given ? ws->session.control_len : 0;
    return given ? (const char *)ws->session.control : "";
}

wf_ws *wf_ws_new(wf_stream *s, bool client, wf_ws_options *options, wf_hub *hub)
{
    wf_loop *loop = s->object.loop;
    wf_ws *ws = malloc(sizeof *ws);
    if (!ws)
        return NULL;
    *ws = (wf_ws){ .stream = s,
                   .options = options,
                   .latency = -1,
                   .received = loop->now,
                   .beat = loop->now,
                   .moved = loop->now };
    if (wf_rate_limits(&options->rate) &&
        !(ws->rate = wf_rate_new(&options->rate, loop->now)))
        return free(ws), NULL;
    wf_object_init(&ws->object, &wf_ws_class, loop);
    options->refs++;
    wf_session_init(&ws->session, &loop->env, &s->out, client, &options->limits);
    s->driver = &driver;
    s->upper = ws;
    s->low = (uint32_t)WF_MIN(options->low, UINT32_MAX);
    if (s->object.owner) { /* the task that owned the stream owns the connection now */
        *s->object.owner = &ws->object;
        ws->object.owner = s->object.owner;
        s->object.owner = NULL;
    }
    if (s->object.handle)
        *s->object.handle = NULL;
    s->object.handle = NULL;
    if (hub)
        wf_hub_join(hub, ws);
    return ws;
}

bool wf_ws_compress(wf_ws *ws, const wf_extension *agreed)
{
    const wf_session *se = &ws->session;
    wf_deflate *d = wf_deflate_new(&ws->options->deflate, agreed, se->client);
    if (d)
        wf_session_compress(&ws->session, d);
    return d != NULL;
}

void wf_ws_begin(wf_ws *ws)
{
    wf_stream *s = ws->stream;
    double beat = ws->options->ping_interval, idle = ws->options->idle_timeout;
    if (beat > 0 || idle > 0)
        wf_stream_set_timer(s, beat > 0 && (idle <= 0 || beat < idle) ? beat : idle);
    ws->paused = s->in.len > 0; /* glued to the handshake: as if it had been stashed */
    if (ws->paused)
        wf_loop_ready(&s->object);
    wf_stream_watch_read(s, !ws->paused);
}
