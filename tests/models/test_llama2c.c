/* llama2.c's stories260K, a trained model: read, it must speak the text its author published, token by token. */
#include "models/llama2c.h"

#include "models/generate/generate.h"
#include "tests/models/workbench.h"

#include <stdio.h>
#include <unistd.h>

static workbench stories(int threads)
{
    ls_llama2c *file;
    ls_transformer_options options;
    cr_assert_eq(ls_llama2c_open(&file, source_path("tests/data/stories260K/stories260K.bin"), &options), LS_OK, "%s",
                 ls_fail_sentence());
    workbench w = workbench_of(&options, LS_F32, threads);
    cr_assert_eq(ls_llama2c_read(file, w.parameters, w.count, w.master), LS_OK, "%s", ls_fail_sentence());
    ls_llama2c_close(file);
    return w;
}

enum { TOKENS = 256, BOS = 1 };

static json_t *greedy_ids(json_t **root)
{
    *root = json_of("tests/data/stories260K/greedy.json");
    json_t *ids = json_object_get(*root, "ids");
    cr_assert_eq(json_array_size(ids), TOKENS);
    return ids;
}

Test(llama2c, stories260K_speaks_its_known_text)
{
    workbench w = stories(2);
    json_t *root, *want = greedy_ids(&root);
    ls_generate_options greedy = {.max_tokens = TOKENS, .top_p = 1, .stop_id = -1};
    int32_t out[TOKENS];
    int64_t length;
    cr_assert_eq(
        ls_generate(w.model, w.device, &greedy, 1, (int32_t[]){BOS}, (int64_t[]){0, 1}, NULL, out, &length, NULL, NULL),
        LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(length, TOKENS);
    for (size_t i = 0; i < TOKENS; i++)
        cr_assert_eq(out[i], (int32_t)json_integer_value(json_array_get(want, i)), "token %zu", i);
    json_decref(root);
    workbench_done(&w);
}

Test(llama2c, stories260K_has_its_known_likelihood_and_logits)
{
    workbench w = stories(1);
    json_t *root, *ids = greedy_ids(&root);
    int32_t row[TOKENS + 1] = {BOS};
    for (size_t i = 0; i < TOKENS; i++)
        row[i + 1] = (int32_t)json_integer_value(json_array_get(ids, i));
    ls_tape_reset(w.tape, 1, 0, 0);
    ls_no_grad_begin(w.tape);
    ls_token_rows rows = {.rows = 1, .tokens = TOKENS, .ids = row};
    ls_tensor *hidden = ls_transformer_hidden(w.model, w.tape, &rows);
    ls_tensor *sum = ls_cross_entropy_sum(w.tape, hidden, ls_transformer_head(w.model, w.tape), row + 1, NULL, NULL);
    ls_tensor *logits = ls_transformer_logits(w.model, w.tape, &rows);
    ls_no_grad_end(w.tape);
    cr_assert_eq(ls_tape_status(w.tape), LS_OK, "%s", ls_fail_sentence());
    double mean = (double)*(const float *)sum->data / TOKENS,
           want = json_number_value(json_object_get(root, "mean_nll_of_ids"));
    cr_expect_leq(fabs(mean - want), 1e-4, "mean negative log-likelihood %.6f, known %.6f", mean, want);
    for (int position = 0; position <= 10; position += 10) {
        const json_t *first = json_object_get(root, position ? "logits_pos10_first8" : "logits_pos0_first8");
        for (size_t i = 0; i < 8; i++)
            cr_expect_float_eq((double)((const float *)logits->data)[position * 512 + (int)i], json_number_at(first, i),
                               1e-3, "position %d, logit %zu", position, i);
    }
    json_decref(root);
    workbench_done(&w);
}

/* A copy of the file, changed at one place and cut to `size`. */
static ls_status open_damaged(size_t at, int32_t value, size_t size)
{
    static const char name[] = "damaged.bin";
    static char bytes[1 << 21];
    FILE *from = fopen(source_path("tests/data/stories260K/stories260K.bin"), "rb");
    cr_assert_not_null(from);
    size_t whole = fread(bytes, 1, sizeof bytes, from);
    fclose(from);
    memcpy(bytes + at, &value, sizeof value);
    char directory[] = "/tmp/lockstep-test-XXXXXX", path[64];
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *to = fopen(path, "wb");
    fwrite(bytes, 1, size < whole ? size : whole, to);
    fclose(to);
    ls_llama2c *file;
    ls_transformer_options options;
    ls_status status = ls_llama2c_open(&file, path, &options);
    ls_llama2c_close(file);
    unlink(path);
    rmdir(directory);
    return status;
}

Test(llama2c, a_damaged_file_is_refused_by_its_numbers)
{
    enum { DIM = 0, LAYERS = 8, HEADS = 12, VOCABULARY = 20, WHOLE = 1 << 21 };
    cr_expect_eq(open_damaged(DIM, 64, WHOLE), LS_OK, "an unchanged copy is good");
    cr_expect_eq(open_damaged(DIM, 64, 1056536), LS_EFORMAT);
    cr_expect(strstr(ls_fail_sentence(), "1056536") && strstr(ls_fail_sentence(), "1056540"), "%s", ls_fail_sentence());
    cr_expect_eq(open_damaged(DIM, 64, 12), LS_EFORMAT);
    cr_expect_eq(open_damaged(DIM, -64, WHOLE), LS_EFORMAT);
    cr_expect_eq(open_damaged(DIM, 1 << 24, WHOLE), LS_EFORMAT, "a size that overflows is no size");
    cr_expect_eq(open_damaged(LAYERS, 6, WHOLE), LS_EFORMAT);
    cr_expect_eq(open_damaged(HEADS, 7, WHOLE), LS_EFORMAT);
    cr_expect_eq(open_damaged(VOCABULARY, -512, WHOLE), LS_EFORMAT, "its own head would make the file longer");
    ls_llama2c *file;
    ls_transformer_options options;
    cr_expect_eq(ls_llama2c_open(&file, "/nonexistent/model.bin", &options), LS_EIO);
}
