/* Backward: from a loss back over the tape, and who owns a gradient's block on the way.
 *
 * A tensor's gradient starts as NULL. The first node that adds to it gets a block from the pool, which it overwrites
 * where it can (ls_gradient_open) or finds zeroed (ls_gradient); the others add. Walking in the reverse order of
 * recording, a result's gradient is complete when its maker is reached, and its block goes back to the pool right
 * after. So the order of additions is the reverse order of recording, and within one node that of its inputs: it
 * depends on the graph alone. The blocks alive at a time are those between two cuts of the graph, whatever its depth.
 */
#include "tensor/tape.h"

size_t ls_gradient_bytes(const ls_tensor *x)
{
    if (ls_has_sparse_rows(x))
        return x->grad ? ls_row_gradient_bytes(x->grad, x->grad_type) : 0;
    return (size_t)x->count * ls_type_size(x->grad_type);
}

void *ls_tape_take_gradient(ls_tape *tape, size_t bytes)
{
    void *block = ls_pool_take(&tape->pool, bytes);
    if (!block && tape->status == LS_OK)
        ls_tape_raise_operator(tape, ls_arena_status(tape->gradients), "backward");
    return block;
}

void *ls_tape_take_gradient_of(ls_tape *tape, ls_tensor *x)
{
    const bool asks = tape->place && x->parameter && x->grad_type == LS_F32 && !x->place && !ls_has_sparse_rows(x);
    void *place = asks ? tape->place(tape->place_context, x->parameter) : NULL;
    if (!place)
        return ls_tape_take_gradient(tape, ls_gradient_bytes(x));
    x->place = place;
    return place;
}

/* A block of x's gradient is done with: to the pool, or out of the tape. */
static void give_block(ls_tape *tape, ls_tensor *x, void *block, size_t bytes)
{
    if (block == x->place)
        x->place = NULL;
    else
        ls_pool_give(&tape->pool, block, bytes);
}

static void give_grad(ls_tape *tape, ls_tensor *x)
{
    if (x->grad)
        give_block(tape, x, ls_has_sparse_rows(x) ? ((ls_row_gradient *)x->grad)->vector : x->grad, ls_gradient_bytes(x));
    x->grad = NULL;
}

/* ---- what an operator's backward asks for ---- */

/* Has an earlier input that is the same tensor got the tensor's own block? */
static bool given_directly(const ls_node *node, int input)
{
    for (int i = 0; i < node->inputs; i++)
        if (i != input && node->in[i] == node->in[input] && node->requests[i].direct)
            return true;
    return false;
}

/* Needs no gradient, or none that is dense. */
static bool refused(ls_node *node, const ls_tensor *x)
{
    if (!x || !x->needs_grad)
        return true;
    if (!ls_has_sparse_rows(x))
        return false;
    ls_tape_raise(node->tape, LS_EARG,
                  "operator %s: parameter %s has sparse rows, and only embedding and gather give such a gradient; an "
                  "output head tied to it, for one, needs a dense one",
                  node->op->name, x->parameter->name);
    return true;
}

void *ls_gradient_open(ls_node *node, int input, ls_type type, bool *accumulate)
{
    ls_tensor *x = node->in[input];
    *accumulate = true;
    if (refused(node, x))
        return NULL;
    ls_gradient_request *request = &node->requests[input];
    if (request->block)
        return request->block;
    request->type = type;
    request->direct = type == x->grad_type && !given_directly(node, input);
    if (request->direct && x->grad) {
        request->block = x->grad;
        return x->grad;
    }
    *accumulate = false;
    request->block = request->direct ? ls_tape_take_gradient_of(node->tape, x)
                                     : ls_tape_take_gradient(node->tape, (size_t)x->count * ls_type_size(type));
    if (request->direct)
        x->grad = request->block;
    return request->block;
}

void *ls_gradient_as(ls_node *node, int input, ls_type type)
{
    bool accumulate;
    void *block = ls_gradient_open(node, input, type, &accumulate);
    if (block && !accumulate)
        node->tape->device->fill(node->tape->device, type, node->in[input]->count, 0, block);
    return block;
}

void *ls_gradient(ls_node *node, int input)
{
    return node->in[input] ? ls_gradient_as(node, input, node->in[input]->type) : NULL;
}

void *ls_gradient_take(ls_node *node, int input, ls_type type)
{
    ls_tensor *x = node->in[input];
    if (refused(node, x))
        return NULL;
    if (type == x->grad_type)
        return ls_tape_take_gradient_of(node->tape, x);
    return ls_tape_take_gradient(node->tape, (size_t)x->count * ls_type_size(type));
}

void ls_gradient_give(ls_node *node, int input, ls_type type, void *block)
{
    ls_tensor *x = node->in[input];
    const bool direct = type == x->grad_type && !x->grad;
    node->requests[input] = (ls_gradient_request){.block = block, .type = type, .direct = direct};
    if (direct)
        x->grad = block;
}

void ls_gradient_pass(ls_node *node, int input, const void *dy)
{
    ls_tensor *x = node->in[input], *y = node->out[0];
    if (refused(node, x))
        return;
    ls_device *device = node->tape->device;
    if (!x->grad && x->grad_type == y->grad_type && y->grad == dy) {
        x->grad = y->grad; /* the block changes its owner; nothing is copied */
        y->grad = NULL;
        node->requests[input] = (ls_gradient_request){.block = x->grad, .type = x->grad_type, .direct = true};
        return;
    }
    bool accumulate;
    void *dx = ls_gradient_open(node, input, y->grad_type, &accumulate);
    if (!dx)
        return;
    if (accumulate)
        device->add_to(device, y->grad_type, x->count, dy, dx);
    else
        device->cast(device, y->grad_type, y->grad_type, x->count, dy, dx);
}

/* ---- walking ---- */

/* Adds what an input's gradient got in a block of its own (another type, or the same tensor twice). */
static void settle_input(ls_node *node, int input)
{
    ls_tape *tape = node->tape;
    ls_device *device = tape->device;
    ls_gradient_request *request = &node->requests[input];
    ls_tensor *x = node->in[input];
    void *block = request->block;
    ls_type type = request->type;
    bool direct = request->direct;
    *request = (ls_gradient_request){0};
    if (!block || direct)
        return;
    if (!x->grad && type == x->grad_type) {
        x->grad = block;
        return;
    }
    void *sum = block;
    if (type != x->grad_type) {
        sum = ls_tape_take_gradient(tape, ls_gradient_bytes(x));
        if (!sum)
            return;
        device->cast(device, type, x->grad_type, x->count, block, sum);
        ls_pool_give(&tape->pool, block, (size_t)x->count * ls_type_size(type));
    }
    if (!x->grad) {
        x->grad = sum;
        return;
    }
    device->add_to(device, x->grad_type, x->count, sum, x->grad);
    give_block(tape, x, sum, ls_gradient_bytes(x));
}

static bool reached(const ls_node *node)
{
    for (int i = 0; i < node->outputs; i++)
        if (node->out[i]->grad)
            return true;
    return false;
}

/* The backward of a node without a single output element: zeros for each input that needs a gradient; no row of a table
 * whose rows are sparse. */
static ls_status nothing_to_add(ls_node *node)
{
    for (int i = 0; i < node->inputs; i++)
        if (node->in[i] && !ls_has_sparse_rows(node->in[i]))
            ls_gradient_as(node, i, node->in[i]->grad_type);
    return ls_tape_status(node->tape);
}

static void step_back(ls_node *node)
{
    ls_tape *tape = node->tape;
    const int64_t begin = ls_trace_begin(tape->trace);
    const double flops = tape->flops;
    const ls_tape_mark mark = ls_tape_marked(tape);
    ls_status status = ls_make_inputs_again(node);
    if (status == LS_OK)
        status = ls_node_is_empty(node) ? nothing_to_add(node) : node->op->backward(node, tape->device);
    ls_tape_release(tape, mark);
    for (int i = 0; i < node->inputs; i++)
        settle_input(node, i);
    if (begin)
        ls_tape_trace_node(node, true, begin, flops);
    for (int i = 0; i < node->outputs; i++)
        give_grad(tape, node->out[i]);
    ls_let_go_again(node);
    if (status == LS_OK)
        return;
    ls_fail_at(status, "backward");
    ls_tape_raise_operator(tape, status, node->op->name);
}

void ls_tape_walk(ls_tape *tape, ls_node *node, ls_gradient_ready ready, void *context)
{
    ls_use_record *use = tape->newest_use; /* not popped from the tape: backward may be run again */
    for (; node && tape->status == LS_OK; node = node->previous) {
        if (reached(node))
            step_back(node);
        if (!ready || tape->status != LS_OK)
            continue;
        for (; use && use->first >= node->number; use = use->older) {
            if (use->tensor.grad)
                ready(context, use->tensor.parameter, use->tensor.grad);
            give_grad(tape, &use->tensor);
        }
    }
}

void ls_backward(ls_tape *tape, ls_tensor *loss, double dloss, ls_gradient_ready ready, void *context)
{
    if (tape->status != LS_OK)
        return;
    if (loss->count != 1) {
        ls_tape_raise(tape, LS_ESHAPE, "backward: the loss has %lld elements, it must be one; sum it first",
                      (long long)loss->count);
        return;
    }
    if (!loss->needs_grad) {
        ls_tape_raise(tape, LS_EARG,
                      "backward: the loss depends on nothing that needs a gradient; is everything frozen, "
                      "or inside a no-grad scope?");
        return;
    }
    if (!loss->grad)
        loss->grad = ls_tape_take_gradient(tape, ls_gradient_bytes(loss));
    if (!loss->grad)
        return;
    tape->device->fill(tape->device, loss->grad_type, 1, dloss, loss->grad);
    ls_tape_walk(tape, tape->now.last, ready, context);
}
