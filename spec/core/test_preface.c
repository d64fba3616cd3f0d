/*
 * test_preface: headers of the PROXY protocol, row by row, each cut at every offset and
 * up against a fence.
 */
#include "core/preface.h"

#include "test.h"

static test_fence fence;

#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define TEXT(s) s, sizeof s - 1

typedef struct row {
    const char *p;
    size_t n;
    long result; /* 0: its whole length */
    unsigned family, port;
    const char *ip; /* text of version 1, or four bytes of version 2 */
} row;

/* Whatever comes first of it: incomplete when it is good, and never good when it is bad.
 */
static void check_cuts(const row *r)
{
    for (size_t n = 0; n < r->n; n++) {
        wf_preface h;
        const char *why, *p = test_fence_put(&fence, r->p, n);
        long k = wf_preface_parse(&h, p, n, &why);
        if (r->result == 0)
            CHECK_THAT(k == 0, "%zu of %zu bytes: %ld", n, r->n, k);
        else
            CHECK_THAT(k <= 0, "%zu of %zu bad bytes: %ld", n, r->n, k);
    }
}

static void check(const row *r)
{
    wf_preface h;
    const char *why, *p = test_fence_put(&fence, r->p, r->n);
    long want = r->result ? r->result : (long)r->n;
    long k = wf_preface_parse(&h, p, r->n, &why);
    CHECK_THAT(k == want, "%.30s: %ld, not %ld", r->p, k, want);
    CHECK_THAT((k < 0) == (why != NULL), "%.30s: why", r->p);
    if (k <= 0)
        return;
    CHECK_THAT(h.family == r->family, "%.30s: family %u", r->p, h.family);
    CHECK_THAT(h.port == r->port, "%.30s: port %u", r->p, h.port);
    if (h.text.len > 0)
        CHECK_BYTES(p + h.text.at, h.text.len, r->ip);
    else if (r->ip)
        CHECK_THAT(memcmp(h.ip, r->ip, 4) == 0, "%.30s: address", r->p);
}

static void check_rows(const row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        check(&rows[i]);
        check_cuts(&rows[i]);
    }
}

static void good_lines(void)
{
    static const row rows[] = {
        { TEXT("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n"), 0, 4, 56324, "192.0.2.1" },
        { TEXT("PROXY TCP4 1.1.1.1 1.1.1.1 0 65535\r\n"), 0, 4, 0, "1.1.1.1" },
        { TEXT("PROXY TCP6 2001:db8::1 ::1 1 2\r\n"), 0, 6, 1, "2001:db8::1" },
        { TEXT("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
               "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
          0, 6, 65535, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
        { TEXT("PROXY UNKNOWN\r\n"), 0, 0, 0, NULL },
        { TEXT("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
               "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
          0, 0, 0, NULL },
    };
    check_rows(rows, sizeof rows / sizeof *rows);
}

static void bad_lines(void)
{
    static const char *const lines[] = {
        "GET / HTTP/1.1\r\n",
        "\x16\x03\x01\x02",
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY tcp4 1.1.1.1 1.1.1.1 1 1\r\n",
        "proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY TCP4 1.1.1.1  1.1.1.1 1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 \r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 -1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 123456\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\rx",
        "PROXY TCP4 1.1.1.1 1.1.1.1\n1 1\r\n",
        "PROXY UNKNOWNS\r\n",
        ("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 655350\r\n"),
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        row r = { lines[i], strlen(lines[i]), -1, 0, 0, NULL };
        check(&r);
        check_cuts(&r);
    }
    row nul = { TEXT("PROXY UNKNOWN \0\r\n"), -1, 0, 0, NULL };
    check(&nul);
    /* a line without end is refused when it cannot become one any more */
    char endless[WF_PREFACE_MAX_V1];
    memset(endless, 'x', sizeof endless);
    memcpy(endless, "PROXY UNKNOWN ", 14);
    const char *why;
    wf_preface h;
    CHECK(wf_preface_parse(&h, endless, WF_PREFACE_MAX_V1 - 2, &why) == 0);
    CHECK(wf_preface_parse(&h, endless, WF_PREFACE_MAX_V1 - 1, &why) < 0);
}

static void good_binaries(void)
{
    static const row rows[] = {
        { TEXT(V2 "\x21\x11\0\x0c\xc0\0\2\1\x0a\0\0\1\x12\x34\1\xbb"), 0, 4, 0x1234,
          "\xc0\0\2\1" },
        { TEXT(V2 "\x21\x11\0\x10\xc0\0\2\1\x0a\0\0\1\x12\x34\1\xbb\3\0\1x"), 0, 4,
          0x1234, "\xc0\0\2\1" }, /* a TLV */
        { TEXT(V2 "\x21\x21\0\x24\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
                  "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\7\0\x50"),
          0, 6, 7, "\x20\1\x0d\xb8" },
        { TEXT(V2 "\x20\0\0\0"), 0, 0, 0, NULL },
        { TEXT(V2 "\x20\x11\0\2xx"), 0, 0, 0, NULL }, /* LOCAL: whatever it says */
        { TEXT(V2 "\x21\0\0\0"), 0, 0, 0, NULL },
        { TEXT(V2 "\x21\0\0\3abc"), 0, 0, 0, NULL },
        { TEXT(V2 "\x21\x12\0\x0c\xc0\0\2\1\x0a\0\0\1\x12\x34\1\xbb"), 0, 0, 0, NULL },
    };
    check_rows(rows, sizeof rows / sizeof *rows);
    char local[16 + 216] = V2 "\x21\x31\0\xd8/run/x";
    row r = { local, sizeof local, 0, 1, 0, NULL };
    check(&r);
    check_cuts(&r);
}

static void bad_binaries(void)
{
    static const row rows[] = {
        { TEXT("\r\n\r\n\0\r\nQUIT\r"), -1, 0, 0, NULL },
        { TEXT("\r\n\r\n\1"), -1, 0, 0, NULL },
        { TEXT(V2 "\x11\x11\0\x0c"), -1, 0, 0, NULL },
        { TEXT(V2 "\x22"), -1, 0, 0, NULL },
        { TEXT(V2 "\x31"), -1, 0, 0, NULL },
        { TEXT(V2 "\x21\x41"), -1, 0, 0, NULL },
        { TEXT(V2 "\x21\x13"), -1, 0, 0, NULL },
        { TEXT(V2 "\x21\x11\x10\1"), -1, 0, 0, NULL }, /* 4097 bytes */
        { TEXT(V2 "\x21\x11\xff\xff"), -1, 0, 0, NULL },
        { TEXT(V2 "\x21\x11\0\x0b"
                  "12345678901"),
          -1, 0, 0, NULL },
        { TEXT(V2 "\x21\x21\0\x0c"
                  "123456789012"),
          -1, 0, 0, NULL },
        { TEXT(V2 "\x21\x31\0\x0c"
                  "123456789012"),
          -1, 0, 0, NULL },
    };
    check_rows(rows, sizeof rows / sizeof *rows);
}

static void what_follows_is_left(void)
{
    static const row rows[] = {
        { TEXT("PROXY UNKNOWN\r\nGET / HTTP/1.1\r\n"), 15, 0, 0, NULL },
        { TEXT("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n\x16\x03"), 32, 4, 1, "1.1.1.1" },
        { TEXT(V2 "\x20\0\0\0\r\n"), 16, 0, 0, NULL },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check(&rows[i]);
}

int main(void)
{
    static const test_case cases[] = {
        { "good lines of version 1", good_lines },
        { "bad lines of version 1", bad_lines },
        { "good headers of version 2", good_binaries },
        { "bad headers of version 2", bad_binaries },
        { "what follows is left", what_follows_is_left },
    };
    fence = test_fence_new(8192);
    int status = RUN(cases);
    test_fence_free(&fence);
    return status;
}
