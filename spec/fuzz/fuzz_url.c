/*
 * fuzz_url: what URLs and addresses are split into goes together again to what was
 * given, and holds only what belongs there.
 */
#include "fuzz.h"

#include "core/url.h"

typedef struct text {
    char *p;
    size_t n;
} text;

static void add(text *t, const char *p, size_t n)
{
    memcpy(t->p + t->n, p, n);
    t->n += n;
}

static void add_span(text *t, const char *p, size_t n, wf_span s)
{
    MUST(s.at <= n && s.len <= n - s.at, "%u+%u of %zu", s.at, s.len, n);
    add(t, p + s.at, s.len);
}

/* Is it what is left of the URL, but for how its port is written? */
static void check_port(const char *p, size_t n, unsigned port, unsigned standard)
{
    unsigned value = 0;
    for (size_t i = 1; i < n; i++) {
        MUST(p[i] >= '0' && p[i] <= '9', "port '%.*s'", (int)n, p);
        value = WF_MIN(value * 10 + (unsigned)(p[i] - '0'), 65536u);
    }
    MUST(n == 0 || p[0] == ':', "port '%.*s'", (int)n, p);
    MUST(port == (n > 1 ? value : standard), "port %u of '%.*s'", port, (int)n, p);
}

static bool has(const char *p, wf_span s, const char *set)
{
    for (size_t i = 0; i < s.len; i++)
        if (strchr(set, p[s.at + i]))
            return true;
    return false;
}

static unsigned standard_port(const char *p, const wf_url *u)
{
    bool secure = wf_span_is(u->scheme, p, "wss") || wf_span_is(u->scheme, p, "https");
    MUST(secure || wf_span_is(u->scheme, p, "ws") || wf_span_is(u->scheme, p, "http"),
         "scheme");
    MUST(u->secure == secure, "secure");
    return secure ? 443 : 80;
}

/* Puts it together up to the port, and from the path on. */
static void check_url(const char *p, size_t n, const wf_url *u, text *t)
{
    add_span(t, p, n, u->scheme);
    add(t, "://", 3);
    if (u->host.at > u->ipv6 && p[u->host.at - 1 - u->ipv6] == '@') {
        add_span(t, p, n, u->userinfo);
        add(t, "@", 1);
    } else {
        MUST(u->userinfo.len == 0, "user information without @");
    }
    add(t, "[", u->ipv6);
    add_span(t, p, n, u->host);
    add(t, "]", u->ipv6);
    MUST(t->n <= n && memcmp(t->p, p, t->n) == 0, "'%.*s'", (int)t->n, t->p);
    size_t port = t->n;
    while (port < n && !strchr("/?#", p[port]))
        port++;
    check_port(p + t->n, port - t->n, u->port, standard_port(p, u));
    add(t, p + t->n, port - t->n);
    add_span(t, p, n, u->path);
    add(t, "?", u->has_query);
    add_span(t, p, n, u->query);
    MUST(t->n <= n && memcmp(t->p, p, t->n) == 0, "'%.*s'", (int)t->n, t->p);
    MUST(u->has_fragment == (t->n < n) && (t->n == n || p[t->n] == '#'), "fragment");
}

static void try_url(const char *p, size_t n)
{
    wf_url u;
    const char *why = wf_url_parse(&u, p, n);
    MUST(why == NULL || *why, "a refusal without a reason");
    if (why)
        return;
    for (size_t i = 0; i < n; i++)
        MUST(p[i] > ' ' && p[i] < 127, "byte %d passed", p[i]);
    MUST(u.host.len > 0 && u.port > 0, "no host, or no port");
    MUST(!has(p, u.host, "/?#@[] ") && (u.ipv6 || !has(p, u.host, ":%")), "host");
    MUST(u.path.len == 0 || p[u.path.at] == '/', "path");
    text t = { malloc(n + 8), 0 };
    check_url(p, n, &u, &t);
    free(t.p);
}

static void try_address(const char *p, size_t n)
{
    wf_address a;
    const char *why = wf_address_parse(&a, p, n);
    MUST(why == NULL || *why, "a refusal without a reason");
    if (why)
        return;
    MUST(a.host.at <= n && a.host.len <= n - a.host.at, "host");
    if (a.kind == WF_ADDRESS_UNIX) {
        MUST(a.host.at == 5 && a.host.len == n - 5 && a.port == 0, "unix");
        return;
    }
    size_t end = a.host.at + a.host.len + a.ipv6;
    check_port(p + end, n - end, a.port, 65536);
    MUST(!has(p, a.host, "/[]@ ") && (a.ipv6 || !has(p, a.host, ":")), "host");
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    uint8_t *copy = fuzz_copy(p, n);
    try_url((const char *)copy, n);
    try_address((const char *)copy, n);
    fuzz_drop(copy, n);
    return 0;
}
