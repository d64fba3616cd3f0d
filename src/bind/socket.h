/*
 * socket: what the classes tcp, listener and stream share; see socket.c.
 */
#ifndef WF_BIND_SOCKET_H
#define WF_BIND_SOCKET_H

#include "bind/state.h"
#include "io/address.h"
#include "io/stream.h"

WF_HIDDEN_BEGIN

/* Handles of the classes tcp and stream have room for what a websocket keeps with its
 * own, for such a handle may become one. */
enum { WF_SOCKET_UVS = 2 };

/* Creates one of the three: with __gc, __close, __tostring and the methods that all
 * have, besides its own. [-0, +0, m] */
void wf_socket_class(lua_State *L, int module, wf_class_id id, const luaL_Reg *methods);

/* Argument arg, an address as text; one with a NUL would be another. [-0, +0, raises] */
const char *wf_socket_ip_arg(lua_State *L, int arg);

/* getsockname or getpeername */
typedef int (*wf_name_fn)(int, struct sockaddr *, socklen_t *);
/* Asks for the descriptor's name; false: it has none. */
bool wf_socket_name(int fd, wf_name_fn name, wf_sockaddr *a);
/* ip, port, family of the handle's descriptor | nil, message, "closed". [-0, +3, m] */
int wf_socket_push_name(lua_State *L, wf_name_fn name);
/* The descriptor, or -1: none yet, or no more. */
int wf_socket_fd(const wf_object *object);
/* "1.2.3.4:80", "[::1]:80", or "unix:" as it is. [-0, +1, m] */
void wf_socket_push_endpoint(lua_State *L, const char *ip, int port);
void wf_socket_push_address(lua_State *L, const wf_sockaddr *a);

/* What the script set on one socket goes to another that takes its place. */
void wf_socket_copy_options(int from, int to);
/* A fresh tcp has a descriptor of that family from here on, with the options that
 * were set on one of another family. false: errno. */
bool wf_socket_ensure(wf_stream *s, int family);

WF_HIDDEN_END

#endif
