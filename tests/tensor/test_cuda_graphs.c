/* Graphs of the CUDA device (tensor/cuda/graph.cu): calls that are recorded and launched together leave the bits of calls that are
 * queued one by one, whatever ends a segment and however many kinds of segments there are. */
#include "tests/tensor/cuda_fixture.h"
#include "tests/tensor/kernel_cases.h"

#include <stdlib.h>
#include <string.h>

TestSuite(cuda_graphs, .init = make_device, .fini = free_device);

static void use_graphs(bool graphs)
{
    cr_assert_eq(device->use_graphs(device, graphs), LS_OK, "%s", ls_fail_sentence());
}

static void done(void)
{
    cr_assert_eq(device->synchronize(device), LS_OK, "%s", ls_fail_sentence());
}

static float *own(int64_t count)
{
    void *block;
    cr_assert_eq(device->allocate(device, (size_t)count * sizeof(float), &block), LS_OK, "%s", ls_fail_sentence());
    return block;
}

Test(cuda_graphs, every_kernel_leaves_the_bits_that_it_leaves_without)
{
    static const ls_type types[] = {LS_F32, LS_BF16, LS_F16};
    for (int c = 0; c < kernel_case_count; c++)
        for (int t = 0; t < 3; t++) {
            kernel_output want = kernel_output_create(), got = kernel_output_create();
            use_graphs(false);
            kernel_cases[c].run(device, types[t], 301, &want);
            use_graphs(true);
            kernel_cases[c].run(device, types[t], 301, &got);
            done();
            cr_assert(want.used == got.used && memcmp(want.bytes, got.bytes, want.used) == 0, "%s", kernel_cases[c].name);
            kernel_output_free(&want), kernel_output_free(&got);
        }
}

enum { N = 100, SEGMENTS = 700 };

/* One of five calls, each on the numbers that the ones before it left. */
static void call(int kind, int number, float *x, float *y)
{
    const ls_strides shape = {.ndim = 1, .shape = {N}, .stride_a = {1}, .stride_b = {1}};
    switch (kind) {
    case 0: device->unary(device, LS_UNARY_SCALE, LS_F32, N, 0.5, number, x, x); break;
    case 1: device->add_to(device, LS_F32, N, x, y); break;
    case 2: device->binary(device, LS_BINARY_SUB, LS_F32, &shape, y, x, y); break;
    case 3: device->move(device, N * sizeof(float), y, x); break;
    default: device->unary(device, LS_UNARY_TANH, LS_F32, N, 0, 0, y, y);
    }
}

/* Pieces of two to six calls, far more kinds of them than executables are kept, each of which leaves its number; nobody waits meanwhile. */
static void program(float *x, float *y, float *number)
{
    const ls_random stream = {.seed = 3};
    uint64_t drawn = 0;
    device->fill(device, LS_F32, N, 1, x), device->fill(device, LS_F32, N, 2, y), device->fill(device, LS_F32, SEGMENTS, -1, number);
    for (int s = 0; s < SEGMENTS; s++) {
        device->fill(device, LS_F32, 1, s, number + s);
        for (uint64_t calls = 1 + ls_random_below(&stream, drawn++, 5); calls > 0; calls--)
            call((int)ls_random_below(&stream, drawn++, 5), s, x, y);
        cr_assert_eq(device->submit(device), LS_OK, "%s", ls_fail_sentence());
    }
}

Test(cuda_graphs, more_kinds_of_segments_than_are_kept)
{
    float *x = own(N), *y = own(N), *number = own(SEGMENTS), want[2 * N];
    program(x, y, number);
    done();
    memcpy(want, x, sizeof want / 2), memcpy(want + N, y, sizeof want / 2);
    use_graphs(true);
    for (int round = 0; round < 3; round++) {
#ifdef LS_CUDAHOST
        cudahost_seed((uint64_t)round);
#endif
        program(x, y, number);
        done();
        for (int s = 0; s < SEGMENTS; s++)
            cr_assert_eq(number[s], s, "round %d, segment %d", round, s);
        cr_assert(memcmp(want, x, sizeof want / 2) == 0 && memcmp(want + N, y, sizeof want / 2) == 0, "round %d", round);
    }
    device->release(device, x, N * sizeof(float)), device->release(device, y, N * sizeof(float)), device->release(device, number, SEGMENTS * sizeof(float));
}

/* More than there is pinned memory for, each array changed as soon as its call has returned. */
Test(cuda_graphs, arrays_of_the_host_are_read_as_they_were_at_the_call)
{
    enum { COUNT = 1 << 20, ARRAYS = 5 };
    float *x = own(COUNT), *hosts = malloc(COUNT * sizeof *hosts);
    use_graphs(true);
    device->fill(device, LS_F32, COUNT, 1, x);
    for (int a = 0; a < ARRAYS; a++) {
        for (int i = 0; i < COUNT; i++)
            hosts[i] = (float)(a + i % 7);
        device->add_to(device, LS_F32, COUNT, hosts, x);
    }
    done();
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(x[i], (float)(1 + 10 + ARRAYS * (i % 7)), "element %d", i);
    device->release(device, x, COUNT * sizeof(float));
    free(hosts);
}

/* What was called before an error is done; what is called after the error was told is recorded again. */
Test(cuda_graphs, an_error_loses_nothing_that_came_before_it)
{
    enum { WIDE = 1024 };
    float *x = own(N), *q = own(WIDE), *lse = own(1);
    const ls_attention_args args = {.type = LS_F32, .batch = 1, .queries = 1, .keys = 1, .heads = 1, .kv_heads = 1, .width = WIDE, .scale = 1, .q = q, .k = q, .v = q, .out = q, .lse = lse};
    use_graphs(true);
    device->fill(device, LS_F32, N, 3, x);
    cr_assert_eq(device->attention(device, &args, NULL), LS_ESHAPE);
    device->fill(device, LS_F32, N, 4, x);
    cr_assert_eq(device->synchronize(device), LS_ESHAPE);
    cr_expect_eq(x[0], 3);
    device->fill(device, LS_F32, N, 5, x);
    done();
    cr_expect_eq(x[N - 1], 5);
    device->fill(device, LS_F32, N, 6, x);
    use_graphs(false); /* what was recorded is not lost */
    cr_expect_eq(x[N - 1], 6);
    device->release(device, x, N * sizeof(float)), device->release(device, q, WIDE * sizeof(float)), device->release(device, lse, sizeof(float));
}
