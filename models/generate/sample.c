/* See sample.h. Sums are f64, in the order of the candidates: by id, or by falling probability where top-k or top-p
 * take them so. Of a large vocabulary only the few likeliest are ever put in order: they come off a heap. */
#include "models/generate/sample.h"

#include "base/math.h"

#include <math.h>

/* Candidates less likely than e^LEAST times the likeliest are left out: `uniform` has 24 bits and cannot tell. */
#define LEAST (-46.0)

static int32_t greatest(int64_t vocabulary, const float *logits)
{
    int32_t best = 0;
    for (int64_t i = 1; i < vocabulary; i++)
        if (logits[i] > logits[best] || (isnan(logits[best]) && !isnan(logits[i])))
            best = (int32_t)i;
    return best;
}

/* Does a come before b? No two are equal, so the order is the same however it is found. */
static bool before(const ls_candidate *a, const ls_candidate *b)
{
    return a->logit != b->logit ? a->logit > b->logit : a->id < b->id;
}

/* Lets heap[at] sink until nothing below it comes before it. */
static void sink(ls_candidate *heap, int64_t count, int64_t at)
{
    const ls_candidate moving = heap[at];
    for (int64_t child; (child = 2 * at + 1) < count; at = child) {
        child += child + 1 < count && before(&heap[child + 1], &heap[child]);
        if (!before(&heap[child], &moving))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

/* In the order of the array. */
static double sum_of(const ls_candidate *candidate, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += candidate[i].p;
    return sum;
}

/* Moves the likeliest candidates to the end of the array, falling from there, until there are `most` of them or they
 * add up to `enough`; at least one. Returns how many. */
static int64_t take_likeliest(ls_candidate *candidate, int64_t count, int64_t most, double enough)
{
    int64_t taken = 0;
    for (int64_t i = count / 2 - 1; i >= 0; i--)
        sink(candidate, count, i);
    for (double sum = 0; taken < most && (taken == 0 || sum < enough); taken++) {
        const ls_candidate likeliest = candidate[0];
        const int64_t left = count - taken - 1;
        candidate[0] = candidate[left];
        sink(candidate, left, 0);
        candidate[left] = likeliest;
        sum += likeliest.p;
    }
    return taken;
}

/* What top-k and then top-p (Holtzman et al. 2020) leave, at the end of the array. */
static int64_t restrict_to_likeliest(const ls_generate_options *options, ls_candidate *candidate, int64_t count)
{
    if (options->top_k <= 0 || options->top_k >= count)
        return take_likeliest(candidate, count, count, options->top_p * sum_of(candidate, count));
    const int64_t kept = take_likeliest(candidate, count, options->top_k, INFINITY);
    const double enough = options->top_p * sum_of(candidate + count - kept, kept);
    int64_t few = 0;
    for (double sum = 0; few < kept && (few == 0 || sum < enough); few++)
        sum += candidate[count - 1 - few].p;
    return few;
}

int32_t ls_sample(const ls_generate_options *options, int64_t vocabulary, const float *logits, float uniform,
                  ls_candidate *candidate)
{
    int32_t best = greatest(vocabulary, logits);
    if (options->temperature <= 0 || !isfinite(logits[best]))
        return best;
    int64_t count = 0;
    for (int64_t i = 0; i < vocabulary; i++) {
        const double below = ((double)logits[i] - (double)logits[best]) / options->temperature;
        if (below > LEAST) /* not for NaN */
            candidate[count++] = (ls_candidate){logits[i], (int32_t)i, ls_math_exp(below)};
    }
    const bool all = (options->top_k <= 0 || options->top_k >= count) && options->top_p >= 1;
    const int64_t kept = all ? count : restrict_to_likeliest(options, candidate, count);
    double left = (double)uniform * sum_of(candidate + count - kept, kept);
    for (int64_t i = 0; i < kept - 1; i++) {
        const ls_candidate *next = &candidate[all ? i : count - 1 - i];
        if ((left -= next->p) < 0)
            return next->id;
    }
    return candidate[all ? count - 1 : count - kept].id;
}
