/* See reward.h. */
#include "models/reward.h"
#include "models/transformer_internal.h"

#include <math.h>

static ls_parameter *add_head(ls_transformer *trunk)
{
    const int64_t width = ls_transformer_config(trunk)->width;
    return ls_transformer_add(trunk, 1, &width, 1 / sqrt((double)width + 1), "reward/head");
}

ls_status ls_reward_model_create(ls_reward_model *model, const ls_transformer_options *options)
{
    const ls_status status = ls_transformer_create_with(&model->trunk, options, 1);
    if (status != LS_OK)
        return status;
    model->head = add_head(model->trunk);
    model->head->may_be_new = true;
    if (model->trunk->head) /* of its own: nothing here uses it, but the model that this one came from has it */
        model->trunk->head->frozen = true;
    return LS_OK;
}

/* Where the language model's head is one of its own, there is none here. */
ls_status ls_reward_model_create_in(ls_reward_model *model, ls_transformer *host, const ls_transformer_options *options,
                                    const char *prefix)
{
    ls_parameter *all;
    ls_transformer_options headless = *options;
    headless.tied = true;
    headless.slot = headless.sparse_embedding = false;
    const int before = ls_transformer_parameters(host, &all);
    const ls_status status = ls_transformer_create_in(&model->trunk, host, &headless, prefix);
    if (status != LS_OK)
        return status;
    model->head = add_head(model->trunk);
    const int after = ls_transformer_parameters(host, &all);
    for (int i = before; i < after; i++)
        all[i].frozen = true;
    return LS_OK;
}

void ls_reward_model_free(ls_reward_model *model)
{
    ls_transformer_free(model->trunk);
    *model = (ls_reward_model){0};
}

ls_tensor *ls_reward_scores(const ls_reward_model *model, ls_tape *tape, const ls_token_rows *rows, int64_t n,
                            const int32_t *last)
{
    ls_tensor *hidden = ls_transformer_hidden(model->trunk, tape, rows);      /* [B*T, D] */
    hidden = ls_cast(tape, ls_gather(tape, hidden, n, last), LS_F32);         /* [n, D] */
    return ls_sum(tape, ls_mul(tape, hidden, ls_use(tape, model->head)), -1); /* [n] */
}
