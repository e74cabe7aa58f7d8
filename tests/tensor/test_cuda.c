/* The CUDA device on the emulation of tests/cudahost/: its kernels against the naive device, in all three types, over
 * sizes around warps, blocks and nothing at all; every operator's description; and its memory and errors. */
#include "tests/tensor/cuda_fixture.h"
#include "tests/tensor/kernel_cases.h"
#include "tests/tensor/operator_checks.h"
#include "tests/tensor/reference_device.h"
#include "tensor/ops_image.h"

#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef LS_CUDAHOST
#include <cuda_runtime_api.h>
#endif

static ls_device *cpu;

static void make_devices(void)
{
    make_device();
    cr_assert_eq(ls_device_create_cpu(&cpu, team), LS_OK, "%s", ls_fail_sentence());
}

static void free_devices(void)
{
    cpu->free(cpu);
    free_device();
}

TestSuite(cuda, .init = make_devices, .fini = free_devices);

typedef struct {
    const float *from;
    float *to;
    size_t bytes;
    ls_status status;
} reading;

static void *read_on_a_thread(void *argument)
{
    reading *r = argument;
    r->status = device->read_beside(device, r->bytes, r->from, r->to);
    return NULL;
}

static void *prefetch_on_a_thread(void *block)
{
    return device->prefetch(device, block) == LS_OK ? block : NULL;
}

/* What a loader does: each block's copy is what the host had there when it was fetched. */
Test(cuda, staging_memory_travels_beside_what_is_queued)
{
    enum { N = 1000, BYTES = N * (int)sizeof(float) };
    float *block[2], *own;
    cr_assert_eq(device->allocate(device, BYTES, (void **)&own), LS_OK);
    for (int b = 0; b < 2; b++) {
        cr_assert_eq(device->allocate_staging(device, BYTES, (void **)&block[b]), LS_OK, "%s", ls_fail_sentence());
        for (int i = 0; i < N; i++)
            cr_assert_eq(block[b][i], 0);
    }
    for (int round = 0; round < 3; round++)
        for (int b = 0; b < 2; b++) {
            const float value = (float)(1 + 2 * round + b);
            pthread_t thread;
            void *fetched;
            for (int i = 0; i < N; i++)
                block[b][i] = value;
            cr_expect_eq(device->is_prefetched(device, block[b] + N - 1), round > 0);
            device->fill(device, LS_F32, N, 1, own);
            cr_assert_eq(pthread_create(&thread, NULL, prefetch_on_a_thread, block[b]), 0);
            pthread_join(thread, &fetched);
            cr_assert(fetched);
#ifdef LS_CUDAHOST
            cr_expect_eq(cudaStreamQuery((cudaStream_t)device->stream), cudaErrorNotReady, "fetching waited for other work");
#endif
            cr_assert_eq(ls_device_use_prefetched(device, block[b]), LS_OK, "%s", ls_fail_sentence());
            device->add_to(device, LS_F32, N / 2, block[b] + N / 2, own);
            cr_assert_eq(device->synchronize(device), LS_OK);
            for (int i = 0; i < N; i++)
                cr_assert_eq(own[i], i < N / 2 ? 1 + value : 1, "round %d, block %d, element %d", round, b, i);
            block[b][N / 2] = -1; /* the host's alone again: calls still read the copy */
            device->add_to(device, LS_F32, 1, block[b] + N / 2, own);
            cr_assert_eq(device->synchronize(device), LS_OK);
            cr_assert_eq(own[0], 1 + 2 * value);
        }
    cr_expect_not(device->is_prefetched(device, own));
    cr_expect_eq(device->prefetch(device, own), LS_EARG);
    for (int b = 0; b < 2; b++)
        device->release(device, block[b], BYTES);
    cr_expect_not(device->is_prefetched(device, block[0]));
    device->release(device, own, BYTES);
}

/* What a checkpoint does: more than goes through pinned memory at once, as what was queued before begin_reading leaves it, while other
 * work is queued; and the host's memory. */
Test(cuda, another_thread_reads_beside_what_is_queued)
{
    enum { COUNT = (9 << 20) / 4 + 3, BYTES = 4 * COUNT };
    float *own, *other, *to = malloc(BYTES), *hosts = malloc(BYTES);
    pthread_t thread;
    cr_assert_eq(device->allocate(device, BYTES, (void **)&own), LS_OK);
    cr_assert_eq(device->allocate(device, 64, (void **)&other), LS_OK);
    for (int i = 0; i < COUNT; i++)
        own[i] = (float)i, hosts[i] = (float)-i;
    device->fill(device, LS_F32, COUNT / 2, -7, own + COUNT / 2);
    cr_assert_eq(device->begin_reading(device), LS_OK);
    device->fill(device, LS_F32, 16, 5, other);
    for (int k = 0; k < 2; k++) {
        reading r = {k ? hosts : own, to, BYTES, LS_EIO};
        memset(to, 0, BYTES);
        cr_assert_eq(pthread_create(&thread, NULL, read_on_a_thread, &r), 0);
        pthread_join(thread, NULL);
        cr_expect_eq(r.status, LS_OK);
        for (int i = 0; i < COUNT; i++)
            cr_assert_eq(to[i], k ? (float)-i : i < COUNT / 2 || i - COUNT / 2 >= COUNT / 2 ? (float)i : -7, "element %d", i);
    }
#ifdef LS_CUDAHOST /* which does what is queued as late as may be */
    cr_expect_eq(cudaStreamQuery((cudaStream_t)device->stream), cudaErrorNotReady, "reading waited for other work");
#endif
    cr_expect_eq(device->synchronize(device), LS_OK);
    device->release(device, own, BYTES), device->release(device, other, 64);
    free(to), free(hosts);
}

static const ls_type types[] = {LS_F32, LS_BF16, LS_F16, LS_F64};

/* Every entry but the products; flat buffers, which the naive device has not got, against the CPU's. */
Test(cuda, kernels_agree_with_the_naive_device)
{
    static const int64_t sizes[] = {0, 1, 17, 700, 2101};
    static const double relative[] = {1e-5, 2e-2, 2.5e-3, 1e-9}, absolute[] = {2e-5, 4e-2, 5e-3, 1e-9};
    for (int c = 0; c < kernel_case_count; c++)
        for (int t = 0; t < 4; t++)
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
                kernel_output want = kernel_output_create(), got = kernel_output_create();
                kernel_cases[c].run(c == kernel_case_count - 1 ? cpu : reference_device(), types[t], sizes[s], &want);
                kernel_cases[c].run(device, types[t], sizes[s], &got);
                cr_assert_eq(device->synchronize(device), LS_OK, "%s, n = %d: %s", kernel_cases[c].name, (int)sizes[s], ls_fail_sentence());
                kernel_output_compare(&want, &got, types[t], relative[t], absolute[t]);
                kernel_output_free(&want), kernel_output_free(&got);
            }
}

static void value_is_the_formula(const operator_description *d, const operator_case *c)
{
    check_value(d, c, device);
}

Test(cuda, values_in_f64_are_their_formulas)
{
    operator_for_each_case(value_is_the_formula);
}

static void agrees_in_f32(const operator_description *d, const operator_case *c)
{
    check_agreement(d, c, device, LS_F32, d->rounds ? 2e-2 : 1e-5);
}

static void agrees_in_bf16(const operator_description *d, const operator_case *c)
{
    check_agreement(d, c, device, LS_BF16, 2e-2);
}

static void agrees_in_f16(const operator_description *d, const operator_case *c)
{
    check_agreement(d, c, device, LS_F16, d->rounds ? 2e-2 : 3e-3);
}

Test(cuda, values_and_gradients_in_f32_agree_with_f64)
{
    operator_for_each_case(agrees_in_f32);
}

Test(cuda, values_and_gradients_in_bf16_agree_with_f64)
{
    operator_for_each_case(agrees_in_bf16);
}

Test(cuda, values_and_gradients_in_f16_agree_with_f64)
{
    operator_for_each_case(agrees_in_f16);
}

/* Drawn shapes: odd sizes, ones, a long axis, an empty one (fuzz.h). The bound is that of test_fuzz: drawn numbers may cancel. */
Test(cuda, drawn_shapes_agree_with_f64)
{
    for (const operator_description *const *family = operator_families; *family; family++)
        for (const operator_description *d = *family; d->name; d++)
            for (int number = 0; number < 2 * FUZZ_KINDS; number++) {
                const operator_case c = fuzz_case(d->name, d->draw, number);
                check_value(d, &c, device);
                check_agreement(d, &c, device, LS_F32, 2e-2);
            }
}

/* ---- products and attention on shapes that the descriptions leave out ---- */

static void *drawn(ls_type type, int64_t n, uint32_t seed)
{
    const ls_random stream = {.seed = seed, .purpose = LS_RANDOM_TASK};
    void *x = malloc((size_t)(n + 1) * ls_type_size(type));
    for (int64_t i = 0; i < n; i++)
        reference_put(type, x, i, 2 * (double)ls_random_uniform(&stream, (uint64_t)i) - 1);
    return x;
}

/* Both transposes, odd sizes beyond one tile, rows that stand apart, a batch, all that may end a product; by the library and
 * by own tiles. */
static void products_agree(void)
{
    static const int64_t sizes[][3] = {{1, 1, 1}, {67, 129, 35}, {64, 64, 16}, {3, 200, 0}, {130, 2, 70}};
    enum { BATCH = 2, ROOM = 2 * 140 * 210 };
    for (int n = 0; n < 5; n++)
        for (int v = 0; v < 16; v++) {
            const ls_type type = v >= 12 ? LS_F16 : v & 4 ? LS_BF16 : v & 8 ? LS_F64 : LS_F32, type_c = ls_type_is_narrow(type) && v % 3 == 1 ? LS_F32 : type;
            ls_matmul_args args = {.batch = BATCH, .m = sizes[n][0], .n = sizes[n][1], .k = sizes[n][2], .trans_a = v & 1, .trans_b = v & 2, .accumulate = v % 3 == 0,
                                   .type_ab = type, .type_c = type_c, .type_bias = v >= 12 && v % 2 ? LS_F16 : v < 12 && v % 4 == 3 ? LS_BF16 : LS_F32, .activation = (ls_activation)(v % 5)};
            args.lda = (args.trans_a ? args.m : args.k) + 3, args.ldb = (args.trans_b ? args.k : args.n) + 1, args.ldc = args.n + 2;
            args.stride_a = v & 1 ? 0 : 140 * 210, args.stride_b = 140 * 210, args.stride_c = args.m * args.ldc;
            args.a = drawn(type, ROOM, 1), args.b = drawn(type, ROOM, 2), args.bias = drawn(args.type_bias, args.n, 3);
            void *c[2] = {drawn(type_c, ROOM, 4), drawn(type_c, ROOM, 4)}, *pre[2] = {drawn(type_c, ROOM, 5), drawn(type_c, ROOM, 5)};
            for (int d = 0; d < 2; d++) {
                ls_device *on = d ? device : reference_device();
                args.c = c[d], args.pre = v == 5 ? NULL : pre[d];
                cr_assert_eq(on->matmul(on, &args, NULL), LS_OK, "%s", ls_fail_sentence());
            }
            const double bound = type_c == LS_BF16 ? 2e-2 : type_c == LS_F16 ? 2.5e-3 : type_c == LS_F64 ? 1e-12 : 2e-5;
            for (int64_t i = 0; i < ROOM; i++) {
                const double want = reference_get(type_c, c[0], i), got = reference_get(type_c, c[1], i), before = reference_get(type_c, pre[0], i);
                cr_assert_float_eq(got, want, bound * (1 + fabs(want)), "shape %d, variant %d: element %d is %g, not %g", n, v, (int)i, got, want);
                cr_assert_float_eq(reference_get(type_c, pre[1], i), before, bound * (1 + fabs(before)), "shape %d, variant %d: element %d before the activation", n, v, (int)i);
            }
            free((void *)args.a), free((void *)args.b), free((void *)args.bias);
            free(c[0]), free(c[1]), free(pre[0]), free(pre[1]);
        }
}

/* The same for the same choices, in whatever order. */
static uint64_t digest(const ls_device *on)
{
    ls_device_choice choice[256];
    uint64_t sum = 0;
    for (int64_t i = 0, count = on->choices(on, choice, 256); i < count; i++)
        sum += (choice[i].shape ^ 0x9e3779b97f4a7c15u) * (choice[i].algorithm | 1);
    return sum;
}

Test(cuda, products_agree_with_the_naive_device)
{
    products_agree();
    cr_expect_neq(digest(device), 0, "the library was asked");
}

Test(cuda, products_of_own_tiles_agree_with_the_naive_device)
{
    ls_device_cuda_products(device, LS_CUDA_PRODUCTS_OWN);
    products_agree();
    cr_expect_eq(digest(device), 0, "the library was not asked");
}

#ifdef LS_CUDAHOST
Test(cuda, products_that_the_library_refuses_are_done_by_own_tiles)
{
    cudahost_cublaslt_refuse(1);
    products_agree();
    cudahost_cublaslt_refuse(0);
}
#endif

static void multiply_square(ls_device *on, int64_t n)
{
    float *a = drawn(LS_F32, n * n, 1), *c = drawn(LS_F32, n * n, 2);
    const ls_matmul_args args = {.batch = 1, .m = n, .n = n, .k = n, .type_ab = LS_F32, .type_c = LS_F32, .a = a, .b = a, .c = c, .lda = n, .ldb = n, .ldc = n};
    cr_assert_eq(on->matmul(on, &args, NULL), LS_OK, "%s", ls_fail_sentence());
    free(a), free(c);
}

/* What ranks compare: the same shapes in any order, however often, are the same choices; another shape is not. */
Test(cuda, choices_belong_to_shapes)
{
    ls_device *other;
    cr_assert_eq(ls_device_create_cuda(&other, team, 0), LS_OK, "%s", ls_fail_sentence());
    multiply_square(device, 16), multiply_square(device, 32);
    multiply_square(other, 32), multiply_square(other, 16), multiply_square(other, 32);
    cr_expect_eq(digest(device), digest(other));
    multiply_square(other, 24);
    cr_expect_neq(digest(device), digest(other));
    other->free(other);
}

/* Backward computes the activation's slope, and decoding the activation, from `pre` alone: its bits must be those of C. */
Test(cuda, an_activation_of_pre_alone_has_the_bits_of_c)
{
    enum { M = 33, N = 40, K = 24 };
    static const ls_unary as_unary[] = {LS_UNARY_RELU, LS_UNARY_GELU, LS_UNARY_GELU_TANH, LS_UNARY_SILU};
    uint16_t *a = drawn(LS_BF16, M * K, 1), *b = drawn(LS_BF16, K * N, 2), *bias = drawn(LS_BF16, N, 3), c[M * N], pre[M * N], again[M * N], alone[M * N];
    for (int how = LS_CUDA_PRODUCTS_LIBRARY; how <= LS_CUDA_PRODUCTS_OWN; how++)
        for (int act = 0; act < 4; act++) {
            ls_matmul_args args = {.batch = 1, .m = M, .n = N, .k = K, .type_ab = LS_BF16, .type_c = LS_BF16, .type_bias = LS_BF16, .a = a, .b = b, .bias = bias, .c = c, .pre = pre,
                                   .lda = K, .ldb = N, .ldc = N, .activation = (ls_activation)(LS_ACT_RELU + act)};
            ls_device_cuda_products(device, (ls_cuda_products)how);
            cr_assert_eq(device->matmul(device, &args, NULL), LS_OK, "%s", ls_fail_sentence());
            device->unary(device, as_unary[act], LS_BF16, M * N, 0, 0, pre, again);
            args.c = alone, args.pre = NULL;
            cr_assert_eq(device->matmul(device, &args, NULL), LS_OK, "%s", ls_fail_sentence());
            cr_expect_eq(memcmp(c, again, sizeof c), 0, "activation %d, products %d", act, how);
            cr_expect_eq(memcmp(c, alone, sizeof c), 0, "activation %d, products %d: nobody asked for pre", act, how);
        }
    free(a), free(b), free(bias);
}

/* Where an array begins takes no part in the choice of an algorithm, nor in any bit. */
Test(cuda, alignment_changes_no_bit_of_a_product)
{
    enum { M = 40, N = 48, K = 32, ROOM = 64 + M * N };
    void *block;
    float *host = drawn(LS_F32, 4 * ROOM, 1), want[M * N];
    uint64_t choices = 0;
    cr_assert_eq(device->allocate(device, 4 * ROOM * sizeof(float), &block), LS_OK, "%s", ls_fail_sentence());
    for (int shift = 0; shift < 4; shift++) { /* elements of 4 bytes */
        cr_assert_eq(device->synchronize(device), LS_OK);
        float *at = (float *)block + shift, *a = at, *b = at + ROOM, *bias = at + 2 * ROOM, *c = at + 3 * ROOM;
        memcpy(a, host, M * K * sizeof(float)), memcpy(b, host + ROOM, K * N * sizeof(float)), memcpy(bias, host + 2 * ROOM, N * sizeof(float));
        memcpy(c, host + 3 * ROOM, M * N * sizeof(float));
        const ls_matmul_args args = {.batch = 1, .m = M, .n = N, .k = K, .accumulate = true, .type_ab = LS_F32, .type_c = LS_F32, .type_bias = LS_F32, .a = a, .b = b, .bias = bias, .c = c,
                                     .lda = K, .ldb = N, .ldc = N};
        cr_assert_eq(device->matmul(device, &args, NULL), LS_OK, "%s", ls_fail_sentence());
        cr_assert_eq(device->synchronize(device), LS_OK, "%s", ls_fail_sentence());
        if (shift == 0)
            memcpy(want, c, sizeof want), choices = digest(device);
        cr_expect_eq(memcmp(c, want, sizeof want), 0, "%d bytes from alignment", 4 * shift);
        cr_expect_eq(digest(device), choices, "%d bytes from alignment: another algorithm", 4 * shift);
    }
    device->release(device, block, 4 * ROOM * sizeof(float));
    free(host);
}

/* Nor do norms and gathered rows, which are read 16 bytes at a time where that can be. */
Test(cuda, alignment_changes_no_bit_of_a_row)
{
    enum { ROWS = 5, WIDTH_OF_ROW = 264, N = ROWS * WIDTH_OF_ROW, ARRAYS = 4, ROOM = N + 16 };
    static const int32_t index[ROWS] = {3, -1, 0, 4, 3};
    void *block;
    uint16_t *host = drawn(LS_BF16, ARRAYS * ROOM, 1), want[ARRAYS][N];
    float *gain = drawn(LS_F32, WIDTH_OF_ROW, 2), stats[2 * ROWS];
    cr_assert_eq(device->allocate(device, ARRAYS * ROOM * sizeof *host, &block), LS_OK, "%s", ls_fail_sentence());
    for (int shift = 0; shift < 3; shift++) {
        uint16_t *at[ARRAYS]; /* x, y, dx, gathered */
        cr_assert_eq(device->synchronize(device), LS_OK);
        for (int i = 0; i < ARRAYS; i++) {
            at[i] = (uint16_t *)block + i * ROOM + (i % 2 ? 0 : shift); /* some arrays are aligned, some not */
            memcpy(at[i], host + i * ROOM, N * sizeof *host);
        }
        device->norm(device, LS_BF16, LS_F32, false, ROWS, WIDTH_OF_ROW, 1e-5, at[0], gain, NULL, at[1], stats);
        device->norm_backward(device, LS_BF16, LS_F32, false, ROWS, WIDTH_OF_ROW, at[0], gain, stats, at[1], at[2], NULL, NULL, NULL);
        device->gather_rows(device, LS_BF16, ROWS, WIDTH_OF_ROW, index, at[0], at[3]);
        cr_assert_eq(device->synchronize(device), LS_OK, "%s", ls_fail_sentence());
        for (int i = 0; i < ARRAYS; i++) {
            if (shift == 0)
                memcpy(want[i], at[i], sizeof want[i]);
            cr_expect_eq(memcmp(at[i], want[i], sizeof want[i]), 0, "array %d, %d bytes from alignment", i, 2 * shift);
        }
    }
    device->release(device, block, ARRAYS * ROOM * sizeof *host);
    free(host), free(gain);
}

/* f32 is f32 unless tf32 was asked for, and the numerics id says which. */
Test(cuda, tf32_is_only_for_those_who_ask)
{
    const float a = 1 + 0x1p-12f, b = 1;
    float c[2];
    char id[2][96];
    for (int how = 0; how < 2; how++) {
        const ls_matmul_args args = {.batch = 1, .m = 1, .n = 1, .k = 1, .type_ab = LS_F32, .type_c = LS_F32, .a = &a, .b = &b, .c = &c[how], .lda = 1, .ldb = 1, .ldc = 1};
        cr_assert_eq(device->use_tf32(device, how), LS_OK, "%s", ls_fail_sentence());
        cr_assert_eq(device->matmul(device, &args, NULL), LS_OK, "%s", ls_fail_sentence());
        snprintf(id[how], sizeof id[how], "%s", device->numerics);
    }
    cr_expect_eq(c[0], a);
#ifdef LS_CUDAHOST /* a GPU may answer that it has no such kernel for one number */
    cr_expect_eq(c[1], 1, "10 bits of fraction are left: %.9g", c[1]);
#endif
    cr_expect_not_null(strstr(id[0], "cublaslt-"), "%s", id[0]);
    cr_expect_null(strstr(id[0], "tf32"), "%s", id[0]);
    cr_expect_not_null(strstr(id[1], "-tf32"), "%s", id[1]);
}

enum { HEADS = 4, KV_HEADS = 2, WIDTH = 24 };

/* Forward and backward of rows of `length` positions, into out [length, HEADS, WIDTH] and gradients. */
static void attend(ls_type type, int64_t length, const int32_t *segments, char *const in[4], char *const out[4])
{
    float *lse = malloc(sizeof *lse * (size_t)(length * HEADS));
    ls_attention_args args = {.type = type, .batch = 1, .queries = length, .keys = length, .heads = HEADS, .kv_heads = KV_HEADS, .width = WIDTH, .causal = true, .window = 90,
                              .scale = 0.2, .segments = segments, .q = in[0], .k = in[1], .v = in[2], .out = out[0], .lse = lse, .dout = in[3], .dq = out[1], .dk = out[2], .dv = out[3]};
    cr_assert_eq(device->attention(device, &args, NULL), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(device->attention_backward(device, &args, NULL), LS_OK, "%s", ls_fail_sentence());
    free(lse);
}

static void packed_rows_give_the_bits_of_their_parts(ls_type type)
{
    static const int64_t part[] = {45, 1, 130};
    enum { ALL = 176 };
    const size_t width[4] = {HEADS * WIDTH, KV_HEADS * WIDTH, KV_HEADS * WIDTH, HEADS * WIDTH}; /* of q, k, v and dout; of dk, dv, dq and out */
    int32_t segments[ALL];
    char *in[4], *packed[4], *alone[4];
    for (int i = 0; i < 4; i++)
        in[i] = drawn(type, ALL * (int64_t)width[i], (uint32_t)i + 1), packed[i] = calloc(ALL * HEADS * WIDTH, sizeof(float)), alone[i] = calloc(ALL * HEADS * WIDTH, sizeof(float));
    for (int64_t p = 0, at = 0; p < 3; at += part[p++]) {
        const size_t to_q = (size_t)at * width[0] * ls_type_size(type), to_k = (size_t)at * width[1] * ls_type_size(type);
        for (int64_t i = 0; i < part[p]; i++)
            segments[at + i] = (int32_t)p;
        attend(type, part[p], NULL, (char *[]){in[0] + to_q, in[1] + to_k, in[2] + to_k, in[3] + to_q}, (char *[]){alone[0] + to_q, alone[1] + to_q, alone[2] + to_k, alone[3] + to_k});
    }
    attend(type, ALL, segments, in, packed);
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(memcmp(packed[i], alone[i], ALL * width[i < 2 ? 0 : 1] * ls_type_size(type)), 0, "array %d", i);
        free(in[i]), free(packed[i]), free(alone[i]);
    }
}

Test(cuda, packed_rows_give_the_bits_of_their_parts_in_f32)
{
    packed_rows_give_the_bits_of_their_parts(LS_F32);
}

Test(cuda, packed_rows_give_the_bits_of_their_parts_in_16_bits)
{
    packed_rows_give_the_bits_of_their_parts(LS_BF16);
    packed_rows_give_the_bits_of_their_parts(LS_F16);
}

/* An array of `n` numbers around `mean` and the same ones in f64. */
static void *drawn_twice(ls_type type, int64_t n, uint32_t seed, double mean, double **wide)
{
    void *x = drawn(type, n, seed);
    *wide = malloc((size_t)(n + 1) * sizeof **wide);
    for (int64_t i = 0; i < n; i++) {
        reference_put(type, x, i, mean + reference_get(type, x, i));
        (*wide)[i] = reference_get(type, x, i);
    }
    return x;
}

static void expect_near_by_norm(ls_type type, const void *got, const double *want, int64_t n, const char *what, int which)
{
    double off = 0, all = 0;
    for (int64_t i = 0; i < n; i++) {
        const double is = reference_get(type, got, i);
        off += (is - want[i]) * (is - want[i]), all += want[i] * want[i];
    }
    cr_expect(sqrt(off) <= (type == LS_F16 ? 1.5e-3 : 1e-2) * sqrt(all), "%s of shape %d: off by %.2e of its norm", what, which, sqrt(off / all));
}

/* bf16 and f16 run on tensor cores, in tiles of 64: shapes of less than one, of several, of every width that rows are filled up to and
 * of one that they are not; rows that do not begin at 16 bytes; every kind of mask by segments. */
static void attention_agrees_with_f64(ls_type type)
{
    static const struct {
        int64_t batch, queries, keys, heads, kv_heads, width, window, segment;
        bool causal, cross;
    } shape[] = {{1, 150, 150, 2, 1, 64, 0, 0, true, false}, {2, 70, 131, 2, 2, 20, 0, 0, false, false}, {1, 100, 160, 1, 1, 128, 40, 0, true, false},
                 {1, 140, 140, 2, 1, 96, 0, 37, true, false}, {2, 66, 90, 1, 1, 8, 0, 25, false, true}, {1, 33, 40, 1, 1, 136, 0, 0, true, false}};
    for (int s = 0; s < (int)(sizeof shape / sizeof *shape); s++) {
        const int64_t rows = shape[s].batch * shape[s].queries * shape[s].heads, all_q = rows * shape[s].width, keys = shape[s].batch * shape[s].keys, all_k = keys * shape[s].kv_heads * shape[s].width;
        double *wide[8], *lse = malloc(sizeof *lse * (size_t)rows);
        const int64_t count[8] = {all_q, all_k, all_k, all_q, all_q, all_q, all_k, all_k}; /* q, k, v, dout, out, dq, dk, dv */
        void *narrow[8];
        float *narrow_lse = malloc(sizeof *narrow_lse * (size_t)rows);
        int32_t *segments = malloc(sizeof *segments * (size_t)keys), *of_query = malloc(sizeof *of_query * (size_t)rows);
        for (int i = 0; i < 8; i++)
            narrow[i] = drawn_twice(type, count[i], (uint32_t)i + 1, i == 2 || i == 3 ? 0.5 : 0, &wide[i]); /* so that delta matters */
        for (int64_t i = 0; i < keys; i++)
            segments[i] = (int32_t)(i % shape[s].keys / (shape[s].segment ? shape[s].segment : shape[s].keys));
        for (int64_t i = 0; i < shape[s].batch * shape[s].queries; i++)
            of_query[i] = i % shape[s].queries < 5 ? -1 : (int32_t)(i % shape[s].queries / 21);
        for (int d = 0; d < 2; d++) {
            ls_device *on = d ? device : reference_device();
            void *const x[8] = {d ? narrow[0] : wide[0], d ? narrow[1] : wide[1], d ? narrow[2] : wide[2], d ? narrow[3] : wide[3],
                                d ? narrow[4] : wide[4], d ? narrow[5] : wide[5], d ? narrow[6] : wide[6], d ? narrow[7] : wide[7]};
            const ls_attention_args args = {.type = d ? type : LS_F64, .batch = shape[s].batch, .queries = shape[s].queries, .keys = shape[s].keys, .heads = shape[s].heads,
                                            .kv_heads = shape[s].kv_heads, .width = shape[s].width, .causal = shape[s].causal, .window = shape[s].window, .scale = 4 / sqrt((double)shape[s].width),
                                            .segments = shape[s].segment ? segments : NULL, .query_segments = shape[s].cross ? of_query : NULL, .q = x[0], .k = x[1], .v = x[2], .dout = x[3],
                                            .out = x[4], .lse = d ? (void *)narrow_lse : lse, .dq = x[5], .dk = x[6], .dv = x[7]};
            cr_assert_eq(on->attention(on, &args, NULL), LS_OK, "%s", ls_fail_sentence());
            cr_assert_eq(on->attention_backward(on, &args, NULL), LS_OK, "%s", ls_fail_sentence());
        }
        static const char *const name[8] = {"q", "k", "v", "dout", "out", "dq", "dk", "dv"};
        for (int i = 4; i < 8; i++)
            expect_near_by_norm(type, narrow[i], wide[i], count[i], name[i], s);
        for (int64_t i = 0; i < rows; i++)
            cr_assert(lse[i] == (double)narrow_lse[i] || fabs(lse[i] - (double)narrow_lse[i]) < 1e-3, "shape %d, row %d: log-sum-exp %g, not %g", s, (int)i, (double)narrow_lse[i], lse[i]);
        for (int i = 0; i < 8; i++)
            free(narrow[i]), free(wide[i]);
        free(lse), free(narrow_lse), free(segments), free(of_query);
    }
}

Test(cuda, attention_in_bf16_agrees_with_f64)
{
    attention_agrees_with_f64(LS_BF16);
}

Test(cuda, attention_in_f16_agrees_with_f64)
{
    attention_agrees_with_f64(LS_F16);
}

/* Block masks cost by the blocks that are there: what is in an absent one is not even multiplied by 0. */
static void absent_blocks_are_not_walked(ls_type type)
{
    enum { T = 160, BLOCK = 32, BLOCKS = T / BLOCK, WIDE = 16, ALL = T * WIDE };
    const ls_mask_block blocks[BLOCKS] = {{0, LS_MASK_WHOLE}, {0, LS_MASK_WHOLE}, {1, LS_MASK_WHOLE}, {0, LS_MASK_WHOLE}, {1, LS_MASK_WHOLE}};
    const int64_t first[BLOCKS + 1] = {0, 1, 2, 3, 4, 5};
    const ls_block_mask mask = {.rows = 1, .queries = T, .keys = T, .block = BLOCK, .first = first, .blocks = blocks};
    void *q = drawn(type, ALL, 1), *k = drawn(type, ALL, 2), *v = drawn(type, ALL, 3), *dout = drawn(type, ALL, 4), *out = drawn(type, ALL, 5);
    void *slope[3] = {drawn(type, ALL, 6), drawn(type, ALL, 7), drawn(type, ALL, 8)};
    float lse[T];
    for (int64_t i = 2 * BLOCK * WIDE; i < ALL; i++) /* keys that nobody sees */
        reference_put(type, k, i, NAN), reference_put(type, v, i, NAN);
    const ls_attention_args args = {.type = type, .batch = 1, .queries = T, .keys = T, .heads = 1, .kv_heads = 1, .width = WIDE, .scale = 0.25, .mask = &mask, .q = q, .k = k, .v = v,
                                    .out = out, .lse = lse, .dout = dout, .dq = slope[0], .dk = slope[1], .dv = slope[2]};
    cr_assert_eq(device->attention(device, &args, NULL), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(device->attention_backward(device, &args, NULL), LS_OK, "%s", ls_fail_sentence());
    for (int64_t i = 0; i < ALL; i++) {
        cr_assert(isfinite(reference_get(type, out, i)), "result %d", (int)i);
        for (int s = 0; s < 3; s++)
            cr_assert(isfinite(reference_get(type, slope[s], i)), "gradient %d, element %d", s, (int)i);
    }
    free(q), free(k), free(v), free(dout), free(out);
    for (int s = 0; s < 3; s++)
        free(slope[s]);
}

Test(cuda, absent_blocks_of_a_mask_are_not_walked)
{
    absent_blocks_are_not_walked(LS_F32);
    absent_blocks_are_not_walked(LS_BF16);
}

/* Longer than the tile that one block sorts, and rows for a block of 1024 threads. */
Test(cuda, long_rows_agree_with_the_naive_device)
{
    enum { N = 2500, WIDTH_OF_ROW = 3, TARGETS = 40, LONG = 17000 };
    float *x = drawn(LS_F32, LONG, 1), *values[2], *sums[2], *soft[2];
    int32_t *index[2], *target = malloc(sizeof *target * N);
    for (int64_t i = 0; i < N; i++)
        target[i] = i % 7 == 3 ? -1 : (int32_t)(i * i % TARGETS);
    for (int d = 0; d < 2; d++) {
        ls_device *on = d ? device : reference_device();
        values[d] = malloc(sizeof(float) * N), index[d] = malloc(sizeof(int32_t) * N), sums[d] = drawn(LS_F32, TARGETS * WIDTH_OF_ROW, 2), soft[d] = malloc(sizeof(float) * LONG);
        cr_assert_eq(on->sort(on, LS_F32, 1, N, true, x, values[d], index[d], NULL), LS_OK, "%s", ls_fail_sentence());
        on->scatter_add_rows(on, LS_F32, LS_F32, N, WIDTH_OF_ROW, TARGETS, target, x, sums[d], NULL);
        on->softmax(on, LS_F32, true, 1, LONG, x, soft[d]);
    }
    cr_expect_eq(memcmp(values[0], values[1], sizeof(float) * N), 0);
    cr_expect_eq(memcmp(index[0], index[1], sizeof(int32_t) * N), 0);
    for (int64_t i = 0; i < TARGETS * WIDTH_OF_ROW; i++)
        cr_assert_float_eq(sums[1][i], sums[0][i], 1e-4, "row %d", (int)(i / WIDTH_OF_ROW));
    for (int64_t i = 0; i < LONG; i++)
        cr_assert_float_eq(soft[1][i], soft[0][i], 1e-4, "element %d", (int)i);
    for (int d = 0; d < 2; d++)
        free(values[d]), free(index[d]), free(sums[d]), free(soft[d]);
    free(x), free(target);
}

#ifdef LS_CUDAHOST
/* A loss of every kind as a part of another one, and batch norm in training and in evaluation. */
static ls_tensor *parts_of_a_loss(ls_tape *tape, float *numbers)
{
    enum { ROWS = 6, COLUMNS = 8, WORDS = 11 };
    static const int32_t labels[ROWS] = {1, -1, 10, 0, 3, 3}, group[ROWS] = {0, 0, 2, 1, -1, 2};
    ls_tensor *x = ls_variable(tape, LS_F32, LS_SHAPE(ROWS, COLUMNS), numbers), *target = ls_constant(tape, LS_F32, LS_SHAPE(ROWS, COLUMNS), numbers + 1);
    ls_tensor *w = ls_variable(tape, LS_F32, LS_SHAPE(WORDS, COLUMNS), numbers + 2), *mean = ls_variable(tape, LS_F32, LS_SHAPE(COLUMNS), numbers + 3);
    ls_tensor *variance = ls_variable(tape, LS_F32, LS_SHAPE(COLUMNS), numbers + 4);
    ls_tensor *y = ls_batch_norm(tape, x, NULL, NULL, mean, variance, 1e-5), *loss = ls_mse_sum(tape, y, target, ROWS, numbers);
    ls_no_grad_begin(tape);
    target = ls_sigmoid(tape, ls_batch_norm(tape, x, NULL, NULL, mean, variance, 1e-5));
    ls_no_grad_end(tape);
    ls_tensor *part[] = {ls_bce_with_logits_sum(tape, y, target, 0, NULL, NULL), ls_kl_sum(tape, y, target, 0, NULL), ls_soft_cross_entropy_sum(tape, y, target, 0.1, numbers, NULL),
                         ls_kl_of_logits_sum(tape, y, target, numbers, NULL), ls_cross_entropy_sum(tape, y, w, labels, numbers, NULL),
                         ls_sum(tape, ls_square(tape, ls_cross_entropy_groups(tape, y, w, labels, 3, group)), LS_ALL)};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        loss = ls_add(tape, loss, ls_scale(tape, part[i], 0.5, 0));
    return loss;
}

/* The emulation does nothing that is queued before somebody waits (seed 0), so an event that stands first tells. */
Test(cuda, losses_and_batch_norm_wait_for_nothing)
{
    ls_tape *tape;
    cudaEvent_t first;
    float numbers[128];
    for (int i = 0; i < 128; i++)
        numbers[i] = 0.5f + 0.25f * sinf((float)i);
    cr_assert_eq(ls_tape_create(&tape, device, 1 << 26), LS_OK);
    for (int round = 0; round < 2; round++) { /* memory is taken in the first, and CUDA may wait for that */
        cr_assert_eq(device->synchronize(device), LS_OK);
        cr_assert_eq(cudaEventCreate(&first), cudaSuccess);
        cr_assert_eq(cudaEventRecord(first, (cudaStream_t)device->stream), cudaSuccess);
        ls_tape_reset(tape, 1, 0, 0);
        ls_tensor *loss = parts_of_a_loss(tape, numbers);
        ls_backward(tape, loss, 0.25, NULL, NULL);
        cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
        cr_expect(round == 0 || cudaEventQuery(first) == cudaErrorNotReady, "something waited");
        cr_expect(isfinite(ls_tape_number(tape, loss)));
        cr_assert_eq(cudaEventDestroy(first), cudaSuccess);
    }
    ls_tape_free(tape);
}
#endif

/* ---- the table, memory, order, errors ---- */

Test(cuda, no_function_of_the_table_is_missing)
{
    const char *table = (const char *)device;
    for (size_t at = offsetof(ls_device, free); at < sizeof *device; at += sizeof(void (*)(void))) {
        void (*function)(void);
        memcpy(&function, table + at, sizeof function);
        cr_expect(function != NULL || at == offsetof(ls_device, hold_weights) || at == offsetof(ls_device, hold_for_decoding) /* nothing is gained by them here */, "the one at byte %d of the table, which has %d", (int)at, (int)sizeof *device);
    }
}

/* Nothing is copied or waited for between calls on the device's own memory: the host sees the results after synchronize. */
Test(cuda, own_memory_is_read_after_synchronize)
{
    enum { N = 1000 };
    void *block;
    cr_assert_eq(device->allocate(device, 2 * N * sizeof(float), &block), LS_OK, "%s", ls_fail_sentence());
    float *x = block, *y = x + N;
    cr_assert_eq(device->synchronize(device), LS_OK);
    for (int i = 0; i < 2 * N; i++)
        cr_assert_eq(x[i], 0);
    device->fill(device, LS_F32, N, 3, x);
    for (int i = 0; i < 5; i++)
        device->add_to(device, LS_F32, N, x, y);
    cr_assert_eq(device->synchronize(device), LS_OK);
    for (int i = 0; i < N; i++)
        cr_assert_eq(y[i], 15);
    device->release(device, block, 2 * N * sizeof(float));
}

Test(cuda, moved_memory_may_overlap)
{
    enum { N = 5000, BY = 700 };
    void *block;
    float kept[2] = {1, 2};
    cr_assert_eq(device->allocate(device, N * sizeof(float), &block), LS_OK, "%s", ls_fail_sentence());
    float *x = block;
    for (int i = 0; i < N; i++)
        x[i] = (float)i;
    device->move(device, (N - BY) * sizeof(float), x + BY, x);
    device->move(device, sizeof kept, x, kept); /* to the host, which need not wait */
    cr_assert(kept[0] == BY && kept[1] == BY + 1);
    device->move(device, (N - BY) * sizeof(float), x, x + BY);
    device->move(device, 0, NULL, NULL);
    cr_assert_eq(device->synchronize(device), LS_OK, "%s", ls_fail_sentence());
    for (int i = 0; i < N; i++)
        cr_assert_eq(x[i], (float)(i < BY ? i + BY : i), "element %d", i);
    device->release(device, block, N * sizeof(float));
}

Test(cuda, memory_that_is_not_to_be_had_says_what_is_free)
{
    void *block;
    cr_assert_eq(device->allocate(device, (size_t)1 << 50, &block), LS_EMEM);
    cr_assert_null(block);
    cr_expect_not_null(strstr(ls_fail_sentence(), "1048576.00 GiB asked for"), "%s", ls_fail_sentence());
    cr_expect_not_null(strstr(ls_fail_sentence(), "GiB free"), "%s", ls_fail_sentence());
    cr_expect_not_null(strstr(ls_fail_sentence(), "batch.grain"), "%s", ls_fail_sentence());
    cr_expect_eq(device->synchronize(device), LS_OK, "the device goes on: %s", ls_fail_sentence());
}

Test(cuda, heads_too_wide_for_shared_memory_are_refused)
{
    enum { WIDE = 1024 };
    float *x = drawn(LS_F32, WIDE, 1), out[WIDE], lse;
    const ls_attention_args args = {.type = LS_F32, .batch = 1, .queries = 1, .keys = 1, .heads = 1, .kv_heads = 1, .width = WIDE, .scale = 1, .q = x, .k = x, .v = x, .out = out, .lse = &lse};
    cr_assert_eq(device->attention(device, &args, NULL), LS_ESHAPE);
    cr_expect_not_null(strstr(ls_fail_sentence(), "bytes of shared memory"), "%s", ls_fail_sentence());
    cr_expect_eq(device->synchronize(device), LS_ESHAPE, "kept until somebody asks");
    cr_expect_eq(device->synchronize(device), LS_OK);
    free(x);
}

#ifdef LS_CUDAHOST
/* Orders of blocks, warps and queued work that CUDA allows: the same bits. */
Test(cuda, no_order_changes_a_bit)
{
    for (int c = 0; c < kernel_case_count; c++) {
        kernel_output want = kernel_output_create();
        cudahost_seed(0);
        kernel_cases[c].run(device, LS_F32, 301, &want);
        for (uint64_t seed = 1; seed <= 3; seed++) {
            kernel_output got = kernel_output_create();
            cr_assert_eq(device->synchronize(device), LS_OK);
            cudahost_seed(seed);
            kernel_cases[c].run(device, LS_F32, 301, &got);
            cr_assert_eq(memcmp(want.bytes, got.bytes, want.used), 0, "%s: seed %d", kernel_cases[c].name, (int)seed);
            kernel_output_free(&got);
        }
        kernel_output_free(&want);
    }
}
#endif
