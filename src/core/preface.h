/*
 * preface: what a proxy in front of a server says before the client's own bytes, by the
 * PROXY protocol, versions 1 and 2 (haproxy's proxy-protocol.txt). Stateless: call it
 * again with more bytes. Pure.
 */
#ifndef WF_CORE_PREFACE_H
#define WF_CORE_PREFACE_H

#include "head.h"

#define WF_PREFACE_MAX_V1 107  /* 2.1: its line, CRLF included */
#define WF_PREFACE_MAX_V2 4096 /* addresses and TLVs */

WF_HIDDEN_BEGIN

typedef struct wf_preface {
    uint8_t family; /* of the client: 4, 6, 1 (unix); 0: it is the proxy's own connection,
                       or the proxy does not know */
    uint8_t ip[16]; /* of version 2 */
    wf_span text;   /* of version 1: the address, of that family or malformed */
    uint16_t port;
} wf_preface;

/*
 * > 0  complete: its length
 * 0    so far valid, incomplete
 * < 0  malformed; *why is a constant sentence. Noticed as early as the bytes allow.
 */
long wf_preface_parse(wf_preface *preface, const char *p, size_t n, const char **why);

WF_HIDDEN_END

#endif
