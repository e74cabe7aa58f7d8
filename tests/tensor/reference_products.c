/* The naive device's matrix products, rotary positions, attention and cross-entropy, as their formulas. */
#include "tests/tensor/reference_products.h"

#include <math.h>
#include <stdlib.h>

#define get reference_get
#define put reference_put
#define add reference_add

ls_status reference_matmul(ls_device *device, const ls_matmul_args *p, ls_arena *scratch)
{
    (void)device, (void)scratch;
    static const ls_unary activations[] = {[LS_ACT_RELU] = LS_UNARY_RELU,
                                           [LS_ACT_GELU] = LS_UNARY_GELU,
                                           [LS_ACT_GELU_TANH] = LS_UNARY_GELU_TANH,
                                           [LS_ACT_SILU] = LS_UNARY_SILU};
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t i = 0; i < p->m; i++)
            for (int64_t j = 0; j < p->n; j++) {
                int64_t at = b * p->stride_c + i * p->ldc + j;
                double sum = p->accumulate ? get(p->type_c, p->c, at) : 0;
                for (int64_t k = 0; k < p->k; k++) {
                    int64_t ia = b * p->stride_a + (p->trans_a ? k * p->lda + i : i * p->lda + k);
                    int64_t ib = b * p->stride_b + (p->trans_b ? j * p->ldb + k : k * p->ldb + j);
                    sum += get(p->type_ab, p->a, ia) * get(p->type_ab, p->b, ib);
                }
                sum += p->bias ? get(p->type_bias, p->bias, j) : 0;
                if (p->pre)
                    put(p->type_c, p->pre, at, sum);
                put(p->type_c, p->c, at, sum);
                if (p->activation != LS_ACT_NONE) /* of the rounded number */
                    put(p->type_c, p->c, at, reference_activation(activations[p->activation], 0, 0, get(p->type_c, p->c, at)));
            }
    return LS_OK;
}

void reference_rotary(ls_device *device, ls_type type, int64_t rows, int64_t heads, int64_t width, const double *frequency,
                      bool interleaved, bool inverse, const int32_t *position, const void *x, void *y, bool accumulate)
{
    (void)device;
    for (int64_t r = 0; r < rows * heads; r++)
        for (int64_t j = 0; j < width / 2; j++) {
            double angle = (double)position[r / heads] * frequency[j];
            double c = cos(angle), s = inverse ? -sin(angle) : sin(angle);
            int64_t first = r * width + (interleaved ? 2 * j : j), second = first + (interleaved ? 1 : width / 2);
            double a = get(type, x, first), b = get(type, x, second);
            put(type, y, first, a * c - b * s + (accumulate ? get(type, y, first) : 0));
            put(type, y, second, a * s + b * c + (accumulate ? get(type, y, second) : 0));
        }
}

static bool sees(const ls_attention_args *p, int64_t b, int64_t i, int64_t j)
{
    if (p->mask) { /* every block of the row, looking for the one */
        const ls_block_mask *m = p->mask;
        int64_t block = m->block, at = (m->rows == 1 ? 0 : b) * ((m->queries + block - 1) / block) + i / block;
        for (int64_t n = m->first[at]; n < m->first[at + 1]; n++)
            if (m->blocks[n].key_block == j / block) {
                int32_t kind = m->blocks[n].kind;
                int64_t words = (block + 63) / 64, bit = j % block;
                return kind == LS_MASK_WHOLE || (kind == LS_MASK_CAUSAL && j <= i + p->keys - p->queries) ||
                       (kind >= 0 && m->bits[(kind * block + i % block) * words + bit / 64] >> bit % 64 & 1);
            }
        return false;
    }
    int32_t key_id = p->segments ? p->segments[b * p->keys + j] : 0;
    if (p->query_segments)
        return key_id >= 0 && key_id == p->query_segments[b * p->queries + i];
    int64_t at = i + p->keys - p->queries;
    return !(p->causal && j > at) && !(p->window && j <= at - p->window) && !(p->segments && key_id != p->segments[b * p->keys + at]);
}

/* Probabilities of one query's keys; returns log-sum-exp, -infinity where it sees none. */
static double probabilities(const ls_attention_args *p, int64_t b, int64_t i, int64_t h, double *out)
{
    int64_t kv = h / (p->heads / p->kv_heads);
    bool any = false;
    for (int64_t j = 0; j < p->keys; j++) {
        double score = 0;
        for (int64_t d = 0; d < p->width; d++)
            score += get(p->type, p->q, ((b * p->queries + i) * p->heads + h) * p->width + d) *
                     get(p->type, p->k, ((b * p->keys + j) * p->kv_heads + kv) * p->width + d);
        bool seen = sees(p, b, i, j);
        out[j] = seen ? score * p->scale : -INFINITY;
        any = any || seen;
    }
    double lse = any ? reference_log_sum_exp(out, p->keys) : -INFINITY;
    for (int64_t j = 0; j < p->keys; j++)
        out[j] = any ? exp(out[j] - lse) : 0;
    return lse;
}

ls_status reference_attention(ls_device *device, const ls_attention_args *p, ls_arena *scratch)
{
    (void)device, (void)scratch;
    double *weight = reference_zeros(p->keys);
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t i = 0; i < p->queries; i++)
            for (int64_t h = 0; h < p->heads; h++) {
                int64_t kv = h / (p->heads / p->kv_heads);
                double lse = probabilities(p, b, i, h, weight);
                put(reference_wide(p->type), p->lse, (b * p->heads + h) * p->queries + i, lse);
                for (int64_t d = 0; d < p->width; d++) {
                    double sum = 0;
                    for (int64_t j = 0; j < p->keys; j++)
                        sum += weight[j] * get(p->type, p->v, ((b * p->keys + j) * p->kv_heads + kv) * p->width + d);
                    put(p->type, p->out, ((b * p->queries + i) * p->heads + h) * p->width + d, sum);
                }
            }
    free(weight);
    return LS_OK;
}

/* With p = softmax(s): dv_j += p_j dout; dp_j = dout . v_j; ds_j = p_j (dp_j - sum_l p_l dp_l); dq += ds k, dk += ds q.
 */
ls_status reference_attention_backward(ls_device *device, const ls_attention_args *p, ls_arena *scratch)
{
    (void)device, (void)scratch;
    int64_t n_q = p->batch * p->queries * p->heads * p->width, n_k = p->batch * p->keys * p->kv_heads * p->width;
    double *weight = reference_zeros(p->keys), *dweight = reference_zeros(p->keys), *dq = reference_zeros(n_q),
           *dk = reference_zeros(n_k), *dv = reference_zeros(n_k);
    for (int64_t b = 0; b < p->batch; b++)
        for (int64_t i = 0; i < p->queries; i++)
            for (int64_t h = 0; h < p->heads; h++) {
                int64_t kv = h / (p->heads / p->kv_heads), at_q = ((b * p->queries + i) * p->heads + h) * p->width;
                double mean = 0;
                probabilities(p, b, i, h, weight);
                for (int64_t j = 0; j < p->keys; j++) {
                    int64_t at_k = ((b * p->keys + j) * p->kv_heads + kv) * p->width;
                    dweight[j] = 0;
                    for (int64_t d = 0; d < p->width; d++) {
                        dweight[j] += get(p->type, p->dout, at_q + d) * get(p->type, p->v, at_k + d);
                        dv[at_k + d] += weight[j] * get(p->type, p->dout, at_q + d);
                    }
                    mean += weight[j] * dweight[j];
                }
                for (int64_t j = 0; j < p->keys; j++) {
                    int64_t at_k = ((b * p->keys + j) * p->kv_heads + kv) * p->width;
                    double ds = weight[j] * (dweight[j] - mean) * p->scale;
                    for (int64_t d = 0; d < p->width; d++) {
                        dq[at_q + d] += ds * get(p->type, p->k, at_k + d);
                        dk[at_k + d] += ds * get(p->type, p->q, at_q + d);
                    }
                }
            }
    reference_add_all(p->type, p->dq, n_q, dq);
    reference_add_all(p->type, p->dk, n_k, dk);
    reference_add_all(p->type, p->dv, n_k, dv);
    free(weight);
    free(dweight);
    return LS_OK;
}

static bool skipped(const ls_cross_entropy_args *p, int64_t r)
{
    return p->labels[r] < 0 || (p->weights && p->weights[r] == 0);
}

static double row_logits(const ls_cross_entropy_args *p, int64_t r, double *logits)
{
    for (int64_t v = 0; v < p->vocabulary; v++) {
        logits[v] = 0;
        for (int64_t d = 0; d < p->width; d++)
            logits[v] += get(p->type, p->x, r * p->width + d) * get(p->type, p->w, v * p->width + d);
    }
    return reference_log_sum_exp(logits, p->vocabulary);
}

ls_status reference_cross_entropy(ls_device *device, const ls_cross_entropy_args *p, ls_arena *scratch)
{
    (void)device, (void)scratch;
    const ls_type wide = reference_wide(p->type);
    double *logits = reference_zeros(p->vocabulary), *dx = reference_zeros(p->rows * p->width),
           *dw = reference_zeros(p->vocabulary * p->width);
    for (int64_t r = 0; r < p->rows; r++) {
        const double lse = skipped(p, r) ? 0 : row_logits(p, r, logits), scale = p->weights ? (double)p->weights[r] : 1;
        put(wide, p->losses, r, skipped(p, r) ? 0 : lse - logits[p->labels[r]]);
        for (int64_t v = 0; v < p->vocabulary && !skipped(p, r); v++) {
            double d = scale * (exp(logits[v] - lse) - (v == p->labels[r]));
            for (int64_t i = 0; i < p->width; i++) {
                dx[r * p->width + i] += d * get(p->type, p->w, v * p->width + i);
                dw[v * p->width + i] += d * get(p->type, p->x, r * p->width + i);
            }
        }
    }
    for (int64_t i = 0; p->dx && i < p->rows * p->width; i++)
        put(wide, p->dx, i, dx[i]);
    for (int64_t i = 0; p->dw && i < p->vocabulary * p->width; i++)
        put(wide, p->dw, i, dw[i]);
    free(logits);
    free(dx);
    free(dw);
    return LS_OK;
}
