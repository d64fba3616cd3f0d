/* signal: see signal.h. */
#include "io/signal.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#ifndef NSIG
#define NSIG 65
#endif

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const wf_loop *owner[NSIG];

static bool claim(int number, const wf_loop *loop)
{
    pthread_mutex_lock(&lock);
    bool ours = !owner[number] || owner[number] == loop;
    if (ours)
        owner[number] = loop;
    pthread_mutex_unlock(&lock);
    return ours;
}

static void unclaim(int number)
{
    pthread_mutex_lock(&lock);
    owner[number] = NULL;
    pthread_mutex_unlock(&lock);
}

static void on_signal(struct ev_loop *ev, ev_signal *watcher, int revents)
{
    (void)ev, (void)revents;
    wf_signal *s = WF_CONTAINER(watcher, wf_signal, watcher);
    s->arrived = true;
    wf_wake(&s->waiter, WF_OK);
}

static void destroy(wf_object *object)
{
    wf_signal *s = (wf_signal *)object;
    ev_ref(object->loop->ev);
    ev_signal_stop(object->loop->ev, &s->watcher);
    unclaim(s->watcher.signum);
    wf_wake(&s->waiter, WF_CLOSED);
    wf_object_bury(object);
}

void wf_signal_hold(wf_signal *s, bool hold)
{
    if (hold)
        ev_ref(s->object.loop->ev);
    else
        ev_unref(s->object.loop->ev);
}

static void nothing(wf_object *object)
{
    (void)object;
}

static const wf_class class = { "signal", destroy, destroy, nothing, false };

static wf_signal *find(wf_loop *loop, int number)
{
    for (wf_object *o = loop->objects; o; o = o->next)
        if (o->class == &class && ((wf_signal *)o)->watcher.signum == number)
            return (wf_signal *)o;
    return NULL;
}

wf_signal *wf_signal_get(wf_loop *loop, int number, enum wf_error *error)
{
    wf_signal *s = find(loop, number);
    if (s)
        return s;
    *error = WF_BUSY;
    if (number < 1 || number >= NSIG || !claim(number, loop))
        return NULL;
    *error = WF_NOMEM;
    if (!(s = calloc(1, sizeof *s))) {
        unclaim(number);
        return NULL;
    }
    wf_object_init(&s->object, &class, loop);
    ev_signal_init(&s->watcher, on_signal, number);
    ev_signal_start(loop->ev, &s->watcher);
    ev_unref(loop->ev);
    return s;
}
