/* Recompute scopes: memory for time (Chen et al. 2016, "Training deep nets with sublinear memory cost").
 *
 *   forward   y = f(context, x), nothing recorded; all that f took from the arena is given back but y. One node stands
 *             for the scope. Parameters used inside count as used at that node, so their gradients are handed over when
 *             backward has passed it.
 *   backward  f again, recorded on a tape of its own (the node list starts anew), with the operator counter of the
 *             random numbers set back; then a walk over that list, and all it took is given back.
 * x's gradient block is lent to the inner tape and comes back, so additions happen in the very order of the plain call.
 */
#include "tensor/tape.h"

#include <string.h>

typedef struct {
    ls_recompute_body body;
    void *context;
    uint32_t random_operator; /* when the scope began */
} recompute;

static ls_status recompute_backward(ls_node *node, ls_device *device)
{
    (void)device;
    const recompute *scope = node->attributes;
    ls_tape *tape = node->tape;
    ls_tensor *x = node->in[0], *y = node->out[0];
    const ls_tape_position outside = tape->now;

    tape->now =
        (ls_tape_position){.number = outside.number, .random_operator = scope->random_operator, .replaying = true};
    ls_tensor *inner_x = ls_tape_tensor(tape, x->type, x->ndim, x->shape);
    if (!inner_x)
        goto done;
    inner_x->data = x->data;
    inner_x->needs_grad = x->needs_grad;
    inner_x->grad_type = x->grad_type;
    inner_x->grad = x->grad;
    ls_tensor *inner_y = scope->body(scope->context, tape, inner_x);
    if (tape->status != LS_OK)
        goto done;
    if (inner_y->type != y->type || inner_y->count != y->count || !inner_y->node) {
        ls_tape_raise(tape, LS_EARG, "the scope's function must compute its result, and the same each time");
        goto done;
    }
    inner_y->grad = y->grad;
    y->grad = NULL;
    ls_tape_walk(tape, tape->now.last, NULL, NULL);
    x->grad = inner_x->grad;
done:
    tape->now = outside;
    return ls_tape_status(tape);
}

static const ls_op recompute_op = {.name = "recompute", .backward = recompute_backward};

static ls_node *scope_node(ls_tape *tape, const recompute *scope, size_t context_bytes, ls_tensor *x)
{
    ls_node *node = ls_tape_node(tape, &recompute_op, 1, &x, scope, sizeof *scope, 1);
    if (!node)
        return NULL;
    recompute *copy = node->attributes;
    if (context_bytes) {
        copy->context = ls_tape_take(tape, tape->records, context_bytes);
        if (!copy->context)
            return NULL;
        memcpy(copy->context, scope->context, context_bytes);
    }
    return node;
}

/* Gives back all that was taken since the mark but one block, which is moved down. The device moves it, in the order of its
 * work: nothing that is taken now is written before that. */
static void *keep(ls_tape *tape, ls_tape_mark mark, void *block, size_t bytes)
{
    const bool moves = ls_arena_took(tape->activations, mark.activations, block);
    if (!tape->device->synchronize)
        return ls_arena_keep(tape->activations, mark.activations, block, bytes);
    ls_tape_release(tape, mark);
    if (!moves)
        return block;
    void *to = ls_tape_take(tape, tape->activations, bytes); /* it fitted before */
    tape->device->move(tape->device, bytes, block, to);
    return to;
}

ls_tensor *ls_recompute(ls_tape *tape, ls_recompute_body f, void *context, size_t context_bytes, ls_tensor *x)
{
    if (tape->status != LS_OK)
        return &tape->harmless;
    recompute scope = {.body = f, .context = context, .random_operator = tape->now.random_operator};
    ls_node *node = scope_node(tape, &scope, context_bytes, x);
    if (!node)
        return &tape->harmless;
    const ls_tape_mark mark = ls_tape_marked(tape);
    tape->now.unrecorded++;
    const ls_tensor *inside = f(context, tape, x);
    tape->now.unrecorded--;
    if (tape->status != LS_OK)
        return &tape->harmless;

    ls_tensor *y = node->out[0] = ls_tape_tensor(tape, inside->type, inside->ndim, inside->shape);
    if (!y)
        return &tape->harmless;
    y->data = keep(tape, mark, inside->data, (size_t)inside->count * ls_type_size(inside->type));
    y->needs_grad = inside->needs_grad && !tape->now.no_grad;
    if (y->needs_grad && !tape->now.unrecorded)
        ls_tape_record(tape, node);
    return y;
}
