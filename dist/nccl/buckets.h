/* One finished bucket, from all ranks to the owners of its elements; docs/gpu.md draws it. */
#pragma once
#include "dist/nccl/communicator.h"

/* What all ranks bring to an exchange, known by arithmetic alone: rank r the sums of nodes[r], a run of the tree's nodes in
 * grain order; the ranks of group g, together, those of groups[g]. */
typedef struct {
    const ls_block_nodes *nodes; /* [ranks] */
    ls_block_nodes *groups;      /* [groups] */
} ls_nccl_plan;

/* Ranks that add among themselves before their sums go on: those of a machine, where the ranks of every machine are
 * neighbours; else all ranks are one group. */
typedef struct {
    int first, size;
} ls_nccl_group;

/* A sum to be added: whose it is, where it lies. */
typedef struct {
    int from;
    ls_tree_node node;
    float *x;
} ls_nccl_item;

typedef struct {
    ls_reducer *reducer;
    ls_nccl *nccl;
    ls_nccl_group *group; /* [groups] */
    int *group_of;        /* [ranks] */
    int groups;
    float *room; /* what others send: [room_elements] */
    int64_t room_elements;
    float **at; /* [ranks][LS_COUNTER_DEPTH]: this group's sums for each owner that this rank adds them for */
    ls_nccl_item *item;
} ls_nccl_buckets;

/* most: nodes that a rank, and that a group of so many ranks, brings at most. */
ls_status ls_nccl_buckets_open(ls_nccl_buckets *buckets, ls_reducer *r, int (*most)(const ls_reducer *r, int ranks));
void ls_nccl_buckets_close(ls_nccl_buckets *buckets);

/* Both are queued on the communication stream, over elements [begin, begin + count) of the flat buffer. */

/* The tree. mine[k] [count]: this rank's node k; it may be overwritten. Each owner pushes the sums of its part on a copy of
 * `counter`. Its places p lie at own[p], slices; own NULL: the sum ends as the root, and goes to `root`, a slice. */
ls_status ls_nccl_exact(ls_nccl_buckets *buckets, const ls_nccl_plan *plan, int64_t begin, int64_t count, float *const *mine,
                        const ls_counter *counter, float *const *own, float *root);
/* NCCL's own sums. mine [count]: this rank's part. sum: the owner's slice, which the part is written to (`first`) or added to. */
ls_status ls_nccl_fast(ls_nccl_buckets *buckets, int64_t begin, int64_t count, const float *mine, float *sum, bool first);

/* Elements of a bucket; how many buckets there are; bytes of this rank's slice; chunks of `count` elements; of each bucket. */
int64_t ls_nccl_bucket_count(const ls_reducer *r, int64_t bucket);
int64_t ls_nccl_bucket_number(const ls_reducer *r);
size_t ls_nccl_slice_bytes(const ls_reducer *r);
int64_t ls_nccl_chunks(int64_t count);
void ls_nccl_count_missing(const ls_reducer *r, int64_t *missing);
/* The end of a step: waits, if all was queued; else nobody can wait any more. */
ls_status ls_nccl_end_step(ls_nccl *nccl, ls_status status);
/* Before a reducer's memory is freed: the device must be done with it. Inside a step peers may never come. */
void ls_nccl_end_streams(const ls_reducer *r);
