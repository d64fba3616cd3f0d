/*
 * resolve: see resolve.h. A look-up is split in two: the job, which the threads
 * see and a lock guards, and the object, which only the loop sees. A look-up
 * given up leaves its job behind; whoever is last frees it.
 */
#include "io/resolve.h"

#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 4

typedef struct wf_lookup_job {
    struct wf_lookup_job *next;
    wf_lookup *lookup; /* NULL: given up. Guarded by the resolver's lock */
    int status, err;
    bool reverse;
    struct addrinfo *result;
    char name[NI_MAXHOST]; /* of a reverse look-up */
    char host[];
} job;

/* Shared by the loop and its threads; the last one frees it. */
struct wf_resolver {
    pthread_mutex_t lock;
    pthread_cond_t work;
    wf_loop *loop; /* NULL: gone */
    ev_async done_signal;
    job *todo, **todo_end, *done;
    unsigned threads, idle, refs;
    size_t pending; /* look-ups that the loop waits for */
};

static void free_job(job *j)
{
    if (j->result)
        freeaddrinfo(j->result);
    free(j);
}

static void free_jobs(job *j)
{
    while (j) {
        job *next = j->next;
        free_job(j);
        j = next;
    }
}

/* With the lock held; gives it up. */
static void unref(wf_resolver *r)
{
    bool last = --r->refs == 0;
    pthread_mutex_unlock(&r->lock);
    if (!last)
        return;
    free_jobs(r->todo);
    free_jobs(r->done);
    pthread_cond_destroy(&r->work);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static void look_up(job *j)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    if (j->reverse)
        hints.ai_flags = AI_NUMERICHOST;
    j->status = getaddrinfo(j->host, NULL, &hints, &j->result);
    if (j->reverse && j->status == 0)
        j->status = getnameinfo(j->result->ai_addr, j->result->ai_addrlen, j->name,
                                sizeof j->name, NULL, 0, NI_NAMEREQD);
    j->err = errno;
}

static void *work(void *arg)
{
    wf_resolver *r = arg;
    pthread_mutex_lock(&r->lock);
    while (r->loop) {
        job *j = r->todo;
        if (!j) {
            r->idle++;
            pthread_cond_wait(&r->work, &r->lock);
            r->idle--;
            continue;
        }
        if (!(r->todo = j->next))
            r->todo_end = &r->todo;
        pthread_mutex_unlock(&r->lock);
        look_up(j);
        pthread_mutex_lock(&r->lock);
        j->next = r->done;
        r->done = j;
        if (r->loop)
            ev_async_send(r->loop->ev, &r->done_signal);
    }
    unref(r);
    return NULL;
}

/* In the loop's thread: hands the results over. */
static void collect(struct ev_loop *ev, ev_async *async, int revents)
{
    (void)ev, (void)revents;
    wf_resolver *r = WF_CONTAINER(async, wf_resolver, done_signal);
    pthread_mutex_lock(&r->lock);
    job *j = r->done;
    r->done = NULL;
    pthread_mutex_unlock(&r->lock);
    while (j) {
        job *next = j->next;
        wf_lookup *l = j->lookup;
        if (l) {
            l->job = NULL;
            l->done = true;
            l->status = j->status;
            l->err = j->err;
            l->result = j->result;
            j->result = NULL;
            memcpy(l->name, j->name, sizeof l->name);
            ev_unref(r->loop->ev);
            wf_wake(&l->waiter, WF_OK);
        }
        free_job(j);
        j = next;
    }
}

static wf_resolver *resolver_new(wf_loop *loop)
{
    wf_resolver *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->work, NULL);
    r->loop = loop;
    r->todo_end = &r->todo;
    r->refs = 1;
    ev_async_init(&r->done_signal, collect);
    ev_async_start(loop->ev, &r->done_signal);
    ev_unref(loop->ev); /* only look-ups under way keep the loop alive */
    /* A thread may still be inside getaddrinfo when Lua closes its state and
     * unloads its modules: this one must stay mapped. */
    Dl_info info;
    if (dladdr((void *)(uintptr_t)&work, &info) && info.dli_fname)
        dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
    return r;
}

/* With the lock held. */
static bool start_thread(wf_resolver *r)
{
    if (r->idle > 0 || r->threads == THREADS_MAX)
        return true;
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    bool ok = pthread_create(&thread, &attr, work, r) == 0;
    pthread_attr_destroy(&attr);
    r->threads += ok;
    r->refs += ok;
    return ok || r->threads > 0;
}

static bool submit(wf_resolver *r, job *j)
{
    pthread_mutex_lock(&r->lock);
    bool ok = start_thread(r);
    if (ok) {
        *r->todo_end = j;
        r->todo_end = &j->next;
        pthread_cond_signal(&r->work);
    }
    pthread_mutex_unlock(&r->lock);
    return ok;
}

static void destroy(wf_object *object)
{
    wf_lookup *l = (wf_lookup *)object;
    wf_resolver *r = object->loop->resolver;
    if (l->job) {
        pthread_mutex_lock(&r->lock);
        l->job->lookup = NULL;
        pthread_mutex_unlock(&r->lock);
        l->job = NULL;
        ev_unref(object->loop->ev);
    }
    if (l->result)
        freeaddrinfo(l->result);
    l->result = NULL;
    wf_wake(&l->waiter, WF_CLOSED);
    wf_object_bury(object);
}

static void nothing(wf_object *object)
{
    (void)object;
}

static const wf_class class = { "lookup", destroy, destroy, nothing, false };

wf_lookup *wf_lookup_new(wf_loop *loop, const char *host, bool reverse)
{
    if (!loop->resolver && !(loop->resolver = resolver_new(loop)))
        return NULL;
    size_t n = strlen(host) + 1;
    job *j = calloc(1, sizeof *j + n);
    wf_lookup *l = j ? calloc(1, sizeof *l) : NULL;
    if (!l) {
        free(j);
        return NULL;
    }
    memcpy(j->host, host, n);
    j->reverse = reverse;
    j->lookup = l;
    if (!submit(loop->resolver, j)) {
        free(j);
        free(l);
        return NULL;
    }
    wf_object_init(&l->object, &class, loop);
    l->job = j;
    ev_ref(loop->ev);
    return l;
}

void wf_resolver_free(wf_resolver *r)
{
    if (!r)
        return;
    ev_ref(r->loop->ev);
    ev_async_stop(r->loop->ev, &r->done_signal);
    pthread_mutex_lock(&r->lock);
    r->loop = NULL;
    pthread_cond_broadcast(&r->work);
    unref(r);
}
