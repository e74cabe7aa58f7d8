/* See reward.h. */
#include "models/reward.h"
#include "models/transformer_internal.h"

#include <math.h>

ls_status ls_reward_model_create(ls_reward_model *model, const ls_transformer_options *options)
{
    const ls_status status = ls_transformer_create_with(&model->trunk, options, 1);
    if (status != LS_OK)
        return status;
    const int64_t width = ls_transformer_config(model->trunk)->width;
    model->head = ls_transformer_add(model->trunk, 1, &width, 1 / sqrt((double)width + 1), "reward/head");
    model->head->may_be_new = true;
    if (model->trunk->head) /* of its own: nothing here uses it, but the model that this one came from has it */
        model->trunk->head->frozen = true;
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
