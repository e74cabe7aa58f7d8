/* See loss_scale.h. */
#include "train/loss_scale.h"

#include "base/log.h"

#include <math.h>

enum { START = 65536, INTERVAL = 2000 }; /* the defaults of train/options.c */
static const double most = 0x1p32;

static bool is_power_of_two(double x)
{
    int exponent;
    return frexp(x, &exponent) == 0.5;
}

ls_status ls_loss_scale_open(ls_run *run)
{
    const ls_loss_scale_options *options = &run->config->loss_scale;
    run->loss_scale = (ls_loss_scale){.scale = 1};
    if (run->flat.compute != LS_F16)
        return options->start == START && options->min == 1 && options->growth_interval == INTERVAL
                   ? LS_OK
                   : ls_fail(LS_ERECIPE, "loss_scale is set, but precision is %s: only gradients of fp16 are scaled; leave it out, or say precision: fp16", ls_type_name(run->flat.compute));
    if (!is_power_of_two(options->start) || !is_power_of_two(options->min))
        return ls_fail(LS_ERECIPE, "loss_scale.start is %g and loss_scale.min %g: both must be powers of two, so that gradients can be scaled back exactly", options->start, options->min);
    if (options->min > options->start)
        return ls_fail(LS_ERECIPE, "loss_scale.min is %g, above loss_scale.start, which is %g", options->min, options->start);
    run->loss_scale.scale = options->start;
    return LS_OK;
}

ls_status ls_loss_scale_state(ls_run *run, ls_state_tree *tree)
{
    ls_loss_scale *scale = &run->loss_scale;
    if (run->flat.compute != LS_F16)
        return LS_OK;
    ls_status status = ls_state_add_f64(tree, "loss_scale/scale", 0, &scale->scale);
    if (status == LS_OK)
        status = ls_state_add_i64(tree, "loss_scale/good_steps", 0, &scale->good_steps);
    return status == LS_OK ? ls_state_add_i64(tree, "loss_scale/skipped", 0, &scale->skipped) : status;
}

double ls_loss_scale_seed(const ls_run *run, double denominator)
{
    return run->loss_scale.scale / denominator;
}

bool ls_loss_scale_overflows(ls_run *run, double loss, double grad_norm)
{
    ls_loss_scale *scale = &run->loss_scale;
    const double halved = scale->scale / 2;
    if (run->flat.compute != LS_F16 || !isfinite(loss) || isfinite(grad_norm) || halved < run->config->loss_scale.min)
        return false;
    if (run->rank == 0)
        ls_log_write(LS_LOG_INFO, "train", "step %lld is skipped: gradients overflow with loss scale %.0f, which is now %.0f; the weights stay as they were",
                     (long long)run->step + 1, scale->scale, halved);
    scale->scale = halved;
    scale->good_steps = 0;
    scale->skipped++;
    return true;
}

void ls_loss_scale_advance(ls_run *run)
{
    ls_loss_scale *scale = &run->loss_scale;
    const int64_t interval = run->config->loss_scale.growth_interval;
    if (run->flat.compute != LS_F16 || interval <= 0 || ++scale->good_steps < interval)
        return;
    scale->good_steps = 0;
    if (scale->scale < most)
        scale->scale *= 2;
}
