/* timer: see timer.h. */
#include "io/timer.h"

#include <time.h>

double wf_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t tick_of(double time)
{
    return (uint64_t)(time / WF_WHEEL_TICK);
}

/* Ticks from `from` to the first slot in use, itself included; the wheel is not
 * empty. */
static uint64_t distance(const wf_wheel *wheel, uint64_t from)
{
    for (uint64_t n = 0; n < WF_WHEEL_SLOTS;) {
        size_t slot = (from + n) % WF_WHEEL_SLOTS;
        uint64_t word = wheel->used[slot / 64] >> slot % 64;
        if (word)
            return n + (uint64_t)__builtin_ctzll(word);
        n += 64 - slot % 64;
    }
    return WF_WHEEL_SLOTS;
}

static void arm(wf_wheel *wheel)
{
    ev_timer_stop(wheel->ev, &wheel->next);
    if (wheel->running == 0)
        return;
    uint64_t tick = wheel->tick + 1 + distance(wheel, wheel->tick + 1);
    double wait = (double)(tick + 1) * WF_WHEEL_TICK - wf_time();
    ev_now_update(wheel->ev);
    ev_timer_set(&wheel->next, wait > 0 ? wait : 0., 0.);
    ev_timer_start(wheel->ev, &wheel->next);
}

/* Rings what is due in the slot of that tick; the rest waits for another round. */
static void look_at(wf_wheel *wheel, uint64_t tick)
{
    size_t slot = tick % WF_WHEEL_SLOTS;
    wf_timer *timer = wheel->slots[slot];
    while (timer) {
        wf_timer *next = timer->next;
        if (tick_of(timer->due) <= tick) {
            wf_timer_stop(wheel, timer);
            wheel->ring(timer); /* only queues a job */
        }
        timer = next;
    }
    if (!wheel->slots[slot])
        wheel->used[slot / 64] &= ~(1ull << slot % 64);
}

static void turn(struct ev_loop *ev, ev_timer *next, int revents)
{
    (void)ev, (void)revents;
    wf_wheel *wheel = WF_CONTAINER(next, wf_wheel, next);
    uint64_t now = tick_of(wf_time());
    /* after a long sleep one round looks at every slot */
    if (now > wheel->tick + WF_WHEEL_SLOTS)
        wheel->tick = now - WF_WHEEL_SLOTS;
    while (wheel->tick + 1 < now)
        look_at(wheel, ++wheel->tick);
    arm(wheel);
}

void wf_wheel_init(wf_wheel *wheel, struct ev_loop *ev, void (*ring)(wf_timer *timer))
{
    wheel->ev = ev;
    wheel->ring = ring;
    wheel->tick = tick_of(wf_time());
    ev_timer_init(&wheel->next, turn, 0., 0.);
}

void wf_wheel_stop(wf_wheel *wheel)
{
    ev_timer_stop(wheel->ev, &wheel->next);
}

void wf_timer_start(wf_wheel *wheel, wf_timer *timer, double seconds)
{
    wf_timer_stop(wheel, timer);
    double now = wf_time();
    if (wheel->running++ == 0)
        wheel->tick = tick_of(now) - 1;
    timer->due = now + seconds;
    uint64_t tick = tick_of(timer->due);
    size_t slot = tick % WF_WHEEL_SLOTS;
    wf_timer **at = &wheel->slots[slot];
    timer->next = *at;
    timer->at = at;
    if (*at)
        (*at)->at = &timer->next;
    *at = timer;
    wheel->used[slot / 64] |= 1ull << slot % 64;
    /* rings too early are harmless, too late is not */
    double rings = (double)(tick + 1) * WF_WHEEL_TICK;
    if (!ev_is_active(&wheel->next) ||
        ev_timer_remaining(wheel->ev, &wheel->next) > rings - now)
        arm(wheel);
}

void wf_timer_stop(wf_wheel *wheel, wf_timer *timer)
{
    if (!timer->at)
        return;
    *timer->at = timer->next;
    if (timer->next)
        timer->next->at = timer->at;
    timer->at = NULL;
    if (--wheel->running == 0)
        ev_timer_stop(wheel->ev, &wheel->next);
}
