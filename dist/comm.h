/* The communication thread: the only one that calls MPI, and the one that looks after peers while others compute.
 *
 * Work comes as jobs. A job is a state machine: its step does what can be done without waiting and says whether
 * anything moved. Several jobs run side by side (a reduction goes on while the compute thread asks for a barrier), so
 * none can stand in another's way. Between steps the thread beats its heart, listens for failures, and watches the
 * deadline:
 *
 *     something moved     go round again at once
 *     nothing moved       go round for 20 us, then sleep on this rank's bell: peers on the node ring it, and so
 *                         does the compute thread; MPI cannot, so while a job waits for a far rank the sleep is 50
 *                         to 200 us
 *
 * After the first failure every job, running or new, ends with the sentence of the rank that failed first. */
#pragma once
#include "dist/bell.h"
#include "dist/world.h"

#include <pthread.h>

typedef enum { LS_STEP_IDLE, LS_STEP_MOVED, LS_STEP_DONE, LS_STEP_FAILED } ls_step;

/* Belongs to whoever starts it, until ls_comm_wait has returned. */
typedef struct ls_job ls_job;
struct ls_job {
    const char *phase; /* what the user reads when it takes too long */
    /* On the communication thread. LS_STEP_FAILED: the sentence is that thread's, the code is in `status`. */
    ls_step (*step)(ls_job *job, ls_world *world);
    /* The rank that an idle job waits for, -1: only for this rank itself. NULL: -1. The deadline counts from the last
     * move, and only while a peer is waited for. */
    int (*awaits)(const ls_job *job, const ls_world *world);
    bool alone; /* no peer takes part: its failure is this rank's own affair, not the end of the world */
    /* Called when the world fails while the job runs, before its end is told; NULL: nothing. For what another thread
     * may be stuck in. */
    void (*lost)(ls_job *job);
    int64_t bucket; /* the bucket or piece it is at, from 1, for the flight record; kept by `step`, 0: none */
    /* Filled by comm.c */
    ls_status status;
    _Atomic bool running, cancelled;
    double moved;
    char sentence[1024];
};

enum { LS_COMM_JOBS = 8 };

typedef struct {
    pthread_t thread;
    pthread_mutex_t lock; /* of `inbox` and `inboxes` */
    ls_job *inbox[LS_COMM_JOBS];
    int inboxes;
    ls_job *job[LS_COMM_JOBS]; /* the communication thread's own */
    int jobs;
    ls_bell early;            /* wakes the thread until there is a board */
    ls_bell moved;            /* rung after each move, for those who wait on a job */
    _Atomic bool stop, abort; /* asked of the thread */
    _Atomic int exit_code;    /* for abort */
    double beaten, busy;      /* when the thread's heart beat last, and when something moved last */
    ls_trace *trace;          /* the communication thread's own; NULL: none */
    _Atomic(ls_flight *) flight; /* NULL: none */
    double waited;            /* seconds the compute thread spent in ls_comm_wait */
} ls_comm;

ls_status ls_comm_open(ls_world *world);
/* Ends the thread; no job may be running. */
void ls_comm_close(ls_world *world);

void ls_comm_start(ls_world *world, ls_job *job);
/* Waits for a started job; its failure becomes the caller's. */
ls_status ls_comm_wait(ls_world *world, ls_job *job);
/* Takes a job that can no longer end back from the thread: what it used of peers is lost. Waits until it is out. */
void ls_comm_cancel(ls_world *world, ls_job *job);
/* Start and wait. */
ls_status ls_comm_do(ls_world *world, ls_job *job);
/* A plain function on the communication thread; it may block in MPI, where no deadline is known, so only for opening and
 * closing. Whoever waits for it here ends the job when a rank is missed there for too long (ls_board_missed). */
ls_status ls_comm_call(ls_world *world, const char *phase, ls_status (*call)(ls_world *world, void *argument), void *argument);
/* For a compute thread that watches what a running job does: wait for the next move after `seen`. */
uint32_t ls_comm_moves(ls_world *world);
void ls_comm_await(ls_world *world, uint32_t seen);
/* Wakes this rank's communication thread. */
void ls_comm_ring(ls_world *world);
/* One round of the thread's loop: jobs, heart, failures, and the sleep when nothing moved. The thread's own; where ranks
 * are simulated and have no second thread, whoever waits calls it (bench/simulation/comm_inline.c). */
void ls_comm_turn(ls_world *world);
