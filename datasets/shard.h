/* HDF5 shards: a folder NAME/ with dataset.h5 (what belongs to the set), shard-00000.h5, ... and (for text) its tokenizer.
 * The format, when a shard is valid, and what a reader sees if power fails at each line, is the essay at the top of
 * datasets/shard.c and in docs/format-shards.md. A sample is a record of fields; a variable-length field is a flat array and
 * offsets. Text samples: `tokens` i32 [n], `loss_mask` u8 [n] (1: this token is predicted and counted), n >= 1. In the forms
 * `pairs` and `outcomes` each has a number besides, its `value`.
 *
 * Damage is found before use: opening checks every size, header and index; the tokens are checked in blocks of 65536 as
 * they are first touched (by any thread), so a set of terabytes opens at once and no byte is used unchecked. */
#pragma once
#include "base/error.h"
#include "base/type.h"

enum { LS_SHARD_SCHEMA = 1 };

/* What the samples of a set are to each other; the set's attribute `kind`. */
typedef enum {
    LS_SHARDS_TEXT,     /* "text": each for itself; no values */
    LS_SHARDS_PAIRS,    /* "pairs": 2i is the preferred answer to a prompt, 2i + 1 the rejected one; the value of 2i is the
                           margin by which it is better (0: not told), that of 2i + 1 is 0 */
    LS_SHARDS_OUTCOMES, /* "outcomes": each is a whole answer; value 1: right, 0: wrong, between: the share that found it right */
} ls_shards_form;

typedef struct ls_shards ls_shards;           /* a data set opened for reading */
typedef struct ls_shard_writer ls_shard_writer;

typedef struct {
    const char *kind;            /* "text", "pairs", "outcomes" */
    const char *source;          /* what it was packed from, for `data info` */
    const char *template_name;   /* how conversations became tokens (datasets/template.h); NULL: "" */
    uint64_t tokenizer_hash;
    int64_t vocabulary;
    int64_t samples_per_shard;   /* 0: 65536. A shard also ends before it would pass 16 Mi tokens */
    const char *tokenizer_path;  /* a file, copied beside the shards; NULL: none */
    const char *tokenizer_name;  /* its name there; NULL: tokenizer.json */
    bool replace;                /* an older data set of that name is replaced at commit; other folders never */
} ls_shard_options;

/* Writes folder.partial/ and renames it at the end: a half-written data set never carries the name. Strings are copied.
 * LS_EEXIST: the folder exists (say --force), or another process is writing it. LS_ESPACE / LS_EIO: file and reason. */
ls_status ls_shard_writer_open(ls_shard_writer **writer, const char *folder, const ls_shard_options *options);
/* LS_EARG: no tokens, or an id outside the vocabulary. After a failure only discard is allowed. */
ls_status ls_shard_writer_add_text(ls_shard_writer *writer, const int32_t *tokens, const uint8_t *loss_mask, int64_t count);
/* The same with its value, in a set of another form than text (0 without it). LS_EARG: a value that the form has not. */
ls_status ls_shard_writer_add_valued(ls_shard_writer *writer, const int32_t *tokens, const uint8_t *loss_mask, int64_t count, float value);
/* Frees the writer, also on failure (then nothing carries the name). LS_EARG: no samples were added, or half a pair. */
ls_status ls_shard_writer_commit(ls_shard_writer *writer);
void ls_shard_writer_discard(ls_shard_writer *writer);

/* Opens, checks schema, sizes and headers of every shard; `verify` also checks every byte's XXH3.
 * LS_ENOTFOUND, LS_EFORMAT (not ours), LS_EVERSION, LS_ECORRUPT: file, what differs, what to do. */
ls_status ls_shards_open(ls_shards **shards, const char *folder, bool verify);
void ls_shards_free(ls_shards *shards);
int64_t ls_shards_samples(const ls_shards *shards);
int64_t ls_shards_tokens(const ls_shards *shards);
int64_t ls_shards_unmasked(const ls_shards *shards);               /* tokens with loss_mask 1 */
int64_t ls_shards_longest(const ls_shards *shards);                /* tokens of the longest sample */
int64_t ls_shards_files(const ls_shards *shards);
int64_t ls_shards_length(const ls_shards *shards, int64_t sample); /* tokens of a sample */
/* Tokens of a sample that can be labels when it stands alone: loss_mask 1, and not its first. */
int64_t ls_shards_counted(const ls_shards *shards, int64_t sample);
ls_shards_form ls_shards_form_of(const ls_shards *shards);
float ls_shards_value(const ls_shards *shards, int64_t sample);    /* 0 in sets of text */
uint64_t ls_shards_tokenizer_hash(const ls_shards *shards);
int64_t ls_shards_vocabulary(const ls_shards *shards);
uint64_t ls_shards_hash(const ls_shards *shards); /* of all shard sums: "is this the data the run began with?" */
const char *ls_shards_folder(const ls_shards *shards);
const char *ls_shards_source(const ls_shards *shards);
const char *ls_shards_template(const ls_shards *shards);
const char *ls_shards_tokenizer_path(const ls_shards *shards);     /* folder/tokenizer.json; NULL: none was stored */
/* Pointers into the mapped file, valid until free. LS_ECORRUPT: the file's bytes are not those that were written.
 * Thread-safe, allocates nothing. */
ls_status ls_shards_text(const ls_shards *shards, int64_t sample, const int32_t **tokens, const uint8_t **loss_mask, int64_t *count);
/* The same for the set seen as one stream of tokens, samples in order: *count <= wanted tokens from `token` on, as many
 * as lie in one shard. */
ls_status ls_shards_stream(const ls_shards *shards, int64_t token, int64_t wanted, const int32_t **tokens, const uint8_t **loss_mask, int64_t *count);
int64_t ls_shards_sample_at(const ls_shards *shards, int64_t token); /* the sample that a token of the stream is of */
/* Every byte: sums, ids inside the vocabulary, masks 0 or 1, counts, the tokenizer's file. LS_ECORRUPT names file,
 * field and what differs. */
ls_status ls_shards_verify(const ls_shards *shards);
