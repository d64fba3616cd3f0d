/*
 * websocket: what other files of the binding need of websocket handles.
 */
#ifndef WF_BIND_WEBSOCKET_H
#define WF_BIND_WEBSOCKET_H

#include "bind/http.h"
#include "io/ws.h"

WF_HIDDEN_BEGIN

/* Uservalues of a websocket. */
enum { WF_WEBSOCKET_UV_DATA = 1, WF_WEBSOCKET_UV_REQUEST };
_Static_assert((int)WF_WEBSOCKET_UV_REQUEST == (int)WF_SOCKET_UVS,
               "a stream becomes a websocket");

/* Argument 1, a websocket, of one of its methods; NULL: closed. [-0, +0, raises] */
static inline wf_ws *wf_websocket_of(lua_State *L)
{
    const wf_handle *h = wf_handle_tagged(L, &wf_class_tags[WF_CLASS_WEBSOCKET]);
    return (wf_ws *)(WF_LIKELY(h) ? h : wf_handle_check(L))->object;
}
/* nil, message, code of a connection that has ended. [-0, +3, m] */
int wf_websocket_fail(lua_State *L, const wf_ws *ws);
/* The same for what sending returned; not for WF_UTF8. [-0, +3, m] */
int wf_websocket_fail_send(lua_State *L, const wf_ws *ws, enum wf_error e);

/* Argument arg as compiled options. [-0, +0, raises] */
wf_ws_options *wf_ws_options_arg(lua_State *L, int arg);

WF_HIDDEN_END

#endif
