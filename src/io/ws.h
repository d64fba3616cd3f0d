/*
 * ws: a WebSocket connection: a session on a stream, with inbox, heartbeat and
 * the ways to end. Receiving is pulled (wf_ws_take), by the task that reads.
 */
#ifndef WF_IO_WS_H
#define WF_IO_WS_H

#include "io/rate.h"
#include "io/stream.h"

WF_HIDDEN_BEGIN

/* One per route or call, shared by its connections. Seconds and bytes. */
typedef struct wf_ws_options {
    uint32_t refs;
    wf_session_limits limits;
    wf_deflate_options deflate;
    double ping_interval; /* 0: no heartbeat */
    double ping_timeout;  /* 0: an answer is not demanded */
    double close_timeout;
    double idle_timeout; /* without a message either way; 0: it may last */
    double send_timeout; /* of a send that waits for a slow peer */
    size_t high, low;    /* output marks of send */
    size_t hard;         /* a broadcast beyond it ends the slow connection */
    size_t inbox_bytes;
    uint32_t inbox_messages;
    wf_rate_options rate;
} wf_ws_options;

void wf_ws_options_unref(wf_ws_options *options);

struct wf_hub;
struct wf_subscription;

typedef struct wf_inbox_message {
    struct wf_inbox_message *next;
    size_t len;
    uint8_t kind;
    bool more;    /* as of wf_message */
    uint8_t take; /* wf_take: a piece is PIECES' */
    uint8_t data[];
} wf_inbox_message;

/* What came before anybody asked; exists only while it holds something. */
typedef struct wf_inbox {
    wf_inbox_message *first, **end;
    size_t bytes;
    uint32_t messages;
} wf_inbox;

typedef struct wf_ws {
    wf_object object;
    wf_stream *stream; /* NULL: gone */
    wf_ws_options *options;
    wf_session session;
    wf_inbox *inbox; /* NULL: empty */
    wf_rate *rate;   /* NULL: no limit */
    wf_waiter *reader, *pinger;
    wf_waiter *closer; /* while it is in a hub: waits for leaving it */
    /* heartbeat */
    double received;  /* when bytes last came */
    double ping_sent; /* the last ping, for its latency; 0: it was answered */
    double beat;      /* when the heartbeat last sent one */
    union {
        double silent; /* the first beat since bytes last came */
        size_t unsent; /* once it closes: what was queued when last looked at */
    };
    double moved;  /* when the last message came or went */
    float latency; /* of the last answered ping; negative: none yet */
    uint32_t ping_id;
    bool paused;    /* reading stopped: the inbox is full, or nobody takes what came */
    bool held;      /* of that, data that will be taken as it is asked for */
    bool in_pieces; /* whoever waits in reader */
    /* the end */
    bool ended;    /* nothing more will be received, nothing can be sent */
    bool clean;    /* both sides sent their close */
    bool late;     /* a timeout of ours ended it */
    uint16_t code; /* as closed() tells */
    /* broadcast */
    struct wf_hub *hub;
    struct wf_subscription *subscriptions;
    struct wf_pending *pending; /* of these: messages that wait for room */
    uint64_t published; /* the last publication it got that several topics match */
    uint32_t topics;    /* subscriptions */
    bool dismissed;     /* its hub has closed it */
} wf_ws;

/* Takes the stream over, with what it has received already. Takes a reference to
 * the options. NULL: no memory; the stream is then untouched. */
wf_ws *wf_ws_new(wf_stream *stream, bool client, wf_ws_options *options,
                 struct wf_hub *hub);
/* Before anything else: permessage-deflate was agreed on. False: no memory. */
bool wf_ws_compress(wf_ws *ws, const wf_extension *agreed);
/* Looks at bytes that came with the handshake; call once the caller is ready. */
void wf_ws_begin(wf_ws *ws);

/*
 * The next message if there is one now (its bytes are good until the next call):
 * WF_OK. WF_BUSY: none yet, wait in ws->reader. WF_CLOSED: none will come. take:
 * WF_TAKE_WHOLE, or for the next piece WF_TAKE_PIECES.
 */
enum wf_error wf_ws_take(wf_ws *ws, wf_message *m, wf_take take);
/* Frees the message that wf_ws_take handed out, if it was in the inbox. */
void wf_ws_received(wf_ws *ws, const wf_message *m);

/* Nothing is sent any more: it has ended, or will when what the peer said is read. */
static inline bool wf_ws_is_mute(const wf_ws *ws)
{
    return ws->ended || !ws->stream || ws->stream->mute;
}
/* Output is over the high mark: wait in ws->stream->writer before sending. Of a
 * connection that closes there is nothing to wait for. */
static inline bool wf_ws_choked(const wf_ws *ws)
{
    return ws->stream && ws->stream->out.bytes > ws->options->high &&
           ws->session.state == WF_SESSION_OPEN;
}
/* Queues a message (a text that is UTF-8, or anything as binary), with its opcode and
 * perhaps WF_SEND_PLAIN or WF_SEND_COMPRESSED: WF_CLOSED,
 * WF_NOMEM. */
enum wf_error wf_ws_send(wf_ws *ws, unsigned op, const void *data, size_t n);
/* The same, behind the message that is open, if one is (ws_pieces.c). */
enum wf_error wf_ws_queue(wf_ws *ws, unsigned op, const void *data, size_t n);
/* What is that big goes to the kernel without being copied first, if it can now. */
bool wf_ws_writes_directly(const wf_ws *ws, size_t n);
/* Sends a ping and notes its id and time. */
enum wf_error wf_ws_ping(wf_ws *ws);
/* A whole frame that others share; the slow connection is ended (1013). One that is
 * compressed refers to nothing but itself. While a message is open it waits. */
bool wf_ws_share(wf_ws *ws, wf_blob *frame, bool compressed);

/*
 * ws_pieces.c: messages in pieces. Of those that come, one reader takes one message: it
 * claims the connection under a number of its own, and leaves it when it has had the last
 * piece, or wants no more: the rest is dropped then; begun: it has had some. WF_BUSY,
 * WF_NOMEM.
 */
enum wf_error wf_ws_claim(wf_ws *ws, uint32_t reader, uint64_t max);
void wf_ws_leave(wf_ws *ws, uint32_t reader, bool begun);
/* Somebody takes a message in pieces. */
static inline bool wf_ws_claimed(const wf_ws *ws)
{
    return WF_UNLIKELY(ws->session.pieces != NULL) && ws->session.pieces->reader;
}
/* The next piece, to who has claimed it: as wf_ws_take. */
enum wf_error wf_ws_take_piece(wf_ws *ws, wf_message *m);

/* Bytes of one frame at most, so that pings and closes need not wait for long. */
#define WF_WRITE_BYTES (64u << 10)
/* Opens a message, as wf_session_open. */
enum wf_error wf_ws_open(wf_ws *ws, uint32_t writer, unsigned op);
bool wf_ws_is_open(const wf_ws *ws, uint32_t writer);
/* As wf_session_write. */
enum wf_error wf_ws_write(wf_ws *ws, const void *data, size_t n, bool last);
/* The message will never be whole: nothing happened if no part of it was sent; else the
 * connection is closed with 1011, as there is no other way to tell the peer. */
void wf_ws_give_up(wf_ws *ws);

/* For ws.c: its driver's calls, and the reason of a connection that was idle. */
void wf_ws_timer(wf_stream *s);
void wf_ws_drained(wf_stream *s);
extern const char wf_ws_too_idle[];

/* For ws_pieces.c: drops the first message of the inbox. */
void wf_ws_inbox_drop(wf_ws *ws);
/* Ends it with that code; why lasts. */
void wf_ws_fail(wf_ws *ws, unsigned code, const char *why);

/* Starts the close handshake; ws->closer is woken when it has ended. */
void wf_ws_close(wf_ws *ws, unsigned code, const char *reason, size_t n);
/* The reason that closed() tells; *n its length. */
const char *wf_ws_reason(const wf_ws *ws, size_t *n);

extern const wf_class wf_ws_class;

WF_HIDDEN_END

#endif
