/* See row_counter.h. Plain loops: additions run on the compute thread and on the communication thread, which has no
 * team, and are few beside those of a grain's backward. */
#include "dist/row_counter.h"

#include <string.h>

size_t ls_row_list_bytes(int64_t count, int64_t width)
{
    return 256 + (size_t)count * (sizeof(int32_t) +
                                  (size_t)width * sizeof(float)); /* borders of 64, and the gaps that ASan wants */
}

ls_status ls_row_list_take(ls_arena *arena, int64_t count, int64_t width, ls_row_gradient *list)
{
    *list = (ls_row_gradient){.count = count, .width = width};
    list->row = ls_arena_array(arena, int32_t, count);
    list->vector = ls_arena_array(arena, float, count *width);
    return ls_arena_status(arena);
}

void ls_row_list_copy(const ls_row_gradient *to, const ls_row_gradient *from)
{
    if (from->count == 0)
        return; /* an empty list may lie nowhere */
    memcpy(to->row, from->row, (size_t)from->count * sizeof *from->row);
    memcpy(to->vector, from->vector, (size_t)(from->count * from->width) * sizeof(float));
}

/* The first place whose row is not below `row`. */
static int64_t place_of(const ls_row_gradient *list, int64_t row)
{
    int64_t low = 0, high = list->count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (list->row[middle] < row)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

ls_row_gradient ls_row_list_part(const ls_row_gradient *list, int64_t begin, int64_t end)
{
    if (list->count == 0)
        return *list; /* it may lie nowhere */
    int64_t first = place_of(list, begin), past = place_of(list, end);
    return (ls_row_gradient){.count = past - first,
                             .width = list->width,
                             .row = list->row + first,
                             .vector = (float *)list->vector + first * list->width};
}

ls_status ls_row_counter_open(ls_row_counter *counter, int64_t rows, int64_t width, int places)
{
    *counter = (ls_row_counter){.rows = rows, .width = width};
    size_t list = ls_row_list_bytes(rows, width);
    ls_status status = ls_arena_create(&counter->stack, "sums of row gradients", list * (size_t)(places + 1) + 4096);
    if (status == LS_OK)
        status = ls_arena_create(&counter->merging, "row gradients being added", list + 4096);
    return status;
}

void ls_row_counter_close(ls_row_counter *counter)
{
    ls_arena_free(counter->stack);
    ls_arena_free(counter->merging);
    *counter = (ls_row_counter){0};
}

void ls_row_counter_reset(ls_row_counter *counter, int64_t grains)
{
    ls_counter_reset(&counter->counter, grains);
    ls_arena_release(counter->stack, 0);
}

/* to = a, or to += a. */
static void add_vector(int64_t width, const float *a, bool first, float *to)
{
    if (first)
        memcpy(to, a, (size_t)width * sizeof *to);
    else
        for (int64_t d = 0; d < width; d++)
            to[d] += a[d];
}

/* Adds lists row by row, each row in the order of the lists: list[0] is the right-most node, as in ls_device.carry.
 * Returns the rows that there are; sum has room for all. */
static int64_t merge(const ls_row_gradient *const *list, int lists, int32_t *row, float *sum)
{
    int64_t at[LS_COUNTER_DEPTH + 1] = {0}, width = list[0]->width, count = 0;
    for (;; count++) {
        int32_t least = INT32_MAX;
        bool any = false, first = true;
        for (int k = 0; k < lists; k++)
            if (at[k] < list[k]->count) {
                any = true;
                least = list[k]->row[at[k]] < least ? list[k]->row[at[k]] : least;
            }
        if (!any)
            return count;
        row[count] = least;
        for (int k = 0; k < lists; k++)
            if (at[k] < list[k]->count && list[k]->row[at[k]] == least) {
                add_vector(width, (const float *)list[k]->vector + at[k]++ * width, first, sum + count * width);
                first = false;
            }
    }
}

static ls_status put(ls_row_counter *counter, int place, const ls_row_gradient *list)
{
    ls_row_gradient *to = &counter->list[place];
    counter->below[place] = ls_arena_mark(counter->stack);
    ls_status status = ls_row_list_take(counter->stack, list->count, counter->width, to);
    if (status != LS_OK)
        return status;
    ls_row_list_copy(to, list);
    return LS_OK;
}

ls_status ls_row_counter_push(ls_row_counter *counter, ls_tree_node node, const ls_row_gradient *list)
{
    int levels = ls_counter_push(&counter->counter, node), place = counter->counter.depth - 1;
    if (levels == 0)
        return put(counter, place, list);
    const ls_row_gradient *all[LS_COUNTER_DEPTH + 1] = {list};
    int64_t most = list->count;
    for (int l = 0; l < levels; l++) {
        all[l + 1] = &counter->list[place + levels - 1 - l];
        most += all[l + 1]->count;
    }
    ls_row_gradient sum;
    ls_arena_release(counter->merging, 0);
    ls_status status =
        ls_row_list_take(counter->merging, most < counter->rows ? most : counter->rows, counter->width, &sum);
    if (status != LS_OK)
        return status;
    sum.count = merge(all, levels + 1, sum.row, sum.vector);
    ls_arena_release(counter->stack, counter->below[place]);
    return put(counter, place, &sum);
}
