/* A training run: the recipe's sections as structs, and the one entry that trains. The tables of rows stand in
 * train/options.c; launch/ fills the structs from YAML and command line. */
#pragma once
#include "checkpoint/checkpoint.h"
#include "dist/reduce.h"
#include "tensor/numerics.h"
#include "train/task.h"

enum { LS_RUN_CPU, LS_RUN_CUDA };
enum { LS_SUMS_EXACT, LS_SUMS_FAST, LS_SUMS_HOST };
typedef struct {
    const char *task;
    const char *run;            /* run folder */
    int64_t seed;
    int device;                 /* "cpu|cuda" */
    bool tf32, cuda_graphs;
    int numerics;               /* ls_numerics */
    int precision;              /* "f32|bf16|fp16" */
    int64_t max_steps;          /* 0: by data.epochs */
    int64_t eval_every, log_every;
    int64_t threads;            /* per rank; 0: OMP_NUM_THREADS, else cores / ranks */
    bool hash_log;              /* one hash of every tensor at every step, for `prove` */
} ls_run_options;

typedef struct {
    ls_option_sources train, eval;
    int64_t epochs;
    int on_long;
    bool pack, shuffle;
    int64_t eval_rows;          /* of data.eval that are evaluated; 0: all */
    int64_t ahead;              /* grains prefetched */
} ls_run_data_options;

typedef struct {
    int64_t grain, grains, tokens; /* rows a grain, grains a step, positions a row (text) */
    int schedule;                  /* "auto|block|round" */
    int64_t bucket;                /* elements */
    int reduce;                    /* "exact|fast|host" */
} ls_batch_options;

typedef struct {
    const char *match;             /* fnmatch pattern over names of parameters */
    double lr_scale, decay_scale;  /* multiples of lr and weight_decay */
    bool frozen;
} ls_group_options;

typedef struct {
    int name;                      /* ls_optimizer_kind: "adamw|sgd|lion" */
    double lr, eps, weight_decay, momentum, clip_norm;
    ls_option_floats betas;
    bool nesterov;
    int schedule;                  /* "constant|linear|cosine|wsd" */
    int64_t warmup, decay_steps;   /* steps; decay_steps: linear and cosine end / wsd's last part; 0: max_steps */
    double min_lr_ratio;
    double layer_decay;
    ls_option_list groups;         /* of ls_group_options; train/groups.h */
} ls_optimizer_options;

typedef struct {
    double start, min;             /* powers of two */
    int64_t growth_interval;       /* good steps; 0: it never grows */
} ls_loss_scale_options;

typedef struct {
    double decay;                  /* 0: no average */
    int64_t every;                 /* steps */
    bool warmup, evaluate;
} ls_ema_options;

typedef struct {
    ls_option_every every;         /* steps or time; neither: only at the end */
    int64_t keep, keep_every;      /* newest kept; and those whose step the second divides */
    bool async;                    /* written while training goes on */
    int64_t buffer;                /* bytes of copies that a rank may hold for it */
    bool verify;                   /* read back and compared before it counts */
    const char *best;              /* held-out number that says which one is kept besides; NULL: none */
} ls_checkpoint_recipe;

typedef struct {
    const char *metric;            /* held-out number */
    int64_t patience;              /* evaluations; 0: never stop early */
    double min_delta;
} ls_early_stop_options;

typedef struct {
    int64_t max_skips;             /* steps in a row */
    double spike;                  /* times the running median of the loss; 0: off */
    int64_t replicas_every, audit_every; /* steps; 0: off */
    int on_fault;                  /* "stop|repeat" */
    double deadline;               /* seconds */
} ls_guard_options;

typedef struct {
    const char *steps;             /* "10..20"; NULL: no profile */
    int64_t events;                /* the most that are kept of one thread */
} ls_profile_options;

typedef struct {
    ls_run_options run;
    ls_run_data_options data;
    ls_augment_options augment;    /* datasets/augment.h */
    ls_batch_options batch;
    ls_optimizer_options optimizer;
    ls_loss_scale_options loss_scale; /* train/loss_scale.h */
    ls_ema_options ema;
    ls_checkpoint_recipe checkpoint;
    ls_early_stop_options early_stop;
    ls_profile_options profile;
    ls_guard_options guard;        /* train/guard.h, train/audit.h */
    const ls_model_family *family; /* of the task's, what model.family says */
    void *model;                   /* section `model`: the family's struct */
    ls_lora_options lora;          /* models/lora.h; language models alone */
    const ls_task *task;
    void *task_options;            /* the task's struct */
    const char *recipe_text;       /* resolved, as YAML: stored with run and checkpoints */
    const char *recipe_fixed;      /* the same, only keys that may not change on resume: compared */
    const char *recipe_defaults;   /* of these the ones that hold their default */
} ls_train_config;

/* Sections "", "data", "augment", "batch", "optimizer", "loss_scale", "ema", "checkpoint", "early_stop", "profile", "guard", "model", "lora" in the order of
 * ls_train_config; ends with NULL rows. */
extern const ls_option_section ls_train_sections[];
/* Address of a section's struct inside a config, by its number in ls_train_sections; of `model` what config->model points
 * to. */
void *ls_train_section(ls_train_config *config, int section);
/* The section, `model` with the rows of `family`. */
ls_option_section ls_train_section_of(const ls_model_family *family, int section);
/* The families that a task trains, the default first. */
const ls_model_family *ls_task_families(const ls_task *task);

/* Collective. Trains (or goes on with) a run to its end. LS_ESTOPPED: stopped early with a checkpoint. */
ls_status ls_train(ls_world *world, const ls_train_config *config);
/* --dry-run: prints memory a rank by schedule, steps, tokens, disk, and stops. */
ls_status ls_train_estimate(ls_world *world, const ls_train_config *config);
typedef struct {
    size_t memory;     /* bytes of a rank, by the chosen schedule */
    size_t checkpoint; /* bytes of one */
    int64_t kept;      /* checkpoints that lie on the disk at once, the one being written included */
} ls_train_needs;
/* Collective. What the estimate prints, for `doctor`: one grain is computed to learn what its activations take. */
ls_status ls_train_measure_needs(ls_world *world, const ls_train_config *config, ls_train_needs *needs);
/* What a task may ask of the run it is in. */
const ls_train_config *ls_run_config(const ls_run *run);
const ls_data *ls_run_data(const ls_run *run); /* the training data */
int64_t ls_run_vocabulary(const ls_run *run);
/* A small file of the run folder, whole or not at all: written beside its name, synced, renamed. LS_EIO, LS_ESPACE. */
ls_status ls_run_write_file(const char *path, const char *text, size_t size);
