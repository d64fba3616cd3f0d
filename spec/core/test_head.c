/*
 * test_head: the HTTP head parser. Every input is parsed at every length, each
 * time up against a fence, so that the whole and the bytes one by one are
 * shown to get one verdict, and wrong bytes to be refused when they arrive.
 */
#include "core/head.h"

#include "test.h"

typedef int (*parser)(wf_head *, const char *, size_t, const wf_head_limits *,
                      const char **);

static test_fence fence;

static bool same_span(wf_span a, wf_span b)
{
    return a.at == b.at && a.len == b.len;
}

static bool same_head(const wf_head *a, const wf_head *b)
{
    bool same = same_span(a->method, b->method) && same_span(a->target, b->target) &&
                same_span(a->reason, b->reason) && a->status == b->status &&
                a->minor == b->minor && a->nfields == b->nfields &&
                a->length == b->length;
    for (int i = 0; same && i < a->nfields; i++)
        same = same_span(a->fields[i].name, b->fields[i].name) &&
               same_span(a->fields[i].value, b->fields[i].value);
    return same;
}

/*
 * Parses p[0..n) whole, and then every beginning of it: each must be MORE (0)
 * until some length, and from there on the verdict of the whole. Returns that
 * verdict, and in *judged_at how many bytes it took.
 */
static int parse_at_every_length(parser parse, wf_head *head, const char *p, size_t n,
                                 const wf_head_limits *limits, const char **why,
                                 size_t *judged_at)
{
    *why = NULL;
    int verdict = parse(head, test_fence_put(&fence, p, n), n, limits, why);
    *judged_at = n + 1;
    for (size_t i = 0; i <= n; i++) {
        static wf_head other;
        const char *other_why = NULL;
        memset(&other, 0xEE, sizeof other);
        int r = parse(&other, test_fence_put(&fence, p, i), i, limits, &other_why);
        if (r == 0 && i < *judged_at)
            continue;
        if (*judged_at > n)
            *judged_at = i;
        CHECK_THAT(r == verdict, "%d after %zu of %zu bytes, but %d in the end", r, i, n,
                   verdict);
        CHECK_THAT(other_why == *why,
                   "\"%s\" after %zu of %zu bytes, but \"%s\" in the end",
                   other_why ? other_why : "", i, n, *why ? *why : "");
        CHECK(r <= 0 || same_head(head, &other));
    }
    CHECK_THAT((verdict < 0) == (*why != NULL), "a sentence belongs to a refusal alone");
    return verdict;
}

static const wf_head_limits *const usual = &wf_head_default_limits;
static wf_head got;
static const char *why;
static size_t judged_at;

static int request(const char *text)
{
    return parse_at_every_length(wf_head_parse_request, &got, text, strlen(text), usual,
                                 &why, &judged_at);
}

static int response(const char *text)
{
    return parse_at_every_length(wf_head_parse_response, &got, text, strlen(text), usual,
                                 &why, &judged_at);
}

static void a_whole_request(void)
{
    const char *text = "GET /chat?room=1 HTTP/1.1\r\nHost: example.org:8080\r\n"
                       "Accept:text/html\r\nX-Empty:\r\nX-Blank: \t \r\n"
                       "X-Space: \t two  words\there \t\r\nX-Obs: \x80\xFF\r\n\r\n";
    CHECK_INT(request(text), strlen(text));
    CHECK_INT(judged_at, strlen(text));
    CHECK_INT(got.length, strlen(text));
    CHECK_BYTES(text + got.method.at, got.method.len, "GET");
    CHECK_BYTES(text + got.target.at, got.target.len, "/chat?room=1");
    CHECK_INT(got.minor, 1);
    static const char *const fields[][2] = {
        { "Host", "example.org:8080" },
        { "Accept", "text/html" },
        { "X-Empty", "" },
        { "X-Blank", "" },
        { "X-Space", "two  words\there" },
        { "X-Obs", "\x80\xFF" },
    };
    CHECK_INT(got.nfields, 6);
    for (int i = 0; i < 6; i++) {
        wf_field f = got.fields[i];
        CHECK_BYTES(text + f.name.at, f.name.len, fields[i][0]);
        CHECK_BYTES(text + f.value.at, f.value.len, fields[i][1]);
    }
}

static void other_requests(void)
{
    CHECK_INT(request("GET / HTTP/1.1\r\n\r\n"), 18);
    CHECK_INT(got.nfields, 0);
    CHECK_INT(request("GET / HTTP/1.0\r\n\r\n"), 18);
    CHECK_INT(got.minor, 0);
    CHECK_INT(request("GET / HTTP/1.7\r\n\r\n"), 18);
    CHECK_INT(got.minor, 7);
    CHECK(request("M-SEARCH * HTTP/1.1\r\n\r\n") > 0);
    CHECK(request("OPTIONS http://a.example/b?c HTTP/1.1\r\n\r\n") > 0);
    CHECK(
        request("!#$%&'*+-.^_`|~09AZaz / HTTP/1.1\r\n!#$%&'*+-.^_`|~09AZaz: 1\r\n\r\n") >
        0);
}

/* What follows the head is not looked at. */
static void bytes_after_the_head(void)
{
    const char text[] = "GET / HTTP/1.1\r\nA: b\r\n\r\n\0\x81\x80\r\r\n: ";
    int r = parse_at_every_length(wf_head_parse_request, &got, text, sizeof text - 1,
                                  usual, &why, &judged_at);
    CHECK_INT(r, 24);
    CHECK_INT(judged_at, 24);
}

static void an_empty_line_before_a_request(void)
{
    const char *text = "\r\nGET /x HTTP/1.1\r\nA: b\r\n\r\n";
    CHECK_INT(request(text), strlen(text));
    CHECK_BYTES(text + got.method.at, got.method.len, "GET");
    CHECK_BYTES(text + got.fields[0].value.at, got.fields[0].value.len, "b");
    CHECK_INT(request("\r"), 0);
    CHECK_INT(request("\r\n"), 0);
    CHECK_INT(request("\r\n\r\nGET / HTTP/1.1\r\n\r\n"), -400);
    CHECK_INT(judged_at, 3);
    CHECK_INT(request("\nGET / HTTP/1.1\r\n\r\n"), -400);
    CHECK_INT(request("\r\r\n"), -400);
    CHECK_INT(response("\r\nHTTP/1.1 101 x\r\n\r\n"), -400);
}

/* Each of these is refused with the byte at which it went wrong. */
typedef struct refusal {
    const char *text;
    int status;
    size_t at; /* bytes needed to know */
} refusal;

static void check_refusals(int (*parse)(const char *), const refusal *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int r = parse(rows[i].text);
        CHECK_THAT(r == -rows[i].status, "row %zu: %d, not -%d", i, r, rows[i].status);
        CHECK_THAT(judged_at == rows[i].at, "row %zu: known after %zu bytes, not %zu", i,
                   judged_at, rows[i].at);
    }
}

static void malformed_request_lines(void)
{
    static const refusal rows[] = {
        { "\x16\x03\x01", 400, 1 }, /* TLS on a plain port */
        { " GET / HTTP/1.1\r\n\r\n", 400, 1 },
        { "GE\tT", 400, 3 },
        { "GET\r\n", 400, 4 },
        { "G(", 400, 2 },
        { "GET  / HTTP/1.1", 400, 5 },
        { "GET /\r\n\r\n", 400, 6 }, /* HTTP/0.9 */
        { "GET /a b HTTP/1.1", 400, 8 },
        { "GET /\x01", 400, 6 },
        { "GET /abcdefghijk\x7F", 400, 17 },
        { "GET /abcdefghijk\x80lmnopqrst", 400, 17 },
        { "GET /abcdefg\thijk", 400, 13 },
        { "GET / http/1.1\r\n", 400, 7 },
        { "GET / HTTQ/1.1\r\n", 400, 10 },
        { "GET /  HTTP/1.1\r\n", 400, 7 },
        { "GET / HTTP/x", 400, 12 },
        { "GET / HTTP/2.0\r\n", 505, 12 },
        { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, 12 },
        { "GET / HTTP/0.9\r\n", 505, 12 },
        { "GET / HTTP/1,1\r\n", 400, 13 },
        { "GET / HTTP/1.x\r\n", 400, 14 },
        { "GET / HTTP/1.10\r\n", 400, 15 },
        { "GET / HTTP/1.1 \r\n", 400, 15 },
        { "GET / HTTP/1.1\n", 400, 15 },
        { "GET / HTTP/1.1\r\r\n", 400, 16 },
        { "GET / HTTP/1.1\rX: y", 400, 16 },
    };
    check_refusals(request, rows, sizeof rows / sizeof rows[0]);
}

static void malformed_fields(void)
{
    static const refusal rows[] = {
        { "GET / HTTP/1.1\r\n A: b\r\n\r\n", 400, 17 },
        { "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400, 23 }, /* obs-fold */
        { "GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n", 400, 23 },
        { "GET / HTTP/1.1\r\nA : b\r\n\r\n", 400, 18 },
        { "GET / HTTP/1.1\r\n: b\r\n\r\n", 400, 17 },
        { "GET / HTTP/1.1\r\nA\r\n\r\n", 400, 18 },
        { "GET / HTTP/1.1\r\nA\x80: b\r\n\r\n", 400, 18 },
        { "GET / HTTP/1.1\r\nA(b): c\r\n\r\n", 400, 18 },
        { "GET / HTTP/1.1\r\nA: b\n\r\n", 400, 21 },
        { "GET / HTTP/1.1\r\nA: b\rc: d\r\n\r\n", 400, 22 },
        { "GET / HTTP/1.1\r\nA: b\r\r\n", 400, 22 },
        { "GET / HTTP/1.1\r\nA: 0123456\x01", 400, 27 },
        { "GET / HTTP/1.1\r\nA: 01234567890\x7F", 400, 31 },
        { "GET / HTTP/1.1\r\nA:\x0B", 400, 19 },
        { "GET / HTTP/1.1\r\n\n", 400, 17 },
        { "GET / HTTP/1.1\r\nA: b\r\n\rx", 400, 24 },
    };
    check_refusals(request, rows, sizeof rows / sizeof rows[0]);
    const char nul[] = "GET / HTTP/1.1\r\nA: b\0c\r\n\r\n";
    CHECK_INT(parse_at_every_length(wf_head_parse_request, &got, nul, sizeof nul - 1,
                                    usual, &why, &judged_at),
              -400);
    CHECK_INT(judged_at, 21);
}

/* The commonest slips are named. */
static void sentences(void)
{
    CHECK_INT(request("GET / HTTP/1.1\r\nA: b\n\r\n"), -400);
    CHECK_STR(why, "a bare LF in the head");
    CHECK_INT(request("GET / HTTP/1.1\r\nA: b\x01\r\n"), -400);
    CHECK_STR(why, "a control character in a header field value");
    CHECK_INT(request("GET / HTTP/1.1\r\nA: b\rc"), -400);
    CHECK_STR(why, "a bare CR in the head");
    CHECK_INT(request("GET / HTTP/2.0\r\n"), -505);
    CHECK_STR(why, "the HTTP version is not 1.x");
}

/* Every byte in every kind of place, against the grammar written out plainly. */
static int with_byte(const char *before, int byte, const char *after)
{
    char text[200];
    size_t n = strlen(before), m = strlen(after);
    memcpy(text, before, n);
    text[n] = (char)byte;
    memcpy(text + n + 1, after, m);
    return wf_head_parse_request(&got, test_fence_put(&fence, text, n + 1 + m), n + 1 + m,
                                 usual, NULL);
}

static void every_byte_everywhere(void)
{
    for (int b = 0; b < 256; b++) {
        bool alnum =
            (b >= '0' && b <= '9') || (b >= 'A' && b <= 'Z') || (b >= 'a' && b <= 'z');
        bool token = alnum || (b != 0 && strchr("!#$%&'*+-.^_`|~", b) != NULL);
        bool visible = b > 0x20 && b < 0x7F;
        bool text = b == '\t' || (b >= 0x20 && b != 0x7F);
        CHECK_THAT((with_byte("G", b, "T / HTTP/1.1\r\n\r\n") > 0) == token,
                   "method %02X", b);
        CHECK_THAT((with_byte("GET /", b, " HTTP/1.1\r\n\r\n") > 0) == visible,
                   "target %02X", b);
        CHECK_THAT((with_byte("GET /", b, "0123456789abcdef HTTP/1.1\r\n\r\n") > 0) ==
                       visible,
                   "long target %02X", b);
        CHECK_THAT((with_byte("GET / HTTP/1.1\r\nA", b, "B: c\r\n\r\n") > 0) ==
                       (token || b == ':'),
                   "name %02X", b);
        CHECK_THAT((with_byte("GET / HTTP/1.1\r\nA: b", b, "c\r\n\r\n") > 0) == text,
                   "value %02X", b);
        CHECK_THAT((with_byte("GET / HTTP/1.1\r\nA: ", b, "0123456789abcdef\r\n\r\n") >
                    0) == text,
                   "long value %02X", b);
    }
}

/* ---- limits ---------------------------------------------------------------- */

static char big[70000];

/* "GET /xxx... HTTP/1.1", n bytes, then CRLF and `rest`; returns the total. */
static size_t line_of(size_t n, const char *rest)
{
    memset(big, 'x', n);
    memcpy(big, "GET /", 5);
    memcpy(big + n - 9, " HTTP/1.1\r\n", 11);
    memcpy(big + n + 2, rest, strlen(rest));
    return n + 2 + strlen(rest);
}

static int limited(size_t n, uint16_t line, uint16_t head, uint16_t fields)
{
    wf_head_limits limits = { line, head, fields };
    return parse_at_every_length(wf_head_parse_request, &got, big, n, &limits, &why,
                                 &judged_at);
}

static void the_line_limit(void)
{
    size_t n = line_of(100, "A: b\r\n\r\n");
    CHECK_INT(limited(n, 100, 8192, 64), n);
    CHECK_INT(limited(n, 99, 8192, 64), -414);
    CHECK_INT(judged_at, 100); /* one byte over, complete or not */
    CHECK_INT(limited(n, 30, 8192, 64), -414);
    CHECK_INT(judged_at, 31);
    /* an empty line before does not count as part of it */
    memmove(big + 2, big, n);
    memcpy(big, "\r\n", 2);
    CHECK_INT(limited(n + 2, 100, 8192, 64), n + 2);
    CHECK_INT(limited(n + 2, 99, 8192, 64), -414);
    CHECK_INT(judged_at, 102);
    /* a wrong byte just over the limit is wrong first; within, before it */
    n = line_of(100, "\r\n");
    big[50] = '\n';
    CHECK_INT(limited(n, 50, 8192, 64), -400);
    CHECK_INT(judged_at, 51);
    CHECK_INT(limited(n, 49, 8192, 64), -414);
}

static void the_default_limits(void)
{
    CHECK_INT(usual->max_line, 4096);
    CHECK_INT(usual->max_head, 8192);
    CHECK_INT(usual->max_fields, 64);
    size_t n = line_of(4096, "\r\n");
    CHECK_INT(wf_head_parse_request(&got, big, n, usual, &why), n);
    n = line_of(4097, "\r\n");
    CHECK_INT(wf_head_parse_request(&got, big, n, usual, &why), -414);
    CHECK_INT(wf_head_parse_request(&got, big, 4096, usual, &why), 0);
    CHECK_INT(wf_head_parse_request(&got, big, 4097, usual, &why), -414);
}

static void the_head_limit(void)
{
    size_t n = line_of(100, "A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\nC: d\r\n\r\n");
    CHECK_INT(limited(n, 4096, (uint16_t)n, 64), n);
    CHECK_INT(limited(n, 4096, (uint16_t)(n - 1), 64), -431);
    CHECK_INT(judged_at, n - 1); /* full, and no end in sight */
    CHECK_INT(limited(n, 4096, 120, 64), -431);
    CHECK_INT(judged_at, 120);
    CHECK_INT(limited(n, 4096, 60, 64), -431); /* within the first line */
    CHECK_INT(judged_at, 60);
    /* bytes of the next thing do not count */
    memset(big + n, 'z', 100);
    CHECK_INT(limited(n + 100, 4096, (uint16_t)n, 64), n);
}

static void the_largest_head(void)
{
    size_t n = line_of(20, "A: ");
    memset(big + n, 'v', sizeof big - n);
    memcpy(big + WF_HEAD_MAX_BYTES - 4, "\r\n\r\n", 4);
    wf_head_limits limits = { 65535, 65535, 64 };
    CHECK_INT(wf_head_parse_request(&got, big, sizeof big, &limits, &why), 65535);
    CHECK_INT(got.fields[0].value.len, 65535 - 4 - n);
    big[WF_HEAD_MAX_BYTES - 4] = 'v';
    CHECK(wf_head_parse_request(&got, big, sizeof big, &limits, &why) < 0);
    memset(big, 'G', sizeof big);
    CHECK_INT(wf_head_parse_request(&got, big, sizeof big, &limits, &why), -400);
    n = line_of(65535, "");
    CHECK_INT(wf_head_parse_request(&got, big, n, &limits, &why), -431);
}

static size_t with_fields(int count)
{
    size_t n = line_of(20, "");
    for (int i = 0; i < count; i++, n += 7)
        memcpy(big + n, "Ab: c\r\n", 7);
    memcpy(big + n, "\r\n", 2);
    return n + 2;
}

static void the_field_limit(void)
{
    size_t n = with_fields(5);
    CHECK_INT(limited(n, 100, 8192, 5), n);
    CHECK_INT(got.nfields, 5);
    CHECK_INT(limited(n, 100, 8192, 4), -400);
    CHECK_INT(judged_at, 22 + 4 * 7 + 1); /* the first byte of the fifth */
    CHECK_INT(limited(n, 100, 8192, 0), -400);
    CHECK_INT(limited(with_fields(0), 100, 8192, 0), 24);
    n = with_fields(64);
    CHECK_INT(limited(n, 100, 8192, 64), n);
    CHECK_INT(limited(with_fields(65), 100, 8192, 64), -400);
    /* the array ends there, whatever the caller says */
    CHECK_INT(limited(with_fields(65), 100, 8192, 1000), -400);
}

static void the_method_limit(void)
{
    char text[80];
    for (int n = 1; n <= 40; n++) {
        snprintf(text, sizeof text, "%.*s / HTTP/1.1\r\n\r\n", n,
                 "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMN");
        CHECK_INT(request(text), n <= 32 ? (int)strlen(text) : -400);
        if (n > 32)
            CHECK_INT(judged_at, 33);
    }
}

/* ---- responses ---------------------------------------------------------------- */

static void whole_responses(void)
{
    const char *text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    CHECK_INT(response(text), strlen(text));
    CHECK_INT(got.status, 101);
    CHECK_INT(got.minor, 1);
    CHECK_INT(got.nfields, 1);
    CHECK_BYTES(text + got.reason.at, got.reason.len, "Switching Protocols");
    CHECK_INT(response("HTTP/1.1 200 \r\n\r\n"), 17);
    CHECK_INT(got.reason.len, 0);
    CHECK_INT(response("HTTP/1.0 404\r\n\r\n"), 16);
    CHECK_INT(got.status, 404);
    CHECK_INT(got.reason.len, 0);
    CHECK(response("HTTP/1.1 200 na\xC3\xAFve \x80\tok\r\n\r\n") > 0);
}

static void malformed_responses(void)
{
    static const refusal rows[] = {
        { "ICY 200 OK\r\n", 400, 1 },
        { "SSH-2.0-x\r\n", 400, 1 },
        { "http/1.1 200 OK\r\n", 400, 1 },
        { "HTTP/2 200\r\n", 505, 6 },
        { "HTTP/1.1  200 OK\r\n", 400, 10 },
        { "HTTP/1.1 20 OK\r\n", 400, 12 },
        { "HTTP/1.1 2x0 OK\r\n", 400, 11 },
        { "HTTP/1.1 2000 OK\r\n", 400, 13 },
        { "HTTP/1.1 200\n", 400, 13 },
        { "HTTP/1.1 200 OK\n", 400, 16 },
        { "HTTP/1.1 200 O\x01K\r\n", 400, 15 },
        { "HTTP/1.1 200 OK\rX", 400, 17 },
        { "HTTP/1.1 200\r\n : x\r\n", 400, 15 },
    };
    check_refusals(response, rows, sizeof rows / sizeof rows[0]);
    wf_head_limits limits = { 15, 8192, 64 };
    CHECK(wf_head_parse_response(&got, "HTTP/1.1 200 OK\r\n\r\n", 19, &limits, &why) ==
          19);
    CHECK_INT(wf_head_parse_response(&got, "HTTP/1.1 200 OK!\r\n\r\n", 20, &limits, &why),
              -414);
}

/* ---- asking ----------------------------------------------------------------------- */

static void finding_fields(void)
{
    const char *t =
        "GET / HTTP/1.1\r\nHost: a\r\nVIA: b\r\nvia: c\r\nViable: d\r\nx: \r\n\r\n";
    CHECK(request(t) > 0);
    CHECK_INT(wf_head_find(&got, t, "host", 0), 0);
    CHECK_INT(wf_head_find(&got, t, "host", 1), -1);
    CHECK_INT(wf_head_find(&got, t, "via", 0), 1);
    CHECK_INT(wf_head_find(&got, t, "via", 2), 2);
    CHECK_INT(wf_head_find(&got, t, "via", 3), -1);
    CHECK_INT(wf_head_find(&got, t, "via", 99), -1);
    CHECK_INT(wf_head_find(&got, t, "vi", 0), -1);
    CHECK_INT(wf_head_count(&got, t, "via"), 2);
    CHECK_INT(wf_head_count(&got, t, "host"), 1);
    CHECK_INT(wf_head_count(&got, t, "x"), 1);
    CHECK_INT(wf_head_count(&got, t, "nothing"), 0);
    CHECK(wf_span_is(got.fields[1].name, t, "via"));
    CHECK(!wf_span_is(got.fields[1].name, t, "vi"));
    CHECK(!wf_span_is(got.fields[1].name, t, "viable"));
    CHECK(wf_span_is(got.fields[4].value, t, ""));
}

/* Folding changes letters only: '@' and '`', '[' and '{' stay apart. */
static void folding_is_for_letters(void)
{
    const char *t = "GET / HTTP/1.1\r\nA^b: [@\r\n\r\n";
    CHECK(request(t) > 0);
    CHECK_INT(wf_head_find(&got, t, "a~b", 0), -1);
    CHECK_INT(wf_head_find(&got, t, "a^b", 0), 0);
    CHECK(!wf_head_has_token(&got, t, "a^b", "{`"));
    CHECK(wf_head_has_token(&got, t, "a^b", "[@"));
}

static void tokens_in_lists(void)
{
    const char *t =
        "GET / HTTP/1.1\r\nConnection: keep-alive ,\tUpGrade\r\nOther: close\r\n"
        "connection: ,, x\t,,TE,b,\r\nEmpty:\r\nCommas: ,,\r\n\r\n";
    CHECK(request(t) > 0);
    static const char *const in[] = { "keep-alive", "upgrade", "x", "te", "b" };
    static const char *const out[] = {
        "close", "up", "upgraded", "keep", "alive", "", ","
    };
    for (size_t i = 0; i < sizeof in / sizeof in[0]; i++)
        CHECK_THAT(wf_head_has_token(&got, t, "connection", in[i]), "%s not found",
                   in[i]);
    for (size_t i = 0; i < sizeof out / sizeof out[0]; i++)
        CHECK_THAT(!wf_head_has_token(&got, t, "connection", out[i]), "%s found", out[i]);
    CHECK(!wf_head_has_token(&got, t, "empty", "x"));
    CHECK(!wf_head_has_token(&got, t, "commas", "x"));
    CHECK(!wf_head_has_token(&got, t, "missing", "x"));
}

/* Damaged heads: whatever the bytes, the verdict does not depend on the cuts,
 * and nothing is read beyond the end. */
static void random_damage(void)
{
    static const char text[] =
        "\r\nGET /chat?x HTTP/1.1\r\nHost: example.org\r\nA:\tb c\r\n"
        "Upgrade: websocket\r\n\r\nrest";
    static const char nasty[] = "\r\n \t:\0/\x7F\x80HTP1.,";
    wf_head_limits limits = { 24, 80, 3 };
    for (int round = 0; round < 20000; round++) {
        char p[sizeof text];
        memcpy(p, text, sizeof text);
        for (uint32_t i = test_random_below(4); i > 0; i--)
            p[test_random_below(sizeof text - 1)] =
                nasty[test_random_below((uint32_t)sizeof nasty - 1)];
        size_t skip = test_random_below(3);
        limits.max_line = (uint16_t)(18 + test_random_below(10));
        limits.max_head = (uint16_t)(20 + test_random_below(90));
        parse_at_every_length(
            test_random_below(8) ? wf_head_parse_request : wf_head_parse_response, &got,
            p + skip, sizeof text - 1 - skip, &limits, &why, &judged_at);
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "a whole request", a_whole_request },
        { "other requests", other_requests },
        { "bytes after the head are not looked at", bytes_after_the_head },
        { "one empty line before a request", an_empty_line_before_a_request },
        { "malformed request lines", malformed_request_lines },
        { "malformed fields", malformed_fields },
        { "sentences that help", sentences },
        { "every byte in every kind of place", every_byte_everywhere },
        { "the limit of the first line", the_line_limit },
        { "the default limits", the_default_limits },
        { "the limit of the head", the_head_limit },
        { "the largest head there can be", the_largest_head },
        { "the limit of fields", the_field_limit },
        { "the limit of the method", the_method_limit },
        { "whole responses", whole_responses },
        { "malformed responses", malformed_responses },
        { "finding and counting fields", finding_fields },
        { "folding is for letters", folding_is_for_letters },
        { "tokens in lists over several fields", tokens_in_lists },
        { "random damage, cut at every offset", random_damage },
    };
    fence = test_fence_new(16384);
    int status = RUN(cases);
    test_fence_free(&fence);
    return status;
}
