/* A weight as a model computes with it: with low-rank adapters (models/lora.h) merged in. The sum
 *     W[o][i] + scale sum_k B[o][k] A[k][i]
 * is made in f64 over ascending k and rounded once, so merged weights are the same wherever they are read. */
#include "checkpoint/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "model/NAME", or where there is one "ema/NAME" (*average). */
static ls_status read_one(const char *path, const char *name, bool averaged, ls_state_entry *entry, void **data,
                          bool *average)
{
    char whole[640];
    *average = averaged;
    if (averaged) {
        snprintf(whole, sizeof whole, "ema/%s", name);
        const ls_status status = ls_checkpoint_read(path, whole, entry, data);
        if (status != LS_ENOTFOUND)
            return status;
    }
    *average = false;
    snprintf(whole, sizeof whole, "model/%s", name);
    return ls_checkpoint_read(path, whole, entry, data);
}

static ls_status read_adapter(const char *path, const char *stem, const char *which, bool averaged,
                              ls_state_entry *entry, void **data)
{
    char name[600];
    bool average;
    snprintf(name, sizeof name, "%s/%s", stem, which);
    return read_one(path, name, averaged, entry, data, &average);
}

static ls_status add_product(const char *path, const char *stem, double scale, const ls_state_entry *w,
                             const ls_state_entry *a, const ls_state_entry *b)
{
    if (w->type != LS_F32 || a->type != LS_F32 || b->type != LS_F32 || w->ndim != 2 || a->ndim != 2 || b->ndim != 2 ||
        a->shape[1] != w->shape[1] || b->shape[0] != w->shape[0] || b->shape[1] != a->shape[0])
        return ls_fail(LS_ECORRUPT, "%s: the adapters of %s do not fit its weight", path, stem);
    const int64_t out = w->shape[0], in = w->shape[1], rank = a->shape[0];
    double *row = malloc((size_t)in * sizeof *row);
    if (!row)
        return ls_fail(LS_EMEM, "%s: no memory to merge the adapters of %s", path, stem);
    for (int64_t o = 0; o < out; o++) {
        float *to = (float *)w->data + o * in;
        for (int64_t i = 0; i < in; i++)
            row[i] = 0;
        for (int64_t k = 0; k < rank; k++) {
            const double factor = (double)((const float *)b->data)[o * rank + k];
            const float *from = (const float *)a->data + k * in;
            for (int64_t i = 0; i < in; i++)
                row[i] += factor * (double)from[i];
        }
        for (int64_t i = 0; i < in; i++)
            to[i] = (float)((double)to[i] + scale * row[i]);
    }
    free(row);
    return LS_OK;
}

/* Nothing to do where the folder has no adapters, or this weight none. */
static ls_status merge(const char *path, const char *name, bool averaged, ls_state_entry *w, bool *average)
{
    char stem[512];
    ls_state_entry scale, a, b;
    void *scale_data = NULL, *a_data = NULL, *b_data = NULL;
    const size_t length = strlen(name), tail = strlen("/weight");
    if (length <= tail || length - tail >= sizeof stem || strcmp(name + length - tail, "/weight") != 0)
        return LS_OK;
    snprintf(stem, sizeof stem, "%.*s", (int)(length - tail), name);
    ls_status status = ls_checkpoint_read(path, "lora/scale", &scale, &scale_data);
    if (status == LS_OK && scale.type != LS_F64)
        status = ls_fail(LS_ECORRUPT, "%s: lora/scale is %s, not f64", path, ls_type_name(scale.type));
    if (status == LS_OK)
        status = read_adapter(path, stem, "lora_a", averaged, &a, &a_data);
    if (status == LS_OK && (status = read_adapter(path, stem, "lora_b", averaged, &b, &b_data)) == LS_OK) {
        status = add_product(path, stem, *(double *)scale_data, w, &a, &b);
        *average = *average || averaged;
    }
    free(scale_data);
    free(a_data);
    free(b_data);
    return status == LS_ENOTFOUND ? LS_OK : status;
}

ls_status ls_checkpoint_read_weight(const char *path, const char *name, bool averaged, ls_state_entry *entry,
                                    void **data, bool *average)
{
    ls_status status = read_one(path, name, averaged, entry, data, average);
    if (status == LS_OK)
        status = merge(path, name, averaged, entry, average);
    if (status != LS_OK) {
        free(*data);
        *data = NULL;
    }
    return status;
}
