/* Headers of an image data set's files, shared by images.c and image_writer.c; the format is described in images.h.
 * Every field is eight bytes or a zero-padded text: a header's sum is that of the struct's bytes before `header_sum`. */
#pragma once
#include "datasets/hdf5.h"
#include "datasets/images.h"
#include "datasets/shard_format.h"

#include <stddef.h>

enum { LS_IMAGE_SCHEMA = 1, LS_IMAGE_BLOCK = 1 << 18 /* bytes of pixels under one sum */ };

typedef struct {
    char format[32], kind[16];
    int64_t schema, number, samples, height, width, channels, classes;
    uint64_t index_sum, header_sum;
} ls_image_shard_header;
extern const ls_h5_attribute ls_image_shard_rows[];

typedef struct {
    char format[32], kind[16], lockstep[16], source[1024];
    int64_t schema, shards, samples, height, width, channels, classes, name_bytes;
    uint64_t list_sum, header_sum;
} ls_image_set_header;
extern const ls_h5_attribute ls_image_set_rows[];

/* The arrays of dataset.h5. */
typedef struct {
    const int64_t *samples, *bytes; /* [shards] */
    const uint64_t *sum;            /* [shards] */
    const char *names;              /* [name_bytes] */
    const double *mean, *deviation; /* [channels] */
} ls_image_list;

uint64_t ls_image_shard_sum(const ls_image_shard_header *header);
uint64_t ls_image_set_sum(const ls_image_set_header *header);
uint64_t ls_image_index_sum(const int32_t *label, int64_t samples, const uint64_t *block_sum, int64_t blocks);
uint64_t ls_image_list_sum(const ls_image_set_header *header, const ls_image_list *list);
uint64_t ls_image_block_sum(const uint8_t *pixels, int64_t bytes, int64_t block); /* of its `bytes` <= LS_IMAGE_BLOCK */
int64_t ls_image_blocks(int64_t bytes);
int64_t ls_image_bytes(const ls_image_shape *shape); /* of one image */
/* LS_EARG with `where` in front unless sides, channels and classes are in their ranges. */
ls_status ls_image_check_shape(const ls_image_shape *shape, const char *where);
