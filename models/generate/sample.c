/* See sample.h. Sums are f64, in the order of the candidates: by id, or by falling probability where top-k or top-p
 * need them sorted. */
#include "models/generate/sample.h"

#include "base/math.h"

#include <math.h>
#include <stdlib.h>

static int32_t greatest(int64_t vocabulary, const float *logits)
{
    int32_t best = 0;
    for (int64_t i = 1; i < vocabulary; i++)
        if (logits[i] > logits[best] || (isnan(logits[best]) && !isnan(logits[i])))
            best = (int32_t)i;
    return best;
}

static int falling(const void *a, const void *b)
{
    const ls_candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1; /* no two are equal: the order is the same whatever the sort */
}

static double sum_of(const ls_candidate *candidate, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += candidate[i].p;
    return sum;
}

/* How many of the sorted candidates make up `share` of their sum (Holtzman et al. 2020); at least one. */
static int64_t nucleus(const ls_candidate *candidate, int64_t count, double share)
{
    double limit = share * sum_of(candidate, count), sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += candidate[i].p;
        if (sum >= limit)
            return i + 1;
    }
    return count;
}

int32_t ls_sample(const ls_generate_options *options, int64_t vocabulary, const float *logits, float uniform,
                  ls_candidate *candidate)
{
    int32_t best = greatest(vocabulary, logits);
    if (options->temperature <= 0 || !isfinite(logits[best]))
        return best;
    int64_t count = 0;
    for (int64_t i = 0; i < vocabulary; i++) {
        double p = ls_math_exp(((double)logits[i] - (double)logits[best]) / options->temperature);
        if (p > 0) /* not for NaN */
            candidate[count++] = (ls_candidate){logits[i], (int32_t)i, p};
    }
    bool top_k = options->top_k > 0 && options->top_k < count, top_p = options->top_p < 1;
    if (top_k || top_p)
        qsort(candidate, (size_t)count, sizeof *candidate, falling);
    if (top_k)
        count = options->top_k;
    if (top_p)
        count = nucleus(candidate, count, options->top_p);
    double left = (double)uniform * sum_of(candidate, count);
    for (int64_t i = 0; i < count - 1; i++) {
        left -= candidate[i].p;
        if (left < 0)
            return candidate[i].id;
    }
    return candidate[count - 1].id;
}
