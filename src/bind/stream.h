/*
 * stream: what other files of the binding need of stream handles.
 */
#ifndef WF_BIND_STREAM_H
#define WF_BIND_STREAM_H

#include "bind/socket.h"
#include "bind/task.h"

WF_HIDDEN_BEGIN

/* An empty handle for a stream: it is there before the descriptor, which nobody would
 * close were there no memory for it. [-0, +1, m] */
wf_handle *wf_stream_push_empty(lua_State *L);
/* The handle on the top becomes a stream over the descriptor, which is closed when that
 * fails. Returns 1 or 3. [-0, +0|3, m] */
int wf_stream_fill(lua_State *L, wf_handle *h, int fd, const wf_peer *peer);
/* Argument arg as a stream that is open; otherwise NULL and nil, message,
 * "closed" are pushed. [-0, +0|3, raises] */
wf_stream *wf_stream_arg(lua_State *L, int arg);
/* nil, message, code of a stream that is gone. [-0, +3, m] */
int wf_fail_stream(lua_State *L, const wf_stream *s, const char *what);

/* The stream is gone, or nothing more will come. */
static inline bool wf_stream_at_end(const wf_stream *s)
{
    return !s || s->eof || s->fd < 0 || s->error != WF_OK;
}
/* n received bytes are used; an empty buffer is freed. They may be gone already: making a
 * string of them may run a finalizer that closes the stream. */
void wf_stream_consume(wf_stream *s, size_t n);
/* In k, when the time that a peer may take nothing is over, and no deadline of the
 * task's: whether it has taken some of the bytes that were queued before, or takes some
 * now; then its time begins anew. The stream may end here. NULL: gone. [-0, +0, raises]
 */
bool wf_stream_is_moving(lua_State *L, wf_stream *s, size_t before);
/* Waits for bytes, then goes on in k; wf_wait_begin came before. As wf_wait. */
int wf_stream_wait_read(lua_State *L, wf_stream *s, lua_KFunction k, lua_KContext ctx);

WF_HIDDEN_END

#endif
