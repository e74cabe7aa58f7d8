/* The insides of rollouts, shared by rollout.c (memory, and an iteration as a whole), rollout_draw.c (prompts, answers and
 * what they earn) and rollout_measure.c (what networks say of them). What a rank makes of its prompts stands in records,
 * one a row, until all ranks exchange them. */
#pragma once
#include "train/tasks/rollout.h"

#include "train/answers.h"

/* A row in exchange: this head, then ids, log-probabilities, those of the reference, and values, each [tokens]. */
typedef struct {
    int32_t prompt, length, ended, right;
    float reward;
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
    char **gold; /* [most_mine] the text to be judged by */
    size_t *gold_bytes;
    int64_t mine_count; /* own prompts of this iteration */
    /* of a held-out grain */
    int32_t *eval_ids, *eval_drawn;
    int64_t *eval_offsets, *eval_lengths;
    uint8_t *eval_ends;
};

/* The record of own row i in `records`; its ids [tokens], and log-probabilities, those of the reference, and values. */
ls_rollout_record *ls_rollout_record_at(const ls_rollout *rollout, char *records, int64_t i);
int32_t *ls_rollout_ids(ls_rollout_record *row);
float *ls_rollout_logp(const ls_rollout *rollout, ls_rollout_record *row);

/* rollout_draw.c: prompt `number` of the iteration becomes the next of this rank's; answers to all of them; the record of
 * own row i, with its reward. LS_ERECIPE: a sample without an answer, or without room for one. */
ls_status ls_rollout_read_prompt(ls_rollout *rollout, int64_t number);
ls_status ls_rollout_draw_answers(ls_rollout *rollout);
ls_status ls_rollout_judge_row(ls_rollout *rollout, int64_t i);
void ls_rollout_forget_gold(struct ls_rollout_work *work);

/* rollout_measure.c: log-probabilities of this rank's rows under one network, and values, into their records. */
ls_status ls_rollout_measure(ls_rollout *rollout, ls_transformer *model, bool reference);
