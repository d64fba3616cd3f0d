/* loop: see loop.h. */
#include "io/loop.h"

#include <math.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "io/crypto.h"
#include "io/resolve.h"
#include "io/stream.h"

#define AGING_INTERVAL 5.0
#define TURN_WAKES 16 /* rounds of tasks that others have woken, in one turn */
#define DRAIN_TIMEOUT 10.0
#define KEEP_BLOCK (4 << 20)
#define KEEP_MEMORY (16 << 20)

/* How often this process has forked. The one thing that is the process's and
 * not a loop's: only the kernel's fork changes it. */
static volatile unsigned fork_count;

static void count_fork(void)
{
    fork_count++;
}

/* glibc gives a big block back to the kernel as soon as it is freed, and takes it
 * anew page by page for the next big message. Let some memory stay; what the user
 * has chosen in the environment is left alone. */
static void keep_memory(void)
{
#ifdef __GLIBC__
    if (getenv("GLIBC_TUNABLES") || getenv("MALLOC_TRIM_THRESHOLD_") ||
        getenv("MALLOC_MMAP_THRESHOLD_"))
        return;
    mallopt(M_MMAP_THRESHOLD, KEEP_BLOCK);
    mallopt(M_TRIM_THRESHOLD, KEEP_MEMORY);
#endif
}

static void give_memory_back(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

/* Once big messages have ceased, what they needed goes. */
static void age(struct ev_loop *ev, ev_timer *timer, int revents)
{
    (void)ev, (void)revents;
    wf_loop *loop = timer->data;
    bool packed = wf_deflate_age(&loop->env.deflate);
    if (wf_spares_age(&loop->env.spares) || packed)
        give_memory_back();
}

static void nothing(struct ev_loop *ev, ev_async *async, int revents)
{
    (void)ev, (void)async, (void)revents;
}

/*
 * libev makes its pipe for signals and other threads when first asked, and aborts
 * the process when there is no descriptor left for it. Ask now, when a failure can
 * still be told; the pipe stays.
 */
static bool make_pipe(struct ev_loop *ev)
{
    int free[2];
    if (pipe(free) < 0)
        return false;
    close(free[0]);
    close(free[1]);
    ev_async async;
    ev_async_init(&async, nothing);
    ev_async_start(ev, &async);
    ev_async_stop(ev, &async);
    return true;
}

static void prepare_process(void)
{
    pthread_atfork(NULL, NULL, count_fork);
    keep_memory();
}

wf_loop *wf_loop_new(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare_process);
    wf_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return NULL;
    loop->input = malloc(WF_READ_BYTES);
    loop->ev = loop->input ? ev_loop_new(EVFLAG_AUTO) : NULL;
    if (!loop->ev || !make_pipe(loop->ev)) {
        if (loop->ev)
            ev_loop_destroy(loop->ev);
        free(loop->input);
        free(loop);
        return NULL;
    }
    wf_crypto_begin();
    loop->env.random = wf_random;
    loop->ready.end = &loop->ready.first;
    loop->woken.end = &loop->woken.first;
    loop->forks = fork_count;
    loop->now = wf_time();
    loop->batch = getenv("WEFT_NO_IO_URING") ? NULL : wf_batch_new();
    loop->ahead.bytes = loop->batch ? calloc(WF_AHEAD, WF_AHEAD_BYTES) : NULL;
    wf_wheel_init(&loop->wheel, loop->ev, wf_stream_ring);
    ev_timer_init(&loop->aging, age, AGING_INTERVAL, AGING_INTERVAL);
    loop->aging.data = loop;
    ev_timer_start(loop->ev, &loop->aging);
    ev_unref(loop->ev);
    return loop;
}

/* Those that are still queued wait for a later turn. */
static void free_dead(wf_loop *loop)
{
    wf_object **at = &loop->dead;
    while (*at) {
        wf_object *object = *at;
        if (object->queued) {
            at = &object->next;
        } else {
            *at = object->next;
            free(object);
        }
    }
}

static void forget_jobs(wf_jobs *jobs)
{
    for (wf_object *object = jobs->first; object; object = object->next_ready)
        object->queued = false;
    *jobs = (wf_jobs){ .end = &jobs->first };
}

static void free_alarms(wf_loop *loop);

static bool has_output(const wf_loop *loop)
{
    for (const wf_object *o = loop->objects; o; o = o->next)
        if (o->class == &wf_stream_class && ((const wf_stream *)o)->out.bytes > 0 &&
            ((const wf_stream *)o)->finish != WF_FINISH_NOT)
            return true;
    return false;
}

void wf_loop_drain(wf_loop *loop)
{
    wf_stream_flush_dirty(loop);
    double until = wf_time() + DRAIN_TIMEOUT;
    while (has_output(loop) && wf_time() < until && wf_loop_turn(loop))
        continue;
}

void wf_loop_free(wf_loop *loop)
{
    while (loop->objects)
        loop->objects->class->destroy(loop->objects);
    forget_jobs(&loop->ready);
    forget_jobs(&loop->woken);
    free_dead(loop);
    wf_resolver_free(loop->resolver);
    ev_ref(loop->ev);
    ev_timer_stop(loop->ev, &loop->aging);
    wf_batch_free(loop->batch);
    wf_wheel_stop(&loop->wheel);
    free_alarms(loop);
    ev_loop_destroy(loop->ev);
    wf_outpool_free(&loop->env.pool);
    wf_spares_free(&loop->env.spares);
    wf_deflate_env_free(&loop->env.deflate);
    wf_crypto_end();
    free(loop->ahead.bytes);
    free(loop->input);
    free(loop);
}

static void run_jobs(wf_jobs *jobs)
{
    wf_object *object = jobs->first;
    *jobs = (wf_jobs){ .end = &jobs->first };
    while (object) {
        wf_object *next = object->next_ready;
        object->queued = false;
        if (!object->dead && !wf_loop_forked(object->loop)) /* a job may fork, too */
            object->class->run(object);                     /* may queue itself again */
        object = next;
    }
}

/* Tasks that wake each other without end must not keep the sockets waiting. */
static void run_ready(wf_loop *loop)
{
    run_jobs(&loop->ready);
    for (int i = 0; i < TURN_WAKES && loop->woken.first; i++)
        run_jobs(&loop->woken);
}

static bool has_jobs(const wf_loop *loop)
{
    return loop->ready.first || loop->woken.first;
}

bool wf_loop_turn(wf_loop *loop)
{
    loop->turning = true;
    bool active = ev_run(loop->ev, has_jobs(loop) ? EVRUN_NOWAIT : EVRUN_ONCE);
    bool worked = has_jobs(loop);
    loop->now = wf_time();
    loop->handshakes = WF_HANDSHAKES;
    wf_stream_read_ahead(loop);
    run_ready(loop);
    wf_loop_flush(loop);
    free_dead(loop);
    loop->turning = false;
    return active || worked || has_jobs(loop);
}

void wf_loop_flush(wf_loop *loop)
{
    if (wf_loop_forked(loop)) /* the connections are the parent's */
        return;
    wf_stream_flush_dirty(loop);
    wf_outpool_end_turn(&loop->env.pool);
}

bool wf_loop_forked(const wf_loop *loop)
{
    return loop->forks != fork_count;
}

void wf_loop_ready(wf_object *object)
{
    wf_loop *loop = object->loop;
    wf_jobs *jobs = object->class->prompt ? &loop->woken : &loop->ready;
    if (object->queued || object->dead)
        return;
    object->queued = true;
    object->next_ready = NULL;
    *jobs->end = object;
    jobs->end = &object->next_ready;
}

/* -- waiters --------------------------------------------------------------- */

/* libev's timer of a waiter, apart from it: few of those that wait have one. */
typedef struct wf_alarm {
    ev_timer timer;
    wf_waiter *waiter;
    struct wf_alarm *next; /* spare */
} wf_alarm;

static void expire(struct ev_loop *ev, ev_timer *timer, int revents)
{
    (void)ev, (void)revents;
    wf_waiter *w = WF_CONTAINER(timer, wf_alarm, timer)->waiter;
    w->late = true;
    wf_loop_ready(w->owner);
}

static bool set_alarm(wf_waiter *w, double until)
{
    wf_loop *loop = w->owner->loop;
    wf_alarm *a = loop->alarms;
    if (a)
        loop->alarms = a->next;
    else if (!(a = malloc(sizeof *a)))
        return false;
    a->waiter = w;
    w->alarm = a;
    ev_now_update(loop->ev);
    ev_timer_init(&a->timer, expire, WF_MAX(0., until - wf_time()), 0.);
    ev_set_priority(&a->timer, EV_MINPRI); /* behind the sockets of the same turn */
    ev_timer_start(loop->ev, &a->timer);
    return true;
}

static void clear_alarm(wf_waiter *w)
{
    wf_loop *loop = w->owner->loop;
    wf_alarm *a = w->alarm;
    if (!a)
        return;
    w->alarm = NULL;
    ev_timer_stop(loop->ev, &a->timer);
    a->next = loop->alarms;
    loop->alarms = a;
}

static void free_alarms(wf_loop *loop)
{
    while (loop->alarms) {
        wf_alarm *a = loop->alarms;
        loop->alarms = a->next;
        free(a);
    }
}

void wf_waiter_init(wf_waiter *w, wf_object *owner)
{
    *w = (wf_waiter){ .owner = owner };
}

bool wf_waiter_wait(wf_waiter *w, wf_waiter **slot, double until)
{
    if (until != INFINITY && !set_alarm(w, until))
        return false;
    w->slot = slot;
    w->next = NULL;
    w->reason = WF_OK;
    while (*slot)
        slot = &(*slot)->next;
    *slot = w;
    return true;
}

void wf_waiter_leave(wf_waiter *w)
{
    wf_waiter **at = w->slot;
    if (at) {
        while (*at != w)
            at = &(*at)->next;
        *at = w->next;
    }
    w->slot = NULL;
    w->late = false;
    clear_alarm(w);
}

bool wf_waiter_woken(wf_waiter *w)
{
    if (!w->slot)
        return true;
    if (!w->late)
        return false;
    wf_waiter_leave(w);
    w->reason = WF_TIMEOUT;
    return true;
}

void wf_wake(wf_waiter **slot, enum wf_error reason)
{
    for (wf_waiter *w; (w = *slot);) {
        wf_waiter_leave(w);
        w->reason = reason;
        wf_loop_ready(w->owner);
    }
}

bool wf_wake_now(wf_waiter **slot, enum wf_error reason)
{
    wf_waiter *w = *slot;
    if (!w)
        return false;
    wf_waiter_leave(w);
    w->reason = reason;
    wf_wake(slot, reason);
    w->owner->class->run(w->owner);
    return true;
}

/* -- objects --------------------------------------------------------------- */

void wf_object_init(wf_object *object, const wf_class *class, wf_loop *loop)
{
    *object = (wf_object){ .class = class, .loop = loop };
    object->next = loop->objects;
    if (loop->objects)
        loop->objects->prev = object;
    loop->objects = object;
}

void wf_object_bury(wf_object *object)
{
    wf_loop *loop = object->loop;
    if (object->dead)
        return;
    object->dead = true;
    if (object->handle)
        *object->handle = NULL;
    if (object->owner)
        *object->owner = NULL;
    if (object->prev)
        object->prev->next = object->next;
    else
        loop->objects = object->next;
    if (object->next)
        object->next->prev = object->prev;
    object->next = loop->dead;
    loop->dead = object;
}
