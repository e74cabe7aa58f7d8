/* From what a reader found to a tokenizer that encodes: the derived tables, and the checks they need. See parts.h. */
#include "datasets/tokenizer/parts.h"

#include <stdlib.h>
#include <string.h>

ls_status ls_tokenizer_create(ls_tokenizer **out)
{
    ls_tokenizer *tokenizer = *out = calloc(1, sizeof *tokenizer);
    if (!tokenizer)
        return ls_fail(LS_EMEM, "no memory for a tokenizer");
    tokenizer->bos = tokenizer->eot = -1;
    ls_status status = ls_split_create(&tokenizer->split);
    if (status) {
        ls_tokenizer_free(tokenizer);
        *out = NULL;
    }
    return status;
}

void ls_tokenizer_free(ls_tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    ls_vocabulary_free(&tokenizer->vocabulary);
    ls_merges_free(&tokenizer->merges);
    ls_added_free(&tokenizer->added);
    ls_split_free(tokenizer->split);
    ls_words_free(&tokenizer->words);
    ls_merge_space_free(&tokenizer->space);
    ls_nfc_space_free(&tokenizer->nfc_space);
    ls_unigram_free(&tokenizer->unigram);
    ls_charsmap_free(&tokenizer->charsmap);
    free(tokenizer->prefixed);
    free(tokenizer);
}

ls_status ls_tokenizer_add_token(ls_tokenizer *tokenizer, const char *text, size_t bytes, int64_t id, bool special,
                                 bool normalized)
{
    int32_t there = ls_vocabulary_find(&tokenizer->vocabulary, text, bytes);
    if (there < 0)
        there = ls_vocabulary_find_text(&tokenizer->vocabulary, text, bytes);
    if (there >= 0 && there != id)
        return ls_fail(LS_EFORMAT, "added token \"%.*s\" has id %lld, but the vocabulary gives it %d", (int)bytes, text,
                       (long long)id, there);
    ls_status status = LS_OK;
    normalized = normalized && !tokenizer->pieces; /* Hugging Face's would look for it behind a blank that it put there itself */
    if (there < 0)
        status = ls_vocabulary_put(&tokenizer->vocabulary, id, text, bytes, LS_TOKEN_CONTROL);
    const char *normal = text;
    if (!status && normalized && tokenizer->nfc) /* it is looked for in normalised text */
        status = ls_nfc(&tokenizer->nfc_space, text, bytes, &normal, &bytes);
    return status ? status : ls_added_put(&tokenizer->added, normal, bytes, (int32_t)id, special, normalized);
}

ls_status ls_tokenizer_grow_prefixed(ls_tokenizer *tokenizer, size_t bytes)
{
    if (tokenizer->prefixed_room >= bytes)
        return LS_OK;
    free(tokenizer->prefixed);
    tokenizer->prefixed_room = 0;
    tokenizer->prefixed = malloc(2 * bytes + 64);
    if (!tokenizer->prefixed)
        return ls_fail(LS_EMEM, "no memory for a text of %zu bytes", bytes);
    tokenizer->prefixed_room = 2 * bytes + 64;
    return LS_OK;
}

ls_status ls_tokenizer_put_merge(ls_tokenizer *tokenizer, int32_t left, int32_t right, int64_t rank)
{
    const ls_vocabulary *vocabulary = &tokenizer->vocabulary;
    size_t first, second;
    const char *left_bytes = ls_vocabulary_bytes(vocabulary, left, &first);
    const char *right_bytes = ls_vocabulary_bytes(vocabulary, right, &second);
    ls_status status = ls_tokenizer_grow_prefixed(tokenizer, first + second);
    if (status)
        return status;
    memcpy(tokenizer->prefixed, left_bytes, first);
    memcpy(tokenizer->prefixed + first, right_bytes, second);
    int32_t joined = ls_vocabulary_find(vocabulary, tokenizer->prefixed, first + second);
    if (joined < 0)
        return ls_fail(LS_EFORMAT, "merge %lld makes \"%.*s\", which is not in the vocabulary", (long long)rank,
                       (int)(first + second), tokenizer->prefixed);
    if (rank >= UINT32_MAX)
        return ls_fail(LS_EFORMAT, "more than %u merges", UINT32_MAX);
    return ls_merges_put(&tokenizer->merges, left, right, (uint32_t)rank, joined);
}

ls_status ls_tokenizer_merges_from_ranks(ls_tokenizer *tokenizer, const uint32_t *rank)
{
    const ls_vocabulary *vocabulary = &tokenizer->vocabulary;
    for (int64_t id = 0; id < vocabulary->size; id++) {
        size_t length;
        if (vocabulary->kind[id] != LS_TOKEN_BYTES)
            continue;
        const char *bytes = ls_vocabulary_bytes(vocabulary, id, &length);
        for (size_t cut = 1; cut < length; cut++) {
            int32_t left = ls_vocabulary_find(vocabulary, bytes, cut);
            int32_t right = left < 0 ? -1 : ls_vocabulary_find(vocabulary, bytes + cut, length - cut);
            ls_status status =
                right < 0 ? LS_OK : ls_merges_put(&tokenizer->merges, left, right, rank[id], (int32_t)id);
            if (status)
                return status;
        }
    }
    return LS_OK;
}

typedef struct {
    float score;
    int32_t id;
} scored;

static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

ls_status ls_tokenizer_merges_from_scores(ls_tokenizer *tokenizer, const float *score)
{
    const int64_t count = tokenizer->vocabulary.size;
    scored *token = malloc(((size_t)count + 1) * sizeof *token);
    uint32_t *rank = malloc(((size_t)count + 1) * sizeof *rank), next = 0;
    ls_status status = token && rank ? LS_OK : ls_fail(LS_EMEM, "no memory for %lld ranks", (long long)count);
    for (int64_t id = 0; id < count && !status; id++)
        token[id] = (scored){score[id], (int32_t)id};
    if (!status)
        qsort(token, (size_t)count, sizeof *token, by_score);
    for (int64_t i = 0; i < count && !status; i++) {
        next += i && token[i].score != token[i - 1].score;
        rank[token[i].id] = next;
    }
    if (!status)
        status = ls_tokenizer_merges_from_ranks(tokenizer, rank);
    free(token);
    free(rank);
    return status;
}

/* A byte's token. Some files write keys as plain text instead of GPT-2's alphabet; Hugging Face's library silently
 * drops the blank and every control character then, we take the plain key. */
static int32_t token_of_byte(const ls_vocabulary *vocabulary, unsigned char byte)
{
    char text = (char)byte;
    int32_t id = ls_vocabulary_find(vocabulary, &text, 1);
    return id < 0 && byte < 0x80 ? ls_vocabulary_find_text(vocabulary, &text, 1) : id;
}

static bool has_inner_blank(const ls_vocabulary *vocabulary, int64_t id)
{
    size_t length, at = 0;
    if (vocabulary->kind[id] != LS_TOKEN_BYTES) /* a hole has no bytes to look at */
        return false;
    const char *bytes = ls_vocabulary_bytes(vocabulary, id, &length);
    while (at < length && bytes[at] == ' ')
        at++;
    return memchr(bytes + at, ' ', length - at) != NULL;
}

static int32_t first_named(const ls_tokenizer *tokenizer, const char *const *names)
{
    int32_t id = -1;
    for (; *names && id < 0; names++)
        id = ls_tokenizer_id(tokenizer, *names);
    return id;
}

ls_status ls_tokenizer_ready(ls_tokenizer *tokenizer)
{
    static const char *const ends[] = {"<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", NULL};
    static const char *const begins[] = {"<|begin_of_text|>", "<s>", "<bos>", NULL};
    const ls_vocabulary *vocabulary = &tokenizer->vocabulary;
    if (!vocabulary->size)
        return ls_fail(LS_EFORMAT, "no tokens in it");
    for (int byte = 0; byte < 256; byte++)
        if (!tokenizer->pieces)
            tokenizer->byte_id[byte] = token_of_byte(vocabulary, (unsigned char)byte);
    for (int64_t id = 0; id < vocabulary->size && tokenizer->pieces; id++)
        tokenizer->inner_blanks |= has_inner_blank(vocabulary, id);
    ls_added_sort(&tokenizer->added);
    if (tokenizer->eot < 0)
        tokenizer->eot = first_named(tokenizer, ends);
    if (tokenizer->bos < 0)
        tokenizer->bos = first_named(tokenizer, begins);
    return ls_words_create(&tokenizer->words);
}
