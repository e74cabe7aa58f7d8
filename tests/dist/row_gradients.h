/* Row gradients of many grains, their sum by the definition, and one whole step of a row reducer compared with it. */
#pragma once
#include "dist/rows.h"
#include "gradients.h"
#include "plain_device.h"

#include <math.h>

typedef struct {
    int64_t rows, width;
} row_table;

/* Row 0 is in every grain, some rows in none, the others in about a third; every seventh grain looks up nothing. */
static inline bool row_in_grain(int64_t step, int64_t grain, int64_t row)
{
    uint32_t counter[4] = {(uint32_t)row, (uint32_t)grain, (uint32_t)step, 5}, key[2] = {3, 9}, bits[4];
    ls_philox4x32(counter, key, bits);
    return grain % 7 != 3 && row % 11 != 4 && (row == 0 || bits[0] % 3 == 0);
}

/* Every fifth row of a grain is -0, which must stay -0 where nothing is added to it. */
static inline float row_value(int64_t step, int64_t grain, int64_t row, int64_t d)
{
    return row % 5 == 2 ? -0.0f : gradient_at(step, grain, row * 1000 + d);
}

/* room: rows [table->rows], vectors after them. */
static inline ls_row_gradient rows_of_grain(const row_table *table, int64_t step, int64_t grain, int32_t *row,
                                            float *vector)
{
    ls_row_gradient list = {.width = table->width, .row = row, .vector = vector};
    for (int64_t r = 0; r < table->rows; r++) {
        if (!row_in_grain(step, grain, r))
            continue;
        row[list.count] = (int32_t)r;
        for (int64_t d = 0; d < table->width; d++)
            vector[list.count * table->width + d] = row_value(step, grain, r, d);
        list.count++;
    }
    return list;
}

/* The definition, word by word: node = left child plus right child, or the one of them that has the row. */
__attribute__((noinline)) static bool row_node_sum(int64_t step, int64_t grains, int64_t row, int64_t width, int level,
                                                   int64_t index, float *sum)
{
    if (index << level >= grains)
        return false;
    if (level == 0) {
        for (int64_t d = 0; d < width; d++)
            sum[d] = row_value(step, index, row, d);
        return row_in_grain(step, index, row);
    }
    float right[2 * LS_CHUNK];
    bool has_left = row_node_sum(step, grains, row, width, level - 1, 2 * index, sum);
    bool has_right = row_node_sum(step, grains, row, width, level - 1, 2 * index + 1, right);
    if (!has_right)
        return has_left;
    for (int64_t d = 0; d < width; d++)
        sum[d] = has_left ? sum[d] + right[d] : right[d];
    return true;
}

static inline ls_row_gradient rows_wanted(const row_table *table, int64_t step, int64_t grains, int32_t *row,
                                          float *vector)
{
    ls_row_gradient list = {.width = table->width, .row = row, .vector = vector};
    int top = 0;
    while (INT64_C(1) << top < grains)
        top++;
    for (int64_t r = 0; r < table->rows; r++)
        if (row_node_sum(step, grains, r, table->width, top, 0, vector + list.count * table->width))
            row[list.count++] = (int32_t)r;
    return list;
}

/* ---- one rank's part of a step ---- */

typedef struct {
    row_table table;
    int32_t *row;
    float *vector, *new_rows;    /* new_rows [rows, width]: what the gathering moves */
    const ls_row_gradient *want; /* of this step */
} row_step;

static inline row_step row_step_open(row_table table)
{
    const size_t elements = (size_t)(table.rows * table.width);
    return (row_step){.table = table,
                      .row = calloc((size_t)table.rows, sizeof(int32_t)),
                      .vector = calloc(elements, sizeof(float)),
                      .new_rows = calloc(elements, sizeof(float))};
}

static inline void row_step_close(row_step *s)
{
    free(s->row);
    free(s->vector);
    free(s->new_rows);
}

/* NULL, or what does not hold. */
static inline const char *row_step_run(row_step *s, ls_row_reducer *reducer, ls_schedule schedule, int64_t step,
                                       int64_t grains, int rank, int ranks, ls_row_gradient *sum)
{
    if (ls_row_reducer_begin(reducer, grains) != LS_OK)
        return "begin";
    const int64_t mine = ls_schedule_grains(schedule, grains, rank, ranks);
    for (int64_t k = 0; k < mine; k++) {
        const int64_t grain = ls_schedule_grain(schedule, grains, rank, ranks, k);
        const ls_row_gradient list = rows_of_grain(&s->table, step, grain, s->row, s->vector);
        if (list.count && ls_row_reducer_add(reducer, &list) != LS_OK)
            return "add";
        memset(s->vector, 255,
               (size_t)(list.count * list.width) * sizeof(float)); /* the tape will use its memory again */
        if (ls_row_reducer_grain_end(reducer) != LS_OK)
            return "end of a grain";
    }
    if (step % 2 && schedule == LS_SCHEDULE_ROUND && mine < (grains + ranks - 1) / ranks &&
        ls_row_reducer_grain_end(reducer) != LS_OK)
        return "a round without a grain";
    return ls_row_reducer_finish(reducer, sum) == LS_OK ? NULL : "finish";
}

static inline const char *row_step_check(row_step *s, const ls_row_gradient *sum, const ls_row_gradient *want, int rank,
                                         int ranks)
{
    int64_t begin, end, at = 0;
    ls_row_slice(s->table.rows, s->table.width, rank, ranks, &begin, &end);
    while (at < want->count && want->row[at] < begin)
        at++;
    for (int64_t i = 0; i < sum->count; i++, at++) {
        const size_t bytes = (size_t)s->table.width * sizeof(float);
        if (at >= want->count || want->row[at] >= end || sum->row[i] != want->row[at])
            return "the list of rows";
        if (memcmp((float *)sum->vector + i * s->table.width, (float *)want->vector + at * s->table.width, bytes) != 0)
            return "the tree's sum of a row";
    }
    return at < want->count && want->row[at] < end ? "the list of rows" : NULL;
}

/* The norm, and that new values of just the rows in the sum reach every rank: a row's owner writes -1 - row, the others
 * hold row. */
static inline const char *row_step_gather(row_step *s, ls_row_reducer *reducer, const ls_row_gradient *sum,
                                          const ls_row_gradient *want)
{
    ls_device device = plain_device();
    const int64_t width = s->table.width;
    double squares, *each = calloc((size_t)want->count + 1, sizeof *each);
    for (int64_t i = 0; i < want->count; i++) {
        double piece[2] = {0};
        plain_chunk_squares(NULL, width, (float *)want->vector + i * width, piece);
        each[i] = piece[0] + piece[1];
    }
    const double all = ls_tree_sum_f64(each, want->count);
    free(each);
    if (ls_row_squares(reducer, &device, &squares) != LS_OK || memcmp(&squares, &all, sizeof all) != 0)
        return "the sum of squares";
    for (int64_t i = 0; i < s->table.rows * width; i++)
        s->new_rows[i] = (float)(i / width);
    for (int64_t i = 0; i < sum->count * width; i++)
        s->new_rows[sum->row[i / width] * width + i % width] = -1 - (float)sum->row[i / width];
    if (ls_row_gather(reducer, LS_F32, s->new_rows) != LS_OK)
        return "gathering";
    for (int64_t r = 0, at = 0; r < s->table.rows; r++) {
        const bool touched = at < want->count && want->row[at] == r;
        at += touched;
        for (int64_t d = 0; d < width; d++)
            if (s->new_rows[r * width + d] != (touched ? -1 - (float)r : (float)r))
                return "the gathered rows";
    }
    return NULL;
}
