/* The engine deals rows to slots, steps and pages; none of it may show in what is drawn. */
#include "models/generate/engine.h"
#include "models/kv_cache.h"
#include "tests/models/workbench.h"

/* Wide enough for several key tiles a row: the context is above two pages. */
static const ls_transformer_options llama = {.style = 1,
                                             .vocabulary = 61,
                                             .layers = 2,
                                             .width = 48,
                                             .heads = 6,
                                             .kv_heads = 2,
                                             .context = 150,
                                             .rope_base = 10000,
                                             .norm_eps = 1e-5,
                                             .init_std = 0.3};
static const ls_transformer_options gpt2 = {.style = 0,
                                            .vocabulary = 53,
                                            .layers = 2,
                                            .width = 32,
                                            .heads = 2,
                                            .context = 150,
                                            .tied = true,
                                            .norm_eps = 1e-5,
                                            .init_std = 0.3};

/* As Mistral and Qwen3: a window that reaches over a page's border, heads of a width of their own, normalised. */
static const ls_transformer_options windowed = {.style = 1,
                                                .vocabulary = 61,
                                                .layers = 2,
                                                .width = 48,
                                                .heads = 4,
                                                .kv_heads = 2,
                                                .head_width = 20,
                                                .window = 70,
                                                .context = 150,
                                                .rope_base = 10000,
                                                .norm_eps = 1e-5,
                                                .init_std = 0.3};

enum { PROMPTS = 10, SAMPLES = 3, ROWS = PROMPTS * SAMPLES, NEW = 40 };

/* Prompts of 1 to 118 tokens: within a page, over one page's border, of a whole page and a token. */
typedef struct {
    int32_t ids[1024];
    int64_t offsets[PROMPTS + 1];
} prompts;

static prompts some_prompts(int64_t vocabulary)
{
    static const int64_t length[PROMPTS] = {1, 5, 64, 65, 2, 118, 33, 70, 3, 63};
    prompts p = {.offsets = {0}};
    for (int i = 0; i < PROMPTS; i++)
        p.offsets[i + 1] = p.offsets[i] + length[i];
    for (int64_t i = 0; i < p.offsets[PROMPTS]; i++)
        p.ids[i] = (int32_t)((i * 17 + i / 9 + 5) % vocabulary);
    return p;
}

typedef struct {
    int32_t out[ROWS * NEW];
    int64_t lengths[ROWS];
    uint8_t ends[ROWS];
} result;

static workbench drawn_weights(const ls_transformer_options *options, ls_type compute, int threads)
{
    workbench w = workbench_of(options, compute, threads);
    ls_parameters_init(w.parameters, w.count, 11, 0, w.elements, w.master);
    workbench_load(&w);
    return w;
}

static const ls_generate_options sampled = {
    .max_tokens = NEW, .temperature = 0.9, .top_p = 0.95, .top_k = 30, .stop_id = 3, .seed = 42};

static ls_status draw(const workbench *w, const ls_engine_options *how, const prompts *p, result *r,
                      ls_engine_work *work)
{
    ls_engine *engine;
    cr_assert_eq(ls_engine_open(&engine, w->model, w->device, how), LS_OK, "%s", ls_fail_sentence());
    *r = (result){0};
    const ls_generate_rows rows = {.prompts = PROMPTS,
                                   .samples = SAMPLES,
                                   .ids = p->ids,
                                   .offsets = p->offsets,
                                   .out = r->out,
                                   .lengths = r->lengths,
                                   .ends = r->ends};
    ls_status status = ls_engine_run(engine, &sampled, &rows, NULL, NULL);
    if (work)
        *work = *ls_engine_done(engine);
    ls_engine_close(engine);
    return status;
}

static void expect_equal(const result *got, const result *want, const char *what)
{
    for (int r = 0; r < ROWS; r++) {
        cr_expect_eq(got->lengths[r], want->lengths[r], "%s: row %d has %d tokens, not %d", what, r,
                     (int)got->lengths[r], (int)want->lengths[r]);
        cr_expect_eq(got->ends[r], want->ends[r], "%s: row %d", what, r);
        cr_expect_eq(memcmp(got->out + r * NEW, want->out + r * NEW, (size_t)want->lengths[r] * sizeof(int32_t)), 0,
                     "%s: row %d", what, r);
    }
}

static void any_schedule(const ls_transformer_options *options, ls_type compute)
{
    workbench w = drawn_weights(options, compute, 1), team = drawn_weights(options, compute, 3);
    const prompts p = some_prompts(options->vocabulary);
    static result want, got;
    cr_assert_eq(draw(&w, &(ls_engine_options){.slots = 1}, &p, &want, NULL), LS_OK, "%s", ls_fail_sentence());
    static const ls_engine_options others[] = {{.slots = 16},
                                               {.slots = 7, .prompt_tokens = 11},
                                               {.slots = 16, .pages = 6},
                                               {.slots = 30, .prompt_tokens = 200}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char what[96];
        snprintf(what, sizeof what, "%s, %s: %d slots, %d pages, %d prompt tokens", options->style ? "llama" : "gpt2",
                 ls_type_name(compute), (int)others[i].slots, (int)others[i].pages, (int)others[i].prompt_tokens);
        cr_assert_eq(draw(i % 2 ? &w : &team, &others[i], &p, &got, NULL), LS_OK, "%s: %s", what, ls_fail_sentence());
        expect_equal(&got, &want, what);
    }
    int stopped = 0, full = 0;
    for (int r = 0; r < ROWS; r++) {
        stopped += want.ends[r] == LS_END_STOP;
        full += want.ends[r] == LS_END_LENGTH;
    }
    cr_assert(stopped > 3 && full > 3, "the test needs rows that stop (%d) and rows that do not (%d)", stopped, full);
    workbench_done(&w);
    workbench_done(&team);
}

Test(engine, slots_pages_and_steps_do_not_show)
{
    any_schedule(&gpt2, LS_F32);
    any_schedule(&llama, LS_F32);
    any_schedule(&llama, LS_BF16);
    any_schedule(&windowed, LS_F32);
}

/* What ranks do: each draws some of the rows, in an order of its own, under their global ids. */
Test(engine, rows_may_be_dealt_out_in_any_order)
{
    workbench w = drawn_weights(&llama, LS_F32, 2);
    const prompts p = some_prompts(llama.vocabulary);
    static result want;
    cr_assert_eq(draw(&w, &(ls_engine_options){.slots = 16}, &p, &want, NULL), LS_OK);
    for (int ranks = 2; ranks <= 4; ranks++)
        for (int rank = 0; rank < ranks; rank++) {
            int32_t ids[3 * 1024], out[ROWS * NEW];
            int64_t offsets[ROWS + 1] = {0}, row_ids[ROWS], lengths[ROWS], count = 0;
            for (int i = 0; i < ROWS; i++) {
                const int row = (7 * i + 3) % ROWS,
                          prompt = row / SAMPLES; /* 7 and 30 share no divisor: every row once */
                if (i % ranks != rank)
                    continue;
                const int64_t n = p.offsets[prompt + 1] - p.offsets[prompt];
                memcpy(ids + offsets[count], p.ids + p.offsets[prompt], (size_t)n * sizeof *ids);
                row_ids[count] = row;
                offsets[count + 1] = offsets[count] + n;
                count++;
            }
            cr_assert_eq(
                ls_generate(w.model, w.device, &sampled, count, ids, offsets, row_ids, out, lengths, NULL, NULL),
                LS_OK);
            for (int i = 0; i < count; i++) {
                const int64_t row = row_ids[i];
                cr_expect_eq(lengths[i], want.lengths[row], "rank %d of %d, row %d", rank, ranks, (int)row);
                cr_expect_eq(memcmp(out + i * NEW, want.out + row * NEW, (size_t)lengths[i] * sizeof *out), 0,
                             "rank %d of %d, row %d", rank, ranks, (int)row);
            }
        }
    workbench_done(&w);
}

/* Few rows that draw many tokens from weights that stay: then these are held in twelve bits where the processor can (tensor/cpu/tight.h), until the engine
 * is closed. */
Test(engine, weights_that_stay_draw_the_same_tokens)
{
    enum { LONG = 80, FEW = 2 };
    ls_transformer_options wide = llama;
    wide.width = 96, wide.vocabulary = 131;
    workbench w = drawn_weights(&wide, LS_BF16, 2);
    const int32_t ids[] = {4, 5, 6, 7, 8};
    int32_t out[4][FEW * LONG];
    int64_t lengths[FEW];
    ls_generate_options how = sampled;
    how.max_tokens = LONG, how.stop_id = -1;
    for (int turn = 0; turn < 4; turn++) {
        const ls_generate_rows rows = {.prompts = FEW, .samples = 1, .ids = ids, .offsets = (int64_t[]){0, 3, 5}, .out = out[turn], .lengths = lengths};
        ls_engine *engine;
        if (turn == 2) { /* the same places, other weights */
            ls_parameters_init(w.parameters, w.count, 12, 0, w.elements, w.master);
            workbench_load(&w);
        }
        cr_assert_eq(ls_engine_open(&engine, w.model, w.device, &(ls_engine_options){.slots = 16, .weights_stay = turn % 2 == 1}), LS_OK);
        for (int run = 0; run < 2; run++)
            cr_assert_eq(ls_engine_run(engine, &how, &rows, NULL, NULL), LS_OK, "%s", ls_fail_sentence());
        ls_engine_close(engine);
    }
    cr_expect_eq(memcmp(out[0], out[1], sizeof out[0]), 0);
    cr_expect_eq(memcmp(out[2], out[3], sizeof out[0]), 0, "other weights");
    cr_expect_neq(memcmp(out[1], out[2], sizeof out[0]), 0, "the weights of the engine before");
    workbench_done(&w);
}

Test(engine, samples_share_their_prompt)
{
    workbench w = drawn_weights(&gpt2, LS_F32, 1);
    const prompts p = some_prompts(gpt2.vocabulary);
    static result r;
    ls_engine_work work;
    cr_assert_eq(draw(&w, &(ls_engine_options){.slots = 4}, &p, &r, &work), LS_OK);
    const int64_t all = p.offsets[PROMPTS];
    cr_expect_eq(work.prompt_tokens + work.shared_tokens, SAMPLES * all);
    cr_expect_eq(work.shared_tokens, (SAMPLES - 1) * (all - PROMPTS), "all but each prompt's last token");
    int64_t drawn = 0;
    for (int i = 0; i < ROWS; i++)
        drawn += r.lengths[i];
    cr_expect_eq(work.new_tokens, drawn);
    cr_expect_lt(work.steps, drawn, "rows are drawn together");
    workbench_done(&w);
}

Test(engine, refuses_what_cannot_fit_and_goes_on_after_it)
{
    workbench w = drawn_weights(&gpt2, LS_F32, 1);
    const prompts p = some_prompts(gpt2.vocabulary);
    static result r, want;
    cr_expect_eq(draw(&w, &(ls_engine_options){.slots = 2, .pages = 2}, &p, &r, NULL), LS_EARG);
    cr_expect(strstr(ls_fail_sentence(), "prompt 2") && strstr(ls_fail_sentence(), "3 pages"), "%s",
              ls_fail_sentence());
    ls_engine *engine;
    cr_assert_eq(ls_engine_open(&engine, w.model, w.device, &(ls_engine_options){.slots = 3}), LS_OK);
    int32_t bad[] = {1, 2, 99};
    ls_generate_rows rows = {
        .prompts = 1, .samples = 1, .ids = bad, .offsets = (int64_t[]){0, 3}, .out = r.out, .lengths = r.lengths};
    cr_expect_eq(ls_engine_run(engine, &sampled, &rows, NULL, NULL), LS_EARG, "an id outside the vocabulary");
    rows = (ls_generate_rows){.prompts = PROMPTS,
                              .samples = SAMPLES,
                              .ids = p.ids,
                              .offsets = p.offsets,
                              .out = r.out,
                              .lengths = r.lengths,
                              .ends = r.ends};
    for (int i = 0; i < 2; i++)
        cr_assert_eq(ls_engine_run(engine, &sampled, &rows, NULL, NULL), LS_OK, "%s", ls_fail_sentence());
    ls_engine_close(engine);
    cr_assert_eq(draw(&w, &(ls_engine_options){.slots = 1}, &p, &want, NULL), LS_OK);
    expect_equal(&r, &want, "after a failure and a run");
    cr_expect_eq(ls_engine_open(&engine, w.model, w.device, &(ls_engine_options){.slots = 0}), LS_EARG);
    workbench_done(&w);
}

Test(engine, another_draw_and_more_stop_tokens)
{
    workbench w = drawn_weights(&llama, LS_F32, 1);
    const int32_t prompt[] = {4, 5, 6};
    const int64_t offsets[] = {0, 3};
    int32_t first[NEW], second[NEW];
    int64_t length, again;
    ls_generate_options how = {.max_tokens = NEW, .temperature = 1, .top_p = 1, .stop_id = -1, .seed = 9};
    cr_assert_eq(ls_generate(w.model, w.device, &how, 1, prompt, offsets, NULL, first, &length, NULL, NULL), LS_OK);
    cr_assert_eq(length, NEW);
    how.draw = 1;
    cr_assert_eq(ls_generate(w.model, w.device, &how, 1, prompt, offsets, NULL, second, &length, NULL, NULL), LS_OK);
    cr_expect_neq(memcmp(first, second, sizeof first), 0, "another draw, another text");
    how.draw = 0;
    const int32_t stops[] = {-5, first[7]};
    how.stop_ids = stops;
    how.stop_count = 2;
    cr_assert_eq(ls_generate(w.model, w.device, &how, 1, prompt, offsets, NULL, second, &again, NULL, NULL), LS_OK);
    cr_expect_leq(again, 7);
    cr_expect_eq(first[again], first[7]);
    cr_expect_eq(memcmp(first, second, (size_t)again * sizeof *first), 0);
    workbench_done(&w);
}

Test(engine, a_fork_shares_whole_pages_and_gives_all_back)
{
    workbench w = drawn_weights(&gpt2, LS_F32, 1);
    ls_kv_cache *cache;
    cr_assert_eq(ls_kv_cache_create(&cache, w.device, w.model, 3, 5), LS_OK);
    int32_t ids[70] = {0};
    cr_assert(ls_kv_cache_reserve(cache, 0, 70));
    ls_tape_reset(w.tape, 1, 0, 0);
    ls_no_grad_begin(w.tape);
    ls_transformer_extend(w.model, w.tape, cache, 1, &(ls_extension){0, 70, ids});
    ls_no_grad_end(w.tape);
    cr_assert_eq(ls_tape_status(w.tape), LS_OK);
    cr_expect_not(ls_kv_cache_fork(cache, 0, 1, 64 * 3 + 1), "four pages are more than the model's context");
    cr_assert(ls_kv_cache_fork(cache, 0, 1, 100), "one shared, one of its own");
    cr_expect_eq(ls_kv_cache_length(cache, 1), 70);
    cr_assert(ls_kv_cache_fork(cache, 0, 2, 128));
    cr_assert(ls_kv_cache_reserve(cache, 2, 129));
    cr_expect_not(ls_kv_cache_reserve(cache, 1, 129), "five pages are all");
    ls_kv_cache_clear(cache, 0); /* its whole page lives on in the others */
    ls_kv_cache_clear(cache, 1);
    ls_kv_cache_clear(cache, 2);
    for (int i = 0; i < 3; i++)
        cr_expect(ls_kv_cache_reserve(cache, i, i < 2 ? 128 : 64), "all five pages are free again");
    ls_kv_cache_free(cache);
    workbench_done(&w);
}
