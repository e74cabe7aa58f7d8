/* The failure board of a node: a small shared window in which each near rank has its bell, heartbeat and phase, and in
 * which the first rank that fails writes its sentence. The first one wins, for ever: what follows a failure on other
 * ranks is mostly its echo, and only the cause helps. */
#pragma once
#include "dist/bell.h"
#include "dist/world.h"

enum { LS_SENTENCE_SIZE = 1024, LS_PHASE_SIZE = 48 };

typedef struct {
    _Atomic int claimed; /* by compare and swap */
    _Atomic int written; /* what follows is whole */
    int rank, exit_code;
    ls_status code; /* what waiting ranks return */
    char sentence[LS_SENTENCE_SIZE];
} ls_failure;

typedef struct {
    ls_bell bell;               /* wakes this rank's communication thread */
    _Atomic uint64_t heartbeat; /* of the communication thread, about ten a second even while the others compute */
    _Atomic bool aborting;      /* in ls_world_abort */
    char phase[LS_PHASE_SIZE];  /* of the last job it began */
    ls_failure failure;         /* of the node; near rank 0's is used */
} ls_board_rank;

/* When a peer's heart was last seen to beat; kept by each rank for itself. */
typedef struct {
    uint64_t beat;
    double since;
} ls_pulse;

/* Writes the failure if it is the first. Every near rank wakes, far ones are told by the communication thread, and the
 * rank that won says it on stderr. True: this was the first. Any thread. */
bool ls_board_fail(ls_world *world, ls_status code, int exit_code, const char *sentence);
/* As told by a far rank: written for the node, not said again. When nodes fail at once the lowest failed rank of all
 * ends the job: the mpirun of Open MPI 4.1 can crash over two MPI_Abort at the same time. */
void ls_board_hear(ls_world *world, const ls_failure *failure);
/* LS_OK, or the first failure's code with its sentence as the calling thread's. */
ls_status ls_board_status(const ls_world *world);
/* One beat: the heart, dead peers, the far ranks' news. Communication thread only. */
void ls_board_beat(ls_world *world);
/* `rank` has not come to `phase` within the deadline. True: its flight record shows that it works, and has begun
 * something else since: it is slow, which is a warning. Else ls_board_overdue is called for. */
bool ls_board_is_slow(ls_world *world, int rank, const char *phase, double seconds);
/* After a deadline passed: where this rank was, and the backtrace of its main thread, go into its log, once. */
void ls_board_tell_place(ls_world *world);
/* Fails the world because `rank` did not come to `phase` in time. */
ls_status ls_board_overdue(ls_world *world, int rank, const char *phase, double seconds);
/* The communication thread has been in a call of MPI, `phase`, for `seconds`, whole deadlines: somebody does not come. Ends
 * the job when a rank of this machine is stopped, with its name, or when MPI does not even start; else it warns, and ends the
 * job after ten deadlines. Called by the thread that waits for the other one. */
void ls_board_missed(ls_world *world, const char *phase, double seconds);
void ls_board_ring_all(ls_world *world);
