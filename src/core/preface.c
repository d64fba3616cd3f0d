/* preface: see preface.h. Sections are those of proxy-protocol.txt. */
#include "preface.h"

#include <string.h>

static const char signature[] = "\r\n\r\n\0\r\nQUIT\n"; /* 2.2 */
#define SIGNATURE (sizeof signature - 1)
#define HEAD_V2 16

static const char absent[] = "a PROXY protocol header is missing";
static const char bad_line[] = "a malformed line of the PROXY protocol";
static const char bad_head[] = "a malformed header of the PROXY protocol, version 2";

static long fail(const char **why, const char *text)
{
    *why = text;
    return -1;
}

static bool begins(const char *p, size_t n, const char *text, size_t len)
{
    return memcmp(p, text, WF_MIN(n, len)) == 0;
}

/* ---- version 1 ------------------------------------------------------------- */

/* Takes text off the front of p[*at..end). */
static bool take(const char *p, size_t *at, size_t end, const char *text)
{
    size_t len = strlen(text);
    if (end - *at < len || memcmp(p + *at, text, len) != 0)
        return false;
    *at += len;
    return true;
}

/* The bytes up to the next space, or the end; there have to be some. */
static bool take_word(const char *p, size_t *at, size_t end, wf_span *word)
{
    size_t from = *at;
    while (*at < end && p[*at] != ' ')
        ++*at;
    *word = (wf_span){ (uint16_t)from, (uint16_t)(*at - from) };
    return word->len > 0;
}

/* 2.1: one to five digits, and no leading zero. */
static bool read_port(const char *p, wf_span word, uint16_t *port)
{
    unsigned value = 0;
    if (word.len > 5 || (word.len > 1 && p[word.at] == '0'))
        return false;
    for (size_t i = word.at; i < (size_t)word.at + word.len; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        value = value * 10 + (unsigned)(p[i] - '0');
    }
    *port = (uint16_t)value;
    return value <= 65535;
}

/* "TCP4 source destination port port" behind "PROXY ". */
static bool read_line(wf_preface *preface, const char *p, size_t end)
{
    size_t at = 6;
    wf_span target, from, to;
    uint16_t ignored;
    size_t unknown = at;
    if (take(p, &unknown, end, "UNKNOWN")) /* 2.1: what follows is ignored */
        return unknown == end || p[unknown] == ' ';
    if (take(p, &at, end, "TCP4 "))
        preface->family = 4;
    else if (take(p, &at, end, "TCP6 "))
        preface->family = 6;
    else
        return false;
    return take_word(p, &at, end, &preface->text) && take(p, &at, end, " ") &&
           take_word(p, &at, end, &target) && take(p, &at, end, " ") &&
           take_word(p, &at, end, &from) && take(p, &at, end, " ") &&
           take_word(p, &at, end, &to) && at == end &&
           read_port(p, from, &preface->port) && read_port(p, to, &ignored);
}

static long parse_v1(wf_preface *preface, const char *p, size_t n, const char **why)
{
    size_t most = WF_MIN(n, (size_t)WF_PREFACE_MAX_V1);
    const char *cr = memchr(p, '\r', most);
    size_t end = cr ? (size_t)(cr - p) : most;
    if (memchr(p, '\n', end) || memchr(p, '\0', end))
        return fail(why, bad_line);
    if (end + 2 > WF_PREFACE_MAX_V1)
        return fail(why, "a line of the PROXY protocol is longer than 107 bytes");
    if (!cr || end + 1 == n)
        return 0;
    if (p[end + 1] != '\n' || end < 6 || !read_line(preface, p, end))
        return fail(why, bad_line);
    return (long)end + 2;
}

/* ---- version 2 ------------------------------------------------------------- */

static unsigned read16(const char *p)
{
    return (unsigned)(uint8_t)p[0] << 8 | (uint8_t)p[1];
}

/* Source and destination, and what follows are TLVs. */
static bool read_addresses(wf_preface *preface, uint8_t kind, const char *p, size_t n)
{
    static const struct {
        uint8_t kind, family, ip; /* bytes of an address */
        size_t least;
    } kinds[] = { { 0x11, 4, 4, 12 }, { 0x21, 6, 16, 36 }, { 0x31, 1, 0, 216 } };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (kinds[i].kind != kind)
            continue;
        if (n < kinds[i].least)
            return false;
        preface->family = kinds[i].family;
        memcpy(preface->ip, p, kinds[i].ip);
        if (kinds[i].ip > 0)
            preface->port = (uint16_t)read16(p + 2 * kinds[i].ip);
        return true;
    }
    return true; /* UNSPEC, or a datagram's: the addresses mean nothing here */
}

/* 2.2: versions, commands and families that are not known are refused. */
static bool is_known(const char *p, size_t n)
{
    uint8_t command = n > 12 ? (uint8_t)p[12] : 0x20;
    uint8_t kind = n > 13 ? (uint8_t)p[13] : 0;
    return (command == 0x20 || command == 0x21) && kind >> 4 <= 3 && (kind & 15) <= 2;
}

static long parse_v2(wf_preface *preface, const char *p, size_t n, const char **why)
{
    if (!is_known(p, n))
        return fail(why, bad_head);
    if (n < HEAD_V2)
        return 0;
    size_t length = read16(p + 14);
    if (length > WF_PREFACE_MAX_V2)
        return fail(why, "a header of the PROXY protocol is longer than 4096 bytes");
    if (n < HEAD_V2 + length)
        return 0;
    bool local = p[12] == 0x20; /* the proxy's own: a check of its health */
    if (!local && !read_addresses(preface, (uint8_t)p[13], p + HEAD_V2, length))
        return fail(why, bad_head);
    return (long)(HEAD_V2 + length);
}

long wf_preface_parse(wf_preface *preface, const char *p, size_t n, const char **why)
{
    *preface = (wf_preface){ 0 };
    *why = NULL;
    if (n == 0)
        return 0;
    if (begins(p, n, "PROXY ", 6))
        return n < 6 ? 0 : parse_v1(preface, p, n, why);
    if (!begins(p, n, signature, SIGNATURE))
        return fail(why, absent);
    return n < SIGNATURE ? 0 : parse_v2(preface, p, n, why);
}
