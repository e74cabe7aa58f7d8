/* Attention in f64, for gradient checks: the formulas of attention.c and attention_backward.c as plain loops, one query
 * (backward: one key/value head) after the other. */
#include "tensor/cpu/attention_tiles.h"

#include "base/math.h"

#include <math.h>

typedef struct {
    ls_device *device;
    const ls_attention_args *args;
} whole;

static bool sees(const ls_attention_args *x, int64_t batch, int64_t query, int64_t key)
{
    if (x->mask)
        return ls_block_mask_at(x->mask, batch, query, key);
    const int32_t *segment = x->segments ? x->segments + batch * x->keys : NULL;
    if (x->query_segments) {
        int32_t own = x->query_segments[batch * x->queries + query];
        return own >= 0 && segment[key] == own;
    }
    int64_t position = query + x->keys - x->queries;
    return (!x->causal || key <= position) && (!x->window || key > position - x->window) &&
           (!segment || segment[key] == segment[position]);
}

static double dot(int64_t n, const double *a, const double *b)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* The element where the pair's row starts, in arrays as q and as k. */
static int64_t query_at(const ls_attention_args *x, int64_t batch, int64_t query, int64_t head)
{
    return ((batch * x->queries + query) * x->heads + head) * x->width;
}

static int64_t key_at(const ls_attention_args *x, int64_t batch, int64_t key, int64_t head)
{
    return ((batch * x->keys + key) * x->kv_heads + head * x->kv_heads / x->heads) * x->width;
}

static void attend_head(void *context, int64_t item)
{
    const ls_attention_args *x = ((const whole *)context)->args;
    int64_t batch = item / x->heads, head = item % x->heads;
    const double *q = x->q, *k = x->k, *v = x->v;
    double *out = x->out, *lse = x->lse;
    for (int64_t i = 0; i < x->queries; i++) {
        int64_t at = query_at(x, batch, i, head);
        double m = -INFINITY, l = 0;
        for (int64_t j = 0; j < x->keys; j++)
            if (sees(x, batch, i, j))
                m = fmax(m, x->scale * dot(x->width, q + at, k + key_at(x, batch, j, head)));
        for (int64_t d = 0; d < x->width; d++)
            out[at + d] = 0;
        for (int64_t j = 0; j < x->keys; j++) {
            if (!sees(x, batch, i, j))
                continue;
            double p = ls_math_exp(x->scale * dot(x->width, q + at, k + key_at(x, batch, j, head)) - m);
            l += p;
            for (int64_t d = 0; d < x->width; d++)
                out[at + d] += p * v[key_at(x, batch, j, head) + d];
        }
        for (int64_t d = 0; d < x->width; d++)
            out[at + d] = l == 0 ? 0 : out[at + d] / l;
        if (lse)
            lse[(batch * x->heads + head) * x->queries + i] = l == 0 ? -INFINITY : m + ls_math_log(l);
    }
}

void ls_attention_f64(ls_device *device, const ls_attention_args *args)
{
    ls_team_run(device->team, args->batch * args->heads, attend_head, &(whole){device, args});
}

static void backward_head(const ls_attention_args *x, int64_t batch, int64_t head)
{
    const double *q = x->q, *k = x->k, *v = x->v, *out = x->out, *dout = x->dout, *lse = x->lse;
    double *dq = x->dq, *dk = x->dk, *dv = x->dv;
    for (int64_t i = 0; i < x->queries; i++) {
        int64_t a = query_at(x, batch, i, head);
        double delta = dot(x->width, dout + a, out + a), whole_lse = lse[(batch * x->heads + head) * x->queries + i];
        for (int64_t j = 0; j < x->keys; j++) {
            if (!sees(x, batch, i, j))
                continue;
            int64_t b = key_at(x, batch, j, head);
            double p = ls_math_exp(x->scale * dot(x->width, q + a, k + b) - whole_lse);
            double ds = p * (dot(x->width, dout + a, v + b) - delta) * x->scale;
            for (int64_t d = 0; d < x->width; d++) {
                if (dv)
                    dv[b + d] += p * dout[a + d];
                if (dq)
                    dq[a + d] += ds * k[b + d];
                if (dk)
                    dk[b + d] += ds * q[a + d];
            }
        }
    }
}

static void backward_group(void *context, int64_t item)
{
    const ls_attention_args *x = ((const whole *)context)->args;
    int64_t group = x->heads / x->kv_heads, batch = item / x->kv_heads, first = item % x->kv_heads * group;
    for (int64_t head = first; head < first + group; head++)
        backward_head(x, batch, head);
}

void ls_attention_backward_f64(ls_device *device, const ls_attention_args *args)
{
    ls_team_run(device->team, args->batch * args->kv_heads, backward_group, &(whole){device, args});
}
