/* Headers of the two kinds of file in a data set's folder, shared by the reader (shard.c, which holds the essay on the
 * format) and the writer (shard_writer.c). Every field is eight bytes or a zero-padded text, so the structs have no
 * gaps and a header's sum is that of the struct's bytes before `header_sum`. */
#pragma once
#include "datasets/hdf5.h"
#include "datasets/shard.h"

#define LS_SHARD_FORMAT "lockstep-shard"
#define LS_DATASET_FORMAT "lockstep-dataset"
#define LS_DATASET_FILE "dataset.h5"

enum { LS_SHARD_BLOCK = 65536 }; /* tokens under one sum: 256 KiB of ids, 64 KiB of masks */

/* shard-NNNNN.h5 */
typedef struct {
    char format[32], kind[16];
    int64_t schema, number, samples, tokens, unmasked, vocabulary;
    uint64_t tokenizer_hash, index_sum, header_sum;
} ls_shard_header;
extern const ls_h5_attribute ls_shard_header_rows[];

/* dataset.h5 */
typedef struct {
    char format[32], kind[16], lockstep[16], template_name[32], tokenizer[64], source[1024];
    int64_t schema, shards, samples, tokens, unmasked, vocabulary;
    uint64_t tokenizer_hash, tokenizer_sum, list_sum, header_sum;
} ls_dataset_header;
extern const ls_h5_attribute ls_dataset_header_rows[];

/* One row of dataset.h5's list: what a shard must be to belong. */
typedef struct {
    int64_t samples, tokens, bytes; /* bytes: of the file */
    uint64_t sum;                   /* the shard's header_sum */
} ls_shard_entry;

uint64_t ls_shard_header_sum(const ls_shard_header *header);
uint64_t ls_dataset_header_sum(const ls_dataset_header *header);
/* Of `offset` [samples + 1], `counted` [samples] and `block_sum` [blocks], each hash the seed of the next. */
uint64_t ls_shard_index_sum(const int64_t *offset, const int64_t *counted, int64_t samples, const uint64_t *block_sum, int64_t blocks);
/* Of a shard with `value` [samples]: the same and then the values. */
uint64_t ls_shard_valued_sum(uint64_t index_sum, const float *value, int64_t samples);
/* Whether a set of this form may hold the value. */
bool ls_shard_value_fits(ls_shards_form form, int64_t sample, float value);
/* LS_EARG: no form is called so. */
ls_status ls_shard_form(const char *kind, ls_shards_form *form);
uint64_t ls_shard_list_sum(const ls_shard_entry *entries, int64_t shards);
/* Of `count` <= LS_SHARD_BLOCK tokens and their masks, block number `block` of its shard. */
uint64_t ls_shard_block_sum(const int32_t *tokens, const uint8_t *loss_mask, int64_t count, int64_t block);
int64_t ls_shard_blocks(int64_t tokens);
/* folder/shard-00042.h5, malloc'ed; NULL: no memory. */
char *ls_shard_path(const char *folder, int64_t number);
char *ls_path_join(const char *folder, const char *name);
