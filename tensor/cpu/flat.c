/* Loops over the flat buffers, cut into pieces of whole chunks. */
#include "tensor/cpu/cpu.h"

typedef struct {
    const ls_flat_kernels *kernels;
    int64_t n;
    const float *x, *const *level;
    int levels;
    float *to;
    double *sums;
    double weight;
    const ls_optimizer_args *optimizer;
} job;

static job job_of(ls_device *device)
{
    return (job){.kernels = ((const ls_cpu *)device->self)->kernels->flat};
}

static void carry_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    j->kernels->carry(end - begin, j->x + begin, j->levels, j->level, begin, j->to + begin);
}

void ls_cpu_carry(ls_device *device, int64_t n, const float *x, int levels, const float *const *level, float *dst)
{
    job j = job_of(device);
    j.x = x, j.levels = levels, j.level = level, j.to = dst;
    ls_cpu_ranges(device, n, LS_CPU_PIECE, levels + 1, carry_range, &j);
}

static void squares_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    for (int64_t chunk = begin; chunk < end; chunk++) {
        int64_t at = chunk * LS_CHUNK, n = j->n - at < LS_CHUNK ? j->n - at : LS_CHUNK;
        j->sums[chunk] = j->kernels->squares(n, j->x + at);
    }
}

void ls_cpu_chunk_squares(ls_device *device, int64_t n, const float *x, double *sums)
{
    job j = job_of(device);
    j.n = n, j.x = x, j.sums = sums;
    ls_cpu_ranges(device, (n + LS_CHUNK - 1) / LS_CHUNK, LS_CPU_PIECE / LS_CHUNK, LS_CHUNK, squares_range, &j);
}

static void optimizer_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    j->kernels->optimizer_step(j->optimizer, begin, end);
}

void ls_cpu_optimizer_step(ls_device *device, const ls_optimizer_args *args)
{
    job j = job_of(device);
    j.optimizer = args;
    ls_cpu_ranges(device, args->count, LS_CPU_PIECE, 4, optimizer_range, &j);
}

static void average_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    j->kernels->average(end - begin, (float)j->weight, j->x + begin, j->to + begin);
}

void ls_cpu_average(ls_device *device, int64_t n, double weight, const float *x, float *average)
{
    job j = job_of(device);
    j.weight = weight, j.x = x, j.to = average;
    ls_cpu_ranges(device, n, LS_CPU_PIECE, 2, average_range, &j);
}
