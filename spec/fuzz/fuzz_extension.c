/*
 * fuzz_extension: Sec-WebSocket-Extensions as a server reads offers and a client the
 * answer, against a reader of our own by the grammar (RFC 6455 9.1) and the rules of
 * RFC 7692 7.1; and weft's offers, answers and judgements among themselves.
 */
#include "fuzz.h"

#include "core/extension.h"

/* -- the slow way: tokens first, then what they make -----------------------------------
 */

typedef struct word {
    char what;     /* 't' a token, 'q' a quoted one, ';' ',' '=', or '?' */
    bool spaced;   /* white space before it */
    char text[64]; /* cut, when longer */
    size_t n;
} word;

typedef struct parameter {
    char name[64];
    bool has_value;
    char value[64];
} parameter;

typedef struct offered {
    char name[64];
    parameter parameters[16];
    size_t n;
} offered;

typedef struct list {
    bool valid;
    bool overflow; /* more than fits here: nothing is said */
    offered offers[16];
    size_t n;
} list;

static bool is_token(uint8_t c)
{
    return c > ' ' && c < 127 && !strchr("\"(),/:;<=>?@[\\]{}", c);
}

static void word_add(word *w, char c)
{
    if (w->n < sizeof w->text - 1)
        w->text[w->n] = c;
    w->n++;
}

/* RFC 9110 5.6.4, of which the text must be a token */
static size_t take_quoted(word *w, const char *p, size_t n)
{
    size_t i = 1;
    w->what = '?';
    for (; i < n && p[i] != '"'; i++) {
        if (p[i] == '\\' && ++i == n)
            return n;
        if (!is_token((uint8_t)p[i]))
            return n;
        word_add(w, p[i]);
    }
    if (i < n && w->n > 0)
        w->what = 'q';
    return i < n ? i + 1 : n;
}

/* The next word at p; returns the bytes it takes. */
static size_t take_word(word *w, const char *p, size_t n)
{
    size_t i = 0;
    memset(w, 0, sizeof *w);
    if (p[0] == '"')
        return take_quoted(w, p, n);
    for (w->what = 't'; i < n && is_token((uint8_t)p[i]); i++)
        word_add(w, p[i]);
    if (i == 0)
        w->what = strchr(";,=", p[0]) && p[0] ? p[0] : '?';
    return i ? i : 1;
}

static size_t take_words(word *words, size_t most, const char *p, size_t n)
{
    size_t count = 0;
    for (size_t at = 0; at < n && count < most;) {
        if (p[at] == ' ' || p[at] == '\t')
            at++;
        else
            at += take_word(&words[count++], p + at, n - at);
    }
    return count;
}

/* One extension from words[*at]; false: not the grammar, or too many parameters. */
static bool take_offer(list *l, const word *words, size_t n, size_t *at)
{
    offered *o = &l->offers[l->n];
    memset(o, 0, sizeof *o);
    strcpy(o->name, words[*at].text);
    if (words[(*at)++].what != 't')
        return false;
    while (*at < n && words[*at].what == ';') {
        parameter *q = &o->parameters[o->n];
        if (++*at >= n || words[*at].what != 't')
            return false;
        strcpy(q->name, words[(*at)++].text);
        if (*at < n && words[*at].what == '=') {
            if (++*at >= n || !strchr("tq", words[*at].what))
                return false;
            q->has_value = true;
            strcpy(q->value, words[(*at)++].text);
        }
        if (++o->n == sizeof o->parameters / sizeof o->parameters[0]) {
            l->overflow = true;
            return false;
        }
    }
    return *at == n || words[*at].what == ',';
}

static void slow_list(list *l, const char *p, size_t n)
{
    static word words[256];
    size_t count = take_words(words, 256, p, n), at = 0;
    memset(l, 0, sizeof *l);
    l->overflow = count == 256;
    while (at < count) {
        if (words[at].what == ',') {
            at++;
            continue;
        }
        if (!take_offer(l, words, count, &at) || l->overflow)
            return;
        if (++l->n == sizeof l->offers / sizeof l->offers[0]) {
            l->overflow = true;
            return;
        }
    }
    l->valid = l->n > 0;
}

/* -- what RFC 7692 7.1 says of one ------------------------------------------------------
 */

static const parameter *find(const offered *o, const char *name)
{
    for (size_t i = 0; i < o->n; i++)
        if (strcmp(o->parameters[i].name, name) == 0)
            return &o->parameters[i];
    return NULL;
}

/* 0: none, or not 8 to 15 */
static unsigned slow_bits(const parameter *q)
{
    for (unsigned bits = 8; q && bits <= 15; bits++) {
        char text[4];
        snprintf(text, sizeof text, "%u", bits);
        if (q->has_value && strcmp(q->value, text) == 0)
            return bits;
    }
    return 0;
}

static bool slow_good(const offered *o)
{
    static const char *const names[] = { "server_no_context_takeover",
                                         "client_no_context_takeover",
                                         "server_max_window_bits",
                                         "client_max_window_bits" };
    if (strcmp(o->name, "permessage-deflate") != 0)
        return false;
    for (size_t i = 0; i < o->n; i++) {
        const parameter *q = &o->parameters[i];
        size_t k = 0;
        while (k < 4 && strcmp(names[k], q->name) != 0)
            k++;
        if (k == 4 || find(o, q->name) != q)
            return false; /* unknown, or a second one */
        if (k < 2 ? q->has_value : (k == 2 || q->has_value) && slow_bits(q) == 0)
            return false;
    }
    return true;
}

/* -- a server
 * ------------------------------------------------------------------------------ */

/* What is agreed on keeps to the offer and to the server's wish. */
static void check_agreed(const offered *o, const wf_extension *wish,
                         const wf_extension *a)
{
    const parameter *server = find(o, "server_max_window_bits");
    const parameter *client = find(o, "client_max_window_bits");
    MUST(a->server_no_takeover ||
             !(find(o, "server_no_context_takeover") || wish->server_no_takeover),
         "server takeover");
    MUST(a->client_no_takeover || !wish->client_no_takeover, "client takeover");
    MUST(!server || (a->server_window >= 8 && a->server_window <= slow_bits(server)),
         "server window %u", a->server_window);
    MUST(client || !a->client_window, "a client window that may not be limited");
    MUST(!a->client_window || !slow_bits(client) || a->client_window <= slow_bits(client),
         "client window %u", a->client_window);
    MUST(a->client_window <= 15 && a->client_window != 1 && a->server_window <= 15,
         "windows");
}

static void serve(const char *p, size_t n, const list *l, const wf_extension *wish)
{
    wf_extension agreed = { 0 };
    char text[WF_EXTENSION_TEXT];
    wf_extension_accept(p, n, wish, &agreed);
    size_t first = 0;
    while (first < l->n && !slow_good(&l->offers[first]))
        first++;
    MUST(agreed.deflate == (first < l->n), "accepted: %d", agreed.deflate);
    if (!agreed.deflate)
        return;
    check_agreed(&l->offers[first], wish, &agreed);
    size_t len = wf_extension_answer(&agreed, text);
    MUST(len > 0 && len < sizeof text && wf_extension_valid(text, len), "the answer");
}

/* -- a client
 * -------------------------------------------------------------------------------- */

static void connect_to(const char *p, size_t n, const list *l, const wf_extension *wish)
{
    wf_extension agreed = { 0 };
    const char *why = wf_extension_check(p, n, wish, &agreed);
    MUST(!why || *why, "a refusal without a reason");
    if (why)
        return;
    MUST(wish->deflate && l->valid && l->n == 1 && slow_good(&l->offers[0]), "passed");
    const offered *o = &l->offers[0];
    unsigned server = slow_bits(find(o, "server_max_window_bits"));
    unsigned client = slow_bits(find(o, "client_max_window_bits"));
    MUST(agreed.deflate && agreed.server_window == server &&
             agreed.client_window == client,
         "windows %u and %u", agreed.server_window, agreed.client_window);
    MUST(!wish->server_window || (server && server <= wish->server_window), "server");
    MUST(!wish->client_window || client <= wish->client_window, "client");
    MUST(!wish->server_no_takeover || agreed.server_no_takeover, "server takeover");
    MUST(!find(o, "client_max_window_bits") || client, "a window without a value");
}

/* -- among themselves
 * ---------------------------------------------------------------------------- */

static void check_own(const wf_extension *client, const wf_extension *server)
{
    char offer[WF_EXTENSION_TEXT], answer[WF_EXTENSION_TEXT];
    wf_extension accepted = { 0 }, agreed = { 0 };
    size_t n = wf_extension_offer(client, offer);
    MUST(n > 0 && wf_extension_valid(offer, n), "the offer");
    wf_extension_accept(offer, n, server, &accepted);
    MUST(accepted.deflate, "weft declines %s", offer);
    n = wf_extension_answer(&accepted, answer);
    const char *why = wf_extension_check(answer, n, client, &agreed);
    MUST(!why, "%s to %s: %s", answer, offer, why);
    MUST(agreed.server_no_takeover == accepted.server_no_takeover &&
             agreed.client_no_takeover == accepted.client_no_takeover &&
             agreed.server_window == accepted.server_window &&
             agreed.client_window == accepted.client_window,
         "%s to %s is understood in two ways", answer, offer);
}

/* Windows 9 to 15; of a client's wish 0, too: the parameter is left out. */
static wf_extension take_wish(fuzz *f, bool client)
{
    unsigned flags = fuzz_byte(f), windows = fuzz_byte(f);
    wf_extension w = { true, flags & 1, flags & 2, (uint8_t)(9 + (windows & 7) % 7),
                       (uint8_t)(9 + (windows >> 3 & 7) % 7) };
    if (client && (flags & 4))
        w.server_window = 0;
    if (client && (flags & 8))
        w.client_window = 0;
    return w;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    fuzz f = { p, n };
    wf_extension client = take_wish(&f, true), server = take_wish(&f, false);
    check_own(&client, &server);
    client.deflate = !(n & 1 && f.n > 0 && f.p[0] == '!');
    static list l;
    const char *text = (const char *)fuzz_copy(f.p, f.n);
    slow_list(&l, text, f.n);
    if (!l.overflow) {
        bool valid = wf_extension_valid(text, f.n);
        MUST(valid == l.valid, "valid: %d", valid);
        serve(text, f.n, &l, &server);
        connect_to(text, f.n, &l, &client);
    }
    fuzz_drop((uint8_t *)(uintptr_t)text, f.n);
    return 0;
}
