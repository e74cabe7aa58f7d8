/* Losses over elements and over rows, and cosine similarity; formulas in tensor/ops/. Sums are in f64 over 16 lanes of
 * at most BLOCK numbers, lanes in order, then blocks in order. */
#include "tensor/cpu/vector/math.h"
#include "tensor/cpu/vector/prototypes.h"

always_inline double sum_in_f64(int64_t n, const real *x)
{
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] += (double)x[i + l];
    for (int l = 0; i < n; i++, l++)
        lane[l] += (double)x[i];
    double total = lane[0];
    for (int l = 1; l < LANES; l++)
        total += lane[l];
    return total;
}

/* to[i] = expression of v = x[i], t = target[i] and p, the weight of the positive class */
#define EACH_LOSS(expression)                                                                                          \
    do {                                                                                                               \
        if (pos_weights)                                                                                               \
            INDEPENDENT for (int64_t i = 0; i < n; i++)                                                                \
            {                                                                                                          \
                const real v = load(x + i), t = load(target + i), p = (real)pos_weights[i];                            \
                (void)v, (void)t, (void)p;                                                                             \
                to[i] = (expression);                                                                                  \
            }                                                                                                          \
        else                                                                                                           \
            INDEPENDENT for (int64_t i = 0; i < n; i++)                                                                \
            {                                                                                                          \
                const real v = load(x + i), t = load(target + i), p = 1;                                               \
                (void)v, (void)t, (void)p;                                                                             \
                to[i] = (expression);                                                                                  \
            }                                                                                                          \
    } while (0)

/* ---- elements ---- */

always_inline real square(real x)
{
    return x * x;
}

/* softplus(x) = max(x, 0) + log(1 + e^-|x|), softplus(-x) = max(-x, 0) + the same: no term is negative or cancels. */
always_inline real binary_cross_entropy(real v, real t, real p)
{
    const real rest = real_log1p(real_exp(-real_abs(v)));
    return t * p * ((v < 0 ? -v : 0) + rest) + (1 - t) * ((v < 0 ? 0 : v) + rest);
}

always_inline real binary_cross_entropy_slope(real v, real t, real p)
{
    const real e = real_exp(-real_abs(v)), q = 1 / (1 + e), tail = e * q; /* sigmoid of |v| and of -|v| */
    return (1 - t) * (v < 0 ? tail : q) - t * p * (v < 0 ? q : tail);
}

always_inline real binary_cross_entropy_slope_of_target(real v, real p)
{
    const real rest = real_log1p(real_exp(-real_abs(v)));
    return p * ((v < 0 ? -v : 0) + rest) - ((v < 0 ? 0 : v) + rest);
}

/* 0 where the probability is, though its logarithm may be infinite. */
always_inline real of_probability(real probability, real other)
{
    const real product = probability * other;
    return probability == 0 ? 0 : product;
}

static void element_values(ls_element_loss kind, int64_t n, const element *x, const element *target,
                           const float *pos_weights, real *to)
{
    switch (kind) {
    case LS_LOSS_SQUARE: EACH_LOSS(square(v - t)); break;
    case LS_LOSS_BINARY_CROSS_ENTROPY: EACH_LOSS(binary_cross_entropy(v, t, p)); break;
    case LS_LOSS_KL: EACH_LOSS(of_probability(real_exp(t), t - v)); break;
    case LS_LOSS_COUNT: break;
    }
}

static void element_slopes(ls_element_loss kind, bool of_target, int64_t n, const element *x, const element *target,
                           const float *pos_weights, real *to)
{
    switch (2 * (int)kind + of_target) {
    case 2 * LS_LOSS_SQUARE: EACH_LOSS(2 * (v - t)); break;
    case 2 * LS_LOSS_SQUARE + 1: EACH_LOSS(2 * (t - v)); break;
    case 2 * LS_LOSS_BINARY_CROSS_ENTROPY: EACH_LOSS(binary_cross_entropy_slope(v, t, p)); break;
    case 2 * LS_LOSS_BINARY_CROSS_ENTROPY + 1: EACH_LOSS(binary_cross_entropy_slope_of_target(v, p)); break;
    case 2 * LS_LOSS_KL: EACH_LOSS(-real_exp(t)); break;
    case 2 * LS_LOSS_KL + 1: EACH_LOSS(of_probability(real_exp(t), t - v + 1)); break;
    default: break;
    }
}

/* Weight 0 leaves an element out, whatever it holds: padding may hold a NaN. */
static void weigh(int64_t n, const float *weights, real *values)
{
    if (weights)
        for (int64_t i = 0; i < n; i++) {
            const real product = values[i] * (real)weights[i];
            values[i] = weights[i] == 0 ? 0 : product;
        }
}

double KERNEL(element_loss)(ls_element_loss kind, int64_t n, const void *x, const void *target, const float *weights,
                            const float *pos_weights)
{
    real values[BLOCK];
    element_values(kind, n, x, target, pos_weights, values);
    weigh(n, weights, values);
    return sum_in_f64(n, values);
}

void KERNEL(element_loss_backward)(ls_element_loss kind, int64_t n, double scale, const void *x, const void *target,
                                   const float *weights, const float *pos_weights, void *dx, void *dtarget)
{
    real slopes[BLOCK];
    for (int of_target = 0; of_target < 2; of_target++) {
        void *to = of_target ? dtarget : dx;
        if (!to)
            continue;
        element_slopes(kind, of_target, n, x, target, pos_weights, slopes);
        weigh(n, weights, slopes);
        for (int64_t i = 0; i < n; i++)
            slopes[i] *= (real)scale;
        KERNEL(add_real)(n, slopes, to);
    }
}

/* ---- rows of classes ---- */

/* stats: the greatest element m, and log of the sum of e^(x - m), over 16 lanes. */
static void log_sum_exp(int64_t n, const element *x, double stats[2])
{
    const real greatest = (real)KERNEL(reduce_partial)(LS_REDUCE_MAX, n, x);
    real buffer[BLOCK];
    lanes sum = {0};
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t count = at_most(n - begin, BLOCK);
        INDEPENDENT for (int64_t i = 0; i < count; i++)
            buffer[i] = real_exp(load(x + begin + i) - greatest);
        lanes_add(&sum, buffer, count);
    }
    stats[0] = (double)greatest;
    stats[1] = (double)real_log(lanes_total(&sum));
}

/* Of one row: elements, statistics, and the target's smoothing: t' = keep t + share. */
typedef struct {
    int64_t n;
    const element *x, *target;
    real greatest, log_sum, greatest_target, log_sum_target, keep, share;
} row_of_classes;

static row_of_classes row_at(const ls_row_loss_args *args, int64_t row)
{
    const double *stats = args->stats + 4 * row;
    return (row_of_classes){args->classes, (const element *)args->x + row * args->classes,
                            (const element *)args->target + row * args->classes, (real)stats[0], (real)stats[1],
                            (real)stats[2], (real)stats[3], (real)(1 - args->smoothing),
                            (real)(args->smoothing / (double)args->classes)};
}

static double soft_cross_entropy_row(const row_of_classes *r, double *mass)
{
    real products[BLOCK], targets[BLOCK];
    double loss = 0;
    *mass = 0;
    for (int64_t begin = 0; begin < r->n; begin += BLOCK) {
        const int64_t count = at_most(r->n - begin, BLOCK);
        INDEPENDENT for (int64_t i = 0; i < count; i++)
        {
            targets[i] = r->keep * load(r->target + begin + i) + r->share;
            products[i] = of_probability(targets[i], r->log_sum - (load(r->x + begin + i) - r->greatest));
        }
        loss += sum_in_f64(count, products);
        *mass += sum_in_f64(count, targets);
    }
    return loss;
}

/* log p - log q of element i, and p */
always_inline real log_ratio(const row_of_classes *r, int64_t i, real *p)
{
    const real log_p = (load(r->target + i) - r->greatest_target) - r->log_sum_target;
    *p = real_exp(log_p);
    return log_p - ((load(r->x + i) - r->greatest) - r->log_sum);
}

static double kl_row(const row_of_classes *r)
{
    real products[BLOCK], p;
    double loss = 0;
    for (int64_t begin = 0; begin < r->n; begin += BLOCK) {
        const int64_t count = at_most(r->n - begin, BLOCK);
        INDEPENDENT for (int64_t i = 0; i < count; i++)
        {
            const real ratio = log_ratio(r, begin + i, &p);
            products[i] = of_probability(p, ratio);
        }
        loss += sum_in_f64(count, products);
    }
    return loss;
}

void KERNEL(row_loss)(const ls_row_loss_args *args, int64_t row)
{
    double *stats = args->stats + 4 * row;
    log_sum_exp(args->classes, (const element *)args->x + row * args->classes, stats);
    stats[2] = stats[3] = 0;
    if (args->kind == LS_LOSS_KL_OF_LOGITS)
        log_sum_exp(args->classes, (const element *)args->target + row * args->classes, stats + 2);
    const row_of_classes r = row_at(args, row);
    args->losses[row] = args->kind == LS_LOSS_KL_OF_LOGITS ? kl_row(&r) : soft_cross_entropy_row(&r, stats + 2);
}

/* dx += scale (softmax(x) sum of t' - t'), dtarget += scale keep (log-sum-exp x - x) */
static void soft_cross_entropy_row_backward(const row_of_classes *r, real scale, real mass, element *dx,
                                            element *dtarget)
{
    if (dx)
        INDEPENDENT for (int64_t i = 0; i < r->n; i++)
        {
            const real q = real_exp((load(r->x + i) - r->greatest) - r->log_sum);
            dx[i] = store(load(dx + i) + scale * (q * mass - (r->keep * load(r->target + i) + r->share)));
        }
    if (dtarget)
        INDEPENDENT for (int64_t i = 0; i < r->n; i++)
            dtarget[i] = store(load(dtarget + i) + scale * r->keep * (r->log_sum - (load(r->x + i) - r->greatest)));
}

/* dx += scale (q - p), dtarget += scale p ((log p - log q) - loss) */
static void kl_row_backward(const row_of_classes *r, real scale, real loss, element *dx, element *dtarget)
{
    real p;
    if (dx)
        INDEPENDENT for (int64_t i = 0; i < r->n; i++)
        {
            const real q = real_exp((load(r->x + i) - r->greatest) - r->log_sum);
            p = real_exp((load(r->target + i) - r->greatest_target) - r->log_sum_target);
            dx[i] = store(load(dx + i) + scale * (q - p));
        }
    if (dtarget)
        INDEPENDENT for (int64_t i = 0; i < r->n; i++)
        {
            const real ratio = log_ratio(r, i, &p);
            dtarget[i] = store(load(dtarget + i) + scale * of_probability(p, ratio - loss));
        }
}

void KERNEL(row_loss_backward)(const ls_row_loss_args *args, int64_t row)
{
    const real scale = (real)((double)*(const real *)args->dloss * (args->weights ? (double)args->weights[row] : 1));
    if (args->weights && args->weights[row] == 0)
        return;
    const row_of_classes r = row_at(args, row);
    element *dx = args->dx ? (element *)args->dx + row * args->classes : NULL;
    element *dtarget = args->dtarget ? (element *)args->dtarget + row * args->classes : NULL;
    if (args->kind == LS_LOSS_KL_OF_LOGITS)
        kl_row_backward(&r, scale, (real)args->losses[row], dx, dtarget);
    else
        soft_cross_entropy_row_backward(&r, scale, r.greatest_target /* the mass */, dx, dtarget);
}

/* ---- cosine similarity ---- */

static double product_sum(int64_t n, const element *a, const element *b)
{
    real products[BLOCK];
    double sum = 0;
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t count = at_most(n - begin, BLOCK);
        INDEPENDENT for (int64_t i = 0; i < count; i++)
            products[i] = load(a + begin + i) * load(b + begin + i);
        sum += sum_in_f64(count, products);
    }
    return sum;
}

static double at_least(double x, double least)
{
    return x > least || x != x ? x : least; /* a NaN stays */
}

void KERNEL(cosine)(int64_t width, double eps, const void *a, const void *b, void *y, double stats[3])
{
    stats[0] = product_sum(width, a, b);
    stats[1] = sqrt(product_sum(width, a, a));
    stats[2] = sqrt(product_sum(width, b, b));
    *(element *)y = store((real)(stats[0] / at_least(stats[1], eps) / at_least(stats[2], eps)));
}

/* da += along b - across a, one of both being 0 where the norm is below eps: there the divisor is a constant. */
static void cosine_side_backward(int64_t n, double eps, double dy, const double stats[3], int side, const element *a,
                                 const element *b, element *da)
{
    const double norm_a = stats[1 + side], norm_b = stats[2 - side];
    const double along = dy / at_least(norm_a, eps) / at_least(norm_b, eps);
    const real of_b = (real)along, of_a = norm_a > eps ? (real)(along * stats[0] / norm_a / norm_a) : 0;
    INDEPENDENT for (int64_t i = 0; i < n; i++)
        da[i] = store(load(da + i) + (load(b + i) * of_b - load(a + i) * of_a));
}

void KERNEL(cosine_backward)(int64_t width, double eps, const void *a, const void *b, const double stats[3],
                             const void *dy, void *da, void *db)
{
    const double d = (double)load(dy);
    if (da)
        cosine_side_backward(width, eps, d, stats, 0, a, b, da);
    if (db)
        cosine_side_backward(width, eps, d, stats, 1, b, a, db);
}
