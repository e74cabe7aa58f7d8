/* Which parameter gets which learning rate and weight decay: exact numbers over the names of a small transformer. And
 * runs with frozen parameters, which lie apart from the others (train/flat.c), against runs without. */
#include "train/groups.h"

#include "tests/train/run_fixture.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GPT2 }; /* model.style */
static ls_transformer *model;
static ls_parameter *parameters;
static int count;
static ls_group_options group[4];

static void begin(void)
{
    const ls_transformer_options o = {
        .style = GPT2, .vocabulary = 16, .layers = 12, .width = 8, .heads = 2, .context = 4};
    cr_assert_eq(ls_transformer_create(&model, &o), LS_OK);
    count = ls_transformer_parameters(model, &parameters);
    for (int g = 0; g < 4; g++)
        group[g] = (ls_group_options){.lr_scale = 1, .decay_scale = 1};
}

static void end(void)
{
    ls_transformer_free(model);
}

TestSuite(groups, .init = begin, .fini = end);

static ls_status open_groups(ls_groups *groups, int n, double layer_decay)
{
    const ls_optimizer_options options = {.weight_decay = 0.1, .layer_decay = layer_decay, .groups = {n, group}};
    return ls_groups_open(groups, &options, parameters, count);
}

static int number_of(const char *name)
{
    for (int i = 0; i < count; i++)
        if (!strcmp(parameters[i].name, name))
            return i;
    cr_assert_fail("no parameter %s", name);
    return -1;
}

Test(groups, the_first_match_counts_and_slashes_are_letters)
{
    ls_groups groups;
    group[0] = (ls_group_options){.match = "blocks/*/attention/query/*", .lr_scale = 0.5, .decay_scale = 0};
    group[1] = (ls_group_options){.match = "blocks/[01]/*", .lr_scale = 0.1, .decay_scale = 3};
    group[2] = (ls_group_options){.match = "embedding/t?ken/weight", .lr_scale = 1, .decay_scale = 1, .frozen = true};
    cr_assert_eq(open_groups(&groups, 3, 1), LS_OK, "%s", ls_fail_sentence());
    static const struct {
        const char *name;
        int group;
        double lr_scale, weight_decay;
        bool frozen;
    } want[] = {
        {"blocks/0/attention/query/weight", 0, 0.5, 0, false},
        {"blocks/11/attention/query/weight", 0, 0.5, 0, false},
        {"blocks/0/attention/key/weight", 1, 0.1, 3 * 0.1, false},
        {"blocks/1/mlp/up/bias", 1, 0.1, 0, false}, /* a bias: without decay */
        {"blocks/10/mlp/up/weight", -1, 1, 0.1, false},
        {"embedding/token/weight", 2, 1, 0.1, true},
        {"embedding/position/weight", -1, 1, 0.1, false},
        {"final_norm/gain", -1, 1, 0, false},
        {"head/weight", -1, 1, 0.1, false},
    };
    for (size_t k = 0; k < sizeof want / sizeof *want; k++) {
        const int i = number_of(want[k].name);
        cr_expect_eq(groups.of[i], want[k].group, "%s", want[k].name);
        cr_expect_eq(parameters[i].lr_scale, want[k].lr_scale, "%s", want[k].name);
        cr_expect_eq(groups.weight_decay[i], want[k].weight_decay, "%s", want[k].name);
        cr_expect_eq(parameters[i].frozen, want[k].frozen, "%s", want[k].name);
    }
    ls_groups_close(&groups);
}

Test(groups, a_pattern_without_a_parameter_is_refused_with_the_nearest_names)
{
    ls_groups groups;
    group[0].match = "block/3/*/query/weight";
    cr_assert_eq(open_groups(&groups, 1, 1), LS_ERECIPE);
    cr_assert_str_eq(
        ls_fail_sentence(),
        "optimizer.groups[1]: \"block/3/*/query/weight\" matches no parameter; nearest: "
        "blocks/3/attention/query/weight, blocks/0/attention/query/weight, blocks/1/attention/query/weight");
    ls_groups_close(&groups);
    group[0].match = "haed*";
    cr_assert_eq(open_groups(&groups, 1, 1), LS_ERECIPE);
    cr_assert(strstr(ls_fail_sentence(), "nearest: head/weight, "), "%s", ls_fail_sentence());
    ls_groups_close(&groups);
}

Test(groups, a_group_whose_parameters_are_all_taken_is_refused)
{
    ls_groups groups;
    group[0].match = "*";
    group[1].match = "head/*";
    cr_assert_eq(open_groups(&groups, 2, 1), LS_ERECIPE);
    cr_assert(strstr(ls_fail_sentence(), "optimizer.groups[2]") && strstr(ls_fail_sentence(), "the groups before it"),
              "%s", ls_fail_sentence());
    ls_groups_close(&groups);
}

Test(groups, something_must_be_left_to_train)
{
    ls_groups groups;
    group[0] = (ls_group_options){.match = "*", .lr_scale = 1, .decay_scale = 1, .frozen = true};
    cr_assert_eq(open_groups(&groups, 1, 1), LS_ERECIPE);
    cr_assert(strstr(ls_fail_sentence(), "freezes every parameter"), "%s", ls_fail_sentence());
    ls_groups_close(&groups);
}

/* ELECTRA and BEiT: decay^(L + 1 - l). Sums of 13 factors are compared as numbers. */
Test(groups, layers_learn_slower_the_deeper_they_lie)
{
    ls_groups groups;
    group[0] = (ls_group_options){.match = "*/mlp/*", .lr_scale = 4, .decay_scale = 1};
    cr_assert_eq(open_groups(&groups, 1, 0.75), LS_OK, "%s", ls_fail_sentence());
    static const struct {
        const char *name;
        double power, scale;
    } want[] = {{"embedding/token/weight", 13, 1},
                {"embedding/position/weight", 13, 1},
                {"blocks/0/attention/query/weight", 12, 1},
                {"blocks/0/mlp/up/weight", 12, 4},
                {"blocks/10/attention_norm/gain", 2, 1},
                {"blocks/11/attention/value/bias", 1, 1},
                {"final_norm/gain", 0, 1},
                {"head/weight", 0, 1}};
    for (size_t k = 0; k < sizeof want / sizeof *want; k++)
        cr_expect_float_eq(parameters[number_of(want[k].name)].lr_scale, want[k].scale * pow(0.75, want[k].power),
                           1e-12, "%s", want[k].name);
    ls_groups_close(&groups);
}

Test(groups, layer_decay_needs_blocks)
{
    ls_groups groups;
    ls_parameter flat[] = {{.name = "stem/weight", .count = 1, .lr_scale = 1},
                           {.name = "blocks/weight", .count = 1, .lr_scale = 1}};
    const ls_optimizer_options options = {.layer_decay = 0.9};
    cr_assert_eq(ls_groups_open(&groups, &options, flat, 2), LS_ERECIPE);
    cr_assert(strstr(ls_fail_sentence(), "optimizer.layer_decay is 0.9"), "%s", ls_fail_sentence());
    ls_groups_close(&groups);
}

/* ---- runs ---- */

static void begin_run(void)
{
    ls_fixture_begin();
    ls_fixture_data();
}

TestSuite(frozen, .init = begin_run, .fini = ls_fixture_end, .timeout = 100);

/* Without clipping, which looks at all gradients together. */
#define TRAIN "lockstep train tiny.yaml data.eval= optimizer.clip_norm=0 max_steps=4 "
#define STILL                                                                                                          \
    "'optimizer.groups=[{match: \"embedding*\", %s}, {match: \"*mlp_norm*\", %s}, {match: "                            \
    "\"blocks/0/attention/[kq]*\", %s}]' "
#define RANKS "mpirun --oversubscribe --bind-to none -n "
/* Hashes and names of the weights, without the moments. */
#define WEIGHTS "lockstep ckpt info %s | grep -o '.* model/.*' > %s.weights; "

static void train(const char *ranks, const char *run, const char *setting, const char *more)
{
    ls_expect(ls_shell("%s" TRAIN STILL "run=%s %s", ranks, setting, setting, setting, run, more), 0, NULL);
    ls_shell(WEIGHTS, run, run);
}

Test(frozen, the_others_learn_as_if_it_only_had_no_learning_rate)
{
    static const char *const precisions[] = {"precision=f32", "precision=bf16"};
    for (int i = 0; i < 2; i++) {
        train("", "slow", "lr_scale: 0, decay_scale: 0", precisions[i]);
        train(RANKS "3 ", "frozen", "frozen: true", precisions[i]);
        ls_expect(
            ls_shell(
                "wc -l < slow.weights; cmp slow.weights frozen.weights && grep -o '\"loss\": [0-9.]*' "
                "slow/metrics.jsonl > a; "
                "grep -o '\"loss\": [0-9.]*' frozen/metrics.jsonl | cmp - a && echo same losses; rm -r slow frozen"),
            0, "20\n", "same losses", NULL);
    }
}

Test(frozen, it_stays_as_it_is_and_has_no_moments)
{
    train(RANKS "2 ", "first", "frozen: true", "max_steps=1");
    train(RANKS "3 ", "first", "frozen: true", "max_steps=4 batch.schedule=round"); /* a resume on others */
    train("", "long", "frozen: true", "max_steps=4");
    ls_expect(ls_shell("cmp first.weights long.weights && lockstep ckpt hash first > a && lockstep ckpt hash long | "
                       "cmp - a && echo resumed"),
              0, "resumed", NULL);
    ls_expect(ls_shell("lockstep ckpt info long | grep -c optimizer/second_moment; lockstep ckpt info long | grep "
                       "optimizer | grep -c 'embedding\\|mlp_norm'"),
              1, "15\n", "0\n", NULL);
    train(RANKS "3 ", "from", "frozen: true", "max_steps=2 seed=9 model.from=long");
    ls_expect(ls_shell("grep 'embedding\\|mlp_norm' long.weights > a; grep 'embedding\\|mlp_norm' from.weights | cmp - "
                       "a && wc -l < a"),
              0, "3\n", NULL);
    train("", "other", "frozen: false", "max_steps=4");
    ls_expect(ls_shell("grep embedding other.weights > b; grep embedding a | cmp -s - b"), 1, NULL);
}
