/*
 * handshake: the judging half of RFC 6455 section 4 for both roles, over heads
 * that head.h has parsed. Pure; SHA-1 comes from the caller.
 */
#ifndef WF_CORE_HANDSHAKE_H
#define WF_CORE_HANDSHAKE_H

#include "head.h"

WF_HIDDEN_BEGIN

/*
 * Judges a client's opening request (RFC 6455 4.2.1).
 * 101  valid: upgrade it
 * 426  not a WebSocket request, or another version or none (then *bad_version,
 *      and the answer carries Sec-WebSocket-Version: 13)
 * 400, 405, 505  otherwise; *why is a constant sentence.
 * Duplicates of Host, Sec-WebSocket-Key and Sec-WebSocket-Version are 400.
 * bad_version and why may be NULL.
 */
int wf_handshake_judge(const wf_head *head, const char *p, bool *bad_version,
                       const char **why);

enum { WF_ACCEPT_LEN = 28 };

/* The Sec-WebSocket-Accept for a key of key_len bytes (24 for every key that
 * was judged valid; of a longer one only 64 count), NUL-terminated. */
void wf_handshake_accept(const char *key, size_t key_len, wf_sha1_fn sha1,
                         char accept[WF_ACCEPT_LEN + 1]);

/*
 * Judges the server's answer (RFC 6455 4.1): status 101, Upgrade, Connection,
 * the Accept that belongs to key, a subprotocol only if it is among the offered
 * ones (`offered`: comma separated, or NULL), no extension (none are offered
 * unless `extensions`). NULL when valid, else a constant sentence.
 * *protocol gets the span of the chosen subprotocol (len 0: none), whose case
 * counts; or of what was chosen without an offer. Upgrade, Accept and
 * Sec-WebSocket-Protocol may be there only once.
 */
const char *wf_handshake_check(const wf_head *head, const char *p, const char *key,
                               wf_sha1_fn sha1, const char *offered, bool extensions,
                               wf_span *protocol);

/* A fresh Sec-WebSocket-Key from 16 random bytes, NUL-terminated. */
void wf_handshake_key(const uint8_t random[16], char key[25]);

WF_HIDDEN_END

#endif
