/*
 * trie: patterns of topics, by their words: which of them match a name. No I/O.
 *
 * A name is words with dots between; a pattern may have `*` for any one word, and `>` at
 * its end for one word or more. Matching visits only nodes whose path fits the name, so
 * it costs no more with many patterns that do not.
 */
#ifndef WF_CORE_TRIE_H
#define WF_CORE_TRIE_H

#include "hash.h"

#define WF_TOPIC_MAX 255   /* bytes of a name */
#define WF_TOPIC_WORDS 128 /* ... so at most these */

WF_HIDDEN_BEGIN

typedef enum wf_topic_kind {
    WF_TOPIC_BAD,
    WF_TOPIC_NAME,
    WF_TOPIC_PATTERN,
} wf_topic_kind;

/* What it is; *why it is bad: a sentence without its end. */
wf_topic_kind wf_topic_check(const char *topic, size_t n, size_t max, const char **why);

typedef struct wf_trie_node wf_trie_node;

typedef struct wf_trie {
    wf_trie_node *root;     /* NULL: empty */
    wf_trie_node **buckets; /* of all nodes that hang on a word, by parent and word */
    size_t nbuckets, nwords;
    size_t patterns;
    wf_hash_key key;
} wf_trie;

void wf_trie_init(wf_trie *trie, const wf_hash_key *key);
/* Frees the nodes; the values are the caller's. */
void wf_trie_free(wf_trie *trie);

/* Where the value of a valid pattern (or name) stands; NULL: there is none. */
void **wf_trie_find(const wf_trie *trie, const char *pattern, size_t n);
/* Its value, which replaces one that was there and is not NULL. False: no memory. */
bool wf_trie_put(wf_trie *trie, const char *pattern, size_t n, void *value);
/* The value that it had, or NULL. */
void *wf_trie_remove(wf_trie *trie, const char *pattern, size_t n);

/* Gets each value whose pattern matches; true: that was enough. */
typedef bool (*wf_trie_found)(void *value, void *arg);
/* The most specific first: word by word from the left, the word itself goes before `*`,
 * and that before `>`. True when `found` had enough. */
bool wf_trie_match(const wf_trie *trie, const char *name, size_t n, wf_trie_found found,
                   void *arg);

WF_HIDDEN_END

#endif
