/* See rope.h. */
#include "models/rope.h"

#include "base/math.h"

#include <stdlib.h>

enum { NONE, LINEAR, LLAMA3 }; /* model.rope_scaling */

void ls_rope_resolve(ls_transformer_options *o)
{
    o->rope_base = o->rope_base > 0 ? o->rope_base : 10000;
    o->rope_factor = o->rope_factor > 0 ? o->rope_factor : 1;
    o->rope_low_freq_factor = o->rope_low_freq_factor > 0 ? o->rope_low_freq_factor : 1;
    o->rope_high_freq_factor = o->rope_high_freq_factor > 0 ? o->rope_high_freq_factor : 4;
    o->rope_original_context = o->rope_original_context ? o->rope_original_context : 8192;
}

ls_status ls_rope_check(const ls_transformer_options *o)
{
    if (o->rope_scaling == LLAMA3 && !(o->rope_high_freq_factor > o->rope_low_freq_factor))
        return ls_fail(LS_ERECIPE,
                       "model.rope_high_freq_factor is %g, it must be above model.rope_low_freq_factor = %g",
                       o->rope_high_freq_factor, o->rope_low_freq_factor);
    return LS_OK;
}

static double scaled(const ls_transformer_options *o, double f)
{
    const double pi = 3.14159265358979323846, wave = 2 * pi / f, whole = (double)o->rope_original_context;
    const double low = o->rope_low_freq_factor, high = o->rope_high_freq_factor, slow = f / o->rope_factor;
    if (o->rope_scaling == NONE || (o->rope_scaling == LLAMA3 && wave < whole / high))
        return f;
    if (o->rope_scaling == LINEAR || wave > whole / low)
        return slow;
    const double share = (whole / wave - low) / (high - low);
    return (1 - share) * slow + share * f;
}

ls_status ls_rope_frequencies(const ls_transformer_options *o, double **frequency)
{
    const int64_t pairs = o->head_width / 2;
    *frequency = malloc((size_t)pairs * sizeof **frequency + 1);
    if (!*frequency)
        return ls_fail(LS_EMEM, "no memory for %lld rotary frequencies", (long long)pairs);
    for (int64_t j = 0; j < pairs; j++)
        (*frequency)[j] = scaled(o, ls_math_pow(o->rope_base, (double)(-2 * j) / (double)o->head_width));
    return LS_OK;
}
