/* Rollouts for reinforcement learning: prompts of the training data, a group of answers to each from the policy as it stands, a
 * reward for each, and the log-probabilities of their tokens.
 *
 *     reward = rule_scale x (1: a rule finds it right)  +  model_scale x score  -  missing_end x (1: it did not end)
 *     score  = clip((r - mean) / deviation, -model_clip, model_clip)      r: the reward model's, at the answer's last token
 *
 * Rank r draws prompts r, r + ranks, ...; afterwards every rank has all rows in order. A row's tokens come from {seed, row,
 * position, iteration} and its numbers from that row alone, so the buffer has the same bits on any rank count. It is state:
 * a run that stops between two updates of an iteration goes on with it. One that dies while rows are drawn draws them again,
 * the same, from the weights that were saved.
 *
 * Log-probabilities are the training's own forward pass (ls_policy_costs), so the ratio of the first update is exactly 1. */
#pragma once
#include "models/generate/engine.h"
#include "train/answers.h"
#include "train/internal.h"
#include "train/tasks/policy_networks.h"

typedef struct {
    int64_t group;       /* answers to a prompt */
    int64_t max_tokens;  /* of an answer, its end-of-text included */
    int64_t slots;       /* rows a rank draws together */
    double temperature;
    double missing_end;  /* taken off the reward of an answer that was cut off */
    int rule;            /* ls_answer_rule */
    double rule_scale;   /* reward of an answer that it finds right */
    const char *reward_model; /* folder; NULL: none */
    double model_scale, model_clip;
    int64_t samples, samples_every; /* rows of an iteration that samples.jsonl gets, each so many iterations */
    bool shuffle;        /* control experiment: rewards dealt to other rows of the iteration */
} ls_rollout_options;
/* The rows of an option table that fills it; `base` is where it stands in the task's struct. */
#define LS_ROLLOUT_OPTION_ROWS(base) \
    {"group", LS_OPTION_INT, (base) + offsetof(ls_rollout_options, group), 0, 1, 4096, "8", NULL, "answers drawn to each prompt"}, \
    {"max_tokens", LS_OPTION_INT, (base) + offsetof(ls_rollout_options, max_tokens), 0, 1, 1e6, "64", NULL, "longest answer, its end-of-text included"}, \
    {"slots", LS_OPTION_INT, (base) + offsetof(ls_rollout_options, slots), LS_OPTION_FREE, 1, 4096, "32", NULL, "rows that a rank draws together; changes speed and memory alone"}, \
    {"temperature", LS_OPTION_FLOAT, (base) + offsetof(ls_rollout_options, temperature), 0, 0.01, 100, "1", NULL, "divides logits, in drawing and in the loss"}, \
    {"missing_end", LS_OPTION_FLOAT, (base) + offsetof(ls_rollout_options, missing_end), 0, 0, 1e6, "0", NULL, "taken off the reward of an answer that max_tokens cut off"}, \
    {"reward", LS_OPTION_CHOICE, (base) + offsetof(ls_rollout_options, rule), 0, 0, 0, "marked", LS_ANSWER_RULES, "when an answer is right: docs/generation.md"}, \
    {"rule_scale", LS_OPTION_FLOAT, (base) + offsetof(ls_rollout_options, rule_scale), 0, 0, 1e6, "1", NULL, "reward of a right answer; 0: right or not is logged and nothing else"}, \
    {"reward_model", LS_OPTION_PATH, (base) + offsetof(ls_rollout_options, reward_model), 0, 0, 0, NULL, NULL, "run folder of task reward, of the policy's shape: what it says of answers is added to the rule's reward"}, \
    {"model_scale", LS_OPTION_FLOAT, (base) + offsetof(ls_rollout_options, model_scale), 0, 0, 1e6, "1", NULL, "weight of the reward model's normalised score"}, \
    {"model_clip", LS_OPTION_FLOAT, (base) + offsetof(ls_rollout_options, model_clip), 0, 0, 1e6, "5", NULL, "that score stays between - and + this"}, \
    {"samples", LS_OPTION_INT, (base) + offsetof(ls_rollout_options, samples), LS_OPTION_FREE, 0, 1e6, "4", NULL, "answers of an iteration that are kept in RUN/samples.jsonl"}, \
    {"samples_every", LS_OPTION_INT, (base) + offsetof(ls_rollout_options, samples_every), LS_OPTION_FREE, 1, 1e9, "10", NULL, "iterations from one such look to the next"}, \
    {"shuffle_rewards", LS_OPTION_BOOL, (base) + offsetof(ls_rollout_options, shuffle), 0, 0, 0, "false", NULL, "control: deal the rewards to other answers of the iteration; must teach nothing"}

/* Rows [B, T] ready for the model: response tokens are labels at the position before them. */
typedef struct {
    int64_t rows, tokens; /* in use; T is the longest row's */
    int32_t *ids, *labels, *positions, *segments, *group; /* [rows * tokens]; group: the cell itself where there is a label */
} ls_policy_rows;

typedef struct {
    ls_run *run;
    ls_rollout_options options;
    ls_policy_networks *networks; /* values are recorded where they give them */
    int64_t rows, tokens; /* of an iteration, positions of a row */

    /* State, the same on every rank. */
    int64_t iteration;    /* drawn so far */
    int32_t *ids;         /* [rows, tokens] */
    int32_t *prompt, *length, *ended, *right; /* [rows] tokens of the prompt, of prompt and answer; 0 or 1 */
    float *logp, *reference_logp; /* [rows, tokens] of the token that follows; 0 elsewhere */
    float *value;         /* [rows, tokens] of the state before that token */
    float *reward, *score; /* [rows]; score: 0 without a reward model */

    double seconds;       /* that the last drawing took on this rank */
    double processor_seconds; /* of all its threads in that time */
    ls_policy_rows batch; /* of a grain */
    struct ls_rollout_work *work;
} ls_rollout;

/* LS_ERECIPE: rows of an iteration are no multiple of the group, dropout, no tokenizer with the data. */
ls_status ls_rollout_open(ls_rollout *rollout, ls_run *run, const ls_rollout_options *options, ls_policy_networks *networks, int64_t rows);
void ls_rollout_close(ls_rollout *rollout); /* also after a failed open */
ls_status ls_rollout_state(ls_rollout *rollout, ls_state_tree *tree);
/* Collective: draws the next iteration's rows. */
ls_status ls_rollout_draw(ls_rollout *rollout);

/* Rows `row[count]` of the buffer into rollout->batch. */
void ls_rollout_batch(ls_rollout *rollout, int64_t count, const int64_t *row);
/* Minus the log-probability of each cell's label at the rollout's temperature: [rows * tokens] f32, 0 without a label. *value
 * [NULL: not wanted]: ls_policy_values. */
ls_tensor *ls_policy_costs(const ls_rollout *rollout, ls_transformer *model, ls_tape *tape, const ls_policy_rows *batch, ls_tensor **value, bool stop);
/* Greedy answers to the prompts of a held-out grain: how many are right, how many ended by themselves, and their tokens. */
ls_status ls_rollout_judge_held_out(ls_rollout *rollout, const ls_grain *grain, double *right, double *ended, double *tokens);
