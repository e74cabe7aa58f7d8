/* See lm.h. The task's own is the transformer itself. */
#include "train/tasks/lm.h"

#include "train/tasks/texts.h"

ls_status ls_lm_options(ls_run *run, ls_transformer_options *options)
{
    const ls_train_config *config = ls_run_config(run);
    const int64_t vocabulary = ls_run_vocabulary(run);
    *options = *(const ls_transformer_options *)config->model;
    options->lora = config->lora;
    if (!options->vocabulary)
        options->vocabulary = vocabulary;
    if (!options->context)
        options->context = config->batch.tokens;
    if (options->vocabulary < vocabulary)
        return ls_fail(LS_ERECIPE, "model.vocabulary is %lld, but the data was packed with a tokenizer of %lld tokens; leave it out to take the data's",
                       (long long)options->vocabulary, (long long)vocabulary);
    if (options->context < config->batch.tokens)
        return ls_fail(LS_ERECIPE, "model.context is %lld, but rows have batch.tokens = %lld; lower one or raise the other",
                       (long long)options->context, (long long)config->batch.tokens);
    return LS_OK;
}

ls_status ls_lm_init(ls_run *run, const void *unused, void **self)
{
    (void)unused;
    ls_transformer_options options;
    ls_status status = ls_texts_check_data(run, 1u << LS_SHARDS_TEXT);
    if (status == LS_OK)
        status = ls_lm_options(run, &options);
    return status == LS_OK ? ls_transformer_create((ls_transformer **)self, &options) : status;
}

void ls_lm_free(void *self)
{
    ls_transformer_free(self);
}

int ls_lm_parameters(void *self, ls_parameter **parameters)
{
    return ls_transformer_parameters(self, parameters);
}

ls_tensor *ls_lm_loss(void *self, ls_tape *tape, const ls_grain *grain)
{
    const ls_token_rows rows = {.rows = grain->rows, .tokens = grain->tokens, .ids = grain->ids,
                                .positions = grain->positions, .segments = grain->segments};
    ls_tensor *hidden = ls_transformer_hidden(self, tape, &rows); /* [B*T, D] */
    return ls_cross_entropy_sum(tape, hidden, ls_transformer_head(self, tape), grain->labels, NULL, NULL);
}
