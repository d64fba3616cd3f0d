/*
 * socket: what other files of the binding need of stream handles.
 */
#ifndef WF_BIND_SOCKET_H
#define WF_BIND_SOCKET_H

#include "bind/task.h"
#include "io/address.h"
#include "io/stream.h"

WF_HIDDEN_BEGIN

/* Argument arg as a stream that is open; otherwise NULL and nil, message,
 * "closed" are pushed. [-0, +0|3, raises] */
wf_stream *wf_stream_arg(lua_State *L, int arg);
/* nil, message, code of a stream that is gone. [-0, +3, m] */
int wf_fail_stream(lua_State *L, const wf_stream *s, const char *what);

WF_HIDDEN_END

#endif
