/*
 * unix: listening at a path of the file system or an abstract name, and the sockets that
 * a service manager handed over (sd_listen_fds(3)).
 */
#ifndef WF_IO_UNIX_H
#define WF_IO_UNIX_H

#include "io/address.h"

WF_HIDDEN_BEGIN

/* A socket file that is ours to remove. */
typedef struct wf_unix_file wf_unix_file;

/*
 * A socket that listens there: its descriptor, or -1. mode: the permissions of the file,
 * or -1: as the umask has them. A socket file where nobody listens is replaced. *error is
 * WF_BUSY when somebody does, or when what is there is no socket; else *err is an errno.
 * *file: what to remove when the descriptor is closed, NULL for abstract names.
 */
int wf_unix_listen(const wf_sockaddr *address, int backlog, int mode, wf_unix_file **file,
                   enum wf_error *error, int *err);
/* Removes the file if it is still the same one, and this process made it; frees. */
void wf_unix_remove(wf_unix_file *file);

/* 0 when fd is a socket that listens for streams, and is ready for the loop; else what it
 * is not. */
const char *wf_unix_adopt(int fd);
/* Process, user and group of who is at the other end; false: errno. */
bool wf_unix_peer(int fd, long *pid, long *uid, long *gid);

WF_HIDDEN_END

#endif
