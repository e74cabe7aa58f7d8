/* Task sft: supervised fine-tuning on prompts with responses. The loss counts response tokens only,
 *     L = - sum_t w_t log p(y_t | x, y_<t) / sum_t w_t,   w = 1 on the response and its end-of-text, 0 on the prompt,
 * and the denominator is the whole step's count, not a mean of means. Rows hold several samples, kept apart by segment
 * ids; a packed row gives the bits of its parts alone. */
#include "train/tasks/lm.h"

extern const ls_task ls_task_sft;
const ls_task ls_task_sft = {
    .name = "sft", .sentence = "supervised fine-tuning: prompts masked, responses learnt",
    .init = ls_lm_init, .free = ls_lm_free, .parameters = ls_lm_parameters,
    .grain_loss = ls_lm_loss,
};
