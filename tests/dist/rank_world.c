/* Started under mpirun by test_world.c: rank_world CASE [apart]; apart: each rank its own node. Exits 0 when the case
 * held on this rank. */
#include "dist/reduce.h"
#include "dist/world.h"

#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ls_world *world;
static int rank, ranks;

/* Ends the whole job: what a rank program does in place of an assertion. */
static void need(bool held, const char *what)
{
    char sentence[3072];
    if (held)
        return;
    snprintf(sentence, sizeof sentence, "rank %d: %s does not hold (%s)", rank, what, ls_fail_sentence());
    ls_world_abort(world, 9, sentence);
}

static void collectives(void)
{
    enum { MOST = 700000 };
    int all[64];
    need(ls_all_gather_bytes(world, &rank, sizeof rank, all, "numbers") == LS_OK, "gather");
    for (int k = 0; k < ranks; k++)
        need(all[k] == k, "gathered number");
    char *big = malloc(MOST), *parts = malloc((size_t)ranks * MOST + 1);
    for (size_t k = 0; k < MOST; k++)
        big[k] = rank == ranks - 1 ? (char)(k * 7 % 251) : 0;
    need(ls_broadcast(world, big, MOST, ranks - 1, "broadcast") == LS_OK, "broadcast");
    for (size_t k = 0; k < MOST; k++)
        need(big[k] == (char)(k * 7 % 251), "broadcast byte");
    size_t bytes[64], before = 0;
    for (int k = 0; k < ranks; k++)
        bytes[k] = k == 1 ? 0 : (size_t)(MOST - 1000 * k);
    memset(big, rank + 1, MOST);
    need(ls_all_gather_varying(world, big, parts, bytes, "parts") == LS_OK, "varying gather");
    for (int k = 0; k < ranks; before += bytes[k++])
        for (size_t i = 0; i < bytes[k]; i++)
            need(parts[before + i] == (char)(k + 1), "gathered part");
    for (int round = 0; round < ranks; round++) { /* who is its own partner sits out */
        const int partner = (ranks + round - rank) % ranks;
        memset(parts, 0, MOST + 1);
        need(ls_swap(world, partner, big, parts, MOST, "swap") == LS_OK, "swap");
        for (size_t i = 0; i < MOST; i++)
            need(parts[i] == (char)(partner + 1), "swapped byte");
        need(parts[MOST] == 0, "end of what is swapped");
    }
    for (int turn = 0; turn < 100; turn++)
        need(ls_barrier(world, "turn") == LS_OK, "barrier");
    free(big);
    free(parts);
}

static void grain_values(void)
{
    for (int schedule = LS_SCHEDULE_BLOCK; schedule <= LS_SCHEDULE_ROUND; schedule++)
        for (int64_t grains = 1; grains <= 9; grains++) {
            double mine[9], all[9];
            for (int64_t k = 0; k < ls_schedule_grains(schedule, grains, rank, ranks); k++)
                mine[k] = 1.5 * (double)ls_schedule_grain(schedule, grains, rank, ranks, k);
            need(ls_grain_values(world, schedule, grains, mine, sizeof *mine, all) == LS_OK, "grain values");
            for (int64_t g = 0; g < grains; g++)
                need(all[g] == 1.5 * (double)g, "value of a grain");
        }
}

static void agree(void)
{
    need(ls_agree(world, LS_OK, "all well") == LS_OK, "agreement");
    ls_status mine = rank == 0  ? ls_fail(LS_ESTOPPED, "asked to stop")
                     : rank > 0 ? ls_fail(LS_EIO, "disk %d is full", rank)
                                : LS_OK;
    ls_status status = ls_agree(world, mine, "saving");
    need(status == (ranks > 1 ? LS_EIO : LS_ESTOPPED), "the worst status");
    if (ranks > 1)
        need(strstr(ls_fail_sentence(), "rank 1 ") && strstr(ls_fail_sentence(), "disk 1 is full"),
             "the lowest rank's sentence");
}

static void same(void)
{
    need(ls_same_everywhere(world, "avx2", 4, "numerics id") == LS_OK, "equal bytes");
    ls_status status = ls_same_everywhere(world, rank == 1 ? "avx512" : "avx2", rank == 1 ? 6 : 4, "numerics id");
    need(status == LS_ESTATE && strstr(ls_fail_sentence(), "rank 1 ") && strstr(ls_fail_sentence(), "avx512"),
         "the odd rank's name");
}

static void nodes(void)
{
    need(ls_world_nodes(world) == 1 && ls_world_node_ranks(world) == ranks && ls_world_node_rank(world) == rank,
         "one node");
}

static void nodes_apart(void)
{
    need(ls_world_nodes(world) == ranks && ls_world_node(world) == rank && ls_world_node_ranks(world) == 1,
         "a node a rank");
}

static void wait_or_end(const char *phase)
{
    ls_status status = ls_barrier(world, phase);
    ls_world_abort(world, ls_status_exit_code(status), ls_fail_sentence());
}

static void raises(void)
{
    if (rank == 1)
        ls_world_abort(world, 3, "the reactor is too hot (812 degrees, limit 800); open the window");
    wait_or_end("steady state");
}

static void dies(void)
{
    if (rank == 1)
        raise(SIGKILL);
    wait_or_end("steady state");
}

/* In MPI's own calls, where no collective of ours has a deadline: rank 1 stops at the door, the others are inside. */
static const char *stops_at;

static void stop_at(const char *call)
{
    const char *number = getenv("OMPI_COMM_WORLD_RANK");
    if (stops_at && !strcmp(stops_at, call) && number && atoi(number) == 1)
        raise(SIGSTOP);
}

int MPI_Init_thread(int *count, char ***arguments, int wanted, int *given)
{
    stop_at("stops_at_start");
    return PMPI_Init_thread(count, arguments, wanted, given);
}

int MPI_Win_allocate_shared(MPI_Aint bytes, int unit, MPI_Info info, MPI_Comm comm, void *base, MPI_Win *window)
{
    stop_at("stops_sharing");
    return PMPI_Win_allocate_shared(bytes, unit, info, comm, base, window);
}

int MPI_Finalize(void)
{
    stop_at("stops_at_end");
    return PMPI_Finalize();
}

static void nothing(void)
{
}

/* As under a debugger, or on a machine that swaps: the whole process stands still. */
static void stops(void)
{
    if (rank == 1)
        raise(SIGSTOP);
    need(ls_barrier(world, "evening roll-call") == LS_ETIMEOUT, "time-out");
    ls_world_abort(world, 4, ls_fail_sentence());
}

static void sleeps(void)
{
    if (rank == 1)
        sleep(60);
    need(ls_barrier(world, "evening roll-call") == LS_ETIMEOUT, "time-out");
    ls_world_abort(world, 4, ls_fail_sentence());
}

/* One rank is in a broadcast, the others in a barrier. */
static void parted(void)
{
    int number = 0;
    ls_status status =
        rank == 1 ? ls_broadcast(world, &number, sizeof number, 0, "broadcast of the plan") : ls_barrier(world, "rest");
    ls_world_abort(world, ls_status_exit_code(status), ls_fail_sentence());
}

static const struct {
    const char *name;
    void (*run)(void);
    double deadline;
} cases[] = {
    {"collectives", collectives, 20},
    {"grain_values", grain_values, 20},
    {"agree", agree, 20},
    {"same", same, 20},
    {"nodes", nodes, 20},
    {"nodes_apart", nodes_apart, 20},
    {"raises", raises, 50},
    {"dies", dies, 50},
    {"sleeps", sleeps, 1},
    {"stops", stops, 4},
    {"stops_at_start", nothing, 3},
    {"stops_sharing", nothing, 3},
    {"stops_at_end", nothing, 3},
    {"parted", parted, 20},
};

int main(int count, char **arguments)
{
    const char *name = count > 1 ? arguments[1] : "";
    bool apart = count > 2 && strcmp(arguments[2], "apart") == 0;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        if (strcmp(name, cases[k].name) != 0)
            continue;
        stops_at = name;
        ls_world_options options = {.deadline = cases[k].deadline, .node_per_rank = apart};
        if (ls_world_open(&world, &options) != LS_OK) {
            fprintf(stderr, "%s\n", ls_fail_sentence());
            return 1;
        }
        rank = ls_world_rank(world);
        ranks = ls_world_ranks(world);
        cases[k].run();
        ls_world_close(world);
        return 0;
    }
    fprintf(stderr, "usage: rank_world CASE [apart]\n");
    return 2;
}
