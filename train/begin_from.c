/* model.from: initial weights out of another run's (or an imported folder's) newest checkpoint, or of a Hugging Face
 * folder as it is, of which each rank reads what it keeps. Of a checkpoint only "model/..." is taken, or with from_ema
 * "ema/...", which parameters that were frozen there do not have, and low-rank adapters that were learnt there are merged
 * in: moments, sampler and step begin anew. A parameter with a source of its own (a reward model beside a policy) comes
 * from there. One tensor at a time is in memory beside the flat buffers. */
#include "train/internal.h"

#include "train/foreign_weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool same_shape(const ls_parameter *p, const ls_state_entry *entry)
{
    bool same = entry->type == LS_F32 && entry->ndim == p->ndim;
    for (int i = 0; same && i < p->ndim; i++)
        same = entry->shape[i] == p->shape[i];
    return same;
}

/* "[512, 64]" */
static const char *shape_text(int ndim, const int64_t *shape, char text[128])
{
    int length = snprintf(text, 128, "[");
    for (int i = 0; i < ndim; i++)
        length += snprintf(text + length, 128 - (size_t)length, "%s%lld", i ? ", " : "", (long long)shape[i]);
    snprintf(text + length, 128 - (size_t)length, "]");
    return text;
}

/* *average: it was one. */
static ls_status take_parameter(ls_flat *flat, const ls_parameter *p, const char *folder, bool averaged, bool *average)
{
    char have[128], want[128];
    const char *name = p->source ? p->source_name : p->copy_of ? p->copy_of->name : p->name;
    ls_state_entry entry;
    void *data = NULL;
    *average = false;
    if (p->always_new)
        return LS_OK;
    ls_status status = ls_checkpoint_read_weight(folder, name, averaged, &entry, &data, average);
    if (status == LS_ENOTFOUND && p->may_be_new)
        return LS_OK;
    if (status != LS_OK)
        return ls_fail_at(status, "%s", p->source ? p->name : "model.from");
    if (!same_shape(p, &entry))
        status = ls_fail(LS_ERECIPE, "%s: model/%s in %s is %s %s, this recipe's model has f32 %s; give the model section the shape of that folder's recipe.yaml",
                         p->source ? p->name : "model.from", name, folder, ls_type_name(entry.type), shape_text(entry.ndim, entry.shape, have),
                         shape_text(p->ndim, p->shape, want));
    int64_t from, count;
    float *master = ls_flat_master(flat, p, &from, &count);
    if (status == LS_OK && count)
        memcpy(master, (const float *)data + from, (size_t)count * sizeof(float));
    free(data);
    return status;
}

static ls_status begin_from_foreign(ls_flat *flat, const char *folder)
{
    ls_foreign *weights;
    ls_transformer_options options;
    ls_status status = ls_foreign_model_open(&weights, folder, &options);
    for (int i = 0; i < flat->count && status == LS_OK; i++) {
        const ls_parameter *p = &flat->parameters[i];
        int64_t from, count;
        float *master = ls_flat_master(flat, p, &from, &count);
        if (p->always_new || p->source)
            continue;
        status = ls_foreign_weights_read(weights, &options, p->copy_of ? p->copy_of : p, count ? from : 0, count, master);
        if (status == LS_ENOTFOUND && p->may_be_new)
            status = LS_OK;
    }
    ls_foreign_close(weights);
    return ls_fail_at(status, "model.from");
}

static ls_status take_from_sources(ls_flat *flat)
{
    ls_status status = LS_OK;
    for (int i = 0; i < flat->count && status == LS_OK; i++) {
        bool average;
        const ls_parameter *p = &flat->parameters[i];
        if (p->source)
            status = take_parameter(flat, p, p->source, false, &average);
    }
    return status;
}

ls_status ls_flat_begin_from(ls_flat *flat, const char *folder, bool averaged)
{
    int averages = 0;
    ls_status status = take_from_sources(flat);
    if (status != LS_OK || !folder)
        return status;
    if (ls_foreign_is_model(folder))
        return averaged ? ls_fail(LS_ERECIPE, "model.from_ema: %s is a Hugging Face folder, which has no averaged weights", folder)
                        : begin_from_foreign(flat, folder);
    for (int i = 0; i < flat->count; i++) {
        bool average;
        if (flat->parameters[i].source)
            continue;
        status = take_parameter(flat, &flat->parameters[i], folder, averaged, &average);
        if (status != LS_OK)
            return status;
        averages += average;
    }
    if (averaged && !averages)
        return ls_fail(LS_ERECIPE, "model.from_ema: no averaged weights in %s; they come with ema.decay in its recipe", folder);
    return LS_OK;
}
