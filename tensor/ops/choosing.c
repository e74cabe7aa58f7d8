/* Operators that choose rows or elements by index: embedding, gather, scatter-add, segments, top-k, arg-max, sort.
 * Indices come from data, so each is checked before it is used, and the sentence says which was wrong. */
#include "tensor/ops/shapes.h"

#include <string.h>

/* ---- rows: embedding, gather, scatter-add, segments ---- */

typedef struct {
    const int32_t *index; /* [n], on the arena */
    int64_t n, width;
    int64_t rows; /* scatter-add, segments: of the result */
    int ndim;     /* embedding: shape of the ids */
    int64_t shape[LS_MAX_DIMS];
} rows_attributes;

static ls_status check_index(const int32_t *index, int64_t n, int64_t low, int64_t rows, const char *what)
{
    for (int64_t i = 0; i < n; i++)
        if (index[i] < low || index[i] >= rows)
            return ls_fail(LS_EARG, "%s %d at place %lld of %lld: it must be in %lld to %lld", what, index[i],
                           (long long)i, (long long)n, (long long)low, (long long)(rows - 1));
    return LS_OK;
}

static ls_status gather_forward(ls_node *node, ls_device *device)
{
    const rows_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    device->gather_rows(device, x->type, at->n, at->width, at->index, x->data, node->out[0]->data);
    return LS_OK;
}

static ls_status gather_backward(ls_node *node, ls_device *device)
{
    const rows_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    if (x->parameter && x->parameter->sparse_rows) {
        ls_gradient_rows(node, 0, at->n, at->index, node->out[0]->grad_type, node->out[0]->grad);
        return LS_OK;
    }
    void *dx = ls_gradient_as(node, 0, x->grad_type);
    if (dx)
        device->scatter_add_rows(device, x->type, x->grad_type, at->n, at->width, x->shape[0], at->index,
                                 node->out[0]->grad, dx, ls_tape_arena(node->tape));
    return LS_OK;
}

static ls_status embedding_shape(ls_node *node)
{
    rows_attributes *at = node->attributes;
    const ls_tensor *table = node->in[0];
    ls_tensor *y = node->out[0];
    ls_status status = ls_check_types(node);
    if (status != LS_OK)
        return status;
    if (table->ndim != 2)
        return ls_fail(LS_ESHAPE, "table %s: it must be [vocabulary, width]", ls_describe(table).text);
    at->width = table->shape[1];
    ls_set_shape(y, table->type, at->ndim, at->shape);
    y->shape[y->ndim++] = at->width;
    return check_index(at->index, at->n, 0, table->shape[0], "id");
}

static const ls_op embedding_op = {"embedding", embedding_shape, gather_forward, gather_backward};

ls_tensor *ls_embedding(ls_tape *tape, ls_tensor *table, const int32_t *ids, int ndim, const int64_t *shape)
{
    rows_attributes at = {.ndim = ndim, .n = 1};
    if (ndim < 0 || ndim >= LS_MAX_DIMS) {
        ls_tape_raise(tape, LS_ESHAPE, "operator embedding: ids of %d axes; there may be 0 to %d", ndim,
                      LS_MAX_DIMS - 1);
        ndim = 0;
    }
    for (int i = 0; i < ndim; i++) {
        at.shape[i] = shape[i];
        at.n *= shape[i];
    }
    at.index = ls_keep_array(tape, ids, at.n, sizeof *ids);
    return ls_apply(tape, &embedding_op, 1, &table, &at, sizeof at, 1, NULL);
}

static ls_status gather_shape(ls_node *node)
{
    rows_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    ls_status status = ls_check_types(node);
    if (status != LS_OK)
        return status;
    if (x->ndim < 1)
        return ls_fail(LS_ESHAPE, "%s has no axis 0", ls_describe(x).text);
    at->width = ls_extent(x, 1, x->ndim);
    ls_set_shape(node->out[0], x->type, x->ndim, x->shape);
    node->out[0]->shape[0] = at->n;
    return check_index(at->index, at->n, INT32_MIN, x->shape[0], "index");
}

static const ls_op gather_op = {"gather", gather_shape, gather_forward, gather_backward};

ls_tensor *ls_gather(ls_tape *tape, ls_tensor *x, int64_t n, const int32_t *index)
{
    const rows_attributes at = {.n = n, .index = ls_copy_array(tape, index, n, sizeof *index)};
    return ls_apply(tape, &gather_op, 1, &x, &at, sizeof at, 1, NULL);
}

static ls_status scatter_shape(ls_node *node)
{
    rows_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    ls_status status = ls_check_types(node);
    if (status != LS_OK)
        return status;
    if (x->ndim < 1 || x->shape[0] != at->n)
        return ls_fail(LS_ESHAPE, "%s with %lld indices: one a row", ls_describe(x).text, (long long)at->n);
    at->width = ls_extent(x, 1, x->ndim);
    ls_set_shape(node->out[0], x->type, x->ndim, x->shape);
    node->out[0]->shape[0] = at->rows;
    return check_index(at->index, at->n, INT32_MIN, at->rows, "index");
}

/* dx[i] += dy[index[i]] */
static ls_status gather_gradient(ls_node *node, ls_device *device, const void *dy)
{
    const rows_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    bool accumulate;
    void *dx = ls_gradient_open(node, 0, x->type, &accumulate);
    if (!dx)
        return LS_OK;
    void *rows = accumulate ? ls_node_take(node, (size_t)x->count * ls_type_size(x->type)) : dx;
    if (!rows)
        return LS_EMEM;
    device->gather_rows(device, x->type, at->n, at->width, at->index, dy, rows);
    if (accumulate)
        device->add_to(device, x->type, x->count, rows, dx);
    return LS_OK;
}

/* Sums of bf16 or f16 rows are kept in f32 and rounded once. */
static const ls_op segment_mean_op;

/* [rows] of the sums' type; a segment without rows counts as 1, so its mean is 0. */
static void *counts_of(const ls_node *node, ls_type type)
{
    const rows_attributes *at = node->attributes;
    void *counts = ls_node_take_host(node, (size_t)at->rows * ls_type_size(type));
    int64_t *n = ls_node_take_host(node, (size_t)at->rows * sizeof *n);
    if (!counts || !n)
        return NULL;
    memset(n, 0, (size_t)at->rows * sizeof *n);
    for (int64_t i = 0; i < at->n; i++)
        if (at->index[i] >= 0)
            n[at->index[i]]++;
    for (int64_t r = 0; r < at->rows; r++)
        if (type == LS_F64)
            ((double *)counts)[r] = n[r] ? (double)n[r] : 1;
        else
            ((float *)counts)[r] = n[r] ? (float)n[r] : 1;
    return counts;
}

/* to = from / counts by row, both [rows, width] of `type`, which is f32 or f64. LS_EMEM. */
static ls_status divide_rows(const ls_node *node, ls_device *device, ls_type type, const void *from, void *to)
{
    const rows_attributes *at = node->attributes;
    const ls_strides by_row = {2, {at->rows, at->width}, {at->width, 1}, {1, 0}};
    const void *counts = counts_of(node, type);
    if (!counts)
        return LS_EMEM;
    device->binary(device, LS_BINARY_DIV, type, &by_row, from, counts, to);
    return LS_OK;
}

static ls_status scatter_forward(ls_node *node, ls_device *device)
{
    const rows_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *y = node->out[0];
    const ls_type wide = ls_wide_type(x->type);
    ls_arena *arena = ls_tape_arena(node->tape);
    const ls_tape_mark mark = ls_tape_marked(node->tape);
    ls_status status = LS_OK;
    void *sums = y->type == wide ? y->data : ls_node_take(node, (size_t)y->count * ls_type_size(wide));
    if (!sums)
        return LS_EMEM;
    device->fill(device, wide, y->count, 0, sums);
    device->scatter_add_rows(device, x->type, wide, at->n, at->width, at->rows, at->index, x->data, sums, arena);
    if (node->op == &segment_mean_op)
        status = divide_rows(node, device, wide, sums, sums);
    if (sums != y->data)
        device->cast(device, wide, y->type, y->count, sums, y->data);
    ls_tape_release(node->tape, mark);
    return status;
}

static ls_status scatter_backward(ls_node *node, ls_device *device)
{
    return gather_gradient(node, device, node->out[0]->grad);
}

static ls_status segment_mean_backward(ls_node *node, ls_device *device)
{
    const ls_tensor *y = node->out[0];
    const ls_type wide = ls_wide_type(y->type);
    void *shares = ls_node_take(node, (size_t)y->count * ls_type_size(wide));
    void *rounded = wide == y->type ? shares : ls_node_take(node, (size_t)y->count * ls_type_size(y->type));
    if (!shares || !rounded)
        return LS_EMEM;
    device->cast(device, y->type, wide, y->count, y->grad, shares);
    ls_status status = divide_rows(node, device, wide, shares, shares);
    if (rounded != shares)
        device->cast(device, wide, y->type, y->count, shares, rounded);
    return status == LS_OK ? gather_gradient(node, device, rounded) : status;
}

static const ls_op scatter_add_op = {"scatter_add", scatter_shape, scatter_forward, scatter_backward};
static const ls_op segment_sum_op = {"segment_sum", scatter_shape, scatter_forward, scatter_backward};
static const ls_op segment_mean_op = {"segment_mean", scatter_shape, scatter_forward, segment_mean_backward};

static ls_tensor *scatter(ls_tape *tape, const ls_op *op, ls_tensor *x, int64_t n, const int32_t *index, int64_t rows)
{
    const rows_attributes at = {.n = n, .rows = rows, .index = ls_copy_array(tape, index, n, sizeof *index)};
    return ls_apply(tape, op, 1, &x, &at, sizeof at, 1, NULL);
}

ls_tensor *ls_scatter_add(ls_tape *tape, ls_tensor *x, int64_t n, const int32_t *index, int64_t rows)
{
    return scatter(tape, &scatter_add_op, x, n, index, rows);
}

ls_tensor *ls_segment_sum(ls_tape *tape, ls_tensor *x, int64_t n, const int32_t *ids, int64_t segments)
{
    return scatter(tape, &segment_sum_op, x, n, ids, segments);
}

ls_tensor *ls_segment_mean(ls_tape *tape, ls_tensor *x, int64_t n, const int32_t *ids, int64_t segments)
{
    return scatter(tape, &segment_mean_op, x, n, ids, segments);
}

/* ---- the greatest elements, and all in order ---- */

typedef struct {
    int64_t k;        /* sort: the length of the axis, once the shape rule has run */
    bool descending;  /* sort */
    int32_t *index;   /* [rows, k], on the arena; the shape rule takes it */
    int32_t **result; /* the caller's, set in forward */
} order_attributes;

static ls_status top_k_shape(ls_node *node)
{
    order_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    ls_tensor *y = node->out[0];
    ls_status status = ls_check_types(node);
    if (status != LS_OK)
        return status;
    if (x->ndim < 1 || at->k < 0 || at->k > x->shape[x->ndim - 1])
        return ls_fail(LS_ESHAPE, "the greatest %lld along the last axis of %s", (long long)at->k, ls_describe(x).text);
    if (x->shape[x->ndim - 1] > INT32_MAX)
        return ls_fail(LS_ESHAPE, "%s: more than 2^31 - 1 elements along an axis cannot be numbered",
                       ls_describe(x).text);
    ls_set_shape(y, x->type, x->ndim, x->shape);
    y->shape[y->ndim - 1] = at->k;
    at->index = ls_node_take_host(node, (size_t)ls_extent(y, 0, y->ndim) * sizeof *at->index);
    return at->index ? LS_OK : LS_EMEM;
}

static ls_status top_k_forward(ls_node *node, ls_device *device)
{
    const order_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    int64_t length = x->shape[x->ndim - 1];
    device->top_k(device, x->type, x->count / length, length, at->k, x->data, node->out[0]->data, at->index);
    *at->result = at->index;
    return LS_OK;
}

static ls_status order_backward(ls_node *node, ls_device *device)
{
    const order_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *y = node->out[0];
    int64_t length = x->shape[x->ndim - 1];
    void *dx = ls_gradient(node, 0);
    if (dx)
        device->scatter_add_elements(device, x->type, x->count / length, length, at->k, at->index, y->grad, dx);
    return LS_OK;
}

static const ls_op top_k_op = {"top_k", top_k_shape, top_k_forward, order_backward};
static const ls_op arg_max_op = {.name = "arg_max", .shape = top_k_shape, .forward = top_k_forward};

/* What the index is after an error: zeros for each row the caller knows of; NULL when even they find no place. */
static int32_t *harmless_index(ls_tape *tape, const ls_tensor *x, int64_t k)
{
    int64_t rows = x->ndim ? ls_extent(x, 0, x->ndim - 1) : 1;
    size_t bytes = (size_t)(k < 1 ? rows : rows * k) * sizeof(int32_t);
    int32_t *index = ls_arena_take(ls_tape_arena(tape), bytes);
    if (index)
        memset(index, 0, bytes);
    return index;
}

ls_tensor *ls_top_k(ls_tape *tape, ls_tensor *x, int64_t k, int32_t **index)
{
    int32_t *result = NULL;
    const order_attributes at = {.k = k, .result = &result};
    ls_tensor *values = ls_apply(tape, &top_k_op, 1, &x, &at, sizeof at, 1, NULL);
    *index = result ? result : harmless_index(tape, x, k);
    return values;
}

int32_t *ls_arg_max(ls_tape *tape, ls_tensor *x)
{
    int32_t *result = NULL;
    const order_attributes at = {.k = 1, .result = &result};
    ls_apply(tape, &arg_max_op, 1, &x, &at, sizeof at, 1, NULL);
    return result ? result : harmless_index(tape, x, 1);
}

static ls_status sort_shape(ls_node *node)
{
    order_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    at->k = x->ndim ? x->shape[x->ndim - 1] : 0;
    return top_k_shape(node);
}

static ls_status sort_forward(ls_node *node, ls_device *device)
{
    const order_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    int64_t length = at->k;
    *at->result = at->index;
    return device->sort(device, x->type, x->count / length, length, at->descending, x->data, node->out[0]->data,
                        at->index, ls_tape_arena(node->tape));
}

static const ls_op sort_op = {"sort", sort_shape, sort_forward, order_backward};

ls_tensor *ls_sort(ls_tape *tape, ls_tensor *x, bool descending, int32_t **index)
{
    int32_t *result = NULL;
    const order_attributes at = {.descending = descending, .result = &result};
    ls_tensor *values = ls_apply(tape, &sort_op, 1, &x, &at, sizeof at, 1, NULL);
    *index = result ? result : harmless_index(tape, x, x->ndim ? x->shape[x->ndim - 1] : 1);
    return values;
}
