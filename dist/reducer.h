/* What the parts of the reducer share: the struct, and one table for each schedule. */
#pragma once
#include "base/arena.h"
#include "dist/counter.h"
#include "dist/fabric.h"
#include "dist/reduce.h"

enum {
    LS_REDUCE_SLOTS = 8,
    LS_REDUCE_BUCKET = 256 * 1024,
    /* Elements of a piece where nothing else sets its size: all slots together then stay in the cache between the rank
     * that writes and the one that reads (64 MiB on two ranks: 44 ms, with pieces of a bucket 55; bench_tree). */
    LS_REDUCE_PIECE = 64 * 1024,
    LS_REDUCE_LEAST = 64, /* elements of a node in a piece, however many ranks and nodes share a slot */
};

/* Called on the compute thread; `self` is the schedule's own. Arguments have been checked. */
typedef struct {
    ls_status (*open)(ls_reducer *r);
    void (*close)(ls_reducer *r);
    ls_status (*begin)(ls_reducer *r);
    /* Whole chunks are marked as covered by the caller; what lies behind `count` in the last chunk counts as zeros. */
    ls_status (*add)(ls_reducer *r, int64_t begin, int64_t count, float *gradient);
    /* Where `add` would put elements from `begin` on of this grain, if it just copied them; NULL: it would not, or (also the
     * function) never does. */
    float *(*place)(const ls_reducer *r, int64_t begin);
    ls_status (*grain_end)(ls_reducer *r);
    ls_status (*finish)(ls_reducer *r, float **slice_sum);
} ls_schedule_table;

extern const ls_schedule_table ls_schedule_block, ls_schedule_round;

struct ls_exchange {
    const char *name; /* "NCCL 2.28.3, exact sums" */
    const ls_schedule_table *block, *round;
    /* ls_all_gather_slices; false: not in this memory */
    bool (*reaches)(const ls_exchange *exchange, const void *data);
    ls_status (*gather)(ls_reducer *r, ls_type type, void *data);
    void (*close)(ls_exchange *exchange);
};

typedef struct {
    int64_t begin, count;
} ls_slice_range;

struct ls_reducer {
    ls_world *world;
    ls_device *device;
    ls_reduce_options options;
    const ls_schedule_table *schedule;
    void *self;
    const ls_exchange *exchange; /* NULL: a channel, or shared sums */
    void *beside;                /* the exchange's own */
    int rank, ranks;
    int64_t elements, chunks, bucket; /* bucket: elements, at most all */
    ls_slice_range *slice;            /* [ranks] */
    int64_t largest_slice;
    ls_channel *channel;  /* NULL: one rank */
    ls_segment *segments; /* [ranks] */
    const float **source; /* [ranks], what the others offered in the exchange being added */
    size_t *sizes;        /* [ranks] */
    double *chunk_sums;   /* [chunks], of norms */
    bool shares_sums; /* `block` exchanges nothing: partial sums lie in shared memory */
    bool in_step;
    bool abandoned;              /* closed inside a step: peers may still look at the slots */
    int64_t grains, mine, ended; /* of the step, of this rank, ended so far */
    uint8_t *covered;            /* [chunks], of the grain */
    char description[128];
};

/* Elements of `size` bytes that make a piece. */
int64_t ls_piece_room(const ls_reducer *r, size_t size);
/* Slices travel in pieces of `width` elements: how many of rank's slice exchange e carries. */
int64_t ls_piece(const ls_reducer *r, int rank, int64_t exchange, int64_t width);

/* The maximal nodes of the tree in a rank's block, in grain order (`block`). */
typedef struct {
    int count;
    ls_tree_node node[128];
} ls_block_nodes;
/* What each rank will end with, [ranks], and where this rank's are: partial[0], ... [elements] each. */
const ls_block_nodes *ls_block_plan(const ls_reducer *r);
float *const *ls_block_partials(const ls_reducer *r);
/* Adds all ranks' nodes in the tree's order into this rank's partial sum 0, elements [at, at + n) of its slice. Node k of
 * a rank lies at source[rank] + k * stride; of this rank itself in its partial sums. Communication thread. */
void ls_block_add(ls_reducer *r, const ls_block_nodes *nodes, const float *const *source, int64_t stride, int64_t at,
                  int64_t n);

/* Recursive halving (halving.c): may this step's partial sums be exchanged that way? The same on all ranks. */
bool ls_halving_fits(const ls_reducer *r);
/* partial [elements]: this rank's one node; its own slice of it becomes the sum. */
ls_status ls_halving_run(ls_reducer *r, float *partial);
