/* See words.h. */
#include "datasets/tokenizer/words.h"

#include <stdlib.h>
#include <string.h>

enum { SET_BITS = 14, SETS = 1 << SET_BITS, BYTES = 2 * SETS * (int)sizeof(ls_word) }; /* 2 MB */
static const uint64_t COUNT_MASK = UINT64_C(0xff) << 56;

ls_status ls_words_create(ls_words *words)
{
    words->block = calloc(1, BYTES + 64); /* pages appear when they are first used */
    if (!words->block)
        return ls_fail(LS_EMEM, "no memory for the tokenizer's word cache (%d bytes)", BYTES);
    words->word = (ls_word *)(((uintptr_t)words->block + 63) & ~(uintptr_t)63);
    return LS_OK;
}

void ls_words_free(ls_words *words)
{
    free(words->block);
    memset(words, 0, sizeof *words);
}

void ls_words_forget(ls_words *words)
{
    memset(words->word, 0, BYTES);
}

bool ls_word_key(const char *at, size_t length, size_t readable, uint64_t key[4])
{
    if (length > LS_WORD_BYTES)
        return false;
    if (readable >= 32) {
        memcpy(key, at, 32);
        for (size_t lane = 0; lane < 4; lane++) {
            size_t bytes = length > 8 * lane ? length - 8 * lane : 0;
            key[lane] &= bytes >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * bytes)) - 1;
        }
    } else {
        memset(key, 0, 32);
        memcpy(key, at, length);
    }
    key[3] |= (uint64_t)length << 32;
    return true;
}

static ls_word *set_of(const ls_words *words, const uint64_t key[4])
{
    uint64_t hash = key[0] * UINT64_C(0x9e3779b97f4a7c15) + key[1] * UINT64_C(0xc2b2ae3d27d4eb4f) +
                    key[2] * UINT64_C(0x165667b19e3779f9) + key[3] * UINT64_C(0xd6e8feb86659fd93);
    hash ^= hash >> 32;
    hash *= UINT64_C(0x9fb21c651e98df25);
    return words->word + 2 * (hash >> (64 - SET_BITS));
}

static bool matches(const ls_word *word, const uint64_t key[4])
{
    return ((word->key[0] ^ key[0]) | (word->key[1] ^ key[1]) | (word->key[2] ^ key[2]) |
            ((word->key[3] & ~COUNT_MASK) ^ key[3])) == 0;
}

const ls_word *ls_words_find(const ls_words *words, const uint64_t key[4])
{
    const ls_word *set = set_of(words, key);
    return matches(set, key) ? set : matches(set + 1, key) ? set + 1 : NULL;
}

void ls_words_put(ls_words *words, const uint64_t key[4], const int32_t *id, size_t count)
{
    if (count > LS_WORD_IDS)
        return;
    ls_word *set = set_of(words, key);
    set[1] = set[0];
    memcpy(set->key, key, sizeof set->key);
    set->key[3] |= (uint64_t)count << 56;
    memcpy(set->id, id, count * sizeof *id);
}
