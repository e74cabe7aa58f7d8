/* World: opening, closing, aborting, and who is who. */
#include "dist/world.h"

#include "base/backtrace.h"
#include "base/log.h"
#include "dist/fabric.h"
#include "dist/mpi_fabric.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEADLINE_SECONDS 300.0
#define GRACE_SECONDS    2.0

/* Slots of the world's own collectives: what one waits for is mostly a few numbers, sometimes a recipe or a manifest.
 */
enum { COLLECTIVE_SLOTS = 4, COLLECTIVE_SLOT_BYTES = 256 * 1024 };

static ls_status start_fabric(ls_world *world, void *argument)
{
    (void)argument;
    return world->fabric->start(world);
}

static ls_status put_up_board(ls_world *world, void *argument)
{
    (void)argument;
    ls_status status = world->fabric->share(world, sizeof(ls_board_rank), &world->board_memory);
    if (status != LS_OK)
        return status;
    world->pulse = calloc((size_t)world->near_ranks, sizeof *world->pulse);
    if (!world->pulse)
        return ls_fail(LS_EMEM, "no memory for a world of %d ranks", world->ranks);
    world->failure = &((ls_board_rank *)world->board_memory.base[0])->failure;
    world->board = (ls_board_rank **)world->board_memory.base;
    return LS_OK;
}

static ls_status take_down(ls_world *world, void *argument)
{
    bool orderly = *(bool *)argument;
    ls_shared memory = world->board_memory;
    world->board = NULL; /* the thread goes back to its early bell */
    world->failure = NULL;
    if (orderly)
        world->fabric->unshare(world, &memory);
    world->fabric->stop(world, orderly);
    return LS_OK;
}

static ls_status make_scratch(ls_world *world)
{
    world->sizes = calloc((size_t)world->ranks, sizeof *world->sizes);
    world->segments = calloc((size_t)world->ranks, sizeof *world->segments);
    world->statuses = calloc((size_t)world->ranks, sizeof *world->statuses);
    if (!world->sizes || !world->segments || !world->statuses)
        return ls_fail(LS_EMEM, "no memory for a world of %d ranks", world->ranks);
    return LS_OK;
}

ls_status ls_world_open_on(ls_world **out, const ls_fabric *fabric, void *self, const ls_world_options *options)
{
    *out = NULL;
    ls_world *world = calloc(1, sizeof *world);
    if (!world)
        return ls_fail(LS_EMEM, "no memory for a world");
    world->fabric = fabric;
    world->self = self;
    if (options)
        world->options = *options;
    if (world->options.deadline <= 0)
        world->options.deadline = DEADLINE_SECONDS;
    ls_status status = ls_comm_open(world);
    if (status != LS_OK) {
        free(world);
        return status;
    }
    status = ls_comm_call(world, "start of MPI", start_fabric, NULL);
    if (status == LS_OK)
        status = ls_comm_call(world, "opening of the world", put_up_board, NULL);
    ls_channel_options channel = {
        .slots = COLLECTIVE_SLOTS, .slot_bytes = COLLECTIVE_SLOT_BYTES, .name = "collectives"};
    if (status == LS_OK)
        status = ls_channel_open(&world->channel, world, &channel);
    if (status == LS_OK)
        status = make_scratch(world);
    if (status == LS_OK)
        *out = world;
    else
        ls_comm_close(world); /* what MPI holds ends with the process, which cannot go on without a world */
    return status;
}

ls_status ls_world_open(ls_world **world, const ls_world_options *options)
{
    ls_status status = ls_world_open_on(world, &ls_fabric_mpi, NULL, options);
    if (status == LS_OK)
        ls_log_identity((*world)->rank, (*world)->ranks);
    ls_backtrace_watch();
    return status;
}

void ls_world_close(ls_world *world)
{
    if (!world)
        return;
    /* The barrier may hold here though another rank left it when it read of a failure: the board decides for both. */
    bool orderly = ls_barrier(world, "end of the run") == LS_OK && ls_board_status(world) == LS_OK;
    world->closing = true;
    ls_channel_close(world->channel);
    ls_comm_call(world, "end of MPI", take_down, &orderly);
    ls_comm_close(world);
    free(world->peers);
    free(world->near);
    free(world->pulse);
    free(world->sizes);
    free(world->segments);
    free(world->statuses);
    free(world);
}

static bool failed_first(const ls_world *world)
{
    return atomic_load(&world->failure->written) && world->failure->rank == world->rank &&
           !atomic_load(&world->outranked);
}

/* The rank that failed first waits for the others to learn of it, and no longer once all of them are ending too; the
 * others leave it the time to do so, and end the job themselves if it cannot. */
static void wait_for_grace(ls_world *world)
{
    double begin = ls_now();
    while (ls_now() < begin + (failed_first(world) ? GRACE_SECONDS : 2 * GRACE_SECONDS)) {
        int aborting = 0;
        for (int k = 0; k < world->near_ranks; k++)
            aborting += atomic_load(&world->board[k]->aborting);
        if (failed_first(world) && aborting == world->ranks)
            break;
        usleep(20000);
    }
}

_Noreturn void ls_world_abort(ls_world *world, int exit_code, const char *sentence)
{
    if (!world || !world->board) {
        ls_log_write(LS_LOG_ERROR, "world", "%s", sentence);
        fflush(NULL);
        _exit(exit_code);
    }
    char whole[LS_SENTENCE_SIZE];
    snprintf(whole, sizeof whole, "%s: %s", ls_world_name(world, world->rank), sentence);
    ls_board_fail(world, LS_ECOMM, exit_code, world->ranks > 1 ? whole : sentence);
    atomic_store(&world->board[world->near_rank]->aborting, true);
    fflush(NULL);
    wait_for_grace(world);
    if (atomic_load(&world->failure->written))
        exit_code = world->failure->exit_code;
    atomic_store(&world->comm.exit_code, exit_code);
    atomic_store(&world->comm.abort, true);
    ls_comm_ring(world);
    usleep(1000000); /* the thread may be stuck inside MPI */
    _exit(exit_code);
}

int ls_world_rank(const ls_world *world)
{
    return world->rank;
}

int ls_world_ranks(const ls_world *world)
{
    return world->ranks;
}

int ls_world_node(const ls_world *world)
{
    return world->node;
}

int ls_world_nodes(const ls_world *world)
{
    return world->nodes;
}

int ls_world_node_rank(const ls_world *world)
{
    return world->node_rank;
}

int ls_world_node_ranks(const ls_world *world)
{
    return world->node_ranks;
}

const char *ls_world_rank_name(const ls_world *world, int rank)
{
    return ls_world_name(world, rank);
}

const char *ls_world_host(const ls_world *world)
{
    return world->peers[world->rank].host;
}

int ls_world_near(const ls_world *world, int rank)
{
    return world->peers[rank].near;
}

const char *ls_world_name(const ls_world *world, int rank)
{
    static _Thread_local char names[4][LS_HOST_SIZE + 32];
    static _Thread_local unsigned next;
    char *name = names[next++ % 4];
    snprintf(name, sizeof names[0], "rank %d (%s)", rank, world->peers[rank].host);
    return name;
}

double ls_world_seconds_waited(const ls_world *world)
{
    return world->comm.waited;
}
