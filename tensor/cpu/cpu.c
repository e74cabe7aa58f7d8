/* The CPU device: its table, its memory, and how its work is cut and dealt. */
#include "tensor/cpu/cpu.h"
#include "tensor/cpu/product.h"
#include "tensor/cpu/tight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The tables of tensor/cpu/vector/table.c, by level and type. f64 is compiled once: gradient checks need no speed. */
extern const ls_kernels ls_kernel_table_generic_f64;
#define LEVEL(name)                                                                                                                       \
    extern const ls_kernels ls_kernel_table_##name##_f32, ls_kernel_table_##name##_bf16, ls_kernel_table_##name##_f16;                    \
    extern const ls_flat_kernels ls_kernel_flat_##name##_f32;                                                                             \
    static const ls_level name = {{[LS_F32] = &ls_kernel_table_##name##_f32, [LS_BF16] = &ls_kernel_table_##name##_bf16,                  \
                                   [LS_F16] = &ls_kernel_table_##name##_f16, [LS_F64] = &ls_kernel_table_generic_f64},                    \
                                  &ls_kernel_flat_##name##_f32};
LEVEL(generic)
#if defined(__x86_64__)
LEVEL(avx2)
LEVEL(avx512)
#endif

const ls_level *ls_cpu_kernels(ls_numerics level)
{
#if defined(__x86_64__)
    if (level >= LS_NUMERICS_AVX512)
        return &avx512;
    if (level == LS_NUMERICS_AVX2)
        return &avx2;
#endif
    (void)level;
    return &generic;
}

const ls_kernels *ls_cpu_kernels_of(ls_device *device, ls_type type)
{
    return ((const ls_cpu *)device->self)->kernels->type[type];
}

typedef struct {
    ls_cpu_range f;
    void *context;
    int64_t count, piece;
} ranges;

static void run_range(void *context, int64_t item)
{
    const ranges *r = context;
    int64_t begin = item * r->piece, end = begin + r->piece;
    r->f(r->context, begin, end < r->count ? end : r->count);
}

void ls_cpu_ranges(ls_device *device, int64_t count, int64_t piece, int64_t cost, ls_cpu_range f, void *context)
{
    if (count <= 0)
        return;
    if (piece < 1)
        piece = 1;
    if (count <= piece || count * cost < LS_CPU_WORTH) {
        f(context, 0, count);
        return;
    }
    ranges r = {f, context, count, piece};
    ls_team_run(device->team, (count + piece - 1) / piece, run_range, &r);
}

/* Fresh pages of the system: zeros, and large pages where the system gives them (flat buffers are walked whole). */
static ls_status cpu_allocate(ls_device *device, size_t bytes, void **block)
{
    (void)device;
    *block = NULL;
    size_t size = bytes ? bytes : 1;
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return ls_fail(LS_EMEM, "cpu: %.2f GiB of memory are not to be had (%s); lower the model's size or batch.grain",
                       (double)bytes / (1024.0 * 1024 * 1024), strerror(errno));
    madvise(pages, size, MADV_HUGEPAGE); /* a wish: refusal does no harm */
    *block = pages;
    return LS_OK;
}

static void cpu_release(ls_device *device, void *block, size_t bytes)
{
    (void)device;
    if (block)
        munmap(block, bytes ? bytes : 1);
}

/* Bytes that are kept at most: panels pay for models whose grains are small beside the weights, and are no burden beside their moments;
 * decoding's, for models of up to half a billion weights, cost as much as the weights do. */
enum { PANELS = 128 << 20, TIGHT = 1 << 30 };

static void cpu_free(ls_device *device)
{
    if (!device)
        return;
    ls_held_free(((ls_cpu *)device->self)->held);
    ls_held_free(((ls_cpu *)device->self)->tight);
    free(device->self);
    free(device);
}

static void cpu_move(ls_device *device, size_t bytes, const void *x, void *y)
{
    (void)device;
    if (bytes)
        memmove(y, x, bytes);
}

/* Two layouts of each, for results and for gradients, in the product's units of four bytes: what it widens takes twice its own. */
static size_t cpu_hold_weights(ls_device *device, ls_type type, int64_t count)
{
    const ls_cpu *cpu = device->self;
    if (count)
        return ls_held_begin(cpu->held, 2 * sizeof(float) * (size_t)(count / ls_product_kernels_for(cpu->level, type)->unit));
    ls_held_end(cpu->held);
    return 0;
}

/* The room of groups that keep their sixteen bits; what others leave free is never touched, or rounded up to pages. */
static size_t cpu_hold_for_decoding(ls_device *device, ls_type type, int64_t count)
{
    const ls_cpu *cpu = device->self;
    if (count && type == LS_BF16 && ls_tight_kernels_for(cpu->level))
        return ls_held_begin(cpu->tight, sizeof(uint16_t) * (size_t)count + (size_t)count / 128);
    ls_held_end(cpu->tight);
    return 0;
}

static const ls_device table = {
    .name = "cpu", .free = cpu_free, .allocate = cpu_allocate, .release = cpu_release, .reserve = cpu_allocate, .move = cpu_move,
    .hold_weights = cpu_hold_weights, .hold_for_decoding = cpu_hold_for_decoding,

    .unary = ls_cpu_unary, .scale_by = ls_cpu_scale_by, .unary_backward = ls_cpu_unary_backward,
    .binary = ls_cpu_binary, .binary_backward = ls_cpu_binary_backward,
    .gated = ls_cpu_gated, .gated_backward = ls_cpu_gated_backward,
    .where = ls_cpu_where, .where_backward = ls_cpu_where_backward,
    .cast = ls_cpu_cast, .add_to = ls_cpu_add_to, .fill = ls_cpu_fill, .dropout = ls_cpu_dropout, .gumbel = ls_cpu_gumbel,

    .reduce = ls_cpu_reduce, .reduce_backward = ls_cpu_reduce_backward, .top_k = ls_cpu_top_k,
    .sort = ls_cpu_sort, .scatter_add_elements = ls_cpu_scatter_add_elements, .cumulative_sum = ls_cpu_cumulative_sum,
    .softmax = ls_cpu_softmax, .softmax_backward = ls_cpu_softmax_backward,
    .norm = ls_cpu_norm, .norm_backward = ls_cpu_norm_backward, .sum_rows = ls_cpu_sum_rows,
    .rotary = ls_cpu_rotary,

    .copy_strided = ls_cpu_copy_strided, .add_strided = ls_cpu_add_strided,
    .gather_rows = ls_cpu_gather_rows, .scatter_add_rows = ls_cpu_scatter_add_rows,

    .matmul = ls_cpu_matmul, .attention = ls_cpu_attention, .attention_backward = ls_cpu_attention_backward,
    .cross_entropy = ls_cpu_cross_entropy, .sum_losses = ls_cpu_sum_losses,

    .element_loss = ls_cpu_element_loss, .element_loss_backward = ls_cpu_element_loss_backward,
    .row_loss = ls_cpu_row_loss, .row_loss_backward = ls_cpu_row_loss_backward,
    .cosine = ls_cpu_cosine, .cosine_backward = ls_cpu_cosine_backward,

    .conv = ls_cpu_conv, .conv_input = ls_cpu_conv_input, .conv_weight = ls_cpu_conv_weight,
    .pool = ls_cpu_pool, .pool_backward = ls_cpu_pool_backward,
    .upsample = ls_cpu_upsample, .upsample_backward = ls_cpu_upsample_backward,
    .group_norm = ls_cpu_group_norm, .group_norm_backward = ls_cpu_group_norm_backward,

    .carry = ls_cpu_carry, .chunk_squares = ls_cpu_chunk_squares, .optimizer_step = ls_cpu_optimizer_step,
    .average = ls_cpu_average,
};

ls_status ls_device_create_cpu(ls_device **out, ls_team *team)
{
    *out = NULL;
    ls_device *device = malloc(sizeof *device);
    ls_cpu *cpu = malloc(sizeof *cpu);
    ls_held *held = ls_held_create(PANELS), *tight = ls_held_create(TIGHT);
    if (!device || !cpu || !held || !tight) {
        free(device);
        free(cpu);
        ls_held_free(held);
        ls_held_free(tight);
        return ls_fail(LS_EMEM, "cpu: no memory for the device's table");
    }
    cpu->level = ls_numerics_level();
    cpu->kernels = ls_cpu_kernels(cpu->level);
    cpu->held = held;
    cpu->tight = tight;
    *device = table;
    device->numerics = ls_numerics_id();
    device->self = cpu;
    device->team = team;
    *out = device;
    return LS_OK;
}
