/* A state whose every element is a function of (seed, tensor, element), so that any rank of any rank count can be asked
 * whether it holds the right bits. For the tests and for the rank program they start under mpirun. */
#pragma once
#include "checkpoint/checkpoint.h"
#include "checkpoint/format.h"

enum { TENSORS = 12 };
typedef struct {
    ls_state_tree *tree;
    void *memory[TENSORS]; /* of the slice this rank holds */
    uint64_t seed;
    int rank, ranks;
} state;

/* The state of `seed`, cut for this rank. Chunks are dealt evenly, whole tensors shifted so that small ones are not
 * all on rank 0. */
void state_make(state *s, uint64_t seed, int rank, int ranks);
void state_clear(state *s); /* all memory to 0xa5 */
void state_free(state *s);
/* The first tensor that has not the bits of its seed, NULL: all have. What a checkpoint does not hold is not asked. */
const char *state_difference(const state *s);
const ls_state_entry *state_row(int tensor); /* name, kind, type, flags, shape */
void state_values(uint64_t seed, int tensor, int64_t begin, int64_t count, void *out);

/* Bodies. `path`: for load; NULL: the newest of the run. */
typedef struct {
    const char *run, *path;
    int64_t step;
    uint64_t seed, hash; /* hash: rank 0's ls_state_hash */
    int keep;
    int64_t keep_every, buffer; /* ls_checkpoint_options.keep_every; ls_saver_options.buffer, 0: 64 KiB, so in several pieces */
    double patience;            /* ls_saver_options.patience */
    bool read_back;             /* ls_saver_options.read_back */
    int64_t best;   /* ls_checkpoint_options.best */
    int64_t loaded; /* step that was found */
} job;
ls_status save_body(ls_world *world, void *job);
/* The same while the state changes as training changes it: the task's as soon as the save has begun, the rest once it is
 * taken, with a vote at each border. */
ls_status save_async_body(ls_world *world, void *job);
/* From after ls_saver_begin to the end of the save. */
ls_status save_under_way(ls_world *world, ls_saver *saver, const state *s);
ls_status load_body(ls_world *world, void *job); /* LS_ENUMERIC names a tensor whose bits are wrong */
ls_status hash_body(ls_world *world, void *job);
