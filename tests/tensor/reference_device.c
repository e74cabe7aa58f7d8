/* Every device function as its formula. See reference_device.h. */
#include "tests/tensor/reference_products.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

__extension__ typedef _Float16 half;

double reference_get(ls_type type, const void *array, int64_t i)
{
    uint32_t bits;
    float value;
    switch (type) {
    case LS_F64: return ((const double *)array)[i];
    case LS_F32: return (double)((const float *)array)[i];
    case LS_F16: return (double)((const half *)array)[i];
    default:
        bits = (uint32_t)((const uint16_t *)array)[i] << 16;
        memcpy(&value, &bits, sizeof value);
        return (double)value;
    }
}

static uint16_t to_bf16(double x)
{
    float value = (float)x;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (x != x)
        return (uint16_t)(bits >> 16 | 0x40);
    bits += 0x7fff + (bits >> 16 & 1);
    return (uint16_t)(bits >> 16);
}

void reference_put(ls_type type, void *array, int64_t i, double value)
{
    switch (type) {
    case LS_F64: ((double *)array)[i] = value; break;
    case LS_F32: ((float *)array)[i] = (float)value; break;
    case LS_F16: ((half *)array)[i] = (half)value; break;
    default: ((uint16_t *)array)[i] = to_bf16(value); break;
    }
}

#define get reference_get
#define put reference_put
#define add reference_add

void reference_add(ls_type type, void *array, int64_t i, double value)
{
    put(type, array, i, get(type, array, i) + value);
}

ls_type reference_wide(ls_type type)
{
    return type == LS_F64 ? LS_F64 : LS_F32;
}

/* Sums in f64 that are put into the array once. */
double *reference_zeros(int64_t n)
{
    return calloc((size_t)n, sizeof(double));
}

void reference_add_all(ls_type type, void *array, int64_t n, double *sums)
{
    for (int64_t i = 0; array && i < n; i++)
        add(type, array, i, sums[i]);
    free(sums);
}

/* ---- functions of one number ---- */

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double normal_cdf(double x)
{
    return 0.5 * erfc(-x / sqrt(2));
}

static const double gelu_scale = 0.7978845608028654; /* sqrt(2 / pi) */

double reference_activation(ls_unary op, double a, double b, double x)
{
    switch (op) {
    case LS_UNARY_EXP: return exp(x);
    case LS_UNARY_LOG: return log(x);
    case LS_UNARY_SQRT: return sqrt(x);
    case LS_UNARY_TANH: return tanh(x);
    case LS_UNARY_SIGMOID: return sigmoid(x);
    case LS_UNARY_SOFTPLUS: return fmax(x, 0) + log1p(exp(-fabs(x)));
    case LS_UNARY_RELU: return x > 0 ? x : 0;
    case LS_UNARY_GELU: return x * normal_cdf(x);
    case LS_UNARY_GELU_TANH: return 0.5 * x * (1 + tanh(gelu_scale * (x + 0.044715 * x * x * x)));
    case LS_UNARY_SILU: return x * sigmoid(x);
    case LS_UNARY_ABS: return fabs(x);
    case LS_UNARY_NEG: return -x;
    case LS_UNARY_SQUARE: return x * x;
    case LS_UNARY_SCALE: return a * x + b;
    case LS_UNARY_CLAMP: return fmin(fmax(x, a), b);
    case LS_UNARY_SPIKE_STRAIGHT:
    case LS_UNARY_SPIKE_RECTANGLE:
    case LS_UNARY_SPIKE_TRIANGLE:
    case LS_UNARY_SPIKE_FAST_SIGMOID:
    case LS_UNARY_SPIKE_ARCTAN:
    case LS_UNARY_SPIKE_SIGMOID: return x >= b;
    default: return NAN;
    }
}

static double slope_of(ls_unary op, double a, double b, double x)
{
    double s = sigmoid(x), t, u = x - b;
    switch (op) {
    case LS_UNARY_EXP: return exp(x);
    case LS_UNARY_LOG: return 1 / x;
    case LS_UNARY_SQRT: return 0.5 / sqrt(x);
    case LS_UNARY_TANH: return 1 - tanh(x) * tanh(x);
    case LS_UNARY_SIGMOID: return s * (1 - s);
    case LS_UNARY_SOFTPLUS: return s;
    case LS_UNARY_RELU: return x > 0;
    case LS_UNARY_GELU: return normal_cdf(x) + x * exp(-0.5 * x * x) * gelu_scale / 2;
    case LS_UNARY_GELU_TANH:
        t = tanh(gelu_scale * (x + 0.044715 * x * x * x));
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * gelu_scale * (1 + 3 * 0.044715 * x * x);
    case LS_UNARY_SILU: return s * (1 + x * (1 - s));
    case LS_UNARY_ABS: return (x > 0) - (x < 0);
    case LS_UNARY_NEG: return -1;
    case LS_UNARY_SQUARE: return 2 * x;
    case LS_UNARY_SCALE: return a;
    case LS_UNARY_CLAMP: return x >= a && x <= b;
    case LS_UNARY_SPIKE_STRAIGHT: return 1;
    case LS_UNARY_SPIKE_RECTANGLE: return fabs(u) < 1 / (2 * a) ? a : 0;
    case LS_UNARY_SPIKE_TRIANGLE: return fmax(0, a - a * a * fabs(u));
    case LS_UNARY_SPIKE_FAST_SIGMOID: return pow(1 + a * fabs(u), -2);
    case LS_UNARY_SPIKE_ARCTAN: return a / 2 / (1 + pow(acos(-1) / 2 * a * u, 2));
    case LS_UNARY_SPIKE_SIGMOID: return a * sigmoid(a * u) * sigmoid(-a * u);
    default: return NAN;
    }
}

static void unary(ls_device *device, ls_unary op, ls_type type, int64_t n, double a, double b, const void *x, void *y)
{
    (void)device;
    for (int64_t i = 0; i < n; i++)
        put(type, y, i, reference_activation(op, a, b, get(type, x, i)));
}

static void scale_by(ls_device *device, ls_type type, int64_t n, const void *factor, const void *x, void *y)
{
    unary(device, LS_UNARY_SCALE, type, n, get(type == LS_F64 ? LS_F64 : LS_F32, factor, 0), 0, x, y);
}

static void unary_backward(ls_device *device, ls_unary op, ls_type type, int64_t n, double a, double b, const void *x,
                           const void *y, const void *dy, void *dx)
{
    (void)device, (void)y;
    for (int64_t i = 0; i < n; i++)
        add(type, dx, i, get(type, dy, i) * slope_of(op, a, b, get(type, x, i)));
}

static void gated(ls_device *device, ls_unary f, ls_type type, int64_t n, const void *gate, const void *x, void *y)
{
    (void)device;
    for (int64_t i = 0; i < n; i++)
        put(type, y, i, reference_activation(f, 0, 0, get(type, gate, i)) * get(type, x, i));
}

static void gated_backward(ls_device *device, ls_unary f, ls_type type, int64_t n, const void *gate, const void *x,
                           const void *dy, void *dgate, bool add_gate, void *dx, bool add_x)
{
    (void)device;
    for (int64_t i = 0; i < n; i++) {
        const double g = get(type, gate, i), slope = get(type, dy, i);
        if (dgate)
            put(type, dgate, i, (add_gate ? get(type, dgate, i) : 0) + slope * get(type, x, i) * slope_of(f, 0, 0, g));
        if (dx)
            put(type, dx, i, (add_x ? get(type, dx, i) : 0) + slope * reference_activation(f, 0, 0, g));
    }
}

/* ---- strides ---- */

static int64_t elements(const ls_strides *s)
{
    int64_t n = 1;
    for (int i = 0; i < s->ndim; i++)
        n *= s->shape[i];
    return n;
}

static int64_t place(const ls_strides *s, const int64_t *stride, int64_t i)
{
    int64_t at = 0;
    for (int axis = s->ndim - 1; axis >= 0; axis--) {
        at += i % s->shape[axis] * stride[axis];
        i /= s->shape[axis];
    }
    return at;
}

static double binary_value(ls_binary op, double a, double b)
{
    switch (op) {
    case LS_BINARY_ADD: return a + b;
    case LS_BINARY_SUB: return a - b;
    case LS_BINARY_MUL: return a * b;
    case LS_BINARY_DIV: return a / b;
    case LS_BINARY_MIN: return a < b ? a : b;
    case LS_BINARY_MAX: return a > b ? a : b;
    default: return NAN;
    }
}

static void binary(ls_device *device, ls_binary op, ls_type type, const ls_strides *s, const void *a, const void *b,
                   void *y)
{
    (void)device;
    for (int64_t i = 0; i < elements(s); i++)
        put(type, y, i,
            binary_value(op, get(type, a, place(s, s->stride_a, i)), get(type, b, place(s, s->stride_b, i))));
}

static void binary_slopes(ls_binary op, double a, double b, double *da, double *db)
{
    double share = a == b ? 0.5 : (a < b) == (op == LS_BINARY_MIN) ? 1 : 0;
    switch (op) {
    case LS_BINARY_ADD: *da = 1, *db = 1; break;
    case LS_BINARY_SUB: *da = 1, *db = -1; break;
    case LS_BINARY_MUL: *da = b, *db = a; break;
    case LS_BINARY_DIV: *da = 1 / b, *db = -a / (b * b); break;
    default: *da = share, *db = 1 - share; break;
    }
}

/* One more than the largest place that the strides reach. */
static int64_t reach(const ls_strides *s, const int64_t *stride)
{
    int64_t last = 0;
    for (int i = 0; i < s->ndim; i++)
        last += (s->shape[i] - 1) * stride[i];
    return last + 1;
}

static void binary_backward(ls_device *device, ls_binary op, ls_type type, const ls_strides *s, const void *a,
                            const void *b, const void *dy, void *da, void *db, ls_arena *scratch)
{
    (void)device, (void)scratch;
    int64_t na = reach(s, s->stride_a), nb = reach(s, s->stride_b);
    double *sum_a = reference_zeros(na), *sum_b = reference_zeros(nb);
    for (int64_t i = 0; i < elements(s); i++) {
        int64_t ia = place(s, s->stride_a, i), ib = place(s, s->stride_b, i);
        double slope_a, slope_b;
        binary_slopes(op, get(type, a, ia), get(type, b, ib), &slope_a, &slope_b);
        sum_a[ia] += slope_a * get(type, dy, i);
        sum_b[ib] += slope_b * get(type, dy, i);
    }
    reference_add_all(type, da, na, sum_a);
    reference_add_all(type, db, nb, sum_b);
}

static void copy_strided(ls_device *device, ls_type type, const ls_strides *s, const void *x, void *y)
{
    (void)device;
    for (int64_t i = 0; i < elements(s); i++)
        put(type, y, place(s, s->stride_b, i), get(type, x, place(s, s->stride_a, i)));
}

static void add_strided(ls_device *device, ls_type type, const ls_strides *s, const void *y, void *x)
{
    (void)device;
    for (int64_t i = 0; i < elements(s); i++)
        add(type, x, place(s, s->stride_a, i), get(type, y, place(s, s->stride_b, i)));
}

/* ---- simple loops ---- */

static void where(ls_device *device, ls_type type, int64_t n, const uint8_t *condition, const void *a, const void *b,
                  void *y)
{
    (void)device;
    for (int64_t i = 0; i < n; i++)
        put(type, y, i, get(type, condition[i] ? a : b, i));
}

static void where_backward(ls_device *device, ls_type type, int64_t n, const uint8_t *condition, const void *dy,
                           void *da, void *db)
{
    (void)device;
    for (int64_t i = 0; i < n; i++) {
        void *to = condition[i] ? da : db;
        if (to)
            add(type, to, i, get(type, dy, i));
    }
}

static void cast(ls_device *device, ls_type from, ls_type to, int64_t n, const void *x, void *y)
{
    (void)device;
    for (int64_t i = 0; i < n; i++)
        put(to, y, i, get(from, x, i));
}

static void add_to(ls_device *device, ls_type type, int64_t n, const void *x, void *y)
{
    (void)device;
    for (int64_t i = 0; i < n; i++)
        add(type, y, i, get(type, x, i));
}

static void fill(ls_device *device, ls_type type, int64_t n, double value, void *y)
{
    (void)device;
    for (int64_t i = 0; i < n; i++)
        put(type, y, i, value);
}

static void dropout(ls_device *device, ls_type type, int64_t n, double p, const ls_random *stream, uint64_t first,
                    const void *x, void *y, bool accumulate)
{
    (void)device;
    for (int64_t i = 0; i < n; i++) {
        bool kept = (double)ls_random_uniform(stream, first + (uint64_t)i) >= p;
        double value = kept ? get(type, x, i) / (1 - p) : 0;
        put(type, y, i, value + (accumulate ? get(type, y, i) : 0));
    }
}

/* ---- reductions ---- */

static double reduced(ls_reduce op, ls_type type, int64_t length, int64_t inner, const void *x, int64_t at)
{
    double sum = 0, squares = 0, low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < length; i++) {
        double value = get(type, x, at + i * inner);
        sum += value;
        squares += value * value;
        low = fmin(low, value);
        high = fmax(high, value);
    }
    switch (op) {
    case LS_REDUCE_SUM: return sum;
    case LS_REDUCE_MEAN: return sum / (double)length;
    case LS_REDUCE_MAX: return high;
    case LS_REDUCE_MIN: return low;
    default: return sqrt(squares);
    }
}

static void reduce(ls_device *device, ls_reduce op, ls_type type, int64_t outer, int64_t length, int64_t inner,
                   const void *x, void *y)
{
    (void)device;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++)
            put(type, y, o * inner + i, reduced(op, type, length, inner, x, o * length * inner + i));
}

static void reduce_backward(ls_device *device, ls_reduce op, ls_type type, int64_t outer, int64_t length, int64_t inner,
                            const void *x, const void *y, const void *dy, void *dx)
{
    (void)device, (void)y;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < inner; i++) {
            int64_t at = o * length * inner + i;
            double result = reduced(op, type, length, inner, x, at), d = get(type, dy, o * inner + i);
            bool taken = false;
            for (int64_t k = 0; k < length; k++) {
                double value = get(type, x, at + k * inner), slope = 1;
                bool extreme = !taken && value == result;
                if (op == LS_REDUCE_MEAN)
                    slope = 1 / (double)length;
                else if (op == LS_REDUCE_NORM)
                    slope = result > 0 ? value / result : 0;
                else if (op != LS_REDUCE_SUM)
                    slope = extreme, taken |= extreme;
                add(type, dx, at + k * inner, d * slope);
            }
        }
}

static void top_k(ls_device *device, ls_type type, int64_t rows, int64_t length, int64_t k, const void *x, void *values,
                  int32_t *index)
{
    (void)device;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < k; j++) {
            int64_t best = -1;
            for (int64_t i = 0; i < length; i++) {
                bool used = false;
                for (int64_t before = 0; before < j; before++)
                    used |= index[r * k + before] == i;
                if (!used && (best < 0 || get(type, x, r * length + i) > get(type, x, r * length + best)))
                    best = i;
            }
            index[r * k + j] = (int32_t)best;
            if (values)
                put(type, values, r * k + j, get(type, x, r * length + best));
        }
}

/* ---- along the last axis ---- */

double reference_log_sum_exp(const double *x, int64_t n)
{
    double high = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        high = fmax(high, x[i]);
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i] - high);
    return high + log(sum);
}

static void softmax(ls_device *device, ls_type type, bool log_form, int64_t rows, int64_t length, const void *x,
                    void *y)
{
    (void)device;
    double *row = reference_zeros(length);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < length; i++)
            row[i] = get(type, x, r * length + i);
        double lse = reference_log_sum_exp(row, length);
        for (int64_t i = 0; i < length; i++)
            put(type, y, r * length + i, log_form ? row[i] - lse : exp(row[i] - lse));
    }
    free(row);
}

static void softmax_backward(ls_device *device, ls_type type, bool log_form, int64_t rows, int64_t length,
                             const void *y, const void *dy, void *dx)
{
    (void)device;
    for (int64_t r = 0; r < rows; r++) {
        double sum = 0;
        for (int64_t i = r * length; i < (r + 1) * length; i++)
            sum += get(type, dy, i) * (log_form ? 1 : get(type, y, i));
        for (int64_t i = r * length; i < (r + 1) * length; i++) {
            double d = get(type, dy, i), value = get(type, y, i);
            add(type, dx, i, log_form ? d - exp(value) * sum : value * (d - sum));
        }
    }
}

static void norm(ls_device *device, ls_type type, ls_type gain_type, bool rms, int64_t rows, int64_t width, double eps,
                 const void *x, const void *gain, const void *bias, void *y, void *stats)
{
    (void)device;
    for (int64_t r = 0; r < rows; r++) {
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < width && !rms; i++)
            mean += get(type, x, r * width + i) / (double)width;
        for (int64_t i = 0; i < width; i++)
            variance += pow(get(type, x, r * width + i) - mean, 2) / (double)width;
        double scale = 1 / sqrt(variance + eps);
        put(reference_wide(type), stats, 2 * r, mean);
        put(reference_wide(type), stats, 2 * r + 1, scale);
        for (int64_t i = 0; i < width; i++) {
            double normal = (get(type, x, r * width + i) - mean) * scale;
            put(type, y, r * width + i, normal * get(gain_type, gain, i) + (bias ? get(gain_type, bias, i) : 0));
        }
    }
}

/* dx = scale * (g - mean(g) [layer norm only] - normal * mean(g * normal)), g = dy * gain */
static void norm_backward(ls_device *device, ls_type type, ls_type gain_type, bool rms, int64_t rows, int64_t width,
                          const void *x, const void *gain, const void *stats, const void *dy, void *dx, void *dgain,
                          void *dbias, ls_arena *scratch)
{
    (void)device, (void)scratch;
    double *sum_gain = reference_zeros(width), *sum_bias = reference_zeros(width);
    for (int64_t r = 0; r < rows; r++) {
        double mean = get(reference_wide(type), stats, 2 * r), scale = get(reference_wide(type), stats, 2 * r + 1),
               mean_g = 0, mean_gn = 0;
        for (int64_t i = 0; i < width; i++) {
            double normal = (get(type, x, r * width + i) - mean) * scale, d = get(type, dy, r * width + i);
            double g = d * get(gain_type, gain, i);
            mean_g += rms ? 0 : g / (double)width;
            mean_gn += g * normal / (double)width;
            sum_gain[i] += d * normal;
            sum_bias[i] += d;
        }
        for (int64_t i = 0; i < width; i++) {
            double normal = (get(type, x, r * width + i) - mean) * scale;
            double g = get(type, dy, r * width + i) * get(gain_type, gain, i);
            add(type, dx, r * width + i, scale * (g - mean_g - normal * mean_gn));
        }
    }
    reference_add_all(reference_wide(type), dgain, width, sum_gain);
    reference_add_all(reference_wide(type), dbias, width, sum_bias);
}

static void sum_rows(ls_device *device, ls_type type, int64_t rows, int64_t width, const void *x, void *y,
                     ls_arena *scratch)
{
    (void)device, (void)scratch;
    double *sum = reference_zeros(width);
    for (int64_t i = 0; i < rows * width; i++)
        sum[i % width] += get(type, x, i);
    reference_add_all(reference_wide(type), y, width, sum);
}

/* ---- rows ---- */

static void gather_rows(ls_device *device, ls_type type, int64_t n, int64_t width, const int32_t *index, const void *x,
                        void *y)
{
    (void)device;
    for (int64_t i = 0; i < n * width; i++)
        put(type, y, i, index[i / width] < 0 ? 0 : get(type, x, index[i / width] * width + i % width));
}

static void scatter_add_rows(ls_device *device, ls_type type, ls_type x_type, int64_t n, int64_t width, int64_t x_rows,
                             const int32_t *index, const void *y, void *x, ls_arena *scratch)
{
    (void)device, (void)x_rows, (void)scratch;
    for (int64_t i = 0; i < n * width; i++)
        if (index[i / width] >= 0)
            add(x_type, x, index[i / width] * width + i % width, get(type, y, i));
}

/* ---- the table ---- */

static ls_status allocate(ls_device *device, size_t bytes, void **block)
{
    (void)device;
    *block = malloc(bytes);
    return *block ? LS_OK : ls_fail(LS_EMEM, "reference device: no memory");
}

static void release(ls_device *device, void *block, size_t bytes)
{
    (void)device, (void)bytes;
    free(block);
}

ls_device *reference_device(void)
{
    static ls_device device = {
        .name = "reference",
        .allocate = allocate,
        .release = release,
        .matmul = reference_matmul,
        .unary = unary,
        .unary_backward = unary_backward,
        .binary = binary,
        .binary_backward = binary_backward,
        .gated = gated,
        .gated_backward = gated_backward,
        .where = where,
        .where_backward = where_backward,
        .cast = cast,
        .add_to = add_to,
        .fill = fill,
        .dropout = dropout,
        .gumbel = reference_gumbel,
        .scale_by = scale_by,
        .reduce = reduce,
        .reduce_backward = reduce_backward,
        .top_k = top_k,
        .sort = reference_sort,
        .scatter_add_elements = reference_scatter_add_elements,
        .cumulative_sum = reference_cumulative_sum,
        .softmax = softmax,
        .softmax_backward = softmax_backward,
        .norm = norm,
        .norm_backward = norm_backward,
        .sum_rows = sum_rows,
        .rotary = reference_rotary,
        .attention = reference_attention,
        .attention_backward = reference_attention_backward,
        .cross_entropy = reference_cross_entropy,
        .sum_losses = reference_sum_losses,
        .element_loss = reference_element_loss,
        .element_loss_backward = reference_element_loss_backward,
        .row_loss = reference_row_loss,
        .row_loss_backward = reference_row_loss_backward,
        .cosine = reference_cosine,
        .cosine_backward = reference_cosine_backward,
        .copy_strided = copy_strided,
        .add_strided = add_strided,
        .gather_rows = gather_rows,
        .scatter_add_rows = scatter_add_rows,
        .conv = reference_conv,
        .conv_input = reference_conv_input,
        .conv_weight = reference_conv_weight,
        .pool = reference_pool,
        .pool_backward = reference_pool_backward,
        .upsample = reference_upsample,
        .upsample_backward = reference_upsample_backward,
        .group_norm = reference_group_norm,
        .group_norm_backward = reference_group_norm_backward,
    };
    return &device;
}
