/* Convolution on the CUDA device: by cuDNN (on the emulation its double), by gathered patches, and what is left to them where the
 * library has no kernel; against the naive device, with what decides the bits. */
#include "tests/tensor/cuda_fixture.h"
#include "tests/tensor/reference_device.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(cuda_conv, .init = make_device, .fini = free_device);

/* Grids of one, two and three axes; strides that leave positions out, dilation, groups, padding on each side; one number. */
static const ls_grid grids[] = {
    {.batch = 2, .in = {1, 6, 7}, .window = {1, 3, 2}, .stride = {1, 2, 1}, .padding = {0, 1, 1}, .dilation = {1, 1, 2}, .channels = 6, .outputs = 4, .groups = 2},
    {.batch = 3, .in = {1, 1, 11}, .window = {1, 1, 4}, .stride = {1, 1, 3}, .padding = {0, 0, 2}, .dilation = {1, 1, 1}, .channels = 5, .outputs = 7, .groups = 1},
    {.batch = 1, .in = {3, 4, 5}, .window = {2, 1, 3}, .stride = {1, 2, 1}, .padding = {1, 0, 1}, .dilation = {2, 1, 1}, .channels = 3, .outputs = 2, .groups = 1},
    {.batch = 2, .in = {1, 4, 4}, .window = {1, 3, 3}, .stride = {1, 1, 1}, .padding = {0, 1, 1}, .dilation = {1, 1, 1}, .channels = 8, .outputs = 8, .groups = 8},
    {.batch = 1, .in = {1, 1, 1}, .window = {1, 1, 1}, .stride = {1, 1, 1}, .padding = {0, 0, 0}, .dilation = {1, 1, 1}, .channels = 1, .outputs = 1, .groups = 1},
};
enum { GRIDS = sizeof grids / sizeof *grids };

static int64_t volume(const int64_t size[3])
{
    return size[0] * size[1] * size[2];
}

static ls_grid grid_of(const ls_grid *from, ls_type type)
{
    ls_grid g = *from;
    g.type = type;
    for (int d = 0; d < 3; d++)
        g.out[d] = (g.in[d] + 2 * g.padding[d] - ((g.window[d] - 1) * g.dilation[d] + 1)) / g.stride[d] + 1;
    return g;
}

/* x, w, y and bias of a grid; each call draws the same. */
typedef struct {
    int64_t x, w, y;
    ls_type type, wide; /* wide: of dw */
    void *in_x, *in_w, *in_y, *bias, *out, *pre, *dx, *dw;
} arrays;

static void *drawn(ls_type type, int64_t n, uint32_t seed)
{
    const ls_random stream = {.seed = seed, .purpose = LS_RANDOM_TASK};
    void *x = malloc((size_t)n * ls_type_size(type));
    for (int64_t i = 0; i < n; i++)
        reference_put(type, x, i, 2 * (double)ls_random_uniform(&stream, (uint64_t)i) - 1);
    return x;
}

static arrays arrays_of(const ls_grid *g)
{
    arrays a = {.x = g->batch * volume(g->in) * g->channels, .w = g->outputs * volume(g->window) * (g->channels / g->groups), .y = g->batch * volume(g->out) * g->outputs,
                .type = g->type, .wide = g->type == LS_F64 ? LS_F64 : LS_F32};
    a.in_x = drawn(a.type, a.x, 1), a.in_w = drawn(a.type, a.w, 2), a.in_y = drawn(a.type, a.y, 3), a.bias = drawn(LS_F32, g->outputs, 4);
    a.out = drawn(a.type, a.y, 5), a.pre = drawn(a.type, a.y, 6), a.dx = drawn(a.type, a.x, 7), a.dw = drawn(a.wide, a.w, 8);
    return a;
}

static void arrays_free(arrays *a)
{
    free(a->in_x), free(a->in_w), free(a->in_y), free(a->bias), free(a->out), free(a->pre), free(a->dx), free(a->dw);
}

/* All three functions on one device. */
static void convolve(ls_device *on, const ls_grid *g, bool accumulate, arrays *a)
{
    cr_assert_eq(on->conv(on, g, a->in_x, a->in_w, accumulate ? a->bias : NULL, LS_F32, accumulate ? LS_ACT_RELU : LS_ACT_NONE, a->out, accumulate ? a->pre : NULL, NULL), LS_OK, "%s",
                 ls_fail_sentence());
    cr_assert_eq(on->conv_input(on, g, a->in_y, a->in_w, accumulate, a->dx, NULL), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(on->conv_weight(on, g, a->in_x, a->in_y, a->dw, NULL), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_device_wait(on), LS_OK, "%s", ls_fail_sentence());
}

static void same(const char *what, int grid, ls_type type, double bound, int64_t n, const void *want, const void *got)
{
    for (int64_t i = 0; i < n; i++) {
        const double x = reference_get(type, want, i), y = reference_get(type, got, i);
        cr_assert_float_eq(x, y, bound * (1 + fabs(x)), "grid %d, type %d, %s: element %d is %g, not %g", grid, (int)type, what, (int)i, y, x);
    }
}

static void convolutions_agree(void)
{
    static const ls_type types[] = {LS_F32, LS_BF16, LS_F16, LS_F64};
    static const double bounds[] = {1e-5, 3e-2, 4e-3, 1e-12};
    for (int n = 0; n < GRIDS; n++)
        for (int t = 0; t < 4; t++)
            for (int accumulate = 0; accumulate < 2; accumulate++) {
                const ls_grid g = grid_of(&grids[n], types[t]);
                arrays want = arrays_of(&g), got = arrays_of(&g);
                convolve(reference_device(), &g, accumulate, &want);
                convolve(device, &g, accumulate, &got);
                same("y", n, g.type, bounds[t], want.y, want.out, got.out);
                same("pre", n, g.type, bounds[t], want.y, want.pre, got.pre);
                same("dx", n, g.type, bounds[t], want.x, want.dx, got.dx);
                same("dw", n, want.wide, bounds[t] < 1e-5 ? bounds[t] : 1e-5, want.w, want.dw, got.dw);
                arrays_free(&want), arrays_free(&got);
            }
}

/* Choices of the device: how many, and how many of them are a refusal. */
static int64_t choices(int64_t *refused)
{
    ls_device_choice all[256];
    const int64_t count = device->choices(device, all, 256);
    *refused = 0;
    for (int64_t i = 0; i < count; i++)
        *refused += all[i].algorithm == 0;
    return count;
}

static bool has_library(void)
{
    return strstr(device->numerics, " cudnn-") != NULL;
}

/* f64 the library has not with channels last: it is left to products. */
Test(cuda_conv, convolutions_agree_with_the_naive_device)
{
    convolutions_agree();
#ifdef LS_CUDAHOST
    cr_expect(has_library(), "%s", device->numerics);
#endif
}

Test(cuda_conv, gathered_convolutions_agree_with_the_naive_device)
{
    int64_t refused;
    ls_device_cuda_products(device, LS_CUDA_PRODUCTS_OWN);
    convolutions_agree();
    cr_expect(!has_library(), "%s", device->numerics);
    cr_expect_eq(choices(&refused), 0, "the library was not asked");
}

#ifdef LS_CUDAHOST
Test(cuda_conv, convolutions_that_the_library_refuses_are_gathered)
{
    cudahost_cudnn_refuse(1);
    convolutions_agree();
    cudahost_cudnn_refuse(0);
}

/* The library is asked for what it can do, once for each shape (bf16 and f16 weights' gradients of three samples are two and one of f32), and does nothing that needs more workspace than all may have. What
 * is left are products, which have choices of their own. */
Test(cuda_conv, the_library_is_asked_once_for_a_shape)
{
    static const ls_grid wide = {.batch = 1, .in = {1, 1, 1}, .window = {1, 1, 1}, .stride = {1, 1, 1}, .padding = {0, 0, 0}, .dilation = {1, 1, 1}, .channels = 520, .outputs = 520, .groups = 1};
    static const struct {
        const ls_grid *grid;
        ls_type type;
        int64_t asked, refused, products;
    } cases[] = {{&grids[0], LS_F32, 3, 0, 0}, {&grids[1], LS_BF16, 4, 0, 0}, {&grids[1], LS_F16, 2, 0, 0}, {&grids[1], LS_F64, 0, 0, 3}, {&wide, LS_F32, 3, 2, 2}};
    for (int i = 0; i < 5; i++) {
        const ls_grid g = grid_of(cases[i].grid, cases[i].type);
        int64_t before, after;
        const int64_t count = choices(&before);
        for (int again = 0; again < 2; again++) {
            arrays a = arrays_of(&g);
            convolve(device, &g, true, &a);
            arrays_free(&a);
            cr_expect_eq(choices(&after) - count, cases[i].asked + cases[i].products, "case %d: %d shapes", i, (int)(choices(&after) - count));
            cr_expect_eq(after - before, cases[i].refused, "case %d: %d refused", i, (int)(after - before));
        }
    }
}

/* What ranks compare (train/choices.c): the same shapes with the same answers, until a library answers otherwise. */
Test(cuda_conv, another_answer_is_another_choice_for_the_same_shape)
{
    for (int differs = 0; differs < 2; differs++) {
        const ls_grid g = grid_of(&grids[0], LS_F32);
        ls_device_choice mine[8], others[8];
        ls_device *other;
        arrays a = arrays_of(&g);
        cr_assert_eq(ls_device_create_cuda(&other, team, 0), LS_OK, "%s", ls_fail_sentence());
        convolve(device, &g, true, &a);
        cudahost_cudnn_refuse(differs);
        convolve(other, &g, true, &a);
        cudahost_cudnn_refuse(0);
        int64_t found = 0, count = device->choices(device, mine, 8), count_others = other->choices(other, others, 8);
        for (int64_t i = 0; i < count; i++)
            for (int64_t j = 0; j < count_others; j++)
                if (mine[i].shape == others[j].shape) {
                    cr_expect_eq(mine[i].algorithm != others[j].algorithm, differs);
                    found++;
                }
        cr_expect_eq(found, 3);
        other->free(other);
        arrays_free(&a);
    }
}

/* The double names an algorithm first whose bits depend on the seed: it is not the one to be taken. */
Test(cuda_conv, no_order_changes_a_bit)
{
    const ls_grid g = grid_of(&grids[0], LS_F32);
    arrays first = {0};
    for (uint64_t seed = 0; seed < 5; seed++) {
        arrays a = arrays_of(&g);
        cudahost_seed(seed);
        convolve(device, &g, true, &a);
        if (seed == 0)
            first = a;
        cr_expect(memcmp(a.out, first.out, (size_t)a.y * 4) == 0 && memcmp(a.dx, first.dx, (size_t)a.x * 4) == 0 && memcmp(a.dw, first.dw, (size_t)a.w * 4) == 0, "seed %d", (int)seed);
        if (seed > 0)
            arrays_free(&a);
    }
    arrays_free(&first);
}

/* f32 is f32 unless tf32 was asked for. */
Test(cuda_conv, tf32_is_only_for_those_who_ask)
{
    const ls_grid g = grid_of(&grids[GRIDS - 1], LS_F32);
    const float x = 1 + 0x1p-12f, w = 1;
    for (int how = 0; how < 2; how++) {
        float y = 0;
        cr_assert_eq(device->use_tf32(device, how), LS_OK, "%s", ls_fail_sentence());
        cr_assert_eq(device->conv(device, &g, &x, &w, NULL, LS_F32, LS_ACT_NONE, &y, NULL, NULL), LS_OK, "%s", ls_fail_sentence());
        cr_expect_eq(y, how ? 1 : x, "%.9g", y);
    }
}
#endif

/* Where an array begins takes no part in the choice of an algorithm, nor in any bit. */
Test(cuda_conv, alignment_changes_no_bit)
{
    const ls_grid g = grid_of(&grids[0], LS_F32);
    arrays a = arrays_of(&g);
    const int64_t room = a.x + a.y + a.w + 64;
    const size_t bytes = (size_t)(3 * room) * sizeof(float);
    float *block, *want = malloc(bytes);
    int64_t refused, count = 0;
    cr_assert_eq(device->allocate(device, bytes, (void **)&block), LS_OK, "%s", ls_fail_sentence());
    for (int shift = 0; shift < 4; shift++) { /* elements of 4 bytes */
        float *x = block + shift, *y = x + (a.x + 15) / 4 * 4, *w = y + (a.y + 15) / 4 * 4, *out = block + room + shift, *dx = out + (a.y + 15) / 4 * 4, *dw = dx + (a.x + 15) / 4 * 4;
        cr_assert_eq(device->synchronize(device), LS_OK);
        memcpy(x, a.in_x, (size_t)a.x * 4), memcpy(y, a.in_y, (size_t)a.y * 4), memcpy(w, a.in_w, (size_t)a.w * 4), memcpy(dx, a.dx, (size_t)a.x * 4), memcpy(dw, a.dw, (size_t)a.w * 4);
        cr_assert_eq(device->conv(device, &g, x, w, NULL, LS_F32, LS_ACT_NONE, out, NULL, NULL), LS_OK, "%s", ls_fail_sentence());
        cr_assert_eq(device->conv_input(device, &g, y, w, true, dx, NULL), LS_OK, "%s", ls_fail_sentence());
        cr_assert_eq(device->conv_weight(device, &g, x, y, dw, NULL), LS_OK, "%s", ls_fail_sentence());
        cr_assert_eq(device->synchronize(device), LS_OK, "%s", ls_fail_sentence());
        float *const from[] = {out, dx, dw}, *const to[] = {want, want + a.y, want + a.y + a.x};
        const int64_t sizes[] = {a.y, a.x, a.w};
        for (int i = 0; i < 3; i++) {
            if (shift == 0)
                memcpy(to[i], from[i], (size_t)sizes[i] * 4);
            cr_expect_eq(memcmp(to[i], from[i], (size_t)sizes[i] * 4), 0, "array %d, %d bytes from alignment", i, 4 * shift);
        }
        if (shift == 0)
            count = choices(&refused);
        cr_expect_eq(choices(&refused), count, "%d bytes from alignment: another algorithm", 4 * shift);
    }
    device->release(device, block, bytes);
    arrays_free(&a), free(want);
}
