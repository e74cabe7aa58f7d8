/* See best.h. */
#include "train/best.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

ls_status ls_best_watch(ls_best *best, const ls_run *run, const char *key, const char *name, double min_delta)
{
    *best = (ls_best){.number = -1, .min_delta = min_delta};
    if (!name)
        return LS_OK;
    if (!run->eval_data)
        return ls_fail(LS_ERECIPE, "%s watches %s, but there is no held-out data to take it of: set data.eval", key,
                       name);
    ls_status status = ls_held_out_find(run, key, name, &best->number);
    if (status == LS_OK)
        ls_held_out_name(run, best->number, best->metric);
    return status;
}

ls_status ls_best_state(ls_best *best, ls_state_tree *tree, const char *prefix)
{
    char name[64];
    snprintf(name, sizeof name, "%s/metric", prefix);
    const ls_state_entry metric = {.name = name,
                                   .kind = LS_STATE_TASK,
                                   .type = LS_U8,
                                   .flags = LS_STATE_REPLICATED,
                                   .ndim = 1,
                                   .shape = {sizeof best->metric},
                                   .held = sizeof best->metric,
                                   .data = best->metric};
    ls_status status = ls_state_add(tree, &metric);
    snprintf(name, sizeof name, "%s/value", prefix);
    if (status == LS_OK)
        status = ls_state_add_f64(tree, name, 0, &best->value);
    snprintf(name, sizeof name, "%s/step", prefix);
    if (status == LS_OK)
        status = ls_state_add_i64(tree, name, 0, &best->step);
    snprintf(name, sizeof name, "%s/since", prefix);
    if (status == LS_OK)
        status = ls_state_add_i64(tree, name, 0, &best->since);
    return status;
}

void ls_best_resumed(ls_best *best, const ls_run *run, const char *key)
{
    char watched[LS_HELD_OUT_NAME] = "";
    best->metric[sizeof best->metric - 1] = '\0'; /* it came from outside */
    if (best->number < 0)
        return;
    ls_held_out_name(run, best->number, watched);
    if (strcmp(best->metric, watched) == 0)
        return;
    if (best->metric[0] && run->rank == 0)
        ls_log_write(LS_LOG_WARN, "train", "%s was %s and is %s now: the best one is looked for anew from step %lld on",
                     key, best->metric, watched, (long long)run->step);
    *best = (ls_best){.number = best->number, .min_delta = best->min_delta};
    memcpy(best->metric, watched, sizeof watched);
}

bool ls_best_update(ls_best *best, const ls_run *run)
{
    if (best->number < 0 || run->step == 0)
        return false;
    const double value = ls_held_out_value(run, best->number);
    const bool higher = ls_held_out_higher_is_better(run, best->number);
    const bool better = higher ? value > best->value + best->min_delta : value < best->value - best->min_delta;
    if (!better && (best->step || value != value)) {
        best->since++;
        return false;
    }
    best->value = value;
    best->step = run->step;
    best->since = 0;
    return true;
}

bool ls_patience_has_ended(const ls_run *run)
{
    const int64_t patience = run->config->early_stop.patience;
    return patience > 0 && run->patience.number >= 0 && run->patience.since >= patience;
}
