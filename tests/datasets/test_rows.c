/* Rows against their definition, worked out token by token from the samples. */
#include "datasets/rows.h"
#include "tests/datasets/fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TestSuite(rows, .fini = fixture_clean);

enum { SAMPLES = 400, T = 50 };
static int64_t lengths[SAMPLES];

static void make_lengths(void)
{
    for (int i = 0; i < SAMPLES; i++)
        lengths[i] = 1 + i * 2654435761u % T; /* 1 .. T in no order */
}

static ls_shards *open_set(int64_t per_shard, bool masked)
{
    ls_shards *shards;
    fixture_pack("set", lengths, SAMPLES, per_shard, masked);
    cr_assert_eq(ls_shards_open(&shards, fixture_path("set"), false), LS_OK, "%s", ls_fail_sentence());
    return shards;
}

typedef struct {
    int32_t ids[T], labels[T], positions[T], segments[T];
    int64_t sample, counted;
} row;

static void fill(const ls_row_plan *plan, const ls_shards *shards, int64_t r, row *out)
{
    memset(out, 0x5a, sizeof *out);
    cr_assert_eq(ls_row_fill(plan, shards, r, &(ls_row_cells){out->ids, out->labels, out->positions, out->segments, NULL}, &out->sample, &out->counted), LS_OK,
                 "%s", ls_fail_sentence());
    int64_t counted, labels = 0;
    cr_assert_eq(ls_row_counted(plan, shards, r, &counted), LS_OK);
    for (int t = 0; t < plan->tokens; t++)
        labels += out->labels[t] >= 0;
    cr_assert(labels == counted && labels == out->counted, "row %d: %d labels, counted %d", (int)r, (int)labels, (int)counted);
}

/* The sample that stands at row[at ..] is `s`, whole or cut to `length`. */
static void check_segment(const row *r, int at, int64_t s, int64_t length, int32_t segment)
{
    for (int64_t t = 0; t < length; t++) {
        bool predicts = t + 1 < length && fixture_mask(t + 1, lengths[s], true);
        cr_assert_eq(r->ids[at + t], fixture_token(s, t));
        cr_assert_eq(r->labels[at + t], predicts ? fixture_token(s, t + 1) : -1, "sample %d token %d", (int)s, (int)t);
        cr_assert_eq(r->positions[at + t], t);
        cr_assert_eq(r->segments[at + t], segment);
    }
}

static void check_padding(const row *r, int64_t from, int64_t tokens)
{
    for (int64_t t = from; t < tokens; t++)
        cr_assert(r->ids[t] == 0 && r->labels[t] == -1 && r->positions[t] == 0 && r->segments[t] == -1);
}

Test(rows, packing_holds_every_sample_once_and_labels_never_cross_a_border)
{
    make_lengths();
    ls_shards *shards = open_set(37, true);
    const ls_data_options options = fixture_options("set", T, 4);
    ls_row_plan plan;
    cr_assert_eq(ls_row_plan_make(&plan, shards, &options), LS_OK, "%s", ls_fail_sentence());
    int seen[SAMPLES] = {0};
    int64_t placed = 0;
    for (int64_t r = 0; r < plan.rows; r++) {
        row got;
        int at = 0;
        fill(&plan, shards, r, &got);
        cr_assert_eq(got.sample, plan.sample[plan.first[r]]);
        for (int64_t i = plan.first[r]; i < plan.first[r + 1]; i++) {
            int64_t s = plan.sample[i];
            seen[s]++;
            check_segment(&got, at, s, lengths[s], (int32_t)(i - plan.first[r]));
            at += (int)lengths[s];
        }
        check_padding(&got, at, T);
        placed += at;
    }
    for (int s = 0; s < SAMPLES; s++)
        cr_assert_eq(seen[s], 1, "sample %d", s);
    cr_assert_eq(plan.placed, placed);
    cr_assert_gt((double)placed / (double)(plan.rows * T), 0.93, "first fit wastes little");
    ls_row_plan_free(&plan);
    ls_shards_free(shards);
}

Test(rows, while_under_64_rows_are_open_it_is_the_textbook_first_fit)
{
    make_lengths();
    ls_shards *shards = open_set(0, false);
    const ls_data_options options = fixture_options("set", T, 4);
    ls_row_plan plan;
    cr_assert_eq(ls_row_plan_make(&plan, shards, &options), LS_OK);
    int64_t room[SAMPLES], rows = 0, row_of[SAMPLES];
    for (int s = 0; s < 100; s++) { /* about 50 rows */
        int64_t r = 0;
        while (r < rows && room[r] < lengths[s])
            r++;
        if (r == rows)
            room[rows++] = T;
        room[r] -= lengths[s];
        row_of[s] = r;
    }
    cr_assert_lt(rows, 64);
    for (int64_t r = 0; r < plan.rows; r++)
        for (int64_t i = plan.first[r]; i < plan.first[r + 1]; i++)
            if (plan.sample[i] < 100)
                cr_assert_eq(row_of[plan.sample[i]], r, "sample %d", (int)plan.sample[i]);
    ls_row_plan_free(&plan);
    ls_shards_free(shards);
}

Test(rows, one_sample_a_row_is_padded)
{
    make_lengths();
    ls_shards *shards = open_set(0, true);
    ls_data_options options = fixture_options("set", T, 4);
    options.pack = false;
    ls_row_plan plan;
    cr_assert_eq(ls_row_plan_make(&plan, shards, &options), LS_OK);
    cr_assert_eq(plan.rows, SAMPLES);
    for (int64_t r = 0; r < plan.rows; r++) {
        row got;
        fill(&plan, shards, r, &got);
        cr_assert_eq(got.sample, r);
        check_segment(&got, 0, r, lengths[r], 0);
        check_padding(&got, lengths[r], T);
    }
    ls_row_plan_free(&plan);
    ls_shards_free(shards);
}

Test(rows, long_samples_fail_with_a_sentence_or_are_skipped_or_cut)
{
    enum { SHORT = 20 };
    make_lengths();
    ls_shards *shards = open_set(37, true);
    ls_data_options options = fixture_options("set", SHORT, 4);
    ls_row_plan plan;
    int64_t longer = 0, first_long = -1;
    for (int s = 0; s < SAMPLES; s++)
        if (lengths[s] > SHORT) {
            longer++;
            first_long = first_long < 0 ? s : first_long;
        }
    cr_assert_eq(ls_row_plan_make(&plan, shards, &options), LS_ERECIPE);
    char expected[64];
    snprintf(expected, sizeof expected, "sample %d has %d tokens, a row holds 20", (int)first_long, (int)lengths[first_long]);
    cr_assert(strstr(ls_fail_sentence(), expected), "%s", ls_fail_sentence());
    for (int pack = 0; pack < 2; pack++) {
        options.pack = pack;
        options.on_long = LS_LONG_SKIP;
        cr_assert_eq(ls_row_plan_make(&plan, shards, &options), LS_OK);
        cr_assert_eq(plan.skipped, longer);
        for (int64_t r = 0; r < plan.rows; r++)
            for (int64_t i = plan.first[r]; i < plan.first[r + 1]; i++)
                cr_assert_leq(lengths[plan.sample[i]], SHORT);
        ls_row_plan_free(&plan);
        options.on_long = LS_LONG_TRUNCATE;
        cr_assert_eq(ls_row_plan_make(&plan, shards, &options), LS_OK);
        cr_assert_eq(plan.truncated, longer);
        int64_t samples = 0;
        for (int64_t r = 0; r < plan.rows; r++) {
            row got;
            int at = 0;
            fill(&plan, shards, r, &got);
            for (int64_t i = plan.first ? plan.first[r] : r; i < (plan.first ? plan.first[r + 1] : r + 1); i++, samples++) {
                int64_t s = plan.first ? plan.sample[i] : i, length = lengths[s] < SHORT ? lengths[s] : SHORT;
                check_segment(&got, at, s, length, (int32_t)(plan.first ? i - plan.first[r] : 0));
                at += (int)length;
            }
            check_padding(&got, at, SHORT);
        }
        cr_assert_eq(samples, SAMPLES);
        ls_row_plan_free(&plan);
    }
    ls_shards_free(shards);
}

Test(rows, a_stream_predicts_every_token_but_the_first_once)
{
    make_lengths();
    for (int masked = 0; masked < 2; masked++) {
        ls_shards *shards = open_set(37, masked);
        ls_data_options options = fixture_options("set", T, 4);
        options.stream = true;
        ls_row_plan plan;
        cr_assert_eq(ls_row_plan_make(&plan, shards, &options), LS_OK);
        int64_t all = ls_shards_tokens(shards), at = 0, s = 0, t = 0;
        cr_assert_eq(plan.rows, (all - 1 + T - 1) / T);
        for (int64_t r = 0; r < plan.rows; r++) {
            row got;
            fill(&plan, shards, r, &got);
            cr_assert_eq(got.sample, s, "row %d", (int)r);
            int64_t length = all - 1 - at < T ? all - 1 - at : T;
            for (int64_t i = 0; i < length; i++, at++) {
                cr_assert_eq(got.ids[i], fixture_token(s, t));
                if (++t == lengths[s]) {
                    s++;
                    t = 0;
                }
                cr_assert_eq(got.labels[i], fixture_mask(t, lengths[s], masked) ? fixture_token(s, t) : -1, "token %d", (int)at);
                cr_assert(got.positions[i] == i && got.segments[i] == 0);
            }
            check_padding(&got, length, T);
        }
        cr_assert_eq(at, all - 1);
        ls_row_plan_free(&plan);
        ls_shards_free(shards);
        fixture_clean();
    }
}

Test(rows, no_rows_is_an_error)
{
    lengths[0] = 30;
    fixture_pack("set", lengths, 1, 0, false);
    ls_shards *shards;
    cr_assert_eq(ls_shards_open(&shards, fixture_path("set"), false), LS_OK);
    ls_data_options options = fixture_options("set", 20, 4);
    options.on_long = LS_LONG_SKIP;
    ls_row_plan plan;
    cr_assert_eq(ls_row_plan_make(&plan, shards, &options), LS_ERECIPE);
    cr_assert(strstr(ls_fail_sentence(), "no rows of 20 tokens"), "%s", ls_fail_sentence());
    ls_shards_free(shards);
}

/* Packs samples of these lengths as pairs (values: the pair's number) or outcomes (values: 1 where the number is even). */
static ls_shards *open_judged(const char *kind)
{
    ls_shards *shards;
    ls_shard_writer *writer;
    const ls_shard_options options = {.kind = kind, .source = "test", .vocabulary = FIXTURE_VOCABULARY, .samples_per_shard = 37, .replace = true};
    cr_assert_eq(ls_shard_writer_open(&writer, fixture_path("judged"), &options), LS_OK, "%s", ls_fail_sentence());
    for (int64_t s = 0; s < SAMPLES; s++) {
        int32_t tokens[T];
        uint8_t mask[T];
        for (int64_t t = 0; t < lengths[s]; t++) {
            tokens[t] = fixture_token(s, t);
            mask[t] = fixture_mask(t, lengths[s], true);
        }
        const float value = *kind == 'p' ? (float)(s % 2 ? 0 : s / 2) : (float)(s % 2 == 0);
        cr_assert_eq(ls_shard_writer_add_valued(writer, tokens, mask, lengths[s], value), LS_OK, "%s", ls_fail_sentence());
    }
    cr_assert_eq(ls_shard_writer_commit(writer), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_shards_open(&shards, fixture_path("judged"), true), LS_OK, "%s", ls_fail_sentence());
    return shards;
}

enum { WIDE = 2 * T + 20 };

/* Walks over the segments of row r; returns how many there are. */
static int check_judged_row(const ls_row_plan *plan, const ls_shards *shards, int64_t r, int seen[SAMPLES])
{
    int32_t ids[WIDE], labels[WIDE], positions[WIDE], segments[WIDE];
    float values[WIDE];
    int64_t sample, counted, planned;
    cr_assert_eq(ls_row_fill(plan, shards, r, &(ls_row_cells){ids, labels, positions, segments, values}, &sample, &counted), LS_OK);
    cr_assert_eq(ls_row_counted(plan, shards, r, &planned), LS_OK);
    int texts = 0, at = 0;
    while (at < WIDE && segments[at] >= 0) {
        int to = at;
        cr_assert_eq(segments[at], texts);
        while (to < WIDE && segments[to] == texts)
            to++;
        int64_t s = 0; /* which sample it is: its first token says */
        while (s < SAMPLES && !(fixture_token(s, 0) == ids[at] && lengths[s] == to - at))
            s++;
        cr_assert_lt(s, SAMPLES);
        seen[s]++;
        for (int t = at; t < to; t++) {
            cr_assert_eq(ids[t], fixture_token(s, t - at));
            cr_assert_eq(values[t], t == to - 1 ? ls_shards_value(shards, s) : 0);
        }
        if (plan->together == 2)
            cr_assert_eq(s % 2, texts % 2, "the preferred one first");
        texts++;
        at = to;
    }
    for (; at < WIDE; at++)
        cr_assert(segments[at] == -1 && values[at] == 0 && labels[at] == -1);
    cr_assert(counted == texts / plan->together && planned == counted && texts % plan->together == 0);
    return texts;
}

Test(rows, pairs_stay_together_and_are_what_counts)
{
    make_lengths();
    for (int packed = 0; packed < 2; packed++)
        for (int pairs = 0; pairs < 2; pairs++) {
            ls_shards *shards = open_judged(pairs ? "pairs" : "outcomes");
            ls_data_options options = fixture_options("judged", WIDE, 4);
            options.pack = packed;
            ls_row_plan plan;
            cr_assert_eq(ls_row_plan_make(&plan, shards, &options), LS_OK, "%s", ls_fail_sentence());
            int seen[SAMPLES] = {0}, texts = 0;
            for (int64_t r = 0; r < plan.rows; r++)
                texts += check_judged_row(&plan, shards, r, seen);
            cr_expect_eq(texts, SAMPLES);
            cr_expect(packed ? plan.rows < SAMPLES / 3 : plan.rows == SAMPLES / plan.together, "%d rows", (int)plan.rows);
            ls_row_plan_free(&plan);
            ls_shards_free(shards);
        }
}

Test(rows, a_pair_that_is_too_long_is_refused_or_left_out_whole_and_never_cut)
{
    make_lengths();
    ls_shards *shards = open_judged("pairs");
    ls_data_options options = fixture_options("judged", T + 10, 4);
    ls_row_plan plan;
    cr_expect_eq(ls_row_plan_make(&plan, shards, &options), LS_ERECIPE);
    cr_expect(strstr(ls_fail_sentence(), "a pair stays in one row"), "%s", ls_fail_sentence());
    options.on_long = LS_LONG_TRUNCATE;
    cr_expect_eq(ls_row_plan_make(&plan, shards, &options), LS_ERECIPE);
    cr_expect(strstr(ls_fail_sentence(), "judged whole"), "%s", ls_fail_sentence());
    options.on_long = LS_LONG_SKIP;
    options.stream = true;
    cr_expect_eq(ls_row_plan_make(&plan, shards, &options), LS_ERECIPE);
    options.stream = false;
    cr_assert_eq(ls_row_plan_make(&plan, shards, &options), LS_OK, "%s", ls_fail_sentence());
    int64_t longer = 0, listed = 0;
    for (int64_t s = 0; s < SAMPLES; s += 2)
        longer += lengths[s] + lengths[s + 1] > T + 10;
    for (int64_t r = 0; r < plan.rows; r++)
        listed += plan.first[r + 1] - plan.first[r];
    cr_expect(longer > 10 && plan.skipped == longer && listed == SAMPLES - 2 * longer, "%d %d", (int)longer, (int)plan.skipped);
    ls_row_plan_free(&plan);
    ls_shards_free(shards);
}
