/* See held_out.h. */
#include "train/held_out.h"

#include "train/ema.h"

#include <stdio.h>
#include <string.h>

/* The loss and the measures. */
static int kinds(const ls_run *run)
{
    const ls_measure *measures = run->config->task->measures;
    const int most = run->config->task->held_out_measures;
    int count = 1;
    while (measures && measures[count - 1].name && (!most || count <= most))
        count++;
    return count;
}

int ls_held_out_count(const ls_run *run)
{
    return kinds(run) * (ls_ema_is_evaluated(&run->ema) ? 2 : 1);
}

const char *ls_held_out_label(const ls_run *run, int i)
{
    const int kind = i % kinds(run);
    return kind ? run->config->task->measures[kind - 1].name : "loss";
}

bool ls_held_out_is_averaged(const ls_run *run, int i)
{
    return i >= kinds(run);
}

void ls_held_out_name(const ls_run *run, int i, char name[LS_HELD_OUT_NAME])
{
    snprintf(name, LS_HELD_OUT_NAME, "eval_%.50s%s", ls_held_out_label(run, i),
             ls_held_out_is_averaged(run, i) ? "_ema" : "");
}

double ls_held_out_value(const ls_run *run, int i)
{
    const ls_evaluation *of = ls_held_out_is_averaged(run, i) ? &run->averaged : &run->evaluation;
    const int kind = i % kinds(run);
    if (!kind)
        return of->loss;
    if (of->counted <= 0)
        return 0;
    const ls_measure *measure = &run->config->task->measures[kind - 1];
    return measure->value ? measure->value(of->sums, of->counted) : of->sums[kind - 1] / (double)of->counted;
}

bool ls_held_out_higher_is_better(const ls_run *run, int i)
{
    const int kind = i % kinds(run);
    return kind && run->config->task->measures[kind - 1].higher_is_better;
}

ls_status ls_held_out_find(const ls_run *run, const char *key, const char *name, int *i)
{
    char known[LS_HELD_OUT_NAME], list[1024] = "";
    size_t used = 0;
    for (*i = 0; *i < ls_held_out_count(run); ++*i) {
        ls_held_out_name(run, *i, known);
        if (strcmp(name, known) == 0 || strcmp(name, known + strlen("eval_")) == 0)
            return LS_OK;
        if (used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", known);
    }
    const bool off = strstr(name, "_ema") && !ls_ema_is_evaluated(&run->ema);
    return ls_fail(LS_ERECIPE, "%s: no number \"%s\" comes out of this recipe's evaluations; there are: %s%s", key,
                   name, list, off ? " (those of averaged weights come with ema.decay and ema.evaluate)" : "");
}
