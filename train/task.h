/* Task: what is trained, as a table of functions. One loop (train/loop.c) drives them all; NULL = skipped.
 * A new task is one file in train/tasks/, one recipe and one test: docs/adding-a-task.md. */
#pragma once
#include "base/option.h"
#include "base/state.h"
#include "datasets/loader.h"
#include "models/transformer.h"
#include "tensor/ops.h"

typedef struct ls_run ls_run; /* train/run.h: everything a running training has */

/* A number of held-out data besides the loss, from sums over grains, in their order. */
typedef struct {
    const char *name; /* "accuracy"; ends a list with NULL */
    bool higher_is_better;
    /* What the task's sums make of it, over a count above 0 of labels. NULL: its own sum, which stands at its own place, over
     * the count. */
    double (*value)(const double *sums, int64_t counted);
    bool only_held_out; /* of a step's own data it says nothing worth a number in its line */
} ls_measure;

/* A kind of net: the recipe's `model: {family: NAME, ...}`, with a table of rows of its own. */
typedef struct {
    const char *name;           /* ends a list with NULL */
    const ls_option *options;   /* its struct begins with ls_model_begin */
    size_t size;
} ls_model_family;

/* The one family of tasks that name none. */
extern const ls_model_family ls_text_families[];

typedef struct ls_task {
    const char *name;               /* the recipe's `task:` and the name of its own section */
    const char *sentence;           /* for `lockstep recipes` and --help */
    const ls_option *options;       /* rows of its own section; NULL: it has none */
    size_t options_size;
    const ls_model_family *families; /* that it trains, the default first. NULL: ls_text_families */

    /* Makes the task's nets and state. *self is the task's own, given to all others. */
    ls_status (*init)(ls_run *run, const void *options, void **self);
    void (*free)(void *self);
    /* Trainable parameters, in one array owned by the task. */
    int (*parameters)(void *self, ls_parameter **parameters);
    /* How the loader makes rows for it: packed, streamed, one sample a row. Called before init. */
    void (*rows)(const void *options, ls_data_options *data);
    /* Tasks that make their own rows (reinforcement learning); all three or none. `prepare`, before each step, on every rank:
     * makes them when it is time, and moves ls_run.position over what it read of the data. `count`: the step's count. `grain`: a
     * grain of the step, valid until the next. They train until max_steps. */
    ls_status (*prepare)(void *self);
    int64_t (*count)(void *self);
    const ls_grain *(*grain)(void *self, int64_t number);
    /* Sum of the grain's loss, divided by the loop by the step's global count. */
    ls_tensor *(*grain_loss)(void *self, ls_tape *tape, const ls_grain *grain);
    /* What the loss of step `step` (from 0) is divided by, where that is not its count of labels, which comes in *denominator.
     * Its `rows` rows are drawn at `position` and after it. The same on every rank, above 0. */
    ls_status (*denominator)(void *self, int64_t step, int64_t position, int64_t rows, double *denominator);
    /* The sums of the grain that grain_loss was called for last, as evaluate's: then each step's line has the measures too. Called when
     * the device has computed the grain: grain_loss asks for what it needs by ls_tape_read_later. */
    const double *(*grain_sums)(void *self);
    /* Held-out loss of a grain, in a no-grad scope; NULL: grain_loss. Adds its numbers into sums [ls_task.sums], zeros at
     * first; the leading ones are those of `measures`. */
    ls_tensor *(*evaluate)(void *self, ls_tape *tape, const ls_grain *grain, double *sums);
    const ls_measure *measures;     /* NULL: the loss alone */
    int held_out_measures;          /* of them, the first so many are of held-out data too; 0: all */
    int64_t (*sums)(void *self);    /* how many numbers `evaluate` adds up; NULL: as many as there are measures */
    /* After each evaluation (not that of averaged weights), on every rank: the sums over all held-out data. */
    void (*evaluated)(void *self, const double *sums, int64_t counted);
    /* After the last evaluation, on rank 0: what the sums over all held-out data say beyond the measures. */
    ls_status (*report)(void *self, const char *folder, const double *sums, int64_t counted);
    /* Of a fresh run, after its initial weights, on every rank: what else comes out of other folders. A run that goes on has it
     * in its checkpoint. */
    ls_status (*begin)(void *self);
    /* Registers what it remembers between steps. */
    ls_status (*state)(void *self, ls_state_tree *tree);
} ls_task;

/* All tasks of this binary, NULL-terminated; train/tasks/tasks.c. */
extern const ls_task *const *ls_tasks;
const ls_task *ls_task_find(const char *name); /* NULL: none of that name */
