/* The networks beside a policy: a critic of its own and a trained reward model. Losses of recorded batches agree with a
 * recomputation in float64, from weights and buffer as the checkpoints have them; what a reward model prefers is
 * learnt; what belongs together stays together. */
#include "checkpoint/checkpoint.h"
#include "models/transformer.h"
#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(void)
{
    ls_fixture_begin();
    ls_fixture_answers();
    ls_expect(ls_shell("sed 's/^task: .*/task: reward/; s/^run: .*/run: judge/; s/^model: {/model: {from: base, /; "
                       "s/^data: .*/data: {train: pairs, eval: pairs}/; s/grain: 8/grain: 4/; s/tokens: 24}/tokens: "
                       "48}/; s/context: 24/context: 48/; s/^max_steps: .*/max_steps: 10/' sft.yaml > reward.yaml && "
                       "lockstep train reward.yaml model.context=48"),
              0, NULL);
}

TestSuite(policy_networks, .init = begin, .fini = ls_fixture_end, .timeout = 200);

static void *tensor(int step, const char *name, ls_state_entry *entry)
{
    char path[256];
    void *data;
    snprintf(path, sizeof path, "run/checkpoints/step-%08d", step);
    cr_assert_eq(ls_checkpoint_read(path, name, entry, &data), LS_OK, "%s", ls_fail_sentence());
    return data;
}

/* ---- float64 ---- */

enum { WIDTH = 32, TOKENS = 24, ROWS = 16, CELLS = ROWS * TOKENS };

/* An iteration's buffer, and what the networks say of it: [row * TOKENS + t], of the token behind t. */
typedef struct {
    int32_t *ids, *prompt, *length, *ended, *right;
    float *logp, *reference, *value, *reward, *score;
    int64_t vocabulary;
} buffer;

static buffer read_buffer(int step)
{
    ls_state_entry e;
    buffer b = {.ids = tensor(step, "rollout/ids", &e), .prompt = tensor(step, "rollout/prompt", &e)};
    b.length = tensor(step, "rollout/length", &e);
    b.ended = tensor(step, "rollout/ended", &e);
    b.right = tensor(step, "rollout/right", &e);
    b.logp = tensor(step, "rollout/logp", &e);
    b.reference = tensor(step, "rollout/reference_logp", &e);
    b.value = tensor(step, "rollout/value", &e);
    b.reward = tensor(step, "rollout/reward", &e);
    b.score = tensor(step, "rollout/score", &e);
    free(tensor(step, "model/embedding/token/weight", &e));
    b.vocabulary = e.shape[0];
    return b;
}

static void free_buffer(buffer *b)
{
    void *const all[] = {b->ids,  b->prompt,    b->length, b->ended,  b->right,
                         b->logp, b->reference, b->value,  b->reward, b->score};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* Hidden states [CELLS, WIDTH], and log-probabilities of the tokens that follow where logp is not NULL, in f64, of the
 * network "model/PREFIX..." after `step`. */
static void forward(const buffer *b, int step, const char *prefix, double *hidden, double *logp)
{
    ls_team *team;
    ls_device *device;
    ls_tape *tape;
    ls_transformer *model;
    ls_parameter *all;
    cr_assert_eq(ls_team_create(&team, 1, 1), LS_OK);
    cr_assert_eq(ls_device_create_cpu(&device, team), LS_OK);
    cr_assert_eq(ls_tape_create(&tape, device, (size_t)1 << 32), LS_OK);
    const ls_transformer_options options = {.style = 1,
                                            .vocabulary = b->vocabulary,
                                            .layers = 1,
                                            .width = WIDTH,
                                            .heads = 2,
                                            .context = TOKENS,
                                            .tied = true,
                                            .rope_base = 10000,
                                            .norm_eps = 1e-5};
    cr_assert_eq(ls_transformer_create(&model, &options), LS_OK, "%s", ls_fail_sentence());
    const int count = ls_transformer_parameters(model, &all);
    for (int i = 0; i < count; i++) {
        char name[256];
        ls_state_entry e;
        snprintf(name, sizeof name, "model/%s%s", prefix, all[i].name);
        float *from = tensor(step, name, &e);
        double *to = malloc((size_t)all[i].count * sizeof *to);
        for (int64_t k = 0; k < all[i].count; k++)
            to[k] = (double)from[k];
        free(from);
        all[i].type = LS_F64;
        all[i].data = to;
    }
    int32_t positions[CELLS], segments[CELLS];
    for (int c = 0; c < CELLS; c++) {
        positions[c] = c % TOKENS;
        segments[c] = c % TOKENS < b->length[c / TOKENS] ? 0 : -1;
    }
    const ls_token_rows rows = {
        .rows = ROWS, .tokens = TOKENS, .ids = b->ids, .positions = positions, .segments = segments};
    const ls_tensor *states = ls_transformer_hidden(model, tape, &rows);
    cr_assert_eq(ls_tape_status(tape), LS_OK, "%s", ls_fail_sentence());
    memcpy(hidden, states->data, sizeof(double) * CELLS * WIDTH);
    const double *head = all[0].data;
    cr_assert_str_eq(all[0].name, "embedding/token/weight");
    for (int c = 0; logp && c < CELLS; c++) {
        double sum = 0, mine = 0;
        for (int64_t v = 0; v < b->vocabulary; v++) {
            double logit = 0;
            for (int d = 0; d < WIDTH; d++)
                logit += hidden[c * WIDTH + d] * head[v * WIDTH + d];
            sum += exp(logit);
            mine = c % TOKENS + 1 < TOKENS && v == b->ids[c + 1] ? logit : mine;
        }
        logp[c] = mine - log(sum);
    }
    for (int i = 0; i < count; i++)
        free(all[i].data);
    ls_transformer_free(model);
    ls_tape_free(tape);
    device->free(device);
    ls_team_free(team);
}

static void products(const double *hidden, int step, const char *name, double *out)
{
    ls_state_entry e;
    float *vector = tensor(step, name, &e);
    for (int c = 0; c < CELLS; c++) {
        out[c] = 0;
        for (int d = 0; d < WIDTH; d++)
            out[c] += hidden[c * WIDTH + d] * (double)vector[d];
    }
    free(vector);
}

static const double kl_coef = 0.05, lambda = 0.9, clip = 0.2, clip_value = 0.02, value_coef = 0.5, missing_end = 0.5;

/* A_t = sum_k lambda^k delta_{t+k} (gamma 1), forwards, whitened over all tokens; targets from those before. */
static int advantages(const buffer *b, double *advantage, double *target)
{
    double sum = 0, squares = 0;
    int tokens = 0;
    for (int r = 0; r < ROWS; r++)
        for (int t = b->prompt[r] - 1; t < b->length[r] - 1; t++, tokens++) {
            double total = 0;
            for (int k = t; k < b->length[r] - 1; k++) {
                const int at = r * TOKENS + k;
                const bool last = k == b->length[r] - 2;
                const double reward =
                    -kl_coef * ((double)b->logp[at] - (double)b->reference[at]) + (last ? (double)b->reward[r] : 0);
                total += pow(lambda, k - t) * (reward + (last ? 0 : (double)b->value[at + 1]) - (double)b->value[at]);
            }
            advantage[r * TOKENS + t] = total;
            target[r * TOKENS + t] = total + (double)b->value[r * TOKENS + t];
            sum += total;
        }
    for (int r = 0; r < ROWS; r++)
        for (int t = b->prompt[r] - 1; t < b->length[r] - 1; t++)
            squares += pow(advantage[r * TOKENS + t] - sum / tokens, 2);
    for (int r = 0; r < ROWS; r++)
        for (int t = b->prompt[r] - 1; t < b->length[r] - 1; t++)
            advantage[r * TOKENS + t] =
                (advantage[r * TOKENS + t] - sum / tokens) / sqrt(squares / (tokens - 1) + 1e-8);
    return tokens;
}

/* The loss of the step after `step` on this buffer, and by how much values moved beyond their clip. */
static double loss_of(const buffer *b, int step, int *clipped)
{
    static double hidden[CELLS * WIDTH], logp[CELLS], value[CELLS], advantage[CELLS], target[CELLS];
    double loss = 0;
    forward(b, step, "", hidden, logp);
    forward(b, step, "critic/", hidden, NULL);
    products(hidden, step, "model/critic/value", value);
    const int tokens = advantages(b, advantage, target);
    for (int r = 0; r < ROWS; r++)
        for (int c = r * TOKENS + b->prompt[r] - 1; c < r * TOKENS + b->length[r] - 1; c++) {
            const double ratio = exp(logp[c] - (double)b->logp[c]), bounded = fmin(fmax(ratio, 1 - clip), 1 + clip);
            const double old = (double)b->value[c], near = old + fmin(fmax(value[c] - old, -clip_value), clip_value);
            *clipped += near != value[c];
            loss += -fmin(ratio * advantage[c], bounded * advantage[c]) +
                    value_coef / 2 * fmax(pow(value[c] - target[c], 2), pow(near - target[c], 2));
        }
    return loss / tokens;
}

/* What is logged of the values: Var(G) and 1 - Var(G - V) / Var(G) over the answers' tokens. */
static void expect_explained(const buffer *b, int step)
{
    static double advantage[CELLS], target[CELLS];
    double mean[2] = {0}, square[2] = {0};
    const int tokens = advantages(b, advantage, target);
    for (int pass = 0; pass < 2; pass++)
        for (int r = 0; r < ROWS; r++)
            for (int c = r * TOKENS + b->prompt[r] - 1; c < r * TOKENS + b->length[r] - 1; c++) {
                const double of[2] = {target[c], target[c] - (double)b->value[c]};
                for (int i = 0; i < 2; i++) {
                    mean[i] += pass ? 0 : of[i] / tokens;
                    square[i] += pass ? pow(of[i] - mean[i], 2) / tokens : 0;
                }
            }
    cr_expect_leq(fabs(ls_metric("run", "train_return_std", step) - sqrt(square[0])), 1e-5, "step %d", step);
    cr_expect_leq(fabs(ls_metric("run", "train_explained_variance", step) - (1 - square[1] / square[0])), 1e-4, "step %d: %g", step,
                  1 - square[1] / square[0]);
}

#define BATCH                                                                                                          \
    "ppo.critic=separate ppo.minibatches=1 ppo.epochs=3 ppo.kl_coef=0.05 ppo.lambda=0.9 ppo.clip_value=0.02 "          \
    "ppo.missing_end=0.5 ppo.reward_model=judge ppo.model_scale=0.3 ppo.model_clip=1.5 data.eval= checkpoint.every=1 " \
    "checkpoint.keep=10 max_steps=6"

Test(policy_networks, the_loss_of_recorded_batches_agrees_with_float64)
{
    static double hidden[CELLS * WIDTH], logp[CELLS], value[CELLS], score[CELLS];
    int clipped = 0;
    ls_expect(ls_shell("lockstep train ppo.yaml " BATCH), 0, NULL);
    for (int step = 2; step <= 6; step++) {
        buffer b = read_buffer(step);
        const double want = loss_of(&b, step - 1, &clipped), got = ls_metric("run", "loss", step);
        cr_expect_leq(fabs(got - want), 1e-6 * (1 + fabs(want)), "step %d: %.9g, in float64 %.9g", step, got, want);
        expect_explained(&b, step);
        free_buffer(&b);
    }
    cr_expect_gt(clipped, 10, "the values' clip is tried too: %d", clipped);
    /* what was recorded when the second iteration was drawn, by the weights after step 3 */
    buffer b = read_buffer(4);
    ls_state_entry e;
    double *mean = tensor(4, "reward_model/mean", &e), *deviation = tensor(4, "reward_model/deviation", &e);
    forward(&b, 3, "", hidden, logp);
    forward(&b, 3, "critic/", hidden, NULL);
    products(hidden, 3, "model/critic/value", value);
    forward(&b, 3, "reward_model/", hidden, NULL);
    products(hidden, 3, "model/reward_model/reward/head", score);
    for (int r = 0; r < ROWS; r++) {
        for (int c = r * TOKENS + b.prompt[r] - 1; c < r * TOKENS + b.length[r] - 1; c++) {
            cr_expect_leq(fabs((double)b.logp[c] - logp[c]), 2e-5, "row %d, cell %d", r, c);
            cr_expect_leq(fabs((double)b.value[c] - value[c]), 1e-5, "row %d, cell %d", r, c);
        }
        const double normal = (score[r * TOKENS + b.length[r] - 1] - *mean) / *deviation;
        cr_expect_leq(fabs((double)b.score[r] - fmin(fmax(normal, -1.5), 1.5)), 1e-4, "row %d: %g", r, normal);
        const double reward = b.right[r] - (b.ended[r] ? 0 : missing_end) + 0.3 * (double)b.score[r];
        cr_expect_leq(fabs((double)b.reward[r] - reward), 1e-6, "row %d", r);
    }
    free(mean), free(deviation);
    free_buffer(&b);
}

/* ---- what is learnt ---- */

static double moved(const char *run, const char *a, const char *from, const char *b)
{
    ls_state_entry e;
    float *x, *y;
    double most = 0;
    cr_assert_eq(ls_checkpoint_read(run, a, &e, (void **)&x), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(ls_checkpoint_read(from, b, &e, (void **)&y), LS_OK, "%s", ls_fail_sentence());
    for (int64_t i = 0; i < ls_state_elements(&e); i++)
        most = fmax(most, fabs((double)x[i] - (double)y[i]));
    free(x), free(y);
    return most;
}

#define UP "blocks/0/mlp/up/weight"

Test(policy_networks, a_critic_learns_beside_the_policy)
{
    ls_expect(ls_shell("lockstep train ppo.yaml ppo.critic=separate"), 0, NULL);
    cr_expect_leq(fabs(ls_metric("run", "train_explained_variance", 1)), 1e-6, "values begin at 0");
    cr_expect(ls_metric("run", "train_ratio", 1) == 1 && ls_metric("run", "train_ratio_off", 1) == 0);
    cr_expect_gt(ls_metric("run", "eval_accuracy", 0), 0.9);
    ls_expect(ls_shell("lockstep train ppo.yaml run=warm ppo.critic=separate ppo.warmup=9 max_steps=4"), 0, NULL);
    cr_expect_eq(moved("warm", "model/" UP, "base", "model/" UP), 0, "only the critic learns at first");
    cr_expect_gt(moved("warm", "model/critic/" UP, "base", "model/" UP), 1e-4);
    ls_expect(ls_shell("lockstep train ppo.yaml run=still ppo.critic=separate optimizer.lr=0 max_steps=1"), 0, NULL);
    cr_expect_eq(moved("still", "model/critic/" UP, "base", "model/" UP), 0, "a critic begins as the policy");
    ls_expect(ls_shell("lockstep train ppo.yaml run=from ppo.critic=separate ppo.critic_from=judge optimizer.lr=0 "
                       "max_steps=1"),
              0, NULL);
    cr_expect_eq(moved("from", "model/critic/" UP, "judge", "model/" UP), 0, "or as critic_from says");
    cr_expect_gt(moved("from", "model/critic/" UP, "base", "model/" UP), 0);
}

Test(policy_networks, what_a_reward_model_prefers_is_learnt)
{
    static const char *const tasks[] = {"ppo", "grpo"};
    for (int i = 0; i < 2; i++) {
        const char *task = tasks[i], *run = tasks[i];
        ls_expect(
            ls_shell("lockstep train %s.yaml run=%s %s.reward_model=judge %s.rule_scale=0", task, run, task, task), 0,
            NULL);
        cr_expect_eq(ls_metric(run, "train_reward", 1), ls_metric(run, "train_score", 1), "nothing but the reward model's");
        cr_expect_gt(ls_metric(run, "eval_accuracy", 0), 0.9, "%s", task);
        cr_expect_gt(ls_metric(run, "train_score", 0), ls_metric(run, "train_score", 1), "%s", task);
        cr_expect_eq(moved(run, "model/reward_model/" UP, "judge", "model/" UP), 0, "the judge never moves");
    }
    /* what it has of the judge's folder is its own: a run goes on without that */
    ls_expect(ls_shell("lockstep train grpo.yaml run=parts grpo.reward_model=judge grpo.rule_scale=0 max_steps=5 && mv "
                       "judge gone && lockstep train grpo.yaml run=parts grpo.reward_model=judge grpo.rule_scale=0"),
              0, NULL);
    char want[64], got[64];
    ls_hash_of("grpo", want);
    ls_hash_of("parts", got);
    cr_expect_str_eq(got, want);
}

Test(policy_networks, a_dry_run_draws_once_and_leaves_nothing)
{
    ls_expect(
        ls_shell("lockstep train ppo.yaml run=none ppo.critic=separate ppo.reward_model=judge --dry-run && test ! -e "
                 "none"),
        0, "steps           32 of 16 rows", "each time rows are drawn", NULL);
}

Test(policy_networks, what_does_not_fit_is_refused)
{
    ls_expect(ls_shell("lockstep train ppo.yaml run=bad1 ppo.critic_from=judge"), 2, "ppo.critic: separate", NULL);
    ls_expect(ls_shell("lockstep train ppo.yaml run=bad2 ppo.reward_model=nowhere"), 1, "nowhere", NULL);
    ls_expect(ls_shell("lockstep train ppo.yaml run=bad3 ppo.reward_model=base"), 1, "reward/head", NULL);
    ls_expect(ls_shell("lockstep train ppo.yaml run=bad4 model.from= model.width=16 ppo.reward_model=judge"), 2,
              "reward_model/embedding/token/weight", "in judge is f32 [", "the shape of that folder", NULL);
    ls_expect(ls_shell("sed 's/#7/#9/' right.jsonl > other.jsonl && lockstep data tokenizer -v 258 -f prompt,response "
                       "-o other.json other.jsonl && lockstep data pack -t other.json --pairs -o others pairs.jsonl && "
                       "lockstep train reward.yaml run=other data.train=others data.eval= model.from= "
                       "model.vocabulary=300 && lockstep train ppo.yaml run=bad5 model.from= model.vocabulary=300 "
                       "ppo.reward_model=other"),
              2, "another tokenizer", NULL);
}
