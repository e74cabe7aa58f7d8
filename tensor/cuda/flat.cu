/* Loops over the flat buffers: the binary counter's carry, sums of squares, the optimisers, running averages. */
#include "tensor/cuda/cuda.cuh"

extern "C" {
#include "base/math.h"
}

enum { LEVELS_MOST = 64 };
struct level_list {
    const float *level[LEVELS_MOST];
};

void ls_cuda_carry(ls_device *device, int64_t n, const float *x, int levels, const float *const *level, float *dst)
{
    ls_cuda_call call(device);
    const float *from = call.in<float>(x, n);
    level_list list = {};
    if (levels > LEVELS_MOST) { /* 2^64 grains */
        ls_cuda_raise(call.cuda, LS_EARG, "cuda: a carry through more than 64 levels");
        return;
    }
    for (int l = 0; l < levels; l++)
        list.level[l] = call.in<float>(level[l], n);
    float *to = call.out<float>(dst, n);
    ls_each(call, n, [=] __device__(int64_t i) {
        float sum = from[i];
        for (int l = 0; l < levels; l++)
            sum += list.level[l][i];
        to[i] = sum;
    });
}

void ls_cuda_chunk_squares(ls_device *device, int64_t n, const float *x, double *sums)
{
    ls_cuda_call call(device);
    const int64_t chunks = (n + LS_CHUNK - 1) / LS_CHUNK;
    const float *from = call.in<float>(x, n);
    double *to = call.out<double>(sums, chunks);
    ls_rows(call, chunks, LS_CHUNK, [=] __device__(int64_t chunk) {
        const int64_t end = min((chunk + 1) * LS_CHUNK, n);
        double sum = 0;
        for (int64_t i = chunk * LS_CHUNK + threadIdx.x; i < end; i += blockDim.x)
            sum += (double)from[i] * (double)from[i]; /* squares of f32 are exact in f64 */
        sum = ls_block_sum(sum);
        if (threadIdx.x == 0)
            to[chunk] = sum;
    });
}

/* What one element's step needs beyond its own numbers: formulas in tensor/cpu/vector/flat.c, whose order of operations
 * this keeps. */
struct step {
    int kind;
    float scale, beta1, beta2, rest1, rest2, eps, keep, rate, correction, decay, momentum, lr;
    bool nesterov, buffered;
};

static step step_of(const ls_optimizer_args *o)
{
    step s = {};
    s.kind = o->kind;
    s.scale = (float)o->scale, s.beta1 = (float)o->beta1, s.beta2 = (float)o->beta2, s.eps = (float)o->eps;
    s.rest1 = (float)(1 - o->beta1), s.rest2 = (float)(1 - o->beta2), s.keep = (float)(1 - o->lr * o->weight_decay);
    s.decay = (float)o->weight_decay, s.momentum = (float)o->momentum, s.lr = (float)o->lr;
    s.nesterov = o->nesterov, s.buffered = o->momentum != 0;
    if (o->kind == LS_OPTIMIZER_ADAMW) {
        s.rate = (float)(o->lr / (1 - ls_math_pow(o->beta1, (double)o->step)));
        s.correction = (float)(1 / sqrt(1 - ls_math_pow(o->beta2, (double)o->step)));
    }
    return s;
}

static __device__ inline float stepped(const step &s, float gradient, float w, float *m, float *v)
{
    float g = gradient * s.scale;
    switch (s.kind) {
    case LS_OPTIMIZER_ADAMW:
        *m = s.beta1 * *m + s.rest1 * g;
        *v = s.beta2 * *v + s.rest2 * (g * g);
        return w * s.keep - s.rate * (*m / (sqrtf(*v) * s.correction + s.eps));
    case LS_OPTIMIZER_SGD:
        g += s.decay * w;
        if (!s.buffered)
            return w - s.lr * g;
        *m = s.momentum * *m + g;
        return w - s.lr * (s.nesterov ? g + s.momentum * *m : *m);
    default: { /* LS_OPTIMIZER_LION */
        const float update = s.beta1 * *m + s.rest1 * g;
        *m = s.beta2 * *m + s.rest2 * g;
        return w * s.keep - s.lr * ((float)(update > 0) - (float)(update < 0));
    }
    }
}

void ls_cuda_optimizer_step(ls_device *device, const ls_optimizer_args *args)
{
    ls_cuda_call call(device);
    const int64_t n = args->count;
    const step s = step_of(args);
    const bool two = args->kind == LS_OPTIMIZER_ADAMW, one = two || args->kind == LS_OPTIMIZER_LION || s.buffered;
    const float *gradient = call.in<float>(args->gradient, n);
    float *w = call.into<float>(args->master, n), *m = one ? call.into<float>(args->first_moment, n) : NULL;
    float *v = two ? call.into<float>(args->second_moment, n) : NULL;
    const bool narrow = args->working && ls_type_is_narrow(args->working_type), same = args->working == args->master;
    ls_bf16 *bf16 = narrow && args->working_type == LS_BF16 ? call.out<ls_bf16>(args->working, n) : NULL;
    ls_f16 *f16 = narrow && args->working_type == LS_F16 ? call.out<ls_f16>(args->working, n) : NULL;
    float *copy = args->working && !narrow && !same ? call.out<float>(args->working, n) : NULL;
    ls_each(call, n, [=] __device__(int64_t i) {
        float first = m ? m[i] : 0, second = v ? v[i] : 0;
        const float made = stepped(s, gradient[i], w[i], &first, &second);
        w[i] = made;
        if (m)
            m[i] = first;
        if (v)
            v[i] = second;
        if (bf16)
            ls_put(bf16, i, made);
        if (f16)
            ls_put(f16, i, made);
        if (copy)
            copy[i] = made;
    });
}

void ls_cuda_average(ls_device *device, int64_t n, double weight, const float *x, float *average)
{
    ls_cuda_call call(device);
    const float *from = call.in<float>(x, n);
    float *to = call.into<float>(average, n);
    const float share = (float)weight;
    ls_each(call, n, [=] __device__(int64_t i) { to[i] = to[i] + share * (from[i] - to[i]); });
}
