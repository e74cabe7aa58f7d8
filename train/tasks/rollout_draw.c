/* Prompts of the data, the policy's answers to them, and what those earn: see rollout.h. */
#include "train/tasks/rollout_work.h"

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

ls_status ls_rollout_text(const struct ls_rollout_work *w, const int32_t *ids, int64_t count, char *text, size_t *bytes)
{
    while (count && ids[count - 1] == w->end)
        count--;
    return ls_tokenizer_decode_into(w->tokenizer, ids, count, text, w->text_room, bytes);
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
    w->gold_count[i] = answer;
    memcpy(w->gold + i * r->tokens, grain.labels + prompt - 1, (size_t)answer * sizeof *w->gold);
    return LS_OK;
}

/* ---- answers ---- */

static ls_status open_engine(ls_rollout *r)
{
    if (r->work->engine)
        return LS_OK;
    return ls_engine_open(&r->work->engine, r->networks->policy, r->run->device,
                          &(ls_engine_options){.slots = r->options.slots});
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

/* Is the answer right by the rule? */
static ls_status judge(const ls_rollout *r, const int32_t *answer, int64_t count, const int32_t *gold,
                       int64_t gold_count, bool *right)
{
    const struct ls_rollout_work *w = r->work;
    size_t bytes, gold_bytes;
    *right = false;
    ls_status status = ls_rollout_text(w, answer, count, w->text, &bytes);
    if (status == LS_OK)
        status = ls_rollout_text(w, gold, gold_count, w->gold_text, &gold_bytes);
    if (status == LS_OK)
        *right = ls_answer_right((ls_answer_rule)r->options.rule, w->text, bytes, w->gold_text, gold_bytes);
    return status;
}

/* The record of own row i: prompt, answer, its end if it has one, and whether it is right. */
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
    bool right;
    const ls_status status = judge(r, answer, w->lengths[i], w->gold + p * r->tokens, w->gold_count[p], &right);
    row->right = row->ended && right;
    return status;
}

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
        const bool stopped = w->eval_ends[b] == LS_END_STOP;
        bool is_right = false;
        status = find_prompt(grain->labels + b * grain->tokens, grain->tokens, &prompt, &answer);
        if (status == LS_OK)
            status = judge(r, w->eval_drawn + b * most, w->eval_lengths[b],
                           grain->labels + b * grain->tokens + prompt - 1, answer, &is_right);
        *right += stopped && is_right;
        *ended += stopped;
        *tokens += (double)(w->eval_lengths[b] + stopped);
    }
    return status;
}
