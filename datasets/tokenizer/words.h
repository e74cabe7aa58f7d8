/* The word cache: a word's ids, so that a text's frequent words are merged once.
 *
 * A fixed table of 64-byte entries (one cache line: up to 28 bytes of key, up to 8 ids) in sets of two. A new word
 * takes the set's first place and pushes the older one to the second, so nothing is ever searched further, grown or
 * rehashed. What is in the cache never changes a result, only its speed. */
#pragma once
#include "base/error.h"
#include "base/type.h"

enum { LS_WORD_BYTES = 28, LS_WORD_IDS = 8 };

typedef struct {
    uint64_t key[4]; /* the bytes, zero-padded; above them in key[3]: length << 32. All of it zero: empty */
    int32_t id[LS_WORD_IDS];
} ls_word; /* the number of ids stands in key[3] >> 56 */

typedef struct {
    ls_word *word;
    void *block; /* what `word` was cut from, at a 64-byte border */
} ls_words;

ls_status ls_words_create(ls_words *words); /* LS_EMEM */
void ls_words_free(ls_words *words);
void ls_words_forget(ls_words *words);

/* The key of `length` bytes at `at`; `readable` bytes may be read from there. False: too long for the cache. */
bool ls_word_key(const char *at, size_t length, size_t readable, uint64_t key[4]);
/* NULL: not in the cache. Valid until the next put. */
const ls_word *ls_words_find(const ls_words *words, const uint64_t key[4]);
static inline int ls_word_count(const ls_word *word)
{
    return (int)(word->key[3] >> 56);
}
/* More than LS_WORD_IDS ids are not kept. */
void ls_words_put(ls_words *words, const uint64_t key[4], const int32_t *id, size_t count);
