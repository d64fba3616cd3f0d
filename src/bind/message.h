/*
 * message: messages between Lua's strings and the core.
 */
#ifndef WF_BIND_MESSAGE_H
#define WF_BIND_MESSAGE_H

#include "bind/state.h"
#include "core/session.h"

WF_HIDDEN_BEGIN

/* Upvalues of what pushes messages, behind the two that all functions have: the kinds
 * as strings, so that a message costs no look-up of them. */
enum { WF_MESSAGE_UP_TEXT = 3, WF_MESSAGE_UP_BINARY };

/* A message and its kind. [-0, +2, m] */
void wf_message_push(lua_State *L, const wf_message *m);
/* Argument arg as a kind: WF_OP_TEXT when there is none. [-0, +0, raises] */
unsigned wf_message_kind(lua_State *L, int arg);
/* Argument arg as the options of a send: WF_SEND_PLAIN, WF_SEND_COMPRESSED or 0.
 * [-0, +0, raises] */
unsigned wf_message_options(lua_State *L, int arg);
/* Argument arg as a message, the next ones as its kind and its options, which are
 * put together in m->kind; its bytes stay Lua's. false: it is no UTF-8, and nil, message,
 * code are pushed. [-0, +0|3, raises] */
bool wf_message_arg(lua_State *L, int arg, wf_message *m);

WF_HIDDEN_END

#endif
