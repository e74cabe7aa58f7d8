/* Matrix products: ours (tensor/cpu/matmul.c) beside oneDNN's dnnl_sgemm, one and two threads, in the same run; and the
 * two reasons why the inner kernel is ours: does a row keep its bits whatever the number of rows, and how often is the
 * heap asked in a call.
 *
 *     build/release/bench/tensor_bench_matmul [seconds for each figure, default 0.2] */
#include "tensor/device.h"
#include "tensor/numerics.h"

#include <errno.h>
#include <oneapi/dnnl/dnnl.h>
#include <omp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    const char *what;
    int64_t m, n, k;
    bool trans_a, trans_b;
} shape;

static const shape shapes[] = {
    {"square", 1024, 1024, 1024, false, true},           {"forward, 256 tokens", 256, 3072, 768, false, true},
    {"dX, 256 tokens", 256, 768, 3072, false, false},    {"dW, 256 tokens", 3072, 768, 256, true, false},
    {"dW, 1024 tokens", 3072, 768, 1024, true, false},   {"small model, 512 tokens", 512, 384, 256, false, true},
    {"LoRA dW, 2048 tokens", 768, 8, 2048, true, false}, {"decode, 1 token", 1, 3072, 768, false, true},
    {"decode, 16 tokens", 16, 3072, 768, false, true},
};

static atomic_long heap_calls;

/* What oneDNN's allocator calls. */
int posix_memalign(void **block, size_t alignment, size_t bytes)
{
    atomic_fetch_add(&heap_calls, 1);
    *block = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    return *block ? 0 : ENOMEM;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

typedef struct {
    ls_device *device; /* NULL: oneDNN */
    ls_arena *scratch;
    ls_matmul_args args;
} call;

static void multiply(const call *c)
{
    const ls_matmul_args *x = &c->args;
    if (c->device)
        c->device->matmul(c->device, x, c->scratch);
    else
        dnnl_sgemm(x->trans_a ? 'T' : 'N', x->trans_b ? 'T' : 'N', x->m, x->n, x->k, 1, x->a, x->lda, x->b, x->ldb, 0,
                   x->c, x->ldc);
}

static double rate(const call *c, double budget)
{
    double best = 1e9;
    multiply(c);
    for (double start = seconds(); seconds() - start < budget;) {
        double began = seconds();
        multiply(c);
        double took = seconds() - began;
        best = took < best ? took : best;
    }
    return 2e-9 * (double)(c->args.m * c->args.n * c->args.k) / best;
}

/* How many of the row counts 1..64 give other bits than 64 rows do. */
static int row_counts_that_differ(call c, const float *b)
{
    enum { ROWS = 64, N = 768, K = 768 };
    static float a[ROWS * K], want[ROWS * N], got[ROWS * N];
    for (int i = 0; i < ROWS * K; i++)
        a[i] = (float)(i * 7919 % 1000) / 500 - 1;
    c.args = (ls_matmul_args){.batch = 1,
                              .m = ROWS,
                              .n = N,
                              .k = K,
                              .trans_b = true,
                              .a = a,
                              .b = b,
                              .c = want,
                              .lda = K,
                              .ldb = K,
                              .ldc = N};
    multiply(&c);
    int differ = 0;
    c.args.c = got;
    for (c.args.m = 1; c.args.m < ROWS; c.args.m++) {
        multiply(&c);
        differ += memcmp(got, want, (size_t)(c.args.m * N) * sizeof *got) != 0;
    }
    return differ;
}

int main(int argc, char **argv)
{
    double budget = argc > 1 ? atof(argv[1]) : 0.2;
    enum { MOST = 3072 * 1024 };
    float *a = aligned_alloc(64, MOST * sizeof *a), *b = aligned_alloc(64, MOST * sizeof *b),
          *c = aligned_alloc(64, MOST * sizeof *c);
    ls_team *team[2];
    call ours[2] = {0}, peer = {0};
    ls_arena *scratch;
    if (!a || !b || !c || ls_arena_create(&scratch, "bench", (size_t)1 << 30) != LS_OK)
        return 1;
    for (int64_t i = 0; i < MOST; i++) {
        a[i] = (float)(i * 7919 % 1000) / 500 - 1;
        b[i] = (float)(i * 104729 % 1000) / 500 - 1;
    }
    for (int t = 0; t < 2; t++) {
        if (ls_team_create(&team[t], t + 1, 1) != LS_OK || ls_device_create_cpu(&ours[t].device, team[t]) != LS_OK)
            return fprintf(stderr, "%s\n", ls_fail_sentence()), 1;
        ours[t].scratch = scratch;
    }
    printf("%s\n%-26s %22s   %-19s %-19s\n", ls_numerics_id(), "f32, GFLOP/s", "m n k", "ours 1, 2 threads",
           "dnnl_sgemm 1, 2");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const shape *s = &shapes[i];
        peer.args = (ls_matmul_args){.batch = 1,
                                     .m = s->m,
                                     .n = s->n,
                                     .k = s->k,
                                     .trans_a = s->trans_a,
                                     .trans_b = s->trans_b,
                                     .a = a,
                                     .b = b,
                                     .c = c,
                                     .lda = s->trans_a ? s->m : s->k,
                                     .ldb = s->trans_b ? s->k : s->n,
                                     .ldc = s->n};
        double figure[4];
        for (int t = 0; t < 2; t++) {
            ours[t].args = peer.args;
            figure[t] = rate(&ours[t], budget);
            omp_set_num_threads(t + 1);
            figure[2 + t] = rate(&peer, budget);
        }
        printf("%-26s %8d %6d %6d   %8.1f  %8.1f  %8.1f  %8.1f\n", s->what, (int)s->m, (int)s->n, (int)s->k, figure[0],
               figure[1], figure[2], figure[3]);
    }
    omp_set_num_threads(1);
    printf("row counts of 1..63 whose bits differ from those of 64 rows: ours %d, dnnl_sgemm %d\n",
           row_counts_that_differ(ours[0], b), row_counts_that_differ(peer, b));
    for (int t = 0; t < 2; t++) {
        call *one = t ? &peer : &ours[1];
        one->args = (ls_matmul_args){.batch = 1,
                                     .m = 256,
                                     .n = 256,
                                     .k = 256,
                                     .trans_b = true,
                                     .a = a,
                                     .b = b,
                                     .c = c,
                                     .lda = 256,
                                     .ldb = 256,
                                     .ldc = 256};
        long before = atomic_load(&heap_calls);
        multiply(one);
        printf("%s aligned heap blocks taken in a call: %ld\n",
               t ? "dnnl_sgemm:" : "ours:      ", atomic_load(&heap_calls) - before);
    }
    return 0;
}
