/* Started under mpirun by test_nccl.c, on the emulation of CUDA: rank_nccl exact|fast block|round BUCKET [WORD ...]
 *
 * Reduces steps of several sizes on devices, with computation, sends and sums queued on two streams in orders drawn by
 * seed, and compares with the tree's definition (fast: within rounding); then gathers and takes the norm. Words:
 *     seeds=N        so many seeds of the stream order (3)
 *     machines=N     pretend that each N ranks are a machine
 *     drop=compute, drop=communication
 *                    a planted fault: that stream's waits for the other one are left out
 *     dies, late, stops
 *                    rank 1 is killed in its second grain, sleeps there, or is stopped when the device should be waited for
 *     dies_awaited, late_awaited
 *                    the same while the others wait for their devices, which wait for it
 *     shared         all ranks take device 0 */
#include "dist/fabric.h"
#include "dist/nccl/nccl.h"
#include "gradients.h"

#include <cuda_runtime_api.h>
#include <cudahost.h>
#include <nccl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { CHUNKS = 13, ELEMENTS = CHUNKS * LS_CHUNK, PERIOD = 997, GRAINS = 13, RANGES = 5 };

static const int64_t border[RANGES + 1] = {0, 1, 2, 5, 11, 13}; /* of what is added at once, in chunks */

static ls_world *world;
static ls_device *device;
static int rank, ranks, machines; /* ranks of a pretended machine */
static const char *word_drop = "", *word_fault = "";
static bool waiting; /* in finish */

static void need(bool held, const char *what, int64_t number)
{
    char sentence[3072];
    if (held)
        return;
    snprintf(sentence, sizeof sentence, "%s does not hold (%lld; %s)", what, (long long)number, ls_fail_sentence());
    ls_world_abort(world, 9, sentence);
}

/* As launch/ ends a run. */
static void well(ls_status status)
{
    if (status != LS_OK)
        ls_world_abort(world, ls_status_exit_code(status), ls_fail_sentence());
}

/* What the reducer takes of the device's memory is in the estimate. */
static ls_status (*real_allocate)(ls_device *of, size_t bytes, void **block);
static size_t allocated;

static ls_status count_allocate(ls_device *of, size_t bytes, void **block)
{
    allocated += bytes;
    return real_allocate(of, bytes, block);
}

/* The linker sends the reducer's calls here. */
cudaError_t __real_cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t __wrap_cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t __real_cudaEventQuery(cudaEvent_t event);
cudaError_t __wrap_cudaEventQuery(cudaEvent_t event);

cudaError_t __wrap_cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    const bool computes = stream == (cudaStream_t)device->stream;
    return strcmp(word_drop, computes ? "compute" : "communication") == 0 ? cudaSuccess : __real_cudaStreamWaitEvent(stream, event, flags);
}

cudaError_t __wrap_cudaEventQuery(cudaEvent_t event)
{
    if (waiting && rank == 1 && strcmp(word_fault, "stops") == 0)
        raise(SIGSTOP);
    return __real_cudaEventQuery(event);
}

ncclResult_t __real_ncclSend(const void *from, size_t count, ncclDataType_t type, int to, ncclComm_t comm, cudaStream_t stream);
ncclResult_t __wrap_ncclSend(const void *from, size_t count, ncclDataType_t type, int to, ncclComm_t comm, cudaStream_t stream);

/* Sums leave a machine only for the rank that has this one's place in its own. */
ncclResult_t __wrap_ncclSend(const void *from, size_t count, ncclDataType_t type, int to, ncclComm_t comm, cudaStream_t stream)
{
    const bool far = machines > 1 && ranks % machines == 0 && to / machines != rank / machines;
    need(!far || to % machines == rank % machines, "nearest ranks first", to);
    return __real_ncclSend(from, count, type, to, comm, stream);
}

/* The end of each range is left out, and range 2 of every other grain: both count as zeros. */
static float element(int64_t step, int64_t grain, int64_t i)
{
    int k = 0;
    while (i >= border[k + 1] * LS_CHUNK)
        k++;
    return i >= border[k + 1] * LS_CHUNK - 7 || (k == 2 && grain % 2 == 1) ? 0 : gradient_at(step, grain, i % PERIOD);
}

/* Range by range a gradient is computed in the same memory as the one before. Ranks differ in the order. */
static void add_grain(ls_reducer *reducer, int64_t grain, const float *source, float *gradient)
{
    for (int turn = 0; turn < RANGES; turn++) {
        const int k = rank % 2 == 1 && turn > 2 ? RANGES - 1 - (7 - turn) : RANGES - 1 - turn;
        const int64_t begin = border[k] * LS_CHUNK, count = (border[k + 1] - border[k]) * LS_CHUNK - 7;
        if (k == 2 && grain % 2 == 1)
            continue;
        float *to = ls_reducer_place(reducer, begin, count);
        to = to && turn % 2 == 0 ? to : gradient;
        device->cast(device, LS_F32, LS_F32, count, source + begin, to);
        well(ls_reducer_add(reducer, begin, count, to));
        if (strstr(word_fault, "_awaited"))
            device->synchronize(device);
    }
    well(ls_reducer_grain_end(reducer));
}

static void misbehave(int64_t grain_of_rank)
{
    if (rank != 1 || grain_of_rank != 1)
        return;
    if (strncmp(word_fault, "dies", 4) == 0)
        raise(SIGKILL);
    if (strncmp(word_fault, "late", 4) == 0)
        sleep(50);
}

static void check_sum(const float *sum, bool fast, int64_t step, int64_t grains)
{
    int64_t begin, count;
    ls_slice(ELEMENTS, rank, ranks, &begin, &count);
    for (int64_t i = 0; i < count; i++) {
        float leaf[GRAINS], want;
        double all = 0, most = 0;
        for (int64_t g = 0; g < grains; g++) {
            leaf[g] = element(step, g, begin + i);
            all += (double)leaf[g];
            most += fabs((double)leaf[g]);
        }
        tree_sum(&want, leaf, 1, grains);
        need(fast ? fabs((double)sum[i] - all) <= 1e-6 * most : memcmp(&want, &sum[i], sizeof want) == 0, "the sum", grains);
    }
}

static void reduce_step(ls_reducer *reducer, ls_schedule schedule, int64_t step, int64_t grains, float *source, float *gradient, float **sum)
{
    const int64_t mine = ls_schedule_grains(schedule, grains, rank, ranks);
    need(device->synchronize(device) == LS_OK, "synchronize", step);
    for (int64_t k = 0; k < mine; k++)
        for (int64_t i = 0; i < ELEMENTS; i++)
            source[k * ELEMENTS + i] = element(step, ls_schedule_grain(schedule, grains, rank, ranks, k), i);
    need(ls_reducer_begin(reducer, grains) == LS_OK, "begin", grains);
    for (int64_t k = 0; k < mine; k++) {
        misbehave(k);
        add_grain(reducer, ls_schedule_grain(schedule, grains, rank, ranks, k), source + k * ELEMENTS, gradient);
    }
    waiting = true;
    const ls_status status = ls_reducer_finish(reducer, sum);
    waiting = false;
    well(status);
    need(ranks > 1 || device->synchronize(device) == LS_OK, "one rank's sums, which nobody waits for", grains);
}

static void check_gathers(ls_reducer *reducer, const float *slice, void *data)
{
    static float host[ELEMENTS];
    static double squares[CHUNKS];
    uint16_t *half = data;
    float *whole = data;
    int64_t begin, count;
    double norm, want;
    ls_slice(ELEMENTS, rank, ranks, &begin, &count);
    need(ls_slices_norm(reducer, slice, &norm) == LS_OK, "norm", 0);
    memset(data, 255, ELEMENTS * sizeof *whole);
    for (int64_t i = begin; i < begin + count; i++)
        half[i] = (uint16_t)(i * 31);
    need(ls_all_gather_slices(reducer, LS_BF16, data) == LS_OK, "gather of bf16", 0);
    for (int64_t i = 0; i < ELEMENTS; i++)
        need(half[i] == (uint16_t)(i * 31), "gathered bf16 element", i);
    memset(data, 255, ELEMENTS * sizeof *whole);
    device->cast(device, LS_F32, LS_F32, count, slice, whole + begin); /* as the optimiser would: not done when it is gathered */
    need(ls_all_gather_slices(reducer, LS_F32, data) == LS_OK, "gather of f32", 0);
    memcpy(host + begin, slice, (size_t)count * sizeof *host);
    need(ls_all_gather_slices(reducer, LS_F32, host) == LS_OK, "gather of the host's memory", 0);
    need(device->synchronize(device) == LS_OK, "synchronize", 0); /* one rank gathers nothing, and does not wait */
    need(memcmp(host, whole, sizeof host) == 0, "the same from the host and from the device", 0);
    for (int64_t i = 0; i < ELEMENTS; i++)
        squares[i / LS_CHUNK] = (i % LS_CHUNK ? squares[i / LS_CHUNK] : 0) + (double)whole[i] * (double)whole[i];
    want = sqrt(ls_tree_sum_f64(squares, CHUNKS));
    need(fabs(norm - want) <= 1e-12 * want, "norm of the gathered whole", 0);
}

static void run(ls_reducer *reducer, ls_schedule schedule, bool fast, int seeds)
{
    static const int64_t steps[] = {13, 8, 1, 3, 2};
    void *source, *gradient, *data;
    float *sum;
    need(device->allocate(device, GRAINS * ELEMENTS * sizeof(float), &source) == LS_OK, "memory", 0);
    need(device->allocate(device, ELEMENTS * sizeof(float), &gradient) == LS_OK, "memory", 0);
    need(device->allocate(device, ELEMENTS * sizeof(float), &data) == LS_OK, "memory", 0);
    for (int seed = 0; seed < seeds; seed++) {
        cudahost_seed((uint64_t)(seed * ranks + (seed ? rank : 0))); /* each rank its own order */
        for (int64_t step = 0; step < (seed < 5 ? 5 : 1); step++) {
            reduce_step(reducer, schedule, step, steps[step], source, gradient, &sum);
            check_sum(sum, fast, step, steps[step]);
        }
        if (seed < 2)
            check_gathers(reducer, sum, data);
    }
}

int main(int count, char **words)
{
    int seeds = 3;
    for (int k = 4; k < count; k++)
        if (sscanf(words[k], "seeds=%d", &seeds) != 1 && sscanf(words[k], "machines=%d", &machines) != 1 && !strncmp(words[k], "drop=", 5))
            word_drop = words[k] + 5;
        else if (!strchr(words[k], '='))
            word_fault = words[k];
    ls_world_options world_options = {.deadline = *word_fault ? 4 : 60};
    if (count < 4 || ls_world_open(&world, &world_options) != LS_OK) {
        fprintf(stderr, "usage: rank_nccl exact|fast block|round BUCKET [WORD ...]\n%s\n", ls_fail_sentence());
        return 2;
    }
    rank = ls_world_rank(world);
    ranks = ls_world_ranks(world);
    for (int k = 0; machines && k < ranks; k++)
        world->peers[k].node = k / machines;
    world->nodes = machines ? (ranks + machines - 1) / machines : world->nodes;
    const bool fast = strcmp(words[1], "fast") == 0;
    const ls_schedule schedule = strcmp(words[2], "round") == 0 ? LS_SCHEDULE_ROUND : LS_SCHEDULE_BLOCK;
    ls_exchange *exchange;
    ls_reducer *reducer;
    well(ls_device_create_cuda(&device, NULL, strcmp(word_fault, "shared") == 0 ? 0 : rank));
    well(ls_nccl_open(&exchange, world, device, fast ? LS_NCCL_FAST : LS_NCCL_EXACT));
    const ls_reduce_options options = {.elements = ELEMENTS, .max_grains = GRAINS, .schedule = schedule, .bucket = atoi(words[3]), .exchange = exchange};
    real_allocate = device->allocate;
    device->allocate = count_allocate;
    need(ls_reducer_open(&reducer, world, device, &options) == LS_OK, "opening", 0);
    need(allocated > 0 && allocated <= ls_reduce_memory(&options, ranks), "the estimate of its memory", (int64_t)allocated);
    run(reducer, schedule, fast, seeds);
    if (rank == 0)
        printf("%s\n", ls_reducer_describe(reducer));
    ls_reducer_close(reducer);
    ls_exchange_close(exchange);
    device->free(device);
    ls_world_close(world);
    return 0;
}
