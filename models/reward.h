/* Reward model (Stiennon et al. 2020; Ouyang et al. 2022, section 3.5): a transformer without its language head, and
 * one vector that reads a number off the last token of a text, r(x, y) = h_last . w        h_last: the hidden state
 * after the final norm A text that does not end where its writer ended it (data.on_long: truncate) has no such token,
 * and is refused by the tasks that use this. */
#pragma once
#include "models/transformer.h"

typedef struct {
    ls_transformer *trunk;
    ls_parameter
        *head; /* "reward/head" [D], always in f32, not decayed; begins as N(0, 1 / (D + 1)) (Stiennon et al. 2020) */
} ls_reward_model;

/* Zeroed before; free also after a failure. The parameters are ls_transformer_parameters of the trunk, the head among
 * them. */
ls_status ls_reward_model_create(ls_reward_model *model, const ls_transformer_options *options);
/* A frozen one among the parameters of `host` (ls_transformer_create_in), for using what was trained elsewhere: room for one more. */
ls_status ls_reward_model_create_in(ls_reward_model *model, ls_transformer *host, const ls_transformer_options *options, const char *prefix);
void ls_reward_model_free(ls_reward_model *model);
/* Rewards [n] f32 of the texts that end in cells last [n] of the rows (row * T + position; copied). */
ls_tensor *ls_reward_scores(const ls_reward_model *model, ls_tape *tape, const ls_token_rows *rows, int64_t n,
                            const int32_t *last);
