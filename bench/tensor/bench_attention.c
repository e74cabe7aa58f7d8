/* Attention: rate of forward and backward, the time of one decoded token by the number of keys, and the time under
 * block masks by the share of blocks that are present (none, a half, a quarter, ... absent at fixed places). FLOPs are
 * counted as products of visible pairs only: 2 products forward, 5 backward.
 *
 *     build/release/bench/tensor_bench_attention */
#include "tensor/device.h"
#include "tensor/numerics.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static float *numbers(int64_t count)
{
    float *x = aligned_alloc(64, (size_t)(count + 15) / 16 * 64);
    for (int64_t i = 0; x && i < count; i++)
        x[i] = (float)(i * 7919 % 1000) / 500 - 1;
    return x;
}

static double best_of(ls_device *device, const ls_attention_args *x, ls_arena *scratch, bool backward)
{
    double best = 1e9;
    for (double start = seconds(); seconds() - start < 0.2;) {
        double began = seconds();
        if (backward)
            device->attention_backward(device, x, scratch);
        else
            device->attention(device, x, scratch);
        double took = seconds() - began;
        best = took < best ? took : best;
    }
    return best;
}

static ls_attention_args arguments(int64_t batch, int64_t queries, int64_t keys, int64_t heads, int64_t kv_heads,
                                   int64_t width)
{
    int64_t q = batch * queries * heads * width, k = batch * keys * kv_heads * width;
    return (ls_attention_args){.batch = batch,
                               .queries = queries,
                               .keys = keys,
                               .heads = heads,
                               .kv_heads = kv_heads,
                               .width = width,
                               .scale = 0.125,
                               .q = numbers(q),
                               .k = numbers(k),
                               .v = numbers(k),
                               .out = numbers(q),
                               .dout = numbers(q),
                               .dq = numbers(q),
                               .dk = numbers(k),
                               .dv = numbers(k),
                               .lse = numbers(batch * heads * queries)};
}

static void release(ls_attention_args *x)
{
    void *all[] = {(void *)x->q, (void *)x->k, (void *)x->v, x->out, (void *)x->dout, x->dq, x->dk, x->dv, x->lse};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static void measure(ls_device *device, ls_arena *scratch, int64_t batch, int64_t queries, int64_t keys, int64_t heads,
                    int64_t kv_heads, int64_t width)
{
    ls_attention_args x = arguments(batch, queries, keys, heads, kv_heads, width);
    x.causal = true;
    double forward = best_of(device, &x, scratch, false), backward = best_of(device, &x, scratch, true);
    double pairs = (double)(batch * heads * queries) * ((double)keys - (double)queries / 2),
           product = 2 * pairs * (double)width;
    printf("%5d %5d %5d %5d %5d %5d   %8.3f ms %8.1f   %8.3f ms %8.1f\n", (int)batch, (int)queries, (int)keys,
           (int)heads, (int)kv_heads, (int)width, forward * 1e3, 2e-9 * product / forward, backward * 1e3,
           5e-9 * product / backward);
    release(&x);
}

/* ---- block masks ---- */

typedef struct {
    int64_t block, of; /* one block in `of` is present */
} share;

static bool in_share(const void *context, int64_t row, int64_t query, int64_t key)
{
    const share *s = context;
    (void)row;
    return (query / s->block * 5 + key / s->block * 7) % 16 / (16 / s->of) == 0;
}

static void measure_masked(ls_device *device, ls_arena *scratch, int64_t block)
{
    enum { T = 1024, HEADS = 12, WIDTH = 64 };
    double forward = 0, backward = 0;
    for (int64_t of = 1; of <= 8; of *= 2) {
        ls_attention_args x = arguments(1, T, T, HEADS, HEADS, WIDTH);
        ls_mark mark = ls_arena_mark(scratch);
        ls_block_mask *mask;
        if (ls_block_mask_build(&mask, scratch, 1, T, T, block, in_share, &(share){block, of}) != LS_OK)
            fprintf(stderr, "%s\n", ls_fail_sentence());
        x.mask = mask;
        int64_t table = (int64_t)(ls_arena_used(scratch) - mark);
        double f = best_of(device, &x, scratch, false), b = best_of(device, &x, scratch, true);
        forward = of == 1 ? f : forward;
        backward = of == 1 ? b : backward;
        printf("%5d  1/%d %6lld B  %8.3f ms %6.3f   %8.3f ms %6.3f\n", (int)block, (int)of, (long long)table, f * 1e3,
               f / forward, b * 1e3, b / backward);
        ls_arena_release(scratch, mark);
        release(&x);
    }
}

int main(void)
{
    ls_arena *scratch;
    if (ls_arena_create(&scratch, "bench", (size_t)4 << 30) != LS_OK)
        return 1;
    for (int threads = 1; threads <= 2; threads++) {
        ls_team *team;
        ls_device *device;
        if (ls_team_create(&team, threads, 1) != LS_OK || ls_device_create_cpu(&device, team) != LS_OK)
            return fprintf(stderr, "%s\n", ls_fail_sentence()), 1;
        printf(
            "%s, %d thread%s\nbatch     q     k heads    kv width   forward        GFLOP/s   backward       GFLOP/s\n",
            ls_numerics_id(), threads, threads > 1 ? "s" : "");
        measure(device, scratch, 4, 256, 256, 12, 12, 64);
        measure(device, scratch, 1, 1024, 1024, 12, 4, 64);
        measure(device, scratch, 8, 256, 256, 8, 4, 8);
        measure(device, scratch, 1, 1, 1024, 12, 12, 64);
        measure(device, scratch, 1, 1, 1024, 32, 8, 64);
        printf("T 1024, 12 heads, width 64\nblock present    mask   forward     of all   backward     of all\n");
        for (int64_t block = 16; block <= 128; block *= 2)
            measure_masked(device, scratch, block);
        device->free(device);
        ls_team_free(team);
    }
    ls_arena_free(scratch);
    return 0;
}
