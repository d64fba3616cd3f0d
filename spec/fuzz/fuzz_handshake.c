/*
 * fuzz_handshake: opening requests as a server judges them and answers as a client
 * does. What passes is looked at again the slow way, clause by clause (RFC 6455 4.1,
 * 4.2.1), and what weft answers to a request must satisfy weft's client.
 */
#include <openssl/sha.h>
#include <strings.h>

#include "fuzz.h"

#include "core/handshake.h"

/* RFC 6455 1.3 */
static const char sample_key[] = "dGhlIHNhbXBsZSBub25jZQ==";
static const char offered[] = "chat.v2, chat.v1,json";

static void sha1(const void *bytes, size_t n, uint8_t digest[20])
{
    SHA1(bytes, n, digest);
}

/* -- fields, the slow way ---------------------------------------------------------- */

/* The value of the field of that name as a string; NULL: none. *count: how many. */
static char *slow_field(const wf_head *head, const char *p, const char *name, int *count)
{
    char *value = NULL;
    *count = 0;
    for (int i = 0; i < head->nfields; i++) {
        wf_field f = head->fields[i];
        if (f.name.len != strlen(name) || strncasecmp(p + f.name.at, name, f.name.len))
            continue;
        free(value);
        value = strndup(p + f.value.at, f.value.len);
        ++*count;
    }
    return value;
}

static bool slow_is_once(const wf_head *head, const char *p, const char *name,
                         const char *want)
{
    int count;
    char *value = slow_field(head, p, name, &count);
    bool ok = count == 1 && (!want || strcasecmp(value, want) == 0);
    free(value);
    return ok;
}

/* Is the token in any of the lists of that name? Takes them apart by strtok. */
static bool slow_lists(const wf_head *head, const char *p, const char *name,
                       const char *token)
{
    bool found = false;
    for (int i = 0; i < head->nfields; i++) {
        wf_field f = head->fields[i];
        if (f.name.len != strlen(name) || strncasecmp(p + f.name.at, name, f.name.len))
            continue;
        char *list = strndup(p + f.value.at, f.value.len), *rest;
        for (char *t = strtok_r(list, ",", &rest); t; t = strtok_r(NULL, ",", &rest)) {
            t += strspn(t, " \t");
            size_t n = strlen(t);
            while (n > 0 && strchr(" \t", t[n - 1]))
                n--;
            found |= n == strlen(token) && strncasecmp(t, token, n) == 0;
        }
        free(list);
    }
    return found;
}

static bool slow_is_key(const char *key)
{
    uint8_t bytes[18];
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                 "0123456789+/";
    if (strlen(key) != 24 || strcmp(key + 22, "==") != 0 || strspn(key, digits) != 22)
        return false;
    for (int i = 0; i < 16; i++) {
        size_t bit = (size_t)i * 8;
        uint32_t v = 0;
        for (size_t d = bit / 6; d < bit / 6 + 3; d++)
            v = v << 6 | (d < 22 ? (uint32_t)(strchr(digits, key[d]) - digits) : 0);
        bytes[i] = (uint8_t)(v >> (18 - bit % 6 - 8));
    }
    char again[25];
    wf_handshake_key(bytes, again);
    return strcmp(again, key) == 0;
}

/* -- the server ------------------------------------------------------------------- */

/* RFC 6455 4.2.1, what a request that is upgraded has */
static void check_request(const wf_head *head, const char *p)
{
    int count;
    MUST(head->method.len == 3 && memcmp(p + head->method.at, "GET", 3) == 0, "method");
    MUST(head->minor >= 1, "version");
    MUST(slow_is_once(head, p, "Host", NULL), "host");
    MUST(slow_lists(head, p, "Upgrade", "websocket"), "upgrade");
    MUST(slow_lists(head, p, "Connection", "Upgrade"), "connection");
    MUST(slow_is_once(head, p, "Sec-WebSocket-Version", "13"), "version");
    MUST(slow_is_once(head, p, "Sec-WebSocket-Key", NULL), "key");
    char *key = slow_field(head, p, "Sec-WebSocket-Key", &count);
    MUST(slow_is_key(key), "key %s", key);
    free(key);
    free(slow_field(head, p, "Transfer-Encoding", &count));
    MUST(count == 0, "a body");
}

/* What such a request is answered with satisfies a client that sent its key. */
static void check_answer(const wf_head *head, const char *p)
{
    int count;
    char accept[29], answer[256];
    char *key = slow_field(head, p, "Sec-WebSocket-Key", &count);
    wf_handshake_accept(key, strlen(key), sha1, accept);
    int n = snprintf(answer, sizeof answer,
                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                     accept);
    wf_head parsed;
    wf_span protocol;
    MUST(wf_head_parse_response(&parsed, answer, (size_t)n, &wf_head_default_limits,
                                NULL) == n,
         "%s", answer);
    const char *why =
        wf_handshake_check(&parsed, answer, key, sha1, NULL, false, &protocol);
    MUST(why == NULL && protocol.len == 0, "%s", why ? why : "a protocol");
    free(key);
}

static void serve(const char *p, size_t n)
{
    wf_head head;
    bool bad_version = false;
    const char *why = NULL;
    if (wf_head_parse_request(&head, p, n, &wf_head_default_limits, NULL) <= 0)
        return;
    int status = wf_handshake_judge(&head, p, &bad_version, &why);
    MUST(status == wf_handshake_judge(&head, p, NULL, NULL), "judged anew");
    MUST((status == 101) == (why == NULL), "%d: %s", status, why ? why : "no reason");
    MUST(!bad_version || status == 426, "%d for a bad version", status);
    if (status == 101) {
        check_request(&head, p);
        check_answer(&head, p);
    } else {
        MUST(status == 400 || status == 405 || status == 426 || status == 505, "%d",
             status);
    }
}

/* -- the client ---------------------------------------------------------------------- */

static bool slow_is_offered(const char *protocol)
{
    return strcmp(protocol, "chat.v2") == 0 || strcmp(protocol, "chat.v1") == 0 ||
           strcmp(protocol, "json") == 0;
}

/* RFC 6455 4.1, what an answer that is accepted has */
static void check_response(const wf_head *head, const char *p, bool asked,
                           wf_span protocol)
{
    int count;
    MUST(head->status == 101 && head->minor >= 1, "status %d", head->status);
    MUST(slow_is_once(head, p, "Upgrade", "websocket"), "upgrade");
    MUST(slow_lists(head, p, "Connection", "Upgrade"), "connection");
    char *accept = slow_field(head, p, "Sec-WebSocket-Accept", &count);
    MUST(count == 1 && strcmp(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") == 0, "accept");
    free(accept);
    char *chosen = slow_field(head, p, "Sec-WebSocket-Protocol", &count);
    MUST(count == (chosen ? 1 : 0) && (!chosen || (asked && slow_is_offered(chosen))),
         "protocol");
    MUST(protocol.len == (chosen ? strlen(chosen) : 0), "protocol");
    free(chosen);
}

static void connect_to(const char *p, size_t n, bool asked)
{
    wf_head head;
    wf_span protocol;
    if (wf_head_parse_response(&head, p, n, &wf_head_default_limits, NULL) <= 0)
        return;
    const char *why = wf_handshake_check(&head, p, sample_key, sha1,
                                         asked ? offered : NULL, false, &protocol);
    if (!why) {
        int count;
        check_response(&head, p, asked, protocol);
        free(slow_field(&head, p, "Sec-WebSocket-Extensions", &count));
        MUST(count == 0, "an extension");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    fuzz f = { p, n };
    unsigned flags = fuzz_byte(&f);
    uint8_t *head = fuzz_copy(f.p, f.n);
    if (flags & 1)
        connect_to((const char *)head, f.n, flags & 2);
    else
        serve((const char *)head, f.n);
    fuzz_drop(head, f.n);
    return 0;
}
