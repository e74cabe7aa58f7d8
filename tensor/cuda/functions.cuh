/* Functions of one number and their slopes: for the elementwise entries, and for what ends a product. Formulas are those of
 * tensor/cpu/vector/unary.c; exp, log, tanh and erfc are CUDA's own, within 2 units in the last place. */
#pragma once
#include "tensor/cuda/cuda.cuh"

template <typename W> __device__ inline W ls_sigmoid(W x)
{
    const W e = exp(-fabs(x));
    return x < 0 ? e / (1 + e) : 1 / (1 + e);
}

template <typename W> __device__ inline W ls_normal_cdf(W x)
{
    return (W)0.5 * erfc(-x * (W)0.70710678118654752440);
}

static constexpr double LS_GELU_SCALE = 0.79788456080286535588; /* sqrt(2 / pi) */

template <typename W> __device__ inline W ls_gelu_tanh_inner(W x)
{
    return tanh((W)LS_GELU_SCALE * (x + (W)0.044715 * x * x * x));
}

template <typename W> __device__ inline W ls_unary_value(int op, W a, W b, W x)
{
    switch (op) {
    case LS_UNARY_EXP: return exp(x);
    case LS_UNARY_LOG: return log(x);
    case LS_UNARY_SQRT: return sqrt(x);
    case LS_UNARY_TANH: return tanh(x);
    case LS_UNARY_SIGMOID: return ls_sigmoid(x);
    case LS_UNARY_SOFTPLUS: return (x < 0 ? 0 : x) + log1p(exp(-fabs(x)));
    case LS_UNARY_RELU: return x < 0 ? 0 : x; /* a NaN stays */
    case LS_UNARY_GELU: return x * ls_normal_cdf(x);
    case LS_UNARY_GELU_TANH: return (W)0.5 * x * (1 + ls_gelu_tanh_inner(x));
    case LS_UNARY_SILU: return x * ls_sigmoid(x);
    case LS_UNARY_ABS: return fabs(x);
    case LS_UNARY_NEG: return -x;
    case LS_UNARY_SQUARE: return x * x;
    case LS_UNARY_SCALE: return a * x + b;
    case LS_UNARY_CLAMP: return x < a ? a : x > b ? b : x;
    default: return (W)(x >= b); /* spikes */
    }
}

template <typename W> __device__ inline W ls_unary_slope(int op, W a, W b, W x, W y)
{
    const W s = ls_sigmoid(x), u = x - b;
    switch (op) {
    case LS_UNARY_EXP: return y;
    case LS_UNARY_LOG: return 1 / x;
    case LS_UNARY_SQRT: return (W)0.5 / y;
    case LS_UNARY_TANH: return 1 - y * y;
    case LS_UNARY_SIGMOID: return y * (1 - y);
    case LS_UNARY_SOFTPLUS: return s;
    case LS_UNARY_RELU: return (W)(x > 0);
    case LS_UNARY_GELU: return ls_normal_cdf(x) + x * exp((W)-0.5 * x * x) * (W)(LS_GELU_SCALE / 2);
    case LS_UNARY_GELU_TANH: {
        const W t = ls_gelu_tanh_inner(x);
        return (W)0.5 * (1 + t) + (W)0.5 * x * (1 - t * t) * (W)LS_GELU_SCALE * (1 + (W)(3 * 0.044715) * x * x);
    }
    case LS_UNARY_SILU: return s * (1 + x * (1 - s));
    case LS_UNARY_ABS: return (W)(x > 0) - (W)(x < 0);
    case LS_UNARY_NEG: return -1;
    case LS_UNARY_SQUARE: return 2 * x;
    case LS_UNARY_SCALE: return a;
    case LS_UNARY_CLAMP: return (W)(x >= a && x <= b);
    case LS_UNARY_SPIKE_STRAIGHT: return 1;
    case LS_UNARY_SPIKE_RECTANGLE: return fabs(u) < (W)0.5 / a ? a : 0;
    case LS_UNARY_SPIKE_TRIANGLE: {
        const W slope = a - a * a * fabs(u);
        return slope < 0 ? 0 : slope;
    }
    case LS_UNARY_SPIKE_FAST_SIGMOID: return 1 / ((1 + a * fabs(u)) * (1 + a * fabs(u)));
    case LS_UNARY_SPIKE_ARCTAN: {
        const W t = (W)1.57079632679489661923 * a * u;
        return a / 2 / (1 + t * t);
    }
    default: return a * ls_sigmoid(a * u) * ls_sigmoid(-a * u); /* LS_UNARY_SPIKE_SIGMOID */
    }
}

/* The activation of a product, as a unary operator; -1: none. */
static inline int ls_unary_of(ls_activation activation)
{
    switch (activation) {
    case LS_ACT_RELU: return LS_UNARY_RELU;
    case LS_ACT_GELU: return LS_UNARY_GELU;
    case LS_ACT_GELU_TANH: return LS_UNARY_GELU_TANH;
    case LS_ACT_SILU: return LS_UNARY_SILU;
    default: return -1;
    }
}
