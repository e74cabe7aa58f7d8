/* Job scripts: what is filled into a template, and that the shell reads back what was put in. */
#include "launch/slurm/script.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static char *fill(const char *name, const ls_slurm_script *script)
{
    const char *template;
    char *text = NULL;
    size_t bytes;
    cr_assert_eq(ls_slurm_template(name, &template), LS_OK, "%s", ls_fail_sentence());
    FILE *out = open_memstream(&text, &bytes);
    cr_assert_eq(ls_slurm_script_write(script, template, out), LS_OK, "%s", ls_fail_sentence());
    fclose(out);
    return text;
}

static int count(const char *text, const char *word)
{
    int found = 0;
    for (; (text = strstr(text, word)); text++)
        found++;
    return found;
}

Test(script, options_replace_those_of_the_template_and_the_rest_is_added)
{
    const ls_slurm_option options[] = {{"nodes", "3"}, {"partition", "first"}, {"partition", "long"}, {"exclusive", NULL}, {"nodes", "7"}};
    char *word[] = {"my.yaml"};
    const ls_slurm_script script = {.executable = "/bin/lockstep", .options = 5, .option = options, .words = 1, .word = word};
    char *text = fill("many-nodes", &script);
    cr_assert(strstr(text, "\n#SBATCH --nodes=7\n") && count(text, "--nodes=") == 1, "%s", text);
    cr_assert(strstr(text, "\n#SBATCH --exclusive\n") && strstr(text, "\n#SBATCH --partition=long\n"), "%s", text);
    cr_assert(strstr(text, "\n#SBATCH --requeue\n") && strstr(text, "\n#SBATCH --ntasks-per-node=4\n"), "what nobody named is kept: %s", text);
    /* sbatch reads no option behind the first command */
    cr_assert_lt(strstr(text, "--partition=long"), strstr(text, "\nset --"), "%s", text);
    free(text);
}

Test(script, the_shell_gets_the_words_back)
{
    char *word[] = {"dir with space/it's.yaml", "run=a$HOME`b`", "data.train=[\"a\", 'b']"};
    const ls_slurm_script script = {.executable = "/opt/x y/lockstep", .words = 3, .word = word};
    char *text = fill("single-node", &script), line[512];
    const char *from = strstr(text, "\nset --");
    cr_assert(from && !strstr(text, "usage: sbatch single-node.sbatch RECIPE [KEY.PATH=VALUE...]}"), "%s", text);
    FILE *out = fopen("words.sh", "w");
    fprintf(out, "%s\n", "srun() { for word; do :; done; printf '%s\\n' \"${@: -5}\"; }; unset LOCKSTEP");
    /* up to the end of the srun command */
    fprintf(out, "%.*s\n", (int)(strstr(text, "# 75") - from), from);
    fclose(out);
    FILE *read = popen("bash words.sh", "r");
    const char *want[] = {"/opt/x y/lockstep", "train", word[0], word[1], word[2]};
    for (int i = 0; i < 5; i++) {
        cr_assert_not_null(fgets(line, sizeof line, read));
        line[strcspn(line, "\n")] = '\0';
        cr_assert_str_eq(line, want[i]);
    }
    cr_assert_eq(pclose(read), 0);
    remove("words.sh");
    free(text);
}

Test(script, every_template_is_good_for_bash_and_an_unknown_one_is_told)
{
    char *word[] = {"my.yaml"};
    const char *names[] = {"single-node", "many-nodes", "preemptible", "seeds"}, *none;
    const ls_slurm_script script = {.executable = "lockstep", .words = 1, .word = word};
    for (int i = 0; i < 4; i++) {
        char *text = fill(names[i], &script);
        FILE *bash = popen("bash -n", "w");
        fputs(text, bash);
        cr_assert_eq(pclose(bash), 0, "%s: %s", names[i], text);
        cr_assert(strstr(text, "set -- 'my.yaml' \"$@\"") && strstr(text, "lockstep=${LOCKSTEP:-'lockstep'}"), "%s: %s", names[i], text);
        free(text);
    }
    cr_assert_eq(ls_slurm_template("many", &none), LS_EARG);
    cr_assert(strstr(ls_fail_sentence(), "single-node, many-nodes"), "%s", ls_fail_sentence());
}
