/* The command from outside: exit codes, where its lines go, and what they say. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* Runs `lockstep ARGUMENTS`; its exit code. `text` gets stdout, or stderr with errors. */
static int lockstep(const char *arguments, bool errors, char text[65536])
{
    char line[8192];
    snprintf(line, sizeof line, "%s/launch/lockstep %s %s", getenv("LS_BUILD"), arguments, errors ? "2>&1 >/dev/null" : "2>/dev/null");
    FILE *pipe = popen(line, "r");
    cr_assert_not_null(pipe);
    size_t bytes = fread(text, 1, 65535, pipe);
    text[bytes] = '\0';
    int how = pclose(pipe);
    return WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
}

static char text[65536];

Test(lockstep, help_and_version_go_to_stdout)
{
    static const char *const asked[] = {"--help", "help", "--version", "train --help", "help train", "prove --help",
                                        "generate --help", "eval --help", "recipes --help", "launch --help",
                                        "launch mpirun --help", "launch slurm --help", "doctor --help", "train --usage", "train --version"};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        cr_expect_eq(lockstep(asked[i], false, text), 0, "%s", asked[i]);
        cr_expect(*text, "%s", asked[i]);
        lockstep(asked[i], true, text);
        cr_expect(!*text, "%s: %s", asked[i], text);
    }
    lockstep("--version", false, text);
    cr_expect(!strncmp(text, "lockstep ", 9), "%s", text);
    lockstep("train --help", false, text);
    cr_expect(strstr(text, "optimizer.lr="), "every key is there");
}

Test(lockstep, bad_usage_is_2_with_a_sentence_on_stderr)
{
    static const struct {
        const char *arguments, *sentence;
    } rows[] = {
        {"", "Usage: lockstep COMMAND"},
        {"trian", "lockstep: no command \"trian\"; did you mean \"train\"?"},
        {"help prov", "did you mean \"prove\"?"},
        {"train", "lockstep train: which recipe?"},
        {"train --dry-rnu x", "lockstep train: unrecognized option"},
        {"train gsm8k-sft optimizer.lrr=1", "lockstep train: command line: optimizer.lrr=1: no such key; nearest: optimizer.lr"},
        {"train gsm8k-sft seed", "lockstep train: command line: seed: not of the form key.path=value"},
        {"prove", "lockstep prove: which recipe?"},
        {"prove x --ranks 0", "lockstep prove: 0: expected up to 16 whole numbers"},
        {"prove x --steps none", "lockstep prove: --steps=none: expected a whole number of at least 1"},
        {"prove gsm8k-sft batch.grain=no", "lockstep prove: command line: batch.grain=no: expected a whole number"},
        {"generate", "lockstep generate: which model?"},
        {"generate x --top-p 2", "lockstep generate: --top-p=2: expected a number in [0, 1]"},
        {"eval x", "lockstep eval: evaluate on what?"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cr_expect_eq(lockstep(rows[i].arguments, true, text), 2, "%s: %s", rows[i].arguments, text);
        cr_expect(strstr(text, rows[i].sentence), "%s: %s", rows[i].arguments, text);
    }
}

Test(lockstep, what_is_not_there_is_1)
{
    static const struct {
        const char *arguments, *sentence;
    } rows[] = {
        {"train no-such-recipe", "lockstep train: no-such-recipe: no such file and no such shipped recipe"},
        {"train no/such.yaml", "lockstep train: no/such.yaml: No such file or directory"},
        {"recipes gsm8k-stf", "nearest shipped recipe: gsm8k-sft"},
        {"generate /no/such/run", "lockstep generate: /no/such/run: no recipe.yaml in it"},
        {"eval /no/such/run --nll x", "lockstep eval: /no/such/run: no recipe.yaml in it"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cr_expect_eq(lockstep(rows[i].arguments, true, text), 1, "%s: %s", rows[i].arguments, text);
        cr_expect(strstr(text, rows[i].sentence), "%s: %s", rows[i].arguments, text);
    }
}

Test(lockstep, recipes_are_listed_and_printed)
{
    cr_assert_eq(lockstep("recipes", false, text), 0);
    cr_assert(strstr(text, "gsm8k-sft "), "%s", text);
    cr_assert_eq(lockstep("recipes gsm8k-sft", false, text), 0);
    cr_assert(strstr(text, "\ntask: sft\n"), "%s", text);
    cr_assert_eq(lockstep("recipes --tasks", false, text), 0);
    cr_assert(strstr(text, "pretrain ") && strstr(text, "sft "), "%s", text);
}
