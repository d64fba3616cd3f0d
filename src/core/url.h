/*
 * url: splits ws, wss, http and https URLs (RFC 3986, RFC 6455 3), and the
 * addresses that listen and dial take. Pure; spans point into the given text.
 */
#ifndef WF_CORE_URL_H
#define WF_CORE_URL_H

#include "head.h"

WF_HIDDEN_BEGIN

typedef struct wf_url {
    wf_span scheme;   /* as written */
    wf_span userinfo; /* without '@'; len 0: none */
    wf_span host;     /* an IPv6 literal without its brackets; zone after "%25" */
    wf_span path;     /* with leading '/', len 0: none (then "/" is meant) */
    wf_span query;    /* without '?' */
    bool has_query, has_fragment, ipv6, secure;
    uint16_t port; /* as given, or the scheme's default */
} wf_url;

/* NULL, or a constant sentence that says what is wrong. Control characters,
 * spaces and bytes over 126 anywhere are refused. An empty port is the
 * scheme's (RFC 3986 3.2.3); nothing is decoded; a fragment is only noted. */
const char *wf_url_parse(wf_url *url, const char *p, size_t n);

typedef enum { WF_ADDRESS_TCP, WF_ADDRESS_TLS, WF_ADDRESS_UNIX } wf_address_kind;

typedef struct wf_address {
    wf_address_kind kind;
    wf_span host;  /* len 0: every interface; for unix: the path */
    bool ipv6;     /* host was an IPv6 literal in brackets */
    uint16_t port; /* 0 for unix */
} wf_address;

/*
 * "host:port", ":port", "[::1]:port", "tls://host:port", "unix:/path" and
 * "unix:@name" (its '@' stays in host). NULL, or a constant sentence. The port
 * may be 0: a listener then takes a free one. A zone follows a plain '%'.
 */
const char *wf_address_parse(wf_address *address, const char *p, size_t n);

WF_HIDDEN_END

#endif
