/* Operators that choose rows or elements by index: embedding, gather, scatter-add, top-k, arg-max.
 * Indices come from data, so each is checked before it is used, and the sentence says which was wrong. */
#include "tensor/ops/shapes.h"

#include <string.h>

/* ---- rows: embedding, gather, scatter-add ---- */

typedef struct {
    const int32_t *index; /* [n], on the arena */
    int64_t n, width;
    int64_t rows; /* scatter-add: of the result */
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
    at.index = ls_copy_array(tape, ids, at.n, sizeof *ids);
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

static ls_status scatter_forward(ls_node *node, ls_device *device)
{
    const rows_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *y = node->out[0];
    ls_arena *arena = ls_tape_arena(node->tape);
    ls_mark mark = ls_arena_mark(arena);
    device->fill(device, y->type, y->count, 0, y->data);
    device->scatter_add_rows(device, x->type, y->type, at->n, at->width, at->rows, at->index, x->data, y->data, arena);
    ls_arena_release(arena, mark);
    return LS_OK;
}

static ls_status scatter_backward(ls_node *node, ls_device *device)
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
    device->gather_rows(device, x->type, at->n, at->width, at->index, node->out[0]->grad, rows);
    if (accumulate)
        device->add_to(device, x->type, x->count, rows, dx);
    return LS_OK;
}

static const ls_op scatter_add_op = {"scatter_add", scatter_shape, scatter_forward, scatter_backward};

ls_tensor *ls_scatter_add(ls_tape *tape, ls_tensor *x, int64_t n, const int32_t *index, int64_t rows)
{
    const rows_attributes at = {.n = n, .rows = rows, .index = ls_copy_array(tape, index, n, sizeof *index)};
    return ls_apply(tape, &scatter_add_op, 1, &x, &at, sizeof at, 1, NULL);
}

/* ---- the greatest elements ---- */

typedef struct {
    int64_t k;
    int32_t *index;   /* [rows, k], on the arena; the shape rule takes it */
    int32_t **result; /* the caller's, set in forward */
} top_k_attributes;

static ls_status top_k_shape(ls_node *node)
{
    top_k_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    ls_tensor *y = node->out[0];
    ls_status status = ls_check_types(node);
    if (status != LS_OK)
        return status;
    if (x->ndim < 1 || at->k < 0 || at->k > x->shape[x->ndim - 1])
        return ls_fail(LS_ESHAPE, "the greatest %lld along the last axis of %s", (long long)at->k, ls_describe(x).text);
    if (x->count > INT32_MAX)
        return ls_fail(LS_ESHAPE, "%s: more than 2^31 - 1 elements cannot be numbered", ls_describe(x).text);
    ls_set_shape(y, x->type, x->ndim, x->shape);
    y->shape[y->ndim - 1] = at->k;
    at->index = ls_node_take(node, (size_t)ls_extent(y, 0, y->ndim) * sizeof *at->index);
    return at->index ? LS_OK : LS_EMEM;
}

static ls_status top_k_forward(ls_node *node, ls_device *device)
{
    const top_k_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    int64_t length = x->shape[x->ndim - 1];
    device->top_k(device, x->type, x->count / length, length, at->k, x->data, node->out[0]->data, at->index);
    *at->result = at->index;
    return LS_OK;
}

/* Elements are rows of width 1 in the whole of x. */
static ls_status top_k_backward(ls_node *node, ls_device *device)
{
    const top_k_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *y = node->out[0];
    int64_t length = x->shape[x->ndim - 1];
    void *dx = ls_gradient(node, 0);
    int32_t *place = ls_node_take(node, (size_t)y->count * sizeof *place);
    if (!place)
        return LS_EMEM;
    for (int64_t i = 0; i < y->count; i++)
        place[i] = (int32_t)(i / at->k * length) + at->index[i];
    if (dx)
        device->scatter_add_rows(device, x->type, x->type, y->count, 1, x->count, place, y->grad, dx,
                                 ls_tape_arena(node->tape));
    return LS_OK;
}

static const ls_op top_k_op = {"top_k", top_k_shape, top_k_forward, top_k_backward};
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
    const top_k_attributes at = {.k = k, .result = &result};
    ls_tensor *values = ls_apply(tape, &top_k_op, 1, &x, &at, sizeof at, 1, NULL);
    *index = result ? result : harmless_index(tape, x, k);
    return values;
}

int32_t *ls_arg_max(ls_tape *tape, ls_tensor *x)
{
    int32_t *result = NULL;
    const top_k_attributes at = {.k = 1, .result = &result};
    ls_apply(tape, &arg_max_op, 1, &x, &at, sizeof at, 1, NULL);
    return result ? result : harmless_index(tape, x, 1);
}
