/*
 * crypto: what core asks of OpenSSL: SHA-1 for the handshake, random bytes.
 */
#ifndef WF_IO_CRYPTO_H
#define WF_IO_CRYPTO_H

#include "core/base.h"

WF_HIDDEN_BEGIN

bool wf_random(void *bytes, size_t n);
void wf_sha1(const void *bytes, size_t n, uint8_t digest[20]);
/* Compares in a time that depends on n alone. */
bool wf_equal(const void *a, const void *b, size_t n);

WF_HIDDEN_END

#endif
