/*
 * test_url: URLs and addresses, good ones part by part and bad ones row by
 * row, each up against a fence.
 */
#include "core/url.h"

#include "test.h"

static test_fence fence;

/* ---- URLs ------------------------------------------------------------------ */

typedef struct url_row {
    const char *text, *scheme, *userinfo, *host, *path;
    const char *query; /* NULL: none */
    unsigned port;
    bool secure, ipv6, fragment;
} url_row;

static void check_url(const url_row *r)
{
    wf_url u;
    size_t n = strlen(r->text);
    const char *p = test_fence_put(&fence, r->text, n);
    memset(&u, 0xEE, sizeof u);
    const char *why = wf_url_parse(&u, p, n);
    CHECK_THAT(why == NULL, "%s: %s", r->text, why);
    if (why != NULL)
        return;
    CHECK_BYTES(p + u.scheme.at, u.scheme.len, r->scheme);
    CHECK_BYTES(p + u.userinfo.at, u.userinfo.len, r->userinfo);
    CHECK_BYTES(p + u.host.at, u.host.len, r->host);
    CHECK_BYTES(p + u.path.at, u.path.len, r->path);
    CHECK_BYTES(p + u.query.at, u.query.len, r->query ? r->query : "");
    CHECK_THAT(u.has_query == (r->query != NULL), "%s: has_query", r->text);
    CHECK_THAT(u.port == r->port, "%s: port %u", r->text, u.port);
    CHECK_THAT(u.secure == r->secure, "%s: secure", r->text);
    CHECK_THAT(u.ipv6 == r->ipv6, "%s: ipv6", r->text);
    CHECK_THAT(u.has_fragment == r->fragment, "%s: has_fragment", r->text);
}

static void good_urls(void)
{
    static const url_row rows[] = {
        { "ws://a", "ws", "", "a", "", NULL, 80, false, false, false },
        { "wss://a", "wss", "", "a", "", NULL, 443, true, false, false },
        { "http://a", "http", "", "a", "", NULL, 80, false, false, false },
        { "https://a", "https", "", "a", "", NULL, 443, true, false, false },
        { "WsS://A.example", "WsS", "", "A.example", "", NULL, 443, true, false, false },
        { "ws://a:8080/", "ws", "", "a", "/", NULL, 8080, false, false, false },
        { "ws://a:1", "ws", "", "a", "", NULL, 1, false, false, false },
        { "ws://a:65535", "ws", "", "a", "", NULL, 65535, false, false, false },
        { "ws://a:00080", "ws", "", "a", "", NULL, 80, false, false, false },
        { "wss://a:/x", "wss", "", "a", "/x", NULL, 443, true, false, false },
        { "ws://127.0.0.1:9/x/y", "ws", "", "127.0.0.1", "/x/y", NULL, 9, false, false,
          false },
        { "ws://a/x?y=1&z", "ws", "", "a", "/x", "y=1&z", 80, false, false, false },
        { "ws://a?y", "ws", "", "a", "", "y", 80, false, false, false },
        { "ws://a/?", "ws", "", "a", "/", "", 80, false, false, false },
        { "ws://a/x?y?z/@:", "ws", "", "a", "/x", "y?z/@:", 80, false, false, false },
        { "ws://a/x#f", "ws", "", "a", "/x", NULL, 80, false, false, true },
        { "ws://a/x?y#f?g", "ws", "", "a", "/x", "y", 80, false, false, true },
        { "ws://a#", "ws", "", "a", "", NULL, 80, false, false, true },
        { "ws://u@a", "ws", "u", "a", "", NULL, 80, false, false, false },
        { "ws://u:p@a:5/x", "ws", "u:p", "a", "/x", NULL, 5, false, false, false },
        { "ws://u:p@q@a:5", "ws", "u:p@q", "a", "", NULL, 5, false, false, false },
        { "ws://@a", "ws", "", "a", "", NULL, 80, false, false, false },
        { "ws://a/x@b:c", "ws", "", "a", "/x@b:c", NULL, 80, false, false, false },
        { "ws://a?u@b", "ws", "", "a", "", "u@b", 80, false, false, false },
        { "ws://[::1]", "ws", "", "::1", "", NULL, 80, false, true, false },
        { "ws://[::1]:81/x", "ws", "", "::1", "/x", NULL, 81, false, true, false },
        { "ws://u:p@[::1]:81", "ws", "u:p", "::1", "", NULL, 81, false, true, false },
        { "ws://[::ffff:1.2.3.4]", "ws", "", "::ffff:1.2.3.4", "", NULL, 80, false, true,
          false },
        { "ws://[fe80::1%25eth0]:8", "ws", "", "fe80::1%25eth0", "", NULL, 8, false, true,
          false },
        { "ws://[09af::AF]", "ws", "", "09af::AF", "", NULL, 80, false, true, false },
        { "ws://a/!~", "ws", "", "a", "/!~", NULL, 80, false, false, false },
        { "ws://a//x", "ws", "", "a", "//x", NULL, 80, false, false, false },
        { "ws://xn--bcher-kva.example/%C3%BC", "ws", "", "xn--bcher-kva.example",
          "/%C3%BC", NULL, 80, false, false, false },
        { "ws://a_b-c~d.", "ws", "", "a_b-c~d.", "", NULL, 80, false, false, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_url(&rows[i]);
}

static void bad_urls(void)
{
    static const char *const texts[] = {
        "", "a", "/", "ws", "ws:", "ws:/", "ws:a", "ws:/a", "//a", "://a", "ftp://a",
        "wsss://a", "w s://a", "a.example:80/x", "/ws://a", "localhost:8080",
        /* no host */
        "ws://", "ws:///x", "ws://:80", "ws://?x", "ws://#x", "ws://u@", "ws://u@:80",
        /* host */
        "ws://a/%", "ws://a/%4", "ws://a/%zz", "ws://a/?%g1", "ws://%@a/", "ws://a b",
        "ws://a\tb", "ws://a\\b", "ws://a%41", "ws://a,b", "ws://a<b", "ws://a]",
        "ws://\xC3\xBC.example", "ws://a\x7F", "ws://*",
        /* port */
        "ws://a:0", "ws://a:65536", "ws://a:99999999999999999999", "ws://a:x",
        "ws://a:8x", "ws://a:-1", "ws://a:+1", "ws://a:80:80", "ws://a::80",
        /* IPv6 */
        "ws://[::1", "ws://[", "ws://[]", "ws://[]:80", "ws://::1", "ws://::1/x",
        "ws://[::1]x", "ws://[::1]80", "ws://[::1]]", "ws://[[::1]]", "ws://[1.2.3.4]",
        "ws://[a]", "ws://[::g]", "ws://[:: 1]", "ws://[fe80::1%eth0]",
        "ws://[fe80::1%25]", "ws://[fe80::1%25a/b]", "ws://[fe80::1%25a%25b]",
        "ws://x[::1]", "ws://2001:db8::1/",
        /* characters anywhere */
        "ws://a/x y", "ws://a/x\r\nHost: b", "ws://a/\x01", "ws://a/?\xFF",
        "ws://a/#\x7F", "ws://u v@a", " ws://a", "ws://a ", "ws://a\n"
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        wf_url u;
        size_t n = strlen(texts[i]);
        const char *why = wf_url_parse(&u, test_fence_put(&fence, texts[i], n), n);
        CHECK_THAT(why != NULL, "\"%s\" was let through", texts[i]);
    }
    wf_url u;
    CHECK(wf_url_parse(&u, "ws://a\0b", 8) != NULL);
    CHECK(wf_url_parse(&u, "ws://a/\0b", 9) != NULL);
}

static void a_long_url(void)
{
    static char text[70000];
    wf_url u;
    memset(text, 'x', sizeof text);
    memcpy(text, "ws://a/", 7);
    CHECK(wf_url_parse(&u, text, 65535) == NULL);
    CHECK_INT(u.path.len, 65535 - 6);
    CHECK(wf_url_parse(&u, text, 65536) != NULL);
    CHECK(wf_url_parse(&u, text, sizeof text) != NULL);
}

/* ---- addresses ---------------------------------------------------------------- */

typedef struct address_row {
    const char *text;
    wf_address_kind kind;
    const char *host;
    unsigned port;
    bool ipv6;
} address_row;

static void good_addresses(void)
{
    static const address_row rows[] = {
        { ":8080", WF_ADDRESS_TCP, "", 8080, false },
        { ":0", WF_ADDRESS_TCP, "", 0, false },
        { "localhost:65535", WF_ADDRESS_TCP, "localhost", 65535, false },
        { "127.0.0.1:0", WF_ADDRESS_TCP, "127.0.0.1", 0, false },
        { "0.0.0.0:80", WF_ADDRESS_TCP, "0.0.0.0", 80, false },
        { "[::1]:8080", WF_ADDRESS_TCP, "::1", 8080, true },
        { "[::]:8080", WF_ADDRESS_TCP, "::", 8080, true },
        { "[fe80::1%eth0]:1", WF_ADDRESS_TCP, "fe80::1%eth0", 1, true },
        { "tls://a.example:443", WF_ADDRESS_TLS, "a.example", 443, false },
        { "tls://:8443", WF_ADDRESS_TLS, "", 8443, false },
        { "tls://[::1]:8443", WF_ADDRESS_TLS, "::1", 8443, true },
        { "unix:/run/weft.sock", WF_ADDRESS_UNIX, "/run/weft.sock", 0, false },
        { "unix:/with space/\xC3\xBC:1", WF_ADDRESS_UNIX, "/with space/\xC3\xBC:1", 0,
          false },
        { "unix:/a", WF_ADDRESS_UNIX, "/a", 0, false },
        { "unix:@weft", WF_ADDRESS_UNIX, "@weft", 0, false },
        { "unix.example:1", WF_ADDRESS_TCP, "unix.example", 1, false },
        { "tls:1", WF_ADDRESS_TCP, "tls", 1, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const address_row *r = &rows[i];
        wf_address a;
        size_t n = strlen(r->text);
        const char *p = test_fence_put(&fence, r->text, n);
        memset(&a, 0xEE, sizeof a);
        const char *why = wf_address_parse(&a, p, n);
        CHECK_THAT(why == NULL, "%s: %s", r->text, why);
        if (why != NULL)
            continue;
        CHECK_THAT(a.kind == r->kind, "%s: kind %d", r->text, (int)a.kind);
        CHECK_BYTES(p + a.host.at, a.host.len, r->host);
        CHECK_THAT(a.port == r->port, "%s: port %u", r->text, a.port);
        CHECK_THAT(a.ipv6 == r->ipv6, "%s: ipv6", r->text);
    }
}

static void bad_addresses(void)
{
    static const char *const texts[] = { "",
                                         ":",
                                         "a",
                                         "localhost",
                                         "8080",
                                         "a:",
                                         "[::1]",
                                         "[::1]:",
                                         "[::1]8080",
                                         "[::1",
                                         "[]:80",
                                         "::1",
                                         "::1:8080",
                                         "2001:db8::1:80",
                                         "fe80::1",
                                         "a:x",
                                         "a:-1",
                                         "a:65536",
                                         "a:80x",
                                         "a:8 0",
                                         "a b:80",
                                         " a:80",
                                         "a:80 ",
                                         "a:80\n",
                                         "\xC3\xBC:80",
                                         "a/b:80",
                                         "a:80/",
                                         "ws://a:80",
                                         "tcp://a:80",
                                         "TLS://a:80",
                                         "tls://",
                                         "tls://a",
                                         "tls://a:",
                                         "tls://a:80/",
                                         "tls://u@a:80",
                                         "tls:a",
                                         "[::1%]:80",
                                         "[::g]:80",
                                         "[1.2.3.4]:80",
                                         "unix:",
                                         "unix:/",
                                         "unix:@",
                                         "unix:relative",
                                         "unix:8080",
                                         "unix:/a\nb",
                                         "unix:/a\x7F" };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        wf_address a;
        size_t n = strlen(texts[i]);
        const char *why = wf_address_parse(&a, test_fence_put(&fence, texts[i], n), n);
        CHECK_THAT(why != NULL, "\"%s\" was let through", texts[i]);
    }
    wf_address a;
    CHECK(wf_address_parse(&a, "unix:/a\0b", 9) != NULL);
    CHECK(wf_address_parse(&a, "a\0:80", 5) != NULL);
}

static void a_long_address(void)
{
    static char text[65536];
    wf_address a;
    memset(text, 'x', sizeof text);
    memcpy(text, "unix:/", 6);
    CHECK(wf_address_parse(&a, text, 65535) == NULL);
    CHECK_INT(a.host.len, 65535 - 5);
    CHECK(wf_address_parse(&a, text, 65536) != NULL);
}

/* The sentence for the commonest mistake says what the form must be. */
static void sentences(void)
{
    wf_address a;
    const char *why = wf_address_parse(&a, "localhost", 9);
    CHECK(why != NULL && strstr(why, "host:port") != NULL);
    why = wf_address_parse(&a, "::1:8080", 8);
    CHECK(why != NULL && strstr(why, "[::1]:8080") != NULL);
    why = wf_address_parse(&a, "unix:x", 6);
    CHECK(why != NULL && strstr(why, "unix:/path") != NULL);
    wf_url u;
    why = wf_url_parse(&u, "example.org/chat", 16);
    CHECK(why != NULL && strstr(why, "wss://") != NULL);
}

/* Damaged URLs and addresses: nothing is read beyond the end, and every span
 * lies within the text. */
static void random_damage(void)
{
    static const char *const texts[] = { "wss://user:pw@host.example:8080/path?query#x",
                                         "ws://[fe80::1%25eth0]:80/x?y",
                                         "tls://[::1]:8080" };
    static const char nasty[] = "[]:/@?#%.0a \x7F";
    for (int round = 0; round < 100000; round++) {
        char copy[64];
        const char *text = texts[test_random_below(3)];
        size_t n = strlen(text);
        memcpy(copy, text, n);
        for (uint32_t i = test_random_below(4); i > 0; i--)
            copy[test_random_below((uint32_t)n)] =
                nasty[test_random_below((uint32_t)sizeof nasty)];
        n = test_random_below((uint32_t)n + 1);
        const char *p = test_fence_put(&fence, copy, n);
        wf_url u;
        wf_address a;
        if (wf_url_parse(&u, p, n) == NULL)
            CHECK((size_t)u.host.at + u.host.len <= n &&
                  (size_t)u.path.at + u.path.len <= n &&
                  (size_t)u.query.at + u.query.len <= n && u.host.len > 0 && u.port > 0);
        if (wf_address_parse(&a, p, n) == NULL)
            CHECK((size_t)a.host.at + a.host.len <= n);
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "good URLs", good_urls },
        { "bad URLs", bad_urls },
        { "a URL of many bytes", a_long_url },
        { "good addresses", good_addresses },
        { "bad addresses", bad_addresses },
        { "an address of many bytes", a_long_address },
        { "sentences that help", sentences },
        { "random damage", random_damage },
    };
    fence = test_fence_new(4096);
    int status = RUN(cases);
    test_fence_free(&fence);
    return status;
}
