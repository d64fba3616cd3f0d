/*
 * fuzz_head: request and response heads. The verdict does not depend on how the bytes
 * came nor on what follows; a head that passes has only what RFC 9112 allows in it, and
 * written again from its parts it is the same.
 */
#include "fuzz.h"

#include "core/head.h"

typedef int (*parser)(wf_head *, const char *, size_t, const wf_head_limits *,
                      const char **);

typedef struct verdict {
    int result;
    const char *why;
} verdict;

static verdict judge(parser parse, wf_head *head, const uint8_t *p, size_t n,
                     const wf_head_limits *limits)
{
    verdict v = { 0, NULL };
    uint8_t *copy = fuzz_copy(p, n);
    v.result = parse(head, (const char *)copy, n, limits, &v.why);
    fuzz_drop(copy, n);
    MUST(v.result <= (int)n, "a head of %d in %zu bytes", v.result, n);
    MUST(v.result <= (int)limits->max_head, "a head of %d bytes passed", v.result);
    MUST((v.result < 0) == (v.why != NULL), "%d without a reason", v.result);
    return v;
}

/* Once decided, more bytes change nothing; at the end it is what it is in one piece. */
static void check_pieces(parser parse, fuzz f, const wf_head_limits *limits, cuts c,
                         verdict whole)
{
    wf_head head;
    for (size_t come = 0; come < f.n;) {
        come += cuts_next(&c, f.n - come);
        verdict v = judge(parse, &head, f.p, come, limits);
        if (v.result == 0)
            MUST(come < f.n || whole.result == 0, "undecided, then %d", whole.result);
        else
            MUST(v.result == whole.result && v.why == whole.why, "%d, then %d (%s, %s)",
                 v.result, whole.result, v.why ? v.why : "", whole.why ? whole.why : "");
    }
}

static bool in(const char *p, wf_span s, bool (*is)(uint8_t))
{
    for (size_t i = 0; i < s.len; i++)
        if (!is((uint8_t)p[s.at + i]))
            return false;
    return true;
}

static bool is_token(uint8_t c)
{
    return c > ' ' && c < 127 && !strchr("\"(),/:;<=>?@[\\]{}", c);
}

static bool is_visible(uint8_t c)
{
    return c > ' ' && c < 127;
}

static bool is_value(uint8_t c)
{
    return c == '\t' || (c >= ' ' && c != 127);
}

static bool is_trimmed(const char *p, wf_span s)
{
    return s.len == 0 || (!strchr(" \t", p[s.at]) && !strchr(" \t", p[s.at + s.len - 1]));
}

static void check_field(const wf_head *head, const char *p, int i)
{
    wf_field f = head->fields[i];
    char name[256] = { 0 };
    MUST(f.name.len > 0 && in(p, f.name, is_token), "name %d", i);
    MUST(in(p, f.value, is_value) && is_trimmed(p, f.value), "value %d", i);
    MUST(f.value.at + f.value.len <= head->length, "value %d", i);
    if (f.name.len >= sizeof name)
        return;
    for (size_t k = 0; k < f.name.len; k++)
        name[k] = (char)(p[f.name.at + k] |
                         (p[f.name.at + k] >= 'A' && p[f.name.at + k] <= 'Z' ? 0x20 : 0));
    int first = wf_head_find(head, p, name, 0);
    MUST(first >= 0 && first <= i && wf_head_find(head, p, name, i) == i, "find %d", i);
    MUST(wf_head_count(head, p, name) >= 1 + (first < i), "count %d", i);
    wf_head_has_token(head, p, name, "upgrade");
}

static void check_first_line(const wf_head *head, const char *p, bool request)
{
    MUST(head->minor <= 9, "version");
    if (!request) {
        MUST(head->status <= 999 && in(p, head->reason, is_value), "status line");
        return;
    }
    MUST(head->method.len > 0 && in(p, head->method, is_token), "method");
    MUST(head->target.len > 0 && in(p, head->target, is_visible), "target");
}

static size_t write_again(const wf_head *head, const char *p, bool request, char *to,
                          size_t room)
{
    wf_span m = head->method, t = head->target, r = head->reason;
    int n = request ? snprintf(to, room, "%.*s %.*s HTTP/1.%d\r\n", m.len, p + m.at,
                               t.len, p + t.at, head->minor)
                    : snprintf(to, room, "HTTP/1.%d %03d %.*s\r\n", head->minor,
                               head->status, r.len, p + r.at);
    for (int i = 0; i < head->nfields; i++) {
        wf_span name = head->fields[i].name, value = head->fields[i].value;
        n += snprintf(to + n, room - (size_t)n, "%.*s:%.*s\r\n", name.len, p + name.at,
                      value.len, p + value.at);
    }
    n += snprintf(to + n, room - (size_t)n, "\r\n");
    return (size_t)n;
}

static bool same(const char *a, wf_span x, const char *b, wf_span y)
{
    return x.len == y.len && memcmp(a + x.at, b + y.at, x.len) == 0;
}

static void check_again(parser parse, const wf_head *head, const char *p, bool request)
{
    static const wf_head_limits most = { 65000, 65535, WF_HEAD_MAX_FIELDS };
    size_t room = head->length + 64u;
    char *again = malloc(room);
    wf_head second;
    size_t n = write_again(head, p, request, again, room);
    MUST(n < room, "%zu bytes", n);
    MUST(parse(&second, again, n, &most, NULL) == (int)n, "not a head: %s", again);
    MUST(second.nfields == head->nfields && second.status == head->status, "%s", again);
    MUST(same(p, head->method, again, second.method), "%s", again);
    MUST(same(p, head->target, again, second.target), "%s", again);
    MUST(same(p, head->reason, again, second.reason), "%s", again);
    for (int i = 0; i < head->nfields; i++)
        MUST(same(p, head->fields[i].name, again, second.fields[i].name) &&
                 same(p, head->fields[i].value, again, second.fields[i].value),
             "%s", again);
    free(again);
}

/* A line or head that is refused for its length is too long, and no other passes. */
static void check_limits(const uint8_t *p, size_t n, bool request,
                         const wf_head_limits *limits, verdict v)
{
    size_t skip = request && n > 1 && p[0] == '\r' ? 2 : 0;
    const uint8_t *cr = n > skip ? memchr(p + skip, '\r', n - skip) : NULL;
    size_t line = cr ? (size_t)(cr - p) - skip : n - WF_MIN(skip, n);
    MUST(v.result <= 0 || line <= limits->max_line, "a line of %zu passed", line);
    MUST(v.result != -414 || line > limits->max_line, "a line of %zu is too long", line);
    MUST(v.result != -431 || n >= limits->max_head, "a head of %zu is too long", n);
}

static wf_head_limits take_limits(fuzz *f)
{
    wf_head_limits limits = wf_head_default_limits;
    if (fuzz_byte(f) & 1) {
        limits.max_line = (uint16_t)fuzz_byte(f);
        limits.max_head = (uint16_t)(fuzz_word(f) % 1024);
        limits.max_fields = fuzz_byte(f) % 80; /* over WF_HEAD_MAX_FIELDS, too */
    }
    return limits;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    fuzz f = { p, n };
    bool request = fuzz_byte(&f) & 1;
    parser parse = request ? wf_head_parse_request : wf_head_parse_response;
    wf_head_limits limits = take_limits(&f);
    cuts c = cuts_take(&f);
    wf_head head;
    verdict whole = judge(parse, &head, f.p, f.n, &limits);
    if (whole.result > 0) {
        const char *text = (const char *)f.p;
        MUST(head.length == whole.result && head.nfields <= limits.max_fields, "limits");
        MUST(memcmp(text + head.length - 4, "\r\n\r\n", 4) == 0, "the end");
        check_first_line(&head, text, request);
        for (int i = 0; i < head.nfields; i++)
            check_field(&head, text, i);
        check_again(parse, &head, text, request);
    }
    check_limits(f.p, f.n, request, &limits, whole);
    check_pieces(parse, f, &limits, c, whole);
    if (f.n < 512)
        check_pieces(parse, f, &limits, (cuts){ { 1 }, 1, 0 }, whole);
    return 0;
}
