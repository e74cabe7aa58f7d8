/* Prompts of the data, the policy's answers to them, and what those earn: see rollout.h. */
#include "train/tasks/rollout_work.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

/* ---- one prompt of the data ---- */

/* The prompt is what stands before the first label, the gold answer the labels that follow: ids[0 .. *prompt), then
 * `*answer` labels from labels[*prompt - 1] on. */
static ls_status find_prompt(const int32_t *labels, int64_t tokens, int64_t *prompt, int64_t *answer)
{
    int64_t t = 0;
    while (t < tokens && labels[t] < 0)
        t++;
    *prompt = t + 1;
    for (*answer = 0; t < tokens && labels[t] >= 0; t++)
        ++*answer;
    return *answer ? LS_OK
                   : ls_fail(LS_ERECIPE, "a sample has no answer to judge by; pack prompts with their gold answers "
                                         "(data pack --prompt --response)");
}

static ls_status text_of(const struct ls_rollout_work *w, const int32_t *ids, int64_t count, char **text, size_t *bytes)
{
    while (count && ids[count - 1] == w->end)
        count--;
    return ls_tokenizer_decode(w->tokenizer, ids, count, text, bytes);
}

ls_status ls_rollout_read_prompt(ls_rollout *r, int64_t number)
{
    struct ls_rollout_work *w = r->work;
    ls_grain grain;
    const ls_grain_request request = {.position = r->run->position + number, .rows = 1};
    int64_t prompt, answer;
    ls_status status = ls_data_fill_grain(r->run->train_data, &request, &w->memory, &grain);
    if (status == LS_OK)
        status = find_prompt(grain.labels, r->tokens, &prompt, &answer);
    if (status == LS_OK && prompt + r->options.max_tokens > r->tokens)
        status = ls_fail(LS_ERECIPE,
                         "its prompt has %lld tokens and an answer may have %lld, but rows have batch.tokens = %lld; "
                         "raise that or lower max_tokens",
                         (long long)prompt, (long long)r->options.max_tokens, (long long)r->tokens);
    if (status != LS_OK)
        return ls_fail_at(status, "sample %lld", (long long)(grain.samples ? grain.samples[0] : number));
    const int64_t i = w->mine_count++, at = w->offsets[i];
    memcpy(w->ids + at, grain.ids, (size_t)prompt * sizeof *w->ids);
    w->offsets[i + 1] = at + prompt;
    for (int64_t s = 0; s < r->options.group; s++)
        w->row_ids[i * r->options.group + s] = number * r->options.group + s;
    return text_of(w, grain.labels + prompt - 1, answer, &w->gold[i], &w->gold_bytes[i]);
}

/* ---- answers ---- */

void ls_rollout_forget_gold(struct ls_rollout_work *w)
{
    for (int64_t i = 0; w->gold && i < w->most_mine; i++) {
        free(w->gold[i]);
        w->gold[i] = NULL;
    }
}

static ls_status open_engine(ls_rollout *r)
{
    if (r->work->engine)
        return LS_OK;
    return ls_engine_open(&r->work->engine, r->policy, r->run->device, &(ls_engine_options){.slots = r->options.slots});
}

ls_status ls_rollout_draw_answers(ls_rollout *r)
{
    struct ls_rollout_work *w = r->work;
    const ls_generate_options how = {.max_tokens = r->options.max_tokens,
                                     .temperature = r->options.temperature,
                                     .top_p = 1,
                                     .stop_id = w->end,
                                     .seed = (uint64_t)r->run->config->run.seed,
                                     .draw = (uint64_t)r->iteration};
    const ls_generate_rows rows = {.prompts = w->mine_count,
                                   .samples = r->options.group,
                                   .ids = w->ids,
                                   .offsets = w->offsets,
                                   .row_ids = w->row_ids,
                                   .out = w->drawn,
                                   .lengths = w->lengths,
                                   .ends = w->ends};
    const ls_status status = open_engine(r);
    return status == LS_OK && w->mine_count ? ls_engine_run(w->engine, &how, &rows, NULL, NULL) : status;
}

/* The record of own row i: prompt, answer, its end if it has one, and the reward. */
ls_status ls_rollout_judge_row(ls_rollout *r, int64_t i)
{
    struct ls_rollout_work *w = r->work;
    const int64_t p = i / r->options.group, prompt = w->offsets[p + 1] - w->offsets[p];
    const int32_t *answer = w->drawn + i * r->options.max_tokens;
    ls_rollout_record *row = ls_rollout_record_at(r, w->mine, i);
    int32_t *ids = ls_rollout_ids(row);
    memset(row, 0, w->record_bytes);
    memcpy(ids, w->ids + w->offsets[p], (size_t)prompt * sizeof *ids);
    memcpy(ids + prompt, answer, (size_t)w->lengths[i] * sizeof *ids);
    row->prompt = (int32_t)prompt;
    row->ended = w->ends[i] == LS_END_STOP;
    row->length = (int32_t)(prompt + w->lengths[i]);
    if (row->ended)
        ids[row->length++] = w->end;
    char *text;
    size_t bytes;
    const ls_status status = text_of(w, answer, w->lengths[i], &text, &bytes);
    if (status != LS_OK)
        return status;
    row->right =
        row->ended && ls_answer_right((ls_answer_rule)r->options.rule, text, bytes, w->gold[p], w->gold_bytes[p]);
    row->reward = (float)((double)row->right - (row->ended ? 0 : r->options.missing_end));
    free(text);
    return LS_OK;
}

/* Log-probabilities of own rows [first, first + count) under one model, into their records. */

/* ---- held-out prompts ---- */

ls_status ls_rollout_judge_held_out(ls_rollout *r, const ls_grain *grain, double *right, double *ended, double *tokens)
{
    struct ls_rollout_work *w = r->work;
    const int64_t most = r->options.max_tokens;
    ls_status status = open_engine(r);
    for (int64_t b = 0; b < grain->rows && status == LS_OK; b++) {
        int64_t prompt, answer;
        status = find_prompt(grain->labels + b * grain->tokens, grain->tokens, &prompt, &answer);
        if (status == LS_OK)
            memcpy(w->eval_ids + w->eval_offsets[b], grain->ids + b * grain->tokens,
                   (size_t)prompt * sizeof *w->eval_ids);
        w->eval_offsets[b + 1] = w->eval_offsets[b] + prompt;
    }
    const ls_generate_options greedy = {.max_tokens = most, .top_p = 1, .stop_id = w->end};
    const ls_generate_rows rows = {.prompts = grain->rows,
                                   .samples = 1,
                                   .ids = w->eval_ids,
                                   .offsets = w->eval_offsets,
                                   .out = w->eval_drawn,
                                   .lengths = w->eval_lengths,
                                   .ends = w->eval_ends};
    if (status == LS_OK)
        status = ls_engine_run(w->engine, &greedy, &rows, NULL, NULL);
    for (int64_t b = 0; b < grain->rows && status == LS_OK; b++) {
        int64_t prompt, answer;
        char *text = NULL, *gold = NULL;
        size_t bytes = 0, gold_bytes = 0;
        status = find_prompt(grain->labels + b * grain->tokens, grain->tokens, &prompt, &answer);
        if (status == LS_OK)
            status = text_of(w, w->eval_drawn + b * most, w->eval_lengths[b], &text, &bytes);
        if (status == LS_OK)
            status = text_of(w, grain->labels + b * grain->tokens + prompt - 1, answer, &gold, &gold_bytes);
        const bool stopped = w->eval_ends[b] == LS_END_STOP;
        if (status == LS_OK) {
            *right += stopped && ls_answer_right((ls_answer_rule)r->options.rule, text, bytes, gold, gold_bytes);
            *ended += stopped;
            *tokens += (double)(w->eval_lengths[b] + stopped);
        }
        free(text);
        free(gold);
    }
    return status;
}
