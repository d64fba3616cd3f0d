/* crypto: see crypto.h. */
#include "io/crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <pthread.h>

bool wf_random(void *bytes, size_t n)
{
    return RAND_bytes(bytes, (int)n) == 1;
}

/* Fetched once (SHA1() looks for it each time), and never changed after. */
static EVP_MD *sha1;

static void fetch_sha1(void)
{
    sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
}

void wf_sha1(const void *bytes, size_t n, uint8_t digest[20])
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fetch_sha1);
    if (!sha1 || EVP_Digest(bytes, n, digest, NULL, sha1, NULL) != 1)
        SHA1(bytes, n, digest);
}

bool wf_equal(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}
