/* `lockstep report`: a run, or several beside each other, as one page to read, print and keep. */
#include "launch/command.h"
#include "launch/report/page.h"
#include "train/run.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST_RUNS = 32 };

typedef struct {
    const char *run[MOST_RUNS], *output;
    int count;
} arguments;

static const struct argp_option options[] = {
    {"output", 'o', "FILE", 0, "Write FILE (RUN/report.html; of several runs ./report.html); - is the standard output",
     0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state)
{
    arguments *given = state->input;
    switch (key) {
    case 'o': given->output = value; return 0;
    case ARGP_KEY_ARG:
        if (given->count == MOST_RUNS)
            argp_error(state, "at most %d runs on one page: %s", MOST_RUNS, value);
        given->run[given->count++] = value;
        return 0;
    case ARGP_KEY_END:
        if (!given->count)
            argp_error(state, "which run? Name the folder that `run:` names in the recipe");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "RUN...",
    .doc = "Writes what the run folder RUN tells as one HTML page: state, curves, events, stalls, samples, machine and "
           "recipe. The page "
           "loads nothing and works from a mail, without scripts, on paper and on a phone. Several runs are compared: "
           "curves over each "
           "other, and the keys in which their recipes differ.\v"
           "A run may go on meanwhile; its files are only read. Write the page again for newer numbers.\n"
           "Examples:\n"
           "  lockstep report runs/first\n"
           "  lockstep report runs/lr-* -o compare.html\n",
};

static ls_status make_page(const ls_report_run *runs, int count, char **text, size_t *bytes)
{
    FILE *out = open_memstream(text, bytes);
    if (!out)
        return ls_fail(LS_EMEM, "no memory for the page");
    ls_status status = ls_report_page(out, runs, count, (int64_t)time(NULL));
    if (fclose(out) != 0 && status == LS_OK)
        status = ls_fail(LS_EMEM, "no memory for the page");
    return status;
}

static ls_status write_page(const arguments *given, const char *text, size_t bytes)
{
    char path[4096];
    if (given->output && !strcmp(given->output, "-"))
        return fwrite(text, 1, bytes, stdout) == bytes && fflush(stdout) == 0
                   ? LS_OK
                   : ls_fail(LS_EIO, "the standard output could not be written");
    snprintf(path, sizeof path, "%s%s",
             given->output       ? given->output
             : given->count == 1 ? given->run[0]
                                 : "report.html",
             !given->output && given->count == 1 ? "/report.html" : "");
    const ls_status status = ls_run_write_file(path, text, bytes);
    if (status == LS_OK)
        printf("%s: %d run(s), %.0f KB; opens in any browser, without a network\n", path, given->count,
               1e-3 * (double)bytes);
    return status;
}

static int run(int argc, char **argv)
{
    arguments given = {0};
    argp_parse(&parser, argc, argv, 0, NULL, &given);
    ls_report_run *runs = calloc((size_t)given.count, sizeof *runs);
    char *text = NULL;
    size_t bytes = 0;
    ls_status status = runs ? LS_OK : ls_fail(LS_EMEM, "no memory for %d runs", given.count);
    for (int i = 0; i < given.count && status == LS_OK; i++)
        status = ls_report_read(&runs[i], given.run[i]);
    if (status == LS_OK)
        status = ls_report_names(runs, given.count);
    if (status == LS_OK)
        status = make_page(runs, given.count, &text, &bytes);
    if (status == LS_OK)
        status = write_page(&given, text, bytes);
    for (int i = 0; i < given.count && runs; i++)
        ls_report_free(&runs[i]);
    free(runs);
    free(text);
    return ls_command_failed("report", status);
}

const ls_command ls_command_report = {"report", "write a run, or several, as one HTML page", run};
