/* Learning-rate schedules and clipping.
 *     warm-up   lr (t + 1) / warmup                                   t < warmup
 *     linear    lr (1 - (1 - m) x)                                    x = (t - warmup) / (end - warmup), m = min_lr_ratio
 *     cosine    lr (m + (1 - m) (1 + cos(pi x)) / 2)                  Loshchilov & Hutter 2017, without restarts
 *     wsd       lr, then linear to m lr over the last decay steps     Hu et al. 2024 (MiniCPM), linear decay
 * In doubles on the host, once a step; cos is libm's, the one place where its bits reach a result: the learning rate
 * is rounded to f32 before use, so a last-digit difference between libm versions does not show. */
#include "train/optimizer.h"

#include <math.h>

static double decayed(const ls_optimizer_options *options, double x)
{
    const double low = options->min_lr_ratio;
    const double kept = fmin(1, fmax(0, x));
    switch (options->schedule) {
    case 1: return 1 - (1 - low) * kept;
    case 2: return low + (1 - low) * 0.5 * (1 + cos(3.14159265358979323846 * kept));
    default: return 1;
    }
}

double ls_learning_rate(const ls_optimizer_options *options, int64_t step, int64_t steps)
{
    double factor;
    if (step < options->warmup) {
        factor = (double)(step + 1) / (double)options->warmup;
    } else if (options->schedule == 3) {
        const int64_t decay = options->decay_steps ? options->decay_steps : (steps + 9) / 10;
        const double x = (double)(step - (steps - decay)) / (double)(decay ? decay : 1);
        factor = 1 - (1 - options->min_lr_ratio) * fmin(1, fmax(0, x));
    } else {
        const int64_t end = options->decay_steps ? options->decay_steps : steps;
        const int64_t length = end - options->warmup;
        factor = decayed(options, length > 0 ? (double)(step - options->warmup) / (double)length : 1);
    }
    return (double)(float)(options->lr * factor);
}

double ls_clip_scale(double norm, double clip_norm)
{
    const double scale = clip_norm / (norm + 1e-6);
    return clip_norm > 0 && scale < 1 ? scale : 1;
}
