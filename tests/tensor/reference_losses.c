/* The naive device's losses and cosine similarity: each number from its formula. */
#include "tests/tensor/reference_products.h"

#include <math.h>
#include <stdlib.h>

#define get reference_get
#define put reference_put

static ls_type wide(ls_type type)
{
    return type == LS_F64 ? LS_F64 : LS_F32;
}

static double softplus(double x)
{
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

static double sigmoid(double x)
{
    return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}

/* Value and both slopes of one element. */
static void element(ls_element_loss kind, double x, double t, double p, double out[3])
{
    switch (kind) {
    case LS_LOSS_SQUARE: out[0] = pow(x - t, 2), out[1] = 2 * (x - t), out[2] = -out[1]; break;
    case LS_LOSS_BINARY_CROSS_ENTROPY:
        out[0] = p * t * softplus(-x) + (1 - t) * softplus(x);
        out[1] = (1 - t) * sigmoid(x) - p * t * sigmoid(-x);
        out[2] = p * softplus(-x) - softplus(x);
        break;
    default:
        out[0] = t == -INFINITY ? 0 : exp(t) * (t - x);
        out[1] = -exp(t);
        out[2] = t == -INFINITY ? 0 : exp(t) * (t - x + 1);
        break;
    }
}

static double weigh_element(const ls_element_loss_args *args, int64_t i, double out[3])
{
    double p = args->pos_weights ? (double)args->pos_weights[i % args->classes] : 1;
    element(args->kind, get(args->type, args->x, i), get(args->type, args->target, i), p, out);
    return args->weights ? (double)args->weights[i / args->run] : 1;
}

void reference_sum_losses(ls_device *device, ls_type type, int64_t rows, const int32_t *labels, const float *weights, const void *losses, ls_type sum_type, void *sum)
{
    (void)device;
    double all = 0;
    for (int64_t r = 0; r < rows; r++)
        all += labels && labels[r] < 0 ? 0 : (weights ? (double)weights[r] : 1) * get(type, losses, r);
    put(sum_type, sum, 0, all);
}

void reference_element_loss(ls_device *device, const ls_element_loss_args *args)
{
    (void)device;
    double sum = 0, out[3];
    for (int64_t i = 0; i < args->count; i++) {
        double weight = weigh_element(args, i, out);
        sum += weight * out[0];
    }
    put(wide(args->type), args->sum, 0, sum);
}

void reference_element_loss_backward(ls_device *device, const ls_element_loss_args *args)
{
    (void)device;
    double out[3];
    for (int64_t i = 0; i < args->count; i++) {
        double weight = weigh_element(args, i, out) * get(wide(args->type), args->dloss, 0);
        if (args->dx)
            reference_add(args->type, args->dx, i, weight * out[1]);
        if (args->dtarget)
            reference_add(args->type, args->dtarget, i, weight * out[2]);
    }
}

/* ---- rows of classes ---- */

static double *row_of(ls_type type, const void *x, int64_t row, int64_t n)
{
    double *out = reference_zeros(n + 1);
    for (int64_t i = 0; i < n; i++)
        out[i] = get(type, x, row * n + i);
    return out;
}

/* Loss of a row, and its slopes by x and by target where there is room for them. */
static double row_loss(const ls_row_loss_args *args, int64_t row, double *by_x, double *by_target)
{
    int64_t n = args->classes;
    double *x = row_of(args->type, args->x, row, n), *t = row_of(args->type, args->target, row, n), loss = 0, mass = 0;
    double lse_x = reference_log_sum_exp(x, n), lse_t = reference_log_sum_exp(t, n);
    bool kl = args->kind == LS_LOSS_KL_OF_LOGITS;
    for (int64_t i = 0; i < n; i++) {
        double p = kl ? exp(t[i] - lse_t) : (1 - args->smoothing) * t[i] + args->smoothing / (double)n;
        mass += p;
        loss += p == 0 ? 0 : p * ((kl ? t[i] - lse_t : 0) - (x[i] - lse_x));
    }
    for (int64_t i = 0; i < n && by_x; i++) {
        double p = kl ? exp(t[i] - lse_t) : (1 - args->smoothing) * t[i] + args->smoothing / (double)n;
        by_x[i] = exp(x[i] - lse_x) * mass - p;
        by_target[i] =
            kl ? p == 0 ? 0 : p * (t[i] - lse_t - (x[i] - lse_x) - loss) : (1 - args->smoothing) * (lse_x - x[i]);
    }
    free(x), free(t);
    return loss;
}

void reference_row_loss(ls_device *device, const ls_row_loss_args *args)
{
    (void)device;
    for (int64_t row = 0; row < args->rows; row++)
        args->losses[row] = row_loss(args, row, NULL, NULL);
}

void reference_row_loss_backward(ls_device *device, const ls_row_loss_args *args)
{
    (void)device;
    int64_t n = args->classes;
    double *by_x = reference_zeros(n + 1), *by_target = reference_zeros(n + 1);
    for (int64_t row = 0; row < args->rows; row++) {
        double scale = get(wide(args->type), args->dloss, 0) * (args->weights ? (double)args->weights[row] : 1);
        row_loss(args, row, by_x, by_target);
        for (int64_t i = 0; i < n; i++) {
            if (args->dx)
                reference_add(args->type, args->dx, row * n + i, scale * by_x[i]);
            if (args->dtarget)
                reference_add(args->type, args->dtarget, row * n + i, scale * by_target[i]);
        }
    }
    free(by_x), free(by_target);
}

/* ---- cosine similarity ---- */

void reference_cosine(ls_device *device, ls_type type, int64_t rows, int64_t width, double eps, const void *a,
                      const void *b, void *y, double *stats)
{
    (void)device;
    for (int64_t r = 0; r < rows; r++) {
        double ab = 0, aa = 0, bb = 0;
        for (int64_t i = r * width; i < (r + 1) * width; i++) {
            ab += get(type, a, i) * get(type, b, i);
            aa += pow(get(type, a, i), 2);
            bb += pow(get(type, b, i), 2);
        }
        stats[3 * r] = ab, stats[3 * r + 1] = sqrt(aa), stats[3 * r + 2] = sqrt(bb);
        put(type, y, r, ab / (fmax(sqrt(aa), eps) * fmax(sqrt(bb), eps)));
    }
}

void reference_cosine_backward(ls_device *device, ls_type type, int64_t rows, int64_t width, double eps, const void *a,
                               const void *b, const double *stats, const void *dy, void *da, void *db)
{
    (void)device;
    for (int64_t i = 0; i < rows * width; i++) {
        const double *s = stats + 3 * (i / width), d = get(type, dy, i / width), u = get(type, a, i),
                     v = get(type, b, i);
        double norms = fmax(s[1], eps) * fmax(s[2], eps), cosine = s[0] / norms;
        if (da)
            reference_add(type, da, i, d * (v / norms - (s[1] > eps ? cosine * u / (s[1] * s[1]) : 0)));
        if (db)
            reference_add(type, db, i, d * (u / norms - (s[2] > eps ? cosine * v / (s[2] * s[2]) : 0)));
    }
}
