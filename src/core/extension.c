/* extension: see extension.h. */
#include "core/extension.h"

#include <stdio.h>
#include <string.h>

/* ---- the grammar (RFC 6455 9.1, tokens of RFC 9110 5.6.2) ------------------ */

typedef struct scan {
    const char *p, *end;
} scan;

typedef struct slice {
    const char *p;
    size_t n;
} slice;

static bool is_tchar(char c)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr(others, c));
}

static void skip_space(scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t'))
        s->p++;
}

/* That character, and white space around it. */
static bool skip(scan *s, char c)
{
    skip_space(s);
    if (s->p == s->end || *s->p != c)
        return false;
    s->p++;
    skip_space(s);
    return true;
}

static bool read_token(scan *s, slice *token)
{
    token->p = s->p;
    while (s->p < s->end && is_tchar(*s->p))
        s->p++;
    token->n = (size_t)(s->p - token->p);
    return token->n > 0;
}

#define VALUE_MAX 8 /* no value that means anything is longer */

typedef struct value {
    char text[VALUE_MAX];
    size_t n; /* may be more than VALUE_MAX: then the text is cut */
} value;

static void add(value *v, char c)
{
    if (v->n < VALUE_MAX)
        v->text[v->n] = c;
    v->n++;
}

/* "the value after quoted-string unescaping MUST conform to the 'token' ABNF" */
static bool read_quoted(scan *s, value *v)
{
    while (s->p < s->end && *s->p != '"') {
        if (*s->p == '\\' && ++s->p == s->end)
            return false;
        if (!is_tchar(*s->p))
            return false;
        add(v, *s->p++);
    }
    if (s->p == s->end)
        return false;
    s->p++;
    return v->n > 0;
}

static bool read_value(scan *s, value *v)
{
    slice token;
    if (s->p < s->end && *s->p == '"') {
        s->p++;
        return read_quoted(s, v);
    }
    if (!read_token(s, &token))
        return false;
    for (size_t i = 0; i < token.n; i++)
        add(v, token.p[i]);
    return true;
}

/* ---- one extension with its parameters ------------------------------------- */

enum { SERVER_TAKEOVER, CLIENT_TAKEOVER, SERVER_WINDOW, CLIENT_WINDOW, PARAMETERS };

static const char *const names[PARAMETERS] = {
    "server_no_context_takeover",
    "client_no_context_takeover",
    "server_max_window_bits",
    "client_max_window_bits",
};

typedef struct offer {
    bool deflate;    /* its name */
    const char *why; /* it cannot be accepted, or NULL */
    bool has[PARAMETERS];
    uint8_t bits[PARAMETERS]; /* 0: no value */
} offer;

static bool is(slice s, const char *text)
{
    return s.n == strlen(text) && memcmp(s.p, text, s.n) == 0;
}

/* RFC 7692 7.1.2.1: "a decimal integer value without leading zeroes between 8 to 15" */
static uint8_t window_bits(const value *v)
{
    if (v->n == 1 && (v->text[0] == '8' || v->text[0] == '9'))
        return (uint8_t)(v->text[0] - '0');
    if (v->n == 2 && v->text[0] == '1' && v->text[1] >= '0' && v->text[1] <= '5')
        return (uint8_t)(10 + v->text[1] - '0');
    return 0;
}

/* RFC 7692 7.1: what makes a parameter invalid; v NULL: it has no value. */
static const char *take_parameter(offer *o, slice name, const value *v)
{
    int i = 0;
    while (i < PARAMETERS && !is(name, names[i]))
        i++;
    if (i == PARAMETERS)
        return "permessage-deflate has an unknown parameter";
    if (o->has[i])
        return "permessage-deflate has a parameter twice";
    o->has[i] = true;
    if (i < SERVER_WINDOW)
        return v ? "a no_context_takeover parameter has a value" : NULL;
    if (v && !(o->bits[i] = window_bits(v)))
        return "a max_window_bits parameter is not from 8 to 15";
    /* 7.1.2.2: only this one may be without a value, and only in an offer */
    return !v && i == SERVER_WINDOW ? "server_max_window_bits has no value" : NULL;
}

/* False: not the grammar. */
static bool read_offer(scan *s, offer *o)
{
    slice name;
    *o = (offer){ 0 };
    if (!read_token(s, &name))
        return false;
    o->deflate = is(name, "permessage-deflate");
    while (skip(s, ';')) {
        value v = { .n = 0 };
        if (!read_token(s, &name))
            return false;
        bool has_value = skip(s, '=');
        if (has_value && !read_value(s, &v))
            return false;
        const char *why = take_parameter(o, name, has_value ? &v : NULL);
        if (!o->why)
            o->why = why;
    }
    return true;
}

/* The next element; false at the end, with *valid telling how it was. */
static bool next_offer(scan *s, offer *o, bool *valid)
{
    while (skip(s, ',')) /* RFC 9110 5.6.1: empty elements are ignored */
        continue;
    skip_space(s);
    if (s->p == s->end)
        return false;
    *valid = read_offer(s, o);
    skip_space(s);
    *valid = *valid && (s->p == s->end || *s->p == ',');
    return *valid;
}

bool wf_extension_valid(const char *p, size_t n)
{
    scan s = { p, p + n };
    offer o;
    bool valid = false; /* "1#extension": there is at least one */
    while (next_offer(&s, &o, &valid))
        continue;
    return valid;
}

/* ---- a server's choice ------------------------------------------------------- */

static uint8_t smaller(uint8_t a, uint8_t b)
{
    return a && a < b ? a : b;
}

static void accept_offer(const offer *o, const wf_extension *wish, wf_extension *agreed)
{
    agreed->deflate = true;
    agreed->server_no_takeover = o->has[SERVER_TAKEOVER] || wish->server_no_takeover;
    /* 7.1.1.2: a hint; saying it back lets both sides rely on it */
    agreed->client_no_takeover = o->has[CLIENT_TAKEOVER] || wish->client_no_takeover;
    if (o->has[SERVER_WINDOW])
        agreed->server_window = smaller(o->bits[SERVER_WINDOW], wish->server_window);
    /* 7.1.2.2: "MUST NOT include" it when the offer did not */
    uint8_t client = smaller(o->bits[CLIENT_WINDOW], wish->client_window);
    if (o->has[CLIENT_WINDOW] && client < WF_WINDOW_MAX)
        agreed->client_window = client;
    if (!o->has[CLIENT_WINDOW] && wish->client_window < WF_WINDOW_MAX)
        agreed->client_no_takeover = true;
}

void wf_extension_accept(const char *p, size_t n, const wf_extension *wish,
                         wf_extension *agreed)
{
    scan s = { p, p + n };
    offer o;
    bool valid;
    while (!agreed->deflate && next_offer(&s, &o, &valid))
        if (o.deflate && !o.why)
            accept_offer(&o, wish, agreed);
}

/* ---- a client's judgement ------------------------------------------------------ */

/* RFC 7692 7.1.1 and 7.1.2: what each parameter of an answer may be after our offer. */
static const char *judge_answer(const offer *o, const wf_extension *wish)
{
    uint8_t server = o->bits[SERVER_WINDOW], client = o->bits[CLIENT_WINDOW];
    if (o->why)
        return o->why;
    if (wish->server_no_takeover && !o->has[SERVER_TAKEOVER])
        return "the answer lacks server_no_context_takeover, which was asked for";
    if (wish->server_window && !server)
        return "the answer lacks server_max_window_bits, which was asked for";
    if (wish->server_window && server > wish->server_window)
        return "server_max_window_bits is more than was offered";
    if (o->has[CLIENT_WINDOW] && !client)
        return "client_max_window_bits has no value";
    if (wish->client_window && client > wish->client_window)
        return "client_max_window_bits is more than was offered";
    return NULL;
}

const char *wf_extension_check(const char *p, size_t n, const wf_extension *wish,
                               wf_extension *agreed)
{
    scan s = { p, p + n };
    offer o;
    bool valid = false;
    while (next_offer(&s, &o, &valid)) {
        if (!o.deflate || !wish->deflate) /* RFC 6455 4.1, point 5 */
            return "the answer has an extension that was not offered";
        if (agreed->deflate)
            return "the answer has permessage-deflate twice";
        const char *why = judge_answer(&o, wish);
        if (why)
            return why;
        *agreed = (wf_extension){ true, o.has[SERVER_TAKEOVER], o.has[CLIENT_TAKEOVER],
                                  o.bits[SERVER_WINDOW], o.bits[CLIENT_WINDOW] };
    }
    return valid ? NULL : "the answer's Sec-WebSocket-Extensions is malformed";
}

/* ---- as text ---------------------------------------------------------------------- */

static size_t print(const wf_extension *e, bool offering, char *text)
{
    if (!e->deflate)
        return 0;
    int n = snprintf(text, WF_EXTENSION_TEXT, "permessage-deflate%s%s",
                     e->server_no_takeover ? "; server_no_context_takeover" : "",
                     e->client_no_takeover ? "; client_no_context_takeover" : "");
    if (e->server_window)
        n += sprintf(text + n, "; server_max_window_bits=%d", e->server_window);
    if (e->client_window)
        n += sprintf(text + n, "; client_max_window_bits=%d", e->client_window);
    else if (offering) /* 7.1.2.2: we would follow a limit */
        n += sprintf(text + n, "; client_max_window_bits");
    return (size_t)n;
}

size_t wf_extension_offer(const wf_extension *wish, char text[WF_EXTENSION_TEXT])
{
    return print(wish, true, text);
}

size_t wf_extension_answer(const wf_extension *agreed, char text[WF_EXTENSION_TEXT])
{
    return print(agreed, false, text);
}
