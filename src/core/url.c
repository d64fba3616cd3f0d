/*
 * url: splits URLs and addresses. It looks for separators and judges
 * characters, and decodes nothing: the spans hold what was written. Pure.
 */
#include "url.h"

#include <string.h>

/* A part of the text, on its way from left to right. */
typedef struct part {
    const char *base;
    size_t at, end;
} part;

static wf_span span(size_t at, size_t end)
{
    return (wf_span){ (uint16_t)at, (uint16_t)(end - at) };
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* RFC 3986 2.3: unreserved. It covers every host name that can be looked up. */
static bool is_unreserved(char c)
{
    return is_letter(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

static bool all(const part *t, bool (*is)(char))
{
    for (size_t i = t->at; i < t->end; i++)
        if (!is(t->base[i]))
            return false;
    return true;
}

/* The index of the first of those characters, or the end. */
static size_t first_of(const part *t, const char *set)
{
    for (size_t i = t->at; i < t->end; i++)
        if (t->base[i] != '\0' && strchr(set, t->base[i]) != NULL)
            return i;
    return t->end;
}

static bool begins(const part *t, const char *text)
{
    size_t len = strlen(text);
    return t->end - t->at >= len && memcmp(t->base + t->at, text, len) == 0;
}

/* ---- host and port -------------------------------------------------------- */

static const char bad_ipv6[] = "the part in brackets is not an IPv6 address";

/* The inside of the brackets: IPv6address (RFC 3986 3.2.2), of which only the
 * characters are judged here, the rest by whoever makes an address of it. The
 * zone follows "%25" in a URL (RFC 6874 2), and a plain "%" in an address. */
static const char *ipv6(const part *t, const char *zone_mark)
{
    size_t percent = first_of(t, "%"), colons = 0;
    for (size_t i = t->at; i < percent; i++) {
        char c = t->base[i];
        if (!is_hex(c) && c != ':' && c != '.')
            return bad_ipv6;
        colons += c == ':';
    }
    if (colons < 2)
        return bad_ipv6;
    part zone = { t->base, percent, t->end };
    if (percent == t->end)
        return NULL;
    if (!begins(&zone, zone_mark))
        return "the zone of an IPv6 address in a URL begins with %25";
    zone.at += strlen(zone_mark);
    return zone.at < zone.end && all(&zone, is_unreserved) ? NULL : bad_ipv6;
}

/* Takes the host off the front; what is left of t then is "" or ":...". */
static const char *take_host(part *t, const char *zone_mark, wf_span *host, bool *is_ipv6)
{
    *is_ipv6 = t->at < t->end && t->base[t->at] == '[';
    size_t end = first_of(t, *is_ipv6 ? "]" : ":");
    part name = { t->base, t->at + *is_ipv6, end };
    if (*is_ipv6 && end == t->end)
        return "the bracket around the IPv6 address is not closed";
    if (*is_ipv6) {
        const char *why = ipv6(&name, zone_mark);
        if (why != NULL)
            return why;
    } else if (!all(&name, is_unreserved)) {
        return "the host has a character that no host name has";
    }
    *host = span(name.at, name.end);
    t->at = end + *is_ipv6;
    if (t->at < t->end && t->base[t->at] != ':')
        return "only a port may follow the IPv6 address";
    return NULL;
}

static const char *parse_port(const part *t, unsigned least, uint16_t *port)
{
    unsigned value = 0;
    if (first_of(t, ":") < t->end)
        return "an IPv6 address goes into brackets, as in [::1]:8080";
    for (size_t i = t->at; i < t->end; i++) {
        if (!is_digit(t->base[i]))
            return "the port is not a number";
        value = WF_MIN(value * 10 + (unsigned)(t->base[i] - '0'), 65536u);
    }
    if (value < least || value > 65535)
        return least > 0 ? "the port is not between 1 and 65535"
                         : "the port is not between 0 and 65535";
    *port = (uint16_t)value;
    return NULL;
}

/* ---- URLs ------------------------------------------------------------------ */

static const struct scheme {
    const char *name;
    uint16_t port;
    bool secure;
} schemes[] = {
    /* RFC 6455 3; RFC 9110 4.2 */
    { "ws", 80, false },
    { "wss", 443, true },
    { "http", 80, false },
    { "https", 443, true },
};

/* "scheme://"; schemes are case-insensitive (RFC 3986 3.1). */
static const char *take_scheme(part *t, wf_url *url)
{
    part rest = { t->base, first_of(t, ":/?#"), t->end };
    if (!begins(&rest, "://"))
        return "the URL does not begin with ws://, wss://, http:// or https://";
    url->scheme = span(t->at, rest.at);
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        if (!wf_span_is(url->scheme, t->base, schemes[i].name))
            continue;
        url->port = schemes[i].port;
        url->secure = schemes[i].secure;
        t->at = rest.at + 3;
        return NULL;
    }
    return "the URL's scheme is not ws, wss, http or https";
}

/* authority = [ userinfo "@" ] host [ ":" port ] (RFC 3986 3.2) */
static const char *take_authority(part *t, wf_url *url)
{
    part a = { t->base, t->at, first_of(t, "/?#") };
    t->at = a.end;
    for (size_t i = a.end; i > a.at; i--) {
        if (t->base[i - 1] != '@')
            continue;
        url->userinfo = span(a.at, i - 1);
        a.at = i;
        break;
    }
    const char *why = take_host(&a, "%25", &url->host, &url->ipv6);
    if (why != NULL)
        return why;
    /* RFC 9110 4.2.1: a recipient MUST reject an empty host */
    if (url->host.len == 0)
        return "the URL has no host";
    if (a.end - a.at <= 1)
        return NULL; /* no port, or the empty one of RFC 3986 3.2.3 */
    a.at++;
    return parse_port(&a, 1, &url->port);
}

/* path [ "?" query ] [ "#" fragment ] (RFC 3986 3) */
static void take_rest(part *t, wf_url *url)
{
    size_t end = first_of(t, "#");
    url->has_fragment = end < t->end;
    part before = { t->base, t->at, end };
    size_t question = first_of(&before, "?");
    url->path = span(t->at, question);
    url->has_query = question < end;
    if (url->has_query)
        url->query = span(question + 1, end);
}

static bool is_visible(char c)
{
    return c > 0x20 && c < 0x7F;
}

/* RFC 3986 2.1: "%" HEXDIG HEXDIG */
static bool escapes_are_whole(const part *t)
{
    for (size_t i = t->at; i < t->end; i++)
        if (t->base[i] == '%' &&
            (t->end - i < 3 || !is_hex(t->base[i + 1]) || !is_hex(t->base[i + 2])))
            return false;
    return true;
}

const char *wf_url_parse(wf_url *url, const char *p, size_t n)
{
    part t = { p, 0, n };
    *url = (wf_url){ 0 };
    if (n > WF_HEAD_MAX_BYTES)
        return "the URL is too long";
    /* RFC 3986 2: a URL is of visible ASCII; all else is percent-encoded */
    if (!all(&t, is_visible))
        return "the URL has a space, a control character or one beyond ASCII";
    if (!escapes_are_whole(&t))
        return "a % in the URL is not followed by two hexadecimal digits; write it as "
               "%25";
    const char *why = take_scheme(&t, url);
    if (why == NULL)
        why = take_authority(&t, url);
    if (why == NULL)
        take_rest(&t, url);
    return why;
}

/* ---- addresses --------------------------------------------------------------- */

static const char address_forms[] =
    "an address is host:port, :port, [ipv6]:port, tls://host:port or unix:/path";

/* The path is bytes to the system; NUL would end it and the other controls
 * are never meant. "@" begins a name in Linux's abstract namespace. */
static const char *parse_unix(wf_address *address, const part *t)
{
    for (size_t i = t->at; i < t->end; i++)
        if ((uint8_t)t->base[i] < 0x20 || t->base[i] == 0x7F)
            return "the path has a control character";
    if (t->end - t->at < 2 || (t->base[t->at] != '/' && t->base[t->at] != '@'))
        return "a unix address is unix:/path or unix:@name";
    address->kind = WF_ADDRESS_UNIX;
    address->host = span(t->at, t->end);
    return NULL;
}

const char *wf_address_parse(wf_address *address, const char *p, size_t n)
{
    part t = { p, 0, n };
    *address = (wf_address){ 0 };
    if (n > WF_HEAD_MAX_BYTES)
        return "the address is too long";
    if (begins(&t, "unix:")) {
        t.at += 5;
        return parse_unix(address, &t);
    }
    if (begins(&t, "tls://")) {
        t.at += 6;
        address->kind = WF_ADDRESS_TLS;
    }
    if (first_of(&t, "/") < t.end)
        return address_forms; /* another scheme, or a path */
    const char *why = take_host(&t, "%", &address->host, &address->ipv6);
    if (why != NULL)
        return why;
    if (t.end - t.at <= 1)
        return address_forms; /* no port */
    t.at++;
    return parse_port(&t, 0, &address->port);
}
