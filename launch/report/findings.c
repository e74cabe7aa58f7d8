/* See findings.h. Thresholds are stated in the sentences, so that a reader can disagree. */
#include "launch/report/findings.h"

#include "launch/report/html.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *word;
    ls_finding_level level;
} states[] = {
    [LS_RUN_EMPTY] = {"not begun", LS_FINDING_LOOK},
    [LS_RUN_FINISHED] = {"finished", LS_FINDING_GOOD},
    [LS_RUN_EARLY_END] = {"stopped early", LS_FINDING_GOOD},
    [LS_RUN_RUNNING] = {"running", LS_FINDING_GOOD},
    [LS_RUN_FAILED] = {"failed", LS_FINDING_BAD},
    [LS_RUN_STOPPED] = {"stopped", LS_FINDING_LOOK},
    [LS_RUN_CUT] = {"cut off", LS_FINDING_BAD},
};

const char *ls_report_state_word(const ls_report_run *run)
{
    return states[run->state].word;
}

ls_finding_level ls_report_state_level(const ls_report_run *run)
{
    return states[run->state].level;
}

const ls_report_series *ls_report_rate(const ls_report_run *run)
{
    const ls_report_series *tokens = ls_report_find(run, "tokens_per_second");
    return tokens ? tokens : ls_report_find(run, "images_per_second");
}

const ls_report_series *ls_report_held_out(const ls_report_run *run)
{
    return ls_report_find(run, "eval_loss");
}

/* The last fault that ended something. */
static const ls_report_event *last_fault(const ls_report_run *run)
{
    const ls_report_event *fault = NULL;
    for (int64_t i = 0; i < run->events; i++)
        if (run->event[i].level == LS_EVENT_ERROR && !strstr(run->event[i].text, "Training goes on"))
            fault = &run->event[i];
    return fault;
}

static void time_left(FILE *out, const ls_report_run *run)
{
    char left[32];
    const double median = ls_report_median(ls_report_find(run, "seconds"));
    const int64_t to_go = run->goal - ls_report_last_step(run);
    if (!run->goal || isnan(median) || to_go <= 0)
        return;
    ls_html_duration(median * (double)to_go, left);
    fprintf(out, " About %s to go, evaluations and saves not counted.", left);
}

void ls_report_state_sentence(FILE *out, const ls_report_run *run)
{
    const int64_t step = ls_report_last_step(run);
    const ls_report_event *fault = last_fault(run);
    char goal[32] = "";
    if (run->goal)
        snprintf(goal, sizeof goal, " of %lld", (long long)run->goal);
    switch (run->state) {
    case LS_RUN_EMPTY: fputs("No step has been written yet.", out); return;
    case LS_RUN_FINISHED: fprintf(out, "All %lld steps are done.", (long long)step); return;
    case LS_RUN_EARLY_END:
        fprintf(out, "Ended after step %lld%s: no evaluation was better for early_stop.patience of them.",
                (long long)step, goal);
        return;
    case LS_RUN_RUNNING:
        fprintf(out, "At step %lld%s when this page was written.", (long long)step, goal);
        time_left(out, run);
        return;
    case LS_RUN_STOPPED:
        fprintf(out, "Stopped after step %lld%s, with a checkpoint of that step. The same command goes on from it.",
                (long long)step, goal);
        return;
    case LS_RUN_FAILED: fprintf(out, "Failed after step %lld%s", (long long)step, goal); break;
    case LS_RUN_CUT:
        fprintf(out,
                "Nothing is running, and step %lld%s was the last one written; the logs say no reason (killed, or out "
                "of memory?)",
                (long long)step, goal);
        break;
    }
    if (run->state == LS_RUN_FAILED && fault) {
        fputs(": <q>", out);
        ls_html_text(out, fault->text);
        fputs("</q>", out);
    }
    if (run->checkpoint_step >= 0)
        fprintf(out, ". The newest checkpoint is of step %lld: the same command goes on from there.",
                (long long)run->checkpoint_step);
    else
        fputs(". There is no checkpoint: the same command starts anew.", out);
}

/* ---- findings ---- */

static const char *const level_class[] = {"good", "look", "bad"}, *const level_word[] = {"good", "look at", "wrong"};

__attribute__((format(printf, 3, 4))) static void say(FILE *out, ls_finding_level level, const char *format, ...)
{
    va_list args;
    fprintf(out, "<li class=\"%s\"><b>%s</b> ", level_class[level], level_word[level]);
    va_start(args, format);
    vfprintf(out, format, args);
    va_end(args);
    fputs("</li>\n", out);
}

static int no_numbers(FILE *out, const ls_report_run *run)
{
    int told = 0;
    for (int i = 0; i < run->series_count; i++) {
        const ls_report_series *series = &run->series[i];
        if (!series->not_finite)
            continue;
        fputs("<li class=\"bad\"><b>wrong</b> <code>", out);
        ls_html_text(out, series->name);
        fprintf(out,
                "</code> was not a finite number at %lld steps, first at step %lld. The last checkpoint before it is "
                "sound; lower optimizer.lr, or look at that step's data.</li>\n",
                (long long)series->not_finite, (long long)series->first_not_finite);
        told++;
    }
    return told;
}

static int repeated_steps(FILE *out, const ls_report_run *run)
{
    if (run->parted) {
        say(out, LS_FINDING_BAD,
            "%lld of the numbers of steps that were done again after a resume differ from the first time, first at "
            "step %lld. lockstep promises equal bits on one numerics id: "
            "compare the ids below; if they are equal, <code>lockstep prove</code> the recipe and report it.",
            (long long)run->parted, (long long)run->first_parted_step);
        return 1;
    }
    if (run->redone) {
        say(out, LS_FINDING_GOOD,
            "%lld steps were done again after a resume: loss and gradient norm are equal to the last digit.",
            (long long)run->redone);
        return 1;
    }
    return 0;
}

static int waiting(FILE *out, const ls_report_run *run)
{
    const double all = ls_report_sum(ls_report_find(run, "seconds"));
    const double data = ls_report_sum(ls_report_find(run, "data_stall_seconds")),
                 ranks = ls_report_sum(ls_report_find(run, "communication_seconds"));
    int told = 0;
    if (all > 0 && data > 0.05 * all) {
        say(out, LS_FINDING_LOOK,
            "%.0f%% of the time of the steps went into waiting for data (more than 5%%): raise data.ahead, or put the "
            "shards on a faster disk.",
            100 * data / all);
        told++;
    }
    if (all > 0 && ranks > 0.25 * all) {
        say(out, LS_FINDING_LOOK,
            "%.0f%% of the time of the steps went into waiting for other ranks (more than 25%%): one rank is slower "
            "than the others, or grains are few for that many ranks.",
            100 * ranks / all);
        told++;
    }
    return told;
}

static int held_out_rises(FILE *out, const ls_report_run *run)
{
    const ls_report_series *held = ls_report_held_out(run);
    int64_t at = 0;
    char least[32], last[32];
    if (!held || held->count < 4)
        return 0;
    const double best = ls_report_least(held, &at), now = ls_report_last(held);
    const int64_t end = held->step[held->count - 1];
    if (!(now > best + 0.01 * fabs(best)) || at > end - (end - held->step[0]) / 5)
        return 0;
    ls_html_number(best, least);
    ls_html_number(now, last);
    say(out, LS_FINDING_LOOK,
        "The held-out loss was least at step %lld (%s) and is %s now: it has risen by more than 1%% for the last fifth "
        "of the run or longer.",
        (long long)at, least, last);
    return 1;
}

static int norm_jumps(FILE *out, const ls_report_run *run)
{
    const ls_report_series *norm = ls_report_find(run, "grad_norm");
    const double median = ls_report_median(norm);
    int64_t jumps = 0, first = 0;
    char text[32];
    for (int64_t i = 0; norm && i < norm->count; i++)
        if (median > 0 && norm->value[i] > 10 * median && jumps++ == 0)
            first = norm->step[i];
    if (!jumps)
        return 0;
    ls_html_number(median, text);
    say(out, LS_FINDING_LOOK,
        "The gradient norm was more than ten times its median (%s) at %lld steps, first at step %lld.", text,
        (long long)jumps, (long long)first);
    return 1;
}

static int files(FILE *out, const ls_report_run *run)
{
    if (!run->bad_lines)
        return 0;
    const bool only_last = run->bad_lines == 1 && run->cut_line && run->first_bad_line == run->lines;
    if (only_last)
        say(out, LS_FINDING_LOOK, "The last line of metrics.jsonl is cut: it is being written, or the run died in it.");
    else
        say(out, LS_FINDING_LOOK, "%lld lines of metrics.jsonl could not be read, first line %lld; they are left out.",
            (long long)run->bad_lines, (long long)run->first_bad_line);
    return 1;
}

static int told_by_logs(FILE *out, const ls_report_run *run)
{
    if (!run->warnings && !run->errors)
        return 0;
    say(out, run->errors ? LS_FINDING_BAD : LS_FINDING_LOOK,
        "Errors in the logs: %lld, warnings: %lld; see <a href=\"#events\">events</a>.", (long long)run->errors,
        (long long)run->warnings);
    return 1;
}

int ls_report_findings(FILE *out, const ls_report_run *run)
{
    int told = no_numbers(out, run);
    if (run->errors)
        told += told_by_logs(out, run);
    if (run->parted)
        told += repeated_steps(out, run);
    told += held_out_rises(out, run) + norm_jumps(out, run) + waiting(out, run) + files(out, run);
    if (!run->errors)
        told += told_by_logs(out, run);
    if (!run->parted)
        told += repeated_steps(out, run);
    return told;
}
