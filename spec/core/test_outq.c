/*
 * test_outq: queues over one pool against a model that is a plain array: random
 * writes, shared blobs, sends of odd sizes, turns that end; and whose references
 * are left at the end. AddressSanitizer makes the last part sharp.
 */
#include "core/outq.h"

#include "test.h"

enum { QUEUES = 5, MODEL = 4 << 20, BLOBS = 8 };

typedef struct model {
    wf_outq q;
    uint8_t *p; /* what should be queued: p[from..to) */
    size_t from, to;
} model;

static void fill(uint8_t *p, size_t n)
{
    uint32_t x = test_random();
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)((x = x * 1664525u + 1013904223u) >> 24);
}

/* The whole queue, read as writev would, `at_most` segments at a time. */
static void check(const model *m, int at_most)
{
    struct iovec iov[64];
    size_t at = 0;
    CHECK_INT(m->q.bytes, m->to - m->from);
    int n = wf_outq_iov(&m->q, iov, at_most);
    CHECK(n <= at_most && (n > 0) == (m->q.bytes > 0));
    for (int i = 0; i < n; i++) {
        CHECK(at + iov[i].iov_len <= m->q.bytes);
        CHECK(memcmp(iov[i].iov_base, m->p + m->from + at, iov[i].iov_len) == 0);
        at += iov[i].iov_len;
    }
    CHECK(n == at_most || at == m->q.bytes);
}

static void check_all_bytes(const model *m)
{
    size_t at = 0;
    for (const wf_seg *seg = m->q.head; seg; seg = seg->next) {
        CHECK(memcmp(seg->p, m->p + m->from + at, seg->n) == 0);
        CHECK((seg->next == NULL) == (seg == m->q.tail));
        at += seg->n;
    }
    CHECK_INT(at, m->to - m->from);
    CHECK_INT(m->q.bytes, at);
}

static void model_clear(model *m, wf_outpool *pool)
{
    wf_outq_clear(&m->q, pool);
    m->from = m->to = 0;
    CHECK(m->q.head == NULL && m->q.tail == NULL && m->q.bytes == 0);
}

/* Mostly small as messages are, at times as big as the arena and beyond. */
static size_t some_size(void)
{
    switch (test_random_below(20)) {
    case 0:
        return 1 + test_random_below(600000);
    case 1:
    case 2:
        return 1 + test_random_below(20000);
    default:
        return 1 + test_random_below(200);
    }
}

static void model_put(model *m, wf_outpool *pool)
{
    size_t n = some_size();
    if (m->to + n > MODEL)
        return;
    if (test_random_below(2)) {
        uint8_t *to = wf_outq_reserve(&m->q, pool, n);
        fill(m->p + m->to, n);
        memcpy(to, m->p + m->to, n);
    } else {
        fill(m->p + m->to, n);
        CHECK(wf_outq_put(&m->q, pool, m->p + m->to, n));
    }
    m->to += n;
}

static void model_share(model *m, wf_outpool *pool, wf_blob *blob)
{
    if (m->to + blob->used > MODEL)
        return;
    CHECK(wf_outq_share(&m->q, pool, blob));
    memcpy(m->p + m->to, blob->data, blob->used);
    m->to += blob->used;
}

/* A send() that takes all, or some, or nothing. */
static void model_send(model *m, wf_outpool *pool)
{
    size_t n = m->to - m->from;
    if (test_random_below(3)) {
        size_t most = some_size();
        n = test_random_below((uint32_t)WF_MIN(n + 1, most));
    }
    wf_outq_consume(&m->q, pool, n);
    m->from += n;
    if (m->from == m->to) {
        CHECK(m->q.head == NULL && m->q.tail == NULL);
        m->from = m->to = 0;
    }
}

static wf_blob *some_blob(void)
{
    size_t n = 1 + test_random_below(3000);
    wf_blob *blob = wf_blob_new(n);
    fill(blob->data, n);
    blob->used = n;
    return blob;
}

static void end_turn(model *m, wf_outpool *pool)
{
    for (int i = 0; i < QUEUES; i++) {
        CHECK(wf_outq_settle(&m[i].q, pool));
        check_all_bytes(&m[i]);
        for (const wf_seg *seg = m[i].q.head; seg; seg = seg->next)
            CHECK(!seg->blob->arena);
    }
    wf_outpool_end_turn(pool);
    CHECK(pool->arena == NULL || (pool->arena->refs == 1 && pool->arena->used == 0));
}

static void against_a_model(void)
{
    wf_outpool pool = { 0 };
    model m[QUEUES] = { 0 };
    wf_blob *blobs[BLOBS];
    for (int i = 0; i < QUEUES; i++)
        m[i].p = malloc(MODEL);
    for (int i = 0; i < BLOBS; i++)
        blobs[i] = some_blob();
    for (int step = 0; step < 60000; step++) {
        model *one = &m[test_random_below(QUEUES)];
        switch (test_random_below(12)) {
        case 0:
        case 1:
            model_share(one, &pool, blobs[test_random_below(BLOBS)]);
            break;
        case 2:
        case 3:
        case 4:
            model_send(one, &pool);
            break;
        case 5:
            if (test_random_below(40) == 0)
                model_clear(one, &pool);
            break;
        case 6:
            if (test_random_below(4) == 0)
                end_turn(m, &pool);
            break;
        default:
            model_put(one, &pool);
        }
        check(one, 1 + (int)test_random_below(64));
        if (one->to > MODEL / 2)
            model_clear(one, &pool);
    }
    for (int i = 0; i < QUEUES; i++) {
        check_all_bytes(&m[i]);
        model_clear(&m[i], &pool);
        free(m[i].p);
    }
    for (int i = 0; i < BLOBS; i++) {
        CHECK_INT(blobs[i]->refs, 1); /* ours; every queue gave its own back */
        wf_blob_unref(blobs[i]);
    }
    wf_outpool_free(&pool);
    CHECK(pool.arena == NULL && pool.free == NULL && pool.nfree == 0);
}

/* Small writes of one turn are one piece for writev, across calls. */
static void neighbours_become_one(void)
{
    wf_outpool pool = { 0 };
    wf_outq a = { 0 }, b = { 0 };
    struct iovec iov[8];
    for (int i = 0; i < 100; i++)
        CHECK(wf_outq_put(&a, &pool, "abc", 3));
    CHECK_INT(wf_outq_iov(&a, iov, 8), 1);
    CHECK_INT(iov[0].iov_len, 300);
    CHECK(wf_outq_put(&b, &pool, "x", 1)); /* the arena is everybody's */
    CHECK(wf_outq_put(&a, &pool, "def", 3));
    CHECK_INT(wf_outq_iov(&a, iov, 8), 2);
    CHECK_INT(wf_outq_iov(&a, iov, 1), 1);
    wf_outq_consume(&a, &pool, 303);
    wf_outq_consume(&b, &pool, 1);
    const wf_blob *arena = pool.arena;
    wf_outpool_end_turn(&pool);
    CHECK(pool.arena == arena); /* kept for the next turn */
    wf_outpool_free(&pool);
}

static void nothing_is_no_segment(void)
{
    wf_outpool pool = { 0 };
    wf_outq q = { 0 };
    struct iovec iov[2];
    CHECK(wf_outq_put(&q, &pool, NULL, 0));
    CHECK(q.head == NULL && wf_outq_iov(&q, iov, 2) == 0);
    CHECK(wf_outq_settle(&q, &pool));
    wf_outq_consume(&q, &pool, 0);
    wf_outq_clear(&q, &pool);
    wf_outpool_end_turn(&pool);
    wf_outpool_free(&pool);
}

/* What a slow peer leaves behind is gathered in blobs of its own queue. */
static void settling_gathers(void)
{
    wf_outpool pool = { 0 };
    wf_outq q = { 0 };
    for (int turn = 0; turn < 40; turn++) {
        CHECK(wf_outq_put(&q, &pool, "0123456789", 10));
        CHECK(wf_outq_settle(&q, &pool));
        wf_outpool_end_turn(&pool);
    }
    CHECK_INT(q.bytes, 400);
    CHECK(q.head == q.tail); /* one blob holds them all */
    wf_outq_clear(&q, &pool);
    wf_outpool_free(&pool);
}

/* A shared blob is never written to, even by the last queue that holds it. */
static void shared_bytes_never_change(void)
{
    wf_outpool pool = { 0 };
    wf_outq a = { 0 }, b = { 0 };
    wf_blob *blob = wf_blob_new(4096);
    memcpy(blob->data, "frame", 5);
    blob->used = 5;
    CHECK(wf_outq_share(&a, &pool, blob) && wf_outq_share(&b, &pool, blob));
    CHECK_INT(blob->refs, 3);
    CHECK(wf_outq_put(&a, &pool, "more", 4));
    CHECK(wf_outq_settle(&a, &pool));
    CHECK_INT(blob->used, 5);
    CHECK_INT(a.bytes, 9);
    wf_outq_consume(&a, &pool, 5);
    CHECK_INT(blob->refs, 2);
    wf_outq_clear(&b, &pool);
    CHECK_INT(blob->refs, 1);
    CHECK(memcmp(a.head->p, "more", 4) == 0);
    wf_blob_unref(blob);
    wf_outq_clear(&a, &pool);
    wf_outpool_free(&pool);
}

/* An arena that somebody still points into is given up, not reused. */
static void a_pinned_arena_is_left_alone(void)
{
    wf_outpool pool = { 0 };
    wf_outq q = { 0 }, other = { 0 };
    CHECK(wf_outq_put(&q, &pool, "stay", 4));
    wf_outpool_end_turn(&pool);
    CHECK(pool.arena == NULL);
    CHECK(wf_outq_put(&other, &pool, "xxxx", 4));
    CHECK(memcmp(q.head->p, "stay", 4) == 0);
    wf_outq_clear(&q, &pool);
    wf_outq_clear(&other, &pool);
    wf_outpool_free(&pool);
}

int main(void)
{
    static const test_case cases[] = {
        { "random operations against a model", against_a_model },
        { "neighbours become one", neighbours_become_one },
        { "nothing is no segment", nothing_is_no_segment },
        { "settling gathers", settling_gathers },
        { "shared bytes never change", shared_bytes_never_change },
        { "a pinned arena is left alone", a_pinned_arena_is_left_alone },
    };
    return RUN(cases);
}
