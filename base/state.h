/* State tree: everything a resume needs, as named tensors. If it is not in here it does not exist after a restart.
 *
 * Names are paths a user understands in h5dump: "model/blocks/0/attention/query/weight", "optimizer/first_moment/...",
 * "sampler/position", "task/...". checkpoint/ is the only reader and writer of the tree as a whole.
 *
 * A tensor may be spread over the ranks: this rank's memory holds elements [begin, begin + held) of its row-major
 * whole, both whole chunks of LS_CHUNK (but for the tensor's end). held = 0: this rank holds nothing of it.
 * A replicated tensor has begin = 0 and held = all on every rank; rank 0 writes it, every rank reads it. */
#pragma once
#include "base/error.h"
#include "base/type.h"

typedef enum {
    LS_STATE_REPLICATED = 1u << 0, /* every rank holds all of it */
    LS_STATE_UNHASHED = 1u << 1,   /* left out of `ckpt hash`: times, rank counts, throughput */
} ls_state_flag;

/* The order in which `prove` looks for the first difference. */
typedef enum { LS_STATE_PARAMETER, LS_STATE_GRADIENT, LS_STATE_MOMENT, LS_STATE_TASK, LS_STATE_KINDS } ls_state_kind;

typedef struct {
    const char *name; /* owned by the tree */
    ls_state_kind kind;
    ls_type type;
    unsigned flags;
    int ndim;
    int64_t shape[LS_MAX_DIMS];
    int64_t begin, held;
    void *data; /* element `begin`; owned by whoever registered it, must outlive the tree */
} ls_state_entry;

typedef struct ls_state_tree ls_state_tree;

ls_state_tree *ls_state_create(void); /* NULL: no memory */
void ls_state_free(ls_state_tree *tree);
/* Copies *entry and its name. LS_EEXIST: the name is taken. LS_EARG: empty name, '/' at an end, or a name that is a
 * folder of another. */
ls_status ls_state_add(ls_state_tree *tree, const ls_state_entry *entry);
/* A replicated scalar [] of 64-bit integer or double. */
ls_status ls_state_add_i64(ls_state_tree *tree, const char *name, unsigned flags, int64_t *value);
ls_status ls_state_add_f64(ls_state_tree *tree, const char *name, unsigned flags, double *value);
int ls_state_count(const ls_state_tree *tree);
/* In order of name (byte-wise), so that every rank walks the same way. */
const ls_state_entry *ls_state_at(ls_state_tree *tree, int index);
const ls_state_entry *ls_state_find(ls_state_tree *tree, const char *name); /* NULL: not there */
int64_t ls_state_elements(const ls_state_entry *entry);
