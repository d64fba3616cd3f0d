/*
 * http: request objects, which the WebSocket binding takes for its handshake.
 */
#ifndef WF_BIND_HTTP_H
#define WF_BIND_HTTP_H

#include "bind/stream.h"
#include "core/head.h"

WF_HIDDEN_BEGIN

/* A parsed head (of a request, or of a response) and its bytes, in one userdata
 * of just the size. Uservalue 1: a table of what the script set, or nil. */
typedef struct wf_request {
    const void *class;
    wf_peer peer;
    wf_span method, target, reason;
    uint16_t status, length;
    uint16_t protocol; /* where the name of the subprotocol agreed on begins, or 0 */
    uint8_t minor : 4, secure : 4; /* HTTP/1.x; over TLS */
    uint8_t nfields;
    wf_field fields[]; /* then the bytes */
} wf_request;

static inline const char *wf_request_bytes(const wf_request *r)
{
    return (const char *)(r->fields + r->nfields);
}

/* Argument arg as a request. [-0, +0, raises] */
wf_request *wf_request_arg(lua_State *L, int arg);
/* Bytes of the request. [-0, +1, m] */
void wf_request_push_span(lua_State *L, const wf_request *r, wf_span span);
/* The same, and as the core's judges take it. [-0, +0, raises] */
wf_request *wf_request_head(lua_State *L, int arg, wf_head *head);
/* The name of the subprotocol, or nil. [-0, +1, m] */
void wf_request_push_protocol(lua_State *L, const wf_request *r);
/* Notes the subprotocol, which one of its fields names. */
void wf_request_agree(wf_request *r, const char *protocol, size_t n);

WF_HIDDEN_END

#endif
