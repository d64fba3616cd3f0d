/*
 * crypto: what core asks of OpenSSL: SHA-1 for the handshake, random bytes; and what
 * signed cookies need.
 */
#ifndef WF_IO_CRYPTO_H
#define WF_IO_CRYPTO_H

#include "core/base.h"

WF_HIDDEN_BEGIN

/* Each loop says when it begins and ends. */
void wf_crypto_begin(void);
void wf_crypto_end(void);
bool wf_random(void *bytes, size_t n);
/* While there is a loop. */
void wf_sha1(const void *bytes, size_t n, uint8_t digest[20]);
/* RFC 2104 with SHA-256. */
bool wf_hmac_sha256(const void *key, size_t nkey, const void *bytes, size_t n,
                    uint8_t mac[32]);
/* RFC 4648 4: to 4 * ceil(n / 3) bytes and a NUL. */
void wf_base64(const void *bytes, size_t n, char *out);
/* Back: to at most 3 * n / 4 bytes; how many, or -1 when it is not just that. */
long wf_unbase64(const char *text, size_t n, uint8_t *out);
/* Compares in a time that depends on n alone. */
bool wf_equal(const void *a, const void *b, size_t n);

WF_HIDDEN_END

#endif
