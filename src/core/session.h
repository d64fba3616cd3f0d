/*
 * session: one WebSocket connection after its handshake, without I/O: bytes in,
 * events and queued bytes out (RFC 6455 5 to 8). No descriptor, no clock.
 *
 * Input is pulled: wf_session_next() takes what it needs from the caller's bytes
 * (which it unmasks in place) and stops after each event, so the caller decides
 * when to go on. Pings are answered and closes echoed into the output queue. A message
 * can also be taken, and be sent, piece by piece: then no part of it is kept.
 */
#ifndef WF_CORE_SESSION_H
#define WF_CORE_SESSION_H

#include "buffer.h"
#include "deflate.h"
#include "frame.h"
#include "outq.h"
#include "utf8.h"

/* What close() means when no code was on the wire (RFC 6455 7.4.1). */
#define WF_CLOSE_NORMAL 1000
#define WF_CLOSE_GOING_AWAY 1001
#define WF_CLOSE_PROTOCOL 1002
#define WF_CLOSE_NO_STATUS 1005
#define WF_CLOSE_ABNORMAL 1006
#define WF_CLOSE_INVALID_DATA 1007
#define WF_CLOSE_POLICY 1008
#define WF_CLOSE_TOO_BIG 1009
#define WF_CLOSE_INTERNAL 1011
#define WF_CLOSE_TRY_LATER 1013
#define WF_REASON_MAX 123

WF_HIDDEN_BEGIN

typedef struct wf_session_limits {
    size_t max_message;     /* bytes, also of one frame */
    uint32_t max_fragments; /* of one message */
    uint32_t max_empty;     /* of these, empty ones */
} wf_session_limits;

/* What the sessions of one loop share. */
typedef struct wf_session_env {
    wf_outpool pool;
    wf_spares spares;
    wf_deflate_env deflate;
    wf_random_fn random;
    uint8_t random_bytes[1024]; /* masking keys in stock: one system call for many */
    size_t random_left;
} wf_session_env;

typedef enum wf_session_state {
    WF_SESSION_OPEN,
    WF_SESSION_CLOSE_SENT, /* ours is queued; the peer's is awaited */
    WF_SESSION_DONE,       /* both, or a failure: input is ignored, nothing may be sent */
} wf_session_state;

/* What becomes of data: the caller sets wf_session.take before it asks for more. */
typedef enum wf_take {
    WF_TAKE_WHOLE,   /* messages; one that exceeds a limit fails the connection, and what
                        is left of one that was begun in pieces is dropped */
    WF_TAKE_WAIT,    /* the same, but nobody has asked yet: one that exceeds a limit, or
                        was begun in pieces, waits for how it will be asked for */
    WF_TAKE_PIECES,  /* as they come; wf_session_want_pieces first */
    WF_TAKE_NOTHING, /* dropped */
} wf_take;

/* Exists once a message was taken or sent in pieces. */
typedef struct wf_pieces {
    /* in */
    uint64_t max;     /* bytes of a message that is taken in pieces */
    uint64_t taken;   /* of the one under way, without what is in msg */
    uint8_t carry[4]; /* the beginning of a character that the next piece goes on with */
    uint8_t carried;
    /* out */
    uint8_t op;         /* of the open message, and WF_SEND_PLAIN; 0: none */
    bool begun, packed; /* its first frame was queued; it is compressed */
    bool later_packed;  /* among `later` */
    wf_utf8_state utf8;
    uint32_t reader; /* for the caller: who takes and who sends them */
    uint32_t writer;
    wf_outq later; /* for the caller: what has to wait for the open message's end */
} wf_pieces;

typedef struct wf_session {
    wf_session_env *env;
    wf_outq *out;
    wf_deflate *deflate; /* permessage-deflate; NULL: was not agreed on */
    const wf_session_limits *limits;
    bool client;
    bool in_frame;  /* a header was read, its payload is under way */
    bool delivered; /* the last event's bytes are in msg: free them next */
    uint8_t state;  /* wf_session_state */
    uint8_t kind;   /* of the message under way: WF_OP_TEXT, WF_OP_BINARY, 0 none */
    wf_utf8_state utf8;
    uint8_t b0, key[4], header_len;
    uint8_t header[WF_FRAME_HEAD_MAX]; /* an incomplete one */
    uint8_t take;                      /* wf_take */
    uint8_t held;        /* the limit that it exceeds while it waits, or 0 */
    bool compressed : 1; /* the message under way is */
    bool piecewise : 1;  /* ... goes out in pieces, */
    bool dropping : 1;   /* ... or nowhere */
    bool deaf : 1;       /* data was dropped by WF_TAKE_NOTHING: a reader would miss it */
    bool more : 1;       /* the inflater may have more of what it was fed */
    uint8_t control_len;
    uint16_t bare;  /* so many of the next bytes were unmasked already */
    uint64_t left;  /* payload bytes of the frame still to come */
    uint64_t phase; /* payload bytes that came */
    uint32_t fragments, empty;
    uint32_t pongs;   /* bytes of answers since the output was last short */
    uint16_t code;    /* of the peer's close, or of the failure; 0 while open */
    uint16_t sent;    /* the close code we sent; 0: none */
    wf_buffer msg;    /* a message that did not arrive in one piece */
    uint8_t *control; /* a control payload that did not; also the close reason. Or NULL */
    const char *fail; /* why the session failed, or NULL */
    wf_pieces *pieces; /* NULL: not needed so far */
} wf_session;

typedef struct wf_message {
    const uint8_t *data; /* until the session's next call */
    size_t len;
    uint8_t kind; /* WF_OP_TEXT or WF_OP_BINARY */
    bool more;    /* a piece, and not the last */
} wf_message;

typedef enum wf_event {
    WF_EVENT_NONE,    /* all input is used: more is needed */
    WF_EVENT_MESSAGE, /* *m */
    WF_EVENT_PING,    /* already answered; *m has its payload */
    WF_EVENT_PONG,    /* *m has its payload */
    WF_EVENT_CLOSE,   /* state is DONE; code, control (the reason) and fail tell */
    WF_EVENT_PIECE,   /* *m: whole characters of a text; never empty, but for the last */
    WF_EVENT_HELD,    /* data is next that WF_TAKE_WAIT leaves where it is */
} wf_event;

/* The limits are not copied: they last as long as the session. */
void wf_session_init(wf_session *s, wf_session_env *env, wf_outq *out, bool client,
                     const wf_session_limits *limits);
void wf_session_free(wf_session *s);
/* Before any input: messages may be compressed, which becomes the session's. */
void wf_session_compress(wf_session *s, wf_deflate *deflate);

/* Advances *p and *n past what it used. */
wf_event wf_session_next(wf_session *s, uint8_t **p, size_t *n, wf_message *m);

/* Before WF_TAKE_PIECES: messages of at most max bytes. False: no memory. */
bool wf_session_want_pieces(wf_session *s, uint64_t max);
/* What is left of a message that was begun in pieces goes nowhere; one of which nothing
 * was handed out is taken as it is asked for next. */
void wf_session_drop_rest(wf_session *s);

/* Where the next payload bytes of a big message could be received directly:
 * returns how many, 0 when there is no such message or no memory. */
size_t wf_session_window(wf_session *s, uint8_t **p);
/* n bytes were received there. Call wf_session_next afterwards. */
void wf_session_filled(wf_session *s, size_t n);

/* Beside the opcode of a message: never compressed, or also below the threshold. */
enum { WF_SEND_PLAIN = 0x10, WF_SEND_COMPRESSED = 0x20 };
/* Would that message be compressed? */
static inline bool wf_session_compresses(const wf_session *s, unsigned op, size_t n)
{
    return WF_UNLIKELY(s->deflate != NULL) && !(op & (WF_SEND_PLAIN | 8)) &&
           n <= INT32_MAX &&
           (n >= s->deflate->options->threshold || (op & WF_SEND_COMPRESSED));
}

/* Queue a message, or a ping or pong (at most 125 bytes). WF_CLOSED after a close
 * was sent, WF_BUSY while a message is open, WF_NOMEM; nothing is queued then. That a
 * text is UTF-8 is the caller's business, who may know it already. */
enum wf_error wf_session_send(wf_session *s, unsigned op, const void *data, size_t n);
/* Only the header of a server's message: its n bytes must follow at once. */
size_t wf_session_head(unsigned op, size_t n, uint8_t head[WF_FRAME_HEAD_MAX]);

/*
 * A message in pieces, each of which is a frame (RFC 6455 5.4). Opens one, of that kind
 * and perhaps WF_SEND_PLAIN: WF_CLOSED, WF_BUSY (one is open), WF_NOMEM.
 */
enum wf_error wf_session_open(wf_session *s, unsigned op);
static inline bool wf_session_is_open(const wf_session *s)
{
    return WF_UNLIKELY(s->pieces != NULL) && s->pieces->op;
}
/* Queues the next bytes; the last ones end it. Nothing is queued with WF_CLOSED, WF_NOMEM
 * or WF_UTF8: a text that goes wrong, or that would end inside of a character. */
enum wf_error wf_session_write(wf_session *s, const void *data, size_t n, bool last);
/* The same, of a server's message that is not compressed: only the header, which the n
 * bytes must follow at once. */
enum wf_error wf_session_write_head(wf_session *s, const void *data, size_t n, bool last,
                                    uint8_t head[WF_FRAME_HEAD_MAX], size_t *len);
/* Queues a message behind the open one, in pieces->later, and never compressed: what is
 * still to come of the open one is, and in that order. WF_CLOSED, WF_NOMEM. */
enum wf_error wf_session_send_later(wf_session *s, unsigned op, const void *data,
                                    size_t n);
/* Gives up an open message of which no frame was queued. */
void wf_session_unopen(wf_session *s);

/* Queues a close frame (code 0: an empty one) if none was sent; reason is cut to
 * 123 bytes at a character. */
enum wf_error wf_session_close(wf_session *s, unsigned code, const char *reason,
                               size_t n);
/* Fails the connection (RFC 6455 7.1.7): close frame, then DONE. */
void wf_session_fail(wf_session *s, unsigned code, const char *why);

WF_HIDDEN_END

#endif
