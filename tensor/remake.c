/* Results that forward lets go and backward makes again: the cheap half of recomputation, without its products
 * (Korthikanti et al. 2022, "Reducing activation recomputation in large transformer models", recompute what is large
 * and quick to compute).
 *
 *   forward   an operator whose shape rule set node->remake gets its result from the blocks of the gradients, whose
 *             lives need not nest; ls_let_go gives the block back
 *   backward  before a node's backward, what its inputs let go is made again, from their makers' inputs, which may have
 *             to be made first; after the maker's own backward nobody is left to read it, and it is let go once more
 * A result that nobody lets go keeps its block until the reset, but in the backward of a recompute scope, where all
 * readers are known to be behind when the maker has been. */
#include "tensor/tape.h"

static size_t bytes_of(const ls_tensor *x)
{
    return (size_t)x->count * ls_type_size(x->type);
}

void ls_let_go(ls_tape *tape, ls_tensor *x)
{
    if (!x->apart || !x->data)
        return;
    ls_pool_give(&tape->pool, x->data, bytes_of(x));
    x->data = NULL;
    x->let_go = true;
}

void *ls_tape_take_apart(ls_node *node, ls_tensor *out)
{
    out->apart = node->recorded && node->remake && out->count;
    return out->apart ? ls_pool_take(&node->tape->pool, bytes_of(out)) : NULL;
}

bool ls_is_gone(const ls_tensor *x)
{
    return x && x->count && !x->data;
}

static ls_status make_again(ls_tensor *x)
{
    if (!ls_is_gone(x) || !x->apart)
        return LS_OK; /* what became a sum's place is read by nobody */
    ls_node *maker = x->node;
    x->data = ls_tape_take_gradient(maker->tape, bytes_of(x));
    return x->data ? maker->remake(maker, maker->tape->device) : LS_EMEM;
}

ls_status ls_make_inputs_again(ls_node *node)
{
    ls_status status = LS_OK;
    for (int i = 0; i < node->inputs && status == LS_OK; i++)
        status = make_again(node->in[i]);
    return status;
}

void ls_let_go_again(ls_node *node)
{
    for (int i = 0; i < node->outputs; i++)
        if (node->out[i]->let_go || node->tape->now.replaying)
            ls_let_go(node->tape, node->out[i]);
}
