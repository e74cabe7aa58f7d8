#include "tests/tensor/numbers.h"

#include "tensor/numerics.h"
#include "tensor/rate.h"

typedef struct {
    int64_t batch, m, n, k;
    bool trans_a, trans_b, shared_b, accumulate, bias, dense;
    ls_activation activation;
} shape;

/* Borders of tiles, panels and chunks on each level, one row or column, and sums longer than a chunk. */
static const shape shapes[] = {
    {1, 1, 1, 1, .bias = false},
    {1, 1, 17, 3, .bias = false},
    {1, 5, 7, 9, .trans_b = true},
    {1, 7, 1, 300, .bias = false},
    {1, 6, 32, 256, .bias = false},
    {1, 97, 257, 257, .trans_a = true},
    {1, 33, 65, 513, .trans_b = true, .bias = true, .activation = LS_ACT_GELU_TANH},
    {1, 16, 64, 2000, .trans_a = true, .accumulate = true},
    {1, 300, 20, 31, .trans_a = true, .trans_b = true},
    {3, 13, 40, 50, .trans_b = true},
    {4, 9, 33, 270, .shared_b = true, .accumulate = true},
    {2, 100, 300, 64, .bias = true, .activation = LS_ACT_RELU},
    {1, 64, 64, 64, .accumulate = true, .bias = true, .activation = LS_ACT_SILU},
    {1, 2, 3, 0, .bias = true},
    {1, 3, 130, 301, .trans_b = true, .bias = true, .activation = LS_ACT_GELU_TANH}, /* few rows: few_rows.h */
    {1, 1, 64, 257, .trans_b = true},
    {1, 60, 257, 32, .trans_b = true}, /* halves of 160 columns are no whole panels */
    {1, 52, 290, 40, .bias = true},
    {1, 3, 130, 1090, .trans_b = true, .dense = true}, /* whole pairs of bf16 numbers, which are read where they lie */
    {2, 25, 70, 1100, .trans_b = true, .dense = true},
    {1, 40, 33, 600, .dense = true, .accumulate = true},
    {1, 1024, 40, 300, .trans_a = true, .dense = true}, /* lines a page apart */
    {1, 70, 100, 520, .trans_b = true, .bias = true, .dense = true},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static ls_matmul_args arguments(const shape *s, ls_type type, ls_type type_c)
{
    ls_matmul_args x = {.batch = s->batch,
                        .m = s->m,
                        .n = s->n,
                        .k = s->k,
                        .trans_a = s->trans_a,
                        .trans_b = s->trans_b,
                        .accumulate = s->accumulate,
                        .type_ab = type,
                        .type_c = type_c,
                        .type_bias = type == LS_F64 ? LS_F64 : LS_F32,
                        .activation = s->activation};
    x.lda = (s->trans_a ? s->m : s->k) + (s->dense ? 0 : 3); /* rows need not be dense */
    x.ldb = (s->trans_b ? s->k : s->n) + !s->dense;
    x.ldc = s->n + 2;
    x.stride_a = x.lda * (s->trans_a ? s->k : s->m);
    x.stride_b = s->shared_b ? 0 : x.ldb * (s->trans_b ? s->n : s->k);
    x.stride_c = x.ldc * s->m;
    x.a = numbers(type, s->batch * x.stride_a, 1, 1);
    x.b = numbers(type, (s->shared_b ? 1 : s->batch) * (s->trans_b ? s->n : s->k) * x.ldb, 2, 1);
    x.bias = s->bias ? numbers(x.type_bias, s->n, 3, 1) : NULL;
    x.c = numbers(type_c, s->batch * x.stride_c, 4, 1);
    if (s->activation != LS_ACT_NONE)
        x.pre = array_of(type_c, s->batch * x.stride_c);
    return x;
}

static void release(ls_matmul_args *x)
{
    free((void *)x->a);
    free((void *)x->b);
    free((void *)x->bias);
    free(x->c);
    free(x->pre);
}

static double activated(ls_activation act, double x)
{
    switch (act) {
    case LS_ACT_RELU: return x > 0 ? x : 0;
    case LS_ACT_GELU: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case LS_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case LS_ACT_SILU: return x / (1 + exp(-x));
    default: return x;
    }
}

/* want and pre [batch, m, n] by the formula in f64, from the same (rounded) inputs. */
static void reference(const ls_matmul_args *x, double *pre, double *want)
{
    for (int64_t b = 0; b < x->batch; b++)
        for (int64_t i = 0; i < x->m; i++)
            for (int64_t j = 0; j < x->n; j++) {
                double sum = x->accumulate ? get(x->type_c, x->c, b * x->stride_c + i * x->ldc + j) : 0;
                for (int64_t p = 0; p < x->k; p++)
                    sum += get(x->type_ab, x->a, b * x->stride_a + (x->trans_a ? p * x->lda + i : i * x->lda + p)) *
                           get(x->type_ab, x->b, b * x->stride_b + (x->trans_b ? j * x->ldb + p : p * x->ldb + j));
                sum += x->bias ? get(x->type_bias, x->bias, j) : 0;
                pre[(b * x->m + i) * x->n + j] = sum;
                want[(b * x->m + i) * x->n + j] = activated(x->activation, sum);
            }
}

static double error_of(const ls_matmul_args *x, const void *c, const double *want)
{
    double *dense = malloc((size_t)(x->batch * x->m * x->n) * sizeof *dense);
    for (int64_t row = 0; row < x->batch * x->m; row++)
        for (int64_t j = 0; j < x->n; j++)
            dense[row * x->n + j] = get(x->type_c, c, row / x->m * x->stride_c + row % x->m * x->ldc + j);
    double error = relative_error(LS_F64, dense, want, x->batch * x->m * x->n);
    free(dense);
    return error;
}

static void agrees_with_f64(ls_type type, ls_type type_c)
{
    ls_device *device = device_of(2);
    ls_arena *scratch = scratch_arena();
    for (int i = 0; i < SHAPES; i++) {
        ls_matmul_args x = arguments(&shapes[i], type, type_c);
        double *pre = malloc((size_t)(x.batch * x.m * x.n) * 2 * sizeof *pre), *want = pre + x.batch * x.m * x.n;
        reference(&x, pre, want);
        cr_assert_eq(device->matmul(device, &x, scratch), LS_OK, "%s", ls_fail_sentence());
        double limit = tolerance(type_c), error = error_of(&x, x.c, want);
        cr_expect_leq(error, limit, "shape %d, %s: relative error %g", i, ls_type_name(type), error);
        if (x.pre)
            cr_expect_leq(error_of(&x, x.pre, pre), limit, "shape %d, %s: pre", i, ls_type_name(type));
        void *before = numbers(type_c, x.batch * x.stride_c, 4, 1);
        for (int64_t row = 0; row < x.batch * x.m; row++) /* what lies between the rows is not ours */
            cr_assert_eq(get(type_c, x.c, row * x.ldc + x.n), get(type_c, before, row * x.ldc + x.n),
                         "shape %d, row %d", i, (int)row);
        free(before);
        cr_assert_eq(ls_arena_used(scratch), 0, "scratch was not given back");
        free(pre);
        release(&x);
    }
    ls_arena_free(scratch);
    device_done(device);
}

Test(matmul, agrees_with_f64_in_f32)
{
    agrees_with_f64(LS_F32, LS_F32);
}
Test(matmul, agrees_with_f64_in_bf16)
{
    agrees_with_f64(LS_BF16, LS_BF16);
}
Test(matmul, agrees_with_f64_in_bf16_added_to_f32)
{
    agrees_with_f64(LS_BF16, LS_F32);
}
Test(matmul, agrees_with_f64_in_f16)
{
    agrees_with_f64(LS_F16, LS_F16);
}
Test(matmul, agrees_with_f64_in_f16_added_to_f32)
{
    agrees_with_f64(LS_F16, LS_F32);
}
Test(matmul, agrees_with_f64_in_f64)
{
    agrees_with_f64(LS_F64, LS_F64);
}

Test(matmul, any_team_gives_the_same_bits)
{
    ls_arena *scratch = scratch_arena();
    ls_device *device[] = {device_of(1), device_of(2), device_of(3)};
    for (int i = 0; i < SHAPES; i++)
        for (ls_type type = LS_F32; type <= LS_F16; type = stored_after(type)) {
            ls_matmul_args one = arguments(&shapes[i], type, type);
            cr_assert_eq(device[0]->matmul(device[0], &one, scratch), LS_OK);
            for (int t = 1; t < 3; t++) {
                ls_matmul_args more = arguments(&shapes[i], type, type);
                cr_assert_eq(device[t]->matmul(device[t], &more, scratch), LS_OK);
                cr_expect_eq(memcmp(one.c, more.c, (size_t)(one.batch * one.stride_c) * ls_type_size(type)), 0,
                             "shape %d, %d threads", i, t + 1);
                release(&more);
            }
            release(&one);
        }
    for (int t = 0; t < 3; t++)
        device_done(device[t]);
    ls_arena_free(scratch);
}

static void add_one(ls_type type, void *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        put(type, x, i, get(type, x, i) + 1);
}

static int64_t elements_of_b(const ls_matmul_args *x, const shape *s)
{
    return (s->shared_b ? 1 : s->batch) * (s->trans_b ? s->n : s->k) * x->ldb;
}

/* From the same C each time. */
static void multiply_anew(ls_device *device, ls_arena *scratch, ls_matmul_args *x)
{
    void *c = numbers(x->type_c, x->batch * x->stride_c, 4, 1);
    memcpy(x->c, c, (size_t)(x->batch * x->stride_c) * ls_type_size(x->type_c));
    free(c);
    cr_assert_eq(device->matmul(device, x, scratch), LS_OK, "%s", ls_fail_sentence());
}

static void multiply_held(ls_device *device, ls_arena *scratch, const shape *s, ls_matmul_args *x, const ls_matmul_args *plain, const char *when)
{
    multiply_anew(device, scratch, x);
    const size_t bytes = (size_t)(x->batch * x->stride_c) * ls_type_size(x->type_c);
    cr_expect_eq(memcmp(x->c, plain->c, bytes), 0, "shape %d, %s, %s", (int)(s - shapes), ls_type_name(x->type_ab), when);
}

/* While weights are held their panels are kept: the same bits, and numbers that change meanwhile, against what is promised, show
 * that they were; the next hold packs them anew. */
Test(matmul, held_weights_give_the_same_bits)
{
    ls_arena *scratch = scratch_arena();
    ls_device *device = device_of(2);
    for (int i = 0; i < SHAPES; i++)
        for (ls_type type = LS_F32; type <= LS_BF16; type++) {
            const shape *s = &shapes[i];
            ls_matmul_args before = arguments(s, type, type), after = arguments(s, type, type), x = arguments(s, type, type);
            const int64_t count = elements_of_b(&x, s);
            add_one(type, (void *)after.b, count);
            multiply_anew(device, scratch, &before);
            multiply_anew(device, scratch, &after);
            x.weights_b = true;
            ls_hold_weights(device, type, 1 << 18);
            multiply_held(device, scratch, s, &x, &before, "packed");
            multiply_held(device, scratch, s, &x, &before, "kept");
            add_one(type, (void *)x.b, count);
            const bool few = s->trans_b && s->m <= 32, kept = s->batch == 1 && s->k > 0;
            if (!few) /* few_rows.h packs nothing */
                multiply_held(device, scratch, s, &x, kept ? &before : &after, "changed while held");
            ls_hold_weights(device, type, 1 << 18);
            multiply_held(device, scratch, s, &x, &after, "held again");
            ls_let_weights_go(device);
            multiply_held(device, scratch, s, &x, &after, "let go");
            ls_hold_weights(device, type, (int64_t)1 << 38);
            add_one(type, (void *)after.b, count);
            add_one(type, (void *)x.b, count);
            multiply_anew(device, scratch, &after);
            multiply_held(device, scratch, s, &x, &after, "too many to be held");
            ls_let_weights_go(device);
            release(&before);
            release(&after);
            release(&x);
        }
    device_done(device);
    ls_arena_free(scratch);
}

/* What is widened takes a float a number in each of two layouts, pairs of bf16 half of that. */
Test(matmul, holding_says_what_memory_it_takes)
{
    ls_device *device = device_of(1);
    const size_t count = 1000, whole = 2 * sizeof(float) * count;
    const bool pairs = ls_numerics_level() == LS_NUMERICS_AVX512_BF16;
    cr_expect_eq(ls_hold_weights(device, LS_F32, (int64_t)count), whole);
    cr_expect_eq(ls_hold_weights(device, LS_F16, (int64_t)count), whole);
    cr_expect_eq(ls_hold_weights(device, LS_BF16, (int64_t)count), pairs ? whole / 2 : whole);
    cr_expect_eq(ls_hold_weights(device, LS_F32, (int64_t)1 << 38), 0);
    ls_let_weights_go(device);
    device_done(device);
}

/* Rounded once and as every other bf16 number: denormal numbers too, of which a processor's own rounding may make 0. */
Test(matmul, adding_nothing_leaves_every_bf16_number)
{
    enum { M = 4096, N = 80, WHOLE = 64, K = 64 }; /* all 65536 numbers in whole panels, and in columns that are none */
    ls_arena *scratch = scratch_arena();
    ls_device *device = device_of(2);
    uint16_t *a = calloc(M * K, sizeof *a), *b = numbers(LS_BF16, N * K, 2, 1), *c = malloc(M * N * sizeof *c);
    for (int i = 0; i < M * N; i++)
        c[i] = (uint16_t)(i % N < WHOLE ? i / N * WHOLE + i % N : i / N * (N - WHOLE) + i % N);
    uint16_t *before = malloc(M * N * sizeof *before);
    memcpy(before, c, M * N * sizeof *c);
    const ls_matmul_args x = {.batch = 1, .m = M, .n = N, .k = K, .trans_b = true, .accumulate = true, .type_ab = LS_BF16,
                              .type_c = LS_BF16, .a = a, .b = b, .c = c, .lda = K, .ldb = K, .ldc = N};
    cr_assert_eq(device->matmul(device, &x, scratch), LS_OK);
    for (int i = 0; i < M * N; i++) {
        const uint16_t was = before[i], quiet = (was & 0x7fff) > 0x7f80 ? was | 0x40 : was;
        cr_assert_eq(c[i], was == 0x8000 ? 0 : quiet, "%04x became %04x", was, c[i]);
    }
    free(a), free(b), free(c), free(before);
    device_done(device);
    ls_arena_free(scratch);
}

/* Packed equals unpacked, and decoding equals training: a row does not feel the other rows. */
Test(matmul, a_row_alone_gives_the_bits_it_has_among_others)
{
    enum { M = 130, N = 300 };
    ls_device *device = device_of(2);
    ls_arena *scratch = scratch_arena();
    for (int i = 0; i < 5; i++) {
        const ls_type type = i == 4 ? LS_F16 : i % 2 ? LS_BF16 : LS_F32;
        const int64_t K = i < 2 ? 603 : 1058; /* the second is whole pairs of bf16 numbers */
        size_t size = ls_type_size(type);
        char *a = numbers(type, M * K, 1, 1), *b = numbers(type, N * K, 2, 1), *c = array_of(type, M * N),
             *row = array_of(type, M * N);
        ls_matmul_args x = {.batch = 1,
                            .m = M,
                            .n = N,
                            .k = K,
                            .trans_b = true,
                            .type_ab = type,
                            .type_c = type,
                            .a = a,
                            .b = b,
                            .c = c,
                            .lda = K,
                            .ldb = K,
                            .ldc = N};
        cr_assert_eq(device->matmul(device, &x, scratch), LS_OK);
        for (int64_t count = 1; count <= 17; count += count < 9 ? 1 : 4) /* up to 16 rows go a way of their own */
            for (int64_t first = 0; first + count <= M; first += 13) {
                x.a = a + (size_t)(first * K) * size;
                x.m = count;
                x.c = row;
                cr_assert_eq(device->matmul(device, &x, scratch), LS_OK);
                cr_expect_eq(memcmp(row, c + (size_t)(first * N) * size, (size_t)(count * N) * size), 0,
                             "rows %d to %d", (int)first, (int)(first + count));
            }
        free(a), free(b), free(c), free(row);
    }
    ls_arena_free(scratch);
    device_done(device);
}

Test(matmul, a_fused_activation_gives_the_bits_of_a_separate_one)
{
    ls_device *device = device_of(2);
    ls_arena *scratch = scratch_arena();
    for (ls_type type = LS_F32; type <= LS_F16; type = stored_after(type)) {
        shape s = {1, 50, 70, 80, .bias = true, .activation = LS_ACT_GELU};
        ls_matmul_args fused = arguments(&s, type, type);
        cr_assert_eq(device->matmul(device, &fused, scratch), LS_OK);
        s.activation = LS_ACT_NONE;
        ls_matmul_args plain = arguments(&s, type, type);
        cr_assert_eq(device->matmul(device, &plain, scratch), LS_OK);
        for (int64_t i = 0; i < s.m; i++) {
            size_t row = (size_t)(i * plain.ldc) * ls_type_size(type), bytes = (size_t)s.n * ls_type_size(type);
            char *at = (char *)plain.c + row;
            cr_assert_eq(memcmp((char *)fused.pre + row, at, bytes), 0, "pre, row %d", (int)i);
            device->unary(device, LS_UNARY_GELU, type, s.n, 0, 0, at, at);
            cr_assert_eq(memcmp((char *)fused.c + row, at, bytes), 0, "row %d", (int)i);
        }
        release(&fused);
        release(&plain);
    }
    ls_arena_free(scratch);
    device_done(device);
}

/* A vocabulary whose packed matrix is larger than a block; and no element of the sum may come from the wrong block. */
Test(matmul, a_large_matrix_is_packed_in_blocks)
{
    enum { M = 3, N = 40000, K = 260 };
    ls_device *device = device_of(2);
    ls_arena *scratch = scratch_arena();
    float *a = numbers(LS_F32, M * K, 1, 1), *b = numbers(LS_F32, (int64_t)N * K, 2, 1), *c = array_of(LS_F32, M * N);
    ls_matmul_args x = {
        .batch = 1, .m = M, .n = N, .k = K, .trans_b = true, .a = a, .b = b, .c = c, .lda = K, .ldb = K, .ldc = N};
    cr_assert_eq(device->matmul(device, &x, scratch), LS_OK);
    cr_assert_lt(ls_arena_high(scratch), (size_t)16 << 20, "B was packed whole");
    for (int64_t j = 0; j < N; j += 37)
        for (int64_t i = 0; i < M; i++) {
            double want = 0;
            for (int64_t p = 0; p < K; p++)
                want += (double)a[i * K + p] * (double)b[j * K + p];
            cr_assert_float_eq((double)c[i * N + j], want, 1e-3, "%d, %d", (int)i, (int)j);
        }
    free(a), free(b), free(c);
    ls_arena_free(scratch);
    device_done(device);
}

Test(matmul, batches_that_share_c_add_up_in_order)
{
    enum { BATCH = 5, M = 8, N = 24, K = 40 };
    ls_device *device = device_of(3);
    ls_arena *scratch = scratch_arena();
    float *a = numbers(LS_F32, BATCH * M * K, 1, 1), *b = numbers(LS_F32, BATCH * N * K, 2, 1),
          *c = array_of(LS_F32, M * N), *want = array_of(LS_F32, M * N);
    ls_matmul_args x = {.batch = BATCH,
                        .m = M,
                        .n = N,
                        .k = K,
                        .a = a,
                        .b = b,
                        .c = c,
                        .lda = K,
                        .ldb = N,
                        .ldc = N,
                        .stride_a = M * K,
                        .stride_b = K * N,
                        .stride_c = 0,
                        .accumulate = true};
    cr_assert_eq(device->matmul(device, &x, scratch), LS_OK);
    x.batch = 1;
    x.c = want;
    for (int i = 0; i < BATCH; i++, x.a = (const float *)x.a + M * K, x.b = (const float *)x.b + K * N)
        cr_assert_eq(device->matmul(device, &x, scratch), LS_OK);
    cr_assert_eq(memcmp(c, want, M * N * sizeof *c), 0);
    free(a), free(b), free(c), free(want);
    ls_arena_free(scratch);
    device_done(device);
}

Test(matmul, an_empty_product_touches_nothing)
{
    ls_device *device = device_of(1);
    float c = 7;
    ls_matmul_args x = {.batch = 1, .m = 0, .n = 5, .k = 5, .c = &c, .ldc = 5};
    cr_assert_eq(device->matmul(device, &x, NULL), LS_OK);
    cr_assert_eq(c, 7);
    device_done(device);
}

Test(matmul, its_rate_is_measured)
{
    ls_device *device = device_of(1);
    double f32 = ls_device_matmul_rate(device, LS_F32), bf16 = ls_device_matmul_rate(device, LS_BF16);
    cr_assert(f32 > 0.1 && f32 < 1e5, "%g GFLOP/s", f32);
    cr_assert(bf16 > 0.1 && bf16 < 1e5, "%g GFLOP/s", bf16);
    device_done(device);
}
