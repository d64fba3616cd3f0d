/*
 * conversation: a whole WebSocket conversation, in either role, with or without deflate.
 * In one piece, in pieces, and by the window it is the same, and so it is when messages
 * are taken in pieces; it is what the slow model says; what weft answers, whole or in
 * pieces, is understood by a weft at the other end; output and memory are bounded.
 */
#ifndef WF_SPEC_CONVERSATION_H
#define WF_SPEC_CONVERSATION_H

#include "peer.h"

#define ANSWERS ((size_t)2 * (64u << 10) + 1024) /* pongs and a close, never more */

/* What our side does after the n-th event. */
typedef struct act {
    unsigned at, what, n;
} act;

typedef struct plan {
    bool client, raw, echo;
    wf_session_limits limits;
    wf_deflate_options options;
    wf_extension agreed; /* .deflate false: none */
    unsigned drain;      /* bytes that leave after each event */
    act acts[3];
    cuts cuts;
    bytes wire;
} plan;

/* How messages are taken, and those that wait. */
typedef struct taking {
    wf_take first, then;
    bool drops; /* leaves a message after its first piece */
} taking;

static const taking as_whole = { WF_TAKE_WHOLE, WF_TAKE_WHOLE, false };

typedef struct run {
    const plan *plan;
    taking taking;
    bytes pieces; /* of the message under way */
    rig r;
    bytes log, own, said; /* events; what we sent; what left */
    const char *fail;
    unsigned events;
    size_t fed, sent; /* bytes */
    bool over;
} run;

/* -- our side --------------------------------------------------------------------- */

static void send_own(run *x, unsigned op, const uint8_t *p, size_t n)
{
    bool open = x->r.s.state == WF_SESSION_OPEN;
    enum wf_error e = wf_session_send(&x->r.s, op, p, n);
    MUST(e == (open ? WF_OK : WF_CLOSED), "sending: %d", e);
    if (e != WF_OK)
        return;
    x->sent += n + n / 64 + 64; /* what cannot be compressed grows a little */
    log_add(&x->own, op == WF_OP_TEXT ? 'T' : op == WF_OP_BINARY ? 'B' : 'I', p, n);
}

/* The same message in pieces, with a ping inside. */
static void write_own(run *x, unsigned op, const uint8_t *p, size_t n, size_t piece)
{
    enum wf_error e = wf_session_open(&x->r.s, op);
    MUST(e == (x->r.s.state == WF_SESSION_OPEN ? WF_OK : WF_CLOSED), "opening: %d", e);
    if (e != WF_OK)
        return;
    for (size_t at = 0, k; at < n; at += k) {
        k = WF_MIN(n - at, piece);
        MUST(wf_session_write(&x->r.s, p + at, k, false) == WF_OK, "writing");
        x->sent += k + k / 64 + 64;
        if (at == 0) {
            MUST(wf_session_send(&x->r.s, op, p, 0) == WF_BUSY, "two messages");
            send_own(x, WF_OP_PING, p, 1);
        }
    }
    MUST(wf_session_write(&x->r.s, NULL, 0, true) == WF_OK, "ending");
    x->sent += 64;
    log_add(&x->own, op == WF_OP_TEXT ? 'T' : 'B', p, n);
}

static void do_act(run *x, const act *a)
{
    static uint8_t zeros[70000];
    static const char reason[] = "Grüße und viele Wünsche, länger als ein Rahmen fasst: "
                                 "ääääääääääääääääääääääääääääääääääääääääääääääääääääää";
    switch (a->what & 3) {
    case 0:
        send_own(x, WF_OP_TEXT, zeros, a->n * 8);
        break;
    case 1:
        if (a->what & 4)
            write_own(x, a->what & 8 ? WF_OP_BINARY : WF_OP_TEXT, zeros, a->n * 64,
                      16 + (a->what >> 4) * 300);
        else
            send_own(x, WF_OP_BINARY, zeros, sizeof zeros);
        break;
    case 2:
        send_own(x, WF_OP_PING, zeros, a->n % 126);
        break;
    default:
        wf_session_close(&x->r.s, a->n & 1 ? 3000 + a->n : 0, reason,
                         a->n & 2 ? sizeof reason - 1 : 0);
    }
}

static void drain(run *x, size_t n)
{
    wf_outq *out = &x->r.out;
    n = WF_MIN(n, out->bytes);
    size_t left = n;
    for (const wf_seg *seg = out->head; seg && left > 0; seg = seg->next) {
        size_t k = WF_MIN(seg->n, left);
        bytes_add(&x->said, seg->p, k);
        left -= k;
    }
    MUST(left == 0, "%zu bytes that the queue counts are not there", left);
    wf_outq_consume(out, &x->r.env.pool, n);
    MUST(wf_outq_settle(out, &x->r.env.pool), "no memory");
    wf_outpool_end_turn(&x->r.env.pool);
}

static void react(run *x, wf_event event, const wf_message *m)
{
    if (x->plan->echo && event == WF_EVENT_MESSAGE)
        send_own(x, m->kind, m->data, m->len);
    for (size_t i = 0; i < sizeof x->plan->acts / sizeof x->plan->acts[0]; i++)
        if (x->plan->acts[i].at == x->events)
            do_act(x, &x->plan->acts[i]);
    x->events++;
    if (x->plan->drain)
        drain(x, x->plan->drain * 8);
    MUST(x->said.n + x->r.out.bytes <= x->sent + ANSWERS || x->plan->drain,
         "%zu bytes of output", x->r.out.bytes);
}

/* -- events ------------------------------------------------------------------------ */

static void note_close(run *x)
{
    const wf_session *s = &x->r.s;
    MUST(s->state == WF_SESSION_DONE && s->sent != 0, "a close, and not done");
    x->over = true;
    x->fail = s->fail;
    if (s->fail)
        log_code(&x->log, 'F', s->code, NULL, 0);
    else
        log_code(&x->log, 'C', s->code, s->control, s->control_len);
}

static void note(run *x, wf_event event, const wf_message *m)
{
    bool whole = true;
    if (event == WF_EVENT_CLOSE) {
        note_close(x);
        return;
    }
    char what = event == WF_EVENT_PING   ? 'I'
                : event == WF_EVENT_PONG ? 'O'
                : m->kind == WF_OP_TEXT  ? 'T'
                                         : 'B';
    MUST(m->len <= (what > 'B' && what < 'T' ? 125 : x->plan->limits.max_message),
         "%zu bytes", m->len);
    if (what == 'T')
        slow_utf8(m->data, m->len, &whole);
    MUST(whole, "a text that is not UTF-8");
    log_add(&x->log, what, m->data, m->len);
}

/* False: it is not the last one, or it is dropped. */
static bool gather(run *x, wf_message *m)
{
    bool whole = true;
    MUST(m->len > 0 || !m->more, "an empty piece");
    if (m->kind == WF_OP_TEXT)
        slow_utf8(m->data, m->len, &whole);
    MUST(whole, "half a character");
    bytes_add(&x->pieces, m->data, m->len);
    if (m->more && x->taking.drops) {
        wf_session_drop_rest(&x->r.s);
        x->pieces.n = 0;
    }
    m->data = x->pieces.p;
    m->len = x->pieces.n;
    return !m->more;
}

/* An event with its message put together. */
static wf_event take_event(run *x, uint8_t **p, size_t *n, wf_message *m)
{
    for (;;) {
        wf_session *s = &x->r.s;
        wf_event event = wf_session_next(s, p, n, m);
        if (event == WF_EVENT_HELD) {
            MUST(s->take == WF_TAKE_WAIT, "held, and asked for");
            s->take = (uint8_t)x->taking.then;
        } else if (event == WF_EVENT_NONE) {
            return event;
        } else if (event != WF_EVENT_PIECE) {
            s->take = (uint8_t)x->taking.first;
            return event;
        } else if (gather(x, m)) {
            s->take = (uint8_t)x->taking.first;
            return WF_EVENT_MESSAGE;
        }
    }
}

static void next(run *x, uint8_t *p, size_t n)
{
    wf_message m;
    x->r.s.take = (uint8_t)x->taking.first;
    while (!x->over) {
        wf_event event = take_event(x, &p, &n, &m);
        if (event == WF_EVENT_NONE)
            break;
        note(x, event, &m);
        react(x, event, &m);
        if (event == WF_EVENT_MESSAGE)
            x->pieces.n = 0;
    }
    size_t left = n;
    wf_event event = wf_session_next(&x->r.s, &p, &n, &m);
    MUST(event == (x->fail ? WF_EVENT_CLOSE : WF_EVENT_NONE) && n == left, "%d", event);
    MUST(x->over || n == 0, "%zu bytes were left over", n);
}

static size_t feed(run *x, const uint8_t *p, size_t n, bool window)
{
    uint8_t *to;
    size_t k = window ? wf_session_window(&x->r.s, &to) : 0;
    if (k > 0) {
        n = WF_MIN(k, n);
        memcpy(to, p, n);
        wf_session_filled(&x->r.s, n);
        next(x, to, 0);
    } else {
        uint8_t *piece = fuzz_copy(p, n);
        next(x, piece, n);
        fuzz_drop(piece, n);
    }
    x->fed += n;
    /* RFC 6455 10.4: grows with what arrived, not with what was announced */
    size_t kept = x->r.s.msg.cap, most = 2 * x->fed + (128u << 10);
    if (x->plan->agreed.deflate)
        most += x->plan->limits.max_message;
    MUST(kept <= most, "%zu bytes kept of %zu", kept, x->fed);
    return n;
}

static void open_session(rig *r, const plan *plan, bool client,
                         const wf_session_limits *limits)
{
    rig_init(r, client, limits);
    if (!plan->agreed.deflate)
        return;
    wf_deflate *d = wf_deflate_new(&plan->options, &plan->agreed, client);
    MUST(d, "no memory");
    wf_session_compress(&r->s, d);
}

static void close_session(rig *r)
{
    wf_session_free(&r->s);
    wf_deflate_env_free(&r->env.deflate);
    rig_free(r);
}

static void run_begin(run *x, const plan *plan, const taking *taking)
{
    *x = (run){ .plan = plan, .taking = *taking };
    bytes_add(&x->pieces, "", 0);
    open_session(&x->r, plan, plan->client, &plan->limits);
    MUST(wf_session_want_pieces(&x->r.s, plan->limits.max_message), "no memory");
    x->r.s.take = (uint8_t)taking->first;
}

static void run_pieces(run *x, const plan *plan, cuts c, bool window,
                       const taking *taking)
{
    run_begin(x, plan, taking);
    size_t least =
        plan->wire.n / 1024; /* of much input no small pieces: they take long */
    for (size_t at = 0, k; at < plan->wire.n; at += k) {
        size_t left = plan->wire.n - at;
        k = WF_MIN(WF_MAX(cuts_next(&c, left), least), left);
        k = feed(x, plan->wire.p + at, k, window);
    }
    drain(x, SIZE_MAX);
    MUST(test_failures == 0, "the rig's checks");
}

static void run_whole(run *x, const plan *plan)
{
    run_begin(x, plan, &as_whole);
    feed(x, plan->wire.p, plan->wire.n, false);
    drain(x, SIZE_MAX);
}

static void run_free(run *x)
{
    close_session(&x->r);
    bytes_free(&x->log);
    bytes_free(&x->pieces);
    bytes_free(&x->own);
    bytes_free(&x->said);
}

/* -- checks ------------------------------------------------------------------------- */

static void check_same(const run *a, const run *b)
{
    MUST(log_same(&a->log, &b->log), "other events");
    bool same = !a->fail || !b->fail ? a->fail == b->fail : strcmp(a->fail, b->fail) == 0;
    MUST(same, "'%s' and '%s'", a->fail ? a->fail : "", b->fail ? b->fail : "");
    MUST(log_same(&a->said, &b->said), "other output");
}

/* What was sent and what was answered, in order, and nothing else. */
static void check_other_end(const run *x)
{
    static const wf_session_limits wide = { 64u << 20, 1u << 20, 1u << 20 };
    rig other;
    bytes log = { 0 };
    wf_message m;
    wf_event event;
    size_t n = x->said.n;
    uint8_t *copy = fuzz_copy(x->said.p, n), *p = copy;
    open_session(&other, x->plan, !x->plan->client, &wide);
    while (n > 0 && (event = wf_session_next(&other.s, &p, &n, &m)) != WF_EVENT_NONE) {
        MUST(!other.s.fail, "the other end: %s", other.s.fail);
        if (event == WF_EVENT_CLOSE)
            break;
        if (event != WF_EVENT_PONG)
            log_add(&log,
                    event == WF_EVENT_PING ? 'I'
                    : m.kind == TEXT       ? 'T'
                                           : 'B',
                    m.data, m.len);
    }
    MUST(n == 0 && !other.s.in_frame && other.s.header_len == 0, "half a frame");
    MUST(log_same(&log, &x->own), "it received something else");
    MUST(other.s.code == x->r.s.sent, "close %d, not %d", other.s.code, x->r.s.sent);
    bytes_free(&log);
    close_session(&other);
    fuzz_drop(copy, x->said.n);
}

/* Window 8 is left out of what the peer may be asked for: zlib cannot do it. */
static void take_deflate(plan *plan, fuzz *f)
{
    static const uint8_t windows[] = { 0, 9, 10, 15 };
    unsigned flags = fuzz_byte(f), levels = fuzz_byte(f);
    plan->agreed = (wf_extension){ true, flags & 1, flags & 2, windows[flags >> 2 & 3],
                                   windows[flags >> 4 & 3] };
    plan->options.wish = (wf_extension){ true, flags & 64, flags & 128, 12, 12 };
    plan->options.window = 11;
    plan->options.memlevel = (uint8_t)(1 + levels % 9);
    plan->options.level = (uint8_t)(levels / 9 % 10);
    plan->options.threshold = levels & 128 ? 0 : 64;
    plan->options.max_ratio = UINT32_MAX; /* how far it is seen depends on the cuts */
}

static plan take_plan(fuzz *f, bool deflate)
{
    static const wf_session_limits limits[] = {
        { 1u << 20, 131072, 1024 }, { 100, 4, 2 }, { 0, 3, 0 }, { 40000, 64, 16 }
    };
    unsigned flags = fuzz_byte(f);
    plan plan = { .client = flags & 1,
                  .raw = flags & 2,
                  .echo = flags & 4,
                  .limits = limits[flags >> 3 & 3] };
    if (flags & 0x20)
        plan.drain = fuzz_byte(f);
    for (size_t i = 0; i < 3; i++) {
        plan.acts[i].at = UINT32_MAX;
        if (flags & 0x40)
            plan.acts[i] = (act){ fuzz_byte(f), fuzz_byte(f), fuzz_byte(f) };
    }
    if (deflate)
        take_deflate(&plan, f);
    plan.cuts = cuts_take(f);
    peer_packer packer;
    if (deflate)
        peer_pack_init(&packer, &plan.agreed, plan.client);
    plan.wire = peer_wire(f, plan.client, plan.raw, deflate ? &packer : NULL);
    if (deflate)
        deflateEnd(&packer.z);
    return plan;
}

/* However messages are taken it is the same, but that fragments that are not kept may be
 * more, and that what is dropped is not there. */
static void check_taking(const run *whole, const plan *plan)
{
    static const taking ways[] = { { WF_TAKE_PIECES, WF_TAKE_PIECES, false },
                                   { WF_TAKE_WAIT, WF_TAKE_WHOLE, false },
                                   { WF_TAKE_WAIT, WF_TAKE_PIECES, false },
                                   { WF_TAKE_PIECES, WF_TAKE_PIECES, true },
                                   { WF_TAKE_WAIT, WF_TAKE_NOTHING, false } };
    bool fragments = whole->fail && strstr(whole->fail, "fragments");
    size_t i = plan->wire.n % (sizeof ways / sizeof ways[0]); /* all of them take long */
    run other;
    run_pieces(&other, plan, plan->cuts, i & 1, &ways[i]);
    if (i < 3 && (i == 1 || !fragments))
        check_same(whole, &other);
    run_free(&other);
}

static FUZZ_UNUSED int converse(const uint8_t *p, size_t n, bool deflate)
{
    fuzz f = { p, n };
    plan plan = take_plan(&f, deflate);
    run whole, cut;
    model m = model_run(&plan.wire, plan.client, &plan.limits, &plan.agreed);
    run_whole(&whole, &plan);
    MUST(model_agrees(&m, &whole.log), "the model has it otherwise");
    check_other_end(&whole);
    for (int window = 0; window < 2; window++) {
        run_pieces(&cut, &plan, plan.cuts, window, &as_whole);
        check_same(&whole, &cut);
        run_free(&cut);
    }
    if (plan.wire.n < 256) {
        run_pieces(&cut, &plan, (cuts){ { 1 }, 1, 0 }, false, &as_whole);
        check_same(&whole, &cut);
        run_free(&cut);
    }
    check_taking(&whole, &plan);
    run_free(&whole);
    bytes_free(&m.log);
    bytes_free(&plan.wire);
    return 0;
}

#endif
