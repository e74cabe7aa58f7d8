/* Prompts in, replies out, counted. See gsm8k.h. */
#include "launch/gsm8k.h"
#include "datasets/jsonl.h"
#include "models/generate/generate.h"
#include "train/answers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 16 };

typedef struct {
    const ls_gsm8k_options *how;
    const ls_model_folder *folder;
    ls_template template;
    int64_t rows;
    char *question[BATCH], *answer[BATCH];
    ls_ids ids;
    int64_t offsets[BATCH + 1];
    int32_t *drawn;
    int64_t problems, right, right_leniently, too_long;
} gsm8k;

static ls_status judge_row(gsm8k *g, int64_t row, int64_t length)
{
    const int64_t prompt = g->offsets[row + 1] - g->offsets[row];
    int32_t *all = malloc((size_t)(prompt + length) * sizeof *all);
    if (!all)
        return ls_fail(LS_EMEM, "no memory for a reply of %lld tokens", (long long)length);
    memcpy(all, g->ids.id + g->offsets[row], (size_t)prompt * sizeof *all);
    memcpy(all + prompt, g->drawn + row * g->how->max_tokens, (size_t)length * sizeof *all);
    char *reply;
    size_t bytes;
    ls_status status = ls_model_folder_text(g->folder, all, prompt, prompt + length, &reply, &bytes);
    free(all);
    if (status)
        return status;
    const char *gold = g->answer[row];
    const bool right = ls_gsm8k_right(reply, bytes, gold, strlen(gold));
    const bool leniently = ls_gsm8k_right_leniently(reply, bytes, gold, strlen(gold));
    g->right += right;
    g->right_leniently += leniently;
    if (g->how->show) {
        const char *mark = strstr(gold, "####");
        printf("question: %s\nreply:    %s\nright:    %s (%s)\n\n", g->question[row], reply, mark ? mark : gold,
               right ? "right" : leniently ? "right as a number" : "wrong");
    }
    free(reply);
    return LS_OK;
}

static ls_status run_batch(gsm8k *g)
{
    if (!g->rows)
        return LS_OK;
    const ls_generate_options greedy = {.max_tokens = g->how->max_tokens, .top_p = 1,
                                        .stop_id = g->template.end};
    int64_t lengths[BATCH];
    ls_status status = ls_generate(g->folder->model, g->folder->device, &greedy, g->rows, g->ids.id, g->offsets, NULL, g->drawn,
                                   lengths, NULL, NULL);
    for (int64_t r = 0; r < g->rows && !status; r++)
        status = judge_row(g, r, lengths[r]);
    for (int64_t r = 0; r < g->rows; r++) {
        free(g->question[r]);
        free(g->answer[r]);
    }
    g->rows = 0;
    g->ids.count = 0;
    return status;
}

/* Adds one problem to the batch; one whose prompt fills the context is wrong, and counted apart. */
static ls_status add_problem(gsm8k *g, const ls_jsonl *lines)
{
    const char *question, *answer;
    size_t question_bytes, answer_bytes;
    ls_status status = ls_jsonl_text(lines, "question", &question, &question_bytes);
    if (!status)
        status = ls_jsonl_text(lines, "answer", &answer, &answer_bytes);
    const int64_t before = g->ids.count;
    if (!status)
        status = ls_model_folder_question(g->folder, &g->template, question, question_bytes, &g->ids);
    if (status)
        return status;
    g->problems++;
    if (g->ids.count - before >= g->folder->options.context) {
        g->ids.count = before;
        g->too_long++;
        return LS_OK;
    }
    g->question[g->rows] = strdup(question);
    g->answer[g->rows] = strdup(answer);
    g->offsets[++g->rows] = g->ids.count;
    if (!g->question[g->rows - 1] || !g->answer[g->rows - 1])
        return ls_fail(LS_EMEM, "no memory for a question");
    return g->rows == BATCH ? run_batch(g) : LS_OK;
}

static void print_share(const char *what, int64_t right, int64_t of)
{
    double low, high;
    ls_wilson_interval(right, of, &low, &high);
    printf("  %-36s %5lld of %lld = %5.1f %%   95 %% interval %.1f to %.1f %%\n", what, (long long)right, (long long)of,
           100 * (double)right / (double)of, 100 * low, 100 * high);
}

ls_status ls_gsm8k_evaluate(const ls_model_folder *folder, const char *path, const ls_gsm8k_options *how)
{
    gsm8k g = {.how = how, .folder = folder};
    ls_jsonl *lines;
    ls_status status = ls_jsonl_open(&lines, path);
    if (status)
        return status;
    status = ls_template_open(&g.template, how->template_name, folder->tokenizer, NULL);
    g.drawn = malloc((size_t)(BATCH * how->max_tokens) * sizeof *g.drawn);
    if (!status && !g.drawn)
        status = ls_fail(LS_EMEM, "no memory for replies of %lld tokens", (long long)how->max_tokens);
    while (!status && (!how->limit || g.problems < how->limit)) {
        json_t *object;
        status = ls_jsonl_next(lines, &object);
        if (status || !object)
            break;
        status = add_problem(&g, lines);
    }
    if (!status)
        status = run_batch(&g);
    if (!status && !g.problems)
        status = ls_fail(LS_EFORMAT, "%s: no problem in it", path);
    if (!status) {
        printf("%s, greedy, at most %lld tokens a reply:\n", path, (long long)how->max_tokens);
        print_share("strict (text after ####)", g.right, g.problems);
        print_share("lenient (last number, as a fraction)", g.right_leniently, g.problems);
        if (g.too_long)
            printf("  %lld questions do not fit into the model's context of %lld tokens and count as wrong\n",
                   (long long)g.too_long, (long long)folder->options.context);
    }
    for (int64_t r = 0; r < g.rows; r++) {
        free(g.question[r]);
        free(g.answer[r]);
    }
    free(g.drawn);
    free(g.ids.id);
    ls_jsonl_close(lines);
    return status;
}
