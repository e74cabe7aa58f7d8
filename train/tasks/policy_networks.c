/* See policy_networks.h. */
#include "train/tasks/policy_networks.h"

#include "datasets/tokenizer.h"
#include "train/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char critic_prefix[] = "critic/", judge_prefix[] = "reward_model/";

/* Values start from 0: an untrained critic says nothing of any state. */
static ls_parameter *add_value_head(ls_transformer *network, const char *name)
{
    const int64_t width = ls_transformer_config(network)->width;
    return ls_transformer_add(network, 1, &width, 0, name);
}

/* The policy's list has the network's own parameters first and in the order in which a second one describes its. */
static ls_status add_critic(ls_policy_networks *n, const ls_transformer_options *model)
{
    ls_parameter *all;
    ls_transformer_options headless = *model;
    headless.tied = true;
    headless.slot = headless.sparse_embedding = false;
    const int before = ls_transformer_parameters(n->policy, &all);
    const ls_status status = ls_transformer_create_in(&n->critic, n->policy, &headless, critic_prefix);
    if (status != LS_OK)
        return status;
    const int after = ls_transformer_parameters(n->policy, &all);
    for (int i = before; i < after; i++) {
        all[i].copy_of = n->options.critic_from ? NULL : &all[i - before];
        all[i].source = n->options.critic_from;
        all[i].source_name = all[i].name + strlen(critic_prefix);
    }
    n->value_head = add_value_head(n->critic, "value");
    n->value_head->always_new = true;
    return LS_OK;
}

static ls_status add_judge(ls_policy_networks *n, const ls_transformer_options *model)
{
    ls_parameter *all;
    const int before = ls_transformer_parameters(n->policy, &all);
    const ls_status status = ls_reward_model_create_in(&n->judge, n->policy, model, judge_prefix);
    if (status != LS_OK)
        return status;
    const int after = ls_transformer_parameters(n->policy, &all);
    for (int i = before; i < after; i++) {
        all[i].source = n->options.reward_model;
        all[i].source_name = all[i].name + strlen(judge_prefix);
    }
    return LS_OK;
}

ls_status ls_policy_networks_make(ls_policy_networks *n, ls_run *run, const ls_transformer_options *model,
                                  const ls_policy_networks_options *options)
{
    *n = (ls_policy_networks){.run = run, .options = *options, .judge_deviation = 1};
    const bool separate = options->critic == LS_CRITIC_SEPARATE;
    const int more = 1 + (separate ? ls_transformer_most_parameters(model) + 1 : 0) +
                     (options->reward_model ? ls_transformer_most_parameters(model) + 1 : 0);
    if (options->critic_from && !separate)
        return ls_fail(
            LS_ERECIPE,
            "%s.critic_from is set, but values are read off the policy's own states; give %s.critic: separate",
            run->config->task->name, run->config->task->name);
    ls_status status = options->reference ? ls_transformer_create_with_reference(&n->policy, &n->reference, model, more)
                                          : ls_transformer_create_with(&n->policy, model, more);
    if (status == LS_OK && separate)
        status = add_critic(n, model);
    if (status == LS_OK && options->critic == LS_CRITIC_TRUNK) {
        n->value_head = add_value_head(n->policy, "ppo/value");
        n->value_head->may_be_new = true;
    }
    if (status == LS_OK && options->reward_model)
        status = add_judge(n, model);
    return status;
}

void ls_policy_networks_free(ls_policy_networks *n)
{
    ls_reward_model_free(&n->judge);
    ls_transformer_free(n->critic);
    ls_transformer_free(n->reference);
    ls_transformer_free(n->policy);
    *n = (ls_policy_networks){0};
}

ls_status ls_policy_networks_state(ls_policy_networks *n, ls_state_tree *tree)
{
    if (!n->judge.trunk)
        return LS_OK;
    const ls_status status = ls_state_add_f64(tree, "reward_model/mean", 0, &n->judge_mean);
    return status == LS_OK ? ls_state_add_f64(tree, "reward_model/deviation", 0, &n->judge_deviation) : status;
}

/* ---- what the judge's folder says beside its weights ---- */

static ls_status check_tokenizer(const ls_policy_networks *n)
{
    char path[4096];
    ls_tokenizer *tokenizer;
    snprintf(path, sizeof path, "%s/tokenizer", n->options.reward_model);
    if (access(path, F_OK) != 0) /* one checkpoint of a run: shapes were compared, no more can be */
        return LS_OK;
    const ls_status status = ls_tokenizer_open(&tokenizer, path);
    if (status != LS_OK)
        return status;
    const uint64_t hash = ls_tokenizer_hash(tokenizer);
    ls_tokenizer_free(tokenizer);
    return hash == ls_data_tokenizer_hash(n->run->train_data)
               ? LS_OK
               : ls_fail(LS_ERECIPE,
                         "the reward model %s reads another tokenizer's ids than data.train has; pack both with one "
                         "tokenizer",
                         n->options.reward_model);
}

static ls_status read_number(const char *folder, const char *name, double *number)
{
    ls_state_entry entry;
    void *data;
    const ls_status status = ls_checkpoint_read(folder, name, &entry, &data);
    if (status != LS_OK)
        return status;
    const bool fits = entry.type == LS_F64 && entry.ndim == 0;
    *number = fits ? *(const double *)data : 0;
    free(data);
    return fits ? LS_OK : ls_fail(LS_EFORMAT, "%s: %s is no number", folder, name);
}

ls_status ls_policy_networks_begin(ls_policy_networks *n)
{
    const char *folder = n->options.reward_model;
    if (!n->judge.trunk)
        return LS_OK;
    ls_status status = check_tokenizer(n);
    if (status == LS_OK)
        status = read_number(folder, "reward/mean", &n->judge_mean);
    if (status == LS_OK)
        status = read_number(folder, "reward/deviation", &n->judge_deviation);
    if (status == LS_OK && !(n->judge_deviation > 0)) /* evaluated on one answer, or on none: taken as they are */
        n->judge_deviation = 1;
    return ls_fail_at(status, "%s.reward_model", n->run->config->task->name);
}

ls_tensor *ls_policy_values(const ls_policy_networks *n, ls_tape *tape, const ls_token_rows *rows, ls_tensor *hidden,
                            bool stop)
{
    if (n->critic)
        hidden = ls_transformer_hidden(n->critic, tape, rows);
    else if (stop)
        hidden = ls_stop_gradient(tape, hidden);
    return ls_sum(tape, ls_mul(tape, ls_cast(tape, hidden, LS_F32), ls_use(tape, n->value_head)), -1);
}
