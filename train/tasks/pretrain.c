/* Task pretrain: next-token prediction over a stream of documents, every token counted
 * (Radford et al. 2019, section 2). */
#include "train/tasks/lm.h"

static void pretrain_rows(const void *options, ls_data_options *data)
{
    (void)options;
    data->stream = true;
}

extern const ls_task ls_task_pretrain;
const ls_task ls_task_pretrain = {
    .name = "pretrain", .sentence = "next-token prediction over a stream of documents",
    .init = ls_lm_init, .free = ls_lm_free, .parameters = ls_lm_parameters, .rows = pretrain_rows,
    .grain_loss = ls_lm_loss,
};
