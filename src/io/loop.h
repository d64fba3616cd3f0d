/*
 * loop: one libev loop with the ready list, the waiters and the turn.
 *
 * A turn: libev's callbacks only put jobs on the ready lists; then the jobs run
 * (connections read, tasks resume); then everything written leaves. So no Lua
 * code ever runs below libev. The loop owns every object of src/io: each is a
 * wf_object on its list, and a Lua handle is a pointer to one that either side
 * may clear. Includes libev and core, never Lua.
 */
#ifndef WF_IO_LOOP_H
#define WF_IO_LOOP_H

#include <ev.h>

#include "core/session.h"
#include "io/batch.h"
#include "io/timer.h"

/* Steps of TLS handshakes in one turn: one may take a millisecond, and the others wait.
 */
#define WF_HANDSHAKES 4

/* Bytes that one connection may take from the kernel in one turn, unless a big
 * message is under way. Half of a common L2 cache is still left for the rest. */
#define WF_READ_BYTES (128u << 10)

WF_HIDDEN_BEGIN

typedef struct wf_loop wf_loop;
typedef struct wf_object wf_object;

typedef struct wf_class {
    const char *name;
    /* Lets go of everything, at once; the object is freed at the turn's end. */
    void (*destroy)(wf_object *object);
    /* The handle is gone: close in good order, then destroy. */
    void (*release)(wf_object *object);
    /* Its job: in this turn's pump, or the next one's, after wf_loop_ready. */
    void (*run)(wf_object *object);
    /* It is a party that somebody wakes, and goes on in the same turn. */
    bool prompt;
} wf_class;

struct wf_object {
    const wf_class *class;
    wf_loop *loop;
    wf_object *prev, *next; /* all of the loop's, or the dead */
    wf_object **handle;     /* the Lua handle's pointer at us, or NULL */
    wf_object **owner;      /* the pointer of the task whose end is our end, or NULL */
    wf_object *next_ready;
    bool queued, dead;
};

/*
 * One suspended party: a task, or the main thread. It waits in a slot (a pointer
 * in some object) that points back at it; waking takes it out of the slot, so a
 * stale wake-up cannot happen.
 */
typedef struct wf_waiter {
    wf_object *owner; /* its job resumes the party */
    struct wf_waiter **slot;
    struct wf_waiter *next; /* came to the slot while this one was on its way to it */
    struct wf_alarm *alarm; /* while it waits for a limited time */
    enum wf_error reason;   /* why it was woken; WF_OK: look at your condition */
    bool late;              /* its time is over; what else this turn brings goes first */
} wf_waiter;

/* What a connection takes out of the input just received. Only one pumps at a time. */
typedef struct wf_pump {
    struct wf_ws *ws; /* NULL: none */
    uint8_t *input;
    size_t left;
    unsigned budget; /* messages it may still deliver this turn */
    double since;    /* when it was looked at the clock first; 0: not yet */
    bool has_current;
    wf_message current; /* waits for the reader that was just woken */
} wf_pump;

struct wf_stream;

/* Receives of a turn's first connections, done in one batch before their pumps. */
#define WF_AHEAD 64
#define WF_AHEAD_BYTES 2048

typedef struct wf_ahead {
    uint8_t *bytes; /* WF_AHEAD times WF_AHEAD_BYTES; NULL without a batch */
    wf_batch_op ops[WF_AHEAD];
} wf_ahead;

typedef struct wf_jobs {
    wf_object *first, **end;
} wf_jobs;

struct wf_loop {
    struct ev_loop *ev;
    wf_session_env env;
    wf_jobs ready;           /* what libev had events for, or goes on where it stopped */
    wf_jobs woken;           /* those that are prompt */
    struct wf_stream *dirty; /* connections with output of this turn */
    wf_object *objects, *dead;
    uint8_t *input;   /* the receive buffer, WF_READ_BYTES */
    size_t lingering; /* closing in good order: the loop stays alive for these */
    wf_batch *batch;  /* NULL: there is none, sends and receives go one by one */
    wf_ahead ahead;
    struct wf_resolver *resolver;
    wf_pump pump;
    wf_wheel wheel;          /* the connections' timers */
    struct wf_alarm *alarms; /* spare ones */
    ev_timer aging;
    unsigned handshakes; /* of TLS that may still be worked on in this turn */
    bool turning;        /* inside a turn */
    double now;          /* wf_time() of this turn */
    void *upper;         /* of who made the loop, for his own objects */
    unsigned forks;      /* of the process, when the loop was made */
};

/* NULL: no memory. */
wf_loop *wf_loop_new(void);
/* Lets output leave that is queued on finishing streams, within bounds. */
void wf_loop_drain(wf_loop *loop);
/* Destroys every object first (their handles become NULL). */
void wf_loop_free(wf_loop *loop);

/*
 * One turn. False when nothing can ever happen again: no job is ready and no
 * watcher that somebody waits for is active.
 */
bool wf_loop_turn(wf_loop *loop);
/* Output leaves now: for what was written outside of a turn. */
void wf_loop_flush(wf_loop *loop);
/* The process has forked since: this copy must not be used. */
bool wf_loop_forked(const wf_loop *loop);
/* Queues the object's job, once. */
void wf_loop_ready(wf_object *object);

void wf_waiter_init(wf_waiter *w, wf_object *owner);
/* Puts w into the slot until woken, or until the absolute time `until` (INFINITY: for
 * ever). False: no memory, it does not wait. Who finds somebody there is told so before;
 * but one that was woken, and has to wait again, may find a newcomer: both stay. */
bool wf_waiter_wait(wf_waiter *w, wf_waiter **slot, double until);
/* Takes all who wait there out of the slot, and makes them ready. */
void wf_wake(wf_waiter **slot, enum wf_error reason);
/* The same, and resumes the first now: only from the pump. False: there was none. */
bool wf_wake_now(wf_waiter **slot, enum wf_error reason);
/* Ends w's wait from its own side. */
void wf_waiter_leave(wf_waiter *w);
/* The owner's job begins with this: false when it was queued for nothing, as w
 * waits for something else by now. */
bool wf_waiter_woken(wf_waiter *w);

void wf_object_init(wf_object *object, const wf_class *class, wf_loop *loop);
/* The owner destroyed it: off the list, its handle cleared, freed at the end of
 * the turn. Idempotent. */
void wf_object_bury(wf_object *object);

WF_HIDDEN_END

#endif
