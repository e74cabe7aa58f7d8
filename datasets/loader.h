/* From data sets to grains: rows (datasets/rows.h), sampler (datasets/sampler.h), prefetching thread.
 *
 * Rows: samples are packed into rows of `tokens` positions by a plan that depends on the samples' lengths only
 * (pack = true: first-fit over a window of open rows, in sample order), with segment ids and restarted positions.
 * Sampler: position p of the run draws row permutation(seed, epoch)[p mod N], so its whole state is one integer that
 * all ranks share. Several sources are dealt by weight, also as a function of p alone: nothing is counted, nothing
 * replayed, and a run that stopped anywhere goes on with exactly the rows it had not seen. */
#pragma once
#include "base/option.h"
#include "base/trace.h"
#include "datasets/augment.h"
#include "datasets/sampler.h"
#include "datasets/shard.h"
#include "datasets/tokenizer.h"

typedef enum { LS_LONG_FAIL, LS_LONG_SKIP, LS_LONG_TRUNCATE } ls_on_long; /* "fail|skip|truncate" */

typedef struct {
    ls_option_sources sources;
    int64_t tokens;          /* positions of a row */
    int64_t grain;           /* rows of a grain */
    bool pack;               /* several samples in one row; false: one sample a row, padded */
    bool stream;             /* pretraining: samples are joined and cut every `tokens`; only a source's last row is
                                padded. One segment a row, positions 0 .. T-1 (as nanoGPT, Megatron) */
    ls_on_long on_long;      /* a sample longer than a row */
    bool shuffle;
    uint64_t seed;
    const struct ls_data *like; /* images: normalise by this data's mean and deviation (held-out data by the training
                                   data's); NULL: by the first source's own */
    ls_augment_options augment; /* images that are trained on; all zero for held-out data. Key: seed, slot, step */
    int64_t epochs;          /* 0: for ever; else the data ends after epochs * ls_data_rows positions */
} ls_data_options;

/* Where a loader's grains lie, and who is told of each as soon as it is filled: a device that brings it over while an older one is
 * computed (tensor/device.h, staging memory). */
typedef struct {
    void *context;
    ls_status (*allocate)(void *context, size_t bytes, void **block); /* zeros, at a multiple of 64 bytes */
    void (*release)(void *context, void *block, size_t bytes);
    ls_status (*filled)(void *context, const void *block); /* by the loader's thread */
} ls_grain_staging;

/* A grain's rows, in host memory of the loader until it is given back. B = rows (<= options.grain), T = tokens. */
typedef struct {
    int64_t step, number;         /* which grain of which step */
    const void *block;            /* of staging memory, in which the arrays below lie but `samples`; NULL: there is none */
    int64_t rows, tokens;
    uint32_t slot;                /* of its first row in the step */
    const int32_t *ids;           /* [B, T], padding: 0 */
    const int32_t *labels;        /* [B, T]: the next token, -1 where masked, at a segment's end and in padding */
    const int32_t *positions;     /* [B, T], from 0 in each segment */
    const int32_t *segments;      /* [B, T], 0.. in a row; -1 in padding */
    const int64_t *samples;       /* [B], id of the row's first sample, for error messages */
    const float *values;          /* [B, T], sets of pairs and outcomes: a sample's value (shard.h) at its last position, else
                                     NULL. Pairs: segments 2i and 2i + 1 of a row belong together */
    int64_t counted;              /* labels >= 0; pairs, or outcomes, in such sets */
    /* Data sets of images (tokens is 1, labels [B], the other arrays above are NULL): */
    const float *pixels;          /* [B, H, W, C], augmented and normalised */
    int64_t height, width, channels;
    const int32_t *mixed_labels;  /* [B]; NULL without mixup (Zhang et al. 2018): row b is share[b] of its own image ... */
    const float *share;           /* [B]  ... and 1 - share[b] of one with label mixed_labels[b] */
} ls_grain;

typedef struct ls_data ls_data;
typedef struct {
    int64_t step, number, position, rows; /* rows drawn at positions [position, position + rows) */
    uint32_t slot;
} ls_grain_request;

/* Host memory for one grain of a data set; what its kind does not use is NULL. */
typedef struct {
    char *block; /* what a model reads lies in it, the rest has memory of its own */
    size_t bytes;
    const ls_grain_staging *staging; /* that the block is from; NULL: the heap */
    int32_t *ids, *labels, *positions, *segments;
    float *values;
    int64_t *samples;
    float *pixels;
    int32_t *mixed_labels;  /* with mixup, as is the rest */
    float *share, *one_row; /* one_row: scratch of one image */
} ls_grain_memory;
ls_status ls_grain_memory_make(ls_grain_memory *memory, const ls_data *data); /* free also after a failure */
ls_status ls_grain_memory_stage(ls_grain_memory *memory, const ls_data *data, const ls_grain_staging *staging); /* NULL: as make */
void ls_grain_memory_free(ls_grain_memory *memory);

/* Opens sources and makes the row plan. LS_ENOTFOUND, LS_ECORRUPT, LS_EVERSION name the file; LS_ERECIPE: no rows, a
 * sample longer than `tokens` under LS_LONG_FAIL (which one, how long, what to do), sources of different tokenizers. */
ls_status ls_data_open(ls_data **data, const ls_data_options *options);
void ls_data_free(ls_data *data);
int64_t ls_data_rows(const ls_data *data);       /* of one epoch: those of all sources (of their subsets) */
int64_t ls_data_samples(const ls_data *data);
int64_t ls_data_tokens(const ls_data *data);     /* T, of a row; 1 for images */
const struct ls_images *ls_data_images(const ls_data *data); /* the first source (datasets/images.h); NULL: text */
int64_t ls_data_grain_rows(const ls_data *data); /* B, of a whole grain */
int64_t ls_data_vocabulary(const ls_data *data); /* of text; 0 for images */
ls_shards_form ls_data_form(const ls_data *data); /* of all sources; text for images */
double ls_data_fill(const ls_data *data);        /* share of positions that hold a token */
uint64_t ls_data_hash(const ls_data *data);      /* of the sources' bytes, in order: "the data the run began with?" */
uint64_t ls_data_tokenizer_hash(const ls_data *data);
const char *ls_data_tokenizer_path(const ls_data *data); /* of the first source; NULL: none was stored */
const char *ls_data_template(const ls_data *data);       /* of the first source (datasets/template.h); "" for images */
int64_t ls_data_skipped(const ls_data *data);    /* samples left out, LS_LONG_SKIP */
int64_t ls_data_truncated(const ls_data *data);  /* samples cut, LS_LONG_TRUNCATE */
/* What is drawn, for tasks that choose (datasets/sampler.h). Never while a loader has grains of later steps in work. */
ls_sampler *ls_data_sampler(ls_data *data);

/* The position of the sampler: rows drawn since the run began. State tree: "sampler/position".
 * Rows of the step that begins at `position`: `rows_per_step`, or fewer in the last step of the last epoch, 0 after it. */
int64_t ls_data_step_rows(const ls_data *data, int64_t rows_per_step, int64_t position);
/* What counts (labels >= 0; pairs, outcomes) in the `rows` rows drawn at `position` and after it: the step's global count, from the samples' stored
 * counts (masks are read only where a sample was cut, or in a stream with masks). */
ls_status ls_data_counted(const ls_data *data, int64_t position, int64_t rows, int64_t *counted);
/* Fills `memory` with the grain that is asked for, and *grain with what is where. Any thread, with memory of its own;
 * allocates nothing. LS_EARG: rows outside 1 .. options.grain; LS_ECORRUPT: a file's bytes are not those that were
 * written. */
ls_status ls_data_fill_grain(const ls_data *data, const ls_grain_request *request, ls_grain_memory *memory, ls_grain *grain);

/* Prefetching: one thread fills grains in the order they were asked for. It has room for `ahead` grains that wait and
 * one that is in use. Nothing is allocated after ls_loader_open. One thread asks and takes. */
typedef struct ls_loader ls_loader;
ls_status ls_loader_open(ls_loader **loader, ls_data *data, int ahead);
/* The same with grains in staging memory. A grain may be given back (ls_loader_done) when the device has done what reads it. */
ls_status ls_loader_open_staged(ls_loader **loader, ls_data *data, int ahead, const ls_grain_staging *staging);
void ls_loader_free(ls_loader *loader);
/* At most ahead + 1 grains may be asked for and not yet done; a further one waits for ls_loader_done of another thread. */
void ls_loader_ask(ls_loader *loader, const ls_grain_request *request);
/* The next grain in the order of asking, valid until ls_loader_done. LS_EARG: nothing was asked for. Else what
 * ls_data_fill_grain said; then no grain is handed out, and the loader is only to be freed. */
ls_status ls_loader_next(ls_loader *loader, const ls_grain **grain);
void ls_loader_done(ls_loader *loader, const ls_grain *grain); /* in the order they were taken */
/* Each grain read becomes an event on the trace's loader lane. NULL: no more, and `trace` may be freed. */
void ls_loader_trace(ls_loader *loader, ls_trace *trace);
double ls_loader_stall(const ls_loader *loader); /* seconds that ls_loader_next has waited so far */
