/*
 * actor: what a script's task is to src/io: it waits in one slot at a time, is resumed
 * by the loop, and owns a connection by its handle. It does a server's or a client's
 * handshake and then echoes, publishes, naps, pings, closes or lets go, as its habits
 * say; or it echoes the raw bytes of a stream.
 */
#ifndef WF_SPEC_ACTOR_H
#define WF_SPEC_ACTOR_H

#include <math.h>

#include "core/head.h"
#include "io/hub.h"
#include "io/listener.h"
#include "io/ws.h"
#include "kernel.h"

enum {
    RAW = 1,        /* no WebSocket: echoes bytes */
    CLIENT = 2,     /* connects */
    TOPIC = 4,      /* subscribes, and publishes every third message */
    NAPS = 8,       /* sleeps after every second message */
    PINGS = 16,     /* and waits for the answer, a while */
    QUITS = 32,     /* closes after the fourth message */
    FORGETS = 64,   /* lets its handle go after the fifth */
    IMPATIENT = 128 /* waits for a limited time only, and again */
};

typedef struct actor {
    wf_object object;
    wf_waiter waiter, *bed; /* a slot of its own: nobody wakes it there but its alarm */
    bool waiting;
    unsigned habits;
    wf_object *handle;
    wf_hub *hub;
    bool eligible; /* for the publication under way */
    wf_ws_options *options;
    const wf_extension *agreed;
    remote *remote;
    void (*step)(struct actor *a);
    bool has_message; /* to be sent when the peer is fast enough again */
    bytes message;
    unsigned kind;
    unsigned count;         /* of messages */
    bytes *received, *sent; /* logs; these outlive it */
    struct actor *next;     /* all of them */
} actor;

static actor *actors;

/* -- waiting ------------------------------------------------------------------------ */

/* Returns at once; a->step goes on. */
static void wait_for(actor *a, wf_waiter **slot, double seconds)
{
    MUST(*slot == NULL, "somebody waits there already");
    a->waiting = true;
    bool ok = wf_waiter_wait(&a->waiter, slot,
                             seconds == INFINITY ? seconds : wf_time() + seconds);
    MUST(ok, "no memory");
}

static void run_actor(wf_object *object)
{
    actor *a = (actor *)object;
    if (!wf_waiter_woken(&a->waiter) || !a->waiting)
        return;
    a->waiting = false;
    a->step(a);
}

static void destroy_actor(wf_object *object)
{
    actor *a = (actor *)object;
    wf_waiter_leave(&a->waiter);
    if (a->handle)
        a->handle->handle = NULL;
    bytes_free(&a->message);
    for (actor **at = &actors; *at; at = &(*at)->next)
        if (*at == a) {
            *at = a->next;
            break;
        }
    wf_object_bury(object);
}

static const wf_class actor_class = { "actor", destroy_actor, destroy_actor, run_actor,
                                      true };

static void hold(actor *a, wf_object *object)
{
    a->handle = object;
    object->handle = &a->handle;
}

/* As wf_handle_close. */
static void let_go(actor *a)
{
    wf_object *object = a->handle;
    a->handle = NULL;
    if (!object)
        return;
    object->handle = NULL;
    object->class->release(object);
}

/* What closed() would tell. */
static void check_end(const wf_ws *ws)
{
    bool whole;
    size_t n;
    const char *reason = wf_ws_reason(ws, &n);
    slow_utf8((const uint8_t *)reason, n, &whole);
    MUST(n <= WF_REASON_MAX && whole, "a reason of %zu bytes", n);
    MUST(!ws->ended || ws->code >= 1000, "code %u", ws->code);
}

static void leave(actor *a)
{
    if (a->handle && a->handle->class == &wf_ws_class)
        check_end((const wf_ws *)a->handle);
    let_go(a);
    destroy_actor(&a->object);
}

static double patience(const actor *a)
{
    return a->habits & IMPATIENT ? 0.02 * (1 + a->count % 3) : INFINITY;
}

/* -- messages ------------------------------------------------------------------------ */

static char letter(unsigned kind)
{
    return kind == WF_OP_TEXT ? 'T' : 'B';
}

static wf_ws *subscriber(const actor *a)
{
    wf_ws *ws = (wf_ws *)a->handle;
    bool open = ws && ws->object.class == &wf_ws_class &&
                ws->session.state == WF_SESSION_OPEN && ws->stream;
    const wf_subscription *s = open ? ws->subscriptions : NULL;
    while (s && s->topic->name[0] != 'a') /* "all" */
        s = s->next;
    return s ? ws : NULL;
}

/* Everyone who is reached has it in the log of what was sent: all who had room, and who
 * is still there of those that were full until they were given the kernel's. */
static void publish(actor *a, wf_ws *ws)
{
    static const uint8_t news[2000] = "news";
    size_t n = a->count % 2 ? 4 : sizeof news, reached, expected = 0;
    wf_publication p = {
        .topic = "all", .n = 3, .data = news, .len = n, .op = WF_OP_BINARY, .except = ws
    };
    for (actor *b = actors; b; b = b->next)
        b->eligible = b != a && subscriber(b);
    MUST(wf_hub_publish(a->hub, &p, &reached) == WF_OK, "no memory");
    for (actor *b = actors; b; b = b->next)
        if (b->eligible && subscriber(b)) {
            log_add(b->sent, 'B', news, n);
            expected++;
        }
    /* one that was let go of is still subscribed until its close is sent */
    MUST(reached >= expected, "%zu, not %zu", reached, expected);
}

/* Messages that may be dropped are known by this, and by their numbers. */
#define LOSSY_HEAD 24

static bool lossy_number(const uint8_t *p, size_t n, uint32_t *number)
{
    for (size_t i = 0; i < LOSSY_HEAD; i++)
        if (n < LOSSY_HEAD + sizeof *number || p[i] != (uint8_t)(i * 37 + 11))
            return false;
    memcpy(number, p + LOSSY_HEAD, sizeof *number);
    return true;
}

/* Under each policy, with small marks. */
static void publish_lossy(actor *a)
{
    static uint32_t number; /* it only has to grow */
    static const char *const keys[] = { "", "k", "other key" };
    uint8_t text[3000] = { 0 };
    size_t reached, n = a->count % 3 ? 100 : sizeof text;
    wf_policy policy = { (wf_policy_kind)(a->count % 4), a->count % 2 == 0, 4000, 5 };
    wf_publication p = { .topic = "lossy.x",
                         .n = 7,
                         .data = text,
                         .len = n,
                         .op = WF_OP_BINARY,
                         .policy = &policy };
    for (size_t i = 0; i < LOSSY_HEAD; i++)
        text[i] = (uint8_t)(i * 37 + 11);
    number++;
    memcpy(text + LOSSY_HEAD, &number, sizeof number);
    p.key = keys[a->count % 3];
    p.key_len = strlen(p.key);
    MUST(wf_hub_publish(a->hub, &p, &reached) == WF_OK, "no memory");
    MUST(a->hub->pending_bytes <= a->hub->subscriptions * policy.max_bytes, "%zu wait",
         a->hub->pending_bytes);
}

static void serve(actor *a);

/* True when it may go on at once. */
static bool send_message(actor *a, wf_ws *ws)
{
    if (!ws->ended && wf_ws_choked(ws)) {
        wait_for(a, &ws->stream->writer, patience(a));
        return false;
    }
    a->has_message = false;
    MUST(!ws->stream || ws->stream->out.bytes <= ws->options->hard + (256u << 10),
         "%zu bytes wait", ws->stream->out.bytes);
    enum wf_error e = wf_ws_send(ws, a->kind, a->message.p, a->message.n);
    MUST(e == WF_OK || e == WF_CLOSED, "sending: %d", e);
    if (e == WF_OK)
        log_add(a->sent, letter(a->kind), a->message.p, a->message.n);
    return true;
}

/* What else it does after a message; true when it may go on at once. */
static bool indulge(actor *a, wf_ws *ws)
{
    if (a->habits & TOPIC && a->count % 3 == 0)
        publish(a, ws);
    if (a->habits & TOPIC && a->count == 7)
        wf_hub_unsubscribe(ws, "all", 3);
    for (unsigned i = 0; a->habits & TOPIC && i < a->count % 5; i++)
        publish_lossy(a);
    if (a->habits & QUITS && a->count == 4)
        wf_ws_close(ws, 3000 + a->count, "enough", 6);
    if (a->habits & FORGETS && a->count == 5) {
        leave(a);
        return false;
    }
    if (a->habits & PINGS && !ws->pinger && wf_ws_ping(ws) == WF_OK) {
        wait_for(a, &ws->pinger, 0.5);
        return false;
    }
    if (a->habits & NAPS && a->count % 2 == 0) {
        wait_for(a, &a->bed, 0.1);
        return false;
    }
    return true;
}

static void take_message(actor *a, wf_ws *ws, const wf_message *m)
{
    bool whole = true;
    if (m->kind == WF_OP_TEXT)
        slow_utf8(m->data, m->len, &whole);
    MUST(whole && m->len <= a->options->limits.max_message, "a bad message");
    log_add(a->received, letter(m->kind), m->data, m->len);
    a->message.n = 0;
    bytes_add(&a->message, m->data, m->len);
    a->kind = m->kind;
    a->has_message = true;
    a->count++;
    wf_ws_received(ws, m);
}

/* One thing at a time, until it has to wait. */
static void serve(actor *a)
{
    unsigned both = QUITS | FORGETS;
    if ((a->habits & both) == both && a->count == 3) { /* as when a task is cancelled */
        leave(a);
        return;
    }
    for (;;) {
        wf_ws *ws = (wf_ws *)a->handle;
        wf_message m;
        if (ws && a->has_message) {
            if (!send_message(a, ws) || !indulge(a, ws))
                return;
            continue;
        }
        enum wf_error e = ws ? wf_ws_take(ws, &m, WF_TAKE_WHOLE) : WF_CLOSED;
        if (e == WF_OK) {
            take_message(a, ws, &m);
        } else if (e == WF_BUSY) {
            wait_for(a, &ws->reader, patience(a));
            return;
        } else {
            leave(a);
            return;
        }
    }
}

/* -- heads ------------------------------------------------------------------------------
 */

static const char request_101[] = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
static const char refusal[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
static const char request[] = "GET / HTTP/1.1\r\n\r\n";

static void become_websocket(actor *a, wf_stream *s, int head)
{
    wf_buffer_consume(&s->in, (size_t)head);
    if (s->in.len == 0)
        wf_buffer_free(&s->in);
    bool client = a->habits & CLIENT;
    wf_ws *ws = wf_ws_new(s, client, a->options, client ? NULL : a->hub);
    MUST(ws, "no memory");
    if (a->agreed->deflate)
        MUST(wf_ws_compress(ws, a->agreed), "no memory");
    hold(a, &ws->object);
    wf_ws_begin(ws);
    if (!client && a->habits & TOPIC)
        for (int i = 0; i < 3; i++) {
            static const char *const list[] = { "all", "lossy.*", "*.>" };
            MUST(wf_hub_subscribe(ws, list[i], strlen(list[i]), 0, SIZE_MAX) == WF_OK,
                 "no memory");
        }
    a->step = serve;
    serve(a);
}

static void read_head(actor *a)
{
    wf_stream *s = (wf_stream *)a->handle;
    wf_head head;
    bool client = a->habits & CLIENT;
    const char *p = s ? (const char *)s->in.data : NULL;
    int n =
        !s || s->in.len == 0 ? 0
        : client
            ? wf_head_parse_response(&head, p, s->in.len, &wf_head_default_limits, NULL)
            : wf_head_parse_request(&head, p, s->in.len, &wf_head_default_limits, NULL);
    if (n > 0 && s->fd >= 0 && !(client && head.status != 101)) {
        if (!client)
            wf_stream_write(s, request_101, sizeof request_101 - 1);
        become_websocket(a, s, n);
        return;
    }
    if (!s || s->fd < 0 || s->eof || n != 0) {
        if (s && n != 0 && wf_stream_write(s, refusal, sizeof refusal - 1) == WF_OK)
            wf_stream_finish(s, WF_FINISH_LINGER);
        leave(a);
        return;
    }
    wf_stream_watch_read(s, true);
    wait_for(a, &s->reader, patience(a));
}

/* -- raw streams
 * -------------------------------------------------------------------------- */

static enum wf_error write_raw(actor *a, wf_stream *s)
{
    enum wf_error e = wf_stream_write(s, s->in.data, s->in.len);
    wf_buffer_free(&s->in);
    a->count++;
    return e;
}

static void echo_raw(actor *a)
{
    wf_stream *s = (wf_stream *)a->handle;
    if (s && s->fd >= 0 && s->in.len > 0 && s->out.bytes > WF_STREAM_HIGH) {
        wait_for(a, &s->writer, patience(a));
        return;
    }
    bool ok = s && s->fd >= 0 && (s->in.len == 0 || write_raw(a, s) == WF_OK);
    if (ok && a->habits & QUITS && a->count == 4)
        wf_stream_shutdown(s, a->habits & NAPS, true);
    if (!ok || s->fd < 0 || s->eof || (a->habits & FORGETS && a->count == 5)) {
        leave(a);
        return;
    }
    wf_stream_watch_read(s, true);
    wait_for(a, &s->reader, patience(a));
}

/* -- beginnings
 * ------------------------------------------------------------------------------ */

static void start(actor *a)
{
    a->step = a->habits & RAW ? echo_raw : read_head;
    a->step(a);
}

static void connected(actor *a)
{
    wf_stream *s = (wf_stream *)a->handle;
    if (s && s->connecting) {
        wait_for(a, &s->writer, patience(a));
    } else if (!s || s->fd < 0) {
        leave(a);
    } else {
        wf_stream_write(s, request, sizeof request - 1);
        start(a);
    }
}

/* Over a descriptor, which a client first connects. */
static actor *actor_new(wf_loop *loop, int fd, unsigned habits)
{
    actor *a = calloc(1, sizeof *a);
    wf_stream *s = wf_stream_new(loop, fd);
    MUST(a && s, "no memory");
    wf_object_init(&a->object, &actor_class, loop);
    wf_waiter_init(&a->waiter, &a->object);
    a->habits = habits;
    a->next = actors;
    actors = a;
    hold(a, &s->object);
    return a;
}

static void actor_begin(actor *a)
{
    wf_stream *s = (wf_stream *)a->handle;
    if (!(a->habits & CLIENT)) {
        start(a);
        return;
    }
    struct sockaddr_in in = { .sin_family = AF_INET };
    a->step = connected;
    wf_stream_connect(s, (struct sockaddr *)&in, sizeof in);
    connected(a);
}

#endif
