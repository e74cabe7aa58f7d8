/* Convolutions where they must be exact: sums of whole numbers, whatever the path, and bf16 in pairs or widened. The operators' own
 * tests hold values and gradients of all types against f64 (operators/grids.c). */
#include "tensor/cpu/winograd.h"
#include "tests/tensor/numbers.h"

static const ls_grid grids[] = {
    /* batch, in, out, window, stride, padding, dilation; channels, outputs, groups */
    {0, 2, {1, 9, 11}, {1, 9, 11}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 16, 40, 1},  /* in place, several taps a run */
    {0, 3, {1, 8, 32}, {1, 8, 32}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 6, 7, 1},    /* an odd number of outputs */
    {0, 3, {1, 7, 33}, {1, 7, 33}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 7, 8, 1},    /* of channels and positions */
    {0, 2, {1, 9, 9}, {1, 9, 9}, {1, 3, 3}, {1, 1, 1}, {0, 2, 2}, {1, 2, 2}, 200, 64, 1},   /* dilated; several chunks of k */
    {0, 2, {1, 13, 12}, {1, 7, 6}, {1, 3, 3}, {1, 2, 2}, {0, 1, 1}, {1, 1, 1}, 64, 34, 1},  /* gathered: a stride */
    {0, 4, {1, 14, 14}, {1, 14, 14}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}, 48, 36, 1},
    {0, 2, {1, 8, 8}, {1, 8, 8}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 24, 12, 2},    /* groups */
    {0, 1, {1, 9, 9}, {1, 4, 4}, {1, 3, 3}, {1, 2, 2}, {0, 0, 0}, {1, 1, 1}, 9, 9, 9},      /* of one channel */
    {0, 1, {5, 6, 7}, {5, 6, 7}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, 8, 10, 1},
    {0, 2, {1, 40, 33}, {1, 40, 33}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 16, 16, 1},   /* several bands of an image */
    {0, 3, {1, 3, 230}, {1, 3, 230}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 16, 32, 1},   /* rows longer than a tile */
    {0, 1, {1, 1, 700}, {1, 1, 700}, {1, 1, 5}, {1, 1, 1}, {0, 0, 2}, {1, 1, 1}, 18, 48, 1},   /* of one axis */
    {0, 5, {1, 4, 3}, {1, 4, 3}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 12, 4, 1},        /* hardly more than margins */
    {0, 2, {1, 10, 10}, {1, 10, 10}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 3, 16, 1},    /* gathered: few channels */
    {0, 3, {1, 9, 11}, {1, 9, 11}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 32, 48, 1},     /* minimal filtering in f32: odd sides */
    {0, 5, {2, 8, 6}, {2, 8, 6}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 80, 32, 1},       /* even ones; two planes an image */
    {0, 16, {1, 4, 4}, {1, 4, 4}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 272, 32, 1},     /* several chunks of channels */
    {0, 3, {1, 20, 19}, {1, 20, 19}, {1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, 32, 48, 1},   /* of patches, and several panels */
};
enum { GRIDS = sizeof grids / sizeof *grids };

static int64_t product_of(const int64_t a[3])
{
    return a[0] * a[1] * a[2];
}

/* y, dx and dw of a grid; x, w and dy are exact in bf16 and in f16. */
typedef struct {
    void *y, *dx, *dw; /* dw: f32, or f64 of f64 */
    int64_t y_count, x_count, w_count;
} results;

static results convolve(ls_device *device, ls_arena *scratch, ls_grid grid, ls_type type, bool whole_numbers)
{
    results r = {.y_count = grid.batch * product_of(grid.out) * grid.outputs,
                 .x_count = grid.batch * product_of(grid.in) * grid.channels,
                 .w_count = grid.outputs * product_of(grid.window) * grid.channels / grid.groups};
    const int64_t count[] = {r.x_count, r.w_count, r.y_count};
    void *operand[3];
    for (int i = 0; i < 3; i++) {
        uint16_t *narrow = numbers(LS_BF16, count[i], (uint64_t)i + 1, 1.5);
        for (int64_t j = 0; j < count[i]; j++) {
            const double x = get(LS_BF16, narrow, j);
            put(LS_BF16, narrow, j, whole_numbers ? rint(x) : fabs(x) < 0x1p-14 ? 0 : x);
        }
        operand[i] = array_of(type, count[i]);
        device->cast(device, LS_BF16, type, count[i], narrow, operand[i]);
        free(narrow);
    }
    grid.type = type;
    r.y = array_of(type, r.y_count), r.dx = array_of(type, r.x_count), r.dw = array_of(type == LS_F64 ? LS_F64 : LS_F32, r.w_count);
    cr_assert_eq(device->conv(device, &grid, operand[0], operand[1], NULL, LS_F32, LS_ACT_NONE, r.y, NULL, scratch), LS_OK);
    cr_assert_eq(device->conv_input(device, &grid, operand[2], operand[1], false, r.dx, scratch), LS_OK);
    cr_assert_eq(device->conv_weight(device, &grid, operand[0], operand[2], r.dw, scratch), LS_OK);
    for (int i = 0; i < 3; i++)
        free(operand[i]);
    return r;
}

static void release(results *r)
{
    free(r->y), free(r->dx), free(r->dw);
}

static bool equal_rounded(ls_device *device, ls_type type, int64_t count, const void *narrow, const void *wide)
{
    void *rounded = array_of(type, count);
    device->cast(device, LS_F32, type, count, wide, rounded);
    const bool equal = !memcmp(narrow, rounded, (size_t)count * sizeof(uint16_t));
    free(rounded);
    return equal;
}

static bool is_filtered(int i)
{
    ls_grid grid = grids[i];
    grid.type = LS_F32;
    return ls_winograd_fits(&grid);
}

/* Minimal filtering is of f32 alone, so that the narrow types go another way to nearly the same numbers. */
static void compare(ls_device *device, ls_arena *scratch, ls_type type, bool whole_numbers)
{
    for (int i = 0; i < GRIDS; i++) {
        if (!whole_numbers && is_filtered(i))
            continue;
        results narrow = convolve(device, scratch, grids[i], type, whole_numbers), f32 = convolve(device, scratch, grids[i], LS_F32, whole_numbers);
        cr_expect(equal_rounded(device, type, narrow.y_count, narrow.y, f32.y), "grid %d: y", i);
        cr_expect(equal_rounded(device, type, narrow.x_count, narrow.dx, f32.dx), "grid %d: dx", i);
        cr_expect_eq(memcmp(narrow.dw, f32.dw, (size_t)f32.w_count * sizeof(float)), 0, "grid %d: dw", i);
        release(&narrow);
        release(&f32);
    }
}

static void expect_equal(const char *what, int grid, ls_type type, int64_t count, const void *got, const void *f64)
{
    for (int64_t i = 0; i < count; i++)
        if (get(type, got, i) != get(LS_F64, f64, i)) {
            cr_expect(false, "grid %d: %s[%lld] is %g, not %g", grid, what, (long long)i, get(type, got, i), get(LS_F64, f64, i));
            return;
        }
}

static double distance(int64_t count, ls_type type, const void *got, ls_type exact_type, const void *exact)
{
    double error = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        const double e = get(exact_type, exact, i), d = get(type, got, i) - e;
        error += d * d;
        norm += e * e;
    }
    return sqrt(error / norm);
}

/* Against the plain loops of f64, by norm; f32 has steps of 1.2e-7. */
Test(conv, minimal_filtering_is_near_exact)
{
    ls_arena *scratch = scratch_arena();
    ls_device *device = device_of(2);
    int filtered = 0;
    for (int i = 0; i < GRIDS; i++) {
        if (!is_filtered(i))
            continue;
        filtered++;
        results f64 = convolve(device, scratch, grids[i], LS_F64, false), f32 = convolve(device, scratch, grids[i], LS_F32, false);
        const double y = distance(f32.y_count, LS_F32, f32.y, LS_F64, f64.y), dx = distance(f32.x_count, LS_F32, f32.dx, LS_F64, f64.dx),
                     dw = distance(f32.w_count, LS_F32, f32.dw, LS_F64, f64.dw);
        cr_expect(y < 1e-6 && dx < 1e-6 && dw < 1e-6, "grid %d: y %g, dx %g, dw %g", i, y, dx, dw);
        release(&f64);
        release(&f32);
    }
    cr_expect_eq(filtered, 4);
    ls_arena_free(scratch);
    device_done(device);
}

static void expect_same_bits(int grid, ls_type type, const results *a, const results *b)
{
    cr_expect_eq(memcmp(a->y, b->y, (size_t)a->y_count * ls_type_size(type)), 0, "grid %d: y", grid);
    cr_expect_eq(memcmp(a->dx, b->dx, (size_t)a->x_count * ls_type_size(type)), 0, "grid %d: dx", grid);
    cr_expect_eq(memcmp(a->dw, b->dw, (size_t)a->w_count * sizeof(float)), 0, "grid %d: dw", grid);
}

/* The levels differ in their vectors alone. */
Test(conv, minimal_filtering_has_the_same_bits_on_avx2_and_avx512)
{
    ls_arena *scratch = scratch_arena();
    ls_device *device = device_of(2);
    ls_cpu *cpu = device->self;
    const ls_numerics best = cpu->level;
    for (int i = 0; i < GRIDS && best >= LS_NUMERICS_AVX2; i++) {
        if (!is_filtered(i))
            continue;
        results of[2];
        for (int j = 0; j < 2; j++) {
            cpu->level = j ? best : LS_NUMERICS_AVX2;
            of[j] = convolve(device, scratch, grids[i], LS_F32, false);
        }
        expect_same_bits(i, LS_F32, &of[0], &of[1]);
        release(&of[0]);
        release(&of[1]);
    }
    ls_arena_free(scratch);
    device_done(device);
}

/* Of every level, against the plain loops of f64. */
Test(conv, whole_numbers_are_exact_in_f32)
{
    ls_arena *scratch = scratch_arena();
    ls_device *device = device_of(2);
    ls_cpu *cpu = device->self;
    const ls_numerics best = cpu->level;
    for (int i = 0; i < GRIDS; i++) {
        results f64 = convolve(device, scratch, grids[i], LS_F64, true);
        for (cpu->level = LS_NUMERICS_GENERIC; cpu->level <= best; cpu->level++) {
            results f32 = convolve(device, scratch, grids[i], LS_F32, true);
            expect_equal("y", i, LS_F32, f32.y_count, f32.y, f64.y);
            expect_equal("dx", i, LS_F32, f32.x_count, f32.dx, f64.dx);
            expect_equal("dw", i, LS_F32, f32.w_count, f32.dw, f64.dw);
            release(&f32);
        }
        cpu->level = best;
        release(&f64);
    }
    ls_arena_free(scratch);
    device_done(device);
}

/* Sums of small whole numbers are exact in f32 in any order and grouping. */
Test(conv, narrow_whole_numbers_are_f32_rounded)
{
    ls_arena *scratch = scratch_arena();
    ls_device *device = device_of(2);
    compare(device, scratch, LS_BF16, true);
    compare(device, scratch, LS_F16, true);
    ls_arena_free(scratch);
    device_done(device);
}

Test(conv, what_is_not_multiplied_in_pairs_is_widened)
{
    ls_arena *scratch = scratch_arena();
    ls_device *device = device_of(2);
    ls_cpu *cpu = device->self;
    cpu->level = cpu->level > LS_NUMERICS_AVX512 ? LS_NUMERICS_AVX512 : cpu->level;
    compare(device, scratch, LS_BF16, false);
    compare(device, scratch, LS_F16, false);
    ls_arena_free(scratch);
    device_done(device);
}

Test(conv, any_team_gives_the_same_bits)
{
    ls_arena *scratch = scratch_arena();
    ls_device *one = device_of(1), *three = device_of(3);
    for (int i = 0; i < GRIDS; i++)
        for (ls_type type = LS_F32; type <= LS_F16; type = stored_after(type)) {
            results a = convolve(one, scratch, grids[i], type, false), b = convolve(three, scratch, grids[i], type, false);
            expect_same_bits(i, type, &a, &b);
            release(&a);
            release(&b);
        }
    ls_arena_free(scratch);
    device_done(one);
    device_done(three);
}
