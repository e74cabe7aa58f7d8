/* Over grids, channels last: convolution and its transpose, pooling, upsampling, batch norm, group norm. The formulas are the naive
 * device's (reference_grids.c), with shapes worked out here. */
#include "tests/tensor/operators/family.h"
#include "tests/tensor/reference_device.h"
#include "tensor/ops_image.h"

/* argument = {stride, padding, dilation, groups}, the same for each axis; activation by groups above 100 */
static ls_conv_options options_of(const operator_case *c)
{
    ls_conv_options o = {.groups = c->argument[3] % 100};
    for (int i = 0; i < 3; i++) {
        o.stride[i] = c->argument[0];
        o.padding[i] = c->argument[1];
        o.dilation[i] = c->argument[2];
    }
    return o;
}

static ls_activation activation_of(const operator_case *c)
{
    return c->argument[3] >= 100 ? LS_ACT_GELU : LS_ACT_NONE;
}

static ls_tensor *build_conv(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    const ls_conv_options o = options_of(c);
    return ls_conv(tape, in[0], in[1], in[2], &o, activation_of(c));
}

static ls_tensor *build_transposed(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    const ls_conv_options o = options_of(c);
    return ls_conv_transpose(tape, in[0], in[1], in[2], &o, (int64_t[]){c->argument[3] >= 100, c->argument[3] >= 100, c->argument[3] >= 100});
}

/* Grid of the case; window from input 1, or given. */
static ls_grid grid_of(const operator_case *c, const int64_t *window, int64_t stride, int64_t padding, int64_t dilation)
{
    int axes = c->in[0].ndim - 2;
    ls_grid g = {.type = LS_F64, .batch = size(c, 0, 0), .channels = size(c, 0, axes + 1), .groups = 1};
    for (int i = 0; i < 3; i++) {
        int own = i - (3 - axes);
        g.in[i] = own < 0 ? 1 : size(c, 0, 1 + own);
        g.window[i] = own < 0 ? 1 : window[own];
        g.stride[i] = own < 0 ? 1 : stride;
        g.padding[i] = own < 0 ? 0 : padding;
        g.dilation[i] = own < 0 ? 1 : dilation;
        g.out[i] = (g.in[i] + 2 * g.padding[i] - g.dilation[i] * (g.window[i] - 1) - 1) / g.stride[i] + 1;
    }
    return g;
}

static void value_conv(const operator_case *c, const double *const *in, double *out)
{
    ls_grid g = grid_of(c, c->in[1].shape + 1, c->argument[0], c->argument[1], c->argument[2]);
    g.groups = c->argument[3] % 100;
    g.outputs = size(c, 1, 0);
    reference_device()->conv(NULL, &g, in[0], in[1], in[2], LS_F64, activation_of(c), out, NULL, NULL);
}

/* y[i * stride + k * dilation - padding] += x[i] w[k] */
static void value_transposed(const operator_case *c, const double *const *in, double *out)
{
    ls_grid g = grid_of(c, c->in[1].shape + 1, c->argument[0], c->argument[1], c->argument[2]);
    g.groups = c->argument[3] % 100;
    g.outputs = g.channels;
    g.channels = size(c, 1, c->in[1].ndim - 1) * g.groups;
    int64_t count = g.batch * g.channels;
    for (int i = 0; i < 3; i++) {
        bool real = i >= 3 - (c->in[0].ndim - 2);
        g.out[i] = g.in[i];
        g.in[i] = (g.out[i] - 1) * g.stride[i] - 2 * g.padding[i] + g.dilation[i] * (g.window[i] - 1) + 1 + (real && c->argument[3] >= 100);
        count *= g.in[i];
    }
    reference_device()->conv_input(NULL, &g, in[0], in[1], false, out, NULL);
    for (int64_t i = 0; i < count; i++)
        out[i] += in[2][i % g.channels];
}

/* argument = {kind, window, stride, padding}; window 0: global */
static ls_tensor *build_pool(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    const int64_t *a = c->argument;
    if (a[1] == 0)
        return ls_global_pooling(tape, in[0], (ls_pooling_kind)a[0]);
    return ls_pooling(tape, in[0], (ls_pooling_kind)a[0], (int64_t[]){a[1], a[1], a[1]}, (int64_t[]){a[2], a[2], a[2]}, (int64_t[]){a[3], a[3], a[3]});
}

static void value_pool(const operator_case *c, const double *const *in, double *out)
{
    const int64_t *a = c->argument, window[] = {a[1], a[1], a[1]};
    ls_grid g = grid_of(c, a[1] ? window : c->in[0].shape + 1, a[2] ? a[2] : 1, a[3], 1);
    g.outputs = g.channels;
    reference_device()->pool(NULL, &g, (ls_pooling_kind)a[0], in[0], out, NULL);
}

static ls_tensor *build_batch_norm(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    (void)c;
    return ls_batch_norm(tape, in[0], in[1], in[2], NULL, NULL, 1e-5);
}

static ls_tensor *build_group_norm(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_group_norm(tape, in[0], c->argument[0], in[1], in[2], 1e-5);
}

static void value_norm(const operator_case *c, const double *const *in, bool batch, int64_t groups, double *out)
{
    int64_t channels = size(c, 1, 0), outer = batch ? 1 : size(c, 0, 0), rows = 1;
    for (int i = batch ? 0 : 1; i < c->in[0].ndim - 1; i++)
        rows *= size(c, 0, i);
    double stats[1024];
    reference_device()->group_norm(NULL, LS_F64, LS_F64, outer, rows, channels, groups, 1e-5, false, in[0], in[1], in[2], out, stats, NULL);
}

static void value_batch_norm(const operator_case *c, const double *const *in, double *out)
{
    value_norm(c, in, true, size(c, 1, 0), out);
}

static void value_group_norm(const operator_case *c, const double *const *in, double *out)
{
    value_norm(c, in, false, c->argument[0], out);
}

static double conv_flops(const operator_case *c)
{
    return 2.0 * (double)(size(c, 0, 0) * size(c, 0, 1) * size(c, 0, 2)) * (double)operator_input_count(c, 1);
}

/* argument = {kind, size of each axis} */
static ls_tensor *build_upsampling(ls_tape *tape, ls_tensor *const *in, const operator_case *c)
{
    return ls_upsampling(tape, in[0], (ls_upsampling_kind)c->argument[0], c->argument + 1);
}

static void value_upsampling(const operator_case *c, const double *const *in, double *out)
{
    ls_grid g = grid_of(c, (int64_t[]){1, 1, 1}, 1, 0, 1);
    for (int i = 0; i < c->in[0].ndim - 2; i++)
        g.out[3 - (c->in[0].ndim - 2) + i] = c->argument[1 + i];
    reference_device()->upsample(NULL, &g, (ls_upsampling_kind)c->argument[0], in[0], out, NULL);
}

/* A grid in input 0: only the batch may be empty. */
static int draw_grid(fuzz *f, operator_case *c, int64_t channels)
{
    int axes = 1 + (int)fuzz_below(f, 3);
    fuzz_append(c, 0, fuzz_size(f));
    for (int i = 0; i < axes; i++)
        fuzz_append(c, 0, fuzz_size_from(f, 1));
    fuzz_append(c, 0, channels);
    return axes;
}

/* The least of the grid's sizes. */
static int64_t least_length(const operator_case *c)
{
    int64_t least = size(c, 0, 1);
    for (int i = 2; i < c->in[0].ndim - 1; i++)
        least = size(c, 0, i) < least ? size(c, 0, i) : least;
    return least;
}

static void draw_conv(fuzz *f, operator_case *c)
{
    int64_t groups = 1 + fuzz_below(f, 2), depth = 1 + fuzz_below(f, 3), outputs = groups * (1 + fuzz_below(f, 2));
    int axes = draw_grid(f, c, groups * depth);
    int64_t padding = fuzz_below(f, 2), dilation = 1 + fuzz_below(f, 2), room = (least_length(c) + 2 * padding - 1) / dilation + 1;
    fuzz_append(c, 1, outputs);
    for (int i = 0; i < axes; i++)
        fuzz_append(c, 1, 1 + fuzz_below(f, room < 3 ? room : 3));
    fuzz_append(c, 1, depth), fuzz_append(c, 2, outputs);
    c->argument[0] = 1 + fuzz_below(f, 3), c->argument[1] = padding, c->argument[2] = dilation, c->argument[3] = groups + 100 * fuzz_below(f, 2);
}

static void draw_transposed(fuzz *f, operator_case *c)
{
    int64_t groups = 1 + fuzz_below(f, 2), depth = 1 + fuzz_below(f, 2);
    int axes = draw_grid(f, c, groups * depth);
    fuzz_append(c, 1, groups * depth);
    int64_t outputs = 1 + fuzz_below(f, 2), window = 1 + fuzz_below(f, 3), stride = 1 + fuzz_below(f, 3), more = stride > 1 && fuzz_below(f, 2);
    for (int i = 0; i < axes; i++)
        fuzz_append(c, 1, window);
    fuzz_append(c, 1, outputs), fuzz_append(c, 2, outputs * groups);
    c->argument[0] = stride, c->argument[1] = window > 2 ? fuzz_below(f, 2) : 0, c->argument[2] = 1 + fuzz_below(f, 2), c->argument[3] = groups + 100 * more;
}

static void draw_pool(fuzz *f, operator_case *c)
{
    draw_grid(f, c, fuzz_size_from(f, 1));
    int64_t length = least_length(c), window = fuzz_below(f, (length < 3 ? length : 3) + 1);
    c->argument[0] = fuzz_below(f, 3), c->argument[1] = window, c->argument[2] = window ? 1 + fuzz_below(f, 3) : 0, c->argument[3] = window > 1 ? fuzz_below(f, 2) : 0;
}

static void draw_upsampling(fuzz *f, operator_case *c)
{
    int axes = draw_grid(f, c, fuzz_size_from(f, 1));
    c->argument[0] = fuzz_below(f, 3);
    for (int i = 0; i < axes; i++)
        c->argument[1 + i] = 1 + fuzz_below(f, f->kind == FUZZ_LONG && axes == 1 ? 90 : 6);
}

static void draw_batch_norm(fuzz *f, operator_case *c)
{
    draw_any(f, c);
    fuzz_append(c, 0, fuzz_size(f)), fuzz_append(c, 0, fuzz_size_from(f, 1));
    fuzz_append(c, 1, size(c, 0, c->in[0].ndim - 1)), fuzz_append(c, 2, size(c, 1, 0));
}

static void draw_group_norm(fuzz *f, operator_case *c)
{
    c->argument[0] = 1 + fuzz_below(f, 3);
    draw_any(f, c);
    fuzz_append(c, 0, fuzz_size(f)), fuzz_append(c, 0, c->argument[0] * fuzz_size_from(f, 1));
    fuzz_append(c, 1, size(c, 0, c->in[0].ndim - 1)), fuzz_append(c, 2, size(c, 1, 0));
}

/* clang-format off */
static const operator_case convs[] = {
    {"1d", {{3, {2, 9, 3}}, {3, {4, 3, 3}}, {1, {4}}}, {1, 1, 1, 1}},
    {"2d, same size", {{4, {2, 5, 6, 3}}, {4, {5, 3, 3, 3}}, {1, {5}}}, {1, 1, 1, 1}},
    {"stride 2 does not divide", {{4, {1, 7, 6, 4}}, {4, {3, 3, 3, 4}}, {1, {3}}}, {2, 1, 1, 1}},
    {"stride 3, window 2", {{4, {2, 8, 7, 2}}, {4, {2, 2, 2, 2}}, {1, {2}}}, {3, 0, 1, 1}},
    {"1 x 1", {{4, {2, 4, 3, 18}}, {4, {17, 1, 1, 18}}, {1, {17}}}, {1, 0, 1, 1}},
    {"1 x 1, stride 2", {{4, {2, 5, 3, 3}}, {4, {4, 1, 1, 3}}, {1, {4}}}, {2, 0, 1, 1}},
    {"dilated", {{4, {1, 8, 9, 2}}, {4, {3, 3, 3, 2}}, {1, {3}}}, {1, 2, 2, 1}},
    {"dilated with stride", {{4, {1, 9, 8, 2}}, {4, {3, 2, 3, 2}}, {1, {3}}}, {2, 2, 3, 1}},
    {"groups", {{4, {2, 5, 4, 6}}, {4, {4, 3, 3, 3}}, {1, {4}}}, {1, 1, 1, 2}},
    {"depthwise", {{4, {2, 5, 5, 5}}, {4, {5, 3, 3, 1}}, {1, {5}}}, {2, 1, 1, 5}},
    {"activation", {{4, {2, 5, 5, 3}}, {4, {4, 3, 3, 3}}, {1, {4}}}, {1, 1, 1, 101}},
    {"3d", {{5, {1, 3, 4, 5, 2}}, {5, {3, 2, 3, 2, 2}}, {1, {3}}}, {1, 1, 1, 1}},
    {"longer than a chain", {{4, {1, 3, 3, 40}}, {4, {2, 3, 3, 40}}, {1, {2}}}, {1, 1, 1, 1}},
    {"more positions than a chain", {{4, {2, 15, 13, 2}}, {4, {3, 3, 3, 2}}, {1, {3}}}, {1, 1, 1, 1}},
    {"nothing to gather", {{4, {2, 15, 13, 6}}, {4, {7, 3, 3, 6}}, {1, {7}}}, {1, 1, 1, 1}},
    {"nothing to gather, wide", {{4, {2, 3, 9, 34}}, {4, {5, 3, 3, 34}}, {1, {5}}}, {1, 1, 1, 1}},
    {"nothing to gather, dilated", {{4, {1, 7, 8, 17}}, {4, {4, 3, 3, 17}}, {1, {4}}}, {1, 2, 2, 101}},
    {"nothing to gather, 3d", {{5, {2, 3, 4, 5, 7}}, {5, {4, 3, 3, 3, 7}}, {1, {4}}}, {1, 1, 1, 1}},
    {"all of size 1", {{4, {1, 1, 1, 1}}, {4, {1, 1, 1, 1}}, {1, {1}}}, {1, 0, 1, 1}},
    {0},
};
static const operator_case transposed[] = {
    {"1d", {{3, {2, 5, 3}}, {3, {3, 3, 4}}, {1, {4}}}, {2, 1, 1, 1}},
    {"2d, doubles", {{4, {2, 4, 3, 3}}, {4, {3, 2, 2, 5}}, {1, {5}}}, {2, 0, 1, 1}},
    {"output padding", {{4, {1, 3, 4, 2}}, {4, {2, 3, 3, 3}}, {1, {3}}}, {2, 1, 1, 101}},
    {"groups, dilated", {{4, {2, 4, 4, 4}}, {4, {4, 3, 3, 2}}, {1, {4}}}, {1, 1, 2, 2}},
    {"3d", {{5, {1, 2, 3, 2, 2}}, {5, {2, 2, 2, 3, 2}}, {1, {2}}}, {2, 0, 1, 1}},
    {0},
};
/* max: few enough numbers that no two of a window are equal, where there is no gradient to compare */
static const operator_case pools[] = {
    {"max", {{4, {1, 4, 5, 3}}}, {LS_POOL_MAX, 2, 2, 0}},
    {"max, overlapping and padded", {{4, {1, 5, 4, 4}}}, {LS_POOL_MAX, 3, 2, 1}},
    {"average", {{4, {2, 6, 4, 3}}}, {LS_POOL_AVERAGE, 2, 2, 0}},
    {"average of what is there", {{4, {1, 5, 6, 3}}}, {LS_POOL_AVERAGE, 3, 2, 1}},
    {"average with padding counted", {{4, {1, 5, 6, 3}}}, {LS_POOL_AVERAGE_PADDED, 3, 2, 1}},
    {"global average", {{4, {3, 4, 3, 5}}}, {LS_POOL_AVERAGE, 0, 0, 0}},
    {"global max", {{3, {2, 7, 3}}}, {LS_POOL_MAX, 0, 0, 0}},
    {"3d", {{5, {1, 4, 5, 4, 2}}}, {LS_POOL_MAX, 2, 1, 1}},
    {0},
};
static const operator_case upsamplings[] = {
    {"nearest, doubled", {{4, {2, 3, 4, 3}}}, {LS_UPSAMPLE_NEAREST, 6, 8}},
    {"nearest, odd", {{4, {1, 3, 5, 2}}}, {LS_UPSAMPLE_NEAREST, 7, 4}},
    {"nearest, PyTorch's rounding", {{3, {1, 2, 1}}}, {LS_UPSAMPLE_NEAREST, 82}},
    {"nearest, 3d", {{5, {1, 2, 3, 2, 2}}}, {LS_UPSAMPLE_NEAREST, 3, 4, 5}},
    {"bilinear, doubled", {{4, {2, 3, 4, 3}}}, {LS_UPSAMPLE_BILINEAR, 6, 8}},
    {"bilinear, fewer", {{4, {1, 7, 5, 2}}}, {LS_UPSAMPLE_BILINEAR, 3, 4}},
    {"bilinear, the same size", {{4, {1, 3, 4, 2}}}, {LS_UPSAMPLE_BILINEAR, 3, 4}},
    {"corners", {{4, {2, 3, 4, 3}}}, {LS_UPSAMPLE_BILINEAR_CORNERS, 7, 9}},
    {"corners, to one", {{4, {1, 3, 4, 2}}}, {LS_UPSAMPLE_BILINEAR_CORNERS, 1, 2}},
    {"linear", {{3, {2, 5, 2}}}, {LS_UPSAMPLE_BILINEAR, 8}},
    {"trilinear", {{5, {1, 2, 3, 2, 2}}}, {LS_UPSAMPLE_BILINEAR, 3, 4, 5}},
    {"more channels than a block", {{4, {1, 2, 1, 600}}}, {LS_UPSAMPLE_BILINEAR, 3, 2}},
    {"all of size 1", {{4, {1, 1, 1, 1}}}, {LS_UPSAMPLE_BILINEAR_CORNERS, 1, 1}},
    {0},
};
static const operator_case batch_norms[] = {
    {"images", {{4, {3, 4, 5, 3}}, {1, {3}}, {1, {3}}}, {0}},
    {"rows alone", {{2, {7, 19}}, {1, {19}}, {1, {19}}}, {0}},
    {"more rows than a chunk", {{2, {300, 2}}, {1, {2}}, {1, {2}}}, {0}},
    {0},
};
static const operator_case group_norms[] = {
    {"two groups", {{4, {3, 4, 3, 6}}, {1, {6}}, {1, {6}}}, {2}},
    {"one group", {{4, {2, 3, 3, 5}}, {1, {5}}, {1, {5}}}, {1}},
    {"each channel alone", {{3, {2, 300, 3}}, {1, {3}}, {1, {3}}}, {3}},
    {0},
};

const operator_description operators_grids[] = {
    {.name = "conv", .inputs = 3, .gains = 1u << 2, .build = build_conv, .value = value_conv, .cases = convs, .draw = draw_conv, .flops = conv_flops,
     .bench = {"bench", {{4, {16, 32, 32, 64}}, {4, {64, 3, 3, 64}}, {1, {64}}}, {1, 1, 1, 1}}},
    {.name = "conv_transpose", .inputs = 3, .build = build_transposed, .value = value_transposed, .cases = transposed, .draw = draw_transposed, .flops = conv_flops,
     .bench = {"bench", {{4, {16, 16, 16, 64}}, {4, {64, 2, 2, 64}}, {1, {64}}}, {2, 0, 1, 1}}},
    {.name = "pool", .inputs = 1, .build = build_pool, .value = value_pool, .cases = pools, .draw = draw_pool, .bench = {"bench", {{4, {16, 32, 32, 64}}}, {LS_POOL_MAX, 2, 2, 0}}},
    {.name = "upsampling", .inputs = 1, .build = build_upsampling, .value = value_upsampling, .cases = upsamplings, .draw = draw_upsampling,
     .bench = {"bench", {{4, {16, 32, 32, 64}}}, {LS_UPSAMPLE_BILINEAR, 64, 64}}},
    {.name = "batch_norm", .inputs = 3, .gains = 1u << 1 | 1u << 2, .build = build_batch_norm, .value = value_batch_norm, .cases = batch_norms, .draw = draw_batch_norm,
     .bench = {"bench", {{4, {16, 32, 32, 64}}, {1, {64}}, {1, {64}}}, {0}}},
    {.name = "group_norm", .inputs = 3, .gains = 1u << 1 | 1u << 2, .build = build_group_norm, .value = value_group_norm, .cases = group_norms, .draw = draw_group_norm,
     .bench = {"bench", {{4, {16, 32, 32, 64}}, {1, {64}}, {1, {64}}}, {8}}},
    {0},
};
/* clang-format on */
