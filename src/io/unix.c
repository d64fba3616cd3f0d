/* unix: see unix.h. */
#include "io/unix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct wf_unix_file {
    dev_t dev;
    ino_t ino;
    pid_t pid; /* after fork the file is still the parent's */
    char path[];
};

static const char *path_of(const wf_sockaddr *address)
{
    return ((const struct sockaddr_un *)&address->storage)->sun_path;
}

static int bind_at(int fd, const wf_sockaddr *address)
{
    return bind(fd, (const struct sockaddr *)&address->storage, address->len);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* A socket whose process has died refuses; one that is only busy says EAGAIN. */
static bool nobody_listens(const wf_sockaddr *address)
{
    int fd = wf_socket(AF_UNIX, SOCK_STREAM);
    if (fd < 0)
        return false;
    int k = connect(fd, (const struct sockaddr *)&address->storage, address->len);
    bool dead = k < 0 && errno == ECONNREFUSED;
    close(fd);
    return dead;
}

/* The address is in use: by a file that nobody needs? Then it goes. */
static bool clear_stale(const wf_sockaddr *address)
{
    struct stat before, now;
    const char *path = path_of(address);
    if (!*path || lstat(path, &before) < 0 || !S_ISSOCK(before.st_mode))
        return false;
    if (!nobody_listens(address))
        return false;
    /* another process may have done the same meanwhile, and listen there already */
    if (lstat(path, &now) < 0)
        return errno == ENOENT;
    return same_file(&before, &now) && unlink(path) == 0;
}

static wf_unix_file *note_file(const char *path)
{
    struct stat st;
    size_t n = strlen(path) + 1;
    wf_unix_file *file = lstat(path, &st) == 0 ? calloc(1, sizeof *file + n) : NULL;
    if (!file)
        return NULL;
    file->dev = st.st_dev;
    file->ino = st.st_ino;
    file->pid = getpid();
    memcpy(file->path, path, n);
    return file;
}

static bool bind_or_replace(int fd, const wf_sockaddr *address, int mode)
{
#ifdef __linux__
    if (mode >= 0) /* so the file never has more than these */
        fchmod(fd, (mode_t)mode);
#else
    (void)mode; /* fchmod(2) does nothing there: chmod follows */
#endif
    if (bind_at(fd, address) == 0)
        return true;
    if (errno != EADDRINUSE)
        return false;
    bool cleared = clear_stale(address);
    if (!cleared)
        errno = EADDRINUSE;
    return cleared && bind_at(fd, address) == 0;
}

int wf_unix_listen(const wf_sockaddr *address, int backlog, int mode, wf_unix_file **file,
                   enum wf_error *error, int *err)
{
    const char *path = path_of(address);
    int fd = wf_socket(AF_UNIX, SOCK_STREAM);
    *file = NULL;
    if (fd >= 0 && bind_or_replace(fd, address, mode)) {
        bool named = *path != '\0';
        *file = named ? note_file(path) : NULL;
        bool ready = !named || (*file && (mode < 0 || chmod(path, (mode_t)mode) == 0));
        if (ready && listen(fd, backlog) == 0)
            return fd;
    }
    *err = errno;
    *error = *err == EADDRINUSE ? WF_BUSY : WF_SYSTEM;
    wf_unix_remove(*file);
    *file = NULL;
    if (fd >= 0)
        close(fd);
    return -1;
}

void wf_unix_remove(wf_unix_file *file)
{
    struct stat st;
    if (!file)
        return;
    if (file->pid == getpid() && lstat(file->path, &st) == 0 && S_ISSOCK(st.st_mode) &&
        st.st_dev == file->dev && st.st_ino == file->ino)
        unlink(file->path);
    free(file);
}

static int int_option(int fd, int option)
{
    int value = -1;
    socklen_t len = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0 ? value : -1;
}

const char *wf_unix_adopt(int fd)
{
    if (int_option(fd, SO_TYPE) < 0)
        return errno == EBADF ? "it is not open" : "it is not a socket";
    if (int_option(fd, SO_TYPE) != SOCK_STREAM)
        return "it is not a stream socket";
    if (int_option(fd, SO_ACCEPTCONN) != 1)
        return "it does not listen";
    wf_socket_prepare(fd);
    return NULL;
}

bool wf_unix_peer(int fd, long *pid, long *uid, long *gid)
{
#ifdef SO_PEERCRED
    struct ucred who;
    socklen_t len = sizeof who;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
        return false;
    *pid = who.pid;
    *uid = who.uid;
    *gid = who.gid;
#else
    uid_t user;
    gid_t group;
    if (getpeereid(fd, &user, &group) < 0)
        return false;
    *pid = 0;
    *uid = user;
    *gid = group;
#endif
    return true;
}
