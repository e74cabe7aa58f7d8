/* Batch norm and group norm over x [outer, rows, C] (ls_device.group_norm): statistics over the rows and over the
 * channels of a group, then one pass that normalises. The backward pass is two walks over memory as well:
 *
 *     xhat = (x - mean) / std,  g = dy gain,  n = rows C / groups
 *     dx += (g - sum(g) / n - xhat sum(g xhat) / n) / std,  dgain = sum dy xhat,  dbias = sum dy
 *
 * Sums: chunks of CHUNK_ROWS rows by channel (vector/channels.c), then chunks, then channels of a group, then `outer`,
 * each in ascending order, in f64. */
#include "base/half.h"
#include "tensor/cpu/cpu.h"

#include <math.h>
#include <string.h>

enum { CHUNK_ROWS = 256 };

typedef struct {
    const ls_kernels *kernels;
    size_t size, real_size;
    int64_t rows, channels, groups, chunks;
    const char *x, *dy;
    char *y, *dx;
    double *first, *second; /* [outer * chunks, C]: a chunk's two sums by channel */
    char *mean, *scale, *shift, *constant; /* [outer, C] reals */
} job;

typedef struct {
    int64_t outer, row, rows;
    size_t at; /* bytes */
} chunk;

static chunk chunk_of(const job *j, int64_t item)
{
    chunk c = {.outer = item / j->chunks, .row = item % j->chunks * CHUNK_ROWS};
    c.rows = j->rows - c.row < CHUNK_ROWS ? j->rows - c.row : CHUNK_ROWS;
    c.at = (size_t)((c.outer * j->rows + c.row) * j->channels) * j->size;
    return c;
}

static void moments_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    for (int64_t item = begin; item < end; item++) {
        const chunk c = chunk_of(j, item);
        j->kernels->channel_moments(c.rows, j->channels, j->x + c.at, j->first + item * j->channels, j->second + item * j->channels);
    }
}

static void normalise_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    for (int64_t item = begin; item < end; item++) {
        const chunk c = chunk_of(j, item);
        const size_t of = (size_t)(c.outer * j->channels) * j->real_size;
        j->kernels->channel_normalise(c.rows, j->channels, j->x + c.at, j->mean + of, j->scale + of, j->shift + of, j->y + c.at);
    }
}

static void gradients_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    for (int64_t item = begin; item < end; item++) {
        const chunk c = chunk_of(j, item);
        j->kernels->channel_gradients(c.rows, j->channels, j->x + c.at, j->mean + (size_t)(c.outer * j->channels) * j->real_size, j->dy + c.at,
                                      j->first + item * j->channels, j->second + item * j->channels);
    }
}

static void backward_range(void *context, int64_t begin, int64_t end)
{
    const job *j = context;
    for (int64_t item = begin; item < end; item++) {
        const chunk c = chunk_of(j, item);
        const size_t of = (size_t)(c.outer * j->channels) * j->real_size;
        j->kernels->channel_backward(c.rows, j->channels, j->x + c.at, j->mean + of, j->dy + c.at, j->scale + of, j->shift + of, j->constant + of,
                                     j->dx + c.at);
    }
}

static void put_real(const job *j, char *array, int64_t i, double value)
{
    if (j->real_size == sizeof(double))
        ((double *)array)[i] = value;
    else
        ((float *)array)[i] = (float)value;
}

static double get(ls_type type, const void *array, int64_t i)
{
    if (type == LS_F64)
        return ((const double *)array)[i];
    if (type == LS_F32)
        return (double)((const float *)array)[i];
    if (type == LS_F16)
        return (double)ls_half_widen(((const uint16_t *)array)[i]);
    const uint32_t bits = (uint32_t)((const uint16_t *)array)[i] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

/* n, mean and sum of squared distances of two sets become those of both (Chan, Golub & LeVeque 1983). */
static void merge(double *n, double *mean, double *squares, double other_n, double other_mean, double other_squares)
{
    const double all = *n + other_n, distance = other_mean - *mean;
    *mean += distance * other_n / all;
    *squares += other_squares + distance * distance * *n * other_n / all;
    *n = all;
}

static void merge_moments(const job *j, int64_t outer, double *stats)
{
    const int64_t in_group = j->channels / j->groups;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t group = 0; group < j->groups; group++) {
            double n = 0, mean = 0, squares = 0;
            for (int64_t c = group * in_group; c < (group + 1) * in_group; c++)
                for (int64_t k = 0; k < j->chunks; k++) {
                    const int64_t rows = j->rows - k * CHUNK_ROWS < CHUNK_ROWS ? j->rows - k * CHUNK_ROWS : CHUNK_ROWS;
                    const int64_t at = (o * j->chunks + k) * j->channels + c;
                    merge(&n, &mean, &squares, (double)rows, j->first[at], j->second[at]);
                }
            stats[2 * (o * j->groups + group)] = mean;
            stats[2 * (o * j->groups + group) + 1] = squares / n;
        }
}

static ls_status open_job(job *j, ls_device *device, ls_type type, int64_t outer, int64_t rows, int64_t channels, int64_t groups, ls_arena *scratch)
{
    *j = (job){.kernels = ls_cpu_kernels_of(device, type), .size = ls_type_size(type), .real_size = type == LS_F64 ? sizeof(double) : sizeof(float),
               .rows = rows, .channels = channels, .groups = groups, .chunks = (rows + CHUNK_ROWS - 1) / CHUNK_ROWS};
    const size_t reals = (size_t)(outer * channels) * j->real_size;
    j->first = ls_arena_array(scratch, double, outer * j->chunks * channels);
    j->second = ls_arena_array(scratch, double, outer * j->chunks * channels);
    j->mean = ls_arena_take(scratch, reals);
    j->scale = ls_arena_take(scratch, reals);
    j->shift = ls_arena_take(scratch, reals);
    j->constant = ls_arena_take(scratch, reals);
    return ls_arena_status(scratch);
}

static void each_chunk(ls_device *device, job *j, int64_t outer, ls_cpu_range f)
{
    const int64_t cost = (j->rows < CHUNK_ROWS ? j->rows : CHUNK_ROWS) * j->channels;
    ls_cpu_ranges(device, outer * j->chunks, LS_CPU_PIECE / cost, cost, f, j);
}

ls_status ls_cpu_group_norm(ls_device *device, ls_type type, ls_type gain_type, int64_t outer, int64_t rows, int64_t channels, int64_t groups,
                            double eps, bool given, const void *x, const void *gain, const void *bias, void *y, double *stats, ls_arena *scratch)
{
    job j;
    ls_mark mark = ls_arena_mark(scratch);
    const ls_status status = open_job(&j, device, type, outer, rows, channels, groups, scratch);
    if (status == LS_OK) {
        j.x = x, j.y = y;
        if (!given) {
            each_chunk(device, &j, outer, moments_range);
            merge_moments(&j, outer, stats);
        }
        for (int64_t i = 0; i < outer * channels; i++) {
            const int64_t o = i / channels, c = i % channels;
            const double *own = stats + 2 * (o * groups + c / (channels / groups));
            put_real(&j, j.mean, i, own[0]);
            put_real(&j, j.scale, i, (gain ? get(gain_type, gain, c) : 1) / sqrt(own[1] + eps));
            put_real(&j, j.shift, i, bias ? get(gain_type, bias, c) : 0);
        }
        each_chunk(device, &j, outer, normalise_range);
    }
    ls_arena_release(scratch, mark);
    return status;
}

/* Sum over the chunks of `outer` o, channel c. */
static double over_chunks(const job *j, const double *sums, int64_t o, int64_t c)
{
    double sum = 0;
    for (int64_t k = 0; k < j->chunks; k++)
        sum += sums[(o * j->chunks + k) * j->channels + c];
    return sum;
}

/* From the sums of dy (x - mean) and dy by chunk: gradients of gain and bias, and what dx is made of. */
static void fold_gradients(const job *j, ls_type type, ls_type gain_type, int64_t outer, double eps, const void *gain, const double *stats, void *dgain,
                           void *dbias)
{
    const int64_t in_group = j->channels / j->groups;
    const double n = (double)(j->rows * in_group);
    const size_t sum_size = type == LS_F64 ? sizeof(double) : sizeof(float);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t group = 0; group < j->groups; group++) {
            const double inverse = 1 / sqrt(stats[2 * (o * j->groups + group) + 1] + eps);
            double sum_g = 0, sum_product = 0;
            for (int64_t c = group * in_group; c < (group + 1) * in_group; c++) {
                const double product = over_chunks(j, j->first, o, c) * inverse, plain = over_chunks(j, j->second, o, c);
                const double weight = gain ? get(gain_type, gain, c) : 1;
                sum_g += plain * weight;
                sum_product += product * weight;
                if (dgain)
                    put_real(&(job){.real_size = sum_size}, dgain, c, get(sum_size == 8 ? LS_F64 : LS_F32, dgain, c) + product);
                if (dbias)
                    put_real(&(job){.real_size = sum_size}, dbias, c, get(sum_size == 8 ? LS_F64 : LS_F32, dbias, c) + plain);
            }
            for (int64_t c = group * in_group; c < (group + 1) * in_group; c++) {
                const int64_t i = o * j->channels + c;
                put_real(j, j->scale, i, (gain ? get(gain_type, gain, c) : 1) * inverse);
                put_real(j, j->shift, i, -inverse * inverse * sum_product / n);
                put_real(j, j->constant, i, -inverse * sum_g / n);
            }
        }
}

ls_status ls_cpu_group_norm_backward(ls_device *device, ls_type type, ls_type gain_type, int64_t outer, int64_t rows, int64_t channels, int64_t groups,
                                     double eps, const void *x, const void *gain, const double *stats, const void *dy, void *dx, void *dgain, void *dbias,
                                     ls_arena *scratch)
{
    job j;
    ls_mark mark = ls_arena_mark(scratch);
    const ls_status status = open_job(&j, device, type, outer, rows, channels, groups, scratch);
    if (status == LS_OK) {
        j.x = x, j.dy = dy, j.dx = dx;
        for (int64_t i = 0; i < outer * channels; i++)
            put_real(&j, j.mean, i, stats[2 * (i / channels * groups + i % channels / (channels / groups))]);
        each_chunk(device, &j, outer, gradients_range);
        fold_gradients(&j, type, gain_type, outer, eps, gain, stats, dgain, dbias);
        if (dx)
            each_chunk(device, &j, outer, backward_range);
    }
    ls_arena_release(scratch, mark);
    return status;
}
