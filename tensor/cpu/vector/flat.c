/* Loops over the flat buffers: the binary counter's carry, sums of squares, the optimisers. f32 in memory. */
#include "base/math.h"
#include "tensor/cpu/vector/prototypes.h"

/* dst = ((x + level[0]) + level[1]) + ... of elements [at, at + n) of the levels; x and dst begin at `at` already. In blocks, so
 * that the sum stays in the first cache while the levels stream by. */
void KERNEL(carry)(int64_t n, const float *x, int levels, const float *const *level, int64_t at, float *dst)
{
    float sum[BLOCK];
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        int64_t count = at_most(n - begin, BLOCK);
        memcpy(sum, x + begin, (size_t)count * sizeof *sum);
        for (int l = 0; l < levels; l++) {
            const float *partial = level[l] + at + begin;
            for (int64_t i = 0; i < count; i++)
                sum[i] += partial[i];
        }
        memcpy(dst + begin, sum, (size_t)count * sizeof *sum);
    }
}

/* Squares of f32 are exact in f64; 16 lanes of f64. */
double KERNEL(squares)(int64_t n, const float *x)
{
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++)
            lane[k] += (double)x[i + k] * (double)x[i + k];
    for (int k = 0; i < n; i++, k++)
        lane[k] += (double)x[i] * (double)x[i];
    for (int k = 1; k < LANES; k++)
        lane[0] += lane[k];
    return lane[0];
}

/* What AdamW's elements share. */
typedef struct {
    float rate, correction; /* lr / c1, 1 / sqrt(c2) */
} adamw_step;

static adamw_step adamw_step_of(const ls_optimizer_args *o)
{
    return (adamw_step){.rate = (float)(o->lr / (1 - ls_math_pow(o->beta1, (double)o->step))),
                        .correction = (float)(1 / __builtin_sqrt(1 - ls_math_pow(o->beta2, (double)o->step)))};
}

/* Loshchilov & Hutter 2019, algorithm 2, with the bias corrections of Kingma & Ba 2015; eps outside the root's
 * correction as PyTorch has it: w = w (1 - lr decay) - lr / c1 * m / (sqrt(v) / sqrt(c2) + eps). */
static void adamw(const ls_optimizer_args *o, adamw_step step, int64_t begin, int64_t end)
{
    const float scale = (float)o->scale, beta1 = (float)o->beta1, beta2 = (float)o->beta2, eps = (float)o->eps;
    const float rest1 = (float)(1 - o->beta1), rest2 = (float)(1 - o->beta2), keep = (float)(1 - o->lr * o->weight_decay);
    const float rate = step.rate, correction = step.correction;
    const float *gradient = o->gradient;
    float *w = o->master, *m = o->first_moment, *v = o->second_moment;
    INDEPENDENT for (int64_t i = begin; i < end; i++)
    {
        const float g = gradient[i] * scale;
        m[i] = beta1 * m[i] + rest1 * g;
        v[i] = beta2 * v[i] + rest2 * (g * g);
        w[i] = w[i] * keep - rate * (m[i] / (__builtin_sqrtf(v[i]) * correction + eps));
    }
}

/* PyTorch's SGD, dampening 0: g += decay w; b = momentum b + g; w -= lr (nesterov ? g + momentum b : b).
 * Without momentum there is no buffer. */
static void sgd(const ls_optimizer_args *o, int64_t begin, int64_t end)
{
    const float scale = (float)o->scale, decay = (float)o->weight_decay, momentum = (float)o->momentum, lr = (float)o->lr;
    const float *gradient = o->gradient;
    float *w = o->master, *b = o->first_moment;
    if (o->momentum == 0) {
        INDEPENDENT for (int64_t i = begin; i < end; i++)
            w[i] = w[i] - lr * (gradient[i] * scale + decay * w[i]);
        return;
    }
    const float ahead = o->nesterov ? 1.0f : 0.0f;
    INDEPENDENT for (int64_t i = begin; i < end; i++)
    {
        const float g = gradient[i] * scale + decay * w[i];
        b[i] = momentum * b[i] + g;
        w[i] = w[i] - lr * (ahead != 0 ? g + momentum * b[i] : b[i]);
    }
}

/* Chen et al. 2023, algorithm 2: w = w (1 - lr decay) - lr sign(beta1 m + (1 - beta1) g); m = beta2 m + (1 - beta2) g. */
static void lion(const ls_optimizer_args *o, int64_t begin, int64_t end)
{
    const float scale = (float)o->scale, beta1 = (float)o->beta1, beta2 = (float)o->beta2, lr = (float)o->lr;
    const float rest1 = (float)(1 - o->beta1), rest2 = (float)(1 - o->beta2), keep = (float)(1 - o->lr * o->weight_decay);
    const float *gradient = o->gradient;
    float *w = o->master, *m = o->first_moment;
    INDEPENDENT for (int64_t i = begin; i < end; i++)
    {
        const float g = gradient[i] * scale, update = beta1 * m[i] + rest1 * g;
        w[i] = w[i] * keep - lr * ((float)(update > 0) - (float)(update < 0));
        m[i] = beta2 * m[i] + rest2 * g;
    }
}

static void write_working(const ls_optimizer_args *o, int64_t begin, int64_t end)
{
    const float *w = o->master;
    if (o->working_type == LS_BF16) {
        uint16_t *working = o->working;
        INDEPENDENT for (int64_t i = begin; i < end; i++)
            working[i] = bf16_of(w[i]);
    } else if (o->working_type == LS_F16) {
        uint16_t *working = o->working;
        INDEPENDENT for (int64_t i = begin; i < end; i++)
            working[i] = ls_half_narrow(w[i]);
    } else if (o->working != (const void *)w) {
        memcpy((float *)o->working + begin, w + begin, (size_t)(end - begin) * sizeof *w);
    }
}

/* In pieces that stay in the first cache until the working copy is written. */
void KERNEL(optimizer_step)(const ls_optimizer_args *o, int64_t begin, int64_t end)
{
    enum { PIECE = 1024 };
    const adamw_step step = o->kind == LS_OPTIMIZER_ADAMW ? adamw_step_of(o) : (adamw_step){0};
    for (; begin < end; begin += PIECE) {
        int64_t stop = at_most(end, begin + PIECE);
        switch (o->kind) {
        case LS_OPTIMIZER_ADAMW: adamw(o, step, begin, stop); break;
        case LS_OPTIMIZER_SGD: sgd(o, begin, stop); break;
        case LS_OPTIMIZER_LION: lion(o, begin, stop); break;
        }
        if (o->working)
            write_working(o, begin, stop);
    }
}

/* torch.lerp for weights below a half; an average that has reached x stays there to the bit. */
void KERNEL(average)(int64_t n, float weight, const float *x, float *average)
{
    INDEPENDENT for (int64_t i = 0; i < n; i++)
        average[i] = average[i] + weight * (x[i] - average[i]);
}
