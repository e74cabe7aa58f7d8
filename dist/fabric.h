/* What a world stands on, as the rest of dist/ sees it: the world's fields, and the table of functions that hides where
 * ranks come from (MPI processes, or threads of one process: dist/loopback.h). */
#pragma once
#include "dist/board.h"
#include "dist/channel.h"
#include "dist/comm.h"

/* Memory of each near rank that all near ranks may read and write. */
typedef struct {
    void **base; /* [near ranks] */
    void *handle;
} ls_shared;

/* All but `start` may be called on the communication thread only. */
typedef struct {
    /* Fills rank .. near_of below. */
    ls_status (*start)(ls_world *world);
    /* `bytes` of zeros from each near rank, at borders of 64 bytes. Collective among them. LS_ESPACE: the node's shared
     * memory is too small (on all of them alike). */
    ls_status (*share)(ls_world *world, size_t bytes, ls_shared *shared);
    void (*unshare)(ls_world *world, ls_shared *shared);
    /* Failures to and from ranks that are not near. NULL: all are near. */
    void (*listen)(ls_world *world);
    void (*tell)(ls_world *world);
    void (*abort)(ls_world *world, int exit_code);
    void (*stop)(ls_world *world, bool orderly);
} ls_fabric;

enum { LS_HOST_SIZE = 64 };

typedef struct {
    char host[LS_HOST_SIZE];
    int node;
    int near; /* number among the near ranks of its node */
    int pid;
    int pidfd; /* -1: on another host, or cannot be watched */
} ls_peer;

struct ls_world {
    const ls_fabric *fabric;
    void *self; /* the fabric's */
    ls_world_options options;
    int rank, ranks, node, nodes, node_rank, node_ranks;
    ls_peer *peers; /* [ranks] */
    /* Near ranks share memory with this one: its node's, or itself alone where that memory is too small. */
    int near_rank, near_ranks;
    int *near; /* [near_ranks], their numbers in the world */
    ls_shared board_memory;
    ls_board_rank **board;  /* [near_ranks] */
    ls_pulse *pulse;        /* [near_ranks] */
    ls_failure *failure;    /* the node's, on the board of its near rank 0 */
    bool told;              /* the failure has been sent to the far ranks, or came from there */
    _Atomic bool outranked; /* a lower rank failed too, by itself: the job is that one's to end */
    bool closing;           /* ranks may end now without alarm */
    bool told_place;        /* into the log, after a deadline */
    ls_comm comm;
    int channels;        /* opened so far; the same on all ranks */
    ls_channel *channel; /* of the world's own collectives */
    int64_t collectives; /* begun so far; the same on all ranks */
    /* [ranks], scratch of the collectives */
    size_t *sizes;
    ls_segment *segments;
    ls_status *statuses;
};

/* Number of `rank` among the near ranks, -1: it is far. */
int ls_world_near(const ls_world *world, int rank);
/* "rank 3 (node07)" in a static ring of a few buffers of the calling thread. */
const char *ls_world_name(const ls_world *world, int rank);
/* Opens a world on any fabric; the sentence of a failure is the caller's. */
ls_status ls_world_open_on(ls_world **world, const ls_fabric *fabric, void *self, const ls_world_options *options);
