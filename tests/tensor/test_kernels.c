/* The CPU device's kernels: bits over levels and threads, and values against the naive device. */
#include "tensor/cpu/cpu.h"
#include "tests/tensor/kernel_cases.h"
#include "tests/tensor/reference_device.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One case at one level and thread count. */
static kernel_output run(const kernel_case *c, ls_numerics level, int threads, ls_type type, int64_t n)
{
    kernel_output out = kernel_output_create();
    ls_team *team;
    ls_device *device;
    cr_assert_eq(ls_team_create(&team, threads, 1), LS_OK);
    cr_assert_eq(ls_device_create_cpu(&device, team), LS_OK);
    ((ls_cpu *)device->self)->kernels = ls_cpu_kernels(level);
    c->run(device, type, n, &out);
    device->free(device);
    ls_team_free(team);
    return out;
}

static const ls_type types[] = {LS_F32, LS_BF16, LS_F16, LS_F64};
enum { TYPES = sizeof types / sizeof *types };

static void same(const kernel_case *c, ls_numerics level, int threads, ls_type type, int64_t n)
{
    kernel_output want = run(c, LS_NUMERICS_GENERIC, 1, type, n), got = run(c, level, threads, type, n);
    cr_assert_eq(got.arrays, want.arrays);
    for (int i = 0; i < want.arrays; i++) {
        size_t at = want.array[i].at, bytes = (size_t)want.array[i].count * ls_type_size(want.array[i].type);
        cr_assert_eq(memcmp(want.bytes + at, got.bytes + at, bytes), 0, "%s %d, %s, n = %d: level %d with %d threads differs",
                     want.array[i].entry, want.array[i].variant, ls_type_name(type), (int)n, (int)level, threads);
    }
    cr_assert_eq(memcmp(want.bytes, got.bytes, want.used), 0, "%s wrote between its arrays", c->name);
    kernel_output_free(&want), kernel_output_free(&got);
}

/* Sizes around lanes, vectors and nothing at all. */
Test(kernels, every_level_gives_the_bits_of_the_generic_one)
{
    static const int64_t sizes[] = {0, 1, 2, 15, 16, 17, 63, 511, 513, 1000, 4099};
    for (int level = LS_NUMERICS_AVX2; level <= (int)ls_cpu_best_level(); level++)
        for (int c = 0; c < kernel_case_count; c++)
            for (int t = 0; t < TYPES - 1; t++) /* f64 has one level */
                for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
                    same(&kernel_cases[c], (ls_numerics)level, 1, types[t], sizes[s]);
}

/* Sizes that are dealt to the team in several pieces. */
Test(kernels, threads_do_not_change_a_bit)
{
    for (int c = 0; c < kernel_case_count; c++)
        for (int t = 0; t < TYPES; t++)
            for (int threads = 2; threads <= 3; threads++)
                same(&kernel_cases[c], LS_NUMERICS_GENERIC, threads, types[t], threads == 2 ? 40001 : 70000);
}

/* Every entry but the flat buffers against loops in f64 that were written apart from it. */
Test(kernels, values_are_those_of_the_naive_device)
{
    static const int64_t sizes[] = {1, 17, 700, 4099};
    static const double relative[] = {2e-5, 2e-2, 2.5e-3, 1e-9}, absolute[] = {2e-5, 4e-2, 5e-3, 1e-9};
    for (int c = 0; c < kernel_case_count - 1; c++)
        for (int t = 0; t < TYPES; t++)
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
                kernel_output want = kernel_output_create();
                kernel_cases[c].run(reference_device(), types[t], sizes[s], &want);
                kernel_output got = run(&kernel_cases[c], ls_cpu_best_level(), 1, types[t], sizes[s]);
                kernel_output_compare(&want, &got, types[t], relative[t], absolute[t]);
                kernel_output_free(&want), kernel_output_free(&got);
            }
}

/* A gate of a sigmoid has one loop for both gradients: its bits are those of each gradient alone. */
Test(kernels, both_gradients_of_a_gate_have_the_bits_of_each_alone)
{
    enum { N = 1000 };
    static const ls_unary gates[] = {LS_UNARY_SILU, LS_UNARY_GELU_TANH};
    ls_team *team;
    ls_device *device;
    cr_assert_eq(ls_team_create(&team, 1, 1), LS_OK);
    cr_assert_eq(ls_device_create_cpu(&device, team), LS_OK);
    float x[3][N];
    static const float special[] = {0.0f, -0.0f, 100.0f, -100.0f, 1e10f, -1e10f, 1e-40f, -1e-20f};
    for (int i = 0; i < 3 * N; i++)
        x[i / N][i % N] = i % N < 64 ? special[i / N == 0 ? i % 8 : i % N / 8] : (float)(i * 7919 % 1000) / 125 - 4;
    for (int t = 0; t < TYPES; t++)
        for (int f = 0; f < 2; f++) {
            double in[3][N], both[2][N] = {0}, alone[2][N] = {0};
            const ls_type type = types[t];
            for (int i = 0; i < 3 && type != LS_F64; i++)
                device->cast(device, LS_F32, type, N, x[i], in[i]);
            for (int i = 0; i < 3 * N && type == LS_F64; i++)
                in[i / N][i % N] = (double)x[i / N][i % N];
            device->gated_backward(device, gates[f], type, N, in[0], in[1], in[2], both[0], false, both[1], false);
            device->gated_backward(device, gates[f], type, N, in[0], in[1], in[2], alone[0], false, NULL, false);
            device->gated_backward(device, gates[f], type, N, in[0], in[1], in[2], NULL, false, alone[1], false);
            cr_assert_eq(memcmp(both, alone, sizeof both), 0, "%s of gate %d", ls_type_name(type), f);
        }
    device->free(device);
    ls_team_free(team);
}
