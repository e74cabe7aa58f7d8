/* Gradients of parameters with sparse rows: a list of the rows that were looked up, which the host makes among the tape's
 * records, and their vectors [count, width], a block of its gradients. Time and memory follow the number of places, never the number of rows that the table has. The sums have the bits of a
 * dense gradient's, row for row: zeros at first, then the places in ascending order, use by use as backward meets them.
 */
#include "tensor/tape.h"

#include <string.h>

bool ls_has_sparse_rows(const ls_tensor *x)
{
    return x->parameter && x->parameter->sparse_rows;
}

size_t ls_row_gradient_bytes(const ls_row_gradient *rows, ls_type type)
{
    return (size_t)(rows->count * rows->width) * ls_type_size(type);
}

/* Scratch of one call, the host's. */
typedef struct {
    int64_t n;
    const int32_t *index;
    const ls_row_gradient *old; /* of the uses before, or empty */
    int64_t places;
    int32_t *place, *other; /* [n]: places in ascending order of their rows, those of one row ascending; and room */
    int64_t count;
    int32_t *row;      /* [count]: the rows of places and of old together, ascending */
    int32_t *slot;     /* [n]: which of `row` a place adds to; -1: none */
    int32_t *old_slot; /* [old->count] */
} listing;

static bool take_listing(listing *l, ls_arena *arena)
{
    l->place = ls_arena_array(arena, int32_t, l->n);
    l->other = ls_arena_array(arena, int32_t, l->n);
    l->slot = ls_arena_array(arena, int32_t, l->n);
    l->row = ls_arena_array(arena, int32_t, l->n + l->old->count);
    l->old_slot = ls_arena_array(arena, int32_t, l->old->count);
    return l->place && l->other && l->slot && l->row && l->old_slot;
}

/* One pass of a counting sort by 8 bits of the row, which keeps the order of equals (Knuth, vol. 3, 5.2.5). */
static void sort_by_digit(const listing *l, int shift)
{
    int64_t begin[257] = {0};
    for (int64_t i = 0; i < l->places; i++)
        begin[(l->index[l->place[i]] >> shift & 255) + 1]++;
    for (int digit = 0; digit < 256; digit++)
        begin[digit + 1] += begin[digit];
    for (int64_t i = 0; i < l->places; i++)
        l->other[begin[l->index[l->place[i]] >> shift & 255]++] = l->place[i];
}

static void sort_places(listing *l)
{
    int32_t most = 0;
    l->places = 0;
    for (int64_t i = 0; i < l->n; i++) {
        l->slot[i] = -1;
        if (l->index[i] < 0)
            continue;
        l->place[l->places++] = (int32_t)i;
        most = l->index[i] > most ? l->index[i] : most;
    }
    for (int shift = 0; shift < 32 && most >> shift > 0; shift += 8) {
        sort_by_digit(l, shift);
        int32_t *sorted = l->other;
        l->other = l->place;
        l->place = sorted;
    }
}

static void list_rows(listing *l)
{
    int64_t i = 0, j = 0;
    for (l->count = 0; i < l->places || j < l->old->count; l->count++) {
        int32_t row = i < l->places ? l->index[l->place[i]] : INT32_MAX;
        if (j < l->old->count && l->old->row[j] < row)
            row = l->old->row[j];
        if (j < l->old->count && l->old->row[j] == row)
            l->old_slot[j++] = (int32_t)l->count;
        for (; i < l->places && l->index[l->place[i]] == row; i++)
            l->slot[l->place[i]] = (int32_t)l->count;
        l->row[l->count] = row;
    }
}

/* The sums so far: old ones where they now belong, zeros elsewhere. NULL: no memory, raised. */
static ls_row_gradient *begin_sums(const listing *l, ls_tape *tape, ls_type type)
{
    ls_device *device = tape->device;
    ls_row_gradient *sums = ls_tape_take(tape, tape->records, sizeof *sums);
    int32_t *row = ls_tape_take(tape, tape->records, (size_t)l->count * sizeof *row);
    if (!sums || !row)
        return NULL;
    memcpy(row, l->row, (size_t)l->count * sizeof *row);
    *sums = (ls_row_gradient){.count = l->count, .width = l->old->width, .row = row};
    sums->vector = ls_tape_take_gradient(tape, ls_row_gradient_bytes(sums, type));
    if (!sums->vector)
        return NULL;
    device->fill(device, type, sums->count * sums->width, 0, sums->vector);
    const size_t bytes = (size_t)sums->width * ls_type_size(type);
    for (int64_t j = 0; j < l->old->count; j++)
        device->move(device, bytes, (char *)l->old->vector + (size_t)j * bytes, (char *)sums->vector + (size_t)l->old_slot[j] * bytes);
    return sums;
}

void ls_gradient_rows(ls_node *node, int input, int64_t n, const int32_t *index, ls_type type, const void *dy)
{
    ls_tape *tape = node->tape;
    ls_device *device = tape->device;
    ls_tensor *x = node->in[input];
    if (!x || !x->needs_grad)
        return;
    const ls_row_gradient none = {.width = x->shape[x->ndim - 1]};
    listing l = {.n = n, .index = index, .old = x->grad ? x->grad : &none};
    const ls_tape_mark mark = ls_tape_marked(tape);
    if (!take_listing(&l, tape->host)) {
        ls_tape_raise_operator(tape, ls_arena_status(tape->host), node->op->name);
        return;
    }
    sort_places(&l);
    list_rows(&l);
    ls_row_gradient *sums = begin_sums(&l, tape, x->grad_type);
    if (sums) {
        device->scatter_add_rows(device, type, x->grad_type, n, none.width, l.count, l.slot, dy, sums->vector,
                                 tape->activations);
        if (x->grad)
            ls_pool_give(&tape->pool, ((ls_row_gradient *)x->grad)->vector, ls_gradient_bytes(x));
        x->grad = sums;
    }
    ls_tape_release(tape, mark);
}
