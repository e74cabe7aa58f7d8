/* Samples to rows. See rows.h. */
#include "datasets/rows.h"

#include <stdlib.h>
#include <string.h>

enum { OPEN_ROWS = 64 };

/* Rows that may still take samples, in order of opening. */
typedef struct {
    int count;
    int64_t row[OPEN_ROWS], room[OPEN_ROWS];
} open_rows;

static void close_row(open_rows *open, int at)
{
    open->count--;
    memmove(&open->row[at], &open->row[at + 1], (size_t)(open->count - at) * sizeof *open->row);
    memmove(&open->room[at], &open->room[at + 1], (size_t)(open->count - at) * sizeof *open->room);
}

/* The row that takes a sample of `length` tokens: the first open one with room, else a new one (*rows), for which, when
 * 64 are open, the fullest is closed (of equals the oldest). */
static int64_t place(open_rows *open, int64_t length, int64_t tokens, int64_t *rows)
{
    int at = 0;
    while (at < open->count && open->room[at] < length)
        at++;
    if (at == open->count) {
        if (open->count == OPEN_ROWS) {
            int fullest = 0;
            for (int i = 1; i < OPEN_ROWS; i++)
                fullest = open->room[i] < open->room[fullest] ? i : fullest;
            close_row(open, fullest);
        }
        at = open->count++;
        open->row[at] = (*rows)++;
        open->room[at] = tokens;
    }
    int64_t row = open->row[at];
    open->room[at] -= length;
    if (open->room[at] == 0)
        close_row(open, at);
    return row;
}

/* From row_of[sample] (-1: skipped) to lists by row; samples ascend in a row. `first` has rows + 1 elements. */
static void list_by_row(ls_row_plan *plan, const int64_t *row_of, int64_t samples)
{
    int64_t *first = plan->first; /* zeroed */
    for (int64_t s = 0; s < samples; s++)
        if (row_of[s] >= 0)
            first[row_of[s] + 1]++;
    for (int64_t r = 0; r < plan->rows; r++)
        first[r + 1] += first[r];
    for (int64_t s = 0; s < samples; s++)
        if (row_of[s] >= 0)
            plan->sample[first[row_of[s]]++] = s;
    memmove(first + 1, first, (size_t)plan->rows * sizeof *first); /* each start was moved to its end: shift back */
    first[0] = 0;
}

static ls_status too_long(const ls_shards *shards, int64_t sample, int64_t length, int64_t tokens)
{
    if (ls_shards_form_of(shards) == LS_SHARDS_PAIRS)
        return ls_fail(LS_ERECIPE, "%s: pair %lld has %lld tokens in its two answers, a row holds %lld (batch.tokens) and a pair stays in one row: raise "
                       "batch.tokens, or set data.on_long to skip",
                       ls_shards_folder(shards), (long long)(sample / 2), (long long)length, (long long)tokens);
    return ls_fail(LS_ERECIPE, "%s: sample %lld has %lld tokens, a row holds %lld (batch.tokens); the longest has %lld: raise batch.tokens, "
                   "or set data.on_long to skip or truncate",
                   ls_shards_folder(shards), (long long)sample, (long long)ls_shards_length(shards, sample), (long long)tokens,
                   (long long)ls_shards_longest(shards));
}

/* row_of[sample], and how many rows there are. */
static ls_status place_all(ls_row_plan *plan, const ls_shards *shards, ls_on_long on_long, int64_t *row_of)
{
    open_rows open = {0};
    for (int64_t s = 0; s < ls_shards_samples(shards); s += plan->together) {
        int64_t length = 0, row = -1;
        for (int64_t i = 0; i < plan->together; i++)
            length += ls_shards_length(shards, s + i);
        const bool skipped = length > plan->tokens && on_long == LS_LONG_SKIP;
        if (length > plan->tokens) {
            if (on_long == LS_LONG_FAIL)
                return too_long(shards, s, length, plan->tokens);
            *(skipped ? &plan->skipped : &plan->truncated) += 1;
            length = plan->tokens;
        }
        if (!skipped) {
            row = plan->pack ? place(&open, length, plan->tokens, &plan->rows) : plan->rows++;
            plan->placed += length;
        }
        for (int64_t i = 0; i < plan->together; i++)
            row_of[s + i] = row;
    }
    return LS_OK;
}

static ls_status plan_samples(ls_row_plan *plan, const ls_shards *shards, ls_on_long on_long)
{
    int64_t samples = ls_shards_samples(shards);
    int64_t *row_of = malloc((size_t)samples * sizeof *row_of);
    ls_status status = row_of ? place_all(plan, shards, on_long, row_of)
                              : ls_fail(LS_EMEM, "%s: no memory to plan %lld samples", ls_shards_folder(shards), (long long)samples);
    if (status == LS_OK && (plan->pack || plan->skipped)) {
        plan->first = calloc((size_t)plan->rows + 1, sizeof *plan->first);
        plan->sample = malloc((size_t)samples * sizeof *plan->sample);
        if (plan->first && plan->sample)
            list_by_row(plan, row_of, samples);
        else
            status = ls_fail(LS_EMEM, "%s: no memory to plan %lld rows", ls_shards_folder(shards), (long long)plan->rows);
    }
    free(row_of);
    return status;
}

ls_status ls_row_plan_make(ls_row_plan *plan, const ls_shards *shards, const ls_data_options *options)
{
    const ls_shards_form form = ls_shards_form_of(shards);
    *plan = (ls_row_plan){.tokens = options->tokens, .stream = options->stream, .pack = options->pack && !options->stream,
                          .together = form == LS_SHARDS_PAIRS ? 2 : 1, .counts_texts = form != LS_SHARDS_TEXT};
    ls_status status = LS_OK;
    if (plan->counts_texts && (plan->stream || options->on_long == LS_LONG_TRUNCATE))
        return ls_fail(LS_ERECIPE, "%s holds %s, which are judged whole: they cannot be %s", ls_shards_folder(shards),
                       form == LS_SHARDS_PAIRS ? "preference pairs" : "answers with outcomes",
                       plan->stream ? "joined and cut, as task pretrain does; use task reward or dpo" : "cut (data.on_long: truncate); use skip");
    if (plan->stream) {
        plan->placed = ls_shards_tokens(shards) - 1; /* the last token is only a label */
        plan->rows = (plan->placed + plan->tokens - 1) / plan->tokens;
    } else {
        status = plan_samples(plan, shards, options->on_long);
    }
    if (status == LS_OK && plan->rows == 0)
        status = ls_fail(LS_ERECIPE, "%s: gives no rows of %lld tokens (%lld samples, %lld of them longer); raise batch.tokens, "
                         "set data.on_long to truncate, or pack more data",
                         ls_shards_folder(shards), (long long)plan->tokens, (long long)ls_shards_samples(shards), (long long)plan->skipped);
    if (status != LS_OK)
        ls_row_plan_free(plan);
    return status;
}

void ls_row_plan_free(ls_row_plan *plan)
{
    free(plan->first);
    free(plan->sample);
    *plan = (ls_row_plan){0};
}

/* Samples of a row: *count of them, the i-th being sample_at(plan, row, i). */
static int64_t samples_in(const ls_row_plan *plan, int64_t row)
{
    return plan->first ? plan->first[row + 1] - plan->first[row] : plan->together;
}

static int64_t sample_at(const ls_row_plan *plan, int64_t row, int64_t i)
{
    return plan->first ? plan->sample[plan->first[row] + i] : row * plan->together + i;
}

static int64_t count_ones(const uint8_t *mask, int64_t count)
{
    int64_t ones = 0;
    for (int64_t i = 0; i < count; i++)
        ones += mask[i] != 0;
    return ones;
}

static ls_status sample_counted(const ls_shards *shards, int64_t sample, int64_t tokens, int64_t *counted)
{
    *counted = ls_shards_counted(shards, sample);
    if (ls_shards_length(shards, sample) <= tokens)
        return LS_OK;
    const int32_t *ids;
    const uint8_t *mask;
    int64_t count;
    ls_status status = ls_shards_text(shards, sample, &ids, &mask, &count);
    if (status == LS_OK)
        *counted = count_ones(mask + 1, tokens - 1);
    return status;
}

/* Positions of row `row` of a stream that hold a token. */
static int64_t stream_length(const ls_row_plan *plan, int64_t row)
{
    int64_t rest = plan->placed - row * plan->tokens;
    return rest < plan->tokens ? rest : plan->tokens;
}

static ls_status stream_counted(const ls_row_plan *plan, const ls_shards *shards, int64_t row, int64_t *counted)
{
    int64_t length = stream_length(plan, row), at = row * plan->tokens + 1;
    *counted = length;
    if (ls_shards_unmasked(shards) == ls_shards_tokens(shards))
        return LS_OK;
    *counted = 0;
    for (int64_t done = 0, count; done < length; done += count) {
        const int32_t *ids;
        const uint8_t *mask;
        ls_status status = ls_shards_stream(shards, at + done, length - done, &ids, &mask, &count);
        if (status != LS_OK)
            return status;
        *counted += count_ones(mask, count);
    }
    return LS_OK;
}

ls_status ls_row_counted(const ls_row_plan *plan, const ls_shards *shards, int64_t row, int64_t *counted)
{
    if (plan->stream)
        return stream_counted(plan, shards, row, counted);
    *counted = 0;
    if (plan->counts_texts) {
        *counted = samples_in(plan, row) / plan->together;
        return LS_OK;
    }
    for (int64_t i = 0; i < samples_in(plan, row); i++) {
        int64_t one;
        ls_status status = sample_counted(shards, sample_at(plan, row, i), plan->tokens, &one);
        if (status != LS_OK)
            return status;
        *counted += one;
    }
    return LS_OK;
}

static ls_status stream_fill(const ls_row_plan *plan, const ls_shards *shards, int64_t row, const ls_row_cells *cells, int64_t *counted)
{
    int64_t length = stream_length(plan, row), at = row * plan->tokens;
    for (int64_t done = 0, count; done < length + 1; done += count) { /* one more: the last position's label */
        const int32_t *from;
        const uint8_t *mask;
        ls_status status = ls_shards_stream(shards, at + done, length + 1 - done, &from, &mask, &count);
        if (status != LS_OK)
            return status;
        for (int64_t i = 0; i < count; i++) {
            int64_t t = done + i;
            if (t < length)
                cells->ids[t] = from[i];
            if (t > 0)
                cells->labels[t - 1] = mask[i] ? from[i] : -1;
            *counted += t > 0 && mask[i];
        }
    }
    for (int64_t t = 0; t < length; t++) {
        cells->positions[t] = (int32_t)t;
        cells->segments[t] = 0;
    }
    return LS_OK;
}

/* One sample at the front of the cells, or what `room` holds of it; *length positions are used. */
static ls_status sample_fill(const ls_shards *shards, int64_t sample, int64_t room, int32_t segment, const ls_row_cells *cells,
                             int64_t *length, int64_t *counted)
{
    const int32_t *from;
    const uint8_t *mask;
    int64_t count;
    *length = 0;
    ls_status status = ls_shards_text(shards, sample, &from, &mask, &count);
    if (status != LS_OK)
        return status;
    *length = count = count < room ? count : room;
    for (int64_t t = 0; t < count; t++) {
        bool predicts = t + 1 < count && mask[t + 1];
        cells->ids[t] = from[t];
        cells->labels[t] = predicts ? from[t + 1] : -1;
        cells->positions[t] = (int32_t)t;
        cells->segments[t] = segment;
        if (cells->values)
            cells->values[t] = t + 1 < count ? 0 : ls_shards_value(shards, sample);
        *counted += predicts;
    }
    return LS_OK;
}

static ls_row_cells cells_from(const ls_row_cells *cells, int64_t at)
{
    return (ls_row_cells){cells->ids + at, cells->labels + at, cells->positions + at, cells->segments + at,
                          cells->values ? cells->values + at : NULL};
}

ls_status ls_row_fill(const ls_row_plan *plan, const ls_shards *shards, int64_t row, const ls_row_cells *cells, int64_t *sample,
                      int64_t *counted)
{
    int64_t used = 0;
    ls_status status = LS_OK;
    *counted = 0;
    if (plan->stream) {
        used = stream_length(plan, row);
        *sample = ls_shards_sample_at(shards, row * plan->tokens);
        status = stream_fill(plan, shards, row, cells, counted);
    } else {
        *sample = sample_at(plan, row, 0);
        for (int64_t i = 0, length; i < samples_in(plan, row) && status == LS_OK; i++, used += length) {
            const ls_row_cells rest = cells_from(cells, used);
            status = sample_fill(shards, sample_at(plan, row, i), plan->tokens - used, (int32_t)i, &rest, &length, counted);
        }
    }
    for (int64_t t = used; t < plan->tokens && status == LS_OK; t++) {
        cells->ids[t] = 0;
        cells->labels[t] = -1;
        cells->positions[t] = 0;
        cells->segments[t] = -1;
        if (cells->values)
            cells->values[t] = 0;
    }
    if (plan->counts_texts)
        *counted = samples_in(plan, row) / plan->together;
    return status;
}
