/* All tasks of this binary. A new task adds its name to the two lists here. */
#include "train/task.h"

#include <string.h>

extern const ls_task ls_task_pretrain, ls_task_sft, ls_task_reward, ls_task_dpo, ls_task_lud, ls_task_classify, ls_task_grpo, ls_task_ppo;

static const ls_task *const built_in[] = {&ls_task_pretrain, &ls_task_sft, &ls_task_reward, &ls_task_dpo, &ls_task_lud, &ls_task_classify, &ls_task_grpo, &ls_task_ppo, NULL};
const ls_task *const *ls_tasks = built_in;

const ls_task *ls_task_find(const char *name)
{
    for (const ls_task *const *task = ls_tasks; *task; task++)
        if (strcmp((*task)->name, name) == 0)
            return *task;
    return NULL;
}
