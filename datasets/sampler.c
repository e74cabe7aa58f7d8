/* Position to row. See sampler.h. */
#include "datasets/sampler.h"
#include "base/option.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 8, PERIOD = 65536 };

typedef struct {
    int64_t all, rows;    /* of the source; of its subset */
    int64_t quota;        /* positions of every PERIOD that are dealt to it */
    int64_t *subset;      /* [rows], NULL: all */
    double *cumulative;   /* [rows], NULL: the permutation */
} source;

struct ls_sampler {
    int sources;
    bool shuffle;
    uint64_t seed;
    source source[LS_MAX_SOURCES];
    uint8_t *dealt;   /* [PERIOD] source of each position; NULL with one source */
    int32_t *before;  /* [PERIOD] earlier positions of the period with the same source */
};

uint64_t ls_sampler_permute(uint64_t seed, uint32_t stream, uint32_t epoch, uint64_t n, uint64_t i)
{
    int half = 3; /* at least: with halves of two bits some orders come 10 % too often, however many rounds (test_sampler.c) */
    while (half < 32 && n > UINT64_C(1) << (2 * half))
        half++;
    const uint64_t mask = (UINT64_C(1) << half) - 1;
    do {
        uint64_t left = i >> half, right = i & mask;
        for (uint32_t round = 0; round < ROUNDS; round++) {
            ls_random key = {.seed = seed, .slot = stream, .step = epoch, .purpose = LS_RANDOM_SHUFFLE, .op = round};
            uint64_t swapped = left ^ (ls_random_bits(&key, right) & mask);
            left = right;
            right = swapped;
        }
        i = left << half | right;
    } while (i >= n);
    return i;
}

/* Shares as whole numbers of PERIOD, by largest remainder; ties go to the lower index. */
static ls_status make_quotas(ls_sampler *s, const double *weights)
{
    double total = 0, part[LS_MAX_SOURCES];
    for (int k = 0; k < s->sources; k++)
        total += weights[k];
    int64_t left = PERIOD;
    for (int k = 0; k < s->sources; k++) {
        part[k] = weights[k] / total * PERIOD;
        if (!(weights[k] > 0) || !isfinite(part[k]) || part[k] < 1)
            return ls_fail(LS_ERECIPE, "weight %g of source %d (of %g in all) must be positive and at least 1/%d of all", weights[k],
                           k + 1, total, PERIOD);
        s->source[k].quota = (int64_t)part[k];
        left -= s->source[k].quota;
    }
    for (; left > 0; left--) {
        int most = 0;
        for (int k = 1; k < s->sources; k++)
            if (part[k] - (double)s->source[k].quota > part[most] - (double)s->source[most].quota)
                most = k;
        s->source[most].quota++;
    }
    return LS_OK;
}

/* Deals one period, earliest deadline first. The j-th row of a source with share w = quota / PERIOD may not come before
 * floor(j / w) and is due before ceil((j + 1) / w): with shares that add up to one, all are kept (Baruah et al. 1996,
 * "Proportionate progress"), and that is the promise |dealt - w n| < 1. */
static void deal(ls_sampler *s)
{
    int64_t dealt[LS_MAX_SOURCES] = {0};
    for (int64_t position = 0; position < PERIOD; position++) {
        int next = -1;
        int64_t soonest = INT64_MAX;
        for (int k = 0; k < s->sources; k++) {
            int64_t quota = s->source[k].quota, deadline = ((dealt[k] + 1) * PERIOD + quota - 1) / quota;
            if (dealt[k] < quota && dealt[k] * PERIOD / quota <= position && deadline < soonest) {
                soonest = deadline;
                next = k;
            }
        }
        s->dealt[position] = (uint8_t)next;
        s->before[position] = (int32_t)dealt[next]++;
    }
}

ls_status ls_sampler_create(ls_sampler **out, const ls_sampler_options *options)
{
    *out = NULL;
    if (options->sources < 1 || options->sources > LS_MAX_SOURCES)
        return ls_fail(LS_EARG, "%d sources, must be 1 .. %d", options->sources, LS_MAX_SOURCES);
    ls_sampler *s = calloc(1, sizeof *s);
    if (!s)
        return ls_fail(LS_EMEM, "no memory for a sampler");
    s->sources = options->sources;
    s->shuffle = options->shuffle;
    s->seed = options->seed;
    ls_status status = LS_OK;
    for (int k = 0; k < s->sources; k++) {
        s->source[k].all = s->source[k].rows = options->rows[k];
        if (options->rows[k] < 1)
            status = ls_fail(LS_EARG, "source %d has no rows", k + 1);
    }
    if (status == LS_OK)
        status = make_quotas(s, options->weights);
    if (status == LS_OK && s->sources > 1) {
        s->dealt = malloc(PERIOD * sizeof *s->dealt);
        s->before = malloc(PERIOD * sizeof *s->before);
        if (s->dealt && s->before)
            deal(s);
        else
            status = ls_fail(LS_EMEM, "no memory for a sampler's table");
    }
    if (status == LS_OK)
        *out = s;
    else
        ls_sampler_free(s);
    return status;
}

void ls_sampler_free(ls_sampler *s)
{
    if (!s)
        return;
    for (int k = 0; k < s->sources; k++) {
        free(s->source[k].subset);
        free(s->source[k].cumulative);
    }
    free(s->dealt);
    free(s->before);
    free(s);
}

/* First row whose cumulative weight is above a uniform number of 53 bits. */
static int64_t draw_by_weight(const ls_sampler *s, int k, int64_t draw)
{
    const source *from = &s->source[k];
    ls_random stream = {.seed = s->seed, .slot = (uint32_t)k, .step = (uint32_t)(draw >> 32), .purpose = LS_RANDOM_MIXTURE};
    uint64_t element = 2 * (uint64_t)(uint32_t)draw;
    uint64_t bits = (uint64_t)ls_random_bits(&stream, element) << 32 | ls_random_bits(&stream, element + 1);
    double aim = (double)(bits >> 11) * 0x1p-53 * from->cumulative[from->rows - 1];
    int64_t low = -1, high = from->rows - 1;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        *(from->cumulative[middle] > aim ? &high : &low) = middle;
    }
    return high;
}

ls_draw ls_sampler_draw(const ls_sampler *s, int64_t position)
{
    ls_draw d = {.draw = position};
    if (s->sources > 1) {
        int64_t place = position % PERIOD;
        d.source = s->dealt[place];
        d.draw = position / PERIOD * s->source[d.source].quota + s->before[place];
    }
    const source *from = &s->source[d.source];
    d.epoch = d.draw / from->rows;
    d.row = d.draw % from->rows;
    if (from->cumulative)
        d.row = draw_by_weight(s, d.source, d.draw);
    else if (s->shuffle)
        d.row = (int64_t)ls_sampler_permute(s->seed, (uint32_t)d.source, (uint32_t)d.epoch, (uint64_t)from->rows, (uint64_t)d.row);
    if (from->subset)
        d.row = from->subset[d.row];
    return d;
}

int64_t ls_sampler_epoch_rows(const ls_sampler *s)
{
    int64_t rows = 0;
    for (int k = 0; k < s->sources; k++)
        rows += s->source[k].rows;
    return rows;
}

ls_status ls_sampler_subset(ls_sampler *s, int k, const int64_t *rows, int64_t count)
{
    if (k < 0 || k >= s->sources || (rows && count < 1))
        return ls_fail(LS_EARG, "a subset of %lld rows for source %d of %d", (long long)count, k + 1, s->sources);
    source *from = &s->source[k];
    int64_t *copy = NULL;
    for (int64_t i = 0; rows && i < count; i++)
        if (rows[i] < 0 || rows[i] >= from->all)
            return ls_fail(LS_EARG, "subset: row %lld of a source of %lld", (long long)rows[i], (long long)from->all);
    if (rows) {
        copy = malloc((size_t)count * sizeof *copy);
        if (!copy)
            return ls_fail(LS_EMEM, "no memory for a subset of %lld rows", (long long)count);
        memcpy(copy, rows, (size_t)count * sizeof *copy);
    }
    free(from->subset);
    free(from->cumulative); /* weights were those of the old rows */
    from->cumulative = NULL;
    from->subset = copy;
    from->rows = rows ? count : from->all;
    return LS_OK;
}

ls_status ls_sampler_weights(ls_sampler *s, int k, const double *weights)
{
    if (k < 0 || k >= s->sources)
        return ls_fail(LS_EARG, "weights for source %d of %d", k + 1, s->sources);
    source *from = &s->source[k];
    double *cumulative = NULL, sum = 0;
    if (weights && !(cumulative = malloc((size_t)from->rows * sizeof *cumulative)))
        return ls_fail(LS_EMEM, "no memory for the weights of %lld rows", (long long)from->rows);
    for (int64_t i = 0; weights && i < from->rows; i++) { /* ascending: one fixed order */
        cumulative[i] = sum += weights[i];
        if (!(weights[i] >= 0) || !isfinite(sum)) {
            free(cumulative);
            return ls_fail(LS_EARG, "weight %g of row %lld must be finite and not negative", weights[i], (long long)i);
        }
    }
    if (weights && !(sum > 0)) {
        free(cumulative);
        return ls_fail(LS_EARG, "all %lld weights are 0", (long long)from->rows);
    }
    free(from->cumulative);
    from->cumulative = cumulative;
    return LS_OK;
}
