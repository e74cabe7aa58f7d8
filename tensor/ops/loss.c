/* Softmax cross-entropy from hidden states: -log softmax(x w^T)[label], a weighted sum over rows.
 * The logits are never whole: the device goes over the vocabulary in tiles. Where backward may come, the gradients of
 * the sum are made in forward, while the logits are there; backward only scales them. The sum is made in f64 by the
 * device; it is a sum and no mean, as the loop alone knows the step's count. */
#include "tensor/ops/shapes.h"

typedef struct {
    const int32_t *labels; /* [rows], on the arena; < 0: skipped */
    const float *weights;  /* [rows], on the arena; NULL: all 1 */
    float *losses;         /* the caller's, or NULL */
} cross_entropy_attributes;

enum { SAVED_DX, SAVED_DW };

static ls_status cross_entropy_shape(ls_node *node)
{
    const cross_entropy_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *w = node->in[1];
    ls_status status = ls_check_types(node);
    if (status != LS_OK)
        return status;
    if (x->ndim != 2 || w->ndim != 2 || x->shape[1] != w->shape[1])
        return ls_fail(LS_ESHAPE, "x %s and w %s: they must be [rows, width] and [vocabulary, width]",
                       ls_describe(x).text, ls_describe(w).text);
    for (int64_t r = 0; r < x->shape[0]; r++)
        if (at->labels[r] >= w->shape[0])
            return ls_fail(LS_EARG,
                           "label %d of row %lld: the vocabulary has %lld; do tokenizer and model belong together?",
                           at->labels[r], (long long)r, (long long)w->shape[0]);
    ls_set_shape(node->out[0], ls_wide_type(x->type), 0, NULL);
    return LS_OK;
}

static ls_cross_entropy_args args_of(const ls_node *node, const int32_t *labels, const float *weights)
{
    const ls_tensor *x = node->in[0], *w = node->in[1];
    return (ls_cross_entropy_args){
        .type = x->type,
        .rows = x->shape[0],
        .width = x->shape[1],
        .vocabulary = w->shape[0],
        .x = x->data,
        .w = w->data,
        .weights_w = w->parameter,
        .labels = labels,
        .weights = weights,
    };
}

/* One product of the rows that are not skipped with the vocabulary for the losses, one for each gradient. Weights that a device
 * made are not waited for: there a row counts though its weight may be 0. */
static void count_flops(const ls_node *node, const ls_cross_entropy_args *args, bool hosts_weights)
{
    const float *weights = hosts_weights ? args->weights : NULL;
    int64_t rows = 0;
    for (int64_t r = 0; r < args->rows; r++)
        rows += args->labels[r] >= 0 && (!weights || weights[r] != 0);
    const int products = 1 + (args->dx != NULL) + (args->dw != NULL);
    ls_tape_count_flops(node->tape, 2.0 * products * (double)rows * (double)node->in[1]->count);
}

/* Losses into args.losses; with `gradients`, these into the node's saved blocks. */
static ls_status compute(ls_node *node, ls_device *device, ls_cross_entropy_args args, bool gradients, bool hosts_weights)
{
    const ls_tensor *x = node->in[0], *w = node->in[1];
    const ls_type type = node->out[0]->type;
    if (gradients && x->needs_grad)
        args.dx = node->saved[SAVED_DX] = ls_node_take(node, (size_t)x->count * ls_type_size(type));
    if (gradients && w->needs_grad)
        args.dw = node->saved[SAVED_DW] = ls_gradient_take(node, 1, type);
    if (gradients && ((x->needs_grad && !args.dx) || (w->needs_grad && !args.dw)))
        return LS_EMEM;
    count_flops(node, &args, hosts_weights);
    return device->cross_entropy(device, &args, ls_tape_arena(node->tape));
}

static ls_status cross_entropy_forward(ls_node *node, ls_device *device)
{
    const cross_entropy_attributes *at = node->attributes;
    int64_t rows = node->in[0]->shape[0];
    ls_type type = node->out[0]->type;
    void *losses = ls_node_take(node, (size_t)rows * ls_type_size(type));
    if (!losses)
        return LS_EMEM;
    ls_cross_entropy_args args = args_of(node, at->labels, at->weights);
    args.losses = losses;
    const ls_status status = compute(node, device, args, node->recorded, true);
    if (status != LS_OK)
        return status;
    device->sum_losses(device, type, rows, at->labels, at->weights, losses, type, node->out[0]->data);
    return ls_give_losses(node, type, rows, losses, at->losses);
}

/* Times the number at `dloss`, or 1. */
static void scale(ls_device *device, ls_type type, int64_t n, const void *dloss, const void *x, void *y)
{
    if (dloss)
        device->scale_by(device, type, n, dloss, x, y);
    else
        device->unary(device, LS_UNARY_SCALE, type, n, 1, 0, x, y);
}

/* dx, scaled, in the type that x's gradient has. */
static ls_status give_dx(ls_node *node, ls_device *device, const void *dloss)
{
    const ls_tensor *x = node->in[0];
    const ls_type type = node->out[0]->type;
    bool accumulate;
    void *to = ls_gradient_open(node, 0, type, &accumulate);
    if (!to)
        return x->needs_grad ? LS_EMEM : LS_OK;
    void *scaled = accumulate ? ls_node_take(node, (size_t)x->count * ls_type_size(type)) : to;
    if (!scaled)
        return LS_EMEM;
    scale(device, type, x->count, dloss, node->saved[SAVED_DX], scaled);
    if (accumulate)
        device->add_to(device, type, x->count, scaled, to);
    return LS_OK;
}

/* The saved gradients times the number at `dloss` (NULL: 1) to the inputs; w's block goes with it. */
static ls_status give(ls_node *node, ls_device *device, const void *dloss)
{
    const ls_tensor *w = node->in[1];
    const ls_type type = node->out[0]->type;
    if (w->needs_grad) {
        scale(device, type, w->count, dloss, node->saved[SAVED_DW], node->saved[SAVED_DW]);
        ls_gradient_give(node, 1, type, node->saved[SAVED_DW]);
        node->saved[SAVED_DW] = NULL;
    }
    return give_dx(node, device, dloss);
}

/* Gradients in backward: weights are known by then only, or the block was given away and backward is run again. */
static ls_status compute_late(ls_node *node, ls_device *device, const int32_t *labels, const float *weights, bool hosts_weights)
{
    ls_cross_entropy_args args = args_of(node, labels, weights);
    args.losses = ls_node_take(node, (size_t)args.rows * ls_type_size(node->out[0]->type));
    return args.losses ? compute(node, device, args, true, hosts_weights) : LS_EMEM;
}

static ls_status cross_entropy_backward(ls_node *node, ls_device *device)
{
    const cross_entropy_attributes *at = node->attributes;
    ls_status status = LS_OK;
    if (node->in[1]->needs_grad && !node->saved[SAVED_DW])
        status = compute_late(node, device, at->labels, at->weights, true);
    return status == LS_OK ? give(node, device, node->out[0]->grad) : status;
}

static const ls_op cross_entropy_op = {"cross_entropy_sum", cross_entropy_shape, cross_entropy_forward,
                                       cross_entropy_backward};

ls_tensor *ls_cross_entropy_sum(ls_tape *tape, ls_tensor *x, ls_tensor *w, const int32_t *labels, const float *weights,
                                float *losses)
{
    int64_t rows = x->ndim ? x->shape[0] : 1;
    const cross_entropy_attributes at = {
        .labels = ls_keep_array(tape, labels, rows, sizeof *labels),
        .weights = weights ? ls_copy_array(tape, weights, rows, sizeof *weights) : NULL,
        .losses = losses,
    };
    return ls_apply(tape, &cross_entropy_op, 2, (ls_tensor *[]){x, w}, &at, sizeof at, 1, NULL);
}

/* ---- by groups ---- */

typedef struct {
    const int32_t *labels; /* [rows], on the arena; -1 where the group is < 0 */
    const int32_t *group;  /* [rows], on the arena; -1 where the label is < 0 */
    int64_t groups;
} group_attributes;

static ls_status groups_shape(ls_node *node)
{
    const group_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *w = node->in[1];
    ls_status status = ls_check_types(node);
    if (status != LS_OK)
        return status;
    if (x->ndim != 2 || w->ndim != 2 || x->shape[1] != w->shape[1])
        return ls_fail(LS_ESHAPE, "x %s and w %s: they must be [rows, width] and [vocabulary, width]",
                       ls_describe(x).text, ls_describe(w).text);
    if (at->groups < 1)
        return ls_fail(LS_EARG, "%lld groups, must be at least 1", (long long)at->groups);
    for (int64_t r = 0; r < x->shape[0]; r++)
        if (at->labels[r] >= w->shape[0] || at->group[r] >= at->groups)
            return ls_fail(LS_EARG, "label %d and group %d of row %lld: there are %lld labels and %lld groups",
                           at->labels[r], at->group[r], (long long)r, (long long)w->shape[0], (long long)at->groups);
    ls_set_shape(node->out[0], ls_wide_type(x->type), 1, &at->groups);
    return LS_OK;
}

/* Sums in f64, rows in ascending order. */
static ls_status groups_forward(ls_node *node, ls_device *device)
{
    const group_attributes *at = node->attributes;
    const int64_t rows = node->in[0]->shape[0];
    const ls_type type = node->out[0]->type;
    double *sums = ls_node_take(node, (size_t)at->groups * sizeof *sums), *wide = ls_node_take(node, (size_t)rows * sizeof *wide);
    ls_cross_entropy_args args = args_of(node, at->labels, NULL);
    args.losses = ls_node_take(node, (size_t)rows * ls_type_size(type));
    if (!args.losses || !sums || !wide)
        return LS_EMEM;
    const ls_status status = compute(node, device, args, false, true);
    device->cast(device, type, LS_F64, rows, args.losses, wide);
    device->fill(device, LS_F64, at->groups, 0, sums);
    device->scatter_add_rows(device, LS_F64, LS_F64, rows, 1, at->groups, at->group, wide, sums, ls_tape_arena(node->tape));
    device->cast(device, LS_F64, type, at->groups, sums, node->out[0]->data);
    return status;
}

/* The gradient of a group is the weight of each of its rows. */
static ls_status groups_backward(ls_node *node, ls_device *device)
{
    const group_attributes *at = node->attributes;
    const ls_tensor *y = node->out[0];
    const int64_t rows = node->in[0]->shape[0];
    void *of_row = ls_node_take(node, (size_t)rows * ls_type_size(y->type));
    float *weights = y->type == LS_F32 ? of_row : ls_node_take(node, (size_t)rows * sizeof *weights);
    if (!weights || !of_row)
        return LS_EMEM;
    device->gather_rows(device, y->type, rows, 1, at->group, y->grad, of_row);
    if (y->type != LS_F32)
        device->cast(device, y->type, LS_F32, rows, of_row, weights);
    const ls_status status = compute_late(node, device, at->labels, weights, !device->synchronize);
    return status == LS_OK ? give(node, device, NULL) : status;
}

static const ls_op cross_entropy_groups_op = {"cross_entropy_groups", groups_shape, groups_forward, groups_backward};

ls_tensor *ls_cross_entropy_groups(ls_tape *tape, ls_tensor *x, ls_tensor *w, const int32_t *labels, int64_t groups,
                                   const int32_t *group)
{
    const int64_t rows = x->ndim ? x->shape[0] : 1;
    int32_t *counted = ls_copy_array(tape, labels, rows, sizeof *labels); /* NULL after an error, which is sticky */
    int32_t *of = ls_copy_array(tape, group, rows, sizeof *group);
    for (int64_t r = 0; counted && of && r < rows; r++) {
        counted[r] = group[r] < 0 ? -1 : labels[r];
        of[r] = labels[r] < 0 ? -1 : group[r];
    }
    const group_attributes at = {.labels = counted, .group = of, .groups = groups};
    return ls_apply(tape, &cross_entropy_groups_op, 2, (ls_tensor *[]){x, w}, &at, sizeof at, 1, NULL);
}
