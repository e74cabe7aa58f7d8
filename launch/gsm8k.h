/* Exact match on GSM8K problems: the model answers each question greedily (pass@1), and the reply is checked strictly and
 * leniently (train/answers.h). A question that fills the model's context counts as wrong and is told apart. */
#pragma once
#include "launch/model_folder.h"

typedef struct {
    int64_t limit;             /* first problems only; 0: all */
    int64_t max_tokens;        /* of a reply */
    const char *template_name; /* as the training data was packed */
    bool show;                 /* print each question, reply and gold answer */
} ls_gsm8k_options;

/* Prints the two shares with their 95 % intervals. `path`: .jsonl with question and answer. */
ls_status ls_gsm8k_evaluate(const ls_model_folder *folder, const char *path, const ls_gsm8k_options *how);
