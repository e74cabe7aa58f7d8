/* HDF5 shards: a folder NAME/ with shard-00000.h5, ... and (for text) tokenizer.json.
 * The format, and what a reader sees if power fails at each line, is the essay at the top of datasets/shard.c and in
 * docs/formats.md. A sample is a record of fields; a variable-length field is a flat array and offsets.
 * Text samples: `tokens` i32 [n], `loss_mask` u8 [n] (1: this token is predicted and counted).  */
#pragma once
#include "base/error.h"
#include "base/type.h"

enum { LS_SHARD_SCHEMA = 1 };

typedef struct ls_shards ls_shards;           /* a data set opened for reading */
typedef struct ls_shard_writer ls_shard_writer;

typedef struct {
    const char *kind;            /* "text" */
    const char *source;          /* what it was packed from, for `data info` */
    uint64_t tokenizer_hash;
    int64_t vocabulary;
    int64_t samples_per_shard;   /* 0: 65536 */
    const char *tokenizer_path;  /* copied beside the shards; NULL: none */
} ls_shard_options;

/* Writes folder.partial/ and renames it at the end: a half-written data set never carries the name.
 * LS_EEXIST: the folder exists (say --force). LS_ESPACE / LS_EIO with file and reason. */
ls_status ls_shard_writer_open(ls_shard_writer **writer, const char *folder, const ls_shard_options *options);
ls_status ls_shard_writer_add_text(ls_shard_writer *writer, const int32_t *tokens, const uint8_t *loss_mask, int64_t count);
ls_status ls_shard_writer_commit(ls_shard_writer *writer); /* frees the writer */
void ls_shard_writer_discard(ls_shard_writer *writer);

/* Opens, checks schema, sizes and headers of every shard; `verify` also checks every byte's XXH3. */
ls_status ls_shards_open(ls_shards **shards, const char *folder, bool verify);
void ls_shards_free(ls_shards *shards);
int64_t ls_shards_samples(const ls_shards *shards);
int64_t ls_shards_tokens(const ls_shards *shards);
int64_t ls_shards_length(const ls_shards *shards, int64_t sample); /* tokens of a sample */
uint64_t ls_shards_tokenizer_hash(const ls_shards *shards);
int64_t ls_shards_vocabulary(const ls_shards *shards);
uint64_t ls_shards_hash(const ls_shards *shards); /* of all shard sums: "is this the data the run began with?" */
const char *ls_shards_folder(const ls_shards *shards);
/* Pointers into the mapped file, valid until free. */
ls_status ls_shards_text(const ls_shards *shards, int64_t sample, const int32_t **tokens, const uint8_t **loss_mask, int64_t *count);
/* `data verify`: LS_ECORRUPT names file, field and what differs. */
ls_status ls_shards_verify(const ls_shards *shards);
