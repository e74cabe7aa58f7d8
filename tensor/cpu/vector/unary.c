/* Functions of one element, and their gradients. bf16 is computed in f32. */
#include "tensor/cpu/vector/math.h"
#include "tensor/cpu/vector/prototypes.h"

/* GPT-2's GELU: x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3); this form keeps the negative tail. */
always_inline real gelu_tanh_argument(real x)
{
    return (real)1.5957691216057308 * (x + (real)0.044715 * (x * x * x));
}

always_inline real gelu_tanh_slope_of(real x, real s)
{
    return s + x * (s * (1 - s)) * ((real)1.5957691216057308 * (1 + (real)(3 * 0.044715) * (x * x)));
}

always_inline real gelu_tanh_slope(real x)
{
    return gelu_tanh_slope_of(x, sigmoid_of_number(gelu_tanh_argument(x)));
}

always_inline real silu_slope_of(real x, real s)
{
    return s * (1 + x * (1 - s));
}

always_inline real silu_slope(real x)
{
    return silu_slope_of(x, sigmoid_of_number(x));
}

/* What stands in for the derivative of a spike, as a function of u, the distance from the threshold (ops/spiking.c). */
always_inline real triangle_slope(real a, real u)
{
    real height = a - a * a * real_abs(u);
    return height > 0 ? height : 0;
}

always_inline real fast_sigmoid_slope(real a, real u)
{
    real d = 1 + a * real_abs(u);
    return 1 / (d * d);
}

always_inline real arctan_slope(real a, real u)
{
    real z = (real)1.5707963267948966 * a * u;
    return (real)0.5 * a / (1 + z * z);
}

always_inline real sigmoid_slope(real a, real u)
{
    real tail = real_sigmoid(-real_abs(a * u)); /* the smaller side: 1 - it keeps its digits */
    return a * (tail * (1 - tail));
}

/* y[i] = expression of v = x[i] */
#define EACH(expression)                                                                                               \
    do {                                                                                                               \
        INDEPENDENT for (int64_t i = 0; i < n; i++)                                                                    \
        {                                                                                                              \
            const real v = load(x + i);                                                                                \
            y[i] = store(expression);                                                                                  \
        }                                                                                                              \
    } while (0)

void KERNEL(unary)(ls_unary op, int64_t n, double a_, double b_, const void *x_, void *y_)
{
    const element *x = x_;
    element *y = y_;
    const real a = (real)a_, b = (real)b_;
    switch (op) {
    case LS_UNARY_EXP: EACH(real_exp(v)); break;
    case LS_UNARY_LOG: EACH(real_log(v)); break;
    case LS_UNARY_SQRT: EACH(real_sqrt(v)); break;
    case LS_UNARY_TANH: EACH(real_tanh(v)); break;
    case LS_UNARY_SIGMOID: EACH(real_sigmoid(v)); break;
    case LS_UNARY_SOFTPLUS: EACH(real_softplus(v)); break;
    case LS_UNARY_RELU: EACH(v < 0 ? 0 : v); break; /* a NaN stays */
    case LS_UNARY_GELU: EACH(v * normal_cdf(v)); break;
    case LS_UNARY_GELU_TANH: EACH(v * sigmoid_of_number(gelu_tanh_argument(v))); break;
    case LS_UNARY_SILU: EACH(v * sigmoid_of_number(v)); break;
    case LS_UNARY_ABS: EACH(real_abs(v)); break;
    case LS_UNARY_NEG: EACH(-v); break;
    case LS_UNARY_SQUARE: EACH(v * v); break;
    case LS_UNARY_SCALE: EACH(a * v + b); break;
    case LS_UNARY_CLAMP: EACH(v < a ? a : v > b ? b : v); break;
    case LS_UNARY_SPIKE_STRAIGHT:
    case LS_UNARY_SPIKE_RECTANGLE:
    case LS_UNARY_SPIKE_TRIANGLE:
    case LS_UNARY_SPIKE_FAST_SIGMOID:
    case LS_UNARY_SPIKE_ARCTAN:
    case LS_UNARY_SPIKE_SIGMOID: EACH((real)(v >= b)); break;
    case LS_UNARY_COUNT: break;
    }
}

/* dx[i] += dy[i] * expression of v = x[i], w = y[i] */
#define EACH_SLOPE(expression)                                                                                         \
    do {                                                                                                               \
        INDEPENDENT for (int64_t i = 0; i < n; i++)                                                                    \
        {                                                                                                              \
            const real v = load(x + i), w = load(y + i);                                                               \
            (void)v, (void)w;                                                                                          \
            dx[i] = store(load(dx + i) + load(dy + i) * (expression));                                                 \
        }                                                                                                              \
    } while (0)

void KERNEL(unary_backward)(ls_unary op, int64_t n, double a_, double b_, const void *x_, const void *y_,
                            const void *dy_, void *dx_)
{
    const element *x = x_, *y = y_, *dy = dy_;
    element *dx = dx_;
    const real a = (real)a_, b = (real)b_;
    switch (op) {
    case LS_UNARY_EXP: EACH_SLOPE(w); break;
    case LS_UNARY_LOG: EACH_SLOPE(1 / v); break;
    case LS_UNARY_SQRT: EACH_SLOPE((real)0.5 / w); break;
    case LS_UNARY_TANH: EACH_SLOPE(1 - w * w); break;
    case LS_UNARY_SIGMOID: EACH_SLOPE(w * (1 - w)); break;
    case LS_UNARY_SOFTPLUS: EACH_SLOPE(real_sigmoid(v)); break;
    case LS_UNARY_RELU: EACH_SLOPE((real)(v > 0)); break;
    case LS_UNARY_GELU: EACH_SLOPE(normal_cdf(v) + v * normal_pdf(v)); break;
    case LS_UNARY_GELU_TANH: EACH_SLOPE(gelu_tanh_slope(v)); break;
    case LS_UNARY_SILU: EACH_SLOPE(silu_slope(v)); break;
    case LS_UNARY_ABS: EACH_SLOPE((real)(v > 0) - (real)(v < 0)); break;
    case LS_UNARY_NEG: EACH_SLOPE((real)-1); break;
    case LS_UNARY_SQUARE: EACH_SLOPE(2 * v); break;
    case LS_UNARY_SCALE: EACH_SLOPE(a); break;
    case LS_UNARY_CLAMP: EACH_SLOPE((real)((v >= a) & (v <= b))); break;
    case LS_UNARY_SPIKE_STRAIGHT: EACH_SLOPE((real)1); break;
    case LS_UNARY_SPIKE_RECTANGLE: EACH_SLOPE(real_abs(v - b) < (real)0.5 / a ? a : 0); break;
    case LS_UNARY_SPIKE_TRIANGLE: EACH_SLOPE(triangle_slope(a, v - b)); break;
    case LS_UNARY_SPIKE_FAST_SIGMOID: EACH_SLOPE(fast_sigmoid_slope(a, v - b)); break;
    case LS_UNARY_SPIKE_ARCTAN: EACH_SLOPE(arctan_slope(a, v - b)); break;
    case LS_UNARY_SPIKE_SIGMOID: EACH_SLOPE(sigmoid_slope(a, v - b)); break;
    case LS_UNARY_COUNT: break;
    }
}

/* to (+)= a b */
always_inline void add_products(int64_t n, const element *a, const element *b, element *to, bool add)
{
    if (add)
        INDEPENDENT for (int64_t i = 0; i < n; i++)
            to[i] = store(load(to + i) + load(a + i) * load(b + i));
    else
        INDEPENDENT for (int64_t i = 0; i < n; i++)
            to[i] = store(load(a + i) * load(b + i));
}

/* y[i] = v s x[i], s of v = gate[i]; the first product is rounded as the activation's result. */
#define OPEN_BY_SIGMOID(argument)                                                                                      \
    do {                                                                                                               \
        INDEPENDENT for (int64_t i = 0; i < n; i++)                                                                    \
        {                                                                                                              \
            const real v = load(gate + i);                                                                             \
            y[i] = store(rounded(v * sigmoid_of_number(argument)) * load(x + i));                                      \
        }                                                                                                              \
    } while (0)

void KERNEL(gated)(ls_unary op, int64_t n, const void *gate_, const void *x_, void *y_)
{
    const element *gate = gate_, *x = x_;
    element *y = y_, open[BLOCK];
    if (op == LS_UNARY_SILU) {
        OPEN_BY_SIGMOID(v);
        return;
    }
    if (op == LS_UNARY_GELU_TANH) {
        OPEN_BY_SIGMOID(gelu_tanh_argument(v));
        return;
    }
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t count = at_most(n - at, BLOCK);
        KERNEL(unary)(op, count, 0, 0, gate + at, open);
        INDEPENDENT for (int64_t i = 0; i < count; i++)
            y[at + i] = store(load(open + i) * load(x + at + i));
    }
}

/* Both gradients where f(v) = v s and f'(v) = slope of the same sigmoid s, which is most of the work: the bits are those of the
 * steps of KERNEL(gated_backward), each rounded as there. */
#define GATE_OF_SIGMOID(argument, slope)                                                                               \
    do {                                                                                                               \
        INDEPENDENT for (int64_t i = 0; i < n; i++)                                                                    \
        {                                                                                                              \
            const real v = load(gate + i), s = sigmoid_of_number(argument), d = load(dy + i);                               \
            const real dopen = rounded(d * load(x + i)), at = add_gate ? load(dgate + i) : 0;                          \
            const real product = d * rounded(v * s);                                                                   \
            dgate[i] = store(at + dopen * slope(v, s));                                                                \
            dx[i] = store(add_x ? load(dx + i) + product : product);                                                   \
        }                                                                                                              \
    } while (0)

/* Returns whether f is such a function. add_gate and add_x are constants at each call. */
always_inline bool gate_of_sigmoid(ls_unary op, int64_t n, const element *gate, const element *x, const element *dy, element *dgate,
                                   bool add_gate, element *dx, bool add_x)
{
    switch (op) {
    case LS_UNARY_SILU: GATE_OF_SIGMOID(v, silu_slope_of); return true;
    case LS_UNARY_GELU_TANH: GATE_OF_SIGMOID(gelu_tanh_argument(v), gelu_tanh_slope_of); return true;
    default: return false;
    }
}

void KERNEL(gated_backward)(ls_unary op, int64_t n, const void *gate_, const void *x_, const void *dy_, void *dgate_, bool add_gate,
                            void *dx_, bool add_x)
{
    const element *gate = gate_, *x = x_, *dy = dy_;
    element *dgate = dgate_, *dx = dx_, open[BLOCK], dopen[BLOCK];
    if (dgate && dx && !add_gate && !add_x && gate_of_sigmoid(op, n, gate, x, dy, dgate, false, dx, false))
        return;
    for (int64_t at = 0; at < n; at += BLOCK) {
        const int64_t count = at_most(n - at, BLOCK);
        KERNEL(unary)(op, count, 0, 0, gate + at, open);
        if (dx)
            add_products(count, dy + at, open, dx + at, add_x);
        if (!dgate)
            continue;
        add_products(count, dy + at, x + at, dopen, false);
        if (!add_gate)
            memset(dgate + at, 0, (size_t)count * sizeof *dgate);
        KERNEL(unary_backward)(op, count, 0, 0, gate + at, open, dopen, dgate + at);
    }
}
