/* Every way in which a recipe can be wrong, with the exact sentence a user reads. The tables are this test's own, so
 * that a new option of train/ changes nothing here; tests/launch/test_recipe.c reads the real ones. */
#include "launch/recipe/schema.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    const char *task, *run;
    int64_t seed, every;
    bool shuffle;
} top;

typedef struct {
    int name;
    double lr;
    ls_option_floats betas;
} optimizer;

typedef struct {
    ls_option_sources train;
    ls_option_ints sizes;
    ls_option_list crops;
} data;

typedef struct {
    const char *where, *why;
    double share;
} crop;

static const ls_option top_rows[] = {
    {"task", LS_OPTION_STRING, offsetof(top, task), LS_OPTION_REQUIRED, 0, 0, NULL, NULL, "what is trained"},
    {"run", LS_OPTION_PATH, offsetof(top, run), LS_OPTION_FREE, 0, 0, NULL, NULL, "run folder"},
    {"seed", LS_OPTION_INT, offsetof(top, seed), 0, 0, 0, "17", NULL, "seed"},
    {"every", LS_OPTION_INT, offsetof(top, every), LS_OPTION_FREE, 1, 1e18, "100", NULL, "steps"},
    {"shuffle", LS_OPTION_BOOL, offsetof(top, shuffle), 0, 0, 0, "true", NULL, "shuffle"},
    {0},
};
static const ls_option optimizer_rows[] = {
    {"name", LS_OPTION_CHOICE, offsetof(optimizer, name), 0, 0, 0, "adamw", "adamw|sgd|lion", "which"},
    {"lr", LS_OPTION_FLOAT, offsetof(optimizer, lr), 0, 0, 10, "1e-3", NULL, "learning rate"},
    {"betas", LS_OPTION_FLOATS, offsetof(optimizer, betas), 0, 0, 1, "[0.9, 0.95]", NULL, "decay of the moments"},
    {0},
};
static const ls_option crop_rows[] = {
    {"where", LS_OPTION_STRING, offsetof(crop, where), LS_OPTION_REQUIRED, 0, 0, NULL, NULL, "place"},
    {"share", LS_OPTION_FLOAT, offsetof(crop, share), 0, 0, 1, "0.5", NULL, "size"},
    {"why", LS_OPTION_STRING, offsetof(crop, why), 0, 0, 0, NULL, NULL, "reason"},
    {0},
};
static const ls_option_section crop_section = {"crop", crop_rows, sizeof(crop)};
static const ls_option data_rows[] = {
    {"train", LS_OPTION_SOURCES, offsetof(data, train), LS_OPTION_REQUIRED, 0, 0, NULL, NULL, "training data"},
    {"sizes", LS_OPTION_INTS, offsetof(data, sizes), 0, 1, 64, NULL, NULL, "sizes"},
    {"crops", LS_OPTION_LIST, offsetof(data, crops), 0, 0, 2, NULL, &crop_section, "parts"},
    {0},
};

typedef struct {
    ls_arena *arena;
    ls_schema schema;
    top top;
    optimizer optimizer;
    data data;
    char path[64];
} recipe;

static void start(recipe *r)
{
    memset(r, 0, sizeof *r);
    cr_assert_eq(ls_arena_create(&r->arena, "test", 64 << 20), LS_OK);
    r->schema.file = "x.yaml";
    r->schema.arena = r->arena;
    ls_schema_add(&r->schema, "", top_rows, &r->top);
    ls_schema_add(&r->schema, "optimizer", optimizer_rows, &r->optimizer);
    ls_schema_add(&r->schema, "data", data_rows, &r->data);
}

static ls_status read_recipe(recipe *r, const char *text, const char *const *override)
{
    start(r);
    ls_yaml_node *root;
    ls_status status = ls_yaml_parse(&root, text, strlen(text), "x.yaml", r->arena);
    for (; !status && override && *override; override++)
        status = ls_yaml_override(root, *override, r->arena);
    return status ? status : ls_schema_fill(&r->schema, root);
}

#define GOOD "task: sft\ndata: {train: shards/a}\n"

static const struct {
    const char *text, *override, *sentence;
} bad[] = {
    /* unknown keys */
    {GOOD "optimizer:\n  name: sgd\n  lrr: 1\n", NULL, "x.yaml:5: optimizer.lrr: no such key; nearest: optimizer.lr"},
    {GOOD "lr: 1\n", NULL, "x.yaml:3: lr: no such key; nearest: optimizer.lr"},
    {GOOD "optimiser: {lr: 1}\n", NULL, "x.yaml:3: optimiser: no such key; nearest: optimizer"},
    {GOOD "optimizer: {seed: 1}\n", NULL, "x.yaml:3: optimizer.seed: no such key; nearest: seed"},
    {"task: sft\ndata:\n  train:\n    - {path: a, wieght: 2}\n", NULL,
     "x.yaml:4: data.train: a data set has no key \"wieght\": only path and weight"},
    /* wrong types */
    {GOOD "seed: many\n", NULL, "x.yaml:3: seed: expected a whole number, read \"many\""},
    {GOOD "seed: \"12\"\n", NULL, "x.yaml:3: seed: expected a whole number, read \"12\""},
    {GOOD "seed: 1.5\n", NULL, "x.yaml:3: seed: expected a whole number, read \"1.5\""},
    {GOOD "seed: [1]\n", NULL, "x.yaml:3: seed: expected a whole number, read a list"},
    {GOOD "seed: {a: 1}\n", NULL, "x.yaml:3: seed: expected a whole number, read a section"},
    {GOOD "seed: 99999999999999999999\n", NULL, "x.yaml:3: seed: expected a whole number, read \"99999999999999999999\""},
    {GOOD "seed:\n", NULL, "x.yaml:3: seed: has no value; leave the key out for its default"},
    {GOOD "shuffle: maybe\n", NULL, "x.yaml:3: shuffle: expected true or false, read \"maybe\""},
    {GOOD "run: [a]\n", NULL, "x.yaml:3: run: expected a path, read a list"},
    {GOOD "optimizer: {lr: inf}\n", NULL, "x.yaml:3: optimizer.lr: expected a number in [0, 10], read \"inf\""},
    {GOOD "optimizer: {lr: nan}\n", NULL, "x.yaml:3: optimizer.lr: expected a number in [0, 10], read \"nan\""},
    {GOOD "optimizer: {lr: 0x10}\n", NULL, "x.yaml:3: optimizer.lr: expected a number in [0, 10], read \"0x10\""},
    {GOOD "optimizer: {betas: 0.9}\n", NULL,
     "x.yaml:3: optimizer.betas: expected a list of numbers in [0, 1], read \"0.9\""},
    {GOOD "optimizer: {betas: [0.9, b]}\n", NULL,
     "x.yaml:3: optimizer.betas: expected a list of numbers in [0, 1], read \"b\""},
    {GOOD "optimizer: [lr]\n", NULL, "x.yaml:3: optimizer: expected a section (`optimizer: {key: value, ...}`), read a list"},
    {GOOD "optimizer: adamw\n", NULL,
     "x.yaml:3: optimizer: expected a section (`optimizer: {key: value, ...}`), read \"adamw\""},
    {"task: sft\ndata: {train: []}\n", NULL, "x.yaml:2: data.train: an empty list of data sets"},
    {"task: sft\ndata: {train: [{weight: 1}]}\n", NULL,
     "x.yaml:2: data.train: a data set without its path: write {path: FOLDER, weight: 1}"},
    {"task: sft\ndata: {train: [{path: a, weight: 0}]}\n", NULL,
     "x.yaml:2: data.train: weight: expected a number above 0, read \"0\""},
    {"task: sft\ndata:\n  train: a\n  crops:\n    - {where: top}\n    - {where: left, shar: 1}\n", NULL,
     "x.yaml:6: data.crops[2].shar: no such key; nearest: share"},
    {"task: sft\ndata: {train: a, crops: [{share: 1}]}\n", NULL,
     "x.yaml: data.crops[1].where: required key is missing: place (text)"},
    {"task: sft\ndata: {train: a, crops: [{where: top, share: 2}]}\n", NULL,
     "x.yaml:2: data.crops[1].share: 2 is out of range: expected a number in [0, 1]"},
    {"task: sft\ndata: {train: a, crops: top}\n", NULL,
     "x.yaml:2: data.crops: expected a list of at most 2 {where, share, why}, read \"top\""},
    {"task: sft\ndata: {train: a, crops: [top]}\n", NULL,
     "x.yaml:2: data.crops[1]: expected {key: value, ...}, read \"top\""},
    {"task: sft\ndata: {train: a, crops: [{where: a}, {where: b}, {where: c}]}\n", NULL,
     "x.yaml:2: data.crops: 3 elements: expected a list of at most 2 {where, share, why}"},
    {GOOD, "data.crops=[{where: top, share: no}]",
     "command line: data.crops=[{where: top, share: no}]: data.crops[1].share: expected a number in [0, 1], read \"no\""},
    /* out of range */
    {GOOD "every: 0\n", NULL, "x.yaml:3: every: 0 is out of range: expected a whole number of at least 1"},
    {GOOD "optimizer: {lr: 11}\n", NULL, "x.yaml:3: optimizer.lr: 11 is out of range: expected a number in [0, 10]"},
    {GOOD "optimizer:\n  betas:\n    - 0.9\n    - 1.5\n", NULL,
     "x.yaml:6: optimizer.betas: 1.5 is out of range: expected a list of numbers in [0, 1]"},
    {GOOD "optimizer: {betas: [0,0,0,0,0,0,0,0,0]}\n", NULL, "x.yaml:3: optimizer.betas: too many values: at most 8"},
    {GOOD "optimizer: {name: adam}\n", NULL,
     "x.yaml:3: optimizer.name: expected one of adamw, sgd, lion, read \"adam\"; nearest: adamw"},
    /* missing, double, misplaced */
    {"task: sft\n", NULL,
     "x.yaml: data.train: required key is missing: training data (a data set's folder, or a list of them)"},
    {GOOD, "task=", "command line: task=: has no value, and there is no default"},
    {GOOD, "data.train=", "command line: data.train=: has no value, and there is no default"},
    {"data: {train: a}\n", NULL, "x.yaml: task: required key is missing: what is trained (text)"},
    {GOOD "seed: 1\nseed: 2\n", NULL, "x.yaml:4: seed: given twice, first on line 3"},
    {GOOD "optimizer: {lr: 1, lr: 2}\n", NULL, "x.yaml:3: optimizer.lr: given twice, first on line 3"},
    {GOOD "optimizer.lr: 1\n", NULL,
     "x.yaml:3: optimizer.lr: a key has no dot in it; write sections as `section: {key: value}`"},
    {GOOD "[a]: 1\n", NULL, "x.yaml:3: a key must be a word"},
    {"- task\n", NULL, "x.yaml:1: expected `key: value` lines"},
    {"", NULL, "x.yaml:1: expected `key: value` lines"},
    {GOOD "---\ntask: sft\n", NULL, "x.yaml:4: a second document; one file is one recipe"},
    /* not YAML */
    {"task: [sft\nseed: 1\n", NULL, "x.yaml:2: not YAML: did not find expected ',' or ']' while parsing a flow sequence"},
    {"task:\tsft\n\tseed: 1\n", NULL,
     "x.yaml:2: not YAML: found a tab character that violates indentation while scanning a plain scalar"},
    {GOOD "seed: *s\n", NULL, "x.yaml:3: not YAML: found undefined alias"},
    {GOOD "run: &a [*a]\n", NULL, "x.yaml:3: run: too deep or too large (at most 8 levels and 4096 values)"},
    {GOOD "run: \"a\\0b\"\n", NULL, "x.yaml:3: run: a zero byte in a value"},
    /* the command line */
    {GOOD, "optimizer.lr=abc", "command line: optimizer.lr=abc: expected a number in [0, 10], read \"abc\""},
    {GOOD, "optimizer.lrr=1", "command line: optimizer.lrr=1: no such key; nearest: optimizer.lr"},
    {GOOD, "optimzer.lr=1", "command line: optimzer.lr=1: optimzer: no such key; nearest: optimizer"},
    {GOOD, "optimizer={lr: abc}",
     "command line: optimizer={lr: abc}: optimizer.lr: expected a number in [0, 10], read \"abc\""},
    {GOOD, "seed.x=1", "command line: seed.x=1: seed: expected a whole number, read a section"},
    {GOOD, "seed", "command line: seed: not of the form key.path=value"},
    {GOOD, "=1", "command line: =1: not of the form key.path=value"},
    {GOOD, "seed=", "command line: seed=: has no value; leave the key out for its default"},
    {GOOD, "seed=[1", "command line: seed=[1: not YAML: did not find expected ',' or ']' while parsing a flow sequence"},
};

Test(schema, every_wrong_recipe_gets_its_sentence)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        recipe r;
        const char *override[] = {bad[i].override, NULL};
        ls_status status = read_recipe(&r, bad[i].text, override);
        cr_expect_eq(status, LS_ERECIPE, "case %zu: status %s, wanted: %s", i, ls_status_name(status), bad[i].sentence);
        cr_expect_str_eq(ls_fail_sentence(), bad[i].sentence);
        ls_arena_free(r.arena);
    }
}

Test(schema, defaults_stand_where_nothing_is_said)
{
    recipe r;
    cr_assert_eq(read_recipe(&r, GOOD "optimizer:\n", NULL), LS_OK, "%s", ls_fail_sentence());
    cr_assert_str_eq(r.top.task, "sft");
    cr_assert_null(r.top.run);
    cr_assert_eq(r.top.seed, 17);
    cr_assert(r.top.shuffle);
    cr_assert_eq(r.optimizer.lr, 1e-3);
    cr_assert_eq(r.optimizer.betas.count, 2);
    cr_assert_eq(r.optimizer.betas.value[1], 0.95);
    cr_assert_eq(r.data.train.count, 1);
    cr_assert_str_eq(r.data.train.source[0].path, "shards/a");
    cr_assert_eq(r.data.train.source[0].weight, 1);
    ls_arena_free(r.arena);
}

Test(schema, elements_of_a_list_have_defaults_of_their_own_and_read_back)
{
    recipe r, again;
    const char *override[] = {"data.crops=[{where: \"*\", share: 0.1}, {where: left, why: light}]", NULL};
    cr_assert_eq(read_recipe(&r, GOOD, override), LS_OK, "%s", ls_fail_sentence());
    const crop *crops = r.data.crops.item;
    cr_assert_eq(r.data.crops.count, 2);
    cr_assert_str_eq(crops[0].where, "*");
    cr_assert_eq(crops[0].share, 0.1);
    cr_assert_null(crops[0].why);
    cr_assert_eq(crops[1].share, 0.5);
    cr_assert_str_eq(crops[1].why, "light");
    char *resolved = ls_schema_write(&r.schema, LS_SCHEMA_FIXED);
    cr_assert(strstr(resolved, "  crops: [{where: \"*\", share: 0.1}, {where: left, share: 0.5, why: light}]\n"), "%s", resolved);
    cr_assert_eq(read_recipe(&again, resolved, NULL), LS_OK, "%s in\n%s", ls_fail_sentence(), resolved);
    cr_assert_str_eq(ls_schema_write(&again.schema, LS_SCHEMA_FIXED), resolved);
    ls_arena_free(r.arena);
    ls_arena_free(again.arena);
}

Test(schema, the_last_word_on_the_command_line_wins)
{
    recipe r;
    const char *override[] = {"seed=1", "optimizer.lr=2e-5", "seed=2", "data.train=[a, {path: b, weight: 0.5}]", "run=", NULL};
    cr_assert_eq(read_recipe(&r, GOOD "run: here\nseed: 5\n", override), LS_OK, "%s", ls_fail_sentence());
    cr_assert_eq(r.top.seed, 2);
    cr_assert_null(r.top.run);
    cr_assert_eq(r.optimizer.lr, 2e-5);
    cr_assert_eq(r.data.train.count, 2);
    cr_assert_eq(r.data.train.source[1].weight, 0.5);
    ls_arena_free(r.arena);
}

Test(schema, the_resolved_text_reads_back_to_itself)
{
    recipe r, again;
    const char *text = GOOD "run: \"a: \\u00e9 #\\x01 null \\u2028\"\nseed: -9007199254740993\nshuffle: off\n"
                            "optimizer: {name: lion, lr: 0.1, betas: [0.1, 3e-1]}\n";
    cr_assert_eq(read_recipe(&r, text, NULL), LS_OK, "%s", ls_fail_sentence());
    char *resolved = ls_schema_write(&r.schema, LS_SCHEMA_ALL);
    cr_assert_eq(read_recipe(&again, resolved, NULL), LS_OK, "%s in\n%s", ls_fail_sentence(), resolved);
    cr_assert_str_eq(again.top.run, r.top.run);
    cr_assert_eq(again.top.seed, INT64_C(-9007199254740993));
    cr_assert_eq(memcmp(&again.optimizer, &r.optimizer, sizeof r.optimizer), 0);
    cr_assert_str_eq(ls_schema_write(&again.schema, LS_SCHEMA_ALL), resolved);
    ls_arena_free(r.arena);
    ls_arena_free(again.arena);
}

Test(schema, the_fixed_text_leaves_out_what_a_resume_may_change)
{
    recipe r;
    const char *override[] = {"every=7", "run=elsewhere", NULL};
    cr_assert_eq(read_recipe(&r, GOOD, override), LS_OK);
    cr_assert_str_eq(ls_schema_write(&r.schema, LS_SCHEMA_FIXED), "task: sft\n"
                                                                  "seed: 17\n"
                                                                  "shuffle: true\n"
                                                                  "optimizer:\n"
                                                                  "  name: adamw\n"
                                                                  "  lr: 0.001\n"
                                                                  "  betas: [0.9, 0.95]\n"
                                                                  "data:\n"
                                                                  "  train: [{path: shards/a, weight: 1}]\n"
                                                                  "  sizes: []\n");
    ls_arena_free(r.arena);
}

Test(schema, the_fixed_defaults_are_the_fixed_keys_left_as_they_were)
{
    recipe r;
    const char *override[] = {"every=7", "optimizer.lr=2e-5", "optimizer.betas=[0.9, 0.95]", "shuffle=false", NULL};
    cr_assert_eq(read_recipe(&r, GOOD, override), LS_OK);
    cr_assert_str_eq(ls_schema_write(&r.schema, LS_SCHEMA_FIXED_DEFAULTS), "seed: 17\n"
                                                                           "optimizer:\n"
                                                                           "  name: adamw\n"
                                                                           "  betas: [0.9, 0.95]\n"
                                                                           "data:\n"
                                                                           "  sizes: []\n");
    ls_arena_free(r.arena);
}

Test(schema, a_file_is_told_by_its_fault)
{
    ls_arena *arena;
    ls_yaml_node *root;
    cr_assert_eq(ls_arena_create(&arena, "test", 1 << 20), LS_OK);
    cr_assert_eq(ls_yaml_read(&root, "no/such/file.yaml", arena), LS_ENOTFOUND);
    cr_assert_str_eq(ls_fail_sentence(), "no/such/file.yaml: No such file or directory");
    cr_assert_eq(ls_yaml_read(&root, "/", arena), LS_EIO);
    cr_assert_str_eq(ls_fail_sentence(), "/: Is a directory");
    ls_arena_free(arena);
}
