/*
 * resolve: getaddrinfo on a few threads of its own, so that a slow name server
 * never stops the loop, and the system's own configuration is honoured.
 */
#ifndef WF_IO_RESOLVE_H
#define WF_IO_RESOLVE_H

#include <netdb.h>

#include "io/loop.h"

WF_HIDDEN_BEGIN

typedef struct wf_resolver wf_resolver;

/* One look-up. Destroy it (by its class) when it is no longer wanted. */
typedef struct wf_lookup {
    wf_object object;
    struct wf_lookup_job *job;
    wf_waiter *waiter; /* woken when it is done */
    bool done;
    int status; /* of getaddrinfo: 0, EAI_…; EAI_SYSTEM: err */
    int err;
    struct addrinfo *result;
    char name[NI_MAXHOST]; /* of a reverse look-up */
} wf_lookup;

/* Starts looking a stream address up; reverse: the name of a numeric one. NULL: no
 * memory or no thread. */
wf_lookup *wf_lookup_new(wf_loop *loop, const char *host, bool reverse);
void wf_resolver_free(wf_resolver *resolver);

WF_HIDDEN_END

#endif
