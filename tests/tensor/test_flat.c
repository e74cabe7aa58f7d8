/* Loops over the flat buffers against their formulas: naive f32 where bits are promised, f64 where numbers are. */
#include "tensor/device.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static ls_team *team;
static ls_device *device;

static void make_device(void)
{
    cr_assert_eq(ls_team_create(&team, 2, 1), LS_OK);
    cr_assert_eq(ls_device_create_cpu(&device, team), LS_OK);
}

static void free_device(void)
{
    device->free(device);
    ls_team_free(team);
}

TestSuite(flat, .init = make_device, .fini = free_device);

enum { COUNT = 9 * LS_CHUNK + 77 };

/* Normal numbers of sizes from 1e-3 to 1e3, so that another order of additions shows. */
static float *drawn(uint32_t slot)
{
    const ls_random stream = {.seed = 3, .slot = slot, .purpose = LS_RANDOM_TASK};
    float *x = malloc(COUNT * sizeof *x);
    for (uint64_t i = 0; i < COUNT; i++)
        x[i] = ls_random_normal(&stream, i) * powf(10, (float)(i % 7) - 3);
    return x;
}

Test(flat, memory_of_the_device_is_zeroed_and_aligned)
{
    void *block;
    cr_assert_eq(device->allocate(device, 3 << 20, &block), LS_OK);
    cr_assert_eq((uintptr_t)block % 64, 0);
    for (int i = 0; i < 3 << 20; i++)
        cr_assert_eq(((char *)block)[i], 0);
    device->release(device, block, 3 << 20);
    cr_assert_eq(device->allocate(device, (size_t)1 << 60, &block), LS_EMEM);
    cr_assert_null(block);
}

Test(flat, a_carry_adds_the_levels_in_their_order)
{
    float *x = drawn(0), *level[4], *got = malloc(COUNT * sizeof *got), *want = malloc(COUNT * sizeof *want);
    bool order_shows = false;
    for (uint32_t l = 0; l < 4; l++)
        level[l] = drawn(l + 1);
    for (int levels = 0; levels <= 4; levels++) {
        for (int i = 0; i < COUNT; i++) {
            float sum = x[i], turned = x[i];
            for (int l = 0; l < levels; l++) {
                sum = sum + level[l][i];
                turned = turned + level[levels - 1 - l][i];
            }
            want[i] = sum;
            order_shows |= sum != turned;
        }
        device->carry(device, COUNT, x, levels, (const float *const *)level, got);
        cr_assert_eq(memcmp(got, want, COUNT * sizeof *got), 0, "%d levels", levels);
    }
    cr_assert(order_shows);
    device->carry(device, COUNT, x, 4, (const float *const *)level, level[2]); /* in the place of a level */
    cr_assert_eq(memcmp(level[2], want, COUNT * sizeof *want), 0);
    for (int l = 0; l < 4; l++)
        free(level[l]);
    free(x), free(got), free(want);
}

Test(flat, squares_of_a_chunk_are_those_of_the_chunk_alone)
{
    enum { CHUNKS = 10 };
    float *x = drawn(0);
    double sums[CHUNKS], alone;
    device->chunk_squares(device, COUNT, x, sums);
    for (int c = 0; c < CHUNKS; c++) {
        int begin = c * LS_CHUNK, n = COUNT - begin < LS_CHUNK ? COUNT - begin : LS_CHUNK;
        long double want = 0;
        for (int i = 0; i < n; i++)
            want += (long double)x[begin + i] * x[begin + i];
        device->chunk_squares(device, n, x + begin, &alone);
        cr_assert_eq(memcmp(&alone, &sums[c], sizeof alone), 0, "chunk %d", c);
        cr_assert_float_eq(sums[c] / (double)want, 1, 1e-13);
    }
    free(x);
}

/* ---- optimisers: each formula in f64, over a few steps ---- */

typedef struct {
    double w, m, v;
} reference;

static void reference_step(const ls_optimizer_args *o, double gradient, reference *r)
{
    const double g = gradient * o->scale, step = (double)o->step;
    switch (o->kind) {
    case LS_OPTIMIZER_ADAMW:
        r->m = o->beta1 * r->m + (1 - o->beta1) * g;
        r->v = o->beta2 * r->v + (1 - o->beta2) * g * g;
        r->w -= o->lr * o->weight_decay * r->w;
        r->w -= o->lr * (r->m / (1 - pow(o->beta1, step))) / (sqrt(r->v / (1 - pow(o->beta2, step))) + o->eps);
        break;
    case LS_OPTIMIZER_SGD: {
        const double full = g + o->weight_decay * r->w;
        r->m = o->step == 1 ? full : o->momentum * r->m + full;
        r->w -= o->lr * (o->momentum == 0 ? full : o->nesterov ? full + o->momentum * r->m : r->m);
        break;
    }
    case LS_OPTIMIZER_LION: {
        const double update = o->beta1 * r->m + (1 - o->beta1) * g;
        r->w -= o->lr * (copysign(1, update) + o->weight_decay * r->w);
        r->m = o->beta2 * r->m + (1 - o->beta2) * g;
        break;
    }
    }
}

static void follows_its_formula_in(ls_type working_type, ls_optimizer_args o)
{
    enum { N = 3000, STEPS = 20 };
    float *w = calloc(COUNT, sizeof *w), *m = calloc(COUNT, sizeof *m), *v = calloc(COUNT, sizeof *v), *g = drawn(5);
    uint16_t working[N];
    reference *r = calloc(N, sizeof *r);
    for (int i = 0; i < N; i++)
        r[i].w = w[i] = (float)sin(i);
    o.count = N, o.gradient = g, o.master = w, o.first_moment = m, o.second_moment = v;
    o.working_type = working_type, o.working = working;
    for (o.step = 1; o.step <= STEPS; o.step++) {
        for (int i = 0; i < N; i++) {
            g[i] = (float)(cos((double)(i + 7 * o.step)) + 0.25 * sin(i)) * 4;
            reference_step(&o, (double)g[i], &r[i]);
        }
        device->optimizer_step(device, &o);
    }
    for (int i = 0; i < N; i++) {
        uint16_t rounded;
        cr_assert_float_eq((double)w[i], r[i].w, 2e-6 * (1 + fabs(r[i].w)), "weight %d is %.9g, not %.9g", i, (double)w[i], r[i].w);
        device->cast(device, LS_F32, working_type, 1, &w[i], &rounded);
        cr_assert_eq(working[i], rounded);
    }
    free(w), free(m), free(v), free(g), free(r);
}

static void follows_its_formula(ls_optimizer_args o)
{
    follows_its_formula_in(LS_BF16, o);
    follows_its_formula_in(LS_F16, o);
}

Test(flat, adamw_is_loshchilov_and_hutters)
{
    follows_its_formula((ls_optimizer_args){.kind = LS_OPTIMIZER_ADAMW, .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95,
                                            .eps = 1e-8, .weight_decay = 0.1, .scale = 0.25});
}

Test(flat, sgd_is_pytorchs)
{
    follows_its_formula((ls_optimizer_args){.kind = LS_OPTIMIZER_SGD, .lr = 1e-2, .weight_decay = 0.01, .scale = 0.5});
    follows_its_formula((ls_optimizer_args){.kind = LS_OPTIMIZER_SGD, .lr = 1e-2, .momentum = 0.9, .scale = 0.5});
    follows_its_formula((ls_optimizer_args){.kind = LS_OPTIMIZER_SGD, .lr = 1e-2, .weight_decay = 0.01, .momentum = 0.9,
                                            .nesterov = true, .scale = 0.5});
}

Test(flat, lion_is_chens)
{
    follows_its_formula((ls_optimizer_args){.kind = LS_OPTIMIZER_LION, .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.99,
                                            .weight_decay = 0.1, .scale = 1});
}

/* ZeRO: each rank steps its slice. */
Test(flat, slices_step_as_the_whole_does)
{
    float *g = drawn(1), *w[2], *m[2], *v[2];
    for (int i = 0; i < 2; i++) {
        w[i] = drawn(2);
        m[i] = calloc(COUNT, sizeof(float));
        v[i] = calloc(COUNT, sizeof(float));
    }
    ls_optimizer_args o = {.kind = LS_OPTIMIZER_ADAMW, .step = 1, .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8,
                           .weight_decay = 0.1, .scale = 0.25, .count = COUNT, .gradient = g, .master = w[0],
                           .first_moment = m[0], .second_moment = v[0]};
    device->optimizer_step(device, &o);
    for (int64_t begin = 0; begin < COUNT; begin += 3 * LS_CHUNK) {
        o.count = COUNT - begin < 3 * LS_CHUNK ? COUNT - begin : 3 * LS_CHUNK;
        o.gradient = g + begin, o.master = w[1] + begin, o.first_moment = m[1] + begin, o.second_moment = v[1] + begin;
        device->optimizer_step(device, &o);
    }
    cr_assert_eq(memcmp(w[0], w[1], COUNT * sizeof(float)), 0);
    cr_assert_eq(memcmp(v[0], v[1], COUNT * sizeof(float)), 0);
    for (int i = 0; i < 2; i++)
        free(w[i]), free(m[i]), free(v[i]);
    free(g);
}

/* avg_t = decay^t avg_0 + sum over s of (1 - decay) decay^(t - s) x_s, in f64. */
Test(flat, an_average_forgets_by_its_decay)
{
    enum { STEPS = 12 };
    float *x = drawn(1), *average = drawn(2), *same = drawn(3), *before = drawn(3);
    double *want = malloc(COUNT * sizeof *want), *largest = malloc(COUNT * sizeof *largest);
    for (int i = 0; i < COUNT; i++)
        largest[i] = fabs(want[i] = (double)average[i]);
    for (int s = 0; s < STEPS; s++) {
        for (int i = 0; i < COUNT; i++) {
            x[i] *= 1.25f - (float)(i % 3) / 2;
            want[i] = 0.9 * want[i] + 0.1 * (double)x[i];
            largest[i] = fmax(largest[i], fabs((double)x[i]));
        }
        device->average(device, COUNT, 1 - 0.9, x, average);
        device->average(device, COUNT, 1 - 0.9, before, same);
    }
    for (int i = 0; i < COUNT; i++)
        cr_assert_float_eq((double)average[i], want[i], 1e-6 * largest[i], "element %d is %.9g, not %.9g", i, (double)average[i], want[i]);
    cr_assert_eq(memcmp(same, before, COUNT * sizeof *same), 0, "an average that has arrived stays");
    free(x), free(average), free(same), free(before), free(want), free(largest);
}
