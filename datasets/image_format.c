/* Tables and sums of the image format (images.h). */
#include "datasets/image_format.h"
#include "base/hash.h"

#define I64(type, field) {#field, LS_H5_I64, offsetof(type, field), 0}
#define U64(type, field) {#field, LS_H5_U64, offsetof(type, field), 0}
#define TEXT(type, field) {#field, LS_H5_TEXT, offsetof(type, field), sizeof((type *)0)->field}

const ls_h5_attribute ls_image_shard_rows[] = {
    TEXT(ls_image_shard_header, format),     TEXT(ls_image_shard_header, kind),
    I64(ls_image_shard_header, schema),      I64(ls_image_shard_header, number),
    I64(ls_image_shard_header, samples),     I64(ls_image_shard_header, height),
    I64(ls_image_shard_header, width),       I64(ls_image_shard_header, channels),
    I64(ls_image_shard_header, classes),     U64(ls_image_shard_header, index_sum),
    U64(ls_image_shard_header, header_sum),  {NULL, 0, 0, 0},
};

const ls_h5_attribute ls_image_set_rows[] = {
    TEXT(ls_image_set_header, format),     TEXT(ls_image_set_header, kind),
    TEXT(ls_image_set_header, lockstep),   TEXT(ls_image_set_header, source),
    I64(ls_image_set_header, schema),      I64(ls_image_set_header, shards),
    I64(ls_image_set_header, samples),     I64(ls_image_set_header, height),
    I64(ls_image_set_header, width),       I64(ls_image_set_header, channels),
    I64(ls_image_set_header, classes),     I64(ls_image_set_header, name_bytes),
    U64(ls_image_set_header, list_sum),    U64(ls_image_set_header, header_sum),
    {NULL, 0, 0, 0},
};

uint64_t ls_image_shard_sum(const ls_image_shard_header *header)
{
    return ls_hash_bytes(header, offsetof(ls_image_shard_header, header_sum), LS_HASH_SEED);
}

uint64_t ls_image_set_sum(const ls_image_set_header *header)
{
    return ls_hash_bytes(header, offsetof(ls_image_set_header, header_sum), LS_HASH_SEED);
}

uint64_t ls_image_index_sum(const int32_t *label, int64_t samples, const uint64_t *block_sum, int64_t blocks)
{
    const uint64_t sum = ls_hash_bytes(label, (size_t)samples * sizeof *label, LS_HASH_SEED);
    return ls_hash_bytes(block_sum, (size_t)blocks * sizeof *block_sum, sum);
}

uint64_t ls_image_list_sum(const ls_image_set_header *h, const ls_image_list *list)
{
    const size_t shards = (size_t)h->shards, channels = (size_t)h->channels;
    uint64_t sum = ls_hash_bytes(list->samples, shards * sizeof *list->samples, LS_HASH_SEED);
    sum = ls_hash_bytes(list->bytes, shards * sizeof *list->bytes, sum);
    sum = ls_hash_bytes(list->sum, shards * sizeof *list->sum, sum);
    sum = ls_hash_bytes(list->names, (size_t)h->name_bytes, sum);
    sum = ls_hash_bytes(list->mean, channels * sizeof *list->mean, sum);
    return ls_hash_bytes(list->deviation, channels * sizeof *list->deviation, sum);
}

uint64_t ls_image_block_sum(const uint8_t *pixels, int64_t bytes, int64_t block)
{
    return ls_hash_bytes(pixels, (size_t)bytes, LS_HASH_SEED + (uint64_t)block);
}

int64_t ls_image_blocks(int64_t bytes)
{
    return bytes / LS_IMAGE_BLOCK + (bytes % LS_IMAGE_BLOCK != 0);
}

int64_t ls_image_bytes(const ls_image_shape *shape)
{
    return shape->height * shape->width * shape->channels;
}

ls_status ls_image_check_shape(const ls_image_shape *s, const char *where)
{
    if (s->height < 1 || s->height > LS_IMAGE_MAX_SIDE || s->width < 1 || s->width > LS_IMAGE_MAX_SIDE)
        return ls_fail(LS_EARG, "%s: images of %lld x %lld, sides must be 1 .. %d", where, (long long)s->height, (long long)s->width,
                       LS_IMAGE_MAX_SIDE);
    if (s->channels < 1 || s->channels > LS_IMAGE_MAX_CHANNELS)
        return ls_fail(LS_EARG, "%s: %lld channels, must be 1 .. %d", where, (long long)s->channels, LS_IMAGE_MAX_CHANNELS);
    if (s->classes < 1 || s->classes > LS_IMAGE_MAX_CLASSES)
        return ls_fail(LS_EARG, "%s: %lld classes, must be 1 .. %d", where, (long long)s->classes, LS_IMAGE_MAX_CLASSES);
    return LS_OK;
}
