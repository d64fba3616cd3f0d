/* batch: see batch.h. */
#include "io/batch.h"

#ifdef __linux__
#include <linux/version.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 0, 0)
#define HAS_RINGS
#endif
#endif

#ifdef HAS_RINGS

#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct wf_batch {
    int fd;
    void *rings; /* both, in one mapping */
    size_t rings_size;
    struct io_uring_sqe *sqes;
    size_t sqes_size;
    _Atomic unsigned *sq_tail, *cq_head, *cq_tail;
    unsigned sq_mask, cq_mask;
    unsigned *sq_array;
    struct io_uring_cqe *cqes;
};

static int setup(struct io_uring_params *params)
{
    /* ours is the only thread that submits, and it looks for results itself */
    params->flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN;
    return (int)syscall(__NR_io_uring_setup, WF_BATCH_MAX, params);
}

static bool map(wf_batch *b, const struct io_uring_params *params)
{
    size_t sq = params->sq_off.array + params->sq_entries * sizeof(unsigned);
    size_t cq = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
    int prot = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
    b->rings_size = WF_MAX(sq, cq);
    b->sqes_size = params->sq_entries * sizeof(struct io_uring_sqe);
    b->rings = mmap(NULL, b->rings_size, prot, flags, b->fd, IORING_OFF_SQ_RING);
    b->sqes = mmap(NULL, b->sqes_size, prot, flags, b->fd, IORING_OFF_SQES);
    return b->rings != MAP_FAILED && (void *)b->sqes != MAP_FAILED;
}

static void find_rings(wf_batch *b, const struct io_uring_params *params)
{
    char *ring = b->rings;
    b->sq_tail = (_Atomic unsigned *)(void *)(ring + params->sq_off.tail);
    b->sq_mask = *(unsigned *)(void *)(ring + params->sq_off.ring_mask);
    b->sq_array = (unsigned *)(void *)(ring + params->sq_off.array);
    b->cq_head = (_Atomic unsigned *)(void *)(ring + params->cq_off.head);
    b->cq_tail = (_Atomic unsigned *)(void *)(ring + params->cq_off.tail);
    b->cq_mask = *(unsigned *)(void *)(ring + params->cq_off.ring_mask);
    b->cqes = (struct io_uring_cqe *)(void *)(ring + params->cq_off.cqes);
}

wf_batch *wf_batch_new(void)
{
    struct io_uring_params params;
    memset(&params, 0, sizeof params);
    wf_batch *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->rings = b->sqes = MAP_FAILED;
    b->fd = setup(&params);
    bool one_mapping = params.features & IORING_FEAT_SINGLE_MMAP;
    if (b->fd < 0 || !one_mapping || !map(b, &params)) {
        wf_batch_free(b);
        return NULL;
    }
    find_rings(b, &params);
    return b;
}

void wf_batch_free(wf_batch *b)
{
    if (!b)
        return;
    if ((void *)b->sqes != MAP_FAILED)
        munmap(b->sqes, b->sqes_size);
    if (b->rings != MAP_FAILED)
        munmap(b->rings, b->rings_size);
    if (b->fd >= 0)
        close(b->fd);
    free(b);
}

static void prepare(wf_batch *b, wf_batch_op *ops, unsigned n)
{
    unsigned tail = atomic_load_explicit(b->sq_tail, memory_order_relaxed);
    for (unsigned i = 0; i < n; i++) {
        unsigned slot = (tail + i) & b->sq_mask;
        struct io_uring_sqe *sqe = &b->sqes[slot];
        memset(sqe, 0, sizeof *sqe);
        sqe->opcode = ops[i].send ? IORING_OP_SEND : IORING_OP_RECV;
        sqe->fd = ops[i].fd;
        sqe->addr = (uintptr_t)ops[i].p;
        sqe->len = (unsigned)ops[i].n;
        sqe->msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT; /* done at once, or EAGAIN */
        if (ops[i].more)
            sqe->msg_flags |= MSG_MORE;
        sqe->user_data = (uintptr_t)&ops[i];
        ops[i].result = -EAGAIN;
        b->sq_array[slot] = slot;
    }
    atomic_store_explicit(b->sq_tail, tail + n, memory_order_release);
}

static unsigned collect(wf_batch *b)
{
    unsigned head = atomic_load_explicit(b->cq_head, memory_order_relaxed);
    unsigned tail = atomic_load_explicit(b->cq_tail, memory_order_acquire);
    unsigned n = tail - head;
    for (; head != tail; head++) {
        const struct io_uring_cqe *cqe = &b->cqes[head & b->cq_mask];
        ((wf_batch_op *)(uintptr_t)cqe->user_data)->result = cqe->res;
    }
    atomic_store_explicit(b->cq_head, head, memory_order_release);
    return n;
}

bool wf_batch_run(wf_batch *b, wf_batch_op *ops, unsigned n)
{
    unsigned submitted = 0, done = 0;
    prepare(b, ops, n);
    while (done < n) {
        long k = syscall(__NR_io_uring_enter, b->fd, n - submitted, n - done,
                         IORING_ENTER_GETEVENTS, NULL, 0);
        if (k < 0 && errno != EINTR && errno != EAGAIN && errno != EBUSY)
            return false;
        if (k > 0)
            submitted += (unsigned)k;
        done += collect(b);
    }
    return true;
}

#else

wf_batch *wf_batch_new(void)
{
    return NULL;
}

void wf_batch_free(wf_batch *batch)
{
    (void)batch;
}

bool wf_batch_run(wf_batch *batch, wf_batch_op *ops, unsigned n)
{
    (void)batch, (void)ops, (void)n;
    return false;
}

#endif
