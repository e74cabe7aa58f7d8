/* Checkpoints: the state tree in RUN/checkpoints/step-00000100/: one HDF5 file a rank with its slices, and
 * checkpoint.h5 that joins them as virtual datasets, so h5dump and h5py see whole tensors under their names.
 * Format, commit protocol, and what a reader sees if power fails at each line: checkpoint/format.h. */
#pragma once
#include "base/state.h"
#include "dist/world.h"

typedef struct {
    int keep;             /* newest ones kept after a commit, >= 1 */
    int64_t keep_every;   /* those whose step this divides stay for ever; 0: none do */
    int64_t base;         /* the newest one whose step this divides is kept as well; 0: none is */
    int64_t best;         /* step of the best one so far, kept as well and found as checkpoints/best; 0: none */
    int64_t buffer;       /* bytes of copies in memory at most; 0: 16 MiB. A saver has its own */
    const char *numerics; /* stored */
    const char *recipe;   /* text of the resolved recipe, stored */
} ls_checkpoint_options;

/* Collective. Writes `tree` as step `step` under folder/checkpoints; on any failure the training state and older
 * checkpoints are untouched and the same status and sentence come back on all ranks. */
ls_status ls_checkpoint_save(ls_world *world, ls_state_tree *tree, const char *run, int64_t step,
                             const ls_checkpoint_options *options);

/* The same while the program goes on: one save at a time, its disk work on a thread of its own. Of the world, only the
 * thread that owns it is used, in the calls marked collective; what a rank has to say travels in the caller's votes.
 *
 *     ls_saver_begin(...)                     copies what is LS_STATE_TASK; the rest is taken in the background
 *     ...                                     work that reads the tree's memory
 *     ls_saver_wait_taken(saver)              before parameters or moments change
 *     votes[rank] = ls_saver_vote(saver)      at times that all ranks share, until nothing is in flight; gathered
 *     ls_saver_poll(saver, votes, 1, &over)
 */
typedef struct ls_saver ls_saver;
/* How bytes of the tree's memory come to the host, from a thread of the saver's. `read` NULL: the host reads them where they are;
 * `wait` comes before it does so though there is a `read`, in ls_saver_begin, and may be NULL. */
typedef struct {
    ls_status (*read)(void *context, void *to, const void *from, size_t bytes);
    void *context;
    ls_status (*wait)(void *context);
} ls_state_reader;
typedef struct {
    int64_t buffer;  /* bytes of copies that wait for the disk, at most; 0: 64 MiB */
    double patience; /* seconds without a byte written after which a save is given up; 0: 120 */
    bool read_back;  /* each file is read from the disk again and compared before the checkpoint counts */
    ls_state_reader reader;
} ls_saver_options;
typedef struct {
    int64_t step, bytes;    /* of this rank */
    double written;         /* seconds from begin until this rank's file was on the disk */
    double seconds, waited; /* from begin to the end, and how long of that the calls below took */
} ls_saver_report;

/* Local. LS_EMEM, LS_EARG. */
ls_status ls_saver_open(ls_saver **saver, ls_world *world, const ls_saver_options *options);
/* Local. A save in flight is lost (its .partial stays, which no reader takes), a commit in flight is waited for. */
void ls_saver_close(ls_saver *saver);
/* Collective, when nothing is in flight. LS_OK and nothing in flight afterwards: this very state was saved already. */
ls_status ls_saver_begin(ls_saver *saver, ls_state_tree *tree, const char *run, int64_t step,
                         const ls_checkpoint_options *options);
/* Step of the save in flight, -1: none. The same on all ranks. */
int64_t ls_saver_in_flight(const ls_saver *saver);
/* Local. Returns when all that this rank brings is copied or written, or the save is given up; at once if none is. */
void ls_saver_wait_taken(ls_saver *saver);
/* Local: 2 bits. */
uint8_t ls_saver_vote(ls_saver *saver);
/* Collective. Rank r's vote is votes[r] >> shift, its 2 bits. *over: the save in flight has ended, and this is how: on
 * a failure as ls_checkpoint_save. Not over: LS_OK. */
ls_status ls_saver_poll(ls_saver *saver, const uint8_t *votes, int shift, bool *over);
/* Collective. Waits for the save in flight; its end. LS_OK when there is none. */
ls_status ls_saver_finish(ls_saver *saver);
/* Of the last save. */
ls_saver_report ls_saver_last(const ls_saver *saver);

/* RUN/checkpoints/best (checkpoint/best.h): the step it names, 0: none. A save keeps it in step by itself; after a
 * crash between a commit and that, a run that goes on calls the second on rank 0. */
int64_t ls_checkpoint_best(const char *run);
ls_status ls_checkpoint_point_best(const char *run, int64_t step);

/* Collective, at the start of a run: LS_ESPACE when the disk has no room for `keep` checkpoints of this tree and one
 * more being written, less those that are there. Worth a warning: the disk may change until then, and a save asks
 * again. */
ls_status ls_checkpoint_room(ls_world *world, ls_state_tree *tree, const char *run, int keep);

/* Collective. Rank 0 chooses the newest whole checkpoint of the run, of those whose step `every` divides (0: all); damaged
 * ones are named in a warning and left. *step = -1: the run has none at all (a fresh start). LS_ECORRUPT: there are some,
 * none is whole. */
ls_status ls_checkpoint_latest(ls_world *world, const char *run, int64_t every, int64_t *step, char path[4096]);
/* Local. Removes the run's checkpoints after `step`, but what `best` names: a run that went back to it will come by those
 * steps with another state. Nothing is in flight. */
ls_status ls_checkpoint_remove_after(const char *run, int64_t step);
/* Collective. Fills every entry of `tree` (its memory) slice by slice, whatever rank count wrote it. An entry missing
 * in the file, an extra one in the file, another shape or type: LS_ESTATE naming it. After LS_ECORRUPT the tree's
 * memory holds rubbish. */
ls_status ls_checkpoint_load(ls_world *world, ls_state_tree *tree, const char *path);
/* Numerics id stored in a checkpoint, to say that a run goes on under another one. */
ls_status ls_checkpoint_numerics(const char *path, char id[128]);

/* The commands; no MPI. `path`: a checkpoint folder, or a run folder (its newest). */
ls_status ls_checkpoint_hash(const char *path, uint64_t *hash); /* one hash of the logical state */
/* Reads and checks everything. Of a run folder its newest, whole or not. */
ls_status ls_checkpoint_verify(const char *path);
/* The same by all ranks, which share the files. Collective; the verdict of all is that of the first damaged file. */
ls_status ls_checkpoint_verify_shared(ls_world *world, const char *path);
typedef struct {
    char path[4096]; /* of the checkpoint's folder */
    int64_t step;
    uint64_t save;     /* id of the save, random */
    int schema, ranks; /* ranks that wrote it */
    int64_t tensors, state_bytes, file_bytes;
    char numerics[128];
} ls_checkpoint_info;
ls_status ls_checkpoint_about(const char *path, ls_checkpoint_info *info);
ls_status ls_checkpoint_recipe_text(const char *path, char **text); /* resolved recipe, malloc'ed */
/* One row a tensor: name, type, shape, hash. `row` returns false to stop. */
typedef bool (*ls_checkpoint_row)(void *context, const ls_state_entry *entry, uint64_t hash);
ls_status ls_checkpoint_list(const char *path, ls_checkpoint_row row, void *context);
/* Reads one whole tensor (malloc'ed) by name: what `generate` and `eval` need without a run. */
ls_status ls_checkpoint_read(const char *path, const char *name, ls_state_entry *entry, void **data);
/* Reads the weight "model/NAME" the same way, or its average "ema/NAME" where `averaged` and there is one (*average),
 * with low-rank adapters beside it merged in: what a model computes with. */
ls_status ls_checkpoint_read_weight(const char *path, const char *name, bool averaged, ls_state_entry *entry,
                                    void **data, bool *average);

/* Hash of the live tree, equal to ls_checkpoint_hash of its checkpoint. Collective. hashes[ls_state_count] may be
 * NULL; kind < 0: all kinds that are saved (not gradients). */
ls_status ls_state_hash(ls_world *world, ls_state_tree *tree, int kind, uint64_t *hashes, uint64_t *all);
