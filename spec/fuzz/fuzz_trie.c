/*
 * fuzz_trie: patterns are put and removed, and names matched, beside a list that is
 * looked through with a matcher that follows the words as the manual puts it. The input
 * is lines:
 * "+pattern", "-pattern", "?name".
 */
#include "fuzz.h"

#include "core/trie.h"

#define MOST 64

typedef struct entry {
    char text[WF_TOPIC_MAX];
    size_t n;
} entry;

typedef struct model {
    entry *list[MOST];
    size_t n;
} model;

/* -- the obvious way ----------------------------------------------------------------- */

static size_t word(const char *p, size_t n)
{
    size_t k = 0;
    while (k < n && p[k] != '.')
        k++;
    return k;
}

static bool fits(const char *pattern, size_t n, const char *name, size_t m)
{
    size_t a = word(pattern, n), b = word(name, m);
    if (n == 1 && *pattern == '>')
        return true;
    if (!(a == 1 && *pattern == '*') && !(a == b && memcmp(pattern, name, a) == 0))
        return false;
    if (a == n || b == m)
        return a == n && b == m;
    return fits(pattern + a + 1, n - a - 1, name + b + 1, m - b - 1);
}

/* A word goes before *, and that before >: at the first difference of two that fit. */
static int rank(const char *p, size_t n)
{
    return n == 1 && *p == '>' ? 2 : n == 1 && *p == '*' ? 1 : 0;
}

static bool before(const char *a, size_t n, const char *b, size_t m)
{
    size_t x = word(a, n), y = word(b, m);
    int i = rank(a, x), k = rank(b, y);
    if (i != k)
        return i < k;
    return x < n && y < m && before(a + x + 1, n - x - 1, b + y + 1, m - y - 1);
}

static size_t find(const model *m, const char *p, size_t n)
{
    size_t i = 0;
    while (i < m->n && !(m->list[i]->n == n && memcmp(m->list[i]->text, p, n) == 0))
        i++;
    return i;
}

/* -- both ---------------------------------------------------------------------------- */

static void add(wf_trie *t, model *m, const char *p, size_t n)
{
    size_t i = find(m, p, n);
    void **there = wf_trie_find(t, p, n);
    MUST((i < m->n) == (there != NULL), "'%.*s' found", (int)n, p);
    if (there || m->n == MOST)
        return;
    entry *e = malloc(sizeof *e);
    memcpy(e->text, p, n);
    e->n = n;
    m->list[m->n++] = e;
    MUST(wf_trie_put(t, p, n, e), "memory");
    MUST(*wf_trie_find(t, p, n) == e, "'%.*s' put", (int)n, p);
}

static void take(wf_trie *t, model *m, const char *p, size_t n)
{
    size_t i = find(m, p, n);
    void *value = wf_trie_remove(t, p, n);
    MUST(value == (i < m->n ? m->list[i] : NULL), "'%.*s' removed", (int)n, p);
    if (!value)
        return;
    free(value);
    m->list[i] = m->list[--m->n];
}

typedef struct found {
    entry *list[MOST];
    size_t n;
} found;

static bool note(void *value, void *arg)
{
    found *f = arg;
    MUST(f->n < MOST, "more than there are");
    f->list[f->n++] = value;
    return false;
}

static void match(const wf_trie *t, const model *m, const char *p, size_t n)
{
    found f = { .n = 0 };
    size_t want = 0;
    wf_trie_match(t, p, n, note, &f);
    for (size_t i = 0; i < m->n; i++)
        want += fits(m->list[i]->text, m->list[i]->n, p, n);
    MUST(f.n == want, "'%.*s': %zu, not %zu", (int)n, p, f.n, want);
    for (size_t i = 0; i < f.n; i++) {
        MUST(fits(f.list[i]->text, f.list[i]->n, p, n), "'%.*s'", (int)n, p);
        MUST(i == 0 || before(f.list[i - 1]->text, f.list[i - 1]->n, f.list[i]->text,
                              f.list[i]->n),
             "'%.*s': order", (int)n, p);
    }
}

static void line(wf_trie *t, model *m, const char *p, size_t n)
{
    const char *why = NULL;
    if (n == 0)
        return;
    wf_topic_kind kind = wf_topic_check(p + 1, n - 1, WF_TOPIC_MAX, &why);
    MUST((kind == WF_TOPIC_BAD) == (why != NULL), "a refusal without a reason");
    if (kind == WF_TOPIC_BAD)
        return;
    if (*p == '+')
        add(t, m, p + 1, n - 1);
    else if (*p == '-')
        take(t, m, p + 1, n - 1);
    else if (kind == WF_TOPIC_NAME)
        match(t, m, p + 1, n - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static const wf_hash_key key = { 1, 2 };
    wf_trie t;
    model m = { .n = 0 };
    wf_trie_init(&t, &key);
    for (size_t at = 0, end; at < n; at = end + 1) {
        for (end = at; end < n && p[end] != '\n'; end++)
            ;
        uint8_t *copy = fuzz_copy(p + at, end - at);
        line(&t, &m, (const char *)copy, end - at);
        fuzz_drop(copy, end - at);
    }
    MUST(t.patterns == m.n, "%zu patterns, not %zu", t.patterns, m.n);
    while (m.n > 0)
        take(&t, &m, m.list[0]->text, m.list[0]->n);
    MUST(t.nwords == 0, "%zu nodes are left", t.nwords);
    wf_trie_free(&t);
    return 0;
}
