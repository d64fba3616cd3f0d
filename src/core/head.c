/*
 * head: the HTTP/1.x head parser. One pass over the bytes, left to right, so
 * that a wrong byte is refused when it arrives and the verdict is the same
 * however the bytes came. Pure; includes head.h only.
 */
#include "head.h"

#include <string.h>

const wf_head_limits wf_head_default_limits = { 4096, 8192, WF_HEAD_MAX_FIELDS };

enum { MAX_METHOD = 32 };

/* What the steps below return, besides minus an HTTP status: */
enum { MORE = 0, DONE = 1 };

/* Where the parser stands: at p[at], allowed to look at bytes before `end`. */
typedef struct scan {
    const char *p;
    size_t at, end;
    const char *why;
} scan;

static int refuse(scan *s, int status, const char *why)
{
    s->why = why;
    return -status;
}

/* ---- classes of characters -------------------------------------------- */

/* RFC 9110 5.6.2: tchar */
static const uint8_t tchars[256] = {
    ['!'] = 1,         ['#'] = 1,         ['$'] = 1,         ['%'] = 1, ['&'] = 1,
    ['\''] = 1,        ['*'] = 1,         ['+'] = 1,         ['-'] = 1, ['.'] = 1,
    ['^'] = 1,         ['_'] = 1,         ['`'] = 1,         ['|'] = 1, ['~'] = 1,
    ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

static inline bool is_tchar(char c)
{
    return tchars[(uint8_t)c] != 0;
}

/* RFC 9110 5.5: HTAB, SP, VCHAR, obs-text; no CR, LF, NUL or other control */
static inline bool is_text(char c)
{
    uint8_t b = (uint8_t)c;
    return (b >= 0x20 && b != 0x7F) || b == '\t';
}

/* RFC 3986 2 has visible ASCII only. */
static inline bool is_visible(char c)
{
    uint8_t b = (uint8_t)c;
    return b > 0x20 && b < 0x7F;
}

static inline bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static inline bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Eight bytes at a time, the first one lowest: each that is below `low` (at most 128),
 * or DEL, is marked. Exact as to whether any is and which is the first; those behind it
 * may be marked wrongly. */
static const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;

static inline uint64_t load(const char *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap64(w);
#endif
    return w;
}

static inline uint64_t below_or_del(uint64_t w, uint64_t low)
{
    uint64_t del = w ^ ones * 0x7F;
    return (((w - ones * low) & ~w) | ((del - ones) & ~del)) & highs;
}

static inline unsigned first_of(uint64_t marks)
{
    return (unsigned)__builtin_ctzll(marks) / 8;
}

/* ---- pieces of lines ---------------------------------------------------- */

static wf_span span(size_t at, size_t end)
{
    return (wf_span){ (uint16_t)at, (uint16_t)(end - at) };
}

/* At CR: the CRLF. RFC 9112 2.2: a CR not immediately followed by LF is
 * invalid. */
static int line_end(scan *s)
{
    if (s->at + 1 >= s->end)
        return MORE;
    if (s->p[s->at + 1] != '\n')
        return refuse(s, 400, "a bare CR in the head");
    s->at += 2;
    return DONE;
}

/* The given text, byte by byte. */
static int literal(scan *s, const char *text, const char *why)
{
    for (; *text != '\0'; text++, s->at++) {
        if (s->at == s->end)
            return MORE;
        if (s->p[s->at] != *text)
            return refuse(s, 400, why);
    }
    return DONE;
}

/* Where the text from i on ends: at `end`, or at the first byte that is none. */
static size_t text_end(const char *p, size_t i, size_t end)
{
    while (end - i >= 8) {
        uint64_t odd = below_or_del(load(p + i), 0x20);
        i += odd == 0 ? 8 : first_of(odd);
        if (odd != 0 && !is_text(p[i]))
            return i;
        i += odd != 0; /* a tab */
    }
    while (i < end && is_text(p[i]))
        i++;
    return i;
}

/* Text up to CR, as in field values and reason phrases. The span is without
 * the white space around it (RFC 9110 5.5). */
static int text_to_cr(scan *s, wf_span *text, const char *why)
{
    while (s->at < s->end && is_space(s->p[s->at]))
        s->at++;
    size_t from = s->at, i = text_end(s->p, from, s->end);
    if (i == s->end)
        return MORE;
    /* RFC 9112 2.2 lets a recipient take a bare LF for a line end; a strict
     * one does not, as proxies disagree there. RFC 9110 5.5: NUL and other
     * control characters are invalid. */
    s->at = i;
    if (s->p[i] != '\r')
        return refuse(s, 400, s->p[i] == '\n' ? "a bare LF in the head" : why);
    while (i > from && is_space(s->p[i - 1]))
        i--;
    *text = span(from, i);
    return DONE;
}

/* HTTP-version = "HTTP/" DIGIT "." DIGIT, case-sensitive (RFC 9112 2.3) */
static int version(scan *s, wf_head *head)
{
    static const char why[] = "no HTTP version where one belongs";
    int r = literal(s, "HTTP/", why);
    if (r != DONE)
        return r;
    if (s->at == s->end)
        return MORE;
    /* RFC 9110 15.6.6: 505 for a major version that is not supported */
    if (s->p[s->at] != '1')
        return is_digit(s->p[s->at]) ? refuse(s, 505, "the HTTP version is not 1.x")
                                     : refuse(s, 400, why);
    s->at++;
    r = literal(s, ".", why);
    if (r != DONE)
        return r;
    if (s->at == s->end)
        return MORE;
    if (!is_digit(s->p[s->at]))
        return refuse(s, 400, why);
    head->minor = (uint8_t)(s->p[s->at++] - '0');
    return DONE;
}

/* ---- first lines: both leave the scan at the CR ------------------------- */

static int method(scan *s, wf_head *head)
{
    size_t from = s->at;
    while (s->at < s->end && is_tchar(s->p[s->at])) {
        if (s->at - from == MAX_METHOD)
            return refuse(s, 400, "the request method is too long");
        s->at++;
    }
    if (s->at == s->end)
        return MORE;
    /* RFC 9112 3: method SP; RFC 9110 9.1: method = token */
    if (s->p[s->at] != ' ' || s->at == from)
        return refuse(s, 400, "the request method is not a token");
    head->method = span(from, s->at++);
    return DONE;
}

static int target(scan *s, wf_head *head)
{
    size_t from = s->at;
    while (s->end - s->at >= 8) {
        uint64_t w = load(s->p + s->at);
        if ((below_or_del(w, 0x21) | (w & highs)) != 0)
            break;
        s->at += 8;
    }
    while (s->at < s->end && is_visible(s->p[s->at]))
        s->at++;
    if (s->at == s->end)
        return MORE;
    /* RFC 9112 3.2: no white space in the target; RFC 3986 2: nor anything
     * else that is not visible ASCII */
    if (s->p[s->at] != ' ' || s->at == from)
        return refuse(s, 400, "the request target is empty or has an invalid character");
    head->target = span(from, s->at++);
    return DONE;
}

/* At the end of a first line only its CR may stand. */
static int at_cr(scan *s, const char *why)
{
    if (s->at == s->end)
        return MORE;
    return s->p[s->at] == '\r' ? DONE : refuse(s, 400, why);
}

/* request-line = method SP request-target SP HTTP-version (RFC 9112 3) */
static int request_line(scan *s, wf_head *head)
{
    int r = method(s, head);
    if (r == DONE)
        r = target(s, head);
    if (r == DONE)
        r = version(s, head);
    if (r == DONE)
        r = at_cr(s, "the request line does not end after the version");
    return r;
}

static int status_code(scan *s, wf_head *head)
{
    unsigned status = 0;
    for (int i = 0; i < 3; i++, s->at++) {
        if (s->at == s->end)
            return MORE;
        /* RFC 9112 4: status-code = 3DIGIT */
        if (!is_digit(s->p[s->at]))
            return refuse(s, 400, "the status is not a number of three digits");
        status = status * 10 + (unsigned)(s->p[s->at] - '0');
    }
    head->status = (uint16_t)status;
    return DONE;
}

/* The rest of the status line. The SP before an empty reason phrase belongs
 * there (RFC 9112 4), but many servers leave it out, and no harm is in that. */
static int reason(scan *s, wf_head *head)
{
    if (s->at == s->end)
        return MORE;
    if (s->p[s->at] == '\r') {
        head->reason = span(s->at, s->at);
        return DONE;
    }
    if (s->p[s->at] != ' ')
        return refuse(s, 400, "the status is not a number of three digits");
    s->at++;
    return text_to_cr(s, &head->reason, "a control character in the reason phrase");
}

/* status-line = HTTP-version SP status-code SP [ reason-phrase ] (RFC 9112 4) */
static int status_line(scan *s, wf_head *head)
{
    int r = version(s, head);
    if (r == DONE)
        r = literal(s, " ", "no space after the HTTP version");
    if (r == DONE)
        r = status_code(s, head);
    if (r == DONE)
        r = reason(s, head);
    return r;
}

/* Runs one of the two above and the CRLF, over at most max_line bytes (CRLF
 * not counted). The line is shown cut off one byte after the limit: whoever
 * wants still more then has a line that is too long, complete or not. */
static int first_line(scan *s, wf_head *head, size_t max_line,
                      int (*line)(scan *, wf_head *))
{
    size_t end = s->end;
    bool cut = end - s->at > max_line;
    if (cut)
        s->end = s->at + max_line + 1;
    int r = line(s, head);
    /* RFC 9112 3: 414 for a request-target longer than the server wishes to parse */
    if (r == MORE && cut)
        return refuse(s, 414, "the first line is longer than max_line");
    s->end = end;
    return r == DONE ? line_end(s) : r;
}

/* ---- fields --------------------------------------------------------------- */

/* field-line = field-name ":" OWS field-value OWS (RFC 9112 5) */
static int field(scan *s, wf_field *f)
{
    size_t from = s->at;
    /* RFC 9112 5.2: obs-fold is answered with 400 */
    if (is_space(s->p[s->at]))
        return refuse(s, 400, "a header line begins with white space (obsolete folding)");
    while (s->at < s->end && is_tchar(s->p[s->at]))
        s->at++;
    if (s->at == s->end)
        return MORE;
    /* RFC 9112 5.1: no white space between the name and the colon, 400 */
    if (s->p[s->at] != ':' || s->at == from)
        return refuse(s, 400, "a header field name is not a token followed by a colon");
    f->name = span(from, s->at++);
    int r = text_to_cr(s, &f->value, "a control character in a header field value");
    return r == DONE ? line_end(s) : r;
}

static int fields(scan *s, wf_head *head, size_t max_fields)
{
    for (;;) {
        if (s->at == s->end)
            return MORE;
        if (s->p[s->at] == '\r')
            return line_end(s);
        if (head->nfields >= max_fields)
            return refuse(s, 400, "more header fields than max_fields");
        int r = field(s, &head->fields[head->nfields]);
        if (r != DONE)
            return r;
        head->nfields++;
    }
}

/* ---- the whole ------------------------------------------------------------- */

static int parse(wf_head *head, scan *s, const wf_head_limits *limits,
                 int (*line)(scan *, wf_head *))
{
    int r = first_line(s, head, limits->max_line, line);
    if (r == DONE)
        r = fields(s, head, WF_MIN(limits->max_fields, WF_HEAD_MAX_FIELDS));
    return r;
}

static void clear(wf_head *head)
{
    head->method = head->target = head->reason = span(0, 0);
    head->status = head->length = 0;
    head->minor = head->nfields = 0;
}

/* Turns what parse found into what the functions promise. Only max_head bytes
 * were shown to it: wanting more of them is 431 (RFC 6585 5). */
static int conclude(wf_head *head, scan *s, int r, size_t n, const wf_head_limits *limits,
                    const char **why)
{
    if (r == MORE && n >= limits->max_head)
        r = refuse(s, 431, "the head is longer than max_head");
    if (r < 0 && why != NULL)
        *why = s->why;
    if (r != DONE)
        return r;
    head->length = (uint16_t)s->at;
    return (int)s->at;
}

int wf_head_parse_request(wf_head *head, const char *p, size_t n,
                          const wf_head_limits *limits, const char **why)
{
    scan s = { p, 0, WF_MIN(n, limits->max_head), NULL };
    int r = DONE;
    clear(head);
    /* RFC 9112 2.2: a server SHOULD ignore at least one empty line received
     * before the request line. One it is. */
    if (s.end > 0 && p[0] == '\r')
        r = line_end(&s);
    if (r == DONE)
        r = parse(head, &s, limits, request_line);
    return conclude(head, &s, r, n, limits, why);
}

int wf_head_parse_response(wf_head *head, const char *p, size_t n,
                           const wf_head_limits *limits, const char **why)
{
    scan s = { p, 0, WF_MIN(n, limits->max_head), NULL };
    clear(head);
    return conclude(head, &s, parse(head, &s, limits, status_line), n, limits, why);
}

/* ---- asking about what was parsed ------------------------------------------- */

static inline char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool same_folded(const char *p, const char *lowered, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (lower(p[i]) != lowered[i])
            return false;
    return true;
}

bool wf_span_is(wf_span s, const char *p, const char *lowered)
{
    return s.len == strlen(lowered) && same_folded(p + s.at, lowered, s.len);
}

int wf_head_find_name(const wf_head *head, const char *p, const char *name, size_t len,
                      int from)
{
    for (int i = WF_MAX(from, 0); i < head->nfields; i++) {
        wf_span s = head->fields[i].name;
        if (s.len == len && same_folded(p + s.at, name, len))
            return i;
    }
    return -1;
}

int wf_head_count(const wf_head *head, const char *p, const char *name)
{
    int count = 0;
    for (int i = 0; (i = wf_head_find(head, p, name, i)) >= 0; i++)
        count++;
    return count;
}

/* One list: #element of RFC 9110 5.6.1, whose empty elements are skipped. */
static bool list_has(const char *p, size_t n, const char *token, size_t len)
{
    for (size_t at = 0; at < n;) {
        const char *comma = memchr(p + at, ',', n - at);
        size_t end = comma != NULL ? (size_t)(comma - p) : n, to = end;
        while (at < to && is_space(p[at]))
            at++;
        while (to > at && is_space(p[to - 1]))
            to--;
        if (to - at == len && same_folded(p + at, token, len))
            return true;
        at = end + 1;
    }
    return false;
}

bool wf_head_has_token(const wf_head *head, const char *p, const char *name,
                       const char *token)
{
    size_t len = strlen(token);
    for (int i = 0; (i = wf_head_find(head, p, name, i)) >= 0; i++) {
        wf_span v = head->fields[i].value;
        if (len > 0 && list_has(p + v.at, v.len, token, len))
            return true;
    }
    return false;
}
