/* What the files of train/ share about a running training. Nothing outside train/ includes this. */
#pragma once
#include "base/team.h"
#include "base/trace.h"
#include "train/groups.h"

/* The flat buffers of all parameters (ZeRO-1: fp32 masters and moments exist only for this rank's slice).
 *
 *     working  [elements] f32, bf16, f16  what forward reads, whole on every rank
 *     vectors  [vector elements] f32    parameters of one dimension when working is not f32: they stay f32 (design 1)
 *     master   [slice] f32              inside `working` when that is f32
 *     moments  [slice] f32 each
 *
 * Slices are of what learns, which is the range from 0. Frozen parameters lie behind it: each rank has the working copy of
 * all, and keeps the masters of a share (inside `working` when that is f32). No moments, no gradient sums, no exchange
 * after the first, no average.
 *
 * A table (train/table.h) has buffers of its own, and slices of whole rows. */
typedef struct {
    ls_device *device;
    ls_parameter *parameters;
    int count;
    ls_type compute;
    int64_t elements, slice_begin, slice_count, vector_count;
    int64_t unit;            /* elements of the least slice */
    int64_t trainable, still; /* parameters that learn, and that are frozen; without running statistics */
    int64_t learning;        /* elements that are not frozen: [0, learning) */
    int64_t frozen_begin, frozen_count; /* this rank's share of [learning, elements) */
    void *working;
    float *vectors, *master, *first_moment, *second_moment, *frozen;
    int64_t *vector_at;      /* offset of each parameter in `vectors`, -1: not there */
    size_t *vector_bytes;    /* [ranks] what each rank brings to the gathering of vectors */
    float *vector_slice;     /* this rank's part of it */
} ls_flat;

/* The averaged weights; train/ema.h. */
typedef struct {
    const ls_ema_options *options;
    ls_flat *flat;
    float *slice; /* [slice]; NULL: off */
} ls_ema;

/* Lays out the parameters, of which the first one is the task's parameter number `first`, allocates, and fills initial
 * weights from the seed. Collective. */
ls_status ls_flat_open(ls_flat *flat, ls_world *world, ls_device *device, ls_parameter *parameters, int count, int first,
                       ls_type compute, bool second_moment, uint64_t seed);
void ls_flat_close(ls_flat *flat);
/* Fills this rank's slice of the working copy from the masters (the optimiser does it by itself). */
void ls_flat_round(ls_flat *flat);
/* Once, before the first step: brings every rank's share of the frozen parameters to every rank. Collective. */
ls_status ls_flat_publish_frozen(ls_flat *flat, ls_world *world);
/* This rank's part of the masters of `p`, elements [*from, *from + *count) of the parameter. */
float *ls_flat_master(const ls_flat *flat, const ls_parameter *p, int64_t *from, int64_t *count);
/* Brings every rank's slice of the working copy, and the vectors, to every rank; reducer NULL: by a plain gather.
 * Collective. */
ls_status ls_flat_publish(ls_flat *flat, ls_reducer *reducer, ls_world *world);
/* Running statistics, whose place in the slice sum holds the grains' terms of the fold (ls_tape_fold). First they are taken
 * out, and zeros left, so that neither the gradient's norm nor clipping sees them; a term that is not finite stays, so that
 * the norm does. They wait in the first moment, which statistics have no other use for. */
void ls_flat_take_statistics(ls_flat *flat, float *slice_sum);
/* Then, if the step is not skipped, they are added to what is left of the old statistics after `grains` grains. */
void ls_flat_fold(ls_flat *flat, int64_t grains);
/* One optimiser step on the part of `p` that lies in this rank's slice, with weight decay of its own (train/groups.h). `args`
 * holds everything that all parameters share. */
void ls_flat_update(ls_flat *flat, const ls_parameter *p, double weight_decay, const float *slice_sum, ls_optimizer_args *args);
/* Takes the weights of another folder's newest checkpoint (model.from; NULL: none), or their average, and those of parameters with a
 * source from there. LS_ERECIPE: another shape, naming the tensor. */
ls_status ls_flat_begin_from(ls_flat *flat, const char *folder, bool averaged);
/* Registers "model/NAME" and "optimizer/..." entries. */
ls_status ls_flat_state(ls_flat *flat, ls_state_tree *tree);
/* Registers "PREFIX/NAME" for the part of `slice`, a buffer with the shape of the slice, of each parameter that learns. Moments
 * and gradients have no `statistics`: running statistics have a value and nothing else. */
ls_status ls_flat_entries(ls_flat *flat, ls_state_tree *tree, const char *prefix, ls_state_kind kind, bool statistics, float *slice);
/* Registers "gradient/NAME" entries over a slice sum, for the hash log. */
ls_status ls_flat_gradients(ls_flat *flat, float *slice_sum, ls_state_tree *tree);
/* Bytes a rank needs for them, for the estimate. */
size_t ls_flat_bytes(const ls_flat *flat, int ranks, bool second_moment);

typedef struct {
    double loss;     /* mean over the counted labels */
    int64_t counted;
    double *sums;    /* [ls_evaluation_sums]: the task's, of which the first ones are its measures' */
} ls_evaluation;

/* The best evaluation so far of one held-out number; train/best.h. */
typedef struct {
    int number;       /* which one (train/held_out.h); -1: nothing is watched */
    double min_delta;
    char metric[64];  /* its name; this and the rest are state */
    double value;     /* of the best */
    int64_t step;     /* after which step that was; 0: none yet */
    int64_t since;    /* evaluations after it that were not better */
} ls_best;

typedef struct ls_metrics ls_metrics; /* train/metrics.h */
typedef struct ls_saving ls_saving;   /* train/saving.h */

enum { LS_GUARD_WINDOW = 64 };

/* train/guard.h */
typedef struct {
    int64_t in_a_row, skipped;      /* steps that were skipped: last, and since the start */
    double loss[LS_GUARD_WINDOW];   /* the last ones, in a ring; this and the next are state */
    int64_t losses;
    int64_t returned_to, returns;   /* to which checkpoint, and how often without a later one */
    int64_t *sample, *rows;         /* [grains, rows of a grain], [grains]: of this rank's grains */
    uint64_t *rank_hash;            /* [ranks] */
} ls_guard;

/* train/loss_scale.h: all of it is state. */
typedef struct {
    double scale;                   /* 1 where nothing is scaled */
    int64_t good_steps, skipped;    /* since it last changed; since the start */
} ls_loss_scale;

/* train/audit.h */
typedef struct {
    int owner, auditor, voter;      /* of the step; owner -1: no audit, voter -1: none */
    int64_t first, count;           /* of the owner's grains, those that are audited: one, or all of a suspect's */
    int64_t grain;                  /* the one that is looked at */
    uint64_t *into;                 /* where the hash of the grain that is computed now goes; NULL: it is not audited */
    uint64_t mine, *all;            /* this rank's hash of it so far; [ranks] */
    uint64_t *hash;                 /* the owner's of those `count`, as it computed them in the step */
    int suspect;                    /* the rank for which this step is repeated; -1: it is not */
    ls_grain_memory memory;         /* for a grain of another rank */
    bool memory_made;
} ls_audit;

struct ls_run {
    const ls_train_config *config;
    ls_world *world;
    int rank, ranks;
    ls_schedule schedule;
    void *task;              /* the task's own */
    ls_team *team;
    ls_device *device;
    ls_tape *tape;
    ls_data *train_data, *eval_data;
    ls_loader *loader;
    ls_groups groups;
    ls_flat flat;            /* all parameters but the tables */
    ls_ema ema;
    ls_exchange *exchange;   /* between devices; NULL: none */
    ls_reducer *reducer;
    struct ls_table *tables; /* train/table.h */
    int table_count;
    ls_state_tree *state;
    ls_metrics *metrics;
    ls_saving *saving;
    struct ls_profile *profile; /* NULL: not asked for */
    ls_trace *trace;            /* of the profile, or NULL */
    ls_flight *flight;          /* RUN/flight/rank-N, or NULL */

    int64_t step, position;  /* optimiser steps done, rows drawn: the sampler's whole state */
    int64_t data_hash;       /* of the training data: a run does not go on with other data */
    int64_t steps;           /* where training ends */
    int64_t asked_step, asked_position, asked_grain, outstanding; /* how far the loader was asked ahead */
    int64_t saved_step;      /* of the newest checkpoint; -1: none */

    float *slice_sum;        /* the reduced gradient of the last step */
    ls_evaluation evaluation, averaged; /* the last one, and with the averaged weights */
    ls_best best, patience;   /* for checkpoint.best and early_stop */
    bool improved;            /* the evaluation after this step was the best so far, for checkpoint.best */
    double lora_scale;        /* state where there are adapters: what their sum counts */
    int64_t step_width;       /* numbers of a grain in the step: its loss, and its sums where the task gives them */
    double *my_loss, *grain_loss; /* [max grains, step_width] of the step: this rank's, everyone's in grain order */
    double *step_sums, *column;   /* [step_width - 1] the sums of the last step; [max grains] scratch */
    uint8_t *stop_votes;     /* [ranks]: bit 0 of told to stop, the others of train/saving.h */
    bool stop;               /* some rank was told to stop */
    bool compared;           /* ls_run_compare_choices has been called */
    ls_guard guard;
    ls_loss_scale loss_scale;
    ls_audit audit;
};

int64_t ls_run_rows_per_step(const ls_run *run);
/* Grains of the step that starts at `position`: fewer in the last step of the data. */
int64_t ls_run_grains(const ls_run *run, int64_t position);
int64_t ls_evaluation_sums(const ls_run *run);
/* Over data.eval, into result->sums as well. Collective. */
ls_status ls_evaluate(ls_run *run, ls_evaluation *result);
/* "tokens" or "images": what the run's data is counted in. */
const char *ls_run_unit(const ls_run *run);
/* "tokens", "images", "pairs" or "answers": what the loss is a mean over. */
const char *ls_run_counted_unit(const ls_run *run);
/* "1.25M parameters, 0.50M of them frozen" */
const char *ls_run_size(const ls_run *run, char text[64]);
/* "8000 images of 28 x 28 x 1 in 10 classes" */
void ls_run_describe_rows(const ls_run *run, char *text, size_t bytes);
/* Appends a line with every tensor's hash after step `step` to hashes.jsonl. Collective. */
ls_status ls_hash_log(ls_run *run, int64_t step, double loss);

/* train/setup.c: everything between a config and a first step; and its end. keeps_folder: false for --dry-run, which
 * touches no file and does not resume. Close also after a failed open. */
ls_status ls_run_open(ls_run *run, ls_world *world, const ls_train_config *config, bool keeps_folder);
void ls_run_close(ls_run *run);

/* A part of the step begins, for the flight record; its time of beginning for the profile. */
int64_t ls_run_phase(const ls_run *run, const char *phase);

/* The grains that the loader was asked for are thrown away, and it begins anew at the run's step and position. */
ls_status ls_run_ask_anew(ls_run *run);
/* train/setup.c: goes on from the newest whole checkpoint, of those whose step `every` divides (0: all), or a fresh run's
 * state; every rank from the one that rank 0 chose. Collective. */
ls_status ls_run_resume(ls_run *run, int64_t every);

/* train/loop.c: one optimiser step and all that follows it (metrics, evaluation, checkpoint when due). Collective. */
ls_status ls_run_step(ls_run *run);

/* train/folder.c: the run folder's small files. Collective where noted. */
/* Rank 0, at the start of a run from `from`: where that is a Hugging Face folder, LS_ERECIPE if the data was packed with
 * another tokenizer; else what is beside its tokenizer.json comes into RUN/tokenizer. */
ls_status ls_folder_take_tokenizer(const ls_run *run, const char *from);
ls_status ls_folder_begin(ls_run *run); /* collective: folders, recipe.yaml, tokenizer, log files; LS_ESTATE: another recipe's */
/* The run ended with that status, and the calling thread's sentence: the last word of the flight record. */
void ls_folder_end(ls_run *run, ls_status status);
void ls_folder_close(ls_run *run);
