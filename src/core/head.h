/*
 * head: a stateless parser of HTTP/1.x request and response heads (RFC 9112).
 * It allocates nothing and keeps nothing: call it again with more bytes. All
 * positions are offsets into the head, so the bytes may be moved meanwhile.
 */
#ifndef WF_CORE_HEAD_H
#define WF_CORE_HEAD_H

#include <string.h>

#include "base.h"

#define WF_HEAD_MAX_FIELDS 64
#define WF_HEAD_MAX_BYTES 65535 /* positions are 16 bits wide */

WF_HIDDEN_BEGIN

typedef struct wf_span {
    uint16_t at, len;
} wf_span;

typedef struct wf_field {
    wf_span name, value; /* the value without surrounding white space */
} wf_field;

typedef struct wf_head {
    wf_span method, target; /* of a request */
    wf_span reason;         /* of a response */
    uint16_t status;        /* of a response */
    uint8_t minor;          /* HTTP/1.minor */
    uint8_t nfields;
    uint16_t length; /* bytes of the whole head: where what follows begins */
    wf_field fields[WF_HEAD_MAX_FIELDS];
} wf_head;

typedef struct wf_head_limits {
    uint16_t max_line;   /* bytes of the first line, its CRLF not counted */
    uint16_t max_head;   /* bytes of the whole head, its empty line included */
    uint16_t max_fields; /* at most WF_HEAD_MAX_FIELDS */
} wf_head_limits;

/* 4 KiB, 8 KiB, 64 */
extern const wf_head_limits wf_head_default_limits;

/*
 * Parse the head at p[0..n).
 * > 0  complete: its length (also in head->length)
 * 0    so far valid, incomplete
 * < 0  minus the HTTP status that answers it: 400 malformed or too many
 *      fields, 414 line too long, 431 head too long, 505 version. *why, when
 *      not NULL, is then a constant sentence without trailing period.
 * Wrong bytes and limits are noticed as early as the bytes allow, and the
 * verdict is the same however the bytes came. No obs-fold, no bare CR or LF;
 * one empty line before a request line is skipped (and counts in the length).
 * While the answer is not > 0, *head holds nothing to rely on. Any minor
 * version is let through: RFC 9110 2.5 reads them all as 1.1, but 1.0.
 */
int wf_head_parse_request(wf_head *head, const char *p, size_t n,
                          const wf_head_limits *limits, const char **why);
int wf_head_parse_response(wf_head *head, const char *p, size_t n,
                           const wf_head_limits *limits, const char **why);

/* The index of the first field of that lower-case name at or after `from`, or -1. */
int wf_head_find_name(const wf_head *head, const char *p, const char *name, size_t len,
                      int from);
/* Inline, so that the length of a literal is a constant. */
static inline int wf_head_find(const wf_head *head, const char *p, const char *name,
                               int from)
{
    return wf_head_find_name(head, p, name, strlen(name), from);
}
/* How many fields have that lower-case name. */
int wf_head_count(const wf_head *head, const char *p, const char *name);
/* Is `token` (lower case) in the comma lists of all fields of that name? */
bool wf_head_has_token(const wf_head *head, const char *p, const char *name,
                       const char *token);
/* Does the span equal the lower-case text, whatever its case? */
bool wf_span_is(wf_span span, const char *p, const char *lower);

WF_HIDDEN_END

#endif
