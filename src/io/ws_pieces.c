/* ws_pieces: messages that go through a connection piece by piece: see ws.h. */
#include "io/ws.h"

/* -- in ------------------------------------------------------------------------ */

enum wf_error wf_ws_claim(wf_ws *ws, uint32_t reader, uint64_t max)
{
    wf_pieces *pieces = ws->session.pieces;
    if (ws->reader || (pieces && pieces->reader && pieces->reader != reader))
        return WF_BUSY;
    if (!wf_session_want_pieces(&ws->session, max))
        return WF_NOMEM;
    ws->session.pieces->reader = reader;
    return WF_OK;
}

/* A piece that nobody has fetched from the inbox. */
static bool has_stale_piece(const wf_ws *ws)
{
    return ws->inbox && ws->inbox->first->take == WF_TAKE_PIECES;
}

/* One that came whole, at the last moment, is left for others. */
static void leave_piece(wf_ws *ws, bool begun)
{
    if (begun || ws->inbox->first->more)
        wf_ws_inbox_drop(ws);
    else
        ws->inbox->first->take = WF_TAKE_WHOLE;
}

void wf_ws_leave(wf_ws *ws, uint32_t reader, bool begun)
{
    wf_pieces *pieces = ws->session.pieces;
    if (!pieces || pieces->reader != reader)
        return;
    pieces->reader = 0;
    if (has_stale_piece(ws))
        leave_piece(ws, begun);
    wf_session_drop_rest(&ws->session);
    if (ws->paused && ws->stream)
        wf_loop_ready(&ws->stream->object);
}

/* What came whole, before it was known that it would be taken in pieces. */
static bool is_too_big(const wf_ws *ws, const wf_message *m)
{
    return ws->inbox && ws->inbox->first->data == m->data && !has_stale_piece(ws) &&
           m->len > ws->session.pieces->max;
}

enum wf_error wf_ws_take_piece(wf_ws *ws, wf_message *m)
{
    enum wf_error e = wf_ws_take(ws, m, WF_TAKE_PIECES);
    if (e == WF_OK && is_too_big(ws, m)) {
        wf_ws_inbox_drop(ws);
        wf_ws_fail(ws, WF_CLOSE_TOO_BIG, "message over max_message");
        e = WF_CLOSED;
    }
    if (e == WF_OK && !m->more)
        ws->session.pieces->reader = 0;
    return e;
}

/* -- out ----------------------------------------------------------------------- */

enum wf_error wf_ws_open(wf_ws *ws, uint32_t writer, unsigned op)
{
    if (wf_ws_is_mute(ws))
        return WF_CLOSED;
    if (ws->stream->writer) /* a send waits: what it sends goes first */
        return WF_BUSY;
    enum wf_error e = wf_session_open(&ws->session, op);
    if (e == WF_OK)
        ws->session.pieces->writer = writer;
    return e;
}

bool wf_ws_is_open(const wf_ws *ws, uint32_t writer)
{
    return wf_session_is_open(&ws->session) && ws->session.pieces->writer == writer;
}

/* What was published while the message was open follows it. */
static void send_later(wf_ws *ws)
{
    wf_pieces *pieces = ws->session.pieces;
    if (pieces->later_packed)
        wf_deflate_forget(ws->session.deflate);
    pieces->later_packed = false;
    wf_outq_move(&ws->stream->out, &pieces->later);
}

static enum wf_error write_directly(wf_ws *ws, const void *data, size_t n, bool last)
{
    uint8_t head[WF_FRAME_HEAD_MAX];
    size_t h;
    enum wf_error e = wf_session_write_head(&ws->session, data, n, last, head, &h);
    return e != WF_OK ? e : wf_stream_write_big(ws->stream, head, h, data, n);
}

enum wf_error wf_ws_write(wf_ws *ws, const void *data, size_t n, bool last)
{
    if (wf_ws_is_mute(ws))
        return WF_CLOSED;
    bool direct = !ws->session.pieces->packed && wf_ws_writes_directly(ws, n);
    enum wf_error e = direct ? write_directly(ws, data, n, last)
                             : wf_session_write(&ws->session, data, n, last);
    if (e != WF_OK)
        return e;
    ws->moved = ws->object.loop->now;
    if (last)
        send_later(ws);
    if (ws->stream)
        wf_stream_touch(ws->stream);
    return WF_OK;
}

void wf_ws_give_up(wf_ws *ws)
{
    if (ws->ended)
        return;
    if (ws->session.pieces->begun) {
        wf_ws_close(ws, WF_CLOSE_INTERNAL, "", 0);
        return;
    }
    wf_session_unopen(&ws->session);
    send_later(ws);
    wf_stream_touch(ws->stream);
}

/* -- what must not wait for the writer ---------------------------------------- */

enum wf_error wf_ws_queue(wf_ws *ws, unsigned op, const void *data, size_t n)
{
    bool later = !wf_ws_is_mute(ws) && wf_session_is_open(&ws->session);
    return later ? wf_session_send_later(&ws->session, op, data, n)
                 : wf_ws_send(ws, op, data, n);
}

bool wf_ws_share(wf_ws *ws, wf_blob *frame, bool compressed)
{
    wf_stream *s = ws->stream;
    if (wf_ws_is_mute(ws) || ws->session.state != WF_SESSION_OPEN)
        return false;
    bool later = wf_session_is_open(&ws->session);
    wf_pieces *pieces = ws->session.pieces;
    wf_outq *to = later ? &pieces->later : &s->out;
    if (s->out.bytes > ws->options->hard && !s->blocked) {
        wf_stream_flush(s); /* it may be this turn that was fast, not the peer slow */
        if (wf_ws_is_mute(ws))
            return false;
    }
    if (s->out.bytes + (later ? to->bytes : 0) > ws->options->hard) {
        wf_ws_fail(ws, WF_CLOSE_TRY_LATER, "too slow: output over hard_mark");
        return false;
    }
    if (!wf_outq_share(to, &s->object.loop->env.pool, frame)) {
        wf_ws_fail(ws, WF_CLOSE_INTERNAL, "out of memory");
        return false;
    }
    if (compressed && later)
        pieces->later_packed = true;
    else if (compressed)
        wf_deflate_forget(ws->session.deflate);
    ws->moved = s->object.loop->now;
    wf_stream_touch(s);
    return true;
}
