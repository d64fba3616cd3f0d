/*
 * test_trie: what a topic's name is, row by row; patterns put, found, removed and
 * matched, with and without memory to spare; the keyed hash.
 */
#include "core/trie.h"

#include "test.h"

static test_fence fence;
static const wf_hash_key key = { 0x0706050403020100u, 0x0f0e0d0c0b0a0908u };

/* ---- names ------------------------------------------------------------------- */

typedef struct kind_row {
    const char *text;
    wf_topic_kind kind;
    const char *why; /* a part of it */
} kind_row;

static void kinds(void)
{
    static const kind_row rows[] = {
        { "a", WF_TOPIC_NAME, NULL },
        { "room.1", WF_TOPIC_NAME, NULL },
        { "caf\xc3\xa9.\xe2\x82\xac", WF_TOPIC_NAME, NULL },
        { "a-b_c:/d", WF_TOPIC_NAME, NULL },
        { "*", WF_TOPIC_PATTERN, NULL },
        { ">", WF_TOPIC_PATTERN, NULL },
        { "a.*", WF_TOPIC_PATTERN, NULL },
        { "*.b.*", WF_TOPIC_PATTERN, NULL },
        { "a.*.>", WF_TOPIC_PATTERN, NULL },
        { "", WF_TOPIC_BAD, "empty" },
        { ".", WF_TOPIC_BAD, "empty word" },
        { "a.", WF_TOPIC_BAD, "empty word" },
        { ".a", WF_TOPIC_BAD, "empty word" },
        { "a..b", WF_TOPIC_BAD, "empty word" },
        { "a b", WF_TOPIC_BAD, "space" },
        { "a\tb", WF_TOPIC_BAD, "control" },
        { "a\x7f", WF_TOPIC_BAD, "control" },
        { "\xff", WF_TOPIC_BAD, "UTF-8" },
        { "\xc3", WF_TOPIC_BAD, "UTF-8" },
        { ">.a", WF_TOPIC_BAD, "last" },
        { "a.>.b", WF_TOPIC_BAD, "last" },
        { "a*", WF_TOPIC_BAD, "whole words" },
        { "*a.b", WF_TOPIC_BAD, "whole words" },
        { "a.b>", WF_TOPIC_BAD, "whole words" },
        { "**", WF_TOPIC_BAD, "whole words" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n = strlen(rows[i].text);
        const char *p = test_fence_put(&fence, rows[i].text, n), *why = "";
        CHECK_THAT(wf_topic_check(p, n, WF_TOPIC_MAX, &why) == rows[i].kind, "'%s'",
                   rows[i].text);
        CHECK_THAT(rows[i].why ? why && strstr(why, rows[i].why) : !why, "'%s': %s",
                   rows[i].text, why ? why : "no reason");
    }
}

static void lengths(void)
{
    char longest[WF_TOPIC_MAX + 1];
    const char *why;
    for (size_t i = 0; i < sizeof longest; i++)
        longest[i] = i % 2 ? '.' : 'x'; /* as many words as there can be */
    CHECK_INT(wf_topic_check(longest, 255, WF_TOPIC_MAX, &why), WF_TOPIC_NAME);
    CHECK_INT(wf_topic_check(longest, 254, WF_TOPIC_MAX, &why), WF_TOPIC_BAD);
    longest[255] = 'x';
    CHECK_INT(wf_topic_check(longest, 256, WF_TOPIC_MAX, &why), WF_TOPIC_BAD);
    CHECK_INT(wf_topic_check("abcd", 4, 3, &why), WF_TOPIC_BAD);
    CHECK_INT(wf_topic_check("a\0b", 3, 255, &why), WF_TOPIC_BAD);
}

/* ---- patterns ------------------------------------------------------------------ */

static int values[16]; /* their addresses are the values */

typedef struct found {
    char order[64]; /* a letter for each */
    size_t n, most;
} found;

static bool note(void *value, void *arg)
{
    found *f = arg;
    f->order[f->n++] = (char)('a' + ((int *)value - values));
    f->order[f->n] = 0;
    return f->n == f->most;
}

static bool put(wf_trie *t, const char *pattern, int i)
{
    return wf_trie_put(t, pattern, strlen(pattern), &values[i]);
}

static void check_match(const wf_trie *t, const char *name, const char *want)
{
    found f = { "", 0, 0 };
    wf_trie_match(t, name, strlen(name), note, &f);
    CHECK_THAT(strcmp(f.order, want) == 0, "%s: %s, not %s", name, f.order, want);
}

static void fill(wf_trie *t)
{
    static const char *const patterns[] = { "x.y", "x.*", "x.>",   "*.y", "*.*",
                                            "*.>", ">",   "x.y.z", "*",   "x.*.z" };
    wf_trie_init(t, &key);
    for (int i = 0; i < 10; i++)
        CHECK(put(t, patterns[i], i));
    CHECK_INT(t->patterns, 10);
}

static void matches_in_order(void)
{
    wf_trie t;
    fill(&t);
    check_match(&t, "x.y", "abcdefg"); /* the word, then *, then >: from the left */
    check_match(&t, "x.q", "bcefg");
    check_match(&t, "q.y", "defg");
    check_match(&t, "x", "ig");
    check_match(&t, "x.y.z", "hjcfg");
    check_match(&t, "q.q.q.q", "fg");
    wf_trie_free(&t);
    check_match(&t, "x.y", "");
}

static void stops_when_told(void)
{
    wf_trie t;
    fill(&t);
    for (size_t most = 1; most <= 7; most++) {
        found f = { "", 0, most };
        CHECK(wf_trie_match(&t, "x.y", 3, note, &f));
        CHECK_INT(f.n, most);
    }
    wf_trie_free(&t);
}

static void replaces_and_removes(void)
{
    wf_trie t;
    fill(&t);
    CHECK(put(&t, "x.*", 15));
    CHECK_INT(t.patterns, 10);
    CHECK(*wf_trie_find(&t, "x.*", 3) == &values[15]);
    CHECK(wf_trie_find(&t, "x", 1) == NULL); /* a node, but no pattern */
    CHECK(wf_trie_find(&t, "x.z", 3) == NULL);
    CHECK(wf_trie_remove(&t, "x.*", 3) == &values[15]);
    CHECK(wf_trie_remove(&t, "x.*", 3) == NULL);
    CHECK(wf_trie_remove(&t, "nobody.>", 8) == NULL);
    check_match(&t, "x.y", "acdefg");
    check_match(&t, "x.q.z", "jcfg"); /* what hangs below stays */
    wf_trie_free(&t);
}

/* Words that are many: the buckets grow, and are empty again. */
static void many(void)
{
    enum { N = 5000 };
    wf_trie t;
    wf_trie_init(&t, &key);
    char name[32];
    for (int i = 0; i < N; i++) {
        int n = snprintf(name, sizeof name, "t.%d.%d", i % 70, i);
        CHECK(wf_trie_put(&t, name, (size_t)n, &values[i % 16]));
    }
    CHECK_INT(t.patterns, N);
    for (int i = 0; i < N; i++) {
        int n = snprintf(name, sizeof name, "t.%d.%d", i % 70, i);
        CHECK(wf_trie_remove(&t, name, (size_t)n) == &values[i % 16]);
    }
    CHECK_INT(t.patterns, 0);
    CHECK_INT(t.nwords, 0);
    wf_trie_free(&t);
}

static void deepest(void)
{
    wf_trie t;
    wf_trie_init(&t, &key);
    char name[WF_TOPIC_MAX], stars[WF_TOPIC_MAX];
    for (size_t i = 0; i < sizeof name; i++) {
        name[i] = i % 2 ? '.' : 'x';
        stars[i] = i % 2 ? '.' : '*';
    }
    found f = { "", 0, 0 };
    CHECK(wf_trie_put(&t, stars, sizeof stars, &values[0]));
    CHECK(wf_trie_put(&t, name, sizeof name, &values[1]));
    wf_trie_match(&t, test_fence_put(&fence, name, sizeof name), sizeof name, note, &f);
    CHECK(strcmp(f.order, "ba") == 0);
    wf_trie_free(&t);
}

/* ---- the hash ------------------------------------------------------------------- */

/* What decides is that lengths, bytes and the key all matter. */
static void hashes(void)
{
    static const wf_hash_key other = { 1, 2 };
    uint8_t bytes[64] = { 0 };
    uint64_t seen[64];
    for (size_t n = 0; n < sizeof bytes; n++) {
        seen[n] = wf_hash(&key, test_fence_put(&fence, bytes, n), n);
        CHECK(seen[n] != wf_hash(&other, bytes, n));
        for (size_t i = 0; i < n; i++) {
            CHECK(seen[i] != seen[n]);
            bytes[i] ^= 1;
            CHECK(wf_hash(&key, bytes, n) != seen[n]);
            bytes[i] ^= 1;
        }
    }
}

int main(void)
{
    static const test_case cases[] = {
        { "names and patterns are told apart, and what is neither", kinds },
        { "lengths", lengths },
        { "matches in order", matches_in_order },
        { "stops when told", stops_when_told },
        { "replaces and removes", replaces_and_removes },
        { "many words", many },
        { "the deepest name", deepest },
        { "hash", hashes },
    };
    fence = test_fence_new(4096);
    int status = RUN(cases);
    test_fence_free(&fence);
    return status;
}
