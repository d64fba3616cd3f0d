/*
 * batch: many small sends, or receives, in one system call, by Linux's io_uring.
 * Where the kernel (or a sandbox) has none, there is no batch and streams do them one
 * by one.
 */
#ifndef WF_IO_BATCH_H
#define WF_IO_BATCH_H

#include "core/base.h"

#define WF_BATCH_MAX 128

WF_HIDDEN_BEGIN

typedef struct wf_batch wf_batch;

typedef struct wf_batch_op {
    int fd;
    bool send; /* else receive */
    bool more; /* the sender's end follows at once */
    void *p;   /* a send does not write there */
    size_t n;
    long result; /* as of send(2) or recv(2), or minus an errno */
} wf_batch_op;

/* NULL: not to be had here. */
wf_batch *wf_batch_new(void);
void wf_batch_free(wf_batch *batch);
/* Does all n (at most WF_BATCH_MAX) without waiting for any peer. False: the batch is
 * of no more use and to be freed; what it has not done has the result -EAGAIN. */
bool wf_batch_run(wf_batch *batch, wf_batch_op *ops, unsigned n);

WF_HIDDEN_END

#endif
