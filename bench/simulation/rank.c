/* One rank of a simulated training step: the reduction of dist/ as it stands, over its MPI transport, each rank a node,
 * on the cluster that SimGrid's SMPI simulates. bench/scale builds it (smpicc) and starts it (smpirun).
 *
 *     rank SCHEDULE ELEMENTS ROUNDS COMPUTE COPY ADD MODE
 *         SCHEDULE  block | round
 *         ELEMENTS  of the gradient, f32
 *         ROUNDS    grains a rank
 *         COMPUTE   seconds a grain
 *         COPY ADD  bytes/s at which one thread copies, and adds what it received
 *         MODE      real: arrays are arrays, the sum is compared with the tree's; fold: arrays of all ranks are one
 *                   memory, messages of 16 KiB and more carry nothing, times alone are right; exchange: folded, and of
 * a step the exchange alone, for norm and gather are P (P - 1) messages
 *
 * Real are: the trees, schedules, channels, pieces, collectives, the communication loop with its polls and sleeps, and
 * every message. Modelled are: the network and its contention (SimGrid), compute (a time), copying into a slot and
 * adding from one (bytes at a rate). Rank 0 prints one JSON object. */
#include "bench/simulation/simulation.h"
#include "dist/mpi_fabric.h"
#include "dist/reducer.h"
#include "dist/tree.h"

#include <fcntl.h>
#include <simgrid/actor.h>
#include <smpi/smpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { MOST_RANKS = 4096, FOLD = 64 << 20, HOLLOW = 16384, PING = 1 << 20 };

typedef struct {
    int64_t elements;
    ls_schedule schedule;
    int rounds;
    double compute, copy, add;
    bool fold, alone;
} plan;

/* One process holds all ranks, and nothing of theirs is private: what differs between ranks stands in an array. */
static double wake[MOST_RANKS];
static plan p;
static int fold_file = -1;

static int self(void)
{
    int rank;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

double sim_wake(void)
{
    return wake[self()];
}

void sim_set_wake(double time)
{
    wake[self()] = time;
}

/* dist/mpi_fabric.c asks for its host by this name: a host a rank. */
int sim_gethostname(char *name, size_t size)
{
    snprintf(name, size, "node%d", self());
    return 0;
}

/* The same for its start: SMPI knows no threads, and a simulated rank has none. */
int sim_init_thread(int *count, char ***arguments, int required, int *provided)
{
    *provided = required;
    return MPI_Init(count, arguments);
}

/* And MPI_Test: SMPI 3.32 does not set the flag for MPI_REQUEST_NULL where the status is ignored. */
int sim_test(MPI_Request *request, int *flag, MPI_Status *status)
{
    *flag = *request == MPI_REQUEST_NULL;
    return *flag ? MPI_SUCCESS : MPI_Test(request, flag, status);
}

/* And shared windows, which SMPI crashes over from 128 ranks on: here a rank is alone in each, so they are plain
 * memory. */
int sim_win_allocate_shared(MPI_Aint bytes, int unit, MPI_Info info, MPI_Comm near, void *base, MPI_Win *window)
{
    (void)unit, (void)info, (void)near;
    *(void **)base = calloc(1, (size_t)bytes);
    *window = *(void **)base;
    return *window ? MPI_SUCCESS : MPI_ERR_NO_MEM;
}

int sim_win_shared_query(MPI_Win window, int rank, MPI_Aint *bytes, int *unit, void *base)
{
    (void)rank;
    *bytes = *unit = 1;
    *(void **)base = window;
    return MPI_SUCCESS;
}

int sim_win_free(MPI_Win *window)
{
    free(*window);
    return MPI_SUCCESS;
}

static void need(ls_status status)
{
    if (status == LS_OK)
        return;
    fprintf(stderr, "rank %d: %s\n", self(), ls_fail_sentence());
    abort();
}

/* ---- memory ---- */

/* Addresses for `bytes`, all of them the same FOLD bytes of memory where ranks are folded. */
static void *get_memory(size_t bytes)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    for (size_t done = 0; p.fold && at != MAP_FAILED && done < bytes; done += FOLD) {
        const size_t size = bytes - done < FOLD ? bytes - done : FOLD;
        if (mmap(at + done, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fold_file, 0) == MAP_FAILED)
            at = MAP_FAILED;
    }
    if (at == MAP_FAILED) {
        perror("memory of a simulated rank");
        abort();
    }
    return at;
}

static ls_status allocate(ls_device *device, size_t bytes, void **block)
{
    (void)device;
    *block = get_memory(bytes);
    return LS_OK;
}

static void release(ls_device *device, void *block, size_t bytes)
{
    (void)device;
    munmap(block, bytes);
}

/* ---- arithmetic ---- */

static void carry(ls_device *device, int64_t n, const float *x, int levels, const float *const *level, float *dst)
{
    (void)device;
    for (int64_t i = 0; i < n && !p.fold; i++) {
        float sum = x[i];
        for (int l = 0; l < levels; l++)
            sum += level[l][i];
        dst[i] = sum;
    }
}

static void chunk_squares(ls_device *device, int64_t n, const float *x, double *sums)
{
    (void)device;
    for (int64_t chunk = 0; chunk * LS_CHUNK < n; chunk++) {
        sums[chunk] = 0;
        for (int64_t i = chunk * LS_CHUNK; i < n && i < (chunk + 1) * LS_CHUNK && !p.fold; i++)
            sums[chunk] += (double)x[i] * (double)x[i];
    }
}

static void move(ls_device *unused, size_t bytes, const void *x, void *y)
{
    (void)unused;
    if (bytes)
        memmove(y, x, bytes);
}

static ls_device device = {
    .name = "simulated", .allocate = allocate, .release = release, .move = move, .carry = carry, .chunk_squares = chunk_squares};

/* ---- what the communication loop does to bytes takes time ---- */

ls_status __real_ls_channel_post(ls_channel *channel, int64_t s, const ls_segment *to);
ls_status __real_ls_barrier(ls_world *world, const char *phase);
ls_status __real_ls_channel_take(ls_channel *channel, int64_t s, int from, const void **data, size_t *bytes);

static bool adding[MOST_RANKS];

ls_status __wrap_ls_channel_post(ls_channel *channel, int64_t s, const ls_segment *to)
{
    size_t filled = 0;
    int ranks;
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    for (int rank = 0; rank < ranks; rank++)
        if (to[rank].bytes && to[rank].offset + to[rank].bytes > filled)
            filled = to[rank].offset + to[rank].bytes;
    /* In `round` it is the compute thread that fills slots, as part of backward. */
    if (filled >= HOLLOW && !(adding[self()] && p.schedule == LS_SCHEDULE_ROUND))
        sim_sleep((double)filled / p.copy);
    return __real_ls_channel_post(channel, s, to);
}

ls_status __wrap_ls_channel_take(ls_channel *channel, int64_t s, int from, const void **data, size_t *bytes)
{
    const ls_status status = __real_ls_channel_take(channel, s, from, data, bytes);
    if (status == LS_OK && *data && *bytes >= HOLLOW)
        sim_sleep((double)*bytes / (adding[self()] ? p.add : p.copy));
    return status;
}

/* Opening a channel waits for all ranks, with P (P - 1) messages. */
ls_status __wrap_ls_barrier(ls_world *world, const char *phase)
{
    if (!p.alone)
        return __real_ls_barrier(world, phase);
    MPI_Barrier(MPI_COMM_WORLD);
    return LS_OK;
}

/* SMPI's own copy of a message, for those that are small enough to matter. */
void default_copy(smx_activity_t message, void *from,
                  size_t bytes) __asm__("_Z30smpi_comm_copy_buffer_callbackPN7simgrid6kernel8activity8CommImplEPvm");

static void copy_message(smx_activity_t message, void *from, size_t bytes)
{
    if (!p.fold || bytes < HOLLOW)
        default_copy(message, from, bytes);
}

/* ---- a step ---- */

typedef struct {
    double step, exchange, norm, gather, theirs;
} seconds;

static float value(int64_t grain, int64_t i)
{
    return (float)((grain * 2654435761 + i * 40503) % 65521) * (grain % 3 ? 1e-3f : 1e3f);
}

static void fill(float *gradient, int64_t begin, int64_t count, int64_t grain)
{
    for (int64_t i = 0; i < count && !p.fold; i++)
        gradient[begin + i] = value(grain, begin + i);
}

/* Backward hands its gradient over from the last bucket to the first. */
static void add_grain(ls_world *world, ls_reducer *r, float *gradient, int64_t grain)
{
    const int64_t bucket = ls_reducer_bucket(r), buckets = (p.elements + bucket - 1) / bucket;
    sim_compute(world, p.compute / 3);
    for (int64_t b = buckets - 1; b >= 0; b--) {
        const int64_t begin = b * bucket, count = p.elements - begin < bucket ? p.elements - begin : bucket;
        sim_compute(world, p.compute * 2 / 3 / (double)buckets);
        fill(gradient, begin, count, grain);
        need(ls_reducer_add(r, begin, count, gradient + begin));
    }
    need(ls_reducer_grain_end(r));
}

static float tree_sum(int64_t first, int64_t grains, int64_t i)
{
    if (grains == 1)
        return value(first, i);
    int64_t left = 1;
    while (left * 2 < grains)
        left *= 2;
    return tree_sum(first, left, i) + tree_sum(first + left, grains - left, i);
}

static void check(const ls_reducer *r, const float *slice)
{
    for (int64_t i = 0; i < r->slice[r->rank].count && !p.fold; i++) {
        const float want = tree_sum(0, (int64_t)p.rounds * r->ranks, r->slice[r->rank].begin + i);
        if (memcmp(&slice[i], &want, sizeof want) != 0) {
            fprintf(stderr, "rank %d: element %lld is %a, the tree says %a\n", r->rank, (long long)i, (double)slice[i],
                    (double)want);
            abort();
        }
    }
}

static seconds run_step(ls_world *world, ls_reducer *r, float *gradient, void *weights)
{
    seconds s;
    float *slice;
    double norm;
    const int64_t grains = (int64_t)p.rounds * r->ranks;
    MPI_Barrier(MPI_COMM_WORLD);
    const double begin = ls_now();
    adding[r->rank] = true;
    need(ls_reducer_begin(r, grains));
    for (int k = 0; k < p.rounds; k++)
        add_grain(world, r, gradient, ls_schedule_grain(p.schedule, grains, r->rank, r->ranks, k));
    need(ls_reducer_finish(r, &slice));
    adding[r->rank] = false;
    const double reduced = ls_now();
    check(r, slice);
    if (!p.alone)
        need(ls_slices_norm(r, slice, &norm));
    const double normed = ls_now();
    if (!p.alone)
        need(ls_all_gather_slices(r, LS_BF16, weights));
    const double end = ls_now();
    s.step = end - begin;
    s.exchange = reduced - begin - p.rounds * p.compute;
    s.norm = normed - reduced;
    s.gather = end - normed;
    return s;
}

/* ---- the peer: MPI's own all-reduce, with the same price of an addition ---- */

static void add_theirs(void *in, void *out, int *count, MPI_Datatype *type)
{
    (void)type;
    const double bytes = *count * (double)sizeof(float);
    if (!p.fold)
        for (int i = 0; i < *count; i++)
            ((float *)out)[i] += ((const float *)in)[i];
    sim_sleep(bytes / p.add);
}

static double run_theirs(const float *gradient, float *sum)
{
    MPI_Op op;
    MPI_Op_create(add_theirs, 1, &op);
    MPI_Barrier(MPI_COMM_WORLD);
    const double begin = ls_now();
    MPI_Allreduce(gradient, sum, (int)p.elements, MPI_FLOAT, op, MPI_COMM_WORLD);
    const double mine = ls_now() - begin;
    MPI_Op_free(&op);
    return mine;
}

/* One way, between neighbours and across the cluster: what alpha and beta are. */
static void ping(int ranks, double one_way[2][2], char *buffer)
{
    for (int far = 0; far < 2; far++)
        for (int large = 0; large < 2; large++) {
            const int peer = far ? ranks - 1 : 1, bytes = large ? PING : 8;
            MPI_Barrier(MPI_COMM_WORLD);
            const double begin = ls_now();
            if (self() == 0) {
                MPI_Send(buffer, bytes, MPI_BYTE, peer, 0, MPI_COMM_WORLD);
                MPI_Recv(buffer, bytes, MPI_BYTE, peer, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            } else if (self() == peer) {
                MPI_Recv(buffer, bytes, MPI_BYTE, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
                MPI_Send(buffer, bytes, MPI_BYTE, 0, 0, MPI_COMM_WORLD);
            }
            one_way[far][large] = (ls_now() - begin) / 2;
        }
}

static void print(int ranks, const seconds *s, double one_way[2][2])
{
    printf("{\"ranks\": %d, \"step\": %.9g, \"exchange\": %.9g, \"norm\": %.9g, \"gather\": %.9g, \"allreduce\": %.9g, "
           "\"near\": [%.9g, %.9g], \"far\": [%.9g, %.9g]}\n",
           ranks, s->step, s->exchange, s->norm, s->gather, s->theirs, one_way[0][0], one_way[0][1], one_way[1][0],
           one_way[1][1]);
    fflush(stdout);
}

static void read_plan(int count, char **arguments)
{
    if (count != 8) {
        fprintf(stderr, "usage: rank SCHEDULE ELEMENTS ROUNDS COMPUTE COPY ADD real|fold|exchange\n");
        exit(2);
    }
    p = (plan){.schedule = strcmp(arguments[1], "round") ? LS_SCHEDULE_BLOCK : LS_SCHEDULE_ROUND,
               .elements = (int64_t)atof(arguments[2]) / LS_CHUNK * LS_CHUNK,
               .rounds = atoi(arguments[3]),
               .compute = atof(arguments[4]),
               .copy = atof(arguments[5]),
               .add = atof(arguments[6]),
               .fold = strcmp(arguments[7], "real") != 0,
               .alone = strcmp(arguments[7], "exchange") == 0};
    if (fold_file >= 0)
        return;
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); /* a page of 2 MiB for each header that is received would be too much */
    smpi_comm_set_copy_data_callback(copy_message);
    fold_file = memfd_create("fold", MFD_CLOEXEC);
    if (fold_file < 0 || ftruncate(fold_file, FOLD) != 0) {
        perror("memfd_create");
        exit(1);
    }
}

int main(int count, char **arguments)
{
    read_plan(count, arguments);
    for (int rank = 0; rank < MOST_RANKS; rank++)
        wake[rank] = 1e30;
    ls_world *world;
    ls_reducer *r;
    need(ls_world_open_on(&world, &ls_fabric_mpi, NULL, &(ls_world_options){.deadline = 1e9, .node_per_rank = true}));
    const int ranks = ls_world_ranks(world);
    const ls_reduce_options options = {
        .elements = p.elements, .max_grains = (int64_t)p.rounds * ranks, .schedule = p.schedule, .transport = "mpi"};
    need(ls_reducer_open(&r, world, &device, &options));
    const size_t bytes = (size_t)p.elements * sizeof(float);
    float *gradient = get_memory(bytes), *sum = get_memory(bytes);
    void *weights = get_memory(bytes / 2);
    double one_way[2][2];
    ping(ranks, one_way, get_memory(PING));
    seconds mine, most;
    for (int turn = 0; turn < 2; turn++) /* the first finds no receives posted ahead, as the first of a run does */
        mine = run_step(world, r, gradient, weights);
    mine.theirs = run_theirs(gradient, sum);
    MPI_Reduce(&mine, &most, sizeof mine / sizeof(double), MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
    if (ls_world_rank(world) == 0) {
        print(ranks, &most, one_way);
        _exit(0); /* ends all ranks: an orderly end of 1024 would be a million messages more, for nothing */
    }
    MPI_Barrier(MPI_COMM_WORLD);
    return 0;
}
