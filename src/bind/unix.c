/*
 * unix: listeners at paths and abstract names, listeners that a service manager handed
 * over, and who is at the other end of a unix socket.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bind/stream.h"
#include "io/listener.h"
#include "io/unix.h"

/* The handle on the top becomes a listener over the descriptor, which is closed when that
 * fails. Returns 1 or 3. [-0, +0|3, m] */
static int fill_listener(lua_State *L, int fd, wf_unix_file *file)
{
    wf_handle *h = lua_touserdata(L, -1);
    wf_listener *l = wf_listener_new(wf_state_loop(L), fd);
    if (!l) {
        wf_unix_remove(file);
        close(fd);
        return wf_fail(L, WF_NOMEM, NULL);
    }
    l->file = file;
    wf_handle_fill(h, &l->object);
    return 1;
}

/* listen_unix(path, backlog [, mode]) -> listener | nil, message, code */
static int l_listen_unix(lua_State *L)
{
    size_t n;
    const char *path = luaL_checklstring(L, 1, &n);
    int backlog = (int)luaL_checkinteger(L, 2), mode = (int)luaL_optinteger(L, 3, -1);
    wf_sockaddr a;
    wf_unix_file *file;
    enum wf_error error;
    int err;
    wf_state_loop(L);
    const char *why = wf_sockaddr_unix(&a, path, n);
    if (why)
        return wf_fail(L, WF_RESOLVE, "bad path: %s", why);
    wf_handle_new(L, WF_CLASS_LISTENER, 0); /* before there is anything to be closed */
    int fd = wf_unix_listen(&a, backlog, mode, &file, &error, &err);
    if (fd >= 0)
        return fill_listener(L, fd, file);
    if (error == WF_BUSY)
        return wf_fail(L, WF_BUSY,
                       "%s: somebody listens there, or it is a file of another kind",
                       path);
    return wf_fail_errno(L, err, path);
}

/* listen_fd(fd) -> listener | nil, message, "system" */
static int l_listen_fd(lua_State *L)
{
    lua_Integer fd = luaL_checkinteger(L, 1);
    wf_state_loop(L);
    const char *why = fd < 0 || fd > 1 << 20 ? "it is not open" : wf_unix_adopt((int)fd);
    if (why)
        return wf_fail(L, WF_SYSTEM, "descriptor %d: %s", (int)fd, why);
    wf_handle_new(L, WF_CLASS_LISTENER, 0);
    return fill_listener(L, (int)fd, NULL);
}

/* inherited() -> how many, their names: what a service manager hands over is for this
 * process alone (sd_listen_fds(3)); the variables are gone afterwards. */
static int l_inherited(lua_State *L)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    const char *names = getenv("LISTEN_FDNAMES");
    bool ours = pid && strtol(pid, NULL, 10) == (long)getpid();
    long n = ours && count ? strtol(count, NULL, 10) : 0;
    n = n > 0 && n <= 1024 ? n : 0;
    for (int i = 0; i < (int)n; i++)
        wf_socket_prepare(3 + i); /* SD_LISTEN_FDS_START */
    lua_pushinteger(L, n);
    lua_pushstring(L, ours && names ? names : "");
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return 2;
}

/* peercred() -> { pid =, uid =, gid = } | nil, message, code */
static int stream_peercred(lua_State *L)
{
    wf_sockaddr a;
    long pid, uid, gid;
    int fd = wf_socket_fd(wf_handle_check(L)->object);
    if (!wf_socket_name(fd, getpeername, &a))
        return wf_fail(L, WF_CLOSED, "closed");
    if (a.storage.ss_family != AF_UNIX || !wf_unix_peer(fd, &pid, &uid, &gid))
        return wf_fail(L, WF_SYSTEM, "only the peer of a unix socket has credentials");
    lua_createtable(L, 0, 3);
    if (pid > 0) {
        lua_pushinteger(L, pid);
        lua_setfield(L, -2, "pid");
    }
    lua_pushinteger(L, uid);
    lua_setfield(L, -2, "uid");
    lua_pushinteger(L, gid);
    lua_setfield(L, -2, "gid");
    return 1;
}

static const luaL_Reg methods[] = { { "peercred", stream_peercred }, { NULL, NULL } };

static const luaL_Reg functions[] = {
    { "listen_unix", l_listen_unix },
    { "listen_fd", l_listen_fd },
    { "inherited", l_inherited },
    { NULL, NULL },
};

void wf_open_unix(lua_State *L, int module)
{
    wf_class_add(L, module, WF_CLASS_STREAM, methods, 0);
    wf_set_functions(L, module, functions);
}
