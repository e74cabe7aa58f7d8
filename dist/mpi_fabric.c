/* The fabric of real runs: ranks are MPI processes, found by mpirun or srun, or this process alone.
 *
 * Failures travel to other nodes as small messages on a communicator of their own; each rank keeps one receive open for
 * them. MPI reports errors by code (MPI_ERRORS_RETURN), so that they end in a sentence like all others. */
#include "dist/mpi_fabric.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SHARED_MEMORY "/dev/shm"

/* MPI promises no border for a window's memory (Open MPI puts its own words before it), and maps whole pages, so the
 * way to the next border is the same in all processes. */
enum { ALIGN = 64 };

ls_status ls_mpi_check(int error, const char *call)
{
    if (error == MPI_SUCCESS)
        return LS_OK;
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length = 0;
    MPI_Error_string(error, text, &length);
    return ls_fail(LS_ECOMM, "%s failed: %s", call, text);
}

void ls_world_library(char text[128])
{
    char all[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(all, &length);
    all[strcspn(all, "\n")] = '\0';
    snprintf(text, 128, "%.127s", all);
}

/* srun without MPI support, or the mpirun of another MPI, starts N processes that each believe to be alone and would all
 * write one run folder. */
static ls_status refuse_lone_tasks(const ls_world *world)
{
    const char *tasks = getenv("SLURM_STEP_NUM_TASKS"), *foreign = getenv("PMI_SIZE");
    if (world->ranks > 1 || getenv("OMPI_COMM_WORLD_SIZE"))
        return LS_OK;
    if (tasks && atoi(tasks) > 1)
        return ls_fail(LS_ECOMM,
                       "srun started %s tasks, but MPI sees one rank in each; use `srun --mpi=pmix`, or mpirun inside "
                       "the allocation",
                       tasks);
    char library[128];
    ls_world_library(library);
    if (foreign && atoi(foreign) > 1)
        return ls_fail(LS_ECOMM,
                       "the mpirun of another MPI started %s processes (PMI_SIZE), but each sees itself alone: lockstep is "
                       "linked to %.*s; start it with the mpirun of that one (`mpirun --version` tells whose it is)",
                       foreign, (int)strcspn(library, ","), library);
    return LS_OK;
}

static double free_shared_memory(void)
{
    struct statvfs space;
    if (statvfs(SHARED_MEMORY, &space) != 0)
        return 0;
    return (double)space.f_bavail * (double)space.f_frsize;
}

typedef struct {
    char host[LS_HOST_SIZE];
    int leader; /* lowest rank of the node */
    int pid;
    uint64_t pid_space; /* a process number means something only in its name space */
} card;

static card own_card(int leader)
{
    card mine = {.leader = leader, .pid = getpid()};
    gethostname(mine.host, sizeof mine.host - 1);
    struct stat space;
    if (stat("/proc/self/ns/pid", &space) == 0)
        mine.pid_space = space.st_ino;
    return mine;
}

/* Nodes are numbered in order of their lowest rank. */
static void number_nodes(ls_world *world, const card *cards)
{
    world->nodes = 0;
    for (int rank = 0; rank < world->ranks; rank++) {
        ls_peer *peer = &world->peers[rank];
        memcpy(peer->host, cards[rank].host, sizeof peer->host);
        peer->pid = cards[rank].pid;
        peer->node = cards[rank].leader == rank ? world->nodes++ : world->peers[cards[rank].leader].node;
        bool same =
            cards[rank].pid_space == cards[world->rank].pid_space && !strcmp(peer->host, cards[world->rank].host);
        peer->pidfd = same && rank != world->rank ? (int)syscall(SYS_pidfd_open, peer->pid, 0) : -1;
    }
    world->node = world->peers[world->rank].node;
    world->node_ranks = world->node_rank = 0;
    for (int rank = 0; rank < world->ranks; rank++) {
        if (world->peers[rank].node != world->node)
            continue;
        if (rank < world->rank)
            world->node_rank++;
        world->node_ranks++;
    }
}

/* Near are the ranks of the node, if its shared memory has room for a board; else each rank is near itself only. */
static ls_status find_near(ls_world *world, ls_mpi *mpi, MPI_Comm node)
{
    int room = free_shared_memory() > 4e6 * world->node_ranks;
    MPI_Bcast(&room, 1, MPI_INT, 0, node);
    if (!room && world->node_ranks > 1 && world->node_rank == 0)
        ls_log_write(LS_LOG_WARN, "dist",
                     "%s has %.1f MiB free, too little to share among %d ranks; MPI carries all, which is slower",
                     SHARED_MEMORY, free_shared_memory() / 1048576.0, world->node_ranks);
    ls_status status =
        ls_mpi_check(MPI_Comm_split(node, room ? 0 : world->node_rank, world->node_rank, &mpi->near), "MPI_Comm_split");
    if (status != LS_OK)
        return status;
    world->near_ranks = room ? world->node_ranks : 1;
    world->near_rank = room ? world->node_rank : 0;
    world->near = calloc((size_t)world->near_ranks, sizeof *world->near);
    if (!world->near)
        return ls_fail(LS_EMEM, "no memory for a world of %d ranks", world->ranks);
    int count = 0;
    for (int rank = 0; rank < world->ranks; rank++) {
        bool near = rank == world->rank || (room && world->peers[rank].node == world->node);
        world->peers[rank].near = near ? count : -1;
        if (near)
            world->near[count++] = rank;
    }
    return LS_OK;
}

static ls_status find_peers(ls_world *world, ls_mpi *mpi)
{
    MPI_Comm node;
    if (world->options.node_per_rank)
        MPI_Comm_split(mpi->data, world->rank, 0, &node);
    else
        MPI_Comm_split_type(mpi->data, MPI_COMM_TYPE_SHARED, world->rank, MPI_INFO_NULL, &node);
    int leader = world->rank;
    MPI_Bcast(&leader, 1, MPI_INT, 0, node);
    card mine = own_card(leader), *cards = calloc((size_t)world->ranks, sizeof *cards);
    world->peers = calloc((size_t)world->ranks, sizeof *world->peers);
    ls_status status = LS_OK;
    if (!cards || !world->peers)
        status = ls_fail(LS_EMEM, "no memory for a world of %d ranks", world->ranks);
    if (status == LS_OK)
        status = ls_mpi_check(MPI_Allgather(&mine, sizeof mine, MPI_BYTE, cards, sizeof mine, MPI_BYTE, mpi->data),
                              "MPI_Allgather");
    if (status == LS_OK) {
        number_nodes(world, cards);
        status = find_near(world, mpi, node);
    }
    free(cards);
    MPI_Comm_free(&node);
    return status;
}

static void open_news(ls_mpi *mpi)
{
    MPI_Irecv(&mpi->heard, sizeof mpi->heard, MPI_BYTE, MPI_ANY_SOURCE, 0, mpi->control, &mpi->news);
}

static ls_status start(ls_world *world)
{
    ls_mpi *mpi = calloc(1, sizeof *mpi);
    if (!mpi)
        return ls_fail(LS_EMEM, "no memory for MPI's handles");
    world->self = mpi;
    int provided;
    ls_status status = ls_mpi_check(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
    if (status != LS_OK)
        return status;
    if (provided < MPI_THREAD_SERIALIZED)
        return ls_fail(LS_ECOMM,
                       "this MPI cannot be called from a thread (MPI_THREAD_SERIALIZED); use one built with threads");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &world->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &world->ranks);
    status = refuse_lone_tasks(world);
    if (status != LS_OK)
        return status;
    MPI_Comm_dup(MPI_COMM_WORLD, &mpi->data); /* inherits the error handler */
    MPI_Comm_dup(MPI_COMM_WORLD, &mpi->control);
    status = find_peers(world, mpi);
    mpi->news = MPI_REQUEST_NULL;
    if (status == LS_OK && world->near_ranks < world->ranks)
        open_news(mpi);
    return status;
}

static ls_status share_memory(ls_world *world, size_t bytes, ls_shared *shared)
{
    ls_mpi *mpi = world->self;
    bytes = (bytes + ALIGN + 4095) / 4096 * 4096;
    double need = (double)bytes * world->near_ranks, room = free_shared_memory();
    MPI_Bcast(&room, 1, MPI_DOUBLE, 0, mpi->near); /* one measure, so that all decide alike */
    if (world->near_ranks > 1 && need > room)
        return ls_fail(LS_ESPACE,
                       "%d ranks on %s need %.1f MiB of %s, %.1f are free; enlarge it (`docker run --shm-size`, "
                       "`mount -o remount,size=`)",
                       world->near_ranks, world->peers[world->rank].host, need / 1048576, SHARED_MEMORY,
                       room / 1048576);
    MPI_Win *window = calloc(1, sizeof *window);
    shared->base = calloc((size_t)world->near_ranks, sizeof *shared->base);
    if (!window || !shared->base) {
        free(window);
        return ls_fail(LS_EMEM, "no memory for a window's handles");
    }
    void *mine;
    ls_status status =
        ls_mpi_check(MPI_Win_allocate_shared((MPI_Aint)bytes, 1, MPI_INFO_NULL, mpi->near, &mine, window),
                     "MPI_Win_allocate_shared");
    if (status != LS_OK) {
        free(window);
        return status;
    }
    if (world->near_ranks == 1)
        memset(mine, 0, bytes); /* alone in its window a rank gets a block of the heap, with what was in it before */
    for (size_t page = 0; page < bytes; page += 4096)
        ((volatile char *)mine)[page] = 0; /* takes the pages, new and zero, now: a full /dev/shm later would be a SIGBUS */
    for (int k = 0; k < world->near_ranks; k++) {
        MPI_Aint size;
        int unit;
        MPI_Win_shared_query(*window, k, &size, &unit, &shared->base[k]);
        shared->base[k] = (char *)shared->base[k] + (ALIGN - (uintptr_t)shared->base[k] % ALIGN) % ALIGN;
    }
    shared->handle = window;
    MPI_Barrier(mpi->near);
    return LS_OK;
}

static void unshare_memory(ls_world *world, ls_shared *shared)
{
    (void)world;
    if (shared->handle)
        MPI_Win_free(shared->handle);
    free(shared->handle);
    free(shared->base);
    *shared = (ls_shared){0};
}

static void hear(ls_world *world)
{
    ls_mpi *mpi = world->self;
    int arrived = 0;
    if (mpi->news == MPI_REQUEST_NULL || MPI_Test(&mpi->news, &arrived, MPI_STATUS_IGNORE) != MPI_SUCCESS || !arrived)
        return;
    ls_board_hear(world, &mpi->heard);
    open_news(mpi);
}

static void tell(ls_world *world)
{
    ls_mpi *mpi = world->self;
    for (int rank = 0; rank < world->ranks; rank++) {
        if (ls_world_near(world, rank) >= 0)
            continue;
        MPI_Request sent; /* small enough to leave at once; the job ends before anybody could wait for it */
        if (MPI_Isend(world->failure, sizeof *world->failure, MPI_BYTE, rank, 0, mpi->control, &sent) == MPI_SUCCESS)
            MPI_Request_free(&sent);
    }
}

static void abort_job(ls_world *world, int exit_code)
{
    fflush(NULL);
    if (world->ranks > 1)
        MPI_Abort(MPI_COMM_WORLD, exit_code);
    _exit(exit_code);
}

static void stop(ls_world *world, bool orderly)
{
    ls_mpi *mpi = world->self;
    for (int rank = 0; rank < world->ranks && world->peers; rank++)
        if (world->peers[rank].pidfd >= 0)
            close(world->peers[rank].pidfd);
    if (orderly) {
        if (mpi->news != MPI_REQUEST_NULL) {
            MPI_Cancel(&mpi->news);
            MPI_Wait(&mpi->news, MPI_STATUS_IGNORE);
        }
        MPI_Comm_free(&mpi->data);
        MPI_Comm_free(&mpi->control);
        MPI_Comm_free(&mpi->near);
        MPI_Finalize();
    }
    free(mpi);
}

const ls_fabric ls_fabric_mpi = {
    .start = start,
    .share = share_memory,
    .unshare = unshare_memory,
    .listen = hear,
    .tell = tell,
    .abort = abort_job,
    .stop = stop,
};
