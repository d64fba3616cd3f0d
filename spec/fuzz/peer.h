/*
 * peer: what a peer sends, as the fuzzer says: bytes as they are, or frames built from
 * a program of few bytes; and the slow model of what they mean (RFC 6455 5 to 8), which
 * shares no code with weft.
 */
#ifndef WF_SPEC_PEER_H
#define WF_SPEC_PEER_H

#include <zlib.h>

#include "fuzz.h"

#include "core/extension.h"
#include "rig.h"

#define PEER_BYTES ((size_t)96 << 10) /* that a program may send, about */

/* -- what it sends ---------------------------------------------------------------- */

enum { PEER_PACKED = 119, PEER_LONG, PEER_RAW, PEER_ANNOUNCE, PEER_FLOOD };

/* The peer's compressor. */
typedef struct peer_packer {
    z_stream z;
    bool no_takeover;
} peer_packer;

static FUZZ_UNUSED void peer_pack_init(peer_packer *packer, const wf_extension *agreed,
                                       bool client)
{
    uint8_t bits = client ? agreed->server_window : agreed->client_window;
    *packer = (peer_packer){ .no_takeover = client ? agreed->server_no_takeover
                                                   : agreed->client_no_takeover };
    MUST(deflateInit2(&packer->z, 6, Z_DEFLATED, -(bits ? bits : 15), 8, 0) == Z_OK,
         "no memory");
}

/* RFC 7692 7.2.1 */
static FUZZ_UNUSED bytes peer_pack(peer_packer *packer, const uint8_t *p, size_t n)
{
    bytes packed = { 0 };
    uint8_t *copy = fuzz_copy(p, n), out[1024];
    z_stream *z = &packer->z;
    z->next_in = copy;
    z->avail_in = (uInt)n;
    do {
        z->next_out = out;
        z->avail_out = sizeof out;
        deflate(z, Z_SYNC_FLUSH);
        bytes_add(&packed, out, sizeof out - z->avail_out);
    } while (z->avail_out == 0);
    packed.n -= WF_MIN(packed.n, 4u);
    if (packed.n == 0)
        bytes_add(&packed, "", 1); /* 7.2.3.6 */
    if (packer->no_takeover)
        deflateReset(z);
    fuzz_drop(copy, n);
    return packed;
}

/* A frame's payload; the key of zeros lets the fuzzer see what it does. */
static FUZZ_UNUSED void peer_frame(bytes *w, unsigned b0, const void *p, size_t n,
                                   bool masked, bool zeros)
{
    if (!masked || !zeros) {
        wire_frame(w, b0, p, n, masked);
        return;
    }
    wire_head(w, b0, n, true);
    memset(w->p + w->n - 4, 0, 4);
    bytes_add(w, p, n);
}

/* A message that is compressed when its first frame says so; in two frames, when that
 * is not the last. */
static FUZZ_UNUSED void peer_message(bytes *w, peer_packer *packer, unsigned b0,
                                     const uint8_t *p, size_t n, bool masked, bool zeros)
{
    bool pack = packer && (b0 & 0x40);
    bytes packed = pack ? peer_pack(packer, p, n) : (bytes){ 0 };
    size_t first = (b0 & FIN) ? packed.n : packed.n / 2;
    if (!pack) {
        peer_frame(w, b0, p, n, masked, zeros);
        return;
    }
    peer_frame(w, b0, packed.p, first, masked, zeros);
    if (!(b0 & FIN))
        peer_frame(w, FIN, packed.p + first, packed.n - first, masked, zeros);
    bytes_free(&packed);
}

static FUZZ_UNUSED void peer_long(bytes *w, fuzz *f, peer_packer *packer, unsigned b0,
                                  bool masked, bool zeros)
{
    uint8_t pattern[4];
    size_t n = fuzz_word(f) << (fuzz_byte(f) & 3);
    for (int i = 0; i < 4; i++)
        pattern[i] = fuzz_byte(f);
    n = WF_MIN(n, PEER_BYTES);
    uint8_t *p = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        p[i] = pattern[i % 4];
    peer_message(w, packer, b0, p, n, masked, zeros);
    free(p);
}

/* One step: first byte, length (its top bit: a key that is not zeros), payload. */
static FUZZ_UNUSED void peer_step(bytes *w, fuzz *f, peer_packer *packer, bool masked)
{
    unsigned b0 = fuzz_byte(f), length = fuzz_byte(f);
    bool zeros = length < 128;
    const uint8_t *p;
    size_t n = length & 127;
    switch (n) {
    case PEER_PACKED:
        n = fuzz_bytes(f, fuzz_byte(f), &p);
        peer_message(w, packer, b0, p, n, masked, zeros);
        break;
    case PEER_LONG:
        peer_long(w, f, packer, b0, masked, zeros);
        break;
    case PEER_RAW:
        n = fuzz_bytes(f, b0, &p);
        bytes_add(w, p, n);
        break;
    case PEER_ANNOUNCE:
        wire_head(w, b0, (uint64_t)fuzz_word(f) << (fuzz_byte(f) & 63), masked);
        break;
    case PEER_FLOOD:
        for (size_t k = fuzz_byte(f) + 1u, count = fuzz_byte(f) & 15; k > 0; k--)
            peer_frame(w, b0, "flood flood flood", count, masked, zeros);
        break;
    default:
        n = fuzz_bytes(f, n, &p);
        peer_frame(w, b0, p, n, masked, zeros);
    }
}

/* client: weft is the client, so its peer does not mask. packer: NULL without deflate. */
static FUZZ_UNUSED bytes peer_wire(fuzz *f, bool client, bool raw, peer_packer *packer)
{
    bytes w = { 0 };
    bytes_add(&w, "", 0);
    if (raw) {
        bytes_add(&w, f->p, f->n);
        f->n = 0;
    }
    while (f->n > 0 && w.n < PEER_BYTES)
        peer_step(&w, f, packer, !client);
    return w;
}

/* -- logs ------------------------------------------------------------------------- */

/* A letter, a length, and these bytes: T, B, pIng, pOng, Close (code and reason),
 * Failure (code). */
static FUZZ_UNUSED void log_add(bytes *log, char what, const void *p, size_t n)
{
    uint32_t length = (uint32_t)n;
    bytes_add(log, &what, 1);
    bytes_add(log, &length, sizeof length);
    bytes_add(log, p, n);
}

static FUZZ_UNUSED void log_code(bytes *log, char what, unsigned code, const void *reason,
                                 size_t n)
{
    uint8_t text[256] = { (uint8_t)(code >> 8), (uint8_t)code };
    MUST(n + 2 <= sizeof text, "a reason of %zu bytes", n);
    if (n > 0)
        memcpy(text + 2, reason, n);
    log_add(log, what, text, n + 2);
}

static FUZZ_UNUSED bool log_same(const bytes *a, const bytes *b)
{
    return a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, a->n) == 0);
}

/* -- what it means ------------------------------------------------------------------ */

typedef struct model {
    bytes log;
    bool over;      /* a close or a failure was logged */
    bool undecided; /* ends in an incomplete header: it may have failed already */
    bool client;
    wf_session_limits limits;
    const wf_extension *agreed; /* NULL, or without deflate: no RSV1 */
    z_stream z;
    bool packed; /* the message under way is compressed */
    uint64_t packed_bytes;
    unsigned kind; /* of the message under way */
    bytes message;
    uint64_t fragments, empty;
} model;

static FUZZ_UNUSED void model_fail(model *m, unsigned code)
{
    log_code(&m->log, 'F', code, NULL, 0);
    m->over = true;
}

/* RFC 6455 7.4 and the registry */
static FUZZ_UNUSED bool model_code(unsigned code)
{
    static const uint16_t codes[] = { 1000, 1001, 1002, 1003, 1007, 1008,
                                      1009, 1010, 1011, 1012, 1013, 1014 };
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (codes[i] == code)
            return true;
    return code / 1000 == 3 || code / 1000 == 4;
}

static FUZZ_UNUSED void model_control(model *m, unsigned op, const uint8_t *p, size_t n)
{
    bool whole;
    unsigned code = n >= 2 ? p[0] * 256u + p[1] : 1005;
    if (op != CLOSE) {
        log_add(&m->log, op == PING ? 'I' : 'O', p, n);
    } else if (n == 1 || (n >= 2 && !model_code(code))) {
        model_fail(m, 1002);
    } else if (n > 2 && (slow_utf8(p + 2, n - 2, &whole), !whole)) {
        model_fail(m, 1007);
    } else {
        log_code(&m->log, 'C', code, n > 2 ? p + 2 : NULL, n > 2 ? n - 2 : 0);
        m->over = true;
    }
}

/* RFC 7692 7.2.2; false: no deflate. Up to one byte over max_message. */
static FUZZ_UNUSED bool model_inflate(model *m, const void *p, size_t n)
{
    static uint8_t window[32768];
    z_stream *z = &m->z;
    uint8_t out[512];
    uInt len;
    z->next_in = (Bytef *)(uintptr_t)p;
    z->avail_in = (uInt)n;
    for (;;) {
        size_t room = m->limits.max_message + 1 - m->message.n;
        room = WF_MIN(room, sizeof out);
        z->next_out = out;
        z->avail_out = (uInt)room;
        int r = room ? inflate(z, Z_SYNC_FLUSH) : Z_BUF_ERROR;
        bytes_add(&m->message, out, room - z->avail_out);
        if (r == Z_STREAM_END) { /* 7.2.3.4: and what follows may refer to it */
            inflateGetDictionary(z, window, &len);
            inflateReset(z);
            inflateSetDictionary(z, window, len);
            if (z->avail_in == 0)
                return true;
        } else if (r != Z_OK || (z->avail_in == 0 && z->avail_out > 0)) {
            return r == Z_OK || r == Z_BUF_ERROR;
        }
    }
}

/* What of the payload has come. */
static FUZZ_UNUSED bool model_take(model *m, const uint8_t *p, size_t n, bool end)
{
    if (!m->packed) {
        bytes_add(&m->message, p, n);
        return true;
    }
    bool ended = n == 0 ? m->z.total_in == 0 && m->packed_bytes > 0 : false;
    m->packed_bytes += n;
    if (n > 0) {
        if (!model_inflate(m, p, n))
            return false;
        ended = m->z.total_in == 0; /* just reset, with nothing behind it */
    }
    if (!end || m->message.n > m->limits.max_message)
        return true;
    if (!ended && !model_inflate(m, "\0\0\xff\xff", 4))
        return false;
    ended |= m->z.total_in == 0; /* that was a final block */
    ended |= (m->z.data_type & 128) && (m->z.data_type & 63) == 0;
    if (m->message.n <= m->limits.max_message && !ended)
        return false;
    bool again =
        m->client ? m->agreed->server_no_takeover : m->agreed->client_no_takeover;
    if (again)
        inflateReset(&m->z);
    return true;
}

/* n of the frame's bytes; last: these are all. */
static FUZZ_UNUSED void model_data(model *m, unsigned b0, const uint8_t *p, size_t n,
                                   bool last)
{
    bool whole = true, end = last && (b0 & FIN);
    size_t from = m->message.n; /* where the character under way begins */
    while (from > 0 && (m->message.p[from - 1] & 0xC0) == 0x80)
        from--;
    from -= from > 0 && m->message.p[from - 1] >= 0xC0;
    bool good = model_take(m, p, n, end);
    size_t unsure = m->message.n - from;
    if (m->kind == TEXT && slow_utf8(m->message.p + from, unsure, &whole) < unsure) {
        model_fail(m, 1007);
    } else if (m->message.n > m->limits.max_message) {
        model_fail(m, 1009);
    } else if (!good || (end && !whole)) {
        model_fail(m, 1007);
    } else if (end) {
        log_add(&m->log, m->kind == TEXT ? 'T' : 'B', m->message.p, m->message.n);
        m->kind = 0;
        m->message.n = 0;
    }
}

static FUZZ_UNUSED bool model_breaks(const model *m, const frame *f, const uint8_t *p)
{
    unsigned op = f->b0 & 15, len7 = p[1] & 127;
    bool control = op >= 8;
    bool rsv1 = m->agreed && m->agreed->deflate && (op == TEXT || op == BINARY);
    return (f->b0 & (rsv1 ? 0x30 : 0x70)) || (op > 2 && op < 8) || op > 10 ||
           f->masked == m->client || (control && (!(f->b0 & FIN) || len7 > 125)) ||
           (len7 == 126 && f->length < 126) ||
           (len7 == 127 && (f->length < 65536 || f->length >> 63)) ||
           (op == 0 && !m->kind) || ((op == TEXT || op == BINARY) && m->kind);
}

/* A data frame's size and number against the limits. */
static FUZZ_UNUSED bool model_exceeds(model *m, const frame *f)
{
    size_t most = m->limits.max_message;
    bool first = f->b0 & 15, packed = first ? f->b0 & 0x40 : m->packed;
    uint64_t had = first ? 0 : packed ? m->packed_bytes : m->message.n;
    if (packed) /* what cannot be compressed grows a little */
        most += most / 128 + 1024;
    if (f->length > most || f->length + had > most)
        return true;
    if (first) {
        m->kind = f->b0 & 15;
        m->packed = packed;
        m->packed_bytes = 0;
        m->fragments = m->empty = 0;
    }
    m->empty += f->length == 0 && !(f->b0 & FIN);
    return ++m->fragments > m->limits.max_fragments || m->empty > m->limits.max_empty;
}

/* One frame; returns its length, 0 when there is no whole one. */
static FUZZ_UNUSED size_t model_frame(model *m, const uint8_t *p, size_t n)
{
    frame f = frame_at(p, n);
    if (f.head == 0) {
        m->undecided = n > 0;
        return 0;
    }
    bool control = (f.b0 & 15) >= 8;
    if (model_breaks(m, &f, p)) {
        model_fail(m, 1002);
        return 0;
    }
    if (!control && model_exceeds(m, &f)) {
        model_fail(m, 1009);
        return 0;
    }
    size_t come = (size_t)WF_MIN(f.length, n - f.head);
    bool last = come == f.length;
    bytes payload = { 0 };
    bytes_add(&payload, p + f.head, come);
    for (size_t i = 0; f.masked && i < come; i++)
        payload.p[i] ^= f.key[i % 4];
    if (!control)
        model_data(m, f.b0, payload.p, come, last);
    else if (last)
        model_control(m, f.b0 & 15, payload.p, come);
    bytes_free(&payload);
    return last ? f.head + come : 0;
}

/* agreed: NULL without deflate. */
static FUZZ_UNUSED model model_run(const bytes *wire, bool client,
                                   const wf_session_limits *limits,
                                   const wf_extension *agreed)
{
    model m = { .client = client, .limits = *limits, .agreed = agreed };
    if (agreed && agreed->deflate)
        MUST(inflateInit2(&m.z, -15) == Z_OK, "no memory");
    bytes_add(&m.log, "", 0);
    bytes_add(&m.message, "", 0);
    for (size_t at = 0, k; !m.over && at < wire->n; at += k)
        if ((k = model_frame(&m, wire->p + at, wire->n - at)) == 0)
            break;
    bytes_free(&m.message);
    if (agreed && agreed->deflate)
        inflateEnd(&m.z);
    return m;
}

/* Is it what the model says? Behind an incomplete header it may be a failure more. */
static FUZZ_UNUSED bool model_agrees(const model *m, const bytes *log)
{
    if (log_same(&m->log, log))
        return true;
    bytes prefix = { log->p, m->log.n, 0 };
    return m->undecided && log->n == m->log.n + 7 && log_same(&m->log, &prefix) &&
           log->p[m->log.n] == 'F';
}

#endif
