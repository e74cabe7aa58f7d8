/* World: who is here, how to reach the others, and how a rank's death reaches them.
 *
 * MPI is initialised once (MPI_THREAD_SERIALIZED) and owned by one communication thread per rank: other threads hand
 * it work and wait. A deadline stands on every wait; when it passes, or when a rank reports an error, each rank
 * returns LS_ETIMEOUT / LS_ECOMM with the sentence of the rank that failed FIRST, and the job ends within seconds.
 * A rank that dies without a word is noticed by the ranks on its machine (and by mpirun); one that stands still is told
 * from one that computes by its heartbeat in the shared window. With flight records (base/flight.h) a rank that hangs, or
 * stands still, is told from one that is only slow: that one works, and is waited for, with a warning a deadline. */
#pragma once
#include "base/error.h"
#include "base/flight.h"
#include "base/trace.h"
#include "base/type.h"

typedef struct ls_world ls_world;

typedef struct {
    double deadline;    /* seconds any wait may last, 0: 300 */
    bool node_per_rank; /* tests: pretend each rank is a node, so that all traffic takes the MPI transport */
} ls_world_options;

/* Collective. Works with and without mpirun (one rank). */
ls_status ls_world_open(ls_world **world, const ls_world_options *options);
/* Another deadline from now on, in seconds; the same on all ranks. */
void ls_world_deadline(ls_world *world, double seconds);
/* Collective, orderly end (MPI_Finalize). */
void ls_world_close(ls_world *world);
/* Ends the whole job: this rank's sentence is put where every rank and the user can read it (first one wins), waiting
 * ranks wake with it, and after a grace of 2 s MPI_Abort. Does not return. exit_code as in design.md section 4. */
_Noreturn void ls_world_abort(ls_world *world, int exit_code, const char *sentence);

int ls_world_rank(const ls_world *world);
int ls_world_ranks(const ls_world *world);
int ls_world_node(const ls_world *world); /* number of this rank's node, nodes in order of their lowest rank */
int ls_world_nodes(const ls_world *world);
int ls_world_node_rank(const ls_world *world); /* this rank's number on its node */
int ls_world_node_ranks(const ls_world *world);
const char *ls_world_host(const ls_world *world);
/* "rank 3 (node07)", in one of a few buffers of the calling thread. */
const char *ls_world_rank_name(const ls_world *world, int rank);
/* The MPI library that is in use, as it names itself, in one line: "Open MPI v4.1.4, package: ...". */
void ls_world_library(char text[128]);

/* Collectives; every rank calls them in the same order. Phase names ("checkpoint commit") appear in a deadline's
 * sentence. All return LS_ECOMM or LS_ETIMEOUT with who and where. */
ls_status ls_barrier(ls_world *world, const char *phase);
ls_status ls_broadcast(ls_world *world, void *data, size_t bytes, int root, const char *phase);
/* all [ranks * bytes] on every rank, in rank order. */
ls_status ls_all_gather_bytes(ls_world *world, const void *mine, size_t bytes, void *all, const char *phase);
/* Each rank brings its own number of bytes; counts[ranks] must be known everywhere. */
ls_status ls_all_gather_varying(ls_world *world, const void *mine, void *all, const size_t *bytes, const char *phase);
/* Each rank and its partner give each other `bytes`, all pairs at once; theirs [bytes] may not overlap mine. A rank that is its own
 * partner sits out, `theirs` is then mine. Every rank calls it, with the same number of bytes. */
ls_status ls_swap(ls_world *world, int partner, const void *mine, void *theirs, size_t bytes, const char *phase);
/* Same status everywhere: the worst one's sentence from the lowest rank that brought it. For "did all of you manage?"
 */
ls_status ls_agree(ls_world *world, ls_status mine, const char *phase);
/* LS_ESTATE naming the first rank whose bytes differ from rank 0's. For numerics ids, recipes, decisions. */
ls_status ls_same_everywhere(ls_world *world, const void *data, size_t bytes, const char *what);
/* What the communication thread does becomes events on the trace's communication lane; NULL: no more, and `trace` may
 * be freed. */
void ls_world_trace(ls_world *world, ls_trace *trace);
/* Where this rank's communication is, and whom it waits for, goes into the flight record from now on, and a rank that is
 * late is looked up in its own. NULL: no more, and `flight` may be closed. */
void ls_world_flight(ls_world *world, ls_flight *flight);
double ls_world_seconds_waited(const ls_world *world); /* communication time so far, for the metrics */
