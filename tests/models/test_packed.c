/* Several samples in one row: each has the hidden states, and each token the loss, that it has in a row of its own. */
#include "tests/models/workbench.h"

enum { T = 96, SAMPLES = 4 };
static const int lengths[SAMPLES] = {5, 40, 1, 33}; /* and 17 positions of padding */

static void packed_equals_alone(const ls_transformer_options *options, ls_type compute, bool segments)
{
    workbench w = workbench_of(options, compute, 2);
    ls_parameters_init(w.parameters, w.count, 3, 0, w.elements, w.master);
    workbench_load(&w);
    int32_t ids[T] = {0}, labels[T], positions[T] = {0}, segment[T];
    float packed[T], alone[T];
    for (int i = 0; i < T; i++)
        labels[i] = segment[i] = -1;
    for (int s = 0, at = 0; s < SAMPLES; at += lengths[s++])
        for (int i = 0; i < lengths[s]; i++) {
            ids[at + i] = (at * 7 + i * 5 + s) % (int)options->vocabulary;
            labels[at + i] = i + 1 < lengths[s] ? (i * 3 + s) % (int)options->vocabulary : -1;
            positions[at + i] = i;
            segment[at + i] = s;
        }
    const ls_token_rows row = {.rows = 1, .tokens = T, .ids = ids, .positions = positions, .segments = segments ? segment : NULL};
    ls_tensor *hidden = ls_transformer_hidden(w.model, w.tape, &row);
    ls_cross_entropy_sum(w.tape, hidden, ls_transformer_head(w.model, w.tape), labels, NULL, packed);
    cr_assert_eq(ls_tape_status(w.tape), LS_OK, "%s", ls_fail_sentence());

    bool equal = true;
    for (int s = 0, at = 0; s < SAMPLES; at += lengths[s++]) {
        ls_tape_reset(w.tape, 1, 0, 0);
        const ls_token_rows one = {.rows = 1, .tokens = lengths[s], .ids = ids + at};
        hidden = ls_transformer_hidden(w.model, w.tape, &one);
        ls_cross_entropy_sum(w.tape, hidden, ls_transformer_head(w.model, w.tape), labels + at, NULL, alone + at);
        cr_assert_eq(ls_tape_status(w.tape), LS_OK, "%s", ls_fail_sentence());
        equal = equal && memcmp(alone + at, packed + at, (size_t)lengths[s] * sizeof(float)) == 0;
    }
    cr_expect_eq(equal, segments, "style %d, %s, %s segment ids", options->style, ls_type_name(compute), segments ? "with" : "without");
    workbench_done(&w);
}

static const ls_transformer_options gpt2 = {.style = 0, .vocabulary = 53, .layers = 2, .width = 24, .heads = 3, .context = T, .tied = true,
                                            .norm_eps = 1e-5, .init_std = 0.3};
static const ls_transformer_options llama = {.style = 1, .vocabulary = 47, .layers = 2, .width = 32, .heads = 4, .kv_heads = 2, .context = T,
                                             .rope_base = 10000, .norm_eps = 1e-5, .init_std = 0.3};

/* All that the llama style has by option. */
static const ls_transformer_options qwen = {.style = 1, .vocabulary = 47, .layers = 2, .width = 32, .heads = 4, .kv_heads = 2, .context = T,
                                            .head_width = 12, .window = 7, .qkv_bias = true, .qk_norm = true, .tied = true, .rope_base = 10000,
                                            .rope_scaling = 2, .rope_factor = 8, .rope_low_freq_factor = 1, .rope_high_freq_factor = 4,
                                            .rope_original_context = 64, .norm_eps = 1e-6, .init_std = 0.3};

Test(packed, each_token_has_the_bits_of_its_sample_alone)
{
    packed_equals_alone(&gpt2, LS_F32, true);
    packed_equals_alone(&llama, LS_F32, true);
    packed_equals_alone(&qwen, LS_F32, true);
    packed_equals_alone(&gpt2, LS_BF16, true);
    packed_equals_alone(&llama, LS_BF16, true);
    packed_equals_alone(&qwen, LS_BF16, true);
}

Test(packed, without_segment_ids_they_would_leak)
{
    packed_equals_alone(&llama, LS_F32, false);
}
