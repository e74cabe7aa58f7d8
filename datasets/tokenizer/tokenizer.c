/* What a tokenizer knows about itself: sizes, names and its hash. See datasets/tokenizer.h. */
#include "base/hash.h"
#include "datasets/tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

int64_t ls_tokenizer_size(const ls_tokenizer *tokenizer)
{
    return tokenizer->vocabulary.size;
}

int32_t ls_tokenizer_id(const ls_tokenizer *tokenizer, const char *token)
{
    size_t length = strlen(token);
    int32_t id = ls_vocabulary_find_text(&tokenizer->vocabulary, token, length);
    return id >= 0 ? id : ls_vocabulary_find(&tokenizer->vocabulary, token, length);
}

int32_t ls_tokenizer_eot(const ls_tokenizer *tokenizer)
{
    return tokenizer->eot;
}

int32_t ls_tokenizer_bos(const ls_tokenizer *tokenizer)
{
    return tokenizer->bos;
}

void ls_tokenizer_forget_words(ls_tokenizer *tokenizer)
{
    ls_words_forget(&tokenizer->words);
}

static void add_number(ls_hasher *hasher, int64_t number)
{
    ls_hasher_add(hasher, &number, sizeof number);
}

static void add_bytes(ls_hasher *hasher, const char *bytes, size_t length)
{
    add_number(hasher, (int64_t)length);
    ls_hasher_add(hasher, bytes, length);
}

static void add_vocabulary(ls_hasher *hasher, const ls_vocabulary *vocabulary)
{
    add_number(hasher, vocabulary->size);
    for (int64_t id = 0; id < vocabulary->size; id++) {
        size_t length;
        add_number(hasher, vocabulary->kind[id]);
        if (!ls_vocabulary_has(vocabulary, id))
            continue;
        const char *bytes = ls_vocabulary_bytes(vocabulary, id, &length);
        add_bytes(hasher, bytes, length);
    }
}

/* Their order is what counts, not the numbers that a file gives it: rank of a merge = merges of lower rank. */
static void add_merges(ls_hasher *hasher, const ls_merge *sorted, size_t count)
{
    size_t first = 0; /* of equal rank */
    add_number(hasher, (int64_t)count);
    for (size_t i = 0; i < count; i++) {
        if (sorted[i].rank != sorted[first].rank)
            first = i;
        add_number(hasher, (int64_t)first);
        add_number(hasher, (int64_t)sorted[i].pair);
        add_number(hasher, sorted[i].id);
    }
}

/* ls_added_sort's order does not depend on the order of the file. */
static void add_added(ls_hasher *hasher, const ls_added *added)
{
    add_number(hasher, added->count);
    for (int64_t i = 0; i < added->count; i++) {
        add_bytes(hasher, added->token[i].text, added->token[i].bytes);
        add_number(hasher, added->token[i].id);
        add_number(hasher, added->token[i].special);
        add_number(hasher, added->token[i].normalized);
    }
}

/* Nothing for tokenizers without them, whose hashes are in shards. */
static void add_model_and_rules(ls_hasher *hasher, const ls_tokenizer *tokenizer)
{
    const ls_unigram *unigram = &tokenizer->unigram;
    const ls_charsmap *map = &tokenizer->charsmap;
    if (unigram->score) {
        add_number(hasher, unigram->unknown);
        for (int64_t id = 0; id < tokenizer->vocabulary.size; id++) /* no struct's padding, no score of what is no piece */
            if (tokenizer->vocabulary.kind[id] == LS_TOKEN_BYTES)
                ls_hasher_add(hasher, &unigram->score[id], sizeof *unigram->score);
    }
    if (ls_charsmap_any(map)) {
        add_number(hasher, map->squeeze);
        add_bytes(hasher, (const char *)map->unit, map->units * sizeof *map->unit);
        add_bytes(hasher, map->replacement, map->replacement_bytes);
    }
}

uint64_t ls_tokenizer_hash(const ls_tokenizer *tokenizer)
{
    uint64_t hash = 0;
    ls_merge *sorted = NULL;
    ls_hasher *hasher = ls_hasher_create(LS_HASH_SEED);
    if (!hasher || ls_merges_sorted(&tokenizer->merges, &sorted))
        goto done; /* 0 is no tokenizer's hash: shards packed now would be refused, not mistaken */
    add_number(hasher,
               tokenizer->pieces | tokenizer->nfc << 1 | tokenizer->prefix_blank << 2 | tokenizer->whole_words << 3 |
                           (int)tokenizer->front << 4 | tokenizer->marks << 6 | tokenizer->each_blank << 7);
    add_vocabulary(hasher, &tokenizer->vocabulary);
    add_merges(hasher, sorted, tokenizer->merges.count);
    add_added(hasher, &tokenizer->added);
    add_model_and_rules(hasher, tokenizer);
    for (int i = 0; i < ls_split_patterns(tokenizer->split); i++)
        add_bytes(hasher, ls_split_pattern(tokenizer->split, i), strlen(ls_split_pattern(tokenizer->split, i)));
    hash = ls_hasher_digest(hasher);
done:
    free(sorted);
    ls_hasher_free(hasher);
    return hash;
}
