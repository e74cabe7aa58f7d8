/* Augmentation: its values against a second working-out in f64, its bits in any order of filling, its statistics. */
#include "datasets/loader.h"
#include "tests/datasets/fixture.h"
#include "tests/datasets/image_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TestSuite(augment, .fini = fixture_clean);

enum { H = 9, W = 7, IMAGES = 60, GRAIN = 5, GRAINS = 4, CLASSES = 6, SEED = 17 };

static const ls_augment_options everything = {.crop = 3,
                                              .pad = LS_PAD_REFLECT,
                                              .flip = true,
                                              .brightness = 0.4,
                                              .contrast = 1.5,
                                              .saturation = 0.7,
                                              .mixup = 0.3};

static ls_data *open_set(const char *name, int64_t channels, ls_augment_options augment)
{
    char path[256];
    snprintf(path, sizeof path, "%s/dataset.h5", fixture_path(name));
    if (access(path, F_OK) != 0)
        image_fixture_pack(name, (ls_image_shape){H, W, channels, CLASSES}, IMAGES, 0);
    ls_data_options options = fixture_options(name, 0, GRAIN);
    options.seed = SEED;
    options.shuffle = false; /* so that position 60 is image 0 again */
    options.epochs = 0;
    options.augment = augment;
    ls_data *data;
    cr_assert_eq(ls_data_open(&data, &options), LS_OK, "%s", ls_fail_sentence());
    return data;
}

static ls_grain_request request_of(int64_t number)
{
    return (ls_grain_request){.step = number / GRAINS,
                              .number = number % GRAINS,
                              .position = number * GRAIN,
                              .rows = GRAIN,
                              .slot = (uint32_t)(number % GRAINS * GRAIN)};
}

typedef struct {
    ls_grain_memory memory;
    ls_grain grain;
} filled;

static void fill(filled *f, const ls_data *data, int64_t number)
{
    const ls_grain_request request = request_of(number);
    cr_assert_eq(ls_grain_memory_make(&f->memory, data), LS_OK);
    cr_assert_eq(ls_data_fill_grain(data, &request, &f->memory, &f->grain), LS_OK, "%s", ls_fail_sentence());
}

/* ---- the same bits whoever fills, whenever ---- */

static void check_same(const ls_grain *got, const ls_grain *want, int64_t number)
{
    const size_t values = (size_t)(want->rows * want->height * want->width * want->channels);
    cr_assert_eq(memcmp(got->pixels, want->pixels, values * sizeof(float)), 0, "pixels of grain %lld",
                 (long long)number);
    cr_assert_eq(memcmp(got->labels, want->labels, (size_t)want->rows * sizeof(int32_t)), 0);
    cr_assert_eq(memcmp(got->mixed_labels, want->mixed_labels, (size_t)want->rows * sizeof(int32_t)), 0);
    cr_assert_eq(memcmp(got->share, want->share, (size_t)want->rows * sizeof(float)), 0);
}

typedef struct {
    ls_data *data;
    filled *want;
    int64_t first, step;
} backwards;

static void *fill_backwards(void *context)
{
    const backwards *b = context;
    for (int64_t i = 19; i >= 0; i--) {
        const int64_t number = (b->first + i * b->step) % 20;
        filled f;
        fill(&f, b->data, number);
        check_same(&f.grain, &b->want[number].grain, number);
        ls_grain_memory_free(&f.memory);
    }
    return NULL;
}

Test(augment, a_grain_has_the_same_bits_in_any_order_on_any_thread_and_through_the_loader)
{
    ls_data *data = open_set("set", 3, everything);
    filled want[20];
    for (int64_t i = 0; i < 20; i++)
        fill(&want[i], data, i);
    ls_data *again = open_set("set", 3, everything);
    backwards part[2] = {{again, want, 0, 1}, {again, want, 5, 7}};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, fill_backwards, &part[0]), 0);
    fill_backwards(&part[1]);
    pthread_join(thread, NULL);
    ls_loader *loader;
    cr_assert_eq(ls_loader_open(&loader, again, 3), LS_OK);
    for (int64_t i = 0; i < 20; i++) {
        const ls_grain_request request = request_of(i * 3 % 20);
        const ls_grain *grain;
        ls_loader_ask(loader, &request);
        cr_assert_eq(ls_loader_next(loader, &grain), LS_OK);
        check_same(grain, &want[i * 3 % 20].grain, i * 3 % 20);
        ls_loader_done(loader, grain);
    }
    ls_loader_free(loader);
    cr_assert_neq(memcmp(want[0].grain.pixels, want[12].grain.pixels, GRAIN * H * W * 3 * sizeof(float)), 0,
                  "the same images, but another step augments them anew");
    for (int64_t i = 0; i < 20; i++)
        ls_grain_memory_free(&want[i].memory);
    ls_data_free(data);
    ls_data_free(again);
}

/* ---- values ---- */

typedef struct {
    double mean[3], deviation[3];
    int64_t channels;
} statistics;

static double grey(const double *v, int64_t channels)
{
    return channels == 1 ? v[0] : 0.2989 * v[0] + 0.587 * v[1] + 0.114 * v[2];
}

static double clamped(double v)
{
    return fmin(fmax(v, 0), 1);
}

static void colour(double *v, int64_t channels, int what, double f)
{
    double mean = 0;
    for (int64_t p = 0; p < H * W; p++)
        mean += grey(v + p * channels, channels) / (H * W);
    for (int64_t p = 0; p < H * W; p++) {
        const double at = grey(v + p * channels, channels), other = what == 0 ? 0 : what == 1 ? mean : at;
        for (int64_t c = 0; c < channels; c++)
            v[p * channels + c] = clamped(f * v[p * channels + c] + (1 - f) * other);
    }
}

/* Pads on all sides first, cuts out of that, mirrors the cut: nothing of augment.c's index arithmetic. */
static void expected_row(const ls_augment_options *o, const ls_random *stream, const statistics *s, int64_t image,
                         double *out)
{
    const int64_t p = o->crop, C = s->channels;
    static double padded[H + 2 * 8][W + 2 * 8][3];
    for (int64_t y = 0; y < H + 2 * p; y++)
        for (int64_t x = 0; x < W + 2 * p; x++)
            for (int64_t c = 0; c < C; c++) {
                int64_t from_y = y - p, from_x = x - p;
                if (o->pad == LS_PAD_REFLECT) {
                    from_y = llabs(from_y) < H ? llabs(from_y) : 2 * H - 2 - from_y;
                    from_x = llabs(from_x) < W ? llabs(from_x) : 2 * W - 2 - from_x;
                }
                const bool outside = from_y < 0 || from_y >= H || from_x < 0 || from_x >= W;
                padded[y][x][c] = outside ? 0 : image_fixture_byte(image, (from_y * W + from_x) * C + c) / 255.0;
            }
    const int64_t top = p ? (int64_t)ls_random_below(stream, LS_AUGMENT_TOP, 2 * (uint64_t)p + 1) : 0;
    const int64_t left = p ? (int64_t)ls_random_below(stream, LS_AUGMENT_LEFT, 2 * (uint64_t)p + 1) : 0;
    const bool flip = o->flip && ls_random_bits(stream, LS_AUGMENT_FLIP) < 0x80000000u;
    for (int64_t y = 0; y < H; y++)
        for (int64_t x = 0; x < W; x++)
            memcpy(out + (y * W + (flip ? W - 1 - x : x)) * C, padded[top + y][left + x], (size_t)C * sizeof *out);
    const double b[3] = {o->brightness, o->contrast, o->saturation};
    static const char *const orders[] = {"012", "021", "102", "120", "201", "210"};
    const char *order = orders[ls_random_below(stream, LS_AUGMENT_ORDER, 6)];
    for (int i = 0; i < 3; i++) {
        const int what = order[i] - '0';
        const double low = fmax(0, 1 - b[what]), high = 1 + b[what];
        if (b[what] > 0)
            colour(out, C, what,
                   low + (high - low) * (ls_random_bits(stream, LS_AUGMENT_FACTOR + (uint64_t)what) >> 8) / 16777216.0);
    }
    for (int64_t i = 0; i < H * W * C; i++)
        out[i] = (out[i] - s->mean[i % C]) / s->deviation[i % C];
}

static statistics statistics_of(const ls_data *data)
{
    const ls_images *set = ls_data_images(data);
    statistics s = {.channels = ls_images_shape(set)->channels};
    for (int64_t c = 0; c < s.channels; c++) {
        s.mean[c] = ls_images_mean(set)[c];
        s.deviation[c] = ls_images_deviation(set)[c];
    }
    return s;
}

static void check_values(const char *set, int64_t channels, ls_augment_options o)
{
    const double mixup = o.mixup;
    o.mixup = 0; /* has a test of its own */
    ls_data *data = open_set(set, channels, o);
    const statistics s = statistics_of(data);
    double worst = 0, want[H * W * 3];
    for (int64_t number = 0; number < 40; number++) {
        filled f;
        fill(&f, data, number);
        cr_assert(!f.grain.mixed_labels && !f.grain.share, "no mixup (%g)", mixup);
        for (int64_t b = 0; b < GRAIN; b++) {
            const ls_random stream = {.seed = SEED,
                                      .slot = f.grain.slot + (uint32_t)b,
                                      .step = (uint32_t)f.grain.step,
                                      .purpose = LS_RANDOM_AUGMENT};
            expected_row(&o, &stream, &s, f.grain.samples[b], want);
            cr_assert_eq(f.grain.labels[b], image_fixture_label(f.grain.samples[b], CLASSES));
            for (int64_t i = 0; i < H * W * channels; i++)
                worst = fmax(worst, fabs((double)f.grain.pixels[b * H * W * channels + i] - want[i]));
        }
        ls_grain_memory_free(&f.memory);
    }
    cr_assert_lt(worst, 3e-6, "crop %lld pad %d flip %d colours %g %g %g: off by %g", (long long)o.crop, o.pad, o.flip,
                 o.brightness, o.contrast, o.saturation, worst);
    ls_data_free(data);
}

Test(augment, values_are_those_of_a_second_working_out_in_f64)
{
    check_values("set", 3, everything);
    check_values("set", 3, (ls_augment_options){.crop = 2});
    check_values("set", 3, (ls_augment_options){.crop = 6, .pad = LS_PAD_REFLECT});
    check_values("set", 3, (ls_augment_options){.flip = true});
    check_values("set", 3, (ls_augment_options){.brightness = 0.5});
    check_values("set", 3, (ls_augment_options){.contrast = 0.9});
    check_values("set", 3, (ls_augment_options){.saturation = 3});
    check_values("grey", 1, (ls_augment_options){.crop = 6, .flip = true, .brightness = 0.2, .contrast = 0.3});
}

Test(augment, where_colours_stay_a_byte_has_the_bits_that_evaluation_gives_it)
{
    ls_data *plain = open_set("set", 3, (ls_augment_options){0});
    ls_data *moved = open_set("set", 3, (ls_augment_options){.crop = 1, .flip = true});
    filled a, b;
    for (int64_t number = 0; number < 8; number++) {
        fill(&a, plain, number);
        fill(&b, moved, number);
        for (int64_t row = 0; row < GRAIN; row++)
            for (int64_t y = 1; y < H - 1; y++)
                for (int64_t x = 1; x < W - 1; x++) { /* an inner pixel is one of 18 of the plain image */
                    const float *got = b.grain.pixels + ((row * H + y) * W + x) * 3;
                    bool found = false;
                    for (int64_t fy = y - 1; fy <= y + 1; fy++)
                        for (int64_t fx = 0; fx < W; fx++)
                            found = found || memcmp(got, a.grain.pixels + ((row * H + fy) * W + fx) * 3, 12) == 0;
                    cr_assert(found, "grain %lld row %lld pixel %lld, %lld", (long long)number, (long long)row,
                              (long long)y, (long long)x);
                }
        ls_grain_memory_free(&a.memory);
        ls_grain_memory_free(&b.memory);
    }
    ls_data_free(plain);
    ls_data_free(moved);
}

Test(augment, mixup_is_the_weighted_sum_of_two_augmented_rows_of_the_grain)
{
    ls_augment_options unmixed = everything;
    unmixed.mixup = 0;
    ls_data *mixed = open_set("set", 3, everything), *plain = open_set("set", 3, unmixed);
    const int64_t values = H * W * 3;
    bool shifts[GRAIN] = {0};
    for (int64_t number = 0; number < 40; number++) {
        filled got, from;
        fill(&got, mixed, number);
        fill(&from, plain, number);
        const ls_random first = {
            .seed = SEED, .slot = from.grain.slot, .step = (uint32_t)from.grain.step, .purpose = LS_RANDOM_AUGMENT};
        const int64_t shift = 1 + (int64_t)ls_random_below(&first, LS_AUGMENT_SHIFT, GRAIN - 1);
        shifts[shift] = true;
        for (int64_t b = 0; b < GRAIN; b++) {
            const int64_t partner = (b + shift) % GRAIN;
            const float share = got.grain.share[b];
            cr_assert(share >= 0 && share <= 1);
            cr_assert_eq(got.grain.labels[b], from.grain.labels[b]);
            cr_assert_eq(got.grain.mixed_labels[b], from.grain.labels[partner]);
            for (int64_t i = 0; i < values; i++) {
                const float want =
                    share * from.grain.pixels[b * values + i] + (1 - share) * from.grain.pixels[partner * values + i];
                cr_assert_eq(got.grain.pixels[b * values + i], want, "row %lld with %lld", (long long)b,
                             (long long)partner);
            }
        }
        ls_grain_memory_free(&got.memory);
        ls_grain_memory_free(&from.memory);
    }
    for (int64_t i = 1; i < GRAIN; i++)
        cr_assert(shifts[i], "no grain was shifted by %lld", (long long)i);
    ls_data_free(mixed);
    ls_data_free(plain);
}

Test(augment, rows_and_shifts_with_common_divisors_are_mixed_as_well)
{
    enum { VALUES = 3, MOST = 12 };
    for (int64_t rows = 1; rows <= MOST; rows++)
        for (uint32_t step = 0; step < 40; step++) {
            float pixels[MOST * VALUES], before[MOST * VALUES], share[MOST], one_row[VALUES];
            int32_t labels[MOST], mixed[MOST];
            for (int i = 0; i < rows * VALUES; i++)
                pixels[i] = before[i] = (float)(i * i);
            for (int64_t i = 0; i < rows; i++)
                labels[i] = (int32_t)i;
            const ls_random first = {.step = step, .purpose = LS_RANDOM_AUGMENT};
            ls_mixup_grain(0.4, &first, rows, VALUES, pixels, labels, mixed, share, one_row);
            bool taken[MOST] = {0};
            for (int64_t b = 0; b < rows; b++) {
                cr_assert(rows == 1 || mixed[b] != b, "a row is never its own partner");
                cr_assert(!taken[mixed[b]], "each row is a partner once");
                taken[mixed[b]] = true;
                for (int i = 0; i < VALUES && rows > 1; i++)
                    cr_assert_eq(pixels[b * VALUES + i],
                                 share[b] * before[b * VALUES + i] + (1 - share[b]) * before[mixed[b] * VALUES + i]);
            }
            cr_assert(rows > 1 || memcmp(pixels, before, sizeof(float) * VALUES) == 0);
        }
}

/* ---- statistics ---- */

/* Share of a chi-square with many degrees of freedom, as a normal number (Wilson & Hilferty 1931). */
static double chi_square_score(const int64_t *count, int64_t cells, int64_t draws)
{
    double sum = 0, expected = (double)draws / (double)cells, k = (double)(cells - 1);
    for (int64_t i = 0; i < cells; i++)
        sum += ((double)count[i] - expected) * ((double)count[i] - expected) / expected;
    return (cbrt(sum / k) - (1 - 2 / (9 * k))) / sqrt(2 / (9 * k));
}

Test(augment, places_flips_orders_and_factors_are_spread_as_they_should)
{
    enum { DRAWS = 40000, PLACES = 9 };
    int64_t place[PLACES * PLACES] = {0}, order[27] = {0}, flips = 0, both = 0, top_flip[2 * PLACES] = {0};
    double sum[3] = {0}, squares[3] = {0};
    ls_augment_options o = everything;
    o.crop = 4;
    for (uint32_t i = 0; i < DRAWS; i++) {
        const ls_random stream = {.seed = 3, .slot = i % 100, .step = i / 100, .purpose = LS_RANDOM_AUGMENT};
        ls_augment_draw draw, again;
        ls_augment_row_draw(&o, &stream, &draw);
        ls_augment_row_draw(&o, &stream, &again);
        cr_assert_eq(memcmp(&draw, &again, sizeof draw), 0);
        place[draw.top * PLACES + draw.left]++;
        order[draw.order[0] * 9 + draw.order[1] * 3 + draw.order[2]]++;
        flips += draw.flip;
        both += draw.flip && draw.top < 4;
        top_flip[draw.top * 2 + draw.flip]++;
        const double b[3] = {o.brightness, o.contrast, o.saturation};
        for (int k = 0; k < 3; k++) {
            const double low = fmax(0, 1 - b[k]), f = ((double)draw.factor[k] - low) / (1 + b[k] - low);
            cr_assert(f >= -1e-6 && f <= 1);
            sum[k] += f;
            squares[k] += (f - 0.5) * (f - 0.5);
        }
    }
    cr_assert_lt(fabs(chi_square_score(place, PLACES * PLACES, DRAWS)), 4);
    cr_assert_lt(fabs(chi_square_score(top_flip, 2 * PLACES, DRAWS)), 4,
                 "places and flips do not depend on each other");
    cr_assert_lt(fabs((double)flips / DRAWS - 0.5), 4 * 0.5 / sqrt(DRAWS));
    static const int seen[6] = {5, 7, 11, 15, 19, 21}; /* 012, 021, 102, 120, 201, 210 in base 3 */
    int64_t count[6], all = 0;
    for (int i = 0; i < 6; i++)
        all += count[i] = order[seen[i]];
    cr_assert_eq(all, DRAWS, "every order is one of three different colours");
    cr_assert_lt(fabs(chi_square_score(count, 6, DRAWS)), 4);
    for (int k = 0; k < 3; k++) {
        cr_assert_lt(fabs(sum[k] / DRAWS - 0.5), 4 / sqrt(12.0 * DRAWS));
        cr_assert_lt(fabs(squares[k] / DRAWS - 1 / 12.0), 4 * sqrt((1 / 80.0 - 1 / 144.0) / DRAWS));
    }
}

/* The distribution function of Beta(a, a) at x <= 1/2, up to a factor, by Simpson's rule: for a < 1 in t = x^a, where
 * the density (1 - x)^(a - 1) has no pole. Nothing of mixup.c's series. */
static double integral(double a, double x)
{
    enum { STEPS = 20000 };
    const double end = a < 1 ? pow(x, a) : x, h = end / STEPS;
    double sum = 0;
    for (int i = 0; i <= STEPS; i++) {
        const double weight = i == 0 || i == STEPS ? 1 : i % 2 ? 4 : 2, at = i * h;
        sum += weight * (a < 1 ? pow(1 - pow(at, 1 / a), a - 1) : pow(at * (1 - at), a - 1));
    }
    return sum * h / 3;
}

Test(augment, shares_follow_the_beta_distribution)
{
    static const double alphas[] = {0.02, 0.1, 0.2, 0.4, 1, 2, 7.5, 16};
    static const double p[] = {1e-9, 1e-4, 0.01, 0.1, 0.3, 0.499};
    for (size_t k = 0; k < sizeof alphas / sizeof *alphas; k++) {
        const double a = alphas[k], half = integral(a, 0.5);
        for (size_t i = 0; i < sizeof p / sizeof *p; i++) {
            if (pow(2 * p[i], 1 / a) < 1e-300)
                continue; /* f64 ends before that quantile */
            const double x = ls_beta_quantile(a, p[i]), back = 0.5 * integral(a, x) / half;
            cr_assert_lt(fabs(back / p[i] - 1), 1e-6, "alpha %g: the quantile of %g is %g, below which lie %g", a, p[i],
                         x, back);
            cr_assert_float_eq(ls_beta_quantile(a, 1 - p[i]), 1 - ls_beta_quantile(a, 1 - (1 - p[i])), 1e-15);
        }
        cr_assert_float_eq(ls_beta_quantile(a, 0.5), 0.5, 1e-14);
        enum { DRAWS = 20000 };
        double sum = 0, squares = 0;
        for (uint32_t i = 0; i < DRAWS; i++) {
            const ls_random stream = {.seed = 5, .slot = i, .purpose = LS_RANDOM_AUGMENT};
            float pixels[2] = {0}, share[2], one;
            int32_t labels[2] = {0}, mixed[2];
            ls_mixup_grain(a, &stream, 1, 1, pixels, labels, mixed, share, &one);
            sum += (double)share[0] - 0.5;
            squares += ((double)share[0] - 0.5) * ((double)share[0] - 0.5);
        }
        const double variance = 1 / (4 * (2 * a + 1)); /* the fourth moment is at most a quarter of it */
        cr_assert_lt(fabs(sum / DRAWS), 4 * sqrt(variance / DRAWS), "alpha %g: mean %g", a, 0.5 + sum / DRAWS);
        cr_assert_lt(fabs(squares / DRAWS - variance), 4 * sqrt(variance / 4 / DRAWS), "alpha %g: variance %g, not %g",
                     a, squares / DRAWS, variance);
    }
    cr_assert_float_eq(ls_beta_quantile(1, 0.3), 0.3, 1e-15, "Beta(1, 1) is uniform");
}

/* ---- held-out data, refusals ---- */

Test(augment, held_out_data_are_the_images_as_they_were_packed)
{
    ls_data *train = open_set("set", 3, everything);
    ls_data_options options = fixture_options("set", 0, GRAIN);
    options.shuffle = false;
    options.like = train;
    ls_data *held_out;
    cr_assert_eq(ls_data_open(&held_out, &options), LS_OK);
    const statistics s = statistics_of(train);
    for (int64_t number = 0; number < IMAGES / GRAIN; number++) {
        filled f;
        fill(&f, held_out, number);
        cr_assert(!f.grain.mixed_labels && !f.grain.share);
        for (int64_t i = 0; i < GRAIN * H * W * 3; i++) {
            const int64_t image = number * GRAIN + i / (H * W * 3);
            const double byte = image_fixture_byte(image, i % (H * W * 3)), mean = s.mean[i % 3];
            cr_assert_eq(f.grain.pixels[i], (float)((byte / 255 - mean) / s.deviation[i % 3]));
        }
        ls_grain_memory_free(&f.memory);
    }
    ls_data_free(held_out);
    ls_data_free(train);
}

static void check_refused(const char *set, int64_t grain, ls_augment_options augment, const char *word)
{
    ls_data_options options = fixture_options(set, 16, grain);
    options.augment = augment;
    ls_data *data;
    cr_assert_eq(ls_data_open(&data, &options), LS_ERECIPE, "%s", word);
    cr_assert(strstr(ls_fail_sentence(), word), "%s", ls_fail_sentence());
}

Test(augment, what_cannot_be_is_refused_before_the_run)
{
    ls_data_free(open_set("grey", 1, (ls_augment_options){0}));
    ls_data_free(open_set("four", 4, (ls_augment_options){0}));
    const int64_t lengths[] = {4, 5};
    fixture_pack("text", lengths, 2, 0, false);
    check_refused("text", 1, (ls_augment_options){.flip = true}, "holds text");
    check_refused("text", 2, (ls_augment_options){.mixup = 0.2}, "holds text");
    check_refused("grey", 2, (ls_augment_options){.crop = W}, "augment.crop is 7");
    check_refused("grey", 2, (ls_augment_options){.saturation = 0.1}, "no colour");
    check_refused("four", 2, (ls_augment_options){.brightness = 0.1}, "have 4");
    check_refused("grey", 2, (ls_augment_options){.contrast = -1}, "0 or more");
    check_refused("grey", 2, (ls_augment_options){.mixup = 17}, "from 0 to 16");
    check_refused("grey", 1, (ls_augment_options){.mixup = 0.2}, "batch.grain");
}

/* ---- no heap ---- */

static int64_t taken;
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *block, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    taken++;
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    taken++;
    return __real_calloc(count, bytes);
}

void *__wrap_realloc(void *block, size_t bytes)
{
    taken++;
    return __real_realloc(block, bytes);
}

Test(augment, filling_takes_nothing_from_the_heap)
{
    ls_data *data = open_set("set", 3, everything);
    filled f;
    taken = 0;
    fill(&f, data, 0);
    cr_assert_gt(taken, 0, "the memory of a grain is counted");
    taken = 0;
    for (int64_t number = 0; number < 30; number++) {
        const ls_grain_request request = request_of(number);
        cr_assert_eq(ls_data_fill_grain(data, &request, &f.memory, &f.grain), LS_OK);
    }
    cr_assert_eq(taken, 0);
    ls_grain_memory_free(&f.memory);
    ls_data_free(data);
}
