/* The insides of rollouts, shared by rollout.c (memory, and an iteration as a whole), rollout_draw.c (prompts, answers
 * and what they earn) and rollout_measure.c (what networks say of them). What a rank makes of its prompts stands in
 * records, one a row, until all ranks exchange them. */
#pragma once
#include "train/tasks/rollout.h"

#include "train/answers.h"

/* A row in exchange: this head, then ids, log-probabilities, those of the reference, and values, each [tokens]. */
typedef struct {
    int32_t prompt, length, ended, right;
    float reward, score;
} ls_rollout_record;

struct ls_rollout_work {
    ls_tokenizer *tokenizer;
    ls_engine *engine;
    int32_t end;                 /* end-of-text */
    ls_grain_memory memory;      /* one row of the data */
    int64_t prompts, most_mine;  /* of an iteration; of a rank */
    size_t record_bytes, *bytes; /* [ranks] */
    char *mine, *all;            /* records of this rank, of all in rank order */
    int32_t *ids;                /* own prompts, one after the other */
    int64_t *offsets, *row_ids, *lengths;
    int32_t *drawn;
    uint8_t *ends;
    int32_t *gold; /* [most_mine, tokens] the ids to be judged by */
    int64_t *gold_count;
    char *text, *gold_text; /* [text_room] of the answer in work */
    size_t text_room;
    int32_t *last;              /* [batch.grain] where rows end */
    struct ls_samples *samples; /* rank 0's, once it has drawn */
    int64_t mine_count;         /* own prompts of this iteration */
    /* of a held-out grain */
    int32_t *eval_ids, *eval_drawn;
    int64_t *eval_offsets, *eval_lengths;
    uint8_t *eval_ends;
};

/* The record of own row i in `records`; its ids [tokens], and log-probabilities, those of the reference, and values. */
ls_rollout_record *ls_rollout_record_at(const ls_rollout *rollout, char *records, int64_t i);
int32_t *ls_rollout_ids(ls_rollout_record *row);
float *ls_rollout_logp(const ls_rollout *rollout, ls_rollout_record *row);

/* rollout_draw.c: prompt `number` of the iteration becomes the next of this rank's; answers to all of them; the record
 * of own row i, but for its reward. LS_ERECIPE: a sample without an answer, or without room for one. */
ls_status ls_rollout_read_prompt(ls_rollout *rollout, int64_t number);
ls_status ls_rollout_draw_answers(ls_rollout *rollout);
ls_status ls_rollout_judge_row(ls_rollout *rollout, int64_t i);

/* Text of ids without the end-of-text behind them, into text [work->text_room]. */
ls_status ls_rollout_text(const struct ls_rollout_work *work, const int32_t *ids, int64_t count, char *text,
                          size_t *bytes);

/* rollout_measure.c: what all networks say of this rank's rows, into their records: log-probabilities, values, scores.
 */
ls_status ls_rollout_measure(ls_rollout *rollout);
