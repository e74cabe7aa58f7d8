#include "models/generate/generate.h"
#include "models/generate/sample.h"
#include "models/kv_cache.h"
#include "tests/models/workbench.h"

static const ls_transformer_options gpt2 = {.style = 0,
                                            .vocabulary = 53,
                                            .layers = 2,
                                            .width = 24,
                                            .heads = 3,
                                            .context = 80,
                                            .tied = true,
                                            .norm_eps = 1e-5,
                                            .init_std = 0.3};
static const ls_transformer_options llama = {.style = 1,
                                             .vocabulary = 47,
                                             .layers = 2,
                                             .width = 32,
                                             .heads = 4,
                                             .kv_heads = 2,
                                             .context = 90,
                                             .rope_base = 10000,
                                             .norm_eps = 1e-5,
                                             .init_std = 0.3};

/* All that the llama style has by option. */
static const ls_transformer_options qwen = {.style = 1, .vocabulary = 47, .layers = 2, .width = 32, .heads = 4, .kv_heads = 2, .context = 90,
                                            .head_width = 12, .window = 9, .qkv_bias = true, .qk_norm = true, .tied = true, .rope_base = 10000,
                                            .rope_scaling = 2, .rope_factor = 8, .rope_low_freq_factor = 1, .rope_high_freq_factor = 4,
                                            .rope_original_context = 64, .norm_eps = 1e-6, .init_std = 0.3};

static workbench drawn(const ls_transformer_options *options, ls_type compute, int threads)
{
    workbench w = workbench_of(options, compute, threads);
    ls_parameters_init(w.parameters, w.count, 11, 0, w.elements, w.master);
    workbench_load(&w);
    return w;
}

static void cache_equals_full(const ls_transformer_options *options, ls_type compute)
{
    enum { T = 75 };
    workbench w = drawn(options, compute, 2);
    const size_t row = (size_t)options->width * ls_type_size(compute);
    int32_t ids[2 * T];
    for (int i = 0; i < 2 * T; i++)
        ids[i] = (int32_t)((i * 31 + i / 7) % options->vocabulary);
    ls_no_grad_begin(w.tape);
    ls_tensor *full = ls_transformer_hidden(w.model, w.tape, &(ls_token_rows){.rows = 2, .tokens = T, .ids = ids});
    ls_no_grad_end(w.tape);
    cr_assert_eq(ls_tape_status(w.tape), LS_OK, "%s", ls_fail_sentence());
    char *want = malloc(2 * T * row);
    memcpy(want, full->data, 2 * T * row);

    ls_kv_cache *cache;
    cr_assert_eq(ls_kv_cache_create(&cache, w.device, w.model, 2, 4), LS_OK);
    cr_assert(ls_kv_cache_reserve(cache, 0, 5)); /* pages 0; then 1 and 2; then 3: neighbours they are not */
    cr_assert(ls_kv_cache_reserve(cache, 1, T));
    cr_assert(ls_kv_cache_reserve(cache, 0, T));
    static const int pieces[2][9] = {{5, 1, 1, 1, 30, 7, 1, 20, 9}, {1, 30, 5, 7, 1, 1, 20, 1, 9}};
    int at[2] = {0, 0};
    for (int i = 0; i < 9; i++) {
        ls_extension both[2];
        for (int r = 0; r < 2; r++)
            both[r] = (ls_extension){r, pieces[r][i], ids + r * T + at[r]};
        ls_tape_reset(w.tape, 1, 0, 0);
        ls_no_grad_begin(w.tape);
        const char *hidden = ls_transformer_extend(w.model, w.tape, cache, 2, both)->data;
        ls_no_grad_end(w.tape);
        cr_assert_eq(ls_tape_status(w.tape), LS_OK, "%s", ls_fail_sentence());
        for (int r = 0; r < 2; r++) {
            cr_expect_eq(memcmp(hidden, want + (size_t)(r * T + at[r]) * row, (size_t)pieces[r][i] * row), 0,
                         "%s, row %d, positions %d to %d", ls_type_name(compute), r, at[r], at[r] + pieces[r][i]);
            hidden += (size_t)pieces[r][i] * row;
            at[r] += pieces[r][i];
        }
    }
    ls_kv_cache_free(cache);
    free(want);
    workbench_done(&w);
}

Test(generate, the_cache_gives_the_bits_of_the_full_forward)
{
    cache_equals_full(&gpt2, LS_F32);
    cache_equals_full(&llama, LS_F32);
    cache_equals_full(&qwen, LS_F32);
    cache_equals_full(&gpt2, LS_BF16);
    cache_equals_full(&llama, LS_BF16);
    cache_equals_full(&qwen, LS_BF16);
    cache_equals_full(&gpt2, LS_F16);
    cache_equals_full(&qwen, LS_F16);
}

/* 20 prompts of lengths 1..20: more than a group. */
enum { ROWS = 20, NEW = 12, PROMPTS = ROWS * (ROWS + 1) / 2 };
typedef struct {
    int32_t ids[PROMPTS];
    int64_t offsets[ROWS + 1];
} prompts;

static prompts some_prompts(int64_t vocabulary)
{
    prompts p = {.offsets = {0}};
    for (int r = 0; r < ROWS; r++)
        p.offsets[r + 1] = p.offsets[r] + r + 1;
    for (int i = 0; i < PROMPTS; i++)
        p.ids[i] = (int32_t)((i * 17 + 5) % vocabulary);
    return p;
}

static const ls_generate_options sampled = {
    .max_tokens = NEW, .temperature = 0.8, .top_p = 0.9, .top_k = 20, .stop_id = 3, .seed = 42};

Test(generate, a_rows_text_does_not_depend_on_the_other_rows)
{
    workbench w = drawn(&llama, LS_F32, 2), one = drawn(&llama, LS_F32, 1);
    prompts p = some_prompts(llama.vocabulary);
    int32_t out[ROWS * NEW], alone[NEW];
    int64_t lengths[ROWS], length, stopped = 0;
    cr_assert_eq(ls_generate(w.model, w.device, &sampled, ROWS, p.ids, p.offsets, NULL, out, lengths, NULL, NULL),
                 LS_OK, "%s", ls_fail_sentence());
    for (int64_t r = 0; r < ROWS; r++) {
        cr_assert_eq(
            ls_generate(one.model, one.device, &sampled, 1, p.ids, p.offsets + r, &r, alone, &length, NULL, NULL),
            LS_OK);
        cr_expect_eq(length, lengths[r], "row %d", (int)r);
        cr_expect_eq(memcmp(alone, out + r * NEW, (size_t)length * sizeof *alone), 0, "row %d", (int)r);
        stopped += length < NEW;
    }
    cr_assert(stopped > 0 && stopped < ROWS, "the test needs rows that stop and rows that do not");
    ls_generate_options other = sampled;
    other.seed++;
    int32_t again[ROWS * NEW];
    int64_t more[ROWS];
    cr_assert_eq(ls_generate(w.model, w.device, &other, ROWS, p.ids, p.offsets, NULL, again, more, NULL, NULL), LS_OK);
    cr_expect_neq(memcmp(out, again, sizeof out), 0, "another seed, another text");
    workbench_done(&w);
    workbench_done(&one);
}

Test(generate, greedy_is_the_greatest_logit_of_the_full_forward)
{
    workbench w = drawn(&gpt2, LS_F32, 2);
    prompts p = some_prompts(gpt2.vocabulary);
    ls_generate_options greedy = {.max_tokens = NEW, .top_p = 1, .stop_id = -1};
    int32_t out[NEW], row[ROWS + NEW];
    int64_t length;
    memcpy(row, p.ids + p.offsets[6], 7 * sizeof *row);
    cr_assert_eq(ls_generate(w.model, w.device, &greedy, 1, row, (int64_t[]){0, 7}, NULL, out, &length, NULL, NULL),
                 LS_OK);
    cr_assert_eq(length, NEW);
    memcpy(row + 7, out, sizeof out);
    ls_tape_reset(w.tape, 1, 0, 0);
    ls_no_grad_begin(w.tape);
    ls_tensor *logits =
        ls_transformer_logits(w.model, w.tape, &(ls_token_rows){.rows = 1, .tokens = 7 + NEW, .ids = row});
    for (int i = 0; i < NEW; i++) {
        const float *z = (const float *)logits->data + (6 + i) * gpt2.vocabulary;
        for (int64_t v = 0; v < gpt2.vocabulary; v++)
            cr_assert_geq(z[out[i]], z[v], "token %d", i);
    }
    ls_no_grad_end(w.tape);
    workbench_done(&w);
}

Test(generate, ends_at_the_context_and_refuses_what_cannot_be)
{
    workbench w = drawn(&gpt2, LS_F32, 1);
    int32_t ids[100] = {0}, out[200];
    int64_t length;
    ls_generate_options greedy = {.max_tokens = 200, .top_p = 1, .stop_id = -1};
    cr_assert_eq(ls_generate(w.model, w.device, &greedy, 1, ids, (int64_t[]){0, 70}, NULL, out, &length, NULL, NULL),
                 LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(length, 80 - 70 + 1, "the last token is drawn from the last position");
    cr_assert_eq(ls_generate(w.model, w.device, &greedy, 1, ids, (int64_t[]){0, 81}, NULL, out, &length, NULL, NULL),
                 LS_EARG);
    cr_assert(strstr(ls_fail_sentence(), "81") && strstr(ls_fail_sentence(), "80"), "%s", ls_fail_sentence());
    cr_assert_eq(ls_generate(w.model, w.device, &greedy, 1, ids, (int64_t[]){0, 0}, NULL, out, &length, NULL, NULL),
                 LS_EARG);
    workbench_done(&w);
}

static bool three_tokens(void *context, int64_t row, int32_t id)
{
    (void)row, (void)id;
    return ++*(int *)context < 3;
}

Test(generate, the_caller_can_end_a_row)
{
    workbench w = drawn(&llama, LS_F32, 1);
    int32_t out[NEW];
    int64_t length;
    int seen = 0;
    ls_generate_options how = {.max_tokens = NEW, .top_p = 1, .stop_id = -1};
    cr_assert_eq(ls_generate(w.model, w.device, &how, 1, (int32_t[]){1, 2}, (int64_t[]){0, 2}, NULL, out, &length,
                             three_tokens, &seen),
                 LS_OK);
    cr_assert_eq(length, 3);
    cr_assert_eq(seen, 3);
    workbench_done(&w);
}

/* How often each of four tokens comes in 4096 draws at evenly spaced uniforms. */
static void count(const ls_generate_options *o, const float *logits, int *times)
{
    ls_candidate room[4];
    memset(times, 0, 4 * sizeof *times);
    for (int i = 0; i < 4096; i++)
        times[ls_sample(o, 4, logits, (float)i / 4096, room)]++;
}

Test(generate, draws_follow_the_probabilities)
{
    const float logits[] = {logf(0.2f), logf(0.5f), logf(0.05f), logf(0.25f)};
    int times[4];
    count(&(ls_generate_options){.temperature = 1, .top_p = 1}, logits, times);
    cr_expect(abs(times[0] - 819) < 3 && abs(times[1] - 2048) < 3 && abs(times[2] - 205) < 3 &&
                  abs(times[3] - 1024) < 3,
              "%d %d %d %d", times[0], times[1], times[2], times[3]);
    count(&(ls_generate_options){.temperature = 0.5, .top_p = 1}, logits, times); /* squares: .04 .25 .0025 .0625 */
    cr_expect(abs(times[1] - 2884) < 3 && abs(times[3] - 721) < 3, "%d %d", times[1], times[3]);
    count(&(ls_generate_options){.temperature = 1, .top_p = 1, .top_k = 2}, logits, times);
    cr_expect(times[0] == 0 && times[2] == 0 && abs(times[1] - 2731) < 3, "%d", times[1]);
    count(&(ls_generate_options){.temperature = 1, .top_p = 0.6}, logits, times); /* 0.5 is not enough, 0.75 is */
    cr_expect(times[0] == 0 && times[2] == 0 && abs(times[3] - 1365) < 3, "%d", times[3]);
    count(&(ls_generate_options){.temperature = 1, .top_p = 0.01}, logits, times);
    cr_expect_eq(times[1], 4096, "at least one token is left");
    count(&(ls_generate_options){.temperature = 0, .top_p = 1}, (float[]){1, 3, 3, NAN}, times);
    cr_expect_eq(times[1], 4096, "the lower id of two equal ones, never a NaN");
}

/* The definition, by sorting everything. */
static int falling(const void *a, const void *b)
{
    const ls_candidate *x = a, *y = b;
    return x->logit != y->logit ? (x->logit > y->logit ? -1 : 1) : x->id < y->id ? -1 : 1;
}

static int32_t sorted_draw(const ls_generate_options *o, int n, const float *logits, float uniform)
{
    ls_candidate all[300];
    for (int i = 0; i < n; i++)
        all[i] = (ls_candidate){logits[i], i, exp((double)logits[i] / o->temperature)};
    qsort(all, (size_t)n, sizeof *all, falling);
    int kept = o->top_k && o->top_k < n ? (int)o->top_k : n, few = 0;
    double sum = 0, part = 0;
    for (int i = 0; i < kept; i++)
        sum += all[i].p;
    while (few < kept && (few == 0 || part < o->top_p * sum))
        part += all[few++].p;
    double left = (double)uniform * part;
    for (int i = 0; i < few; i++)
        if ((left -= all[i].p) < 0)
            return all[i].id;
    return all[few - 1].id;
}

Test(generate, the_likeliest_are_those_of_a_sort)
{
    ls_candidate room[300];
    float logits[300];
    for (int i = 0; i < 300; i++)
        logits[i] = 4 * sinf((float)((i * 37) % 100)); /* each value three times */
    for (int i = 0; i < 400; i++) {
        const ls_generate_options o = {.temperature = 0.3 + 0.01 * i, .top_p = i % 2 ? 0.6 + 0.001 * i : 1, .top_k = i % 3 ? 0 : 1 + i % 290};
        if (o.top_p >= 1 && !o.top_k)
            continue; /* by id, not by likelihood */
        const float uniform = (float)((i * 7919) % 1000) / 1000 + 0.0003f;
        cr_expect_eq(ls_sample(&o, 300, logits, uniform, room), sorted_draw(&o, 300, logits, uniform), "draw %d", i);
    }
}
