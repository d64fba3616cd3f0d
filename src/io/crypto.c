/* crypto: see crypto.h. */
#include "io/crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define WF_BASE64_DIGITS                                                                 \
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

bool wf_random(void *bytes, size_t n)
{
    return RAND_bytes(bytes, (int)n) == 1;
}

/* Fetched once, for SHA1() looks for it each time; and one context, which whoever needs
 * it takes away meanwhile. The last loop gives them back: weft may be unloaded and loaded
 * again. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(EVP_MD *) sha1;
static _Atomic(EVP_MD_CTX *) spare;
static unsigned users;

void wf_crypto_begin(void)
{
    pthread_mutex_lock(&lock);
    users++;
    pthread_mutex_unlock(&lock);
}

void wf_crypto_end(void)
{
    pthread_mutex_lock(&lock);
    if (--users == 0) {
        EVP_MD_CTX_free(atomic_exchange(&spare, NULL));
        EVP_MD_free(atomic_exchange(&sha1, NULL));
    }
    pthread_mutex_unlock(&lock);
}

static EVP_MD *fetch_sha1(void)
{
    pthread_mutex_lock(&lock);
    if (!atomic_load(&sha1))
        atomic_store(&sha1, EVP_MD_fetch(NULL, "SHA1", NULL));
    pthread_mutex_unlock(&lock);
    return atomic_load(&sha1);
}

void wf_sha1(const void *bytes, size_t n, uint8_t digest[20])
{
    EVP_MD *md = atomic_load(&sha1);
    if (!md)
        md = fetch_sha1();
    EVP_MD_CTX *context = atomic_exchange(&spare, NULL);
    if (!context)
        context = EVP_MD_CTX_new();
    if (!md || !context || EVP_DigestInit_ex(context, md, NULL) != 1 ||
        EVP_DigestUpdate(context, bytes, n) != 1 ||
        EVP_DigestFinal_ex(context, digest, NULL) != 1)
        SHA1(bytes, n, digest);
    EVP_MD_CTX_free(atomic_exchange(&spare, context));
}

bool wf_hmac_sha256(const void *key, size_t nkey, const void *bytes, size_t n,
                    uint8_t mac[32])
{
    return HMAC(EVP_sha256(), key, (int)nkey, bytes, n, mac, NULL) != NULL;
}

void wf_base64(const void *bytes, size_t n, char *out)
{
    EVP_EncodeBlock((uint8_t *)out, bytes, (int)n);
}

/* OpenSSL's lets spaces stand around it, and bits in the last digit (RFC 4648 3.5). */
static bool is_canonical(const char *text, size_t n, const uint8_t *last, size_t nlast)
{
    char again[5];
    wf_base64(last, nlast, again);
    return memcmp(again, text + n - 4, 4) == 0;
}

long wf_unbase64(const char *text, size_t n, uint8_t *out)
{
    if (n == 0)
        return 0;
    size_t pad = n % 4 == 0 ? (text[n - 1] == '=') + (text[n - 2] == '=') : 0;
    if (n % 4 != 0 || strspn(text, WF_BASE64_DIGITS) != n - pad)
        return -1;
    int made = EVP_DecodeBlock(out, (const uint8_t *)text, (int)n);
    if (made < 0)
        return -1;
    size_t nlast = 3 - pad;
    return is_canonical(text, n, out + made - 3, nlast) ? made - (long)pad : -1;
}

bool wf_equal(const void *a, const void *b, size_t n)
{
    return CRYPTO_memcmp(a, b, n) == 0;
}
