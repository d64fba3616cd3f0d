/*
 * hash: a keyed hash (SipHash-1-3) for tables whose keys come from the net, so that who
 * does not know the key cannot make them collide. No I/O, no state.
 */
#ifndef WF_CORE_HASH_H
#define WF_CORE_HASH_H

#include "base.h"

WF_HIDDEN_BEGIN

typedef struct wf_hash_key {
    uint64_t k0, k1;
} wf_hash_key;

uint64_t wf_hash(const wf_hash_key *key, const void *bytes, size_t n);

WF_HIDDEN_END

#endif
