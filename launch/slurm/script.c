/* Filling templates in, line by line. See script.h. */
#include "launch/slurm/script.h"
#include "launch/slurm/embedded.h"

#include <string.h>

static const struct {
    const char *name, *text;
} templates[] = {
    {"single-node", ls_slurm_single_node},
    {"many-nodes", ls_slurm_many_nodes},
    {"preemptible", ls_slurm_preemptible},
    {"seeds", ls_slurm_seeds},
};
enum { TEMPLATES = sizeof templates / sizeof *templates, MAX_OPTIONS = 64 };

static const char directive[] = "#SBATCH --", usage[] = ": \"${1:?usage", command[] = "lockstep=${LOCKSTEP:-lockstep}";

ls_status ls_slurm_template(const char *name, const char **text)
{
    char names[256];
    size_t used = 0;
    for (int t = 0; t < TEMPLATES; t++) {
        if (!strcmp(templates[t].name, name)) {
            *text = templates[t].text;
            return LS_OK;
        }
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", t ? ", " : "", templates[t].name);
    }
    return ls_fail(LS_EARG, "no template \"%s\"; one of: %s", name, names);
}

/* As one word for the shell. */
static void quote(const char *word, FILE *out)
{
    fputc('\'', out);
    for (; *word; word++)
        fputs(*word == '\'' ? "'\\''" : (char[]){*word, '\0'}, out);
    fputc('\'', out);
}

static void write_option(const ls_slurm_option *option, FILE *out)
{
    fprintf(out, "%s%s%s%s\n", directive, option->key, option->value ? "=" : "", option->value ? option->value : "");
}

/* The option that an #SBATCH line sets, -1: none of ours. */
static int find(const ls_slurm_script *script, const char *line)
{
    if (strncmp(line, directive, sizeof directive - 1))
        return -1;
    line += sizeof directive - 1;
    const size_t bytes = strcspn(line, "=\n ");
    for (int i = script->options - 1; i >= 0; i--) /* the last word wins */
        if (strlen(script->option[i].key) == bytes && !strncmp(script->option[i].key, line, bytes))
            return i;
    return -1;
}

/* Where the template asks for its arguments: first what no line of it has set, then the arguments. */
static void write_words(const ls_slurm_script *script, const bool *written, FILE *out)
{
    for (int i = 0; i < script->options; i++)
        if (!written[i])
            write_option(&script->option[i], out);
    fputs("set --", out);
    for (int i = 0; i < script->words; i++) {
        fputc(' ', out);
        quote(script->word[i], out);
    }
    fputs(" \"$@\"\n", out);
}

ls_status ls_slurm_script_write(const ls_slurm_script *script, const char *text, FILE *out)
{
    bool written[MAX_OPTIONS] = {false};
    if (script->options > MAX_OPTIONS)
        return ls_fail(LS_EARG, "%d options for sbatch; at most %d", script->options, MAX_OPTIONS);
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
        const int option = find(script, line);
        if (option >= 0) {
            if (!written[option])
                write_option(&script->option[option], out);
            for (int i = 0; i < script->options; i++)
                written[i] |= !strcmp(script->option[i].key, script->option[option].key);
        } else if (!strncmp(line, usage, sizeof usage - 1)) {
            write_words(script, written, out);
        } else if (!strncmp(line, command, sizeof command - 1)) {
            fputs("lockstep=${LOCKSTEP:-", out);
            quote(script->executable, out);
            fputs("}\n", out);
        } else {
            fprintf(out, "%.*s\n", (int)strcspn(line, "\n"), line);
        }
    }
    return ferror(out) ? ls_fail(LS_EIO, "the job script cannot be written") : LS_OK;
}
