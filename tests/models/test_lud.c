/* Decoding with slots: what must be exact is exact, against plain decoding and against passes without a cache. */
#include "models/generate/lud.h"
#include "tests/models/workbench.h"

/* The context is above a page; several rows end at it. */
static const ls_transformer_options llama = {.style = 1,
                                             .vocabulary = 31,
                                             .layers = 2,
                                             .width = 32,
                                             .heads = 4,
                                             .kv_heads = 2,
                                             .context = 90,
                                             .slot = true,
                                             .rope_base = 10000,
                                             .norm_eps = 1e-5,
                                             .init_std = 0.4};
static const ls_transformer_options gpt2 = {.style = 0,
                                            .vocabulary = 29,
                                            .layers = 2,
                                            .width = 32,
                                            .heads = 2,
                                            .context = 90,
                                            .slot = true,
                                            .tied = true,
                                            .norm_eps = 1e-5,
                                            .init_std = 0.4};
static const ls_transformer_options windowed = {.style = 1,
                                                .vocabulary = 31,
                                                .layers = 2,
                                                .width = 32,
                                                .heads = 4,
                                                .kv_heads = 4,
                                                .window = 9,
                                                .context = 90,
                                                .slot = true,
                                                .rope_base = 10000,
                                                .norm_eps = 1e-5,
                                                .init_std = 0.4};

enum { ROWS = 7, NEW = 30 };
static const int32_t ids[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
                              20, 21, 22, 23, 24, 25, 26, 27, 28, 1,  3,  5,  7,  9,  11, 13, 15, 17, 19,
                              21, 23, 25, 27, 2,  4,  6,  8,  10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 1,
                              4,  7,  10, 13, 16, 19, 22, 25, 28, 2,  5,  8,  11, 14, 17, 20, 23, 26, 3,
                              6,  9,  12, 15, 18, 21, 24, 27, 1,  5,  9,  13, 17, 21, 25, 2,  6};
static const int64_t offsets[ROWS + 1] = {0, 1, 6, 8, 70, 73, 74, 93};
static const ls_generate_options greedy = {.max_tokens = NEW, .top_p = 1, .stop_id = 3};

typedef struct {
    int32_t out[ROWS * NEW];
    int64_t lengths[ROWS];
    uint8_t ends[ROWS];
    ls_lud_work work;
} result;

static workbench drawn_weights(const ls_transformer_options *options, int threads)
{
    workbench w = workbench_of(options, LS_F32, threads);
    ls_parameters_init(w.parameters, w.count, 12, 0, w.elements, w.master);
    return w;
}

static ls_generate_rows rows_into(result *r)
{
    *r = (result){0};
    return (ls_generate_rows){.prompts = ROWS,
                              .samples = 1,
                              .ids = ids,
                              .offsets = offsets,
                              .out = r->out,
                              .lengths = r->lengths,
                              .ends = r->ends};
}

/* Every token that stood was given in a pass of several; each cut began with one that did not stand. */
static void expect_bins(const ls_lud_work *work, const ls_lud_decoding *lud)
{
    int64_t right = 0, wrong = 0, several = 0;
    for (int b = 0; b < LS_LUD_BINS; b++) {
        const ls_lud_bin *bin = &work->bins[b];
        const double most = b + 1 < LS_LUD_BINS ? ls_lud_bin_begins[b + 1] : 1;
        right += bin->right, wrong += bin->count - bin->right;
        cr_expect(!bin->count || most > lud->threshold, "bin %d: none below the threshold is taken", b);
        cr_expect((double)bin->sum >= 1e6 * (double)bin->count * ls_lud_bin_begins[b] - (double)bin->count &&
                      (double)bin->sum <= 1e6 * (double)bin->count * most + (double)bin->count,
                  "bin %d: the mean is in it", b);
    }
    for (int a = 2; a <= LS_LUD_LONGEST; a++)
        several += (a - 1) * work->given[a];
    cr_expect(lud->verify ? right <= work->tokens - work->rows && right >= several && wrong <= work->cut : !right && !wrong,
              "%lld stood, %lld did not; %lld were cut", (long long)right, (long long)wrong, (long long)work->cut);
}

static void decode(const workbench *w, const ls_generate_options *how, const ls_lud_decoding *lud, int64_t slots,
                   result *r)
{
    ls_lud_decoder *decoder;
    cr_assert_eq(ls_lud_open(&decoder, w->model, w->device, slots, lud), LS_OK, "%s", ls_fail_sentence());
    const ls_generate_rows rows = rows_into(r);
    cr_assert_eq(ls_lud_run(decoder, how, &rows, NULL, NULL), LS_OK, "%s", ls_fail_sentence());
    r->work = *ls_lud_done(decoder);
    ls_lud_close(decoder);
    int64_t tokens = 0, passes = 0;
    for (int a = 0; a <= LS_LUD_LONGEST; a++) {
        tokens += a * r->work.given[a];
        passes += r->work.given[a];
    }
    cr_expect(tokens == r->work.tokens && passes == r->work.passes && r->work.given[0] == 0,
              "the passes add up to what was given");
    expect_bins(&r->work, lud);
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

static void equals_plain_decoding(const ls_transformer_options *options)
{
    workbench w = drawn_weights(options, 2);
    static result want, got;
    ls_engine *engine;
    cr_assert_eq(ls_engine_open(&engine, w.model, w.device, &(ls_engine_options){.slots = 4}), LS_OK);
    const ls_generate_rows rows = rows_into(&want);
    cr_assert_eq(ls_engine_run(engine, &greedy, &rows, NULL, NULL), LS_OK);
    ls_engine_close(engine);
    static const ls_lud_decoding exact[] = {
        {.window = 1, .threshold = 0},
        {.window = 2, .threshold = 1.01},
        {.window = 4, .threshold = 1.01, .policy = LS_LUD_ALL},
        {.window = 9, .threshold = 1.01, .repeats = true},
        {.window = 4, .threshold = 0, .repeats = true, .verify = true},
        {.window = 5, .threshold = 0.2, .verify = true},
        {.window = 3, .threshold = 0.1, .policy = LS_LUD_ALL, .first_gate = true, .verify = true}};
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++)
        for (int64_t slots = 1; slots <= 16; slots += 5) {
            char what[96];
            snprintf(what, sizeof what, "style %d, decoding %zu, %d rows together", options->style, i, (int)slots);
            decode(&w, &greedy, &exact[i], slots, &got);
            expect_equal(&got, &want, what);
            if (!exact[i].verify)
                cr_expect_eq(got.work.tokens, got.work.passes, "%s: one token a pass", what);
        }
    decode(&w, &greedy, &(ls_lud_decoding){.window = 4, .threshold = 0, .repeats = true}, 3, &got);
    int differ = 0;
    for (int r = 0; r < ROWS; r++)
        differ += got.lengths[r] != want.lengths[r] ||
                  memcmp(got.out + r * NEW, want.out + r * NEW, (size_t)want.lengths[r] * sizeof(int32_t)) != 0;
    cr_expect_gt(differ, 0, "untrained slots, all taken, give another text: so the test can fail");
    workbench_done(&w);
}

Test(lud, no_slot_taken_or_all_verified_is_plain_decoding)
{
    equals_plain_decoding(&llama);
    equals_plain_decoding(&gpt2);
    equals_plain_decoding(&windowed);
}

/* The rule, pass by pass, with a full forward over context and slots in place of the cache; f64 softmax. */
static int64_t without_cache(const workbench *w, const ls_generate_options *how, const ls_lud_decoding *lud, int row,
                             int32_t *out, int64_t *passes)
{
    const ls_transformer_options *o = ls_transformer_config(w->model);
    int32_t text[256];
    int64_t count = offsets[row + 1] - offsets[row], length = 0;
    memcpy(text, ids + offsets[row], (size_t)count * sizeof *text);
    for (*passes = 0;;) {
        const int64_t room = o->context - count, slots = lud->window - 1 < room ? lud->window - 1 : room;
        for (int64_t j = 0; j < slots; j++)
            text[count + j] = (int32_t)o->vocabulary;
        ls_tape_reset(w->tape, 0, 0, 0);
        ls_no_grad_begin(w->tape);
        const ls_tensor *logits =
            ls_transformer_logits(w->model, w->tape, &(ls_token_rows){.rows = 1, .tokens = count + slots, .ids = text});
        ls_no_grad_end(w->tape);
        cr_assert_eq(ls_tape_status(w->tape), LS_OK);
        ++*passes;
        int32_t y[64];
        double p[64];
        for (int64_t j = 0; j <= slots; j++) {
            const float *l = (const float *)logits->data + (count - 1 + j) * o->vocabulary;
            double sum = 0;
            y[j] = 0;
            for (int64_t v = 1; v < o->vocabulary; v++)
                y[j] = l[v] > l[y[j]] ? (int32_t)v : y[j];
            for (int64_t v = 0; v < o->vocabulary; v++)
                sum += exp((double)l[v] - (double)l[y[j]]);
            p[j] = 1 / sum;
        }
        int64_t sure = 0;
        while (sure < slots && p[sure + 1] >= lud->threshold && (lud->repeats || y[sure + 1] != y[sure]))
            sure++;
        if (lud->policy == LS_LUD_ALL && sure < slots)
            sure = 0;
        if (lud->first_gate && p[0] < lud->threshold)
            sure = 0;
        for (int64_t j = 0; j <= sure; j++) {
            if (y[j] == how->stop_id)
                return length;
            out[length++] = text[count++] = y[j];
            if (length == how->max_tokens || count > o->context)
                return length;
        }
    }
}

Test(lud, with_and_without_a_cache_the_text_is_the_same)
{
    static const ls_lud_decoding ways[] = {{.window = 4, .threshold = 0.25},
                                           {.window = 4, .threshold = 0.1, .repeats = true},
                                           {.window = 3, .threshold = 0.15, .policy = LS_LUD_ALL},
                                           {.window = 6, .threshold = 0.3, .first_gate = true, .repeats = true},
                                           {.window = 64, .threshold = 0, .repeats = true}};
    workbench w = drawn_weights(&llama, 1);
    static result got;
    int64_t early = 0;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        decode(&w, &greedy, &ways[i], 3, &got);
        int64_t all = 0;
        for (int r = 0; r < ROWS; r++) {
            int32_t want[NEW];
            int64_t passes;
            const int64_t length = without_cache(&w, &greedy, &ways[i], r, want, &passes);
            all += passes;
            cr_expect_eq(got.lengths[r], length, "way %zu, row %d: %d tokens, not %d", i, r, (int)got.lengths[r],
                         (int)length);
            cr_expect_eq(memcmp(got.out + r * NEW, want, (size_t)length * sizeof *want), 0, "way %zu, row %d", i, r);
        }
        cr_expect_eq(got.work.passes, all, "way %zu", i);
        early += got.work.tokens - got.work.passes;
    }
    cr_expect_gt(early, 30, "the test needs tokens that are taken early");
    workbench_done(&w);
}

Test(lud, all_slots_taken_is_the_window_a_pass)
{
    workbench w = drawn_weights(&llama, 1);
    static result got;
    const ls_generate_options how = {.max_tokens = 12, .top_p = 1, .stop_id = -1};
    for (int64_t window = 1; window <= 6; window++) {
        if (12 % window)
            continue;
        ls_lud_decoder *decoder;
        cr_assert_eq(ls_lud_open(&decoder, w.model, w.device, 4,
                                 &(ls_lud_decoding){.window = window, .threshold = 0, .repeats = true}),
                     LS_OK);
        const ls_generate_rows rows = rows_into(&got);
        cr_assert_eq(ls_lud_run(decoder, &how, &rows, NULL, NULL), LS_OK);
        const ls_lud_work *work = ls_lud_done(decoder);
        cr_expect_eq(work->tokens, window * work->passes);
        cr_expect_leq(work->forwards, work->passes);
        cr_expect_eq(work->row_tau, ROWS * window * 1000000);
        ls_lud_close(decoder);
    }
    workbench_done(&w);
}

Test(lud, what_cannot_be_is_refused)
{
    ls_transformer_options bare = llama;
    bare.slot = false;
    workbench w = drawn_weights(&bare, 1);
    ls_lud_decoder *decoder;
    cr_expect_eq(ls_lud_open(&decoder, w.model, w.device, 1, &(ls_lud_decoding){.window = 4}), LS_ESTATE);
    cr_expect_eq(ls_lud_open(&decoder, w.model, w.device, 1, &(ls_lud_decoding){.window = 0}), LS_EARG);
    cr_expect_eq(ls_lud_open(&decoder, w.model, w.device, 1, &(ls_lud_decoding){.window = 65}), LS_EARG);
    cr_assert_eq(ls_lud_open(&decoder, w.model, w.device, 1, &(ls_lud_decoding){.window = 1}), LS_OK,
                 "plain decoding needs no slot");
    static result got;
    ls_generate_rows rows = rows_into(&got);
    rows.offsets = (const int64_t[]){0, 0, 1, 2, 3, 4, 5, 6};
    cr_expect_eq(ls_lud_run(decoder, &greedy, &rows, NULL, NULL), LS_EARG);
    rows.offsets = (const int64_t[]){0, 91, 91, 91, 91, 91, 91, 91};
    cr_expect_eq(ls_lud_run(decoder, &greedy, &rows, NULL, NULL), LS_EARG);
    ls_lud_close(decoder);
    workbench_done(&w);
}
