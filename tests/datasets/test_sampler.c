/* The sampler is a function of (seed, position): the promises of pains 7, 10, 11 and 22 are properties of that function. */
#include "datasets/sampler.h"
#include "tests/datasets/fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

TestSuite(sampler, .fini = fixture_clean);

Test(sampler, every_permutation_holds_each_row_once)
{
    for (uint64_t n = 1; n <= 300; n++)
        for (uint32_t epoch = 0; epoch < 3; epoch++) {
            uint8_t seen[300] = {0};
            for (uint64_t i = 0; i < n; i++) {
                uint64_t row = ls_sampler_permute(17, 0, epoch, n, i);
                cr_assert(row < n && !seen[row], "n %d, epoch %d, place %d", (int)n, (int)epoch, (int)i);
                seen[row] = 1;
            }
        }
    enum { LARGE = 1000003 };
    uint8_t *seen = calloc(LARGE, 1);
    for (uint64_t i = 0; i < LARGE; i++)
        cr_assert(!seen[ls_sampler_permute(17, 0, 1, LARGE, i)]++);
    free(seen);
    cr_assert_lt(ls_sampler_permute(17, 0, 0, UINT64_MAX, UINT64_MAX - 1), UINT64_MAX); /* 64 bits are in reach */
}

Test(sampler, all_orders_of_five_rows_come_equally_often)
{
    enum { EPOCHS = 24000, ORDERS = 120 };
    static int count[3125];
    for (uint32_t epoch = 0; epoch < EPOCHS; epoch++) {
        int code = 0;
        for (uint64_t i = 0; i < 5; i++)
            code = code * 5 + (int)ls_sampler_permute(9, 0, epoch, 5, i);
        count[code]++;
    }
    double chi_square = 0, expected = (double)EPOCHS / ORDERS;
    int orders = 0;
    for (int code = 0; code < 3125; code++)
        if (count[code]) {
            orders++;
            chi_square += (count[code] - expected) * (count[code] - expected) / expected;
        }
    cr_assert_eq(orders, ORDERS);
    cr_assert_lt(chi_square, 185, "chi square %g on 119 degrees: above 185 in 1 of 10,000", chi_square);
}

Test(sampler, seeds_epochs_and_sources_shuffle_apart)
{
    enum { N = 1000 };
    int same_epoch = 0, same_seed = 0, same_source = 0, fixed = 0;
    for (uint64_t i = 0; i < N; i++) {
        uint64_t row = ls_sampler_permute(17, 0, 0, N, i);
        same_epoch += row == ls_sampler_permute(17, 0, 1, N, i);
        same_seed += row == ls_sampler_permute(18, 0, 0, N, i);
        same_source += row == ls_sampler_permute(17, 1, 0, N, i);
        fixed += row == i;
    }
    cr_assert(same_epoch < 10 && same_seed < 10 && same_source < 10 && fixed < 10, "of 1000: %d %d %d %d", same_epoch, same_seed,
              same_source, fixed); /* 1 is expected */
}

static ls_sampler *make(int sources, const int64_t *rows, const double *weights)
{
    ls_sampler *sampler;
    const ls_sampler_options options = {.sources = sources, .rows = rows, .weights = weights, .shuffle = true, .seed = 3};
    cr_assert_eq(ls_sampler_create(&sampler, &options), LS_OK, "%s", ls_fail_sentence());
    return sampler;
}

Test(sampler, a_mixture_keeps_its_shares_within_one_row_everywhere)
{
    const int64_t rows[] = {7, 1000, 31, 5};
    const double weights[] = {0.5, 3, 1.25, 0.01};
    const double total = 4.76;
    ls_sampler *sampler = make(4, rows, weights);
    int64_t dealt[4] = {0};
    double worst = 0;
    for (int64_t p = 0; p < 200000; p++) {
        ls_draw draw = ls_sampler_draw(sampler, p);
        cr_assert_eq(draw.draw, dealt[draw.source], "position %d: the source's draws come in order", (int)p);
        dealt[draw.source]++;
        for (int k = 0; k < 4; k++)
            worst = fmax(worst, fabs((double)dealt[k] - weights[k] / total * (double)(p + 1)));
    }
    cr_assert_lt(worst, 1 + 200000. / 65536 / 2 * 1.01, "%g (one row, and the rounding of shares to 1/65536)", worst);
    ls_sampler_free(sampler);
}

Test(sampler, each_source_of_a_mixture_shows_each_row_once_an_epoch)
{
    const int64_t rows[] = {97, 13};
    const double weights[] = {2, 1};
    ls_sampler *sampler = make(2, rows, weights);
    int seen[2][97] = {{0}};
    int64_t epoch[2] = {0}, drawn[2] = {0};
    for (int64_t p = 0; p < 3000; p++) {
        ls_draw d = ls_sampler_draw(sampler, p);
        cr_assert_eq(d.epoch, epoch[d.source]);
        cr_assert_eq(seen[d.source][d.row]++, epoch[d.source], "position %d", (int)p);
        if (++drawn[d.source] % rows[d.source] == 0)
            epoch[d.source]++;
    }
    ls_sampler_free(sampler);
}

Test(sampler, bad_weights_are_refused)
{
    const int64_t rows[] = {5, 5};
    ls_sampler *sampler;
    static const double bad[][2] = {{1, 0}, {1, -1}, {1, NAN}, {1, INFINITY}, {1e6, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const ls_sampler_options options = {.sources = 2, .rows = rows, .weights = bad[i]};
        cr_assert_eq(ls_sampler_create(&sampler, &options), LS_ERECIPE, "case %d", (int)i);
        cr_assert_null(sampler);
    }
}

Test(sampler, a_subset_is_drawn_alone_and_once_an_epoch)
{
    const int64_t rows[] = {1000}, subset[] = {3, 999, 500, 41, 0};
    const double weights[] = {1};
    ls_sampler *sampler = make(1, rows, weights);
    cr_assert_eq(ls_sampler_subset(sampler, 0, subset, 5), LS_OK);
    cr_assert_eq(ls_sampler_epoch_rows(sampler), 5);
    for (int epoch = 0; epoch < 4; epoch++) {
        int seen = 0;
        for (int i = 0; i < 5; i++)
            for (int s = 0; s < 5; s++)
                seen |= (ls_sampler_draw(sampler, epoch * 5 + i).row == subset[s]) << s;
        cr_assert_eq(seen, 31);
    }
    cr_assert_eq(ls_sampler_subset(sampler, 0, NULL, 0), LS_OK);
    cr_assert_eq(ls_sampler_epoch_rows(sampler), 1000);
    const int64_t outside = 1000;
    cr_assert_eq(ls_sampler_subset(sampler, 0, &outside, 1), LS_EARG);
    ls_sampler_free(sampler);
}

Test(sampler, weighted_rows_come_by_their_weight)
{
    const int64_t rows[] = {4};
    const double one[] = {1}, weights[] = {0, 1, 2, 5};
    ls_sampler *sampler = make(1, rows, one);
    cr_assert_eq(ls_sampler_weights(sampler, 0, weights), LS_OK);
    int count[4] = {0};
    for (int64_t p = 0; p < 80000; p++)
        count[ls_sampler_draw(sampler, p).row]++;
    cr_assert_eq(count[0], 0);
    for (int i = 1; i < 4; i++) /* five standard deviations */
        cr_assert_lt(fabs(count[i] - 10000 * weights[i]), 5 * sqrt(10000 * weights[i]), "row %d: %d", i, count[i]);
    const double bad[] = {1, 1, -1, 1};
    cr_assert_eq(ls_sampler_weights(sampler, 0, bad), LS_EARG);
    ls_sampler_free(sampler);
}

/* Steps of a run as the training loop takes them, `ranks` sharing the grains, killed after every `life` steps and started
 * again from the saved position: what all ranks saw, by sample. */
static int64_t run(const ls_data_options *options, int64_t grains, int ranks, int life, int *seen, int64_t samples_all)
{
    int64_t position = 0, steps = 0;
    for (bool going = true; going;) {
        ls_data *data;
        cr_assert_eq(ls_data_open(&data, options), LS_OK, "%s", ls_fail_sentence());
        cr_assert_eq(ls_data_samples(data), samples_all);
        const int64_t per_step = options->grain * grains;
        ls_grain_memory m;
        cr_assert_eq(ls_grain_memory_make(&m, data), LS_OK);
        for (int step = 0; step < life && going; step++) {
            int64_t rows = ls_data_step_rows(data, per_step, position), counted = 0, expected;
            going = rows > 0;
            for (int rank = 0; rank < ranks; rank++)
                for (int64_t g = rank; g * options->grain < rows; g += ranks) {
                    int64_t first = g * options->grain, here = rows - first < options->grain ? rows - first : options->grain;
                    ls_grain grain;
                    cr_assert_eq(ls_data_fill_grain(data, &(ls_grain_request){.position = position + first, .rows = here}, &m, &grain), LS_OK);
                    counted += grain.counted;
                    for (int64_t cell = 0; cell < here * options->tokens; cell++)
                        if (m.segments[cell] >= 0 && m.positions[cell] == 0)
                            seen[m.ids[cell]]++; /* a sample's first token says which it is */
                }
            cr_assert_eq(ls_data_counted(data, position, rows, &expected), LS_OK);
            cr_assert_eq(counted, expected, "the step's count is known before its grains");
            position += rows;
            steps += going;
        }
        ls_grain_memory_free(&m);
        ls_data_free(data);
    }
    return steps;
}

Test(sampler, each_sample_comes_once_an_epoch_over_kills_ranks_and_short_last_steps)
{
    enum { SAMPLES = 157 };
    int64_t lengths[SAMPLES];
    ls_shard_writer *writer;
    const ls_shard_options shard_options = {.kind = "text", .vocabulary = SAMPLES, .samples_per_shard = 50};
    cr_assert_eq(ls_shard_writer_open(&writer, fixture_path("set"), &shard_options), LS_OK);
    for (int s = 0; s < SAMPLES; s++) {
        int32_t tokens[32];
        uint8_t mask[32];
        lengths[s] = 1 + s * 7919 % 20;
        for (int t = 0; t < lengths[s]; t++) {
            tokens[t] = t ? (s + t) % SAMPLES : s;
            mask[t] = t % 3 != 0;
        }
        cr_assert_eq(ls_shard_writer_add_text(writer, tokens, mask, lengths[s]), LS_OK);
    }
    cr_assert_eq(ls_shard_writer_commit(writer), LS_OK);
    for (int pack = 0; pack < 2; pack++)
        for (int ranks = 1; ranks <= 4; ranks++)
            for (int life = 1; life <= 5; life += 2) {
                ls_data_options options = fixture_options("set", 32, 3);
                options.pack = pack;
                options.epochs = 3;
                int seen[SAMPLES] = {0};
                run(&options, 5, ranks, life, seen, SAMPLES);
                for (int s = 0; s < SAMPLES; s++)
                    cr_assert_eq(seen[s], 3, "sample %d: %d times in 3 epochs (pack %d, ranks %d, killed every %d)", s, seen[s], pack, ranks, life);
            }
}

Test(sampler, sources_of_different_tokenizers_do_not_mix)
{
    const int64_t length = 10;
    fixture_pack("a", &length, 1, 0, false);
    ls_shard_writer *writer;
    const ls_shard_options other = {.kind = "text", .vocabulary = 60, .tokenizer_hash = 43};
    const int32_t token = 5;
    const uint8_t mask = 1;
    cr_assert_eq(ls_shard_writer_open(&writer, fixture_path("b"), &other), LS_OK);
    cr_assert_eq(ls_shard_writer_add_text(writer, &token, &mask, 1), LS_OK);
    cr_assert_eq(ls_shard_writer_commit(writer), LS_OK);
    ls_data_options options = fixture_options("a", 16, 2);
    options.sources.count = 2;
    options.sources.source[1].path = fixture_path("b");
    options.sources.source[1].weight = 1;
    ls_data *data;
    cr_assert_eq(ls_data_open(&data, &options), LS_ERECIPE);
    cr_assert(strstr(ls_fail_sentence(), "different tokenizers"), "%s", ls_fail_sentence());
}
