/* From data sets to grains: rows, sampler, prefetching thread.
 *
 * Rows: samples are packed into rows of `tokens` positions by a plan that depends on the samples' lengths only
 * (pack = true: first-fit over a window of open rows, in sample order), with segment ids and restarted positions.
 * Sampler: slot s of the run (s = step * rows per step + place in step) draws row permutation(seed, epoch)[s mod N],
 * so its whole state is one integer that all ranks share. With several sources the mixture is drawn per slot from the
 * counter RNG by weight, and each source keeps its own permutation: position in a source = how many earlier slots drew
 * it, which is kept by the loader as part of its state. */
#pragma once
#include "base/option.h"
#include "datasets/shard.h"
#include "datasets/tokenizer.h"

typedef enum { LS_LONG_FAIL, LS_LONG_SKIP, LS_LONG_TRUNCATE } ls_on_long; /* "fail|skip|truncate" */

typedef struct {
    ls_option_sources sources;
    int64_t tokens;          /* positions of a row */
    int64_t grain;           /* rows of a grain */
    bool pack;               /* several samples in one row; false: one sample a row, padded */
    bool stream;             /* pretraining: samples are joined and cut every `tokens`, nothing is padded */
    ls_on_long on_long;      /* a sample longer than a row */
    bool shuffle;
    uint64_t seed;
    int64_t epochs;          /* 0: for ever; else the data ends after this many */
} ls_data_options;

/* A grain's rows, in host memory of the loader until it is given back. B = rows (<= options.grain), T = tokens. */
typedef struct {
    int64_t step, number;         /* which grain of which step */
    int64_t rows, tokens;
    uint32_t slot;                /* of its first row in the step */
    const int32_t *ids;           /* [B, T], padding: 0 */
    const int32_t *labels;        /* [B, T]: the next token, -1 where masked, at a segment's end and in padding */
    const int32_t *positions;     /* [B, T], from 0 in each segment */
    const int32_t *segments;      /* [B, T], 0.. in a row; -1 in padding */
    const int64_t *samples;       /* [B], id of the row's first sample, for error messages */
    int64_t counted;              /* labels >= 0 */
} ls_grain;

typedef struct ls_data ls_data;
/* Opens sources and makes the row plan. LS_ENOTFOUND, LS_ECORRUPT, LS_EVERSION name the file; LS_ERECIPE: no rows, or
 * a sample longer than `tokens` under LS_LONG_FAIL (which one, how long, what to do). */
ls_status ls_data_open(ls_data **data, const ls_data_options *options);
void ls_data_free(ls_data *data);
int64_t ls_data_rows(const ls_data *data);       /* of one epoch */
int64_t ls_data_samples(const ls_data *data);
int64_t ls_data_vocabulary(const ls_data *data);
double ls_data_fill(const ls_data *data);        /* share of positions that hold a token */
uint64_t ls_data_hash(const ls_data *data);
uint64_t ls_data_tokenizer_hash(const ls_data *data);
int64_t ls_data_skipped(const ls_data *data);
/* The position of the sampler: rows drawn since the run began. State tree: "sampler/position". */
/* Rows of step `step`: `rows_per_step`, or fewer in the last step of the last epoch, 0 after it. */
int64_t ls_data_step_rows(const ls_data *data, int64_t rows_per_step, int64_t position);
/* int64 count of labels >= 0 in a row drawn at `position`; cheap, from lengths and masks (the step's global count). */
ls_status ls_data_counted(const ls_data *data, int64_t position, int64_t rows, int64_t *counted);
/* Fills one grain's arrays ([rows * tokens] each), rows drawn at positions [position, position + rows). */
ls_status ls_data_fill_grain(const ls_data *data, int64_t position, int64_t rows, int32_t *ids, int32_t *labels, int32_t *positions, int32_t *segments, int64_t *samples, int64_t *counted);

/* Prefetching: one thread fills grains in the order they were asked for, `ahead` of them at most. Nothing is allocated
 * after ls_loader_open. */
typedef struct ls_loader ls_loader;
typedef struct {
    int64_t step, number, position, rows;
    uint32_t slot;
} ls_grain_request;
ls_status ls_loader_open(ls_loader **loader, ls_data *data, int ahead);
void ls_loader_free(ls_loader *loader);
void ls_loader_ask(ls_loader *loader, const ls_grain_request *request); /* blocks when `ahead` are waiting */
ls_status ls_loader_next(ls_loader *loader, const ls_grain **grain);    /* valid until ls_loader_done */
void ls_loader_done(ls_loader *loader, const ls_grain *grain);
double ls_loader_stall(const ls_loader *loader); /* seconds that ls_loader_next has waited so far */
