/* session: see session.h. */
#include "core/session.h"

#include <stdlib.h>
#include <string.h>

#include "core/mask.h"
#include "core/session_private.h"

/* No frame is longer, so that sums of lengths do not overflow. */
#define ANY_LENGTH (UINT64_MAX / 4)
/* From here on a message's bytes are better received in its own buffer. */
#define WINDOW_MIN (16u << 10)
#define FIRST_ROOM (64u << 10)
/* A peer that pings without reading gets no more than this many bytes of answers on
 * top of what else waits: RFC 6455 5.5.3 lets some pings go unanswered. What we have
 * to say ourselves does not count, or a slow peer would take us for dead. */
#define PONG_BACKLOG (64u << 10)

void wf_session_init(wf_session *s, wf_session_env *env, wf_outq *out, bool client,
                     const wf_session_limits *limits)
{
    *s = (wf_session){ .env = env, .out = out, .client = client, .limits = limits };
}

void wf_session_free(wf_session *s)
{
    wf_spares_give(&s->env->spares, &s->msg);
    free(s->control);
    s->control = NULL;
    if (s->pieces)
        wf_outq_clear(&s->pieces->later, &s->env->pool);
    free(s->pieces);
    s->pieces = NULL;
    wf_deflate_free(s->deflate, &s->env->deflate);
    s->deflate = NULL;
}

void wf_session_compress(wf_session *s, wf_deflate *deflate)
{
    s->deflate = deflate;
}

/* -- output ---------------------------------------------------------------- */

/* RFC 6455 5.3: a fresh key from a strong source of entropy for every frame. */
static bool fresh_key(wf_session_env *env, uint8_t key[4])
{
    if (env->random_left < 4) {
        if (!env->random(env->random_bytes, sizeof env->random_bytes))
            return false;
        env->random_left = sizeof env->random_bytes;
    }
    uint8_t *from = env->random_bytes + sizeof env->random_bytes - env->random_left;
    memcpy(key, from, 4);
    memset(from, 0, 4);
    env->random_left -= 4;
    return true;
}

bool wf_session_queue(wf_session *s, unsigned b0, const void *data, size_t n)
{
    uint8_t key[4];
    if (s->client && !fresh_key(s->env, key))
        return false;
    size_t h = wf_frame_head_size(n) + (s->client ? sizeof key : 0);
    uint8_t *to = wf_outq_extend(s->out, &s->env->pool, h + n);
    if (!to && !(to = wf_outq_reserve(s->out, &s->env->pool, h + n)))
        return false;
    to += wf_frame_write(to, b0, n, s->client);
    if (s->client) {
        memcpy(to, key, sizeof key);
        wf_mask_copy(to + sizeof key, data, n, key, 0);
    } else if (n > 0) {
        memcpy(to, data, n);
    }
    return true;
}

static bool queue_frame(wf_session *s, unsigned op, const void *data, size_t n)
{
    return wf_session_queue(s, WF_FRAME_FIN | op, data, n);
}

/* Where nothing refers to it, what did not become shorter is sent as it was. */
static bool queue_compressed(wf_session *s, unsigned op, const void *data, size_t n)
{
    wf_packed packed = wf_deflate_message(s->deflate, &s->env->deflate, data, n);
    if (!packed.data)
        return false;
    if (packed.len >= n && n > 0 && !s->deflate->deflater_stays)
        return queue_frame(s, op, data, n);
    if (queue_frame(s, WF_FRAME_RSV1 | op, packed.data, packed.len))
        return true;
    wf_deflate_forget(s->deflate);
    return false;
}

enum wf_error wf_session_send(wf_session *s, unsigned op, const void *data, size_t n)
{
    if (s->state != WF_SESSION_OPEN)
        return WF_CLOSED;
    if (wf_session_is_open(s) && !(op & 8)) /* RFC 6455 5.4: only control frames may */
        return WF_BUSY;
    bool ok = wf_session_compresses(s, op, n) ? queue_compressed(s, op & 15, data, n)
                                              : queue_frame(s, op & 15, data, n);
    return ok ? WF_OK : WF_NOMEM;
}

size_t wf_session_head(unsigned op, size_t n, uint8_t head[WF_FRAME_HEAD_MAX])
{
    return wf_frame_write(head, WF_FRAME_FIN | op, n, false);
}

/* A reason longer than a close frame holds is cut between characters. */
static size_t cut_reason(const char *reason, size_t n)
{
    if (n <= WF_REASON_MAX)
        return n;
    n = WF_REASON_MAX;
    while (n > 0 && ((uint8_t)reason[n] & 0xc0) == 0x80)
        n--;
    return n;
}

enum wf_error wf_session_close(wf_session *s, unsigned code, const char *reason, size_t n)
{
    if (s->state != WF_SESSION_OPEN)
        return WF_OK;
    uint8_t body[WF_CONTROL_MAX] = { (uint8_t)(code >> 8), (uint8_t)code };
    size_t len = 0;
    if (code != 0) {
        n = cut_reason(reason, n);
        if (n > 0)
            memcpy(body + 2, reason, n);
        len = 2 + n;
    }
    s->state = WF_SESSION_CLOSE_SENT;
    s->sent = (uint16_t)(code ? code : WF_CLOSE_NO_STATUS);
    return queue_frame(s, WF_OP_CLOSE, body, len) ? WF_OK : WF_NOMEM;
}

void wf_session_fail(wf_session *s, unsigned code, const char *why)
{
    if (s->state == WF_SESSION_DONE)
        return;
    wf_session_close(s, code, why, strlen(why));
    s->state = WF_SESSION_DONE;
    s->code = (uint16_t)code;
    s->fail = why;
    s->control_len = 0;
}

/* -- input ----------------------------------------------------------------- */

/* Judges what a valid header means here and now (RFC 6455 5.4); NULL: allowed. */
static const char *judge_order(wf_session *s, uint8_t b0)
{
    unsigned op = b0 & 15;
    if (s->deflate && op == WF_OP_CONTINUATION && (b0 & WF_FRAME_RSV1)) /* RFC 7692 6.1 */
        return "a continuation frame has the bit of compression";
    if (op == WF_OP_CONTINUATION && !s->kind)
        return "a continuation frame with nothing to continue";
    if ((op == WF_OP_TEXT || op == WF_OP_BINARY) && s->kind)
        return "a new message inside a fragmented one";
    return NULL;
}

static bool fail(wf_session *s, unsigned code, const char *why)
{
    wf_session_fail(s, code, why);
    return false;
}

bool wf_session_exceeds(wf_session *s, unsigned limit)
{
    static const char *const why[] = { NULL, "message over max_message",
                                       "fragments over max_fragments",
                                       "empty fragments over max_empty_fragments" };
    if (s->take != WF_TAKE_WAIT || s->dropping)
        return fail(s, WF_CLOSE_TOO_BIG, why[limit]);
    s->held = (uint8_t)limit;
    return true;
}

/* As soon as the length is known: before anything is allocated for it. */
static bool judge_size(wf_session *s, const wf_frame *f)
{
    if (f->b0 & 8)
        return true;
    s->held = WF_HELD_NOT;
    if ((f->b0 & 15) ? f->b0 & WF_FRAME_RSV1 : s->compressed)
        return wf_session_judge_packed(s, f);
    uint64_t had = s->msg.len + (s->piecewise && s->pieces ? s->pieces->taken : 0);
    if (f->length > ANY_LENGTH || had + f->length > wf_session_most(s))
        return wf_session_exceeds(s, WF_HELD_SIZE);
    if (had + f->length > s->limits->max_message)
        wf_session_note_excess(s, WF_HELD_SIZE);
    return true;
}

/* What is not kept may have any number of frames, but each has to bring something. */
static bool judge_count(wf_session *s, const wf_frame *f)
{
    bool piecemeal = wf_session_piecemeal(s), nothing = f->length == 0;
    if (piecemeal && !nothing)
        s->empty = 0;
    if (s->fragments < UINT32_MAX)
        s->fragments++;
    if (s->fragments > s->limits->max_fragments) {
        if (!piecemeal)
            return wf_session_exceeds(s, WF_HELD_FRAGMENTS);
        wf_session_note_excess(s, WF_HELD_FRAGMENTS);
    }
    if (nothing && !(f->b0 & WF_FRAME_FIN) && ++s->empty > s->limits->max_empty)
        return wf_session_exceeds(s, WF_HELD_EMPTY);
    return true;
}

/* end: behind the header, of which the key is the last part (RFC 6455 5.2). */
static bool begin_frame(wf_session *s, const wf_frame *f, const uint8_t *end)
{
    s->in_frame = true;
    s->b0 = f->b0;
    s->left = f->length;
    s->phase = 0;
    s->header_len = 0;
    if (!s->client)
        memcpy(s->key, end - 4, 4);
    if (f->b0 & 8)
        return true;
    if (f->b0 & 15) {
        s->kind = f->b0 & 15;
        s->compressed = f->b0 & WF_FRAME_RSV1;
        s->utf8 = WF_UTF8_START;
        s->fragments = s->empty = 0;
    }
    return judge_count(s, f);
}

/* Judges a header as far as it has come; returns its length when complete. */
static size_t judge_header(wf_session *s, wf_frame *f, const uint8_t *h, size_t n)
{
    size_t len = wf_frame_read(f, h, n, !s->client, s->deflate ? WF_FRAME_RSV1 : 0);
    /* shows in the first byte: goes before what later ones show, however it is cut */
    const char *why = judge_order(s, f->b0);
    if (why)
        f->fail = why;
    if (f->fail)
        fail(s, WF_CLOSE_PROTOCOL, f->fail);
    else if (f->has_length)
        judge_size(s, f);
    return s->state == WF_SESSION_DONE ? 0 : len;
}

/* True when a whole header was taken; false: more is needed, or it failed. */
static bool take_header(wf_session *s, uint8_t **p, size_t *n)
{
    wf_frame f;
    uint8_t *h = *p;
    size_t avail = *n, had = s->header_len;
    if (had > 0) { /* the rest of one that was cut */
        size_t k = WF_MIN(avail, sizeof s->header - had);
        if (k > 0)
            memcpy(s->header + had, *p, k);
        h = s->header;
        avail = had + k;
    }
    size_t len = judge_header(s, &f, h, avail);
    if (len > 0) {
        *p += len - had;
        *n -= len - had;
        return begin_frame(s, &f, h + len);
    }
    if (had == 0)
        memcpy(s->header, h, WF_MIN(avail, sizeof s->header));
    s->header_len = (uint8_t)avail;
    if (*n > 0) /* else there may be no input at all */
        *p += *n;
    *n = 0;
    return false;
}

/* A first-level cache's worth at a time. */
bool wf_session_take_payload(wf_session *s, uint8_t *p, size_t k)
{
    s->left -= k;
    while (k > 0) {
        size_t n = WF_MIN(k, CACHED);
        bool ascii = !s->client && wf_mask(p, n, s->key, (size_t)s->phase);
        bool fine = ascii && s->utf8 == WF_UTF8_START;
        if (s->kind == WF_OP_TEXT && !fine && !wf_utf8_feed(&s->utf8, p, n))
            return fail(s, WF_CLOSE_INVALID_DATA, "text is not UTF-8"); /* RFC 6455 8.1 */
        s->phase += n;
        p += n;
        k -= n;
    }
    return true;
}

static bool grow(wf_session *s, size_t want)
{
    if (!s->msg.data && want >= WF_SPARE_MIN)
        wf_spares_take(&s->env->spares, &s->msg);
    /* a last frame says where the message ends; else double what arrived */
    size_t end = (size_t)(s->msg.len + s->left);
    size_t limit = s->b0 & WF_FRAME_FIN ? end : s->limits->max_message;
    return wf_buffer_reserve(&s->msg, WF_MIN(want, end - s->msg.len), limit);
}

static bool store_payload(wf_session *s, const uint8_t *p, size_t k)
{
    if (k == 0)
        return true;
    if (s->msg.cap - s->msg.len < k) {
        s->left += k; /* counted already; what may come includes these */
        bool ok = grow(s, k);
        s->left -= k;
        if (!ok)
            return fail(s, WF_CLOSE_INTERNAL, "out of memory");
    }
    memcpy(s->msg.data + s->msg.len, p, k);
    s->msg.len += k;
    return true;
}

/* The frame's payload is complete. */
wf_event wf_session_end_data(wf_session *s, wf_message *m)
{
    s->in_frame = false;
    if (!(s->b0 & WF_FRAME_FIN))
        return WF_EVENT_NONE;
    if (s->utf8 != WF_UTF8_START) {
        fail(s, WF_CLOSE_INVALID_DATA, "text ends inside a character");
        return WF_EVENT_CLOSE;
    }
    m->kind = s->kind;
    m->more = false;
    s->kind = 0;
    s->piecewise = s->dropping = false;
    return WF_EVENT_MESSAGE;
}

static wf_event take_data(wf_session *s, uint8_t **p, size_t *n, wf_message *m)
{
    uint8_t *at = *p;
    size_t k = (size_t)WF_MIN(s->left, *n);
    *p += k;
    *n -= k;
    if (!wf_session_take_payload(s, at, k))
        return WF_EVENT_CLOSE;
    bool last = s->left == 0 && (s->b0 & WF_FRAME_FIN);
    bool whole = last && s->msg.len == 0 && s->phase == k;
    if (!whole && !store_payload(s, at, k))
        return WF_EVENT_CLOSE;
    if (s->left > 0)
        return WF_EVENT_NONE;
    wf_event event = wf_session_end_data(s, m);
    if (event == WF_EVENT_MESSAGE) {
        m->data = whole ? at : s->msg.data;
        m->len = whole ? k : s->msg.len;
        s->delivered = !whole;
    }
    return event;
}

/* More bytes of a control payload, WF_CONTROL_MAX in all. False: no memory. */
static bool keep_control(wf_session *s, const uint8_t *p, size_t n)
{
    if (!s->control && !(s->control = malloc(WF_CONTROL_MAX)))
        return false;
    memmove(s->control + s->control_len, p, n);
    s->control_len = (uint8_t)(s->control_len + n);
    return true;
}

/* RFC 6455 5.5.1, 7.1.5, 7.1.6: judge the peer's close, and echo it. */
static void take_close(wf_session *s, const uint8_t *body, size_t n)
{
    unsigned code = n >= 2 ? (unsigned)(body[0] << 8 | body[1]) : WF_CLOSE_NO_STATUS;
    if (n == 1 || (n >= 2 && !wf_close_code_valid(code))) {
        const char *why = n == 1 ? "a close body of one byte" : "invalid close code";
        fail(s, WF_CLOSE_PROTOCOL, why);
        return;
    }
    if (n > 2 && !wf_utf8_valid(body + 2, n - 2)) {
        fail(s, WF_CLOSE_INVALID_DATA, "a close reason is not UTF-8");
        return;
    }
    wf_session_close(s, n >= 2 ? code : 0, NULL, 0);
    s->state = WF_SESSION_DONE;
    s->code = (uint16_t)code;
    s->control_len = 0; /* the body may be what was kept */
    if (n > 2)
        keep_control(s, body + 2, n - 2); /* without memory: no reason to tell */
}

static void answer_ping(wf_session *s, const uint8_t *body, size_t n)
{
    if (s->out->bytes < PONG_BACKLOG)
        s->pongs = 0;
    if (s->state == WF_SESSION_OPEN && s->pongs < PONG_BACKLOG &&
        queue_frame(s, WF_OP_PONG, body, n))
        s->pongs += (uint32_t)n + WF_FRAME_HEAD_MAX;
}

static wf_event end_control(wf_session *s, uint8_t *body, size_t n, wf_message *m)
{
    s->in_frame = false;
    *m = (wf_message){ body, n, 0, false };
    switch (s->b0 & 15) {
    case WF_OP_CLOSE:
        take_close(s, body, n);
        return WF_EVENT_CLOSE;
    case WF_OP_PING:
        answer_ping(s, body, n);
        s->control_len = 0;
        return WF_EVENT_PING;
    default:
        s->control_len = 0;
        return WF_EVENT_PONG;
    }
}

static wf_event take_control(wf_session *s, uint8_t **p, size_t *n, wf_message *m)
{
    uint8_t *at = *p;
    size_t k = (size_t)WF_MIN(s->left, *n);
    *p += k;
    *n -= k;
    if (!s->client)
        wf_mask(at, k, s->key, (size_t)s->phase);
    s->phase += k;
    s->left -= k;
    if (s->left == 0 && s->control_len == 0)
        return end_control(s, at, k, m);
    if (!keep_control(s, at, k)) {
        fail(s, WF_CLOSE_INTERNAL, "out of memory");
        return WF_EVENT_CLOSE;
    }
    if (s->left > 0)
        return WF_EVENT_NONE;
    return end_control(s, s->control, s->control_len, m);
}

/* Most frames are whole, small messages: read those without the state that cut ones
 * need. False: not such a one, and nothing has changed. */
static bool take_small(wf_session *s, uint8_t **p, size_t *n, wf_message *m)
{
    uint8_t *h = *p;
    if (s->client || *n < 6 || s->in_frame || s->header_len > 0 || s->kind ||
        s->take > WF_TAKE_WAIT ||
        (h[0] != (WF_FRAME_FIN | WF_OP_TEXT) && h[0] != (WF_FRAME_FIN | WF_OP_BINARY)))
        return false;
    size_t len = h[1] ^ WF_FRAME_MASKED; /* over 125: unmasked, or a longer form */
    if (len > WF_CONTROL_MAX || *n < 6 + len || len > s->limits->max_message)
        return false;
    bool ascii = wf_mask(h + 6, len, h + 2, 0);
    if (!ascii && h[0] == (WF_FRAME_FIN | WF_OP_TEXT) && !wf_utf8_valid(h + 6, len)) {
        wf_mask(h + 6, len, h + 2, 0); /* the other way reports it */
        return false;
    }
    *m = (wf_message){ h + 6, len, h[0] & 15, false };
    *p += 6 + len;
    *n -= 6 + len;
    return true;
}

static void forget_delivered(wf_session *s)
{
    s->delivered = false;
    s->msg.len = 0;
    wf_spares_give(&s->env->spares, &s->msg);
}

/* The next bytes are of the frame that was begun. */
static wf_event take_frame(wf_session *s, uint8_t **p, size_t *n, wf_message *m)
{
    if (s->b0 & 8)
        return take_control(s, p, n, m);
    if (WF_UNLIKELY(s->take != WF_TAKE_WHOLE || s->piecewise || s->held)) {
        wf_event event = wf_session_steer(s, m);
        if (event != WF_EVENT_NONE)
            return event;
    }
    return s->compressed  ? wf_session_take_packed(s, p, n, m)
           : s->piecewise ? wf_session_take_piece(s, p, n, m)
                          : take_data(s, p, n, m);
}

/* Without more input: is there something to be done? What is held is judged as soon as it
 * is known how it is taken. */
static bool is_due(const wf_session *s)
{
    if (s->in_frame && (s->left == 0 || s->more))
        return true;
    return s->held && (s->take <= WF_TAKE_WAIT ||
                       (s->in_frame ? wf_session_outgrows(s) : s->header_len > 0));
}

wf_event wf_session_next(wf_session *s, uint8_t **p, size_t *n, wf_message *m)
{
    if (s->delivered)
        forget_delivered(s);
    if (s->state != WF_SESSION_DONE && take_small(s, p, n, m))
        return WF_EVENT_MESSAGE;
    while (s->state != WF_SESSION_DONE && (*n > 0 || is_due(s))) {
        if (!s->in_frame && !take_header(s, p, n)) {
            bool waits = s->held && s->take == WF_TAKE_WAIT; /* and its header is cut */
            if (waits && s->state != WF_SESSION_DONE)
                return WF_EVENT_HELD;
            break;
        }
        if (*n == 0 && !is_due(s))
            return WF_EVENT_NONE;
        wf_event event = take_frame(s, p, n, m);
        if (event != WF_EVENT_NONE)
            return event;
    }
    /* RFC 6455 7.1.7: what follows a failure or a close is not looked at */
    return s->fail && s->state == WF_SESSION_DONE ? WF_EVENT_CLOSE : WF_EVENT_NONE;
}

size_t wf_session_window(wf_session *s, uint8_t **p)
{
    if (s->state == WF_SESSION_DONE || !s->in_frame || (s->b0 & 8) || s->compressed ||
        s->left < WINDOW_MIN || s->delivered || s->held || wf_session_piecemeal(s))
        return 0;
    if (s->msg.len == s->msg.cap && !grow(s, FIRST_ROOM))
        return 0;
    *p = s->msg.data + s->msg.len;
    return (size_t)WF_MIN(s->left, s->msg.cap - s->msg.len);
}

void wf_session_filled(wf_session *s, size_t n)
{
    if (wf_session_take_payload(s, s->msg.data + s->msg.len, n))
        s->msg.len += n;
}
