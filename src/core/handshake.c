/*
 * handshake: what RFC 6455 4.1 and 4.2 demand of the two heads, and the key
 * and accept values. Judges only: answering is the caller's. Pure.
 */
#include "handshake.h"
#include "extension.h"

#include <string.h>

/* RFC 6455 1.3 */
static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

enum { KEY_LEN = 24, MAX_KEY = 64 };

/* ---- base64 (RFC 4648 4) ----------------------------------------------- */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "abcdefghijklmnopqrstuvwxyz0123456789+/";

static const uint8_t digits[256] = {
    ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1, ['+'] = 1, ['/'] = 1,
};

/* n bytes, padded and NUL-terminated. */
static void base64(const uint8_t *bytes, size_t n, char *out)
{
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)bytes[i] << 16;
        if (i + 1 < n)
            v |= (uint32_t)bytes[i + 1] << 8;
        if (i + 2 < n)
            v |= bytes[i + 2];
        *out++ = alphabet[v >> 18];
        *out++ = alphabet[v >> 12 & 63];
        *out++ = i + 1 < n ? alphabet[v >> 6 & 63] : '=';
        *out++ = i + 2 < n ? alphabet[v & 63] : '=';
    }
    *out = '\0';
}

/* Canonical base64 of exactly 16 bytes: 22 digits, of which the last carries
 * two bits only, so its other four are zero (RFC 4648 3.5), and "==". */
static bool is_key(const char *p, size_t n)
{
    if (n != KEY_LEN || p[22] != '=' || p[23] != '=')
        return false;
    for (size_t i = 0; i < 22; i++)
        if (!digits[(uint8_t)p[i]])
            return false;
    return memchr("AQgw", p[21], 4) != NULL;
}

void wf_handshake_key(const uint8_t random[16], char key[25])
{
    base64(random, 16, key);
}

/* RFC 6455 4.2.2 5.4: base64 of the SHA-1 of the key and the GUID */
void wf_handshake_accept(const char *key, size_t key_len, wf_sha1_fn sha1,
                         char accept[WF_ACCEPT_LEN + 1])
{
    char text[MAX_KEY + sizeof guid - 1];
    uint8_t digest[20];
    key_len = WF_MIN(key_len, MAX_KEY);
    memcpy(text, key, key_len);
    memcpy(text + key_len, guid, sizeof guid - 1);
    sha1(text, key_len + sizeof guid - 1, digest);
    base64(digest, sizeof digest, accept);
}

/* ---- the server's side --------------------------------------------------- */

typedef struct request {
    const wf_head *head;
    const char *p;
    const char *why;
    bool bad_version;
} request;

static int refuse(request *r, int status, const char *why)
{
    r->why = why;
    return status;
}

/* The value of the only field of that name; false when there is none or, then
 * with *twice, when there are several. */
static bool only(const wf_head *head, const char *p, const char *name, wf_span *value,
                 bool *twice)
{
    int i = wf_head_find(head, p, name, 0);
    *twice = i >= 0 && wf_head_find(head, p, name, i + 1) >= 0;
    if (i < 0 || *twice)
        return false;
    *value = head->fields[i].value;
    return true;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

/* How many bytes of p, from i on, are letters, digits or in `others`. */
static size_t span_of(const char *p, size_t n, size_t i, const char *others)
{
    size_t from = i;
    while (i < n && (is_alnum(p[i]) || (p[i] != 0 && strchr(others, p[i]))))
        i++;
    return i - from;
}

/* Host = uri-host [ ":" port ] (RFC 9110 7.2), a name's or an address's characters
 * (RFC 3986 3.2.2), so that nothing that steers a URL can hide in it. */
static bool is_host(const char *p, size_t n)
{
    bool literal = n > 0 && p[0] == '[';
    size_t i = literal;
    size_t k = span_of(p, n, i, literal ? ":.-_~%" : "-._~!$&'()*+,;=%");
    i += k;
    if (k == 0 || (literal && (i == n || p[i++] != ']')))
        return false;
    if (i < n && p[i] == ':')
        for (i++; i < n && p[i] >= '0' && p[i] <= '9'; i++)
            continue;
    return i == n;
}

/* RFC 9112 3.2: 400 when Host is missing, there twice, or invalid. RFC 6455
 * 4.2.1 2 wants it too, whatever the version says. */
static int judge_host(request *r)
{
    wf_span host;
    bool twice;
    if (!only(r->head, r->p, "host", &host, &twice))
        return refuse(r, 400, twice ? "more than one Host field" : "no Host field");
    if (!is_host(r->p + host.at, host.len))
        return refuse(r, 400, "the Host field is not a host");
    return 101;
}

/* RFC 6455 4.2.1 3 and 4. 426 tells what this resource wants instead (RFC 9110
 * 15.5.22). */
static int judge_upgrade(request *r)
{
    if (!wf_head_has_token(r->head, r->p, "upgrade", "websocket"))
        return refuse(r, 426, "the Upgrade field does not ask for websocket");
    if (!wf_head_has_token(r->head, r->p, "connection", "upgrade"))
        return refuse(r, 426, "the Connection field does not list Upgrade");
    return 101;
}

/* RFC 9112 3.2.1 and 3.2.2: origin-form or absolute-form; the other two belong
 * to CONNECT and OPTIONS. RFC 6455 4.2.1 1 has the same two. */
static bool names_resource(const char *p, size_t n)
{
    if (n > 0 && p[0] == '/')
        return true;
    const char *colon = memchr(p, ':', n);
    return colon != NULL && (size_t)(p + n - colon) >= 3 && colon[1] == '/' &&
           colon[2] == '/';
}

/* RFC 6455 4.2.1 1: "An HTTP/1.1 or higher GET request" */
static int judge_request_line(request *r)
{
    wf_span method = r->head->method, target = r->head->target;
    if (method.len != 3 || memcmp(r->p + method.at, "GET", 3) != 0)
        return refuse(r, 405, "the method of a WebSocket request is GET");
    if (r->head->minor < 1)
        return refuse(r, 505, "a WebSocket request needs HTTP/1.1");
    if (!names_resource(r->p + target.at, target.len))
        return refuse(r, 400, "the request target is neither a path nor a URL");
    return 101;
}

static bool is_zero(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != '0')
            return false;
    return n > 0;
}

/* RFC 9112 6: these two fields announce a body. None belongs here, and its
 * bytes would be taken for frames. */
static int judge_body(request *r)
{
    if (wf_head_find(r->head, r->p, "transfer-encoding", 0) >= 0)
        return refuse(r, 400, "a WebSocket request with a body (Transfer-Encoding)");
    for (int i = 0; (i = wf_head_find(r->head, r->p, "content-length", i)) >= 0; i++) {
        wf_span v = r->head->fields[i].value;
        if (!is_zero(r->p + v.at, v.len))
            return refuse(r, 400, "a WebSocket request with a body (Content-Length)");
    }
    return 101;
}

/* RFC 6455 4.2.1 6: version 13. 4.2.2 4: any other is 426, with the version
 * that the server speaks. Judged before the key, whose form is version 13's. */
static int judge_version(request *r)
{
    wf_span version;
    bool twice;
    /* RFC 6455 11.3.5: MUST NOT appear more than once in a request */
    if (!only(r->head, r->p, "sec-websocket-version", &version, &twice)) {
        if (twice)
            return refuse(r, 400, "more than one Sec-WebSocket-Version field");
        r->bad_version = true;
        return refuse(r, 426, "no Sec-WebSocket-Version field");
    }
    if (!wf_span_is(version, r->p, "13")) {
        r->bad_version = true;
        return refuse(r, 426, "the Sec-WebSocket-Version is not 13");
    }
    return 101;
}

/* RFC 6455 4.2.1 5: a base64-encoded value that decodes to 16 bytes; 11.3.1:
 * MUST NOT appear more than once. */
static int judge_key(request *r)
{
    wf_span key;
    bool twice;
    if (!only(r->head, r->p, "sec-websocket-key", &key, &twice))
        return refuse(r, 400,
                      twice ? "more than one Sec-WebSocket-Key field"
                            : "no Sec-WebSocket-Key field");
    if (!is_key(r->p + key.at, key.len))
        return refuse(r, 400, "the Sec-WebSocket-Key is not 16 bytes in base64");
    return 101;
}

/* RFC 6455 9.1: a value that does not conform to the grammar fails the connection. */
static int judge_extensions(request *r)
{
    static const char name[] = "sec-websocket-extensions";
    for (int i = 0; (i = wf_head_find(r->head, r->p, name, i)) >= 0; i++) {
        wf_span v = r->head->fields[i].value;
        if (!wf_extension_valid(r->p + v.at, v.len))
            return refuse(r, 400, "a malformed Sec-WebSocket-Extensions");
    }
    return 101;
}

int wf_handshake_judge(const wf_head *head, const char *p, bool *bad_version,
                       const char **why)
{
    static int (*const judges[])(request *) = {
        judge_host,    judge_upgrade, judge_request_line, judge_body,
        judge_version, judge_key,     judge_extensions,
    };
    request r = { head, p, NULL, false };
    int status = 101;
    for (size_t i = 0; status == 101 && i < sizeof judges / sizeof judges[0]; i++)
        status = judges[i](&r);
    if (bad_version != NULL)
        *bad_version = r.bad_version;
    if (why != NULL && status != 101)
        *why = r.why;
    return status;
}

/* ---- the client's side ---------------------------------------------------- */

/* RFC 6455 4.1, the list of what a client must validate, its points 2 and 3 */
static const char *check_upgrade(const wf_head *head, const char *p)
{
    wf_span upgrade;
    bool twice;
    if (!only(head, p, "upgrade", &upgrade, &twice))
        return twice ? "the answer has more than one Upgrade field"
                     : "the answer has no Upgrade field";
    if (!wf_span_is(upgrade, p, "websocket"))
        return "the answer upgrades to something other than websocket";
    if (!wf_head_has_token(head, p, "connection", "upgrade"))
        return "the answer's Connection field does not list Upgrade";
    return NULL;
}

/* point 4: the Accept that belongs to the key; 11.3.3: not more than once */
static const char *check_accept(const wf_head *head, const char *p, const char *key,
                                wf_sha1_fn sha1)
{
    wf_span given;
    bool twice;
    char accept[WF_ACCEPT_LEN + 1];
    if (!only(head, p, "sec-websocket-accept", &given, &twice))
        return twice ? "the answer has more than one Sec-WebSocket-Accept field"
                     : "the answer has no Sec-WebSocket-Accept field";
    wf_handshake_accept(key, strlen(key), sha1, accept);
    if (given.len != WF_ACCEPT_LEN || memcmp(p + given.at, accept, WF_ACCEPT_LEN) != 0)
        return "the answer's Sec-WebSocket-Accept does not belong to the key";
    return NULL;
}

/* Is that exact text an element of the comma-separated list? */
static bool is_offered(const char *p, size_t n, const char *offered)
{
    while (offered != NULL && *offered != '\0') {
        offered += strspn(offered, ", \t");
        size_t len = strcspn(offered, ", \t");
        if (len > 0 && len == n && memcmp(offered, p, n) == 0)
            return true;
        offered += len;
    }
    return false;
}

/* point 6: a subprotocol that the client did not ask for fails the connection;
 * 11.3.4: the server chooses one, in one field */
static const char *check_protocol(const wf_head *head, const char *p, const char *offered,
                                  wf_span *protocol)
{
    bool twice;
    if (!only(head, p, "sec-websocket-protocol", protocol, &twice))
        return twice ? "the answer has more than one Sec-WebSocket-Protocol field" : NULL;
    if (!is_offered(p + protocol->at, protocol->len, offered))
        return "the answer chooses a subprotocol that was not offered";
    return NULL;
}

const char *wf_handshake_check(const wf_head *head, const char *p, const char *key,
                               wf_sha1_fn sha1, const char *offered, bool extensions,
                               wf_span *protocol)
{
    *protocol = (wf_span){ 0, 0 };
    if (head->status != 101)
        return "the server did not answer with status 101"; /* point 1 */
    if (head->minor < 1)
        return "the server answered 101 in HTTP/1.0"; /* RFC 9110 7.8 */
    const char *why = check_upgrade(head, p);
    if (why == NULL)
        why = check_accept(head, p, key, sha1);
    /* point 5: an extension that the client did not ask for */
    int extension = wf_head_find(head, p, "sec-websocket-extensions", 0);
    if (why == NULL && !extensions && extension >= 0) {
        *protocol = head->fields[extension].value;
        return "the answer has an extension that was not offered";
    }
    if (why == NULL)
        why = check_protocol(head, p, offered, protocol);
    return why;
}
