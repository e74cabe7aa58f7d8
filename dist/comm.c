/* The communication thread's loop, and how it is given work. */
#include "dist/comm.h"

#include "dist/fabric.h"

#include <stdio.h>

#define SPIN_SECONDS 20e-6
#define BEAT_SECONDS 0.1

static bool any_awaits(const ls_comm *comm)
{
    for (int k = 0; k < comm->jobs; k++)
        if (!comm->job[k]->alone)
            return true;
    return false;
}

static void finish(ls_world *world, int at, ls_status status)
{
    ls_comm *comm = &world->comm;
    ls_job *job = comm->job[at];
    comm->job[at] = comm->job[--comm->jobs];
    job->status = status;
    if (!any_awaits(comm))
        ls_flight_awaits(comm->flight, -1, 0);
    if (status != LS_OK)
        snprintf(job->sentence, sizeof job->sentence, "%s", ls_fail_sentence());
    atomic_store(&job->running, false); /* from here on the job may be gone */
    ls_bell_ring(&comm->moved);
}

static void take_new_jobs(ls_comm *comm)
{
    pthread_mutex_lock(&comm->lock);
    for (int k = 0; k < comm->inboxes; k++) {
        comm->inbox[k]->moved = ls_now();
        if (!comm->inbox[k]->alone)
            ls_flight_phase(comm->flight, LS_FLIGHT_COMMUNICATION, comm->inbox[k]->phase);
        comm->job[comm->jobs++] = comm->inbox[k];
    }
    comm->inboxes = 0;
    pthread_mutex_unlock(&comm->lock);
}

/* What the world did not survive ends the job; what only this job could not do goes to the others as a failure too,
 * since they wait for this rank's part. */
static void fail_job(ls_world *world, int at, ls_status status)
{
    if (world->failure && !world->comm.job[at]->alone) {
        if (ls_board_status(world) == LS_OK) {
            char sentence[LS_SENTENCE_SIZE];
            snprintf(sentence, sizeof sentence, "%s: %s", world->comm.job[at]->phase, ls_fail_sentence());
            ls_board_fail(world, status, ls_status_exit_code(status), sentence);
        }
        const ls_status heard = ls_board_status(world);
        status = heard == LS_OK ? status : heard; /* OK: who was first died before it wrote why */
    }
    finish(world, at, status);
}

/* One round over the jobs; true: something moved. *far: a job waits for a rank that cannot ring our bell. */
static bool step_jobs(ls_world *world, bool *far)
{
    ls_comm *comm = &world->comm;
    bool moved = false;
    *far = false;
    for (int k = comm->jobs - 1; k >= 0; k--) {
        ls_job *job = comm->job[k];
        if (atomic_load(&job->cancelled)) {
            finish(world, k, ls_fail(LS_ECOMM, "%s was given up", job->phase));
            continue;
        }
        const int64_t begin = ls_trace_begin(comm->trace);
        const ls_step step = job->step(job, world);
        if (step != LS_STEP_IDLE)
            ls_trace_end(comm->trace, LS_TRACE_COMMUNICATION, LS_TRACE_JOB, job->phase, begin, 0, 0);
        switch (step) {
        case LS_STEP_DONE:
            finish(world, k, LS_OK);
            moved = true;
            break;
        case LS_STEP_FAILED:
            fail_job(world, k, job->status);
            moved = true;
            break;
        case LS_STEP_MOVED:
            job->moved = ls_now();
            ls_bell_ring(&comm->moved);
            moved = true;
            break;
        case LS_STEP_IDLE: {
            if (job->alone)
                break;
            int rank = job->awaits ? job->awaits(job, world) : -1;
            ls_flight_awaits(comm->flight, rank, job->moved);
            ls_flight_bucket(comm->flight, LS_FLIGHT_COMMUNICATION, job->bucket);
            if (rank < 0) {
                job->moved = ls_now(); /* it is this rank that is not ready; no peer is late */
                break;
            }
            *far = *far || ls_world_near(world, rank) < 0;
            if (ls_now() - job->moved <= world->options.deadline)
                break;
            if (ls_board_is_slow(world, rank, job->phase, world->options.deadline))
                job->moved = ls_now();
            else
                ls_board_overdue(world, rank, job->phase, world->options.deadline);
        }
        }
    }
    return moved;
}

static void beat(ls_world *world, double *last)
{
    double now = ls_now();
    if (!world->board || now - *last < BEAT_SECONDS)
        return;
    *last = now;
    ls_flight_beat(world->comm.flight);
    ls_board_beat(world);
}

static ls_bell *own_bell(ls_world *world)
{
    return world->board ? &world->board[world->near_rank]->bell : &world->comm.early;
}

void ls_comm_turn(ls_world *world)
{
    ls_comm *comm = &world->comm;
    ls_bell *bell = own_bell(world);
    uint32_t seen = ls_bell_read(bell);
    take_new_jobs(comm);
    bool far, moved = step_jobs(world, &far);
    beat(world, &comm->beaten);
    if (world->failure && atomic_load(&world->failure->written)) {
        ls_board_tell_place(world);
        while (comm->jobs > 0) {
            ls_job *job = comm->job[comm->jobs - 1];
            if (job->lost)
                job->lost(job);
            finish(world, comm->jobs - 1, ls_board_status(world));
        }
    }
    if (atomic_load(&comm->abort)) {
        if (world->fabric->tell && world->failure && !world->told) {
            world->told = true;
            world->fabric->tell(world);
        }
        world->fabric->abort(world, atomic_load(&comm->exit_code));
    }
    if (moved)
        comm->busy = ls_now();
    double idle = ls_now() - comm->busy;
    if (idle > SPIN_SECONDS && bell == own_bell(world)) /* a job may have taken the board down, and its bell with it */
        ls_bell_wait(bell, seen, !far ? BEAT_SECONDS : idle < 1e-3 ? 50e-6 : 200e-6);
}

void ls_comm_ring(ls_world *world)
{
    ls_bell_ring(&world->comm.early);
    if (world->board)
        ls_bell_ring(&world->board[world->near_rank]->bell);
}

void ls_comm_start(ls_world *world, ls_job *job)
{
    ls_comm *comm = &world->comm;
    job->status = LS_OK;
    atomic_store(&job->running, true);
    pthread_mutex_lock(&comm->lock);
    comm->inbox[comm->inboxes++] = job;
    if (world->board) /* inside the lock: the job may be the one that takes the board down */
        snprintf(world->board[world->near_rank]->phase, LS_PHASE_SIZE, "%s", job->phase);
    ls_comm_ring(world);
    pthread_mutex_unlock(&comm->lock);
}

ls_status ls_comm_wait(ls_world *world, ls_job *job)
{
    double begin = ls_now();
    ls_flight_waits(world->comm.flight, true);
    for (;;) {
        uint32_t seen = ls_comm_moves(world);
        if (!atomic_load(&job->running))
            break;
        ls_comm_await(world, seen);
    }
    ls_flight_waits(world->comm.flight, false);
    world->comm.waited += ls_now() - begin;
    return ls_fail_copy(job->status, job->sentence);
}

void ls_comm_cancel(ls_world *world, ls_job *job)
{
    atomic_store(&job->cancelled, true);
    ls_comm_ring(world);
    ls_comm_wait(world, job);
}

ls_status ls_comm_do(ls_world *world, ls_job *job)
{
    ls_comm_start(world, job);
    return ls_comm_wait(world, job);
}

typedef struct {
    ls_job job;
    ls_status (*call)(ls_world *world, void *argument);
    void *argument;
} plain_call;

static ls_step call_step(ls_job *job, ls_world *world)
{
    plain_call *call = (plain_call *)job;
    job->status = call->call(world, call->argument);
    return job->status == LS_OK ? LS_STEP_DONE : LS_STEP_FAILED;
}

/* MPI's own calls have no deadline, and the thread that is in one neither beats nor listens: this one looks. */
static void watch(ls_world *world, ls_job *job)
{
    const double begin = ls_now();
    for (double next = world->options.deadline; atomic_load(&job->running);) {
        const uint32_t seen = ls_comm_moves(world);
        if (!atomic_load(&job->running))
            break;
        ls_comm_await(world, seen);
        if (ls_now() - begin < next)
            continue;
        ls_board_missed(world, job->phase, next);
        next += world->options.deadline;
    }
}

ls_status ls_comm_call(ls_world *world, const char *phase, ls_status (*call)(ls_world *world, void *argument), void *argument)
{
    plain_call work = {.job = {.phase = phase, .step = call_step, .alone = true}, .call = call, .argument = argument};
    ls_comm_start(world, &work.job);
    watch(world, &work.job);
    return ls_comm_wait(world, &work.job);
}

static ls_status set_trace(ls_world *world, void *trace)
{
    world->comm.trace = trace;
    return LS_OK;
}

void ls_world_trace(ls_world *world, ls_trace *trace)
{
    ls_comm_call(world, "setting", set_trace, trace);
}

static ls_status set_deadline(ls_world *world, void *seconds)
{
    world->options.deadline = *(const double *)seconds;
    return LS_OK;
}

void ls_world_deadline(ls_world *world, double seconds)
{
    ls_comm_call(world, "setting", set_deadline, &seconds);
}

static ls_status set_flight(ls_world *world, void *flight)
{
    world->comm.flight = flight;
    return LS_OK;
}

void ls_world_flight(ls_world *world, ls_flight *flight)
{
    ls_comm_call(world, "setting", set_flight, flight);
}

uint32_t ls_comm_moves(ls_world *world)
{
    return ls_bell_read(&world->comm.moved);
}
