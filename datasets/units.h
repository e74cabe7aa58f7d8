/* Lexical units of a data set: runs of neighbouring tokens that a trained model predicts with confidence, and what it
 * predicted (Lexical Unit Decoding, arXiv 2405.15208; docs/lud.md). One HDF5 file, written by `lockstep units`, read by
 * task lud:
 *     format        text   "lockstep-units"
 *     schema        i64    1
 *     samples, tokens, units   i64
 *     alpha         text   the threshold, as "%.17g"
 *     data_hash     u64    ls_data_hash of the data set, alone
 *     tokenizer_hash u64
 *     model_hash    u64    `ckpt hash` of the checkpoint that predicted
 *     sum           u64    XXH3 of the arrays, in this order, each hash the seed of the next
 *     header_sum    u64    XXH3 of the fields above
 *     /row_ptr      i64 [samples + 1]   tokens of sample i are row_ptr[i] .. row_ptr[i + 1] - 1
 *     /logp         f32 [tokens]        log p(token | all before it); NaN: nothing predicts it (prompts, first tokens)
 *     /unit_ptr     i64 [samples + 1]   units of sample i
 *     /unit_start   i32 [units]         position in the sample
 *     /unit_len     i32 [units]         at least 2                     (the last two are absent when there are none)
 * The tokens themselves stay in the data set. logp is f32 so that a threshold splits it as it split the model's. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef struct {
    int64_t samples, tokens, units;
    double alpha;
    uint64_t data_hash, tokenizer_hash, model_hash;
    const int64_t *row_ptr, *unit_ptr;
    const float *logp;
    const int32_t *unit_start, *unit_len;
} ls_units;

/* Maximal runs of at least two tokens whose probability is above alpha, in logp [count] (spec 2.3): start and length
 * have room for count / 2 each. Returns how many. NaN ends a run. */
int64_t ls_units_identify(const float *logp, int64_t count, double alpha, int32_t *start, int32_t *length);

/* Units of all samples by their row_ptr and logp, which the caller keeps; the other arrays are the struct's own.
 * LS_EMEM. */
ls_status ls_units_make(ls_units *units, double alpha, int64_t samples, const int64_t *row_ptr, const float *logp);
void ls_units_unmake(ls_units *units);

/* The file at once, or not at all (written beside its name, synced, renamed). LS_ESPACE, LS_EIO, LS_EMEM. */
ls_status ls_units_write(const ls_units *units, const char *path);

/* A file opened for reading; pointers of *units go into it. LS_ENOTFOUND, LS_EFORMAT, LS_EVERSION, LS_ECORRUPT. */
typedef struct ls_units_file ls_units_file;
ls_status ls_units_open(ls_units_file **file, const char *path, ls_units *units);
void ls_units_close(ls_units_file *file);
