/* Tables and sums of the shard format; the essay is at the top of shard.c. */
#include "datasets/shard_format.h"
#include "base/hash.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define I64(type, field) {#field, LS_H5_I64, offsetof(type, field), 0}
#define U64(type, field) {#field, LS_H5_U64, offsetof(type, field), 0}
#define TEXT(type, name, field) {name, LS_H5_TEXT, offsetof(type, field), sizeof((type *)0)->field}

const ls_h5_attribute ls_shard_header_rows[] = {
    TEXT(ls_shard_header, "format", format),
    TEXT(ls_shard_header, "kind", kind),
    I64(ls_shard_header, schema),
    I64(ls_shard_header, number),
    I64(ls_shard_header, samples),
    I64(ls_shard_header, tokens),
    I64(ls_shard_header, unmasked),
    I64(ls_shard_header, vocabulary),
    U64(ls_shard_header, tokenizer_hash),
    U64(ls_shard_header, index_sum),
    U64(ls_shard_header, header_sum),
    {NULL, 0, 0, 0},
};

const ls_h5_attribute ls_dataset_header_rows[] = {
    TEXT(ls_dataset_header, "format", format),
    TEXT(ls_dataset_header, "kind", kind),
    TEXT(ls_dataset_header, "lockstep", lockstep),
    TEXT(ls_dataset_header, "template", template_name),
    TEXT(ls_dataset_header, "tokenizer", tokenizer),
    TEXT(ls_dataset_header, "source", source),
    I64(ls_dataset_header, schema),
    I64(ls_dataset_header, shards),
    I64(ls_dataset_header, samples),
    I64(ls_dataset_header, tokens),
    I64(ls_dataset_header, unmasked),
    I64(ls_dataset_header, vocabulary),
    U64(ls_dataset_header, tokenizer_hash),
    U64(ls_dataset_header, tokenizer_sum),
    U64(ls_dataset_header, list_sum),
    U64(ls_dataset_header, header_sum),
    {NULL, 0, 0, 0},
};

/* The seed keeps a file of zeros from carrying the right sums: the hash of nothing is not 0 here. */
uint64_t ls_shard_header_sum(const ls_shard_header *header)
{
    return ls_hash_bytes(header, offsetof(ls_shard_header, header_sum), LS_HASH_SEED);
}

uint64_t ls_dataset_header_sum(const ls_dataset_header *header)
{
    return ls_hash_bytes(header, offsetof(ls_dataset_header, header_sum), LS_HASH_SEED);
}

uint64_t ls_shard_index_sum(const int64_t *offset, const int64_t *counted, int64_t samples, const uint64_t *block_sum, int64_t blocks)
{
    uint64_t sum = ls_hash_bytes(offset, (size_t)(samples + 1) * sizeof *offset, LS_HASH_SEED);
    sum = ls_hash_bytes(counted, (size_t)samples * sizeof *counted, sum);
    return ls_hash_bytes(block_sum, (size_t)blocks * sizeof *block_sum, sum);
}

uint64_t ls_shard_valued_sum(uint64_t index_sum, const float *value, int64_t samples)
{
    return ls_hash_bytes(value, (size_t)samples * sizeof *value, index_sum);
}

bool ls_shard_value_fits(ls_shards_form form, int64_t sample, float value)
{
    if (form == LS_SHARDS_OUTCOMES)
        return value >= 0 && value <= 1;
    return isfinite(value) && (value == 0 || (form == LS_SHARDS_PAIRS && sample % 2 == 0));
}

ls_status ls_shard_form(const char *kind, ls_shards_form *form)
{
    static const char *const kinds[] = {"text", "pairs", "outcomes"};
    for (int i = 0; i < 3; i++)
        if (strcmp(kind, kinds[i]) == 0) {
            *form = (ls_shards_form)i;
            return LS_OK;
        }
    return ls_fail(LS_EARG, "samples of kind '%s', this lockstep knows text, pairs and outcomes", kind);
}

uint64_t ls_shard_list_sum(const ls_shard_entry *entries, int64_t shards)
{
    uint64_t sum = LS_HASH_SEED;
    for (int64_t i = 0; i < shards; i++)
        sum = ls_hash_bytes(&entries[i], sizeof entries[i], sum);
    return sum;
}

uint64_t ls_shard_block_sum(const int32_t *tokens, const uint8_t *loss_mask, int64_t count, int64_t block)
{
    uint64_t sum = ls_hash_bytes(tokens, (size_t)count * sizeof *tokens, LS_HASH_SEED + (uint64_t)block);
    return ls_hash_bytes(loss_mask, (size_t)count, sum);
}

int64_t ls_shard_blocks(int64_t tokens)
{
    return tokens / LS_SHARD_BLOCK + (tokens % LS_SHARD_BLOCK != 0);
}

char *ls_shard_path(const char *folder, int64_t number)
{
    char *path;
    return asprintf(&path, "%s/shard-%05lld.h5", folder, (long long)number) < 0 ? NULL : path;
}

char *ls_path_join(const char *folder, const char *name)
{
    char *path;
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}
