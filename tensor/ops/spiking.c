/* Spikes: 1 where x >= threshold, else 0. Backward one of these stands in for the derivative, with u = x - threshold
 * and slope a (Neftci et al. 2019, "Surrogate gradient learning in spiking neural networks"):
 *
 *     straight       1                              straight-through (Bengio et al. 2013); snnTorch's
 *                                                   straight_through_estimator
 *     rectangle      a where |u| < 1 / (2 a)        Wu et al. 2018 (STBP); SpikingJelly's Rect
 *     triangle       max(0, a - a^2 |u|)            Esser et al. 2016, Bellec et al. 2018; SpikingJelly's
 * PiecewiseQuadratic fast sigmoid   1 / (1 + a |u|)^2              Zenke & Ganguli 2018 (SuperSpike); snnTorch's
 * fast_sigmoid, and SpikingJelly's SoftSign times 2 / a arctan         (a/2) / (1 + (pi/2 a u)^2)     Fang et al. 2021;
 * ATan of both sigmoid        a s (1 - s), s = sigmoid(a u)  Sigmoid of both
 *
 * A surrogate of your own is an operator of your own: this forward, and your slope times dy
 * (docs/adding-an-operator.md). */
#include "tensor/ops/shapes.h"

#include <math.h>

typedef struct {
    ls_unary word;
    double threshold, slope;
} spike_attributes;

static ls_status spike_shape(ls_node *node)
{
    const spike_attributes *at = node->attributes;
    if (at->word < LS_UNARY_SPIKE_STRAIGHT || at->word > LS_UNARY_SPIKE_SIGMOID)
        return ls_fail(LS_EARG, "surrogate number %d; there are 0 to %d", (int)at->word - LS_UNARY_SPIKE_STRAIGHT,
                       LS_UNARY_SPIKE_SIGMOID - LS_UNARY_SPIKE_STRAIGHT);
    if (!isfinite(at->threshold) || !isfinite(at->slope) || at->slope <= 0)
        return ls_fail(LS_EARG, "threshold %g and slope %g: both must be finite, the slope above 0", at->threshold,
                       at->slope);
    return ls_shape_like_input(node);
}

static ls_status spike_forward(ls_node *node, ls_device *device)
{
    const spike_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0];
    device->unary(device, at->word, x->type, x->count, at->slope, at->threshold, x->data, node->out[0]->data);
    return LS_OK;
}

static ls_status spike_backward(ls_node *node, ls_device *device)
{
    const spike_attributes *at = node->attributes;
    const ls_tensor *x = node->in[0], *y = node->out[0];
    void *dx = ls_gradient(node, 0);
    if (dx)
        device->unary_backward(device, at->word, x->type, x->count, at->slope, at->threshold, x->data, y->data, y->grad,
                               dx);
    return LS_OK;
}

static const ls_op spike_op = {"spike", spike_shape, spike_forward, spike_backward};

ls_tensor *ls_spike(ls_tape *tape, ls_tensor *x, double threshold, ls_surrogate surrogate, double slope)
{
    const spike_attributes at = {(ls_unary)((int)LS_UNARY_SPIKE_STRAIGHT + (int)surrogate), threshold, slope};
    return ls_apply(tape, &spike_op, 1, &x, &at, sizeof at, 1, NULL);
}
