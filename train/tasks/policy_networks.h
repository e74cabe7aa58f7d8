/* The networks of reinforcement learning: the policy, and beside it
 *
 *     reference    the policy as it began, frozen                               model/reference/...
 *     critic       a network of its own whose states give values; it learns     model/critic/...
 *     judge        a reward model that task reward trained, frozen              model/reward_model/...
 *
 * All their parameters are in one list, the policy's, so they are laid out, exchanged, hashed and saved as any model's.
 * A critic begins as the policy does, or as critic_from says; critic and judge have the policy's shape. */
#pragma once
#include "models/reward.h"
#include "train/run.h"

typedef enum { LS_CRITIC_TRUNK, LS_CRITIC_SEPARATE, LS_CRITIC_NONE } ls_critic;
#define LS_CRITIC_CHOICES "trunk|separate"

typedef struct {
    bool reference;
    ls_critic critic;         /* trunk: values are a vector's product with the policy's own states */
    const char *critic_from;  /* run folder (a reward model's, say); NULL: as the policy */
    const char *reward_model; /* run folder of task reward; NULL: no judge */
} ls_policy_networks_options;

typedef struct {
    ls_run *run;
    ls_policy_networks_options options;
    ls_transformer *policy, *reference, *critic; /* NULL: there is none */
    ls_parameter *value_head;                    /* [width]; NULL: no values */
    ls_reward_model judge;                       /* trunk NULL: none */
    double judge_mean, judge_deviation;          /* state: of its rewards, by its last evaluation (task reward) */
} ls_policy_networks;

/* Zeroed before; free also after a failure. LS_ERECIPE: what does not go together. */
ls_status ls_policy_networks_make(ls_policy_networks *networks, ls_run *run, const ls_transformer_options *model,
                                  const ls_policy_networks_options *options);
void ls_policy_networks_free(ls_policy_networks *networks);
ls_status ls_policy_networks_state(ls_policy_networks *networks, ls_state_tree *tree);
/* Of a fresh run: mean and deviation of the judge's rewards. LS_ERECIPE: the judge read another tokenizer's ids. */
ls_status ls_policy_networks_begin(ls_policy_networks *networks);

/* Values [rows * tokens] f32 of the states before each token's successor. `hidden`: the policy's states, which are
 * looked at where there is no critic; `stop`: their gradient ends here. */
ls_tensor *ls_policy_values(const ls_policy_networks *networks, ls_tape *tape, const ls_token_rows *rows,
                            ls_tensor *hidden, bool stop);
