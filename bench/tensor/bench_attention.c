/* Attention: rate of forward and backward, and the time of one decoded token by the number of keys.
 * FLOPs are counted as products of visible pairs only: 2 products forward, 5 backward.
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

static void measure(ls_device *device, ls_arena *scratch, int64_t batch, int64_t queries, int64_t keys, int64_t heads,
                    int64_t kv_heads, int64_t width)
{
    int64_t q = batch * queries * heads * width, k = batch * keys * kv_heads * width;
    ls_attention_args x = {.batch = batch,
                           .queries = queries,
                           .keys = keys,
                           .heads = heads,
                           .kv_heads = kv_heads,
                           .width = width,
                           .causal = true,
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
    double forward = best_of(device, &x, scratch, false), backward = best_of(device, &x, scratch, true);
    double pairs = (double)(batch * heads * queries) * ((double)keys - (double)queries / 2),
           product = 2 * pairs * (double)width;
    printf("%5d %5d %5d %5d %5d %5d   %8.3f ms %8.1f   %8.3f ms %8.1f\n", (int)batch, (int)queries, (int)keys,
           (int)heads, (int)kv_heads, (int)width, forward * 1e3, 2e-9 * product / forward, backward * 1e3,
           5e-9 * product / backward);
    void *all[] = {(void *)x.q, (void *)x.k, (void *)x.v, x.out, (void *)x.dout, x.dq, x.dk, x.dv, x.lse};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
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
        device->free(device);
        ls_team_free(team);
    }
    ls_arena_free(scratch);
    return 0;
}
