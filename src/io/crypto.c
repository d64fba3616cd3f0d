/* crypto: see crypto.h. */
#include "io/crypto.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

bool wf_random(void *bytes, size_t n)
{
    return RAND_bytes(bytes, (int)n) == 1;
}

void wf_sha1(const void *bytes, size_t n, uint8_t digest[20])
{
    SHA1(bytes, n, digest);
}

bool wf_equal(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}
