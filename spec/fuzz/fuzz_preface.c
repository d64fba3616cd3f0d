/*
 * fuzz_preface: headers of the PROXY protocol: judged once and for all, however few bytes
 * have come; within their limits; and what is read from them is what they say.
 */
#include "fuzz.h"

#include "core/preface.h"

static long parse(wf_preface *h, const uint8_t *p, size_t n)
{
    const char *why;
    uint8_t *copy = fuzz_copy(p, n);
    long k = wf_preface_parse(h, (char *)copy, n, &why);
    fuzz_drop(copy, n);
    MUST(k <= (long)n, "%ld of %zu bytes", k, n);
    MUST((k < 0) == (why != NULL), "%ld without a sentence", k);
    return k;
}

/* The line again, as far as it was read. */
static void check_line(const wf_preface *h, const uint8_t *p, long k)
{
    char line[160], rest[128];
    unsigned port;
    MUST(k <= WF_PREFACE_MAX_V1 && memcmp(p + k - 2, "\r\n", 2) == 0, "its end");
    if (h->family == 0) {
        MUST(memcmp(p, "PROXY UNKNOWN", 13) == 0, "nobody");
        return;
    }
    int n = snprintf(line, sizeof line, "PROXY TCP%u %.*s ", h->family, h->text.len,
                     (const char *)p + h->text.at);
    MUST(memcmp(p, line, (size_t)n) == 0, "%s", line);
    memcpy(rest, p + n, (size_t)(k - n));
    rest[k - n] = '\0';
    MUST(sscanf(rest, "%*[^ ] %u", &port) == 1 && port == h->port, "port %u", h->port);
}

static void check_binary(const wf_preface *h, const uint8_t *p, long k)
{
    size_t length = (size_t)p[14] << 8 | p[15], ip = h->family == 6 ? 16 : 4;
    MUST(k == (long)(16 + length) && length <= WF_PREFACE_MAX_V2, "%zu bytes", length);
    MUST(p[12] == 0x20 || p[12] == 0x21, "command %u", p[12]);
    if (p[12] == 0x20 || (p[13] & 15) != 1 || p[13] < 0x10) {
        MUST(h->family == 0, "family %u", h->family);
        return;
    }
    MUST(h->family == (p[13] >> 4 == 1 ? 4 : p[13] >> 4 == 2 ? 6 : 1), "family");
    if (h->family == 1)
        return;
    MUST(memcmp(h->ip, p + 16, ip) == 0, "address");
    MUST(h->port == ((unsigned)p[16 + 2 * ip] << 8 | p[17 + 2 * ip]), "port");
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    wf_preface h, again;
    long whole = parse(&h, p, n), k = 0;
    for (size_t come = 0; come <= n && k == 0;
         come += come < 300 || come + 97 > n ? 1 : 97)
        k = parse(&again, p, come);
    MUST((k < 0) == (whole < 0) && (k <= 0 || k == whole), "%ld, then %ld", k, whole);
    if (whole <= 0)
        return 0;
    MUST(memcmp(&h, &again, sizeof h) == 0, "read differently");
    if (p[0] == 'P')
        check_line(&h, p, whole);
    else
        check_binary(&h, p, whole);
    return 0;
}
