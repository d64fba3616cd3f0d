/* trie: see trie.h. */
#include "core/trie.h"

#include <stdlib.h>
#include <string.h>

#include "core/utf8.h"

#define FIRST_BUCKETS 16

struct wf_trie_node {
    wf_trie_node *parent;
    wf_trie_node *chain; /* in its bucket */
    wf_trie_node *star, *rest;
    void *value;
    uint64_t hash;
    uint32_t words; /* nodes below that hang on a word */
    uint8_t len;
    char word[];
};

/* A name's or pattern's words. */
typedef struct words {
    size_t count;
    struct {
        const char *p;
        size_t n;
        uint64_t hash;
    } at[WF_TOPIC_WORDS];
} words;

/* -- what a topic's name is ---------------------------------------------------- */

static const char *check_bytes(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)p[i] <= ' ' || p[i] == 0x7f)
            return "has no space and no control character";
    return wf_utf8_valid((const uint8_t *)p, n) ? NULL : "is UTF-8";
}

/* One word; *wild: it is a wildcard. */
static const char *check_word(const char *p, size_t n, bool last, bool *wild)
{
    if (n == 0)
        return "has no empty word";
    *wild = n == 1 && (*p == '*' || *p == '>');
    if (*wild)
        return *p == '>' && !last ? "has > only as its last word" : NULL;
    bool stray = memchr(p, '*', n) || memchr(p, '>', n);
    return stray ? "has * and > only as whole words" : NULL;
}

wf_topic_kind wf_topic_check(const char *p, size_t n, size_t max, const char **why)
{
    bool pattern = false, wild;
    *why = n == 0 || n > max ? "is too long or empty" : check_bytes(p, n);
    for (size_t at = 0; !*why && at <= n;) {
        const char *dot = memchr(p + at, '.', n - at);
        size_t end = dot ? (size_t)(dot - p) : n;
        wild = false;
        *why = check_word(p + at, end - at, !dot, &wild);
        pattern = pattern || wild;
        at = end + 1;
    }
    return *why ? WF_TOPIC_BAD : pattern ? WF_TOPIC_PATTERN : WF_TOPIC_NAME;
}

/* -- nodes ------------------------------------------------------------------------ */

static void split(const wf_trie *trie, const char *p, size_t n, words *w)
{
    w->count = 0;
    for (size_t at = 0; at <= n && w->count < WF_TOPIC_WORDS;) {
        const char *dot = memchr(p + at, '.', n - at);
        size_t end = dot ? (size_t)(dot - p) : n;
        w->at[w->count].p = p + at;
        w->at[w->count].n = end - at;
        w->at[w->count++].hash = wf_hash(&trie->key, p + at, end - at);
        at = end + 1;
    }
}

/* The word's hash is secret, so the address may be mixed in cheaply. */
static uint64_t edge(const wf_trie_node *parent, uint64_t hash)
{
    return (hash ^ (uint64_t)(uintptr_t)parent) * 0x9e3779b97f4a7c15u;
}

static wf_trie_node **bucket(const wf_trie *trie, const wf_trie_node *parent,
                             uint64_t hash)
{
    return &trie->buckets[(edge(parent, hash) >> 20) & (trie->nbuckets - 1)];
}

static wf_trie_node *child(const wf_trie *trie, const wf_trie_node *parent,
                           const words *w, size_t i)
{
    if (parent->words == 0)
        return NULL;
    wf_trie_node *node = *bucket(trie, parent, w->at[i].hash);
    while (node &&
           !(node->hash == w->at[i].hash && node->parent == parent &&
             node->len == w->at[i].n && memcmp(node->word, w->at[i].p, node->len) == 0))
        node = node->chain;
    return node;
}

static wf_trie_node *step(const wf_trie *trie, wf_trie_node *node, const words *w,
                          size_t i)
{
    char c = w->at[i].n == 1 ? *w->at[i].p : 0;
    return c == '*' ? node->star : c == '>' ? node->rest : child(trie, node, w, i);
}

static wf_trie_node *new_node(wf_trie_node *parent, const words *w, size_t i)
{
    size_t n = w ? w->at[i].n : 0;
    wf_trie_node *node = calloc(1, sizeof *node + n);
    if (!node)
        return NULL;
    node->parent = parent;
    node->len = (uint8_t)n;
    if (n > 0)
        memcpy(node->word, w->at[i].p, n);
    if (w)
        node->hash = w->at[i].hash;
    return node;
}

/* Without memory the buckets stay: only slower. */
static void grow(wf_trie *trie)
{
    size_t n = trie->nbuckets * 2;
    wf_trie bigger = { .buckets = calloc(n, sizeof *bigger.buckets), .nbuckets = n };
    if (!bigger.buckets)
        return;
    for (size_t i = 0; i < trie->nbuckets; i++)
        for (wf_trie_node *node = trie->buckets[i], *next; node; node = next) {
            next = node->chain;
            wf_trie_node **to = bucket(&bigger, node->parent, node->hash);
            node->chain = *to;
            *to = node;
        }
    free(trie->buckets);
    trie->buckets = bigger.buckets;
    trie->nbuckets = n;
}

static wf_trie_node *add_child(wf_trie *trie, wf_trie_node *parent, const words *w,
                               size_t i)
{
    wf_trie_node *node = new_node(parent, w, i);
    if (!node)
        return NULL;
    char c = node->len == 1 ? *node->word : 0;
    if (c == '*')
        return parent->star = node;
    if (c == '>')
        return parent->rest = node;
    wf_trie_node **to = bucket(trie, parent, node->hash);
    node->chain = *to;
    *to = node;
    parent->words++;
    if (++trie->nwords > trie->nbuckets)
        grow(trie);
    return node;
}

static void unhook(wf_trie *trie, wf_trie_node *node)
{
    wf_trie_node *parent = node->parent;
    if (parent->star == node) {
        parent->star = NULL;
    } else if (parent->rest == node) {
        parent->rest = NULL;
    } else {
        wf_trie_node **at = bucket(trie, parent, node->hash);
        while (*at != node)
            at = &(*at)->chain;
        *at = node->chain;
        parent->words--;
        trie->nwords--;
    }
}

/* Nodes that lead to no value go. */
static void prune(wf_trie *trie, wf_trie_node *node)
{
    while (node->parent && !node->value && !node->star && !node->rest && !node->words) {
        wf_trie_node *parent = node->parent;
        unhook(trie, node);
        free(node);
        node = parent;
    }
}

/* -- patterns --------------------------------------------------------------------- */

void wf_trie_init(wf_trie *trie, const wf_hash_key *key)
{
    *trie = (wf_trie){ .key = *key };
}

static void free_wild(wf_trie_node *node)
{
    while (node) { /* a chain of stars may hang on each */
        wf_trie_node *star = node->star;
        free(node->rest);
        free(node);
        node = star;
    }
}

void wf_trie_free(wf_trie *trie)
{
    for (size_t i = 0; i < trie->nbuckets; i++)
        for (wf_trie_node *node = trie->buckets[i], *next; node; node = next) {
            next = node->chain;
            free_wild(node);
        }
    free_wild(trie->root);
    free(trie->buckets);
    wf_trie_init(trie, &trie->key);
}

static wf_trie_node *find_node(const wf_trie *trie, const char *pattern, size_t n)
{
    words w;
    split(trie, pattern, n, &w);
    wf_trie_node *node = trie->root;
    for (size_t i = 0; node && i < w.count; i++)
        node = step(trie, node, &w, i);
    return node;
}

void **wf_trie_find(const wf_trie *trie, const char *pattern, size_t n)
{
    wf_trie_node *node = find_node(trie, pattern, n);
    return node && node->value ? &node->value : NULL;
}

static bool begin(wf_trie *trie)
{
    if (!trie->buckets)
        trie->buckets = calloc(FIRST_BUCKETS, sizeof *trie->buckets);
    if (!trie->root)
        trie->root = new_node(NULL, NULL, 0);
    if (trie->buckets && trie->nbuckets == 0)
        trie->nbuckets = FIRST_BUCKETS;
    return trie->buckets && trie->root;
}

bool wf_trie_put(wf_trie *trie, const char *pattern, size_t n, void *value)
{
    words w;
    split(trie, pattern, n, &w);
    if (!begin(trie))
        return false;
    wf_trie_node *node = trie->root;
    for (size_t i = 0; i < w.count; i++) {
        wf_trie_node *next = step(trie, node, &w, i);
        if (!next && !(next = add_child(trie, node, &w, i))) {
            prune(trie, node);
            return false;
        }
        node = next;
    }
    trie->patterns += !node->value;
    node->value = value;
    return true;
}

void *wf_trie_remove(wf_trie *trie, const char *pattern, size_t n)
{
    wf_trie_node *node = find_node(trie, pattern, n);
    void *value = node ? node->value : NULL;
    if (!value)
        return NULL;
    node->value = NULL;
    trie->patterns--;
    prune(trie, node);
    return value;
}

/* -- matching --------------------------------------------------------------------- */

typedef struct search {
    const wf_trie *trie;
    words w;
    wf_trie_found found;
    void *arg;
} search;

/* Each node is visited at most once, for one path leads to it. */
static bool visit(const search *s, const wf_trie_node *node, size_t i)
{
    if (i == s->w.count)
        return node->value && s->found(node->value, s->arg);
    const wf_trie_node *next = child(s->trie, node, &s->w, i);
    if (next && visit(s, next, i + 1))
        return true;
    if (node->star && visit(s, node->star, i + 1))
        return true;
    return node->rest && s->found(node->rest->value, s->arg);
}

bool wf_trie_match(const wf_trie *trie, const char *name, size_t n, wf_trie_found found,
                   void *arg)
{
    if (trie->patterns == 0)
        return false;
    search s = { .trie = trie, .found = found, .arg = arg };
    split(trie, name, n, &s.w);
    return visit(&s, trie->root, 0);
}
